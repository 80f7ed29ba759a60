//! A vote hands the data to one heavy node: who gets a lease, a release and the files' keys, and what becomes of the bond. Asked of
//! every member of a committee over the wire, on a real chain.

use std::sync::Arc;

use crate::committee_world::{CommitteeWorld, name, new_keys};
use alloy::network::TransactionBuilder;
use alloy::primitives::{B256, U256};
use alloy::providers::Provider;
use alloy::rpc::types::TransactionRequest;
use collective::approval::{HandOff, Manifest, Program, Return};
use collective::contribution::Batch;
use collective::id::{BlobId, KeysHash, NodeId};
use collective::terms::Purpose;
use collective_contracts::{DemoToken, JobEscrow, NodeRegistry};
use collective_node::chain::Chain;
use collective_node::chain::facts::{JobState, ROLE_HEAVY};
use collective_node::contributor::split_file;
use collective_node::demo::election;
use collective_node::governance::{Action, Motion};
use collective_node::keystore::Keystore;
use collective_node::node::blobs;
use collective_node::registration::{node_id, node_keys, register};

const TRAINING: &[u8] = br#"{"recipe":"logistic","target":{"column":"vote","atLeast":1}}"#;

/// What the node has at stake for one run, in the token's smallest unit.
const BOND: u64 = 500;
const DAY: u64 = 24 * 60 * 60;
/// From the release to the receipt.
const GIVEN: u64 = 3 * DAY;

/// Two of three members, twelve people who allow transfer, four of them training, too, and a heavy node that is registered and has two bonds.
struct Handed {
    world: CommitteeWorld,
    heavy: Arc<Keystore>,
    keys: KeysHash,
}

impl Handed {
    async fn founded() -> Self {
        Self::founded_with(12).await
    }

    async fn founded_with(people: usize) -> Self {
        let mut world = CommitteeWorld::found(2, 3).await;
        if people > 0 {
            // All of these allow transfer.
            contribute(&world, (0..people).map(|person| 7 * person)).await;
        }
        let source = world.source.client();
        world.start_members(&source).await;
        let heavy = new_keys(&world.folder.path().join("heavy"));
        let (deployment, by) = (
            world.world.deployment,
            world.world.provider(&world.world.deployer),
        );
        let money = TransactionRequest::default()
            .with_to(heavy.address())
            .with_value(U256::from(10).pow(U256::from(19)));
        mined(by.send_transaction(money).await).await;
        let own = heavy.provider(world.world.chain.client());
        let keys = register(&own, &deployment, &heavy, ROLE_HEAVY, "https://127.0.0.1:1").await;
        let keys = keys.expect("registered");
        let bonds = U256::from(2 * BOND);
        let payer = world.world.provider(&world.world.requester);
        let token = DemoToken::new(deployment.token, &payer);
        mined(token.transfer(heavy.address(), bonds).send().await).await;
        let token = DemoToken::new(deployment.token, &own);
        mined(token.approve(deployment.escrow, bonds).send().await).await;
        let escrow = JobEscrow::new(deployment.escrow, &own);
        let node = node_id(&heavy).0;
        mined(
            escrow
                .depositBond(node, deployment.token, bonds)
                .send()
                .await,
        )
        .await;
        Self { world, heavy, keys }
    }

    /// A manifest that hands the data to `node` under `keys`.
    fn manifest(&self, node: NodeId, keys: KeysHash) -> Manifest {
        let mut manifest = self.world.manifest.clone();
        manifest.program = Program::Training {
            sha256: BlobId::of(TRAINING),
            trainer: "collective-heavy/0.1.0".into(),
            origin: None,
        };
        manifest.arguments = String::new();
        let columns = election::source().columns;
        manifest.dataset.columns = columns.into_iter().map(|column| column.name).collect();
        manifest.purpose = Purpose::Training;
        manifest.payment.bond = U256::from(BOND);
        manifest.max_runs = 9;
        manifest.hand_off = Some(HandOff {
            node,
            keys,
            seconds: GIVEN as u32,
            returns: vec![Return::Deletion, Return::Model],
        });
        Manifest::parse(&manifest.to_bytes()).expect("a good manifest")
    }

    /// Has the members approve this manifest, and whatever else; from then on it is what is requested.
    async fn approve(&mut self, manifest: Manifest, more: Option<Action>) {
        let approve = Action::approve(&self.world.world.deployment, &manifest, "blob".into());
        let actions = more.into_iter().chain([approve]).collect();
        let description = format!("Hand the data over under {}.", manifest.digest());
        let motion = Motion {
            actions,
            description,
        };
        self.world.world.decide(&motion).await.expect("a decision");
        let bytes = manifest.to_bytes();
        self.world.source.put_blob(&bytes);
        let store = blobs(&self.world.world.data).expect("a store");
        store.put(bytes.into()).await.expect("a kept blob");
        self.world.manifest = manifest;
        self.world.settle_in().await;
    }

    /// The collective accepts the heavy node and hands the data to it.
    async fn approved(&mut self) {
        let (node, deployment) = (node_id(&self.heavy), &self.world.world.deployment);
        let accept = Action::accept_node(deployment, node, self.keys);
        let manifest = self.manifest(node, self.keys);
        self.approve(manifest, Some(accept)).await;
    }

    /// From now on the test acts as the heavy node, where it acted as the compute node.
    fn act_as_heavy(&mut self) {
        self.world.world.node_id = node_id(&self.heavy);
        self.world.world.keys = self.heavy.clone();
    }

    /// Every member refuses this key a signature, in words with these among them.
    async fn refuse_release(&self, by: &Keystore, job: u64, words: &str) {
        for place in 0..self.world.seats.len() {
            let answer = self.world.ask_release(by, place, job).await;
            let said = answer.expect_err("refused").to_string();
            assert!(said.contains(words), "member {}: {said}", place + 1);
        }
    }

    async fn refuse_partials(&self, by: &Keystore, job: u64, asked: &[u8], words: &str) {
        for place in [0, 1] {
            let answer = self.world.ask_partials(by, place, job, asked).await;
            let said = answer.expect_err("refused").to_string();
            assert!(said.contains(words), "member {}: {said}", place + 1);
        }
    }

    async fn asked(&self, job: u64) -> Vec<u8> {
        let granted = self.world.granted(&self.world.fact(job).await).await;
        let release = name(&self.world, granted.release());
        self.world.question(release, &[0, 1]).to_bytes()
    }

    async fn bond(&self) -> (U256, U256) {
        let deployment = &self.world.world.deployment;
        let escrow = JobEscrow::new(deployment.escrow, self.world.reader.provider());
        let bond = escrow.bond(node_id(&self.heavy).0, deployment.token);
        let bond = bond.call().await.expect("a bond");
        (bond.total, bond.locked)
    }

    /// What the treasury may withdraw.
    async fn treasury(&self) -> U256 {
        let deployment = &self.world.world.deployment;
        let escrow = JobEscrow::new(deployment.escrow, self.world.reader.provider());
        let credit = escrow.credit(deployment.token, deployment.collective);
        credit.call().await.expect("a credit")
    }
}

/// As [`CommitteeWorld::populate`], and the node, when it is started, has their files.
async fn contribute(world: &CommitteeWorld, rows: impl Iterator<Item = usize>) {
    let store = blobs(&world.world.data).expect("a store");
    let mut entries = vec![];
    for row in rows {
        let (entry, file) = world.contribution(row, 0);
        let (header, _) = split_file(&file).expect("a header");
        world.source.put_header(entry.contribution.leaf(), header);
        store.put(file.into()).await.expect("kept");
        entries.push(entry);
    }
    let batch = Batch::new(entries.clone()).expect("entries");
    store.put(batch.manifest().into()).await.expect("kept");
    world.anchor(entries, true).await;
}

async fn mined<E: std::fmt::Debug>(
    sent: Result<alloy::providers::PendingTransactionBuilder<alloy::network::Ethereum>, E>,
) {
    Chain::mined(sent.expect("sent")).await.expect("mined");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_named_node_gets_anything_and_only_in_its_time() {
    let mut handed = Handed::founded().await;
    handed.approved().await;
    let compute = handed.world.world.keys.clone();
    let compute_id = handed.world.world.node_id;

    // The compute node is accepted, too, and gets no lease.
    let job = handed.world.request().await;
    handed.world.settle_in().await;
    let refused = handed.world.lease(job).await.expect_err("not named");
    assert!(refused.to_string().contains("NotHandedTo"), "{refused}");
    handed.act_as_heavy();
    handed.world.lease(job).await.expect("a lease");
    handed.world.settle_in().await;
    let (total, locked) = handed.bond().await;
    assert_eq!((total, locked), (U256::from(2 * BOND), U256::from(BOND)));

    // It reads those alone who allow training, too.
    let granted = handed.world.granted(&handed.world.fact(job).await).await;
    assert_eq!(granted.input().count(), 4);
    let heavy = handed.heavy.clone();
    for other in [&compute, &handed.world.rival.clone()] {
        handed.refuse_release(other, job, "is leased to node").await;
    }
    handed.world.record(job, &[0, 2]).await;
    handed.world.settle_in().await;
    let asked = handed.asked(job).await;
    for other in [&compute, &handed.world.rival.clone()] {
        let words = "is leased to node";
        handed.refuse_partials(other, job, &asked, words).await;
    }
    let opened = handed.world.open_with(job, &[0, 1]).await;
    assert!(opened.files.len() == 4 && opened.files.iter().all(Result::is_ok));
    // Whoever overhears an answer has nothing.
    let answer = handed.world.ask_partials(&heavy, 0, job, &asked).await;
    let answer = answer.expect("an answer");
    assert!(compute.open_sealed(&answer[ENVELOPE..]).is_err());
    assert!(heavy.open_sealed(&answer[ENVELOPE..]).is_ok());

    // A grant is of one job: what was granted for it opens nothing of another one.
    let second = handed.world.released(&[0, 1]).await;
    let words = "not the one that the member signed";
    handed.refuse_partials(&heavy, second, &asked, words).await;

    // A rotation shows at once, before it is final.
    let mark = handed.world.chain.snapshot();
    rotate(&handed).await;
    let words = "since the release the collective has taken back";
    handed.refuse_partials(&heavy, job, &asked, words).await;
    assert!(handed.world.chain.revert(mark).expect("a chain in memory"));
    handed.world.chain.mine(3).expect("blocks");

    // The vote gives three days: after one the keys are still given, and after three nothing is.
    handed.world.pass(DAY + 60).await;
    handed.world.settle_in().await;
    let opened = handed.world.open_with(job, &[1, 2]).await;
    assert!(opened.files.iter().all(Result::is_ok));
    handed.world.pass(2 * DAY).await;
    let words = "the time for its receipt is over";
    handed.refuse_partials(&heavy, job, &asked, words).await;

    // Nothing came back: the collective's own node says so, and the bond goes to the treasury.
    let before = handed.treasury().await;
    handed.world.world.node_id = compute_id;
    handed.world.world.keys = compute;
    let (_node, _) = handed.world.start_node().await;
    let are_abandoned = async || {
        let (one, other) = (handed.world.fact(job), handed.world.fact(second));
        let states = [one.await.state, other.await.state];
        states == [JobState::Abandoned; 2]
    };
    handed
        .world
        .until("both jobs are abandoned", are_abandoned)
        .await;
    assert_eq!(handed.bond().await, (U256::ZERO, U256::ZERO));
    let share = handed.world.manifest.payment.price * U256::from(5) / U256::from(100);
    let gained = handed.treasury().await - before;
    assert_eq!(gained, U256::from(2) * (share + U256::from(BOND)));
}

/// Bytes of an answer before what is sealed (SPEC "Partials on the wire").
const ENVELOPE: usize = 2 + 32 + 2 + 8 + 32 + 65;

async fn rotate(handed: &Handed) {
    let (deployment, heavy) = (&handed.world.world.deployment, &handed.heavy);
    let own = heavy.provider(handed.world.world.chain.client());
    let registry = NodeRegistry::new(deployment.nodes, own);
    let mut changed = node_keys(heavy, ROLE_HEAVY);
    changed.measurement = B256::repeat_byte(7);
    let recipient = heavy.node_recipient().to_string();
    let endpoint = "https://127.0.0.1:1".into();
    let call = registry.rotate(node_id(heavy).0, changed, recipient, endpoint);
    mined(call.send().await).await;
}

/// The contract knows the node that a vote names, and not its keys: that these are the ones which members saw is for holders to see.
#[tokio::test(flavor = "multi_thread")]
async fn other_keys_than_members_saw_get_nothing_even_where_the_node_is_accepted_with_them() {
    let mut handed = Handed::founded().await;
    let node = node_id(&handed.heavy);
    let seen = KeysHash(B256::repeat_byte(7));
    let accept = Action::accept_node(&handed.world.world.deployment, node, handed.keys);
    handed
        .approve(handed.manifest(node, seen), Some(accept))
        .await;
    handed.act_as_heavy();
    let job = handed.world.leased().await;
    let heavy = handed.heavy.clone();
    let words = "hands the data to node";
    handed.refuse_release(&heavy, job, words).await;
}

/// Files are opened whole: a vote for a part of what is in them gives nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_hand_off_that_names_a_part_of_the_columns_gets_nothing() {
    let mut handed = Handed::founded().await;
    let node = node_id(&handed.heavy);
    let accept = Action::accept_node(&handed.world.world.deployment, node, handed.keys);
    let mut part = handed.manifest(node, handed.keys);
    part.dataset.columns.truncate(2);
    handed.approve(part, Some(accept)).await;
    handed.act_as_heavy();
    let job = handed.world.leased().await;
    let heavy = handed.heavy.clone();
    let words = "gives whole files";
    handed.refuse_release(&heavy, job, words).await;
}

/// The collective's own node leaves such a job alone: it is not refused, as whoever waits for it would be told to give up.
#[tokio::test(flavor = "multi_thread")]
async fn a_compute_node_passes_over_what_is_handed_to_another() {
    let mut handed = Handed::founded_with(0).await;
    let statistics = handed.world.manifest.clone();
    handed.approved().await;
    let (_node, client) = handed.world.start_node().await;
    let job = handed.world.request().await;
    handed.world.manifest = statistics;
    // For this one the node looks at all jobs, in their order: nobody has contributed.
    let other = handed.world.request().await;
    let refused = async || {
        let answer = client.job(other).await;
        answer.is_ok_and(|answer| answer.refusal.is_some())
            || handed.world.fact(other).await.state != JobState::Requested
    };
    handed
        .world
        .until("the other job is looked at", refused)
        .await;
    let answer = client.job(job).await.expect("an answer");
    assert!(answer.refusal.is_none(), "{:?}", answer.refusal);
    assert_eq!(handed.world.fact(job).await.state, JobState::Requested);
}

/// Acceptance makes a heavy node known to key holders. It is no compute node, and takes no job of one.
#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_heavy_node_takes_no_job_that_does_not_name_it() {
    let mut handed = Handed::founded().await;
    let statistics = handed.world.manifest.clone();
    handed.approved().await;
    handed.world.manifest = statistics;
    let job = handed.world.request().await;
    handed.world.settle_in().await;
    handed.act_as_heavy();
    let refused = handed.world.lease(job).await.expect_err("no compute node");
    assert!(refused.to_string().contains("NotCompute"), "{refused}");
}
