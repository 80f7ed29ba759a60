//! Ceremonies: committees make keys that nobody knows, share them anew, and whoever cheats is named.

#[path = "ceremony/world.rs"]
mod world;

use std::sync::Arc;

use alloy_primitives::{Address, B256};
use collective::committee::ceremony::Seed;
use collective::committee::ceremony::ask::{Ask, AskError, Refusal};
use collective::committee::ceremony::certify::NotCertified;
use collective::committee::ceremony::deal::Round2;
use collective::committee::ceremony::message::{Message, MessageError};
use collective::committee::ceremony::participant::{Participant, Pins};
use collective::committee::ceremony::plan::{Kind, Party, Plan, PlanError, Proposal};
use collective::id::NodeId;
use collective::limits::MAX_MEMBERS;
use collective::seal::Identity;
use collective::seal::tagged::TaggedIdentity;
use world::{World, choices, honest, member};

const ALL: [u8; 7] = [1, 2, 3, 4, 5, 6, 7];

#[test]
fn committees_up_to_seven_make_a_key_that_every_quorum_opens() {
    for (threshold, size) in [(2, 2), (2, 3), (3, 4), (3, 5), (5, 5), (4, 7)] {
        for post_quantum in [true, false] {
            let members = &ALL[..size];
            let mut world = World::new(7, 400 + size as u64);
            let plan = world.generate(threshold, members, post_quantum);
            let made = world.complete(&plan);
            let certificate = made.certificate;
            assert_eq!(
                (certificate.threshold(), certificate.epoch()),
                (threshold, 1)
            );
            let text = certificate.recipient().to_string();
            let prefix = if post_quantum {
                "age1tagpq1"
            } else {
                "age1tag1"
            };
            assert!(text.starts_with(prefix));
            assert!(text.parse::<collective::seal::Recipient>().is_ok());
            for quorum in choices(members, threshold.into()) {
                assert!(world.open(&certificate, &quorum), "{quorum:?} of {size}");
            }
            for fewer in choices(members, usize::from(threshold) - 1) {
                assert!(!world.open(&certificate, &fewer));
            }
        }
    }
}

#[test]
fn a_key_moves_to_other_committees_and_its_recipient_stays() {
    let mut world = World::new(7, 410);
    let plan = world.generate(2, &[1, 2, 3], true);
    let first = world.complete(&plan).certificate;
    let recipient = first.recipient().clone();
    // 2 of 3 to 3 of 5: member 2 leaves, and 4, 5 and 6 come; 3 of 5 to 4 of 7; the same again; one is replaced.
    let steps: [(&[u8], u16, &[u8]); 4] = [
        (&[1, 3], 3, &[3, 1, 4, 5, 6]),
        (&[3, 4, 6], 4, &ALL),
        (&[1, 2, 3, 4], 4, &ALL),
        (&[4, 5, 6, 7], 3, &[2, 3, 4, 5]),
    ];
    for (epoch, (dealers, threshold, members)) in (2..).zip(steps) {
        let mut dealers = dealers.to_vec();
        dealers.sort_by_key(|&n| world.node(n).share.as_ref().unwrap().member());
        let plan = world.reshare(&dealers, threshold, members);
        let certificate = world.complete(&plan).certificate;
        assert_eq!(certificate.recipient(), &recipient);
        assert_eq!(
            (certificate.epoch(), certificate.threshold()),
            (epoch, threshold)
        );
        for quorum in choices(members, threshold.into()) {
            assert!(world.open(&certificate, &quorum), "{quorum:?}");
        }
        for fewer in choices(members, usize::from(threshold) - 1) {
            assert!(!world.open(&certificate, &fewer));
        }
    }
}

#[test]
fn a_refreshed_share_does_not_combine_with_an_old_one() {
    let mut world = World::new(3, 420);
    let plan = world.generate(2, &[1, 2, 3], true);
    world.complete(&plan);
    let plan = world.reshare(&[1, 2], 2, &[1, 2, 3]);
    world.prepare();
    let made = world.run(&plan, &mut honest).unwrap();
    let old: Vec<_> = world
        .nodes
        .values_mut()
        .map(|node| node.share.take().unwrap())
        .collect();
    world.accept(&plan, &made);
    let certificate = &made.certificate;
    let new = |n: u8| world.node(n).share.as_ref().unwrap();
    let recipient = certificate.recipient();
    let opens = |shares: &[&_]| world::open(certificate, recipient, shares, &mut world::rng(1));
    assert!(opens(&[new(1), new(2)]));
    assert!(opens(&[&old[0], &old[1]]), "until they are erased");
    assert!(!opens(&[&old[0], new(2)]));
    assert!(!opens(&[new(1), &old[1]]));
}

/// Power is cut before and after every write; the same ask gives the same bytes.
#[test]
fn a_crash_at_any_step_is_replayed() {
    let mut world = World::new(4, 421);
    let make = world.generate(2, &[1, 2, 3], true);
    for step in 0..2 {
        let plan = match step {
            0 => make.clone(),
            _ => world.reshare(&[2, 3], 3, &[4, 2, 3, 1]),
        };
        world.prepare();
        let mut before = std::collections::BTreeMap::new();
        let made = world.run(&plan, &mut |world, id, ask, answer| {
            let node = world.nodes.get_mut(&id).unwrap();
            let stored = node.pins;
            let said = answer.unwrap();
            for pins in [stored, before.insert(id, stored).unwrap_or_default()] {
                node.pins = pins;
                node.pending = None;
                assert!(node.answer(&plan, ask).unwrap() == said);
                assert_eq!(node.pins, stored);
            }
            vec![said]
        });
        world.accept(&plan, &made.unwrap());
    }
}

#[test]
fn a_share_stays_closed_until_all_have_certified() {
    let mut world = World::new(3, 422);
    let plan = world.generate(2, &[1, 2, 3], true);
    let open = |world: &mut World, change: &dyn Fn(&World, &mut Vec<_>)| {
        world.prepare();
        let made = world.run(&plan, &mut honest).unwrap();
        let mut statements = made.statements;
        change(world, &mut statements);
        let pending = world.nodes.get_mut(&World::id(1)).unwrap().pending.take();
        pending.unwrap().confirm(&statements).err()
    };
    assert_eq!(open(&mut world, &|_, _| {}), None);
    let fewer = open(&mut world, &|_, statements| statements.truncate(2));
    assert_eq!(fewer, Some(NotCertified::Count { expected: 3 }));
    let not = |number| Some(NotCertified::Signature(World::id(number)));
    let swapped = open(&mut world, &|_, statements| statements.swap(1, 2));
    assert_eq!(swapped, not(2));
    let other = open(&mut world, &|world, statements| {
        statements[2] = world.node(3).sign(B256::ZERO);
    });
    assert_eq!(other, not(3));
}

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
    let other = Identity::Tagged(TaggedIdentity::random(&mut world::rng(5)));
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
    let answer = world
        .nodes
        .get_mut(&World::id(2))
        .unwrap()
        .answer(&plan, &Ask::Commit);
    assert!(answer.is_ok());
}
