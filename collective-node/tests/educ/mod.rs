//! A program in any language on the world's records: how many people of each education there are, and the mean of where they place
//! themselves. And what it has to say, worked out beside it.

// Each test that includes this uses what it needs.
#![allow(dead_code)]

use std::path::Path;

use collective_node::demo::election;
use serde_json::Value;

use crate::by_hand::World;
use crate::forge::Forge;

/// A program for the world's own source, which the scaffold's is not, in the clone; none, and why, where this machine cannot make it.
pub fn write_program(world: &World, forge: &Forge, language: &str) -> Option<String> {
    let name = format!("educ-{language}");
    let folder = forge.clone().join(&name);
    let made = world.run(&format!(
        "program new {} --lang {language}",
        folder.display()
    ));
    let error = String::from_utf8_lossy(&made.stderr);
    if error.contains("is approved with its interpreter") {
        println!("skipped: {error}");
        return None;
    }
    assert!(made.status.success(), "{error}");
    edit(&folder.join("program.toml"), |text| {
        text.replace("\"survey\"", "\"anes96\"")
            .replace("[\"group\", \"score\"]", "[\"educ\", \"selfLR\"]")
    });
    let source = serde_json::to_string_pretty(&election::source()).expect("JSON");
    edit(&folder.join("mock/source.json"), |_| source);
    let records = election::records().expect("the study").into_iter().take(40);
    let records: String = records
        .map(|record| String::from_utf8(record).expect("text"))
        .collect();
    edit(&folder.join("mock/records.csv"), |_| records);
    let (folder, cache) = (folder.display(), world.path("trial"));
    let tried = world.run(&format!("program test {folder} --cache {cache} --json"));
    let error = String::from_utf8_lossy(&tried.stderr);
    if error.contains("no compiler for") {
        println!("skipped: {error}");
        return None;
    }
    assert!(tried.status.success(), "{error}");
    let tried: Value = serde_json::from_slice(&tried.stdout).expect("JSON");
    assert_eq!(tried["accepted"], 40);
    assert_eq!(
        groups(tried["output"].as_str().expect("text")),
        reference(40, |_| true)
    );
    Some(name)
}

/// Writes a file anew.
pub fn edit(path: &Path, change: impl FnOnce(String) -> String) {
    let text = std::fs::read_to_string(path).expect("a file of the program");
    std::fs::write(path, change(text)).expect("written");
}

/// (education, people, mean of their self-placement), of the first rows of the study that were contributed.
pub fn reference(rows: usize, contributed: impl Fn(usize) -> bool) -> Vec<(u64, u64, f64)> {
    let mut groups = std::collections::BTreeMap::<u64, Vec<u64>>::new();
    let records = election::records().expect("the study");
    for (_, record) in records
        .iter()
        .take(rows)
        .enumerate()
        .filter(|(row, _)| contributed(*row))
    {
        let text = std::str::from_utf8(record).expect("text").trim_end();
        let fields: Vec<u64> = text
            .split(',')
            .map(|field| field.parse().expect("a number"))
            .collect();
        groups.entry(fields[7]).or_default().push(fields[2]);
    }
    let groups = groups.into_iter().filter(|(_, some)| some.len() >= 3);
    let mean = |some: &[u64]| some.iter().sum::<u64>() as f64 / some.len() as f64;
    groups
        .map(|(group, some)| (group, some.len() as u64, mean(&some)))
        .collect()
}

/// The same out of a program's output.
pub fn groups(output: &str) -> Vec<(u64, u64, f64)> {
    let output: Value = serde_json::from_str(output).expect("JSON");
    let group = |group: &Value| {
        let number = |name: &str| group[name].as_u64().expect("a number");
        (
            number("group"),
            number("n"),
            group["mean"].as_f64().expect("a number"),
        )
    };
    output["groups"]
        .as_array()
        .expect("groups")
        .iter()
        .map(group)
        .collect()
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
