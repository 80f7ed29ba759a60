//! Releases in a bad world, from a seed: messages are lost, late, doubled and overtaken, members and the node lose power at
//! every step, parts of the network are cut off, and up to min(t − 1, n − t) members lie. At some moment the network calms.
//!
//! Checked in each: what opens is right and has a record that verifies; nobody honest is called more than silent; no answer
//! is sent before its line is in the log; who is not the grantee opens nothing of what went over the wire; and once it is
//! calm the job gets done.
//!
//! `SEED=7 SEEDS=10000 cargo test --release -p collective --test committee_release_simulation -- --nocapture`

// Each test file uses a part of what they share.
#![allow(dead_code)]

#[path = "committee/network.rs"]
mod network;
#[path = "simulation/seeds.rs"]
mod seeds;
#[path = "committee/world.rs"]
mod world;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use collective::committee::Member;
use collective::committee::answer::Fault;
use collective::committee::assembly::{Assembled, Assembly, Effect, Peer, Progress};
use collective::committee::log::{Log, LogEvent, LogHead};
use collective::committee::question::{Question, Wanted};
use collective::committee::released::ReleasedFiles;
use collective::committee::rewrap::EarlierKeys;
use collective::seal;
use network::{Bad, PATIENCE, Reply};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use seeds::Told;
use world::{ESCROW, Kind, Node, World, member};

/// When faults of the network and of power end.
const CALM: Duration = Duration::from_secs(12);
/// By then a job has to be done, whatever happened before.
const DONE: Duration = Duration::from_secs(12 + 15);
/// Bytes of an answer before the sealed part.
const ENVELOPE: usize = 2 + 32 + 2 + 8 + 32 + 65;

const KINDS: [Bad; 11] = [
    Bad::WrongPartial,
    Bad::ProvenLie,
    Bad::NoProof,
    Bad::AnotherInput,
    Bad::Replay,
    Bad::Silent,
    Bad::Slow,
    Bad::WrongMlKem,
    Bad::NotSigned,
    Bad::Cut,
    Bad::Refusing,
];

enum Event {
    Question {
        member: Member,
        round: u32,
        question: Option<Vec<u8>>,
    },
    Answer {
        member: Member,
        round: u32,
        reply: Option<Vec<u8>>,
    },
    Refusal {
        member: Member,
        round: u32,
    },
    Tick,
    Start,
}

/// One holder: its log is on its disk, and it is without power until a time.
#[derive(Default)]
struct Holder {
    log: Log,
    disk: Vec<u8>,
    dark_until: Duration,
    signed: Vec<LogHead>,
}

#[derive(Debug, Default)]
struct Counts {
    retries: u32,
    given_up: u32,
    node_crashes: u32,
    holder_crashes: u32,
    liars: usize,
}

impl Counts {
    fn add(self, other: Self) -> Self {
        Self {
            retries: self.retries + other.retries,
            given_up: self.given_up + other.given_up,
            node_crashes: self.node_crashes + other.node_crashes,
            holder_crashes: self.holder_crashes + other.holder_crashes,
            liars: self.liars + other.liars,
        }
    }
}

struct Simulation<'a> {
    world: &'a World,
    files: ReleasedFiles,
    bad: BTreeMap<Member, Bad>,
    holders: BTreeMap<Member, Holder>,
    peers: Vec<Peer>,
    assembly: Option<Box<Assembly>>,
    /// Connections of a node that lost power are gone: what comes over them is dropped.
    life: u32,
    now: Duration,
    queue: BinaryHeap<Reverse<(Duration, usize)>>,
    events: Vec<Option<(u32, Event)>>,
    cut_off: (Vec<Member>, Duration, Duration),
    wire: Vec<Vec<u8>>,
    counts: Counts,
    rng: ChaCha20Rng,
}

impl<'a> Simulation<'a> {
    fn new(world: &'a World, seed: u64) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let certificate = world.certificate();
        let (t, n) = (certificate.threshold(), certificate.size());
        let most = u64::from((t - 1).min(n - t));
        let mut members: Vec<Member> = (1..=n).map(member).collect();
        for i in (1..members.len()).rev() {
            members.swap(i, below(&mut rng, i as u64 + 1) as usize);
        }
        let liars = below(&mut rng, most + 1) as usize;
        let bad = members[..liars]
            .iter()
            .map(|&member| (member, KINDS[below(&mut rng, KINDS.len() as u64) as usize]))
            .collect();
        let island = members[..below(&mut rng, u64::from(n) + 1) as usize].to_vec();
        let from = Duration::from_millis(below(&mut rng, 6_000));
        let until = from + Duration::from_millis(below(&mut rng, 6_000));
        Self {
            files: world.files(),
            holders: members
                .iter()
                .map(|&member| (member, Holder::default()))
                .collect(),
            peers: world.peers(),
            assembly: None,
            life: 0,
            now: Duration::ZERO,
            queue: BinaryHeap::new(),
            events: Vec::new(),
            cut_off: (island, from, until),
            wire: Vec::new(),
            counts: Counts {
                liars,
                ..Counts::default()
            },
            world,
            bad,
            rng,
        }
    }

    fn run(mut self, told: &mut Told) -> Counts {
        self.at(Duration::ZERO, Event::Start);
        let assembled = loop {
            let Reverse((at, index)) = self.queue.pop().expect("a tick is always due");
            self.now = at;
            told.events += 1;
            assert!(self.now <= DONE, "not done long after the calm");
            let (life, event) = self.events[index].take().expect("each happens once");
            if let Some(assembled) = self.happen(life, event) {
                break assembled;
            }
        };
        self.check(&assembled);
        self.counts.retries += assembled.record.retries();
        self.counts
    }

    fn happen(&mut self, life: u32, event: Event) -> Option<Assembled> {
        if let Event::Question {
            member,
            round,
            question,
        } = event
        {
            self.serve(life, member, round, question);
            return None;
        }
        if life != self.life {
            return None;
        }
        if !matches!(event, Event::Start) && self.strikes(2) {
            self.counts.node_crashes += 1;
            self.life += 1;
            self.assembly = None;
            self.at(Duration::from_millis(500), Event::Start);
            return None;
        }
        let now = self.now;
        let progress = match (event, self.assembly.take()) {
            (Event::Start, _) => {
                let certificate = self.world.certificate().clone();
                Assembly::start(
                    certificate,
                    ESCROW,
                    &self.peers,
                    self.files.clone(),
                    PATIENCE,
                    now,
                )
            }
            (Event::Tick, Some(assembly)) => assembly.tick(now),
            (Event::Refusal { member, round }, Some(assembly)) => {
                assembly.refused(now, member, round)
            }
            (
                Event::Answer {
                    member,
                    reply: None,
                    ..
                },
                Some(assembly),
            ) => assembly.alive(member),
            (
                Event::Answer {
                    member,
                    round,
                    reply: Some(bytes),
                },
                Some(assembly),
            ) => assembly.answered(now, member, round, &bytes, &self.world.node.identity),
            _ => return None,
        };
        match progress {
            Progress::Waiting(assembly, effects) => {
                let due = assembly.deadline().saturating_sub(now);
                self.assembly = Some(assembly);
                self.at(due, Event::Tick);
                for effect in effects {
                    let (member, round, question) = match effect {
                        Effect::Ask {
                            member,
                            round,
                            question,
                        } => (member, round, Some(question)),
                        Effect::Probe { member } => (member, 0, None),
                    };
                    self.send(
                        member,
                        Event::Question {
                            member,
                            round,
                            question,
                        },
                    );
                }
                None
            }
            Progress::Done(assembled) => Some(assembled),
            Progress::GivenUp(given_up) => {
                self.counts.given_up += 1;
                self.judge(&given_up.culprits);
                for peer in &mut self.peers {
                    peer.health = given_up.health[&peer.member];
                }
                self.life += 1;
                self.at(Duration::from_millis(300), Event::Start);
                None
            }
        }
    }

    /// A holder gets a question; its power may go before its log is written, after that, and before the answer is sent.
    fn serve(&mut self, life: u32, from: Member, round: u32, question: Option<Vec<u8>>) {
        if self.holders[&from].dark_until > self.now || self.power_goes(from) {
            return;
        }
        let own = self.bad.get(&from).copied();
        let Some(question) = question else {
            if own != Some(Bad::Silent) {
                self.answer(
                    life,
                    from,
                    Event::Answer {
                        member: from,
                        round,
                        reply: None,
                    },
                );
            }
            return;
        };
        if own.is_some() {
            match network::reply(self.world, own, from, &question, &self.files, &mut self.rng) {
                Reply::Answer(bytes) => self.answer(
                    life,
                    from,
                    Event::Answer {
                        member: from,
                        round,
                        reply: Some(bytes),
                    },
                ),
                Reply::No => self.answer(
                    life,
                    from,
                    Event::Refusal {
                        member: from,
                        round,
                    },
                ),
                Reply::Nothing => {}
            }
            return;
        }
        let parsed =
            Question::parse(self.world.certificate(), &question).expect("the node is honest");
        if *parsed.wanted() != Wanted::Partials {
            let share = self.world.share(from);
            let reply = Some(
                share
                    .prove(&parsed, &self.files, &mut self.rng)
                    .expect("a proof"),
            );
            self.answer(
                life,
                from,
                Event::Answer {
                    member: from,
                    round,
                    reply,
                },
            );
            return;
        }
        let release = self.files.release();
        let event = LogEvent::Released {
            job: release.job,
            attempt: release.attempt,
            release: parsed.release(),
            input_root: release.input_root,
            count: release.input_count,
            keys: release.keys,
            quorum: parsed.quorum().members().to_vec(),
        };
        let holder = self.holders.get_mut(&from).expect("a member");
        if let Some(line) = holder.log.note(self.now.as_secs(), event) {
            holder.disk.extend(line.to_bytes());
            holder.disk.push(b'\n');
        }
        if self.power_goes(from) {
            return;
        }
        let head = self.holders[&from].log.head();
        let share = self.world.share(from);
        let answer = share
            .answer(
                &parsed,
                &self.files,
                &EarlierKeys::default(),
                head,
                &mut self.rng,
            )
            .expect("it is in the quorum");
        let signature = world::sign(
            self.world.signer(from),
            answer.statement().signing_hash(&ESCROW),
        );
        self.holders
            .get_mut(&from)
            .expect("a member")
            .signed
            .push(head);
        if self.power_goes(from) {
            return;
        }
        let reply = Some(answer.to_bytes(&signature));
        self.answer(
            life,
            from,
            Event::Answer {
                member: from,
                round,
                reply,
            },
        );
    }

    /// After it the holder has what is on its disk, and nothing else.
    fn power_goes(&mut self, of: Member) -> bool {
        if !self.strikes(3) {
            return false;
        }
        self.counts.holder_crashes += 1;
        let dark = Duration::from_millis(below(&mut self.rng, 3_000));
        let holder = self.holders.get_mut(&of).expect("a member");
        holder.dark_until = self.now + dark;
        holder.log = Log::verify(&holder.disk).expect("whole lines");
        true
    }

    fn answer(&mut self, life: u32, from: Member, event: Event) {
        if let Event::Answer {
            reply: Some(bytes), ..
        } = &event
        {
            self.wire.push(bytes.clone());
        }
        let again = match &event {
            Event::Answer {
                member,
                round,
                reply,
            } if self.strikes(5) => Some(Event::Answer {
                member: *member,
                round: *round,
                reply: reply.clone(),
            }),
            _ => None,
        };
        let own = self.life;
        // What belongs to an earlier life of the node keeps its mark.
        self.life = life;
        self.send(from, event);
        if let Some(again) = again {
            self.send(from, again);
        }
        self.life = own;
    }

    /// Over the network, to a member or from it.
    fn send(&mut self, other: Member, event: Event) {
        let (island, from, until) = &self.cut_off;
        let is_cut = island.contains(&other) && (*from..*until).contains(&self.now);
        if is_cut || self.strikes(10) {
            return;
        }
        let mut after = Duration::from_millis(1 + below(&mut self.rng, 60));
        if self.strikes(5) {
            after += Duration::from_millis(below(&mut self.rng, 4_000));
        }
        if self.bad.get(&other) == Some(&Bad::Slow) {
            after += PATIENCE;
        }
        self.at(after, event);
    }

    fn at(&mut self, after: Duration, event: Event) {
        self.queue
            .push(Reverse((self.now + after, self.events.len())));
        self.events.push(Some((self.life, event)));
    }

    /// Whether a fault of so many per cent happens now; none does once it is calm.
    fn strikes(&mut self, per_cent: u64) -> bool {
        below(&mut self.rng, 100) < per_cent && self.now < CALM
    }

    fn judge(&self, culprits: &[collective::committee::record::Culprit]) {
        for culprit in culprits {
            let allowed = self.bad.get(&culprit.member).map(|bad| bad.fault());
            let fair = culprit.fault == Fault::Silent || Some(culprit.fault) == allowed;
            assert!(fair, "{culprit:?}, and it is {allowed:?}");
        }
    }

    fn check(&self, assembled: &Assembled) {
        let world = self.world;
        for (place, key) in assembled.files.iter().enumerate() {
            assert!(
                key.as_ref().is_ok_and(|key| world.opens(place, key)),
                "file {place}"
            );
        }
        let record = &assembled.record;
        let verified = record.verify(
            &ESCROW,
            &world.release,
            world.certificate(),
            &world.signers(),
        );
        assert_eq!(verified, Ok(()));
        self.judge(record.culprits());
        let stated = record.rounds().iter().flat_map(|round| round.answers());
        for answer in stated.filter(|answer| !self.bad.contains_key(&answer.member)) {
            assert!(self.holders[&answer.member].signed.contains(&answer.log));
        }
        for holder in self.holders.values() {
            let log = Log::verify(&holder.disk).expect("a whole log");
            assert!(
                holder
                    .signed
                    .iter()
                    .all(|head| log.contains(head) && head.index > 0)
            );
        }
        let thief = Node::new(&mut self.rng.clone()).identity;
        for bytes in self.wire.iter().filter(|bytes| bytes.len() > ENVELOPE) {
            let found = seal::open(std::slice::from_ref(&thief), &bytes[ENVELOPE..]);
            assert!(found.is_err(), "sealed to the grantee alone");
        }
    }
}

fn below(rng: &mut ChaCha20Rng, bound: u64) -> u64 {
    rng.next_u64() % bound
}

/// Histories without `SEEDS`: some seconds.
const DEFAULT_SEEDS: u64 = 200;

#[test]
fn no_seed_breaks_safety_and_every_job_gets_done() {
    let committees = [(1, 1), (2, 3), (2, 4), (3, 5), (4, 7)];
    let files = [Kind::Hybrid, Kind::Classical];
    let worlds = committees.map(|(t, n)| World::new(t, n, &files, 1));
    let history = |seed: u64, told: &mut Told, sum: &mut Counts| {
        told.kind = "release";
        let world = &worlds[(seed % worlds.len() as u64) as usize];
        let counts = Simulation::new(world, seed).run(told);
        *sum = std::mem::take(sum).add(counts);
    };
    let test = "committee_release_simulation";
    let (seeds, sum) = seeds::tell(test, DEFAULT_SEEDS, history, Counts::add);
    println!("{sum:?}");
    // A world in which nothing happens would show nothing.
    assert!(
        seeds < 100
            || (sum.retries > 0 && sum.node_crashes > 0 && sum.holder_crashes > 0 && sum.liars > 0)
    );
}
