//! An account that sends transactions: one at a time, each with a nonce of its own.
//!
//! The nonce is the endpoint's count of pending transactions, asked for each time: one that is only kept here goes astray
//! when a call is refused, or when the same key acts from another process. But an endpoint's count can lag behind what it
//! took a moment ago, so no nonce is used below one that is known to be taken.

use std::sync::Arc;
use std::sync::Mutex as Cell;
use std::time::Duration;

use alloy::consensus::Transaction;
use alloy::network::{Ethereum, EthereumWallet, Network};
use alloy::primitives::{Address, B256, Bytes, TxHash, U64};
use alloy::providers::fillers::{FillProvider, NonceFiller, NonceManager, TxFiller};
use alloy::providers::{
    DynProvider, EthCall, PendingTransactionBuilder, Provider, ProviderBuilder, RootProvider,
    SendableTx,
};
use alloy::rpc::client::RpcClient;
use alloy::rpc::types::TransactionRequest;
use alloy::signers::local::PrivateKeySigner;
use alloy::transports::{TransportError, TransportResult};
use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long a nonce that was used is not used again, whatever the endpoint counts. Past this the endpoint has lost the
/// transaction, and the gap that it left is closed by the next one.
pub const NONCE_HELD: Duration = super::RECEIPT_PATIENCE;

/// How often a transaction is signed anew because its nonce turned out to be taken: each time another process was faster.
const NONCE_TRIES: usize = 4;

/// A key and whose turn it is to send with it. Clones are the same account: their transactions wait for each other. Has no
/// Debug.
#[derive(Clone)]
pub struct Account {
    key: PrivateKeySigner,
    turn: Arc<Mutex<()>>,
    nonces: Nonces,
}

impl Account {
    /// An account that nothing else in this process sends with.
    pub fn new(key: PrivateKeySigner) -> Self {
        Self {
            key,
            turn: Arc::default(),
            nonces: Nonces::default(),
        }
    }

    /// A provider that signs with it. All providers of one account must lead to one chain.
    pub fn provider(&self, client: RpcClient) -> DynProvider {
        let inner = ProviderBuilder::default()
            .with_gas_estimation()
            .filler(NonceFiller::new(self.nonces.clone()))
            .fetch_chain_id()
            .wallet(EthereumWallet::from(self.key.clone()))
            .connect_client(client);
        InTurn {
            inner,
            turn: self.turn.clone(),
            nonces: self.nonces.clone(),
        }
        .erased()
    }
}

/// Nonces of one account.
#[derive(Clone, Debug, Default)]
struct Nonces(Arc<Cell<Option<Taken>>>);

/// The highest nonce that is known to be taken, and since when.
#[derive(Clone, Copy, Debug)]
struct Taken {
    nonce: u64,
    since: Instant,
    /// What took it; `None` where somebody else did.
    by: Option<B256>,
}

impl Nonces {
    fn take(&self, nonce: u64, by: Option<B256>) {
        let since = Instant::now();
        *self.0.lock().expect("nobody panics here") = Some(Taken { nonce, since, by });
    }

    /// The nonce that is held still.
    fn held(&self) -> Option<Taken> {
        let taken = *self.0.lock().expect("nobody panics here");
        taken.filter(|taken| taken.since.elapsed() < NONCE_HELD)
    }
}

#[async_trait]
impl NonceManager for Nonces {
    async fn get_next_nonce<P, N>(&self, provider: &P, address: Address) -> TransportResult<u64>
    where
        P: Provider<N>,
        N: Network,
    {
        let pending = provider.get_transaction_count(address).pending().await?;
        let Some(taken) = self.held().filter(|taken| taken.nonce >= pending) else {
            return Ok(pending);
        };
        // Dropped, by a reorganisation for instance. If the endpoint only lags behind itself, it says that the nonce is
        // taken, and the next one is tried.
        if let Some(hash) = taken.by
            && provider.get_transaction_by_hash(hash).await?.is_none()
        {
            return Ok(pending);
        }
        Ok(taken.nonce.saturating_add(1))
    }
}

/// A provider whose transactions wait for their account's turn.
struct InTurn<F: TxFiller, P: Provider> {
    inner: FillProvider<F, P>,
    turn: Arc<Mutex<()>>,
    nonces: Nonces,
}

#[async_trait]
impl<F: TxFiller, P: Provider> Provider for InTurn<F, P> {
    fn root(&self) -> &RootProvider {
        self.inner.root()
    }

    // Calls are made in the account's name, which the wallet below fills in.
    fn call(&self, call: TransactionRequest) -> EthCall<Ethereum, Bytes> {
        self.inner.call(call)
    }

    fn estimate_gas(&self, call: TransactionRequest) -> EthCall<Ethereum, U64, u64> {
        self.inner.estimate_gas(call)
    }

    async fn send_transaction_internal(
        &self,
        transaction: SendableTx<Ethereum>,
    ) -> TransportResult<PendingTransactionBuilder<Ethereum>> {
        let request = match transaction {
            SendableTx::Builder(request) if request.nonce.is_none() => request,
            decided => return self.inner.send_transaction_internal(decided).await,
        };
        let _turn = self.turn.lock().await;
        let mut tries = 1;
        loop {
            let signed = self.inner.fill(request.clone()).await?;
            let envelope = signed.as_envelope();
            let (nonce, hash) = envelope.map(|it| (it.nonce(), *it.tx_hash())).unzip();
            let sent = self.inner.send_transaction_internal(signed).await;
            let sent = match sent {
                Err(error) => self.arrived(hash, error).await,
                sent => sent,
            };
            let is_taken = sent.as_ref().err().is_some_and(says_that_nonce_is_taken);
            if let Some(nonce) = nonce.filter(|_| sent.is_ok() || is_taken) {
                let by = sent.as_ref().ok().map(|sent| *sent.tx_hash());
                self.nonces.take(nonce, by);
            }
            if !is_taken || tries == NONCE_TRIES {
                return sent;
            }
            tries += 1;
        }
    }
}

impl<F: TxFiller, P: Provider> InTurn<F, P> {
    /// A transaction whose sending failed may be at the endpoint all the same, where only the answer was lost: whoever sent it
    /// would send it twice.
    async fn arrived(
        &self,
        hash: Option<TxHash>,
        error: TransportError,
    ) -> TransportResult<PendingTransactionBuilder<Ethereum>> {
        let lost = hash.filter(|_| error.is_transport_error());
        let Some(hash) = lost else {
            return Err(error);
        };
        match self.inner.get_transaction_by_hash(hash).await {
            Ok(Some(_)) => Ok(PendingTransactionBuilder::new(self.root().clone(), hash)),
            _ => Err(error),
        }
    }
}

/// JSON-RPC has no code for it, but geth's words are everybody's: the nonce is in a block, or in the pool at this price.
fn says_that_nonce_is_taken(error: &TransportError) -> bool {
    let Some(answer) = error.as_error_resp() else {
        return false;
    };
    let message = answer.message.to_ascii_lowercase();
    ["nonce too low", "replacement transaction underpriced"]
        .iter()
        .any(|words| message.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_held_until_its_transaction_must_be_lost() {
        let nonces = Nonces::default();
        assert!(nonces.held().is_none());
        nonces.take(6, None);
        assert_eq!(nonces.held().map(|taken| taken.nonce), Some(6));
        let long_ago = Instant::now().checked_sub(NONCE_HELD);
        let since = long_ago.expect("the machine has been up for longer");
        let (nonce, by) = (6, None);
        *nonces.0.lock().expect("nobody panics here") = Some(Taken { nonce, since, by });
        assert!(nonces.held().is_none());
    }
}
