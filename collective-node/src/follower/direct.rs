//! What contributors anchored without a batch (SPEC "Direct contribution").

use std::sync::Arc;

use alloy::primitives::{B256, Bytes, keccak256};
use alloy::rpc::types::Log;
use alloy::sol_types::SolEvent;
use collective::contribution::{DirectContribution, DirectRefusal, direct_head};
use collective::epochs::Epochs;
use collective::id::Leaf;
use collective::merkle::leaf_of;
use collective_contracts::ContributionRegistry::Contributed;

use super::{FollowError, Follower, Stretch};

/// Blocks whose logs are asked for at once, where contributors anchor: full of details they would have three quarters of a MiB
/// each, at a gas limit of 36 million.
pub(crate) const MAX_BLOCKS_AT_ONCE: u64 = 1_000;

/// A log of `Contributed`, whatever is in it.
pub(crate) struct DirectLog {
    /// The leaf that the contract made of the struct.
    pub leaf: Leaf,
    /// What stands beside it.
    pub details: Bytes,
}

impl DirectLog {
    /// `None` for bytes that the contract did not write: without it the head does not fold to the proven one.
    pub fn decode(log: &Log) -> Option<Self> {
        let event = Contributed::decode_log(&log.inner).ok()?.data;
        // Of the words as they are: a nonce may be larger than any that counts.
        let leaf = leaf_of(&[
            event.collective.into_word(),
            event.contributorId,
            event.point,
            event.commitment,
            event.terms,
            B256::from(event.nonce),
        ]);
        Some(Self {
            leaf: Leaf(leaf),
            details: event.details,
        })
    }

    /// The head after it.
    pub fn head(&self, before: B256) -> B256 {
        direct_head(before, self.leaf, keccak256(&self.details))
    }
}

impl Follower {
    /// It counts as one from a batch does. Without the aggregator's acknowledgement it is nothing at all: nobody may have its file,
    /// and whatever is in the index is waited for, audited and paid.
    pub(super) async fn take_direct(
        &self,
        log: &Log,
        number: u64,
        epochs: &Arc<Epochs>,
        stretch: &mut Stretch,
    ) -> Result<(), FollowError> {
        let Some(log) = DirectLog::decode(log) else {
            return Ok(());
        };
        let leaf = log.leaf;
        stretch.heads.direct = log.head(stretch.heads.direct);
        let direct = match self.checked(&log) {
            Ok(direct) => direct,
            Err(refusal) => {
                tracing::warn!(%leaf, %refusal, "a direct contribution counts for nothing");
                return Ok(());
            }
        };
        stretch.direct.push((leaf, number));
        // The first anchoring counts. A batch cannot be helped, but whoever sends a leaf often enough gets no second place.
        if stretch.leaves.contains(&leaf) || self.view.borrow().index.holds(leaf) {
            return Ok(());
        }
        let DirectContribution { entry, header, .. } = direct;
        self.headers.keep(header.0.clone()).await?;
        let block = self.chain.at_height(number).await?;
        let (entries, given) = (vec![entry.clone()], vec![header.0]);
        let mut sealed = self.check_headers(entries, given, epochs, &block).await;
        stretch.anchor(entry, sealed.remove(0), &block);
        Ok(())
    }

    fn checked(&self, log: &DirectLog) -> Result<DirectContribution, DirectRefusal> {
        let direct = DirectContribution::parse(&log.details)?;
        let leaf = direct.entry.contribution.leaf();
        if leaf != log.leaf {
            return Err(DirectRefusal::AnotherLeaf(leaf));
        }
        let deployment = self.chain.deployment();
        let (registry, collective) = (deployment.registry(), deployment.collective);
        direct.check(&registry, collective, self.aggregator)?;
        Ok(direct)
    }
}
