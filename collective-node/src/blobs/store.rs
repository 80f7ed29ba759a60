//! This node's own blobs: in a folder, or in a bucket, with a folder for what is not finished.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use collective::id::{BlobId, NodeId};
use futures_util::StreamExt;
use object_store::{
    ObjectStore, ObjectStoreExt, PutPayload, local::LocalFileSystem, path::Path as Key,
};
use tokio::sync::Mutex;

use super::bucket::{Bucket, MARK, MEMO, Service};
use super::group_sync::GroupSync;
use super::open::OpenBlob;
use super::source::Source;
use super::{BlobError, remove_file};

/// Bytes that are read whole at most: several times the largest sealed file that a run opens, and the largest program or runtime.
pub(super) const MAX_WHOLE_BYTES: u64 = 256 << 20;

/// A store of one's own. Clones share it.
#[derive(Clone)]
pub(super) struct Store {
    /// On this machine: all of it, or, where there is a bucket, what is not finished.
    path: PathBuf,
    disk: GroupSync,
    pub(super) objects: Arc<dyn ObjectStore>,
    bucket: Option<Arc<Bucket>>,
    /// Held while the store is probed: each reads back what it wrote itself.
    probing: Arc<Mutex<()>>,
}

impl Store {
    pub fn folder(path: &Path) -> Result<Self, BlobError> {
        std::fs::create_dir_all(path).map_err(BlobError::disk)?;
        if path.join(MEMO).exists() {
            return Err(BlobError::Elsewhere(format!(
                "those that go with {} are in a bucket, which the configuration no longer names in [store.s3]",
                path.display()
            )));
        }
        let objects = LocalFileSystem::new_with_prefix(path).map_err(BlobError::Store)?;
        Self::at(path, Arc::new(objects), None)
    }

    pub async fn bucket(service: Service, path: &Path, owner: NodeId) -> Result<Self, BlobError> {
        std::fs::create_dir_all(path).map_err(BlobError::disk)?;
        if folders(path).map_err(BlobError::disk)?.next().is_some() {
            return Err(BlobError::Elsewhere(format!(
                "there are blobs in {}: copy its folders of two digits into the bucket under the same names, then remove them",
                path.display()
            )));
        }
        let objects = service.objects.clone();
        let bucket = Bucket::claim(service, path, owner).await?;
        Self::at(path, objects, Some(Arc::new(bucket)))
    }

    fn at(
        path: &Path,
        objects: Arc<dyn ObjectStore>,
        bucket: Option<Arc<Bucket>>,
    ) -> Result<Self, BlobError> {
        Ok(Self {
            path: path.to_owned(),
            disk: GroupSync::new(path).map_err(BlobError::disk)?,
            objects,
            bucket,
            probing: Arc::default(),
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn is_bucket(&self) -> bool {
        self.bucket.is_some()
    }

    pub async fn clean_up(&self) -> Result<(), BlobError> {
        match &self.bucket {
            None => remove_unfinished(&self.path).map_err(BlobError::disk),
            Some(bucket) => bucket.abort_left(&self.path).await,
        }
    }

    pub async fn put(&self, bytes: Bytes) -> Result<BlobId, BlobError> {
        let id = BlobId::of(&bytes);
        let mark = self.disk.mark();
        // Also where it can be read: what the disk did not take may still be in memory.
        self.write(id, bytes).await?;
        if self.bucket.is_none() {
            self.disk.wait(mark).await.map_err(BlobError::disk)?;
        }
        Ok(id)
    }

    /// In a folder it is not known to be on the disk yet.
    pub async fn write(&self, id: BlobId, bytes: Bytes) -> Result<(), BlobError> {
        self.put_at(&name(id), bytes).await
    }

    pub async fn put_beside(&self, id: BlobId, bytes: Bytes) -> Result<(), BlobError> {
        self.put_at(&beside(id), bytes).await?;
        // Where the blob was removed in the meantime nobody would remove this any more.
        match self.find(id).await {
            Err(error @ BlobError::Missing(_)) => {
                self.remove_at(&[beside(id)]).await?;
                Err(error)
            }
            found => found.map(drop),
        }
    }

    async fn put_at(&self, name: &str, bytes: Bytes) -> Result<(), BlobError> {
        if let Some(bucket) = &self.bucket {
            return bucket.put(name, Source::Bytes(bytes), &self.path).await;
        }
        let payload = PutPayload::from_bytes(bytes);
        let written = self.objects.put(&Key::from(name), payload).await;
        written.map(drop).map_err(BlobError::Store)
    }

    pub async fn settle(&self, write: impl FnOnce() -> io::Result<()>) -> Result<(), BlobError> {
        let mark = self.disk.mark();
        write().map_err(BlobError::disk)?;
        self.disk.wait(mark).await.map_err(BlobError::disk)
    }

    pub async fn adopt(&self, file: &Path, id: BlobId) -> Result<(), BlobError> {
        if let Some(bucket) = &self.bucket {
            let source = Source::file(file, id).map_err(BlobError::disk)?;
            return bucket.put(&name(id), source, &self.path).await;
        }
        let place = self.path.join(name(id));
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

    pub async fn get(&self, id: BlobId) -> Result<Bytes, BlobError> {
        let bytes = self.get_at(&name(id), id).await?;
        if BlobId::of(&bytes) != id {
            return Err(BlobError::Garbled(id));
        }
        Ok(bytes)
    }

    pub async fn beside(&self, id: BlobId) -> Result<Bytes, BlobError> {
        self.get_at(&beside(id), id).await
    }

    async fn get_at(&self, name: &str, id: BlobId) -> Result<Bytes, BlobError> {
        let found = match self.objects.get(&self.key(name)).await {
            Ok(found) => found,
            Err(error) => return Err(self.missing(name, id, error).await),
        };
        if self.is_bucket() && found.meta.size > MAX_WHOLE_BYTES {
            return Err(BlobError::Garbled(id));
        }
        let expected = found.meta.size;
        let bytes = found.bytes().await.map_err(|error| self.failed(error))?;
        match bytes.len() as u64 == expected {
            true => Ok(bytes),
            false => Err(self.cut_off()),
        }
    }

    /// How long what has this name is.
    pub async fn find(&self, id: BlobId) -> Result<u64, BlobError> {
        match self.objects.head(&self.key(&name(id))).await {
            Ok(found) => Ok(found.size),
            Err(error) => Err(self.missing(&name(id), id, error).await),
        }
    }

    pub async fn open(&self, id: BlobId) -> Result<OpenBlob, BlobError> {
        let opened = match self.is_bucket() {
            false => OpenBlob::file(self.path.join(name(id)), id).await?,
            true => OpenBlob::object(self.clone(), id).await?,
        };
        // Of nothing there is no piece that could be checked.
        match opened.length() == 0 && id != BlobId::of(b"") {
            true => Err(BlobError::Garbled(id)),
            false => Ok(opened),
        }
    }

    pub async fn probe(&self, bytes: Bytes) -> Result<(), BlobError> {
        let _alone = self.probing.lock().await;
        // Each costs money, and anybody may ask.
        if let Some(bucket) = &self.bucket
            && bucket.worked_lately()
        {
            return Ok(());
        }
        let place = self.key("probe");
        let written = self.objects.put(&place, bytes.clone().into()).await;
        written.map_err(|error| self.failed(error))?;
        let read = async { self.objects.get(&place).await?.bytes().await };
        if read.await.map_err(|error| self.failed(error))? != bytes {
            return Err(BlobError::Garbled(BlobId::of(&bytes)));
        }
        if let Some(bucket) = &self.bucket {
            bucket.works();
        }
        Ok(())
    }

    pub async fn remove(&self, id: BlobId) -> Result<(), BlobError> {
        // In this order: who puts something beside it meanwhile finds that the blob is gone.
        self.remove_at(&[name(id), beside(id)]).await
    }

    async fn remove_at(&self, names: &[String]) -> Result<(), BlobError> {
        if let Some(bucket) = &self.bucket {
            return bucket.remove(names, &self.path).await;
        }
        for name in names {
            match self.objects.delete(&Key::from(name.as_str())).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(BlobError::Store(error)),
            }
        }
        Ok(())
    }

    pub async fn list(&self) -> Result<Vec<BlobId>, BlobError> {
        let prefix = self.bucket.as_ref().map(|bucket| bucket.prefix());
        let skipped = prefix.map_or(0, |prefix| prefix.parts().count());
        let mut listed = self.objects.list(prefix);
        let mark = self.bucket.as_ref().map(|bucket| bucket.key(MARK));
        let (mut names, mut is_marked) = (vec![], false);
        while let Some(object) = listed.next().await {
            let place = object.map_err(|error| self.failed(error))?.location;
            is_marked |= Some(&place) == mark.as_ref();
            let parts: Vec<_> = place.parts().skip(skipped).collect();
            let name: String = parts.iter().map(AsRef::as_ref).collect();
            // What is no name of a blob is the probe, what is beside one, or a file that is being written.
            names.extend(format!("0x{name}").parse::<BlobId>().ok());
        }
        // Some other page is a list of nothing.
        match mark.is_some() && !is_marked {
            true => Err(BlobError::Bucket("its list lacks this node's mark".into())),
            false => Ok(names),
        }
    }

    pub fn key(&self, name: &str) -> Key {
        match &self.bucket {
            None => Key::from(name),
            Some(bucket) => bucket.key(name),
        }
    }

    pub fn failed(&self, error: object_store::Error) -> BlobError {
        match self.bucket {
            None => BlobError::Store(error),
            Some(_) => super::bucket::failed(&error),
        }
    }

    pub fn cut_off(&self) -> BlobError {
        let words = "an answer ended too early";
        match self.bucket {
            None => BlobError::disk(io::Error::other(words)),
            Some(_) => BlobError::Bucket(words.into()),
        }
    }

    /// What an error says about what was looked for: only that nothing is there makes it a missing blob.
    pub async fn missing(&self, name: &str, id: BlobId, error: object_store::Error) -> BlobError {
        match (&self.bucket, error) {
            (None, object_store::Error::NotFound { .. }) => BlobError::Missing(id),
            (Some(bucket), object_store::Error::NotFound { .. }) => {
                match bucket.lacks(&[bucket.key(name)]).await {
                    Ok(()) => BlobError::Missing(id),
                    Err(error) => error,
                }
            }
            (_, error) => self.failed(error),
        }
    }
}

/// Two levels, so that no folder gets a million entries.
pub(super) fn name(id: BlobId) -> String {
    let name = alloy::hex::encode(id.0);
    format!("{}/{}", &name[..2], &name[2..])
}

/// No name of a blob.
fn beside(id: BlobId) -> String {
    format!("{}.beside", name(id))
}

/// Folders that blobs are in.
fn folders(path: &Path) -> io::Result<impl Iterator<Item = PathBuf>> {
    let entries = std::fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
    let folders = entries.into_iter().map(|entry| entry.path());
    Ok(folders.filter(|it| {
        let name = it.file_name().unwrap_or_default().as_encoded_bytes();
        name.len() == 2 && name.iter().all(u8::is_ascii_hexdigit) && it.is_dir()
    }))
}

/// A file of the right bytes under `NAME#NUMBER`, which nothing finds.
fn remove_unfinished(path: &Path) -> io::Result<()> {
    for folder in folders(path)? {
        for file in std::fs::read_dir(folder)? {
            let file = file?;
            if file.file_name().as_encoded_bytes().contains(&b'#') {
                std::fs::remove_file(file.path())?;
            }
        }
    }
    Ok(())
}
