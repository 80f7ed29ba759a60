//! Where node, chain and collective are: flags that verbs share, each also read from the environment.

use std::path::{Path, PathBuf};

use alloy::signers::local::PrivateKeySigner;
use anyhow::{Context, Result};
use clap::Args;
use serde::de::DeserializeOwned;
use url::Url;

use crate::chain::{Account, Chain, Deployment, endpoint};
use crate::client::Client;

/// Reads the TOML configuration of a role.
pub fn configuration<T: DeserializeOwned>(file: &Path) -> Result<T> {
    let reading = || format!("reading {}", file.display());
    let text = std::fs::read_to_string(file).with_context(reading)?;
    toml::from_str(&text).with_context(reading)
}

/// Makes paths in a configuration relative to its folder.
pub fn beside<'a>(file: &Path, paths: impl Iterator<Item = &'a mut PathBuf>) {
    let folder = file.parent().unwrap_or(Path::new(""));
    for path in paths {
        *path = folder.join(&path);
    }
}

/// A node to talk to.
#[derive(Debug, Args)]
pub struct NodeAt {
    /// A node of the collective.
    #[arg(
        long = "node",
        value_name = "URL",
        env = "COLLECTIVE_NODE",
        default_value = "http://127.0.0.1:8080"
    )]
    url: Url,
}

impl NodeAt {
    pub fn client(&self) -> Result<Client> {
        Ok(Client::new(self.url.clone())?)
    }
}

/// The collective on its chain.
#[derive(Debug, Args)]
pub struct ChainAt {
    /// JSON-RPC endpoint of the chain.
    #[arg(long, value_name = "URL", env = "COLLECTIVE_RPC")]
    rpc: Url,
    /// File that says where the collective lives.
    #[arg(long, value_name = "FILE", env = "COLLECTIVE_DEPLOYMENT")]
    deployment: PathBuf,
}

impl ChainAt {
    pub fn rpc(&self) -> &Url {
        &self.rpc
    }

    pub fn deployment_file(&self) -> &Path {
        &self.deployment
    }

    pub fn deployment(&self) -> Result<Deployment> {
        deployment(&self.deployment)
    }

    pub async fn reader(&self) -> Result<Chain> {
        let client = endpoint::client(self.rpc.clone());
        Ok(Chain::reader(client, self.deployment()?).await?)
    }

    pub async fn signer(&self, key: PrivateKeySigner) -> Result<Chain> {
        let client = endpoint::client(self.rpc.clone());
        Ok(Chain::signer(client, self.deployment()?, &Account::new(key)).await?)
    }
}

/// The collective on its chain, for verbs that can do with what a node says of it.
#[derive(Debug, Args)]
pub struct MaybeChainAt {
    /// JSON-RPC endpoint of the chain, to check what the node says.
    #[arg(
        long,
        value_name = "URL",
        env = "COLLECTIVE_RPC",
        requires = "deployment"
    )]
    rpc: Option<Url>,
    /// File that says where the collective lives; without it the node is believed.
    #[arg(long, value_name = "FILE", env = "COLLECTIVE_DEPLOYMENT")]
    deployment: Option<PathBuf>,
}

impl MaybeChainAt {
    /// The deployment file's content, if one was named.
    pub fn deployment(&self) -> Result<Option<Deployment>> {
        self.deployment.as_deref().map(deployment).transpose()
    }

    /// Whether both flags were given, so that a node need not be believed.
    pub fn is_named(&self) -> bool {
        self.rpc.is_some() && self.deployment.is_some()
    }

    /// A connection that sends from this account, if both flags were given.
    pub async fn signer(&self, key: PrivateKeySigner) -> Result<Option<Chain>> {
        let (Some(rpc), Some(deployment)) = (&self.rpc, self.deployment()?) else {
            return Ok(None);
        };
        let client = endpoint::client(rpc.clone());
        Ok(Some(
            Chain::signer(client, deployment, &Account::new(key)).await?,
        ))
    }

    /// A connection, if both flags were given.
    pub async fn reader(&self) -> Result<Option<Chain>> {
        let (Some(rpc), Some(deployment)) = (&self.rpc, self.deployment()?) else {
            return Ok(None);
        };
        let client = endpoint::client(rpc.clone());
        Ok(Some(Chain::reader(client, deployment).await?))
    }
}

/// Reads a deployment file.
pub fn deployment(path: &Path) -> Result<Deployment> {
    let file = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_slice(&file).with_context(|| format!("{} is no deployment", path.display()))
}
