//! Who earns for an epoch, of the contributors who keep their payloads themselves (SPEC "Liveness").

use std::collections::{BTreeMap, HashMap};

use super::{Custody, Outcome, Standing, Verdict};
use crate::id::{ContributorId, Leaf};

/// What an epoch came to for one contribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnDraw {
    /// Which.
    pub contribution: Leaf,
    /// Whose.
    pub contributor: ContributorId,
    /// What the auditor says of its own draw.
    pub verdict: Verdict,
    /// Whether somebody showed on chain what was drawn.
    pub shown: bool,
}

/// How every contribution that its contributor keeps stands, one epoch after the other.
#[derive(Clone, Debug, Default)]
pub struct Keepers(HashMap<Leaf, Standing>);

impl Keepers {
    /// Takes over the next posted epoch and says who earns for it, ascending: contributors of whom something was asked, and
    /// of whose contributions all earn that were asked for, and none was left unasked.
    ///
    /// What a node could not ask is not the contributor's fault, so no standing changes by it; but whoever lost one file of two might
    /// hide it so for ever, so that day is not paid. By its letter it may as well be a file that the node has and could not read:
    /// the results do not tell these apart, and everybody has to work out the same.
    ///
    /// The contributor is the unit: a second file brings no second share, and whoever let one of two go is not paid for both.
    pub fn note(&mut self, draws: impl IntoIterator<Item = OwnDraw>) -> Vec<ContributorId> {
        let mut outcomes: BTreeMap<(ContributorId, Leaf), Outcome> = BTreeMap::new();
        let mut unasked = vec![];
        for draw in draws {
            let outcome = match draw.verdict {
                Verdict::Asked(Custody::Connected, outcome) => outcome,
                Verdict::Asked(Custody::Escrow, Outcome::Error) if !draw.shown => {
                    unasked.push((draw.contributor, draw.contribution));
                    continue;
                }
                Verdict::Asked(Custody::Escrow, _) | Verdict::Withdrawn => continue,
            };
            let outcome = if draw.shown { Outcome::Held } else { outcome };
            outcomes.insert((draw.contributor, draw.contribution), outcome);
        }
        unasked.retain(|of| !outcomes.contains_key(of));
        let mut earners: BTreeMap<_, _> =
            unasked.into_iter().map(|(who, _)| (who, false)).collect();
        for ((contributor, contribution), outcome) in outcomes {
            let standing = self.0.entry(contribution).or_default();
            standing.note(outcome);
            *earners.entry(contributor).or_insert(true) &= standing.earns();
        }
        let earns = |(contributor, all): (_, bool)| all.then_some(contributor);
        earners.into_iter().filter_map(earns).collect()
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::B256;

    use super::Custody::{Connected, Escrow};
    use super::Outcome::{Error, Held, Offline, Wrong};
    use super::*;

    fn id(byte: u8) -> ContributorId {
        ContributorId(B256::with_last_byte(byte))
    }

    /// File `file` of person `who`.
    fn draw(who: u8, file: u8, verdict: Verdict) -> OwnDraw {
        OwnDraw {
            contribution: Leaf(B256::with_last_byte(10 * who + file)),
            contributor: id(who),
            verdict,
            shown: false,
        }
    }

    fn kept(who: u8, file: u8, outcome: Outcome) -> OwnDraw {
        draw(who, file, Verdict::Asked(Connected, outcome))
    }

    #[test]
    fn a_contributor_has_one_share_however_many_files_and_all_of_them_must_be_there() {
        let mut keepers = Keepers::default();
        let many = (0..9).map(|file| kept(1, file, Held));
        assert_eq!(keepers.note(many.chain([kept(2, 0, Held)])), [id(1), id(2)]);
        let one_gone = (0..9).map(|file| kept(1, file, if file == 4 { Wrong } else { Held }));
        assert_eq!(keepers.note(one_gone.chain([kept(2, 0, Held)])), [id(2)]);
        // Taken back, it is asked for no more.
        let without = (0..9).filter(|file| *file != 4);
        let without: Vec<_> = without.map(|file| kept(1, file, Held)).collect();
        assert_eq!(keepers.note(without), [id(1)]);
    }

    #[test]
    fn a_day_on_which_one_file_could_not_be_asked_for_is_not_paid_and_costs_no_standing() {
        let unasked = |who, file| draw(who, file, Verdict::Asked(Escrow, Error));
        let mut keepers = Keepers::default();
        let both = [kept(1, 0, Held), kept(1, 1, Held), kept(2, 0, Held)];
        assert_eq!(keepers.note(both), [id(1), id(2)]);
        for _ in 0..9 {
            let hidden = [kept(1, 0, Held), unasked(1, 1), kept(2, 0, Held)];
            assert_eq!(keepers.note(hidden), [id(2)]);
        }
        assert_eq!(keepers.note(both), [id(1), id(2)], "no day counts as away");
        assert!(keepers.note([unasked(1, 0), unasked(1, 1)]).is_empty());
        // Whoever shows the bytes on chain hides nothing, and what the node has and lost hides nothing either.
        let shown = OwnDraw {
            shown: true,
            ..unasked(1, 1)
        };
        assert_eq!(keepers.note([kept(1, 0, Held), shown]), [id(1)]);
        for verdict in [Verdict::Asked(Escrow, Wrong), Verdict::Withdrawn] {
            assert_eq!(
                keepers.note([kept(1, 0, Held), draw(1, 1, verdict)]),
                [id(1)]
            );
        }
        // What was anchored twice was asked for if one of its draws was.
        let twice = [unasked(1, 0), kept(1, 0, Held)];
        assert_eq!(keepers.note(twice), [id(1)]);
    }

    #[test]
    fn what_the_node_has_and_what_was_withdrawn_earns_nothing_shown_or_not() {
        for verdict in [
            Verdict::Asked(Escrow, Held),
            Verdict::Asked(Escrow, Wrong),
            Verdict::Withdrawn,
        ] {
            for shown in [false, true] {
                let draw = OwnDraw {
                    shown,
                    ..draw(1, 0, verdict)
                };
                assert!(Keepers::default().note([draw]).is_empty());
            }
        }
        assert!(Keepers::default().note([]).is_empty());
    }

    #[test]
    fn what_was_shown_on_chain_counts_as_held_and_a_grace_is_borne() {
        let mut keepers = Keepers::default();
        assert_eq!(keepers.note([kept(1, 0, Held)]), [id(1)]);
        let shown = OwnDraw {
            shown: true,
            ..kept(1, 0, Wrong)
        };
        assert_eq!(keepers.note([shown]), [id(1)]);
        for _ in 0..2 {
            assert_eq!(keepers.note([kept(1, 0, Offline)]), [id(1)]);
        }
        assert!(keepers.note([kept(1, 0, Error)]).is_empty());
    }
}
