//! Checks a job's receipt from chain and blobs alone: no key, no ledger, no trust in a node.
//!
//! The input set is derived again from the anchored batches; everything on chain is read with
//! proofs; blobs are checked against their names. What cannot be checked is said.

use alloy::primitives::Address;
use collective::approval::Manifest;
use collective::id::BlobId;
use collective::input::InputSet;
use collective::permit::{ApprovalStatus, ApprovedTerms};
use collective::receipt::{BlockRef, Receipt, Release};
use thiserror::Error;

use crate::blobs::{BlobError, Blobs};
use crate::chain::facts::{JobFact, JobState};
use crate::chain::{Chain, ChainError};
use crate::decision;
use crate::driver::SandboxDescription;
use crate::follower::{FollowError, Follower};
use crate::headers::Headers;
use crate::receipts::{duplicates, receipt_on_chain};
use crate::rewards::RewardError;
pub use anchored::{AnchoredBatch, OnChain};
pub use liveness::liveness;
pub use logs::Asked;
pub use rewards::rewards;
pub use uses::{Use, Uses, UsesError, under_way, uses};

mod anchored;
mod liveness;
mod logs;
mod output;
mod quorum;
mod rewards;
mod uses;

/// Why a receipt could not be checked to the end. A check that fails is a [`Finding`] instead.
#[derive(Debug, Error)]
pub enum VerifyError {
    /// The chain.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The batches.
    #[error(transparent)]
    Follow(#[from] FollowError),
    /// A blob that the chain names.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// Nothing to check.
    #[error("job {0} has no receipt on chain: it is {1:?}")]
    NoReceipt(u64, JobState),
    /// Nothing to check.
    #[error("nothing was posted of epoch {0}, or it was vetoed")]
    NotPosted(u64),
    /// What was earned.
    #[error(transparent)]
    Rewards(#[from] RewardError),
    /// The manifest.
    #[error(transparent)]
    Manifest(#[from] collective::approval::ManifestRefusal),
}

/// One thing that was checked.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// What had to hold.
    pub what: String,
    /// Whether it does.
    pub holds: bool,
    /// What was seen.
    pub seen: String,
}

/// What was checked and what cannot be.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Verdict {
    /// In the order in which it was checked.
    pub findings: Vec<Finding>,
    /// What no outsider can check.
    pub beyond: Vec<String>,
}

impl Verdict {
    /// Whether all that can be checked holds.
    pub fn holds(&self) -> bool {
        self.findings.iter().all(|finding| finding.holds)
    }
}

/// Checks the receipt of `job`, and the logs of `holders` beside it.
///
/// # Errors
/// [`VerifyError`] where chain or blobs do not give what is needed.
pub async fn receipt(
    chain: &Chain,
    blobs: &Blobs,
    headers: &Headers,
    job: u64,
    holders: &[Asked],
) -> Result<Verdict, VerifyError> {
    let mut findings = Vec::new();
    let mut note = |what: &str, holds: bool, seen: String| {
        findings.push(Finding {
            what: what.into(),
            holds,
            seen,
        });
    };
    let latest = chain.latest().await?;
    let fact = chain.job(&latest, job).await?;
    if fact.state < JobState::Completed || fact.completed_at == 0 {
        return Err(VerifyError::NoReceipt(job, fact.state));
    }
    let receipt = receipt_on_chain(chain, job, &fact).await?;
    let receipt = receipt.ok_or(VerifyError::NoReceipt(job, fact.state))?;
    note(
        "the receipt in the log is the one in the contract's proven storage",
        receipt.struct_hash() == fact.receipt,
        format!("{} at block {}", fact.receipt, latest.number),
    );
    let (allow, deny) = blocks(chain, &receipt, &fact).await?;
    note(
        "allowBlock and denyBlock are on the chain, in this order, as far apart as the receipt says",
        allow.number <= deny.number && receipt.lag == deny.time - allow.time,
        format!(
            "blocks {} and {}, {} s apart",
            allow.number, deny.number, receipt.lag
        ),
    );

    let bytes = blobs.get(BlobId(receipt.manifest.0)).await?;
    let manifest = Manifest::parse(&bytes)?;
    let (status, terms) = chain.approval(&allow, receipt.manifest).await?;
    note(
        "the manifest was approved, and its terms are those stored with the approval",
        status == ApprovalStatus::Approved && terms == ApprovedTerms::of(&manifest),
        format!("{}, purpose {}", receipt.manifest, manifest.purpose),
    );
    let program = blobs.get(manifest.program.sha256()).await?;
    note(
        "the approved program is at hand",
        BlobId::of(&program) == manifest.program.sha256(),
        format!("{} bytes", program.len()),
    );
    if let Some(id) = manifest.program.runtime() {
        let runtime = blobs.get(id).await?;
        note(
            "the approved runtime is at hand",
            BlobId::of(&runtime) == id,
            format!("{} bytes", runtime.len()),
        );
    }

    if let Some(hand_off) = &manifest.hand_off {
        note(
            "the data went to the node and the keys that members saw",
            (fact.lease.node, fact.lease.keys) == (hand_off.node, hand_off.keys),
            format!("node {}, keys {}", fact.lease.node, fact.lease.keys),
        );
    }

    let input = derive(chain, blobs, headers, &manifest, &fact, &allow, &deny).await?;
    let (root, count) = input.map_or((Default::default(), 0), |set| (set.root(), set.count()));
    note(
        "the input set, derived again from all anchored batches, is the one released and receipted",
        root == receipt.input_root
            && root == fact.input_root
            && count == receipt.input_count
            && count == fact.input_count,
        format!("{count} contributions, root {root}"),
    );
    note(
        "it has at least the approved minimum group",
        count >= manifest.output.minimum_group,
        format!("{count} of {}", manifest.output.minimum_group),
    );
    note(
        "the release was recorded on chain before the receipt",
        fact.released_at != 0 && fact.released_at <= fact.completed_at,
        format!(
            "epoch {}, {} s earlier",
            fact.lease.epoch,
            fact.completed_at - fact.released_at
        ),
    );
    let released = release(&fact, allow, deny);
    let quorum = quorum::check(chain, blobs, &released, &receipt, &mut note).await?;
    output::check(blobs, &manifest, &receipt, &mut note).await?;
    output::check_figures(&manifest, &receipt, &mut note);
    let bytes = blobs.get(BlobId(receipt.sandbox)).await?;
    let description: Option<SandboxDescription> = serde_json::from_slice(&bytes).ok();
    let told = description
        .as_ref()
        .map(|d| format!("{}, {} layers", d.engine, d.layers.on.len()));
    note(
        "the sandbox is described",
        description.is_some(),
        told.unwrap_or_default(),
    );
    if manifest.payment.distinct {
        let duplicates = duplicates(&bytes, receipt.input_count);
        note(
            "it is said which contributions earn nothing, as others have the same content",
            duplicates.is_some(),
            duplicates.map_or_else(String::new, |places| {
                format!("{} of {}", places.len(), receipt.input_count)
            }),
        );
    }
    let read = logs::check(chain, holders, &released, &quorum, &mut findings).await?;
    Ok(Verdict {
        findings,
        beyond: quorum.beyond(&read),
    })
}

/// What the quorum signed, put together from proven storage.
fn release(fact: &JobFact, allow: BlockRef, deny: BlockRef) -> Release {
    let lease = &fact.lease;
    Release {
        job: lease.job,
        attempt: lease.attempt,
        collective: lease.collective,
        manifest: lease.manifest,
        node: lease.node,
        keys: lease.keys,
        allow,
        deny,
        input_root: fact.input_root,
        input_count: fact.input_count,
        epoch: lease.epoch,
    }
}

/// The blocks that the receipt names by hash, as the chain has them at the lease's heights.
async fn blocks(
    chain: &Chain,
    receipt: &Receipt,
    fact: &JobFact,
) -> Result<(BlockRef, BlockRef), VerifyError> {
    let allow = chain.at_height(fact.lease.allow_block.0).await?;
    let deny = chain.at_height(fact.lease.deny_block.0).await?;
    for (block, named) in [(allow, receipt.allow_hash), (deny, receipt.deny_hash)] {
        if block.hash != named {
            return Err(ChainError::FalseHeader(named).into());
        }
    }
    Ok((allow, deny))
}

async fn derive(
    chain: &Chain,
    blobs: &Blobs,
    headers: &Headers,
    manifest: &Manifest,
    fact: &JobFact,
    allow: &BlockRef,
    deny: &BlockRef,
) -> Result<Option<InputSet>, VerifyError> {
    let aggregator: Address = fact.signer;
    let (_, view) =
        Follower::start(chain.clone(), blobs.clone(), headers.clone(), aggregator).await?;
    let view = view.borrow().clone();
    let view = view.of_epoch(chain, fact.lease.epoch).await?;
    Ok(decision::input_set(chain, &view, manifest, allow, deny).await?)
}
