//! A collective that takes files without sender proof, as any age client makes them: they are counted like others.
//!
//! `AGE_CLIENTS` names programs, separated by colons, each called with a recipient, plaintext on its standard input and
//! the sealed file on its standard output; `interop/run.sh` has them. This project's own sealing is always tried.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::by_hand::World;
use collective::seal::{Recipient, seal};
use collective::terms::Purpose;
use collective_node::client::Client;
use collective_node::demo::election;
use serde_json::Value;

/// Column of the study that is compared.
const AGE: usize = 6;

#[test]
fn files_that_any_age_client_sealed_are_counted() {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let folder = temporary.path();
    let world = World::start_with(folder.join("world"), &["--accept-unproven"]);
    let recipient = recipient(&world);

    let named = std::env::var("AGE_CLIENTS").unwrap_or_default();
    let clients = named.split(':').filter(|client| !client.is_empty());
    // Rows that end in 9 did not allow statistics before, so each file that counts is one record more.
    let rows = (0..election::RESPONDENTS).filter(|row| row % 10 == 9);
    let mut ages = Vec::new();
    for (client, row) in std::iter::once("").chain(clients).zip(rows) {
        let age = 20 + u64::try_from(ages.len()).expect("few");
        let record = format!("0,7,7,1,6,6,{age},3,1,1\n");
        let file = match client {
            "" => ours(&recipient, record.as_bytes()),
            client => sealed_by(client, &recipient, record.as_bytes()),
        };
        println!("{client}: {} bytes", file.len());
        contribute(&world, folder, row, &file);
        ages.push(age);
    }
    approve(&world);
    assert_means(&world, folder, &ages);
}

/// The collective's key, as its node tells it to whoever asks.
fn recipient(world: &World) -> String {
    let address = world.told("node").parse().expect("a URL");
    let client = Client::new(address).expect("a client");
    let runtime = tokio::runtime::Runtime::new().expect("threads can be started");
    let told = runtime.block_on(client.collective()).expect("an answer");
    assert!(!told.sender_proof, "the collective wants a proof");
    told.recipient
}

fn ours(recipient: &str, record: &[u8]) -> Vec<u8> {
    let recipient: Recipient = recipient.parse().expect("a recipient");
    seal(&[recipient], record, &mut rand::rng()).expect("a sealed file")
}

fn sealed_by(client: &str, recipient: &str, record: &[u8]) -> Vec<u8> {
    let mut child = Command::new(client)
        .arg(recipient)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the client starts");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(record).expect("it reads the record");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{client} did not seal");
    output.stdout
}

/// Contributes the file in the respondent's name and waits until it is anchored. It stays the respondent's.
fn contribute(world: &World, folder: &Path, row: usize, file: &[u8]) {
    let account = &election::accounts()[row];
    let key = folder.join(format!("{row}.key"));
    let secret = alloy::hex::encode_prefixed(account.to_bytes());
    std::fs::write(&key, secret).expect("a written file");
    let path = folder.join(format!("{row}.age"));
    std::fs::write(&path, file).expect("a written file");
    let line = |path: &Path, key: &str| {
        let path = path.display();
        format!(
            "contribute --sealed {path} --source anes96 --purposes statistics --nonce 1 --key {key}"
        )
    };
    let key = key.to_str().expect("a path in UTF-8");
    let leaf = world.json(&line(&path, key))["leaf"].clone();
    let leaf = leaf.as_str().expect("a leaf");
    let state = world.json(&format!("contributions {leaf} --wait"));
    assert_eq!(state["state"], "batched");

    // Without a proof, who comes first has the file: nobody else can hand it in under an own name.
    world.refused(&line(&path, &world.key("contributor-1")), "(409");
    let cut = folder.join("cut.age");
    std::fs::write(&cut, &file[..80]).expect("a written file");
    let cut = world.run(&line(&cut, &world.key("contributor-1")));
    assert_eq!(cut.status.code(), Some(1), "half a header was taken");
}

/// The members approve the means.
fn approve(world: &World) {
    let (manifest, program) = (
        world.path("manifests/mean.json"),
        world.path("programs/mean.wasm"),
    );
    let founder = world.key("founder-0");
    let propose = format!("propose --manifest {manifest} --key {founder} --program {program}");
    let opened = world.json(&propose);
    let id = opened["proposal"].as_str().expect("an id");
    world.decide(&[id]);
}

/// The job's output counts every file: so many records more, and their ages in the mean.
fn assert_means(world: &World, folder: &Path, ages: &[u64]) {
    let (manifest, requester) = (world.path("manifests/mean.json"), world.key("requester"));
    world.json(&format!(
        "job request --manifest {manifest} --key {requester}"
    ));
    let ran = world.json("job show 1 --wait");
    assert_eq!(ran["state"], "completed", "{ran}");
    let means = folder.join("means.json");
    let identity = world.told("identity");
    let open = format!("job output 1 --identity {identity} -o {}", means.display());
    assert_eq!(world.run(&open).status.code(), Some(0));
    let means: Value =
        serde_json::from_slice(&std::fs::read(means).expect("the means")).expect("JSON");

    let records = election::records().expect("the study");
    let allowed = |row: &usize| {
        election::terms(*row, 1)
            .purposes
            .contains(Purpose::Statistics)
    };
    let age_of = |row: usize| -> u64 {
        let text = std::str::from_utf8(&records[row]).expect("digits and commas");
        text.split(',')
            .nth(AGE)
            .expect("ten fields")
            .parse()
            .expect("years")
    };
    let before: Vec<u64> = (0..records.len()).filter(allowed).map(age_of).collect();
    let count = before.len() + ages.len();
    assert_eq!(means["n"], count);
    assert_eq!(means["columns"][AGE], "age");
    let sum: u64 = before.iter().chain(ages).sum();
    let expected = sum as f64 / count as f64;
    let mean = means["means"][AGE].as_f64().expect("a number");
    assert!((mean - expected).abs() < 1e-6, "{mean}, not {expected}");
}
