//! The chain as JSON-RPC over HTTP, for wallets, pages and command-line tools.
//!
//! Owns the framing of JSON-RPC 2.0 (single requests, batches, notifications) and CORS; must not
//! know methods.

use std::future::Future;

use alloy::rpc::json_rpc::{ErrorPayload, Id, Response, ResponsePayload};
use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{Method, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response as HttpResponse},
    routing::post,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::net::TcpListener;
use tower_http::cors::{Any, CorsLayer};

use crate::DevChain;

/// The largest request body. A transaction is at most twice [`crate::MAX_TRANSACTION_BYTES`] in
/// hexadecimal; this leaves room for a batch of them.
pub const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;

/// The most requests in one batch: each may take as long as a full block.
pub const MAX_BATCH: usize = 1_000;

impl DevChain {
    /// Serves JSON-RPC at `/` until `shutdown` is ready, then finishes the requests in hand. Any
    /// web page may ask, so bind to the loopback address.
    pub async fn serve(
        &self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> std::io::Result<()> {
        let cors = CorsLayer::new()
            .allow_origin(Any)
            .allow_methods([Method::POST])
            .allow_headers([CONTENT_TYPE]);
        let routes = Router::new()
            .route("/", post(handle))
            .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
            .layer(cors)
            .with_state(self.clone());
        axum::serve(listener, routes)
            .with_graceful_shutdown(shutdown)
            .await
    }
}

async fn handle(State(chain): State<DevChain>, body: Bytes) -> HttpResponse {
    // Executing and writing to disk would hold up the runtime's own threads.
    match tokio::task::spawn_blocking(move || reply(&chain, &body)).await {
        Ok(Some(json)) => ([(CONTENT_TYPE, "application/json")], json).into_response(),
        Ok(None) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => {
            tracing::error!(%error, "a request could not be finished");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// One request as it comes over the wire.
#[derive(Deserialize)]
struct Call<'a> {
    jsonrpc: &'a str,
    /// Absent in a notification, which gets no answer.
    #[serde(default, deserialize_with = "present")]
    id: Option<Id>,
    method: String,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
}

/// Keeps `"id": null`, which wants an answer, apart from no id.
fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Id>, D::Error> {
    Id::deserialize(from).map(Some)
}

/// The answer to a body; `None` where it holds notifications only.
fn reply(chain: &DevChain, body: &[u8]) -> Option<String> {
    let failure = |code, message: &'static str| {
        let payload = ResponsePayload::Failure(ErrorPayload {
            code,
            message: message.into(),
            data: None,
        });
        encode(&Response::<Box<RawValue>> {
            id: Id::None,
            payload,
        })
    };
    if body.trim_ascii_start().first() != Some(&b'[') {
        return match serde_json::from_slice::<&RawValue>(body) {
            Ok(request) => answer(chain, request).map(|response| encode(&response)),
            Err(_) => Some(failure(-32700, "the body is not JSON")),
        };
    }
    match serde_json::from_slice::<Vec<&RawValue>>(body) {
        Ok(requests) if requests.is_empty() => Some(failure(-32600, "the batch is empty")),
        Ok(requests) if requests.len() > MAX_BATCH => {
            Some(failure(-32600, "the batch has too many requests"))
        }
        Ok(requests) => {
            let answers: Vec<_> = requests
                .into_iter()
                .filter_map(|request| answer(chain, request))
                .collect();
            (!answers.is_empty()).then(|| encode(&answers))
        }
        Err(_) => Some(failure(-32700, "the body is not JSON")),
    }
}

fn answer(chain: &DevChain, request: &RawValue) -> Option<Response> {
    match serde_json::from_str::<Call<'_>>(request.get()) {
        Ok(call) if call.jsonrpc == "2.0" => {
            let response = chain.respond(
                call.id.clone().unwrap_or(Id::None),
                &call.method,
                call.params,
            );
            call.id.is_some().then_some(response)
        }
        _ => {
            let payload = ErrorPayload {
                code: -32600,
                message: "not a JSON-RPC 2.0 request".into(),
                data: None,
            };
            Some(Response {
                id: Id::None,
                payload: ResponsePayload::Failure(payload),
            })
        }
    }
}

fn encode(answer: &impl serde::Serialize) -> String {
    serde_json::to_string(answer).expect("answers have string keys and cannot fail to serialize")
}
