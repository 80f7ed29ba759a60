//! What a node keeps of a file that its contributor keeps: header ‖ outline ‖ the hashes of all leaves of the payload, 32 bytes for
//! each MiB and for each KiB (SPEC "Place").
//!
//! Key holders need the header. With the outline a MiB that comes from a place is compared, and with the hashes around a KiB that
//! KiB alone, so a day's audit fetches no more. All of it follows from the file and is compared with the commitment whenever it is
//! read, so nobody reads more of it than they need. What is lost or garbled is restored from a copy, as a stored file is, or made
//! again when its contributor says the place again: until then the node cannot ask for that part, which is no fault of whoever
//! keeps the file. The first nodes kept header and outline alone, which is as if all hashes of leaves were lost.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use alloy::primitives::B256;
use bytes::Bytes;
use collective::contribution::{
    Commitment, LEAF_BYTES, PayloadOutline, block_count, block_range, blocks, leaf_count,
    leaf_range,
};
use collective::id::{BlobId, sha256};
use tokio::fs::File;
use tokio::io::AsyncWriteExt;

use crate::blobs::{BlobError, BlobHasher, Blobs, OpenBlob, remove_file};
use crate::headers;

/// Bytes of a hash.
const HASH: u64 = 32;

/// What is kept of a file that somebody else has.
pub struct Stub {
    /// Of the sealed file.
    pub header: Bytes,
    /// Of its payload.
    pub outline: PayloadOutline,
    id: BlobId,
    blob: OpenBlob,
    /// Bytes of the payload.
    length: u64,
}

/// One leaf of a payload, and what it is compared by.
pub struct Drawn {
    /// Which leaf.
    pub index: u64,
    /// Where its bytes lie in the sealed file.
    pub range: Range<u64>,
    /// Its siblings from below.
    pub path: Vec<B256>,
}

impl Stub {
    /// Reads header and outline.
    ///
    /// # Errors
    /// [`BlobError`]; [`BlobError::Garbled`] where they are not those that the commitment names, or the hashes are more or fewer, unless
    /// there are none at all.
    pub async fn open(
        blobs: &Blobs,
        id: BlobId,
        commitment: &Commitment,
    ) -> Result<Self, BlobError> {
        let garbled = || BlobError::Garbled(id);
        let (blob, length) = (blobs.open(id).await?, commitment.length);
        let header = headers::at_head(&blob).await?;
        let header = header.filter(|it| sha256(it) == commitment.header);
        let header = header.ok_or_else(garbled)?;
        let outline = header.len() as u64..leaves_at(&header, length);
        if ![outline.end, stub_length(&header, length)].contains(&blob.length()) {
            return Err(garbled());
        }
        let outline = PayloadOutline::parse(&blob.read(outline).await?, commitment);
        Ok(Self {
            outline: outline.ok_or_else(garbled)?,
            header,
            id,
            blob,
            length,
        })
    }

    /// What to ask for of leaf `index` of the payload, of whose hashes those of one block are read.
    ///
    /// # Errors
    /// [`BlobError`]; [`BlobError::Garbled`] where these are not the payload's, and past the last leaf.
    pub async fn drawn(&self, index: u64) -> Result<Drawn, BlobError> {
        let garbled = || BlobError::Garbled(self.id);
        let range = leaf_range(self.length, index).ok_or_else(garbled)?;
        let block = block_range(self.length, index).ok_or_else(garbled)?;
        let path = self.outline.path(index, &self.leaves(block).await?);
        let header = self.header.len() as u64;
        Ok(Drawn {
            index,
            range: header + range.start..header + range.end,
            path: path.ok_or_else(garbled)?,
        })
    }

    /// Reads all hashes, a block at a time.
    ///
    /// # Errors
    /// [`BlobError`]; [`BlobError::Garbled`] where one is not the payload's.
    pub async fn check(&self) -> Result<(), BlobError> {
        for block in blocks(self.length) {
            let first = block.start / LEAF_BYTES as u64;
            if !self.outline.has(first, &self.leaves(block).await?) {
                return Err(BlobError::Garbled(self.id));
            }
        }
        Ok(())
    }

    /// The hashes that are kept of the leaves of a block. Whoever asks compares them with the outline.
    async fn leaves(&self, block: Range<u64>) -> Result<Vec<B256>, BlobError> {
        let first = block.start / LEAF_BYTES as u64;
        let end = first + leaf_count(block.end - block.start);
        let at = leaves_at(&self.header, self.length);
        if self.blob.length() == at {
            return Err(BlobError::Garbled(self.id));
        }
        let hashes = self.blob.read(at + HASH * first..at + HASH * end).await?;
        let hashes = hashes.chunks_exact(HASH as usize);
        Ok(hashes.map(B256::from_slice).collect())
    }
}

/// Bytes of what is kept of a file with this header and a payload of `length` bytes.
pub fn stub_length(header: &[u8], length: u64) -> u64 {
    leaves_at(header, length) + HASH * leaf_count(length)
}

/// Where the hashes of the leaves begin.
fn leaves_at(header: &[u8], length: u64) -> u64 {
    header.len() as u64 + HASH * block_count(length)
}

/// A stub that is being written while the file comes: of a GiB it has 32 MiB, which nobody has in memory. Until it is kept nothing
/// finds it, and dropped it leaves nothing.
pub struct StubDraft {
    path: PathBuf,
    file: File,
    hasher: BlobHasher,
}

/// Each draft of this process has its own file: one contribution may be sent twice at a time.
static DRAFTS: AtomicU64 = AtomicU64::new(0);

impl StubDraft {
    /// Begins one by header and outline, which were checked.
    ///
    /// # Errors
    /// [`BlobError::Store`].
    pub async fn begin(
        blobs: &Blobs,
        header: &[u8],
        outline: &PayloadOutline,
    ) -> Result<Self, BlobError> {
        let number = DRAFTS.fetch_add(1, Ordering::Relaxed);
        // Where a power cut left one the next start drops it, as no upload has this name.
        let path = blobs.unfinished()?.join(format!("{number}.stub"));
        let file = std::fs::File::create_new(&path).map_err(BlobError::disk)?;
        let mut draft = Self {
            file: File::from_std(file),
            path,
            hasher: BlobHasher::default(),
        };
        draft.write(header).await?;
        draft.write(&outline.to_bytes()).await?;
        Ok(draft)
    }

    /// Takes the hashes of the leaves of the next block, which were checked.
    ///
    /// # Errors
    /// [`BlobError::Store`].
    pub async fn append(&mut self, leaves: &[B256]) -> Result<(), BlobError> {
        self.write(leaves.concat().as_slice()).await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        self.hasher.update(bytes);
        self.file.write_all(bytes).await.map_err(BlobError::disk)?;
        // Only this says what became of it.
        self.file.flush().await.map_err(BlobError::disk)
    }

    /// Keeps it as a blob. It is on the disk then.
    ///
    /// # Errors
    /// [`BlobError::Store`], [`BlobError::Bucket`].
    pub async fn keep(self, blobs: &Blobs) -> Result<BlobId, BlobError> {
        // By itself: the kernel tells once that it lost something, and somebody else may wait for the disk right now.
        self.file.sync_all().await.map_err(BlobError::disk)?;
        let id = self.hasher.clone().finish();
        blobs.adopt(&self.path, id).await?;
        Ok(id)
    }
}

impl Drop for StubDraft {
    fn drop(&mut self) {
        if let Err(error) = remove_file(&self.path) {
            tracing::warn!(%error, "what was begun to be kept of a contributor's file stays until the next start");
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use alloy::primitives::{Address, Signature};
    use collective::contribution::{BLOCK_BYTES, Contribution, PayloadTree, SignedContribution};
    use collective::id::NodeId;
    use collective::terms::Terms;
    use object_store::memory::InMemory;

    use super::*;
    use crate::blobs::Service;

    /// Bytes of the payload of [`file`].
    pub(crate) const KEPT: u64 = 3 * BLOCK_BYTES + 7;

    /// A sealed file by its shape, and where its payload begins; nothing here opens it.
    pub(crate) fn file() -> (Vec<u8>, usize) {
        let identity = "age-encryption.org/v1\n-> X25519 TEiF0ypqr+bpvcqXNyCVJpL7OuwPdVwPL7KQEbFDOCc\nEmECAEcKN+n/Vs9SbWiV+Hu0r+E8R77DdWYyd83nw7U\n--- Vn+54jqiiUCE+WZcEVY3f1sqHjlu/z1LCQ/T7Xm7qI0\n";
        let payload = (0..KEPT).map(|i| (i / 1000) as u8);
        (identity.bytes().chain(payload).collect(), identity.len())
    }

    /// What its contributor would say of it.
    pub(crate) fn entry(file: &[u8], header: usize) -> SignedContribution {
        let mut tree = PayloadTree::new();
        tree.update(&file[header..]);
        let (payload, length) = tree.finish();
        let terms = Terms {
            purposes: Default::default(),
            expiry: 0,
        };
        SignedContribution {
            contribution: Contribution {
                collective: Address::ZERO,
                contributor: B256::ZERO.into(),
                point: B256::ZERO.into(),
                commitment: B256::ZERO.into(),
                terms: terms.digest(),
                nonce: 0,
            },
            commitment: Commitment {
                header: sha256(&file[..header]),
                payload,
                length,
                source: "poll".into(),
            },
            terms,
            signature: Signature::test_signature(),
        }
    }

    /// Writes the stub of a file as it comes, a block after the other.
    pub(crate) async fn drafted(blobs: &Blobs, file: &[u8], header: usize) -> StubDraft {
        let (header, payload) = file.split_at(header);
        let mut tree = PayloadTree::new();
        tree.update(payload);
        let outline = tree.outline();
        let draft = StubDraft::begin(blobs, header, &outline).await;
        let mut draft = draft.expect("begun");
        for block in blocks(payload.len() as u64) {
            let bytes = &payload[block.start as usize..block.end as usize];
            let leaves = outline.leaves(block.start / LEAF_BYTES as u64, bytes);
            let appended = draft.append(&leaves.expect("its leaves")).await;
            appended.expect("written");
        }
        draft
    }

    fn unfinished(blobs: &Blobs) -> usize {
        let folder = blobs.unfinished().expect("a folder");
        std::fs::read_dir(folder).expect("a folder").count()
    }

    #[tokio::test]
    async fn a_kib_is_compared_by_its_path_and_what_rots_in_a_stub_is_never_believed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let blobs = Blobs::folder(folder.path()).expect("a store");
        let (file, header) = file();
        let commitment = entry(&file, header).commitment;
        drop(drafted(&blobs, &file, header).await);
        assert_eq!(unfinished(&blobs), 0, "dropped before it was kept");
        let id = drafted(&blobs, &file, header).await.keep(&blobs).await;
        let id = id.expect("kept");
        assert_eq!(unfinished(&blobs), 0);
        let again = drafted(&blobs, &file, header).await.keep(&blobs).await;
        assert_eq!(again.expect("kept"), id);

        let open = || Stub::open(&blobs, id, &commitment);
        let stub = open().await.expect("it is here");
        stub.check().await.expect("all of it is right");
        let last = leaf_count(KEPT) - 1;
        for index in [0, 1, 1023, 1024, 3071, last] {
            let Drawn { index, range, path } = stub.drawn(index).await.expect("its path");
            assert_eq!(range.start, header as u64 + 1024 * index);
            let bytes = &file[range.start as usize..range.end as usize];
            let judged = collective::liveness::judge(&commitment, index, bytes, &path);
            assert_eq!(judged, collective::liveness::Outcome::Held, "leaf {index}");
        }
        let past = stub.drawn(last + 1).await;
        assert!(matches!(past, Err(BlobError::Garbled(_))));

        // Four hashes of blocks, then those of the leaves: one of the second block turns over.
        let name = id.to_string();
        let path = folder.path().join(&name[2..4]).join(&name[4..]);
        let bytes = std::fs::read(&path).expect("the stub");
        assert_eq!(bytes.len(), header + 32 * (4 + 3 * 1024 + 1));
        let bend = |at: usize| {
            let mut bent = bytes.clone();
            bent[at] ^= 1;
            std::fs::write(&path, bent).expect("written over");
        };
        bend(header + 32 * (4 + 1500));
        for (index, is_right) in [(1023, true), (1024, false), (2047, false), (2048, true)] {
            let drawn = stub.drawn(index).await;
            assert_eq!(drawn.is_ok(), is_right, "leaf {index}");
        }
        assert!(matches!(stub.check().await, Err(BlobError::Garbled(_))));
        for at in [header - 3, header, header + 32 * 4 - 1] {
            bend(at);
            assert!(matches!(open().await, Err(BlobError::Garbled(_))), "{at}");
        }
        for length in [bytes.len() - 1, bytes.len() - 32, header] {
            std::fs::write(&path, &bytes[..length]).expect("cut");
            assert!(matches!(open().await, Err(BlobError::Garbled(_))));
        }
        std::fs::write(&path, [&bytes[..], &[0; 32]].concat()).expect("extended");
        assert!(matches!(open().await, Err(BlobError::Garbled(_))));
        // As the first nodes kept it: a job fetches the file by it, and an audit asks nobody.
        std::fs::write(&path, &bytes[..header + 32 * 4]).expect("cut");
        let early = open().await.expect("header and outline");
        assert_eq!(early.header, file[..header]);
        for index in [0, last] {
            let drawn = early.drawn(index).await;
            assert!(matches!(drawn, Err(BlobError::Garbled(_))), "leaf {index}");
        }
        assert!(matches!(early.check().await, Err(BlobError::Garbled(_))));
        std::fs::write(&path, &bytes).expect("mended");
        open().await.expect("as it was");
        let mut other = commitment.clone();
        other.payload = B256::ZERO;
        let others = Stub::open(&blobs, id, &other).await;
        assert!(matches!(others, Err(BlobError::Garbled(_))));
    }

    #[tokio::test]
    async fn a_stub_goes_to_a_bucket_and_leaves_nothing_on_the_disk() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let service = Service::new(Arc::new(InMemory::new()), "");
        let blobs = Blobs::bucket(service, folder.path(), NodeId(B256::ZERO)).await;
        let blobs = blobs.expect("a store");
        let (file, header) = file();
        let id = drafted(&blobs, &file, header).await.keep(&blobs).await;
        assert_eq!(unfinished(&blobs), 0);
        let commitment = entry(&file, header).commitment;
        let stub = Stub::open(&blobs, id.expect("kept"), &commitment).await;
        let stub = stub.expect("it is there");
        stub.check().await.expect("all of it is right");
        stub.drawn(3000).await.expect("its path");
    }

    #[tokio::test]
    async fn a_stub_that_is_larger_than_a_part_goes_to_a_bucket() {
        const BLOCKS: u64 = 257;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let service = Service::new(Arc::new(InMemory::new()), "");
        let blobs = Blobs::bucket(service, folder.path(), NodeId(B256::ZERO)).await;
        let blobs = blobs.expect("a store");
        let mut tree = PayloadTree::new();
        let block = vec![0; BLOCK_BYTES as usize];
        (0..BLOCKS).for_each(|_| tree.update(&block));
        let outline = tree.outline();
        let (file, header) = file();
        let mut commitment = entry(&file, header).commitment;
        (commitment.length, commitment.payload) = (BLOCKS * BLOCK_BYTES, outline.root());
        let header = &file[..header];
        let length = stub_length(header, commitment.length);
        assert!(length > 8 << 20, "more than a part of an object");

        let draft = StubDraft::begin(&blobs, header, &outline).await;
        let mut draft = draft.expect("begun");
        for first in (0..BLOCKS).map(|block| 1024 * block) {
            let leaves = outline.leaves(first, &block).expect("its leaves");
            draft.append(&leaves).await.expect("written");
        }
        let id = draft.keep(&blobs).await.expect("kept");
        assert_eq!(unfinished(&blobs), 0);
        let stub = Stub::open(&blobs, id, &commitment).await;
        let stub = stub.expect("it is there");
        assert_eq!(stub.blob.length(), length);
        stub.check().await.expect("all of it is right");
        stub.drawn(1024 * BLOCKS - 1).await.expect("its path");
    }
}
