//! `just bench-ceremony`: what it takes to make a key among eight members, and how an absent one ends it. No network: the
//! processor time of all nodes and the convener together, on one thread.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, B256, Signature};
use collective::committee::ceremony::Seed;
use collective::committee::ceremony::ask::Ask;
use collective::committee::ceremony::convener::{
    Convener, Culprit, Effect, Event, Fault, Patience,
};
use collective::committee::ceremony::message::{Message, Round};
use collective::committee::ceremony::participant::{Keys, Participant, Pins};
use collective::committee::ceremony::plan::{Kind, Party, Plan, Proposal};
use collective::id::NodeId;
use collective::seal::Identity;
use collective::seal::tagged::TaggedIdentity;
use k256::ecdsa::SigningKey;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use rustix::time::{ClockId, clock_gettime};

const MEMBERS: u8 = 8;
const THRESHOLD: u16 = 5;
/// Seconds that a key among eight may take.
const PROMISED: f64 = 5.0;

fn main() -> ExitCode {
    let nodes: Vec<Node> = (1..=MEMBERS).map(Node::new).collect();
    let plan = Arc::new(Plan::new(proposal(&nodes)).expect("a plan"));
    let mut made = None;
    let took = seconds(|| made = Some(hold(&plan, &nodes, None)));
    let made = made.expect("it ran").is_ok();
    println!(
        "DKG of {MEMBERS} members, hybrid, {THRESHOLD} open: {took:.2} s of one core for all of them and the convener"
    );

    let absent = nodes[3].id;
    let mut ended = None;
    let took_absent = seconds(|| ended = Some(hold(&plan, &nodes, Some(absent))));
    let named = ended.expect("it ran").err().is_some_and(|culprits| {
        let silent = Fault::Silent(Round::Commit);
        culprits
            == [Culprit {
                node: absent,
                fault: silent,
            }]
    });
    println!(
        "with one absent: ends at the time-out, names it as silent: {named} ({took_absent:.2} s of one core)"
    );
    if made && named && took <= PROMISED {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

struct Node {
    id: NodeId,
    key: SigningKey,
    identity: Identity,
    party: Party,
}

impl Node {
    fn new(number: u8) -> Self {
        let rng = &mut ChaCha20Rng::seed_from_u64(number.into());
        let key = SigningKey::from_slice(&[number; 32]).expect("a scalar in range");
        let identity = TaggedIdentity::random(rng);
        let id = NodeId(B256::repeat_byte(number));
        let party = Party {
            node: id,
            signer: Address::from_public_key(key.verifying_key()),
            recipient: identity.recipient(),
        };
        let identity = Identity::Tagged(identity);
        Self {
            id,
            key,
            identity,
            party,
        }
    }

    /// As after a crash before every ask: a node replays what it said from its seed.
    fn answer(&self, plan: &Arc<Plan>, ask: &Ask) -> Message {
        let ask = Ask::parse(plan, &ask.to_bytes()).expect("a convener's ask");
        let seed = Seed::from_bytes(self.id.0.0);
        let participant = Participant::new(plan.clone(), self.id, seed, Pins::default());
        let keys = Keys {
            identity: &self.identity,
            share: None,
            sign: &|digest| {
                let (signature, recovery) = self
                    .key
                    .sign_prehash_recoverable(digest.as_slice())
                    .expect("a digest");
                Signature::from((signature, recovery))
            },
        };
        let answered = participant.expect("a part").answer(&ask, &keys);
        answered.expect("an honest ceremony").message
    }
}

fn proposal(nodes: &[Node]) -> Proposal {
    Proposal {
        chain_id: 1,
        node_registry: Address::repeat_byte(0x0d),
        collective: Address::repeat_byte(0xc0),
        epoch: 1,
        attempt: 0,
        threshold: THRESHOLD,
        members: nodes.iter().map(|node| node.party.clone()).collect(),
        kind: Kind::Generate { post_quantum: true },
    }
}

/// From the first ask to the certification, without a network; the clock goes where the convener waits.
fn hold(plan: &Arc<Plan>, nodes: &[Node], absent: Option<NodeId>) -> Result<(), Vec<Culprit>> {
    let mut now = Duration::ZERO;
    let (mut convener, mut effects) = Convener::new(plan.clone(), Patience::default(), now);
    loop {
        let mut answers = Vec::new();
        for effect in std::mem::take(&mut effects) {
            match effect {
                Effect::Done(_) => return Ok(()),
                Effect::Abort(culprits) => return Err(culprits),
                Effect::Ask { nodes: asked, ask } => {
                    let asked = nodes.iter().filter(|node| asked.contains(&node.id));
                    let present = asked.filter(|node| Some(node.id) != absent);
                    answers.extend(present.map(|node| node.answer(plan, &ask)));
                }
            }
        }
        if answers.is_empty() {
            now = convener.next_tick();
            (convener, effects) = convener.step(Event::Tick, now);
        }
        for message in answers {
            let message = Message::parse(plan, &message.to_bytes()).expect("a message");
            let (next, more) = convener.step(Event::Received(Box::new(message)), now);
            convener = next;
            effects.extend(more);
        }
    }
}

/// Processor time of this thread.
fn seconds(work: impl FnOnce()) -> f64 {
    let now = || {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
    };
    let start = now();
    work();
    now() - start
}
