//! A program from nothing to an output on mock data, by the verbs that a person types, in every language whose compiler is here.

use std::path::Path;
use std::process::Output;

use crate::by_hand::{binary, refusal, without_worker};
use serde_json::Value;

/// Languages with a scaffold.
const LANGUAGES: [&str; 6] = ["c", "zig", "rust", "python", "js", "sql"];

fn run(folder: &Path, line: &str) -> Output {
    binary()
        .current_dir(folder)
        .args(line.split_whitespace())
        .output()
        .expect("the binary starts")
}

/// Runs a verb; where a compiler, an interpreter or the worker is missing, says so and gives nothing.
fn json(folder: &Path, line: &str) -> Option<Value> {
    let output = run(folder, &format!("{line} --json"));
    let error = String::from_utf8_lossy(&output.stderr);
    let missing = [
        "no compiler for",
        "is approved with its interpreter",
        "no worker for SQL",
    ];
    if missing.iter().any(|words| error.contains(words)) {
        println!("skipped: {line}: {error}");
        return None;
    }
    assert_eq!(output.status.code(), Some(0), "{line}: {error}");
    Some(serde_json::from_slice(&output.stdout).expect("JSON"))
}

fn write(path: &Path, change: impl FnOnce(String) -> String) {
    let text = std::fs::read_to_string(path).expect("a file of the scaffold");
    std::fs::write(path, change(text)).expect("written");
}

#[test]
fn a_new_program_in_every_language_says_the_same() {
    let place = tempfile::tempdir().expect("a folder");
    let here = place.path();
    let mut done = 0;
    for language in LANGUAGES {
        let name = format!("means-{language}");
        if json(here, &format!("program new {name} --lang {language}")).is_none() {
            continue;
        }
        let Some(tried) = json(here, &format!("program test {name}")) else {
            continue;
        };
        assert_eq!(tried["refused"], Value::Null, "{tried}");
        let output: Value =
            serde_json::from_str(tried["output"].as_str().expect("text")).expect("JSON");
        // Group 1: 2, 4, 9, 5. Group 2: 7, 8, 6, 10. Group 3 has two people, group 4 one: they are left out.
        let rows = output.as_array().or(output["groups"].as_array());
        let means: Vec<_> = rows
            .expect("groups")
            .iter()
            .map(|group| {
                (
                    group["group"].as_u64(),
                    group["n"].as_u64(),
                    group["mean"].as_f64(),
                )
            })
            .collect();
        assert_eq!(
            means,
            [
                (Some(1), Some(4), Some(5.0)),
                (Some(2), Some(4), Some(7.75))
            ]
        );
        done += 1;
    }
    println!("{done} of {} languages", LANGUAGES.len());
}

#[test]
fn equal_sources_give_equal_bytes_wherever_they_lie() {
    for language in LANGUAGES {
        let [one, two] = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
        let long = two.path().join("somewhere/deep/down");
        std::fs::create_dir_all(&long).expect("a folder");
        let made = |here: &Path| {
            json(here, &format!("program new means --lang {language}"))?;
            json(here, "program build means means.bytes")
        };
        let (Some(first), Some(second)) = (made(one.path()), made(&long)) else {
            continue;
        };
        assert_eq!(first, second);
        let bytes = |here: &Path| std::fs::read(here.join("means.bytes")).expect("the bytes");
        assert!(bytes(one.path()) == bytes(&long));
        // A reader finds no place of this machine in them.
        let text = String::from_utf8_lossy(&bytes(one.path())).into_owned();
        assert!(!text.contains("collective-build-"), "{language}");

        write(&long.join("means/mock/records.csv"), |text| {
            format!("{text}1,1\n")
        });
        let third = json(&long, "program build means").expect("it builds");
        assert_eq!(third["sha256"], first["sha256"]);
        assert_ne!(third["source"], first["source"]);
    }
}

#[test]
fn what_is_wrong_with_a_folder_is_said() {
    let place = tempfile::tempdir().expect("a folder");
    let here = place.path();
    json(here, "program new means --lang c").expect("a folder");
    let refused = |line: &str, words: &str| refusal(run(here, line), line, words);
    refused("program new means --lang c", "is there already");
    refused("program test nowhere", "is no program's folder");
    refused(
        "program test means --columns group",
        "only --records and --runtime go with it",
    );
    let description = here.join("means/program.toml");
    let good = std::fs::read_to_string(&description).expect("the description");
    write(&description, |text| text.replace("maxRuns", "max_runs"));
    refused("program build means", "unknown field `max_runs`");
    std::fs::write(&description, &good).expect("written");
    std::os::unix::fs::symlink("/etc/passwd", here.join("means/src/passwords.h")).expect("a link");
    refused("program build means", "neither a file nor a folder");
    std::fs::remove_file(here.join("means/src/passwords.h")).expect("removed");
    if json(here, "program build means").is_none() {
        return;
    }
    write(&here.join("means/src/main.c"), |text| {
        text.replace("put(\"]}", "putt(\"]}")
    });
    refused("program build means", "undeclared identifier 'putt'");
    write(&here.join("means/src/main.c"), |text| {
        text.replace("putt(\"]}", "put(\"]")
    });
    let output = run(here, "program test means");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.contains("would stay inside: the output is not JSON"),
        "{said}"
    );
}

#[test]
fn a_query_is_built_where_nothing_runs_it() {
    let place = tempfile::tempdir().expect("a folder");
    let here = place.path();
    json(
        here,
        "program new means --lang sql --engine datafusion/1.0.0",
    )
    .expect("a folder");
    let built = json(here, "program build means means.sql").expect("it needs no compiler");
    let query = here.join("means/src/query.sql");
    let text = std::fs::read(&query).expect("the query");
    assert_eq!(std::fs::read(here.join("means.sql")).expect("bytes"), text);
    let named = json(here, "program hash means/src/query.sql").expect("a name");
    assert_eq!(built["sha256"], named["sha256"]);
    assert_eq!(built["build"], "sql");

    let refused = |line: &str, words: &str| {
        let mut binary = without_worker(here);
        binary.current_dir(here).args(line.split_whitespace());
        refusal(binary.output().expect("the binary starts"), line, words);
    };
    refused("program test means", "build it with `just sql`");
    refused("program new more --lang sql", "build it with `just sql`");
    refused(
        "program new more --lang c --engine datafusion/1.0.0",
        "--engine belongs to a query",
    );
    let long = format!(
        "-- {}\n{}",
        "x".repeat(16_384),
        String::from_utf8_lossy(&text)
    );
    std::fs::write(&query, long).expect("written");
    refused("program build means", "a query has 1 to 16384 bytes");
    std::fs::rename(&query, here.join("means/src/means.sql")).expect("renamed");
    refused("program build means", "the folder has no src/query.sql");
}

#[test]
fn a_missing_compiler_is_named_with_its_package() {
    let place = tempfile::tempdir().expect("a folder");
    let here = place.path();
    for (language, package) in [("c", "`ziglang`"), ("rust", "rustup")] {
        json(here, &format!("program new {language} --lang {language}")).expect("a folder");
        let output = binary()
            .current_dir(here)
            .args(["program", "build", language])
            .env("PATH", here)
            .env("HOME", here)
            .env_remove("XDG_CACHE_HOME")
            .env_remove("COLLECTIVE_ZIG")
            .env_remove("COLLECTIVE_RUSTC")
            .output();
        refusal(output.expect("the binary starts"), language, package);
    }
}
