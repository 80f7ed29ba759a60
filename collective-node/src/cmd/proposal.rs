//! `collective proposal`, and how documents and nodes become what is voted on.

use std::path::PathBuf;

use alloy::primitives::{B256, U256};
use anyhow::{Result, ensure};
use clap::{ArgGroup, Args, Subcommand};
use collective::approval::Manifest;
use collective::charter::Charter;
use collective::committee::ceremony::CeremonyId;
use collective::id::{KeysHash, NodeId};
use serde_json::json;

use super::place::ChainAt;
use super::show::show;
use super::{charter, manifest, secret};
use crate::chain::{Chain, ChainError, Deployment};
use crate::governance::{Action, Motion};
use collective_contracts::{CollectiveGovernor, NodeRegistry};

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

/// What a proposal is about: one or several decisions, which take effect together. Its id is made of this,
/// so the same must be given at each step.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("decision").required(true).multiple(true))]
pub struct Subject {
    /// A manifest to approve.
    #[arg(long, value_name = "FILE", group = "decision")]
    manifest: Option<PathBuf>,
    /// A charter to set: what may be contributed from then on, and by whom.
    #[arg(long, value_name = "FILE", group = "decision")]
    charter: Option<PathBuf>,
    /// A node to accept, with the keys that it has now.
    #[arg(long, value_name = "NODE", group = "decision")]
    accept_node: Option<NodeId>,
    /// A published committee to accept, by the hash that `node register` or `committee` printed.
    #[arg(long, value_name = "HASH", group = "decision")]
    accept_committee: Option<B256>,
    /// A plan by which the committee hands its key to others, by the name that `committee reshare` printed.
    #[arg(long, value_name = "PLAN", group = "decision")]
    convene: Option<B256>,
    /// Text beside the proposal.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

/// A subject read: what is voted on, and the documents that it names by digest.
pub struct Decision {
    pub manifest: Option<Manifest>,
    pub charter: Option<Charter>,
    pub motion: Motion,
}

impl Subject {
    /// Reads files and chain; refused where a manifest is for another collective, or a node or committee is
    /// not there.
    pub async fn read(&self, chain: &Chain) -> Result<Decision> {
        let deployment = chain.deployment();
        let manifest = self.manifest.as_deref().map(manifest::read).transpose()?;
        let charter = self.charter.as_deref().map(charter::read).transpose()?;
        let (mut actions, mut sentences) = (vec![], vec![]);
        if let Some(charter) = &charter {
            actions.push(Action::admit(deployment, charter));
            sentences.push(format!("Set charter {}.", charter.digest()));
        }
        if let Some(node) = self.accept_node {
            let keys = present_keys(chain, node).await?;
            actions.push(Action::accept_node(deployment, node, keys));
            sentences.push(format!("Accept node {node} with keys {keys}."));
        }
        if let Some(hash) = self.accept_committee {
            let registry = NodeRegistry::new(deployment.nodes, chain.provider());
            let published = registry.published(hash).call().await;
            ensure!(
                !published.map_err(ChainError::from)?.signers.is_empty(),
                "nobody published committee {hash}: `collective node register` does"
            );
            actions.push(Action::accept_committee(deployment, hash));
            sentences.push(format!("Accept committee {hash}."));
        }
        if let Some(plan) = self.convene {
            actions.push(Action::convene(deployment, CeremonyId(plan)));
            sentences.push(format!("Convene ceremony {plan}."));
        }
        if let Some(manifest) = &manifest {
            let (action, sentence) = approve(deployment, manifest)?;
            actions.push(action);
            sentences.push(sentence);
        }
        let described = self.description.clone();
        let motion = Motion {
            actions,
            description: described.unwrap_or_else(|| sentences.join(" ")),
        };
        Ok(Decision {
            manifest,
            charter,
            motion,
        })
    }
}

fn approve(deployment: &Deployment, manifest: &Manifest) -> Result<(Action, String)> {
    ensure!(
        (manifest.chain_id, manifest.collective) == (deployment.chain_id, deployment.collective),
        "the manifest is for collective {} on chain {}",
        manifest.collective,
        manifest.chain_id
    );
    let digest = manifest.digest();
    let (purpose, source) = (manifest.purpose, &manifest.dataset.source);
    let sentence = format!("Approve manifest {digest}: {purpose} over {source}.");
    let action = Action::approve(deployment, manifest, format!("blob:{digest}"));
    Ok((action, sentence))
}

/// The hash of a node's keys as they are now.
async fn present_keys(chain: &Chain, node: NodeId) -> Result<KeysHash> {
    let registry = NodeRegistry::new(chain.deployment().nodes, chain.provider());
    let known = registry.node(node.0).call().await;
    ensure!(
        !known.map_err(ChainError::from)?.operator.is_zero(),
        "there is no node {node}: `collective node register` enters it"
    );
    let keys = registry.keysHash(node.0).call().await;
    Ok(KeysHash(keys.map_err(ChainError::from)?))
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
        let motion = self.subject.read(&chain).await?.motion;
        let gas = motion.queue(chain.provider(), chain.deployment()).await?;
        self.done("queued", gas)
    }

    async fn execute(self) -> Result<bool> {
        let chain = self.chain.signer(secret::account(&self.key)?).await?;
        let motion = self.subject.read(&chain).await?.motion;
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
