//! The disk of `faults.c` under a node.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::by_hand::{Running, World, binary};

/// What the disk does, by the numbers of faults.c.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    Nothing = 0,
    KillBefore = 1,
    KillTorn = 2,
    KillAfter = 3,
    EioOnce = 4,
    Full = 5,
}

/// The disk under a node, and the node.
pub struct Disk {
    library: PathBuf,
    control: PathBuf,
    words: File,
    config: String,
    under: String,
}

impl Disk {
    pub fn new(folder: &Path, world: &World) -> Self {
        let library = folder.join("faults.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/node/faults/faults.c");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .args([&*library, Path::new(source), Path::new("-ldl")])
            .status();
        assert!(built.expect("a C compiler").success());
        let control = folder.join("control");
        std::fs::write(&control, [0; 32]).expect("written");
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
    pub fn start(&self) -> Running {
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
    pub fn arm(&self, mode: Mode, countdown: i64) {
        self.set(0, Mode::Nothing as i64);
        self.set(3, 0);
        self.set(1, countdown);
        self.set(0, mode as i64);
    }

    pub fn calls(&self) -> i64 {
        self.word(2)
    }

    pub fn fired(&self) -> bool {
        self.word(3) > 0
    }

    /// Waits for that call; a batch is sent within a second or two.
    pub fn wait(&self) {
        let began = Instant::now();
        while !self.fired() && began.elapsed() < Duration::from_secs(3) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
