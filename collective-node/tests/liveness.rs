//! What is stored is audited each day of the chain: loss is found, told, and posted where the collective said so; what the
//! contract draws and takes as shown is what the library draws and proves.

mod by_hand;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use alloy::eips::BlockId;
use alloy::primitives::{Address, Bytes, U256};
use alloy::providers::{Provider, ProviderBuilder};
use alloy::rpc::types::{Filter, Log};
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::SolEvent;
use by_hand::{PATIENCE, World};
use collective::contribution::{Batch, PayloadLeaves, SignedContribution, leaf_range};
use collective::id::BlobId;
use collective::liveness::{Epoch, POOL_DRAWS, Results};
use collective::terms::{Purpose, Terms};
use collective_contracts::ContributionRegistry::BatchCommitted;
use collective_contracts::LivenessRegistry;
use collective_node::chain::Deployment;
use collective_node::client::Client;
use collective_node::contributor::{Destination, prepare, split_file};
use collective_node::intake::join;
use collective_node::ledger::Audited;
use serde_json::Value;

const DAY: &str = "86400";

struct Place {
    world: World,
    deployment: Deployment,
}

impl Place {
    fn start(folder: &std::path::Path) -> Self {
        let world = World::start_with(folder.join("world"), &[]);
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
        findings.len() == 3 && findings.iter().all(holds),
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
        let path = PayloadLeaves::of(payload).path(index).expect("drawn");
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
