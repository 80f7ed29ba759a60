//! `collective key recovery`.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use alloy::primitives::Address;
use alloy::signers::local::PrivateKeySigner;
use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use collective::id::ContributorId;
use serde_json::json;

use super::super::place::{MaybeChainAt, NodeAt};
use super::super::revoke::GOOD_FOR;
use super::super::secret;
use super::super::show::show;
use crate::chain::{Chain, Deployment};
use crate::contributor::{RecoveryStep, recovery};
use crate::http::{RecoveryAnswer, RecoveryChange, RelayedRecovery};
use collective_contracts::ContributionRegistry;

/// A key for the day on which the account's is lost: it has another key take over, which revokes and is paid from then on.
///
/// What it starts can be finished 30 days later, and vetoed until then by the account's key. It helps who has lost a key. Whoever stole
/// the account's key can veto, too, and name another: against a thief only revoking helps.
#[derive(Debug, Subcommand)]
pub enum Recovery {
    Name(Name),
    Start(Start),
    Veto(Veto),
    Finish(Finish),
    Show(Show),
}

/// Name the recovery key, in the place of the one before. Ends a recovery that is under way.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  collective key recovery name 0x3C44…93BC --key me.key
  collective key recovery name --none --key me.key")]
pub struct Name {
    /// The account whose key it is; better one that is kept elsewhere.
    #[arg(value_parser = checked, required_unless_present = "none", conflicts_with = "none")]
    recovery: Option<Address>,
    /// Let no key start a recovery.
    #[arg(long)]
    none: bool,
    #[command(flatten)]
    of: Of,
    #[command(flatten)]
    signed: Signed,
}

/// Start a recovery, by the recovery key.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  collective key recovery start 0x7099…79C8 --key safe.key
  collective key recovery start 0x7099…79C8 --next 0x90F7…b906 --key safe.key")]
pub struct Start {
    /// The account whose key is lost.
    #[arg(value_parser = checked)]
    account: Address,
    /// The account whose key takes over; the recovery key itself if not given.
    #[arg(long, value_name = "ADDRESS", value_parser = checked)]
    next: Option<Address>,
    #[command(flatten)]
    signed: Signed,
}

/// End the recovery that is under way, by the key that it would take the place of.
///
/// With `--rpc` the recovery key stays named and can start another: if somebody else has it, `name` another key, which ends this one as
/// well. Without it no key is named any more, as a node's word is not signed.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  collective key recovery veto --key me.key")]
pub struct Veto {
    #[command(flatten)]
    of: Of,
    #[command(flatten)]
    signed: Signed,
}

/// Have the new key take over, once the time for a veto has passed. Anybody may.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  collective key recovery finish 0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
)]
pub struct Finish {
    /// The account whose key is lost.
    #[arg(value_parser = checked)]
    account: Address,
    /// Send it from the key's account, which pays; needs `--rpc` and `--deployment`.
    #[arg(long, requires = "key")]
    own_gas: bool,
    /// Key file of any account with ether, for `--own-gas`.
    #[arg(long, value_name = "FILE", requires = "own_gas")]
    key: Option<PathBuf>,
    #[command(flatten)]
    at: At,
}

/// Show whose key speaks for an account's contributions, and what is under way.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  collective key recovery show 0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
)]
pub struct Show {
    /// The account that contributed.
    #[arg(value_parser = checked)]
    account: Address,
    #[command(flatten)]
    at: At,
}

/// Whose id it is about.
#[derive(Debug, Args)]
struct Of {
    /// The account that contributed, where the key is another one that has taken over by a recovery.
    #[arg(long, value_name = "ADDRESS", value_parser = checked)]
    of: Option<Address>,
}

/// A change that a key signs.
#[derive(Debug, Args)]
struct Signed {
    /// Send it from the key's account, which pays; needs `--rpc` and `--deployment`.
    #[arg(long)]
    own_gas: bool,
    /// Key file of the account that signs.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    #[command(flatten)]
    at: At,
}

/// Whom to ask, and how to print.
#[derive(Debug, Args)]
struct At {
    #[command(flatten)]
    node: NodeAt,
    #[command(flatten)]
    chain: MaybeChainAt,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Recovery {
    pub async fn run(self) -> Result<bool> {
        match self {
            Self::Name(name) => {
                let recovery = name.recovery.unwrap_or(Address::ZERO);
                let account = secret::account(&name.signed.key)?;
                another_key(&account, recovery)?;
                let contributor = name.of.of.unwrap_or(account.address());
                let step = RecoveryStep::Name(recovery);
                name.signed.change(account, contributor, step).await
            }
            Self::Start(start) => {
                let account = secret::account(&start.signed.key)?;
                let step = RecoveryStep::Start(start.next.unwrap_or(account.address()));
                start.signed.change(account, start.account, step).await
            }
            Self::Veto(veto) => {
                let account = secret::account(&veto.signed.key)?;
                let contributor = veto.of.of.unwrap_or(account.address());
                let known = veto.signed.at.known(contributor).await?;
                ensure!(
                    known.next.is_some(),
                    "no recovery of {contributor} is under way"
                );
                // Kept only by the chain's word: a node could name a key of its own.
                let kept = known.recovery.filter(|_| veto.signed.at.chain.is_named());
                let step = RecoveryStep::Name(kept.unwrap_or(Address::ZERO));
                veto.signed.change(account, contributor, step).await
            }
            Self::Finish(finish) => finish.run().await,
            Self::Show(show) => show.run().await,
        }
    }
}

impl Signed {
    async fn change(
        self,
        account: PrivateKeySigner,
        contributor: Address,
        step: RecoveryStep,
    ) -> Result<bool> {
        if !self.own_gas {
            let client = self.at.node.client()?;
            let deployment = match self.at.chain.deployment()? {
                Some(deployment) => deployment,
                None => client.collective().await?.deployment,
            };
            let known = self.at.known(contributor).await?;
            let signed = sign(&deployment, &account, contributor, step, &known);
            return self.at.relay(&signed).await;
        }
        let chain = self.at.chain.signer(account).await?;
        let chain = chain.context("--own-gas needs --rpc and --deployment")?;
        let registry =
            ContributionRegistry::new(chain.deployment().contributions, chain.provider());
        let id = contributor.into_word();
        let receipt = match step {
            RecoveryStep::Name(key) => chain.submit(registry.nameRecovery(id, key)).await?,
            RecoveryStep::Start(next) => chain.submit(registry.startRecovery(id, next)).await?,
        };
        let note = step.note();
        self.at
            .told(contributor, receipt.block_number.unwrap_or_default(), note)
    }
}

impl Finish {
    async fn run(self) -> Result<bool> {
        let (contributor, change) = (self.account, RecoveryChange::Finish);
        if !self.own_gas {
            let known = self.at.known(contributor).await?;
            let asked = RelayedRecovery {
                contributor,
                sequence: known.sequence,
                // Nothing is signed.
                deadline: 0,
                change,
            };
            return self.at.relay(&asked).await;
        }
        let key = self.key.as_deref().context("clap requires a key")?;
        let chain = self.at.chain.signer(secret::account(key)?).await?;
        let chain = chain.context("--own-gas needs --rpc and --deployment")?;
        let registry =
            ContributionRegistry::new(chain.deployment().contributions, chain.provider());
        let call = registry.finishRecovery(contributor.into_word());
        let block = chain.submit(call).await?.block_number;
        self.at
            .told(contributor, block.unwrap_or_default(), change.note())
    }
}

impl Show {
    async fn run(self) -> Result<bool> {
        let known = self.at.known(self.account).await?;
        let or_none = |key: Option<Address>| key.map_or("none".into(), |key| key.to_string());
        let mut rows = vec![
            ("account", self.account.to_string()),
            ("speaks for it", known.controller.to_string()),
            ("recovery key", or_none(known.recovery)),
        ];
        if let Some(block) = known.rotated_at {
            let said = "what is anchored from there on counts no more";
            rows.push(("taken over in block", format!("{block}: {said}")));
        }
        if let (Some(next), Some(from)) = (known.next, known.finishable_at) {
            rows.push(("takes over next", next.to_string()));
            rows.push(("from", format!("{from} (Unix seconds), unless vetoed")));
        }
        rows.push(("changes", known.sequence.to_string()));
        show(self.at.json, &known, &rows)?;
        Ok(true)
    }
}

impl At {
    async fn known(&self, account: Address) -> Result<RecoveryAnswer> {
        known(&self.node, &self.chain, account).await
    }

    async fn relay(&self, signed: &RelayedRecovery) -> Result<bool> {
        let sent = self.node.client()?.recover(signed).await?;
        self.told(signed.contributor, sent.block, &sent.note)
    }

    fn told(&self, account: Address, block: u64, note: &str) -> Result<bool> {
        let rows = [
            ("account", account.to_string()),
            ("in block", block.to_string()),
            ("note", note.to_owned()),
        ];
        show(self.json, &json!({ "block": block, "note": note }), &rows)?;
        Ok(true)
    }
}

/// Names the recovery key of who contributes just now, unless it is named already.
pub(in crate::cmd) async fn name_with(
    node: &NodeAt,
    chain: &MaybeChainAt,
    deployment: &Deployment,
    account: &PrivateKeySigner,
    recovery: Address,
) -> Result<()> {
    another_key(account, recovery)?;
    let contributor = account.address();
    let known = known(node, chain, contributor).await?;
    if known.recovery == Some(recovery) {
        return Ok(());
    }
    let step = RecoveryStep::Name(recovery);
    let signed = sign(deployment, account, contributor, step, &known);
    node.client()?.recover(&signed).await?;
    Ok(())
}

/// Refuses a recovery key that is lost together with the key that it is for.
pub(in crate::cmd) fn another_key(account: &PrivateKeySigner, recovery: Address) -> Result<()> {
    ensure!(
        recovery != account.address(),
        "{recovery} is the key that names it: a recovery key has to be another one, kept elsewhere"
    );
    Ok(())
}

fn sign(
    deployment: &Deployment,
    account: &PrivateKeySigner,
    contributor: Address,
    step: RecoveryStep,
    known: &RecoveryAnswer,
) -> RelayedRecovery {
    let deadline = known.time + GOOD_FOR;
    let sequence = known.sequence;
    recovery(deployment, account, contributor, step, sequence, deadline)
}

/// How a recovery stands: from the chain, where one was named, else by the node's word. Its clock is believed no further than this
/// machine's, as what is signed holds for so long after it.
async fn known(node: &NodeAt, chain: &MaybeChainAt, account: Address) -> Result<RecoveryAnswer> {
    if let Some(chain) = chain.reader().await? {
        return on_chain(&chain, account).await;
    }
    let mut known = node.client()?.recovery(account).await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.context("this machine's clock is before 1970")?;
    known.time = known.time.min(now.as_secs());
    Ok(known)
}

async fn on_chain(chain: &Chain, account: Address) -> Result<RecoveryAnswer> {
    let newest = chain.latest().await?;
    let id = ContributorId::from_address(account);
    let fact = chain.recovery(&newest, id).await?;
    Ok(RecoveryAnswer::of(account, &fact, &newest))
}

/// An address, refused where it is in upper and lower case and these do not fit (EIP-55): nobody may have the key of a misspelt one.
pub(in crate::cmd) fn checked(text: &str) -> Result<Address, String> {
    let address: Address = text.parse().map_err(|_| "no address".to_owned())?;
    let digits = text.trim_start_matches("0x");
    let is_mixed = digits.bytes().any(|it| it.is_ascii_lowercase())
        && digits.bytes().any(|it| it.is_ascii_uppercase());
    match is_mixed && address.to_string().trim_start_matches("0x") != digits {
        true => {
            Err("its upper and lower case do not fit (EIP-55): a character may be wrong".into())
        }
        false => Ok(address),
    }
}

#[cfg(test)]
mod tests {
    use super::checked;

    #[test]
    fn a_misspelt_address_is_refused() {
        let address = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
        assert!(checked(address).is_ok());
        assert!(checked(&address.to_lowercase()).is_ok());
        assert!(checked("0x70997970C51812dc3A010C7d01b50e0d17dc79c8").is_err());
        assert!(checked("0x70997970C51812dc3A010C7d01b50e0d17dc79C").is_err());
    }
}
