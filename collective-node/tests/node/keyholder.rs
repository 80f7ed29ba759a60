//! A key holder as an operator and an auditor see it: its health while things fail around it, its figures, and its log
//! beside a job's receipt.

use std::future::pending;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::quiet_world::{LAG, Line, QuietWorld, Way, populated, reaches};
use alloy::primitives::B256;
use bytes::Bytes;
use collective::committee::log::{Log, LogEvent, LogHead, LogLine};
use collective::id::{BlobId, KeysHash};
use collective_node::blobs::Blobs;
use collective_node::chain::facts::JobState;
use collective_node::client::{Client, GivenLog};
use collective_node::follower::Follower;
use collective_node::headers::Headers;
use collective_node::holder::serve::RELEASE;
use collective_node::holder::{Holder, LogFile};
use collective_node::http::serve::serve;
use collective_node::keyholder::public::{Public, limits, router};
use collective_node::keyholder::{Keyholder, KeyholderConfig};
use collective_node::ledger::Ledger;
use collective_node::rewards::Rewards;
use collective_node::verify::{self, Asked, Verdict};
use collective_node::wire::{self, Remote, WireError};
use tokio::net::TcpListener;
use url::Url;

/// In this time a follower that has stopped must show.
const SHOWS: Duration = Duration::from_secs(10);

/// A key holder of its own in the world's committee of one, with a log that is there already.
struct Ada {
    holder: Keyholder,
    line: Line,
    _folder: tempfile::TempDir,
}

impl Ada {
    async fn start(quiet: &QuietWorld, log: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::copy(log, folder.path().join("holder.log")).expect("a log");
        let line = Line::to(&quiet.chain);
        let config = KeyholderConfig {
            data: folder.path().to_owned(),
            deployment: quiet.world.deployment,
            node: quiet.world.node_id,
            compute: quiet.world.node_id,
            source: quiet.client().clone(),
            listen: ([127, 0, 0, 1], 0).into(),
            public: Some(([127, 0, 0, 1], 0).into()),
            poll: Duration::from_millis(10),
        };
        let keys = quiet.world.keys.clone();
        let holder = Keyholder::start(config, keys, line.client()).await;
        Self {
            holder: holder.expect("the key holder starts"),
            line,
            _folder: folder,
        }
    }

    fn url(&self, path: &str) -> Url {
        let public = self.holder.public().expect("it shows itself");
        format!("http://{public}/{path}").parse().expect("a URL")
    }

    async fn get(&self, path: &str) -> (u16, Bytes) {
        let answer = reqwest::get(self.url(path)).await.expect("an answer");
        let status = answer.status().as_u16();
        (status, answer.bytes().await.expect("a body"))
    }

    /// What `/health` says, which it must say in time.
    async fn health(&self) -> (u16, String) {
        let asked = Instant::now();
        let (status, bytes) = self.get("health").await;
        assert!(asked.elapsed() < SHOWS, "it took {:?}", asked.elapsed());
        (status, String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// A world whose first job is done.
async fn with_a_receipt() -> QuietWorld {
    let quiet = populated().await;
    assert_eq!(quiet.request(&quiet.manifest).await.expect("a job"), 1);
    reaches(&quiet, 1, JobState::Completed).await;
    quiet
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_bad_when_the_chain_is_away_or_the_index_stays_behind() {
    let mut quiet = populated().await;
    let ada = Ada::start(&quiet, &quiet.world.data.join("holder.log")).await;
    assert_eq!(ada.health().await, (200, "ok\n".into()));
    // Blocks go on becoming final: it follows.
    quiet.mine(2 * LAG);
    assert_eq!(ada.health().await.0, 200);
    ada.line.is(Way::Cut);
    let (status, why) = ada.health().await;
    assert_eq!(status, 503, "{why}");
    ada.line.is(Way::Open);
    assert_eq!(ada.health().await.0, 200);
    // A batch whose manifest nobody gives: the follower stands still, chain and disk are well.
    quiet.contribute(7, 0).await.expect("acknowledged");
    let sent = quiet.batches().await.len();
    let mined = async || quiet.batches().await.len() > sent;
    quiet.until("a batch is mined", mined).await;
    quiet.crash().await;
    quiet.mine(2 * LAG);
    let (status, why) = ada.health().await;
    assert_eq!(status, 503, "{why}");
    assert!(why.contains("stays behind"), "{why}");
}

/// A holder whose parts are put together by hand, so that what follows the chain can end alone.
#[tokio::test(flavor = "multi_thread")]
async fn health_is_bad_when_nothing_follows_the_chain_any_more() {
    let quiet = populated().await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let node = quiet.client().clone();
    let blobs = Blobs::mirror(&folder.path().join("blobs"), node.clone()).expect("a store");
    let headers = Headers::Node(node);
    let ledger = Ledger::open(&folder.path().join("ledger.sqlite")).await;
    let (chain, ledger) = (quiet.reader.clone(), ledger.expect("a ledger"));
    let aggregator = quiet.world.keys.address();
    let started = Follower::start(chain.clone(), blobs.clone(), headers.clone(), aggregator).await;
    let (follower, view) = started.expect("an index");
    let rewards = Rewards {
        chain: chain.clone(),
        ledger: ledger.clone(),
        blobs: blobs.clone(),
        view: view.clone(),
        known: Arc::default(),
    };
    let holder = Arc::new(Holder {
        node: quiet.world.node_id,
        chain,
        blobs,
        headers,
        view,
        keys: quiet.world.keys.clone(),
        ledger,
        rewards,
        log: LogFile::open(&folder.path().join("holder.log")).expect("a log"),
        released: Default::default(),
        changing: Default::default(),
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!(
        "http://{}/health",
        listener.local_addr().expect("an address")
    );
    let public = Public {
        holder,
        node: quiet.world.node_id,
        refusals: Arc::default(),
    };
    tokio::spawn(serve(listener, router(public), limits(), pending()));
    let health = async || {
        reqwest::get(&url)
            .await
            .expect("an answer")
            .status()
            .as_u16()
    };
    assert_eq!(health().await, 200);
    // It has all that there is, and no block comes.
    drop(follower);
    assert_eq!(health().await, 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_bad_when_the_folder_cannot_be_written() {
    let quiet = populated().await;
    let ada = Ada::start(&quiet, &quiet.world.data.join("holder.log")).await;
    assert_eq!(ada.health().await.0, 200);
    // Where the folder was lies a file: whoever tests may be root, whom no permission stops.
    let blobs = ada._folder.path().join("blobs");
    std::fs::rename(&blobs, ada._folder.path().join("away")).expect("moved");
    std::fs::write(&blobs, b"").expect("a file in its place");
    let (status, why) = ada.health().await;
    assert_eq!(status, 503, "{why}");
    assert!(why.contains("operator"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_say_what_it_gave_and_what_it_refused() {
    let quiet = with_a_receipt().await;
    let ada = Ada::start(&quiet, &quiet.world.data.join("holder.log")).await;
    let (_, status) = ada.get("status").await;
    let status: serde_json::Value = serde_json::from_slice(&status).expect("JSON");
    assert_eq!(status["contributions"], 5);
    assert_eq!(
        (&status["epoch"], &status["member"]),
        (&1.into(), &1.into())
    );
    assert_eq!(status["acceptedEpoch"], 1);
    assert_eq!(status["log"]["index"], "1");

    // The node asks for a job that there is not.
    let wire = wire::Client::new(quiet.world.keys.transport_key());
    let endpoint = format!("https://{}", ada.holder.address());
    let remote = Remote::new(&endpoint, quiet.world.keys.transport_key().pin()).expect("a remote");
    let job = Bytes::copy_from_slice(&99u64.to_be_bytes());
    let refused = wire.post(&remote, &RELEASE, job).await;
    assert!(
        matches!(refused, Err(WireError::Refused { .. })),
        "{refused:?}"
    );
    let (_, metrics) = ada.get("metrics").await;
    let metrics = String::from_utf8(metrics.into()).expect("text");
    for line in [
        "collective_releases_total 1",
        "collective_log_index 1",
        "collective_share_epoch 1",
        "collective_contributions_anchored 5",
        "collective_halted 0",
        "collective_refusals_total{fault=\"peer\"} 1",
        "collective_refusals_total{fault=\"requester\"} 0",
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line}: {metrics}"
        );
    }

    let (_, certificate) = ada.get("certificate").await;
    let committee = ada.holder.view().borrow().committee;
    assert_eq!(BlobId::of(&certificate), committee.certificate);
    assert_eq!(ada.get("openapi.json").await.0, 200);
    assert_eq!(ada.get("blobs").await.0, 404);
    let posted = reqwest::Client::new().post(ada.url("log")).send().await;
    assert_eq!(posted.expect("an answer").status().as_u16(), 405);
}

/// What an auditor has: the chain, a node for blobs, and a log.
struct Auditor<'a> {
    quiet: &'a QuietWorld,
    url: Url,
    given: GivenLog,
}

impl Auditor<'_> {
    async fn verify(&self, given: GivenLog) -> Verdict {
        let holder = Asked {
            url: self.url.clone(),
            given: Ok(given),
        };
        self.verify_with(&[holder]).await
    }

    async fn verify_with(&self, holders: &[Asked]) -> Verdict {
        let node = self.quiet.client().clone();
        let (blobs, headers) = (Blobs::of_node(node.clone()), Headers::Node(node));
        let verdict = verify::receipt(&self.quiet.reader, &blobs, &headers, 1, holders);
        verdict.await.expect("chain and blobs answer")
    }

    /// These lines, under a head that the member signs.
    fn signed(&self, log: &Log) -> GivenLog {
        let escrow = self.quiet.world.deployment.job_escrow();
        let signature = self.quiet.world.keys.sign(log.head().signing_hash(&escrow));
        GivenLog {
            head: log.head(),
            signature: Bytes::copy_from_slice(&signature.as_bytes()),
            lines: bytes(log.lines()),
        }
    }

    /// Exactly this finding fails.
    async fn finds(&self, given: GivenLog, words: &str) {
        let verdict = self.verify(given).await;
        let failed = failed(&verdict);
        assert!(
            failed.len() == 1 && failed[0].contains(words),
            "{words}: {failed:?}"
        );
    }
}

fn bytes(lines: &[LogLine]) -> Vec<u8> {
    let each = lines
        .iter()
        .map(|line| [line.to_bytes(), b"\n".into()].concat());
    each.collect::<Vec<_>>().concat()
}

fn failed(verdict: &Verdict) -> Vec<String> {
    let failed = verdict.findings.iter().filter(|finding| !finding.holds);
    failed
        .map(|it| format!("{}: {}", it.what, it.seen))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_checked_beside_the_receipt() {
    let quiet = with_a_receipt().await;
    let ada = Ada::start(&quiet, &quiet.world.data.join("holder.log")).await;
    let url = ada.url("");
    let given = Client::new(url.clone()).expect("a client").log().await;
    let auditor = Auditor {
        quiet: &quiet,
        url,
        given: given.expect("her log"),
    };
    // The node is a holder, too, and shows the same log.
    let node = quiet.client().log().await.expect("its log");
    assert_eq!(node, auditor.given);

    let without = auditor.verify_with(&[]).await;
    let with = auditor.verify(auditor.given.clone()).await;
    assert_eq!(failed(&with), Vec::<String>::new());
    assert_eq!(with.findings.len(), without.findings.len() + 5);
    let last = with.beyond.last().expect("a sentence");
    assert!(last.contains("a committee of one is trusted"), "{last}");

    let log = Log::verify(&auditor.given.lines).expect("a log");
    let release = log.lines()[0].event.clone();

    // A release of a job that there is not.
    let mut hidden = log.clone();
    hidden.note(1, altered(release.clone(), |job, _| *job = 99));
    auditor
        .finds(
            auditor.signed(&hidden),
            "something was released that no job shows",
        )
        .await;
    // A line that names other keys for this release.
    let mut other = log.clone();
    other.note(
        1,
        altered(release.clone(), |_, keys| *keys = KeysHash(B256::ZERO)),
    );
    auditor
        .finds(auditor.signed(&other), "gave this input set to these keys")
        .await;
    // The line that the member's answers had in them is gone, although it signs what is left.
    let gone = auditor.verify(auditor.signed(&Log::default())).await;
    let gone = failed(&gone).join("; ");
    assert!(gone.contains("holds every head that it signed"), "{gone}");
    assert!(gone.contains("gave this input set to these keys"), "{gone}");
    // Noted at another time, so that nothing but the head differs.
    let mut later = Log::default();
    later.note(log.lines()[0].time + 1, release);
    auditor
        .finds(auditor.signed(&later), "holds every head that it signed")
        .await;
    // A line is altered; the end is cut off; the head is another; somebody else signs.
    let mut line = auditor.given.clone();
    line.lines[20] ^= 1;
    auditor.finds(line, "is whole").await;
    let mut cut = auditor.given.clone();
    cut.lines.pop();
    auditor.finds(cut, "is whole").await;
    let mut head = auditor.given.clone();
    head.head = LogHead::default();
    auditor.finds(head, "is whole").await;
    let mut stranger = auditor.given.clone();
    stranger.signature = Bytes::from(vec![1; 65]);
    auditor.finds(stranger, "signed the head").await;
    // Nobody is there.
    drop(ada);
    let holder = Asked::ask(auditor.url.clone()).await.expect("a client");
    let silent = auditor.verify_with(&[holder]).await;
    assert!(failed(&silent)[0].contains("no answer"), "{silent:?}");
}

/// The event with one field changed.
fn altered(mut event: LogEvent, change: impl FnOnce(&mut u64, &mut KeysHash)) -> LogEvent {
    if let LogEvent::Released { job, keys, .. } = &mut event {
        change(job, keys);
    }
    event
}
