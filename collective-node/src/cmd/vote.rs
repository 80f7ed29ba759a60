//! `collective vote`.

use std::path::PathBuf;

use alloy::primitives::U256;
use anyhow::Result;
use clap::{Args, ValueEnum};
use serde_json::json;

use super::place::ChainAt;
use super::secret;
use super::show::show;
use crate::governance::{self, Ballot};

/// Vote on a proposal.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  collective vote 8431…207 for --key member.key")]
pub struct Vote {
    /// What `propose` printed.
    proposal: U256,
    /// The member's word.
    word: Word,
    /// Key file of the member's account.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    #[command(flatten)]
    chain: ChainAt,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Word {
    For,
    Against,
    /// Counts for the quorum only.
    Abstain,
}

impl From<Word> for Ballot {
    fn from(word: Word) -> Self {
        match word {
            Word::For => Self::For,
            Word::Against => Self::Against,
            Word::Abstain => Self::Abstain,
        }
    }
}

impl Vote {
    pub async fn run(self) -> Result<bool> {
        let account = secret::account(&self.key)?;
        let member = account.address();
        let chain = self.chain.signer(account).await?;
        let ballot = self.word.into();
        let (by, deployment) = (chain.provider(), chain.deployment());
        let gas = governance::vote(by, deployment, self.proposal, ballot).await?;
        let word = format!("{ballot:?}").to_lowercase();
        let value = json!({ "member": member, "vote": word, "gas": gas });
        let rows = [
            ("member", member.to_string()),
            ("vote", word),
            ("gas", gas.to_string()),
        ];
        show(self.json, &value, &rows)?;
        Ok(true)
    }
}
