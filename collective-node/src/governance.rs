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
use collective_contracts::{
    CodeRegistry, CollectiveGovernor, ContributionRegistry, LivenessRegistry, NodeRegistry,
};

pub(crate) use ballot::is_of;
pub use ballot::{Ballot, SignedBallot, SignedDelegation, vote};
pub use proposal::{Proposal, ProposalError, Standing, State};
pub(crate) use words::percent;

mod ballot;
mod proposal;
mod words;

/// One call that the collective makes when a proposal executes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    target: Address,
    /// Wei; nothing that a collective decides here sends any.
    value: U256,
    call: Bytes,
}

impl Action {
    fn call(target: Address, call: &impl SolCall) -> Self {
        Self {
            target,
            value: U256::ZERO,
            call: call.abi_encode().into(),
        }
    }

    /// Approves a manifest under its own terms; `uri` says where its bytes are.
    pub fn approve(deployment: &Deployment, manifest: &Manifest, uri: String) -> Self {
        let call = CodeRegistry::approveCall {
            manifest: manifest.digest().0,
            terms: stored_terms(&ApprovedTerms::of(manifest)),
            uri,
        };
        Self::call(deployment.code, &call)
    }

    /// Revokes an approval for ever.
    pub fn revoke(deployment: &Deployment, manifest: ManifestDigest) -> Self {
        let call = CodeRegistry::revokeCall {
            manifest: manifest.0,
        };
        Self::call(deployment.code, &call)
    }

    /// Lets this account veto proposals until they are executed, and revoke programs; it can do nothing else. The zero
    /// address is nobody.
    pub fn guard(deployment: &Deployment, guardian: Address) -> [Self; 2] {
        let veto = CollectiveGovernor::setProposalGuardianCall {
            newProposalGuardian: guardian,
        };
        let revoke = CodeRegistry::setGuardianCall {
            guardian_: guardian,
        };
        [
            Self::call(deployment.governor, &veto),
            Self::call(deployment.code, &revoke),
        ]
    }

    /// Has this account say each day what is reachable, for `pay` a day from what the liveness pool has, to all whom it says it
    /// of together; the zero address is nobody.
    pub fn set_wage(deployment: &Deployment, auditor: Address, pay: U256) -> Self {
        let call = LivenessRegistry::setWageCall {
            wage_: LivenessRegistry::Wage {
                auditor,
                token: deployment.token,
                pay,
            },
        };
        Self::call(deployment.liveness, &call)
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
        Self::call(deployment.contributions, &call)
    }

    /// Accepts a node with exactly these keys.
    pub fn accept_node(deployment: &Deployment, node: NodeId, keys: KeysHash) -> Self {
        let call = NodeRegistry::acceptCall {
            id: node.0,
            keysHash_: keys.0,
        };
        Self::call(deployment.nodes, &call)
    }

    /// Takes back the acceptance of a node, whatever its keys are.
    pub fn reject_node(deployment: &Deployment, node: NodeId) -> Self {
        let call = NodeRegistry::rejectCall { id: node.0 };
        Self::call(deployment.nodes, &call)
    }

    /// Lets the committee deal its key to the members of this plan.
    pub fn convene(deployment: &Deployment, plan: CeremonyId) -> Self {
        let call = NodeRegistry::conveneCall { plan: plan.0 };
        Self::call(deployment.nodes, &call)
    }

    /// Accepts a published committee.
    pub fn accept_committee(deployment: &Deployment, hash: B256) -> Self {
        let call = NodeRegistry::acceptCommitteeCall { hash };
        Self::call(deployment.nodes, &call)
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
        let values = self.actions.iter().map(|action| action.value).collect();
        (targets, values, calls)
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

    /// Stops a proposal for good before it is executed; says the gas. The guardian can, and where there is
    /// none, who opened it.
    ///
    /// # Errors
    /// [`ChainError`], for instance for anybody else.
    pub async fn veto(&self, by: &DynProvider, deployment: &Deployment) -> Result<u64, ChainError> {
        let governor = CollectiveGovernor::new(deployment.governor, by);
        let (targets, values, calls) = self.parts();
        let call = governor.cancel(targets, values, calls, self.description_hash());
        Ok(Chain::mined(call.send().await?).await?.gas_used)
    }
}
