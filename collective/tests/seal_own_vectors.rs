//! Our own vectors under `vectors/seal`: made from written-out coins, compared byte for byte, and read by other languages.
//!
//! With `WRITE_VECTORS=1` in the environment the files are written instead of compared.

use std::path::Path;

use collective::committee::equality::{ProofContext, verify_partials};
use collective::committee::{self, KeyShare, Member, Quorum};
use collective::seal::contribution::{self, ContributionHeader};
use collective::seal::curve::SecretScalar;
use collective::seal::header::{FileKey, Header, Stanza};
use collective::seal::passphrase::{self, Passphrase};
use collective::seal::proof::SenderContext;
use collective::seal::tagged::{MlKemKey, TaggedIdentity, TaggedRecipient};
use collective::seal::{self, Identity, Recipient, payload, x25519};
use p256::elliptic_curve::Group;
use serde_json::{Value, json};
use zeroize::Zeroizing;

#[path = "seal/coins.rs"]
mod coins;
#[path = "seal/forge.rs"]
mod forge;

use coins::Coins;
use forge::{base64, from_projective, projective};

const PLAINTEXT: &[u8] = b"The record of one respondent.\n";

const CONTEXT: SenderContext = SenderContext {
    chain_id: 31337,
    registry: [0x11; 20],
    collective: [0x22; 20],
    contributor: [0x33; 32],
    nonce: [0x44; 32],
};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn identity() -> TaggedIdentity {
    TaggedIdentity::random(&mut Coins::from(1))
}

fn compare(name: &str, made: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../vectors/seal")
        .join(name);
    let made = format!("{:#}\n", made);
    if std::env::var_os("WRITE_VECTORS").is_some() {
        std::fs::write(&path, &made).expect("a writable folder");
    }
    let committed = std::fs::read_to_string(&path).expect("a committed vector");
    assert!(
        committed == made,
        "{name} differs; WRITE_VECTORS=1 shows how"
    );
}

fn context_json(context: &SenderContext) -> Value {
    json!({
        "chain_id": context.chain_id,
        "registry": hex(&context.registry),
        "collective": hex(&context.collective),
        "contributor": hex(&context.contributor),
        "nonce": hex(&context.nonce),
    })
}

#[test]
fn files() {
    let mut vectors = Vec::new();
    let person = x25519::Identity::random(&mut Coins::from(2));
    let tagged = identity();
    let secret = tagged.to_secret_string();
    for (name, recipient, secret) in [
        (
            "X25519",
            Recipient::X25519(person.recipient()),
            person.to_secret_string(),
        ),
        (
            "p256tag",
            Recipient::Tagged(tagged.recipient().classical()),
            secret.clone(),
        ),
        (
            "mlkem768p256tag",
            Recipient::Tagged(tagged.recipient()),
            secret.clone(),
        ),
    ] {
        let mut coins = Coins::from(3);
        let file = seal::seal(std::slice::from_ref(&recipient), PLAINTEXT, &mut coins).unwrap();
        let opened = seal::open(&[secret.parse().unwrap()], &file);
        assert_eq!(opened.as_deref(), Ok(PLAINTEXT));
        vectors.push(json!({
            "stanza": name,
            "recipient": recipient.to_string(),
            "identity": secret.as_str(),
            "coins": coins.hex(),
            "plaintext": hex(PLAINTEXT),
            "file": hex(&file),
        }));
    }
    let words = "vectors are public";
    let passphrase = Passphrase::new(Zeroizing::new(words.to_owned()));
    let mut coins = Coins::from(3);
    let file = passphrase::seal(&passphrase, 4, PLAINTEXT, &mut coins).unwrap();
    let opened = seal::open(&[Identity::Passphrase(passphrase)], &file);
    assert_eq!(opened.as_deref(), Ok(PLAINTEXT));
    vectors.push(json!({
        "stanza": "scrypt",
        "passphrase": words,
        "log_n": 4,
        "coins": coins.hex(),
        "plaintext": hex(PLAINTEXT),
        "file": hex(&file),
    }));
    compare("files.json", &Value::Array(vectors));
}

#[test]
fn contributions() {
    let hybrid = identity().recipient();
    let mut vectors = Vec::new();
    for recipient in [hybrid.classical(), hybrid] {
        let mut coins = Coins::from(5);
        let file = contribution::seal(&recipient, &CONTEXT, PLAINTEXT, &mut coins).unwrap();
        let (header, _) = contribution::parse(&file, &recipient, &CONTEXT).unwrap();
        assert!(header.require_proof().is_ok());
        let opened = seal::open(&[Identity::Tagged(identity())], &file);
        assert_eq!(opened.as_deref(), Ok(PLAINTEXT));
        let text = header.header().as_bytes();
        vectors.push(json!({
            "recipient": recipient.to_string(),
            "identity": identity().to_secret_string().as_str(),
            "context": context_json(&CONTEXT),
            "context_bytes": hex(&CONTEXT.to_bytes()),
            "coins": coins.hex(),
            "plaintext": hex(PLAINTEXT),
            "file": hex(&file),
            "header": std::str::from_utf8(text).unwrap(),
            "header_sha256": hex(&header.sha256()),
            "point": hex(header.stanza().point().uncompressed()),
            "point_id": hex(&header.point_id()),
        }));
    }
    compare("contributions.json", &Value::Array(vectors));
}

#[test]
fn a_committee_of_two_in_three() {
    let mut dealing = Coins::from(6);
    let shares = committee::split(identity(), 1, 2, 3, &mut dealing).unwrap();
    let certificate = shares[0].certificate();
    let recipient = certificate.recipient();
    let mut coins = Coins::from(5);
    let file = contribution::seal(recipient, &CONTEXT, PLAINTEXT, &mut coins).unwrap();
    let (header, body) = contribution::parse(&file, recipient, &CONTEXT).unwrap();
    let context = ProofContext {
        collective: [0x22; 20],
        grant: [0x55; 32],
        grantee: [0x66; 32],
    };
    let member = |number| Member::new(number).unwrap();
    let mut quorums = Vec::new();
    for numbers in [[1, 2], [1, 3], [2, 3]] {
        let quorum = Quorum::new(certificate, &numbers.map(member)).unwrap();
        let chosen = shares
            .iter()
            .filter(|share| quorum.members().contains(&share.member()));
        let chosen: Vec<&KeyShare> = chosen.collect();
        let point = std::slice::from_ref(header.stanza().point());
        let mut proofs = Vec::new();
        let mut partials = Vec::new();
        for share in &chosen {
            let release = share.release(&quorum, &header).unwrap();
            let partial = [release.partial];
            let mut coins = Coins::from(7);
            let proof = share
                .prove_partials(&quorum, &context, point, &partial, &mut coins)
                .unwrap();
            verify_partials(certificate, &quorum, &context, point, &partial, &proof).unwrap();
            proofs.push(json!({
                "member": share.member().number(),
                "partial": hex(partial[0].point().uncompressed()),
                "proof_coins": coins.hex(),
                "proof": hex(&proof.to_bytes()),
            }));
            partials.extend(partial);
        }
        let dh = committee::combine(&quorum, &partials).unwrap();
        let ml_kem = chosen[0].release(&quorum, &header).unwrap().ml_kem.unwrap();
        let file_key = committee::open_header(
            recipient,
            header.header(),
            header.stanza(),
            &dh,
            Some(&ml_kem),
        )
        .unwrap();
        assert_eq!(payload::open(&file_key, body).as_deref(), Ok(PLAINTEXT));
        quorums.push(json!({
            "quorum": numbers,
            "partials": proofs,
            "ml_kem_secret": hex(ml_kem.expose()),
            "file_key": hex(file_key.expose()),
        }));
    }
    let public_share = |share: &KeyShare| {
        hex(certificate
            .public_share(share.member())
            .unwrap()
            .uncompressed())
    };
    compare(
        "committee.json",
        &json!({
            "identity": identity().to_secret_string().as_str(),
            "recipient": recipient.to_string(),
            "epoch": 1,
            "threshold": 2,
            "dealing_coins": dealing.hex(),
            "certificate": hex(&certificate.to_bytes()),
            "certificate_sha256": hex(certificate.digest().0.as_slice()),
            "public_shares": shares.iter().map(public_share).collect::<Vec<_>>(),
            "proof_context": {
                "collective": hex(&context.collective),
                "grant": hex(&context.grant),
                "grantee": hex(&context.grantee),
            },
            "file": hex(&file),
            "context": context_json(&CONTEXT),
            "quorums": quorums,
        }),
    );
}

/// Headers that must be refused, each with one defect, and what is said about it.
#[test]
fn refused_contributions() {
    let recipient = identity().recipient().classical();
    let file_key = FileKey::from_bytes([8; 16]);
    let wrap = |recipient: &TaggedRecipient, context: &SenderContext, start| {
        contribution::wrap(recipient, context, &file_key, &mut Coins::from(start))
    };
    let [stanza, proof] = wrap(&recipient, &CONTEXT, 5);
    let other = TaggedIdentity::random(&mut Coins::from(9)).recipient();
    let [foreign, foreign_proof] = wrap(&other.classical(), &CONTEXT, 5);
    let [hybrid, hybrid_proof] = wrap(&identity().recipient(), &CONTEXT, 5);
    let mallory = SenderContext {
        contributor: [0x77; 32],
        ..CONTEXT
    };
    let [_, mallorys_proof] = wrap(&recipient, &mallory, 12);
    let good = Header::new(vec![stanza.clone(), proof.clone()], &file_key).unwrap();
    let point = contribution::parse(good.as_bytes(), &recipient, &CONTEXT)
        .unwrap()
        .0;
    let point = point.stanza().point().clone();
    let planted = |name, multiple: p256::ProjectivePoint| {
        (
            name,
            vec![with_point(&stanza, multiple, &recipient), proof.clone()],
            mallory,
        )
    };
    let e = projective(&point);
    let r = projective(&SecretScalar::random(&mut Coins::from(10)).public());
    let mut off_curve = *point.uncompressed();
    off_curve[64] ^= 1;
    let cases = vec![
        (
            "nothing is wrong",
            vec![stanza.clone(), proof.clone()],
            CONTEXT,
        ),
        ("no collective stanza", vec![proof.clone()], CONTEXT),
        (
            "two collective stanzas",
            vec![stanza.clone(), stanza.clone(), proof.clone()],
            CONTEXT,
        ),
        (
            "a stanza for another key beside ours",
            vec![stanza.clone(), proof.clone(), foreign.clone()],
            CONTEXT,
        ),
        (
            "two proofs",
            vec![stanza.clone(), proof.clone(), mallorys_proof.clone()],
            CONTEXT,
        ),
        (
            "sealed to another key",
            vec![foreign, foreign_proof],
            CONTEXT,
        ),
        (
            "hybrid stanza where the key is classical",
            vec![hybrid, hybrid_proof],
            CONTEXT,
        ),
        (
            "copied under another contributor",
            vec![stanza.clone(), proof.clone()],
            mallory,
        ),
        (
            "replayed under another nonce",
            vec![stanza.clone(), proof.clone()],
            SenderContext {
                nonce: [0; 32],
                ..CONTEXT
            },
        ),
        (
            "sent to another chain",
            vec![stanza.clone(), proof.clone()],
            SenderContext {
                chain_id: 1,
                ..CONTEXT
            },
        ),
        (
            "the proof of another stanza",
            vec![stanza.clone(), mallorys_proof],
            mallory,
        ),
        planted("planted E + rG", e + r),
        planted("planted 2E", e.double()),
        planted("planted -E", -e),
        (
            "point off the curve",
            vec![with_encoded(&stanza, &off_curve)],
            CONTEXT,
        ),
        (
            "compressed point",
            vec![with_encoded(&stanza, &point.compressed())],
            CONTEXT,
        ),
        (
            "neutral element",
            vec![with_encoded(&stanza, &[0])],
            CONTEXT,
        ),
        (
            "body a byte short",
            vec![with_body(&stanza, &stanza.body()[1..])],
            CONTEXT,
        ),
        (
            "another wrapped key",
            vec![with_body(&stanza, &[0; 32]), proof.clone()],
            CONTEXT,
        ),
        (
            "proof a byte short",
            vec![stanza.clone(), with_body(&proof, &proof.body()[1..])],
            CONTEXT,
        ),
    ];
    let cases = cases.into_iter();
    let cases = cases.map(|(name, stanzas, context)| (name, stanzas, context, &recipient));
    // The same P-256 key beside another ML-KEM key: the tag does not tell, the proof does.
    let renewed = MlKemKey::from_seed(&[0x66; 64]).recipient(recipient.point().clone());
    let [hybrid, hybrid_proof] = wrap(&identity().recipient(), &CONTEXT, 5);
    let cases = cases.chain([(
        "sealed to an earlier ML-KEM key",
        vec![hybrid, hybrid_proof],
        CONTEXT,
        &renewed,
    )]);
    let mut vectors = Vec::new();
    for (name, stanzas, context, recipient) in cases {
        let header = Header::new(stanzas, &file_key).unwrap();
        let parsed = contribution::parse(header.as_bytes(), recipient, &context);
        let refused = parsed.err().map(|error| error.to_string());
        assert_eq!(refused.is_none(), name == "nothing is wrong", "{name}");
        vectors.push(json!({
            "name": name,
            "recipient": recipient.to_string(),
            "context": context_json(&context),
            "header": std::str::from_utf8(header.as_bytes()).unwrap(),
            "refused": refused,
        }));
    }
    compare("refused.json", &Value::Array(vectors));
}

/// The stanza with another ephemeral point and the tag that belongs to it, so that nothing but the proof is wrong.
fn with_point(
    stanza: &Stanza,
    point: p256::ProjectivePoint,
    recipient: &TaggedRecipient,
) -> Stanza {
    forge::stanza(&from_projective(point), stanza.body(), recipient)
}

fn with_encoded(stanza: &Stanza, point: &[u8]) -> Stanza {
    let mut arguments = arguments(stanza);
    arguments[2] = base64(point);
    Stanza::new(arguments, stanza.body().to_vec()).unwrap()
}

fn with_body(stanza: &Stanza, body: &[u8]) -> Stanza {
    Stanza::new(arguments(stanza), body.to_vec()).unwrap()
}

fn arguments(stanza: &Stanza) -> Vec<String> {
    std::iter::once(stanza.kind().to_owned())
        .chain(stanza.arguments().iter().cloned())
        .collect()
}

fn digest(bytes: &[u8]) -> Vec<u8> {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes)
        .as_ref()
        .to_vec()
}

/// The names of a contribution that the chain and the commitment use.
#[test]
fn names_are_what_the_text_says() {
    let recipient = identity().recipient();
    let file = contribution::seal(&recipient, &CONTEXT, b"", &mut Coins::from(5)).unwrap();
    let (header, _): (ContributionHeader, _) =
        contribution::parse(&file, &recipient, &CONTEXT).unwrap();
    let point = header.stanza().point();
    let by_hand = digest(&[b"collective/v1/point".as_slice(), point.x()].concat());
    assert_eq!(header.point_id().as_slice(), by_hand);
    assert_eq!(
        header.sha256().as_slice(),
        digest(header.header().as_bytes())
    );
}
