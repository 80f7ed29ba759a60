//! `collective revoke`.

use std::path::PathBuf;
use std::str::FromStr;

use alloy::primitives::{Address, U256, aliases::U248};
use alloy::signers::local::PrivateKeySigner;
use anyhow::{Context, Result, ensure};
use clap::Args;
use collective::id::{ContributorId, Leaf};
use collective_contracts::ContributionRegistry;
use serde_json::json;

use super::contributions::words;
use super::place::{MaybeChainAt, NodeAt};
use super::secret;
use super::show::show;
use crate::contributor::{Nonces, revocation_of};
use crate::http::{MAX_WORDS, RevocationAnswer};

/// Seconds of block time for which the signature is good: a node that holds it back longer cannot
/// use it any more.
pub(super) const GOOD_FOR: u64 = 3_600;

/// Take contributions back: no job that is leased from then on reads them.
///
/// Signed on this machine; the node pays the gas, and drops the sealed files once the revocation is final. What a recipient was
/// already given it keeps: the answer lists the runs that read the contributions, as far as the chain tells. With `--own-gas` the
/// contributor's account sends the revocation itself, and no node is asked.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  collective revoke 1 --key me.key
  collective revoke 4 7 0x3c…9a --key me.key
  collective revoke --from 10 --to 500 --key me.key
  collective revoke --all --key me.key
  collective revoke --all --of 0x7099…79C8 --key new.key
  collective revoke 1 --key me.key --own-gas --rpc http://127.0.0.1:8545 --deployment deployment.json")]
pub struct Revoke {
    /// Nonces of contributions, or their leaves.
    #[arg(required_unless_present_any = ["from", "all"])]
    contributions: Vec<Named>,
    /// All nonces from this one on, up to the one that `--to` names.
    #[arg(long, value_name = "NONCE", requires = "to", conflicts_with_all = ["contributions", "all"])]
    from: Option<u64>,
    /// The last of these nonces.
    #[arg(long, value_name = "NONCE", requires = "from")]
    to: Option<u64>,
    /// Everything: all nonces up to the highest that this account has used at the node. Higher ones stay free for later.
    #[arg(long, conflicts_with = "contributions")]
    all: bool,
    /// The account that contributed, where the key is another one that has taken over by a recovery.
    #[arg(long, value_name = "ADDRESS")]
    of: Option<Address>,
    /// Send it from the key's account, which pays; needs `--rpc` and `--deployment`.
    #[arg(long)]
    own_gas: bool,
    /// Key file of the contributor's account, or of the key that has taken over.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    #[command(flatten)]
    node: NodeAt,
    #[command(flatten)]
    chain: MaybeChainAt,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A contribution by its nonce or by its leaf.
#[derive(Clone, Copy, Debug)]
enum Named {
    Nonce(u64),
    Leaf(Leaf),
}

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(nonce) = text.parse() {
            return Ok(Self::Nonce(nonce));
        }
        let leaf = text.parse().map(Self::Leaf);
        leaf.map_err(|_| "neither a nonce nor a leaf (0x and 64 hexadecimal digits)".to_owned())
    }
}

impl Revoke {
    pub async fn run(self) -> Result<bool> {
        let account = secret::account(&self.key)?;
        let contributor = self.of.unwrap_or(account.address());
        let nonces = self.nonces(contributor).await?;
        if self.own_gas {
            self.send(account, contributor, &nonces).await
        } else {
            self.relay(&account, contributor, &nonces).await
        }
    }

    async fn nonces(&self, contributor: Address) -> Result<Nonces> {
        if self.all {
            let said = self.node.client()?.contributor(contributor).await;
            let highest =
                said.context("asking for the highest nonce; --from and --to need no node")?;
            let highest = highest.highest_nonce;
            let highest = highest.context("this account has contributed nothing at this node")?;
            return Ok(Nonces::Below(U256::from(highest) + U256::from(1)));
        }
        if let (Some(from), Some(to)) = (self.from, self.to) {
            ensure!(from <= to, "--from {from} is above --to {to}");
            let (first, last) = (from >> 8, to >> 8);
            ensure!(
                last - first < MAX_WORDS as u64,
                "nonces {from} to {to} are in more than {MAX_WORDS} words of 256: take a part of them at a time, or --all"
            );
            return Ok((from..=to).collect());
        }
        let mut nonces = vec![];
        for named in &self.contributions {
            nonces.push(match named {
                Named::Nonce(nonce) => *nonce,
                Named::Leaf(leaf) => self.nonce_of(*leaf, contributor).await?,
            });
        }
        Ok(nonces.into_iter().collect())
    }

    /// The node says which contribution a leaf is; the leaf is made of it.
    async fn nonce_of(&self, leaf: Leaf, contributor: Address) -> Result<u64> {
        let state = self.node.client()?.contribution(leaf).await?.state;
        let receipt = state.receipt().with_context(|| {
            format!("{leaf} is in no batch yet: wait for that, or name it by its nonce")
        })?;
        let contribution = &receipt.entry().contribution;
        ensure!(
            contribution.leaf() == leaf,
            "the node gave another contribution than {leaf}"
        );
        ensure!(
            contribution.contributor == ContributorId::from_address(contributor),
            "{leaf} is a contribution of {}, whose key this is not; if it took over by a recovery, --of names that account",
            contribution.contributor
        );
        Ok(contribution.nonce)
    }

    async fn relay(
        &self,
        account: &PrivateKeySigner,
        contributor: Address,
        nonces: &Nonces,
    ) -> Result<bool> {
        let client = self.node.client()?;
        let deployment = match self.chain.deployment()? {
            Some(deployment) => deployment,
            None => client.collective().await?.deployment,
        };
        let deadline = client.status().await?.latest.time + GOOD_FOR;
        let signed = revocation_of(&deployment, account, contributor, nonces, deadline);
        let answer = client.revoke(&signed).await?;
        show(self.json, &answer, &rows(nonces, &answer))?;
        if !answer.not_sent.is_empty() {
            eprintln!("collective: not all of it was sent; --own-gas sends it");
        }
        Ok(answer.not_sent.is_empty())
    }

    async fn send(
        &self,
        account: PrivateKeySigner,
        contributor: Address,
        nonces: &Nonces,
    ) -> Result<bool> {
        let id = contributor.into_word();
        let chain = self.chain.signer(account).await?;
        let chain = chain.context("--own-gas needs --rpc and --deployment")?;
        let contributions = chain.deployment().contributions;
        let registry = ContributionRegistry::new(contributions, chain.provider());
        let mut block = 0;
        match nonces {
            Nonces::Below(watermark) => {
                let sent = chain.submit(registry.revokeAll(id, *watermark)).await?;
                block = block.max(sent.block_number.unwrap_or_default());
            }
            Nonces::Words(words) => {
                for (word, mask) in words {
                    let sent = chain
                        .submit(registry.revoke(id, U248::from(*word), *mask))
                        .await?;
                    block = block.max(sent.block_number.unwrap_or_default());
                }
            }
        }
        let note = "Who read it before: `collective contributions LEAF --uses`.";
        let rows = [
            ("revoked", in_words(nonces)),
            ("from block", block.to_string()),
            ("note", note.to_owned()),
        ];
        show(self.json, &json!({ "block": block, "note": note }), &rows)?;
        Ok(true)
    }
}

fn rows(nonces: &Nonces, answer: &RevocationAnswer) -> Vec<(&'static str, String)> {
    let list = |numbers: &[u64]| {
        numbers
            .iter()
            .map(u64::to_string)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let mut rows = vec![
        ("revoked", in_words(nonces)),
        ("from block", answer.block.to_string()),
    ];
    for word in &answer.not_sent {
        let (first, last) = (word << 8, (word << 8) + 255);
        let said = format!("nonces {first} to {last}: this node holds none of them");
        rows.push(("not sent", said));
    }
    match &answer.uses {
        None => rows.push(("was read by", "unknown: the chain did not answer".into())),
        Some(uses) => {
            rows.extend(uses.uses.iter().map(|one| ("was read by", words(one))));
            let up_to = uses.up_to.number;
            rows.push(("complete up to block", up_to.to_string()));
            if !uses.unknown.is_empty() {
                let jobs = format!("jobs {}, whose input sets nobody gave", list(&uses.unknown));
                rows.push(("may have read it", jobs));
            }
        }
    }
    match answer.under_way.as_deref() {
        None => rows.push((
            "may still read it",
            "unknown: the chain did not answer".into(),
        )),
        Some([]) => {}
        Some(jobs) => rows.push(("may still read it", format!("jobs {}", list(jobs)))),
    }
    rows.push(("note", answer.note.clone()));
    rows
}

fn in_words(nonces: &Nonces) -> String {
    match nonces {
        Nonces::Below(watermark) => format!("all nonces below {watermark}"),
        Nonces::Words(words) => {
            let bits = words.iter().flat_map(|(word, mask)| {
                (0..256)
                    .filter(|bit| mask.bit(*bit as usize))
                    .map(move |bit| (word << 8) + bit)
            });
            let nonces: Vec<u64> = bits.collect();
            match nonces.as_slice() {
                [one] => format!("nonce {one}"),
                [first, .., last] if last - first + 1 == nonces.len() as u64 => {
                    format!("nonces {first} to {last}")
                }
                some => {
                    let some: Vec<_> = some.iter().map(u64::to_string).collect();
                    format!("nonces {}", some.join(", "))
                }
            }
        }
    }
}
