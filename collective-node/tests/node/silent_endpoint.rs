//! An endpoint of the chain that takes questions and never answers: whoever asked is told so, and goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, U256};
use alloy::providers::Provider;
use alloy::rpc::types::TransactionRequest;
use collective_node::chain::endpoint::client_within;
use collective_node::chain::{Account, Chain, ChainError, Deployment};
use devchain::{Config, DEV_CHAIN_ID, DevChain, dev_accounts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

/// Of the silent one, for the test: nobody waits a minute.
const LIMIT: Duration = Duration::from_millis(50);

/// Of one that answers, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn a_question_without_an_answer_has_an_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = address(&listener);
    let held = tokio::spawn(async move {
        let mut held = vec![];
        while let Ok((connection, _)) = listener.accept().await {
            held.push(connection);
        }
    });
    let asked = Chain::reader(client_within(url.clone(), LIMIT), nowhere());
    let asked = tokio::time::timeout(PATIENCE, asked).await;
    let Err(error @ ChainError::Endpoint(_)) = asked.expect("it ends") else {
        panic!("nobody answered");
    };
    let told = error.to_string();
    assert!(told.contains("did not answer within 50ms"), "{told}");
    assert!(!told.contains(url.as_str()), "{told}");
    held.abort();
}

/// It takes the first transaction and keeps its answer to itself: that one is found, so that nobody sends it twice, and the next one
/// has the next nonce.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_whose_answer_never_comes_is_found() {
    let chain = DevChain::new(Config::repeatable());
    let behind = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let to = behind.local_addr().expect("an address");
    let served = chain.clone();
    tokio::spawn(async move { served.serve(behind, std::future::pending()).await });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mut url = address(&listener);
    url.set_path("");
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            tokio::spawn(pass_on(connection, to, count.clone()));
        }
    });
    let account = Account::new(dev_accounts()[0].clone());
    let by = account.provider(client_within(url, Duration::from_secs(1)));
    for _ in 0..2 {
        let sent = by.send_transaction(money()).await.expect("it arrived");
        sent.get_receipt().await.expect("it is mined");
    }
    assert_eq!(sent.load(Ordering::SeqCst), 2);
    let reader = chain.wallet(dev_accounts()[1].clone());
    let nonce = reader.get_transaction_count(dev_accounts()[0].address());
    assert_eq!(nonce.await.expect("a count"), 2);
    let paid = reader.get_balance(Address::repeat_byte(7)).await;
    assert_eq!(paid.expect("a balance"), U256::from(2));
}

fn money() -> TransactionRequest {
    TransactionRequest::default()
        .with_to(Address::repeat_byte(7))
        .with_value(U256::from(1))
}

/// Passes one connection's questions on, and the answers back, but for that to the first transaction.
async fn pass_on(mut from: TcpStream, to: std::net::SocketAddr, sent: Arc<AtomicUsize>) {
    let mut to = TcpStream::connect(to).await.expect("the chain listens");
    let (mut question, mut answer) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let mut is_silent = false;
    loop {
        tokio::select! {
            read = from.read(&mut question) => {
                let Ok(length @ 1..) = read else { return };
                let question = &question[..length];
                let word = b"eth_sendRawTransaction";
                if question.windows(word.len()).any(|it| it == word) {
                    is_silent = sent.fetch_add(1, Ordering::SeqCst) == 0;
                }
                to.write_all(question).await.expect("passed on");
            }
            read = to.read(&mut answer) => {
                let Ok(length @ 1..) = read else { return };
                if !is_silent && from.write_all(&answer[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}

fn address(listener: &TcpListener) -> Url {
    let address = listener.local_addr().expect("an address");
    let url = format!("http://{address}/s3cr3t");
    url.parse().expect("a URL")
}

/// No collective is reached: the endpoint is asked for its chain first.
fn nowhere() -> Deployment {
    let nobody = Address::ZERO;
    Deployment {
        chain_id: DEV_CHAIN_ID,
        collective: nobody,
        governor: nobody,
        membership: nobody,
        contributions: nobody,
        code: nobody,
        nodes: nobody,
        escrow: nobody,
        rewards: nobody,
        liveness: nobody,
        token: nobody,
        first_block: 0,
    }
}
