//! `collective rewards`.

use std::path::PathBuf;

use alloy::primitives::{Address, U256};
use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use collective::id::ContributorId;
use serde_json::json;

use super::place::{ChainAt, NodeAt};
use super::secret;
use super::show::show;
use super::verify::tell;
use crate::chain::ChainError;
use crate::verify;
use collective_contracts::RewardDistributor;

/// See and claim what contributions earned.
#[derive(Debug, Subcommand)]
pub enum Rewards {
    Show(Show),
    Claim(Claim),
    Recompute(Recompute),
}

/// Work the reward root out again from chain and blobs alone, and compare it with the pending and the active one.
///
/// The node is asked for blobs only; it is not trusted, their hashes are. Where a root is another one, the first job or epoch
/// in which it differs is named.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  collective rewards recompute --json")]
pub struct Recompute {
    #[command(flatten)]
    node: NodeAt,
    #[command(flatten)]
    chain: ChainAt,
    /// Print the findings as JSON.
    #[arg(long)]
    json: bool,
}

/// Show everything that an account was ever given under the active reward root.
///
/// What settled jobs and days earned comes under it once the challenge window has passed.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  collective rewards show 0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
)]
pub struct Show {
    /// The contributor's account.
    account: Address,
    #[command(flatten)]
    node: NodeAt,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Have an account paid what it earned. Anybody may; the money goes to the account, or to the key that took it over.
///
/// While a recovery is under way that key alone may: the one that it would take the place of can be lost.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  collective rewards claim 0x70997970C51812dc3A010C7d01b50e0d17dc79C8 --key me.key"
)]
pub struct Claim {
    /// The contributor's account.
    account: Address,
    /// Key file of the account that pays the gas.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    #[command(flatten)]
    node: NodeAt,
    #[command(flatten)]
    chain: ChainAt,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Rewards {
    pub async fn run(self) -> Result<bool> {
        match self {
            Self::Show(show) => show.run().await,
            Self::Claim(claim) => claim.run().await,
            Self::Recompute(recompute) => recompute.run().await,
        }
    }
}

impl Recompute {
    async fn run(self) -> Result<bool> {
        let chain = self.chain.reader().await?;
        let verdict = verify::rewards(&chain, self.node.client()?).await?;
        tell(self.json, &verdict)
    }
}

impl Show {
    async fn run(self) -> Result<bool> {
        let claim = self.node.client()?.claim(self.account).await?;
        let rows = [
            ("account", self.account.to_string()),
            ("given in all", claim.cumulative.clone()),
            ("proof", format!("{} words", claim.proof.len())),
        ];
        show(self.json, &claim, &rows)?;
        Ok(true)
    }
}

impl Claim {
    async fn run(self) -> Result<bool> {
        let sender = secret::account(&self.key)?;
        let by = sender.address();
        let chain = self.chain.signer(sender).await?;
        let id = ContributorId::from_address(self.account);
        let fact = chain.recovery(&chain.latest().await?, id).await?;
        let controller = fact.controller(self.account);
        ensure!(
            fact.under_way.is_none() || by == controller,
            "a recovery of {} is under way: until it is finished or vetoed (`collective key recovery show`) only {controller} claims for it",
            self.account
        );
        let claim = self.node.client()?.claim(self.account).await?;
        let cumulative: U256 = claim
            .cumulative
            .parse()
            .context("the node gave an amount that is none")?;
        let deployment = chain.deployment();
        let distributor = RewardDistributor::new(deployment.rewards, chain.provider());
        let call = distributor.claim(
            deployment.collective,
            deployment.token,
            self.account.into_word(),
            cumulative,
            claim.proof,
        );
        let paid = call.call().await.map_err(ChainError::from)?;
        let gas = chain.submit(call).await?.gas_used;
        let value = json!({ "account": self.account, "paid": paid.to_string(), "gas": gas });
        let rows = [
            ("account", self.account.to_string()),
            ("paid", paid.to_string()),
            ("gas", gas.to_string()),
        ];
        show(self.json, &value, &rows)?;
        Ok(true)
    }
}
