//! `GET /jobs/{job}`, `GET /jobs/{job}/output`.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use collective::committee::record::{Culprit, QuorumRecord};
use collective::permit::Fault;
use serde::{Deserialize, Serialize};

use super::{App, Problem};
use crate::chain::facts::{JobFact, JobState};
use crate::driver::RunRecord;

/// What this node knows of a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobAnswer {
    /// Where it is on chain.
    pub state: JobState,
    /// Leases so far.
    pub attempt: u32,
    /// What its run left, once there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<RunRecord>,
    /// Key holders that did wrong when its files were opened, by the record that its receipt names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub culprits: Vec<Culprit>,
    /// Why it will not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<JobRefusal>,
}

/// Why a job will not run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRefusal {
    /// Who has to act.
    pub fault: String,
    /// What is missing or forbidden.
    pub reason: String,
}

/// Tells where a job is.
pub async fn job(State(app): State<App>, Path(job): Path<u64>) -> Result<Json<JobAnswer>, Problem> {
    let fact = fact(&app, job).await?;
    let refusal = match fact.state {
        JobState::Requested => app.ledger.refusal(job).await?,
        _ => None,
    };
    let record = record(&app, job, &fact).await?;
    Ok(Json(JobAnswer {
        culprits: culprits(&app, record.as_ref()).await?,
        state: fact.state,
        attempt: fact.lease.attempt,
        record,
        refusal: refusal.map(|(fault, reason)| JobRefusal { fault, reason }),
    }))
}

/// Gives the sealed output: only the approved recipient can open it.
pub async fn output(State(app): State<App>, Path(job): Path<u64>) -> Result<Bytes, Problem> {
    let fact = fact(&app, job).await?;
    let record = record(&app, job, &fact).await?;
    let record = record.ok_or_else(|| Problem::missing(format!("job {job} has not run yet")))?;
    if let Some(failure) = record.failure {
        let detail = format!("job {job}: {failure}");
        return Err(Problem::new(StatusCode::CONFLICT, Fault::Program, detail));
    }
    Ok(app.blobs.get(record.receipt.output).await?)
}

async fn fact(app: &App, job: u64) -> Result<JobFact, Problem> {
    let fact = app.chain.job(&app.chain.latest().await?, job).await?;
    if fact.state == JobState::None || fact.lease.collective != super::deployment(app).collective {
        return Err(Problem::missing(format!(
            "this collective has no job {job}"
        )));
    }
    Ok(fact)
}

async fn culprits(app: &App, run: Option<&RunRecord>) -> Result<Vec<Culprit>, Problem> {
    let Some(run) = run else {
        return Ok(vec![]);
    };
    let quorum = app.blobs.get(run.receipt.quorum).await?;
    let quorum = QuorumRecord::parse(&quorum).map_err(Problem::operator)?;
    Ok(quorum.culprits().to_vec())
}

async fn record(app: &App, job: u64, fact: &JobFact) -> Result<Option<RunRecord>, Problem> {
    let Some(record) = app.ledger.run(job, fact.lease.attempt).await? else {
        return Ok(None);
    };
    serde_json::from_str(&record)
        .map(Some)
        .map_err(Problem::operator)
}
