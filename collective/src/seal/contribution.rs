//! The rules for the header of a contributed file: one collective stanza, at most one sender proof, and the names under
//! which the file is known for ever.
//!
//! This module must not know who may contribute or what was contributed before: uniqueness of [`ContributionHeader::point_id`]
//! and of nonces is the registry's affair.

use std::num::NonZeroUsize;

use rand_core::CryptoRng;

use super::SealError;
use super::header::{FileKey, Header, HeaderError, Stanza, StanzaError};
use super::proof::{self, PROOF_STANZA, ProofError, SenderContext};
use super::symmetric::sha256;
use super::tagged::{TaggedRecipient, TaggedStanza};
use super::{assemble, curve::Point};

const POINT_DOMAIN: &[u8] = b"collective/v1/point";

/// Seals a contribution: an age file with a sender proof, which any holder of the collective's key opens.
pub fn seal<R: CryptoRng + ?Sized>(
    recipient: &TaggedRecipient,
    context: &SenderContext,
    plaintext: &[u8],
    rng: &mut R,
) -> Result<Vec<u8>, SealError> {
    let file_key = FileKey::random(rng);
    let stanzas = wrap(recipient, context, &file_key, rng).to_vec();
    let header = Header::new(stanzas, &file_key)?;
    Ok(assemble(
        &header,
        &file_key,
        plaintext,
        NonZeroUsize::MIN,
        rng,
    ))
}

/// The collective stanza and its proof, for clients that write the rest of the file themselves (recipient plugins).
pub fn wrap<R: CryptoRng + ?Sized>(
    recipient: &TaggedRecipient,
    context: &SenderContext,
    file_key: &FileKey,
    rng: &mut R,
) -> [Stanza; 2] {
    let made = recipient.encapsulate(file_key, rng);
    let proof = proof::prove(
        &made.ephemeral,
        &made.point,
        &made.stanza,
        &recipient.digest(),
        context,
        rng,
    );
    [made.stanza, proof]
}

/// Reads the header of `file` (or of its first [`crate::limits::MAX_HEADER_BYTES`]) and checks it for a contribution to
/// `recipient` in `context`. Returns what follows the header. Needs no secret: every node and holder runs it.
pub fn parse<'a>(
    file: &'a [u8],
    recipient: &TaggedRecipient,
    context: &SenderContext,
) -> Result<(ContributionHeader, &'a [u8]), ContributionError> {
    let (header, body) = Header::parse(file)?;
    let (stanza, tagged, proofs) = stanzas(&header, recipient)?;
    let sealed_to = sealed_to(&tagged, recipient);
    let sender = match proofs.as_slice() {
        [] => Sender::Unproven,
        [proof] => {
            proof::verify(proof, stanza, tagged.point(), &sealed_to, context)?;
            Sender::Proven
        }
        _ => return Err(ContributionError::SeveralProofs),
    };
    Ok((
        ContributionHeader {
            stanza: tagged,
            sealed_to,
            sender,
            header,
        },
        body,
    ))
}

/// Reads a header again whose proof was checked before, when it was indexed: `sender` is what was found then.
///
/// # Errors
/// [`ContributionError`] where it never was a header for `recipient`.
pub fn recall(
    header: &[u8],
    recipient: &TaggedRecipient,
    sender: Sender,
) -> Result<ContributionHeader, ContributionError> {
    let (header, _) = Header::parse(header)?;
    let (_, stanza, _) = stanzas(&header, recipient)?;
    Ok(ContributionHeader {
        header,
        sealed_to: sealed_to(&stanza, recipient),
        stanza,
        sender,
    })
}

/// The one collective stanza, as written and as read, and the proofs beside it.
fn stanzas<'h>(
    header: &'h Header,
    recipient: &TaggedRecipient,
) -> Result<(&'h Stanza, TaggedStanza, Vec<&'h Stanza>), ContributionError> {
    let mut found = None;
    let mut proofs = Vec::new();
    for stanza in header.stanzas() {
        if stanza.kind() == PROOF_STANZA {
            proofs.push(stanza);
        } else if let Some(tagged) = TaggedStanza::parse(stanza)?
            && found.replace((stanza, tagged)).is_some()
        {
            return Err(ContributionError::SeveralStanzas);
        }
    }
    let (stanza, tagged) = found.ok_or(ContributionError::NoStanza)?;
    let offered = tagged.ml_kem_ciphertext().is_none() || recipient.is_post_quantum();
    if !offered || !tagged.is_for(recipient.point()) {
        return Err(ContributionError::AnotherKey);
    }
    Ok((stanza, tagged, proofs))
}

/// Digest of the recipient that a stanza is read as made for. A `p256tag` stanza is for the classical string, which a
/// collective never changes.
fn sealed_to(stanza: &TaggedStanza, recipient: &TaggedRecipient) -> [u8; 32] {
    match stanza.ml_kem_ciphertext() {
        Some(_) => recipient.digest(),
        None => recipient.classical().digest(),
    }
}

/// A header that follows the rules.
#[derive(Clone, Debug)]
pub struct ContributionHeader {
    header: Header,
    stanza: TaggedStanza,
    sealed_to: [u8; 32],
    sender: Sender,
}

impl ContributionHeader {
    /// The age header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The stanza for the collective.
    pub fn stanza(&self) -> &TaggedStanza {
        &self.stanza
    }

    /// SHA-256 of the recipient string that it was sealed to. A sender proof shows it; without one it is what the reader
    /// took it for.
    pub fn sealed_to(&self) -> &[u8; 32] {
        &self.sealed_to
    }

    /// Whether the sender has shown that it made the stanza for this contribution.
    pub fn sender(&self) -> Sender {
        self.sender
    }

    /// The header, where it carries a proof.
    pub fn require_proof(&self) -> Result<&Self, ContributionError> {
        match self.sender {
            Sender::Proven => Ok(self),
            Sender::Unproven => Err(ContributionError::ProofMissing),
        }
    }

    /// Name of the ephemeral point, unique for the collective's whole life.
    pub fn point_id(&self) -> [u8; 32] {
        point_id(self.stanza.point())
    }

    /// SHA-256 of the header's bytes, as the commitment names it.
    pub fn sha256(&self) -> [u8; 32] {
        self.header.sha256()
    }
}

/// SHA-256("collective/v1/point" ‖ x). A point and its negative have the same name on purpose: whoever gets the
/// Diffie–Hellman value of one has that of the other.
pub fn point_id(point: &Point) -> [u8; 32] {
    sha256(&[POINT_DOMAIN, point.x()])
}

/// What is known about who made the stanza.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// A valid sender proof for this contribution.
    Proven,
    /// No proof: made by a client that has none, or copied.
    Unproven,
}

/// Why a header is not that of a contribution. All are the contributor's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContributionError {
    /// Not a well-formed age header.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// A malformed collective stanza.
    #[error("stanza: {0}")]
    Stanza(#[from] StanzaError),
    /// No stanza of a tagged type.
    #[error("the file is not sealed to a collective")]
    NoStanza,
    /// More than one stanza of a tagged type: each would be a point to multiply.
    #[error("the file has more than one collective stanza")]
    SeveralStanzas,
    /// The stanza is for another key, or of a kind that this collective's key does not have.
    #[error("the file is sealed to another key")]
    AnotherKey,
    /// More than one proof.
    #[error("the file has more than one sender proof")]
    SeveralProofs,
    /// A proof that does not hold.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// This collective takes only files with a proof.
    #[error("the file carries no sender proof")]
    ProofMissing,
}
