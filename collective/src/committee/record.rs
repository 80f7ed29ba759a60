//! How a release was assembled (SPEC "Quorum record"): which members gave partials, how their logs stood, who was left out
//! and why. The node keeps it as a blob and names it in its receipt; anybody can check the members' signatures in it.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256, Signature};
use serde::{Deserialize, Serialize};

use super::answer::{Fault, Given, Statement};
use super::assembly::BadFile;
use super::log::LogHead;
use super::question::Question;
use super::released::pages;
use super::{Member, Quorum, QuorumError, ShareCertificate};
use crate::decimal;
use crate::id::BlobId;
use crate::limits::MAX_QUORUM_RECORD_BYTES;
use crate::receipt::{Escrow, NotSigned, Release, check_signed};

/// The record of one release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct QuorumRecord {
    format: Format,
    release: B256,
    #[serde(with = "decimal")]
    epoch: u64,
    rounds: Vec<RecordedRound>,
    culprits: Vec<Culprit>,
    retries: u32,
    bad_files: Vec<(u32, BadFile)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Format {
    #[serde(rename = "collective/quorum/v1")]
    V1,
}

/// One quorum whose partials opened files of a page, or showed that they are bad.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedRound {
    page: u32,
    answers: Vec<SignedStatement>,
}

/// What a member signed over its answer; question and quorum follow from the round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedStatement {
    /// Who.
    pub member: Member,
    /// SHA-256 of the sealed partials.
    pub ciphertext: B256,
    /// How its log stood.
    pub log: LogHead,
    /// By its registered signer.
    pub signature: Signature,
}

/// A member that did wrong. It stays out for the rest of the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Culprit {
    /// Who.
    pub member: Member,
    /// At which page of the input set.
    pub page: u32,
    /// What it did. The node's word: only a signature can be shown to others.
    pub fault: Fault,
}

impl RecordedRound {
    pub(super) fn new<'a>(page: u32, given: impl Iterator<Item = &'a Given>) -> Self {
        let answers = given.map(|given| SignedStatement {
            member: given.statement.member,
            ciphertext: given.statement.ciphertext,
            log: given.statement.log,
            signature: given.signature,
        });
        Self {
            page,
            answers: answers.collect(),
        }
    }

    /// Which page of the input set.
    pub fn page(&self) -> u32 {
        self.page
    }

    /// What the members of the quorum signed, in the order of their numbers.
    pub fn answers(&self) -> &[SignedStatement] {
        &self.answers
    }
}

impl QuorumRecord {
    pub(super) fn new(
        release: B256,
        epoch: u64,
        rounds: Vec<RecordedRound>,
        culprits: Vec<Culprit>,
        retries: u32,
        bad_files: Vec<(u32, BadFile)>,
    ) -> Self {
        Self {
            format: Format::V1,
            release,
            epoch,
            rounds,
            culprits,
            retries,
            bad_files,
        }
    }

    /// The quorums, in the order of the pages.
    pub fn rounds(&self) -> &[RecordedRound] {
        &self.rounds
    }

    /// Who did wrong, in the order in which it was noticed.
    pub fn culprits(&self) -> &[Culprit] {
        &self.culprits
    }

    /// How often another quorum had to be asked.
    pub fn retries(&self) -> u32 {
        self.retries
    }

    /// Files that stayed closed although no member is at fault, by place in the input set.
    pub fn bad_files(&self) -> &[(u32, BadFile)] {
        &self.bad_files
    }

    /// Canonical bytes: the blob.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json_canonicalizer::to_vec(self).expect("a record is plain JSON values")
    }

    /// The blob's name.
    pub fn digest(&self) -> BlobId {
        BlobId::of(&self.to_bytes())
    }

    /// Reads canonical bytes.
    ///
    /// # Errors
    /// [`RecordError::Form`].
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        if bytes.len() > MAX_QUORUM_RECORD_BYTES {
            return Err(RecordError::Form);
        }
        let record: Self = serde_json::from_slice(bytes).map_err(|_| RecordError::Form)?;
        if record.to_bytes() == bytes {
            Ok(record)
        } else {
            Err(RecordError::Form)
        }
    }

    /// Checks that for every page of `release` a quorum of this committee has signed its answers. `signers` are the members'
    /// registered accounts.
    ///
    /// # Errors
    /// [`RecordError`], the fault of the node that made the record.
    pub fn verify(
        &self,
        escrow: &Escrow,
        release: &Release,
        certificate: &ShareCertificate,
        signers: &BTreeMap<Member, Address>,
    ) -> Result<(), RecordError> {
        let digest = release.signing_hash(escrow);
        let epoch = certificate.epoch();
        if self.release != digest || (self.epoch, release.epoch) != (epoch, epoch) {
            return Err(RecordError::AnotherRelease);
        }
        let wanted: BTreeSet<u32> = (0..pages(release.input_count)).collect();
        let found: BTreeSet<u32> = self.rounds.iter().map(RecordedRound::page).collect();
        if wanted != found {
            return Err(RecordError::Pages);
        }
        for round in &self.rounds {
            let members: Vec<Member> = round.answers.iter().map(|answer| answer.member).collect();
            let quorum = Quorum::new(certificate, &members)?;
            if quorum.members() != members {
                return Err(RecordError::Form);
            }
            let question = Question::partials(digest, round.page, quorum).digest();
            for answer in &round.answers {
                let statement = Statement {
                    question,
                    member: answer.member,
                    ciphertext: answer.ciphertext,
                    log: answer.log,
                };
                let signer = signers.get(&answer.member);
                let &signer = signer.ok_or(RecordError::NoSigner(answer.member))?;
                check_signed(&answer.signature, statement.signing_hash(escrow), signer)?;
            }
        }
        Ok(())
    }
}

/// Why a record does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Not canonical JSON of a record, or members out of order.
    #[error("not a quorum record in its one spelling")]
    Form,
    /// It is about another release, or another committee.
    #[error("the record is about another release")]
    AnotherRelease,
    /// A page of the input set is missing, or there is one too many.
    #[error("the record does not cover the input set page by page")]
    Pages,
    /// Answers of no quorum.
    #[error(transparent)]
    Quorum(#[from] QuorumError),
    /// It is not known who signs for this member.
    #[error("no registered signer of member {} is known", .0.number())]
    NoSigner(Member),
    /// A member has not signed what is said of it.
    #[error(transparent)]
    NotSigned(#[from] NotSigned),
}
