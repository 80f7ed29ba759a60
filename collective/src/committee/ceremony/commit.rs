//! Round 1: every dealer binds itself to a polynomial and, where an ML-KEM key is made, to its part of the seed, before it
//! sees anybody else's.

use std::sync::Arc;

use alloy_primitives::B256;
use p256::{ProjectivePoint, Scalar};
use zeroize::Zeroizing;

use super::feldman::{Commitment, Polynomial};
use super::message::{Body, Signed};
use super::plan::{Kind, Plan};
use super::seed::Seed;
use super::wire::Reader;
use super::{CeremonyId, generate};
use crate::committee::{KeyShare, Member};
use crate::id::NodeId;
use crate::seal::curve::{Point, public_scalar};
use crate::seal::symmetric::sha256;
use crate::seal::tagged::ML_KEM_SEED_LEN;

/// A dealer's first message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Its polynomial, times the generator.
    pub commitment: Commitment,
    /// That it knows the polynomial's value at 0; where a key is made. A key that is shared anew needs none: there the
    /// value is fixed by the old certificate.
    pub proof: Option<Proof>,
    /// Hash of its contribution to the ML-KEM seed; where an ML-KEM key is made.
    pub contribution: Option<B256>,
}

/// FROST's proof of knowledge: R ‖ z of a Schnorr signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    pub(super) r: Point,
    pub(super) z: Scalar,
}

impl Proof {
    /// Compressed R (33), z (32, big-endian).
    pub fn to_bytes(&self) -> [u8; 65] {
        let mut out = [0; 65];
        out[..33].copy_from_slice(&self.r.compressed());
        out[33..].copy_from_slice(&self.z.to_bytes());
        out
    }

    /// `None` where R is no point or z not below the group order.
    pub fn from_bytes(bytes: &[u8; 65]) -> Option<Self> {
        let (r, z) = bytes.split_at(33);
        Some(Self {
            r: Point::from_compressed(r).ok()?,
            z: public_scalar(z.try_into().ok()?)?,
        })
    }
}

impl Commit {
    /// What `dealer` publishes. When resharing, `share` is its share of the old key.
    pub(super) fn new(plan: &Plan, dealer: Member, seed: &Seed, share: Option<&KeyShare>) -> Self {
        let hash = || contribution_hash(plan.id(), dealer, &seed.contribution(plan.id()));
        let contribution = plan.makes_ml_kem_key().then(hash);
        match polynomial(plan, seed, share) {
            Some(polynomial) => Self {
                commitment: polynomial.commitment(),
                proof: None,
                contribution,
            },
            None => {
                let opened = generate::part1(plan, dealer, seed);
                Self {
                    commitment: opened.commitment,
                    proof: Some(opened.proof),
                    contribution,
                }
            }
        }
    }

    /// # Errors
    /// [`CommitFault`]; the signed message proves it to everybody.
    pub fn check(&self, plan: &Plan, dealer: Member) -> Result<(), CommitFault> {
        if let Some((from, quorum)) = plan.resharing() {
            let share = from.public_share(dealer).ok_or(CommitFault::AnotherShare)?;
            let expected = share.projective() * quorum.coefficient(dealer);
            if self.commitment.constant().projective() != expected {
                return Err(CommitFault::AnotherShare);
            }
        }
        match &self.proof {
            Some(proof) if !self.proof_holds(dealer, proof) => Err(CommitFault::ProofOfKnowledge),
            _ => Ok(()),
        }
    }

    /// FROST's DKG, round 1, step 5: z·G = R + c·C₀. The crate's own check wants a secret of round 1, and a convener has
    /// none.
    fn proof_holds(&self, dealer: Member, proof: &Proof) -> bool {
        let constant = self.commitment.constant();
        let c = generate::challenge(dealer, constant, &proof.r);
        ProjectivePoint::GENERATOR * proof.z == proof.r.projective() + constant.projective() * c
    }
}

impl Body for Commit {
    const CODE: u8 = 1;

    fn encode(&self) -> Vec<u8> {
        let points = self.commitment.coefficients().iter();
        let mut out: Vec<u8> = points.flat_map(Point::compressed).collect();
        out.extend(self.proof.iter().flat_map(Proof::to_bytes));
        out.extend(self.contribution.iter().flatten());
        out
    }

    fn parse(plan: &Plan, node: NodeId, bytes: &[u8]) -> Option<Self> {
        plan.dealer(node)?;
        let mut reader = Reader::new(bytes);
        let generate = matches!(plan.proposal().kind, Kind::Generate { .. });
        let points = (0..plan.proposal().threshold).map(|_| reader.point());
        let commit = Self {
            commitment: Commitment::new(points.collect::<Option<_>>()?)?,
            proof: match generate {
                true => Some(Proof::from_bytes(&reader.array()?)?),
                false => None,
            },
            contribution: match plan.makes_ml_kem_key() {
                true => Some(reader.word()?),
                false => None,
            },
        };
        reader.end(commit)
    }
}

/// What is wrong with a round 1 message that is well-formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitFault {
    /// The dealer does not know what it commits to.
    #[error("the proof of knowledge does not hold")]
    ProofOfKnowledge,
    /// The dealer deals something else than its share of the old key.
    #[error("the commitment is not to the dealer's share of the old key")]
    AnotherShare,
}

/// The commits of all dealers, checked: what everybody deals under. Its digest is the echo of the broadcast, for every
/// message after it names the digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round1 {
    plan: Arc<Plan>,
    commits: Vec<Signed<Commit>>,
    digest: B256,
    key: Point,
    public_shares: Vec<Point>,
}

impl Round1 {
    /// `commits` are one of each dealer in their order.
    ///
    /// # Errors
    /// [`Round1Error`].
    pub fn new(plan: Arc<Plan>, commits: Vec<Signed<Commit>>) -> Result<Self, Round1Error> {
        let dealers = plan.dealers();
        let complete = dealers.len() == commits.len()
            && dealers
                .iter()
                .zip(&commits)
                .all(|(d, c)| d.node == c.node());
        if !complete {
            return Err(Round1Error::Incomplete);
        }
        for (dealer, commit) in dealers.iter().zip(&commits) {
            let checked = commit.body().check(&plan, dealer.number);
            checked.map_err(|fault| Round1Error::Commit(dealer.node, fault))?;
        }
        let commitments = || commits.iter().map(|commit| &commit.body().commitment);
        let sum = |points: &mut dyn Iterator<Item = ProjectivePoint>| {
            Point::from_projective(points.sum()).ok_or(Round1Error::Degenerate)
        };
        let key = sum(&mut commitments().map(|c| c.constant().projective()))?;
        let public_shares = plan
            .members()
            .map(|(member, _)| sum(&mut commitments().map(|c| c.at(member))))
            .collect::<Result<_, _>>()?;
        let digests: Vec<u8> = commits.iter().flat_map(|c| c.digest().0).collect();
        let ceremony = plan.id();
        let digest = sha256(&[
            b"collective/v1/ceremony/round1",
            ceremony.0.as_slice(),
            &digests,
        ]);
        Ok(Self {
            plan,
            commits,
            digest: B256::from(digest),
            key,
            public_shares,
        })
    }

    /// The plan it belongs to.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// In the order of the dealers.
    pub fn commits(&self) -> &[Signed<Commit>] {
        &self.commits
    }

    /// Names the set.
    pub fn digest(&self) -> B256 {
        self.digest
    }

    /// The P-256 key that is being shared.
    pub fn key(&self) -> &Point {
        &self.key
    }

    /// Public shares of members 1 to n of the new committee.
    pub fn public_shares(&self) -> &[Point] {
        &self.public_shares
    }

    pub(super) fn commit(&self, dealer: Member) -> Option<&Signed<Commit>> {
        let place = self.plan.dealers().iter();
        let place = place.zip(&self.commits);
        place
            .filter(|(known, _)| known.number == dealer)
            .map(|(_, commit)| commit)
            .next()
    }
}

/// Why commits are no round 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Round1Error {
    /// Not one commit of each dealer in order.
    #[error("not one commit of each dealer")]
    Incomplete,
    /// This dealer cheats.
    #[error("node {0}: {1}")]
    Commit(NodeId, CommitFault),
    /// Key or a share would be the neutral element; honest dealers meet this once in 2²⁵⁶ ceremonies.
    #[error("the dealt polynomials cancel out; start again")]
    Degenerate,
}

/// The dealer's polynomial over λᵢ(S)·xᵢ; `None` where a key is made, there the polynomial is FROST's.
pub(super) fn polynomial(plan: &Plan, seed: &Seed, share: Option<&KeyShare>) -> Option<Polynomial> {
    let (_, quorum) = plan.resharing()?;
    let constant = share?.factor(quorum).ok()?;
    let mut coins = seed.polynomial(plan.id());
    Some(Polynomial::random(
        constant,
        plan.proposal().threshold,
        &mut coins,
    ))
}

/// What a dealer commits to before it shows its contribution.
pub(super) fn contribution_hash(
    ceremony: CeremonyId,
    dealer: Member,
    contribution: &Zeroizing<[u8; ML_KEM_SEED_LEN]>,
) -> B256 {
    B256::from(sha256(&[
        b"collective/v1/ceremony/contribution",
        ceremony.0.as_slice(),
        &dealer.number().to_be_bytes(),
        contribution.as_slice(),
    ]))
}
