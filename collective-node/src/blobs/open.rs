//! A blob that is read in parts.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use collective::id::BlobId;
use futures_util::{Stream, stream};
use object_store::{Error, GetOptions, GetRange, GetResult, ObjectStore};

use super::store::{Store, name};
use super::{BlobError, BlobHasher};

/// Bytes of a large file that are in memory at a time.
pub const PIECE_BYTES: usize = 256 * 1024;

/// The same of one in a bucket, where each piece is a request: some ten milliseconds, and a thousand of them for a GiB.
const OBJECT_PIECE_BYTES: usize = 1024 * 1024;

/// Bytes of one in a bucket that come with the answer to whether it is there: most contributions are not longer, and an audit makes
/// one request for each of them.
const HEAD_BYTES: u64 = 64 * 1024;

/// A blob that is read in parts.
#[derive(Clone)]
pub struct OpenBlob {
    id: BlobId,
    source: Source,
    length: u64,
}

#[derive(Clone)]
enum Source {
    File(Arc<File>),
    /// With its first bytes.
    Object(Store, Bytes),
}

impl OpenBlob {
    pub(super) async fn file(path: PathBuf, id: BlobId) -> Result<Self, BlobError> {
        let open = move || {
            let file = File::open(path)?;
            let length = file.metadata()?.len();
            io::Result::Ok((file, length))
        };
        let opened = tokio::task::spawn_blocking(open).await;
        match opened.map_err(io::Error::other).flatten() {
            Ok((file, length)) => Ok(Self {
                id,
                source: Source::File(Arc::new(file)),
                length,
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(BlobError::Missing(id)),
            Err(error) => Err(BlobError::disk(error)),
        }
    }

    pub(super) async fn object(store: Store, id: BlobId) -> Result<Self, BlobError> {
        let name = name(id);
        let key = store.key(&name);
        let given = store.objects.get_opts(&key, part(0..HEAD_BYTES));
        let (length, head) = match given.await {
            Ok(given) => {
                let length = given.meta.size;
                let expected = length.min(HEAD_BYTES);
                (length, whole(&store, given, expected).await?)
            }
            Err(error @ Error::NotFound { .. }) => {
                return Err(store.missing(&name, id, error).await);
            }
            // Of nothing there is no part (RFC 9110 §14.1.2).
            Err(error) => match store.find(id).await? {
                0 => (0, Bytes::new()),
                _ => return Err(store.failed(error)),
            },
        };
        let source = Source::Object(store, head);
        Ok(Self { id, source, length })
    }

    /// Its bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The bytes of a range, as far as there are any. They are not checked: a part has no name.
    ///
    /// # Errors
    /// [`BlobError::Store`]; of one in a bucket each of [`BlobError`].
    pub async fn read(&self, range: Range<u64>) -> Result<Bytes, BlobError> {
        let range = range.start..range.end.min(self.length);
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        match &self.source {
            Source::File(file) => read_file(file.clone(), range).await,
            Source::Object(_, head) if range.end <= head.len() as u64 => {
                Ok(head.slice(range.start as usize..range.end as usize))
            }
            Source::Object(store, _) => self.read_object(store, range).await,
        }
    }

    async fn read_object(&self, store: &Store, range: Range<u64>) -> Result<Bytes, BlobError> {
        let (name, expected) = (name(self.id), range.end - range.start);
        let key = store.key(&name);
        match store.objects.get_opts(&key, part(range)).await {
            Ok(given) if given.meta.size != self.length => Err(BlobError::Garbled(self.id)),
            Ok(given) => whole(store, given, expected).await,
            Err(error) => Err(store.missing(&name, self.id, error).await),
        }
    }

    /// The bytes of a range, piece by piece. Where that is all of them the last piece comes only once all are known to be right.
    pub fn pieces(self, range: Range<u64>) -> impl Stream<Item = Result<Bytes, BlobError>> {
        let is_whole = range == (0..self.length);
        let hasher = is_whole.then(BlobHasher::default);
        let piece_bytes = match self.source {
            Source::File(_) => PIECE_BYTES,
            Source::Object(..) => OBJECT_PIECE_BYTES,
        };
        stream::try_unfold(
            (self, range, hasher),
            move |(blob, range, mut hasher)| async move {
                if range.is_empty() {
                    return Ok(None);
                }
                let end = range.end.min(range.start + piece_bytes as u64);
                let piece = blob.read(range.start..end).await?;
                let (id, rest) = (blob.id, end..range.end);
                if piece.len() as u64 != end - range.start {
                    return Err(BlobError::Garbled(id));
                }
                if let Some(hasher) = &mut hasher {
                    hasher.update(&piece);
                }
                let is_last = rest.is_empty();
                if let Some(hasher) = hasher.take_if(|_| is_last)
                    && hasher.finish() != id
                {
                    return Err(BlobError::Garbled(id));
                }
                Ok(Some((piece, (blob, rest, hasher))))
            },
        )
    }
}

fn part(range: Range<u64>) -> GetOptions {
    GetOptions {
        range: Some(GetRange::Bounded(range)),
        ..GetOptions::default()
    }
}

/// All bytes of an answer, which are to be so many.
async fn whole(store: &Store, given: GetResult, expected: u64) -> Result<Bytes, BlobError> {
    let bytes = given.bytes().await.map_err(|error| store.failed(error))?;
    match bytes.len() as u64 == expected {
        true => Ok(bytes),
        false => Err(store.cut_off()),
    }
}

/// As many bytes as there are of a range.
pub(super) async fn read_file(file: Arc<File>, range: Range<u64>) -> Result<Bytes, BlobError> {
    let read = move || {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        let read = read_at(&file, &mut bytes, range.start)?;
        bytes.truncate(read);
        io::Result::Ok(bytes.into())
    };
    let read = tokio::task::spawn_blocking(read).await;
    read.map_err(io::Error::other)
        .flatten()
        .map_err(BlobError::disk)
}

/// Reads until the buffer is full or the file ends.
fn read_at(file: &File, mut into: &mut [u8], mut at: u64) -> io::Result<usize> {
    let wanted = into.len();
    while !into.is_empty() {
        match file.read_at(into, at) {
            Ok(0) => break,
            Ok(read) => {
                into = &mut into[read..];
                at += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(wanted - into.len())
}
