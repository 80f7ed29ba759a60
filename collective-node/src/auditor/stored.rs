//! Files that are here: the MiB around what was drawn is read, and all of it compared.

use collective::contribution::{
    BLOCK_BYTES, Commitment, LEAF_BYTES, PayloadOutline, SignedContribution, block_range,
    leaf_range,
};
use collective::id::{BlobId, sha256};
use collective::liveness::{Outcome, judge};

use super::Auditor;
use crate::blobs::{BlobError, Blobs, OpenBlob};
use crate::{headers, rebuild};

impl Auditor {
    /// The file as this node has it, or what became of it. A store that does not work has lost nothing yet.
    pub(super) async fn stored(&self, entry: &SignedContribution) -> Result<Stored, Outcome> {
        let failed = |error: &dyn std::fmt::Display| {
            tracing::warn!(%error, "a stored contribution could not be read");
            Outcome::Error
        };
        let leaf = entry.contribution.leaf();
        let file = self.ledger.file(leaf).await;
        let Some(file) = file.map_err(|error| failed(&error))? else {
            let withdrawn = self.ledger.withdrawal(leaf).await;
            // Dropped in a block that this round has not seen yet.
            return Err(match withdrawn.map_err(|error| failed(&error))? {
                Some(_) => Outcome::Error,
                None => Outcome::Wrong,
            });
        };
        let stored = Stored::open(&self.blobs, file, entry).await;
        stored.map_err(unreadable)?.ok_or(Outcome::Wrong)
    }
}

/// A file that is here, and the hashes of its payload's blocks: of a payload of at most one MiB the root says them, of a larger one
/// they are kept beside the file.
pub(super) struct Stored {
    file: OpenBlob,
    header: u64,
    outline: PayloadOutline,
}

impl Stored {
    /// `None` where a file of other bytes or another length is there. The payload itself is not looked at yet, unless its outline was
    /// lost: then all of it is read, and the outline kept again.
    pub async fn open(
        blobs: &Blobs,
        id: BlobId,
        entry: &SignedContribution,
    ) -> Result<Option<Self>, BlobError> {
        let commitment = &entry.commitment;
        let file = blobs.open(id).await?;
        let header = headers::at_head(&file).await?;
        let Some(header) = header.filter(|it| sha256(it) == commitment.header) else {
            return Ok(None);
        };
        let header = header.len() as u64;
        if file.length() != header + commitment.length {
            return Ok(None);
        }
        let outline = match PayloadOutline::of_one_block(commitment) {
            Some(outline) => Some(outline),
            None => match blobs.beside(id).await {
                Ok(kept) => PayloadOutline::parse(&kept, commitment),
                Err(BlobError::Missing(_)) => None,
                Err(error) => return Err(error),
            },
        };
        let outline = match outline {
            Some(outline) => outline,
            None => {
                let made = rebuild::outline(file.clone(), header).await?;
                if made.root() != commitment.payload {
                    return Ok(None);
                }
                if let Err(error) = blobs.put_beside(id, made.to_bytes().into()).await {
                    tracing::warn!(%error, "an outline is not kept: it is made again next time");
                }
                made
            }
        };
        Ok(Some(Self {
            file,
            header,
            outline,
        }))
    }

    /// Reads the MiB around a leaf: a bit that turned over anywhere in it is found.
    pub async fn ask(&self, entry: &SignedContribution, index: u64) -> Result<Outcome, BlobError> {
        let commitment = &entry.commitment;
        let Some(block) = block_range(commitment.length, index) else {
            return Ok(Outcome::Wrong);
        };
        let range = self.header + block.start..self.header + block.end;
        let bytes = self.file.read(range).await?;
        Ok(judge_block(commitment, &self.outline, index, &bytes))
    }
}

/// What the bytes of the block around a leaf show: with the outline they make the path on which the leaf leads to the root.
fn judge_block(
    commitment: &Commitment,
    outline: &PayloadOutline,
    index: u64,
    block: &[u8],
) -> Outcome {
    let range = leaf_range(
        block.len() as u64,
        index % (BLOCK_BYTES / LEAF_BYTES as u64),
    );
    let drawn = range.and_then(|it| block.get(it.start as usize..it.end as usize));
    let leaves = outline.leaves(index, block);
    let path = leaves.and_then(|leaves| outline.path(index, &leaves));
    match (path, drawn) {
        (Some(path), Some(drawn)) => judge(commitment, index, drawn, &path),
        _ => Outcome::Wrong,
    }
}

/// What an audit makes of a file that could not be read: a store that does not work has lost nothing yet.
pub(super) fn unreadable(error: BlobError) -> Outcome {
    match error {
        BlobError::Missing(_) | BlobError::Garbled(_) => Outcome::Wrong,
        error => {
            tracing::warn!(%error, "a stored contribution could not be read");
            Outcome::Error
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use alloy::primitives::B256;
    use collective::contribution::PayloadTree;
    use collective::id::NodeId;
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;
    use object_store::path::Path as Key;

    use super::*;
    use crate::blobs::Service;
    use crate::stub::tests::{KEPT, entry, file};

    #[tokio::test]
    async fn a_large_file_is_asked_for_a_mib_at_a_time_and_what_rots_there_is_found() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let blobs = Blobs::folder(folder.path()).expect("a store");
        let (mut file, header) = file();
        let entry = entry(&file, header);
        let id = blobs.put(file.clone().into()).await.expect("kept");
        let name = id.to_string();
        let path = folder.path().join(&name[2..4]).join(&name[4..]);
        let last = (KEPT - 1) / 1024;
        let ask = |index| {
            let (blobs, entry) = (blobs.clone(), entry.clone());
            async move {
                let stored = Stored::open(&blobs, id, &entry).await.expect("a store");
                match stored {
                    None => Outcome::Wrong,
                    Some(stored) => stored.ask(&entry, index).await.expect("a store"),
                }
            }
        };
        // Without an outline the whole file is read, and the outline kept.
        assert!(blobs.beside(id).await.is_err());
        assert_eq!(ask(0).await, Outcome::Held);
        let outline = blobs.beside(id).await.expect("kept");
        for index in [0, 1023, 1024, 3000, last] {
            assert_eq!(ask(index).await, Outcome::Held, "leaf {index}");
        }
        assert_eq!(ask(last + 1).await, Outcome::Wrong);

        // A bit of the second MiB turns over: it is found by all that are drawn there, and by nobody else.
        file[header + BLOCK_BYTES as usize + 500_000] ^= 1;
        std::fs::write(&path, &file).expect("written over");
        assert_eq!(ask(1024).await, Outcome::Wrong);
        assert_eq!(ask(2047).await, Outcome::Wrong);
        for index in [0, 1023, 2048, last] {
            assert_eq!(ask(index).await, Outcome::Held, "leaf {index}");
        }
        // An outline of these bytes convinces nobody.
        let mut tree = PayloadTree::new();
        tree.update(&file[header..]);
        let other = tree.outline().to_bytes();
        assert_ne!(other, outline);
        blobs.put_beside(id, other.into()).await.expect("kept");
        let garbled = Stored::open(&blobs, id, &entry).await;
        assert!(matches!(garbled, Err(BlobError::Garbled(_))));
        assert_eq!(unreadable(BlobError::Garbled(id)), Outcome::Wrong);
        file[header + BLOCK_BYTES as usize + 500_000] ^= 1;
        std::fs::write(&path, &file).expect("mended");
        assert_eq!(ask(1024).await, Outcome::Held);
        assert_eq!(blobs.beside(id).await.expect("made again"), outline);

        // The header is of it, too, and so is its end.
        file[header - 3] ^= 1;
        std::fs::write(&path, &file).expect("written over");
        assert_eq!(ask(0).await, Outcome::Wrong);
        file[header - 3] ^= 1;
        std::fs::write(&path, &file[..file.len() - 1]).expect("cut");
        assert_eq!(ask(0).await, Outcome::Wrong);
    }

    #[tokio::test]
    async fn what_a_bucket_lost_is_wrong_and_of_a_bucket_that_is_away_nothing_is_said() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let memory = Arc::new(InMemory::new());
        let service = Service::new(memory.clone(), "");
        let blobs = Blobs::bucket(service, folder.path(), NodeId(B256::ZERO)).await;
        let blobs = blobs.expect("a store");
        let (file, header) = file();
        let entry = entry(&file, header);
        let id = blobs.put(file.into()).await.expect("kept");
        let ask = || async {
            match Stored::open(&blobs, id, &entry).await {
                Ok(Some(stored)) => stored.ask(&entry, 1024).await.unwrap_or_else(unreadable),
                Ok(None) => Outcome::Wrong,
                Err(error) => unreadable(error),
            }
        };
        assert_eq!(ask().await, Outcome::Held);
        let name = id.to_string();
        let key = Key::from(format!("{}/{}", &name[2..4], &name[4..]));
        memory.delete(&key).await.expect("removed");
        assert_eq!(ask().await, Outcome::Wrong);
        // As a bucket that was deleted, or another one, answers.
        memory.delete(&Key::from("owner")).await.expect("removed");
        assert_eq!(ask().await, Outcome::Error);
    }
}
