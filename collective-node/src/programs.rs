//! Programs as people write them: a folder in a git repository, and how bytes and a manifest are made of it.
//!
//! Owns: `program.toml`, the recipes, git. Must not know: keys, contributed records, how a program is run. Nothing of a
//! folder is executed here: a reviewer makes the bytes of a stranger's sources by the same recipes.

pub mod deploy;
pub mod description;
pub mod fence;
pub mod folder;
pub mod git;
pub mod plan;
pub mod process;
pub mod rebuild;
pub mod recipe;
pub mod scaffold;
pub mod source;

use collective::approval::{
    Evidence, Format, Manifest, ManifestRefusal, Origin, Payment, Program, Recipient, Selector,
};
use thiserror::Error;

use crate::chain::Deployment;
use folder::Folder;
use recipe::Built;

/// What a manifest says that its program's folder does not.
#[derive(Clone, Debug)]
pub struct Occasion {
    /// Whose vote it is, and the token that it pays in.
    pub deployment: Deployment,
    /// Who alone can open the output; where none is given, the folder names one.
    pub recipient: Option<Recipient>,
    /// Unix seconds from which days until the expiry count: the chain's time.
    pub now: u64,
    /// Where the folder was read.
    pub origin: Option<Origin>,
}

/// Why a folder makes no manifest.
#[derive(Debug, Error)]
pub enum ProposalRefusal {
    /// Nobody could open the output.
    #[error(
        "nobody is named who opens the output: give --recipient, or `recipient` in program.toml"
    )]
    NoRecipient,
    /// It would be refused by everybody who reads it.
    #[error("program.toml makes no manifest: {0}")]
    Manifest(#[from] ManifestRefusal),
}

/// The manifest that members vote on: the folder's description, the bytes that were made of it, and the occasion. Equal
/// arguments make equal manifests, so that a reviewer finds the digest again.
///
/// # Errors
/// [`ProposalRefusal`].
pub fn proposal_manifest(
    folder: &Folder,
    built: &Built,
    occasion: &Occasion,
) -> Result<Manifest, ProposalRefusal> {
    described(folder, built.program(occasion.origin.clone()), occasion)
}

/// The same of a program that need not be built here.
///
/// # Errors
/// [`ProposalRefusal`].
pub fn described(
    folder: &Folder,
    program: Program,
    occasion: &Occasion,
) -> Result<Manifest, ProposalRefusal> {
    let described = folder.description();
    let named = described.recipient.clone().map(Recipient::Age);
    let recipient = occasion.recipient.clone().or(named);
    let manifest = Manifest {
        format: Format::V1,
        chain_id: occasion.deployment.chain_id,
        collective: occasion.deployment.collective,
        program,
        arguments: described.arguments.clone(),
        dataset: Selector {
            source: described.dataset.source.clone(),
            declaration: folder.source().digest(),
            columns: described.dataset.columns.clone(),
            since: described.dataset.since.map(|date| date.seconds()),
            until: described.dataset.until.map(|date| date.seconds()),
        },
        purpose: described.purpose,
        recipient: recipient.ok_or(ProposalRefusal::NoRecipient)?,
        output: folder.output().clone(),
        limits: described.limits,
        payment: Payment {
            token: occasion.deployment.token,
            price: described.payment.price,
            bond: described.payment.bond,
            rule: described.payment.rule,
            distinct: folder.source().has_documents(),
            contributors_bps: described.payment.contributors_bps,
            node_bps: described.payment.node_bps,
        },
        hand_off: described.hand_off.clone(),
        evidence: Evidence::None,
        max_runs: described.max_runs,
        expiry: described.expiry.seconds(occasion.now),
    };
    Ok(Manifest::parse(&manifest.to_bytes())?)
}
