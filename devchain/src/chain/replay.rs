//! The chain from its journal, and the journal from the chain.
//!
//! Owns what a journal's lines mean; must not know how they are written.

use std::path::Path;

use alloy::{eips::Encodable2718, primitives::Bytes};

use super::{Chain, decode};
use crate::{
    block::{Block, Plan},
    config::Config,
    journal::{Entry, Journal, JournalError},
};

impl Chain {
    /// The chain in the journal at `path`, made if it is not there; every later block is appended
    /// to it.
    pub(crate) fn open(config: Config, path: &Path) -> Result<Self, JournalError> {
        if !path.try_exists()? {
            let mut chain = Self::new(config);
            chain.journal = Some(Journal::create(path, &chain.entries())?);
            return Ok(chain);
        }
        let (entries, journal) = Journal::open(path)?;
        let mut chain = Self::replay(config, entries)?;
        chain.journal = Some(journal);
        Ok(chain)
    }

    /// The chain in the journal at `path`, in memory only.
    pub(crate) fn load(config: Config, path: &Path) -> Result<Self, JournalError> {
        Self::replay(config, Journal::read(path)?.0)
    }

    /// Writes the canonical chain to `path`, in place of what was there.
    pub(crate) fn save(&self, path: &Path) -> Result<(), JournalError> {
        Journal::write(path, &self.entries()).map(drop)
    }

    fn entries(&self) -> Vec<Entry> {
        let genesis = Entry::Genesis {
            genesis: self.config.genesis.clone(),
            fork: self.fork,
        };
        std::iter::once(genesis)
            .chain(self.blocks.iter().skip(1).map(|block| entry(block)))
            .collect()
    }

    fn replay(config: Config, entries: Vec<Entry>) -> Result<Self, JournalError> {
        let mut entries = entries.into_iter();
        let Some(Entry::Genesis { genesis, fork }) = entries.next() else {
            return Err(JournalError::Malformed {
                line: 1,
                reason: "the genesis is not here".into(),
            });
        };
        let mut chain = Self::new(Config { genesis, ..config });
        chain.fork = fork;
        for entry in entries {
            let number = chain.head().number() + 1;
            let diverged = |reason: &str| JournalError::Diverged {
                number,
                reason: reason.into(),
            };
            match entry {
                Entry::Genesis { .. } => return Err(diverged("a second genesis")),
                Entry::Rewind { number } if number < chain.head().number() => {
                    chain.truncate(number)
                }
                Entry::Rewind { .. } => return Err(diverged("nothing to take back")),
                Entry::Block {
                    hash,
                    timestamp,
                    fork,
                    grants,
                    transactions,
                } => {
                    let latest = chain.head().header.timestamp;
                    // Half the range is left, so that the blocks after it cannot overflow.
                    if timestamp <= latest || timestamp > u64::MAX / 2 {
                        return Err(diverged("its time is out of order"));
                    }
                    let mut draft = chain.draft(Plan {
                        timestamp,
                        fork,
                        grants,
                    });
                    for raw in transactions {
                        let tx = decode(&raw).map_err(|error| diverged(&error.to_string()))?;
                        draft
                            .take(tx)
                            .map_err(|error| diverged(&error.to_string()))?;
                    }
                    let block = draft.seal();
                    if block.hash() != hash {
                        return Err(diverged("its hash is not the one that was written"));
                    }
                    chain.fork = chain.fork.max(fork);
                    chain.push(block);
                }
            }
        }
        let latest = chain.head().header.timestamp;
        chain.time.resume(latest);
        Ok(chain)
    }
}

/// The line that a block is built from again.
pub(super) fn entry(block: &Block) -> Entry {
    let transactions = block
        .transactions
        .iter()
        .map(|tx| Bytes::from(tx.inner().encoded_2718()));
    Entry::Block {
        hash: block.hash(),
        timestamp: block.plan.timestamp,
        fork: block.plan.fork,
        grants: block.plan.grants.clone(),
        transactions: transactions.collect(),
    }
}
