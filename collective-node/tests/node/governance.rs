//! Deciding by hand: ballots and delegations that a node relays, a guardian, and every state of a proposal, in each of
//! which the same job is asked for.

use crate::by_hand::{World, start_node};
use alloy::primitives::{Address, U256};
use alloy::signers::local::PrivateKeySigner;
use collective_node::chain::Deployment;
use collective_node::client::{Client, ClientError};
use collective_node::governance::{Ballot, SignedBallot, SignedDelegation};
use serde_json::Value;

/// Seconds until a vote opens, until it closes, and of the notice after it; one more each, to be past it.
const OPENS: &str = "61";
const CLOSES: &str = "3601";
const NOTICE: &str = "86401";

/// Member of a world whose keys are known.
struct Member {
    key: String,
    account: PrivateKeySigner,
}

impl Member {
    fn of(world: &World, name: &str) -> Self {
        let key = world.key(name);
        let text = std::fs::read_to_string(&key).expect("a key file");
        let secret = text.lines().find(|line| line.starts_with("0x"));
        let account = secret.expect("a key").parse().expect("a key");
        Self { key, account }
    }

    fn address(&self) -> Address {
        self.account.address()
    }
}

fn propose(world: &World, what: &str, description: &str, by: &Member) -> String {
    let key = &by.key;
    let opened = world.json(&format!(
        "propose {what} --description {description} --key {key}"
    ));
    opened["proposal"].as_str().expect("an id").to_owned()
}

fn shown(world: &World, id: &str) -> Value {
    world.json(&format!("proposal show {id}"))
}

fn vote(world: &World, id: &str, word: &str, by: &Member) {
    world.json(&format!("vote {id} {word} --key {}", by.key));
}

#[test]
fn only_what_was_executed_runs() {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let world = World::start(temporary.path().join("world"));
    let _node = start_node(&world.path("node.toml"));
    let [ann, ben, guardian] = [0, 1, 2].map(|n| Member::of(&world, &format!("founder-{n}")));
    let requester = world.key("requester");
    let manifest = world.path("manifests/mean.json");
    let digest = world.json(&format!("manifest check {manifest}"))["digest"].clone();
    let ask = format!("job request --manifest {manifest} --key {requester}");
    let refused = || world.refused(&ask, "NotActive");

    // A guardian, by vote.
    let named = format!("--guardian {}", guardian.address());
    let naming = propose(&world, &named, "guardian", &ann);
    world.pass(OPENS);
    for member in [&ann, &ben] {
        vote(&world, &naming, "for", member);
    }
    world.pass(CLOSES);
    world.json(&format!("proposal queue {naming} --key {}", ann.key));
    world.pass(NOTICE);
    world.json(&format!("proposal execute {naming} --key {}", ann.key));

    // The same program three times: one proposal fails, one is vetoed, one is executed.
    let program = world.path("programs/mean.wasm");
    let what = format!("--manifest {manifest} --program {program}");
    refused();
    let failing = propose(&world, &what, "failing", &ann);
    let vetoed = propose(&world, &what, "vetoed", &ann);
    let executed = propose(&world, &what, "executed", &ann);
    let states = |expected: [&str; 3]| {
        for (id, state) in [&failing, &vetoed, &executed].into_iter().zip(expected) {
            assert_eq!(shown(&world, id)["state"], state);
        }
    };
    let seen = shown(&world, &executed);
    let action = seen["actions"][0].as_str().expect("words");
    let digest = digest.as_str().expect("a digest");
    assert!(
        action.starts_with(&format!("approve manifest {digest}: ")),
        "{action}"
    );
    assert_eq!(seen["actions"].as_array().map(Vec::len), Some(1));
    assert_eq!(
        (&seen["quorum"], &seen["state"]),
        (&Value::Null, &"pending".into())
    );
    states(["pending"; 3]);
    refused();
    world.pass(OPENS);
    states(["active"; 3]);
    refused();
    for id in [&vetoed, &executed] {
        for member in [&ann, &ben] {
            vote(&world, id, "for", member);
        }
    }
    vote(&world, &failing, "against", &ben);
    let counted = shown(&world, &executed);
    assert_eq!(
        (&counted["for"], &counted["quorum"]),
        (&"2".into(), &"1".into())
    );
    refused();
    world.pass(CLOSES);
    states(["defeated", "succeeded", "succeeded"]);
    refused();
    for id in [&vetoed, &executed] {
        world.json(&format!("proposal queue {id} --key {}", ben.key));
    }
    states(["defeated", "queued", "queued"]);
    refused();

    // In the notice window the guardian stops one; nobody else can, not even who opened it.
    let veto = |by: &Member| format!("proposal veto {vetoed} --key {}", by.key);
    world.refused(&veto(&ann), "GovernorUnableToCancel");
    let waits = shown(&world, &vetoed);
    let next = waits["next"].as_str().expect("words");
    assert!(next.contains(&guardian.address().to_string()), "{next}");
    world.json(&veto(&guardian));
    states(["defeated", "canceled", "queued"]);
    refused();
    world.pass(NOTICE);
    let execute = |id: &str| format!("proposal execute {id} --key {}", ben.key);
    for id in [&failing, &vetoed] {
        world.refused(&execute(id), "GovernorUnexpectedProposalState");
    }
    refused();
    world.json(&execute(&executed));
    states(["defeated", "canceled", "executed"]);
    assert_eq!(world.json(&ask)["job"], 1);

    // The guardian revokes what was approved; nobody else can, and no vote brings it back.
    let revoke = |by: &Member| format!("program revoke {digest} --key {}", by.key);
    world.refused(&revoke(&ben), "NotGuardian");
    world.json(&revoke(&guardian));
    refused();
    world.refused("proposal show 12345", "there is no proposal 12345");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relayed_vote_counts_as_the_members_own() {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let world = World::start(temporary.path().join("world"));
    let _node = start_node(&world.path("node.toml"));
    let [ann, ben, cem] = [0, 1, 2].map(|n| Member::of(&world, &format!("founder-{n}")));
    let stranger = Member::of(&world, "contributor-0");
    let client = Client::new(world.told("node").parse().expect("a URL")).expect("a client");
    let text = std::fs::read(world.told("deployment")).expect("a deployment");
    let deployment: Deployment = serde_json::from_slice(&text).expect("a deployment");
    let status = |error: ClientError| error.problem().expect("a problem").status;

    // Ann is away, and Ben votes for her: in votes that open after she said so.
    let before = propose(
        &world,
        "--guardian 0x00000000000000000000000000000000000000aa",
        "before",
        &cem,
    );
    world.pass(OPENS);
    world.json(&format!("delegate {} --key {}", ben.address(), ann.key));
    let again = format!("delegate --back --key {}", ann.key);
    world.refused(&again, "one delegation of a member an hour");
    let same = format!("delegate {} --key {}", ben.address(), ann.key);
    world.refused(&same, "the member's delegate already");
    let to_oneself = format!("delegate --back --key {}", stranger.key);
    world.refused(&to_oneself, "is no member");
    vote(&world, &before, "for", &ben);
    assert_eq!(shown(&world, &before)["for"], "1");

    let after = propose(
        &world,
        "--guardian 0x00000000000000000000000000000000000000bb",
        "after",
        &cem,
    );
    let early = format!("vote {after} for --key {}", ben.key);
    world.refused(&early, "the vote opens in");
    world.pass("3500");
    let id: U256 = after.parse().expect("a number");

    // What is not the member's word is refused, and costs the node nothing.
    let sign = |by: &Member, nonce| {
        SignedBallot::sign(&deployment, &by.account, id, Ballot::Against, nonce)
    };
    let nonce = client
        .member(ben.address())
        .await
        .expect("Ben")
        .ballot_nonce;
    let mut turned = sign(&ben, nonce);
    turned.ballot = Ballot::For;
    let mut anothers = sign(&cem, nonce);
    anothers.voter = ben.address();
    let mut long = sign(&ben, nonce);
    long.signature = vec![0; 5_000].into();
    for (ballot, why) in [
        (turned, 403),
        (anothers, 403),
        (sign(&ben, nonce + 1), 403),
        (sign(&stranger, 0), 403),
        (sign(&ann, 0), 403),
        (long, 403),
    ] {
        assert_eq!(client.cast(&ballot).await.map_err(status).err(), Some(why));
    }
    let name = client.member(ann.address()).await.expect("Ann").votes_name;
    let mut forged =
        SignedDelegation::sign(&deployment, &name, &cem.account, ann.address(), 0, u64::MAX);
    forged.member = ben.address();
    let refusal = client.delegate(&forged).await;
    assert_eq!(refusal.map_err(status).err(), Some(403));

    // Two votes, the quorum, ten minutes before the end: the others get time to answer.
    let closes = shown(&world, &after)["closes"].as_u64().expect("a time");
    vote(&world, &after, "for", &ben);
    let counted = shown(&world, &after);
    assert_eq!(counted["for"], "2");
    assert!(
        counted["closes"].as_u64().expect("a time") > closes,
        "{counted}"
    );
    world.refused(
        &format!("vote {after} against --key {}", ben.key),
        "a vote cannot be changed",
    );
}
