//! `collective proposal`, and how documents and nodes become what is voted on.

use std::path::PathBuf;

use alloy::primitives::{Address, B256, U256};
use alloy::providers::DynProvider;
use anyhow::{Result, ensure};
use clap::{ArgGroup, Args, Subcommand};
use collective::approval::Manifest;
use collective::charter::Charter;
use collective::committee::ceremony::CeremonyId;
use collective::id::{KeysHash, ManifestDigest, NodeId};
use serde_json::json;

use super::place::ChainAt;
use super::show::show;
use super::{charter, manifest, secret};
use crate::chain::{Chain, ChainError, Deployment};
use crate::governance::{self, Action, Motion, Standing};
use collective_contracts::{LivenessRegistry, NodeRegistry};

/// Follow a proposal to its effect.
#[derive(Debug, Subcommand)]
pub enum Proposal {
    Show(Show),
    /// Put a proposal that was won into the timelock, where its notice runs.
    #[command(after_help = "Example:\n  collective proposal queue 8431…207 --key member.key")]
    Queue(Step),
    /// Execute a queued proposal after its notice: what was voted on takes effect.
    #[command(after_help = "Example:\n  collective proposal execute 8431…207 --key member.key")]
    Execute(Step),
    /// Stop a proposal for good before it is executed. The guardian can; where there is none, who opened it.
    #[command(after_help = "Example:\n  collective proposal veto 8431…207 --key guardian.key")]
    Veto(Step),
}

/// Show what a proposal would do, how it stands, and who has to act next.
///
/// What it would do is read from the calls that are voted on, never from the proposer's words.
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

/// A step of a proposal. Its calls are read from the chain and belong to its number.
#[derive(Debug, Args)]
pub struct Step {
    /// What `propose` printed.
    id: U256,
    /// Key file of the account that takes the step and pays the gas.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    #[command(flatten)]
    chain: ChainAt,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What a proposal is about: one or several decisions, which take effect together.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("decision").required(true).multiple(true))]
pub struct Subject {
    /// A manifest to approve.
    #[arg(long, value_name = "FILE", group = "decision")]
    manifest: Option<PathBuf>,
    /// A charter to set: what may be contributed from then on, and by whom.
    #[arg(long, value_name = "FILE", group = "decision")]
    charter: Option<PathBuf>,
    /// Nodes to accept, with the keys that they have now.
    #[arg(long, value_name = "NODE,…", value_delimiter = ',', group = "decision")]
    accept_node: Vec<NodeId>,
    /// A published committee to accept, by the hash that `node register` or `committee` printed.
    #[arg(long, value_name = "HASH", group = "decision")]
    accept_committee: Option<B256>,
    /// A plan by which the committee hands its key to others, by the name that `committee reshare` printed.
    #[arg(long, value_name = "PLAN", group = "decision")]
    convene: Option<B256>,
    /// A program to revoke for ever, by its manifest's digest.
    #[arg(long, value_name = "DIGEST", group = "decision")]
    revoke_program: Option<ManifestDigest>,
    /// An account that may veto proposals until they are executed and revoke programs, and nothing else; the zero
    /// address for nobody.
    #[arg(long, value_name = "ADDRESS", group = "decision")]
    guardian: Option<Address>,
    /// An account that says each day which payloads were reachable, normally the compute node's; the zero address for nobody.
    /// The wage stays as it is.
    #[arg(long, value_name = "ADDRESS", group = "decision")]
    auditor: Option<Address>,
    /// What a day pays to all together who kept their own payloads reachable, in the token's smallest unit; 0 for nothing. It comes
    /// from what `liveness fund` paid in. The auditor stays who it is.
    #[arg(long, value_name = "AMOUNT", group = "decision")]
    wage: Option<U256>,
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
    /// not there. `made` is a manifest that was not read from a file.
    pub async fn read(&self, chain: &Chain, made: Option<Manifest>) -> Result<Decision> {
        let deployment = chain.deployment();
        let named = self.manifest.as_deref().map(manifest::read).transpose()?;
        let manifest = made.or(named);
        let charter = self.charter.as_deref().map(charter::read).transpose()?;
        let (mut actions, mut sentences) = (vec![], vec![]);
        if let Some(charter) = &charter {
            actions.push(Action::admit(deployment, charter));
            sentences.push(charter_sentence(charter));
        }
        for &node in &self.accept_node {
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
        if let Some(digest) = self.revoke_program {
            actions.push(Action::revoke(deployment, digest));
            sentences.push(format!("Revoke manifest {digest}."));
        }
        if let Some(guardian) = self.guardian {
            actions.extend(Action::guard(deployment, guardian));
            sentences.push(format!("Make {guardian} the guardian."));
        }
        if self.auditor.is_some() || self.wage.is_some() {
            let (auditor, pay) = self.wage(chain).await?;
            actions.push(Action::set_wage(deployment, auditor, pay));
            sentences.push(format!(
                "Have {auditor} say each day what is reachable, for {pay} a day."
            ));
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

/// What a charter changes that nobody sees in its digest: whose files jobs may have to wait for.
fn charter_sentence(charter: &Charter) -> String {
    let digest = charter.digest();
    let kept: Vec<_> = charter.connected.iter().map(String::as_str).collect();
    match kept[..] {
        [] => format!("Set charter {digest}."),
        _ => format!(
            "Set charter {digest}. Contributors may keep their sealed files of {} themselves.",
            kept.join(", ")
        ),
    }
}

impl Subject {
    /// Auditor and pay of a day, what is not named as it is now.
    async fn wage(&self, chain: &Chain) -> Result<(Address, U256)> {
        let deployment = chain.deployment();
        let registry = LivenessRegistry::new(deployment.liveness, chain.provider());
        let wage = registry.wage(deployment.collective).call().await;
        let wage = wage.map_err(ChainError::from)?;
        let auditor = self.auditor.unwrap_or(wage.auditor);
        // Pay in another token says nothing of pay in this one.
        let now = if wage.token == deployment.token {
            wage.pay
        } else {
            U256::ZERO
        };
        let pay = match (self.wage, auditor.is_zero()) {
            (None, true) => U256::ZERO,
            (wage, _) => wage.unwrap_or(now),
        };
        ensure!(
            !auditor.is_zero() || pay.is_zero(),
            "nobody says what is reachable, so nothing can be paid for it: name an account with --auditor"
        );
        Ok((auditor, pay))
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
            Self::Queue(step) => step.take("queued", Motion::queue).await,
            Self::Execute(step) => step.take("executed", Motion::execute).await,
            Self::Veto(step) => step.take("vetoed", Motion::veto).await,
        }
    }
}

impl Show {
    async fn run(self) -> Result<bool> {
        let chain = self.chain.reader().await?;
        let opened = governance::Proposal::find(&chain, self.id).await?;
        let standing = Standing::read(&chain, self.id).await?;
        let actions = opened.motion.actions.iter();
        let actions: Vec<_> = actions.map(|it| it.words(chain.deployment())).collect();
        let next = standing.next();
        let value = json!({
            "state": standing.state,
            "proposer": opened.proposer,
            "actions": actions,
            "description": opened.motion.description,
            "for": standing.votes_for.to_string(),
            "against": standing.votes_against.to_string(),
            "abstain": standing.abstained.to_string(),
            "quorum": standing.quorum.map(|quorum| quorum.to_string()),
            "opens": standing.opens,
            "closes": standing.closes,
            "noticeEnds": standing.notice_ends,
            "guardian": standing.guardian,
            "now": standing.now,
            "next": next,
        });
        let mut rows = vec![("state", standing.state.to_string())];
        rows.extend(actions.into_iter().map(|words| ("would", words)));
        rows.extend([
            ("for", standing.votes_for.to_string()),
            ("against", standing.votes_against.to_string()),
            ("abstain", standing.abstained.to_string()),
        ]);
        let quorum = |votes| format!("{votes} for or abstaining");
        rows.extend(standing.quorum.map(|votes| ("quorum", quorum(votes))));
        rows.extend([
            ("opens", from_now(standing.opens, standing.now)),
            ("closes", from_now(standing.closes, standing.now)),
        ]);
        let ends = standing.notice_ends.map(|end| from_now(end, standing.now));
        rows.extend(ends.map(|end| ("notice ends", end)));
        rows.extend([
            ("proposer", opened.proposer.to_string()),
            ("says", opened.motion.description),
            ("next", next),
        ]);
        show(self.json, &value, &rows)?;
        Ok(true)
    }
}

impl Step {
    async fn take(
        self,
        what: &str,
        step: impl AsyncFnOnce(&Motion, &DynProvider, &Deployment) -> Result<u64, ChainError>,
    ) -> Result<bool> {
        let chain = self.chain.signer(secret::account(&self.key)?).await?;
        let motion = governance::Proposal::find(&chain, self.id).await?.motion;
        let gas = step(&motion, chain.provider(), chain.deployment()).await?;
        let rows = [("state", what.to_owned()), ("gas", gas.to_string())];
        show(self.json, &json!({ "state": what, "gas": gas }), &rows)?;
        Ok(true)
    }
}

fn from_now(time: u64, now: u64) -> String {
    if time > now {
        format!("{time}, in {} s", time - now)
    } else {
        format!("{time}, {} s ago", now - time)
    }
}
