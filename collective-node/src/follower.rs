//! Follows the chain: the newest blocks, and an index of everything that is finally anchored.
//!
//! The index grows from finalized blocks only, so no reorganisation touches it. Logs are hints: the hash-chain heads
//! folded from them, from those of the first block on, must equal those in the contract's storage, which are proven; an
//! endpoint that withholds a batch or a direct contribution is found out.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy::primitives::{Address, B256};
use alloy::rpc::types::{Filter, Log};
use alloy::sol_types::SolEvent;
use bytes::Bytes;
use collective::admission::{Admission, AdmissionList};
use collective::charter::Charter;
use collective::committee::ShareCertificate;
use collective::contribution::{Batch, SignedContribution, batch_head};
use collective::epochs::Epochs;
use collective::id::{BlobId, ContributorId, Leaf};
use collective::index::{Index, Rule, Sealed, Void};
use collective::input::Anchored;
use collective::receipt::BlockRef;
use collective::seal::contribution::ContributionError;
use collective::seal::proof::ProofError;
use collective::seal::tagged::TaggedRecipient;
use futures_util::{StreamExt, TryStreamExt, stream};
use thiserror::Error;
use tokio::sync::watch;

use crate::blobs::{BlobError, Blobs};
use crate::chain::facts::{CommitteeFact, Heads, Rotation};
use crate::chain::{Chain, ChainError, Deployment, Logs};
use crate::headers::{self, Headers, HeadersError};
use crate::pace::Pace;
use collective_contracts::ContributionRegistry::{
    AdmissionSet, BatchCommitted, Contributed, RecoveryFinished,
};
use direct::MAX_BLOCKS_AT_ONCE;
use stretch::Stretch;

mod committees;
pub(crate) mod direct;
mod stretch;

/// Headers that are asked for at once: enough to hide the way to another machine.
const HEADERS_AT_ONCE: usize = 32;

/// What is known of the chain, all of it read at `finalized` except `latest`.
#[derive(Clone, Debug)]
pub struct View {
    /// Newest block.
    pub latest: BlockRef,
    /// When `finalized` last grew, by the local monotonic clock.
    pub arrived: Instant,
    /// Why nothing may be released: the chain, or the endpoint, broke a promise.
    pub halted: Option<String>,
    /// Newest finalized block; the index is complete up to here.
    pub finalized: BlockRef,
    /// Charters in the order of the blocks that set them.
    pub charters: Vec<SetCharter>,
    /// The committee.
    pub committee: CommitteeFact,
    /// Its public shares and recipient; `None` before the collective accepted one.
    pub certificate: Option<Arc<ShareCertificate>>,
    /// The keys that the collective has had.
    pub epochs: Arc<Epochs>,
    /// Whose batches are followed.
    pub aggregator: Address,
    /// Everything anchored.
    pub index: Arc<Index>,
    /// Ids that another key has taken over, as far as logs since the first block or what was anchored named them.
    pub rotations: Arc<HashMap<ContributorId, Rotation>>,
    /// Manifests of the anchored batches.
    pub batches: Arc<Vec<BlobId>>,
    /// What contributors anchored themselves, and in which blocks, a batch having it or not.
    pub direct: Arc<Vec<(Leaf, u64)>>,
}

/// A charter that an executed proposal set.
#[derive(Clone, Debug)]
pub struct SetCharter {
    /// In which block.
    pub block: u64,
    /// Digest of its bytes.
    pub digest: BlobId,
    /// Admission word that was set with it.
    pub root: B256,
    /// The charter; `None` while its bytes are not here or do not fit the root.
    pub charter: Option<Arc<Charter>>,
}

impl View {
    /// What counts of all that was anchored, in its order.
    pub fn anchored(&self) -> &[Anchored] {
        self.index.counted()
    }

    /// The view under the committee of an epoch. Whether proofs are required, and so what counts, is for the jobs that it
    /// releases that committee's setting, whatever committee follows.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn of_epoch(mut self, chain: &Chain, epoch: u64) -> Result<Self, ChainError> {
        if epoch != self.committee.epoch {
            self.committee = chain.committee_of(&self.finalized, epoch).await?;
            let rule = rule_of(&self.committee, &self.epochs);
            if rule != self.index.rule() {
                Arc::make_mut(&mut self.index).follow(rule);
            }
        }
        Ok(self)
    }

    /// The key that a contribution which counts is sealed to.
    pub fn key_of(&self, entry: &SignedContribution) -> Option<&TaggedRecipient> {
        let epoch = self.index.key_of(&entry.contribution.point)?;
        Some(&self.epochs.key(epoch)?.recipient)
    }

    /// Seconds since a new finalized block arrived.
    pub fn silence(&self) -> u64 {
        self.arrived.elapsed().as_secs()
    }

    /// The charter in force now.
    pub fn charter(&self) -> Option<&Arc<Charter>> {
        self.charter_at(self.finalized.number)
    }

    /// The charter that was in force at a block.
    pub fn charter_at(&self, block: u64) -> Option<&Arc<Charter>> {
        let set = self.charters.iter().rev().find(|set| set.block <= block)?;
        set.charter.as_ref()
    }
}

/// What counts for a committee.
fn rule_of(committee: &CommitteeFact, epochs: &Epochs) -> Rule {
    Rule {
        proof_required: committee.proof_required(),
        first_key: epochs.first_of_point(committee.epoch),
    }
}

/// Why the index did not advance. It keeps what it had.
#[derive(Debug, Error)]
pub enum FollowError {
    /// The endpoint.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// A manifest, charter or certificate that is named on chain is not here.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// A header that an anchored leaf commits to is not here.
    #[error(transparent)]
    Headers(#[from] HeadersError),
    /// The bytes behind the certificate's digest are no certificate.
    #[error(
        "the certificate {0} that the committee signed does not parse: its members have to publish another"
    )]
    Certificate(BlobId),
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
    /// The log of accepted committees and the contract's storage differ.
    #[error(
        "the endpoint's log of accepted committees is not what the contract's storage proves at block {block}: it withholds \
         one, or passes over too many epochs"
    )]
    Acceptances {
        /// Where.
        block: u64,
    },
    /// Logs do not add up to the proven head.
    #[error(
        "the endpoint withholds or alters what was anchored: its logs fold to {folded}, the contract's storage proves \
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

/// Follows one collective's batches of one aggregator, and what contributors anchor themselves once that has acknowledged it.
pub struct Follower {
    chain: Chain,
    blobs: Blobs,
    headers: Headers,
    aggregator: Address,
    heads: Heads,
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
        headers: Headers,
        aggregator: Address,
    ) -> Result<(Self, watch::Receiver<View>), FollowError> {
        let first = chain.at_height(chain.deployment().first_block).await?;
        // Not zero: to a contract that collectives share anybody may have sent what names this one before there was one.
        let heads = chain.heads(&first, aggregator).await?;
        let view = View {
            latest: chain.latest().await?,
            arrived: Instant::now(),
            finalized: first,
            halted: None,
            charters: vec![],
            committee: chain.committee(&first).await?,
            certificate: None,
            epochs: Arc::default(),
            aggregator,
            index: Arc::default(),
            rotations: Arc::default(),
            batches: Arc::default(),
            direct: Arc::default(),
        };
        let (view, watcher) = watch::channel(view);
        let mut follower = Self {
            chain,
            blobs,
            headers,
            aggregator,
            heads,
            view,
        };
        follower.begin(&first).await?;
        follower.step().await?;
        Ok((follower, watcher))
    }

    /// Of a committee that was accepted before the first block nobody knows since when.
    async fn begin(&mut self, first: &BlockRef) -> Result<(), FollowError> {
        let committee = self.view.borrow().committee;
        if committee.epoch > 0
            && let Some(key) = self.key(&committee, first).await?
        {
            let accept = |view: &mut View| Arc::make_mut(&mut view.epochs).accept(key);
            self.view.send_modify(accept);
        }
        Ok(())
    }

    /// Checks that a block which was once finalized still is on the chain.
    ///
    /// # Errors
    /// [`FollowError::FinalityBroken`]; [`ChainError::NoBlock`] where the endpoint is not that far yet.
    pub async fn check_finalized(
        chain: &Chain,
        (number, was): (u64, B256),
    ) -> Result<(), FollowError> {
        let is = chain.at_height(number).await?.hash;
        if is == was {
            Ok(())
        } else {
            Err(FollowError::FinalityBroken { number, was, is })
        }
    }

    /// Steps for ever; a failed step is logged and tried again.
    pub async fn run(mut self, pause: Duration) {
        let mut pace = Pace::new(pause);
        loop {
            let step = self.step().await;
            self.halt_if_broken(&step);
            pace.rest("the chain could not be followed", step).await;
        }
    }

    /// A broken promise stops releases until a step works again; a finalized block that was replaced
    /// never does.
    fn halt_if_broken(&self, step: &Result<(), FollowError>) {
        let halted = match step {
            Ok(()) => None,
            Err(
                error @ (FollowError::FinalityBroken { .. }
                | FollowError::Withheld { .. }
                | FollowError::Acceptances { .. }),
            ) => Some(error.to_string()),
            // Out of reach is not broken: silence has a limit of its own.
            Err(_) => return,
        };
        self.view.send_if_modified(|view| {
            let new = view.halted != halted;
            view.halted = halted;
            new
        });
    }

    /// Looks at the chain once.
    ///
    /// # Errors
    /// [`FollowError`]; the view is then as it was, but for `latest`.
    pub async fn step(&mut self) -> Result<(), FollowError> {
        let latest = self.chain.latest().await?;
        self.view.send_if_modified(|view| {
            let new = view.latest != latest;
            view.latest = latest;
            new
        });
        self.fetch_charters().await;
        let finalized = self.chain.finalized().await?;
        let known = self.view.borrow().finalized;
        if finalized == known {
            return Ok(());
        }
        // Also where the new one is not above: a branch that replaced it may be shorter for now.
        Self::check_finalized(&self.chain, (known.number, known.hash)).await?;
        if finalized.number <= known.number {
            return Ok(());
        }
        self.advance(known.number + 1, finalized).await
    }

    async fn advance(&mut self, from: u64, to: BlockRef) -> Result<(), FollowError> {
        let committee = self.chain.committee(&to).await?;
        let certificate = self.certificate(&committee).await?;
        let epochs = self.epochs(from, &to, &committee).await?;
        let mut stretch = Stretch::after(self.heads);
        let (filter, registry) = (self.of_collective(), self.chain.deployment().contributions);
        let filter = filter.address(registry).event_signature(vec![
            BatchCommitted::SIGNATURE_HASH,
            Contributed::SIGNATURE_HASH,
            AdmissionSet::SIGNATURE_HASH,
        ]);
        let pieces = self
            .chain
            .logs_piecewise(filter, from, to.number, MAX_BLOCKS_AT_ONCE);
        let proven = self.take(pieces, &to, &epochs, &mut stretch).await?;
        let rotations = self.rotations(from, &to, &mut stretch.anchored).await?;
        self.heads = proven;
        self.view.send_modify(|view| {
            view.finalized = to;
            view.arrived = Instant::now();
            view.charters.extend(stretch.charters);
            if !rotations.is_empty() {
                Arc::make_mut(&mut view.rotations).extend(rotations);
            }
            let rule = rule_of(&committee, &epochs);
            if !stretch.anchored.is_empty() || rule != view.index.rule() {
                let index = Arc::make_mut(&mut view.index);
                index.follow(rule);
                index.extend(stretch.anchored);
            }
            view.epochs = epochs;
            // Also where nothing of it counts: the anchor has to see that it is final.
            if !stretch.batches.is_empty() {
                Arc::make_mut(&mut view.batches).extend(stretch.batches);
            }
            if !stretch.direct.is_empty() {
                Arc::make_mut(&mut view.direct).extend(stretch.direct);
            }
            view.committee = committee;
            view.certificate = certificate;
        });
        Ok(())
    }

    /// Takes over what the logs have, piece by piece; the heads at `to`, which they have to come to.
    async fn take(
        &self,
        mut pieces: Logs<'_>,
        to: &BlockRef,
        epochs: &Arc<Epochs>,
        stretch: &mut Stretch,
    ) -> Result<Heads, FollowError> {
        while let Some((logs, last)) = pieces.next().await? {
            let is_empty = logs.is_empty();
            for log in logs {
                let number = log.block_number.unwrap_or(last);
                match log.topic0() {
                    Some(&BatchCommitted::SIGNATURE_HASH) => {
                        self.take_batch(&log, number, epochs, stretch).await?;
                    }
                    Some(&Contributed::SIGNATURE_HASH) => {
                        self.take_direct(&log, number, epochs, stretch).await?;
                    }
                    Some(&AdmissionSet::SIGNATURE_HASH) => {
                        self.take_charter(&log, number, stretch).await;
                    }
                    _ => {}
                }
            }
            // What an endpoint makes up is found out before more of it is read.
            if !is_empty && last < to.number {
                let block = self.chain.at_height(last).await?;
                stretch.check(&self.chain.heads(&block, self.aggregator).await?, last)?;
            }
        }
        let proven = self.chain.heads(to, self.aggregator).await?;
        stretch.check(&proven, to.number)?;
        Ok(proven)
    }

    async fn take_batch(
        &self,
        log: &Log,
        number: u64,
        epochs: &Arc<Epochs>,
        stretch: &mut Stretch,
    ) -> Result<(), FollowError> {
        let event = match BatchCommitted::decode_log(&log.inner) {
            Ok(event) if event.aggregator == self.aggregator => event,
            _ => return Ok(()),
        };
        let manifest = BlobId(event.manifest);
        let head = &mut stretch.heads.batches;
        *head = batch_head(*head, event.root, event.count, manifest);
        let Some(batch) = self.batch(manifest, event.root).await? else {
            return Ok(());
        };
        let block = self.chain.at_height(number).await?;
        let sealed = self.sealed(&batch, epochs, &block).await?;
        for (entry, sealed) in batch.entries().iter().zip(sealed) {
            stretch.anchor(entry.clone(), sealed, &block);
        }
        stretch.batches.push(manifest);
        Ok(())
    }

    async fn take_charter(&self, log: &Log, number: u64, stretch: &mut Stretch) {
        let Ok(event) = AdmissionSet::decode_log(&log.inner) else {
            return;
        };
        let (digest, root) = (BlobId(event.manifest), event.root);
        stretch.charters.push(SetCharter {
            block: number,
            digest,
            root,
            charter: self.charter(digest, root).await,
        });
    }

    /// Which ids another key has taken over, of those that logs name and those that `anchored` names, which `to` proves. What one of
    /// them has in the block of its first rotation or later never counts (SPEC "Index"). Whoever signed it may be the thief; of
    /// this the registry keeps the block, so that everybody says the same, however late they look.
    async fn rotations(
        &self,
        from: u64,
        to: &BlockRef,
        anchored: &mut [(Anchored, Result<Sealed, Void>)],
    ) -> Result<HashMap<ContributorId, Rotation>, FollowError> {
        let filter = Filter::new()
            .address(self.chain.deployment().contributions)
            .event_signature(RecoveryFinished::SIGNATURE_HASH);
        let logs = self.chain.logs(filter, from, to.number).await?;
        let hinted = logs.iter().filter_map(|log| log.topics().get(1));
        let contributor = |it: &Anchored| it.entry.contribution.contributor;
        let named = anchored.iter().map(|(it, _)| contributor(it));
        let ids = hinted.map(|id| ContributorId(*id)).chain(named);
        let rotations = self.chain.rotations(to, ids).await?;
        for (it, sealed) in anchored {
            let rotation = rotations.get(&contributor(it));
            if rotation.is_some_and(|rotation| rotation.block <= it.block) {
                let leaf = it.entry.contribution.leaf();
                tracing::warn!(%leaf, "a contribution under an id that another key has taken over counts for nothing");
                *sealed = Err(Void::TakenOver);
            }
        }
        Ok(rotations)
    }

    /// The certificate that the collective accepted: the one at hand, or the blob that the chain names.
    async fn certificate(
        &self,
        committee: &CommitteeFact,
    ) -> Result<Option<Arc<ShareCertificate>>, FollowError> {
        if committee.epoch == 0 {
            return Ok(None);
        }
        let known = {
            let view = self.view.borrow();
            let same = view.committee.certificate == committee.certificate;
            view.certificate.clone().filter(|_| same)
        };
        if known.is_some() {
            return Ok(known);
        }
        let bytes = self.blobs.get(committee.certificate).await?;
        let certificate = ShareCertificate::parse(&bytes)
            .map_err(|_| FollowError::Certificate(committee.certificate))?;
        Ok(Some(Arc::new(certificate)))
    }

    /// What the headers of a batch that stands in `block` say of who made them, and to which key. One that is not at hand stops the index, for it may prove something.
    async fn sealed(
        &self,
        batch: &Batch,
        epochs: &Arc<Epochs>,
        block: &BlockRef,
    ) -> Result<Vec<Result<Sealed, Void>>, FollowError> {
        if epochs.open_at(block.number, block.time).next().is_none() {
            return Ok(vec![Err(Void::Header); batch.entries().len()]);
        }
        let entries = batch.entries().to_vec();
        let given: Vec<Bytes> = stream::iter(entries.clone())
            .map(|entry| {
                let headers = self.headers.clone();
                async move { headers.get(&entry).await }
            })
            .buffered(HEADERS_AT_ONCE)
            .try_collect()
            .await?;
        Ok(self.check_headers(entries, given, epochs, block).await)
    }

    /// The same of headers that are at hand.
    async fn check_headers(
        &self,
        entries: Vec<SignedContribution>,
        given: Vec<Bytes>,
        epochs: &Arc<Epochs>,
        block: &BlockRef,
    ) -> Vec<Result<Sealed, Void>> {
        let (deployment, epochs, block) = (*self.chain.deployment(), epochs.clone(), *block);
        // Half a millisecond each: not on the runtime's own threads.
        let checked = tokio::task::spawn_blocking(move || {
            let both = entries.iter().zip(&given);
            both.map(|(entry, header)| check_header(entry, header, &deployment, &epochs, &block))
                .collect()
        });
        checked.await.expect("checking headers does not panic")
    }

    /// Looks for the bytes of charters that are not known yet. A charter whose bytes never come, or
    /// do not fit the root that was set, admits nobody; it does not stop the index.
    async fn fetch_charters(&self) {
        let missing: Vec<(usize, BlobId, B256)> = {
            let view = self.view.borrow();
            let open = view
                .charters
                .iter()
                .enumerate()
                .filter(|(_, set)| set.charter.is_none());
            open.map(|(place, set)| (place, set.digest, set.root))
                .collect()
        };
        for (place, digest, root) in missing {
            if let Some(charter) = self.charter(digest, root).await {
                self.view
                    .send_modify(|view| view.charters[place].charter = Some(charter));
            }
        }
    }

    async fn charter(&self, digest: BlobId, root: B256) -> Option<Arc<Charter>> {
        let bytes = self.blobs.get(digest).await.ok()?;
        let charter = Charter::parse(&bytes).ok()?;
        fits(&charter, root).then(|| Arc::new(charter))
    }

    /// The batch of this manifest. Bytes that are none are the same for everybody who checks them, so
    /// they count as a batch without contributions; bytes that are missing are an error.
    async fn batch(&self, manifest: BlobId, root: B256) -> Result<Option<Batch>, FollowError> {
        let bytes = self.blobs.get(manifest).await?;
        let (registry, collective) = (
            self.chain.deployment().registry(),
            self.chain.deployment().collective,
        );
        // A batch of 10,000 is a second of signature checks: not on the runtime's own threads.
        let checked =
            tokio::task::spawn_blocking(move || Batch::check(&bytes, &registry, collective, root));
        match checked.await.expect("checking a batch does not panic") {
            Ok(batch) => Ok(Some(batch)),
            Err(refusal) => {
                tracing::warn!(%manifest, %refusal, "an anchored batch counts for nothing");
                Ok(None)
            }
        }
    }

    /// Events that name the collective.
    fn of_collective(&self) -> Filter {
        Filter::new().topic1(self.chain.deployment().collective.into_word())
    }
}

/// Under which of the keys that were open in the anchoring block a header is, and who made it.
fn check_header(
    entry: &SignedContribution,
    header: &[u8],
    deployment: &Deployment,
    epochs: &Epochs,
    block: &BlockRef,
) -> Result<Sealed, Void> {
    let mut refused = None;
    for key in epochs.open_at(block.number, block.time) {
        match headers::check(entry, header, deployment, &key.recipient) {
            Ok(header) => {
                let (sender, key) = (header.sender(), key.epoch);
                return Ok(Sealed { sender, key });
            }
            Err(error) => refused = refused.or(Some(error)),
        }
        let other_key = [
            ContributionError::AnotherKey,
            ContributionError::Proof(ProofError::Refused),
        ];
        if !refused.iter().all(|error| other_key.contains(error)) {
            break;
        }
    }
    let leaf = entry.contribution.leaf();
    tracing::warn!(%leaf, ?refused, "an anchored contribution counts for nothing");
    Err(Void::Header)
}

/// Whether a charter is the one behind an admission word.
fn fits(charter: &Charter, word: B256) -> bool {
    match (Admission::from(word), charter.admission.as_ref()) {
        (Admission::Root(root), Some(list)) => AdmissionList::root(list) == root,
        (Admission::Open, None) => true,
        _ => false,
    }
}
