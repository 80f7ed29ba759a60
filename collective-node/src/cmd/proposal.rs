//! `collective proposal`, and how a manifest becomes what is voted on.

use std::path::PathBuf;

use alloy::primitives::U256;
use anyhow::{Result, ensure};
use clap::{Args, Subcommand};
use collective::approval::Manifest;
use serde_json::json;

use super::place::ChainAt;
use super::show::show;
use super::{manifest, secret};
use crate::chain::{ChainError, Deployment};
use crate::governance::{Action, Motion};
use collective_contracts::CollectiveGovernor;

/// Follow a proposal to its effect.
#[derive(Debug, Subcommand)]
pub enum Proposal {
    Show(Show),
    /// Put a proposal that was won into the timelock, where its notice runs.
    #[command(
        after_help = "Example:\n  collective proposal queue --manifest mean.json --key member.key"
    )]
    Queue(Step),
    /// Execute a queued proposal after its notice: what was voted on takes effect.
    #[command(
        after_help = "Example:\n  collective proposal execute --manifest mean.json --key member.key"
    )]
    Execute(Step),
}

/// Show a proposal's state, votes and deadline.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  collective proposal show 8431…207")]
pub struct Show {
    /// What `propose` printed.
    id: U256,
    #[command(flatten)]
    chain: ChainAt,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A step of a proposal; anybody may take it.
#[derive(Debug, Args)]
pub struct Step {
    #[command(flatten)]
    subject: Subject,
    /// Key file of the account that pays the gas.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    #[command(flatten)]
    chain: ChainAt,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What a proposal is about. Its id is made of this.
#[derive(Debug, Args)]
pub struct Subject {
    /// The manifest to approve.
    #[arg(long, value_name = "FILE")]
    manifest: PathBuf,
    /// Text beside the proposal; part of its id, so it must be the same at each step.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

impl Subject {
    /// The manifest and what is voted on, refused where it is for another collective.
    pub fn read(&self, deployment: &Deployment) -> Result<(Manifest, Motion)> {
        let manifest = manifest::read(&self.manifest)?;
        ensure!(
            (manifest.chain_id, manifest.collective)
                == (deployment.chain_id, deployment.collective),
            "the manifest is for collective {} on chain {}",
            manifest.collective,
            manifest.chain_id
        );
        let digest = manifest.digest();
        let description = self.description.clone().unwrap_or_else(|| {
            let (purpose, source) = (manifest.purpose, &manifest.dataset.source);
            format!("Approve manifest {digest}: {purpose} over {source}.")
        });
        let approve = Action::approve(deployment, &manifest, format!("blob:{digest}"));
        let motion = Motion {
            actions: vec![approve],
            description,
        };
        Ok((manifest, motion))
    }
}

impl Proposal {
    pub async fn run(self) -> Result<bool> {
        match self {
            Self::Show(show) => show.run().await,
            Self::Queue(step) => step.queue().await,
            Self::Execute(step) => step.execute().await,
        }
    }
}

impl Show {
    async fn run(self) -> Result<bool> {
        let chain = self.chain.reader().await?;
        let governor = CollectiveGovernor::new(chain.deployment().governor, chain.provider());
        let state = governor.state(self.id).call().await;
        let state = state_name(state.map_err(ChainError::from)?);
        let votes = governor.proposalVotes(self.id).call().await;
        let votes = votes.map_err(ChainError::from)?;
        let opens = governor.proposalSnapshot(self.id).call().await;
        let closes = governor.proposalDeadline(self.id).call().await;
        let (opens, closes) = (
            opens.map_err(ChainError::from)?,
            closes.map_err(ChainError::from)?,
        );
        let now = chain.latest().await?.time;
        let value = json!({
            "state": state,
            "for": votes.forVotes.to_string(),
            "against": votes.againstVotes.to_string(),
            "abstain": votes.abstainVotes.to_string(),
            "opens": opens.saturating_to::<u64>(),
            "closes": closes.saturating_to::<u64>(),
            "now": now,
        });
        let rows = [
            ("state", state.to_owned()),
            ("for", votes.forVotes.to_string()),
            ("against", votes.againstVotes.to_string()),
            ("abstain", votes.abstainVotes.to_string()),
            ("opens", from_now(opens.saturating_to(), now)),
            ("closes", from_now(closes.saturating_to(), now)),
        ];
        show(self.json, &value, &rows)?;
        Ok(true)
    }
}

impl Step {
    async fn queue(self) -> Result<bool> {
        let chain = self.chain.signer(secret::account(&self.key)?).await?;
        let (_, motion) = self.subject.read(chain.deployment())?;
        let gas = motion.queue(chain.provider(), chain.deployment()).await?;
        self.done("queued", gas)
    }

    async fn execute(self) -> Result<bool> {
        let chain = self.chain.signer(secret::account(&self.key)?).await?;
        let (_, motion) = self.subject.read(chain.deployment())?;
        let gas = motion.execute(chain.provider(), chain.deployment()).await?;
        self.done("executed", gas)
    }

    fn done(&self, what: &str, gas: u64) -> Result<bool> {
        let rows = [("state", what.to_owned()), ("gas", gas.to_string())];
        show(self.json, &json!({ "state": what, "gas": gas }), &rows)?;
        Ok(true)
    }
}

/// OpenZeppelin's `IGovernor.ProposalState`, in the order of its enum.
fn state_name(number: u8) -> &'static str {
    const NAMES: [&str; 8] = [
        "pending",
        "active",
        "canceled",
        "defeated",
        "succeeded",
        "queued",
        "expired",
        "executed",
    ];
    NAMES.get(usize::from(number)).unwrap_or(&"unknown")
}

fn from_now(time: u64, now: u64) -> String {
    if time > now {
        format!("{time}, in {} s", time - now)
    } else {
        format!("{time}, {} s ago", now - time)
    }
}
