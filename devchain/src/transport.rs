//! The chain as an alloy transport: JSON-RPC packets without a socket.

use std::task::{Context, Poll};

use alloy::{
    rpc::json_rpc::{RequestPacket, Response, ResponsePacket, SerializedRequest},
    transports::{TransportError, TransportErrorKind, TransportFut},
};
use tower::Service;

use crate::DevChain;

/// A transport whose other end is a [`DevChain`] in this process.
#[derive(Clone, Debug)]
pub struct DevTransport {
    chain: DevChain,
}

impl DevTransport {
    pub(crate) fn new(chain: DevChain) -> Self {
        Self { chain }
    }
}

impl Service<RequestPacket> for DevTransport {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, packet: RequestPacket) -> Self::Future {
        let chain = self.chain.clone();
        // Executing and writing to disk would hold up the runtime's own threads.
        let answers = tokio::task::spawn_blocking(move || match packet {
            RequestPacket::Single(request) => ResponsePacket::Single(answer(&chain, &request)),
            RequestPacket::Batch(requests) => ResponsePacket::Batch(
                requests
                    .iter()
                    .map(|request| answer(&chain, request))
                    .collect(),
            ),
        });
        Box::pin(async move { answers.await.map_err(TransportErrorKind::custom) })
    }
}

fn answer(chain: &DevChain, request: &SerializedRequest) -> Response {
    chain.respond(request.id().clone(), request.method(), request.params())
}
