//! What the outcomes of some days come to: whether a contribution that its contributor keeps earns for being reachable.

use std::collections::VecDeque;

use super::Outcome;

/// Days within the window on which the bytes may stay away and that still earn: a weekend away, or a machine that is moved.
/// One bound for silence and errors: whoever lost bytes chooses how not to show it, and of those who keep only half it leaves
/// one day in four.
const GRACE: usize = 2;

/// The last outcomes of one contribution, one for each posted epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    recent: VecDeque<Outcome>,
    shown: bool,
}

impl Standing {
    /// Epochs that are looked back upon: a week. Whoever earns was reached in it, so earlier ones change nothing.
    pub const EPOCHS: usize = 7;

    /// Takes over what the next epoch came to.
    pub fn note(&mut self, outcome: Outcome) {
        if self.recent.len() == Self::EPOCHS {
            self.recent.pop_front();
        }
        self.recent.push_back(outcome);
        match outcome {
            Outcome::Held => self.shown = true,
            Outcome::Wrong => self.shown = false,
            Outcome::Error | Outcome::Offline => {}
        }
    }

    /// Whether the epoch that was noted last earns: the newest bytes that came were right ones, and they stayed away on two days
    /// of the last week at most.
    pub fn earns(&self) -> bool {
        let away = |it: &&Outcome| matches!(it, Outcome::Offline | Outcome::Error);
        self.shown && self.recent.iter().filter(away).count() <= GRACE
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
    fn two_days_away_in_a_week_are_borne_and_the_third_is_not_however_it_is_away() {
        for away in [[Offline; 3], [Error; 3], [Offline, Error, Offline]] {
            let [one, two, three] = away;
            let told = earns(&[Held, one, Held, two, Held, three, Held, Held]);
            assert_eq!(told, [true, true, true, true, true, false, false, false]);
            let later = [Held, one, two, three, Held, Held, Held, Held, Held];
            assert!(earns(&later)[8], "the first of them is a week ago");
        }
    }
}
