//! `collective node register`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use alloy::primitives::utils::format_ether;
use alloy::providers::Provider;
use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use collective::id::NodeId;
use serde_json::json;

use crate::chain::endpoint;
use crate::chain::facts::{ROLE_COMPUTE, ROLE_HEAVY, ROLE_KEYHOLDER};
use crate::cmd::place::ChainAt;
use crate::cmd::secret;
use crate::cmd::show::show;
use crate::keystore::{Keystore, write_new};
use crate::registration;

/// What a node announces that was told nothing else.
const ENDPOINT: &str = "http://127.0.0.1:8080";

/// Enter a node on chain as a committee of one, and write its configuration.
///
/// The account in the key file pays, and operates the node from then on. Nothing counts before the members
/// accept both, the node and the committee, by vote. Done again, it does only what is not done yet.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  collective node register --keys keys.age --passphrase-file words.txt --wire 0.0.0.0:8443 --endpoint https://node.example:8443\n  collective node register --role keyholder --keys keys.age --endpoint https://holder.example:8443"
)]
pub struct Register {
    /// Key file of the node, made by `collective key new node`.
    #[arg(long, value_name = "FILE")]
    keys: PathBuf,
    /// File with its passphrase; without it COLLECTIVE_PASSPHRASE is read.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// What it does. A node of both roles whose keys hold a whole key is published as a committee of one.
    #[arg(long, value_enum, default_value = "both")]
    role: Role,
    /// Where others reach the node; a hint that the chain's log keeps. Other nodes ask a holder at https://host:port, which
    /// a committee of one needs before its key can be handed on. Given again with another value, that one is announced.
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// Let the collective take files that have no sender proof, as age clients without our plugin make them.
    #[arg(long)]
    accept_unproven: bool,
    /// Configuration to write for `collective node --config`; a file that exists is left as it is.
    #[arg(long, value_name = "FILE", default_value = "node.toml")]
    config: PathBuf,
    /// Address and port at which the node will listen.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Address and port at which the node will listen for other nodes; announced as its endpoint unless --endpoint says
    /// another.
    #[arg(long, value_name = "ADDRESS")]
    wire: Option<SocketAddr>,
    /// Folder for its data.
    #[arg(long, value_name = "DIR", default_value = "node")]
    data: PathBuf,
    #[command(flatten)]
    chain: ChainAt,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Role {
    /// Runs programs.
    Compute,
    /// Holds a share of the key; its endpoint reads https://host:port.
    Keyholder,
    /// Both.
    Both,
    /// A requester's own machine, to which a vote may hand the data.
    Heavy,
}

impl Role {
    fn bits(self) -> u8 {
        match self {
            Self::Compute => ROLE_COMPUTE,
            Self::Keyholder => ROLE_KEYHOLDER,
            Self::Both => registration::BOTH_ROLES,
            Self::Heavy => ROLE_HEAVY,
        }
    }
}

impl Register {
    pub async fn run(self) -> Result<bool> {
        let deployment = self.chain.deployment()?;
        let passphrase = secret::passphrase(self.passphrase_file.as_deref())?;
        let keys = Keystore::open(&self.keys, passphrase)?;
        let client = endpoint::client(self.chain.rpc().clone());
        let chain = keys.chain(client, deployment).await?;
        let by = chain.provider();
        let account = keys.address();
        let money = by.get_balance(account).await?;
        ensure!(
            !money.is_zero(),
            "the node's account {account} has nothing to pay gas with: send it some ether"
        );

        let node = registration::node_id(&keys);
        let roles = self.role.bits();
        let endpoint = self.endpoint();
        let first = endpoint.as_deref().unwrap_or(ENDPOINT);
        let keys_hash = registration::register(by, &deployment, &keys, roles, first).await?;
        if let Some(endpoint) = &endpoint {
            registration::announce(&chain, &keys, endpoint).await?;
        }
        let sole = keys.shares().newest();
        let sole = sole.filter(|share| self.role == Role::Both && share.certificate().size() == 1);
        let committee = match &sole {
            None => None,
            Some(share) => {
                let proven = !self.accept_unproven;
                let hash =
                    registration::publish_committee(by, &deployment, &keys, proven, share).await?;
                Some((hash, share.certificate().epoch()))
            }
        };
        let wrote =
            matches!(self.role, Role::Keyholder | Role::Heavy) || self.write_config(node)?;

        let value = json!({
            "node": node,
            "account": account,
            "keysHash": keys_hash,
            "committee": committee.map(|(hash, _)| hash),
            "epoch": committee.map(|(_, epoch)| epoch),
            "config": self.config,
        });
        let rows = [
            ("node", node.to_string()),
            (
                "account",
                format!("{account}, {} ether", format_ether(money)),
            ),
            ("keys hash", keys_hash.to_string()),
            (
                "committee of one",
                committee.map_or("none".into(), |(hash, epoch)| {
                    format!("{hash}, epoch {epoch}")
                }),
            ),
            ("configuration", self.config.display().to_string()),
        ];
        show(self.json, &value, &rows)?;
        if !wrote {
            eprintln!("{} exists and is left as it is", self.config.display());
        }
        Ok(true)
    }

    /// What was asked to be announced.
    fn endpoint(&self) -> Option<String> {
        let wire = || self.wire.map(|wire| format!("https://{wire}"));
        self.endpoint.clone().or_else(wire)
    }

    /// `false` where there is one already.
    fn write_config(&self, node: NodeId) -> Result<bool> {
        if self.config.exists() {
            return Ok(false);
        }
        // A JSON string is a TOML string, too.
        let quoted = |text: &str| serde_json::to_string(text).expect("a string");
        let path = |path: &Path| -> Result<String> {
            let path = std::path::absolute(path)?;
            Ok(quoted(path.to_str().context("a path is not UTF-8")?))
        };
        let mut text = format!(
            "deployment = {}\nrpc = {}\nnode = \"{node}\"\ndata = {}\nlisten = \"{}\"\nkeys = {}\n",
            path(self.chain.deployment_file())?,
            quoted(self.chain.rpc().as_str()),
            path(&self.data)?,
            self.listen,
            path(&self.keys)?,
        );
        if let Some(wire) = self.wire {
            text += &format!("wire = \"{wire}\"\n");
        }
        if let Some(file) = &self.passphrase_file {
            text += &format!("passphrase_file = {}\n", path(file)?);
        }
        write_new(&self.config, text.as_bytes())?;
        Ok(true)
    }
}
