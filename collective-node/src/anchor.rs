//! Anchors held contributions on chain, in batches.
//!
//! A batch's manifest is a blob before the ledger names it, and the ledger names it before it is
//! sent. A batch that stands neither in a finalized block nor in one above is sent (again): after
//! a crash, after a reorganisation. A second copy on chain would change nothing, for a point
//! counts once.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use alloy::primitives::{Address, B256};
use alloy::providers::Provider;
use alloy::rpc::types::{Filter, Log};
use alloy::sol_types::SolEvent;
use bytes::Bytes;
use collective::contribution::Batch;
use collective::id::{BlobId, Leaf};
use collective::limits::MAX_BATCH;
use thiserror::Error;
use tokio::sync::watch;

use crate::blobs::{BlobError, Blobs};
use crate::chain::{Chain, ChainError};
use crate::crash::Step;
use crate::follower::View;
use crate::ledger::{BatchRow, Ledger, LedgerError};
use crate::pace::Pace;
use crate::rebuild::{RebuildError, rebuild};
use collective_contracts::ContributionRegistry::{self, BatchCommitted};

/// Why a step of anchoring did not work. The next step tries again.
#[derive(Debug, Error)]
pub enum AnchorError {
    /// The chain.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The blob store.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// A contribution of which the ledger knows nothing.
    #[error(transparent)]
    Rebuild(#[from] RebuildError),
}

/// Makes and sends batches.
pub struct Anchor {
    chain: Chain,
    ledger: Ledger,
    blobs: Blobs,
    view: watch::Receiver<View>,
    /// The account that sends the batches.
    aggregator: Address,
    /// How many of the view's direct contributions are in the ledger.
    noted: AtomicUsize,
    /// How many of them were looked for among the blobs, if the ledger lacked them.
    looked_for: AtomicUsize,
}

impl Anchor {
    /// An anchor that has sent nothing yet. The first `looked_for` direct contributions of the view are in the ledger, or nowhere.
    pub fn new(
        chain: Chain,
        ledger: Ledger,
        blobs: Blobs,
        view: watch::Receiver<View>,
        aggregator: Address,
        looked_for: usize,
    ) -> Self {
        Self {
            chain,
            ledger,
            blobs,
            view,
            aggregator,
            noted: AtomicUsize::new(0),
            looked_for: AtomicUsize::new(looked_for),
        }
    }

    /// Steps for ever, `pause` after each: contributions wait at most that long for their batch.
    pub async fn run(self, pause: Duration) {
        let mut pace = Pace::new(pause);
        loop {
            let step = self.step().await;
            pace.rest("contributions could not be anchored", step).await;
        }
    }

    /// Notes what has become final, makes a batch of what waits, sends what is not on its way.
    ///
    /// # Errors
    /// [`AnchorError`]; nothing is lost.
    pub async fn step(&self) -> Result<(), AnchorError> {
        // One view for both: between two a batch could become final, and would be found in neither.
        let view = self.view.borrow().clone();
        self.note_final(&view).await?;
        self.make_batch().await?;
        self.send_unanchored(&view).await?;
        // Last: it may read all blobs, and nobody else's contribution is to wait for that.
        self.look_for_lacking(&view).await
    }

    async fn send_unanchored(&self, view: &View) -> Result<(), AnchorError> {
        let unanchored = self.ledger.unanchored().await?;
        if unanchored.is_empty() {
            return Ok(());
        }
        let on_the_way = self.not_yet_final(view.finalized.number).await?;
        for batch in unanchored {
            if !on_the_way.contains(&batch.manifest) {
                self.send(&batch).await?;
            }
        }
        Ok(())
    }

    /// Manifests in blocks above the finalized one.
    async fn not_yet_final(&self, finalized: u64) -> Result<HashSet<BlobId>, AnchorError> {
        let deployment = self.chain.deployment();
        let filter = Filter::new()
            .address(deployment.contributions)
            .event_signature(BatchCommitted::SIGNATURE_HASH)
            .topic1(deployment.collective.into_word())
            .topic2(self.aggregator.into_word())
            .from_block(finalized + 1);
        let logs = self
            .chain
            .provider()
            .get_logs(&filter)
            .await
            .map_err(ChainError::from)?;
        let manifest = |log: &Log| {
            BatchCommitted::decode_log(&log.inner)
                .ok()
                .map(|event| BlobId(event.manifest))
        };
        Ok(logs.iter().filter_map(manifest).collect())
    }

    async fn note_final(&self, view: &View) -> Result<(), AnchorError> {
        let anchored: HashSet<_> = view.batches.iter().collect();
        for batch in self.ledger.unanchored().await? {
            if anchored.contains(&batch.manifest) {
                self.ledger.anchored(batch.id).await?;
            }
        }
        // What its contributor anchored needs no batch any more.
        let noted = self.noted.load(Ordering::Relaxed);
        let direct = &view.direct[noted..];
        if !direct.is_empty() {
            self.ledger.anchored_directly(direct.to_vec()).await?;
            self.noted.store(view.direct.len(), Ordering::Relaxed);
        }
        Ok(())
    }

    /// A ledger from a backup lacks what this node acknowledged since, and its contributor anchors it all the same: then every job
    /// that reads it needs its row.
    async fn look_for_lacking(&self, view: &View) -> Result<(), AnchorError> {
        let new = &view.direct[self.looked_for.load(Ordering::Relaxed)..];
        let lacking = self.lacking(new).await?;
        if !lacking.is_empty() {
            let rebuilt = rebuild(&self.chain, view, &self.ledger, &self.blobs).await;
            if let Err(error) = rebuilt {
                tracing::error!(%error, "what the ledger lacks of what contributors anchored was not found");
            }
            self.ledger.anchored_directly(lacking.clone()).await?;
        }
        for leaf in self.lacking(&lacking).await? {
            tracing::error!(leaf = %leaf.0, "this node acknowledged a contribution that stands on chain, and has no file of it: restore its blob, \
                and start the node again; until then no job that reads it runs");
        }
        self.looked_for.store(view.direct.len(), Ordering::Relaxed);
        Ok(())
    }

    /// Those that the ledger does not know.
    async fn lacking(&self, direct: &[(Leaf, u64)]) -> Result<Vec<(Leaf, u64)>, LedgerError> {
        let mut lacking = vec![];
        for &(leaf, block) in direct {
            if self.ledger.contribution(leaf).await?.is_none() {
                lacking.push((leaf, block));
            }
        }
        Ok(lacking)
    }

    async fn make_batch(&self) -> Result<(), AnchorError> {
        let waiting = self.ledger.waiting(MAX_BATCH).await?;
        if waiting.is_empty() {
            return Ok(());
        }
        Step::AcknowledgedNotBatched.reached();
        let entries = waiting.into_iter().map(|held| held.entry).collect();
        let batch = Batch::new(entries).expect("between one and the limit");
        let leaves = batch
            .entries()
            .iter()
            .map(|entry| entry.contribution.leaf())
            .collect();
        let manifest = self.blobs.put(Bytes::from(batch.manifest())).await?;
        let root: B256 = batch.tree().root();
        self.ledger.batch(manifest, root, leaves).await?;
        tracing::info!(%manifest, count = batch.entries().len(), "made a batch");
        Ok(())
    }

    async fn send(&self, batch: &BatchRow) -> Result<(), AnchorError> {
        let deployment = self.chain.deployment();
        let registry = ContributionRegistry::new(deployment.contributions, self.chain.provider());
        let commit = registry.commitBatch(
            deployment.collective,
            batch.root,
            batch.count,
            batch.manifest.0,
        );
        let receipt = self.chain.submit(commit).await?;
        Step::BatchSentNotSeen.reached();
        tracing::info!(manifest = %batch.manifest, gas = receipt.gas_used, "sent a batch");
        Ok(())
    }
}
