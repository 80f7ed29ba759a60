//! What a node asks the members of a quorum for (SPEC "Partials on the wire"): the partials of one page of a released
//! input set, and, where files did not open, a proof over some of them.

use alloy_primitives::B256;

use super::{Member, Quorum, QuorumError, ShareCertificate};
use crate::limits::{MAX_MEMBERS, MAX_PAGE_FILES};
use crate::seal::symmetric::sha256;

const DOMAIN: &[u8] = b"collective/v1/question";
const VERSION: u8 = 1;
const PARTIALS: u8 = 1;
const PROOF: u8 = 2;

/// Longest question: every place of a full page, of the largest quorum.
pub const MAX_QUESTION_BYTES: usize =
    2 + 32 + 4 + 2 + 2 * MAX_MEMBERS as usize + 4 + 4 * MAX_PAGE_FILES;

/// One question to one quorum. Every member of it gets the same bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    release: B256,
    page: u32,
    quorum: Quorum,
    wanted: Wanted,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// λᵢ(S)·xᵢ·E and ss_pq of every file of the page.
    Partials,
    /// One proof over the partials of these places of the page, ascending from 0.
    Proof(Vec<u32>),
}

impl Question {
    /// Asks for the partials of a page of the release with this signing hash.
    pub fn partials(release: B256, page: u32, quorum: Quorum) -> Self {
        Self {
            release,
            page,
            quorum,
            wanted: Wanted::Partials,
        }
    }

    /// Asks for a proof over what was given for `places` of the same page, which ascend.
    pub fn proof(&self, places: Vec<u32>) -> Self {
        Self {
            wanted: Wanted::Proof(places),
            ..self.clone()
        }
    }

    /// Signing hash of the release.
    pub fn release(&self) -> B256 {
        self.release
    }

    /// Page of the input set, from 0.
    pub fn page(&self) -> u32 {
        self.page
    }

    /// Who is asked.
    pub fn quorum(&self) -> &Quorum {
        &self.quorum
    }

    /// What is asked for.
    pub fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// Names the question in answers.
    pub fn digest(&self) -> B256 {
        sha256(&[DOMAIN, &self.to_bytes()]).into()
    }

    /// version ‖ kind ‖ release ‖ page ‖ t ‖ members ascending, and for a proof m ‖ places ascending.
    pub fn to_bytes(&self) -> Vec<u8> {
        let members = self.quorum.members();
        let size = u16::try_from(members.len()).expect("at most MAX_MEMBERS");
        let kind = match self.wanted {
            Wanted::Partials => PARTIALS,
            Wanted::Proof(_) => PROOF,
        };
        let mut out = vec![VERSION, kind];
        out.extend_from_slice(self.release.as_slice());
        out.extend_from_slice(&self.page.to_be_bytes());
        out.extend_from_slice(&size.to_be_bytes());
        out.extend(members.iter().flat_map(|m| m.number().to_be_bytes()));
        if let Wanted::Proof(places) = &self.wanted {
            let count = u32::try_from(places.len()).expect("at most MAX_PAGE_FILES");
            out.extend_from_slice(&count.to_be_bytes());
            out.extend(places.iter().flat_map(|place| place.to_be_bytes()));
        }
        out
    }

    /// Reads a question to a quorum of this committee; there is one encoding.
    ///
    /// # Errors
    /// [`QuestionError`], the asking node's fault.
    pub fn parse(certificate: &ShareCertificate, bytes: &[u8]) -> Result<Self, QuestionError> {
        if bytes.len() > MAX_QUESTION_BYTES {
            return Err(QuestionError::Form);
        }
        let mut fields = Fields(bytes);
        let question = Self::fields(certificate, &mut fields)?;
        if question.to_bytes() == bytes {
            Ok(question)
        } else {
            // Members out of order or twice, or bytes after the end.
            Err(QuestionError::Form)
        }
    }

    fn fields(
        certificate: &ShareCertificate,
        fields: &mut Fields<'_>,
    ) -> Result<Self, QuestionError> {
        let form = QuestionError::Form;
        let [version, kind] = fields.take().ok_or(form)?;
        if version != VERSION {
            return Err(QuestionError::Version(version));
        }
        let release = B256::from(fields.take::<32>().ok_or(form)?);
        let page = fields.number().ok_or(form)?;
        let size = u16::from_be_bytes(fields.take().ok_or(form)?).min(MAX_MEMBERS);
        let members = (0..size)
            .map(|_| fields.member())
            .collect::<Option<Vec<_>>>()
            .ok_or(form)?;
        let quorum = Quorum::new(certificate, &members)?;
        let question = Self::partials(release, page, quorum);
        match kind {
            PARTIALS => Ok(question),
            PROOF => {
                let places = fields.places().ok_or(form)?;
                Ok(question.proof(places))
            }
            _ => Err(form),
        }
    }
}

/// Why bytes are no question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    /// Another version of the protocol.
    #[error("question of version {0}; this member speaks version {VERSION}")]
    Version(u8),
    /// Not in the one encoding.
    #[error("not a question in the one encoding")]
    Form,
    /// The members asked are no quorum of this committee.
    #[error(transparent)]
    Quorum(#[from] QuorumError),
}

/// The unread fields of a message.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    pub(super) fn number(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    pub(super) fn member(&mut self) -> Option<Member> {
        Member::new(u16::from_be_bytes(self.take()?))
    }

    /// Count and places, which ascend and lie in a page.
    fn places(&mut self) -> Option<Vec<u32>> {
        let count = usize::try_from(self.number()?).ok()?;
        if count == 0 || count > MAX_PAGE_FILES {
            return None;
        }
        let places: Vec<u32> = (0..count).map(|_| self.number()).collect::<Option<_>>()?;
        places.is_sorted_by(|a, b| a < b).then_some(places)
    }
}
