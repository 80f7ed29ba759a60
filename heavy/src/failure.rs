//! Why a program on a heavy node ends without its output: one sentence for a person, and an exit code for the machine.

use std::fmt;
use std::path::Path;

use parquet::errors::ParquetError;
use thiserror::Error;

/// What went wrong, told apart by who can mend it (SPEC "Heavy programs").
#[derive(Debug, Error)]
pub enum Failure {
    /// The arguments that were voted on, or the data that they are for: another try ends in the same way.
    #[error("{0}; the requester has to ask for something else")]
    Request(String),
    /// The machine, its disk, or whoever started this: the same job may be tried again.
    #[error("{0}; the operator of this machine has to look, and can try again")]
    Machine(String),
}

impl Failure {
    /// The requester's fault.
    pub fn request(what: impl fmt::Display) -> Self {
        Self::Request(what.to_string())
    }

    /// The operator's fault.
    pub fn machine(what: impl fmt::Display) -> Self {
        Self::Machine(what.to_string())
    }

    /// A file that the operator's machine does not read or write. Only its name is told: folders are the operator's own.
    pub fn file(path: &Path, what: impl fmt::Display) -> Self {
        let name = path.file_name().unwrap_or(path.as_os_str());
        Self::Machine(format!("{}: {what}", name.display()))
    }

    /// The code that the process ends with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Request(_) => 1,
            Self::Machine(_) => 2,
        }
    }
}

// Shapes and limits are checked before the first tensor is made, so what is left is memory or a device.
impl From<candle_core::Error> for Failure {
    fn from(error: candle_core::Error) -> Self {
        Self::Machine(format!("the arithmetic failed: {error}"))
    }
}

// Tables are made by this binary on the same machine.
impl From<ParquetError> for Failure {
    fn from(error: ParquetError) -> Self {
        Self::Machine(format!("a table of the input cannot be used: {error}"))
    }
}
