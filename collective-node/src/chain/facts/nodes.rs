//! Nodes and committees: what NodeRegistry's storage proves, and what its log adds to that.
//!
//! Endpoints are hints: a false one leads to a node that cannot show the pinned key. Recipient strings come from the
//! log, too, and count only where they have the proven digest.

use std::ops::Range;

use alloy::primitives::{Address, B256, U256, keccak256};
use alloy::rpc::types::{Filter, Log};
use alloy::sol_types::SolEvent;
use collective::committee::ceremony::CeremonyId;
use collective::committee::released::NodeKeys;
use collective::committee::{Member, ShareCertificate};
use collective::id::{BlobId, KeysHash, NodeId, TransportPin};
use collective::limits::MAX_MEMBERS;
use collective::receipt::BlockRef;
use collective::seal::tagged::TaggedRecipient;
use collective_contracts::NodeRegistry;
use collective_contracts::NodeRegistry::NodeAccepted;

use super::{COMMITTEE_HASH, CONVENED, NODES, PUBLISHED, address, at, bits, field, low_u64};
use crate::chain::{Chain, ChainError};

/// `NodeRegistry.ROLE_COMPUTE`: runs programs.
pub const ROLE_COMPUTE: u8 = 1;

/// `NodeRegistry.ROLE_KEYHOLDER`: holds a share of a collective's key.
pub const ROLE_KEYHOLDER: u8 = 2;

/// `NodeRegistry.ROLE_HEAVY`: a requester's own machine, to which a vote may hand the data.
pub const ROLE_HEAVY: u8 = 4;

/// A node as NodeRegistry stores it; all zero if there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeFact {
    /// Who registered it, and may rotate its keys.
    pub operator: Address,
    /// Out of service for ever.
    pub retired: bool,
    /// Whose signatures are the node's.
    pub signer: Address,
    /// SHA-256 of the node's age recipient.
    pub recipient: BlobId,
    /// [`ROLE_COMPUTE`], [`ROLE_KEYHOLDER`], [`ROLE_HEAVY`].
    pub roles: u8,
    /// Digest of attested code; zero where nothing is attested.
    pub measurement: B256,
    /// The key that it shows in TLS.
    pub transport: TransportPin,
}

impl NodeFact {
    /// What a collective accepts when it accepts these keys; zero, which none accepts, once the node is retired.
    pub fn keys_hash(&self, node: NodeId) -> KeysHash {
        if self.retired {
            return KeysHash(B256::ZERO);
        }
        self.keys(node).hash()
    }

    /// What NodeRegistry hashes, whether the node is retired or not.
    pub fn keys(&self, node: NodeId) -> NodeKeys {
        NodeKeys {
            node,
            operator: self.operator,
            signer: self.signer,
            recipient: self.recipient.0,
            roles: U256::from(self.roles),
            measurement: self.measurement,
            transport: self.transport,
        }
    }
}

/// What the collective accepted about its committee; all zero if there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitteeFact {
    /// Struct hash, on which members vote.
    pub hash: B256,
    /// 0: none was accepted yet.
    pub epoch: u64,
    /// How many members open a file.
    pub threshold: u16,
    /// Whether files without sender proof are refused.
    pub sender_proof: bool,
    /// SHA-256 of the recipient string.
    pub recipient: BlobId,
    /// SHA-256 of the share certificate.
    pub certificate: BlobId,
    /// How many members there are.
    pub size: u16,
}

impl CommitteeFact {
    /// Whether only contributions with a sender proof count: always, where more than one member must agree.
    pub fn proof_required(&self) -> bool {
        self.sender_proof || self.threshold > 1
    }

    /// Whether this is the certificate that every member signed, and it says what the chain says. The contract knows its
    /// digest alone.
    pub fn is_shared_by(&self, certificate: &ShareCertificate) -> bool {
        self.certificate == certificate.digest()
            && self.recipient == BlobId::of(certificate.recipient().to_string().as_bytes())
            && self.epoch == certificate.epoch()
            && self.threshold == certificate.threshold()
            && self.size == certificate.size()
    }
}

/// One member of an accepted committee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberFact {
    /// The place of its share.
    pub member: Member,
    /// Its node.
    pub id: NodeId,
    /// Whose signature counts in a quorum of this epoch: frozen at publication, whatever the node does since.
    pub signer: Address,
    /// The node as it is now.
    pub node: NodeFact,
    /// The keys that the collective accepts of the node, or zero.
    pub accepted: KeysHash,
}

impl MemberFact {
    /// Whether the collective accepts the node with the keys that it has now.
    pub fn is_accepted(&self) -> bool {
        self.accepted.0 != B256::ZERO && self.accepted == self.node.keys_hash(self.id)
    }
}

/// What a node last said about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// Its age recipient; has the proven digest.
    pub recipient: String,
    /// Where it says that it listens; a hint.
    pub endpoint: String,
}

impl Chain {
    /// Nodes that the collective accepted in these blocks, whatever became of them since. Logs, so a hint: an endpoint that
    /// withholds one keeps it out.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn accepted_nodes(&self, from: u64, to: u64) -> Result<Vec<NodeId>, ChainError> {
        let deployment = self.deployment();
        let filter = Filter::new()
            .address(deployment.nodes)
            .event_signature(NodeAccepted::SIGNATURE_HASH)
            .topic1(deployment.collective.into_word());
        let logs = self.logs(filter, from, to).await?;
        let id = |log: &Log| log.topics().get(2).copied().map(NodeId);
        Ok(logs.iter().filter_map(id).collect())
    }

    /// A node.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn node(&self, block: &BlockRef, node: NodeId) -> Result<NodeFact, ChainError> {
        let words = self
            .fixed(block, self.deployment.nodes, node_slots(node))
            .await?;
        Ok(node_fact(words))
    }

    /// The keys of a node that the collective accepts; zero where it accepts none.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn accepted_keys(
        &self,
        block: &BlockRef,
        node: NodeId,
    ) -> Result<KeysHash, ChainError> {
        let slot = self.accepted_slot(node);
        let [accepted] = self.fixed(block, self.deployment.nodes, [slot]).await?;
        Ok(KeysHash(accepted.into()))
    }

    /// Signers of the compute nodes that the collective accepts at `block`, in the order of their acceptances. Who is there is proven;
    /// an endpoint that withholds a log keeps one out.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn compute_signers(&self, block: &BlockRef) -> Result<Vec<Address>, ChainError> {
        let first = self.deployment.first_block;
        let mut signers = vec![];
        for id in self.accepted_nodes(first, block.number).await? {
            let node = self.node(block, id).await?;
            let accepted = self.accepted_keys(block, id).await? == node.keys_hash(id);
            let is_compute = node.roles & ROLE_COMPUTE != 0 && !node.retired;
            if is_compute && accepted && !signers.contains(&node.signer) {
                signers.push(node.signer);
            }
        }
        Ok(signers)
    }

    /// A node's keys at a block, with the recipient that belongs to them.
    ///
    /// # Errors
    /// [`ChainError::NoRecipient`] while the endpoint withholds the recipient.
    pub async fn node_keys(
        &self,
        block: &BlockRef,
        node: NodeId,
    ) -> Result<(NodeKeys, TaggedRecipient), ChainError> {
        let fact = self.node(block, node).await?;
        let said = self.announcement(block, node, &fact).await?;
        let recipient = said.and_then(|said| said.recipient.parse().ok());
        let recipient = recipient.ok_or(ChainError::NoRecipient(node))?;
        Ok((fact.keys(node), recipient))
    }

    /// The committee that is accepted now.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn committee(&self, block: &BlockRef) -> Result<CommitteeFact, ChainError> {
        let [epoch] = self
            .fixed(block, self.deployment.nodes, [self.epoch_slot()])
            .await?;
        self.committee_of(block, low_u64(epoch)).await
    }

    /// The committee that was accepted as `epoch`; all zero if none was.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn committee_of(
        &self,
        block: &BlockRef,
        epoch: u64,
    ) -> Result<CommitteeFact, ChainError> {
        let nodes = self.deployment.nodes;
        let collective = self.deployment.collective.into_word();
        let slot = at(U256::from(epoch).into(), at(collective, COMMITTEE_HASH));
        let [hash] = self.fixed(block, nodes, [slot]).await?;
        // struct Published { address collective; Committee committee; address[] signers; }
        let slot = at(hash.into(), PUBLISHED);
        let [packed, recipient, certificate, size] = self
            .fixed(block, nodes, std::array::from_fn(|n| field(slot, n + 1)))
            .await?;
        Ok(CommitteeFact {
            hash: hash.into(),
            epoch: low_u64(packed),
            threshold: bits(packed, 64, 16) as u16,
            sender_proof: packed.bit(80),
            recipient: BlobId(recipient.into()),
            certificate: BlobId(certificate.into()),
            // The contract publishes none that is larger.
            size: size.saturating_to::<u16>().min(MAX_MEMBERS),
        })
    }

    /// Whether no committee was accepted as any of these epochs.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn no_committees(
        &self,
        block: &BlockRef,
        epochs: Range<u64>,
    ) -> Result<bool, ChainError> {
        if epochs.is_empty() {
            return Ok(true);
        }
        let of_epochs = at(self.deployment.collective.into_word(), COMMITTEE_HASH);
        let slots: Vec<B256> = epochs
            .map(|epoch| at(U256::from(epoch).into(), of_epochs))
            .collect();
        let words = self.words(block, self.deployment.nodes, &slots).await?;
        Ok(words.iter().all(|word| word.is_zero()))
    }

    /// The newest ceremony plan that the collective has voted for; `None` where there is none.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn convened(&self, block: &BlockRef) -> Result<Option<CeremonyId>, ChainError> {
        let slot = at(self.deployment.collective.into_word(), CONVENED);
        let [plan] = self.fixed(block, self.deployment.nodes, [slot]).await?;
        Ok((!plan.is_zero()).then(|| CeremonyId(plan.into())))
    }

    /// The members of an accepted committee, in the order of their shares, with their nodes as they are at `block`.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn members(
        &self,
        block: &BlockRef,
        committee: &CommitteeFact,
    ) -> Result<Vec<MemberFact>, ChainError> {
        let nodes = self.deployment.nodes;
        let slot = at(committee.hash, PUBLISHED);
        let size = usize::from(committee.size);
        let elements =
            |array: usize| (0..size).map(move |n| field(keccak256(field(slot, array)), n));
        let slots: Vec<B256> = elements(4).chain(elements(5)).collect();
        let words = self.words(block, nodes, &slots).await?;
        let (ids, signers) = words.split_at(size);
        let ids: Vec<NodeId> = ids.iter().map(|&id| NodeId(id.into())).collect();

        let of_node = |&id| {
            let slots = node_slots(id).into_iter();
            slots.chain([self.accepted_slot(id)])
        };
        let slots: Vec<B256> = ids.iter().flat_map(of_node).collect();
        let words = self.words(block, nodes, &slots).await?;
        let (words, _) = words.as_chunks::<{ NODE_WORDS + 1 }>();
        let members = (1..)
            .map_while(Member::new)
            .zip(&ids)
            .zip(signers)
            .zip(words);
        let fact = |(((member, &id), &signer), &words): (((_, _), _), &[U256; NODE_WORDS + 1])| {
            let [node @ .., accepted] = words;
            MemberFact {
                member,
                id,
                signer: address(signer),
                node: node_fact(node),
                accepted: KeysHash(accepted.into()),
            }
        };
        Ok(members.map(fact).collect())
    }

    /// What a node last announced, up to `block`; `None` while the endpoint withholds it. Of a node that was registered
    /// before the collective's first block nothing is seen until it rotates.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn announcement(
        &self,
        block: &BlockRef,
        id: NodeId,
        node: &NodeFact,
    ) -> Result<Option<Announcement>, ChainError> {
        let filter = Filter::new()
            .event_signature(vec![
                NodeRegistry::NodeRegistered::SIGNATURE_HASH,
                NodeRegistry::NodeRotated::SIGNATURE_HASH,
            ])
            .topic1(id.0);
        let logs = self.registry_logs(block, filter).await?;
        let mut newest_first = logs.iter().rev().filter_map(announced);
        Ok(newest_first.find(|said| BlobId::of(said.recipient.as_bytes()) == node.recipient))
    }

    /// The recipient string that a committee was published with, up to `block`; `None` while the endpoint withholds it.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn published_recipient(
        &self,
        block: &BlockRef,
        committee: &CommitteeFact,
    ) -> Result<Option<String>, ChainError> {
        let filter = Filter::new()
            .event_signature(NodeRegistry::CommitteePublished::SIGNATURE_HASH)
            .topic1(self.deployment.collective.into_word())
            .topic2(committee.hash);
        let logs = self.registry_logs(block, filter).await?;
        let said = logs.iter().filter_map(|log| {
            let event = NodeRegistry::CommitteePublished::decode_log(&log.inner).ok()?;
            Some(event.data.recipient)
        });
        let proven = |said: &String| BlobId::of(said.as_bytes()) == committee.recipient;
        Ok(said.into_iter().find(proven))
    }

    async fn registry_logs(
        &self,
        block: &BlockRef,
        filter: Filter,
    ) -> Result<Vec<Log>, ChainError> {
        let filter = filter.address(self.deployment.nodes);
        self.logs(filter, self.deployment.first_block, block.number)
            .await
    }
}

/// Words of a node: operator with `retired`, then the five of its keys.
const NODE_WORDS: usize = 6;

pub(super) fn node_slots(node: NodeId) -> [B256; NODE_WORDS] {
    let slot = at(node.0, NODES);
    std::array::from_fn(|n| field(slot, n))
}

pub(super) fn node_fact(words: [U256; NODE_WORDS]) -> NodeFact {
    let [operator, signer, recipient, roles, measurement, transport] = words;
    NodeFact {
        operator: address(operator),
        retired: operator.bit(160),
        signer: address(signer),
        recipient: BlobId(recipient.into()),
        roles: roles.byte(0),
        measurement: measurement.into(),
        transport: TransportPin(transport.into()),
    }
}

fn announced(log: &Log) -> Option<Announcement> {
    if let Ok(event) = NodeRegistry::NodeRegistered::decode_log(&log.inner) {
        let NodeRegistry::NodeRegistered {
            recipient,
            endpoint,
            ..
        } = event.data;
        return Some(Announcement {
            recipient,
            endpoint,
        });
    }
    let event = NodeRegistry::NodeRotated::decode_log(&log.inner).ok()?;
    let NodeRegistry::NodeRotated {
        recipient,
        endpoint,
        ..
    } = event.data;
    Some(Announcement {
        recipient,
        endpoint,
    })
}
