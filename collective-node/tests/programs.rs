//! Programs out of a repository: from a folder that `program new` made to a proposal, over `file://` and smart HTTP, and on to a
//! deployed, merged, executed program.

mod by_hand;
mod forge;

use std::path::Path;

use by_hand::World;
use collective_node::demo::election;
use forge::Forge;
use serde_json::{Value, json};

/// A program for the world's own source, which the scaffold's is not, in the clone.
fn write_program(world: &World, forge: &Forge, language: &str) -> Option<String> {
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
    let tried = world.run(&format!("program test {} --json", folder.display()));
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

fn edit(path: &Path, change: impl FnOnce(String) -> String) {
    let text = std::fs::read_to_string(path).expect("a file of the program");
    std::fs::write(path, change(text)).expect("written");
}

/// (education, people, mean of their self-placement), of the first rows of the study that were contributed.
fn reference(rows: usize, contributed: impl Fn(usize) -> bool) -> Vec<(u64, u64, f64)> {
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
fn groups(output: &str) -> Vec<(u64, u64, f64)> {
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

fn recipient(world: &World) -> String {
    let text = std::fs::read(world.path("manifests/mean.json")).expect("a manifest");
    let manifest: Value = serde_json::from_slice(&text).expect("JSON");
    manifest["recipient"]["age"]
        .as_str()
        .expect("a recipient")
        .to_owned()
}

#[test]
fn a_branch_becomes_a_proposal_that_names_the_commit() {
    let temporary = tempfile::tempdir().expect("a folder");
    let Some(forge) = Forge::start(&temporary.path().join("forge")) else {
        return;
    };
    let world = World::start_with(temporary.path().join("world"), &[]);
    let Some(name) = write_program(&world, &forge, "c") else {
        return;
    };
    let commit = forge.push("feature/educ");
    let tree = forge.git(&format!("rev-parse HEAD:{name}"));
    let (recipient, founder) = (recipient(&world), world.key("founder-0"));
    let saved = world.path("educ.json");
    let propose = |more: &str| format!("propose --recipient {recipient} --key {founder} {more}");
    let over = |address: &str| {
        let line = format!("--branch feature/educ --repository {address} --save {saved}");
        world.json(&propose(&line))
    };
    let opened = over(&forge.file());
    assert_eq!(opened["origin"]["commit"], commit);
    assert_eq!(opened["origin"]["tree"], tree);
    assert_eq!(opened["origin"]["path"], name);
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(&saved).expect("saved")).expect("JSON");
    assert_eq!(
        world.json(&format!("manifest check {saved}"))["digest"],
        opened["manifest"]
    );

    // What the manifest names is at the node, and is what the folder makes.
    let folder = forge.clone().join(&name);
    let built = world.json(&format!("program build {}", folder.display()));
    assert_eq!(manifest["program"]["sha256"], built["sha256"]);
    assert_eq!(manifest["program"]["origin"]["source"], built["source"]);
    for blob in [&built["sha256"], &built["source"], &opened["manifest"]] {
        let url = format!(
            "{}/blobs/{}",
            world.told("node"),
            blob.as_str().expect("a name")
        );
        let runtime = tokio::runtime::Runtime::new().expect("threads");
        let found =
            runtime.block_on(async { reqwest::get(url).await.expect("an answer").status() });
        assert!(found.is_success(), "{blob}");
    }
    // Over HTTP it is the same program of another repository.
    let again = over(&forge.http);
    assert_eq!(again["origin"]["repository"], forge.http);
    assert_eq!(again["origin"]["source"], opened["origin"]["source"]);

    refusals(&world, &forge, &name, &propose);
}

fn refusals(world: &World, forge: &Forge, name: &str, propose: &dyn Fn(&str) -> String) {
    let refused = |more: &str, words: &str| world.refused(&propose(more), words);
    let file = forge.file();
    refused(
        &format!("--branch nothing --repository {file}"),
        "has no nothing: was it pushed?",
    );
    refused(
        &format!("--branch main --repository {file}"),
        "no folder of this commit has a program.toml",
    );
    refused(
        &format!("--branch feature/educ --repository {file}.git"),
        "cannot read",
    );
    refused(
        &format!("--branch feature/educ --repository {file} --program other"),
        "has no folder other",
    );
    refused(
        "--branch feature/educ --repository ext::sh",
        "no address of a repository",
    );
    refused(
        "--branch feature/educ --repository http://127.0.0.1:1/x.git",
        "cannot read",
    );
    let wrong = |line: &str| {
        let output = world.run(&propose(line));
        assert_eq!(
            output.status.code(),
            Some(2),
            "{line}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    wrong("--branch=--upload-pack=id --repository x");
    wrong(&format!(
        "--branch feature/educ --repository {file} --manifest x"
    ));
    wrong("--repository x");

    let folder = forge.clone().join(name);
    // Another declaration than the charter's.
    let declared = std::fs::read_to_string(folder.join("mock/source.json")).expect("a declaration");
    edit(&folder.join("mock/source.json"), |text| {
        text.replace("120", "119")
    });
    forge.push("other-declaration");
    refused(
        &format!("--branch other-declaration --repository {file}"),
        "in another way than the collective's charter",
    );
    std::fs::write(folder.join("mock/source.json"), declared).expect("written");
    // Links and files that are no text.
    std::os::unix::fs::symlink("/etc/passwd", folder.join("src/link.h")).expect("a link");
    forge.push("link");
    refused(
        &format!("--branch link --repository {file}"),
        "no link and no submodule",
    );
    std::fs::remove_file(folder.join("src/link.h")).expect("removed");
    std::fs::write(folder.join("src/data.h"), b"\xff\xfe").expect("written");
    forge.push("binary");
    refused(
        &format!("--branch binary --repository {file}"),
        "src/data.h is no text",
    );
    std::fs::write(folder.join("src/data.h"), "// \u{202e}").expect("written");
    forge.push("hidden");
    refused(
        &format!("--branch hidden --repository {file}"),
        "src/data.h, line 1: the character U+202E",
    );
    std::fs::remove_file(folder.join("src/data.h")).expect("removed");
    // Two programs, of which one has to be named.
    let second = format!(
        "program new {} --lang c",
        forge.clone().join("second").display()
    );
    world.json(&second);
    forge.push("two");
    refused(
        &format!("--branch two --repository {file}"),
        "which program? Name one with --program:",
    );
    let opened = world.json(&propose(&format!(
        "--branch two --repository {file} --program {name}"
    )));
    assert_eq!(opened["origin"]["path"], json!(name));
    // A hook and a setting of the repository run nothing.
    let marker = forge.folder.join("ran");
    let hook = format!("#!/bin/sh\ntouch {}\n", marker.display());
    for hook_name in ["post-checkout", "reference-transaction", "post-update"] {
        let path = forge.folder.join("origin.git/hooks").join(hook_name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(&path, &hook).expect("written");
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("executable");
    }
    edit(&folder.join("program.toml"), |text| {
        text.replace("maxRuns = 1", "maxRuns = 2")
    });
    // The hooks above are the forge's own for pushes; what is fetched must not start one.
    forge.push("third");
    let _ = std::fs::remove_file(&marker);
    world.json(&propose(&format!(
        "--branch third --repository {file} --program {name}"
    )));
    assert!(!marker.exists(), "fetching ran a hook");
}
