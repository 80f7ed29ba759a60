//! Trainings as a requester tries them out, and the jail in which programs on heavy nodes run, from within and from without.
//!
//! Needs bubblewrap; the first test needs the worker that `just heavy` builds, too, beside the binary. Without them a test says so and
//! ends. The programs that try what they should not are one in C, which any machine that links Rust compiles.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use crate::by_hand::{PATIENCE, binary};
use collective::terms::Purpose;
use collective::training::Training;
use collective_node::heavy::jail::{Folders, Jail, JailError};
use collective_node::heavy::left::Left;
use collective_node::heavy::training::{
    Granted, Made, Progress, Table, Trainer, TrainingError, WORKER,
};
use collective_node::programs::process::ProcessError;
use rustix::io::{FdFlags, fcntl_setfd};
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// Of Linux.
const ENOSYS: &str = "38";
const EROFS: &str = "30";
const ENOMEM: &str = "12";
const ENOENT: &str = "2";

/// What a hostile training may use: so little that going past it costs no time.
const GRANTED: Granted = Granted {
    time: PATIENCE,
    memory: 64 << 20,
    output: 1 << 20,
};

/// Who has no rights.
const NOBODY: u32 = 65534;

fn worker() -> Option<PathBuf> {
    let worker = Path::new(env!("CARGO_BIN_EXE_collective")).with_file_name(WORKER);
    let here = worker.is_file() && has_bubblewrap();
    if !here {
        println!("skipped: no {WORKER} beside the binary");
    }
    here.then_some(worker)
}

fn has_bubblewrap() -> bool {
    let here = Jail::find().is_ok();
    if !here {
        println!("skipped: no bubblewrap");
    }
    here
}

fn succeed(command: &mut Command) -> String {
    let output = command.output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn a_training_is_tried_out_on_its_mock_data() {
    if worker().is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let model = folder.path().join("model");
    let new = ["program", "new", "--lang", "training"];
    succeed(binary().args(new).arg(&model));
    let trained = folder.path().join("trained");
    let test = |output: &Path| {
        let mut command = binary();
        command.args(["program", "test"]).arg(&model);
        command.arg("--output").arg(output);
        command
    };
    let metrics: Value = serde_json::from_str(&succeed(&mut test(&trained))).expect("JSON");
    let records = fs::read_to_string(model.join("mock/records.csv")).expect("records");
    assert_eq!(metrics["records"], records.lines().count() as f64);
    let fitted = fs::read(trained.join("model.json")).expect("a model");
    let fitted: Value = serde_json::from_slice(&fitted).expect("JSON");
    assert_eq!(fitted["format"], "collective/heavy/logistic/v1");
    let mode = fs::metadata(&trained)
        .expect("a folder")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);

    // What the requester has to mend is said in one sentence.
    let text = model.join("src/training.json");
    let of_no_column = r#"{"recipe":"logistic","target":{"column":"height","atLeast":1}}"#;
    fs::write(&text, of_no_column).expect("written");
    let again = test(&folder.path().join("again")).output();
    let again = again.expect("it starts");
    let said = String::from_utf8_lossy(&again.stderr);
    assert_eq!(again.status.code(), Some(1), "{said}");
    assert!(
        said.contains("the training stopped: ") && said.contains("height"),
        "{said}"
    );
}

/// As operators should run it: by a user without rights.
#[test]
fn a_training_needs_no_rights() {
    let Some(worker) = worker() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let is_root = fs::metadata(folder.path()).expect("ours").uid() == 0;
    fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).expect("set");
    // Where these lie may be nobody else's to see.
    let here = PathBuf::from(env!("CARGO_BIN_EXE_collective"));
    for file in [&here, &worker] {
        let there = folder.path().join(file.file_name().expect("a name"));
        fs::copy(file, there).expect("copied");
    }
    let somebody = |words: &[&str]| {
        let mut command = Command::new(folder.path().join("collective"));
        if is_root {
            command.uid(NOBODY).gid(NOBODY);
        }
        command.current_dir(folder.path());
        command.env("TMPDIR", folder.path()).args(words);
        succeed(&mut command)
    };
    somebody(&["program", "new", "--lang", "training", "model"]);
    let metrics = somebody(&["program", "test", "model"]);
    let metrics: Value = serde_json::from_str(&metrics).expect("JSON");
    assert!(metrics["records"].as_f64() > Some(1.0), "{metrics}");
}

/// What the jail's inside looks like, and each call that the filter denies.
#[test]
fn a_program_in_the_jail_reaches_its_folders_and_nothing_else() {
    if !has_bubblewrap() {
        return;
    }
    let hostile = Hostile::new();
    // A descriptor that a careless library of the node left open to programs.
    let careless = tempfile::tempfile().expect("a file");
    fcntl_setfd(&careless, FdFlags::empty()).expect("set");
    let left = hostile.train("probe").expect("it ends well");
    let told = told(left);
    let is = |what: &str| told.get(what).map_or("untold", |told| &told[..]);
    let all = |word: &str, error: &str| {
        let asked = told.iter().filter(|(what, _)| what.starts_with(word));
        let (no, yes): (Vec<_>, Vec<_>) = asked.partition(|(_, is)| *is != error);
        assert!(no.is_empty(), "{word}: {no:?}");
        yes.len()
    };
    assert!(all("call ", ENOSYS) > 85, "{told:?}");
    assert_eq!(all("absent ", ENOENT), 14);
    assert_eq!(all("write ", EROFS), 4);
    assert_eq!(all("may ", "0"), 8);
    let set = [
        ("map much", ENOMEM),
        ("MiB of tmp", "64"),
        ("inherited", "0"),
        ("uid", "65534"),
        ("gid", "65534"),
        ("capabilities", "0"),
        ("no new privileges", "1"),
        ("seccomp", "2"),
        ("process", "1"),
        ("tasks", "4096"),
        ("files", "256"),
        ("core", "0"),
    ];
    for (what, value) in set {
        assert_eq!(is(what), value, "{what}: {told:?}");
    }
    assert_eq!(all("environment PWD", "/tmp"), 1);
    let environment = told.keys().filter(|what| what.starts_with("environment"));
    assert_eq!(environment.count(), 1, "{told:?}");
    assert!(hostile.folder.path().join("state/more").is_file());
}

#[test]
fn what_a_program_leaves_and_says_is_not_believed() {
    if !has_bubblewrap() {
        return;
    }
    let hostile = Hostile::new();
    let linked = hostile.train("linked").expect_err("a link");
    assert!(
        matches!(&linked, TrainingError::Request(said) if said.contains("model.json, which is no plain file")),
        "{linked}"
    );
    let hostile = Hostile::new();
    let Err(TrainingError::Request(said)) = hostile.train("complaining") else {
        panic!("it ends with 1");
    };
    assert_eq!(said.chars().count(), 400);
    assert!(said.starts_with("[2Jno \u{fffd}good "), "{said}");

    let (to, told) = channel();
    let tell = move |progress| to.send(progress).expect("somebody listens");
    hostile.train_telling("telling", GRANTED, tell).expect("0");
    let progress = |step, loss| Progress { step, of: 2, loss };
    let told: Vec<_> = told.iter().collect();
    assert_eq!(told, [progress(1, None), progress(2, Some(0.5))]);
    assert_eq!(
        hostile.trainer.name().expect("a name"),
        "hostile/\u{fffd}[1m1"
    );
}

#[test]
fn whose_fault_an_end_is() {
    if !has_bubblewrap() {
        return;
    }
    let hostile = Hostile::new();
    for (how, says) in [
        ("failing", "code 2: the disk is full"),
        ("killed", "signal 9: "),
    ] {
        let failed = hostile.train(how).expect_err("no model");
        assert!(
            matches!(&failed, TrainingError::Machine(said) if said == says),
            "{failed}"
        );
    }
    // What it goes on with may be larger than what it leaves; but not longer than the state may be, in one file or in several.
    hostile.train("keeping").expect("a checkpoint");
    let long = hostile.train("long").expect_err("too long");
    assert!(matches!(long, TrainingError::Request(_)), "{long}");
    let hostile = Hostile::new();
    let much = hostile.train("hoarding").expect_err("too much");
    let most = 2 * GRANTED.memory;
    assert!(
        matches!(&much, TrainingError::Process(ProcessError::Folder(bytes)) if *bytes == most),
        "{much}"
    );
    // No jail at all is never the requester's fault, though bubblewrap ends with 1 as well.
    let hostile = Hostile::new();
    let program = hostile.folder.path().join(WORKER);
    fs::set_permissions(&program, Permissions::from_mode(0o600)).expect("set");
    let none = hostile.train("probe").expect_err("it cannot be started");
    assert!(
        matches!(&none, TrainingError::Jail(JailError::Denied(said)) if said.contains("/program")),
        "{none}"
    );
}

#[test]
fn a_program_that_is_late_ends_with_all_that_it_is() {
    if !has_bubblewrap() {
        return;
    }
    let hostile = Hostile::new();
    let time = Duration::from_millis(500);
    let granted = Granted { time, ..GRANTED };
    let late = hostile.train_telling("sleeping", granted, |_| ());
    let late = late.expect_err("it waits for ever");
    assert!(
        matches!(late, TrainingError::Process(ProcessError::Late(_))),
        "{late}"
    );
    // It holds this lock for as long as it lives.
    let lock = fs::File::open(hostile.folder.path().join("state/lock"));
    let lock = lock.expect("it came as far as that");
    let began = Instant::now();
    while lock.try_lock().is_err() {
        assert!(began.elapsed() < PATIENCE, "it lives");
        std::thread::yield_now();
    }
}

#[test]
fn a_table_holds_what_was_fed_or_is_none() {
    if !has_bubblewrap() {
        return;
    }
    let hostile = Hostile::new();
    let victim = hostile.folder.path().join("victim");
    fs::write(&victim, "the node's own").expect("written");
    let fed = |how: &str, bytes: usize| {
        let contribution = Zeroizing::new(vec![b'1'; bytes]);
        hostile.table(how, vec![contribution; 3].into_iter())
    };
    let made = fed("right", 9).expect("a table");
    let (rows, left_out) = (0, 0);
    assert_eq!(
        made,
        Made {
            contributions: 3,
            rows,
            left_out
        }
    );
    for (how, bytes, says) in [
        ("fewer", 9, "it read 2 contributions, of 3"),
        ("deaf", 1 << 20, "it was not fed to the end"),
        ("linked", 9, "arguments, which is no plain file"),
    ] {
        let none = fed(how, bytes).expect_err("no table");
        assert!(
            matches!(&none, TrainingError::Machine(said) if said.contains(says)),
            "{how}: {none}"
        );
    }
    let theirs = fs::read_to_string(&victim).expect("it is there");
    assert_eq!(theirs, "the node's own");
    // A feeder that comes to no end of its own.
    let breaks = (0..).map(|number| match number {
        0..=2 => Zeroizing::new(vec![b'1']),
        _ => panic!("what was to be fed cannot be opened"),
    });
    let broken = hostile.table("right", breaks).expect_err("not all of it");
    assert!(
        matches!(&broken, TrainingError::Machine(said) if said.contains("did not come to its end")),
        "{broken}"
    );
}

/// A program that tries what it should not, in place of the worker, and its folders.
struct Hostile {
    trainer: Trainer,
    folder: tempfile::TempDir,
}

impl Hostile {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["input", "table", "output", "state"] {
            fs::create_dir(folder.path().join(name)).expect("a folder");
        }
        fs::write(folder.path().join("state/kept"), "kept").expect("written");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/node/trainings/hostile.c");
        let mut compile = Command::new("cc");
        compile.args(["-pthread", "-o"]);
        succeed(compile.arg(folder.path().join(WORKER)).arg(source));
        let trainer = Trainer::beside(&folder.path().join("collective")).expect("beside it");
        Self { trainer, folder }
    }

    fn train(&self, how: &str) -> Result<Vec<Left>, TrainingError> {
        self.train_telling(how, GRANTED, |_| ())
    }

    fn train_telling(
        &self,
        how: &str,
        granted: Granted,
        told: impl FnMut(Progress) + Send + 'static,
    ) -> Result<Vec<Left>, TrainingError> {
        let [input, output, state] =
            ["input", "output", "state"].map(|name| self.folder.path().join(name));
        fs::write(input.join("arguments"), how).expect("written");
        let folders = Folders {
            input: &input,
            output: &output,
            state: Some(&state),
        };
        self.trainer.train(folders, granted, told)
    }

    fn table(
        &self,
        how: &str,
        contributions: impl Iterator<Item = Zeroizing<Vec<u8>>> + Send + 'static,
    ) -> Result<Made, TrainingError> {
        let integer = json!({"integer": {"min": 0, "max": 9}});
        let source = json!({"name": "survey", "columns": [{"name": how, "type": integer}]});
        let source = serde_json::from_value(source).expect("a source");
        let table = Table {
            source: &source,
            columns: &[0],
            purpose: Purpose::Training,
        };
        let training = Training::parse(b"{}").expect("a training");
        let input = self.folder.path().join("table");
        self.trainer
            .make_input(table, contributions, &training, &input)
    }
}

/// What a probe told in its output.
fn told(mut left: Vec<Left>) -> BTreeMap<String, String> {
    let mut text = String::new();
    let one = left.iter_mut().find(|left| left.name == "told");
    let one = one.expect("it told something");
    one.file.read_to_string(&mut text).expect("text");
    let lines = text.lines().map(|line| line.split_once('=').expect("both"));
    let mut told = BTreeMap::new();
    for (what, is) in lines {
        // Of what was tried twice, the worse: nothing hides behind a later line.
        let before = told.insert(what.to_owned(), is.to_owned());
        if let Some(before) = before.filter(|before| before != is) {
            told.insert(what.to_owned(), format!("{before} and {is}"));
        }
    }
    told
}
