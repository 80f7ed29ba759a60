//! HPKE (RFC 9180), base mode, one message per context, with HKDF-SHA256 and ChaCha20-Poly1305.
//!
//! Decapsulation is cut in two: somebody computes the Diffie–Hellman value (one holder, or a committee that never sees
//! the key), and [`p256_secret`] or [`hybrid_secret`] finishes from it. No HPKE library takes the value from outside.

use zeroize::Zeroizing;

use super::curve::{DhValue, Point};
use super::symmetric::{Secret32, aead_open, aead_seal, hkdf_expand, hkdf_extract, sha3_256};

/// Key encapsulation mechanisms of the tagged recipients, with their HPKE identifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Kem {
    /// DHKEM(P-256, HKDF-SHA256), RFC 9180 §7.1.
    P256 = 0x0010,
    /// MLKEM768-P256, draft-ietf-hpke-pq.
    MlKem768P256 = 0x0050,
}

const KDF_HKDF_SHA256: u16 = 0x0001;
const AEAD_CHACHA20_POLY1305: u16 = 0x0003;
const MODE_BASE: u8 = 0;

/// The secret that a KEM gives to both sides. Has no Debug.
pub struct SharedSecret(Secret32);

impl SharedSecret {
    /// For comparing with published vectors.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Finishes DHKEM(P-256): ExtractAndExpand(dh, enc ‖ pkR) of RFC 9180 §4.1.
pub fn p256_secret(dh: &DhValue, enc: &Point, recipient: &Point) -> SharedSecret {
    let suite = [b"KEM".as_slice(), &(Kem::P256 as u16).to_be_bytes()].concat();
    let prk = labeled_extract(&suite, b"", b"eae_prk", dh.as_bytes());
    SharedSecret(labeled_expand(
        &suite,
        &prk,
        b"shared_secret",
        &[enc.uncompressed(), recipient.uncompressed()],
        32,
    ))
}

/// Finishes MLKEM768-P256: SHA3-256(ss_pq ‖ dh ‖ enc ‖ pkR ‖ label) (draft-irtf-cfrg-concrete-hybrid-kems, combiner
/// C2PRI). `ml_kem` is what ML-KEM-768 decapsulated, `enc` and `recipient` are the P-256 parts.
pub fn hybrid_secret(
    ml_kem: &MlKemSecret,
    dh: &DhValue,
    enc: &Point,
    recipient: &Point,
) -> SharedSecret {
    SharedSecret(sha3_256(&[
        ml_kem.0.as_slice(),
        dh.as_bytes(),
        enc.uncompressed(),
        recipient.uncompressed(),
        b"MLKEM768-P256",
    ]))
}

/// The shared secret of ML-KEM-768 for one file. Has no Debug.
pub struct MlKemSecret(Secret32);

impl MlKemSecret {
    /// What ML-KEM-768 gave.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The secret bytes, to be sent under encryption to whoever may open the file.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Seals one message (RFC 9180 §6.1 SealBase, after encapsulation).
pub fn seal(kem: Kem, secret: &SharedSecret, info: &[u8], aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let (key, nonce) = key_schedule(kem, secret, info);
    aead_seal(&key, nonce, aad, plaintext)
}

/// Opens one message (RFC 9180 §6.1 OpenBase, after decapsulation); `None` where it is not authentic.
pub fn open(
    kem: Kem,
    secret: &SharedSecret,
    info: &[u8],
    aad: &[u8],
    ciphertext: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let (key, nonce) = key_schedule(kem, secret, info);
    aead_open(&key, nonce, aad, ciphertext)
}

/// Key and nonce of the first message (RFC 9180 §5.1, mode_base).
fn key_schedule(kem: Kem, secret: &SharedSecret, info: &[u8]) -> (Secret32, [u8; 12]) {
    let suite = [
        b"HPKE".as_slice(),
        &(kem as u16).to_be_bytes(),
        &KDF_HKDF_SHA256.to_be_bytes(),
        &AEAD_CHACHA20_POLY1305.to_be_bytes(),
    ]
    .concat();
    let psk_id_hash = labeled_extract(&suite, b"", b"psk_id_hash", b"");
    let info_hash = labeled_extract(&suite, b"", b"info_hash", info);
    let context = [&[MODE_BASE], psk_id_hash.as_slice(), info_hash.as_slice()];
    let prk = labeled_extract(&suite, secret.0.as_slice(), b"secret", b"");
    let key = labeled_expand(&suite, &prk, b"key", &context, 32);
    let nonce = labeled_expand(&suite, &prk, b"base_nonce", &context, 12);
    (key, nonce[..12].try_into().expect("12 of 32 bytes"))
}

/// RFC 9180 §4.
fn labeled_extract(suite: &[u8], salt: &[u8], label: &[u8], ikm: &[u8]) -> Secret32 {
    hkdf_extract(salt, &[b"HPKE-v1", suite, label, ikm])
}

/// RFC 9180 §4, up to 32 bytes; the asked length is part of what is hashed.
fn labeled_expand(
    suite: &[u8],
    prk: &Secret32,
    label: &[u8],
    info: &[&[u8]],
    len: u16,
) -> Secret32 {
    let info = info.concat();
    hkdf_expand(prk, &[&len.to_be_bytes(), b"HPKE-v1", suite, label, &info])
}
