//! What the worker's binary runs: the child of this sandbox that runs queries, around an engine that it brings.

use std::fs::File;
use std::io::{self, Write};
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use collective::source::{Column, Source};

use super::child::{BROKEN, USAGE, child_main_with, report, wait_for_the_end};
use super::execute::Input;
use super::failure::Trap;
use super::grouping::{Grouping, MAX_GROUPS_BYTES, of_bits};
use super::records::Records;
use super::sql::QueryFrame;
use super::wire::{Kind, MAX_FRAME_BYTES, Report, read_frame, write_frame};

/// What runs queries. It is only ever called inside of the jail; before [`QueryEngine::group`] it has seen no record.
pub trait QueryEngine {
    /// Name and version of all that decides what a query gives, as a manifest names them.
    const NAME: &'static str;
    /// A query that may run.
    type Plan;
    /// The groups that it made, with their figures.
    type Grouped;

    /// Refuses a query that may not run. The text of a refusal is made of nothing but query and declaration.
    ///
    /// # Errors
    /// [`Trap::Query`].
    fn plan(asked: &Asked) -> Result<Self::Plan, Trap>;

    /// Reads the records up to and with the grouping. Gives the places of each group's records, ascending.
    ///
    /// # Errors
    /// A trap that shows nothing of the records.
    fn group(plan: Self::Plan, rows: &Rows) -> Result<(Self::Grouped, Vec<Vec<u32>>), Trap>;

    /// What comes after the grouping, over the groups that are kept: the output.
    ///
    /// # Errors
    /// A trap that shows nothing of the groups.
    fn finish(grouped: Self::Grouped, kept: &[bool]) -> Result<Vec<u8>, Trap>;
}

/// A query, and what it is asked of.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The text.
    pub query: String,
    /// Name of the source, which is that of the only table.
    pub source: String,
    /// The columns that it sees, in their order.
    pub columns: Vec<Column>,
    /// Bytes that groups and figures may take.
    pub memory_bytes: usize,
}

/// The records, parsed and cut to the columns that the query sees. Clones share them.
#[derive(Clone)]
pub struct Rows(Arc<Mutex<Shared>>);

struct Shared {
    records: Records<Input>,
    broken: Option<io::Error>,
}

impl Rows {
    /// The next record that is one: its place among all that were handed over, and its line.
    ///
    /// # Errors
    /// The pipe broke.
    pub fn next_row(&self) -> io::Result<Option<(u32, Vec<u8>)>> {
        let mut shared = self.lock();
        shared.records.next_placed_row().map_err(|error| {
            let again = io::Error::new(error.kind(), "the pipe broke");
            shared.broken = Some(error);
            again
        })
    }

    fn new(from: Input, source: Source, columns: Vec<usize>) -> Self {
        Self(Arc::new(Mutex::new(Shared {
            records: Records::new(from, source, columns),
            broken: None,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // Whoever panicked while holding it is a query that ends.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self, trap: Option<Trap>) -> Report {
        let shared = self.lock();
        Report {
            trap,
            accepted: shared.records.accepted,
            rejected: shared.records.rejected.clone(),
            ..Report::default()
        }
    }
}

/// The main of the worker's binary, called before any thread is started, with the arguments after its name. Never returns.
pub fn query_main<E: QueryEngine>(mut arguments: impl Iterator<Item = String>) -> ! {
    match arguments.next().as_deref() {
        Some("engine") => {
            let told = writeln!(io::stdout(), "{}", E::NAME);
            std::process::exit(if told.is_ok() { 0 } else { BROKEN })
        }
        Some("sandbox-child") => child_main_with(arguments, |mode, from, to| match mode {
            "run" => run::<E>(from, to),
            "engine" => name::<E>(to),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }),
        _ => {
            eprintln!("this binary runs queries for `collective`, which starts it");
            std::process::exit(USAGE)
        }
    }
}

fn run<E: QueryEngine>(mut from: Input, mut to: File) -> io::Result<()> {
    let (Kind::Task, task) = read_frame(&mut from)? else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let task: QueryFrame = serde_json::from_slice(&task)?;
    if task.engine != E::NAME {
        return name::<E>(to);
    }
    let columns = task.columns.iter();
    let asked = Asked {
        query: task.query,
        source: task.source.name.clone(),
        columns: columns
            .map(|place| task.source.columns[*place].clone())
            .collect(),
        memory_bytes: usize::try_from(task.memory_bytes).unwrap_or(usize::MAX),
    };
    let planned = guarded(|| E::plan(&asked));
    let rows = Rows::new(from, task.source, task.columns);
    let ended = match planned {
        Err(trap) => Some(trap),
        Ok(plan) => {
            write_frame(&mut to, Kind::Ready, &[])?;
            answer::<E>(plan, &rows, task.output_bytes, &mut to)?
        }
    };
    report(&mut to, &rows.report(ended))?;
    wait_for_the_end(&mut rows.lock().records.from)
}

fn name<E: QueryEngine>(mut to: File) -> io::Result<()> {
    write_frame(&mut to, Kind::Stale, E::NAME.as_bytes())
}

/// From the records to the output. A trap is why there is none.
fn answer<E: QueryEngine>(
    plan: E::Plan,
    rows: &Rows,
    output_bytes: u64,
    to: &mut File,
) -> io::Result<Option<Trap>> {
    let grouped = guarded(|| E::group(plan, rows));
    // A plan that needs no record, as its condition never holds, has read none: they are counted all the same.
    while grouped.is_ok() && matches!(rows.next_row(), Ok(Some(_))) {}
    if let Some(error) = rows.lock().broken.take() {
        return Err(error);
    }
    let (grouped, groups) = match grouped {
        Ok(grouped) => grouped,
        Err(trap) => return Ok(Some(trap)),
    };
    let told = Grouping::to_bytes(&groups);
    if told.len() > MAX_GROUPS_BYTES {
        return Ok(Some(Trap::Memory));
    }
    for piece in told.chunks(MAX_FRAME_BYTES) {
        write_frame(to, Kind::Groups, piece)?;
    }
    report(to, &rows.report(None))?;
    let (Kind::Keep, kept) = read_frame(&mut rows.lock().records.from)? else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let kept = of_bits(&kept, groups.len()).ok_or(io::ErrorKind::InvalidData)?;
    let output = match guarded(|| E::finish(grouped, &kept)) {
        Ok(output) if output.len() as u64 > output_bytes => return Ok(Some(Trap::OutputLimit)),
        Ok(output) => output,
        Err(trap) => return Ok(Some(trap)),
    };
    for piece in output.chunks(MAX_FRAME_BYTES) {
        write_frame(to, Kind::Output, piece)?;
    }
    Ok(None)
}

/// The engine meets hostile queries and hostile records: a panic of its is a failure like any other.
fn guarded<T>(work: impl FnOnce() -> Result<T, Trap>) -> Result<T, Trap> {
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(Trap::QueryFailed))
}
