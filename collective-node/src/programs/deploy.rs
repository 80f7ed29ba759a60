//! What became of the programs that the collective approved: at hand, true to their source, compiled, merged.
//!
//! A task of a compute node, beside the driver. It follows finalized approvals, and what it finds is shown, kept in memory and worked
//! out again at every start. No run depends on it: what runs are bytes that the chain names by their hash, whatever a repository says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy::sol_types::SolEvent;
use collective::approval::{Manifest, Origin, Repository};
use collective::id::{BlobId, ManifestDigest};
use collective::permit::{ApprovalStatus, ApprovedTerms, Code};
use collective::receipt::BlockRef;
use collective_contracts::CodeRegistry::{CodeApproved, CodeRevoked};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::git::{Clone, Credentials, GitError, Mergeable, RefName};
use super::plan::{Planned, declared, engine, plan};
use super::source::{Compared, compare};
use crate::blobs::{BlobError, Blobs};
use crate::chain::{Chain, ChainError};
use crate::follower::View;
use crate::pace::Pace;
use crate::sandbox::{Failure, Sandbox};

/// Before the second look at what may mend itself: bytes that are still to come, a forge that is down or does not take a merge.
const FIRST_PAUSE: Duration = Duration::from_secs(15);

/// Between two looks, when many changed nothing: what is mended shows within that time.
const LONGEST_PAUSE: Duration = Duration::from_secs(10 * 60);

/// What the operator of a node lets it do with repositories. By default nothing.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Where it fetches from. A manifest may name any address, and a node is inside of networks where others are not.
    pub repositories: Vec<Repository>,
    /// The branch that an approved commit is merged into; none is touched without it.
    pub merge_into: Option<RefName>,
    /// What it shows to whom of these repositories' forges.
    pub credentials: Credentials,
    /// Folder of its copies of repositories.
    pub folder: PathBuf,
}

/// An approved program as this node has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deployed {
    /// What was approved.
    pub manifest: ManifestDigest,
    /// How it stands.
    pub state: State,
    /// What that rests on, or who has to do what.
    pub detail: String,
    /// The program's own bytes, once the manifest is here.
    pub program: Option<BlobId>,
    /// Where it comes from, as the manifest says.
    pub origin: Option<Origin>,
    /// From when on it may not run, in Unix seconds.
    pub expiry: u64,
    /// What became of the merge, where this node merges.
    pub merge: Option<Merge>,
}

impl Deployed {
    /// Whether another look may find something else without another vote.
    fn may_mend(&self) -> bool {
        let waits = matches!(self.state, State::Missing | State::UnreachableRepository);
        waits || self.state == State::Ready && matches!(self.merge, Some(Merge::Failed { .. }))
    }
}

/// How an approved program stands at a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Its bytes are the approved ones and compiled.
    Ready,
    /// Bytes, or an engine, that the approval names are not here.
    Missing,
    /// Source or bytes are others than the approval says.
    Differs,
    /// The engine refuses it.
    Unusable,
    /// Ready, but the repository could not be looked at.
    UnreachableRepository,
    /// The collective or its guardian took the approval back.
    Revoked,
    /// Its time is over.
    Expired,
}

impl State {
    /// The word that is shown.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Missing => "missing",
            Self::Differs => "differs",
            Self::Unusable => "unusable",
            Self::UnreachableRepository => "unreachable-repository",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
        }
    }
}

/// What became of merging an approved commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", tag = "state")]
pub enum Merge {
    /// The branch has the commit.
    Merged {
        /// What this node pushed, if it was this node since its start.
        commit: Option<String>,
    },
    /// A person has to merge it.
    ByHand {
        /// Why.
        reason: String,
    },
    /// It did not work, and is tried again.
    Failed {
        /// Why.
        reason: String,
    },
}

/// The task.
pub struct Deploy {
    /// The chain.
    pub chain: Chain,
    /// Manifests, programs, sources.
    pub blobs: Blobs,
    /// Compiles what was approved ahead of its first run.
    pub sandbox: Arc<Sandbox>,
    /// Chain facts.
    pub view: watch::Receiver<View>,
    /// What the operator allows.
    pub settings: Settings,
    /// What is shown.
    pub shown: watch::Sender<BTreeMap<ManifestDigest, Deployed>>,
}

/// What the task knows between two steps.
#[derive(Default)]
struct Known {
    /// The first block whose logs were not read.
    next: u64,
    /// When to look again at what may mend itself, and the pause before.
    waiting: BTreeMap<ManifestDigest, (Instant, Duration)>,
}

impl Known {
    fn is_due(&self, digest: &ManifestDigest) -> bool {
        let waits = self.waiting.get(digest);
        waits.is_none_or(|(until, _)| Instant::now() >= *until)
    }

    /// Twice as long after each look that changed nothing.
    fn note(&mut self, found: &Deployed) {
        if !found.may_mend() {
            self.waiting.remove(&found.manifest);
            return;
        }
        let last = self.waiting.get(&found.manifest);
        let last = last.map_or(FIRST_PAUSE / 2, |(_, pause)| *pause);
        let pause = (last * 2).min(LONGEST_PAUSE);
        let next = (Instant::now() + pause, pause);
        self.waiting.insert(found.manifest, next);
    }
}

impl Deploy {
    /// Steps for ever, `pause` after each.
    pub async fn run(self, pause: Duration) {
        let mut known = Known {
            next: self.chain.deployment().first_block,
            ..Known::default()
        };
        let mut pace = Pace::new(pause);
        loop {
            let step = self.step(&mut known).await;
            pace.rest("approved programs could not be looked at", step)
                .await;
        }
    }

    /// Looks at what finalized blocks approved or revoked since the last step, and again at what may have mended itself.
    async fn step(&self, known: &mut Known) -> Result<(), ChainError> {
        let finalized = self.view.borrow().finalized;
        let mut decided = BTreeSet::new();
        if known.next <= finalized.number {
            let events = vec![CodeApproved::SIGNATURE_HASH, CodeRevoked::SIGNATURE_HASH];
            let logs = self.chain.decided(events, known.next, finalized.number);
            decided.extend(logs.await?);
        }
        let mut due = self.due(known, &finalized);
        due.extend(&decided);
        for digest in due {
            let before = self.shown.borrow().get(&digest).cloned();
            // Only its merge is tried again: what was judged stays so until somebody decides something.
            let kept = before
                .clone()
                .filter(|before| before.state == State::Ready && !decided.contains(&digest));
            if let Some(mut found) = self.look(digest, &finalized, kept).await? {
                let merge = before.and_then(|before| before.merge);
                found.merge = self.merge(&found, merge, &finalized).await;
                known.note(&found);
                tracing::info!(manifest = %digest, state = found.state.word(), detail = found.detail, "looked at a program");
                self.shown.send_modify(|shown| {
                    shown.insert(digest, found);
                });
            }
        }
        known.next = finalized.number + 1;
        Ok(())
    }

    fn due(&self, known: &Known, finalized: &BlockRef) -> BTreeSet<ManifestDigest> {
        let is_due = |deployed: &Deployed| match deployed.state {
            State::Revoked | State::Expired => false,
            _ if deployed.expiry <= finalized.time => true,
            _ => deployed.may_mend() && known.is_due(&deployed.manifest),
        };
        let shown = self.shown.borrow();
        let due = shown.values().filter(|deployed| is_due(deployed));
        due.map(|deployed| deployed.manifest).collect()
    }

    /// How a program stands; none for what nobody decided on. What was judged before is `kept` where only time can have passed.
    async fn look(
        &self,
        digest: ManifestDigest,
        finalized: &BlockRef,
        kept: Option<Deployed>,
    ) -> Result<Option<Deployed>, ChainError> {
        let (status, terms) = self.chain.approval(finalized, digest).await?;
        let mut found = Deployed {
            manifest: digest,
            state: State::Revoked,
            detail: "the collective, or its guardian, took the approval back for good".into(),
            program: None,
            origin: None,
            expiry: terms.expiry,
            merge: None,
        };
        let manifest = self
            .blobs
            .get(BlobId(digest.0))
            .await
            .map(|bytes| Manifest::parse(&bytes));
        if let Ok(Ok(manifest)) = &manifest {
            found.program = Some(manifest.program.sha256());
            found.origin = manifest.program.origin().cloned();
        }
        let (state, detail) = match (status, manifest) {
            (ApprovalStatus::None, _) => return Ok(None),
            (ApprovalStatus::Revoked, _) => return Ok(Some(found)),
            _ if terms.expiry <= finalized.time => (
                State::Expired,
                "its time is over: a new proposal can approve it again".into(),
            ),
            (_, Err(error)) => (State::Missing, missing("the manifest", &error)),
            (_, Ok(Err(refusal))) => {
                let detail = format!(
                    "what was voted on is no manifest: {refusal}; members revoke it and its proposer opens another"
                );
                (State::Differs, detail)
            }
            (_, Ok(Ok(manifest))) if !self.is_ours(&manifest) => {
                let (chain, collective) = (manifest.chain_id, manifest.collective);
                let detail = format!(
                    "the manifest is made for collective {collective} on chain {chain}: no job of it is run here; members revoke it and its \
                     proposer opens another"
                );
                (State::Differs, detail)
            }
            (_, Ok(Ok(manifest))) if ApprovedTerms::of(&manifest) != terms => {
                let detail = "the terms that were voted on are not those of the manifest: members revoke it and its proposer opens another";
                (State::Differs, detail.into())
            }
            (_, Ok(Ok(manifest))) => match kept {
                Some(kept) => (kept.state, kept.detail),
                None => self.look_at(&manifest).await,
            },
        };
        (found.state, found.detail) = (state, detail);
        Ok(Some(found))
    }

    fn is_ours(&self, manifest: &Manifest) -> bool {
        let deployment = self.chain.deployment();
        (manifest.chain_id, manifest.collective) == (deployment.chain_id, deployment.collective)
    }

    async fn look_at(&self, manifest: &Manifest) -> (State, String) {
        let code = match self.code(manifest).await {
            Ok(code) => code,
            Err(found) => return found,
        };
        let compared = self.compare(manifest).await;
        if let Some(Compared::Another(what)) = &compared {
            let detail = format!(
                "{what}; its bytes are the approved ones and run: members decide whether to revoke it"
            );
            return (State::Differs, detail);
        }
        if let Some(found) = self.unplanned(manifest, &code).await {
            return found;
        }
        let sandbox = self.sandbox.clone();
        match tokio::task::spawn_blocking(move || sandbox.prepare(&code)).await {
            Ok(Ok(())) => {}
            Ok(Err(Failure::Program(stop))) => {
                let detail = format!(
                    "the engine refuses it: {}; its author has to propose another",
                    stop.trap
                );
                return (State::Unusable, detail);
            }
            Ok(Err(Failure::Operator(fault))) => {
                return (
                    State::Missing,
                    format!("it could not be compiled yet: {fault}"),
                );
            }
            Err(error) => {
                return (
                    State::Missing,
                    format!("compiling was interrupted: {error}"),
                );
            }
        }
        match compared {
            None => (
                State::Ready,
                "its bytes are the approved ones; it names no source".into(),
            ),
            Some(Compared::Same(how)) => (State::Ready, how),
            Some(Compared::NotAllowed(repository)) => {
                let detail = format!(
                    "its bytes are the approved ones; its source was not looked at, as `repositories` of this node's [programs] does not \
                     list {repository}"
                );
                (State::Ready, detail)
            }
            Some(Compared::Unreachable(error)) => {
                let detail = format!(
                    "its bytes are the approved ones and run all the same; its source could not be looked at: {error}"
                );
                (State::UnreachableRepository, detail)
            }
            Some(Compared::Another(_)) => unreachable!("was answered above"),
        }
    }

    /// Why a query would not run here, if that is so; none of any other program.
    async fn unplanned(&self, manifest: &Manifest, code: &Code) -> Option<(State, String)> {
        let Code::Sql(query) = code else {
            return None;
        };
        let source = self
            .view
            .borrow()
            .charter()
            .and_then(|charter| declared(charter, manifest).cloned());
        let (sandbox, manifest) = (self.sandbox.clone(), manifest.clone());
        let query = query.clone();
        let work = move || match source {
            Some(source) => plan(&sandbox, &manifest, query, &source),
            // Until a charter declares its records no job of it is accepted, but whether its engine is here is known.
            None => engine(&sandbox, &manifest),
        };
        let planned = tokio::task::spawn_blocking(work).await;
        match planned.unwrap_or_else(|error| Planned::Unknown(error.to_string())) {
            Planned::Yes => None,
            Planned::No(reason) => Some((
                State::Unusable,
                format!("the engine refuses it: {reason}; its author has to propose another"),
            )),
            Planned::Unknown(reason) => {
                Some((State::Missing, format!("it cannot run here yet: {reason}")))
            }
        }
    }

    /// The approved bytes, or what of them is missing.
    async fn code(&self, manifest: &Manifest) -> Result<Code, (State, String)> {
        let program = &manifest.program;
        let bytes = self.blobs.get(program.sha256()).await;
        let bytes = bytes.map_err(|error| (State::Missing, missing("the program", &error)))?;
        let runtime = match program.runtime() {
            None => None,
            Some(id) => {
                let bytes = self.blobs.get(id).await;
                let says = "the runtime, which this node's operator adds with `collective node keep FILE`,";
                Some(
                    bytes
                        .map_err(|error| (State::Missing, missing(says, &error)))?
                        .to_vec(),
                )
            }
        };
        Code::approved(program, bytes.to_vec(), runtime).map_err(|refusal| {
            let detail = format!(
                "what was approved is no program: {refusal}; its author has to propose another"
            );
            (State::Unusable, detail)
        })
    }

    async fn compare(&self, manifest: &Manifest) -> Option<Compared> {
        let origin = manifest.program.origin()?.clone();
        if !self.settings.repositories.contains(&origin.repository) {
            return Some(Compared::NotAllowed(origin.repository));
        }
        let (copy, program) = (self.copy(&origin.repository), manifest.program.clone());
        let compared =
            tokio::task::spawn_blocking(move || compare(&copy()?, &program, &origin)).await;
        Some(match compared {
            Ok(Ok(compared)) => compared,
            Ok(Err(error)) => Compared::Unreachable(error.to_string()),
            Err(error) => Compared::Unreachable(format!("it was interrupted: {error}")),
        })
    }

    /// Merges what is true to its source, once.
    async fn merge(
        &self,
        found: &Deployed,
        before: Option<Merge>,
        finalized: &BlockRef,
    ) -> Option<Merge> {
        let into = self.settings.merge_into.clone()?;
        let origin = found.origin.clone()?;
        let listed = self.settings.repositories.contains(&origin.repository);
        match before {
            Some(Merge::Failed { .. }) | None if found.state == State::Ready && listed => {}
            Some(Merge::Failed { .. }) => return None,
            before => return before,
        }
        let merged = self.try_merge(found, origin, into, finalized).await;
        Some(merged.unwrap_or_else(|reason| Merge::Failed { reason }))
    }

    /// Makes a merge commit, and pushes it unless the newest block knows of something against it.
    async fn try_merge(
        &self,
        found: &Deployed,
        origin: Origin,
        into: RefName,
        finalized: &BlockRef,
    ) -> Result<Merge, String> {
        let message = format!(
            "Merge {}, which the collective approved\n\nManifest: {}\nProgram: {}\n",
            origin.path,
            found.manifest,
            found.program.map_or(String::new(), |id| id.to_string())
        );
        let open = self.copy(&origin.repository);
        let branch = into.clone();
        let made = blocking(move || {
            let copy = open()?;
            copy.fetch_commit(&origin.commit)?;
            let made = copy.merge(&origin.commit, &origin.path, &branch, &message)?;
            Ok((copy, made))
        });
        let (copy, commit) = match made.await? {
            (_, Mergeable::Before) => return Ok(Merge::Merged { commit: None }),
            (_, Mergeable::ByHand(reason)) => return Ok(Merge::ByHand { reason }),
            (copy, Mergeable::Made(commit)) => (copy, commit),
        };
        self.check_newest(found.manifest, finalized).await?;
        let pushed = commit.clone();
        blocking(move || copy.push(&pushed, &into)).await?;
        let commit = Some(commit.to_string());
        Ok(Merge::Merged { commit })
    }

    /// Whether the newest block still approves a program: what was taken back in the last minutes is not final yet.
    async fn check_newest(
        &self,
        digest: ManifestDigest,
        finalized: &BlockRef,
    ) -> Result<(), String> {
        let unknown =
            |error: ChainError| format!("whether it is still approved is not known now: {error}");
        let latest = self.chain.latest().await.map_err(unknown)?;
        if latest.number < finalized.number {
            return Err(
                "the chain's endpoint is behind what it said before: its operator looks after it"
                    .to_owned(),
            );
        }
        let (status, terms) = self
            .chain
            .approval(&latest, digest)
            .await
            .map_err(unknown)?;
        if status == ApprovalStatus::Approved && latest.time < terms.expiry {
            return Ok(());
        }
        Err("by the newest block it is not approved any more: it was taken back, or its time is over".to_owned())
    }

    /// Opens this node's copy of a repository, which is a folder named by the address.
    fn copy(
        &self,
        repository: &Repository,
    ) -> impl FnOnce() -> Result<Clone, GitError> + Send + 'static {
        let name = alloy::hex::encode(BlobId::of(repository.as_str().as_bytes()).0);
        let (folder, repository) = (self.settings.folder.join(name), repository.clone());
        let access = self.settings.credentials.of(&repository);
        move || Clone::open_with(&folder, &repository, access, true)
    }
}

/// Runs git where waiting for it holds nobody up; says what went wrong.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, GitError> + Send + 'static,
) -> Result<T, String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(error) => Err(format!("it was interrupted: {error}")),
    }
}

fn missing(what: &str, error: &BlobError) -> String {
    format!(
        "{what} is not here: {error}; whoever proposed it uploads it again with `collective propose`, or this node's operator restores it"
    )
}
