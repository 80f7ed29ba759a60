//! JSON-RPC: methods by name, their parameters and their errors.
//!
//! Owns the translation between JSON and the chain; must not know how requests arrive.

mod calls;
mod control;
mod queries;
mod views;

use alloy::{
    eips::BlockId,
    primitives::Bytes,
    rpc::json_rpc::{ErrorPayload, Id, Response, ResponsePayload},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};

use crate::{
    DevChain, chain::SubmitError, clock::TimeError, evm::ExecuteError, journal::JournalError,
};
pub use queries::{MAX_LOG_BLOCKS, MAX_LOGS};

/// Why a request has no result. [`RpcFailure::code`] gives the code that goes over the wire.
#[derive(Debug, thiserror::Error)]
pub enum RpcFailure {
    /// No such method.
    #[error("the method {0} does not exist/is not available")]
    UnknownMethod(String),
    /// The parameters are not what the method takes.
    #[error("invalid params: {0}")]
    Params(String),
    /// The block is not on this chain, or not any more.
    #[error("block {0} is not on this chain")]
    UnknownBlock(BlockId),
    /// The execution was reverted; the data goes along, so that custom errors can be decoded.
    #[error("execution reverted{}", .reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default())]
    Reverted {
        /// The text, where it is Solidity's `Error(string)` or `Panic(uint256)`.
        reason: Option<String>,
        /// The bytes that the contract gave back.
        data: Bytes,
    },
    /// The execution stopped: out of gas, invalid opcode and so on.
    #[error("execution stopped: {0}")]
    Halted(String),
    /// The execution could not begin.
    #[error(transparent)]
    Execute(#[from] ExecuteError),
    /// The transaction was not accepted.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// The sender of `eth_sendTransaction` is none of the dev accounts.
    #[error("no key for account {0}")]
    NoKey(alloy::primitives::Address),
    /// No block can have this time.
    #[error(transparent)]
    Time(#[from] TimeError),
    /// The answer would be too large; the text says how to ask for less.
    #[error("{0}")]
    TooMuch(String),
    /// This program's fault, or the disk's.
    #[error("{0}")]
    Internal(String),
}

impl From<JournalError> for RpcFailure {
    fn from(error: JournalError) -> Self {
        Self::Internal(error.to_string())
    }
}

impl RpcFailure {
    /// The error code: JSON-RPC 2.0's, EIP-1474's, and 3 for a revert as geth has it.
    pub fn code(&self) -> i64 {
        match self {
            Self::UnknownMethod(_) => -32601,
            Self::Params(_) | Self::Time(_) => -32602,
            Self::UnknownBlock(_) => -32001,
            Self::Reverted { .. } => 3,
            Self::TooMuch(_) => -32005,
            Self::Internal(_) | Self::Submit(SubmitError::Journal(_)) => -32603,
            Self::Halted(_) | Self::Execute(_) | Self::Submit(_) | Self::NoKey(_) => -32000,
        }
    }

    fn payload(&self) -> ErrorPayload {
        let data = match self {
            Self::Reverted { data, .. } => to_raw_value(data).ok(),
            _ => None,
        };
        ErrorPayload {
            code: self.code(),
            message: self.to_string().into(),
            data,
        }
    }
}

/// What a method gives.
type Answer = Result<Box<RawValue>, RpcFailure>;

impl DevChain {
    /// Answers one JSON-RPC request.
    pub(crate) fn respond(&self, id: Id, method: &str, params: Option<&RawValue>) -> Response {
        let payload = match self.request(method, params) {
            Ok(result) => ResponsePayload::Success(result),
            Err(failure) => {
                tracing::debug!(method, %failure, "refused");
                ResponsePayload::Failure(failure.payload())
            }
        };
        Response { id, payload }
    }

    /// Calls a JSON-RPC method by name; `params` is a JSON array.
    pub fn request(&self, method: &str, params: Option<&RawValue>) -> Answer {
        let mut params = Params::parse(params)?;
        match method {
            "web3_clientVersion" => result(concat!("devchain/v", env!("CARGO_PKG_VERSION"))),
            "web3_sha3" => self.sha3(&mut params),
            "net_version" => result(self.read().rules().chain_id.to_string()),
            "net_listening" => result(true),
            "eth_chainId" => self.chain_id(),
            "eth_syncing" => result(false),
            "eth_accounts" => self.accounts(),
            "eth_blockNumber" => self.block_number(),
            "eth_getBlockByNumber" | "eth_getBlockByHash" => self.block_by_id(&mut params),
            "eth_getBlockTransactionCountByNumber" | "eth_getBlockTransactionCountByHash" => {
                self.transaction_count_of_block(&mut params)
            }
            "eth_getBlockReceipts" => self.block_receipts(&mut params),
            "eth_getTransactionByHash" => self.transaction_by_hash(&mut params),
            "eth_getTransactionReceipt" => self.transaction_receipt(&mut params),
            "eth_getTransactionCount" => self.transaction_count(&mut params),
            "eth_getBalance" => self.balance(&mut params),
            "eth_getCode" => self.code(&mut params),
            "eth_getStorageAt" => self.storage_at(&mut params),
            "eth_getProof" => self.proof(&mut params),
            "eth_getLogs" => self.logs(&mut params),
            "eth_gasPrice" => self.gas_price(),
            "eth_maxPriorityFeePerGas" => result(calls::tip()),
            "eth_feeHistory" => self.fee_history(&mut params),
            "eth_call" => self.call(&mut params),
            "eth_estimateGas" => self.estimate_gas(&mut params),
            "eth_sendRawTransaction" => self.send_raw_transaction(&mut params),
            "eth_sendTransaction" => self.send_transaction(&mut params),
            "evm_mine" => self.mine_one(),
            "anvil_mine" => self.mine_many(&mut params),
            "evm_increaseTime" => self.increase_time_on_request(&mut params),
            "evm_setNextBlockTimestamp" => self.set_next_timestamp(&mut params),
            "evm_snapshot" => self.take_snapshot(),
            "evm_revert" => self.revert_on_request(&mut params),
            "evm_setAutomine" => self.set_automine(&mut params),
            "anvil_setBalance" => self.set_balance(&mut params),
            "devchain_setFinalityLag" => self.set_lag(&mut params),
            _ => Err(RpcFailure::UnknownMethod(method.to_owned())),
        }
    }
}

fn result(value: impl Serialize) -> Answer {
    to_raw_value(&value).map_err(|error| RpcFailure::Internal(error.to_string()))
}

/// The positional parameters of a request.
struct Params(std::vec::IntoIter<Value>);

impl Params {
    fn parse(raw: Option<&RawValue>) -> Result<Self, RpcFailure> {
        let Some(raw) = raw else {
            return Ok(Self(Vec::new().into_iter()));
        };
        let values: Option<Vec<Value>> = serde_json::from_str(raw.get())
            .map_err(|error| RpcFailure::Params(error.to_string()))?;
        Ok(Self(values.unwrap_or_default().into_iter()))
    }

    /// The next parameter, which must be there.
    fn next<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, RpcFailure> {
        self.next_if_given(name)?
            .ok_or_else(|| RpcFailure::Params(format!("{name} is missing")))
    }

    /// The next parameter, which may be absent or null.
    fn next_if_given<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, RpcFailure> {
        match self.0.next() {
            None | Some(Value::Null) => Ok(None),
            Some(value) => serde_json::from_value(value)
                .map(Some)
                .map_err(|error| RpcFailure::Params(format!("{name}: {error}"))),
        }
    }
}
