//! `GET /members/{account}`, `POST /ballots`, `POST /delegations`: members vote and delegate without gas.
//!
//! The node pays, so it asks first what each is worth: a ballot counts once for each vote that was there when the
//! vote opened, and only a member delegates, once an hour.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use alloy::primitives::{Address, B256, U256};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use collective::permit::Fault;
use serde::{Deserialize, Serialize};

use super::turn::{Turn, Turns};
use super::{App, Problem, address, deployment, relay::Relayed};
use crate::chain::ChainError;
use crate::governance::{ProposalError, SignedBallot, SignedDelegation, Standing, State as Stage};
use collective_contracts::{CollectiveGovernor, Membership};

/// Between two delegations of one member that the node pays for: nobody changes delegates more often, but for a
/// member who wants to use up the node's gas.
const DELEGATION_PAUSE: Duration = Duration::from_secs(3_600);

/// Ballots that are on their way to a block: a second one of the same voter would be paid for and fail.
pub type Ballots = Turns<(U256, Address)>;

/// When the node last paid for a member's delegation. As many entries as members who delegate in an hour.
pub type Delegations = Arc<Mutex<HashMap<Address, Instant>>>;

/// What a member has to know to sign, and what it may look at.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberAnswer {
    /// Whether the account is a member.
    pub member: bool,
    /// Who casts its votes.
    pub delegate: Address,
    /// Votes that it casts itself, its delegators' among them.
    pub votes: String,
    /// The nonce of its next ballot.
    pub ballot_nonce: u64,
    /// The nonce of its next delegation.
    pub delegation_nonce: u64,
    /// Name of the votes, which delegations are signed under.
    pub votes_name: String,
}

/// Says how a member stands.
pub async fn member(
    State(app): State<App>,
    Path(account): Path<String>,
) -> Result<Json<MemberAnswer>, Problem> {
    let account = address(&account)?;
    let membership = Membership::new(deployment(&app).membership, app.chain.provider());
    let governor = CollectiveGovernor::new(deployment(&app).governor, app.chain.provider());
    let owned = membership.balanceOf(account).call().await;
    let delegate = membership.delegates(account).call().await;
    let votes = membership.getVotes(account).call().await;
    let ballots = governor.nonces(account).call().await;
    let delegations = membership.nonces(account).call().await;
    let name = membership.name().call().await;
    Ok(Json(MemberAnswer {
        member: !owned.map_err(ChainError::from)?.is_zero(),
        delegate: delegate.map_err(ChainError::from)?,
        votes: votes.map_err(ChainError::from)?.to_string(),
        ballot_nonce: ballots.map_err(ChainError::from)?.saturating_to(),
        delegation_nonce: delegations.map_err(ChainError::from)?.saturating_to(),
        votes_name: name.map_err(ChainError::from)?,
    }))
}

/// Casts a signed vote and waits until it is mined.
pub async fn cast(
    State(app): State<App>,
    Json(signed): Json<SignedBallot>,
) -> Result<Json<Relayed>, Problem> {
    let standing = Standing::read(&app.chain, signed.proposal).await?;
    let governor = CollectiveGovernor::new(deployment(&app).governor, app.chain.provider());
    let voted = governor
        .hasVoted(signed.proposal, signed.voter)
        .call()
        .await;
    if voted.map_err(ChainError::from)? {
        return Err(conflict("this member has voted: a vote cannot be changed"));
    }
    if standing.state != Stage::Active {
        return Err(conflict(format!(
            "the vote is not open, the proposal is {}: {}",
            standing.state,
            standing.next()
        )));
    }
    let votes = governor
        .getVotes(signed.voter, U256::from(standing.opens))
        .call()
        .await;
    if votes.map_err(ChainError::from)?.is_zero() {
        return Err(forbidden(format!(
            "{} had no vote when this vote opened: memberships and delegations count from then on",
            signed.voter
        )));
    }
    let nonce = governor.nonces(signed.voter).call().await;
    let nonce = nonce.map_err(ChainError::from)?.saturating_to();
    if !signed.is_the_voters(deployment(&app), nonce) {
        // A contract account decides in its own code, when the node has paid: it votes with its own gas.
        return Err(forbidden(
            "the signature is not that of the voter's key over this ballot: ask for the nonce and sign again; contract \
             accounts vote from themselves",
        ));
    }
    let turn = Turn::take(&app.ballots, (signed.proposal, signed.voter));
    let turn = turn.ok_or_else(|| conflict("a ballot of this member is on its way"))?;
    let (chain, ballot) = (app.chain.clone(), signed.clone());
    // In a task of its own: a member who hangs up does not end the turn before the ballot is mined.
    let sent = tokio::spawn(async move {
        let _turn = turn;
        let governor = CollectiveGovernor::new(chain.deployment().governor, chain.provider());
        let (support, voter) = (ballot.ballot.support(), ballot.voter);
        let call = governor.castVoteBySig(ballot.proposal, support, voter, ballot.signature);
        chain.submit(call).await
    });
    let receipt = sent.await.map_err(Problem::operator)??;
    Ok(Json(Relayed {
        block: receipt.block_number.unwrap_or_default(),
        note: format!("{} by {}; {}", signed.ballot, signed.voter, standing.next()),
    }))
}

/// Relays a signed delegation and waits until it is mined.
pub async fn delegate(
    State(app): State<App>,
    Json(signed): Json<SignedDelegation>,
) -> Result<Json<Relayed>, Problem> {
    let membership = Membership::new(deployment(&app).membership, app.chain.provider());
    let owned = membership.balanceOf(signed.member).call().await;
    if owned.map_err(ChainError::from)?.is_zero() {
        return Err(forbidden(format!(
            "{} is no member: it has no vote to delegate",
            signed.member
        )));
    }
    let present = membership.delegates(signed.member).call().await;
    if present.map_err(ChainError::from)? == signed.delegate {
        return Err(conflict("this is the member's delegate already"));
    }
    let Some((v, r, s)) = parts(&signed.signature) else {
        return Err(Problem::malformed(
            "a delegation's signature has 65 bytes: r, s, v",
        ));
    };
    let call = membership.delegateBySig(
        signed.delegate,
        U256::from(signed.nonce),
        U256::from(signed.expiry),
        v,
        r,
        s,
    );
    // A signature of somebody else moves somebody else's votes, and takes somebody else's hour.
    let name = membership.name().call().await.map_err(ChainError::from)?;
    if !signed.is_the_members(deployment(&app), &name) {
        return Err(forbidden(
            "the signature is not the member's over this delegation: ask for the nonce and sign again",
        ));
    }
    take_turn(&app.delegations, signed.member)?;
    let receipt = app.chain.submit(call).await.inspect_err(|error| {
        if !matches!(error, ChainError::NotMined { .. }) {
            // It cost nothing: the call is tried before it is sent.
            lock(&app.delegations).remove(&signed.member);
        }
    })?;
    Ok(Json(Relayed {
        block: receipt.block_number.unwrap_or_default(),
        note: "Counts in votes that open from now on; votes that are open keep the delegates they opened with.".into(),
    }))
}

/// Notes that the node pays for this member now, unless it did within the pause.
fn take_turn(delegations: &Delegations, member: Address) -> Result<(), Problem> {
    let now = Instant::now();
    let mut paid = lock(delegations);
    paid.retain(|_, at| now.duration_since(*at) < DELEGATION_PAUSE);
    if paid.contains_key(&member) {
        return Err(Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            Fault::Requester,
            "the node pays for one delegation of a member an hour: wait, or send it from the own account",
        ));
    }
    paid.insert(member, now);
    Ok(())
}

fn lock(delegations: &Delegations) -> std::sync::MutexGuard<'_, HashMap<Address, Instant>> {
    delegations.lock().unwrap_or_else(PoisonError::into_inner)
}

fn parts(signature: &[u8]) -> Option<(u8, B256, B256)> {
    let (&v, rs) = signature.split_last()?;
    let (r, s) = rs.split_at_checked(32)?;
    Some((v, r.try_into().ok()?, s.try_into().ok()?))
}

fn conflict(detail: impl ToString) -> Problem {
    Problem::new(StatusCode::CONFLICT, Fault::Requester, detail)
}

fn forbidden(detail: impl ToString) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, Fault::Requester, detail)
}

impl From<ProposalError> for Problem {
    fn from(error: ProposalError) -> Self {
        match error {
            ProposalError::Unknown(_) => Self::missing(error),
            ProposalError::Chain(error) => error.into(),
            ProposalError::Withheld(_) => Self::operator(error),
        }
    }
}
