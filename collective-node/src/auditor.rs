//! Asks each day for what was drawn of all payloads, keeps what came of it, and posts it where the collective said that this
//! node does (SPEC "Liveness").
//!
//! The day is the chain's: the newest finalized block says which one it is. A day that passes while the node is away is
//! not audited. What is asked here does not wait for what is posted.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::{Address, B256};
use collective::contribution::{
    BLOCK_BYTES, Commitment, LEAF_BYTES, PayloadOutline, PlaceUrl, SignedContribution, block_range,
    leaf_range,
};
use collective::id::{BlobId, Leaf, sha256};
use collective::index::Index;
use collective::liveness::{
    Challenge, Custody, EPOCH_SECONDS, Epoch, Outcome, Results, TRIES, Verdict, judge,
};
use collective::receipt::BlockRef;
use futures_util::{StreamExt, stream};
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::blobs::{BlobError, Blobs, OpenBlob};
use crate::chain::{Chain, ChainError};
use crate::contributor::split_stub;
use crate::follower::View;
use crate::headers;
use crate::ledger::{Audited, Ledger, LedgerError};
use crate::pace::Pace;
use crate::places::{AT_ONE_HOST, Places};
use crate::rebuild;
use crate::withdrawal::withdrawn;
use collective_contracts::LivenessRegistry;

/// Seconds of the chain between two tries of a challenge: what fails now may be back in some hours, and all tries fit into a
/// day.
const RETRY_SECONDS: u64 = 5 * 60 * 60;

/// Hosts that are asked at the same time: enough that some slow ones hold nobody up.
const HOSTS_AT_ONCE: usize = 64;

/// For one try of all that contributors keep: well before the next. What was not reached by then is tried then.
const TRY_LIMIT: Duration = Duration::from_secs(60 * 60);

/// Seconds after its end for which LivenessRegistry takes an epoch (`POST_SECONDS`, immutable).
const POST_SECONDS: u64 = 3 * 24 * 60 * 60;

/// Epochs that may still be posted: those that ended within [`POST_SECONDS`], and the present one.
const RECENT: u32 = 5;

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

/// The audit of one epoch.
struct Round {
    epoch: u64,
    randomness: B256,
    index: Arc<Index>,
    challenges: Vec<Challenge>,
    /// Whose contributor keeps the payload.
    connected: HashSet<Leaf>,
    /// The best that came of each so far.
    outcomes: Vec<Option<Outcome>>,
    /// Contributions that were withdrawn before the newest try: they are not asked for.
    withdrawn: HashSet<Leaf>,
    tries: u32,
    /// Unix seconds of the next try.
    next: u64,
}

impl Round {
    /// Takes over what one more try of all that contributors keep came to. Where no bytes at all came through the gateway it may as well
    /// be the gateway: what failed there then counts against nobody.
    fn note_answers(&mut self, answers: &[Answer]) {
        let came = |it: &Answer| matches!(it.outcome, Outcome::Held | Outcome::Wrong);
        let gateway_works = answers.iter().any(|it| it.is_in_ipfs && came(it));
        for answer in answers {
            if !answer.is_in_ipfs || gateway_works || came(answer) {
                self.note(answer.place, answer.outcome);
            }
        }
    }

    /// Takes over what one more try of a challenge came to.
    fn note(&mut self, place: usize, outcome: Outcome) {
        let tries = self.outcomes[place].into_iter().chain([outcome]);
        self.outcomes[place] = Some(Outcome::of_tries(tries));
    }

    /// Whether nothing was heard yet of some of these challenges.
    fn is_new(&self, asked: &Asked) -> bool {
        let mut places = asked.draws.iter().map(|(place, _)| *place);
        places.any(|place| self.outcomes[place].is_none())
    }

    /// Places and contributions of the challenges that are still to be asked.
    fn open(&self) -> impl Iterator<Item = (usize, Leaf)> {
        let each = self.challenges.iter().map(|it| it.contribution).enumerate();
        each.filter(|(place, leaf)| {
            self.outcomes[*place] != Some(Outcome::Held) && !self.withdrawn.contains(leaf)
        })
    }

    /// What each challenge came to. What was held before it was withdrawn stays so. What this node never came to ask is an error of
    /// its own, and not one of whoever keeps the payload.
    fn verdicts(&self) -> impl Iterator<Item = Verdict> {
        let each = self.challenges.iter().map(|it| it.contribution);
        each.zip(&self.outcomes).map(|(leaf, outcome)| {
            let custody = match self.connected.contains(&leaf) && outcome.is_some() {
                true => Custody::Connected,
                false => Custody::Escrow,
            };
            match outcome {
                Some(Outcome::Held) => Verdict::Asked(custody, Outcome::Held),
                _ if self.withdrawn.contains(&leaf) => Verdict::Withdrawn,
                outcome => Verdict::Asked(custody, outcome.unwrap_or(Outcome::Error)),
            }
        })
    }
}

/// What is to be asked for of one contribution that its contributor keeps.
struct Asked {
    entry: SignedContribution,
    /// Unless that was lost.
    place: Option<PlaceUrl>,
    /// Places among the challenges, and which leaf each is.
    draws: Vec<(usize, u64)>,
}

/// What one try of a challenge came to that this node could make.
struct Answer {
    /// Its place among the challenges.
    place: usize,
    outcome: Outcome,
    is_in_ipfs: bool,
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
        let mut hosts: HashMap<String, Vec<Asked>> = HashMap::new();
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
                let host = place.as_ref().and_then(|place| self.places.host(place));
                let host = host.unwrap_or_default();
                let draw = |place: &usize| (*place, round.challenges[*place].index);
                hosts.entry(host).or_default().push(Asked {
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
        let each_host = hosts.into_values().map(|mut asked| {
            // Those who were in the way of others at one host are not the first again.
            asked.sort_by_key(|asked| !round.is_new(asked));
            let answers = stream::iter(asked).map(|asked| self.ask_contributor(asked));
            answers.buffer_unordered(AT_ONE_HOST)
        });
        let mut answers = stream::iter(each_host).flatten_unordered(HOSTS_AT_ONCE);
        let until = Instant::now() + TRY_LIMIT;
        let mut came = vec![];
        while let Ok(Some(some)) = timeout_at(until, answers.next()).await {
            came.extend(some);
        }
        drop(answers);
        round.note_answers(&came);
        Ok(())
    }

    /// What became of the draws of a contribution that its contributor keeps, as far as this node could ask.
    async fn ask_contributor(&self, asked: Asked) -> Vec<Answer> {
        let leaf = asked.entry.contribution.leaf();
        let kept = self.stub(&asked.entry).await;
        let is_in_ipfs = asked.place.as_ref();
        let is_in_ipfs = is_in_ipfs.is_some_and(|place| self.places.is_in_ipfs(place));
        let mut answers = Vec::with_capacity(asked.draws.len());
        for (place, index) in &asked.draws {
            let outcome = match (&kept, &asked.place) {
                (Ok((header, outline)), Some(url)) => {
                    let commitment = &asked.entry.commitment;
                    self.drawn(commitment, *header, outline, url, *index).await
                }
                (Err(error), _) => {
                    tracing::warn!(%leaf, error, "what is kept of a contribution could not be read");
                    None
                }
                (_, None) => {
                    tracing::warn!(%leaf, "where its contributor keeps it was lost with a ledger");
                    Some(Outcome::Error)
                }
            };
            tracing::info!(%leaf, ?outcome, "asked a contributor's place");
            answers.extend(outcome.map(|outcome| Answer {
                place: *place,
                outcome,
                is_in_ipfs,
            }));
        }
        answers
    }

    /// Asks for the MiB around one leaf of a payload that lies behind a header of so many bytes.
    async fn drawn(
        &self,
        commitment: &Commitment,
        header: u64,
        outline: &PayloadOutline,
        place: &PlaceUrl,
        index: u64,
    ) -> Option<Outcome> {
        let Some(block) = block_range(commitment.length, index) else {
            return Some(Outcome::Wrong);
        };
        let range = header + block.start..header + block.end;
        match self.places.read(place, range).await {
            Ok(bytes) => Some(judge_block(commitment, outline, index, &bytes)),
            Err(error) => error.outcome(),
        }
    }

    /// What the node has of a file that its contributor keeps: the header's length and the payload's outline.
    async fn stub(&self, entry: &SignedContribution) -> Result<(u64, PayloadOutline), String> {
        let file = self.ledger.file(entry.contribution.leaf()).await;
        let file = file.map_err(|error| error.to_string())?;
        let file = file.ok_or("the ledger does not know it")?;
        let stub = self.blobs.get(file).await;
        let stub = stub.map_err(|error| error.to_string())?;
        let stub = split_stub(&stub, &entry.commitment).ok_or("it is of another file")?;
        let (header, outline) = stub;
        Ok((header.len() as u64, outline))
    }

    /// The file as this node has it, or what became of it. A store that does not work has lost nothing yet.
    async fn stored(&self, entry: &SignedContribution) -> Result<Stored, Outcome> {
        let failed = |error: &dyn std::fmt::Display| {
            tracing::warn!(%error, "a stored contribution could not be read");
            Outcome::Error
        };
        let leaf = entry.contribution.leaf();
        let file = self.ledger.file(leaf).await;
        let Some(file) = file.map_err(|error| failed(&error))? else {
            let withdrawn = self.ledger.withdrawal(leaf).await;
            // Dropped in a block that this round has not seen yet.
            return Err(match withdrawn.map_err(|error| failed(&error))? {
                Some(_) => Outcome::Error,
                None => Outcome::Wrong,
            });
        };
        let stored = Stored::open(&self.blobs, file, entry).await;
        stored.map_err(unreadable)?.ok_or(Outcome::Wrong)
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

    /// Where the collective takes this node's word: keeps the randomness of the days that can still be posted, while the chain
    /// knows their blocks, and posts what is over, oldest first.
    async fn post(
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

/// A file that is here, and the hashes of its payload's blocks: of a payload of at most one MiB the root says them, of a larger one
/// they are kept beside the file.
struct Stored {
    file: OpenBlob,
    header: u64,
    outline: PayloadOutline,
}

impl Stored {
    /// `None` where a file of other bytes or another length is there. The payload itself is not looked at yet, unless its outline was
    /// lost: then all of it is read, and the outline kept again.
    async fn open(
        blobs: &Blobs,
        id: BlobId,
        entry: &SignedContribution,
    ) -> Result<Option<Self>, BlobError> {
        let commitment = &entry.commitment;
        let file = blobs.open(id).await?;
        let header = headers::at_head(&file).await?;
        let Some(header) = header.filter(|it| sha256(it) == commitment.header) else {
            return Ok(None);
        };
        let header = header.len() as u64;
        if file.length() != header + commitment.length {
            return Ok(None);
        }
        let outline = match PayloadOutline::of_one_block(commitment) {
            Some(outline) => Some(outline),
            None => match blobs.beside(id).await {
                Ok(kept) => PayloadOutline::parse(&kept, commitment),
                Err(BlobError::Missing(_)) => None,
                Err(error) => return Err(error),
            },
        };
        let outline = match outline {
            Some(outline) => outline,
            None => {
                let made = rebuild::outline(file.clone(), header).await?;
                if made.root() != commitment.payload {
                    return Ok(None);
                }
                if let Err(error) = blobs.put_beside(id, made.to_bytes().into()).await {
                    tracing::warn!(%error, "an outline is not kept: it is made again next time");
                }
                made
            }
        };
        Ok(Some(Self {
            file,
            header,
            outline,
        }))
    }

    /// Reads the MiB around a leaf: a bit that turned over anywhere in it is found.
    async fn ask(&self, entry: &SignedContribution, index: u64) -> Result<Outcome, BlobError> {
        let commitment = &entry.commitment;
        let Some(block) = block_range(commitment.length, index) else {
            return Ok(Outcome::Wrong);
        };
        let range = self.header + block.start..self.header + block.end;
        let bytes = self.file.read(range).await?;
        Ok(judge_block(commitment, &self.outline, index, &bytes))
    }
}

/// What the bytes of the block around a leaf show: with the outline they make the path on which the leaf leads to the root.
fn judge_block(
    commitment: &Commitment,
    outline: &PayloadOutline,
    index: u64,
    block: &[u8],
) -> Outcome {
    let range = leaf_range(
        block.len() as u64,
        index % (BLOCK_BYTES / LEAF_BYTES as u64),
    );
    let drawn = range.and_then(|it| block.get(it.start as usize..it.end as usize));
    match (outline.path(index, block), drawn) {
        (Some(path), Some(drawn)) => judge(commitment, index, drawn, &path),
        _ => Outcome::Wrong,
    }
}

/// What an audit makes of a file that could not be read: a store that does not work has lost nothing yet.
fn unreadable(error: BlobError) -> Outcome {
    match error {
        BlobError::Missing(_) | BlobError::Garbled(_) => Outcome::Wrong,
        error => {
            tracing::warn!(%error, "a stored contribution could not be read");
            Outcome::Error
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use collective::contribution::PayloadTree;
    use collective::id::NodeId;
    use collective::terms::Terms;
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;
    use object_store::path::Path as Key;

    use super::*;
    use crate::blobs::Service;

    const KEPT: u64 = 3 * BLOCK_BYTES + 7;

    /// A header by its shape; nothing here opens it.
    pub(crate) fn file() -> (Vec<u8>, usize) {
        let identity = "age-encryption.org/v1\n-> X25519 TEiF0ypqr+bpvcqXNyCVJpL7OuwPdVwPL7KQEbFDOCc\nEmECAEcKN+n/Vs9SbWiV+Hu0r+E8R77DdWYyd83nw7U\n--- Vn+54jqiiUCE+WZcEVY3f1sqHjlu/z1LCQ/T7Xm7qI0\n";
        let payload = (0..KEPT).map(|i| (i / 1000) as u8);
        (identity.bytes().chain(payload).collect(), identity.len())
    }

    pub(crate) fn entry(file: &[u8], header: usize) -> SignedContribution {
        let mut tree = PayloadTree::new();
        tree.update(&file[header..]);
        let (payload, length) = tree.finish();
        let terms = Terms {
            purposes: Default::default(),
            expiry: 0,
        };
        SignedContribution {
            contribution: collective::contribution::Contribution {
                collective: Address::ZERO,
                contributor: B256::ZERO.into(),
                point: B256::ZERO.into(),
                commitment: B256::ZERO.into(),
                terms: terms.digest(),
                nonce: 0,
            },
            commitment: Commitment {
                header: sha256(&file[..header]),
                payload,
                length,
                source: "poll".into(),
            },
            terms,
            signature: alloy::primitives::Signature::test_signature(),
        }
    }

    /// Of one challenge more than are of contributions that their contributors keep.
    fn round(connected: u8) -> Round {
        let leaves = (0..=connected).map(|byte| Leaf(B256::repeat_byte(byte)));
        let challenge = |contribution: Leaf| Challenge {
            contribution,
            index: 0,
        };
        Round {
            epoch: 0,
            randomness: B256::ZERO,
            index: Arc::default(),
            challenges: leaves.clone().map(challenge).collect(),
            connected: leaves.take(connected.into()).collect(),
            outcomes: vec![None; usize::from(connected) + 1],
            withdrawn: HashSet::new(),
            tries: 0,
            next: 0,
        }
    }

    #[test]
    fn what_this_node_never_came_to_ask_counts_against_nobody() {
        let mut round = round(3);
        round.note(0, Outcome::Error);
        round.note(1, Outcome::Offline);
        round.note(1, Outcome::Held);
        round.note(3, Outcome::Wrong);
        let of_node = Verdict::Asked(Custody::Escrow, Outcome::Error);
        let expected = [
            Verdict::Asked(Custody::Connected, Outcome::Error),
            Verdict::Asked(Custody::Connected, Outcome::Held),
            of_node,
            Verdict::Asked(Custody::Escrow, Outcome::Wrong),
        ];
        assert_eq!(round.verdicts().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn where_nothing_came_through_the_gateway_its_failures_count_against_nobody() {
        let answer = |place, outcome, is_in_ipfs| Answer {
            place,
            outcome,
            is_in_ipfs,
        };
        let (failed, silent) = (
            answer(0, Outcome::Error, true),
            answer(1, Outcome::Offline, true),
        );
        let web = answer(2, Outcome::Offline, false);
        let mut round = round(3);
        round.note_answers(&[failed, silent, web]);
        assert_eq!(round.outcomes, [None, None, Some(Outcome::Offline), None]);
        // Wrong bytes are bytes.
        for came in [Outcome::Wrong, Outcome::Held] {
            let mut round = self::round(3);
            let (failed, silent) = (
                answer(0, Outcome::Error, true),
                answer(1, Outcome::Offline, true),
            );
            round.note_answers(&[failed, silent, answer(2, came, true)]);
            let expected = [
                Some(Outcome::Error),
                Some(Outcome::Offline),
                Some(came),
                None,
            ];
            assert_eq!(round.outcomes, expected);
            // Of a web server it says nothing that another one answers.
            let mut round = self::round(3);
            let failed = answer(0, Outcome::Error, true);
            round.note_answers(&[failed, answer(2, came, false)]);
            assert_eq!(round.outcomes, [None, None, Some(came), None]);
        }
    }

    #[test]
    fn at_one_host_those_come_first_of_whom_nothing_was_heard() {
        let mut round = round(2);
        round.note(0, Outcome::Offline);
        let (file, header) = file();
        let asked = |draws: &[usize]| Asked {
            entry: entry(&file, header),
            place: None,
            draws: draws.iter().map(|place| (*place, 0)).collect(),
        };
        assert!(!round.is_new(&asked(&[0])));
        assert!(round.is_new(&asked(&[1])) && round.is_new(&asked(&[0, 1])));
    }

    #[tokio::test]
    async fn a_large_file_is_asked_for_a_mib_at_a_time_and_what_rots_there_is_found() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let blobs = Blobs::folder(folder.path()).expect("a store");
        let (mut file, header) = file();
        let entry = entry(&file, header);
        let id = blobs.put(file.clone().into()).await.expect("kept");
        let name = id.to_string();
        let path = folder.path().join(&name[2..4]).join(&name[4..]);
        let last = (KEPT - 1) / 1024;
        let ask = |index| {
            let (blobs, entry) = (blobs.clone(), entry.clone());
            async move {
                let stored = Stored::open(&blobs, id, &entry).await.expect("a store");
                match stored {
                    None => Outcome::Wrong,
                    Some(stored) => stored.ask(&entry, index).await.expect("a store"),
                }
            }
        };
        // Without an outline the whole file is read, and the outline kept.
        assert!(blobs.beside(id).await.is_err());
        assert_eq!(ask(0).await, Outcome::Held);
        let outline = blobs.beside(id).await.expect("kept");
        for index in [0, 1023, 1024, 3000, last] {
            assert_eq!(ask(index).await, Outcome::Held, "leaf {index}");
        }
        assert_eq!(ask(last + 1).await, Outcome::Wrong);

        // A bit of the second MiB turns over: it is found by all that are drawn there, and by nobody else.
        file[header + BLOCK_BYTES as usize + 500_000] ^= 1;
        std::fs::write(&path, &file).expect("written over");
        assert_eq!(ask(1024).await, Outcome::Wrong);
        assert_eq!(ask(2047).await, Outcome::Wrong);
        for index in [0, 1023, 2048, last] {
            assert_eq!(ask(index).await, Outcome::Held, "leaf {index}");
        }
        // An outline of these bytes convinces nobody.
        let mut tree = PayloadTree::new();
        tree.update(&file[header..]);
        let other = tree.outline().to_bytes();
        assert_ne!(other, outline);
        blobs.put_beside(id, other.into()).await.expect("kept");
        let garbled = Stored::open(&blobs, id, &entry).await;
        assert!(matches!(garbled, Err(BlobError::Garbled(_))));
        assert_eq!(unreadable(BlobError::Garbled(id)), Outcome::Wrong);
        file[header + BLOCK_BYTES as usize + 500_000] ^= 1;
        std::fs::write(&path, &file).expect("mended");
        assert_eq!(ask(1024).await, Outcome::Held);
        assert_eq!(blobs.beside(id).await.expect("made again"), outline);

        // The header is of it, too, and so is its end.
        file[header - 3] ^= 1;
        std::fs::write(&path, &file).expect("written over");
        assert_eq!(ask(0).await, Outcome::Wrong);
        file[header - 3] ^= 1;
        std::fs::write(&path, &file[..file.len() - 1]).expect("cut");
        assert_eq!(ask(0).await, Outcome::Wrong);
    }

    #[tokio::test]
    async fn what_a_bucket_lost_is_wrong_and_of_a_bucket_that_is_away_nothing_is_said() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let memory = Arc::new(InMemory::new());
        let service = Service::new(memory.clone(), "");
        let blobs = Blobs::bucket(service, folder.path(), NodeId(B256::ZERO)).await;
        let blobs = blobs.expect("a store");
        let (file, header) = file();
        let entry = entry(&file, header);
        let id = blobs.put(file.into()).await.expect("kept");
        let ask = || async {
            match Stored::open(&blobs, id, &entry).await {
                Ok(Some(stored)) => stored.ask(&entry, 1024).await.unwrap_or_else(unreadable),
                Ok(None) => Outcome::Wrong,
                Err(error) => unreadable(error),
            }
        };
        assert_eq!(ask().await, Outcome::Held);
        let name = id.to_string();
        let key = Key::from(format!("{}/{}", &name[2..4], &name[4..]));
        memory.delete(&key).await.expect("removed");
        assert_eq!(ask().await, Outcome::Wrong);
        // As a bucket that was deleted, or another one, answers.
        memory.delete(&Key::from("owner")).await.expect("removed");
        assert_eq!(ask().await, Outcome::Error);
    }
}
