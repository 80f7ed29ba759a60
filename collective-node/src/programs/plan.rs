//! Whether nodes would run a query, asked of the worker that is here: no record is near it.

use collective::approval::Manifest;
use collective::charter::Charter;
use collective::permit::Code;
use collective::query::Query;
use collective::source::Source;

use crate::sandbox::{Failure, Limits, Sandbox, Task};

/// What the engine that the manifest names makes of its query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Planned {
    /// It would run.
    Yes,
    /// It would be refused at every run, and why.
    No(String),
    /// It was not asked, and why.
    Unknown(String),
}

/// Plans `query` over the columns of `source` that the manifest names. Blocks for a second at most, unless the machine is busy.
pub fn plan(sandbox: &Sandbox, manifest: &Manifest, query: Query, source: &Source) -> Planned {
    let columns = match source.select(&manifest.dataset.columns) {
        Ok(columns) => columns,
        Err(refusal) => return Planned::No(refusal.to_string()),
    };
    let engine = manifest.program.engine().unwrap_or_default();
    let task = Task {
        code: Code::Sql(query),
        arguments: manifest.arguments.clone(),
        limits: Limits::of(manifest),
        source: source.clone(),
        columns,
        seed: [0; 32],
        keep_log: true,
    };
    match sandbox.check_plan(&task, engine) {
        Ok(()) => Planned::Yes,
        Err(Failure::Program(stop)) => Planned::No(stop.trap.to_string()),
        Err(Failure::Operator(fault)) => Planned::Unknown(fault.to_string()),
    }
}

/// Asks for the engine alone, where no records are declared to plan over.
pub fn engine(sandbox: &Sandbox, manifest: &Manifest) -> Planned {
    let asked = sandbox.check_engine(manifest.program.engine().unwrap_or_default());
    asked.map_or_else(
        |fault| Planned::Unknown(fault.to_string()),
        |()| Planned::Yes,
    )
}

/// The declaration that the manifest names, if the charter has it.
pub fn declared<'a>(charter: &'a Charter, manifest: &Manifest) -> Option<&'a Source> {
    let source = charter.source(&manifest.dataset.source)?;
    (source.digest() == manifest.dataset.declaration).then_some(source)
}
