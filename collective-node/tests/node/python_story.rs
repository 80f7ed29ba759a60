//! A Python program from its folder to the opened output, by the verbs that a person types: tried out on mock data, bundled,
//! proposed, voted, run, verified.
//!
//! Needs the runtime that `just runtime-python` builds, in `COLLECTIVE_PYTHON_RUNTIME`; without it the test says so and ends.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::by_hand::World;
use collective_node::demo::election;
use serde_json::{Value, json};

/// Compiling an interpreter takes half a minute, and more on a busy machine.
const COMPILING: Duration = Duration::from_secs(240);

#[test]
fn a_python_program_is_tried_out_voted_on_and_run() {
    let Some(runtime) = std::env::var_os("COLLECTIVE_PYTHON_RUNTIME") else {
        println!("skipped: no COLLECTIVE_PYTHON_RUNTIME; `just runtime-python` makes one");
        return;
    };
    let runtime = PathBuf::from(runtime);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = root.join("jobs/logit-python");
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let world = World::start_with(temporary.path().join("world"), &[]);

    let bundle = bundle(&world, &folder);
    let manifest = manifest(&world, &bundle, &runtime);
    let expected = try_out(&world, &folder, &runtime, &manifest, &root);
    propose_and_vote(&world, &manifest, &runtime);

    let requester = world.key("requester");
    let request = format!("job request --manifest {manifest} --key {requester}");
    assert_eq!(world.json(&request)["job"], 1);
    let began = Instant::now();
    while world.json("job show 1")["state"] != "completed" {
        assert!(began.elapsed() < COMPILING, "{}", world.json("job show 1"));
        std::thread::sleep(Duration::from_millis(500));
    }
    println!(
        "the first job took {:?}, compiling included",
        began.elapsed()
    );
    let output = world.run(&format!(
        "job output 1 --identity {}",
        world.told("identity")
    ));
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    let verdict = world.json("verify receipt 1");
    let findings = verdict["findings"].as_array().expect("findings");
    let runtime_found = |finding: &Value| finding["what"] == "the approved runtime is at hand";
    assert!(findings.iter().any(runtime_found), "{verdict}");
    assert!(findings.iter().all(|finding| finding["holds"] == true));

    without_its_runtime(&world, &request, &runtime);
}

fn bundle(world: &World, folder: &Path) -> Value {
    let file = world.path("logit.bundle");
    let made = world.json(&format!("program bundle {} {file}", folder.display()));
    assert_eq!(made["files"], 2);
    let hash = world.json(&format!("program hash {file}"));
    assert_eq!(hash["sha256"], made["sha256"]);

    let empty = tempfile::tempdir().expect("a folder");
    let verb = format!("program bundle {} {file}", empty.path().display());
    world.refused(&verb, "1 to 256 files");
    std::fs::write(empty.path().join("other.py"), "").expect("written");
    world.refused(&verb, "either a main.py or a main.js");
    std::fs::write(empty.path().join("main.py"), "x = 1 # \u{202e}").expect("written");
    world.refused(&verb, "main.py, line 1: the character U+202E");
    std::os::unix::fs::symlink("/etc/passwd", empty.path().join("data")).expect("a link");
    world.refused(&verb, "neither a file nor a folder");
    world.json(&format!("program bundle {} {file}", folder.display()));
    made["sha256"].clone()
}

/// The manifest of the C program, with the Python one in its place.
fn manifest(world: &World, bundle: &Value, runtime: &Path) -> String {
    let text = std::fs::read(world.path("manifests/logit.json")).expect("a manifest");
    let mut manifest: Value = serde_json::from_slice(&text).expect("JSON");
    let hash = world.json(&format!("program hash {}", runtime.display()));
    manifest["program"] = json!({"kind": "python", "sha256": bundle, "runtime": hash["sha256"]});
    manifest["limits"] =
        json!({"fuel": "20000000000", "memoryBytes": 256 << 20, "seconds": 60, "bucketSeconds": 1});
    let path = world.path("manifests/logit-python.json");
    std::fs::write(&path, manifest.to_string()).expect("written");
    let checked = world.json(&format!("manifest check {path}"));
    assert!(checked["digest"].is_string());

    manifest["program"] = json!({"kind": "python", "sha256": bundle});
    let without = world.path("manifests/without.json");
    std::fs::write(&without, manifest.to_string()).expect("written");
    world.refused(
        &format!("manifest check {without}"),
        "missing field `runtime`",
    );
    path
}

/// On the study's own rows, as those who run the demo's world have them; returns what native CPython makes of the rows that
/// were contributed.
fn try_out(world: &World, folder: &Path, runtime: &Path, manifest: &str, root: &Path) -> String {
    let table = std::fs::read_to_string(root.join("data/anes96.csv")).expect("the study");
    let (heading, table) = table.split_once('\n').expect("a heading");
    let rows: Vec<String> = table
        .lines()
        .map(|row| format!("{}\n", row.replace('\t', ",")))
        .collect();
    // Rows that end in 9 were not contributed for statistics.
    let contributed: String = rows
        .iter()
        .enumerate()
        .filter(|(row, _)| row % 10 != 9)
        .map(|(_, row)| row.as_str())
        .collect();
    let (records, source) = (world.path("mock.csv"), world.path("source.json"));
    std::fs::write(&records, &contributed).expect("written");
    let declared = serde_json::to_vec(&election::source()).expect("JSON");
    std::fs::write(&source, declared).expect("written");

    let cache = world.path("trial");
    let test = format!(
        "program test --source {source} --records {records} --cache {cache} --runtime {}",
        runtime.display()
    );
    let good = format!("{test} --manifest {manifest} {}", folder.display());
    let tried = world.json(&good);
    println!("{tried}");
    assert_eq!(tried["accepted"], 850);
    assert!(tried["refused"].is_null(), "{tried}");
    let bundle = world.path("logit.bundle");
    assert_eq!(
        world.json(&format!("{test} --manifest {manifest} {bundle}"))["output"],
        tried["output"]
    );

    let broken = tempfile::tempdir().expect("a folder");
    let main = "def run(arguments):\n    print('so far')\n    raise ValueError(arguments)\n";
    std::fs::write(broken.path().join("main.py"), main).expect("written");
    let failing = format!("{test} --arguments why {}", broken.path().display());
    world.refused(
        &failing,
        "line 3, in run\n    raise ValueError(arguments)\nValueError: why\nthe program stopped",
    );
    let main = "import collective\ndef run(arguments):\n    print('a note')\n    collective.write('free text')\n";
    std::fs::write(broken.path().join("main.py"), main).expect("written");
    let free = world.run(&format!(
        "{test} --manifest {manifest} {}",
        broken.path().display()
    ));
    let told = String::from_utf8_lossy(&free.stderr);
    assert_eq!(
        (free.status.code(), &free.stdout[..]),
        (Some(1), &b"free text"[..])
    );
    assert!(
        told.contains("a note\n") && told.contains("would stay inside"),
        "{told}"
    );

    let names = heading.replace('\'', "").replace('\t', ",");
    let native = native(root, folder, &names, &contributed);
    assert_eq!(tried["output"], native);
    native
}

/// The same program by the machine's own Python.
fn native(root: &Path, folder: &Path, arguments: &str, records: &str) -> String {
    let input = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(&input, records).expect("written");
    let output = std::process::Command::new("python3")
        .args(["-B", "runtimes/python/native.py"])
        .arg(folder)
        .arg(arguments)
        .current_dir(root)
        .stdin(input.reopen().expect("the file"))
        .output()
        .expect("python3");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

fn propose_and_vote(world: &World, manifest: &str, runtime: &Path) {
    let founder = world.key("founder-0");
    let bundle = world.path("logit.bundle");
    let propose = format!("propose --manifest {manifest} --program {bundle} --key {founder}");
    world.refused(&propose, "its operator adds it");
    keep(world, runtime);
    let opened = world.json(&propose);
    let id = opened["proposal"].as_str().expect("an id");
    world.decide(&[id]);
}

fn keep(world: &World, runtime: &Path) -> Value {
    let config = world.path("node.toml");
    world.json(&format!(
        "node keep {} --config {config}",
        runtime.display()
    ))
}

/// A node that lost the runtime, or has another under its name, takes no lease; with it back, the job runs.
fn without_its_runtime(world: &World, request: &str, runtime: &Path) {
    let id = keep(world, runtime)["sha256"]
        .as_str()
        .expect("a name")
        .to_owned();
    let name = id.trim_start_matches("0x");
    let path = format!("{}/{}/{}", world.path("node/blobs"), &name[..2], &name[2..]);
    let mut bytes = std::fs::read(&path).expect("the runtime's blob");
    let half = bytes.len() / 2;
    bytes[half] ^= 1;
    std::fs::write(&path, bytes).expect("written over");
    assert_eq!(world.json(request)["job"], 2);
    std::thread::sleep(Duration::from_secs(3));
    let waiting = world.json("job show 2");
    assert_eq!(
        (&waiting["state"], &waiting["attempt"]),
        (&"requested".into(), &0.into()),
        "{waiting}"
    );
    std::fs::remove_file(&path).expect("removed");
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(world.json("job show 2")["state"], "requested");
    keep(world, runtime);
    let began = Instant::now();
    while world.json("job show 2")["state"] != "completed" {
        assert!(began.elapsed() < COMPILING, "{}", world.json("job show 2"));
        std::thread::sleep(Duration::from_millis(500));
    }
}
