//! Proof that a member's partials are right: all were made with the one factor whose public image the certificate gives.
//! One proof covers a batch (RFC 9497 §2.2, with our own context string and hash).
//!
//! Asked for only when a stanza fails to open: it tells a bad member from a bad file.

use p256::elliptic_curve::PrimeField;
use p256::{ProjectivePoint, Scalar};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::{KeyShare, Partial, Quorum, ReleaseError, ShareCertificate};
use crate::limits::MAX_PROOF_BATCH;
use crate::seal::curve::{Point, SecretScalar, public_scalar, reduce};
use crate::seal::symmetric::{sha256, sha384};

const DOMAIN: &[u8] = b"collective/v1/partial-proof";

/// What the partials were made for. Not secret; both sides must name the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProofContext {
    /// Address of the collective.
    pub collective: [u8; 20],
    /// Digest of the grant under which the partials were asked for.
    pub grant: [u8; 32],
    /// Digest of the key that the partials were sealed to.
    pub grantee: [u8; 32],
}

/// A proof over a batch of partials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EqualityProof {
    c: Scalar,
    s: Scalar,
}

impl EqualityProof {
    /// c ‖ s, 32 big-endian bytes each.
    pub fn to_bytes(&self) -> [u8; 64] {
        let mut out = [0; 64];
        out[..32].copy_from_slice(&self.c.to_repr());
        out[32..].copy_from_slice(&self.s.to_repr());
        out
    }

    /// `None` where a number is not below the group order.
    pub fn from_bytes(bytes: &[u8; 64]) -> Option<Self> {
        let (c, s) = bytes.split_first_chunk()?;
        Some(Self {
            c: public_scalar(c)?,
            s: public_scalar(s.try_into().ok()?)?,
        })
    }
}

impl KeyShare {
    /// Proves that each of `partials` is this member's for the point of the same place.
    pub fn prove_partials<R: CryptoRng + ?Sized>(
        &self,
        quorum: &Quorum,
        context: &ProofContext,
        points: &[Point],
        partials: &[Partial],
        rng: &mut R,
    ) -> Result<EqualityProof, ProveError> {
        let factor = self.factor(quorum)?;
        let statement = Statement::new(&self.certificate, quorum, context, &factor.public());
        let (m, z) = statement
            .composites(points, partials)
            .ok_or(ProveError::Batch)?;
        let blind = SecretScalar::random(rng);
        let on_g = blind.public();
        let on_m = Point::from_projective(m * blind.scalar()).ok_or(ProveError::Batch)?;
        let c = statement
            .challenge(m, z, &on_g, &on_m)
            .ok_or(ProveError::Batch)?;
        let s = Zeroizing::new(*blind.scalar() - c * factor.scalar());
        Ok(EqualityProof { c, s: *s })
    }
}

/// Checks a member's proof; `partials` are what it gave for `points`. Reads only public values.
pub fn verify_partials(
    certificate: &ShareCertificate,
    quorum: &Quorum,
    context: &ProofContext,
    points: &[Point],
    partials: &[Partial],
    proof: &EqualityProof,
) -> Result<(), VerifyError> {
    let member = partials.first().ok_or(VerifyError::Batch)?.member();
    let share = certificate
        .public_share(member)
        .ok_or(VerifyError::NotInQuorum)?;
    if !quorum.members().contains(&member) {
        return Err(VerifyError::NotInQuorum);
    }
    let image = Point::from_projective(share.projective() * quorum.coefficient(member))
        .expect("neither the coefficient nor the share is zero");
    let statement = Statement::new(certificate, quorum, context, &image);
    let (m, z) = statement
        .composites(points, partials)
        .ok_or(VerifyError::Batch)?;
    let commitment = |base: ProjectivePoint, image: ProjectivePoint| {
        Point::from_projective(base * proof.s + image * proof.c).ok_or(VerifyError::Refused)
    };
    let on_g = commitment(ProjectivePoint::GENERATOR, image.projective())?;
    let on_m = commitment(m, z)?;
    match statement.challenge(m, z, &on_g, &on_m) {
        Some(c) if c == proof.c => Ok(()),
        _ => Err(VerifyError::Refused),
    }
}

/// Why no proof could be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProveError {
    /// Not the member's to prove.
    #[error(transparent)]
    Release(#[from] ReleaseError),
    /// Empty, longer than [`MAX_PROOF_BATCH`], not one partial of one member for each point.
    #[error("not a batch of partials of one member")]
    Batch,
}

/// Why a proof was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The partials are not those of a member of the quorum.
    #[error("the partials are not from a member of the quorum")]
    NotInQuorum,
    /// Empty, longer than [`MAX_PROOF_BATCH`], not one partial of one member for each point.
    #[error("not a batch of partials of one member")]
    Batch,
    /// The member gave at least one wrong partial, or the proof is for something else.
    #[error("the member's partials are wrong")]
    Refused,
}

/// Everything that a proof is bound to but the batch: a seed for all its hashes.
struct Statement {
    seed: [u8; 32],
}

impl Statement {
    fn new(
        certificate: &ShareCertificate,
        quorum: &Quorum,
        context: &ProofContext,
        image: &Point,
    ) -> Self {
        let members: Vec<u8> = quorum
            .members()
            .iter()
            .flat_map(|member| member.number().to_be_bytes())
            .collect();
        let size = u16::try_from(quorum.members().len()).expect("at most MAX_MEMBERS");
        let seed = sha256(&[
            DOMAIN,
            b"/statement",
            &context.collective,
            &certificate.epoch().to_be_bytes(),
            certificate.recipient().point().uncompressed(),
            &context.grant,
            &context.grantee,
            &size.to_be_bytes(),
            &members,
            image.uncompressed(),
        ]);
        Self { seed }
    }

    /// Σ dᵢ·Eᵢ and Σ dᵢ·Dᵢ with 128-bit coefficients that hash the whole batch.
    fn composites(
        &self,
        points: &[Point],
        partials: &[Partial],
    ) -> Option<(ProjectivePoint, ProjectivePoint)> {
        let member = partials.first()?.member();
        let fits = points.len() == partials.len()
            && points.len() <= MAX_PROOF_BATCH
            && partials.iter().all(|partial| partial.member() == member);
        if !fits {
            return None;
        }
        let pairs = || points.iter().zip(partials.iter().map(Partial::point));
        let batch: Vec<u8> = pairs()
            .flat_map(|(point, image)| [*point.uncompressed(), *image.uncompressed()])
            .flatten()
            .collect();
        let batch = sha256(&[DOMAIN, b"/batch", &self.seed, &batch]);
        let mut sums = (ProjectivePoint::IDENTITY, ProjectivePoint::IDENTITY);
        for (index, (point, image)) in pairs().enumerate() {
            let index = u32::try_from(index).expect("at most MAX_PROOF_BATCH");
            let d = sha256(&[DOMAIN, b"/coefficient", &batch, &index.to_be_bytes()]);
            let d = Scalar::from(u128::from_be_bytes(
                d[..16].try_into().expect("16 of 32 bytes"),
            ));
            sums.0 += point.projective() * d;
            sums.1 += image.projective() * d;
        }
        Some(sums)
    }

    /// `None` where a composite is the neutral element, which honest batches meet once in 2¹²⁸.
    fn challenge(
        &self,
        m: ProjectivePoint,
        z: ProjectivePoint,
        on_g: &Point,
        on_m: &Point,
    ) -> Option<Scalar> {
        let (m, z) = (Point::from_projective(m)?, Point::from_projective(z)?);
        Some(reduce(&sha384(&[
            DOMAIN,
            b"/challenge",
            &self.seed,
            m.uncompressed(),
            z.uncompressed(),
            on_g.uncompressed(),
            on_m.uncompressed(),
        ])))
    }
}
