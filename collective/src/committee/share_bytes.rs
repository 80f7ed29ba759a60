//! The bytes of a key share, for its owner's disk and nowhere else (SPEC "Key share").

use zeroize::Zeroizing;

use super::{CertificateError, KeyShare, Member, ParseCertificateError, ShareCertificate};
use crate::seal::curve::{CurveError, SecretScalar};
use crate::seal::tagged::{ML_KEM_SEED_LEN, MlKemKey};

/// First byte of a share's encoding.
const VERSION: u8 = 1;

/// Version, member, scalar, ML-KEM seed; the certificate follows.
const SECRET_LEN: usize = 1 + 2 + 32 + ML_KEM_SEED_LEN;

impl KeyShare {
    /// Everything that a member has to keep. Secret: seal it before it touches a disk.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let certificate = self.certificate.to_bytes();
        // All at once, so that no smaller copy is left behind when the buffer grows.
        let mut bytes = Zeroizing::new(Vec::with_capacity(SECRET_LEN + certificate.len()));
        bytes.push(VERSION);
        bytes.extend(self.member.number().to_be_bytes());
        bytes.extend_from_slice(self.scalar.to_bytes().as_slice());
        bytes.extend_from_slice(self.ml_kem.seed().as_slice());
        bytes.extend(certificate);
        bytes
    }

    /// Reads [`KeyShare::to_bytes`], and checks that scalar, seed and certificate belong together.
    ///
    /// # Errors
    /// [`ParseShareError`]; the file is damaged or none of a share.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseShareError> {
        let (&version, rest) = bytes.split_first().ok_or(ParseShareError::Length)?;
        if version != VERSION {
            return Err(ParseShareError::Version(version));
        }
        let (member, rest) = rest.split_first_chunk().ok_or(ParseShareError::Length)?;
        let (scalar, rest) = rest.split_first_chunk().ok_or(ParseShareError::Length)?;
        let (seed, rest) = rest.split_first_chunk().ok_or(ParseShareError::Length)?;
        let member = Member::new(u16::from_be_bytes(*member)).ok_or(CertificateError::Size)?;
        let scalar = SecretScalar::from_bytes(scalar)?;
        let certificate = ShareCertificate::parse(rest)?;
        Ok(Self::new(
            certificate,
            member,
            scalar,
            MlKemKey::from_seed(seed),
        )?)
    }
}

/// Why bytes are no key share.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseShareError {
    /// Another version than this one reads.
    #[error("key shares of version {0} are not known here: is this version outdated?")]
    Version(u8),
    /// Cut short.
    #[error("the key share is cut short")]
    Length,
    /// No scalar of the group.
    #[error("the share's scalar: {0}")]
    Scalar(#[from] CurveError),
    /// The certificate.
    #[error(transparent)]
    Certificate(#[from] ParseCertificateError),
    /// The secret is not the one of the certificate.
    #[error(transparent)]
    Content(#[from] CertificateError),
}
