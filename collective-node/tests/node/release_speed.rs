//! How long the release of 1,000 headers takes for three of five on loopback, from question to file keys. A measurement:
//! `cargo test --release --test node -- --ignored --nocapture release_speed::`, on a machine that does nothing else.

use std::time::{Duration, Instant};

use crate::committee_world::{CommitteeWorld, name};
use collective::committee::released::ReleasedFiles;
use collective_node::committee::Committee;

const FILES: usize = 1_000;

/// What a release may take.
const PROMISED: Duration = Duration::from_secs(1);

const ROUNDS: usize = 5;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn a_thousand_headers_are_released_in_a_second() {
    let mut world = CommitteeWorld::found(3, 5).await;
    // Those who allow statistics.
    let rows = (0..).filter(|row| row % 10 != 9);
    world.populate(rows.take(FILES)).await;
    let source = world.source.client();
    world.start_members(&source).await;
    world.settle_in().await;

    let job = world.leased().await;
    let files = world.files(job).await;
    assert_eq!(files.headers().len(), FILES);
    let committee = world.committee().await;
    let began = Instant::now();
    let signed = committee.sign_release(files.release()).await;
    let signing = began.elapsed();
    assert_eq!(signed.expect("signed").len(), 3);
    world.record(job, &[0, 1, 2]).await;
    world.settle_in().await;

    let files = world.files(job).await;
    let cores = std::thread::available_parallelism().expect("a number");
    println!("{FILES} hybrid headers, 3 of 5, {cores} cores for all members and the node");
    println!("t signatures under the release, facts and headers read: {signing:?}");
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let (took, worked) = open(&committee, &files).await;
        println!("file keys, facts known since the signature: {took:?}, processor {worked:?}");
        best = best.min(took);
    }
    let question = world
        .question(name(&world, files.release()), &[0, 1, 2])
        .to_bytes();
    let began = Instant::now();
    let answer = world
        .ask_partials(&world.world.keys, 0, job, &question)
        .await;
    println!(
        "one member alone: {:?}, {} bytes",
        began.elapsed(),
        answer.expect("an answer").len()
    );

    for place in 0..5 {
        world.kill(place).await;
    }
    world.start_members(&source).await;
    world.settle_in().await;
    let committee = world.committee().await;
    let (first, worked) = open(&committee, &files).await;
    println!(
        "the same from members that were started again, facts and headers read: {first:?}, processor {worked:?}"
    );
    assert!(best <= PROMISED, "{best:?}: is the machine busy?");
}

/// How long it takes, and how long the processors work for it, of everybody in this process.
async fn open(committee: &Committee, files: &ReleasedFiles) -> (Duration, Duration) {
    let (began, worked) = (Instant::now(), processor());
    let opened = committee.open(files.clone()).await.expect("opened");
    assert!(opened.files.iter().all(Result::is_ok) && opened.record.retries() == 0);
    (began.elapsed(), processor() - worked)
}

/// Processor time of this process so far: fields 14 and 15 of proc(5)'s stat, in hundredths of a second.
fn processor() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let (_, fields) = stat.rsplit_once(") ").expect("a name in brackets");
    let ticks = fields.split(' ').skip(11).take(2);
    let ticks = ticks.map(|ticks| ticks.parse::<u64>().expect("a number"));
    Duration::from_millis(10 * ticks.sum::<u64>())
}
