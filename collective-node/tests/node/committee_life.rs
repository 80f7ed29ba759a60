//! The life of a committee: made, refreshed, handed on, with a member replaced; and what holders refuse on the way.

use std::sync::Arc;

use crate::ceremony_world::{CeremonyWorld, copy};
use alloy::primitives::{Address, B256, Signature};
use bytes::Bytes;
use collective::committee::KeyShare;
use collective::committee::ceremony::ask::Ask;
use collective::committee::ceremony::plan::{Kind, Plan, Proposal};
use collective::id::NodeId;
use collective::seal::tagged::TaggedIdentity;
use collective_contracts::NodeRegistry;
use collective_node::chain::facts::{ROLE_COMPUTE, ROLE_KEYHOLDER};
use collective_node::chain::{Chain, ChainError};
use collective_node::convening::ConveneError;
use collective_node::holder::ceremony::{certified, question};
use collective_node::holder::mandate::MAX_EPOCH_STEP;
use collective_node::holder::serve::{CEREMONY, CERTIFIED};
use collective_node::holder::{HolderRefusal, LogFileError};
use collective_node::keyholder::Keyholder;
use collective_node::node::StartError;
use collective_node::wire::{Exchange, Remote};

/// Six key holders: the committee moves from the first three to others, and what was sealed to the first opens under
/// the last.
#[tokio::test(flavor = "multi_thread")]
async fn a_committee_is_made_refreshed_handed_on_and_mended() {
    let mut at = CeremonyWorld::found(6).await;

    // Made: nobody ever knew the key.
    let convening = at.convening().await;
    let plan = convening.plan_new(&at.ids(&[0, 1, 2]), 2, 0).await;
    let plan = plan.expect("a plan");
    let first = at.hold(plan).await.expect("a committee");
    let recipient = first.certification.certificate.recipient().clone();
    assert_eq!(at.world.recipient().expect("a committee"), recipient);
    for row in 0..4 {
        at.contribute(row).await;
    }
    at.all_anchored(4).await;
    assert_eq!(at.run().await, 4);

    // Refreshed: needs no vote before, for nobody else gets a share.
    let backup = at.folder.path().join("backup");
    copy(&at.members[0].folder.join("keys.shares"), &backup);
    let plan = convening.plan_reshare(&at.ids(&[0, 1, 2]), 2, 0).await;
    let plan = plan.expect("a plan");
    let epoch = plan.proposal().epoch;
    let refreshed = at.hold(plan).await.expect("a refreshed committee");
    assert_eq!(refreshed.certification.certificate.recipient(), &recipient);
    at.only_epoch(&[0, 1, 2], epoch).await;
    assert_eq!(at.run().await, 4);

    // An old share that is put back is refused, and so is a second start beside the first.
    at.stop(0).await;
    let shares = at.members[0].folder.join("keys.shares");
    let kept = at.folder.path().join("kept");
    std::fs::rename(&shares, &kept).expect("moved");
    copy(&backup, &shares);
    at.stop(0).await;
    let restored = at.start(0).await;
    assert!(
        matches!(&restored, Err(StartError::Holder(HolderRefusal::NoShare(of))) if *of == epoch),
        "{:?}",
        restored.err()
    );
    std::fs::remove_dir_all(&shares).expect("removed");
    std::fs::rename(&kept, &shares).expect("moved back");
    at.stop(0).await;
    at.start(0).await.expect("with its share it starts");
    let twice = Keyholder::start(
        at.settings(0),
        at.members[0].keys.clone(),
        at.world.chain.client(),
    );
    assert!(matches!(
        twice.await.err(),
        Some(StartError::Log(LogFileError::Taken(_)))
    ));

    // Handed on to 3-of-5, members 2 to 6: first nobody deals, for nobody voted.
    let members = at.ids(&[1, 2, 3, 4, 5]);
    let plan = convening.plan_reshare(&members, 3, 0).await;
    let plan = plan.expect("a plan");
    match convening.hold(plan.clone()).await {
        Err(ConveneError::GivenUp(refusals)) => {
            assert_eq!(refusals.len(), 2, "{refusals:?}");
            for (_, why) in refusals {
                assert!(why.contains("has not convened"), "{why}");
            }
        }
        other => panic!(
            "{:?}",
            other.map(|_| "a committee").map_err(|e| e.to_string())
        ),
    }
    at.convene(&plan).await;
    let epoch = plan.proposal().epoch;
    let handed_on = at.hold(plan).await.expect("a larger committee");
    assert_eq!(handed_on.certification.certificate.recipient(), &recipient);
    at.only_epoch(&[1, 2, 3, 4, 5], epoch).await;
    at.until("who has left keeps nothing", async || {
        at.epochs(0).is_empty()
    })
    .await;
    at.contribute(4).await;
    at.all_anchored(5).await;
    assert_eq!(at.run().await, 5);

    // Mended: the last member is lost, the first takes its place.
    at.stop(5).await;
    let convening = at.convening().await;
    let plan = convening
        .plan_reshare(&at.ids(&[1, 2, 3, 4, 0]), 3, 0)
        .await;
    let plan = plan.expect("a plan");
    at.convene(&plan).await;
    let epoch = plan.proposal().epoch;
    at.hold(plan).await.expect("a mended committee");
    at.only_epoch(&[0, 1, 2, 3, 4], epoch).await;
    assert_eq!(at.run().await, 5);
}

/// Before it says anything, a holder compares a plan with the chain.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_is_not_of_this_chain_is_refused_by_every_holder() {
    let at = CeremonyWorld::found(4).await;
    let convening = at.convening().await;
    let plan = convening.plan_new(&at.ids(&[0, 1, 2]), 2, 0).await;
    let plan = plan.expect("a plan");

    let stranger = TaggedIdentity::random(&mut rand::rng()).recipient();
    type Change = fn(&mut Proposal);
    let changes: [(&str, Change); 5] = [
        ("does not serve", |plan| plan.chain_id += 1),
        ("does not serve", |plan| {
            plan.collective = Address::repeat_byte(1)
        }),
        ("does not serve", |plan| {
            plan.node_registry = Address::repeat_byte(1)
        }),
        ("can follow", |plan| plan.epoch -= 1),
        ("can follow", |plan| plan.epoch += 1_000),
    ];
    let mut wrong: Vec<(&str, Proposal)> = Vec::new();
    for (why, change) in changes {
        let mut proposal = plan.proposal().clone();
        change(&mut proposal);
        wrong.push((why, proposal));
    }
    let mut proposal = plan.proposal().clone();
    proposal.members[2].recipient = stranger;
    wrong.push(("another signer or recipient", proposal));
    let mut proposal = plan.proposal().clone();
    proposal.members[2].signer = Address::repeat_byte(9);
    wrong.push(("another signer or recipient", proposal));
    // Key holders are registered, in service, of that role, and accepted: each of these lacks one of it.
    let unaccepted = at.registered(7, ROLE_KEYHOLDER).await;
    let retired = at.registered(8, ROLE_KEYHOLDER).await;
    let compute = at.registered(9, ROLE_COMPUTE).await;
    let by = retired.keys.provider(at.world.chain.client());
    let registry = NodeRegistry::new(at.world.deployment.nodes, by);
    let sent = registry.retire(retired.id.0).send().await.expect("sent");
    Chain::mined(sent).await.expect("retired");
    let accepted = at.acceptance(&compute).await;
    at.decide(vec![accepted], "Accept a compute node.").await;
    let nobody = NodeId(B256::repeat_byte(9));
    for node in [unaccepted.id, retired.id, compute.id, nobody] {
        let mut proposal = plan.proposal().clone();
        proposal.members[2].node = node;
        wrong.push(("not a key holder", proposal));
    }
    for (why, proposal) in wrong {
        let plan = Plan::new(proposal).expect("a plan by itself");
        refused_by_all(&at, &plan, why).await;
    }

    at.hold(plan).await.expect("a committee");
    // The same key to the same members under another threshold, or in another order, is no refresh.
    let plan = convening.plan_reshare(&at.ids(&[0, 1, 2]), 3, 0).await;
    refused_by_all(&at, &plan.expect("a plan"), "has not convened").await;
    let plan = convening.plan_reshare(&at.ids(&[0, 1, 3]), 2, 0).await;
    let plan = plan.expect("a plan");
    refused_by_all(&at, &plan, "has not convened").await;
    // A vote on one plan is none on another.
    at.convene(&plan).await;
    let mut proposal = plan.proposal().clone();
    proposal.attempt += 1;
    let next = Plan::new(proposal).expect("a plan by itself");
    refused_by_all(&at, &next, "has not convened").await;
    // Who is not a member of the old committee does not deal.
    let mut proposal = plan.proposal().clone();
    if let Kind::Reshare { dealers, .. } = &mut proposal.kind {
        let outsider = &at.members[3];
        dealers[0].node = outsider.id;
        dealers[0].signer = outsider.keys.address();
    }
    let next = Plan::new(proposal).expect("a plan by itself");
    refused_by_all(&at, &next, "which it is not").await;
    // The plan that was voted for is followed, and only from the committee that is accepted.
    at.hold(plan.clone()).await.expect("a committee");
    let mut proposal = plan.proposal().clone();
    proposal.epoch += 1;
    let late = Plan::new(proposal).expect("a plan by itself");
    refused_by_all(&at, &late, "deals from a committee").await;
}

/// A share is taken over only with every member's signature, by a member of that ceremony.
#[tokio::test(flavor = "multi_thread")]
async fn a_share_is_kept_only_when_every_member_has_signed() {
    let at = CeremonyWorld::found(3).await;
    let convening = at.convening().await;
    let plan = convening.plan_new(&at.ids(&[0, 1]), 2, 0).await;
    let held = convening.hold(plan.expect("a plan")).await;
    let held = held.expect("a committee");
    assert_eq!(at.epochs(0), [2]);
    let statements = &held.certification.statements;
    let say = async |number: usize, statements: &[Signature]| {
        let body = certified(&held.plan, &held.ask, statements);
        ask(&at, number, &CERTIFIED, body).await
    };
    assert_eq!(say(0, statements).await, None);
    let swapped = [statements[1], statements[0]];
    let cases = [
        (0, &statements[..1], "2 signatures are needed"),
        (1, &swapped[..], "has not certified"),
        (2, &statements[..], "is not in this ceremony"),
    ];
    for (number, statements, why) in cases {
        let said = say(number, statements).await.expect("a refusal");
        assert!(said.contains(why), "{said}");
    }
    assert!(at.epochs(2).is_empty());
}

/// The end of a ceremony does not reach two members: one runs, one is down when the collective accepts the committee. Both
/// take over what they have certified; who has forgotten that it certified anything has nothing to take over.
#[tokio::test(flavor = "multi_thread")]
async fn a_share_that_nobody_confirmed_is_taken_over_from_the_chain() {
    let mut at = CeremonyWorld::found(3).await;
    let convening = at.convening().await;
    let plan = convening.plan_new(&at.ids(&[0, 1, 2]), 2, 0).await;
    let held = convening.hold(plan.expect("a plan")).await;
    let by = at.world.provider(&at.world.deployer);
    let published = convening.publish(&by, &held.expect("a committee")).await;
    for number in 0..3 {
        at.stop(number).await;
        let folder = at.members[number].folder.clone();
        std::fs::remove_file(folder.join("keys.shares/epoch-2.age")).expect("a share");
        if number == 2 {
            std::fs::remove_dir_all(folder.join("keys.ceremonies")).expect("what it knew");
        }
        at.stop(number).await;
    }
    for number in [0, 2] {
        at.start(number).await.expect("it starts");
    }
    assert!(at.epochs(0).is_empty());
    at.accept(published.expect("published")).await;
    at.start(1).await.expect("it starts");
    at.only_epoch(&[0, 1], 2).await;
    assert!(at.epochs(2).is_empty());
    for row in 0..4 {
        at.contribute(row).await;
    }
    at.all_anchored(4).await;
    assert_eq!(at.run().await, 4);
}

/// Whoever convenes ceremonies that come to nothing uses no epoch up: the members take part in another one for the last
/// epoch there is, and the share in use is the one that the collective accepts, whichever came last.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_committees_for_one_epoch_the_accepted_one_counts() {
    let at = CeremonyWorld::found(3).await;
    let convening = at.convening().await;
    let plan = convening.plan_new(&at.ids(&[0, 1, 2]), 2, 0).await;
    let mut proposal = plan.expect("a plan").proposal().clone();
    proposal.epoch = 1 + MAX_EPOCH_STEP;
    let last = Plan::new(proposal.clone()).expect("a plan by itself");
    let first = convening.hold(last).await.expect("a committee");
    let by = at.world.provider(&at.world.deployer);
    let published = convening.publish(&by, &first).await.expect("published");

    let plan = convening.plan_new(&at.ids(&[0, 1, 2]), 2, 1).await;
    let plan = plan.expect("a plan");
    assert_eq!(plan.proposal().epoch, proposal.epoch);
    let second = convening.hold(plan).await.expect("another committee");
    let kept = |number: usize| {
        let share = at.members[number].keys.shares().of(proposal.epoch);
        share.expect("a share").certificate().clone()
    };
    for number in 0..3 {
        assert_eq!(kept(number), second.certification.certificate);
    }
    at.accept(published).await;
    for number in 0..3 {
        let what = format!("member {number} has its share of the first again");
        let first = &first.certification.certificate;
        at.until(&what, async || {
            // For a moment it has neither.
            let share = at.members[number].keys.shares().of(proposal.epoch);
            share.is_some_and(|share| share.certificate() == first)
        })
        .await;
    }
    for row in 0..4 {
        at.contribute(row).await;
    }
    at.all_anchored(4).await;
    assert_eq!(at.run().await, 4);
}

/// A share that no ceremony gives again makes room for none.
#[tokio::test(flavor = "multi_thread")]
async fn a_whole_key_is_not_let_go_for_a_ceremony() {
    let at = CeremonyWorld::found(2).await;
    let identity = TaggedIdentity::random(&mut rand::rng());
    let sole = KeyShare::sole(identity, 2);
    let keys = &at.members[0].keys;
    keys.keep_share(sole, &mut rand::rng()).expect("kept");
    let convening = at.convening().await;
    let plan = convening.plan_new(&at.ids(&[0, 1]), 2, 0).await;
    let mut proposal = plan.expect("a plan").proposal().clone();
    assert_eq!(proposal.epoch, 3);
    proposal.epoch = 2;
    let plan = Plan::new(proposal).expect("a plan by itself");
    match convening.hold(plan).await {
        Err(ConveneError::Unconfirmed(open)) => {
            assert_eq!(open.len(), 1, "{open:?}");
            assert!(open[0].1.contains("never overwritten"), "{open:?}");
        }
        other => panic!("{:?}", other.map(|_| "a committee")),
    }
    let kept = keys.shares().of(2).expect("the whole key");
    assert_eq!(kept.certificate().size(), 1);
}

/// A key holder that is started for another chain, or on the folder of one that runs, does not start.
#[tokio::test(flavor = "multi_thread")]
async fn a_holder_of_another_chain_does_not_start() {
    let mut at = CeremonyWorld::found(2).await;
    at.stop(0).await;
    let mut settings = at.settings(0);
    settings.deployment.chain_id += 1;
    let keys = at.members[0].keys.clone();
    let started = Keyholder::start(settings, keys, at.world.chain.client()).await;
    assert!(matches!(
        started.err(),
        Some(StartError::Chain(ChainError::AnotherChain { .. }))
    ));
}

/// Silence ends a ceremony and is named as silence; the same plan goes on when the member is back.
#[tokio::test(flavor = "multi_thread")]
async fn an_absent_member_is_named_and_the_same_plan_goes_on_later() {
    let mut at = CeremonyWorld::found(3).await;
    let convening = at.convening().await;
    let plan = convening.plan_new(&at.ids(&[0, 1, 2]), 2, 0).await;
    let plan = Arc::new(plan.expect("a plan"));
    at.stop(1).await;
    match convening.hold(plan.clone()).await {
        Err(ConveneError::GivenUp(silent)) => {
            assert_eq!(silent.len(), 1, "{silent:?}");
            assert_eq!(silent[0].0, at.members[1].id);
        }
        _ => panic!("one member is absent"),
    }
    // The others crash, too: what they said they say again.
    for number in [0, 2] {
        at.stop(number).await;
    }
    for number in 0..3 {
        at.start(number).await.expect("it starts");
    }
    let certified = convening.hold(plan.clone()).await.expect("a committee");
    for number in 0..3 {
        at.stop(number).await;
        at.start(number).await.expect("it starts");
    }
    let again = convening.hold(plan).await.expect("the same committee");
    assert_eq!(certified.certification, again.certification);
}

async fn refused_by_all(at: &CeremonyWorld, plan: &Plan, why: &str) {
    for number in 0..at.members.len() {
        let said = ask(at, number, &CEREMONY, question(plan, &Ask::Commit)).await;
        assert!(
            said.as_ref().is_some_and(|said| said.contains(why)),
            "holder {number} on '{why}': {said:?}"
        );
    }
}

/// Why a holder refuses, if it does.
async fn ask(
    at: &CeremonyWorld,
    number: usize,
    exchange: &'static Exchange,
    body: Bytes,
) -> Option<String> {
    let member = &at.members[number];
    let pin = member.keys.transport_key().pin();
    let remote = Remote::new(&format!("https://{}", member.listens_at), pin);
    let wire = at.convening().await.wire;
    let remote = remote.expect("an endpoint");
    let asked = wire.post(&remote, exchange, body);
    asked.await.err().map(|error| error.to_string())
}
