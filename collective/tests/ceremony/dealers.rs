//! Cheats of those who deal.

use crate::cheat::{bad_deal, each_ceremony, forge, is_generate, with_cheat};

use crate::world::{World, choices, only};
use alloy_primitives::B256;
use collective::committee::ceremony::ask::{Ask, Refusal};
use collective::committee::ceremony::blame::Defence;
use collective::committee::ceremony::commit::{Commit, CommitFault};
use collective::committee::ceremony::convener::Fault;
use collective::committee::ceremony::deal::Deal;
use collective::committee::ceremony::feldman::Commitment;
use collective::committee::ceremony::message::{Message, Round};
use collective::seal::curve::SecretScalar;
use collective::seal::{self, Recipient};
use zeroize::Zeroizing;

#[test]
fn a_silent_node_is_named_in_every_round() {
    each_ceremony(|world, plan, dealers, members| {
        for (round, nodes) in [
            (Round::Commit, dealers),
            (Round::Deal, dealers),
            (Round::Certify, members),
        ] {
            for &bad in nodes {
                let end = with_cheat(world, plan, bad, round, |_, _, _, _| vec![]);
                let silent = (World::id(bad), Fault::Silent(round));
                assert_eq!(only(end.unwrap_err()), silent);
            }
        }
    });
}

#[test]
fn a_wrong_share_names_its_dealer() {
    each_ceremony(|world, plan, dealers, members| {
        let random = SecretScalar::random(&mut crate::world::rng(8)).to_bytes();
        for &bad in dealers {
            for victim in 1..=members.len() as u16 {
                let others = [&[0; 32][..], &[1; 31], &[1; 33], b""];
                let others = if victim == 1 { &others[..] } else { &[] };
                for plaintext in std::iter::once(&random[..]).chain(others.iter().copied()) {
                    let end = with_cheat(world, plan, bad, Round::Deal, |world, _, _, deal| {
                        vec![bad_deal(world, plan, &deal, victim, plaintext)]
                    });
                    let (named, fault) = only(end.unwrap_err());
                    assert_eq!(named, World::id(bad), "{fault:?}");
                }
            }
        }
    });
}

#[test]
fn a_part_that_does_not_open_names_its_dealer() {
    each_ceremony(|world, plan, dealers, _| {
        for &bad in dealers {
            let end = with_cheat(world, plan, bad, Round::Deal, |world, node, _, message| {
                let Message::Deal(deal) = message else {
                    panic!("a deal")
                };
                let mut body = deal.body().clone();
                *body.parts[1].share.last_mut().unwrap() ^= 1;
                vec![Message::Deal(forge(world, plan, node, body))]
            });
            assert_eq!(only(end.unwrap_err()).0, World::id(bad));
        }
    });
}

/// The accused may answer a complaint with anything: no story saves a dealer whose part was bad.
#[test]
fn a_cheating_dealer_has_no_defence() {
    each_ceremony(|world, plan, dealers, _| {
        let bad = World::id(dealers[1]);
        let random = SecretScalar::random(&mut crate::world::rng(8)).to_bytes();
        let honest_coins = [7; 32];
        for plaintext in [&random[..], &[5; 32], b"nothing"] {
            world.prepare();
            let end = world.run(plan, &mut |world, node, ask, answer| {
                let message = match (ask, answer) {
                    (Ask::Deal(_), Some(deal)) if node == bad => {
                        bad_deal(world, plan, &deal, 1, &random[..])
                    }
                    (Ask::Defend(_, complaint), None) if node == bad => {
                        let defence = Defence {
                            complaint: complaint.digest(),
                            coins: Zeroizing::new(honest_coins),
                            plaintext: Zeroizing::new(plaintext.to_vec()),
                        };
                        Message::Defend(forge(world, plan, node, defence))
                    }
                    (_, Some(message)) => message,
                    (_, None) => return vec![],
                };
                vec![message]
            });
            let accuser = World::id(1);
            assert_eq!(only(end.unwrap_err()), (bad, Fault::WrongPart { accuser }));
        }
    });
}

#[test]
fn a_wrong_commitment_names_its_dealer() {
    each_ceremony(|world, plan, dealers, _| {
        let other = SecretScalar::random(&mut crate::world::rng(7)).public();
        for &bad in dealers {
            for place in 0..usize::from(plan.proposal().threshold) {
                let end = with_cheat(
                    world,
                    plan,
                    bad,
                    Round::Commit,
                    |world, node, _, message| {
                        let Message::Commit(commit) = message else {
                            panic!("a commit")
                        };
                        let mut points = commit.body().commitment.coefficients().to_vec();
                        points[place] = other.clone();
                        let body = Commit {
                            commitment: Commitment::new(points).unwrap(),
                            ..commit.body().clone()
                        };
                        vec![Message::Commit(forge(world, plan, node, body))]
                    },
                );
                let (named, fault) = only(end.unwrap_err());
                assert_eq!(named, World::id(bad), "{fault:?}");
                let expected = match is_generate(plan) {
                    true => CommitFault::ProofOfKnowledge,
                    false => CommitFault::AnotherShare,
                };
                assert_eq!(fault == Fault::Commit(expected), place == 0, "{fault:?}");
            }
        }
    });
}

#[test]
fn a_proof_of_knowledge_of_something_else_names_its_dealer() {
    let mut world = World::new(3, 501);
    let plan = world.generate(2, &[1, 2, 3], true);
    for bad in 1..=3 {
        let end = with_cheat(
            &mut world,
            &plan,
            bad,
            Round::Commit,
            |world, node, _, message| {
                let Message::Commit(commit) = message else {
                    panic!("a commit")
                };
                let mut body = commit.body().clone();
                let mut bytes = body.proof.unwrap().to_bytes();
                bytes[64] ^= 1;
                body.proof = collective::committee::ceremony::commit::Proof::from_bytes(&bytes);
                vec![Message::Commit(forge(world, &plan, node, body))]
            },
        );
        let fault = Fault::Commit(CommitFault::ProofOfKnowledge);
        assert_eq!(only(end.unwrap_err()), (World::id(bad), fault));
    }
}

#[test]
fn a_contribution_that_was_not_committed_to_names_its_dealer() {
    let mut world = World::new(3, 502);
    let make = world.generate(2, &[1, 2, 3], true);
    world.complete(&make);
    let renew = world.renew(&[1, 3], 2, &[1, 2, 3]);
    for (plan, bad) in [(&make, 1), (&make, 2), (&make, 3), (&renew, 1), (&renew, 3)] {
        let end = with_cheat(
            &mut world,
            plan,
            bad,
            Round::Commit,
            |world, node, _, message| {
                let Message::Commit(commit) = message else {
                    panic!("a commit")
                };
                let contribution = Some(B256::repeat_byte(1));
                let body = Commit {
                    contribution,
                    ..commit.body().clone()
                };
                vec![Message::Commit(forge(world, plan, node, body))]
            },
        );
        assert_eq!(only(end.unwrap_err()).0, World::id(bad));
        // And one that is opened to one member only.
        let end = with_cheat(
            &mut world,
            plan,
            bad,
            Round::Deal,
            |world, node, _, message| {
                let Message::Deal(deal) = message else {
                    panic!("a deal")
                };
                let mut body = deal.body().clone();
                body.parts[0].contribution = body.parts[1].contribution.clone();
                vec![Message::Deal(forge(world, plan, node, body))]
            },
        );
        assert_eq!(only(end.unwrap_err()).0, World::id(bad));
    }
}

#[test]
fn a_wrong_ml_kem_seed_from_one_old_member_changes_nothing() {
    let mut world = World::new(4, 503);
    let plan = world.generate(2, &[1, 2, 3], true);
    world.complete(&plan);
    let plan = world.reshare(&[1, 3], 3, &[1, 2, 3, 4]);
    let forged = |world: &World, node, message, bad_for: &[usize]| {
        let Message::Deal(deal) = message else {
            panic!("a deal")
        };
        let mut body: Deal = deal.body().clone();
        for &place in bad_for {
            let recipient = plan.proposal().members[place].recipient.clone();
            let recipient = [Recipient::Tagged(recipient)];
            let file = seal::seal(&recipient, &[9; 64], &mut crate::world::rng(6)).unwrap();
            body.parts[place].old_seed = Some(file);
        }
        vec![Message::Deal(forge(world, &plan, node, body))]
    };
    for bad in [1, 3] {
        let end = with_cheat(
            &mut world,
            &plan,
            bad,
            Round::Deal,
            |world, node, _, deal| forged(world, node, deal, &[0, 1, 2, 3]),
        );
        assert!(end.is_ok());
    }
    // Where all of a quorum lie, the member says so and signs nothing.
    world.prepare();
    let mut refusals = vec![];
    let end = world.run(&plan, &mut |world, node, ask, answer| match (ask, answer) {
        (Ask::Deal(_), Some(deal)) => forged(world, node, deal, &[1]),
        (Ask::Certify(_), None) => {
            let node = world.nodes.get_mut(&node).unwrap();
            refusals.extend(node.answer(&plan, ask).err());
            vec![]
        }
        (_, answer) => answer.into_iter().collect(),
    });
    assert_eq!(
        only(end.unwrap_err()),
        (World::id(2), Fault::Silent(Round::Certify))
    );
    assert!(
        refusals
            .iter()
            .all(|refusal| *refusal == Refusal::NoMlKemSeed)
    );
    // One that lies well to all, so that the old committee's shares still open: the same key for all.
    let end = with_cheat(&mut world, &plan, 1, Round::Deal, |world, node, _, deal| {
        forged(world, node, deal, &[0, 1])
    });
    let made = end.unwrap();
    world.accept(&plan, &made);
    for quorum in choices(&[1, 2, 3, 4], 3) {
        assert!(world.open(&made.certificate, &quorum));
    }
}
