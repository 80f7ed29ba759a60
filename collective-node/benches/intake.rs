//! How many contributions a node acknowledges while 64 connections send them, and how many for each time that the disk is
//! flushed; beside it, how often this disk can be flushed. `just bench-intake`.
//!
//! The senders run on the same machine; what they send is sealed before. Flushes are those of the whole disk, whoever asks for
//! them, so the second figure is a lower bound.

#[allow(dead_code)]
#[path = "../tests/node/by_hand/mod.rs"]
mod by_hand;
#[allow(dead_code)]
#[path = "../tests/node/faults/disk.rs"]
mod disk;
#[allow(dead_code)]
#[path = "../tests/node/faults/uploads.rs"]
mod uploads;

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use by_hand::World;
use disk::Disk;
use uploads::{Contributor, Upload};

const CONNECTIONS: usize = 64;

/// Bytes of a contribution before it is sealed.
const RECORD_BYTES: usize = 4 * 1024;

/// Contributions of a round; some seconds of work.
const EACH: usize = 4_000;

const ROUNDS: usize = 3;

fn main() {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let world = World::start(temporary.path().join("world"));
    let disk = Disk::new(temporary.path(), &world);
    let mut contributor = Contributor::new(world);
    let _node = disk.start();
    println!("{CONNECTIONS} connections, contributions of {RECORD_BYTES} bytes before sealing");
    println!(
        "{:>14} {:>9} {:>9} {:>14} {:>15} {:>7}",
        "acknowledged/s", "p50", "p99", "for each flush", "raw fdatasync/s", "ratio"
    );
    for _ in 0..ROUNDS {
        let uploads = contributor.uploads(EACH, &[b'7'; RECORD_BYTES]);
        let raw = raw_syncs(temporary.path());
        let flushes = flushes(temporary.path());
        let began = Instant::now();
        let mut latencies = send(&contributor, uploads);
        let rate = EACH as f64 / began.elapsed().as_secs_f64();
        let flushes = self::flushes(temporary.path()) - flushes;
        latencies.sort_unstable();
        println!(
            "{rate:>14.0} {:>9.1?} {:>9.1?} {:>14.1} {raw:>15.0} {:>7.1}",
            latencies[EACH / 2],
            latencies[EACH * 99 / 100],
            EACH as f64 / flushes,
            rate / raw,
        );
    }
}

/// Flushes of the disk under a folder since the machine started (Documentation/block/stat.rst); none are told of some disks.
fn flushes(folder: &Path) -> f64 {
    let device = std::fs::metadata(folder).expect("a folder").dev();
    let (major, minor) = (
        (device >> 8) & 0xfff,
        (device & 0xff) | ((device >> 12) & 0xfff00),
    );
    let stat = std::fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat"));
    let flushes = stat
        .ok()
        .and_then(|stat| stat.split_whitespace().nth(15)?.parse().ok());
    flushes.unwrap_or(f64::NAN)
}

/// Appends of one contribution's size that are waited for one after another, for a second.
fn raw_syncs(folder: &Path) -> f64 {
    let mut file = File::create(folder.join("raw")).expect("a file");
    let (began, mut syncs) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_secs(1) {
        file.write_all(&[7; RECORD_BYTES]).expect("written");
        file.sync_data().expect("synced");
        syncs += 1;
    }
    f64::from(syncs) / began.elapsed().as_secs_f64()
}

/// Sends all; how long each took. One that is refused ends the measurement.
fn send(contributor: &Contributor, uploads: VecDeque<Upload>) -> Vec<Duration> {
    let queue = Arc::new(Mutex::new(uploads));
    contributor.runtime.block_on(async {
        let mut senders = tokio::task::JoinSet::new();
        for _ in 0..CONNECTIONS {
            let (queue, client) = (queue.clone(), contributor.client.clone());
            senders.spawn(async move {
                let mut latencies = vec![];
                loop {
                    let next = queue.lock().expect("a queue").pop_front();
                    let Some(upload) = next else {
                        return latencies;
                    };
                    let began = Instant::now();
                    let answer = client.contribute(upload.bytes).await;
                    answer.expect("taken in");
                    latencies.push(began.elapsed());
                }
            });
        }
        senders.join_all().await.concat()
    })
}
