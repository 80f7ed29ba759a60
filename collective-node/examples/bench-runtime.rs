//! `just bench-python`, `just bench-javascript`: programs by the approved runtime against the machine's own CPython or Node.js, over
//! the same records in one run, and how long a whole job process takes when its runtime was compiled before. Exits 1 where the start
//! is slower than promised.

use std::collections::BTreeMap;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use collective::approval::Interpreted;
use collective::bundle::Bundle;
use collective::permit::{Binary, Code};
use collective::source::{Column, ColumnType, Source};
use collective_node::sandbox::{Cache, Limits, Sandbox, Task, child_main};
use zeroize::Zeroizing;

/// The study's rows, over and over: about 50,000 records.
const COPIES: usize = 53;
/// Of so many rounds the least counts: what else the machine does only adds.
const ROUNDS: usize = 3;
/// Starts of a job process, of which the median counts.
const STARTS: usize = 41;
/// What a start may take.
const WARM: Duration = Duration::from_millis(60);

/// What is compared.
struct Bench {
    language: Interpreted,
    /// What runs on either side. The first does nothing with its records, and is what a start is measured with.
    programs: [&'static str; 4],
    /// Command and arguments of the machine's own interpreter.
    native: &'static [&'static str],
}

const PYTHON: Bench = Bench {
    language: Interpreted::Python,
    programs: [
        "runtimes/python/bench/nothing",
        "runtimes/python/bench/json_parse",
        "runtimes/python/bench/groups",
        "jobs/logit-python",
    ],
    native: &["python3", "-B", "runtimes/python/native.py"],
};

const JAVASCRIPT: Bench = Bench {
    language: Interpreted::Javascript,
    programs: [
        "runtimes/javascript/bench/nothing",
        "runtimes/javascript/bench/json_parse",
        "runtimes/javascript/bench/groups",
        "jobs/logit-js",
    ],
    native: &["node", "runtimes/javascript/native.mjs"],
};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("sandbox-child") => child_main(arguments),
        Some("python") => outcome(PYTHON.run(arguments.next())),
        Some("javascript") => outcome(JAVASCRIPT.run(arguments.next())),
        _ => {
            eprintln!("usage: bench-runtime python|javascript RUNTIME");
            ExitCode::from(2)
        }
    }
}

fn outcome(is_good: Result<bool>) -> ExitCode {
    match is_good {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

impl Bench {
    fn run(&self, runtime: Option<String>) -> Result<bool> {
        let runtime = std::fs::read(runtime.context("no runtime is named")?)
            .context("reading the runtime")?;
        let folder = tempfile::tempdir()?;
        let cache = Cache::new(folder.path().into(), &[0; 32]);
        let sandbox = Sandbox::of_this_binary(vec![], Some(cache));
        let study = Study::read()?;

        let began = Instant::now();
        let nothing = study.task(self, self.programs[0], &runtime)?;
        sandbox.prepare(&nothing.code)?;
        println!(
            "runtime of {} bytes compiled in {:.1?}",
            runtime.len(),
            began.elapsed()
        );

        let mut starts = Vec::with_capacity(STARTS);
        for _ in 0..STARTS {
            let began = Instant::now();
            sandbox.try_out(&nothing, study.first())?;
            starts.push(began.elapsed());
        }
        starts.sort_unstable();
        let median = starts[STARTS / 2];
        let word = if median <= WARM { "good" } else { "MISSED" };
        println!(
            "warm start, spawn to exit: median {median:.1?}, best {:.1?}, worst {:.1?} of {STARTS} (promised {WARM:.0?}): {word}",
            starts[0],
            starts[STARTS - 1]
        );

        println!(
            "{} records; processor seconds of the process, start left out, least of {ROUNDS}:",
            study.rows.len()
        );
        // What both take before the first record.
        let (mut our_start, mut their_start) = (f64::INFINITY, f64::INFINITY);
        for _ in 0..ROUNDS {
            our_start = our_start.min(seconds(|| Ok(sandbox.try_out(&nothing, study.first())?))?.0);
            their_start =
                their_start.min(seconds(|| study.native(self.native, self.programs[0], 1))?.0);
        }
        for program in &self.programs[1..] {
            let task = study.task(self, program, &runtime)?;
            let (mut ours, mut theirs) = (f64::INFINITY, f64::INFINITY);
            for _ in 0..ROUNDS {
                let (native, output) =
                    seconds(|| study.native(self.native, program, study.rows.len()))?;
                let (wasm, run) = seconds(|| Ok(sandbox.try_out(&task, study.all())?))?;
                ensure!(
                    *run.output == output,
                    "{program}: other bytes than {}'s",
                    self.native[0]
                );
                theirs = theirs.min(native - their_start);
                ours = ours.min(wasm - our_start);
            }
            println!(
                "  {program:33} native {theirs:.2}, runtime {ours:.2}, ratio {:.1}",
                ours / theirs
            );
        }
        Ok(median <= WARM)
    }
}

/// The election study as records.
struct Study {
    names: String,
    rows: Vec<String>,
}

impl Study {
    fn read() -> Result<Self> {
        let table =
            std::fs::read_to_string("data/anes96.csv").context("from the repository's root")?;
        let (heading, rows) = table.split_once('\n').context("a heading")?;
        let line = |row: &str| format!("{}\n", row.replace('\t', ","));
        Ok(Self {
            names: heading.replace('\'', "").replace('\t', ","),
            rows: (0..COPIES).flat_map(|_| rows.lines().map(line)).collect(),
        })
    }

    fn all(&self) -> impl Iterator<Item = Zeroizing<Vec<u8>>> {
        self.rows
            .iter()
            .map(|row| Zeroizing::new(row.clone().into_bytes()))
    }

    fn first(&self) -> impl Iterator<Item = Zeroizing<Vec<u8>>> {
        self.all().take(1)
    }

    fn task(&self, bench: &Bench, program: &str, runtime: &[u8]) -> Result<Task> {
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(program).with_context(|| program.to_owned())? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            if let Some(name) = name.filter(|name| name.ends_with(".py") || name.ends_with(".js")) {
                files.insert(name.to_owned(), std::fs::read_to_string(&path)?);
            }
        }
        let column = |name: &str| Column {
            name: name.into(),
            kind: ColumnType::Integer {
                min: 0,
                max: 100_000,
            },
        };
        let columns: Vec<Column> = self.names.split(',').map(column).collect();
        Ok(Task {
            code: Code::sources(
                bench.language,
                Bundle::new(files)?,
                Binary::new(runtime.to_vec()),
            )?,
            arguments: self.names.clone(),
            limits: Limits {
                fuel: 1 << 50,
                memory_bytes: 1 << 30,
                seconds: 600,
                output_bytes: 1 << 20,
            },
            columns: (0..columns.len()).collect(),
            source: Source::new("anes96".into(), columns)?,
            seed: [0; 32],
            keep_log: false,
        })
    }

    /// The same program by the machine's own interpreter, over so many of the rows.
    fn native(&self, command: &[&str], program: &str, rows: usize) -> Result<Vec<u8>> {
        let input = tempfile::NamedTempFile::new()?;
        std::fs::write(&input, self.rows[..rows].concat())?;
        let output = Command::new(command[0])
            .args(&command[1..])
            .args([program, &self.names])
            .stdin(input.reopen()?)
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}: {said}", command[0]);
        Ok(output.stdout)
    }
}

/// Processor time of the children that `work` starts and waits for, in seconds.
fn seconds<T>(work: impl FnOnce() -> Result<T>) -> Result<(f64, T)> {
    let before = ticks()?;
    let done = work()?;
    // The kernel counts in hundredths, whatever the machine.
    Ok(((ticks()? - before) as f64 / 100.0, done))
}

/// User and system time of children that have ended (proc(5), fields 16 and 17).
fn ticks() -> Result<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').context("a name in brackets")?;
    let mut fields = fields.split_whitespace().skip(13).take(2);
    let sum: Result<u64, _> = fields.by_ref().map(str::parse::<u64>).sum();
    Ok(sum?)
}
