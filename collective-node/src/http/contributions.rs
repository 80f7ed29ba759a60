//! `POST /contributions`, `GET /contributions/{leaf}`, and the same for what contributors keep; `GET /contributors/{account}`.

use alloy::primitives::Signature;
use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use collective::contribution::{
    AnchorReceipt, Batch, BatchReceipt, DirectContribution, SignedPlace,
};
use collective::id::{BlobId, ContributorId, Leaf};
use collective::index::Void;
use collective::input::Withdrawn;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{App, Problem, Uses, address, uploads};
use crate::headers::{self, HeadersError};
use crate::intake::{Acknowledgement, IntakeRefusal, Moved};
use crate::rewards::Inputs;
use crate::verify;

/// Takes an upload in, or opens one whose payload comes in parts. 201 means that it is on this node's disk.
pub async fn contribute(
    State(app): State<App>,
    headers: HeaderMap,
    upload: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let upload = upload.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => IntakeRefusal::Oversize,
        _ => IntakeRefusal::Malformed(rejection.to_string()),
    })?;
    if uploads::is_complete(&headers)? == Some(false) {
        return Ok(uploads::begun(app.intake.begin(upload).await?));
    }
    let acknowledgement = app.intake.accept(upload).await?;
    Ok((StatusCode::CREATED, Json(acknowledgement)).into_response())
}

/// Takes a contribution in whose file its contributor keeps. 201 means that its place was asked, the right file is there, and all
/// that the node needs beside it is on its disk.
pub async fn connect(
    State(app): State<App>,
    upload: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<Acknowledgement>), Problem> {
    let acknowledgement = app.intake.accept_connected(parse(upload)?).await?;
    Ok((StatusCode::CREATED, Json(acknowledgement)))
}

/// Takes over where a file is kept from now on.
pub async fn move_to(
    State(app): State<App>,
    Path(leaf): Path<String>,
    place: Result<Bytes, BytesRejection>,
) -> Result<Json<Moved>, Problem> {
    let place: SignedPlace = parse(place)?;
    if leaf.parse() != Ok(place.place.leaf) {
        return Err(IntakeRefusal::AnotherPlace(place.place.leaf).into());
    }
    Ok(Json(app.intake.move_to(place).await?))
}

/// What does not parse is told by line and column alone: it may have a token in it.
fn parse<T: DeserializeOwned>(body: Result<Bytes, BytesRejection>) -> Result<T, IntakeRefusal> {
    let body = body.map_err(|rejection| IntakeRefusal::Malformed(rejection.to_string()))?;
    serde_json::from_slice(&body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        IntakeRefusal::Malformed(format!("no such JSON, at line {line}, column {column}"))
    })
}

/// Where a contribution stands, and the node's word that it took it in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ContributionAnswer {
    /// Where it stands.
    #[serde(flatten)]
    pub state: ContributionState,
    /// The same as when it was taken in.
    pub acknowledgement: Signature,
}

/// Where a contribution stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum ContributionState {
    /// On this node's disk, in no batch yet.
    Held,
    /// In a batch.
    Batched {
        /// What proves the contribution for ever.
        receipt: Box<BatchReceipt>,
        /// Why it counts for nothing, if that is so, once its block is final.
        #[serde(skip_serializing_if = "Option::is_none")]
        void: Option<Void>,
    },
    /// Anchored by its contributor, in a finalized block.
    Direct {
        /// What proves the contribution for ever.
        receipt: Box<DirectContribution>,
        /// The block.
        block: u64,
        /// Why it counts for nothing, if that is so.
        #[serde(skip_serializing_if = "Option::is_none")]
        void: Option<Void>,
    },
    /// Revoked, or at the end of its terms, and that is final: no later job reads it.
    Withdrawn {
        /// Which of both.
        why: Withdrawn,
        /// The finalized block in which this node saw it.
        block: u64,
        /// Whether the sealed file is gone here. It stays while a job that was leased before may still read it.
        dropped: bool,
        /// What proves the contribution for ever.
        receipt: Box<AnchorReceipt>,
    },
}

/// Tells where a contribution stands, with its receipt once it has one.
pub async fn state(
    State(app): State<App>,
    Path(leaf): Path<String>,
) -> Result<Json<ContributionAnswer>, Problem> {
    let leaf: Leaf = leaf
        .parse()
        .map_err(|_| Problem::malformed("a leaf is 32 bytes in hex"))?;
    let found = app.ledger.contribution(leaf).await?;
    let (held, batch) =
        found.ok_or_else(|| Problem::missing(format!("no contribution {leaf} here")))?;
    let acknowledgement = app.intake.acknowledgement(leaf).signature;
    let void = app.view.borrow().index.void(leaf);
    let state = match (app.ledger.direct(leaf).await?, batch) {
        (Some(block), _) => {
            let header = headers::held(&app.ledger, &app.blobs, &held.entry).await;
            let header = header.map_err(Problem::operator)?;
            let header = header.ok_or_else(|| Problem::operator(HeadersError::Missing(leaf)))?;
            let receipt = Box::new(DirectContribution {
                entry: held.entry,
                acknowledgement,
                header: header.into(),
            });
            ContributionState::Direct {
                receipt,
                block,
                void,
            }
        }
        (None, Some((batch, place))) => {
            let receipt = Box::new(receipt(&app, batch.manifest, place).await?);
            ContributionState::Batched { receipt, void }
        }
        (None, None) => ContributionState::Held,
    };
    let state = match (app.ledger.withdrawal(leaf).await?, state.receipt()) {
        (Some(withdrawal), Some(receipt)) => ContributionState::Withdrawn {
            why: withdrawal.why,
            block: withdrawal.block,
            dropped: withdrawal.dropped,
            receipt: Box::new(receipt),
        },
        _ => state,
    };
    Ok(Json(ContributionAnswer {
        state,
        acknowledgement,
    }))
}

async fn receipt(app: &App, manifest: BlobId, place: usize) -> Result<BatchReceipt, Problem> {
    let manifest = app.blobs.get(manifest).await?;
    let entries = serde_json::from_slice(&manifest).map_err(Problem::operator)?;
    let batch = Batch::new(entries).ok();
    let receipt = batch.and_then(|batch| batch.receipt(place));
    receipt.ok_or_else(|| Problem::operator("the batch does not hold the leaf"))
}

impl ContributionState {
    /// What proves it for ever, once there is something.
    pub fn receipt(&self) -> Option<AnchorReceipt> {
        match self {
            Self::Held => None,
            Self::Batched { receipt, .. } => Some(AnchorReceipt::Batch((**receipt).clone())),
            Self::Direct { receipt, .. } => Some(AnchorReceipt::Direct((**receipt).clone())),
            Self::Withdrawn { receipt, .. } => Some((**receipt).clone()),
        }
    }
}

/// What a node has taken in from an account.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContributorAnswer {
    /// How many contributions, withdrawn ones among them.
    pub contributions: usize,
    /// The highest nonce in use.
    pub highest_nonce: Option<u64>,
}

/// Tells which nonces a contributor has used here.
pub async fn contributor(
    State(app): State<App>,
    Path(account): Path<String>,
) -> Result<Json<ContributorAnswer>, Problem> {
    let contributor = ContributorId::from_address(address(&account)?);
    let held = app.ledger.of_contributor(contributor).await?;
    Ok(Json(ContributorAnswer {
        contributions: held.len(),
        highest_nonce: held.iter().map(|(nonce, _)| *nonce).max(),
    }))
}

/// Tells which runs read a contribution, and up to which block that is all.
pub async fn uses(State(app): State<App>, Path(leaf): Path<String>) -> Result<Json<Uses>, Problem> {
    let leaf: Leaf = leaf
        .parse()
        .map_err(|_| Problem::malformed("a leaf is 32 bytes in hex"))?;
    let inputs = Inputs::Own(&app.rewards);
    let uses = verify::uses(&app.chain, &app.blobs, &[leaf].into(), inputs).await;
    uses.map(Json).map_err(Problem::operator)
}

/// Gives the header of a contribution's sealed file, which key holders check and open.
pub async fn header(State(app): State<App>, Path(leaf): Path<String>) -> Result<Bytes, Problem> {
    let leaf: Leaf = leaf
        .parse()
        .map_err(|_| Problem::malformed("a leaf is 32 bytes in hex"))?;
    let missing = || Problem::missing(format!("no contribution {leaf} here"));
    let found = app.ledger.contribution(leaf).await?;
    let (held, _) = found.ok_or_else(missing)?;
    let header = headers::held(&app.ledger, &app.blobs, &held.entry).await;
    let header = header.map_err(Problem::operator)?;
    header.ok_or_else(|| Problem::operator(HeadersError::Missing(leaf)))
}
