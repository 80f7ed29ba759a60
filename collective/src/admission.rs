//! Who is admitted as a contributor: a root that an executed proposal set (SPEC "Admission").

use alloy_primitives::B256;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::id::ContributorId;
use crate::merkle::{MerkleTree, NoLeaves, leaf_of, verify};

/// ContributionRegistry's word for a collective.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Nobody yet: the word is zero.
    Closed,
    /// Anybody: the word is all ones. Minimum groups and equal rewards are then advisory.
    Open,
    /// Those under this root.
    Root(B256),
}

impl From<B256> for Admission {
    fn from(word: B256) -> Self {
        match word {
            B256::ZERO => Self::Closed,
            word if word == B256::repeat_byte(0xff) => Self::Open,
            root => Self::Root(root),
        }
    }
}

/// The admitted ids, published beside the root so that anybody can make proofs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<ContributorId>", into = "Vec<ContributorId>")]
pub struct AdmissionList(Vec<ContributorId>);

/// Why a list of ids is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ListRefusal {
    /// An id that is not greater than the one before it.
    #[error("ids must rise strictly: {0} does not")]
    NotRising(ContributorId),
    /// Nobody in it.
    #[error("the list is empty: closing a collective is the zero word, not an empty list")]
    Empty,
}

impl TryFrom<Vec<ContributorId>> for AdmissionList {
    type Error = ListRefusal;

    fn try_from(ids: Vec<ContributorId>) -> Result<Self, ListRefusal> {
        if ids.is_empty() {
            return Err(ListRefusal::Empty);
        }
        match ids.windows(2).find(|pair| pair[0] >= pair[1]) {
            Some(pair) => Err(ListRefusal::NotRising(pair[1])),
            None => Ok(Self(ids)),
        }
    }
}

impl From<AdmissionList> for Vec<ContributorId> {
    fn from(list: AdmissionList) -> Self {
        list.0
    }
}

impl AdmissionList {
    /// Sorts and de-duplicates ids into a list.
    ///
    /// # Errors
    /// [`NoLeaves`] when there is none.
    pub fn new(ids: impl IntoIterator<Item = ContributorId>) -> Result<Self, NoLeaves> {
        let mut ids: Vec<_> = ids.into_iter().collect();
        ids.sort_unstable();
        ids.dedup();
        if ids.is_empty() {
            Err(NoLeaves)
        } else {
            Ok(Self(ids))
        }
    }

    /// Whether `id` is in the list.
    pub fn contains(&self, id: ContributorId) -> bool {
        self.0.binary_search(&id).is_ok()
    }

    /// How many are admitted.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The root to be voted on.
    pub fn root(&self) -> B256 {
        self.tree().root()
    }

    /// The path that proves `id`, or `None` for somebody who is not in the list.
    pub fn proof(&self, id: ContributorId) -> Option<Vec<B256>> {
        let index = self.0.binary_search(&id).ok()?;
        self.tree().proof(index)
    }

    fn tree(&self) -> MerkleTree {
        let leaves: Vec<B256> = self.0.iter().map(|id| leaf_of(&[id.0])).collect();
        MerkleTree::new(&leaves).expect("a list has at least one id")
    }
}

impl Admission {
    /// Whether `id` is admitted, given the path that `list` or somebody else made.
    pub fn admits(self, id: ContributorId, proof: &[B256]) -> bool {
        match self {
            Self::Closed => false,
            Self::Open => true,
            Self::Root(root) => verify(root, leaf_of(&[id.0]), proof),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(byte: u8) -> ContributorId {
        ContributorId(B256::with_last_byte(byte))
    }

    #[test]
    fn those_in_the_list_are_admitted_and_nobody_else() {
        let list = AdmissionList::new([id(3), id(1), id(2), id(3)]).expect("ids");
        let admission = Admission::from(list.root());
        for byte in 1..=3 {
            let proof = list.proof(id(byte)).expect("in the list");
            assert!(admission.admits(id(byte), &proof));
            assert!(!admission.admits(id(4), &proof));
            assert!(!Admission::Closed.admits(id(byte), &proof));
        }
        assert_eq!(list.proof(id(4)), None);
        assert!(Admission::Open.admits(id(4), &[]));
    }

    #[test]
    fn the_two_special_words_are_no_roots() {
        assert_eq!(Admission::from(B256::ZERO), Admission::Closed);
        assert_eq!(Admission::from(B256::repeat_byte(0xff)), Admission::Open);
    }

    #[test]
    fn a_list_that_is_not_in_order_has_no_second_spelling() {
        assert_eq!(
            AdmissionList::try_from(vec![id(2), id(1)]),
            Err(ListRefusal::NotRising(id(1)))
        );
        assert_eq!(
            AdmissionList::try_from(vec![id(1), id(1)]),
            Err(ListRefusal::NotRising(id(1)))
        );
    }
}
