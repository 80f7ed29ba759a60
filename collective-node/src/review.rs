//! What a voter should know of a proposal before voting, from chain and blobs alone.
//!
//! Every statement is made from the manifest, from the bytes that it names and from proven facts; what the proposer says is
//! shown as that and used for nothing. Of a stranger's bytes nothing runs outside of the sandbox.

use std::sync::Arc;

use alloy::primitives::{Address, U256};
use collective::approval::{Manifest, ManifestRefusal, Program};
use collective::bundle::Bundle;
use collective::id::{BlobId, ManifestDigest};
use collective::permit::{ApprovedTerms, Code};
use collective::source::Source;
use serde::Serialize;
use thiserror::Error;

use crate::blobs::{BlobError, Blobs};
use crate::chain::{Chain, ChainError};
use crate::client::Client;
use crate::follower::{FollowError, View};
use crate::governance::{Proposal, ProposalError};
use crate::headers::Headers;
use crate::programs::plan::{Planned, declared, plan};
use crate::sandbox::{Sandbox, imports};

pub use crate::programs::rebuild::SameBytes;
pub use changes::Change;
pub use earnings::{Earnings, index};
pub use risks::Risk;
pub use summary::Statement;
pub use trial::Trial;

use rebuild::Published;

mod changes;
mod earlier;
mod earnings;
mod rebuild;
mod risks;
mod summary;
mod trial;

/// Why nothing can be said of a program's records.
const UNDECLARED: &str = "no charter in force declares the records that it would read";

/// Why there is nothing to review. What is found out about a proposal is part of its [`Review`] instead.
#[derive(Debug, Error)]
pub enum ReviewError {
    /// The proposal.
    #[error(transparent)]
    Proposal(#[from] ProposalError),
    /// The chain.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The batches.
    #[error(transparent)]
    Follow(#[from] FollowError),
    /// The manifest is not to be had: what nobody can read should not be approved.
    #[error(
        "the manifest that the proposal approves cannot be read: {0}; vote against what you cannot read"
    )]
    NoManifest(BlobError),
    /// The bytes behind the digest.
    #[error("what the proposal approves is no manifest, so no node would run it: {0}")]
    Manifest(#[from] ManifestRefusal),
}

/// A proposal as a voter should see it.
#[derive(Clone, Debug, Serialize)]
pub struct Review {
    /// Its number.
    pub proposal: U256,
    /// Who opened it.
    pub proposer: Address,
    /// The proposer's words. Nothing else here is made from them.
    pub description: String,
    /// All that it would do, in words made from the calls.
    pub actions: Vec<String>,
    /// The programs that it would approve.
    pub approvals: Vec<Approval>,
}

impl Review {
    /// Whether every program that it would approve is what its manifest says, and would run.
    pub fn holds(&self) -> bool {
        self.approvals.iter().all(Approval::holds)
    }
}

/// One program that a proposal would approve.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Approval {
    /// What the vote is on.
    pub manifest: ManifestDigest,
    /// What the manifest allows.
    pub statements: Vec<Statement>,
    /// Interfaces that the bytes ask for; of a program in a runtime, those of the runtime.
    pub imports: Vec<String>,
    /// Whether the published source makes the bytes.
    pub same_bytes: SameBytes,
    /// The version that was approved last, if there is one.
    pub earlier: Option<ManifestDigest>,
    /// What differs from it, or all that there is: fields of the manifest first, then files.
    pub changes: Vec<Change>,
    /// The program on its mock data.
    pub trial: Trial,
    /// What a run pays.
    pub earnings: Earnings,
    /// What to weigh.
    pub risks: Vec<Risk>,
}

impl Approval {
    fn holds(&self) -> bool {
        let broken = |risk: &Risk| {
            matches!(
                risk,
                Risk::OtherTerms | Risk::WouldNotRun(_) | Risk::Endless
            )
        };
        self.same_bytes != SameBytes::No && !self.risks.iter().any(broken)
    }
}

/// Where a reviewer looks.
pub struct Reviewer {
    chain: Chain,
    blobs: Blobs,
    headers: Headers,
    sandbox: Arc<Sandbox>,
}

impl Reviewer {
    /// A reviewer who reads this chain, takes blobs from this node, and tries programs out in this sandbox.
    pub fn new(chain: Chain, node: Client, sandbox: Sandbox) -> Self {
        Self {
            chain,
            blobs: Blobs::of_node(node.clone()),
            headers: Headers::Node(node),
            sandbox: Arc::new(sandbox),
        }
    }

    /// Puts together what there is to know of a proposal.
    ///
    /// # Errors
    /// [`ReviewError`].
    pub async fn review(&self, id: U256) -> Result<Review, ReviewError> {
        let opened = Proposal::find(&self.chain, id).await?;
        let (actions, deployment) = (&opened.motion.actions, self.chain.deployment());
        let approves: Vec<_> = actions
            .iter()
            .filter_map(|action| action.approves(deployment))
            .collect();
        let mut approvals = vec![];
        if !approves.is_empty() {
            let view = earnings::index(&self.chain, &self.blobs, &self.headers).await?;
            for (digest, terms) in approves {
                approvals.push(self.approval(digest, &terms, view.as_ref()).await?);
            }
        }
        Ok(Review {
            proposal: id,
            proposer: opened.proposer,
            actions: actions.iter().map(|it| it.words(deployment)).collect(),
            description: opened.motion.description,
            approvals,
        })
    }

    async fn approval(
        &self,
        digest: ManifestDigest,
        terms: &ApprovedTerms,
        view: Option<&View>,
    ) -> Result<Approval, ReviewError> {
        let bytes = self.blobs.get(BlobId(digest.0)).await;
        let manifest = Manifest::parse(&bytes.map_err(ReviewError::NoManifest)?)?;
        let now = self.chain.latest().await?.time;
        let inputs = match view {
            Some(view) => earnings::inputs(&self.chain, view, &manifest).await?,
            None => None,
        };
        let contributors = inputs.map_or(0, |inputs| inputs.count());
        let charter = view.and_then(View::charter);
        let source = charter.and_then(|charter| declared(charter, &manifest));
        let mut risks = risks::of_manifest(&manifest, source, contributors, now);
        if *terms != ApprovedTerms::of(&manifest) {
            risks.push(Risk::OtherTerms);
        }
        let deployment = self.chain.deployment();
        let meant = (manifest.chain_id, manifest.collective);
        if meant != (deployment.chain_id, deployment.collective) {
            let (chain, collective) = meant;
            let other = format!("the manifest is for collective {collective} on chain {chain}");
            risks.push(Risk::WouldNotRun(other));
        }

        let code = self.code(&manifest).await;
        let imports = match asked(code.clone()).await {
            Ok(imports) => imports,
            Err(reason) => {
                risks.push(Risk::WouldNotRun(reason));
                vec![]
            }
        };
        let planned = self.planned(&manifest, code.as_ref().ok(), source).await;
        risks.extend(match &planned {
            Planned::Yes => None,
            Planned::No(reason) => Some(Risk::WouldNotRun(reason.clone())),
            Planned::Unknown(reason) => Some(Risk::NotPlanned(reason.clone())),
        });
        let sources = self.sources(&manifest).await;
        let published = self.published(&manifest, sources.clone()).await;
        let rebuilt = &published.rebuilt;
        risks.extend(match (&sources, &rebuilt.same_bytes) {
            _ if manifest.program.origin().is_none() => match manifest.program {
                Program::Component { .. } => Some(Risk::NoSource),
                // The bytes are the source.
                Program::Python { .. }
                | Program::Javascript { .. }
                | Program::Sql { .. }
                | Program::Training { .. } => None,
            },
            (_, SameBytes::No) => Some(Risk::AnotherSource),
            (Err(reason), _) | (_, SameBytes::Unknown(reason)) => {
                Some(Risk::NotRebuilt(reason.clone()))
            }
            _ => None,
        });
        risks.extend(rebuilt.endless.then_some(Risk::Endless));
        if !published.otherwise.is_empty() {
            risks.push(Risk::SaysOtherwise(published.otherwise.join(", ")));
        }
        let shown = shown(
            code.as_ref().ok(),
            sources.as_ref().ok(),
            &rebuilt.same_bytes,
        );
        let trial = match (code, &sources, source, planned) {
            (Ok(code), Ok(sources), Some(source), Planned::Yes) => {
                trial::trial(self.sandbox.clone(), &manifest, code, source, sources).await
            }
            (Err(reason), ..) => Trial::not(reason),
            (_, Err(reason), ..) => Trial::not(reason),
            (_, _, None, _) => Trial::not(UNDECLARED),
            (.., Planned::No(reason) | Planned::Unknown(reason)) => Trial::not(reason),
        };
        risks.extend(trial.failure().map(|it| Risk::TrialFailed(it.into())));
        let (earlier, changes) = self.changes(&manifest, shown.as_ref(), &mut risks).await?;
        Ok(Approval {
            manifest: digest,
            statements: summary::statements(&manifest, now),
            imports,
            same_bytes: published.rebuilt.same_bytes,
            earlier,
            changes,
            trial,
            earnings: Earnings::of(&manifest, contributors),
            risks,
        })
    }

    /// The bytes that would run, checked against their names, or why there are none.
    async fn code(&self, manifest: &Manifest) -> Result<Code, String> {
        let program = self.bytes(manifest.program.sha256()).await?;
        let runtime = match manifest.program.runtime() {
            Some(id) => Some(self.bytes(id).await?),
            None => None,
        };
        Code::approved(&manifest.program, program, runtime).map_err(|refusal| refusal.to_string())
    }

    /// Whether a query would run; any other program is asked in other ways.
    async fn planned(
        &self,
        manifest: &Manifest,
        code: Option<&Code>,
        source: Option<&Source>,
    ) -> Planned {
        let (query, source) = match (code, source) {
            (Some(Code::Sql(query)), Some(source)) => (query.clone(), source.clone()),
            (Some(Code::Sql(_)), None) => return Planned::Unknown(UNDECLARED.into()),
            _ => return Planned::Yes,
        };
        let (sandbox, manifest) = (self.sandbox.clone(), manifest.clone());
        let work = move || plan(&sandbox, &manifest, query, &source);
        let planned = tokio::task::spawn_blocking(work).await;
        planned.unwrap_or_else(|error| Planned::Unknown(format!("it was interrupted: {error}")))
    }

    async fn bytes(&self, id: BlobId) -> Result<Vec<u8>, String> {
        let bytes = self.blobs.get(id).await;
        bytes.map(Vec::from).map_err(|error| error.to_string())
    }

    /// The published source, or why there is none.
    async fn sources(&self, manifest: &Manifest) -> Result<Bundle, String> {
        let origin = manifest.program.origin().ok_or("no source is published")?;
        let bytes = self.bytes(origin.source).await?;
        Bundle::parse(&bytes).map_err(|refusal| refusal.to_string())
    }

    /// The source built again, apart from everything else: a compiler takes seconds.
    async fn published(&self, manifest: &Manifest, sources: Result<Bundle, String>) -> Published {
        let sources = match sources {
            Ok(sources) => sources,
            Err(reason) => return Published::not(reason),
        };
        let (manifest, deployment) = (manifest.clone(), *self.chain.deployment());
        let work = move || rebuild::look(&manifest, &deployment, sources);
        let looked = tokio::task::spawn_blocking(work).await;
        looked.unwrap_or_else(|error| Published::not(format!("it was interrupted: {error}")))
    }

    /// The version that was approved last, and what differs from it.
    async fn changes(
        &self,
        manifest: &Manifest,
        sources: Option<&Bundle>,
        risks: &mut Vec<Risk>,
    ) -> Result<(Option<ManifestDigest>, Vec<Change>), ReviewError> {
        let mut before = earlier::approved(&self.chain, &self.blobs).await?;
        before.retain(|approved| approved.digest != manifest.digest());
        let same_program = |before: &Manifest| before.program.sha256() == manifest.program.sha256();
        let revoked = before
            .iter()
            .filter(|it| it.revoked && it.manifest.as_ref().is_some_and(same_program));
        risks.extend(revoked.map(|it| Risk::RevokedBefore(it.digest)));
        let versions = before.into_iter().rev().filter_map(|approved| {
            let earlier = approved.manifest?;
            let is_version = earlier::is_version(&earlier, manifest);
            is_version.then_some((approved.digest, approved.revoked, earlier))
        });
        let mut versions = versions.peekable();
        if let Some((digest, true, _)) = versions.peek() {
            risks.push(Risk::LastRevoked(*digest));
        }
        // What members stopped is no ground to compare with: its lines would not show.
        let earlier = versions.find(|(_, revoked, _)| !revoked);
        let earlier = earlier.map(|(digest, _, earlier)| (digest, earlier));
        let earlier_sources = match &earlier {
            Some((_, earlier)) => self.sources(earlier).await.ok(),
            None => None,
        };
        let mut changes = earlier.as_ref().map_or_else(Vec::new, |(_, earlier)| {
            changes::of_manifest(earlier, manifest)
        });
        changes.extend(sources.map_or_else(Vec::new, |sources| {
            changes::of_sources(earlier_sources.as_ref(), sources)
        }));
        Ok((earlier.map(|(digest, _)| digest), changes))
    }
}

/// What the code asks for, or why it would not run. Apart from everything else, as the bytes are a stranger's.
async fn asked(code: Result<Code, String>) -> Result<Vec<String>, String> {
    let code = code?;
    match tokio::task::spawn_blocking(move || imports(&code)).await {
        Ok(found) => found.map_err(|trap| trap.to_string()),
        Err(error) => Err(format!("it cannot be decoded: {error}")),
    }
}

/// The source to read: the folder that makes the bytes, or, of a program that runs as it is written, that which runs.
fn shown(code: Option<&Code>, folder: Option<&Bundle>, same_bytes: &SameBytes) -> Option<Bundle> {
    let runs = code.and_then(|code| match code {
        Code::Component(_) => None,
        Code::Sources { bundle, .. } => Some(bundle.clone()),
        Code::Sql(query) => Some(alone("query.sql", query.text())),
        Code::Training(training) => Some(alone("training.json", training.text())),
    });
    match (runs, folder, same_bytes) {
        (Some(runs), _, SameBytes::No | SameBytes::Unknown(_)) => Some(runs),
        (_, folder, _) => folder.cloned(),
    }
}

/// A text as the only file that there is to read.
fn alone(name: &str, text: &str) -> Bundle {
    let files = [(name.to_owned(), text.to_owned())];
    Bundle::new(files.into()).expect("a bundle takes what such a text may be")
}
