//! A node enters NodeRegistry: its keys, the committee of one that it is, its bond. Whether a collective
//! accepts them is decided by vote.

use alloy::primitives::{Address, B256, Bytes as CallData, U256, keccak256};
use alloy::providers::DynProvider;
use alloy::sol_types::SolValue;
use anyhow::{Context, Result, ensure};
use collective::id::{BlobId, KeysHash, NodeId};
use collective::receipt::CommitteeStatement;

use crate::chain::{Chain, Deployment};
use crate::keystore::Keystore;
use collective_contracts::{DemoToken, JobEscrow, NodeRegistry};

/// An operator's first node. The account of its keys operates one node only.
const SALT: B256 = B256::ZERO;

/// The node that these keys register.
pub fn node_id(keys: &Keystore) -> NodeId {
    NodeId(keccak256((keys.address(), SALT).abi_encode()))
}

/// The node's keys as NodeRegistry takes them: it computes and holds the key.
pub fn node_keys(keys: &Keystore) -> NodeRegistry::NodeKeys {
    let recipient = keys.node_recipient().to_string();
    NodeRegistry::NodeKeys {
        signer: keys.address(),
        recipient: BlobId::of(recipient.as_bytes()).0,
        roles: 0b11,
        measurement: B256::ZERO,
        transport: keys.transport_key().pin().0,
    }
}

/// Registers the node, unless it is registered with these keys already; says what members accept.
///
/// # Errors
/// Where it is registered with other keys, or the chain refuses.
pub async fn register(
    by: &DynProvider,
    deployment: &Deployment,
    keys: &Keystore,
    endpoint: &str,
) -> Result<KeysHash> {
    let registry = NodeRegistry::new(deployment.nodes, by);
    let (id, mine) = (node_id(keys), node_keys(keys));
    let known = registry.node(id.0).call().await?;
    if known.operator == Address::ZERO {
        let recipient = keys.node_recipient().to_string();
        let call = registry.register(SALT, mine, recipient, endpoint.to_owned());
        Chain::mined(call.send().await?).await?;
    } else {
        ensure!(
            known.keys == mine && !known.retired,
            "node {id} is retired, or registered with other keys than these"
        );
    }
    Ok(KeysHash(registry.keysHash(id.0).call().await?))
}

/// Publishes the node as a committee of one, unless it is published already; says the hash that members
/// accept.
///
/// # Errors
/// What the chain refuses.
pub async fn publish_committee(
    by: &DynProvider,
    deployment: &Deployment,
    keys: &Keystore,
    epoch: u64,
    sender_proof: bool,
) -> Result<B256> {
    let registry = NodeRegistry::new(deployment.nodes, by);
    let share = keys.shares().newest();
    let share =
        share.context("these keys hold no share: make them with `collective key new node`")?;
    let certificate = share.certificate();
    ensure!(
        certificate.size() == 1,
        "the share is one of {}: a committee is published by `collective committee new`",
        certificate.size()
    );
    let recipient = certificate.recipient().to_string();
    let statement = CommitteeStatement {
        collective: deployment.collective,
        epoch,
        threshold: 1,
        sender_proof,
        recipient: BlobId::of(recipient.as_bytes()),
        certificate: certificate.digest(),
        members: vec![node_id(keys)],
    };
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
        members: vec![node_id(keys).0],
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
/// What token or escrow refuse.
pub async fn deposit_bond(
    by: &DynProvider,
    deployment: &Deployment,
    node: NodeId,
    amount: U256,
) -> Result<()> {
    let token = DemoToken::new(deployment.token, by);
    Chain::mined(token.approve(deployment.escrow, amount).send().await?).await?;
    let escrow = JobEscrow::new(deployment.escrow, by);
    let call = escrow.depositBond(node.0, deployment.token, amount);
    Chain::mined(call.send().await?).await?;
    Ok(())
}
