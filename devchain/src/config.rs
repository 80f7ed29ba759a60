//! How a chain behaves, as its owner says it.

use std::time::Duration;

use crate::{clock::Clock, genesis::Genesis};

/// How a chain behaves.
#[derive(Clone, Debug)]
pub struct Config {
    /// What the chain starts from. A chain loaded from a file keeps the genesis of the file.
    pub genesis: Genesis,
    /// When blocks are mined.
    pub mining: Mining,
    /// What time blocks carry.
    pub clock: Clock,
    /// How many blocks `finalized` stands behind `latest`.
    pub finalized_lag: u64,
    /// How many blocks `safe` stands behind `latest`.
    pub safe_lag: u64,
}

impl Default for Config {
    /// A block for each transaction, the machine's clock, `safe` one block behind and `finalized`
    /// two.
    fn default() -> Self {
        Self {
            genesis: Genesis::default(),
            mining: Mining::Automatic,
            clock: Clock::Machine,
            finalized_lag: 2,
            safe_lag: 1,
        }
    }
}

impl Config {
    /// A configuration that reads no clock: the same transactions give the same block hashes every
    /// time.
    pub fn repeatable() -> Self {
        let genesis = Genesis {
            timestamp: 1_767_225_600,
            ..Genesis::default()
        };
        Self {
            genesis,
            clock: Clock::Steps(1),
            ..Self::default()
        }
    }
}

/// When blocks are mined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mining {
    /// One block for each transaction, before its sender gets the hash.
    Automatic,
    /// Only when `evm_mine` or `anvil_mine` asks.
    OnDemand,
    /// A block with everything that waits, each time this much time has passed; empty ones too.
    Every(Duration),
}
