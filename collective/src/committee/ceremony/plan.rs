//! What a ceremony is about: everything that all its participants must agree on before the first message. Its hash is the
//! ceremony's name and stands in every message, so an answer to one plan is worth nothing under another.

use std::collections::BTreeSet;

use alloy_primitives::{Address, B256};

use super::CeremonyId;
use crate::committee::{Member, Quorum, ShareCertificate};
use crate::id::{BlobId, NodeId, sha256};
use crate::limits::MAX_MEMBERS;
use crate::receipt::CommitteeStatement;
use crate::seal::symmetric;
use crate::seal::tagged::TaggedRecipient;

use bytes::{decode, encode};

mod bytes;

/// Longest plan: 64 members with a hybrid recipient string of 2 KB each, and an old certificate of 64 shares.
pub const MAX_PLAN_BYTES: usize = 256 * 1024;

/// Least members that open together after a ceremony. With one, a share is the key and every dealer would hand over
/// its own: that is a trusted node, which needs no ceremony ([`crate::committee::KeyShare::sole`]).
pub const MIN_THRESHOLD: u16 = 2;

/// A plan before it is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// NodeRegistry's address.
    pub node_registry: Address,
    /// Whose key it is.
    pub collective: Address,
    /// The epoch that the new shares are for.
    pub epoch: u64,
    /// Tells a new start from the aborted one with the same members: a ceremony that has seen a complaint stays dead.
    pub attempt: u32,
    /// t of the new committee.
    pub threshold: u16,
    /// The new committee, in the order of the members' numbers 1 to n.
    pub members: Vec<Party>,
    /// A new key, or a new sharing of an old one.
    pub kind: Kind,
}

/// A node that receives a share, with the keys that NodeRegistry holds for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// The node.
    pub node: NodeId,
    /// Account that signs its messages.
    pub signer: Address,
    /// Key that its parts are sealed to.
    pub recipient: TaggedRecipient,
}

/// Which ceremony.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A key that nobody ever knew; all members deal.
    Generate {
        /// Whether the recipient is `age1tagpq1…`, which serves `age1tag1…` with the same share.
        post_quantum: bool,
    },
    /// The old key in new shares, dealt by a quorum of the old committee.
    Reshare {
        /// The old committee.
        from: Box<ShareCertificate>,
        /// Exactly t of its members, by ascending number.
        dealers: Vec<Dealer>,
        /// Whether a hybrid key gets a new ML-KEM half; the P-256 half stays always. The recipient string changes then.
        renew: bool,
    },
}

/// A member of the old committee that deals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dealer {
    /// Its number in the old committee.
    pub number: Member,
    /// The node.
    pub node: NodeId,
    /// Account that signs its messages.
    pub signer: Address,
}

/// A checked plan. Whether nodes, keys and the old certificate are those of the chain is for each participant to check
/// before it takes part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    proposal: Proposal,
    dealers: Vec<Dealer>,
    quorum: Option<Quorum>,
    id: CeremonyId,
}

impl Plan {
    /// # Errors
    /// [`PlanError`]; whoever proposed it is at fault.
    pub fn new(proposal: Proposal) -> Result<Self, PlanError> {
        let size = u16::try_from(proposal.members.len()).unwrap_or(u16::MAX);
        if size > MAX_MEMBERS {
            return Err(PlanError::Size);
        }
        if !(MIN_THRESHOLD..=size).contains(&proposal.threshold) {
            return Err(PlanError::Threshold);
        }
        let (dealers, quorum) = match &proposal.kind {
            Kind::Generate { .. } => (everybody(&proposal.members), None),
            Kind::Reshare {
                from,
                dealers,
                renew,
            } => {
                let numbers: Vec<Member> = dealers.iter().map(|dealer| dealer.number).collect();
                let quorum = Quorum::new(from, &numbers).map_err(|_| PlanError::Quorum)?;
                if quorum.members() != numbers {
                    return Err(PlanError::Quorum);
                }
                if *renew && !from.recipient().is_post_quantum() {
                    return Err(PlanError::NothingToRenew);
                }
                (dealers.clone(), Some(quorum))
            }
        };
        let least = match &proposal.kind {
            Kind::Generate { .. } => 1,
            Kind::Reshare { from, .. } => from.epoch().saturating_add(1),
        };
        if proposal.epoch < least {
            return Err(PlanError::Epoch { least });
        }
        let members: Vec<Dealer> = everybody(&proposal.members);
        if !distinct(&dealers) || !distinct(&members) || !consistent(&dealers, &members) {
            return Err(PlanError::Repeated);
        }
        let bytes = encode(&proposal);
        let digest = symmetric::sha256(&[b"collective/v1/ceremony/plan", &bytes]);
        let plan = Self {
            id: CeremonyId(B256::from(digest)),
            proposal,
            dealers,
            quorum,
        };
        let classical = |party: &&Party| !party.recipient.is_post_quantum();
        match plan.proposal.members.iter().find(classical) {
            Some(party) if plan.is_post_quantum() => Err(PlanError::Classical(party.node)),
            _ => Ok(plan),
        }
    }

    /// Reads [`Plan::to_bytes`].
    ///
    /// # Errors
    /// [`PlanError::Malformed`], or what [`Plan::new`] says.
    pub fn parse(bytes: &[u8]) -> Result<Self, PlanError> {
        if bytes.len() > MAX_PLAN_BYTES {
            return Err(PlanError::Malformed);
        }
        Self::new(decode(bytes).ok_or(PlanError::Malformed)?)
    }

    /// The plan as it travels (SPEC "Ceremony").
    pub fn to_bytes(&self) -> Vec<u8> {
        encode(&self.proposal)
    }

    /// The ceremony's name: a hash of the plan.
    pub fn id(&self) -> CeremonyId {
        self.id
    }

    /// What was proposed.
    pub fn proposal(&self) -> &Proposal {
        &self.proposal
    }

    /// Who deals, by ascending number: of the old committee when resharing, else of the new one.
    pub fn dealers(&self) -> &[Dealer] {
        &self.dealers
    }

    /// The new committee in the order of its numbers.
    pub fn members(&self) -> impl ExactSizeIterator<Item = (Member, &Party)> {
        self.proposal.members.iter().enumerate().map(|(i, party)| {
            let number = u16::try_from(i + 1).ok().and_then(Member::new);
            (number.expect("at most MAX_MEMBERS"), party)
        })
    }

    /// The node's number in the new committee.
    pub fn member(&self, node: NodeId) -> Option<Member> {
        self.members()
            .find(|(_, party)| party.node == node)
            .map(|(number, _)| number)
    }

    /// The node's number among the dealers.
    pub fn dealer(&self, node: NodeId) -> Option<Member> {
        let found = self.dealers.iter().find(|dealer| dealer.node == node);
        found.map(|dealer| dealer.number)
    }

    /// Whether the key has an ML-KEM half.
    pub fn is_post_quantum(&self) -> bool {
        match &self.proposal.kind {
            Kind::Generate { post_quantum } => *post_quantum,
            Kind::Reshare { from, .. } => from.recipient().is_post_quantum(),
        }
    }

    /// Whether an ML-KEM key is made, from contributions of all dealers: with a new hybrid key, or in place of an old
    /// ML-KEM half.
    pub fn makes_ml_kem_key(&self) -> bool {
        match &self.proposal.kind {
            Kind::Generate { post_quantum } => *post_quantum,
            Kind::Reshare { renew, .. } => *renew,
        }
    }

    /// Whether the dealers hand the old ML-KEM seed on: as the one in use, or, beside a new one, for what is sealed to it
    /// already.
    pub(super) fn deals_old_seed(&self) -> bool {
        self.resharing().is_some() && self.is_post_quantum()
    }

    /// What every member signs for NodeRegistry. A threshold above one always asks for sender proofs
    /// ([`crate::committee::KeyShare::release`]).
    pub fn statement(&self, certificate: &ShareCertificate) -> CommitteeStatement {
        CommitteeStatement {
            collective: self.proposal.collective,
            epoch: self.proposal.epoch,
            threshold: self.proposal.threshold,
            sender_proof: true,
            recipient: BlobId(sha256(certificate.recipient().to_string().as_bytes())),
            certificate: certificate.digest(),
            members: self
                .proposal
                .members
                .iter()
                .map(|party| party.node)
                .collect(),
        }
    }

    /// What a member signs so that NodeRegistry takes this certificate.
    pub fn statement_hash(&self, certificate: &ShareCertificate) -> B256 {
        self.statement(certificate)
            .signing_hash(self.proposal.chain_id, self.proposal.node_registry)
    }

    /// The account that signs for a node, whichever part it has.
    pub(super) fn signer(&self, node: NodeId) -> Option<Address> {
        let members = self.proposal.members.iter();
        let members = members.map(|party| (party.node, party.signer));
        let dealers = self
            .dealers
            .iter()
            .map(|dealer| (dealer.node, dealer.signer));
        members
            .chain(dealers)
            .find(|&(known, _)| known == node)
            .map(|(_, signer)| signer)
    }

    pub(super) fn party(&self, member: Member) -> Option<&Party> {
        self.proposal.members.get(usize::from(member.number()) - 1)
    }

    /// The old committee; `None` where a key is made.
    pub fn old_certificate(&self) -> Option<&ShareCertificate> {
        self.resharing().map(|(from, _)| from)
    }

    /// Old committee and dealing quorum; `None` where a key is made.
    pub(super) fn resharing(&self) -> Option<(&ShareCertificate, &Quorum)> {
        match (&self.proposal.kind, &self.quorum) {
            (Kind::Reshare { from, .. }, Some(quorum)) => Some((from, quorum)),
            _ => None,
        }
    }
}

/// Why a plan was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Too long, or not in the one encoding.
    #[error("not a plan of a ceremony")]
    Malformed,
    /// More than [`MAX_MEMBERS`].
    #[error("a committee has at most {MAX_MEMBERS} members")]
    Size,
    /// Below [`MIN_THRESHOLD`] or above n.
    #[error("the threshold is not between {MIN_THRESHOLD} and the number of members")]
    Threshold,
    /// The dealers are not exactly t different members of the old committee in ascending order.
    #[error("the dealers are not a quorum of the old committee in ascending order")]
    Quorum,
    /// The epoch does not grow.
    #[error("the epoch must be {least} or later")]
    Epoch {
        /// The smallest that would do.
        least: u64,
    },
    /// A classical key has no ML-KEM half.
    #[error("the key is age1tag1…: it has no ML-KEM half that could be renewed")]
    NothingToRenew,
    /// A node or a signer is there twice, or a node with two signers.
    #[error("a node or a signer is named twice, or a node has two signers")]
    Repeated,
    /// The member would get the ML-KEM seed under a classical key, which undoes what ML-KEM is for.
    #[error("node {0} has a classical recipient; register an age1tagpq1… one")]
    Classical(NodeId),
}

fn everybody(members: &[Party]) -> Vec<Dealer> {
    let numbered = members.iter().zip(1..);
    numbered
        .filter_map(|(party, number)| {
            Some(Dealer {
                number: Member::new(number)?,
                node: party.node,
                signer: party.signer,
            })
        })
        .collect()
}

/// No node and no signer twice.
fn distinct(parties: &[Dealer]) -> bool {
    let nodes: BTreeSet<_> = parties.iter().map(|party| party.node).collect();
    let signers: BTreeSet<_> = parties.iter().map(|party| party.signer).collect();
    nodes.len() == parties.len() && signers.len() == parties.len()
}

/// Who is in both lists has one signer, and a signer has one node.
fn consistent(dealers: &[Dealer], members: &[Dealer]) -> bool {
    dealers.iter().all(|dealer| {
        members
            .iter()
            .all(|member| (member.node == dealer.node) == (member.signer == dealer.signer))
    })
}
