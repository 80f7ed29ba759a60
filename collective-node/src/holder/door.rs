//! A holder's door: where other nodes ask it, and which of them are let in.
//!
//! A key holder has one, and so has a compute node that is a holder and whose configuration names an address for it.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;

use super::Holder;
use super::serve::router;
use crate::keyholder::public::Refusals;
use crate::node::StartError;
use crate::peers::Peers;
use crate::wire;

/// An open door. Nobody is served before [`Door::serve`].
pub struct Door {
    listener: wire::Listener,
    address: SocketAddr,
    peers: Peers,
    routes: Router,
}

impl Door {
    /// Listens with the holder's transport key, for the nodes that the collective accepts.
    ///
    /// # Errors
    /// [`StartError::Listen`], and [`StartError::Chain`] where the accepted nodes cannot be read.
    pub async fn open(holder: Arc<Holder>, listen: SocketAddr) -> Result<Self, StartError> {
        let (mut peers, welcome) = Peers::new(holder.chain.clone(), holder.view.clone());
        peers.step().await?;
        let allowed = welcome.clone();
        let key = holder.keys.transport_key();
        let listener =
            wire::Listener::bind(listen, &key, move |pin| allowed.borrow().contains_key(pin))
                .map_err(StartError::Listen)?;
        Ok(Self {
            address: listener.address().map_err(StartError::Listen)?,
            listener,
            peers,
            routes: router(holder, welcome),
        })
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has what is refused here counted.
    pub fn counted(mut self, refusals: Arc<Refusals>) -> Self {
        let count = from_fn_with_state(refusals, Refusals::count);
        self.routes = self.routes.layer(count);
        self
    }

    /// Answers until `stop` has happened and the requests in hand are finished. Who is let in is looked up every `poll`.
    pub async fn serve(self, poll: Duration, stop: impl Future<Output = ()> + Send + 'static) {
        tokio::select! {
            () = self.peers.run(poll) => {}
            served = wire::serve(self.listener, self.routes, stop) => {
                if let Err(error) = served {
                    tracing::error!(%error, "the wire ended");
                }
            }
        }
    }
}
