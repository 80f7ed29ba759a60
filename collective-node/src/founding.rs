//! Founding a collective: its contracts are deployed, and nobody but its votes has power over them.
//!
//! Owns the order of the steps and what is remembered when the work stops in the middle: an address
//! is written down before its contract is sent, so a second run takes what is there and goes on.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use alloy::contract::{CallBuilder, CallDecoder};
use alloy::primitives::aliases::U48;
use alloy::primitives::{Address, B256, U256, keccak256};
use alloy::providers::{DynProvider, Provider};
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::chain::{Chain, Deployment};
use collective_contracts::{
    CodeRegistry, CollectiveGovernor, ContributionRegistry, DemoToken, JobEscrow, LivenessRegistry,
    Membership, NodeRegistry, RewardDistributor, TimelockController,
};

/// One unit of the demo token, which has six decimals.
pub const UNIT: u64 = 1_000_000;

/// Demo tokens that there are, all of them the deployer's.
const DEMO_SUPPLY: u64 = 1_000_000 * UNIT;

/// The part of the voting period that is left at least once the quorum is reached, so that nobody wins
/// with a ballot in the last second: a sixth.
const LATE_QUORUM_PART: u32 = 6;

/// How a collective decides; times in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voting {
    /// From a proposal until votes are counted.
    pub delay: u32,
    /// For which a vote is open.
    pub period: u32,
    /// From a won vote until it takes effect.
    pub notice: u32,
    /// Percent of all votes that must take part.
    pub quorum: u8,
}

/// Contracts that all collectives of a chain share; they have no owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Singletons {
    /// CodeRegistry.
    pub code: Address,
    /// ContributionRegistry.
    pub contributions: Address,
    /// NodeRegistry.
    pub nodes: Address,
    /// RewardDistributor.
    pub rewards: Address,
    /// JobEscrow.
    pub escrow: Address,
    /// LivenessRegistry.
    pub liveness: Address,
}

/// What is to be founded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Who pays, and has no power afterwards.
    pub deployer: Address,
    /// The memberships' name.
    pub name: String,
    /// First members, one vote each.
    pub founders: Vec<Address>,
    /// How they decide.
    pub voting: Voting,
    /// Shared contracts that are there already; `None` deploys them.
    pub singletons: Option<Singletons>,
    /// ERC-20 that the collective is paid in; `None` deploys one that is worth nothing.
    pub token: Option<Address>,
}

/// A plan and how far it is carried out.
#[derive(Debug, Serialize, Deserialize)]
pub struct Founding {
    plan: Plan,
    /// The newest block when the work began.
    first_block: u64,
    /// Contract to the address at which it is or was about to be.
    contracts: BTreeMap<String, Address>,
    #[serde(skip)]
    kept: Option<PathBuf>,
}

impl From<&Deployment> for Singletons {
    fn from(deployment: &Deployment) -> Self {
        Self {
            code: deployment.code,
            contributions: deployment.contributions,
            nodes: deployment.nodes,
            rewards: deployment.rewards,
            escrow: deployment.escrow,
            liveness: deployment.liveness,
        }
    }
}

impl Founding {
    /// Begins, remembering nothing on disk.
    ///
    /// # Errors
    /// Where the chain does not answer.
    pub async fn begin(plan: Plan, by: &DynProvider) -> Result<Self> {
        Ok(Self {
            plan,
            first_block: by.get_block_number().await?,
            contracts: BTreeMap::new(),
            kept: None,
        })
    }

    /// Goes on with what the file at `path` remembers, or begins one there.
    ///
    /// # Errors
    /// Where the file remembers another plan.
    pub async fn resume(plan: Plan, by: &DynProvider, path: &Path) -> Result<Self> {
        let mut founding = if path.exists() {
            let file =
                std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
            let begun: Self = serde_json::from_slice(&file)
                .with_context(|| format!("{} is no founding", path.display()))?;
            ensure!(
                begun.plan == plan,
                "{} remembers a founding with other founders, terms, token, account or chain: give \
                 the same again to go on with it, or move the file away to begin anew",
                path.display()
            );
            begun
        } else {
            Self::begin(plan, by).await?
        };
        founding.kept = Some(path.to_owned());
        founding.keep()?;
        Ok(founding)
    }

    /// Contracts that are deployed, or were about to be when the work stopped.
    pub fn contracts(&self) -> &BTreeMap<String, Address> {
        &self.contracts
    }

    /// Carries the plan out, leaving out what is done; `by` signs for the plan's deployer, who sends
    /// nothing else meanwhile.
    ///
    /// # Errors
    /// Whatever the chain refuses; a second call goes on.
    pub async fn complete(&mut self, by: &DynProvider) -> Result<Deployment> {
        // What is named is looked at before anything is paid for.
        if let Some(token) = self.plan.token {
            let supply = DemoToken::new(token, by).totalSupply().call().await;
            supply.with_context(|| format!("{token} does not answer as an ERC-20 token does"))?;
        }
        let singletons = match self.plan.singletons {
            Some(singletons) => singletons,
            None => self.singletons(by).await?,
        };
        check_singletons(by, &singletons)
            .await
            .context("checking the shared contracts")?;
        let (collective, membership, governor) = self.government(by).await?;
        self.hand_over(by, collective, governor).await?;
        let token = self.token(by).await?;
        self.check_powers(by, collective, membership, governor)
            .await?;
        Ok(Deployment {
            chain_id: self.plan.chain_id,
            collective,
            governor,
            membership,
            contributions: singletons.contributions,
            code: singletons.code,
            nodes: singletons.nodes,
            escrow: singletons.escrow,
            rewards: singletons.rewards,
            liveness: singletons.liveness,
            token,
            first_block: self.first_block,
        })
    }

    async fn singletons(&mut self, by: &DynProvider) -> Result<Singletons> {
        let call = CodeRegistry::deploy_builder(by);
        let code = self.contract("CodeRegistry", by, call).await?;
        let call = ContributionRegistry::deploy_builder(by);
        let contributions = self.contract("ContributionRegistry", by, call).await?;
        let call = NodeRegistry::deploy_builder(by);
        let nodes = self.contract("NodeRegistry", by, call).await?;
        let call = RewardDistributor::deploy_builder(by, code, nodes, contributions);
        let rewards = self.contract("RewardDistributor", by, call).await?;
        let call = JobEscrow::deploy_builder(by, code, nodes, rewards);
        let escrow = self.contract("JobEscrow", by, call).await?;
        let call = LivenessRegistry::deploy_builder(by, code, contributions, rewards);
        let liveness = self.contract("LivenessRegistry", by, call).await?;
        Ok(Singletons {
            code,
            contributions,
            nodes,
            rewards,
            escrow,
            liveness,
        })
    }

    /// The timelock, which is the collective, its memberships, and the governor.
    async fn government(&mut self, by: &DynProvider) -> Result<(Address, Address, Address)> {
        let Plan {
            deployer,
            name,
            founders,
            voting,
            ..
        } = self.plan.clone();
        // Nobody may propose yet, anybody may execute what was decided.
        let notice = U256::from(voting.notice);
        let (proposers, executors) = (vec![], vec![Address::ZERO]);
        let call = TimelockController::deploy_builder(by, notice, proposers, executors, deployer);
        let collective = self.contract("TimelockController", by, call).await?;
        let call = Membership::deploy_builder(by, name, "VOTE".into(), collective, founders);
        let membership = self.contract("Membership", by, call).await?;
        let call = CollectiveGovernor::deploy_builder(
            by,
            membership,
            collective,
            U48::from(voting.delay),
            voting.period,
            U256::from(voting.quorum),
            U48::from(voting.period / LATE_QUORUM_PART),
        );
        let governor = self.contract("CollectiveGovernor", by, call).await?;
        Ok((collective, membership, governor))
    }

    /// Gives the governor its roles and takes the deployer's away, in this order.
    async fn hand_over(
        &self,
        by: &DynProvider,
        collective: Address,
        governor: Address,
    ) -> Result<()> {
        let timelock = TimelockController::new(collective, by);
        for role in ["PROPOSER_ROLE", "CANCELLER_ROLE"] {
            let role = keccak256(role);
            if !timelock.hasRole(role, governor).call().await? {
                let call = timelock.grantRole(role, governor);
                Chain::mined(call.send().await?).await?;
            }
        }
        let deployer = self.plan.deployer;
        if timelock.hasRole(B256::ZERO, deployer).call().await? {
            let call = timelock.renounceRole(B256::ZERO, deployer);
            Chain::mined(call.send().await?).await?;
        }
        Ok(())
    }

    async fn token(&mut self, by: &DynProvider) -> Result<Address> {
        if let Some(token) = self.plan.token {
            return Ok(token);
        }
        let (holders, amounts) = (vec![self.plan.deployer], vec![U256::from(DEMO_SUPPLY)]);
        let (name, symbol) = ("Demo dollar".into(), "DUSD".into());
        let call = DemoToken::deploy_builder(by, name, symbol, holders, amounts);
        self.contract("DemoToken", by, call).await
    }

    /// Reads back from the chain what members rely on.
    async fn check_powers(
        &self,
        by: &DynProvider,
        collective: Address,
        membership: Address,
        governor: Address,
    ) -> Result<()> {
        let timelock = TimelockController::new(collective, by);
        let deployer = self.plan.deployer;
        for role in [B256::ZERO, keccak256("PROPOSER_ROLE")] {
            ensure!(
                !timelock.hasRole(role, deployer).call().await?,
                "the deployer kept power over the timelock"
            );
        }
        let rules = CollectiveGovernor::new(governor, by);
        let members = Membership::new(membership, by);
        ensure!(
            timelock
                .hasRole(keccak256("PROPOSER_ROLE"), governor)
                .call()
                .await?
                && rules.timelock().call().await? == collective
                && rules.token().call().await? == membership
                && members.collective().call().await? == collective
                && timelock.getMinDelay().call().await? == U256::from(self.plan.voting.notice),
            "timelock, memberships and governor do not belong together: did the account send \
             something else meanwhile? Move the progress file away and begin anew"
        );
        for &founder in &self.plan.founders {
            ensure!(
                members.getVotes(founder).call().await? == U256::ONE,
                "founder {founder} has no vote"
            );
        }
        Ok(())
    }

    /// The contract of this name: the one that was deployed already, or a new one.
    async fn contract<P: Provider, D: CallDecoder>(
        &mut self,
        name: &str,
        by: &DynProvider,
        call: CallBuilder<P, D>,
    ) -> Result<Address> {
        if let Some(&address) = self.contracts.get(name)
            && !by.get_code_at(address).await?.is_empty()
        {
            return Ok(address);
        }
        let deployer = self.plan.deployer;
        let nonce = by.get_transaction_count(deployer).pending().await?;
        let address = deployer.create(nonce);
        // First written, then sent: a contract is never paid for twice.
        self.contracts.insert(name.to_owned(), address);
        self.keep()?;
        let sent = call.nonce(nonce).send().await;
        let sent = sent.with_context(|| format!("deploying {name}"))?;
        Chain::mined(sent)
            .await
            .with_context(|| format!("deploying {name}"))?;
        tracing::info!(name, %address, "deployed");
        Ok(address)
    }

    fn keep(&self) -> Result<()> {
        let Some(path) = &self.kept else {
            return Ok(());
        };
        let keeping = || format!("writing {}", path.display());
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let mut file = tempfile::NamedTempFile::new_in(folder).with_context(keeping)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)
            .and_then(|()| file.as_file().sync_all())
            .with_context(keeping)?;
        file.persist(path).with_context(keeping)?;
        Ok(())
    }
}

/// Whether shared contracts say that they are what they are taken for, and know each other.
async fn check_singletons(by: &DynProvider, singletons: &Singletons) -> Result<()> {
    let Singletons {
        code,
        contributions,
        nodes,
        rewards,
        escrow,
        liveness,
    } = *singletons;
    for (address, name) in [
        (contributions, "ContributionRegistry"),
        (nodes, "NodeRegistry"),
        (rewards, "RewardDistributor"),
        (escrow, "JobEscrow"),
    ] {
        // The domain of ERC-5267 has one shape, whichever contract is asked.
        let said = NodeRegistry::new(address, by).eip712Domain().call().await;
        let said = said.with_context(|| format!("there is no {name} at {address}"))?;
        ensure!(
            said.name == name && said.verifyingContract == address,
            "the contract at {address} calls itself {}, not {name}",
            said.name
        );
    }
    ensure!(
        !by.get_code_at(code).await?.is_empty(),
        "there is no CodeRegistry at {code}"
    );
    // What a contract was deployed with stands as words in its code: these have no getters.
    for (address, name, knows) in [
        (
            rewards,
            "RewardDistributor",
            &[code, nodes, contributions][..],
        ),
        (escrow, "JobEscrow", &[code, nodes, rewards]),
        (
            liveness,
            "LivenessRegistry",
            &[code, contributions, rewards],
        ),
    ] {
        let bytes = by.get_code_at(address).await?;
        for known in knows {
            ensure!(
                bytes.windows(32).any(|word| word == known.into_word()),
                "{name} at {address} was deployed for another contract than {known}"
            );
        }
    }
    Ok(())
}
