//! `collective verify`.

use std::path::PathBuf;

use alloy::rpc::client::RpcClient;
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use url::Url;

use crate::blobs::Blobs;
use crate::chain::{Chain, Deployment};
use crate::client::Client;
use crate::verify;

/// Check, without trust in any node, what nodes and holders did.
#[derive(Debug, Subcommand)]
pub enum Verify {
    Receipt(Receipt),
}

/// Check a job's receipt from chain and blobs alone.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  collective verify receipt 1 --rpc http://127.0.0.1:8545 --node http://127.0.0.1:8080 --deployment deployment.json"
)]
pub struct Receipt {
    /// The job's number.
    job: u64,
    /// JSON-RPC endpoint of the chain.
    #[arg(long, value_name = "URL")]
    rpc: Url,
    /// A node to fetch blobs from; it is not trusted, their hashes are.
    #[arg(long, value_name = "URL")]
    node: Url,
    /// File that says where the collective lives.
    #[arg(long, value_name = "FILE")]
    deployment: PathBuf,
    /// Print the findings as JSON.
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub async fn run(self) -> Result<bool> {
        match self {
            Self::Receipt(receipt) => receipt.run().await,
        }
    }
}

impl Receipt {
    async fn run(self) -> Result<bool> {
        let file = std::fs::read(&self.deployment)
            .with_context(|| format!("reading {}", self.deployment.display()))?;
        let deployment: Deployment =
            serde_json::from_slice(&file).context("reading the deployment")?;
        let chain = Chain::reader(RpcClient::new_http(self.rpc), deployment).await?;
        let blobs = Blobs::of_node(Client::new(self.node)?);
        let verdict = verify::receipt(&chain, &blobs, self.job).await?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&verdict)?);
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
}
