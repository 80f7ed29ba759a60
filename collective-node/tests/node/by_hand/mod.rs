//! What a person has at hand in a session: the binary, processes that end with the test, and the world
//! that `dev` keeps up.

use std::io::{BufRead, BufReader, Write};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use ::collective::contribution::{PayloadTree, block_range};
use alloy::primitives::B256;
use serde_json::Value;

pub mod bare;
pub mod collective;

/// More than any step takes on a busy machine; a test that waits longer has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The binary, with nothing of this machine's environment that it reads.
pub fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_collective"));
    for name in ["NODE", "RPC", "DEPLOYMENT", "PASSPHRASE", "BINARY"] {
        command.env_remove(format!("COLLECTIVE_{name}"));
    }
    command
}

/// The binary at another place, where no worker for queries lies beside it.
pub fn without_worker(folder: &Path) -> Command {
    let (here, there) = (env!("CARGO_BIN_EXE_collective"), folder.join("collective"));
    if !there.exists() && std::fs::hard_link(here, &there).is_err() {
        std::fs::copy(here, &there).expect("copied");
    }
    Command::new(there)
}

/// The siblings of a leaf of a payload, as whoever shows that leaf makes them.
pub fn path_of(payload: &[u8], index: u64) -> Vec<B256> {
    let mut tree = PayloadTree::new();
    tree.update(payload);
    let outline = tree.outline();
    let block = block_range(payload.len() as u64, index).expect("a leaf");
    let bytes = &payload[block.start as usize..block.end as usize];
    let leaves = outline.leaves(index, bytes).expect("its own");
    outline.path(index, &leaves).expect("a leaf")
}

/// A process that is ended with the test, whichever way that ends.
pub struct Running(pub Child);

impl Running {
    /// SIGTERM; how long it took to exit, and whether it exited with 0.
    pub fn stop(mut self) -> (Duration, bool) {
        let began = Instant::now();
        let kill = format!("kill -TERM {}", self.0.id());
        let sent = Command::new("/bin/sh").args(["-c", &kill]).status();
        assert!(sent.is_ok_and(|status| status.success()), "{kill}");
        while began.elapsed() < PATIENCE {
            if let Some(status) = self.0.try_wait().expect("our child") {
                return (began.elapsed(), status.success());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("it does not stop");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where somebody acts, and with what.
pub struct Session {
    /// Where the files are.
    pub folder: PathBuf,
    /// Addresses of node and chain, the deployment file, and what else is known.
    pub handout: Value,
}

/// The world that `dev` keeps up.
pub struct World {
    /// What `dev` printed.
    pub session: Session,
    /// The process.
    pub dev: Running,
}

impl Deref for World {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl World {
    /// One whose node is stopped.
    pub fn start(folder: PathBuf) -> Self {
        Self::start_with(folder, &["--without-node"])
    }

    pub fn start_with(folder: PathBuf, flags: &[&str]) -> Self {
        let mut dev = dev(&folder, flags)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let out = dev.stdout.take().expect("a pipe");
        let dev = Running(dev);
        let mut documents = serde_json::Deserializer::from_reader(out).into_iter::<Value>();
        let handout = documents.next().expect("a document").expect("JSON");
        // Shown by the harness where the test fails.
        println!("chain {}, node {}", handout["rpc"], handout["node"]);
        let session = Session { folder, handout };
        Self { session, dev }
    }

    /// What `dev` says where it does not start.
    pub fn start_with_refusal(folder: &Path, flags: &[&str]) -> Output {
        dev(folder, flags).output().expect("the binary starts")
    }
}

fn dev(folder: &Path, flags: &[&str]) -> Command {
    let mut command = binary();
    command
        .args(["dev", "--json", "--port", "0", "--rpc-port", "0", "--data"])
        .arg(folder)
        .args(flags);
    command
}

/// Starts a node, and says what it prints once it is up.
pub fn start_node(config: &str) -> (Running, String) {
    start_node_by(binary(), config)
}

/// The same by another binary.
pub fn start_node_by(mut binary: Command, config: &str) -> (Running, String) {
    let mut node = binary
        .args(["node", "--config", config])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut line = String::new();
    let out = node.stdout.take().expect("a pipe");
    let node = Running(node);
    BufReader::new(out).read_line(&mut line).expect("a line");
    (node, line)
}

impl Session {
    pub fn path(&self, name: &str) -> String {
        let path = self.folder.join(name);
        path.to_str().expect("a path in UTF-8").to_owned()
    }

    pub fn told(&self, name: &str) -> &str {
        self.handout[name].as_str().expect("the handout has it")
    }

    pub fn key(&self, name: &str) -> String {
        self.path(&format!("accounts/{name}.key"))
    }

    /// Runs a command line whose words are split at spaces.
    pub fn run(&self, line: &str) -> Output {
        self.run_with(line, b"")
    }

    pub fn run_with(&self, line: &str, input: &[u8]) -> Output {
        self.run_by(binary(), line, input)
    }

    /// The same by another binary.
    pub fn run_by(&self, mut binary: Command, line: &str, input: &[u8]) -> Output {
        let mut child = binary
            .args(line.split_whitespace())
            .env("COLLECTIVE_NODE", self.told("node"))
            .env("COLLECTIVE_RPC", self.told("rpc"))
            .env("COLLECTIVE_DEPLOYMENT", self.told("deployment"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        // A command that does not read may be gone already.
        let _ = stdin.write_all(input);
        drop(stdin);
        child.wait_with_output().expect("it ends")
    }

    /// Runs a command that must succeed, and reads what it prints.
    pub fn json(&self, line: &str) -> Value {
        self.json_with(line, b"")
    }

    pub fn json_with(&self, line: &str, input: &[u8]) -> Value {
        let output = self.run_with(&format!("{line} --json"), input);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{line}: {error}");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    /// Runs a command that must be refused, with this in what it says.
    pub fn refused(&self, line: &str, words: &str) {
        refusal(self.run(line), line, words);
    }

    /// Has two of the three founders vote for these proposals, and executes them after their notice.
    pub fn decide(&self, proposals: &[&str]) {
        self.agree(proposals);
        self.execute(proposals);
    }

    /// The same up to the end of their notice.
    pub fn agree(&self, proposals: &[&str]) {
        let each = |line: &str| {
            for id in proposals {
                self.json(&line.replace("ID", id));
            }
        };
        let (founder, other) = (self.key("founder-0"), self.key("founder-1"));
        self.pass("61");
        each(&format!("vote ID for --key {founder}"));
        each(&format!("vote ID for --key {other}"));
        self.pass("3601");
        each(&format!("proposal queue ID --key {founder}"));
        self.pass("86401");
    }

    /// Executes what was agreed on.
    pub fn execute(&self, proposals: &[&str]) {
        let founder = self.key("founder-0");
        for id in proposals {
            self.json(&format!("proposal execute {id} --key {founder}"));
        }
    }

    /// Lets the chain's time pass.
    pub fn pass(&self, seconds: &str) {
        self.json(&format!("dev time {seconds}"));
    }
}

/// Exit code 1, these words on standard error, nothing on standard output.
pub fn refusal(output: Output, what: &str, words: &str) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{what}: {error}");
    assert!(error.contains(words), "{what}: {error}");
    assert!(output.stdout.is_empty(), "{what} printed something");
}
