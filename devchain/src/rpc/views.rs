//! Blocks, transactions, receipts and logs in the shapes that JSON-RPC gives them.

use alloy::{
    consensus::{
        ReceiptEnvelope, Transaction as _, TxEnvelope,
        transaction::{Recovered, TransactionInfo},
    },
    primitives::U256,
    rpc::types::{
        Block as BlockView, BlockTransactions, Header, Log, Transaction, TransactionReceipt,
    },
};

use crate::block::Block;

/// A block, with whole transactions or with their hashes.
pub(super) fn block(block: &Block, whole: bool) -> BlockView {
    let transactions = if whole {
        BlockTransactions::Full(
            (0..block.transactions.len())
                .map(|index| transaction(block, index))
                .collect(),
        )
    } else {
        BlockTransactions::Hashes(block.transactions.iter().map(|tx| *tx.tx_hash()).collect())
    };
    BlockView {
        header: Header::from_consensus(block.header.clone(), None, Some(U256::from(block.size))),
        uncles: Vec::new(),
        transactions,
        withdrawals: Some(Default::default()),
    }
}

/// The mined transaction at `index`, which must be in the block.
pub(super) fn transaction(block: &Block, index: usize) -> Transaction {
    let info = TransactionInfo {
        hash: None,
        index: Some(index as u64),
        block_hash: Some(block.hash()),
        block_number: Some(block.number()),
        base_fee: block.header.base_fee_per_gas,
        block_timestamp: Some(block.header.timestamp),
    };
    Transaction::from_transaction(block.transactions[index].clone(), info)
}

/// A transaction that waits.
pub(super) fn waiting(tx: &Recovered<TxEnvelope>) -> Transaction {
    Transaction::from_transaction(tx.clone(), TransactionInfo::default())
}

/// The receipt at `index`, which must be in the block.
pub(super) fn receipt(block: &Block, index: usize) -> TransactionReceipt<ReceiptEnvelope<Log>> {
    let (tx, executed) = (&block.transactions[index], &block.receipts[index]);
    let mut logs = receipt_logs(block, index);
    TransactionReceipt {
        inner: executed.receipt.clone().map_logs(|_| {
            logs.next()
                .expect("the same receipt gives as many logs both times")
        }),
        transaction_hash: *tx.tx_hash(),
        transaction_index: Some(index as u64),
        block_hash: Some(block.hash()),
        block_number: Some(block.number()),
        gas_used: executed.gas_used,
        effective_gas_price: tx.effective_gas_price(block.header.base_fee_per_gas),
        blob_gas_used: None,
        blob_gas_price: None,
        from: tx.signer(),
        to: tx.to(),
        contract_address: executed.created,
    }
}

/// All logs of a block, in order.
pub(super) fn logs(block: &Block) -> impl Iterator<Item = Log> {
    (0..block.receipts.len()).flat_map(|index| receipt_logs(block, index))
}

fn receipt_logs(block: &Block, index: usize) -> impl Iterator<Item = Log> {
    let before: usize = block.receipts[..index]
        .iter()
        .map(|executed| executed.receipt.logs().len())
        .sum();
    let logs = block.receipts[index].receipt.logs().iter().enumerate();
    logs.map(move |(position, log)| Log {
        inner: log.clone(),
        block_hash: Some(block.hash()),
        block_number: Some(block.number()),
        block_timestamp: Some(block.header.timestamp),
        transaction_hash: Some(*block.transactions[index].tx_hash()),
        transaction_index: Some(index as u64),
        log_index: Some((before + position) as u64),
        removed: false,
    })
}
