//! Files under a passphrase (C2SP age, "scrypt"): how a node keeps its key.

use std::num::NonZeroUsize;

use rand_core::CryptoRng;
use scrypt::Params;
use zeroize::Zeroizing;

use super::header::{FileKey, Header, Stanza, StanzaError, base64_argument};
use super::symmetric::Secret32;
use super::{SealError, assemble};
use crate::limits::MAX_SCRYPT_LOG_N;

const STANZA: &str = "scrypt";
const LABEL: &[u8] = b"age-encryption.org/v1/scrypt";

/// Something a person remembers. Has no Debug; wiped when dropped.
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// Takes the words over; the caller keeps no copy.
    pub fn new(words: Zeroizing<String>) -> Self {
        Self(words)
    }

    pub(super) fn unwrap(&self, stanza: &Stanza) -> Result<Option<FileKey>, StanzaError> {
        if stanza.kind() != STANZA {
            return Ok(None);
        }
        let [_, log_n] = stanza.arguments() else {
            return Err(StanzaError::Shape);
        };
        let salt: [u8; 16] = stanza.binary_argument(0).ok_or(StanzaError::Shape)?;
        let wrapped = stanza.wrapped_key().ok_or(StanzaError::Shape)?;
        let log_n = parse_log_n(log_n)?;
        Ok(FileKey::open_under(&self.wrap_key(&salt, log_n), &wrapped))
    }

    fn wrap<R: CryptoRng + ?Sized>(&self, file_key: &FileKey, log_n: u8, rng: &mut R) -> Stanza {
        let mut salt = [0; 16];
        rng.fill_bytes(&mut salt);
        let body = file_key.seal_under(&self.wrap_key(&salt, log_n));
        let arguments = vec![STANZA.to_owned(), base64_argument(&salt), log_n.to_string()];
        Stanza::new(arguments, body).expect("base64 and digits are printable")
    }

    fn wrap_key(&self, salt: &[u8; 16], log_n: u8) -> Secret32 {
        let params = Params::new(log_n, 8, 1).expect("the work factor was checked");
        let mut key = Zeroizing::new([0; 32]);
        let salt = [LABEL, salt].concat();
        scrypt::scrypt(self.0.as_bytes(), &salt, &params, key.as_mut_slice())
            .expect("32 bytes are a valid output length");
        key
    }
}

/// Seals `plaintext` under a passphrase; `log_n` is the work factor, such as
/// [`crate::limits::DEFAULT_SCRYPT_LOG_N`]. [`super::open`] with [`super::Identity::Passphrase`] opens it.
pub fn seal<R: CryptoRng + ?Sized>(
    passphrase: &Passphrase,
    log_n: u8,
    plaintext: &[u8],
    rng: &mut R,
) -> Result<Vec<u8>, SealError> {
    if !(1..=MAX_SCRYPT_LOG_N).contains(&log_n) {
        return Err(SealError::WorkFactor(log_n));
    }
    let file_key = FileKey::random(rng);
    let header = Header::new(vec![passphrase.wrap(&file_key, log_n, rng)], &file_key)?;
    Ok(assemble(
        &header,
        &file_key,
        plaintext,
        NonZeroUsize::MIN,
        rng,
    ))
}

/// Decimal digits without a leading zero, up to the limit.
fn parse_log_n(digits: &str) -> Result<u8, StanzaError> {
    if digits.starts_with('0') || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(StanzaError::Shape);
    }
    let log_n: u32 = digits.parse().map_err(|_| StanzaError::Shape)?;
    match u8::try_from(log_n) {
        Ok(log_n) if log_n <= MAX_SCRYPT_LOG_N => Ok(log_n),
        _ => Err(StanzaError::WorkFactor(log_n)),
    }
}
