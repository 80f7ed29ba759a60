//! `POST /revocations`, `POST /claims`: the node pays the gas for what others may do.

use alloy::primitives::{Address, Bytes as CallData, U256, aliases::U248};
use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::{App, Problem, deployment};
use crate::chain::ChainError;
use crate::crash::Step;
use collective::id::ContributorId;
use collective_contracts::{ContributionRegistry, RewardDistributor};

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
    let contributor = ContributorId::from_address(revocation.contributor);
    if !app
        .ledger
        .holds_any(contributor, revocation.word, revocation.mask)
        .await?
    {
        // The node pays for its own contributors only: anybody's key can sign a revocation.
        return Err(Problem::missing(
            "this node holds none of these contributions",
        ));
    }
    let registry = ContributionRegistry::new(deployment(&app).contributions, app.chain.provider());
    let word = registry.revocations(contributor.0, U248::from(revocation.word));
    let bits = word.call().await.map_err(ChainError::from)?;
    if bits & revocation.mask == revocation.mask {
        let block = app.chain.latest().await?.number;
        return Ok(Json(Relayed {
            block,
            note: "It was revoked before.".into(),
        }));
    }
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

/// Accounts whose rewards are to be claimed. No signature: the money goes to whom it belongs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelayedClaims {
    /// Who is to be paid, at most [`MAX_CLAIMS`].
    pub accounts: Vec<Address>,
}

/// Claims in one transaction: each is about 60,000 gas, and a transaction may take 2^24 (EIP-7825).
pub const MAX_CLAIMS: usize = 100;

/// Claims for accounts and waits until it is mined. Who has nothing to claim is passed over.
pub async fn claim(
    State(app): State<App>,
    Json(claims): Json<RelayedClaims>,
) -> Result<Json<Relayed>, Problem> {
    if claims.accounts.len() > MAX_CLAIMS {
        return Err(Problem::malformed(format!(
            "at most {MAX_CLAIMS} accounts at a time"
        )));
    }
    let under_root = app.rewards.claims().await?;
    let under_root = under_root.ok_or_else(|| Problem::missing("no reward root is active yet"))?;
    let proven = claims.accounts.into_iter().filter_map(|account| {
        let contributor = ContributorId::from_address(account);
        let (cumulative, proof) = under_root.claim(contributor)?;
        Some(RewardDistributor::Claim {
            contributorId: contributor.0,
            cumulative,
            proof,
        })
    });
    let (collective, token) = (deployment(&app).collective, deployment(&app).token);
    let distributor = RewardDistributor::new(deployment(&app).rewards, app.chain.provider());
    let call = distributor.claimMany(collective, token, proven.collect());
    let receipt = app.chain.submit(call).await?;
    Step::ClaimsSentNotSeen.reached();
    Ok(Json(Relayed {
        block: receipt.block_number.unwrap_or_default(),
        note: "Paid to each account that had something to claim under the active root.".into(),
    }))
}
