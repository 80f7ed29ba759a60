//! `collective dev`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use alloy::eips::BlockId;
use alloy::providers::{Provider, ProviderBuilder};
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use url::Url;

use super::node::until_told_to_stop;
use super::place;
use super::show::show;
use crate::chain::endpoint;
use crate::demo::{FINALITY_LAG, JOURNAL, Ports, Setting, World, populate};

use handout::{DEPLOYMENT, Handout};

mod handout;

/// How long a stop may take.
const STOP: Duration = Duration::from_secs(5);

/// Most blocks of `--finality-lag`: a block comes every quarter of a second, so half a minute; full nodes
/// keep no proofs of older blocks either.
const MAX_FINALITY_LAG: u64 = 128;

/// Keep the demo's world up, to try every verb by hand, until Ctrl-C.
///
/// A dev chain with its contracts, three founders with a vote each, a node that is a committee of
/// one, and the records of 944 respondents. All keys in it are public.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  collective dev --data world\n  collective dev --data world --without-node\n  collective dev time 3601"
)]
pub struct Dev {
    #[command(subcommand)]
    verb: Option<DevVerb>,
    /// Keep everything in this folder; a temporary one if not given. A world that is there is reopened as it
    /// was left.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Remove the world that is in the folder, and found another.
    #[arg(long, requires = "data")]
    fresh: bool,
    /// Port of the node; 0 takes any.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Port of the chain's JSON-RPC; 0 takes any.
    #[arg(long, default_value_t = 8545)]
    rpc_port: u16,
    /// Blocks that must stand on a block before it is final; Ethereum's are 64 to 95.
    #[arg(long, value_name = "BLOCKS", default_value_t = FINALITY_LAG, value_parser = clap::value_parser!(u64).range(..=MAX_FINALITY_LAG))]
    finality_lag: u64,
    /// Stop the node once the world is made: `collective node --config DIR/node.toml` takes its place.
    #[arg(long)]
    without_node: bool,
    /// Found a collective that takes files without sender proof, as any age client makes them.
    #[arg(long)]
    accept_unproven: bool,
    /// Print one JSON document with addresses and files.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum DevVerb {
    Time(Time),
}

/// Mine a block that is later than the newest one, so that a voting period or a notice passes.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  collective dev time 3601")]
struct Time {
    /// How much later.
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// JSON-RPC endpoint of the dev chain.
    #[arg(
        long,
        value_name = "URL",
        env = "COLLECTIVE_RPC",
        default_value = "http://127.0.0.1:8545"
    )]
    rpc: Url,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Dev {
    pub async fn run(self) -> Result<bool> {
        match self.verb {
            Some(DevVerb::Time(time)) => time.run().await,
            None => self.stay().await,
        }
    }

    async fn stay(self) -> Result<bool> {
        let temporary = tempfile::tempdir().context("making a temporary folder")?;
        let folder = match &self.data {
            Some(folder) => folder.clone(),
            None => temporary.path().join("world"),
        };
        let ports = Ports {
            rpc: self.rpc_port,
            node: self.port,
        };
        if self.fresh {
            clear(&folder)?;
        }
        let (mut world, handout) = match contents(&folder)? {
            Contents::Nothing => self.found(&folder, ports).await?,
            Contents::World => self.reopen(&folder, ports).await?,
            Contents::Part => bail!(
                "{} holds a world that was not finished: --fresh founds it anew",
                folder.display()
            ),
            Contents::Other => bail!(
                "{} holds something else than a world of `dev`: name a new folder",
                folder.display()
            ),
        };
        if self.without_node
            && let Some(node) = world.node.take()
        {
            let _ = tokio::time::timeout(STOP, node.stop()).await;
        }
        handout.print(self.json, self.without_node)?;
        until_told_to_stop().await?;
        eprintln!("stopping");
        if let Some(node) = world.node.take() {
            let _ = tokio::time::timeout(STOP, node.stop()).await;
        }
        Ok(true)
    }
}

impl Dev {
    async fn found(&self, folder: &Path, ports: Ports) -> Result<(World, Handout)> {
        std::fs::create_dir_all(folder)?;
        eprintln!("founding a collective, and 944 respondents contribute");
        let setting = Setting {
            finality_lag: self.finality_lag,
            sender_proof: !self.accept_unproven,
            sole: true,
        };
        let world = World::found(folder, ports, setting).await?;
        populate(&world).await?;
        let handout = Handout::write(&world, folder)?;
        Ok((world, handout))
    }

    async fn reopen(&self, folder: &Path, ports: Ports) -> Result<(World, Handout)> {
        eprintln!("reopening the world in {}", folder.display());
        let deployment = place::deployment(&folder.join(DEPLOYMENT))?;
        let (lag, with_node) = (self.finality_lag, !self.without_node);
        let world = World::reopen(folder, deployment, ports, lag, with_node).await?;
        let handout = Handout::of(&world, folder)?;
        Ok((world, handout))
    }
}

/// What a folder holds.
enum Contents {
    /// It is not there, or empty.
    Nothing,
    /// A world that was finished.
    World,
    /// A world whose founding stopped in the middle.
    Part,
    /// Anything else.
    Other,
}

fn contents(folder: &Path) -> Result<Contents> {
    let looking = || format!("looking at {}", folder.display());
    if !folder.exists() {
        return Ok(Contents::Nothing);
    }
    let mut entries = std::fs::read_dir(folder).with_context(looking)?;
    Ok(match entries.next() {
        None => Contents::Nothing,
        Some(_) if !folder.join(JOURNAL).exists() => Contents::Other,
        Some(_) if folder.join(DEPLOYMENT).exists() => Contents::World,
        Some(_) => Contents::Part,
    })
}

/// Removes what `dev` made in a folder, if it is a world that no process has open.
fn clear(folder: &Path) -> Result<()> {
    let path = folder.join(JOURNAL);
    if !path.exists() {
        return Ok(());
    }
    let clearing = || format!("removing the world in {}", folder.display());
    let journal = std::fs::File::open(&path).with_context(clearing)?;
    ensure!(
        journal.try_lock().is_ok(),
        "the world in {} is open in another process: stop that first",
        folder.display()
    );
    // The journal last: what is left of a removal that stops in the middle can be removed.
    for name in Handout::FILES.into_iter().chain(["node", JOURNAL]) {
        let path = folder.join(name);
        let removed = if path.is_dir() {
            std::fs::remove_dir_all(&path)
        } else if path.exists() {
            std::fs::remove_file(&path)
        } else {
            Ok(())
        };
        removed.with_context(|| format!("removing {}", path.display()))?;
    }
    Ok(())
}

impl Time {
    async fn run(self) -> Result<bool> {
        let provider = ProviderBuilder::new().connect_client(endpoint::client(self.rpc));
        let newest = provider.get_block(BlockId::latest()).await?;
        let newest = newest.context("the chain has no block")?.header.timestamp;
        let later = newest
            .checked_add(self.seconds)
            .context("that is past the end of time")?;
        let _: Value = provider
            .raw_request("evm_setNextBlockTimestamp".into(), [later])
            .await
            .context("only a development chain lets its time be set")?;
        let _: Value = provider.raw_request("evm_mine".into(), ()).await?;
        let value = json!({ "time": later });
        show(self.json, &value, &[("time", later.to_string())])?;
        Ok(true)
    }
}
