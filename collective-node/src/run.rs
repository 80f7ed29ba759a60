//! One permitted run: opens the granted files one after another, feeds the sandbox, and lets out what everybody may see.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy::primitives::B256;
use bytes::Bytes;
use collective::document::content_digest;
use collective::groups::Member;
use collective::id::BlobId;
use collective::input::Anchored;
use collective::limits::MAX_DOCUMENTS_BYTES;
use collective::permit::{Code, Permit};
use collective::seal::header::FileKey;
use collective::seal::payload::{self, sealed_len};
use futures_util::{StreamExt, stream};
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use crate::blobs::{BlobError, Blobs};
use crate::chain::Deployment;
use crate::fetched::{FetchError, Fetched};
use crate::follower::View;
use crate::intake::check_file;
use crate::sandbox::{Fault, Sandbox};
use crate::told::{Handed, Memory, TellError, Telling, wait_out};

pub use published::{NO_OUTPUT, Published, bucket_end, publish};

mod published;

/// Sealed files that wait for the sandbox, or are on their way to it: enough to hide a disk, or a bucket, little enough for memory.
const AHEAD: usize = 16;

/// Sealed bytes that wait: one file of documents at its longest.
const AHEAD_BYTES: u64 = 64 << 20;

/// Bytes of a payload that is read: what the longest plaintext of any source comes to, sealed. A larger one opens for nobody.
const READ_BYTES: u64 = sealed_len(MAX_DOCUMENTS_BYTES) as u64;

/// How long the store may take for one file. A disk takes milliseconds; one that hangs must not hold the run for ever.
const READ_LIMIT: Duration = Duration::from_secs(60);

/// A step of comparing, for each of the two that follow: a slow machine opens and hashes that much in it.
const COMPARING: Duration = Duration::from_secs(1);
const COMPARED_BYTES: u64 = 16 << 20;
const COMPARED_FILES: u64 = 256;

/// Why there is no result, which is not the program's fault; the attempt can be made again.
#[derive(Debug, Error)]
pub enum RunError {
    /// The sandbox.
    #[error(transparent)]
    Sandbox(#[from] Fault),
    /// A file cannot be read.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// A file that its contributor keeps.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// What queries told before.
    #[error(transparent)]
    Tell(TellError),
    /// Something named in the grant is not here.
    #[error("{0}")]
    Missing(String),
}

/// Where the files are.
pub struct Files {
    /// The input set, with the blob of each sealed file; `None` for one that its contributor keeps, which was fetched.
    pub members: Vec<(Anchored, Option<BlobId>)>,
    /// What opens each, in the same order; `None` for a file that nobody can open.
    pub keys: Vec<Option<FileKey>>,
    /// Knows the key that each is sealed to, and whether the collective takes files with a sender proof only.
    pub view: View,
    /// The store.
    pub blobs: Blobs,
    /// The others.
    pub fetched: Arc<Fetched>,
    /// For the senders' contexts.
    pub deployment: Deployment,
}

/// Runs the permitted program over the permitted files. The permit is used up.
///
/// # Errors
/// [`RunError`] for what the operator has to mend; the program's failures are [`Published`].
pub async fn run(
    permit: Permit,
    files: Files,
    sandbox: &Arc<Sandbox>,
    memory: Memory,
) -> Result<Published, RunError> {
    // Before the clock, and before the program: it has no part in this.
    let (files, duplicates) = match permit.grant().manifest().payment.distinct {
        true => {
            let lengths = files.members.iter().map(|(member, _)| readable(member));
            let pause = comparing_of(files.members.len(), lengths.sum());
            let began = Instant::now();
            let (files, duplicates) = find_duplicates(files).await?;
            let waited = tokio::task::spawn_blocking(move || wait_out(pause, began)).await;
            let interrupted =
                |error| RunError::Missing(format!("waiting was interrupted: {error}"));
            waited.map_err(interrupted)?;
            (files, Some(duplicates))
        }
        false => (files, None),
    };
    let (started, runtime) = (Instant::now(), Handle::current());
    let source = &permit.grant().manifest().dataset.source;
    let pause = memory.pause(source).await.map_err(TellError::Ledger);
    let (pause, expected) = (pause.map_err(RunError::Tell)?, files.members.len());
    let (sealed, mut queue) = mpsc::channel(1);
    let reader = tokio::spawn(read(files.blobs, files.fetched, files.members, sealed));
    let (keys, sandbox) = (files.keys, sandbox.clone());
    let ran: Result<Published, RunError> = tokio::task::spawn_blocking(move || {
        let manifest = permit.grant().manifest().clone();
        let handed = RefCell::new(Handed {
            expected,
            ..Handed::default()
        });
        let sealed = std::iter::from_fn(|| queue.blocking_recv()).zip(keys);
        let sealed = sealed.inspect(|_| handed.borrow_mut().read += 1);
        // A file without a key is passed over: it stays in the input set and is read by nobody.
        let records = sealed.filter_map(|((member, file), key)| {
            let record = open(&key?, &files.deployment, &files.view, &member, &file)?;
            Some((record, member.entry.contribution))
        });
        let (ran, deciding) = match permit.code() {
            Code::Sql(_) => {
                let telling = Telling::of(permit.grant());
                let records = records.map(|(record, contribution)| {
                    let member = Member::of(&contribution);
                    handed.borrow_mut().members.push(member);
                    record
                });
                let deciding = Cell::new(None);
                let screen = |grouping| {
                    let began = Instant::now();
                    let kept = memory.screen(&runtime, &telling, &handed.borrow(), grouping)?;
                    deciding.set(Some(wait_out(pause, began)));
                    Ok(kept)
                };
                let ran = sandbox.query(permit, records, screen);
                // A query that fails before takes as long as one that does not.
                let deciding = deciding.get();
                let deciding = deciding.unwrap_or_else(|| wait_out(pause, Instant::now()));
                (ran, deciding)
            }
            _ => {
                let records = records.map(|(record, _)| record);
                let ran = sandbox.run(permit, records).map_err(TellError::from);
                (ran, Duration::ZERO)
            }
        };
        let ran = match ran {
            Ok(run) => Ok(run),
            Err(TellError::Run(failure)) => Err(failure),
            Err(error) => return Err(RunError::Tell(error)),
        };
        // Deciding is not the query's own time.
        let mut published = publish(&manifest, started + deciding, ran)?;
        published.duplicates = duplicates;
        Ok(published)
    })
    .await
    .map_err(|error| RunError::Missing(format!("the run was interrupted: {error}")))?;
    match reader.await {
        Ok(read) => read?,
        Err(error) => return Err(RunError::Missing(format!("the reader stopped: {error}"))),
    }
    ran
}

/// The plaintext of one contribution, or nothing where the contributor's file does not open: it
/// stays in the input set and is counted as read by nobody.
fn open(
    file_key: &FileKey,
    deployment: &Deployment,
    view: &View,
    member: &Anchored,
    file: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    // The ledger says where the file is; that it is the committed one is checked again.
    let proof_required = view.committee.proof_required();
    let recipient = view.key_of(&member.entry)?;
    let checked = check_file(&member.entry, file, deployment, recipient, proof_required);
    let opened = checked
        .map_err(|refusal| refusal.to_string())
        .and_then(|(_, body)| payload::open(file_key, body).map_err(|error| error.to_string()));
    match opened {
        Ok(record) => Some(Zeroizing::new(record)),
        Err(error) => {
            let leaf = member.entry.contribution.leaf();
            tracing::warn!(%leaf, error, "a contribution does not open");
            None
        }
    }
}

/// Places in the input set of contributions whose content another one of the set has, too, which was anchored before: they earn
/// nothing (SPEC "Rewards"). Opens every file whole, and lets go of it: whatever a program reads, and however it ends, this is the same.
async fn find_duplicates(files: Files) -> Result<(Files, Vec<u32>), RunError> {
    let runtime = Handle::current();
    let found = tokio::task::spawn_blocking(move || {
        let mut contents = Vec::with_capacity(files.members.len());
        for ((member, file), key) in files.members.iter().zip(&files.keys) {
            let content = match key {
                None => None,
                Some(key) => {
                    let sealed = read_one(&files.blobs, &files.fetched, member, *file);
                    let sealed = runtime.block_on(sealed)?;
                    let plaintext = open(key, &files.deployment, &files.view, member, &sealed);
                    plaintext.and_then(|plaintext| content_digest(&plaintext))
                }
            };
            contents.push((member.block, content));
        }
        Ok((files, later_ones(&contents)))
    });
    let interrupted = |error| RunError::Missing(format!("comparing was interrupted: {error}"));
    found.await.map_err(interrupted)?
}

/// What comparing so many files with so many bytes takes by the clock, or a whole number of times that where the machine is slow:
/// when a run is published follows from both, which everybody knows, and not from what is in the files.
pub fn comparing(members: &[Anchored]) -> Duration {
    let bytes = members.iter().map(readable).sum();
    comparing_of(members.len(), bytes)
}

fn comparing_of(files: usize, bytes: u64) -> Duration {
    let steps = bytes / COMPARED_BYTES + files as u64 / COMPARED_FILES;
    COMPARING.saturating_mul(1 + u32::try_from(steps).unwrap_or(u32::MAX - 1))
}

/// Of equal contents all places but that of the first: the one in the lowest block and, in one block, at the lowest place.
fn later_ones(contents: &[(u64, Option<B256>)]) -> Vec<u32> {
    let known = contents.iter().zip(0_u32..);
    let known = known.filter_map(|((block, content), place)| Some(((*block, place), (*content)?)));
    let mut in_order: Vec<_> = known.collect();
    in_order.sort_unstable();
    let mut first = HashMap::new();
    let later = in_order.into_iter().filter_map(|((_, place), content)| {
        (*first.entry(content).or_insert(place) != place).then_some(place)
    });
    let mut later: Vec<_> = later.collect();
    later.sort_unstable();
    later
}

/// In their order, each on its way while those before it are waited for: of a bucket a file takes tens of milliseconds however short
/// it is, and a run has little time for each.
async fn read(
    blobs: Blobs,
    fetched: Arc<Fetched>,
    members: Vec<(Anchored, Option<BlobId>)>,
    to: mpsc::Sender<(Anchored, Bytes)>,
) -> Result<(), RunError> {
    let at_once = ahead(&members);
    let each = stream::iter(members).map(|(member, file)| {
        let (blobs, fetched) = (blobs.clone(), fetched.clone());
        // On its own: it comes to its end while the program takes its time.
        tokio::spawn(async move {
            let bytes = read_one(&blobs, &fetched, &member, file).await?;
            Ok::<_, RunError>((member, bytes))
        })
    });
    let mut each = each.buffered(at_once);
    while let Some(read) = each.next().await {
        let interrupted = |error| RunError::Missing(format!("reading was interrupted: {error}"));
        if to.send(read.map_err(interrupted)??).await.is_err() {
            // The program ended early; it is for the program to say why.
            break;
        }
    }
    Ok(())
}

/// How many files may wait, by the longest of them.
fn ahead(members: &[(Anchored, Option<BlobId>)]) -> usize {
    let lengths = members.iter().map(|(member, _)| readable(member));
    let longest = lengths.max().unwrap_or(0).max(1);
    usize::try_from(AHEAD_BYTES / longest).map_or(AHEAD, |files| files.clamp(1, AHEAD))
}

/// Whether a run reads a file at all: a longer one opens for nobody, and need not be here.
pub fn is_read(member: &Anchored) -> bool {
    member.entry.commitment.length <= READ_BYTES
}

/// Bytes of a payload that is read: none of one that is too long.
fn readable(member: &Anchored) -> u64 {
    match is_read(member) {
        true => member.entry.commitment.length,
        false => 0,
    }
}

/// One sealed file, from the store or from where it was fetched to; nothing of one that is too long.
async fn read_one(
    blobs: &Blobs,
    fetched: &Fetched,
    member: &Anchored,
    file: Option<BlobId>,
) -> Result<Bytes, RunError> {
    if readable(member) == 0 {
        return Ok(Bytes::new());
    }
    let leaf = member.entry.contribution.leaf();
    let stalled = |_| RunError::Missing(format!("the store did not give {leaf} in time"));
    let read = async {
        match file {
            Some(file) => Ok(blobs.get(file).await?),
            None => Ok::<_, RunError>(fetched.read(&member.entry).await?),
        }
    };
    let read = tokio::time::timeout(READ_LIMIT, read).await;
    read.map_err(stalled)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparing_takes_what_is_public_and_nothing_else() {
        assert_eq!(comparing_of(0, 0), COMPARING);
        assert_eq!(comparing_of(256, 32 << 20), 4 * COMPARING);
        assert!(comparing_of(usize::MAX, u64::MAX) > comparing_of(1, 0));
    }

    #[test]
    fn of_equal_contents_the_one_that_was_anchored_first_earns() {
        let content = |byte| Some(B256::repeat_byte(byte));
        let contents = [
            (9, content(1)),
            (7, content(2)),
            (8, content(1)),
            (8, None),
            (8, content(1)),
            (9, None),
            (9, content(3)),
            (7, content(1)),
        ];
        assert_eq!(later_ones(&contents), [0, 2, 4]);
        assert_eq!(later_ones(&contents[..3]), [0]);
        assert_eq!(later_ones(&contents[1..6]), [3]);
        assert_eq!(later_ones(&[]), [0_u32; 0]);
    }
}
