//! The sender proof: whoever made a stanza shows that it knows the secret behind the ephemeral point, for this contributor
//! and no other (Shoup and Gennaro 1998, scheme TDH2).
//!
//! A holder's partial decryption is linear in the point E, so it may be given for E only where the sender knew log E:
//! otherwise E' = E + rG, 2E or −E, planted under another name, would open a victim's file. The sender adds W = r·H, with
//! H a second generator, and a proof that log_G E = log_H W, bound to the stanza, to who sends it to whom, and to the key
//! that it was sealed to: nothing else in a hybrid stanza says which of a collective's ML-KEM keys that was.

use p256::elliptic_curve::PrimeField;
use p256::{ProjectivePoint, Scalar};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::curve::{POINT_LEN, Point, SecretScalar, public_scalar, reduce};
use super::header::{Stanza, base64_argument};
use super::symmetric::{sha256, sha384};

/// First argument of the stanza that carries W (argument) and the proof (body).
pub const PROOF_STANZA: &str = "collective-proof";

/// Length of a [`SenderContext`] in bytes.
pub const CONTEXT_LEN: usize = 112;

const CHALLENGE_DOMAIN: &[u8] = b"collective/v1/sender-proof";

/// H, compressed: x is SHA-256("collective/v1/second-generator" ‖ i) for the smallest byte i that gives a point (i = 2),
/// with even y. Nobody knows its logarithm.
const SECOND_GENERATOR: [u8; 33] = [
    0x02, 0x79, 0xe3, 0x15, 0xcf, 0x45, 0x8d, 0x4e, 0x79, 0x85, 0xdc, 0x8f, 0xa2, 0x1b, 0x7a, 0xfe,
    0x8c, 0x4d, 0x8e, 0xda, 0xb4, 0xae, 0x1a, 0x01, 0xd5, 0x46, 0x04, 0x33, 0x2a, 0xb9, 0x37, 0xea,
    0x24,
];

/// Who sends to which collective. A proof holds for one context only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderContext {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Address of the ContributionRegistry.
    pub registry: [u8; 20],
    /// Address of the collective.
    pub collective: [u8; 20],
    /// The contributor's id.
    pub contributor: [u8; 32],
    /// The contribution's nonce in the contributor's own nonce space.
    pub nonce: [u8; 32],
}

impl SenderContext {
    /// chain_id (8 bytes, big-endian) ‖ registry ‖ collective ‖ contributor ‖ nonce: 112 bytes.
    pub fn to_bytes(&self) -> [u8; CONTEXT_LEN] {
        let mut out = [0; CONTEXT_LEN];
        out[..8].copy_from_slice(&self.chain_id.to_be_bytes());
        out[8..28].copy_from_slice(&self.registry);
        out[28..48].copy_from_slice(&self.collective);
        out[48..80].copy_from_slice(&self.contributor);
        out[80..].copy_from_slice(&self.nonce);
        out
    }

    /// The inverse of [`SenderContext::to_bytes`].
    pub fn from_bytes(bytes: &[u8; CONTEXT_LEN]) -> Self {
        fn part<const N: usize>(bytes: &[u8; CONTEXT_LEN], at: usize) -> [u8; N] {
            bytes[at..at + N].try_into().expect("the range has N bytes")
        }
        Self {
            chain_id: u64::from_be_bytes(part(bytes, 0)),
            registry: part(bytes, 8),
            collective: part(bytes, 28),
            contributor: part(bytes, 48),
            nonce: part(bytes, 80),
        }
    }
}

/// The proof stanza for `stanza`, whose ephemeral point is `ephemeral` times the generator. `sealed_to` is the digest of
/// the recipient that it was made for ([`TaggedRecipient::digest`](super::tagged::TaggedRecipient::digest)).
pub(super) fn prove<R: CryptoRng + ?Sized>(
    ephemeral: &SecretScalar,
    point: &Point,
    stanza: &Stanza,
    sealed_to: &[u8; 32],
    context: &SenderContext,
    rng: &mut R,
) -> Stanza {
    let w = ephemeral.times(&second_generator());
    let blind = SecretScalar::random(rng);
    let on_g = blind.public();
    let on_h = blind.times(&second_generator());
    let c = challenge(context, sealed_to, stanza, point, &w, &on_g, &on_h);
    let s = Zeroizing::new(*blind.scalar() + c * ephemeral.scalar());
    let body = [c.to_repr(), s.to_repr()].concat();
    let arguments = vec![PROOF_STANZA.to_owned(), base64_argument(w.uncompressed())];
    Stanza::new(arguments, body).expect("base64 is printable")
}

/// Checks `proof` for the collective stanza `stanza`, whose ephemeral point is `point` and which was made for the recipient
/// with the digest `sealed_to`.
///
/// # Errors
/// [`ProofError`].
pub fn verify(
    proof: &Stanza,
    stanza: &Stanza,
    point: &Point,
    sealed_to: &[u8; 32],
    context: &SenderContext,
) -> Result<(), ProofError> {
    let shape = proof.kind() == PROOF_STANZA && proof.arguments().len() == 1;
    let w: Option<[u8; POINT_LEN]> = proof.binary_argument(0);
    let (true, Some(w), Some((c, s))) = (shape, w, scalars(proof.body())) else {
        return Err(ProofError::Malformed);
    };
    let w = Point::from_uncompressed(&w).map_err(|_| ProofError::Malformed)?;
    let commitment = |generator: ProjectivePoint, image: &Point| {
        Point::from_projective(generator * s - image.projective() * c).ok_or(ProofError::Refused)
    };
    let on_g = commitment(ProjectivePoint::GENERATOR, point)?;
    let on_h = commitment(second_generator().projective(), &w)?;
    if challenge(context, sealed_to, stanza, point, &w, &on_g, &on_h) == c {
        Ok(())
    } else {
        Err(ProofError::Refused)
    }
}

/// Why a sender proof was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Not a point and two scalars in their one encoding.
    #[error("malformed sender proof")]
    Malformed,
    /// The proof is for another stanza, key, contributor, nonce, collective or chain, or was made without the secret.
    #[error("the sender proof does not hold for this contribution")]
    Refused,
}

/// Fiat–Shamir over everything that the proof is about; all parts have fixed lengths.
fn challenge(
    context: &SenderContext,
    sealed_to: &[u8; 32],
    stanza: &Stanza,
    point: &Point,
    w: &Point,
    on_g: &Point,
    on_h: &Point,
) -> Scalar {
    reduce(&sha384(&[
        CHALLENGE_DOMAIN,
        &context.to_bytes(),
        sealed_to,
        &sha256(&[&stanza.to_bytes()]),
        point.uncompressed(),
        w.uncompressed(),
        on_g.uncompressed(),
        on_h.uncompressed(),
    ]))
}

fn scalars(body: &[u8]) -> Option<(Scalar, Scalar)> {
    let (c, s) = body.split_first_chunk()?;
    Some((public_scalar(c)?, public_scalar(s.try_into().ok()?)?))
}

fn second_generator() -> Point {
    Point::from_compressed(&SECOND_GENERATOR).expect("the constant is a point")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_generator_is_the_first_point_of_its_hash_chain() {
        let candidate = |i: u8| {
            let x = sha256(&[b"collective/v1/second-generator", &[i]]);
            Point::from_compressed(&[&[2], x.as_slice()].concat())
        };
        assert!(candidate(0).is_err() && candidate(1).is_err());
        assert_eq!(candidate(2).expect("a point"), second_generator());
    }
}
