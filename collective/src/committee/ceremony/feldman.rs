//! Feldman's verifiable sharing: a dealer publishes its polynomial times the generator, and everybody can tell whether a
//! share lies on it.

use p256::elliptic_curve::Group;
use p256::{ProjectivePoint, Scalar};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::committee::Member;
use crate::seal::curve::{Point, SecretScalar};

/// A dealer's secret polynomial, lowest coefficient first. Has no Debug.
pub(super) struct Polynomial(Vec<SecretScalar>);

impl Polynomial {
    /// Of degree `threshold` − 1, with `constant` at 0.
    pub(super) fn random<R: CryptoRng + ?Sized>(
        constant: SecretScalar,
        threshold: u16,
        rng: &mut R,
    ) -> Self {
        let mut coefficients = vec![constant];
        coefficients.extend((1..threshold).map(|_| SecretScalar::random(rng)));
        Self(coefficients)
    }

    pub(super) fn commitment(&self) -> Commitment {
        Commitment(self.0.iter().map(SecretScalar::public).collect())
    }

    /// The member's share, in constant time (Horner's rule).
    pub(super) fn at(&self, member: Member) -> SecretScalar {
        let x = member.scalar();
        let terms = self.0.iter().rev();
        let share = terms.fold(Zeroizing::new(Scalar::ZERO), |sum, next| {
            Zeroizing::new(*sum * x + next.scalar())
        });
        SecretScalar::new(*share).expect("zero once in 2^256 random polynomials")
    }
}

/// A polynomial's coefficients times the generator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commitment(Vec<Point>);

impl Commitment {
    /// `None` where there is no coefficient.
    pub fn new(coefficients: Vec<Point>) -> Option<Self> {
        (!coefficients.is_empty()).then_some(Self(coefficients))
    }

    /// Lowest first; as many as the threshold.
    pub fn coefficients(&self) -> &[Point] {
        &self.0
    }

    /// The polynomial's value at 0 times the generator.
    pub fn constant(&self) -> &Point {
        &self.0[0]
    }

    /// Whether `share` is the member's.
    pub fn admits(&self, member: Member, share: &SecretScalar) -> bool {
        self.at(member) == share.public().projective()
    }

    /// The member's share times the generator (Horner's rule).
    pub(super) fn at(&self, member: Member) -> ProjectivePoint {
        let terms = self.0.iter().rev();
        terms.fold(ProjectivePoint::IDENTITY, |sum, next| {
            times(sum, member.number()) + next.projective()
        })
    }
}

/// By doubling and adding: both are public and the number is small.
fn times(point: ProjectivePoint, number: u16) -> ProjectivePoint {
    let bits = (0..u16::BITS - number.leading_zeros()).rev();
    bits.fold(ProjectivePoint::IDENTITY, |sum, bit| {
        let doubled = sum.double();
        if number >> bit & 1 == 1 {
            doubled + point
        } else {
            doubled
        }
    })
}
