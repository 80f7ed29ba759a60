//! `collective delegate`.

use std::path::PathBuf;

use alloy::primitives::Address;
use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::place::{MaybeChainAt, NodeAt};
use super::secret;
use super::show::show;
use crate::governance::SignedDelegation;

/// Seconds of block time for which the signature is good: a node that holds it back longer cannot
/// use it any more.
const GOOD_FOR: u64 = 3_600;

/// Let somebody else cast one's votes, or take them back.
///
/// Signed on this machine; a node of the collective pays the gas, once an hour for each member. It counts
/// in votes that open from then on.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  collective delegate 0x70997970C51812dc3A010C7d01b50e0d17dc79C8 --key member.key
  collective delegate --back --key member.key")]
pub struct Delegate {
    /// Who casts the votes.
    #[arg(required_unless_present = "back", conflicts_with = "back")]
    to: Option<Address>,
    /// Cast them oneself again.
    #[arg(long)]
    back: bool,
    /// Key file of the member's account.
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

impl Delegate {
    pub async fn run(self) -> Result<bool> {
        let account = secret::account(&self.key)?;
        let member = account.address();
        let to = self.to.unwrap_or(member);
        let client = self.node.client()?;
        let deployment = match self.chain.deployment()? {
            Some(deployment) => deployment,
            None => client.collective().await?.deployment,
        };
        let standing = client.member(member).await?;
        let expiry = client.status().await?.latest.time + GOOD_FOR;
        let (name, nonce) = (&standing.votes_name, standing.delegation_nonce);
        let signed = SignedDelegation::sign(&deployment, name, &account, to, nonce, expiry);
        let relayed = client.delegate(&signed).await?;
        let value = json!({ "member": member, "delegate": to, "block": relayed.block });
        let rows = [
            ("member", member.to_string()),
            ("delegate", to.to_string()),
            ("block", relayed.block.to_string()),
            ("note", relayed.note),
        ];
        show(self.json, &value, &rows)?;
        Ok(true)
    }
}
