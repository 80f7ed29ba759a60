//! `just bench-python`: programs in Python by the approved runtime against the machine's own CPython, over the same records in
//! one run, and how long a whole job process takes when its runtime was compiled before. Figures, no promise kept or missed but one.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use collective::bundle::Bundle;
use collective::permit::{Binary, Code};
use collective::source::{Column, ColumnType, Source};
use collective_node::sandbox::{Cache, Limits, Sandbox, Task, child_main};
use zeroize::Zeroizing;

/// The study's rows, over and over: about 50,000 records.
const COPIES: usize = 53;
/// Of so many rounds the fastest counts: what else the machine does only adds.
const ROUNDS: usize = 5;
/// Starts of a job process, of which the median counts.
const STARTS: usize = 41;
/// What a start may take.
const WARM: Duration = Duration::from_millis(60);

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("sandbox-child") => child_main(arguments),
        Some(runtime) => match bench(Path::new(runtime)) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("{error:#}");
                ExitCode::FAILURE
            }
        },
        None => {
            eprintln!("usage: bench-python RUNTIME");
            ExitCode::from(2)
        }
    }
}

fn bench(runtime: &Path) -> Result<bool> {
    let runtime = std::fs::read(runtime).context("reading the runtime")?;
    let folder = tempfile::tempdir()?;
    let cache = Cache::new(folder.path().into(), &[0; 32]);
    let sandbox = Sandbox::of_this_binary(vec![], Some(cache));
    let study = Study::read()?;

    let began = Instant::now();
    let nothing = study.task("runtimes/python/bench/nothing", &runtime)?;
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
        "{} records; seconds by the wall clock, fastest of {ROUNDS}:",
        study.rows.len()
    );
    for program in [
        "runtimes/python/bench/nothing",
        "runtimes/python/bench/json_parse",
        "runtimes/python/bench/groups",
        "jobs/logit-python",
    ] {
        let task = study.task(program, &runtime)?;
        let (mut ours, mut theirs) = (f64::INFINITY, f64::INFINITY);
        for _ in 0..ROUNDS {
            let (time, output) = study.native(program)?;
            theirs = theirs.min(time.as_secs_f64());
            let run = sandbox.try_out(&task, study.all())?;
            ours = ours.min(run.usage.wall.as_secs_f64());
            ensure!(
                *run.output == output,
                "{program}: other bytes than native CPython's"
            );
        }
        println!(
            "  {program:36} native {theirs:.3}, runtime {ours:.3}, ratio {:.2}",
            ours / theirs
        );
    }
    Ok(median <= WARM)
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

    fn task(&self, program: &str, runtime: &[u8]) -> Result<Task> {
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(program).with_context(|| program.to_owned())? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            if let Some(name) = name.filter(|name| name.ends_with(".py")) {
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
            code: Code::python(Bundle::new(files)?, Binary::new(runtime.to_vec()))?,
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

    /// The same program by python3, without the time in which it starts.
    fn native(&self, program: &str) -> Result<(Duration, Vec<u8>)> {
        let input = tempfile::NamedTempFile::new()?;
        std::fs::write(&input, self.rows.concat())?;
        let python = |arguments: &[&str]| -> Result<(Duration, Vec<u8>)> {
            let began = Instant::now();
            let output = Command::new("python3")
                .args(arguments)
                .stdin(input.reopen()?)
                .output()?;
            ensure!(
                output.status.success(),
                "python3: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            Ok((began.elapsed(), output.stdout))
        };
        let (start, _) = python(&["-B", "-c", "import json, collections, types"])?;
        let (whole, output) = python(&["-B", "runtimes/python/native.py", program, &self.names])?;
        Ok((whole.saturating_sub(start), output))
    }
}
