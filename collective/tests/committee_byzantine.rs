//! Bad members: the right files come out, in time, and it is said who did what.

// Each test file uses a part of what they share.
#![allow(dead_code)]

#[path = "committee/network.rs"]
mod network;
#[path = "committee/world.rs"]
mod world;

use std::collections::BTreeMap;

use collective::committee::Member;
use collective::committee::assembly::{Assembled, Progress};
use network::{Bad, PATIENCE, QUIET, run};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use world::{ESCROW, Kind, World, member};

const FILES: [Kind; 2] = [Kind::Hybrid, Kind::Classical];

const KINDS: [Bad; 12] = [
    Bad::WrongPartial,
    Bad::ProvenLie,
    Bad::NoProof,
    Bad::AnotherInput,
    Bad::Replay,
    Bad::Silent,
    Bad::Slow,
    Bad::WrongMlKem,
    Bad::NotSigned,
    Bad::AnotherGrantee,
    Bad::Cut,
    Bad::Refusing,
];

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(1)
}

fn done(progress: Progress) -> Assembled {
    match progress {
        Progress::Done(assembled) => assembled,
        Progress::GivenUp(given_up) => panic!("{given_up}: {:?}", given_up.culprits),
        Progress::Waiting(..) => unreachable!("it ran to its end"),
    }
}

fn check_files(world: &World, assembled: &Assembled) {
    assert_eq!(assembled.files.len(), world.headers.len());
    for (place, key) in assembled.files.iter().enumerate() {
        assert!(
            key.as_ref().is_ok_and(|key| world.opens(place, key)),
            "file {place}"
        );
    }
    let (release, signers) = (&world.release, world.signers());
    let record = &assembled.record;
    assert_eq!(
        record.verify(&ESCROW, release, world.certificate(), &signers),
        Ok(())
    );
}

fn sets(size: u16, most: u16) -> impl Iterator<Item = Vec<Member>> {
    (1u32..1 << size)
        .filter(move |bits| bits.count_ones() <= u32::from(most))
        .map(move |bits| {
            (1..=size)
                .filter(|i| bits >> (i - 1) & 1 == 1)
                .map(member)
                .collect()
        })
}

/// One committee, every set of bad members that it can bear, every kind of badness.
fn every_bad_set(threshold: u16, size: u16) -> usize {
    let world = World::new(threshold, size, &FILES, 1);
    let peers = world.peers();
    let rng = &mut rng();
    let (quiet, took) = run(&world, &peers, &BTreeMap::new(), rng);
    let quiet = done(quiet);
    check_files(&world, &quiet);
    assert_eq!(
        (quiet.record.retries(), quiet.record.culprits().len()),
        (0, 0)
    );
    assert!(took < QUIET * 2);
    let mut runs = 0;
    for set in sets(size, (threshold - 1).min(size - threshold)) {
        for kind in KINDS {
            let bad: BTreeMap<Member, Bad> = set.iter().map(|&member| (member, kind)).collect();
            let story = format!("{threshold} of {size}, {set:?} {kind:?}");
            let (progress, time) = run(&world, &peers, &bad, rng);
            let assembled = done(progress);
            check_files(&world, &assembled);
            let culprits = assembled.record.culprits();
            for culprit in culprits {
                assert!(set.contains(&culprit.member), "{story}: {culprit:?}");
                assert_eq!(culprit.fault, kind.fault(), "{story}");
            }
            // The first quorum is 1 to t: whoever is bad in it shows.
            let seen = set.iter().any(|member| member.number() <= threshold);
            assert_eq!(!culprits.is_empty(), seen, "{story}");
            let retries = assembled.record.retries() as usize;
            assert!(retries <= set.len(), "{story}: {retries} retries");
            assert!(time <= took * 2 + PATIENCE, "{story}: {time:?}");
            runs += 1;
        }
    }
    runs
}

#[test]
fn every_bad_set_of_every_committee_up_to_five() {
    let mut runs = 0;
    for size in 1..=5 {
        for threshold in 1..=size {
            runs += every_bad_set(threshold, size);
        }
    }
    println!("{runs} runs");
}

#[test]
fn every_bad_set_of_four_of_seven() {
    println!("{} runs", every_bad_set(4, 7));
}
