//! What is drawn: each thing by a stream of its own, which follows from the seed and a number, so that no state of a generator
//! has to be kept over a kill.

use collective::id::sha256;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

/// A stream: ChaCha20 under SHA-256(`collective/heavy/v1/` ‖ purpose ‖ 00 ‖ seed (4) ‖ number (8)).
pub fn stream(seed: u32, purpose: &str, number: u64) -> ChaCha20Rng {
    let mut text = format!("collective/heavy/v1/{purpose}\0").into_bytes();
    text.extend(seed.to_be_bytes());
    text.extend(number.to_be_bytes());
    ChaCha20Rng::from_seed(sha256(&text).0)
}

/// A number below `bound`, which is at least 1: by the high half of a product, off by 2⁻³² of it at most.
pub fn below(bound: u64, stream: &mut ChaCha20Rng) -> u64 {
    let product = u128::from(stream.next_u64()) * u128::from(bound);
    (product >> 64) as u64
}

/// A number from 0 to 1, below 1.
pub fn share(stream: &mut ChaCha20Rng) -> f64 {
    (stream.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// Normal numbers of deviation `deviation` (Box and Muller's method).
pub fn normal(count: usize, deviation: f64, stream: &mut ChaCha20Rng) -> Vec<f32> {
    let mut one = || {
        let radius = (-2.0 * (1.0 - share(stream)).ln()).sqrt();
        (radius * (std::f64::consts::TAU * share(stream)).cos() * deviation) as f32
    };
    (0..count).map(|_| one()).collect()
}

/// Puts things into another order, each one as likely (Fisher and Yates' method).
pub fn shuffle<T>(things: &mut [T], stream: &mut ChaCha20Rng) {
    for last in (1..things.len()).rev() {
        things.swap(last, below(last as u64 + 1, stream) as usize);
    }
}
