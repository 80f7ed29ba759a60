//! Methods that execute: calls, estimates, and transactions sent.

use alloy::{
    consensus::{SignableTransaction, TxEnvelope},
    eips::{BlockId, Encodable2718, eip1559::Eip1559Estimation},
    network::TxSignerSync,
    primitives::{Bytes, U256},
    rpc::types::TransactionRequest,
    sol_types::{GenericContractError, SolInterface},
};

use super::{Answer, Params, RpcFailure, queries, result};
use crate::{
    DevChain,
    block::Block,
    chain::Chain,
    dev_accounts,
    evm::{ExecuteError, ExecutionResult, InvalidTransaction, TRANSACTION_GAS_CAP, call_tx},
};

/// The tip that is suggested, in wei per gas. Any tip is accepted: nobody competes for blocks.
const SUGGESTED_TIP: u64 = 1_000_000_000;

/// An estimate is at most this fraction (1/64) above what is needed; geth stops searching near
/// there too.
const ESTIMATE_TOLERANCE: u64 = 64;

/// Gas that a call with value adds for its target.
const CALL_STIPEND: u64 = 2_300;

/// The suggested tip as a quantity.
pub(super) fn tip() -> U256 {
    U256::from(SUGGESTED_TIP)
}

impl DevChain {
    pub(super) fn call(&self, params: &mut Params) -> Answer {
        let request: TransactionRequest = params.next("transaction")?;
        let chain = self.read();
        let block = queries::block_of(&chain, params)?;
        refuse_overrides(params)?;
        let gas = request.gas.unwrap_or(TRANSACTION_GAS_CAP);
        result(output(execute(&chain, &block, &request, gas)?)?)
    }

    /// The least gas with which the transaction succeeds, about; for the next block unless told
    /// otherwise.
    pub(super) fn estimate_gas(&self, params: &mut Params) -> Answer {
        let request = params.next("transaction")?;
        let id = params.next_if_given("block")?.unwrap_or(BlockId::pending());
        refuse_overrides(params)?;
        let chain = self.read();
        let block = chain.block(id).ok_or(RpcFailure::UnknownBlock(id))?;
        result(U256::from(estimate(&chain, &block, &request)?))
    }

    pub(super) fn send_raw_transaction(&self, params: &mut Params) -> Answer {
        let raw: Bytes = params.next("transaction")?;
        result(self.write().submit(&raw)?)
    }

    /// Fills in what is missing, signs with the key of a dev account, and submits.
    pub(super) fn send_transaction(&self, params: &mut Params) -> Answer {
        let mut request: TransactionRequest = params.next("transaction")?;
        let from = request.from.unwrap_or_else(|| dev_accounts()[0].address());
        let signer = dev_accounts()
            .iter()
            .find(|signer| signer.address() == from)
            .ok_or(RpcFailure::NoKey(from))?;
        let mut chain = self.write();
        request.from = Some(from);
        request.chain_id.get_or_insert(chain.rules().chain_id);
        if request.nonce.is_none() {
            request.nonce = Some(
                chain
                    .pool()
                    .nonce_after(from, chain.head().state.nonce(from)),
            );
        }
        if request.gas.is_none() {
            let pending = chain
                .block(BlockId::pending())
                .ok_or(RpcFailure::UnknownBlock(BlockId::pending()))?;
            request.gas = Some(estimate(&chain, &pending, &request)?);
        }
        if request.gas_price.is_none() {
            let fees = suggested_fees(chain.head());
            request.max_fee_per_gas.get_or_insert(fees.max_fee_per_gas);
            request
                .max_priority_fee_per_gas
                .get_or_insert(fees.max_priority_fee_per_gas);
        }
        if request.to.is_none() {
            request.to = Some(alloy::primitives::TxKind::Create);
        }
        let mut tx = request
            .build_typed_tx()
            .map_err(|_| RpcFailure::Params("not enough to build a transaction".into()))?;
        let signature = signer
            .sign_transaction_sync(&mut tx)
            .map_err(|error| RpcFailure::Internal(error.to_string()))?;
        let signed = TxEnvelope::from(tx.into_signed(signature));
        result(chain.submit(&signed.encoded_2718())?)
    }
}

/// Twice the next base fee and the tip: good for some full blocks in a row.
fn suggested_fees(head: &Block) -> Eip1559Estimation {
    let tip = u128::from(SUGGESTED_TIP);
    Eip1559Estimation {
        max_fee_per_gas: u128::from(head.next_base_fee()) * 2 + tip,
        max_priority_fee_per_gas: tip,
    }
}

/// State and block overrides are geth's extension; ignoring them would give a wrong answer.
fn refuse_overrides(params: &mut Params) -> Result<(), RpcFailure> {
    match params.next_if_given::<serde_json::Value>("overrides")? {
        Some(overrides)
            if overrides
                .as_object()
                .is_none_or(|fields| !fields.is_empty()) =>
        {
            Err(RpcFailure::Params(
                "overrides are not available on this chain".into(),
            ))
        }
        _ => Ok(()),
    }
}

fn execute(
    chain: &Chain,
    block: &Block,
    request: &TransactionRequest,
    gas: u64,
) -> Result<ExecutionResult, ExecuteError> {
    let gas = gas.min(TRANSACTION_GAS_CAP).min(block.header.gas_limit);
    chain
        .stage(block)
        .call(call_tx(request, chain.rules(), gas))
}

fn output(result: ExecutionResult) -> Result<Bytes, RpcFailure> {
    match result {
        ExecutionResult::Success { output, .. } => Ok(output.into_data()),
        ExecutionResult::Revert { output, .. } => Err(RpcFailure::Reverted {
            reason: reason(&output),
            data: output,
        }),
        ExecutionResult::Halt { reason, .. } => Err(RpcFailure::Halted(reason.to_string())),
    }
}

/// The text of Solidity's own two errors; the bytes of others are for the caller to decode.
fn reason(data: &[u8]) -> Option<String> {
    match GenericContractError::abi_decode(data).ok()? {
        GenericContractError::Revert(revert) => Some(revert.reason),
        GenericContractError::Panic(panic) => Some(panic.to_string()),
    }
}

/// Searches between what the execution used and what it was allowed. More than it used may be
/// needed: a call hands on 63/64 of the gas (EIP-150), and refunds come only at the end.
fn estimate(chain: &Chain, block: &Block, request: &TransactionRequest) -> Result<u64, RpcFailure> {
    let most = request
        .gas
        .unwrap_or(TRANSACTION_GAS_CAP)
        .min(TRANSACTION_GAS_CAP)
        .min(block.header.gas_limit);
    let first = execute(chain, block, request, most)?;
    let (used, spent) = (first.tx_gas_used(), first.gas().total_gas_spent());
    output(first)?;
    if succeeds(chain, block, request, used)? {
        return Ok(used);
    }
    // `short` is known to be too little, `enough` to be enough. The first guess is what one call
    // deep needs.
    let (mut short, mut enough) = (used, most);
    let mut guess = spent + spent / 63 + CALL_STIPEND;
    while enough - short > enough / ESTIMATE_TOLERANCE {
        if guess <= short || guess >= enough {
            guess = short + (enough - short) / 2;
        }
        if succeeds(chain, block, request, guess)? {
            enough = guess;
        } else {
            short = guess;
        }
        guess = short + (enough - short) / 2;
    }
    Ok(enough)
}

/// Whether the transaction succeeds with `gas`. Too little to even begin is a plain no.
fn succeeds(
    chain: &Chain,
    block: &Block,
    request: &TransactionRequest,
    gas: u64,
) -> Result<bool, RpcFailure> {
    match execute(chain, block, request, gas) {
        Ok(result) => Ok(result.is_success()),
        Err(ExecuteError::Invalid(
            InvalidTransaction::CallGasCostMoreThanGasLimit { .. }
            | InvalidTransaction::GasFloorMoreThanGasLimit { .. },
        )) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
