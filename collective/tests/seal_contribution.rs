//! Contributions: what a sealed file must look like, and everything that is refused.

use collective::committee::{self, KeyShare, Quorum};
use collective::seal::contribution::{self, ContributionError, ContributionHeader, Sender};
use collective::seal::curve::{CurveError, SecretScalar};
use collective::seal::header::{FileKey, Header, Stanza, StanzaError};
use collective::seal::proof::{PROOF_STANZA, ProofError, SenderContext};
use collective::seal::tagged::{TaggedIdentity, TaggedRecipient, TaggedStanza};
use collective::seal::{self, Recipient, payload};
use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

const RECORD: &[u8] = b"age,vote\n42,yes\n";

fn rng(seed: u64) -> ChaCha20Rng {
    println!("seed {seed}");
    ChaCha20Rng::seed_from_u64(seed)
}

fn context(contributor: u8) -> SenderContext {
    SenderContext {
        chain_id: 31337,
        registry: [1; 20],
        collective: [2; 20],
        contributor: [contributor; 32],
        nonce: [4; 32],
    }
}

const ALICE: u8 = 0xa1;

fn parse(
    file: &[u8],
    recipient: &TaggedRecipient,
    context: &SenderContext,
) -> Result<ContributionHeader, ContributionError> {
    contribution::parse(file, recipient, context).map(|(header, _)| header)
}

/// The file with another list of stanzas and the MAC of whoever knows some file key.
fn with_stanzas(stanzas: Vec<Stanza>, body: &[u8], file_key: &FileKey) -> Vec<u8> {
    let header = Header::new(stanzas, file_key).expect("a writable header");
    [header.as_bytes(), body].concat()
}

#[test]
fn a_sealed_contribution_is_proven_and_opens() {
    let mut rng = rng(1);
    let identity = TaggedIdentity::random(&mut rng);
    let hybrid = identity.recipient();
    for recipient in [hybrid.clone(), hybrid.classical()] {
        let file = contribution::seal(&recipient, &context(ALICE), RECORD, &mut rng).unwrap();
        let header = parse(&file, &recipient, &context(ALICE)).unwrap();
        assert_eq!(header.sender(), Sender::Proven);
        assert!(header.require_proof().is_ok());
        assert_eq!(
            header.stanza().ml_kem_ciphertext().is_some(),
            recipient.is_post_quantum()
        );
        assert_eq!(
            header.point_id(),
            contribution::point_id(header.stanza().point())
        );
        // One secret serves both strings; a collective that offers the hybrid one takes both.
        assert!(parse(&file, &hybrid, &context(ALICE)).is_ok());
        let string = identity.to_secret_string();
        let opened = seal::open(&[string.parse().unwrap()], &file).unwrap();
        assert_eq!(opened, RECORD);
    }
}

#[test]
fn a_file_to_another_key_is_its_own_error() {
    let mut rng = rng(2);
    let ours = TaggedIdentity::random(&mut rng).recipient();
    let theirs = TaggedIdentity::random(&mut rng).recipient();
    let file = contribution::seal(&theirs, &context(ALICE), RECORD, &mut rng).unwrap();
    assert_eq!(
        parse(&file, &ours, &context(ALICE)).unwrap_err(),
        ContributionError::AnotherKey
    );
    // A hybrid stanza where the collective offers only P-256.
    let file = contribution::seal(&ours, &context(ALICE), RECORD, &mut rng).unwrap();
    let refused = parse(&file, &ours.classical(), &context(ALICE)).unwrap_err();
    assert_eq!(refused, ContributionError::AnotherKey);
    // Not to a collective at all.
    let person = seal::x25519::Identity::random(&mut rng).recipient();
    let file = seal::seal(&[Recipient::X25519(person)], RECORD, &mut rng).unwrap();
    assert_eq!(
        parse(&file, &ours, &context(ALICE)).unwrap_err(),
        ContributionError::NoStanza
    );
}

#[test]
fn unknown_stanzas_pass_and_second_ones_do_not() {
    let mut rng = rng(3);
    let recipient = TaggedIdentity::random(&mut rng).recipient();
    let file_key = FileKey::random(&mut rng);
    let [tagged, proof] = contribution::wrap(&recipient, &context(ALICE), &file_key, &mut rng);
    let grease = Stanza::new(vec!["7x/-grease".into(), "$".into()], vec![1; 70]).unwrap();
    let check = |stanzas: &[&Stanza]| {
        let stanzas = stanzas.iter().map(|&stanza| stanza.clone()).collect();
        parse(
            &with_stanzas(stanzas, b"", &file_key),
            &recipient,
            &context(ALICE),
        )
    };
    let sender = |stanzas: &[&Stanza]| check(stanzas).map(|header| header.sender());
    assert_eq!(
        sender(&[&grease, &tagged, &proof, &grease]),
        Ok(Sender::Proven)
    );
    assert_eq!(sender(&[&proof, &tagged]), Ok(Sender::Proven));
    assert_eq!(sender(&[&tagged, &grease]), Ok(Sender::Unproven));
    let unproven = check(&[&tagged]).unwrap();
    assert_eq!(
        unproven.require_proof().unwrap_err(),
        ContributionError::ProofMissing
    );
    assert_eq!(sender(&[&proof]), Err(ContributionError::NoStanza));
    assert_eq!(
        sender(&[&tagged, &tagged]),
        Err(ContributionError::SeveralStanzas)
    );
    assert_eq!(
        sender(&[&tagged, &proof, &proof]),
        Err(ContributionError::SeveralProofs)
    );
    // Another collective's stanza beside ours would be a second point to multiply.
    let other = TaggedIdentity::random(&mut rng).recipient();
    let [second, _] = contribution::wrap(&other, &context(ALICE), &file_key, &mut rng);
    assert_eq!(
        sender(&[&tagged, &second]),
        Err(ContributionError::SeveralStanzas)
    );
}

#[test]
fn every_part_of_the_context_and_of_the_stanza_is_bound() {
    let mut rng = rng(4);
    let recipient = TaggedIdentity::random(&mut rng).recipient().classical();
    let file_key = FileKey::random(&mut rng);
    let right = context(ALICE);
    let [tagged, proof] = contribution::wrap(&recipient, &right, &file_key, &mut rng);
    let file = with_stanzas(vec![tagged.clone(), proof.clone()], b"", &file_key);
    assert!(parse(&file, &recipient, &right).is_ok());
    let others = [
        SenderContext {
            chain_id: 1,
            ..right
        },
        SenderContext {
            registry: [9; 20],
            ..right
        },
        SenderContext {
            collective: [9; 20],
            ..right
        },
        SenderContext {
            contributor: [9; 32],
            ..right
        },
        SenderContext {
            nonce: [9; 32],
            ..right
        },
    ];
    let refused = ContributionError::Proof(ProofError::Refused);
    for other in others {
        assert_eq!(parse(&file, &recipient, &other).unwrap_err(), refused);
    }
    // Another body under the same point: the wrapped key is bound too.
    let mut body = tagged.body().to_vec();
    body[0] ^= 1;
    let arguments = std::iter::once(tagged.kind().to_owned()).chain(tagged.arguments().to_vec());
    let altered = Stanza::new(arguments.collect(), body).unwrap();
    let file = with_stanzas(vec![altered, proof.clone()], b"", &file_key);
    assert_eq!(parse(&file, &recipient, &right).unwrap_err(), refused);
    // Each bit of the proof's body counts.
    for index in [0, 31, 32, 63] {
        let mut body = proof.body().to_vec();
        body[index] ^= 1;
        let altered = Stanza::new(
            vec![PROOF_STANZA.into(), proof.arguments()[0].clone()],
            body,
        );
        let file = with_stanzas(vec![tagged.clone(), altered.unwrap()], b"", &file_key);
        assert_eq!(
            parse(&file, &recipient, &right).unwrap_err(),
            refused,
            "byte {index}"
        );
    }
    // W of another secret.
    let [_, other] = contribution::wrap(&recipient, &right, &file_key, &mut rng);
    let arguments = vec![PROOF_STANZA.into(), other.arguments()[0].clone()];
    let altered = Stanza::new(arguments, proof.body().to_vec()).unwrap();
    let file = with_stanzas(vec![tagged.clone(), altered], b"", &file_key);
    assert_eq!(parse(&file, &recipient, &right).unwrap_err(), refused);
    // Malformed: no argument, short body, scalar not reduced, W compressed.
    let w = proof.arguments()[0].clone();
    let mut high = proof.body().to_vec();
    high[..32].fill(0xff);
    let malformed = [
        Stanza::new(vec![PROOF_STANZA.into()], proof.body().to_vec()),
        Stanza::new(
            vec![PROOF_STANZA.into(), w.clone(), w.clone()],
            proof.body().to_vec(),
        ),
        Stanza::new(
            vec![PROOF_STANZA.into(), w.clone()],
            proof.body()[..63].to_vec(),
        ),
        Stanza::new(vec![PROOF_STANZA.into(), w.clone()], high),
        Stanza::new(
            vec![PROOF_STANZA.into(), w[..44].to_owned()],
            proof.body().to_vec(),
        ),
    ];
    for proof in malformed {
        let file = with_stanzas(vec![tagged.clone(), proof.unwrap()], b"", &file_key);
        let refused = parse(&file, &recipient, &right).unwrap_err();
        assert_eq!(refused, ContributionError::Proof(ProofError::Malformed));
    }
}

#[test]
fn points_that_are_no_points_are_refused_before_anything_is_multiplied() {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD_NO_PAD as BASE64;
    let mut rng = rng(8);
    let recipient = TaggedIdentity::random(&mut rng).recipient().classical();
    let good = SecretScalar::random(&mut rng).public();
    let mut off_curve = *good.uncompressed();
    off_curve[64] ^= 1;
    let mut hybrid_form = *good.uncompressed();
    hybrid_form[0] = 6;
    let mut large_x = *good.uncompressed();
    large_x[1..33].fill(0xff);
    let cases: [(&str, &[u8], ContributionError); 6] = {
        use collective::seal::header::StanzaError::{Point, Shape};
        [
            (
                "off the curve",
                &off_curve,
                ContributionError::Stanza(Point),
            ),
            (
                "hybrid form",
                &hybrid_form,
                ContributionError::Stanza(Point),
            ),
            ("x not reduced", &large_x, ContributionError::Stanza(Point)),
            (
                "neutral element",
                &[0; 65],
                ContributionError::Stanza(Point),
            ),
            (
                "neutral element, short",
                &[0],
                ContributionError::Stanza(Shape),
            ),
            (
                "compressed",
                &good.compressed(),
                ContributionError::Stanza(Shape),
            ),
        ]
    };
    for (name, bytes, expected) in cases {
        let arguments = vec![
            "p256tag".into(),
            BASE64.encode([0; 4]),
            BASE64.encode(bytes),
        ];
        let stanza = Stanza::new(arguments, vec![0; 32]).unwrap();
        let file = with_stanzas(vec![stanza], b"", &FileKey::from_bytes([0; 16]));
        assert_eq!(
            parse(&file, &recipient, &context(ALICE)).unwrap_err(),
            expected,
            "{name}"
        );
    }
    // The same stanza with a point passes the shape and is refused for its tag.
    let arguments = vec![
        "p256tag".into(),
        BASE64.encode([0; 4]),
        BASE64.encode(good.uncompressed()),
    ];
    let stanza = Stanza::new(arguments, vec![0; 32]).unwrap();
    assert!(TaggedStanza::parse(&stanza).unwrap().is_some());
    let file = with_stanzas(vec![stanza], b"", &FileKey::from_bytes([0; 16]));
    let refused = parse(&file, &recipient, &context(ALICE)).unwrap_err();
    assert_eq!(refused, ContributionError::AnotherKey);
}

#[test]
fn stanzas_of_another_shape_and_scalars_out_of_range_are_refused() {
    let mut rng = rng(11);
    let identity = TaggedIdentity::random(&mut rng);
    let file_key = FileKey::random(&mut rng);
    for recipient in [identity.recipient(), identity.recipient().classical()] {
        let [good, _] = contribution::wrap(&recipient, &context(ALICE), &file_key, &mut rng);
        let [kind, tag, enc] =
            [good.kind(), &good.arguments()[0], &good.arguments()[1]].map(str::to_owned);
        let three_bytes = "AAAA".to_owned();
        let padded = format!("{tag}==");
        let body = good.body().to_vec();
        let shapes = [
            ("no argument", vec![kind.clone()], body.clone()),
            (
                "one argument",
                vec![kind.clone(), tag.clone()],
                body.clone(),
            ),
            (
                "three arguments",
                vec![kind.clone(), tag.clone(), enc.clone(), tag.clone()],
                body.clone(),
            ),
            (
                "a tag of three bytes",
                vec![kind.clone(), three_bytes, enc.clone()],
                body.clone(),
            ),
            (
                "a padded tag",
                vec![kind.clone(), padded, enc.clone()],
                body.clone(),
            ),
            (
                "a longer enc",
                vec![kind.clone(), tag.clone(), format!("{enc}AAAA")],
                body.clone(),
            ),
            (
                "a shorter body",
                vec![kind.clone(), tag.clone(), enc.clone()],
                body[1..].to_vec(),
            ),
            (
                "a longer body",
                vec![kind, tag, enc],
                [&body[..], &[0]].concat(),
            ),
        ];
        assert!(TaggedStanza::parse(&good).unwrap().is_some());
        for (name, arguments, body) in shapes {
            let stanza = Stanza::new(arguments, body).unwrap();
            assert_eq!(
                TaggedStanza::parse(&stanza),
                Err(StanzaError::Shape),
                "{name}"
            );
        }
    }
    // The group order, and everything from it up.
    let order = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let mut bytes = [0; 32];
    assert_eq!(
        SecretScalar::from_bytes(&bytes).err(),
        Some(CurveError::Scalar)
    );
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&order[2 * i..2 * i + 2], 16).unwrap();
    }
    assert_eq!(
        SecretScalar::from_bytes(&bytes).err(),
        Some(CurveError::Scalar)
    );
    bytes[31] -= 1;
    assert!(SecretScalar::from_bytes(&bytes).is_ok());
}

#[test]
fn a_plain_age_file_is_an_unproven_contribution() {
    let mut rng = rng(9);
    let identity = TaggedIdentity::random(&mut rng);
    let recipient = identity.recipient();
    let file = seal::seal(&[Recipient::Tagged(recipient.clone())], RECORD, &mut rng).unwrap();
    let header = parse(&file, &recipient, &context(ALICE)).unwrap();
    assert_eq!(header.sender(), Sender::Unproven);
    // A committee of one may take it.
    let share = KeyShare::sole(identity, 0);
    let quorum = Quorum::new(share.certificate(), &[share.member()]).unwrap();
    let release = share.release(&quorum, &header).unwrap();
    let dh = committee::combine(&quorum, &[release.partial]).unwrap();
    let file_key = committee::open_header(
        &recipient,
        header.header(),
        header.stanza(),
        &dh,
        release.ml_kem.as_ref(),
    )
    .unwrap();
    let (_, body) = Header::parse(&file).unwrap();
    assert_eq!(payload::open(&file_key, body).unwrap(), RECORD);
}

proptest! {
    // A failure prints its case; files of old cases are not kept.
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// No byte of the two stanzas can change and leave the sender proven. (The MAC line is bound by the file key instead.)
    #[test]
    fn any_altered_byte_of_the_stanzas_loses_the_proof(at in any::<prop::sample::Index>(), flip in 1u8..) {
        let mut rng = ChaCha20Rng::seed_from_u64(10);
        let recipient = TaggedIdentity::random(&mut rng).recipient();
        let file = contribution::seal(&recipient, &context(ALICE), RECORD, &mut rng).unwrap();
        let (header, _) = Header::parse(&file).unwrap();
        let stanzas: usize = header.stanzas().iter().map(|stanza| stanza.to_bytes().len()).sum();
        let mut altered = file.clone();
        altered["age-encryption.org/v1\n".len() + at.index(stanzas)] ^= flip;
        let sender = parse(&altered, &recipient, &context(ALICE)).map(|header| header.sender());
        prop_assert_ne!(sender, Ok(Sender::Proven));
    }
}

#[test]
fn a_proof_holds_for_the_ml_kem_key_it_was_made_for_and_a_classical_file_for_every_one() {
    let mut rng = rng(17);
    let identity = TaggedIdentity::random(&mut rng);
    let old = identity.recipient();
    let new = TaggedIdentity::random(&mut rng).into_parts().1;
    let new = new.recipient(old.point().clone());
    let seal = |to: &TaggedRecipient, rng: &mut _| {
        contribution::seal(to, &context(ALICE), RECORD, rng).unwrap()
    };
    for (under, other) in [(&old, &new), (&new, &old)] {
        let file = seal(under, &mut rng);
        let header = parse(&file, under, &context(ALICE)).expect("its own key");
        assert_eq!(header.sealed_to(), &under.digest());
        assert_eq!(
            parse(&file, other, &context(ALICE)).err(),
            Some(ContributionError::Proof(ProofError::Refused))
        );
        let file = seal(&under.classical(), &mut rng);
        for key in [under, other] {
            let header = parse(&file, key, &context(ALICE)).expect("the P-256 key stays");
            assert_eq!(header.sealed_to(), &old.classical().digest());
        }
    }
}
