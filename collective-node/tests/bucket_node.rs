//! A node that keeps its own blobs in a bucket, over a line that breaks, hangs and lies. `tests/bucket.rs` says what it needs.
#![cfg(target_os = "linux")]

#[allow(dead_code)]
#[path = "node/by_hand/mod.rs"]
mod by_hand;
#[allow(dead_code)]
#[path = "node/large/mod.rs"]
mod large;
mod stores;

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use by_hand::{PATIENCE, World, binary, refusal, start_node, start_node_by};
use bytes::Bytes;
use collective::id::BlobId;
use collective_node::blobs::Service;
use collective_node::crash::{Step, VARIABLE};
use collective_node::ledger::Audited;
use large::{MIB, Scene, in_and_out, name_of, taken};
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt};
use reqwest::{Method, StatusCode};
use stores::line::{Line, Mode};
use stores::{BUSY, DENIED, NO_KEY, PARTS, at, fresh, object, opened, server};

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
    let length = large.metadata().expect("a file").len();
    let is_whole = |it: &PathBuf| it.metadata().is_ok_and(|it| it.len() == length);
    let began = Instant::now();
    while !kept.unfinished().iter().any(is_whole) {
        assert!(began.elapsed() < PATIENCE, "it does not come");
        std::thread::sleep(Duration::from_millis(5));
    }
    kept.until_sent(kept.line.sent());
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
