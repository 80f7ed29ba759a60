//! A node enters NodeRegistry: its keys, the committee of one that it is, its bond. Whether a collective
//! accepts them is decided by vote.

use alloy::primitives::{Address, B256, Bytes as CallData, U256, keccak256};
use alloy::providers::DynProvider;
use alloy::sol_types::SolValue;
use collective::committee::KeyShare;
use collective::id::{BlobId, KeysHash, NodeId};
use collective::receipt::CommitteeStatement;
use thiserror::Error;

use crate::chain::facts::{ROLE_COMPUTE, ROLE_KEYHOLDER};
use crate::chain::{Chain, ChainError, Deployment};
use crate::keystore::Keystore;
use collective_contracts::{DemoToken, JobEscrow, NodeRegistry};

/// A node that is a committee of one.
pub const BOTH_ROLES: u8 = ROLE_COMPUTE | ROLE_KEYHOLDER;

/// An operator's first node. The account of its keys operates one node only.
const SALT: B256 = B256::ZERO;

/// Why a node is not registered; the operator has to act.
#[derive(Debug, Error)]
pub enum RegisterError {
    /// The chain.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The operator's account has registered its node before, otherwise.
    #[error("node {0} is retired, or registered with other keys than these")]
    AnotherNode(NodeId),
}

impl From<alloy::contract::Error> for RegisterError {
    fn from(error: alloy::contract::Error) -> Self {
        Self::Chain(error.into())
    }
}

/// The node that these keys register.
pub fn node_id(keys: &Keystore) -> NodeId {
    NodeId(keccak256((keys.address(), SALT).abi_encode()))
}

/// The node's keys as NodeRegistry takes them; `roles` are bits of [`ROLE_COMPUTE`], [`ROLE_KEYHOLDER`] and
/// [`crate::chain::facts::ROLE_HEAVY`].
pub fn node_keys(keys: &Keystore, roles: u8) -> NodeRegistry::NodeKeys {
    let recipient = keys.node_recipient().to_string();
    NodeRegistry::NodeKeys {
        signer: keys.address(),
        recipient: BlobId::of(recipient.as_bytes()).0,
        roles,
        measurement: B256::ZERO,
        transport: keys.transport_key().pin().0,
    }
}

/// Registers the node, unless it is registered with these keys already; says what members accept.
///
/// # Errors
/// [`RegisterError`].
pub async fn register(
    by: &DynProvider,
    deployment: &Deployment,
    keys: &Keystore,
    roles: u8,
    endpoint: &str,
) -> Result<KeysHash, RegisterError> {
    let registry = NodeRegistry::new(deployment.nodes, by);
    let (id, mine) = (node_id(keys), node_keys(keys, roles));
    let known = registry.node(id.0).call().await?;
    if known.operator == Address::ZERO {
        let recipient = keys.node_recipient().to_string();
        let call = registry.register(SALT, mine, recipient, endpoint.to_owned());
        Chain::mined(call.send().await?).await?;
    } else if known.keys != mine || known.retired {
        return Err(RegisterError::AnotherNode(id));
    }
    Ok(KeysHash(registry.keysHash(id.0).call().await?))
}

/// Announces where others reach a registered node, unless that is what it announced last. Its keys stay as they are, and
/// so does what members accepted.
///
/// # Errors
/// [`RegisterError`].
pub async fn announce(chain: &Chain, keys: &Keystore, endpoint: &str) -> Result<(), RegisterError> {
    let (id, block) = (node_id(keys), chain.latest().await?);
    let fact = chain.node(&block, id).await?;
    let said = chain.announcement(&block, id, &fact).await?;
    if said.is_some_and(|said| said.endpoint == endpoint) {
        return Ok(());
    }
    let registry = NodeRegistry::new(chain.deployment().nodes, chain.provider());
    let (mine, recipient) = (
        node_keys(keys, fact.roles),
        keys.node_recipient().to_string(),
    );
    let call = registry.rotate(id.0, mine, recipient, endpoint.to_owned());
    Chain::mined(call.send().await?).await?;
    Ok(())
}

/// The committee that consists of this node.
pub fn committee_of_one(
    deployment: &Deployment,
    keys: &Keystore,
    sender_proof: bool,
    share: &KeyShare,
) -> CommitteeStatement {
    let certificate = share.certificate();
    CommitteeStatement {
        collective: deployment.collective,
        epoch: certificate.epoch(),
        threshold: 1,
        sender_proof,
        recipient: BlobId::of(certificate.recipient().to_string().as_bytes()),
        certificate: certificate.digest(),
        members: vec![node_id(keys)],
    }
}

/// Publishes the node as a committee of one, unless it is published already; says the hash that members
/// accept.
///
/// # Errors
/// [`ChainError`].
pub async fn publish_committee(
    by: &DynProvider,
    deployment: &Deployment,
    keys: &Keystore,
    sender_proof: bool,
    share: &KeyShare,
) -> Result<B256, ChainError> {
    let registry = NodeRegistry::new(deployment.nodes, by);
    let recipient = share.certificate().recipient().to_string();
    let statement = committee_of_one(deployment, keys, sender_proof, share);
    let hash = statement.struct_hash();
    if !registry.published(hash).call().await?.signers.is_empty() {
        return Ok(hash);
    }
    let digest = statement.signing_hash(deployment.chain_id, deployment.nodes);
    let signature = CallData::copy_from_slice(&keys.sign(digest).as_bytes());
    let committee = NodeRegistry::Committee {
        epoch: statement.epoch,
        threshold: statement.threshold,
        senderProof: statement.sender_proof,
        recipient: statement.recipient.0,
        certificate: statement.certificate.0,
        members: statement.members.iter().map(|member| member.0).collect(),
    };
    let call =
        registry.publishCommittee(deployment.collective, committee, recipient, vec![signature]);
    Chain::mined(call.send().await?).await?;
    Ok(hash)
}

/// Locks up `amount` of the collective's token, in its smallest unit, as the node's bond. Anybody may; only
/// the operator takes it back.
///
/// # Errors
/// [`ChainError::Reverted`] with what token or escrow refuse.
pub async fn deposit_bond(
    by: &DynProvider,
    deployment: &Deployment,
    node: NodeId,
    amount: U256,
) -> Result<(), ChainError> {
    let token = DemoToken::new(deployment.token, by);
    Chain::mined(token.approve(deployment.escrow, amount).send().await?).await?;
    let escrow = JobEscrow::new(deployment.escrow, by);
    let call = escrow.depositBond(node.0, deployment.token, amount);
    Chain::mined(call.send().await?).await?;
    Ok(())
}
