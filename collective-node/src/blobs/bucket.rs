//! A bucket of blobs, whose keeper is not trusted: what it gives is checked, and that it has nothing is believed only where it has
//! the mark that this node left there.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use collective::id::{BlobId, NodeId};
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use object_store::multipart::MultipartStore;
use object_store::path::Path as Key;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutPayload};

use super::open::{PIECE_BYTES, read_file};
use super::{BlobError, BlobHasher, remove_file};
use crate::intake::MAX_PAYLOAD_BYTES;

/// The mark in the bucket: no name of a blob.
pub(super) const MARK: &str = "owner";

/// The file in this machine's folder that says that the blobs are in a bucket, which was marked.
pub(super) const MEMO: &str = "bucket";

/// The folder of notes about uploads to the bucket that may be under way: names of blobs, and the bucket's names for the uploads.
const NOTES: &str = "parts";

/// Bytes of a part of a large file. Services take none but the last below 5 MiB, some only parts of one length, and 10,000 in all: of
/// the largest file there are a hundred and some.
const PART_BYTES: u64 = 8 << 20;
const _: () = assert!(MAX_PAYLOAD_BYTES / PART_BYTES < 9_999);

/// Parts on their way at a time, and in memory.
const PARTS_ON_THEIR_WAY: usize = 2;

/// How long an answer about health holds: whoever asks more often costs the operator nothing.
const WORKS_FOR: Duration = Duration::from_secs(10);

/// A service that keeps objects, and takes large ones in parts.
#[derive(Clone)]
pub struct Service {
    pub(super) objects: Arc<dyn ObjectStore>,
    parts: Arc<dyn MultipartStore>,
    prefix: Key,
}

impl Service {
    /// The objects of `service` whose names begin with `prefix`, a path that may be empty.
    pub fn new(service: Arc<impl ObjectStore + MultipartStore>, prefix: &str) -> Self {
        Self {
            objects: service.clone(),
            parts: service,
            prefix: Key::from(prefix),
        }
    }

    /// All that is in the service.
    pub fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.objects
    }
}

pub(super) struct Bucket {
    service: Service,
    mark: Bytes,
    worked: Mutex<Option<Instant>>,
}

impl Bucket {
    /// Marks the bucket as this node's, or finds that it is.
    pub async fn claim(service: Service, path: &Path, owner: NodeId) -> Result<Self, BlobError> {
        let bucket = Self {
            service,
            mark: format!("blobs of node {owner}\n").into(),
            worked: Mutex::default(),
        };
        let (key, memo) = (bucket.key(MARK), path.join(MEMO));
        match bucket.mark().await {
            Ok(()) => {}
            Err(Error::NotFound { .. }) if memo.exists() => {
                return Err(BlobError::Elsewhere(format!(
                    "this bucket lacks the mark that goes with {}: are bucket and prefix right?",
                    memo.display()
                )));
            }
            Err(Error::NotFound { .. }) => {
                let marked = bucket.service.objects.put(&key, bucket.mark.clone().into());
                marked.await.map_err(|error| failed(&error))?;
                bucket.mark().await.map_err(|error| failed(&error))?;
            }
            Err(Error::AlreadyExists { .. }) => {
                return Err(BlobError::Elsewhere(
                    "this bucket has another node's: give this node a prefix of its own".into(),
                ));
            }
            Err(error) => return Err(failed(&error)),
        }
        let write = || {
            std::fs::write(&memo, &bucket.mark)?;
            File::open(&memo)?.sync_all()?;
            File::open(path)?.sync_all()
        };
        write().map_err(BlobError::disk)?;
        Ok(bucket)
    }

    /// Whether the mark is there; `AlreadyExists` where it is another one.
    async fn mark(&self) -> Result<(), Error> {
        let key = self.key(MARK);
        match self.service.objects.get(&key).await?.bytes().await? == self.mark {
            true => Ok(()),
            false => Err(Error::AlreadyExists {
                path: key.to_string(),
                source: "another node's mark".into(),
            }),
        }
    }

    pub fn prefix(&self) -> &Key {
        &self.service.prefix
    }

    pub fn key(&self, name: &str) -> Key {
        Key::from(format!("{}/{name}", self.service.prefix))
    }

    /// Nothing is there, says the bucket: it is the right one, and says so again. A 404 also comes from a bucket that was deleted, a
    /// proxy on the way, or a service that is half awake.
    pub async fn lacks(&self, key: &Key) -> Result<(), BlobError> {
        match self.mark().await {
            Ok(()) => {}
            Err(Error::NotFound { .. } | Error::AlreadyExists { .. }) => {
                let words = "it lacks the mark that this node left there, and may be another one";
                return Err(BlobError::Bucket(words.into()));
            }
            Err(error) => return Err(failed(&error)),
        }
        match self.service.objects.head(key).await {
            Err(Error::NotFound { .. }) => Ok(()),
            Ok(_) => Err(BlobError::Bucket("it contradicts itself".into())),
            Err(error) => Err(failed(&error)),
        }
    }

    pub fn works(&self) {
        *self.worked.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    pub fn worked_lately(&self) -> bool {
        let worked = *self.worked.lock().unwrap_or_else(PoisonError::into_inner);
        worked.is_some_and(|then| then.elapsed() < WORKS_FOR)
    }

    /// Sends a file of this machine, of which only some parts are in memory.
    pub async fn adopt(
        &self,
        file: &Path,
        name: &str,
        id: BlobId,
        path: &Path,
    ) -> Result<(), BlobError> {
        let key = self.key(name);
        let file = Arc::new(File::open(file).map_err(BlobError::disk)?);
        let length = file.metadata().map_err(BlobError::disk)?.len();
        if length <= PART_BYTES {
            let mut hasher = BlobHasher::default();
            let bytes = read_part(&file, 0..length, &mut hasher).await?;
            is_same(hasher.finish(), id)?;
            let put = self.service.objects.put(&key, bytes).await;
            return put.map(drop).map_err(|error| failed(&error));
        }
        let parts = &self.service.parts;
        let upload = parts.create_multipart(&key).await;
        let upload = upload.map_err(|error| failed(&error))?;
        let note = path.join(NOTES).join(alloy::hex::encode(id.0));
        let noted = std::fs::create_dir_all(path.join(NOTES))
            .and_then(|()| std::fs::write(&note, format!("{key}\n{upload}")));
        let sent = match noted {
            Ok(()) => self.send(file, length, &key, &upload, id).await,
            Err(error) => Err(BlobError::disk(error)),
        };
        // What was sent of a file that did not get there would be kept, and paid for, for good.
        let is_over = sent.is_ok() || self.abort(&key, &upload).await;
        if is_over && let Err(error) = remove_file(&note) {
            tracing::warn!(%error, "a note of an upload to the bucket stays");
        }
        sent
    }

    async fn send(
        &self,
        file: Arc<File>,
        length: u64,
        key: &Key,
        upload: &String,
        id: BlobId,
    ) -> Result<(), BlobError> {
        let parts = &self.service.parts;
        let mut hasher = BlobHasher::default();
        let mut on_their_way = FuturesOrdered::new();
        let mut there = vec![];
        for index in 0..length.div_ceil(PART_BYTES) {
            let start = index * PART_BYTES;
            let range = start..length.min(start + PART_BYTES);
            let bytes = read_part(&file, range, &mut hasher).await?;
            on_their_way.push_back(parts.put_part(key, upload, index as usize, bytes));
            if on_their_way.len() == PARTS_ON_THEIR_WAY
                && let Some(part) = on_their_way.next().await
            {
                there.push(part.map_err(|error| failed(&error))?);
            }
        }
        while let Some(part) = on_their_way.next().await {
            there.push(part.map_err(|error| failed(&error))?);
        }
        is_same(hasher.finish(), id)?;
        let complete = parts.complete_multipart(key, upload, there).await;
        complete.map(drop).map_err(|error| failed(&error))
    }

    /// Says whether nothing is left of an upload.
    async fn abort(&self, key: &Key, upload: &String) -> bool {
        match self.service.parts.abort_multipart(key, upload).await {
            Ok(()) | Err(Error::NotFound { .. }) => true,
            Err(error) => {
                let error = failed(&error);
                tracing::warn!(%error, "parts of an upload stay in the bucket until the next start");
                false
            }
        }
    }

    /// Drops the parts of what was being sent when an earlier process ended.
    pub async fn abort_left(&self, path: &Path) -> Result<(), BlobError> {
        for note in notes(&path.join(NOTES)).map_err(BlobError::disk)? {
            let text = std::fs::read_to_string(&note).map_err(BlobError::disk)?;
            let is_over = match text.split_once('\n') {
                Some((key, upload)) => self.abort(&Key::from(key), &upload.to_owned()).await,
                None => true,
            };
            if is_over {
                remove_file(&note).map_err(BlobError::disk)?;
            }
        }
        Ok(())
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

fn notes(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match std::fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(vec![]),
        Err(error) => Err(error),
    }
}

fn is_same(found: BlobId, expected: BlobId) -> Result<(), BlobError> {
    let words = "the disk gave other bytes than it was given";
    match found == expected {
        true => Ok(()),
        false => Err(BlobError::disk(io::Error::other(words))),
    }
}

/// In words of our own: an error of the library has the bucket's address, and whatever the bucket wrote.
pub(super) fn failed(error: &Error) -> BlobError {
    let words = match error {
        Error::NotFound { .. } => "it says that there is no such thing (404)",
        Error::PermissionDenied { .. } => "it does not let this node do that (403)",
        Error::Unauthenticated { .. } => "it does not know this node's key (401)",
        Error::AlreadyExists { .. } | Error::Precondition { .. } => "it has something else there",
        Error::Generic { .. } => return BlobError::Bucket(cause(error)),
        _ => "it answered what makes no sense",
    };
    BlobError::Bucket(words.into())
}

#[cfg(not(feature = "s3"))]
fn cause(_: &Error) -> String {
    "it does not work".into()
}

#[cfg(feature = "s3")]
use super::s3::cause;
