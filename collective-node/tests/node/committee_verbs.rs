//! `collective committee …` as operators type it, against holders that run.

use crate::ceremony_world;
use std::path::Path;
use std::process::{Command, Output};

use crate::ceremony_world::CeremonyWorld;
use collective::committee::ceremony::plan::Plan;
use collective::seal::x25519;
use collective_node::demo::PASSPHRASE;
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn operators_make_keep_and_hand_on_a_key() {
    let mut at = CeremonyWorld::found(4).await;
    let deployment = serde_json::to_vec(&at.world.deployment).expect("JSON");
    std::fs::write(at.folder.path().join("deployment.json"), deployment).expect("written");
    let convener = at.world.data.join("keys.age");
    let convener = format!("--keys {} --json", convener.display());
    let [first, second, third, fourth] = [0, 1, 2, 3].map(|n| at.members[n].id);

    // The node alone holds the key, and does not answer as key holders do.
    let alone = collective(&at, &format!("status {convener}"));
    assert_eq!(alone.status.code(), Some(1));
    let alone: Value = serde_json::from_slice(&alone.stdout).expect("JSON");
    assert_eq!((&alone["epoch"], &alone["able"]), (&1.into(), &0.into()));

    // Made, and looked at.
    let members = format!("--members {first},{second},{third}");
    let line = format!("new --threshold 1 {members} {convener}");
    refused(&at, &line, "threshold is not between");
    let line = format!("new --threshold 2 {members} {convener}");
    let made = json(&at, &line);
    assert_eq!(made["state"], "published");
    accept(&at, &made).await;
    let status = json(&at, &format!("status {convener}"));
    assert_eq!(status["able"], 3);
    assert_eq!(status["members"][1]["node"], second.to_string());
    assert_eq!(status["members"][1]["status"]["epoch"], 2);

    // Backed up; after a refresh that backup is worth nothing.
    let offline = x25519::Identity::random(&mut rand::rng());
    let to = offline.recipient();
    let identity = at.folder.path().join("offline.identity");
    std::fs::write(&identity, offline.to_secret_string().as_str()).expect("written");
    let own = |number: usize| format!("--keys {}/keys.age", at.members[number].folder.display());
    let backup = |number, name: &str| format!("backup --to {to} {} {name}", own(number));
    let restore = |number, name: &str| {
        let identity = identity.display();
        format!("restore {name} --identity {identity} {}", own(number))
    };
    run(&at, &backup(0, "old.age"));
    refused(&at, &backup(0, "old.age"), "never overwritten");
    let refreshed = json(&at, &format!("refresh {convener}"));
    accept(&at, &refreshed).await;
    at.only_epoch(&[0, 1, 2], 3).await;
    refused(&at, &restore(0, "old.age"), "it is worth nothing");

    // A share that is lost comes back from a good backup, and from no other.
    run(&at, &backup(0, "good.age"));
    run(&at, &backup(1, "second.age"));
    refused(&at, &restore(0, "good.age"), "is kept here already");
    let lines = [restore(0, "second.age"), restore(0, "good.age")];
    at.stop(0).await;
    let share = at.members[0].folder.join("keys.shares/epoch-3.age");
    std::fs::remove_file(share).expect("lost");
    refused(&at, &lines[0], "which node");
    run(&at, &lines[1]);
    at.stop(0).await;
    at.start(0).await.expect("it has its share again");

    // Handed on with a new post-quantum half: planned, refused without a vote, held with it.
    let line = format!("reshare --plan next.plan {convener}");
    refused(&at, &line, "name --members");
    let four = format!("--threshold 3 --members {first},{second},{third},{fourth}");
    let keeps = format!("reshare --plan kept.plan {convener}");
    assert_eq!(json(&at, &format!("{keeps} {four}"))["kind"], "reshare");
    refused(
        &at,
        &format!("{keeps} --renew-ml-kem"),
        "keeps the ML-KEM half",
    );
    let planned = json(&at, &format!("{line} --renew-ml-kem {four}"));
    assert_eq!(
        (&planned["state"], &planned["kind"]),
        (&"planned".into(), &"renew".into())
    );
    let name = planned["plan"].as_str().expect("a name");
    let next = planned["next"].as_str().expect("a command");
    assert!(
        next.contains(&format!("propose --convene {name}")),
        "{next}"
    );
    refused(&at, &line, "has not convened");
    let other = format!("{line} --threshold 2");
    refused(&at, &other, "another threshold");
    let plan = std::fs::read(at.folder.path().join("next.plan")).expect("a plan");
    let plan = Plan::parse(&plan).expect("a plan");
    at.convene(&plan).await;
    let held = json(&at, &line);
    accept(&at, &held).await;
    at.only_epoch(&[0, 1, 2, 3], 4).await;
    let status = json(&at, &format!("status {convener}"));
    assert_eq!(
        (&status["renewal"]["epoch"], &status["renewal"]["over"]),
        (&4.into(), &false.into())
    );
    let again = format!("refresh --renew-ml-kem --patience 2 {convener}");
    refused(&at, &again, "no share is dealt before that");

    // A member that does not answer is told apart, and who is no member cannot be replaced.
    at.stop(3).await;
    let status = json(&at, &format!("status {convener}"));
    assert_eq!(status["able"], 3);
    assert!(status["members"][3]["unreachable"].is_string());
    let line = format!(
        "replace --lost {} --by {fourth} --plan x.plan {convener}",
        at.world.node_id
    );
    refused(&at, &line, "is no member");
}

async fn accept(at: &CeremonyWorld, said: &Value) {
    let hash = said["committee"].as_str().expect("a hash");
    let next = said["next"].as_str().expect("a command");
    assert!(
        next.contains(&format!("--accept-committee {hash}")),
        "{next}"
    );
    at.accept(hash.parse().expect("a hash")).await;
}

fn collective(at: &CeremonyWorld, line: &str) -> Output {
    let passphrase = match line.contains("holder-") {
        true => ceremony_world::PASSPHRASE,
        false => PASSPHRASE,
    };
    let mut command = Command::new(Path::new(env!("CARGO_BIN_EXE_collective")));
    command
        .arg("committee")
        .args(line.split_whitespace())
        .current_dir(at.folder.path())
        .env("COLLECTIVE_RPC", at.world.chain.url().as_str())
        .env("COLLECTIVE_DEPLOYMENT", "deployment.json")
        .env("COLLECTIVE_NODE", format!("http://{}", at.world.listens_at))
        .env("COLLECTIVE_PASSPHRASE", passphrase);
    tokio::task::block_in_place(|| command.output()).expect("the binary starts")
}

fn run(at: &CeremonyWorld, line: &str) -> Vec<u8> {
    let output = collective(at, line);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {said}");
    output.stdout
}

fn json(at: &CeremonyWorld, line: &str) -> Value {
    serde_json::from_slice(&run(at, line)).expect("JSON")
}

fn refused(at: &CeremonyWorld, line: &str, why: &str) {
    let output = collective(at, line);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{line}: {said}");
    assert!(said.contains(why), "{line}: {said}");
}
