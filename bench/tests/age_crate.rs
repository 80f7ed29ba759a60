//! Our age files against the `age` crate, in every direction that it has.

use std::io::{Read, Write};

use age::secrecy::{ExposeSecret, SecretString};
use collective::seal::header::Header;
use collective::seal::passphrase::{self, Passphrase};
use collective::seal::payload::Decryptor;
use collective::seal::tagged::TaggedIdentity;
use collective::seal::{self, Identity, OpenError, Recipient, x25519};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use zeroize::Zeroizing;

fn rng(seed: u64) -> ChaCha20Rng {
    println!("seed {seed}");
    ChaCha20Rng::seed_from_u64(seed)
}

/// Lengths around every boundary of the payload: empty, one chunk, two, and one that is not a multiple.
const LENGTHS: [usize; 8] = [0, 1, 100, 65_535, 65_536, 65_537, 131_072, 200_000];

fn plaintext(len: usize, rng: &mut ChaCha20Rng) -> Vec<u8> {
    let mut bytes = vec![0; len];
    rng.fill_bytes(&mut bytes);
    bytes
}

#[test]
fn x25519_files_open_in_both_directions() {
    let mut rng = rng(11);
    let ours = x25519::Identity::random(&mut rng);
    let theirs: age::x25519::Identity = ours.to_secret_string().parse().unwrap();
    assert_eq!(theirs.to_public().to_string(), ours.recipient().to_string());
    assert_eq!(
        theirs.to_string().expose_secret(),
        ours.to_secret_string().as_str()
    );
    let identities = [Identity::X25519(ours)];
    for len in LENGTHS {
        let plain = plaintext(len, &mut rng);
        let recipient: Recipient = theirs.to_public().to_string().parse().unwrap();
        let file = seal::seal(&[recipient], &plain, &mut rng).unwrap();
        assert_eq!(age::decrypt(&theirs, &file).unwrap(), plain);
        let file = age::encrypt(&theirs.to_public(), &plain).unwrap();
        assert_eq!(seal::open(&identities, &file).unwrap(), plain);
    }
}

#[test]
fn passphrase_files_open_in_both_directions() {
    let mut rng = rng(13);
    let words = "correct horse battery staple";
    let ours = Passphrase::new(Zeroizing::new(words.to_owned()));
    let file = passphrase::seal(&ours, 10, b"key file", &mut rng).unwrap();
    let mut theirs = age::scrypt::Identity::new(SecretString::from(words.to_owned()));
    theirs.set_max_work_factor(10);
    assert_eq!(age::decrypt(&theirs, &file).unwrap(), b"key file");
    let mut recipient = age::scrypt::Recipient::new(SecretString::from(words.to_owned()));
    recipient.set_work_factor(10);
    let file = age::encrypt(&recipient, b"key file").unwrap();
    let identities = [Identity::Passphrase(ours)];
    assert_eq!(seal::open(&identities, &file).unwrap(), b"key file");
    let wrong = [Identity::Passphrase(Passphrase::new(Zeroizing::new(
        "wrong".to_owned(),
    )))];
    assert_eq!(seal::open(&wrong, &file), Err(OpenError::NoMatch));
}

#[test]
fn streams_of_the_age_crate_and_ours_agree() {
    let mut rng = rng(14);
    let ours = x25519::Identity::random(&mut rng);
    let theirs: age::x25519::Identity = ours.to_secret_string().parse().unwrap();
    let plain = plaintext(300_000, &mut rng);
    let recipient = theirs.to_public();
    let recipients = std::iter::once(&recipient as &dyn age::Recipient);
    let mut file = Vec::new();
    let encryptor = age::Encryptor::with_recipients(recipients).unwrap();
    let mut writer = encryptor.wrap_output(&mut file).unwrap();
    writer.write_all(&plain).unwrap();
    writer.finish().unwrap();
    let (header, body) = Header::parse(&file).unwrap();
    let file_key = seal::unwrap(&[Identity::X25519(ours)], &header).unwrap();
    let mut opened = Vec::new();
    Decryptor::new(&file_key, body)
        .unwrap()
        .read_to_end(&mut opened)
        .unwrap();
    assert_eq!(opened, plain);
}

#[test]
fn a_new_header_hands_a_file_over_and_leaves_its_payload_untouched() {
    let mut rng = rng(15);
    let collective = TaggedIdentity::random(&mut rng);
    let recipient = Recipient::Tagged(collective.recipient());
    let file = seal::seal(&[recipient], b"record", &mut rng).unwrap();
    let (header, body) = Header::parse(&file).unwrap();
    let file_key = seal::unwrap(&[Identity::Tagged(collective)], &header).unwrap();
    let node = x25519::Identity::random(&mut rng);
    let theirs: age::x25519::Identity = node.to_secret_string().parse().unwrap();
    let wrapped = seal::wrap(&[Recipient::X25519(node.recipient())], &file_key, &mut rng).unwrap();
    let handed = [wrapped.as_bytes(), body].concat();
    assert_eq!(age::decrypt(&theirs, &handed).unwrap(), b"record");
}
