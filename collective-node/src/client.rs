//! The node's HTTP interface from the other side: what contributors, requesters and auditors call.

use std::time::Duration;

use alloy::primitives::Address;
use bytes::{Bytes, BytesMut};
use collective::committee::log::LogHead;
use collective::contribution::SignedPlace;
use collective::id::{BlobId, Leaf, ManifestDigest};
use collective::limits::{MAX_HEADER_BYTES, MAX_LOG_LINE_BYTES, MAX_OUTPUT_BYTES};
use reqwest::{Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use url::Url;

use crate::governance::{SignedBallot, SignedDelegation};
use crate::holder::published::{LogPage, MAX_PAGE_LINES};
use crate::http::{
    ClaimAnswer, ClaimsAnswer, CollectiveAnswer, ContributionAnswer, ContributorAnswer, Deployed,
    JobAnswer, MAX_BLOB_BYTES, MemberAnswer, Problem, RecoveryAnswer, Relayed, RelayedClaims,
    RelayedRecovery, RelayedRevocation, RevocationAnswer, StandingAnswer, StatusAnswer, Uses,
};
use crate::intake::{Acknowledgement, ConnectedUpload, LOOK_REQUEST, Moved};
use crate::ledger::Audited;

/// How long one request may take: an upload is at most a MiB, a relayed transaction a few blocks.
const PATIENCE: Duration = Duration::from_secs(60);

/// For a node that looks at a whole file at its place first: what it takes for that, and the way there and back, so that it is the
/// node that says what took too long.
const LOOKED_AT: Duration = LOOK_REQUEST.saturating_add(Duration::from_secs(10));

/// Bytes of a blob that is fetched: the largest is a sealed output, and sealing adds less than a hundredth.
const MAX_FETCHED_BYTES: usize = MAX_OUTPUT_BYTES as usize / 100 * 101;

/// Bytes of a page of a log: its lines, and as much again for the JSON around them.
const MAX_LOG_PAGE_BYTES: usize = 2 * MAX_PAGE_LINES * MAX_LOG_LINE_BYTES;

/// Bytes of a log that is read: half a million releases.
const MAX_LOG_BYTES: usize = 256 * 1024 * 1024;

/// A log as a holder gave it, not checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenLog {
    /// What the holder says where it stands.
    pub head: LogHead,
    /// Its signature under that: r, s, v.
    pub signature: Bytes,
    /// Lines with their line feeds.
    pub lines: Vec<u8>,
}

/// Why a request did not work.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The node said no, and who has to act.
    #[error("the node refused ({status}, fault: {fault}): {detail}", status = .0.status, fault = crate::driver::fault_name(.0.fault), detail = .0.detail)]
    Refused(Box<Problem>),
    /// Nobody answered.
    #[error("no answer from the node: {0}; check its address and that it runs")]
    Unreachable(#[from] reqwest::Error),
    /// The node answered something else.
    #[error("the node answered {0}, which is no answer of this interface")]
    Unexpected(StatusCode),
    /// The node does not come to an end.
    #[error("the node gave more than {0} bytes, which nothing that was asked for has")]
    Oversize(usize),
    /// A log without end, or with lines that no holder writes.
    #[error(
        "the log is longer than {MAX_LOG_BYTES} bytes, or a page of it than {MAX_LOG_PAGE_BYTES}: read it at the holder"
    )]
    LogTooLong,
    /// A page of a log that is none.
    #[error("no page of a log: {0}")]
    NoLog(serde_json::Error),
    /// The node gave other bytes.
    #[error("the node gave other bytes than blob {0}")]
    Garbled(BlobId),
}

impl ClientError {
    /// The problem document, if there is one.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused(problem) => Some(problem),
            _ => None,
        }
    }
}

/// A node to talk to. Clones share connections.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) http: reqwest::Client,
    base: Url,
}

impl Client {
    /// The node at this address.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] where no TLS roots or sockets are to be had.
    pub fn new(base: Url) -> Result<Self, ClientError> {
        let http = reqwest::Client::builder().timeout(PATIENCE).build()?;
        Ok(Self { http, base })
    }

    /// Sends an upload ([`crate::intake::join`]).
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn contribute(&self, upload: Vec<u8>) -> Result<Acknowledgement, ClientError> {
        let request = self.http.post(self.url("contributions")).body(upload);
        json(request.send().await?).await
    }

    /// Sends a contribution whose file its contributor keeps.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn connect(&self, upload: &ConnectedUpload) -> Result<Acknowledgement, ClientError> {
        let request = self.http.post(self.url("contributions/connected"));
        json(request.timeout(LOOKED_AT).json(upload).send().await?).await
    }

    /// Says where a contributor keeps a file from now on.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn move_to(&self, place: &SignedPlace) -> Result<Moved, ClientError> {
        let path = format!("contributions/{}/place", place.place.leaf);
        let request = self.http.post(self.url(&path));
        json(request.timeout(LOOKED_AT).json(place).send().await?).await
    }

    /// Where a contribution stands.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn contribution(&self, leaf: Leaf) -> Result<ContributionAnswer, ClientError> {
        self.get(&format!("contributions/{leaf}")).await
    }

    /// Which runs read a contribution, as the node says.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn uses(&self, leaf: Leaf) -> Result<Uses, ClientError> {
        self.get(&format!("contributions/{leaf}/uses")).await
    }

    /// The header of a contribution's sealed file, for those who check it against the leaf.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn header(&self, leaf: Leaf) -> Result<Bytes, ClientError> {
        let url = self.url(&format!("contributions/{leaf}/header"));
        body(self.http.get(url).send().await?, MAX_HEADER_BYTES).await
    }

    /// What the newest audits of the stored payloads came to, newest first.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn audits(&self) -> Result<Vec<Audited>, ClientError> {
        self.get("liveness").await
    }

    /// How one contribution stands after the last audits.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn standing(&self, leaf: Leaf) -> Result<StandingAnswer, ClientError> {
        self.get(&format!("contributions/{leaf}/liveness")).await
    }

    /// Has a signed revocation relayed.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn revoke(
        &self,
        revocation: &RelayedRevocation,
    ) -> Result<RevocationAnswer, ClientError> {
        self.post("revocations", revocation).await
    }

    /// What the node has taken in from an account.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn contributor(&self, account: Address) -> Result<ContributorAnswer, ClientError> {
        self.get(&format!("contributors/{account}")).await
    }

    /// How the recovery of an account's id stands.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn recovery(&self, account: Address) -> Result<RecoveryAnswer, ClientError> {
        self.get(&format!("contributors/{account}/recovery")).await
    }

    /// Has a signed change of a recovery relayed.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn recover(&self, change: &RelayedRecovery) -> Result<Relayed, ClientError> {
        self.post("recoveries", change).await
    }

    /// How a member stands, and what it has to know to sign a ballot or a delegation.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn member(&self, account: Address) -> Result<MemberAnswer, ClientError> {
        self.get(&format!("members/{account}")).await
    }

    /// Has a signed vote cast.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn cast(&self, ballot: &SignedBallot) -> Result<Relayed, ClientError> {
        self.post("ballots", ballot).await
    }

    /// Has a signed delegation relayed.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delegate(&self, delegation: &SignedDelegation) -> Result<Relayed, ClientError> {
        self.post("delegations", delegation).await
    }

    /// Has rewards claimed for these accounts, which the node pays the gas for.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn relay_claims(&self, accounts: Vec<Address>) -> Result<ClaimsAnswer, ClientError> {
        self.post("claims", &RelayedClaims { accounts }).await
    }

    /// Keeps bytes at the node.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn keep(&self, bytes: Vec<u8>) -> Result<BlobId, ClientError> {
        debug_assert!(bytes.len() <= MAX_BLOB_BYTES);
        json(self.http.post(self.url("blobs")).body(bytes).send().await?).await
    }

    /// The bytes of this name, checked against it.
    ///
    /// # Errors
    /// [`ClientError::Garbled`] when they are others.
    pub async fn blob(&self, id: BlobId) -> Result<Bytes, ClientError> {
        let url = self.url(&format!("blobs/{id}"));
        let bytes = body(self.http.get(url).send().await?, MAX_FETCHED_BYTES).await?;
        if BlobId::of(&bytes) == id {
            Ok(bytes)
        } else {
            Err(ClientError::Garbled(id))
        }
    }

    /// Whether the node has bytes of this name. It is believed: what it gives is checked when it is fetched.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn has(&self, id: BlobId) -> Result<bool, ClientError> {
        let response = self
            .http
            .head(self.url(&format!("blobs/{id}")))
            .send()
            .await?;
        match response.status() {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            other => Err(ClientError::Unexpected(other)),
        }
    }

    /// How every approved program stands at the node.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn programs(&self) -> Result<Vec<Deployed>, ClientError> {
        self.get("programs").await
    }

    /// How an approved program stands at the node.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn program(&self, manifest: ManifestDigest) -> Result<Deployed, ClientError> {
        self.get(&format!("programs/{manifest}")).await
    }

    /// A job.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn job(&self, job: u64) -> Result<JobAnswer, ClientError> {
        self.get(&format!("jobs/{job}")).await
    }

    /// A job's sealed output.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn output(&self, job: u64) -> Result<Bytes, ClientError> {
        let url = self.url(&format!("jobs/{job}/output"));
        body(self.http.get(url).send().await?, MAX_FETCHED_BYTES).await
    }

    /// What an account may claim.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn claim(&self, account: Address) -> Result<ClaimAnswer, ClientError> {
        self.get(&format!("rewards/{account}")).await
    }

    /// Where the collective lives and how to seal to it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn collective(&self) -> Result<CollectiveAnswer, ClientError> {
        self.get("collective").await
    }

    /// The whole log of a key holder, put together of its pages. Nothing of it is checked yet.
    ///
    /// # Errors
    /// [`ClientError::LogTooLong`], and where a page is no page.
    pub async fn log(&self) -> Result<GivenLog, ClientError> {
        let mut url = self.url("log");
        let (mut lines, mut count) = (Vec::new(), 0);
        loop {
            url.set_query(Some(&format!("after={count}")));
            let mut response = ok(self.http.get(url.clone()).send().await?).await?;
            let mut bytes = Vec::new();
            while let Some(piece) = response.chunk().await? {
                if bytes.len() + piece.len() > MAX_LOG_PAGE_BYTES {
                    return Err(ClientError::LogTooLong);
                }
                bytes.extend_from_slice(&piece);
            }
            let page: LogPage = serde_json::from_slice(&bytes).map_err(ClientError::NoLog)?;
            for line in &page.lines {
                lines.extend(line.to_bytes());
                lines.push(b'\n');
            }
            count += page.lines.len() as u64;
            // The log may grow between two pages: the head is of the moment of the last one.
            if page.lines.is_empty() || count >= page.head.index {
                let (head, signature) = (page.head, page.signature.0);
                return Ok(GivenLog {
                    head,
                    signature,
                    lines,
                });
            }
            if lines.len() > MAX_LOG_BYTES {
                return Err(ClientError::LogTooLong);
            }
        }
    }

    /// How the node is.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn status(&self) -> Result<StatusAnswer, ClientError> {
        self.get("status").await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        json(self.http.get(self.url(path)).send().await?).await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        json(self.http.post(self.url(path)).json(body).send().await?).await
    }

    pub(crate) fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(path);
        url
    }
}

pub(crate) async fn json<T: DeserializeOwned>(response: Response) -> Result<T, ClientError> {
    Ok(ok(response).await?.json().await?)
}

/// A body of `limit` bytes at most: whoever answers need not be honest.
async fn body(response: Response, limit: usize) -> Result<Bytes, ClientError> {
    let mut response = ok(response).await?;
    let mut bytes = BytesMut::new();
    while let Some(piece) = response.chunk().await? {
        if bytes.len() + piece.len() > limit {
            return Err(ClientError::Oversize(limit));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.freeze())
}

pub(crate) async fn ok(response: Response) -> Result<Response, ClientError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    match response.json::<Problem>().await {
        Ok(problem) => Err(ClientError::Refused(Box::new(problem))),
        Err(_) => Err(ClientError::Unexpected(status)),
    }
}
