//! Key generation by FROST's DKG (`frost-p256`, Pedersen with proofs of knowledge): the three parts it has, in our points
//! and scalars. FROST's own types stay in here: its shares are `Copy`, so each is wrapped at once.

use std::collections::BTreeMap;

use frost_p256::keys::dkg::{self, round1, round2};
use frost_p256::keys::{SigningShare, VerifiableSecretSharingCommitment};
use frost_p256::{Ciphersuite, Error, Identifier, P256Sha256, Signature};
use p256::Scalar;
use zeroize::Zeroizing;

use super::commit::{Commit, Proof, Round1};
use super::feldman::Commitment;
use super::plan::Plan;
use super::seed::Seed;
use crate::committee::Member;
use crate::seal::curve::{Point, SecretScalar};

/// A dealer after part 1.
pub(super) struct Opened {
    secret: round1::SecretPackage,
    pub(super) commitment: Commitment,
    pub(super) proof: Proof,
}

/// Polynomial, commitment and proof of knowledge; the same from the same seed.
pub(super) fn part1(plan: &Plan, dealer: Member, seed: &Seed) -> Opened {
    let size = u16::try_from(plan.proposal().members.len()).expect("at most MAX_MEMBERS");
    let coins = seed.polynomial(plan.id());
    let (secret, package) = dkg::part1(identifier(dealer), size, plan.proposal().threshold, coins)
        .expect("a checked plan has 2 ≤ t ≤ n");
    let points = package.commitment().serialize();
    let points = points.expect("random coefficients are not zero");
    let points = points.iter().map(|point| Point::from_compressed(point));
    let points = points
        .collect::<Result<_, _>>()
        .expect("FROST writes SEC 1");
    let proof = package.proof_of_knowledge().serialize();
    let proof = proof.expect("a random nonce is not zero");
    let proof = proof.as_slice().try_into().ok().and_then(Proof::from_bytes);
    Opened {
        secret,
        commitment: Commitment::new(points).expect("at least two coefficients"),
        proof: proof.expect("R and z in 65 bytes"),
    }
}

/// What a dealer has after part 2.
pub(super) struct Dealt {
    secret: round2::SecretPackage,
    /// For members 1 to n, the own one included.
    pub(super) shares: Vec<SecretScalar>,
}

/// The shares. Checks every other dealer's proof of knowledge again.
pub(super) fn part2(opened: Opened, dealer: Member, round1: &Round1) -> Result<Dealt, Error> {
    let packages = others(dealer, round1)?;
    let (secret, shares) = dkg::part2(opened.secret, &packages)?;
    let share = |member: Member| match shares.get(&identifier(member)) {
        Some(package) => scalar(package.signing_share()),
        None => Ok(SecretScalar::new(secret.secret_share()).expect("zero once in 2^256")),
    };
    let members = round1.plan().members();
    let shares = members
        .map(|(member, _)| share(member))
        .collect::<Result<_, _>>()?;
    Ok(Dealt { secret, shares })
}

/// The member's share of the new key, from one share of each dealer in order. Checks them again.
pub(super) fn part3(
    dealt: &Dealt,
    member: Member,
    round1: &Round1,
    shares: &[SecretScalar],
) -> Result<SecretScalar, Error> {
    let packages = others(member, round1)?;
    let dealers = round1.plan().dealers().iter().zip(shares);
    let received = dealers
        .filter(|(dealer, _)| dealer.number != member)
        .map(|(dealer, share)| {
            let share = SigningShare::deserialize(share.to_bytes().as_slice())?;
            Ok((identifier(dealer.number), round2::Package::new(share)))
        })
        .collect::<Result<BTreeMap<_, _>, Error>>()?;
    let (key, _) = dkg::part3(&dealt.secret, &packages, &received)?;
    scalar(key.signing_share())
}

/// c of the proof of knowledge: H_dkg(number ‖ C₀ ‖ R).
pub(super) fn challenge(dealer: Member, constant: &Point, r: &Point) -> Scalar {
    let number = identifier(dealer).serialize();
    let preimage = [&number, constant.compressed().as_slice(), &r.compressed()].concat();
    P256Sha256::HDKG(&preimage).expect("this suite has a DKG")
}

/// Round 1 packages of all dealers but one.
fn others(dealer: Member, round1: &Round1) -> Result<BTreeMap<Identifier, round1::Package>, Error> {
    let dealers = round1.plan().dealers().iter().zip(round1.commits());
    dealers
        .filter(|(other, _)| other.number != dealer)
        .map(|(other, commit)| Ok((identifier(other.number), package(commit.body())?)))
        .collect()
}

fn package(commit: &Commit) -> Result<round1::Package, Error> {
    let points = commit.commitment.coefficients().iter();
    let commitment = VerifiableSecretSharingCommitment::deserialize(points.map(Point::compressed))?;
    let proof = commit.proof.as_ref().ok_or(Error::IncorrectPackage)?;
    Ok(round1::Package::new(
        commitment,
        Signature::deserialize(&proof.to_bytes())?,
    ))
}

fn identifier(member: Member) -> Identifier {
    Identifier::try_from(member.number()).expect("a member's number is not zero")
}

fn scalar(share: &SigningShare) -> Result<SecretScalar, Error> {
    let bytes = Zeroizing::new(share.serialize());
    let bytes = bytes.as_slice().try_into();
    bytes
        .ok()
        .and_then(|bytes| SecretScalar::from_bytes(bytes).ok())
        .ok_or(Error::InvalidSecretShare { culprit: None })
}
