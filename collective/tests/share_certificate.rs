//! The bytes of a share certificate (SPEC "Share certificate"): one encoding, and everything else is refused.

use collective::committee::{self, CertificateError, ParseCertificateError, ShareCertificate};
use collective::seal::curve::{CurveError, SecretScalar};
use collective::seal::tagged::TaggedIdentity;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

/// A committee of two in three.
fn certificate() -> ShareCertificate {
    let identity = TaggedIdentity::random(&mut rng(1));
    let shares = committee::split(identity, 9, 2, 3, &mut rng(6)).expect("a dealing");
    shares[0].certificate().clone()
}

/// Where the parts lie behind version and recipient.
struct Places {
    epoch: usize,
    threshold: usize,
    size: usize,
    shares: usize,
}

fn places(certificate: &ShareCertificate) -> Places {
    let epoch = 3 + certificate.recipient().to_string().len();
    Places {
        epoch,
        threshold: epoch + 8,
        size: epoch + 10,
        shares: epoch + 12,
    }
}

/// What is said about the bytes after `change` has been at them.
fn refused(change: impl FnOnce(&mut Vec<u8>, &Places)) -> Option<ParseCertificateError> {
    let certificate = certificate();
    let mut bytes = certificate.to_bytes();
    change(&mut bytes, &places(&certificate));
    ShareCertificate::parse(&bytes).err()
}

#[test]
fn a_certificate_comes_back_from_its_bytes() {
    let identity = TaggedIdentity::random(&mut rng(2));
    let classical = identity.recipient().classical();
    for certificate in [
        certificate(),
        ShareCertificate::sole(identity.recipient(), u64::MAX),
        ShareCertificate::sole(classical, 0),
    ] {
        let bytes = certificate.to_bytes();
        assert_eq!(ShareCertificate::parse(&bytes).as_ref(), Ok(&certificate));
    }
}

#[test]
fn another_epoch_is_another_certificate() {
    let changed = refused(|bytes, places| bytes[places.epoch + 7] ^= 1);
    assert_eq!(changed, None, "the epoch is free, and the digest covers it");
    let recipient = certificate().recipient().clone();
    let [one, two] = [1, 2].map(|epoch| ShareCertificate::sole(recipient.clone(), epoch));
    assert_ne!(one.digest(), two.digest());
}

#[test]
fn certificates_with_one_defect_each_are_refused() {
    use ParseCertificateError as Refused;
    assert_eq!(refused(|_, _| ()), None);
    let version = refused(|bytes, _| bytes[0] = 2);
    assert_eq!(version, Some(Refused::Version(2)));
    assert_eq!(refused(|bytes, _| bytes.clear()), Some(Refused::Length));
    let cut = refused(|bytes, _| bytes.truncate(bytes.len() - 1));
    assert_eq!(cut, Some(Refused::Length));
    assert_eq!(refused(|bytes, _| bytes.push(0)), Some(Refused::Length));
    let long = refused(|bytes, _| bytes[1] = 0xff);
    assert_eq!(long, Some(Refused::Length));
    let capitals = refused(|bytes, places| bytes[3..places.epoch].make_ascii_uppercase());
    assert_eq!(capitals, Some(Refused::NotCanonical));
    let not_text = refused(|bytes, _| bytes[10] = 0xff);
    assert_eq!(not_text, Some(Refused::NotCanonical));
    let checksum = refused(|bytes, places| bytes[places.epoch - 1] ^= 1);
    assert!(matches!(checksum, Some(Refused::Recipient(_))));
    let threshold = refused(|bytes, places| bytes[places.threshold + 1] = 0);
    assert_eq!(threshold, Some(CertificateError::Threshold.into()));
    let another = refused(|bytes, places| bytes[places.threshold + 1] = 1);
    assert_eq!(another, Some(CertificateError::AnotherKey.into()));
    let size = refused(|bytes, places| bytes[places.size + 1] = 65);
    assert_eq!(size, Some(CertificateError::Size.into()));
    let nobody = refused(|bytes, places| {
        bytes[places.size + 1] = 0;
        bytes.truncate(places.shares);
    });
    assert_eq!(nobody, Some(CertificateError::Size.into()));
    let uncompressed = refused(|bytes, places| bytes[places.shares] = 4);
    assert_eq!(uncompressed, Some(CurveError::Encoding.into()));
    let negative = refused(|bytes, places| bytes[places.shares] ^= 1);
    assert_eq!(negative, Some(CertificateError::AnotherKey.into()));
    let cheated = refused(|bytes, places| {
        let other = SecretScalar::random(&mut rng(3)).public();
        bytes[places.shares + 66..].copy_from_slice(&other.compressed());
    });
    assert!(matches!(
        cheated,
        Some(Refused::Content(CertificateError::NotAShare(member))) if member.number() == 3
    ));
}
