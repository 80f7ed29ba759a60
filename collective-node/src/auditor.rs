//! Asks each day for what was drawn of all payloads, keeps what came of it, and posts it where the collective said that this
//! node does (SPEC "Liveness").
//!
//! The day is the chain's: the newest finalized block says which one it is. A day that passes while the node is away is
//! not audited.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use alloy::eips::BlockId;
use alloy::primitives::{Address, Bytes as CallData};
use alloy::providers::Provider;
use bytes::Bytes;
use collective::contribution::{PayloadLeaves, SignedContribution};
use collective::id::Leaf;
use collective::index::Index;
use collective::liveness::{
    Challenge, Custody, EPOCH_SECONDS, Epoch, Outcome, Results, TRIES, Verdict, judge,
};
use collective::receipt::BlockRef;
use thiserror::Error;
use tokio::sync::watch;

use crate::blobs::{BlobError, Blobs};
use crate::chain::{Chain, ChainError};
use crate::contributor::split_file;
use crate::follower::View;
use crate::ledger::{Audited, Ledger, LedgerError};
use crate::pace::Pace;
use collective_contracts::LivenessRegistry;

/// Seconds of the chain between two tries of a challenge: what fails now may be back in some hours, and all tries fit into a
/// day.
const RETRY_SECONDS: u64 = 5 * 60 * 60;

/// Epochs that are looked back upon for some that were not posted: what is older pays nobody any more.
const POSTED_LATE: u32 = 7;

/// Why an audit did not go on. The next step tries again.
#[derive(Debug, Error)]
pub enum AuditError {
    /// The chain.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The blob store.
    #[error(transparent)]
    Blob(#[from] BlobError),
}

/// Audits what the node holds.
pub struct Auditor {
    /// The chain, with the node's account.
    pub chain: Chain,
    /// Where files are, and what audits came to.
    pub ledger: Ledger,
    /// The files.
    pub blobs: Blobs,
    /// Chain facts.
    pub view: watch::Receiver<View>,
    /// The account that posts.
    pub account: Address,
}

/// How far this process has come.
#[derive(Default)]
struct Progress {
    /// The epoch that was begun last.
    day: Option<u64>,
    /// Its audit, while it is not over.
    round: Option<Round>,
}

/// The audit of one epoch.
struct Round {
    epoch: u64,
    block: BlockRef,
    index: Arc<Index>,
    challenges: Vec<Challenge>,
    /// The best that came of each so far.
    outcomes: Vec<Option<Outcome>>,
    tries: u32,
    /// Unix seconds of the next try.
    next: u64,
}

impl Auditor {
    /// Steps for ever, `pause` after each.
    pub async fn run(self, pause: Duration) {
        let mut pace = Pace::new(pause);
        let mut progress = Progress::default();
        loop {
            let step = self.step(&mut progress).await;
            pace.rest("payloads could not be audited", step).await;
        }
    }

    async fn step(&self, progress: &mut Progress) -> Result<(), AuditError> {
        let finalized = self.view.borrow().finalized;
        let today = Epoch::at(finalized.time);
        if progress.day != Some(today) {
            if let Some(unfinished) = &progress.round {
                self.keep(unfinished).await?;
            }
            progress.round = self.begin(today, &finalized).await?;
            progress.day = Some(today);
        }
        if let Some(round) = &mut progress.round
            && finalized.time >= round.next
        {
            self.ask(round).await?;
            round.tries += 1;
            round.next = finalized.time + RETRY_SECONDS;
            let all_held = round.outcomes.iter().all(|it| *it == Some(Outcome::Held));
            if all_held || round.tries == TRIES {
                self.keep(round).await?;
                progress.round = None;
            }
        }
        self.post(today).await
    }

    /// Draws, unless this epoch was audited before or has no first block. Its randomness is kept on chain while its block's
    /// hash can still be read there.
    async fn begin(&self, epoch: u64, finalized: &BlockRef) -> Result<Option<Round>, AuditError> {
        let kept = self.ledger.audits(1).await?;
        if kept.first().is_some_and(|newest| newest.epoch >= epoch) {
            return Ok(None);
        }
        // The newest finalized block is of this day, so the first of it is no later.
        let start = epoch * EPOCH_SECONDS;
        let Some(block) = self.chain.first_since(start, finalized).await? else {
            return Ok(None);
        };
        if self.posts().await? {
            self.fix_seed(epoch, &block).await?;
        }
        let index = self.view.borrow().index.clone();
        let drawn = Epoch::new(self.chain.deployment().collective, epoch, block.hash);
        let challenges = drawn.challenges(&pool(&index, &block));
        Ok(Some(Round {
            epoch,
            block,
            index,
            outcomes: vec![None; challenges.len()],
            challenges,
            tries: 0,
            next: finalized.time,
        }))
    }

    /// Asks for everything that was not held before.
    async fn ask(&self, round: &mut Round) -> Result<(), AuditError> {
        let mut drawn: HashMap<Leaf, Vec<usize>> = HashMap::new();
        for (place, challenge) in round.challenges.iter().enumerate() {
            if round.outcomes[place] != Some(Outcome::Held) {
                drawn.entry(challenge.contribution).or_default().push(place);
            }
        }
        let index = round.index.clone();
        for anchored in index.anchored() {
            let entry = &anchored.entry;
            let Some(places) = drawn.get(&entry.contribution.leaf()) else {
                continue;
            };
            let stored = self.stored(entry).await?;
            for &place in places {
                let outcome = match &stored {
                    Ok(payload) => held(entry, round.challenges[place].index, payload),
                    Err(outcome) => *outcome,
                };
                let best = Outcome::of_tries(round.outcomes[place].into_iter().chain([outcome]));
                round.outcomes[place] = Some(best);
                if outcome == Outcome::Wrong {
                    let leaf = entry.contribution.leaf();
                    tracing::error!(%leaf, "a stored contribution is lost or garbled: restore its file from a copy");
                }
            }
        }
        Ok(())
    }

    /// The payload as this node has it, or what became of it.
    async fn stored(
        &self,
        entry: &SignedContribution,
    ) -> Result<Result<Bytes, Outcome>, AuditError> {
        let Some(file) = self.ledger.file(entry.contribution.leaf()).await? else {
            return Ok(Err(Outcome::Wrong));
        };
        Ok(match self.blobs.get(file).await {
            Ok(bytes) => match split_file(&bytes) {
                Some((_, payload)) => Ok(bytes.slice_ref(payload)),
                None => Err(Outcome::Wrong),
            },
            Err(BlobError::Missing(_) | BlobError::Garbled(_)) => Err(Outcome::Wrong),
            Err(error) => {
                tracing::warn!(%error, "a stored contribution could not be read");
                Err(Outcome::Error)
            }
        })
    }

    /// Keeps what a round came to: as a blob first, then in the ledger.
    async fn keep(&self, round: &Round) -> Result<(), AuditError> {
        let verdict = |outcome: &Option<Outcome>| {
            Verdict::Asked(Custody::Escrow, outcome.unwrap_or(Outcome::Offline))
        };
        let results = Results {
            collective: self.chain.deployment().collective,
            epoch: round.epoch,
            block: round.block.hash,
            verdicts: round.outcomes.iter().map(verdict).collect(),
        };
        // Nothing was anchored: there is nothing to tell.
        let Some(root) = results.root(&round.challenges) else {
            return Ok(());
        };
        let audited = Audited {
            epoch: round.epoch,
            block: round.block.hash,
            asked: round.challenges.len() as u64,
            counts: results.counts(),
            root,
            results: self.blobs.put(results.to_bytes().into()).await?,
        };
        self.ledger.keep_audit(&audited).await?;
        tracing::info!(epoch = round.epoch, counts = ?audited.counts, "audited what is stored");
        Ok(())
    }

    /// Whether the collective takes this node's word.
    async fn posts(&self) -> Result<bool, ChainError> {
        let deployment = self.chain.deployment();
        let registry = LivenessRegistry::new(deployment.liveness, self.chain.provider());
        let wage = registry.wage(deployment.collective).call().await?;
        Ok(wage.auditor == self.account)
    }

    async fn fix_seed(&self, epoch: u64, block: &BlockRef) -> Result<(), ChainError> {
        let deployment = self.chain.deployment();
        let registry = LivenessRegistry::new(deployment.liveness, self.chain.provider());
        if !registry.blockHashOf(epoch).call().await?.is_zero() {
            return Ok(());
        }
        let header = self.header(BlockId::Hash(block.hash.into())).await?;
        let parent = self
            .header(BlockId::Number((block.number - 1).into()))
            .await?;
        let gas = self
            .chain
            .submit(registry.fixSeed(epoch, header, parent))
            .await?
            .gas_used;
        tracing::info!(epoch, gas, "kept the day's randomness on chain");
        Ok(())
    }

    /// A header as it is hashed (RLP).
    async fn header(&self, id: BlockId) -> Result<CallData, ChainError> {
        let block = self.chain.provider().get_block(id).await?;
        let block = block.ok_or_else(|| ChainError::NoBlock(format!("{id:?}")))?;
        Ok(alloy_rlp::encode(&block.header.inner).into())
    }

    /// Posts what is over and was not posted, oldest first.
    async fn post(&self, today: u64) -> Result<(), AuditError> {
        let audits = self.ledger.audits(POSTED_LATE).await?;
        if !audits.iter().any(|audited| audited.epoch < today) || !self.posts().await? {
            return Ok(());
        }
        let deployment = self.chain.deployment();
        let registry = LivenessRegistry::new(deployment.liveness, self.chain.provider());
        let last = registry.lastEpoch(deployment.collective).call().await;
        let last = last.map_err(ChainError::from)?;
        let due = |audited: &&Audited| (last + 1..today).contains(&audited.epoch);
        for audited in audits.iter().rev().filter(due) {
            let seed = registry.blockHashOf(audited.epoch).call().await;
            if seed.map_err(ChainError::from)? != audited.block {
                // It became the auditor later in that day, or was away: the hash is out of the contract's reach.
                tracing::warn!(
                    epoch = audited.epoch,
                    "an epoch without randomness on chain is not posted"
                );
                continue;
            }
            let counts = LivenessRegistry::Counts {
                held: audited.counts.held,
                wrong: audited.counts.wrong,
                erred: audited.counts.error,
                offline: audited.counts.offline,
            };
            let call = registry.post(
                deployment.collective,
                audited.epoch,
                audited.root,
                audited.results.0,
                counts,
            );
            let gas = self.chain.submit(call).await?.gas_used;
            tracing::info!(epoch = audited.epoch, gas, "posted what an epoch came to");
        }
        Ok(())
    }
}

/// What was anchored before a block: the leaf of each contribution and the bytes of its payload.
pub fn pool(index: &Index, before: &BlockRef) -> Vec<(Leaf, u64)> {
    let anchored = index.anchored().filter(|it| it.block < before.number);
    let of = |entry: &SignedContribution| (entry.contribution.leaf(), entry.commitment.length);
    anchored.map(|it| of(&it.entry)).collect()
}

fn held(entry: &SignedContribution, index: u64, payload: &[u8]) -> Outcome {
    let range = collective::contribution::leaf_range(entry.commitment.length, index);
    let bytes = range.and_then(|range| payload.get(range.start as usize..range.end as usize));
    match (bytes, PayloadLeaves::of(payload).path(index)) {
        (Some(bytes), Some(path)) => judge(&entry.commitment, index, bytes, &path),
        _ => Outcome::Wrong,
    }
}
