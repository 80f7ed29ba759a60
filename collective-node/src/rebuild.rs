//! Makes again what a lost ledger knew of anchored contributions: from chain and blobs (invariant 4).
//!
//! What was acknowledged and never anchored is not on the chain, so it stays lost with the ledger.

use std::collections::{HashMap, HashSet};
use std::pin::pin;

use alloy::primitives::B256;
use bytes::Bytes;
use collective::contribution::{Batch, PayloadOutline, PayloadTree, SignedContribution};
use collective::id::{BlobId, sha256};
use futures_util::{Stream, StreamExt, TryStreamExt};
use thiserror::Error;

use crate::blobs::{BlobError, Blobs, OpenBlob, given};
use crate::chain::{Chain, ChainError};
use crate::follower::View;
use crate::headers::scan;
use crate::ledger::{Held, Kept, Ledger, LedgerError};
use crate::stub::Stub;
use crate::withdrawal::withdrawn;

/// Blobs that the store fails to give before nobody looks further: each takes as long as the patience with a bucket, and a store that
/// is away gives none of a million.
const MAX_UNREADABLE: usize = 32;

/// Why nothing, or not everything, could be made again.
#[derive(Debug, Error)]
pub enum RebuildError {
    /// The chain.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The blob store.
    #[error(transparent)]
    Blob(#[from] BlobError),
}

/// Notes every anchored contribution and batch that the ledger lacks, with the sealed files, or as withdrawn where the file was
/// dropped; says how many contributions. Where something lacks, the head of every blob is read, and all of those that may be it. One that
/// cannot be read is in nobody's way, unless something still lacks at the end.
///
/// # Errors
/// [`RebuildError`]; what was noted stays noted.
pub async fn rebuild(
    chain: &Chain,
    view: &View,
    ledger: &Ledger,
    blobs: &Blobs,
) -> Result<usize, RebuildError> {
    let known = ledger.leaves().await?;
    // Also what counts no more: it is still stored, and audited.
    let lacking = view.index.anchored().map(|anchored| &anchored.entry);
    let lacking = lacking.filter(|entry| !known.contains(&entry.contribution.leaf()));
    // The header's hash is in the leaf: it finds the file, whatever the file is called.
    let mut lacking: HashMap<B256, &SignedContribution> = lacking
        .map(|entry| (entry.commitment.header, entry))
        .collect();
    if lacking.is_empty() {
        batches(view, ledger, blobs).await?;
        return Ok(0);
    }
    tracing::warn!(
        count = lacking.len(),
        "the ledger lacks anchored contributions: reading all blobs for their files"
    );
    let all = scan(blobs).await?;
    let (mut found, connected) = files(all, ledger, blobs, &mut lacking).await?;
    // Later: anybody can put what is kept of a file beside that file, where it is here.
    for held in connected {
        if lacking.remove(&held.entry.commitment.header).is_none() {
            continue;
        }
        let leaf = held.entry.contribution.leaf();
        tracing::error!(%leaf, "where its contributor keeps this is lost: they have to say it again");
        found += usize::from(ledger.keep_connected(held, None).await? == Kept::New);
    }
    found += tombstones(chain, view, ledger, blobs, &mut lacking).await?;
    if !lacking.is_empty() {
        let count = lacking.len();
        tracing::error!(count, "no blob is the file of these anchored contributions");
    }
    batches(view, ledger, blobs).await?;
    Ok(found)
}

/// Notes what has its file among all blobs; says how many, and what may be kept by its contributor: first all of which the hashes are
/// whole, then those of which some are lost, which serve until their contributor says the place again.
async fn files(
    all: impl Stream<Item = Result<(BlobId, OpenBlob, Bytes), BlobError>>,
    ledger: &Ledger,
    blobs: &Blobs,
    lacking: &mut HashMap<B256, &SignedContribution>,
) -> Result<(usize, Vec<Held>), RebuildError> {
    let (mut found, mut connected, mut bent) = (0, vec![], vec![]);
    let mut unreadable = Unreadable::default();
    let mut all = pin!(all);
    while let Some(read) = all.next().await {
        let Some((file, blob, header)) = unreadable.pass(read)? else {
            continue;
        };
        let Some(&entry) = lacking.get(&sha256(&header)) else {
            continue;
        };
        let header = header.len() as u64;
        let what = given(what(blobs, file, blob, header, entry).await);
        if let Err(error) = &what {
            tracing::error!(blob = %file, %error, "a blob cannot be read");
        }
        let held = Held {
            entry: entry.clone(),
            file,
        };
        match unreadable.pass(what)?.flatten().flatten() {
            Some(Found::File) => {
                lacking.remove(&held.entry.commitment.header);
                found += usize::from(ledger.keep(held).await? == Kept::New);
            }
            Some(Found::Stub) => connected.push(held),
            Some(Found::BentStub) => bent.push(held),
            None => {}
        }
    }
    // It may be the file of any of these, which are neither elsewhere nor dropped before that is known.
    if !lacking.is_empty() {
        unreadable.none()?;
    }
    connected.extend(bent);
    Ok((found, connected))
}

/// What became of blobs that the store could not give, of which each is in the log.
#[derive(Default)]
struct Unreadable(Vec<BlobError>);

impl Unreadable {
    /// Goes on without one. Where they become too many it is the store that does not work.
    fn pass<T>(&mut self, read: Result<T, BlobError>) -> Result<Option<T>, BlobError> {
        match read {
            Ok(read) => Ok(Some(read)),
            Err(error) if self.0.len() == MAX_UNREADABLE => Err(error),
            Err(error) => {
                self.0.push(error);
                Ok(None)
            }
        }
    }

    fn none(self) -> Result<(), BlobError> {
        self.0.into_iter().next().map_or(Ok(()), Err)
    }
}

/// Contributions whose files are not here because they are withdrawn: their headers are.
async fn tombstones(
    chain: &Chain,
    view: &View,
    ledger: &Ledger,
    blobs: &Blobs,
    lacking: &mut HashMap<B256, &SignedContribution>,
) -> Result<usize, RebuildError> {
    let mut dropped = withdrawn(chain, lacking.values().copied(), &view.finalized).await?;
    let mut found = 0;
    for entry in lacking.values().copied().cloned().collect::<Vec<_>>() {
        let header = entry.commitment.header;
        let leaf = entry.contribution.leaf();
        let file = BlobId(header);
        let Some(why) = dropped.remove(&leaf) else {
            continue;
        };
        let kept = given(blobs.get(file).await).inspect_err(|error| {
            tracing::error!(blob = %file, %error, "the header of a withdrawn contribution cannot be read");
        });
        if kept?.is_none() {
            continue;
        }
        lacking.remove(&header);
        found += usize::from(ledger.keep(Held { entry, file }).await? == Kept::New);
        ledger.withdraw(leaf, why, view.finalized.number).await?;
        ledger.dropped(leaf).await?;
    }
    Ok(found)
}

/// What a blob is of a contribution.
enum Found {
    /// Its file.
    File,
    /// What the node has of a file that its contributor keeps.
    Stub,
    /// The same, without some hash of a leaf: the disk's work, an early node's, or of whoever left a blob that begins like it.
    BentStub,
}

/// What this is of a contribution whose header, of so many bytes, it begins with.
async fn what(
    blobs: &Blobs,
    file: BlobId,
    blob: OpenBlob,
    header: u64,
    entry: &SignedContribution,
) -> Result<Option<Found>, BlobError> {
    let commitment = &entry.commitment;
    // The hashes of a payload of 64 bytes are as long as that.
    if blob.length() == header + commitment.length
        && outline(blob.clone(), header).await?.root() == commitment.payload
    {
        return Ok(Some(Found::File));
    }
    let Some(stub) = given(Stub::open(blobs, file, commitment).await)? else {
        return Ok(None);
    };
    // All of it, and not only what is read of it each time.
    Ok(Some(match given(stub.check().await)? {
        Some(()) => Found::Stub,
        None => Found::BentStub,
    }))
}

/// What the payload behind a header of so many bytes comes to; the file is read once, and checked.
///
/// # Errors
/// [`BlobError`].
pub async fn outline(file: OpenBlob, header: u64) -> Result<PayloadOutline, BlobError> {
    let (mut tree, mut skip, length) = (PayloadTree::new(), header, file.length());
    let mut pieces = pin!(file.pieces(0..length));
    while let Some(piece) = pieces.try_next().await? {
        let of_header = skip.min(piece.len() as u64);
        skip -= of_header;
        tree.update(&piece[of_header as usize..]);
    }
    Ok(tree.outline())
}

/// Batches by their manifests, which name their leaves.
async fn batches(view: &View, ledger: &Ledger, blobs: &Blobs) -> Result<(), RebuildError> {
    let mut known: HashSet<BlobId> = ledger.manifests().await?;
    for &manifest in view.batches.iter() {
        if !known.insert(manifest) {
            continue;
        }
        let bytes = blobs.get(manifest).await.inspect_err(|error| {
            tracing::error!(%manifest, %error, "the manifest of a batch cannot be read");
        })?;
        let entries = serde_json::from_slice::<Vec<SignedContribution>>(&bytes);
        let Some(batch) = entries.ok().and_then(|entries| Batch::new(entries).ok()) else {
            continue;
        };
        let leaves = batch.entries().iter();
        let leaves = leaves.map(|entry| entry.contribution.leaf()).collect();
        ledger.batch(manifest, batch.tree().root(), leaves).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::stub::tests::{drafted, entry, file};

    #[tokio::test]
    async fn a_blob_that_cannot_be_read_is_in_the_way_of_what_may_be_in_it_alone() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (sealed, header) = file();
        let anchored = entry(&sealed, header);
        for (others, has_file) in [(1, true), (MAX_UNREADABLE, true), (1, false), (40, true)] {
            let path = folder.path().join(format!("{others}{has_file}"));
            let blobs = Blobs::folder(&path).expect("a store");
            let ledger = Ledger::open(&path.join("ledger")).await.expect("a ledger");
            let file = blobs.put(sealed.clone().into()).await.expect("kept");
            let mut broken = vec![];
            for other in 0..others {
                let other = format!("no sealed file: {other}");
                broken.push(blobs.put(other.into()).await.expect("kept"));
            }
            if !has_file {
                broken.push(file);
            }
            let all = scan(&blobs).await.expect("a list");
            // From now on there is a socket, which nobody can open, and which no list of files would have.
            let socket = folder.path().join("socket");
            for id in broken {
                let name = id.to_string();
                let place = path.join(&name[2..4]).join(&name[4..]);
                let _bound = UnixListener::bind(&socket).expect("a socket");
                std::fs::rename(&socket, place).expect("renamed");
            }
            let mut lacking = HashMap::from([(anchored.commitment.header, &anchored)]);
            let made = files(all, &ledger, &blobs, &mut lacking).await;
            match has_file && others <= MAX_UNREADABLE {
                true => assert_eq!(made.expect("nothing lacks").0, 1),
                false => {
                    let store = matches!(made, Err(RebuildError::Blob(BlobError::Store(_))));
                    assert!(store, "{others} {has_file}");
                }
            }
            let known = ledger.file(anchored.contribution.leaf()).await;
            assert!(has_file || known.expect("the ledger").is_none());
        }
    }

    #[tokio::test]
    async fn what_only_begins_like_what_was_kept_of_a_file_is_not_taken_for_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let blobs = Blobs::folder(folder.path()).expect("a store");
        let ledger = Ledger::open(&folder.path().join("ledger")).await;
        let ledger = ledger.expect("a ledger");
        let (sealed, header) = file();
        let anchored = entry(&sealed, header);
        let kept = drafted(&blobs, &sealed, header).await.keep(&blobs).await;
        let kept = kept.expect("kept");
        // Whoever knows the header may leave this: one hash is another, of a KiB that was not drawn yet.
        let mut bent = blobs.get(kept).await.expect("kept").to_vec();
        *bent.last_mut().expect("a hash") ^= 1;
        let mut other = bent.clone();
        other[header] ^= 1;
        let bent = blobs.put(bent.into()).await.expect("kept");
        blobs.put(other.into()).await.expect("kept");
        let connected = async || {
            let mut lacking = HashMap::from([(anchored.commitment.header, &anchored)]);
            let all = scan(&blobs).await.expect("a list");
            let made = files(all, &ledger, &blobs, &mut lacking).await;
            let (found, connected) = made.expect("all can be read");
            assert_eq!(found, 0);
            connected.iter().map(|held| held.file).collect::<Vec<_>>()
        };
        assert_eq!(connected().await, [kept, bent]);
        // It serves where nothing better is.
        blobs.remove(kept).await.expect("removed");
        assert_eq!(connected().await, [bent]);
    }
}
