//! The nodes that a collective accepts, by the keys that they show: who may ask a key holder anything.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use collective::id::{NodeId, TransportPin};
use tokio::sync::watch;

use crate::chain::{Chain, ChainError};
use crate::follower::View;
use crate::holder::serve::Welcome;
use crate::pace::Pace;

/// Looks them up whenever a new block is final.
pub struct Peers {
    chain: Chain,
    view: watch::Receiver<View>,
    known: watch::Sender<Arc<HashMap<TransportPin, NodeId>>>,
    /// Accepted once, and whether they still are is proven at each look.
    ids: BTreeSet<NodeId>,
    /// Logs are read up to here.
    read: u64,
}

impl Peers {
    /// Nobody yet.
    pub fn new(chain: Chain, view: watch::Receiver<View>) -> (Self, Welcome) {
        let (known, welcome) = watch::channel(Arc::default());
        let read = chain.deployment().first_block;
        let ids = BTreeSet::new();
        let peers = Self {
            chain,
            view,
            known,
            ids,
            read,
        };
        (peers, welcome)
    }

    /// Looks for ever.
    pub async fn run(mut self, pause: Duration) {
        let mut pace = Pace::new(pause);
        loop {
            let step = self.step().await;
            pace.rest("the accepted nodes could not be read", step)
                .await;
        }
    }

    /// Looks once, if a block became final since the last look.
    ///
    /// # Errors
    /// [`ChainError`]; who was welcome stays so.
    pub async fn step(&mut self) -> Result<(), ChainError> {
        let finalized = self.view.borrow().finalized;
        if finalized.number < self.read {
            return Ok(());
        }
        let found = self
            .chain
            .accepted_nodes(self.read, finalized.number)
            .await?;
        self.ids.extend(found);
        let mut welcome = HashMap::new();
        for &id in &self.ids {
            let node = self.chain.node(&finalized, id).await?;
            let accepted = self.chain.accepted_keys(&finalized, id).await?;
            if !node.retired && accepted == node.keys_hash(id) && !node.transport.0.is_zero() {
                welcome.insert(node.transport, id);
            }
        }
        self.read = finalized.number + 1;
        self.known.send_if_modified(|known| {
            let new = **known != welcome;
            *known = Arc::new(welcome);
            new
        });
        Ok(())
    }
}
