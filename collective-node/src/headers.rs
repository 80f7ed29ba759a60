//! Headers of anchored contributions: what key holders need of a sealed file, and all they get.
//!
//! A header is named by the leaf's commitment, so nobody has to be trusted to give the right one.

use std::collections::HashMap;
use std::future::ready;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use collective::contribution::SignedContribution;
use collective::id::BlobId;
use collective::limits::MAX_HEADER_BYTES;
use collective::seal::contribution::{self, ContributionError, ContributionHeader};
use collective::seal::tagged::TaggedRecipient;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use thiserror::Error;
use tokio::sync::OnceCell;

use crate::blobs::{BlobError, Blobs, OpenBlob, given};
use crate::chain::Deployment;
use crate::client::{Client, ClientError};
use crate::contributor::split_file;
use crate::intake::sender_context;
use crate::ledger::{Ledger, LedgerError};

/// Blobs of which the heads are read at a time where all are: of one in a bucket each waits for an answer, and a million would take
/// hours one after another.
const AT_ONCE: usize = 32;

/// Why a header is not at hand. None of it is the contributor's fault.
#[derive(Debug, Error)]
pub enum HeadersError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The blob store.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The node that has it.
    #[error("cannot fetch the header of leaf {leaf}: {error}")]
    Fetch {
        /// Which.
        leaf: collective::id::Leaf,
        /// Why.
        error: Box<ClientError>,
    },
    /// It is not there, or other bytes are.
    #[error("no header here that leaf {0} commits to: restore the file from a copy")]
    Missing(collective::id::Leaf),
}

/// A place that headers come from. Clones share it.
#[derive(Clone)]
pub enum Headers {
    /// The files that a compute node took in.
    Own {
        /// Knows where they are.
        ledger: Ledger,
        /// Has them.
        blobs: Blobs,
        /// Where a ledger that was lost would say they are: looked up once, when it does not.
        scanned: Arc<OnceCell<HashMap<BlobId, BlobId>>>,
    },
    /// A node that is asked for each.
    Node(Client),
    /// Copies kept here of what a node gave.
    Mirror {
        /// The copies, each under the name that its commitment gives it.
        kept: Blobs,
        /// Who gives what is not here yet.
        node: Client,
    },
}

impl Headers {
    /// Those of a compute node.
    pub fn own(ledger: Ledger, blobs: Blobs) -> Self {
        let scanned = Arc::default();
        Self::Own {
            ledger,
            blobs,
            scanned,
        }
    }

    /// The bytes of one header, and nothing of its payload.
    ///
    /// # Errors
    /// [`HeadersError`].
    pub async fn get(&self, entry: &SignedContribution) -> Result<Bytes, HeadersError> {
        let leaf = entry.contribution.leaf();
        let name = BlobId(entry.commitment.header);
        let bytes = match self {
            Self::Own {
                ledger,
                blobs,
                scanned,
            } => {
                if let Some(header) = held(ledger, blobs, entry).await? {
                    return Ok(header);
                }
                let found = scanned.get_or_try_init(|| by_header(blobs)).await?;
                let file = found.get(&name).ok_or(HeadersError::Missing(leaf))?;
                in_file(blobs, *file).await?
            }
            Self::Node(node) => Some(fetch(node, leaf).await?),
            Self::Mirror { kept, node } => match kept.get(name).await {
                Ok(bytes) => Some(bytes),
                Err(_) => {
                    let bytes = fetch(node, leaf).await?;
                    if BlobId::of(&bytes) == name {
                        kept.put(bytes.clone()).await?;
                    }
                    Some(bytes)
                }
            },
        };
        bytes
            .filter(|bytes| BlobId::of(bytes) == name)
            .ok_or(HeadersError::Missing(leaf))
    }

    /// Keeps a header that stands on chain, where copies are kept. A compute node has the file that it acknowledged.
    ///
    /// # Errors
    /// [`HeadersError::Blob`].
    pub async fn keep(&self, header: Bytes) -> Result<(), HeadersError> {
        if let Self::Mirror { kept, .. } = self {
            kept.put(header).await?;
        }
        Ok(())
    }
}

/// The header of a contribution that a ledger knows: out of its file, or what is left of that once it is dropped
/// ([`crate::withdrawal`]).
///
/// # Errors
/// [`HeadersError`].
pub async fn held(
    ledger: &Ledger,
    blobs: &Blobs,
    entry: &SignedContribution,
) -> Result<Option<Bytes>, HeadersError> {
    let name = BlobId(entry.commitment.header);
    if let Some(file) = ledger.file(entry.contribution.leaf()).await? {
        match in_file(blobs, file).await {
            Ok(header) => return Ok(header.filter(|it| BlobId::of(it) == name)),
            // It may have been dropped just now.
            Err(BlobError::Missing(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    match blobs.get(name).await {
        Ok(header) => Ok(Some(header)),
        Err(BlobError::Missing(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The header that a file here begins with, of which no more is read. It is whoever asks that knows which one it has to be.
///
/// # Errors
/// [`BlobError`].
pub async fn in_file(blobs: &Blobs, file: BlobId) -> Result<Option<Bytes>, BlobError> {
    at_head(&blobs.open(file).await?).await
}

/// The same of a file that is open.
///
/// # Errors
/// [`BlobError`].
pub async fn at_head(file: &OpenBlob) -> Result<Option<Bytes>, BlobError> {
    let head = file.read(0..MAX_HEADER_BYTES as u64).await?;
    Ok(split_file(&head).map(|(header, _)| head.slice_ref(header)))
}

async fn fetch(node: &Client, leaf: collective::id::Leaf) -> Result<Bytes, HeadersError> {
    node.header(leaf)
        .await
        .map_err(|error| HeadersError::Fetch {
            leaf,
            error: Box::new(error),
        })
}

/// Every blob that begins with a header, and that. Bytes that are garbled begin with none. One that the store fails to give comes
/// as an error, its name in the log, and those after it come all the same.
///
/// # Errors
/// [`BlobError::Store`], [`BlobError::Bucket`].
pub async fn scan(
    blobs: &Blobs,
) -> Result<impl Stream<Item = Result<(BlobId, OpenBlob, Bytes), BlobError>>, BlobError> {
    let one = move |id| async move {
        let read = with_header(blobs, id).await;
        if let Err(error) = &read {
            tracing::error!(blob = %id, %error, "a blob cannot be read");
        }
        read
    };
    let each = stream::iter(blobs.list().await?).map(one);
    let all = each.buffer_unordered(AT_ONCE);
    Ok(all.try_filter_map(|found| ready(Ok(found))))
}

async fn with_header(
    blobs: &Blobs,
    id: BlobId,
) -> Result<Option<(BlobId, OpenBlob, Bytes)>, BlobError> {
    let Some(file) = given(blobs.open(id).await)? else {
        return Ok(None);
    };
    let header = given(at_head(&file).await)?.flatten();
    Ok(header.map(|header| (id, file, header)))
}

/// Sealed files by the hashes of their headers: of every blob the head is read once.
async fn by_header(blobs: &Blobs) -> Result<HashMap<BlobId, BlobId>, BlobError> {
    tracing::warn!("the ledger does not say where a contribution is: reading all headers for it");
    let mut found = HashMap::new();
    let mut all = pin!(scan(blobs).await?);
    while let Some((id, _, header)) = all.try_next().await? {
        found.insert(BlobId::of(&header), id);
    }
    Ok(found)
}

/// Reads a header by the rules for contributions, its sender proof included.
///
/// # Errors
/// [`ContributionError`]: the contributor's fault.
pub fn check(
    entry: &SignedContribution,
    header: &[u8],
    deployment: &Deployment,
    recipient: &TaggedRecipient,
) -> Result<ContributionHeader, ContributionError> {
    let contribution = &entry.contribution;
    let context = sender_context(deployment, contribution.contributor, contribution.nonce);
    let (parsed, _) = contribution::parse(header, recipient, &context)?;
    if parsed.point_id() != contribution.point.0.0 {
        return Err(ContributionError::AnotherKey);
    }
    Ok(parsed)
}
