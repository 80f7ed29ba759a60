//! One epoch's audit: what was drawn, what came of each try, and what that comes to.

use std::collections::HashSet;
use std::sync::Arc;

use alloy::primitives::B256;
use collective::id::Leaf;
use collective::index::Index;
use collective::liveness::{Challenge, Custody, Outcome, Verdict};

use super::elsewhere::{Answer, Asked};

/// The audit of one epoch.
pub(super) struct Round {
    pub epoch: u64,
    pub randomness: B256,
    pub index: Arc<Index>,
    pub challenges: Vec<Challenge>,
    /// Whose contributor keeps the payload.
    pub connected: HashSet<Leaf>,
    /// The best that came of each so far.
    pub outcomes: Vec<Option<Outcome>>,
    /// Contributions that were withdrawn before the newest try: they are not asked for.
    pub withdrawn: HashSet<Leaf>,
    pub tries: u32,
    /// Unix seconds of the next try.
    pub next: u64,
}

impl Round {
    /// Takes over what one more try of all that contributors keep came to. Where no bytes at all came through the gateway it may as well
    /// be the gateway: what failed there then counts against nobody.
    pub fn note_answers(&mut self, answers: &[Answer]) {
        let came = |it: &Answer| matches!(it.outcome, Outcome::Held | Outcome::Wrong);
        let gateway_works = answers.iter().any(|it| it.is_in_ipfs && came(it));
        for answer in answers {
            if !answer.is_in_ipfs || gateway_works || came(answer) {
                self.note(answer.place, answer.outcome);
            }
        }
    }

    /// Takes over what one more try of a challenge came to.
    pub fn note(&mut self, place: usize, outcome: Outcome) {
        let tries = self.outcomes[place].into_iter().chain([outcome]);
        self.outcomes[place] = Some(Outcome::of_tries(tries));
    }

    /// Whether nothing was heard yet of some of these challenges.
    pub fn is_new(&self, asked: &Asked) -> bool {
        let mut places = asked.draws.iter().map(|(place, _)| *place);
        places.any(|place| self.outcomes[place].is_none())
    }

    /// Places and contributions of the challenges that are still to be asked.
    pub fn open(&self) -> impl Iterator<Item = (usize, Leaf)> {
        let each = self.challenges.iter().map(|it| it.contribution).enumerate();
        each.filter(|(place, leaf)| {
            self.outcomes[*place] != Some(Outcome::Held) && !self.withdrawn.contains(leaf)
        })
    }

    /// What each challenge came to. What was held before it was withdrawn stays so. What this node never came to ask is an error of
    /// its own, and not one of whoever keeps the payload.
    pub fn verdicts(&self) -> impl Iterator<Item = Verdict> {
        let each = self.challenges.iter().map(|it| it.contribution);
        each.zip(&self.outcomes).map(|(leaf, outcome)| {
            let custody = match self.connected.contains(&leaf) && outcome.is_some() {
                true => Custody::Connected,
                false => Custody::Escrow,
            };
            match outcome {
                Some(Outcome::Held) => Verdict::Asked(custody, Outcome::Held),
                _ if self.withdrawn.contains(&leaf) => Verdict::Withdrawn,
                outcome => Verdict::Asked(custody, outcome.unwrap_or(Outcome::Error)),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stub::tests::{entry, file};

    /// Of one challenge more than are of contributions that their contributors keep.
    fn round(connected: u8) -> Round {
        let leaves = (0..=connected).map(|byte| Leaf(B256::repeat_byte(byte)));
        let challenge = |contribution: Leaf| Challenge {
            contribution,
            index: 0,
        };
        Round {
            epoch: 0,
            randomness: B256::ZERO,
            index: Arc::default(),
            challenges: leaves.clone().map(challenge).collect(),
            connected: leaves.take(connected.into()).collect(),
            outcomes: vec![None; usize::from(connected) + 1],
            withdrawn: HashSet::new(),
            tries: 0,
            next: 0,
        }
    }

    #[test]
    fn what_this_node_never_came_to_ask_counts_against_nobody() {
        let mut round = round(3);
        round.note(0, Outcome::Error);
        round.note(1, Outcome::Offline);
        round.note(1, Outcome::Held);
        round.note(3, Outcome::Wrong);
        let of_node = Verdict::Asked(Custody::Escrow, Outcome::Error);
        let expected = [
            Verdict::Asked(Custody::Connected, Outcome::Error),
            Verdict::Asked(Custody::Connected, Outcome::Held),
            of_node,
            Verdict::Asked(Custody::Escrow, Outcome::Wrong),
        ];
        assert_eq!(round.verdicts().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn where_nothing_came_through_the_gateway_its_failures_count_against_nobody() {
        let answer = |place, outcome, is_in_ipfs| Answer {
            place,
            outcome,
            is_in_ipfs,
        };
        let (failed, silent) = (
            answer(0, Outcome::Error, true),
            answer(1, Outcome::Offline, true),
        );
        let web = answer(2, Outcome::Offline, false);
        let mut round = round(3);
        round.note_answers(&[failed, silent, web]);
        assert_eq!(round.outcomes, [None, None, Some(Outcome::Offline), None]);
        // Wrong bytes are bytes.
        for came in [Outcome::Wrong, Outcome::Held] {
            let mut round = self::round(3);
            let (failed, silent) = (
                answer(0, Outcome::Error, true),
                answer(1, Outcome::Offline, true),
            );
            round.note_answers(&[failed, silent, answer(2, came, true)]);
            let expected = [
                Some(Outcome::Error),
                Some(Outcome::Offline),
                Some(came),
                None,
            ];
            assert_eq!(round.outcomes, expected);
            // Of a web server it says nothing that another one answers.
            let mut round = self::round(3);
            let failed = answer(0, Outcome::Error, true);
            round.note_answers(&[failed, answer(2, came, false)]);
            assert_eq!(round.outcomes, [None, None, Some(came), None]);
        }
    }

    #[test]
    fn at_one_host_those_come_first_of_whom_nothing_was_heard() {
        let mut round = round(2);
        round.note(0, Outcome::Offline);
        let (file, header) = file();
        let asked = |draws: &[usize]| Asked {
            entry: entry(&file, header),
            place: None,
            draws: draws.iter().map(|place| (*place, 0)).collect(),
        };
        assert!(!round.is_new(&asked(&[0])));
        assert!(round.is_new(&asked(&[1])) && round.is_new(&asked(&[0, 1])));
    }
}
