//! A holder in ceremonies: it answers asks under plans that it has checked against the chain, and takes its new share over
//! once every member has signed: when the convener shows it the signatures or, at the latest, when the chain has accepted
//! the committee, which it does with all of them alone.

use std::sync::Arc;

use alloy::primitives::{B256, Signature};
use bytes::Bytes;
use collective::committee::ceremony::ask::{Ask, AskError, MAX_ASK_BYTES};
use collective::committee::ceremony::certify::{Confirmed, NotCertified};
use collective::committee::ceremony::participant::Answered;
use collective::committee::ceremony::plan::{MAX_PLAN_BYTES, Plan, PlanError};
use collective::committee::log::LogEvent;
use collective::limits::MAX_MEMBERS;
use collective::permit::Fault;
use thiserror::Error;

use super::mandate::{self, PlanRefusal};
use super::{Holder, HolderRefusal, now};
use crate::chain::ChainError;
use crate::keystore::{KeystoreError, TakePartError};

/// Bytes of a length.
const LENGTH: usize = 4;

/// Bytes of a signature.
const SIGNATURE: usize = 65;

/// Longest question: plan and ask, the plan behind its length.
pub const MAX_CEREMONY_BYTES: usize = LENGTH + MAX_PLAN_BYTES + MAX_ASK_BYTES;

/// Longest certification: plan, ask and signatures, plan and ask behind their lengths.
pub const MAX_CERTIFIED_BYTES: usize =
    MAX_CEREMONY_BYTES + LENGTH + SIGNATURE * MAX_MEMBERS as usize;

/// Why a holder has no part in a ceremony, or in this step of it.
#[derive(Debug, Error)]
pub enum CeremonyRefusal {
    /// The bytes.
    #[error("not a question of a ceremony: a length is wrong")]
    Malformed,
    /// The plan is none.
    #[error(transparent)]
    NoPlan(#[from] PlanError),
    /// The ask is none under this plan.
    #[error(transparent)]
    NoAsk(#[from] AskError),
    /// The plan may not be followed.
    #[error(transparent)]
    Plan(#[from] PlanRefusal),
    /// The ceremony does not go that way, or its state cannot be kept.
    #[error(transparent)]
    TakePart(#[from] TakePartError),
    /// What was sent to confirm a share ends in a complaint.
    #[error("nothing was certified: this member was dealt a part that does not fit")]
    Complaint,
    /// This node has not taken part so far, or it is over.
    #[error(
        "this node is not in this ceremony: it has answered nothing in it, or its epoch is over"
    )]
    NotBegun,
    /// Not every member has signed.
    #[error(transparent)]
    NotCertified(#[from] NotCertified),
    /// Another committee was accepted in its place.
    #[error("the collective has accepted epoch {0}, and not this committee as that")]
    Superseded(u64),
    /// The share or the log.
    #[error(transparent)]
    Holder(#[from] HolderRefusal),
}

impl CeremonyRefusal {
    /// Who has to act.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Plan(refusal) => refusal.fault(),
            Self::Holder(refusal) => refusal.fault(),
            Self::TakePart(TakePartError::Refused(_)) => Fault::Requester,
            Self::TakePart(_) => Fault::Operator,
            _ => Fault::Requester,
        }
    }
}

/// A question of a ceremony as it travels.
pub fn question(plan: &Plan, ask: &Ask) -> Bytes {
    let mut out = Vec::new();
    put(&mut out, &plan.to_bytes());
    out.extend_from_slice(&ask.to_bytes());
    out.into()
}

/// What confirms a share, as it travels: `ask` is the one of round 3, `statements` are every member's signatures in the
/// order of the members.
pub fn certified(plan: &Plan, ask: &Ask, statements: &[Signature]) -> Bytes {
    let mut out = Vec::new();
    put(&mut out, &plan.to_bytes());
    put(&mut out, &ask.to_bytes());
    for statement in statements {
        out.extend_from_slice(&statement.as_bytes());
    }
    out.into()
}

impl Holder {
    /// Answers one ask of a ceremony. The same ask gets the same answer, however often.
    ///
    /// # Errors
    /// [`CeremonyRefusal`].
    pub async fn take_part(&self, question: Bytes) -> Result<Vec<u8>, CeremonyRefusal> {
        let (plan, ask) = take(&question).ok_or(CeremonyRefusal::Malformed)?;
        let (plan, ask) = (Arc::new(Plan::parse(plan)?), question.slice_ref(ask));
        let view = self.view()?;
        mandate::check(&self.chain, &view, &plan).await?;
        // Without the record it could give nothing of what was sealed before the renewal.
        if plan.old_certificate().is_some()
            && plan.member(self.node).is_some()
            && let Some(due) = self.record_due()?
        {
            return Err(HolderRefusal::NoRecord(due.epoch).into());
        }
        Ok(self.answer_ask(plan, ask).await?.message.to_bytes())
    }

    /// Takes the new share over: `question` has what the members were dealt and every member's signature, so the share is
    /// made again from it, checked against the signatures, and kept. Doing it twice is doing it once.
    ///
    /// # Errors
    /// [`CeremonyRefusal`].
    pub async fn take_over(&self, question: Bytes) -> Result<(), CeremonyRefusal> {
        let (plan, rest) = take(&question).ok_or(CeremonyRefusal::Malformed)?;
        let (ask, statements) = take(rest).ok_or(CeremonyRefusal::Malformed)?;
        let statements = signatures(statements).ok_or(CeremonyRefusal::Malformed)?;
        let (plan, ask) = (Arc::new(Plan::parse(plan)?), question.slice_ref(ask));
        mandate::check_home(&self.chain, &plan)?;
        if !self.keys.ceremonies().knows(&plan) {
            return Err(CeremonyRefusal::NotBegun);
        }
        let answered = self.answer_ask(plan.clone(), ask).await?;
        let pending = answered.pending.ok_or(CeremonyRefusal::Complaint)?;
        let _alone = self.changing.lock().await;
        // This member's own signature is among them, and it gave that under a plan which it had checked.
        let confirmed = pending.confirm(&statements)?;
        let certificate = confirmed.share.certificate().clone();
        let epoch = certificate.epoch();
        let accepted = self.view()?.committee;
        if epoch < accepted.epoch || epoch == accepted.epoch && !accepted.is_shared_by(&certificate)
        {
            return Err(CeremonyRefusal::Superseded(accepted.epoch));
        }
        let committee = plan.statement(&certificate).struct_hash();
        Ok(self.keep(confirmed, committee).await?)
    }

    /// Takes over the share of the committee in force, if this member has certified it and nobody showed it the others'
    /// signatures: the collective accepted it, so the chain has them all.
    ///
    /// # Errors
    /// [`HolderRefusal`].
    pub async fn take_over_accepted(&self) -> Result<(), HolderRefusal> {
        let accepted = self.view.borrow().committee;
        let kept = self.keys.shares().of(accepted.epoch);
        if accepted.epoch == 0 || kept.is_some_and(|it| accepted.is_shared_by(it.certificate())) {
            return Ok(());
        }
        let certified = self.keys.certified_shares(accepted.epoch)?;
        let mut certified = certified.into_iter();
        match certified.find(|it| accepted.is_shared_by(it.share.certificate())) {
            Some(certified) => self.keep(certified, accepted.hash).await,
            None => Ok(()),
        }
    }

    /// Several ceremonies may come to an end for one epoch, and the chain accepts one of them: the share of another makes
    /// room, if what is kept of its ceremony gives it again.
    async fn keep(&self, confirmed: Confirmed, committee: B256) -> Result<(), HolderRefusal> {
        let Confirmed { share, retired } = confirmed;
        let epoch = share.certificate().epoch();
        // The seed first: a share that is kept lacks nothing.
        if let Some(old) = retired {
            let point = share.certificate().recipient().point();
            self.keys
                .keep_old_seed(epoch, old, point, &mut rand::rng())?;
        }
        let other = self.keys.shares().of(epoch);
        if let Some(other) = other.filter(|it| it.certificate() != share.certificate()) {
            let certified = self.keys.certified_shares(epoch)?;
            let mut certified = certified.iter().map(|it| it.share.certificate());
            if certified.any(|it| it == other.certificate()) {
                self.keys.shares().erase(epoch)?;
            }
        }
        let share = self.keys.keep_share(share, &mut rand::rng())?;
        let certificate = share.certificate();
        self.blobs.put(certificate.to_bytes().into()).await?;
        let event = LogEvent::EpochChanged { epoch, committee };
        self.log.note(now(), event).await?;
        tracing::info!(epoch, %committee, "took over the share of a new epoch");
        Ok(())
    }

    async fn answer_ask(&self, plan: Arc<Plan>, ask: Bytes) -> Result<Answered, CeremonyRefusal> {
        let (keys, node) = (self.keys.clone(), self.node);
        // Dozens of signatures are checked and files opened: not on the runtime's own threads.
        let answered = tokio::task::spawn_blocking(move || {
            let ask = Ask::parse(&plan, &ask)?;
            Ok(keys.take_part(&plan, node, &ask, &mut rand::rng())?)
        });
        answered.await.expect("answering does not panic")
    }
}

impl From<ChainError> for CeremonyRefusal {
    fn from(error: ChainError) -> Self {
        Self::Plan(error.into())
    }
}

impl From<KeystoreError> for CeremonyRefusal {
    fn from(error: KeystoreError) -> Self {
        Self::TakePart(error.into())
    }
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("plans and asks are far below 4 GiB");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
}

/// What stands behind a length, and the rest.
fn take(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<LENGTH>()?;
    rest.split_at_checked(u32::from_be_bytes(*length) as usize)
}

fn signatures(bytes: &[u8]) -> Option<Vec<Signature>> {
    let (signatures, []) = bytes.as_chunks::<SIGNATURE>() else {
        return None;
    };
    let parsed = signatures.iter().map(|bytes| Signature::from_raw(bytes));
    parsed.collect::<Result<_, _>>().ok()
}
