//! `GET /`, `/status`, `/health`, `/metrics`, `/collective`, `/openapi.json`.

use axum::Json;
use axum::extract::{Query, State};
use axum::http::HeaderName;
use axum::http::header::CONTENT_TYPE;
use axum::response::Html;
use bytes::Bytes;
use collective::charter::Charter;
use collective::committee::Member;
use collective::committee::answer::Fault;
use collective::id::NodeId;
use collective::limits::MAX_CHAIN_SILENCE;
use collective::receipt::BlockRef;
use serde::{Deserialize, Serialize};

use super::{App, Problem, deployment};
use crate::chain::Deployment;
use crate::committee::Faults;
use crate::holder::published::{After, LogPage};
use crate::intake::IntakeRefusal;

/// What a client needs before it can contribute.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CollectiveAnswer {
    /// Where it lives.
    pub deployment: Deployment,
    /// To which contributions are sealed. Compare its digest with NodeRegistry's before you seal.
    pub recipient: String,
    /// Sources and admitted contributors.
    pub charter: Option<Charter>,
    /// Whether files without sender proof are refused.
    pub sender_proof: bool,
    /// The account by which this node acknowledges and anchors: key holders follow it as registered on chain.
    pub aggregator: alloy::primitives::Address,
}

/// How the node is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusAnswer {
    /// The collective.
    pub collective: alloy::primitives::Address,
    /// Newest block.
    pub latest: BlockRef,
    /// Newest finalized block; the index is complete up to here.
    pub finalized: BlockRef,
    /// Seconds since a new block arrived.
    pub silence: u64,
    /// Contributions on this node's disk.
    pub held: u64,
    /// Those in no batch yet.
    pub waiting: u64,
    /// Contributions in finalized blocks that count.
    pub anchored: u64,
    /// Those of them that have no sender proof: they stop counting once the collective has a committee of more than one.
    pub unproven: u64,
    /// Epoch of the committee.
    pub epoch: u64,
}

/// Tells where the collective lives and how to seal to it.
pub async fn collective(State(app): State<App>) -> Result<Json<CollectiveAnswer>, Problem> {
    let view = app.view.borrow();
    let certificate = view.certificate.as_ref();
    let certificate = certificate.ok_or_else(|| Problem::operator(IntakeRefusal::NoCommittee))?;
    Ok(Json(CollectiveAnswer {
        deployment: *deployment(&app),
        recipient: certificate.recipient().to_string(),
        charter: view.charter().map(|charter| Charter::clone(charter)),
        sender_proof: view.committee.proof_required(),
        aggregator: view.aggregator,
    }))
}

/// Tells how the node is.
pub async fn status(State(app): State<App>) -> Result<Json<StatusAnswer>, Problem> {
    Ok(Json(answer(&app).await?))
}

/// Healthy is: the store was written and read just now, the ledger read, a block read, and the index follows.
pub async fn health(State(app): State<App>) -> Result<&'static str, Problem> {
    let now = app.chain.latest().await?;
    app.blobs
        .probe(Bytes::from(now.number.to_be_bytes().to_vec()))
        .await?;
    app.ledger.counts().await?;
    let view = app.view.borrow();
    if let Some(reason) = &view.halted {
        return Err(Problem::operator(reason));
    }
    if view.silence() > MAX_CHAIN_SILENCE {
        return Err(Problem::operator(
            "no finalized block has arrived for too long",
        ));
    }
    Ok("ok\n")
}

/// What this node answers, in OpenAPI 3.1.
pub const OPENAPI: &str = include_str!("openapi.json");

/// Gives the OpenAPI document.
pub async fn openapi() -> ([(HeaderName, &'static str); 1], &'static str) {
    ([(CONTENT_TYPE, "application/json")], OPENAPI)
}

/// Gives lines of the log of the holder in this node's process.
pub async fn log(
    State(app): State<App>,
    Query(After { after }): Query<After>,
) -> Result<Json<LogPage>, Problem> {
    let holder = app.holder.as_ref();
    let holder = holder.ok_or_else(|| Problem::missing("this node is no key holder: ask one"))?;
    Ok(Json(holder.log_page(after).await))
}

/// Gives the status as Prometheus gauges, and what key holders did wrong as counters (text exposition format 0.0.4).
pub async fn metrics(State(app): State<App>) -> Result<String, Problem> {
    let status = answer(&app).await?;
    let audits = app.ledger.audits(1).await?;
    let audited = audits.first();
    let gauges = [
        (
            "latest_block",
            "Height of the newest block",
            status.latest.number,
        ),
        (
            "finalized_block",
            "Height up to which the index is complete",
            status.finalized.number,
        ),
        (
            "chain_silence_seconds",
            "Time since a new block arrived",
            status.silence,
        ),
        (
            "contributions_held",
            "Contributions on this node's disk",
            status.held,
        ),
        (
            "contributions_waiting",
            "Contributions in no batch yet",
            status.waiting,
        ),
        (
            "contributions_anchored",
            "Contributions in finalized blocks",
            status.anchored,
        ),
        (
            "committee_epoch",
            "Epoch of the accepted committee",
            status.epoch,
        ),
        (
            "audit_epoch",
            "Day that was audited last, since 1970-01-01; 0 before the first",
            audited.map_or(0, |audited| audited.epoch),
        ),
        (
            "audit_asked",
            "Challenges of that day",
            audited.map_or(0, |audited| audited.asked),
        ),
        (
            "audit_held",
            "Those of them to which the right bytes came",
            audited.map_or(0, |audited| u64::from(audited.counts.held)),
        ),
    ];
    let line = |(name, help, value): (&str, &str, u64)| {
        format!(
            "# HELP collective_{name} {help}\n# TYPE collective_{name} gauge\n\
             collective_{name} {value}\n"
        )
    };
    let gauges: String = gauges.into_iter().map(line).collect();
    Ok(gauges + &holder_faults(&app.faults))
}

/// A counter for each node and fault that there was.
fn holder_faults(faults: &Faults) -> String {
    const NAME: &str = "collective_holder_faults_total";
    let line = |((node, member, fault), times): &((NodeId, Member, Fault), u64)| {
        let member = member.number();
        // In quotation marks already.
        let fault = serde_json::to_string(fault).expect("a word");
        format!("{NAME}{{node=\"{node}\",member=\"{member}\",fault={fault}}} {times}\n")
    };
    let mut lines: Vec<String> = faults.all().iter().map(line).collect();
    lines.sort_unstable();
    format!(
        "# HELP {NAME} What key holders did wrong when they were asked for partial decryptions\n\
         # TYPE {NAME} counter\n{}",
        lines.concat()
    )
}

/// The same for people.
pub async fn page(State(app): State<App>) -> Result<Html<String>, Problem> {
    let status = answer(&app).await?;
    Ok(Html(format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>Collective</title>\
         <style>body{{font:16px/1.5 system-ui;max-width:42rem;margin:3rem auto;padding:0 1rem}}\
         td{{padding:.2rem 1.5rem .2rem 0}}code{{word-break:break-all}}</style>\
         <h1>Collective</h1><p><code>{}</code></p><table>\
         <tr><td>newest block<td>{}<tr><td>finalized block<td>{}\
         <tr><td>contributions held<td>{}<tr><td>waiting for a batch<td>{}\
         <tr><td>anchored<td>{}<tr><td>committee epoch<td>{}</table>\
         <p>See <a href=/collective>/collective</a>, <a href=/status>/status</a>, \
         <a href=/health>/health</a>, \
         <a href=/metrics>/metrics</a>, <a href=/openapi.json>/openapi.json</a>.</p>",
        status.collective,
        status.latest.number,
        status.finalized.number,
        status.held,
        status.waiting,
        status.anchored,
        status.epoch,
    )))
}

async fn answer(app: &App) -> Result<StatusAnswer, Problem> {
    let (held, waiting) = app.ledger.counts().await?;
    let view = app.view.borrow();
    Ok(StatusAnswer {
        collective: deployment(app).collective,
        latest: view.latest,
        finalized: view.finalized,
        silence: view.silence(),
        held,
        waiting,
        anchored: view.anchored().len() as u64,
        unproven: view.index.unproven() as u64,
        epoch: view.committee.epoch,
    })
}
