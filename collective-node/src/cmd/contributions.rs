//! `collective contributions`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use collective::id::Leaf;

use super::place::NodeAt;
use super::show::show;
use crate::http::ContributionState;

/// Between two questions to the node.
const PAUSE: Duration = Duration::from_millis(250);

/// Show where a contribution stands, and keep its receipt.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  collective contributions 0x3c…9a --wait --receipt receipt.json"
)]
pub struct Contributions {
    /// What `contribute` printed.
    leaf: Leaf,
    /// Wait until it is in a batch, at most as many seconds.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "60")]
    wait: Option<u64>,
    /// Write the receipt here, for `verify contribution`.
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
    #[command(flatten)]
    node: NodeAt,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Contributions {
    pub async fn run(self) -> Result<bool> {
        let client = self.node.client()?;
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
}
