//! A collective with key holders of its own: their keys, folders and ports, and the ceremonies between them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy::network::TransactionBuilder;
use alloy::primitives::{B256, U256};
use alloy::providers::Provider;
use alloy::rpc::types::TransactionRequest;
use collective::approval::{Manifest, unpad};
use collective::committee::KeyShare;
use collective::committee::ceremony::plan::Plan;
use collective::id::NodeId;
use collective::seal::x25519;
use collective::seal::{self, Identity};
use collective_node::chain::Chain;
use collective_node::chain::facts::{JobState, ROLE_KEYHOLDER};
use collective_node::contributor::{Destination, prepare};
use collective_node::convening::{Certified, ConveneError, Convening, Patience};
use collective_node::demo::{
    DevelopmentChain, FINALITY_LAG, JOURNAL, MEAN, Setting, TERMS_EXPIRE, World, election, manifest,
};
use collective_node::governance::{Action, Motion};
use collective_node::intake::join;
use collective_node::keyholder::{Keyholder, KeyholderConfig};
use collective_node::keystore::Keystore;
use collective_node::node::{Node, NodeConfig, StartError};
use collective_node::{registration, requester, wire};
use tokio::net::TcpListener;
use zeroize::Zeroizing;

/// What a ceremony takes here: a tenth of a second. What is refused is waited for as long.
pub const PATIENCE: Patience = Patience {
    round: Duration::from_secs(5),
    retry: Duration::from_millis(400),
};

/// How long anything else may take on a loaded machine.
const LONG: Duration = Duration::from_secs(90);

pub const PASSPHRASE: &str = "public: a test";

/// One key holder.
pub struct Member {
    pub keys: Arc<Keystore>,
    pub id: NodeId,
    pub folder: PathBuf,
    pub listens_at: SocketAddr,
    pub running: Option<Keyholder>,
}

/// A world with key holders, all registered, accepted and running; the committee is still the node alone.
pub struct CeremonyWorld {
    pub world: World,
    pub members: Vec<Member>,
    pub manifest: Manifest,
    pub requester: Identity,
    pub folder: tempfile::TempDir,
}

impl CeremonyWorld {
    pub async fn found(size: usize) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let rpc = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let chain = DevelopmentChain::own(&folder.path().join(JOURNAL), rpc, FINALITY_LAG);
        let chain = chain.expect("a chain");
        let at = listener.local_addr().expect("an address");
        let world = World::constituted(chain, folder.path(), at, Setting::default()).await;
        let mut world = world.expect("a constituted collective");
        let config = NodeConfig {
            bucket: None,
            data: world.data.clone(),
            deployment: world.deployment,
            node: world.node_id,
            wire: None,
            required_layers: vec![],
            programs: Default::default(),
            connected: false,
            max_payload: None,
            private_places: Default::default(),
            ipfs_gateway: None,
            executable: env!("CARGO_BIN_EXE_collective").into(),
            poll: Duration::from_millis(50),
            batch_every: Duration::from_millis(100),
        };
        let client = world.chain.client();
        let node = Node::start(config, world.keys.clone(), client, listener).await;
        world.node = Some(node.expect("the node starts"));
        let identity = x25519::Identity::random(&mut rand::rng());
        let recipient = identity.recipient().to_string();
        let mut means = manifest(&world, MEAN, &recipient, 10, TERMS_EXPIRE);
        means.output.schema = None;
        means.output.minimum_group = 3;
        let mut found = Self {
            world,
            members: vec![],
            manifest: means,
            requester: Identity::X25519(identity),
            folder,
        };
        for number in 1..=size {
            let member = found.registered(number, ROLE_KEYHOLDER).await;
            found.members.push(member);
        }
        found.approve().await;
        for number in 0..size {
            found.start(number).await.expect("the key holder starts");
        }
        found
    }

    /// A node that is registered and no more.
    pub async fn registered(&self, number: usize, roles: u8) -> Member {
        let folder = self.folder.path().join(format!("holder-{number}"));
        std::fs::create_dir_all(&folder).expect("a folder");
        let passphrase = Zeroizing::new(PASSPHRASE.to_owned());
        let keys = Keystore::create(
            &folder.join("keys.age"),
            passphrase,
            Some(10),
            &mut rand::rng(),
        );
        let keys = Arc::new(keys.expect("keys"));
        let port = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let listens_at = port.local_addr().expect("an address");
        let money = TransactionRequest::default()
            .with_to(keys.address())
            .with_value(U256::from(10).pow(U256::from(18)));
        let by = self.world.provider(&self.world.deployer);
        let sent = by.send_transaction(money).await.expect("sent");
        Chain::mined(sent).await.expect("money");
        registration::register(
            &keys.provider(self.world.chain.client()),
            &self.world.deployment,
            &keys,
            roles,
            &format!("https://{listens_at}"),
        )
        .await
        .expect("registered");
        Member {
            id: registration::node_id(&keys),
            keys,
            folder,
            listens_at,
            running: None,
        }
    }

    /// Has the members accepted as key holders, and the program approved.
    async fn approve(&self) {
        let (world, deployment) = (&self.world, &self.world.deployment);
        for bytes in [MEAN.to_vec(), self.manifest.to_bytes()] {
            world.client.keep(bytes).await.expect("kept");
        }
        let mut actions = vec![Action::approve(deployment, &self.manifest, "blob".into())];
        for member in &self.members {
            actions.push(self.acceptance(member).await);
        }
        self.decide(actions, "Accept the key holders; approve means.")
            .await;
    }

    /// What accepts a node with the keys that it has.
    pub async fn acceptance(&self, member: &Member) -> Action {
        let reader = self.world.reader().await.expect("the chain");
        let block = reader.latest().await.expect("a block");
        let node = reader.node(&block, member.id).await.expect("a node");
        let keys = node.keys_hash(member.id);
        Action::accept_node(&self.world.deployment, member.id, keys)
    }

    /// Has members vote; every holder that runs has seen the outcome final when this returns.
    pub async fn decide(&self, actions: Vec<Action>, description: &str) {
        let motion = Motion {
            actions,
            description: description.into(),
        };
        self.world.decide(&motion).await.expect("a decision");
        let final_in = self.world.view().expect("a node").finalized.number;
        for running in self.members.iter().filter_map(|it| it.running.as_ref()) {
            let mut view = running.view();
            let seen = view.wait_for(|view| view.finalized.number >= final_in);
            let seen = tokio::time::timeout(LONG, seen).await;
            seen.expect("it catches up").expect("it runs");
        }
    }

    pub fn settings(&self, number: usize) -> KeyholderConfig {
        let member = &self.members[number];
        KeyholderConfig {
            data: member.folder.clone(),
            deployment: self.world.deployment,
            node: member.id,
            compute: self.world.node_id,
            source: self.world.client.clone(),
            listen: member.listens_at,
            public: None,
            poll: Duration::from_millis(50),
        }
    }

    /// Starts one, by its place from 0.
    pub async fn start(&mut self, number: usize) -> Result<(), StartError> {
        let settings = self.settings(number);
        let keys = self.members[number].keys.clone();
        let started = Keyholder::start(settings, keys, self.world.chain.client()).await?;
        self.members[number].running = Some(started);
        Ok(())
    }

    /// Stops one and reads its keys from the disk again, as a new process would.
    pub async fn stop(&mut self, number: usize) {
        if let Some(running) = self.members[number].running.take() {
            running.stop().await;
        }
        let path = self.members[number].folder.join("keys.age");
        let passphrase = Zeroizing::new(PASSPHRASE.to_owned());
        let keys = Keystore::open(&path, passphrase).expect("the keys");
        self.members[number].keys = Arc::new(keys);
    }

    pub fn ids(&self, numbers: &[usize]) -> Vec<NodeId> {
        numbers.iter().map(|&n| self.members[n].id).collect()
    }

    /// The compute node convenes.
    pub async fn convening(&self) -> Convening {
        Convening {
            chain: self.world.reader().await.expect("the chain"),
            archive: self.world.client.clone(),
            wire: Arc::new(wire::Client::new(self.world.keys.transport_key())),
            patience: PATIENCE,
        }
    }

    /// Holds a ceremony, publishes its committee and has it accepted.
    pub async fn hold(&self, plan: Plan) -> Result<Certified, ConveneError> {
        let convening = self.convening().await;
        let certified = convening.hold(plan).await?;
        let by = self.world.provider(&self.world.deployer);
        let hash = convening.publish(&by, &certified).await?;
        self.accept(hash).await;
        Ok(certified)
    }

    pub async fn accept(&self, committee: B256) {
        let action = Action::accept_committee(&self.world.deployment, committee);
        self.decide(vec![action], &format!("Accept committee {committee}."))
            .await;
    }

    pub async fn convene(&self, plan: &Plan) {
        let action = Action::convene(&self.world.deployment, plan.id());
        let description = format!("Convene ceremony {}.", plan.id().0);
        self.decide(vec![action], &description).await;
    }

    /// Respondent `row` contributes, sealed to the committee's recipient.
    pub async fn contribute(&self, row: usize) {
        let to = Destination {
            deployment: &self.world.deployment,
            recipient: &self.world.recipient().expect("a committee"),
            source: "anes96",
            terms: election::terms(row, TERMS_EXPIRE),
        };
        let account = &self.world.contributors[row];
        let record = &election::records().expect("records")[row];
        let (entry, file) =
            prepare(&to, account, 0, record, &mut rand::rng()).expect("a sealed record");
        let sent = self.world.client.contribute(join(&entry, &file)).await;
        sent.expect("acknowledged");
    }

    pub async fn all_anchored(&self, count: usize) {
        self.until("all are anchored", async || {
            self.world.view().expect("a node").anchored().len() == count
        })
        .await;
    }

    /// Has the means taken and says over how many, as the requester reads it.
    pub async fn run(&self) -> u64 {
        let by = self.world.provider(&self.world.requester);
        let (recipient, price) = (
            self.manifest.recipient.digest(),
            self.manifest.payment.price,
        );
        let deployment = &self.world.deployment;
        let job = requester::request(&by, deployment, &self.manifest, recipient, price).await;
        let job = job.expect("a job");
        self.until(&format!("job {job} is completed"), async || {
            let answer = self.world.client.job(job).await.expect("a job");
            assert!(answer.refusal.is_none(), "{:?}", answer.refusal);
            answer.state >= JobState::Completed
        })
        .await;
        let sealed = self.world.client.output(job).await.expect("an output");
        let identities = std::slice::from_ref(&self.requester);
        let padded = seal::open(identities, &sealed).expect("the requester opens it");
        let output = unpad(&padded).expect("a padded output");
        let output: serde_json::Value = serde_json::from_slice(output).expect("JSON");
        output["n"].as_u64().expect("a count")
    }

    /// Waits until something holds.
    pub async fn until(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let began = Instant::now();
        while !holds().await {
            assert!(began.elapsed() < LONG, "never: {what}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The epochs that a member keeps shares of.
    pub fn epochs(&self, number: usize) -> Vec<u64> {
        let shares = self.members[number].keys.shares().all();
        shares.iter().map(epoch).collect()
    }

    /// Waits until each of these members keeps a share of this epoch and of no other.
    pub async fn only_epoch(&self, numbers: &[usize], epoch: u64) {
        for &number in numbers {
            let what = format!("member {number} keeps epoch {epoch} alone");
            self.until(&what, async || self.epochs(number) == [epoch])
                .await;
        }
    }
}

fn epoch(share: &Arc<KeyShare>) -> u64 {
    share.certificate().epoch()
}

/// Everything in a folder, to be put back as it was.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            let name = path.file_name().expect("a name");
            std::fs::copy(&path, to.join(name)).expect("a copy");
        }
    }
}
