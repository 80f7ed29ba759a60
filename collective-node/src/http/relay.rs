//! `POST /revocations`, `POST /claims`: the node pays the gas for what others may do.

use std::collections::HashSet;

use alloy::primitives::{Address, Bytes as CallData, U256, aliases::U248};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use collective::permit::Fault;
use serde::{Deserialize, Serialize};

use super::turn::{Turn, Turns};
use super::{App, Problem, Uses, deployment};
use crate::chain::{Chain, ChainError, Deployment};
use crate::contributor::{revoke_all_hash, revoke_hash};
use crate::crash::Step;
use crate::governance::is_of;
use crate::rewards::Inputs;
use crate::verify;
use collective::id::{ContributorId, Leaf};
use collective_contracts::{ContributionRegistry, RewardDistributor};

/// A signed revocation.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RelayedRevocation {
    /// Whose contributions.
    pub contributor: Address,
    /// Unix seconds after which the signatures are worth nothing.
    pub deadline: u64,
    /// Which of them.
    pub revoked: SignedNonces,
}

/// What a revocation names, signed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub enum SignedNonces {
    /// Some, at most [`MAX_WORDS`] words, rising.
    Words(Vec<SignedWord>),
    /// All below one.
    Below(SignedWatermark),
}

/// `Revoke(contributorId, word, mask, deadline)` (EIP-712).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SignedWord {
    /// Nonces `256 * word` to `256 * word + 255`.
    pub word: u64,
    /// Which of them.
    pub mask: U256,
    /// 65 bytes.
    pub signature: CallData,
}

/// `RevokeAll(contributorId, watermark, deadline)` (EIP-712).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SignedWatermark {
    /// Every nonce below it.
    pub watermark: U256,
    /// 65 bytes.
    pub signature: CallData,
}

/// Words of one request, 4,096 nonces: each is a transaction of some 60,000 gas. Who takes back more does it by a watermark.
pub const MAX_WORDS: usize = 16;

/// Seconds that a signature has to hold on: less, and it may end between being paid for and being mined.
pub const MIN_SIGNED_SECONDS: u64 = 600;

/// Gas of a revocation at most: twice what the dearest one takes.
const REVOCATION_GAS: u64 = 150_000;

/// Contributors whose revocations are on their way to a block.
pub type Revoking = Turns<Address>;

/// What became of a revocation.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RevocationAnswer {
    /// Block from which on it holds: no job is leased with it, and key holders release none that was leased before.
    pub block: u64,
    /// Words of which this node holds nothing: it does not pay for them, and did not send them.
    pub not_sent: Vec<u64>,
    /// Runs that were released before: what cannot be undone. `None` where the chain did not answer.
    pub uses: Option<Uses>,
    /// Other jobs whose denials were read before: each may still read it, if key holders released it before they saw the revocation.
    pub under_way: Option<Vec<u64>>,
    /// What it means.
    pub note: String,
}

/// What a revocation does, and what it does not.
const NOTE: &str = "No job that is leased from this block on reads it. Once the block is final this node drops the sealed file, after \
    the jobs that may still read it. What a recipient was given it keeps, and so does whoever copied the file: this node cannot know.";

/// What became of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Relayed {
    /// Block in which it took effect.
    pub block: u64,
    /// What it cannot undo.
    pub note: String,
}

/// Sends a signed revocation and waits until it is mined.
pub async fn revoke(
    State(app): State<App>,
    Json(revocation): Json<RelayedRevocation>,
) -> Result<Json<RevocationAnswer>, Problem> {
    let contributor = ContributorId::from_address(revocation.contributor);
    if let SignedNonces::Words(words) = &revocation.revoked
        && (words.len() > MAX_WORDS || !words.is_sorted_by(|one, next| one.word < next.word))
    {
        return Err(Problem::malformed(format!(
            "at most {MAX_WORDS} words at a time, rising; `--all` revokes everything by one signature"
        )));
    }
    let held = app.ledger.of_contributor(contributor).await?;
    let named = |nonce: u64| match &revocation.revoked {
        SignedNonces::Words(words) => words.iter().any(|it| it.names(nonce)),
        SignedNonces::Below(below) => U256::from(nonce) < below.watermark,
    };
    let concerned: Vec<_> = held
        .into_iter()
        .filter(|(nonce, _)| named(*nonce))
        .collect();
    if concerned.is_empty() {
        // The node pays for its own contributors only: anybody's key can sign a revocation.
        return Err(Problem::missing(
            "this node holds none of these contributions; `--own-gas` needs no node",
        ));
    }
    let newest = app.chain.latest().await?;
    let fact = app.chain.recovery(&newest, contributor).await?;
    let controller = fact.controller(revocation.contributor);
    // The account's own key for ever, whoever took the id over: to revoke only protects.
    let mut keys = [controller, revocation.contributor].into_iter();
    if !keys.any(|key| revocation.is_by(key, deployment(&app))) {
        // A contract account decides in its own code, when the node has paid: it revokes with its own gas.
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            Fault::Contributor,
            format!(
                "a signature is not that of the contributor's key, {controller}, over this revocation; contract accounts revoke with `--own-gas`"
            ),
        ));
    }
    if revocation.deadline < newest.time + MIN_SIGNED_SECONDS {
        return Err(Problem::malformed(format!(
            "the signature has to hold {MIN_SIGNED_SECONDS} seconds on: sign with a later deadline"
        )));
    }
    let nonces: Vec<u64> = concerned.iter().map(|(nonce, _)| *nonce).collect();
    let turn = Turn::take(&app.revoking, revocation.contributor).ok_or_else(|| {
        let detail = "a revocation of this account is on its way: ask again when it is mined";
        Problem::new(StatusCode::CONFLICT, Fault::Requester, detail)
    })?;
    let sender = app.clone();
    // In a task of its own: a contributor who hangs up does not end the turn before everything is mined.
    let sent = tokio::spawn(async move {
        let _turn = turn;
        send(&sender, revocation, &nonces).await
    });
    let (block, not_sent) = sent.await.map_err(Problem::operator)??;
    let leaves: HashSet<Leaf> = concerned.into_iter().map(|(_, leaf)| leaf).collect();
    // It stands, whatever can be told of it.
    let inputs = Inputs::Own(&app.rewards);
    let uses = verify::uses(&app.chain, &app.blobs, &leaves, inputs).await;
    let told = |error: &dyn std::fmt::Display| tracing::warn!(%error, "uses could not be told");
    let uses = uses.inspect_err(|error| told(error)).ok();
    let under_way = verify::under_way(&app.chain, block).await;
    let mut under_way = under_way.inspect_err(|error| told(error)).ok();
    if let (Some(uses), Some(jobs)) = (&uses, &mut under_way) {
        jobs.retain(|job| uses.uses.iter().all(|it| it.job != *job));
    }
    Ok(Json(RevocationAnswer {
        block,
        not_sent,
        uses,
        under_way,
        note: NOTE.into(),
    }))
}

/// Sends what is not revoked yet of `held` nonces, each word in a transaction. Says the block in which all of it is revoked, and the words
/// that were not sent.
async fn send(
    app: &App,
    revocation: RelayedRevocation,
    held: &[u64],
) -> Result<(u64, Vec<u64>), Problem> {
    let registry = ContributionRegistry::new(deployment(app).contributions, app.chain.provider());
    let account = revocation.contributor;
    let (id, deadline) = (
        ContributorId::from_address(account),
        U256::from(revocation.deadline),
    );
    let newest = app.chain.latest().await?;
    let named: Vec<_> = held.iter().map(|nonce| (id, *nonce)).collect();
    let revoked = app.chain.revocations(&newest, &named).await?;
    // The node pays once for each contribution, and not for nonces that nobody used.
    let open = |nonce: &&u64| !revoked.contains(id, **nonce);
    let (mut sent, mut not_sent) = (vec![], vec![]);
    match revocation.revoked {
        SignedNonces::Below(to) => {
            if held.iter().any(|nonce| open(&nonce)) {
                let call = registry.revokeAllBySig(id.0, to.watermark, deadline, to.signature);
                let call = call.gas(REVOCATION_GAS);
                // What the contract refuses is found before it is paid for.
                call.call().await.map_err(ChainError::from)?;
                sent.push(call.send().await.map_err(ChainError::from)?);
            }
        }
        SignedNonces::Words(words) => {
            let mut calls = vec![];
            for word in words {
                let mut mine = held.iter().filter(|nonce| word.names(**nonce)).peekable();
                if mine.peek().is_none() {
                    not_sent.push(word.word);
                } else if mine.any(|nonce| open(&nonce)) {
                    let (place, mask) = (U248::from(word.word), word.mask);
                    let signature = word.signature;
                    let call = registry.revokeBySig(id.0, place, mask, deadline, signature);
                    calls.push(call.gas(REVOCATION_GAS));
                }
            }
            // All or none: so is each here before any is sent.
            for call in &calls {
                call.call().await.map_err(ChainError::from)?;
            }
            for call in calls {
                sent.push(call.send().await.map_err(ChainError::from)?);
            }
        }
    }
    let mut block = None;
    for pending in sent {
        let receipt = Chain::mined(pending).await?;
        block = block.max(receipt.block_number);
    }
    // Where nothing was left to send it was revoked before.
    Ok((block.unwrap_or(newest.number), not_sent))
}

impl RelayedRevocation {
    /// Whether this key signed all of it.
    fn is_by(&self, key: Address, deployment: &Deployment) -> bool {
        let (account, until) = (self.contributor, self.deadline);
        match &self.revoked {
            SignedNonces::Words(words) => words.iter().all(|it| {
                let hash = revoke_hash(deployment, account, it.word, it.mask, until);
                is_of(&it.signature, hash, key)
            }),
            SignedNonces::Below(to) => {
                let hash = revoke_all_hash(deployment, account, to.watermark, until);
                is_of(&to.signature, hash, key)
            }
        }
    }
}

impl SignedWord {
    fn names(&self, nonce: u64) -> bool {
        nonce >> 8 == self.word && self.mask.bit((nonce & 0xff) as usize)
    }
}

/// Accounts whose rewards are to be claimed. No signature: the money goes to the account, or to the key that took its id over.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelayedClaims {
    /// Who is to be paid, at most [`MAX_CLAIMS`].
    pub accounts: Vec<Address>,
}

/// Claims in one transaction: each is about 60,000 gas, and a transaction may take 2^24 (EIP-7825).
pub const MAX_CLAIMS: usize = 100;

/// What became of claims.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimsAnswer {
    /// Block in which they were paid.
    pub block: u64,
    /// Accounts of which a recovery is under way: only the key that speaks for one claims for it just now.
    pub recovering: Vec<Address>,
    /// What it means.
    pub note: String,
}

/// Claims for accounts and waits until it is mined. Who has nothing to claim, or is being recovered, is passed over.
pub async fn claim(
    State(app): State<App>,
    Json(claims): Json<RelayedClaims>,
) -> Result<Json<ClaimsAnswer>, Problem> {
    if claims.accounts.len() > MAX_CLAIMS {
        return Err(Problem::malformed(format!(
            "at most {MAX_CLAIMS} accounts at a time"
        )));
    }
    let ids = claims
        .accounts
        .iter()
        .copied()
        .map(ContributorId::from_address);
    let newest = app.chain.latest().await?;
    let held_up = app
        .chain
        .recovering(&newest, &ids.collect::<Vec<_>>())
        .await?;
    let is_held_up = |account: &Address| held_up.contains(&ContributorId::from_address(*account));
    let (recovering, accounts): (Vec<_>, Vec<_>) =
        claims.accounts.into_iter().partition(is_held_up);
    if accounts.is_empty() && !recovering.is_empty() {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            Fault::Contributor,
            "a recovery is under way: until it is finished or vetoed only the key that speaks for the account claims for it, \
             by `collective rewards claim ACCOUNT --key`",
        ));
    }
    let under_root = app.rewards.claims().await?;
    let under_root = under_root.ok_or_else(|| Problem::missing("no reward root is active yet"))?;
    let proven = accounts.into_iter().filter_map(|account| {
        let contributor = ContributorId::from_address(account);
        let (cumulative, proof) = under_root.claim(contributor)?;
        Some(RewardDistributor::Claim {
            contributorId: contributor.0,
            cumulative,
            proof,
        })
    });
    let (collective, token) = (deployment(&app).collective, deployment(&app).token);
    let distributor = RewardDistributor::new(deployment(&app).rewards, app.chain.provider());
    let call = distributor.claimMany(collective, token, proven.collect());
    let receipt = app.chain.submit(call).await?;
    Step::ClaimsSentNotSeen.reached();
    Ok(Json(ClaimsAnswer {
        block: receipt.block_number.unwrap_or_default(),
        recovering,
        note: "Paid to each account that had something to claim under the active root, or to the key that took it over.".into(),
    }))
}
