//! Runs one approved program over contributed records, in a process of its own.
//!
//! Owns: the world that a program sees (`wit/program.wit`), the engine and its limits, the jail, and
//! the process around them. Must not know: keys, chain, ledger, network, files other than its cache
//! of compiled programs. It runs what it is handed; whether it may is decided by the caller's permit.
//!
//! The parent half (this module, [`cache`], [`worker`]) starts the same binary again as
//! `sandbox-child`. The child half ([`child`], [`execute`], [`jail`]) shuts itself in before it reads
//! a byte that anybody else wrote: components, compiled programs and records are all hostile to it.

mod archive;
mod cache;
mod child;
mod compile;
mod component;
mod engine;
mod execute;
mod failure;
mod grouping;
mod jail;
mod probe;
mod records;
mod sql;
mod sql_child;
mod stream;
pub(crate) mod sys;
mod unpack;
mod wasi;
mod wire;
mod worker;

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use collective::approval::Manifest;
use collective::bundle::Bundle;
use collective::id::sha256;
use collective::limits::MAX_DOCUMENT_BYTES;
use collective::permit::{Code, Permit};
use collective::source::Source;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

pub use archive::{ExportRefusal, Summary};
pub use cache::Cache;
pub use child::child_main;
pub use compile::CompileLimits;
pub use component::{
    ComponentizeError, WORLD, World, check_world, componentize, componentize_for, imports,
    is_component,
};
pub use engine::{ENGINE, EngineId, engine_id};
pub use failure::{Failure, Fault, ProgramText, Stop, Trap};
pub use grouping::Grouping;
pub use jail::{Layer, Layers};
pub use records::{Defect, Rejected};
pub use sql::{SQL_WORKER, sql_engine_id};
pub use sql_child::{Asked, QueryEngine, Rows, query_main};
pub use unpack::{UnpackError, Unpacked};

use compile::Compiled;
use sql::WorkerFile;
use stream::stream;
use wire::{Kind, TaskFrame};
use worker::{Worker, WorkerLimits};

/// Bytes of a component: a Python interpreter fits (18 MiB), and a vote on more than a person can
/// rebuild is worth nothing.
pub const MAX_COMPONENT_BYTES: usize = 64 << 20;
/// Bytes of a component's compiled form: about twice to ten times the component.
pub const MAX_COMPILED_BYTES: usize = 256 << 20;
/// Bytes of arguments: they stand in the manifest that members read.
pub const MAX_ARGUMENT_BYTES: usize = 64 << 10;
/// Bytes of memory a program may ask for: wasm32 addresses no more.
pub const MAX_MEMORY_BYTES: u64 = 4 << 30;
/// Seconds a program may ask for: a lease on chain is not held for longer than a day.
pub const MAX_SECONDS: u32 = 86_400;
/// Bytes of output: the parent holds them in memory until they are sealed.
pub const MAX_OUTPUT_BYTES: u64 = collective::limits::MAX_OUTPUT_BYTES;
/// Bytes of log lines in all, kept or not.
pub const MAX_LOG_BYTES: usize = 64 << 10;

/// From the start of a child to its being ready for records: jail and loading take milliseconds, a
/// busy machine gets a thousand times that.
const START_LIMIT: Duration = Duration::from_secs(20);
/// Memory of the child besides the program's own: the process, the engine, chunks in flight.
const HOST_BYTES: u64 = 64 << 20;
/// Memory of the child besides that where there are documents: putting the longest one into canonical form.
const DOCUMENT_BYTES: u64 = 16 * MAX_DOCUMENT_BYTES as u64;
/// Memory of the child for each byte of compiled program: its data where the program has it, and what the engine notes.
const COPIES: u64 = 2;

/// What one run may use. Fuel decides; the others catch what fuel does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Units of work: about one for each WebAssembly instruction, 1,000 for each call to the host,
    /// one for each byte that a call moves.
    pub fuel: u64,
    /// Bytes of the program's memories together.
    pub memory_bytes: u64,
    /// Seconds by the wall clock.
    pub seconds: u32,
    /// Bytes of output.
    pub output_bytes: u64,
}

impl Limits {
    /// What an approval grants.
    #[must_use]
    pub fn of(manifest: &Manifest) -> Self {
        Self {
            fuel: manifest.limits.fuel,
            memory_bytes: manifest.limits.memory_bytes,
            seconds: manifest.limits.seconds,
            output_bytes: manifest.output.max_bytes,
        }
    }
}

/// One program with everything that an approval fixes. On contributed records only [`Sandbox::run`]
/// makes one, out of a [`Permit`].
#[derive(Clone, Debug)]
pub struct Task {
    /// The program. The caller has compared its SHA-256 with the approval.
    pub code: Code,
    /// The text handed to `run`.
    pub arguments: String,
    /// What it may use.
    pub limits: Limits,
    /// The declared columns of the records.
    pub source: Source,
    /// Places of the approved columns, in the approved order.
    pub columns: Vec<usize>,
    /// What `random.seed` answers.
    pub seed: [u8; 32],
    /// Keep the log lines and the text of a returned error: only for mock data.
    pub keep_log: bool,
}

impl Task {
    fn permitted(permit: Permit) -> Self {
        let manifest = permit.grant().manifest();
        let release = permit.grant().release();
        Self {
            arguments: manifest.arguments.clone(),
            limits: Limits::of(manifest),
            source: permit.source().clone(),
            columns: permit.columns().to_vec(),
            // Everybody can repeat it: it depends on nothing but what is on chain.
            seed: sha256(&[release.manifest.0, release.input_root].concat()).0,
            keep_log: false,
            // Last, as it takes the permit apart: an interpreter is not copied for it.
            code: permit.into_code(),
        }
    }
}

/// What a run used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Fuel. Exact for a run that ended well, and at least used where a program was stopped.
    pub fuel: u64,
    /// Greatest size of the program's memories together, in bytes.
    pub memory_bytes: u64,
    /// Greatest resident size of the whole child, in bytes, where the kernel told.
    pub resident_bytes: Option<u64>,
    /// From the moment the program was loaded to its end.
    pub wall: Duration,
}

/// A run that ended well.
pub struct Run {
    /// What the program wrote.
    pub output: Zeroizing<Vec<u8>>,
    /// Its log lines, if they were to be kept.
    pub log: String,
    /// Records handed to the program.
    pub accepted: u64,
    /// Records left out, and why.
    pub rejected: Rejected,
    /// What it used.
    pub usage: Usage,
    /// The layers of the jail that were on, and those that the machine denied.
    pub layers: Layers,
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("output_bytes", &self.output.len())
            .field("accepted", &self.accepted)
            .field("rejected", &self.rejected)
            .field("usage", &self.usage)
            .finish_non_exhaustive()
    }
}

/// Where and how programs are run on this machine.
#[derive(Debug)]
pub struct Sandbox {
    executable: PathBuf,
    /// Runs queries.
    sql_worker: PathBuf,
    /// The engine of the worker that was asked last.
    sql_engine: Mutex<Option<(WorkerFile, String)>>,
    required: Vec<Layer>,
    cache: Option<Cache>,
    compile_limits: CompileLimits,
    /// The program that ran last, so that the next run of it does not read and check it again. One, as it may take
    /// [`MAX_COMPILED_BYTES`] of memory.
    last: Mutex<Option<Compiled>>,
}

impl Sandbox {
    /// Runs children from `executable`, which must call [`child_main`] first thing when its first
    /// argument is `sandbox-child`. A child that lacks one of the `required` layers gets no task.
    #[must_use]
    pub fn new(executable: PathBuf, required: Vec<Layer>, cache: Option<Cache>) -> Self {
        Self {
            sql_worker: sql::worker_beside(&executable),
            sql_engine: Mutex::new(None),
            executable,
            required,
            cache,
            compile_limits: CompileLimits::default(),
            last: Mutex::new(None),
        }
    }

    /// The same, with other limits for compiling.
    #[must_use]
    pub fn with_compile_limits(self, compile_limits: CompileLimits) -> Self {
        Self {
            compile_limits,
            ..self
        }
    }

    /// Runs children from the binary that is running now, even if its file was replaced.
    #[must_use]
    pub fn of_this_binary(required: Vec<Layer>, cache: Option<Cache>) -> Self {
        Self::new(PathBuf::from("/proc/self/exe"), required, cache)
    }

    /// Starts a child that only shuts itself in, and says which layers are on.
    ///
    /// # Errors
    /// [`Fault`] where no child starts or a required layer is missing.
    pub fn layers(&self) -> Result<Layers, Fault> {
        let limits = WorkerLimits {
            memory_bytes: HOST_BYTES,
            seconds: 1,
        };
        let (worker, layers) = self.start("run", limits, None, Instant::now() + START_LIMIT)?;
        worker.kill();
        Ok(layers)
    }

    /// Compiles a program, or its runtime, ahead of its first run and keeps the compiled form in the cache. For a query,
    /// looks whether there is a worker.
    ///
    /// # Errors
    /// [`Failure::Program`] where the component asks for too much or is none.
    pub fn prepare(&self, code: &Code) -> Result<(), Failure> {
        match code {
            Code::Sql(_) => Ok(self.sql_engine().map(drop)?),
            code => self.compiled(code).map(drop),
        }
    }

    /// Runs the permitted program over `records`, each the plaintext of one contribution, in order.
    /// The permit is used up. Blocks.
    ///
    /// Every way a program can misbehave ends as [`Failure::Program`]. The deadline holds as long as
    /// `records` itself does not block.
    ///
    /// # Errors
    /// Whose fault it was, and what.
    pub fn run(
        &self,
        permit: Permit,
        records: impl Iterator<Item = Zeroizing<Vec<u8>>>,
    ) -> Result<Run, Failure> {
        self.execute(&Task::permitted(permit), records)
    }

    /// Runs a program on mock data, for its author and its reviewers: the records are nobody's.
    ///
    /// # Errors
    /// As [`Sandbox::run`].
    pub fn try_out(
        &self,
        task: &Task,
        records: impl Iterator<Item = Zeroizing<Vec<u8>>>,
    ) -> Result<Run, Failure> {
        self.execute(task, records)
    }

    fn execute(
        &self,
        task: &Task,
        records: impl Iterator<Item = Zeroizing<Vec<u8>>>,
    ) -> Result<Run, Failure> {
        check(task)?;
        let compiled = self.compiled(&task.code)?;
        match self.load(task, &compiled)? {
            Some((worker, layers)) => stream(worker, layers, task, records),
            // Compiled on another processor, or by a build with other settings: once more, afresh.
            None => {
                self.forget(compiled.component);
                let compiled = self.compiled(&task.code)?;
                let (worker, layers) = self.load(task, &compiled)?.ok_or(Fault::NotLoadable)?;
                stream(worker, layers, task, records)
            }
        }
    }

    /// Starts a child and hands it program and task. None: it cannot load this compiled form.
    fn load(&self, task: &Task, compiled: &Compiled) -> Result<Option<(Worker, Layers)>, Failure> {
        let documents = match task.source.has_documents() {
            true => DOCUMENT_BYTES,
            false => 0,
        };
        let host = HOST_BYTES + documents + COPIES * compiled.length as u64;
        let limits = WorkerLimits {
            memory_bytes: task.limits.memory_bytes + host,
            seconds: task.limits.seconds + 1,
        };
        let deadline = Instant::now() + START_LIMIT;
        let file = sys::reopened(&compiled.file).map_err(Fault::Memory)?;
        let (mut worker, layers) = self.start("run", limits, Some(file), deadline)?;
        let bundle = task.code.bundle().map_or(&[][..], Bundle::as_bytes);
        let frame = serde_json::to_vec(&TaskFrame::of(task, compiled.length))
            .expect("a task has only plain fields");
        worker
            .send_all(Kind::Bundle, bundle)
            .and_then(|()| worker.send(Kind::Task, &frame))
            .and_then(|()| worker.flush())
            .map_err(Fault::of_pipe)?;
        match worker.receive(deadline) {
            Ok((Kind::Ready, _)) => Ok(Some((worker, layers))),
            Ok((Kind::Stale, _)) => {
                worker.kill();
                Ok(None)
            }
            Ok(_) => Err(worker.blame("a frame before ready").into()),
            Err(silence) => Err(worker.explain(silence).into()),
        }
    }

    /// Starts a child and hears which layers it is behind.
    fn start(
        &self,
        mode: &str,
        limits: WorkerLimits,
        compiled: Option<File>,
        deadline: Instant,
    ) -> Result<(Worker, Layers), Fault> {
        self.start_from(&self.executable, mode, limits, compiled, deadline)
    }

    fn start_from(
        &self,
        executable: &Path,
        mode: &str,
        limits: WorkerLimits,
        compiled: Option<File>,
        deadline: Instant,
    ) -> Result<(Worker, Layers), Fault> {
        let mut worker =
            Worker::start(executable, mode, limits, compiled, deadline).map_err(Fault::Spawn)?;
        let layers: Layers = match worker.receive(deadline) {
            Ok((Kind::Layers, bytes)) => match serde_json::from_slice(&bytes) {
                Ok(layers) => layers,
                Err(_) => return Err(worker.blame("layers that are none")),
            },
            Ok(_) => return Err(worker.blame("a frame before its layers")),
            Err(silence) => return Err(worker.explain(silence)),
        };
        if let Some(missing) = self
            .required
            .iter()
            .find(|layer| !layers.on.contains(layer))
        {
            worker.kill();
            return Err(Fault::MissingLayer {
                layer: *missing,
                reason: layers.reason(*missing),
            });
        }
        Ok((worker, layers))
    }
}

/// Refuses a task that no sandbox could run.
fn check(task: &Task) -> Result<(), Fault> {
    let limits = &task.limits;
    let width = task.source.columns.len();
    let problem = if task.arguments.len() > MAX_ARGUMENT_BYTES {
        "arguments too long"
    } else if limits.memory_bytes > MAX_MEMORY_BYTES {
        "more memory than a program can address"
    } else if limits.seconds == 0 || limits.seconds > MAX_SECONDS {
        "not between one second and a day"
    } else if limits.output_bytes > MAX_OUTPUT_BYTES {
        "more output than a node keeps"
    } else if task.columns.is_empty() || task.columns.iter().any(|column| *column >= width) {
        "columns that the source does not have"
    } else {
        return Ok(());
    };
    Err(Fault::BadTask(problem))
}
