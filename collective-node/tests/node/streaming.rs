//! Sealed files that are larger than what a process may have in memory: they go in and come out through the real binary, cut off at
//! any place, and what does not fit is refused.
//!
//! `COLLECTIVE_SEED` says where the line is cut.
#![cfg(target_os = "linux")]

use std::fs::File;
use std::io::{BufWriter, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::by_hand::{PATIENCE, Running, World, binary, start_node, start_node_by};
use alloy::signers::local::PrivateKeySigner;
use collective::contribution::SignedContribution;
use collective::id::BlobId;
use collective::terms::{Purpose, Terms};
use collective_node::blobs::BlobHasher;
use collective_node::client::Client;
use collective_node::contributor::{Destination, prepare_into, read_header};
use collective_node::crash::{Step, VARIABLE};
use collective_node::http::CollectiveAnswer;
use collective_node::intake::join;
use collective_node::transfer::{download, upload};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use reqwest::{Method, Response, StatusCode};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const MIB: u64 = 1 << 20;

/// Memory that a process may take for a file of any size. A file of [`LARGE`] does not fit.
const MEMORY: u64 = 40 * MIB;

const LARGE: u64 = 64 * MIB;

/// A world, its node, and one contributor.
struct Scene {
    world: World,
    config: String,
    node: Option<Running>,
    client: Client,
    account: PrivateKeySigner,
    runtime: tokio::runtime::Runtime,
    _temporary: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let world = World::start(temporary.path().join("world"));
        let config = world.path("node.toml");
        let text = std::fs::read_to_string(&config).expect("a configuration");
        std::fs::write(&config, format!("max_payload = {}\n{text}", 1024 * MIB)).expect("written");
        let seeded = world.handout["accounts"].as_array().expect("accounts");
        let named = |it: &&Value| it["name"] == "contributor-0";
        let account = seeded.iter().find(named).expect("an account")["key"].as_str();
        let (node, _) = start_node(&config);
        Self {
            client: Client::new(world.told("node").parse().expect("a URL")).expect("a client"),
            account: account.expect("a key").parse().expect("a key"),
            runtime: tokio::runtime::Runtime::new().expect("threads"),
            node: Some(node),
            config,
            world,
            _temporary: temporary,
        }
    }

    fn told(&self) -> CollectiveAnswer {
        let told = self.runtime.block_on(self.client.collective());
        told.expect("the collective")
    }

    /// Seals so many bytes, which the nonce seeds, into a file.
    fn sealed(&self, nonce: u64, bytes: u64) -> (SignedContribution, PathBuf) {
        self.sealed_by(&self.account, nonce, bytes)
    }

    fn sealed_by(
        &self,
        account: &PrivateKeySigner,
        nonce: u64,
        bytes: u64,
    ) -> (SignedContribution, PathBuf) {
        let path = PathBuf::from(self.world.path(&format!("{nonce}.age")));
        let told = self.told();
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
        let noise = Noise(StdRng::seed_from_u64(nonce)).take(bytes);
        let file = BufWriter::new(File::create(&path).expect("a file"));
        let rng = &mut rand::rng();
        let entry = prepare_into(&to, account, nonce, noise, file, rng);
        (entry.expect("a sealed file"), path)
    }

    fn contributing(&self, file: &Path, nonce: u64, node: &str) -> Child {
        let (file, nonce) = (file.to_str().expect("UTF-8"), nonce.to_string());
        let key = self.world.key("contributor-0");
        binary()
            .args(["contribute", "--sealed", file, "--source", "anes96"])
            .args(["--purposes", "statistics", "--nonce", &nonce, "--key", &key])
            .args(["--node", node, "--json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts")
    }

    /// That the node has a sealed file, whole, and anchors it.
    fn has(&self, leaf: &str, file: &Path) {
        let state = self.world.json(&format!("contributions {leaf} --wait"));
        assert_eq!(state["state"], "batched");
        let copy = self.world.path("copy");
        let copied = File::create(&copy).expect("a file");
        let id = name_of(file);
        self.runtime
            .block_on(download(&self.client, id, &copied))
            .expect("all of it");
        assert_eq!(name_of(Path::new(&copy)), id);
    }

    fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Response {
        let url = format!("{}/{path}", self.world.told("node"));
        let mut request = reqwest::Client::new().request(method, url).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.runtime.block_on(request.send()).expect("an answer")
    }

    fn begin(&self, entry: &SignedContribution, header: &[u8]) -> Response {
        let first = join(entry, header);
        self.ask(
            Method::POST,
            "contributions",
            &[("Upload-Complete", "?0")],
            first,
        )
    }

    fn append(&self, entry: &SignedContribution, at: u64, complete: &str, part: &[u8]) -> Response {
        let path = format!("uploads/{}", entry.contribution.leaf());
        let headers = [
            ("Upload-Offset", &*at.to_string()),
            ("Upload-Complete", complete),
            ("Content-Type", "application/partial-upload"),
        ];
        self.ask(Method::PATCH, &path, &headers, part.to_vec())
    }

    /// Where an upload stands: offset, length, whether it is complete.
    fn stands(&self, entry: &SignedContribution) -> Option<(u64, u64, String)> {
        let path = format!("uploads/{}", entry.contribution.leaf());
        let answer = self.ask(Method::HEAD, &path, &[], vec![]);
        let number = |name| header(&answer, name).parse().expect("a number");
        match answer.status() {
            StatusCode::NOT_FOUND => None,
            StatusCode::NO_CONTENT => Some((
                number("Upload-Offset"),
                number("Upload-Length"),
                header(&answer, "Upload-Complete"),
            )),
            other => panic!("{other}"),
        }
    }

    fn refused(&self, answer: Response, status: u16, words: &str) {
        assert_eq!(answer.status(), status, "{words}");
        let said = self.runtime.block_on(answer.text()).expect("a problem");
        assert!(said.contains(words), "{said}");
    }
}

/// Bytes that do not repeat.
struct Noise(StdRng);

impl Read for Noise {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.0.fill_bytes(into);
        Ok(into.len())
    }
}

fn header(answer: &Response, name: &str) -> String {
    let value = answer.headers().get(name);
    let value = value.unwrap_or_else(|| panic!("no {name}: {answer:?}"));
    value.to_str().expect("text").to_owned()
}

fn name_of(file: &Path) -> BlobId {
    let (mut file, mut hasher) = (File::open(file).expect("a file"), BlobHasher::default());
    let mut piece = vec![0; 1 << 20];
    loop {
        match file.read(&mut piece).expect("read") {
            0 => return hasher.finish(),
            read => hasher.update(&piece[..read]),
        }
    }
}

/// The most memory that a process had so far.
fn peak(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|it| it.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

/// Waits for a contribution to be taken in: its leaf, and the most memory that its process had.
fn taken(mut child: Child) -> (String, u64) {
    let mut most = 0;
    while child.try_wait().expect("our child").is_none() {
        most = peak(child.id()).unwrap_or(0).max(most);
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().expect("it ended");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    (answer["leaf"].as_str().expect("a leaf").to_owned(), most)
}

fn in_and_out(bytes: u64, memory: u64) {
    let scene = Scene::new();
    let node = scene.world.told("node").to_owned();
    let process = scene.node.as_ref().expect("a node").0.id();
    // What both have in memory whatever is contributed.
    let (_, small) = scene.sealed(1, 1000);
    let (leaf, client_before) = taken(scene.contributing(&small, 1, &node));
    scene.has(&leaf, &small);
    let (entry, large) = scene.sealed(2, bytes);
    // From here on the peak is counted anew: a start takes more than what follows (proc(5), clear_refs).
    std::fs::write(format!("/proc/{process}/clear_refs"), "5").expect("our process");
    let node_before = peak(process).expect("a process");
    let began = Instant::now();
    let (leaf, client_after) = taken(scene.contributing(&large, 2, &node));
    let sent = began.elapsed();
    let began = Instant::now();
    scene.has(&leaf, &large);
    let received = began.elapsed();
    let node_after = peak(process).expect("a process");
    println!(
        "{} MiB: sent in {sent:?}, anchored and received in {received:?}; MiB of memory more: node {}, client {}",
        bytes / MIB,
        (node_after - node_before) / MIB,
        client_after.saturating_sub(client_before) / MIB,
    );
    assert!(node_after - node_before < memory);
    assert!(client_after.saturating_sub(client_before) < memory);

    // The leaf that was signed here is another one, as its terms end at another time; the file is the same.
    assert_ne!(entry.contribution.leaf().to_string(), leaf);
    let path = format!("blobs/{}", name_of(&large));
    let range = ("Range", &*format!("bytes={}-{}", bytes / 2, bytes / 2 + 9));
    let part = scene.ask(Method::GET, &path, &[range], vec![]);
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    let length = large.metadata().expect("a file").len();
    let expected = format!("bytes {}-{}/{length}", bytes / 2, bytes / 2 + 9);
    assert_eq!(header(&part, "Content-Range"), expected);
    let part = scene.runtime.block_on(part.bytes()).expect("bytes");
    let mut file = File::open(&large).expect("a file");
    std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(bytes / 2)).expect("there");
    let mut same = [0; 10];
    file.read_exact(&mut same).expect("read");
    assert_eq!(part[..], same);
    let past = [("Range", &*format!("bytes={length}-"))];
    let past = scene.ask(Method::GET, &path, &past, vec![]);
    assert_eq!(past.status(), StatusCode::RANGE_NOT_SATISFIABLE);
}

#[test]
fn a_large_file_goes_in_and_comes_out_with_little_memory() {
    in_and_out(LARGE, MEMORY);
}

/// `just gibibyte`, about a minute.
#[test]
#[ignore = "3 GiB of disk"]
fn a_gibibyte_goes_in_and_comes_out_with_little_memory() {
    // A payload of 1 GiB: nonce, chunks, and a tag for each.
    let chunks = (1024 * MIB - 16) / (64 * 1024 + 16);
    in_and_out(chunks * 64 * 1024, 64 * MIB);
}

/// A line to a node that breaks after some bytes, as often as there are numbers.
async fn bad_line(to: SocketAddr, cuts: Vec<u64>) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (left, broken) = (
        Arc::new(std::sync::Mutex::new(cuts)),
        Arc::new(AtomicUsize::new(0)),
    );
    let count = broken.clone();
    tokio::spawn(async move {
        loop {
            let (near, _) = listener.accept().await.expect("a connection");
            let (left, count) = (left.clone(), count.clone());
            tokio::spawn(async move {
                let far = TcpStream::connect(to).await.expect("the node");
                let (mut near_in, mut near_out) = near.into_split();
                let (mut far_in, mut far_out) = far.into_split();
                let back = async move { tokio::io::copy(&mut far_in, &mut near_out).await };
                let there = async move {
                    let mut bytes = vec![0; 16 * 1024];
                    loop {
                        let read = near_in.read(&mut bytes).await.unwrap_or(0);
                        let is_cut = {
                            let mut left = left.lock().expect("numbers");
                            match left.last_mut() {
                                Some(room) if *room < read as u64 => left.pop().is_some(),
                                Some(room) => {
                                    *room -= read as u64;
                                    false
                                }
                                None => false,
                            }
                        };
                        if is_cut {
                            count.fetch_add(1, Ordering::SeqCst);
                            return;
                        }
                        if read == 0 || far_out.write_all(&bytes[..read]).await.is_err() {
                            return;
                        }
                    }
                };
                tokio::select! { _ = back => {}, () = there => {} }
            });
        }
    });
    (address, broken)
}

fn seed() -> u64 {
    let named = std::env::var("COLLECTIVE_SEED").ok();
    let named = named.and_then(|it| it.parse().ok());
    let seed = named.unwrap_or_else(|| rand::rng().random::<u32>().into());
    println!("COLLECTIVE_SEED={seed}");
    seed
}

#[test]
fn an_upload_goes_on_wherever_the_line_breaks() {
    let mut rng = StdRng::seed_from_u64(seed());
    let scene = Scene::new();
    let (_, file) = scene.sealed(1, LARGE / 2);
    let cuts: Vec<u64> = (0..6).map(|_| rng.random_range(1..LARGE / 16)).collect();
    let node: SocketAddr = {
        let url: url::Url = scene.world.told("node").parse().expect("a URL");
        let host = url.host_str().expect("a host");
        format!("{host}:{}", url.port().expect("a port"))
            .parse()
            .expect("an address")
    };
    let (line, broken) = scene.runtime.block_on(bad_line(node, cuts));
    let (leaf, _) = taken(scene.contributing(&file, 1, &format!("http://{line}")));
    assert_eq!(
        broken.load(Ordering::SeqCst),
        6,
        "the line broke less often"
    );
    assert!(!file.with_extension("age.leaf").exists());
    scene.has(&leaf, &file);
}

#[test]
fn an_upload_goes_on_after_the_node_was_killed_and_after_the_sender_was() {
    let mut scene = Scene::new();
    let (_, file) = scene.sealed(1, LARGE);
    let node = scene.world.told("node").to_owned();
    let unfinished = PathBuf::from(scene.world.path("node/blobs/unfinished"));
    let received = || {
        let files = std::fs::read_dir(&unfinished).into_iter().flatten();
        let lengths = files.map(|it| it.expect("a file").metadata().map_or(0, |it| it.len()));
        lengths.sum::<u64>()
    };
    let until = |bytes| {
        let began = Instant::now();
        while received() < bytes {
            assert!(began.elapsed() < PATIENCE, "{} bytes came", received());
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    let mut sender = scene.contributing(&file, 1, &node);
    until(LARGE / 4);
    sender.kill().expect("killed");
    sender.wait().expect("ended");
    let kept = file.with_extension("age.leaf");
    let entry: SignedContribution =
        serde_json::from_slice(&std::fs::read(&kept).expect("a leaf")).expect("an entry");
    let (acknowledged, length, complete) = scene.stands(&entry).expect("an upload");
    assert!(LARGE / 4 <= acknowledged && acknowledged < length && complete == "?0");
    // SIGKILL.
    scene.node = None;
    scene.node = Some(start_node(&scene.config).0);
    let (offset, ..) = scene.stands(&entry).expect("an upload");
    assert_eq!(offset, acknowledged);

    let sender = scene.contributing(&file, 1, &node);
    until(acknowledged + LARGE / 4);
    scene.node = None;
    scene.node = Some(start_node(&scene.config).0);
    let (leaf, _) = taken(sender);
    assert_eq!(leaf, entry.contribution.leaf().to_string(), "another leaf");
    assert!(!kept.exists());
    scene.has(&leaf, &file);
    assert_eq!(scene.stands(&entry), Some((length, length, "?1".into())));
    assert_eq!(received(), 0, "something is left");
}

#[test]
fn an_answer_that_a_power_cut_swallows_is_given_again() {
    let mut scene = Scene::new();
    let (_, file) = scene.sealed(1, 2 * MIB);
    let mut cut = binary();
    cut.env(VARIABLE, Step::KeptNotAcknowledged.name());
    scene.node = None;
    let (mut node, _) = start_node_by(cut, &scene.config);
    let sender = scene.contributing(&file, 1, scene.world.told("node"));
    let began = Instant::now();
    while node.0.try_wait().expect("our child").is_none() {
        assert!(began.elapsed() < PATIENCE, "the power does not fail");
        std::thread::sleep(Duration::from_millis(5));
    }
    scene.node = Some(start_node(&scene.config).0);
    let (leaf, _) = taken(sender);
    scene.has(&leaf, &file);
    let unfinished = std::fs::read_dir(scene.world.path("node/blobs/unfinished"));
    assert_eq!(
        unfinished.expect("a folder").count(),
        0,
        "something is left"
    );
}

#[test]
fn two_senders_of_one_file_are_in_nobodys_way() {
    let scene = Scene::new();
    let (entry, file) = scene.sealed(1, LARGE / 2);
    let send = || upload(&scene.client, &entry, &file, |_, _| {});
    let (one, other) = scene
        .runtime
        .block_on(async { tokio::join!(send(), send()) });
    let leaf = entry.contribution.leaf();
    assert_eq!(one.expect("taken in").leaf, leaf);
    assert_eq!(other.expect("taken in").leaf, leaf);
    scene.has(&leaf.to_string(), &file);
}

#[test]
fn what_does_not_fit_is_refused_and_costs_nobody_else() {
    let scene = Scene::new();
    let (entry, path) = scene.sealed(1, 2 * MIB);
    let file = std::fs::read(&path).expect("a file");
    let head = read_header(&file[..]).expect("read").expect("a header");
    let payload = &file[head.len()..];
    let start = join(&entry, &head).len() as u64;
    let unfinished = PathBuf::from(scene.world.path("node/blobs/unfinished"));
    let is_empty = || {
        std::fs::read_dir(&unfinished)
            .expect("a folder")
            .next()
            .is_none()
    };

    // Nothing begins by what an upload in one request is refused for.
    let refused = |entry: &SignedContribution, head: &[u8], status, words: &str| {
        scene.refused(scene.begin(entry, head), status, words);
        assert!(is_empty() && scene.stands(entry).is_none());
    };
    let mut bent = entry.clone();
    bent.contribution.nonce = 77;
    refused(&bent, &head, 403, "does not match this leaf");
    bent = entry.clone();
    bent.commitment.length -= 1;
    refused(&bent, &head, 422, "not the one that was signed");
    bent = entry.clone();
    bent.commitment.length = 2048 * MIB;
    refused(&bent, &head, 422, "has 1 to 1073741824 bytes");
    bent.commitment.length = 0;
    refused(&bent, &head, 422, "has 1 to 1073741824 bytes");
    bent = entry.clone();
    bent.commitment.source = "elsewhere".into();
    refused(&bent, &head, 422, "declares no source");
    bent = entry.clone();
    bent.contribution.collective = alloy::primitives::Address::repeat_byte(9);
    refused(&bent, &head, 422, "names collective");
    let (foreign, foreign_path) = scene.sealed_by(&PrivateKeySigner::random(), 9, 1000);
    let foreign_head = read_header(File::open(foreign_path).expect("a file"));
    let foreign_head = foreign_head.expect("read").expect("a header");
    refused(&foreign, &foreign_head, 403, "is not admitted");
    bent = entry.clone();
    bent.signature = foreign.signature;
    refused(&bent, &head, 403, "does not match this leaf");
    bent = entry.clone();
    bent.terms.expiry -= 1;
    refused(&bent, &head, 422, "not the ones that were signed");
    let (other, other_path) = scene.sealed(2, 2 * MIB);
    let other_file = std::fs::read(&other_path).expect("a file");
    let other_head = read_header(&other_file[..])
        .expect("read")
        .expect("a header");
    refused(&entry, &other_head, 422, "");
    refused(
        &entry,
        &file[..head.len() + 1],
        400,
        "something follows the header",
    );
    refused(&entry, &head[..head.len() - 1], 422, "");
    // Few bytes: what is refused before its body is read may be answered by a closed door.
    let stranger = scene.append(&entry, start, "?0", b"x");
    scene.refused(stranger, 404, "is under way here");

    // Parts are appended where the last one ended, and are as long as the commitment says.
    let begun = scene.begin(&entry, &head);
    assert_eq!(begun.status(), StatusCode::CREATED);
    let leaf = entry.contribution.leaf();
    assert_eq!(header(&begun, "Location"), format!("/uploads/{leaf}"));
    let length = start + payload.len() as u64;
    assert_eq!(scene.stands(&entry), Some((start, length, "?0".into())));
    let elsewhere = scene.append(&entry, start + 1, "?0", b"x");
    assert_eq!(header(&elsewhere, "Upload-Offset"), start.to_string());
    scene.refused(elsewhere, 409, "go on there");
    let half = payload.len() / 2;
    let more = scene.append(&entry, start, "?0", &payload[..half]);
    assert_eq!(more.status(), StatusCode::NO_CONTENT);
    let at = start + half as u64;
    assert_eq!(header(&more, "Upload-Offset"), at.to_string());
    // Opened again it goes on.
    let again = scene.begin(&entry, &head);
    assert_eq!(header(&again, "Upload-Offset"), at.to_string());
    let early = scene.append(&entry, at, "?1", b"");
    assert_eq!(header(&early, "Upload-Complete"), "?0");
    scene.refused(early, 422, "cut or extended");
    let long = scene.append(&entry, at, "?1", &[&payload[half..], b"x"].concat());
    scene.refused(long, 422, "cut or extended");
    let (at, ..) = scene.stands(&entry).expect("it is open");
    let rest = &payload[(at - start) as usize..];
    let no_kind = scene.ask(
        Method::PATCH,
        &format!("uploads/{leaf}"),
        &[
            ("Upload-Offset", &at.to_string()),
            ("Upload-Complete", "?1"),
        ],
        b"x".to_vec(),
    );
    scene.refused(no_kind, 415, "application/partial-upload");
    let whole = scene.append(&entry, at, "?1", rest);
    assert_eq!(whole.status(), StatusCode::CREATED);
    assert_eq!(header(&whole, "Upload-Complete"), "?1");
    scene.refused(scene.begin(&entry, &head), 409, "is already here");

    // Wrong bytes cost who sent them: it begins again, and then may be right.
    let other_payload = &other_file[other_head.len()..];
    let other_start = join(&other, &other_head).len() as u64;
    let mut wrong = other_payload.to_vec();
    wrong[half] ^= 1;
    assert_eq!(
        scene.begin(&other, &other_head).status(),
        StatusCode::CREATED
    );
    let refusal = scene.append(&other, other_start, "?1", &wrong);
    assert_eq!(header(&refusal, "Upload-Complete"), "?1");
    scene.refused(refusal, 422, "bytes are not those");
    assert!(is_empty() && scene.stands(&other).is_none());
    assert_eq!(
        scene.begin(&other, &other_head).status(),
        StatusCode::CREATED
    );
    let whole = scene.append(&other, other_start, "?1", other_payload);
    assert_eq!(whole.status(), StatusCode::CREATED);

    // A nonce is one contribution's, also where another one came first in the meantime.
    let (late, late_path) = scene.sealed(3, 2 * MIB);
    let late_file = std::fs::read(&late_path).expect("a file");
    let late_head = read_header(&late_file[..])
        .expect("read")
        .expect("a header");
    assert_eq!(scene.begin(&late, &late_head).status(), StatusCode::CREATED);
    let (first, first_path) = scene.sealed(3, 1000);
    let first_file = std::fs::read(first_path).expect("a file");
    let sent = scene.client.contribute(join(&first, &first_file));
    scene.runtime.block_on(sent).expect("taken in");
    let late_start = join(&late, &late_head).len() as u64;
    let refusal = scene.append(&late, late_start, "?1", &late_file[late_head.len()..]);
    scene.refused(refusal, 409, "are in use for another leaf");
    assert!(is_empty());

    // One contributor has so many under way, and may cancel one.
    let mut open = vec![];
    for nonce in 4..9 {
        let (entry, path) = scene.sealed(nonce, 2 * MIB);
        let file = File::open(path).expect("a file");
        let head = read_header(file).expect("read").expect("a header");
        open.push((entry, head));
    }
    for (entry, head) in &open[..4] {
        assert_eq!(scene.begin(entry, head).status(), StatusCode::CREATED);
    }
    scene.refused(scene.begin(&open[4].0, &open[4].1), 429, "finish or cancel");
    let first = format!("uploads/{}", open[0].0.contribution.leaf());
    let cancelled = scene.ask(Method::DELETE, &first, &[], vec![]);
    assert_eq!(cancelled.status(), StatusCode::NO_CONTENT);
    assert!(scene.stands(&open[0].0).is_none());
    assert_eq!(
        scene.begin(&open[4].0, &open[4].1).status(),
        StatusCode::CREATED
    );
}
