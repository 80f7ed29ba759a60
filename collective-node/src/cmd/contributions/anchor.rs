//! `collective contributions anchor`.

use std::path::PathBuf;
use std::time::Duration;

use alloy::primitives::U256;
use anyhow::{Context, Result, ensure};
use clap::Args;
use collective::contribution::{AnchorReceipt, DirectContribution};
use collective::id::{ContributorId, Leaf};
use collective_contracts::ContributionRegistry;
use serde::Serialize;

use crate::chain::Chain;
use crate::client::Client;
use crate::cmd::acknowledged::Acknowledged;
use crate::cmd::place::{ChainAt, NodeAt};
use crate::cmd::secret;
use crate::cmd::show::show;
use crate::verify::OnChain;

/// How long a node is asked whether it has anchored something: it may well be away, and is not needed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Anchor contributions on chain that a node acknowledged and does not anchor.
///
/// Sent from the contributor's own account, which pays some 170,000 gas for each. No node is needed: what goes on chain is what `contribute`
/// kept in the folder KEY.acknowledged. It counts exactly as if the node had anchored it, once its block is final. What the chain has
/// already is not sent again; whether a batch has it is the node's to say, if it answers.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  collective contributions anchor 0x3c…9a --key me.key
  collective contributions anchor --all --key me.key")]
pub struct Anchor {
    /// What `contribute` printed.
    #[arg(required_unless_present = "all")]
    leaf: Option<Leaf>,
    /// Everything that a node ever acknowledged to this account and the chain does not have.
    #[arg(long, conflicts_with = "leaf")]
    all: bool,
    /// Key file of the contributor's account.
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

/// What became of one contribution.
#[derive(Serialize)]
struct Told {
    leaf: Leaf,
    /// The block that has it.
    block: u64,
    /// What it took; nothing where the chain had it already.
    gas: Option<u64>,
    /// What proves it for ever, for `verify contribution`.
    receipt: PathBuf,
}

impl Anchor {
    pub async fn run(self) -> Result<bool> {
        let account = secret::account(&self.key)?;
        let contributor = ContributorId::from_address(account.address());
        let kept = Acknowledged::beside(&self.key);
        let all = match self.leaf {
            Some(leaf) => vec![kept.of(leaf)?],
            None => kept.all()?,
        };
        let chain = self.chain.signer(account).await?;
        let latest = chain.latest().await?;
        let rotation = chain.recovery(&latest, contributor).await?.rotation;
        let on_chain = OnChain::read(&chain, latest).await?;
        let node = self.node.client()?;
        let mut told = vec![];
        for taken in all {
            let leaf = taken.entry.contribution.leaf();
            let (block, gas) = match anchored(&on_chain, &node, &taken).await {
                Some(block) => (block, None),
                None => {
                    ensure!(
                        rotation.is_none(),
                        "another key has taken over what {contributor} has: {leaf} would count for nothing, and the contract refuses it"
                    );
                    let sent = send(&chain, &taken).await;
                    let (block, gas) = sent.with_context(|| format!("anchoring {leaf}"))?;
                    (block, Some(gas))
                }
            };
            let receipt = kept.path(leaf);
            told.push(Told {
                leaf,
                block,
                gas,
                receipt,
            });
        }
        let words = |it: &Told| match it.gas {
            Some(gas) => format!("{} in block {}, {gas} gas", it.leaf, it.block),
            None => format!("{} in block {}, on chain already", it.leaf, it.block),
        };
        let rows: Vec<_> = told.iter().map(|it| ("anchored", words(it))).collect();
        show(self.json, &told, &rows)?;
        Ok(true)
    }
}

/// The block that has it already, by its own anchoring or in a batch that the node shows.
async fn anchored(on_chain: &OnChain, node: &Client, taken: &DirectContribution) -> Option<u64> {
    let own = on_chain.block_of(&AnchorReceipt::Direct(taken.clone()));
    if let Some((block, _)) = own {
        return Some(block);
    }
    let leaf = taken.entry.contribution.leaf();
    let asked = tokio::time::timeout(PATIENCE, node.contribution(leaf)).await;
    let receipt = asked.ok()?.ok()?.state.receipt()?;
    let AnchorReceipt::Batch(batch) = &receipt else {
        return None;
    };
    let is_of_it = batch.entry == taken.entry && batch.leads_to_root();
    on_chain
        .block_of(&receipt)
        .filter(|_| is_of_it)
        .map(|(block, _)| block)
}

async fn send(chain: &Chain, taken: &DirectContribution) -> Result<(u64, u64)> {
    let deployment = chain.deployment();
    let (registry, collective) = (deployment.registry(), deployment.collective);
    ensure!(
        taken.entry.contribution.collective == collective,
        "it is for collective {}, and the deployment names another",
        taken.entry.contribution.collective
    );
    taken.acknowledged_by(&registry)?;
    let leaf = &taken.entry.contribution;
    let leaf = ContributionRegistry::Contribution {
        collective: leaf.collective,
        contributorId: leaf.contributor.0,
        point: leaf.point.0,
        commitment: leaf.commitment.0,
        terms: leaf.terms.0,
        nonce: U256::from(leaf.nonce),
    };
    let contract = ContributionRegistry::new(deployment.contributions, chain.provider());
    let call = contract.contribute(leaf, taken.details().into());
    let sent = chain.submit(call).await?;
    Ok((sent.block_number.unwrap_or_default(), sent.gas_used))
}
