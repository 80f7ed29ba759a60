//! A training on this machine: the table of what was contributed, and the trainer that follows what it is told. Both are done by the
//! binary `collective-heavy`, in the jail.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command};
use std::time::Duration;

use collective::bundle::is_hidden;
use collective::source::Source;
use collective::terms::Purpose;
use collective::training::Training;
use serde::Deserialize;
use thiserror::Error;
use zeroize::Zeroizing;

use super::jail::{Folders, Jail, JailError, Jailed};
use super::left::{self, Left, LeftError};
use crate::programs::process::{Ended, KernelLimits, Limits, ProcessError, follow, run};

/// File of the worker, beside the binary that starts it.
pub const WORKER: &str = "collective-heavy";

/// What the worker reads as the end of what is fed (SPEC "Heavy programs", "Table").
const END: u32 = u32::MAX;

/// Bytes of a line of progress: a step of how many, and a loss.
const LINE_BYTES: usize = 1 << 10;

/// For saying its version.
const MOMENT: Duration = Duration::from_secs(10);

/// Memory of the worker that makes tables, which does not grow with what it is fed.
const TABLE_MEMORY: u64 = 1 << 30;

/// For making a table, and for fetching and opening what it is made of: 400 GB at 10 MB a second.
const TABLE_TIME: Duration = Duration::from_secs(12 * 60 * 60);

/// Bytes of an input folder: about as much as is fed in that time, or half of it where there are two tables.
const MAX_TABLE_BYTES: u64 = 400 << 30;

/// Bytes of what the worker says about the tables: the declaration of the source is in it, which has 1 MiB at most.
const MAX_INPUT_JSON_BYTES: u64 = 2 << 20;

/// How often all of its memory a program may have in its state: what it goes on with was in memory, and the last one stays until the
/// next is whole.
const STATE_PER_MEMORY: u64 = 2;

/// Letters of a complaint that are passed on: one sentence.
const SENTENCE_LETTERS: usize = 400;

/// A shell's way to say that a signal ended a program: this much is added to its number.
const BY_SIGNAL: i32 = 128;

/// What the worker says about its tables, and what the trainer is told, in the input folder.
const INPUT_JSON: &str = "input.json";
const ARGUMENTS: &str = "arguments";

/// Why there is no model.
#[derive(Debug, Error)]
pub enum TrainingError {
    /// Nothing runs without it.
    #[error(transparent)]
    Jail(#[from] JailError),
    /// The worker is not here.
    #[error("{} is not here: `just heavy` builds it beside this binary", .0.display())]
    NoWorker(PathBuf),
    /// Another one is.
    #[error("the manifest names the trainer {named}, here is {here}")]
    AnotherTrainer {
        /// In the manifest.
        named: String,
        /// What the worker says.
        here: String,
    },
    /// What was voted on, or the data that it is for: another try ends in the same way. One printable line.
    #[error("{0}")]
    Request(String),
    /// This machine: its operator has to look. One printable line.
    #[error("the trainer failed on this machine: {0}")]
    Machine(String),
    /// It was stopped, or did not start.
    #[error("the trainer: {0}")]
    Process(#[from] ProcessError),
    /// A folder.
    #[error("a folder of the training cannot be used: {0}; check the disk")]
    Folder(#[from] io::Error),
}

/// How far a training is.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct Progress {
    /// Steps that are done, at most all.
    pub step: u64,
    /// Of how many.
    pub of: u64,
    /// What the last one cost, if the program says so.
    pub loss: Option<f64>,
}

/// What a training may use up.
#[derive(Clone, Copy, Debug)]
pub struct Granted {
    /// By the wall clock.
    pub time: Duration,
    /// Bytes of memory; its state may have twice as many.
    pub memory: u64,
    /// Bytes of all files that it leaves.
    pub output: u64,
}

/// What is known of the contributions before the first of them.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    /// Their source.
    pub source: &'a Source,
    /// Places of the columns that the vote grants.
    pub columns: &'a [usize],
    /// What for.
    pub purpose: Purpose,
}

/// What became of the contributions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Made {
    /// How many were handed over, and read.
    pub contributions: u64,
    /// Records or documents of the table.
    pub rows: u64,
    /// Records or documents that were none.
    pub left_out: u64,
}

/// The worker in its jail.
#[derive(Clone, Debug)]
pub struct Trainer {
    jail: Jail,
    worker: PathBuf,
}

impl Trainer {
    /// The worker beside this binary.
    ///
    /// # Errors
    /// [`TrainingError::NoWorker`], [`JailError::NoBubblewrap`].
    pub fn beside(executable: &Path) -> Result<Self, TrainingError> {
        let real = fs::canonicalize(executable);
        let real = real.unwrap_or_else(|_| executable.to_owned());
        let worker = real.with_file_name(WORKER);
        if !worker.is_file() {
            return Err(TrainingError::NoWorker(worker));
        }
        let jail = Jail::find()?;
        Ok(Self { jail, worker })
    }

    /// Its name and version, as a manifest has it.
    ///
    /// # Errors
    /// Why it does not say.
    pub fn name(&self) -> Result<String, TrainingError> {
        let limits = Limits {
            time: MOMENT,
            output: LINE_BYTES,
            folders: &[],
            kernel: None,
        };
        let mut command = Command::new(&self.worker);
        let said = run(command.arg("--version").env_clear(), &[], limits)?;
        if !said.status.success() {
            let why = sentence(&said.complaint);
            return Err(TrainingError::Machine(format!("it has no version: {why}")));
        }
        let name = sentence(&String::from_utf8_lossy(&said.output));
        Ok(name.replace(' ', "/"))
    }

    /// Whether it is the one that a manifest names.
    ///
    /// # Errors
    /// [`TrainingError::AnotherTrainer`].
    pub fn check(&self, named: &str) -> Result<(), TrainingError> {
        let here = self.name()?;
        match here == named {
            true => Ok(()),
            false => Err(TrainingError::AnotherTrainer {
                named: named.into(),
                here,
            }),
        }
    }

    /// Makes the input folder of a program: tables of these contributions' plaintexts, and what the trainer is told. Blocks.
    ///
    /// # Errors
    /// [`TrainingError`]; also where the worker says that it read another number of contributions than there were.
    pub fn make_input(
        &self,
        table: Table<'_>,
        contributions: impl Iterator<Item = Zeroizing<Vec<u8>>> + Send + 'static,
        training: &Training,
        input: &Path,
    ) -> Result<Made, TrainingError> {
        let declared = declaration(table.source)?;
        let folders = Folders {
            input: declared.path(),
            output: input,
            state: None,
        };
        let columns = columns(table);
        let purpose = table.purpose.to_string();
        let mut words = vec!["table", "--declaration", "/input/declaration.json"];
        words.extend(["--columns", &columns, "--purpose", &purpose]);
        words.extend(["--output", "/output"]);
        let mut jailed = self.jail.shut_in(&self.worker, &words, folders)?;
        let limits = Limits {
            time: TABLE_TIME,
            output: LINE_BYTES,
            folders: &[(input, MAX_TABLE_BYTES)],
            kernel: Some(kernel(TABLE_MEMORY, MAX_TABLE_BYTES)),
        };
        let feed = |pipe| feed(pipe, contributions);
        let (ended, fed) = follow(&mut jailed.command, feed, |_| {}, limits)?;
        judged(&jailed, &ended).map_err(|error| not_fed(error, &fed))?;
        let fed =
            fed.map_err(|why| TrainingError::Machine(format!("it was not fed to the end: {why}")))?;
        let made = made(input)?;
        if made.contributions != fed {
            let read = made.contributions;
            return Err(TrainingError::Machine(format!(
                "it read {read} contributions, of {fed} that it was fed"
            )));
        }
        write_arguments(input, training)?;
        Ok(made)
    }

    /// Trains, and opens all that the output folder then has, which was empty before, or an earlier try's; what is in the state folder is
    /// gone on with. Blocks.
    ///
    /// # Errors
    /// [`TrainingError`].
    pub fn train(
        &self,
        folders: Folders<'_>,
        granted: Granted,
        mut told: impl FnMut(Progress) + Send + 'static,
    ) -> Result<Vec<Left>, TrainingError> {
        let words = [
            "train", "--input", "/input", "--output", "/output", "--state", "/state",
        ];
        let mut jailed = self.jail.shut_in(&self.worker, &words, folders)?;
        let state = granted.memory.saturating_mul(STATE_PER_MEMORY);
        let mut measured = vec![(folders.output, granted.output)];
        measured.extend(folders.state.map(|folder| (folder, state)));
        let limits = Limits {
            time: granted.time,
            output: LINE_BYTES,
            folders: &measured,
            kernel: Some(kernel(granted.memory, granted.output.max(state))),
        };
        let told = move |line: &[u8]| match serde_json::from_slice(line) {
            Ok(Progress { step, of, loss }) if step <= of => told(Progress { step, of, loss }),
            // What is no progress is for nobody.
            _ => {}
        };
        let (ended, _) = follow(&mut jailed.command, |_| Ok(()), told, limits)?;
        judged(&jailed, &ended)?;
        left::open(folders.output, granted.output).map_err(|error| match error {
            LeftError::Disk(error) => error.into(),
            error => TrainingError::Request(error.to_string()),
        })
    }
}

/// A folder with the source's declaration, as the worker reads it.
fn declaration(source: &Source) -> Result<tempfile::TempDir, TrainingError> {
    let folder = tempfile::tempdir()?;
    let text = serde_json::to_vec(source).map_err(io::Error::other)?;
    fs::write(folder.path().join("declaration.json"), text)?;
    Ok(folder)
}

fn columns(table: Table<'_>) -> String {
    let names = table
        .columns
        .iter()
        .map(|place| &table.source.columns[*place].name[..]);
    names.collect::<Vec<_>>().join(",")
}

fn kernel(memory: u64, file: u64) -> KernelLimits {
    KernelLimits {
        memory,
        // By the wall clock alone: all processors may work at once.
        seconds: u64::MAX,
        file,
    }
}

/// Writes each contribution behind its length, and that there are no more. Says how many there were.
fn feed(
    mut pipe: ChildStdin,
    contributions: impl Iterator<Item = Zeroizing<Vec<u8>>>,
) -> io::Result<u64> {
    let mut fed = 0;
    for plaintext in contributions {
        let length = u32::try_from(plaintext.len()).ok();
        let length = length.filter(|length| *length != END);
        let length = length.ok_or_else(|| io::Error::other("a contribution has 4 GiB and more"))?;
        pipe.write_all(&length.to_le_bytes())?;
        pipe.write_all(&plaintext)?;
        fed += 1;
    }
    pipe.write_all(&END.to_le_bytes())?;
    Ok(fed)
}

/// What the worker says about its tables. It was shut in with hostile bytes, so that its files are not believed to be any.
fn made(input: &Path) -> Result<Made, TrainingError> {
    let lied = |what: &dyn std::fmt::Display| TrainingError::Machine(format!("its table: {what}"));
    let left = left::open(input, MAX_TABLE_BYTES).map_err(|error| match error {
        LeftError::Disk(error) => error.into(),
        error => lied(&error),
    })?;
    let said = left.into_iter().find(|left| left.name == INPUT_JSON);
    let said = said.ok_or_else(|| lied(&"there is no input.json"))?;
    let text = said.file.take(MAX_INPUT_JSON_BYTES);
    serde_json::from_reader(text).map_err(|error| lied(&error))
}

/// Writes what the trainer is told, over nothing that the worker left there: what an earlier try left is removed, not written to.
fn write_arguments(input: &Path, training: &Training) -> io::Result<()> {
    let path = input.join(ARGUMENTS);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(training.text().as_bytes())
}

/// Whose fault it was, by the code that programs on heavy nodes end with.
fn judged(jailed: &Jailed, ended: &Ended) -> Result<(), TrainingError> {
    /// Past the longest file that it may write.
    const TOO_LONG: i32 = BY_SIGNAL + libc::SIGXFSZ;
    let said = sentence(&ended.complaint);
    match jailed.exit_code()? {
        Some(0) => Ok(()),
        Some(1) => Err(TrainingError::Request(said)),
        Some(TOO_LONG) => Err(TrainingError::Request(
            "it wrote a file that is longer than all of its output or state may be".into(),
        )),
        Some(code) if code > BY_SIGNAL => Err(TrainingError::Machine(format!(
            "signal {}: {said}",
            code - BY_SIGNAL
        ))),
        Some(code) => Err(TrainingError::Machine(format!("code {code}: {said}"))),
        None => Err(JailError::Denied(said).into()),
    }
}

/// The same, where feeding had failed before: the worker only says that it broke off. Who no longer reads has said why itself.
fn not_fed(error: TrainingError, fed: &io::Result<u64>) -> TrainingError {
    match (error, fed) {
        (TrainingError::Machine(said), Err(why)) if why.kind() != io::ErrorKind::BrokenPipe => {
            TrainingError::Machine(format!("{said} (feeding it: {why})"))
        }
        (error, _) => error,
    }
}

/// A stranger's complaint as one line of bounded length, without what moves a cursor or does not show.
fn sentence(complaint: &str) -> String {
    let words: Vec<_> = complaint.split_whitespace().collect();
    let line = words.join(" ");
    let shown = |letter: char| match is_hidden(letter) {
        true => '\u{fffd}',
        false => letter,
    };
    line.chars().map(shown).take(SENTENCE_LETTERS).collect()
}
