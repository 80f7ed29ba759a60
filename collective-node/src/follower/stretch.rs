//! What the logs of some blocks come to, before it is known that they are all there.

use std::collections::HashSet;

use collective::contribution::SignedContribution;
use collective::id::{BlobId, Leaf};
use collective::index::{Sealed, Void};
use collective::input::Anchored;
use collective::receipt::BlockRef;

use super::{FollowError, SetCharter};
use crate::chain::facts::Heads;

/// What a stretch of blocks brought.
#[derive(Default)]
pub(super) struct Stretch {
    /// Folded from what was known and the logs since.
    pub heads: Heads,
    /// In the order of the logs.
    pub anchored: Vec<(Anchored, Result<Sealed, Void>)>,
    /// The leaves of these.
    pub leaves: HashSet<Leaf>,
    /// Manifests of batches.
    pub batches: Vec<BlobId>,
    /// What contributors anchored themselves, and where.
    pub direct: Vec<(Leaf, u64)>,
    /// In the order of the blocks that set them.
    pub charters: Vec<SetCharter>,
}

impl Stretch {
    /// One that nothing was read of yet.
    pub fn after(heads: Heads) -> Self {
        Self {
            heads,
            ..Self::default()
        }
    }

    /// One more contribution stands in `block`.
    pub fn anchor(
        &mut self,
        entry: SignedContribution,
        sealed: Result<Sealed, Void>,
        block: &BlockRef,
    ) {
        self.leaves.insert(entry.contribution.leaf());
        let (block, time) = (block.number, block.time);
        let anchored = Anchored { entry, block, time };
        self.anchored.push((anchored, sealed));
    }

    /// Whether the logs were all there, and none was altered.
    ///
    /// # Errors
    /// [`FollowError::Withheld`].
    pub fn check(&self, proven: &Heads, block: u64) -> Result<(), FollowError> {
        for (folded, proven) in [
            (self.heads.batches, proven.batches),
            (self.heads.direct, proven.direct),
        ] {
            if folded != proven {
                return Err(FollowError::Withheld {
                    folded,
                    proven,
                    block,
                });
            }
        }
        Ok(())
    }
}
