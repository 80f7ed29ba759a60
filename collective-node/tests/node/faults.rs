//! A disk that fails: at each call by which a node puts something there, it is killed before, in the middle and after, the call
//! fails, or there is no space from then on. What was acknowledged is there afterwards, whole, and gets into a batch.
//!
//! `COLLECTIVE_KILLS` says how often the node is killed at random under load, `COLLECTIVE_SEED` where.
#![cfg(target_os = "linux")]

#[path = "faults/disk.rs"]
mod disk;
#[path = "faults/uploads.rs"]
mod uploads;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::by_hand::{PATIENCE, World};
use collective::id::BlobId;
use collective::permit::Fault;
use collective_node::client::ClientError;
use collective_node::http::ContributionState;
use collective_node::intake::parse_entry;
use disk::{Disk, Mode};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use uploads::{Contributor, Upload};

/// Kills at random without `COLLECTIVE_KILLS`.
const KILLS: usize = 6;

const RECORD: &[u8] = b"0,7,7,1,6,6,36,3,1,1\n";

/// Uploads on their way at once.
const SENDERS: usize = 8;

const KILLING: [Mode; 3] = [Mode::KillBefore, Mode::KillTorn, Mode::KillAfter];

/// Respondents whose contributions a world begins with.
const FOUNDED: u64 = 944;

impl Contributor {
    fn send(&self, upload: &Upload) -> Result<(), ClientError> {
        let sent = self.client.contribute(upload.bytes.clone());
        self.runtime.block_on(sent).map(drop)
    }

    /// Once more, after the fault: it is taken in now, or was before.
    fn send_again(&self, upload: &Upload) {
        if let Err(error) = self.send(upload) {
            assert!(is_replay(&error), "{error}");
        }
    }

    /// All of these are here, whole, and in a batch in the end.
    fn check(&self, acknowledged: &[Upload]) {
        for upload in acknowledged {
            let held = self.runtime.block_on(self.client.contribution(upload.leaf));
            held.expect("an acknowledged contribution");
            let id = BlobId::of(&upload.file);
            let file = self.runtime.block_on(self.client.blob(id));
            assert_eq!(file.expect("its file"), upload.file);
        }
    }

    fn check_anchored(&self, acknowledged: &[Upload]) {
        let began = Instant::now();
        let all = FOUNDED + acknowledged.len() as u64;
        loop {
            let status = self.runtime.block_on(self.client.status());
            let status = status.expect("the node's status");
            if status.waiting == 0 && status.anchored == all {
                break;
            }
            // After failures the next try comes later and later, half a minute at most.
            let waited = began.elapsed() < 2 * PATIENCE;
            assert!(waited, "{} of {all} are anchored", status.anchored);
            std::thread::sleep(Duration::from_millis(100));
        }
        self.check(acknowledged);
        for upload in acknowledged {
            let state = self.runtime.block_on(self.client.contribution(upload.leaf));
            let state = state.expect("it is known").state;
            let batched = matches!(state, ContributionState::Batched { .. });
            assert!(batched, "leaf {} is in no batch", upload.leaf);
        }
    }
}

fn is_replay(error: &ClientError) -> bool {
    error.problem().is_some_and(|it| it.status == 409)
}

/// Not taken in, and it says whose fault that is.
fn is_operators(error: &ClientError) -> bool {
    error
        .problem()
        .is_some_and(|it| it.fault == Fault::Operator)
}

fn world(folder: &Path) -> (Contributor, Disk) {
    let world = World::start(folder.join("world"));
    let disk = Disk::new(folder, &world);
    (Contributor::new(world), disk)
}

#[test]
fn a_call_that_fails_is_no_acknowledgement_and_does_no_harm() {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let (mut contributor, disk) = world(temporary.path());
    let node = disk.start();
    let (mut kept, mut failed, mut refused, mut unmet) = (vec![], 0, 0, 0);
    // Until a contribution and its batch make fewer calls than this.
    for place in 1.. {
        let upload = contributor.uploads(1, RECORD).pop_front().expect("one");
        disk.arm(Mode::EioOnce, place);
        let answer = contributor.send(&upload);
        disk.wait();
        let fired = disk.fired();
        disk.arm(Mode::Nothing, 0);
        if let Err(error) = answer {
            assert!(is_operators(&error), "call {place}: {error}");
            refused += 1;
            contributor.send_again(&upload);
        }
        kept.push(upload);
        failed += usize::from(fired);
        // Twice: where anchoring failed it is tried again later and later.
        unmet = if fired { 0 } else { unmet + 1 };
        if unmet == 2 {
            break;
        }
    }
    println!("{failed} calls failed with EIO, {refused} contributions were not acknowledged");
    // Those of one contribution before its acknowledgement, at least.
    assert!(failed >= 5 && refused >= 3);
    contributor.check_anchored(&kept);
    drop(node);
    let node = disk.start();
    contributor.check_anchored(&kept);
    drop(node);
}

#[test]
fn a_full_disk_acknowledges_nothing_and_works_again_when_there_is_space() {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let (mut contributor, disk) = world(temporary.path());
    let node = disk.start();
    let mut kept: Vec<Upload> = vec![];
    for place in [1, 2, 3, 5, 8, 13] {
        disk.arm(Mode::Full, place);
        let uploads = contributor.uploads(10, RECORD);
        // What was taken in before the disk was full is; the rest is refused.
        let taken = uploads.iter().filter(|upload| {
            let answer = contributor.send(upload);
            assert!(!answer.as_ref().is_err_and(|error| !is_operators(error)));
            answer.is_ok()
        });
        let taken = taken.count();
        assert!(disk.fired() && taken < 10, "{taken}");
        let status = contributor.runtime.block_on(contributor.client.status());
        status.expect("it still answers");
        contributor.check(&kept);

        disk.arm(Mode::Nothing, 0);
        for upload in &uploads {
            contributor.send_again(upload);
        }
        kept.extend(uploads);
    }
    contributor.check_anchored(&kept);
    drop(node);
    let node = disk.start();
    contributor.check_anchored(&kept);
    drop(node);
}

#[test]
fn an_upload_in_parts_goes_on_after_each_call_that_failed_and_when_there_is_space_again() {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let (mut contributor, disk) = world(temporary.path());
    let mut node = Some(disk.start());
    let mut modes = [Mode::EioOnce, Mode::Full]
        .into_iter()
        .chain(KILLING)
        .cycle();
    let mut kept = vec![];
    for place in [1, 2, 3, 5, 8, 13, 21, 34, 55, 89] {
        let mode = modes.next().expect("a cycle");
        let upload = contributor
            .uploads(1, &[7; 700_000])
            .pop_front()
            .expect("one");
        let path = temporary.path().join("upload.age");
        std::fs::write(&path, &upload.file).expect("written");
        disk.arm(mode, place);
        let sent = {
            let (entry, _) = parse_entry(&upload.bytes).expect("an entry");
            let (client, path) = (contributor.client.clone(), path.clone());
            contributor.runtime.spawn(async move {
                let sent = collective_node::transfer::upload(&client, &entry, &path, |_, _| {});
                sent.await.map(|taken| taken.leaf)
            })
        };
        disk.wait();
        println!("{mode:?} at call {place}: {}", disk.fired());
        disk.arm(Mode::Nothing, 0);
        if KILLING.contains(&mode) {
            // Killed here, where it did not come that far.
            drop(node.take());
            node = Some(disk.start());
        }
        let leaf = contributor.runtime.block_on(sent).expect("it ends");
        assert_eq!(leaf.expect("taken in"), upload.leaf);
        kept.push(upload);
        contributor.check(&kept);
    }
    contributor.check_anchored(&kept);
    drop(node);
}

#[test]
fn killed_under_load_at_any_call_it_has_what_it_acknowledged() {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let number = |name: &str| std::env::var(name).ok().and_then(|it| it.parse().ok());
    let seed = number("COLLECTIVE_SEED").unwrap_or_else(|| rand::rng().random::<u32>().into());
    let kills = number("COLLECTIVE_KILLS").map_or(KILLS, |it| it as usize);
    println!("COLLECTIVE_SEED={seed} COLLECTIVE_KILLS={kills}");
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut contributor, disk) = world(temporary.path());
    let mut fired = 0;

    // How many calls a start makes, and how many one contribution and its batch.
    let node = disk.start();
    let starting = disk.calls();
    let mut kept: Vec<Upload> = contributor.uploads(1, RECORD).into();
    contributor.send(&kept[0]).expect("taken in");
    contributor.check_anchored(&kept);
    let each = disk.calls() - starting;
    println!("{starting} calls of a start, {each} of a contribution and its batch");
    assert!(starting > 0 && each > 8);
    let mut waiting = VecDeque::new();
    drop(node);

    for kill in 0..kills {
        waiting.extend(contributor.uploads(2 * SENDERS, RECORD));
        let mode = KILLING[kill % KILLING.len()];
        // One of eight while it starts.
        let starts = rng.random_ratio(1, 8);
        if starts {
            disk.arm(mode, rng.random_range(1..=starting));
        }
        let node = disk.start();
        if !starts {
            contributor.check(&kept[kept.len().saturating_sub(SENDERS)..]);
            disk.arm(mode, rng.random_range(1..=2 * each));
        }
        let (taken, left) = load(&contributor, waiting);
        kept.extend(taken);
        waiting = left;
        disk.wait();
        fired += usize::from(disk.fired());
        disk.arm(Mode::Nothing, 0);
        // Killed here, where it did not come that far.
        drop(node);
    }
    assert!(2 * fired >= kills, "{fired} of {kills} kills came about");
    let node = disk.start();
    for upload in &waiting {
        contributor.send_again(upload);
    }
    kept.extend(waiting);
    contributor.check_anchored(&kept);
    println!("{fired} kills, {} contributions", kept.len());
    drop(node);
}

/// Sends until nothing is left or the node is gone. Which were acknowledged, in that order, and which are to be sent again.
fn load(contributor: &Contributor, uploads: VecDeque<Upload>) -> (Vec<Upload>, VecDeque<Upload>) {
    let queue = Arc::new(Mutex::new((uploads, vec![], VecDeque::new())));
    contributor.runtime.block_on(async {
        let mut senders = tokio::task::JoinSet::new();
        for _ in 0..SENDERS {
            let (queue, client) = (queue.clone(), contributor.client.clone());
            senders.spawn(async move {
                loop {
                    let next = queue.lock().expect("a queue").0.pop_front();
                    let Some(upload) = next else { return };
                    let answer = client.contribute(upload.bytes.clone()).await;
                    let mut queue = queue.lock().expect("a queue");
                    match answer {
                        Ok(_) => queue.1.push(upload),
                        Err(error) if is_replay(&error) => queue.1.push(upload),
                        Err(error) => {
                            assert!(error.problem().is_none(), "{error}");
                            queue.2.push_back(upload);
                            return;
                        }
                    }
                }
            });
        }
        while let Some(sender) = senders.join_next().await {
            sender.expect("a sender");
        }
    });
    let queue = Arc::into_inner(queue).expect("all have ended");
    let (mut unsent, taken, mut failed) = queue.into_inner().expect("a queue");
    failed.append(&mut unsent);
    (taken, failed)
}
