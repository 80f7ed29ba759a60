//! The chain: its blocks, what waits, and what is final.
//!
//! Owns every change of the chain and the order of memory and disk; must not know JSON-RPC.

mod replay;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use alloy::{
    consensus::{
        Transaction, TxEnvelope,
        transaction::{Recovered, SignerRecoverable},
    },
    eips::{BlockId, BlockNumberOrTag, Decodable2718},
    primitives::{Address, B256, U256},
};

use crate::{
    block::{Block, Draft, Plan},
    clock::{ChainTime, TimeError},
    config::{Config, Mining},
    evm::{ExecuteError, Stage, block_env, signed_tx},
    genesis::Rules,
    journal::{Entry, Journal, JournalError},
    pool::{Pool, PoolRefusal},
};

/// A transaction of more bytes is refused, as geth's pool does: it would not travel on a public
/// network.
pub const MAX_TRANSACTION_BYTES: usize = 128 * 1024;

/// Blocks mined by one call at most: each is kept for ever.
pub const MAX_BLOCKS_AT_ONCE: u64 = 10_000;

/// Snapshots kept; an older one is forgotten. Each holds a copy of what waits.
pub const MAX_SNAPSHOTS: usize = 4_096;

/// Why a transaction was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The bytes are no transaction (EIP-2718).
    #[error("transaction cannot be decoded: {0}")]
    Undecodable(String),
    /// The signature gives no sender (EIP-2).
    #[error("transaction signature recovers no sender")]
    BadSignature,
    /// More than [`MAX_TRANSACTION_BYTES`].
    #[error("transaction of {0} bytes is over the limit of {MAX_TRANSACTION_BYTES}")]
    Oversize(usize),
    /// The chain has no blob space (EIP-4844).
    #[error("blob transactions are not carried by this chain")]
    Blob,
    /// The nonce is used.
    #[error("nonce too low: next nonce {expected}, tx nonce {got}")]
    NonceTooLow {
        /// The sender's next nonce.
        expected: u64,
        /// The transaction's.
        got: u64,
    },
    /// It may not wait.
    #[error(transparent)]
    Pool(#[from] PoolRefusal),
    /// The EVM refused it.
    #[error(transparent)]
    Execute(#[from] ExecuteError),
    /// The block could not be written.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// The chain's whole mutable state.
#[derive(Debug)]
pub(crate) struct Chain {
    config: Config,
    /// The canonical blocks, by number.
    blocks: Vec<Arc<Block>>,
    by_hash: HashMap<B256, u64>,
    by_transaction: HashMap<B256, (u64, usize)>,
    pool: Pool,
    /// How often blocks were taken back; see [`Plan::fork`].
    fork: u64,
    time: ChainTime,
    snapshots: BTreeMap<u64, Snapshot>,
    snapshots_taken: u64,
    journal: Option<Journal>,
}

#[derive(Debug)]
struct Snapshot {
    number: u64,
    pool: Pool,
    time: ChainTime,
}

impl Chain {
    /// A chain of the genesis block alone.
    pub(crate) fn new(config: Config) -> Self {
        let genesis = Arc::new(Block::genesis(&config.genesis));
        Self {
            by_hash: HashMap::from([(genesis.hash(), 0)]),
            blocks: vec![genesis],
            time: ChainTime::new(config.clock),
            config,
            by_transaction: HashMap::new(),
            pool: Pool::default(),
            fork: 0,
            snapshots: BTreeMap::new(),
            snapshots_taken: 0,
            journal: None,
        }
    }

    pub(crate) fn rules(&self) -> Rules {
        self.config.genesis.rules()
    }

    pub(crate) fn mining(&self) -> Mining {
        self.config.mining
    }

    pub(crate) fn set_mining(&mut self, mining: Mining) {
        self.config.mining = mining;
    }

    pub(crate) fn set_finality_lag(&mut self, finalized: u64, safe: u64) {
        self.config.finalized_lag = finalized;
        self.config.safe_lag = safe;
    }

    pub(crate) fn head(&self) -> &Arc<Block> {
        self.blocks
            .last()
            .expect("a chain has at least its genesis block")
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The canonical block that `id` names. `pending` is the block that would be mined now.
    pub(crate) fn block(&self, id: BlockId) -> Option<Arc<Block>> {
        let latest = self.head().number();
        let number = match id {
            BlockId::Hash(hash) => *self.by_hash.get(&hash.block_hash)?,
            BlockId::Number(BlockNumberOrTag::Pending) => return Some(Arc::new(self.pending())),
            BlockId::Number(BlockNumberOrTag::Number(number)) => number,
            BlockId::Number(BlockNumberOrTag::Latest) => latest,
            BlockId::Number(BlockNumberOrTag::Safe) => latest.saturating_sub(self.config.safe_lag),
            BlockId::Number(BlockNumberOrTag::Finalized) => {
                latest.saturating_sub(self.config.finalized_lag)
            }
            BlockId::Number(BlockNumberOrTag::Earliest) => 0,
        };
        self.blocks.get(usize::try_from(number).ok()?).cloned()
    }

    /// The mined transaction with this hash, as its block and its place there.
    pub(crate) fn transaction(&self, hash: B256) -> Option<(&Arc<Block>, usize)> {
        let (number, index) = self.by_transaction.get(&hash)?;
        Some((&self.blocks[usize::try_from(*number).ok()?], *index))
    }

    /// Where a call at `block` runs: with that block's header and the state after it.
    pub(crate) fn stage<'a>(&'a self, block: &'a Block) -> Stage<'a> {
        Stage {
            rules: self.rules(),
            env: block_env(&block.header),
            ancestors: &self.blocks,
            state: &block.state,
        }
    }

    /// Accepts a signed transaction. With [`Mining::Automatic`] its block is mined and written on
    /// return, and so are the blocks of any that waited for it; a transaction whose nonce is too
    /// high waits.
    pub(crate) fn submit(&mut self, raw: &[u8]) -> Result<B256, SubmitError> {
        let tx = decode(raw)?;
        let (hash, sender, nonce) = (*tx.tx_hash(), tx.signer(), tx.nonce());
        let expected = self.head().state.nonce(sender);
        if nonce < expected {
            return Err(SubmitError::NonceTooLow {
                expected,
                got: nonce,
            });
        }
        if self.config.mining != Mining::Automatic || nonce > expected {
            // The sender learns at once what the EVM would refuse, not when the block comes.
            self.draft(self.plan())
                .stage()
                .rehearse(signed_tx(&tx, sender))?;
        }
        self.pool.add(tx)?;
        while self.config.mining == Mining::Automatic
            && let Some(tx) = self
                .pool
                .next(|sender| self.head().state.nonce(sender))
                .cloned()
        {
            self.pool.remove(tx.signer(), tx.nonce());
            let mined = *tx.tx_hash();
            let mut draft = self.draft(self.plan());
            match draft.take(tx) {
                Ok(()) => {
                    let block = draft.seal();
                    self.extend(block)?;
                }
                Err(error) if mined == hash => return Err(error.into()),
                Err(error) => {
                    tracing::warn!(%mined, %error, "a waiting transaction became invalid")
                }
            }
        }
        Ok(hash)
    }

    /// Mines `count` blocks; the first takes all that waits and fits.
    pub(crate) fn mine(&mut self, count: u64) -> Result<(), JournalError> {
        for _ in 0..count.min(MAX_BLOCKS_AT_ONCE) {
            let (block, pool) = self.fill();
            self.extend(block)?;
            self.pool = pool;
        }
        Ok(())
    }

    /// Sets a balance by sealing a block that says so: every state has a header that proves it.
    pub(crate) fn set_balance(
        &mut self,
        address: Address,
        balance: U256,
    ) -> Result<(), JournalError> {
        let block = self
            .draft(Plan {
                grants: BTreeMap::from([(address, balance)]),
                ..self.plan()
            })
            .seal();
        self.extend(block)
    }

    /// Moves the time of the next block ahead; gives the seconds that the clock is ahead now.
    pub(crate) fn increase_time(&mut self, seconds: u64) -> Result<u64, TimeError> {
        let latest = self.head().header.timestamp;
        self.time.increase(seconds, latest)
    }

    /// Sets the time of the next block; the clock goes on from there.
    pub(crate) fn set_next_timestamp(&mut self, timestamp: u64) -> Result<(), TimeError> {
        let latest = self.head().header.timestamp;
        self.time.set_next(timestamp, latest)
    }

    /// Remembers the chain as it is; the number is what [`Chain::revert`] takes.
    pub(crate) fn snapshot(&mut self) -> u64 {
        let id = self.snapshots_taken;
        self.snapshots_taken += 1;
        if self.snapshots.len() >= MAX_SNAPSHOTS {
            self.snapshots.pop_first();
        }
        let snapshot = Snapshot {
            number: self.head().number(),
            pool: self.pool.clone(),
            time: self.time.clone(),
        };
        self.snapshots.insert(id, snapshot);
        id
    }

    /// Takes back everything since a snapshot, which is used up by it, as are all later ones.
    /// `false`: there is no such snapshot. Blocks mined from here on have other hashes than those
    /// taken back.
    pub(crate) fn revert(&mut self, id: u64) -> Result<bool, JournalError> {
        let Some(snapshot) = self.snapshots.get(&id) else {
            return Ok(false);
        };
        let number = snapshot.number;
        if number < self.head().number() {
            if let Some(journal) = &mut self.journal {
                journal.append(&Entry::Rewind { number })?;
            }
            self.truncate(number);
        }
        // What is left are snapshots of a beginning of this chain: later ones went with their
        // blocks.
        if let Some(snapshot) = self.snapshots.split_off(&id).remove(&id) {
            self.pool = snapshot.pool;
            self.time = snapshot.time;
        }
        Ok(true)
    }

    /// The block that would be mined now.
    fn pending(&self) -> Block {
        self.fill().0
    }

    /// A block of all that waits and fits, and what still waits after it.
    fn fill(&self) -> (Block, Pool) {
        let mut draft = self.draft(self.plan());
        let mut pool = self.pool.clone();
        while let Some(tx) = pool.next(|sender| draft.state().nonce(sender)).cloned() {
            if !draft.has_room(tx.gas_limit()) {
                break;
            }
            pool.remove(tx.signer(), tx.nonce());
            let hash = *tx.tx_hash();
            if let Err(error) = draft.take(tx) {
                tracing::warn!(%hash, %error, "a waiting transaction became invalid");
            }
        }
        (draft.seal(), pool)
    }

    fn draft(&self, plan: Plan) -> Draft<'_> {
        Draft::over(&self.blocks, self.rules(), plan)
    }

    /// The plan of the next block.
    fn plan(&self) -> Plan {
        let timestamp = self.time.after(self.head().header.timestamp);
        Plan {
            timestamp,
            fork: self.fork,
            grants: BTreeMap::new(),
        }
    }

    /// Writes a sealed block, then makes it the head: nothing is answered that the disk does not
    /// have.
    fn extend(&mut self, block: Block) -> Result<(), JournalError> {
        if let Some(journal) = &mut self.journal {
            journal.append(&replay::entry(&block))?;
        }
        self.time.sealed(block.header.timestamp);
        self.push(block);
        Ok(())
    }

    fn push(&mut self, block: Block) {
        self.by_hash.insert(block.hash(), block.number());
        for (index, tx) in block.transactions.iter().enumerate() {
            self.by_transaction
                .insert(*tx.tx_hash(), (block.number(), index));
        }
        self.blocks.push(Arc::new(block));
    }

    /// Forgets the blocks after `number`.
    fn truncate(&mut self, number: u64) {
        while self.head().number() > number
            && let Some(block) = self.blocks.pop()
        {
            self.by_hash.remove(&block.hash());
            for tx in &block.transactions {
                self.by_transaction.remove(tx.tx_hash());
            }
        }
        self.fork += 1;
    }
}

fn decode(mut raw: &[u8]) -> Result<Recovered<TxEnvelope>, SubmitError> {
    if raw.len() > MAX_TRANSACTION_BYTES {
        return Err(SubmitError::Oversize(raw.len()));
    }
    let tx = TxEnvelope::decode_2718(&mut raw)
        .map_err(|error| SubmitError::Undecodable(error.to_string()))?;
    if !raw.is_empty() {
        return Err(SubmitError::Undecodable(format!(
            "{} bytes follow it",
            raw.len()
        )));
    }
    if tx.is_eip4844() {
        return Err(SubmitError::Blob);
    }
    tx.try_into_recovered()
        .map_err(|_| SubmitError::BadSignature)
}
