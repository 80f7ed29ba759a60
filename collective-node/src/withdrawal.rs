//! Drops the sealed files of contributions that no later job reads: those that were revoked, and those whose terms have ended.
//!
//! Both count once they stand in a finalized block, revocations by proven words: a file that is gone does not come back with a
//! reorganisation. What stays is the row in the ledger, so that leaf, nonce and point are used for ever, and the header, which
//! everybody's index is made of. A job whose denials were read before the withdrawal may have the file in its input set, so
//! dropping waits until it has run, or cannot run any more.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use alloy::rpc::types::{Filter, Log};
use alloy::sol_types::SolEvent;
use collective::contribution::SignedContribution;
use collective::id::{BlobId, ContributorId, Leaf, NodeId, sha256};
use collective::input::{Anchored, Withdrawn};
use collective::liveness::Epoch;
use collective::receipt::BlockRef;
use thiserror::Error;
use tokio::sync::watch;

use crate::blobs::{BlobError, Blobs};
use crate::chain::facts::{JobFact, JobState};
use crate::chain::{Chain, ChainError};
use crate::crash::Step;
use crate::driver::is_under_way;
use crate::fetched::Fetched;
use crate::follower::View;
use crate::headers;
use crate::ledger::{Held, Ledger, LedgerError};
use crate::pace::Pace;
use collective_contracts::ContributionRegistry::{Revoked, RevokedAll};

/// Why something was not dropped. The next step tries again.
#[derive(Debug, Error)]
pub enum WithdrawalError {
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

/// Drops what is withdrawn.
pub struct Withdrawals {
    /// The chain.
    pub chain: Chain,
    /// Which files there are.
    pub ledger: Ledger,
    /// The files.
    pub blobs: Blobs,
    /// Those that contributors keep.
    pub fetched: Arc<Fetched>,
    /// Chain facts.
    pub view: watch::Receiver<View>,
    /// This node: its jobs may still read what is withdrawn.
    pub node: NodeId,
}

/// How far this process has come.
#[derive(Default)]
struct Progress {
    /// The finalized block that was looked at last.
    seen: Option<BlockRef>,
    /// What the ledger knows as withdrawn.
    known: HashSet<Leaf>,
    /// Whose files were dropped and are to be removed once more.
    again: VecDeque<Leaf>,
    /// Jobs that read nothing any more, and that is final.
    over: HashSet<u64>,
}

impl Withdrawals {
    /// Steps for ever, `pause` after each.
    pub async fn run(self, pause: Duration) {
        let mut pace = Pace::new(pause);
        let mut progress = Progress::default();
        loop {
            let step = self.step(&mut progress).await;
            pace.rest("withdrawn files could not be dropped", step)
                .await;
        }
    }

    /// Nothing changes here but by a new finalized block, and nothing is dropped on a chain that broke a promise.
    async fn step(&self, progress: &mut Progress) -> Result<(), WithdrawalError> {
        let view = self.view.borrow().clone();
        if view.halted.is_some() || progress.seen == Some(view.finalized) {
            return Ok(());
        }
        if progress.seen.is_none() {
            let withdrawals = self.ledger.withdrawals().await?;
            progress.known.extend(withdrawals.iter().map(|it| it.leaf));
            // A power cut may have undone a removal, and a restored copy of the store brings files back.
            let dropped = withdrawals.iter().filter(|it| it.dropped);
            progress.again = dropped.map(|it| it.leaf).collect();
        }
        self.note(&view, progress).await?;
        self.drop_due(&view.finalized, progress).await?;
        progress.seen = Some(view.finalized);
        self.drop_again(progress).await
    }

    /// Removes once more what was dropped, until there is one that cannot be: in the next step that is the last.
    async fn drop_again(&self, progress: &mut Progress) -> Result<(), WithdrawalError> {
        while let Some(&leaf) = progress.again.front() {
            let held = self.ledger.contribution(leaf).await?;
            progress.again.pop_front();
            if let Some((held, _)) = held
                && let Err(error) = self.remove(&held).await
            {
                tracing::error!(%leaf, %error, "the file of a withdrawn contribution may be back");
                progress.again.push_back(leaf);
                break;
            }
        }
        Ok(())
    }

    /// Notes what is withdrawn by now. Whose words may have changed, logs say: they are hints, so once a day, and after a start,
    /// everybody's are read.
    async fn note(&self, view: &View, progress: &mut Progress) -> Result<(), WithdrawalError> {
        let now = view.finalized;
        let seen = progress.seen;
        let seen = seen.filter(|seen| Epoch::at(seen.time) == Epoch::at(now.time));
        let named = match seen {
            Some(seen) => Some((seen, self.named(seen.number + 1, now.number).await?)),
            None => None,
        };
        let may_be = |it: &&Anchored| {
            let contributor = &it.entry.contribution.contributor;
            named.as_ref().is_none_or(|(seen, named)| {
                it.block > seen.number
                    || named.contains(contributor)
                    || it.entry.terms.have_ended(now.time)
            })
        };
        let open = |it: &&Anchored| !progress.known.contains(&it.entry.contribution.leaf());
        let candidates = view.index.anchored().filter(may_be).filter(open);
        let found = withdrawn(&self.chain, candidates.map(|it| &it.entry), &now).await?;
        for (leaf, why) in found {
            self.ledger.withdraw(leaf, why, now.number).await?;
            if self.ledger.withdrawal(leaf).await?.is_none() {
                // Its row may come yet: what a ledger from a backup lacks is looked for while this goes on.
                continue;
            }
            progress.known.insert(leaf);
            tracing::info!(%leaf, ?why, block = now.number, "a contribution is withdrawn");
        }
        Ok(())
    }

    /// Who revoked something in these blocks, in any collective.
    async fn named(&self, from: u64, to: u64) -> Result<HashSet<ContributorId>, ChainError> {
        let filter = Filter::new()
            .address(self.chain.deployment().contributions)
            .event_signature(vec![Revoked::SIGNATURE_HASH, RevokedAll::SIGNATURE_HASH]);
        let logs = self.chain.logs(filter, from, to).await?;
        // The contributor is the first indexed argument of both.
        let contributor = |log: &Log| log.topics().get(1).map(|word| ContributorId(*word));
        Ok(logs.iter().filter_map(contributor).collect())
    }

    async fn drop_due(
        &self,
        finalized: &BlockRef,
        progress: &mut Progress,
    ) -> Result<(), WithdrawalError> {
        let due = self.ledger.to_drop().await?;
        if due.is_empty() {
            return Ok(());
        }
        let awaited = self.oldest_denials(finalized, progress).await?;
        for withdrawal in due {
            let leaf = withdrawal.leaf;
            if awaited.is_some_and(|denials| denials < withdrawal.block) {
                continue;
            }
            match self.drop_file(leaf).await {
                Ok(()) => {
                    tracing::info!(%leaf, "dropped the file of a withdrawn contribution");
                    // A stranger's copy that came before that was noted was not refused.
                    progress.again.push_back(leaf);
                }
                // One file that is lost or garbled does not keep the others.
                Err(WithdrawalError::Blob(error)) => {
                    tracing::error!(%leaf, %error, "the file of a withdrawn contribution stays");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The lowest `denyBlock` of this node's jobs that may still run. A job reads nothing that is withdrawn there.
    async fn oldest_denials(
        &self,
        finalized: &BlockRef,
        progress: &mut Progress,
    ) -> Result<Option<u64>, WithdrawalError> {
        let collective = self.chain.deployment().collective;
        let latest = self.chain.latest().await?;
        let mut oldest: Option<u64> = None;
        for job in 1..=self.chain.jobs().await? {
            if progress.over.contains(&job) {
                continue;
            }
            let settled = self.chain.job(finalized, job).await?;
            let is_ours = settled.lease.collective == collective;
            if settled.state > JobState::Released || settled.state > JobState::None && !is_ours {
                progress.over.insert(job);
                continue;
            }
            let newest = self.chain.job(&latest, job).await?;
            // Of either branch, should the chain change its mind.
            for (fact, at) in [(settled, finalized), (newest, &latest)] {
                let is_mine = fact.lease.node == self.node;
                let may_read = is_mine && is_under_way(&fact, collective, at.time);
                if may_read && !self.ran(&fact).await? {
                    let denials = fact.lease.deny_block.0;
                    oldest = Some(oldest.map_or(denials, |oldest| oldest.min(denials)));
                }
            }
        }
        Ok(oldest)
    }

    /// Whether the run of a lease is kept: it reads no file again.
    async fn ran(&self, fact: &JobFact) -> Result<bool, LedgerError> {
        let lease = &fact.lease;
        Ok(self.ledger.run(lease.job, lease.attempt).await?.is_some())
    }

    /// Keeps the header under its own name, removes the file, notes that.
    async fn drop_file(&self, leaf: Leaf) -> Result<(), WithdrawalError> {
        let Some((held, _)) = self.ledger.contribution(leaf).await? else {
            return Ok(());
        };
        let header = match self.blobs.get(BlobId(held.entry.commitment.header)).await {
            Ok(header) => header,
            Err(_) => {
                let header = headers::in_file(&self.blobs, held.file).await?;
                header
                    .filter(|header| sha256(header) == held.entry.commitment.header)
                    .ok_or(BlobError::Garbled(held.file))?
            }
        };
        // Also where it is there: that it is on the disk is known only now.
        self.blobs.put(header).await?;
        self.remove(&held).await?;
        Step::FileDroppedNotNoted.reached();
        Ok(self.ledger.dropped(leaf).await?)
    }

    /// Without a payload there is nothing but the header, which stays.
    async fn remove(&self, held: &Held) -> Result<(), BlobError> {
        self.fetched.drop_file(held.entry.contribution.leaf());
        match held.file.0 == held.entry.commitment.header {
            true => Ok(()),
            false => self.blobs.remove(held.file).await,
        }
    }
}

/// Which of these contributions are withdrawn at a block, by proven words and the block's time.
///
/// # Errors
/// [`ChainError`].
pub async fn withdrawn<'a>(
    chain: &Chain,
    entries: impl IntoIterator<Item = &'a SignedContribution>,
    at: &BlockRef,
) -> Result<HashMap<Leaf, Withdrawn>, ChainError> {
    let entries: Vec<_> = entries.into_iter().collect();
    if entries.is_empty() {
        return Ok(HashMap::new());
    }
    let named = entries.iter().map(|entry| {
        let contribution = &entry.contribution;
        (contribution.contributor, contribution.nonce)
    });
    let revocations = chain.revocations(at, &named.collect::<Vec<_>>()).await?;
    let withdrawn = entries.iter().filter_map(|entry| {
        let why = revocations.withdrawn(entry, at.time)?;
        Some((entry.contribution.leaf(), why))
    });
    Ok(withdrawn.collect())
}
