//! Which anchored contributions count: the rule by which everybody fills an index of the chain (SPEC "Index").
//!
//! A point counts once in a collective's life. Where sender proofs are required only proven contributions count, and
//! only they take a point: a copy of somebody's header that was anchored first takes nothing from its maker.

use std::collections::HashSet;

use crate::id::Point;
use crate::input::Anchored;
use crate::seal::contribution::Sender;

/// All that was anchored, and what of it counts.
#[derive(Clone, Debug, Default)]
pub struct Index {
    proof_required: bool,
    anchored: Vec<(Anchored, Option<Sender>)>,
    points: HashSet<Point>,
    counted: Vec<Anchored>,
    unproven: usize,
}

impl Index {
    /// An index of nothing.
    pub fn new(proof_required: bool) -> Self {
        Self {
            proof_required,
            ..Self::default()
        }
    }

    /// Takes over what one more batch anchored, in its order. `None` stands for a header that breaks a rule: nobody
    /// opens it, and it never counts.
    pub fn extend(&mut self, batch: impl IntoIterator<Item = (Anchored, Option<Sender>)>) {
        for (anchored, sender) in batch {
            if let Some(sender) = sender {
                self.count(&anchored, sender);
            }
            self.anchored.push((anchored, sender));
        }
    }

    /// Sets whether sender proofs are required from now on, for everything that was anchored.
    pub fn require_proof(&mut self, required: bool) {
        if self.proof_required == required {
            return;
        }
        let anchored = std::mem::take(&mut self.anchored);
        *self = Self::new(required);
        self.extend(anchored);
    }

    /// Whether sender proofs are required.
    pub fn is_proof_required(&self) -> bool {
        self.proof_required
    }

    /// What counts, in the order in which it was anchored.
    pub fn counted(&self) -> &[Anchored] {
        &self.counted
    }

    /// All that was anchored, whether it counts or not.
    pub fn anchored(&self) -> impl Iterator<Item = &Anchored> {
        self.anchored.iter().map(|(anchored, _)| anchored)
    }

    /// How many of those that count have no sender proof: they stop counting once proofs are required.
    pub fn unproven(&self) -> usize {
        self.unproven
    }

    /// Contributions that were anchored, whether they count or not.
    pub fn len(&self) -> usize {
        self.anchored.len()
    }

    /// Whether nothing was anchored yet.
    pub fn is_empty(&self) -> bool {
        self.anchored.is_empty()
    }

    fn count(&mut self, anchored: &Anchored, sender: Sender) {
        let counts = sender == Sender::Proven || !self.proof_required;
        if counts && self.points.insert(anchored.entry.contribution.point) {
            self.counted.push(anchored.clone());
            self.unproven += usize::from(sender == Sender::Unproven);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_story::anchored;

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
        let mut index = Index::new(true);
        index.extend([(copy, Some(Sender::Unproven))]);
        index.extend([(original.clone(), Some(Sender::Proven))]);
        assert_eq!(index.counted(), [original]);
    }

    #[test]
    fn a_point_counts_once() {
        let (first, second) = copies();
        let mut index = Index::new(false);
        index.extend([
            (first.clone(), Some(Sender::Unproven)),
            (second, Some(Sender::Proven)),
        ]);
        assert_eq!(index.counted(), [first]);
        assert_eq!(index.len(), 2);
    }

    #[test]
    fn a_header_that_breaks_a_rule_takes_nothing() {
        let (broken, good) = copies();
        let mut index = Index::new(false);
        index.extend([(broken, None), (good.clone(), Some(Sender::Unproven))]);
        assert_eq!(index.counted(), [good]);
    }

    #[test]
    fn requiring_proofs_later_drops_what_has_none() {
        let (copy, original) = copies();
        let mut index = Index::new(false);
        index.extend([(copy.clone(), Some(Sender::Unproven))]);
        index.extend([(original.clone(), Some(Sender::Proven))]);
        assert_eq!(index.unproven(), 1);
        index.require_proof(true);
        assert_eq!(index.counted(), [original]);
        assert_eq!(index.unproven(), 0);
        index.require_proof(false);
        assert_eq!(index.counted(), [copy]);
    }
}
