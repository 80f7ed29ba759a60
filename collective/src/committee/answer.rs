//! What a member answers to a [`Question`] (SPEC "Partials on the wire"): the partials of a page, sealed to the grantee and
//! signed together with the head of the member's log; and the proof that they are right.
//!
//! That the release is signed, final and the member's own is the caller's to know: this module binds the answer to it.

use alloy_primitives::{B256, Signature};
use alloy_sol_types::SolStruct;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::equality::{EqualityProof, ProveError};
use super::log::LogHead;
use super::question::{Fields, Question, Wanted};
use super::released::ReleasedFiles;
use super::rewrap::EarlierKeys;
use super::{KeyShare, Member, Partial, Release, ReleaseError};
use crate::id::sha256;
use crate::limits::MAX_ANSWER_BYTES;
use crate::receipt::Escrow;
use crate::seal::contribution::ContributionHeader;
use crate::seal::curve::{POINT_LEN, Point};
use crate::seal::hpke::MlKemSecret;
use crate::seal::{self, Identity, Recipient};

const VERSION: u8 = 1;
const PARTIALS: u8 = 3;
const PROOF: u8 = 4;
const ML_KEM_SECRET_LEN: usize = 32;

/// What a member's registered signer signs: this answer to this question, and how its log stood after it was noted there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Digest of the [`Question`]: release, page and quorum.
    pub question: B256,
    /// Who answers.
    pub member: Member,
    /// SHA-256 of the sealed partials.
    pub ciphertext: B256,
    /// Head of its log.
    pub log: LogHead,
}

impl Statement {
    /// EIP-712 in JobEscrow's name.
    pub fn signing_hash(&self, escrow: &Escrow) -> B256 {
        let typed = signed::Partials {
            question: self.question,
            member: self.member.number(),
            ciphertext: self.ciphertext,
            logIndex: self.log.index,
            logHash: self.log.hash,
        };
        typed.eip712_signing_hash(&escrow.domain())
    }
}

/// A member's answer that still lacks its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    statement: Statement,
    ciphertext: Vec<u8>,
}

impl Answer {
    /// What is to be signed.
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// The message: version ‖ kind ‖ question ‖ member ‖ log index ‖ log hash ‖ signature ‖ sealed partials.
    pub fn to_bytes(&self, signature: &Signature) -> Vec<u8> {
        let mut out = vec![VERSION, PARTIALS];
        out.extend_from_slice(self.statement.question.as_slice());
        out.extend_from_slice(&self.statement.member.number().to_be_bytes());
        out.extend_from_slice(&self.statement.log.index.to_be_bytes());
        out.extend_from_slice(self.statement.log.hash.as_slice());
        out.extend_from_slice(&signature.as_bytes());
        out.extend_from_slice(&self.ciphertext);
        out
    }
}

impl KeyShare {
    /// This member's partials for one page, sealed to the grantee, with ss_pq of what is sealed to `earlier` keys from there.
    /// `log` is its head with the line of this release in it.
    ///
    /// # Errors
    /// [`AnswerError`]; nothing was given then.
    pub fn answer<R: CryptoRng + ?Sized>(
        &self,
        question: &Question,
        files: &ReleasedFiles,
        earlier: &EarlierKeys,
        log: LogHead,
        rng: &mut R,
    ) -> Result<Answer, AnswerError> {
        if *question.wanted() != Wanted::Partials {
            return Err(AnswerError::AnotherKind);
        }
        let page = self.page(question, files)?;
        let digest = question.digest();
        let room =
            preamble(digest, self.member()).len() + page.len() * (POINT_LEN + ML_KEM_SECRET_LEN);
        // Its whole length at once: a buffer that grows would leave copies behind.
        let mut plain = Zeroizing::new(Vec::with_capacity(room));
        plain.extend_from_slice(&preamble(digest, self.member()));
        let factor = self.factor(question.quorum())?;
        for header in page {
            let release = self.release_with(&factor, header, earlier)?;
            plain.extend_from_slice(release.partial.point().uncompressed());
            if let Some(secret) = &release.ml_kem {
                plain.extend_from_slice(secret.expose());
            }
        }
        let grantee = Recipient::Tagged(files.grantee().clone());
        let ciphertext = seal::seal(&[grantee], &plain, rng).expect("one recipient is sealed to");
        Ok(Answer {
            statement: Statement {
                question: digest,
                member: self.member(),
                ciphertext: sha256(&ciphertext),
                log,
            },
            ciphertext,
        })
    }

    /// The message that proves what this member gave for the asked places. Partials are made anew: they are the same.
    ///
    /// # Errors
    /// [`AnswerError`].
    pub fn prove<R: CryptoRng + ?Sized>(
        &self,
        question: &Question,
        files: &ReleasedFiles,
        rng: &mut R,
    ) -> Result<Vec<u8>, AnswerError> {
        let Wanted::Proof(places) = question.wanted() else {
            return Err(AnswerError::AnotherKind);
        };
        let page = self.page(question, files)?;
        let mut points = Vec::with_capacity(places.len());
        let mut partials = Vec::with_capacity(places.len());
        let factor = self.factor(question.quorum())?;
        for &place in places {
            let header = usize::try_from(place)
                .ok()
                .and_then(|place| page.get(place));
            let header = header.ok_or(AnswerError::NoSuchPage)?;
            points.push(header.stanza().point().clone());
            self.check_release(header)?;
            partials.push(self.partial_with(&factor, header.stanza().point()));
        }
        let context = files.proof_context();
        let proof = self.prove_partials(question.quorum(), &context, &points, &partials, rng)?;
        let mut out = vec![VERSION, PROOF];
        out.extend_from_slice(&preamble(question.digest(), self.member()));
        out.extend_from_slice(&proof.to_bytes());
        Ok(out)
    }

    /// Whether this member has something to give: it is asked before a line of its log says so.
    ///
    /// # Errors
    /// [`AnswerError`].
    pub fn check_question(
        &self,
        question: &Question,
        files: &ReleasedFiles,
        earlier: &EarlierKeys,
    ) -> Result<(), AnswerError> {
        let page = self.page(question, files)?;
        self.factor(question.quorum())?;
        let stays_closed = |header: &&ContributionHeader| !self.has_ml_kem(header, earlier);
        match page.iter().find(stays_closed) {
            Some(_) => Err(ReleaseError::Renewed.into()),
            None => Ok(()),
        }
    }

    /// The headers that a question is about, where it is one about this release to this committee.
    fn page<'a>(
        &self,
        question: &Question,
        files: &'a ReleasedFiles,
    ) -> Result<&'a [ContributionHeader], AnswerError> {
        if question.release() != files.digest() {
            return Err(AnswerError::AnotherRelease);
        }
        if files.release().epoch != self.certificate().epoch() {
            return Err(AnswerError::AnotherEpoch(files.release().epoch));
        }
        files.page(question.page()).ok_or(AnswerError::NoSuchPage)
    }
}

/// Why a member gives no answer. All are the asking node's fault, except that the member may be behind the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// A proof was asked for where partials are made, or the other way round.
    #[error("the question asks for something else")]
    AnotherKind,
    /// The question names another release than the one that this member signed.
    #[error("this release is not the one that the member signed")]
    AnotherRelease,
    /// The release is another committee's.
    #[error("the release is for epoch {0}, for which this share is not")]
    AnotherEpoch(u64),
    /// The input set has no such page, or the page no such place.
    #[error("the input set has no such page or place")]
    NoSuchPage,
    /// The share gives nothing for one of the files.
    #[error(transparent)]
    Release(#[from] ReleaseError),
    /// No proof could be made.
    #[error(transparent)]
    Prove(#[from] ProveError),
}

/// What a member gave for a page, with its signature. Has no Debug.
pub(super) struct Given {
    pub(super) statement: Statement,
    pub(super) signature: Signature,
    pub(super) files: Vec<Release>,
}

impl Given {
    /// Opens a member's answer. `signer` is its registered one.
    pub(super) fn parse(
        bytes: &[u8],
        asked: &Asked<'_>,
        escrow: &Escrow,
        signer: alloy_primitives::Address,
        identity: &Identity,
    ) -> Result<Self, Fault> {
        let (statement, signature, ciphertext) = envelope(bytes).ok_or(Fault::Malformed)?;
        let hash = statement.signing_hash(escrow);
        crate::receipt::check_signed(&signature, hash, signer).map_err(|_| Fault::NotSigned)?;
        if (statement.question, statement.member) != (asked.question, asked.member) {
            return Err(Fault::AnotherQuestion);
        }
        let plain = seal::open(std::slice::from_ref(identity), ciphertext);
        let plain = Zeroizing::new(plain.map_err(|_| Fault::Malformed)?);
        let files = asked.files(&plain).ok_or(Fault::Malformed)?;
        Ok(Self {
            statement,
            signature,
            files,
        })
    }
}

/// Reads a proof message; whether the proof holds is for [`super::equality`] to say.
pub(super) fn parse_proof(bytes: &[u8], asked: &Asked<'_>) -> Result<EqualityProof, Fault> {
    let mut fields = Fields(bytes);
    if fields.take() != Some([VERSION, PROOF]) {
        return Err(Fault::Malformed);
    }
    let named = fields.take::<32>().ok_or(Fault::Malformed)?;
    let member = fields.member().ok_or(Fault::Malformed)?;
    let proof = fields.take().ok_or(Fault::Malformed)?;
    if (B256::from(named), member) != (asked.question, asked.member) {
        return Err(Fault::AnotherQuestion);
    }
    let proof = EqualityProof::from_bytes(&proof).ok_or(Fault::Malformed)?;
    fields.0.is_empty().then_some(proof).ok_or(Fault::Malformed)
}

/// Whom a node asked for what.
pub(super) struct Asked<'a> {
    pub(super) question: B256,
    pub(super) member: Member,
    pub(super) page: &'a [ContributionHeader],
}

impl Asked<'_> {
    fn files(&self, plain: &[u8]) -> Option<Vec<Release>> {
        let mut fields =
            Fields(plain.strip_prefix(preamble(self.question, self.member).as_slice())?);
        let files = self.page.iter().map(|header| {
            let point = Zeroizing::new(fields.take::<POINT_LEN>()?);
            let point = Point::from_uncompressed(point.as_slice()).ok()?;
            let ml_kem = match header.stanza().ml_kem_ciphertext() {
                Some(_) => Some(MlKemSecret::from_bytes(fields.take()?)),
                None => None,
            };
            Some(Release {
                partial: Partial::new(self.member, point),
                ml_kem,
            })
        });
        let files = files.collect::<Option<Vec<_>>>()?;
        fields.0.is_empty().then_some(files)
    }
}

/// What a member did wrong.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub enum Fault {
    /// No answer before the time-out, or no connection: down, slow or cut off; which, nobody can tell from here.
    #[error("was silent until the time-out")]
    Silent,
    /// It said that it gives nothing.
    #[error("refused")]
    Refused,
    /// An answer that is not in the one form, or is sealed to somebody else.
    #[error("sent an answer that is not in the agreed form")]
    Malformed,
    /// An answer that the member's registered key did not sign.
    #[error("sent an answer that its registered key has not signed")]
    NotSigned,
    /// A signed answer to something that was not asked: an old one, for instance.
    #[error("answered another question")]
    AnotherQuestion,
    /// No proof holds for its partials, and a file did not open with them.
    #[error("gave a partial decryption that is wrong")]
    WrongPartial,
    /// Its ML-KEM secret is not the one that t others gave.
    #[error("gave an ML-KEM secret that is wrong")]
    WrongMlKem,
}

/// question ‖ member: what answer and sealed text begin with.
fn preamble(question: B256, member: Member) -> [u8; 34] {
    let mut out = [0; 34];
    out[..32].copy_from_slice(question.as_slice());
    out[32..].copy_from_slice(&member.number().to_be_bytes());
    out
}

fn envelope(bytes: &[u8]) -> Option<(Statement, Signature, &[u8])> {
    let mut fields = Fields(bytes);
    if bytes.len() > MAX_ANSWER_BYTES || fields.take()? != [VERSION, PARTIALS] {
        return None;
    }
    let question = B256::from(fields.take::<32>()?);
    let member = fields.member()?;
    let index = u64::from_be_bytes(fields.take()?);
    let hash = B256::from(fields.take::<32>()?);
    let signature = fields.take::<65>()?;
    // v is 27 or 28, as everywhere; the parser would take other spellings of it.
    let signature = Signature::from_raw_array(&signature)
        .ok()
        .filter(|read| read.as_bytes() == signature)?;
    let statement = Statement {
        question,
        member,
        ciphertext: sha256(fields.0),
        log: LogHead { index, hash },
    };
    Some((statement, signature, fields.0))
}

mod signed {
    alloy_sol_types::sol! {
        struct Partials {
            bytes32 question;
            uint16 member;
            bytes32 ciphertext;
            uint64 logIndex;
            bytes32 logHash;
        }
    }
}
