//! Ceremonies: committees make keys that nobody knows, share them anew, and whoever cheats is named.

#[path = "ceremony/borders.rs"]
mod borders;
#[path = "ceremony/world.rs"]
mod world;

use alloy_primitives::B256;
use collective::committee::KeyShare;
use collective::committee::ceremony::certify::NotCertified;
use collective::seal::tagged::TaggedIdentity;
use world::{World, choices, honest};

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

/// The P-256 half stays; the ML-KEM half is another one, the same for all, and the old one is handed on beside it.
#[test]
fn a_renewed_key_keeps_its_point_and_opens_with_both_ml_kem_keys_while_they_last() {
    let mut world = World::new(5, 411);
    let plan = world.generate(2, &[1, 2, 3], true);
    let mut old = world.complete(&plan).certificate;
    for (dealers, threshold, members) in [(&[1, 3], 2, &[3, 4, 5][..]), (&[3, 5], 3, &[1, 3, 4, 5])]
    {
        let plan = world.renew(dealers, threshold, members);
        let new = world.complete(&plan).certificate;
        assert_eq!(new.recipient().point(), old.recipient().point());
        assert_ne!(new.recipient(), old.recipient());
        for quorum in choices(members, threshold.into()) {
            assert!(world.open(&new, &quorum), "{quorum:?}");
        }
        for &member in members {
            let retired = world.node(member).retired.as_ref().unwrap();
            let point = old.recipient().point().clone();
            assert_eq!(&retired.recipient(point), old.recipient());
        }
        old = new;
    }
    // What follows deals the present seed alone.
    let plan = world.reshare(&[1, 3, 4], 2, &[1, 2]);
    let last = world.complete(&plan).certificate;
    assert_eq!(last.recipient(), old.recipient());
    assert!(world.open(&last, &[1, 2]));
    assert!([1, 2].iter().all(|&n| world.node(n).retired.is_none()));
}

#[test]
fn a_refreshed_share_does_not_combine_with_an_old_one() {
    let mut world = World::new(3, 420);
    for post_quantum in [true, false] {
        let plan = world.generate(2, &[1, 2, 3], post_quantum);
        world.complete(&plan);
        let plan = world.reshare(&[1, 2], 2, &[1, 2, 3]);
        world.prepare();
        let made = world.run(&plan, &mut honest).unwrap();
        let shares = world.nodes.values_mut();
        let old: Vec<_> = shares.map(|node| node.share.take().unwrap()).collect();
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
}

#[test]
fn a_trusted_node_becomes_a_committee() {
    let mut world = World::new(3, 426);
    let sole = KeyShare::sole(TaggedIdentity::random(&mut world.rng), 1);
    let recipient = sole.certificate().recipient().clone();
    world.nodes.get_mut(&World::id(1)).unwrap().share = Some(sole);
    let plan = world.reshare(&[1], 2, &[1, 2, 3]);
    let certificate = world.complete(&plan).certificate;
    assert_eq!(certificate.recipient(), &recipient);
    for quorum in choices(&[1, 2, 3], 2) {
        assert!(world.open(&certificate, &quorum));
    }
    assert!(!world.open(&certificate, &[1]));
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
