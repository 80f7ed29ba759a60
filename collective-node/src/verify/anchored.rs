//! Whether the chain has a contribution: logs are folded to the proven heads, so no endpoint hides or invents one.

use std::collections::BTreeMap;

use alloy::primitives::{Address, B256};
use alloy::rpc::types::{Filter, Log};
use alloy::sol_types::SolEvent;
use collective::contribution::{AnchorReceipt, batch_head};
use collective::id::{BlobId, Leaf};
use collective::receipt::BlockRef;
use collective_contracts::ContributionRegistry::{BatchCommitted, Contributed};

use crate::chain::Chain;
use crate::follower::FollowError;
use crate::follower::direct::DirectLog;

/// What was anchored for a collective up to a block.
pub struct OnChain {
    up_to: BlockRef,
    direct: Vec<(DirectLog, u64)>,
    batches: Vec<(Address, B256, u64)>,
}

impl OnChain {
    /// Reads it from the collective's first block on.
    ///
    /// # Errors
    /// [`FollowError::Withheld`] where logs are not what the contract's storage proves.
    pub async fn read(chain: &Chain, up_to: BlockRef) -> Result<Self, FollowError> {
        let direct = direct(chain, &up_to).await?;
        let batches = batches(chain, &up_to).await?;
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

    /// The block that has what a receipt says, and who anchored it.
    pub fn block_of(&self, receipt: &AnchorReceipt) -> Option<(u64, Address)> {
        match receipt {
            AnchorReceipt::Batch(receipt) => {
                let found = self.batches.iter().find(|it| it.1 == receipt.root)?;
                Some((found.2, found.0))
            }
            AnchorReceipt::Direct(taken) => {
                let contribution = &taken.entry.contribution;
                let block = self.direct(contribution.leaf(), &taken.details())?;
                Some((block, contribution.contributor.address()?))
            }
        }
    }

    /// The first block in which its contributor anchored a leaf with these details.
    fn direct(&self, leaf: Leaf, details: &[u8]) -> Option<u64> {
        let is_it = |it: &&(DirectLog, u64)| it.0.leaf == leaf && *it.0.details == *details;
        self.direct.iter().find(is_it).map(|(_, block)| *block)
    }
}

async fn direct(chain: &Chain, up_to: &BlockRef) -> Result<Vec<(DirectLog, u64)>, FollowError> {
    let logs = logs(chain, Contributed::SIGNATURE_HASH, up_to).await?;
    let read = |log: &Log| Some((DirectLog::decode(log)?, log.block_number?));
    let found: Vec<_> = logs.iter().filter_map(read).collect();
    let folded = found
        .iter()
        .fold(B256::ZERO, |head, (log, _)| log.head(head));
    let proven = chain.heads(up_to, Address::ZERO).await?.direct;
    check(folded, proven, up_to)?;
    Ok(found)
}

/// Roots of batches, by who anchored them: each aggregator has a head of its own.
async fn batches(
    chain: &Chain,
    up_to: &BlockRef,
) -> Result<Vec<(Address, B256, u64)>, FollowError> {
    let logs = logs(chain, BatchCommitted::SIGNATURE_HASH, up_to).await?;
    let mut heads = BTreeMap::<Address, B256>::new();
    let mut found = vec![];
    for log in &logs {
        let Ok(event) = BatchCommitted::decode_log(&log.inner) else {
            continue;
        };
        let head = heads.entry(event.aggregator).or_default();
        *head = batch_head(*head, event.root, event.count, BlobId(event.manifest));
        found.push((
            event.aggregator,
            event.root,
            log.block_number.unwrap_or_default(),
        ));
    }
    for (aggregator, folded) in heads {
        check(folded, chain.heads(up_to, aggregator).await?.batches, up_to)?;
    }
    Ok(found)
}

fn check(folded: B256, proven: B256, up_to: &BlockRef) -> Result<(), FollowError> {
    match folded == proven {
        true => Ok(()),
        false => Err(FollowError::Withheld {
            folded,
            proven,
            block: up_to.number,
        }),
    }
}

async fn logs(chain: &Chain, event: B256, up_to: &BlockRef) -> Result<Vec<Log>, FollowError> {
    let deployment = chain.deployment();
    let filter = Filter::new()
        .address(deployment.contributions)
        .event_signature(event)
        .topic1(deployment.collective.into_word());
    let logs = chain.logs(filter, deployment.first_block, up_to.number);
    Ok(logs.await?)
}
