//! `POST /blobs`, `GET /blobs/{id}`: bytes by their hash. Programs and manifests come in here.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use collective::id::BlobId;

use super::{App, Problem};

/// Keeps bytes and says their name.
pub async fn keep(
    State(app): State<App>,
    bytes: Bytes,
) -> Result<(StatusCode, Json<BlobId>), Problem> {
    Ok((StatusCode::CREATED, Json(app.blobs.put(bytes).await?)))
}

/// Gives the bytes of this name.
pub async fn give(State(app): State<App>, Path(id): Path<String>) -> Result<Bytes, Problem> {
    let id: BlobId = id
        .parse()
        .map_err(|_| Problem::malformed("a blob's name is 32 bytes in hex"))?;
    Ok(app.blobs.get(id).await?)
}
