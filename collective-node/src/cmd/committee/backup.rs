//! `collective committee backup` and `restore`.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;
use collective::seal::Recipient;
use serde_json::json;

use super::NodeKeys;
use crate::cmd::place::ChainAt;
use crate::cmd::secret;
use crate::cmd::show::show;
use crate::keystore::shares;
use crate::registration;

/// Seal this member's newest share to an age recipient whose identity is kept offline.
///
/// A backup is good for the epoch of its share: make a new one after every refresh, and destroy the old one.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  collective committee backup --keys keys.age --to age1…7q share.backup.age"
)]
pub struct Backup {
    /// Where to write it; a file that exists is not overwritten.
    file: PathBuf,
    /// The recipient, as `collective key new identity` or any age client makes one.
    #[arg(long, value_name = "RECIPIENT")]
    to: String,
    #[command(flatten)]
    keys: NodeKeys,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Put a share back that was sealed by `backup`. The key holder must not run meanwhile.
///
/// Refused where the collective has accepted a newer epoch, or another committee than the share's, or where this node is
/// not the member that it belongs to.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  collective committee restore share.backup.age --identity offline.identity --keys keys.age"
)]
pub struct Restore {
    /// What `backup` wrote.
    file: PathBuf,
    /// File with the identity that it is sealed to.
    #[arg(long, value_name = "FILE")]
    identity: PathBuf,
    #[command(flatten)]
    keys: NodeKeys,
    #[command(flatten)]
    chain: ChainAt,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Backup {
    pub fn run(self) -> Result<bool> {
        let to: Recipient = self.to.parse().context("--to is no age recipient")?;
        let keys = self.keys.open()?;
        let share = keys.shares().newest();
        let share = share.context("these keys hold no share: there is nothing to back up")?;
        shares::back_up(&share, &self.file, &to, &mut rand::rng())?;
        let (epoch, member) = (share.certificate().epoch(), share.member().number());
        let value = json!({ "epoch": epoch, "member": member, "file": self.file });
        let rows = [
            ("epoch", epoch.to_string()),
            ("member", member.to_string()),
            ("backup", self.file.display().to_string()),
        ];
        show(self.json, &value, &rows)?;
        Ok(true)
    }
}

impl Restore {
    pub async fn run(self) -> Result<bool> {
        let [identity] = &secret::identities(&self.identity)?[..] else {
            anyhow::bail!("{} holds more than one identity", self.identity.display());
        };
        let keys = self.keys.open()?;
        let share = shares::read(&self.file, identity)?;
        let certificate = share.certificate();
        let epoch = certificate.epoch();

        let chain = self.chain.reader().await?;
        let block = chain.finalized().await?;
        let accepted = chain.committee(&block).await?;
        ensure!(
            epoch >= accepted.epoch,
            "the share is of epoch {epoch}, and the collective has accepted epoch {}: it is worth nothing; have this member \
             dealt a new one with `collective committee refresh`",
            accepted.epoch
        );
        ensure!(
            accepted.is_shared_by(certificate),
            "the share is not of the committee that the collective accepted as epoch {}: check backup and deployment",
            accepted.epoch
        );
        let node = registration::node_id(&keys);
        let members = chain.members(&block, &accepted).await?;
        ensure!(
            members
                .iter()
                .any(|fact| (fact.member, fact.id) == (share.member(), node)),
            "the share is member {}'s, which node {node} is not",
            share.member().number()
        );
        ensure!(
            keys.shares().of(epoch).is_none(),
            "a share of epoch {epoch} is kept here already and is not overwritten"
        );
        let member = share.member().number();
        keys.keep_share(share, &mut rand::rng())?;
        let value = json!({ "epoch": epoch, "member": member, "node": node });
        let rows = [
            ("epoch", epoch.to_string()),
            ("member", member.to_string()),
            ("node", node.to_string()),
        ];
        show(self.json, &value, &rows)?;
        Ok(true)
    }
}
