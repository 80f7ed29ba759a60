//! One execution of the EVM over a [`State`].
//!
//! Owns the translation between Ethereum's types and revm's; must not know how blocks are chosen or
//! stored.

use std::{convert::Infallible, sync::Arc};

use alloy::{
    consensus::{Header, Transaction, TxEnvelope},
    primitives::{Address, B256, U256},
    rpc::types::TransactionRequest,
};
pub(crate) use revm::context::result::{ExecutionResult, InvalidTransaction};
use revm::{
    Context, Database, ExecuteEvm, MainBuilder, MainContext,
    bytecode::Bytecode,
    context::{BlockEnv, CfgEnv, TxEnv, either::Either, result::EVMError},
    state::AccountInfo,
};

use crate::{block::Block, genesis::Rules, state::State};

/// The most gas a transaction may ask for from Osaka on (EIP-7825), so also what a call gets by
/// default.
pub(crate) const TRANSACTION_GAS_CAP: u64 = 1 << 24;

/// Why an execution gave no result at all.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// The sender's fault: the transaction breaks a rule of the chain.
    #[error("{0}")]
    Invalid(InvalidTransaction),
    /// The machine's fault, a precompile that could not run for instance.
    #[error("the EVM stopped: {0}")]
    Fault(String),
}

/// Where an execution stands: the rules, the block it is in, the blocks before that, and the state.
pub(crate) struct Stage<'a> {
    pub(crate) rules: Rules,
    pub(crate) env: BlockEnv,
    /// The canonical blocks from genesis on; at least all before `env.number`.
    pub(crate) ancestors: &'a [Arc<Block>],
    pub(crate) state: &'a State,
}

impl Stage<'_> {
    /// Runs a transaction under all rules; gives its result and the state after it.
    pub(crate) fn transact(&self, tx: TxEnv) -> Result<(ExecutionResult, State), ExecuteError> {
        self.run(tx, self.config())
    }

    /// Runs a transaction as if it were the sender's next one, whatever its nonce.
    pub(crate) fn rehearse(&self, tx: TxEnv) -> Result<ExecutionResult, ExecuteError> {
        let mut config = self.config();
        config.disable_nonce_check = true;
        self.run(tx, config).map(|(result, _)| result)
    }

    /// Runs a call free of charge: no fee, no nonce, and the sender may be a contract.
    pub(crate) fn call(&self, tx: TxEnv) -> Result<ExecutionResult, ExecuteError> {
        let mut config = self.config();
        config.disable_nonce_check = true;
        config.disable_base_fee = true;
        config.disable_eip3607 = true;
        self.run(tx, config).map(|(result, _)| result)
    }

    fn run(&self, tx: TxEnv, config: CfgEnv) -> Result<(ExecutionResult, State), ExecuteError> {
        let context = Context::mainnet()
            .with_db(View(self))
            .with_block(self.env.clone())
            .with_cfg(config);
        let outcome = context
            .build_mainnet()
            .transact(tx)
            .map_err(|error| match error {
                EVMError::Transaction(invalid) => ExecuteError::Invalid(invalid),
                other => ExecuteError::Fault(other.to_string()),
            })?;
        let mut state = self.state.clone();
        state.apply(outcome.state);
        Ok((outcome.result, state))
    }

    fn config(&self) -> CfgEnv {
        CfgEnv::new()
            .with_chain_id(self.rules.chain_id)
            .with_spec_and_mainnet_gas_params(self.rules.spec)
    }
}

/// What the EVM sees of the block that `header` heads.
pub(crate) fn block_env(header: &Header) -> BlockEnv {
    BlockEnv {
        number: U256::from(header.number),
        beneficiary: header.beneficiary,
        timestamp: U256::from(header.timestamp),
        gas_limit: header.gas_limit,
        basefee: header.base_fee_per_gas.unwrap_or_default(),
        prevrandao: Some(header.mix_hash),
        ..BlockEnv::default()
    }
}

/// A signed transaction of `sender` as revm takes it.
pub(crate) fn signed_tx(tx: &TxEnvelope, sender: Address) -> TxEnv {
    TxEnv {
        tx_type: tx.tx_type() as u8,
        caller: sender,
        gas_limit: tx.gas_limit(),
        gas_price: tx.max_fee_per_gas(),
        kind: tx.kind(),
        value: tx.value(),
        data: tx.input().clone(),
        nonce: tx.nonce(),
        chain_id: tx.chain_id(),
        access_list: tx.access_list().cloned().unwrap_or_default(),
        gas_priority_fee: tx.max_priority_fee_per_gas(),
        authorization_list: tx
            .authorization_list()
            .unwrap_or_default()
            .iter()
            .cloned()
            .map(Either::Left)
            .collect(),
        ..Default::default()
    }
}

/// A call request as revm takes it. Fee fields are ignored: calls are free of charge.
pub(crate) fn call_tx(request: &TransactionRequest, rules: Rules, gas_limit: u64) -> TxEnv {
    let mut tx = TxEnv {
        caller: request.from.unwrap_or_default(),
        gas_limit,
        kind: request.to.unwrap_or_default(),
        value: request.value.unwrap_or_default(),
        data: request.input.input().cloned().unwrap_or_default(),
        chain_id: Some(request.chain_id.unwrap_or(rules.chain_id)),
        access_list: request.access_list.clone().unwrap_or_default(),
        gas_priority_fee: Some(0),
        ..Default::default()
    };
    tx.authorization_list = request
        .authorization_list
        .iter()
        .flatten()
        .cloned()
        .map(Either::Left)
        .collect();
    tx.tx_type = if tx.authorization_list.is_empty() {
        2
    } else {
        4
    };
    tx
}

/// The stage as revm's database.
struct View<'a, 'b>(&'a Stage<'b>);

impl Database for View<'_, '_> {
    type Error = Infallible;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, Infallible> {
        Ok(self
            .0
            .state
            .account(address)
            .map(|account| account.info.clone()))
    }

    /// Never asked: [`Database::basic`] hands the code out with the account.
    fn code_by_hash(&mut self, _hash: B256) -> Result<Bytecode, Infallible> {
        Ok(Bytecode::default())
    }

    fn storage(&mut self, address: Address, slot: U256) -> Result<U256, Infallible> {
        Ok(self.0.state.storage(address, B256::from(slot)))
    }

    /// revm asks only for the 256 blocks before the current one.
    fn block_hash(&mut self, number: u64) -> Result<B256, Infallible> {
        let block = usize::try_from(number)
            .ok()
            .and_then(|number| self.0.ancestors.get(number));
        Ok(block.map_or(B256::ZERO, |block| block.hash()))
    }
}
