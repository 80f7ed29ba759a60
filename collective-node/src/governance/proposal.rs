//! A proposal read back from the chain: what it would do, how it stands, and its next step.

use alloy::primitives::{Address, U256, keccak256};
use alloy::rpc::types::Filter;
use alloy::sol_types::{SolEvent, SolValue};
use serde::Serialize;
use thiserror::Error;

use super::{Action, Motion};
use crate::chain::{Chain, ChainError};
use collective_contracts::CollectiveGovernor;
use collective_contracts::CollectiveGovernor::{CollectiveGovernorInstance, ProposalCreated};

/// Blocks that are searched at once, from the newest backwards: proposals are looked up while they are young.
const BLOCKS_PER_SEARCH: u64 = 50_000;

/// Why there is nothing to say of a proposal.
#[derive(Debug, Error)]
pub enum ProposalError {
    /// The chain.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The Governor knows no such id.
    #[error(
        "there is no proposal {0} in this collective's Governor: compare the id, the chain and the deployment file"
    )]
    Unknown(U256),
    /// The Governor knows it, but the endpoint withholds its event.
    #[error("the endpoint does not show how proposal {0} was opened: try another endpoint")]
    Withheld(U256),
}

/// A proposal as it was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Its number.
    pub id: U256,
    /// Who opened it.
    pub proposer: Address,
    /// What it would do.
    pub motion: Motion,
}

impl Proposal {
    /// Looks a proposal up by its number. The number is a hash of actions and description, so what an endpoint
    /// gives either makes this number or does not count.
    ///
    /// # Errors
    /// [`ProposalError`].
    pub async fn find(chain: &Chain, id: U256) -> Result<Self, ProposalError> {
        known(&governor(chain), id).await?;
        let deployment = chain.deployment();
        let filter = Filter::new()
            .address(deployment.governor)
            .event_signature(ProposalCreated::SIGNATURE_HASH);
        let mut above = chain.latest().await?.number + 1;
        while above > deployment.first_block {
            let from = deployment
                .first_block
                .max(above.saturating_sub(BLOCKS_PER_SEARCH));
            let logs = chain.logs(filter.clone(), from, above - 1).await?;
            let events = logs
                .iter()
                .filter_map(|log| ProposalCreated::decode_log(&log.inner).ok());
            for event in events.filter(|event| event.proposalId == id) {
                let motion = Motion::of(&event.data);
                if motion.id() == id {
                    return Ok(Self {
                        id,
                        proposer: event.proposer,
                        motion,
                    });
                }
            }
            above = from;
        }
        Err(ProposalError::Withheld(id))
    }
}

impl Motion {
    fn of(event: &ProposalCreated) -> Self {
        let calls = event
            .targets
            .iter()
            .zip(&event.values)
            .zip(&event.calldatas);
        Self {
            actions: calls
                .map(|((&target, &value), call)| Action {
                    target,
                    value,
                    call: call.clone(),
                })
                .collect(),
            description: event.description.clone(),
        }
    }

    /// The Governor's number of this proposal: `keccak256(abi.encode(targets, values, calldatas,
    /// keccak256(description)))`.
    pub fn id(&self) -> U256 {
        let (targets, values, calls) = self.parts();
        let encoded = (targets, values, calls, self.description_hash()).abi_encode_params();
        keccak256(encoded).into()
    }
}

/// OpenZeppelin's `IGovernor.ProposalState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The vote has not begun.
    Pending,
    /// Members can vote.
    Active,
    /// Taken back, or vetoed by the guardian.
    Canceled,
    /// The vote failed.
    Defeated,
    /// Won, and not in the timelock yet.
    Succeeded,
    /// In the timelock: its notice runs, or has run.
    Queued,
    /// Cannot be reached with OpenZeppelin's TimelockController.
    Expired,
    /// Done.
    Executed,
}

impl State {
    /// In the order of the contract's enum.
    const ALL: [Self; 8] = [
        Self::Pending,
        Self::Active,
        Self::Canceled,
        Self::Defeated,
        Self::Succeeded,
        Self::Queued,
        Self::Expired,
        Self::Executed,
    ];
}

impl std::fmt::Display for State {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "{}", format!("{self:?}").to_lowercase())
    }
}

/// How a proposal stands at the newest block. Times are Unix seconds, votes the token's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Where it is on its way.
    pub state: State,
    /// In favour.
    pub votes_for: U256,
    /// Against.
    pub votes_against: U256,
    /// Counted for the quorum only.
    pub abstained: U256,
    /// Votes for and abstentions that are needed. `None` before the vote has opened: it is a share of the votes of that moment.
    pub quorum: Option<U256>,
    /// Votes are those of this moment.
    pub opens: u64,
    /// Last moment of the vote; a quorum that is reached late moves it.
    pub closes: u64,
    /// From when on it can be executed; `None` where it is not in the timelock.
    pub notice_ends: Option<u64>,
    /// Who can veto it until it is executed.
    pub guardian: Option<Address>,
    /// Time of the newest block.
    pub now: u64,
}

impl Standing {
    /// Reads how it stands.
    ///
    /// # Errors
    /// [`ProposalError`].
    pub async fn read(chain: &Chain, id: U256) -> Result<Self, ProposalError> {
        let governor = governor(chain);
        let state = known(&governor, id).await?;
        let now = chain.latest().await?.time;
        let votes = governor.proposalVotes(id).call().await;
        let votes = votes.map_err(ChainError::from)?;
        let opens = governor.proposalSnapshot(id).call().await;
        let opens = opens.map_err(ChainError::from)?;
        let closes = governor.proposalDeadline(id).call().await;
        let closes = closes.map_err(ChainError::from)?;
        let quorum = match state {
            State::Pending => None,
            _ => Some(
                governor
                    .quorum(opens)
                    .call()
                    .await
                    .map_err(ChainError::from)?,
            ),
        };
        let eta = governor.proposalEta(id).call().await;
        let eta: u64 = eta.map_err(ChainError::from)?.saturating_to();
        let guardian = governor.proposalGuardian().call().await;
        let guardian = guardian.map_err(ChainError::from)?;
        Ok(Self {
            state,
            votes_for: votes.forVotes,
            votes_against: votes.againstVotes,
            abstained: votes.abstainVotes,
            quorum,
            opens: opens.saturating_to(),
            closes: closes.saturating_to(),
            notice_ends: (eta != 0).then_some(eta),
            guardian: (!guardian.is_zero()).then_some(guardian),
            now,
        })
    }

    /// What has to happen next, and who can do it.
    pub fn next(&self) -> String {
        let left = |time: u64| format!("{} s", time.saturating_sub(self.now));
        match (self.state, self.notice_ends) {
            (State::Pending, _) => format!("the vote opens in {}", left(self.opens)),
            (State::Active, _) => format!("members vote, for {} more", left(self.closes)),
            (State::Succeeded, _) => "anybody queues it: `collective proposal queue`".into(),
            (State::Queued, Some(end)) if end > self.now => match self.guardian {
                Some(guardian) => format!(
                    "its notice runs for {} more; until it is executed {guardian} can veto it",
                    left(end)
                ),
                None => format!("its notice runs for {} more", left(end)),
            },
            (State::Queued, _) => "anybody executes it: `collective proposal execute`".into(),
            (State::Canceled | State::Defeated | State::Expired, _) => {
                "nothing: it has no effect, and a new proposal needs another description".into()
            }
            (State::Executed, _) => "nothing: it has taken effect".into(),
        }
    }
}

fn governor(chain: &Chain) -> CollectiveGovernorInstance<&alloy::providers::DynProvider> {
    CollectiveGovernor::new(chain.deployment().governor, chain.provider())
}

/// The state of a proposal that the Governor knows.
async fn known(
    governor: &CollectiveGovernorInstance<&alloy::providers::DynProvider>,
    id: U256,
) -> Result<State, ProposalError> {
    match governor.state(id).call().await.map_err(ChainError::from) {
        Ok(number) => Ok(*State::ALL
            .get(usize::from(number))
            .ok_or(ProposalError::Withheld(id))?),
        Err(ChainError::Reverted(_)) => Err(ProposalError::Unknown(id)),
        Err(error) => Err(error.into()),
    }
}
