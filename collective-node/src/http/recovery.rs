//! `GET /contributors/{account}/recovery`, `POST /recoveries`: how the recovery of an account's id stands; the node pays the gas of
//! what changes it (SPEC "Recovery").

use alloy::primitives::{Address, Bytes, U256};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use collective::id::ContributorId;
use collective::permit::Fault;
use collective::receipt::BlockRef;
use serde::{Deserialize, Serialize};

use super::relay::{MIN_SIGNED_SECONDS, Relayed};
use super::turn::{Turn, Turns};
use super::{App, Problem, address, deployment};
use crate::chain::ChainError;
use crate::chain::facts::RecoveryFact;
use crate::contributor::{RecoveryStep, name_recovery_hash, start_recovery_hash};
use crate::governance::is_of;
use collective_contracts::ContributionRegistry;

/// Changes of one account's recovery that a node pays for: five recoveries with a veto each, and as many namings again. An account
/// that has had more changes them with its own gas, but for what ends a recovery that is under way.
pub const MAX_PAID_SEQUENCE: u32 = 16;

/// Gas of a change at most: twice what the dearest one takes.
const RECOVERY_GAS: u64 = 170_000;

/// Accounts a change of whose recovery is on its way to a block.
pub type Recovering = Turns<Address>;

/// How the recovery of an account's id stands at the newest block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecoveryAnswer {
    /// The key that speaks for the id: the account's own, until a recovery is finished.
    pub controller: Address,
    /// Block from which on nothing more that is anchored under the id counts.
    pub rotated_at: Option<u64>,
    /// The key that may start a recovery.
    pub recovery: Option<Address>,
    /// Who takes over by the recovery that is under way.
    pub next: Option<Address>,
    /// Unix seconds from which anybody may finish it.
    pub finishable_at: Option<u64>,
    /// What the next signature has to name.
    pub sequence: u32,
    /// Unix seconds of the newest block, in which all this holds.
    pub time: u64,
}

impl RecoveryAnswer {
    /// What a fact of `newest` says of the account that it is about.
    pub fn of(account: Address, fact: &RecoveryFact, newest: &BlockRef) -> Self {
        Self {
            controller: fact.controller(account),
            rotated_at: fact.rotation.map(|it| it.block),
            recovery: fact.recovery,
            next: fact.under_way.map(|it| it.next),
            finishable_at: fact.under_way.map(|it| it.finishable_at),
            sequence: fact.sequence,
            time: newest.time,
        }
    }
}

/// Tells how the recovery of an account's id stands.
pub async fn state(
    State(app): State<App>,
    Path(account): Path<String>,
) -> Result<Json<RecoveryAnswer>, Problem> {
    let account = address(&account)?;
    let newest = app.chain.latest().await?;
    let id = ContributorId::from_address(account);
    let fact = app.chain.recovery(&newest, id).await?;
    Ok(Json(RecoveryAnswer::of(account, &fact, &newest)))
}

/// A signed change of a recovery.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RelayedRecovery {
    /// Whose id it is about.
    pub contributor: Address,
    /// The id's sequence when it was signed; it is good for no other.
    pub sequence: u32,
    /// Unix seconds after which the signature is worth nothing.
    pub deadline: u64,
    /// What changes.
    pub change: RecoveryChange,
}

/// What a change does.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub enum RecoveryChange {
    /// The controller names the recovery key, zero for none, and ends a recovery that is under way:
    /// `NameRecovery(contributorId, recovery, sequence, deadline)` (EIP-712).
    Name {
        /// The key.
        recovery: Address,
        /// The controller's, 65 bytes.
        signature: Bytes,
    },
    /// The recovery key starts a recovery: `StartRecovery(contributorId, next, sequence, deadline)` (EIP-712).
    Start {
        /// Who takes over.
        next: Address,
        /// The recovery key's, 65 bytes.
        signature: Bytes,
    },
    /// Anybody finishes it.
    Finish,
}

/// Sends a change of a recovery and waits until it is mined.
pub async fn change(
    State(app): State<App>,
    Json(asked): Json<RelayedRecovery>,
) -> Result<Json<Relayed>, Problem> {
    let id = ContributorId::from_address(asked.contributor);
    if app.ledger.of_contributor(id).await?.is_empty() {
        // The node pays for its own contributors only: anybody's key can name another.
        return Err(Problem::missing(
            "this node holds no contribution of this account; `--own-gas` needs no node",
        ));
    }
    // Before the turn: who may not change anything holds nobody up.
    asked.check(&app).await?;
    let busy = "a change of this account's recovery is on its way: ask again when it is mined";
    let turn = Turn::take(&app.recovering, asked.contributor)
        .ok_or_else(|| Problem::new(StatusCode::CONFLICT, Fault::Requester, busy))?;
    // Again: another may have been mined in between.
    asked.check(&app).await?;
    let note = asked.change.note();
    let sender = app.clone();
    // In a task of its own: who hangs up does not end the turn before it is mined.
    let sent = tokio::spawn(async move {
        let _turn = turn;
        asked.send(&sender).await
    });
    let block = sent.await.map_err(Problem::operator)??;
    Ok(Json(Relayed {
        block,
        note: note.into(),
    }))
}

impl RelayedRecovery {
    /// Refuses what the contract would, before anything is paid, and what the node does not pay for.
    async fn check(&self, app: &App) -> Result<(), Problem> {
        let newest = app.chain.latest().await?;
        let id = ContributorId::from_address(self.contributor);
        let (fact, now) = (app.chain.recovery(&newest, id).await?, newest.time);
        let conflict = |why: String| Problem::new(StatusCode::CONFLICT, Fault::Requester, why);
        if self.sequence != fact.sequence {
            return Err(conflict(format!(
                "this is for change {} of the account's recovery, and the next one is {}: look again, and sign anew",
                self.sequence, fact.sequence
            )));
        }
        if fact.sequence >= MAX_PAID_SEQUENCE && fact.under_way.is_none() {
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                Fault::Contributor,
                format!(
                    "a node pays for the first {MAX_PAID_SEQUENCE} changes of an account's recovery; send it with `--own-gas`"
                ),
            ));
        }
        let (signature, hash, signer, whose) = match &self.change {
            RecoveryChange::Finish => {
                let under_way = fact.under_way;
                let under_way =
                    under_way.ok_or_else(|| conflict("no recovery is under way".into()))?;
                let from = under_way.finishable_at;
                return match now < from {
                    true => Err(conflict(format!(
                        "the recovery can be vetoed until {from} (Unix seconds), and not be finished before"
                    ))),
                    false => Ok(()),
                };
            }
            RecoveryChange::Name {
                recovery,
                signature,
            } => {
                let hash = name_recovery_hash(
                    deployment(app),
                    self.contributor,
                    *recovery,
                    self.sequence,
                    self.deadline,
                );
                let controller = fact.controller(self.contributor);
                (signature, hash, controller, "the contributor's key")
            }
            RecoveryChange::Start { next, signature } => {
                if next.is_zero() {
                    return Err(Problem::malformed("a recovery needs a key that takes over"));
                }
                let none = "no recovery key was named for this account";
                let recovery = fact.recovery.ok_or_else(|| conflict(none.into()))?;
                if let Some(under_way) = fact.under_way {
                    let next = under_way.next;
                    return Err(conflict(format!("a recovery to {next} is under way")));
                }
                let hash = start_recovery_hash(
                    deployment(app),
                    self.contributor,
                    *next,
                    self.sequence,
                    self.deadline,
                );
                (signature, hash, recovery, "the recovery key")
            }
        };
        if !is_of(signature, hash, signer) {
            // A contract account decides in its own code, when the node has paid: it uses its own gas.
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                Fault::Contributor,
                format!(
                    "the signature is not that of {whose}, {signer}, over this change; contract accounts use `--own-gas`"
                ),
            ));
        }
        if self.deadline < now + MIN_SIGNED_SECONDS {
            return Err(Problem::malformed(format!(
                "the signature has to hold {MIN_SIGNED_SECONDS} seconds on: sign with a later deadline"
            )));
        }
        Ok(())
    }

    /// Sends it, and says in which block it is.
    async fn send(self, app: &App) -> Result<u64, Problem> {
        let provider = app.chain.provider();
        let registry = ContributionRegistry::new(deployment(app).contributions, provider);
        let (id, deadline) = (self.contributor.into_word(), U256::from(self.deadline));
        let receipt = match self.change {
            RecoveryChange::Name {
                recovery,
                signature,
            } => {
                let call = registry
                    .nameRecoveryBySig(id, recovery, deadline, signature)
                    .gas(RECOVERY_GAS);
                call.call().await.map_err(ChainError::from)?;
                app.chain.submit(call).await?
            }
            RecoveryChange::Start { next, signature } => {
                let call = registry
                    .startRecoveryBySig(id, next, deadline, signature)
                    .gas(RECOVERY_GAS);
                call.call().await.map_err(ChainError::from)?;
                app.chain.submit(call).await?
            }
            RecoveryChange::Finish => {
                let call = registry.finishRecovery(id).gas(RECOVERY_GAS);
                call.call().await.map_err(ChainError::from)?;
                app.chain.submit(call).await?
            }
        };
        Ok(receipt.block_number.unwrap_or_default())
    }
}

impl RecoveryChange {
    /// What it means.
    pub fn note(&self) -> &'static str {
        match self {
            Self::Name { recovery, .. } => RecoveryStep::Name(*recovery).note(),
            Self::Start { next, .. } => RecoveryStep::Start(*next).note(),
            Self::Finish => {
                "The new key alone revokes, names a recovery key and says where files are, and is paid what the contributions earn. \
                 Nothing more is contributed under the old account."
            }
        }
    }
}
