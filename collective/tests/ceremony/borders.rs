//! What is refused where it arrives: plans, messages, asks, and what is not a node's part.

use std::sync::Arc;

use crate::world::{World, member};
use alloy_primitives::{Address, B256};
use collective::committee::ShareCertificate;
use collective::committee::ceremony::Seed;
use collective::committee::ceremony::ask::{Ask, AskError, MAX_ASK_BYTES, Refusal};
use collective::committee::ceremony::deal::Round2;
use collective::committee::ceremony::message::{MAX_MESSAGE_BYTES, Message, MessageError};
use collective::committee::ceremony::participant::{Participant, Pins};
use collective::committee::ceremony::plan::{
    Kind, MAX_PLAN_BYTES, Party, Plan, PlanError, Proposal,
};
use collective::id::NodeId;
use collective::limits::MAX_MEMBERS;
use collective::seal::Identity;
use collective::seal::tagged::TaggedIdentity;

#[test]
fn plans_with_one_defect_each_are_refused() {
    let mut world = World::new(4, 423);
    let plan = world.generate(2, &[1, 2, 3], true);
    world.complete(&plan);
    let again = world.reshare(&[1, 3], 2, &[2, 3, 4]);
    for plan in [&plan, &again] {
        let bytes = plan.to_bytes();
        assert_eq!(Plan::parse(&bytes).as_ref(), Ok(&**plan));
        let longer = [bytes.as_slice(), &[0]].concat();
        let another_version = [&[2], &bytes[1..]].concat();
        let text = plan.proposal().members[0].recipient.to_string();
        let place = bytes
            .windows(text.len())
            .position(|w| w == text.as_bytes())
            .unwrap();
        let mut capitals = bytes.clone();
        capitals[place..place + text.len()].make_ascii_uppercase();
        for bad in [
            &bytes[..bytes.len() - 1],
            &longer,
            &another_version,
            &capitals,
            b"",
        ] {
            assert_eq!(Plan::parse(bad), Err(PlanError::Malformed));
        }
    }
    assert_ne!(plan.id(), again.id());
    let refused = |plan: &Plan, change: &dyn Fn(&mut Proposal)| {
        let mut proposal = plan.proposal().clone();
        change(&mut proposal);
        Plan::new(proposal).err()
    };
    let change = |change: &dyn Fn(&mut Proposal)| refused(&plan, change);
    assert_eq!(change(&|_| {}), None);
    assert_eq!(change(&|p| p.threshold = 1), Some(PlanError::Threshold));
    assert_eq!(change(&|p| p.threshold = 4), Some(PlanError::Threshold));
    assert_eq!(change(&|p| p.members.clear()), Some(PlanError::Threshold));
    assert_eq!(
        change(&|p| p.epoch = 0),
        Some(PlanError::Epoch { least: 1 })
    );
    let party: Party = plan.proposal().members[0].clone();
    let many = |count: u16| {
        let party = |n: u16| Party {
            node: NodeId(B256::with_last_byte(n as u8)),
            signer: Address::with_last_byte(n as u8),
            ..party.clone()
        };
        let party = &party;
        change(&|p| p.members = (1..=count).map(party).collect())
    };
    assert_eq!(many(MAX_MEMBERS), None);
    // What the largest committee sends is within the limits: its parts are as long as those of any other.
    let largest = usize::from(MAX_MEMBERS);
    assert!(again.to_bytes().len() / 3 * largest < MAX_PLAN_BYTES);
    let deals = record(&mut world, &plan)
        .into_iter()
        .map(|(_, _, message)| message.to_bytes());
    let deal = deals.map(|bytes| bytes.len()).max().unwrap() / 3 * largest;
    assert!(deal < MAX_MESSAGE_BYTES && deal * largest < MAX_ASK_BYTES);
    assert_eq!(many(MAX_MEMBERS + 1), Some(PlanError::Size));
    let repeated = Some(PlanError::Repeated);
    assert_eq!(change(&|p| p.members[1].node = p.members[0].node), repeated);
    assert_eq!(
        change(&|p| p.members[1].signer = p.members[0].signer),
        repeated
    );
    let classical = change(&|p| p.members[1].recipient = p.members[1].recipient.classical());
    assert_eq!(classical, Some(PlanError::Classical(World::id(2))));
    // Dealers are a quorum of the old committee, and who is in both committees is the same there.
    let change = |change: &dyn Fn(&mut Proposal)| refused(&again, change);
    assert_eq!(change(&|_| {}), None);
    assert_eq!(
        change(&|p| p.epoch = 1),
        Some(PlanError::Epoch { least: 2 })
    );
    let dealers = |f: &dyn Fn(&mut Vec<_>)| {
        change(&|p| match &mut p.kind {
            Kind::Reshare { dealers, .. } => f(dealers),
            Kind::Generate { .. } => panic!("a resharing"),
        })
    };
    let quorum = Some(PlanError::Quorum);
    assert_eq!(dealers(&|d| d.truncate(1)), quorum);
    assert_eq!(dealers(&|d| d.reverse()), quorum);
    assert_eq!(dealers(&|d| d[1].number = d[0].number), quorum);
    assert_eq!(dealers(&|d| d[1].number = member(4)), quorum);
    assert_eq!(dealers(&|d| d[1].node = d[0].node), repeated);
    assert_eq!(dealers(&|d| d[1].signer = Address::ZERO), repeated);
    assert_eq!(dealers(&|d| d[1].node = NodeId(B256::ZERO)), repeated);
    // Only a hybrid key has an ML-KEM half to renew.
    let renewed = |hybrid: bool| {
        change(&|p| match &mut p.kind {
            Kind::Reshare { from, renew, .. } => {
                *renew = true;
                if !hybrid {
                    let shares = (1..=from.size()).map(|n| from.public_share(member(n)).unwrap());
                    let shares = shares.cloned().collect();
                    let key = from.recipient().classical();
                    let (epoch, t) = (from.epoch(), from.threshold());
                    **from = ShareCertificate::new(key, epoch, t, shares).unwrap();
                }
            }
            Kind::Generate { .. } => panic!("a resharing"),
        })
    };
    assert_eq!(renewed(true), None);
    assert_eq!(renewed(false), Some(PlanError::NothingToRenew));
}

/// All asks and answers of an honest run.
fn record(world: &mut World, plan: &Arc<Plan>) -> Vec<(NodeId, Ask, Message)> {
    let mut all = vec![];
    world.prepare();
    let made = world.run(plan, &mut |_, node, ask, answer| {
        let answer = answer.unwrap();
        all.push((node, ask.clone(), answer.clone()));
        vec![answer]
    });
    assert!(made.is_ok());
    all
}

#[test]
fn messages_and_asks_have_one_encoding_and_one_signer() {
    let mut world = World::new(4, 424);
    let plan = world.generate(2, &[1, 2, 3], true);
    let other = world.generate(3, &[1, 2, 3], true);
    for (node, ask, message) in record(&mut world, &plan) {
        let bytes = message.to_bytes();
        let parse = |bytes: &[u8]| Message::parse(&plan, bytes);
        assert!(parse(&bytes).as_ref() == Ok(&message));
        let malformed = Some(MessageError::Malformed);
        assert_eq!(parse(&bytes[..bytes.len() - 1]).err(), malformed);
        assert_eq!(parse(&[&bytes[..], &[0]].concat()).err(), malformed);
        assert_eq!(parse(&[&[2], &bytes[1..]].concat()).err(), malformed);
        let stranger = Message::parse(&other, &bytes).err();
        assert_eq!(stranger, Some(MessageError::AnotherCeremony));
        let not_signed = Some(MessageError::NotSigned(node));
        // Another kind, another body, another signature.
        for place in [1, 70, bytes.len() - 40] {
            let mut altered = bytes.clone();
            altered[place] ^= 3;
            let refused = parse(&altered).err();
            assert!(refused == not_signed || refused == malformed, "{place}");
            assert!(place != 70 || refused == not_signed);
        }
        let mut impostor = bytes.clone();
        impostor[34..66].copy_from_slice(World::id(4).0.as_slice());
        let refused = parse(&impostor).err();
        assert_eq!(refused, Some(MessageError::Stranger(World::id(4))));
        let bytes = ask.to_bytes();
        assert!(Ask::parse(&plan, &bytes).as_ref() == Ok(&ask));
        let refused = |bytes: &[u8]| Ask::parse(&plan, bytes).err();
        assert!(refused(&[&bytes[..], &[0]].concat()).is_some());
        assert_eq!(
            refused(&[&[1, 9], &bytes[2..]].concat()),
            Some(AskError::Malformed)
        );
        if let Ask::Certify(round2) = ask {
            let round1 = round2.round1();
            let mut turned = round2.deals().to_vec();
            turned.reverse();
            assert!(Round2::new(round1.clone(), turned).is_err());
            let fewer = round2.deals()[1..].to_vec();
            assert!(Round2::new(round1.clone(), fewer).is_err());
            // The last message twice.
            let last = Message::Deal(round2.deals().last().unwrap().clone()).to_bytes();
            let mut twice = bytes.clone();
            twice.extend(u32::try_from(last.len()).unwrap().to_be_bytes());
            twice.extend(last);
            assert!(refused(&twice).is_some());
        }
    }
}

#[test]
fn a_node_refuses_what_is_not_its_part() {
    let mut world = World::new(5, 425);
    let plan = world.generate(2, &[1, 2, 3], true);
    let later = {
        let mut proposal = plan.proposal().clone();
        proposal.attempt = 1;
        Arc::new(Plan::new(proposal).unwrap())
    };
    let made = record(&mut world, &plan);
    let find = |made: &[(NodeId, Ask, Message)], want: fn(&Ask) -> bool| {
        made.iter()
            .map(|(_, ask, _)| ask)
            .find(|ask| want(ask))
            .unwrap()
            .clone()
    };
    let deal = find(&made, |ask| matches!(ask, Ask::Deal(_)));
    let certify = find(&made, |ask| matches!(ask, Ask::Certify(_)));
    let stranger = Participant::new(
        plan.clone(),
        World::id(5),
        Seed::from_bytes([0; 32]),
        Pins::default(),
    );
    assert_eq!(stranger.err(), Some(Refusal::NoPart));
    let node = world.nodes.get_mut(&World::id(1)).unwrap();
    // Rounds of another attempt, a lost seed, another key for parts.
    node.pins = Pins::default();
    for ask in [&deal, &certify] {
        assert_eq!(
            node.answer(&later, ask).err(),
            Some(Refusal::AnotherCeremony)
        );
        let seed = std::mem::replace(&mut node.seed, [9; 32]);
        assert_eq!(node.answer(&plan, ask).err(), Some(Refusal::AnotherSeed));
        node.seed = seed;
    }
    let other = Identity::Tagged(TaggedIdentity::random(&mut crate::world::rng(5)));
    let held = std::mem::replace(&mut node.identity, other);
    let refused = node.answer(&plan, &certify).err();
    assert_eq!(refused, Some(Refusal::AnotherIdentity));
    node.identity = held;
    assert!(node.answer(&plan, &certify).is_ok());
    // Resharing: only dealers deal, with their own share of the right committee; only members certify.
    world.complete(&plan);
    let plan = world.reshare(&[1, 2], 2, &[2, 3, 4]);
    let made = record(&mut world, &plan);
    let certify = find(&made, |ask| matches!(ask, Ask::Certify(_)));
    let mut answer = |number, ask: &Ask| {
        world
            .nodes
            .get_mut(&World::id(number))
            .unwrap()
            .answer(&plan, ask)
            .err()
    };
    assert_eq!(answer(3, &Ask::Commit), Some(Refusal::NoPart));
    assert_eq!(answer(1, &certify), Some(Refusal::NoPart));
    let share = world.nodes.get_mut(&World::id(1)).unwrap().share.take();
    let mut answer = |number, ask: &Ask| {
        world
            .nodes
            .get_mut(&World::id(number))
            .unwrap()
            .answer(&plan, ask)
            .err()
    };
    assert_eq!(answer(1, &Ask::Commit), Some(Refusal::AnotherShare));
    let held = std::mem::replace(
        &mut world.nodes.get_mut(&World::id(2)).unwrap().share,
        share,
    );
    let refused = world
        .nodes
        .get_mut(&World::id(2))
        .unwrap()
        .answer(&plan, &Ask::Commit);
    assert_eq!(refused.err(), Some(Refusal::AnotherShare));
    world.nodes.get_mut(&World::id(2)).unwrap().share = held;
}
