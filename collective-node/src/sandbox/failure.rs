//! How a run can end without output, and whose fault that is.

use std::path::PathBuf;
use std::{fmt, io};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::jail::{Layer, Layers};
use super::worker::Death;
use super::{Usage, cache::CacheError};

/// A run without output.
#[derive(Debug, Error)]
pub enum Failure {
    /// The program's fault: the run counts and is paid for.
    #[error("the program stopped: {}", .0.trap)]
    Program(Box<Stop>),
    /// The operator's fault: the run may be tried again.
    #[error(transparent)]
    Operator(#[from] Fault),
}

/// Where and how a program stopped.
#[derive(Debug)]
pub struct Stop {
    /// Why.
    pub trap: Trap,
    /// What the program itself said of it ([`Trap::ReturnedError`] of a run whose log is kept only).
    pub text: Option<ProgramText>,
    /// What it used until then.
    pub usage: Usage,
    /// The layers of the jail around it.
    pub layers: Layers,
}

impl Failure {
    pub(super) fn program(
        trap: Trap,
        text: Option<ProgramText>,
        usage: Usage,
        layers: Layers,
    ) -> Self {
        Self::Program(Box::new(Stop {
            trap,
            text,
            usage,
            layers,
        }))
    }

    /// A component that is refused before any child sees it.
    pub(crate) fn before_start(trap: Trap) -> Self {
        Self::program(trap, None, Usage::default(), Layers::default())
    }
}

/// Why a program stopped, for its author in a trial on mock data. On contributed data a program can choose it by the
/// records, so nothing of it is published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Error)]
#[serde(rename_all = "kebab-case")]
pub enum Trap {
    /// It did more work than approved.
    #[error("out of fuel")]
    OutOfFuel,
    /// It took longer than approved.
    #[error("deadline passed")]
    Deadline,
    /// Its memories would have grown over the limit.
    #[error("out of memory")]
    Memory,
    /// Its tables would have grown over the limit.
    #[error("tables too large")]
    Tables,
    /// Its calls nest too deep.
    #[error("call stack exhausted")]
    Stack,
    /// It wrote more than approved.
    #[error("too much output")]
    OutputLimit,
    /// It logged more than a log may hold.
    #[error("too much log")]
    LogLimit,
    /// It asks for something that the world does not have.
    #[error("import '{0}' is not in the world")]
    BadImport(String),
    /// A runtime was asked for something of an operating system that no program has.
    #[error("'{0}' is denied to every program")]
    Denied(String),
    /// It is no component of this world, or uses what the engine leaves out.
    #[error("not a program of this world: {0}")]
    Invalid(String),
    /// Compiling it takes more time or memory than compiling may.
    #[error("too expensive to compile")]
    CompileLimit,
    /// It has more instances, memories or tables than a program may, or parts that do not fit.
    #[error("cannot be instantiated")]
    Instantiate,
    /// It executed `unreachable`.
    #[error("unreachable executed")]
    Unreachable,
    /// It reached outside its memory or a table.
    #[error("access out of bounds")]
    OutOfBounds,
    /// It divided an integer by zero.
    #[error("division by zero")]
    DivisionByZero,
    /// An integer overflowed where that traps.
    #[error("integer overflow")]
    IntegerOverflow,
    /// It turned a float into an integer that cannot hold it.
    #[error("invalid conversion to integer")]
    BadConversion,
    /// It called through a null or mistyped function reference.
    #[error("bad indirect call")]
    BadIndirectCall,
    /// It broke the canonical ABI (a bad pointer, invalid UTF-8, a wrong discriminant), or handed over
    /// more than 16 MiB in one call.
    #[error("broken canonical ABI, or more than 16 MiB in one call")]
    Abi,
    /// It returned an error.
    #[error("it returned an error")]
    ReturnedError,
    /// A query that may not run: what is wrong with it, in words made of nothing but the query and the declaration.
    #[error("not a query that may run: {0}")]
    Query(String),
    /// A query of one figure over too few contributors, or over a group that differs by few from one that was told of.
    #[error("no group of the query may be told of")]
    Suppressed,
    /// A query failed over the records.
    #[error("the query failed")]
    QueryFailed,
    /// The process around it died of a signal.
    #[error("its process died of signal {signal}")]
    Crashed {
        /// The signal's number.
        signal: i32,
    },
}

/// What a program said in its error, cut to 4 KiB. Made from the data: treat it as output, which no
/// output rule has checked. Debug shows only its length.
#[derive(Clone, PartialEq, Eq)]
pub struct ProgramText(pub(super) String);

/// Bytes kept of a returned error: where an exception came from takes some lines.
pub(super) const MAX_TEXT_BYTES: usize = 4096;

impl ProgramText {
    /// The text itself, for the author of the program in a trial on mock data.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ProgramText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProgramText({} bytes)", self.0.len())
    }
}

/// What an operator has to mend.
#[derive(Debug, Error)]
pub enum Fault {
    /// No child process could be started.
    #[error("cannot start a sandbox process: {0}")]
    Spawn(#[source] io::Error),
    /// The configuration requires a layer that this machine denies.
    #[error("this machine denies the sandbox layer '{layer}': {reason}")]
    MissingLayer {
        /// The layer.
        layer: Layer,
        /// What the kernel said.
        reason: String,
    },
    /// Queries need a binary that the default build does not make.
    #[error(
        "no worker for SQL at {}: build it with `just sql` and put it beside this binary", .0.display()
    )]
    NoSqlWorker(PathBuf),
    /// The worker's engine is another one than was voted on.
    #[error(
        "the query was approved for {0}, the worker for SQL here is another: install the one of that release"
    )]
    AnotherSqlEngine(String),
    /// A task outside what any sandbox runs.
    #[error("the task cannot be run: {0}")]
    BadTask(&'static str),
    /// The compiled program cannot be handed over in memory.
    #[error("no memory for the compiled program: {0}")]
    Memory(#[source] io::Error),
    /// The records did not come in time.
    #[error("the records did not arrive before the deadline")]
    InputStalled,
    /// The child was ended by something outside.
    #[error("the sandbox process ended without a report: {0}")]
    Died(Death),
    /// The child did not answer when it started.
    #[error("the sandbox process did not become ready in time")]
    StartTimeout,
    /// The pipe to the child broke.
    #[error("the pipe to the sandbox process broke: {0}")]
    Pipe(#[source] io::Error),
    /// The child said something it must not.
    #[error("the sandbox process broke the protocol: {0}")]
    Protocol(&'static str),
    /// A fresh compiled form does not load.
    #[error("a program compiled just now cannot be loaded")]
    NotLoadable,
    /// The cache of compiled programs cannot be written.
    #[error("the cache of compiled programs: {0}")]
    Cache(#[source] CacheError),
}

impl Fault {
    /// What it means that a child was not sent all that it has to have before it is ready.
    pub(super) fn of_pipe(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut => Self::StartTimeout,
            _ => Self::Pipe(error),
        }
    }
}
