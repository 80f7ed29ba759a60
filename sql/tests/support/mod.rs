//! What the tests of queries share: the worker, a source, tasks, and records.
#![allow(dead_code, missing_docs)] // each test binary uses its part

use std::path::PathBuf;

use collective::permit::Code;
use collective::query::Query;
use collective::source::{Column, ColumnType, Source};
use collective_node::sandbox::{Failure, Limits, Run, Sandbox, Stop, Task, Trap};
use collective_node::told::screen_alone;
use serde_json::Value;
use zeroize::Zeroizing;

/// The worker that the tests start. Its name is what a sandbox looks for beside its own binary.
pub fn worker() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_collective-sql"))
}

/// A sandbox that requires no layer, so that the tests also run where the machine denies some.
pub fn sandbox() -> Sandbox {
    Sandbox::new(worker(), vec![], None)
}

pub fn limits() -> Limits {
    Limits {
        fuel: 0,
        memory_bytes: 64 << 20,
        seconds: 30,
        output_bytes: 1 << 20,
    }
}

/// People of a survey: their age, their town, and what they earn.
pub fn survey() -> Source {
    let column = |name: &str, kind| Column {
        name: name.into(),
        kind,
    };
    let towns = ["Ar", "Be", "Ce"].map(str::to_owned).to_vec();
    let columns = vec![
        column("age", ColumnType::Integer { min: 0, max: 120 }),
        column("town", ColumnType::Choice(towns)),
        column(
            "earns",
            ColumnType::Integer {
                min: -1_000_000,
                max: 9_007_199_254_740_991,
            },
        ),
    ];
    Source::new("survey".into(), columns).expect("a good declaration")
}

/// A query over all columns of the survey.
pub fn task(query: &str) -> Task {
    Task {
        code: Code::Sql(Query::parse(query.as_bytes()).expect("a query's text")),
        arguments: String::new(),
        limits: limits(),
        source: survey(),
        columns: vec![0, 1, 2],
        seed: [0; 32],
        keep_log: true,
    }
}

pub fn records<T: AsRef<str>>(lines: &[T]) -> impl Iterator<Item = Zeroizing<Vec<u8>>> + use<T> {
    let record = |line: &T| Zeroizing::new(format!("{}\n", line.as_ref()).into_bytes());
    lines.iter().map(record).collect::<Vec<_>>().into_iter()
}

/// Runs a query over records, of which groups below `minimum` are not told.
pub fn run<T: AsRef<str>>(query: &str, lines: &[T], minimum: u32) -> Result<Run, Failure> {
    let screen = |grouping| screen_alone(lines.len(), minimum, grouping);
    sandbox().try_query(&task(query), records(lines), screen)
}

/// The rows of a query that runs.
pub fn rows<T: AsRef<str>>(query: &str, lines: &[T], minimum: u32) -> Value {
    let run = run(query, lines, minimum).unwrap_or_else(|failure| panic!("{query}: {failure:?}"));
    serde_json::from_slice(&run.output).expect("JSON")
}

/// Why a query does not run, or did not end well.
pub fn stopped(result: Result<Run, Failure>) -> Stop {
    match result {
        Err(Failure::Program(stop)) => *stop,
        other => panic!("not stopped for the program's fault: {other:?}"),
    }
}

/// What is said of a query that may not run.
pub fn refused(query: &str) -> String {
    match sandbox().check_query(&task(query)) {
        Err(Failure::Program(stop)) => match stop.trap {
            Trap::Query(what) => what,
            other => panic!("{query}: {other:?}"),
        },
        other => panic!("{query}: {other:?}"),
    }
}
