//! What a place answered: the part of a file that was asked for, or why that is not in it.

use std::error::Error;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use reqwest::header::{CONTENT_ENCODING, CONTENT_RANGE};
use reqwest::{Response, StatusCode};

use super::PlaceError;
use super::public::{NOT_PUBLIC, NotPublic};

/// Bytes before the range that are read past where a server gives the whole file: the largest is an escrowed upload's.
const MAX_SKIPPED: u64 = crate::intake::MAX_UPLOAD_BYTES as u64;

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
        StatusCode::OK if range.start <= MAX_SKIPPED => range.start,
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
