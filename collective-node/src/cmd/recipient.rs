//! `collective recipient`.

use std::io::{Write, stdout};

use alloy::primitives::Address;
use anyhow::Result;
use clap::Args;
use collective::id::ContributorId;
use collective::seal::plugin::ContributionRecipient;
use serde_json::json;

use super::contribute::told;
use super::place::{MaybeChainAt, NodeAt};
use crate::intake::sender_context;

/// Print the recipient with which another age client seals one contribution, sender proof included.
///
/// The client finds the program age-plugin-collective on PATH and has it make the proof; the file then goes to
/// `contribute --sealed` with the same nonce and this account's key. Nothing in the recipient is secret.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  rage -e -r \"$(collective recipient --nonce 2 --contributor 0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC)\" -o record.age record.csv"
)]
pub struct Recipient {
    /// A number that this account has not used yet.
    #[arg(long)]
    nonce: u64,
    /// The contributor's account.
    #[arg(long, value_name = "ADDRESS")]
    contributor: Address,
    #[command(flatten)]
    node: NodeAt,
    #[command(flatten)]
    chain: MaybeChainAt,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Recipient {
    pub async fn run(self) -> Result<bool> {
        let told = told(&self.node, &self.chain).await?;
        let contributor = ContributorId::from_address(self.contributor);
        let recipient = ContributionRecipient {
            context: sender_context(&told.deployment, contributor, self.nonce),
            recipient: told.recipient,
        }
        .to_string();
        // Alone on its line: it is the argument of another command.
        let mut out = stdout().lock();
        if self.json {
            let value = json!({ "recipient": recipient });
            writeln!(out, "{}", serde_json::to_string_pretty(&value)?)?;
        } else {
            writeln!(out, "{recipient}")?;
        }
        Ok(true)
    }
}
