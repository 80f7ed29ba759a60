//! What is stored is audited each day of the chain: loss is found, told, and posted where the collective said so; what the
//! contract draws and takes as shown is what the library draws and proves.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::by_hand::{PATIENCE, World, path_of, start_node};
use alloy::eips::BlockId;
use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::providers::{Provider, ProviderBuilder};
use alloy::rpc::client::RpcClient;
use alloy::rpc::types::{Filter, Log};
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::SolEvent;
use collective::contribution::{Batch, SignedContribution, leaf_range};
use collective::id::{BlobId, ContributorId, Leaf};
use collective::liveness::{Custody, Epoch, Outcome, POOL_DRAWS, Results, Verdict};
use collective::terms::{Purpose, Terms};
use collective_contracts::ContributionRegistry::BatchCommitted;
use collective_contracts::LivenessRegistry;
use collective_node::chain::Deployment;
use collective_node::client::Client;
use collective_node::contributor::{Destination, prepare, split_file};
use collective_node::intake::join;
use collective_node::keystore::Keystore;
use collective_node::ledger::Audited;
use serde_json::Value;
use zeroize::Zeroizing;

const DAY: &str = "86400";

struct Place {
    world: World,
    deployment: Deployment,
}

impl Place {
    fn start(folder: &std::path::Path) -> Self {
        Self::of(World::start_with(folder.join("world"), &[]))
    }

    fn of(world: World) -> Self {
        let file = std::fs::read(world.told("deployment")).expect("written by dev");
        let deployment = serde_json::from_slice(&file).expect("a deployment");
        Self { world, deployment }
    }

    fn provider(&self) -> impl Provider + use<> {
        ProviderBuilder::new().connect_http(self.world.told("rpc").parse().expect("an address"))
    }

    /// Begins a day, waits for its audit, and says whether all was held.
    async fn next_day(&self) -> (Audited, bool) {
        self.world.pass(DAY);
        let newest = self.provider().get_block(BlockId::latest()).await;
        let newest = newest.expect("an answer").expect("a block");
        let today = Epoch::at(newest.header.timestamp);
        let began = Instant::now();
        loop {
            let output = self.world.run("liveness --json");
            let audits: Vec<Audited> = serde_json::from_slice(&output.stdout).expect("JSON");
            if let Some(newest) = audits.first()
                && newest.epoch == today
            {
                return (*newest, output.status.success());
            }
            assert!(
                began.elapsed() < PATIENCE,
                "no audit of {today}: {audits:?}"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn audits(&self) -> Vec<Audited> {
        let output = self.world.run("liveness --json");
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    fn blob(&self, id: BlobId) -> PathBuf {
        let name = id.to_string();
        let blobs = PathBuf::from(self.world.path("node/blobs"));
        blobs.join(&name[2..4]).join(&name[4..])
    }

    async fn batches(&self) -> Vec<BatchCommitted> {
        let filter = Filter::new()
            .address(self.deployment.contributions)
            .event_signature(BatchCommitted::SIGNATURE_HASH)
            .from_block(0);
        let logs = self.provider().get_logs(&filter).await.expect("logs");
        let event = |log: &Log| {
            BatchCommitted::decode_log(&log.inner)
                .expect("an event")
                .data
        };
        logs.iter().map(event).collect()
    }

    /// The node's account.
    async fn aggregator(&self) -> Address {
        self.batches().await.first().expect("a batch").aggregator
    }

    /// What was anchored, in its order.
    async fn anchored(&self) -> Vec<SignedContribution> {
        let batch = |event: BatchCommitted| {
            let manifest = std::fs::read(self.blob(BlobId(event.manifest))).expect("kept");
            let (registry, collective) = (self.deployment.registry(), self.deployment.collective);
            let batch = Batch::check(&manifest, &registry, collective, event.root);
            batch.expect("a batch").entries().to_vec()
        };
        self.batches().await.into_iter().flat_map(batch).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn loss_is_found_the_next_day_and_what_is_mended_is_held_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = Place::start(folder.path());
    let entries = place.anchored().await;
    assert!(entries.len() > 1, "dev contributes some");
    let pool: Vec<_> = entries
        .iter()
        .map(|it| (it.contribution.leaf(), it.commitment.length))
        .collect();

    let (audited, all_held) = place.next_day().await;
    assert!(all_held, "{audited:?}");
    assert_eq!(audited.asked, entries.len() as u64 + POOL_DRAWS);
    assert_eq!(u64::from(audited.counts.held), audited.asked);
    let results = std::fs::read(place.blob(audited.results)).expect("kept");
    let results = Results::parse(&results).expect("results");
    let collective = place.deployment.collective;
    let checked = results.check(
        collective,
        audited.epoch,
        audited.randomness,
        &pool,
        audited.root,
    );
    assert_eq!(checked, Ok(()));

    // A bit of one file turns over, and another file is gone.
    let files = files(&place, &entries[..2]);
    let (garbled, gone) = (place.blob(files[0]), place.blob(files[1]));
    let (kept, lost) = (read(&garbled), read(&gone));
    let mut bent = kept.clone();
    let last = bent.len() - 1;
    bent[last] ^= 4;
    std::fs::write(&garbled, bent).expect("written");
    std::fs::remove_file(&gone).expect("removed");
    // Some hours pass between two tries; the last of them settles it.
    let before = place.audits().len();
    place.world.pass(DAY);
    let began = Instant::now();
    let audits = loop {
        std::thread::sleep(Duration::from_millis(500));
        let audits = place.audits();
        if audits.len() > before {
            break audits;
        }
        assert!(began.elapsed() < PATIENCE, "no audit");
        place.world.pass("18001");
    };
    let wrong = audits[0].counts.wrong;
    assert!(wrong >= 2 && u64::from(audits[0].counts.held + wrong) == audits[0].asked);
    assert_eq!(place.world.run("liveness").status.code(), Some(1));

    std::fs::write(&garbled, kept).expect("written");
    std::fs::write(&gone, lost).expect("written");
    let (audited, all_held) = place.next_day().await;
    assert!(all_held, "{audited:?}");
}

fn files(place: &Place, entries: &[SignedContribution]) -> Vec<BlobId> {
    let ends_in = |path: &PathBuf, entry: &SignedContribution| {
        let bytes = std::fs::read(path).expect("a blob");
        let header = split_file(&bytes).map(|(header, _)| BlobId::of(header).0);
        header == Some(entry.commitment.header)
    };
    let mut blobs = vec![];
    for folder in std::fs::read_dir(place.world.path("node/blobs"))
        .expect("blobs")
        .flatten()
    {
        let within = std::fs::read_dir(folder.path()).into_iter().flatten();
        blobs.extend(within.flatten().map(|file| file.path()));
    }
    let of = |entry| {
        let path = blobs
            .iter()
            .find(|path| ends_in(path, entry))
            .expect("held");
        BlobId::of(&read(path))
    };
    entries.iter().map(of).collect()
}

fn read(path: &PathBuf) -> Vec<u8> {
    std::fs::read(path).expect("a blob")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_auditor_that_the_collective_names_posts_and_anybody_shows_what_was_drawn() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = Place::start(folder.path());
    let (world, deployment) = (&place.world, place.deployment);
    let auditor = place.aggregator().await;
    let founder = world.key("founder-0");
    let opened = world.json(&format!("propose --auditor {auditor} --key {founder}"));
    let id = opened["proposal"].as_str().expect("an id").to_owned();
    let shown = world.json(&format!("proposal show {id}"));
    let would = shown["actions"][0].as_str().expect("words");
    assert!(would.ends_with("say each day what is reachable"), "{would}");
    contribute_several_leaves(&place).await;
    world.decide(&[&id]);

    let (audited, _) = place.next_day().await;
    let provider = place.provider();
    let registry = LivenessRegistry::new(deployment.liveness, &provider);
    let collective = deployment.collective;
    world.pass(DAY);
    let began = Instant::now();
    let posted = loop {
        let posted = registry
            .audit(collective, audited.epoch)
            .call()
            .await
            .expect("a view");
        if !posted.root.is_zero() {
            break posted;
        }
        assert!(began.elapsed() < PATIENCE, "not posted");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(
        (posted.root, posted.results),
        (audited.root, audited.results.0)
    );
    let seed = registry
        .randomnessOf(audited.epoch)
        .call()
        .await
        .expect("a view");
    assert_eq!(seed, audited.randomness);

    let mut entries = place.anchored().await;
    entries.reverse();
    let leaf = entries[0].contribution.leaf();
    let verified = world.json(&format!(
        "verify liveness {} --contribution {leaf}",
        audited.epoch
    ));
    let findings = verified["findings"].as_array().expect("findings");
    let holds = |finding: &Value| finding["holds"] == true;
    assert!(
        findings.len() == 4 && findings.iter().all(holds),
        "{verified}"
    );
    world.refused("verify liveness 5", "nothing was posted of epoch 5");

    // The contract draws what the library draws, and takes what it proves: of several leaves, and of one.
    assert!(entries[0].commitment.length > 60_000 && entries[1].commitment.length < 1_024);
    let epoch = Epoch::new(collective, audited.epoch, audited.randomness);
    for entry in &entries[..3] {
        let (leaf, length) = (entry.contribution.leaf(), entry.commitment.length);
        let index = epoch.draw(leaf, length);
        let drawn = registry.drawn(collective, audited.epoch, leaf.0, length);
        assert_eq!(drawn.call().await.expect("a view"), index);
        let file = read(&place.blob(files(&place, std::slice::from_ref(entry))[0]));
        let (_, payload) = split_file(&file).expect("a sealed file");
        let range = leaf_range(length, index).expect("drawn");
        let chunk = &payload[range.start as usize..range.end as usize];
        let path = path_of(payload, index);
        let show = |chunk: &[u8]| {
            let call = registry.disputeChunk(
                contribution(entry),
                commitment(entry),
                audited.epoch,
                Bytes::copy_from_slice(chunk),
                path.clone(),
            );
            async move { call.call().await }
        };
        show(chunk).await.expect("it is what was drawn");
        let mut bent = chunk.to_vec();
        bent[0] ^= 1;
        let refused = show(&bent).await.expect_err("other bytes");
        assert!(refused.to_string().contains("revert"), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_withdrawn_is_left_out_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let world = World::start(folder.path().join("world"));
    let place = Place::of(world);
    let config = place.world.path("node.toml");
    let (mut node, _) = start_node(&config);
    let (world, deployment) = (&place.world, place.deployment);
    let founder = world.key("founder-0");
    let auditor = place.aggregator().await;
    let opened = world.json(&format!("propose --auditor {auditor} --key {founder}"));
    world.decide(&[opened["proposal"].as_str().expect("an id")]);
    let (whole, _) = place.next_day().await;

    // One is taken back between two days.
    let entries = place.anchored().await;
    let key = world.key("contributor-1");
    world.json(&format!("revoke --all --key {key}"));
    let shown = world.json(&format!("key show {key}"));
    let account: Address = shown["account"]
        .as_str()
        .expect("hex")
        .parse()
        .expect("one");
    let owner = ContributorId::from_address(account);
    let is_theirs = |it: &SignedContribution| it.contribution.contributor == owner;
    let place_of = entries.iter().position(is_theirs).expect("anchored");
    let (audited, all_held) = place.next_day().await;
    assert!(all_held, "{audited:?}");
    assert!(audited.asked < whole.asked);
    let results = std::fs::read(place.blob(audited.results)).expect("kept");
    let results = Results::parse(&results).expect("results");
    assert_eq!(results.verdicts[place_of], Verdict::Withdrawn);
    let left_out = |it: &&Verdict| **it == Verdict::Withdrawn;
    let count = results.verdicts.iter().filter(left_out).count() as u64;
    assert_eq!(audited.asked + count, whole.asked);

    // The day is posted, and anybody sees that it is so.
    world.pass(DAY);
    let registry = LivenessRegistry::new(deployment.liveness, place.provider());
    posted(&registry, deployment.collective, audited.epoch).await;
    let verified = world.json(&format!("verify liveness {}", audited.epoch));
    let findings = verified["findings"].as_array().expect("findings");
    assert!(
        findings.len() == 3 && findings.iter().all(|it| it["holds"] == true),
        "{verified}"
    );

    // An auditor that leaves out what is not withdrawn is found out, and so is one that has an answer from what is.
    let (audited, _) = place.next_day().await;
    let results = std::fs::read(place.blob(audited.results)).expect("kept");
    let honest = Results::parse(&results).expect("results");
    let words = Zeroizing::new(std::fs::read_to_string(world.path("passphrase")).expect("words"));
    let keys = Keystore::open(Path::new(&world.path("node/keys.age")), words).expect("the keys");
    assert_eq!(keys.address(), auditor);
    world.pass(DAY);
    posted(&registry, deployment.collective, audited.epoch).await;
    let pool: Vec<_> = entries
        .iter()
        .map(|it| (it.contribution.leaf(), it.commitment.length))
        .collect();
    let held = Verdict::Asked(Custody::Escrow, Outcome::Held);
    let other = (place_of + 1) % entries.len();
    for (which, verdict, words) in [
        (other, Verdict::Withdrawn, "and was not withdrawn that day"),
        (place_of, held, "has a verdict, and was revoked before"),
    ] {
        let (day, _) = place.next_day().await;
        let mut lie = honest.clone();
        (lie.epoch, lie.randomness) = (day.epoch, day.randomness);
        let told = std::fs::read(place.blob(day.results)).expect("kept");
        lie.verdicts = Results::parse(&told).expect("results").verdicts;
        lie.verdicts[which] = verdict;
        while seed(&registry, day.epoch).await.is_zero() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let client = Client::new(world.told("node").parse().expect("a URL"));
        let kept = client.expect("a client").keep(lie.to_bytes()).await;
        // The node is away while its operator posts something else.
        drop(node);
        world.pass(DAY);
        lie_on_chain(&place, &keys, &lie, &pool, kept.expect("kept")).await;
        node = start_node(&config).0;
        let line = format!("verify liveness {} --json", day.epoch);
        let output = world.run(&line);
        assert_eq!(output.status.code(), Some(1));
        let verified: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let found = &verified["findings"][2];
        let seen = found["seen"].as_str().expect("words");
        let leaf = entries[which].contribution.leaf().to_string();
        assert!(
            found["holds"] == false && seen.contains(&leaf) && seen.contains(words),
            "{verified}"
        );
    }
    drop(node);
}

/// Posts other results than the node worked out, with the node's own key.
async fn lie_on_chain(
    place: &Place,
    keys: &Keystore,
    lie: &Results,
    pool: &[(Leaf, u64)],
    results: BlobId,
) {
    let root = lie.root(&lie.challenges(pool)).expect("a root");
    let rpc = RpcClient::new_http(place.world.told("rpc").parse().expect("an address"));
    let registry = LivenessRegistry::new(place.deployment.liveness, keys.provider(rpc));
    let counts = LivenessRegistry::Counts {
        held: 1,
        wrong: 0,
        erred: 0,
        offline: 0,
    };
    let collective = place.deployment.collective;
    let call = registry.post(collective, lie.epoch, root, results.0, counts);
    let sent = call.send().await.expect("sent");
    assert!(sent.get_receipt().await.expect("mined").status());
}

async fn seed<P: Provider>(
    registry: &LivenessRegistry::LivenessRegistryInstance<P>,
    epoch: u64,
) -> B256 {
    registry.randomnessOf(epoch).call().await.expect("a view")
}

async fn posted<P: Provider>(
    registry: &LivenessRegistry::LivenessRegistryInstance<P>,
    collective: Address,
    epoch: u64,
) {
    let began = Instant::now();
    while registry
        .audit(collective, epoch)
        .call()
        .await
        .expect("a view")
        .root
        .is_zero()
    {
        assert!(began.elapsed() < PATIENCE, "not posted");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A record of 60 KB: what is in it only the sandbox would look at.
async fn contribute_several_leaves(place: &Place) {
    let client = Client::new(place.world.told("node").parse().expect("a URL")).expect("a client");
    let answer = client.collective().await.expect("a collective");
    let recipient = answer.recipient.parse().expect("a recipient");
    let to = Destination {
        deployment: &place.deployment,
        recipient: &recipient,
        source: "anes96",
        terms: Terms {
            purposes: [Purpose::Statistics].into_iter().collect(),
            expiry: u64::MAX,
        },
    };
    let seeded = place.world.handout["accounts"]
        .as_array()
        .expect("accounts");
    let named = |it: &&Value| it["name"] == "contributor-0";
    let key = seeded.iter().find(named).expect("an account")["key"].as_str();
    let account: PrivateKeySigner = key.expect("a key").parse().expect("a key");
    let record = vec![7; 60_000];
    let (entry, file) = prepare(&to, &account, 77, &record, &mut rand::rng()).expect("sealed");
    let kept = client.contribute(join(&entry, &file)).await;
    let leaf = kept.expect("taken in").leaf;
    place.world.json(&format!("contributions {leaf} --wait"));
}

fn contribution(entry: &SignedContribution) -> LivenessRegistry::Contribution {
    let it = &entry.contribution;
    LivenessRegistry::Contribution {
        collective: it.collective,
        contributorId: it.contributor.0,
        point: it.point.0,
        commitment: it.commitment.0,
        terms: it.terms.0,
        nonce: U256::from(it.nonce),
    }
}

fn commitment(entry: &SignedContribution) -> LivenessRegistry::Commitment {
    let it = &entry.commitment;
    LivenessRegistry::Commitment {
        header: it.header,
        payload: it.payload,
        length: it.length,
        source: it.source.clone(),
    }
}
