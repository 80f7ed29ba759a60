//! A program in each language, from a scaffolded folder to an output that equals what is worked out beside it: changed, tried out,
//! pushed, proposed, reviewed, voted on, deployed, run.
//!
//! A language whose compiler, interpreter or worker is not here is skipped, with the reason: `COLLECTIVE_PYTHON_RUNTIME` and
//! `COLLECTIVE_JAVASCRIPT_RUNTIME` name the interpreters, and `just sql` makes the worker for queries.

use crate::by_hand::World;
use crate::educ::{edit, groups, of_contributed, of_mock, output, recipient, until, write_program};
use crate::forge;
use crate::forge::Forge;
use serde_json::Value;

/// Fewest people of a group that is told, once the scaffold is changed: one group of what was contributed has fewer.
const SMALLEST: usize = 14;

/// A language, the file of its folder that says how small a group may be, and how that stands there.
const LANGUAGES: [(&str, &str, &str); 6] = [
    ("python", "src/main.py", "SMALLEST = "),
    ("js", "src/main.js", "const SMALLEST = "),
    ("c", "src/main.c", "SMALLEST = "),
    ("zig", "src/main.zig", "const smallest = "),
    ("rust", "src/lib.rs", "const SMALLEST: usize = "),
    ("sql", "program.toml", "minimumGroup = "),
];

/// A program that members were asked to vote on.
struct Proposed {
    language: &'static str,
    id: String,
    digest: Value,
    manifest: String,
}

#[test]
fn a_program_in_every_language_goes_from_a_folder_to_its_output() {
    if forge::comes_later() {
        return;
    }
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
            change(&world, &forge, language, &name, (file, limit));
            Some(propose(&world, &forge, language, &name))
        })
        .collect();
    let ids: Vec<_> = proposed.iter().map(|it| it.id.as_str()).collect();
    world.decide(&ids);
    for program in &proposed {
        until(&world, &program.digest, "ready");
        let told = groups(&output(&world, &program.manifest));
        assert_eq!(told, of_contributed(program.language, SMALLEST));
        println!("{}: its output is right", program.language);
    }
    println!("{} of {} languages", proposed.len(), LANGUAGES.len());
}

/// Makes the scaffold's program another one, and tries that out.
fn change(world: &World, forge: &Forge, language: &str, name: &str, (file, limit): (&str, &str)) {
    let (was, is) = (format!("{limit}3"), format!("{limit}{SMALLEST}"));
    let folder = forge.clone().join(name);
    edit(&folder.join(file), |text| {
        assert!(text.contains(&was), "{file}: {text}");
        text.replace(&was, &is)
    });
    let cache = world.path("trial");
    let tried = world.json(&format!(
        "program test {} --cache {cache}",
        folder.display()
    ));
    let told = groups(tried["output"].as_str().expect("text"));
    assert_eq!(told, of_mock(language, SMALLEST));
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
    assert_eq!(told, of_mock(language, SMALLEST));
    Proposed {
        language,
        id,
        digest: opened["manifest"].clone(),
        manifest,
    }
}
