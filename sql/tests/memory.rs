//! Memory of a query does not grow with what the records hold, only with who is in which group: in the worker and in the process
//! that feeds it. Alone in its binary, as it looks at its own process.

mod support;

use collective::source::{Column, ColumnType, Source};
use collective_node::sandbox::{Failure, Grouping, Limits, Run, Task};
use support::{limits, sandbox};
use zeroize::Zeroizing;

/// Records of the first run; the second has ten times as many.
const RECORDS: u64 = 40_000;
/// Columns of a record, each of 15 digits: a record is 256 bytes.
const COLUMNS: u64 = 16;
/// Bytes that a record may cost the worker: its place, in the engine's aggregate, in the list of the groups and on its way
/// out, each in a buffer that may have grown to twice its size.
const IN_THE_WORKER: u64 = 48;
/// Bytes that a record may cost the parent: its place on its way in, and in its group.
const IN_THE_PARENT: u64 = 32;

#[test]
fn ten_times_the_records_take_no_more_memory_than_their_places() {
    let (worker, parent) = measured(RECORDS);
    let (worker_of_more, parent_of_more) = measured(10 * RECORDS);
    let more = 9 * RECORDS;
    let each = |less: u64, more_bytes: u64| more_bytes.saturating_sub(less) / more;
    println!(
        "worker: {worker} to {worker_of_more} bytes, {} for each record",
        each(worker, worker_of_more)
    );
    println!(
        "parent: {parent} to {parent_of_more} bytes, {} for each record",
        each(parent, parent_of_more)
    );
    assert!(each(worker, worker_of_more) <= IN_THE_WORKER);
    assert!(each(parent, parent_of_more) <= IN_THE_PARENT);
}

/// Greatest resident size of the worker, and by how much that of this process rose, while a query reads so many records.
fn measured(count: u64) -> (u64, u64) {
    let fields = |n: u64| (0..COLUMNS).map(move |column| 100_000_000_000_000 + n * 7 + column);
    let records = (0..count).map(|n| {
        let fields: Vec<String> = fields(n).map(|field| field.to_string()).collect();
        Zeroizing::new(format!("{}\n", fields.join(",")).into_bytes())
    });
    let all = |grouping: Grouping| -> Result<Vec<bool>, Failure> {
        assert_eq!(grouping.groups.len(), 3);
        Ok(vec![true; 3])
    };
    std::fs::write("/proc/self/clear_refs", "5").expect("the peak starts anew");
    let before = own("VmRSS:");
    let run: Run = sandbox().try_query(&task(), records, all).expect("it runs");
    let peak = own("VmHWM:");
    assert_eq!(run.accepted, count);
    (
        run.usage.resident_bytes.expect("the kernel says"),
        peak.saturating_sub(before),
    )
}

fn task() -> Task {
    let column = |n| Column {
        name: format!("c{n}"),
        kind: ColumnType::Integer {
            min: 0,
            max: 999_999_999_999_999,
        },
    };
    let columns = (0..COLUMNS).map(column).collect();
    Task {
        source: Source::new("wide".into(), columns).expect("a good declaration"),
        columns: vec![0, 5],
        limits: Limits {
            seconds: 120,
            ..limits()
        },
        ..support::task("SELECT c0 % 3 AS rest, avg(c5) AS mean FROM wide GROUP BY c0 % 3")
    }
}

/// A line of this process's status, in bytes.
fn own(line: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("the kernel says");
    let line = status
        .lines()
        .find_map(|found| found.strip_prefix(line))
        .expect("a line");
    let kilobytes: u64 = line
        .trim()
        .strip_suffix(" kB")
        .expect("kilobytes")
        .parse()
        .expect("a number");
    kilobytes * 1024
}
