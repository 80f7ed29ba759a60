//! A key holder: a member of the committee, wherever it runs. It sees headers and chain facts, no payload and no
//! plaintext, and gives nothing that it has not worked out for itself.
//!
//! A compute node that is a committee of one has its holder in its own process; what holders answer and check is the
//! same. First holders sign the release of a leased job; once that is final on chain, and not before, each gives its
//! partial decryptions to the node that the lease names, sealed to that node's key.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use alloy::primitives::{B256, Signature};
use bytes::Bytes;
use collective::committee::answer::Statement;
use collective::committee::log::LogEvent;
use collective::committee::question::{Question, Wanted};
use collective::committee::released::ReleasedFiles;
use collective::committee::{KeyShare, ReleaseError, ShareCertificate};
use collective::id::{BlobId, Leaf, NodeId};
use collective::permit::{ApprovalStatus, Grant, grant};
use collective::receipt::{BlockRef, Release};
use collective::reward::RewardRoot;
use collective::seal::contribution::{self, ContributionHeader, Sender};
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, timeout_at};

use crate::blobs::{BlobError, Blobs};
use crate::chain::facts::{JobFact, JobState};
use crate::chain::{Chain, ChainError};
use crate::decision::{Facts, newest};
use crate::follower::View;
use crate::headers::Headers;
use crate::keystore::Keystore;
use crate::ledger::Ledger;
use crate::lie;
use crate::pace::Pace;
use crate::rewards::Rewards;
pub use log_file::{LogFile, LogFileError};
pub use refusal::HolderRefusal;
pub use renewal::RenewalStatus;

pub mod ceremony;
pub mod door;
mod log_file;
pub mod mandate;
pub mod published;
mod refusal;
mod renewal;
pub mod serve;

/// How long a holder waits to see final what the node that asks has seen final: a few looks at the chain. Refused at once,
/// an honest member would be taken for one that does not do its part.
const CATCH_UP: Duration = Duration::from_secs(3);

/// One member of the committee.
pub struct Holder {
    /// This node.
    pub node: NodeId,
    /// Its own connection to the chain.
    pub chain: Chain,
    /// Manifests, charters, certificates.
    pub blobs: Blobs,
    /// Headers of what was anchored.
    pub headers: Headers,
    /// Chain facts, followed by itself.
    pub view: watch::Receiver<View>,
    /// Its keys and shares.
    pub keys: Arc<Keystore>,
    /// Input lists of what it released.
    pub ledger: Ledger,
    /// Works out what contributors earned.
    pub rewards: Rewards,
    /// Its log.
    pub log: LogFile,
    /// The release asked about last: pages and proofs ask about the same files again.
    pub released: Mutex<Option<Arc<ReleasedFiles>>>,
    /// Held while shares come and go, with what is kept of their ceremonies: never is the last copy of one erased.
    pub changing: Mutex<()>,
}

impl Holder {
    /// Signs the release of a job whose lease is final, if this holder would release it.
    ///
    /// # Errors
    /// [`HolderRefusal`].
    pub async fn sign_release(&self, job: u64, asks: NodeId) -> Result<Signature, HolderRefusal> {
        let fact = self.leased(job, asks).await?;
        let view = self.view()?;
        self.share(fact.lease.epoch).await?;
        let facts = Facts::gather(&self.chain, &self.blobs, view, &fact).await?;
        let granted = grant(&facts.case(&fact, asks))?;
        // All headers are at hand, or nothing is promised. They are needed again once the release is final.
        let headers = headers_of(&self.headers, &granted, &facts.view).await?;
        let files = released_files(&self.chain, &granted, headers).await?;
        *self.released.lock().await = Some(Arc::new(files));
        let release = granted.release();
        let inputs = keep_inputs(&self.blobs, &granted).await?;
        self.ledger
            .keep_inputs(job, release.attempt, inputs)
            .await?;
        let digest = release.signing_hash(&self.chain.deployment().job_escrow());
        Ok(self.keys.sign(digest))
    }

    /// Answers a question about a release that is final: partial decryptions, or the proof that they are right. The
    /// answer to one question may be given again; each is a line in the log before it leaves.
    ///
    /// # Errors
    /// [`HolderRefusal`].
    pub async fn answer(
        &self,
        job: u64,
        question: &[u8],
        asks: NodeId,
    ) -> Result<Vec<u8>, HolderRefusal> {
        let fact = self.released_fact(job, asks).await?;
        let view = self.view()?;
        let share = self.share(fact.lease.epoch).await?;
        let question = Question::parse(share.certificate(), question)?;
        self.not_taken_back(&fact, &view).await?;
        let files = self.released_files(&fact, asks, view).await?;
        let earlier = self.earlier_keys(&share)?;
        let checked = share.check_question(&question, &files, &earlier);
        if checked == Err(ReleaseError::Renewed.into()) {
            self.has_earlier_keys(&share)?;
        }
        checked?;
        let head = match question.wanted() {
            Wanted::Partials => self.log.note(now(), released(&files, &question)).await?,
            // What was given is given again in no other way.
            Wanted::Proof(_) => self.log.head().await,
        };
        let (keys, escrow) = (self.keys.clone(), self.chain.deployment().job_escrow());
        // A full page is a second of multiplications: not on the runtime's own threads.
        let made = tokio::task::spawn_blocking(move || {
            let rng = &mut rand::rng();
            let sign = |said: &Statement| keys.sign(said.signing_hash(&escrow));
            if *question.wanted() != Wanted::Partials {
                return share.prove(&question, &files, rng);
            }
            if lie::is_told() {
                return lie::answer(&share, &question, &files, head, sign);
            }
            let answer = share.answer(&question, &files, &earlier, head, rng)?;
            Ok(answer.to_bytes(&sign(answer.statement())))
        });
        Ok(made.await.expect("making an answer does not panic")?)
    }

    /// Signs a reward root that this holder works out itself.
    ///
    /// # Errors
    /// [`HolderRefusal::AnotherRewardRoot`] where it works out another.
    pub async fn sign_rewards(&self, root: &RewardRoot) -> Result<Signature, HolderRefusal> {
        let view = self.view()?;
        self.share(root.epoch).await?;
        let deployment = *self.chain.deployment();
        let own = self.rewards.root(root.sequence, root.epoch).await?;
        if own.as_ref() != Some(root) || root.epoch != view.committee.epoch {
            return Err(HolderRefusal::AnotherRewardRoot {
                here: own.map_or(B256::ZERO, |own| own.root),
                asked: root.root,
            });
        }
        self.rewards.check_growth(root).await?;
        Ok(self
            .keys
            .sign(root.signing_hash(deployment.chain_id, deployment.rewards)))
    }

    /// The share of an epoch, checked against the committee that the collective accepted as that.
    ///
    /// # Errors
    /// [`HolderRefusal::NoShare`] and [`HolderRefusal::AnotherCommittee`].
    pub async fn share(&self, epoch: u64) -> Result<Arc<KeyShare>, HolderRefusal> {
        let share = self.keys.shares().of(epoch);
        let share = share.ok_or(HolderRefusal::NoShare(epoch))?;
        let finalized = self.view.borrow().finalized;
        let committee = self.chain.committee_of(&finalized, epoch).await?;
        if committee.is_shared_by(share.certificate()) {
            Ok(share)
        } else {
            Err(HolderRefusal::AnotherCommittee(epoch))
        }
    }

    /// Looks after shares and seeds for ever: takes over the share of a new epoch, erases what is over.
    pub async fn tend(self: Arc<Self>, pause: Duration) {
        let mut pace = Pace::new(pause);
        loop {
            let step = self.look_after_shares().await;
            pace.rest("the shares could not be looked after", step)
                .await;
        }
    }

    async fn look_after_shares(&self) -> Result<(), HolderRefusal> {
        let _alone = self.changing.lock().await;
        self.take_over_accepted().await?;
        let (epoch, came_back) = {
            let view = self.view.borrow();
            (view.committee.epoch, view.epochs.came_back())
        };
        if came_back {
            return Err(HolderRefusal::EarlierKey(epoch));
        }
        self.erase_old_shares().await?;
        self.tend_renewals().await
    }

    /// Erases the shares of epochs before the one in force, once no job is under way that one of them released, and what is
    /// kept of the ceremonies that led here. A member that has not taken its new share over keeps everything, and so does
    /// one whose old share this collective does not know: it is another's.
    ///
    /// # Errors
    /// [`HolderRefusal`]; nothing is erased then.
    async fn erase_old_shares(&self) -> Result<(), HolderRefusal> {
        let committee = self.view.borrow().committee;
        let epoch = committee.epoch;
        let taken_over = match self.keys.shares().of(epoch) {
            Some(share) => committee.is_shared_by(share.certificate()),
            None => epoch > 0 && !self.is_member().await?,
        };
        if !taken_over {
            return Ok(());
        }
        self.keys.ceremonies().erase_through(epoch)?;
        let mut old = Vec::new();
        for share in self.keys.shares().all() {
            let of = share.certificate().epoch();
            if of < epoch && self.is_of_this_key(share.certificate()).await? {
                old.push(of);
            }
        }
        if old.is_empty() {
            return Ok(());
        }
        let of_old = |fact: &JobFact| old.contains(&fact.lease.epoch);
        if self.is_under_way(of_old).await? {
            return Ok(());
        }
        for epoch in old {
            self.keys.shares().erase(epoch)?;
            self.log
                .note(now(), LogEvent::ShareErased { epoch })
                .await?;
            tracing::info!(epoch, "erased the share of an epoch that is over");
        }
        Ok(())
    }

    /// Whether a certificate is of a committee that the collective accepted, or of a P-256 key that it has or had.
    async fn is_of_this_key(&self, certificate: &ShareCertificate) -> Result<bool, ChainError> {
        let finalized = self.view.borrow().finalized;
        let accepted = self
            .chain
            .committee_of(&finalized, certificate.epoch())
            .await?;
        let epochs = self.view.borrow().epochs.clone();
        let mut keys = epochs.keys().iter();
        // The P-256 key: a renewal that came to nothing has an ML-KEM half that nobody accepted.
        let point = certificate.recipient().point();
        let known = keys.any(|key| key.recipient.point() == point);
        Ok(accepted.is_shared_by(certificate) || known)
    }

    /// Whether this node is a member of the committee in force.
    async fn is_member(&self) -> Result<bool, ChainError> {
        let (finalized, committee) = {
            let view = self.view.borrow();
            (view.finalized, view.committee)
        };
        let members = self.chain.members(&finalized, &committee).await?;
        Ok(members.iter().any(|member| member.id == self.node))
    }

    /// Whether the shares kept here are of this collective: a wrong deployment, key file or chain is found before
    /// anybody asks.
    ///
    /// # Errors
    /// [`HolderRefusal::NoShare`] where this node is a member and every share here is older than the epoch that the
    /// collective accepted: an old backup was restored. [`HolderRefusal::AnotherCommittee`].
    pub async fn check_shares(&self) -> Result<(), HolderRefusal> {
        let epoch = self.view.borrow().committee.epoch;
        let Some(newest) = self.keys.shares().newest() else {
            return Ok(());
        };
        let newest = newest.certificate().epoch();
        // One of an epoch that is still to be accepted is fine.
        if epoch == 0 || newest > epoch {
            return Ok(());
        }
        let of = if self.is_member().await? {
            epoch
        } else {
            newest
        };
        self.share(of).await.map(drop)
    }

    fn view(&self) -> Result<View, HolderRefusal> {
        let view = self.view.borrow().clone();
        match view.halted.clone() {
            Some(reason) => Err(HolderRefusal::Halted(reason)),
            None => Ok(view),
        }
    }

    /// A job of this collective whose lease stands in the newest finalized block and still in the newest.
    async fn leased(&self, job: u64, asks: NodeId) -> Result<JobFact, HolderRefusal> {
        self.at_both_ends(job, asks, JobState::Leased, "lease")
            .await
    }

    async fn released_fact(&self, job: u64, asks: NodeId) -> Result<JobFact, HolderRefusal> {
        let wanted = JobState::Released;
        let fact = self.at_both_ends(job, asks, wanted, "release").await?;
        let newest = self.chain.latest().await?;
        if newest.time > fact.receipt_deadline() {
            return Err(HolderRefusal::TooLate(job));
        }
        Ok(fact)
    }

    async fn at_both_ends(
        &self,
        job: u64,
        asks: NodeId,
        state: JobState,
        wanted: &'static str,
    ) -> Result<JobFact, HolderRefusal> {
        let newest = self.chain.job(&self.chain.latest().await?, job).await?;
        let ours = newest.lease.collective == self.chain.deployment().collective;
        let mut view = self.view.clone();
        let end = Instant::now() + CATCH_UP;
        let fact = loop {
            let finalized = view.borrow_and_update().finalized;
            let fact = self.chain.job(&finalized, job).await?;
            if ours && fact.state == state && newest.state == state && fact.lease == newest.lease {
                break fact;
            }
            // It may be final already where the node looks.
            let awaited = ours && newest.state == state;
            if !awaited || !matches!(timeout_at(end, view.changed()).await, Ok(Ok(()))) {
                let state = fact.state;
                return Err(HolderRefusal::NotFinal { job, state, wanted });
            }
        };
        if fact.lease.node != asks {
            return Err(HolderRefusal::AnotherNode {
                job,
                leased: fact.lease.node,
            });
        }
        Ok(fact)
    }

    /// Contributors' own revocations concern later jobs; what members stop as a whole stops this one, too, and so does a
    /// node that has given up the keys that the answer would be sealed to.
    async fn not_taken_back(&self, fact: &JobFact, view: &View) -> Result<(), HolderRefusal> {
        let lease = &fact.lease;
        let newest = newest(&self.chain, view, lease.deny_block.0).await?;
        let now = self
            .chain
            .deny(newest, lease.manifest, lease.node, &[])
            .await?;
        let keys = [now.accepted, now.registered];
        if now.status == ApprovalStatus::Approved && keys == [lease.keys; 2] {
            Ok(())
        } else {
            Err(HolderRefusal::TakenBack(lease.job))
        }
    }

    /// The files of a release, derived by this holder from the facts at the blocks of the lease.
    async fn released_files(
        &self,
        fact: &JobFact,
        asks: NodeId,
        view: View,
    ) -> Result<Arc<ReleasedFiles>, HolderRefusal> {
        let mut known = self.released.lock().await;
        if let Some(files) = known.as_ref().filter(|files| is_of(files.release(), fact)) {
            return Ok(files.clone());
        }
        let facts = Facts::as_leased(&self.chain, &self.blobs, view, fact).await?;
        let granted = grant(&facts.case_as_released(fact, asks))?;
        let derived = granted.input().root();
        if derived != fact.input_root {
            return Err(HolderRefusal::AnotherInput {
                job: fact.lease.job,
                on_chain: fact.input_root,
                derived,
            });
        }
        let headers = headers_of(&self.headers, &granted, &facts.view).await?;
        let files = Arc::new(released_files(&self.chain, &granted, headers).await?);
        *known = Some(files.clone());
        Ok(files)
    }
}

/// Whether this is the release that the chain records: the lease fixes all of it but the input set, which has a root.
fn is_of(release: &Release, fact: &JobFact) -> bool {
    let lease = &fact.lease;
    let block = |block: &BlockRef| (block.number, block.hash);
    (release.job, release.attempt, release.epoch) == (lease.job, lease.attempt, lease.epoch)
        && (release.node, release.keys) == (lease.node, lease.keys)
        && (release.collective, release.manifest) == (lease.collective, lease.manifest)
        && [&release.allow, &release.deny].map(block) == [lease.allow_block, lease.deny_block]
        && (release.input_root, release.input_count) == (fact.input_root, fact.input_count)
}

/// The headers of a granted input set, in its order. The index has checked their proofs when they were anchored.
///
/// # Errors
/// [`HolderRefusal::Headers`] where one is not at hand.
pub async fn headers_of(
    headers: &Headers,
    granted: &Grant,
    view: &View,
) -> Result<Vec<ContributionHeader>, HolderRefusal> {
    let sender = match view.committee.proof_required() {
        true => Sender::Proven,
        false => Sender::Unproven,
    };
    let mut found = Vec::with_capacity(granted.input().members().len());
    for member in granted.input().members() {
        let bytes = headers.get(&member.entry).await?;
        let key = view.key_of(&member.entry);
        let key = key.ok_or(HolderRefusal::NoShare(view.committee.epoch))?;
        let header = contribution::recall(&bytes, key, sender);
        let leaf = member.entry.contribution.leaf();
        found.push(header.map_err(|error| HolderRefusal::Header { leaf, error })?);
    }
    Ok(found)
}

/// Grant, headers and the grantee's key put together, as holder and node both do.
///
/// # Errors
/// [`HolderRefusal::NotReleased`] where they do not fit.
pub async fn released_files(
    chain: &Chain,
    granted: &Grant,
    headers: Vec<ContributionHeader>,
) -> Result<ReleasedFiles, HolderRefusal> {
    let release = granted.release();
    let (keys, recipient) = chain.node_keys(&release.deny, release.node).await?;
    let escrow = chain.deployment().job_escrow();
    Ok(ReleasedFiles::new(
        &escrow,
        release,
        granted.input(),
        &keys,
        recipient,
        headers,
    )?)
}

/// Notes the leaves of an input set as a blob.
///
/// # Errors
/// [`BlobError`].
pub async fn keep_inputs(blobs: &Blobs, granted: &Grant) -> Result<BlobId, BlobError> {
    let leaves: Vec<Leaf> = granted.input().leaves().collect();
    let bytes = serde_json::to_vec(&leaves).expect("plain JSON values");
    blobs.put(Bytes::from(bytes)).await
}

fn released(files: &ReleasedFiles, question: &Question) -> LogEvent {
    let release = files.release();
    LogEvent::Released {
        job: release.job,
        attempt: release.attempt,
        release: files.digest(),
        input_root: release.input_root,
        count: release.input_count,
        keys: release.keys,
        quorum: question.quorum().members().to_vec(),
    }
}

/// Unix seconds by this machine's clock, for the log alone: nothing is decided by it.
fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}
