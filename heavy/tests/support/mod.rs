//! The worker as whoever feeds and starts it sees it: a process, folders, standard input.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

pub mod chats;

use serde_json::Value;
use tempfile::TempDir;

/// What stands for the end of all contributions.
const END: [u8; 4] = [0xff; 4];

pub fn worker() -> Command {
    let mut worker = Command::new(env!("CARGO_BIN_EXE_collective-heavy"));
    // Tests run side by side, and small models gain nothing by threads.
    worker.env_clear().env("RAYON_NUM_THREADS", "1");
    worker
}

/// The three folders of a job, and what it was started with.
pub struct Job {
    pub root: TempDir,
}

impl Job {
    /// A job over contributions of a source.
    pub fn new(declaration: &Value, columns: &str, contributions: &[Vec<u8>]) -> Self {
        let job = Self::empty(declaration);
        let output = job.table(columns, &fed(contributions));
        assert!(output.status.success(), "{}", error(&output));
        job
    }

    /// A job without tables.
    pub fn empty(declaration: &Value) -> Self {
        let job = Self {
            root: tempfile::tempdir().expect("a folder"),
        };
        for name in ["input", "output", "state"] {
            std::fs::create_dir(job.folder(name)).expect("a folder");
        }
        let text = declaration.to_string();
        std::fs::write(job.folder("declaration.json"), text).expect("a file");
        job
    }

    /// Makes the tables of what is fed.
    pub fn table(&self, columns: &str, fed: &[u8]) -> Output {
        let mut command = worker();
        command
            .arg("table")
            .arg("--declaration")
            .arg(self.folder("declaration.json"));
        command.args(["--columns", columns, "--purpose", "training", "--output"]);
        feed(command.arg(self.folder("input")), fed)
    }

    pub fn folder(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// What starts the training that the arguments ask for.
    pub fn training(&self, arguments: &Value) -> Command {
        let path = self.folder("input").join("arguments");
        std::fs::write(path, arguments.to_string()).expect("a file");
        let mut command = worker();
        command.arg("train");
        for name in ["input", "output", "state"] {
            command.arg(format!("--{name}")).arg(self.folder(name));
        }
        command
    }

    /// Trains, which has to go well. Gives the metrics.
    pub fn train(&self, arguments: &Value) -> Value {
        let output = self.training(arguments).output().expect("it starts");
        assert!(output.status.success(), "{}", error(&output));
        self.json("output/metrics.json")
    }

    /// What a training says that does not go well by the requester's fault.
    pub fn refused(&self, arguments: &Value) -> String {
        let output = self.training(arguments).output().expect("it starts");
        assert_eq!(output.status.code(), Some(1), "{}", error(&output));
        assert!(!self.folder("output/metrics.json").exists());
        error(&output)
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.folder(name)).expect("a file")
    }

    pub fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&self.bytes(name)).expect("JSON")
    }
}

/// Contributions as a feeder hands them over.
pub fn fed(contributions: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = vec![];
    for plaintext in contributions {
        let length = u32::try_from(plaintext.len()).expect("a short one");
        bytes.extend(length.to_le_bytes());
        bytes.extend(plaintext);
    }
    bytes.extend(END);
    bytes
}

/// Runs a command with bytes as its standard input.
pub fn feed(command: &mut Command, bytes: &[u8]) -> Output {
    let piped = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = piped.spawn().expect("it starts");
    let mut to = child.stdin.take().expect("a pipe");
    std::thread::scope(|scope| {
        // It may end before it has read all.
        scope.spawn(move || to.write_all(bytes));
        child.wait_with_output().expect("it ends")
    })
}

pub fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Whether a file has these bytes in it.
pub fn has(path: &Path, bytes: &[u8]) -> bool {
    let file = std::fs::read(path).expect("a file");
    file.windows(bytes.len()).any(|window| window == bytes)
}
