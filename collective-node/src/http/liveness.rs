//! `GET /liveness`: what audits of the stored payloads came to.

use axum::Json;
use axum::extract::State;

use super::{App, Problem};
use crate::ledger::Audited;

/// Epochs in one answer: a quarter of a year.
const MAX_EPOCHS: u32 = 92;

/// Gives the newest epochs, newest first. The verdicts of each are the blob `results`.
pub async fn audits(State(app): State<App>) -> Result<Json<Vec<Audited>>, Problem> {
    Ok(Json(app.ledger.audits(MAX_EPOCHS).await?))
}
