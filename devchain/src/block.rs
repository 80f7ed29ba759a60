//! Blocks: how transactions become a sealed header with real roots.
//!
//! Owns the header's fields and the receipts; must not know which transactions wait, which block is
//! final, or what is kept on disk.

use std::{collections::BTreeMap, sync::Arc};

use alloy::{
    consensus::{
        Block as ConsensusBlock, BlockBody, EMPTY_ROOT_HASH, Eip658Value, Header, Receipt,
        ReceiptEnvelope, Sealed, TxEnvelope, TxReceipt,
        proofs::{calculate_receipt_root, calculate_transaction_root},
        transaction::Recovered,
    },
    eips::{eip1559::BaseFeeParams, eip7685::EMPTY_REQUESTS_HASH},
    primitives::{Address, B256, Bloom, Bytes, U256, keccak256},
};
use alloy_rlp::Encodable;

use crate::{
    evm::{ExecuteError, ExecutionResult, InvalidTransaction, Stage, block_env, signed_tx},
    genesis::{Genesis, Rules},
    state::State,
};

/// A sealed block with the state after it.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) header: Sealed<Header>,
    pub(crate) transactions: Vec<Recovered<TxEnvelope>>,
    pub(crate) receipts: Vec<Executed>,
    pub(crate) state: State,
    /// Bytes of the block's RLP.
    pub(crate) size: usize,
    /// What outside decided about this block; replaying it gives the same hash.
    pub(crate) plan: Plan,
}

/// What a block's transactions do not say, but its hash depends on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    /// Seconds since 1970; greater than the parent's.
    pub(crate) timestamp: u64,
    /// How many times blocks had been taken back before this one: stands in the header's
    /// `extraData`, so that a block mined again over the same parent has another hash.
    pub(crate) fork: u64,
    /// Balances set from outside, before the first transaction.
    pub(crate) grants: BTreeMap<Address, U256>,
}

/// What a transaction did.
#[derive(Debug)]
pub(crate) struct Executed {
    pub(crate) receipt: ReceiptEnvelope,
    /// Gas of this transaction alone.
    pub(crate) gas_used: u64,
    /// The contract that the transaction deployed.
    pub(crate) created: Option<Address>,
}

impl Block {
    /// Block 0.
    pub(crate) fn genesis(genesis: &Genesis) -> Self {
        let mut state = State::default();
        for (address, balance) in &genesis.balances {
            state.set_balance(*address, *balance);
        }
        let header = Header {
            beneficiary: genesis.beneficiary,
            gas_limit: genesis.gas_limit,
            base_fee_per_gas: Some(genesis.base_fee),
            ..blank_header(genesis.timestamp, 0)
        };
        let plan = Plan {
            timestamp: genesis.timestamp,
            ..Plan::default()
        };
        seal(header, Vec::new(), Vec::new(), state, plan)
    }

    pub(crate) fn hash(&self) -> B256 {
        self.header.hash()
    }

    pub(crate) fn number(&self) -> u64 {
        self.header.number
    }

    /// The base fee of the block after this one (EIP-1559).
    pub(crate) fn next_base_fee(&self) -> u64 {
        self.header
            .next_block_base_fee(BaseFeeParams::ethereum())
            .expect("every header here has a base fee")
    }
}

/// A block that still takes transactions.
pub(crate) struct Draft<'a> {
    rules: Rules,
    ancestors: &'a [Arc<Block>],
    header: Header,
    transactions: Vec<Recovered<TxEnvelope>>,
    receipts: Vec<Executed>,
    state: State,
    plan: Plan,
}

impl<'a> Draft<'a> {
    /// An empty block over the last of `ancestors`, which run from genesis without a gap.
    pub(crate) fn over(ancestors: &'a [Arc<Block>], rules: Rules, plan: Plan) -> Self {
        let parent = ancestors
            .last()
            .expect("a chain has at least its genesis block");
        let mut state = parent.state.clone();
        for (address, balance) in &plan.grants {
            state.set_balance(*address, *balance);
        }
        let header = Header {
            parent_hash: parent.hash(),
            number: parent.number() + 1,
            beneficiary: parent.header.beneficiary,
            gas_limit: parent.header.gas_limit,
            base_fee_per_gas: Some(parent.next_base_fee()),
            mix_hash: keccak256([parent.hash(), B256::from(U256::from(plan.timestamp))].concat()),
            ..blank_header(plan.timestamp, plan.fork)
        };
        Self {
            rules,
            ancestors,
            header,
            transactions: Vec::new(),
            receipts: Vec::new(),
            state,
            plan,
        }
    }

    /// The state after the transactions taken so far.
    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Whether another transaction asking for `gas` fits.
    pub(crate) fn has_room(&self, gas: u64) -> bool {
        gas <= self.header.gas_limit - self.header.gas_used
    }

    /// Executes a transaction and takes it in. A refused transaction leaves no trace; a reverted
    /// one is taken.
    pub(crate) fn take(&mut self, tx: Recovered<TxEnvelope>) -> Result<(), ExecuteError> {
        if !self.has_room(alloy::consensus::Transaction::gas_limit(&*tx)) {
            return Err(ExecuteError::Invalid(
                InvalidTransaction::CallerGasLimitMoreThanBlock,
            ));
        }
        let (result, state) = self.stage().transact(signed_tx(&tx, tx.signer()))?;
        let gas_used = result.tx_gas_used();
        self.state = state;
        self.header.gas_used += gas_used;
        let created = match &result {
            ExecutionResult::Success { output, .. } => output.address().copied(),
            _ => None,
        };
        let receipt = Receipt {
            status: Eip658Value::Eip658(result.is_success()),
            cumulative_gas_used: self.header.gas_used,
            logs: result.into_logs(),
        };
        let receipt = ReceiptEnvelope::from_typed(tx.tx_type(), receipt.with_bloom());
        self.receipts.push(Executed {
            receipt,
            gas_used,
            created,
        });
        self.transactions.push(tx);
        Ok(())
    }

    /// Where the next transaction would run.
    pub(crate) fn stage(&self) -> Stage<'_> {
        Stage {
            rules: self.rules,
            env: block_env(&self.header),
            ancestors: self.ancestors,
            state: &self.state,
        }
    }

    pub(crate) fn seal(self) -> Block {
        seal(
            self.header,
            self.transactions,
            self.receipts,
            self.state,
            self.plan,
        )
    }
}

fn seal(
    mut header: Header,
    transactions: Vec<Recovered<TxEnvelope>>,
    receipts: Vec<Executed>,
    state: State,
    plan: Plan,
) -> Block {
    let envelopes: Vec<_> = receipts.iter().map(|executed| &executed.receipt).collect();
    header.state_root = state.root();
    header.transactions_root = calculate_transaction_root(&transactions);
    header.receipts_root = calculate_receipt_root(&envelopes);
    header.logs_bloom = envelopes
        .iter()
        .fold(Bloom::ZERO, |bloom, receipt| bloom | receipt.bloom());
    let body = BlockBody {
        transactions: transactions.iter().map(|tx| tx.inner().clone()).collect(),
        ommers: Vec::new(),
        withdrawals: Some(Default::default()),
    };
    let size = ConsensusBlock {
        header: header.clone(),
        body,
    }
    .length();
    Block {
        header: Sealed::new(header),
        transactions,
        receipts,
        state,
        size,
        plan,
    }
}

/// A header of Prague's shape with nothing in it. There are no withdrawals, blobs, beacon roots or
/// requests.
fn blank_header(timestamp: u64, fork: u64) -> Header {
    Header {
        timestamp,
        extra_data: Bytes::from([b"devchain".as_slice(), &fork.to_be_bytes()].concat()),
        withdrawals_root: Some(EMPTY_ROOT_HASH),
        blob_gas_used: Some(0),
        excess_blob_gas: Some(0),
        parent_beacon_block_root: Some(B256::ZERO),
        requests_hash: Some(EMPTY_REQUESTS_HASH),
        ..Header::default()
    }
}
