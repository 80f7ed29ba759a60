//! One release from question to file keys: what is given to whom, and what is refused.

// Each test file uses a part of what they share.
#![allow(dead_code)]

#[path = "committee/network.rs"]
mod network;
#[path = "committee/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use alloy_primitives::B256;
use collective::committee::answer::{AnswerError, Fault};
use collective::committee::assembly::{Assembled, Assembly, BadFile, Effect, GivenUp, Progress};
use collective::committee::log::LogHead;
use collective::committee::question::{Question, QuestionError};
use collective::committee::record::{QuorumRecord, RecordError};
use collective::committee::released::{NotReleased, ReleasedFiles};
use collective::committee::rewrap::{EarlierKeys, Retired, Rewrapped};
use collective::committee::{KeyShare, Member, Quorum, QuorumError, ReleaseError};
use collective::limits::MAX_PAGE_FILES;
use collective::seal::contribution;
use collective::seal::hpke::MlKemSecret;
use collective::seal::tagged::{MlKemKey, TaggedRecipient};
use network::{Bad, PATIENCE, run};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use world::{ESCROW, Kind, Node, World, member};

const HYBRID: [Kind; 1] = [Kind::Hybrid];

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(2)
}

fn bad<const N: usize>(members: [(u16, Bad); N]) -> BTreeMap<Member, Bad> {
    members.map(|(number, bad)| (member(number), bad)).into()
}

fn finish(world: &World, bad: &BTreeMap<Member, Bad>) -> Result<Assembled, GivenUp> {
    match run(world, &world.peers(), bad, &mut rng()).0 {
        Progress::Done(assembled) => Ok(assembled),
        Progress::GivenUp(given_up) => Err(given_up),
        Progress::Waiting(..) => unreachable!("it ran to its end"),
    }
}

fn done(world: &World, members: &BTreeMap<Member, Bad>) -> Assembled {
    finish(world, members).unwrap_or_else(|given_up| panic!("{given_up}"))
}

fn culprits(assembled: &Assembled) -> Vec<(u16, Fault)> {
    let culprits = assembled.record.culprits().iter();
    culprits
        .map(|culprit| (culprit.member.number(), culprit.fault))
        .collect()
}

/// What a member's bytes make of a fresh assembly whose other members have not answered yet.
fn verdict(world: &World, from: u16, bytes: impl FnOnce(&[u8]) -> Vec<u8>) -> Option<Fault> {
    let (assembly, question) = begin(world);
    let identity = &world.node.identity;
    let bytes = bytes(&question);
    let progress = assembly.answered(Duration::ZERO, member(from), 0, &bytes, identity);
    let culprits = match progress {
        Progress::GivenUp(given_up) => given_up.culprits,
        Progress::Done(assembled) => assembled.record.culprits().to_vec(),
        // A good answer asks for nothing; a bad one has another quorum asked.
        Progress::Waiting(_, effects) if effects.is_empty() => vec![],
        Progress::Waiting(..) => panic!("another quorum although only t members are left"),
    };
    culprits.first().map(|culprit| culprit.fault)
}

/// Asks the first t members and no others, so that the first fault ends the job.
fn begin(world: &World) -> (Box<Assembly>, Vec<u8>) {
    let certificate = world.certificate().clone();
    let peers = &world.peers()[..usize::from(certificate.threshold())];
    match Assembly::start(
        certificate,
        ESCROW,
        peers,
        world.files(),
        PATIENCE,
        Duration::ZERO,
    ) {
        Progress::Waiting(assembly, effects) => match &effects[0] {
            Effect::Ask { question, .. } => (assembly, question.clone()),
            Effect::Probe { .. } => panic!("nobody else is there"),
        },
        _ => panic!("t members are there"),
    }
}

#[test]
fn a_bad_file_is_told_from_bad_members() {
    let kinds = [Kind::Hybrid, Kind::Garbage, Kind::Altered, Kind::Classical];
    let world = World::new(2, 3, &kinds, 5);
    let found = |assembled: &Assembled| {
        let count = |bad: BadFile| {
            assembled
                .files
                .iter()
                .filter(|file| file.as_ref().err() == Some(&bad))
                .count()
        };
        assert_eq!((count(BadFile::Closed), count(BadFile::Altered)), (1, 1));
        let good = assembled
            .files
            .iter()
            .enumerate()
            .filter_map(|(at, file)| Some((at, file.as_ref().ok()?)));
        assert_eq!(good.filter(|(at, key)| world.opens(*at, key)).count(), 2);
        assert_eq!(assembled.record.bad_files().len(), 2);
        let signers = world.signers();
        assert_eq!(
            assembled
                .record
                .verify(&ESCROW, &world.release, world.certificate(), &signers),
            Ok(())
        );
    };
    let honest = done(&world, &bad([]));
    found(&honest);
    assert_eq!((culprits(&honest), honest.record.retries()), (vec![], 0));
    // And beside members who use the occasion.
    for (kind, fault) in [
        (Bad::WrongPartial, Fault::WrongPartial),
        (Bad::ProvenLie, Fault::WrongPartial),
        (Bad::NoProof, Fault::Malformed),
        (Bad::WrongMlKem, Fault::WrongMlKem),
    ] {
        let assembled = done(&world, &bad([(2, kind)]));
        found(&assembled);
        assert_eq!(culprits(&assembled), [(2, fault)], "{kind:?}");
    }
}

#[test]
fn a_job_of_bad_files_alone_has_a_record_that_verifies() {
    let world = World::new(2, 3, &[Kind::Garbage], 6);
    let assembled = done(&world, &bad([]));
    assert_eq!(assembled.files[0].as_ref().err(), Some(&BadFile::Closed));
    let signers = world.signers();
    assert_eq!(
        assembled
            .record
            .verify(&ESCROW, &world.release, world.certificate(), &signers),
        Ok(())
    );
}

/// Mallory contributes a file that opens only with what her accomplice says. Whoever believes what opens blames the honest.
#[test]
fn a_contributor_and_a_member_together_cannot_have_an_honest_member_blamed() {
    for (threshold, size) in [(2, 3), (3, 5), (4, 7)] {
        let world = World::new(threshold, size, &[Kind::Hybrid, Kind::Garbage], 7);
        for accomplice in 1..=threshold {
            let assembled = done(&world, &bad([(accomplice, Bad::ColludingMlKem)]));
            assert_eq!(culprits(&assembled), [(accomplice, Fault::WrongMlKem)]);
            let closed = assembled.files.iter().filter(|file| file.is_err()).count();
            assert_eq!((closed, assembled.record.retries()), (1, 1));
        }
    }
}

#[test]
fn different_faults_at_once_are_each_named() {
    let world = World::new(4, 7, &[Kind::Hybrid, Kind::Classical], 8);
    let assembled = done(
        &world,
        &bad([(1, Bad::Silent), (2, Bad::WrongPartial), (3, Bad::Replay)]),
    );
    let mut named = culprits(&assembled);
    named.sort_by_key(|&(number, _)| number);
    let expected = [
        (1, Fault::Silent),
        (2, Fault::WrongPartial),
        (3, Fault::AnotherQuestion),
    ];
    assert!(
        named.iter().all(|culprit| expected.contains(culprit)),
        "{named:?}"
    );
    assert!(named.contains(&expected[2]));
    assert!(
        assembled
            .files
            .iter()
            .enumerate()
            .all(|(at, key)| key.as_ref().is_ok_and(|key| world.opens(at, key)))
    );
}

#[test]
fn with_fewer_than_t_left_nothing_opens_and_everybody_is_named() {
    let world = World::new(2, 3, &HYBRID, 9);
    let given_up = finish(&world, &bad([(1, Bad::Silent), (3, Bad::Refusing)]))
        .err()
        .expect("one is left");
    assert_eq!((given_up.left, given_up.threshold), (1, 2));
    let mut faults: Vec<_> = given_up
        .culprits
        .iter()
        .map(|c| (c.member.number(), c.fault))
        .collect();
    faults.sort_by_key(|&(number, _)| number);
    assert_eq!(faults, [(1, Fault::Silent), (3, Fault::Refused)]);
    assert_eq!(given_up.health[&member(1)].failures(), 1);
    assert_eq!(given_up.health[&member(2)].failures(), 0);
}

#[test]
fn the_healthiest_are_asked_and_a_slow_member_costs_one_time_out_for_all_pages() {
    let count = u16::try_from(MAX_PAGE_FILES).expect("small") + 1;
    let world = World::repeated(2, 3, count);
    let mut peers = world.peers();
    let (progress, time) = run(&world, &peers, &bad([(1, Bad::Slow)]), &mut rng());
    let Progress::Done(assembled) = progress else {
        panic!("two are left");
    };
    assert_eq!(world.files().pages(), 2);
    assert_eq!(
        (culprits(&assembled), assembled.record.retries()),
        (vec![(1, Fault::Silent)], 1)
    );
    assert!(time < PATIENCE + network::QUIET * 3, "{time:?}");
    assert!(
        assembled.files.iter().all(Result::is_ok) && assembled.files.len() == usize::from(count)
    );
    assert!(world.opens(
        MAX_PAGE_FILES,
        assembled.files[MAX_PAGE_FILES].as_ref().expect("open")
    ));
    // In the next job it comes last.
    for peer in &mut peers {
        peer.health = assembled.health[&peer.member];
    }
    let (progress, time) = run(&world, &peers, &bad([(1, Bad::Slow)]), &mut rng());
    assert!(matches!(progress, Progress::Done(assembled) if assembled.record.retries() == 0));
    assert!(time < network::QUIET * 3, "{time:?}");
}

#[test]
fn a_committee_of_one_assembles_the_same_way() {
    let world = World::new(1, 1, &[Kind::Hybrid, Kind::Garbage, Kind::Classical], 10);
    let assembled = done(&world, &bad([]));
    assert_eq!(
        assembled.files.iter().filter(|file| file.is_ok()).count(),
        2
    );
    assert_eq!(assembled.record.bad_files().len(), 1);
}

#[test]
fn what_was_given_for_one_job_or_node_is_of_no_use_for_another() {
    let world = World::new(2, 3, &HYBRID, 11);
    let rng = &mut rng();
    let honest = |question: &[u8], rng: &mut ChaCha20Rng| {
        world.honest(member(1), question, &world.files(), rng)
    };
    assert_eq!(verdict(&world, 1, |question| honest(question, rng)), None);
    // Job B gets the answer that was made for job A.
    let (other_release, other_files) = world.another(&HYBRID, 2, rng);
    assert_ne!(
        other_release.signing_hash(&ESCROW),
        world.release.signing_hash(&ESCROW)
    );
    let for_other = |question: &[u8]| {
        let asked = Question::parse(world.certificate(), question).expect("ours");
        Question::partials(other_files.digest(), 0, asked.quorum().clone())
    };
    let fault = verdict(&world, 1, |question| {
        world.honest(
            member(1),
            &for_other(question).to_bytes(),
            &other_files,
            rng,
        )
    });
    assert_eq!(fault, Some(Fault::AnotherQuestion));
    // An honest member gives nothing to a question about a release that is not the one it signed.
    let (_, question) = begin(&world);
    let question = for_other(&question);
    let answer = |question: &Question, files: &ReleasedFiles, rng: &mut ChaCha20Rng| {
        world.shares[0].answer(
            question,
            files,
            &EarlierKeys::default(),
            LogHead::default(),
            rng,
        )
    };
    assert_eq!(
        answer(&question, &world.files(), rng).err(),
        Some(AnswerError::AnotherRelease)
    );
    // Another node cannot open what was sealed to the grantee.
    let (assembly, asked) = begin(&world);
    let bytes = honest(&asked, rng);
    let thief = Node::new(rng).identity;
    let progress = assembly.answered(Duration::ZERO, member(1), 0, &bytes, &thief);
    let Progress::GivenUp(given_up) = progress else {
        panic!("it opened");
    };
    assert_eq!(given_up.culprits[0].fault, Fault::Malformed);
    // Member 2 passes member 1's answer off as its own.
    let fault = verdict(&world, 2, |question| honest(question, rng));
    assert_eq!(fault, Some(Fault::NotSigned));
}

#[test]
fn one_bit_flipped_in_any_message_is_refused() {
    let world = World::new(2, 2, &HYBRID, 12);
    let rng = &mut rng();
    let (_, question) = begin(&world);
    let files = world.files();
    let answer = world.honest(member(1), &question, &files, rng);
    for byte in 0..answer.len() {
        let mut flipped = answer.clone();
        flipped[byte] ^= 1 << (byte % 8);
        assert!(
            verdict(&world, 1, |_| flipped).is_some(),
            "byte {byte} of the answer"
        );
    }
    assert!(verdict(&world, 1, |_| [answer.as_slice(), &[0]].concat()).is_some());
    assert!(verdict(&world, 1, |_| answer[..40].to_vec()).is_some());
    let asked = Question::parse(world.certificate(), &question).expect("ours");
    for bytes in [question.clone(), asked.proof(vec![0]).to_bytes()] {
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let given = Question::parse(world.certificate(), &flipped)
                .ok()
                .map(|question| {
                    let share = &world.shares[0];
                    share
                        .answer(
                            &question,
                            &files,
                            &EarlierKeys::default(),
                            LogHead::default(),
                            rng,
                        )
                        .is_ok()
                        || share.prove(&question, &files, rng).is_ok()
                });
            assert_ne!(given, Some(true), "bit {bit} of the question");
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert_eq!(
            Question::parse(world.certificate(), &longer),
            Err(QuestionError::Form)
        );
    }
}

#[test]
fn one_bit_flipped_in_a_proof_names_its_member() {
    let world = World::new(2, 2, &[Kind::Garbage], 13);
    let rng = &mut rng();
    let files = world.files();
    let identity = &world.node.identity;
    let prove = |flip: Option<usize>, rng: &mut ChaCha20Rng| {
        let (mut assembly, question) = begin(&world);
        let mut proving = Vec::new();
        for number in [1, 2] {
            let bytes = world.honest(member(number), &question, &files, rng);
            match assembly.answered(Duration::ZERO, member(number), 0, &bytes, identity) {
                Progress::Waiting(next, effects) => (assembly, proving) = (next, effects),
                _ => panic!("the file does not open"),
            }
        }
        let Effect::Ask {
            question, round, ..
        } = &proving[0]
        else {
            panic!("a proof is asked for");
        };
        let mut proof = world.honest(member(1), question, &files, rng);
        let length = proof.len();
        if let Some(bit) = flip {
            proof[bit / 8] ^= 1 << (bit % 8);
        }
        let progress = assembly.answered(Duration::ZERO, member(1), *round, &proof, identity);
        let Progress::Waiting(assembly, _) = progress else {
            panic!("member 2 has not proven anything");
        };
        let proof = world.honest(member(2), question, &files, rng);
        let good = match assembly.answered(Duration::ZERO, member(2), *round, &proof, identity) {
            Progress::Done(_) => true,
            Progress::GivenUp(given_up) => {
                assert_eq!(given_up.culprits[0].member, member(1));
                false
            }
            Progress::Waiting(..) => panic!("both have answered"),
        };
        (good, length)
    };
    let (good, length) = prove(None, rng);
    assert!(good);
    for byte in 0..length {
        assert!(!prove(Some(byte * 8 + byte % 8), rng).0, "byte {byte}");
    }
}

#[test]
fn questions_have_one_spelling_and_name_a_quorum() {
    let world = World::new(2, 3, &HYBRID, 14);
    let certificate = world.certificate();
    let bytes = |members: &[u16], tail: &[u8]| {
        let members: Vec<u8> = members.iter().flat_map(|m| m.to_be_bytes()).collect();
        let size = u16::try_from(members.len() / 2).expect("few");
        [
            &[1, 1],
            B256::ZERO.as_slice(),
            &[0; 4],
            &size.to_be_bytes(),
            &members,
            tail,
        ]
        .concat()
    };
    let parse = |bytes: &[u8]| Question::parse(certificate, bytes).err();
    assert_eq!(parse(&bytes(&[1, 3], &[])), None);
    assert_eq!(parse(&bytes(&[3, 1], &[])), Some(QuestionError::Form));
    assert_eq!(parse(&bytes(&[1, 3], &[0])), Some(QuestionError::Form));
    let size = Some(QuestionError::Quorum(QuorumError::Size { threshold: 2 }));
    assert_eq!(parse(&bytes(&[1, 1], &[])), size);
    assert_eq!(parse(&bytes(&[1], &[])), size);
    assert_eq!(parse(&bytes(&[1, 2, 3], &[])), size);
    let stranger = QuorumError::NotAMember(member(4));
    assert_eq!(
        parse(&bytes(&[1, 4], &[])),
        Some(QuestionError::Quorum(stranger))
    );
    assert_eq!(parse(&bytes(&[0, 1], &[])), Some(QuestionError::Form));
    let mut later = bytes(&[1, 3], &[]);
    later[0] = 2;
    assert_eq!(parse(&later), Some(QuestionError::Version(2)));
    for (places, good) in [
        (&[0u32, 1][..], true),
        (&[1, 0], false),
        (&[1, 1], false),
        (&[], false),
    ] {
        let mut proof = bytes(
            &[1, 3],
            &u32::try_from(places.len()).expect("few").to_be_bytes(),
        );
        proof[1] = 2;
        proof.extend(places.iter().flat_map(|place| place.to_be_bytes()));
        assert_eq!(parse(&proof).is_none(), good, "{places:?}");
    }
}

#[test]
fn a_member_gives_nothing_for_what_does_not_fit() {
    let world = World::new(2, 3, &HYBRID, 15);
    let rng = &mut rng();
    let files = world.files();
    let certificate = world.certificate();
    let quorum = |a, b| Quorum::new(certificate, &[member(a), member(b)]).expect("members");
    let ask = |page, quorum| Question::partials(files.digest(), page, quorum);
    let refused =
        |share: &KeyShare, question: &Question, files: &ReleasedFiles, rng: &mut ChaCha20Rng| {
            share
                .answer(
                    question,
                    files,
                    &EarlierKeys::default(),
                    LogHead::default(),
                    rng,
                )
                .err()
        };
    let [first, third] = [&world.shares[0], &world.shares[2]];
    assert_eq!(refused(first, &ask(0, quorum(1, 2)), &files, rng), None);
    assert_eq!(
        refused(first, &ask(1, quorum(1, 2)), &files, rng),
        Some(AnswerError::NoSuchPage)
    );
    let outside = Some(AnswerError::Release(ReleaseError::NotInQuorum));
    assert_eq!(refused(third, &ask(0, quorum(1, 2)), &files, rng), outside);
    let proof = ask(0, quorum(1, 2)).proof(vec![0]);
    assert_eq!(
        refused(first, &proof, &files, rng),
        Some(AnswerError::AnotherKind)
    );
    let beyond = ask(0, quorum(1, 2)).proof(vec![1]);
    assert_eq!(
        first.prove(&beyond, &files, rng).err(),
        Some(AnswerError::NoSuchPage)
    );
    let partials = ask(0, quorum(1, 2));
    assert_eq!(
        first.prove(&partials, &files, rng).err(),
        Some(AnswerError::AnotherKind)
    );
    let mut later = World::new(2, 3, &HYBRID, 15);
    later.release.epoch = 4;
    let later = later.files();
    let question = Question::partials(later.digest(), 0, quorum(1, 2));
    assert_eq!(
        refused(first, &question, &later, rng),
        Some(AnswerError::AnotherEpoch(4))
    );
}

#[test]
fn files_that_do_not_fit_the_release_are_no_released_files() {
    let world = World::new(2, 3, &[Kind::Hybrid, Kind::Classical], 16);
    let rng = &mut rng();
    let make = |change: &dyn Fn(&mut World)| {
        let mut world = World::new(2, 3, &[Kind::Hybrid, Kind::Classical], 16);
        change(&mut world);
        let node = &world.node;
        ReleasedFiles::new(
            &ESCROW,
            &world.release,
            &world.input,
            &node.keys,
            node.recipient.clone(),
            world.headers,
        )
        .err()
    };
    assert_eq!(make(&|_| ()), None);
    assert_eq!(
        make(&|w| w.release.input_root = B256::ZERO),
        Some(NotReleased::AnotherInput)
    );
    assert_eq!(
        make(&|w| w.release.input_count = 3),
        Some(NotReleased::AnotherInput)
    );
    let missing = NotReleased::Count {
        expected: 2,
        found: 1,
    };
    assert_eq!(make(&|w| drop(w.headers.pop())), Some(missing));
    let swapped = NotReleased::AnotherHeader { place: 0 };
    assert_eq!(make(&|w| w.headers.swap(0, 1)), Some(swapped));
    let grantee = Some(NotReleased::AnotherGrantee);
    let thief = Node::new(rng);
    assert_eq!(
        make(&|w| w.node.recipient = thief.recipient.clone()),
        grantee
    );
    assert_eq!(make(&|w| w.node.keys = thief.keys), grantee);
    assert_eq!(
        make(&|w| w.node = Node::new(&mut ChaCha20Rng::seed_from_u64(99))),
        grantee
    );
    assert_eq!(make(&|w| w.release.node.0 = B256::ZERO), grantee);
    drop(world);
}

#[test]
fn a_record_is_checked_against_release_committee_and_signers() {
    let world = World::new(2, 3, &HYBRID, 17);
    let record = done(&world, &bad([(1, Bad::Silent)])).record;
    let bytes = record.to_bytes();
    assert_eq!(QuorumRecord::parse(&bytes).as_ref(), Ok(&record));
    let signers = world.signers();
    let verify = |record: &QuorumRecord| {
        record.verify(&ESCROW, &world.release, world.certificate(), &signers)
    };
    assert_eq!(verify(&record), Ok(()));
    let mut other = world.release.clone();
    other.attempt = 2;
    let refused = record.verify(&ESCROW, &other, world.certificate(), &signers);
    assert_eq!(refused, Err(RecordError::AnotherRelease));
    let mut fewer = signers.clone();
    fewer.remove(&member(2));
    let refused = record.verify(&ESCROW, &world.release, world.certificate(), &fewer);
    assert_eq!(refused, Err(RecordError::NoSigner(member(2))));
    let mut swapped = signers.clone();
    swapped.insert(member(2), signers[&member(3)]);
    let refused = record.verify(&ESCROW, &world.release, world.certificate(), &swapped);
    assert!(matches!(refused, Err(RecordError::NotSigned(_))));
    // What is altered in the text no longer parses, or no longer verifies, as far as members have signed it.
    let text = String::from_utf8(bytes).expect("JSON");
    let altered = |from: &str, to: &str| {
        assert!(text.contains(from), "{from} in {text}");
        QuorumRecord::parse(text.replacen(from, to, 1).as_bytes())
            .and_then(|record| verify(&record))
    };
    assert_eq!(altered("{", "{ "), Err(RecordError::Form));
    assert_eq!(altered("quorum/v1", "quorum/v2"), Err(RecordError::Form));
    assert_eq!(
        altered("\"page\":0}]}", "\"page\":1}]}"),
        Err(RecordError::Pages)
    );
    assert_eq!(
        altered("\"epoch\":\"3\"", "\"epoch\":\"4\""),
        Err(RecordError::AnotherRelease)
    );
    let size = RecordError::Quorum(QuorumError::Size { threshold: 2 });
    assert_eq!(altered("\"member\":2", "\"member\":3"), Err(size));
    let not_signed = |result| matches!(result, Err(RecordError::NotSigned(_)));
    assert!(not_signed(altered("\"index\":\"1\"", "\"index\":\"2\"")));
    let digit = "\"ciphertext\":\"0x";
    let digit = &text[text.find(digit).expect("an answer")..][..digit.len() + 1];
    let other = if digit.ends_with('0') { "1" } else { "0" };
    let other = format!("{}{other}", &digit[..digit.len() - 1]);
    assert!(not_signed(altered(digit, &other)));
}

#[test]
fn a_header_without_sender_proof_gets_no_partial() {
    let world = World::new(2, 3, &HYBRID, 18);
    let recipient = world.certificate().recipient();
    let sealed = collective::seal::seal(
        &[collective::seal::Recipient::Tagged(recipient.clone())],
        b"record",
        &mut rng(),
    );
    let file = sealed.expect("one recipient");
    let header = world::header(0, &file, recipient);
    let quorum = Quorum::new(world.certificate(), &[member(1), member(2)]).expect("members");
    let refused = world.shares[0].release(&quorum, &header).err();
    assert_eq!(refused, Some(ReleaseError::ProofMissing));
}

/// ML-KEM decapsulates anything, so a member that took the wrong key would give a secret that opens nothing.
#[test]
fn ss_pq_comes_from_the_key_that_a_file_is_sealed_to_or_not_at_all() {
    let world = World::new(2, 3, &HYBRID, 19);
    let present = world.certificate().recipient();
    let point = present.point().clone();
    let old = world::foreign_ml_kem().recipient(point.clone());
    let header = |to: &TaggedRecipient| {
        let file = contribution::seal(to, &world::context(0), b"record", &mut rng());
        world::header(0, &file.expect("sealed"), to)
    };
    let (under_old, classical) = (header(&old), header(&old.classical()));
    let under_present = header(present);
    let quorum = Quorum::new(world.certificate(), &[member(1), member(2)]).expect("members");
    let release = |header| world.shares[0].release(&quorum, header);
    assert_eq!(release(&under_old).err(), Some(ReleaseError::Renewed));
    assert!(release(&under_present).is_ok_and(|given| given.ml_kem.is_some()));
    assert!(release(&classical).is_ok_and(|given| given.ml_kem.is_none()));

    let foreign = world::foreign_ml_kem();
    let right = foreign.secret_for(under_old.stanza());
    let right = right.expect("a hybrid stanza");
    let retired = |key| EarlierKeys {
        retired: Some(Retired::new(key, point.clone()).into()),
        rewrapped: None,
    };
    let rewrapped = |name: [u8; 32]| {
        let mut secrets = Rewrapped::default();
        secrets.insert(name, MlKemSecret::from_bytes(*right.expose()));
        EarlierKeys {
            retired: None,
            rewrapped: Some(secrets.into()),
        }
    };
    for earlier in [
        retired(world::foreign_ml_kem()),
        rewrapped(under_old.point_id()),
    ] {
        let secret = earlier.secret_for(&under_old).expect("it is known");
        assert_eq!(secret.expose(), right.expose());
        assert!(earlier.secret_for(&classical).is_none());
    }
    for earlier in [
        EarlierKeys::default(),
        retired(MlKemKey::from_seed(&[8; 64])),
        rewrapped(classical.point_id()),
    ] {
        assert!(earlier.secret_for(&under_old).is_none());
    }
}
