//! Files that contributors keep, fetched before a run needs them and dropped after it.
//!
//! A lease is taken once all of them are here: a place that falls silent later holds up nothing. What is here is only a copy, is
//! checked whenever it is read, and is fetched again where it is lost. A file comes a MiB at a time, each compared with the
//! outline that the node has of it, and goes on in the next step of the job where it stopped.
//!
//! `LEAF` in the folder is a whole file, `LEAF.part` one that is on its way.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use collective::contribution::{BLOCK_BYTES, PlaceUrl, SignedContribution, blocks};
use collective::id::{Leaf, sha256};
use collective::limits::MAX_HEADER_BYTES;
use futures_util::{StreamExt, TryStreamExt, stream};
use thiserror::Error;

use crate::blobs::{BlobError, Blobs, remove_file};
use crate::contributor::split_file;
use crate::intake::{IntakeRefusal, check_payload, fetch_block};
use crate::ledger::{Ledger, LedgerError};
use crate::places::Places;
use crate::stub::Stub;

/// Bytes of all that is here: as many as the programs of all runs may have in memory.
pub const MAX_BYTES: u64 = 16 << 30;

/// Files fetched at the same time.
const AT_ONCE: usize = 16;

/// For one step of a job, in which others wait for their turn: a little more than one place may take for a MiB. What was fetched by
/// then stays.
const STEP_LIMIT: Duration = Duration::from_secs(40);

/// For so long the other jobs take a place for silent that did not give one of them a file: many jobs that wait for one place cost no
/// more than one.
const SILENT: Duration = Duration::from_secs(60);

/// Why a file is not at hand. The next step tries again.
#[derive(Debug, Error)]
pub enum FetchError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// What the node has beside it.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The folder.
    #[error("cannot keep fetched files: {0}; check the disk")]
    Folder(#[from] std::io::Error),
    /// A ledger took along where it is.
    #[error(
        "where the contributor keeps leaf {0} is lost: they have to say it by `contributions place`"
    )]
    Lost(Leaf),
    /// It is not there.
    #[error("the contributor of leaf {leaf} keeps the file, and it cannot be fetched: {refusal}")]
    Away {
        /// Which.
        leaf: Leaf,
        /// Why.
        refusal: Box<IntakeRefusal>,
    },
    /// It was not there for another job.
    #[error(
        "the contributor of leaf {0} keeps the file, and another job could not fetch it a moment ago"
    )]
    Silent(Leaf),
    /// Others are in the way.
    #[error("files that contributors keep have {MAX_BYTES} bytes here already: other jobs first")]
    Full,
    /// There are many, or some are slow.
    #[error(
        "that of leaf {0} and maybe more of the files that contributors keep are still being fetched"
    )]
    Unfinished(Leaf),
    /// It was here, and is not any more.
    #[error("the fetched file of leaf {0} is lost or garbled: it is fetched again")]
    Garbled(Leaf),
}

/// The folder of what was fetched.
pub struct Fetched {
    folder: PathBuf,
    ledger: Ledger,
    blobs: Blobs,
    places: Places,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Bytes in the folder.
    bytes: u64,
    /// Whose files each job reads.
    wanted: HashMap<u64, HashSet<Leaf>>,
    /// Jobs that had all of theirs at some moment: they may be leased since, so nothing of theirs makes way, and what they have to
    /// fetch again has room before all that was never complete.
    ready: HashSet<u64>,
    /// What a job could not get last: it is asked for first, and nobody else again while it is away.
    away: HashMap<u64, Leaf>,
    /// Which job could not get a file, and when.
    silent: HashMap<Leaf, (u64, Instant)>,
    /// What is being fetched: two that write one file would be in each other's way.
    under_way: HashSet<Leaf>,
}

/// Says for as long as it is held that a file is being fetched.
struct UnderWay(Arc<Mutex<State>>, Leaf);

impl Drop for UnderWay {
    fn drop(&mut self) {
        lock(&self.0).under_way.remove(&self.1);
    }
}

impl State {
    /// Whether what `other` waits with makes way for a job: that is for those which may be leased, and then for the first.
    fn yields(&self, other: u64, job: u64) -> bool {
        !self.ready.contains(&other) && (self.ready.contains(&job) || job < other)
    }

    /// Drops a file, and what came of it.
    fn remove(&mut self, file: &Path) {
        for file in [file, &part_of(file)] {
            let length = file.metadata().map_or(0, |file| file.len());
            if std::fs::remove_file(file).is_ok() {
                self.bytes = self.bytes.saturating_sub(length);
            }
        }
    }
}

impl Fetched {
    /// What is in `folder` from an earlier life stays, but for files that were on their way: what of them is on the disk is not known.
    ///
    /// # Errors
    /// Where the folder can neither be read nor made.
    pub fn open(
        folder: PathBuf,
        ledger: Ledger,
        blobs: Blobs,
        places: Places,
    ) -> Result<Self, std::io::Error> {
        std::fs::create_dir_all(&folder)?;
        let mut bytes = 0;
        for file in std::fs::read_dir(&folder)? {
            let file = file?.path();
            match file.extension().is_some() {
                true => remove_file(&file)?,
                false => bytes += file.metadata()?.len(),
            }
        }
        let state = Arc::new(Mutex::new(State {
            bytes,
            ..State::default()
        }));
        Ok(Self {
            folder,
            ledger,
            blobs,
            places,
            state,
        })
    }

    /// Whether all of these files can be here at once, with the longest header for each.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn has_room_for(
        &self,
        members: impl Iterator<Item = &SignedContribution>,
    ) -> Result<bool, LedgerError> {
        let connected = self.ledger.connected().await?;
        let kept = members.filter(|it| connected.contains_key(&it.contribution.leaf()));
        let bytes = kept.map(|it| it.commitment.length.saturating_add(MAX_HEADER_BYTES as u64));
        Ok(bytes.fold(0, u64::saturating_add) <= MAX_BYTES)
    }

    /// Has all of these files at hand for a job; those that the node has itself are passed over.
    ///
    /// # Errors
    /// [`FetchError`]; what was fetched stays for the next try.
    pub async fn have(
        &self,
        job: u64,
        members: impl Iterator<Item = &SignedContribution>,
    ) -> Result<(), FetchError> {
        let connected = self.ledger.connected().await?;
        let kept = members.filter_map(|entry| {
            let place = connected.get(&entry.contribution.leaf())?;
            Some((entry.clone(), place.clone()))
        });
        let mut kept: Vec<_> = kept.collect();
        let leaf = |(entry, _): &(SignedContribution, _)| entry.contribution.leaf();
        let leaves: HashSet<_> = kept.iter().map(leaf).collect();
        let away = {
            let mut state = self.state();
            state.wanted.insert(job, leaves.clone());
            state.away.remove(&job)
        };
        kept.retain(|one| !self.path(leaf(one)).exists());
        if kept.is_empty() {
            self.state().ready.insert(job);
        }
        let fetched = async {
            if let Some(first) = kept.iter().position(|one| Some(leaf(one)) == away) {
                let (entry, place) = kept.swap_remove(first);
                self.fetch_for(job, entry, place).await?;
            }
            let fetches =
                stream::iter(kept).map(|(entry, place)| self.fetch_for(job, entry, place));
            fetches.buffer_unordered(AT_ONCE).try_collect().await
        };
        let fetched = tokio::time::timeout(STEP_LIMIT, fetched).await;
        fetched.unwrap_or(Ok(()))?;
        // Under the lock: nothing that was fetched earlier in this step makes way from here on.
        let missing = {
            let mut state = self.state();
            let missing = leaves.into_iter().find(|leaf| !self.path(*leaf).exists());
            if missing.is_none() {
                state.ready.insert(job);
            }
            missing
        };
        match missing {
            None => Ok(()),
            Some(missing) => {
                self.state().away.insert(job, missing);
                Err(FetchError::Unfinished(missing))
            }
        }
    }

    /// The sealed file of a contribution that [`Self::have`] fetched.
    ///
    /// # Errors
    /// [`FetchError::Garbled`] where it is not here any more as it was.
    pub async fn read(&self, entry: &SignedContribution) -> Result<Bytes, FetchError> {
        let leaf = entry.contribution.leaf();
        let path = self.path(leaf);
        let garbled = FetchError::Garbled(leaf);
        let Ok(file) = tokio::fs::read(&path).await else {
            return Err(garbled);
        };
        let is_right = split_file(&file).is_some_and(|(header, payload)| {
            sha256(header) == entry.commitment.header && check_payload(entry, payload).is_ok()
        });
        if !is_right {
            self.state().remove(&path);
            return Err(garbled);
        }
        Ok(file.into())
    }

    /// Drops what was fetched for a job and no other wants.
    pub fn forget(&self, job: u64) {
        let mut state = self.state();
        state.away.remove(&job);
        state.ready.remove(&job);
        let Some(mut leaves) = state.wanted.remove(&job) else {
            return;
        };
        for others in state.wanted.values() {
            leaves.retain(|leaf| !others.contains(leaf));
        }
        // Under the lock: another job that finds a file here wants it from then on.
        for leaf in leaves {
            state.remove(&self.path(leaf));
        }
    }

    /// Drops what was fetched of a contribution that no job reads any more.
    pub fn drop_file(&self, leaf: Leaf) {
        self.state().remove(&self.path(leaf));
    }

    async fn fetch_for(
        &self,
        job: u64,
        entry: SignedContribution,
        place: Option<PlaceUrl>,
    ) -> Result<(), FetchError> {
        let leaf = entry.contribution.leaf();
        let is_silent = |(asked_by, at): &(u64, Instant)| *asked_by != job && at.elapsed() < SILENT;
        let is_silent = self.state().silent.get(&leaf).is_some_and(is_silent);
        let fetched = match is_silent {
            true => Err(FetchError::Silent(leaf)),
            false => self.fetch(job, &entry, place).await,
        };
        let mut state = self.state();
        match &fetched {
            Ok(()) => {
                state.silent.remove(&leaf);
            }
            Err(error) => {
                state.away.insert(job, leaf);
                let is_away = !matches!(
                    error,
                    FetchError::Silent(_) | FetchError::Unfinished(_) | FetchError::Full
                );
                if is_away {
                    state.silent.retain(|_, (_, at)| at.elapsed() < SILENT);
                    state.silent.insert(leaf, (job, Instant::now()));
                }
            }
        }
        fetched
    }

    async fn fetch(
        &self,
        job: u64,
        entry: &SignedContribution,
        place: Option<PlaceUrl>,
    ) -> Result<(), FetchError> {
        let leaf = entry.contribution.leaf();
        let place = place.ok_or(FetchError::Lost(leaf))?;
        if !self.state().under_way.insert(leaf) {
            return Err(FetchError::Unfinished(leaf));
        }
        let under_way = UnderWay(self.state.clone(), leaf);
        let file = self.ledger.file(leaf).await?;
        let file = file.ok_or(FetchError::Lost(leaf))?;
        let Stub {
            header, outline, ..
        } = Stub::open(&self.blobs, file, &entry.commitment).await?;
        let away = |refusal| FetchError::Away {
            leaf,
            refusal: Box::new(refusal),
        };
        let mut part = self.part(job, leaf, &header)?;
        for block in blocks(entry.commitment.length).skip(part.blocks) {
            let length = header.len();
            let fetched = fetch_block(&self.places, &place, entry, length, &outline, block).await;
            let (bytes, _) = fetched.map_err(away)?;
            self.append(job, &mut part, &bytes)?;
        }
        self.finish(part, under_way).await
    }

    /// A file as far as it came, to its last whole MiB; a new one has its header.
    fn part(&self, job: u64, leaf: Leaf, header: &[u8]) -> Result<Part, FetchError> {
        let path = part_of(&self.path(leaf));
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(false);
        let file = file.open(path)?;
        let (length, header_bytes) = (file.metadata()?.len(), header.len() as u64);
        let blocks = length.saturating_sub(header_bytes) / BLOCK_BYTES;
        let whole = match length < header_bytes {
            true => 0,
            false => header_bytes + blocks * BLOCK_BYTES,
        };
        file.set_len(whole)?;
        {
            let mut state = self.state();
            state.bytes = state.bytes.saturating_sub(length - whole);
        }
        let mut part = Part {
            file,
            length: whole,
            blocks: blocks as usize,
        };
        if whole == 0 {
            self.append(job, &mut part, header)?;
        }
        Ok(part)
    }

    /// Writes what comes next, if there is room for it.
    fn append(&self, job: u64, part: &mut Part, bytes: &[u8]) -> Result<(), FetchError> {
        let more = bytes.len() as u64;
        if self.state().bytes + more > MAX_BYTES {
            self.drop_for(None)?;
        }
        if self.state().bytes + more > MAX_BYTES {
            self.drop_for(Some(job))?;
        }
        {
            let mut state = self.state();
            if state.bytes + more > MAX_BYTES {
                return Err(FetchError::Full);
            }
            state.bytes += more;
        }
        match part.file.write_all_at(bytes, part.length) {
            Ok(()) => part.length += more,
            Err(error) => {
                self.state().bytes -= more;
                part.file.set_len(part.length)?;
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Gives a file its name once it is on the disk: a lease is taken on what is here, also after a power cut. A step that ends does
    /// not end this, so the file is under way until it is done.
    async fn finish(&self, part: Part, under_way: UnderWay) -> Result<(), FetchError> {
        let (folder, path) = (self.folder.clone(), self.path(under_way.1));
        let named = move || {
            let name = || {
                part.file.sync_all()?;
                std::fs::rename(part_of(&path), &path)?;
                File::open(folder)?.sync_all()
            };
            // The kernel tells once that it lost something.
            name().inspect_err(|_| lock(&under_way.0).remove(&path))
        };
        let named = tokio::task::spawn_blocking(named).await;
        Ok(named.map_err(io::Error::other).flatten()?)
    }

    /// Drops what an earlier life left, and no job wants any more; for a job also what only later ones want that wait: of two that
    /// wait with a part of the room each neither would ever go on.
    fn drop_for(&self, job: Option<u64>) -> Result<(), FetchError> {
        // Under the lock: nothing makes way once its job is ready.
        let mut state = self.state();
        let yields = |other: &u64| job.is_some_and(|job| state.yields(*other, job));
        let wanted = state.wanted.iter().filter(|(other, _)| !yields(other));
        let leaves = wanted.flat_map(|(_, leaves)| leaves);
        let leaves = leaves.chain(&state.under_way);
        let paths = leaves.map(|leaf| self.path(*leaf));
        let wanted: HashSet<_> = paths.flat_map(|path| [part_of(&path), path]).collect();
        let mut bytes = 0;
        for file in std::fs::read_dir(&self.folder)? {
            let file = file?;
            match wanted.contains(&file.path()) {
                true => bytes += file.metadata()?.len(),
                false => std::fs::remove_file(file.path())?,
            }
        }
        state.bytes = bytes;
        Ok(())
    }

    fn path(&self, leaf: Leaf) -> PathBuf {
        self.folder.join(leaf.to_string())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file that is on its way.
struct Part {
    file: File,
    /// Bytes that are here.
    length: u64,
    /// Blocks of the payload that were here when it was opened.
    blocks: usize,
}

fn part_of(file: &Path) -> PathBuf {
    file.with_extension("part")
}

#[cfg(test)]
mod tests {
    use alloy::primitives::B256;
    use collective::id::BlobId;
    use futures_util::FutureExt;

    use super::*;
    use crate::ledger::{Held, Kept};

    const FIRST: Leaf = Leaf(B256::repeat_byte(1));
    const SECOND: Leaf = Leaf(B256::repeat_byte(2));

    async fn opened(folder: &std::path::Path) -> Fetched {
        let ledger = Ledger::open(&folder.join("ledger"))
            .await
            .expect("a ledger");
        let blobs = Blobs::folder(&folder.join("blobs")).expect("a store");
        let places = Places::new(Default::default()).expect("a client");
        Fetched::open(folder.join("fetched"), ledger, blobs, places).expect("a folder")
    }

    async fn keep(fetched: &Fetched, leaf: Leaf, file: &[u8]) -> Result<(), FetchError> {
        keep_for(fetched, 1, leaf, file).await
    }

    async fn keep_for(
        fetched: &Fetched,
        job: u64,
        leaf: Leaf,
        file: &[u8],
    ) -> Result<(), FetchError> {
        let mut part = fetched.part(job, leaf, &file[..1])?;
        fetched.append(job, &mut part, &file[1..])?;
        fetched.finish(part, under_way(fetched, leaf)).await
    }

    fn under_way(fetched: &Fetched, leaf: Leaf) -> UnderWay {
        assert!(fetched.state().under_way.insert(leaf));
        UnderWay(fetched.state.clone(), leaf)
    }

    /// Makes a file that is here so large that nothing more fits.
    fn fill(fetched: &Fetched, leaf: Leaf) {
        let file = File::options().write(true).open(fetched.path(leaf));
        let grown = file.expect("a file").set_len(MAX_BYTES);
        grown.expect("a file with a hole");
        fetched.state().bytes = MAX_BYTES;
    }

    fn want(fetched: &Fetched, job: u64, leaves: &[Leaf]) {
        let leaves = leaves.iter().copied().collect();
        fetched.state().wanted.insert(job, leaves);
    }

    #[tokio::test]
    async fn a_job_whose_files_never_fit_is_known_before_anything_is_fetched() {
        const GIB: u64 = 1 << 30;
        let folder = tempfile::tempdir().expect("a folder");
        let fetched = opened(folder.path()).await;
        let (sealed, header) = crate::stub::tests::file();
        let one = crate::stub::tests::entry(&sealed, header);
        let claimed = |nonce: u64, length| {
            let mut entry = one.clone();
            entry.contribution.nonce = nonce;
            entry.contribution.point = B256::with_last_byte(nonce as u8).into();
            entry.commitment.length = length;
            entry
        };
        let held = |entry: &SignedContribution| Held {
            entry: entry.clone(),
            file: BlobId(B256::ZERO),
        };
        let mut members: Vec<_> = (0..15).map(|nonce| claimed(nonce, GIB)).collect();
        for entry in &members {
            let kept = fetched.ledger.keep_connected(held(entry), None).await;
            assert_eq!(kept.expect("the ledger"), Kept::New);
        }
        let own = claimed(100, u64::MAX);
        let kept = fetched.ledger.keep(held(&own)).await;
        assert_eq!(kept.expect("the ledger"), Kept::New);
        members.push(own);
        let fits = async |members: &[SignedContribution]| {
            let fits = fetched.has_room_for(members.iter()).await;
            fits.expect("the ledger")
        };
        assert!(
            fits(&members).await,
            "what the node has itself is not fetched"
        );
        // A header of each is here, too.
        let left = GIB - 16 * MAX_HEADER_BYTES as u64;
        for (nonce, length, is_right) in [
            (101, left, true),
            (102, left + 1, false),
            (103, u64::MAX, false),
        ] {
            let last = claimed(nonce, length);
            let kept = fetched.ledger.keep_connected(held(&last), None).await;
            assert_eq!(kept.expect("the ledger"), Kept::New);
            members.push(last);
            assert_eq!(fits(&members).await, is_right, "{length}");
            members.pop();
        }
    }

    #[tokio::test]
    async fn what_another_job_wants_stays_when_one_ends() {
        let folder = tempfile::tempdir().expect("a folder");
        let fetched = opened(folder.path()).await;
        want(&fetched, 1, &[FIRST, SECOND]);
        want(&fetched, 2, &[SECOND]);
        for leaf in [FIRST, SECOND] {
            keep(&fetched, leaf, b"a file").await.expect("kept");
        }
        fetched.forget(1);
        assert!(!fetched.path(FIRST).exists() && fetched.path(SECOND).exists());
        fetched.forget(2);
        assert!(!fetched.path(SECOND).exists());
        assert_eq!(fetched.state().bytes, 0);
    }

    #[tokio::test]
    async fn a_full_folder_drops_what_an_earlier_life_left_and_nothing_that_is_wanted() {
        let folder = tempfile::tempdir().expect("a folder");
        let earlier = opened(folder.path()).await;
        keep(&earlier, FIRST, b"left").await.expect("kept");
        earlier.part(1, SECOND, b"half").expect("begun");
        let fetched = opened(folder.path()).await;
        assert_eq!(fetched.state().bytes, 4);
        fetched.state().bytes = MAX_BYTES;
        want(&fetched, 1, &[FIRST, SECOND]);
        let kept = keep(&fetched, SECOND, b"new").await;
        kept.expect("there is room after all");
        assert!(fetched.path(FIRST).exists() && fetched.path(SECOND).exists());
        want(&fetched, 1, &[SECOND]);
        fetched.drop_for(None).expect("a folder");
        assert!(!fetched.path(FIRST).exists());
        assert_eq!(fetched.state().bytes, 3);
        // Nothing that is wanted makes way.
        let second = std::fs::File::options()
            .write(true)
            .open(fetched.path(SECOND));
        let grown = second.expect("a file").set_len(MAX_BYTES - 3);
        grown.expect("a file with a hole");
        fetched.drop_for(None).expect("a folder");
        want(&fetched, 1, &[FIRST, SECOND]);
        let refused = keep(&fetched, FIRST, b"more").await;
        assert!(matches!(refused, Err(FetchError::Full)), "{refused:?}");
    }

    #[tokio::test]
    async fn in_a_full_folder_the_first_job_that_waits_goes_on_and_no_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let fetched = opened(folder.path()).await;
        want(&fetched, 3, &[FIRST]);
        want(&fetched, 5, &[SECOND]);
        keep_for(&fetched, 3, FIRST, b"first").await.expect("kept");
        fill(&fetched, FIRST);
        let later = keep_for(&fetched, 5, SECOND, b"second").await;
        assert!(matches!(later, Err(FetchError::Full)), "{later:?}");
        assert!(fetched.path(FIRST).exists());

        // The other way round the later one makes way, unless it has all of its files: it may be leased.
        fetched.forget(3);
        keep_for(&fetched, 5, SECOND, b"second")
            .await
            .expect("kept");
        want(&fetched, 3, &[FIRST]);
        fill(&fetched, SECOND);
        fetched.state().ready.insert(5);
        let earlier = keep_for(&fetched, 3, FIRST, b"first").await;
        assert!(matches!(earlier, Err(FetchError::Full)), "{earlier:?}");
        fetched.state().ready.remove(&5);
        keep_for(&fetched, 3, FIRST, b"first").await.expect("kept");
        assert!(!fetched.path(SECOND).exists());

        // What may be leased fetches again what it lost, whoever came before.
        fill(&fetched, FIRST);
        fetched.state().ready.insert(5);
        keep_for(&fetched, 5, SECOND, b"second")
            .await
            .expect("kept");
        assert!(!fetched.path(FIRST).exists());
    }

    #[test]
    fn a_file_is_under_way_until_it_has_its_name_whoever_waits_for_that() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        // One thread, so that what is behind something has to wait for it.
        let runtime = runtime.enable_all().max_blocking_threads(1).build();
        runtime.expect("a runtime").block_on(async {
            let folder = tempfile::tempdir().expect("a folder");
            let fetched = opened(folder.path()).await;
            let (go, wait) = std::sync::mpsc::channel::<()>();
            let blocked = tokio::task::spawn_blocking(move || wait.recv());
            assert!(keep(&fetched, FIRST, b"a file").now_or_never().is_none());
            assert!(fetched.state().under_way.contains(&FIRST));
            go.send(()).expect("somebody waits");
            blocked.await.expect("no panic").expect("told");
            tokio::task::spawn_blocking(|| ()).await.expect("behind it");
            assert!(fetched.path(FIRST).exists());
            assert!(!fetched.state().under_way.contains(&FIRST));
        });
    }
}
