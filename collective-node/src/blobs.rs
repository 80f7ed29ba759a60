//! Immutable bytes named by their SHA-256, checked on the way in and on the way out. The one thing that is ever removed is the
//! file of a withdrawn contribution (`withdrawal`).
//!
//! The place is not trusted: what comes back under a wrong name is refused. Nothing here is secret;
//! whatever must be is sealed before it gets here.
//!
//! What is small is given and taken whole. A large file is written elsewhere in the folder and adopted once its name is known, and
//! is read piece by piece; of a part that is asked for, whoever asks checks the bytes.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use alloy::primitives::B256;
use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use collective::id::BlobId;
use futures_util::{Stream, TryStreamExt, stream};
use object_store::{
    ObjectStore, ObjectStoreExt, PutPayload, local::LocalFileSystem, path::Path as Key,
};
use thiserror::Error;

use crate::client::{Client, ClientError};

mod group_sync;

use group_sync::GroupSync;

/// Bytes of a large file that are in memory at a time.
pub const PIECE_BYTES: usize = 256 * 1024;

/// Why a blob could not be kept or given.
#[derive(Debug, Error)]
pub enum BlobError {
    /// Nobody put it here.
    #[error("no blob {0} here")]
    Missing(BlobId),
    /// The store gave other bytes.
    #[error("the store holds other bytes under {0}: restore it from a copy")]
    Garbled(BlobId),
    /// A node that blobs are fetched from.
    #[error("cannot fetch blob {id}: {error}")]
    Fetch {
        /// Which.
        id: BlobId,
        /// Why.
        error: Box<ClientError>,
    },
    /// What is fetched from a node cannot be kept there by these means.
    #[error("these blobs are another node's: they can be fetched, and nothing else")]
    ReadOnly,
    /// The store does not work.
    #[error("the blob store failed: {0}; check the disk")]
    Store(object_store::Error),
}

impl BlobError {
    /// The store's disk does not work.
    pub fn disk(source: io::Error) -> Self {
        Self::Store(object_store::Error::Generic {
            store: "folder",
            source: source.into(),
        })
    }
}

/// A store of blobs. Clones share it.
#[derive(Clone)]
pub struct Blobs {
    place: Place,
}

#[derive(Clone)]
enum Place {
    Store(Folder),
    Node(Client),
    Mirror(Folder, Client),
}

/// A folder of blobs, and the disk that it lies on.
#[derive(Clone)]
struct Folder {
    path: PathBuf,
    blobs: Arc<dyn ObjectStore>,
    disk: GroupSync,
}

/// The name of bytes that come one piece after another.
#[derive(Clone)]
pub struct BlobHasher(Context);

impl Default for BlobHasher {
    fn default() -> Self {
        Self(Context::new(&SHA256))
    }
}

impl BlobHasher {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The name of all of them.
    pub fn finish(self) -> BlobId {
        BlobId(B256::from_slice(self.0.finish().as_ref()))
    }
}

/// A blob that is read in parts.
#[derive(Clone)]
pub struct OpenBlob {
    id: BlobId,
    file: Arc<File>,
    length: u64,
}

impl OpenBlob {
    /// Its bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The bytes of a range, as far as there are any. They are not checked: a part has no name.
    ///
    /// # Errors
    /// [`BlobError::Store`].
    pub async fn read(&self, range: Range<u64>) -> Result<Bytes, BlobError> {
        let (file, end) = (self.file.clone(), range.end.min(self.length));
        let length = end.saturating_sub(range.start) as usize;
        let read = move || {
            let mut bytes = vec![0; length];
            let read = read_at(&file, &mut bytes, range.start)?;
            bytes.truncate(read);
            io::Result::Ok(bytes.into())
        };
        let read = tokio::task::spawn_blocking(read).await;
        read.map_err(io::Error::other)
            .flatten()
            .map_err(BlobError::disk)
    }

    /// The bytes of a range, piece by piece. Where that is all of them the last piece comes only once all are known to be right.
    pub fn pieces(self, range: Range<u64>) -> impl Stream<Item = Result<Bytes, BlobError>> {
        let is_whole = range == (0..self.length);
        let hasher = is_whole.then(BlobHasher::default);
        stream::try_unfold(
            (self, range, hasher),
            |(blob, range, mut hasher)| async move {
                if range.is_empty() {
                    return Ok(None);
                }
                let end = range.end.min(range.start + PIECE_BYTES as u64);
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

impl Blobs {
    /// A store in a folder, which is made if it is not there. A blob is on the disk, and so is its
    /// name, when [`Blobs::put`] returns.
    ///
    /// # Errors
    /// [`BlobError::Store`].
    pub fn folder(path: &Path) -> Result<Self, BlobError> {
        remove_unfinished(path).map_err(BlobError::disk)?;
        let place = Place::Store(Folder::open(path)?);
        Ok(Self { place })
    }

    /// A store in a folder that fetches from a node what it does not have, and keeps it.
    ///
    /// # Errors
    /// [`BlobError::Store`].
    pub fn mirror(path: &Path, node: Client) -> Result<Self, BlobError> {
        let place = Place::Mirror(Folder::open(path)?, node);
        Ok(Self { place })
    }

    /// The blobs of a node, for those who have none of their own. The node is not trusted with more
    /// than having them: bytes are checked against their name here.
    pub fn of_node(node: Client) -> Self {
        Self {
            place: Place::Node(node),
        }
    }

    /// The node that blobs are fetched from, if they are.
    pub fn source(&self) -> Option<&Client> {
        match &self.place {
            Place::Store(_) => None,
            Place::Node(node) | Place::Mirror(_, node) => Some(node),
        }
    }

    /// Keeps bytes under their name. Doing it twice is doing it once.
    ///
    /// # Errors
    /// [`BlobError::Store`].
    pub async fn put(&self, bytes: Bytes) -> Result<BlobId, BlobError> {
        let folder = self.own()?;
        let id = BlobId::of(&bytes);
        let mark = folder.disk.mark();
        // Also where it can be read: what the disk did not take may still be in memory.
        write(&folder.blobs, id, bytes).await?;
        folder.disk.wait(mark).await.map_err(BlobError::disk)?;
        Ok(id)
    }

    /// Where files are written that will be adopted: on the disk of the blobs.
    ///
    /// # Errors
    /// [`BlobError::Store`].
    pub fn unfinished(&self) -> Result<PathBuf, BlobError> {
        let folder = self.own()?.path.join("unfinished");
        std::fs::create_dir_all(&folder).map_err(BlobError::disk)?;
        Ok(folder)
    }

    /// Returns once all that `write` wrote here, names included, is on the disk.
    ///
    /// # Errors
    /// [`BlobError::Store`].
    pub async fn settle(&self, write: impl FnOnce() -> io::Result<()>) -> Result<(), BlobError> {
        let folder = self.own()?;
        let mark = folder.disk.mark();
        write().map_err(BlobError::disk)?;
        folder.disk.wait(mark).await.map_err(BlobError::disk)
    }

    /// Keeps a file of [`Self::unfinished`] under the name of its bytes, which the caller worked out when they were written. The
    /// other name stays.
    ///
    /// # Errors
    /// [`BlobError::Store`].
    pub async fn adopt(&self, file: &Path, id: BlobId) -> Result<(), BlobError> {
        let place = self.own()?.path.join(key(id).as_ref());
        let link = || {
            if let Some(folder) = place.parent() {
                std::fs::create_dir_all(folder)?;
            }
            // As what is put: first under a name that nothing finds.
            let beside = place.with_extension("#adopted");
            remove_file(&beside)?;
            std::fs::hard_link(file, &beside)?;
            std::fs::rename(&beside, &place)?;
            // Where both are one file already, the first name is still there.
            remove_file(&beside)
        };
        self.settle(link).await
    }

    /// Keeps what was made of a blob beside it, and can be made again: it is gone with the blob, or before it, and whoever reads it
    /// checks it.
    ///
    /// # Errors
    /// [`BlobError::Store`].
    pub async fn put_beside(&self, id: BlobId, bytes: Bytes) -> Result<(), BlobError> {
        let payload = PutPayload::from_bytes(bytes);
        let written = self.own()?.blobs.put(&beside(id), payload).await;
        written.map(drop).map_err(BlobError::Store)
    }

    /// What is beside a blob.
    ///
    /// # Errors
    /// [`BlobError::Missing`] where there is nothing.
    pub async fn beside(&self, id: BlobId) -> Result<Bytes, BlobError> {
        match self.own()?.blobs.get(&beside(id)).await {
            Ok(found) => found.bytes().await.map_err(BlobError::Store),
            Err(object_store::Error::NotFound { .. }) => Err(BlobError::Missing(id)),
            Err(error) => Err(BlobError::Store(error)),
        }
    }

    /// Opens a blob that is here, to be read in parts.
    ///
    /// # Errors
    /// [`BlobError`].
    pub async fn open(&self, id: BlobId) -> Result<OpenBlob, BlobError> {
        let path = self.own()?.path.join(key(id).as_ref());
        let open = move || {
            let file = File::open(path)?;
            let length = file.metadata()?.len();
            io::Result::Ok((file, length))
        };
        let opened = tokio::task::spawn_blocking(open).await;
        match opened.map_err(io::Error::other).flatten() {
            Ok((file, length)) => Ok(OpenBlob {
                id,
                file: Arc::new(file),
                length,
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(BlobError::Missing(id)),
            Err(error) => Err(BlobError::disk(error)),
        }
    }

    /// Writes and reads back a few bytes beside the blobs: whether the store works right now.
    ///
    /// # Errors
    /// [`BlobError::Store`].
    pub async fn probe(&self, bytes: Bytes) -> Result<(), BlobError> {
        let store = &self.own()?.blobs;
        let place = Key::from("probe");
        let written = PutPayload::from_bytes(bytes.clone());
        store.put(&place, written).await.map_err(BlobError::Store)?;
        let read = store.get(&place).await.map_err(BlobError::Store)?;
        let read = read.bytes().await.map_err(BlobError::Store)?;
        if read == bytes {
            Ok(())
        } else {
            Err(BlobError::Garbled(BlobId::of(&bytes)))
        }
    }

    /// Gives the bytes of this name.
    ///
    /// # Errors
    /// [`BlobError`].
    pub async fn get(&self, id: BlobId) -> Result<Bytes, BlobError> {
        match &self.place {
            Place::Store(own) => read(&own.blobs, id).await,
            Place::Node(node) => fetch(node, id).await,
            Place::Mirror(own, node) => match read(&own.blobs, id).await {
                Err(BlobError::Missing(_)) => {
                    let bytes = fetch(node, id).await?;
                    // A copy that is lost is fetched again: nobody waits for the disk.
                    write(&own.blobs, id, bytes.clone()).await?;
                    Ok(bytes)
                }
                read => read,
            },
        }
    }

    /// Whether something of this name is here; its bytes are not looked at.
    ///
    /// # Errors
    /// [`BlobError`], [`BlobError::Missing`] above all.
    pub async fn find(&self, id: BlobId) -> Result<(), BlobError> {
        let Place::Store(own) = &self.place else {
            return self.get(id).await.map(drop);
        };
        match own.blobs.head(&key(id)).await {
            Ok(_) => Ok(()),
            Err(object_store::Error::NotFound { .. }) => Err(BlobError::Missing(id)),
            Err(error) => Err(BlobError::Store(error)),
        }
    }

    /// Removes what has this name, and what is beside it. Doing it twice is doing it once.
    ///
    /// # Errors
    /// [`BlobError::Store`].
    pub async fn remove(&self, id: BlobId) -> Result<(), BlobError> {
        for name in [beside(id), key(id)] {
            match self.own()?.blobs.delete(&name).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(BlobError::Store(error)),
            }
        }
        Ok(())
    }

    fn own(&self) -> Result<&Folder, BlobError> {
        match &self.place {
            Place::Store(own) | Place::Mirror(own, _) => Ok(own),
            Place::Node(_) => Err(BlobError::ReadOnly),
        }
    }
}

impl Folder {
    fn open(path: &Path) -> Result<Self, BlobError> {
        std::fs::create_dir_all(path).map_err(BlobError::disk)?;
        let blobs = LocalFileSystem::new_with_prefix(path).map_err(BlobError::Store)?;
        Ok(Self {
            path: path.to_owned(),
            blobs: Arc::new(blobs),
            disk: GroupSync::new(path).map_err(BlobError::disk)?,
        })
    }
}

/// Removes what was being written when an earlier process ended: a file of the right bytes under `NAME#NUMBER`, which nothing finds.
fn remove_unfinished(path: &Path) -> io::Result<()> {
    if !path.is_dir() {
        return Ok(());
    }
    for folder in std::fs::read_dir(path)? {
        let folder = folder?.path();
        if !folder.is_dir() {
            continue;
        }
        for file in std::fs::read_dir(folder)? {
            let file = file?;
            if file.file_name().as_encoded_bytes().contains(&b'#') {
                std::fs::remove_file(file.path())?;
            }
        }
    }
    Ok(())
}

/// Removes a file, if there is one.
pub fn remove_file(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

async fn write(store: &Arc<dyn ObjectStore>, id: BlobId, bytes: Bytes) -> Result<(), BlobError> {
    let payload = PutPayload::from_bytes(bytes);
    let written = store.put(&key(id), payload).await;
    written.map(drop).map_err(BlobError::Store)
}

async fn read(store: &Arc<dyn ObjectStore>, id: BlobId) -> Result<Bytes, BlobError> {
    let bytes = match store.get(&key(id)).await {
        Ok(found) => found.bytes().await.map_err(BlobError::Store)?,
        Err(object_store::Error::NotFound { .. }) => return Err(BlobError::Missing(id)),
        Err(error) => return Err(BlobError::Store(error)),
    };
    if BlobId::of(&bytes) != id {
        return Err(BlobError::Garbled(id));
    }
    Ok(bytes)
}

async fn fetch(node: &Client, id: BlobId) -> Result<Bytes, BlobError> {
    node.blob(id).await.map_err(|error| BlobError::Fetch {
        id,
        error: Box::new(error),
    })
}

impl Blobs {
    /// Names of all blobs here.
    ///
    /// # Errors
    /// [`BlobError`].
    pub async fn list(&self) -> Result<Vec<BlobId>, BlobError> {
        let Place::Store(own) = &self.place else {
            return Ok(vec![]);
        };
        let mut names = Vec::new();
        let mut listed = own.blobs.list(None);
        while let Some(object) = listed.try_next().await.map_err(BlobError::Store)? {
            let name = object.location.as_ref().replace('/', "");
            // What is no name of a blob is the probe, or a file that is being written.
            names.extend(format!("0x{name}").parse::<BlobId>().ok());
        }
        Ok(names)
    }
}

/// Two levels, so that no folder gets a million entries.
fn key(id: BlobId) -> Key {
    let name = alloy::hex::encode(id.0);
    Key::from(format!("{}/{}", &name[..2], &name[2..]))
}

/// Where [`Blobs::put_beside`] puts it: no name of a blob.
fn beside(id: BlobId) -> Key {
    Key::from(format!("{}.beside", key(id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_large_file_is_adopted_and_read_in_parts_and_a_garbled_one_never_comes_to_its_end() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let blobs = Blobs::folder(folder.path()).expect("a store");
        let bytes: Vec<u8> = (0..3 * PIECE_BYTES + 5).map(|i| (i / 7) as u8).collect();
        let written = blobs.unfinished().expect("a folder").join("file");
        std::fs::write(&written, &bytes).expect("written");
        let mut hasher = BlobHasher::default();
        bytes.chunks(1000).for_each(|piece| hasher.update(piece));
        let (id, length) = (hasher.finish(), bytes.len() as u64);
        assert_eq!(id, BlobId::of(&bytes));
        for _ in 0..2 {
            blobs.adopt(&written, id).await.expect("adopted");
            assert_eq!(blobs.list().await.expect("names"), [id]);
        }
        assert_eq!(blobs.get(id).await.expect("given"), bytes);

        let all = |range| async {
            let pieces = blobs.open(id).await.expect("a blob").pieces(range);
            pieces.try_collect::<Vec<_>>().await
        };
        assert_eq!(all(0..length).await.expect("whole").concat(), bytes);
        assert_eq!(all(7..length).await.expect("a part").concat(), bytes[7..]);
        let open = blobs.open(id).await.expect("a blob");
        assert_eq!(open.length(), length);
        let tail = open.read(length - 3..length + 9).await.expect("read");
        assert_eq!(tail, bytes[bytes.len() - 3..]);

        blobs
            .put_beside(id, Bytes::from_static(b"note"))
            .await
            .expect("kept");
        assert_eq!(&blobs.beside(id).await.expect("kept")[..], b"note");
        assert_eq!(blobs.list().await.expect("names"), [id]);

        // The file has both names, so this changes the blob.
        let file = File::options().write(true).open(&written).expect("a file");
        file.write_all_at(&[!bytes[9]], 9).expect("written");
        assert!(matches!(all(0..length).await, Err(BlobError::Garbled(_))));
        file.write_all_at(&[bytes[9]], 9).expect("written");
        assert_eq!(all(0..length).await.expect("whole").concat(), bytes);
        file.set_len(length - 1).expect("cut");
        assert!(matches!(all(0..length).await, Err(BlobError::Garbled(_))));

        blobs.remove(id).await.expect("removed");
        assert!(matches!(blobs.beside(id).await, Err(BlobError::Missing(_))));
        assert!(matches!(blobs.open(id).await, Err(BlobError::Missing(_))));
    }

    #[tokio::test]
    async fn what_is_kept_comes_back_and_what_is_garbled_does_not() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let blobs = Blobs::folder(folder.path()).expect("a store");
        let id = blobs.put(Bytes::from_static(b"bytes")).await.expect("kept");
        assert_eq!(
            blobs
                .put(Bytes::from_static(b"bytes"))
                .await
                .expect("kept again"),
            id
        );
        assert_eq!(
            blobs.get(id).await.expect("given"),
            Bytes::from_static(b"bytes")
        );

        let unfinished = folder.path().join(format!("{}#1", key(id)));
        std::fs::write(&unfinished, b"byt").expect("written");
        Blobs::folder(folder.path()).expect("opened again");
        assert!(!unfinished.exists());

        let other = BlobId::of(b"never kept");
        assert!(matches!(blobs.get(other).await, Err(BlobError::Missing(_))));
        std::fs::write(folder.path().join(key(id).as_ref()), b"bytez").expect("written over");
        assert!(matches!(blobs.get(id).await, Err(BlobError::Garbled(_))));
        blobs
            .put(Bytes::from_static(b"bytes"))
            .await
            .expect("mended");
        assert_eq!(
            blobs.get(id).await.expect("given"),
            Bytes::from_static(b"bytes")
        );
        for _ in 0..2 {
            blobs.remove(id).await.expect("removed");
            assert!(matches!(blobs.get(id).await, Err(BlobError::Missing(_))));
        }
    }
}
