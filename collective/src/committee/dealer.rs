//! Sharing a key by a dealer who knows it: for moving a committee of one into a larger one, and for tests. Making a key
//! that nobody ever knew is the distributed key generation's task.

use p256::Scalar;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::{CertificateError, KeyShare, Member, ShareCertificate};
use crate::limits::MAX_MEMBERS;
use crate::seal::curve::SecretScalar;
use crate::seal::tagged::{MlKemKey, TaggedIdentity};

/// Shamir shares of `identity` for members 1 to `size`, any `threshold` of whom can open.
pub fn split<R: CryptoRng + ?Sized>(
    identity: TaggedIdentity,
    epoch: u64,
    threshold: u16,
    size: u16,
    rng: &mut R,
) -> Result<Vec<KeyShare>, CertificateError> {
    if size == 0 || size > MAX_MEMBERS {
        return Err(CertificateError::Size);
    }
    if threshold == 0 || threshold > size {
        return Err(CertificateError::Threshold);
    }
    let recipient = identity.recipient();
    let (secret, ml_kem) = identity.into_parts();
    let mut coefficients = vec![secret];
    coefficients.extend((1..threshold).map(|_| SecretScalar::random(rng)));
    let scalars = (1..=size)
        .map(|number| {
            let member = Member::new(number).ok_or(CertificateError::Size)?;
            // Horner's rule. A share of zero comes once in 2^256 dealings.
            let share = coefficients
                .iter()
                .rev()
                .fold(Zeroizing::new(Scalar::ZERO), |sum, next| {
                    Zeroizing::new(*sum * member.scalar() + next.scalar())
                });
            let share = SecretScalar::new(*share).ok_or(CertificateError::NotAShare(member))?;
            Ok((member, share))
        })
        .collect::<Result<Vec<_>, CertificateError>>()?;
    let public_shares = scalars.iter().map(|(_, scalar)| scalar.public()).collect();
    let certificate = ShareCertificate::new(recipient, epoch, threshold, public_shares)?;
    scalars
        .into_iter()
        .map(|(member, scalar)| {
            let ml_kem = MlKemKey::from_seed(ml_kem.seed());
            KeyShare::new(certificate.clone(), member, scalar, ml_kem)
        })
        .collect()
}
