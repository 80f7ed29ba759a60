//! A session by hand: `dev` keeps a world up, a node runs as a process of its own, and every verb is
//! typed as a person would. Then the same verbs, used wrongly.

use crate::by_hand;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::by_hand::{PATIENCE, Running, World, binary, refusal};

use collective::seal::plugin::ContributionRecipient;
use collective::seal::tagged::TaggedIdentity;
use collective::seal::{Recipient, contribution, seal};
use serde_json::Value;

/// What supervisors grant between SIGTERM and SIGKILL, and a second for a busy machine.
const STOP: Duration = Duration::from_secs(6);

/// A day and a minute: both windows, of dispute and of challenge, are a day.
const WINDOW: &str = "86460";

#[test]
fn a_session_by_hand() {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let world = World::start(temporary.path().join("world"));
    let again = format!("dev --port 0 --rpc-port 0 --data {}", world.path(""));
    world.refused(&again, "a chain is open at it");
    world.refused(&format!("{again} --fresh"), "open in another process");
    a_node_that_must_not_start(&world, temporary.path());
    let node = start_node(&world);

    let leaf = contribute(&world, temporary.path());
    let proposal = decide(&world);
    run_and_read(&world, temporary.path());
    take_back_and_be_paid(&world, &leaf, &proposal);

    let (took, well) = node.stop();
    assert!(well && took < STOP, "the node took {took:?} to stop");
    let unreachable = format!("contributions {leaf}");
    world.refused(&unreachable, "no answer from the node");
    let World { dev, .. } = world;
    let (took, well) = dev.stop();
    assert!(well && took < STOP, "dev took {took:?} to stop");
}

fn a_node_that_must_not_start(world: &World, folder: &Path) {
    let start = |config: &str, child: Option<&Path>| {
        let mut command = binary();
        command.args(["node", "--config", config]);
        command.env("COLLECTIVE_PASSPHRASE", "not this one");
        if let Some(child) = child {
            command.env("COLLECTIVE_BINARY", child);
        }
        command.output().expect("the binary starts")
    };
    let right = std::fs::read_to_string(world.path("node.toml")).expect("a configuration");
    let wrong = world.path("wrong.toml");
    let without = right.replace("passphrase_file = \"passphrase\"\n", "");
    assert_ne!(without, right);
    std::fs::write(&wrong, without).expect("a written file");
    let what = "a wrong passphrase";
    refusal(start(&wrong, None), what, "check the passphrase");

    // A sandbox child on a machine that denies one layer, played by a script.
    let layers = br#"{"on":[],"denied":[["seccomp","not on this machine"]]}"#;
    let length = u32::try_from(layers.len()).expect("short").to_le_bytes();
    let frame = [&b"L"[..], &length, layers].concat();
    std::fs::write(folder.join("frame"), frame).expect("a written file");
    let child = folder.join("child");
    let script = format!(
        "#!/bin/sh\n/bin/cat {}/frame\nexec /bin/sleep 9\n",
        folder.display()
    );
    std::fs::write(&child, script).expect("a written file");
    std::fs::set_permissions(&child, std::fs::Permissions::from_mode(0o700)).expect("ours");
    let strict = world.path("strict.toml");
    let text = format!("{right}required_layers = [\"seccomp\"]\n");
    let told = world.handout["denied"].as_array().expect("a list");
    if told.is_empty() {
        std::fs::write(&strict, text).expect("a written file");
        let what = "a machine without seccomp";
        refusal(start(&strict, Some(&child)), what, "not on this machine");
    }
    let all: String = right
        .lines()
        .filter(|line| !line.starts_with("required_layers"))
        .map(|line| format!("{line}\n"))
        .collect();
    std::fs::write(&strict, all).expect("a written file");
    let what = "a machine without any layer, and all required";
    refusal(start(&strict, Some(&child)), what, "`required_layers`");
}

fn start_node(world: &World) -> Running {
    let (node, line) = by_hand::start_node(&world.path("node.toml"));
    assert!(line.contains(world.told("node")), "it says: {line}");
    node
}

fn contribute(world: &World, folder: &Path) -> String {
    let record = b"0,7,7,1,6,6,36,3,1,1\n";
    let key = world.key("contributor-0");
    let terms = "--source anes96 --purposes statistics,training";
    let line = format!("contribute --record - {terms} --nonce 1 --key {key}");
    let leaf = world.json_with(&line, record)["leaf"].clone();
    let leaf = leaf.as_str().expect("a leaf").to_owned();

    refusal(world.run_with(&line, record), "a used nonce", "(409");
    let bad = world.run_with(&line, b"0,7,7,1,6,6,36,3,1,2\n");
    refusal(bad, "a vote for nobody", "field 9");
    let elsewhere = line.replace("anes96", "elsewhere");
    let unknown = world.run_with(&elsewhere, record);
    refusal(unknown, "another source", "no source 'elsewhere'");
    let selling = world.run_with(&line.replace("training", "sale"), record);
    assert_eq!(selling.status.code(), Some(2));
    another_clients_file(world, folder, record, &key);
    a_node_with_another_key(world, &line, record);

    let receipt = folder.join("receipt.json");
    let receipt = receipt.to_str().expect("a path in UTF-8");
    let state = world.json(&format!("contributions {leaf} --wait --receipt {receipt}"));
    assert_eq!(state["state"], "batched");
    assert_eq!(state["receipt"]["entry"]["contribution"]["nonce"], "1");
    let checked = world.json(&format!("verify contribution {receipt}"));
    assert_eq!(checked["leaf"], *leaf);

    let honest = std::fs::read_to_string(receipt).expect("a receipt");
    let forged = honest.replace("\"purposes\": 3", "\"purposes\": 7");
    assert_ne!(forged, honest);
    let path = folder.join("forged.json");
    std::fs::write(&path, forged).expect("a written file");
    let line = format!("verify contribution {}", path.display());
    world.refused(&line, "the terms sent are not the ones that were signed");
    leaf
}

/// A file without sender proof, as any age client makes it: this collective requires the proof.
fn another_clients_file(world: &World, folder: &Path, record: &[u8], key: &str) {
    let address = world.told("node").to_owned();
    let client = collective_node::client::Client::new(address.parse().expect("a URL"));
    let runtime = tokio::runtime::Runtime::new().expect("threads can be started");
    let told = runtime.block_on(client.expect("a client").collective());
    let recipient: Recipient = told
        .expect("an answer")
        .recipient
        .parse()
        .expect("a recipient");
    let sealed = seal(&[recipient], record, &mut rand::rng()).expect("a sealed file");
    let path = folder.join("record.age");
    std::fs::write(&path, sealed).expect("a written file");
    let path = path.display();
    let line = format!(
        "contribute --sealed {path} --source anes96 --purposes statistics --nonce 2 --key {key}"
    );
    world.refused(&line, "no sender proof");
    a_plugins_recipient(world, folder, record, key);
}

/// What `recipient` prints names this contributor and this nonce, so its proof gets as far as the nonce, which is used.
fn a_plugins_recipient(world: &World, folder: &Path, record: &[u8], key: &str) {
    let shown = world.json(&format!("key show {key}"));
    let address = shown["account"].as_str().expect("an address");
    let told = world.json(&format!("recipient --nonce 1 --contributor {address}"));
    let to: ContributionRecipient = told["recipient"]
        .as_str()
        .expect("a string")
        .parse()
        .expect("a recipient");
    let rng = &mut rand::rng();
    let sealed = contribution::seal(&to.recipient, &to.context, record, rng).expect("a file");
    let path = folder.join("proven.age");
    std::fs::write(&path, sealed).expect("a written file");
    let line = format!(
        "contribute --sealed {} --source anes96 --purposes statistics --key {key} --nonce",
        path.display()
    );
    world.refused(&format!("{line} 1"), "(409");
    world.refused(&format!("{line} 2"), "does not hold");
    let elsewhere = format!("{line} 1 --place https://place.example/proven.age");
    world.refused(&elsewhere, "takes no files that their contributors keep");
}

/// A node that gives a key of its own: nothing is sealed to it, nothing is sent to it.
fn a_node_with_another_key(world: &World, line: &str, record: &[u8]) {
    let liar = TaggedIdentity::random(&mut rand::rng()).recipient();
    let deployment = std::fs::read(world.told("deployment")).expect("a deployment");
    let deployment: Value = serde_json::from_slice(&deployment).expect("JSON");
    let answer = serde_json::json!({
        "deployment": deployment,
        "recipient": liar.to_string(),
        "aggregator": deployment["collective"],
        "charter": null,
        "senderProof": true,
        "aggregator": deployment["collective"],
    })
    .to_string();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut request = [0; 4096];
        let asked = stream.read(&mut request).expect("a request");
        let asked = String::from_utf8_lossy(&request[..asked]).into_owned();
        let length = answer.len();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
        let response = format!("{head}content-length: {length}\r\n\r\n{answer}");
        stream.write_all(response.as_bytes()).expect("an answer");
        asked
    });
    let line = format!("{line} --node http://{address}");
    let answer = world.run_with(&line, record);
    refusal(answer, "another key", "another key than the one");
    let asked = server.join().expect("the server ended");
    assert!(asked.starts_with("GET /collective "), "{asked}");
}

fn decide(world: &World) -> String {
    let manifest = world.path("manifests/mean.json");
    let [mean, logit] = ["mean", "logit"].map(|name| world.path(&format!("programs/{name}.wasm")));
    let checked = world.json(&format!("manifest check {manifest}"));
    // 1 KiB of output, and one of twenty moments.
    assert_eq!(checked["leak"]["run"], 8 * 1_024 + 1 + 5);
    let founder = world.key("founder-0");
    let propose = format!("propose --manifest {manifest} --key {founder}");
    let hash = world.json(&format!("program hash {logit}"))["sha256"].clone();
    let hash = hash.as_str().expect("a hash");
    world.refused(&format!("{propose} --program {logit}"), hash);
    world.refused(&propose, "give it with --program");
    a_program_that_asks_for_more(world, &manifest, &founder);
    let early = format!(
        "job request --manifest {manifest} --key {}",
        world.key("requester")
    );
    world.refused(&early, "NotActive");

    let opened = world.json(&format!("{propose} --program {mean}"));
    assert_eq!(opened["manifest"], checked["digest"]);
    assert_eq!(opened["leak"], checked["leak"]);
    let id = opened["proposal"].as_str().expect("an id").to_owned();
    let state = |expected: &str| {
        let seen = world.json(&format!("proposal show {id}"));
        assert_eq!(seen["state"], expected, "{seen}");
        seen
    };
    state("pending");
    world.pass("61");
    state("active");
    let vote = |word: &str, n: u8| {
        let key = world.key(&format!("founder-{n}"));
        format!("vote {id} {word} --key {key}")
    };
    world.json(&vote("for", 0));
    world.refused(&vote("against", 0), "has voted");
    let again = format!("{} --own-gas", vote("against", 0));
    world.refused(&again, "GovernorAlreadyCastVote");
    world.json(&vote("abstain", 1));
    world.json(&vote("for", 2));
    let counted = state("active");
    assert_eq!(
        (&counted["for"], &counted["against"], &counted["abstain"]),
        (&"2".into(), &"0".into(), &"1".into())
    );
    let step = |step: &str| format!("proposal {step} {id} --key {founder}");
    world.refused(&step("queue"), "GovernorUnexpectedProposalState");
    world.pass("3601");
    state("succeeded");
    world.json(&step("queue"));
    state("queued");
    world.refused(&step("execute"), "TimelockUnexpectedOperationState");
    world.pass("86401");
    world.json(&step("execute"));
    state("executed");
    id
}

/// A component that wants to dial out is refused before anything is kept or voted on, and so is a runtime.
fn a_program_that_asks_for_more(world: &World, manifest: &str, founder: &str) {
    let program = wat::parse_str(
        r#"(component (import "wasi:http/outgoing-handler@0.2.0" (instance (export "handle" (func)))))"#,
    );
    let program = program.expect("the text parses");
    let file = world.path("programs/caller.wasm");
    std::fs::write(&file, &program).expect("a written file");
    let text = std::fs::read(manifest).expect("a manifest");
    let mut calling: Value = serde_json::from_slice(&text).expect("JSON");
    let hash = world.json(&format!("program hash {file}"))["sha256"].clone();
    calling["program"] = serde_json::json!({"kind": "component", "sha256": hash});
    let other = world.path("manifests/caller.json");
    std::fs::write(&other, calling.to_string()).expect("a written file");
    let words = "import 'wasi:http/outgoing-handler@0.2.0' is not in the world";
    world.refused(
        &format!("propose --manifest {other} --key {founder} --program {file}"),
        words,
    );
    world.refused(
        &format!("propose --manifest {other} --key {founder}"),
        "give it with --program",
    );
    let config = world.path("node.toml");
    world.refused(&format!("node keep {file} --config {config}"), words);
}

fn run_and_read(world: &World, folder: &Path) {
    let manifest = world.path("manifests/mean.json");
    let requester = world.key("requester");
    let asked = world.json(&format!(
        "job request --manifest {manifest} --key {requester}"
    ));
    assert_eq!(asked["job"], 1);
    let ran = world.json("job show 1 --wait");
    assert_eq!(ran["state"], "completed", "{ran}");
    world.refused("job show 2", "has no job 2");

    let stranger = folder.join("stranger.identity");
    let stranger = stranger.to_str().expect("a path in UTF-8");
    world.json(&format!("key new identity {stranger}"));
    let closed = format!("job output 1 --identity {stranger}");
    world.refused(&closed, "no given key opens the file");
    let means = folder.join("means.json");
    let identity = world.told("identity");
    let open = format!("job output 1 --identity {identity} -o {}", means.display());
    let opened = world.run(&open);
    assert_eq!(opened.status.code(), Some(0));
    world.refused(&open, "is not overwritten");
    let means = std::fs::read(means).expect("the means");
    let means: Value = serde_json::from_slice(&means).expect("JSON");
    // Contributor 0 contributed twice and counts once: 944 less those whose row ends in 9.
    assert_eq!(means["n"], 850);
    assert_eq!(means["columns"][9], "vote");

    let holder = world.told("node");
    let verdict = world.json(&format!("verify receipt 1 --holder {holder}"));
    let findings = verdict["findings"].as_array().expect("findings");
    assert!(findings.len() >= 13 && findings.iter().all(|finding| finding["holds"] == true));
}

fn take_back_and_be_paid(world: &World, leaf: &str, proposal: &str) {
    let owner = world.key("contributor-0");
    let taken = world.json(&format!("revoke 1 --key {owner}"));
    assert!(taken["block"].as_u64().is_some_and(|block| block > 0));
    // The receipt stays: it says that the contribution was anchored, not that it is still allowed.
    assert_eq!(
        world.json(&format!("contributions {leaf}"))["state"],
        "batched"
    );

    let public = world.json(&format!("key show {owner}"));
    let account = public["account"].as_str().expect("an account");
    let claim = format!("rewards claim {account} --key {}", world.key("requester"));
    world.refused(&claim, "(404");
    world.pass(WINDOW);
    std::thread::sleep(Duration::from_secs(1));
    world.pass(WINDOW);
    let began = Instant::now();
    let paid = loop {
        let output = world.run(&format!("{claim} --json"));
        if output.status.success() {
            break serde_json::from_slice::<Value>(&output.stdout).expect("JSON");
        }
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(began.elapsed() < PATIENCE, "{error}");
        // The root was proposed after the first window: another has to pass.
        world.pass(WINDOW);
        std::thread::sleep(Duration::from_millis(500));
    };
    // 80 % of 10 dollars in millionths, among 850 contributors, rounded down.
    assert_eq!(paid["paid"], "9411");
    let earned = world.json(&format!("rewards show {account}"));
    assert_eq!(earned["cumulative"], "9411");
    let vote = format!("vote {proposal} for --key {}", world.key("founder-1"));
    world.refused(
        &format!("{vote} --own-gas"),
        "GovernorUnexpectedProposalState",
    );
}

#[test]
fn key_files_are_made_once_and_open_with_their_passphrase() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let keys = folder.path().join("keys.age");
    let run = |verb: &[&str], passphrase: Option<&str>| {
        let mut command = binary();
        command.arg("key").args(verb).arg(&keys).arg("--json");
        if let Some(passphrase) = passphrase {
            command.env("COLLECTIVE_PASSPHRASE", passphrase);
        }
        command.output().expect("the binary starts")
    };
    let without = run(&["new", "node"], None);
    refusal(without, "no passphrase", "set COLLECTIVE_PASSPHRASE");
    let made = run(&["new", "node"], Some("right"));
    assert_eq!(made.status.code(), Some(0));
    let shown = run(&["show"], Some("right"));
    assert_eq!(shown.stdout, made.stdout);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("age1tagpq1"));
    refusal(
        run(&["show"], Some("wrong")),
        "show",
        "check the passphrase",
    );
    let before = std::fs::read(&keys).expect("the file");
    for kind in ["node", "account", "identity"] {
        let again = run(&["new", kind], Some("right"));
        refusal(again, kind, "never overwritten");
    }
    assert_eq!(std::fs::read(&keys).expect("the file"), before);
    let mode = std::fs::metadata(&keys).expect("the file").permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
}

#[test]
fn every_shell_gets_completions() {
    for shell in ["bash", "zsh", "fish"] {
        let output = binary().args(["completions", shell]).output();
        let output = output.expect("the binary starts");
        assert_eq!(output.status.code(), Some(0));
        assert!(String::from_utf8_lossy(&output.stdout).contains("contributions"));
    }
}
