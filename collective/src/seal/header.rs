//! The textual header of an age file (C2SP age, "Header"): version line, stanzas, MAC. Owns the file key.
//!
//! The format has one encoding for each header, and the parser accepts only that: what it returns is the bytes it read,
//! so a header can be hashed, committed to and compared. It must not know any recipient type beyond scrypt's rule to be
//! alone.

use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD as BASE64;
use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::symmetric::{Secret32, aead_open, aead_seal, hkdf, hmac_sha256, sha256};
use crate::limits::{MAX_HEADER_BYTES, MAX_STANZAS};

/// Length of the key that a header wraps.
pub const FILE_KEY_LEN: usize = 16;

/// Length of a file key sealed with ChaCha20-Poly1305; the body of every stanza that is read here.
pub const WRAPPED_KEY_LEN: usize = FILE_KEY_LEN + 16;

const VERSION_LINE: &[u8] = b"age-encryption.org/v1\n";
const VERSION_PREFIX: &[u8] = b"age-encryption.org/";
const ARMOR_PREFIX: &[u8] = b"-----BEGIN AGE ENCRYPTED FILE-----";
const STANZA_PREFIX: &[u8] = b"-> ";
const MAC_MARK: &[u8] = b"---";
const SCRYPT: &str = "scrypt";
const COLUMNS: usize = 64;

/// A header that has been read or written: its stanzas, its MAC and its exact bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    stanzas: Vec<Stanza>,
    mac: [u8; 32],
    encoded: Vec<u8>,
}

impl Header {
    /// Reads the header at the start of `file` and returns what follows it (nonce and payload). Nothing is
    /// authenticated yet: [`Header::verify_mac`] does that once a stanza has given the file key.
    pub fn parse(file: &[u8]) -> Result<(Self, &[u8]), HeaderError> {
        let mut lines = Lines {
            rest: file,
            read: 0,
        };
        lines.version()?;
        let mut stanzas = Vec::new();
        let mac = loop {
            let line = lines.next()?;
            if let Some(arguments) = line.strip_prefix(STANZA_PREFIX) {
                if stanzas.len() == MAX_STANZAS {
                    return Err(HeaderError::TooManyStanzas);
                }
                stanzas.push(lines.stanza(arguments)?);
            } else {
                break parse_mac_line(line)?;
            }
        };
        check_stanzas(&stanzas)?;
        let encoded = file[..lines.read].to_vec();
        Ok((
            Self {
                stanzas,
                mac,
                encoded,
            },
            lines.rest,
        ))
    }

    /// Writes a header with these stanzas in this order.
    pub fn new(stanzas: Vec<Stanza>, file_key: &FileKey) -> Result<Self, HeaderError> {
        if stanzas.len() > MAX_STANZAS {
            return Err(HeaderError::TooManyStanzas);
        }
        check_stanzas(&stanzas)?;
        let mut encoded = VERSION_LINE.to_vec();
        for stanza in &stanzas {
            stanza.encode(&mut encoded);
        }
        encoded.extend_from_slice(MAC_MARK);
        let mac = *hmac_sha256(file_key.header_key().as_slice(), &encoded);
        encoded.push(b' ');
        encoded.extend_from_slice(BASE64.encode(mac).as_bytes());
        encoded.push(b'\n');
        if encoded.len() > MAX_HEADER_BYTES {
            return Err(HeaderError::TooLong);
        }
        Ok(Self {
            stanzas,
            mac,
            encoded,
        })
    }

    /// Checks in constant time that nobody without the file key has altered the header.
    pub fn verify_mac(&self, file_key: &FileKey) -> Result<(), MacError> {
        // "--- " is followed by 43 characters and a line feed; the MAC covers everything up to the third dash.
        let covered = &self.encoded[..self.encoded.len() - 45];
        let expected = hmac_sha256(file_key.header_key().as_slice(), covered);
        if bool::from(expected.ct_eq(&self.mac)) {
            Ok(())
        } else {
            Err(MacError)
        }
    }

    /// The stanzas in the order of the file; of any type, known here or not.
    pub fn stanzas(&self) -> &[Stanza] {
        &self.stanzas
    }

    /// The header as it stands in the file, from the version line to the line feed after the MAC.
    pub fn as_bytes(&self) -> &[u8] {
        &self.encoded
    }

    /// SHA-256 of [`Header::as_bytes`]: the name by which a commitment knows the header.
    pub fn sha256(&self) -> [u8; 32] {
        sha256(&[&self.encoded])
    }
}

/// One recipient stanza: arguments (the first names the type) and body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stanza {
    arguments: Vec<String>,
    body: Vec<u8>,
}

impl Stanza {
    /// `arguments` are one or more words of printable ASCII.
    pub fn new(arguments: Vec<String>, body: Vec<u8>) -> Result<Self, HeaderError> {
        if arguments.is_empty() || !arguments.iter().all(|word| is_argument(word.as_bytes())) {
            return Err(HeaderError::Stanza);
        }
        Ok(Self { arguments, body })
    }

    /// The first argument.
    pub fn kind(&self) -> &str {
        &self.arguments[0]
    }

    /// The arguments after the first.
    pub fn arguments(&self) -> &[String] {
        &self.arguments[1..]
    }

    /// The decoded body.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The stanza's one encoding, as it stands in a header.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }

    /// The type's argument at `index` (0 is the first after the type) as exactly `N` bytes of canonical base64.
    pub(crate) fn binary_argument<const N: usize>(&self, index: usize) -> Option<[u8; N]> {
        BASE64
            .decode(self.arguments().get(index)?)
            .ok()?
            .try_into()
            .ok()
    }

    /// The body as a wrapped file key.
    pub(crate) fn wrapped_key(&self) -> Option<[u8; WRAPPED_KEY_LEN]> {
        self.body.as_slice().try_into().ok()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"-> ");
        out.extend_from_slice(self.arguments.join(" ").as_bytes());
        out.push(b'\n');
        let body = BASE64.encode(&self.body);
        let mut lines = body.as_bytes().chunks_exact(COLUMNS);
        for line in &mut lines {
            out.extend_from_slice(line);
            out.push(b'\n');
        }
        out.extend_from_slice(lines.remainder());
        out.push(b'\n');
    }
}

/// Canonical unpadded base64, as arguments of a stanza carry bytes.
pub(crate) fn base64_argument(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

/// The 128-bit key that a header wraps and a payload is sealed under.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct FileKey([u8; FILE_KEY_LEN]);

impl FileKey {
    /// A new key. One key is for one file.
    pub fn random<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut key = Self([0; FILE_KEY_LEN]);
        rng.fill_bytes(&mut key.0);
        key
    }

    /// A key made elsewhere, for instance by the age client that runs a recipient plugin.
    pub fn from_bytes(bytes: [u8; FILE_KEY_LEN]) -> Self {
        Self(bytes)
    }

    /// The secret bytes, for a client that continues with them. They must not be kept or printed.
    pub fn expose(&self) -> &[u8; FILE_KEY_LEN] {
        &self.0
    }

    /// Key of the payload with this nonce (C2SP age, "Payload").
    pub(crate) fn payload_key(&self, nonce: &[u8; 16]) -> Secret32 {
        hkdf(nonce, &self.0, b"payload")
    }

    fn header_key(&self) -> Secret32 {
        hkdf(b"", &self.0, b"header")
    }

    /// Seals the file key under a key that is used for nothing else, so the nonce is zero.
    pub(crate) fn seal_under(&self, key: &Secret32) -> Vec<u8> {
        aead_seal(key, [0; 12], b"", &self.0)
    }

    /// `None` where `key` is not the one it was sealed under.
    pub(crate) fn open_under(key: &Secret32, wrapped: &[u8; WRAPPED_KEY_LEN]) -> Option<Self> {
        Self::from_slice(&aead_open(key, [0; 12], b"", wrapped)?)
    }

    /// `None` where the length is wrong.
    pub(crate) fn from_slice(bytes: &[u8]) -> Option<Self> {
        let bytes = Zeroizing::new(<[u8; FILE_KEY_LEN]>::try_from(bytes).ok()?);
        Some(Self(*bytes))
    }
}

/// Why a header was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The file is ASCII-armored.
    #[error("the file is ASCII-armored; send the binary form")]
    Armored,
    /// The file does not begin as an age file.
    #[error("not an age file")]
    NotAge,
    /// An age file of another version than v1.
    #[error("unknown version of the age format")]
    Version,
    /// The file ends before the header does.
    #[error("the file ends inside the header")]
    Cut,
    /// Longer than [`MAX_HEADER_BYTES`].
    #[error("header is longer than {MAX_HEADER_BYTES} bytes")]
    TooLong,
    /// More stanzas than [`MAX_STANZAS`].
    #[error("header has more than {MAX_STANZAS} stanzas")]
    TooManyStanzas,
    /// No stanza at all.
    #[error("header has no stanza")]
    NoStanza,
    /// A stanza's arguments or body are not in the one accepted encoding.
    #[error("malformed stanza")]
    Stanza,
    /// A passphrase stanza beside another one.
    #[error("a passphrase stanza must be alone")]
    ScryptNotAlone,
    /// A line that is neither a stanza nor the MAC line, or a MAC that is not canonical base64.
    #[error("malformed MAC line")]
    MacLine,
}

/// Why a stanza of a known type was refused. The file is malformed, whoever it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StanzaError {
    /// Number or length of arguments, or length of the body, do not fit the type.
    #[error("wrong arguments or body for its type")]
    Shape,
    /// The ephemeral key is no valid point, or has low order.
    #[error("invalid ephemeral key")]
    Point,
    /// The scrypt work factor is above [`crate::limits::MAX_SCRYPT_LOG_N`].
    #[error("scrypt work factor {0} is too high")]
    WorkFactor(u32),
    /// A hybrid stanza was to be opened without its ML-KEM secret.
    #[error("the ML-KEM secret of this stanza is missing")]
    MlKemMissing,
    /// The stanza is addressed to this key, and does not open with it.
    #[error("addressed to this key and does not open with it")]
    NotAuthentic,
}

/// The header's MAC does not fit the file key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the header was altered: its MAC does not fit")]
pub struct MacError;

/// The unread part of a file, taken line by line, and how many bytes were taken.
struct Lines<'a> {
    rest: &'a [u8],
    read: usize,
}

impl<'a> Lines<'a> {
    /// The next line without its line feed. A line feed must come within the limit of the header.
    fn next(&mut self) -> Result<&'a [u8], HeaderError> {
        let room = MAX_HEADER_BYTES - self.read;
        let seen = &self.rest[..self.rest.len().min(room)];
        let Some(end) = seen.iter().position(|&byte| byte == b'\n') else {
            let cut = self.rest.len() < room;
            return Err(if cut {
                HeaderError::Cut
            } else {
                HeaderError::TooLong
            });
        };
        self.rest = &self.rest[end + 1..];
        self.read += end + 1;
        Ok(&seen[..end])
    }

    fn version(&mut self) -> Result<(), HeaderError> {
        if self.rest.starts_with(ARMOR_PREFIX) {
            return Err(HeaderError::Armored);
        }
        if self.rest.is_empty() || VERSION_PREFIX.starts_with(self.rest) {
            return Err(HeaderError::Cut);
        }
        if !self.rest.starts_with(VERSION_PREFIX) {
            return Err(HeaderError::NotAge);
        }
        if self.next()? != &VERSION_LINE[..VERSION_LINE.len() - 1] {
            return Err(HeaderError::Version);
        }
        Ok(())
    }

    /// The body lines that follow an argument line: full ones, then one that is shorter and may be empty.
    fn stanza(&mut self, arguments: &[u8]) -> Result<Stanza, HeaderError> {
        let words: Vec<&[u8]> = arguments.split(|&byte| byte == b' ').collect();
        if !words.iter().all(|word| is_argument(word)) {
            return Err(HeaderError::Stanza);
        }
        let arguments = words
            .into_iter()
            .map(|word| String::from_utf8(word.to_vec()).expect("printable ASCII is UTF-8"))
            .collect();
        let mut encoded = Vec::new();
        loop {
            let line = self.next()?;
            if line.len() > COLUMNS {
                return Err(HeaderError::Stanza);
            }
            encoded.extend_from_slice(line);
            if line.len() < COLUMNS {
                break;
            }
        }
        let body = BASE64.decode(&encoded).map_err(|_| HeaderError::Stanza)?;
        Ok(Stanza { arguments, body })
    }
}

fn parse_mac_line(line: &[u8]) -> Result<[u8; 32], HeaderError> {
    let encoded = line.strip_prefix(b"--- ").ok_or(HeaderError::MacLine)?;
    let mac = BASE64.decode(encoded).map_err(|_| HeaderError::MacLine)?;
    mac.try_into().map_err(|_| HeaderError::MacLine)
}

fn check_stanzas(stanzas: &[Stanza]) -> Result<(), HeaderError> {
    if stanzas.is_empty() {
        return Err(HeaderError::NoStanza);
    }
    if stanzas.len() > 1 && stanzas.iter().any(|stanza| stanza.kind() == SCRYPT) {
        return Err(HeaderError::ScryptNotAlone);
    }
    Ok(())
}

/// VCHAR of RFC 5234, at least one.
fn is_argument(word: &[u8]) -> bool {
    !word.is_empty() && word.iter().all(u8::is_ascii_graphic)
}
