//! `collective keyholder`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use collective::id::NodeId;
use serde::Deserialize;
use url::Url;

use super::node::until_told_to_stop;
use super::{place, secret};
use crate::chain::endpoint;
use crate::client::Client;
use crate::keyholder;
use crate::keystore::Keystore;

/// How long a stop may take: what supervisors grant before they kill.
const STOP: Duration = Duration::from_secs(5);

/// Between two looks at the chain: well below the block time of every chain in use.
const POLL: Duration = Duration::from_millis(500);

/// Run a key holder until SIGINT or SIGTERM.
///
/// It holds one share of the collective's key and sees headers and chain facts, never a payload. It follows the chain by
/// itself: give it an endpoint of its own. The configuration is a TOML file; paths in it are relative to its folder.
/// The passphrase of the key file comes from COLLECTIVE_PASSPHRASE, or from the file that `passphrase_file` names.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  collective keyholder --config keyholder.toml

A configuration:
  deployment = \"deployment.json\"       # where the collective lives
  rpc = \"http://127.0.0.1:8545\"        # JSON-RPC of its chain, this holder's own
  node = \"0x…\"                         # this key holder's id in NodeRegistry
  compute = \"0x…\"                      # the compute node whose batches it follows
  source = \"http://127.0.0.1:8080\"     # where that node serves manifests and headers
  data = \"holder\"                      # ledger, log, manifests, headers
  listen = \"127.0.0.1:8443\"            # for other nodes, mutual TLS
  public = \"127.0.0.1:8081\"            # optional: health, metrics and log for everybody, plain HTTP
  keys = \"holder/keys.age\"             # made by `collective key new keyholder`
  passphrase_file = \"passphrase\"       # optional")]
pub struct Keyholder {
    /// The configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    deployment: PathBuf,
    rpc: String,
    node: NodeId,
    compute: NodeId,
    source: String,
    data: PathBuf,
    listen: SocketAddr,
    public: Option<SocketAddr>,
    keys: PathBuf,
    passphrase_file: Option<PathBuf>,
}

impl Keyholder {
    pub async fn run(self) -> Result<bool> {
        let config = Config::read(&self.config)?;
        let deployment = place::deployment(&config.deployment)?;
        let url = |text: &str| -> Result<Url> {
            text.parse().with_context(|| format!("'{text}' is no URL"))
        };
        let client = endpoint::client(url(&config.rpc)?);
        let source = Client::new(url(&config.source)?)?;
        let passphrase = secret::passphrase(config.passphrase_file.as_deref())?;
        let keys = Keystore::open(&config.keys, passphrase)?;
        let settings = keyholder::KeyholderConfig {
            data: config.data,
            deployment,
            node: config.node,
            compute: config.compute,
            source,
            listen: config.listen,
            public: config.public,
            poll: POLL,
        };
        let holder = keyholder::Keyholder::start(settings, Arc::new(keys), client).await?;
        println!("key holder {} at https://{}", config.node, holder.address());
        if let Some(public) = holder.public() {
            println!("its log and health at http://{public}");
        }
        until_told_to_stop().await?;
        eprintln!("stopping");
        // Dropping it stops it at once: what it gave is in its log before it left.
        let _ = tokio::time::timeout(STOP, holder.stop()).await;
        Ok(true)
    }
}

impl Config {
    fn read(file: &Path) -> Result<Self> {
        let mut config: Self = place::configuration(file)?;
        let paths = [
            Some(&mut config.deployment),
            Some(&mut config.data),
            Some(&mut config.keys),
            config.passphrase_file.as_mut(),
        ];
        place::beside(file, paths.into_iter().flatten());
        Ok(config)
    }
}
