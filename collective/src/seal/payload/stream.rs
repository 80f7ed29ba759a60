//! Payloads that are longer than memory: an encrypting writer and a decrypting reader over the caller's own.

use std::io::{self, Read, Write};

use aws_lc_rs::aead::Aad;
use zeroize::Zeroizing;

use super::{CHUNK, Cipher, NONCE_LEN, PayloadError, SEALED_CHUNK, chunk_nonce};
use crate::seal::header::FileKey;
use crate::seal::symmetric::TAG_LEN;

/// Seals what is written to it and passes it on, 64 KiB at a time. Without [`Encryptor::finish`] the last chunk is
/// missing, and whoever opens the payload is told that it is truncated.
pub struct Encryptor<W: Write> {
    output: W,
    cipher: Cipher,
    chunk: u64,
    buffer: Zeroizing<Vec<u8>>,
}

impl<W: Write> Encryptor<W> {
    /// Writes the nonce. A nonce is for one plaintext only.
    pub fn new(file_key: &FileKey, nonce: [u8; NONCE_LEN], mut output: W) -> io::Result<Self> {
        output.write_all(&nonce)?;
        Ok(Self {
            output,
            cipher: Cipher::new(file_key, &nonce),
            chunk: 0,
            buffer: Zeroizing::new(Vec::with_capacity(SEALED_CHUNK)),
        })
    }

    /// Writes the last chunk, flushes, and gives the writer back.
    pub fn finish(mut self) -> io::Result<W> {
        self.emit(true)?;
        self.output.flush()?;
        Ok(self.output)
    }

    fn emit(&mut self, last: bool) -> io::Result<()> {
        let nonce = chunk_nonce(self.chunk, last);
        self.cipher
            .0
            .seal_in_place_append_tag(nonce, Aad::empty(), &mut *self.buffer)
            .expect("a chunk is within the cipher's limit");
        self.chunk += 1;
        self.output.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

impl<W: Write> Write for Encryptor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A full chunk waits until it is known not to be the last.
        if self.buffer.len() == CHUNK && !bytes.is_empty() {
            self.emit(false)?;
        }
        let taken = bytes.len().min(CHUNK - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    /// Passes on what is sealed; the current chunk stays back until it is full.
    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// Opens what it reads, chunk by chunk. A reader of it must go on to the end: only there is it known that nothing was
/// cut off. Failures are [`io::ErrorKind::InvalidData`] with a [`PayloadError`] inside, and stay.
pub struct Decryptor<R: Read> {
    input: R,
    cipher: Cipher,
    chunk: u64,
    /// Sealed bytes read ahead: one more than a chunk, so that the last one is known to be the last.
    sealed: Vec<u8>,
    plain: Zeroizing<Vec<u8>>,
    given: usize,
    state: State,
}

#[derive(Clone, Copy)]
enum State {
    Reading,
    Done,
    Failed(PayloadError),
}

impl<R: Read> Decryptor<R> {
    /// Reads the nonce.
    pub fn new(file_key: &FileKey, mut input: R) -> io::Result<Self> {
        let mut nonce = [0; NONCE_LEN];
        input
            .read_exact(&mut nonce)
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => PayloadError::NoNonce.into(),
                _ => error,
            })?;
        Ok(Self {
            input,
            cipher: Cipher::new(file_key, &nonce),
            chunk: 0,
            sealed: Vec::with_capacity(SEALED_CHUNK + 1),
            plain: Zeroizing::new(Vec::with_capacity(CHUNK)),
            given: 0,
            state: State::Reading,
        })
    }

    fn next_chunk(&mut self) -> io::Result<()> {
        let wanted = (SEALED_CHUNK + 1 - self.sealed.len()) as u64;
        (&mut self.input)
            .take(wanted)
            .read_to_end(&mut self.sealed)?;
        let last = self.sealed.len() <= SEALED_CHUNK;
        let len = self.sealed.len().min(SEALED_CHUNK);
        self.plain.clear();
        self.given = 0;
        if let Err(error) = self.open_chunk(len, last) {
            self.state = State::Failed(error);
            // A good chunk at the wrong end is given out before the error; it is authentic.
            if matches!(error, PayloadError::Trailing | PayloadError::Truncated) {
                return Ok(());
            }
            self.plain.clear();
            return Err(error.into());
        }
        self.sealed.drain(..len);
        self.chunk += 1;
        if last {
            self.state = State::Done;
        }
        Ok(())
    }

    fn open_chunk(&mut self, len: usize, last: bool) -> Result<(), PayloadError> {
        match len {
            0 => return Err(PayloadError::Truncated),
            TAG_LEN if self.chunk > 0 => return Err(PayloadError::EmptyLastChunk),
            _ if len < TAG_LEN => return Err(PayloadError::NotAuthentic { chunk: self.chunk }),
            _ => self.plain.resize(len - TAG_LEN, 0),
        }
        self.cipher
            .open_chunk(self.chunk, last, &self.sealed[..len], &mut self.plain)
    }
}

impl<R: Read> Read for Decryptor<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.given == self.plain.len() && !out.is_empty() {
            match self.state {
                State::Reading => self.next_chunk()?,
                State::Done => return Ok(0),
                State::Failed(error) => return Err(error.into()),
            }
        }
        let count = out.len().min(self.plain.len() - self.given);
        out[..count].copy_from_slice(&self.plain[self.given..self.given + count]);
        self.given += count;
        Ok(count)
    }
}
