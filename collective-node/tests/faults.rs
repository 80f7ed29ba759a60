//! A disk that fails: at each call by which a node puts something there, it is killed before, in the middle and after, the call
//! fails, or there is no space from then on. What was acknowledged is there afterwards, whole, and gets into a batch.
//!
//! `COLLECTIVE_KILLS` says how often the node is killed at random under load, `COLLECTIVE_SEED` where.
#![cfg(target_os = "linux")]

mod by_hand;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use alloy::signers::local::PrivateKeySigner;
use by_hand::{PATIENCE, Running, World, binary};
use collective::id::{BlobId, Leaf};
use collective::permit::Fault;
use collective::terms::{Purpose, Terms};
use collective_node::client::{Client, ClientError};
use collective_node::contributor::{Destination, prepare};
use collective_node::http::{CollectiveAnswer, ContributionState};
use collective_node::intake::join;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Kills at random without `COLLECTIVE_KILLS`.
const KILLS: usize = 6;

/// Uploads on their way at once.
const SENDERS: usize = 8;

/// Respondents whose contributions a world begins with.
const FOUNDED: u64 = 944;

/// What the disk does, by the numbers of faults.c.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Nothing = 0,
    KillBefore = 1,
    KillTorn = 2,
    KillAfter = 3,
    EioOnce = 4,
    Full = 5,
}

const KILLING: [Mode; 3] = [Mode::KillBefore, Mode::KillTorn, Mode::KillAfter];

/// The disk under a node, and the node.
struct Disk {
    library: PathBuf,
    control: PathBuf,
    words: File,
    config: String,
    under: String,
}

impl Disk {
    fn new(folder: &Path, world: &World) -> Self {
        let library = folder.join("faults.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/faults.c");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .args([&*library, Path::new(source), Path::new("-ldl")])
            .status();
        assert!(built.expect("a C compiler").success());
        let control = folder.join("control");
        std::fs::write(&control, [0; 40]).expect("written");
        let words = File::options().read(true).write(true).open(&control);
        Self {
            library,
            control,
            words: words.expect("opened"),
            config: world.path("node.toml"),
            under: world.path("node/"),
        }
    }

    /// Starts the node on this disk; it may die while it starts.
    fn start(&self) -> Running {
        let mut node = binary()
            .args(["node", "--config", &self.config])
            .env("LD_PRELOAD", &self.library)
            .env("FAULTS_UNDER", &self.under)
            .env("FAULTS_CONTROL", &self.control)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts");
        let out = node.stdout.take().expect("a pipe");
        let node = Running(node);
        let _ = BufReader::new(out).read_line(&mut String::new());
        node
    }

    fn word(&self, place: u64) -> i64 {
        let mut word = [0; 8];
        let read = self.words.read_exact_at(&mut word, 8 * place);
        read.expect("read");
        i64::from_ne_bytes(word)
    }

    fn set(&self, place: u64, word: i64) {
        let written = self.words.write_all_at(&word.to_ne_bytes(), 8 * place);
        written.expect("written");
    }

    /// Has the call after `countdown - 1` others fail in this way.
    fn arm(&self, mode: Mode, countdown: i64) {
        self.set(0, Mode::Nothing as i64);
        self.set(4, 0);
        self.set(1, countdown);
        self.set(0, mode as i64);
    }

    fn calls(&self) -> i64 {
        self.word(2)
    }

    fn fired(&self) -> bool {
        self.word(4) > 0
    }

    /// Waits for that call; a batch is sent within a second or two.
    fn wait(&self) {
        let began = Instant::now();
        while !self.fired() && began.elapsed() < Duration::from_secs(3) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Something to send.
struct Upload {
    leaf: Leaf,
    file: Vec<u8>,
    bytes: Vec<u8>,
}

/// Makes uploads of one contributor, whose nonces rise.
struct Contributor {
    /// Up as long as this is.
    _world: World,
    client: Client,
    account: PrivateKeySigner,
    nonce: u64,
    told: Option<CollectiveAnswer>,
    runtime: tokio::runtime::Runtime,
}

impl Contributor {
    fn new(world: World) -> Self {
        let seeded = world.handout["accounts"].as_array().expect("accounts");
        let named = |it: &&serde_json::Value| it["name"] == "contributor-0";
        let account = seeded.iter().find(named).expect("an account")["key"].as_str();
        Self {
            client: Client::new(world.told("node").parse().expect("a URL")).expect("a client"),
            account: account.expect("a key").parse().expect("a key"),
            nonce: 1_000,
            told: None,
            runtime: tokio::runtime::Runtime::new().expect("threads"),
            _world: world,
        }
    }

    fn uploads(&mut self, count: usize) -> VecDeque<Upload> {
        let (runtime, client) = (&self.runtime, &self.client);
        let told = self.told.get_or_insert_with(|| {
            let told = runtime.block_on(client.collective());
            told.expect("the collective")
        });
        let recipient = told.recipient.parse().expect("a recipient");
        let to = Destination {
            deployment: &told.deployment,
            recipient: &recipient,
            source: "anes96",
            terms: Terms {
                purposes: [Purpose::Statistics].into_iter().collect(),
                expiry: u64::MAX,
            },
        };
        let one = |nonce| {
            let record = b"0,7,7,1,6,6,36,3,1,1\n";
            let (entry, file) = prepare(&to, &self.account, nonce, record, &mut rand::rng())
                .expect("a sealed record");
            let leaf = entry.contribution.leaf();
            let bytes = join(&entry, &file);
            Upload { leaf, file, bytes }
        };
        let first = self.nonce;
        self.nonce += count as u64;
        (first..self.nonce).map(one).collect()
    }

    fn send(&self, upload: &Upload) -> Result<(), ClientError> {
        let sent = self.client.contribute(upload.bytes.clone());
        self.runtime.block_on(sent).map(drop)
    }

    /// Once more, after the fault: it is taken in now, or was before.
    fn send_again(&self, upload: &Upload) {
        if let Err(error) = self.send(upload) {
            assert!(is_replay(&error), "{error}");
        }
    }

    /// All of these are here, whole, and in a batch in the end.
    fn check(&self, acknowledged: &[Upload]) {
        for upload in acknowledged {
            let held = self.runtime.block_on(self.client.contribution(upload.leaf));
            held.expect("an acknowledged contribution");
            let id = BlobId::of(&upload.file);
            let file = self.runtime.block_on(self.client.blob(id));
            assert_eq!(file.expect("its file"), upload.file);
        }
    }

    fn check_anchored(&self, acknowledged: &[Upload]) {
        let began = Instant::now();
        let all = FOUNDED + acknowledged.len() as u64;
        loop {
            let status = self.runtime.block_on(self.client.status());
            let status = status.expect("the node's status");
            if status.waiting == 0 && status.anchored == all {
                break;
            }
            let waited = began.elapsed() < PATIENCE;
            assert!(waited, "{} of {all} are anchored", status.anchored);
            std::thread::sleep(Duration::from_millis(100));
        }
        self.check(acknowledged);
        for upload in acknowledged {
            let state = self.runtime.block_on(self.client.contribution(upload.leaf));
            let batched = matches!(state, Ok(ContributionState::Batched { .. }));
            assert!(batched, "leaf {} is in no batch", upload.leaf);
        }
    }
}

fn is_replay(error: &ClientError) -> bool {
    error.problem().is_some_and(|it| it.status == 409)
}

/// Not taken in, and it says whose fault that is.
fn is_operators(error: &ClientError) -> bool {
    error
        .problem()
        .is_some_and(|it| it.fault == Fault::Operator)
}

fn world(folder: &Path) -> (Contributor, Disk) {
    let world = World::start(folder.join("world"));
    let disk = Disk::new(folder, &world);
    (Contributor::new(world), disk)
}

#[test]
fn a_call_that_fails_is_no_acknowledgement_and_does_no_harm() {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let (mut contributor, disk) = world(temporary.path());
    let node = disk.start();
    let (mut kept, mut failed, mut refused) = (vec![], 0, 0);
    // Until a contribution and its batch make fewer calls than this.
    for place in 1.. {
        let upload = contributor.uploads(1).pop_front().expect("one");
        disk.arm(Mode::EioOnce, place);
        let answer = contributor.send(&upload);
        disk.wait();
        let fired = disk.fired();
        disk.arm(Mode::Nothing, 0);
        if let Err(error) = answer {
            assert!(is_operators(&error), "call {place}: {error}");
            refused += 1;
            contributor.send_again(&upload);
        }
        kept.push(upload);
        if !fired {
            break;
        }
        failed += 1;
    }
    println!("{failed} calls failed with EIO, {refused} contributions were not acknowledged");
    assert!(failed >= 8 && refused >= 4);
    contributor.check_anchored(&kept);
    drop(node);
    let node = disk.start();
    contributor.check_anchored(&kept);
    drop(node);
}

#[test]
fn a_full_disk_acknowledges_nothing_and_works_again_when_there_is_space() {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let (mut contributor, disk) = world(temporary.path());
    let node = disk.start();
    let mut kept: Vec<Upload> = vec![];
    for place in [1, 2, 3, 5, 8, 13] {
        disk.arm(Mode::Full, place);
        let uploads = contributor.uploads(10);
        // What was taken in before the disk was full is; the rest is refused.
        let taken = uploads.iter().filter(|upload| {
            let answer = contributor.send(upload);
            assert!(!answer.as_ref().is_err_and(|error| !is_operators(error)));
            answer.is_ok()
        });
        let taken = taken.count();
        assert!(disk.fired() && taken < 10, "{taken}");
        let status = contributor.runtime.block_on(contributor.client.status());
        status.expect("it still answers");
        contributor.check(&kept);

        disk.arm(Mode::Nothing, 0);
        for upload in &uploads {
            contributor.send_again(upload);
        }
        kept.extend(uploads);
    }
    contributor.check_anchored(&kept);
    drop(node);
    let node = disk.start();
    contributor.check_anchored(&kept);
    drop(node);
}

#[test]
fn killed_under_load_at_any_call_it_has_what_it_acknowledged() {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let number = |name: &str| std::env::var(name).ok().and_then(|it| it.parse().ok());
    let seed = number("COLLECTIVE_SEED").unwrap_or_else(|| rand::rng().random::<u32>().into());
    let kills = number("COLLECTIVE_KILLS").map_or(KILLS, |it| it as usize);
    println!("COLLECTIVE_SEED={seed} COLLECTIVE_KILLS={kills}");
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut contributor, disk) = world(temporary.path());
    let mut fired = 0;

    // How many calls a start makes, and how many one contribution and its batch.
    let node = disk.start();
    let starting = disk.calls();
    let mut kept: Vec<Upload> = contributor.uploads(1).into();
    contributor.send(&kept[0]).expect("taken in");
    contributor.check_anchored(&kept);
    let each = disk.calls() - starting;
    println!("{starting} calls of a start, {each} of a contribution and its batch");
    assert!(starting > 0 && each > 8);
    let mut waiting = VecDeque::new();
    drop(node);

    for kill in 0..kills {
        waiting.extend(contributor.uploads(2 * SENDERS));
        let mode = KILLING[kill % KILLING.len()];
        // One of eight while it starts.
        let starts = rng.random_ratio(1, 8);
        if starts {
            disk.arm(mode, rng.random_range(1..=starting));
        }
        let node = disk.start();
        if !starts {
            contributor.check(&kept[kept.len().saturating_sub(SENDERS)..]);
            disk.arm(mode, rng.random_range(1..=2 * each));
        }
        let (taken, left) = load(&contributor, waiting);
        kept.extend(taken);
        waiting = left;
        disk.wait();
        fired += usize::from(disk.fired());
        disk.arm(Mode::Nothing, 0);
        // Killed here, where it did not come that far.
        drop(node);
    }
    assert!(2 * fired >= kills, "{fired} of {kills} kills came about");
    let node = disk.start();
    for upload in &waiting {
        contributor.send_again(upload);
    }
    kept.extend(waiting);
    contributor.check_anchored(&kept);
    println!("{fired} kills, {} contributions", kept.len());
    drop(node);
}

/// Sends until nothing is left or the node is gone. Which were acknowledged, in that order, and which are to be sent again.
fn load(contributor: &Contributor, uploads: VecDeque<Upload>) -> (Vec<Upload>, VecDeque<Upload>) {
    let queue = Arc::new(Mutex::new((uploads, vec![], VecDeque::new())));
    contributor.runtime.block_on(async {
        let mut senders = tokio::task::JoinSet::new();
        for _ in 0..SENDERS {
            let (queue, client) = (queue.clone(), contributor.client.clone());
            senders.spawn(async move {
                loop {
                    let next = queue.lock().expect("a queue").0.pop_front();
                    let Some(upload) = next else { return };
                    let answer = client.contribute(upload.bytes.clone()).await;
                    let mut queue = queue.lock().expect("a queue");
                    match answer {
                        Ok(_) => queue.1.push(upload),
                        Err(error) if is_replay(&error) => queue.1.push(upload),
                        Err(error) => {
                            assert!(error.problem().is_none(), "{error}");
                            queue.2.push_back(upload);
                            return;
                        }
                    }
                }
            });
        }
        while let Some(sender) = senders.join_next().await {
            sender.expect("a sender");
        }
    });
    let queue = Arc::into_inner(queue).expect("all have ended");
    let (mut unsent, taken, mut failed) = queue.into_inner().expect("a queue");
    failed.append(&mut unsent);
    (taken, failed)
}
