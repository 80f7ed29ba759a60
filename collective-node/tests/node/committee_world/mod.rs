//! A collective whose key a committee holds: members on loopback, each behind a door that a test can shut or slow down, on
//! a chain that mines only for transactions and when it is told to.
//!
//! No node runs here unless the test starts one: the test itself can be the compute node, honest or not.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use alloy::network::TransactionBuilder;
use alloy::primitives::{B256, Bytes as CallData, Signature, U256};
use alloy::providers::Provider;
use alloy::rpc::types::TransactionRequest;
use bytes::Bytes;
use collective::approval::Manifest;
use collective::committee::assembly::{Assembled, Assembly, Effect, Health, Peer, Progress};
use collective::committee::log::LogHead;
use collective::committee::question::Question;
use collective::committee::released::ReleasedFiles;
use collective::committee::{self, Member, Quorum, ShareCertificate};
use collective::contribution::{Batch, SignedContribution};
use collective::id::{BlobId, NodeId};
use collective::permit::{Grant, grant};
use collective::receipt::{BlockRef, CommitteeStatement, Release};
use collective::seal::tagged::TaggedIdentity;
use collective::seal::x25519;
use collective_contracts::{ContributionRegistry, DemoToken, JobEscrow, NodeRegistry};
use collective_node::chain::facts::{JobFact, JobState, ROLE_COMPUTE, ROLE_KEYHOLDER};
use collective_node::chain::{Chain, ChainError};
use collective_node::client::Client;
use collective_node::committee::Committee;
use collective_node::contributor::{Destination, prepare, split_file};
use collective_node::decision::Facts;
use collective_node::demo::{
    DevelopmentChain, MEAN, PASSPHRASE, Setting, TERMS_EXPIRE, VOTING, World, election, manifest,
};
use collective_node::governance::{Action, Ballot, Motion, vote};
use collective_node::headers::Headers;
use collective_node::holder::serve::{HolderStatus, PARTIALS, RELEASE, STATUS};
use collective_node::holder::{headers_of, released_files};
use collective_node::keyholder::{Keyholder, KeyholderConfig};
use collective_node::keystore::{Keystore, random_account};
use collective_node::node::{Node, NodeConfig, StartError, blobs};
use collective_node::registration::{node_id, register};
use collective_node::wire::{self, Remote, WireError};
use devchain::{Clock, Config, DevChain};
use tokio::net::TcpListener;
use zeroize::Zeroizing;

pub use door::Door;
pub use source::Source;

mod door;
mod source;

/// How many blocks `finalized` stands behind the newest one.
pub const LAG: u64 = 4;

/// Epoch of the committee; the world is founded with a committee of one before it.
pub const EPOCH: u64 = 2;

/// What one run costs, in the token's smallest unit: 800 for contributors, 150 for the node, 50 for the treasury.
pub const PRICE: u64 = 1_000;

/// How long anything may take on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Accounts that are admitted beside the respondents, so that a thousand can allow statistics.
const MORE: usize = 200;

/// The respondents' records; of the others each has one of them.
static RECORDS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| election::records().expect("the table"));

/// A member's node, and the door in front of it.
pub struct Seat {
    pub keys: Arc<Keystore>,
    pub id: NodeId,
    pub member: Member,
    pub door: Door,
    pub data: PathBuf,
    pub holder: Option<Keyholder>,
}

pub struct CommitteeWorld {
    pub chain: DevChain,
    pub world: World,
    pub reader: Chain,
    pub certificate: ShareCertificate,
    pub seats: Vec<Seat>,
    /// Another compute node that the collective accepts.
    pub rival: Arc<Keystore>,
    /// A node that is registered and not accepted.
    pub outsider: Arc<Keystore>,
    /// Approved: means over at least three.
    pub manifest: Manifest,
    /// Manifests and headers as the test gives them out.
    pub source: Source,
    pub folder: tempfile::TempDir,
}

impl CommitteeWorld {
    /// Founds the collective and has a committee of `size`, any `threshold` of which open, accepted with the rest.
    pub async fn found(threshold: u16, size: u16) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let chain = DevChain::new(Config {
            clock: Clock::Steps(1),
            finalized_lag: LAG,
            safe_lag: LAG / 2,
            ..Config::default()
        });
        let development = DevelopmentChain::quiet(&chain);
        let listens_at = ([127, 0, 0, 1], 0).into();
        let setting = Setting::default();
        let mut world = World::constituted(development, folder.path(), listens_at, setting)
            .await
            .expect("a constituted collective");
        let key_file = world.data.join("keys.age");
        // Its share of the first epoch goes: the compute node holds none of the second.
        std::fs::remove_dir_all(key_file.with_extension("shares")).expect("there was a share");
        let passphrase = Zeroizing::new(PASSPHRASE.to_owned());
        world.keys = Arc::new(Keystore::open(&key_file, passphrase).expect("the node's keys"));
        let more = (0..MORE).map(|_| random_account(&mut rand::rng()));
        world.contributors.extend(more);

        let rng = &mut rand::rng();
        let identity = TaggedIdentity::random(rng);
        let shares = committee::split(identity, EPOCH, threshold, size, rng).expect("a committee");
        let certificate = shares[0].certificate().clone();
        let mut seats = Vec::new();
        for share in shares {
            let data = folder
                .path()
                .join(format!("member-{}", share.member().number()));
            let keys = new_keys(&data);
            let member = share.member();
            keys.keep_share(share, rng).expect("a kept share");
            let door = Door::open().await;
            let id = node_id(&keys);
            seats.push(Seat {
                keys,
                id,
                member,
                door,
                data,
                holder: None,
            });
        }
        let [rival, outsider] =
            ["rival", "outsider"].map(|name| new_keys(&folder.path().join(name)));
        let recipient = x25519::Identity::random(rng).recipient().to_string();
        let mut means = manifest(&world, MEAN, &recipient, 1_000_000, TERMS_EXPIRE);
        means.output.schema = None;
        means.output.minimum_group = 3;
        means.payment.price = U256::from(PRICE);
        let founded = Self {
            reader: world.reader().await.expect("the chain"),
            source: Source::serve().await,
            manifest: means,
            chain,
            world,
            certificate,
            seats,
            rival,
            outsider,
            folder,
        };
        founded.constitute().await;
        founded
    }

    /// Registers everybody, publishes the committee, and has both and the manifest accepted.
    async fn constitute(&self) {
        let (world, deployment) = (&self.world, &self.world.deployment);
        let by = world.provider(&world.deployer);
        let ether = U256::from(10).pow(U256::from(18));
        let mut actions = vec![
            Action::approve(deployment, &self.manifest, "blob".into()),
            Action::admit(deployment, &world.charter()),
        ];
        let nodes = self
            .seats
            .iter()
            .map(|seat| (&seat.keys, ROLE_KEYHOLDER, seat.door.endpoint()));
        let computes = [&self.rival, &self.outsider];
        let computes = computes.map(|keys| (keys, ROLE_COMPUTE, "https://127.0.0.1:1".to_owned()));
        for (keys, roles, endpoint) in nodes.chain(computes) {
            let money = TransactionRequest::default()
                .with_to(keys.address())
                .with_value(U256::from(10) * ether);
            Chain::mined(by.send_transaction(money).await.expect("sent"))
                .await
                .expect("money");
            let provider = keys.provider(world.chain.client());
            let hash = register(&provider, deployment, keys, roles, &endpoint).await;
            let hash = hash.expect("registered");
            if !Arc::ptr_eq(keys, &self.outsider) {
                actions.push(Action::accept_node(deployment, node_id(keys), hash));
            }
        }
        actions.push(Action::accept_committee(deployment, self.publish().await));
        let description = "Accept a committee and its members; approve means.".into();
        world
            .decide(&Motion {
                actions,
                description,
            })
            .await
            .expect("a decision");
        let store = blobs(&world.data).expect("a store");
        for bytes in [
            MEAN.to_vec(),
            self.manifest.to_bytes(),
            self.certificate.to_bytes(),
            world.charter().to_bytes(),
        ] {
            self.source.put_blob(&bytes);
            store.put(Bytes::from(bytes)).await.expect("a kept blob");
        }
        let token = DemoToken::new(deployment.token, world.provider(&world.requester));
        let allowed = token
            .approve(deployment.escrow, U256::MAX)
            .send()
            .await
            .expect("sent");
        Chain::mined(allowed).await.expect("an allowance");
        self.finalize();
    }

    async fn publish(&self) -> B256 {
        let deployment = &self.world.deployment;
        let recipient = self.certificate.recipient().to_string();
        let statement = CommitteeStatement {
            collective: deployment.collective,
            epoch: EPOCH,
            threshold: self.certificate.threshold(),
            sender_proof: true,
            recipient: BlobId::of(recipient.as_bytes()),
            certificate: self.certificate.digest(),
            members: self.seats.iter().map(|seat| seat.id).collect(),
        };
        let digest = statement.signing_hash(deployment.chain_id, deployment.nodes);
        let signed = |seat: &Seat| CallData::copy_from_slice(&seat.keys.sign(digest).as_bytes());
        let signatures = self.seats.iter().map(signed).collect();
        let published = NodeRegistry::Committee {
            epoch: statement.epoch,
            threshold: statement.threshold,
            senderProof: statement.sender_proof,
            recipient: statement.recipient.0,
            certificate: statement.certificate.0,
            members: statement.members.iter().map(|member| member.0).collect(),
        };
        let by = self.world.provider(&self.world.deployer);
        let registry = NodeRegistry::new(deployment.nodes, by);
        let call =
            registry.publishCommittee(deployment.collective, published, recipient, signatures);
        Chain::mined(call.send().await.expect("sent"))
            .await
            .expect("published");
        statement.struct_hash()
    }

    /// Starts the compute node, which holds no share, and says how to talk to it.
    pub async fn start_node(&self) -> (Node, Client) {
        let config = NodeConfig {
            bucket: None,
            data: self.world.data.clone(),
            deployment: self.world.deployment,
            node: self.world.node_id,
            wire: None,
            required_layers: vec![],
            programs: Default::default(),
            connected: false,
            max_payload: None,
            private_places: Default::default(),
            ipfs_gateway: None,
            executable: PathBuf::from(env!("CARGO_BIN_EXE_collective")),
            poll: Duration::from_millis(10),
            batch_every: Duration::from_millis(20),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (keys, chain) = (self.world.keys.clone(), self.chain.client());
        let node = Node::start(config, keys, chain, listener).await;
        let node = node.expect("the node starts");
        let url = format!("http://{}", node.address());
        let client = Client::new(url.parse().expect("a URL")).expect("a client");
        (node, client)
    }

    /// The committee as the compute node asks it.
    pub async fn committee(&self) -> Committee {
        let blobs = blobs(&self.world.data).expect("a store");
        Committee {
            chain: self.reader.clone(),
            blobs,
            keys: self.world.keys.clone(),
            view: self.running().view(),
            node: self.world.node_id,
            own: None,
            wire: Arc::new(wire::Client::new(self.world.keys.transport_key())),
            health: Default::default(),
            faults: Arc::default(),
        }
    }

    /// Starts every member that does not run; they take manifests and headers from `source`.
    pub async fn start_members(&mut self, source: &Client) {
        for place in 0..self.seats.len() {
            if self.seats[place].holder.is_none() {
                self.start_member(place, source)
                    .await
                    .expect("the member starts");
            }
        }
    }

    pub async fn start_member(&mut self, place: usize, source: &Client) -> Result<(), StartError> {
        let config = self.config(place, source);
        let seat = &mut self.seats[place];
        let holder = Keyholder::start(config, seat.keys.clone(), self.chain.client()).await?;
        seat.door.lead_to(Some(holder.address()));
        seat.holder = Some(holder);
        Ok(())
    }

    pub fn config(&self, place: usize, source: &Client) -> KeyholderConfig {
        let seat = &self.seats[place];
        KeyholderConfig {
            data: seat.data.join("state"),
            deployment: self.world.deployment,
            node: seat.id,
            compute: self.world.node_id,
            source: source.clone(),
            listen: ([127, 0, 0, 1], 0).into(),
            public: None,
            poll: Duration::from_millis(10),
        }
    }

    /// Stops a member at once, as a crash would.
    pub async fn kill(&mut self, place: usize) {
        let seat = &mut self.seats[place];
        seat.door.lead_to(None);
        seat.holder = None;
        // The ledger's writer ends with its last handle.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    /// Mines until the newest block is final.
    pub fn finalize(&self) {
        self.chain.mine(LAG + 1).expect("blocks");
    }

    /// Makes the newest block final and waits until every running member has indexed it.
    pub async fn settle_in(&self) {
        self.finalize();
        let finalized = self.reader.finalized().await.expect("a block");
        for holder in self.seats.iter().filter_map(|seat| seat.holder.as_ref()) {
            let mut view = holder.view();
            let reached = view.wait_for(|view| view.finalized.number >= finalized.number);
            let reached = tokio::time::timeout(PATIENCE, reached).await;
            reached
                .expect("the index follows")
                .expect("the member runs");
        }
        // Whom the collective accepts is looked up right after.
        tokio::time::sleep(Duration::from_millis(150)).await;
    }

    /// Mines a block that is `seconds` later than the newest one.
    pub async fn pass(&self, seconds: u64) {
        self.world.wait(seconds).await.expect("a later block");
    }

    /// Mines, a block every so often, until something holds.
    pub async fn until(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let began = Instant::now();
        while !holds().await {
            assert!(began.elapsed() < PATIENCE, "never: {what}");
            self.chain.mine(1).expect("a block");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Respondent `row` seals a record under a nonce.
    pub fn contribution(&self, row: usize, nonce: u64) -> (SignedContribution, Vec<u8>) {
        let to = self.destination(row);
        let record = &RECORDS[row % RECORDS.len()];
        let account = &self.world.contributors[row];
        prepare(&to, account, nonce, record, &mut rand::rng()).expect("a sealed record")
    }

    pub fn destination(&self, row: usize) -> Destination<'_> {
        Destination {
            deployment: &self.world.deployment,
            recipient: self.certificate.recipient(),
            source: "anes96",
            terms: election::terms(row, TERMS_EXPIRE),
        }
    }

    /// Anchors honest contributions of these respondents, whose headers and manifest are given out.
    pub async fn populate(&self, rows: impl Iterator<Item = usize>) -> Vec<SignedContribution> {
        let mut entries = Vec::new();
        for row in rows {
            let (entry, file) = self.contribution(row, 0);
            let (header, _) = split_file(&file).expect("a header");
            self.source.put_header(entry.contribution.leaf(), header);
            entries.push(entry);
        }
        self.anchor(entries.clone(), true).await;
        entries
    }

    /// Anchors a batch as the compute node, whatever is in it; the manifest is given out if `shown`.
    pub async fn anchor(&self, entries: Vec<SignedContribution>, shown: bool) -> BlobId {
        let batch = Batch::new(entries).expect("entries");
        let manifest = batch.manifest();
        if shown {
            self.source.put_blob(&manifest);
        }
        let (root, count) = (batch.tree().root(), batch.entries().len());
        let name = BlobId::of(&manifest);
        self.commit(root, u32::try_from(count).expect("few"), name)
            .await;
        name
    }

    pub async fn commit(&self, root: B256, count: u32, manifest: BlobId) {
        let deployment = &self.world.deployment;
        let by = self.world.keys.provider(self.world.chain.client());
        let registry = ContributionRegistry::new(deployment.contributions, by);
        let call = registry.commitBatch(deployment.collective, root, count, manifest.0);
        Chain::mined(call.send().await.expect("sent"))
            .await
            .expect("anchored");
    }

    /// Asks for a run and says the job's number.
    pub async fn request(&self) -> u64 {
        let deployment = &self.world.deployment;
        let by = self.world.provider(&self.world.requester);
        let (recipient, price) = (
            self.manifest.recipient.digest(),
            self.manifest.payment.price,
        );
        let escrow = JobEscrow::new(deployment.escrow, by);
        let job = escrow.jobs().call().await.expect("a count") + U256::from(1);
        let manifest = self.manifest.digest().0;
        let call = escrow.request(deployment.collective, manifest, recipient, price);
        Chain::mined(call.send().await.expect("sent"))
            .await
            .expect("a job");
        job.to()
    }

    /// Takes a lease as the compute node: facts that permit at the newest finalized block, those that forbid at the newest
    /// one but one.
    pub async fn lease(&self, job: u64) -> Result<(), ChainError> {
        let allow = self.reader.finalized().await?;
        self.chain.mine(1).expect("a block");
        let deny = self.reader.at_height(self.chain.head().number - 1).await?;
        self.lease_at(job, allow, deny).await
    }

    pub async fn lease_at(
        &self,
        job: u64,
        allow: BlockRef,
        deny: BlockRef,
    ) -> Result<(), ChainError> {
        let by = self.world.keys.provider(self.world.chain.client());
        let escrow = JobEscrow::new(self.world.deployment.escrow, by);
        let node = self.world.node_id.0;
        let (allow, deny) = ((allow.number, allow.hash), (deny.number, deny.hash));
        let call = escrow.lease(U256::from(job), node, allow.0, allow.1, deny.0, deny.1);
        Chain::mined(call.send().await?).await.map(drop)
    }

    /// A job that is leased, and final so.
    pub async fn leased(&self) -> u64 {
        let job = self.request().await;
        self.lease(job).await.expect("a lease");
        self.settle_in().await;
        job
    }

    /// A job whose release these members signed; not final yet.
    pub async fn recorded(&self, signers: &[usize]) -> u64 {
        let job = self.leased().await;
        self.record(job, signers).await;
        job
    }

    /// The same, and final.
    pub async fn released(&self, signers: &[usize]) -> u64 {
        let job = self.recorded(signers).await;
        self.settle_in().await;
        job
    }

    /// Has these members sign the release, and records it.
    pub async fn record(&self, job: u64, signers: &[usize]) {
        let fact = self.fact(job).await;
        let release = self.granted(&fact).await.release().clone();
        let mut signatures = Vec::new();
        for &place in signers {
            let signature = self.ask_release(&self.world.keys, place, job).await;
            let signature = signature.expect("the member signs");
            signatures.push((self.seats[place].keys.address(), signature));
        }
        signatures.sort_by_key(|(signer, _)| *signer);
        let bytes =
            |(_, signature): &(_, Signature)| CallData::copy_from_slice(&signature.as_bytes());
        let signatures = signatures.iter().map(bytes).collect();
        let by = self.world.keys.provider(self.world.chain.client());
        let escrow = JobEscrow::new(self.world.deployment.escrow, by);
        let (attempt, root, count) = (release.attempt, release.input_root, release.input_count);
        let call = escrow.recordRelease(U256::from(job), attempt, root, count, signatures);
        Chain::mined(call.send().await.expect("sent"))
            .await
            .expect("recorded");
    }

    /// What the facts at the lease's blocks grant, worked out by the test as a node does.
    pub async fn granted(&self, fact: &JobFact) -> Grant {
        let facts = self.facts(fact).await;
        grant(&facts.case_as_released(fact, fact.lease.node)).expect("granted")
    }

    async fn facts(&self, fact: &JobFact) -> Facts {
        let view = self.running().view().borrow().clone();
        let store = blobs(&self.world.data).expect("a store");
        Facts::gather(&self.reader, &store, view, fact)
            .await
            .expect("facts")
    }

    /// The files of a job's lease, with the headers that the source gives out.
    pub async fn files(&self, job: u64) -> ReleasedFiles {
        let fact = self.fact(job).await;
        let facts = self.facts(&fact).await;
        let granted = grant(&facts.case_as_released(&fact, fact.lease.node)).expect("granted");
        let headers = Headers::Node(self.source.client());
        let headers = headers_of(&headers, &granted, &facts.view)
            .await
            .expect("headers");
        released_files(&self.reader, &granted, headers)
            .await
            .expect("files")
    }

    /// One of the members that run.
    pub fn running(&self) -> &Keyholder {
        let mut running = self.seats.iter().filter_map(|seat| seat.holder.as_ref());
        running.next().expect("a member runs")
    }

    /// Asks a member, with somebody's key, to sign a release.
    pub async fn ask_release(
        &self,
        by: &Keystore,
        place: usize,
        job: u64,
    ) -> Result<Signature, WireError> {
        let body = Bytes::copy_from_slice(&job.to_be_bytes());
        let client = wire::Client::new(by.transport_key());
        let answer = client.post(&self.remote(place), &RELEASE, body).await?;
        Ok(Signature::from_raw(&answer).expect("a signature"))
    }

    /// Asks a member, with somebody's key, a question about a job.
    pub async fn ask_partials(
        &self,
        by: &Keystore,
        place: usize,
        job: u64,
        question: &[u8],
    ) -> Result<Bytes, WireError> {
        let body = [&job.to_be_bytes()[..], question].concat();
        let client = wire::Client::new(by.transport_key());
        client
            .post(&self.remote(place), &PARTIALS, body.into())
            .await
    }

    /// How the members' logs stand, by their own word.
    pub async fn logs(&self) -> Vec<LogHead> {
        let client = wire::Client::new(self.world.keys.transport_key());
        let mut heads = Vec::new();
        for place in 0..self.seats.len() {
            let answer = client
                .post(&self.remote(place), &STATUS, Bytes::new())
                .await;
            let status = serde_json::from_slice::<HolderStatus>(&answer.expect("an answer"));
            heads.push(status.expect("a status").log);
        }
        heads
    }

    /// Questions about the first page of a release to the quorum of these members.
    pub fn question(&self, release: B256, members: &[usize]) -> Question {
        let members: Vec<Member> = members
            .iter()
            .map(|&place| self.seats[place].member)
            .collect();
        let quorum = Quorum::new(&self.certificate, &members).expect("a quorum");
        Question::partials(release, 0, quorum)
    }

    /// Opens a release through the quorum of exactly these members.
    pub async fn open_with(&self, job: u64, members: &[usize]) -> Assembled {
        let peer = |&place: &usize| Peer {
            member: self.seats[place].member,
            signer: self.seats[place].keys.address(),
            health: Health::default(),
        };
        let peers: Vec<Peer> = members.iter().map(peer).collect();
        let escrow = self.world.deployment.job_escrow();
        let (files, zero) = (self.files(job).await, Duration::ZERO);
        let certificate = self.certificate.clone();
        let progress = Assembly::start(certificate, escrow, &peers, files, PATIENCE, zero);
        let Progress::Waiting(mut assembly, effects) = progress else {
            panic!("they are asked first")
        };
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            let Effect::Ask {
                member,
                round,
                question,
            } = effect
            else {
                continue;
            };
            let place = usize::from(member.number()) - 1;
            let answer = self
                .ask_partials(&self.world.keys, place, job, &question)
                .await;
            let (answer, identity) = (answer.expect("an answer"), self.world.keys.identity());
            match assembly.answered(zero, member, round, &answer, identity) {
                Progress::Waiting(next, more) => {
                    assembly = next;
                    effects.extend(more);
                }
                Progress::Done(assembled) => return assembled,
                Progress::GivenUp(given_up) => panic!("{given_up}: {:?}", given_up.culprits),
            }
        }
        panic!("nobody is left to ask")
    }

    pub fn remote(&self, place: usize) -> Remote {
        let seat = &self.seats[place];
        Remote::new(&seat.door.endpoint(), seat.keys.transport_key().pin()).expect("an endpoint")
    }

    /// The job as the newest block has it.
    pub async fn fact(&self, job: u64) -> JobFact {
        let newest = self.reader.latest().await.expect("a block");
        self.reader.job(&newest, job).await.expect("a proven job")
    }

    pub async fn reaches(&self, job: u64, state: JobState) {
        let there = async || self.fact(job).await.state == state;
        self.until(&format!("job {job} is {state:?}"), there).await;
    }

    /// Takes a motion to where it only has to be executed.
    pub async fn prepare(&self, motion: &Motion) {
        let (world, deployment) = (&self.world, &self.world.deployment);
        let [delay, period, notice] = [VOTING.delay, VOTING.period, VOTING.notice].map(u64::from);
        self.pass(2).await;
        let by = world.provider(&world.founders[0]);
        let id = motion.propose(&by, deployment).await.expect("a proposal");
        self.pass(delay + 1).await;
        for founder in &world.founders {
            let by = world.provider(founder);
            vote(&by, deployment, id, Ballot::For)
                .await
                .expect("a ballot");
        }
        self.pass(period + 1).await;
        motion.queue(&by, deployment).await.expect("queued");
        self.pass(notice + 1).await;
    }

    pub async fn execute(&self, motion: &Motion) {
        let by = self.world.provider(&self.world.founders[0]);
        motion
            .execute(&by, &self.world.deployment)
            .await
            .expect("executed");
    }
}

/// The signing hash of a release, by which questions name it.
pub fn name(world: &CommitteeWorld, release: &Release) -> B256 {
    release.signing_hash(&world.world.deployment.job_escrow())
}

/// New keys in a folder of their own.
pub fn new_keys(folder: &Path) -> Arc<Keystore> {
    std::fs::create_dir_all(folder).expect("a folder");
    let passphrase = Zeroizing::new(PASSPHRASE.to_owned());
    let keys = Keystore::create(
        &folder.join("keys.age"),
        passphrase,
        Some(10),
        &mut rand::rng(),
    );
    Arc::new(keys.expect("new keys"))
}
