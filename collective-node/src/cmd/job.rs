//! `collective job`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use collective::approval::unpad;
use collective::seal;
use serde_json::json;
use zeroize::Zeroizing;

use super::place::{ChainAt, NodeAt};
use super::show::show;
use super::{manifest, secret};
use crate::chain::facts::JobState;
use crate::client::Client;
use crate::http::JobAnswer;
use crate::requester;

/// Between two questions to the node.
const PAUSE: Duration = Duration::from_millis(250);

/// Ask for runs of approved programs, and read their results.
#[derive(Debug, Subcommand)]
pub enum Job {
    Request(Request),
    Show(Show),
    Output(Output),
}

/// Pay a run of an approved manifest into escrow and ask for it.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  collective job request --manifest mean.json --key me.key")]
pub struct Request {
    /// The approved manifest.
    #[arg(long, value_name = "FILE")]
    manifest: PathBuf,
    /// Key file of the account that pays.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    #[command(flatten)]
    chain: ChainAt,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Show where a job is and what its run left.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  collective job show 1 --wait")]
pub struct Show {
    /// The job's number.
    job: u64,
    /// Wait until it ran or was refused, at most as many seconds.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "120")]
    wait: Option<u64>,
    #[command(flatten)]
    node: NodeAt,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Fetch a job's sealed output and open it on this machine.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  collective job output 1 --identity results.identity\n  collective job output 1 --identity results.identity -o means.json"
)]
pub struct Output {
    /// The job's number.
    job: u64,
    /// File with the identity (AGE-SECRET-KEY-1… or COLLECTIVE-SECRET-KEY-1…) that it is sealed to.
    #[arg(long, value_name = "FILE")]
    identity: PathBuf,
    /// Write the result here, which must not exist, rather than to standard output.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    node: NodeAt,
}

impl Job {
    pub async fn run(self) -> Result<bool> {
        match self {
            Self::Request(request) => request.run().await,
            Self::Show(show) => show.run().await,
            Self::Output(output) => output.run().await,
        }
    }
}

impl Request {
    async fn run(self) -> Result<bool> {
        let manifest = manifest::read(&self.manifest)?;
        let chain = self.chain.signer(secret::account(&self.key)?).await?;
        let (recipient, price) = (manifest.recipient.digest(), manifest.payment.price);
        let (by, deployment) = (chain.provider(), chain.deployment());
        let job = requester::request(by, deployment, &manifest, recipient, price).await?;
        let value = json!({ "job": job, "paid": price.to_string() });
        let rows = [("job", job.to_string()), ("paid", price.to_string())];
        show(self.json, &value, &rows)?;
        Ok(true)
    }
}

impl Show {
    /// A job that was refused or whose program failed is exit code 1.
    async fn run(self) -> Result<bool> {
        let client = self.node.client()?;
        let answer = match self.wait {
            None => client.job(self.job).await?,
            Some(seconds) => {
                let patience = Duration::from_secs(seconds);
                tokio::time::timeout(patience, ended(&client, self.job))
                    .await
                    .with_context(|| format!("job {} has not ended yet", self.job))??
            }
        };
        let (rows, well) = describe(&answer);
        show(self.json, &answer, &rows)?;
        Ok(well)
    }
}

async fn ended(client: &Client, job: u64) -> Result<JobAnswer> {
    loop {
        let answer = client.job(job).await?;
        if answer.refusal.is_some() || answer.state >= JobState::Completed {
            return Ok(answer);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn describe(answer: &JobAnswer) -> (Vec<(&'static str, String)>, bool) {
    let mut well = true;
    let mut rows = vec![
        ("state", format!("{:?}", answer.state).to_lowercase()),
        ("attempt", answer.attempt.to_string()),
    ];
    if let Some(refusal) = &answer.refusal {
        well = false;
        rows.push((
            "refused",
            format!("{} (fault: {})", refusal.reason, refusal.fault),
        ));
    }
    if let Some(record) = &answer.record {
        let receipt = &record.receipt;
        rows.push(("contributions read", receipt.input_count.to_string()));
        rows.push(("input root", receipt.input_root.to_string()));
        rows.push((
            "run time",
            format!(
                "in the bucket that ends at {} ms",
                receipt.usage.milliseconds
            ),
        ));
        match &record.failure {
            None => rows.push(("sealed output", format!("{} bytes", receipt.output_bytes))),
            Some(failure) => {
                well = false;
                rows.push(("failed", failure.clone()));
            }
        }
    }
    (rows, well)
}

impl Output {
    async fn run(self) -> Result<bool> {
        let identities = secret::identities(&self.identity)?;
        let sealed = self.node.client()?.output(self.job).await?;
        let opening = || format!("opening the output of job {}", self.job);
        let padded = Zeroizing::new(seal::open(&identities, &sealed).with_context(opening)?);
        let output = unpad(&padded).with_context(opening)?;
        match &self.output {
            Some(path) => write(path, output)?,
            None => std::io::stdout().write_all(output)?,
        }
        Ok(true)
    }
}

/// Writes a file that must not exist, for its owner only.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    ensure!(
        !path.exists(),
        "{} exists and is not overwritten",
        path.display()
    );
    Ok(crate::keystore::write_new(path, bytes)?)
}
