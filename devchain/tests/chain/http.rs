//! JSON-RPC over HTTP: alloy's own client, browsers' preflight, batches, and bodies that are not
//! requests.

use alloy::{
    primitives::U256,
    providers::{Provider, ProviderBuilder},
};
use devchain::{Config, DevChain, MAX_BATCH, MAX_BODY_BYTES, dev_accounts};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

use crate::{deploy, set};

struct Server {
    url: String,
    stop: oneshot::Sender<()>,
    done: JoinHandle<std::io::Result<()>>,
}

async fn serve() -> Server {
    let chain = DevChain::new(Config::repeatable());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = oneshot::channel::<()>();
    let done = tokio::spawn(async move {
        let shutdown = async {
            let _ = stopped.await;
        };
        chain.serve(listener, shutdown).await
    });
    Server { url, stop, done }
}

async fn post(server: &Server, body: impl Into<reqwest::Body>) -> (StatusCode, Value) {
    let request = Client::new()
        .post(&server.url)
        .header("content-type", "application/json")
        .body(body);
    let response = request.send().await.unwrap();
    let (status, bytes) = (response.status(), response.bytes().await.unwrap());
    (
        status,
        serde_json::from_slice(&bytes).unwrap_or(Value::Null),
    )
}

#[tokio::test]
async fn alloy_speaks_to_it_over_http() {
    let server = serve().await;
    let url = server.url.parse().unwrap();
    let alice = ProviderBuilder::new()
        .wallet(dev_accounts()[0].clone())
        .connect_http(url)
        .erased();
    alice
        .client()
        .set_poll_interval(std::time::Duration::from_millis(10));
    let probe = deploy(&alice).await;
    assert!(set(&probe, 8).await.status());
    assert_eq!(probe.value().call().await.unwrap(), U256::from(8));
    let error = probe.set(U256::from(2_000)).call().await.err().unwrap();
    assert!(error.as_decoded_error::<crate::Probe::TooLarge>().is_some());
    server.stop.send(()).unwrap();
    server.done.await.unwrap().expect("it stops when told");
}

#[tokio::test]
async fn a_page_of_any_origin_may_ask() {
    let server = serve().await;
    let preflight = Client::new()
        .request(Method::OPTIONS, &server.url)
        .header("origin", "https://page.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "content-type");
    let response = preflight.send().await.unwrap();
    assert!(response.status().is_success());
    let header = |name: &str| {
        response
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    assert_eq!(header("access-control-allow-origin"), "*");
    assert!(header("access-control-allow-methods").contains("POST"));
    assert!(header("access-control-allow-headers").contains("content-type"));
    let request = Client::new()
        .post(&server.url)
        .header("origin", "https://page.example")
        .json(&json!({"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []}));
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["access-control-allow-origin"], "*");
    assert_eq!(
        response.json::<Value>().await.unwrap(),
        json!({"jsonrpc": "2.0", "id": 1, "result": "0x7a69"})
    );
}

#[tokio::test]
async fn batches_and_notifications_follow_json_rpc() {
    let server = serve().await;
    let batch = json!([
        {"jsonrpc": "2.0", "id": "a", "method": "eth_blockNumber"},
        {"jsonrpc": "2.0", "method": "evm_mine"},
        {"jsonrpc": "2.0", "id": 2, "method": "eth_nonsense", "params": []},
        {"jsonrpc": "1.0", "id": 3, "method": "eth_blockNumber"},
        {"jsonrpc": "2.0", "id": null, "method": "eth_blockNumber", "params": []},
    ]);
    let (status, answers) = post(&server, batch.to_string()).await;
    assert_eq!(status, StatusCode::OK);
    let answers = answers.as_array().unwrap();
    assert_eq!(answers.len(), 4, "a notification gets no answer");
    assert_eq!(
        answers[0],
        json!({"jsonrpc": "2.0", "id": "a", "result": "0x0"})
    );
    assert_eq!(
        (&answers[1]["id"], &answers[1]["error"]["code"]),
        (&json!(2), &json!(-32601))
    );
    assert_eq!(answers[2]["error"]["code"], -32600);
    assert_eq!(
        answers[3],
        json!({"jsonrpc": "2.0", "id": null, "result": "0x1"}),
        "but it was carried out"
    );
    let notification = json!({"jsonrpc": "2.0", "method": "evm_mine"});
    assert_eq!(
        post(&server, notification.to_string()).await.0,
        StatusCode::NO_CONTENT
    );
}

#[tokio::test]
async fn what_is_no_request_is_refused() {
    let server = serve().await;
    let code = |body: String| {
        let server = &server;
        async move { post(server, body).await.1["error"]["code"].as_i64() }
    };
    assert_eq!(code("{".into()).await, Some(-32700));
    assert_eq!(code("[1, 2".into()).await, Some(-32700));
    assert_eq!(code(String::new()).await, Some(-32700));
    assert_eq!(code("[]".into()).await, Some(-32600));
    assert_eq!(code("17".into()).await, Some(-32600));
    assert_eq!(
        code(format!("[{}1]", "1,".repeat(MAX_BATCH))).await,
        Some(-32600)
    );
    let call = |method: &str, params: Value| json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    for (method, params) in [
        ("eth_getBalance", json!([])),
        ("eth_getBalance", json!(["0x12"])),
        ("eth_getBalance", json!({"address": "0x12"})),
        ("eth_getBlockByNumber", json!(["yesterday", false])),
        ("evm_increaseTime", json!(["soon"])),
        ("eth_feeHistory", json!(["0x1", "latest", [75, 25]])),
        (
            "eth_call",
            json!([{}, "latest", {"0x0000000000000000000000000000000000000001": {"balance": "0x1"}}]),
        ),
    ] {
        assert_eq!(
            code(call(method, params.clone()).to_string()).await,
            Some(-32602),
            "{method} {params}"
        );
    }
    let unknown = call(
        "eth_getBalance",
        json!([dev_accounts()[0].address(), "0xffff"]),
    );
    assert_eq!(code(unknown.to_string()).await, Some(-32001));
    let (status, _) = post(&server, vec![b' '; MAX_BODY_BYTES + 1]).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
}
