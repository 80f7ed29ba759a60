//! Takes jobs from request to settlement, one step at a time.
//!
//! The chain says where a job is; each step reads that, does the one next thing and may be done
//! twice. What a run made is in blobs and ledger before the chain hears of it, so a crash anywhere
//! is followed by the same step again. Only here and in the sandbox is plaintext ever held.

use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy::primitives::{Address, B256, Bytes as CallData, U256};
use bytes::Bytes;
use collective::approval::{Manifest, Program};
use collective::committee::assembly::Assembled;
use collective::id::{BlobId, NodeId};
use collective::permit::{
    ApprovalStatus, ApprovedTerms, Case, Fault, Grant, Permit, Refusal, grant, permit,
};
use collective::receipt::{BlockRef, Receipt};
use collective::seal::header::FileKey;
use thiserror::Error;
use tokio::sync::watch;

use crate::blobs::{BlobError, Blobs};
use crate::chain::facts::{JobFact, JobState};
use crate::chain::{Chain, ChainError};
use crate::committee::{Committee, CommitteeError};
use crate::crash;
use crate::decision::{Facts, FactsError};
use crate::follower::View;
use crate::headers::Headers;
use crate::holder::{HolderRefusal, headers_of, keep_inputs, released_files};
use crate::keystore::Keystore;
use crate::ledger::{Ledger, LedgerError};
use crate::pace::Pace;
use crate::run::{Published, RunError};
use crate::sandbox::EngineId;

pub use compute::Compute;
pub use progress::{Left, Progress};
pub use record::{RunRecord, SandboxDescription, on_chain};

mod compute;
mod progress;
mod record;
use collective_contracts::JobEscrow;

/// Seconds of JobEscrow's dispute window (`DISPUTE_SECONDS`, immutable).
const DISPUTE_SECONDS: u64 = 24 * 60 * 60;

/// Seconds in which a request can be leased (`REQUEST_SECONDS`).
const REQUEST_SECONDS: u64 = 7 * 24 * 60 * 60;

/// Seconds for which a release may be recorded after its lease (`RELEASE_GRACE_SECONDS`).
const RELEASE_GRACE_SECONDS: u64 = 10 * 60;

/// Why a step did not work. The next one tries again.
#[derive(Debug, Error)]
pub enum DriveError {
    /// The chain.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The blob store.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The chain broke a promise.
    #[error("nothing is released: {0}")]
    Halted(String),
    /// The facts could not be read.
    #[error(transparent)]
    Facts(#[from] FactsError),
    /// The committee.
    #[error(transparent)]
    Committee(#[from] CommitteeError),
    /// The files and the release do not fit.
    #[error(transparent)]
    Holder(#[from] Box<HolderRefusal>),
    /// The facts do not permit.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The run could not be made, which is not the program's fault.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The chain released another input set than the facts give.
    #[error("job {job}: the release on chain names input {on_chain}, the facts give {derived}")]
    AnotherInput {
        /// The job.
        job: u64,
        /// In the release record.
        on_chain: B256,
        /// From the facts.
        derived: B256,
    },
}

/// Drives the jobs of one node. Clones share it.
#[derive(Clone)]
pub struct Driver<S> {
    /// The chain, with the node's account.
    pub chain: Chain,
    /// Runs and refusals.
    pub ledger: Ledger,
    /// Programs, outputs, and what is said of runs.
    pub blobs: Blobs,
    /// Headers of what was anchored.
    pub headers: Headers,
    /// The node's keys.
    pub keys: Arc<Keystore>,
    /// Who opens what was released.
    pub committee: Arc<Committee>,
    /// Chain facts.
    pub view: watch::Receiver<View>,
    /// What this kind of node does with a job.
    pub site: S,
    /// This node.
    pub node: NodeId,
}

/// What kinds of nodes do differently with a job: which they serve, what has to be here for it, and the run.
pub trait Site: Clone + Send + Sync + 'static {
    /// What a run reads, once it is here.
    type Files: Send;

    /// Whether jobs of this manifest are for nodes of this kind; others are passed over.
    fn serves(&self, manifest: &Manifest) -> bool;

    /// Why this node does not serve what the collective approved.
    fn unserved(&self, permit: &Permit) -> impl Step<Option<String>>;

    /// The bytes that run beside the program's own, if there are any; whatever else runs it is here, too.
    fn runtime(&self, program: &Program) -> impl Step<Option<Vec<u8>>>;

    /// Looks for all that a run will need, before the clock of its receipt starts.
    fn have_at_hand(&self, permit: &Permit, view: View) -> impl Step<()>;

    /// The sealed files of the input set, in its order.
    fn files(&self, granted: &Grant, view: View) -> impl Step<Self::Files>;

    /// Runs the permitted program over these files; `None` among the keys is of a file that nobody can open.
    fn run(
        &self,
        permit: Permit,
        files: Self::Files,
        keys: Vec<Option<FileKey>>,
    ) -> impl Step<Published>;

    /// Name and digest of what runs programs of this kind here.
    fn engine(&self, program: &Program) -> (String, EngineId);

    /// Lets go of what was kept for a job.
    fn forget(&self, job: u64);
}

/// What a step of a [`Site`] comes to, in its own time.
pub trait Step<T>: Future<Output = Result<T, DriveError>> + Send {}

impl<T, F: Future<Output = Result<T, DriveError>> + Send> Step<T> for F {}

impl<S: Site> Driver<S> {
    /// Steps for ever, `pause` after each.
    pub async fn run(self, pause: Duration) {
        let mut progress = Progress::default();
        let mut pace = Pace::new(pause);
        loop {
            let step = self.step(&mut progress).await;
            pace.rest("the jobs could not be read", step).await;
        }
    }

    /// Does the next thing for every job that has not ended and is not waiting after a failure.
    ///
    /// # Errors
    /// [`DriveError`] where the chain does not answer; what goes wrong with one job is logged.
    pub async fn step(&self, progress: &mut Progress) -> Result<(), DriveError> {
        for (job, ran) in progress.ended_runs() {
            Self::note(progress, job, Duration::ZERO, ran.map(|()| Left::Something));
        }
        let jobs = self.chain.jobs().await?;
        self.take_up(progress, jobs).await?;
        for job in 1..=jobs {
            if !progress.is_due(job) {
                continue;
            }
            let began = Instant::now();
            let step = match progress.refused(job) {
                Some(blocks) => self.still_refused(job, blocks).await,
                None => self.advance(job, progress).await,
            };
            match step {
                Ok(Left::Run(fact)) => {
                    progress.start_run(job, self.clone().make_run(job, *fact));
                }
                step => Self::note(progress, job, began.elapsed(), step),
            }
        }
        Ok(())
    }

    /// Keeps places among the runs for what this node leased or released in an earlier life, before any other job gets one.
    async fn take_up(&self, progress: &mut Progress, jobs: u64) -> Result<(), DriveError> {
        let (_, latest) = self.heads().await?;
        while let Some(job) = progress.next_unknown(jobs) {
            let fact = self.chain.job(&latest, job).await?;
            progress.know(job, self.holds(&fact, latest.time));
        }
        Ok(())
    }

    fn note(progress: &mut Progress, job: u64, took: Duration, step: Result<Left, DriveError>) {
        match step {
            Ok(left) => progress.note(job, left),
            Err(error) => {
                let pause = progress.postpone(job, took);
                tracing::warn!(job, %error, ?pause, "a job did not advance");
            }
        }
    }

    /// A refusal is for ever once the blocks that it was read in are final, and void once one is cut out.
    async fn still_refused(&self, job: u64, blocks: [BlockRef; 2]) -> Result<Left, DriveError> {
        for block in blocks {
            if self.view.borrow().finalized.number < block.number {
                return Ok(Left::NothingWith(blocks));
            }
            if self.chain.at_height(block.number).await?.hash != block.hash {
                self.ledger.forget_refusal(job).await?;
                return Ok(Left::Something);
            }
        }
        Ok(Left::Nothing)
    }

    /// The newest finalized block and the newest one, on a chain that kept its promises.
    async fn heads(&self) -> Result<(BlockRef, BlockRef), DriveError> {
        let (finalized, halted) = {
            let view = self.view.borrow();
            (view.finalized, view.halted.clone())
        };
        if let Some(reason) = halted {
            return Err(DriveError::Halted(reason));
        }
        let latest = self.chain.latest().await?;
        if latest.number < finalized.number {
            return Err(FactsError::Behind {
                newest: latest.number,
                known: finalized.number,
            }
            .into());
        }
        Ok((finalized, latest))
    }

    /// Whether a place among the runs is kept for a job.
    fn holds(&self, fact: &JobFact, now: u64) -> bool {
        fact.lease.node == self.node && is_under_way(fact, self.chain.deployment().collective, now)
    }

    /// Does the next thing for one job. Nothing is leased or released for which there is no room among the runs.
    ///
    /// # Errors
    /// [`DriveError`]; the same step is right again.
    pub async fn advance(&self, job: u64, progress: &mut Progress) -> Result<Left, DriveError> {
        let (finalized, latest) = self.heads().await?;
        let fact = self.chain.job(&latest, job).await?;
        let settled = self.chain.job(&finalized, job).await?;
        // An end counts once it is final: until then a reorganisation may take it back.
        if self.has_ended(&settled) {
            self.site.forget(job);
            return Ok(Left::Nothing);
        }
        progress.know(job, self.holds(&fact, latest.time));
        if fact.lease.collective != self.chain.deployment().collective {
            return Ok(Left::Something);
        }
        let mine = fact.lease.node == self.node;
        let is_waiting = matches!(fact.state, JobState::Requested | JobState::Leased);
        if is_waiting && !progress.has_room(job) {
            return Ok(Left::Something);
        }
        match fact.state {
            JobState::Requested => self.consider(job, &fact, latest, progress).await,
            JobState::Leased if latest.time > fact.lease.deadline + RELEASE_GRACE_SECONDS => {
                self.consider(job, &fact, latest, progress).await
            }
            JobState::Leased if mine && latest.time <= fact.lease.deadline => {
                self.release(job, &fact, &settled).await?;
                Ok(Left::Something)
            }
            JobState::Released if latest.time > fact.receipt_deadline() => {
                self.abandon(job, mine).await?;
                Ok(Left::Something)
            }
            JobState::Released if mine => self.complete(job, &fact, &settled).await,
            JobState::Completed if latest.time > fact.completed_at + DISPUTE_SECONDS => {
                self.settle(job).await?;
                Ok(Left::Something)
            }
            _ => Ok(Left::Something),
        }
    }

    fn has_ended(&self, settled: &JobFact) -> bool {
        match settled.state {
            JobState::None => false,
            JobState::Settled | JobState::Refunded | JobState::Abandoned => true,
            _ => settled.lease.collective != self.chain.deployment().collective,
        }
    }

    /// Requested: takes a lease, unless the facts already say that it would be for nothing, or something that its run needs is not
    /// here.
    async fn consider(
        &self,
        job: u64,
        fact: &JobFact,
        latest: BlockRef,
        progress: &mut Progress,
    ) -> Result<Left, DriveError> {
        let allow = self.view.borrow().finalized;
        if allow.number >= latest.number {
            return Ok(Left::Something);
        }
        // The parent: many endpoints estimate a transaction as if it were in the newest block.
        let deny = self.chain.at_height(latest.number - 1).await?;
        // Said before anything is fetched for it, which may never come.
        if latest.time > fact.requested_at + REQUEST_SECONDS {
            let reason = "the request has expired: its price can be had back with `job refund`";
            self.refuse(job, Fault::Requester, reason.into()).await?;
            return Ok(Left::NothingWith([latest, latest]));
        }
        // What is no manifest is for the grant to refuse.
        let manifest = self.blobs.get(BlobId(fact.lease.manifest.0)).await?;
        if Manifest::parse(&manifest).is_ok_and(|manifest| !self.site.serves(&manifest)) {
            return Ok(Left::Something);
        }
        let mut asked = *fact;
        asked.lease.node = self.node;
        asked.lease.allow_block = (allow.number, allow.hash);
        asked.lease.deny_block = (deny.number, deny.hash);
        asked.lease.deadline = u64::MAX;
        let facts = self.facts(&asked).await?;
        asked.lease.keys = facts.deny.registered;
        asked.lease.epoch = facts.allow.epoch;
        let refused = Left::NothingWith([latest, facts.latest.block]);
        match self.permit(&facts.case(&asked, self.node), &facts).await {
            Ok(permit) => {
                let refusal = match self.site.unserved(&permit).await? {
                    Some(reason) => Some(reason),
                    None => {
                        self.site
                            .have_at_hand(&permit, self.view_of(permit.grant()).await?)
                            .await?;
                        // A transaction whose answer is lost may have taken the lease all the same.
                        progress.know(job, true);
                        self.lease(job, allow, deny).await?
                    }
                };
                match refusal {
                    Some(reason) => {
                        self.refuse(job, Fault::Requester, reason).await?;
                        Ok(refused)
                    }
                    None => Ok(Left::Something),
                }
            }
            // What was approved in a block that is not final yet is worth waiting for.
            Err(DriveError::Refused(Refusal::NotApproved))
                if facts.latest.status == ApprovalStatus::Approved =>
            {
                Ok(Left::Something)
            }
            Err(DriveError::Refused(refusal)) => {
                let fault = refusal.fault();
                if fault != Fault::Peer {
                    self.refuse(job, fault, refusal.to_string()).await?;
                }
                // What the requester asked for will not change, unless it is cut out; all else may.
                if fault == Fault::Requester {
                    Ok(refused)
                } else {
                    Err(refusal.into())
                }
            }
            Err(error) => Err(error),
        }
    }

    async fn refuse(&self, job: u64, fault: Fault, reason: String) -> Result<(), DriveError> {
        tracing::info!(job, reason, "refused a job");
        self.site.forget(job);
        Ok(self.ledger.refuse(job, fault_name(fault), reason).await?)
    }

    /// The permit that the facts give, with the program's bytes and the records' declaration.
    async fn permit(&self, case: &Case<'_>, facts: &Facts) -> Result<Permit, DriveError> {
        let granted = grant(case)?;
        let named = &granted.manifest().program;
        let program = self.blobs.get(named.sha256()).await?.to_vec();
        let runtime = self.site.runtime(named).await?;
        let name = &granted.manifest().dataset.source;
        let charter = facts.view.charter_at(case.allow.block.number);
        let source = charter.and_then(|charter| charter.source(name)).cloned();
        let missing = || RunError::Missing(format!("the charter declares no source '{name}'"));
        Ok(permit(case, program, runtime, source.ok_or_else(missing)?)?)
    }

    /// Takes a lease, or says why the contract gives none.
    async fn lease(
        &self,
        job: u64,
        allow: BlockRef,
        deny: BlockRef,
    ) -> Result<Option<String>, DriveError> {
        let escrow = JobEscrow::new(self.chain.deployment().escrow, self.chain.provider());
        let call = escrow.lease(
            U256::from(job),
            self.node.0,
            allow.number,
            allow.hash,
            deny.number,
            deny.hash,
        );
        match self.chain.submit(call).await {
            Ok(_) => {
                tracing::info!(job, "took a lease");
                Ok(None)
            }
            Err(ChainError::Reverted(reason)) if is_final(&reason) => {
                Ok(Some(format!("the contract refused: {reason}")))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Leased and final: works the grant out, has the committee sign it, and records it on chain.
    /// Nothing is opened before that record stands.
    async fn release(&self, job: u64, fact: &JobFact, settled: &JobFact) -> Result<(), DriveError> {
        if settled.state != JobState::Leased || settled.lease != fact.lease {
            return Ok(());
        }
        crash::Step::LeasedNotReleased.reached();
        let facts = self.facts(fact).await?;
        let permit = self.permit(&facts.case(fact, self.node), &facts).await?;
        self.site
            .have_at_hand(&permit, self.view_of(permit.grant()).await?)
            .await?;
        let release = permit.grant().release();
        let inputs = keep_inputs(&self.blobs, permit.grant()).await?;
        self.ledger
            .keep_inputs(job, release.attempt, inputs)
            .await?;
        let signatures = self.committee.sign_release(release).await?;
        let escrow = JobEscrow::new(self.chain.deployment().escrow, self.chain.provider());
        let call = escrow.recordRelease(
            U256::from(job),
            release.attempt,
            release.input_root,
            release.input_count,
            signatures,
        );
        self.chain.submit(call).await?;
        tracing::info!(job, count = release.input_count, "released the input set");
        Ok(())
    }

    /// Past the receipt's deadline there is nothing left to run for, whoever's the job was: the bond goes to the treasury.
    async fn abandon(&self, job: u64, mine: bool) -> Result<(), DriveError> {
        let escrow = JobEscrow::new(self.chain.deployment().escrow, self.chain.provider());
        self.chain.submit(escrow.abandon(U256::from(job))).await?;
        match mine {
            true => tracing::error!(job, "a receipt came too late: the bond is lost"),
            false => tracing::warn!(job, "no receipt came: its node has lost the bond"),
        }
        Ok(())
    }

    /// Released, and that is final: has it run, unless a run of this attempt is kept; then hands the receipt in.
    async fn complete(
        &self,
        job: u64,
        fact: &JobFact,
        settled: &JobFact,
    ) -> Result<Left, DriveError> {
        let is_final = settled.state == JobState::Released
            && settled.lease == fact.lease
            && settled.input_root == fact.input_root;
        if !is_final {
            return Ok(Left::Something);
        }
        let Some(record) = self.ledger.run(job, fact.lease.attempt).await? else {
            return Ok(Left::Run(Box::new(*fact)));
        };
        crash::Step::RecordedNotReceipted.reached();
        let record: RunRecord = serde_json::from_str(&record)
            .map_err(|error| LedgerError::Corrupt(error.to_string()))?;
        let signature = CallData::copy_from_slice(&record.signature.as_bytes());
        let escrow = JobEscrow::new(self.chain.deployment().escrow, self.chain.provider());
        let call = escrow.complete(U256::from(job), on_chain(&record.receipt), signature);
        self.chain.submit(call).await?;
        tracing::info!(job, outcome = ?record.receipt.outcome, "handed the receipt in");
        Ok(Left::Something)
    }

    /// Runs what was finally released, and keeps what that left.
    async fn make_run(self, job: u64, fact: JobFact) -> Result<(), DriveError> {
        crash::Step::ReleasedNotRun.reached();
        let record = self.run_once(job, &fact).await?;
        crash::Step::StoredNotRecorded.reached();
        let text = serde_json::to_string(&record).expect("a record is plain JSON values");
        self.ledger.keep_run(job, fact.lease.attempt, text).await?;
        self.site.forget(job);
        Ok(())
    }

    async fn settle(&self, job: u64) -> Result<(), DriveError> {
        let escrow = JobEscrow::new(self.chain.deployment().escrow, self.chain.provider());
        crash::Step::ReceiptedNotSettled.reached();
        self.chain.submit(escrow.settle(U256::from(job))).await?;
        crash::Step::SettledNotNoted.reached();
        tracing::info!(job, "settled");
        Ok(())
    }

    async fn run_once(&self, job: u64, fact: &JobFact) -> Result<RunRecord, DriveError> {
        let permit = self.released(job, fact).await?;
        let granted = permit.grant().clone();
        let inputs = keep_inputs(&self.blobs, &granted).await?;
        let headers = headers_of(&self.headers, &granted, &self.view_of(&granted).await?)
            .await
            .map_err(Box::new)?;
        let released = released_files(&self.chain, &granted, headers)
            .await
            .map_err(Box::new)?;
        let files = self
            .site
            .files(&granted, self.view_of(&granted).await?)
            .await?;
        let asked = Instant::now();
        let opened = self.committee.open(released).await?;
        let took = asked.elapsed();
        let quorum = self.keep_quorum(job, &opened).await?;
        let keys = opened.files.into_iter().map(Result::ok).collect();
        let published = self.site.run(permit, files, keys).await?;
        crash::Step::RanNotStored.reached();
        // Until then the result is in memory, sealed; nothing that it changes may show: no blob, no record, and no other
        // job in its place.
        tokio::time::sleep_until(published.at.into()).await;
        let mut record = self
            .record(job, &granted, inputs, quorum, published)
            .await?;
        record.opening_milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        Ok(record)
    }

    /// The permit of a recorded release. The release is the decision: its facts are read as they stood
    /// then, and must give the input that it names.
    async fn released(&self, job: u64, fact: &JobFact) -> Result<Permit, DriveError> {
        let view = self.view.borrow().clone();
        let facts = Facts::as_leased(&self.chain, &self.blobs, view, fact).await?;
        let case = facts.case_as_released(fact, self.node);
        let permit = self.permit(&case, &facts).await?;
        let derived = permit.grant().input().root();
        if derived != fact.input_root {
            return Err(DriveError::AnotherInput {
                job,
                on_chain: fact.input_root,
                derived,
            });
        }
        Ok(permit)
    }

    /// Keeps the sealed output, describes the sandbox, signs the receipt.
    async fn record(
        &self,
        job: u64,
        granted: &Grant,
        inputs: BlobId,
        quorum: BlobId,
        published: Published,
    ) -> Result<RunRecord, DriveError> {
        let (engine, engine_id) = self.site.engine(&granted.manifest().program);
        let description = SandboxDescription {
            engine,
            engine_id: B256::from(engine_id.0),
            layers: published.layers,
            duplicates: published.duplicates,
        };
        let description = serde_json::to_vec(&description).expect("plain JSON values");
        let sandbox = self.blobs.put(Bytes::from(description)).await?;
        let output_bytes = published.output.len() as u64;
        let output = self.blobs.put(published.output).await?;
        let release = granted.release();
        let receipt = Receipt {
            job,
            attempt: release.attempt,
            manifest: release.manifest,
            allow_hash: release.allow.hash,
            deny_hash: release.deny.hash,
            input_root: release.input_root,
            input_count: release.input_count,
            outcome: published.outcome,
            output,
            output_bytes,
            usage: published.usage,
            sandbox: sandbox.0,
            evidence: B256::ZERO,
            lag: granted.lag(),
            quorum,
        };
        let digest = receipt.signing_hash(&self.chain.deployment().job_escrow());
        let signature = self.keys.sign(digest);
        Ok(RunRecord {
            receipt,
            signature,
            inputs,
            sandbox,
            opening_milliseconds: 0,
            failure: published.failure.map(str::to_owned),
        })
    }

    /// Keeps who opened the input set, and says who did not do what they should.
    async fn keep_quorum(&self, job: u64, opened: &Assembled) -> Result<BlobId, DriveError> {
        for culprit in opened.record.culprits() {
            let (member, fault) = (culprit.member.number(), culprit.fault);
            tracing::error!(job, member, %fault, "a key holder did not do its part");
        }
        for (place, why) in opened.record.bad_files() {
            tracing::warn!(job, place, %why, "a contribution does not open");
        }
        let record = Bytes::from(opened.record.to_bytes());
        Ok(self.blobs.put(record).await?)
    }

    /// Chain facts under the committee that releases.
    async fn view_of(&self, granted: &Grant) -> Result<View, DriveError> {
        let view = self.view.borrow().clone();
        Ok(view.of_epoch(&self.chain, granted.release().epoch).await?)
    }

    async fn facts(&self, fact: &JobFact) -> Result<Facts, DriveError> {
        let view = self.view.borrow().clone();
        Ok(Facts::gather(&self.chain, &self.blobs, view, fact).await?)
    }
}

/// Whether a job of `collective` may still run at block time `now`: the clock of its receipt runs, or may begin to. Until its grace is
/// over a release under an old lease may still be recorded.
pub(crate) fn is_under_way(fact: &JobFact, collective: Address, now: u64) -> bool {
    let ours = fact.lease.collective == collective;
    match fact.state {
        JobState::Leased => ours && now <= fact.lease.deadline + RELEASE_GRACE_SECONDS,
        JobState::Released => ours && now <= fact.receipt_deadline(),
        _ => false,
    }
}

/// Whether the contract will refuse every later lease of this job, too. A lease that is still live,
/// a bond that is missing or a block that is forgotten are for another try.
fn is_final(reason: &str) -> bool {
    ["RunsExhausted", "RequestExpired", "NotActive"]
        .iter()
        .any(|error| reason.starts_with(error))
}

/// The word for a fault in ledger, problem documents and JSON.
pub fn fault_name(fault: Fault) -> String {
    serde_json::to_value(fault)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .expect("a fault is a word")
}

/// The terms that a proposal stores with a manifest, as CodeRegistry takes them.
pub fn stored_terms(terms: &ApprovedTerms) -> collective_contracts::CodeRegistry::Terms {
    collective_contracts::CodeRegistry::Terms {
        token: terms.token,
        price: terms.price,
        bond: terms.bond,
        recipient: terms.recipient,
        expiry: terms.expiry,
        maxRuns: terms.max_runs,
        contributorsBps: terms.contributors_bps,
        nodeBps: terms.node_bps,
        returnSeconds: terms.return_seconds,
        node: terms.node.0,
    }
}
