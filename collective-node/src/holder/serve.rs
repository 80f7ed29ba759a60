//! What nodes ask a key holder over the wire, and who may ask.
//!
//! Every question is answered to a node that the collective accepts, known by the key that its connection proved; that
//! is to keep strangers' work away. What a holder gives depends on chain facts alone, and its answer is sealed to the
//! node that the lease names.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::Signature;
use axum::Router;
use axum::http::StatusCode;
use bytes::Bytes;
use collective::committee::ceremony::message::MAX_MESSAGE_BYTES;
use collective::committee::log::LogHead;
use collective::committee::question::MAX_QUESTION_BYTES;
use collective::id::{NodeId, TransportPin};
use collective::limits::MAX_ANSWER_BYTES;
use collective::permit::Fault;
use collective::reward::RewardRoot;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::ceremony::{MAX_CEREMONY_BYTES, MAX_CERTIFIED_BYTES};
use super::{Holder, HolderRefusal, RenewalStatus};
use crate::http::Problem;
use crate::keystore::MAX_SIGNED_RECORD_BYTES;
use crate::wire::{Exchange, MediaType, Peer};

/// The nodes that the collective accepts, by the key they show.
pub type Welcome = watch::Receiver<Arc<HashMap<TransportPin, NodeId>>>;

/// Bytes of a small JSON document.
const SMALL: usize = 16 * 1024;

/// Bytes of a signature.
const SIGNATURE: usize = 65;

/// A holder reads proofs of every revocation word at three blocks before it signs.
const READING: Duration = Duration::from_secs(60);

/// Asks for the signature under the release of a leased job.
pub const RELEASE: Exchange = Exchange {
    path: "/release",
    request: MediaType("application/vnd.collective.release-question.v1"),
    max_request_bytes: 8,
    answer: MediaType("application/vnd.collective.signature.v1"),
    max_answer_bytes: SIGNATURE,
    timeout: READING,
};

/// Asks for partial decryptions, or the proof that they are right: job ‖ question.
pub const PARTIALS: Exchange = Exchange {
    path: "/partials",
    request: MediaType("application/vnd.collective.question.v1"),
    max_request_bytes: 8 + MAX_QUESTION_BYTES,
    answer: MediaType("application/vnd.collective.answer.v1"),
    max_answer_bytes: MAX_ANSWER_BYTES,
    timeout: READING,
};

/// Asks for the signature under a reward root.
pub const REWARDS: Exchange = Exchange {
    path: "/rewards",
    request: MediaType("application/vnd.collective.reward-root.v1+json"),
    max_request_bytes: SMALL,
    answer: MediaType("application/vnd.collective.signature.v1"),
    max_answer_bytes: SIGNATURE,
    timeout: READING,
};

/// Asks for a node's part of a ceremony: plan, behind its length, and ask.
pub const CEREMONY: Exchange = Exchange {
    path: "/ceremony",
    request: MediaType("application/vnd.collective.ceremony-ask.v1"),
    max_request_bytes: MAX_CEREMONY_BYTES,
    answer: MediaType("application/vnd.collective.ceremony-message.v1"),
    max_answer_bytes: MAX_MESSAGE_BYTES,
    timeout: READING,
};

/// Says that every member has signed, so that the share is taken over: plan and ask, each behind its length, and the
/// signatures in the order of the members. The answer is empty.
pub const CERTIFIED: Exchange = Exchange {
    path: "/certified",
    request: MediaType("application/vnd.collective.certification.v1"),
    max_request_bytes: MAX_CERTIFIED_BYTES,
    answer: MediaType("application/vnd.collective.taken-over.v1"),
    max_answer_bytes: 0,
    timeout: READING,
};

/// Asks for the record of what was wrapped anew after a renewal, by its epoch.
pub const RECORD: Exchange = Exchange {
    path: "/record",
    request: MediaType("application/vnd.collective.record-question.v1"),
    max_request_bytes: 8,
    answer: MediaType("application/vnd.collective.signed-record.v1"),
    max_answer_bytes: MAX_SIGNED_RECORD_BYTES,
    timeout: READING,
};

/// Hands such a record over, with signatures of t members of its epoch. The answer is empty.
pub const REWRAPPED: Exchange = Exchange {
    path: "/rewrapped",
    request: MediaType("application/vnd.collective.signed-record.v1"),
    max_request_bytes: MAX_SIGNED_RECORD_BYTES,
    answer: MediaType("application/vnd.collective.record-taken.v1"),
    max_answer_bytes: 0,
    timeout: READING,
};

/// Asks how a holder stands.
pub const STATUS: Exchange = Exchange {
    path: "/status",
    request: MediaType("application/vnd.collective.status-question.v1"),
    max_request_bytes: 0,
    answer: MediaType("application/vnd.collective.holder-status.v1+json"),
    max_answer_bytes: SMALL,
    timeout: Duration::from_secs(5),
};

/// How a holder stands, in its own words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct HolderStatus {
    /// Epoch of the newest share that it keeps; 0 where it keeps none.
    pub epoch: u64,
    /// Its number in that committee.
    pub member: Option<u16>,
    /// Newest finalized block that it has indexed up to.
    pub finalized: u64,
    /// Contributions that count in its index.
    pub contributions: u64,
    /// Head of its log.
    pub log: LogHead,
    /// How the newest renewal of the ML-KEM key stands with it.
    pub renewal: Option<RenewalStatus>,
    /// Why it releases nothing, if the chain broke a promise.
    pub halted: Option<String>,
}

/// The routes of a holder, for [`crate::wire::serve`].
pub fn router(holder: Arc<Holder>, welcome: Welcome) -> Router {
    let asked = Asked { holder, welcome };
    let (release, partials, rewards, status) =
        (asked.clone(), asked.clone(), asked.clone(), asked.clone());
    let (ceremony, certified) = (asked.clone(), asked.clone());
    let (record, rewrapped) = (asked.clone(), asked);
    Router::new()
        .merge(CEREMONY.route(move |peer, body| ceremony.clone().ceremony(peer, body)))
        .merge(CERTIFIED.route(move |peer, body| certified.clone().certified(peer, body)))
        .merge(RECORD.route(move |peer, body| record.clone().record(peer, body)))
        .merge(REWRAPPED.route(move |peer, body| rewrapped.clone().rewrapped(peer, body)))
        .merge(RELEASE.route(move |peer, body| release.clone().release(peer, body)))
        .merge(PARTIALS.route(move |peer, body| partials.clone().partials(peer, body)))
        .merge(REWARDS.route(move |peer, body| rewards.clone().rewards(peer, body)))
        .merge(STATUS.route(move |peer, _| status.clone().status(peer)))
}

#[derive(Clone)]
struct Asked {
    holder: Arc<Holder>,
    welcome: Welcome,
}

impl Asked {
    async fn release(self, peer: Peer, body: Bytes) -> Result<Bytes, Problem> {
        let job = job(&body).ok_or_else(|| malformed("a job's number has 8 bytes"))?;
        let signature = self.holder.sign_release(job, self.node(&peer)?).await;
        self.told("release", &peer, signature.map(signature_bytes))
    }

    async fn partials(self, peer: Peer, body: Bytes) -> Result<Bytes, Problem> {
        let job = job(&body).ok_or_else(|| malformed("a job's number has 8 bytes"))?;
        let node = self.node(&peer)?;
        let answer = self.holder.answer(job, &body[8..], node).await;
        self.told("partials", &peer, answer.map(Bytes::from))
    }

    async fn rewards(self, peer: Peer, body: Bytes) -> Result<Bytes, Problem> {
        let root: RewardRoot =
            serde_json::from_slice(&body).map_err(|error| malformed(error.to_string()))?;
        let signature = self.holder.sign_rewards(&root).await;
        self.told("rewards", &peer, signature.map(signature_bytes))
    }

    async fn ceremony(self, peer: Peer, body: Bytes) -> Result<Bytes, Problem> {
        self.node(&peer)?;
        let message = self.holder.take_part(body).await.map(Bytes::from);
        message.map_err(|refusal| refused("ceremony", &peer, refusal.fault(), &refusal))
    }

    async fn certified(self, peer: Peer, body: Bytes) -> Result<Bytes, Problem> {
        self.node(&peer)?;
        let taken = self.holder.take_over(body).await.map(|()| Bytes::new());
        taken.map_err(|refusal| refused("certified", &peer, refusal.fault(), &refusal))
    }

    async fn record(self, peer: Peer, body: Bytes) -> Result<Bytes, Problem> {
        self.node(&peer)?;
        let epoch = job(&body).ok_or_else(|| malformed("an epoch has 8 bytes"))?;
        self.told("record", &peer, self.holder.record(epoch))
    }

    async fn rewrapped(self, peer: Peer, body: Bytes) -> Result<Bytes, Problem> {
        self.node(&peer)?;
        let taken = self.holder.take_record(&body).await;
        self.told("rewrapped", &peer, taken.map(|()| Bytes::new()))
    }

    async fn status(self, _: Peer) -> Result<Bytes, Problem> {
        let status = self.holder.status().await;
        Ok(Bytes::from(
            serde_json::to_vec(&status).expect("plain JSON values"),
        ))
    }

    /// Which node holds the key that the connection proved.
    fn node(&self, peer: &Peer) -> Result<NodeId, Problem> {
        let node = self.welcome.borrow().get(&peer.pin).copied();
        node.ok_or_else(|| Problem {
            status: StatusCode::FORBIDDEN.as_u16(),
            title: "Forbidden".into(),
            detail: format!("the collective accepts no node with key {}", peer.pin),
            fault: Fault::Peer,
        })
    }

    fn told(
        &self,
        what: &str,
        peer: &Peer,
        answer: Result<Bytes, HolderRefusal>,
    ) -> Result<Bytes, Problem> {
        answer.map_err(|refusal| refused(what, peer, refusal.fault(), &refusal))
    }
}

fn refused(what: &str, peer: &Peer, fault: Fault, refusal: &dyn std::error::Error) -> Problem {
    tracing::info!(%peer, what, %refusal, "refused");
    let status = match fault {
        Fault::Operator => StatusCode::INTERNAL_SERVER_ERROR,
        Fault::Peer => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::FORBIDDEN,
    };
    Problem {
        status: status.as_u16(),
        title: status.canonical_reason().unwrap_or("Problem").to_owned(),
        detail: refusal.to_string(),
        fault,
    }
}

impl Holder {
    /// How it stands.
    pub async fn status(&self) -> HolderStatus {
        let share = self.keys.shares().newest();
        let (finalized, contributions, halted) = {
            let view = self.view.borrow();
            let contributions = view.anchored().len() as u64;
            (view.finalized.number, contributions, view.halted.clone())
        };
        HolderStatus {
            epoch: share
                .as_ref()
                .map_or(0, |share| share.certificate().epoch()),
            member: share.map(|share| share.member().number()),
            finalized,
            contributions,
            log: self.log.head().await,
            renewal: self.renewal_status(),
            halted,
        }
    }
}

fn job(body: &[u8]) -> Option<u64> {
    body.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}

fn signature_bytes(signature: Signature) -> Bytes {
    Bytes::copy_from_slice(&signature.as_bytes())
}

fn malformed(why: impl Into<String>) -> Problem {
    Problem {
        status: StatusCode::BAD_REQUEST.as_u16(),
        title: "Bad Request".into(),
        detail: why.into(),
        fault: Fault::Peer,
    }
}
