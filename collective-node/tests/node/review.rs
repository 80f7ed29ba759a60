//! What `review` shows of proposals: of a program with its source, of a second version of it, and of what a voter should be
//! warned of.

use crate::by_hand::World;
use crate::educ::{edit, write_program};
use crate::forge::Forge;
use alloy::primitives::{B256, Bytes, U256};
use alloy::providers::{Provider, ProviderBuilder};
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::SolCall;
use collective::approval::Manifest;
use collective::permit::ApprovedTerms;
use collective_contracts::{CodeRegistry, CollectiveGovernor};
use collective_node::chain::Deployment;
use collective_node::driver::stored_terms;
use serde_json::{Value, json};

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
    assert_eq!(topics.len(), 11, "{topics:?}");
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

fn places(review: &Value) -> Vec<&str> {
    let changes = review["approvals"][0]["changes"].as_array();
    let changes = changes.expect("changes").iter();
    changes
        .map(|change| change["place"].as_str().expect("a place"))
        .collect()
}

#[test]
fn source_rebuild_trial_and_differences_are_shown() {
    let temporary = tempfile::tempdir().expect("a folder");
    let Some(forge) = Forge::start(&temporary.path().join("forge")) else {
        return;
    };
    let world = World::start_with(temporary.path().join("world"), &[]);
    let Some(name) = write_program(&world, &forge, "c") else {
        return;
    };
    let folder = forge.clone().join(name);
    let founder = world.key("founder-0");
    let mean = mean(&world);
    let collective::approval::Recipient::Age(recipient) = &mean.recipient else {
        panic!("the example goes to an age recipient");
    };
    let file = forge.file();
    let propose = |branch: &str, save: &str| {
        forge.push(branch);
        let line = format!(
            "--recipient {recipient} --key {founder} --save {}",
            world.path(save)
        );
        let opened = world.json(&format!(
            "propose --branch {branch} --repository {file} {line}"
        ));
        opened["proposal"].as_str().expect("an id").to_owned()
    };
    let first = propose("first", "first.json");
    let wasm = world.path("first.wasm");
    world.json(&format!("program build {} {wasm}", folder.display()));

    let review = world.json(&format!("review {first}"));
    let approval = &review["approvals"][0];
    assert_eq!(approval["sameBytes"], "yes");
    assert_eq!(
        (&approval["earlier"], &approval["trial"]["ended"]),
        (&Value::Null, &json!("ran"))
    );
    assert_eq!(approval["trial"]["records"], 40);
    let tried = world.json(&format!("program test {}", folder.display()));
    assert_eq!(approval["trial"]["output"], tried["output"]);
    assert!(
        places(&review).contains(&"src/main.c"),
        "{:?}",
        places(&review)
    );
    let warned =
        |review: &Value, words: &str| risks(review).iter().any(|risk| risk.contains(words));
    for words in ["source", "mock data", "terms", "once"] {
        assert!(!warned(&review, words), "{words}: {:?}", risks(&review));
    }
    world.decide(&[&first]);

    // A second version shows what is other than in the first.
    edit(&folder.join("program.toml"), |text| {
        text.replace("maxRuns = 1", "maxRuns = 3")
    });
    edit(&folder.join("src/main.c"), |text| {
        format!("// Counts, too.\n{text}")
    });
    let second = propose("second", "second.json");
    let review = world.json(&format!("review {second}"));
    let approval = &review["approvals"][0];
    assert_eq!(approval["sameBytes"], "yes");
    let digest =
        |name: &str| world.json(&format!("manifest check {}", world.path(name)))["digest"].clone();
    assert_eq!(approval["earlier"], digest("first.json"));
    let changed = places(&review);
    for place in [
        "maxRuns",
        "program.origin.commit",
        "program.toml",
        "src/main.c",
    ] {
        assert!(changed.contains(&place), "{place}: {changed:?}");
    }
    for place in ["mock/records.csv", "payment.price", "output.maxBytes"] {
        assert!(!changed.contains(&place), "{place}: {changed:?}");
    }
    let page = world.run(&format!("review {second}"));
    let page = String::from_utf8(page.stdout).expect("text");
    println!("{page}");
    assert!(
        page.contains("\n| +// Counts, too.\n") && page.contains("maxRuns: 1 → 3\n"),
        "{page}"
    );

    // A manifest that shows another program's source, and allows more than that source says.
    let mut lying: Value = serde_json::from_str(&text(&world.path("second.json"))).expect("JSON");
    let mean_wasm = world.path("programs/mean.wasm");
    lying["program"]["sha256"] = json!(mean.program.sha256());
    lying["output"]["maxBytes"] = json!(100_000);
    let path = world.path("lying.json");
    std::fs::write(&path, lying.to_string()).expect("written");
    let opened = world.json(&format!(
        "propose --manifest {path} --program {mean_wasm} --key {founder}"
    ));
    let id = opened["proposal"].as_str().expect("an id");
    let told = world.run(&format!("review {id} --json"));
    assert_eq!(told.status.code(), Some(1));
    let review: Value = serde_json::from_slice(&told.stdout).expect("JSON");
    assert_eq!(review["approvals"][0]["sameBytes"], "no");
    assert!(warned(&review, "does not make the bytes that would run"));
    assert!(warned(
        &review,
        "something else than the manifest, which is what counts, of: output.maxBytes"
    ));

    // What was revoked once comes back under another digest, and is known.
    let digest = digest("first.json");
    let digest = digest.as_str().expect("a digest");
    let revoking = world.json(&format!(
        "propose --revoke-program {digest} --key {founder}"
    ));
    world.decide(&[revoking["proposal"].as_str().expect("an id")]);
    let mut again: Value = serde_json::from_str(&text(&world.path("first.json"))).expect("JSON");
    again["arguments"] = json!("once more");
    let path = world.path("again.json");
    std::fs::write(&path, again.to_string()).expect("written");
    let opened = world.json(&format!(
        "propose --manifest {path} --program {wasm} --key {founder}"
    ));
    let review = world.json(&format!(
        "review {}",
        opened["proposal"].as_str().expect("an id")
    ));
    assert!(
        warned(
            &review,
            &format!("was approved before, as {digest}, and revoked")
        ),
        "{:?}",
        risks(&review)
    );
    // Members stopped that version: its lines are not passed over as known.
    assert!(warned(
        &review,
        &format!("the last version from this folder, {digest}, was revoked")
    ));
    assert_eq!(review["approvals"][0]["earlier"], Value::Null);
    assert!(places(&review).contains(&"mock/records.csv"));
}
