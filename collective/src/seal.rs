//! Sealing: age files (C2SP `age`, format v1) to a collective's key, to X25519 keys and to a passphrase.
//!
//! This module owns the bytes of the header and the payload, the recipients and identities, and the sender proof that a
//! contribution carries. It must not know where files lie, who may open them, or what is in them; it holds no clock and
//! no randomness of its own.
//!
//! | part | owns |
//! |---|---|
//! | [`header`] | header text, file key, MAC |
//! | [`payload`] | the encrypted body: whole slices, streams, threads |
//! | [`curve`] | P-256 points and scalars that cannot be wrong |
//! | [`hpke`] | RFC 9180 base mode, finished from a Diffie–Hellman value that comes from outside |
//! | [`tagged`] | `age1tag1…` and `age1tagpq1…`: the collective's key |
//! | [`x25519`], [`passphrase`] | `age1…` for outputs, scrypt for key files |
//! | [`proof`], [`contribution`] | sender proof and the rules for a contributed header |
//! | [`plugin`] | `age1collective1…`: one contribution, named for an age plugin |
//!
//! ASCII armor is not a second file format here: [`header::HeaderError::Armored`] says so, and [`armor::decode`] turns
//! an armored file into the binary one before it is hashed, committed to or sent.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

use rand_core::CryptoRng;

pub mod armor;
mod bech32_string;
pub mod contribution;
pub mod curve;
pub mod header;
pub mod hpke;
pub mod passphrase;
pub mod payload;
pub mod plugin;
pub mod proof;
pub(crate) mod symmetric;
pub mod tagged;
pub mod x25519;

use header::{FileKey, Header, HeaderError, Stanza, StanzaError};
use payload::PayloadError;

/// Seals `plaintext` to every one of `recipients`, as one binary age file.
///
/// Post-quantum and classical recipients are not mixed: the weaker one would decide (C2SP age, MLKEM768-P256).
pub fn seal<R: CryptoRng + ?Sized>(
    recipients: &[Recipient],
    plaintext: &[u8],
    rng: &mut R,
) -> Result<Vec<u8>, SealError> {
    seal_with_threads(recipients, plaintext, NonZeroUsize::MIN, rng)
}

/// As [`seal`], with the payload spread over up to `threads` threads.
pub fn seal_with_threads<R: CryptoRng + ?Sized>(
    recipients: &[Recipient],
    plaintext: &[u8],
    threads: NonZeroUsize,
    rng: &mut R,
) -> Result<Vec<u8>, SealError> {
    let file_key = FileKey::random(rng);
    let header = wrap(recipients, &file_key, rng)?;
    Ok(assemble(&header, &file_key, plaintext, threads, rng))
}

/// A new header that gives `file_key` to `recipients`. Put before the payload bytes of an existing file it hands that
/// file over without touching its payload (re-wrap).
pub fn wrap<R: CryptoRng + ?Sized>(
    recipients: &[Recipient],
    file_key: &FileKey,
    rng: &mut R,
) -> Result<Header, SealError> {
    if recipients.is_empty() {
        return Err(SealError::NoRecipient);
    }
    let post_quantum = recipients.iter().filter(|r| r.is_post_quantum()).count();
    if post_quantum != 0 && post_quantum != recipients.len() {
        return Err(SealError::PostQuantumMixed);
    }
    let stanzas = recipients
        .iter()
        .map(|recipient| recipient.wrap(file_key, rng))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Header::new(stanzas, file_key)?)
}

/// Opens a binary age file with the first of `identities` that one of its stanzas is addressed to.
pub fn open(identities: &[Identity], file: &[u8]) -> Result<Vec<u8>, OpenError> {
    open_with_threads(identities, file, NonZeroUsize::MIN)
}

/// As [`open`], with the payload spread over up to `threads` threads.
pub fn open_with_threads(
    identities: &[Identity],
    file: &[u8],
    threads: NonZeroUsize,
) -> Result<Vec<u8>, OpenError> {
    let (header, body) = Header::parse(file)?;
    let file_key = unwrap(identities, &header)?;
    Ok(payload::open_with_threads(&file_key, body, threads)?)
}

/// The file key that `header` gives to one of `identities`; the header's MAC has been checked under it.
pub fn unwrap(identities: &[Identity], header: &Header) -> Result<FileKey, OpenError> {
    for identity in identities {
        for stanza in header.stanzas() {
            if let Some(file_key) = identity.unwrap(stanza)? {
                header.verify_mac(&file_key)?;
                return Ok(file_key);
            }
        }
    }
    Err(OpenError::NoMatch)
}

/// Header, payload nonce and payload in one buffer.
fn assemble<R: CryptoRng + ?Sized>(
    header: &Header,
    file_key: &FileKey,
    plaintext: &[u8],
    threads: NonZeroUsize,
    rng: &mut R,
) -> Vec<u8> {
    let header = header.as_bytes();
    // Zeroed pages come from the system for nothing; a buffer that grows would be written twice.
    let mut file = vec![0; header.len() + payload::sealed_len(plaintext.len())];
    let (head, body) = file.split_at_mut(header.len());
    head.copy_from_slice(header);
    payload::seal_into(
        file_key,
        payload::random_nonce(rng),
        plaintext,
        body,
        threads,
    );
    file
}

/// Somebody a file can be sealed to, as read from its Bech32 string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// `age1…`: X25519, the native recipient of every age client.
    X25519(x25519::Recipient),
    /// `age1tag1…` or `age1tagpq1…`: P-256, or P-256 and ML-KEM-768.
    Tagged(tagged::TaggedRecipient),
}

impl Recipient {
    fn wrap<R: CryptoRng + ?Sized>(
        &self,
        file_key: &FileKey,
        rng: &mut R,
    ) -> Result<Stanza, SealError> {
        match self {
            Self::X25519(recipient) => recipient.wrap(file_key, rng),
            Self::Tagged(recipient) => Ok(recipient.wrap(file_key, rng)),
        }
    }

    fn is_post_quantum(&self) -> bool {
        matches!(self, Self::Tagged(recipient) if recipient.is_post_quantum())
    }
}

impl FromStr for Recipient {
    type Err = KeyStringError;

    fn from_str(text: &str) -> Result<Self, KeyStringError> {
        let (kind, bytes) = bech32_string::decode(text)?;
        match kind.as_str() {
            x25519::RECIPIENT_HRP => x25519::Recipient::from_bytes(&bytes).map(Self::X25519),
            _ => tagged::TaggedRecipient::from_parts(&kind, &bytes).map(Self::Tagged),
        }
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::X25519(recipient) => recipient.fmt(f),
            Self::Tagged(recipient) => recipient.fmt(f),
        }
    }
}

/// A secret key that opens files. Neither printed nor serialised; wiped when dropped.
pub enum Identity {
    /// `AGE-SECRET-KEY-1…`.
    X25519(x25519::Identity),
    /// `COLLECTIVE-SECRET-KEY-1…`: opens both kinds of tagged stanza.
    Tagged(tagged::TaggedIdentity),
    /// A passphrase; only for files sealed by [`passphrase::seal`] or `age -p`.
    Passphrase(passphrase::Passphrase),
}

impl Identity {
    /// `None` where the stanza is of another type or addressed to somebody else.
    fn unwrap(&self, stanza: &Stanza) -> Result<Option<FileKey>, StanzaError> {
        match self {
            Self::X25519(identity) => identity.unwrap(stanza),
            Self::Tagged(identity) => identity.unwrap(stanza),
            Self::Passphrase(passphrase) => passphrase.unwrap(stanza),
        }
    }
}

impl FromStr for Identity {
    type Err = KeyStringError;

    fn from_str(text: &str) -> Result<Self, KeyStringError> {
        let (kind, bytes) = bech32_string::decode(text)?;
        match kind.as_str() {
            x25519::IDENTITY_HRP => x25519::Identity::from_bytes(&bytes).map(Self::X25519),
            tagged::IDENTITY_HRP => tagged::TaggedIdentity::from_bytes(&bytes).map(Self::Tagged),
            _ => Err(KeyStringError::UnknownKind(kind)),
        }
    }
}

/// Why a recipient or identity string was refused. Never shows the string: it may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyStringError {
    /// Characters, mixed case or checksum (BIP 173) are wrong.
    #[error("not a valid Bech32 string")]
    NotBech32,
    /// A well-formed string of a kind that is not used here; the prefix is shown.
    #[error("unknown kind of key: {0}")]
    UnknownKind(String),
    /// The decoded bytes have the wrong length.
    #[error("key of {found} bytes where {expected} were expected")]
    Length {
        /// Bytes that this kind of key has.
        expected: usize,
        /// Bytes that the string holds.
        found: usize,
    },
    /// The P-256 part is no valid point or scalar.
    #[error("invalid P-256 key: {0}")]
    Curve(#[from] curve::CurveError),
    /// The ML-KEM encapsulation key fails the check of FIPS 203 §7.2.
    #[error("invalid ML-KEM-768 key")]
    MlKem,
}

/// Why a file could not be sealed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The list of recipients is empty.
    #[error("no recipient")]
    NoRecipient,
    /// Post-quantum and classical recipients in one file.
    #[error("post-quantum and classical recipients cannot share a file")]
    PostQuantumMixed,
    /// The recipient's X25519 key has low order; anybody could open the file.
    #[error("recipient is a low-order X25519 key")]
    LowOrderRecipient,
    /// The scrypt work factor is outside 1 to [`crate::limits::MAX_SCRYPT_LOG_N`].
    #[error("scrypt work factor {0} is out of range")]
    WorkFactor(u8),
    /// The header would break a limit.
    #[error(transparent)]
    Header(#[from] HeaderError),
}

/// Why a file could not be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The header is malformed.
    #[error("header: {0}")]
    Header(#[from] HeaderError),
    /// A stanza that looks addressed to us is malformed.
    #[error("stanza: {0}")]
    Stanza(#[from] StanzaError),
    /// No stanza is for any of the identities, or the passphrase is wrong.
    #[error("no given key opens the file")]
    NoMatch,
    /// A stanza opened, but the header was altered.
    #[error(transparent)]
    Mac(#[from] header::MacError),
    /// The header is right and the body is not.
    #[error("payload: {0}")]
    Payload(#[from] PayloadError),
}
