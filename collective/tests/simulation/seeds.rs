//! Histories by the thousand, one a seed, on every processor: progress while they run, a table at the end, and for each seed
//! that broke a rule the line that shows it again.
//!
//! `SEEDS` says how many histories, `SEED` the first one.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// Between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(10);

/// Failed histories after which it ends: each prints where it failed.
const MAX_FAILED: usize = 10;

/// What one history was about, and how much happened in it.
#[derive(Clone, Copy, Default)]
pub struct Told {
    pub kind: &'static str,
    pub events: u64,
}

/// One line of the table.
#[derive(Default)]
struct Row {
    seeds: u64,
    events: u64,
    violations: u64,
}

/// A number from the environment.
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// Tells as many histories as asked for, or `default`, of the test in the file `test`; says how many they were and what
/// they add up to.
///
/// # Panics
/// Where one breaks a rule.
pub fn tell<T: Default + Send>(
    test: &str,
    default: u64,
    history: impl Fn(u64, &mut Told, &mut T) + Sync,
    add: impl Fn(T, T) -> T,
) -> (u64, T) {
    let (first, seeds) = (number("SEED", 0), number("SEEDS", default));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (began, cpu) = (Instant::now(), cpu_seconds());
    let next = AtomicU64::new(first);
    let (tell, told) = channel();
    let mut rows: BTreeMap<&str, Row> = BTreeMap::new();
    let mut failed = Vec::new();
    let worker = |tell: Sender<(u64, Told, bool)>| {
        let mut sum = T::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + seeds {
                return sum;
            }
            let mut told = Told::default();
            let run = catch_unwind(AssertUnwindSafe(|| history(seed, &mut told, &mut sum)));
            if tell.send((seed, told, run.is_ok())).is_err() {
                return sum;
            }
        }
    };
    let worker = &worker;
    let sums: Vec<T> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                let tell = tell.clone();
                scope.spawn(move || worker(tell))
            })
            .collect();
        drop(tell);
        let mut said = Instant::now();
        let mut done = 0;
        loop {
            match told.recv_timeout(PROGRESS) {
                Ok((seed, told, holds)) => {
                    done += 1;
                    let row = rows.entry(told.kind).or_default();
                    row.seeds += 1;
                    row.events += told.events;
                    row.violations += u64::from(!holds);
                    failed.extend((!holds).then_some(seed));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if failed.len() >= MAX_FAILED {
                break;
            }
            if said.elapsed() >= PROGRESS {
                said = Instant::now();
                let (after, failed) = (began.elapsed().as_secs(), failed.len());
                eprintln!("{test}: {done} of {seeds} seeds after {after} s, {failed} failed");
            }
        }
        // Nobody listens any more: who still works stops.
        drop(told);
        let joined = workers.into_iter().map(|it| it.join());
        joined
            .map(|sum| sum.expect("it catches what fails"))
            .collect()
    });
    let wall = began.elapsed();
    table(
        &rows,
        wall,
        cpu.zip(cpu_seconds()).map(|(from, to)| to - from),
    );
    for seed in &failed {
        println!(
            "| seed {seed} breaks a rule: SEED={seed} SEEDS=1 cargo test --release -p collective --test {test} -- --nocapture"
        );
    }
    assert!(failed.is_empty(), "seeds that break a rule: {failed:?}");
    let sum = sums.into_iter().reduce(add);
    (seeds, sum.expect("there is a thread"))
}

fn table(rows: &BTreeMap<&str, Row>, wall: Duration, cpu: Option<f64>) {
    let line = |what: &str, row: &Row| {
        let Row {
            seeds,
            events,
            violations,
        } = row;
        println!("| {what:<24} | {seeds:>8} | {events:>10} | {violations:>10} |");
    };
    println!("| simulation               |    seeds |     events | violations |");
    let mut all = Row::default();
    for (kind, row) in rows {
        line(kind, row);
        all.seeds += row.seeds;
        all.events += row.events;
        all.violations += row.violations;
    }
    if rows.len() > 1 {
        line("all of them", &all);
    }
    let each = |seconds: f64| 1e3 * seconds / all.seeds as f64;
    let cpu = cpu.map_or(String::new(), |cpu| {
        format!(", {:.1} ms of processor time a seed", each(cpu))
    });
    println!("| {:.0} s{cpu}", wall.as_secs_f64());
}

/// Processor time of this process so far; `None` where the kernel does not say.
fn cpu_seconds() -> Option<f64> {
    // Behind the name in brackets, utime and stime are words 12 and 13 (proc_pid_stat(5)), in hundredths of a second.
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, words) = stat.rsplit_once(')')?;
    let ticks: Vec<f64> = words
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|word| word.parse().ok())
        .collect();
    Some(ticks.iter().sum::<f64>() / 100.0)
}
