//! What anybody may read of a key holder over plain HTTP: how it is, and what it did. Nothing is taken in, nothing
//! depends on who asks, and nothing here is secret.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use alloy::primitives::Address;
use axum::extract::{Query, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use collective::committee::log::LogEvent;
use collective::id::NodeId;
use collective::limits::MAX_CHAIN_SILENCE;
use collective::permit::Fault;
use collective::receipt::BlockRef;
use serde::Serialize;
use tokio::time::timeout;
use tower_http::cors::{Any, CorsLayer};

use crate::driver::fault_name;
use crate::holder::published::{After, LogPage};
use crate::holder::serve::HolderStatus;
use crate::holder::{Holder, HolderRefusal};
use crate::http::Problem;
use crate::http::serve::Limits;

/// What strangers may cost: as at a node's door, but nothing here takes longer than a look at chain and disk.
pub fn limits() -> Limits {
    Limits {
        request: Duration::from_secs(15),
        ..Limits::default()
    }
}

/// How long the index may take to reach a block that the endpoint calls final. With [`READING`] it is below the ten
/// seconds in which a follower that has stopped must show.
const CATCHING_UP: Duration = Duration::from_secs(5);

/// How long disk and chain may take to answer at all.
const READING: Duration = Duration::from_secs(4);

/// What this holder answers, in OpenAPI 3.1.
const OPENAPI: &str = include_str!("openapi.json");

/// What every handler can reach.
#[derive(Clone)]
pub struct Public {
    /// The holder.
    pub holder: Arc<Holder>,
    /// This holder in NodeRegistry.
    pub node: NodeId,
    /// What it refused so far.
    pub refusals: Arc<Refusals>,
}

/// All routes. Any page may ask.
pub fn router(public: Public) -> Router {
    let cors = CorsLayer::new().allow_origin(Any).allow_methods(Any);
    Router::new()
        .route("/status", get(status))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .route("/log", get(log))
        .route("/certificate", get(certificate))
        .route("/openapi.json", get(openapi))
        .fallback(|| async { Problem::missing("no such page; see /openapi.json").into_response() })
        .layer(cors)
        .with_state(public)
}

/// Requests of nodes that were refused since the start, by who has to act.
#[derive(Default)]
pub struct Refusals([AtomicU64; FAULTS.len()]);

const FAULTS: [Fault; 5] = [
    Fault::Requester,
    Fault::Program,
    Fault::Contributor,
    Fault::Peer,
    Fault::Operator,
];

impl Refusals {
    /// Counts what the wire's routes refuse; a layer for them.
    pub async fn count(
        State(refusals): State<Arc<Self>>,
        request: Request,
        next: Next,
    ) -> Response {
        let response = next.run(request).await;
        let fault = response.extensions().get::<Fault>();
        if let Some(place) = FAULTS.iter().position(|it| Some(it) == fault) {
            refusals.0[place].fetch_add(1, Ordering::Relaxed);
        }
        response
    }

    fn by_fault(&self) -> impl Iterator<Item = (Fault, u64)> {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        FAULTS.into_iter().zip(counts)
    }
}

/// How the holder is.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusAnswer {
    /// The collective.
    collective: Address,
    /// This holder in NodeRegistry.
    node: NodeId,
    /// Newest block.
    latest: BlockRef,
    /// Seconds since a new finalized block arrived.
    silence: u64,
    /// Epoch of the committee that the collective accepted.
    accepted_epoch: u64,
    /// What it tells nodes.
    #[serde(flatten)]
    holder: HolderStatus,
}

async fn status(State(public): State<Public>) -> Json<StatusAnswer> {
    Json(public.answer().await)
}

/// Healthy is: the folder was written and read just now, the log can be written, a block was read, and the index
/// has reached the newest finalized block.
async fn health(State(public): State<Public>) -> Result<&'static str, Problem> {
    let read = timeout(READING, public.holder.read_chain_and_disk()).await;
    let read = read.map_err(|_| {
        Problem::operator("chain or disk did not answer in time: check the endpoint and the disk")
    })?;
    let (latest, finalized) = read.map_err(Problem::operator)?;
    let mut view = public.holder.view.clone();
    let reached = view.wait_for(|view| {
        let there = view.latest.number >= latest && view.finalized.number >= finalized;
        there || view.halted.is_some()
    });
    let reached = timeout(CATCHING_UP, reached).await.map_err(|_| {
        Problem::operator("the index stays behind the newest blocks: standard error says why")
    })?;
    let (halted, silence) = match reached {
        Ok(view) => (view.halted.clone(), view.silence()),
        Err(_) => return Err(nothing_follows()),
    };
    // One that stopped where it had all that there is would be noticed with the next block only.
    public
        .holder
        .view
        .has_changed()
        .map_err(|_| nothing_follows())?;
    if let Some(reason) = halted {
        return Err(Problem::operator(reason));
    }
    if silence > MAX_CHAIN_SILENCE {
        return Err(Problem::operator(
            "no finalized block has arrived for too long: nothing is released",
        ));
    }
    Ok("ok\n")
}

fn nothing_follows() -> Problem {
    Problem::operator("nothing follows the chain any more: start the key holder again")
}

/// The same figures for Prometheus (text exposition format 0.0.4). What a node shows, too, has the node's names.
async fn metrics(State(public): State<Public>) -> String {
    let status = public.answer().await;
    let releases = public.holder.log.read(|log| {
        let released = |event: &LogEvent| matches!(event, LogEvent::Released { .. });
        log.lines()
            .iter()
            .filter(|line| released(&line.event))
            .count() as u64
    });
    let releases = releases.await;
    let (gauge, counter) = ("gauge", "counter");
    let holder = &status.holder;
    let halted = u64::from(holder.halted.is_some());
    let figures = [
        (
            "latest_block",
            gauge,
            "Height of the newest block",
            status.latest.number,
        ),
        (
            "finalized_block",
            gauge,
            "Height up to which the index is complete",
            holder.finalized,
        ),
        (
            "chain_silence_seconds",
            gauge,
            "Time since a new finalized block arrived",
            status.silence,
        ),
        (
            "contributions_anchored",
            gauge,
            "Contributions that count in the index",
            holder.contributions,
        ),
        (
            "committee_epoch",
            gauge,
            "Epoch of the accepted committee",
            status.accepted_epoch,
        ),
        (
            "share_epoch",
            gauge,
            "Epoch of the newest share kept here; 0 for none",
            holder.epoch,
        ),
        (
            "halted",
            gauge,
            "1 while the chain has broken a promise and nothing is released",
            halted,
        ),
        ("log_index", gauge, "Last line of the log", holder.log.index),
        (
            "releases_total",
            counter,
            "Releases in the log, one for each quorum",
            releases,
        ),
    ];
    let mut text: String = figures
        .into_iter()
        .map(|(name, kind, help, value)| {
            format!("{}collective_{name} {value}\n", described(name, kind, help))
        })
        .collect();
    text += &described(
        "refusals_total",
        counter,
        "Requests of nodes refused since the start, by who has to act",
    );
    for (fault, count) in public.refusals.by_fault() {
        let fault = fault_name(fault);
        text += &format!("collective_refusals_total{{fault=\"{fault}\"}} {count}\n");
    }
    text
}

fn described(name: &str, kind: &str, help: &str) -> String {
    format!("# HELP collective_{name} {help}\n# TYPE collective_{name} {kind}\n")
}

async fn log(State(public): State<Public>, Query(After { after }): Query<After>) -> Json<LogPage> {
    Json(public.holder.log_page(after).await)
}

/// The certificate that the newest share came with: compare its digest with NodeRegistry's.
async fn certificate(State(public): State<Public>) -> Result<Response, Problem> {
    let share = public.holder.keys.shares().newest();
    let share = share.ok_or_else(|| Problem::missing("no share is kept here yet"))?;
    let octets = [(CONTENT_TYPE, "application/octet-stream")];
    Ok((StatusCode::OK, octets, share.certificate().to_bytes()).into_response())
}

async fn openapi() -> ([(HeaderName, &'static str); 1], &'static str) {
    ([(CONTENT_TYPE, "application/json")], OPENAPI)
}

impl Public {
    async fn answer(&self) -> StatusAnswer {
        let holder = self.holder.status().await;
        let view = self.holder.view.borrow();
        StatusAnswer {
            collective: self.holder.chain.deployment().collective,
            node: self.node,
            latest: view.latest,
            silence: view.silence(),
            accepted_epoch: view.committee.epoch,
            holder,
        }
    }
}

impl Holder {
    /// Reads the heights of the newest block and the newest finalized one, and writes and reads the folder.
    async fn read_chain_and_disk(&self) -> Result<(u64, u64), HolderRefusal> {
        let latest = self.chain.latest().await?.number;
        let finalized = self.chain.finalized().await?.number;
        let bytes = Bytes::copy_from_slice(&finalized.to_be_bytes());
        self.blobs.probe(bytes).await?;
        self.log.check().await?;
        self.ledger.finalized().await?;
        Ok((latest, finalized))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn the_openapi_document_has_every_route_and_no_other() {
        let document: serde_json::Value =
            serde_json::from_str(super::OPENAPI).expect("the document is JSON");
        let paths = document["paths"].as_object().expect("paths");
        let described: BTreeSet<&str> = paths.keys().map(String::as_str).collect();
        let calls = include_str!("public.rs").split(".route(").skip(1);
        let routed: BTreeSet<&str> = calls
            .filter_map(|call| call.split('"').nth(1))
            .filter(|path| path.starts_with('/'))
            .collect();
        assert_eq!(described, routed);
    }
}
