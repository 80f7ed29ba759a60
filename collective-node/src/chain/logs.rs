//! Logs, as much at a time as the endpoint gives. Hints: it can withhold some.

use alloy::providers::Provider;
use alloy::rpc::types::{Filter, Log};

use super::{Chain, ChainError};

/// Blocks in one request for logs: common endpoints refuse more than 10,000.
const BLOCKS_PER_REQUEST: u64 = 5_000;

/// Logs of a range of blocks, in their order, one request after another.
pub struct Logs<'a> {
    chain: &'a Chain,
    filter: Filter,
    from: u64,
    to: u64,
    /// Blocks that are asked for at once, and at most.
    blocks: u64,
    most: u64,
}

impl Chain {
    /// Logs of blocks `from` to `to`, all at once.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn logs(&self, filter: Filter, from: u64, to: u64) -> Result<Vec<Log>, ChainError> {
        let mut pieces = self.logs_piecewise(filter, from, to, BLOCKS_PER_REQUEST);
        let mut logs = Vec::new();
        while let Some((some, _)) = pieces.next().await? {
            logs.extend(some);
        }
        Ok(logs)
    }

    /// The same, of at most so many blocks at a time, where they may be more than should be in memory.
    pub fn logs_piecewise(&self, filter: Filter, from: u64, to: u64, blocks: u64) -> Logs<'_> {
        Logs {
            chain: self,
            filter,
            from,
            to,
            blocks,
            most: blocks,
        }
    }
}

impl Logs<'_> {
    /// An eighth more: what was too much is asked for again after five questions at the earliest, not after each.
    fn grown(&self) -> u64 {
        (self.blocks + self.blocks / 8 + 1).min(self.most)
    }

    /// The next ones, and the last of the blocks that they are all of; `None` at the end. Endpoints cap answers by their bytes, too, and
    /// each says so in its own words: after any error fewer blocks are asked for, down to one.
    ///
    /// # Errors
    /// [`ChainError`] where the endpoint gives not even the logs of one block.
    pub async fn next(&mut self) -> Result<Option<(Vec<Log>, u64)>, ChainError> {
        while self.from <= self.to {
            let last = self.to.min(self.from.saturating_add(self.blocks - 1));
            let asked = self.filter.clone().from_block(self.from).to_block(last);
            match self.chain.provider.get_logs(&asked).await {
                Ok(logs) => {
                    self.from = last + 1;
                    self.blocks = self.grown();
                    return Ok(Some((logs, last)));
                }
                Err(error) if last == self.from => return Err(error.into()),
                Err(_) => self.blocks = (last - self.from).div_ceil(2),
            }
        }
        Ok(None)
    }
}
