//! A whole collective on one machine: dev chain, contracts, founders, a node that is a committee of
//! one, or has no share of the key. `demo` tells its story in it, `dev` keeps it up, the story tests start from it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use alloy::eips::BlockId;
use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, U256};
use alloy::providers::{DynProvider, Provider};
use alloy::rpc::types::TransactionRequest;
use alloy::signers::local::PrivateKeySigner;
use anyhow::{Context, Result};
use bytes::Bytes;
use collective::admission::AdmissionList;
use collective::charter::Charter;
use collective::id::{ContributorId, NodeId};
use collective::seal::tagged::TaggedRecipient;
use devchain::dev_accounts;
use tokio::net::TcpListener;
use zeroize::Zeroizing;

use super::development_chain::{DevelopmentChain, FINALITY_LAG};
use super::election;
use crate::chain::facts::ROLE_COMPUTE;
use crate::chain::{Account, Chain, Deployment};
use crate::client::Client;
use crate::founding::{Founding, Plan, UNIT, Voting};
use crate::governance::{Action, Ballot, Motion, vote};
use crate::keystore::Keystore;
use crate::node::{Node, NodeConfig, blobs};
use crate::registration::{self, BOTH_ROLES};
use collective_contracts::{DemoToken, NodeRegistry};

/// How the founders decide.
pub const VOTING: Voting = Voting {
    delay: 60,
    period: 3_600,
    notice: 86_400,
    quorum: 50,
};

/// Passphrase of the node's keys: nothing here is worth hiding.
pub const PASSPHRASE: &str = "public: this node is a demonstration";

/// The dev chain's journal in a world's folder.
pub const JOURNAL: &str = "chain.journal";

/// The key file in the node's folder.
const KEYS: &str = "keys.age";

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
    /// What it is there.
    pub roles: u8,
    /// Where the node keeps its data.
    pub data: PathBuf,
    /// Where the node listens, or will once it is started.
    pub listens_at: SocketAddr,
    /// The running node.
    pub node: Option<Node>,
    /// To talk to it.
    pub client: Client,
}

/// What differs between worlds.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Blocks that must stand on one before it is final.
    pub finality_lag: u64,
    /// Whether the collective refuses files without sender proof.
    pub sender_proof: bool,
    /// Whether the node is a committee of one. Otherwise the collective has accepted no committee yet.
    pub sole: bool,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            finality_lag: FINALITY_LAG,
            sender_proof: true,
            sole: true,
        }
    }
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
    /// Starts a chain, deploys, makes the committee of one, unless there is to be none yet, and has all of it voted on.
    ///
    /// # Errors
    /// Whatever does not work, with what was being done.
    pub async fn found(folder: &Path, ports: Ports, setting: Setting) -> Result<Self> {
        // Both first: a port that is taken is found before anything is made.
        let rpc_listener = listen(ports.rpc, "JSON-RPC").await?;
        let node_listener = listen(ports.node, "the node").await?;
        let chain =
            DevelopmentChain::own(&folder.join(JOURNAL), rpc_listener, setting.finality_lag)?;
        Self::found_on(chain, folder, node_listener, setting).await
    }

    /// The same on a chain that runs already, with the accounts that every development chain funds.
    ///
    /// # Errors
    /// Whatever does not work, with what was being done.
    pub async fn found_on(
        chain: DevelopmentChain,
        folder: &Path,
        node_listener: TcpListener,
        setting: Setting,
    ) -> Result<Self> {
        let listens_at = node_listener.local_addr()?;
        let mut world = Self::constituted(chain, folder, listens_at, setting).await?;
        world
            .start_node(node_listener)
            .await
            .context("starting the node")?;
        Ok(world)
    }

    /// The same without a running node, which will listen at `listens_at`.
    ///
    /// # Errors
    /// Whatever does not work, with what was being done.
    pub async fn constituted(
        chain: DevelopmentChain,
        folder: &Path,
        listens_at: SocketAddr,
        setting: Setting,
    ) -> Result<Self> {
        let data = folder.join("node");
        std::fs::create_dir_all(&data).context("making the data folder")?;
        let [deployer, founders @ ..] = leaders();
        let provider = Account::new(deployer.clone()).provider(chain.client());
        let plan = Plan {
            chain_id: provider.get_chain_id().await?,
            deployer: deployer.address(),
            name: "Respondents".into(),
            founders: founders.iter().map(PrivateKeySigner::address).collect(),
            voting: VOTING,
            singletons: None,
            token: None,
        };
        let mut founding = Founding::begin(plan, &provider).await?;
        let deployment = founding.complete(&provider).await.context("deploying")?;
        let passphrase = Zeroizing::new(PASSPHRASE.to_owned());
        let keys = Keystore::create(&data.join(KEYS), passphrase, None, &mut rand::rng())?;
        let mut world = Self::populated(chain, deployment, keys, data, listens_at)?;
        if setting.sole {
            world.keys.make_sole_share(&mut rand::rng())?;
        } else {
            world.roles = ROLE_COMPUTE;
        }
        world.fund().await.context("handing out money")?;
        world
            .constitute(setting.sender_proof)
            .await
            .context("voting on charter, node and committee")?;
        Ok(world)
    }

    /// Goes on with the world that was founded in this folder: the chain's journal is replayed, and the node,
    /// unless it is left to somebody else, starts where it was.
    ///
    /// # Errors
    /// Where another process has it open, or something of it is missing.
    pub async fn reopen(
        folder: &Path,
        deployment: Deployment,
        ports: Ports,
        finality_lag: u64,
        with_node: bool,
    ) -> Result<Self> {
        let rpc_listener = listen(ports.rpc, "JSON-RPC").await?;
        let node_listener = listen(ports.node, "the node").await?;
        let chain = DevelopmentChain::own(&folder.join(JOURNAL), rpc_listener, finality_lag)?;
        let data = folder.join("node");
        let passphrase = Zeroizing::new(PASSPHRASE.to_owned());
        let keys = Keystore::open(&data.join(KEYS), passphrase)?;
        let listens_at = node_listener.local_addr()?;
        let mut world = Self::populated(chain, deployment, keys, data, listens_at)?;
        if with_node {
            let started = world.start_node(node_listener).await;
            started.context("starting the node")?;
        }
        Ok(world)
    }

    /// Everybody of a world, the node not running.
    fn populated(
        chain: DevelopmentChain,
        deployment: Deployment,
        keys: Keystore,
        data: PathBuf,
        listens_at: SocketAddr,
    ) -> Result<Self> {
        let [deployer, founders @ ..] = leaders();
        Ok(Self {
            client: Client::new(format!("http://{listens_at}").parse()?)?,
            chain,
            deployment,
            deployer,
            founders,
            requester: dev_accounts()[4].clone(),
            contributors: election::accounts(),
            node_id: registration::node_id(&keys),
            roles: BOTH_ROLES,
            keys: Arc::new(keys),
            data,
            listens_at,
            node: None,
        })
    }

    /// An alloy provider that signs for `account`.
    pub fn provider(&self, account: &PrivateKeySigner) -> DynProvider {
        Account::new(account.clone()).provider(self.chain.client())
    }

    /// Mines a block that is `seconds` later than the newest one.
    ///
    /// # Errors
    /// Past the end of the year 9999.
    pub async fn wait(&self, seconds: u64) -> Result<()> {
        let later = self.newest_time().await? + seconds;
        match self.chain.mine_at(later).await {
            // The chain mines by itself, too: a block of that time may have come in between.
            Err(_) if self.newest_time().await? >= later => Ok(()),
            mined => mined,
        }
    }

    /// Unix seconds of the newest block.
    async fn newest_time(&self) -> Result<u64> {
        let provider = self.provider(&self.deployer);
        let newest = provider.get_block(BlockId::latest()).await?;
        let newest = newest.context("the chain has no block")?;
        Ok(newest.header.timestamp)
    }

    /// The collective's charter: one source, whose files contributors may keep, the respondents admitted.
    pub fn charter(&self) -> Charter {
        let ids = self
            .contributors
            .iter()
            .map(|account| ContributorId::from_address(account.address()));
        let list = AdmissionList::new(ids).expect("there are respondents");
        let source = election::source();
        Charter {
            connected: [source.name.clone()].into(),
            sources: vec![source],
            admission: Some(list),
        }
    }

    /// Proposes, has every founder vote for it, waits for the notice to pass, executes.
    ///
    /// # Errors
    /// What the Governor or the timelock refuses.
    pub async fn decide(&self, motion: &Motion) -> Result<GovernanceGas> {
        let Voting {
            delay,
            period,
            notice,
            ..
        } = VOTING;
        // Votes count from the second after they were given.
        self.wait(1).await?;
        let by = self.provider(&self.founders[0]);
        let id = motion
            .propose(&by, &self.deployment)
            .await
            .context("proposing")?;
        self.wait(u64::from(delay) + 1).await?;
        let mut gas = GovernanceGas::default();
        for founder in &self.founders {
            let by = self.provider(founder);
            gas.vote = vote(&by, &self.deployment, id, Ballot::For)
                .await
                .context("voting")?;
        }
        self.wait(u64::from(period) + 1).await?;
        gas.queue = motion
            .queue(&by, &self.deployment)
            .await
            .context("queueing")?;
        self.wait(u64::from(notice) + 1).await?;
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

    /// Gives an account 100 ether to pay gas with.
    ///
    /// # Errors
    /// Where the chain does not answer.
    pub async fn give_ether(&self, account: Address) -> Result<()> {
        let ether = U256::from(10).pow(U256::from(18));
        let money = TransactionRequest::default()
            .with_to(account)
            .with_value(U256::from(100) * ether);
        let provider = self.provider(&self.deployer);
        Chain::mined(provider.send_transaction(money).await?).await?;
        Ok(())
    }

    async fn fund(&self) -> Result<()> {
        let provider = self.provider(&self.deployer);
        self.give_ether(self.keys.address()).await?;
        let token = DemoToken::new(self.deployment.token, &provider);
        for account in [self.requester.address(), self.keys.address()] {
            let call = token.transfer(account, U256::from(1_000 * UNIT));
            Chain::mined(call.send().await?).await?;
        }
        Ok(())
    }

    /// Registers the node, publishes the committee of one where there is one, and has charter, node and committee voted on.
    async fn constitute(&self, sender_proof: bool) -> Result<()> {
        let provider = self.keys.provider(self.chain.client());
        let (by, deployment) = (&provider, &self.deployment);
        let endpoint = "http://127.0.0.1";
        let keys_hash =
            registration::register(by, deployment, &self.keys, self.roles, endpoint).await?;
        let charter = self.charter();
        let mut motion = Motion {
            actions: vec![
                Action::admit(deployment, &charter),
                Action::accept_node(deployment, self.node_id, keys_hash),
            ],
            description: "Admit the 944 respondents; accept the node and its committee of one."
                .into(),
        };
        if let Some(share) = self.keys.shares().newest() {
            let keys = &self.keys;
            let committee =
                registration::publish_committee(by, deployment, keys, sender_proof, &share).await?;
            let accept = Action::accept_committee(deployment, committee);
            motion.actions.push(accept);
        } else {
            motion.description = "Admit the 944 respondents; accept the compute node.".into();
        }
        let bond = U256::from(100 * UNIT);
        registration::deposit_bond(by, deployment, self.node_id, bond).await?;
        blobs(&self.data)?
            .put(Bytes::from(charter.to_bytes()))
            .await?;
        self.decide(&motion).await?;
        Ok(())
    }

    /// The node's keys as NodeRegistry takes them.
    pub fn node_keys(&self) -> NodeRegistry::NodeKeys {
        registration::node_keys(&self.keys, self.roles)
    }

    async fn start_node(&mut self, listener: TcpListener) -> Result<()> {
        let config = NodeConfig {
            bucket: None,
            data: self.data.clone(),
            deployment: self.deployment,
            node: self.node_id,
            wire: None,
            // It runs where a machine denies a layer, and says which.
            required_layers: vec![],
            programs: Default::default(),
            connected: false,
            max_payload: None,
            private_places: Default::default(),
            ipfs_gateway: None,
            executable: executable()?,
            poll: Duration::from_millis(50),
            batch_every: Duration::from_millis(500),
        };
        let client = self.chain.client();
        let node = Node::start(config, self.keys.clone(), client, listener).await?;
        self.node = Some(node);
        self.settle_in().await
    }
}

/// Who deploys, and the three founders.
fn leaders() -> [PrivateKeySigner; 4] {
    std::array::from_fn(|account| dev_accounts()[account].clone())
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

    /// To which contributors seal.
    ///
    /// # Errors
    /// Before the collective accepted a committee.
    pub fn recipient(&self) -> Result<TaggedRecipient> {
        let view = self.view()?;
        let certificate = view.certificate.as_ref();
        let certificate = certificate.context("the collective has accepted no committee")?;
        Ok(certificate.recipient().clone())
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
