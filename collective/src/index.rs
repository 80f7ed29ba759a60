//! Which anchored contributions count: the rule by which everybody fills an index of the chain (SPEC "Index").
//!
//! A point counts once in a collective's life. Where sender proofs are required only proven contributions count, and
//! only they take a point: a copy of somebody's header that was anchored first takes nothing from its maker.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use serde::{Deserialize, Serialize};

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

/// Why something that was anchored counts for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Void {
    /// Its header breaks a rule: nobody opens it.
    Header,
    /// Another key had taken the contributor's id over.
    TakenOver,
    /// It has no sender proof, and one is required.
    Unproven,
    /// It is under a key that was replaced.
    OldKey,
    /// Another contribution has its point.
    PointTaken,
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
    anchored: Vec<(Anchored, Result<Sealed, Void>)>,
    /// Where each leaf was anchored first.
    leaves: HashMap<Leaf, usize>,
    /// Points that are taken.
    points: HashMap<Point, Taken>,
    counted: Vec<Anchored>,
    unproven: usize,
}

/// Who took a point, and under which key.
#[derive(Clone, Copy, Debug)]
struct Taken {
    leaf: Leaf,
    key: u64,
}

impl Index {
    /// An index of nothing.
    pub fn new(rule: Rule) -> Self {
        Self {
            rule,
            ..Self::default()
        }
    }

    /// Takes over what was anchored next, in its order; what is void never counts.
    pub fn extend(&mut self, next: impl IntoIterator<Item = (Anchored, Result<Sealed, Void>)>) {
        for (anchored, sealed) in next {
            let leaf = anchored.entry.contribution.leaf();
            if let Ok(sealed) = sealed {
                self.count(&anchored, leaf, sealed);
            }
            self.leaves.entry(leaf).or_insert(self.anchored.len());
            self.anchored.push((anchored, sealed));
        }
    }

    /// Whether a leaf was anchored.
    pub fn holds(&self, leaf: Leaf) -> bool {
        self.leaves.contains_key(&leaf)
    }

    /// Why a leaf counts for nothing; `None` where it counts, or was not anchored.
    pub fn void(&self, leaf: Leaf) -> Option<Void> {
        let (anchored, sealed) = &self.anchored[*self.leaves.get(&leaf)?];
        let taken = self.points.get(&anchored.entry.contribution.point);
        if taken.is_some_and(|taken| taken.leaf == leaf) {
            return None;
        }
        Some(match sealed {
            Err(void) => *void,
            Ok(sealed) if !self.is_proven(sealed) => Void::Unproven,
            Ok(sealed) if sealed.key < self.rule.first_key => Void::OldKey,
            Ok(_) => Void::PointTaken,
        })
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

    /// What liveness is drawn from: leaf and payload bytes of what a block below `before` anchored, of one point the first that is
    /// proven, or else the first. What its header or a takeover voids is not in it; the rule of the day, which may change, decides
    /// nothing here, nor does what was anchored later: who looks later draws the same.
    pub fn pool(&self, before: u64) -> Vec<(Leaf, u64)> {
        let below = self.anchored.iter().filter(|(it, _)| it.block < before);
        let sealed: Vec<(&SignedContribution, Sender)> = below
            .filter_map(|(it, sealed)| Some((&it.entry, sealed.ok()?.sender)))
            .collect();
        let mut of_point = HashMap::new();
        for (place, (entry, sender)) in sealed.iter().enumerate() {
            let drawn = of_point.entry(entry.contribution.point).or_insert(place);
            if *sender == Sender::Proven && sealed[*drawn].1 != Sender::Proven {
                *drawn = place;
            }
        }
        let mut places: Vec<usize> = of_point.into_values().collect();
        places.sort_unstable();
        let of = |entry: &SignedContribution| (entry.contribution.leaf(), entry.commitment.length);
        places.into_iter().map(|it| of(sealed[it].0)).collect()
    }

    /// How many of those that count have no sender proof: they stop counting once proofs are required.
    pub fn unproven(&self) -> usize {
        self.unproven
    }

    /// Name of the key that the counting contribution over this point is under.
    pub fn key_of(&self, point: &Point) -> Option<u64> {
        self.points.get(point).map(|taken| taken.key)
    }

    /// Contributions that were anchored, whether they count or not.
    pub fn len(&self) -> usize {
        self.anchored.len()
    }

    /// Whether nothing was anchored yet.
    pub fn is_empty(&self) -> bool {
        self.anchored.is_empty()
    }

    fn is_proven(&self, sealed: &Sealed) -> bool {
        sealed.sender == Sender::Proven || !self.rule.proof_required
    }

    fn count(&mut self, anchored: &Anchored, leaf: Leaf, sealed: Sealed) {
        if !self.is_proven(&sealed) || sealed.key < self.rule.first_key {
            return;
        }
        if let Entry::Vacant(free) = self.points.entry(anchored.entry.contribution.point) {
            let key = sealed.key;
            free.insert(Taken { leaf, key });
            self.counted.push(anchored.clone());
            self.unproven += usize::from(sealed.sender == Sender::Unproven);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_story::anchored;

    const PROVEN: Result<Sealed, Void> = Ok(Sealed {
        sender: Sender::Proven,
        key: 1,
    });
    const UNPROVEN: Result<Sealed, Void> = Ok(Sealed {
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
        let late = second.entry.contribution.leaf();
        index.extend([(first.clone(), UNPROVEN), (second, PROVEN)]);
        assert_eq!(index.counted(), [first]);
        assert_eq!(index.void(late), Some(Void::PointTaken));
        assert_eq!(index.len(), 2);
    }

    #[test]
    fn a_header_that_breaks_a_rule_takes_nothing() {
        let (broken, good) = copies();
        let mut index = Index::new(proofs(false));
        let leaf = |it: &Anchored| it.entry.contribution.leaf();
        let leaves = [&broken, &good].map(leaf);
        index.extend([(broken, Err(Void::Header)), (good.clone(), UNPROVEN)]);
        assert_eq!(index.counted(), [good]);
        assert_eq!(leaves.map(|it| index.void(it)), [Some(Void::Header), None]);
    }

    #[test]
    fn one_of_each_point_is_drawn_whatever_counts() {
        let (copy, original) = copies();
        let (other, mut later) = (anchored(3, 0), anchored(4, 0));
        later.entry.contribution.point = copy.entry.contribution.point;
        later.block = original.block + 1;
        let mut other_again = other.clone();
        other_again.block = later.block;
        let leaf = |it: &Anchored| it.entry.contribution.leaf();
        let mut index = Index::new(proofs(false));
        index.extend([(copy.clone(), UNPROVEN), (other.clone(), UNPROVEN)]);
        let drawn = |index: &Index, before| -> Vec<Leaf> {
            let pool = index.pool(before).into_iter();
            pool.map(|(leaf, _)| leaf).collect()
        };
        let first = [leaf(&copy), leaf(&other)];
        assert_eq!(drawn(&index, u64::MAX), first);
        index.extend([
            (original.clone(), PROVEN),
            (later.clone(), PROVEN),
            (other_again, UNPROVEN),
        ]);
        // Of what was anchored by then, and by no later word.
        assert_eq!(drawn(&index, original.block), first);
        let all = [leaf(&other), leaf(&original)];
        assert_eq!(drawn(&index, later.block), all);
        assert_eq!(drawn(&index, u64::MAX), all);
        let rule = Rule {
            proof_required: true,
            first_key: 2,
        };
        index.follow(rule);
        assert!(index.counted().is_empty());
        assert_eq!(drawn(&index, u64::MAX), all);
    }

    #[test]
    fn what_is_void_for_ever_is_not_drawn() {
        let (broken, good) = copies();
        let mut taken_over = anchored(3, 0);
        taken_over.block = good.block;
        let mut index = Index::new(proofs(false));
        index.extend([
            (broken, Err(Void::Header)),
            (good.clone(), UNPROVEN),
            (taken_over, Err(Void::TakenOver)),
        ]);
        let pool = index.pool(u64::MAX);
        let drawn = &good.entry;
        assert_eq!(pool, [(drawn.contribution.leaf(), drawn.commitment.length)]);
    }

    #[test]
    fn requiring_proofs_later_drops_what_has_none() {
        let (copy, original) = copies();
        let mut index = Index::new(proofs(false));
        index.extend([(copy.clone(), UNPROVEN)]);
        index.extend([(original.clone(), PROVEN)]);
        assert_eq!(index.unproven(), 1);
        index.follow(proofs(true));
        assert_eq!(
            index.void(copy.entry.contribution.leaf()),
            Some(Void::Unproven)
        );
        assert_eq!(index.counted(), [original]);
        assert_eq!(index.unproven(), 0);
        index.follow(proofs(false));
        assert_eq!(index.counted(), [copy]);
    }

    #[test]
    fn what_is_under_a_replaced_point_counts_no_more() {
        let (old, new) = copies();
        let leaf = old.entry.contribution.leaf();
        let mut index = Index::new(proofs(true));
        let key = Ok(Sealed {
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
        assert_eq!(index.void(leaf), Some(Void::OldKey));
        assert_eq!(
            (index.counted(), index.key_of(&point)),
            (&[new][..], Some(3))
        );
    }
}
