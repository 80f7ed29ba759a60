//! The chain as this node knows it: blocks by hash, storage words proven against them, transactions.
//!
//! A decision reads every fact at one block hash. Words come with Merkle proofs that are checked
//! against the block's own header, whose hash is recomputed. So an endpoint cannot lie about a block;
//! that the block is on the chain, final or the newest, is its word, until several are asked.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use alloy::contract::{CallBuilder, CallDecoder};
use alloy::eips::{BlockId, BlockNumberOrTag};
use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use alloy::providers::{DynProvider, PendingTransactionBuilder, Provider, ProviderBuilder};
use alloy::rpc::client::RpcClient;
use alloy::rpc::types::{EIP1186AccountProofResponse, TransactionReceipt};
use alloy_rlp::Decodable;
use alloy_trie::{Nibbles, TrieAccount, proof::verify_proof};
use collective::contribution::Registry;
use collective::receipt::{BlockRef, Escrow};
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub mod account;
pub mod endpoint;
pub mod facts;
mod logs;
mod proven;
pub mod revert;

pub use account::Account;
pub use logs::Logs;
use proven::Proven;

/// Storage words in one `eth_getProof`: a proof of one word is about 3 KiB, and endpoints cap answers.
const WORDS_PER_PROOF: usize = 256;

/// How often a proof that does not hold is asked for again before the endpoint is called a liar.
const PROOF_TRIES: usize = 4;

/// How long a transaction may take to be mined before the caller looks again.
const RECEIPT_PATIENCE: Duration = Duration::from_secs(120);

/// How often in a row the endpoint may not know a transaction that it took, before the caller looks
/// again: behind one address stand several machines now and then, and one of them is late.
const UNKNOWN_TIMES: usize = 5;

/// Where a collective lives: the chain, its contracts and the block in which its story begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deployment {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// The collective: its timelock.
    pub collective: Address,
    /// CollectiveGovernor.
    pub governor: Address,
    /// Membership, the votes.
    pub membership: Address,
    /// ContributionRegistry.
    pub contributions: Address,
    /// CodeRegistry.
    pub code: Address,
    /// NodeRegistry.
    pub nodes: Address,
    /// JobEscrow.
    pub escrow: Address,
    /// RewardDistributor.
    pub rewards: Address,
    /// LivenessRegistry.
    pub liveness: Address,
    /// ERC-20 token that this collective is paid in.
    pub token: Address,
    /// Every event of interest is above this block.
    pub first_block: u64,
}

impl Deployment {
    /// In whose name contributions are signed.
    pub fn registry(&self) -> Registry {
        Registry {
            chain_id: self.chain_id,
            address: self.contributions,
        }
    }

    /// In whose name releases and receipts are signed.
    pub fn job_escrow(&self) -> Escrow {
        Escrow {
            chain_id: self.chain_id,
            address: self.escrow,
        }
    }
}

/// Why the chain gave no usable answer. All are the endpoint's or the operator's to mend.
#[derive(Debug, Error)]
pub enum ChainError {
    /// No answer, or an error as answer.
    #[error("the chain endpoint failed: {0}; check that it runs and that its address is right")]
    Endpoint(String),
    /// Another chain than configured.
    #[error("the endpoint serves chain {found}, this node is configured for chain {expected}")]
    AnotherChain {
        /// Configured.
        expected: u64,
        /// Served.
        found: u64,
    },
    /// The endpoint does not have the block.
    #[error("the endpoint has no block {0}")]
    NoBlock(String),
    /// The header does not hash to what it is called.
    #[error("the endpoint gave a header that is not that of block {0}")]
    FalseHeader(B256),
    /// The proof does not lead to the header's state root.
    #[error("the endpoint gave a false proof for {contract} at block {block}")]
    FalseProof {
        /// Whose storage.
        contract: Address,
        /// Which block.
        block: B256,
    },
    /// A node's recipient has not been shown.
    #[error("the endpoint shows no recipient of node {0} that has the registered digest")]
    NoRecipient(collective::id::NodeId),
    /// The contract refused a transaction.
    #[error("the contract refused: {0}")]
    Reverted(String),
    /// A transaction was mined and failed, or was not mined in time.
    #[error("transaction {hash} did not succeed: {why}")]
    NotMined {
        /// Its hash.
        hash: B256,
        /// What is known.
        why: String,
    },
}

impl<E: std::fmt::Display> From<alloy::transports::RpcError<E>> for ChainError {
    fn from(error: alloy::transports::RpcError<E>) -> Self {
        match error
            .as_error_resp()
            .and_then(|payload| payload.as_revert_data())
        {
            Some(data) => Self::Reverted(revert::name(&data)),
            None => Self::Endpoint(without_address(&error.to_string())),
        }
    }
}

impl From<alloy::contract::Error> for ChainError {
    fn from(error: alloy::contract::Error) -> Self {
        match error {
            alloy::contract::Error::TransportError(error) => error.into(),
            other => Self::Endpoint(without_address(&other.to_string())),
        }
    }
}

/// What an HTTP client says of an error names the endpoint's address, which may hold a key: it is for no log and no answer.
fn without_address(text: &str) -> String {
    match text.split_once(" for url (") {
        None => text.to_owned(),
        Some((said, rest)) => {
            let after = rest
                .find(char::is_whitespace)
                .map_or("", |end| &rest[end..]);
            format!("{said}{}", without_address(after))
        }
    }
}

/// A connection to a chain that holds one collective.
#[derive(Clone)]
pub struct Chain {
    provider: DynProvider,
    deployment: Deployment,
    proven: Arc<Mutex<Proven>>,
}

impl Chain {
    /// Connects without a key: reads only.
    ///
    /// # Errors
    /// [`ChainError::Endpoint`] or [`ChainError::AnotherChain`].
    pub async fn reader(client: RpcClient, deployment: Deployment) -> Result<Self, ChainError> {
        let provider = ProviderBuilder::new().connect_client(client).erased();
        Self::checked(provider, deployment).await
    }

    /// Connects with the account that signs this node's transactions.
    ///
    /// # Errors
    /// [`ChainError::Endpoint`] or [`ChainError::AnotherChain`].
    pub async fn signer(
        client: RpcClient,
        deployment: Deployment,
        account: &Account,
    ) -> Result<Self, ChainError> {
        Self::checked(account.provider(client), deployment).await
    }

    async fn checked(provider: DynProvider, deployment: Deployment) -> Result<Self, ChainError> {
        let found = provider.get_chain_id().await?;
        if found != deployment.chain_id {
            return Err(ChainError::AnotherChain {
                expected: deployment.chain_id,
                found,
            });
        }
        Ok(Self {
            provider,
            deployment,
            proven: Arc::default(),
        })
    }

    /// Where the collective lives.
    pub fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// The alloy provider, for calls and transactions.
    pub fn provider(&self) -> &DynProvider {
        &self.provider
    }

    /// The newest finalized block.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn finalized(&self) -> Result<BlockRef, ChainError> {
        self.block(BlockId::Number(BlockNumberOrTag::Finalized))
            .await
    }

    /// The newest block.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn latest(&self) -> Result<BlockRef, ChainError> {
        self.block(BlockId::Number(BlockNumberOrTag::Latest)).await
    }

    /// The block of this height on the chain that the endpoint holds to be right.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn at_height(&self, number: u64) -> Result<BlockRef, ChainError> {
        self.block(BlockId::Number(number.into())).await
    }

    /// The first block up to `newest` that is not older than `time`; `None` where there is none, or where it may lie before the
    /// collective's first.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn first_since(
        &self,
        time: u64,
        newest: &BlockRef,
    ) -> Result<Option<BlockRef>, ChainError> {
        let (mut low, mut high) = (self.deployment.first_block.max(1), newest.number);
        if high < low || self.at_height(low - 1).await?.time >= time {
            return Ok(None);
        }
        while low < high {
            let middle = low + (high - low) / 2;
            if self.at_height(middle).await?.time >= time {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        let block = self.at_height(high).await?;
        Ok((block.time >= time).then_some(block))
    }

    /// PREVRANDAO of a block (EIP-4399), bound by the recomputed header hash.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn randomness(&self, block: &BlockRef) -> Result<B256, ChainError> {
        let header = self.encoded_header(block).await?;
        let header = alloy::consensus::Header::decode(&mut &header[..]);
        let header = header.map_err(|_| ChainError::FalseHeader(block.hash))?;
        Ok(header.mix_hash)
    }

    /// A block's header as it is hashed (RLP).
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn encoded_header(&self, block: &BlockRef) -> Result<Bytes, ChainError> {
        let id = BlockId::Hash(block.hash.into());
        let found = self.provider.get_block(id).await?;
        let found = found.ok_or_else(|| ChainError::NoBlock(block.hash.to_string()))?;
        let header = alloy_rlp::encode(&found.header.inner);
        if keccak256(&header) != block.hash {
            return Err(ChainError::FalseHeader(block.hash));
        }
        Ok(header.into())
    }

    async fn block(&self, id: BlockId) -> Result<BlockRef, ChainError> {
        self.header(id).await.map(|(block, _)| block)
    }

    /// A block and its state root, both bound by the recomputed header hash.
    async fn header(&self, id: BlockId) -> Result<(BlockRef, B256), ChainError> {
        let block = self
            .provider
            .get_block(id)
            .await?
            .ok_or_else(|| ChainError::NoBlock(format!("{id:?}")))?;
        let header = &block.header.inner;
        let hash = header.hash_slow();
        let is_asked_for = match id {
            BlockId::Hash(asked) => hash == asked.block_hash,
            BlockId::Number(BlockNumberOrTag::Number(number)) => header.number == number,
            BlockId::Number(_) => true,
        };
        if hash != block.header.hash || !is_asked_for {
            return Err(ChainError::FalseHeader(block.header.hash));
        }
        Ok((
            BlockRef {
                number: header.number,
                hash,
                time: header.timestamp,
            },
            header.state_root,
        ))
    }

    /// Storage words of a contract at a block, each proven, absent ones as zero. What was proven a moment ago is not asked for again.
    ///
    /// # Errors
    /// [`ChainError::FalseProof`] when one word's proof does not hold.
    pub async fn words(
        &self,
        block: &BlockRef,
        contract: Address,
        slots: &[B256],
    ) -> Result<Vec<U256>, ChainError> {
        if let Some(words) = self.kept().words(block.hash, contract, slots) {
            return Ok(words);
        }
        let at = BlockId::Hash(block.hash.into());
        let (_, state_root) = self.header(at).await?;
        let mut words = Vec::with_capacity(slots.len());
        for slots in slots.chunks(WORDS_PER_PROOF) {
            words.extend(self.proven(block, state_root, contract, slots).await?);
        }
        self.kept().keep(block.hash, contract, slots, &words);
        Ok(words)
    }

    fn kept(&self) -> MutexGuard<'_, Proven> {
        self.proven.lock().expect("nobody panics here")
    }

    /// One request's words. An endpoint that mines while it answers gives a proof of another block now
    /// and then (anvil does); one that lies keeps doing so.
    async fn proven(
        &self,
        block: &BlockRef,
        state_root: B256,
        contract: Address,
        slots: &[B256],
    ) -> Result<Vec<U256>, ChainError> {
        for _ in 0..PROOF_TRIES {
            let request = self.provider.get_proof(contract, slots.to_vec());
            let answer = request.block_id(BlockId::Hash(block.hash.into())).await?;
            if let Some(words) = proven_words(state_root, contract, slots, &answer) {
                return Ok(words);
            }
        }
        Err(ChainError::FalseProof {
            contract,
            block: block.hash,
        })
    }

    /// Sends a call as a transaction of this node's account and waits until it is mined.
    ///
    /// # Errors
    /// [`ChainError::Reverted`] with the contract's reason, [`ChainError::NotMined`].
    pub async fn submit<P: Provider, D: CallDecoder>(
        &self,
        call: CallBuilder<P, D>,
    ) -> Result<TransactionReceipt, ChainError> {
        Self::mined(call.send().await?).await
    }

    /// Waits for a sent transaction and fails unless it succeeded.
    ///
    /// # Errors
    /// [`ChainError::NotMined`].
    pub async fn mined(
        pending: PendingTransactionBuilder<alloy::network::Ethereum>,
    ) -> Result<TransactionReceipt, ChainError> {
        let hash = *pending.tx_hash();
        let provider = pending.provider().clone();
        let failed = |why: String| ChainError::NotMined { hash, why };
        let receipt = pending.with_timeout(Some(RECEIPT_PATIENCE)).get_receipt();
        let receipt = tokio::select! {
            receipt = receipt => receipt.map_err(|error| failed(without_address(&error.to_string())))?,
            () = forgotten(&provider, hash) => {
                return Err(failed("the endpoint knows it no more, as after a reorganisation".into()));
            }
        };
        if !receipt.status() {
            return Err(failed("it was mined and reverted".into()));
        }
        Ok(receipt)
    }
}

/// Ends once a transaction neither waits at the endpoint nor stands in a block.
async fn forgotten(provider: &impl Provider, hash: B256) {
    let mut unknown = 0;
    while unknown < UNKNOWN_TIMES {
        tokio::time::sleep(provider.client().poll_interval()).await;
        match provider.get_transaction_by_hash(hash).await {
            Ok(None) => unknown += 1,
            Ok(Some(_)) => unknown = 0,
            // Out of reach is not forgotten: the caller's patience has an end of its own.
            Err(_) => {}
        }
    }
}

/// Checks an `eth_getProof` answer; `None` when anything in it does not hold.
fn proven_words(
    state_root: B256,
    contract: Address,
    slots: &[B256],
    answer: &EIP1186AccountProofResponse,
) -> Option<Vec<U256>> {
    let account = TrieAccount {
        nonce: answer.nonce,
        balance: answer.balance,
        storage_root: answer.storage_hash,
        code_hash: answer.code_hash,
    };
    // Before its deployment a contract is no account at all, and every word of it is zero.
    let absent = account == TrieAccount::default();
    let encoded = (!absent).then(|| alloy_rlp::encode(account));
    let path = Nibbles::unpack(keccak256(contract));
    verify_proof(state_root, path, encoded, &answer.account_proof).ok()?;
    if answer.storage_proof.len() != slots.len() {
        return None;
    }
    let word = |(slot, proof): (&B256, &alloy::rpc::types::EIP1186StorageProof)| {
        let path = Nibbles::unpack(keccak256(slot));
        let leads_to = |leaf| verify_proof(answer.storage_hash, path, leaf, &proof.proof).is_ok();
        let encoded = alloy_rlp::encode(proof.value);
        // Ethereum's tries hold no zeros; anvil's keep a leaf where a word became zero. Either proves it.
        let proven = leads_to(Some(encoded)) || (proof.value.is_zero() && leads_to(None));
        (proof.key.as_b256() == *slot && proven).then_some(proof.value)
    };
    slots.iter().zip(&answer.storage_proof).map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_error_names_the_endpoint() {
        let endpoint = "http://127.0.0.1:1/s3cr3t".parse().expect("a URL");
        let client = alloy::rpc::client::RpcClient::new_http(endpoint);
        let asked = client.request_noparams::<U256>("eth_chainId").await;
        let error = asked.expect_err("nobody listens there");
        assert!(error.to_string().contains("s3cr3t"), "{error}");
        let told = ChainError::from(error).to_string();
        assert!(
            !told.contains("s3cr3t") && told.contains("error sending"),
            "{told}"
        );
        let cause = without_address("broken for url (http://a/)s3cr3t): refused (os error 1)");
        assert_eq!(cause, "broken refused (os error 1)");
    }
}
