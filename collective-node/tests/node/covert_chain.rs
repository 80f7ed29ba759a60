//! What chain and HTTP tell of jobs whose programs mean to tell one bit of a record, and when.

use crate::bombs;
use std::time::{Duration, Instant};

use crate::quiet_world::{LAG, QuietWorld, WINDOW, all_anchored, reaches};
use alloy::primitives::U256;
use alloy::sol_types::SolEvent;
use collective::id::BlobId;
use collective_contracts::JobEscrow;
use collective_node::chain::facts::JobState;
use collective_node::contributor::{Destination, prepare};
use collective_node::demo::{TERMS_EXPIRE, election};
use collective_node::driver::on_chain;
use collective_node::intake::join;
use serde_json::{Value, json};

/// What a job's record may differ in from that of another job of the same manifest: which job it was, which blocks and
/// contributions, who released it how fast, and the bytes that only the recipient opens.
const OF_THE_JOB: [&str; 9] = [
    "job",
    "allow_hash",
    "deny_hash",
    "lag",
    "input_root",
    "output",
    "quorum",
    "signature",
    "inputs",
];

/// On a chain, with contributions: two programs that use every way at once, or fail in one of two ways, run over records that
/// say 0 and over records that say 1. Neither the chain nor HTTP tells which; each run counts and is paid for.
#[tokio::test(flavor = "multi_thread")]
async fn chain_and_http_do_not_tell_the_bit() {
    let quiet = QuietWorld::found_with(&leaker()).await;
    let manifests = ["a", "k"].map(|letter| {
        let mut manifest = quiet.extra.clone();
        manifest.arguments = letter.into();
        manifest
    });
    quiet.have_approved(&manifests).await;

    let mut seen: [Vec<Value>; 2] = Default::default();
    for bit in 0..2_u64 {
        for person in 0..3 {
            contribute(&quiet, person, bit).await;
        }
        all_anchored(&quiet, 3 * (bit + 1)).await;
        for (manifest, seen) in manifests.iter().zip(&mut seen) {
            let job = quiet.request(manifest).await.expect("a job");
            reaches(&quiet, job, JobState::Completed).await;
            seen.push(everything(&quiet, job).await);
        }
    }
    let outcomes = ["ran", "failed"];
    for (seen, outcome) in seen.iter().zip(outcomes) {
        assert_eq!(
            seen[0]["record"]["receipt"]["outcome"], outcome,
            "{}",
            seen[0]
        );
        assert_eq!(seen[0], seen[1]);
        println!("{}", seen[0]);
    }

    // Whether it ran or failed, it counts and pays: 800 for contributors, 150 for the node, 50 for the treasury.
    quiet.pass(WINDOW).await;
    for job in 1..=4 {
        reaches(&quiet, job, JobState::Settled).await;
    }
    let escrow = JobEscrow::new(quiet.world.deployment.escrow, quiet.reader.provider());
    for manifest in &manifests {
        let runs = escrow.runs(quiet.world.deployment.collective, manifest.digest().0);
        assert_eq!(runs.call().await.expect("a count"), 2);
    }
    let credit = escrow.credit(quiet.world.deployment.token, quiet.world.keys.address());
    assert_eq!(credit.call().await.expect("a sum"), U256::from(4 * 150));
}

/// A run that ended in no time is not to be seen for a whole bucket; a power cut in the meantime begins it anew.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_run_shows_before_its_moment() {
    let mut quiet = QuietWorld::found_with(&leaker()).await;
    let mut failing = quiet.extra.clone();
    failing.arguments = "k".into();
    failing.limits.bucket_seconds = Some(5);
    quiet.have_approved(std::slice::from_ref(&failing)).await;
    for person in 0..3 {
        contribute(&quiet, person, 0).await;
    }
    all_anchored(&quiet, 3).await;
    let job = quiet.request(&failing).await.expect("a job");
    reaches(&quiet, job, JobState::Released).await;
    quiet.mine(LAG + 1);
    // Time for some hundred such runs.
    tokio::time::sleep(Duration::from_secs(3)).await;
    nothing_shows(&quiet, job).await;
    quiet.crash().await;
    let restarted = Instant::now();
    quiet.start().await.expect("the node starts");
    while quiet.record(job, 1).await.is_none() {
        nothing_shows(&quiet, job).await;
        assert!(restarted.elapsed() < Duration::from_secs(60), "no record");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let shown = restarted.elapsed();
    assert!(shown >= Duration::from_millis(6_001), "after {shown:?}");
    reaches(&quiet, job, JobState::Completed).await;
    assert_eq!(quiet.fact(job).await.lease.attempt, 1, "one lease, one run");
}

/// Not even the blob of an empty output, whose name everybody knows.
async fn nothing_shows(quiet: &QuietWorld, job: u64) {
    let before = Instant::now();
    let empty = quiet.client().has(BlobId::of(&[])).await;
    let answer = quiet.client().job(job).await.expect("an answer");
    let shown = empty.expect("an answer") || answer.record.is_some();
    // The record follows its blobs within one step.
    let recorded = async || quiet.record(job, 1).await.is_some();
    while shown && !recorded().await {
        assert!(before.elapsed() < Duration::from_secs(1), "it shows");
    }
}

/// Somebody answers anew; the first question is answered with the bit.
async fn contribute(quiet: &QuietWorld, person: usize, bit: u64) {
    let share = quiet.world.keys.shares().newest().expect("a share");
    let to = Destination {
        deployment: &quiet.world.deployment,
        recipient: share.certificate().recipient(),
        source: "anes96",
        terms: election::terms(person, TERMS_EXPIRE),
    };
    let record = format!("{bit},7,7,1,6,6,36,3,1,1\n");
    let account = &quiet.world.contributors[person];
    let made = prepare(&to, account, bit, record.as_bytes(), &mut rand::rng());
    let (entry, file) = made.expect("a sealed record");
    let sent = quiet.client().contribute(join(&entry, &file)).await;
    sent.expect("acknowledged");
}

/// What HTTP answers about a job and what the chain's log says of it, without what is of the job alone.
async fn everything(quiet: &QuietWorld, job: u64) -> Value {
    let answer = quiet.client().job(job).await.expect("an answer");
    let record = answer.record.clone().expect("a record");
    let logs = quiet.logs::<JobEscrow::Completed>().await;
    let event = logs.last().expect("a receipt");
    let event = JobEscrow::Completed::decode_log(&event.inner).expect("a receipt");
    assert_eq!(
        format!("{:?}", event.data.receipt),
        format!("{:?}", on_chain(&record.receipt)),
        "the chain says what HTTP says"
    );
    let output = match quiet.client().output(job).await {
        Ok(sealed) => json!(sealed.len()),
        Err(refused) => json!(refused.to_string().replace(&format!("job {job}"), "it")),
    };
    let sandbox = quiet.node().blobs().get(record.sandbox).await;
    let mut answer = serde_json::to_value(answer).expect("JSON");
    forget(&mut answer);
    json!({
        "record": answer["record"],
        "answer": answer,
        "output": output,
        "sandbox": String::from_utf8_lossy(&sandbox.expect("a description")),
    })
}

/// Takes out what is of the job alone. The time that the committee took passed before the program began.
fn forget(value: &mut Value) {
    let Value::Object(fields) = value else {
        return;
    };
    fields.retain(|name, _| !OF_THE_JOB.contains(&&**name) && name != "openingMilliseconds");
    fields.values_mut().for_each(forget);
}

fn leaker() -> Vec<u8> {
    bombs::module(include_str!("covert/leaker.wat"))
}
