//! The payload of an age file (C2SP age, "Payload"): a nonce, then chunks of 64 KiB under ChaCha20-Poly1305.
//!
//! Two ways to the same bytes: whole slices (no copy, on several threads where that pays) and streams over the caller's
//! readers and writers. Both give out only bytes whose chunk has been authenticated. Where the file key comes from is
//! the header's affair.

use std::io;
use std::num::NonZeroUsize;

use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce};
use rand_core::CryptoRng;

use super::header::FileKey;
use super::symmetric::{TAG_LEN, aead_key};
use crate::limits::MIN_PARALLEL_BYTES;

mod stream;

pub use stream::{Decryptor, Encryptor};

/// Length of the nonce before the first chunk.
pub const NONCE_LEN: usize = 16;

/// Plaintext bytes in every chunk but the last.
pub const CHUNK: usize = 64 * 1024;

const SEALED_CHUNK: usize = CHUNK + TAG_LEN;

/// A fresh payload nonce.
pub fn random_nonce<R: CryptoRng + ?Sized>(rng: &mut R) -> [u8; NONCE_LEN] {
    let mut nonce = [0; NONCE_LEN];
    rng.fill_bytes(&mut nonce);
    nonce
}

/// Bytes of nonce and chunks for a plaintext of `len` bytes.
pub const fn sealed_len(len: usize) -> usize {
    let chunks = match len {
        0 => 1,
        _ => len.div_ceil(CHUNK),
    };
    NONCE_LEN + len + TAG_LEN * chunks
}

/// Seals `plaintext` into `out`, on up to `threads` threads. A nonce is for one plaintext only.
///
/// # Panics
/// Where `out` is not [`sealed_len`] bytes long.
pub fn seal_into(
    file_key: &FileKey,
    nonce: [u8; NONCE_LEN],
    plaintext: &[u8],
    out: &mut [u8],
    threads: NonZeroUsize,
) {
    assert_eq!(
        out.len(),
        sealed_len(plaintext.len()),
        "length of the output"
    );
    let cipher = Cipher::new(file_key, &nonce);
    let (head, body) = out.split_at_mut(NONCE_LEN);
    head.copy_from_slice(&nonce);
    let pieces = pieces(plaintext.len(), threads);
    let last = body.len().div_ceil(SEALED_CHUNK) - 1;
    std::thread::scope(|scope| {
        let (mut plain, mut sealed) = (plaintext, body);
        for (first, count) in pieces {
            let (here, rest) = plain.split_at(plain.len().min(count * CHUNK));
            let (out, out_rest) = sealed.split_at_mut(sealed.len().min(count * SEALED_CHUNK));
            (plain, sealed) = (rest, out_rest);
            let cipher = &cipher;
            let mut work = move || cipher.seal_chunks(first, last, here, out);
            if sealed.is_empty() {
                work();
            } else {
                scope.spawn(work);
            }
        }
    });
}

/// Opens nonce and chunks, as they follow the header.
pub fn open(file_key: &FileKey, body: &[u8]) -> Result<Vec<u8>, PayloadError> {
    open_with_threads(file_key, body, NonZeroUsize::MIN)
}

/// As [`open`], on up to `threads` threads.
pub fn open_with_threads(
    file_key: &FileKey,
    body: &[u8],
    threads: NonZeroUsize,
) -> Result<Vec<u8>, PayloadError> {
    let len = opened_len(body).map_err(|tail| first_failure(file_key, body).unwrap_or(tail))?;
    let mut plaintext = vec![0; len];
    open_into(file_key, body, &mut plaintext, threads)?;
    Ok(plaintext)
}

/// Where a body whose end is malformed first goes wrong: a stream meets that before it meets the end.
fn first_failure(file_key: &FileKey, body: &[u8]) -> Option<PayloadError> {
    let copied = Decryptor::new(file_key, body)
        .and_then(|mut stream| io::copy(&mut stream, &mut io::sink()));
    copied.err()?.downcast().ok()
}

/// Length of the plaintext, if the body is authentic.
pub fn opened_len(body: &[u8]) -> Result<usize, PayloadError> {
    let len = body
        .len()
        .checked_sub(NONCE_LEN)
        .ok_or(PayloadError::NoNonce)?;
    match (len / SEALED_CHUNK, len % SEALED_CHUNK) {
        (0, 0) => Err(PayloadError::Truncated),
        (full, 0) => Ok(full * CHUNK),
        (full, rest) if rest < TAG_LEN => Err(PayloadError::NotAuthentic { chunk: full as u64 }),
        (full, TAG_LEN) if full > 0 => Err(PayloadError::EmptyLastChunk),
        (full, rest) => Ok(full * CHUNK + rest - TAG_LEN),
    }
}

/// As [`open_with_threads`], into a buffer of the caller. On an error what the buffer holds is unspecified, and must
/// not be used.
///
/// # Panics
/// Where `out` is not [`opened_len`] bytes long.
pub fn open_into(
    file_key: &FileKey,
    body: &[u8],
    out: &mut [u8],
    threads: NonZeroUsize,
) -> Result<(), PayloadError> {
    assert_eq!(out.len(), opened_len(body)?, "length of the output");
    let (nonce, body) = body.split_first_chunk().ok_or(PayloadError::NoNonce)?;
    let cipher = Cipher::new(file_key, nonce);
    let pieces = pieces(out.len(), threads);
    let last = body.len().div_ceil(SEALED_CHUNK) - 1;
    std::thread::scope(|scope| {
        let (mut plain, mut sealed) = (out, body);
        let mut elsewhere = Vec::new();
        let mut here = Ok(());
        for (first, count) in pieces {
            let (from, rest) = sealed.split_at(sealed.len().min(count * SEALED_CHUNK));
            let (to, to_rest) = plain.split_at_mut(plain.len().min(count * CHUNK));
            (plain, sealed) = (to_rest, rest);
            let cipher = &cipher;
            let mut work = move || cipher.open_chunks(first, last, from, to);
            if sealed.is_empty() {
                here = work();
            } else {
                elsewhere.push(scope.spawn(work));
            }
        }
        // In the order of the file, so that the first bad chunk is the one that is reported.
        for thread in elsewhere {
            thread.join().expect("opening a chunk does not panic")?;
        }
        here
    })
}

/// Why a payload was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// The file ends before the payload's nonce does.
    #[error("the file ends before the payload begins")]
    NoNonce,
    /// Every chunk that is there is right, but the last one is missing.
    #[error("the file is cut off: its last chunk is missing")]
    Truncated,
    /// The last chunk is right, but something follows it.
    #[error("bytes follow the last chunk")]
    Trailing,
    /// A last chunk without plaintext after others (C2SP age forbids it).
    #[error("the last chunk is empty")]
    EmptyLastChunk,
    /// A chunk that was altered, cut, or sealed under another key. Counted from 0.
    #[error("chunk {chunk} is damaged or cut")]
    NotAuthentic {
        /// Which chunk, from 0.
        chunk: u64,
    },
}

impl From<PayloadError> for io::Error {
    fn from(error: PayloadError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

/// The payload key, ready for use.
struct Cipher(LessSafeKey);

impl Cipher {
    fn new(file_key: &FileKey, nonce: &[u8; NONCE_LEN]) -> Self {
        Self(aead_key(&file_key.payload_key(nonce)))
    }

    /// Seals consecutive chunks, of which the first has number `first`; `last` is the number of the file's last one.
    fn seal_chunks(&self, first: usize, last: usize, mut plaintext: &[u8], sealed: &mut [u8]) {
        for (index, out) in sealed.chunks_mut(SEALED_CHUNK).enumerate() {
            let (plain, rest) = plaintext.split_at(out.len() - TAG_LEN);
            plaintext = rest;
            let (body, tag) = out.split_at_mut(plain.len());
            let number = first + index;
            let nonce = chunk_nonce(number as u64, number == last);
            self.0
                .seal_out_of_place_scatter(nonce, Aad::empty(), plain, body, &[], tag)
                .expect("a chunk is within the cipher's limit");
        }
    }

    fn open_chunks(
        &self,
        first: usize,
        last: usize,
        sealed: &[u8],
        mut out: &mut [u8],
    ) -> Result<(), PayloadError> {
        for (index, chunk) in sealed.chunks(SEALED_CHUNK).enumerate() {
            let (plain, rest) = out.split_at_mut(chunk.len() - TAG_LEN);
            out = rest;
            let number = first + index;
            self.open_chunk(number as u64, number == last, chunk, plain)?;
        }
        Ok(())
    }

    fn open_chunk(
        &self,
        number: u64,
        last: bool,
        sealed: &[u8],
        plain: &mut [u8],
    ) -> Result<(), PayloadError> {
        let (body, tag) = sealed.split_at(plain.len());
        let mut fits = |last| {
            self.0
                .open_separate_gather(chunk_nonce(number, last), Aad::empty(), body, tag, plain)
                .is_ok()
        };
        if fits(last) {
            return Ok(());
        }
        // Only the way it fails is still open: a full chunk that fits with the other flag stands at the wrong end.
        let misplaced = sealed.len() == SEALED_CHUNK && fits(!last);
        Err(match (misplaced, last) {
            (true, true) => PayloadError::Truncated,
            (true, false) => PayloadError::Trailing,
            (false, _) => PayloadError::NotAuthentic { chunk: number },
        })
    }
}

/// Eleven bytes of counter, one that marks the last chunk.
fn chunk_nonce(number: u64, last: bool) -> Nonce {
    let mut nonce = [0; 12];
    nonce[3..11].copy_from_slice(&number.to_be_bytes());
    nonce[11] = u8::from(last);
    Nonce::assume_unique_for_key(nonce)
}

/// (first chunk, count) of each thread's share of a plaintext; at least one, the last one not empty.
fn pieces(len: usize, threads: NonZeroUsize) -> impl Iterator<Item = (usize, usize)> {
    let chunks = len.div_ceil(CHUNK).max(1);
    let shares = if len < MIN_PARALLEL_BYTES {
        1
    } else {
        threads.get().min(chunks)
    };
    let share = chunks.div_ceil(shares);
    (0..chunks).step_by(share).map(move |first| (first, share))
}
