//! Ceremonies: committees make keys that nobody knows, share them anew, and whoever cheats is named.

#[path = "ceremony/world.rs"]
mod world;

use std::sync::Arc;

use world::{World, choices};

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
    let _ = Arc::new(());
}
