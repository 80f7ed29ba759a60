//! Other programs that are run: git and compilers. Each has an end in time, and so has what it prints and writes, and with it
//! ends whatever it started.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::sandbox::sys;

/// Between two looks at a running program.
const GLANCE: Duration = Duration::from_millis(20);

/// Between two looks at the folder that it writes to, which cost more.
const SURVEY: Duration = Duration::from_millis(200);

/// Bytes of what it complains about that are kept: the first ones say what is wrong.
const MAX_COMPLAINT_BYTES: usize = 4 * 1024;

/// For what it printed to arrive once all of its group is dead: it is in the pipe already.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Entries of a folder that are counted: beyond it the folder counts as too large.
const MAX_ENTRIES: usize = 100_000;

/// Where a program ends that does not end by itself.
#[derive(Clone, Copy, Debug)]
pub struct Limits<'a> {
    /// By the wall clock.
    pub time: Duration,
    /// Bytes of standard output.
    pub output: usize,
    /// Folders that it writes to, and the bytes that each may hold.
    pub folders: &'a [(&'a Path, u64)],
    /// What the kernel holds each of its processes to.
    pub kernel: Option<KernelLimits>,
}

/// Limits of one process, that the kernel holds.
#[derive(Clone, Copy, Debug)]
pub struct KernelLimits {
    /// Bytes of writable private memory.
    pub memory: u64,
    /// Seconds of processor time.
    pub seconds: u64,
    /// Bytes of one file that it writes.
    pub file: u64,
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
    /// Something that it started left its group and lives on.
    #[error("what it started does not end with it and holds its output open")]
    Held,
    /// Its pipes failed.
    #[error("its pipes failed: {0}")]
    Pipe(io::Error),
}

/// Runs a program, in a group of its own, to its end or to a limit; then nothing of the group is left. Blocks.
///
/// # Errors
/// [`ProcessError`]; a program that fails has ended.
pub fn run(command: &mut Command, input: &[u8], limits: Limits<'_>) -> Result<Ended, ProcessError> {
    let input = input.to_owned();
    let feed = move |mut pipe: ChildStdin| pipe.write_all(&input);
    let read = |pipe| reader(pipe, limits.output + 1);
    // Whether all was fed is not asked: what a program does not read is nobody's loss.
    let (ended, _) = run_by(command, feed, read, limits)?;
    match ended.output.len() > limits.output {
        true => Err(ProcessError::Output(limits.output)),
        false => Ok(ended),
    }
}

/// The same of a program that is fed while it runs, and of which each line is told as it comes: also what the feeder came to. A line
/// over `limits.output` bytes is told in parts; none is kept.
///
/// # Errors
/// As [`run`].
pub fn follow<T: Send + 'static>(
    command: &mut Command,
    feed: impl FnOnce(ChildStdin) -> io::Result<T> + Send + 'static,
    told: impl FnMut(&[u8]) + Send + 'static,
    limits: Limits<'_>,
) -> Result<(Ended, io::Result<T>), ProcessError> {
    let read = |pipe| lines(pipe, limits.output, told);
    let (ended, fed) = run_by(command, feed, read, limits)?;
    let unfinished = |why| io::Error::other(format!("the feeder did not come to its end: {why}"));
    // The program is dead, so whoever still writes to it is told at once.
    let fed = fed.recv_timeout(LAST_WORDS);
    Ok((ended, fed.unwrap_or_else(|why| Err(unfinished(why)))))
}

type Answers<T> = Receiver<io::Result<T>>;

fn run_by<T: Send + 'static>(
    command: &mut Command,
    feed: impl FnOnce(ChildStdin) -> io::Result<T> + Send + 'static,
    read: impl FnOnce(Option<ChildStdout>) -> Answers<Vec<u8>>,
    limits: Limits<'_>,
) -> Result<(Ended, Answers<T>), ProcessError> {
    let command = command
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    sys::hold(command, limits.kernel.map_or_else(Vec::new, resources));
    let mut child = command.spawn().map_err(ProcessError::Start)?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let fed = feeder(stdin, feed);
    let output = read(stdout);
    let complaint = reader(stderr, MAX_COMPLAINT_BYTES);
    let watched = watch(&child, limits);
    // However it ended, and before it is waited for: afterwards the number may be another group's.
    let killed = sys::kill_group(&child);
    let status = child.wait().map_err(ProcessError::Pipe)?;
    // A process that dies closes its pipes: from here on nothing writes to the folders any more.
    let (output, complaint) = (arrived(&output), arrived(&complaint));
    watched?;
    killed.map_err(ProcessError::Pipe)?;
    measure(limits)?;
    let ended = Ended {
        status,
        output: output?,
        complaint: printable(&complaint?),
    };
    Ok((ended, fed))
}

/// Waits until a program has ended or is at a limit.
fn watch(child: &Child, limits: Limits<'_>) -> Result<(), ProcessError> {
    let began = Instant::now();
    let mut surveyed = began;
    while !sys::has_ended(child).map_err(ProcessError::Pipe)? {
        if began.elapsed() > limits.time {
            return Err(ProcessError::Late(limits.time));
        }
        if surveyed.elapsed() > SURVEY {
            surveyed = Instant::now();
            measure(limits)?;
        }
        thread::sleep(GLANCE);
    }
    Ok(())
}

fn measure(limits: Limits<'_>) -> Result<(), ProcessError> {
    let over = |(folder, most): &&(&Path, u64)| size(folder) > *most;
    match limits.folders.iter().find(over) {
        Some((_, most)) => Err(ProcessError::Folder(*most)),
        None => Ok(()),
    }
}

fn resources(limits: KernelLimits) -> Vec<(libc::__rlimit_resource_t, u64)> {
    vec![
        (libc::RLIMIT_DATA, limits.memory),
        (libc::RLIMIT_CPU, limits.seconds),
        (libc::RLIMIT_FSIZE, limits.file),
        (libc::RLIMIT_CORE, 0),
    ]
}

/// Has a thread feed a program.
fn feeder<T: Send + 'static>(
    pipe: Option<ChildStdin>,
    feed: impl FnOnce(ChildStdin) -> io::Result<T> + Send + 'static,
) -> Answers<T> {
    let (to, feeder) = channel();
    let feed = move || feed(pipe.ok_or(io::ErrorKind::BrokenPipe)?);
    // Nobody listens where it is not asked, or a limit was reached.
    thread::spawn(move || to.send(feed()));
    feeder
}

/// What a reader has read, once its pipe is closed.
fn arrived(reader: &Answers<Vec<u8>>) -> Result<Vec<u8>, ProcessError> {
    let read = reader.recv_timeout(LAST_WORDS);
    read.map_err(|_| ProcessError::Held)?
        .map_err(ProcessError::Pipe)
}

/// Reads up to a limit and lets the rest go by, so that the writer is not held up.
fn reader(pipe: Option<impl Read + Send + 'static>, limit: usize) -> Answers<Vec<u8>> {
    let (to, reader) = channel();
    let read = move || {
        let mut pipe = pipe.ok_or(io::ErrorKind::BrokenPipe)?;
        let mut bytes = Vec::new();
        pipe.by_ref().take(limit as u64).read_to_end(&mut bytes)?;
        io::copy(&mut pipe, &mut io::sink())?;
        Ok(bytes)
    };
    // Nobody listens any more once a limit was reached.
    thread::spawn(move || to.send(read()));
    reader
}

/// Tells line by line what comes, until the pipe is closed.
fn lines(
    pipe: Option<ChildStdout>,
    longest: usize,
    mut told: impl FnMut(&[u8]) + Send + 'static,
) -> Answers<Vec<u8>> {
    let (to, reader) = channel();
    let read = move || {
        let mut pipe = BufReader::new(pipe.ok_or(io::ErrorKind::BrokenPipe)?);
        let mut line = Vec::new();
        loop {
            let mut some = pipe.by_ref().take(longest as u64);
            if some.read_until(b'\n', &mut line)? == 0 {
                return Ok(vec![]);
            }
            told(&line);
            line.clear();
        }
    };
    thread::spawn(move || to.send(read()));
    reader
}

/// Bytes of all files below a folder; links are not followed. What cannot be read any more is gone.
pub(super) fn size(folder: &Path) -> u64 {
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
        folders: &[],
        kernel: None,
    };

    /// Whether a process lives: one that ended and was waited for by nobody yet does not.
    fn lives(process: &str) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat"));
        stat.is_ok_and(|stat| !stat.contains(") Z ") && !stat.contains(") X "))
    }

    #[test]
    fn nothing_that_a_program_started_outlives_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let noted = folder.path().join("process");
        let began = Instant::now();
        // Each holds the pipes open that are read to their end.
        for (then, time) in [("exit 0", 20_000), ("wait", 300)] {
            let script = format!("sleep 600 & echo $! > {}; {then}", noted.display());
            let time = Duration::from_millis(time);
            let ended = shell(&script, Limits { time, ..LIMITS });
            assert_eq!(ended.is_ok(), then == "exit 0", "{ended:?}");
            let process = std::fs::read_to_string(&noted).expect("a number");
            let process = process.trim();
            assert!(!process.is_empty());
            // It was killed, which takes a moment to show.
            while lives(process) {
                assert!(began.elapsed() < Duration::from_secs(30), "{process} lives");
                thread::sleep(GLANCE);
            }
        }
        let left = shell("setsid sleep 8 & sleep 1", LIMITS);
        assert!(matches!(left, Err(ProcessError::Held)), "{left:?}");
        assert!(began.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn the_kernel_holds_the_limits_of_every_process() {
        let folder = tempfile::tempdir().expect("a folder");
        let held = |script: &str| {
            let kernel = Some(KernelLimits {
                memory: 32 << 20,
                seconds: 1,
                file: 1_000,
            });
            let ended = shell(script, Limits { kernel, ..LIMITS }).expect("it ends");
            ended.status.success()
        };
        assert!(held("true"));
        assert!(!held("(while :; do :; done); exit $?"), "processor time");
        assert!(
            !held("x=$(head -c 64000000 /dev/zero | tr '\\0' x)"),
            "memory"
        );
        let file = folder.path().join("a").display().to_string();
        assert!(held(&format!("head -c 1000 /dev/zero > {file}")));
        assert!(!held(&format!("head -c 1001 /dev/zero > {file}")), "a file");
    }

    #[test]
    fn what_is_followed_is_told_by_lines_and_fed_to_the_end() {
        let (to, told) = channel();
        let told_to = move |line: &[u8]| to.send(line.to_vec()).expect("somebody listens");
        let feed = |mut pipe: ChildStdin| {
            pipe.write_all(b"a\nbcdef\ng")?;
            Ok(7)
        };
        let mut cat = Command::new("/bin/cat");
        let (ended, fed) = follow(&mut cat, feed, told_to, LIMITS).expect("it ends");
        assert!(ended.status.success() && ended.output.is_empty());
        assert_eq!(fed.expect("all of it"), 7);
        let told: Vec<Vec<u8>> = told.iter().collect();
        assert_eq!(told, [&b"a\n"[..], b"bcde", b"f\n", b"g"]);

        let endless = |mut pipe: ChildStdin| {
            loop {
                pipe.write_all(&[0; 1 << 16])?;
            }
        };
        let mut deaf = Command::new("/bin/true");
        let (ended, fed) = follow::<()>(&mut deaf, endless, |_| (), LIMITS).expect("it ends");
        assert!(ended.status.success());
        assert_eq!(
            fed.expect_err("nobody reads").kind(),
            io::ErrorKind::BrokenPipe
        );
    }

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
                folders: &[(folder.path(), 1_999)],
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
                    folders: &[(folder.path(), 2_000)],
                    ..LIMITS
                }
            )
            .is_ok()
        );
    }
}
