//! What is sent to a bucket, part by part.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use collective::id::BlobId;
use object_store::PutPayload;

use super::open::{PIECE_BYTES, read_file};
use super::{BlobError, BlobHasher};

/// Where the bytes come from.
pub(super) enum Source {
    /// Memory.
    Bytes(Bytes),
    /// A file of this machine, of which only some parts are in memory.
    File {
        file: Arc<File>,
        /// Its name, by whoever wrote it.
        id: BlobId,
        /// Of what was read so far.
        hasher: BlobHasher,
    },
}

impl Source {
    pub fn file(path: &Path, id: BlobId) -> io::Result<Self> {
        Ok(Self::File {
            file: Arc::new(File::open(path)?),
            id,
            hasher: BlobHasher::default(),
        })
    }

    pub fn length(&self) -> io::Result<u64> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.len() as u64),
            Self::File { file, .. } => Ok(file.metadata()?.len()),
        }
    }

    /// The bytes of a range; of a file it is the one that follows the last.
    pub async fn part(&mut self, range: Range<u64>) -> Result<PutPayload, BlobError> {
        match self {
            Self::Bytes(bytes) => {
                let part = bytes.slice(range.start as usize..range.end as usize);
                Ok(PutPayload::from_bytes(part))
            }
            Self::File { file, hasher, .. } => read_part(file, range, hasher).await,
        }
    }

    /// Whether all parts of a file came to its name.
    ///
    /// # Errors
    /// [`BlobError::Store`]: nobody is to take what was read for what was written.
    pub fn check(self) -> Result<(), BlobError> {
        let words = "the disk gave other bytes than it was given";
        match self {
            Self::File { id, hasher, .. } if hasher.clone().finish() != id => {
                Err(BlobError::disk(io::Error::other(words)))
            }
            _ => Ok(()),
        }
    }
}

/// In pieces, which the heap takes back and gives again; parts as such would come to several times what is on its way.
async fn read_part(
    file: &Arc<File>,
    range: Range<u64>,
    hasher: &mut BlobHasher,
) -> Result<PutPayload, BlobError> {
    let mut pieces = vec![];
    for start in range.clone().step_by(PIECE_BYTES) {
        let piece = start..range.end.min(start + PIECE_BYTES as u64);
        let piece = read_file(file.clone(), piece).await?;
        hasher.update(&piece);
        pieces.push(piece);
    }
    Ok(pieces.into_iter().collect())
}
