//! What a node said in a ceremony binds it after a crash: its state is read from the disk again before every answer.

use std::path::Path;
use std::sync::Arc;

use alloy::primitives::Address;
use collective::committee::ceremony::ask::{Ask, Refusal};
use collective::committee::ceremony::commit::Round1;
use collective::committee::ceremony::message::Message;
use collective::committee::ceremony::plan::{Kind, Party, Plan, Proposal};
use collective_node::keystore::{Keystore, TakePartError};
use collective_node::registration::node_id;
use zeroize::Zeroizing;

/// One of two members says two different things: the other deals under the first, and never under the second.
#[test]
fn a_dealer_that_crashed_deals_under_no_second_set() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let paths = ["ann.age", "bob.age"].map(|name| folder.path().join(name));
    for path in &paths {
        Keystore::create(path, words(), Some(10), &mut rand::rng()).expect("keys");
    }
    let members = paths.iter().map(|path| party(&open(path))).collect();
    let plan = Plan::new(Proposal {
        chain_id: 1,
        node_registry: Address::repeat_byte(1),
        collective: Address::repeat_byte(2),
        epoch: 1,
        attempt: 0,
        threshold: 2,
        members,
        kind: Kind::Generate { post_quantum: true },
    });
    let plan = Arc::new(plan.expect("a plan"));
    let [ann, bob] = &paths;
    let said = |path: &Path, ask: &Ask| {
        let keys = open(path);
        let answered = keys.take_part(&plan, node_id(&keys), ask, &mut rand::rng());
        answered.map(|answered| answered.message)
    };
    let round1 = || {
        let commits = [ann, bob].map(|path| match said(path, &Ask::Commit) {
            Ok(Message::Commit(commit)) => commit,
            _ => panic!("no commit"),
        });
        Round1::new(plan.clone(), commits.to_vec()).expect("a round")
    };
    let first = Ask::Deal(round1());
    let dealt = said(ann, &first).expect("a deal");
    assert_eq!(said(ann, &first).expect("the same deal"), dealt);

    // Bob loses his seed, which he must not, and begins again.
    std::fs::remove_dir_all(bob.with_extension("ceremonies")).expect("lost");
    let second = Ask::Deal(round1());
    assert_ne!(first, second);
    assert!(matches!(
        said(ann, &second),
        Err(TakePartError::Refused(Refusal::AnotherRound1 { .. }))
    ));
    assert_eq!(said(ann, &first).expect("the same deal"), dealt);

    // When the epoch is over, nothing of it is kept.
    open(ann).ceremonies().erase_through(1).expect("erased");
    let left = std::fs::read_dir(ann.with_extension("ceremonies")).expect("the folder");
    assert_eq!(left.count(), 0);
}

fn open(path: &Path) -> Keystore {
    Keystore::open(path, words()).expect("the keys")
}

fn party(keys: &Keystore) -> Party {
    Party {
        node: node_id(keys),
        signer: keys.address(),
        recipient: keys.node_recipient().clone(),
    }
}

fn words() -> Zeroizing<String> {
    Zeroizing::new("one".into())
}
