//! The native recipient of age (C2SP age, "X25519"): what outputs are sealed to.

use std::fmt;

use rand_core::CryptoRng;
use x25519_dalek::{PublicKey, SharedSecret, StaticSecret};
use zeroize::Zeroizing;

use super::header::{FileKey, Stanza, StanzaError, base64_argument};
use super::symmetric::{Secret32, hkdf};
use super::{KeyStringError, SealError, bech32_string};

pub(super) const RECIPIENT_HRP: &str = "age";
pub(super) const IDENTITY_HRP: &str = "age-secret-key-";
const STANZA: &str = "X25519";
const LABEL: &[u8] = b"age-encryption.org/v1/X25519";

/// `age1…`.
#[derive(Clone, PartialEq, Eq)]
pub struct Recipient(PublicKey);

impl Recipient {
    /// The 32 bytes of the public key.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, KeyStringError> {
        Ok(Self(PublicKey::from(key_bytes(bytes)?)))
    }

    pub(super) fn wrap<R: CryptoRng + ?Sized>(
        &self,
        file_key: &FileKey,
        rng: &mut R,
    ) -> Result<Stanza, SealError> {
        let ephemeral = random_secret(rng);
        let share = PublicKey::from(&ephemeral);
        let secret = ephemeral.diffie_hellman(&self.0);
        let key = wrap_key(&secret, &share, &self.0).ok_or(SealError::LowOrderRecipient)?;
        let arguments = vec![STANZA.to_owned(), base64_argument(share.as_bytes())];
        Ok(Stanza::new(arguments, file_key.seal_under(&key))?)
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bech32_string::encode(RECIPIENT_HRP, self.0.as_bytes()))
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `AGE-SECRET-KEY-1…`. Has no Debug; wiped when dropped.
pub struct Identity(StaticSecret);

impl Identity {
    /// A new identity.
    pub fn random<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        Self(random_secret(rng))
    }

    /// Whom to seal to.
    pub fn recipient(&self) -> Recipient {
        Recipient(PublicKey::from(&self.0))
    }

    /// The string that age clients keep in key files.
    pub fn to_secret_string(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(bech32_string::encode(IDENTITY_HRP, self.0.as_bytes()));
        text.make_ascii_uppercase();
        text
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, KeyStringError> {
        let bytes = Zeroizing::new(key_bytes(bytes)?);
        Ok(Self(StaticSecret::from(*bytes)))
    }

    /// Nothing in the stanza says whom it is for: one that does not open is taken to be for somebody else.
    pub(super) fn unwrap(&self, stanza: &Stanza) -> Result<Option<FileKey>, StanzaError> {
        if stanza.kind() != STANZA {
            return Ok(None);
        }
        if stanza.arguments().len() != 1 {
            return Err(StanzaError::Shape);
        }
        let share: [u8; 32] = stanza.binary_argument(0).ok_or(StanzaError::Shape)?;
        let wrapped = stanza.wrapped_key().ok_or(StanzaError::Shape)?;
        let share = PublicKey::from(share);
        let secret = self.0.diffie_hellman(&share);
        let key = wrap_key(&secret, &share, &self.recipient().0).ok_or(StanzaError::Point)?;
        Ok(FileKey::open_under(&key, &wrapped))
    }
}

/// `None` where the shared secret is zero: one side's key has low order.
fn wrap_key(secret: &SharedSecret, share: &PublicKey, recipient: &PublicKey) -> Option<Secret32> {
    let salt = [share.as_bytes().as_slice(), recipient.as_bytes()].concat();
    secret
        .was_contributory()
        .then(|| hkdf(&salt, secret.as_bytes(), LABEL))
}

fn random_secret<R: CryptoRng + ?Sized>(rng: &mut R) -> StaticSecret {
    let mut bytes = Zeroizing::new([0; 32]);
    rng.fill_bytes(bytes.as_mut_slice());
    StaticSecret::from(*bytes)
}

fn key_bytes(bytes: &[u8]) -> Result<[u8; 32], KeyStringError> {
    bytes.try_into().map_err(|_| KeyStringError::Length {
        expected: 32,
        found: bytes.len(),
    })
}
