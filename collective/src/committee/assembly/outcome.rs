//! What an assembly asks for and comes to.

use std::collections::BTreeMap;

use super::Assembly;
use super::health::{Candidate, Health, health};
use crate::committee::record::{Culprit, QuorumRecord};
use crate::committee::{Member, ShareCertificate};
use crate::seal::header::FileKey;

/// What comes of an event.
pub enum Progress {
    /// The effects are to be carried out, and more events are awaited.
    Waiting(Box<Assembly>, Vec<Effect>),
    /// Every file is open, or known to be bad.
    Done(Assembled),
    /// Fewer than t members are left.
    GivenUp(GivenUp),
}

/// What is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send these bytes to a member and bring its answer back with `round`.
    Ask {
        /// To whom.
        member: Member,
        /// Names the question in [`Assembly::answered`], [`Assembly::refused`] and [`Assembly::failed`].
        round: u32,
        /// A [`crate::committee::question::Question`].
        question: Vec<u8>,
    },
    /// Ask a member for any sign of life; [`Assembly::alive`] says that it came.
    Probe {
        /// Whom.
        member: Member,
    },
}

/// The file keys of a release. Has no Debug.
pub struct Assembled {
    /// By place in the input set.
    pub files: Vec<Result<FileKey, BadFile>>,
    /// What the node keeps about it and names in its receipt.
    pub record: QuorumRecord,
    /// How the members did, for the next job.
    pub health: BTreeMap<Member, Health>,
}

/// The job cannot go on now. With the members' faults mended, or other members, it can be tried again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{left} members are left and {threshold} are needed: see what each did")]
pub struct GivenUp {
    /// Members without fault.
    pub left: usize,
    /// t.
    pub threshold: u16,
    /// What each did.
    pub culprits: Vec<Culprit>,
    /// How the members did, for the next try.
    pub health: BTreeMap<Member, Health>,
}

/// Why a file stays closed although no member is at fault: its contributor is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub enum BadFile {
    /// All partials are proven, and the stanza does not open with them.
    #[error("the stanza does not open with proven partials")]
    Closed,
    /// The stanza opens, and the header was altered.
    #[error("the header's MAC does not fit its file key")]
    Altered,
}

impl Assembly {
    /// Every page is over.
    pub(super) fn finish(self) -> Assembled {
        let bad = (0..)
            .zip(&self.opened)
            .filter_map(|(place, opened)| match opened {
                Some(Err(why)) => Some((place, *why)),
                _ => None,
            });
        let record = QuorumRecord::new(
            self.files.digest(),
            self.certificate.epoch(),
            self.recorded,
            self.culprits,
            self.retries,
            bad.collect(),
        );
        let opened = self.opened.into_iter();
        Assembled {
            files: opened
                .map(|file| file.expect("every page is over"))
                .collect(),
            record,
            health: health(&self.members),
        }
    }
}

/// Fewer than t are left.
pub(super) fn give_up(
    certificate: &ShareCertificate,
    members: BTreeMap<Member, Candidate>,
    culprits: Vec<Culprit>,
) -> GivenUp {
    GivenUp {
        left: members
            .values()
            .filter(|found| found.fault.is_none())
            .count(),
        threshold: certificate.threshold(),
        culprits,
        health: health(&members),
    }
}
