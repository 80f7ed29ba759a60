//! `collective node`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use collective::approval::Repository;
use collective::id::NodeId;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use url::Url;

use super::{place, secret};
use crate::chain::endpoint;
use crate::keystore::Keystore;
use crate::node;
use crate::places::{Gateway, Private};
use crate::programs::deploy;
use crate::programs::git::{Credentials, DeployKey, Forge};
use crate::sandbox::Layer;

mod bond;
mod keep;
mod register;
mod store;

/// How long a stop may take: what supervisors grant before they kill.
const STOP: Duration = Duration::from_secs(5);

/// Between two looks at the chain: well below the block time of every chain in use.
const POLL: Duration = Duration::from_millis(500);

/// How long a contribution waits for its batch: a batch costs the same whether it holds one or many.
const BATCH_EVERY: Duration = Duration::from_secs(2);

/// Run a compute node until SIGINT or SIGTERM.
///
/// The configuration is a TOML file; paths in it are relative to its folder. The passphrase of the
/// key file comes from COLLECTIVE_PASSPHRASE, or from the file that `passphrase_file` names. The node
/// refuses to start where the machine denies a layer of the sandbox, unless `required_layers` lists
/// fewer.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Example:
  collective node --config node.toml

A configuration:
  deployment = \"deployment.json\"       # where the collective lives
  rpc = \"http://127.0.0.1:8545\"        # JSON-RPC of its chain
  node = \"0x…\"                         # this node's id in NodeRegistry
  data = \"node\"                        # ledger, blobs, compiled programs
  listen = \"127.0.0.1:8080\"
  wire = \"127.0.0.1:8443\"            # optional: for other nodes, mutual TLS; a holder needs it for ceremonies
  keys = \"node/keys.age\"               # made by `collective key new node`
  passphrase_file = \"passphrase\"       # optional
  required_layers = [\"seccomp\"]        # optional: all layers
  connected = true                     # optional: members may keep their files themselves, at https://
  max_payload = 1073741824             # optional: bytes of one sealed payload that it takes, of any source
  private_places = [\"10.0.0.9:9000\"]   # optional: members may keep files there, too: without TLS, and in this network
  ipfs_gateway = \"https://gateway.example\"  # optional: members may keep files in IPFS, too; one in this network is listed above

  [store.s3]                           # optional: blobs in a bucket, by a binary built with `--features s3`
  endpoint = \"https://s3.example\"    # an S3-compatible service; with `allow_http = true` also http://
  bucket = \"blobs\"
  region = \"us-east-1\"               # optional
  prefix = \"node-1\"                  # optional: a path in the bucket, for this node alone
  credentials = \"s3.key\"             # optional: else AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY

  [programs]                           # optional: what the node may do with programs' repositories
  repositories = [\"https://forge.example/programs.git\"]  # it fetches from these and no others
  merge_into = \"main\"                # optional: the branch that approved commits are merged into
  tokens = { \"https://forge.example\" = \"forge.token\" }  # optional: a file for each forge; for ssh: deploy_key and known_hosts"
)]
pub struct Node {
    #[command(subcommand)]
    verb: Option<NodeVerb>,
    /// The configuration.
    #[arg(long, value_name = "FILE", required = true)]
    config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum NodeVerb {
    Register(register::Register),
    Bond(bond::Bond),
    Keep(keep::Keep),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    deployment: PathBuf,
    rpc: String,
    node: NodeId,
    data: PathBuf,
    listen: SocketAddr,
    wire: Option<SocketAddr>,
    keys: PathBuf,
    passphrase_file: Option<PathBuf>,
    #[serde(default = "all_layers")]
    required_layers: Vec<Layer>,
    #[serde(default)]
    connected: bool,
    max_payload: Option<u64>,
    #[serde(default)]
    private_places: Private,
    ipfs_gateway: Option<Gateway>,
    #[serde(default)]
    store: store::Store,
    #[serde(default)]
    programs: Programs,
}

/// What the node may do with the repositories that programs come from; by default nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Programs {
    #[serde(default)]
    repositories: Vec<Repository>,
    merge_into: Option<String>,
    deploy_key: Option<PathBuf>,
    known_hosts: Option<PathBuf>,
    #[serde(default)]
    tokens: BTreeMap<Forge, PathBuf>,
}

impl Programs {
    /// Refused where a key would be shown without knowing to whom, or on the way to anybody.
    fn settings(self, data: &Path) -> Result<deploy::Settings> {
        // Git works in a folder of its own, from where relative paths lead elsewhere.
        let absolute = |file: PathBuf| {
            let found = file.canonicalize();
            found.with_context(|| format!("[programs]: reading {}", file.display()))
        };
        let deploy_key = match (self.deploy_key, self.known_hosts) {
            (None, None) => None,
            (Some(key), Some(hosts)) => Some(DeployKey::new(absolute(key)?, absolute(hosts)?)?),
            _ => anyhow::bail!(
                "[programs]: a deploy_key goes with known_hosts, which `ssh-keyscan HOST` writes; compare it with what the forge publishes"
            ),
        };
        let mut tokens = BTreeMap::new();
        for (forge, file) in self.tokens {
            if !self.repositories.iter().any(|it| forge.has(it)) {
                anyhow::bail!(
                    "[programs]: a token for {forge}, of which `repositories` lists none"
                );
            }
            tokens.insert(forge, absolute(file)?);
        }
        let merge_into = self.merge_into.as_deref().map(str::parse).transpose()?;
        Ok(deploy::Settings {
            repositories: self.repositories,
            merge_into,
            credentials: Credentials { deploy_key, tokens },
            folder: data.join("repositories"),
        })
    }
}

fn all_layers() -> Vec<Layer> {
    Layer::ALL.to_vec()
}

impl Node {
    pub async fn run(self) -> Result<bool> {
        match (self.verb, self.config) {
            (Some(NodeVerb::Register(register)), _) => register.run().await,
            (Some(NodeVerb::Bond(bond)), _) => bond.run().await,
            (Some(NodeVerb::Keep(keep)), _) => keep.run().await,
            (None, Some(config)) => stay(&config).await,
            (None, None) => unreachable!("clap requires one of the two"),
        }
    }
}

/// Runs the node until it is told to stop.
async fn stay(config: &Path) -> Result<bool> {
    let config = Config::read(config)?;
    let deployment = place::deployment(&config.deployment)?;
    let rpc: Url = config
        .rpc
        .parse()
        .with_context(|| format!("'{}' is no URL", config.rpc))?;
    let passphrase = secret::passphrase(config.passphrase_file.as_deref())?;
    let keys = Keystore::open(&config.keys, passphrase)?;
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("listening at {}", config.listen))?;
    let programs = config.programs.settings(&config.data)?;
    let settings = node::NodeConfig {
        bucket: config.store.service()?,
        data: config.data,
        deployment,
        node: config.node,
        wire: config.wire,
        required_layers: config.required_layers,
        programs,
        connected: config.connected,
        max_payload: config.max_payload,
        private_places: config.private_places,
        ipfs_gateway: config.ipfs_gateway,
        executable: crate::demo::executable()?,
        poll: POLL,
        batch_every: BATCH_EVERY,
    };
    let client = endpoint::client(rpc);
    let node = node::Node::start(settings, Arc::new(keys), client, listener).await?;
    let wire = node.wire();
    let wire = wire.map_or(String::new(), |wire| format!(", for nodes https://{wire}"));
    println!("node {} at http://{}{wire}", config.node, node.address());
    until_told_to_stop().await?;
    eprintln!("stopping");
    // Dropping the node stops it at once: nothing that was acknowledged is lost by that.
    let _ = tokio::time::timeout(STOP, node.stop()).await;
    Ok(true)
}

impl Config {
    fn read(file: &Path) -> Result<Self> {
        let mut config: Self = place::configuration(file)?;
        let paths = [
            Some(&mut config.deployment),
            Some(&mut config.data),
            Some(&mut config.keys),
            config.passphrase_file.as_mut(),
            config.store.path(),
            config.programs.deploy_key.as_mut(),
            config.programs.known_hosts.as_mut(),
        ];
        let paths = paths.into_iter().flatten();
        place::beside(file, paths.chain(config.programs.tokens.values_mut()));
        Ok(config)
    }
}

/// Waits for Ctrl-C or SIGTERM.
pub async fn until_told_to_stop() -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = r#"
        deployment = "deployment.json"
        rpc = "http://127.0.0.1:8545"
        node = "0x0101010101010101010101010101010101010101010101010101010101010101"
        data = "node"
        listen = "127.0.0.1:8080"
        keys = "/keys.age"
    "#;

    fn read(text: &str) -> Result<Config> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("node.toml");
        std::fs::write(&path, text).expect("a written file");
        let config = Config::read(&path)?;
        assert_eq!(config.data, folder.path().join("node"));
        assert_eq!(config.keys, Path::new("/keys.age"));
        Ok(config)
    }

    #[test]
    fn all_layers_are_required_unless_fewer_are_listed() {
        let config = read(LEAST).expect("a configuration");
        assert_eq!(config.required_layers, Layer::ALL);
        let fewer = format!("{LEAST}\nrequired_layers = [\"seccomp\"]");
        let config = read(&fewer).expect("a configuration");
        assert_eq!(config.required_layers, [Layer::Seccomp]);
    }

    #[test]
    fn a_node_touches_no_repository_unless_it_is_told_how() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("secret");
        std::fs::write(&file, "secret").expect("a written file");
        let settings = |lines: &str| {
            let lines = lines.replace("FILE", file.to_str().expect("UTF-8"));
            let config = read(&format!("{LEAST}\n[programs]\n{lines}"))?;
            config.programs.settings(Path::new("node"))
        };
        let nothing = settings("").expect("a configuration");
        assert!(nothing.repositories.is_empty() && nothing.merge_into.is_none());
        let listed = "repositories = [\"https://forge.example/x.git\"]\nmerge_into = \"main\"\n";
        let token = "tokens = { \"https://forge.example\" = \"FILE\" }\n";
        assert!(settings(&format!("{listed}{token}")).is_ok());
        let keyed = format!("{listed}deploy_key = \"FILE\"\n");
        assert!(settings(&format!("{keyed}known_hosts = \"FILE\"\n{token}")).is_ok());
        for (lines, words) in [
            (keyed, "goes with known_hosts"),
            (
                format!("{listed}known_hosts = \"FILE\""),
                "goes with known_hosts",
            ),
            (
                format!("{listed}{}", token.replace("FILE", "nowhere")),
                "nowhere",
            ),
            (
                format!("{listed}{}", token.replace("https", "http")),
                "a token is not sent",
            ),
            (
                format!("{listed}{}", token.replace("https://", "")),
                "is no forge",
            ),
            (
                format!("{listed}{}", token.replace("forge.", "other.")),
                "of which `repositories` lists none",
            ),
            (
                format!("{listed}token_file = \"FILE\""),
                "unknown field `token_file`",
            ),
            (
                listed.replace("https://", "ext::"),
                "no address of a repository",
            ),
            (listed.replace("main", "-x"), "names no branch"),
            (
                "repository = \"x\"".to_owned(),
                "unknown field `repository`",
            ),
        ] {
            let said = settings(&lines).expect_err(words);
            assert!(format!("{said:#}").contains(words), "{said:#}");
        }
    }

    #[test]
    fn a_misspelt_line_is_refused() {
        for line in ["required_layer = []", "required_layers = [\"secomp\"]"] {
            assert!(read(&format!("{LEAST}\n{line}")).is_err(), "{line}");
        }
    }
}
