//! `collective liveness fund`, `settle` and `veto`: what a day pays, and whether it does.

use std::path::PathBuf;

use alloy::primitives::U256;
use anyhow::{Result, ensure};
use clap::Args;
use serde_json::json;

use crate::chain::{Chain, ChainError};
use crate::cmd::place::ChainAt;
use crate::cmd::secret;
use crate::cmd::show::show;
use collective_contracts::{DemoToken, LivenessRegistry};

/// Pay into what the collective pays a day from, in its token. What a day pays is decided by vote: `propose --wage`.
///
/// Only the collective takes back what is not set aside for a posted day.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  collective liveness fund 100000000 --key me.key")]
pub struct Fund {
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

/// A step of a posted day.
#[derive(Debug, Args)]
pub struct Step {
    /// Days since 1970-01-01 UTC.
    epoch: u64,
    /// Key file of the account that takes the step and pays the gas.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    #[command(flatten)]
    chain: ChainAt,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Fund {
    pub async fn run(self) -> Result<bool> {
        let chain = self.chain.signer(secret::account(&self.key)?).await?;
        let (by, deployment) = (chain.provider(), chain.deployment());
        let token = DemoToken::new(deployment.token, by);
        chain
            .submit(token.approve(deployment.liveness, self.amount))
            .await?;
        let registry = LivenessRegistry::new(deployment.liveness, by);
        let (collective, token) = (deployment.collective, deployment.token);
        let call = registry.fund(collective, token, self.amount);
        chain.submit(call).await?;
        let free = registry.free(collective, token).call().await;
        let free = free.map_err(ChainError::from)?;
        let wage = registry.wage(collective).call().await;
        let wage = wage.map_err(ChainError::from)?;
        let value = json!({ "free": free.to_string(), "wage": wage.pay.to_string() });
        let rows = [
            ("not set aside", free.to_string()),
            ("a day pays", wage.pay.to_string()),
        ];
        show(self.json, &value, &rows)?;
        Ok(true)
    }
}

impl Step {
    pub async fn settle(self) -> Result<bool> {
        let (chain, left) = self.posted().await?;
        let epoch = self.epoch;
        ensure!(
            left == 0,
            "epoch {epoch} can be disputed and vetoed for {left} s more: settle it then"
        );
        let registry = LivenessRegistry::new(chain.deployment().liveness, chain.provider());
        let call = registry.settle(chain.deployment().collective, epoch);
        let gas = chain.submit(call).await?.gas_used;
        self.tell("settled", gas)
    }

    pub async fn veto(self) -> Result<bool> {
        let (chain, left) = self.posted().await?;
        let epoch = self.epoch;
        ensure!(
            left > 0,
            "epoch {epoch} could be vetoed until its disputes were over: it stands now, and anybody may settle it"
        );
        let registry = LivenessRegistry::new(chain.deployment().liveness, chain.provider());
        let call = registry.veto(chain.deployment().collective, epoch);
        let gas = chain.submit(call).await?.gas_used;
        self.tell("vetoed", gas)
    }

    /// The chain, and the seconds until the epoch can be settled; refused where there is nothing to settle or veto.
    async fn posted(&self) -> Result<(Chain, u64)> {
        let chain = self.chain.signer(secret::account(&self.key)?).await?;
        let epoch = self.epoch;
        let latest = chain.latest().await?;
        let fact = chain.epoch(&latest, epoch).await?;
        ensure!(
            !fact.root.is_zero(),
            "nothing was posted of epoch {epoch}, or it was vetoed"
        );
        ensure!(
            !fact.settled,
            "epoch {epoch} is settled: its pay is the contributors'"
        );
        let left = fact.settle_from.saturating_sub(latest.time);
        Ok((chain, left))
    }

    fn tell(&self, what: &str, gas: u64) -> Result<bool> {
        let rows = [("state", what.to_owned()), ("gas", gas.to_string())];
        show(self.json, &json!({ "state": what, "gas": gas }), &rows)?;
        Ok(true)
    }
}
