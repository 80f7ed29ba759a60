//! Smoke fuzzing of every border: good bytes, mutated at random, never panic, and what is still
//! accepted has one spelling. The seed is printed; `MUTATIONS=N` and `SEED=N` change the run.

use collective::approval::Manifest;
use collective::charter::Charter;
use collective::contribution::{Batch, Registry};
use collective::seal::contribution;
use collective::seal::header::Header;
use collective::seal::proof::SenderContext;
use collective::seal::tagged::TaggedIdentity;
use collective::seal::{Identity, Recipient, armor};
use collective::source::Source;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::Value;

/// Mutations of each seed file by default: some seconds on one core.
const MUTATIONS: u64 = 50_000;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

fn rng() -> ChaCha20Rng {
    let seed = number("SEED", 1);
    println!("seed {seed}");
    ChaCha20Rng::seed_from_u64(seed)
}

/// One to four small damages: a flipped bit, a lost or doubled piece, a foreign byte, a cut.
fn mutate(good: &[u8], rng: &mut ChaCha20Rng) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for _ in 0..=rng.next_u32() % 4 {
        if bytes.is_empty() {
            return bytes;
        }
        let at = rng.next_u32() as usize % bytes.len();
        let length = (rng.next_u32() as usize % 16).min(bytes.len() - at);
        match rng.next_u32() % 5 {
            0 => bytes[at] ^= 1 << (rng.next_u32() % 8),
            1 => drop(bytes.drain(at..at + length)),
            2 => {
                let piece = bytes[at..at + length].to_vec();
                bytes.splice(at..at, piece);
            }
            3 => bytes.insert(at, rng.next_u32() as u8),
            _ => bytes.truncate(at),
        }
    }
    bytes
}

fn vectors() -> Value {
    let text = include_str!("../../vectors/decisions.json");
    serde_json::from_str(text).expect("our own vectors")
}

fn document(name: &str) -> Vec<u8> {
    vectors()[name]["bytes"]
        .as_str()
        .expect("text")
        .as_bytes()
        .to_vec()
}

#[test]
fn documents() {
    let mut rng = rng();
    let (manifest, charter) = (document("manifest"), document("charter"));
    assert!(Manifest::parse(&manifest).is_ok() && Charter::parse(&charter).is_ok());
    let registry = Registry {
        chain_id: 1,
        address: [0; 20].into(),
    };
    let mut accepted = 0;
    for _ in 0..number("MUTATIONS", MUTATIONS) {
        let bytes = mutate(&manifest, &mut rng);
        if let Ok(parsed) = Manifest::parse(&bytes) {
            assert_eq!(parsed.to_bytes(), bytes);
            accepted += 1;
        }
        let bytes = mutate(&charter, &mut rng);
        if let Ok(parsed) = Charter::parse(&bytes) {
            assert_eq!(parsed.to_bytes(), bytes);
        }
        assert!(Batch::check(&bytes, &registry, [0; 20].into(), [0; 32].into()).is_err());
    }
    println!("{accepted} mutated manifests were still manifests, each in its one spelling");
}

#[test]
fn records() {
    let mut rng = rng();
    let charter = Charter::parse(&document("charter")).expect("a charter");
    let source: &Source = &charter.sources[0];
    let good = b"40,left\n";
    assert!(source.parse(good).is_ok());
    for _ in 0..number("MUTATIONS", MUTATIONS) {
        let bytes = mutate(good, &mut rng);
        if let Ok(fields) = source.parse(&bytes) {
            assert_eq!(source.record(&fields).expect("the same record"), bytes);
        }
    }
}

#[test]
fn sealed_files() {
    let mut rng = rng();
    let identity = TaggedIdentity::random(&mut rng);
    let recipient = identity.recipient();
    let context = SenderContext {
        chain_id: 1,
        registry: [1; 20],
        collective: [2; 20],
        contributor: [3; 32],
        nonce: [0; 32],
    };
    let good = contribution::seal(&recipient, &context, b"40,left\n", &mut rng).expect("sealed");
    assert!(contribution::parse(&good, &recipient, &context).is_ok());
    // Parsing a hybrid header with its proof is half a millisecond where the damage is not seen first.
    for _ in 0..number("MUTATIONS", MUTATIONS) {
        let bytes = mutate(&good, &mut rng);
        if let Ok((header, rest)) = Header::parse(&bytes) {
            assert_eq!([header.as_bytes(), rest].concat(), bytes);
        }
        if let Ok((header, _)) = contribution::parse(&bytes, &recipient, &context) {
            // A mutation may hit the payload or a foreign stanza, never what the proof binds.
            assert_eq!(header.point_id(), point_of(&good, &recipient, &context));
        }
        let _ = armor::decode(&bytes);
    }
}

fn point_of(
    file: &[u8],
    recipient: &collective::seal::tagged::TaggedRecipient,
    context: &SenderContext,
) -> [u8; 32] {
    contribution::parse(file, recipient, context)
        .expect("the good file")
        .0
        .point_id()
}

#[test]
fn key_strings() {
    let mut rng = rng();
    let identity = TaggedIdentity::random(&mut rng);
    let recipient = identity.recipient().to_string();
    let secret = identity.to_secret_string();
    for _ in 0..number("MUTATIONS", MUTATIONS) {
        for good in [recipient.as_bytes(), secret.as_bytes()] {
            let Ok(text) = String::from_utf8(mutate(good, &mut rng)) else {
                continue;
            };
            if let Ok(parsed) = text.parse::<Recipient>() {
                assert_eq!(parsed.to_string(), text.to_lowercase());
            }
            let _ = text.parse::<Identity>();
        }
    }
}
