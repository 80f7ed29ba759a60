//! Follows the chain: the newest blocks, and an index of everything that is finally anchored.
//!
//! The index grows from finalized blocks only, so no reorganisation touches it. Logs are hints:
//! after each step the hash-chain head folded from them must equal the head in the contract's
//! storage, which is proven; an endpoint that withholds a batch is found out.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy::primitives::{Address, B256};
use alloy::providers::Provider;
use alloy::rpc::types::{Filter, Log};
use alloy::sol_types::SolEvent;
use collective::charter::{Charter, CharterRefusal};
use collective::contribution::{Batch, BatchRefusal, batch_head};
use collective::id::{BlobId, Point};
use collective::input::Anchored;
use collective::receipt::BlockRef;
use thiserror::Error;
use tokio::sync::watch;

use crate::blobs::{BlobError, Blobs};
use crate::chain::facts::CommitteeFact;
use crate::chain::{Chain, ChainError};
use crate::pace::Pace;
use collective_contracts::ContributionRegistry::{AdmissionSet, BatchCommitted};

/// Blocks in one request for logs: common endpoints refuse more than 10,000.
const BLOCKS_PER_REQUEST: u64 = 5_000;

/// What is known of the chain, all of it read at `finalized` except `latest`.
#[derive(Clone, Debug)]
pub struct View {
    /// Newest block.
    pub latest: BlockRef,
    /// When `latest` last changed, by the local monotonic clock.
    pub arrived: Instant,
    /// Newest finalized block; the index is complete up to here.
    pub finalized: BlockRef,
    /// Sources and admitted contributors.
    pub charter: Option<Arc<Charter>>,
    /// The committee.
    pub committee: CommitteeFact,
    /// Everything anchored, in its order.
    pub anchored: Arc<Vec<Anchored>>,
    /// Manifests of the anchored batches.
    pub batches: Arc<Vec<BlobId>>,
}

impl View {
    /// Seconds since a new block arrived.
    pub fn silence(&self) -> u64 {
        self.arrived.elapsed().as_secs()
    }
}

/// Why the index did not advance. It keeps what it had.
#[derive(Debug, Error)]
pub enum FollowError {
    /// The endpoint.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// A manifest or charter that is named on chain is not here.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// What is named on chain is no batch.
    #[error("batch {manifest}: {refusal}")]
    Batch {
        /// Its manifest.
        manifest: BlobId,
        /// What is wrong.
        refusal: BatchRefusal,
    },
    /// What is named on chain is no charter.
    #[error(transparent)]
    Charter(#[from] CharterRefusal),
    /// A finalized block is gone.
    #[error(
        "block {number} was finalized as {was} and is now {is}: the chain broke its promise; \
         stop, and find out which of the two your other endpoints see"
    )]
    FinalityBroken {
        /// Height.
        number: u64,
        /// Before.
        was: B256,
        /// Now.
        is: B256,
    },
    /// Logs do not add up to the proven head.
    #[error(
        "the endpoint withholds batches: its logs fold to {folded}, the contract's storage proves \
         {proven} at block {block}"
    )]
    Withheld {
        /// From logs.
        folded: B256,
        /// From storage.
        proven: B256,
        /// Where.
        block: u64,
    },
}

/// Follows one collective's batches of one aggregator.
pub struct Follower {
    chain: Chain,
    blobs: Blobs,
    aggregator: Address,
    head: B256,
    points: HashSet<Point>,
    view: watch::Sender<View>,
}

impl Follower {
    /// Reads the chain from the collective's first block up to the newest finalized one.
    ///
    /// # Errors
    /// [`FollowError`].
    pub async fn start(
        chain: Chain,
        blobs: Blobs,
        aggregator: Address,
    ) -> Result<(Self, watch::Receiver<View>), FollowError> {
        let first = chain.at_height(chain.deployment().first_block).await?;
        let view = View {
            latest: chain.latest().await?,
            arrived: Instant::now(),
            finalized: first,
            charter: None,
            committee: chain.committee(&first).await?,
            anchored: Arc::default(),
            batches: Arc::default(),
        };
        let (view, watcher) = watch::channel(view);
        let mut follower = Self {
            chain,
            blobs,
            aggregator,
            head: B256::ZERO,
            points: HashSet::new(),
            view,
        };
        follower.step().await?;
        Ok((follower, watcher))
    }

    /// Steps for ever; a failed step is logged and tried again.
    pub async fn run(mut self, pause: Duration) {
        let mut pace = Pace::new(pause);
        loop {
            let step = self.step().await;
            pace.rest("the chain could not be followed", step).await;
        }
    }

    /// Looks at the chain once.
    ///
    /// # Errors
    /// [`FollowError`]; the view is then as it was, but for `latest`.
    pub async fn step(&mut self) -> Result<(), FollowError> {
        let latest = self.chain.latest().await?;
        self.view.send_if_modified(|view| {
            let new = view.latest != latest;
            if new {
                view.latest = latest;
                view.arrived = Instant::now();
            }
            new
        });
        let finalized = self.chain.finalized().await?;
        let known = self.view.borrow().finalized;
        if finalized.number <= known.number {
            return Ok(());
        }
        let again = self.chain.at_height(known.number).await?;
        if again.hash != known.hash {
            let (was, is) = (known.hash, again.hash);
            return Err(FollowError::FinalityBroken {
                number: known.number,
                was,
                is,
            });
        }
        let mut from = known.number;
        // The first block may hold events of its own; afterwards a block is read once.
        if self.view.borrow().finalized.number > self.chain.deployment().first_block {
            from += 1;
        }
        self.advance(from, finalized).await
    }

    async fn advance(&mut self, from: u64, to: BlockRef) -> Result<(), FollowError> {
        let logs = self.logs(from, to.number).await?;
        let (mut head, mut points) = (self.head, HashSet::new());
        let mut anchored = Vec::new();
        let mut batches = Vec::new();
        let mut charter = self.view.borrow().charter.clone();
        for log in logs {
            match log.topic0() {
                Some(&BatchCommitted::SIGNATURE_HASH) => {
                    let Ok(event) = BatchCommitted::decode_log(&log.inner) else {
                        continue;
                    };
                    if event.aggregator != self.aggregator {
                        continue;
                    }
                    let manifest = BlobId(event.manifest);
                    head = batch_head(head, event.root, event.count, manifest);
                    let block = self
                        .chain
                        .at_height(log.block_number.unwrap_or(from))
                        .await?;
                    for entry in self.batch(manifest, event.root).await?.entries() {
                        // First come, first counted: a point is used once in a collective's life.
                        let point = entry.contribution.point;
                        if self.points.contains(&point) || points.contains(&point) {
                            continue;
                        }
                        points.insert(point);
                        anchored.push(Anchored {
                            entry: entry.clone(),
                            block: block.number,
                            time: block.time,
                        });
                    }
                    batches.push(manifest);
                }
                Some(&AdmissionSet::SIGNATURE_HASH) => {
                    let Ok(event) = AdmissionSet::decode_log(&log.inner) else {
                        continue;
                    };
                    let bytes = self.blobs.get(BlobId(event.manifest)).await?;
                    charter = Some(Arc::new(Charter::parse(&bytes)?));
                }
                _ => {}
            }
        }
        let proven = self.chain.batch_head(&to, self.aggregator).await?;
        if proven != head {
            return Err(FollowError::Withheld {
                folded: head,
                proven,
                block: to.number,
            });
        }
        let committee = self.chain.committee(&to).await?;
        self.head = head;
        self.points.extend(points);
        self.view.send_modify(|view| {
            view.finalized = to;
            view.charter = charter;
            view.committee = committee;
            if !anchored.is_empty() {
                Arc::make_mut(&mut view.anchored).extend(anchored);
                Arc::make_mut(&mut view.batches).extend(batches);
            }
        });
        Ok(())
    }

    async fn batch(&self, manifest: BlobId, root: B256) -> Result<Batch, FollowError> {
        let bytes = self.blobs.get(manifest).await?;
        let (registry, collective) = (
            self.chain.deployment().registry(),
            self.chain.deployment().collective,
        );
        // A batch of 10,000 is a second of signature checks: not on the runtime's own threads.
        let checked =
            tokio::task::spawn_blocking(move || Batch::check(&bytes, &registry, collective, root));
        checked
            .await
            .expect("checking a batch does not panic")
            .map_err(|refusal| FollowError::Batch { manifest, refusal })
    }

    async fn logs(&self, from: u64, to: u64) -> Result<Vec<Log>, FollowError> {
        let deployment = self.chain.deployment();
        let mut logs = Vec::new();
        let mut start = from;
        while start <= to {
            let end = to.min(start + BLOCKS_PER_REQUEST - 1);
            let filter = Filter::new()
                .address(deployment.contributions)
                .event_signature(vec![
                    BatchCommitted::SIGNATURE_HASH,
                    AdmissionSet::SIGNATURE_HASH,
                ])
                .topic1(deployment.collective.into_word())
                .from_block(start)
                .to_block(end);
            let answer = self.chain.provider().get_logs(&filter).await;
            logs.extend(answer.map_err(ChainError::from)?);
            start = end + 1;
        }
        Ok(logs)
    }
}
