//! `collective node bond`.

use std::path::PathBuf;

use alloy::primitives::U256;
use anyhow::Result;
use clap::Args;
use collective::id::NodeId;
use collective_contracts::JobEscrow;
use serde_json::json;

use crate::cmd::place::ChainAt;
use crate::cmd::secret;
use crate::cmd::show::show;
use crate::registration;

/// Deposit a bond for a node, in the collective's token.
///
/// A job locks the bond that its manifest asks for, and takes it where no receipt comes. Anybody may
/// deposit; only the node's operator takes back what is not locked.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  collective node bond 0x5f…c1 100000000 --key me.key")]
pub struct Bond {
    /// The node's id.
    node: NodeId,
    /// How much, in the token's smallest unit.
    amount: U256,
    /// Key file of the account that pays.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    #[command(flatten)]
    chain: ChainAt,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Bond {
    pub async fn run(self) -> Result<bool> {
        let chain = self.chain.signer(secret::account(&self.key)?).await?;
        let (by, deployment) = (chain.provider(), chain.deployment());
        registration::deposit_bond(by, deployment, self.node, self.amount).await?;
        let escrow = JobEscrow::new(deployment.escrow, by);
        let bond = escrow.bond(self.node.0, deployment.token).call().await?;
        let value = json!({
            "node": self.node,
            "bond": bond.total.to_string(),
            "locked": bond.locked.to_string(),
        });
        let rows = [
            ("node", self.node.to_string()),
            ("bond", bond.total.to_string()),
            ("locked", bond.locked.to_string()),
        ];
        show(self.json, &value, &rows)?;
        Ok(true)
    }
}
