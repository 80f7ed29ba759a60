//! The three folders of a program: files are written whole or not at all, and progress is told line by line.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::failure::Failure;

/// Lines of progress of one run, about: what a bar can show. Fewer than a program of a million steps has.
const PROGRESS_LINES: u64 = 1_000;

/// The folders that a program is started with.
#[derive(Clone, Debug, clap::Args)]
pub struct Folders {
    /// Folder with the input; it is only read
    #[arg(long, value_name = "DIR")]
    pub input: PathBuf,
    /// Folder for the output
    #[arg(long, value_name = "DIR")]
    pub output: PathBuf,
    /// Folder that stays where the job is killed and started again
    #[arg(long, value_name = "DIR")]
    pub state: PathBuf,
}

/// Writes a file whole: under another name, to the disk, and only then under its own.
///
/// # Errors
/// The disk's.
pub fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), Failure> {
    let path = folder.join(name);
    let written = || -> io::Result<()> {
        // One name, so that what a kill leaves behind is written over by the next try.
        let temporary = folder.join(format!(".{name}.new"));
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        File::open(folder)?.sync_all()
    };
    written().map_err(|error| Failure::file(&path, error))
}

/// Writes a value as canonical JSON (RFC 8785).
///
/// # Errors
/// The disk's, or a number that JSON does not have.
pub fn write_json(folder: &Path, name: &str, value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json_canonicalizer::to_vec(value)
        .map_err(|error| Failure::machine(format!("{name}: {error}")))?;
    write(folder, name, &text)
}

/// Writes `metrics.json`: an object of numbers.
///
/// # Errors
/// The disk's, or a number that JSON does not have.
pub fn write_metrics(folder: &Path, metrics: &[(&str, f64)]) -> Result<(), Failure> {
    let mut object = Map::new();
    for (name, value) in metrics {
        let number = serde_json::Number::from_f64(*value).ok_or_else(|| {
            Failure::request(format!(
                "the figure {name} is no number any more: the training did not converge"
            ))
        })?;
        object.insert((*name).to_owned(), Value::Number(number));
    }
    write_json(folder, "metrics.json", &object)
}

/// Reads a file of at most `limit` bytes.
///
/// # Errors
/// The disk's, or a file over the limit.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, Failure> {
    let length = fs::metadata(path)
        .map_err(|error| Failure::file(path, error))?
        .len();
    if length > limit {
        return Err(Failure::file(
            path,
            format_args!("it has {length} bytes, and at most {limit} are read"),
        ));
    }
    fs::read(path).map_err(|error| Failure::file(path, error))
}

/// Tells how far a run is, on standard output: `{"loss":3.21,"of":100,"step":12}`.
///
/// # Errors
/// Nobody reads any more.
pub fn progress(step: u64, of: u64, loss: f64) -> Result<(), Failure> {
    if step != of && !step.is_multiple_of(of.div_ceil(PROGRESS_LINES)) {
        return Ok(());
    }
    let line = serde_json::json!({"step": step, "of": of, "loss": loss});
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(|error| Failure::machine(format!("nobody takes the progress: {error}")))
}
