//! Messages as they travel: a body, and the signature of the node that says it. Nobody who relays them can alter or
//! make one, so each is evidence.

use std::fmt;

use alloy_primitives::{B256, Signature};
use alloy_sol_types::SolStruct;

use super::blame::{Complaint, Defence};
use super::certify::Certify;
use super::commit::Commit;
use super::deal::Deal;
use super::plan::Plan;
use super::wire::{Reader, VERSION, put_long};
use crate::contribution::domain;
use crate::id::{NodeId, sha256};
use crate::receipt::check_signed;

/// Longest message: what 64 members are dealt, two hybrid files of 2 KB each.
pub const MAX_MESSAGE_BYTES: usize = 512 * 1024;

/// What a message says, and whose part it is to say it. Each kind has a place in which a node speaks once.
pub trait Body: Sized {
    /// The kind's number on the wire and in the signature.
    const CODE: u8;

    /// The body's one encoding.
    fn encode(&self) -> Vec<u8>;

    /// `None` where the bytes are not a body of this plan, or `node` has no such part in it.
    fn parse(plan: &Plan, node: NodeId, bytes: &[u8]) -> Option<Self>;
}

/// A body under its node's signature, which has been checked.
#[derive(Clone, PartialEq, Eq)]
pub struct Signed<B> {
    ceremony: B256,
    node: NodeId,
    body: B,
    digest: B256,
    signature: Signature,
}

impl<B: Body> Signed<B> {
    /// Has `sign` put the node's name under the body.
    ///
    /// # Errors
    /// [`MessageError`] where the key is not the one that the plan names.
    pub fn sign(
        plan: &Plan,
        node: NodeId,
        body: B,
        sign: &dyn Fn(B256) -> Signature,
    ) -> Result<Self, MessageError> {
        let digest = signing_hash::<B>(plan, node, &body.encode());
        let signature = sign(digest);
        check_sender(plan, node, digest, &signature)?;
        Ok(Self {
            ceremony: plan.id().0,
            node,
            body,
            digest,
            signature,
        })
    }

    /// Who says it.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// What is said.
    pub fn body(&self) -> &B {
        &self.body
    }

    /// What the node signed: ceremony, kind, node and body in one hash. Two different ones in one place are evidence
    /// against it.
    pub fn digest(&self) -> B256 {
        self.digest
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![VERSION, B::CODE];
        out.extend_from_slice(self.ceremony.as_slice());
        out.extend_from_slice(self.node.0.as_slice());
        put_long(&mut out, &self.body.encode());
        out.extend_from_slice(&self.signature.as_bytes());
        out
    }
}

impl<B> fmt::Debug for Signed<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signed({}, {})", self.node, self.digest)
    }
}

/// Any message of a ceremony.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Round 1, by a dealer.
    Commit(Signed<Commit>),
    /// Round 2, by a dealer.
    Deal(Signed<Deal>),
    /// Round 3, by a member that is content.
    Certify(Signed<Certify>),
    /// Round 3, by a member that is not.
    Complain(Signed<Complaint>),
    /// After round 3, by the accused dealer.
    Defend(Signed<Defence>),
}

/// Where a node speaks once. A member certifies or complains, never both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Round {
    /// Round 1.
    Commit,
    /// Round 2.
    Deal,
    /// Round 3.
    Certify,
    /// The answer to a complaint.
    Defend,
}

impl Message {
    /// Reads a message and checks its signature against the plan.
    ///
    /// # Errors
    /// [`MessageError`]; nobody but the sender's transport can be blamed for it.
    pub fn parse(plan: &Plan, bytes: &[u8]) -> Result<Self, MessageError> {
        if bytes.len() > MAX_MESSAGE_BYTES {
            return Err(MessageError::Malformed);
        }
        let envelope = Envelope::read(bytes).ok_or(MessageError::Malformed)?;
        if envelope.ceremony != plan.id().0 {
            return Err(MessageError::AnotherCeremony);
        }
        match envelope.code {
            Commit::CODE => envelope.open(plan).map(Self::Commit),
            Deal::CODE => envelope.open(plan).map(Self::Deal),
            Certify::CODE => envelope.open(plan).map(Self::Certify),
            Complaint::CODE => envelope.open(plan).map(Self::Complain),
            Defence::CODE => envelope.open(plan).map(Self::Defend),
            _ => Err(MessageError::Malformed),
        }
    }

    /// The message as it travels (SPEC "Ceremony").
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Commit(signed) => signed.to_bytes(),
            Self::Deal(signed) => signed.to_bytes(),
            Self::Certify(signed) => signed.to_bytes(),
            Self::Complain(signed) => signed.to_bytes(),
            Self::Defend(signed) => signed.to_bytes(),
        }
    }

    /// Who says it.
    pub fn node(&self) -> NodeId {
        match self {
            Self::Commit(signed) => signed.node,
            Self::Deal(signed) => signed.node,
            Self::Certify(signed) => signed.node,
            Self::Complain(signed) => signed.node,
            Self::Defend(signed) => signed.node,
        }
    }

    /// What the node signed.
    pub fn digest(&self) -> B256 {
        match self {
            Self::Commit(signed) => signed.digest,
            Self::Deal(signed) => signed.digest,
            Self::Certify(signed) => signed.digest,
            Self::Complain(signed) => signed.digest,
            Self::Defend(signed) => signed.digest,
        }
    }

    /// The place in which it is said.
    pub fn round(&self) -> Round {
        match self {
            Self::Commit(_) => Round::Commit,
            Self::Deal(_) => Round::Deal,
            Self::Certify(_) | Self::Complain(_) => Round::Certify,
            Self::Defend(_) => Round::Defend,
        }
    }

    /// Whether the two prove that their node said different things in one place. Both have been read under one plan.
    pub fn contradicts(&self, other: &Self) -> bool {
        (self.node(), self.round()) == (other.node(), other.round())
            && self.digest() != other.digest()
    }
}

/// Why bytes are no message of a ceremony.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Too long, not in the one encoding, or not what this plan asks of this node.
    #[error("not a message of this ceremony")]
    Malformed,
    /// It names another plan.
    #[error("the message belongs to another ceremony")]
    AnotherCeremony,
    /// The node has no part in the plan.
    #[error("node {0} has no part in this ceremony")]
    Stranger(NodeId),
    /// The signature is not the node's.
    #[error("the message is not signed by the signer that the plan names for node {0}")]
    NotSigned(NodeId),
}

struct Envelope<'a> {
    code: u8,
    ceremony: B256,
    node: NodeId,
    body: &'a [u8],
    signature: Signature,
}

impl<'a> Envelope<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        if reader.u8()? != VERSION {
            return None;
        }
        let envelope = Self {
            code: reader.u8()?,
            ceremony: reader.word()?,
            node: NodeId(reader.word()?),
            body: reader.long()?,
            signature: reader.signature()?,
        };
        reader.end(envelope)
    }

    /// The signature first: what nobody signed is not looked at.
    fn open<B: Body>(self, plan: &Plan) -> Result<Signed<B>, MessageError> {
        let digest = signing_hash::<B>(plan, self.node, self.body);
        check_sender(plan, self.node, digest, &self.signature)?;
        let body = B::parse(plan, self.node, self.body).ok_or(MessageError::Malformed)?;
        Ok(Signed {
            ceremony: self.ceremony,
            node: self.node,
            body,
            digest,
            signature: self.signature,
        })
    }
}

fn check_sender(
    plan: &Plan,
    node: NodeId,
    digest: B256,
    signature: &Signature,
) -> Result<(), MessageError> {
    let signer = plan.signer(node).ok_or(MessageError::Stranger(node))?;
    check_signed(signature, digest, signer).map_err(|_| MessageError::NotSigned(node))
}

fn signing_hash<B: Body>(plan: &Plan, node: NodeId, body: &[u8]) -> B256 {
    let proposal = plan.proposal();
    signed::CeremonyMessage {
        ceremony: plan.id().0,
        kind: B::CODE,
        node: node.0,
        body: sha256(body),
    }
    .eip712_signing_hash(&domain(
        "NodeRegistry",
        proposal.chain_id,
        proposal.node_registry,
    ))
}

mod signed {
    alloy_sol_types::sol! {
        struct CeremonyMessage {
            bytes32 ceremony;
            uint8 kind;
            bytes32 node;
            bytes32 body;
        }
    }
}
