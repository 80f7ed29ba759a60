//! `POST /blobs`, `GET /blobs/{id}`: bytes by their hash. Programs and manifests come in here; what was withdrawn is gone.

use std::ops::Range;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse, Response};
use collective::id::BlobId;
use collective::permit::Fault;
use futures_util::StreamExt;

use super::{App, Problem};
use crate::blobs::BlobError;
use crate::contributor::split_file;

/// Bytes that strangers may leave here while the node runs: over a hundred of the largest programs. A node that
/// serves more restarts, or its operator uploads for them.
const MAX_GUEST_BYTES: u64 = 1 << 30;

/// Bytes of a blob that is given from memory: the manifest of a full batch, which key holders must get however many strangers read
/// large files slowly.
const WHOLE_BYTES: u64 = 12 << 20;

/// Large files that are given at the same time: each is open, of the descriptors that `http::serve` leaves to everything else, for as
/// long as its client reads.
pub const MAX_STREAMS: usize = 64;

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
    // To its end, whoever waits for it.
    let kept = tokio::spawn(put_unless_dropped(app, id, bytes)).await;
    let kept = kept.map_err(|_| Problem::operator("keeping the blob broke off: ask again"))?;
    kept.map(|()| (StatusCode::CREATED, Json(id)))
}

/// The file may be dropped while it is put. A header that is all of its file stays when that is withdrawn.
async fn put_unless_dropped(app: App, id: BlobId, bytes: Bytes) -> Result<(), Problem> {
    let is_header = split_file(&bytes).is_some_and(|(_, payload)| payload.is_empty());
    app.blobs.put(bytes).await?;
    if !is_header && app.ledger.is_dropped(id).await? {
        app.blobs.remove(id).await?;
        return Err(gone(id));
    }
    Ok(())
}

/// Gives the bytes of this name, or a part of them (RFC 9110 §14). A part has no name: whoever asks for it checks what it is a part
/// of. An answer whose bytes turn out to be others breaks off before its end.
pub async fn give(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id: BlobId = id
        .parse()
        .map_err(|_| Problem::malformed("a blob's name is 32 bytes in hex"))?;
    // Before the file is opened, and until its last byte is sent.
    let turn = app.streams.clone().try_acquire_owned();
    let blob = match app.blobs.open(id).await {
        Err(BlobError::Missing(_)) if app.ledger.is_dropped(id).await? => return Err(gone(id)),
        blob => blob?,
    };
    let (tag, length) = (format!("\"{id}\""), blob.length());
    let kept = headers.get(header::IF_RANGE).is_none_or(|it| *it == *tag);
    let asked = headers.get(header::RANGE).filter(|_| kept);
    let asked = asked.and_then(|it| range(it.to_str().ok()?, length));
    let common = [
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::ETAG, tag),
    ];
    let (status, range) = match asked {
        None if length <= WHOLE_BYTES => {
            return Ok((common, app.blobs.get(id).await?).into_response());
        }
        None => (StatusCode::OK, 0..length),
        Some(range) if range.is_empty() => {
            let all = [(header::CONTENT_RANGE, format!("bytes */{length}"))];
            return Ok((StatusCode::RANGE_NOT_SATISFIABLE, all).into_response());
        }
        Some(range) => (StatusCode::PARTIAL_CONTENT, range),
    };
    let turn = turn.map_err(|_| {
        Problem::operator(format!(
            "{MAX_STREAMS} files are being given already: ask again"
        ))
    })?;
    let part = match status {
        StatusCode::OK => None,
        _ => Some(format!("bytes {}-{}/{length}", range.start, range.end - 1)),
    };
    let part = part.map(|part| AppendHeaders([(header::CONTENT_RANGE, part)]));
    let bytes = [(
        header::CONTENT_LENGTH,
        (range.end - range.start).to_string(),
    )];
    let pieces = blob.pieces(range).inspect(move |_| {
        let _held = &turn;
    });
    let body = Body::from_stream(pieces);
    Ok((status, common, bytes, part, body).into_response())
}

/// The one range that `bytes=FIRST-LAST`, `bytes=FIRST-` or `bytes=-LAST BYTES` asks for, empty where nothing is there; `None` for
/// what is to be ignored.
fn range(asked: &str, length: u64) -> Option<Range<u64>> {
    let (first, last) = asked.strip_prefix("bytes=")?.split_once('-')?;
    let number = |text: &str| match text.bytes().all(|it| it.is_ascii_digit()) {
        true => text.parse::<u64>().ok(),
        false => None,
    };
    if first.is_empty() {
        return Some(length.saturating_sub(number(last)?)..length);
    }
    let first = number(first)?;
    let end = match last {
        "" => length,
        last => number(last)
            .filter(|last| *last >= first)?
            .saturating_add(1),
    };
    Some(first..end.min(length))
}

fn gone(id: BlobId) -> Problem {
    let detail = format!(
        "blob {id} was the file of a contribution that was revoked or whose terms have ended: this node dropped it"
    );
    Problem::new(StatusCode::GONE, Fault::Requester, detail)
}

#[cfg(test)]
mod tests {
    use super::range;

    #[test]
    fn a_range_is_one_of_three_shapes() {
        for (asked, expected) in [
            ("bytes=0-9", Some(0..10)),
            ("bytes=90-", Some(90..100)),
            ("bytes=-10", Some(90..100)),
            ("bytes=-200", Some(0..100)),
            ("bytes=7-18446744073709551615", Some(7..100)),
            ("bytes=9-8", None),
            ("bytes=0-1,3-4", None),
            ("bytes=+1-2", None),
            ("bytes=-", None),
            ("items=0-1", None),
            ("0-1", None),
        ] {
            assert_eq!(range(asked, 100), expected, "{asked}");
        }
        for asked in ["bytes=100-", "bytes=100-200", "bytes=-0"] {
            assert!(range(asked, 100).is_some_and(|it| it.is_empty()), "{asked}");
        }
    }
}
