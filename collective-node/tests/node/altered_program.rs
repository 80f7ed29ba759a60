//! A program whose bytes the disk altered: a node takes no lease for it, runs nothing that it leased, and goes on once the
//! approved bytes are back. (That every single bit counts is shown on the permit itself, in `collective/src/permit.rs`.)

use std::path::PathBuf;
use std::sync::Arc;

use crate::quiet_world::{LAG, QuietWorld, populated, reaches};
use collective::id::BlobId;
use collective_node::blobs::BlobError;
use collective_node::chain::facts::JobState;
use collective_node::committee::Committee;
use collective_node::demo::MEAN;
use collective_node::driver::{Compute, DriveError, Driver, Progress};
use collective_node::fetched::Fetched;
use collective_node::headers::Headers;
use collective_node::places::Places;
use collective_node::sandbox::Sandbox;
use collective_node::wire;

/// Flips that a driver is shown on disk.
const FLIPS: usize = 200;

/// The approved program's blob.
fn blob(quiet: &QuietWorld) -> PathBuf {
    let name = BlobId::of(MEAN).to_string();
    let name = name.trim_start_matches("0x");
    quiet
        .world
        .data
        .join("blobs")
        .join(&name[..2])
        .join(&name[2..])
}

/// Puts bytes in the program's place, as a whole.
fn put(quiet: &QuietWorld, bytes: &[u8]) {
    let beside = quiet.world.data.join("altered");
    std::fs::write(&beside, bytes).expect("written");
    std::fs::rename(&beside, blob(quiet)).expect("moved");
}

/// What drives the node's jobs, over the node's own ledger, blobs and keys.
fn driver(quiet: &QuietWorld) -> Driver<Compute> {
    let (node, world) = (quiet.node(), &quiet.world);
    let (chain, blobs, ledger) = (
        quiet.reader.clone(),
        node.blobs().clone(),
        node.ledger().clone(),
    );
    let (keys, view) = (world.keys.clone(), node.view());
    let committee = Committee {
        chain: chain.clone(),
        blobs: blobs.clone(),
        keys: keys.clone(),
        view: view.clone(),
        node: world.node_id,
        own: None,
        wire: Arc::new(wire::Client::new(keys.transport_key())),
        health: Default::default(),
        faults: Arc::default(),
    };
    let folder = world.data.join("fetched-again");
    let places = Places::new(Default::default()).expect("a client");
    let fetched = Fetched::open(folder, ledger.clone(), blobs.clone(), places);
    let site = Compute {
        deployment: world.deployment,
        ledger: ledger.clone(),
        blobs: blobs.clone(),
        fetched: Arc::new(fetched.expect("a folder")),
        keys: keys.clone(),
        sandbox: Arc::new(Sandbox::new(
            env!("CARGO_BIN_EXE_collective").into(),
            vec![],
            None,
        )),
        deciding: Arc::default(),
    };
    Driver {
        site,
        headers: Headers::own(ledger.clone(), blobs.clone()),
        chain,
        ledger,
        blobs,
        keys,
        committee: Arc::new(committee),
        view,
        node: world.node_id,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_the_disk_altered_is_never_leased_nor_run() {
    let mut quiet = populated().await;
    let bits = MEAN.len() * 8;
    let altered = |bit: usize| {
        let mut program = MEAN.to_vec();
        program[bit / 8] ^= 1 << (bit % 8);
        program
    };
    put(&quiet, &altered(0));
    let job = quiet.request(&quiet.manifest).await.expect("a job");
    quiet.mine(LAG);
    let driver = driver(&quiet);
    for flip in 0..FLIPS {
        // Spread over the whole program; the last is its last bit.
        let bit = (flip + 1) * bits / FLIPS - 1;
        put(&quiet, &altered(bit));
        let refused = driver
            .advance(job, &mut Progress::default())
            .await
            .expect_err("an altered program");
        assert!(
            matches!(refused, DriveError::Blob(BlobError::Garbled(_))),
            "bit {bit}: {refused}"
        );
    }
    assert_eq!(quiet.fact(job).await.state, JobState::Requested);
    // It shares the node's ledger, which a crash closes.
    drop(driver);

    // Leased and released with the approved bytes, altered before it ran.
    put(&quiet, MEAN);
    reaches(&quiet, job, JobState::Released).await;
    quiet.crash().await;
    put(&quiet, &altered(bits / 2));
    quiet.mine(LAG);
    quiet.start().await.expect("the node starts");
    for _ in 0..10 {
        quiet.stand_still().await;
        quiet.mine(1);
    }
    assert_eq!(quiet.record(job, 1).await, None, "it ran");
    assert_eq!(quiet.fact(job).await.state, JobState::Released);
    put(&quiet, MEAN);
    reaches(&quiet, job, JobState::Completed).await;
}
