//! Rewards: what settled jobs earned for whom, recomputed from chain and blobs; the root is proposed
//! once it grew. Nothing is remembered here that cannot be worked out again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::{B256, Bytes as CallData, U256};
use alloy::providers::Provider;
use alloy::rpc::types::Filter;
use alloy::sol_types::SolEvent;
use bytes::Bytes;
use collective::id::{BlobId, ContributorId, Leaf};
use collective::merkle::MerkleTree;
use collective::reward::{Claims, Earning, RewardLedger, RewardRefusal, RewardRoot};
use thiserror::Error;
use tokio::sync::{Mutex, watch};

use crate::blobs::{BlobError, Blobs};
use crate::chain::{Chain, ChainError};
use crate::driver::RunRecord;
use crate::follower::View;
use crate::keystore::Keystore;
use crate::ledger::{Ledger, LedgerError};
use crate::pace::Pace;
use collective_contracts::{JobEscrow, RewardDistributor};

/// Why rewards could not be worked out or proposed. The next step tries again.
#[derive(Debug, Error)]
pub enum RewardError {
    /// The chain.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The blob store.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// A share cannot be divided.
    #[error("job {job}: {refusal}")]
    Divide {
        /// The job.
        job: u64,
        /// Why.
        refusal: RewardRefusal,
    },
    /// The active root is none that the settled jobs give.
    #[error("the active reward root {0} is not what the settled jobs earned: ask its signers")]
    UnknownRoot(B256),
    /// The record of a settled job is not here, or its inputs are not those on chain.
    #[error("job {0} is settled, but its input list is not here or does not match the chain")]
    InputsMissing(u64),
}

/// Works rewards out and proposes roots.
#[derive(Clone)]
pub struct Rewards {
    /// The chain, with the node's account.
    pub chain: Chain,
    /// Run records.
    pub ledger: Ledger,
    /// Input lists and reward ledgers.
    pub blobs: Blobs,
    /// The key holder's key.
    pub keys: Arc<Keystore>,
    /// Chain facts.
    pub view: watch::Receiver<View>,
    /// The claims under the root that was active last; worked out again for another root.
    pub known: Arc<Mutex<Option<Arc<Claims>>>>,
}

impl Rewards {
    /// Steps for ever, `pause` after each.
    pub async fn run(self, pause: Duration) {
        let mut pace = Pace::new(pause);
        loop {
            let step = self.step().await;
            pace.rest("rewards could not be proposed", step).await;
        }
    }

    /// Proposes a new root if settled jobs earned more than the newest root pays.
    ///
    /// # Errors
    /// [`RewardError`].
    pub async fn step(&self) -> Result<(), RewardError> {
        let deployment = self.chain.deployment();
        let ledger = self.recompute().await?;
        let Some(tree) = ledger.tree() else {
            return Ok(());
        };
        let distributor = RewardDistributor::new(deployment.rewards, self.chain.provider());
        let pool = distributor.pool(deployment.collective, deployment.token);
        let pool = pool.call().await.map_err(ChainError::from)?;
        let newest = pool.total.max(pool.pendingTotal);
        let window_runs = !pool.pendingRoot.is_zero() && pool.pendingTotal > pool.total;
        if ledger.total() <= newest || window_runs {
            return Ok(());
        }
        let manifest = self.blobs.put(Bytes::from(ledger.to_bytes())).await?;
        let root = RewardRoot {
            collective: deployment.collective,
            token: deployment.token,
            root: tree.root(),
            total: ledger.total(),
            manifest,
            sequence: pool.sequence.saturating_to::<u64>() + 1,
            epoch: self.view.borrow().committee.epoch,
        };
        let digest = root.signing_hash(deployment.chain_id, deployment.rewards);
        let signature = CallData::copy_from_slice(&self.keys.sign(digest).as_bytes());
        let call = distributor.propose(
            root.collective,
            root.token,
            root.root,
            root.total,
            manifest.0,
            root.epoch,
            vec![signature],
        );
        self.chain.submit(call).await?;
        tracing::info!(total = %root.total, "proposed a reward root");
        Ok(())
    }

    /// Everything that finally settled jobs ever earned.
    ///
    /// # Errors
    /// [`RewardError`].
    pub async fn recompute(&self) -> Result<RewardLedger, RewardError> {
        self.fold(|_| false).await
    }

    /// What can be claimed now, under the active root; `None` before the first.
    ///
    /// # Errors
    /// [`RewardError`].
    pub async fn claims(&self) -> Result<Option<Arc<Claims>>, RewardError> {
        let deployment = self.chain.deployment();
        let distributor = RewardDistributor::new(deployment.rewards, self.chain.provider());
        let pool = distributor.pool(deployment.collective, deployment.token);
        let pool = pool.call().await.map_err(ChainError::from)?;
        let time = self.chain.latest().await?.time;
        // A pending root whose window is over counts as active: the next claim makes it so.
        let ripe = !pool.pendingRoot.is_zero() && time >= pool.activeFrom;
        let active = if ripe { pool.pendingRoot } else { pool.root };
        if active.is_zero() {
            return Ok(None);
        }
        let mut known = self.known.lock().await;
        if let Some(claims) = known.as_ref().filter(|claims| claims.root() == active) {
            return Ok(Some(claims.clone()));
        }
        let is_active = |ledger: &RewardLedger| {
            Claims::new(ledger).is_some_and(|claims| claims.root() == active)
        };
        let claims = Claims::new(&self.fold(is_active).await?);
        let claims = claims.filter(|claims| claims.root() == active);
        let claims = Arc::new(claims.ok_or(RewardError::UnknownRoot(active))?);
        *known = Some(claims.clone());
        Ok(Some(claims))
    }

    /// Credits settled jobs in the order in which they settled, until `enough`.
    async fn fold(
        &self,
        enough: impl Fn(&RewardLedger) -> bool,
    ) -> Result<RewardLedger, RewardError> {
        let deployment = self.chain.deployment();
        let view = self.view.borrow().clone();
        let contributors: HashMap<Leaf, ContributorId> = view
            .anchored
            .iter()
            .map(|a| {
                (
                    a.entry.contribution.leaf(),
                    a.entry.contribution.contributor,
                )
            })
            .collect();
        let mut ledger = RewardLedger::default();
        for (job, amount) in self.settled(view.finalized.number).await? {
            let fact = self.chain.job(&view.finalized, job).await?;
            if fact.lease.collective != deployment.collective || amount.is_zero() {
                continue;
            }
            let leaves = self.inputs(job, fact.lease.attempt).await?;
            let words: Vec<_> = leaves.iter().map(|leaf| leaf.0).collect();
            let root = MerkleTree::new(&words).map(|tree| tree.root());
            let owners: Option<Vec<_>> = leaves
                .iter()
                .map(|leaf| contributors.get(leaf).copied())
                .collect();
            let (true, Some(contributors)) = (root == Ok(fact.input_root), owners) else {
                return Err(RewardError::InputsMissing(job));
            };
            ledger
                .credit(
                    &Earning {
                        amount,
                        contributors,
                    },
                    deployment.collective,
                )
                .map_err(|refusal| RewardError::Divide { job, refusal })?;
            if enough(&ledger) {
                break;
            }
        }
        Ok(ledger)
    }

    /// Settled jobs and the contributors' share of each, in the order of their settlement.
    async fn settled(&self, up_to: u64) -> Result<Vec<(u64, U256)>, RewardError> {
        let deployment = self.chain.deployment();
        let filter = Filter::new()
            .address(deployment.escrow)
            .event_signature(vec![
                JobEscrow::Settled::SIGNATURE_HASH,
                JobEscrow::Abandoned::SIGNATURE_HASH,
            ])
            .from_block(deployment.first_block)
            .to_block(up_to);
        let logs = self
            .chain
            .provider()
            .get_logs(&filter)
            .await
            .map_err(ChainError::from)?;
        let mut settled = Vec::with_capacity(logs.len());
        for log in logs {
            if let Ok(event) = JobEscrow::Settled::decode_log(&log.inner) {
                settled.push((event.job.saturating_to(), event.contributors));
            } else if let Ok(event) = JobEscrow::Abandoned::decode_log(&log.inner) {
                settled.push((event.job.saturating_to(), event.contributors));
            }
        }
        Ok(settled)
    }

    async fn inputs(&self, job: u64, attempt: u32) -> Result<Vec<Leaf>, RewardError> {
        let record = self
            .ledger
            .run(job, attempt)
            .await?
            .ok_or(RewardError::InputsMissing(job))?;
        let record: RunRecord =
            serde_json::from_str(&record).map_err(|_| RewardError::InputsMissing(job))?;
        leaves(&self.blobs, record.inputs)
            .await?
            .ok_or(RewardError::InputsMissing(job))
    }
}

/// The leaves in an input list, or `None` where the blob is no such list.
async fn leaves(blobs: &Blobs, list: BlobId) -> Result<Option<Vec<Leaf>>, BlobError> {
    Ok(serde_json::from_slice(&blobs.get(list).await?).ok())
}
