//! `POST /revocations`: the node pays the gas for what a contributor signed.

use alloy::primitives::{Address, Bytes as CallData, U256, aliases::U248};
use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::{App, Problem, deployment};
use collective_contracts::ContributionRegistry;

/// A signed revocation: `Revoke(contributorId, word, mask, deadline)` (EIP-712).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RelayedRevocation {
    /// Whose contributions.
    pub contributor: Address,
    /// Nonces `256 * word` to `256 * word + 255`.
    pub word: u64,
    /// Which of them.
    pub mask: U256,
    /// Unix seconds after which the signature is worth nothing.
    pub deadline: u64,
    /// 65 bytes.
    pub signature: CallData,
}

/// What became of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Relayed {
    /// Block in which it took effect.
    pub block: u64,
    /// What it cannot undo.
    pub note: String,
}

/// Sends a signed revocation and waits until it is mined.
pub async fn revoke(
    State(app): State<App>,
    Json(revocation): Json<RelayedRevocation>,
) -> Result<Json<Relayed>, Problem> {
    let registry = ContributionRegistry::new(deployment(&app).contributions, app.chain.provider());
    let call = registry.revokeBySig(
        revocation.contributor,
        U248::from(revocation.word),
        revocation.mask,
        U256::from(revocation.deadline),
        revocation.signature,
    );
    let receipt = app.chain.submit(call).await?;
    Ok(Json(Relayed {
        block: receipt.block_number.unwrap_or_default(),
        note:
            "Effective for every job that is leased from now on. Runs that already happened keep \
               their outputs and receipts; what a recipient was given it keeps."
                .into(),
    }))
}
