//! A collective whose chain mines only when told, so that a test says which blocks are cut out, and
//! whose node reaches the chain over a line that a test can cut.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use alloy::network::Ethereum;
use alloy::primitives::{B256, U256};
use alloy::providers::PendingTransactionBuilder;
use alloy::rpc::client::RpcClient;
use alloy::rpc::json_rpc::{RequestPacket, ResponsePacket};
use alloy::rpc::types::{Block, Filter, Log};
use alloy::sol_types::SolEvent;
use alloy::transports::{TransportError, TransportErrorKind, TransportFut};
use bytes::Bytes;
use collective::approval::{Manifest, Program};
use collective::id::Leaf;
use collective::seal::x25519;
use collective_contracts::{ContributionRegistry, DemoToken, JobEscrow, RewardDistributor};
use collective_node::chain::facts::{JobFact, JobState};
use collective_node::chain::{Chain, ChainError};
use collective_node::client::{Client, ClientError};
use collective_node::contributor::{Destination, prepare};
use collective_node::demo::{
    DevelopmentChain, MEAN, Setting, TERMS_EXPIRE, VOTING, World, election, manifest,
};
use collective_node::follower::{Follower, View};
use collective_node::governance::{Action, Ballot, Motion, vote};
use collective_node::headers::Headers;
use collective_node::intake::join;
use collective_node::node::{Node, NodeConfig, StartError, blobs};
use collective_node::programs::deploy::Settings;
use devchain::{Clock, Config, DevChain, DevTransport};
use serde_json::value::RawValue;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};
use tokio::net::TcpListener;
use tower::Service;

/// How many blocks `finalized` stands behind the newest one.
pub const LAG: u64 = 16;

/// What one run costs, in the token's smallest unit: 800 for contributors, 150 for the node, 50 for
/// the treasury.
pub const PRICE: u64 = 1_000;

/// Both windows, of dispute and of challenge, are a day.
pub const WINDOW: u64 = 86_400 + 60;

/// Between two blocks while a test waits: time enough for the node to see most of them.
const BLOCK_EVERY: Duration = Duration::from_millis(15);

/// How long anything may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// Two ways back to one height.
struct Mark {
    number: u64,
    /// Right after its block: what was sent later is lost.
    emptied: u64,
    /// Right before the next block: what was sent in between waits again.
    filled: Option<u64>,
}

/// Where chain and node were.
pub struct Moment {
    folder: tempfile::TempDir,
    snapshot: u64,
    newest: u64,
    /// The newest block then: none before it can be cut out.
    pub head: u64,
}

/// Whether nobody has this ledger open: SQLite leaves the write-ahead log for its only connection alone.
async fn is_closed(ledger: &Path) -> bool {
    let options = SqliteConnectOptions::new()
        .filename(ledger)
        .busy_timeout(Duration::ZERO);
    let Ok(mut connection) = options.connect().await else {
        return false;
    };
    let mode = sqlx::query_scalar("PRAGMA journal_mode = DELETE");
    let mode: Result<String, _> = mode.fetch_one(&mut connection).await;
    connection.close().await.expect("closed");
    mode.is_ok_and(|mode| mode == "delete")
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type().expect("a type").is_dir() {
            true => copy(&from, &to),
            false => {
                std::fs::copy(&from, &to).expect("a copy");
            }
        }
    }
}

/// The world, its chain and the node in it.
pub struct QuietWorld {
    pub chain: DevChain,
    pub world: World,
    pub line: Line,
    pub reader: Chain,
    /// Approved: means over at least three.
    pub manifest: Manifest,
    /// Approved, and always refused: it asks for more people than there are.
    pub crowd: Manifest,
    /// Approved: a program that the test brought along, for a long time.
    pub extra: Manifest,
    /// What the node may do with repositories, once it is started again.
    pub programs: Settings,
    /// Between two looks of the node at the chain.
    pub poll: Duration,
    node: Option<Node>,
    client: Client,
    marks: Mutex<Vec<Mark>>,
    /// Unix seconds of the newest block on any branch.
    newest: AtomicU64,
    _folder: tempfile::TempDir,
}

impl QuietWorld {
    /// Founds the collective, has both manifests approved, and starts the node.
    pub async fn found() -> Self {
        Self::found_with(MEAN).await
    }

    /// The same with one more program.
    pub async fn found_with(program: &[u8]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let chain = DevChain::new(Config {
            clock: Clock::Steps(1),
            ..Config::default()
        });
        let world = World::constituted(
            DevelopmentChain::quiet(&chain),
            folder.path(),
            ([127, 0, 0, 1], 0).into(),
            Setting::default(),
        )
        .await
        .expect("a constituted collective");
        let recipient = x25519::Identity::random(&mut rand::rng())
            .recipient()
            .to_string();
        let mut means = manifest(&world, MEAN, &recipient, 1_000_000, TERMS_EXPIRE);
        means.output.schema = None;
        means.output.minimum_group = 3;
        means.payment.price = U256::from(PRICE);
        let mut crowd = means.clone();
        crowd.output.minimum_group = 900;
        let mut extra = means.clone();
        extra.program = Program::component(program);
        extra.limits.fuel = 1 << 60;
        extra.limits.seconds = 15;
        let reader = world.reader().await.expect("the chain");
        let line = Line::to(&chain);
        let mut quiet = Self {
            client: world.client.clone(),
            chain,
            world,
            line,
            reader,
            manifest: means,
            crowd,
            extra,
            programs: Settings::default(),
            poll: Duration::from_millis(10),
            node: None,
            marks: Mutex::default(),
            newest: AtomicU64::new(0),
            _folder: folder,
        };
        quiet.approve(program).await;
        quiet.chain.set_finality_lag(LAG, LAG / 2);
        quiet.ask("evm_setAutomine", "[false]");
        quiet.mine(2 * LAG);
        quiet.start().await.expect("the node starts");
        quiet
    }

    async fn approve(&self, program: &[u8]) {
        let store = blobs(&self.world.data).expect("a store");
        let (late, _) = self.late_motion();
        for bytes in [
            MEAN.to_vec(),
            self.manifest.to_bytes(),
            self.crowd.to_bytes(),
            late.to_bytes(),
            program.to_vec(),
            self.extra.to_bytes(),
        ] {
            store.put(Bytes::from(bytes)).await.expect("a kept blob");
        }
        let deployment = &self.world.deployment;
        let motion = Motion {
            actions: [&self.manifest, &self.crowd, &self.extra]
                .map(|manifest| Action::approve(deployment, manifest, "blob".into()))
                .into(),
            description: "Approve means.".into(),
        };
        self.world.decide(&motion).await.expect("an approval");
        let requester = self.world.provider(&self.world.requester);
        let token = DemoToken::new(deployment.token, requester);
        let call = token.approve(deployment.escrow, U256::MAX);
        Chain::mined(call.send().await.expect("sent"))
            .await
            .expect("an allowance");
    }

    /// Starts the node; it must not run.
    pub async fn start(&mut self) -> Result<(), StartError> {
        assert!(self.node.is_none(), "the node runs");
        let config = NodeConfig {
            bucket: None,
            data: self.world.data.clone(),
            deployment: self.world.deployment,
            node: self.world.node_id,
            wire: None,
            required_layers: vec![],
            programs: self.programs.clone(),
            connected: false,
            max_payload: None,
            private_places: Default::default(),
            ipfs_gateway: None,
            executable: PathBuf::from(env!("CARGO_BIN_EXE_collective")),
            poll: self.poll,
            batch_every: Duration::from_millis(20),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let client = self.line.client().with_poll_interval(self.poll);
        let node = Node::start(config, self.world.keys.clone(), client, listener).await?;
        let url = format!("http://{}", node.address());
        self.client = Client::new(url.parse().expect("a URL")).expect("a client");
        self.node = Some(node);
        Ok(())
    }

    /// Stops the node at once, as a crash would.
    pub async fn crash(&mut self) {
        self.node = None;
        let ledger = self.world.data.join("ledger.sqlite");
        let began = Instant::now();
        while ledger.exists() && !is_closed(&ledger).await {
            assert!(began.elapsed() < PATIENCE, "the ledger stays open");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Notes where chain and node are; the node must not run.
    pub fn keep(&self) -> Moment {
        assert!(self.node.is_none(), "the node runs");
        let folder = tempfile::tempdir().expect("a temporary folder");
        copy(&self.world.data, folder.path());
        Moment {
            folder,
            snapshot: self.chain.snapshot(),
            head: self.chain.head().number,
            newest: self.newest.load(Ordering::SeqCst),
        }
    }

    /// Takes chain and node back to where they were, and keeps that moment.
    pub async fn go_back(&mut self, to: &mut Moment) {
        self.crash().await;
        assert!(self.chain.revert(to.snapshot).expect("in memory"), "kept");
        to.snapshot = self.chain.snapshot();
        self.newest.store(to.newest, Ordering::SeqCst);
        let number = self.chain.head().number;
        *self.marks.lock().expect("one test") = vec![Mark {
            number,
            emptied: self.chain.snapshot(),
            filled: None,
        }];
        std::fs::remove_dir_all(&self.world.data).expect("the node's folder");
        copy(to.folder.path(), &self.world.data);
    }

    pub fn node(&self) -> &Node {
        self.node.as_ref().expect("the node runs")
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    pub fn view(&self) -> View {
        self.node().view().borrow().clone()
    }

    /// Mines one block of what waits.
    pub fn tick(&self) {
        let mut marks = self.marks.lock().expect("one test");
        let head = self.chain.head().number;
        if let Some(mark) = marks.last_mut().filter(|mark| mark.number == head) {
            mark.filled = Some(self.chain.snapshot());
        }
        let number = self.chain.mine(1).expect("a block").number;
        let emptied = self.chain.snapshot();
        marks.push(Mark {
            number,
            emptied,
            filled: None,
        });
    }

    pub fn mine(&self, blocks: u64) {
        for _ in 0..blocks {
            self.tick();
        }
    }

    /// Mines a block that is `seconds` later than the newest one.
    pub async fn pass(&self, seconds: u64) {
        let newest = self.reader.latest().await.expect("a block").time;
        self.next_time(newest + seconds);
        self.tick();
    }

    /// Mines one block and gives the node time to see it.
    pub async fn one_block(&self) {
        self.tick();
        tokio::time::sleep(BLOCK_EVERY).await;
    }

    /// Cuts out the newest `depth` blocks and puts `instead` others in their place. What was sent in
    /// them waits again where it is `resent`, else nobody knows of it any more.
    pub async fn cut(&self, depth: u64, resent: bool, instead: u64) {
        let time = self.reader.latest().await.expect("a block").time;
        let time = self.newest.fetch_max(time, Ordering::SeqCst).max(time);
        {
            let mut marks = self.marks.lock().expect("one test");
            let to = self.chain.head().number - depth;
            let place = marks.partition_point(|mark| mark.number < to);
            marks.truncate(place + 1);
            let mark = marks.pop().expect("a mark");
            assert_eq!(mark.number, to, "the chain was mined by somebody else");
            let filled = mark.filled.filter(|_| resent);
            let back = filled.unwrap_or(mark.emptied);
            assert!(self.chain.revert(back).expect("a chain in memory"));
            let emptied = self.chain.snapshot();
            marks.push(Mark {
                number: to,
                emptied,
                filled: None,
            });
        }
        // No time is lost: the other branch was mined while this one was.
        self.next_time(time + 1);
        self.mine(instead);
    }

    /// Mines until something holds.
    pub async fn until(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let began = Instant::now();
        while !holds().await {
            assert!(began.elapsed() < PATIENCE, "never: {what}");
            self.one_block().await;
        }
    }

    /// Mines until some work is done.
    pub async fn meanwhile<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = tokio::time::sleep(BLOCK_EVERY) => self.tick(),
            }
        }
    }

    /// Lets the node do what it would do without another block.
    pub async fn stand_still(&self) {
        tokio::time::sleep(Duration::from_millis(300)).await;
    }

    /// Respondent `row` contributes under a nonce and is acknowledged.
    pub async fn contribute(&self, row: usize, nonce: u64) -> Result<Leaf, ClientError> {
        let share = self.world.keys.shares().newest().expect("a share");
        let to = Destination {
            deployment: &self.world.deployment,
            recipient: share.certificate().recipient(),
            source: "anes96",
            terms: election::terms(row, TERMS_EXPIRE),
        };
        let account = &self.world.contributors[row];
        let record = &election::records().expect("records")[row];
        let made = prepare(&to, account, nonce, record, &mut rand::rng());
        let (entry, file) = made.expect("a sealed record");
        let acknowledged = self.client.contribute(join(&entry, &file)).await?;
        Ok(acknowledged.leaf)
    }

    /// Asks for a run and says the job's number.
    pub async fn request(&self, manifest: &Manifest) -> Result<u64, ChainError> {
        let job = self.jobs().await + 1;
        self.meanwhile(async {
            let sent = self.send_request(manifest).await?;
            Chain::mined(sent).await
        })
        .await?;
        Ok(job)
    }

    /// Asks for a run without waiting for its block.
    pub async fn send_request(
        &self,
        manifest: &Manifest,
    ) -> Result<PendingTransactionBuilder<Ethereum>, ChainError> {
        let by = self.world.provider(&self.world.requester);
        let deployment = &self.world.deployment;
        let (recipient, price) = (manifest.recipient.digest(), manifest.payment.price);
        let escrow = JobEscrow::new(deployment.escrow, by);
        let (collective, manifest) = (deployment.collective, manifest.digest().0);
        let call = escrow.request(collective, manifest, recipient, price);
        Ok(call.send().await?)
    }

    /// How many jobs there are.
    pub async fn jobs(&self) -> u64 {
        let escrow = JobEscrow::new(self.world.deployment.escrow, self.reader.provider());
        let jobs = escrow.jobs().call().await.expect("a count");
        jobs.saturating_to()
    }

    /// Another manifest, and the motion that approves it.
    pub fn late_motion(&self) -> (Manifest, Motion) {
        let mut late = self.manifest.clone();
        late.output.minimum_group = 4;
        let action = Action::approve(&self.world.deployment, &late, "blob".into());
        let motion = Motion {
            actions: vec![action],
            description: "Approve means over four.".into(),
        };
        (late, motion)
    }

    /// Takes a motion to where it only has to be executed.
    pub async fn prepare(&self, motion: &Motion) {
        let deployment = &self.world.deployment;
        let [delay, period, notice] = [VOTING.delay, VOTING.period, VOTING.notice].map(u64::from);
        self.pass(2).await;
        let by = self.world.provider(&self.world.founders[0]);
        let proposed = self.meanwhile(motion.propose(&by, deployment)).await;
        let id = proposed.expect("a proposal");
        self.pass(delay + 1).await;
        for founder in &self.world.founders {
            let by = self.world.provider(founder);
            let voted = self.meanwhile(vote(&by, deployment, id, Ballot::For)).await;
            voted.expect("a ballot");
        }
        self.pass(period + 1).await;
        let queued = self.meanwhile(motion.queue(&by, deployment)).await;
        queued.expect("queued");
        self.pass(notice + 1).await;
    }

    pub async fn execute(&self, motion: &Motion) {
        let by = self.world.provider(&self.world.founders[0]);
        let executed = motion.execute(&by, &self.world.deployment);
        self.meanwhile(executed).await.expect("executed");
    }

    /// Keeps these manifests and has members approve them.
    pub async fn have_approved(&self, manifests: &[Manifest]) {
        let actions = manifests
            .iter()
            .map(|manifest| Action::approve(&self.world.deployment, manifest, "blob".into()));
        let motion = Motion {
            actions: actions.collect(),
            description: "Approve more programs.".into(),
        };
        for manifest in manifests {
            let kept = self.node().blobs().put(manifest.to_bytes().into()).await;
            kept.expect("a kept blob");
        }
        self.prepare(&motion).await;
        self.execute(&motion).await;
    }

    pub fn head(&self) -> u64 {
        self.chain.head().number
    }

    /// The block of the newest event of a kind.
    pub async fn block_of<E: SolEvent>(&self) -> u64 {
        let logs = self.logs::<E>().await;
        let newest = logs.last().expect("such an event");
        newest.block_number.expect("it is mined")
    }

    /// The root of the state after a block, which is named by a tag.
    pub fn state_root(&self, tag: &str) -> B256 {
        let block = self.ask("eth_getBlockByNumber", &format!(r#"["{tag}"]"#));
        let block: Block = serde_json::from_str(block.get()).expect("a block");
        block.header.state_root
    }

    /// The job as the newest block has it.
    pub async fn fact(&self, job: u64) -> JobFact {
        let newest = self.reader.latest().await.expect("a block");
        self.reader.job(&newest, job).await.expect("a proven job")
    }

    /// The job as the newest finalized block has it.
    pub async fn final_fact(&self, job: u64) -> JobFact {
        let finalized = self.reader.finalized().await.expect("a block");
        self.reader
            .job(&finalized, job)
            .await
            .expect("a proven job")
    }

    /// What the node keeps of a run.
    pub async fn record(&self, job: u64, attempt: u32) -> Option<String> {
        let ledger = self.node().ledger();
        ledger.run(job, attempt).await.expect("the ledger")
    }

    /// Logs of one event on the chain as it is.
    pub async fn logs<E: SolEvent>(&self) -> Vec<Log> {
        let filter = Filter::new().event_signature(E::SIGNATURE_HASH);
        let newest = self.reader.latest().await.expect("a block").number;
        let logs = self.reader.logs(filter, 0, newest).await;
        logs.expect("logs")
    }

    /// Manifests of the batches on the chain as it is.
    pub async fn batches(&self) -> Vec<B256> {
        let logs = self.logs::<ContributionRegistry::BatchCommitted>().await;
        let manifest = |log: &Log| {
            ContributionRegistry::BatchCommitted::decode_log(&log.inner)
                .expect("a batch")
                .manifest
        };
        logs.iter().map(manifest).collect()
    }

    /// An index made now, from the chain's first block on, must be what the node has.
    pub async fn replay_is_the_same(&self) {
        let finalized = self.reader.finalized().await.expect("a block");
        self.until_without_blocks("the node has caught up", || {
            self.view().finalized == finalized
        })
        .await;
        let store = self.node().blobs().clone();
        let headers = Headers::own(self.node().ledger().clone(), store.clone());
        let (reader, aggregator) = (self.reader.clone(), self.world.keys.address());
        let (_, fresh) = Follower::start(reader, store, headers, aggregator)
            .await
            .expect("a replay");
        let (fresh, kept) = (fresh.borrow().clone(), self.view());
        assert_eq!(fresh.finalized, kept.finalized);
        assert_eq!(fresh.anchored(), kept.anchored());
        assert_eq!(fresh.batches, kept.batches);
        assert_eq!(fresh.committee, kept.committee);
        let digests = |view: &View| {
            let set = view.charters.iter();
            set.map(|set| (set.block, set.digest, set.root, set.charter.is_some()))
                .collect::<Vec<_>>()
        };
        assert_eq!(digests(&fresh), digests(&kept));
    }

    pub async fn until_without_blocks(&self, what: &str, holds: impl Fn() -> bool) {
        let began = Instant::now();
        while !holds() {
            assert!(began.elapsed() < PATIENCE, "never: {what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Exactly `jobs` runs were paid for: every unit is where it belongs, none twice.
    pub async fn assert_paid(&self, jobs: u64) {
        let deployment = &self.world.deployment;
        let provider = self.world.provider(&self.world.deployer);
        let escrow = JobEscrow::new(deployment.escrow, &provider);
        let runs = escrow.runs(deployment.collective, self.manifest.digest().0);
        assert_eq!(u64::from(runs.call().await.expect("a count")), jobs);
        let node = escrow.credit(deployment.token, self.world.keys.address());
        let treasury = escrow.credit(deployment.token, deployment.collective);
        let token = DemoToken::new(deployment.token, &provider);
        let contributors = token.balanceOf(deployment.rewards);
        let sums = [
            contributors.call().await.expect("a sum"),
            node.call().await.expect("a sum"),
            treasury.call().await.expect("a sum"),
        ];
        assert_eq!(sums, [800, 150, 50].map(|part| U256::from(part * jobs)));
    }

    /// What the newest reward root pays, proposed or active.
    pub async fn rewarded(&self) -> U256 {
        let deployment = &self.world.deployment;
        let provider = self.world.provider(&self.world.deployer);
        let distributor = RewardDistributor::new(deployment.rewards, &provider);
        let pool = distributor.pool(deployment.collective, deployment.token);
        let pool = pool.call().await.expect("a pool");
        pool.total.max(pool.pendingTotal)
    }

    fn next_time(&self, time: u64) {
        self.ask("evm_setNextBlockTimestamp", &format!("[{time}]"));
    }

    fn ask(&self, method: &str, params: &str) -> Box<RawValue> {
        let params = RawValue::from_string(params.into()).expect("JSON");
        self.chain
            .request(method, Some(&params))
            .expect("an answer")
    }
}

/// Five respondents contribute; all stand in finalized blocks.
pub async fn populated() -> QuietWorld {
    let quiet = QuietWorld::found().await;
    for row in 0..5 {
        quiet.contribute(row, 0).await.expect("acknowledged");
    }
    all_anchored(&quiet, 5).await;
    quiet
}

pub async fn all_anchored(quiet: &QuietWorld, count: u64) {
    let all = async || quiet.view().anchored().len() as u64 == count;
    quiet.until(&format!("{count} are anchored"), all).await;
}

pub async fn reaches(quiet: &QuietWorld, job: u64, state: JobState) {
    let there = async || quiet.fact(job).await.state == state;
    quiet.until(&format!("job {job} is {state:?}"), there).await;
}

/// How the node's way to the chain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Way {
    /// Questions and answers pass.
    Open,
    /// Nothing passes.
    Cut,
    /// Questions pass and are acted on, answers are lost.
    Deaf,
}

/// An alloy transport to the chain that a test can cut.
#[derive(Clone)]
pub struct Line {
    chain: DevTransport,
    way: Arc<AtomicU8>,
}

impl Line {
    pub fn to(chain: &DevChain) -> Self {
        Self {
            chain: chain.transport(),
            way: Arc::default(),
        }
    }

    pub fn client(&self) -> RpcClient {
        RpcClient::new(self.clone(), true).with_poll_interval(Duration::from_millis(10))
    }

    pub fn is(&self, way: Way) {
        self.way.store(way as u8, Ordering::SeqCst);
    }
}

impl Service<RequestPacket> for Line {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.chain.poll_ready(context)
    }

    fn call(&mut self, packet: RequestPacket) -> Self::Future {
        let lost = || TransportErrorKind::custom_str("the line is cut");
        match self.way.load(Ordering::SeqCst) {
            way if way == Way::Cut as u8 => Box::pin(async move { Err(lost()) }),
            way if way == Way::Deaf as u8 => {
                let answer = self.chain.call(packet);
                Box::pin(async move {
                    let _ = answer.await;
                    Err(lost())
                })
            }
            _ => self.chain.call(packet),
        }
    }
}

/// A number that the environment gives, or the usual one.
pub fn number(name: &str, usual: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.map_or(usual, |text| text.parse().expect("a number"))
}

/// SplitMix64 (Steele, Lea and Flood 2014): the same seed gives the same schedule.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}
