//! Ceremonies on a bad network: messages are lost, late, out of order and doubled, nodes and conveners crash at every
//! step, links break, a dealer tells two conveners two stories. One seed is one history.
//!
//! `SEEDS` says how many histories (a few hundred unless told), `SEED` the first one.

#[path = "simulation/seeds.rs"]
mod seeds;
#[path = "ceremony/tally.rs"]
mod tally;
#[path = "ceremony/world.rs"]
mod world;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::B256;
use collective::committee;
use collective::committee::ceremony::ask::Ask;
use collective::committee::ceremony::certify::{Certification, NotCertified};
use collective::committee::ceremony::convener::{Convener, Effect, Event, Patience};
use collective::committee::ceremony::message::Message;
use collective::committee::ceremony::plan::Plan;
use collective::id::NodeId;
use collective::seal::tagged::TaggedIdentity;
use rand_chacha::ChaCha20Rng;
use seeds::Told;
use tally::Tally;
use world::{World, answer_with, below, choices, name};

/// Histories without `SEEDS`: some seconds.
const DEFAULT_SEEDS: u64 = 200;

/// Faults stop at the latest now; what is then not done must still come to a good end.
const QUIET: u64 = 100_000;

/// Of so many histories one has up to [`MOST`] nodes instead of [`USUAL`]: each costs many times as much.
const LARGE: u64 = 20;

/// Nodes of a usual history.
const USUAL: u64 = 4;

/// Nodes of a large one.
const MOST: u64 = 7;

#[test]
fn no_history_gives_two_keys_or_half_a_committee() {
    let (seeds, total) = seeds::tell("committee_simulation", DEFAULT_SEEDS, history, Tally::add);
    println!("{total:?}");
    assert!(
        seeds < 100 || (total.lost > 0 && total.crashes > 0 && total.aborts > 0 && total.keys > 0)
    );
}

/// What is on its way.
enum Mail {
    Ask(usize, NodeId, Arc<Ask>),
    Answer(usize, Box<Message>),
    Tick(usize),
    ConvenerCrash(usize),
}

struct Simulation<'a> {
    world: World,
    plan: Arc<Plan>,
    rng: ChaCha20Rng,
    conveners: Vec<Option<Convener>>,
    mail: BTreeMap<u64, Mail>,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    sent: u64,
    now: u64,
    /// Thousandths: of a message being lost, of a crash at a step.
    loss: u64,
    crash: u64,
    longest_delay: u64,
    /// Milliseconds at which faults stop.
    quiet: u64,
    down: BTreeMap<NodeId, u64>,
    /// A node that cannot reach a convener until then.
    cut: BTreeMap<(usize, NodeId), u64>,
    /// What nodes have answered since they last had power, by what they were asked: a node that remembers need not
    /// reckon again, and one that has forgotten must come to the same.
    answered: BTreeMap<(NodeId, B256), Message>,
    /// The same, for ever.
    said: BTreeMap<(NodeId, B256), Message>,
    /// The asks for certification that nodes have stored.
    stored: BTreeMap<NodeId, Arc<Ask>>,
    /// A dealer that has two seeds, one for each convener.
    cheat: Option<NodeId>,
    done: Vec<Certification>,
    tally: &'a mut Tally,
}

fn history(seed: u64, told: &mut Told, tally: &mut Tally) {
    let mut rng = world::rng(seed);
    let most = match below(&mut rng, LARGE) {
        0 => MOST,
        _ => USUAL,
    };
    let mut world = World::quiet(most as u8, seed);
    let (kind, plan) = draw(&mut rng, &mut world, most);
    told.kind = kind;
    let cheat = below(&mut rng, 4) == 0;
    let dealers = plan.dealers();
    let cheat = cheat.then(|| dealers[below(&mut rng, dealers.len() as u64) as usize].node);
    tally.cheats += u64::from(cheat.is_some());
    let quiet = below(&mut rng, QUIET);
    let mut simulation = Simulation {
        plan,
        conveners: vec![],
        mail: BTreeMap::new(),
        queue: BinaryHeap::new(),
        sent: 0,
        now: 0,
        loss: below(&mut rng, 400),
        crash: below(&mut rng, 400),
        longest_delay: 1 + below(&mut rng, 8_000),
        quiet,
        down: BTreeMap::new(),
        cut: BTreeMap::new(),
        answered: BTreeMap::new(),
        said: BTreeMap::new(),
        stored: BTreeMap::new(),
        cheat,
        done: vec![],
        world,
        rng,
        tally,
    };
    simulation.convene(0);
    if simulation.flip(500) || cheat.is_some() {
        simulation.convene(1);
    }
    simulation.run();
    // Faults have stopped. Whatever became of the others, a new convener ends it.
    simulation.now = simulation.now.max(QUIET);
    let last = simulation.conveners.len();
    simulation.convene(last);
    simulation.run();
    told.events = simulation.sent;
    simulation.check();
}

/// Any committee of these nodes makes a key, deals it anew, or hands it on to any other, with or without a new ML-KEM half.
fn draw(rng: &mut ChaCha20Rng, world: &mut World, most: u64) -> (&'static str, Arc<Plan>) {
    let some = |rng: &mut ChaCha20Rng, least: u64| {
        let size = least + below(rng, most + 1 - least);
        let threshold = least + below(rng, size + 1 - least);
        let mut members: Vec<u8> = (1..=most as u8).collect();
        for place in (1..members.len()).rev() {
            members.swap(place, below(rng, place as u64 + 1) as usize);
        }
        members.truncate(size as usize);
        (threshold as u16, members)
    };
    let (threshold, members) = some(rng, 2);
    let kind = below(rng, 4);
    if kind < 2 {
        let post_quantum = below(rng, 3) > 0;
        return ("DKG", world.generate(threshold, &members, post_quantum));
    }
    let (old_threshold, old_members) = match kind {
        2 => (threshold, members.clone()),
        // A trusted node among them.
        _ => some(rng, 1),
    };
    let size = old_members.len() as u16;
    let old = TaggedIdentity::random(rng);
    let shares = committee::split(old, 1, old_threshold, size, rng).unwrap();
    for (&number, share) in old_members.iter().zip(shares) {
        world.nodes.get_mut(&World::id(number)).unwrap().share = Some(share);
    }
    let quorums = choices(&old_members, old_threshold.into());
    let dealers = &quorums[below(rng, quorums.len() as u64) as usize];
    if below(rng, 3) == 0 {
        return ("renewal", world.renew(dealers, threshold, &members));
    }
    let kind = if kind == 2 { "refresh" } else { "reshare" };
    (kind, world.reshare(dealers, threshold, &members))
}

impl Simulation<'_> {
    fn convene(&mut self, index: usize) {
        let now = Duration::from_millis(self.now);
        let (convener, effects) = Convener::new(self.plan.clone(), Patience::default(), now);
        self.conveners
            .resize(self.conveners.len().max(index + 1), None);
        self.settle(index, convener, effects);
        self.wind(index);
    }

    /// Posts the convener's next tick.
    fn wind(&mut self, index: usize) {
        let convener = self.conveners[index].as_ref().filter(|c| !c.is_over());
        if let Some(due) = convener.map(Convener::next_tick) {
            let due = u64::try_from(due.as_millis()).expect("some minutes");
            self.post(due.max(self.now + 1), Mail::Tick(index));
        }
    }

    fn run(&mut self) {
        while let Some(Reverse((time, number))) = self.queue.pop() {
            self.now = time;
            match self.mail.remove(&number).expect("queued") {
                Mail::Ask(from, node, ask) => self.deliver_ask(from, node, &ask),
                Mail::Answer(to, message) => self.event(to, Event::Received(message)),
                Mail::Tick(index) => {
                    self.event(index, Event::Tick);
                    self.wind(index);
                }
                Mail::ConvenerCrash(index) => {
                    if self.conveners[index].as_ref().is_some_and(|c| !c.is_over()) {
                        self.tally.convener_crashes += 1;
                        self.convene(index);
                    }
                }
            }
        }
    }

    fn event(&mut self, index: usize, event: Event) {
        let convener = self.conveners[index].take().expect("conveners come back");
        let (convener, effects) = convener.step(event, Duration::from_millis(self.now));
        self.settle(index, convener, effects);
    }

    fn settle(&mut self, index: usize, convener: Convener, effects: Vec<Effect>) {
        self.conveners[index] = Some(convener);
        let mut asked = false;
        for effect in effects {
            match effect {
                Effect::Ask { nodes, ask } => {
                    asked = true;
                    for node in nodes {
                        self.send(index, node, |_| Mail::Ask(index, node, ask.clone()));
                    }
                }
                Effect::Done(certification) => self.done.push(*certification),
                Effect::Abort(culprits) => {
                    self.tally.aborts += 1;
                    assert!(!culprits.is_empty());
                }
            }
        }
        if asked && self.faulty() && self.flip(self.crash / 4) {
            let time = self.now + below(&mut self.rng, self.longest_delay);
            self.post(time, Mail::ConvenerCrash(index));
        }
    }

    fn faulty(&self) -> bool {
        self.now < self.quiet
    }

    /// Puts a message on a link that may lose, double and delay it.
    fn send(&mut self, convener: usize, node: NodeId, mail: impl Fn(()) -> Mail) {
        let mut copies = 1;
        if self.faulty() {
            if self.flip(30) {
                let end = self.now + below(&mut self.rng, 20_000);
                self.cut.insert((convener, node), end);
            }
            let cut = self
                .cut
                .get(&(convener, node))
                .is_some_and(|&end| self.now < end);
            if cut || self.flip(self.loss) {
                self.tally.lost += 1;
                return;
            }
            if self.flip(100) {
                self.tally.doubled += 1;
                copies = 2;
            }
        }
        for _ in 0..copies {
            let longest = if self.faulty() {
                self.longest_delay
            } else {
                50
            };
            let delay = 1 + below(&mut self.rng, longest);
            self.post(self.now + delay, mail(()));
        }
    }

    fn post(&mut self, time: u64, mail: Mail) {
        self.sent += 1;
        self.mail.insert(self.sent, mail);
        self.queue.push(Reverse((time, self.sent)));
    }

    /// A node answers, and may lose its power before it has stored, before it has sent, or after it.
    fn deliver_ask(&mut self, from: usize, id: NodeId, ask: &Arc<Ask>) {
        if self.down.get(&id).is_some_and(|&end| self.now < end) {
            return;
        }
        if self.cheat == Some(id) && from == 1 {
            return self.tell_another_story(from, id, ask);
        }
        let place = (id, name(ask));
        if let Some(message) = self.answered.get(&place).cloned() {
            return self.send(from, id, |()| Mail::Answer(from, Box::new(message.clone())));
        }
        let crash = self.faulty() && self.flip(self.crash);
        let step = if crash { below(&mut self.rng, 3) } else { 3 };
        let node = self.world.nodes.get_mut(&id).unwrap();
        let before = node.pins;
        self.tally.answers += 1;
        let Ok(message) = node.answer(&self.plan, ask) else {
            self.tally.refusals += 1;
            return;
        };
        node.pending = None;
        if crash {
            self.tally.crashes += 1;
            let end = self.now + below(&mut self.rng, 10_000);
            self.down.insert(id, end);
            self.answered.retain(|(node, _), _| *node != id);
        } else {
            self.answered.insert(place, message.clone());
        }
        if step == 0 {
            self.world.nodes.get_mut(&id).unwrap().pins = before;
            return;
        }
        if matches!(**ask, Ask::Certify(_)) {
            self.stored.insert(id, ask.clone());
        }
        let said = self.said.entry(place).or_insert_with(|| message.clone());
        assert!(*said == message, "a replay said something else");
        if step != 1 {
            self.send(from, id, |()| Mail::Answer(from, Box::new(message.clone())));
        }
    }

    /// The cheat's answer to the second convener: from another seed and without a memory.
    fn tell_another_story(&mut self, from: usize, id: NodeId, ask: &Ask) {
        let mut seed = self.world.nodes[&id].seed;
        seed[0] ^= 1;
        if let Some(message) = answer_with(&self.world, id, &self.plan, ask, seed) {
            self.send(from, id, |()| Mail::Answer(from, Box::new(message.clone())));
        }
    }

    fn check(mut self) {
        if let Some(first) = self.done.first() {
            assert!(self.done.iter().all(|other| other == first), "two keys");
        }
        let last = self.conveners.last().and_then(Option::as_ref);
        assert!(
            last.is_some_and(Convener::is_over),
            "a convener without an end"
        );
        if self.cheat.is_none() {
            assert!(
                !self.done.is_empty(),
                "honest nodes and a quiet network gave no key"
            );
        }
        let Some(certification) = self.done.first().cloned() else {
            // No key: nobody was cheated into one.
            return;
        };
        self.tally.keys += 1;
        let plan = self.plan.clone();
        let certificate = &certification.certificate;
        if let Some(old) = self
            .world
            .nodes
            .values()
            .find_map(|node| node.share.as_ref())
        {
            let (old, new) = (old.certificate().recipient(), certificate.recipient());
            assert_eq!(old.point(), new.point());
            assert_eq!(old == new, !plan.makes_ml_kem_key());
        }
        // Every member comes to its share from what it has stored, and to none with a signature less.
        let members: Vec<u8> = plan
            .proposal()
            .members
            .iter()
            .map(|p| p.node.0[0])
            .collect();
        for number in &members {
            let id = World::id(*number);
            if self.cheat == Some(id) && !self.stored.contains_key(&id) {
                return;
            }
            let ask = self.stored[&id].clone();
            let node = self.world.nodes.get_mut(&id).unwrap();
            node.answer(&plan, &ask).unwrap();
            let pending = node.pending.as_ref().expect("it has certified");
            if pending.certificate() != certificate {
                // Who deals alone and tells two stories may have stored the one that the others did not certify.
                assert!(self.cheat == Some(id) && plan.dealers().len() == 1);
                return;
            }
        }
        let mut fewer = certification.statements.clone();
        fewer.pop();
        let node = self.world.nodes.get_mut(&World::id(members[0])).unwrap();
        let half = node.pending.take().unwrap().confirm(&fewer);
        assert!(matches!(half, Err(NotCertified::Count { .. })));
        node.answer(&plan, &self.stored[&node.id]).unwrap();
        self.world.accept(&plan, &certification);
        let quorums = choices(&members, certificate.threshold().into());
        let chosen = below(&mut self.rng, quorums.len() as u64) as usize;
        assert!(self.world.open(certificate, &quorums[chosen]));
    }

    /// True in this many of a thousand cases.
    fn flip(&mut self, thousandths: u64) -> bool {
        below(&mut self.rng, 1000) < thousandths
    }
}
