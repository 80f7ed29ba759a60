//! Ceremonies with one cheat in them: a clean end that names exactly the cheat, or the same key for all.

#[path = "ceremony/world.rs"]
mod world;

use std::sync::Arc;

use alloy_primitives::B256;
use collective::committee::ceremony::ask::{Ask, Refusal};
use collective::committee::ceremony::blame::{Complaint, Defence, Liar, judge};
use collective::committee::ceremony::certify::CertifyFault;
use collective::committee::ceremony::commit::{Commit, CommitFault, Round1};
use collective::committee::ceremony::convener::{Culprit, Fault};
use collective::committee::ceremony::deal::{Deal, Part, Round2};
use collective::committee::ceremony::feldman::Commitment;
use collective::committee::ceremony::message::{Body, Message, Round, Signed};
use collective::committee::ceremony::plan::Plan;
use collective::id::NodeId;
use collective::seal::curve::SecretScalar;
use collective::seal::{self, Recipient};
use world::{World, choices, honest, only};
use zeroize::Zeroizing;

/// Signs what the node would never say.
fn forge<B: Body>(world: &World, plan: &Plan, node: NodeId, body: B) -> Signed<B> {
    let node = &world.nodes[&node];
    Signed::sign(plan, node.id, body, &|digest| node.sign(digest)).unwrap()
}

/// 2 of 3 that make a key, and 3 of 4 that take it over from members 1 and 3: every cheat is tried in both.
fn each_ceremony(mut check: impl FnMut(&mut World, &Arc<Plan>, &[u8], &[u8])) {
    let mut world = World::new(4, 500);
    let plan = world.generate(2, &[1, 2, 3], true);
    check(&mut world, &plan, &[1, 2, 3], &[1, 2, 3]);
    world.complete(&plan);
    let plan = world.reshare(&[1, 3], 3, &[1, 2, 3, 4]);
    check(&mut world, &plan, &[1, 3], &[1, 2, 3, 4]);
}

fn is_generate(plan: &Plan) -> bool {
    plan.proposal().epoch == 1
}

/// Runs with every answer of `bad` in `round` changed by `change`.
fn with_cheat(
    world: &mut World,
    plan: &Arc<Plan>,
    bad: u8,
    round: Round,
    change: impl Fn(&World, NodeId, &Ask, Message) -> Vec<Message>,
) -> Result<collective::committee::ceremony::certify::Certification, Vec<Culprit>> {
    world.prepare();
    let bad = World::id(bad);
    world.run(plan, &mut |world, node, ask, answer| match answer {
        Some(message) if node == bad && message.round() == round => {
            change(world, node, ask, message)
        }
        answer => answer.into_iter().collect(),
    })
}

/// The deal with the share for `victim` replaced by `plaintext`.
fn bad_deal(
    world: &World,
    plan: &Plan,
    message: &Message,
    victim: u16,
    plaintext: &[u8],
) -> Message {
    let Message::Deal(deal) = message else {
        panic!("a deal")
    };
    let mut body: Deal = deal.body().clone();
    let place = usize::from(victim) - 1;
    let recipient = plan.proposal().members[place].recipient.clone();
    let mut rng = world::rng(9);
    body.parts[place].share =
        seal::seal(&[Recipient::Tagged(recipient)], plaintext, &mut rng).unwrap();
    Message::Deal(forge(world, plan, deal.node(), body))
}

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
        let random = SecretScalar::random(&mut world::rng(8)).to_bytes();
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
        let random = SecretScalar::random(&mut world::rng(8)).to_bytes();
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
        let other = SecretScalar::random(&mut world::rng(7)).public();
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
                let contribution = Some(B256::repeat_byte(1));
                let body = Commit {
                    contribution,
                    ..commit.body().clone()
                };
                vec![Message::Commit(forge(world, &plan, node, body))]
            },
        );
        assert_eq!(only(end.unwrap_err()).0, World::id(bad));
        // And one that is opened to one member only.
        let end = with_cheat(
            &mut world,
            &plan,
            bad,
            Round::Deal,
            |world, node, _, message| {
                let Message::Deal(deal) = message else {
                    panic!("a deal")
                };
                let mut body = deal.body().clone();
                body.parts[0].ml_kem = body.parts[1].ml_kem.clone();
                vec![Message::Deal(forge(world, &plan, node, body))]
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
            let file = seal::seal(&recipient, &[9; 64], &mut world::rng(6)).unwrap();
            body.parts[place].ml_kem = Some(file);
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

#[test]
fn two_messages_in_one_place_name_their_node() {
    each_ceremony(|world, plan, dealers, members| {
        for &bad in dealers {
            let end = with_cheat(
                world,
                plan,
                bad,
                Round::Commit,
                |world, node, _, message| {
                    let mut other = world.nodes[&node].seed;
                    other[0] ^= 1;
                    let twin = world::answer_with(world, node, plan, &Ask::Commit, other).unwrap();
                    vec![message, twin]
                },
            );
            let (named, fault) = only(end.unwrap_err());
            assert_eq!(named, World::id(bad));
            let Fault::Contradiction(both) = fault else {
                panic!("{fault:?}")
            };
            assert!(both.0.contradicts(&both.1));
            let end = with_cheat(world, plan, bad, Round::Deal, |world, _, _, deal| {
                let twin = bad_deal(world, plan, &deal, 1, b"other");
                vec![deal, twin]
            });
            let (named, fault) = only(end.unwrap_err());
            assert!(matches!(fault, Fault::Contradiction(_)));
            assert_eq!(named, World::id(bad));
        }
        // A certification and a complaint.
        for &bad in members {
            let end = with_cheat(
                world,
                plan,
                bad,
                Round::Certify,
                |world, node, ask, message| {
                    let Ask::Certify(round2) = ask else {
                        panic!("round 3")
                    };
                    let complaint = complaint(world, plan, node, round2, 0);
                    vec![Message::Complain(complaint), message]
                },
            );
            let (named, fault) = only(end.unwrap_err());
            assert!(matches!(fault, Fault::Contradiction(_)));
            assert_eq!(named, World::id(bad));
        }
    });
}

/// A complaint about the share from the dealer in this place.
fn complaint(
    world: &World,
    plan: &Plan,
    node: NodeId,
    round2: &Round2,
    place: usize,
) -> Signed<Complaint> {
    let body = Complaint {
        deal: round2.deals()[place].digest(),
        dealer: plan.dealers()[place].number,
        part: Part::Share,
    };
    forge(world, plan, node, body)
}

#[test]
fn a_false_complaint_names_the_accuser() {
    each_ceremony(|world, plan, dealers, members| {
        for &bad in members {
            for (place, &dealer) in dealers.iter().enumerate() {
                let end = with_cheat(world, plan, bad, Round::Certify, |world, node, ask, _| {
                    let Ask::Certify(round2) = ask else {
                        panic!("round 3")
                    };
                    vec![Message::Complain(complaint(
                        world, plan, node, round2, place,
                    ))]
                });
                let accused = World::id(dealer);
                let fault = Fault::FalseComplaint { accused };
                let named = only(end.unwrap_err());
                // Who accuses itself is caught in the lie all the same.
                assert_eq!(named, (World::id(bad), fault));
            }
        }
    });
}

#[test]
fn a_certification_of_something_else_names_its_member() {
    each_ceremony(|world, plan, _, members| {
        for &bad in members {
            type Expected = fn(&Fault) -> bool;
            type Change =
                fn(&World, &Plan, NodeId, &mut collective::committee::ceremony::certify::Certify);
            let changes: [(Change, Expected); 3] = [
                (
                    |_, _, _, body| body.transcript = B256::ZERO,
                    |fault| *fault == Fault::AnotherSet(Round::Certify),
                ),
                (
                    |world, plan, node, body| {
                        let other =
                            collective::seal::tagged::TaggedIdentity::random(&mut world::rng(3));
                        let shares =
                            collective::committee::split(other, 9, 2, 3, &mut world::rng(4));
                        body.certificate = shares.unwrap()[0].certificate().clone();
                        body.statement =
                            world.nodes[&node].sign(plan.statement_hash(&body.certificate));
                    },
                    |fault| *fault == Fault::Certify(CertifyFault::Certificate),
                ),
                (
                    |world, _, node, body| body.statement = world.nodes[&node].sign(B256::ZERO),
                    |fault| *fault == Fault::Certify(CertifyFault::Statement),
                ),
            ];
            for (change, expected) in changes {
                let end = with_cheat(
                    world,
                    plan,
                    bad,
                    Round::Certify,
                    |world, node, _, message| {
                        let Message::Certify(certify) = message else {
                            panic!("a certification")
                        };
                        let mut body = certify.body().clone();
                        change(world, plan, node, &mut body);
                        vec![Message::Certify(forge(world, plan, node, body))]
                    },
                );
                let (named, fault) = only(end.unwrap_err());
                assert_eq!(named, World::id(bad));
                assert!(expected(&fault), "{fault:?}");
            }
        }
    });
}

/// Only the recipient's ML-KEM half is nothing that a convener can work out.
#[test]
fn another_ml_kem_key_names_the_one_that_differs() {
    let mut world = World::new(3, 504);
    let plan = world.generate(2, &[1, 2, 3], true);
    for bad in 1..=3 {
        let end = with_cheat(
            &mut world,
            &plan,
            bad,
            Round::Certify,
            |world, node, _, message| {
                let Message::Certify(certify) = message else {
                    panic!("a certification")
                };
                let mut body = certify.body().clone();
                let (_, ml_kem) =
                    collective::seal::tagged::TaggedIdentity::random(&mut world::rng(3))
                        .into_parts();
                let old = &body.certificate;
                let shares = (1..=3).map(|n| old.public_share(world::member(n)).unwrap().clone());
                let recipient = ml_kem.recipient(old.recipient().point().clone());
                body.certificate = collective::committee::ShareCertificate::new(
                    recipient,
                    old.epoch(),
                    old.threshold(),
                    shares.collect(),
                )
                .unwrap();
                body.statement = world.nodes[&node].sign(plan.statement_hash(&body.certificate));
                vec![Message::Certify(forge(world, &plan, node, body))]
            },
        );
        assert_eq!(
            only(end.unwrap_err()),
            (World::id(bad), Fault::AnotherMlKemKey)
        );
    }
}

/// A convener and a dealer that cheat together show two halves of the committee different sets. Nobody deals or
/// certifies twice, so no set of messages is signed by all.
#[test]
fn a_cheating_convener_gets_no_key_at_all() {
    each_ceremony(|world, plan, dealers, members| {
        world.prepare();
        let bad = World::id(dealers[1]);
        let mut commits = [vec![], vec![]];
        let mut twin_seed = world.nodes[&bad].seed;
        twin_seed[0] ^= 1;
        for dealer in plan.dealers() {
            let Message::Commit(one) = world
                .nodes
                .get_mut(&dealer.node)
                .unwrap()
                .answer(plan, &Ask::Commit)
                .unwrap()
            else {
                panic!("a commit")
            };
            let mut two = one.clone();
            if dealer.node == bad {
                let Some(Message::Commit(twin)) =
                    world::answer_with(world, bad, plan, &Ask::Commit, twin_seed)
                else {
                    panic!("a commit")
                };
                two = twin;
            }
            commits[0].push(one);
            commits[1].push(two);
        }
        let [one, two] = commits.map(|commits| Round1::new(plan.clone(), commits).unwrap());
        assert_ne!(one.digest(), two.digest());
        // An honest dealer deals once.
        let honest_dealer = world.nodes.get_mut(&World::id(dealers[0])).unwrap();
        let Message::Deal(under_one) = honest_dealer.answer(plan, &Ask::Deal(one.clone())).unwrap()
        else {
            panic!("a deal")
        };
        let refusal = honest_dealer
            .answer(plan, &Ask::Deal(two.clone()))
            .unwrap_err();
        let pinned = one.digest();
        assert_eq!(refusal, Refusal::AnotherRound1 { pinned });
        // Its deal cannot be passed off as one under the other set.
        let Some(Message::Deal(bad_two)) =
            world::answer_with(world, bad, plan, &Ask::Deal(two.clone()), twin_seed)
        else {
            panic!("a deal")
        };
        let mixed: Vec<_> = plan
            .dealers()
            .iter()
            .map(|dealer| {
                if dealer.node == bad {
                    bad_two.clone()
                } else {
                    under_one.clone()
                }
            })
            .collect();
        assert!(Round2::new(two, mixed).is_err());
        // One round 1, two round 2: a member certifies one transcript.
        let deal = |world: &mut World, node: NodeId| match world
            .nodes
            .get_mut(&node)
            .unwrap()
            .answer(plan, &Ask::Deal(one.clone()))
            .unwrap()
        {
            Message::Deal(deal) => deal,
            _ => panic!("a deal"),
        };
        let deals: Vec<_> = plan
            .dealers()
            .iter()
            .map(|dealer| deal(world, dealer.node))
            .collect();
        let mut others = deals.clone();
        let forged = bad_deal(
            world,
            plan,
            &Message::Deal(deals[1].clone()),
            members.len() as u16,
            b"x",
        );
        let Message::Deal(forged) = forged else {
            panic!("a deal")
        };
        others[1] = forged;
        let first = Ask::Certify(Round2::new(one.clone(), deals).unwrap());
        let second = Ask::Certify(Round2::new(one, others).unwrap());
        for party in &plan.proposal().members {
            let node = world.nodes.get_mut(&party.node).unwrap();
            assert!(node.answer(plan, &first).is_ok());
            let refusal = node.answer(plan, &second).unwrap_err();
            assert!(matches!(refusal, Refusal::AnotherTranscript { .. }));
        }
    });
}

/// The judge looks at messages about each other only, and an honest dealer's defence convicts the accuser.
#[test]
fn a_judgement_needs_messages_that_belong_together() {
    let mut world = World::new(3, 505);
    let plan = world.generate(2, &[1, 2, 3], true);
    world.prepare();
    let mut seen = None;
    let end = world.run(&plan, &mut |world, node, ask, answer| {
        if let Ask::Certify(round2) = ask {
            seen = Some(round2.clone());
        }
        honest(world, node, ask, answer)
    });
    assert!(end.is_ok());
    let round2 = seen.unwrap();
    let accuser = World::id(1);
    let lie = complaint(&world, &plan, accuser, &round2, 1);
    let defend = |world: &mut World, complaint: &Signed<Complaint>| {
        let ask = Ask::Defend(round2.round1().clone(), complaint.clone());
        match world
            .nodes
            .get_mut(&World::id(2))
            .unwrap()
            .answer(&plan, &ask)
        {
            Ok(Message::Defend(defence)) => Ok(defence),
            Err(refusal) => Err(refusal),
            _ => panic!("a defence"),
        }
    };
    let defence = defend(&mut world, &lie).unwrap();
    let [one, two, _] = round2.deals() else {
        panic!("three deals")
    };
    let round1 = round2.round1();
    assert_eq!(judge(round1, two, &lie, &defence), Some(Liar::Accuser));
    // Another deal, another complaint.
    assert_eq!(judge(round1, one, &lie, &defence), None);
    let other = complaint(&world, &plan, World::id(3), &round2, 1);
    assert_eq!(judge(round1, two, &other, &defence), None);
    // A defence with other coins or another plaintext convicts the dealer.
    for (coins, plaintext) in [
        (Zeroizing::new([0; 32]), defence.body().plaintext.clone()),
        (defence.body().coins.clone(), Zeroizing::new(vec![1; 32])),
    ] {
        let body = Defence {
            complaint: lie.digest(),
            coins,
            plaintext,
        };
        let bad = forge(&world, &plan, World::id(2), body);
        assert_eq!(judge(round1, two, &lie, &bad), Some(Liar::Dealer));
    }
    // A dealer shows nothing for a complaint about bytes that it did not send, or about another dealer.
    let mut body = lie.body().clone();
    body.deal = B256::ZERO;
    let stray = forge(&world, &plan, accuser, body);
    assert_eq!(defend(&mut world, &stray).err(), Some(Refusal::NotAccused));
    let other = complaint(&world, &plan, accuser, &round2, 2);
    assert_eq!(defend(&mut world, &other).err(), Some(Refusal::NotAccused));
}
