//! Nodes with keys, stores and seeds, and what tests do to them.
#![allow(
    dead_code,
    reason = "every test that includes this module uses its part of it"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, B256, Signature};
use collective::committee::ceremony::Seed;
use collective::committee::ceremony::ask::{Ask, Refusal};
use collective::committee::ceremony::certify::{Certification, PendingShare};
use collective::committee::ceremony::convener::{
    Convener, Culprit, Effect, Event, Fault, Patience,
};
use collective::committee::ceremony::message::Message;
use collective::committee::ceremony::participant::{Keys, Participant, Pins};
use collective::committee::ceremony::plan::{Dealer, Kind, Party, Plan, Proposal};
use collective::committee::{self, KeyShare, Member, Quorum, ShareCertificate};
use collective::id::NodeId;
use collective::seal::contribution;
use collective::seal::header::Header;
use collective::seal::proof::SenderContext;
use collective::seal::tagged::{MlKemKey, TaggedIdentity, TaggedRecipient};
use collective::seal::{Identity, payload};
use k256::ecdsa::SigningKey;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

pub const COLLECTIVE: Address = Address::repeat_byte(0xc0);

pub fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

pub fn member(number: u16) -> Member {
    Member::new(number).unwrap()
}

/// A node: its keys, the share it uses, and what it has stored for the ceremony it is in.
pub struct Node {
    pub id: NodeId,
    key: SigningKey,
    pub identity: Identity,
    pub recipient: TaggedRecipient,
    pub share: Option<KeyShare>,
    /// After a renewal: the ML-KEM key of what was sealed before.
    pub retired: Option<MlKemKey>,
    pub seed: [u8; 32],
    pub pins: Pins,
    pub pending: Option<PendingShare>,
}

impl Node {
    pub fn new(number: u8, rng: &mut ChaCha20Rng) -> Self {
        let mut scalar = [number; 32];
        scalar[0] = 1;
        let identity = TaggedIdentity::random(rng);
        let recipient = identity.recipient();
        let mut seed = [0; 32];
        rng.fill_bytes(&mut seed);
        Self {
            id: NodeId(B256::repeat_byte(number)),
            key: SigningKey::from_slice(&scalar).unwrap(),
            identity: Identity::Tagged(identity),
            recipient,
            share: None,
            retired: None,
            seed,
            pins: Pins::default(),
            pending: None,
        }
    }

    pub fn signer(&self) -> Address {
        Address::from_public_key(self.key.verifying_key())
    }

    pub fn sign(&self, digest: B256) -> Signature {
        let (signature, recovery) = self
            .key
            .sign_prehash_recoverable(digest.as_slice())
            .unwrap();
        Signature::from((signature, recovery))
    }

    pub fn party(&self) -> Party {
        Party {
            node: self.id,
            signer: self.signer(),
            recipient: self.recipient.clone(),
        }
    }

    pub fn dealer(&self) -> Dealer {
        Dealer {
            number: self.share.as_ref().unwrap().member(),
            node: self.id,
            signer: self.signer(),
        }
    }

    /// Answers as a node does that reads its store, writes it, and then sends.
    pub fn answer(&mut self, plan: &Arc<Plan>, ask: &Ask) -> Result<Message, Refusal> {
        let seed = Seed::from_bytes(self.seed);
        let participant = Participant::new(plan.clone(), self.id, seed, self.pins)?;
        let keys = Keys {
            identity: &self.identity,
            share: self.share.as_ref(),
            sign: &|digest| self.sign(digest),
        };
        let answered = participant.answer(ask, &keys)?;
        self.pins = answered.participant.pins();
        if answered.pending.is_some() {
            self.pending = answered.pending;
        }
        Ok(answered.message)
    }
}

/// Nodes by their id.
pub struct World {
    pub nodes: BTreeMap<NodeId, Node>,
    pub rng: ChaCha20Rng,
}

impl World {
    pub fn new(size: u8, seed: u64) -> Self {
        println!("seed {seed}");
        Self::quiet(size, seed)
    }

    /// The same where whoever counts seeds prints them.
    pub fn quiet(size: u8, seed: u64) -> Self {
        let mut rng = rng(seed);
        let nodes = (1..=size).map(|number| Node::new(number, &mut rng));
        let nodes = nodes.map(|node| (node.id, node)).collect();
        Self { nodes, rng }
    }

    pub fn id(number: u8) -> NodeId {
        NodeId(B256::repeat_byte(number))
    }

    pub fn node(&self, number: u8) -> &Node {
        &self.nodes[&Self::id(number)]
    }

    pub fn proposal(&self, epoch: u64, threshold: u16, members: &[u8], kind: Kind) -> Proposal {
        Proposal {
            chain_id: 31337,
            node_registry: Address::repeat_byte(0x0d),
            collective: COLLECTIVE,
            epoch,
            attempt: 0,
            threshold,
            members: members.iter().map(|&n| self.node(n).party()).collect(),
            kind,
        }
    }

    pub fn generate(&self, threshold: u16, members: &[u8], post_quantum: bool) -> Arc<Plan> {
        let kind = Kind::Generate { post_quantum };
        Arc::new(Plan::new(self.proposal(1, threshold, members, kind)).unwrap())
    }

    pub fn reshare(&self, dealers: &[u8], threshold: u16, members: &[u8]) -> Arc<Plan> {
        self.share_anew(dealers, threshold, members, false)
    }

    pub fn renew(&self, dealers: &[u8], threshold: u16, members: &[u8]) -> Arc<Plan> {
        self.share_anew(dealers, threshold, members, true)
    }

    fn share_anew(&self, dealers: &[u8], threshold: u16, members: &[u8], renew: bool) -> Arc<Plan> {
        let first = self.node(dealers[0]).share.as_ref().unwrap();
        let from = Box::new(first.certificate().clone());
        let epoch = from.epoch() + 1;
        let dealers = dealers.iter().map(|&n| self.node(n).dealer()).collect();
        let kind = Kind::Reshare {
            from,
            dealers,
            renew,
        };
        Arc::new(Plan::new(self.proposal(epoch, threshold, members, kind)).unwrap())
    }

    /// New seeds and empty stores, for the next ceremony.
    pub fn prepare(&mut self) {
        for node in self.nodes.values_mut() {
            self.rng.fill_bytes(&mut node.seed);
            node.pins = Pins::default();
            node.pending = None;
        }
    }

    /// Runs a ceremony; `meddle` sees every answer before the convener does and may replace or drop it.
    pub fn run(
        &mut self,
        plan: &Arc<Plan>,
        meddle: &mut Meddle<'_>,
    ) -> Result<Certification, Vec<Culprit>> {
        let mut now = Duration::ZERO;
        let (mut convener, mut effects) = Convener::new(plan.clone(), Patience::default(), now);
        loop {
            let mut answers = Vec::new();
            for effect in std::mem::take(&mut effects) {
                match effect {
                    Effect::Done(certification) => return Ok(*certification),
                    Effect::Abort(culprits) => return Err(culprits),
                    Effect::Ask { nodes, ask } => {
                        let ask = over_the_wire(plan, &ask);
                        for id in nodes {
                            let node = self.nodes.get_mut(&id).unwrap();
                            let answer = node.answer(plan, &ask).ok();
                            answers.extend(meddle(self, id, &ask, answer));
                        }
                    }
                }
            }
            if answers.is_empty() {
                now = convener.next_tick();
                (convener, effects) = convener.step(Event::Tick, now);
                continue;
            }
            for message in answers {
                let message = Message::parse(plan, &message.to_bytes()).unwrap();
                let (next, more) = convener.step(Event::Received(Box::new(message)), now);
                convener = next;
                effects.extend(more);
            }
        }
    }

    /// Runs a ceremony in which everybody is honest, and takes the shares over.
    pub fn complete(&mut self, plan: &Arc<Plan>) -> Certification {
        self.prepare();
        let certification = self.run(plan, &mut honest).unwrap();
        self.accept(plan, &certification);
        certification
    }

    /// As on acceptance by the chain: members use the new shares, and everybody erases the old ones.
    pub fn accept(&mut self, plan: &Arc<Plan>, certification: &Certification) {
        for node in self.nodes.values_mut() {
            (node.share, node.retired) = (None, None);
            if plan.member(node.id).is_some() {
                let pending = node.pending.take().expect("every member has certified");
                let confirmed = pending.confirm(&certification.statements).unwrap();
                (node.share, node.retired) = (Some(confirmed.share), confirmed.retired);
            }
        }
    }

    /// Whether these nodes open a file that was sealed to the recipient.
    pub fn open(&mut self, certificate: &ShareCertificate, nodes: &[u8]) -> bool {
        let shares = nodes
            .iter()
            .map(|&n| self.nodes[&Self::id(n)].share.as_ref());
        let shares: Vec<&KeyShare> = shares.flatten().collect();
        let recipient = certificate.recipient();
        let forms = match recipient.is_post_quantum() {
            true => vec![recipient.clone(), recipient.classical()],
            false => vec![recipient.clone()],
        };
        forms
            .iter()
            .all(|form| open(certificate, form, &shares, &mut self.rng))
    }
}

/// Seals a record to `recipient` and opens it with these shares.
pub fn open(
    certificate: &ShareCertificate,
    recipient: &TaggedRecipient,
    shares: &[&KeyShare],
    rng: &mut ChaCha20Rng,
) -> bool {
    const CONTEXT: SenderContext = SenderContext {
        chain_id: 31337,
        registry: [1; 20],
        collective: [0xc0; 20],
        contributor: [3; 32],
        nonce: [4; 32],
    };
    let file = contribution::seal(recipient, &CONTEXT, b"record", rng).unwrap();
    let (sealed, body) = contribution::parse(&file, certificate.recipient(), &CONTEXT).unwrap();
    let members: Vec<Member> = shares.iter().map(|share| share.member()).collect();
    let Ok(quorum) = Quorum::new(certificate, &members) else {
        return false;
    };
    let releases: Vec<_> = shares
        .iter()
        .map(|share| share.release(&quorum, &sealed).unwrap())
        .collect();
    let partials: Vec<_> = releases
        .iter()
        .map(|release| release.partial.clone())
        .collect();
    let dh = committee::combine(&quorum, &partials).unwrap();
    let (header, _) = Header::parse(&file).unwrap();
    let ml_kem = releases[0].ml_kem.as_ref();
    let key = committee::open_header(
        certificate.recipient(),
        &header,
        sealed.stanza(),
        &dh,
        ml_kem,
    );
    key.is_ok_and(|key| payload::open(&key, body).as_deref() == Ok(b"record"))
}

/// What becomes of a node's answer to an ask before the convener sees it.
pub type Meddle<'a> = dyn FnMut(&mut World, NodeId, &Ask, Option<Message>) -> Vec<Message> + 'a;

/// Nobody meddles.
pub fn honest(_: &mut World, _: NodeId, _: &Ask, answer: Option<Message>) -> Vec<Message> {
    answer.into_iter().collect()
}

/// What a node gets is what the convener's bytes say.
pub fn over_the_wire(plan: &Arc<Plan>, ask: &Ask) -> Ask {
    Ask::parse(plan, &ask.to_bytes()).unwrap()
}

/// The one culprit.
pub fn only(culprits: Vec<Culprit>) -> (NodeId, Fault) {
    assert_eq!(culprits.len(), 1, "{culprits:?}");
    let culprit = culprits.into_iter().next().unwrap();
    (culprit.node, culprit.fault)
}

/// Every choice of `count` among these.
pub fn choices(among: &[u8], count: usize) -> Vec<Vec<u8>> {
    (0u32..1 << among.len())
        .filter(|bits| bits.count_ones() as usize == count)
        .map(|bits| {
            let chosen = among.iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1);
            chosen.map(|(_, &n)| n).collect()
        })
        .collect()
}

/// What a node that lies about its past says: its answer from another seed, as if asked for the first time.
pub fn answer_with(
    world: &World,
    node: NodeId,
    plan: &Arc<Plan>,
    ask: &Ask,
    seed: [u8; 32],
) -> Option<Message> {
    let node = &world.nodes[&node];
    let seed = Seed::from_bytes(seed);
    let participant = Participant::new(plan.clone(), node.id, seed, Pins::default()).unwrap();
    let keys = Keys {
        identity: &node.identity,
        share: node.share.as_ref(),
        sign: &|digest| node.sign(digest),
    };
    let answered = participant.answer(ask, &keys).ok();
    answered.map(|answered| answered.message)
}

/// Tells asks of one ceremony apart.
pub fn name(ask: &Ask) -> B256 {
    match ask {
        Ask::Commit => B256::ZERO,
        Ask::Deal(round1) => round1.digest(),
        Ask::Certify(round2) => round2.transcript(),
        Ask::Defend(_, complaint) => complaint.digest(),
    }
}

/// From 0 to `bound` − 1.
pub fn below(rng: &mut ChaCha20Rng, bound: u64) -> u64 {
    rng.next_u64() % bound.max(1)
}
