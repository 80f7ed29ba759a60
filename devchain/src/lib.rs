//! An Ethereum development chain in process.
//!
//! The EVM is revm; everything around it is here: blocks with real roots, proofs, logs, finality
//! tags, time travel, reorganisations and a journal on disk. It is spoken to like any node:
//! [`DevChain::transport`] gives an alloy transport without a socket, [`DevChain::serve`] the same
//! methods as JSON-RPC over HTTP.
//!
//! ```no_run
//! # async fn doc() -> Result<(), Box<dyn std::error::Error>> {
//! use alloy::providers::Provider;
//! use devchain::{Config, DevChain, dev_accounts};
//!
//! let chain = DevChain::new(Config::default());
//! let alice = chain.wallet(dev_accounts()[0].clone());
//! assert_eq!(alice.get_chain_id().await?, devchain::DEV_CHAIN_ID);
//! # Ok(())
//! # }
//! ```
//!
//! **Not for value.** The funded keys are public, nothing is authenticated, and time is whatever is
//! asked for.
//!
//! What differs from a real chain, on purpose: there is no consensus, so blocks have no
//! withdrawals, blobs, beacon roots (EIP-4788) or requests, and block hashes are not kept in the
//! state (EIP-2935). `eth_call` charges no fees. `eth_estimateGas` estimates for the next block
//! unless told otherwise, because that is where the transaction will run. Setting a balance seals a
//! block.
//!
//! Every block keeps its state, in tries that share what did not change: a block costs a few
//! kilobytes of memory per account it touched, and any canonical block can be asked about for as
//! long as the process lives.

#![forbid(unsafe_code)]

mod block;
mod chain;
mod clock;
mod config;
mod evm;
mod genesis;
mod http;
mod journal;
mod pool;
mod rpc;
mod state;
mod transport;
mod trie;

use std::{
    path::Path,
    sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard},
    thread,
    time::Duration,
};

use alloy::{
    primitives::B256,
    providers::{DynProvider, Provider, ProviderBuilder},
    rpc::client::RpcClient,
    signers::local::PrivateKeySigner,
};
pub use revm::primitives::hardfork::SpecId;

use crate::chain::Chain;
pub use crate::{
    chain::{MAX_BLOCKS_AT_ONCE, MAX_SNAPSHOTS, MAX_TRANSACTION_BYTES, SubmitError},
    clock::{Clock, MAX_TIMESTAMP, TimeError},
    config::{Config, Mining},
    evm::ExecuteError,
    genesis::{DEV_CHAIN_ID, DEV_KEYS, Genesis, dev_accounts},
    http::{MAX_BATCH, MAX_BODY_BYTES},
    journal::JournalError,
    pool::{MAX_WAITING, PoolRefusal},
    rpc::{MAX_LOG_BLOCKS, MAX_LOGS, RpcFailure},
    transport::DevTransport,
};

/// A running chain. Clones are handles to the same chain; it ends with the last of them.
#[derive(Clone, Debug)]
pub struct DevChain {
    chain: Arc<RwLock<Chain>>,
}

/// The number and hash of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Blocks before it.
    pub number: u64,
    /// The hash of its header.
    pub hash: B256,
}

impl Head {
    fn of(chain: &Chain) -> Self {
        Self {
            number: chain.head().number(),
            hash: chain.head().hash(),
        }
    }
}

impl DevChain {
    /// Starts a chain in memory.
    pub fn new(config: Config) -> Self {
        Self::start(Chain::new(config))
    }

    /// Starts the chain whose journal is at `path`, or a new one there. Every block is on the disk
    /// before its transactions are answered, so a killed process goes on where it was; what only
    /// waited is lost, and so are snapshots. One process at a time.
    pub fn open(config: Config, path: &Path) -> Result<Self, JournalError> {
        Chain::open(config, path).map(Self::start)
    }

    /// Starts a chain in memory from a journal, which is only read.
    pub fn load(config: Config, path: &Path) -> Result<Self, JournalError> {
        Chain::load(config, path).map(Self::start)
    }

    /// Writes the canonical chain to `path`, atomically, for [`DevChain::load`] or
    /// [`DevChain::open`]. The path that a chain is open at is refused: that file is complete at
    /// all times.
    pub fn save(&self, path: &Path) -> Result<(), JournalError> {
        self.read().save(path)
    }

    /// The latest block.
    pub fn head(&self) -> Head {
        let chain = self.read();
        Head {
            number: chain.head().number(),
            hash: chain.head().hash(),
        }
    }

    /// Mines `count` blocks, at most [`MAX_BLOCKS_AT_ONCE`]; the first takes what waits.
    pub fn mine(&self, count: u64) -> Result<Head, JournalError> {
        let mut chain = self.write();
        chain.mine(count)?;
        Ok(Head::of(&chain))
    }

    /// Moves the chain's time ahead, from the next block on.
    pub fn increase_time(&self, by: Duration) -> Result<(), TimeError> {
        self.write().increase_time(by.as_secs()).map(drop)
    }

    /// Remembers the chain as it is, for [`DevChain::revert`].
    pub fn snapshot(&self) -> u64 {
        self.write().snapshot()
    }

    /// Takes back everything since a snapshot, a reorganisation. `false`: there is no such
    /// snapshot.
    pub fn revert(&self, snapshot: u64) -> Result<bool, JournalError> {
        self.write().revert(snapshot)
    }

    /// Sets how many blocks `finalized` and `safe` stand behind `latest`.
    pub fn set_finality_lag(&self, finalized: u64, safe: u64) {
        self.write().set_finality_lag(finalized, safe);
    }

    /// An alloy transport to this chain, for `RpcClient::new(transport, true)`. Needs a tokio
    /// runtime.
    pub fn transport(&self) -> DevTransport {
        DevTransport::new(self.clone())
    }

    /// An alloy client over [`DevChain::transport`]. It looks for new blocks every ten
    /// milliseconds: asking costs next to nothing here, and waiting for a receipt otherwise takes a
    /// quarter of a second.
    pub fn client(&self) -> RpcClient {
        RpcClient::new(self.transport(), true).with_poll_interval(Duration::from_millis(10))
    }

    /// An alloy provider that signs with `signer`. Unlike alloy's recommended fillers it asks for
    /// the nonce each time: those remember it, and so leave a gap after an estimate that was
    /// reverted and are wrong after [`DevChain::revert`].
    pub fn wallet(&self, signer: PrivateKeySigner) -> DynProvider {
        ProviderBuilder::default()
            .with_gas_estimation()
            .with_simple_nonce_management()
            .fetch_chain_id()
            .wallet(signer)
            .connect_client(self.client())
            .erased()
    }

    fn start(chain: Chain) -> Self {
        let mining = chain.mining();
        let chain = Self {
            chain: Arc::new(RwLock::new(chain)),
        };
        if let Mining::Every(interval) = mining {
            chain.mine_every(interval);
        }
        chain
    }

    /// Mines in a thread that ends with the chain: the chain may have no runtime of its own.
    fn mine_every(&self, interval: Duration) {
        let chain = Arc::downgrade(&self.chain);
        let interval = interval.max(Duration::from_millis(1));
        thread::spawn(move || {
            loop {
                thread::sleep(interval);
                let Some(chain) = chain.upgrade().map(|chain| Self { chain }) else {
                    return;
                };
                let mut chain = chain.write();
                if !matches!(chain.mining(), Mining::Every(_)) {
                    continue;
                }
                if let Err(error) = chain.mine(1) {
                    tracing::error!(%error, "no block was mined");
                }
            }
        });
    }

    fn read(&self) -> RwLockReadGuard<'_, Chain> {
        self.chain
            .read()
            .expect("a thread that panicked while it changed the chain leaves none to read")
    }

    fn write(&self) -> RwLockWriteGuard<'_, Chain> {
        self.chain
            .write()
            .expect("a thread that panicked while it changed the chain leaves none to change")
    }
}
