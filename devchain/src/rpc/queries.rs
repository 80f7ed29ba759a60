//! Methods that read the chain.

use std::sync::Arc;

use alloy::{
    consensus::Transaction as _,
    eips::{BlockId, BlockNumberOrTag},
    primitives::{B256, Bytes, U64, U256, keccak256},
    rpc::types::{FeeHistory, Filter, FilterBlockOption},
    serde::JsonStorageKey,
};

use super::{Answer, Params, RpcFailure, calls, result, views};
use crate::{DevChain, block::Block, chain::Chain, dev_accounts};

/// The most blocks that one `eth_getLogs` looks through; public providers allow as many or fewer,
/// so a client that works here works there.
pub const MAX_LOG_BLOCKS: u64 = 10_000;

/// The most logs in one answer, about ten megabytes of JSON.
pub const MAX_LOGS: usize = 20_000;

/// The most slots in one `eth_getProof`: each is a walk through the trie.
const MAX_PROOF_SLOTS: usize = 1_024;

/// The most blocks in one `eth_feeHistory`, as in geth.
const MAX_FEE_BLOCKS: u64 = 1_024;

/// The most percentiles in one `eth_feeHistory`, as in geth.
const MAX_PERCENTILES: usize = 100;

impl DevChain {
    pub(super) fn sha3(&self, params: &mut Params) -> Answer {
        result(keccak256(params.next::<Bytes>("data")?))
    }

    pub(super) fn chain_id(&self) -> Answer {
        result(U64::from(self.read().rules().chain_id))
    }

    pub(super) fn accounts(&self) -> Answer {
        result(
            dev_accounts()
                .iter()
                .map(|signer| signer.address())
                .collect::<Vec<_>>(),
        )
    }

    pub(super) fn block_number(&self) -> Answer {
        result(U64::from(self.read().head().number()))
    }

    pub(super) fn block_by_id(&self, params: &mut Params) -> Answer {
        let id = params.next::<BlockId>("block")?;
        let whole = params.next_if_given("whole transactions")?.unwrap_or(false);
        result(
            self.read()
                .block(id)
                .map(|block| views::block(&block, whole)),
        )
    }

    pub(super) fn transaction_count_of_block(&self, params: &mut Params) -> Answer {
        let block = self.read().block(params.next("block")?);
        result(block.map(|block| U64::from(block.transactions.len())))
    }

    pub(super) fn block_receipts(&self, params: &mut Params) -> Answer {
        let block = self.read().block(params.next("block")?);
        let receipts = |block: Arc<Block>| {
            (0..block.receipts.len())
                .map(|index| views::receipt(&block, index))
                .collect::<Vec<_>>()
        };
        result(block.map(receipts))
    }

    pub(super) fn transaction_by_hash(&self, params: &mut Params) -> Answer {
        let hash = params.next("hash")?;
        let chain = self.read();
        let mined = chain
            .transaction(hash)
            .map(|(block, index)| views::transaction(block, index));
        result(mined.or_else(|| chain.pool().find(hash).map(views::waiting)))
    }

    pub(super) fn transaction_receipt(&self, params: &mut Params) -> Answer {
        let hash = params.next("hash")?;
        result(
            self.read()
                .transaction(hash)
                .map(|(block, index)| views::receipt(block, index)),
        )
    }

    /// The next nonce; at `pending` after what waits in sequence.
    pub(super) fn transaction_count(&self, params: &mut Params) -> Answer {
        let address = params.next("address")?;
        let id = params
            .next_if_given::<BlockId>("block")?
            .unwrap_or_default();
        let chain = self.read();
        if id.is_pending() {
            let mined = chain.head().state.nonce(address);
            return result(U64::from(chain.pool().nonce_after(address, mined)));
        }
        let block = chain.block(id).ok_or(RpcFailure::UnknownBlock(id))?;
        result(U64::from(block.state.nonce(address)))
    }

    pub(super) fn balance(&self, params: &mut Params) -> Answer {
        let address = params.next("address")?;
        result(block_of(&self.read(), params)?.state.balance(address))
    }

    pub(super) fn code(&self, params: &mut Params) -> Answer {
        let address = params.next("address")?;
        result(block_of(&self.read(), params)?.state.code(address))
    }

    pub(super) fn storage_at(&self, params: &mut Params) -> Answer {
        let address = params.next("address")?;
        let slot = params.next::<JsonStorageKey>("slot")?.as_b256();
        result(B256::from(
            block_of(&self.read(), params)?.state.storage(address, slot),
        ))
    }

    pub(super) fn proof(&self, params: &mut Params) -> Answer {
        let address = params.next("address")?;
        let slots: Vec<JsonStorageKey> = params.next("slots")?;
        if slots.len() > MAX_PROOF_SLOTS {
            return Err(RpcFailure::TooMuch(format!(
                "more than {MAX_PROOF_SLOTS} slots; ask for fewer at a time"
            )));
        }
        result(block_of(&self.read(), params)?.state.proof(address, slots))
    }

    pub(super) fn logs(&self, params: &mut Params) -> Answer {
        let filter: Filter = params.next("filter")?;
        let blocks = self.blocks_of(&filter)?;
        let mut found = Vec::new();
        for block in blocks {
            if !filter.matches_bloom(block.header.logs_bloom) {
                continue;
            }
            found.extend(views::logs(&block).filter(|log| {
                filter.matches_address(log.address()) && filter.matches_topics(log.topics())
            }));
            if found.len() > MAX_LOGS {
                return Err(RpcFailure::TooMuch(format!(
                    "more than {MAX_LOGS} logs; ask for fewer blocks"
                )));
            }
        }
        result(found)
    }

    /// The blocks that a filter names. A range may end after the latest block, and then ends there.
    fn blocks_of(&self, filter: &Filter) -> Result<Vec<Arc<Block>>, RpcFailure> {
        let chain = self.read();
        let (from, to) = match filter.block_option {
            FilterBlockOption::AtBlockHash(hash) => {
                let id = BlockId::hash(hash);
                return Ok(vec![chain.block(id).ok_or(RpcFailure::UnknownBlock(id))?]);
            }
            FilterBlockOption::Range {
                from_block,
                to_block,
            } => (from_block, to_block),
        };
        let number = |tag: Option<BlockNumberOrTag>| match tag.unwrap_or_default() {
            BlockNumberOrTag::Number(number) => number,
            // What waits has no logs that count.
            BlockNumberOrTag::Pending => chain.head().number(),
            tag => chain.block(tag.into()).map_or(0, |block| block.number()),
        };
        let (from, to) = (number(from), number(to));
        if from > to {
            return Err(RpcFailure::Params(format!(
                "the range from {from} to {to} is empty"
            )));
        }
        let to = to.min(chain.head().number());
        if to.saturating_sub(from) >= MAX_LOG_BLOCKS {
            return Err(RpcFailure::TooMuch(format!(
                "more than {MAX_LOG_BLOCKS} blocks; ask for a shorter range"
            )));
        }
        Ok((from..=to)
            .filter_map(|number| chain.block(number.into()))
            .collect())
    }

    pub(super) fn gas_price(&self) -> Answer {
        result(U256::from(self.read().head().next_base_fee()) + calls::tip())
    }

    pub(super) fn fee_history(&self, params: &mut Params) -> Answer {
        let count = params
            .next::<U64>("block count")?
            .to::<u64>()
            .min(MAX_FEE_BLOCKS);
        let newest = params.next::<BlockNumberOrTag>("newest block")?;
        let percentiles: Vec<f64> = params.next_if_given("percentiles")?.unwrap_or_default();
        let ordered = percentiles.is_sorted()
            && percentiles
                .iter()
                .all(|percentile| (0.0..=100.0).contains(percentile));
        if !ordered || percentiles.len() > MAX_PERCENTILES {
            return Err(RpcFailure::Params(
                "percentiles must rise from 0 to 100".into(),
            ));
        }
        let chain = self.read();
        // The pending block has no history yet.
        let newest = if newest.is_pending() {
            BlockNumberOrTag::Latest
        } else {
            newest
        };
        let newest = chain
            .block(newest.into())
            .ok_or(RpcFailure::UnknownBlock(newest.into()))?;
        let oldest = (newest.number() + 1).saturating_sub(count);
        let blocks: Vec<_> = (oldest..=newest.number())
            .filter_map(|number| chain.block(number.into()))
            .collect();
        let mut fees: Vec<_> = blocks
            .iter()
            .map(|block| u128::from(block.header.base_fee_per_gas.unwrap_or_default()))
            .collect();
        fees.push(newest.next_base_fee().into());
        result(FeeHistory {
            base_fee_per_gas: fees,
            gas_used_ratio: blocks.iter().map(|block| fullness(block)).collect(),
            base_fee_per_blob_gas: vec![1; blocks.len() + 1],
            blob_gas_used_ratio: vec![0.0; blocks.len()],
            oldest_block: oldest,
            reward: (!percentiles.is_empty()).then(|| {
                blocks
                    .iter()
                    .map(|block| tips(block, &percentiles))
                    .collect()
            }),
        })
    }
}

/// The block that the next parameter names, `latest` where it is not given.
pub(super) fn block_of(chain: &Chain, params: &mut Params) -> Result<Arc<Block>, RpcFailure> {
    let id = params
        .next_if_given::<BlockId>("block")?
        .unwrap_or_default();
    chain.block(id).ok_or(RpcFailure::UnknownBlock(id))
}

fn fullness(block: &Block) -> f64 {
    block.header.gas_used as f64 / block.header.gas_limit as f64
}

/// The tip per gas at each percentile of the block's gas, zeros for an empty block.
fn tips(block: &Block, percentiles: &[f64]) -> Vec<u128> {
    let base_fee = block.header.base_fee_per_gas.unwrap_or_default();
    let transactions = block.transactions.iter().zip(&block.receipts);
    let mut paid: Vec<_> = transactions
        .map(|(tx, executed)| {
            (
                tx.effective_tip_per_gas(base_fee).unwrap_or_default(),
                executed.gas_used,
            )
        })
        .collect();
    paid.sort_unstable();
    let at = |percentile: &f64| {
        let threshold = block.header.gas_used as f64 * percentile / 100.0;
        let mut gas = 0;
        let reached = paid.iter().find(|(_, used)| {
            gas += used;
            gas as f64 >= threshold
        });
        reached.or(paid.last()).map_or(0, |(tip, _)| *tip)
    };
    percentiles.iter().map(at).collect()
}
