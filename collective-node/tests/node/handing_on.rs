//! A node that holds a collective's key alone hands it on to a committee, as operators and members do it: by verbs, against
//! processes of the real binary.

use std::time::Duration;

use crate::by_hand::bare::Bare;
use crate::by_hand::collective::{Collective, Host, PEOPLE, RECORDS};
use serde_json::json;

/// A day and a minute: both windows, of dispute and of challenge, are a day.
const WINDOW: &str = "86460";

/// The node becomes one of three, asks itself and another, and answers the others' questions.
#[test]
fn a_node_that_held_the_key_alone_becomes_one_of_three() {
    let mut at = Collective::found(
        Bare::start(),
        &Host::here(),
        "--wire WIRE --accept-unproven",
    );
    for (name, record) in PEOPLE.into_iter().zip(RECORDS).take(3) {
        at.bare.contribute(name, record);
    }
    at.contribute_unproven(PEOPLE[3], RECORDS[3]);
    at.anchored(4);
    assert_eq!(at.run(&[]), 4);
    let refused = at.asked_by_a_stranger(&at.node_remote());
    assert!(refused.contains("refuses our key"), "{refused}");
    at.join(&[Host::here(), Host::here()]);

    let members = format!("{},{},{}", at.node_id, at.holders[0].id, at.holders[1].id);
    let verb = format!(
        "reshare --plan {} --threshold 2 --members {members}",
        at.bare.session.path("next.plan")
    );
    let planned = at.hand_on(&verb);
    assert_eq!(planned["dealers"], json!([at.node_id]));
    // Where more than one share is needed, a file that anybody may have sealed opens nothing.
    assert_eq!(planned["unproven"], 1);
    at.node_keeps(&[2]);
    at.keeps_only(0, 2);
    at.keeps_only(1, 2);
    assert_eq!(at.run(&[0, 1]), 3);
    // What was done with that file under the node alone stays right, for whoever verifies it and for who is paid.
    let verdict = at.bare.session.run("verify receipt 1");
    assert!(verdict.status.success(), "{verdict:?}");

    // One holder is enough beside the node, which counts for one.
    at.kill(0);
    assert_eq!(at.run(&[1]), 3);
    let refused = at.asked_for_epoch(1, &at.node_remote());
    assert!(refused.contains("no share of epoch 1"), "{refused}");

    // The holder that joined works out by itself what all jobs earned, and signs it.
    at.start(0);
    let dan = at.bare.address(PEOPLE[3]);
    at.until("a reward root becomes active", || {
        at.bare.session.pass(WINDOW);
        let shown = at.bare.session.run(&format!("rewards show {dan}"));
        std::thread::sleep(Duration::from_millis(500));
        shown.status.success()
    });
    let earned = at.bare.session.json(&format!("rewards show {dan}"));
    // 80 % of 10 dollars in millionths, among the four of the first job.
    assert_eq!(earned["cumulative"], "2000000");
}

/// The node was registered without a door; its operator opens one, and afterwards it holds nothing any more.
#[test]
fn a_node_that_held_the_key_alone_leaves_it_to_three_others() {
    let mut at = Collective::found(Bare::start(), &Host::here(), "");
    for (name, record) in PEOPLE.into_iter().zip(RECORDS) {
        at.bare.contribute(name, record);
    }
    at.anchored(4);
    assert_eq!(at.run(&[]), 4);
    at.join(&[Host::here(), Host::here(), Host::here(), Host::here()]);
    let [first, second, third, spare] = [0, 1, 2, 3].map(|place| at.holders[place].id.clone());
    let plan = at.bare.session.path("next.plan");
    let verb = format!("reshare --plan {plan} --threshold 2 --members {first},{second},{third}");

    // Nobody reaches the node, so nobody could be dealt anything.
    let line = format!("committee {verb} {}", at.convener());
    at.bare
        .session
        .refused(&line, "no endpoint that can be called");
    at.configure(&format!("wire = \"{}\"", at.wire));
    let [keys, words] = ["keys.age", "words"].map(|name| at.bare.session.path(name));
    let announce = format!(
        "node register --keys {keys} --passphrase-file {words} --config {} --endpoint https://{}",
        at.bare.session.path("node.toml"),
        at.wire,
    );
    let told = at.bare.session.json(&announce);
    assert_eq!(at.bare.session.json(&announce), told, "done twice");
    at.start_node();

    at.until("the node is found at its door", || {
        let status = format!("committee status {}", at.convener());
        at.bare.session.run(&status).status.success()
    });
    let planned = at.hand_on(&verb);
    assert_eq!(planned["unproven"], 0);
    for place in 0..3 {
        at.keeps_only(place, 2);
    }
    at.node_keeps(&[]);
    for remote in [at.node_remote(), at.remote(0)] {
        let refused = at.asked_for_epoch(1, &remote);
        assert!(refused.contains("no share of epoch 1"), "{refused}");
    }
    // It asks the others from now on, before and after it was started anew.
    assert_eq!(at.run(&[0, 1, 2]), 4);
    at.start_node();
    assert_eq!(at.run(&[0, 1, 2]), 4);

    // A member is lost for good, and the fourth takes its place.
    at.lose(2);
    let plan = at.bare.session.path("replace.plan");
    let verb = format!("replace --lost {third} --by {spare} --plan {plan}");
    let (planned, hash) = at.ceremony(&verb);
    assert_eq!(planned["members"], json!([first, second, spare]));
    // What the second was dealt is lost before the collective accepts it: it has certified it, and takes it over again.
    at.kill(1);
    let share = at.holders[1].folder.join("keys.shares/epoch-3.age");
    std::fs::remove_file(share).expect("a share");
    at.start(1);
    at.decide(&format!("--accept-committee {hash}"));
    for place in [0, 1, 3] {
        at.keeps_only(place, 3);
    }
    // These two and no other: each is needed.
    at.kill(0);
    assert_eq!(at.run(&[1, 3]), 4);
    let refused = at.asked_for_epoch(2, &at.remote(1));
    assert!(refused.contains("no share of epoch 2"), "{refused}");
}
