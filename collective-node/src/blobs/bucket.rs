//! A bucket of blobs, whose keeper is not trusted: what it gives is checked, and that it has nothing is believed only where it has
//! the mark that this node left there.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use collective::id::{NodeId, sha256};
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use object_store::multipart::MultipartStore;
use object_store::path::Path as Key;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode};
use tokio::sync::OwnedMutexGuard;

use super::source::Source;
use super::{BlobError, remove_file};
use crate::intake::MAX_PAYLOAD_BYTES;

/// The mark in the bucket: no name of a blob.
pub(super) const MARK: &str = "owner";

/// The file in this machine's folder that says that the blobs are in a bucket, which was marked.
pub(super) const MEMO: &str = "bucket";

/// The folder of notes about uploads to the bucket that may be under way, a file each: names of blobs, and the bucket's names for the
/// uploads.
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
    /// Of names under which something large is sent, or removed: by one at a time, as each drops what earlier ones left.
    turns: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
}

impl Bucket {
    /// Marks the bucket as this node's, or finds that it is.
    pub async fn claim(service: Service, path: &Path, owner: NodeId) -> Result<Self, BlobError> {
        let bucket = Self {
            service,
            mark: format!("blobs of node {owner}\n").into(),
            worked: Mutex::default(),
            turns: Mutex::default(),
        };
        let memo = path.join(MEMO);
        let mut found = bucket.mark().await;
        if matches!(found, Err(Error::NotFound { .. })) {
            if memo.exists() {
                return Err(BlobError::Elsewhere(format!(
                    "this bucket lacks the mark that goes with {}: are bucket and prefix right?",
                    memo.display()
                )));
            }
            let left = bucket.leave_mark().await;
            left.map_err(|error| failed(&error))?;
            found = bucket.mark().await;
        }
        match found {
            Ok(()) => {}
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

    /// Puts the mark where there is none: of two nodes that come at once one finds the other's. Some services know no such condition.
    pub(super) async fn leave_mark(&self) -> Result<(), Error> {
        let (objects, key) = (&self.service.objects, self.key(MARK));
        let mark = || self.mark.clone().into();
        let put = objects.put_opts(&key, mark(), PutMode::Create.into());
        match put.await {
            Err(error) if is_unknown(&error) => objects.put(&key, mark()).await.map(drop),
            // Its own, where the first answer did not get here.
            Ok(_) | Err(Error::AlreadyExists { .. }) => Ok(()),
            Err(error) => Err(error),
        }
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

    /// Nothing is at these places, says the bucket: it is the right one, and says so again. A 404 also comes from a bucket that was deleted, a
    /// proxy on the way, or a service that is half awake.
    pub async fn lacks(&self, keys: &[Key]) -> Result<(), BlobError> {
        match self.mark().await {
            Ok(()) => {}
            Err(Error::NotFound { .. } | Error::AlreadyExists { .. }) => {
                let words = "it lacks the mark that this node left there, and may be another one";
                return Err(BlobError::Bucket(words.into()));
            }
            Err(error) => return Err(failed(&error)),
        }
        for key in keys {
            match self.service.objects.head(key).await {
                Err(Error::NotFound { .. }) => {}
                Ok(_) => return Err(BlobError::Bucket("it contradicts itself".into())),
                Err(error) => return Err(failed(&error)),
            }
        }
        Ok(())
    }

    pub fn works(&self) {
        *self.worked.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    pub fn worked_lately(&self) -> bool {
        let worked = *self.worked.lock().unwrap_or_else(PoisonError::into_inner);
        worked.is_some_and(|then| then.elapsed() < WORKS_FOR)
    }

    /// Puts what is small by one request, and what is large in parts: one request ends before a slow line has taken it.
    pub async fn put(&self, name: &str, mut source: Source, path: &Path) -> Result<(), BlobError> {
        let key = self.key(name);
        let length = source.length().map_err(BlobError::disk)?;
        if length <= PART_BYTES {
            let bytes = source.part(0..length).await?;
            source.check()?;
            let put = self.service.objects.put(&key, bytes).await;
            return put.map(drop).map_err(|error| failed(&error));
        }
        let _turn = self.turn(name).await;
        self.drop_left(name, path).await;
        let parts = &self.service.parts;
        let upload = parts.create_multipart(&key).await;
        let upload = upload.map_err(|error| failed(&error))?;
        let note = note(path, name, &upload);
        let noted = std::fs::create_dir_all(path.join(NOTES))
            .and_then(|()| std::fs::write(&note, format!("{key}\n{upload}")));
        let sent = match noted {
            Ok(()) => self.send(source, length, &key, &upload).await,
            Err(error) => Err(BlobError::disk(error)),
        };
        // What was sent of a file that did not get there would be kept, and paid for, for good.
        let is_over = match sent {
            Ok(()) => Ok(()),
            Err(_) => self.abort(&key, &upload).await,
        };
        if let Err(error) = is_over.and_then(|()| remove_file(&note).map_err(BlobError::disk)) {
            tracing::warn!(%error, "the note of an upload to the bucket stays, and its parts may");
        }
        sent
    }

    async fn send(
        &self,
        mut source: Source,
        length: u64,
        key: &Key,
        upload: &String,
    ) -> Result<(), BlobError> {
        let parts = &self.service.parts;
        let mut on_their_way = FuturesOrdered::new();
        let mut there = vec![];
        for index in 0..length.div_ceil(PART_BYTES) {
            let start = index * PART_BYTES;
            let bytes = source.part(start..length.min(start + PART_BYTES)).await?;
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
        source.check()?;
        let complete = parts.complete_multipart(key, upload, there).await;
        complete.map(drop).map_err(|error| failed(&error))
    }

    /// Removes what has these names, and what was sent of it.
    pub async fn remove(&self, names: &[String], path: &Path) -> Result<(), BlobError> {
        let mut keys = vec![];
        for name in names {
            let (key, _turn) = (self.key(name), self.turn(name).await);
            match self.service.objects.delete(&key).await {
                Ok(()) | Err(Error::NotFound { .. }) => keys.push(key),
                Err(error) => return Err(failed(&error)),
            }
            self.drop_left(name, path).await;
        }
        self.lacks(&keys).await
    }

    /// Waits until nobody else sends anything large of this name.
    async fn turn(&self, name: &str) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| turn.strong_count() > 0);
            let turn = turns.get(name).and_then(Weak::upgrade).unwrap_or_default();
            turns.insert(name.to_owned(), Arc::downgrade(&turn));
            turn
        };
        turn.lock_owned().await
    }

    /// Sees to it that nothing is left of an upload.
    async fn abort(&self, key: &Key, upload: &String) -> Result<(), BlobError> {
        match self.service.parts.abort_multipart(key, upload).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed(&error)),
        }
    }

    /// Drops what earlier tries left of the blob that has this name. What of it the bucket does not drop is in nobody's way.
    async fn drop_left(&self, name: &str, path: &Path) {
        let of_name = |note: &PathBuf| note.file_stem() == Some(stem(name).as_ref());
        if let Err(error) = self.drop_noted(path, of_name).await {
            tracing::warn!(%error, "what is noted of earlier uploads cannot be read");
        }
    }

    /// Drops the parts of what was being sent when an earlier process ended.
    pub async fn abort_left(&self, path: &Path) -> Result<(), BlobError> {
        self.drop_noted(path, |_| true).await
    }

    /// Drops what was sent of uploads that notes name, and these notes. Where the bucket does not do that the note stays for later.
    async fn drop_noted(
        &self,
        path: &Path,
        is_meant: impl Fn(&PathBuf) -> bool,
    ) -> Result<(), BlobError> {
        let notes = notes(&path.join(NOTES)).map_err(BlobError::disk)?;
        for note in notes.iter().filter(|note| is_meant(note)) {
            let text = std::fs::read_to_string(note).map_err(BlobError::disk)?;
            let aborted = match text.split_once('\n') {
                Some((key, upload)) => self.abort(&Key::from(key), &upload.to_owned()).await,
                None => Ok(()),
            };
            match aborted {
                Ok(()) => remove_file(note).map_err(BlobError::disk)?,
                Err(error) => tracing::warn!(
                    %error,
                    "parts of an upload stay in the bucket until its file is sent again or the next start"
                ),
            }
        }
        Ok(())
    }
}

/// Where an upload of what has this name is noted: each has its own, so that one which the bucket refuses to drop is not forgotten for
/// the next.
fn note(path: &Path, name: &str, upload: &str) -> PathBuf {
    let upload = alloy::hex::encode(&sha256(upload.as_bytes())[..8]);
    path.join(NOTES).join(format!("{}.{upload}", stem(name)))
}

fn stem(name: &str) -> String {
    name.replace('/', "")
}

fn notes(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match std::fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(vec![]),
        Err(error) => Err(error),
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

/// Whether the service, or the library, does not know what it was asked to do (501).
fn is_unknown(error: &Error) -> bool {
    matches!(error, Error::NotImplemented { .. }) || status(error) == Some(501)
}

#[cfg(not(feature = "s3"))]
fn cause(_: &Error) -> String {
    "it does not work".into()
}

#[cfg(not(feature = "s3"))]
fn status(_: &Error) -> Option<u16> {
    None
}

#[cfg(feature = "s3")]
use super::s3::{cause, status};
