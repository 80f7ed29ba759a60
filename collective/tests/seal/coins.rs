//! Randomness that is written out, for vectors.

use std::convert::Infallible;

use rand_core::{TryCryptoRng, TryRng};

/// Randomness that is written out: bytes start, start + 1, start + 2, … modulo 251, and all that was taken.
pub struct Coins {
    next: u8,
    taken: Vec<u8>,
}

impl Coins {
    pub fn from(start: u8) -> Self {
        Self {
            next: start,
            taken: Vec::new(),
        }
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        let Ok(()) = self.try_fill_bytes(&mut out);
        out
    }

    #[allow(
        dead_code,
        reason = "not every test that includes this module prints coins"
    )]
    /// The coins taken so far, which another implementation hands out in the same order.
    pub fn hex(&self) -> String {
        self.taken
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

impl TryRng for Coins {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes(self.bytes()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_le_bytes(self.bytes()))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for byte in out.iter_mut() {
            *byte = self.next;
            self.next = (self.next + 1) % 251;
        }
        self.taken.extend_from_slice(out);
        Ok(())
    }
}

impl TryCryptoRng for Coins {}
