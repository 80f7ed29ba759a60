//! A committee: n holders of one key, of whom any t can open what is sealed to it. A trusted node is a committee of one.
//!
//! This module owns key shares, the public certificate that binds them to a recipient, quorums, and the arithmetic of a
//! threshold Diffie–Hellman; its parts own what members are asked ([`question`]) for what was [`released`], what they
//! [`answer`] and keep in their [`log`], how a node puts it together ([`assembly`], [`record`]), and how shares are made
//! ([`ceremony`]). It must not know how messages travel or who approved what: it says what a holder computes, never that
//! it may.
//!
//! The P-256 half is shared (Shamir), the ML-KEM half is held by every member: against a classical attacker opening needs
//! t members, against a quantum one it needs one.

use p256::ProjectivePoint;
use zeroize::Zeroize;

use crate::seal::contribution::{ContributionHeader, Sender};
use crate::seal::curve::{DhValue, Point, SecretScalar};
use crate::seal::header::{FileKey, Header, MacError, StanzaError};
use crate::seal::hpke::MlKemSecret;
use crate::seal::tagged::{MlKemKey, TaggedIdentity, TaggedRecipient, TaggedStanza};

pub mod answer;
pub mod assembly;
pub mod ceremony;
mod certificate;
mod dealer;
pub mod equality;
pub mod log;
pub mod question;
pub mod record;
pub mod released;
pub mod rewrap;
mod share_bytes;

use rewrap::EarlierKeys;

pub use certificate::{
    CertificateError, Member, ParseCertificateError, Quorum, QuorumError, ShareCertificate,
};
pub use dealer::split;
pub use share_bytes::ParseShareError;

/// One member's secret: its share of the P-256 key, and the ML-KEM key that all hold. Has no Debug.
pub struct KeyShare {
    member: Member,
    scalar: SecretScalar,
    ml_kem: MlKemKey,
    certificate: ShareCertificate,
    /// Digest of the certificate's recipient, which every hybrid file is compared with.
    recipient: [u8; 32],
}

impl KeyShare {
    /// Takes a share over, after checking it against the certificate.
    pub fn new(
        certificate: ShareCertificate,
        member: Member,
        scalar: SecretScalar,
        ml_kem: MlKemKey,
    ) -> Result<Self, CertificateError> {
        if certificate.public_share(member) != Some(&scalar.public()) {
            return Err(CertificateError::NotAShare(member));
        }
        let recipient = certificate.recipient();
        if recipient.is_post_quantum() && ml_kem.recipient(recipient.point().clone()) != *recipient
        {
            return Err(CertificateError::AnotherKey);
        }
        Ok(Self {
            member,
            scalar,
            ml_kem,
            recipient: certificate.recipient().digest(),
            certificate,
        })
    }

    /// The only share of a committee of one.
    pub fn sole(identity: TaggedIdentity, epoch: u64) -> Self {
        let certificate = ShareCertificate::sole(identity.recipient(), epoch);
        let (scalar, ml_kem) = identity.into_parts();
        Self {
            member: Member::SOLE,
            scalar,
            ml_kem,
            recipient: certificate.recipient().digest(),
            certificate,
        }
    }

    /// Whose share it is.
    pub fn member(&self) -> Member {
        self.member
    }

    /// The committee it belongs to.
    pub fn certificate(&self) -> &ShareCertificate {
        &self.certificate
    }

    /// The ML-KEM key that all members hold.
    pub fn ml_kem(&self) -> &MlKemKey {
        &self.ml_kem
    }

    /// What this member gives towards opening a contribution that is sealed to the committee's present key. A committee of more than one refuses headers without
    /// sender proof: see [`KeyShare::partial`].
    pub fn release(
        &self,
        quorum: &Quorum,
        contribution: &ContributionHeader,
    ) -> Result<Release, ReleaseError> {
        self.release_with(&self.factor(quorum)?, contribution, &EarlierKeys::default())
    }

    /// As [`KeyShare::release`], with the factor of the quorum, which is the same for all files, and what the member has of
    /// earlier ML-KEM keys.
    fn release_with(
        &self,
        factor: &SecretScalar,
        contribution: &ContributionHeader,
        earlier: &EarlierKeys,
    ) -> Result<Release, ReleaseError> {
        self.check_release(contribution)?;
        let stanza = contribution.stanza();
        let ml_kem = match stanza.ml_kem_ciphertext() {
            None => None,
            Some(_) if *contribution.sealed_to() == self.recipient => {
                self.ml_kem.secret_for(stanza)
            }
            Some(_) => {
                let secret = earlier.secret_for(contribution);
                Some(secret.ok_or(ReleaseError::Renewed)?)
            }
        };
        Ok(Release {
            partial: self.partial_with(factor, stanza.point()),
            ml_kem,
        })
    }

    /// Whether ss_pq of this contribution can be given, or it needs none.
    fn has_ml_kem(&self, contribution: &ContributionHeader, earlier: &EarlierKeys) -> bool {
        contribution.stanza().ml_kem_ciphertext().is_none()
            || *contribution.sealed_to() == self.recipient
            || earlier.opens(contribution)
    }

    /// Whether a partial may be given for this header at all.
    fn check_release(&self, contribution: &ContributionHeader) -> Result<(), ReleaseError> {
        if self.certificate.threshold() > 1 && contribution.sender() == Sender::Unproven {
            return Err(ReleaseError::ProofMissing);
        }
        let stanza = contribution.stanza();
        if !stanza.is_for(self.certificate.recipient().point()) {
            return Err(ReleaseError::AnotherKey);
        }
        Ok(())
    }

    /// λᵢ(S)·xᵢ·E, in constant time. **Linear in E**: partials for E + rG, 2E or −E give away the one for E, so this is
    /// for points whose sender is known to know their logarithm, and its result is for nobody but the grantee.
    pub fn partial(&self, quorum: &Quorum, point: &Point) -> Result<Partial, ReleaseError> {
        Ok(self.partial_with(&self.factor(quorum)?, point))
    }

    fn partial_with(&self, factor: &SecretScalar, point: &Point) -> Partial {
        Partial {
            member: self.member,
            point: factor.times(point),
        }
    }

    /// λᵢ(S)·xᵢ.
    fn factor(&self, quorum: &Quorum) -> Result<SecretScalar, ReleaseError> {
        if !quorum.members().contains(&self.member) {
            return Err(ReleaseError::NotInQuorum);
        }
        let factor = quorum.coefficient(self.member) * self.scalar.scalar();
        Ok(SecretScalar::new(factor).expect("neither the coefficient nor the share is zero"))
    }
}

/// One member's partial decryption for one point and one quorum. It opens files: it travels sealed to the grantee, has no
/// Debug and is wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Partial {
    member: Member,
    point: Point,
}

impl Drop for Partial {
    fn drop(&mut self) {
        self.point.zeroize();
    }
}

impl Partial {
    /// As received from a member.
    pub fn new(member: Member, point: Point) -> Self {
        Self { member, point }
    }

    /// Whose it is.
    pub fn member(&self) -> Member {
        self.member
    }

    /// λᵢ(S)·xᵢ·E.
    pub fn point(&self) -> &Point {
        &self.point
    }
}

/// What one member gives for one contribution: its partial and, where the stanza is hybrid, ss_pq.
pub struct Release {
    /// The partial decryption.
    pub partial: Partial,
    /// The ML-KEM secret of this file; the same from every honest member.
    pub ml_kem: Option<MlKemSecret>,
}

/// The Diffie–Hellman value of the whole key, from one partial of every member of the quorum.
pub fn combine(quorum: &Quorum, partials: &[Partial]) -> Result<DhValue, CombineError> {
    let mut members: Vec<Member> = partials.iter().map(Partial::member).collect();
    members.sort_unstable();
    if members != quorum.members() {
        return Err(CombineError::NotTheQuorum);
    }
    let sum: ProjectivePoint = partials
        .iter()
        .map(|partial| partial.point.projective())
        .sum();
    let shared = Point::from_projective(sum).ok_or(CombineError::NotADhValue)?;
    Ok(DhValue::from_point(shared))
}

/// The file key of `header`, whose stanza for the committee is `stanza`. Where this fails although the file is good, a
/// partial was wrong: [`equality`] tells whose.
pub fn open_header(
    recipient: &TaggedRecipient,
    header: &Header,
    stanza: &TaggedStanza,
    dh: &DhValue,
    ml_kem: Option<&MlKemSecret>,
) -> Result<FileKey, OpenHeaderError> {
    let file_key = stanza.open(recipient.point(), dh, ml_kem)?;
    header.verify_mac(&file_key)?;
    Ok(file_key)
}

/// Why a member gives nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    /// The member is not part of the named quorum.
    #[error("this member is not in the quorum")]
    NotInQuorum,
    /// The header carries no sender proof, and the committee has more than one member.
    #[error("the contribution carries no sender proof")]
    ProofMissing,
    /// The stanza is for another key.
    #[error("the contribution is sealed to another key")]
    AnotherKey,
    /// It is sealed to an ML-KEM key that was renewed since, and was not wrapped anew.
    #[error(
        "the contribution is sealed to an ML-KEM key that the committee has erased: it was revoked, or its terms had ended, \
         before the key was renewed"
    )]
    Renewed,
}

/// Why partials give no Diffie–Hellman value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CombineError {
    /// A partial is missing, twice there, or from outside the quorum.
    #[error("the partials are not one of each member of the quorum")]
    NotTheQuorum,
    /// The partials cancel out; a member has cheated.
    #[error("the partials add up to the neutral element")]
    NotADhValue,
}

/// Why a header stayed closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenHeaderError {
    /// The stanza does not open.
    #[error(transparent)]
    Stanza(#[from] StanzaError),
    /// The stanza opens and the header was altered.
    #[error(transparent)]
    Mac(#[from] MacError),
}
