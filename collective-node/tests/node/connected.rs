//! Files that their contributors keep: contributed, audited, moved and read by a job from a place that may lie, and from nowhere
//! that the operator did not name. What the place was told shows nowhere.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::by_hand::{PATIENCE, refusal};
use crate::kept;
use crate::kept::{Answer, Kept, TOKEN};
use alloy::primitives::Address;
use collective::contribution::{LEAF_BYTES, Place, SignedPlace};
use collective::id::BlobId;
use collective::liveness::Results;
use collective_node::client::Client;
use collective_node::contributor::{outline, place, prepare, split_file};
use collective_node::intake::ConnectedUpload;
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_lies_is_refused_and_nothing_else_is_spoken_to() {
    let mut kept = Kept::start();
    let path = kept.folder.path().join("record.age");
    let line = format!("{} --record -", kept.terms());
    let record = b"0,7,7,1,6,6,36,3,1,1\n";
    let (url, keep) = (kept.server.url("record"), path.display());
    let without = kept
        .world
        .run_with(&format!("{line} --place {url}"), record);
    assert_eq!(without.status.code(), Some(2), "nothing is kept");
    let early = format!("{line} --place {url} --keep {keep}");
    let early = kept.world.run_with(&early, record);
    let how = format!("send it by --sealed {keep}");
    refusal(early, "a file that is not there yet", &how);
    kept.file = std::fs::read(&path).expect("the sealed file");

    let file = &kept.file;
    let bent = |at: usize| {
        let mut bent = file.clone();
        bent[at] ^= 4;
        bent
    };
    let last = file.len() - 1;
    let header = split_file(file).expect("a sealed file").0.len();
    let longer = [&file[..], b"more"].concat();
    kept.refuses(Answer::Status(404), "answered 404");
    kept.refuses(Answer::Status(503), "answered 503");
    kept.refuses(Answer::File(bent(last)), "bytes are not those");
    kept.refuses(Answer::Whole(bent(header)), "bytes are not those");
    kept.refuses(Answer::File(file[..last].to_vec()), "was cut or extended");
    kept.refuses(Answer::File(file[..header].to_vec()), "was cut or extended");
    kept.refuses(Answer::File(longer.clone()), "was cut or extended");
    kept.refuses(Answer::Whole(longer), "was cut or extended");
    kept.refuses(Answer::Elsewhere(file.clone()), "another part");
    kept.refuses(Answer::Cut(file.clone()), "stopped in the middle");
    kept.refuses(Answer::Packed(file.clone()), "it is encoded");
    kept.refuses(Answer::Endless, "was cut or extended");
    kept.refuses(Answer::Noise, "does not speak HTTP");
    kept.refuses(Answer::Slow, "took too long");

    // Nobody listens to what is said here; that nobody is spoken to is what is looked at.
    let inside = TcpListener::bind("127.0.0.1:0").expect("a port");
    inside.set_nonblocking(true).expect("a socket");
    let port = inside.local_addr().expect("an address").port();
    let not_public = "none of the public internet";
    for (url, words) in [
        (
            format!("https://127.0.0.1:{port}/?token={TOKEN}"),
            not_public,
        ),
        (
            format!("https://localhost:{port}/?token={TOKEN}"),
            not_public,
        ),
        (
            format!("https://2130706433:{port}/?token={TOKEN}"),
            not_public,
        ),
        (
            format!("https://[::ffff:127.0.0.1]:{port}/?token={TOKEN}"),
            not_public,
        ),
        (
            format!("http://127.0.0.1:{port}/?token={TOKEN}"),
            "only https",
        ),
    ] {
        kept.refuses_place(&url, words);
        kept.refuses(Answer::To(url), words);
    }
    let ftp = format!("ftp://127.0.0.1:{port}/?token={TOKEN}");
    kept.refuses(Answer::To(ftp), "only https");
    kept.refuses(Answer::To(kept.server.url("liar")), "redirects too often");
    let spoken_to = inside.accept().expect_err("nobody came");
    assert_eq!(spoken_to.kind(), ErrorKind::WouldBlock);

    // A redirect within what the operator named is followed.
    kept.server.set("record", Answer::Whole(kept.file.clone()));
    kept.server
        .set("liar", Answer::To(kept.server.url("record")));
    let taken = kept.contribute(&kept.server.url("liar"));
    assert!(taken.status.success(), "{taken:?}");
    refusal(kept.contribute(&url), "once more", "already here");
    kept.has_kept_the_secret();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_contributor_keeps_is_audited_moved_and_read_by_a_job() {
    let mut kept = Kept::start();
    let path = kept.folder.path().join("record.age");
    let server = kept.server.clone();
    let line = format!(
        "{} --record - --keep {} --place {}",
        kept.terms(),
        path.display(),
        server.url("record")
    );
    let first = kept.world.run_with(&line, b"0,7,7,1,6,6,36,3,1,1\n");
    assert_eq!(first.status.code(), Some(1), "it is not there yet");
    kept.file = std::fs::read(&path).expect("the sealed file");
    server.set("record", Answer::File(kept.file.clone()));
    let taken = kept.contribute(&format!("{} --json", server.url("record")));
    let taken: Value = serde_json::from_slice(&taken.stdout).expect("JSON");
    let leaf = taken["leaf"].as_str().expect("a leaf").to_owned();
    kept.world.json(&format!("contributions {leaf} --wait"));

    // All that the node has of it is the header and hashes: no blob has the payload.
    let file = kept.file.clone();
    let (header, payload) = split_file(&file).expect("a sealed file");
    let given = kept.client().header(leaf.parse().expect("a leaf")).await;
    assert_eq!(given.expect("its header"), header);
    assert!(!has_blob_with(&kept, payload), "the node kept the payload");

    a_job_reads_it(&kept, &leaf, kept.auditor().await);
    what_was_fetched_for_a_lease_outlives_place_and_process(&mut kept);
    assert!(!has_blob_with(&kept, payload), "the node kept the payload");
    let fetched = std::fs::read_dir(kept.world.path("node/fetched")).expect("a folder");
    assert_eq!(fetched.count(), 0, "dropped after the run");

    let large = contribute_several_leaves(&kept).await;
    server.asked.lock().expect("no panic").clear();
    let audited = kept.next_day(true).await;
    assert_eq!(u64::from(audited.counts.held), audited.asked);
    let results = kept.client().blob(audited.results).await.expect("a blob");
    Results::parse(&results).expect("results");
    let letters: Value = serde_json::from_slice(&results).expect("JSON");
    let letters = letters["verdicts"].as_str().expect("letters").to_owned();
    assert!(letters.matches('H').count() >= 2, "{letters}");
    assert_eq!(kept.standing(&leaf), ("held".into(), true));
    assert_eq!(kept.standing(&large), ("held".into(), true));
    // A KiB of each, and no byte more.
    let asked: Vec<_> = server.asked.lock().expect("no panic").drain(..).collect();
    assert!(asked.len() >= 2, "{asked:?}");
    for (first, last) in asked {
        let payload_at = first.checked_sub(header.len() as u64);
        assert_eq!(payload_at.map(|it| it % LEAF_BYTES as u64), Some(0));
        assert!(last - first < LEAF_BYTES as u64, "{first}-{last}");
    }
    what_the_node_lost_of_its_own_is_nobodys_fault(&mut kept, &leaf, header).await;

    // A bit turns over; then the file is gone.
    let mut bent = kept.file.clone();
    *bent.last_mut().expect("a byte") ^= 4;
    server.set("record", Answer::File(bent));
    assert!(kept.next_day(false).await.counts.wrong >= 1);
    assert_eq!(kept.standing(&leaf), ("wrong".into(), false));
    kept.is_verified(audited.epoch, &leaf).await;
    server.set("record", Answer::File(kept.file.clone()));
    kept.next_day(true).await;
    assert_eq!(kept.standing(&leaf), ("held".into(), true));
    server.set("record", Answer::Status(404));
    assert!(kept.next_day(false).await.counts.error >= 1);
    assert_eq!(
        kept.standing(&leaf),
        ("error".into(), true),
        "one day is borne"
    );

    it_is_moved(&kept, &leaf).await;
    kept.next_day(true).await;
    assert_eq!(kept.standing(&leaf).0, "held");

    // A lost ledger takes the place along, and nothing else; what was kept by an early node is found, too, and made whole.
    kept.node = None;
    let early = keeps_it_as_the_first_nodes_did(&kept, header);
    for name in ["ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"] {
        let _ = std::fs::remove_file(kept.world.path(&format!("node/{name}")));
    }
    kept.start_node();
    kept.next_day(false).await;
    assert_eq!(kept.standing(&leaf), ("unasked".into(), false));
    says_the_place(&kept, &leaf, "other");
    stub(&kept, header);
    assert!(!early.exists(), "nothing names it any more");
    kept.next_day(false).await;
    assert_eq!(kept.standing(&leaf).0, "held");

    server.set("other", Answer::Status(404));
    an_expired_request_asks_nobody(&kept);
    it_is_withdrawn(&kept, &leaf);
    kept.has_kept_the_secret();
}

/// A hash that the node keeps of a file turns over: it does not ask, says so, and goes on once its contributor says the place again.
/// Had it asked, the answer would count.
async fn what_the_node_lost_of_its_own_is_nobodys_fault(
    kept: &mut Kept,
    leaf: &str,
    header: &[u8],
) {
    let stub = stub(kept, header);
    let bytes = std::fs::read(&stub).expect("a blob");
    let mut bent = bytes.clone();
    *bent.last_mut().expect("a byte") ^= 1;
    std::fs::write(&stub, bent).expect("written over");
    kept.server.set("record", Answer::Status(404));
    kept.next_day(false).await;
    assert_eq!(kept.standing(leaf), ("unasked".into(), false));
    assert!(kept.said("its place is not asked"));
    kept.server.set("record", Answer::File(kept.file.clone()));
    says_the_place(kept, leaf, "record");
    assert_eq!(std::fs::read(&stub).expect("a blob"), bytes, "made again");
    kept.next_day(true).await;
    assert_eq!(kept.standing(leaf), ("held".into(), true));
}

/// What the first nodes kept, which has no hashes of leaves, in the place of what the node keeps.
fn keeps_it_as_the_first_nodes_did(kept: &Kept, header: &[u8]) -> PathBuf {
    let stub = stub(kept, header);
    let mut bytes = std::fs::read(&stub).expect("a blob");
    bytes.truncate(header.len() + 32);
    let name = BlobId::of(&bytes).to_string();
    let folder = kept.world.path("node/blobs");
    let early = PathBuf::from(folder).join(&name[2..4]).join(&name[4..]);
    std::fs::create_dir_all(early.parent().expect("a folder")).expect("a folder");
    std::fs::write(&early, bytes).expect("written");
    std::fs::remove_file(stub).expect("removed");
    early
}

/// What the node keeps of the file with this header, whose payload is one KiB at most: its root, and the hash of its only leaf.
fn stub(kept: &Kept, header: &[u8]) -> PathBuf {
    let stub = blobs(kept).into_iter().find(|file| {
        let blob = std::fs::read(file).expect("a blob");
        blob.len() == header.len() + 2 * 32 && blob.starts_with(header)
    });
    stub.expect("what the node keeps of it")
}

fn says_the_place(kept: &Kept, leaf: &str, path: &str) {
    let (url, key) = (kept.server.url(path), kept.world.key("contributor-0"));
    kept.world.json(&format!(
        "contributions place {leaf} --place {url} --key {key}"
    ));
}

/// A job whose file never comes ends with its request, and the requester is told.
fn an_expired_request_asks_nobody(kept: &Kept) {
    let manifest = kept.world.path("manifests/mean.json");
    let requester = kept.world.key("requester");
    let request = format!("job request --manifest {manifest} --key {requester}");
    assert_eq!(kept.world.json(&request)["job"], 3);
    kept.world.pass("604860");
    let began = Instant::now();
    let shown = || kept.world.run("job show 3 --json").stdout;
    while !String::from_utf8_lossy(&shown()).contains("the request has expired") {
        assert!(began.elapsed() < PATIENCE, "it is tried on");
        std::thread::sleep(Duration::from_millis(300));
    }
}

/// What is withdrawn has no place any more.
fn it_is_withdrawn(kept: &Kept, leaf: &str) {
    let key = kept.world.key("contributor-0");
    let moved = |url: &str| {
        let line = format!("contributions place {leaf} --place {url} --key {key}");
        kept.world.run(&line)
    };
    let revoke = || {
        kept.world.json(&format!("revoke {leaf} --key {key}"));
        let began = Instant::now();
        while kept.world.json(&format!("contributions {leaf}"))["dropped"] != true {
            assert!(began.elapsed() < PATIENCE, "it is not dropped");
            kept.world.pass("12");
            std::thread::sleep(Duration::from_millis(300));
        }
    };
    let late = kept.while_looked_at(moved, revoke);
    refusal(late, "withdrawn while it was looked at", "is withdrawn");
    let after = moved(&kept.server.url("record"));
    refusal(after, "withdrawn before", "is withdrawn");
}

/// The members let a program run, and take the node's word for what is reachable; while the file is away its job waits, and says for whom.
fn a_job_reads_it(kept: &Kept, leaf: &str, auditor: Address) {
    let world = &kept.world;
    let manifest = world.path("manifests/mean.json");
    let (program, founder) = (world.path("programs/mean.wasm"), world.key("founder-0"));
    let opened = world.json(&format!(
        "propose --manifest {manifest} --program {program} --key {founder}"
    ));
    let named = world.json(&format!("propose --auditor {auditor} --key {founder}"));
    let ids = [&opened, &named].map(|it| it["proposal"].as_str().expect("an id"));
    world.decide(&ids);
    kept.server.set("record", Answer::Status(404));
    let requester = world.key("requester");
    world.json(&format!(
        "job request --manifest {manifest} --key {requester}"
    ));
    let began = Instant::now();
    while !kept.said(&format!("the contributor of leaf {leaf} keeps the file")) {
        assert!(began.elapsed() < PATIENCE, "it says nothing");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(world.json("job show 1")["state"], "requested");
    kept.server.set("record", Answer::File(kept.file.clone()));
    let ran = world.json("job show 1 --wait");
    assert_eq!(ran["state"], "completed", "{ran}");
    let identity = world.told("identity");
    let opened = world.run(&format!("job output 1 --identity {identity}"));
    let means: Value = serde_json::from_slice(&opened.stdout).expect("the means");
    // All who count, among them the one whose file was fetched: it was read, or there would be one fewer.
    assert_eq!(means["n"], 850);
}

/// From the lease on the bond is at stake, and nothing depends on the place any more.
fn what_was_fetched_for_a_lease_outlives_place_and_process(kept: &mut Kept) {
    let manifest = kept.world.path("manifests/mean.json");
    let requester = kept.world.key("requester");
    let asked = kept.world.json(&format!(
        "job request --manifest {manifest} --key {requester}"
    ));
    assert_eq!(asked["job"], 2);
    let began = Instant::now();
    while kept.world.json("job show 2")["state"] == "requested" {
        assert!(began.elapsed() < PATIENCE, "it is not leased");
        std::thread::sleep(Duration::from_millis(20));
    }
    kept.server.set("record", Answer::Status(404));
    kept.start_node();
    let ran = kept.world.json("job show 2 --wait");
    assert_eq!(ran["state"], "completed", "{ran}");
    kept.server.set("record", Answer::File(kept.file.clone()));
}

/// A record of 60 KB: what is in it only the sandbox would look at.
async fn contribute_several_leaves(kept: &Kept) -> String {
    let (client, deployment) = (kept.client(), kept.deployment());
    let answer = client.collective().await.expect("a collective");
    let recipient = answer.recipient.parse().expect("a recipient");
    let to = kept::destination(&deployment, &recipient);
    let account = kept.account("contributor-1");
    let sealed = prepare(&to, &account, 77, &vec![7; 60_000], &mut rand::rng());
    let (entry, file) = sealed.expect("sealed");
    let (header, _) = split_file(&file).expect("a sealed file");
    let outline = outline(&file[..]).expect("bytes").expect("a sealed file");
    let leaf = entry.contribution.leaf();
    let at = Place {
        leaf,
        number: 1,
        url: kept.url("large"),
    };
    let mut upload = ConnectedUpload {
        entry,
        header: header.to_vec().into(),
        outline: outline.to_bytes().into(),
        place: place(&deployment, &kept.account("contributor-2"), at.clone()),
    };
    kept.server.set("large", Answer::File(file));
    let said = client.connect(&upload).await.expect_err("another's word");
    assert!(
        said.to_string().contains("not signed by the contributor"),
        "{said}"
    );
    upload.place = place(&deployment, &account, at);
    it_brings_the_outline(kept, &client, &upload).await;
    client.connect(&upload).await.expect("taken in");
    kept.world.json(&format!("contributions {leaf} --wait"));
    leaf.to_string()
}

/// By which a MiB is compared as it comes: of another payload, cut or left out it is refused, and no place is asked.
async fn it_brings_the_outline(kept: &Kept, client: &Client, upload: &ConnectedUpload) {
    let asked = || kept.server.asked.lock().expect("no panic").len();
    let before = asked();
    let bytes = &upload.outline;
    let mut bent = bytes.to_vec();
    bent[0] ^= 1;
    let cut = bytes[..bytes.len() - 1].to_vec();
    for other in [bent, cut, [&bytes[..], bytes].concat(), vec![]] {
        let mut upload = upload.clone();
        upload.outline = other.into();
        let said = client.connect(&upload).await.expect_err("refused");
        assert!(said.to_string().contains("the outline is not"), "{said}");
    }
    assert_eq!(asked(), before, "a place was asked");
}

/// The member takes the file elsewhere. Nobody else does, and no old word does.
async fn it_is_moved(kept: &Kept, leaf: &str) {
    let (world, server) = (&kept.world, &kept.server);
    let key = world.key("contributor-0");
    let line = |leaf: &str, path: &str| {
        let url = server.url(path);
        format!("contributions place {leaf} --place {url} --key {key}")
    };
    world.refused(&line(leaf, "other"), "answered 404");
    server.set("other", Answer::Whole(kept.file.clone()));
    let nobodys = format!("0x{}", "11".repeat(32));
    world.refused(&line(&nobodys, "other"), "no contribution");
    world.json(&line(leaf, "other"));

    server.set("record", Answer::File(kept.file.clone()));
    let (client, deployment) = (kept.client(), kept.deployment());
    let at = |number: u64| Place {
        leaf: leaf.parse().expect("a leaf"),
        number,
        url: kept.url("record"),
    };
    let owner = kept.account("contributor-0");
    let move_to = |signed: SignedPlace| {
        let client = client.clone();
        async move {
            client
                .move_to(&signed)
                .await
                .expect_err("refused")
                .to_string()
        }
    };
    let old = move_to(place(&deployment, &owner, at(1))).await;
    assert!(old.contains("a higher one is known already"), "{old}");
    let stranger = kept.account("contributor-2");
    let others = move_to(place(&deployment, &stranger, at(u64::MAX))).await;
    assert!(others.contains("not signed by the contributor"), "{others}");
    let mut altered = place(&deployment, &owner, at(1));
    altered.place.number = u64::MAX;
    let altered = move_to(altered).await;
    assert!(
        altered.contains("not signed by the contributor"),
        "{altered}"
    );
    server.set("record", Answer::Status(404));
}

fn has_blob_with(kept: &Kept, bytes: &[u8]) -> bool {
    blobs(kept).iter().any(|file| {
        let blob = std::fs::read(file).expect("a blob");
        blob.windows(bytes.len()).any(|window| window == bytes)
    })
}

/// All files in the node's store.
fn blobs(kept: &Kept) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(kept.world.path("node/blobs")).expect("blobs");
    let files = folders
        .flatten()
        .filter_map(|it| std::fs::read_dir(it.path()).ok());
    let files = files.flatten().flatten().map(|file| file.path());
    files.collect()
}
