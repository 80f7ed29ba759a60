//! `collective vote`.

use std::path::PathBuf;

use alloy::primitives::U256;
use alloy::signers::local::PrivateKeySigner;
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use serde_json::json;

use super::place::{MaybeChainAt, NodeAt};
use super::secret;
use super::show::show;
use crate::governance::{self, Ballot, SignedBallot};

/// Vote on a proposal.
///
/// Signed on this machine; a node of the collective pays the gas. With `--own-gas` the member's account
/// sends the vote itself, and no node is asked.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  collective vote 8431…207 for --key member.key
  collective vote 8431…207 against --key member.key --own-gas --rpc http://127.0.0.1:8545 --deployment deployment.json")]
pub struct Vote {
    /// What `propose` printed.
    proposal: U256,
    /// The member's word.
    word: Word,
    /// Key file of the member's account.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Send it from the member's account, which pays; needs `--rpc` and `--deployment`.
    #[arg(long)]
    own_gas: bool,
    #[command(flatten)]
    node: NodeAt,
    #[command(flatten)]
    chain: MaybeChainAt,
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
        if self.own_gas {
            self.send(account).await
        } else {
            self.relay(account).await
        }
    }

    async fn send(&self, account: PrivateKeySigner) -> Result<bool> {
        let (member, ballot) = (account.address(), self.word.into());
        let chain = self.chain.signer(account).await?;
        let chain = chain.context("--own-gas needs --rpc and --deployment")?;
        let (by, deployment) = (chain.provider(), chain.deployment());
        let gas = governance::vote(by, deployment, self.proposal, ballot).await?;
        let value = json!({ "member": member, "vote": ballot, "gas": gas });
        let rows = [
            ("member", member.to_string()),
            ("vote", ballot.to_string()),
            ("gas", gas.to_string()),
        ];
        show(self.json, &value, &rows)?;
        Ok(true)
    }

    async fn relay(&self, account: PrivateKeySigner) -> Result<bool> {
        let (member, ballot) = (account.address(), self.word.into());
        let client = self.node.client()?;
        let deployment = match self.chain.deployment()? {
            Some(deployment) => deployment,
            None => client.collective().await?.deployment,
        };
        let nonce = client.member(member).await?.ballot_nonce;
        let signed = SignedBallot::sign(&deployment, &account, self.proposal, ballot, nonce);
        let cast = client.cast(&signed).await?;
        let value = json!({ "member": member, "vote": ballot, "block": cast.block });
        let rows = [
            ("member", member.to_string()),
            ("vote", ballot.to_string()),
            ("block", cast.block.to_string()),
            ("note", cast.note),
        ];
        show(self.json, &value, &rows)?;
        Ok(true)
    }
}
