//! The node's door: takes connections in, and ends those whose clients only hold them.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use collective::permit::Fault;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower_http::timeout::RequestBodyTimeoutLayer;

use super::Problem;
use crate::intake::LOOK_REQUEST;

/// A pause after a connection could not be taken, most likely for want of a file descriptor: the next try may find one.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What one client, or many, may cost the node.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time; others wait in the kernel's queue. A connection has one request in hand.
    pub connections: usize,
    /// For the head of a request, and between two requests on one connection.
    pub head: Duration,
    /// Between two pieces of a request's body.
    pub body: Duration,
    /// For a request, from its head to the head of its answer.
    pub request: Duration,
    /// After this a connection takes no further request, and what is in hand has [`Self::request`] to finish, its answer
    /// read included.
    pub connection: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Far below the 1,024 descriptors that a process commonly has, of which stores and chain need some.
            connections: 512,
            // A head is one packet; pauses shorter than this need no new connection.
            head: Duration::from_secs(30),
            // A mobile network that says nothing for longer is gone.
            body: Duration::from_secs(15),
            // All else takes less: the largest program at 2 Mbit/s 134 s; a relayed claim waits up to 120 s for its block.
            request: LOOK_REQUEST,
            // Whoever reads an answer one byte at a time is done with it by then.
            connection: Duration::from_secs(600),
        }
    }
}

/// Serves until `until`, then finishes the requests in hand. Dropping it ends all of them at once.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    until: impl Future<Output = ()>,
) {
    let router = limited(router, limits);
    let (stopping, stopped) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut until = pin!(until);
    loop {
        tokio::select! {
            () = &mut until => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < limits.connections => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, router.clone(), limits, stopped.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be taken");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
    drop((listener, stopping));
    while connections.join_next().await.is_some() {}
}

fn limited(router: Router, limits: Limits) -> Router {
    let in_time = move |request: Request, next: Next| async move {
        match timeout(limits.request, next.run(request)).await {
            Ok(response) => response,
            Err(_) => too_slow(limits.request),
        }
    };
    router
        .layer(RequestBodyTimeoutLayer::new(limits.body))
        .layer(from_fn(in_time))
}

fn too_slow(limit: Duration) -> Response {
    let detail = format!(
        "the request was not done in {} s: ask what became of it, or send it again",
        limit.as_secs()
    );
    Problem::new(StatusCode::REQUEST_TIMEOUT, Fault::Requester, detail).into_response()
}

/// Serves one connection to its end.
async fn connection(
    stream: TcpStream,
    router: Router,
    limits: Limits,
    mut stopped: watch::Receiver<()>,
) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut served = pin!(served);
    // That a client is gone or was put out is no news.
    tokio::select! {
        _ = &mut served => return,
        _ = stopped.changed() => {}
        () = sleep(limits.connection) => {}
    }
    served.as_mut().graceful_shutdown();
    let _ = timeout(limits.request, served).await;
}
