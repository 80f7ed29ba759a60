//! A program in each language, from a scaffolded folder to an output that equals what is worked out beside it: changed, tried out,
//! pushed, proposed, reviewed, voted on, run.
//!
//! A language whose compiler or interpreter is not here is skipped, with the reason: `COLLECTIVE_PYTHON_RUNTIME` and
//! `COLLECTIVE_JAVASCRIPT_RUNTIME` name the interpreters.

mod by_hand;
mod educ;
mod forge;

use std::time::{Duration, Instant};

use by_hand::World;
use educ::{edit, groups, recipient, reference, write_program};
use forge::Forge;

/// Compiling an interpreter takes half a minute, and more on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// Fewest people of a group that is told, once the scaffold is changed: one group of the study has fewer.
const SMALLEST: u64 = 13;

/// A language, the file that its program begins with, and how its limit stands there.
const LANGUAGES: [(&str, &str, &str); 5] = [
    ("python", "main.py", "SMALLEST = "),
    ("js", "main.js", "const SMALLEST = "),
    ("c", "main.c", "SMALLEST = "),
    ("zig", "main.zig", "const smallest = "),
    ("rust", "lib.rs", "const SMALLEST: usize = "),
];

/// A program that members were asked to vote on.
struct Proposed {
    language: &'static str,
    id: String,
    manifest: String,
}

#[test]
fn a_program_in_every_language_goes_from_a_folder_to_its_output() {
    let temporary = tempfile::tempdir().expect("a folder");
    let Some(forge) = Forge::start(&temporary.path().join("forge")) else {
        return;
    };
    let world = World::start_with(temporary.path().join("world"), &[]);
    let config = world.path("node.toml");
    for variable in ["COLLECTIVE_PYTHON_RUNTIME", "COLLECTIVE_JAVASCRIPT_RUNTIME"] {
        if let Ok(runtime) = std::env::var(variable) {
            world.json(&format!("node keep {runtime} --config {config}"));
        }
    }
    let proposed: Vec<Proposed> = LANGUAGES
        .into_iter()
        .filter_map(|(language, file, limit)| {
            let name = write_program(&world, &forge, language)?;
            change(&world, &forge, &format!("{name}/src/{file}"), limit, &name);
            Some(propose(&world, &forge, language, &name))
        })
        .collect();
    let ids: Vec<_> = proposed.iter().map(|it| it.id.as_str()).collect();
    world.decide(&ids);
    for program in &proposed {
        assert_eq!(output(&world, program), expected(944, |row| row % 10 != 9));
        println!("{}: its output is right", program.language);
    }
    println!("{} of {} languages", proposed.len(), LANGUAGES.len());
}

/// What a program says that leaves out groups of fewer than [`SMALLEST`].
fn expected(rows: usize, contributed: impl Fn(usize) -> bool) -> Vec<(u64, u64, f64)> {
    let mut groups = reference(rows, contributed);
    groups.retain(|(_, people, _)| *people >= SMALLEST);
    groups
}

/// Makes the scaffold's program another one, and tries that out.
fn change(world: &World, forge: &Forge, file: &str, limit: &str, name: &str) {
    let (was, is) = (format!("{limit}3"), format!("{limit}{SMALLEST}"));
    edit(&forge.clone().join(file), |text| {
        assert!(text.contains(&was), "{file}: {text}");
        text.replace(&was, &is)
    });
    let folder = forge.clone().join(name);
    let cache = world.path("trial");
    let tried = world.json(&format!(
        "program test {} --cache {cache}",
        folder.display()
    ));
    let told = groups(tried["output"].as_str().expect("text"));
    assert_eq!(told, expected(40, |_| true));
}

/// Pushes a branch, opens a proposal on it, and reviews that.
fn propose(world: &World, forge: &Forge, language: &'static str, name: &str) -> Proposed {
    forge.push(language);
    let (recipient, founder) = (recipient(world), world.key("founder-0"));
    let manifest = world.path(&format!("{name}.json"));
    let opened = world.json(&format!(
        "propose --branch {language} --repository {} --program {name} --recipient {recipient} --save {manifest} --key {founder}",
        forge.file()
    ));
    let id = opened["proposal"].as_str().expect("an id").to_owned();
    let cache = world.path("trial");
    let review = world.json(&format!("review {id} --cache {cache}"));
    let approval = &review["approvals"][0];
    assert_eq!(approval["sameBytes"], "yes", "{review}");
    let told = groups(approval["trial"]["output"].as_str().expect("text"));
    assert_eq!(told, expected(40, |_| true));
    Proposed {
        language,
        id,
        manifest,
    }
}

/// What a requester gets of a run.
fn output(world: &World, program: &Proposed) -> Vec<(u64, u64, f64)> {
    let (manifest, requester) = (&program.manifest, world.key("requester"));
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
        assert!(began.elapsed() < PATIENCE, "{}: {shown}", program.language);
        std::thread::sleep(Duration::from_millis(300));
    }
    let identity = world.told("identity");
    let output = world.run(&format!("job output {job} --identity {identity}"));
    groups(&String::from_utf8(output.stdout).expect("text"))
}
