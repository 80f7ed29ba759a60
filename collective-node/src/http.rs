//! The node over HTTP. Handlers parse and answer; what is decided is decided elsewhere.
//!
//! Errors are problem documents (RFC 9457) whose `fault` says who has to act.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use alloy::primitives::{Address, U256};
use axum::extract::DefaultBodyLimit;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, head, post};
use axum::{Json, Router};
use collective::id::ManifestDigest;
use collective::permit::Fault;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, watch};
use tower_http::cors::{Any, CorsLayer};

use crate::blobs::{BlobError, Blobs};
use crate::chain::{Chain, ChainError, Deployment};
use crate::committee::Faults;
use crate::follower::View;
use crate::holder::Holder;
use crate::intake::{Intake, IntakeRefusal, MAX_CONNECTED_BYTES, MAX_UPLOAD_BYTES};
use crate::ledger::{Ledger, LedgerError};
use crate::places::PlaceError;
use crate::rewards::{RewardError, Rewards};

mod blobs;
mod contributions;
mod jobs;
mod liveness;
mod programs;
mod recovery;
mod relay;
mod rewards;
pub mod serve;
mod status;
mod turn;
mod uploads;
mod votes;

pub use crate::programs::deploy::Deployed;
pub use crate::verify::Uses;
pub use blobs::MAX_STREAMS;
pub use contributions::{ContributionAnswer, ContributionState, ContributorAnswer};
pub use jobs::JobAnswer;
pub use liveness::{Day, StandingAnswer};
pub use recovery::{
    MAX_PAID_SEQUENCE, Recovering, RecoveryAnswer, RecoveryChange, RelayedRecovery,
};
pub use relay::{
    ClaimsAnswer, MAX_CLAIMS, MAX_WORDS, MIN_SIGNED_SECONDS, Relayed, RelayedClaims,
    RelayedRevocation, RevocationAnswer, Revoking, SignedNonces, SignedWatermark, SignedWord,
};
pub use rewards::ClaimAnswer;
pub use status::{CollectiveAnswer, StatusAnswer};
pub use uploads::{COMPLETE, OFFSET, PARTIAL_UPLOAD};
pub use votes::{Ballots, Delegations, MemberAnswer};

/// Bytes of a program, a manifest or a charter that anybody may upload: a hundred times a usual component, or 100,000
/// admitted accounts. What is larger, such as a runtime, the operator adds (`collective node keep`).
pub const MAX_BLOB_BYTES: usize = 8 * 1024 * 1024;

/// What every handler can reach.
#[derive(Clone)]
pub struct App {
    /// Taking contributions in.
    pub intake: Arc<Intake>,
    /// Answers that may read a file as slowly as their clients do.
    pub streams: Arc<Semaphore>,
    /// Contributions and runs.
    pub ledger: Ledger,
    /// Programs, manifests, outputs, input lists.
    pub blobs: Blobs,
    /// The chain, with the node's account: it relays what others signed.
    pub chain: Chain,
    /// Chain facts.
    pub view: watch::Receiver<View>,
    /// Rewards.
    pub rewards: Rewards,
    /// The holder in this process, if the node is one: its log is public.
    pub holder: Option<Arc<Holder>>,
    /// Bytes that strangers have left since the node started.
    pub guest_bytes: Arc<AtomicU64>,
    /// Members' votes that it has sent and not seen mined.
    pub ballots: Ballots,
    /// Contributors' revocations that it has sent and not seen mined.
    pub revoking: Revoking,
    /// Changes of contributors' recoveries that it has sent and not seen mined.
    pub recovering: Recovering,
    /// Whose delegations the node paid for lately.
    pub delegations: Delegations,
    /// What key holders did wrong, as this node saw it.
    pub faults: Arc<Faults>,
    /// How the approved programs stand.
    pub programs: watch::Receiver<BTreeMap<ManifestDigest, Deployed>>,
}

/// All routes. Any page may ask: nothing here depends on who asks.
pub fn router(app: App) -> Router {
    let cors = CorsLayer::new()
        .allow_origin(Any)
        .allow_methods(Any)
        .allow_headers([
            header::CONTENT_TYPE,
            header::RANGE,
            uploads::COMPLETE,
            uploads::OFFSET,
            uploads::LENGTH,
        ])
        .expose_headers([
            header::LOCATION,
            uploads::COMPLETE,
            uploads::OFFSET,
            uploads::LENGTH,
            uploads::LIMIT,
        ]);
    Router::new()
        .route("/", get(status::page))
        .route("/status", get(status::status))
        .route("/health", get(status::health))
        .route("/metrics", get(status::metrics))
        .route("/openapi.json", get(status::openapi))
        .route("/collective", get(status::collective))
        .route("/contributions", post(contributions::contribute))
        .route(
            "/contributions/connected",
            post(contributions::connect).layer(DefaultBodyLimit::max(MAX_CONNECTED_BYTES)),
        )
        .route("/contributions/{leaf}", get(contributions::state))
        .route(
            "/contributions/{leaf}/place",
            post(contributions::move_to).layer(DefaultBodyLimit::max(MAX_CONNECTED_BYTES)),
        )
        .route("/contributions/{leaf}/liveness", get(liveness::standing))
        .route("/contributions/{leaf}/header", get(contributions::header))
        .route("/contributions/{leaf}/uses", get(contributions::uses))
        .route(
            "/uploads/{leaf}",
            head(uploads::progress)
                .patch(uploads::append)
                .delete(uploads::cancel),
        )
        .route("/contributors/{account}", get(contributions::contributor))
        .route("/contributors/{account}/recovery", get(recovery::state))
        .route("/recoveries", post(recovery::change))
        .route("/revocations", post(relay::revoke))
        .route("/claims", post(relay::claim))
        .route("/members/{account}", get(votes::member))
        .route("/ballots", post(votes::cast))
        .route("/delegations", post(votes::delegate))
        .route(
            "/blobs",
            post(blobs::keep).layer(DefaultBodyLimit::max(MAX_BLOB_BYTES)),
        )
        .route("/blobs/{id}", get(blobs::give))
        .route("/programs", get(programs::all))
        .route("/programs/{digest}", get(programs::one))
        .route("/jobs/{job}", get(jobs::job))
        .route("/jobs/{job}/output", get(jobs::output))
        .route("/liveness", get(liveness::audits))
        .route("/rewards/{account}", get(rewards::claim))
        .route("/log", get(status::log))
        // One byte over the limit is read, so that the intake can say what the limit is.
        .layer(DefaultBodyLimit::max(MAX_UPLOAD_BYTES + 1))
        .fallback(|| async { Problem::missing("no such page; see /").into_response() })
        .layer(cors)
        .with_state(app)
}

/// A problem document (RFC 9457) that says who has to act.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// HTTP status.
    pub status: u16,
    /// The kind of problem in a few words.
    pub title: String,
    /// What happened here, and what to do.
    pub detail: String,
    /// Who has to act.
    pub fault: Fault,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, fault: Fault, detail: impl ToString) -> Self {
        let title = status.canonical_reason().unwrap_or("Problem").to_owned();
        Self {
            status: status.as_u16(),
            title,
            detail: detail.to_string(),
            fault,
        }
    }

    pub(crate) fn missing(detail: impl ToString) -> Self {
        Self::new(StatusCode::NOT_FOUND, Fault::Requester, detail)
    }

    fn malformed(detail: impl ToString) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Fault::Requester, detail)
    }

    pub(crate) fn operator(detail: impl ToString) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, Fault::Operator, detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let fault = self.fault;
        let mut response = (status, Json(self)).into_response();
        // For whoever counts refusals by fault.
        response.extensions_mut().insert(fault);
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            header::HeaderValue::from_static("application/problem+json"),
        );
        response
    }
}

impl From<IntakeRefusal> for Problem {
    fn from(refusal: IntakeRefusal) -> Self {
        let status = match &refusal {
            IntakeRefusal::Oversize => StatusCode::PAYLOAD_TOO_LARGE,
            IntakeRefusal::Interrupted => StatusCode::REQUEST_TIMEOUT,
            IntakeRefusal::TooManyUploads => StatusCode::TOO_MANY_REQUESTS,
            IntakeRefusal::NoRoom => StatusCode::INSUFFICIENT_STORAGE,
            IntakeRefusal::Malformed(_) => StatusCode::BAD_REQUEST,
            IntakeRefusal::NotAdmitted(_)
            | IntakeRefusal::AnotherSigner { .. }
            | IntakeRefusal::PlaceSignature(_)
            | IntakeRefusal::Rotated(_)
            | IntakeRefusal::EscrowOnly
            | IntakeRefusal::KeptByNobody(_)
            | IntakeRefusal::SignatureMismatch => StatusCode::FORBIDDEN,
            IntakeRefusal::Replay(_)
            | IntakeRefusal::NonceTaken(_)
            | IntakeRefusal::PointTaken
            | IntakeRefusal::OldPlace(_)
            | IntakeRefusal::AnotherOffset(_)
            | IntakeRefusal::Superseded => StatusCode::CONFLICT,
            IntakeRefusal::Unknown(_) | IntakeRefusal::NoUpload(_) => StatusCode::NOT_FOUND,
            IntakeRefusal::Withdrawn(_) => StatusCode::GONE,
            IntakeRefusal::Ledger(_)
            | IntakeRefusal::Blob(_)
            | IntakeRefusal::NoCharter
            | IntakeRefusal::Place(
                PlaceError::Busy | PlaceError::Gateway | PlaceError::GatewayStatus(_),
            )
            | IntakeRefusal::NoCommittee => StatusCode::SERVICE_UNAVAILABLE,
            IntakeRefusal::AnotherCollective(_)
            | IntakeRefusal::UnknownSource(_)
            | IntakeRefusal::Contribution(_)
            | IntakeRefusal::Sealed(_)
            | IntakeRefusal::ReplacedKey
            | IntakeRefusal::AnotherHeader
            | IntakeRefusal::Truncated { .. }
            | IntakeRefusal::AnotherPayload
            | IntakeRefusal::AnotherOutline
            | IntakeRefusal::PayloadSize { .. }
            | IntakeRefusal::AnotherPlace(_)
            | IntakeRefusal::Place(_)
            | IntakeRefusal::AnotherPoint => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self::new(status, refusal.fault(), refusal)
    }
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        Self::operator(error)
    }
}

impl From<BlobError> for Problem {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::Missing(_) => Self::missing(error),
            _ => Self::operator(error),
        }
    }
}

impl From<ChainError> for Problem {
    fn from(error: ChainError) -> Self {
        match error {
            ChainError::Reverted(_) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, Fault::Requester, error)
            }
            _ => Self::operator(error),
        }
    }
}

impl From<RewardError> for Problem {
    fn from(error: RewardError) -> Self {
        Self::operator(error)
    }
}

/// Amounts in JSON are decimal strings.
fn decimal(amount: U256) -> String {
    amount.to_string()
}

/// The deployment, for clients that have none yet.
fn deployment(app: &App) -> &Deployment {
    app.chain.deployment()
}

/// Parses an address in a path.
fn address(text: &str) -> Result<Address, Problem> {
    text.parse()
        .map_err(|_| Problem::malformed(format!("'{text}' is no address")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn that_a_place_got_no_turn_is_this_nodes_fault_and_that_it_is_slow_is_not() {
        let problem = |error| Problem::from(IntakeRefusal::Place(error));
        let busy = problem(PlaceError::Busy);
        assert_eq!((busy.status, busy.fault), (503, Fault::Operator));
        let slow = problem(PlaceError::Silent("it took too long"));
        assert_eq!((slow.status, slow.fault), (422, Fault::Contributor));
    }

    #[test]
    fn the_openapi_document_has_every_route_and_no_other() {
        let document: serde_json::Value =
            serde_json::from_str(super::status::OPENAPI).expect("the document is JSON");
        let described: BTreeSet<&str> = document["paths"]
            .as_object()
            .expect("paths")
            .keys()
            .map(String::as_str)
            .collect();
        // The first string after each `.route(`, however the line is broken.
        let calls = include_str!("http.rs").split(".route(").skip(1);
        let routed: BTreeSet<&str> = calls
            .filter_map(|call| call.split('"').nth(1))
            .filter(|path| path.starts_with('/'))
            .collect();
        assert_eq!(described, routed);
    }
}
