//! A program in any language on the world's records: how many people of each education there are, and the mean of where they place
//! themselves. And what it has to say, worked out beside it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use collective_node::demo::election;
use serde_json::Value;

use crate::by_hand::World;
use crate::forge::Forge;

/// Rows of the study among a program's mock records.
const MOCK: usize = 40;

/// Compiling an interpreter takes half a minute, and minutes on a busy machine; a node makes programs ready one after another.
const PATIENCE: Duration = Duration::from_secs(600);

/// A program for the world's own source, which the scaffold's is not, in the clone; none, and why, where this machine cannot make it.
pub fn write_program(world: &World, forge: &Forge, language: &str) -> Option<String> {
    let name = format!("educ-{language}");
    let folder = forge.clone().join(&name);
    let made = world.run(&format!(
        "program new {} --lang {language}",
        folder.display()
    ));
    let error = String::from_utf8_lossy(&made.stderr);
    if error.contains("is approved with its interpreter") || error.contains("no worker for SQL") {
        println!("skipped: {error}");
        return None;
    }
    assert!(made.status.success(), "{error}");
    read_the_study(&folder);
    let (folder, cache) = (folder.display(), world.path("trial"));
    let tried = world.run(&format!("program test {folder} --cache {cache} --json"));
    let error = String::from_utf8_lossy(&tried.stderr);
    if error.contains("no compiler for") {
        println!("skipped: {error}");
        return None;
    }
    assert!(tried.status.success(), "{error}");
    let tried: Value = serde_json::from_slice(&tried.stdout).expect("JSON");
    assert_eq!(tried["accepted"], MOCK);
    assert_eq!(
        groups(tried["output"].as_str().expect("text")),
        of_mock(language, 3)
    );
    Some(name)
}

/// Makes the scaffold's program one that reads the study.
pub fn read_the_study(folder: &Path) {
    edit(&folder.join("program.toml"), |text| {
        text.replace("\"survey\"", "\"anes96\"")
            .replace("[\"group\", \"score\"]", "[\"educ\", \"selfLR\"]")
    });
    let query = folder.join("src/query.sql");
    if query.exists() {
        // Other programs know columns by their places.
        edit(&query, |text| {
            text.replace("SELECT \"group\"", "SELECT educ AS \"group\"")
                .replace("BY \"group\"", "BY educ")
                .replace("(score)", "(selfLR)")
                .replace("FROM survey", "FROM anes96")
        });
    }
    let source = serde_json::to_string_pretty(&election::source()).expect("JSON");
    edit(&folder.join("mock/source.json"), |_| source);
    let records = election::records()
        .expect("the study")
        .into_iter()
        .take(MOCK);
    let records: String = records
        .map(|record| String::from_utf8(record).expect("text"))
        .collect();
    edit(&folder.join("mock/records.csv"), |_| records);
}

/// Writes a file anew.
pub fn edit(path: &Path, change: impl FnOnce(String) -> String) {
    let text = std::fs::read_to_string(path).expect("a file of the program");
    std::fs::write(path, change(text)).expect("written");
}

/// What a program says of its mock records that leaves out groups of fewer than `smallest`: education, people, mean of their
/// self-placement.
pub fn of_mock(language: &str, smallest: usize) -> Vec<(u64, u64, f64)> {
    expected(language, smallest, |row| row < MOCK)
}

/// The same of what was contributed for statistics.
pub fn of_contributed(language: &str, smallest: usize) -> Vec<(u64, u64, f64)> {
    expected(language, smallest, |row| row % 10 != 9)
}

fn expected(
    language: &str,
    smallest: usize,
    is_read: impl Fn(usize) -> bool,
) -> Vec<(u64, u64, f64)> {
    let mut groups = BTreeMap::<u64, Vec<u64>>::new();
    let records = election::records().expect("the study");
    for (_, record) in records.iter().enumerate().filter(|(row, _)| is_read(*row)) {
        let text = std::str::from_utf8(record).expect("text").trim_end();
        let fields: Vec<u64> = text
            .split(',')
            .map(|field| field.parse().expect("a number"))
            .collect();
        groups.entry(fields[7]).or_default().push(fields[2]);
    }
    let read: usize = groups.values().map(Vec::len).sum();
    groups.retain(|_, some| some.len() >= smallest);
    if language == "sql" {
        leave_out_with(read, smallest, &mut groups);
    }
    let mean = |some: &[u64]| {
        let (sum, n) = (some.iter().sum::<u64>(), some.len() as u64);
        match language {
            "sql" => (sum / n) as f64 + (sum % n) as f64 / n as f64,
            _ => sum as f64 / n as f64,
        }
    };
    groups
        .iter()
        .map(|(group, some)| (*group, some.len() as u64, mean(some)))
        .collect()
}

/// SPEC "Groups of a query", 4: a few who are left out could be worked out of a total, so that others are left out with them.
fn leave_out_with(read: usize, smallest: usize, groups: &mut BTreeMap<u64, Vec<u64>>) {
    let left_out =
        |groups: &BTreeMap<u64, Vec<u64>>| read - groups.values().map(Vec::len).sum::<usize>();
    while (1..smallest).contains(&left_out(groups)) {
        let fewest = groups.iter().min_by_key(|(_, some)| some.len());
        let Some(group) = fewest.map(|(group, _)| *group) else {
            return;
        };
        groups.remove(&group);
    }
}

/// The same out of a program's output.
pub fn groups(output: &str) -> Vec<(u64, u64, f64)> {
    let output: Value = serde_json::from_str(output).expect("JSON");
    // A query's output is its rows.
    let rows = output.as_array().or(output["groups"].as_array());
    let group = |group: &Value| {
        let number = |name: &str| group[name].as_u64().expect("a number");
        (
            number("group"),
            number("n"),
            group["mean"].as_f64().expect("a number"),
        )
    };
    rows.expect("groups").iter().map(group).collect()
}

/// Whom the world's requester has as recipient.
pub fn recipient(world: &World) -> String {
    let text = std::fs::read(world.path("manifests/mean.json")).expect("a manifest");
    let manifest: Value = serde_json::from_slice(&text).expect("JSON");
    manifest["recipient"]["age"]
        .as_str()
        .expect("a recipient")
        .to_owned()
}

/// Waits until the node says this of a manifest.
pub fn until(world: &World, manifest: &Value, state: &str) -> Value {
    let manifest = manifest.as_str().expect("a digest");
    let began = Instant::now();
    loop {
        let output = world.run(&format!("program status {manifest} --json"));
        let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        if said["state"] == state {
            let runs = matches!(state, "ready" | "unreachable-repository");
            assert_eq!(output.status.success(), runs, "{said}");
            return said;
        }
        assert!(
            began.elapsed() < PATIENCE,
            "never {state}: {said} {}",
            String::from_utf8_lossy(&output.stderr)
        );
        std::thread::sleep(Duration::from_millis(300));
    }
}

/// Has a manifest run, and opens what came out.
pub fn output(world: &World, manifest: &str) -> String {
    let requester = world.key("requester");
    let asked = world.json(&format!(
        "job request --manifest {manifest} --key {requester}"
    ));
    let job = &asked["job"];
    let began = Instant::now();
    loop {
        let shown = world.json(&format!("job show {job}"));
        if shown["state"] == "completed" {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{manifest}: {shown}");
        std::thread::sleep(Duration::from_millis(300));
    }
    let identity = world.told("identity");
    let output = world.run(&format!("job output {job} --identity {identity}"));
    String::from_utf8(output.stdout).expect("text")
}
