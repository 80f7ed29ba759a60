//! `HEAD`, `PATCH` and `DELETE /uploads/{leaf}`: uploads in parts, by the header fields of draft-ietf-httpbis-resumable-upload
//! (SPEC "Upload"). `POST /contributions` opens them.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use collective::id::Leaf;
use collective::permit::Fault;

use super::{App, Problem};
use crate::intake::{Appended, IntakeRefusal, Progress};
use crate::uploads::MAX_IDLE_SECONDS;

/// Whether all is there; of a request, whether it brings the rest.
pub const COMPLETE: HeaderName = HeaderName::from_static("upload-complete");

/// How many bytes are there.
pub const OFFSET: HeaderName = HeaderName::from_static("upload-offset");

/// How many there will be.
pub const LENGTH: HeaderName = HeaderName::from_static("upload-length");

/// For how many seconds it stays without a request.
pub const LIMIT: HeaderName = HeaderName::from_static("upload-limit");

/// What a `PATCH` has to say that it brings.
pub const PARTIAL_UPLOAD: &str = "application/partial-upload";

/// An upload is open: where it goes on.
pub fn begun(progress: Progress) -> Response {
    let location = [(header::LOCATION, format!("/uploads/{}", progress.leaf))];
    (StatusCode::CREATED, location, stand(progress)).into_response()
}

/// Tells how far an upload has come. What it tells of is on the disk.
pub async fn progress(
    State(app): State<App>,
    Path(leaf): Path<String>,
) -> Result<Response, Problem> {
    let progress = app.intake.progress(parse(&leaf)?).await?;
    Ok((StatusCode::NO_CONTENT, stand(progress)).into_response())
}

/// Appends to an upload; the last part has the answer that an upload in one request has.
pub async fn append(
    State(app): State<App>,
    Path(leaf): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let leaf = parse(&leaf)?;
    let kind = headers.get(header::CONTENT_TYPE);
    if kind.is_none_or(|kind| kind != PARTIAL_UPLOAD) {
        let detail = format!("a part has the content type {PARTIAL_UPLOAD}");
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Err(Problem::new(status, Fault::Contributor, detail));
    }
    let missing = |name| Problem::malformed(format!("a part comes with {name}"));
    let is_last = is_complete(&headers)?.ok_or_else(|| missing("Upload-Complete: ?0 or ?1"))?;
    let offset = headers.get(OFFSET).and_then(|it| it.to_str().ok());
    let offset = offset.and_then(|it| it.parse().ok());
    let offset = offset.ok_or_else(|| missing("Upload-Offset: a number of bytes"))?;
    let parts = body.into_data_stream();
    match app.intake.append(leaf, offset, is_last, parts).await {
        Ok(Appended::More(progress)) => {
            Ok((StatusCode::NO_CONTENT, stand(progress)).into_response())
        }
        Ok(Appended::Over(taken)) => {
            let answer = match taken {
                Ok(acknowledgement) => (StatusCode::CREATED, Json(acknowledgement)).into_response(),
                Err(refusal) => Problem::from(refusal).into_response(),
            };
            Ok(([(COMPLETE, "?1")], answer).into_response())
        }
        Err(refusal) => {
            let stands_at = match refusal {
                IntakeRefusal::AnotherOffset(offset) => Some(offset.into()),
                _ => None,
            };
            let mut answer = ([(COMPLETE, "?0")], Problem::from(refusal)).into_response();
            answer
                .headers_mut()
                .extend(stands_at.map(|offset: HeaderValue| (OFFSET, offset)));
            Ok(answer)
        }
    }
}

/// Forgets an upload.
pub async fn cancel(
    State(app): State<App>,
    Path(leaf): Path<String>,
) -> Result<StatusCode, Problem> {
    app.intake.cancel(parse(&leaf)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Whether a request says that it brings the rest of an upload.
pub fn is_complete(headers: &HeaderMap) -> Result<Option<bool>, Problem> {
    match headers.get(COMPLETE).map(|it| it.as_bytes()) {
        None => Ok(None),
        Some(b"?0") => Ok(Some(false)),
        Some(b"?1") => Ok(Some(true)),
        Some(_) => Err(Problem::malformed("Upload-Complete is ?0 or ?1")),
    }
}

fn stand(progress: Progress) -> [(HeaderName, String); 5] {
    let complete = if progress.is_complete { "?1" } else { "?0" };
    [
        (COMPLETE, complete.into()),
        (OFFSET, progress.offset.to_string()),
        (LENGTH, progress.length.to_string()),
        (LIMIT, format!("max-age={MAX_IDLE_SECONDS}")),
        (header::CACHE_CONTROL, "no-store".into()),
    ]
}

fn parse(leaf: &str) -> Result<Leaf, Problem> {
    leaf.parse()
        .map_err(|_| Problem::malformed("a leaf is 32 bytes in hex"))
}
