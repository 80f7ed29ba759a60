//! A compute node put together: stores, follower, intake, anchor, driver, HTTP. Wiring only.

use std::future::pending;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use alloy::rpc::client::RpcClient;
use collective::id::NodeId;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, Semaphore, oneshot, watch};
use tokio::task::JoinSet;

use crate::anchor::Anchor;
use crate::auditor::Auditor;
use crate::blobs::{BlobError, Blobs, Service};
use crate::chain::{ChainError, Deployment};
use crate::committee::Committee;
use crate::driver::{Compute, Driver};
use crate::fetched::Fetched;
use crate::follower::{FollowError, Follower, View};
use crate::headers::Headers;
use crate::holder::door::Door;
use crate::holder::{Holder, HolderRefusal, LogFile, LogFileError};
use crate::http::serve::{Limits, serve};
use crate::http::{App, MAX_STREAMS, router};
use crate::intake::{Intake, IntakeRefusal};
use crate::keystore::Keystore;
use crate::ledger::{Ledger, LedgerError};
use crate::places::{Gateway, GatewayRefused, Places, Private};
use crate::programs::deploy::{self, Deploy};
use crate::rebuild::{RebuildError, rebuild};
use crate::rewards::Rewards;
use crate::sandbox::{Cache, Fault, Layer, Sandbox};
use crate::uploads::Uploads;
use crate::wire;
use crate::withdrawal::Withdrawals;

/// What a node is started with.
pub struct NodeConfig {
    /// Folder of ledger, blobs and compiled programs.
    pub data: PathBuf,
    /// Where blobs are kept, if not in that folder.
    pub bucket: Option<Service>,
    /// Where the collective lives.
    pub deployment: Deployment,
    /// This node in NodeRegistry.
    pub node: NodeId,
    /// Where to listen for other nodes, if anywhere: without it the node's share can be dealt to nobody.
    pub wire: Option<SocketAddr>,
    /// Sandbox layers without which nothing is run.
    pub required_layers: Vec<Layer>,
    /// What it may do with the repositories that programs come from.
    pub programs: deploy::Settings,
    /// Whether contributors may keep their files themselves: whoever does can hold up every job that would read them.
    pub connected: bool,
    /// Bytes of a payload that it takes; without it, what the payload's source needs.
    pub max_payload: Option<u64>,
    /// Where they may keep them although it is without TLS, or at an address that is not public.
    pub private_places: Private,
    /// Through which files are fetched that they keep in IPFS; without it none are.
    pub ipfs_gateway: Option<Gateway>,
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
    /// The holder's log.
    #[error(transparent)]
    Log(#[from] LogFileError),
    /// Uploads that an earlier life left.
    #[error(transparent)]
    Intake(#[from] IntakeRefusal),
    /// The shares.
    #[error(transparent)]
    Holder(#[from] HolderRefusal),
    /// A lost ledger could not be made again.
    #[error(transparent)]
    Rebuild(#[from] RebuildError),
    /// No TLS roots, or no sockets.
    #[error("cannot speak HTTPS to places: {0}")]
    Places(#[from] reqwest::Error),
    /// The gateway.
    #[error(transparent)]
    Gateway(#[from] GatewayRefused),
    /// The sandbox.
    #[error(
        "{0}; to run without this layer, take it out of `required_layers` in the configuration"
    )]
    Sandbox(#[from] Fault),
}

/// A running node. Dropping it stops it at once, as a crash would.
pub struct Node {
    address: SocketAddr,
    wire: Option<SocketAddr>,
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
        let blobs = blobs_in(config.bucket.clone(), &config.data, config.node).await?;
        blobs.clean_up().await?;
        let ledger = Ledger::open(&config.data.join("ledger.sqlite")).await?;
        let sandbox = Arc::new(sandbox(&config, &keys)?);
        let mut places = Places::new(config.private_places.clone())?;
        if let Some(gateway) = &config.ipfs_gateway {
            places = places.through(gateway.clone())?;
        }
        // A promise that was broken while the node was down, or before a restart, is still broken.
        if let Some(seen) = ledger.finalized().await? {
            Follower::check_finalized(&chain, seen).await?;
        }
        let headers = Headers::own(ledger.clone(), blobs.clone());
        // Anybody who reads the chain may ask for the certificate that this node's share came with.
        if let Some(share) = keys.shares().newest() {
            blobs.put(share.certificate().to_bytes().into()).await?;
        }
        let (follower, view) = Follower::start(
            chain.clone(),
            blobs.clone(),
            headers.clone(),
            keys.address(),
        )
        .await?;
        let indexed = view.borrow().clone();
        let found = rebuild(&chain, &indexed, &ledger, &blobs).await?;
        if found > 0 {
            tracing::warn!(found, "the ledger knows anchored contributions again");
        }
        let rewards = Rewards {
            chain: chain.clone(),
            ledger: ledger.clone(),
            blobs: blobs.clone(),
            view: view.clone(),
            known: Arc::default(),
        };
        // Without a share it is a holder, too, where it has a door: a ceremony may deal it one.
        let holds = config.wire.is_some() || keys.shares().newest().is_some();
        let own = match holds {
            false => None,
            true => Some(Arc::new(Holder {
                node: config.node,
                chain: chain.clone(),
                blobs: blobs.clone(),
                headers: headers.clone(),
                view: view.clone(),
                keys: keys.clone(),
                ledger: ledger.clone(),
                rewards: rewards.clone(),
                log: LogFile::open(&config.data.join("holder.log"))?,
                released: Mutex::default(),
                changing: Mutex::default(),
            })),
        };
        if let Some(holder) = &own {
            holder.take_over_accepted().await?;
            holder.check_shares().await?;
        }
        let door = match (&own, config.wire) {
            (Some(holder), Some(at)) => Some(Door::open(holder.clone(), at).await?),
            _ => None,
        };
        let wire = door.as_ref().map(Door::address);
        let committee = Arc::new(Committee {
            chain: chain.clone(),
            blobs: blobs.clone(),
            keys: keys.clone(),
            view: view.clone(),
            node: config.node,
            own: own.clone(),
            wire: Arc::new(wire::Client::new(keys.transport_key())),
            health: Default::default(),
            faults: Arc::default(),
        });
        let deploy = Deploy {
            chain: chain.clone(),
            blobs: blobs.clone(),
            sandbox: sandbox.clone(),
            view: view.clone(),
            settings: config.programs,
            shown: watch::Sender::default(),
        };
        let intake = Intake {
            deployment: config.deployment,
            view: view.clone(),
            keys: keys.clone(),
            ledger: ledger.clone(),
            blobs: blobs.clone(),
            uploads: Uploads::open(blobs.clone())?,
            places: places.clone(),
            connected: config.connected,
            max_payload: config.max_payload,
        };
        intake.drop_taken_in().await?;
        let app = App {
            intake: Arc::new(intake),
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
            ledger: ledger.clone(),
            blobs: blobs.clone(),
            chain: chain.clone(),
            view: view.clone(),
            rewards: rewards.clone(),
            holder: own.clone(),
            guest_bytes: Arc::default(),
            ballots: Arc::default(),
            revoking: Arc::default(),
            recovering: Arc::default(),
            delegations: Arc::default(),
            faults: committee.faults.clone(),
            programs: deploy.shown.subscribe(),
        };
        let anchor = Anchor::new(
            chain.clone(),
            ledger.clone(),
            blobs.clone(),
            view.clone(),
            keys.address(),
            indexed.direct.len(),
        );
        let auditor = Auditor {
            chain: chain.clone(),
            ledger: ledger.clone(),
            blobs: blobs.clone(),
            places: places.clone(),
            view: view.clone(),
            account: keys.address(),
        };
        let folder = config.data.join("fetched");
        let fetched = Fetched::open(folder, ledger.clone(), blobs.clone(), places);
        let fetched = Arc::new(fetched.map_err(StartError::Folder)?);
        let withdrawals = Withdrawals {
            chain: chain.clone(),
            ledger: ledger.clone(),
            blobs: blobs.clone(),
            fetched: fetched.clone(),
            view: view.clone(),
            node: config.node,
        };
        let driver = Driver {
            site: Compute {
                deployment: config.deployment,
                ledger: ledger.clone(),
                blobs: blobs.clone(),
                fetched,
                keys: keys.clone(),
                sandbox,
                deciding: Arc::default(),
            },
            chain,
            ledger: ledger.clone(),
            blobs: blobs.clone(),
            headers,
            keys,
            view: view.clone(),
            committee: committee.clone(),
            node: config.node,
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let mut tasks = JoinSet::new();
        tasks.spawn(follower.run(config.poll));
        tasks.spawn(remember(view.clone(), ledger.clone()));
        tasks.spawn(anchor.run(config.batch_every));
        tasks.spawn(auditor.run(config.poll));
        tasks.spawn(withdrawals.run(config.poll));
        if let Some(holder) = own {
            tasks.spawn(holder.tend(config.poll));
        }
        if let Some(door) = door {
            // It ends with its task: what was given is in the log before it left, and who is cut off asks again.
            tasks.spawn(door.serve(config.poll, pending()));
        }
        tasks.spawn(driver.run(config.poll));
        tasks.spawn(deploy.run(config.poll));
        tasks.spawn(rewards.run(committee, config.poll));
        tasks.spawn(async move {
            let until = async {
                // A sender that is gone means stop, too.
                let _ = stopped.await;
            };
            serve(listener, router(app), Limits::default(), until).await;
        });
        Ok(Self {
            address,
            wire,
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

    /// Where it listens for other nodes, if it does.
    pub fn wire(&self) -> Option<SocketAddr> {
        self.wire
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
pub(crate) async fn remember(mut view: watch::Receiver<View>, ledger: Ledger) {
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

/// The blobs of a node: in a bucket, or in its data folder.
///
/// # Errors
/// [`BlobError`].
pub async fn blobs_in(
    bucket: Option<Service>,
    data: &Path,
    node: NodeId,
) -> Result<Blobs, BlobError> {
    match bucket {
        None => blobs(data),
        Some(bucket) => Blobs::bucket(bucket, &data.join("blobs"), node).await,
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
