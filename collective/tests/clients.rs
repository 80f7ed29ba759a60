//! Files that typage, pyrage and rage made (`vectors/clients`) open with this library, and only with their key; their
//! contributions open through every quorum of a committee.

use std::path::{Path, PathBuf};

use alloy_primitives::hex;
use collective::committee::{self, KeyShare, Member, Quorum, Release, ReleaseError};
use collective::seal::contribution::{self, ContributionHeader};
use collective::seal::proof::SenderContext;
use collective::seal::{self, Identity, OpenError, armor, payload};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

/// Three clients: three recipients each, two of them also as a contribution with sender proof, and one armored file.
const FILES: usize = 16;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors/clients")
}

fn read(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).expect("the vectors lie beside the crate")
}

/// The collective's key and the native one.
fn identities() -> [Identity; 2] {
    let text = String::from_utf8(read("identities.txt")).expect("keys are ASCII");
    let mut lines = text.lines().map(|line| line.parse().expect("a key"));
    [(); 2].map(|()| lines.next().expect("two keys"))
}

/// Name and binary bytes of every file.
fn files() -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(folder()).expect("the vectors lie beside the crate");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("a readable folder").file_name())
        .filter_map(|name| name.into_string().ok())
        .filter(|name| name.ends_with(".age"))
        .map(|name| {
            let bytes = read(&name);
            let bytes = match armor::is_armored(&bytes) {
                true => armor::decode(&bytes).expect("well-formed armor"),
                false => bytes,
            };
            (name, bytes)
        })
        .collect();
    files.sort();
    assert_eq!(files.len(), FILES, "every client made every file");
    files
}

#[test]
fn every_client_s_file_opens_with_its_key_alone() {
    let [collective, native] = identities().map(|identity| [identity]);
    let plaintext = read("plaintext.txt");
    for (name, file) in files() {
        let (own, other) = match name.contains("x25519") {
            true => (&native, &collective),
            false => (&collective, &native),
        };
        assert_eq!(
            seal::open(own, &file).as_ref(),
            Ok(&plaintext),
            "{name} opens"
        );
        assert_eq!(seal::open(other, &file), Err(OpenError::NoMatch), "{name}");
    }
}

#[test]
fn a_client_s_file_with_any_byte_altered_does_not_open() {
    let identities = identities();
    for (name, file) in files() {
        for position in 0..file.len() {
            let mut altered = file.clone();
            altered[position] ^= 1;
            assert!(
                seal::open(&identities, &altered).is_err(),
                "{name} opens with byte {position} altered"
            );
        }
    }
}

#[test]
fn a_client_s_file_cut_short_does_not_open() {
    let identities = identities();
    for (name, file) in files() {
        for length in 0..file.len() {
            assert!(
                seal::open(&identities, &file[..length]).is_err(),
                "{name} opens after {length} bytes"
            );
        }
    }
}

/// The collective's key, shared over three holders of whom two open.
fn shares() -> Vec<KeyShare> {
    let [Identity::Tagged(identity), _] = identities() else {
        panic!("the collective's key comes first");
    };
    committee::split(identity, 1, 2, 3, &mut ChaCha20Rng::seed_from_u64(1)).expect("a dealing")
}

fn context() -> SenderContext {
    let text = String::from_utf8(read("context.txt")).expect("hexadecimal");
    SenderContext::from_bytes(&hex::decode_to_array(text.trim()).expect("112 bytes"))
}

/// What the committee sees of a file, and its payload.
fn header<'a>(name: &str, file: &'a [u8], shares: &[KeyShare]) -> (ContributionHeader, &'a [u8]) {
    let recipient = shares[0].certificate().recipient();
    contribution::parse(file, recipient, &context())
        .unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn quorum(shares: &[&KeyShare]) -> Quorum {
    let members: Vec<Member> = shares.iter().map(|share| share.member()).collect();
    Quorum::new(shares[0].certificate(), &members).expect("a quorum")
}

#[test]
fn every_pair_of_three_holders_opens_every_contribution() {
    let (shares, plaintext) = (shares(), read("plaintext.txt"));
    let files = files();
    let contributions = files
        .iter()
        .filter(|(name, _)| name.contains("contribution"));
    let mut opened = 0;
    for (name, file) in contributions {
        let (header, body) = header(name, file, &shares);
        let recipient = shares[0].certificate().recipient();
        for pair in [[0, 1], [0, 2], [1, 2]].map(|pair| pair.map(|place: usize| &shares[place])) {
            let quorum = quorum(&pair);
            let given = pair.map(|share| share.release(&quorum, &header).expect("a release"));
            let [first, second]: [Release; 2] = given;
            let ml_kem = first.ml_kem.as_ref();
            let dh = committee::combine(&quorum, &[first.partial.clone(), second.partial]);
            let dh = dh.expect("a quorum's partials");
            let stanza = header.stanza();
            let key = committee::open_header(recipient, header.header(), stanza, &dh, ml_kem);
            let key = key.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(payload::open(&key, body).as_ref(), Ok(&plaintext), "{name}");
            opened += 1;
        }
    }
    assert_eq!(opened, 6 * 3, "three clients, both recipients, every pair");
}

#[test]
fn no_holder_gives_anything_for_a_file_without_proof() {
    let shares = shares();
    let files = files();
    let without = files
        .iter()
        .filter(|(name, _)| name.contains("-tag") && !name.contains("contribution"));
    let mut refused = 0;
    for (name, file) in without {
        let (header, _) = header(name, file, &shares);
        for share in &shares {
            let quorum = quorum(&[share, &shares[usize::from(share.member().number()) % 3]]);
            let given = share.release(&quorum, &header).err();
            assert_eq!(given, Some(ReleaseError::ProofMissing), "{name}");
            refused += 1;
        }
    }
    assert_eq!(refused, 7 * 3, "two files of each client, and one armored");
}
