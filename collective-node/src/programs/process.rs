//! Other programs that are run: git and compilers. Each has an end in time, and so has what it prints and writes.

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;

/// Between two looks at a running program.
const GLANCE: Duration = Duration::from_millis(20);

/// Between two looks at the folder that it writes to, which cost more.
const SURVEY: Duration = Duration::from_millis(200);

/// Bytes of what it complains about that are kept: the first ones say what is wrong.
const MAX_COMPLAINT_BYTES: usize = 4 * 1024;

/// Entries of a folder that are counted: beyond it the folder counts as too large.
const MAX_ENTRIES: usize = 100_000;

/// Where a program ends that does not end by itself.
#[derive(Clone, Copy, Debug)]
pub struct Limits<'a> {
    /// By the wall clock.
    pub time: Duration,
    /// Bytes of standard output.
    pub output: usize,
    /// A folder that it writes to, and the bytes that this may hold.
    pub folder: Option<(&'a Path, u64)>,
}

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    /// Its status.
    pub status: ExitStatus,
    /// Standard output.
    pub output: Vec<u8>,
    /// The beginning of standard error, printable.
    pub complaint: String,
}

/// Why it did not end by itself.
#[derive(Debug, Error)]
pub enum ProcessError {
    /// It could not be started.
    #[error("it does not start: {0}")]
    Start(io::Error),
    /// It took too long.
    #[error("it took more than {} s and was stopped", .0.as_secs())]
    Late(Duration),
    /// It printed too much.
    #[error("it printed more than {0} bytes and was stopped")]
    Output(usize),
    /// It wrote too much.
    #[error("it wrote more than {0} bytes and was stopped")]
    Folder(u64),
    /// Its pipes failed.
    #[error("its pipes failed: {0}")]
    Pipe(io::Error),
}

/// Runs a program to its end or to a limit. Blocks.
///
/// # Errors
/// [`ProcessError`]; a program that fails has ended.
pub fn run(command: &mut Command, input: &[u8], limits: Limits<'_>) -> Result<Ended, ProcessError> {
    let command = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(ProcessError::Start)?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let input = input.to_owned();
    // Not waited for: what a program does not read is nobody's loss.
    thread::spawn(move || stdin.map(|mut pipe| pipe.write_all(&input)));
    let output = reader(stdout, limits.output + 1);
    let complaint = reader(stderr, MAX_COMPLAINT_BYTES);
    let began = Instant::now();
    let mut surveyed = began;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(ProcessError::Pipe)? {
            break Ok(status);
        }
        if began.elapsed() > limits.time {
            break Err(ProcessError::Late(limits.time));
        }
        if let Some((folder, most)) = limits.folder
            && surveyed.elapsed() > SURVEY
        {
            surveyed = Instant::now();
            if size(folder) > most {
                break Err(ProcessError::Folder(most));
            }
        }
        thread::sleep(GLANCE);
    };
    let status = status.inspect_err(|_| {
        let _ = child.kill();
        let _ = child.wait();
    })?;
    if let Some((folder, most)) = limits.folder
        && size(folder) > most
    {
        return Err(ProcessError::Folder(most));
    }
    let joined = |thread: thread::JoinHandle<io::Result<Vec<u8>>>| {
        thread
            .join()
            .unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
            .map_err(ProcessError::Pipe)
    };
    let output = joined(output)?;
    if output.len() > limits.output {
        return Err(ProcessError::Output(limits.output));
    }
    Ok(Ended {
        status,
        output,
        complaint: printable(&joined(complaint)?),
    })
}

/// Reads up to a limit and lets the rest go by, so that the writer is not held up.
fn reader(
    pipe: Option<impl Read + Send + 'static>,
    limit: usize,
) -> thread::JoinHandle<io::Result<Vec<u8>>> {
    thread::spawn(move || {
        let mut pipe = pipe.ok_or(io::ErrorKind::BrokenPipe)?;
        let mut bytes = Vec::new();
        pipe.by_ref().take(limit as u64).read_to_end(&mut bytes)?;
        io::copy(&mut pipe, &mut io::sink())?;
        Ok(bytes)
    })
}

/// Bytes of all files below a folder; links are not followed. What cannot be read any more is gone.
fn size(folder: &Path) -> u64 {
    let (mut todo, mut bytes, mut entries) = (vec![folder.to_owned()], 0, 0);
    while let Some(folder) = todo.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            entries += 1;
            if entries > MAX_ENTRIES {
                return u64::MAX;
            }
            match entry.metadata() {
                Ok(entry_is) if entry_is.is_dir() => todo.push(entry.path()),
                Ok(entry_is) => bytes += entry_is.len(),
                Err(_) => {}
            }
        }
    }
    bytes
}

/// Text that moves no cursor.
fn printable(bytes: &[u8]) -> String {
    let shown = |letter: char| match letter {
        '\n' | '\t' => letter,
        letter if letter.is_control() => ' ',
        letter => letter,
    };
    String::from_utf8_lossy(bytes)
        .trim_end()
        .chars()
        .map(shown)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limits: Limits<'_>) -> Result<Ended, ProcessError> {
        run(
            Command::new("/bin/sh").args(["-c", script]),
            b"in\n",
            limits,
        )
    }

    const LIMITS: Limits<'_> = Limits {
        time: Duration::from_secs(20),
        output: 4,
        folder: None,
    };

    #[test]
    fn what_ends_is_read_and_what_does_not_is_stopped() {
        let ended = shell("cat; printf 'no\\033[2J' >&2; exit 3", LIMITS).expect("it ends");
        assert_eq!(
            (ended.status.code(), &ended.output[..]),
            (Some(3), &b"in\n"[..])
        );
        assert_eq!(ended.complaint, "no [2J");
        let much = shell("echo 12345", LIMITS);
        assert!(matches!(much, Err(ProcessError::Output(4))), "{much:?}");
        let time = Duration::from_millis(100);
        let late = shell("exec sleep 60", Limits { time, ..LIMITS });
        assert!(matches!(late, Err(ProcessError::Late(_))), "{late:?}");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a");
        let script = format!("head -c 2000 /dev/zero > {}", path.display());
        let written = shell(
            &script,
            Limits {
                folder: Some((folder.path(), 1_999)),
                ..LIMITS
            },
        );
        assert!(
            matches!(written, Err(ProcessError::Folder(1_999))),
            "{written:?}"
        );
        assert!(
            shell(
                &script,
                Limits {
                    folder: Some((folder.path(), 2_000)),
                    ..LIMITS
                }
            )
            .is_ok()
        );
    }
}
