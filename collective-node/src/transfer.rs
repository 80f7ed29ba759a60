//! Large files between a disk and a node: sent in parts, received in pieces, and both go on after a cut.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use collective::contribution::SignedContribution;
use collective::id::{BlobId, Leaf};
use collective::limits::MAX_HEADER_BYTES;
use reqwest::header::{CONTENT_TYPE, HeaderName, RANGE};
use reqwest::{Response, StatusCode};
use thiserror::Error;

use crate::blobs::BlobHasher;
use crate::client::{Client, ClientError, json, ok};
use crate::contributor::read_header;
use crate::http::{COMPLETE, OFFSET, PARTIAL_UPLOAD};
use crate::intake::{Acknowledgement, MAX_PAYLOAD_BYTES, join};
use crate::pace::Pace;

/// Bytes of one part: what a line of 400 kbit/s takes in the time that a node has for a request, and little enough for memory.
const PART_BYTES: u64 = 8 << 20;

/// As long as a node has for a request, which may end with checking the whole file.
const PATIENCE: Duration = Duration::from_secs(180);

/// Tries in a row that get nothing further: with growing pauses some minutes, in which a node restarts or a network comes back.
const TRIES: u32 = 10;

/// The first pause after a cut.
const PAUSE: Duration = Duration::from_millis(500);

/// Bytes of a file that is received: a payload and its header.
const MAX_DOWNLOAD_BYTES: u64 = MAX_PAYLOAD_BYTES + MAX_HEADER_BYTES as u64;

/// Why a file did not get across.
#[derive(Debug, Error)]
pub enum TransferError {
    /// The file here.
    #[error("the file here: {0}")]
    File(#[from] io::Error),
    /// It is no sealed file.
    #[error("the sealed file has no header")]
    NoHeader,
    /// Another request went on with the upload, or ended it.
    #[error("the upload does not stand where it did: somebody else sends this file, too")]
    Elsewhere,
    /// The node.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// Sends a sealed file with its signed leaf; goes on where an earlier call with the same entry stopped. `told` hears of each byte
/// that the node has on its disk: how many, of how many.
///
/// # Errors
/// [`TransferError`]; what is at the node stays there for a day.
pub async fn upload(
    client: &Client,
    entry: &SignedContribution,
    file: &Path,
    told: impl FnMut(u64, u64),
) -> Result<Acknowledgement, TransferError> {
    let file = File::open(file)?;
    let header = read_header(&file)?.ok_or(TransferError::NoHeader)?;
    let opening = join(entry, &header);
    let sending = Sending {
        client,
        leaf: entry.contribution.leaf(),
        before: (opening.len() - header.len()) as u64,
        length: opening.len() as u64 + entry.commitment.length,
        opening,
        file,
    };
    sending.send(told).await
}

/// Receives a blob into an empty file, piece by piece. What is there after an error is a part of it, or other bytes.
///
/// # Errors
/// [`TransferError`]; [`ClientError::Garbled`] where it came whole, and is another one.
pub async fn download(client: &Client, id: BlobId, mut file: &File) -> Result<(), TransferError> {
    let (mut hasher, mut there) = (BlobHasher::default(), 0);
    let (mut pace, mut tries) = (Pace::new(PAUSE), 0);
    loop {
        let before = there;
        let error = match receive(client, id, &mut file, &mut hasher, &mut there).await {
            Err(error) if error.is_cut() => error,
            Err(error) => return Err(error),
            Ok(()) if hasher.finish() == id => return Ok(()),
            Ok(()) => return Err(ClientError::Garbled(id).into()),
        };
        if there > before {
            (pace, tries) = (Pace::new(PAUSE), 0);
        }
        tries += 1;
        if tries == TRIES {
            return Err(error);
        }
        pace.rest("the download was cut off", Err(error)).await;
    }
}

/// Receives what is behind the first bytes, as far as it comes.
async fn receive(
    client: &Client,
    id: BlobId,
    file: &mut &File,
    hasher: &mut BlobHasher,
    there: &mut u64,
) -> Result<(), TransferError> {
    let request = client.http.get(client.url(&format!("blobs/{id}")));
    let request = request.timeout(PATIENCE);
    let request = match *there {
        0 => request,
        there => request.header(RANGE, format!("bytes={there}-")),
    };
    let answer = request.send().await.map_err(ClientError::from)?;
    let expected = match *there {
        0 => StatusCode::OK,
        _ => StatusCode::PARTIAL_CONTENT,
    };
    let mut answer = ok(answer).await?;
    if answer.status() != expected {
        return Err(ClientError::Unexpected(answer.status()).into());
    }
    while let Some(piece) = answer.chunk().await.map_err(ClientError::from)? {
        file.write_all(&piece)?;
        hasher.update(&piece);
        *there += piece.len() as u64;
        if *there > MAX_DOWNLOAD_BYTES {
            return Err(ClientError::Oversize(MAX_DOWNLOAD_BYTES as usize).into());
        }
    }
    Ok(())
}

struct Sending<'a> {
    client: &'a Client,
    leaf: Leaf,
    /// What the node is sent first.
    opening: Vec<u8>,
    /// Bytes of that before the file.
    before: u64,
    /// Bytes in all.
    length: u64,
    file: File,
}

impl Sending<'_> {
    async fn send(&self, mut told: impl FnMut(u64, u64)) -> Result<Acknowledgement, TransferError> {
        let (mut pace, mut tries, mut furthest) = (Pace::new(PAUSE), 0, 0);
        loop {
            let before = furthest;
            let sent = self.go_on(|offset| {
                furthest = furthest.max(offset);
                told(offset, self.length);
            });
            let error = match sent.await {
                Err(error) if error.is_cut() => error,
                done => return done,
            };
            if furthest > before {
                (pace, tries) = (Pace::new(PAUSE), 0);
            }
            tries += 1;
            if tries == TRIES {
                return Err(error);
            }
            pace.rest("the upload was cut off", Err(error)).await;
        }
    }

    /// Sends what the node does not have yet, until it is taken in or something stops it.
    async fn go_on(&self, mut told: impl FnMut(u64)) -> Result<Acknowledgement, TransferError> {
        let Some(mut offset) = self.stands_at().await? else {
            // Taken in, and the answer was lost.
            let leaf = self.leaf;
            let signature = self.client.contribution(leaf).await?.acknowledgement;
            return Ok(Acknowledgement { leaf, signature });
        };
        loop {
            told(offset);
            let unexpected = ClientError::Unexpected(StatusCode::CONFLICT);
            let at = offset.checked_sub(self.before).ok_or(unexpected)?;
            let mut part = vec![0; PART_BYTES.min(self.length - offset) as usize];
            self.file.read_exact_at(&mut part, at)?;
            offset += part.len() as u64;
            let is_last = offset == self.length;
            let sent = offset - part.len() as u64;
            let request = self.client.http.patch(self.url()).timeout(PATIENCE);
            let request = request
                .header(CONTENT_TYPE, PARTIAL_UPLOAD)
                .header(OFFSET, sent)
                .header(COMPLETE, if is_last { "?1" } else { "?0" });
            let answer = request.body(part).send().await;
            let answer = answer.map_err(ClientError::from)?;
            if is_last && has(&answer, &COMPLETE, "?1") {
                return Ok(json(answer).await?);
            }
            let is_open = has(&answer, &COMPLETE, "?0");
            if is_open
                && matches!(
                    answer.status(),
                    StatusCode::CONFLICT | StatusCode::NOT_FOUND
                )
            {
                return Err(TransferError::Elsewhere);
            }
            ok(answer).await?;
        }
    }

    /// Bytes that the node has, once it is told what comes; `None` where it has taken all in.
    async fn stands_at(&self) -> Result<Option<u64>, ClientError> {
        let mut answer = self.client.http.head(self.url()).send().await?;
        if answer.status() == StatusCode::NOT_FOUND {
            let request = self.client.http.post(self.client.url("contributions"));
            let request = request.header(COMPLETE, "?0").body(self.opening.clone());
            answer = request.send().await?;
        }
        let answer = ok(answer).await?;
        if has(&answer, &COMPLETE, "?1") {
            return Ok(None);
        }
        let offset = answer.headers().get(OFFSET).and_then(|it| it.to_str().ok());
        let offset = offset.and_then(|it| it.parse().ok());
        let offset = offset.filter(|offset| *offset <= self.length);
        offset
            .map(Some)
            .ok_or(ClientError::Unexpected(answer.status()))
    }

    fn url(&self) -> url::Url {
        self.client.url(&format!("uploads/{}", self.leaf))
    }
}

fn has(answer: &Response, name: &HeaderName, value: &str) -> bool {
    answer.headers().get(name).is_some_and(|it| it == value)
}

impl TransferError {
    /// Whether the node refused for good what was sent.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Client(ClientError::Refused(problem)) => {
                matches!(problem.status, 403 | 409 | 422)
            }
            _ => false,
        }
    }

    /// Whether to ask where the upload stands, and go on there: the network, a node that restarts or is busy, another sender.
    pub fn is_cut(&self) -> bool {
        let status = match self {
            Self::Elsewhere | Self::Client(ClientError::Unreachable(_)) => return true,
            Self::Client(ClientError::Refused(problem)) => problem.status,
            Self::Client(ClientError::Unexpected(status)) => status.as_u16(),
            _ => return false,
        };
        matches!(status, 408 | 500..)
    }
}
