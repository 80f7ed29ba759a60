//! Vectors made by others: the age test files of C2SP/CCTV, HPKE of RFC 9180, MLKEM768-P256 of the CFRG draft.
//! `vectors/README.md` says where they come from.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use collective::seal::curve::{Point, SecretScalar};
use collective::seal::header::{Header, Stanza};
use collective::seal::hpke::{self, Kem};
use collective::seal::passphrase::Passphrase;
use collective::seal::payload::{Decryptor, PayloadError};
use collective::seal::tagged::{MlKemKey, TaggedStanza};
use collective::seal::{self, Identity, OpenError, armor};
use serde_json::Value;
use zeroize::Zeroizing;

fn vectors(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../vectors")
        .join(name)
}

/// 124 of the 143 files. The other 19 are for `mlkem768x25519`, a recipient that nothing here seals to or opens.
#[test]
fn age_test_files_end_as_they_must() {
    let mut outcomes = BTreeMap::<String, usize>::new();
    for entry in std::fs::read_dir(vectors("age")).expect("committed vectors") {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let vector = AgeVector::parse(&std::fs::read(&path).unwrap());
        assert_eq!(vector.outcome(), vector.expect, "{name}");
        *outcomes.entry(vector.expect).or_default() += 1;
    }
    println!("{outcomes:?}");
    assert_eq!(outcomes.values().sum::<usize>(), 124);
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors/age");
    let Ok(all) = std::fs::read_dir(all) else {
        println!(
            "skipped: the whole set does not lie beside the project, so nothing is compared with it"
        );
        return;
    };
    for entry in all {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        match std::fs::read(vectors("age").join(&name)) {
            Ok(ours) => assert_eq!(ours, std::fs::read(&path).unwrap(), "{name}"),
            Err(_) => assert!(
                name.contains("hybrid"),
                "{name} is left out without a reason"
            ),
        }
    }
}

/// One file of the set: what must happen, with which keys, and the age file.
struct AgeVector {
    expect: String,
    payload_sha256: Option<String>,
    identities: Vec<Identity>,
    armored: bool,
    file: Vec<u8>,
}

impl AgeVector {
    fn parse(mut bytes: &[u8]) -> Self {
        let mut vector = Self {
            expect: String::new(),
            payload_sha256: None,
            identities: Vec::new(),
            armored: false,
            file: Vec::new(),
        };
        let mut compressed = false;
        loop {
            let end = bytes
                .iter()
                .position(|&byte| byte == b'\n')
                .expect("a blank line");
            let line = std::str::from_utf8(&bytes[..end]).unwrap();
            bytes = &bytes[end + 1..];
            match line.split_once(": ") {
                None => break,
                Some(("expect", value)) => vector.expect = value.to_owned(),
                Some(("payload", value)) => vector.payload_sha256 = Some(value.to_owned()),
                Some(("identity", value)) => vector.identities.push(value.parse().unwrap()),
                Some(("passphrase", value)) => {
                    let words = Zeroizing::new(value.to_owned());
                    vector
                        .identities
                        .push(Identity::Passphrase(Passphrase::new(words)));
                }
                Some(("armored", value)) => vector.armored = value == "yes",
                Some(("compressed", value)) => compressed = value == "zlib",
                Some(("file key" | "comment", _)) => {}
                Some((key, _)) => panic!("unknown key {key}"),
            }
        }
        vector.file = if compressed {
            miniz_oxide::inflate::decompress_to_vec_zlib(bytes).expect("zlib")
        } else {
            bytes.to_vec()
        };
        vector
    }

    /// Opens the file in both ways and says how that ends, in the words of the set.
    fn outcome(&self) -> String {
        let file = if self.armored {
            match armor::decode(&self.file) {
                Ok(file) => file,
                Err(_) => return "armor failure".into(),
            }
        } else {
            self.file.clone()
        };
        let whole = seal::open(&self.identities, &file);
        let error = match &whole {
            Ok(plain) => {
                assert_eq!(Some(sha256(plain)), self.payload_sha256);
                assert_eq!(self.stream(&file), (sha256(plain), None));
                return "success".into();
            }
            Err(error) => error,
        };
        match error {
            OpenError::Header(_) | OpenError::Stanza(_) => "header failure",
            OpenError::NoMatch => "no match",
            OpenError::Mac(_) => "HMAC failure",
            // The set counts the nonce to the header.
            OpenError::Payload(PayloadError::NoNonce) => "header failure",
            OpenError::Payload(error) => {
                let (released, streamed) = self.stream(&file);
                assert_eq!(streamed, Some(*error));
                assert_eq!(
                    Some(released),
                    self.payload_sha256,
                    "what was released before"
                );
                "payload failure"
            }
        }
        .into()
    }

    /// SHA-256 of what a stream gives out, and how it fails.
    fn stream(&self, file: &[u8]) -> (String, Option<PayloadError>) {
        let (header, body) = Header::parse(file).unwrap();
        let file_key = seal::unwrap(&self.identities, &header).unwrap();
        let mut released = Vec::new();
        let mut stream = Decryptor::new(&file_key, body).unwrap();
        let error = stream.read_to_end(&mut released).err().map(|error| {
            *error
                .get_ref()
                .unwrap()
                .downcast_ref::<PayloadError>()
                .expect("a payload error")
        });
        (sha256(&released), error)
    }
}

/// All of base mode with P-256 that is used here. Left out: of each set the 256 later messages, for contexts here seal one;
/// of the set for AES-128-GCM what follows the shared secret, for files are sealed with ChaCha20-Poly1305 alone; exporters,
/// which nothing here asks for.
#[test]
fn hpke_of_rfc_9180() {
    let committed = json(&vectors("hpke_p256_base.json")).expect("a committed vector");
    assert_eq!(check_hpke(&committed), 1);
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors");
    match json(&all.join("hpke_p256_base.json")) {
        Some(all) => assert_eq!(check_hpke(&all), 1),
        None => println!("skipped: the whole set does not lie beside the project"),
    }
}

/// How many sets for ChaCha20-Poly1305 were checked; a set for another cipher is checked up to the shared secret.
fn check_hpke(sets: &Value) -> usize {
    let mut sealed = 0;
    for set in sets.as_array().unwrap() {
        let bytes = |key: &str| hex(set[key].as_str().unwrap());
        let enc = Point::from_uncompressed(&bytes("enc")).unwrap();
        let recipient = Point::from_uncompressed(&bytes("pkRm")).unwrap();
        let scalar = |key| SecretScalar::from_bytes(&bytes(key).try_into().unwrap()).unwrap();
        assert_eq!(scalar("skEm").public(), enc);
        assert_eq!(scalar("skRm").public(), recipient);
        let from_sender = scalar("skEm").diffie_hellman(&recipient);
        let from_recipient = scalar("skRm").diffie_hellman(&enc);
        for dh in [from_sender, from_recipient] {
            let secret = hpke::p256_secret(&dh, &enc, &recipient);
            assert_eq!(secret.expose().as_slice(), bytes("shared_secret"));
            if set["aead_id"] != 3 {
                continue;
            }
            // Contexts here seal one message; the set's first has sequence number 0.
            let message = &set["encryptions"][0];
            let part = |key: &str| hex(message[key].as_str().unwrap());
            let info = bytes("info");
            let ct = hpke::seal(Kem::P256, &secret, &info, &part("aad"), &part("pt"));
            assert_eq!(ct, part("ct"));
            let pt = hpke::open(Kem::P256, &secret, &info, &part("aad"), &ct).unwrap();
            assert_eq!(*pt, part("pt"));
            assert!(hpke::open(Kem::P256, &secret, &info, b"other", &ct).is_none());
            assert!(hpke::open(Kem::P256, &secret, b"other", &part("aad"), &ct).is_none());
            sealed += 1;
        }
    }
    sealed / 2
}

#[test]
fn hybrid_kem_of_the_cfrg_draft() {
    let sets = json(&vectors("hpke_mlkem768p256.json")).expect("a committed vector");
    let sets = sets.as_array().unwrap();
    assert!(!sets.is_empty());
    for set in sets {
        let bytes = |key: &str| hex(set[key].as_str().unwrap());
        let scalar = SecretScalar::from_bytes(&bytes("dk_t").try_into().unwrap()).unwrap();
        let ml_kem = MlKemKey::from_seed(&bytes("dk_pq").try_into().unwrap());
        let recipient = ml_kem.recipient(scalar.public());
        assert_eq!(recipient_bytes(&recipient.to_string()), bytes("ek"));
        let encoded = base64(&bytes("ct"));
        let arguments = vec!["mlkem768p256tag".into(), base64(&[0; 4]), encoded];
        let stanza = Stanza::new(arguments, vec![0; 32]).unwrap();
        let stanza = TaggedStanza::parse(&stanza).unwrap().unwrap();
        let dh = scalar.diffie_hellman(stanza.point());
        let ml_kem = ml_kem.secret_for(&stanza).unwrap();
        let secret = hpke::hybrid_secret(&ml_kem, &dh, stanza.point(), recipient.point());
        assert_eq!(secret.expose().as_slice(), bytes("ss"));
    }
}

/// The bytes of a recipient string, with no help of ours: five bits a character, six characters of checksum.
fn recipient_bytes(text: &str) -> Vec<u8> {
    let alphabet = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    let data = text.rsplit_once('1').unwrap().1;
    let (mut out, mut buffer, mut bits) = (Vec::new(), 0u32, 0);
    for character in data[..data.len() - 6].chars() {
        buffer = (buffer << 5 | alphabet.find(character).unwrap() as u32) & 0xfff;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            out.push((buffer >> bits) as u8);
        }
    }
    out
}

fn json(path: &Path) -> Option<Value> {
    Some(serde_json::from_slice(&std::fs::read(path).ok()?).expect("JSON"))
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::prelude::BASE64_STANDARD_NO_PAD.encode(bytes)
}

fn sha256(bytes: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap())
        .collect()
}
