//! `collective contributions anchor`.

use std::path::PathBuf;
use std::time::Duration;

use alloy::primitives::{Address, U256};
use anyhow::{Result, ensure};
use clap::Args;
use collective::contribution::{AnchorReceipt, DirectContribution};
use collective::id::{ContributorId, Leaf};
use collective::input::Revocations;
use collective_contracts::ContributionRegistry;
use serde::Serialize;

use crate::blobs::Blobs;
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
/// already is not sent again; whether a batch has it is the node's to say, if it answers. Nothing is paid for what nobody would count: what
/// was revoked or has expired, and what was acknowledged by a key of no compute node that the collective accepts.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  collective contributions anchor 0x3c…9a --key me.key
  collective contributions anchor --all --key me.key")]
pub struct Anchor {
    /// What `contribute` printed.
    #[arg(required_unless_present = "all")]
    leaf: Option<Leaf>,
    /// Everything that a node ever acknowledged to this account for this collective and the chain does not have; fails in the end if one failed.
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
#[serde(rename_all = "camelCase")]
struct Told {
    leaf: Leaf,
    /// The block that has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    block: Option<u64>,
    /// What it took; nothing where the chain had it already.
    gas: Option<u64>,
    /// Why it was not sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    passed_over: Option<&'static str>,
    /// Why it is not anchored.
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<String>,
    /// What proves it for ever, for `verify contribution`.
    receipt: PathBuf,
}

impl Anchor {
    pub async fn run(self) -> Result<bool> {
        let account = secret::account(&self.key)?;
        let contributor = ContributorId::from_address(account.address());
        let kept = Acknowledged::beside(&self.key);
        let chain = self.chain.signer(account).await?;
        let collective = chain.deployment().collective;
        let all = match self.leaf {
            Some(leaf) => {
                let taken = kept.of(leaf)?;
                let of = taken.entry.contribution.collective;
                ensure!(
                    of == collective,
                    "it is for collective {of}, and the deployment names another"
                );
                vec![taken]
            }
            None => {
                let mut all = kept.all()?;
                all.retain(|taken| taken.entry.contribution.collective == collective);
                all
            }
        };
        let seen = Seen::read(chain, self.node.client()?, contributor, &all).await?;
        let mut told = vec![];
        for taken in all {
            let leaf = taken.entry.contribution.leaf();
            told.push(seen.anchor(&taken, kept.path(leaf)).await);
        }
        let rows: Vec<_> = told.iter().map(Told::row).collect();
        show(self.json, &told, &rows)?;
        let is_well = |it: &Told| it.block.is_some() || self.all && it.failed.is_none();
        Ok(told.iter().all(is_well))
    }
}

impl Told {
    fn row(&self) -> (&'static str, String) {
        let leaf = self.leaf;
        match (self.block, self.gas, self.passed_over, &self.failed) {
            (_, _, _, Some(why)) => ("not anchored", format!("{leaf}: {why}")),
            (_, _, Some(why), _) => ("passed over", format!("{leaf}: {why}")),
            (block, Some(gas), ..) => {
                let block = block.unwrap_or_default();
                ("anchored", format!("{leaf} in block {block}, {gas} gas"))
            }
            (block, None, ..) => {
                let block = block.unwrap_or_default();
                (
                    "anchored",
                    format!("{leaf} in block {block}, on chain already"),
                )
            }
        }
    }
}

/// What the chain has, at its newest block.
struct Seen {
    chain: Chain,
    node: Client,
    on_chain: OnChain,
    is_rotated: bool,
    revocations: Revocations,
    /// Whose batches and acknowledgements count.
    signers: Vec<Address>,
}

impl Seen {
    async fn read(
        chain: Chain,
        node: Client,
        contributor: ContributorId,
        all: &[DirectContribution],
    ) -> Result<Self> {
        let latest = chain.latest().await?;
        let nonces = all.iter().map(|it| it.entry.contribution.nonce);
        let named: Vec<_> = nonces.map(|nonce| (contributor, nonce)).collect();
        Ok(Self {
            on_chain: OnChain::read(&chain, latest).await?,
            is_rotated: chain
                .recovery(&latest, contributor)
                .await?
                .rotation
                .is_some(),
            revocations: chain.revocations(&latest, &named).await?,
            signers: chain.compute_signers(&latest).await?,
            chain,
            node,
        })
    }

    /// Anchors it, unless the chain has it or it would count for nothing.
    async fn anchor(&self, taken: &DirectContribution, receipt: PathBuf) -> Told {
        let mut told = Told {
            leaf: taken.entry.contribution.leaf(),
            block: None,
            gas: None,
            passed_over: None,
            failed: None,
            receipt,
        };
        match self.outcome(taken).await {
            Ok(Outcome::There(block)) => told.block = Some(block),
            Ok(Outcome::Sent { block, gas }) => {
                (told.block, told.gas) = (Some(block), Some(gas));
            }
            Ok(Outcome::PassedOver(why)) => told.passed_over = Some(why),
            Err(error) => told.failed = Some(format!("{error:#}")),
        }
        told
    }

    async fn outcome(&self, taken: &DirectContribution) -> Result<Outcome> {
        let contribution = &taken.entry.contribution;
        let by = taken.acknowledged_by(&self.chain.deployment().registry())?;
        let is_accepted = self.signers.contains(&by);
        if is_accepted && let Some(block) = self.there(taken, by).await {
            return Ok(Outcome::There(block));
        }
        let (contributor, nonce) = (contribution.contributor, contribution.nonce);
        if self.revocations.contains(contributor, nonce) {
            return Ok(Outcome::PassedOver("it is revoked"));
        }
        if taken.entry.terms.expiry <= self.on_chain.up_to().time {
            return Ok(Outcome::PassedOver("its terms have expired"));
        }
        ensure!(
            !self.is_rotated,
            "another key has taken over what {contributor} has: it would count for nothing, and the contract refuses it"
        );
        ensure!(
            is_accepted,
            "{by}, which acknowledged it, is the signer of no compute node that the collective accepts: nobody would count it; \
             contribute the record again to a node that it accepts, with another nonce"
        );
        let (block, gas) = send(&self.chain, taken).await?;
        Ok(Outcome::Sent { block, gas })
    }

    /// The block that has it already, by its own anchoring or in a batch that the node shows.
    async fn there(&self, taken: &DirectContribution, by: Address) -> Option<u64> {
        if let Some(block) = self.on_chain.direct(taken) {
            return Some(block);
        }
        let batched = tokio::time::timeout(PATIENCE, self.batched(taken, by));
        batched.await.ok()?
    }

    /// In a batch by whoever acknowledged it, with a manifest: others count for nothing, whatever their root.
    async fn batched(&self, taken: &DirectContribution, by: Address) -> Option<u64> {
        let leaf = taken.entry.contribution.leaf();
        let answer = self.node.contribution(leaf).await.ok()?;
        let AnchorReceipt::Batch(receipt) = answer.state.receipt()? else {
            return None;
        };
        if receipt.entry != taken.entry || !receipt.leads_to_root() {
            return None;
        }
        let blobs = Blobs::of_node(self.node.clone());
        for batch in self.on_chain.batches(receipt.root) {
            if batch.aggregator == by && batch.is_whole(&self.chain, &blobs).await {
                return Some(batch.block);
            }
        }
        None
    }
}

enum Outcome {
    /// In this block, since before.
    There(u64),
    Sent {
        block: u64,
        gas: u64,
    },
    PassedOver(&'static str),
}

async fn send(chain: &Chain, taken: &DirectContribution) -> Result<(u64, u64)> {
    let deployment = chain.deployment();
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
