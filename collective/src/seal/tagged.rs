//! Tagged recipients (C2SP age): `age1tag1…` on P-256, `age1tagpq1…` on P-256 and ML-KEM-768. A collective's key is one
//! of these, and both strings are served by one P-256 secret.
//!
//! The format leaves the identity to the holder. Ours is the P-256 scalar and the ML-KEM seed; a committee holds the
//! scalar in shares and calls [`TaggedStanza::open`] with a Diffie–Hellman value that nobody computed alone.

use std::fmt;
use std::str::FromStr;

use ml_kem::{B32, EncapsulationKey768, KeyExport};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::curve::{COMPRESSED_LEN, DhValue, POINT_LEN, Point, SecretScalar};
use super::header::{FileKey, Stanza, StanzaError, WRAPPED_KEY_LEN, base64_argument};
use super::hpke::{self, Kem, MlKemSecret};
use super::symmetric::{hkdf_extract, sha256};
use super::{KeyStringError, bech32_string};

mod identity;

pub(super) use identity::IDENTITY_HRP;
pub use identity::{ML_KEM_SEED_LEN, MlKemKey, TaggedIdentity};

const TAG_HRP: &str = "age1tag";
const TAGPQ_HRP: &str = "age1tagpq";

/// Length of an ML-KEM-768 ciphertext.
pub const ML_KEM_CIPHERTEXT_LEN: usize = 1088;

const ML_KEM_KEY_LEN: usize = 1184;
const HYBRID_ENC_LEN: usize = ML_KEM_CIPHERTEXT_LEN + POINT_LEN;

/// A P-256 key, with an ML-KEM-768 key beside it where it is a hybrid one.
#[derive(Clone, PartialEq, Eq)]
pub struct TaggedRecipient {
    point: Point,
    ml_kem: Option<Box<EncapsulationKey768>>,
}

impl TaggedRecipient {
    /// The P-256 key.
    pub fn point(&self) -> &Point {
        &self.point
    }

    /// Whether the string is `age1tagpq1…`.
    pub fn is_post_quantum(&self) -> bool {
        self.ml_kem.is_some()
    }

    /// The same P-256 key without ML-KEM: `age1tag1…`, for clients that have only that.
    pub fn classical(&self) -> Self {
        Self {
            point: self.point.clone(),
            ml_kem: None,
        }
    }

    /// SHA-256 of the recipient string: what NodeRegistry stores of it and what a sender proof is bound to.
    pub fn digest(&self) -> [u8; 32] {
        sha256(&[self.to_string().as_bytes()])
    }

    pub(super) fn wrap<R: CryptoRng + ?Sized>(&self, file_key: &FileKey, rng: &mut R) -> Stanza {
        self.encapsulate(file_key, rng).stanza
    }

    /// A stanza for this recipient, with the secret that was drawn for it: the sender proof needs that.
    pub(super) fn encapsulate<R: CryptoRng + ?Sized>(
        &self,
        file_key: &FileKey,
        rng: &mut R,
    ) -> Encapsulated {
        let mut enc = Vec::new();
        let ml_kem = self.ml_kem.as_ref().map(|key| {
            let mut coins = Zeroizing::new([0; 32]);
            rng.fill_bytes(coins.as_mut_slice());
            let (ciphertext, secret) = key.encapsulate_deterministic(&B32::from(*coins));
            enc.extend_from_slice(&ciphertext);
            MlKemSecret::from_bytes(secret.into())
        });
        let ephemeral = SecretScalar::random(rng);
        let point = ephemeral.public();
        enc.extend_from_slice(point.uncompressed());
        let dh = ephemeral.diffie_hellman(&self.point);
        let kem = if ml_kem.is_some() {
            Kem::MlKem768P256
        } else {
            Kem::P256
        };
        let secret = match &ml_kem {
            Some(ml_kem) => hpke::hybrid_secret(ml_kem, &dh, &point, &self.point),
            None => hpke::p256_secret(&dh, &point, &self.point),
        };
        let body = hpke::seal(kem, &secret, kem.label(), b"", file_key.expose());
        let arguments = vec![
            kem.stanza_kind().to_owned(),
            base64_argument(&kem.tag(&enc, &self.point)),
            base64_argument(&enc),
        ];
        let stanza = Stanza::new(arguments, body).expect("base64 is printable");
        Encapsulated {
            stanza,
            ephemeral,
            point,
        }
    }

    /// From the prefix of a recipient string and the bytes after it.
    pub(super) fn from_parts(kind: &str, bytes: &[u8]) -> Result<Self, KeyStringError> {
        match kind {
            TAG_HRP => Self::from_classical_bytes(bytes),
            TAGPQ_HRP => Self::from_hybrid_bytes(bytes),
            _ => Err(KeyStringError::UnknownKind(kind.to_owned())),
        }
    }

    /// What the recipient string encodes.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        match &self.ml_kem {
            None => self.point.compressed().to_vec(),
            Some(key) => [key.to_bytes().as_slice(), self.point.uncompressed()].concat(),
        }
    }

    pub(super) fn from_classical_bytes(bytes: &[u8]) -> Result<Self, KeyStringError> {
        check_length(bytes, COMPRESSED_LEN)?;
        Ok(Self {
            point: Point::from_compressed(bytes)?,
            ml_kem: None,
        })
    }

    pub(super) fn from_hybrid_bytes(bytes: &[u8]) -> Result<Self, KeyStringError> {
        check_length(bytes, ML_KEM_KEY_LEN + POINT_LEN)?;
        let (ml_kem, point) = bytes.split_at(ML_KEM_KEY_LEN);
        let ml_kem = ml_kem.try_into().expect("the length was checked");
        let ml_kem = EncapsulationKey768::new(ml_kem).map_err(|_| KeyStringError::MlKem)?;
        Ok(Self {
            point: Point::from_uncompressed(point)?,
            ml_kem: Some(Box::new(ml_kem)),
        })
    }
}

impl fmt::Display for TaggedRecipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hrp = if self.is_post_quantum() {
            TAGPQ_HRP
        } else {
            TAG_HRP
        };
        f.write_str(&bech32_string::encode(hrp, &self.to_bytes()))
    }
}

impl fmt::Debug for TaggedRecipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TaggedRecipient {
    type Err = KeyStringError;

    fn from_str(text: &str) -> Result<Self, KeyStringError> {
        let (kind, bytes) = bech32_string::decode(text)?;
        Self::from_parts(&kind, &bytes)
    }
}

/// A fresh stanza and what was drawn for its P-256 half.
pub(super) struct Encapsulated {
    pub(super) stanza: Stanza,
    pub(super) ephemeral: SecretScalar,
    pub(super) point: Point,
}

/// A `p256tag` or `mlkem768p256tag` stanza whose parts are all valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaggedStanza {
    tag: [u8; 4],
    point: Point,
    ml_kem: Option<Box<[u8; ML_KEM_CIPHERTEXT_LEN]>>,
    wrapped: [u8; WRAPPED_KEY_LEN],
}

impl TaggedStanza {
    /// `None` where the stanza is of another type.
    pub fn parse(stanza: &Stanza) -> Result<Option<Self>, StanzaError> {
        let hybrid = match stanza.kind() {
            P256_STANZA => false,
            HYBRID_STANZA => true,
            _ => return Ok(None),
        };
        if stanza.arguments().len() != 2 {
            return Err(StanzaError::Shape);
        }
        let tag = stanza.binary_argument(0).ok_or(StanzaError::Shape)?;
        let wrapped = stanza.wrapped_key().ok_or(StanzaError::Shape)?;
        let (ml_kem, point) = if hybrid {
            let enc: [u8; HYBRID_ENC_LEN] = stanza.binary_argument(1).ok_or(StanzaError::Shape)?;
            let (ciphertext, point) = enc.split_at(ML_KEM_CIPHERTEXT_LEN);
            let ciphertext = ciphertext.try_into().expect("split at its length");
            (Some(Box::new(ciphertext)), point.to_vec())
        } else {
            let enc: [u8; POINT_LEN] = stanza.binary_argument(1).ok_or(StanzaError::Shape)?;
            (None, enc.to_vec())
        };
        let point = Point::from_uncompressed(&point).map_err(|_| StanzaError::Point)?;
        Ok(Some(Self {
            tag,
            point,
            ml_kem,
            wrapped,
        }))
    }

    /// Whether the tag names this key. Anybody who knows the key can tell; one in 2³² foreign stanzas passes too.
    pub fn is_for(&self, recipient: &Point) -> bool {
        self.kem().tag(&self.enc(), recipient) == self.tag
    }

    /// The sender's ephemeral P-256 point E: what a holder multiplies with the secret.
    pub fn point(&self) -> &Point {
        &self.point
    }

    /// The ML-KEM ciphertext of a hybrid stanza.
    pub fn ml_kem_ciphertext(&self) -> Option<&[u8; ML_KEM_CIPHERTEXT_LEN]> {
        self.ml_kem.as_deref()
    }

    /// The file key, from the Diffie–Hellman value of [`TaggedStanza::point`] and the recipient's secret, and from what
    /// ML-KEM decapsulated where the stanza is hybrid (ignored where it is not).
    pub fn open(
        &self,
        recipient: &Point,
        dh: &DhValue,
        ml_kem: Option<&MlKemSecret>,
    ) -> Result<FileKey, StanzaError> {
        let secret = if self.ml_kem.is_some() {
            let ml_kem = ml_kem.ok_or(StanzaError::MlKemMissing)?;
            hpke::hybrid_secret(ml_kem, dh, &self.point, recipient)
        } else {
            hpke::p256_secret(dh, &self.point, recipient)
        };
        hpke::open(self.kem(), &secret, self.kem().label(), b"", &self.wrapped)
            .and_then(|bytes| FileKey::from_slice(&bytes))
            .ok_or(StanzaError::NotAuthentic)
    }

    fn kem(&self) -> Kem {
        if self.ml_kem.is_some() {
            Kem::MlKem768P256
        } else {
            Kem::P256
        }
    }

    fn enc(&self) -> Vec<u8> {
        let ciphertext = self
            .ml_kem
            .as_ref()
            .map_or(&[][..], |ciphertext| ciphertext.as_slice());
        [ciphertext, self.point.uncompressed()].concat()
    }
}

const P256_STANZA: &str = "p256tag";
const HYBRID_STANZA: &str = "mlkem768p256tag";

impl Kem {
    fn stanza_kind(self) -> &'static str {
        match self {
            Self::P256 => P256_STANZA,
            Self::MlKem768P256 => HYBRID_STANZA,
        }
    }

    /// HPKE info, and salt of the tag.
    fn label(self) -> &'static [u8] {
        match self {
            Self::P256 => b"age-encryption.org/p256tag",
            Self::MlKem768P256 => b"age-encryption.org/mlkem768p256tag",
        }
    }

    /// Tag of a stanza. The key enters compressed in one type and uncompressed in the other, as the format has it.
    fn tag(self, enc: &[u8], recipient: &Point) -> [u8; 4] {
        let name = match self {
            Self::P256 => sha256(&[&recipient.compressed()]),
            Self::MlKem768P256 => sha256(&[recipient.uncompressed()]),
        };
        let tag = hkdf_extract(self.label(), &[enc, &name[..4]]);
        tag[..4].try_into().expect("4 of 32 bytes")
    }
}

fn check_length(bytes: &[u8], expected: usize) -> Result<(), KeyStringError> {
    if bytes.len() == expected {
        Ok(())
    } else {
        Err(KeyStringError::Length {
            expected,
            found: bytes.len(),
        })
    }
}
