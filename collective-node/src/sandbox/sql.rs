//! Queries: the parent's side. A query is run by a worker of its own, the binary `collective-sql`, behind the same jail and
//! over the same pipes as a program.
//!
//! The worker makes the groups and says who is in them; which of them may be told is decided here, by whoever asked for the
//! run, before the worker goes on with what comes after grouping (SPEC "Sandbox protocol").

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use collective::id::sha256;
use collective::limits::MAX_ENGINE_BYTES;
use collective::permit::{Code, Permit};
use collective::query::Query;
use collective::source::Source;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::engine::EngineId;
use super::failure::{Failure, Fault, Trap};
use super::grouping::{Grouping, MAX_GROUPS_BYTES, bits};
use super::jail::Layers;
use super::stream::{GRACE, ended_badly, feed_all};
use super::wire::{Kind, Report};
use super::worker::{Ended, Feed, Silence, Worker, WorkerLimits};
use super::{HOST_BYTES, Run, START_LIMIT, Sandbox, Task, Usage, check};

/// File of the worker, beside the binary that runs programs.
pub const SQL_WORKER: &str = "collective-sql";

/// Memory of the worker besides what the query's limit grants: the planner, and two batches of records.
const PLANNER_BYTES: u64 = 64 << 20;

/// What the worker needs of a [`Task`].
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct QueryFrame {
    pub(super) query: String,
    pub(super) engine: String,
    pub(super) source: Source,
    pub(super) columns: Vec<usize>,
    pub(super) memory_bytes: u64,
    pub(super) output_bytes: u64,
}

/// The id of an engine for queries, which receipts name: its name says all that there is to set.
#[must_use]
pub fn sql_engine_id(engine: &str) -> EngineId {
    EngineId(sha256(&[b"collective/sql/engine/v1\0", engine.as_bytes()].concat()).0)
}

/// Where the worker is: beside the binary, whichever name that was started by.
pub(super) fn worker_beside(executable: &Path) -> PathBuf {
    let real = std::fs::canonicalize(executable);
    real.unwrap_or_else(|_| executable.to_owned())
        .with_file_name(SQL_WORKER)
}

/// What tells the worker's file from another one in its place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct WorkerFile {
    device: u64,
    number: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl WorkerFile {
    fn at(path: &Path) -> Option<Self> {
        let found = std::fs::metadata(path)
            .ok()
            .filter(|found| found.is_file())?;
        Some(Self {
            device: found.dev(),
            number: found.ino(),
            bytes: found.len(),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }
}

impl Sandbox {
    /// The engine of the worker that is here, as a manifest names it. The worker is asked once, behind its jail, and again
    /// when another file has taken its place. Blocks.
    ///
    /// # Errors
    /// [`Fault::NoSqlWorker`] where there is none, and why it does not start.
    pub fn sql_engine(&self) -> Result<String, Fault> {
        let file = WorkerFile::at(&self.sql_worker);
        let file = file.ok_or_else(|| Fault::NoSqlWorker(self.sql_worker.clone()))?;
        // Whoever panicked while holding it left a whole value: it is only ever replaced.
        let mut known = self
            .sql_engine
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((of, engine)) = &*known
            && *of == file
        {
            return Ok(engine.clone());
        }
        let engine = self.ask_engine()?;
        *known = Some((file, engine.clone()));
        Ok(engine)
    }

    fn ask_engine(&self) -> Result<String, Fault> {
        let limits = WorkerLimits {
            memory_bytes: HOST_BYTES + PLANNER_BYTES,
            seconds: 1,
        };
        let deadline = Instant::now() + START_LIMIT;
        let (mut worker, _) =
            self.start_from(&self.sql_worker, "engine", limits, None, deadline)?;
        match worker.receive(deadline) {
            Ok((Kind::Stale, name)) if name.len() <= MAX_ENGINE_BYTES => {
                worker.kill();
                Ok(String::from_utf8_lossy(&name).into_owned())
            }
            Ok(_) => Err(worker.blame("no name of an engine")),
            Err(silence) => Err(worker.explain(silence)),
        }
    }

    /// Whether the worker that is here has the engine that a query was approved for.
    ///
    /// # Errors
    /// [`Fault::AnotherSqlEngine`], [`Fault::NoSqlWorker`].
    pub fn check_engine(&self, approved: &str) -> Result<(), Fault> {
        if self.sql_engine()? == approved {
            Ok(())
        } else {
            Err(Fault::AnotherSqlEngine(approved.into()))
        }
    }

    /// Whether a query may run over these columns. No record is near it.
    ///
    /// # Errors
    /// [`Failure::Program`] with what is wrong with it, [`Fault::NoSqlWorker`].
    pub fn check_query(&self, task: &Task) -> Result<(), Failure> {
        self.check_plan(task, &self.sql_engine()?)
    }

    /// The same by the engine that a query is to be approved for.
    ///
    /// # Errors
    /// As [`Sandbox::check_query`], and [`Fault::AnotherSqlEngine`].
    pub fn check_plan(&self, task: &Task, engine: &str) -> Result<(), Failure> {
        let (worker, _) = self.load_query(task, engine)?;
        worker.kill();
        Ok(())
    }

    /// Runs the permitted query over `records`, each the plaintext of one contribution, in order. `screen` says of each group
    /// whether it may be told. The permit is used up. Blocks.
    ///
    /// # Errors
    /// As [`Sandbox::run`], and what `screen` says.
    pub fn query<E: From<Failure>>(
        &self,
        permit: Permit,
        records: impl Iterator<Item = Zeroizing<Vec<u8>>>,
        screen: impl FnOnce(Grouping) -> Result<Vec<bool>, E>,
    ) -> Result<Run, E> {
        let engine = permit
            .grant()
            .manifest()
            .program
            .engine()
            .map(str::to_owned);
        let engine = engine.ok_or_else(|| Failure::from(NO_QUERY))?;
        self.execute_query(&Task::permitted(permit), &engine, records, screen)
    }

    /// Runs a query on mock data, by whichever engine is here.
    ///
    /// # Errors
    /// As [`Sandbox::query`].
    pub fn try_query<E: From<Failure>>(
        &self,
        task: &Task,
        records: impl Iterator<Item = Zeroizing<Vec<u8>>>,
        screen: impl FnOnce(Grouping) -> Result<Vec<bool>, E>,
    ) -> Result<Run, E> {
        let engine = self.sql_engine().map_err(Failure::from)?;
        self.execute_query(task, &engine, records, screen)
    }

    fn execute_query<E: From<Failure>>(
        &self,
        task: &Task,
        engine: &str,
        records: impl Iterator<Item = Zeroizing<Vec<u8>>>,
        screen: impl FnOnce(Grouping) -> Result<Vec<bool>, E>,
    ) -> Result<Run, E> {
        let (worker, layers) = self.load_query(task, engine)?;
        let started = Instant::now();
        Running {
            worker,
            layers,
            started,
            deadline: started + Duration::from_secs(task.limits.seconds.into()) + GRACE,
            task,
        }
        .stream(records, screen)
    }

    /// Starts a worker and hands it the query, which it plans before it sees a record.
    fn load_query(&self, task: &Task, engine: &str) -> Result<(Worker, Layers), Failure> {
        check(task)?;
        let Code::Sql(query) = &task.code else {
            return Err(NO_QUERY.into());
        };
        if task.source.has_documents() {
            let reason = format!(
                "source '{}' has documents, of which no table is made: read it by a program",
                task.source.name
            );
            return Err(Failure::before_start(Trap::Query(reason)));
        }
        if !self.sql_worker.is_file() {
            return Err(Fault::NoSqlWorker(self.sql_worker.clone()).into());
        }
        let limits = WorkerLimits {
            memory_bytes: task.limits.memory_bytes + HOST_BYTES + PLANNER_BYTES,
            seconds: task.limits.seconds + 1,
        };
        let deadline = Instant::now() + START_LIMIT;
        let (mut worker, layers) =
            self.start_from(&self.sql_worker, "run", limits, None, deadline)?;
        let frame = serde_json::to_vec(&QueryFrame::of(task, query, engine))
            .expect("a task has only plain fields");
        worker
            .send(Kind::Task, &frame)
            .and_then(|()| worker.flush())
            .map_err(Fault::of_pipe)?;
        match worker.receive(deadline) {
            Ok((Kind::Ready, _)) => Ok((worker, layers)),
            Ok((Kind::Stale, _)) => {
                worker.kill();
                Err(Fault::AnotherSqlEngine(engine.into()).into())
            }
            Ok((Kind::Report, bytes)) => match serde_json::from_slice(&bytes) {
                Ok(Report {
                    trap: Some(trap), ..
                }) => Err(Failure::program(trap, None, Usage::default(), layers)),
                _ => Err(worker.blame("a report that is none").into()),
            },
            Ok(_) => Err(worker.blame("a frame before ready").into()),
            // What it plans is the author's text: not to come to an end with it is the query's doing, as in a run.
            Err(silence) => {
                let death = worker.finish().death;
                Err(ended_badly(silence, false, death, Usage::default(), layers))
            }
        }
    }
}

/// A program that is no query came to where queries are run.
const NO_QUERY: Fault = Fault::BadTask("not a query");

impl QueryFrame {
    fn of(task: &Task, query: &Query, engine: &str) -> Self {
        Self {
            query: query.text().into(),
            engine: engine.into(),
            source: task.source.clone(),
            columns: task.columns.clone(),
            memory_bytes: task.limits.memory_bytes,
            output_bytes: task.limits.output_bytes,
        }
    }
}

/// A worker that has planned its query.
struct Running<'a> {
    worker: Worker,
    layers: Layers,
    started: Instant,
    deadline: Instant,
    task: &'a Task,
}

impl Running<'_> {
    /// Records in, groups out, the answer in, rows out.
    fn stream<E: From<Failure>>(
        mut self,
        records: impl Iterator<Item = Zeroizing<Vec<u8>>>,
        screen: impl FnOnce(Grouping) -> Result<Vec<bool>, E>,
    ) -> Result<Run, E> {
        let (mut feed, grouping) = self.group(records)?;
        let count = grouping.groups.len();
        let asked = Instant::now();
        let kept = screen(grouping)?;
        // How long that takes follows what was told before. The query's seconds are for the query.
        self.deadline += asked.elapsed();
        if kept.len() != count {
            return Err(Failure::from(Fault::BadTask("an answer for other groups")).into());
        }
        // A worker that is gone does not take it; what it said is heard below.
        let _ = feed.keep(&bits(&kept), self.deadline);
        let limit = usize::try_from(self.task.limits.output_bytes).expect("checked before");
        let ended = self.worker.collect(self.deadline, Kind::Output, limit);
        let ended = self.heard(ended, false)?;
        let finish = self.worker.finish();
        Ok(Run {
            output: ended.bytes,
            log: String::new(),
            accepted: ended.report.accepted,
            rejected: ended.report.rejected,
            usage: self.usage(finish.resident_bytes),
            layers: self.layers,
        })
    }

    /// Feeds the records on this thread while another one listens and keeps the time.
    fn group(
        &mut self,
        records: impl Iterator<Item = Zeroizing<Vec<u8>>>,
    ) -> Result<(Feed, Grouping), Failure> {
        let deadline = self.deadline;
        let fetching = AtomicBool::new(false);
        let feed = self.worker.take_feed(deadline);
        let (worker, source) = (&mut self.worker, &self.task.source);
        let ((feed, fed), ended) = std::thread::scope(|scope| {
            let listener = scope.spawn(|| {
                let ended = worker.collect(deadline, Kind::Groups, MAX_GROUPS_BYTES);
                let was_fetching = fetching.load(Ordering::Relaxed);
                let went_wrong = !matches!(&ended, Ok(ended) if ended.report.trap.is_none());
                if went_wrong {
                    // Ends the child, and with it a feed that waits for a reader.
                    worker.end();
                }
                (ended, was_fetching)
            });
            let feed = feed_all(feed, source, records, &fetching);
            (feed, listener.join())
        });
        let (ended, fetching) = ended.map_err(|_| Fault::Protocol("the listener panicked"))?;
        let ended = self.heard(ended, fetching)?;
        let early = |_| Fault::Protocol("groups before it had read the records");
        let readable = ended.report.accepted;
        let grouping = Grouping::parse(&ended.bytes, readable, fed.map_err(early)?)?;
        Ok((feed, grouping))
    }

    /// What the worker said, where that is not why it stopped.
    fn heard(&mut self, said: Result<Ended, Silence>, fetching: bool) -> Result<Ended, Failure> {
        let ended = match said {
            Ok(ended) if ended.report.trap.is_none() => return Ok(ended),
            ended => ended,
        };
        let finish = self.worker.finish();
        let usage = self.usage(finish.resident_bytes);
        let layers = std::mem::take(&mut self.layers);
        Err(match ended {
            Ok(ended) => {
                let trap = ended.report.trap.expect("looked at above");
                Failure::program(trap, None, usage, layers)
            }
            Err(silence) => ended_badly(silence, fetching, finish.death, usage, layers),
        })
    }

    fn usage(&self, resident_bytes: Option<u64>) -> Usage {
        Usage {
            // A query has no fuel: its seconds and its memory are its limits.
            fuel: 0,
            memory_bytes: resident_bytes.unwrap_or(0),
            resident_bytes,
            wall: self.started.elapsed(),
        }
    }
}
