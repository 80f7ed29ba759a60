//! A holder's own log (SPEC "Holder's log"): one line for everything it did with its share, each naming the hash of the
//! one before, so that a line which is gone or altered shows in every later head. Heads are signed into answers.
//!
//! The lines live in a file of the holder's; this module knows only their bytes and their order.

use alloy_primitives::B256;
use alloy_sol_types::SolStruct;
use serde::{Deserialize, Serialize};

use super::Member;
use crate::decimal;
use crate::id::{KeysHash, sha256};
use crate::limits::MAX_LOG_LINE_BYTES;
use crate::receipt::Escrow;

/// Where a log stands: how many lines it has, and the hash of the last. Of an empty log: 0 and 32 zero bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogHead {
    /// Index of the last line, counted from 1.
    #[serde(with = "decimal")]
    pub index: u64,
    /// SHA-256 of the last line's canonical bytes.
    pub hash: B256,
}

impl LogHead {
    /// What a holder signs where it states its head alone (EIP-712 in JobEscrow's name).
    pub fn signing_hash(&self, escrow: &Escrow) -> B256 {
        let typed = signed::LogHead {
            index: self.index,
            hash: self.hash,
        };
        typed.eip712_signing_hash(&escrow.domain())
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogLine {
    /// Counted from 1.
    #[serde(with = "decimal")]
    pub index: u64,
    /// Hash of the line before; 32 zero bytes before the first.
    pub previous: B256,
    /// Unix seconds by the holder's clock.
    #[serde(with = "decimal")]
    pub time: u64,
    /// What the holder did.
    pub event: LogEvent,
}

/// What a holder does with its share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum LogEvent {
    /// Gave partials of an input set to a node, as a member of this quorum.
    Released {
        /// The job's number in JobEscrow.
        #[serde(with = "decimal")]
        job: u64,
        /// Which lease of the job.
        attempt: u32,
        /// Signing hash of the release.
        release: B256,
        /// Root of the input set.
        input_root: B256,
        /// Files in it.
        count: u32,
        /// Keys of the node that they were sealed to.
        keys: KeysHash,
        /// Numbers of the quorum's members, ascending.
        quorum: Vec<Member>,
    },
    /// Took over the share of a new epoch.
    EpochChanged {
        /// The new epoch.
        #[serde(with = "decimal")]
        epoch: u64,
        /// Struct hash of the committee's statement.
        committee: B256,
    },
    /// Erased the ML-KEM seed that an epoch renewed, after wrapping anew what it opened.
    SeedErased {
        /// The renewing epoch.
        #[serde(with = "decimal")]
        epoch: u64,
        /// SHA-256 of the record that has it now.
        record: B256,
    },
    /// Erased the share of an epoch that is over.
    ShareErased {
        /// The epoch.
        #[serde(with = "decimal")]
        epoch: u64,
    },
}

impl LogLine {
    /// Canonical bytes, without a line feed.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json_canonicalizer::to_vec(self).expect("a line is plain JSON values")
    }

    /// Reads one line, without its line feed.
    ///
    /// # Errors
    /// [`LogDefect::Form`] and [`LogDefect::TooLong`].
    pub fn parse(bytes: &[u8]) -> Result<Self, LogDefect> {
        if bytes.len() > MAX_LOG_LINE_BYTES {
            return Err(LogDefect::TooLong);
        }
        let line: Self = serde_json::from_slice(bytes).map_err(|_| LogDefect::Form)?;
        if line.to_bytes() == bytes {
            Ok(line)
        } else {
            Err(LogDefect::Form)
        }
    }

    /// The head of a log that ends with this line.
    pub fn head(&self) -> LogHead {
        LogHead {
            index: self.index,
            hash: sha256(&self.to_bytes()),
        }
    }
}

/// A log as its holder keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    lines: Vec<LogLine>,
    head: LogHead,
}

impl Log {
    /// Checks the lines of a whole log, each ended by a line feed.
    ///
    /// # Errors
    /// [`LogError`] names the first line that does not fit.
    pub fn verify(bytes: &[u8]) -> Result<Self, LogError> {
        let mut log = Self::default();
        for text in bytes.split_inclusive(|&byte| byte == b'\n') {
            let index = log.head.index + 1;
            let defect = |defect| LogError { index, defect };
            let text = text.strip_suffix(b"\n").ok_or(defect(LogDefect::Cut))?;
            let line = LogLine::parse(text).map_err(defect)?;
            if line.index != index || line.previous != log.head.hash {
                return Err(defect(LogDefect::Chain));
            }
            log.head = line.head();
            log.lines.push(line);
        }
        Ok(log)
    }

    /// Where it stands.
    pub fn head(&self) -> LogHead {
        self.head
    }

    /// All lines.
    pub fn lines(&self) -> &[LogLine] {
        &self.lines
    }

    /// Whether `head` was this log's head once: what a holder signed must stay in its log.
    pub fn contains(&self, head: &LogHead) -> bool {
        match head.index.checked_sub(1) {
            None => *head == LogHead::default(),
            Some(at) => usize::try_from(at)
                .ok()
                .and_then(|at| self.lines.get(at))
                .is_some_and(|line| line.head() == *head),
        }
    }

    /// Notes an event and returns the line to be written before anything else happens; `None` where a line says the same
    /// already, so that an answer may be given twice. `time` is in Unix seconds.
    pub fn note(&mut self, time: u64, event: LogEvent) -> Option<&LogLine> {
        if self.lines.iter().rev().any(|line| line.event == event) {
            return None;
        }
        let line = LogLine {
            index: self.head.index + 1,
            previous: self.head.hash,
            time,
            event,
        };
        self.head = line.head();
        self.lines.push(line);
        self.lines.last()
    }
}

/// A log that is not whole. The holder altered it, or somebody with access to its disk did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {index} of the log {defect}")]
pub struct LogError {
    /// The line, counted from 1.
    pub index: u64,
    /// What is wrong with it.
    pub defect: LogDefect,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogDefect {
    /// Not canonical JSON of a known event.
    #[error("is not a line in its one spelling")]
    Form,
    /// Longer than [`MAX_LOG_LINE_BYTES`].
    #[error("is longer than {MAX_LOG_LINE_BYTES} bytes")]
    TooLong,
    /// Number or previous hash do not follow from the line before.
    #[error("does not follow from the line before")]
    Chain,
    /// The file ends inside the line: the power went while it was written.
    #[error(
        "is cut off; only its holder may take the piece away, and only if it signed nothing over it"
    )]
    Cut,
}

mod signed {
    alloy_sol_types::sol! {
        struct LogHead { uint64 index; bytes32 hash; }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> (Log, Vec<u8>) {
        let mut log = Log::default();
        let mut file = Vec::new();
        for epoch in 1..=3 {
            let committee = B256::with_last_byte(epoch);
            let epoch = u64::from(epoch);
            let event = LogEvent::EpochChanged { epoch, committee };
            let line = log.note(1_000 + epoch, event).expect("a new event");
            file.extend(line.to_bytes());
            file.push(b'\n');
        }
        (log, file)
    }

    #[test]
    fn a_log_verifies_and_knows_its_heads() {
        let (log, file) = log();
        assert_eq!(Log::verify(&file).as_ref(), Ok(&log));
        assert!(log.contains(&LogHead::default()));
        assert!(log.lines().iter().all(|line| log.contains(&line.head())));
        let stranger = LogHead {
            index: 2,
            hash: B256::ZERO,
        };
        assert!(!log.contains(&stranger));
    }

    #[test]
    fn saying_it_twice_writes_one_line() {
        let (mut log, _) = log();
        let head = log.head();
        let again = log.lines()[0].event.clone();
        assert_eq!(log.note(9_999, again), None);
        assert_eq!(log.head(), head);
    }

    #[test]
    fn no_line_can_be_altered_taken_out_or_swapped() {
        let (log, file) = log();
        // The last line's content is guarded by the head alone.
        for bit in 0..file.len() * 8 {
            let mut altered = file.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            let noticed = Log::verify(&altered).is_ok_and(|found| found.head() == log.head());
            assert!(!noticed, "bit {bit}");
        }
        let lines: Vec<&[u8]> = file.split_inclusive(|&byte| byte == b'\n').collect();
        let refused = |lines: &[&[u8]]| Log::verify(&lines.concat()).err().map(|e| e.defect);
        assert_eq!(refused(&[lines[1], lines[2]]), Some(LogDefect::Chain));
        assert_eq!(refused(&[lines[0], lines[2]]), Some(LogDefect::Chain));
        assert_eq!(refused(&[lines[1], lines[0]]), Some(LogDefect::Chain));
        assert_eq!(refused(&[&file[..file.len() - 1]]), Some(LogDefect::Cut));
        assert_eq!(refused(&[b" ", &file]), Some(LogDefect::Form));
        let long = [vec![b' '; MAX_LOG_LINE_BYTES + 1], vec![b'\n']].concat();
        assert_eq!(refused(&[&long]), Some(LogDefect::TooLong));
    }
}
