//! The symmetric half: SHA-2, SHA-3, HMAC, HKDF and ChaCha20-Poly1305 of aws-lc, with outputs that wipe themselves.
//!
//! Inputs come as parts that are concatenated; what goes in first, and under which label, is the caller's affair.

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::{digest, hmac};
use zeroize::Zeroizing;

/// Length of an authentication tag of ChaCha20-Poly1305.
pub(crate) const TAG_LEN: usize = 16;

/// 32 secret bytes that are wiped when dropped.
pub(crate) type Secret32 = Zeroizing<[u8; 32]>;

pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    hash(&digest::SHA256, parts)
}

pub(crate) fn sha384(parts: &[&[u8]]) -> [u8; 48] {
    hash(&digest::SHA384, parts)
}

pub(crate) fn sha512(parts: &[&[u8]]) -> Zeroizing<[u8; 64]> {
    Zeroizing::new(hash(&digest::SHA512, parts))
}

pub(crate) fn sha3_256(parts: &[&[u8]]) -> Secret32 {
    Zeroizing::new(hash(&digest::SHA3_256, parts))
}

/// HMAC-SHA-256.
pub(crate) fn hmac_sha256(key: &[u8], data: &[u8]) -> Secret32 {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let mut tag = Zeroizing::new([0; 32]);
    hmac::sign_to_buffer(&key, data, tag.as_mut_slice()).expect("32 bytes hold a SHA-256 tag");
    tag
}

/// HKDF-Extract (RFC 5869 §2.2) with SHA-256.
pub(crate) fn hkdf_extract(salt: &[u8], ikm: &[&[u8]]) -> Secret32 {
    hmac_sha256(salt, &Zeroizing::new(ikm.concat()))
}

/// HKDF-Expand (RFC 5869 §2.3) with SHA-256, first block only: 32 bytes, of which callers may take fewer.
pub(crate) fn hkdf_expand(prk: &Secret32, info: &[&[u8]]) -> Secret32 {
    let mut block = info.concat();
    block.push(1);
    hmac_sha256(prk.as_slice(), &block)
}

/// HKDF (RFC 5869) with SHA-256 to 32 bytes.
pub(crate) fn hkdf(salt: &[u8], ikm: &[u8], info: &[u8]) -> Secret32 {
    hkdf_expand(&hkdf_extract(salt, &[ikm]), &[info])
}

/// A key of ChaCha20-Poly1305, ready for use.
pub(crate) fn aead_key(key: &Secret32) -> LessSafeKey {
    LessSafeKey::new(
        UnboundKey::new(&CHACHA20_POLY1305, key.as_slice()).expect("32 bytes are a ChaCha20 key"),
    )
}

/// Ciphertext and tag. The caller answers for the nonce being fresh under this key.
pub(crate) fn aead_seal(key: &Secret32, nonce: [u8; 12], aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let mut sealed = plaintext.to_vec();
    aead_key(key)
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(aad),
            &mut sealed,
        )
        .expect("short plaintexts are within the cipher's limit");
    sealed
}

/// The plaintext, or `None` where the tag does not fit.
pub(crate) fn aead_open(
    key: &Secret32,
    nonce: [u8; 12],
    aad: &[u8],
    ciphertext: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let mut opened = Zeroizing::new(ciphertext.to_vec());
    let len = aead_key(key)
        .open_in_place(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(aad),
            &mut opened,
        )
        .ok()?
        .len();
    opened.truncate(len);
    Some(opened)
}

fn hash<const N: usize>(algorithm: &'static digest::Algorithm, parts: &[&[u8]]) -> [u8; N] {
    let mut context = digest::Context::new(algorithm);
    for part in parts {
        context.update(part);
    }
    let digest = context.finish();
    digest
        .as_ref()
        .try_into()
        .expect("the caller names the algorithm's output length")
}
