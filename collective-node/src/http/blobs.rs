//! `POST /blobs`, `GET /blobs/{id}`: bytes by their hash. Programs and manifests come in here; what was withdrawn is gone.

use std::sync::atomic::Ordering;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use collective::id::BlobId;
use collective::permit::Fault;

use super::{App, Problem};
use crate::blobs::BlobError;

/// Bytes that strangers may leave here while the node runs: over a hundred of the largest programs. A node that
/// serves more restarts, or its operator uploads for them.
const MAX_GUEST_BYTES: u64 = 1 << 30;

/// Keeps bytes and says their name.
pub async fn keep(
    State(app): State<App>,
    bytes: Bytes,
) -> Result<(StatusCode, Json<BlobId>), Problem> {
    // Else anybody who has a copy could put back what its contributor took away.
    let id = BlobId::of(&bytes);
    if app.ledger.is_dropped(id).await? {
        return Err(gone(id));
    }
    let length = bytes.len() as u64;
    let kept = app.guest_bytes.fetch_add(length, Ordering::Relaxed);
    if kept.saturating_add(length) > MAX_GUEST_BYTES {
        app.guest_bytes.fetch_sub(length, Ordering::Relaxed);
        let detail = format!("this node takes no more than {MAX_GUEST_BYTES} bytes of programs");
        return Err(Problem::new(
            StatusCode::INSUFFICIENT_STORAGE,
            Fault::Operator,
            detail,
        ));
    }
    Ok((StatusCode::CREATED, Json(app.blobs.put(bytes).await?)))
}

/// Gives the bytes of this name.
pub async fn give(State(app): State<App>, Path(id): Path<String>) -> Result<Bytes, Problem> {
    let id: BlobId = id
        .parse()
        .map_err(|_| Problem::malformed("a blob's name is 32 bytes in hex"))?;
    match app.blobs.get(id).await {
        Err(BlobError::Missing(_)) if app.ledger.is_dropped(id).await? => Err(gone(id)),
        given => Ok(given?),
    }
}

fn gone(id: BlobId) -> Problem {
    let detail = format!(
        "blob {id} was the file of a contribution that was revoked or whose terms have ended: this node dropped it"
    );
    Problem::new(StatusCode::GONE, Fault::Requester, detail)
}
