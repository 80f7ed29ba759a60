//! What a convener asks of a node: its part of one round, with everything that it needs to give it. An ask is public and
//! unsigned: it can make a node say only what follows from messages that others signed.

use std::sync::Arc;

use alloy_primitives::B256;

use super::blame::Complaint;
use super::commit::{Round1, Round1Error};
use super::deal::{Round2, Round2Error};
use super::message::{MAX_MESSAGE_BYTES, Message, MessageError, Signed};
use super::plan::Plan;
use super::wire::{Reader, VERSION, put_long};
use crate::committee::CertificateError;
use crate::limits::MAX_MEMBERS;

/// Longest ask: both rounds of 64 dealers to 64 members.
pub const MAX_ASK_BYTES: usize = 32 * 1024 * 1024;

/// Most messages in an ask: a commit and a deal of every dealer. Each costs a signature check, so they are counted first.
pub const MAX_ASK_MESSAGES: usize = 2 * MAX_MEMBERS as usize;

/// One question of a ceremony.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Round 1, of a dealer.
    Commit,
    /// Round 2, of a dealer.
    Deal(Round1),
    /// Round 3, of a member of the new committee.
    Certify(Round2),
    /// Of the dealer that is accused.
    Defend(Round1, Signed<Complaint>),
}

impl Ask {
    /// Reads an ask and checks every signature in it.
    ///
    /// # Errors
    /// [`AskError`].
    pub fn parse(plan: &Arc<Plan>, bytes: &[u8]) -> Result<Self, AskError> {
        if bytes.len() > MAX_ASK_BYTES {
            return Err(AskError::Malformed);
        }
        let (code, messages) = read(bytes).ok_or(AskError::Malformed)?;
        let mut commits = Vec::new();
        let mut deals = Vec::new();
        let mut complaints = Vec::new();
        for bytes in messages {
            match Message::parse(plan, bytes)? {
                Message::Commit(commit) => commits.push(commit),
                Message::Deal(deal) => deals.push(deal),
                Message::Complain(complaint) => complaints.push(complaint),
                Message::Certify(_) | Message::Defend(_) => return Err(AskError::Malformed),
            }
        }
        let round1 = |commits| Round1::new(plan.clone(), commits);
        let ask = match (code, deals.is_empty(), complaints.pop()) {
            (1, true, None) if commits.is_empty() => Self::Commit,
            (2, true, None) => Self::Deal(round1(commits)?),
            (3, _, None) => Self::Certify(Round2::new(round1(commits)?, deals)?),
            (4, true, Some(complaint)) => Self::Defend(round1(commits)?, complaint),
            _ => return Err(AskError::Malformed),
        };
        // One encoding: what was read in another order, or twice, is not what is written.
        if ask.to_bytes() == bytes {
            Ok(ask)
        } else {
            Err(AskError::Malformed)
        }
    }

    /// The ask as it travels (SPEC "Ceremony").
    pub fn to_bytes(&self) -> Vec<u8> {
        let commits = |round1: &Round1| -> Vec<Message> {
            round1
                .commits()
                .iter()
                .cloned()
                .map(Message::Commit)
                .collect()
        };
        let (code, messages) = match self {
            Self::Commit => (1, vec![]),
            Self::Deal(round1) => (2, commits(round1)),
            Self::Certify(round2) => {
                let mut messages = commits(round2.round1());
                messages.extend(round2.deals().iter().cloned().map(Message::Deal));
                (3, messages)
            }
            Self::Defend(round1, complaint) => {
                let mut messages = commits(round1);
                messages.push(Message::Complain(complaint.clone()));
                (4, messages)
            }
        };
        let mut out = vec![VERSION, code];
        for message in messages {
            put_long(&mut out, &message.to_bytes());
        }
        out
    }
}

/// Why bytes are no ask.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// Too long, or not in the one encoding.
    #[error("not an ask of this ceremony")]
    Malformed,
    /// A message in it is none.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The commits in it are no round 1.
    #[error(transparent)]
    Round1(#[from] Round1Error),
    /// The deals in it are no round 2.
    #[error(transparent)]
    Round2(#[from] Round2Error),
}

/// Why a node does not answer an ask.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The plan names the node neither as dealer nor as member, or not for this round.
    #[error("this node has no part in this round of the ceremony")]
    NoPart,
    /// The rounds in the ask belong to another plan.
    #[error("the ask belongs to another ceremony")]
    AnotherCeremony,
    /// The plan names another age recipient for the node.
    #[error(
        "the plan seals this node's shares to a key that it does not hold; make a plan from its registered keys"
    )]
    AnotherIdentity,
    /// The dealer's share is missing, or is not one of the old certificate.
    #[error("this node does not hold the share of the old committee that the plan asks it to deal")]
    AnotherShare,
    /// The commit in the ask is the node's and was made from another seed.
    #[error(
        "this node's seed is not the one it began this ceremony with; start again with a new attempt"
    )]
    AnotherSeed,
    /// The node has dealt under another round 1 set; it never deals twice.
    #[error(
        "this node has answered with round 1 set {pinned} before; the convener shows different members different messages"
    )]
    AnotherRound1 {
        /// The first one.
        pinned: B256,
    },
    /// The node has certified or complained about another transcript.
    #[error(
        "this node has answered with transcript {pinned} before; the convener shows different members different messages"
    )]
    AnotherTranscript {
        /// The first one.
        pinned: B256,
    },
    /// The complaint is not about the node's own deal.
    #[error("the complaint is not about a message of this node")]
    NotAccused,
    /// No dealer gave the old ML-KEM seed: all of a quorum cheat.
    #[error("no dealer has given the old ML-KEM seed of the key")]
    NoMlKemSeed,
    /// Shares add up to zero; honest dealers meet this once in 2²⁵⁶ ceremonies.
    #[error("the dealt shares cancel out; start again with a new attempt")]
    Degenerate,
    /// The new shares do not fit each other although each has been checked.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// FROST refuses what has been checked before it.
    #[error("key generation: {0}")]
    Frost(#[from] frost_p256::Error),
    /// The caller signs with another key than the plan names.
    #[error(transparent)]
    Signature(#[from] MessageError),
}

fn read(bytes: &[u8]) -> Option<(u8, Vec<&[u8]>)> {
    let mut reader = Reader::new(bytes);
    if reader.u8()? != VERSION {
        return None;
    }
    let code = reader.u8()?;
    let mut messages = Vec::new();
    while !reader.is_empty() {
        let message = reader.long()?;
        if message.len() > MAX_MESSAGE_BYTES || messages.len() == MAX_ASK_MESSAGES {
            return None;
        }
        messages.push(message);
    }
    Some((code, messages))
}
