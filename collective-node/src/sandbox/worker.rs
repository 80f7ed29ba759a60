//! The parent's side of one child process: starting it, talking to it, ending it.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use collective::limits::{MAX_DOCUMENTS_BYTES, MAX_RECORD_BYTES};
use zeroize::Zeroizing;

use super::failure::{Fault, MAX_TEXT_BYTES, ProgramText};
use super::wire::{self, Kind, MAX_FRAME_BYTES, Report};
use super::{MAX_LOG_BYTES, sys};

/// Records are gathered up to this many bytes before they are written to the pipe.
const BATCH_BYTES: usize = 256 << 10;

/// Bytes of documents in one frame: some fill a batch.
const PIECE_BYTES: usize = 64 << 10;

/// Limits that the child sets on itself with the kernel before anything else.
#[derive(Clone, Copy)]
pub(super) struct WorkerLimits {
    pub(super) memory_bytes: u64,
    pub(super) seconds: u32,
}

/// A running child. Dropping it kills it.
pub(super) struct Worker {
    child: Child,
    feed: Option<Feed>,
    from: ChildStdout,
}

/// Why the child said no more.
#[derive(Debug)]
pub(super) enum Silence {
    TimedOut,
    Ended,
    Protocol(&'static str),
}

/// How a process ended that nobody asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// It exited with this code.
    Exit(i32),
    /// A signal ended it.
    Signal(i32),
    /// The kernel did not say.
    Unknown,
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Unknown => f.write_str("cause unknown"),
        }
    }
}

/// All that a child said to its end.
pub(super) struct Ended {
    pub(super) bytes: Zeroizing<Vec<u8>>,
    pub(super) log: String,
    pub(super) text: Option<ProgramText>,
    pub(super) report: Report,
}

/// What is known of a child that was ended.
pub(super) struct Finish {
    pub(super) death: Death,
    pub(super) resident_bytes: Option<u64>,
}

impl Worker {
    /// Starts `executable sandbox-child MODE MEMORY SECONDS` with two pipes, `compiled` where standard error would be, and
    /// nothing else. What it is sent it has to take before `deadline`.
    pub(super) fn start(
        executable: &Path,
        mode: &str,
        limits: WorkerLimits,
        compiled: Option<File>,
        deadline: Instant,
    ) -> io::Result<Self> {
        let mut child = Command::new(executable)
            .args(["sandbox-child", mode])
            .arg(limits.memory_bytes.to_string())
            .arg(limits.seconds.to_string())
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(compiled.map_or_else(Stdio::null, Stdio::from))
            .spawn()?;
        let to = child.stdin.take().expect("asked for a pipe");
        let from = child.stdout.take().expect("asked for a pipe");
        sys::do_not_wait(&to)?;
        Ok(Self {
            child,
            feed: Some(Feed::new(to, deadline)),
            from,
        })
    }

    /// Queues one frame.
    pub(super) fn send(&mut self, kind: Kind, payload: &[u8]) -> io::Result<()> {
        self.feed().frame(kind, payload)
    }

    /// Queues `bytes` in as many frames as they need.
    pub(super) fn send_all(&mut self, kind: Kind, bytes: &[u8]) -> io::Result<()> {
        bytes
            .chunks(MAX_FRAME_BYTES)
            .try_for_each(|piece| self.send(kind, piece))
    }

    /// Writes what is queued.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.feed().flush()
    }

    /// Hands the way in to another owner, for what the child takes before `deadline`.
    pub(super) fn take_feed(&mut self, deadline: Instant) -> Feed {
        let feed = self.feed.take();
        let mut feed = feed.expect("the feed is taken once, after the task was sent");
        feed.to.deadline = deadline;
        feed
    }

    /// The next frame, if it comes before `deadline`.
    pub(super) fn receive(
        &mut self,
        deadline: Instant,
    ) -> Result<(Kind, Zeroizing<Vec<u8>>), Silence> {
        let mut header = [0; 5];
        self.fill(&mut header, deadline)?;
        let (kind, length) =
            wire::parse_header(header).map_err(|_| Silence::Protocol("not a frame"))?;
        let mut payload = Zeroizing::new(vec![0; length]);
        self.fill(&mut payload, deadline)?;
        Ok((kind, payload))
    }

    /// All frames up to the report; `kind` frames are joined, up to `limit` bytes.
    pub(super) fn collect(
        &mut self,
        deadline: Instant,
        kind: Kind,
        limit: usize,
    ) -> Result<Ended, Silence> {
        let mut bytes = Zeroizing::new(Vec::new());
        let mut log = String::new();
        let mut text = None;
        loop {
            let (found, payload) = self.receive(deadline)?;
            match found {
                Kind::Report => {
                    let report = serde_json::from_slice(&payload)
                        .map_err(|_| Silence::Protocol("a report that is none"))?;
                    return Ok(Ended {
                        bytes,
                        log,
                        text,
                        report,
                    });
                }
                Kind::Log if log.len() + payload.len() < MAX_LOG_BYTES => {
                    log.push_str(&String::from_utf8_lossy(&payload));
                    log.push('\n');
                }
                Kind::Text if text.is_none() && payload.len() <= MAX_TEXT_BYTES => {
                    text = Some(ProgramText(String::from_utf8_lossy(&payload).into_owned()));
                }
                _ if found == kind && payload.len() <= limit - bytes.len() => {
                    grow(&mut bytes, &payload);
                }
                _ => return Err(Silence::Protocol("a frame too many, or one too large")),
            }
        }
    }

    /// Kills the child and says what was known of it before.
    pub(super) fn finish(&mut self) -> Finish {
        let resident_bytes = sys::peak_resident_bytes(self.child.id());
        // An error means that it is gone already, which is what is wanted.
        let _ = self.child.kill();
        Finish {
            death: self.wait(),
            resident_bytes,
        }
    }

    /// Ends the child, whose pipe may still say something.
    pub(super) fn end(&mut self) {
        // An error means that it is gone already, which is what is wanted.
        let _ = self.child.kill();
    }

    /// Kills the child.
    pub(super) fn kill(mut self) {
        self.finish();
    }

    /// How a child ended whose pipe is closed.
    pub(super) fn reap(mut self) -> Death {
        self.wait()
    }

    /// Kills the child for what it said.
    pub(super) fn blame(self, what: &'static str) -> Fault {
        self.kill();
        Fault::Protocol(what)
    }

    /// What the silence of a child that was not yet ready means.
    pub(super) fn explain(self, silence: Silence) -> Fault {
        match silence {
            Silence::TimedOut => {
                self.kill();
                Fault::StartTimeout
            }
            Silence::Protocol(what) => self.blame(what),
            Silence::Ended => Fault::Died(self.reap()),
        }
    }

    fn feed(&mut self) -> &mut Feed {
        self.feed
            .as_mut()
            .expect("frames are sent before the feed is taken")
    }

    fn wait(&mut self) -> Death {
        match self.child.wait() {
            Ok(status) => match (status.signal(), status.code()) {
                (Some(signal), _) => Death::Signal(signal),
                (None, Some(code)) => Death::Exit(code),
                (None, None) => Death::Unknown,
            },
            Err(_) => Death::Unknown,
        }
    }

    fn fill(&mut self, mut into: &mut [u8], deadline: Instant) -> Result<(), Silence> {
        while !into.is_empty() {
            match sys::wait_readable(&self.from, deadline) {
                Ok(true) => {}
                Ok(false) => return Err(Silence::TimedOut),
                Err(_) => return Err(Silence::Protocol("its pipe cannot be waited for")),
            }
            match self.from.read(into) {
                Ok(0) => return Err(Silence::Ended),
                Ok(count) => into = &mut into[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(Silence::Ended),
            }
        }
        Ok(())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Appends without leaving an unwiped copy behind when the buffer moves.
pub(super) fn grow(bytes: &mut Zeroizing<Vec<u8>>, more: &[u8]) {
    if bytes.capacity() - bytes.len() < more.len() {
        let mut larger = Zeroizing::new(Vec::with_capacity((bytes.len() + more.len()) * 2));
        larger.extend_from_slice(bytes);
        *bytes = larger;
    }
    bytes.extend_from_slice(more);
}

/// A pipe to which a write fails that the child does not take before the deadline.
struct Pipe {
    to: ChildStdin,
    deadline: Instant,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            if !sys::wait_writable(&self.to, self.deadline)? {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match self.to.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return written,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The way into a child. Plaintext waits here only in a buffer that is wiped.
pub(super) struct Feed {
    to: Pipe,
    batch: Zeroizing<Vec<u8>>,
}

impl Feed {
    fn new(to: ChildStdin, deadline: Instant) -> Self {
        Self {
            to: Pipe { to, deadline },
            batch: Zeroizing::new(Vec::with_capacity(BATCH_BYTES)),
        }
    }

    /// Queues one record. A longer one than any record may be is cut to one byte too many: enough for
    /// the child to refuse it.
    pub(super) fn record(&mut self, record: &[u8]) -> io::Result<()> {
        self.frame(
            Kind::Record,
            &record[..record.len().min(MAX_RECORD_BYTES + 1)],
        )
    }

    /// Queues the documents of one contribution, in pieces. What is beyond the limit is left out; the line that it cuts is none.
    pub(super) fn documents(&mut self, plaintext: &[u8]) -> io::Result<()> {
        let mut plaintext = &plaintext[..plaintext.len().min(MAX_DOCUMENTS_BYTES)];
        while let Some((piece, rest)) = plaintext.split_at_checked(PIECE_BYTES) {
            self.frame(Kind::Piece, piece)?;
            plaintext = rest;
        }
        self.frame(Kind::Record, plaintext)
    }

    /// Says that there are no more, and writes what is queued.
    pub(super) fn end(&mut self) -> io::Result<()> {
        self.frame(Kind::End, &[])?;
        self.flush()
    }

    /// Says which groups may be told, which the child has to take before `deadline`.
    pub(super) fn keep(&mut self, bits: &[u8], deadline: Instant) -> io::Result<()> {
        self.to.deadline = deadline;
        self.frame(Kind::Keep, bits)?;
        self.flush()
    }

    fn frame(&mut self, kind: Kind, payload: &[u8]) -> io::Result<()> {
        if self.batch.len() + 5 + payload.len() > BATCH_BYTES {
            self.flush()?;
        }
        if payload.len() + 5 > BATCH_BYTES {
            return wire::write_frame(&mut self.to, kind, payload);
        }
        wire::write_frame(&mut *self.batch, kind, payload)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.write_all(&self.batch)?;
        self.batch.clear();
        Ok(())
    }
}
