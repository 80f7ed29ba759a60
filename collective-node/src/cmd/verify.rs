//! `collective verify`.

use std::path::PathBuf;

use alloy::primitives::{Address, B256};
use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use collective::contribution::{AnchorReceipt, DirectContribution};
use collective::id::Leaf;
use collective::receipt::BlockRef;
use serde_json::{Value, json};
use url::Url;

use super::place::{self, ChainAt, NodeAt};
use super::show::show;
use crate::blobs::Blobs;
use crate::chain::{Chain, endpoint};
use crate::client::Client;
use crate::headers::Headers;
use crate::verify;

/// Check, without trust in any node, what nodes and holders did.
#[derive(Debug, Subcommand)]
pub enum Verify {
    Receipt(Receipt),
    Contribution(Contribution),
    Liveness(Liveness),
}

/// Check a job's receipt from chain and blobs alone.
///
/// The node is asked for blobs only; it is not trusted, their hashes are. Of each key holder that is named, the log is
/// read: what it signed for this job must be in it, and nothing that no job on chain shows.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  collective verify receipt 1 --rpc http://127.0.0.1:8545 --node http://127.0.0.1:8080 --deployment deployment.json"
)]
pub struct Receipt {
    /// The job's number.
    job: u64,
    /// Where a key holder shows its log (`public` in its configuration); may be given again.
    #[arg(long = "holder", value_name = "URL")]
    holders: Vec<Url>,
    #[command(flatten)]
    node: NodeAt,
    #[command(flatten)]
    chain: ChainAt,
    /// Print the findings as JSON.
    #[arg(long)]
    json: bool,
}

/// Check a contribution's receipt offline: signature, openings, and the path to its batch's root, or the node's acknowledgement of
/// what its contributor anchored.
///
/// With --rpc also that a finalized block has it, sent or acknowledged by a compute node that the collective accepts: logs are folded
/// and compared with what storage proves. A batch counts only where its manifest is to be had: --node asks for that, too.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  collective verify contribution receipt.json --deployment deployment.json"
)]
pub struct Contribution {
    /// What `contributions --receipt` wrote, or what `contribute` kept and `contributions anchor` anchored.
    receipt: PathBuf,
    /// File that says where the collective lives.
    #[arg(long, value_name = "FILE", env = "COLLECTIVE_DEPLOYMENT")]
    deployment: PathBuf,
    /// JSON-RPC endpoint of the chain; not read from the environment, as the check needs none.
    #[arg(long, value_name = "URL")]
    rpc: Option<Url>,
    /// A node that gives the batch's manifest; not read from the environment, either.
    #[arg(long, value_name = "URL", requires = "rpc")]
    node: Option<Url>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Check what was posted of a day: the draws are redone from chain and blobs, and every draw must have its verdict.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  collective verify liveness 20779 --contribution 0x3c…9a --rpc http://127.0.0.1:8545 --node http://127.0.0.1:8080 --deployment deployment.json"
)]
pub struct Liveness {
    /// Days since 1970-01-01 UTC.
    epoch: u64,
    /// A contribution that was anchored by then, as `contribute` printed it: it must have been held.
    #[arg(long, value_name = "LEAF")]
    contribution: Option<Leaf>,
    #[command(flatten)]
    node: NodeAt,
    #[command(flatten)]
    chain: ChainAt,
    /// Print the findings as JSON.
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub async fn run(self) -> Result<bool> {
        match self {
            Self::Receipt(receipt) => receipt.run().await,
            Self::Contribution(contribution) => contribution.run().await,
            Self::Liveness(liveness) => liveness.run().await,
        }
    }
}

impl Receipt {
    async fn run(self) -> Result<bool> {
        let chain = self.chain.reader().await?;
        let node = self.node.client()?;
        let (blobs, headers) = (Blobs::of_node(node.clone()), Headers::Node(node));
        let mut holders = Vec::new();
        for url in self.holders {
            holders.push(verify::Asked::ask(url).await?);
        }
        let verdict = verify::receipt(&chain, &blobs, &headers, self.job, &holders).await?;
        tell(self.json, &verdict)
    }
}

/// Prints what was found, and says whether all of it holds.
pub(super) fn tell(json: bool, verdict: &verify::Verdict) -> Result<bool> {
    if json {
        println!("{}", serde_json::to_string_pretty(verdict)?);
    } else {
        for finding in &verdict.findings {
            let mark = if finding.holds { "✓" } else { "✗" };
            println!("{mark} {} — {}", finding.what, finding.seen);
        }
        println!("Not to be checked from outside:");
        for sentence in &verdict.beyond {
            println!("  {sentence}");
        }
    }
    Ok(verdict.holds())
}

impl Liveness {
    async fn run(self) -> Result<bool> {
        let chain = self.chain.reader().await?;
        let node = self.node.client()?;
        let (blobs, headers) = (Blobs::of_node(node.clone()), Headers::Node(node));
        let asked = self.contribution;
        let verdict = verify::liveness(&chain, &blobs, &headers, self.epoch, asked).await?;
        tell(self.json, &verdict)
    }
}

impl Contribution {
    async fn run(self) -> Result<bool> {
        let deployment = place::deployment(&self.deployment)?;
        let bytes = std::fs::read(&self.receipt)
            .with_context(|| format!("reading {}", self.receipt.display()))?;
        let receipt: AnchorReceipt = serde_json::from_slice(&bytes)
            .with_context(|| format!("{} is no receipt", self.receipt.display()))?;
        let contribution = &receipt.entry().contribution;
        ensure!(
            contribution.collective == deployment.collective,
            "the receipt is for collective {}",
            contribution.collective
        );
        let registry = deployment.registry();
        let leaf = receipt.check(&registry)?;
        let mut told = Told {
            value: json!({ "holds": true, "leaf": leaf }),
            rows: vec![
                ("leaf", leaf.to_string()),
                ("contributor", contribution.contributor.to_string()),
            ],
        };
        let (holds, on_chain) = match &receipt {
            AnchorReceipt::Batch(batch) => {
                told.value["root"] = json!(batch.root);
                let holds = "signature, openings and path to the root";
                (holds, format!("batch root {}", batch.root))
            }
            AnchorReceipt::Direct(direct) => {
                let by = direct.acknowledged_by(&registry)?;
                told.value["acknowledgedBy"] = json!(by);
                told.rows.push(("acknowledged by", by.to_string()));
                let holds = "signature, openings, header and acknowledgement";
                (holds, format!("leaf {leaf}, and node signer {by}"))
            }
        };
        told.rows.insert(0, ("holds", holds.into()));
        match self.rpc {
            None => told.rows.push(("look up on chain", on_chain)),
            Some(rpc) => {
                let chain = Chain::reader(endpoint::client(rpc), deployment).await?;
                match &receipt {
                    AnchorReceipt::Batch(batch) => {
                        told.batch(&chain, batch.root, self.node).await?;
                    }
                    AnchorReceipt::Direct(taken) => told.direct(&chain, taken).await?,
                }
            }
        }
        show(self.json, &told.value, &told.rows)?;
        Ok(true)
    }
}

/// What is said of a contribution's receipt.
struct Told {
    value: Value,
    rows: Vec<(&'static str, String)>,
}

impl Told {
    /// What the chain has of its batch.
    async fn batch(&mut self, chain: &Chain, root: B256, node: Option<Url>) -> Result<()> {
        let found = anchored(chain, root).await?;
        let seen = match node {
            Some(node) => {
                let blobs = Blobs::of_node(Client::new(node)?);
                ensure!(
                    found.is_whole(chain, &blobs).await,
                    "a batch with this root is in block {}, but its manifest {} is not to be had from this node, or is none: \
                     without it nobody counts it",
                    found.block,
                    found.manifest
                );
                "at hand and right"
            }
            None => "not looked at: --node asks for it, and without it nobody counts the batch",
        };
        self.value["manifest"] = json!({ "id": found.manifest, "seen": seen });
        self.rows
            .push(("manifest", format!("{}, {seen}", found.manifest)));
        self.anchored(found.block, found.aggregator);
        Ok(())
    }

    /// What the chain has of it by its contributor.
    async fn direct(&mut self, chain: &Chain, taken: &DirectContribution) -> Result<()> {
        let finalized = chain.finalized().await?;
        let on_chain = verify::OnChain::read(chain, finalized).await?;
        let block = on_chain.direct(taken);
        let block = block.with_context(|| nothing(&finalized))?;
        let by = taken.acknowledged_by(&chain.deployment().registry())?;
        let signers = chain.compute_signers(&finalized).await?;
        ensure!(
            signers.contains(&by),
            "its contributor anchored it in block {block}, but {by}, which acknowledged it, is the signer of no compute node \
             that the collective accepts: nobody counts it"
        );
        let by = taken.entry.contribution.contributor.address();
        self.anchored(block, by.context("the contributor is no account")?);
        Ok(())
    }

    fn anchored(&mut self, block: u64, by: Address) {
        self.value["block"] = json!(block);
        self.value["anchoredBy"] = json!(by);
        self.rows
            .push(("anchored", format!("in block {block}, by {by}")));
    }
}

/// The first batch with this root of a compute node that the collective accepts.
async fn anchored(chain: &Chain, root: B256) -> Result<verify::AnchoredBatch> {
    let finalized = chain.finalized().await?;
    let on_chain = verify::OnChain::read(chain, finalized).await?;
    let signers = chain.compute_signers(&finalized).await?;
    let mut batches = on_chain.batches(root).peekable();
    let first = *batches.peek().with_context(|| nothing(&finalized))?;
    let counts = batches.find(|batch| signers.contains(&batch.aggregator));
    let counts = counts.with_context(|| {
        let (block, by) = (first.block, first.aggregator);
        format!(
            "a batch with this root is in block {block}, by {by}, which is the signer of no compute node that the collective accepts: \
             nobody counts it"
        )
    })?;
    Ok(*counts)
}

fn nothing(up_to: &BlockRef) -> String {
    let up_to = up_to.number;
    format!("it holds together, but nothing up to finalized block {up_to} anchors it")
}
