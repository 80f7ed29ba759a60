//! The power fails at every named step of one story, and the story ends the same: what was
//! acknowledged is there, the job runs and is paid once, a claim is paid once.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::by_hand::{PATIENCE, Running, World, binary};
use alloy::primitives::{Address, U256};
use alloy::providers::ProviderBuilder;
use collective_contracts::DemoToken;
use collective_node::chain::Deployment;
use collective_node::client::Client;
use collective_node::crash::{Step, VARIABLE};
use serde_json::Value;

/// A day and a minute: both windows, of dispute and of challenge, are a day.
const WINDOW: &str = "86460";

/// Starts the node, to be cut off at `step`.
fn start(world: &World, step: Option<Step>) -> Running {
    let mut command = binary();
    command
        .args(["node", "--config", &world.path("node.toml")])
        .stdout(Stdio::piped());
    command.stderr(Stdio::null());
    if let Some(step) = step {
        command.env(VARIABLE, step.name());
    }
    let mut node = command.spawn().expect("the binary starts");
    let out = node.stdout.take().expect("a pipe");
    let node = Running(node);
    // A node that reaches its step while it starts says nothing.
    let mut line = String::new();
    let _ = BufReader::new(out).read_line(&mut line);
    node
}

/// Waits until the power has failed.
fn dead(mut node: Running, step: Step) {
    let began = Instant::now();
    loop {
        if let Some(status) = node.0.try_wait().expect("our child") {
            assert!(!status.success(), "{step:?}: the node ended by itself");
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{step:?} is never reached");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn cut_off_at(world: &World, step: Step) {
    dead(start(world, Some(step)), step);
}

#[test]
fn the_story_ends_the_same_wherever_the_power_fails() {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let world = World::start(temporary.path().join("world"));
    contribute(&world, temporary.path());
    approve(&world);
    run(&world);
    pay(&world);
    withdraw(&world);
}

fn contribute(world: &World, folder: &std::path::Path) {
    let key = world.key("contributor-0");
    let terms = "--source anes96 --purposes statistics";
    let line = format!("contribute --record - {terms} --nonce 1 --key {key}");
    let record = b"0,7,7,1,6,6,36,3,1,1\n";
    let node = start(world, Some(Step::KeptNotAcknowledged));
    let unanswered = world.run_with(&line, record);
    assert_eq!(unanswered.status.code(), Some(1), "it was answered");
    dead(node, Step::KeptNotAcknowledged);
    cut_off_at(world, Step::AcknowledgedNotBatched);
    cut_off_at(world, Step::BatchSentNotSeen);

    // Sealed afresh it is another leaf under a used nonce: the first one was kept.
    let node = start(world, None);
    let again = world.run_with(&line, record);
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(said.contains("are in use for another leaf"), "{said}");
    let began = Instant::now();
    let client = Client::new(world.told("node").parse().expect("a URL")).expect("a client");
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    loop {
        let status = runtime
            .block_on(client.status())
            .expect("the node's status");
        if status.anchored == 945 && status.waiting == 0 {
            break;
        }
        assert!(
            began.elapsed() < PATIENCE,
            "{} are anchored",
            status.anchored
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    drop((node, folder));
}

fn approve(world: &World) {
    let node = start(world, None);
    let manifest = world.path("manifests/mean.json");
    let program = world.path("programs/mean.wasm");
    let founder = world.key("founder-0");
    let propose = format!("propose --manifest {manifest} --key {founder} --program {program}");
    let id = world.json(&propose)["proposal"]
        .as_str()
        .expect("an id")
        .to_owned();
    world.decide(&[&id]);
    let requester = world.key("requester");
    let asked = world.json(&format!(
        "job request --manifest {manifest} --key {requester}"
    ));
    assert_eq!(asked["job"], 1);
    drop(node);
}

fn run(world: &World) {
    cut_off_at(world, Step::LeasedNotReleased);
    cut_off_at(world, Step::ReleasedNotRun);
    let node = start(world, Some(Step::RanNotStored));
    kill_sandbox_of(node.0.id());
    dead(node, Step::RanNotStored);
    cut_off_at(world, Step::StoredNotRecorded);
    cut_off_at(world, Step::RecordedNotReceipted);
    let node = start(world, Some(Step::ReceiptedNotSettled));
    let ran = world.json("job show 1 --wait");
    assert_eq!(ran["state"], "completed", "{ran}");
    assert_eq!(ran["attempt"], 1, "one lease, one run: {ran}");
    world.pass(WINDOW);
    dead(node, Step::ReceiptedNotSettled);
    cut_off_at(world, Step::SettledNotNoted);
}

/// Kills the sandbox process while it runs, as the kernel would that is short of memory: the operator's
/// fault, and the run is made again.
fn kill_sandbox_of(node: u32) {
    let began = Instant::now();
    loop {
        assert!(began.elapsed() < PATIENCE, "no sandbox process was seen");
        let children = format!("/proc/{node}/task/{node}/children");
        let tasks = std::fs::read_dir(format!("/proc/{node}/task"));
        let tasks = tasks.map(|tasks| tasks.flatten().map(|task| task.path().join("children")));
        let lists = tasks.into_iter().flatten().chain([children.into()]);
        let pids = lists.filter_map(|list| std::fs::read_to_string(list).ok());
        let pid = pids.flat_map(|text| {
            text.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        });
        for pid in pid {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            if line.windows(4).any(|word| word == b"\0run") {
                let kill = format!("kill -KILL {pid}");
                let sent = std::process::Command::new("/bin/sh")
                    .args(["-c", &kill])
                    .status();
                // It may have ended by itself in the meantime.
                if sent.is_ok_and(|status| status.success()) {
                    return;
                }
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn pay(world: &World) {
    let node = start(world, None);
    let began = Instant::now();
    while world.json("job show 1")["state"] != "settled" {
        assert!(began.elapsed() < PATIENCE, "the job does not settle");
        std::thread::sleep(Duration::from_millis(200));
    }
    let owner = world.json(&format!("key show {}", world.key("contributor-1")));
    let owner: Address = owner["account"]
        .as_str()
        .expect("an account")
        .parse()
        .expect("hex");
    // The root is proposed, and its window passes.
    let show = format!("rewards show {owner}");
    while !world.run(&show).status.success() {
        assert!(began.elapsed() < PATIENCE, "no root becomes active");
        world.pass(WINDOW);
        std::thread::sleep(Duration::from_millis(500));
    }
    drop(node);

    let node = start(world, Some(Step::ClaimsSentNotSeen));
    let client = Client::new(world.told("node").parse().expect("a URL")).expect("a client");
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let unanswered = runtime.block_on(client.relay_claims(vec![owner]));
    assert!(unanswered.is_err(), "it was answered");
    dead(node, Step::ClaimsSentNotSeen);
    let node = start(world, None);
    let balance = || -> U256 {
        let file = std::fs::read(world.told("deployment")).expect("the deployment");
        let deployment: Deployment = serde_json::from_slice(&file).expect("a deployment");
        let rpc = world.told("rpc").parse().expect("a URL");
        let provider = ProviderBuilder::new().connect_http(rpc);
        let token = DemoToken::new(deployment.token, provider);
        runtime
            .block_on(async { token.balanceOf(owner).call().await })
            .expect("a balance")
    };
    // 80 % of 10 dollars in millionths, among 850 contributors, rounded down.
    assert_eq!(balance(), U256::from(9_411));
    let _ = runtime.block_on(client.relay_claims(vec![owner]));
    assert_eq!(balance(), U256::from(9_411), "a claim was paid twice");
    let verdict: Value = world.json("verify receipt 1");
    let findings = verdict["findings"].as_array().expect("findings");
    assert!(
        findings.iter().all(|finding| finding["holds"] == true),
        "{verdict}"
    );
    drop(node);
}

fn withdraw(world: &World) {
    let client = Client::new(world.told("node").parse().expect("a URL")).expect("a client");
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let node = start(world, Some(Step::FileDroppedNotNoted));
    // It is answered or not, as the power fails once the revocation is final.
    let _ = world.run(&format!("revoke 0 --key {}", world.key("contributor-1")));
    dead(node, Step::FileDroppedNotNoted);
    let node = start(world, None);
    let began = Instant::now();
    while runtime.block_on(client.status()).expect("a status").held != 944 {
        assert!(began.elapsed() < PATIENCE, "nobody notes what is dropped");
        std::thread::sleep(Duration::from_millis(100));
    }
    drop(node);
}
