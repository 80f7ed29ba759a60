//! Which committees the collective has accepted, and in which blocks: a contribution counts under the key of its time.
//!
//! As with batches, logs are hints. What was accepted as an epoch is proven in storage, and so is that nothing was
//! accepted as the epochs between; that the acceptance stands in this block is the endpoint's word.

use std::sync::Arc;

use alloy::sol_types::SolEvent;
use collective::epochs::{Epochs, Key};
use collective::receipt::BlockRef;
use collective::seal::tagged::TaggedRecipient;
use collective_contracts::NodeRegistry::CommitteeAccepted;

use super::{FollowError, Follower};
use crate::chain::facts::CommitteeFact;

/// Epochs that may be passed over from one accepted committee to the next: holders follow plans 16 ahead at most, and each
/// that was passed over is read from storage.
const MAX_SKIPPED: u64 = 256;

impl Follower {
    /// The keys up to `to`, where `committee` is in force, from those known before and the logs since `from`.
    pub(super) async fn epochs(
        &self,
        from: u64,
        to: &BlockRef,
        committee: &CommitteeFact,
    ) -> Result<Arc<Epochs>, FollowError> {
        let (known, mut last) = {
            let view = self.view.borrow();
            (view.epochs.clone(), view.committee.epoch)
        };
        if committee.epoch == last {
            return Ok(known);
        }
        let nodes = self.chain.deployment().nodes;
        let filter = self.of_collective().address(nodes);
        let filter = filter.event_signature(CommitteeAccepted::SIGNATURE_HASH);
        let mut epochs = Epochs::clone(&known);
        for log in self.chain.logs(filter, from, to.number).await? {
            let Ok(event) = CommitteeAccepted::decode_log(&log.inner) else {
                continue;
            };
            let number = log.block_number.unwrap_or(to.number);
            let fact = self.chain.committee_of(to, event.epoch).await?;
            let follows = event.epoch > last && fact.hash == event.hash;
            if !follows || !self.none_between(to, last, event.epoch).await? {
                return Err(FollowError::Acceptances { block: to.number });
            }
            let block = self.chain.at_height(number).await?;
            if let Some(key) = self.key(&fact, &block).await? {
                epochs.accept(key);
            }
            last = event.epoch;
        }
        if last != committee.epoch {
            return Err(FollowError::Acceptances { block: to.number });
        }
        Ok(Arc::new(epochs))
    }

    /// The key of a committee that was accepted in `block`. One whose recipient is none has none: nobody can seal to it.
    pub(super) async fn key(
        &self,
        fact: &CommitteeFact,
        block: &BlockRef,
    ) -> Result<Option<Key>, FollowError> {
        let published = self.chain.published_recipient(block, fact).await?;
        let published = published.ok_or(FollowError::Acceptances {
            block: block.number,
        })?;
        let recipient: Option<TaggedRecipient> = published.parse().ok();
        let recipient = recipient.filter(|read| read.to_string() == published);
        if recipient.is_none() {
            tracing::warn!(
                epoch = fact.epoch,
                "an accepted committee has no recipient that parses"
            );
        }
        Ok(recipient.map(|recipient| Key {
            epoch: fact.epoch,
            block: block.number,
            time: block.time,
            recipient,
        }))
    }

    /// Whether storage knows no committee for the epochs after `last` and before `next`.
    async fn none_between(
        &self,
        block: &BlockRef,
        last: u64,
        next: u64,
    ) -> Result<bool, FollowError> {
        let skipped = last + 1..next;
        if next - last > MAX_SKIPPED {
            return Ok(false);
        }
        Ok(self.chain.no_committees(block, skipped).await?)
    }
}
