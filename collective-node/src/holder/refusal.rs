//! Why a holder gives nothing, and who has to act.

use alloy::primitives::B256;
use collective::committee::answer::AnswerError;
use collective::committee::question::QuestionError;
use collective::committee::released::NotReleased;
use collective::committee::rewrap::RewrapError;
use collective::id::{Leaf, NodeId};
use collective::permit::{Fault, Refusal};
use collective::seal::contribution::ContributionError;
use thiserror::Error;

use super::log_file::LogFileError;
use crate::blobs::BlobError;
use crate::chain::ChainError;
use crate::chain::facts::JobState;
use crate::decision::FactsError;
use crate::headers::HeadersError;
use crate::keystore::{KeystoreError, TakePartError};
use crate::ledger::LedgerError;
use crate::rewards::RewardError;

/// Why a holder gives nothing.
#[derive(Debug, Error)]
pub enum HolderRefusal {
    /// The chain.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The facts could not be read.
    #[error(transparent)]
    Facts(#[from] FactsError),
    /// They do not permit.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The chain broke a promise.
    #[error("nothing is released: {0}")]
    Halted(String),
    /// The lease or the release is not final yet, or there is none.
    #[error(
        "job {job} is {state:?} in the newest finalized block: wait until its {wanted} is final"
    )]
    NotFinal {
        /// The job.
        job: u64,
        /// Its state there.
        state: JobState,
        /// What has to be final.
        wanted: &'static str,
    },
    /// Somebody else asks than the lease names.
    #[error("job {job} is leased to node {leased}, not to the node that asks")]
    AnotherNode {
        /// The job.
        job: u64,
        /// Who has it.
        leased: NodeId,
    },
    /// The run is over.
    #[error("job {0}: the time for its receipt is over, nothing is given any more")]
    TooLate(u64),
    /// The collective took the approval, or the node's acceptance, back since, or the node changed its keys.
    #[error(
        "job {0}: since the release the collective has taken back the approval or the node, or the node has changed its keys"
    )]
    TakenBack(u64),
    /// Chain and facts name different input sets.
    #[error("job {job}: the release on chain names input {on_chain}, the facts give {derived}")]
    AnotherInput {
        /// The job.
        job: u64,
        /// In the release record.
        on_chain: B256,
        /// From the facts.
        derived: B256,
    },
    /// This member has no share of the epoch in force.
    #[error(
        "no share of epoch {0}, which the collective accepted, is kept here: restore a backup of it, or have this \
         member replaced"
    )]
    NoShare(u64),
    /// What was sealed to an earlier ML-KEM key cannot be opened here.
    #[error(
        "neither the ML-KEM seed that epoch {0} renewed nor the record of what was wrapped anew is kept here: hold a ceremony \
         with this member, which hands the record over"
    )]
    NoRecord(u64),
    /// A key that was replaced is in force again.
    #[error(
        "nothing of the collective's key is erased here any more: epoch {0} is in force, and under its P-256 key an earlier ML-KEM \
         key came back after another had replaced it. What was sealed to the other opens with a share of its own epoch alone. \
         The collective should have what was sealed meanwhile contributed again, and make a new key with `collective committee new`"
    )]
    EarlierKey(u64),
    /// The record is of no renewal of this collective, or of one whose time still runs.
    #[error(
        "the record says it is of epoch {0}, which renewed no key of this collective, or whose old key still counts"
    )]
    AnotherRecord(u64),
    /// This member still has the seed and takes nobody's word.
    #[error(
        "this member has the ML-KEM seed that epoch {0} renewed, and makes the record itself: wait until it has"
    )]
    MakesRecord(u64),
    /// Too few members have signed it.
    #[error("{found} members of epoch {epoch} have signed the record, {needed} must")]
    RecordNotSigned {
        /// The renewing epoch.
        epoch: u64,
        /// Members of it whose signatures hold.
        found: usize,
        /// Its threshold.
        needed: u16,
    },
    /// The record cannot be made or opened.
    #[error("wrapping contributions anew: {0}")]
    Rewrap(#[from] RewrapError),
    /// The share is of another committee.
    #[error(
        "the share kept for epoch {0} is not of the committee that the collective accepted: check key file and deployment"
    )]
    AnotherCommittee(u64),
    /// A header.
    #[error(transparent)]
    Headers(#[from] HeadersError),
    /// A header of the input set breaks a rule; the index should not have counted it.
    #[error("leaf {leaf}: {error}")]
    Header {
        /// Whose.
        leaf: Leaf,
        /// Why.
        error: ContributionError,
    },
    /// Files and release do not fit.
    #[error(transparent)]
    NotReleased(#[from] NotReleased),
    /// The question.
    #[error(transparent)]
    Question(#[from] QuestionError),
    /// The share gives nothing for this question.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// The message is none.
    #[error("the message does not parse: {0}")]
    Malformed(String),
    /// The reward root is not what this holder works out.
    #[error(
        "the settled jobs give reward root {here}, asked for is {asked}: wait until both see the same blocks"
    )]
    AnotherRewardRoot {
        /// Worked out here.
        here: B256,
        /// Asked for.
        asked: B256,
    },
    /// Rewards.
    #[error(transparent)]
    Rewards(#[from] RewardError),
    /// The log cannot be written: nothing is given that it does not hold.
    #[error(transparent)]
    Log(#[from] LogFileError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The blob store.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The keys.
    #[error(transparent)]
    Keys(#[from] KeystoreError),
    /// What is kept of a ceremony.
    #[error(transparent)]
    Ceremony(#[from] TakePartError),
}

impl HolderRefusal {
    /// Who has to act.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Refused(refusal) => refusal.fault(),
            Self::Header { .. } => Fault::Contributor,
            Self::AnotherNode { .. }
            | Self::TooLate(_)
            | Self::TakenBack(_)
            | Self::NotReleased(_)
            | Self::Question(_)
            | Self::Answer(_)
            | Self::AnotherRecord(_)
            | Self::RecordNotSigned { .. }
            | Self::Malformed(_) => Fault::Requester,
            Self::NotFinal { .. }
            | Self::AnotherInput { .. }
            | Self::AnotherRewardRoot { .. }
            | Self::MakesRecord(_)
            | Self::Chain(_)
            | Self::Facts(_)
            | Self::Headers(_)
            | Self::Halted(_) => Fault::Peer,
            Self::NoShare(_)
            | Self::NoRecord(_)
            | Self::EarlierKey(_)
            | Self::Rewrap(_)
            | Self::AnotherCommittee(_)
            | Self::Rewards(_)
            | Self::Log(_)
            | Self::Ledger(_)
            | Self::Blob(_)
            | Self::Keys(_)
            | Self::Ceremony(_) => Fault::Operator,
        }
    }
}
