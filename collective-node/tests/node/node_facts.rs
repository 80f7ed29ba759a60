//! What NodeRegistry's storage and log say about nodes and committees, on a chain of its own.

use alloy::primitives::{Address, B256, Bytes};
use alloy::providers::DynProvider;
use alloy::signers::SignerSync;
use collective::committee::{self, ShareCertificate};
use collective::id::{BlobId, KeysHash, NodeId, TransportPin};
use collective::receipt::CommitteeStatement;
use collective::seal::tagged::TaggedIdentity;
use collective_contracts::NodeRegistry::{self, NodeKeys, NodeRegistryInstance};
use collective_node::chain::facts::{Announcement, CommitteeFact, ROLE_COMPUTE, ROLE_KEYHOLDER};
use collective_node::chain::{Chain, ChainError, Deployment};
use devchain::{Config, DevChain, dev_accounts};

const THRESHOLD: u16 = 2;

/// Dev account 0 is the collective, 1 to 3 operate a node each, whose signers are 4 to 6.
struct World {
    dev: DevChain,
    registry: Address,
    chain: Chain,
    certificate: ShareCertificate,
    holders: Vec<NodeId>,
}

impl World {
    async fn new() -> Self {
        let dev = DevChain::new(Config::repeatable());
        let provider = dev.wallet(dev_accounts()[0].clone());
        let chain_id = devchain::DEV_CHAIN_ID;
        let registry = NodeRegistry::deploy(provider).await.expect("a registry");
        let registry = *registry.address();
        let identity = TaggedIdentity::random(&mut rand::rng());
        let shares = committee::split(identity, 1, THRESHOLD, 3, &mut rand::rng());
        let certificate = shares.expect("a dealing")[0].certificate().clone();
        let deployment = deployment(chain_id, registry);
        let chain = Chain::reader(dev.client(), deployment).await;
        let mut world = Self {
            dev,
            registry,
            chain: chain.expect("a reader"),
            certificate,
            holders: Vec::new(),
        };
        for holder in 0..3 {
            let id = world.register(holder).await;
            world.holders.push(id);
        }
        world
    }

    fn registry(&self, account: usize) -> NodeRegistryInstance<DynProvider> {
        let provider = self.dev.wallet(dev_accounts()[account].clone());
        NodeRegistry::new(self.registry, provider)
    }

    async fn register(&self, holder: usize) -> NodeId {
        let registry = self.registry(1 + holder);
        let keys = keys(holder);
        let call = registry.register(B256::ZERO, keys, recipient(holder), endpoint(holder));
        let id = call.call().await.expect("an id");
        mined(call.send().await).await;
        NodeId(id)
    }

    async fn accept(&self, node: NodeId) {
        let registry = self.registry(0);
        let hash = registry.keysHash(node.0).call().await.expect("a hash");
        mined(registry.accept(node.0, hash).send().await).await;
    }

    /// Publishes and accepts the committee of all three as `epoch`; returns what the members signed.
    async fn install(&self, epoch: u64) -> CommitteeStatement {
        let recipient = self.certificate.recipient().to_string();
        let statement = CommitteeStatement {
            collective: dev_accounts()[0].address(),
            epoch,
            threshold: THRESHOLD,
            sender_proof: true,
            recipient: BlobId::of(recipient.as_bytes()),
            certificate: self.certificate.digest(),
            members: self.holders.clone(),
        };
        let digest = statement.signing_hash(devchain::DEV_CHAIN_ID, self.registry);
        let signed = |holder: usize| {
            let signature = dev_accounts()[4 + holder].sign_hash_sync(&digest);
            Bytes::copy_from_slice(&signature.expect("a signature").as_bytes())
        };
        let committee = NodeRegistry::Committee {
            epoch,
            threshold: statement.threshold,
            senderProof: statement.sender_proof,
            recipient: statement.recipient.0,
            certificate: statement.certificate.0,
            members: self.holders.iter().map(|id| id.0).collect(),
        };
        let signatures = (0..3).map(signed).collect();
        let registry = self.registry(0);
        let call =
            registry.publishCommittee(statement.collective, committee, recipient, signatures);
        mined(call.send().await).await;
        let call = registry.acceptCommittee(statement.struct_hash());
        mined(call.send().await).await;
        statement
    }

    async fn committee(&self) -> CommitteeFact {
        let latest = self.chain.latest().await.expect("a block");
        self.chain.committee(&latest).await.expect("a committee")
    }
}

fn deployment(chain_id: u64, nodes: Address) -> Deployment {
    Deployment {
        chain_id,
        collective: dev_accounts()[0].address(),
        governor: Address::ZERO,
        membership: Address::ZERO,
        contributions: Address::ZERO,
        code: Address::ZERO,
        nodes,
        escrow: Address::ZERO,
        liveness: Address::ZERO,
        rewards: Address::ZERO,
        token: Address::ZERO,
        first_block: 0,
    }
}

fn recipient(holder: usize) -> String {
    format!("age1holder{holder}")
}

fn endpoint(holder: usize) -> String {
    format!("127.0.0.1:{}", 7_000 + holder)
}

fn keys(holder: usize) -> NodeKeys {
    NodeKeys {
        signer: dev_accounts()[4 + holder].address(),
        recipient: BlobId::of(recipient(holder).as_bytes()).0,
        roles: ROLE_KEYHOLDER,
        measurement: B256::with_last_byte(9),
        transport: TransportPin::of(recipient(holder).as_bytes()).0,
    }
}

async fn mined(
    sent: Result<
        alloy::providers::PendingTransactionBuilder<alloy::network::Ethereum>,
        alloy::contract::Error,
    >,
) {
    let sent = sent.map_err(ChainError::from).expect("no refusal");
    Chain::mined(sent).await.expect("mined");
}

#[tokio::test]
async fn a_committee_is_read_as_it_was_published() {
    let world = World::new().await;
    let statement = world.install(1).await;
    let fact = world.committee().await;
    let expected = CommitteeFact {
        hash: statement.struct_hash(),
        epoch: 1,
        threshold: THRESHOLD,
        sender_proof: true,
        recipient: statement.recipient,
        certificate: statement.certificate,
        size: 3,
    };
    assert_eq!(fact, expected);
    let latest = world.chain.latest().await.expect("a block");

    let members = world.chain.members(&latest, &fact).await.expect("members");
    assert_eq!(members.len(), 3);
    for (holder, member) in members.iter().enumerate() {
        let keys = keys(holder);
        assert_eq!(usize::from(member.member.number()), holder + 1);
        assert_eq!(member.id, world.holders[holder]);
        assert_eq!(member.signer, keys.signer);
        assert_eq!(member.node.operator, dev_accounts()[1 + holder].address());
        assert_eq!(member.node.signer, keys.signer);
        assert_eq!(member.node.recipient, BlobId(keys.recipient));
        assert_eq!(member.node.roles, ROLE_KEYHOLDER);
        assert_eq!(member.node.measurement, keys.measurement);
        assert_eq!(member.node.transport, TransportPin(keys.transport));
        assert!(!member.node.retired);
        // The contract computes the same hash of the same keys.
        let hash = world.registry(0).keysHash(member.id.0).call().await;
        assert_eq!(member.node.keys_hash(member.id).0, hash.expect("a hash"));
        let node = world.chain.node(&latest, member.id).await.expect("a node");
        assert_eq!(node, member.node);
    }
}

#[tokio::test]
async fn a_member_is_accepted_with_the_keys_that_were_voted_on_only() {
    let world = World::new().await;
    world.install(1).await;
    let fact = world.committee().await;
    for &holder in &world.holders[..2] {
        world.accept(holder).await;
    }
    let accepted = async || {
        let latest = world.chain.latest().await.expect("a block");
        let members = world.chain.members(&latest, &fact).await.expect("members");
        let accepted: Vec<bool> = members.iter().map(|member| member.is_accepted()).collect();
        (latest, members, accepted)
    };
    let (before, _, holds) = accepted().await;
    assert_eq!(holds, [true, true, false], "nobody voted on the third");

    // The first shows another key in TLS from now on and signs with another; the second retires.
    let rotated = NodeKeys {
        signer: dev_accounts()[7].address(),
        transport: B256::repeat_byte(1),
        ..keys(0)
    };
    let registry = world.registry(1);
    let call = registry.rotate(
        world.holders[0].0,
        rotated,
        recipient(0),
        "127.0.0.1:9".into(),
    );
    mined(call.send().await).await;
    let call = world.registry(2);
    mined(call.retire(world.holders[1].0).send().await).await;
    let (latest, members, holds) = accepted().await;
    assert_eq!(holds, [false, false, false]);
    assert_eq!(
        members[0].node.transport,
        TransportPin(B256::repeat_byte(1))
    );
    assert_eq!(
        members[0].signer,
        keys(0).signer,
        "frozen with the committee"
    );
    assert!(members[1].node.retired);
    assert_eq!(
        members[1].node.keys_hash(members[1].id),
        KeysHash(B256::ZERO)
    );

    // Each block keeps what it said.
    let then = world.chain.members(&before, &fact).await.expect("members");
    assert_eq!(then[0].node.transport, TransportPin(keys(0).transport));
    assert!(then[0].is_accepted() && then[1].is_accepted());
    let said = |block, member: usize| {
        let (id, node) = (members[member].id, members[member].node);
        let chain = world.chain.clone();
        async move { chain.announcement(&block, id, &node).await.expect("logs") }
    };
    let at = |endpoint: String, holder| {
        let recipient = recipient(holder);
        Some(Announcement {
            recipient,
            endpoint,
        })
    };
    assert_eq!(said(before, 0).await, at(endpoint(0), 0));
    assert_eq!(said(latest, 0).await, at("127.0.0.1:9".into(), 0));
    assert_eq!(said(latest, 2).await, at(endpoint(2), 2));
}

#[tokio::test]
async fn strings_of_the_log_count_with_the_proven_digest_only() {
    let world = World::new().await;
    world.install(1).await;
    let latest = world.chain.latest().await.expect("a block");
    let fact = world.committee().await;
    let members = world.chain.members(&latest, &fact).await.expect("members");
    let mut node = members[0].node;
    node.recipient = BlobId::of(b"age1another");
    let said = world.chain.announcement(&latest, members[0].id, &node);
    assert_eq!(said.await.expect("logs"), None);
}

#[tokio::test]
async fn a_committee_shares_by_the_certificate_that_says_the_same() {
    let world = World::new().await;
    world.install(1).await;
    let fact = world.committee().await;
    let certificate = &world.certificate;
    assert!(fact.is_shared_by(certificate));
    let other = BlobId::of(b"another");
    for altered in [
        CommitteeFact { epoch: 2, ..fact },
        CommitteeFact {
            threshold: 3,
            ..fact
        },
        CommitteeFact { size: 2, ..fact },
        CommitteeFact {
            recipient: other,
            ..fact
        },
        CommitteeFact {
            certificate: other,
            ..fact
        },
    ] {
        assert!(!altered.is_shared_by(certificate), "{altered:?}");
    }
}

#[tokio::test]
async fn past_epochs_stay_and_none_is_all_zero() {
    let world = World::new().await;
    let none = world.committee().await;
    assert_eq!((none.epoch, none.threshold, none.size), (0, 0, 0));
    let latest = world.chain.latest().await.expect("a block");
    let nobody = world.chain.members(&latest, &none).await.expect("members");
    assert_eq!(nobody, []);
    let stranger = world.chain.node(&latest, NodeId(B256::ZERO)).await;
    let stranger = stranger.expect("a node that is none");
    assert_eq!(
        (stranger.operator, stranger.roles & ROLE_COMPUTE),
        (Address::ZERO, 0)
    );

    let first = world.install(1).await;
    let second = world.install(5).await;
    assert_eq!(world.committee().await.hash, second.struct_hash());
    let latest = world.chain.latest().await.expect("a block");
    for (epoch, hash) in [
        (1, first.struct_hash()),
        (5, second.struct_hash()),
        (2, B256::ZERO),
    ] {
        let fact = world.chain.committee_of(&latest, epoch).await;
        let fact = fact.expect("a committee");
        assert_eq!(fact.hash, hash);
        assert_eq!(fact.epoch, if hash.is_zero() { 0 } else { epoch });
    }
}
