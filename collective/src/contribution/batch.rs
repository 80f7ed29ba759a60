//! A batch: many signed contributions under one root, and its content-addressed manifest.

use std::collections::HashSet;

use alloy_primitives::{B256, keccak256};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{ContributionRefusal, DirectRefusal, Registry, SignedContribution};
use crate::id::{BlobId, Leaf, Point};
use crate::limits::MAX_BATCH;
use crate::merkle::{self, MerkleTree};

/// Contributions that one transaction anchors, in the order of their leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    entries: Vec<SignedContribution>,
}

/// Why a manifest is no batch of a collective.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BatchRefusal {
    /// No leaf, no root.
    #[error("the batch is empty")]
    Empty,
    /// More leaves than a key holder agrees to check at once.
    #[error("the batch has {0} contributions, more than {MAX_BATCH}")]
    TooLarge(usize),
    /// The manifest is no JSON of the documented shape.
    #[error("the manifest does not parse: {0}")]
    Malformed(String),
    /// Same content in other bytes would have two names.
    #[error("the manifest is not canonical JSON")]
    NotCanonical,
    /// One leaf does not hold together.
    #[error("contribution {index}: {refusal}")]
    Entry {
        /// Place in the batch.
        index: usize,
        /// What is wrong with it.
        refusal: ContributionRefusal,
    },
    /// A leaf of another collective.
    #[error("contribution {0} names another collective")]
    AnotherCollective(usize),
    /// Two leaves over one ephemeral point.
    #[error("contribution {index} repeats point {point}")]
    RepeatedPoint {
        /// Place of the second.
        index: usize,
        /// The point.
        point: Point,
    },
    /// The leaves do not hash to what stands on chain.
    #[error("the leaves hash to {computed}, the chain says {anchored}")]
    AnotherRoot {
        /// From the manifest.
        computed: B256,
        /// From the chain.
        anchored: B256,
    },
}

impl Batch {
    /// A batch of contributions that were checked one by one when they arrived.
    ///
    /// # Errors
    /// [`BatchRefusal::Empty`] or [`BatchRefusal::TooLarge`].
    pub fn new(entries: Vec<SignedContribution>) -> Result<Self, BatchRefusal> {
        match entries.len() {
            0 => Err(BatchRefusal::Empty),
            1..=MAX_BATCH => Ok(Self { entries }),
            more => Err(BatchRefusal::TooLarge(more)),
        }
    }

    /// Parses a manifest and checks every leaf and every signature in it: what a key holder does
    /// with bytes that somebody else anchored.
    ///
    /// # Errors
    /// The first defect, with its place.
    pub fn check(
        manifest: &[u8],
        registry: &Registry,
        collective: alloy_primitives::Address,
        anchored: B256,
    ) -> Result<Self, BatchRefusal> {
        let entries: Vec<SignedContribution> = serde_json::from_slice(manifest)
            .map_err(|error| BatchRefusal::Malformed(error.to_string()))?;
        let batch = Self::new(entries)?;
        if batch.manifest() != manifest {
            return Err(BatchRefusal::NotCanonical);
        }
        let mut points = HashSet::new();
        for (index, entry) in batch.entries.iter().enumerate() {
            let point = entry.contribution.point;
            if entry.contribution.collective != collective {
                return Err(BatchRefusal::AnotherCollective(index));
            }
            if !points.insert(point) {
                return Err(BatchRefusal::RepeatedPoint { index, point });
            }
            entry
                .check(registry)
                .map_err(|refusal| BatchRefusal::Entry { index, refusal })?;
        }
        let computed = batch.tree().root();
        if computed != anchored {
            return Err(BatchRefusal::AnotherRoot { computed, anchored });
        }
        Ok(batch)
    }

    /// The contributions, in the order of their leaves.
    pub fn entries(&self) -> &[SignedContribution] {
        &self.entries
    }

    /// The tree whose root goes on chain.
    pub fn tree(&self) -> MerkleTree {
        let leaves: Vec<B256> = self
            .entries
            .iter()
            .map(|entry| entry.contribution.leaf().0)
            .collect();
        MerkleTree::new(&leaves).expect("a batch has at least one entry")
    }

    /// The canonical manifest (RFC 8785); its SHA-256 goes on chain beside the root.
    pub fn manifest(&self) -> Vec<u8> {
        serde_json_canonicalizer::to_vec(&self.entries).expect("entries are plain JSON values")
    }

    /// The receipt that contribution `index` keeps, or `None` past the last.
    pub fn receipt(&self, index: usize) -> Option<BatchReceipt> {
        let tree = self.tree();
        Some(BatchReceipt {
            root: tree.root(),
            index: index as u64,
            proof: tree.proof(index)?,
            entry: self.entries.get(index)?.clone(),
        })
    }
}

/// Hash-chain head of (collective, aggregator) after one more batch, as ContributionRegistry folds it.
pub fn batch_head(previous: B256, root: B256, count: u32, manifest: BlobId) -> B256 {
    let count = B256::from(alloy_primitives::U256::from(count));
    keccak256([previous, root, count, manifest.0].concat())
}

/// What proves for ever, without any server, that a contribution was anchored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchReceipt {
    /// The batch's root, which stands in an event and in the hash-chain head.
    pub root: B256,
    /// Place in the batch; informative, the proof does not bind it.
    pub index: u64,
    /// Path from the leaf to the root.
    pub proof: Vec<B256>,
    /// The leaf, what it opens to, and the contributor's signature.
    pub entry: SignedContribution,
}

/// Why a receipt proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ReceiptRefusal {
    /// The leaf, its openings or its signature.
    #[error(transparent)]
    Entry(#[from] ContributionRefusal),
    /// The path ends elsewhere.
    #[error("the path from this leaf does not lead to root {0}")]
    NotInBatch(B256),
    /// Something of a direct contribution.
    #[error(transparent)]
    Direct(#[from] DirectRefusal),
}

impl BatchReceipt {
    /// Checks signature, openings and path. That `root` stands on chain is for the caller to look up.
    ///
    /// # Errors
    /// What does not hold.
    pub fn check(&self, registry: &Registry) -> Result<Leaf, ReceiptRefusal> {
        self.entry.check(registry)?;
        if !self.leads_to_root() {
            return Err(ReceiptRefusal::NotInBatch(self.root));
        }
        Ok(self.entry.contribution.leaf())
    }

    /// Whether the path leads from the leaf to the root.
    pub fn leads_to_root(&self) -> bool {
        merkle::verify(self.root, self.entry.contribution.leaf().0, &self.proof)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_story::anchored;

    #[test]
    fn a_manifest_reads_back_as_it_was_however_large_its_numbers() {
        let mut entry = anchored(1, u64::MAX).entry;
        entry.terms.expiry = u64::MAX - 1;
        entry.commitment.length = (1 << 53) + 1;
        let batch = Batch::new(vec![entry.clone()]).expect("one entry");
        let read: Vec<SignedContribution> =
            serde_json::from_slice(&batch.manifest()).expect("the documented shape");
        assert_eq!(read, [entry]);
    }
}
