//! Asks each day for what was drawn of all payloads, keeps what came of it, and posts it where the collective said that this
//! node does (SPEC "Liveness").
//!
//! The day is the chain's: the newest finalized block says which one it is. A day that passes while the node is away is
//! not audited. What is asked here does not wait for what is posted.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use alloy::primitives::Address;
use collective::id::Leaf;
use collective::liveness::{EPOCH_SECONDS, Epoch, Outcome, Results, TRIES, Verdict};
use collective::receipt::BlockRef;
use thiserror::Error;
use tokio::sync::watch;

use crate::blobs::{BlobError, Blobs};
use crate::chain::{Chain, ChainError};
use crate::follower::View;
use crate::ledger::{Audited, Ledger, LedgerError};
use crate::pace::Pace;
use crate::places::Places;
use crate::withdrawal::withdrawn;
use elsewhere::Asked;
use round::Round;
use stored::unreadable;

mod elsewhere;
mod posting;
mod round;
mod stored;

/// Seconds of the chain between two tries of a challenge: what fails now may be back in some hours, and all tries fit into a
/// day.
const RETRY_SECONDS: u64 = 5 * 60 * 60;

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
    /// Those that contributors keep.
    pub places: Places,
    /// Chain facts.
    pub view: watch::Receiver<View>,
    /// The account that posts.
    pub account: Address,
}

/// How far this process has come.
#[derive(Default)]
struct Progress {
    /// The finalized block that was looked at last.
    seen: Option<BlockRef>,
    /// Epochs of which it was said that they cannot be posted.
    told: BTreeSet<u64>,
    /// The epoch that was begun last.
    day: Option<u64>,
    /// Its audit, while it is not over.
    round: Option<Round>,
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

    /// Nothing changes here but by a new finalized block.
    async fn step(&self, progress: &mut Progress) -> Result<(), AuditError> {
        let finalized = self.view.borrow().finalized;
        if progress.seen == Some(finalized) {
            return Ok(());
        }
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
            self.leave_out(round, &finalized).await?;
            self.ask(round).await?;
            round.tries += 1;
            round.next = finalized.time + RETRY_SECONDS;
            if round.open().next().is_none() || round.tries == TRIES {
                self.keep(round).await?;
                progress.round = None;
            }
        }
        self.post(today, &finalized, &mut progress.told).await?;
        progress.seen = Some(finalized);
        Ok(())
    }

    /// Draws, unless this epoch was audited before or has no first block.
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
        let randomness = self.chain.randomness(&block).await?;
        let index = self.view.borrow().index.clone();
        let drawn = Epoch::new(self.chain.deployment().collective, epoch, randomness);
        let challenges = drawn.challenges(&index.pool(block.number));
        Ok(Some(Round {
            epoch,
            randomness,
            index,
            outcomes: vec![None; challenges.len()],
            withdrawn: HashSet::new(),
            challenges,
            connected: self.ledger.connected().await?.into_keys().collect(),
            tries: 0,
            next: finalized.time,
        }))
    }

    /// Finds out what is withdrawn by now: this node may have dropped it.
    async fn leave_out(&self, round: &mut Round, now: &BlockRef) -> Result<(), ChainError> {
        let open: HashSet<Leaf> = round.open().map(|(_, leaf)| leaf).collect();
        let entries = round.index.anchored().map(|anchored| &anchored.entry);
        let entries = entries.filter(|entry| open.contains(&entry.contribution.leaf()));
        let found = withdrawn(&self.chain, entries, now).await?;
        round.withdrawn.extend(found.into_keys());
        Ok(())
    }

    /// Asks for everything that was not held before.
    async fn ask(&self, round: &mut Round) -> Result<(), AuditError> {
        let connected = self.ledger.connected().await?;
        let mut elsewhere = vec![];
        let mut drawn: HashMap<Leaf, Vec<usize>> = HashMap::new();
        for (place, leaf) in round.open() {
            drawn.entry(leaf).or_default().push(place);
        }
        let index = round.index.clone();
        for anchored in index.anchored() {
            let entry = &anchored.entry;
            let leaf = entry.contribution.leaf();
            let Some(places) = drawn.remove(&leaf) else {
                continue;
            };
            if let Some(place) = connected.get(&leaf) {
                let draw = |place: &usize| (*place, round.challenges[*place].index);
                elsewhere.push(Asked {
                    entry: entry.clone(),
                    place: place.clone(),
                    draws: places.iter().map(draw).collect(),
                });
                continue;
            }
            let stored = self.stored(entry).await;
            for place in places {
                let index = round.challenges[place].index;
                let outcome = match &stored {
                    Ok(stored) => stored.ask(entry, index).await.unwrap_or_else(unreadable),
                    Err(outcome) => *outcome,
                };
                round.note(place, outcome);
                if outcome == Outcome::Wrong {
                    tracing::error!(%leaf, "a stored contribution is lost or garbled: restore its file from a copy");
                }
            }
        }
        // Those who were in the way of others at one host are not the first again.
        elsewhere.sort_by_key(|asked| !round.is_new(asked));
        round.note_answers(&self.ask_contributors(elsewhere).await);
        Ok(())
    }

    /// Keeps what a round came to: as a blob first, then in the ledger.
    async fn keep(&self, round: &Round) -> Result<(), AuditError> {
        let results = Results {
            collective: self.chain.deployment().collective,
            epoch: round.epoch,
            randomness: round.randomness,
            verdicts: round.verdicts().collect(),
        };
        // Nothing was anchored: there is nothing to tell.
        let Some(root) = results.root(&round.challenges) else {
            return Ok(());
        };
        let audited = Audited {
            epoch: round.epoch,
            randomness: round.randomness,
            asked: round.verdicts().filter(Verdict::is_asked).count() as u64,
            counts: results.counts(),
            root,
            results: self.blobs.put(results.to_bytes().into()).await?,
        };
        self.ledger.keep_audit(&audited).await?;
        tracing::info!(epoch = round.epoch, counts = ?audited.counts, "audited what is stored");
        Ok(())
    }
}
