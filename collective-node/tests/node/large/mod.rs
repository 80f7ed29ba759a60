//! One contributor of files that are larger than what a process may have in memory, and the node that takes them.

use std::fs::File;
use std::io::{BufWriter, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use alloy::signers::local::PrivateKeySigner;
use collective::contribution::SignedContribution;
use collective::id::BlobId;
use collective::terms::{Purpose, Terms};
use collective_node::blobs::BlobHasher;
use collective_node::client::Client;
use collective_node::contributor::{Destination, prepare_into};
use collective_node::http::CollectiveAnswer;
use collective_node::intake::join;
use collective_node::transfer::download;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::{Method, Response, StatusCode};
use serde_json::Value;

use crate::by_hand::{Running, World, binary, start_node};

pub const MIB: u64 = 1 << 20;

/// A world, its node, and one contributor.
pub struct Scene {
    pub world: World,
    pub config: String,
    pub node: Option<Running>,
    pub client: Client,
    pub account: PrivateKeySigner,
    pub runtime: tokio::runtime::Runtime,
    _temporary: tempfile::TempDir,
}

impl Scene {
    pub fn new() -> Self {
        Self::new_with(|_| String::new())
    }

    /// The same with more in the node's configuration, once what it starts with is there.
    pub fn new_with(configure: impl FnOnce(&World) -> String) -> Self {
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let world = World::start(temporary.path().join("world"));
        let config = world.path("node.toml");
        let text = std::fs::read_to_string(&config).expect("a configuration");
        let (most, more) = (1024 * MIB, configure(&world));
        std::fs::write(&config, format!("max_payload = {most}\n{text}\n{more}")).expect("written");
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

    pub fn told(&self) -> CollectiveAnswer {
        let told = self.runtime.block_on(self.client.collective());
        told.expect("the collective")
    }

    /// Seals so many bytes, which the nonce seeds, into a file.
    pub fn sealed(&self, nonce: u64, bytes: u64) -> (SignedContribution, PathBuf) {
        self.sealed_by(&self.account, nonce, bytes)
    }

    pub fn sealed_by(
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

    pub fn contributing(&self, file: &Path, nonce: u64, node: &str) -> Child {
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
    pub fn has(&self, leaf: &str, file: &Path) {
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

    pub fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Response {
        let url = format!("{}/{path}", self.world.told("node"));
        let mut request = reqwest::Client::new().request(method, url).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.runtime.block_on(request.send()).expect("an answer")
    }

    pub fn begin(&self, entry: &SignedContribution, header: &[u8]) -> Response {
        let first = join(entry, header);
        self.ask(
            Method::POST,
            "contributions",
            &[("Upload-Complete", "?0")],
            first,
        )
    }

    pub fn append(
        &self,
        entry: &SignedContribution,
        at: u64,
        complete: &str,
        part: &[u8],
    ) -> Response {
        let path = format!("uploads/{}", entry.contribution.leaf());
        let headers = [
            ("Upload-Offset", &*at.to_string()),
            ("Upload-Complete", complete),
            ("Content-Type", "application/partial-upload"),
        ];
        self.ask(Method::PATCH, &path, &headers, part.to_vec())
    }

    /// Where an upload stands: offset, length, whether it is complete.
    pub fn stands(&self, entry: &SignedContribution) -> Option<(u64, u64, String)> {
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

    pub fn refused(&self, answer: Response, status: u16, words: &str) {
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

pub fn header(answer: &Response, name: &str) -> String {
    let value = answer.headers().get(name);
    let value = value.unwrap_or_else(|| panic!("no {name}: {answer:?}"));
    value.to_str().expect("text").to_owned()
}

pub fn name_of(file: &Path) -> BlobId {
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
pub fn peak(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|it| it.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

/// Waits for a contribution to be taken in: its leaf, and the most memory that its process had.
pub fn taken(mut child: Child) -> (String, u64) {
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

pub fn in_and_out(scene: &Scene, bytes: u64, memory: u64) {
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
