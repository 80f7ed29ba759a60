//! Whether a ceremony may be held: what the chain says of its parties, and who has voted for it.
//!
//! Dealing cannot be taken back. Without this check whoever convenes a ceremony would hand the key to nodes of its choice.

use alloy::primitives::Address;
use collective::committee::ShareCertificate;
use collective::committee::ceremony::CeremonyId;
use collective::committee::ceremony::plan::{Dealer, Kind, Party, Plan};
use collective::committee::rewrap::MAX_REWRAPPED;
use collective::id::{BlobId, NodeId};
use collective::permit::Fault;
use collective::receipt::BlockRef;
use thiserror::Error;

use crate::chain::facts::{CommitteeFact, ROLE_KEYHOLDER};
use crate::chain::{Chain, ChainError};
use crate::follower::View;

/// By how much an epoch may exceed the accepted one: so many ceremonies whose committees are not accepted have an epoch of
/// their own, and what comes after them shares the last one. Far above what members try before they accept one.
pub const MAX_EPOCH_STEP: u64 = 16;

/// Contributions with which a renewal may begin: half of what one record holds. More to the old key count until its time is
/// over, and a record that cannot be made then would keep the old seed, and every later ceremony, waiting for ever.
pub const MAX_TO_RENEW: usize = MAX_REWRAPPED / 2;

/// Why a plan is not followed.
#[derive(Debug, Error)]
pub enum PlanRefusal {
    /// The chain.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// It is about another collective.
    #[error(
        "the plan is for collective {collective} in registry {registry} on chain {chain_id}, which this node does not serve"
    )]
    Elsewhere {
        /// The plan's.
        chain_id: u64,
        /// The plan's.
        registry: Address,
        /// The plan's.
        collective: Address,
    },
    /// It does not follow the accepted epoch.
    #[error(
        "the plan is for epoch {epoch}; the collective has accepted epoch {accepted}, so {} to {} can follow",
        .accepted + 1, .accepted + MAX_EPOCH_STEP
    )]
    Epoch {
        /// The plan's.
        epoch: u64,
        /// On chain.
        accepted: u64,
    },
    /// A member is no key holder that the collective accepts.
    #[error(
        "node {0} is not a key holder that the collective accepts with the keys it has now: register it, and accept it by vote"
    )]
    NotAccepted(NodeId),
    /// The plan has other keys for a member than the chain.
    #[error(
        "the plan names another signer or recipient for node {0} than NodeRegistry; make a plan anew"
    )]
    AnotherKey(NodeId),
    /// The key is dealt from another committee.
    #[error(
        "the plan deals from a committee that is not the one of epoch {0}, which the collective accepted"
    )]
    AnotherCommittee(u64),
    /// A dealer is not that member.
    #[error(
        "the plan has node {node} deal as member {number}, which it is not, or with another signer"
    )]
    NotTheDealer {
        /// Who.
        node: NodeId,
        /// As whom.
        number: u16,
    },
    /// A renewal is not over: what is sealed to the key before it is not wrapped anew yet.
    #[error(
        "the key's ML-KEM half was renewed, and what is sealed to the old one counts until {until} (Unix seconds): no share is \
         dealt before that"
    )]
    Renewing {
        /// When its time is over.
        until: u64,
    },
    /// There is more than one record holds.
    #[error(
        "the plan renews the key's ML-KEM half, and {0} contributions would have to be wrapped anew: {MAX_TO_RENEW} may be"
    )]
    TooManyToWrap(usize),
    /// Nobody has voted for it.
    #[error(
        "the collective has not convened ceremony {plan}: members propose it with `collective propose --convene {plan}`; only a \
         refresh, with the same members and threshold, goes without"
    )]
    NotConvened {
        /// The plan.
        plan: alloy::primitives::B256,
    },
}

impl PlanRefusal {
    /// Who has to act.
    pub fn fault(&self) -> Fault {
        match self {
            // What this node has not seen yet it may see in the next block.
            Self::Chain(_)
            | Self::NotConvened { .. }
            | Self::NotAccepted(_)
            | Self::Renewing { .. } => Fault::Peer,
            _ => Fault::Requester,
        }
    }
}

/// Checks that a plan may be followed, by the facts of the newest finalized block.
///
/// # Errors
/// [`PlanRefusal`].
pub async fn check(chain: &Chain, view: &View, plan: &Plan) -> Result<(), PlanRefusal> {
    check_home(chain, plan)?;
    let block = &view.finalized;
    let proposal = plan.proposal();
    let accepted = chain.committee(block).await?;
    let step = proposal.epoch.checked_sub(accepted.epoch);
    if !step.is_some_and(|step| (1..=MAX_EPOCH_STEP).contains(&step)) {
        return Err(PlanRefusal::Epoch {
            epoch: proposal.epoch,
            accepted: accepted.epoch,
        });
    }
    for party in &proposal.members {
        check_member(chain, block, party).await?;
    }
    match &proposal.kind {
        // The vote on the new committee comes afterwards: there is nothing to hand on yet.
        Kind::Generate { .. } => Ok(()),
        Kind::Reshare { from, dealers, .. } => {
            check_reshare(chain, view, plan, &accepted, from, dealers).await
        }
    }
}

/// Checks that a plan is for this chain and collective.
///
/// # Errors
/// [`PlanRefusal::Elsewhere`].
pub fn check_home(chain: &Chain, plan: &Plan) -> Result<(), PlanRefusal> {
    let (proposal, deployment) = (plan.proposal(), chain.deployment());
    let home = (deployment.chain_id, deployment.nodes, deployment.collective);
    let (chain_id, registry, collective) = (
        proposal.chain_id,
        proposal.node_registry,
        proposal.collective,
    );
    if (chain_id, registry, collective) == home {
        return Ok(());
    }
    Err(PlanRefusal::Elsewhere {
        chain_id,
        registry,
        collective,
    })
}

async fn check_member(chain: &Chain, block: &BlockRef, party: &Party) -> Result<(), PlanRefusal> {
    let node = chain.node(block, party.node).await?;
    let accepted = chain.accepted_keys(block, party.node).await?;
    let in_service = !node.retired && node.roles & ROLE_KEYHOLDER != 0;
    if !in_service || accepted != node.keys_hash(party.node) {
        return Err(PlanRefusal::NotAccepted(party.node));
    }
    let recipient = BlobId::of(party.recipient.to_string().as_bytes());
    if (party.signer, recipient) == (node.signer, node.recipient) {
        Ok(())
    } else {
        Err(PlanRefusal::AnotherKey(party.node))
    }
}

async fn check_reshare(
    chain: &Chain,
    view: &View,
    plan: &Plan,
    accepted: &CommitteeFact,
    from: &ShareCertificate,
    dealers: &[Dealer],
) -> Result<(), PlanRefusal> {
    let block = &view.finalized;
    if let Some(renewal) = view.epochs.renewal()
        && block.time < renewal.until
    {
        let until = renewal.until;
        return Err(PlanRefusal::Renewing { until });
    }
    let count = view.anchored().len();
    if plan.makes_ml_kem_key() && count > MAX_TO_RENEW {
        return Err(PlanRefusal::TooManyToWrap(count));
    }
    if !accepted.is_shared_by(from) {
        return Err(PlanRefusal::AnotherCommittee(accepted.epoch));
    }
    let members = chain.members(block, accepted).await?;
    for dealer in dealers {
        let is = members.iter().any(|fact| {
            (fact.member, fact.id, fact.node.signer) == (dealer.number, dealer.node, dealer.signer)
        });
        if !is {
            return Err(PlanRefusal::NotTheDealer {
                node: dealer.node,
                number: dealer.number.number(),
            });
        }
    }
    let proposal = plan.proposal();
    let planned = proposal.members.iter().map(|party| party.node);
    let refresh =
        proposal.threshold == accepted.threshold && planned.eq(members.iter().map(|fact| fact.id));
    let CeremonyId(id) = plan.id();
    if refresh || chain.convened(block).await? == Some(plan.id()) {
        Ok(())
    } else {
        Err(PlanRefusal::NotConvened { plan: id })
    }
}
