//! Which anchored contributions count: the rule by which everybody fills an index of the chain (SPEC "Index").
//!
//! A point counts once in a collective's life. Where sender proofs are required only proven contributions count, and
//! only they take a point: a copy of somebody's header that was anchored first takes nothing from its maker.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::contribution::SignedContribution;
use crate::id::{Leaf, Point};
use crate::input::Anchored;
use crate::seal::contribution::Sender;

/// What the header of an anchored contribution says, where it follows the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Who made it.
    pub sender: Sender,
    /// Name of the key that it is under ([`crate::epochs::Key::epoch`]).
    pub key: u64,
}

/// Which contributions count, of all that were anchored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Whether those without a sender proof do not.
    pub proof_required: bool,
    /// Those under older keys than this one do not ([`crate::epochs::Epochs::first_of_point`]).
    pub first_key: u64,
}

/// All that was anchored, and what of it counts.
#[derive(Clone, Debug, Default)]
pub struct Index {
    rule: Rule,
    anchored: Vec<(Anchored, Option<Sealed>)>,
    /// Points that are taken, with the key that the contribution which took them is under.
    points: HashMap<Point, u64>,
    counted: Vec<Anchored>,
    unproven: usize,
}

impl Index {
    /// An index of nothing.
    pub fn new(rule: Rule) -> Self {
        Self {
            rule,
            ..Self::default()
        }
    }

    /// Takes over what one more batch anchored, in its order. `None` stands for a header that breaks a rule, or a contributor's
    /// id that another key had taken over: nobody opens it, and it never counts.
    pub fn extend(&mut self, batch: impl IntoIterator<Item = (Anchored, Option<Sealed>)>) {
        for (anchored, sealed) in batch {
            if let Some(sealed) = sealed {
                self.count(&anchored, sealed);
            }
            self.anchored.push((anchored, sealed));
        }
    }

    /// What counts.
    pub fn rule(&self) -> Rule {
        self.rule
    }

    /// Sets what counts from now on, for everything that was anchored.
    pub fn follow(&mut self, rule: Rule) {
        if self.rule == rule {
            return;
        }
        let anchored = std::mem::take(&mut self.anchored);
        *self = Self::new(rule);
        self.extend(anchored);
    }

    /// What counts, in the order in which it was anchored.
    pub fn counted(&self) -> &[Anchored] {
        &self.counted
    }

    /// All that was anchored, whether it counts or not.
    pub fn anchored(&self) -> impl Iterator<Item = &Anchored> {
        self.anchored.iter().map(|(anchored, _)| anchored)
    }

    /// What liveness is drawn from: the leaf of each contribution that a block below `before` anchored, and the bytes of its payload.
    pub fn pool(&self, before: u64) -> Vec<(Leaf, u64)> {
        let anchored = self.anchored().filter(|it| it.block < before);
        let entries = anchored.map(|it| &it.entry);
        let of = |entry: &SignedContribution| (entry.contribution.leaf(), entry.commitment.length);
        entries.map(of).collect()
    }

    /// How many of those that count have no sender proof: they stop counting once proofs are required.
    pub fn unproven(&self) -> usize {
        self.unproven
    }

    /// Name of the key that the counting contribution over this point is under.
    pub fn key_of(&self, point: &Point) -> Option<u64> {
        self.points.get(point).copied()
    }

    /// Contributions that were anchored, whether they count or not.
    pub fn len(&self) -> usize {
        self.anchored.len()
    }

    /// Whether nothing was anchored yet.
    pub fn is_empty(&self) -> bool {
        self.anchored.is_empty()
    }

    fn count(&mut self, anchored: &Anchored, sealed: Sealed) {
        let proven = sealed.sender == Sender::Proven || !self.rule.proof_required;
        if !proven || sealed.key < self.rule.first_key {
            return;
        }
        if let Entry::Vacant(free) = self.points.entry(anchored.entry.contribution.point) {
            free.insert(sealed.key);
            self.counted.push(anchored.clone());
            self.unproven += usize::from(sealed.sender == Sender::Unproven);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_story::anchored;

    const PROVEN: Option<Sealed> = Some(Sealed {
        sender: Sender::Proven,
        key: 1,
    });
    const UNPROVEN: Option<Sealed> = Some(Sealed {
        sender: Sender::Unproven,
        key: 1,
    });

    fn proofs(proof_required: bool) -> Rule {
        Rule {
            proof_required,
            first_key: 1,
        }
    }

    /// Two contributions over one point, in the order in which they were anchored.
    fn copies() -> (Anchored, Anchored) {
        let copy = anchored(1, 0);
        let mut original = anchored(2, 0);
        original.entry.contribution.point = copy.entry.contribution.point;
        original.block = copy.block + 1;
        (copy, original)
    }

    #[test]
    fn an_unproven_copy_that_was_anchored_first_takes_nothing() {
        let (copy, original) = copies();
        let mut index = Index::new(proofs(true));
        index.extend([(copy, UNPROVEN)]);
        index.extend([(original.clone(), PROVEN)]);
        assert_eq!(index.counted(), [original]);
    }

    #[test]
    fn a_point_counts_once() {
        let (first, second) = copies();
        let mut index = Index::new(proofs(false));
        index.extend([(first.clone(), UNPROVEN), (second, PROVEN)]);
        assert_eq!(index.counted(), [first]);
        assert_eq!(index.len(), 2);
    }

    #[test]
    fn a_header_that_breaks_a_rule_takes_nothing() {
        let (broken, good) = copies();
        let mut index = Index::new(proofs(false));
        index.extend([(broken, None), (good.clone(), UNPROVEN)]);
        assert_eq!(index.counted(), [good]);
    }

    #[test]
    fn requiring_proofs_later_drops_what_has_none() {
        let (copy, original) = copies();
        let mut index = Index::new(proofs(false));
        index.extend([(copy.clone(), UNPROVEN)]);
        index.extend([(original.clone(), PROVEN)]);
        assert_eq!(index.unproven(), 1);
        index.follow(proofs(true));
        assert_eq!(index.counted(), [original]);
        assert_eq!(index.unproven(), 0);
        index.follow(proofs(false));
        assert_eq!(index.counted(), [copy]);
    }

    #[test]
    fn what_is_under_a_replaced_point_counts_no_more() {
        let (old, new) = copies();
        let mut index = Index::new(proofs(true));
        let key = Some(Sealed {
            sender: Sender::Proven,
            key: 3,
        });
        index.extend([(old.clone(), PROVEN), (new.clone(), key)]);
        let point = old.entry.contribution.point;
        assert_eq!(
            (index.counted(), index.key_of(&point)),
            (&[old][..], Some(1))
        );
        index.follow(Rule {
            proof_required: true,
            first_key: 2,
        });
        assert_eq!(
            (index.counted(), index.key_of(&point)),
            (&[new][..], Some(3))
        );
    }
}
