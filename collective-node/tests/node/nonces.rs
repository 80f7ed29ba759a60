//! An account's nonces, at an endpoint that is asked by many at once, that lags, or that somebody else uses, too.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use alloy::consensus::Transaction;
use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, U256};
use alloy::providers::{DynProvider, Provider};
use alloy::rpc::client::RpcClient;
use alloy::rpc::json_rpc::{RequestPacket, ResponsePacket};
use alloy::rpc::types::TransactionRequest;
use alloy::transports::{TransportError, TransportFut, TransportResult};
use collective_node::chain::Account;
use devchain::{Config, DevChain, DevTransport, dev_accounts};
use tower::Service;

/// How an endpoint counts an account's transactions.
#[derive(Clone, Copy)]
enum Count {
    /// Right, but the answer travels for a while.
    Slow,
    /// As if nothing had been sent ever.
    Stale,
}

/// A chain behind an endpoint that counts badly.
#[derive(Clone)]
struct Endpoint {
    chain: DevTransport,
    count: Count,
    sent: Arc<AtomicUsize>,
}

impl Endpoint {
    fn of(chain: &DevChain, count: Count) -> Self {
        Self {
            chain: chain.transport(),
            count,
            sent: Arc::default(),
        }
    }

    fn client(&self) -> RpcClient {
        RpcClient::new(self.clone(), true).with_poll_interval(Duration::from_millis(10))
    }

    /// How many transactions it was sent, taken or not.
    fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Service<RequestPacket> for Endpoint {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, packet: RequestPacket) -> Self::Future {
        let method = packet
            .as_single()
            .map(|request| request.method().to_owned());
        let answer = self.chain.call(packet);
        let (count, sent) = (self.count, self.sent.clone());
        Box::pin(async move {
            let mut answer = answer.await?;
            match (method.as_deref(), count) {
                (Some("eth_sendRawTransaction"), _) => {
                    sent.fetch_add(1, Ordering::Relaxed);
                }
                (Some("eth_getTransactionCount"), Count::Slow) => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                (Some("eth_getTransactionCount"), Count::Stale) => {
                    let ResponsePacket::Single(single) = &mut answer else {
                        panic!("one question has one answer");
                    };
                    let zero = serde_json::value::to_raw_value("0x0").expect("JSON");
                    single.payload = alloy::rpc::json_rpc::ResponsePayload::Success(zero);
                }
                _ => {}
            }
            Ok(answer)
        })
    }
}

/// Sends a little money; the nonce under which it was mined.
async fn pay(provider: &DynProvider) -> TransportResult<u64> {
    let money = TransactionRequest::default()
        .with_to(Address::repeat_byte(7))
        .with_value(U256::from(1));
    let receipt = provider.send_transaction(money).await?.get_receipt().await;
    let hash = receipt.expect("it is mined").transaction_hash;
    let mined = provider.get_transaction_by_hash(hash).await?;
    Ok(mined.expect("it is there").nonce())
}

fn chain() -> DevChain {
    DevChain::new(Config::repeatable())
}

fn account() -> Account {
    Account::new(dev_accounts()[0].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_of_one_account_wait_for_each_other() {
    let chain = chain();
    let endpoint = Endpoint::of(&chain, Count::Slow);
    let account = account();
    let payments = (0..8).map(|_| {
        let provider = account.provider(endpoint.client());
        tokio::spawn(async move { pay(&provider).await })
    });
    let mut nonces = Vec::new();
    for payment in payments.collect::<Vec<_>>() {
        nonces.push(payment.await.expect("it ended").expect("it was taken"));
    }
    nonces.sort_unstable();
    assert_eq!(nonces, (0..8).collect::<Vec<u64>>());
    assert_eq!(endpoint.sent(), 8, "some were refused and sent again");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_lags_is_not_followed_below_what_it_took() {
    let chain = chain();
    let endpoint = Endpoint::of(&chain, Count::Stale);
    let provider = account().provider(endpoint.client());
    for nonce in 0..3 {
        assert_eq!(pay(&provider).await.expect("it is taken"), nonce);
    }
    assert_eq!(endpoint.sent(), 3, "some were refused and sent again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nonce_that_another_process_took_is_passed_over() {
    let chain = chain();
    let (ours, elsewhere) = (account(), account());
    let elsewhere = elsewhere.provider(chain.client());
    let endpoint = Endpoint::of(&chain, Count::Stale);
    let provider = ours.provider(endpoint.client());
    for nonce in 0..3 {
        assert_eq!(pay(&elsewhere).await.expect("it is taken"), nonce);
    }
    assert_eq!(pay(&provider).await.expect("it is taken"), 3);
    assert_eq!(endpoint.sent(), 4, "three were too low");

    // Somebody who is always faster is a mistake in the set-up, and the endpoint's words say so.
    for _ in 0..4 {
        pay(&elsewhere).await.expect("it is taken");
    }
    let refused = pay(&provider).await.expect_err("it was taken");
    assert!(refused.to_string().contains("nonce too low"), "{refused}");
    assert_eq!(endpoint.sent(), 8, "not tried for ever");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_call_uses_no_nonce() {
    let chain = chain();
    let provider = account().provider(chain.client());
    let poor = Account::new(dev_accounts()[1].clone()).provider(chain.client());
    assert_eq!(pay(&provider).await.expect("it is taken"), 0);
    let too_much = TransactionRequest::default()
        .with_to(Address::repeat_byte(7))
        .with_value(U256::MAX);
    let refused = provider.send_transaction(too_much).await;
    assert!(refused.is_err(), "more than there is was paid");
    assert_eq!(pay(&provider).await.expect("it is taken"), 1);
    assert_eq!(pay(&poor).await.expect("it is taken"), 0);
}
