//! A collective is founded on a chain that nobody prepared, and brought to its first settled job by verbs
//! alone. Only ether comes from elsewhere.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::by_hand::bare::{Bare, ETHER, MEAN, SOURCE, manifest, read, text_of};
use crate::by_hand::{PATIENCE, refusal, start_node};
use alloy::primitives::Address;
use collective_node::chain::Deployment;
use serde_json::{Value, json};

/// What three people answer.
const RECORDS: [&str; 3] = ["30,2\n", "40,4\n", "50,9\n"];

/// A day and a minute: both windows, of dispute and of challenge, are a day.
const WINDOW: &str = "86460";

#[test]
fn a_collective_is_founded_and_runs_its_first_job() {
    let bare = Bare::start();
    let deployment = found(&bare);
    another_on_the_same_registries(&bare, &deployment);
    let registered = register(&bare);
    let (node, line) = start_node(&bare.session.path("node.toml"));
    assert!(line.contains(bare.session.told("node")), "it says: {line}");
    constitute(&bare, &registered);
    let again = bare.session.json(&bare.registering());
    assert_eq!(again, registered, "an accepted node registers nothing more");
    contribute(&bare);
    run(&bare, &deployment);
    drop(node);
}

/// It fails for want of ether in the middle, goes on, and is never done twice.
fn found(bare: &Bare) -> Deployment {
    let init = format!("{} --demo-token", bare.founding());
    let session = &bare.session;
    session.refused(&init, "has nothing on chain 31337 to pay the gas with");
    let twice = format!("{init} --founder {}", bare.address("ann"));
    session.refused(&twice, "stands twice");
    let neither = session.run(&bare.founding());
    assert_eq!(neither.status.code(), Some(2), "without a token");

    let payer = bare.address("payer");
    let unfinished = session.folder.join("deployment.json.unfinished");
    // What a gwei buys changes from block to block: a little more each time, until some contracts are there.
    let mut gwei = ETHER / 100_000;
    let registry = loop {
        bare.give(&payer, gwei);
        session.refused(&init, "the same command goes on");
        let begun = read(&unfinished)["contracts"].clone();
        if begun.as_object().is_some_and(|begun| begun.len() > 2) {
            break begun["CodeRegistry"].clone();
        }
        gwei += gwei / 2;
    };
    bare.give(&payer, ETHER);
    let other = init.replace("--quorum 50", "--quorum 51");
    session.refused(&other, "give the same again to go on with it");

    let output = session.run(&format!("{init} --json"));
    let said = bare.said(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("begun before: CodeRegistry"), "{said}");
    assert!(said.contains("collective node register"), "{said}");
    let printed: Deployment = serde_json::from_slice(&output.stdout).expect("a deployment");
    let path = Path::new(session.told("deployment"));
    let written: Deployment = serde_json::from_value(read(path)).expect("a deployment");
    assert_eq!(printed, written);
    assert_eq!(json!(printed.code), registry, "it was deployed twice");
    assert!(!unfinished.exists());
    session.refused(&init, "a collective is founded there already");
    printed
}

fn another_on_the_same_registries(bare: &Bare, first: &Deployment) {
    let session = &bare.session;
    let (file, token) = (session.told("deployment"), first.token);
    let init = format!("{} --token {token} --registries", bare.founding());
    let second = format!("--deployment {}", session.path("second.json"));
    let other = session.json(&format!("{init} {file} {second}"));
    let other: Deployment = serde_json::from_value(other).expect("a deployment");
    assert_ne!(other.collective, first.collective);
    assert_eq!(
        (other.code, other.nodes, other.escrow, other.token),
        (first.code, first.nodes, first.escrow, first.token)
    );

    let third = format!("--deployment {}", session.path("third.json"));
    let refused = |what: &dyn Fn(&mut Value), words: &str| {
        let mut wrong = json!(first);
        what(&mut wrong);
        let path = bare.write("wrong.json", wrong.to_string().as_bytes());
        session.refused(&format!("{init} {path} {third}"), words);
        let _ = std::fs::remove_file(session.folder.join("third.json.unfinished"));
    };
    refused(
        &|wrong| wrong["nodes"] = wrong["escrow"].clone(),
        "calls itself JobEscrow, not NodeRegistry",
    );
    refused(
        &|wrong| wrong["code"] = wrong["token"].clone(),
        "was deployed for another contract",
    );
    refused(
        &|wrong| wrong["rewards"] = json!(Address::repeat_byte(1)),
        "there is no RewardDistributor",
    );
    refused(&|wrong| wrong["chain_id"] = json!(1), "is of chain 1");
    let payer = bare.address("payer");
    let no_token = init.replace(&token.to_string(), &payer);
    session.refused(&format!("{no_token} {file} {third}"), "ERC-20");
}

fn register(bare: &Bare) -> Value {
    let session = &bare.session;
    let words = bare.write("words", b"a passphrase\n");
    let keys = session.path("keys.age");
    let made = session.json(&format!("key new node {keys} --passphrase-file {words}"));
    session.refused(&bare.registering(), "send it some ether");
    bare.give(&text_of(&made, "account"), ETHER);
    let registered = session.json(&bare.registering());
    assert_eq!(registered["epoch"], 1);
    assert_eq!(session.json(&bare.registering()), registered, "done twice");
    // Machines that test deny layers of the sandbox; what a node does then is told elsewhere.
    let config = session.folder.join("node.toml");
    let text = std::fs::read_to_string(&config).expect("a configuration");
    std::fs::write(config, format!("{text}required_layers = []\n")).expect("a written file");

    let (node, payer) = (text_of(&registered, "node"), session.key("payer"));
    let bond = session.json(&format!("node bond {node} 5000000 --key {payer}"));
    assert_eq!(
        (&bond["bond"], &bond["locked"]),
        (&json!("5000000"), &json!("0"))
    );
    let nobody = Address::ZERO.into_word();
    session.refused(
        &format!("node bond {nobody} 1 --key {payer}"),
        "UnknownNode",
    );
    registered
}

/// Charter, node and committee in one proposal.
fn constitute(bare: &Bare, registered: &Value) {
    let session = &bare.session;
    let source = bare.write("survey.json", SOURCE.as_bytes());
    let people: String = ["ann", "ben", "cleo"]
        .map(|name| format!("{}\n", bare.address(name)))
        .concat();
    let people = bare.write("people.txt", format!("# members\n{people}").as_bytes());
    let charter = session.path("charter.json");
    let make = format!("charter new {charter} --source {source} --admit {people}");
    let made = session.json(&make);
    assert_eq!(made["admitted"], 3);
    assert_eq!(session.json(&format!("charter check {charter}")), made);
    session.refused(&make, "never overwritten");
    let bad = bare.write("bad.txt", b"0x12\n");
    let line = format!("charter new {charter}.2 --source {source} --admit {bad}");
    session.refused(&line, "line 1: '0x12' is no address");

    for name in ["ann", "ben"] {
        bare.give(&bare.address(name), ETHER);
    }
    let (node, committee) = (
        text_of(registered, "node"),
        text_of(registered, "committee"),
    );
    let subject =
        format!("--charter {charter} --accept-node {node} --accept-committee {committee}");
    let key = session.key("ann");
    let unknown = subject.replace(&committee, &node);
    session.refused(
        &format!("propose {unknown} --key {key}"),
        "nobody published committee",
    );
    let unknown = subject.replace(&node, &committee);
    session.refused(
        &format!("propose {unknown} --key {key}"),
        "there is no node",
    );
    bare.decide(&subject, "");
}

fn contribute(bare: &Bare) {
    let session = &bare.session;
    for (name, record) in ["ann", "ben", "cleo"].into_iter().zip(RECORDS) {
        bare.contribute(name, record);
    }
    let stranger = format!(
        "contribute --record - --source survey --purposes statistics --nonce 1 --key {}",
        session.key("payer")
    );
    refusal(session.run_with(&stranger, b"30,2\n"), "payer", "(403");
}

fn run(bare: &Bare, deployment: &Deployment) {
    let session = &bare.session;
    let identity = session.path("results.identity");
    let made = session.json(&format!("key new identity {identity}"));
    let manifest = manifest(deployment, text_of(&made, "recipient"));
    let bytes = serde_json::to_vec_pretty(&manifest).expect("JSON");
    let manifest = bare.write("mean.json", &bytes);
    let program = bare.write("mean.wasm", MEAN);
    bare.decide(
        &format!("--manifest {manifest}"),
        &format!("--program {program}"),
    );

    let payer = session.key("payer");
    let asked = session.json(&format!("job request --manifest {manifest} --key {payer}"));
    assert_eq!(asked["job"], 1);
    let ran = session.json("job show 1 --wait");
    assert_eq!(ran["state"], "completed", "{ran}");
    let output = session.run(&format!("job output 1 --identity {identity}"));
    let means: Value = serde_json::from_slice(&output.stdout).expect("the means");
    assert_eq!(
        means,
        json!({ "n": 3, "columns": ["age", "score"], "means": [40.0, 5.0] })
    );
    let verdict = session.json("verify receipt 1");
    let findings = verdict["findings"].as_array().expect("findings");
    assert!(findings.iter().all(|finding| finding["holds"] == true));

    session.pass(WINDOW);
    let began = Instant::now();
    while session.json("job show 1")["state"] != "settled" {
        assert!(began.elapsed() < PATIENCE, "the job does not settle");
        std::thread::sleep(Duration::from_millis(200));
    }
}
