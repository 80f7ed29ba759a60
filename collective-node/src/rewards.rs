//! Rewards: what settled jobs earned for whom, worked out from proven storage and the input lists
//! noted before each release; the root is proposed once it grew.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::{B256, U256};
use alloy::rpc::types::{Filter, Log};
use alloy::sol_types::SolEvent;
use bytes::Bytes;
use collective::id::{ContributorId, Leaf};
use collective::merkle::MerkleTree;
use collective::permit::grant;
use collective::reward::{Claims, Earning, RewardLedger, RewardRefusal, RewardRoot};
use thiserror::Error;
use tokio::sync::{Mutex, watch};

use crate::blobs::{BlobError, Blobs};
use crate::chain::facts::{JobFact, JobState};
use crate::chain::{Chain, ChainError};
use crate::committee::{Committee, CommitteeError};
use crate::decision::Facts;
use crate::follower::View;
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
    /// The committee.
    #[error(transparent)]
    Committee(#[from] Box<CommitteeError>),
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
    /// Chain facts.
    pub view: watch::Receiver<View>,
    /// The claims under the root that was active last; worked out again for another root.
    pub known: Arc<Mutex<Option<Arc<Claims>>>>,
}

impl Rewards {
    /// Steps for ever, `pause` after each.
    pub async fn run(self, committee: Arc<Committee>, pause: Duration) {
        let mut pace = Pace::new(pause);
        loop {
            let step = self.step(&committee).await;
            pace.rest("rewards could not be proposed", step).await;
        }
    }

    /// Proposes a new root if settled jobs earned more than the newest root pays. The committee signs it, each holder
    /// after working it out for itself.
    ///
    /// # Errors
    /// [`RewardError`].
    pub async fn step(&self, committee: &Committee) -> Result<(), RewardError> {
        let deployment = self.chain.deployment();
        let distributor = RewardDistributor::new(deployment.rewards, self.chain.provider());
        let pool = distributor.pool(deployment.collective, deployment.token);
        let pool = pool.call().await.map_err(ChainError::from)?;
        let newest = pool.total.max(pool.pendingTotal);
        let time = self.chain.latest().await?.time;
        let window_runs = !pool.pendingRoot.is_zero() && time < pool.activeFrom;
        let sequence = pool.sequence.saturating_to::<u64>() + 1;
        let epoch = self.view.borrow().committee.epoch;
        let Some(root) = self.root(sequence, epoch).await? else {
            return Ok(());
        };
        if root.total <= newest || window_runs {
            return Ok(());
        }
        let signatures = committee.sign_rewards(&root).await.map_err(Box::new)?;
        let call = distributor.propose(
            root.collective,
            root.token,
            root.root,
            root.total,
            root.manifest.0,
            root.epoch,
            signatures,
        );
        self.chain.submit(call).await?;
        tracing::info!(total = %root.total, "proposed a reward root");
        Ok(())
    }

    /// The root that the finally settled jobs give, as number `sequence` of the pool; `None` before the first job. Its
    /// ledger is a blob when this returns.
    ///
    /// # Errors
    /// [`RewardError`].
    pub async fn root(&self, sequence: u64, epoch: u64) -> Result<Option<RewardRoot>, RewardError> {
        let deployment = self.chain.deployment();
        let ledger = self.recompute().await?;
        let Some(tree) = ledger.tree() else {
            return Ok(None);
        };
        let manifest = self.blobs.put(Bytes::from(ledger.to_bytes())).await?;
        Ok(Some(RewardRoot {
            collective: deployment.collective,
            token: deployment.token,
            root: tree.root(),
            total: ledger.total(),
            manifest,
            sequence,
            epoch,
        }))
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
        // Also of what counts no more: it was paid for.
        let contributors: HashMap<Leaf, ContributorId> = view
            .index
            .anchored()
            .map(|a| {
                (
                    a.entry.contribution.leaf(),
                    a.entry.contribution.contributor,
                )
            })
            .collect();
        let mut ledger = RewardLedger::default();
        for job in self.settled(view.finalized.number).await? {
            let fact = self.chain.job(&view.finalized, job).await?;
            let ended = matches!(fact.state, JobState::Settled | JobState::Abandoned);
            if fact.lease.collective != deployment.collective || !ended {
                continue;
            }
            // What the contract paid, from proven storage: a log is a hint.
            let (_, terms) = self
                .chain
                .approval(&view.finalized, fact.lease.manifest)
                .await?;
            let amount = terms.price * U256::from(terms.contributors_bps) / U256::from(10_000);
            if terms.token != deployment.token || amount.is_zero() {
                continue;
            }
            // One job whose inputs are lost must not keep everybody else from being paid: leaves
            // only grow, so it can be made good later.
            let Some(leaves) = self.inputs(job, &fact).await? else {
                tracing::error!(
                    job,
                    "the input list of a settled job is not here: it is left out"
                );
                continue;
            };
            let owners: Option<Vec<_>> = leaves
                .iter()
                .map(|leaf| contributors.get(leaf).copied())
                .collect();
            let Some(contributors) = owners else { continue };
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

    /// Jobs that paid their contributors, in the order in which they did.
    async fn settled(&self, up_to: u64) -> Result<Vec<u64>, RewardError> {
        let deployment = self.chain.deployment();
        let filter = Filter::new()
            .address(deployment.escrow)
            .event_signature(vec![
                JobEscrow::Settled::SIGNATURE_HASH,
                JobEscrow::Abandoned::SIGNATURE_HASH,
            ]);
        let logs = self
            .chain
            .logs(filter, deployment.first_block, up_to)
            .await?;
        // The job is the first indexed argument of both.
        let job = |log: &Log| log.topics().get(1).map(|word| U256::from_be_bytes(word.0));
        Ok(logs
            .iter()
            .filter_map(job)
            .map(|job| job.saturating_to())
            .collect())
    }

    /// The input set that was released: as it was noted then, or derived again from the facts at the lease's blocks,
    /// where the endpoint still proves them.
    pub(crate) async fn inputs(
        &self,
        job: u64,
        fact: &JobFact,
    ) -> Result<Option<Vec<Leaf>>, RewardError> {
        if let Some(list) = self.ledger.inputs(job, fact.lease.attempt).await?
            && let Ok(bytes) = self.blobs.get(list).await
            && let Ok(leaves) = serde_json::from_slice::<Vec<Leaf>>(&bytes)
            && root(&leaves) == Some(fact.input_root)
        {
            return Ok(Some(leaves));
        }
        let view = self.view.borrow().clone();
        let Ok(facts) = Facts::as_leased(&self.chain, &self.blobs, view, fact).await else {
            return Ok(None);
        };
        let granted = grant(&facts.case_as_released(fact, fact.lease.node));
        let leaves: Vec<Leaf> = match granted {
            Ok(granted) if granted.input().root() == fact.input_root => {
                granted.input().leaves().collect()
            }
            _ => return Ok(None),
        };
        let list = serde_json::to_vec(&leaves).expect("plain JSON values");
        let list = self.blobs.put(Bytes::from(list)).await?;
        self.ledger
            .keep_inputs(job, fact.lease.attempt, list)
            .await?;
        Ok(Some(leaves))
    }
}

fn root(leaves: &[Leaf]) -> Option<B256> {
    let words: Vec<_> = leaves.iter().map(|leaf| leaf.0).collect();
    MerkleTree::new(&words).map(|tree| tree.root()).ok()
}
