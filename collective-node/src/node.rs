//! A compute node put together: stores, follower, intake, anchor, driver, HTTP. Wiring only.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use alloy::rpc::client::RpcClient;
use collective::id::NodeId;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use crate::anchor::Anchor;
use crate::blobs::{BlobError, Blobs};
use crate::chain::{ChainError, Deployment};
use crate::driver::Driver;
use crate::follower::{FollowError, Follower, View};
use crate::http::{App, router};
use crate::intake::Intake;
use crate::keystore::Keystore;
use crate::ledger::{Ledger, LedgerError};
use crate::rewards::Rewards;
use crate::sandbox::{Cache, Fault, Layer, Sandbox};

/// What a node is started with.
pub struct NodeConfig {
    /// Folder of ledger, blobs and compiled programs.
    pub data: PathBuf,
    /// Where the collective lives.
    pub deployment: Deployment,
    /// This node in NodeRegistry.
    pub node: NodeId,
    /// Sandbox layers without which nothing is run.
    pub required_layers: Vec<Layer>,
    /// The binary whose hidden role `sandbox-child` runs programs.
    pub executable: PathBuf,
    /// Between two looks at the chain.
    pub poll: Duration,
    /// How long a contribution waits for its batch at most.
    pub batch_every: Duration,
}

/// Why a node does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The data folder.
    #[error("cannot make the data folder: {0}")]
    Folder(std::io::Error),
    /// The port.
    #[error("cannot listen: {0}; is the port taken?")]
    Listen(std::io::Error),
    /// The chain.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The index.
    #[error(transparent)]
    Follow(#[from] FollowError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The blob store.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The sandbox.
    #[error(
        "{0}; to run without this layer, take it out of `required_layers` in the configuration"
    )]
    Sandbox(#[from] Fault),
}

/// A running node. Dropping it stops it at once, as a crash would.
pub struct Node {
    address: SocketAddr,
    view: watch::Receiver<View>,
    blobs: Blobs,
    ledger: Ledger,
    stop: Option<oneshot::Sender<()>>,
    tasks: JoinSet<()>,
}

impl Node {
    /// Starts everything and listens.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(
        config: NodeConfig,
        keys: Arc<Keystore>,
        client: RpcClient,
        listener: TcpListener,
    ) -> Result<Self, StartError> {
        std::fs::create_dir_all(&config.data).map_err(StartError::Folder)?;
        let address = listener.local_addr().map_err(StartError::Listen)?;
        let chain = keys.chain(client, config.deployment).await?;
        let blobs = blobs(&config.data)?;
        let ledger = Ledger::open(&config.data.join("ledger.sqlite")).await?;
        let sandbox = sandbox(&config, &keys)?;
        // A promise that was broken while the node was down, or before a restart, is still broken.
        if let Some(seen) = ledger.finalized().await? {
            Follower::check_finalized(&chain, seen).await?;
        }
        let (follower, view) =
            Follower::start(chain.clone(), blobs.clone(), keys.address()).await?;
        let rewards = Rewards {
            chain: chain.clone(),
            ledger: ledger.clone(),
            blobs: blobs.clone(),
            keys: keys.clone(),
            view: view.clone(),
            known: Arc::default(),
        };
        let recipient = keys.collective_recipient().clone();
        let app = App {
            intake: Arc::new(Intake {
                deployment: config.deployment,
                recipient: recipient.clone(),
                view: view.clone(),
                ledger: ledger.clone(),
                blobs: blobs.clone(),
            }),
            ledger: ledger.clone(),
            blobs: blobs.clone(),
            chain: chain.clone(),
            view: view.clone(),
            rewards: rewards.clone(),
            recipient,
            guest_bytes: Arc::default(),
        };
        let anchor = Anchor::new(
            chain.clone(),
            ledger.clone(),
            blobs.clone(),
            view.clone(),
            keys.address(),
        );
        let driver = Driver {
            chain,
            ledger: ledger.clone(),
            blobs: blobs.clone(),
            keys,
            view: view.clone(),
            sandbox: Arc::new(sandbox),
            node: config.node,
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let mut tasks = JoinSet::new();
        tasks.spawn(follower.run(config.poll));
        tasks.spawn(remember(view.clone(), ledger.clone()));
        tasks.spawn(anchor.run(config.batch_every));
        tasks.spawn(driver.run(config.poll));
        tasks.spawn(rewards.run(config.poll));
        tasks.spawn(async move {
            let until = async {
                // A sender that is gone means stop, too.
                let _ = stopped.await;
            };
            let served = axum::serve(listener, router(app))
                .with_graceful_shutdown(until)
                .await;
            if let Err(error) = served {
                tracing::error!(%error, "HTTP ended");
            }
        });
        Ok(Self {
            address,
            view,
            blobs,
            ledger,
            stop: Some(stop),
            tasks,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Chain facts as this node knows them.
    pub fn view(&self) -> watch::Receiver<View> {
        self.view.clone()
    }

    /// Its blobs.
    pub fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// Its ledger.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Finishes the requests in hand, then stops. What a job was doing is done again at the next start.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        let grace = Duration::from_secs(5);
        let _ = tokio::time::timeout(grace, self.tasks.join_next()).await;
        self.tasks.shutdown().await;
    }
}

/// Keeps in the ledger which block was seen finalized last.
async fn remember(mut view: watch::Receiver<View>, ledger: Ledger) {
    let mut kept = None;
    loop {
        let finalized = view.borrow_and_update().finalized;
        if kept != Some(finalized) {
            match ledger
                .keep_finalized(finalized.number, finalized.hash)
                .await
            {
                Ok(()) => kept = Some(finalized),
                Err(error) => tracing::warn!(%error, "the finalized block was not noted"),
            }
        }
        if view.changed().await.is_err() {
            return;
        }
    }
}

/// The blob store in a data folder.
///
/// # Errors
/// [`BlobError`].
pub fn blobs(data: &Path) -> Result<Blobs, BlobError> {
    Blobs::folder(&data.join("blobs"))
}

fn sandbox(config: &NodeConfig, keys: &Keystore) -> Result<Sandbox, StartError> {
    let compiled = config.data.join("compiled");
    std::fs::create_dir_all(&compiled).map_err(StartError::Folder)?;
    let cache = Cache::new(compiled, &keys.cache_key());
    let sandbox = Sandbox::new(
        config.executable.clone(),
        config.required_layers.clone(),
        Some(cache),
    );
    // A layer that is missing is found now, not when the first job waits.
    sandbox.layers()?;
    Ok(sandbox)
}
