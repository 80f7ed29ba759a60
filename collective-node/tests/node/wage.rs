//! A wage for reachability by hand: voted, paid in, posted, disputed, settled, and worked out again, by verbs alone.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::by_hand::{PATIENCE, World};
use alloy::primitives::Address;
use alloy::providers::{Provider, ProviderBuilder};
use alloy::rpc::types::Filter;
use alloy::sol_types::SolEvent;
use collective::contribution::BatchReceipt;
use collective::id::BlobId;
use collective_contracts::ContributionRegistry::BatchCommitted;
use collective_contracts::LivenessRegistry;
use collective_node::chain::Deployment;
use collective_node::contributor::split_file;
use serde_json::Value;

const DAY: &str = "86400";

/// Seconds from posting until a day can be settled.
const DISPUTES: &str = "345600";

async fn provider(world: &World) -> impl Provider + use<> {
    ProviderBuilder::new().connect_http(world.told("rpc").parse().expect("an address"))
}

/// The node's account, which is that of its batches.
async fn node(world: &World, deployment: &Deployment) -> Address {
    let filter = Filter::new()
        .address(deployment.contributions)
        .event_signature(BatchCommitted::SIGNATURE_HASH)
        .from_block(0);
    let logs = provider(world).await.get_logs(&filter).await.expect("logs");
    let event = BatchCommitted::decode_log(&logs.first().expect("a batch").inner);
    event.expect("an event").aggregator
}

/// The sealed file of a contribution, from the node's blobs.
fn sealed(world: &World, receipt: &str) -> String {
    let receipt = std::fs::read(receipt).expect("a receipt");
    let receipt: BatchReceipt = serde_json::from_slice(&receipt).expect("a receipt");
    let wanted = receipt.entry.commitment.header;
    let is_it = |path: &PathBuf| {
        let bytes = std::fs::read(path).unwrap_or_default();
        split_file(&bytes).is_some_and(|(header, _)| BlobId::of(header).0 == wanted)
    };
    let folders = std::fs::read_dir(world.path("node/blobs")).expect("blobs");
    let files = folders.flatten().flat_map(|folder| {
        let within = std::fs::read_dir(folder.path()).into_iter().flatten();
        within.flatten().map(|file| file.path())
    });
    let found = files.into_iter().find(is_it).expect("the file");
    found.to_str().expect("UTF-8").to_owned()
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wage_is_voted_paid_in_posted_disputed_and_settled() {
    let folder = tempfile::tempdir().expect("a folder");
    let world = World::start_with(folder.path().join("world"), &[]);
    let file = std::fs::read(world.told("deployment")).expect("written by dev");
    let deployment: Deployment = serde_json::from_slice(&file).expect("a deployment");
    let (founder, requester) = (world.key("founder-0"), world.key("requester"));
    let contributor = world.key("contributor-0");

    let verdict = world.json("rewards recompute");
    assert_eq!(verdict["findings"], serde_json::json!([]), "no root yet");
    world.refused(
        &format!("propose --wage 500 --key {founder}"),
        "name an account with --auditor",
    );
    let auditor = node(&world, &deployment).await;
    let opened = world.json(&format!(
        "propose --auditor {auditor} --wage 500 --key {founder}"
    ));
    let id = opened["proposal"].as_str().expect("an id").to_owned();
    let shown = world.json(&format!("proposal show {id}"));
    let would = shown["actions"][0].as_str().expect("words");
    assert!(would.starts_with("pay 500 of token"), "{would}");
    let made = world.json_with(
        &format!(
            "contribute --record - --source anes96 --purposes statistics --nonce 9 --key {contributor}"
        ),
        b"0,7,7,1,6,6,36,3,1,1\n",
    );
    let (leaf, receipt) = (&made["leaf"], world.path("receipt.json"));
    let leaf = leaf.as_str().expect("a leaf");
    world.json(&format!("contributions {leaf} --wait --receipt {receipt}"));
    world.decide(&[&id]);
    let funded = world.json(&format!("liveness fund 1200 --key {requester}"));
    assert_eq!(
        (&funded["free"], &funded["wage"]),
        (&"1200".into(), &"500".into())
    );

    // A whole day passes and is posted.
    world.pass(DAY);
    let newest = || {
        let output = world.run("liveness --json");
        let audits: Value = serde_json::from_slice(&output.stdout).ok()?;
        audits[0]["epoch"].as_u64()
    };
    let latest = provider(&world)
        .await
        .get_block_number()
        .await
        .expect("a block");
    let block = provider(&world)
        .await
        .get_block_by_number(latest.into())
        .await;
    let today = block.expect("an answer").expect("a block").header.timestamp / 86_400;
    until("its audit", || (newest()? == today).then_some(()));
    let sealed = sealed(&world, &receipt);
    let dispute =
        |file: &str| format!("liveness dispute {today} {receipt} {file} --key {requester}");
    world.refused(
        &format!("liveness settle {today} --key {requester}"),
        "nothing was posted",
    );
    world.pass(DAY);
    let registry = LivenessRegistry::new(deployment.liveness, provider(&world).await);
    let began = Instant::now();
    loop {
        let audit = registry.audit(deployment.collective, today).call().await;
        if !audit.expect("a view").root.is_zero() {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "not posted");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    world.refused(
        &format!("liveness settle {today} --key {requester}"),
        "can be disputed and vetoed for",
    );
    world.refused(
        &format!("liveness veto {today} --key {requester}"),
        "NotCollective",
    );
    let other = world.path("other.age");
    let mut bent = std::fs::read(&sealed).expect("a file");
    *bent.last_mut().expect("bytes") ^= 1;
    std::fs::write(&other, bent).expect("written");
    world.refused(&dispute(&other), "another copy may be whole");
    let disputed = world.json(&dispute(&sealed));
    assert_eq!(disputed["contribution"], leaf);
    let shown = registry.shown(deployment.collective, today, leaf.parse().expect("a leaf"));
    assert!(shown.call().await.expect("a view"));

    // The node settles it by itself; the data is the node's to keep, so the treasury has it all.
    world.pass(DISPUTES);
    let told = until("a root", || {
        let told = world.json("rewards recompute");
        (told["findings"][0]["holds"] == true).then_some(told)
    });
    let seen = told["findings"][0]["seen"].as_str().expect("words");
    assert!(
        seen.contains("pays 500") && seen.contains(&format!("epoch {today}")),
        "{seen}"
    );
    world.refused(
        &format!("liveness veto {today} --key {founder}"),
        "is settled",
    );
    world.refused(&dispute(&sealed), "DisputeOver");
    world.pass("86460");
    let treasury = world.json(&format!("rewards show {}", deployment.collective));
    assert_eq!(treasury["cumulative"], "500");
}
