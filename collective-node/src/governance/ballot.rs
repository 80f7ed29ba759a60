//! Votes and delegations: sent from the member's own account, or signed by it and relayed by a node that
//! pays the gas.

use alloy::primitives::{Address, B256, Bytes, Signature, U256};
use alloy::providers::DynProvider;
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::{SolStruct, eip712_domain};
use serde::{Deserialize, Serialize};

use crate::chain::{Chain, ChainError, Deployment};
use collective_contracts::CollectiveGovernor;

/// A member's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ballot {
    /// No.
    Against,
    /// Yes.
    For,
    /// Counts for the quorum only.
    Abstain,
}

impl Ballot {
    /// `support` in OpenZeppelin's `GovernorCountingSimple`.
    pub fn support(self) -> u8 {
        match self {
            Self::Against => 0,
            Self::For => 1,
            Self::Abstain => 2,
        }
    }
}

impl std::fmt::Display for Ballot {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str(match self {
            Self::Against => "against",
            Self::For => "for",
            Self::Abstain => "abstain",
        })
    }
}

/// Votes from the member's own account; says the gas.
///
/// # Errors
/// [`ChainError`], for instance when the vote is not open.
pub async fn vote(
    by: &DynProvider,
    deployment: &Deployment,
    proposal: U256,
    ballot: Ballot,
) -> Result<u64, ChainError> {
    let governor = CollectiveGovernor::new(deployment.governor, by);
    let call = governor.castVote(proposal, ballot.support());
    Ok(Chain::mined(call.send().await?).await?.gas_used)
}

/// A signed vote: `Ballot(proposalId, support, voter, nonce)` (EIP-712, CollectiveGovernor). The
/// nonce is the Governor's for this voter; it is in the signature alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedBallot {
    /// What is voted on.
    pub proposal: U256,
    /// The member's word.
    pub ballot: Ballot,
    /// Whose word.
    pub voter: Address,
    /// 65 bytes.
    pub signature: Bytes,
}

impl SignedBallot {
    /// Signs a vote. `nonce` is the Governor's `nonces(voter)`.
    pub fn sign(
        deployment: &Deployment,
        account: &PrivateKeySigner,
        proposal: U256,
        ballot: Ballot,
        nonce: u64,
    ) -> Self {
        let mut unsigned = Self {
            proposal,
            ballot,
            voter: account.address(),
            signature: Bytes::new(),
        };
        unsigned.signature = signature(account, unsigned.digest(deployment, nonce));
        unsigned
    }

    /// Whether the voter's own key signed exactly this under this nonce.
    pub fn is_the_voters(&self, deployment: &Deployment, nonce: u64) -> bool {
        is_of(&self.signature, self.digest(deployment, nonce), self.voter)
    }

    fn digest(&self, deployment: &Deployment, nonce: u64) -> B256 {
        let domain = eip712_domain! {
            name: "CollectiveGovernor",
            version: "1",
            chain_id: deployment.chain_id,
            verifying_contract: deployment.governor,
        };
        let typed = typed::Ballot {
            proposalId: self.proposal,
            support: self.ballot.support(),
            voter: self.voter,
            nonce: U256::from(nonce),
        };
        typed.eip712_signing_hash(&domain)
    }
}

/// A signed delegation: `Delegation(delegatee, nonce, expiry)` (EIP-712, Membership; the domain's name
/// is the collective's own).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedDelegation {
    /// Whose votes.
    pub member: Address,
    /// Who casts them from now on; the member's own address takes them back.
    pub delegate: Address,
    /// Membership's `nonces(member)`.
    pub nonce: u64,
    /// Unix seconds after which the signature is worth nothing.
    pub expiry: u64,
    /// 65 bytes.
    pub signature: Bytes,
}

impl SignedDelegation {
    /// Signs a delegation. `name` is Membership's `name()`, `nonce` its `nonces(member)`.
    pub fn sign(
        deployment: &Deployment,
        name: &str,
        account: &PrivateKeySigner,
        delegate: Address,
        nonce: u64,
        expiry: u64,
    ) -> Self {
        let mut unsigned = Self {
            member: account.address(),
            delegate,
            nonce,
            expiry,
            signature: Bytes::new(),
        };
        unsigned.signature = signature(account, unsigned.digest(deployment, name));
        unsigned
    }

    /// Whether the member signed exactly this.
    pub fn is_the_members(&self, deployment: &Deployment, name: &str) -> bool {
        is_of(&self.signature, self.digest(deployment, name), self.member)
    }

    fn digest(&self, deployment: &Deployment, name: &str) -> B256 {
        let domain = eip712_domain! {
            name: name.to_owned(),
            version: "1",
            chain_id: deployment.chain_id,
            verifying_contract: deployment.membership,
        };
        let typed = typed::Delegation {
            delegatee: self.delegate,
            nonce: U256::from(self.nonce),
            expiry: U256::from(self.expiry),
        };
        typed.eip712_signing_hash(&domain)
    }
}

fn signature(account: &PrivateKeySigner, digest: B256) -> Bytes {
    let signature = account
        .sign_hash_sync(&digest)
        .expect("a local key signs any digest");
    signature.as_bytes().into()
}

/// Whether an account's own key signed, in the one form that contracts take (EIP-2, and a last byte of 27 or 28): for another they
/// would ask the account's code.
pub(crate) fn is_of(bytes: &[u8], digest: B256, account: Address) -> bool {
    let (Ok(signature), [.., 27 | 28]) = (Signature::try_from(bytes), bytes) else {
        return false;
    };
    let signer = signature.recover_address_from_prehash(&digest);
    signature.normalize_s().is_none() && signer.is_ok_and(|signer| signer == account)
}

mod typed {
    alloy::sol! {
        struct Ballot { uint256 proposalId; uint8 support; address voter; uint256 nonce; }
        struct Delegation { address delegatee; uint256 nonce; uint256 expiry; }
    }
}
