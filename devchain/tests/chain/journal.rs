//! The chain on disk: the same again after a restart, whatever the moment it was killed at.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use alloy::{primitives::U256, providers::Provider};
use devchain::{Config, DevChain, Head, JournalError};

use crate::{Probe, deploy, set, wallet};

/// A chain with a deployment, calls, a reorganisation, a jump in time and a balance set; the
/// probe's value is 4.
async fn lived(chain: &DevChain) -> Probe::ProbeInstance<alloy::providers::DynProvider> {
    let probe = deploy(&wallet(chain, 0)).await;
    set(&probe, 1).await;
    let snapshot = chain.snapshot();
    set(&probe, 2).await;
    assert!(chain.revert(snapshot).unwrap());
    let alice = wallet(chain, 0);
    alice
        .raw_request::<_, ()>(
            "anvil_setBalance".into(),
            (crate::address(2), U256::from(5)),
        )
        .await
        .unwrap();
    chain.increase_time(Duration::from_secs(1_000)).unwrap();
    let probe = Probe::new(*probe.address(), alice);
    set(&probe, 3).await;
    set(&probe, 4).await;
    probe
}

fn journal() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chain.jsonl");
    (folder, path)
}

fn head_of(path: &Path) -> Result<Head, JournalError> {
    DevChain::load(Config::repeatable(), path).map(|chain| chain.head())
}

#[tokio::test]
async fn a_restart_gives_the_same_chain_and_goes_on() {
    let (_folder, path) = journal();
    let chain = DevChain::open(Config::repeatable(), &path).unwrap();
    let probe = lived(&chain).await;
    let head = chain.head();
    assert!(matches!(
        DevChain::open(Config::repeatable(), &path),
        Err(JournalError::InUse)
    ));
    assert!(matches!(chain.save(&path), Err(JournalError::InUse)));
    let (address, root) = (*probe.address(), chain.head().hash);
    drop((probe, chain));

    // Another genesis in the configuration changes nothing: the file's counts.
    let chain = DevChain::open(Config::default(), &path).unwrap();
    assert_eq!((chain.head(), chain.head().hash), (head, root));
    let probe = Probe::new(address, wallet(&chain, 0));
    assert_eq!(probe.value().call().await.unwrap(), U256::from(4));
    let receipt = set(&probe, 5).await;
    let head = chain.head();
    assert_eq!(receipt.block_hash, Some(head.hash));
    drop((probe, chain));
    assert_eq!(head_of(&path).unwrap(), head);
}

#[tokio::test]
async fn every_block_is_on_disk_before_it_is_answered() {
    let (_folder, path) = journal();
    let chain = DevChain::open(Config::repeatable(), &path).unwrap();
    let probe = deploy(&wallet(&chain, 0)).await;
    for value in 1..=3 {
        set(&probe, value).await;
        // What a kill at this moment would leave.
        assert_eq!(head_of(&path).unwrap(), chain.head());
    }
    let snapshot = chain.snapshot();
    chain.mine(2).unwrap();
    chain.revert(snapshot).unwrap();
    assert_eq!(head_of(&path).unwrap(), chain.head());
}

#[tokio::test]
async fn a_torn_line_is_dropped_and_written_again() {
    let (_folder, path) = journal();
    let chain = DevChain::open(Config::repeatable(), &path).unwrap();
    deploy(&wallet(&chain, 0)).await;
    let before = (fs::read(&path).unwrap(), chain.head());
    set(&deploy(&wallet(&chain, 1)).await, 1).await;
    drop(chain);
    let whole = fs::read(&path).unwrap();
    for cut in [before.0.len() + 1, before.0.len() + 40] {
        fs::write(&path, &whole[..cut]).unwrap();
        let chain = DevChain::open(Config::repeatable(), &path).unwrap();
        assert_eq!(chain.head(), before.1);
        let head = chain.mine(1).unwrap();
        drop(chain);
        assert_eq!(
            head_of(&path).unwrap(),
            head,
            "the new line stands where the torn one was"
        );
    }
}

#[tokio::test]
async fn a_journal_that_was_changed_is_refused() {
    let (_folder, path) = journal();
    let chain = DevChain::open(Config::repeatable(), &path).unwrap();
    lived(&chain).await;
    drop(chain);
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<_> = text.lines().collect();
    let refused = |lines: &[&str]| {
        fs::write(&path, lines.join("\n") + "\n").unwrap();
        head_of(&path).unwrap_err()
    };
    let without_second: Vec<_> = [&lines[..1], &lines[2..]].concat();
    assert!(matches!(
        refused(&without_second),
        JournalError::Diverged { number: 1, .. }
    ));
    let twice: Vec<_> = [&lines[..2], &lines[1..]].concat();
    assert!(matches!(
        refused(&twice),
        JournalError::Diverged { number: 2, .. }
    ));
    assert!(matches!(
        refused(&lines[1..]),
        JournalError::Malformed { line: 1, .. }
    ));
    assert!(matches!(
        refused(&[lines[0], "{}"]),
        JournalError::Malformed { line: 2, .. }
    ));
    assert!(matches!(
        refused(&[lines[0], lines[0]]),
        JournalError::Diverged { .. }
    ));
    assert!(matches!(
        refused(&[lines[0], r#"{"rewind":{"number":0}}"#]),
        JournalError::Diverged { .. }
    ));
    let richer = lines[0].replace("0x21e19e0c9bab2400000", "0x21e19e0c9bab2400001");
    assert_ne!(richer, lines[0]);
    assert!(matches!(
        refused(&[&[richer.as_str()], &lines[1..]].concat()),
        JournalError::Diverged { number: 1, .. }
    ));
    let (_, hash) = lines[1].split_once("\"hash\":\"0x").unwrap();
    let other = lines[1].replace(&hash[..64], &"0".repeat(64));
    assert!(matches!(
        refused(&[lines[0], &other]),
        JournalError::Diverged { number: 1, .. }
    ));
    fs::write(&path, &text).unwrap();
    head_of(&path).expect("the text as it was is accepted");
}

#[tokio::test]
async fn a_saved_chain_is_the_canonical_one() {
    let (_folder, path) = journal();
    let chain = DevChain::new(Config::repeatable());
    lived(&chain).await;
    fs::File::create(&path)
        .unwrap()
        .write_all(b"something else")
        .unwrap();
    chain.save(&path).unwrap();
    assert_eq!(head_of(&path).unwrap(), chain.head());
    assert!(!fs::read_to_string(&path).unwrap().contains("rewind"));
    // A reorganisation is visible after loading as well: the count of them was saved.
    let snapshot = chain.snapshot();
    let taken_back = chain.mine(1).unwrap();
    assert!(chain.revert(snapshot).unwrap());
    chain.save(&path).unwrap();
    let loaded = DevChain::load(Config::repeatable(), &path).unwrap();
    assert_eq!(loaded.head(), chain.head());
    assert_ne!(loaded.mine(1).unwrap(), taken_back);
    let names: Vec<_> = fs::read_dir(path.parent().unwrap())
        .unwrap()
        .map(|file| file.unwrap().file_name())
        .collect();
    assert_eq!(names, ["chain.jsonl"], "no file is left over");
}
