//! `collective contributions`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use collective::approval::Recipient;
use collective::id::Leaf;

use super::place::{MaybeChainAt, NodeAt};
use super::show::{on_one_line, show};
use crate::blobs::Blobs;
use crate::client::Client;
use crate::http::ContributionState;
use crate::verify::{self, Inputs, Use, Uses};

/// Between two questions to the node.
const PAUSE: Duration = Duration::from_millis(250);

/// Show where a contribution stands, keep its receipt, or see who used it.
///
/// A node opens nothing before its release is on chain, so with --uses the list is complete up to the block that it names. With
/// --rpc and --deployment the releases are read from the chain and each input set is checked against them; otherwise it is the
/// node's word.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  collective contributions 0x3c…9a --wait --receipt receipt.json
  collective contributions 0x3c…9a --uses --rpc http://127.0.0.1:8545 --deployment deployment.json")]
pub struct Contributions {
    /// What `contribute` printed.
    leaf: Leaf,
    /// Wait until it is in a batch, at most as many seconds.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "60")]
    wait: Option<u64>,
    /// Write the receipt here, for `verify contribution`.
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
    /// Show every run that read it: for what, by which program, for whom, and what it pays.
    #[arg(long, conflicts_with_all = ["wait", "receipt"])]
    uses: bool,
    #[command(flatten)]
    node: NodeAt,
    #[command(flatten)]
    chain: MaybeChainAt,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Contributions {
    pub async fn run(self) -> Result<bool> {
        let client = self.node.client()?;
        if self.uses {
            return self.used(client).await;
        }
        let asked = async {
            loop {
                let state = client.contribution(self.leaf).await?;
                if self.wait.is_none() || matches!(state, ContributionState::Batched { .. }) {
                    return anyhow::Ok(state);
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        let patience = Duration::from_secs(self.wait.unwrap_or(60));
        let state = tokio::time::timeout(patience, asked)
            .await
            .context("it is in no batch yet")??;
        let mut rows = vec![("leaf", self.leaf.to_string())];
        match &state {
            ContributionState::Held => rows.push(("state", "held, in no batch yet".into())),
            ContributionState::Batched { receipt } => {
                let contribution = &receipt.entry.contribution;
                rows.push(("state", "batched".into()));
                rows.push(("contributor", contribution.contributor.to_string()));
                rows.push(("nonce", contribution.nonce.to_string()));
                rows.push(("batch root", receipt.root.to_string()));
                if let Some(path) = &self.receipt {
                    std::fs::write(path, serde_json::to_vec_pretty(receipt)?)
                        .with_context(|| format!("writing {}", path.display()))?;
                }
            }
        }
        show(self.json, &state, &rows)?;
        let missing = self.receipt.is_some() && matches!(state, ContributionState::Held);
        if missing {
            eprintln!("collective: there is no receipt yet; --wait waits for it");
        }
        Ok(!missing)
    }

    /// Says by the exit code whether nothing is left that may have read it unseen.
    async fn used(&self, client: Client) -> Result<bool> {
        let uses = match self.chain.reader().await? {
            Some(chain) => {
                let blobs = Blobs::of_node(client.clone());
                verify::uses(&chain, &blobs, self.leaf, Inputs::Node(&client)).await?
            }
            None => client.uses(self.leaf).await?,
        };
        ensure!(
            uses.uses.iter().all(|one| one.holds(self.leaf)),
            "the node gave a path that does not lead to what was released"
        );
        let mut rows = vec![("contribution", self.leaf.to_string())];
        rows.extend(uses.uses.iter().map(|one| ("use", words(one))));
        rows.push(("complete up to block", uses.up_to.number.to_string()));
        if !uses.unknown.is_empty() {
            let jobs: Vec<_> = uses.unknown.iter().map(u64::to_string).collect();
            rows.push(("may have read it", format!("jobs {}", jobs.join(", "))));
        }
        show(self.json, &uses, &rows)?;
        let Uses { unknown, .. } = uses;
        Ok(unknown.is_empty())
    }
}

fn words(one: &Use) -> String {
    let recipient = match &one.recipient {
        Recipient::Age(text) => on_one_line(text),
        Recipient::Node { id, .. } => format!("node {id}"),
    };
    format!(
        "job {}, {:?}: {} by program {} for {recipient}, with {} contributors; {} of token {} for each",
        one.job, one.state, one.purpose, one.program, one.contributors, one.share, one.token
    )
}
