//! Where a participant's randomness comes from: 32 bytes that it stored before the ceremony, so that a crash is replayed
//! byte for byte. Every use has a key of its own, bound to the ceremony's name.

use std::convert::Infallible;

use rand_core::{CryptoRng, TryCryptoRng, TryRng};
use zeroize::Zeroizing;

use super::CeremonyId;
use super::deal::Part;
use crate::committee::Member;
use crate::seal::symmetric::{Secret32, hkdf, hmac_sha256};
use crate::seal::tagged::ML_KEM_SEED_LEN;

/// A participant's secret for one ceremony. Whoever has it and the old share has the new one: it is stored as the share
/// is, and erased with it. Has no Debug.
pub struct Seed(Secret32);

impl Seed {
    /// A new seed.
    pub fn random<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(seed.as_mut_slice());
        Self(seed)
    }

    /// As it was stored.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The secret bytes, for the caller's store.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// For the secret polynomial and, where a key is made, the proof that goes with it.
    pub(super) fn polynomial(&self, ceremony: CeremonyId) -> Stream {
        Stream::new(self.key(ceremony, b"polynomial"))
    }

    /// This participant's 64 bytes towards the ML-KEM seed.
    pub(super) fn contribution(&self, ceremony: CeremonyId) -> Zeroizing<[u8; ML_KEM_SEED_LEN]> {
        let mut bytes = Zeroizing::new([0; ML_KEM_SEED_LEN]);
        Stream::new(self.key(ceremony, b"contribution")).fill(bytes.as_mut_slice());
        bytes
    }

    /// What the sealing of one part is made from, and what a defence shows of it.
    pub(super) fn coins(&self, ceremony: CeremonyId, receiver: Member, part: Part) -> Secret32 {
        let mut label = b"coins".to_vec();
        label.extend_from_slice(&receiver.number().to_be_bytes());
        label.push(part.code());
        self.key(ceremony, &label)
    }

    fn key(&self, ceremony: CeremonyId, label: &[u8]) -> Secret32 {
        let info = [b"collective/v1/ceremony/key/".as_slice(), label].concat();
        hkdf(ceremony.0.as_slice(), self.0.as_slice(), &info)
    }
}

/// HMAC-SHA-256(key, 0) ‖ HMAC-SHA-256(key, 1) ‖ …, the number in 8 bytes: randomness of both generations of `rand_core`,
/// ours and the one that FROST takes. Wiped when dropped.
pub(super) struct Stream {
    key: Secret32,
    next: u64,
    block: Secret32,
    used: usize,
}

impl Stream {
    pub(super) fn new(key: Secret32) -> Self {
        Self {
            key,
            next: 0,
            block: Zeroizing::new([0; 32]),
            used: 32,
        }
    }

    fn fill(&mut self, out: &mut [u8]) {
        for byte in out {
            if self.used == 32 {
                self.block = hmac_sha256(self.key.as_slice(), &self.next.to_be_bytes());
                self.next += 1;
                self.used = 0;
            }
            *byte = self.block[self.used];
            self.used += 1;
        }
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        self.fill(&mut out);
        out
    }
}

impl TryRng for Stream {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes(self.bytes()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_le_bytes(self.bytes()))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        self.fill(out);
        Ok(())
    }
}

impl TryCryptoRng for Stream {}

impl frost_p256::rand_core::RngCore for Stream {
    fn next_u32(&mut self) -> u32 {
        u32::from_le_bytes(self.bytes())
    }

    fn next_u64(&mut self) -> u64 {
        u64::from_le_bytes(self.bytes())
    }

    fn fill_bytes(&mut self, out: &mut [u8]) {
        self.fill(out);
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), frost_p256::rand_core::Error> {
        self.fill(out);
        Ok(())
    }
}

impl frost_p256::rand_core::CryptoRng for Stream {}
