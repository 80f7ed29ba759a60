//! The chain on disk: a file of JSON lines from which the same chain is built again.
//!
//! Owns the file, its atomic replacement and its torn tail; must not know how blocks are executed.
//! The first line is the genesis; each further line is a block or the taking back of blocks. A line
//! counts once its newline is on the disk, so a process killed at any moment loses only what it had
//! not yet answered.
//!
//! ```text
//! {"genesis":{"genesis":{"chainId":31337,"spec":"Osaka",…},"fork":0}}
//! {"block":{"hash":"0x…","timestamp":1767225601,"fork":0,"grants":{},"transactions":["0x02f8…"]}}
//! {"rewind":{"number":0}}
//! ```

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    path::Path,
};

use alloy::primitives::{Address, B256, Bytes, U256};
use serde::{Deserialize, Serialize};

use crate::genesis::Genesis;

/// What went wrong with the file.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The operating system refused.
    #[error("chain journal: {0}")]
    Io(#[from] io::Error),
    /// A chain is open at this journal, in this process or another.
    #[error("chain journal: a chain is open at it")]
    InUse,
    /// A whole line is not what this program writes.
    #[error("chain journal, line {line}: {reason}")]
    Malformed {
        /// Counted from 1.
        line: usize,
        /// What the parser said.
        reason: String,
    },
    /// The lines are well formed but do not describe a chain.
    #[error("chain journal, block {number}: {reason}")]
    Diverged {
        /// The block that could not be built again.
        number: u64,
        /// Why.
        reason: String,
    },
}

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) enum Entry {
    /// Always the first line. `fork` counts how often blocks had been taken back before the file
    /// was written.
    Genesis { genesis: Genesis, fork: u64 },
    /// A sealed block: what it was built from, and the hash that building it again must give.
    Block {
        hash: B256,
        timestamp: u64,
        fork: u64,
        grants: BTreeMap<Address, U256>,
        transactions: Vec<Bytes>,
    },
    /// Blocks after this number were taken back.
    Rewind { number: u64 },
}

/// An open journal that takes further lines.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    /// Bytes of whole lines; anything behind them is a torn write.
    length: u64,
}

impl Journal {
    /// Writes a new journal to `path` and keeps it open for further lines.
    pub(crate) fn create(path: &Path, entries: &[Entry]) -> Result<Self, JournalError> {
        let length = Self::write(path, entries)?;
        Self::append_to(path, length)
    }

    /// Writes a journal in place of whatever is at `path`, unless a chain is open at it; gives its
    /// length. A crash leaves the old file or the new one.
    pub(crate) fn write(path: &Path, entries: &[Entry]) -> Result<u64, JournalError> {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let Some(name) = path.file_name() else {
            return Err(io::Error::from(io::ErrorKind::InvalidFilename).into());
        };
        let mut fresh = name.to_owned();
        fresh.push(format!(".{}.new", std::process::id()));
        let fresh = folder.join(fresh);
        let mut bytes = Vec::new();
        for entry in entries {
            bytes.extend(line(entry)?);
        }
        let _lock = if path.try_exists()? {
            Some(Self::append_to(path, 0)?)
        } else {
            None
        };
        let mut file = File::create(&fresh)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&fresh, path)?;
        File::open(folder)?.sync_all()?;
        Ok(bytes.len() as u64)
    }

    /// Locks a journal, reads it, and keeps it open for further lines. A torn last line is cut off.
    pub(crate) fn open(path: &Path) -> Result<(Vec<Entry>, Self), JournalError> {
        let mut journal = Self::append_to(path, 0)?;
        let (entries, length) = Self::read(path)?;
        journal.file.set_len(length)?;
        journal.length = length;
        Ok((entries, journal))
    }

    /// Reads the whole lines of a journal, and says how many bytes they are.
    pub(crate) fn read(path: &Path) -> Result<(Vec<Entry>, u64), JournalError> {
        let bytes = fs::read(path)?;
        let whole = bytes
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let lines = bytes[..whole]
            .split_inclusive(|byte| *byte == b'\n')
            .enumerate();
        let parse = |(at, line)| {
            serde_json::from_slice(line).map_err(|error: serde_json::Error| {
                JournalError::Malformed {
                    line: at + 1,
                    reason: error.to_string(),
                }
            })
        };
        Ok((lines.map(parse).collect::<Result<_, _>>()?, whole as u64))
    }

    /// Adds a line; when this returns, the line survives a crash of the machine.
    pub(crate) fn append(&mut self, entry: &Entry) -> Result<(), JournalError> {
        let bytes = line(entry)?;
        // Half a line, from a write that failed, must not stand before this one.
        self.file.set_len(self.length)?;
        self.file.write_all(&bytes)?;
        self.file.sync_data()?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn append_to(path: &Path, length: u64) -> Result<Self, JournalError> {
        let file = OpenOptions::new().append(true).open(path)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => JournalError::InUse,
            TryLockError::Error(error) => JournalError::Io(error),
        })?;
        Ok(Self { file, length })
    }
}

fn line(entry: &Entry) -> Result<Vec<u8>, JournalError> {
    let mut bytes = serde_json::to_vec(entry).map_err(io::Error::from)?;
    bytes.push(b'\n');
    Ok(bytes)
}
