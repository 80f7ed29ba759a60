//! The way to the chain's endpoint: JSON-RPC over HTTP, each question with an end.

use std::task::{Context, Poll};
use std::time::Duration;

use alloy::rpc::client::RpcClient;
use alloy::rpc::json_rpc::{RequestPacket, ResponsePacket};
use alloy::transports::http::{Client, Http};
use alloy::transports::{TransportError, TransportErrorKind, TransportFut};
use tower::Service;
use url::Url;

/// How long a question may take, until all of its answer is here. geth ends what it writes after 30 s (`DefaultHTTPTimeouts`); half
/// as much again is for the way. Whoever asks a key holder waits for a minute, and is told of a silent endpoint before that. Who needs
/// longer for a stretch of logs is asked for fewer blocks.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(45);

/// A client of the endpoint at `url`, whose questions fail after [`ANSWER_LIMIT`].
pub fn client(url: Url) -> RpcClient {
    client_within(url, ANSWER_LIMIT)
}

/// The same with another limit.
pub fn client_within(url: Url, limit: Duration) -> RpcClient {
    let http = Http::new(url);
    let is_local = http.guess_local();
    RpcClient::new(Limited { http, limit }, is_local)
}

/// A transport that gives up. What it asked for may have been done all the same: to whoever asked, the answer is lost.
#[derive(Clone)]
struct Limited {
    http: Http<Client>,
    limit: Duration,
}

impl Service<RequestPacket> for Limited {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.http.poll_ready(context)
    }

    fn call(&mut self, packet: RequestPacket) -> Self::Future {
        let (answer, limit) = (self.http.call(packet), self.limit);
        Box::pin(async move {
            match tokio::time::timeout(limit, answer).await {
                Ok(answer) => answer,
                Err(_) => Err(TransportErrorKind::custom_str(&format!(
                    "it did not answer within {limit:?}"
                ))),
            }
        })
    }
}
