//! Whose ids another key has taken over, proven when somebody asks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alloy::primitives::B256;
use collective::id::ContributorId;
use collective::receipt::BlockRef;

use crate::chain::facts::Rotation;
use crate::chain::{Chain, ChainError};

/// Ids of which one block's answer is kept: as many contributors at a thousand a second as there are in a minute, some MiB.
const MAX_KNOWN: usize = 65_536;

/// What the registry says of ids. Clones share what they know.
#[derive(Clone)]
pub struct Rotations {
    chain: Chain,
    known: Arc<Mutex<Known>>,
}

/// What one block says: for ever the same, so it is asked once of each id.
#[derive(Default)]
struct Known {
    block: B256,
    answers: HashMap<ContributorId, Option<Rotation>>,
}

impl Rotations {
    /// Nothing is known yet.
    pub fn new(chain: Chain) -> Self {
        let known = Arc::default();
        Self { chain, known }
    }

    /// The key that has taken an id over, if one has, proven at `block`.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn of(
        &self,
        block: &BlockRef,
        id: ContributorId,
    ) -> Result<Option<Rotation>, ChainError> {
        if let Some(known) = self.at(block).answers.get(&id) {
            return Ok(*known);
        }
        let proven = self.chain.rotations(block, [id]).await?.remove(&id);
        let mut known = self.at(block);
        if known.answers.len() < MAX_KNOWN {
            known.answers.insert(id, proven);
        }
        Ok(proven)
    }

    fn at(&self, block: &BlockRef) -> MutexGuard<'_, Known> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.block != block.hash {
            *known = Known {
                block: block.hash,
                ..Known::default()
            };
        }
        known
    }
}
