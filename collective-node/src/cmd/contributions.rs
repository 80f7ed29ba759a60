//! `collective contributions`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use collective::approval::Recipient;
use collective::contribution::AnchorReceipt;
use collective::id::Leaf;
use collective::index::Void;
use collective::input::Withdrawn;

use super::contribute::placed;
use super::place::{MaybeChainAt, NodeAt};
use super::secret;
use super::show::{on_one_line, show};
use crate::blobs::Blobs;
use crate::client::Client;
use crate::http::ContributionState;
use crate::rewards::Inputs;
use crate::verify::{self, Use, Uses};

use anchor::Anchor;

mod anchor;

/// Between two questions to the node.
const PAUSE: Duration = Duration::from_millis(250);

/// Show where a contribution stands, keep its receipt, see who used it, anchor it without the node, or move it.
///
/// A node opens nothing before its release is on chain, so with --uses the list is complete up to the block that it names. With
/// --rpc and --deployment the releases are read from the chain and each input set is checked against them; otherwise it is the
/// node's word.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:
  collective contributions 0x3c…9a --wait --receipt receipt.json
  collective contributions 0x3c…9a --uses --rpc http://127.0.0.1:8545 --deployment deployment.json
  collective contributions anchor 0x3c…9a --key me.key
  collective contributions place 0x3c…9a --place https://other.example/record.age --key me.key"
)]
pub struct Contributions {
    #[command(subcommand)]
    verb: Option<ContributionsVerb>,
    /// What `contribute` printed.
    #[arg(required = true)]
    leaf: Option<Leaf>,
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

#[derive(Debug, Subcommand)]
enum ContributionsVerb {
    Anchor(Anchor),
    Place(Moved),
}

/// Say where the sealed file of a contribution is from now on, if its contributor keeps it.
///
/// The node looks whether it is there before it forgets the old place.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  collective contributions place 0x3c…9a --place https://other.example/record.age --key me.key"
)]
struct Moved {
    /// What `contribute` printed.
    leaf: Leaf,
    /// Where the node finds the sealed file; nobody else is told. As of `contribute --place`: https://…, with an app password for WebDAV
    /// that can read that file and no more; s3://KEY:SECRET@HOST/BUCKET/…?region=…; or ipfs://CID/….
    #[arg(long, value_name = "URL")]
    place: String,
    /// Key file of the contributor's account.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    #[command(flatten)]
    node: NodeAt,
    #[command(flatten)]
    chain: MaybeChainAt,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Moved {
    async fn run(self) -> Result<bool> {
        let account = secret::account(&self.key)?;
        let client = self.node.client()?;
        let deployment = match self.chain.deployment()? {
            Some(deployment) => deployment,
            None => client.collective().await?.deployment,
        };
        let place = placed(&deployment, &account, self.leaf, &self.place)?;
        let moved = client.move_to(&place).await?;
        show(self.json, &moved, &[("moved", self.leaf.to_string())])?;
        Ok(true)
    }
}

impl Contributions {
    pub async fn run(self) -> Result<bool> {
        match self.verb {
            Some(ContributionsVerb::Anchor(anchor)) => return anchor.run().await,
            Some(ContributionsVerb::Place(moved)) => return moved.run().await,
            None => {}
        }
        let leaf = self.leaf.context("clap requires a leaf")?;
        let client = self.node.client()?;
        if self.uses {
            return self.used(leaf, client).await;
        }
        let asked = async {
            loop {
                let answer = client.contribution(leaf).await?;
                if self.wait.is_none() || !matches!(answer.state, ContributionState::Held) {
                    return anyhow::Ok(answer);
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        let patience = Duration::from_secs(self.wait.unwrap_or(60));
        let answer = tokio::time::timeout(patience, asked)
            .await
            .context("it is in no batch yet; `contributions anchor` does without the node")??;
        let mut rows = vec![
            ("leaf", leaf.to_string()),
            ("state", in_words(&answer.state)),
        ];
        let receipt = answer.state.receipt();
        if let Some(receipt) = &receipt {
            let contribution = &receipt.entry().contribution;
            rows.push(("contributor", contribution.contributor.to_string()));
            rows.push(("nonce", contribution.nonce.to_string()));
            if let AnchorReceipt::Batch(receipt) = receipt {
                rows.push(("batch root", receipt.root.to_string()));
            }
            if let Some(path) = &self.receipt {
                std::fs::write(path, serde_json::to_vec_pretty(receipt)?)
                    .with_context(|| format!("writing {}", path.display()))?;
            }
        }
        show(self.json, &answer, &rows)?;
        let missing = self.receipt.is_some() && receipt.is_none();
        if missing {
            eprintln!("collective: there is no receipt yet; --wait waits for it");
        }
        Ok(!missing)
    }

    /// Says by the exit code whether nothing is left that may have read it unseen.
    async fn used(&self, leaf: Leaf, client: Client) -> Result<bool> {
        let uses = match self.chain.reader().await? {
            Some(chain) => {
                let blobs = Blobs::of_node(client.clone());
                verify::uses(&chain, &blobs, &[leaf].into(), Inputs::Node(&client)).await?
            }
            None => client.uses(leaf).await?,
        };
        ensure!(
            uses.uses.iter().all(|one| one.holds(leaf)),
            "the node gave a path that does not lead to what was released"
        );
        let mut rows = vec![("contribution", leaf.to_string())];
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

fn in_words(state: &ContributionState) -> String {
    match state {
        ContributionState::Held => "held, in no batch yet".to_owned(),
        ContributionState::Batched { void, .. } => counting("batched", *void),
        ContributionState::Direct { block, void, .. } => counting(
            &format!("anchored by its contributor in block {block}"),
            *void,
        ),
        ContributionState::Withdrawn {
            why,
            block,
            dropped,
            ..
        } => withdrawn(*why, *block, *dropped),
    }
}

fn counting(stands: &str, void: Option<Void>) -> String {
    let Some(void) = void else {
        return stands.to_owned();
    };
    let why = match void {
        Void::Header => "its header breaks a rule",
        Void::TakenOver => "another key had taken the account over before it was anchored",
        Void::Unproven => "it has no sender proof, and the collective requires one",
        Void::OldKey => "it is sealed to a key that the collective has replaced",
        Void::PointTaken => "another contribution has its ephemeral point",
    };
    format!("{stands}, and counts for nothing: {why}")
}

fn withdrawn(why: Withdrawn, block: u64, dropped: bool) -> String {
    let why = match why {
        Withdrawn::Revoked => "revoked",
        Withdrawn::Expired => "its terms have ended",
    };
    let file = match dropped {
        true => "the node has dropped the file",
        false => "the node drops the file once no job that was leased before may read it",
    };
    format!("withdrawn ({why}), final in block {block}; {file}")
}

/// A use in words.
pub fn words(one: &Use) -> String {
    let recipient = match &one.recipient {
        Recipient::Age(text) => on_one_line(text),
        Recipient::Node { id, .. } => format!("node {id}"),
    };
    let paid = match one.share {
        Some(share) => format!("{share} of token {} for each", one.token),
        None => format!("paid in token {} by the bytes of each", one.token),
    };
    let receipt = match one.receipt {
        Some(receipt) => format!("receipt {receipt}"),
        None => "no receipt yet".to_owned(),
    };
    format!(
        "job {}, {:?}: {} by program {} for {recipient}, with {} contributors; {paid}; {receipt}",
        one.job, one.state, one.purpose, one.program, one.contributors
    )
}
