//! Round 3: every member opens what it was dealt, checks it, and signs the whole transcript with the certificate that
//! follows from it. A key exists only when all have signed the same.

use std::sync::Arc;

use alloy_primitives::{B256, Signature};
use zeroize::Zeroizing;

use super::ask::Refusal;
use super::blame::Complaint;
use super::commit::{Round1, contribution_hash};
use super::deal::{Dealing, Part, Round2};
use super::generate;
use super::message::{Body, Signed};
use super::plan::Plan;
use super::wire::{Reader, put_short};
use crate::committee::{CertificateError, KeyShare, Member, ParseShareError, ShareCertificate};
use crate::id::NodeId;
use crate::receipt::check_signed;
use crate::seal::curve::SecretScalar;
use crate::seal::symmetric::sha512;
use crate::seal::tagged::{ML_KEM_SEED_LEN, MlKemKey, TaggedRecipient};
use crate::seal::{self, Identity};

/// A member's last message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certify {
    /// Everything that was said in rounds 1 and 2.
    pub transcript: B256,
    /// The committee that follows from it.
    pub certificate: ShareCertificate,
    /// Under [`Plan::statement_hash`]: what NodeRegistry asks of every member.
    pub statement: Signature,
}

impl Certify {
    /// # Errors
    /// [`CertifyFault`].
    pub fn check(&self, round2: &Round2, node: NodeId) -> Result<(), CertifyFault> {
        if self.transcript != round2.transcript() {
            return Err(CertifyFault::AnotherTranscript);
        }
        let plan = round2.round1().plan();
        let recipient = self.certificate.recipient();
        let same_key = match plan.resharing() {
            Some((from, _)) if plan.makes_ml_kem_key() => {
                from.recipient().point() == recipient.point() && recipient.is_post_quantum()
            }
            Some((from, _)) => from.recipient() == recipient,
            None => {
                recipient.point() == round2.round1().key()
                    && recipient.is_post_quantum() == plan.is_post_quantum()
            }
        };
        if !same_key || !self.follows_from(round2.round1()) {
            return Err(CertifyFault::Certificate);
        }
        let hash = plan.statement_hash(&self.certificate);
        let signer = plan.signer(node).ok_or(CertifyFault::Statement)?;
        check_signed(&self.statement, hash, signer).map_err(|_| CertifyFault::Statement)
    }

    /// Whether the certificate, which fits in itself, has the shares of this round 1.
    fn follows_from(&self, round1: &Round1) -> bool {
        let proposal = round1.plan().proposal();
        let members = round1.plan().members();
        let mut shares = members.zip(round1.public_shares());
        (self.certificate.epoch(), self.certificate.threshold())
            == (proposal.epoch, proposal.threshold)
            && usize::from(self.certificate.size()) == proposal.members.len()
            && shares
                .all(|((member, _), share)| self.certificate.public_share(member) == Some(share))
    }
}

impl Body for Certify {
    const CODE: u8 = 3;

    fn encode(&self) -> Vec<u8> {
        let mut out = self.transcript.to_vec();
        out.extend_from_slice(&self.statement.as_bytes());
        put_short(&mut out, &self.certificate.to_bytes());
        out
    }

    fn parse(plan: &Plan, node: NodeId, bytes: &[u8]) -> Option<Self> {
        plan.member(node)?;
        let mut reader = Reader::new(bytes);
        let transcript = reader.word()?;
        let statement = reader.signature()?;
        let certificate = reader.certificate()?;
        reader.end(Self {
            transcript,
            certificate,
            statement,
        })
    }
}

/// What is wrong with a round 3 message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertifyFault {
    /// It is about other messages than ours.
    #[error("it certifies another transcript")]
    AnotherTranscript,
    /// The certificate does not follow from the transcript.
    #[error("its certificate does not follow from the transcript")]
    Certificate,
    /// NodeRegistry would refuse the signature in it.
    #[error("its signature for NodeRegistry is not the node's")]
    Statement,
}

/// A share that the member has and nobody may use yet. Has no Debug.
pub struct PendingShare {
    plan: Arc<Plan>,
    share: KeyShare,
    retired: Option<MlKemKey>,
}

/// What a member has when all have certified. Has no Debug.
pub struct Confirmed {
    /// Its share.
    pub share: KeyShare,
    /// After a renewal the ML-KEM key that the old recipient has: for what is sealed to that, until it is wrapped anew
    /// ([`crate::committee::rewrap`]).
    pub retired: Option<MlKemKey>,
}

impl PendingShare {
    /// The committee it would belong to.
    pub fn certificate(&self) -> &ShareCertificate {
        self.share.certificate()
    }

    /// What its member keeps of it until the collective accepts a committee: NodeRegistry names a certificate with every
    /// member's signature alone. Renewed (1) ‖ [old ML-KEM seed (64)] ‖ share. Secret, as [`KeyShare::to_bytes`] is.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let share = self.share.to_bytes();
        // All at once, so that no smaller copy is left behind when the buffer grows.
        let mut bytes = Zeroizing::new(Vec::with_capacity(1 + ML_KEM_SEED_LEN + share.len()));
        bytes.push(u8::from(self.retired.is_some()));
        if let Some(old) = &self.retired {
            bytes.extend_from_slice(old.seed().as_slice());
        }
        bytes.extend_from_slice(&share);
        bytes
    }

    /// The share, once every member has signed the statement: `statements` are their signatures in the order of the
    /// members, as the convener collected them or NodeRegistry took them.
    ///
    /// # Errors
    /// [`NotCertified`]; the pending share is lost then and made again from seed and messages.
    pub fn confirm(self, statements: &[Signature]) -> Result<Confirmed, NotCertified> {
        let hash = self.plan.statement_hash(self.certificate());
        let parties = &self.plan.proposal().members;
        if statements.len() != parties.len() {
            return Err(NotCertified::Count {
                expected: parties.len(),
            });
        }
        for (party, signature) in parties.iter().zip(statements) {
            check_signed(signature, hash, party.signer)
                .map_err(|_| NotCertified::Signature(party.node))?;
        }
        Ok(Confirmed {
            share: self.share,
            retired: self.retired,
        })
    }
}

impl Confirmed {
    /// Reads [`PendingShare::to_bytes`]. That all have certified is for the caller to know.
    ///
    /// # Errors
    /// [`ParseShareError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseShareError> {
        let (&renewed, rest) = bytes.split_first().ok_or(ParseShareError::Length)?;
        let (retired, share) = match renewed {
            0 => (None, rest),
            1 => {
                let (seed, rest) = rest.split_first_chunk().ok_or(ParseShareError::Length)?;
                (Some(MlKemKey::from_seed(seed)), rest)
            }
            other => return Err(ParseShareError::Version(other)),
        };
        let share = KeyShare::parse(share)?;
        Ok(Self { share, retired })
    }

    /// Digests of the recipients whose ML-KEM keys are in here: the new one, and the one before a renewal.
    pub fn recipients(&self) -> Vec<[u8; 32]> {
        let new = self.share.certificate().recipient();
        let old = self.retired.as_ref();
        let old = old.map(|old| old.recipient(new.point().clone()).digest());
        [new.digest()].into_iter().chain(old).collect()
    }
}

/// Why a pending share stays closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotCertified {
    /// One signature of each member is needed.
    #[error("{expected} signatures are needed, one of each member")]
    Count {
        /// n.
        expected: usize,
    },
    /// This member has not signed this committee.
    #[error("node {0} has not certified this committee")]
    Signature(NodeId),
}

/// What a member has to say about what it was dealt.
pub(super) enum Received {
    /// All of it fits.
    Share(Box<PendingShare>),
    /// This part does not.
    Complaint(Complaint),
}

/// Opens and checks the member's parts. `dealing` is the own one, where a key is made.
pub(super) fn receive(
    round2: &Round2,
    member: Member,
    identity: &Identity,
    dealing: Option<&Dealing>,
) -> Result<Received, Refusal> {
    let round1 = round2.round1();
    let plan = round1.plan();
    let mut shares = Vec::new();
    let mut contributions = Vec::new();
    let mut old_seed = None;
    for (dealer, deal) in plan.dealers().iter().zip(round2.deals()) {
        let open = |part| open_part(identity, deal.body().part(member, part)?);
        let complain = |part| {
            Ok(Received::Complaint(Complaint {
                deal: deal.digest(),
                dealer: dealer.number,
                part,
            }))
        };
        let share = open(Part::Share);
        match share.and_then(|share| fitting_share(round1, dealer.number, member, &share)) {
            Some(share) => shares.push(share),
            None => return complain(Part::Share),
        }
        if plan.makes_ml_kem_key() {
            let contribution = open(Part::Contribution);
            match contribution.and_then(|it| fitting_contribution(round1, dealer.number, &it)) {
                Some(contribution) => contributions.push(contribution),
                None => return complain(Part::Contribution),
            }
        }
        // It comes from every dealer, and a defence would have to show it: one good copy will do.
        if plan.deals_old_seed() && old_seed.is_none() {
            old_seed = open(Part::OldSeed).and_then(|seed| fitting_old_seed(plan, &seed));
        }
    }
    let old = match (plan.deals_old_seed(), old_seed) {
        (true, None) => return Err(Refusal::NoMlKemSeed),
        (_, old_seed) => old_seed.map(|seed| MlKemKey::from_seed(&seed)),
    };
    let (ml_kem, retired) = match plan.makes_ml_kem_key() {
        true => (MlKemKey::from_seed(&ml_kem_seed(plan, &contributions)), old),
        false => (old.unwrap_or_else(unused_ml_kem), None),
    };
    let recipient = ml_kem.recipient(round1.key().clone());
    let recipient = match plan.is_post_quantum() {
        true => recipient,
        false => recipient.classical(),
    };
    let scalar = match dealing.and_then(|dealing| dealing.frost.as_ref()) {
        Some(frost) => generate::part3(frost, member, round1, &shares)?,
        None => sum(&shares).ok_or(Refusal::Degenerate)?,
    };
    let certificate = certificate(round1, recipient)?;
    Ok(Received::Share(Box::new(PendingShare {
        plan: plan.clone(),
        share: KeyShare::new(certificate, member, scalar, ml_kem)?,
        retired,
    })))
}

/// What follows from round 1 for everybody.
fn certificate(
    round1: &Round1,
    recipient: TaggedRecipient,
) -> Result<ShareCertificate, CertificateError> {
    let proposal = round1.plan().proposal();
    let public_shares = round1.public_shares().to_vec();
    ShareCertificate::new(recipient, proposal.epoch, proposal.threshold, public_shares)
}

/// `None` where the file does not open; what else it may hold stays here, so a dealer that sends a stranger's file
/// learns nothing from the complaint.
fn open_part(identity: &Identity, file: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let opened = seal::open(std::slice::from_ref(identity), file).ok()?;
    Some(Zeroizing::new(opened))
}

/// The share, if it lies on the dealer's polynomial.
pub(super) fn fitting_share(
    round1: &Round1,
    dealer: Member,
    member: Member,
    plaintext: &[u8],
) -> Option<SecretScalar> {
    let share = SecretScalar::from_bytes(plaintext.try_into().ok()?).ok()?;
    let commitment = &round1.commit(dealer)?.body().commitment;
    commitment.admits(member, &share).then_some(share)
}

/// The contribution to a new ML-KEM seed, if it is the one that the dealer committed to.
pub(super) fn fitting_contribution(
    round1: &Round1,
    dealer: Member,
    plaintext: &[u8],
) -> Option<Zeroizing<[u8; ML_KEM_SEED_LEN]>> {
    let contribution = Zeroizing::new(plaintext.try_into().ok()?);
    let hash = contribution_hash(round1.plan().id(), dealer, &contribution);
    let committed = round1.commit(dealer)?.body().contribution;
    (committed == Some(hash)).then_some(contribution)
}

/// The old ML-KEM seed, if it makes the old recipient.
fn fitting_old_seed(plan: &Plan, plaintext: &[u8]) -> Option<Zeroizing<[u8; ML_KEM_SEED_LEN]>> {
    let seed = Zeroizing::new(plaintext.try_into().ok()?);
    let old = plan.resharing()?.0.recipient();
    let made = MlKemKey::from_seed(&seed).recipient(old.point().clone());
    (made == *old).then_some(seed)
}

/// A hash of all contributions: nobody could choose it who had to commit before seeing the others.
fn ml_kem_seed(
    plan: &Plan,
    contributions: &[Zeroizing<[u8; ML_KEM_SEED_LEN]>],
) -> Zeroizing<[u8; ML_KEM_SEED_LEN]> {
    let ceremony = plan.id();
    let mut parts = vec![
        b"collective/v1/ceremony/ml-kem".as_slice(),
        ceremony.0.as_slice(),
    ];
    parts.extend(contributions.iter().map(|seed| seed.as_slice()));
    sha512(&parts)
}

/// Holders of a classical key keep the field; no stanza asks for it.
fn unused_ml_kem() -> MlKemKey {
    MlKemKey::from_seed(&[0; ML_KEM_SEED_LEN])
}

fn sum(shares: &[SecretScalar]) -> Option<SecretScalar> {
    let zero = Zeroizing::new(p256::Scalar::ZERO);
    let sum = shares
        .iter()
        .fold(zero, |sum, share| Zeroizing::new(*sum + share.scalar()));
    SecretScalar::new(*sum)
}

/// The result of a ceremony: everything that NodeRegistry and the collective need to take it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certification {
    /// The new committee.
    pub certificate: ShareCertificate,
    /// Everything that was said.
    pub transcript: B256,
    /// What every member signed for NodeRegistry, in the order of the members.
    pub statements: Vec<Signature>,
}

impl Certification {
    /// `None` unless every member has certified, and all the same certificate. Each has passed [`Certify::check`].
    pub(super) fn new(round2: &Round2, certified: &[Signed<Certify>]) -> Option<Self> {
        let plan = round2.round1().plan();
        let certificate = certified.first()?.body().certificate.clone();
        let same = plan.proposal().members.len() == certified.len()
            && plan.members().zip(certified).all(|((_, party), certify)| {
                party.node == certify.node() && certify.body().certificate == certificate
            });
        same.then(|| Self {
            certificate,
            transcript: round2.transcript(),
            statements: certified
                .iter()
                .map(|certify| certify.body().statement)
                .collect(),
        })
    }
}
