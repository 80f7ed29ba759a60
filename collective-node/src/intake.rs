//! Takes a contribution in: everything that can be checked without a key, then the disk.
//!
//! `Upload = u32 length ‖ JSON SignedContribution ‖ age file` (SPEC "Upload"). What is acknowledged
//! is on the disk. The plaintext is never seen here.

use alloy::primitives::Address;
use bytes::Bytes;
use collective::contribution::{
    Contribution, ContributionRefusal, SignatureRefusal, SignedContribution, payload_root,
};
use collective::id::{ContributorId, Leaf};
use collective::permit::Fault;
use collective::seal::contribution::{self, ContributionError, ContributionHeader};
use collective::seal::proof::SenderContext;
use collective::seal::tagged::TaggedRecipient;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::watch;

use crate::blobs::{BlobError, Blobs};
use crate::chain::Deployment;
use crate::crash::Step;
use crate::follower::View;
use crate::ledger::{Held, Kept, Ledger, LedgerError};

/// Bytes of the signed part: seven words, a source's name and a signature in JSON.
pub const MAX_ENTRY_BYTES: usize = 4 * 1024;

/// Bytes of an upload: a record, its header and its seals, with room to grow.
pub const MAX_UPLOAD_BYTES: usize = 1024 * 1024;

/// What a contributor gets: this leaf is on the disk here and will be anchored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// The leaf, by which its batch, its proof and its uses are asked for later.
    pub leaf: Leaf,
}

/// Why an upload is not taken in. Each is one fact, and the contributor can act on most.
#[derive(Debug, Error)]
pub enum IntakeRefusal {
    /// The length prefix or the JSON.
    #[error("the upload is malformed: {0}")]
    Malformed(String),
    /// Over the limit.
    #[error("the upload has more than {MAX_UPLOAD_BYTES} bytes")]
    Oversize,
    /// For somebody else.
    #[error("the contribution names collective {0}, this node serves another")]
    AnotherCollective(Address),
    /// The charter is not known yet.
    #[error("the collective has set no charter yet: nobody is admitted")]
    NoCharter,
    /// No committee is known yet.
    #[error("the collective has accepted no committee yet: there is no key to seal to")]
    NoCommittee,
    /// No such source.
    #[error("the collective declares no source '{0}'")]
    UnknownSource(String),
    /// Not in the admission list.
    #[error("contributor {0} is not admitted: admission is set by the members' vote")]
    NotAdmitted(ContributorId),
    /// Digests beside the leaf.
    #[error(transparent)]
    Contribution(ContributionRefusal),
    /// Somebody else's signature.
    #[error("the leaf names {contributor}, but {signer}, another contributor, signed it")]
    AnotherSigner {
        /// Whose key signed.
        signer: Address,
        /// Whom the leaf names.
        contributor: ContributorId,
    },
    /// A leaf that was changed after it was signed.
    #[error("the signature does not match this leaf: something in it was changed after signing")]
    SignatureMismatch,
    /// The age header.
    #[error(transparent)]
    Sealed(#[from] ContributionError),
    /// The key was replaced since, or in between.
    #[error("the file is sealed to a key that the collective has replaced: seal the record again")]
    ReplacedKey,
    /// The header is not the one that was signed.
    #[error("the file's header is not the one that the commitment names")]
    AnotherHeader,
    /// The file was cut or changed.
    #[error(
        "the payload has {found} bytes, the commitment names {expected}: the file was cut or extended"
    )]
    Truncated {
        /// Signed.
        expected: u64,
        /// Sent.
        found: u64,
    },
    /// The file was changed.
    #[error("the payload's bytes are not those that the commitment names")]
    AnotherPayload,
    /// The leaf's point is not the file's.
    #[error("the leaf's point is not that of the file's stanza")]
    AnotherPoint,
    /// Sent before.
    #[error("this contribution is already here: ask for its receipt by leaf {0}")]
    Replay(Leaf),
    /// The nonce is in use.
    #[error("contributor and nonce {0} are in use for another leaf: take the next nonce")]
    NonceTaken(u64),
    /// A copy of somebody's header.
    #[error("this ephemeral point was contributed before: seal the record afresh")]
    PointTaken,
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The blob store.
    #[error(transparent)]
    Blob(#[from] BlobError),
}

impl IntakeRefusal {
    /// Who has to act.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Ledger(_) | Self::Blob(_) | Self::NoCharter | Self::NoCommittee => {
                Fault::Operator
            }
            _ => Fault::Contributor,
        }
    }
}

/// Everything that taking in needs.
#[derive(Clone)]
pub struct Intake {
    /// Where the collective lives.
    pub deployment: Deployment,
    /// Chain facts.
    pub view: watch::Receiver<View>,
    /// Contributions held.
    pub ledger: Ledger,
    /// Sealed files.
    pub blobs: Blobs,
}

impl Intake {
    /// Checks an upload and keeps it.
    ///
    /// # Errors
    /// The first check that fails; nothing is then kept that anybody could read.
    pub async fn accept(&self, upload: Bytes) -> Result<Acknowledgement, IntakeRefusal> {
        let (entry, file) = split(&upload)?;
        self.check(&entry, &file)?;
        let leaf = entry.contribution.leaf();
        let nonce = entry.contribution.nonce;
        let kept = match self.ledger.used(&entry.contribution).await? {
            Some(used) => used,
            // Only now: a contributor could fill the disk with files of one nonce.
            None => {
                let file = self.blobs.put(file).await?;
                self.ledger.keep(Held { entry, file }).await?
            }
        };
        match kept {
            Kept::New => {
                Step::KeptNotAcknowledged.reached();
                Ok(Acknowledgement { leaf })
            }
            Kept::Replay => Err(IntakeRefusal::Replay(leaf)),
            Kept::NonceTaken => Err(IntakeRefusal::NonceTaken(nonce)),
            Kept::PointTaken => Err(IntakeRefusal::PointTaken),
        }
    }

    fn check(&self, entry: &SignedContribution, file: &[u8]) -> Result<(), IntakeRefusal> {
        let contribution = &entry.contribution;
        if contribution.collective != self.deployment.collective {
            return Err(IntakeRefusal::AnotherCollective(contribution.collective));
        }
        let (charter, certificate, proof_required) = {
            let view = self.view.borrow();
            (
                view.charter().cloned().ok_or(IntakeRefusal::NoCharter)?,
                view.certificate.clone().ok_or(IntakeRefusal::NoCommittee)?,
                view.committee.proof_required(),
            )
        };
        if charter.source(&entry.commitment.source).is_none() {
            return Err(IntakeRefusal::UnknownSource(
                entry.commitment.source.clone(),
            ));
        }
        let admitted = |id| {
            charter
                .admission
                .as_ref()
                .is_none_or(|list| list.contains(id))
        };
        if !admitted(contribution.contributor) {
            return Err(IntakeRefusal::NotAdmitted(contribution.contributor));
        }
        entry
            .check(&self.deployment.registry())
            .map_err(|refusal| match refusal {
                ContributionRefusal::Signature(SignatureRefusal::AnotherSigner {
                    signer,
                    contributor,
                }) => {
                    if admitted(ContributorId::from_address(signer)) {
                        IntakeRefusal::AnotherSigner {
                            signer,
                            contributor,
                        }
                    } else {
                        IntakeRefusal::SignatureMismatch
                    }
                }
                ContributionRefusal::Signature(_) => IntakeRefusal::SignatureMismatch,
                other => IntakeRefusal::Contribution(other),
            })?;
        let check = |recipient: &TaggedRecipient| {
            check_file(entry, file, &self.deployment, recipient, proof_required).map(drop)
        };
        let checked = check(certificate.recipient());
        let Err(IntakeRefusal::Sealed(ContributionError::Proof(_))) = checked else {
            return checked;
        };
        let epochs = self.view.borrow().epochs.clone();
        match epochs
            .keys()
            .iter()
            .any(|key| check(&key.recipient).is_ok())
        {
            true => Err(IntakeRefusal::ReplacedKey),
            false => checked,
        }
    }
}

/// Checks a sealed file against the leaf and what it opens to: the header's rules, its proof, its
/// hash, the payload's length and root, the point. Returns the header and the payload.
///
/// # Errors
/// The first check that fails.
pub fn check_file<'a>(
    entry: &SignedContribution,
    file: &'a [u8],
    deployment: &Deployment,
    recipient: &TaggedRecipient,
    proof_required: bool,
) -> Result<(ContributionHeader, &'a [u8]), IntakeRefusal> {
    let Contribution {
        contributor,
        nonce,
        point,
        ..
    } = entry.contribution;
    let context = sender_context(deployment, contributor, nonce);
    let (header, payload) = contribution::parse(file, recipient, &context)?;
    if proof_required {
        header.require_proof()?;
    }
    if header.sha256() != entry.commitment.header.0 {
        return Err(IntakeRefusal::AnotherHeader);
    }
    let (expected, found) = (entry.commitment.length, payload.len() as u64);
    if expected != found {
        return Err(IntakeRefusal::Truncated { expected, found });
    }
    if payload_root(payload) != entry.commitment.payload {
        return Err(IntakeRefusal::AnotherPayload);
    }
    if header.point_id() != point.0.0 {
        return Err(IntakeRefusal::AnotherPoint);
    }
    Ok((header, payload))
}

/// What a sender proof is bound to.
pub fn sender_context(
    deployment: &Deployment,
    contributor: ContributorId,
    nonce: u64,
) -> SenderContext {
    let mut word = [0; 32];
    word[24..].copy_from_slice(&nonce.to_be_bytes());
    SenderContext {
        chain_id: deployment.chain_id,
        registry: deployment.contributions.into_array(),
        collective: deployment.collective.into_array(),
        contributor: contributor.0.0,
        nonce: word,
    }
}

/// Writes an upload.
pub fn join(entry: &SignedContribution, file: &[u8]) -> Vec<u8> {
    let entry = serde_json::to_vec(entry).expect("an entry is plain JSON values");
    let length = u32::try_from(entry.len()).expect("an entry is a few hundred bytes");
    [&length.to_be_bytes()[..], &entry, file].concat()
}

fn split(upload: &Bytes) -> Result<(SignedContribution, Bytes), IntakeRefusal> {
    if upload.len() > MAX_UPLOAD_BYTES {
        return Err(IntakeRefusal::Oversize);
    }
    let malformed = |what: &str| IntakeRefusal::Malformed(what.into());
    let (length, rest) = upload
        .split_first_chunk::<4>()
        .ok_or_else(|| malformed("no length"))?;
    let length = u32::from_be_bytes(*length) as usize;
    if length > MAX_ENTRY_BYTES || length > rest.len() {
        return Err(malformed("the length prefix does not fit"));
    }
    let entry = serde_json::from_slice(&rest[..length])
        .map_err(|error| IntakeRefusal::Malformed(error.to_string()))?;
    Ok((entry, upload.slice(4 + length..)))
}
