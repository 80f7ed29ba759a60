//! Nodes to nodes: HTTP/1.1 over TLS 1.3, both sides known by the keys that NodeRegistry pins (SPEC "Wire").
//!
//! There is no certificate authority, no certificate and no name: a peer is whoever holds the key behind a pin. This
//! module knows pins and bytes; which pins are welcome and what the bytes mean is its callers' business.

use std::future::Future;
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::BytesRejection;
use axum::extract::{ConnectInfo, DefaultBodyLimit, FromRequest, Request};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use collective::permit::Fault;
use tokio::time::timeout;

use crate::http::Problem;

mod client;
mod key;
mod listener;
mod refusal;
mod remote;

pub use client::Client;
pub use key::TransportKey;
pub use listener::{
    Allowed, HANDSHAKE_TIME, Listener, MAX_CONNECTIONS_PER_PEER, MAX_HANDSHAKES, Peer,
    SHUTDOWN_TIME, serve,
};
pub use refusal::WireError;
pub use remote::Remote;

/// The name and version of a message's bytes: `application/vnd.collective.<what>.v<n>`. Never changed, only replaced by
/// another: a node that does not know a type refuses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaType(pub &'static str);

/// One kind of question and its answer, as both sides know it.
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    /// Where it is asked, from `/`.
    pub path: &'static str,
    /// What is asked.
    pub request: MediaType,
    /// Bytes of a question.
    pub max_request_bytes: usize,
    /// What is answered.
    pub answer: MediaType,
    /// Bytes of an answer.
    pub max_answer_bytes: usize,
    /// From connecting to the answer's last byte; the other side waits as long for the question's last byte.
    pub timeout: Duration,
}

impl Exchange {
    /// Answers this kind of question: type and size are checked before `answer` sees a byte, and the peer is the one
    /// whose key the connection has proven.
    ///
    /// # Panics
    /// Where [`Exchange::path`] is no path of [`Router::route`].
    pub fn route<F, A>(&'static self, answer: F) -> Router
    where
        F: Fn(Peer, Bytes) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Result<Bytes, Problem>> + Send,
    {
        let handler = async move |ConnectInfo(peer): ConnectInfo<Peer>, request: Request| {
            self.check_type(request.headers())?;
            let body = self.read(request).await?;
            self.wrap(answer(peer, body).await?)
        };
        Router::new()
            .route(self.path, post(handler))
            .layer(DefaultBodyLimit::max(self.max_request_bytes))
    }

    fn check_type(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let MediaType(expected) = self.request;
        let found = headers.get(header::CONTENT_TYPE);
        if found.is_some_and(|found| found == expected) {
            return Ok(());
        }
        let detail = format!("{} takes {expected}; run the same version", self.path);
        Err(problem(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Fault::Peer,
            detail,
        ))
    }

    async fn read(&self, request: Request) -> Result<Bytes, Problem> {
        match timeout(self.timeout, Bytes::from_request(request, &())).await {
            Ok(Ok(body)) => Ok(body),
            Ok(Err(rejection)) => Err(self.unread(&rejection)),
            Err(_) => {
                let detail = format!("{} waited {:?} for the body", self.path, self.timeout);
                Err(problem(StatusCode::REQUEST_TIMEOUT, Fault::Peer, detail))
            }
        }
    }

    fn unread(&self, rejection: &BytesRejection) -> Problem {
        let status = rejection.status();
        let limit = self.max_request_bytes;
        let detail = match status {
            StatusCode::PAYLOAD_TOO_LARGE => format!("{} takes {limit} bytes", self.path),
            _ => rejection.body_text(),
        };
        problem(status, Fault::Peer, detail)
    }

    fn wrap(&self, answer: Bytes) -> Result<Response, Problem> {
        let (bytes, limit) = (answer.len(), self.max_answer_bytes);
        if bytes > limit {
            let path = self.path;
            tracing::error!(path, bytes, limit, "an answer is over the limit");
            let detail = format!("the answer is over the limit of {limit} bytes");
            return Err(problem(
                StatusCode::INTERNAL_SERVER_ERROR,
                Fault::Operator,
                detail,
            ));
        }
        let media_type = HeaderValue::from_static(self.answer.0);
        Ok(([(header::CONTENT_TYPE, media_type)], answer).into_response())
    }
}

fn problem(status: StatusCode, fault: Fault, detail: String) -> Problem {
    Problem {
        status: status.as_u16(),
        title: status.canonical_reason().unwrap_or("Problem").to_owned(),
        detail,
        fault,
    }
}
