//! `collective revoke`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::place::{MaybeChainAt, NodeAt};
use super::secret;
use super::show::show;
use crate::contributor::revocation;

/// Seconds of block time for which the signature is good: a node that holds it back longer cannot
/// use it any more.
const GOOD_FOR: u64 = 3_600;

/// Take a contribution back: no job that is leased from now on reads it.
///
/// Signed on this machine; the node pays the gas. What a recipient was already given it keeps.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  collective revoke 1 --key me.key")]
pub struct Revoke {
    /// The contribution's nonce.
    nonce: u64,
    /// Key file of the contributor's account.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    #[command(flatten)]
    node: NodeAt,
    #[command(flatten)]
    chain: MaybeChainAt,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Revoke {
    pub async fn run(self) -> Result<bool> {
        let account = secret::account(&self.key)?;
        let client = self.node.client()?;
        let deployment = match self.chain.deployment()? {
            Some(deployment) => deployment,
            None => client.collective().await?.deployment,
        };
        let deadline = client.status().await?.latest.time + GOOD_FOR;
        let signed = revocation(&deployment, &account, self.nonce, deadline);
        let relayed = client.revoke(&signed).await?;
        let rows = [
            ("revoked", format!("nonce {}", self.nonce)),
            ("block", relayed.block.to_string()),
            ("note", relayed.note.clone()),
        ];
        show(self.json, &relayed, &rows)?;
        Ok(true)
    }
}
