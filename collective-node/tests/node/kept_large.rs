//! A large file that its contributor keeps: looked at and fetched a MiB at a time, with little memory, and from where it stopped;
//! audited by a KiB.

use std::time::{Duration, Instant};

use crate::by_hand::PATIENCE;
use crate::kept::{Answer, Kept};
use collective::contribution::{BLOCK_BYTES, LEAF_BYTES};
use collective_node::contributor::split_file;

const MIB: u64 = 1 << 20;
const LEAF: u64 = LEAF_BYTES as u64;

/// Bytes of what is sealed: more than the node may have in memory for it.
const LARGE: u64 = 40 * MIB;

/// Memory that looking at it may take: some MiB are on their way, and the allocator keeps some.
const MEMORY: u64 = 20 * MIB;

#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_is_taken_in_and_fetched_by_the_mib_and_audited_by_the_kib() {
    let mut kept = Kept::start();
    let was = "connected = true\n";
    kept.configure(was, &format!("{was}max_payload = {}\n", 64 * MIB));
    kept.seal_large(LARGE as usize).await;
    let (server, file) = (kept.server.clone(), kept.file.clone());
    let (header, payload) = split_file(&file).expect("a sealed file");
    let (header, length) = (header.len() as u64, payload.len() as u64);

    let mut bent = file.clone();
    *bent.last_mut().expect("a byte") ^= 4;
    kept.refuses(Answer::File(bent), "bytes are not those");
    // The first wrong MiB is the last that is asked for.
    let mut bent = file.clone();
    bent[header as usize + 3 * MIB as usize] ^= 4;
    server.asked.lock().expect("no panic").clear();
    kept.refuses(Answer::File(bent), "bytes are not those");
    assert_eq!(server.asked.lock().expect("no panic").len(), 4);
    kept.refuses(
        Answer::File([&file[..], b"more"].concat()),
        "was cut or extended",
    );
    kept.refuses(
        Answer::File(file[..file.len() / 2].to_vec()),
        "was cut or extended",
    );
    kept.refuses(Answer::Whole(file.clone()), "it knows no ranges");
    kept.refuses(
        Answer::Before(header + 9 * MIB, file.clone()),
        "answered 503",
    );

    approve(&kept);
    let process = kept.node.as_ref().expect("a node").0.id();
    // From here on the peak is counted anew: a start takes more than what follows (proc(5), clear_refs).
    std::fs::write(format!("/proc/{process}/clear_refs"), "5").expect("our process");
    let before = peak(process);
    server.set("record", Answer::File(file.clone()));
    let leaf = kept.contributed(&server.url("record"));
    assert!(peak(process) - before < MEMORY, "the node had it in memory");

    // An audit asks for the KiB that was drawn, of whichever MiB.
    server.asked.lock().expect("no panic").clear();
    kept.next_day(true).await;
    assert_eq!(kept.standing(&leaf), ("held".into(), true));
    let asked: Vec<_> = server.asked.lock().expect("no panic").drain(..).collect();
    assert!(!asked.is_empty());
    for (first, last) in asked {
        assert_eq!((first - header) % LEAF, 0);
        assert_eq!(last + 1, (first + LEAF).min(header + length));
    }
    // A job fetches it as far as it comes, and goes on from there.
    let reached = header + 7 * BLOCK_BYTES;
    server.set("record", Answer::Before(reached, file.clone()));
    server.asked.lock().expect("no panic").clear();
    let (requester, manifest) = (kept.world.key("requester"), mean(&kept));
    kept.world.json(&format!(
        "job request --manifest {manifest} --key {requester}"
    ));
    let began = Instant::now();
    while !kept.said(&format!("the contributor of leaf {leaf} keeps the file")) {
        assert!(began.elapsed() < PATIENCE, "it says nothing");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let part = kept.world.path(&format!("node/fetched/{leaf}.part"));
    assert_eq!(std::fs::metadata(part).expect("a part").len(), reached);
    server.asked.lock().expect("no panic").clear();
    server.set("record", Answer::File(file.clone()));
    let ran = kept.world.json("job show 1 --wait");
    assert_eq!(ran["state"], "completed", "{ran}");
    let asked: Vec<_> = server.asked.lock().expect("no panic").drain(..).collect();
    assert!(
        asked.iter().all(|(first, _)| *first >= reached),
        "{asked:?}"
    );
    let left = std::fs::read_dir(kept.world.path("node/fetched")).expect("a folder");
    assert_eq!(left.count(), 0, "dropped after the run");

    // Whatever KiB is drawn, rot in it is found.
    let mut rotten = file.clone();
    let payload = header as usize..;
    for kib in rotten[payload].chunks_mut(LEAF_BYTES) {
        kib[0] ^= 1;
    }
    server.set("record", Answer::File(rotten));
    assert!(kept.next_day(false).await.counts.wrong >= 1);
    assert_eq!(kept.standing(&leaf), ("wrong".into(), false));
    kept.has_kept_the_secret();
}

fn mean(kept: &Kept) -> String {
    kept.world.path("manifests/mean.json")
}

/// The members let a program run.
fn approve(kept: &Kept) {
    let (manifest, founder) = (mean(kept), kept.world.key("founder-0"));
    let program = kept.world.path("programs/mean.wasm");
    let opened = kept.world.json(&format!(
        "propose --manifest {manifest} --program {program} --key {founder}"
    ));
    kept.world
        .decide(&[opened["proposal"].as_str().expect("an id")]);
}

/// The most memory that a process had since it was counted anew.
fn peak(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("our process");
    let line = status.lines().find_map(|it| it.strip_prefix("VmHWM:"));
    let kib: u64 = line
        .and_then(|it| it.trim().strip_suffix(" kB")?.parse().ok())
        .expect("a number");
    kib << 10
}
