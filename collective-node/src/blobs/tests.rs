use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use futures_util::TryStreamExt;
use object_store::memory::InMemory;
use object_store::multipart::MultipartStore;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt};

use super::bucket::Bucket;
use super::store::name;
use super::*;

const OWNER: NodeId = NodeId(B256::repeat_byte(1));

/// Several pieces; of a bucket several parts.
const LARGE: usize = (20 << 20) + 5;

async fn bucket(memory: &Arc<InMemory>, path: &Path) -> Result<Blobs, BlobError> {
    Blobs::bucket(Service::new(memory.clone(), "some/where"), path, OWNER).await
}

fn large() -> (Vec<u8>, BlobId) {
    let bytes: Vec<u8> = (0..LARGE).map(|i| (i / 7) as u8).collect();
    let mut hasher = BlobHasher::default();
    bytes.chunks(1000).for_each(|piece| hasher.update(piece));
    let id = hasher.finish();
    assert_eq!(id, BlobId::of(&bytes));
    (bytes, id)
}

async fn all(blobs: &Blobs, id: BlobId, range: Range<u64>) -> Result<Vec<u8>, BlobError> {
    let pieces = blobs.open(id).await?.pieces(range);
    Ok(pieces.try_collect::<Vec<_>>().await?.concat())
}

/// What every store does.
async fn keeps_and_gives(blobs: &Blobs) {
    let id = blobs.put(Bytes::from_static(b"bytes")).await.expect("kept");
    let again = blobs.put(Bytes::from_static(b"bytes")).await;
    assert_eq!(again.expect("kept again"), id);
    assert_eq!(&blobs.get(id).await.expect("given")[..], b"bytes");
    blobs.find(id).await.expect("here");
    let other = BlobId::of(b"never kept");
    assert!(matches!(blobs.get(other).await, Err(BlobError::Missing(_))));
    let found = blobs.find(other).await;
    assert!(matches!(found, Err(BlobError::Missing(_))));
    let opened = blobs.open(other).await;
    assert!(matches!(opened, Err(BlobError::Missing(_))));
    let empty = blobs.put(Bytes::new()).await.expect("kept");
    assert_eq!(blobs.get(empty).await.expect("given"), Bytes::new());
    blobs.remove(empty).await.expect("removed");

    let (bytes, large) = large();
    let written = blobs.unfinished().expect("a folder").join("file");
    std::fs::write(&written, &bytes).expect("written");
    for _ in 0..2 {
        blobs.adopt(&written, large).await.expect("adopted");
    }
    assert_eq!(blobs.get(large).await.expect("given"), bytes);
    let end = LARGE as u64;
    assert_eq!(all(blobs, large, 0..end).await.expect("whole"), bytes);
    assert_eq!(all(blobs, large, 7..end).await.expect("a part"), bytes[7..]);
    let open = blobs.open(large).await.expect("a blob");
    assert_eq!(open.length(), end);
    let tail = open.read(end - 3..end + 9).await.expect("read");
    assert_eq!(tail, bytes[LARGE - 3..]);
    assert!(open.read(end..end + 1).await.expect("read").is_empty());

    let beside = blobs.beside(large).await;
    assert!(matches!(beside, Err(BlobError::Missing(_))));
    let note = Bytes::from_static(b"note");
    blobs.put_beside(large, note.clone()).await.expect("kept");
    assert_eq!(blobs.beside(large).await.expect("kept"), note);
    for _ in 0..2 {
        blobs.probe(note.clone()).await.expect("it works");
    }
    let mut names = blobs.list().await.expect("names");
    names.sort();
    let mut expected = [id, large];
    expected.sort();
    assert_eq!(names, expected);

    for _ in 0..2 {
        blobs.remove(large).await.expect("removed");
        assert!(matches!(blobs.get(large).await, Err(BlobError::Missing(_))));
        let beside = blobs.beside(large).await;
        assert!(matches!(beside, Err(BlobError::Missing(_))));
    }
    blobs.get(id).await.expect("given");
    // Nothing comes to lie beside what is gone.
    let late = blobs.put_beside(large, note).await;
    assert!(matches!(late, Err(BlobError::Missing(_))), "{late:?}");
    let beside = blobs.beside(large).await;
    assert!(matches!(beside, Err(BlobError::Missing(_))));
}

#[tokio::test]
async fn a_folder_keeps_and_gives() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    keeps_and_gives(&Blobs::folder(folder.path()).expect("a store")).await;
}

#[tokio::test]
async fn a_bucket_keeps_and_gives() {
    let (memory, folder) = (Arc::default(), tempfile::tempdir().expect("a folder"));
    let blobs = bucket(&memory, folder.path()).await.expect("a store");
    keeps_and_gives(&blobs).await;
    // No note of an upload is left, and no blob is on this machine.
    let left = std::fs::read_dir(folder.path().join("parts")).expect("a folder");
    assert_eq!(left.count(), 0);
}

#[tokio::test]
async fn what_is_garbled_in_a_folder_never_comes_to_its_end() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let blobs = Blobs::folder(folder.path()).expect("a store");
    let (bytes, id) = large();
    let (written, length) = (
        blobs.unfinished().expect("a folder").join("file"),
        LARGE as u64,
    );
    std::fs::write(&written, &bytes).expect("written");
    blobs.adopt(&written, id).await.expect("adopted");
    // The file has both names, so this changes the blob.
    let file = File::options().write(true).open(&written).expect("a file");
    file.write_all_at(&[!bytes[9]], 9).expect("written");
    let given = all(&blobs, id, 0..length).await;
    assert!(matches!(given, Err(BlobError::Garbled(_))));
    assert!(matches!(blobs.get(id).await, Err(BlobError::Garbled(_))));
    file.write_all_at(&[bytes[9]], 9).expect("written");
    assert_eq!(all(&blobs, id, 0..length).await.expect("whole"), bytes);
    file.set_len(length - 1).expect("cut");
    let given = all(&blobs, id, 0..length).await;
    assert!(matches!(given, Err(BlobError::Garbled(_))));
    // Of nothing not a byte is looked at.
    file.set_len(0).expect("cut");
    let opened = blobs.open(id).await.map(drop);
    assert!(matches!(opened, Err(BlobError::Garbled(_))));
    blobs.put(bytes.clone().into()).await.expect("mended");
    assert_eq!(all(&blobs, id, 0..length).await.expect("whole"), bytes);
}

#[tokio::test]
async fn what_was_not_finished_in_a_folder_is_removed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let blobs = Blobs::folder(folder.path()).expect("a store");
    let id = blobs.put(Bytes::from_static(b"bytes")).await.expect("kept");
    let unfinished = folder.path().join(format!("{}#1", name(id)));
    std::fs::write(&unfinished, b"byt").expect("written");
    let upload = blobs.unfinished().expect("a folder").join("upload#");
    std::fs::write(&upload, b"byt").expect("written");
    blobs.clean_up().await.expect("cleaned");
    assert!(!unfinished.exists() && upload.exists());
    blobs.get(id).await.expect("given");
}

#[tokio::test]
async fn what_is_garbled_in_a_bucket_never_comes_to_its_end() {
    let (memory, folder) = (Arc::default(), tempfile::tempdir().expect("a folder"));
    let blobs = bucket(&memory, folder.path()).await.expect("a store");
    let (mut bytes, id) = large();
    let key = Key::from(format!("some/where/{}", name(id)));
    let put = |bytes: &[u8]| memory.put(&key, bytes.to_vec().into());
    bytes[9] ^= 1;
    put(&bytes).await.expect("written");
    let given = all(&blobs, id, 0..LARGE as u64).await;
    assert!(matches!(given, Err(BlobError::Garbled(_))));
    assert!(matches!(blobs.get(id).await, Err(BlobError::Garbled(_))));
    bytes[9] ^= 1;
    put(&bytes).await.expect("written");
    let open = blobs.open(id).await.expect("a blob");
    open.read(0..9).await.expect("read");
    put(&bytes[1..]).await.expect("written");
    let read = open.read(LARGE as u64 - 9..LARGE as u64 - 3).await;
    assert!(matches!(read, Err(BlobError::Garbled(_))));
    put(b"").await.expect("written over");
    let opened = blobs.open(id).await.map(drop);
    assert!(matches!(opened, Err(BlobError::Garbled(_))));
    // A file that is not what its name says gets no further than this machine.
    let written = blobs.unfinished().expect("a folder").join("file");
    for length in [5, LARGE] {
        std::fs::write(&written, &bytes[..length]).expect("written");
        let other = BlobId::of(b"something else");
        let adopted = blobs.adopt(&written, other).await;
        assert!(matches!(adopted, Err(BlobError::Store(_))));
        let found = blobs.find(other).await;
        assert!(matches!(found, Err(BlobError::Missing(_))));
    }
}

#[tokio::test]
async fn a_bucket_that_is_not_known_again_lacks_nothing() {
    let (memory, folder) = (Arc::default(), tempfile::tempdir().expect("a folder"));
    let blobs = bucket(&memory, folder.path()).await.expect("a store");
    let id = BlobId::of(b"never kept");
    assert!(matches!(blobs.get(id).await, Err(BlobError::Missing(_))));
    let mark = Key::from("some/where/owner");
    let held = memory.get(&mark).await.expect("a mark").bytes().await;
    for other in [None, Some("blobs of node 0x02\n")] {
        match other {
            None => memory.delete(&mark).await.expect("removed"),
            Some(other) => drop(memory.put(&mark, other.into()).await.expect("marked")),
        }
        for answer in [
            blobs.get(id).await.map(drop),
            blobs.find(id).await,
            blobs.open(id).await.map(drop),
            blobs.beside(id).await.map(drop),
        ] {
            assert!(matches!(answer, Err(BlobError::Bucket(_))), "{answer:?}");
        }
        let again = bucket(&memory, folder.path()).await;
        assert!(matches!(again, Err(BlobError::Elsewhere(_))));
    }
    let held = held.expect("a mark");
    memory.put(&mark, held.into()).await.expect("marked");
    assert!(matches!(blobs.get(id).await, Err(BlobError::Missing(_))));
    bucket(&memory, folder.path())
        .await
        .expect("the same store");
}

#[tokio::test]
async fn a_store_is_not_left_behind_by_mistake() {
    let (memory, folder) = (Arc::default(), tempfile::tempdir().expect("a folder"));
    let files = Blobs::folder(folder.path()).expect("a store");
    let id = files.put(Bytes::from_static(b"bytes")).await.expect("kept");
    let moved = bucket(&memory, folder.path()).await;
    assert!(matches!(moved, Err(BlobError::Elsewhere(_))));
    let parent = folder.path().join(&name(id)[..2]);
    std::fs::remove_dir_all(parent).expect("removed");
    bucket(&memory, folder.path()).await.expect("a store");
    let back = Blobs::folder(folder.path());
    assert!(matches!(back, Err(BlobError::Elsewhere(_))));

    // Whoever lost this machine finds the bucket again, and nobody else has it.
    let fresh = tempfile::tempdir().expect("a temporary folder");
    bucket(&memory, fresh.path()).await.expect("a store");
    let fresh = tempfile::tempdir().expect("a temporary folder");
    let service = Service::new(memory.clone(), "some/where");
    let other = Blobs::bucket(service, fresh.path(), NodeId(B256::ZERO)).await;
    assert!(matches!(other, Err(BlobError::Elsewhere(_))));
    let service = Service::new(memory, "some/where/else");
    let other = Blobs::bucket(service, fresh.path(), NodeId(B256::ZERO)).await;
    other.expect("a store of its own");
}

#[tokio::test]
async fn of_two_nodes_that_come_to_a_bucket_at_once_one_has_it() {
    let (memory, folder) = (
        Arc::<InMemory>::default(),
        tempfile::tempdir().expect("a folder"),
    );
    let first = Service::new(memory.clone(), "");
    let first = Bucket::claim(first, folder.path(), OWNER).await;
    let first = first.map_err(|_| "no claim").expect("it is the first");
    let key = Key::from("owner");
    memory.delete(&key).await.expect("removed");
    let other = format!("blobs of node {}\n", NodeId(B256::ZERO));
    // The other's mark comes after this one found none.
    memory.put(&key, other.clone().into()).await.expect("put");
    first.leave_mark().await.expect("it is answered");
    let found = memory.get(&key).await.expect("a mark").bytes().await;
    assert_eq!(found.expect("read"), other);
}

#[tokio::test]
async fn parts_that_a_crash_left_in_a_bucket_are_dropped_by_the_next_start() {
    let (memory, folder) = (
        Arc::<InMemory>::default(),
        tempfile::tempdir().expect("a folder"),
    );
    let blobs = bucket(&memory, folder.path()).await.expect("a store");
    let key = Key::from("some/where/ab/cd");
    let upload = memory.create_multipart(&key).await.expect("begun");
    let notes = folder.path().join("parts");
    std::fs::create_dir_all(&notes).expect("a folder");
    std::fs::write(notes.join("abcd"), format!("{key}\n{upload}")).expect("noted");
    blobs.clean_up().await.expect("cleaned");
    let part = memory.put_part(&key, &upload, 0, "late".into()).await;
    assert!(part.is_err() && !notes.join("abcd").exists());
    let listed: Vec<_> = memory.list(None).try_collect().await.expect("names");
    assert_eq!(listed.len(), 1, "the mark alone");
}

/// What is in a folder; where it is not made yet, nothing.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries
        .map(|entry| entry.expect("an entry").path())
        .collect()
}

#[tokio::test]
async fn what_an_earlier_try_left_in_a_bucket_goes_before_it_is_sent_again() {
    let (memory, folder) = (
        Arc::<InMemory>::default(),
        tempfile::tempdir().expect("a folder"),
    );
    let blobs = bucket(&memory, folder.path()).await.expect("a store");
    let (bytes, id) = large();
    let written = blobs.unfinished().expect("a folder").join("file");
    std::fs::write(&written, &bytes).expect("written");
    let key = Key::from(format!("some/where/{}", name(id)));
    let notes = folder.path().join("parts");
    std::fs::create_dir_all(&notes).expect("a folder");
    let note = notes.join(format!("{}.earlier", alloy::hex::encode(id.0)));
    // Both are sent in parts, from memory and from the disk; and what is removed leaves none, either.
    for how in ["put", "adopt", "remove"] {
        let upload = memory.create_multipart(&key).await.expect("begun");
        std::fs::write(&note, format!("{key}\n{upload}")).expect("noted");
        match how {
            "put" => drop(blobs.put(bytes.clone().into()).await.expect("kept")),
            "adopt" => blobs.adopt(&written, id).await.expect("adopted"),
            _ => blobs.remove(id).await.expect("removed"),
        }
        let part = memory.put_part(&key, &upload, 0, "late".into()).await;
        assert!(part.is_err() && !note.exists(), "{how}");
    }
    // Where it cannot be dropped it is not forgotten, and in nobody's way.
    std::fs::write(&note, format!("{key}\nno upload of this service's")).expect("noted");
    for kept in [
        blobs.put(bytes.clone().into()).await.map(drop),
        blobs.remove(id).await,
        blobs.adopt(&written, id).await,
        blobs.remove(id).await,
    ] {
        kept.expect("done all the same");
        assert_eq!(files(&notes), std::slice::from_ref(&note));
    }
    std::fs::remove_file(&note).expect("removed");
    std::fs::write(&written, &bytes).expect("written");
    let both = tokio::join!(blobs.put(bytes.clone().into()), blobs.adopt(&written, id));
    both.0.and(both.1).expect("one after the other");
    assert_eq!(blobs.get(id).await.expect("given"), bytes);
    assert!(files(&notes).is_empty());
}
