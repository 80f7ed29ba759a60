//! The file that a holder's log is kept in: appended to, synced before anything is given, never rewritten.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use collective::committee::log::{Log, LogError, LogEvent, LogHead};
use thiserror::Error;
use tokio::sync::Mutex;

/// How long a log is waited for: a process that was ended can have left a child, which holds the log until it has become its
/// program.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// Between two tries to lock it.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Why the log cannot be read or written.
#[derive(Debug, Error)]
pub enum LogFileError {
    /// The file.
    #[error("cannot keep the log at {path}: {error}")]
    File {
        /// Where.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The lines do not hang together.
    #[error("{path}: {error}; restore the log from a copy, nothing is released over a broken one")]
    Broken {
        /// Where.
        path: PathBuf,
        /// Where in it.
        error: LogError,
    },
    /// Somebody else has the log open.
    #[error("another key holder runs with the log at {0}: stop it first, one share answers once")]
    Taken(PathBuf),
}

/// A log on disk, held by one process at a time.
pub struct LogFile {
    path: PathBuf,
    open: Arc<Mutex<Open>>,
}

struct Open {
    file: File,
    log: Log,
    /// A write failed: what the disk holds is unknown until the log is opened again.
    failed: bool,
}

impl LogFile {
    /// Opens the log at `path`, which is made if it is not there, and checks every line. A piece of a line at its end
    /// was being written when the power went: nothing was given for it, so it is cut off.
    ///
    /// # Errors
    /// [`LogFileError`].
    pub fn open(path: &Path) -> Result<Self, LogFileError> {
        let failed = |error| LogFileError::File {
            path: path.to_owned(),
            error,
        };
        let file = OpenOptions::new()
            .append(true)
            .read(true)
            .create(true)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        hold(&file).map_err(|error| match error {
            TryLockError::WouldBlock => LogFileError::Taken(path.to_owned()),
            TryLockError::Error(error) => failed(error),
        })?;
        let mut bytes = std::fs::read(path).map_err(failed)?;
        let whole = bytes
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |end| end + 1);
        if whole < bytes.len() {
            tracing::warn!(path = %path.display(), "cut a piece of a line off the log's end");
            bytes.truncate(whole);
            file.set_len(whole as u64)
                .and_then(|()| file.sync_all())
                .map_err(failed)?;
        }
        let log = Log::verify(&bytes).map_err(|error| LogFileError::Broken {
            path: path.to_owned(),
            error,
        })?;
        Ok(Self {
            path: path.to_owned(),
            open: Arc::new(Mutex::new(Open {
                file,
                log,
                failed: false,
            })),
        })
    }

    /// Where it stands.
    pub async fn head(&self) -> LogHead {
        self.open.lock().await.log.head()
    }

    /// All of it.
    pub async fn log(&self) -> Log {
        self.read(Log::clone).await
    }

    /// Looks at it without a copy; nothing is noted meanwhile, so `look` must not take long.
    pub async fn read<T>(&self, look: impl FnOnce(&Log) -> T) -> T {
        look(&self.open.lock().await.log)
    }

    /// Whether lines can still be written: after a write that failed none is, and nothing is given.
    ///
    /// # Errors
    /// [`LogFileError::File`].
    pub async fn check(&self) -> Result<(), LogFileError> {
        let failed = self.open.lock().await.failed;
        let error = failed.then(earlier_write_failed);
        error.map_or(Ok(()), |error| {
            let path = self.path.clone();
            Err(LogFileError::File { path, error })
        })
    }

    /// Notes an event, unless a line says it already; it is on the disk when this returns.
    ///
    /// # Errors
    /// [`LogFileError::File`]; nothing is given again before the log was opened anew.
    pub async fn note(&self, time: u64, event: LogEvent) -> Result<LogHead, LogFileError> {
        let (open, path) = (self.open.clone(), self.path.clone());
        let mut open = open.lock_owned().await;
        // A write that waits for the disk must not hold up the runtime.
        let written = tokio::task::spawn_blocking(move || {
            let Open { file, log, failed } = &mut *open;
            if *failed {
                return Err(earlier_write_failed());
            }
            if let Some(line) = log.note(time, event) {
                let mut bytes = line.to_bytes();
                bytes.push(b'\n');
                *failed = true;
                file.write_all(&bytes)?;
                file.sync_data()?;
                *failed = false;
            }
            Ok(log.head())
        });
        let head = written.await.expect("writing the log does not panic");
        head.map_err(|error| LogFileError::File { path, error })
    }
}

fn earlier_write_failed() -> std::io::Error {
    std::io::Error::other("an earlier write failed: start again")
}

/// Locks the log for as long as it is open.
fn hold(file: &File) -> Result<(), TryLockError> {
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if began.elapsed() < LOCK_PATIENCE => {
                std::thread::sleep(LOCK_PAUSE);
            }
            held => return held,
        }
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::B256;

    use super::*;

    fn event(epoch: u64) -> LogEvent {
        LogEvent::EpochChanged {
            epoch,
            committee: B256::ZERO,
        }
    }

    #[tokio::test]
    async fn lines_are_there_when_the_log_is_opened_again_and_a_piece_of_one_is_not() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("log");
        let log = LogFile::open(&path).expect("a new log");
        let head = log.note(1, event(1)).await.expect("noted");
        drop(log);
        let mut bytes = std::fs::read(&path).expect("the file");
        bytes.extend_from_slice(b"{\"event\":");
        std::fs::write(&path, bytes).expect("a piece of a line");
        let log = LogFile::open(&path).expect("the log");
        assert_eq!(log.head().await, head);
        let next = log.note(2, event(2)).await.expect("noted");
        assert_eq!(next.index, 2);
    }

    #[test]
    fn one_process_at_a_time() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("log");
        let _first = LogFile::open(&path).expect("a new log");
        assert!(matches!(LogFile::open(&path), Err(LogFileError::Taken(_))));
    }

    #[tokio::test]
    async fn an_altered_line_is_noticed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("log");
        let log = LogFile::open(&path).expect("a new log");
        log.note(1, event(1)).await.expect("noted");
        log.note(2, event(2)).await.expect("noted");
        drop(log);
        let text = std::fs::read_to_string(&path).expect("the file");
        std::fs::write(&path, text.replacen("\"time\":\"1\"", "\"time\":\"3\"", 1))
            .expect("altered");
        assert!(matches!(
            LogFile::open(&path),
            Err(LogFileError::Broken { .. })
        ));
    }
}
