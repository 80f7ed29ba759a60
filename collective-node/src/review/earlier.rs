//! What the collective approved before: the last version of a program, and bytes that were revoked.

use std::collections::HashSet;

use alloy::sol_types::SolEvent;
use collective::approval::Manifest;
use collective::id::{BlobId, ManifestDigest};

use crate::blobs::Blobs;
use crate::chain::{Chain, ChainError};
use collective_contracts::CodeRegistry::{CodeApproved, CodeRevoked};

/// Manifests that count as earlier ones: of a collective that approves one a day, those of eleven years.
const MAX_APPROVALS: usize = 4_096;

/// An approval, in the order of the chain.
pub struct Approved {
    /// Its digest.
    pub digest: ManifestDigest,
    /// What was voted on; `None` where the node has not got it.
    pub manifest: Option<Manifest>,
    /// Whether it was revoked since.
    pub revoked: bool,
}

/// All that the collective has approved, the last one last. Logs are hints here: an endpoint that withholds one hides an
/// earlier version, and permits nothing.
///
/// # Errors
/// [`ChainError`].
pub async fn approved(chain: &Chain, blobs: &Blobs) -> Result<Vec<Approved>, ChainError> {
    let first = chain.deployment().first_block;
    let newest = chain.latest().await?.number;
    let decided = async |event| chain.decided(vec![event], first, newest).await;
    let revoked = decided(CodeRevoked::SIGNATURE_HASH).await?;
    let revoked: HashSet<ManifestDigest> = revoked.into_iter().collect();
    let digests = decided(CodeApproved::SIGNATURE_HASH).await?;
    let passed = digests.len().saturating_sub(MAX_APPROVALS);
    let mut approvals = vec![];
    for digest in digests.into_iter().skip(passed) {
        let bytes = blobs.get(BlobId(digest.0)).await;
        approvals.push(Approved {
            digest,
            manifest: bytes.ok().and_then(|bytes| Manifest::parse(&bytes).ok()),
            revoked: revoked.contains(&digest),
        });
    }
    Ok(approvals)
}

/// Whether both are made from one folder of one repository.
pub fn is_version(earlier: &Manifest, manifest: &Manifest) -> bool {
    match (earlier.program.origin(), manifest.program.origin()) {
        (Some(earlier), Some(origin)) => {
            (&earlier.repository, &earlier.path) == (&origin.repository, &origin.path)
        }
        _ => false,
    }
}
