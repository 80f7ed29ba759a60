//! What a place answered: the part of a file that was asked for, or why that is not in it.

use std::error::Error;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use collective::contribution::BLOCK_BYTES;
use collective::limits::MAX_HEADER_BYTES;
use reqwest::header::{CONTENT_ENCODING, CONTENT_RANGE};
use reqwest::{Response, StatusCode};

use super::PlaceError;
use super::public::{NOT_PUBLIC, NotPublic};

/// Where a range ends at most that is taken from a server which gives the whole file: at the end of the first block of a file with the
/// longest header, and the byte after it. A look asks for the byte behind the file, so what it took every audit takes.
const MAX_END: u64 = BLOCK_BYTES + MAX_HEADER_BYTES as u64 + 1;

/// The part of the file that a response has.
pub(super) async fn part(response: Response, range: Range<u64>) -> Result<Bytes, PlaceError> {
    let encoding = response.headers().get(CONTENT_ENCODING);
    if encoding.is_some_and(|it| it != "identity") {
        return Err(PlaceError::Garbled("it is encoded, which nobody asked for"));
    }
    let skip = match response.status() {
        StatusCode::PARTIAL_CONTENT => {
            let given = response.headers().get(CONTENT_RANGE);
            let given = given.and_then(|it| first_and_last(it.to_str().ok()?));
            match given {
                Some((first, last)) if first == range.start && last < range.end => 0,
                _ => {
                    return Err(PlaceError::Garbled(
                        "it gives another part than was asked for",
                    ));
                }
            }
        }
        // The whole file, of a server that knows no ranges.
        StatusCode::OK if range.end <= MAX_END => range.start,
        StatusCode::OK => return Err(PlaceError::Garbled("it knows no ranges")),
        // The file ends before.
        StatusCode::RANGE_NOT_SATISFIABLE => return Ok(Bytes::new()),
        status => return Err(PlaceError::Status(status)),
    };
    body(response, skip, range.end - range.start).await
}

/// `length` bytes of a body at most, behind the first `skip`. What comes after is not waited for.
async fn body(mut response: Response, mut skip: u64, length: u64) -> Result<Bytes, PlaceError> {
    let mut bytes = BytesMut::new();
    while (bytes.len() as u64) < length {
        let piece = response.chunk().await;
        let Some(mut piece) = piece.map_err(|_| PlaceError::Garbled("it stopped in the middle"))?
        else {
            break;
        };
        let before = skip.min(piece.len() as u64);
        skip -= before;
        piece = piece.split_off(before as usize);
        let room = length - bytes.len() as u64;
        piece.truncate(room.min(piece.len() as u64) as usize);
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.freeze())
}

/// `bytes 3-7/12` or `bytes 3-7/*` (RFC 9110 §14.4).
fn first_and_last(content_range: &str) -> Option<(u64, u64)> {
    let (range, _) = content_range.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}

/// What of an error may be told: its text has the address.
pub(super) fn why(error: &reqwest::Error) -> PlaceError {
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    while let Some(inner) = cause {
        if inner.is::<NotPublic>() {
            return PlaceError::Refused(NOT_PUBLIC);
        }
        cause = inner.source();
    }
    match error {
        error if error.is_connect() || error.is_timeout() => {
            PlaceError::Silent("no connection, or no certificate that holds")
        }
        _ => PlaceError::Garbled("it does not speak HTTP"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn of_a_server_without_ranges_an_audit_takes_what_the_look_took() {
        let header = MAX_HEADER_BYTES as u64;
        let whole = |length: u64| {
            let file: Vec<u8> = (0..length).map(|at| (at / 1024) as u8).collect();
            move |range: Range<u64>| {
                let response = axum::http::Response::new(file.clone());
                async move { part(response.into(), range).await }
            }
        };
        for (length, is_taken) in [(MAX_END - 1, true), (MAX_END, false)] {
            let ask = whole(length);
            // As a look asks: the first block, and then the rest with one byte more.
            let first = ask(header..(header + BLOCK_BYTES).min(length)).await;
            assert!(first.is_ok());
            let looked = ask(header + BLOCK_BYTES - 7..length + 1).await;
            assert_eq!(looked.is_ok(), is_taken, "{length}");
        }
        let ask = whole(MAX_END - 1);
        for leaf in [0, 1, 1022, 1023] {
            let start = header + 1024 * leaf;
            let came = ask(start..start + 1024).await.expect("taken");
            assert_eq!(came, vec![(start / 1024) as u8; 1024], "leaf {leaf}");
        }
    }

    #[test]
    fn only_a_range_is_a_range() {
        assert_eq!(first_and_last("bytes 3-7/12"), Some((3, 7)));
        assert_eq!(first_and_last("bytes 3-7/*"), Some((3, 7)));
        for text in [
            "bytes */12",
            "bytes 7-3/12",
            "3-7/12",
            "bytes 3-7",
            "bytes -7/12",
        ] {
            assert_eq!(first_and_last(text), None, "{text}");
        }
    }
}
