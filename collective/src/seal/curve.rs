//! P-256: points that are on the curve and not its neutral element, secret scalars that wipe themselves.
//!
//! The curve has prime order, so "uncompressed, on the curve, not the neutral element" is the whole validation of a
//! point (SP 800-56A §5.6.2.3.3). Multiplications by secrets go through p256's constant-time code.

use std::fmt;

use p256::elliptic_curve::Field;
use p256::elliptic_curve::PrimeField;
use p256::elliptic_curve::sec1::{FromEncodedPoint, ToEncodedPoint};
use p256::{AffinePoint, EncodedPoint, FieldBytes, ProjectivePoint, Scalar};
use rand_core::CryptoRng;
use zeroize::{Zeroize, Zeroizing};

use super::symmetric::Secret32;

/// Length of an uncompressed point: 0x04 ‖ x ‖ y.
pub const POINT_LEN: usize = 65;

/// Length of a compressed point: 0x02 or 0x03 ‖ x.
pub const COMPRESSED_LEN: usize = 33;

/// A point of P-256 other than the neutral element.
#[derive(Clone, PartialEq, Eq)]
pub struct Point {
    affine: AffinePoint,
    encoded: [u8; POINT_LEN],
}

impl Point {
    /// Reads 0x04 ‖ x ‖ y (SEC 1 §2.3.4), the only encoding that is accepted inside files.
    pub fn from_uncompressed(bytes: &[u8]) -> Result<Self, CurveError> {
        match bytes {
            [4, ..] if bytes.len() == POINT_LEN => Self::decode(bytes),
            _ => Err(CurveError::Encoding),
        }
    }

    /// Reads 0x02 ‖ x or 0x03 ‖ x (SEC 1 §2.3.4), as recipient strings carry it.
    pub fn from_compressed(bytes: &[u8]) -> Result<Self, CurveError> {
        match bytes {
            [2 | 3, ..] if bytes.len() == COMPRESSED_LEN => Self::decode(bytes),
            _ => Err(CurveError::Encoding),
        }
    }

    /// 0x04 ‖ x ‖ y.
    pub fn uncompressed(&self) -> &[u8; POINT_LEN] {
        &self.encoded
    }

    /// 0x02 or 0x03 (odd y) ‖ x.
    pub fn compressed(&self) -> [u8; COMPRESSED_LEN] {
        let mut out = [0; COMPRESSED_LEN];
        out[0] = 2 + (self.encoded[POINT_LEN - 1] & 1);
        out[1..].copy_from_slice(self.x());
        out
    }

    /// The x coordinate, big-endian. A point and its negative share it.
    pub fn x(&self) -> &[u8; 32] {
        self.encoded[1..33].try_into().expect("32 of 65 bytes")
    }

    pub(crate) fn projective(&self) -> ProjectivePoint {
        self.affine.into()
    }

    /// `None` for the neutral element.
    pub(crate) fn from_projective(point: ProjectivePoint) -> Option<Self> {
        let affine = point.to_affine();
        let encoded = affine.to_encoded_point(false);
        let encoded = encoded.as_bytes().try_into().ok()?;
        Some(Self { affine, encoded })
    }

    fn decode(bytes: &[u8]) -> Result<Self, CurveError> {
        let encoded = EncodedPoint::from_bytes(bytes).map_err(|_| CurveError::Encoding)?;
        let affine: Option<AffinePoint> = AffinePoint::from_encoded_point(&encoded).into();
        let affine = affine.ok_or(CurveError::NotOnCurve)?;
        Self::from_projective(affine.into()).ok_or(CurveError::NotOnCurve)
    }
}

/// For points that are secret; what is left is no point.
impl Zeroize for Point {
    fn zeroize(&mut self) {
        self.affine.zeroize();
        self.encoded.zeroize();
    }
}

impl fmt::Debug for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Point(")?;
        for byte in self.compressed() {
            write!(f, "{byte:02x}")?;
        }
        write!(f, ")")
    }
}

/// A secret number from 1 to the group order less one. Wiped when dropped; has no Debug.
pub struct SecretScalar(Scalar);

impl SecretScalar {
    /// Uniform: 48 bytes reduced modulo the order, so the bias is below 2⁻¹²⁸ and no draw is ever repeated.
    pub fn random<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut wide = Zeroizing::new([0; 48]);
        rng.fill_bytes(wide.as_mut_slice());
        Self::new(reduce(&wide)).expect("48 random bytes hit a multiple of the order once in 2^256")
    }

    /// Reads 32 big-endian bytes.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, CurveError> {
        let scalar: Option<Scalar> = Scalar::from_repr(FieldBytes::from(*bytes)).into();
        scalar.and_then(Self::new).ok_or(CurveError::Scalar)
    }

    /// 32 big-endian bytes.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_repr().into())
    }

    /// This number times the generator.
    pub fn public(&self) -> Point {
        Point::from_projective(ProjectivePoint::GENERATOR * self.0)
            .expect("the order is prime and the scalar is not zero")
    }

    /// The Diffie–Hellman value with `point`.
    pub fn diffie_hellman(&self, point: &Point) -> DhValue {
        DhValue::from_point(self.times(point))
    }

    /// This number times `point`, in constant time.
    pub(crate) fn times(&self, point: &Point) -> Point {
        Point::from_projective(point.projective() * self.0)
            .expect("the order is prime and the scalar is not zero")
    }

    /// `None` for zero.
    pub(crate) fn new(scalar: Scalar) -> Option<Self> {
        (!bool::from(scalar.is_zero())).then_some(Self(scalar))
    }

    pub(crate) fn scalar(&self) -> &Scalar {
        &self.0
    }
}

impl Drop for SecretScalar {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// The x coordinate of a Diffie–Hellman point, whoever computed it: one key holder, or a quorum. Has no Debug.
pub struct DhValue(Secret32);

impl DhValue {
    /// The value of this shared point, which is wiped.
    pub fn from_point(mut point: Point) -> Self {
        let value = Self(Zeroizing::new(*point.x()));
        point.zeroize();
        value
    }

    /// A value computed elsewhere.
    pub fn from_bytes(x: [u8; 32]) -> Self {
        Self(Zeroizing::new(x))
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Why bytes are no point or scalar of P-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CurveError {
    /// Length or leading byte are not those of the one accepted encoding (the neutral element has another).
    #[error("point is not in the expected encoding")]
    Encoding,
    /// The coordinates do not satisfy the curve's equation, or are not reduced.
    #[error("point is not on the curve")]
    NotOnCurve,
    /// Zero, or not below the group order.
    #[error("scalar is out of range")]
    Scalar,
}

/// 384 bits modulo the group order, without a branch: hi · 2¹⁹² + lo.
pub(crate) fn reduce(wide: &[u8; 48]) -> Scalar {
    let half = |bytes: &[u8]| {
        let mut repr = FieldBytes::default();
        repr[8..].copy_from_slice(bytes);
        let scalar = Option::<Scalar>::from(Scalar::from_repr(repr));
        repr.zeroize();
        scalar.expect("192 bits are below the order")
    };
    let mut two_192 = FieldBytes::default();
    two_192[7] = 1;
    let two_192 = Option::<Scalar>::from(Scalar::from_repr(two_192)).expect("below the order");
    half(&wide[..24]) * two_192 + half(&wide[24..])
}

/// A canonical scalar that may be zero, for proofs.
pub(crate) fn public_scalar(bytes: &[u8; 32]) -> Option<Scalar> {
    Scalar::from_repr(FieldBytes::from(*bytes)).into()
}
