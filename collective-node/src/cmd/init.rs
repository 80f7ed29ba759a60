//! `collective init`.

use std::path::PathBuf;

use alloy::primitives::{Address, utils::format_ether};
use alloy::providers::Provider;
use anyhow::{Context, Result, ensure};
use clap::{ArgGroup, Args};
use devchain::DEV_CHAIN_ID;
use url::Url;

use super::show::show;
use super::{place, secret};
use crate::chain::{Account, Deployment, endpoint};
use crate::founding::{Founding, Plan, Singletons, Voting};
use crate::keystore::write_new;

/// Votes are seconds: a day's vote an hour after the proposal, and two days in which who disagrees can leave.
const DELAY: u32 = 3_600;
const PERIOD: u32 = 86_400;
const NOTICE: u32 = 172_800;

/// Percent of all votes that must take part.
const QUORUM: u8 = 50;

/// Most founders: their memberships are minted in one transaction, at about 120,000 gas each.
const MAX_FOUNDERS: usize = 100;

/// Found a collective on a chain: deploy its contracts and give all power over them to its members' votes.
///
/// Each step is written down beside the deployment file before it is taken. Where something fails in the
/// middle, the same command goes on from there. The account that pays has no power afterwards; it must
/// send nothing else meanwhile.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("money").required(true),
    after_help = "Examples:
  collective init --rpc https://rpc.example --key payer.key --token 0xA0b8…eB48 \\
      --founder 0x7099…79C8 --founder 0x3C44…93BC --registries others.json
  collective init --rpc http://127.0.0.1:8545 --key payer.key --demo-token --founder 0x7099…79C8"
)]
pub struct Init {
    /// JSON-RPC endpoint of the chain.
    #[arg(long, value_name = "URL", env = "COLLECTIVE_RPC")]
    rpc: Url,
    /// Key file of the account that pays.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// A first member, with one vote; repeat it for each.
    #[arg(long = "founder", value_name = "ADDRESS", required = true)]
    founders: Vec<Address>,
    /// ERC-20 token that the collective is paid in.
    #[arg(long, value_name = "ADDRESS", group = "money")]
    token: Option<Address>,
    /// Deploy a token that is worth nothing, all of it the payer's; on development chains only.
    #[arg(long, group = "money")]
    demo_token: bool,
    /// A collective's deployment file on the same chain: its registries, escrow and distributor, which have
    /// no owner, are used rather than deployed again.
    #[arg(long, value_name = "FILE")]
    registries: Option<PathBuf>,
    /// The memberships' name.
    #[arg(long, default_value = "Collective")]
    name: String,
    /// Seconds from a proposal until votes are counted.
    #[arg(long, value_name = "SECONDS", default_value_t = DELAY)]
    voting_delay: u32,
    /// Seconds for which a vote is open.
    #[arg(long, value_name = "SECONDS", default_value_t = PERIOD, value_parser = clap::value_parser!(u32).range(1..))]
    voting_period: u32,
    /// Seconds from a won vote until it takes effect.
    #[arg(long, value_name = "SECONDS", default_value_t = NOTICE)]
    notice: u32,
    /// Percent of all votes that must take part.
    #[arg(long, value_name = "PERCENT", default_value_t = QUORUM, value_parser = clap::value_parser!(u8).range(1..=100))]
    quorum: u8,
    /// Where to write the deployment, which every other verb reads; a file that exists is not overwritten.
    #[arg(
        long,
        value_name = "FILE",
        env = "COLLECTIVE_DEPLOYMENT",
        default_value = "deployment.json"
    )]
    deployment: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Init {
    pub async fn run(self) -> Result<bool> {
        let file = &self.deployment;
        ensure!(
            !file.exists(),
            "{} exists, so a collective is founded there already: name another file",
            file.display()
        );
        let account = secret::account(&self.key)?;
        let deployer = account.address();
        let by = Account::new(account).provider(endpoint::client(self.rpc.clone()));
        let chain_id = by.get_chain_id().await;
        let chain_id = chain_id.with_context(|| format!("asking {}", self.rpc))?;
        let plan = self.plan(chain_id, deployer)?;
        let money = by.get_balance(deployer).await?;
        ensure!(
            !money.is_zero(),
            "account {deployer} has nothing on chain {chain_id} to pay the gas with"
        );
        eprintln!(
            "founding on chain {chain_id}, paid by {deployer}, which has {} ether",
            format_ether(money)
        );

        let mut progress = file.clone().into_os_string();
        progress.push(".unfinished");
        let progress = PathBuf::from(progress);
        let mut founding = Founding::resume(plan, &by, &progress).await?;
        for (contract, address) in founding.contracts() {
            eprintln!("begun before: {contract} at {address}");
        }
        let deployment = founding.complete(&by).await.with_context(|| {
            format!(
                "what is deployed stands in {}; the same command goes on",
                progress.display()
            )
        })?;
        write_new(file, &serde_json::to_vec_pretty(&deployment)?)?;
        std::fs::remove_file(&progress)
            .with_context(|| format!("removing {}", progress.display()))?;
        self.tell(&deployment)
    }

    fn plan(&self, chain_id: u64, deployer: Address) -> Result<Plan> {
        let count = self.founders.len();
        ensure!(
            count <= MAX_FOUNDERS,
            "{count} founders are more than {MAX_FOUNDERS}: found with fewer, who then admit the others"
        );
        for (index, founder) in self.founders.iter().enumerate() {
            ensure!(
                !founder.is_zero() && !self.founders[..index].contains(founder),
                "founder {founder} is nobody, or stands twice: one member, one vote"
            );
        }
        ensure!(
            !self.demo_token || chain_id == DEV_CHAIN_ID,
            "--demo-token is for development chains (id {DEV_CHAIN_ID}); on chain {chain_id} name an \
             ERC-20 with --token"
        );
        let singletons = match &self.registries {
            None => None,
            Some(path) => {
                let other = place::deployment(path)?;
                ensure!(
                    other.chain_id == chain_id,
                    "{} is of chain {}, the endpoint serves chain {chain_id}",
                    path.display(),
                    other.chain_id
                );
                Some(Singletons::from(&other))
            }
        };
        Ok(Plan {
            chain_id,
            deployer,
            name: self.name.clone(),
            founders: self.founders.clone(),
            voting: Voting {
                delay: self.voting_delay,
                period: self.voting_period,
                notice: self.notice,
                quorum: self.quorum,
            },
            singletons,
            token: self.token,
        })
    }

    fn tell(&self, deployment: &Deployment) -> Result<bool> {
        let file = self.deployment.display();
        let address = |address: Address| address.to_string();
        let rows = [
            ("collective", address(deployment.collective)),
            ("governor", address(deployment.governor)),
            ("membership", address(deployment.membership)),
            ("contributions", address(deployment.contributions)),
            ("code", address(deployment.code)),
            ("nodes", address(deployment.nodes)),
            ("escrow", address(deployment.escrow)),
            ("rewards", address(deployment.rewards)),
            ("liveness", address(deployment.liveness)),
            ("token", address(deployment.token)),
            ("chain", deployment.chain_id.to_string()),
            ("first block", deployment.first_block.to_string()),
            ("file", file.to_string()),
        ];
        show(self.json, deployment, &rows)?;
        eprintln!(
            "\nNext:
  export COLLECTIVE_RPC={} COLLECTIVE_DEPLOYMENT={file}
  collective key new node keys.age          # then send its account some ether for gas
  collective node register --keys keys.age  # enters it on chain, writes node.toml
  collective node --config node.toml
  collective charter new charter.json --source SOURCE.json --open
  collective propose --charter charter.json --accept-node NODE --accept-committee HASH --key FOUNDER.key
  collective vote PROPOSAL for …            # then `proposal queue PROPOSAL` and `proposal execute PROPOSAL`",
            self.rpc
        );
        Ok(true)
    }
}
