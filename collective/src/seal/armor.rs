//! ASCII armor (C2SP age, "ASCII armor"): the strict PEM form of RFC 7468 §3, read only.
//!
//! Clients turn an armored file into the binary one before anything else happens to it: armor is malleable, and only
//! binary files are hashed and stored.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

const BEGIN: &[u8] = b"-----BEGIN AGE ENCRYPTED FILE-----";
const END: &[u8] = b"-----END AGE ENCRYPTED FILE-----";
const COLUMNS: usize = 64;

/// Whether `file` looks armored: the marker after optional white space.
pub fn is_armored(file: &[u8]) -> bool {
    file.trim_ascii_start().starts_with(BEGIN)
}

/// The binary file inside. White space before and after the block is accepted, and lines may end in LF or CRLF.
pub fn decode(file: &[u8]) -> Result<Vec<u8>, ArmorError> {
    let mut lines = file
        .trim_ascii()
        .split(|&byte| byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    if lines.next() != Some(BEGIN) {
        return Err(ArmorError::Begin);
    }
    let mut encoded = Vec::with_capacity(file.len());
    let mut open = true;
    for line in &mut lines {
        if line == END {
            return match lines.next() {
                None => BASE64_STANDARD
                    .decode(&encoded)
                    .map_err(|_| ArmorError::Base64),
                Some(_) => Err(ArmorError::End),
            };
        }
        // Only the last line may be shorter, and none is empty.
        if !open || line.is_empty() || line.len() > COLUMNS {
            return Err(ArmorError::Line);
        }
        open = line.len() == COLUMNS;
        encoded.extend_from_slice(line);
    }
    Err(ArmorError::End)
}

/// Why armor was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArmorError {
    /// The first line is not the begin marker.
    #[error("armor does not begin with its marker")]
    Begin,
    /// The end marker is missing, or something follows it.
    #[error("armor does not end with its marker")]
    End,
    /// A line is empty, too long, or short before the end.
    #[error("armor has a line of the wrong length")]
    Line,
    /// The lines are no canonical padded base64.
    #[error("armor is not canonical base64")]
    Base64,
}
