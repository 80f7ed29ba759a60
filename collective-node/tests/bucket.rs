//! Blobs in a bucket: what is kept, what is given, and what an answer that is none means.
//!
//! `COLLECTIVE_S3` is the address of an S3-compatible service with a bucket named `collective`, to which `AWS_ACCESS_KEY_ID` and
//! `AWS_SECRET_ACCESS_KEY` are a key: `just stores` starts two, one after the other.

mod stores;

use std::path::PathBuf;

use bytes::Bytes;
use collective::contribution::PlaceUrl;
use collective::id::{BlobId, NodeId};
use collective_node::blobs::{BlobError, Blobs, Service};
use collective_node::places::{PlaceError, Places, Private};
use futures_util::TryStreamExt;
use object_store::ObjectStoreExt;
use object_store::path::Path as Key;
use rand::RngExt;
use reqwest::StatusCode;
use stores::line::{Line, Mode};
use stores::{HTML, LIES, PARTS, at, fresh, object, opened, server};

const MIB: u64 = 1 << 20;

fn node() -> NodeId {
    NodeId([7; 32].into())
}

/// A store over a line, and the bucket behind it.
struct Store {
    blobs: Blobs,
    line: Line,
    prefix: String,
    direct: Service,
    folder: tempfile::TempDir,
}

impl Store {
    async fn open() -> Self {
        let (line, prefix) = (Line::to(server()).await, fresh());
        let folder = tempfile::tempdir().expect("a temporary folder");
        let near = opened(&at(line.address, &prefix));
        let blobs = Blobs::bucket(near, folder.path(), node()).await;
        Self {
            blobs: blobs.expect("a store"),
            direct: opened(&at(server(), &prefix)),
            line,
            prefix,
            folder,
        }
    }

    fn large(&self) -> (PathBuf, Vec<u8>, BlobId) {
        let mut bytes = vec![0; PARTS as usize + 7];
        rand::rng().fill(&mut bytes[..]);
        let file = self.blobs.unfinished().expect("a folder").join("file");
        std::fs::write(&file, &bytes).expect("written");
        let id = BlobId::of(&bytes);
        (file, bytes, id)
    }

    fn key(&self, id: BlobId) -> Key {
        object(&self.prefix, id)
    }
}

async fn whole(blobs: &Blobs, id: BlobId) -> Result<Vec<u8>, BlobError> {
    let open = blobs.open(id).await?;
    let length = open.length();
    let pieces: Vec<Bytes> = open.pieces(0..length).try_collect().await?;
    Ok(pieces.concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_keeps_and_gives() {
    let store = Store::open().await;
    let blobs = &store.blobs;
    let small = Bytes::from_static(b"bytes");
    let id = blobs.put(small.clone()).await.expect("kept");
    assert_eq!(blobs.put(small.clone()).await.expect("again"), id);
    assert_eq!(blobs.get(id).await.expect("given"), small);
    let empty = blobs.put(Bytes::new()).await.expect("kept");
    assert!(blobs.get(empty).await.expect("given").is_empty());
    let (file, bytes, large) = store.large();
    for _ in 0..2 {
        blobs.adopt(&file, large).await.expect("adopted");
    }
    assert_eq!(whole(blobs, large).await.expect("whole"), bytes);
    let open = blobs.open(large).await.expect("a blob");
    assert_eq!(open.length(), bytes.len() as u64);
    let middle = 8 * MIB - 3..8 * MIB + 3;
    let part = open.read(middle.clone()).await.expect("a part");
    assert_eq!(part, bytes[middle.start as usize..middle.end as usize]);
    let past = open.read(PARTS..2 * PARTS).await.expect("the end");
    assert_eq!(past, bytes[PARTS as usize..]);
    blobs.put_beside(large, small.clone()).await.expect("kept");
    assert_eq!(blobs.beside(large).await.expect("kept"), small);
    blobs.probe(small).await.expect("it works");
    let mut names = blobs.list().await.expect("names");
    names.sort();
    let mut expected = [id, empty, large];
    expected.sort();
    assert_eq!(names, expected);

    for _ in 0..2 {
        blobs.remove(large).await.expect("removed");
        for found in [blobs.find(large).await, blobs.beside(large).await.map(drop)] {
            assert!(matches!(found, Err(BlobError::Missing(_))), "{found:?}");
        }
        let read = open.read(middle.clone()).await;
        assert!(matches!(read, Err(BlobError::Missing(_))), "{read:?}");
    }
    assert_eq!(blobs.list().await.expect("names").len(), 2);
    let again = Blobs::bucket(store.direct.clone(), store.folder.path(), node()).await;
    again.expect("the same store").get(id).await.expect("kept");
    let other = tempfile::tempdir().expect("a temporary folder");
    let other = Blobs::bucket(store.direct, other.path(), NodeId([8; 32].into())).await;
    assert!(matches!(other, Err(BlobError::Elsewhere(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_answer_of_a_bucket_means_nothing_and_is_no_acknowledgement() {
    let store = Store::open().await;
    let blobs = &store.blobs;
    let (file, _, large) = store.large();
    let failed = |what: &str, found: Result<(), BlobError>| {
        let is_failure = matches!(found, Err(BlobError::Bucket(_)));
        assert!(is_failure, "{what}: {found:?}");
        let said = found.expect_err("it failed").to_string();
        assert!(
            !said.contains("127.0.0.1") && !said.contains("html"),
            "{said}"
        );
    };
    for mode in LIES {
        let kept = blobs.put(Bytes::from_static(b"kept")).await.expect("kept");
        store.line.is(mode);
        let lost = BlobId::of(b"never kept");
        let (put, adopted, get, find, open, beside, removed, listed, probed) = tokio::join!(
            blobs.put(Bytes::from_static(b"new")),
            blobs.adopt(&file, large),
            blobs.get(lost),
            blobs.find(kept),
            whole(blobs, kept),
            blobs.beside(kept),
            blobs.remove(kept),
            blobs.list(),
            blobs.probe(Bytes::from_static(b"probe")),
        );
        println!("{mode:?}: {put:?}");
        failed("put", put.map(drop));
        failed("adopt", adopted);
        failed("remove", removed);
        failed("list", listed.map(drop));
        failed("open", open.map(drop));
        // A page in place of an object is of the wrong name.
        let is_page = matches!(mode, Mode::Says(HTML));
        for (what, found) in [("get", get.map(drop)), ("beside", beside.map(drop))] {
            match is_page {
                true => assert!(!matches!(found, Err(BlobError::Missing(_))), "{found:?}"),
                false => failed(what, found),
            }
        }
        if !is_page {
            failed("find", find);
            failed("probe", probed);
        }
        store.line.is(Mode::Good);
        // Here the bucket did what it was asked, and nobody was told.
        if matches!(mode, Mode::Cut(_)) {
            blobs.remove(BlobId::of(b"new")).await.expect("removed");
        } else {
            assert_eq!(&blobs.get(kept).await.expect("given")[..], b"kept");
        }
        for id in [BlobId::of(b"new"), large, lost] {
            let found = blobs.find(id).await;
            assert!(matches!(found, Err(BlobError::Missing(_))), "{found:?}");
        }
        blobs
            .clean_up()
            .await
            .expect("what is left of uploads goes");
        let notes = std::fs::read_dir(store.folder.path().join("parts"));
        assert_eq!(notes.map_or(0, Iterator::count), 0);
    }
    blobs.adopt(&file, large).await.expect("adopted");
    whole(blobs, large).await.expect("whole");
    let nobody = at(([127, 0, 0, 1], 1).into(), "");
    let refused = Blobs::bucket(opened(&nobody), store.folder.path(), node()).await;
    let refused = refused.err().expect("nobody is there").to_string();
    assert!(refused.contains("it cannot be reached"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_bytes_than_were_kept_are_found() {
    let store = Store::open().await;
    let (file, mut bytes, id) = store.large();
    store.blobs.adopt(&file, id).await.expect("adopted");
    bytes[9 * MIB as usize] ^= 1;
    let object = store.key(id);
    let put = |bytes: Vec<u8>| store.direct.objects().put(&object, bytes.into());
    put(bytes.clone()).await.expect("written over");
    let garbled = whole(&store.blobs, id).await;
    assert!(matches!(garbled, Err(BlobError::Garbled(_))));
    let garbled = store.blobs.get(id).await;
    assert!(matches!(garbled, Err(BlobError::Garbled(_))));
    let open = store.blobs.open(id).await.expect("a blob");
    put(bytes[1..].to_vec()).await.expect("written over");
    let garbled = open.read(9 * MIB..9 * MIB + 9).await;
    assert!(matches!(garbled, Err(BlobError::Garbled(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contributor_keeps_a_file_in_a_bucket() {
    let (service, prefix) = (server(), fresh());
    let (name, bytes) = (format!("{prefix}/a file.age"), vec![7; 3000]);
    let there = opened(&at(service, "")).objects().clone();
    let key = Key::from(name.as_str());
    let put = there.put(&key, bytes.clone().into());
    put.await.expect("kept");

    let private = Private::try_from(vec![service.to_string()]).expect("a host and a port");
    let [id, secret] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]
        .map(|name| std::env::var(name).expect("`just stores` sets it"));
    let place = |name: &str| {
        let name = name.replace(' ', "%20");
        let url = format!("s3://{id}:{secret}@{service}/collective/{name}");
        PlaceUrl::try_from(url).expect("printable")
    };
    let read =
        |places: Places, place: PlaceUrl| async move { places.read(&place, 1000..3072).await };
    let places = Places::new(private).expect("a client");
    let given = read(places.clone(), place(&name)).await.expect("given");
    assert_eq!(given, bytes[1000..]);
    let missing = read(places, place("nothing")).await;
    assert_eq!(missing, Err(PlaceError::Status(StatusCode::NOT_FOUND)));
    // Where the operator lists nothing, no service in this network is asked.
    let strict = Places::new(Private::default()).expect("a client");
    let refused = read(strict, place(&name)).await;
    assert!(
        matches!(refused, Err(PlaceError::Refused(_))),
        "{refused:?}"
    );
}
