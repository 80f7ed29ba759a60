//! Twenty queries on the 20,190 person-years of the RAND experiment, each row one contributor's record, against an outside engine
//! on the plaintext.
//!
//! Needs the table in `shared/data` beside the clone, and what `sql/randhie/reference.py` printed in
//! `COLLECTIVE_SQL_REFERENCE`; without them the test says so and ends. `.ci/run sql` brings both.

#[path = "../randhie/records.rs"]
mod randhie;
mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;

use collective::permit::Code;
use collective::query::Query;
use collective_node::sandbox::{Failure, Task};
use collective_node::told::try_out;
use serde_json::{Value, json};
use support::{limits, records, sandbox};

/// Both engines add doubles in an order of their own.
const TOLERANCE: f64 = 1e-9;
/// Every group of the twenty has as many people.
const MINIMUM: u32 = 5;

fn reference() -> Option<Vec<Value>> {
    let Some(path) = std::env::var_os("COLLECTIVE_SQL_REFERENCE") else {
        println!("skipped: no COLLECTIVE_SQL_REFERENCE; `.ci/run sql` makes one");
        return None;
    };
    let text = std::fs::read(path).expect("COLLECTIVE_SQL_REFERENCE names a file");
    Some(serde_json::from_slice(&text).expect("JSON"))
}

fn table() -> Option<Vec<String>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/randhie.csv");
    let Ok(text) = std::fs::read_to_string(path) else {
        println!("skipped: no shared/data/randhie.csv beside the clone");
        return None;
    };
    Some(randhie::lines(&text))
}

fn task(query: &str) -> Task {
    Task {
        code: Code::Sql(Query::parse(query.as_bytes()).expect("text")),
        source: randhie::source(),
        columns: (0..10).collect(),
        limits: limits(),
        ..support::task(query)
    }
}

#[test]
fn twenty_queries_equal_those_of_an_outside_engine() {
    let (Some(lines), Some(expected)) = (table(), reference()) else {
        return;
    };
    assert_eq!(lines.len(), 20_190);
    let queries = randhie::queries();
    assert_eq!((queries.len(), expected.len()), (20, 20));
    for (query, expected) in queries.iter().zip(&expected) {
        let ran = try_out(&sandbox(), &task(query), records(&lines).collect(), MINIMUM);
        let run = ran.unwrap_or_else(|failure| panic!("{query}: {failure:?}"));
        let rows: Value = serde_json::from_slice(&run.output).expect("JSON");
        assert!(
            same(&rows, expected),
            "{query}\nours:   {rows}\ntheirs: {expected}"
        );
    }
}

#[test]
fn who_is_rare_in_the_table_is_not_told_of() {
    let Some(lines) = table() else { return };
    let rows = |query: &str| {
        let ran = try_out(&sandbox(), &task(query), records(&lines).collect(), 10);
        match ran {
            Ok(run) => serde_json::from_slice::<Value>(&run.output).expect("JSON"),
            Err(Failure::Program(stop)) => stop.trap.to_string().into(),
            Err(Failure::Operator(fault)) => panic!("{fault}"),
        }
    };
    let one = "SELECT sum(disea) AS burden FROM randhie WHERE mdvis = 77";
    assert_eq!(rows(one), "no group of the query may be told of");
    let others = "SELECT sum(disea) AS burden FROM randhie WHERE mdvis < 77";
    assert_eq!(rows(others), "no group of the query may be told of");
    let by_visits = rows("SELECT mdvis, count(*) AS n FROM randhie GROUP BY mdvis");
    let mut sizes = BTreeMap::new();
    for line in &lines {
        let visits: u64 = line
            .split(',')
            .next()
            .expect("a field")
            .parse()
            .expect("a number");
        *sizes.entry(visits).or_insert(0) += 1;
    }
    // Those who are left out are ten and more together: no larger group goes with them.
    let left_out: u64 = sizes.values().filter(|size| **size < 10).sum();
    assert!(left_out >= 10 && sizes.len() == 59);
    sizes.retain(|_, size| *size >= 10);
    let expected: Vec<Value> = sizes
        .iter()
        .map(|(visits, n)| json!({"mdvis": visits, "n": n}))
        .collect();
    assert_eq!(by_visits, Value::Array(expected));
}

/// Integers and words are equal, doubles nearly so.
fn same(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| same(a, b))
        }
        (Value::Object(ours), Value::Object(theirs)) => {
            ours.len() == theirs.len()
                && ours
                    .iter()
                    .all(|(name, a)| theirs.get(name).is_some_and(|b| same(a, b)))
        }
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => a == b,
            _ => {
                let (a, b) = (
                    a.as_f64().unwrap_or(f64::NAN),
                    b.as_f64().unwrap_or(f64::NAN),
                );
                (a - b).abs() <= TOLERANCE * a.abs().max(b.abs())
            }
        },
        (ours, theirs) => ours == theirs,
    }
}
