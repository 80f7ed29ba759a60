//! Whether the chain has a contribution: logs are folded to the proven heads, so no endpoint hides or invents one.

use std::collections::HashMap;

use alloy::primitives::{Address, B256, keccak256};
use alloy::rpc::types::Filter;
use alloy::sol_types::SolEvent;
use collective::contribution::{Batch, DirectContribution, batch_head, direct_head};
use collective::id::{BlobId, Leaf};
use collective::receipt::BlockRef;
use collective_contracts::ContributionRegistry::{BatchCommitted, Contributed};

use crate::blobs::Blobs;
use crate::chain::facts::Heads;
use crate::chain::{Chain, Logs};
use crate::follower::FollowError;
use crate::follower::direct::{DirectLog, MAX_BLOCKS_AT_ONCE};

/// What was anchored for a collective up to a block.
pub struct OnChain {
    up_to: BlockRef,
    /// Leaf, hash of the details, block.
    direct: Vec<(Leaf, B256, u64)>,
    batches: Vec<AnchoredBatch>,
}

/// A batch that somebody sent.
#[derive(Clone, Copy, Debug)]
pub struct AnchoredBatch {
    /// Whose transaction it was: anybody can send one with anybody's root.
    pub aggregator: Address,
    /// Root over its leaves.
    pub root: B256,
    /// The manifest that it names.
    pub manifest: BlobId,
    /// In which block.
    pub block: u64,
}

impl AnchoredBatch {
    /// Whether its manifest is at hand, and is one that counts.
    pub async fn is_whole(&self, chain: &Chain, blobs: &Blobs) -> bool {
        let Ok(manifest) = blobs.get(self.manifest).await else {
            return false;
        };
        let deployment = chain.deployment();
        let (registry, collective) = (deployment.registry(), deployment.collective);
        Batch::check(&manifest, &registry, collective, self.root).is_ok()
    }
}

impl OnChain {
    /// Reads it from the collective's first block on.
    ///
    /// # Errors
    /// [`FollowError::Withheld`] where logs are not what the contract's storage proves.
    pub async fn read(chain: &Chain, up_to: BlockRef) -> Result<Self, FollowError> {
        let first = chain.at_height(chain.deployment().first_block).await?;
        let direct = direct(chain, &first, &up_to).await?;
        let batches = batches(chain, &first, &up_to).await?;
        Ok(Self {
            up_to,
            direct,
            batches,
        })
    }

    /// Up to here.
    pub fn up_to(&self) -> &BlockRef {
        &self.up_to
    }

    /// The batches with this root, in the order of their blocks.
    pub fn batches(&self, root: B256) -> impl Iterator<Item = &AnchoredBatch> {
        self.batches.iter().filter(move |batch| batch.root == root)
    }

    /// The first block in which its contributor anchored this.
    pub fn direct(&self, taken: &DirectContribution) -> Option<u64> {
        let (leaf, details) = (taken.entry.contribution.leaf(), keccak256(taken.details()));
        let mut direct = self.direct.iter();
        let found = direct.find(|it| (it.0, it.1) == (leaf, details))?;
        Some(found.2)
    }
}

async fn direct(
    chain: &Chain,
    first: &BlockRef,
    up_to: &BlockRef,
) -> Result<Vec<(Leaf, B256, u64)>, FollowError> {
    let mut pieces = logs(chain, Contributed::SIGNATURE_HASH, first, up_to);
    let mut found = vec![];
    while let Some((logs, last)) = pieces.next().await? {
        for log in &logs {
            let Some(direct) = DirectLog::decode(log) else {
                continue;
            };
            let block = log.block_number.unwrap_or(last);
            found.push((direct.leaf, keccak256(&direct.details), block));
        }
    }
    let link = |head, it: &(Leaf, B256, u64)| direct_head(head, it.0, it.1);
    let fold = |from: Heads| found.iter().fold(from.direct, link);
    check(
        chain,
        first,
        up_to,
        Address::ZERO,
        |heads| heads.direct,
        fold,
    )
    .await?;
    Ok(found)
}

/// Batches by anybody: each aggregator has a head of its own.
async fn batches(
    chain: &Chain,
    first: &BlockRef,
    up_to: &BlockRef,
) -> Result<Vec<AnchoredBatch>, FollowError> {
    let mut pieces = logs(chain, BatchCommitted::SIGNATURE_HASH, first, up_to);
    let mut links = HashMap::<Address, Vec<BatchCommitted>>::new();
    let mut found = vec![];
    while let Some((logs, last)) = pieces.next().await? {
        for log in &logs {
            let Ok(event) = BatchCommitted::decode_log(&log.inner) else {
                continue;
            };
            found.push(AnchoredBatch {
                aggregator: event.aggregator,
                root: event.root,
                manifest: BlobId(event.manifest),
                block: log.block_number.unwrap_or(last),
            });
            links.entry(event.aggregator).or_default().push(event.data);
        }
    }
    for (aggregator, links) in links {
        let link =
            |head, it: &BatchCommitted| batch_head(head, it.root, it.count, BlobId(it.manifest));
        let fold = |from: Heads| links.iter().fold(from.batches, link);
        check(chain, first, up_to, aggregator, |heads| heads.batches, fold).await?;
    }
    Ok(found)
}

/// Whether what was found folds to the proven head. What was sent before there was a collective is in its head, and counts for nothing.
/// Nearly always nothing was: old state, which full nodes do not keep, is asked for only where the head says otherwise.
async fn check(
    chain: &Chain,
    first: &BlockRef,
    up_to: &BlockRef,
    aggregator: Address,
    head: impl Fn(Heads) -> B256,
    fold: impl Fn(Heads) -> B256,
) -> Result<(), FollowError> {
    let proven = head(chain.heads(up_to, aggregator).await?);
    if fold(Heads::default()) == proven {
        return Ok(());
    }
    let folded = fold(chain.heads(first, aggregator).await?);
    match folded == proven {
        true => Ok(()),
        false => Err(FollowError::Withheld {
            folded,
            proven,
            block: up_to.number,
        }),
    }
}

fn logs<'a>(chain: &'a Chain, event: B256, first: &BlockRef, up_to: &BlockRef) -> Logs<'a> {
    let deployment = chain.deployment();
    let filter = Filter::new()
        .address(deployment.contributions)
        .event_signature(event)
        .topic1(deployment.collective.into_word());
    chain.logs_piecewise(filter, first.number + 1, up_to.number, MAX_BLOCKS_AT_ONCE)
}
