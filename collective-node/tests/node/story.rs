//! The whole story, told by the real binary, and what must not go unnoticed in it.

use std::process::{Command, Output};

use serde_json::Value;

fn collective(arguments: &[&str]) -> Output {
    let binary = env!("CARGO_BIN_EXE_collective");
    Command::new(binary)
        .args(arguments)
        .output()
        .expect("the binary starts")
}

/// Sentences that the story must contain; a story that leaves one out proves less than it says.
const MUST_HOLD: [&str; 31] = [
    "committee 1-of-1",
    "the admission root is voted",
    "every contribution is acknowledged",
    "refused: a replay",
    "refused: a leaf in another's name",
    "refused: a leaf whose terms were widened",
    "refused: a truncated file",
    "refused: a file sealed to another key",
    "refused: an oversize body",
    "refused: a copy of a victim's file",
    "refused: a planted multiple",
    "refused: somebody who is not admitted",
    "all are anchored in finalized blocks",
    "refused: the same job before anybody voted",
    "three members voted",
    "refused: another recipient",
    "refused: an escrow that is one unit short",
    "job 1 was leased, released, run and receipted",
    "the requester opens the output; another key does not",
    "coefficients equal those of statsmodels on the same 850 rows",
    "one attacker contributes 1,000 times more",
    "coefficients equal those of statsmodels on the same 838 rows",
    "the next run reads twelve fewer",
    "refused: a run too many",
    "refused: a program altered by one bit",
    "refused: altered bytes under the approved name",
    "refused: a node whose key was rotated",
    "refused: an approval that has expired",
    "the attacker's 1,001 contributions earned one share",
    "conservation",
    "`collective verify receipt 2` agrees",
];

/// What the story checks besides, where five processes hold the key.
const WITH_A_COMMITTEE: [&str; 17] = [
    "committee 3-of-5, epoch 1; no process ever held the key",
    "every member keeps one share, sealed to its own key; the compute node keeps none",
    "one key holder was killed: the job is done, and the record names it as silent",
    "one key holder lied: the result is right, and the record names the wrong partial",
    "nobody else is blamed",
    "refused: a reshare that nobody voted for",
    "committee 4-of-7, epoch 2, the same P-256 key beside a new ML-KEM key",
    "refused: a file sealed to the replaced key",
    "what counts is wrapped anew for the new key",
    "no key holder has the old seed any more",
    "the shares of epoch 1 are erased",
    "refused by holder-3: partial decryptions of epoch 1",
    "refused by holder-3: a signature in the name of epoch 1",
    "refused by holder-4: partial decryptions of epoch 1",
    "refused by holder-4: a signature in the name of epoch 1",
    "the old contributions still open, and one sealed to the new key: job 2 by 4-of-7 of epoch 2",
    "`collective verify receipt 1` agrees",
];

/// The first sentence is the one about a committee of one.
const ALONE: usize = 1;

#[test]
fn the_demo_tells_the_whole_story_and_every_check_holds() {
    tells_and_holds(&[], &MUST_HOLD, 7);
}

#[test]
fn the_demo_tells_it_with_a_committee_of_which_one_dies_and_one_lies() {
    let sentences = [&MUST_HOLD[ALONE..], &WITH_A_COMMITTEE].concat();
    tells_and_holds(&["--committee", "3-of-5"], &sentences, 8);
}

fn tells_and_holds(options: &[&str], sentences: &[&str], chapters: usize) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let world = folder.path().join("world");
    let world = world.to_str().expect("a path in UTF-8");
    let told = collective(&[&["demo", "--json", "--keep", world], options].concat());
    let summary: Value = serde_json::from_slice(&told.stdout).unwrap_or_else(|error| {
        panic!(
            "no summary ({error}): {}",
            String::from_utf8_lossy(&told.stderr)
        )
    });
    let checks = summary["checks"].as_array().expect("checks");
    for check in checks {
        assert_eq!(check["holds"], true, "{check}");
    }
    for sentence in sentences {
        let told = checks.iter().any(|check| {
            check["what"]
                .as_str()
                .is_some_and(|what| what.contains(sentence))
        });
        assert!(told, "the story does not check: {sentence}");
    }
    let told_in: std::collections::BTreeSet<_> = checks
        .iter()
        .filter_map(|check| check["chapter"].as_u64())
        .collect();
    assert_eq!(told_in.len(), chapters);
    assert_eq!(summary["holds"], true);
    assert!(told.status.success());
    assert_nothing_of_a_respondent_is_on_disk(world);
}

#[test]
fn a_committee_that_cannot_lose_two_members_is_refused() {
    for size in ["1-of-1", "3-of-4", "5-of-9", "most"] {
        let refused = collective(&["demo", "--committee", size]);
        assert_eq!(refused.status.code(), Some(2), "{size}");
    }
}

/// The node's folder is what an operator backs up: no record may stand in it in the clear. The
/// record of row 1, with its line feed, is 23 bytes that nothing else holds.
fn assert_nothing_of_a_respondent_is_on_disk(world: &str) {
    let record = b"190,1,3,3,5,1,20,4,1,0\n";
    let mut folders = vec![std::path::PathBuf::from(world)];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            files += 1;
            let bytes = std::fs::read(&path).expect("a file");
            let found = bytes.windows(record.len()).any(|window| window == record);
            assert!(!found, "a record stands in the clear in {}", path.display());
        }
    }
    assert!(files > 1_900, "the world was kept: {files} files");
}

#[test]
fn a_folder_that_exists_is_not_told_over() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let world = folder.path().to_str().expect("a path in UTF-8");
    let refused = collective(&["demo", "--keep", world]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("exists: name a new folder"));
}

#[test]
fn wrong_use_is_exit_code_two() {
    assert_eq!(collective(&["demo", "--keeep"]).status.code(), Some(2));
    assert_eq!(
        collective(&["verify", "receipt", "one"]).status.code(),
        Some(2)
    );
}
