//! A node whose members keep their files at a web server that may lie.

// Each file that has it uses a part.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use alloy::eips::BlockId;
use alloy::primitives::Address;
use alloy::providers::{Provider, ProviderBuilder};
use alloy::rpc::types::Filter;
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::SolEvent;
use base64::prelude::{BASE64_STANDARD as STANDARD, Engine};
use collective::contribution::PlaceUrl;
use collective::liveness::Epoch;
use collective::seal::tagged::TaggedRecipient;
use collective::terms::{Purpose, Terms};
use collective_contracts::ContributionRegistry::BatchCommitted;
use collective_node::chain::Deployment;
use collective_node::client::Client;
use collective_node::contributor::{Destination, prepare};
use collective_node::ledger::Audited;
use serde_json::Value;

use crate::by_hand::{self, PATIENCE, Running, World, binary, refusal};

const DAY: &str = "86400";

/// Of which no log, blob or answer may have a trace.
pub const TOKEN: &str = "s3cr3t-t0ken";

/// What a client shows that has the token as the password of `me`.
pub fn basic() -> String {
    format!("Basic {}", STANDARD.encode(format!("me:{TOKEN}")))
}

/// Statistics for ever, over records of the world's source.
pub fn destination<'a>(
    deployment: &'a Deployment,
    recipient: &'a TaggedRecipient,
) -> Destination<'a> {
    Destination {
        deployment,
        recipient,
        source: "anes96",
        terms: Terms {
            purposes: [Purpose::Statistics].into_iter().collect(),
            expiry: u64::MAX,
        },
    }
}

/// How a server answers for one path.
#[derive(Clone)]
pub enum Answer {
    /// As it should.
    File(Vec<u8>),
    /// The same, for whoever shows these credentials (RFC 7617).
    Locked(String, Vec<u8>),
    /// As it should, once nobody holds this.
    Behind(Arc<Mutex<()>>, Vec<u8>),
    /// As it should, but for what lies at this byte or behind it.
    Before(u64, Vec<u8>),
    /// The whole file, whatever was asked for.
    Whole(Vec<u8>),
    Status(u16),
    To(String),
    /// Another part than was asked for.
    Elsewhere(Vec<u8>),
    /// Fewer bytes than it says.
    Cut(Vec<u8>),
    /// As if it were compressed.
    Packed(Vec<u8>),
    /// A byte now and then.
    Slow,
    /// Bytes without end.
    Endless,
    /// No HTTP.
    Noise,
}

/// A web server that may lie.
#[derive(Clone)]
pub struct Server {
    pub address: SocketAddr,
    answers: Arc<Mutex<HashMap<String, Answer>>>,
    /// First and last byte of each range that was asked for.
    pub asked: Arc<Mutex<Vec<(u64, u64)>>>,
    /// What each request had as `authorization`.
    pub shown: Arc<Mutex<Vec<Option<String>>>>,
}

impl Server {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let server = Self {
            address: listener.local_addr().expect("an address"),
            answers: Arc::default(),
            asked: Arc::default(),
            shown: Arc::default(),
        };
        let serving = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serving = serving.clone();
                // A client that hangs up is none of its business.
                std::thread::spawn(move || serving.answer(&stream).ok());
            }
        });
        server
    }

    /// From now on.
    pub fn set(&self, path: &str, answer: Answer) {
        let mut answers = self.answers.lock().expect("no panic");
        answers.insert(path.to_owned(), answer);
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}?token={TOKEN}", self.address)
    }

    fn answer(&self, mut stream: &TcpStream) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream).lines();
        let request = lines.next().expect("a request")?;
        let (mut range, mut shown) = (None, None);
        for line in lines {
            let line = line?;
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(": ")
                && name.eq_ignore_ascii_case("authorization")
            {
                shown = Some(value.to_owned());
            }
            let line = line.to_lowercase();
            if let Some(bytes) = line.strip_prefix("range: bytes=") {
                let (first, last) = bytes.split_once('-').expect("a range");
                range = Some((
                    first.parse().expect("a number"),
                    last.parse().expect("a number"),
                ));
            }
        }
        let path = request.split([' ', '?']).nth(1).unwrap_or_default();
        let path = path.trim_start_matches('/');
        let answer = self.answers.lock().expect("no panic").get(path).cloned();
        let answer = match answer {
            Some(Answer::Locked(expected, file)) if shown.as_ref() == Some(&expected) => {
                Some(Answer::File(file))
            }
            Some(Answer::Locked(..)) => Some(Answer::Status(401)),
            Some(Answer::Before(end, file)) => match range {
                Some((_, last)) if last < end => Some(Answer::File(file)),
                _ => Some(Answer::Status(503)),
            },
            answer => answer,
        };
        self.shown.lock().expect("no panic").push(shown);
        let (first, last): (u64, u64) = range.expect("a node asks for ranges only");
        self.asked.lock().expect("no panic").push((first, last));
        let answer = match answer {
            Some(Answer::Behind(gate, file)) => {
                drop(gate.lock().expect("no panic"));
                Some(Answer::File(file))
            }
            answer => answer,
        };
        let head = |status: &str, more: &str| {
            format!("HTTP/1.1 {status}\r\nconnection: close\r\n{more}\r\n")
        };
        let part = |file: &[u8], first: u64| {
            let end = file.len().min(last as usize + 1);
            let bytes = file.get(first as usize..end).map(<[u8]>::to_vec);
            let bytes = bytes.filter(|it| !it.is_empty())?;
            let shown = format!("bytes {first}-{}/{}", end - 1, file.len());
            let length = bytes.len();
            let more = format!("content-range: {shown}\r\ncontent-length: {length}\r\n");
            Some((more, bytes))
        };
        let status = |status: u16| head(&format!("{status} No"), "content-length: 0\r\n");
        match answer.unwrap_or(Answer::Status(404)) {
            Answer::Locked(..) | Answer::Before(..) | Answer::Behind(..) => {
                unreachable!("told apart above")
            }
            Answer::File(file) => match part(&file, first) {
                Some((more, bytes)) => {
                    stream.write_all(head("206 Part", &more).as_bytes())?;
                    stream.write_all(&bytes)
                }
                None => stream.write_all(status(416).as_bytes()),
            },
            Answer::Whole(file) => {
                let more = format!("content-length: {}\r\n", file.len());
                stream.write_all(head("200 OK", &more).as_bytes())?;
                stream.write_all(&file)
            }
            Answer::Status(code) => stream.write_all(status(code).as_bytes()),
            Answer::To(url) => {
                let more = format!("location: {url}\r\ncontent-length: 0\r\n");
                stream.write_all(head("302 Found", &more).as_bytes())
            }
            Answer::Elsewhere(file) => {
                let (more, bytes) = part(&file, first - 1).expect("there is more");
                stream.write_all(head("206 Part", &more).as_bytes())?;
                stream.write_all(&bytes)
            }
            Answer::Cut(file) => {
                let (more, bytes) = part(&file, first).expect("there is more");
                stream.write_all(head("206 Part", &more).as_bytes())?;
                stream.write_all(&bytes[..bytes.len() / 2])
            }
            Answer::Packed(file) => {
                let (more, bytes) = part(&file, first).expect("there is more");
                let more = format!("content-encoding: gzip\r\n{more}");
                stream.write_all(head("206 Part", &more).as_bytes())?;
                stream.write_all(&bytes)
            }
            Answer::Slow => {
                stream.write_all(head("200 OK", "content-length: 99999\r\n").as_bytes())?;
                loop {
                    stream.write_all(b"x")?;
                    std::thread::sleep(Duration::from_millis(500));
                }
            }
            Answer::Endless => {
                stream.write_all(head("200 OK", "").as_bytes())?;
                loop {
                    stream.write_all(&[7; 4096])?;
                }
            }
            Answer::Noise => stream.write_all(b"no HTTP at all\r\n\r\n"),
        }
    }
}

/// A world whose node goes to one server, and a member who keeps a file there.
pub struct Kept {
    pub folder: tempfile::TempDir,
    pub world: World,
    pub node: Option<Running>,
    pub server: Server,
    /// The sealed file.
    pub file: Vec<u8>,
}

impl Kept {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let world = World::start(folder.path().join("world"));
        let server = Server::start();
        let config = world.path("node.toml");
        let mut text = std::fs::read_to_string(&config).expect("a configuration");
        text.push_str(&format!(
            "connected = true\nprivate_places = [\"{}\"]\n",
            server.address
        ));
        std::fs::write(&config, text).expect("a written file");
        let mut kept = Self {
            folder,
            world,
            node: None,
            server,
            file: vec![],
        };
        kept.start_node();
        kept
    }

    /// Everything that it says is kept.
    pub fn start_node(&mut self) {
        self.node = None;
        let log = std::fs::File::options()
            .append(true)
            .create(true)
            .open(self.log());
        let mut node = binary();
        node.env(
            "RUST_LOG",
            "info,collective_node=trace,reqwest=trace,hyper=trace",
        );
        node.stderr(log.expect("a log"));
        let (node, line) = by_hand::start_node_by(node, &self.world.path("node.toml"));
        assert!(line.contains(self.world.told("node")), "it says: {line}");
        self.node = Some(node);
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("node.log")
    }

    pub fn said(&self, words: &str) -> bool {
        let log = std::fs::read_to_string(self.log()).expect("a log");
        log.contains(words)
    }

    /// Changes the node's configuration, and starts it again by it.
    pub fn configure(&mut self, was: &str, is: &str) {
        let config = self.world.path("node.toml");
        let text = std::fs::read_to_string(&config).expect("a configuration");
        assert!(text.contains(was), "no {was}");
        std::fs::write(&config, text.replace(was, is)).expect("a written file");
        self.start_node();
    }

    /// Seals a record, which is then where nothing serves it.
    pub fn seal(&mut self) {
        let path = self.folder.path().join("record.age");
        let (keep, url) = (path.display(), self.server.url("nothing"));
        let line = format!("{} --record - --keep {keep} --place {url}", self.terms());
        let early = self.world.run_with(&line, b"0,7,7,1,6,6,36,3,1,1\n");
        assert_eq!(early.status.code(), Some(1), "it is not there yet");
        self.file = std::fs::read(&path).expect("the sealed file");
    }

    /// Seals what is no record, as if it were one: only the sandbox would see that.
    pub async fn seal_large(&mut self, bytes: usize) {
        let deployment = self.deployment();
        let answer = self.client().collective().await.expect("a collective");
        let recipient = answer.recipient.parse().expect("a recipient");
        let to = destination(&deployment, &recipient);
        let account = self.account("contributor-0");
        let record: Vec<u8> = (0..bytes).map(|i| (i / 7) as u8).collect();
        let sealed = prepare(&to, &account, 7, &record, &mut rand::rng());
        self.file = sealed.expect("sealed").1;
        let path = self.folder.path().join("record.age");
        std::fs::write(path, &self.file).expect("a written file");
    }

    /// Sends the kept file with a place that is taken, waits until it is anchored, and gives its leaf.
    pub fn contributed(&self, url: &str) -> String {
        let taken = self.contribute(&format!("{url} --json"));
        let error = String::from_utf8_lossy(&taken.stderr);
        assert!(taken.status.success(), "{error}");
        let taken: Value = serde_json::from_slice(&taken.stdout).expect("JSON");
        let leaf = taken["leaf"].as_str().expect("a leaf").to_owned();
        self.world.json(&format!("contributions {leaf} --wait"));
        leaf
    }

    /// Sends the kept file with a place, as the member types it.
    pub fn contribute(&self, url: &str) -> std::process::Output {
        let file = self.folder.path().join("record.age");
        let line = format!("{} --sealed {} --place {url}", self.terms(), file.display());
        self.world.run(&line)
    }

    /// Sends something with a place that answers only once `meanwhile` is done, and says what came of it.
    pub fn while_looked_at(
        &self,
        send: impl FnOnce(&str) -> std::process::Output + Send,
        meanwhile: impl FnOnce(),
    ) -> std::process::Output {
        let gate = Arc::new(Mutex::new(()));
        let held = gate.lock().expect("no panic");
        let answer = Answer::Behind(gate.clone(), self.file.clone());
        self.server.set("slow", answer);
        let url = self.server.url("slow");
        let asked = || self.server.asked.lock().expect("no panic").len();
        let before = asked();
        std::thread::scope(|threads| {
            let sent = threads.spawn(move || send(&url));
            let began = Instant::now();
            while asked() == before {
                assert!(began.elapsed() < PATIENCE, "the place is not asked");
                std::thread::sleep(Duration::from_millis(20));
            }
            meanwhile();
            drop(held);
            sent.join().expect("no panic")
        })
    }

    pub fn terms(&self) -> String {
        let key = self.world.key("contributor-0");
        // With an end of its own: a year from now is another leaf a second later.
        let terms = "--purposes statistics --expiry 4102444800";
        format!("contribute --source anes96 {terms} --nonce 7 --key {key}")
    }

    pub fn refuses(&self, answer: Answer, words: &str) {
        self.server.set("liar", answer);
        self.refuses_place(&self.server.url("liar"), words);
    }

    pub fn refuses_place(&self, url: &str, words: &str) {
        let output = self.contribute(url);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!error.contains(TOKEN), "{words}: {error}");
        assert!(error.contains("fault: contributor"), "{words}: {error}");
        refusal(output, words, words);
    }

    /// Begins a day, and says how it was audited. Where `is_held` is false the tries take hours, which pass one try after the other: a
    /// day that is over for longer than three is not posted any more.
    pub async fn next_day(&self, is_held: bool) -> Audited {
        let (mut tried, mut asked) = (self.times_asked(), 0);
        self.world.pass(DAY);
        let newest = self.provider().get_block(BlockId::latest()).await;
        let today = Epoch::at(
            newest
                .expect("an answer")
                .expect("a block")
                .header
                .timestamp,
        );
        let began = Instant::now();
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            if let Some(newest) = self.audits().first()
                && newest.epoch >= today
            {
                return *newest;
            }
            assert!(began.elapsed() < PATIENCE, "no audit");
            let before = std::mem::replace(&mut asked, self.times_asked());
            if !is_held && asked > tried && asked == before {
                tried = asked;
                self.world.pass("18001");
            }
        }
    }

    /// How often the node asked a place for what was drawn, or said that it could not.
    fn times_asked(&self) -> usize {
        let log = std::fs::read_to_string(self.log()).expect("a log");
        log.matches("asked a contributor's place").count() + log.matches("not asked").count()
    }

    pub fn audits(&self) -> Vec<Audited> {
        let output = self.world.run("liveness --json");
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// How the contribution stands, as anybody may ask.
    pub fn standing(&self, leaf: &str) -> (String, bool) {
        let output = self.world.run(&format!("liveness {leaf} --json"));
        let standing: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(standing["connected"], true, "{standing}");
        let newest = standing["days"].as_array().expect("days").last();
        let verdict = newest.expect("a day")["verdict"].as_str().expect("a word");
        assert_eq!(output.status.success(), verdict == "held");
        (verdict.to_owned(), standing["earns"] == true)
    }

    pub fn provider(&self) -> impl Provider + use<> {
        let rpc = self.world.told("rpc").parse().expect("an address");
        ProviderBuilder::new().connect_http(rpc)
    }

    /// The node's account, which anchors.
    pub async fn auditor(&self) -> Address {
        let filter = Filter::new()
            .address(self.deployment().contributions)
            .event_signature(BatchCommitted::SIGNATURE_HASH)
            .from_block(0);
        let logs = self.provider().get_logs(&filter).await.expect("logs");
        let batch = BatchCommitted::decode_log(&logs.first().expect("a batch").inner);
        batch.expect("an event").data.aggregator
    }

    /// What was posted of a day says that its contributor kept it, and holds.
    pub async fn is_verified(&self, epoch: u64, leaf: &str) {
        let began = Instant::now();
        let line = format!("verify liveness {epoch} --contribution {leaf} --json");
        let verified = loop {
            let output = self.world.run(&line);
            if output.status.success() {
                break String::from_utf8(output.stdout).expect("JSON");
            }
            assert!(began.elapsed() < PATIENCE, "{output:?}");
            tokio::time::sleep(Duration::from_millis(500)).await;
        };
        assert!(
            verified.contains("held, kept by its contributor"),
            "{verified}"
        );
    }

    pub fn client(&self) -> Client {
        Client::new(self.world.told("node").parse().expect("a URL")).expect("a client")
    }

    pub fn deployment(&self) -> Deployment {
        let file = std::fs::read(self.world.told("deployment")).expect("written by dev");
        serde_json::from_slice(&file).expect("a deployment")
    }

    pub fn account(&self, name: &str) -> PrivateKeySigner {
        let seeded = self.world.handout["accounts"].as_array().expect("accounts");
        let found = seeded.iter().find(|it| it["name"] == name);
        let key = found.expect("an account")["key"].as_str().expect("a key");
        key.parse().expect("a key")
    }

    pub fn url(&self, path: &str) -> PlaceUrl {
        self.server.url(path).try_into().expect("an address")
    }

    /// No trace of the token but in the ledger, and none at all of how it is shown.
    pub fn has_kept_the_secret(&self) {
        let shown = basic().split_off("Basic ".len());
        assert!(!self.said(TOKEN) && !self.said(&shown), "the log has it");
        let mut folders = vec![PathBuf::from(self.world.path("node"))];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let name = path
                    .file_name()
                    .expect("a name")
                    .to_string_lossy()
                    .into_owned();
                let bytes = std::fs::read(&path).expect("a file");
                let has_it = bytes.windows(TOKEN.len()).any(|it| it == TOKEN.as_bytes());
                assert!(!has_it || name.starts_with("ledger"), "{}", path.display());
            }
        }
    }
}
