//! A whole collective on one machine: dev chain, contracts, founders, a node that is a committee of
//! one. `demo` tells its story in it, `dev` keeps it up, the story tests start from it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use alloy::eips::BlockId;
use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, B256, Bytes as CallData, U256, keccak256};
use alloy::providers::{DynProvider, Provider};
use alloy::rpc::types::TransactionRequest;
use alloy::signers::local::PrivateKeySigner;
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use collective::admission::AdmissionList;
use collective::charter::Charter;
use collective::id::{BlobId, ContributorId, KeysHash, NodeId};
use collective::receipt::CommitteeStatement;
use devchain::dev_accounts;
use tokio::net::TcpListener;
use zeroize::Zeroizing;

use super::development_chain::DevelopmentChain;
use super::election;
use crate::chain::{Chain, Deployment, signing_provider};
use crate::client::Client;
use crate::governance::{Action, Ballot, Motion, vote};
use crate::keystore::Keystore;
use crate::node::{Node, NodeConfig, blobs};
use crate::sandbox::Layer;
use collective_contracts::{
    CodeRegistry, CollectiveGovernor, ContributionRegistry, DemoToken, JobEscrow, Membership,
    NodeRegistry, RewardDistributor, TimelockController,
};

/// Seconds before a vote opens, for which it stays open, and between success and effect.
pub const VOTING: (u64, u64, u64) = (60, 3_600, 86_400);

/// One unit of the demo's token, which has six decimals.
pub const UNIT: u64 = 1_000_000;

/// Passphrase of the node's keys: nothing here is worth hiding.
pub const PASSPHRASE: &str = "public: this node is a demonstration";

/// The dev chain's journal in a world's folder.
pub const JOURNAL: &str = "chain.journal";

/// The actors and where they act.
pub struct World {
    /// The chain.
    pub chain: DevelopmentChain,
    /// Where the collective lives.
    pub deployment: Deployment,
    /// Who pays for the world: deploys, mints, warps time.
    pub deployer: PrivateKeySigner,
    /// Three members with one vote each.
    pub founders: [PrivateKeySigner; 3],
    /// Who wants statistics.
    pub requester: PrivateKeySigner,
    /// The respondents, each with an own account and no money.
    pub contributors: Vec<PrivateKeySigner>,
    /// The node's keys.
    pub keys: Arc<Keystore>,
    /// The node in NodeRegistry.
    pub node_id: NodeId,
    /// Where the node keeps its data.
    pub data: PathBuf,
    /// The running node.
    pub node: Option<Node>,
    /// To talk to it.
    pub client: Client,
}

/// Ports of 127.0.0.1 to listen at; 0 takes any that is free.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ports {
    /// The chain's JSON-RPC.
    pub rpc: u16,
    /// The node.
    pub node: u16,
}

/// Gas of the calls that one approval costs.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct GovernanceGas {
    /// One ballot.
    pub vote: u64,
    /// Into the timelock.
    pub queue: u64,
    /// The approval itself.
    pub execute: u64,
}

impl World {
    /// Starts a chain, deploys, makes the committee of one and has all of it voted on.
    ///
    /// # Errors
    /// Whatever does not work, with what was being done.
    pub async fn found(
        folder: &Path,
        required_layers: Vec<Layer>,
        ports: Ports,
        finality_lag: u64,
    ) -> Result<Self> {
        // Both first: a port that is taken is found before anything is made.
        let rpc_listener = listen(ports.rpc, "JSON-RPC").await?;
        let node_listener = listen(ports.node, "the node").await?;
        let chain = DevelopmentChain::own(&folder.join(JOURNAL), rpc_listener, finality_lag)?;
        Self::found_on(chain, folder, required_layers, node_listener).await
    }

    /// The same on a chain that runs already, with the accounts that every development chain funds.
    ///
    /// # Errors
    /// Whatever does not work, with what was being done.
    pub async fn found_on(
        chain: DevelopmentChain,
        folder: &Path,
        required_layers: Vec<Layer>,
        node_listener: TcpListener,
    ) -> Result<Self> {
        let data = folder.join("node");
        std::fs::create_dir_all(&data).context("making the data folder")?;
        let accounts = dev_accounts();
        let deployer = accounts[0].clone();
        let founders = [
            accounts[1].clone(),
            accounts[2].clone(),
            accounts[3].clone(),
        ];
        let requester = accounts[4].clone();
        let provider = signing_provider(chain.client(), deployer.clone());
        let deployment = deploy(&provider, &deployer, &founders)
            .await
            .context("deploying")?;
        let passphrase = Zeroizing::new(PASSPHRASE.to_owned());
        let keys = Keystore::create(&data.join("keys.age"), passphrase, None, &mut rand::rng())?;
        let contributors = election::accounts();
        let mut world = Self {
            client: Client::new(chain.url().clone())?,
            chain,
            deployment,
            deployer,
            founders,
            requester,
            contributors,
            keys: Arc::new(keys),
            node_id: NodeId(B256::ZERO),
            data,
            node: None,
        };
        world.fund().await.context("handing out money")?;
        world
            .constitute()
            .await
            .context("making the committee and voting on it")?;
        world
            .start_node(required_layers, node_listener)
            .await
            .context("starting the node")?;
        Ok(world)
    }

    /// An alloy provider that signs for `account`.
    pub fn provider(&self, account: &PrivateKeySigner) -> DynProvider {
        signing_provider(self.chain.client(), account.clone())
    }

    /// Mines a block that is `seconds` later than the newest one.
    ///
    /// # Errors
    /// Past the end of the year 9999.
    pub async fn wait(&self, seconds: u64) -> Result<()> {
        let provider = self.provider(&self.deployer);
        let newest = provider
            .get_block(BlockId::latest())
            .await?
            .context("the chain has no block")?;
        let later = newest.header.timestamp + seconds;
        self.chain.mine_at(later).await
    }

    /// The collective's charter: one source, the respondents admitted.
    pub fn charter(&self) -> Charter {
        let ids = self
            .contributors
            .iter()
            .map(|account| ContributorId::from_address(account.address()));
        let list = AdmissionList::new(ids).expect("there are respondents");
        Charter {
            sources: vec![election::source()],
            admission: Some(list),
        }
    }

    /// Proposes, has every founder vote for it, waits for the notice to pass, executes.
    ///
    /// # Errors
    /// What the Governor or the timelock refuses.
    pub async fn decide(&self, motion: &Motion) -> Result<GovernanceGas> {
        let (delay, period, notice) = VOTING;
        // Votes count from the second after they were given.
        self.wait(1).await?;
        let by = self.provider(&self.founders[0]);
        let id = motion
            .propose(&by, &self.deployment)
            .await
            .context("proposing")?;
        self.wait(delay + 1).await?;
        let mut gas = GovernanceGas::default();
        for founder in &self.founders {
            let by = self.provider(founder);
            gas.vote = vote(&by, &self.deployment, id, Ballot::For)
                .await
                .context("voting")?;
        }
        self.wait(period + 1).await?;
        gas.queue = motion
            .queue(&by, &self.deployment)
            .await
            .context("queueing")?;
        self.wait(notice + 1).await?;
        gas.execute = motion
            .execute(&by, &self.deployment)
            .await
            .context("executing")?;
        self.settle_in().await?;
        Ok(gas)
    }

    /// Waits until the node's index has reached the block that is newest now.
    ///
    /// # Errors
    /// After a minute.
    pub async fn settle_in(&self) -> Result<()> {
        let Some(node) = &self.node else {
            return Ok(());
        };
        let head = self.provider(&self.deployer).get_block_number().await?;
        self.chain.finalize().await?;
        let mut view = node.view();
        let reached = view.wait_for(|view| view.finalized.number >= head);
        tokio::time::timeout(Duration::from_secs(60), reached)
            .await
            .context("the node's index did not catch up with the chain")??;
        Ok(())
    }

    async fn fund(&self) -> Result<()> {
        let provider = self.provider(&self.deployer);
        let ether = U256::from(10).pow(U256::from(18));
        let money = TransactionRequest::default()
            .with_to(self.keys.address())
            .with_value(U256::from(100) * ether);
        Chain::mined(provider.send_transaction(money).await?).await?;
        let token = DemoToken::new(self.deployment.token, &provider);
        for account in [self.requester.address(), self.keys.address()] {
            let call = token.transfer(account, U256::from(1_000 * UNIT));
            Chain::mined(call.send().await?).await?;
        }
        Ok(())
    }

    /// Registers the node, publishes the committee, and has charter, node and committee voted on.
    async fn constitute(&mut self) -> Result<()> {
        let provider = self.keys.provider(self.chain.client());
        let registry = NodeRegistry::new(self.deployment.nodes, &provider);
        let keys = self.node_keys();
        let salt = B256::ZERO;
        let recipient = self.keys.node_recipient().to_string();
        let call = registry.register(salt, keys, recipient, "http://127.0.0.1".into());
        self.node_id = NodeId(call.call().await?);
        Chain::mined(call.send().await?).await?;
        let keys_hash = KeysHash(registry.keysHash(self.node_id.0).call().await?);

        let recipient = self.keys.collective_recipient().to_string();
        let statement = CommitteeStatement {
            collective: self.deployment.collective,
            epoch: 1,
            threshold: 1,
            sender_proof: true,
            recipient: BlobId::of(recipient.as_bytes()),
            members: vec![self.node_id],
        };
        let digest = statement.signing_hash(self.deployment.chain_id, self.deployment.nodes);
        let signature = CallData::copy_from_slice(&self.keys.sign(digest).as_bytes());
        let committee = NodeRegistry::Committee {
            epoch: statement.epoch,
            threshold: statement.threshold,
            senderProof: statement.sender_proof,
            recipient: statement.recipient.0,
            members: vec![self.node_id.0],
        };
        let call = registry.publishCommittee(
            self.deployment.collective,
            committee,
            recipient,
            vec![signature],
        );
        Chain::mined(call.send().await?).await?;
        self.deposit_bond(&provider).await?;

        let charter = self.charter();
        blobs(&self.data)?
            .put(Bytes::from(charter.to_bytes()))
            .await?;
        let motion = Motion {
            actions: vec![
                Action::admit(&self.deployment, &charter),
                Action::accept_node(&self.deployment, self.node_id, keys_hash),
                Action::accept_committee(&self.deployment, statement.struct_hash()),
            ],
            description: "Admit the 944 respondents; accept the node and its committee of one."
                .into(),
        };
        self.decide(&motion).await?;
        Ok(())
    }

    /// The node's keys as NodeRegistry takes them: it computes and holds the key.
    pub fn node_keys(&self) -> NodeRegistry::NodeKeys {
        let recipient = self.keys.node_recipient().to_string();
        NodeRegistry::NodeKeys {
            signer: self.keys.address(),
            recipient: BlobId::of(recipient.as_bytes()).0,
            roles: 0b11,
            measurement: B256::ZERO,
        }
    }

    async fn deposit_bond(&self, provider: &DynProvider) -> Result<()> {
        let amount = U256::from(100 * UNIT);
        let token = DemoToken::new(self.deployment.token, provider);
        Chain::mined(token.approve(self.deployment.escrow, amount).send().await?).await?;
        let escrow = JobEscrow::new(self.deployment.escrow, provider);
        let call = escrow.depositBond(self.node_id.0, self.deployment.token, amount);
        Chain::mined(call.send().await?).await?;
        Ok(())
    }

    async fn start_node(
        &mut self,
        required_layers: Vec<Layer>,
        listener: TcpListener,
    ) -> Result<()> {
        let config = NodeConfig {
            data: self.data.clone(),
            deployment: self.deployment,
            node: self.node_id,
            required_layers,
            executable: executable()?,
            poll: Duration::from_millis(50),
            batch_every: Duration::from_millis(500),
        };
        let client = self.chain.client();
        let node = Node::start(config, self.keys.clone(), client, listener).await?;
        self.client = Client::new(format!("http://{}", node.address()).parse()?)?;
        self.node = Some(node);
        self.settle_in().await
    }
}

/// The binary whose role `sandbox-child` runs programs: this one, or the one that a test names.
pub fn executable() -> Result<PathBuf> {
    match std::env::var_os("COLLECTIVE_BINARY") {
        Some(path) => Ok(path.into()),
        None => std::env::current_exe().context("finding this binary"),
    }
}

pub async fn listen(port: u16, what: &str) -> Result<TcpListener> {
    TcpListener::bind(("127.0.0.1", port))
        .await
        .with_context(|| format!("listening for {what} at port {port}: is it taken?"))
}

/// Deploys every contract and leaves nobody but the Governor with power over the timelock.
async fn deploy(
    provider: &DynProvider,
    deployer: &PrivateKeySigner,
    founders: &[PrivateKeySigner],
) -> Result<Deployment> {
    let first_block = provider.get_block_number().await?;
    let (delay, period, notice) = VOTING;
    let code = *CodeRegistry::deploy(provider).await?.address();
    let contributions = *ContributionRegistry::deploy(provider).await?.address();
    let nodes = *NodeRegistry::deploy(provider).await?.address();
    let rewards = *RewardDistributor::deploy(provider, code, nodes)
        .await?
        .address();
    let escrow = *JobEscrow::deploy(provider, code, nodes, rewards)
        .await?
        .address();
    let timelock = TimelockController::deploy(
        provider,
        U256::from(notice),
        vec![],
        vec![Address::ZERO],
        deployer.address(),
    )
    .await?;
    let collective = *timelock.address();
    let voters = founders.iter().map(PrivateKeySigner::address).collect();
    let membership = Membership::deploy(
        provider,
        "Respondents".into(),
        "VOTE".into(),
        collective,
        voters,
    )
    .await?;
    let governor = CollectiveGovernor::deploy(
        provider,
        *membership.address(),
        collective,
        alloy::primitives::aliases::U48::from(delay),
        u32::try_from(period)?,
        U256::from(50),
        alloy::primitives::aliases::U48::from(600),
    )
    .await?;
    for role in ["PROPOSER_ROLE", "CANCELLER_ROLE"] {
        let call = timelock.grantRole(keccak256(role), *governor.address());
        Chain::mined(call.send().await?).await?;
    }
    let call = timelock.renounceRole(B256::ZERO, deployer.address());
    Chain::mined(call.send().await?).await?;
    let money = U256::from(1_000_000 * UNIT);
    let token = DemoToken::deploy(
        provider,
        "Demo dollar".into(),
        "DUSD".into(),
        vec![deployer.address()],
        vec![money],
    )
    .await?;
    ensure!(
        !timelock
            .hasRole(B256::ZERO, deployer.address())
            .call()
            .await?,
        "the deployer kept power over the timelock"
    );
    Ok(Deployment {
        chain_id: provider.get_chain_id().await?,
        collective,
        governor: *governor.address(),
        membership: *membership.address(),
        contributions,
        code,
        nodes,
        escrow,
        rewards,
        token: *token.address(),
        first_block,
    })
}

impl World {
    /// Where the node listens.
    ///
    /// # Errors
    /// Where it does not run.
    pub fn address(&self) -> Result<String> {
        Ok(format!("http://{}", self.running()?.address()))
    }

    /// Chain facts as the node knows them.
    ///
    /// # Errors
    /// Where it does not run.
    pub fn view(&self) -> Result<crate::follower::View> {
        Ok(self.running()?.view().borrow().clone())
    }

    fn running(&self) -> Result<&Node> {
        self.node.as_ref().context("the node does not run")
    }

    /// A connection to the chain that reads only.
    ///
    /// # Errors
    /// Where the chain does not answer.
    pub async fn reader(&self) -> Result<Chain> {
        Ok(Chain::reader(self.chain.client(), self.deployment).await?)
    }
}
