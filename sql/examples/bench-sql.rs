//! `bench-sql PYTHON`: the twenty queries of `sql/randhie` over sealed contributions, each opened again for each query as for a
//! job of its own, against DuckDB on the plaintext table. PYTHON has the packages of `sql/randhie/requirements.txt`.

#[path = "../randhie/records.rs"]
mod randhie;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use collective::permit::Code;
use collective::query::Query;
use collective::seal::tagged::TaggedIdentity;
use collective::seal::{self, Identity, Recipient};
use collective_node::sandbox::{Limits, SQL_WORKER, Sandbox, Task};
use collective_node::told::try_out;
use zeroize::Zeroizing;

/// How often DuckDB answers all twenty.
const ROUNDS: &str = "5";

type Failed = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let Some(python) = std::env::args_os().nth(1) else {
        eprintln!("usage: bench-sql PYTHON");
        return ExitCode::from(2);
    };
    match compare(Path::new(&python)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(python: &Path) -> Result<(), Failed> {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let table = here.join("../../shared/data/randhie.csv");
    let text = std::fs::read_to_string(&table)
        .map_err(|error| format!("the table beside the clone: {error}"))?;
    // Examples lie in a folder below the binaries.
    let folder = std::env::current_exe()?;
    let folder = folder
        .parent()
        .and_then(Path::parent)
        .ok_or("no folder of binaries")?;
    let sandbox = Sandbox::new(folder.join(SQL_WORKER), vec![], None);

    let identity = TaggedIdentity::random(&mut rand::rng());
    let to = [Recipient::Tagged(identity.recipient())];
    let identity = [Identity::Tagged(identity)];
    let lines: Vec<String> = randhie::lines(&text)
        .iter()
        .map(|line| format!("{line}\n"))
        .collect();
    let sealed = lines
        .iter()
        .map(|line| seal::seal(&to, line.as_bytes(), &mut rand::rng()));
    let sealed = sealed.collect::<Result<Vec<_>, _>>()?;

    let (mut opening, mut running) = (Duration::ZERO, Duration::ZERO);
    for query in randhie::queries() {
        let began = Instant::now();
        let opened = sealed
            .iter()
            .map(|file| seal::open(&identity, file).map(Zeroizing::new));
        let opened = opened.collect::<Result<Vec<_>, _>>()?;
        opening += began.elapsed();
        let began = Instant::now();
        try_out(&sandbox, &task(&query)?, opened, 5)?;
        running += began.elapsed();
    }
    let duckdb = duckdb(python, &here.join("randhie/reference.py"), &table)?;
    let whole = opening + running;
    let each = opening / u32::try_from(sealed.len() * 20)?;
    println!("{} sealed contributions, 20 queries", sealed.len());
    println!(
        "opening them, once for each query  {opening:>10.2?}  ({each:.0?} for each, one thread)"
    );
    println!("running the queries in the jail    {running:>10.2?}");
    println!("DuckDB on the plaintext CSV        {duckdb:>10.2?}");
    println!(
        "ratio, opening included            {:>10.1}",
        whole.as_secs_f64() / duckdb.as_secs_f64()
    );
    println!(
        "ratio, without opening             {:>10.1}",
        running.as_secs_f64() / duckdb.as_secs_f64()
    );
    Ok(())
}

fn task(query: &str) -> Result<Task, Failed> {
    Ok(Task {
        code: Code::Sql(Query::parse(query.as_bytes())?),
        arguments: String::new(),
        limits: Limits {
            fuel: 0,
            memory_bytes: 256 << 20,
            seconds: 60,
            output_bytes: 1 << 20,
        },
        source: randhie::source(),
        columns: (0..10).collect(),
        seed: [0; 32],
        keep_log: false,
    })
}

/// The mean time of DuckDB for all twenty, reading the file once for each round.
fn duckdb(python: &Path, script: &Path, table: &Path) -> Result<Duration, Failed> {
    let output = Command::new(python)
        .arg(script)
        .arg(table)
        .arg(ROUNDS)
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    let seconds: f64 = String::from_utf8(output.stdout)?.trim().parse()?;
    Ok(Duration::from_secs_f64(seconds))
}
