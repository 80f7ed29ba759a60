//! What `review` shows of proposals whose programs have no source, whose terms are not the manifest's, or whose manifest nobody
//! can read. What it shows of programs with a source is in `programs.rs`.

mod by_hand;

use alloy::primitives::{B256, Bytes, U256};
use alloy::providers::{Provider, ProviderBuilder};
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::SolCall;
use by_hand::World;
use collective::approval::Manifest;
use collective::permit::ApprovedTerms;
use collective_contracts::{CodeRegistry, CollectiveGovernor};
use collective_node::chain::Deployment;
use collective_node::driver::stored_terms;
use serde_json::Value;

fn text(path: &str) -> String {
    std::fs::read_to_string(path).expect("a file of the world")
}

/// The example that takes means, as the world hands it out.
fn mean(world: &World) -> Manifest {
    let text = text(&world.path("manifests/mean.json"));
    serde_json::from_str(&text).expect("a manifest")
}

fn risks(review: &Value) -> Vec<String> {
    let risks = review["approvals"][0]["risks"].as_array();
    let risks = risks.expect("risks").iter();
    risks
        .map(|risk| risk.as_str().expect("a sentence").to_owned())
        .collect()
}

/// Opens a proposal that makes this one call to CodeRegistry, without a verb that would look at it first.
async fn propose(world: &World, call: Bytes, description: &str) -> U256 {
    let key = text(&world.key("founder-0"));
    let secret = key.lines().find(|line| line.starts_with("0x"));
    let account: PrivateKeySigner = secret.expect("a key").parse().expect("a key");
    let deployment: Deployment =
        serde_json::from_str(&text(&world.path("deployment.json"))).expect("a deployment");
    let url = world.told("rpc").parse().expect("an address");
    let provider = ProviderBuilder::new().wallet(account).connect_http(url);
    let provider = provider.erased();
    let governor = CollectiveGovernor::new(deployment.governor, &provider);
    let (to, value) = (vec![deployment.code], vec![U256::ZERO]);
    let proposing = governor.propose(to, value, vec![call], description.into());
    let id = proposing.call().await.expect("it would be opened");
    let sent = proposing.send().await.expect("it is sent");
    sent.get_receipt().await.expect("it is mined");
    id
}

#[test]
fn a_program_without_source_is_shown_as_one() {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let world = World::start_with(temporary.path().join("world"), &[]);
    let (manifest, program) = (
        world.path("manifests/mean.json"),
        world.path("programs/mean.wasm"),
    );
    let founder = world.key("founder-0");
    let opened = world.run(&format!(
        "propose --manifest {manifest} --program {program} --key {founder} --json"
    ));
    let opened: Value = serde_json::from_slice(&opened.stdout).expect("JSON");
    let id = opened["proposal"].as_str().expect("an id");

    let review = world.json(&format!("review {id}"));
    let approval = &review["approvals"][0];
    assert_eq!(approval["manifest"], opened["manifest"]);
    assert_eq!(
        approval["imports"],
        serde_json::json!([
            "collective:program/dataset@0.1.0",
            "collective:program/output@0.1.0"
        ])
    );
    assert_eq!(approval["trial"]["ended"], "notTried");
    assert_eq!(approval["earlier"], Value::Null);
    // 944 respondents, of whom those whose row ends in 9 did not allow statistics.
    let earnings = &approval["earnings"];
    assert_eq!(earnings["contributors"], 850);
    let statements = approval["statements"].as_array().expect("statements");
    let topics: Vec<_> = statements.iter().map(|it| it["topic"].as_str()).collect();
    assert_eq!(topics.len(), 9, "{topics:?}");
    let told = statements.iter().map(|it| it["says"].to_string());
    let told = told.collect::<Vec<_>>().join("\n");
    let mean = mean(&world);
    for fact in [
        mean.program.sha256().to_string(),
        mean.payment.price.to_string(),
        mean.payment.token.to_string(),
        mean.output.max_bytes.to_string(),
        format!("{} times", mean.max_runs),
        mean.expiry.to_string(),
        mean.dataset.columns.join(", "),
    ] {
        assert!(told.contains(&fact), "{fact} is not in {told}");
    }
    let risks = risks(&review);
    let warned = |words: &str| risks.iter().any(|risk| risk.contains(words));
    assert!(warned("no source for the bytes"), "{risks:?}");
    assert!(warned("could carry records"), "{risks:?}");
    assert!(warned("no evidence is asked"), "{risks:?}");

    let page = world.run(&format!("review {id}"));
    let page = String::from_utf8(page.stdout).expect("text");
    assert!(page.contains("== what to weigh =="), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_be_stored_and_what_nobody_can_read_is_found_out() {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let world = World::start_with(temporary.path().join("world"), &[]);
    let (path, program) = (
        world.path("manifests/mean.json"),
        world.path("programs/mean.wasm"),
    );
    let founder = world.key("founder-0");
    // Keeps manifest and program at the node.
    world.json(&format!(
        "propose --manifest {path} --program {program} --key {founder}"
    ));
    let manifest = mean(&world);
    let approve = |digest: B256, terms: &ApprovedTerms| {
        let call = CodeRegistry::approveCall {
            manifest: digest,
            terms: stored_terms(terms),
            uri: String::new(),
        };
        Bytes::from(call.abi_encode())
    };
    let mut terms = ApprovedTerms::of(&manifest);
    terms.max_runs += 1;
    let call = approve(manifest.digest().0, &terms);
    let id = propose(&world, call, "More runs than the manifest has.").await;
    let told = world.run(&format!("review {id} --json"));
    assert_eq!(told.status.code(), Some(1));
    let review = serde_json::from_slice(&told.stdout).expect("JSON");
    let other = "the terms that would be stored are not those of the manifest";
    assert!(risks(&review).iter().any(|risk| risk.contains(other)));

    let call = approve(B256::repeat_byte(7), &terms);
    let id = propose(&world, call, "Bytes that nobody has.").await;
    world.refused(&format!("review {id}"), "vote against what you cannot read");

    let call = approve(manifest.program.sha256().0, &terms);
    let id = propose(&world, call, "Bytes that are no manifest.").await;
    world.refused(&format!("review {id}"), "is no manifest");
    world.refused("review 7", "there is no proposal 7");
}
