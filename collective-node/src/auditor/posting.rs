//! What epochs came to is posted where the collective takes this node's word.

use std::collections::BTreeSet;

use collective::liveness::EPOCH_SECONDS;
use collective::receipt::BlockRef;

use super::{AuditError, Auditor};
use crate::chain::ChainError;
use crate::ledger::Audited;
use collective_contracts::LivenessRegistry;

/// Seconds after its end for which LivenessRegistry takes an epoch (`POST_SECONDS`, immutable).
const POST_SECONDS: u64 = 3 * 24 * 60 * 60;

/// Epochs that may still be posted: those that ended within [`POST_SECONDS`], and the present one.
const RECENT: u32 = 5;

impl Auditor {
    /// Where the collective takes this node's word: keeps the randomness of the days that can still be posted, while the chain
    /// knows their blocks, and posts what is over, oldest first.
    pub(super) async fn post(
        &self,
        today: u64,
        finalized: &BlockRef,
        told: &mut BTreeSet<u64>,
    ) -> Result<(), AuditError> {
        let deployment = self.chain.deployment();
        let registry = LivenessRegistry::new(deployment.liveness, self.chain.provider());
        let wage = registry.wage(deployment.collective).call().await;
        if wage.map_err(ChainError::from)?.auditor != self.account {
            return Ok(());
        }
        let last = registry.lastEpoch(deployment.collective).call().await;
        let since = registry.since(deployment.collective).call().await;
        let first = (last.map_err(ChainError::from)? + 1).max(since.map_err(ChainError::from)?);
        let late = finalized.time.saturating_sub(POST_SECONDS) / EPOCH_SECONDS;
        self.keep_randomness(today, finalized, told).await?;
        let audits = self.ledger.audits(RECENT).await?;
        let due = |it: &&Audited| (first.max(late)..today).contains(&it.epoch);
        for audited in audits.iter().rev().filter(due) {
            let epoch = audited.epoch;
            self.keep_randomness(epoch, finalized, told).await?;
            let kept = registry.randomnessOf(epoch).call().await;
            if kept.map_err(ChainError::from)? != audited.randomness {
                continue;
            }
            let counts = LivenessRegistry::Counts {
                held: audited.counts.held,
                wrong: audited.counts.wrong,
                erred: audited.counts.error,
                offline: audited.counts.offline,
            };
            let (collective, results) = (deployment.collective, audited.results.0);
            let call = registry.post(collective, epoch, audited.root, results, counts);
            let gas = self.chain.submit(call).await?.gas_used;
            tracing::info!(epoch, gas, "posted what an epoch came to");
        }
        Ok(())
    }

    /// Keeps an epoch's randomness on chain, if it is not there. Where that fails it is said once, and tried again with the next
    /// finalized block.
    async fn keep_randomness(
        &self,
        epoch: u64,
        finalized: &BlockRef,
        told: &mut BTreeSet<u64>,
    ) -> Result<(), ChainError> {
        let deployment = self.chain.deployment();
        let registry = LivenessRegistry::new(deployment.liveness, self.chain.provider());
        if !registry.randomnessOf(epoch).call().await?.is_zero() {
            return Ok(());
        }
        let start = epoch * EPOCH_SECONDS;
        let Some(block) = self.chain.first_since(start, finalized).await? else {
            return Ok(());
        };
        let header = self.chain.encoded_header(&block).await?;
        let parent = self.chain.at_height(block.number - 1).await?;
        let parent = self.chain.encoded_header(&parent).await?;
        match self
            .chain
            .submit(registry.fixSeed(epoch, header, parent))
            .await
        {
            Ok(receipt) => {
                tracing::info!(
                    epoch,
                    gas = receipt.gas_used,
                    "kept a day's randomness on chain"
                );
            }
            Err(error) if told.insert(epoch) => {
                tracing::warn!(epoch, %error, "a day's randomness is not kept: it cannot be posted");
            }
            Err(_) => {}
        }
        Ok(())
    }
}
