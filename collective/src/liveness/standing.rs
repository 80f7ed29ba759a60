//! What the outcomes of some days come to: whether a contribution that its contributor keeps earns for being reachable.

use std::collections::VecDeque;

use super::Outcome;

/// Epochs that are looked back upon: a week.
pub const WINDOW: usize = 7;

/// Days offline within the window that still earn: a weekend away, or a machine that is moved.
const GRACE_OFFLINE: usize = 2;

/// Days of errors within the window that still earn: more than of absence, since the fault may be the asker's.
const GRACE_ERRORS: usize = 4;

/// The last outcomes of one contribution, one for each epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    recent: VecDeque<Outcome>,
    shown: Option<bool>,
}

impl Standing {
    /// Takes over what the next epoch came to.
    pub fn note(&mut self, outcome: Outcome) {
        if self.recent.len() == WINDOW {
            self.recent.pop_front();
        }
        self.recent.push_back(outcome);
        match outcome {
            Outcome::Held => self.shown = Some(true),
            Outcome::Wrong => self.shown = Some(false),
            Outcome::Error | Outcome::Offline => {}
        }
    }

    /// Whether the epoch that was noted last earns: the newest bytes that came were right ones, and in the last week it was
    /// offline on two days and in error on four at most.
    pub fn earns(&self) -> bool {
        let days = |outcome| self.recent.iter().filter(|it| **it == outcome).count();
        self.shown == Some(true)
            && days(Outcome::Offline) <= GRACE_OFFLINE
            && days(Outcome::Error) <= GRACE_ERRORS
    }
}

#[cfg(test)]
mod tests {
    use super::Outcome::{Error, Held, Offline, Wrong};
    use super::*;

    fn earns(outcomes: &[Outcome]) -> Vec<bool> {
        let mut standing = Standing::default();
        let note = |outcome: &Outcome| {
            standing.note(*outcome);
            standing.earns()
        };
        outcomes.iter().map(note).collect()
    }

    #[test]
    fn wrong_bytes_stop_it_at_once_and_right_ones_bring_it_back() {
        assert_eq!(earns(&[Held, Wrong, Held]), [true, false, true]);
        let hides = earns(&[Held, Wrong, Offline, Error, Held]);
        assert_eq!(hides, [true, false, false, false, true]);
    }

    #[test]
    fn nothing_is_earned_before_the_first_right_bytes() {
        assert_eq!(earns(&[Offline, Error, Held]), [false, false, true]);
    }

    #[test]
    fn two_days_away_in_a_week_are_borne_and_the_third_is_not() {
        let told = earns(&[Held, Offline, Held, Offline, Held, Offline, Held, Held]);
        assert_eq!(told, [true, true, true, true, true, false, false, false]);
        let later = [
            Held, Offline, Offline, Offline, Held, Held, Held, Held, Held,
        ];
        assert!(earns(&later)[8], "the first of them is a week ago");
    }

    #[test]
    fn four_days_of_errors_in_a_week_are_borne_and_the_fifth_is_not() {
        let told = earns(&[Held, Error, Error, Error, Error, Error]);
        assert_eq!(told, [true, true, true, true, true, false]);
    }
}
