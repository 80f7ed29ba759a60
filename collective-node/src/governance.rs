//! Proposals, votes and their execution through CollectiveGovernor and its timelock.

use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use alloy::providers::DynProvider;
use alloy::sol_types::SolCall;
use collective::admission::{Admission, AdmissionList};
use collective::approval::Manifest;
use collective::charter::Charter;
use collective::committee::ceremony::CeremonyId;
use collective::id::{KeysHash, ManifestDigest, NodeId};
use collective::permit::ApprovedTerms;

use crate::chain::{Chain, ChainError, Deployment};
use crate::driver::stored_terms;
use collective_contracts::{CodeRegistry, CollectiveGovernor, ContributionRegistry, NodeRegistry};

/// One call that the collective makes when a proposal executes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    target: Address,
    call: Bytes,
}

impl Action {
    /// Approves a manifest under its own terms; `uri` says where its bytes are.
    pub fn approve(deployment: &Deployment, manifest: &Manifest, uri: String) -> Self {
        let call = CodeRegistry::approveCall {
            manifest: manifest.digest().0,
            terms: stored_terms(&ApprovedTerms::of(manifest)),
            uri,
        };
        Self {
            target: deployment.code,
            call: call.abi_encode().into(),
        }
    }

    /// Revokes an approval for ever.
    pub fn revoke(deployment: &Deployment, manifest: ManifestDigest) -> Self {
        let call = CodeRegistry::revokeCall {
            manifest: manifest.0,
        };
        Self {
            target: deployment.code,
            call: call.abi_encode().into(),
        }
    }

    /// Sets the charter and with it who is admitted.
    pub fn admit(deployment: &Deployment, charter: &Charter) -> Self {
        let root = match &charter.admission {
            Some(list) => AdmissionList::root(list),
            None => B256::repeat_byte(0xff),
        };
        debug_assert!(!matches!(Admission::from(root), Admission::Closed));
        let call = ContributionRegistry::setAdmissionCall {
            root,
            manifest: charter.digest().0,
        };
        Self {
            target: deployment.contributions,
            call: call.abi_encode().into(),
        }
    }

    /// Accepts a node with exactly these keys.
    pub fn accept_node(deployment: &Deployment, node: NodeId, keys: KeysHash) -> Self {
        let call = NodeRegistry::acceptCall {
            id: node.0,
            keysHash_: keys.0,
        };
        Self {
            target: deployment.nodes,
            call: call.abi_encode().into(),
        }
    }

    /// Takes back the acceptance of a node, whatever its keys are.
    pub fn reject_node(deployment: &Deployment, node: NodeId) -> Self {
        let call = NodeRegistry::rejectCall { id: node.0 };
        Self {
            target: deployment.nodes,
            call: call.abi_encode().into(),
        }
    }

    /// Lets the committee deal its key to the members of this plan.
    pub fn convene(deployment: &Deployment, plan: CeremonyId) -> Self {
        let call = NodeRegistry::conveneCall { plan: plan.0 };
        Self {
            target: deployment.nodes,
            call: call.abi_encode().into(),
        }
    }

    /// Accepts a published committee.
    pub fn accept_committee(deployment: &Deployment, hash: B256) -> Self {
        let call = NodeRegistry::acceptCommitteeCall { hash };
        Self {
            target: deployment.nodes,
            call: call.abi_encode().into(),
        }
    }
}

/// What is voted on: actions and the text beside them. The text is part of the proposal's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Motion {
    /// Calls, all of them or none.
    pub actions: Vec<Action>,
    /// For people; nothing is derived from it.
    pub description: String,
}

impl Motion {
    fn parts(&self) -> (Vec<Address>, Vec<U256>, Vec<Bytes>) {
        let targets = self.actions.iter().map(|action| action.target).collect();
        let calls = self
            .actions
            .iter()
            .map(|action| action.call.clone())
            .collect();
        (targets, vec![U256::ZERO; self.actions.len()], calls)
    }

    fn description_hash(&self) -> B256 {
        keccak256(self.description.as_bytes())
    }

    /// Opens the proposal and says its id.
    ///
    /// # Errors
    /// [`ChainError`], for instance when the account has no vote.
    pub async fn propose(
        &self,
        by: &DynProvider,
        deployment: &Deployment,
    ) -> Result<U256, ChainError> {
        let governor = CollectiveGovernor::new(deployment.governor, by);
        let (targets, values, calls) = self.parts();
        let call = governor.propose(targets, values, calls, self.description.clone());
        let id = call.call().await?;
        Chain::mined(call.send().await?).await?;
        Ok(id)
    }

    /// Puts a successful proposal into the timelock; says the gas.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn queue(
        &self,
        by: &DynProvider,
        deployment: &Deployment,
    ) -> Result<u64, ChainError> {
        let governor = CollectiveGovernor::new(deployment.governor, by);
        let (targets, values, calls) = self.parts();
        let call = governor.queue(targets, values, calls, self.description_hash());
        Ok(Chain::mined(call.send().await?).await?.gas_used)
    }

    /// Executes a queued proposal after its notice; says the gas.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn execute(
        &self,
        by: &DynProvider,
        deployment: &Deployment,
    ) -> Result<u64, ChainError> {
        let governor = CollectiveGovernor::new(deployment.governor, by);
        let (targets, values, calls) = self.parts();
        let call = governor.execute(targets, values, calls, self.description_hash());
        Ok(Chain::mined(call.send().await?).await?.gas_used)
    }
}

/// A member's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ballot {
    /// No.
    Against,
    /// Yes.
    For,
    /// Counts for the quorum only.
    Abstain,
}

/// Votes; says the gas.
///
/// # Errors
/// [`ChainError`], for instance when the vote is not open.
pub async fn vote(
    by: &DynProvider,
    deployment: &Deployment,
    proposal: U256,
    ballot: Ballot,
) -> Result<u64, ChainError> {
    let support = match ballot {
        Ballot::Against => 0,
        Ballot::For => 1,
        Ballot::Abstain => 2,
    };
    let governor = CollectiveGovernor::new(deployment.governor, by);
    let call = governor.castVote(proposal, support);
    Ok(Chain::mined(call.send().await?).await?.gas_used)
}
