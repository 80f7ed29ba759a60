//! The role `keyholder` put together: index, log, shares, wire. Wiring only.
//!
//! It has its own folder, its own keys and its own endpoint of the chain. From the compute node it takes manifests,
//! charters and headers, each checked against a name that stands on chain or under a contributor's signature.

use std::future::pending;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::Address;
use alloy::rpc::client::RpcClient;
use collective::id::NodeId;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, oneshot, watch};
use tokio::task::JoinSet;

use crate::blobs::Blobs;
use crate::chain::{Chain, Deployment};
use crate::client::Client;
use crate::follower::{Follower, View};
use crate::headers::Headers;
use crate::holder::door::Door;
use crate::holder::{Holder, LogFile};
use crate::http::serve::serve;
use crate::keystore::Keystore;
use crate::ledger::Ledger;
use crate::node::{StartError, remember};
use crate::rewards::Rewards;
use public::{Public, Refusals};

pub mod public;

/// What a key holder is started with.
pub struct KeyholderConfig {
    /// Folder of ledger, log, manifests and headers.
    pub data: PathBuf,
    /// Where the collective lives.
    pub deployment: Deployment,
    /// This key holder in NodeRegistry.
    pub node: NodeId,
    /// The compute node whose batches are followed.
    pub compute: NodeId,
    /// Where that node serves manifests and headers.
    pub source: Client,
    /// Where to listen for other nodes.
    pub listen: SocketAddr,
    /// Where to show everybody how it is and what it did, if anywhere.
    pub public: Option<SocketAddr>,
    /// Between two looks at the chain.
    pub poll: Duration,
}

/// A running key holder. Dropping it stops it at once, as a crash would.
pub struct Keyholder {
    address: SocketAddr,
    public: Option<SocketAddr>,
    holder: Arc<Holder>,
    stop: Option<oneshot::Sender<()>>,
    tasks: JoinSet<()>,
}

impl Keyholder {
    /// Starts everything and listens.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(
        config: KeyholderConfig,
        keys: Arc<Keystore>,
        client: RpcClient,
    ) -> Result<Self, StartError> {
        std::fs::create_dir_all(&config.data).map_err(StartError::Folder)?;
        // The lock first: a second start with the same share ends here.
        let log = LogFile::open(&config.data.join("holder.log"))?;
        let chain = Chain::reader(client, config.deployment).await?;
        let blobs = Blobs::mirror(&config.data.join("blobs"), config.source.clone())?;
        for share in keys.shares().all() {
            let certificate = share.certificate().to_bytes();
            blobs.put(certificate.into()).await?;
        }
        let ledger = Ledger::open(&config.data.join("ledger.sqlite")).await?;
        // A promise that was broken while this holder was down, or before a restart, is still broken.
        if let Some(seen) = ledger.finalized().await? {
            Follower::check_finalized(&chain, seen).await?;
        }
        let headers = Headers::Mirror {
            kept: blobs.clone(),
            node: config.source,
        };
        let aggregator = aggregator(&chain, config.compute).await?;
        let (follower, view) =
            Follower::start(chain.clone(), blobs.clone(), headers.clone(), aggregator).await?;
        let holder = Arc::new(Holder {
            node: config.node,
            rewards: Rewards {
                chain: chain.clone(),
                ledger: ledger.clone(),
                blobs: blobs.clone(),
                view: view.clone(),
                known: Arc::default(),
            },
            chain,
            blobs,
            headers,
            view: view.clone(),
            keys,
            ledger,
            log,
            released: Mutex::default(),
            changing: Mutex::default(),
        });
        holder.take_over_accepted().await?;
        holder.check_shares().await?;
        let refusals = Arc::<Refusals>::default();
        let door = Door::open(holder.clone(), config.listen).await?;
        let door = door.counted(refusals.clone());
        let address = door.address();
        let window = match config.public {
            None => None,
            Some(at) => Some(TcpListener::bind(at).await.map_err(StartError::Listen)?),
        };
        let public = window.as_ref().map(TcpListener::local_addr).transpose();
        let public = public.map_err(StartError::Listen)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let mut tasks = JoinSet::new();
        tasks.spawn(follower.run(config.poll));
        tasks.spawn(remember(view, holder.ledger.clone()));
        tasks.spawn(holder.clone().tend(config.poll));
        let stop_serving = async {
            // A sender that is gone means stop, too.
            let _ = stopped.await;
        };
        tasks.spawn(door.serve(config.poll, stop_serving));
        if let Some(window) = window {
            let routes = public::router(Public {
                holder: holder.clone(),
                node: config.node,
                refusals,
            });
            // It ends with its task: a reader that is cut off asks again.
            tasks.spawn(serve(window, routes, public::limits(), pending()));
        }
        Ok(Self {
            address,
            public,
            holder,
            stop: Some(stop),
            tasks,
        })
    }

    /// Where it listens for other nodes.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it shows everybody how it is, if it does.
    pub fn public(&self) -> Option<SocketAddr> {
        self.public
    }

    /// Chain facts as this holder knows them.
    pub fn view(&self) -> watch::Receiver<View> {
        self.holder.view.clone()
    }

    /// Finishes the requests in hand, then stops.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        let grace = Duration::from_secs(5);
        let _ = tokio::time::timeout(grace, self.tasks.join_next()).await;
        self.tasks.shutdown().await;
    }
}

/// Who sends the batches of a compute node: its signer, as the newest finalized block proves it.
async fn aggregator(chain: &Chain, compute: NodeId) -> Result<Address, StartError> {
    let finalized = chain.finalized().await?;
    Ok(chain.node(&finalized, compute).await?.signer)
}
