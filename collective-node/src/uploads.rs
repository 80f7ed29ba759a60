//! Uploads that are under way in parts: what came so far is on the disk, hashed as it came, and goes on where it stopped, also after
//! a restart. What it is worth is decided elsewhere (`intake::resumable`).
//!
//! Two files each in `unfinished/` beside the blobs: `LEAF.entry`, what came before the sealed file, and `LEAF.age`, the sealed file
//! as far as it came, which becomes the blob.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use collective::contribution::{Contribution, PayloadOutline, PayloadTree, SignedContribution};
use collective::id::{BlobId, ContributorId, Leaf};
use tokio::sync::{OwnedMutexGuard, watch};

use crate::blobs::{BlobError, BlobHasher, Blobs, PIECE_BYTES, remove_file};
use crate::contributor::read_header;
use crate::intake::parse_entry;

/// Uploads of one contributor under way: one for each device, and some that were given up.
const MAX_EACH: usize = 4;

/// Uploads of all under way. Each has a file open, of the descriptors that `http::serve` leaves to everything else.
const MAX_ALL: usize = 64;

/// Seconds without a byte after which an upload may be dropped: whoever lost the network in the evening goes on in the morning.
pub const MAX_IDLE_SECONDS: u64 = 24 * 60 * 60;

/// Bytes of disk that uploads leave free: ledger, batches and results of jobs need them.
const MIN_FREE_BYTES: u64 = 1 << 30;

/// Why an upload is not opened.
#[derive(Debug)]
pub enum NoPlace {
    /// The contributor has as many as one may have.
    OfContributor,
    /// All have, or the disk has no room.
    Anywhere,
    /// The disk.
    Blob(BlobError),
}

/// All that are under way. Clones share them.
#[derive(Clone)]
pub struct Uploads {
    blobs: Blobs,
    open: Arc<Mutex<HashMap<Leaf, Arc<Upload>>>>,
    taking_in: Arc<tokio::sync::Mutex<()>>,
}

/// One that is under way.
pub struct Upload {
    /// Whose it is, and what it is to come to.
    pub entry: SignedContribution,
    /// Bytes before the sealed file.
    pub before: u64,
    /// Bytes of the sealed file's header.
    pub header: u64,
    folder: PathBuf,
    received: Arc<tokio::sync::Mutex<Received>>,
    /// How many requests went on with it: only the newest does.
    newest: watch::Sender<u64>,
}

/// What came of the sealed file so far.
#[derive(Default)]
enum Received {
    /// Nobody asked for it since the start.
    #[default]
    Unread,
    /// Open.
    Here(Box<Part>),
    /// Dropped, taken in, or not to be trusted any more: whoever waited for it waits for nothing.
    Gone,
}

struct Part {
    file: File,
    hasher: BlobHasher,
    tree: PayloadTree,
    header: u64,
    length: u64,
}

/// The one request that goes on with an upload. What it was doing when it is dropped is done to its end first.
pub struct Turn {
    received: OwnedMutexGuard<Received>,
    newer: watch::Receiver<u64>,
}

impl Uploads {
    /// Those that an earlier life left.
    ///
    /// # Errors
    /// [`BlobError`].
    pub fn open(blobs: Blobs) -> Result<Self, BlobError> {
        let folder = blobs.unfinished()?;
        let open = left(&folder).map_err(BlobError::disk)?;
        Ok(Self {
            blobs,
            open: Arc::new(Mutex::new(open)),
            taking_in: Arc::default(),
        })
    }

    /// The one of this leaf, if it is under way. Whoever knows the leaf may go on with it: until it is anchored nobody does but
    /// who made it and this node, as a fresh point of the curve is in it.
    pub fn get(&self, leaf: Leaf) -> Option<Arc<Upload>> {
        self.state().get(&leaf).cloned()
    }

    /// Leaves of all that are under way.
    pub fn leaves(&self) -> Vec<Leaf> {
        self.state().keys().copied().collect()
    }

    /// Held while one is taken in: of several with one nonce, one becomes a blob, and of those that go to a bucket the parts of one
    /// are in memory.
    pub async fn taking_in(&self) -> impl Drop + use<> {
        self.taking_in.clone().lock_owned().await
    }

    /// Whether the disk has room for so many bytes beside what all that are under way will come to.
    ///
    /// # Errors
    /// [`NoPlace`].
    pub fn has_room_for(&self, bytes: u64) -> Result<(), NoPlace> {
        let folder = self.blobs.unfinished().map_err(NoPlace::Blob)?;
        has_room(&self.state(), &folder, bytes)
    }

    /// Opens an upload whose entry and header were checked; one that is open stays as it is. It is on the disk then.
    ///
    /// # Errors
    /// [`NoPlace`].
    pub async fn begin(
        &self,
        entry: SignedContribution,
        before: Bytes,
        header: Bytes,
    ) -> Result<Arc<Upload>, NoPlace> {
        let leaf = entry.contribution.leaf();
        let contributor = entry.contribution.contributor;
        let (upload, turn) = {
            let mut open = self.state();
            if let Some(upload) = open.get(&leaf) {
                return Ok(upload.clone());
            }
            let folder = self.blobs.unfinished().map_err(NoPlace::Blob)?;
            drop_idle(&mut open);
            drop_earlier(&mut open, &entry.contribution);
            let header = header.len() as u64;
            has_place(
                &open,
                &folder,
                contributor,
                header + entry.commitment.length,
            )?;
            let upload = Arc::new(Upload::new(entry, before.len() as u64, header, folder));
            // Whoever finds it now waits until it is on the disk.
            let turn = upload.received.clone().try_lock_owned();
            open.insert(leaf, upload.clone());
            (upload, turn.expect("nobody else has it yet"))
        };
        // To its end, whoever waits for it: what is found open is on the disk.
        let uploads = self.clone();
        let opened = tokio::spawn(async move {
            // The entry last: without it nothing was opened.
            let write = || {
                std::fs::write(upload.path("age"), &header)?;
                std::fs::write(upload.path("entry"), &before)
            };
            match uploads.blobs.settle(write).await {
                Ok(()) => Ok(upload),
                Err(error) => {
                    uploads.forget(&upload, turn);
                    Err(NoPlace::Blob(error))
                }
            }
        });
        opened
            .await
            .map_err(io::Error::other)
            .map_err(NoPlace::disk)?
    }

    /// Drops an upload and what came of it.
    pub fn drop_upload(&self, upload: &Upload, turn: Turn) {
        self.forget(upload, turn.received);
    }

    /// Drops one that has ended, if that was not done; another one of this leaf stays.
    pub fn drop_ended(&self, upload: &Arc<Upload>) {
        let mut open = self.state();
        if open
            .get(&upload.leaf())
            .is_some_and(|it| Arc::ptr_eq(it, upload))
        {
            upload.remove();
            open.remove(&upload.leaf());
        }
    }

    fn forget(&self, upload: &Upload, mut received: OwnedMutexGuard<Received>) {
        *received = Received::Gone;
        // Under the lock: the next one of this leaf has files of the same names.
        let mut open = self.state();
        upload.remove();
        open.remove(&upload.leaf());
    }

    fn state(&self) -> MutexGuard<'_, HashMap<Leaf, Arc<Upload>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NoPlace {
    fn disk(error: io::Error) -> Self {
        Self::Blob(BlobError::disk(error))
    }
}

fn left(folder: &Path) -> io::Result<HashMap<Leaf, Arc<Upload>>> {
    let mut open = HashMap::new();
    for file in std::fs::read_dir(folder)? {
        let path = file?.path();
        match path.extension().and_then(|it| it.to_str()) {
            Some("entry") => match Upload::reopen(&path, folder) {
                Some(upload) => {
                    open.insert(upload.entry.contribution.leaf(), Arc::new(upload));
                }
                // Its opening was not acknowledged.
                None => remove_file(&path)?,
            },
            _ if path.with_extension("entry").exists() => {}
            _ => remove_file(&path)?,
        }
    }
    Ok(open)
}

fn drop_idle(open: &mut HashMap<Leaf, Arc<Upload>>) {
    let limit = Duration::from_secs(MAX_IDLE_SECONDS);
    open.retain(|leaf, upload| {
        let is_idle = upload.idle().is_none_or(|idle| idle > limit);
        let ended = is_idle && upload.end();
        if ended {
            tracing::info!(%leaf, "dropped an upload that nobody went on with");
        }
        !ended
    });
}

/// Of one nonce there is one contribution: what its contributor signs now takes the place of what was begun before.
fn drop_earlier(open: &mut HashMap<Leaf, Arc<Upload>>, new: &Contribution) {
    open.retain(|_, upload| {
        let old = &upload.entry.contribution;
        let is_same = (old.contributor, old.nonce) == (new.contributor, new.nonce);
        !is_same || !upload.end()
    });
}

/// Whether there is room for one more upload of so many bytes, beside what all others will come to.
fn has_place(
    open: &HashMap<Leaf, Arc<Upload>>,
    folder: &Path,
    contributor: ContributorId,
    bytes: u64,
) -> Result<(), NoPlace> {
    let own = |upload: &&Arc<Upload>| upload.entry.contribution.contributor == contributor;
    if open.values().filter(own).count() >= MAX_EACH {
        return Err(NoPlace::OfContributor);
    }
    if open.len() >= MAX_ALL {
        return Err(NoPlace::Anywhere);
    }
    has_room(open, folder, bytes)
}

fn has_room(open: &HashMap<Leaf, Arc<Upload>>, folder: &Path, bytes: u64) -> Result<(), NoPlace> {
    let disk = rustix::fs::statvfs(folder).map_err(|error| NoPlace::disk(error.into()))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let expected = open.values().map(|upload| upload.expected()).sum::<u64>();
    match free < expected + bytes + MIN_FREE_BYTES {
        true => Err(NoPlace::Anywhere),
        false => Ok(()),
    }
}

impl Upload {
    fn new(entry: SignedContribution, before: u64, header: u64, folder: PathBuf) -> Self {
        Self {
            entry,
            before,
            header,
            folder,
            received: Arc::default(),
            newest: watch::Sender::default(),
        }
    }

    fn reopen(path: &Path, folder: &Path) -> Option<Self> {
        let before = std::fs::read(path).ok()?;
        let (entry, rest) = parse_entry(&before).ok()?;
        let header = read_header(File::open(path.with_extension("age")).ok()?).ok()??;
        let (before, header) = (before.len() as u64, header.len() as u64);
        rest.is_empty()
            .then(|| Self::new(entry, before, header, folder.to_owned()))
    }

    /// Bytes of all that is uploaded: what comes before the sealed file, and that.
    pub fn length(&self) -> u64 {
        self.before + self.header + self.entry.commitment.length
    }

    /// The sealed file, as far as it came.
    pub fn file(&self) -> PathBuf {
        self.path("age")
    }

    /// Goes on with it: an earlier request that does ends. `None` where it is gone.
    ///
    /// # Errors
    /// [`BlobError::Store`].
    pub async fn turn(&self) -> Result<Option<Turn>, BlobError> {
        self.newest.send_modify(|newest| *newest += 1);
        let newer = self.newest.subscribe();
        let mut received = self.received.clone().lock_owned().await;
        if let Received::Unread = *received {
            let (path, header) = (self.file(), self.header);
            // What was read stays, also where nobody waits for it any more.
            let read = tokio::task::spawn_blocking(move || {
                *received = Received::Here(Box::new(Part::read(&path, header)?));
                Ok(received)
            });
            let read = read.await.map_err(io::Error::other).flatten();
            received = read.map_err(BlobError::disk)?;
        }
        let is_gone = matches!(*received, Received::Gone);
        Ok((!is_gone).then_some(Turn { received, newer }))
    }

    /// Bytes that are still to come, as far as the disk knows.
    fn expected(&self) -> u64 {
        let here = self.file().metadata().map_or(0, |file| file.len());
        (self.header + self.entry.commitment.length).saturating_sub(here)
    }

    fn idle(&self) -> Option<Duration> {
        let changed = self.file().metadata().and_then(|file| file.modified());
        let idle = SystemTime::now().duration_since(changed.ok()?);
        // A clock that was put back makes nothing idle.
        Some(idle.unwrap_or_default())
    }

    /// Ends it unless it is in somebody's hands; says whether it did.
    fn end(&self) -> bool {
        let Ok(mut received) = self.received.try_lock() else {
            return false;
        };
        *received = Received::Gone;
        self.remove();
        true
    }

    /// What cannot be removed is written over by the next one of this leaf, or found by the next start.
    fn remove(&self) {
        for path in [self.path("entry"), self.file()] {
            if let Err(error) = remove_file(&path) {
                tracing::warn!(%error, "a file of an upload that is over stays");
            }
        }
    }

    fn leaf(&self) -> Leaf {
        self.entry.contribution.leaf()
    }

    fn path(&self, extension: &str) -> PathBuf {
        self.folder
            .join(self.leaf().to_string())
            .with_extension(extension)
    }
}

impl Turn {
    /// Bytes of the sealed file that are here.
    pub fn length(&self) -> u64 {
        match &*self.received {
            Received::Here(part) => part.length,
            Received::Unread | Received::Gone => 0,
        }
    }

    /// Returns once another request goes on.
    pub async fn ends(&mut self) {
        if self.newer.changed().await.is_err() {
            // Who asks for an upload holds it.
            std::future::pending().await
        }
    }

    /// Appends to what is here. It is not on the disk yet.
    ///
    /// # Errors
    /// Where nothing was appended.
    pub async fn append(self, bytes: Bytes) -> (Self, io::Result<()>) {
        self.blocking(move |received, mut part| {
            let appended = part.append(&bytes);
            *received = Received::Here(part);
            appended
        })
        .await
    }

    /// Returns once all that is here is on the disk.
    ///
    /// # Errors
    /// Where that is unknown: what is here may be read and yet be lost. The kernel tells it once, so nobody goes on with it.
    pub async fn sync(self) -> (Self, io::Result<()>) {
        self.blocking(|received, part| {
            let synced = part.file.sync_data();
            *received = match synced {
                Ok(()) => Received::Here(part),
                Err(_) => Received::Gone,
            };
            synced
        })
        .await
    }

    /// What the bytes came to. Whoever asks once more has the file read again.
    pub fn finish(&mut self) -> Option<(BlobId, PayloadOutline)> {
        match std::mem::take(&mut *self.received) {
            Received::Here(part) => Some((part.hasher.finish(), part.tree.outline())),
            Received::Unread | Received::Gone => None,
        }
    }

    /// Moves the turn into the work: where nobody waits for it any more, it is still done before the next turn.
    async fn blocking(
        mut self,
        work: impl FnOnce(&mut Received, Box<Part>) -> io::Result<()> + Send + 'static,
    ) -> (Self, io::Result<()>) {
        let worked = tokio::task::spawn_blocking(move || {
            let received = &mut *self.received;
            let done = match std::mem::replace(received, Received::Gone) {
                Received::Here(part) => work(received, part),
                Received::Unread | Received::Gone => Err(io::Error::other("the upload is over")),
            };
            (self, done)
        });
        worked.await.expect("writing a file does not panic")
    }
}

impl Part {
    /// What an earlier life received.
    fn read(path: &Path, header: u64) -> io::Result<Self> {
        let mut part = Self {
            file: File::options().read(true).write(true).open(path)?,
            hasher: BlobHasher::default(),
            tree: PayloadTree::new(),
            header,
            length: 0,
        };
        let mut bytes = vec![0; PIECE_BYTES];
        loop {
            match part.file.read_at(&mut bytes, part.length)? {
                0 => return Ok(part),
                read => part.take(&bytes[..read]),
            }
        }
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = self.file.write_all_at(bytes, self.length);
        match written {
            Ok(()) => self.take(bytes),
            // Some of it may be there: what comes next is written over it.
            Err(_) => drop(self.file.set_len(self.length)),
        }
        written
    }

    fn take(&mut self, bytes: &[u8]) {
        let of_header = self.header.saturating_sub(self.length);
        let of_header = bytes.len().min(of_header as usize);
        self.hasher.update(bytes);
        self.tree.update(&bytes[of_header..]);
        self.length += bytes.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{Address, B256, Signature};
    use collective::contribution::Commitment;
    use collective::terms::Terms;

    use super::*;
    use crate::intake::join;

    const HEADER: &str = "age-encryption.org/v1\n-> X25519 TEiF0ypqr+bpvcqXNyCVJpL7OuwPdVwPL7KQEbFDOCc\nEmECAEcKN+n/Vs9SbWiV+Hu0r+E8R77DdWYyd83nw7U\n--- Vn+54jqiiUCE+WZcEVY3f1sqHjlu/z1LCQ/T7Xm7qI0\n";

    fn entry(contributor: u8, nonce: u64, length: u64) -> SignedContribution {
        let terms = Terms {
            purposes: Default::default(),
            expiry: 0,
        };
        SignedContribution {
            contribution: Contribution {
                collective: Address::ZERO,
                contributor: B256::repeat_byte(contributor).into(),
                point: B256::ZERO.into(),
                commitment: B256::ZERO.into(),
                terms: terms.digest(),
                nonce,
            },
            commitment: Commitment {
                header: B256::ZERO,
                payload: B256::ZERO,
                length,
                source: "poll".into(),
            },
            terms,
            signature: Signature::test_signature(),
        }
    }

    async fn begin(uploads: &Uploads, entry: &SignedContribution) -> Result<Arc<Upload>, NoPlace> {
        let before = join(entry, b"").into();
        uploads.begin(entry.clone(), before, HEADER.into()).await
    }

    async fn turn(upload: &Upload) -> Turn {
        upload.turn().await.expect("a disk").expect("an upload")
    }

    #[tokio::test]
    async fn what_came_is_there_after_a_restart_and_what_nobody_goes_on_with_makes_way() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let blobs = Blobs::folder(folder.path()).expect("a store");
        let uploads = Uploads::open(blobs.clone()).expect("a folder");
        let first = entry(1, 1, 100);
        let upload = begin(&uploads, &first).await.expect("room");
        let (grown, written) = turn(&upload).await.append("some bytes".into()).await;
        written.expect("written");
        grown.sync().await.1.expect("on the disk");
        // Without its entry nothing was opened.
        let torn = upload.file().with_file_name("torn.age");
        std::fs::write(&torn, HEADER).expect("written");
        let garbled = torn.with_file_name("garbled.entry");
        std::fs::write(&garbled, "garbled").expect("written");

        drop((upload, uploads));
        let uploads = Uploads::open(blobs).expect("a folder");
        assert!(!torn.exists() && !garbled.exists());
        let upload = uploads.get(first.contribution.leaf()).expect("it is there");
        let mut again = turn(&upload).await;
        assert_eq!(again.length(), HEADER.len() as u64 + 10);
        let whole = [HEADER.as_bytes(), b"some bytes"].concat();
        let (name, outline) = again.finish().expect("what came");
        assert_eq!(name, BlobId::of(&whole));
        let mut tree = PayloadTree::new();
        tree.update(b"some bytes");
        assert_eq!(outline, tree.outline());
        drop(again);

        // One that was left alone is dropped when somebody else comes, and whoever still has it has nothing.
        let file = File::options().write(true).open(upload.file());
        let old = SystemTime::now() - Duration::from_secs(MAX_IDLE_SECONDS + 1);
        file.and_then(|file| file.set_modified(old))
            .expect("a file");
        begin(&uploads, &entry(2, 1, 100)).await.expect("room");
        assert!(uploads.get(first.contribution.leaf()).is_none());
        assert!(!upload.file().exists());
        assert!(upload.turn().await.expect("a disk").is_none());
    }

    #[tokio::test]
    async fn there_is_room_for_so_many_and_for_what_the_disk_has() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let blobs = Blobs::folder(folder.path()).expect("a store");
        let uploads = Uploads::open(blobs).expect("a folder");
        let too_large = begin(&uploads, &entry(9, 1, 1 << 60)).await;
        assert!(matches!(too_large, Err(NoPlace::Anywhere)));
        let too_large = uploads.has_room_for(1 << 60);
        assert!(matches!(too_large, Err(NoPlace::Anywhere)));
        uploads.has_room_for(1).expect("room");
        for place in 0..MAX_ALL {
            let (contributor, nonce) = (place / MAX_EACH, place % MAX_EACH);
            let one = entry(contributor as u8, nonce as u64, 1);
            begin(&uploads, &one).await.expect("room");
            if nonce == MAX_EACH - 1 && place + 1 < MAX_ALL {
                let more = begin(&uploads, &entry(contributor as u8, 99, 1)).await;
                assert!(matches!(more, Err(NoPlace::OfContributor)));
            }
        }
        let more = begin(&uploads, &entry(99, 1, 1)).await;
        assert!(matches!(more, Err(NoPlace::Anywhere)));
        // One that is open is opened again.
        begin(&uploads, &entry(0, 0, 1)).await.expect("it is there");
        let upload = uploads.get(entry(0, 0, 1).contribution.leaf());
        let upload = upload.expect("it is there");
        uploads.drop_upload(&upload, turn(&upload).await);
        begin(&uploads, &entry(99, 1, 1)).await.expect("room again");
    }

    #[tokio::test]
    async fn the_newest_request_goes_on() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let blobs = Blobs::folder(folder.path()).expect("a store");
        let uploads = Uploads::open(blobs).expect("a folder");
        let upload = begin(&uploads, &entry(1, 1, 100)).await.expect("room");
        let mut first = turn(&upload).await;
        let next = tokio::spawn(async move { turn(&upload).await.length() });
        first.ends().await;
        drop(first);
        assert_eq!(next.await.expect("its turn"), HEADER.len() as u64);
    }
}
