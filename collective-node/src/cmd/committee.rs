//! `collective committee`: the life of the collective's key, from its making to the replacement of a member.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand};

use super::place::{ChainAt, NodeAt};
use super::secret;
use crate::chain::endpoint;
use crate::convening::{Convening, Patience};
use crate::keystore::Keystore;
use crate::wire;

mod backup;
mod hold;
mod status;

/// Make, look at and hand on the collective's key.
///
/// Ceremonies run between the key holders, which must be up. Whoever convenes one is trusted with nothing: it needs the
/// key file of any node that the collective accepts.
#[derive(Debug, Subcommand)]
pub enum Committee {
    New(hold::New),
    Status(status::Status),
    Refresh(hold::Refresh),
    Reshare(hold::Reshare),
    Replace(hold::Replace),
    Backup(backup::Backup),
    Restore(backup::Restore),
}

impl Committee {
    pub async fn run(self) -> Result<bool> {
        match self {
            Self::New(new) => new.run().await,
            Self::Status(status) => status.run().await,
            Self::Refresh(refresh) => refresh.run().await,
            Self::Reshare(reshare) => reshare.run().await,
            Self::Replace(replace) => replace.run().await,
            Self::Backup(backup) => backup.run(),
            Self::Restore(restore) => restore.run().await,
        }
    }
}

/// A node's key file.
#[derive(Debug, Args)]
struct NodeKeys {
    /// Key file of a node that the collective accepts.
    #[arg(long, value_name = "FILE")]
    keys: PathBuf,
    /// File with its passphrase; without it COLLECTIVE_PASSPHRASE is read.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl NodeKeys {
    fn open(&self) -> Result<Keystore> {
        let passphrase = secret::passphrase(self.passphrase_file.as_deref())?;
        Ok(Keystore::open(&self.keys, passphrase)?)
    }
}

/// Who convenes, and where everybody is.
#[derive(Debug, Args)]
struct Convener {
    #[command(flatten)]
    keys: NodeKeys,
    /// Seconds that members have for a round of a ceremony; then whoever is silent is named.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    patience: u64,
    #[command(flatten)]
    node: NodeAt,
    #[command(flatten)]
    chain: ChainAt,
}

impl Convener {
    /// Asks with the node's transport key; what is sent to the chain, its account pays.
    async fn convening(&self) -> Result<Convening> {
        let keys = self.keys.open()?;
        let client = endpoint::client(self.chain.rpc().clone());
        let retry = Patience::default().retry;
        Ok(Convening {
            chain: keys.chain(client, self.chain.deployment()?).await?,
            archive: self.node.client()?,
            wire: Arc::new(wire::Client::new(keys.transport_key())),
            patience: Patience {
                round: Duration::from_secs(self.patience),
                retry,
            },
        })
    }
}
