//! Immutable bytes named by their SHA-256, checked on the way in and on the way out. All that is ever removed is the file of a
//! withdrawn contribution (`withdrawal`), and what the node had of a contributor's file once it has that made anew (`intake`).
//!
//! The place is not trusted: what comes back under a wrong name is refused. Nothing here is secret;
//! whatever must be is sealed before it gets here.
//!
//! What is small is given and taken whole. A large file is written to this machine's disk and adopted once its name is known, and
//! is read piece by piece; of a part that is asked for, whoever asks checks the bytes.

use std::io;
use std::path::{Path, PathBuf};

use alloy::primitives::B256;
use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use collective::id::{BlobId, NodeId};
use thiserror::Error;

use crate::client::{Client, ClientError};

mod bucket;
mod group_sync;
mod open;
#[cfg(feature = "s3")]
pub mod s3;
mod source;
mod store;

pub use bucket::Service;
pub use open::{OpenBlob, PIECE_BYTES};
use store::Store;

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
    /// The store's disk does not work.
    #[error("the blob store failed: {0}; check the disk")]
    Store(object_store::Error),
    /// The bucket does not answer, or not as a bucket does: it says nothing of what there is.
    #[error("the bucket of the blobs failed: {0}; check it, and the way to it")]
    Bucket(String),
    /// The configuration leads to another store than this node's.
    #[error("these are not this node's blobs: {0}")]
    Elsewhere(String),
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

/// What was asked for, or nothing where nobody gives it; that a store of one's own fails says nothing of what there is.
///
/// # Errors
/// [`BlobError::Store`], [`BlobError::Bucket`].
pub fn given<T>(asked: Result<T, BlobError>) -> Result<Option<T>, BlobError> {
    match asked {
        Ok(found) => Ok(Some(found)),
        Err(error @ (BlobError::Store(_) | BlobError::Bucket(_))) => Err(error),
        Err(_) => Ok(None),
    }
}

/// A store of blobs. Clones share it.
#[derive(Clone)]
pub struct Blobs {
    place: Place,
}

#[derive(Clone)]
enum Place {
    Store(Store),
    Node(Client),
    Mirror(Store, Client),
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

impl Blobs {
    /// A store in a folder, which is made if it is not there. A blob is on the disk, and so is its
    /// name, when [`Blobs::put`] returns.
    ///
    /// # Errors
    /// [`BlobError::Store`]; [`BlobError::Elsewhere`] where the blobs that go with this folder are in a bucket.
    pub fn folder(path: &Path) -> Result<Self, BlobError> {
        let place = Place::Store(Store::folder(path)?);
        Ok(Self { place })
    }

    /// A store in a bucket, or in memory, with a folder for what is not finished. A blob is in the bucket when it has answered
    /// [`Blobs::put`]. The bucket is marked as this node's.
    ///
    /// # Errors
    /// [`BlobError::Elsewhere`] where it is another node's, or not the one that goes with this folder; [`BlobError::Bucket`].
    pub async fn bucket(service: Service, path: &Path, owner: NodeId) -> Result<Self, BlobError> {
        let place = Place::Store(Store::bucket(service, path, owner).await?);
        Ok(Self { place })
    }

    /// A store in a folder that fetches from a node what it does not have, and keeps it.
    ///
    /// # Errors
    /// [`BlobError::Store`].
    pub fn mirror(path: &Path, node: Client) -> Result<Self, BlobError> {
        let place = Place::Mirror(Store::folder(path)?, node);
        Ok(Self { place })
    }

    /// The blobs of a node, for those who have none of their own. The node is not trusted with more
    /// than having them: bytes are checked against their name here.
    pub fn of_node(node: Client) -> Self {
        Self {
            place: Place::Node(node),
        }
    }

    /// Removes what was being written when an earlier process ended. Not while another one writes.
    ///
    /// # Errors
    /// [`BlobError::Store`].
    pub async fn clean_up(&self) -> Result<(), BlobError> {
        self.own()?.clean_up().await
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
    /// [`BlobError::Store`], [`BlobError::Bucket`]: it may be kept all the same.
    pub async fn put(&self, bytes: Bytes) -> Result<BlobId, BlobError> {
        self.own()?.put(bytes).await
    }

    /// Where files are written that will be adopted: on this machine's disk, that of the blobs if they are in a folder.
    ///
    /// # Errors
    /// [`BlobError::Store`].
    pub fn unfinished(&self) -> Result<PathBuf, BlobError> {
        let folder = self.own()?.path().join("unfinished");
        std::fs::create_dir_all(&folder).map_err(BlobError::disk)?;
        Ok(folder)
    }

    /// Returns once all that `write` wrote to this machine's disk, names included, is there.
    ///
    /// # Errors
    /// [`BlobError::Store`].
    pub async fn settle(&self, write: impl FnOnce() -> io::Result<()>) -> Result<(), BlobError> {
        self.own()?.settle(write).await
    }

    /// Keeps a file of [`Self::unfinished`] under the name of its bytes, which the caller worked out when they were written. The
    /// other name stays.
    ///
    /// # Errors
    /// [`BlobError::Store`], [`BlobError::Bucket`].
    pub async fn adopt(&self, file: &Path, id: BlobId) -> Result<(), BlobError> {
        self.own()?.adopt(file, id).await
    }

    /// Keeps what was made of a blob beside it, and can be made again: it goes with the blob, and whoever reads it checks it.
    ///
    /// # Errors
    /// [`BlobError::Missing`] where the blob is not there any more, [`BlobError::Store`], [`BlobError::Bucket`].
    pub async fn put_beside(&self, id: BlobId, bytes: Bytes) -> Result<(), BlobError> {
        self.own()?.put_beside(id, bytes).await
    }

    /// What is beside a blob.
    ///
    /// # Errors
    /// [`BlobError::Missing`] where there is nothing.
    pub async fn beside(&self, id: BlobId) -> Result<Bytes, BlobError> {
        self.own()?.beside(id).await
    }

    /// Opens a blob that is here, to be read in parts.
    ///
    /// # Errors
    /// [`BlobError`].
    pub async fn open(&self, id: BlobId) -> Result<OpenBlob, BlobError> {
        self.own()?.open(id).await
    }

    /// Writes and reads back a few bytes beside the blobs: whether the store works right now.
    ///
    /// # Errors
    /// [`BlobError::Store`], [`BlobError::Bucket`].
    pub async fn probe(&self, bytes: Bytes) -> Result<(), BlobError> {
        self.own()?.probe(bytes).await
    }

    /// Gives the bytes of this name.
    ///
    /// # Errors
    /// [`BlobError`].
    pub async fn get(&self, id: BlobId) -> Result<Bytes, BlobError> {
        match &self.place {
            Place::Store(own) => own.get(id).await,
            Place::Node(node) => fetch(node, id).await,
            Place::Mirror(own, node) => match own.get(id).await {
                Err(BlobError::Missing(_)) => {
                    let bytes = fetch(node, id).await?;
                    // A copy that is lost is fetched again: nobody waits for the disk.
                    own.write(id, bytes.clone()).await?;
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
        match &self.place {
            Place::Store(own) => own.find(id).await.map(drop),
            Place::Node(_) | Place::Mirror(..) => self.get(id).await.map(drop),
        }
    }

    /// Removes what has this name, and what is beside it. Doing it twice is doing it once.
    ///
    /// # Errors
    /// [`BlobError::Store`], [`BlobError::Bucket`]: it may be there still.
    pub async fn remove(&self, id: BlobId) -> Result<(), BlobError> {
        self.own()?.remove(id).await
    }

    /// Names of all blobs here.
    ///
    /// # Errors
    /// [`BlobError`].
    pub async fn list(&self) -> Result<Vec<BlobId>, BlobError> {
        match &self.place {
            Place::Store(own) => own.list().await,
            Place::Node(_) | Place::Mirror(..) => Ok(vec![]),
        }
    }

    fn own(&self) -> Result<&Store, BlobError> {
        match &self.place {
            Place::Store(own) | Place::Mirror(own, _) => Ok(own),
            Place::Node(_) => Err(BlobError::ReadOnly),
        }
    }
}

async fn fetch(node: &Client, id: BlobId) -> Result<Bytes, BlobError> {
    node.blob(id).await.map_err(|error| BlobError::Fetch {
        id,
        error: Box::new(error),
    })
}

/// Removes a file, if there is one.
pub fn remove_file(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
