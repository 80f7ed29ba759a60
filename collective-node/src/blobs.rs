//! Immutable bytes named by their SHA-256, checked on the way in and on the way out. The one thing that is ever removed is the
//! file of a withdrawn contribution (`withdrawal`).
//!
//! The place is not trusted: what comes back under a wrong name is refused. Nothing here is secret;
//! whatever must be is sealed before it gets here.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use collective::id::BlobId;
use futures_util::TryStreamExt;
use object_store::{
    ObjectStore, ObjectStoreExt, PutPayload, local::LocalFileSystem, path::Path as Key,
};
use thiserror::Error;

use crate::client::{Client, ClientError};

mod group_sync;

use group_sync::GroupSync;

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
    #[error("these blobs are another node's: they can be read, not written")]
    ReadOnly,
    /// The store does not work.
    #[error("the blob store failed: {0}; check the disk")]
    Store(object_store::Error),
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
    blobs: Arc<dyn ObjectStore>,
    disk: GroupSync,
}

impl Blobs {
    /// A store in a folder, which is made if it is not there. A blob is on the disk, and so is its
    /// name, when [`Blobs::put`] returns.
    ///
    /// # Errors
    /// [`BlobError::Store`].
    pub fn folder(path: &Path) -> Result<Self, BlobError> {
        remove_unfinished(path).map_err(failed)?;
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
        folder.disk.wait(mark).await.map_err(failed)?;
        Ok(id)
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

    /// Removes what has this name. Doing it twice is doing it once.
    ///
    /// # Errors
    /// [`BlobError::Store`].
    pub async fn remove(&self, id: BlobId) -> Result<(), BlobError> {
        match self.own()?.blobs.delete(&key(id)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(BlobError::Store(error)),
        }
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
        std::fs::create_dir_all(path).map_err(failed)?;
        let blobs = LocalFileSystem::new_with_prefix(path).map_err(BlobError::Store)?;
        Ok(Self {
            blobs: Arc::new(blobs),
            disk: GroupSync::new(path).map_err(failed)?,
        })
    }
}

/// Removes what was being written when an earlier process ended: a file of the right bytes under `NAME#NUMBER`, which nothing finds.
fn remove_unfinished(path: &Path) -> std::io::Result<()> {
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

fn failed(source: std::io::Error) -> BlobError {
    BlobError::Store(object_store::Error::Generic {
        store: "folder",
        source: source.into(),
    })
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

#[cfg(test)]
mod tests {
    use super::*;

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
