//! `GET /rewards/{account}`: what an account may claim, with the proof.

use alloy::primitives::{B256, U256};
use axum::Json;
use axum::extract::{Path, State};
use collective::id::ContributorId;
use serde::{Deserialize, Serialize};

use super::{App, Problem, address, decimal};

/// What a claim needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimAnswer {
    /// Who claims.
    pub contributor: ContributorId,
    /// Everything ever given, in the token's smallest unit, decimal.
    pub cumulative: String,
    /// Path to the root.
    pub proof: Vec<B256>,
}

/// Tells what an account was ever given under the active root and proves it.
pub async fn claim(
    State(app): State<App>,
    Path(account): Path<String>,
) -> Result<Json<ClaimAnswer>, Problem> {
    let contributor = ContributorId::from_address(address(&account)?);
    let claims = app.rewards.claims().await?;
    let claim = claims.and_then(|claims| claims.claim(contributor));
    let (cumulative, proof): (U256, _) = claim
        .ok_or_else(|| Problem::missing(format!("{account} has nothing under the active root")))?;
    Ok(Json(ClaimAnswer {
        contributor,
        cumulative: decimal(cumulative),
        proof,
    }))
}
