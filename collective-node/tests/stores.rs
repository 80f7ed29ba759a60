//! Blobs in a bucket, and a node that keeps its own there, over a line that breaks, hangs and lies.
//!
//! `COLLECTIVE_S3` is the address of an S3-compatible service with a bucket named `collective`, to which `AWS_ACCESS_KEY_ID` and
//! `AWS_SECRET_ACCESS_KEY` are a key: `just stores` starts two, one after the other.
#![cfg(target_os = "linux")]

#[allow(dead_code)]
#[path = "node/by_hand/mod.rs"]
mod by_hand;
#[allow(dead_code)]
#[path = "node/large/mod.rs"]
mod large;
#[path = "stores/line.rs"]
mod line;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use by_hand::{PATIENCE, World, binary, refusal, start_node, start_node_by};
use bytes::Bytes;
use collective::id::{BlobId, NodeId};
use collective_node::blobs::s3::{AccessKey, At, service};
use collective_node::blobs::{BlobError, Blobs, Service};
use collective_node::crash::{Step, VARIABLE};
use collective_node::ledger::Audited;
use futures_util::TryStreamExt;
use large::{MIB, Scene, in_and_out, name_of, taken};
use line::{Line, Mode};
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt};
use rand::RngExt;
use reqwest::{Method, StatusCode};

/// A file that goes there in several parts.
const PARTS: u64 = 20 * MIB;

const HTML: &str =
    "HTTP/1.1 200 OK\r\nContent-Length: 14\r\nContent-Type: text/html\r\n\r\n<html>A</html>";
const FAILED: &str = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n";
const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\n\r\nlater";
const DENIED: &str = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
const ELSEWHERE: &str =
    "HTTP/1.1 301 Moved Permanently\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
const NO_PAGE: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 14\r\n\r\n<html>A</html>";
const NO_KEY: &str = "HTTP/1.1 404 Not Found\r\nContent-Type: application/xml\r\nContent-Length: 45\r\n\r\n<Error><Code>NoSuchKey</Code></Error>        ";

/// All that is no answer of a bucket's.
const LIES: [Mode; 9] = [
    Mode::Broken,
    Mode::Cut(10),
    Mode::Says(FAILED),
    Mode::Says(BUSY),
    Mode::Says(DENIED),
    Mode::Says(ELSEWHERE),
    Mode::Says(NO_PAGE),
    Mode::Says(NO_KEY),
    Mode::Says(HTML),
];

fn server() -> SocketAddr {
    let told = std::env::var("COLLECTIVE_S3").expect("COLLECTIVE_S3: `just stores` sets it");
    told.parse().expect("an address and a port")
}

/// What nobody else uses in the bucket.
fn at(service: SocketAddr, prefix: &str) -> At {
    At {
        endpoint: format!("http://{service}").parse().expect("a URL"),
        bucket: "collective".into(),
        region: "us-east-1".into(),
        prefix: prefix.into(),
        allow_http: true,
    }
}

fn opened(at: &At) -> Service {
    let told = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("no {name}"));
    let key = AccessKey {
        id: told("AWS_ACCESS_KEY_ID"),
        secret: told("AWS_SECRET_ACCESS_KEY").into(),
    };
    service(at, &key).expect("a place")
}

fn fresh() -> String {
    format!("test-{:016x}", rand::rng().random::<u64>())
}

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

fn object(prefix: &str, id: BlobId) -> Key {
    let name = id.to_string();
    Key::from(format!("{prefix}/{}/{}", &name[2..4], &name[4..]))
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

/// A scene whose node keeps its blobs in a bucket from the start: what the world began with is copied there, as an operator would.
struct Kept {
    scene: Scene,
    line: Line,
    prefix: String,
    direct: Service,
    _runs: tokio::runtime::Runtime,
}

impl Kept {
    fn start() -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("threads");
        let prefix = fresh();
        let line = runtime.block_on(Line::to(server()));
        let direct = opened(&at(server(), &prefix));
        let settings = format!(
            "[store.s3]\nendpoint = \"http://{}\"\nbucket = \"collective\"\nprefix = \"{prefix}\"\nallow_http = true\n",
            line.address
        );
        let scene = Scene::new_with(|world| {
            runtime.block_on(move_blobs(world, &prefix, direct.objects().as_ref()));
            settings
        });
        Self {
            scene,
            line,
            prefix,
            direct,
            _runs: runtime,
        }
    }

    fn object(&self, id: BlobId) -> Result<Bytes, object_store::Error> {
        let (objects, key) = (self.direct.objects(), object(&self.prefix, id));
        let read = async { objects.get(&key).await?.bytes().await };
        self.scene.runtime.block_on(read)
    }

    fn put_object(&self, id: BlobId, bytes: Bytes) {
        let put = self.direct.objects();
        let key = object(&self.prefix, id);
        let put = self.scene.runtime.block_on(put.put(&key, bytes.into()));
        put.expect("written over");
    }

    fn contribute(&self, file: &Path, nonce: u64) -> String {
        let node = self.scene.world.told("node");
        let (leaf, _) = taken(self.scene.contributing(file, nonce, node));
        self.scene.has(&leaf, file);
        leaf
    }

    /// Begins a day, waits for its audit, and says whether all was held. What was not is asked for again, some hours later each time.
    fn next_day(&self, again: bool) -> bool {
        let audits = || {
            let output = self.scene.world.run("liveness --json");
            let audits: Vec<Audited> = serde_json::from_slice(&output.stdout).expect("JSON");
            (audits.len(), output.status.success())
        };
        let (before, _) = audits();
        self.scene.world.pass("86400");
        let began = Instant::now();
        loop {
            std::thread::sleep(Duration::from_millis(500));
            let (kept, all_held) = audits();
            if kept > before {
                return all_held;
            }
            assert!(began.elapsed() < PATIENCE, "no audit");
            if again {
                self.scene.world.pass("18001");
            }
        }
    }

    /// What is said by a node that does not start.
    fn start_refused(&self) -> Output {
        let mut node = binary();
        node.args(["node", "--config", &self.scene.config]);
        node.output().expect("the binary starts")
    }

    /// Waits until more than so many bytes were sent to the bucket.
    fn until_sent(&self, bytes: u64) {
        let began = Instant::now();
        while self.line.sent() <= bytes {
            assert!(began.elapsed() < PATIENCE, "{} bytes", self.line.sent());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn unfinished(&self) -> Vec<PathBuf> {
        let files = std::fs::read_dir(self.scene.world.path("node/blobs/unfinished"));
        let files = files.expect("a folder");
        files.map(|it| it.expect("an entry").path()).collect()
    }

    fn notes(&self) -> usize {
        let notes = std::fs::read_dir(self.scene.world.path("node/blobs/parts"));
        notes.map_or(0, Iterator::count)
    }
}

async fn move_blobs(world: &World, prefix: &str, to: &dyn ObjectStore) {
    for folder in std::fs::read_dir(world.path("node/blobs")).expect("a folder") {
        let folder = folder.expect("an entry").path();
        let name = folder.file_name().expect("a name").to_str().expect("UTF-8");
        if name.len() != 2 {
            continue;
        }
        for file in std::fs::read_dir(&folder).expect("a folder") {
            let file = file.expect("an entry");
            let key = format!(
                "{prefix}/{name}/{}",
                file.file_name().to_str().expect("UTF-8")
            );
            let bytes = std::fs::read(file.path()).expect("a blob");
            let put = to.put(&Key::from(key), bytes.into()).await;
            put.expect("copied");
        }
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}

#[test]
fn a_node_does_in_a_bucket_what_it_does_in_a_folder() {
    let mut kept = Kept::start();
    let world = &kept.scene.world;
    // A job reads what the world began with.
    let (manifest, program) = (
        world.path("manifests/mean.json"),
        world.path("programs/mean.wasm"),
    );
    let (founder, requester) = (world.key("founder-0"), world.key("requester"));
    let opened = world.json(&format!(
        "propose --manifest {manifest} --key {founder} --program {program}"
    ));
    world.decide(&[opened["proposal"].as_str().expect("an id")]);
    world.json(&format!(
        "job request --manifest {manifest} --key {requester}"
    ));
    let ran = world.json("job show 1 --wait");
    assert_eq!(ran["state"], "completed", "{ran}");
    let output = ran["record"]["receipt"]["output"].as_str().expect("a blob");
    kept.object(output.parse().expect("a name"))
        .expect("the output");

    // Small ones, and one in parts.
    let (_, small) = kept.scene.sealed(1, 1000);
    let (_, large) = kept.scene.sealed(2, PARTS);
    let small_leaf = kept.contribute(&small, 1);
    let large_leaf = kept.contribute(&large, 2);
    let (small_id, large_id) = (name_of(&small), name_of(&large));
    assert_eq!(
        kept.object(large_id).expect("here").len() as u64,
        large.metadata().expect("a file").len()
    );
    // Nothing of it is on this machine.
    let here = std::fs::read_dir(kept.scene.world.path("node/blobs")).expect("a folder");
    let mut here: Vec<_> = here.map(|it| it.expect("an entry").file_name()).collect();
    here.sort();
    assert_eq!(here, ["bucket", "parts", "unfinished"]);
    assert_eq!(kept.unfinished().len() + kept.notes(), 0);

    // The audit reads from there: what rots is found, and held again once it is mended.
    assert!(kept.next_day(false));
    let right = kept.object(small_id).expect("here");
    let mut wrong = right.to_vec();
    *wrong.last_mut().expect("a byte") ^= 1;
    kept.put_object(small_id, wrong.into());
    assert!(!kept.next_day(true));
    kept.put_object(small_id, right);
    assert!(kept.next_day(false));

    // What is taken back is gone from the bucket.
    let key = kept.scene.world.key("contributor-0");
    kept.scene.world.json(&format!("revoke 2 --key {key}"));
    let began = Instant::now();
    while kept.object(large_id).is_ok() {
        assert!(began.elapsed() < PATIENCE, "it stays");
        std::thread::sleep(Duration::from_millis(100));
    }
    let gone = kept
        .scene
        .ask(Method::GET, &format!("blobs/{large_id}"), &[], vec![]);
    assert_eq!(gone.status(), StatusCode::GONE);

    // A ledger that is lost comes back from chain and bucket, and not from one that is away.
    kept.scene.node = None;
    for file in ["ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"] {
        let _ = std::fs::remove_file(kept.scene.world.path(&format!("node/{file}")));
    }
    for mode in [Mode::Says(BUSY), Mode::Broken, Mode::Says(NO_KEY)] {
        kept.line.is(mode);
        let refused = kept.start_refused();
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(
            !refused.status.success() && said.contains("bucket"),
            "{said}"
        );
    }
    kept.line.is(Mode::Good);
    kept.scene.node = Some(start_node(&kept.scene.config).0);
    kept.scene.has(&small_leaf, &small);
    let withdrawn = kept
        .scene
        .world
        .json(&format!("contributions {large_leaf}"));
    assert_eq!(withdrawn["state"], "withdrawn", "{withdrawn}");
}

#[test]
fn nothing_is_acknowledged_that_the_bucket_did_not_take() {
    let mut kept = Kept::start();
    let (_, small) = kept.scene.sealed(1, 1000);
    let (_, large) = kept.scene.sealed(2, PARTS);
    let node = kept.scene.world.told("node").to_owned();
    for mode in [Mode::Broken, Mode::Says(BUSY), Mode::Says(NO_KEY)] {
        kept.line.is(mode);
        let sent = kept.scene.contributing(&small, 1, &node);
        let output = sent.wait_with_output().expect("it ends");
        refusal(output, "a contribution", "the bucket of the blobs failed");
    }
    let health = kept.scene.ask(Method::GET, "health", &[], vec![]);
    assert_eq!(health.status(), StatusCode::SERVICE_UNAVAILABLE);
    kept.line.is(Mode::Good);
    kept.contribute(&small, 1);

    // A large one waits on the node's disk, whole, and its sender for the bucket.
    kept.line.is(Mode::Says(BUSY));
    let mut sent = kept.scene.contributing(&large, 2, &node);
    kept.until_sent(1);
    let unfinished = kept.unfinished();
    let length = large.metadata().expect("a file").len();
    assert!(
        unfinished
            .iter()
            .any(|it| it.metadata().is_ok_and(|it| it.len() == length))
    );
    assert!(sent.try_wait().expect("our child").is_none());
    kept.line.is(Mode::Good);
    let (leaf, _) = taken(sent);
    kept.scene.has(&leaf, &large);
    assert_eq!(kept.unfinished().len() + kept.notes(), 0);

    // Killed while a file is on its way there: its parts are dropped, and it goes there once more.
    let (_, large) = kept.scene.sealed(3, PARTS);
    kept.line.is(Mode::Hanging(PARTS / 2));
    let mut sent = kept.scene.contributing(&large, 3, &node);
    kept.until_sent(PARTS / 2);
    kept.scene.node = None;
    assert_eq!(kept.notes(), 1);
    sent.kill().expect("killed");
    sent.wait().expect("ended");
    kept.line.is(Mode::Good);
    // And once more, by a power cut between the bucket's answer and the node's.
    let mut cut = binary();
    cut.env(VARIABLE, Step::KeptNotAcknowledged.name());
    let (mut crashing, _) = start_node_by(cut, &kept.scene.config);
    assert_eq!(kept.notes(), 0);
    let sent = kept.scene.contributing(&large, 3, &node);
    let began = Instant::now();
    while crashing.0.try_wait().expect("our child").is_none() {
        assert!(began.elapsed() < PATIENCE, "the power does not fail");
        std::thread::sleep(Duration::from_millis(5));
    }
    kept.scene.node = Some(start_node(&kept.scene.config).0);
    let (leaf, _) = taken(sent);
    kept.scene.has(&leaf, &large);
    assert_eq!(kept.unfinished().len() + kept.notes(), 0);
}

#[test]
fn a_large_file_goes_to_a_bucket_and_comes_out_with_little_memory() {
    let kept = Kept::start();
    in_and_out(&kept.scene, 256 * MIB, 64 * MIB);
}

#[test]
fn a_key_is_needed_and_shown_nowhere() {
    let kept = Kept::start();
    let config = kept.scene.config.clone();
    let with = |text: &str, key: Option<(&str, &str)>| {
        let read = std::fs::read_to_string(&config).expect("a configuration");
        let path = kept.scene.world.path("other.toml");
        std::fs::write(&path, format!("{read}\n{text}")).expect("written");
        let mut node = binary();
        for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
            node.env_remove(name);
        }
        if let Some((id, secret)) = key {
            node.env("AWS_ACCESS_KEY_ID", id)
                .env("AWS_SECRET_ACCESS_KEY", secret);
        }
        let listen = "127.0.0.1:0";
        let text = std::fs::read_to_string(&path).expect("a configuration");
        let lines = text.lines().map(|line| match line.starts_with("listen") {
            true => format!("listen = \"{listen}\""),
            false => line.to_owned(),
        });
        std::fs::write(&path, lines.collect::<Vec<_>>().join("\n")).expect("written");
        let output = node.args(["node", "--config", &path]).output();
        output.expect("the binary starts")
    };
    refusal(with("", None), "no key", "set AWS_ACCESS_KEY_ID");
    let file = kept.scene.world.path("s3.key");
    std::fs::write(
        &file,
        "aws_access_key_id = x\naws_secret_access_key = hush\n",
    )
    .expect("written");
    let opened = with("credentials = \"s3.key\"", None);
    assert!(!String::from_utf8_lossy(&opened.stderr).contains("hush"));
    refusal(opened, "a file that others read", "chmod 600");
    kept.line.is(Mode::Says(DENIED));
    let denied = with("", Some(("x", "hush")));
    assert!(!String::from_utf8_lossy(&denied.stderr).contains("hush"));
    refusal(
        denied,
        "another's key",
        "does not let this node do that (403)",
    );
}
