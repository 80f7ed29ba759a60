//! A node takes contributions in and anchors nothing. The contributor does without it, and everybody counts what stands on chain then:
//! with the node's own acknowledgement, and with nothing less.

use crate::by_hand::{self, PATIENCE, Running, World as ByHand, start_node};
use crate::committee_world::CommitteeWorld;
use crate::quiet_world::{LAG, QuietWorld, WINDOW, populated, reaches};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use alloy::primitives::{Address, B256, U256};
use alloy::providers::{DynProvider, Provider, ProviderBuilder};
use alloy::rpc::client::RpcClient;
use alloy::rpc::json_rpc::{RequestPacket, ResponsePacket, ResponsePayload};
use alloy::rpc::types::{Log, TransactionReceipt};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::SolEvent;
use alloy::transports::{TransportError, TransportFut};
use collective::contribution::{DirectContribution, SignedContribution, acknowledgement_hash};
use collective::id::{Leaf, Point};
use collective::index::Void;
use collective_contracts::ContributionRegistry::{self, Contributed, Contribution};
use collective_node::chain::facts::JobState;
use collective_node::chain::{Account, Chain, ChainError, Deployment};
use collective_node::client::Client;
use collective_node::contributor::{
    Destination, RecoveryStep, prepare, recovery, signed, split_file,
};
use collective_node::demo::{DevelopmentChain, Setting, TERMS_EXPIRE, VOTING, World, election};
use collective_node::follower::{FollowError, Follower, View};
use collective_node::founding::{Founding, Plan};
use collective_node::headers::Headers;
use collective_node::http::ContributionState;
use collective_node::intake::join;
use collective_node::keystore::Keystore;
use collective_node::node::blobs;
use collective_node::review::index;
use collective_node::verify::OnChain;
use devchain::{Clock, Config, DevChain, DevTransport};
use serde_json::Value;
use tower::Service;

const RECORD: &[u8] = b"0,7,7,1,6,6,36,3,1,1\n";

/// What a contributor has once the node of these keys took a file in.
fn acknowledged(
    world: &World,
    keys: &Keystore,
    (entry, file): (SignedContribution, Vec<u8>),
) -> DirectContribution {
    let registry = world.deployment.registry();
    let leaf = entry.contribution.leaf();
    let hash = acknowledgement_hash(&registry, world.deployment.collective, leaf);
    let (header, _) = split_file(&file).expect("a sealed file");
    DirectContribution {
        entry,
        acknowledgement: keys.sign(hash),
        header: header.to_vec().into(),
    }
}

/// The struct that goes to the contract.
fn on_chain(entry: &SignedContribution) -> Contribution {
    let contribution = &entry.contribution;
    Contribution {
        collective: contribution.collective,
        contributorId: contribution.contributor.0,
        point: contribution.point.0,
        commitment: contribution.commitment.0,
        terms: contribution.terms.0,
        nonce: U256::from(contribution.nonce),
    }
}

/// A respondent's own transaction; gas is given to whoever needs it.
async fn anchor(
    world: &World,
    row: usize,
    contribution: Contribution,
    details: Vec<u8>,
) -> Result<TransactionReceipt, ChainError> {
    let account = &world.contributors[row];
    let by = world.provider(account);
    give_ether(&by, account.address(), 1).await;
    let registry = ContributionRegistry::new(world.deployment.contributions, by);
    let call = registry.contribute(contribution, details.into());
    Chain::mined(call.send().await?).await
}

async fn anchor_all(world: &World, row: usize, taken: &DirectContribution) {
    let sent = anchor(world, row, on_chain(&taken.entry), taken.details());
    sent.await.expect("anchored");
}

/// What a faucet is for elsewhere; 0 takes all away.
async fn give_ether(provider: &DynProvider, account: Address, ether: u64) {
    let wei = U256::from(ether) * U256::from(10).pow(U256::from(18));
    let set = provider.raw_request("anvil_setBalance".into(), (account, wei));
    let _: Value = set.await.expect("a development chain");
}

fn counts(view: &View, leaf: Leaf) -> bool {
    let mut counted = view.anchored().iter();
    counted.any(|it| it.entry.contribution.leaf() == leaf)
}

async fn members() -> CommitteeWorld {
    let mut world = CommitteeWorld::found(2, 3).await;
    let source = world.source.client();
    world.start_members(&source).await;
    world.settle_in().await;
    world
}

/// What each member has of the chain.
fn views(world: &CommitteeWorld) -> Vec<View> {
    let holders = world.seats.iter().filter_map(|seat| seat.holder.as_ref());
    holders
        .map(|holder| holder.view().borrow().clone())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn key_holders_sign_and_open_what_a_contributor_anchored() {
    let world = members().await;
    let (node, keys) = (&world.world, &world.world.keys);
    world.populate(0..3).await;
    let mut own = vec![];
    for row in 3..5 {
        let taken = acknowledged(node, keys, world.contribution(row, 0));
        anchor_all(node, row, &taken).await;
        own.push(taken);
    }
    // Nobody gives the members these headers: they stand on chain.
    world.settle_in().await;
    let job = world.released(&[0, 1]).await;
    assert_eq!(world.fact(job).await.input_count, 5);
    for taken in &own {
        let leaf = taken.entry.contribution.leaf();
        assert!(views(&world).iter().all(|view| counts(view, leaf)));
        world.source.put_header(leaf, &taken.header);
    }
    let opened = world.open_with(job, &[0, 2]).await;
    assert_eq!(opened.files.iter().flatten().count(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_acknowledged_or_not_whole_is_nothing_at_all() {
    let world = members().await;
    let (node, keys) = (&world.world, &world.world.keys);
    let deployment = &node.deployment;
    let good = acknowledged(node, keys, world.contribution(0, 0));
    let other = acknowledged(node, keys, world.contribution(1, 0));
    let leaf = good.entry.contribution.leaf();
    let hash = acknowledgement_hash(&deployment.registry(), deployment.collective, leaf);
    let with = |change: &dyn Fn(&mut DirectContribution)| {
        let mut changed = good.clone();
        change(&mut changed);
        changed.details()
    };
    let own_word = node.contributors[0].sign_hash_sync(&hash).expect("signed");
    let whole = good.details();
    let spaced = [&whole[..], b" "].concat();
    for (what, details) in [
        ("no details", vec![]),
        ("cut details", whole[..500].to_vec()),
        ("something behind them", spaced),
        (
            "no acknowledgement",
            with(&|it| it.acknowledgement = own_word),
        ),
        (
            "another node's acknowledgement",
            with(&|it| it.acknowledgement = world.rival.sign(hash)),
        ),
        (
            "the acknowledgement of another leaf",
            with(&|it| it.acknowledgement = other.acknowledgement),
        ),
        (
            "another header",
            with(&|it| it.header = other.header.clone()),
        ),
        ("other terms", with(&|it| it.entry.terms.expiry += 1)),
        (
            "another length",
            with(&|it| it.entry.commitment.length += 1),
        ),
        (
            "another's signature",
            with(&|it| it.entry.signature = other.entry.signature),
        ),
        ("details of another leaf", other.details()),
    ] {
        let sent = anchor(node, 0, on_chain(&good.entry), details).await;
        sent.unwrap_or_else(|error| panic!("{what}: {error}"));
        world.settle_in().await;
        for view in views(&world) {
            assert!(view.halted.is_none(), "{what}: {:?}", view.halted);
            assert_eq!((view.index.len(), view.direct.len()), (0, 0), "{what}");
        }
    }
    // A nonce that no struct of ours has.
    let mut endless = on_chain(&good.entry);
    endless.nonce = U256::MAX;
    let sent = anchor(node, 0, endless, whole.clone()).await;
    sent.expect("the contract takes it");
    // The contract itself refuses who sends another's, and what is too long.
    let another = anchor(node, 1, on_chain(&good.entry), whole.clone()).await;
    let refused = another.expect_err("it is not theirs").to_string();
    assert!(refused.contains("NotContributor"), "{refused}");
    let long = anchor(node, 0, on_chain(&good.entry), vec![1; 20_550]).await;
    let refused = long.expect_err("it is too long").to_string();
    assert!(refused.contains("DetailsTooLong"), "{refused}");

    // The same node's word for a file whose header breaks a rule: it is stored and audited, and does not count.
    let mut contribution = world.contribution(2, 0).0.contribution;
    contribution.point = Point(B256::repeat_byte(7));
    let (entry, file) = world.contribution(2, 0);
    contribution.commitment = entry.commitment.digest();
    let (account, terms) = (&node.contributors[2], entry.terms);
    let entry = signed(deployment, account, contribution, entry.commitment, terms);
    let planted = acknowledged(node, keys, (entry, file));
    anchor_all(node, 2, &planted).await;
    // And the whole one.
    anchor_all(node, 0, &good).await;
    world.settle_in().await;
    for view in views(&world) {
        let planted = planted.entry.contribution.leaf();
        assert_eq!(view.index.void(planted), Some(Void::Header));
        assert_eq!((view.index.len(), view.anchored().len()), (2, 1));
        assert!(counts(&view, leaf));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_anchoring_of_a_leaf_counts_whichever_way() {
    let world = members().await;
    let (node, keys) = (&world.world, &world.world.keys);
    let [first, second] = [0, 1].map(|row| acknowledged(node, keys, world.contribution(row, 0)));
    for taken in [&first, &second] {
        let leaf = taken.entry.contribution.leaf();
        world.source.put_header(leaf, &taken.header);
    }
    // By its contributor, then in a batch; in a batch, then by its contributor, twice.
    anchor_all(node, 0, &first).await;
    let both = vec![first.entry.clone(), second.entry.clone()];
    world.anchor(both, true).await;
    anchor_all(node, 1, &second).await;
    world.settle_in().await;
    anchor_all(node, 1, &second).await;
    world.settle_in().await;
    let leaves = [&first, &second].map(|taken| taken.entry.contribution.leaf());
    for view in views(&world) {
        let counted = view.anchored().iter();
        let counted: Vec<Leaf> = counted.map(|it| it.entry.contribution.leaf()).collect();
        assert_eq!(counted, leaves);
        // Only a batch brings a leaf in once more: whoever sends it again and again gets no second place to be asked for.
        let all = view.index.anchored();
        let all: Vec<Leaf> = all.map(|it| it.entry.contribution.leaf()).collect();
        assert_eq!(all, [leaves[0], leaves[0], leaves[1]]);
        assert_eq!(view.direct.len(), 3);
    }
}

/// A respondent's contribution as the node takes it in and acknowledges it.
async fn given(quiet: &QuietWorld, row: usize, nonce: u64) -> DirectContribution {
    let (entry, file) = sealed(quiet, row, nonce);
    let taken = quiet.client().contribute(join(&entry, &file)).await;
    let taken = taken.expect("acknowledged");
    let (header, _) = split_file(&file).expect("a sealed file");
    let given = DirectContribution {
        acknowledgement: taken.signature,
        header: header.to_vec().into(),
        entry,
    };
    let by = given.acknowledged_by(&quiet.world.deployment.registry());
    assert_eq!(by, Ok(quiet.world.keys.address()));
    given
}

fn sealed(quiet: &QuietWorld, row: usize, nonce: u64) -> (SignedContribution, Vec<u8>) {
    let share = quiet.world.keys.shares().newest().expect("a share");
    let to = Destination {
        deployment: &quiet.world.deployment,
        recipient: share.certificate().recipient(),
        source: "anes96",
        terms: election::terms(row, TERMS_EXPIRE),
    };
    let account = &quiet.world.contributors[row];
    let record = &election::records().expect("records")[row];
    prepare(&to, account, nonce, record, &mut rand::rng()).expect("a sealed record")
}

/// The account that anchors, with money or without.
async fn purse(quiet: &QuietWorld, ether: u64) {
    let by = quiet.world.provider(&quiet.world.deployer);
    give_ether(&by, quiet.world.keys.address(), ether).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_ledger_finds_again_what_contributors_anchored() {
    let mut quiet = populated().await;
    purse(&quiet, 0).await;
    let taken = given(&quiet, 5, 0).await;
    let leaf = taken.entry.contribution.leaf();
    let batches = quiet.batches().await.len();
    quiet.meanwhile(anchor_all(&quiet.world, 5, &taken)).await;
    let told = async || {
        let answer = quiet.client().contribution(leaf).await;
        matches!(
            answer.expect("known").state,
            ContributionState::Direct { .. }
        )
    };
    quiet
        .until("the node knows that it is anchored", told)
        .await;
    quiet.replay_is_the_same().await;

    quiet.crash().await;
    for file in ["ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"] {
        let _ = std::fs::remove_file(quiet.world.data.join(file));
    }
    purse(&quiet, 10).await;
    quiet.start().await.expect("the node starts");
    let found = async || {
        let ledger = quiet.node().ledger();
        ledger.direct(leaf).await.expect("the ledger").is_some()
    };
    quiet.until("it is known again", found).await;
    let answer = quiet.client().contribution(leaf).await.expect("known");
    match answer.state {
        ContributionState::Direct { receipt, void, .. } => {
            assert_eq!((*receipt, void), (taken, None));
        }
        other => panic!("{other:?}"),
    }
    // It needs no batch, and none is made. It is read, paid for, and asked for as the others are.
    let status = quiet.client().status().await.expect("a status");
    assert_eq!((status.waiting, status.anchored), (0, 6));
    let job = quiet.request(&quiet.manifest).await.expect("a job");
    reaches(&quiet, job, JobState::Completed).await;
    assert_eq!(quiet.fact(job).await.input_count, 6);
    assert_eq!(quiet.batches().await.len(), batches);
    quiet.pass(WINDOW).await;
    reaches(&quiet, job, JobState::Settled).await;
    let account = quiet.world.contributors[5].address();
    let paid = async || {
        quiet.pass(WINDOW).await;
        quiet.mine(LAG);
        let claim = quiet.client().claim(account).await;
        claim.is_ok_and(|claim| claim.cumulative == "133")
    };
    quiet.until("800 are shared by six", paid).await;
    let pool = quiet.view().index.pool(u64::MAX);
    assert_eq!(pool.iter().filter(|it| it.0 == leaf).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_from_a_backup_finds_what_is_anchored_while_the_node_runs() {
    const LEDGER: [&str; 3] = ["ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"];
    let mut quiet = populated().await;
    purse(&quiet, 0).await;
    let backup = tempfile::tempdir().expect("a temporary folder");
    quiet.crash().await;
    for file in LEDGER {
        let _ = std::fs::copy(quiet.world.data.join(file), backup.path().join(file));
    }
    quiet.start().await.expect("the node starts");
    let taken = given(&quiet, 5, 0).await;
    let leaf = taken.entry.contribution.leaf();
    quiet.crash().await;
    for file in LEDGER {
        let _ = std::fs::remove_file(quiet.world.data.join(file));
        let _ = std::fs::copy(backup.path().join(file), quiet.world.data.join(file));
    }
    quiet.start().await.expect("the node starts");
    let lost = quiet.client().contribution(leaf).await;
    assert!(lost.is_err(), "the backup knows nothing of it");

    // The contributor has the node's word, and the node still has the file.
    purse(&quiet, 10).await;
    quiet.meanwhile(anchor_all(&quiet.world, 5, &taken)).await;
    let known = async || {
        let ledger = quiet.node().ledger();
        ledger.direct(leaf).await.expect("the ledger").is_some()
    };
    quiet.until("it is known again", known).await;
    let job = quiet.request(&quiet.manifest).await.expect("a job");
    reaches(&quiet, job, JobState::Completed).await;
    assert_eq!(quiet.fact(job).await.input_count, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_named_a_collective_before_there_was_one_is_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let chain = DevChain::new(Config {
        clock: Clock::Steps(1),
        ..Config::default()
    });
    let served = DevelopmentChain::quiet(&chain);
    let at = ([127, 0, 0, 1], 0).into();
    let first = World::constituted(served, folder.path(), at, Setting::default()).await;
    let first = first.expect("a constituted collective");
    let plan = Plan {
        chain_id: first.deployment.chain_id,
        deployer: first.deployer.address(),
        name: "Neighbours".into(),
        founders: vec![first.contributors[1].address()],
        voting: VOTING,
        singletons: Some((&first.deployment).into()),
        token: Some(first.deployment.token),
    };
    let found = async || {
        let by = first.provider(&first.deployer);
        let mut founding = Founding::begin(plan.clone(), &by).await.expect("begun");
        founding.complete(&by).await.expect("founded")
    };
    // Contracts get their addresses from deployer and nonce: anybody sees beforehand where a collective will be.
    let before = chain.snapshot();
    let foreseen = found().await.collective;
    assert!(chain.revert(before).expect("in memory"), "kept");
    let stranger = &first.contributors[0];
    let by = first.provider(stranger);
    give_ether(&by, stranger.address(), 1).await;
    let contribution = Contribution {
        collective: foreseen,
        contributorId: stranger.address().into_word(),
        point: B256::repeat_byte(1),
        commitment: B256::repeat_byte(2),
        terms: B256::repeat_byte(3),
        nonce: U256::ZERO,
    };
    let registry = ContributionRegistry::new(first.deployment.contributions, &by);
    let sent = registry.contribute(contribution, b"nonsense".into());
    Chain::mined(sent.send().await.expect("sent"))
        .await
        .expect("the contract takes it");
    let aggregator = first.keys.address();
    let deployment = found().await;
    assert_eq!(deployment.collective, foreseen);

    let reader = Chain::reader(first.chain.client(), deployment).await;
    let reader = reader.expect("the chain");
    let begun = reader.at_height(deployment.first_block).await;
    let heads = reader.heads(&begun.expect("a block"), aggregator).await;
    assert!(!heads.expect("heads").direct.is_zero());
    let store = blobs(&first.data).expect("a store");
    let headers = Headers::Node(first.client.clone());
    let followed = Follower::start(reader.clone(), store, headers, aggregator).await;
    let (_, view) = followed.expect("nothing is withheld");
    assert!(view.borrow().index.is_empty());
    let newest = reader.latest().await.expect("a block");
    OnChain::read(&reader, newest)
        .await
        .expect("nothing is withheld");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proposal_is_reviewed_by_what_stands_on_chain_though_the_node_anchored_nothing() {
    let quiet = QuietWorld::found().await;
    let store = quiet.node().blobs().clone();
    let headers = Headers::own(quiet.node().ledger().clone(), store.clone());
    let index = async || index(&quiet.reader, &store, &headers).await;
    assert!(index().await.expect("the chain").is_none());
    purse(&quiet, 0).await;
    let taken = given(&quiet, 5, 0).await;
    quiet.meanwhile(anchor_all(&quiet.world, 5, &taken)).await;
    quiet.mine(2 * LAG);
    let view = index().await.expect("the chain");
    let view = view.expect("somebody acknowledged it");
    assert!(counts(&view, taken.entry.contribution.leaf()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_that_is_cut_out_takes_its_contribution_along() {
    let quiet = populated().await;
    let taken = acknowledged(&quiet.world, &quiet.world.keys, sealed(&quiet, 5, 0));
    let leaf = taken.entry.contribution.leaf();
    quiet.meanwhile(anchor_all(&quiet.world, 5, &taken)).await;
    quiet.cut(2, false, 3).await;
    quiet.mine(2 * LAG);
    quiet.replay_is_the_same().await;
    assert!(!quiet.view().index.holds(leaf));
    // Sent again it stands in another block, and counts.
    quiet.meanwhile(anchor_all(&quiet.world, 5, &taken)).await;
    let counts = async || counts(&quiet.view(), leaf);
    quiet.until("it counts", counts).await;
    assert_eq!(quiet.view().direct.len(), 1);
    quiet.replay_is_the_same().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_anchored_under_an_id_that_another_key_took_over() {
    let quiet = populated().await;
    let ann = &quiet.world.contributors[0];
    let by = quiet.world.provider(ann);
    give_ether(&by, ann.address(), 1).await;
    let taken = acknowledged(&quiet.world, &quiet.world.keys, sealed(&quiet, 0, 1));
    let late = acknowledged(&quiet.world, &quiet.world.keys, sealed(&quiet, 0, 2));
    let registry = ContributionRegistry::new(quiet.world.deployment.contributions, &by);
    ready_to_finish(&quiet, ann).await;
    // Both in one block: that of the rotation is closed already.
    let last = registry.contribute(on_chain(&taken.entry), taken.details().into());
    let last = last.send().await.expect("sent");
    let finish = registry.finishRecovery(ann.address().into_word());
    let finish = finish.gas(200_000).send().await.expect("sent");
    let both = async { (Chain::mined(last).await, Chain::mined(finish).await) };
    let (last, finish) = quiet.meanwhile(both).await;
    let blocks = (
        last.expect("anchored").block_number,
        finish.expect("finished").block_number,
    );
    assert_eq!(blocks.0, blocks.1, "they are in one block");
    let leaf = taken.entry.contribution.leaf();
    let seen = async || quiet.view().index.holds(leaf);
    quiet.until("it is final", seen).await;
    assert_eq!(quiet.view().index.void(leaf), Some(Void::TakenOver));
    assert!(!counts(&quiet.view(), leaf));
    let sent = anchor(&quiet.world, 0, on_chain(&late.entry), late.details()).await;
    let refused = sent.expect_err("the id is closed").to_string();
    assert!(refused.contains("ContributorRotated"), "{refused}");
}

/// Brings a recovery of this account to where it only has to be finished.
async fn ready_to_finish(quiet: &QuietWorld, ann: &PrivateKeySigner) {
    const NEVER: u64 = 4_000_000_000;
    let (safe, next) = (PrivateKeySigner::random(), PrivateKeySigner::random());
    let (deployment, account) = (&quiet.world.deployment, ann.address());
    for (by, step, sequence) in [
        (ann, RecoveryStep::Name(safe.address()), 0),
        (&safe, RecoveryStep::Start(next.address()), 1),
    ] {
        let change = recovery(deployment, by, account, step, sequence, NEVER);
        let relayed = quiet.meanwhile(quiet.client().recover(&change)).await;
        relayed.expect("relayed");
    }
    quiet.pass(30 * 86_400 + 1).await;
}

/// What an endpoint makes of a log.
type Alter = fn(Log) -> Option<Log>;

/// An endpoint that shows other logs than there are, and gives no answer with more than so many.
#[derive(Clone)]
struct Endpoint {
    chain: DevTransport,
    alter: Alter,
    most: usize,
}

impl Service<RequestPacket> for Endpoint {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, packet: RequestPacket) -> Self::Future {
        let asked = packet.as_single().map(|it| it.method().to_owned());
        let (answer, alter, most) = (self.chain.call(packet), self.alter, self.most);
        Box::pin(async move {
            let mut answer = answer.await?;
            if let (Some("eth_getLogs"), ResponsePacket::Single(single)) =
                (asked.as_deref(), &mut answer)
                && let ResponsePayload::Success(logs) = &single.payload
            {
                let logs: Vec<Log> = serde_json::from_str(logs.get()).expect("logs");
                let logs: Vec<Log> = logs.into_iter().filter_map(alter).collect();
                let shown = serde_json::value::to_raw_value(&logs).expect("JSON");
                single.payload = match logs.len() > most {
                    true => {
                        ResponsePayload::internal_error_message("the answer is too large".into())
                    }
                    false => ResponsePayload::Success(shown),
                };
            }
            Ok(answer)
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_withholds_or_garbles_details_is_found_out() {
    let quiet = populated().await;
    let taken = acknowledged(&quiet.world, &quiet.world.keys, sealed(&quiet, 5, 0));
    let leaf = taken.entry.contribution.leaf();
    quiet.meanwhile(anchor_all(&quiet.world, 5, &taken)).await;
    quiet.mine(2 * LAG);
    let store = quiet.node().blobs().clone();
    let ledger = quiet.node().ledger().clone();
    let start = async |alter, most| {
        let chain = quiet.chain.transport();
        let client = RpcClient::new(Endpoint { chain, alter, most }, true);
        let chain = Chain::reader(client, quiet.world.deployment).await?;
        let headers = Headers::own(ledger.clone(), store.clone());
        let aggregator = quiet.world.keys.address();
        Follower::start(chain, store.clone(), headers, aggregator).await
    };
    // One that is honest and gives one log at a time is asked for fewer blocks; one that gives none is of no use.
    for most in [usize::MAX, 1] {
        let (_, view) = start(Some, most).await.expect("an honest endpoint");
        assert!(counts(&view.borrow(), leaf));
        assert_eq!(view.borrow().index.len(), 6);
    }
    let error = start(Some, 0).await.err();
    let found = matches!(&error, Some(FollowError::Chain(ChainError::Endpoint(_))));
    assert!(found, "{error:?}");
    let lies: [Alter; 2] = [
        |log| (log.topic0() != Some(&Contributed::SIGNATURE_HASH)).then_some(log),
        |mut log| {
            if log.topic0() == Some(&Contributed::SIGNATURE_HASH) {
                // A byte of the details, behind five words, the head and their length.
                let mut data = log.inner.data.data.to_vec();
                data[32 * 7 + 100] ^= 1;
                log.inner.data.data = data.into();
            }
            Some(log)
        },
    ];
    for alter in lies {
        let error = start(alter, usize::MAX).await.err();
        let found = matches!(error, Some(FollowError::Withheld { .. }));
        assert!(found, "{error:?}");
    }
}

/// A world by hand whose node has taken something in and cannot anchor it.
struct Place {
    world: ByHand,
    client: Client,
    provider: DynProvider,
    runtime: tokio::runtime::Runtime,
    key: String,
}

impl Place {
    fn start(folder: &std::path::Path) -> (Self, Running) {
        let world = ByHand::start(folder.join("world"));
        let (node, _) = start_node(&world.path("node.toml"));
        let rpc = world.told("rpc").parse().expect("a URL");
        let place = Self {
            client: Client::new(world.told("node").parse().expect("a URL")).expect("a client"),
            provider: ProviderBuilder::new().connect_http(rpc).erased(),
            runtime: tokio::runtime::Runtime::new().expect("threads"),
            key: world.key("contributor-0"),
            world,
        };
        (place, node)
    }

    fn give(&self, account: Address, ether: u64) {
        let given = give_ether(&self.provider, account, ether);
        self.runtime.block_on(given);
    }

    fn aggregator(&self) -> Address {
        let told = self.runtime.block_on(self.client.collective());
        told.expect("a collective").aggregator
    }

    /// Runs a command until it succeeds: what it is about has to be final first.
    fn in_time(&self, line: &str) -> Value {
        let began = Instant::now();
        loop {
            let output = self.world.run(&format!("{line} --json"));
            if output.status.success() {
                return serde_json::from_slice(&output.stdout).expect("JSON");
            }
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(began.elapsed() < PATIENCE, "{line}: {error}");
            self.world.pass("1");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Runs a command until it is refused in these words.
    fn refused_in_time(&self, line: &str, words: &str) {
        let began = Instant::now();
        loop {
            let output = self.world.run(line);
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            if !output.status.success() && error.contains(words) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{line}: {error}");
            self.world.pass("1");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Sends a batch with this root in a stranger's name.
    fn forge(&self, root: B256) {
        let rpc = self.world.told("rpc").parse().expect("a URL");
        let stranger = PrivateKeySigner::random();
        self.give(stranger.address(), 1);
        let by = Account::new(stranger).provider(RpcClient::new_http(rpc));
        let deployment = std::fs::read(self.world.told("deployment")).expect("kept");
        let deployment: Deployment = serde_json::from_slice(&deployment).expect("JSON");
        let registry = ContributionRegistry::new(deployment.contributions, by);
        let call = registry.commitBatch(deployment.collective, root, 1, B256::repeat_byte(1));
        let sent = async { Chain::mined(call.send().await.expect("sent")).await };
        self.runtime.block_on(sent).expect("anchored");
    }

    /// Has the example program approved and run, and says which leaves it read.
    fn run(&self) -> Vec<String> {
        let world = &self.world;
        let (manifest, program) = (
            world.path("manifests/mean.json"),
            world.path("programs/mean.wasm"),
        );
        let founder = world.key("founder-0");
        let line = format!("propose --manifest {manifest} --key {founder} --program {program}");
        let opened = world.json(&line);
        world.decide(&[opened["proposal"].as_str().expect("an id")]);
        let requester = world.key("requester");
        world.json(&format!(
            "job request --manifest {manifest} --key {requester}"
        ));
        let ran = world.json("job show 1 --wait");
        assert_eq!(ran["state"], "completed", "{ran}");
        let verdict = world.json("verify receipt 1");
        let findings = verdict["findings"].as_array().expect("findings");
        assert!(findings.iter().all(|it| it["holds"] == true), "{verdict}");
        let list = ran["record"]["inputs"].as_str().expect("a blob");
        let list = format!("node/blobs/{}/{}", &list[2..4], &list[4..]);
        let list = std::fs::read(world.path(&list)).expect("kept");
        serde_json::from_slice(&list).expect("leaves")
    }
}

/// Of a node that does anchor: its receipt is looked up on chain, too, and the contributor has nothing left to do.
fn what_is_in_a_batch_is_not_sent_again(place: &Place) {
    let (world, key) = (&place.world, place.world.key("contributor-1"));
    let line = format!(
        "contribute --record - --source anes96 --purposes statistics --nonce 1 --key {key}"
    );
    let given = world.json_with(&line, RECORD);
    let leaf = given["leaf"].as_str().expect("a leaf");
    let receipt = world.path("batched.json");
    world.json(&format!("contributions {leaf} --wait --receipt {receipt}"));
    let rpc = world.told("rpc");
    let found = place.in_time(&format!("verify contribution {receipt} --rpc {rpc}"));
    let by: Address = found["anchoredBy"]
        .as_str()
        .expect("whose")
        .parse()
        .expect("an address");
    assert_eq!(by, place.aggregator());
    let told = world.json(&format!("contributions anchor {leaf} --key {key}"));
    assert_eq!(told[0]["gas"], Value::Null, "{told}");
    assert_eq!(told[0]["block"], found["block"], "{told}");
}

#[test]
fn a_contributor_does_without_a_node_that_anchors_nothing() {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let (place, node) = Place::start(temporary.path());
    let (world, key) = (&place.world, &place.key);
    let aggregator = place.aggregator();
    place.give(aggregator, 0);
    let line = format!(
        "contribute --record - --source anes96 --purposes statistics --nonce 1 --key {key}"
    );
    let given = world.json_with(&line, RECORD);
    let leaf = given["leaf"].as_str().expect("a leaf");
    let kept = given["acknowledgement"].as_str().expect("a path");
    assert!(std::path::Path::new(kept).exists(), "{kept}");
    let said = world.json(&format!("contributions {leaf}"));
    assert_eq!(
        serde_json::to_value(&said["acknowledgement"]).expect("JSON"),
        serde_json::from_slice::<Value>(&std::fs::read(kept).expect("kept")).expect("JSON")["acknowledgement"]
    );
    // It holds together, and the chain has nothing of it.
    let deployment = world.told("deployment");
    let rpc = world.told("rpc");
    let checked = world.json(&format!("verify contribution {kept}"));
    let by: Address = checked["acknowledgedBy"]
        .as_str()
        .expect("whose")
        .parse()
        .expect("an address");
    assert_eq!(by, aggregator);
    let on_chain = format!("verify contribution {kept} --deployment {deployment} --rpc {rpc}");
    world.refused(&on_chain, "nothing up to finalized block");
    let line = format!(
        "contribute --record - --source anes96 --purposes statistics --nonce 2 --key {key}"
    );
    let regretted = world.json_with(&line, RECORD);

    // What a stranger sends under the root that the node shows is not the node's batch.
    let batched = world.path("batched.json");
    place.in_time(&format!("contributions {leaf} --receipt {batched}"));
    let batch: Value =
        serde_json::from_slice(&std::fs::read(&batched).expect("kept")).expect("JSON");
    place.forge(
        batch["root"]
            .as_str()
            .expect("a root")
            .parse()
            .expect("one"),
    );
    let line = format!("verify contribution {batched} --deployment {deployment} --rpc {rpc}");
    place.refused_in_time(&line, "the signer of no compute node");
    let anchor = format!("contributions anchor {leaf} --key {key}");
    let poor = world.run(&anchor);
    assert_eq!(poor.status.code(), Some(1), "it costs gas");

    // The node is gone. What it took in goes on chain by the contributor's own gas.
    node.stop();
    let shown = world.json(&format!("key show {key}"));
    place.give(
        shown["account"]
            .as_str()
            .expect("an account")
            .parse()
            .expect("one"),
        1,
    );
    let stranger = world.key("requester");
    let theirs = world.run(&format!("contributions anchor {leaf} --key {stranger}"));
    by_hand::refusal(theirs, "another's key", "which `contribute` wrote");
    // Nothing is paid for where nobody would count it: another's word, or one's own for what was taken back.
    let word = std::fs::read(kept).expect("kept");
    let mut another: DirectContribution = serde_json::from_slice(&word).expect("JSON");
    let registry = serde_json::from_slice::<Deployment>(&std::fs::read(deployment).expect("kept"));
    let registry = registry.expect("a deployment").registry();
    let contribution = &another.entry.contribution;
    let hash = acknowledgement_hash(&registry, contribution.collective, contribution.leaf());
    let signed = PrivateKeySigner::random().sign_hash_sync(&hash);
    another.acknowledgement = signed.expect("signed");
    std::fs::write(kept, serde_json::to_vec(&another).expect("JSON")).expect("written");
    let refused = world.run(&format!("{anchor} --json"));
    assert_eq!(refused.status.code(), Some(1), "nobody counts it");
    let told: Value = serde_json::from_slice(&refused.stdout).expect("JSON");
    let why = told[0]["failed"].as_str().expect("why");
    assert!(why.contains("the signer of no compute node"), "{why}");
    std::fs::write(kept, word).expect("written");
    world.json(&format!("revoke 2 --own-gas --key {key}"));

    let sent = world.json(&anchor);
    let gas = sent[0]["gas"].as_u64().expect("gas");
    assert!((30_000..400_000).contains(&gas), "{gas} gas");
    let all = world.json(&format!("contributions anchor --all --key {key}"));
    assert_eq!(
        (&all[0]["leaf"], &all[0]["gas"]),
        (&given["leaf"], &Value::Null)
    );
    assert_eq!(all[0]["block"], sent[0]["block"]);
    assert_eq!(all[1]["leaf"], regretted["leaf"]);
    assert_eq!(all[1]["passedOver"], "it is revoked");
    let found = place.in_time(&on_chain);
    assert_eq!(found["block"], sent[0]["block"]);
    // A receipt of which something was changed proves nothing.
    let text = std::fs::read_to_string(kept).expect("kept");
    let altered = temporary.path().join("altered.json");
    let other = text.replace("\"expiry\": \"", "\"expiry\": \"1");
    assert_ne!(other, text);
    std::fs::write(&altered, other).expect("written");
    let line = format!("verify contribution {}", altered.display());
    world.refused(&line, "terms");

    // A node that comes back finds it on chain, and treats it as its own batches.
    let (node, _) = start_node(&world.path("node.toml"));
    let began = Instant::now();
    let mut state = world.json(&format!("contributions {leaf}"));
    while state["state"] != "direct" {
        assert!(began.elapsed() < PATIENCE, "{state}");
        world.pass("1");
        std::thread::sleep(Duration::from_millis(200));
        state = world.json(&format!("contributions {leaf}"));
    }
    let receipt = world.path("receipt.json");
    world.json(&format!("contributions {leaf} --receipt {receipt}"));
    let same = |path: &str| -> Value {
        serde_json::from_slice(&std::fs::read(path).expect("kept")).expect("JSON")
    };
    assert_eq!(same(&receipt), same(kept));
    place.give(aggregator, 10);
    what_is_in_a_batch_is_not_sent_again(&place);
    let read = place.run();
    assert!(read.iter().any(|it| it == leaf), "{read:?}");
    let uses = world.json(&format!("contributions {leaf} --uses"));
    assert_eq!(uses["uses"][0]["job"], 1, "{uses}");
    world.json(&format!("revoke {leaf} --key {key}"));
    let began = Instant::now();
    while world.json(&format!("contributions {leaf}"))["state"] != "withdrawn" {
        assert!(began.elapsed() < PATIENCE, "it is not withdrawn");
        world.pass("1");
        std::thread::sleep(Duration::from_millis(200));
    }
    drop(node);
}
