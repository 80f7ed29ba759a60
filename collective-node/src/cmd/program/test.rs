//! `collective program test`.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use collective::approval::{Interpreted, Manifest, OutputRule};
use collective::bundle::Bundle;
use collective::permit::{Binary, Code};
use collective::query::Query;
use collective::source::Source;
use collective::terms::Purpose;
use collective::training::Training;
use indicatif::ProgressBar;
use serde_json::json;
use zeroize::Zeroizing;

use super::bundle::of_folder;
use crate::cmd::manifest;
use crate::cmd::show::{printable, step_bar};
use crate::heavy::jail::Folders;
use crate::heavy::left::Left;
use crate::heavy::training::{Granted, Progress, Table, Trainer, TrainingError};
use crate::programs::folder::{DESCRIPTION, Folder};
use crate::programs::recipe;
use crate::sandbox::{Cache, Failure, Layers, Limits, MAX_COMPONENT_BYTES, Run, Sandbox, Task};
use crate::told::try_out;

/// What a program may use where no manifest says it: enough to try out, little enough to wait for.
const LIMITS: Limits = Limits {
    fuel: 100_000_000_000,
    memory_bytes: 1 << 30,
    seconds: 60,
    output_bytes: 1 << 20,
};

/// What every training leaves: an object of numbers.
const METRICS: &str = "metrics.json";

/// Bytes of it that are shown: some figures have a few hundred.
const MAX_METRICS_BYTES: u64 = 64 << 10;

/// First bytes of every WebAssembly file.
const WASM: &[u8] = b"\0asm";

/// Run a program on mock data, in the sandbox that runs it on contributed data.
///
/// A folder with a `program.toml` needs nothing more: it is built, and run on its own mock data under its own limits. Anything else
/// needs --source and --records; a folder or a bundle is then a program in Python or JavaScript, which needs the runtime
/// that it is to be approved with. A query takes the worker that `just sql` makes. The output goes to standard output, as a
/// requester would get it; its log, what it used, and the text of its error, which ends its log, go to standard error. The seed is
/// all zeroes. A training needs the worker that `just heavy` makes, and bubblewrap; its metrics go to standard output.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  collective program test survey-means
  collective program test jobs/logit-python --runtime python-runtime.wasm \\
      --source survey.json --records mock.csv --arguments age,vote
  collective program test ages.sql --source survey.json --records mock.csv --manifest ages.json
  collective program test survey-model --output trained
  collective program test mean.wasm --source survey.json --records mock.csv --manifest mean.json")]
pub struct Test {
    /// A program's folder, a folder of sources, a bundle of them, a component, or a query in a file that ends in `.sql`.
    #[arg(default_value = ".")]
    program: PathBuf,
    /// The interpreter; without it, that of COLLECTIVE_PYTHON_RUNTIME or COLLECTIVE_JAVASCRIPT_RUNTIME.
    #[arg(long, value_name = "FILE")]
    runtime: Option<PathBuf>,
    /// Declaration of the records, as JSON.
    #[arg(long, value_name = "FILE")]
    source: Option<PathBuf>,
    /// The records, one a line; a program's folder has some.
    #[arg(long, value_name = "FILE")]
    records: Option<PathBuf>,
    /// Take arguments, columns, limits and output rule from this manifest.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["arguments", "columns"])]
    manifest: Option<PathBuf>,
    /// What the program is started with.
    #[arg(long, default_value = "")]
    arguments: String,
    /// The columns that it sees, joined by commas; all, if not given.
    #[arg(long, value_delimiter = ',')]
    columns: Vec<String>,
    /// Folder for compiled programs and the key that guards them; without it every test compiles.
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Folder to make for what a training leaves; without it only its metrics are shown.
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A task on mock records, and the rule for what it may send out.
struct Trial {
    task: Task,
    records: Vec<u8>,
    output: Option<OutputRule>,
    /// What a query or a training is to be approved for, where that is said.
    engine: Option<String>,
}

impl Test {
    pub fn run(self) -> Result<bool> {
        let trial = if self.program.join(DESCRIPTION).is_file() {
            self.of_folder()?
        } else {
            self.of_parts()?
        };
        let lines = trial.records.split_inclusive(|byte| *byte == b'\n');
        let lines = lines.map(|line| Zeroizing::new(line.to_vec()));
        let cache = self.cache.as_deref().map(cache).transpose()?;
        if let Code::Training(training) = &trial.task.code {
            return self.train(training, &trial, lines.collect());
        }
        ensure!(
            self.output.is_none(),
            "--output is for a training: any other program writes to standard output"
        );
        let sandbox = Sandbox::of_this_binary(vec![], cache);
        if let (Code::Sql(_), Some(named)) = (&trial.task.code, &trial.engine) {
            compare_engines("query", "worker for SQL", named, &sandbox.sql_engine()?);
        }
        let minimum = trial.output.as_ref().map_or(0, |rule| rule.minimum_group);
        match try_out(&sandbox, &trial.task, lines.collect(), minimum) {
            Ok(run) => self.show(&run, trial.output.as_ref()),
            Err(Failure::Program(stop)) => {
                let text = stop.text.as_ref().map_or("", |text| text.reveal());
                eprint!("{}", printable(text));
                warn_of_layers(&stop.layers);
                eprintln!(
                    "the program stopped: {}; {} fuel used",
                    stop.trap, stop.usage.fuel
                );
                Ok(false)
            }
            Err(Failure::Operator(fault)) => Err(fault.into()),
        }
    }

    /// What a heavy node does, with mock records: the table, then the trainer.
    fn train(
        &self,
        training: &Training,
        trial: &Trial,
        records: Vec<Zeroizing<Vec<u8>>>,
    ) -> Result<bool> {
        let trainer = Trainer::beside(&std::env::current_exe()?)?;
        if let Some(named) = &trial.engine {
            compare_engines("training", "trainer", named, &trainer.name()?);
        }
        let folder = tempfile::tempdir()?;
        let [input, state] = ["input", "state"].map(|name| folder.path().join(name));
        let output = match &self.output {
            Some(output) => output.clone(),
            None => folder.path().join("output"),
        };
        for folder in [&input, &output, &state] {
            fs::create_dir(folder).with_context(|| format!("making {}", folder.display()))?;
        }
        let folders = Folders {
            input: &input,
            output: &output,
            state: Some(&state),
        };
        let granted = Granted {
            time: Duration::from_secs(trial.task.limits.seconds.into()),
            memory: trial.task.limits.memory_bytes,
            output: trial.task.limits.output_bytes,
        };
        let table = Table {
            source: &trial.task.source,
            columns: &trial.task.columns,
            purpose: Purpose::Training,
        };
        let bar = step_bar();
        let told = bar.clone();
        let trained = trainer
            .make_input(table, records.into_iter(), training, &input)
            .and_then(|_| trainer.train(folders, granted, move |step| show_step(&told, step)));
        bar.finish_and_clear();
        match trained {
            Ok(left) => {
                println!("{}", printable(&metrics(left)?));
                Ok(true)
            }
            Err(TrainingError::Request(said)) => {
                eprintln!("the training stopped: {}", printable(&said));
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Everything out of a program's folder.
    fn of_folder(&self) -> Result<Trial> {
        let parts = self.source.is_some() || self.manifest.is_some();
        ensure!(
            !parts && self.arguments.is_empty() && self.columns.is_empty(),
            "{} says what the program reads and may do: only --records and --runtime go with it",
            self.program.join(DESCRIPTION).display()
        );
        let folder = Folder::parse(of_folder(&self.program)?)?;
        let built = recipe::build(&folder)?;
        let described = folder.description();
        let language = described.language.interpreted();
        let runtime = language.map(|language| runtime(language, self.runtime.as_deref()));
        let code = built.code(runtime.transpose()?)?;
        let columns = folder.source().select(&described.dataset.columns)?;
        let task = Task {
            code,
            arguments: described.arguments.clone(),
            limits: Limits {
                fuel: described.limits.fuel,
                memory_bytes: described.limits.memory_bytes,
                seconds: described.limits.seconds,
                output_bytes: folder.output().max_bytes,
            },
            columns,
            source: folder.source().clone(),
            seed: [0; 32],
            keep_log: true,
        };
        let records = match &self.records {
            Some(file) => fs::read(file).with_context(|| reading(file))?,
            None => folder.records().as_bytes().to_vec(),
        };
        Ok(Trial {
            task,
            records,
            output: Some(folder.output().clone()),
            engine: described.engine.clone().or(described.trainer.clone()),
        })
    }

    /// Everything out of files that the caller names.
    fn of_parts(&self) -> Result<Trial> {
        let (Some(source), Some(records)) = (&self.source, &self.records) else {
            anyhow::bail!(
                "{} is no program's folder (it has no {DESCRIPTION}), so name its mock data: --source and --records",
                self.program.display()
            );
        };
        let manifest = self.manifest.as_deref().map(manifest::read).transpose()?;
        let code = self.code()?;
        if let Some(manifest) = &manifest {
            compare(manifest, &code);
        }
        Ok(Trial {
            task: self.task(code, source, manifest.as_ref())?,
            records: fs::read(records).with_context(|| reading(records))?,
            engine: manifest
                .as_ref()
                .and_then(|manifest| manifest.program.engine())
                .map(str::to_owned),
            output: manifest.map(|manifest| manifest.output),
        })
    }

    fn code(&self) -> Result<Code> {
        if self.program.is_dir() {
            return self.sources(of_folder(&self.program)?);
        }
        let bytes = bounded(&self.program)?;
        if self
            .program
            .extension()
            .is_some_and(|extension| extension == "sql")
        {
            return Ok(Code::Sql(Query::parse(&bytes)?));
        }
        if bytes.starts_with(WASM) {
            return Ok(Code::Component(Binary::new(bytes)));
        }
        self.sources(Bundle::parse(&bytes)?)
    }

    fn sources(&self, bundle: Bundle) -> Result<Code> {
        let language = Code::language_of(&bundle)?;
        let runtime = runtime(language, self.runtime.as_deref())?;
        Ok(Code::sources(language, bundle, Binary::new(runtime))?)
    }

    fn task(&self, code: Code, source: &Path, manifest: Option<&Manifest>) -> Result<Task> {
        let source: Source = serde_json::from_slice(&bounded(source)?)
            .with_context(|| format!("{} declares no source", source.display()))?;
        let names = match manifest {
            Some(manifest) => manifest.dataset.columns.clone(),
            None if self.columns.is_empty() => source
                .columns
                .iter()
                .map(|column| column.name.clone())
                .collect(),
            None => self.columns.clone(),
        };
        Ok(Task {
            code,
            arguments: manifest.map_or_else(|| self.arguments.clone(), |m| m.arguments.clone()),
            limits: manifest.map_or(LIMITS, Limits::of),
            columns: source.select(&names)?,
            source,
            seed: [0; 32],
            keep_log: true,
        })
    }

    fn show(&self, run: &Run, rule: Option<&OutputRule>) -> Result<bool> {
        let contributors = u32::try_from(run.accepted).unwrap_or(u32::MAX);
        let checked = rule.map(|rule| rule.check(&run.output, contributors));
        let broken = checked
            .and_then(Result::err)
            .map(|refusal| refusal.to_string());
        if self.json {
            let value = json!({
                "output": String::from_utf8_lossy(&run.output),
                "log": run.log,
                "accepted": run.accepted,
                "rejected": run.rejected,
                "fuel": run.usage.fuel.to_string(),
                "memoryBytes": run.usage.memory_bytes,
                "milliseconds": u64::try_from(run.usage.wall.as_millis()).unwrap_or(u64::MAX),
                "refused": broken,
            });
            println!("{}", serde_json::to_string_pretty(&value)?);
        } else {
            use std::io::Write;
            std::io::stdout().write_all(&run.output)?;
            eprint!("{}", printable(&run.log));
            warn_of_layers(&run.layers);
            eprintln!(
                "{} records read, {} left out; {} fuel, {} bytes of memory, {:.0?}",
                run.accepted,
                run.rejected.count,
                run.usage.fuel,
                run.usage.memory_bytes,
                run.usage.wall
            );
            if let Some(reason) = &broken {
                eprintln!("this output would stay inside: {reason}");
            }
        }
        Ok(broken.is_none())
    }
}

/// The figures of a training, as they were left.
fn metrics(left: Vec<Left>) -> Result<String> {
    let metrics = left.into_iter().find(|left| left.name == METRICS);
    let metrics = metrics.with_context(|| format!("the training left no {METRICS}"))?;
    let mut text = String::new();
    let mut some = metrics.file.take(MAX_METRICS_BYTES);
    some.read_to_string(&mut text)
        .with_context(|| reading(Path::new(METRICS)))?;
    Ok(text)
}

fn show_step(bar: &ProgressBar, progress: Progress) {
    bar.set_length(progress.of);
    bar.set_position(progress.step);
    if let Some(loss) = progress.loss {
        bar.set_message(format!("loss {loss:.3}"));
    }
}

/// Says where program or interpreter are others than the manifest names: what is tried is then not what would run.
fn compare(manifest: &Manifest, code: &Code) {
    let (id, runtime) = match code {
        Code::Component(component) => (component.id(), None),
        Code::Sources { bundle, runtime } => (bundle.id(), Some(runtime.id())),
        Code::Sql(query) => (query.id(), None),
        Code::Training(training) => (training.id(), None),
    };
    let named = manifest.program.sha256();
    if id != named {
        eprintln!("not what would run: the manifest names program {named}, this one is {id}");
    }
    if let (Some(named), Some(runtime)) = (manifest.program.runtime(), runtime)
        && named != runtime
    {
        eprintln!("not what would run: the manifest names runtime {named}, this one is {runtime}");
    }
}

/// The same of the worker that a query or a training is for.
fn compare_engines(what: &str, engine: &str, named: &str, here: &str) {
    if named != here {
        eprintln!("not what would run: the {what} is for {named}, the {engine} here is {here}");
    }
}

/// The interpreter of a language: the file that was given, or that a variable names.
pub(super) fn runtime(language: Interpreted, given: Option<&Path>) -> Result<Vec<u8>> {
    let variable = match language {
        Interpreted::Python => "COLLECTIVE_PYTHON_RUNTIME",
        Interpreted::Javascript => "COLLECTIVE_JAVASCRIPT_RUNTIME",
    };
    let named = || std::env::var_os(variable).map(PathBuf::from);
    let file = given.map(Path::to_owned).or_else(named).with_context(|| {
        format!(
            "a program in {language} is approved with its interpreter: give it with --runtime, or in {variable}"
        )
    })?;
    bounded(&file)
}

/// A node refuses to start where a layer is missing; somebody who tries a program out is told.
pub fn warn_of_layers(layers: &Layers) {
    for (layer, reason) in &layers.denied {
        eprintln!("this machine denies the sandbox's layer {layer}: {reason}");
    }
}

/// A folder of compiled programs, with a key of its own in it.
pub fn cache(folder: &Path) -> Result<Cache> {
    use crate::keystore::write_new;
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let path = folder.join("key");
    if !path.exists() {
        write_new(&path, &rand::random::<[u8; 32]>())?;
    }
    let key: [u8; 32] = fs::read(&path)
        .with_context(|| reading(&path))?
        .try_into()
        .ok()
        .with_context(|| format!("{} is no key of a cache: remove it", path.display()))?;
    Ok(Cache::new(folder.to_owned(), &key))
}

/// A file that is not larger than anything a program consists of.
fn bounded(path: &Path) -> Result<Vec<u8>> {
    let length = fs::metadata(path).with_context(|| reading(path))?.len();
    ensure!(
        length <= MAX_COMPONENT_BYTES as u64,
        "{} is too large",
        path.display()
    );
    fs::read(path).with_context(|| reading(path))
}

fn reading(path: &Path) -> String {
    format!("reading {}", path.display())
}
