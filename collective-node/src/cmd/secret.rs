//! Secrets that people keep in files: account keys, age identities, the passphrase of a node's keys.
//!
//! Account keys and identities stand alone on a line; lines that begin with `#` are notes. This is
//! the layout of age's identity files.

use std::path::Path;

use alloy::signers::local::PrivateKeySigner;
use anyhow::{Context, Result, ensure};
use collective::seal::{Identity, x25519};
use zeroize::Zeroizing;

/// Bytes of a key file that is read: a few lines, and notes.
const MAX_SECRET_FILE: u64 = 64 * 1024;

/// Environment variable with the passphrase of a node's keys.
pub const PASSPHRASE: &str = "COLLECTIVE_PASSPHRASE";

/// The account whose key stands in the file.
pub fn account(path: &Path) -> Result<PrivateKeySigner> {
    let text = read(path)?;
    let mut keys = lines(&text);
    let (Some(key), None) = (keys.next(), keys.next()) else {
        anyhow::bail!("{} does not hold exactly one account key", path.display());
    };
    key.parse()
        .ok()
        .with_context(|| format!("{} does not hold an account key", path.display()))
}

/// The identities that stand in the file.
pub fn identities(path: &Path) -> Result<Vec<Identity>> {
    let text = read(path)?;
    let identities = lines(&text)
        .map(|line| line.parse::<Identity>())
        .collect::<Result<Vec<_>, _>>()
        .with_context(|| format!("reading the identities in {}", path.display()))?;
    ensure!(
        !identities.is_empty(),
        "{} holds no identity",
        path.display()
    );
    Ok(identities)
}

/// What an account's key file holds.
pub fn account_file(account: &PrivateKeySigner) -> Zeroizing<String> {
    let key = Zeroizing::new(alloy::hex::encode_prefixed(account.to_bytes()));
    let address = account.address();
    Zeroizing::new(format!("# account: {address}\n{}\n", key.as_str()))
}

/// What an identity's file holds; every age client reads it.
pub fn identity_file(identity: &x25519::Identity) -> Zeroizing<String> {
    let recipient = identity.recipient();
    let key = identity.to_secret_string();
    Zeroizing::new(format!("# public key: {recipient}\n{}\n", key.as_str()))
}

/// The passphrase in the file, or else in the environment.
pub fn passphrase(file: Option<&Path>) -> Result<Zeroizing<String>> {
    let text = match file {
        Some(path) => read(path)?,
        None => Zeroizing::new(std::env::var(PASSPHRASE).ok().with_context(|| {
            format!("no passphrase: set {PASSPHRASE} or name a file that holds it")
        })?),
    };
    let words = text.strip_suffix('\n').unwrap_or(&text);
    ensure!(!words.is_empty(), "the passphrase is empty");
    Ok(Zeroizing::new(words.to_owned()))
}

/// The file as text.
pub fn read(path: &Path) -> Result<Zeroizing<String>> {
    let reading = || format!("reading {}", path.display());
    let length = std::fs::metadata(path).with_context(reading)?.len();
    ensure!(
        length <= MAX_SECRET_FILE,
        "{} is too long for a key file",
        path.display()
    );
    Ok(Zeroizing::new(
        std::fs::read_to_string(path).with_context(reading)?,
    ))
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), text).expect("a written file");
        file
    }

    #[test]
    fn what_is_written_is_read() {
        let account = crate::keystore::random_account(&mut rand::rng());
        let held = file(&account_file(&account));
        assert_eq!(
            super::account(held.path()).expect("an account").address(),
            account.address()
        );
        let identity = x25519::Identity::random(&mut rand::rng());
        let held = file(&identity_file(&identity));
        let read = identities(held.path()).expect("an identity");
        assert!(
            matches!(&read[..], [Identity::X25519(read)] if read.recipient() == identity.recipient())
        );
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_shown() {
        for text in ["", "# note\n", "0x12\n", "secret words\n"] {
            let held = file(text);
            let account = super::account(held.path()).expect_err("no account key");
            let identity = identities(held.path()).err().expect("no identity");
            for error in [account, identity] {
                assert!(!format!("{error:#}").contains("secret words"));
            }
        }
        let key = account_file(&crate::keystore::random_account(&mut rand::rng()));
        let two = file(&format!("{}{}", key.as_str(), key.as_str()));
        assert!(super::account(two.path()).is_err());
    }

    #[test]
    fn a_passphrase_is_the_file_without_its_last_line_feed() {
        let held = file("two words \n");
        assert_eq!(
            passphrase(Some(held.path()))
                .expect("a passphrase")
                .as_str(),
            "two words "
        );
        assert!(passphrase(Some(file("\n").path())).is_err());
    }
}
