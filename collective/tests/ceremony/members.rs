//! Cheats of those who receive, of conveners, and who is believed.

use crate::cheat::{bad_deal, complaint, each_ceremony, forge, is_generate, with_cheat};

use crate::world::{World, honest, only};
use alloy_primitives::B256;
use collective::committee::ceremony::ask::{Ask, Refusal};
use collective::committee::ceremony::blame::{Complaint, Defence, Liar, judge};
use collective::committee::ceremony::certify::CertifyFault;
use collective::committee::ceremony::commit::Round1;
use collective::committee::ceremony::convener::Fault;
use collective::committee::ceremony::deal::{Part, Round2};
use collective::committee::ceremony::message::{Message, MessageError, Round, Signed};
use collective::committee::ceremony::plan::Plan;
use collective::id::NodeId;
use zeroize::Zeroizing;

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
                    let twin =
                        crate::world::answer_with(world, node, plan, &Ask::Commit, other).unwrap();
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
                    let complaint = complaint(world, plan, node, round2, 0, Part::Share);
                    vec![Message::Complain(complaint), message]
                },
            );
            let (named, fault) = only(end.unwrap_err());
            assert!(matches!(fault, Fault::Contradiction(_)));
            assert_eq!(named, World::id(bad));
        }
    });
}

#[test]
fn a_false_complaint_names_the_accuser() {
    each_ceremony(|world, plan, dealers, members| {
        // There is no complaint about an old ML-KEM seed: nobody reads it.
        let parts = match plan.makes_ml_kem_key() {
            true => &[Part::Share, Part::Contribution][..],
            false => &[Part::Share],
        };
        for (&bad, &part) in members
            .iter()
            .flat_map(|n| parts.iter().map(move |p| (n, p)))
        {
            for (place, &dealer) in dealers.iter().enumerate() {
                let end = with_cheat(world, plan, bad, Round::Certify, |world, node, ask, _| {
                    let Ask::Certify(round2) = ask else {
                        panic!("round 3")
                    };
                    let lie = complaint(world, plan, node, round2, place, part);
                    vec![Message::Complain(lie)]
                });
                let accused = World::id(dealer);
                let fault = Fault::FalseComplaint { accused };
                // Who accuses itself is caught in the lie all the same.
                assert_eq!(only(end.unwrap_err()), (World::id(bad), fault));
            }
        }
        if !is_generate(plan) {
            with_cheat(
                world,
                plan,
                members[0],
                Round::Certify,
                |world, node, ask, message| {
                    let Ask::Certify(round2) = ask else {
                        panic!("round 3")
                    };
                    let lie = complaint(world, plan, node, round2, 0, Part::OldSeed);
                    let read = Message::parse(plan, &Message::Complain(lie).to_bytes());
                    assert_eq!(read.err(), Some(MessageError::Malformed));
                    vec![message]
                },
            )
            .unwrap();
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
            let changes: [(Change, Expected); 4] = [
                (
                    |world, plan, node, body| {
                        let old = &body.certificate;
                        let shares = (1..=old.size())
                            .map(|n| old.public_share(crate::world::member(n)).unwrap().clone());
                        body.certificate = collective::committee::ShareCertificate::new(
                            old.recipient().clone(),
                            old.epoch() + 1,
                            old.threshold(),
                            shares.collect(),
                        )
                        .unwrap();
                        body.statement =
                            world.nodes[&node].sign(plan.statement_hash(&body.certificate));
                    },
                    |fault| *fault == Fault::Certify(CertifyFault::Certificate),
                ),
                (
                    |_, _, _, body| body.transcript = B256::ZERO,
                    |fault| *fault == Fault::AnotherSet(Round::Certify),
                ),
                (
                    |world, plan, node, body| {
                        let other = collective::seal::tagged::TaggedIdentity::random(
                            &mut crate::world::rng(3),
                        );
                        let shares =
                            collective::committee::split(other, 9, 2, 3, &mut crate::world::rng(4));
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
    let make = world.generate(2, &[1, 2, 3], true);
    world.complete(&make);
    let renew = world.renew(&[1, 2], 2, &[1, 2, 3]);
    for (plan, bad) in [&make, &renew]
        .iter()
        .flat_map(|plan| (1..=3).map(move |bad| (*plan, bad)))
    {
        let end = with_cheat(
            &mut world,
            plan,
            bad,
            Round::Certify,
            |world, node, _, message| {
                let Message::Certify(certify) = message else {
                    panic!("a certification")
                };
                let mut body = certify.body().clone();
                let (_, ml_kem) =
                    collective::seal::tagged::TaggedIdentity::random(&mut crate::world::rng(3))
                        .into_parts();
                let old = &body.certificate;
                let shares =
                    (1..=3).map(|n| old.public_share(crate::world::member(n)).unwrap().clone());
                let recipient = ml_kem.recipient(old.recipient().point().clone());
                body.certificate = collective::committee::ShareCertificate::new(
                    recipient,
                    old.epoch(),
                    old.threshold(),
                    shares.collect(),
                )
                .unwrap();
                body.statement = world.nodes[&node].sign(plan.statement_hash(&body.certificate));
                vec![Message::Certify(forge(world, plan, node, body))]
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
                    crate::world::answer_with(world, bad, plan, &Ask::Commit, twin_seed)
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
            crate::world::answer_with(world, bad, plan, &Ask::Deal(two.clone()), twin_seed)
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
    let lie = complaint(&world, &plan, accuser, &round2, 1, Part::Share);
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
    let other = complaint(&world, &plan, World::id(3), &round2, 1, Part::Share);
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
    let other = complaint(&world, &plan, accuser, &round2, 2, Part::Share);
    assert_eq!(defend(&mut world, &other).err(), Some(Refusal::NotAccused));
}

/// The stream of SPEC "Ceremony", by hand.
struct Stream {
    coins: [u8; 32],
    taken: usize,
}

impl rand_core::TryRng for Stream {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        unreachable!("sealing takes bytes")
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        unreachable!("sealing takes bytes")
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
        use aws_lc_rs::hmac;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.coins);
        for byte in out {
            let block = (self.taken / 32) as u64;
            *byte = hmac::sign(&key, &block.to_be_bytes()).as_ref()[self.taken % 32];
            self.taken += 1;
        }
        Ok(())
    }
}

impl rand_core::TryCryptoRng for Stream {}

/// It is no defence to show a wrong share truthfully; a right one shown so convicts the accuser.
#[test]
fn a_dealer_that_shows_a_wrong_share_truthfully_is_convicted() {
    let mut world = World::new(3, 506);
    let plan = world.generate(2, &[1, 2, 3], true);
    let coins = [3; 32];
    let mut shown = vec![7; 32];
    world.prepare();
    let end = world.run(&plan, &mut |world, node, ask, answer| {
        let message = match (ask, answer) {
            (Ask::Deal(_), Some(Message::Deal(deal))) if node == World::id(2) => {
                let mut body = deal.body().clone();
                let recipient = plan.proposal().members[0].recipient.clone();
                let recipient = [collective::seal::Recipient::Tagged(recipient)];
                let mut stream = Stream { coins, taken: 0 };
                body.parts[0].share =
                    collective::seal::seal(&recipient, &shown, &mut stream).unwrap();
                Message::Deal(forge(world, &plan, node, body))
            }
            (Ask::Defend(_, complaint), None) => {
                let defence = Defence {
                    complaint: complaint.digest(),
                    coins: Zeroizing::new(coins),
                    plaintext: Zeroizing::new(std::mem::take(&mut shown)),
                };
                Message::Defend(forge(world, &plan, node, defence))
            }
            (_, Some(message)) => message,
            (_, None) => return vec![],
        };
        vec![message]
    });
    let accuser = World::id(1);
    assert_eq!(
        only(end.unwrap_err()),
        (World::id(2), Fault::WrongPart { accuser })
    );
}
