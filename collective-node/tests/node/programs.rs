//! Programs out of a repository: from a folder that `program new` made to a proposal, over `file://` and smart HTTP, and on to a
//! deployed, merged, executed program.

use crate::by_hand;
use crate::forge;
use std::path::Path;

use crate::by_hand::{Running, World};
use crate::educ::{edit, groups, of_contributed, output, recipient, until, write_program};
use crate::forge::Forge;
use serde_json::{Value, json};

#[test]
fn a_branch_becomes_a_proposal_that_names_the_commit() {
    if forge::comes_later() {
        return;
    }
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

/// A forge, a collective, and its node as a process of its own, which fetches from the forge and merges there.
struct Place {
    world: World,
    forge: Forge,
    _node: Running,
    _temporary: tempfile::TempDir,
}

impl Place {
    fn start() -> Option<Self> {
        if forge::comes_later() {
            return None;
        }
        let temporary = tempfile::tempdir().expect("a folder");
        let forge = Forge::start(&temporary.path().join("forge"))?;
        let world = World::start(temporary.path().join("world"));
        std::fs::write(world.path("forge.token"), format!("{}\n", forge::TOKEN)).expect("written");
        let config = world.path("node.toml");
        edit(Path::new(&config), |text| {
            let (file, http) = (forge.file(), &forge.http);
            let origin = forge.origin();
            format!(
                "{text}\n[programs]\nrepositories = [\"{file}\", \"{http}\"]\nmerge_into = \"main\"\n\
                 tokens = {{ \"{origin}\" = \"forge.token\" }}\n"
            )
        });
        if let Some(runtime) = std::env::var_os("COLLECTIVE_PYTHON_RUNTIME") {
            world.json(&format!(
                "node keep {} --config {config}",
                runtime.to_string_lossy()
            ));
        }
        let (node, _) = by_hand::start_node(&config);
        Some(Self {
            world,
            forge,
            _node: node,
            _temporary: temporary,
        })
    }

    /// Proposes; what it printed.
    fn propose(&self, more: &str) -> Value {
        let (recipient, founder) = (recipient(&self.world), self.world.key("founder-0"));
        let recipient = if more.contains("--branch") {
            format!("--recipient {recipient}")
        } else {
            String::new()
        };
        self.world
            .json(&format!("propose {recipient} --key {founder} {more}"))
    }

    /// Votes for proposals and has them executed.
    fn decide(&self, opened: &[&Value]) {
        let ids = opened.iter();
        let ids: Vec<_> = ids
            .map(|it| it["proposal"].as_str().expect("an id"))
            .collect();
        self.world.decide(&ids);
    }

    /// Waits until the node says this of a manifest.
    fn until(&self, manifest: &Value, state: &str) -> Value {
        until(&self.world, manifest, state)
    }

    fn statuses(&self) -> Vec<Value> {
        self.world
            .json("program status")
            .as_array()
            .expect("an array")
            .clone()
    }
}

/// From a folder on a branch to a program that ran, and a branch that the forge shows as merged.
fn story(language: &str, address: impl Fn(&Forge) -> String) {
    let Some(place) = Place::start() else {
        return;
    };
    let (world, forge) = (&place.world, &place.forge);
    let Some(name) = write_program(world, forge, language) else {
        return;
    };
    let commit = forge.push("educ");
    let saved = world.path("educ.json");
    let opened = place.propose(&format!(
        "--branch educ --repository {} --save {saved}",
        address(forge)
    ));
    // Main moves on while people vote, and somebody merges what nobody voted on.
    forge.git("checkout --quiet -B main origin/main");
    let other = forge.clone().join("other");
    world.json(&format!("program new {} --lang c", other.display()));
    let unapproved = forge.push("main");
    assert_eq!(place.statuses(), Vec::<Value>::new());
    place.decide(&[&opened]);

    let manifest = &opened["manifest"];
    let ready = place.until(manifest, "ready");
    let detail = ready["detail"].as_str().expect("words");
    assert!(
        detail.starts_with("its source is that of the commit and makes its bytes with"),
        "{detail}"
    );
    assert_eq!(ready["origin"]["path"], name);
    assert_eq!(place.statuses().len(), 1, "a merge is no approval");
    // Two parents, in the order of a merge into main; the message names what was voted on.
    assert_eq!(ready["merge"]["state"], "merged", "{ready}");
    let tip = forge.bare("rev-parse main");
    assert_eq!(ready["merge"]["commit"], tip);
    assert_eq!(
        forge.bare("rev-list --parents -n 1 main"),
        format!("{tip} {unapproved} {commit}")
    );
    assert!(
        forge
            .bare("log -1 --format=%B main")
            .contains(manifest.as_str().expect("a digest"))
    );
    assert_eq!(forge.bare("log -1 --format=%an main"), "collective node");
    assert_eq!(
        forge.bare(&format!("rev-parse main:{name}")),
        forge.bare(&format!("rev-parse {commit}:{name}"))
    );

    let told = groups(&output(world, &saved));
    assert_eq!(told, of_contributed(language, 3));

    // Taken back, and that is what the node says.
    let revoked = place.propose(&format!(
        "--revoke-program {}",
        manifest.as_str().expect("a digest")
    ));
    place.decide(&[&revoked]);
    place.until(manifest, "revoked");
    let request = format!(
        "job request --manifest {saved} --key {}",
        world.key("requester")
    );
    assert_eq!(world.run(&request).status.code(), Some(1));
    assert_eq!(forge.bare("rev-parse main"), tip);
}

#[test]
fn a_c_program_goes_from_a_branch_to_its_output_and_is_merged() {
    story("c", |forge| forge.http.clone());
}

#[test]
fn a_python_program_goes_from_a_branch_to_its_output_and_is_merged() {
    story("python", Forge::file);
}

#[test]
fn a_query_goes_from_a_branch_to_its_output_and_is_merged() {
    story("sql", Forge::file);
}

#[test]
fn what_is_not_as_approved_is_said_with_who_is_at_fault() {
    let Some(place) = Place::start() else {
        return;
    };
    let (world, forge) = (&place.world, &place.forge);
    let Some(name) = write_program(world, forge, "c") else {
        return;
    };
    let first = forge.push("first");
    let folder = forge.clone().join(&name);
    edit(&folder.join("src/main.c"), |text| {
        text.replace("SMALLEST = 3", "SMALLEST = 4")
    });
    let second = forge.push("second");
    let (saved, bytes) = (world.path("educ.json"), world.path("educ.wasm"));
    let branch = |name: &str| {
        place.propose(&format!(
            "--branch {name} --repository {} --save {saved}",
            forge.http
        ))
    };
    let honest = branch("second");
    world.json(&format!("program build {} {bytes}", folder.display()));
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(&saved).expect("saved")).expect("JSON");
    // The same manifest with something that is not so.
    let altered = |file: &str, change: &dyn Fn(&mut Value)| {
        let mut altered = manifest.clone();
        change(&mut altered);
        let path = world.path(file);
        std::fs::write(&path, altered.to_string()).expect("written");
        path
    };
    let propose = |path: &str| place.propose(&format!("--manifest {path} --program {bytes}"));
    let other_commit = propose(&altered("commit.json", &|it| {
        it["program"]["origin"]["commit"] = json!(first)
    }));
    let no_commit = propose(&altered("nowhere.json", &|it| {
        it["program"]["origin"]["commit"] = json!("0".repeat(40))
    }));
    let other_source = propose(&altered("source.json", &|it| {
        it["program"]["origin"]["source"] = it["program"]["sha256"].clone();
    }));
    let mean = world.path("programs/mean.wasm");
    let mean_is = world.json(&format!("program hash {mean}"))["sha256"].clone();
    let other_bytes = altered("bytes.json", &|it| {
        it["program"]["sha256"] = mean_is.clone()
    });
    let other_bytes = place.propose(&format!("--manifest {other_bytes} --program {mean}"));
    let elsewhere = propose(&altered("elsewhere.json", &|it| {
        it["program"]["origin"]["repository"] = json!("https://forge.invalid/programs.git");
    }));
    let other_build = altered("build.json", &|it| {
        it["program"]["origin"]["build"] = json!("c zig-0.1.0");
        it["program"]["sha256"] = mean_is.clone();
    });
    let other_build = place.propose(&format!("--manifest {other_build} --program {mean}"));
    // No compiler of another language explains other bytes.
    let other_language = altered("language.json", &|it| {
        it["program"]["origin"]["build"] = json!("rust rustc-1.0.0");
        it["program"]["sha256"] = mean_is.clone();
    });
    let other_language = place.propose(&format!("--manifest {other_language} --program {mean}"));
    // Its bytes go missing before it is executed.
    let lost = propose(&altered("lost.json", &|it| it["maxRuns"] = json!(7)));
    let digest = lost["manifest"]
        .as_str()
        .expect("a digest")
        .trim_start_matches("0x")
        .to_owned();
    let blob = format!(
        "{}/{}/{}",
        world.path("node/blobs"),
        &digest[..2],
        &digest[2..]
    );
    let kept = std::fs::read(&blob).expect("the manifest's blob");
    std::fs::remove_file(&blob).expect("removed");

    place.decide(&[
        &honest,
        &other_commit,
        &no_commit,
        &other_source,
        &other_bytes,
        &elsewhere,
        &other_build,
        &other_language,
        &lost,
    ]);

    let says = |opened: &Value, state: &str, words: &str| {
        let said = place.until(&opened["manifest"], state);
        let detail = said["detail"].as_str().expect("words");
        assert!(detail.contains(words), "{said}");
        said
    };
    assert_eq!(
        says(&honest, "ready", "makes its bytes with c zig-")["merge"]["state"],
        "merged"
    );
    let differs = says(&other_commit, "differs", "of the commit is tree");
    assert!(
        differs["detail"]
            .as_str()
            .expect("words")
            .contains("its proposer wrote what is not so")
    );
    assert_eq!(differs["merge"], Value::Null, "what differs is not merged");
    says(&no_commit, "differs", "has no commit 0000");
    says(&other_source, "differs", "members were shown");
    says(&other_bytes, "differs", "its proposer built something else");
    says(
        &elsewhere,
        "ready",
        "does not list https://forge.invalid/programs.git",
    );
    says(
        &other_build,
        "ready",
        "taken by their hash and not made again: the bytes were made with c zig-0.1.0, here is c zig-",
    );
    says(
        &other_language,
        "differs",
        "its proposer built something else",
    );
    says(&lost, "missing", "the manifest is not here");
    std::fs::write(&blob, kept).expect("written");
    place.until(&lost["manifest"], "ready");
    let main = forge.bare("rev-parse main");
    assert!(forge.bare(&format!("rev-list {main}")).contains(&second));

    // A commit that changes more than its program's folder, one with a file in it that no reviewer is shown, one of a folder that main
    // has changed, too, and one that contradicts main, are for people to merge.
    std::fs::write(forge.clone().join("README"), "more\n").expect("written");
    edit(&folder.join("program.toml"), |text| {
        text.replace("maxRuns = 1", "maxRuns = 2")
    });
    forge.push("wide");
    let wide = branch("wide");
    forge.git(&format!("checkout --quiet -B dotted {second}"));
    std::fs::write(folder.join(".envrc"), "id\n").expect("written");
    edit(&folder.join("program.toml"), |text| {
        text.replace("maxRuns = 1", "maxRuns = 6")
    });
    forge.push("dotted");
    let dotted = branch("dotted");
    forge.git(&format!("checkout --quiet -B beside {second}"));
    edit(&folder.join("src/main.c"), |text| {
        format!("// Beside.\n{text}")
    });
    forge.push("beside");
    let beside = branch("beside");
    forge.git(&format!("checkout --quiet -B narrow {second}"));
    edit(&folder.join("program.toml"), |text| {
        text.replace("maxRuns = 1", "maxRuns = 3")
    });
    forge.push("narrow");
    let narrow = branch("narrow");
    forge.git("fetch --quiet origin");
    forge.git("checkout --quiet -B main origin/main");
    edit(&folder.join("program.toml"), |text| {
        text.replace("maxRuns = 1", "maxRuns = 4")
    });
    let moved = forge.push("main");
    place.decide(&[&wide, &dotted, &beside, &narrow]);
    let merge = |opened: &Value| place.until(&opened["manifest"], "ready")["merge"].clone();
    let by_hand = merge(&wide);
    assert_eq!(by_hand["state"], "by-hand");
    assert!(
        by_hand["reason"]
            .as_str()
            .expect("words")
            .contains("changes README, too"),
        "{by_hand}"
    );
    for (opened, words) in [
        (&dotted, format!("changes {name}/.envrc, too")),
        (&beside, format!("main has changed {name}, too")),
    ] {
        let by_hand = merge(opened);
        assert_eq!(by_hand["state"], "by-hand");
        let reason = by_hand["reason"].as_str().expect("words");
        assert!(reason.contains(&words), "{by_hand}");
    }
    assert_eq!(
        merge(&narrow),
        json!({"state": "by-hand", "reason": "the commit and main contradict each other"})
    );
    assert_eq!(forge.bare("rev-parse main"), moved);

    // One that is approved while the forge is away runs all the same.
    forge.git(&format!("checkout --quiet -B away {second}"));
    edit(&folder.join("program.toml"), |text| {
        text.replace("maxRuns = 1", "maxRuns = 5")
    });
    forge.push("away");
    let away = branch("away");
    let (here, gone) = (
        forge.folder.join("origin.git"),
        forge.folder.join("gone.git"),
    );
    std::fs::rename(&here, &gone).expect("moved");
    place.decide(&[&away]);
    says(&away, "unreachable-repository", "run all the same");
    assert_eq!(groups(&output(world, &saved)), of_contributed("c", 4));
    std::fs::rename(&gone, &here).expect("moved back");
    place.until(&away["manifest"], "ready");

    // Time passes.
    world.pass(&(91 * 86_400).to_string());
    says(&honest, "expired", "its time is over");
    // Whatever was asked of it, the token is in no log and on no command line of this story's files.
    assert!(
        place
            .statuses()
            .iter()
            .all(|it| !it.to_string().contains(forge::TOKEN))
    );
}
