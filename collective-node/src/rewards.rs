//! Rewards: the root over what settled jobs and settled epochs earned is proposed once it grew, and claims are answered
//! from the active one. What was earned follows from proven storage, posted results and released input lists alone.

use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::{Address, B256, U256};
use alloy::rpc::types::Filter;
use alloy::sol_types::SolEvent;
use bytes::Bytes;
use collective::id::BlobId;
use collective::reward::{Claims, RewardLedger, RewardRefusal, RewardRoot};
use thiserror::Error;
use tokio::sync::{Mutex, watch};

use crate::blobs::{BlobError, Blobs, given};
use crate::chain::{Chain, ChainError};
use crate::committee::{Committee, CommitteeError};
use crate::follower::View;
use crate::ledger::{Ledger, LedgerError};
use crate::pace::Pace;
use collective_contracts::{LivenessRegistry, RewardDistributor};
pub use earned::{Earned, Settled, Sources};
pub use epochs::Epochs;
pub use inputs::Inputs;

mod earned;
mod epochs;
mod inputs;

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
    #[error("{what}: {refusal}")]
    Divide {
        /// Of what.
        what: Settled,
        /// Why.
        refusal: RewardRefusal,
    },
    /// The ledger behind a root on chain.
    #[error(
        "the ledger of the active reward root {0} is not here, and what settled does not give it: ask its signers"
    )]
    NoLedger(B256),
    /// Something that settled is not here any more.
    #[error(
        "reward root {0} takes from somebody what an earlier one gave: restore the blobs that were lost since"
    )]
    Falls(B256),
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
    /// What was worked out before.
    pub known: Arc<Known>,
}

/// What is not worked out twice while a process runs.
#[derive(Default)]
pub struct Known {
    /// The claims under the root that was active last.
    claims: Mutex<Option<Arc<Claims>>>,
    /// Who earned in which epoch.
    epochs: Mutex<Epochs>,
    /// What all that settled came to by a finalized block, where nothing of it waits.
    earned: Mutex<Option<(B256, RewardLedger)>>,
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

    /// Settles epochs whose disputes are over, and proposes a new root if more was earned than the newest root pays.
    ///
    /// # Errors
    /// [`RewardError`].
    pub async fn step(&self, committee: &Committee) -> Result<(), RewardError> {
        // A root does not wait for an epoch that cannot be settled.
        let settled = self.settle_epochs().await;
        self.propose(committee).await?;
        settled
    }

    async fn settle_epochs(&self) -> Result<(), RewardError> {
        let deployment = self.chain.deployment();
        let registry = LivenessRegistry::new(deployment.liveness, self.chain.provider());
        let due = self.known.epochs.lock().await.due();
        for epoch in due {
            let latest = self.chain.latest().await?;
            let fact = self.chain.epoch(&latest, epoch).await?;
            if fact.settled || latest.time < fact.settle_from {
                continue;
            }
            let call = registry.settle(deployment.collective, epoch);
            let gas = self.chain.submit(call).await?.gas_used;
            tracing::info!(epoch, pay = %fact.pay, gas, "settled an epoch");
        }
        Ok(())
    }

    /// The committee signs a root, each holder after working it out for itself.
    async fn propose(&self, committee: &Committee) -> Result<(), RewardError> {
        let deployment = self.chain.deployment();
        let distributor = RewardDistributor::new(deployment.rewards, self.chain.provider());
        let pool = distributor.pool(deployment.collective, deployment.token);
        let pool = pool.call().await.map_err(ChainError::from)?;
        let newest = pool.total.max(pool.pendingTotal);
        let time = self.chain.latest().await?.time;
        let window_runs = !pool.pendingRoot.is_zero() && time < pool.activeFrom;
        let sequence = pool.sequence + 1;
        let epoch = self.view.borrow().committee.epoch;
        let ledger = self.recompute().await?;
        if ledger.total().expect("a sum that was credited") <= newest || window_runs {
            return Ok(());
        }
        let Some(root) = self.root_of(&ledger, sequence, epoch).await? else {
            return Ok(());
        };
        self.check_growth(&root).await?;
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

    /// The root over everything that was finally settled, as number `sequence` of the pool; `None` while nothing was. Its
    /// ledger is a blob when this returns.
    ///
    /// # Errors
    /// [`RewardError`].
    pub async fn root(&self, sequence: u64, epoch: u64) -> Result<Option<RewardRoot>, RewardError> {
        let ledger = self.recompute().await?;
        self.root_of(&ledger, sequence, epoch).await
    }

    async fn root_of(
        &self,
        ledger: &RewardLedger,
        sequence: u64,
        epoch: u64,
    ) -> Result<Option<RewardRoot>, RewardError> {
        let deployment = self.chain.deployment();
        let Some(tree) = ledger.tree() else {
            return Ok(None);
        };
        let total = ledger.total().expect("a sum that was credited");
        let manifest = self.blobs.put(Bytes::from(ledger.to_bytes())).await?;
        Ok(Some(RewardRoot {
            collective: deployment.collective,
            token: deployment.token,
            root: tree.root(),
            total,
            manifest,
            sequence,
            epoch,
        }))
    }

    /// Refuses a root of [`Self::root`] under which somebody has less than under the newest one on chain.
    ///
    /// # Errors
    /// [`RewardError::Falls`] and [`RewardError::NoLedger`].
    pub async fn check_growth(&self, root: &RewardRoot) -> Result<(), RewardError> {
        let deployment = self.chain.deployment();
        let distributor = RewardDistributor::new(deployment.rewards, self.chain.provider());
        let pool = distributor.pool(deployment.collective, deployment.token);
        let pool = pool.call().await.map_err(ChainError::from)?;
        let newest = match pool.pendingRoot.is_zero() {
            true => (pool.root, pool.total),
            false => (pool.pendingRoot, pool.pendingTotal),
        };
        if newest.0.is_zero() {
            return Ok(());
        }
        let ledger = self.blobs.get(root.manifest).await?;
        let ledger = serde_json::from_slice::<RewardLedger>(&ledger);
        let ledger = ledger.map_err(|_| RewardError::NoLedger(root.root))?;
        match self.ledger_under(newest).await?.is_within(&ledger) {
            true => Ok(()),
            false => Err(RewardError::Falls(root.root)),
        }
    }

    /// The ledger of a root on chain, with its total.
    async fn ledger_under(&self, root: (B256, U256)) -> Result<RewardLedger, RewardError> {
        let latest = self.chain.latest().await?.number;
        if let Some(ledger) = ledger_of(&self.chain, &self.blobs, root.0, latest).await? {
            return Ok(ledger);
        }
        // It was proposed by another node, or its blob is lost.
        let view = self.view.borrow().clone();
        let earned = self.earned(&view).await?;
        let found = earned.up_to(self.chain.deployment().collective, root)?;
        let ledger = found.map(|(_, ledger)| ledger);
        ledger.ok_or(RewardError::NoLedger(root.0))
    }

    /// Everything that finally settled jobs and epochs ever earned. It is worked out once for a finalized block.
    ///
    /// # Errors
    /// [`RewardError`].
    pub async fn recompute(&self) -> Result<RewardLedger, RewardError> {
        let view = self.view.borrow().clone();
        let mut known = self.known.earned.lock().await;
        if let Some((at, ledger)) = &*known
            && *at == view.finalized.hash
        {
            return Ok(ledger.clone());
        }
        let earned = self.earned(&view).await?;
        // One job whose inputs are lost must not keep everybody else from being paid: leaves only grow, so it can be made
        // good later.
        for (what, missing) in &earned.waiting {
            tracing::error!(%what, missing, "what was settled is left out of the rewards");
        }
        let ledger = earned.ledger(self.chain.deployment().collective)?;
        // What waits may come without another block.
        let is_whole = earned.waiting.is_empty() && self.known.epochs.lock().await.is_whole();
        *known = is_whole.then(|| (view.finalized.hash, ledger.clone()));
        Ok(ledger)
    }

    async fn earned(&self, view: &View) -> Result<Earned, RewardError> {
        let sources = Sources {
            chain: &self.chain,
            blobs: &self.blobs,
            view,
            inputs: Inputs::Own(self),
        };
        sources.earned(&mut *self.known.epochs.lock().await).await
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
        let latest = self.chain.latest().await?;
        // A pending root whose window is over counts as active: the next claim makes it so.
        let ripe = !pool.pendingRoot.is_zero() && latest.time >= pool.activeFrom;
        let (active, total) = if ripe {
            (pool.pendingRoot, pool.pendingTotal)
        } else {
            (pool.root, pool.total)
        };
        if active.is_zero() {
            return Ok(None);
        }
        let mut known = self.known.claims.lock().await;
        if let Some(claims) = known.as_ref().filter(|claims| claims.root() == active) {
            return Ok(Some(claims.clone()));
        }
        let ledger = self.ledger_under((active, total)).await?;
        let claims = Claims::new(&ledger);
        let claims = Arc::new(claims.ok_or(RewardError::NoLedger(active))?);
        *known = Some(claims.clone());
        Ok(Some(claims))
    }
}

/// The ledger that a root was proposed with, up to block `up_to`; `None` where nobody gives one that makes this root.
///
/// # Errors
/// [`RewardError::Chain`]; [`RewardError::Blob`], of this node's store.
pub async fn ledger_of(
    chain: &Chain,
    blobs: &Blobs,
    root: B256,
    up_to: u64,
) -> Result<Option<RewardLedger>, RewardError> {
    let deployment = chain.deployment();
    let word = |address: Address| address.into_word();
    let filter = Filter::new()
        .address(deployment.rewards)
        .event_signature(RewardDistributor::RootProposed::SIGNATURE_HASH)
        .topic1(word(deployment.collective))
        .topic2(word(deployment.token));
    let logs = chain.logs(filter, deployment.first_block, up_to).await?;
    for log in logs.iter().rev() {
        let Ok(proposed) = RewardDistributor::RootProposed::decode_log(&log.inner) else {
            continue;
        };
        if proposed.root == root
            && let Some(bytes) = given(blobs.get(BlobId(proposed.manifest)).await)?
            && let Ok(ledger) = serde_json::from_slice::<RewardLedger>(&bytes)
            && ledger.tree().is_some_and(|tree| tree.root() == root)
        {
            return Ok(Some(ledger));
        }
    }
    Ok(None)
}
