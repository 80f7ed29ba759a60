//! Sealed files that are larger than what a process may have in memory: they go in and come out through the real binary, cut off at
//! any place, and what does not fit is refused.
//!
//! `COLLECTIVE_SEED` says where the line is cut.
#![cfg(target_os = "linux")]

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::by_hand::{PATIENCE, binary, start_node, start_node_by};
use crate::large::{MIB, Scene, header, in_and_out, taken};
use alloy::signers::local::PrivateKeySigner;
use collective::contribution::SignedContribution;
use collective_node::contributor::read_header;
use collective_node::crash::{Step, VARIABLE};
use collective_node::intake::join;
use collective_node::transfer::upload;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::{Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Memory that a process may take for a file of any size. A file of [`LARGE`] does not fit.
const MEMORY: u64 = 40 * MIB;

const LARGE: u64 = 64 * MIB;

#[test]
fn a_large_file_goes_in_and_comes_out_with_little_memory() {
    in_and_out(&Scene::new(), LARGE, MEMORY);
}

/// `just gibibyte`, about a minute.
#[test]
#[ignore = "3 GiB of disk"]
fn a_gibibyte_goes_in_and_comes_out_with_little_memory() {
    // A payload of 1 GiB: nonce, chunks, and a tag for each.
    let chunks = (1024 * MIB - 16) / (64 * 1024 + 16);
    in_and_out(&Scene::new(), chunks * 64 * 1024, 64 * MIB);
}

/// A line to a node that breaks after some bytes, as often as there are numbers.
async fn bad_line(to: SocketAddr, cuts: Vec<u64>) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (left, broken) = (
        Arc::new(std::sync::Mutex::new(cuts)),
        Arc::new(AtomicUsize::new(0)),
    );
    let count = broken.clone();
    tokio::spawn(async move {
        loop {
            let (near, _) = listener.accept().await.expect("a connection");
            let (left, count) = (left.clone(), count.clone());
            tokio::spawn(async move {
                let far = TcpStream::connect(to).await.expect("the node");
                let (mut near_in, mut near_out) = near.into_split();
                let (mut far_in, mut far_out) = far.into_split();
                let back = async move { tokio::io::copy(&mut far_in, &mut near_out).await };
                let there = async move {
                    let mut bytes = vec![0; 16 * 1024];
                    loop {
                        let read = near_in.read(&mut bytes).await.unwrap_or(0);
                        let is_cut = {
                            let mut left = left.lock().expect("numbers");
                            match left.last_mut() {
                                Some(room) if *room < read as u64 => left.pop().is_some(),
                                Some(room) => {
                                    *room -= read as u64;
                                    false
                                }
                                None => false,
                            }
                        };
                        if is_cut {
                            count.fetch_add(1, Ordering::SeqCst);
                            return;
                        }
                        if read == 0 || far_out.write_all(&bytes[..read]).await.is_err() {
                            return;
                        }
                    }
                };
                tokio::select! { _ = back => {}, () = there => {} }
            });
        }
    });
    (address, broken)
}

fn seed() -> u64 {
    let named = std::env::var("COLLECTIVE_SEED").ok();
    let named = named.and_then(|it| it.parse().ok());
    let seed = named.unwrap_or_else(|| rand::rng().random::<u32>().into());
    println!("COLLECTIVE_SEED={seed}");
    seed
}

#[test]
fn an_upload_goes_on_wherever_the_line_breaks() {
    let mut rng = StdRng::seed_from_u64(seed());
    let scene = Scene::new();
    let (_, file) = scene.sealed(1, LARGE / 2);
    let cuts: Vec<u64> = (0..6).map(|_| rng.random_range(1..LARGE / 16)).collect();
    let node: SocketAddr = {
        let url: url::Url = scene.world.told("node").parse().expect("a URL");
        let host = url.host_str().expect("a host");
        format!("{host}:{}", url.port().expect("a port"))
            .parse()
            .expect("an address")
    };
    let (line, broken) = scene.runtime.block_on(bad_line(node, cuts));
    let (leaf, _) = taken(scene.contributing(&file, 1, &format!("http://{line}")));
    assert_eq!(
        broken.load(Ordering::SeqCst),
        6,
        "the line broke less often"
    );
    assert!(!file.with_extension("age.leaf").exists());
    scene.has(&leaf, &file);
}

#[test]
fn an_upload_goes_on_after_the_node_was_killed_and_after_the_sender_was() {
    let mut scene = Scene::new();
    let (_, file) = scene.sealed(1, LARGE);
    let node = scene.world.told("node").to_owned();
    let unfinished = PathBuf::from(scene.world.path("node/blobs/unfinished"));
    let received = || {
        let files = std::fs::read_dir(&unfinished).into_iter().flatten();
        let lengths = files.map(|it| it.expect("a file").metadata().map_or(0, |it| it.len()));
        lengths.sum::<u64>()
    };
    let until = |bytes| {
        let began = Instant::now();
        while received() < bytes {
            assert!(began.elapsed() < PATIENCE, "{} bytes came", received());
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    let mut sender = scene.contributing(&file, 1, &node);
    until(LARGE / 4);
    sender.kill().expect("killed");
    sender.wait().expect("ended");
    let kept = file.with_extension("age.leaf");
    let entry: SignedContribution =
        serde_json::from_slice(&std::fs::read(&kept).expect("a leaf")).expect("an entry");
    let (acknowledged, length, complete) = scene.stands(&entry).expect("an upload");
    assert!(LARGE / 4 <= acknowledged && acknowledged < length && complete == "?0");
    // SIGKILL.
    scene.node = None;
    scene.node = Some(start_node(&scene.config).0);
    let (offset, ..) = scene.stands(&entry).expect("an upload");
    assert_eq!(offset, acknowledged);

    let sender = scene.contributing(&file, 1, &node);
    until(acknowledged + LARGE / 4);
    scene.node = None;
    scene.node = Some(start_node(&scene.config).0);
    let (leaf, _) = taken(sender);
    assert_eq!(leaf, entry.contribution.leaf().to_string(), "another leaf");
    assert!(!kept.exists());
    scene.has(&leaf, &file);
    assert_eq!(scene.stands(&entry), Some((length, length, "?1".into())));
    assert_eq!(received(), 0, "something is left");
}

#[test]
fn an_answer_that_a_power_cut_swallows_is_given_again() {
    let mut scene = Scene::new();
    let (_, file) = scene.sealed(1, 2 * MIB);
    let mut cut = binary();
    cut.env(VARIABLE, Step::KeptNotAcknowledged.name());
    scene.node = None;
    let (mut node, _) = start_node_by(cut, &scene.config);
    let sender = scene.contributing(&file, 1, scene.world.told("node"));
    let began = Instant::now();
    while node.0.try_wait().expect("our child").is_none() {
        assert!(began.elapsed() < PATIENCE, "the power does not fail");
        std::thread::sleep(Duration::from_millis(5));
    }
    scene.node = Some(start_node(&scene.config).0);
    let (leaf, _) = taken(sender);
    scene.has(&leaf, &file);
    let unfinished = std::fs::read_dir(scene.world.path("node/blobs/unfinished"));
    assert_eq!(
        unfinished.expect("a folder").count(),
        0,
        "something is left"
    );
}

#[test]
fn two_senders_of_one_file_are_in_nobodys_way() {
    let scene = Scene::new();
    let (entry, file) = scene.sealed(1, LARGE / 2);
    let send = || upload(&scene.client, &entry, &file, |_, _| {});
    let (one, other) = scene
        .runtime
        .block_on(async { tokio::join!(send(), send()) });
    let leaf = entry.contribution.leaf();
    assert_eq!(one.expect("taken in").leaf, leaf);
    assert_eq!(other.expect("taken in").leaf, leaf);
    scene.has(&leaf.to_string(), &file);
}

#[test]
fn what_does_not_fit_is_refused_and_costs_nobody_else() {
    let scene = Scene::new();
    let (entry, path) = scene.sealed(1, 2 * MIB);
    let file = std::fs::read(&path).expect("a file");
    let head = read_header(&file[..]).expect("read").expect("a header");
    let payload = &file[head.len()..];
    let start = join(&entry, &head).len() as u64;
    let unfinished = PathBuf::from(scene.world.path("node/blobs/unfinished"));
    let is_empty = || {
        std::fs::read_dir(&unfinished)
            .expect("a folder")
            .next()
            .is_none()
    };

    // Nothing begins by what an upload in one request is refused for.
    let refused = |entry: &SignedContribution, head: &[u8], status, words: &str| {
        scene.refused(scene.begin(entry, head), status, words);
        assert!(is_empty() && scene.stands(entry).is_none());
    };
    let mut bent = entry.clone();
    bent.contribution.nonce = 77;
    refused(&bent, &head, 403, "does not match this leaf");
    bent = entry.clone();
    bent.commitment.length -= 1;
    refused(&bent, &head, 422, "not the one that was signed");
    bent = entry.clone();
    bent.commitment.length = 2048 * MIB;
    refused(&bent, &head, 422, "has 1 to 1073741824 bytes");
    bent.commitment.length = 0;
    refused(&bent, &head, 422, "has 1 to 1073741824 bytes");
    bent = entry.clone();
    bent.commitment.source = "elsewhere".into();
    refused(&bent, &head, 422, "declares no source");
    bent = entry.clone();
    bent.contribution.collective = alloy::primitives::Address::repeat_byte(9);
    refused(&bent, &head, 422, "names collective");
    let (foreign, foreign_path) = scene.sealed_by(&PrivateKeySigner::random(), 9, 1000);
    let foreign_head = read_header(File::open(foreign_path).expect("a file"));
    let foreign_head = foreign_head.expect("read").expect("a header");
    refused(&foreign, &foreign_head, 403, "is not admitted");
    bent = entry.clone();
    bent.signature = foreign.signature;
    refused(&bent, &head, 403, "does not match this leaf");
    bent = entry.clone();
    bent.terms.expiry -= 1;
    refused(&bent, &head, 422, "not the ones that were signed");
    let (other, other_path) = scene.sealed(2, 2 * MIB);
    let other_file = std::fs::read(&other_path).expect("a file");
    let other_head = read_header(&other_file[..])
        .expect("read")
        .expect("a header");
    refused(&entry, &other_head, 422, "");
    refused(
        &entry,
        &file[..head.len() + 1],
        400,
        "something follows the header",
    );
    refused(&entry, &head[..head.len() - 1], 422, "");
    // Few bytes: what is refused before its body is read may be answered by a closed door.
    let stranger = scene.append(&entry, start, "?0", b"x");
    scene.refused(stranger, 404, "is under way here");

    // Parts are appended where the last one ended, and are as long as the commitment says.
    let begun = scene.begin(&entry, &head);
    assert_eq!(begun.status(), StatusCode::CREATED);
    let leaf = entry.contribution.leaf();
    assert_eq!(header(&begun, "Location"), format!("/uploads/{leaf}"));
    let length = start + payload.len() as u64;
    assert_eq!(scene.stands(&entry), Some((start, length, "?0".into())));
    let elsewhere = scene.append(&entry, start + 1, "?0", b"x");
    assert_eq!(header(&elsewhere, "Upload-Offset"), start.to_string());
    scene.refused(elsewhere, 409, "go on there");
    let half = payload.len() / 2;
    let more = scene.append(&entry, start, "?0", &payload[..half]);
    assert_eq!(more.status(), StatusCode::NO_CONTENT);
    let at = start + half as u64;
    assert_eq!(header(&more, "Upload-Offset"), at.to_string());
    // Opened again it goes on.
    let again = scene.begin(&entry, &head);
    assert_eq!(header(&again, "Upload-Offset"), at.to_string());
    let early = scene.append(&entry, at, "?1", b"");
    assert_eq!(header(&early, "Upload-Complete"), "?0");
    scene.refused(early, 422, "cut or extended");
    let long = scene.append(&entry, at, "?1", &[&payload[half..], b"x"].concat());
    scene.refused(long, 422, "cut or extended");
    let (at, ..) = scene.stands(&entry).expect("it is open");
    let rest = &payload[(at - start) as usize..];
    let no_kind = scene.ask(
        Method::PATCH,
        &format!("uploads/{leaf}"),
        &[
            ("Upload-Offset", &at.to_string()),
            ("Upload-Complete", "?1"),
        ],
        b"x".to_vec(),
    );
    scene.refused(no_kind, 415, "application/partial-upload");
    let whole = scene.append(&entry, at, "?1", rest);
    assert_eq!(whole.status(), StatusCode::CREATED);
    assert_eq!(header(&whole, "Upload-Complete"), "?1");
    scene.refused(scene.begin(&entry, &head), 409, "is already here");

    // Wrong bytes cost who sent them: it begins again, and then may be right.
    let other_payload = &other_file[other_head.len()..];
    let other_start = join(&other, &other_head).len() as u64;
    let mut wrong = other_payload.to_vec();
    wrong[half] ^= 1;
    assert_eq!(
        scene.begin(&other, &other_head).status(),
        StatusCode::CREATED
    );
    let refusal = scene.append(&other, other_start, "?1", &wrong);
    assert_eq!(header(&refusal, "Upload-Complete"), "?1");
    scene.refused(refusal, 422, "bytes are not those");
    assert!(is_empty() && scene.stands(&other).is_none());
    assert_eq!(
        scene.begin(&other, &other_head).status(),
        StatusCode::CREATED
    );
    let whole = scene.append(&other, other_start, "?1", other_payload);
    assert_eq!(whole.status(), StatusCode::CREATED);

    // A nonce is one contribution's, also where another one came first in the meantime.
    let (late, late_path) = scene.sealed(3, 2 * MIB);
    let late_file = std::fs::read(&late_path).expect("a file");
    let late_head = read_header(&late_file[..])
        .expect("read")
        .expect("a header");
    assert_eq!(scene.begin(&late, &late_head).status(), StatusCode::CREATED);
    let (first, first_path) = scene.sealed(3, 1000);
    let first_file = std::fs::read(first_path).expect("a file");
    let sent = scene.client.contribute(join(&first, &first_file));
    scene.runtime.block_on(sent).expect("taken in");
    let late_start = join(&late, &late_head).len() as u64;
    let refusal = scene.append(&late, late_start, "?1", &late_file[late_head.len()..]);
    scene.refused(refusal, 409, "are in use for another leaf");
    assert!(is_empty());

    // One contributor has so many under way, and may cancel one.
    let mut open = vec![];
    for nonce in 4..9 {
        let (entry, path) = scene.sealed(nonce, 2 * MIB);
        let file = File::open(path).expect("a file");
        let head = read_header(file).expect("read").expect("a header");
        open.push((entry, head));
    }
    for (entry, head) in &open[..4] {
        assert_eq!(scene.begin(entry, head).status(), StatusCode::CREATED);
    }
    scene.refused(scene.begin(&open[4].0, &open[4].1), 429, "finish or cancel");
    let first = format!("uploads/{}", open[0].0.contribution.leaf());
    let cancelled = scene.ask(Method::DELETE, &first, &[], vec![]);
    assert_eq!(cancelled.status(), StatusCode::NO_CONTENT);
    assert!(scene.stands(&open[0].0).is_none());
    assert_eq!(
        scene.begin(&open[4].0, &open[4].1).status(),
        StatusCode::CREATED
    );
}
