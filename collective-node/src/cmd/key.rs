//! `collective key`.

use std::path::PathBuf;

use alloy::primitives::Address;
use anyhow::{Context, Result};
use clap::{Args, Subcommand, ValueEnum};
use collective::id::TransportPin;
use collective::seal::{Identity, x25519};
use serde_json::json;
use zeroize::Zeroizing;

use super::secret;
use super::show::show;
use crate::keystore::{Keystore, random_account, write_new};

use recovery::Recovery;

pub(super) mod recovery;

/// First line of every binary age file: what a node's keys are kept in.
const AGE_FILE: &[u8] = b"age-encryption.org/v1\n";

/// Make and look at key files; name a key for the day on which one is lost.
#[derive(Debug, Subcommand)]
pub enum Key {
    New(New),
    Show(Show),
    #[command(subcommand)]
    Recovery(Box<Recovery>),
}

/// Make new keys. A file that exists is never overwritten.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  collective key new account me.key\n  collective key new identity results.identity\n  collective key new node keys.age --passphrase-file words.txt"
)]
pub struct New {
    /// What for.
    kind: Kind,
    /// Where to keep them.
    file: PathBuf,
    /// File with the passphrase of a node's keys; without it COLLECTIVE_PASSPHRASE is read.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Print what is public of a key file.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  collective key show me.key\n  COLLECTIVE_PASSPHRASE=words collective key show keys.age"
)]
pub struct Show {
    /// The key file.
    file: PathBuf,
    /// File with the passphrase of a node's keys; without it COLLECTIVE_PASSPHRASE is read.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// An account: contributes, votes, requests, pays.
    Account,
    /// An age identity: opens results.
    Identity,
    /// A node's keys under a passphrase, and beside them the whole key of a collective: a committee of one.
    Node,
    /// A node's keys under a passphrase, without a share of anything yet: for a member of a committee.
    Keyholder,
}

/// What of a key file may be seen.
#[derive(Default)]
struct Public {
    account: Option<Address>,
    recipient: Option<String>,
    transport: Option<TransportPin>,
    collective_recipient: Option<String>,
}

impl Key {
    pub async fn run(self) -> Result<bool> {
        match self {
            Self::New(new) => new.run(),
            Self::Show(show) => show.run(),
            Self::Recovery(recovery) => recovery.run().await,
        }
    }
}

impl New {
    fn run(self) -> Result<bool> {
        let rng = &mut rand::rng();
        let public = match self.kind {
            Kind::Account => {
                let account = random_account(rng);
                write_new(&self.file, secret::account_file(&account).as_bytes())?;
                Public::of_account(account.address())
            }
            Kind::Identity => {
                let identity = x25519::Identity::random(rng);
                write_new(&self.file, secret::identity_file(&identity).as_bytes())?;
                Public::of_identity(&Identity::X25519(identity))
            }
            Kind::Node => {
                let passphrase = secret::passphrase(self.passphrase_file.as_deref())?;
                let keys = Keystore::create(&self.file, passphrase, None, rng)?;
                keys.make_sole_share(rng)?;
                Public::of_node(&keys)
            }
            Kind::Keyholder => {
                let passphrase = secret::passphrase(self.passphrase_file.as_deref())?;
                Public::of_node(&Keystore::create(&self.file, passphrase, None, rng)?)
            }
        };
        public.show(self.json)
    }
}

impl Show {
    fn run(self) -> Result<bool> {
        let bytes = Zeroizing::new(
            std::fs::read(&self.file)
                .with_context(|| format!("reading {}", self.file.display()))?,
        );
        let public = if bytes.starts_with(AGE_FILE) {
            let passphrase = secret::passphrase(self.passphrase_file.as_deref())?;
            Public::of_node(&Keystore::open(&self.file, passphrase)?)
        } else if let Ok(account) = secret::account(&self.file) {
            Public::of_account(account.address())
        } else {
            let identities = secret::identities(&self.file)
                .context("this is neither an account's key, nor an identity, nor a node's keys")?;
            Public::of_identity(&identities[0])
        };
        public.show(self.json)
    }
}

impl Public {
    fn of_account(account: Address) -> Self {
        Self {
            account: Some(account),
            ..Self::default()
        }
    }

    fn of_identity(identity: &Identity) -> Self {
        let recipient = match identity {
            Identity::X25519(identity) => Some(identity.recipient().to_string()),
            Identity::Tagged(identity) => Some(identity.recipient().to_string()),
            Identity::Passphrase(_) => None,
        };
        Self {
            recipient,
            ..Self::default()
        }
    }

    fn of_node(keys: &Keystore) -> Self {
        Self {
            account: Some(keys.address()),
            recipient: Some(keys.node_recipient().to_string()),
            transport: Some(keys.transport_key().pin()),
            collective_recipient: keys
                .shares()
                .newest()
                .map(|share| share.certificate().recipient().to_string()),
        }
    }

    fn show(self, json: bool) -> Result<bool> {
        let value = json!({
            "account": self.account,
            "recipient": self.recipient,
            "transport": self.transport,
            "collectiveRecipient": self.collective_recipient,
        });
        let rows: Vec<_> = [
            ("account", self.account.map(|account| account.to_string())),
            ("recipient", self.recipient),
            ("transport key", self.transport.map(|pin| pin.to_string())),
            ("collective recipient", self.collective_recipient),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect();
        show(json, &value, &rows)?;
        Ok(true)
    }
}
