//! Files that typage, pyrage and rage made (`vectors/clients`) open with this library, and only with their key.

use std::path::{Path, PathBuf};

use collective::seal::{self, Identity, OpenError, armor};

/// Three clients, three recipients each, and one armored file.
const FILES: usize = 10;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors/clients")
}

fn read(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).expect("the vectors lie beside the crate")
}

/// The collective's key and the native one.
fn identities() -> [Identity; 2] {
    let text = String::from_utf8(read("identities.txt")).expect("keys are ASCII");
    let mut lines = text.lines().map(|line| line.parse().expect("a key"));
    [(); 2].map(|()| lines.next().expect("two keys"))
}

/// Name and binary bytes of every file.
fn files() -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(folder()).expect("the vectors lie beside the crate");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("a readable folder").file_name())
        .filter_map(|name| name.into_string().ok())
        .filter(|name| name.ends_with(".age"))
        .map(|name| {
            let bytes = read(&name);
            let bytes = match armor::is_armored(&bytes) {
                true => armor::decode(&bytes).expect("well-formed armor"),
                false => bytes,
            };
            (name, bytes)
        })
        .collect();
    files.sort();
    assert_eq!(files.len(), FILES, "every client made every file");
    files
}

#[test]
fn every_client_s_file_opens_with_its_key_alone() {
    let [collective, native] = identities().map(|identity| [identity]);
    let plaintext = read("plaintext.txt");
    for (name, file) in files() {
        let (own, other) = match name.contains("x25519") {
            true => (&native, &collective),
            false => (&collective, &native),
        };
        assert_eq!(
            seal::open(own, &file).as_ref(),
            Ok(&plaintext),
            "{name} opens"
        );
        assert_eq!(seal::open(other, &file), Err(OpenError::NoMatch), "{name}");
    }
}

#[test]
fn a_client_s_file_with_any_byte_altered_does_not_open() {
    let identities = identities();
    for (name, file) in files() {
        for position in 0..file.len() {
            let mut altered = file.clone();
            altered[position] ^= 1;
            assert!(
                seal::open(&identities, &altered).is_err(),
                "{name} opens with byte {position} altered"
            );
        }
    }
}

#[test]
fn a_client_s_file_cut_short_does_not_open() {
    let identities = identities();
    for (name, file) in files() {
        for length in 0..file.len() {
            assert!(
                seal::open(&identities, &file[..length]).is_err(),
                "{name} opens after {length} bytes"
            );
        }
    }
}
