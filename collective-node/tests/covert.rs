//! The exam in covert channels: a program that means to tell one bit of a record, by one way at a time, and an observer who
//! sees all that is published of a thousand runs and guesses.
//!
//! Real: the program, the sandbox's process, what it reports, and `run::publish`, which the driver calls with it. Of the other
//! fields of a receipt, and of what HTTP answers, `node/covert_chain.rs` shows on a chain that they do not follow the bit either.
//! Simulated: nobody waits for the moment at which a run may show; the moment itself is what the observer sees. Where a vote
//! grants several moments, a run's measured time is multiplied by a hundred before it goes through the same function.

#[path = "node/bombs/mod.rs"]
mod bombs;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bombs::{module, records};
use collective::approval::{Interpreted, Manifest, Recipient, unpad};
use collective::bundle::Bundle;
use collective::permit::{Binary, Code};
use collective::seal::{self, Identity, x25519};
use collective_node::run::{bucket_end, publish};
use collective_node::sandbox::{Failure, Limits, Run, Sandbox, Task};

/// Jobs of each way.
const JOBS: usize = 1_000;
/// Jobs of each way whose raw figures are looked at, to show that the exam can fail.
const RAW_JOBS: usize = 200;
/// How far from guessing the best guess may be, in per cent.
const TOLERANCE: f64 = 5.0;
/// What a guess must reach where nothing hides the bit, in per cent: a busy machine blurs times, and guessing alone gets
/// 50 ± 3.5 of so many right.
const TOLD: f64 = 75.0;
/// How many threads run jobs: as many as small machines have processors.
const THREADS: usize = 2;

/// A way to tell a bit: its name, its letter in the leaker, and the raw figure in which it shows.
struct Way {
    name: &'static str,
    letter: &'static str,
    raw: &'static str,
}

const fn way(name: &'static str, letter: &'static str, raw: &'static str) -> Way {
    Way { name, letter, raw }
}

/// Ways that no manifest grants, or that this one does not.
const CLOSED: [Way; 11] = [
    way("length of the output, to the public", "l", "length"),
    way("time, one moment granted", "t", "time"),
    way("kind of trap", "k", "ending"),
    way("which limit it breaks", "b", "ending"),
    way("how many records it reads", "r", "ending"),
    way("text of its error", "e", "text"),
    way("lines of its log", "n", "log"),
    way("number of writes", "w", "fuel"),
    way("high water of its memory", "m", "memory"),
    way("fuel", "f", "fuel"),
    way("what it is denied", "asker", "ending"),
];

/// One observation: figures by name. Numbers are compared, words are looked up.
#[derive(Default)]
struct Seen {
    numbers: BTreeMap<&'static str, f64>,
    words: BTreeMap<&'static str, String>,
}

/// Bits and what was seen of them.
type Observed = Vec<(bool, Seen)>;

/// Whoever examines: the manifest, its recipient's key, and the programs.
struct Exam {
    manifest: Manifest,
    identity: Identity,
    leaker: Code,
    asker: Code,
    sandbox: Sandbox,
    _compiled: tempfile::TempDir,
}

impl Exam {
    fn new() -> Self {
        let vectors = include_str!("../../vectors/decisions.json");
        let vectors: serde_json::Value = serde_json::from_str(vectors).expect("JSON");
        let bytes = vectors["manifest"]["bytes"].as_str().expect("a manifest");
        let mut manifest = Manifest::parse(bytes.as_bytes()).expect("a good one");
        let identity = x25519::Identity::random(&mut rand::rng());
        manifest.recipient = Recipient::Age(identity.recipient().to_string());
        manifest.output.schema = None;
        manifest.output.minimum_group = 2;
        let asker = format!("(component {})", include_str!("node/covert/asker.wat"));
        let asker = wat::parse_str(asker).expect("the text parses");
        let sources = [("main.py".to_owned(), "# None of it is read.\n".to_owned())];
        let bundle = Bundle::new(sources.into()).expect("a bundle");
        let folder = tempfile::tempdir().expect("a folder");
        Self {
            manifest,
            identity: Identity::X25519(identity),
            leaker: Code::Component(Binary::new(leaker())),
            asker: Code::sources(Interpreted::Python, bundle, Binary::new(asker))
                .expect("a program"),
            sandbox: bombs::cached(folder.path()),
            _compiled: folder,
        }
    }

    /// One run over three records, the first of which has the bit.
    fn run(&self, letter: &str, bit: bool, keep_log: bool) -> Result<Run, Failure> {
        let code = match letter {
            "asker" => &self.asker,
            _ => &self.leaker,
        };
        let task = Task {
            code: code.clone(),
            arguments: letter.into(),
            limits: Limits::of(&self.manifest),
            keep_log,
            ..bombs::task(&[])
        };
        let first = if bit { "1,2\n" } else { "0,2\n" };
        self.sandbox
            .try_out(&task, records(&[first, "2,2\n", "4,2\n"]))
    }

    /// All that anybody but the recipient sees of a run.
    fn public(&self, letter: &str, bit: bool) -> Seen {
        let started = Instant::now();
        let ended = self.run(letter, bit, false);
        let seen = publish(&self.manifest, started, ended).expect("not the operator's fault");
        let moment = seen.at - started;
        Seen {
            numbers: [
                ("sealed length", seen.output.len() as f64),
                ("fuel", seen.usage.fuel as f64),
                ("memory", seen.usage.memory_bytes as f64),
                ("milliseconds", seen.usage.milliseconds as f64),
                ("moment", moment.as_secs_f64()),
            ]
            .into(),
            words: [
                ("outcome", format!("{:?}", seen.outcome)),
                ("failure", format!("{:?}", seen.failure)),
                ("layers", serde_json::to_string(&seen.layers).expect("JSON")),
            ]
            .into(),
        }
    }

    /// What the recipient sees.
    fn opened(&self, letter: &str, bit: bool) -> Seen {
        let ended = self.run(letter, bit, false);
        let seen =
            publish(&self.manifest, Instant::now(), ended).expect("not the operator's fault");
        let identity = std::slice::from_ref(&self.identity);
        let padded = seal::open(identity, &seen.output).expect("the recipient's");
        let output = unpad(&padded).expect("padded").to_vec();
        Seen {
            words: [("output", format!("{output:?}"))].into(),
            ..Seen::default()
        }
    }

    /// What would be seen if nothing were hidden: the sandbox's own figures, log and error text kept.
    fn raw(&self, letter: &str, bit: bool) -> Seen {
        let rule = &self.manifest.output;
        let (usage, ending, length, log, text) = match self.run(letter, bit, true) {
            Ok(run) => {
                let group = u32::try_from(run.accepted).expect("three at most");
                let ending = format!("{:?}", rule.check(&run.output, group));
                (run.usage, ending, run.output.len(), run.log, String::new())
            }
            Err(Failure::Program(stop)) => {
                let text = stop
                    .text
                    .as_ref()
                    .map_or("", |text| text.reveal())
                    .to_owned();
                (stop.usage, stop.trap.to_string(), 0, String::new(), text)
            }
            Err(fault) => panic!("{fault}"),
        };
        Seen {
            numbers: [
                ("time", usage.wall.as_secs_f64()),
                ("fuel", usage.fuel as f64),
                ("memory", usage.memory_bytes as f64),
                ("length", length as f64),
            ]
            .into(),
            words: [("ending", ending), ("log", log), ("text", text)].into(),
        }
    }

    /// Runs one job for each bit, on as many threads as there are.
    fn observe(&self, bits: &[bool], look: impl Fn(bool) -> Seen + Sync) -> Observed {
        let share = bits.len().div_ceil(THREADS);
        std::thread::scope(|scope| {
            let look = &look;
            let threads: Vec<_> = bits
                .chunks(share)
                .map(|bits| {
                    scope.spawn(move || {
                        bits.iter()
                            .map(|bit| (*bit, look(*bit)))
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            let joined = threads
                .into_iter()
                .map(|thread| thread.join().expect("no panic"));
            joined.flatten().collect()
        })
    }
}

fn leaker() -> Vec<u8> {
    module(include_str!("node/covert/leaker.wat"))
}

/// As many zeroes as ones in each half, in an order that the seed gives.
fn bits(count: usize, seed: &mut u64) -> Vec<bool> {
    let mut half = || {
        let mut half: Vec<bool> = (0..count / 2).map(|n| n % 2 == 0).collect();
        for place in (1..half.len()).rev() {
            *seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            half.swap(place, (*seed >> 33) as usize % (place + 1));
        }
        half
    };
    [half(), half()].concat()
}

/// Share of right guesses in per cent: the best single threshold or table, over every figure, found on one half and used on
/// the other, both ways round.
fn accuracy(seen: &[(bool, Seen)]) -> f64 {
    let (one, other) = seen.split_at(seen.len() / 2);
    let right = guessed(one, other) + guessed(other, one);
    100.0 * right as f64 / seen.len() as f64
}

/// How many of `asked` are guessed by what is learnt from `known`.
fn guessed(known: &[(bool, Seen)], asked: &[(bool, Seen)]) -> usize {
    let right = |guess: &dyn Fn(&Seen) -> bool, of: &[(bool, Seen)]| {
        of.iter().filter(|(bit, seen)| guess(seen) == *bit).count()
    };
    let (_, first) = &known[0];
    let mut best = (0, 0);
    let mut offer = |guess: &dyn Fn(&Seen) -> bool| {
        let learnt = right(guess, known);
        if learnt > best.0 {
            best = (learnt, right(guess, asked));
        }
    };
    for name in first.numbers.keys() {
        let mut limits: Vec<f64> = known.iter().map(|(_, seen)| seen.numbers[name]).collect();
        limits.sort_unstable_by(f64::total_cmp);
        limits.dedup();
        for limit in limits {
            offer(&|seen| seen.numbers[name] >= limit);
            offer(&|seen| seen.numbers[name] < limit);
        }
    }
    for name in first.words.keys() {
        let mut table: BTreeMap<&str, i64> = BTreeMap::new();
        for (bit, seen) in known {
            *table.entry(&seen.words[name]).or_default() += if *bit { 1 } else { -1 };
        }
        offer(&|seen| {
            table
                .get(&*seen.words[name])
                .is_some_and(|votes| *votes > 0)
        });
    }
    best.1
}

/// Only this figure of what was seen.
fn only(seen: Observed, name: &str) -> Observed {
    let keep = |mut seen: Seen| {
        seen.numbers.retain(|figure, _| *figure == name);
        seen.words.retain(|figure, _| *figure == name);
        seen
    };
    seen.into_iter()
        .map(|(bit, seen)| (bit, keep(seen)))
        .collect()
}

#[test]
fn no_bit_leaves_by_a_way_that_nobody_granted() {
    let exam = Exam::new();
    let mut seed: u64 = 0xc0_0e57;
    println!("seed {seed:#x}; per cent of bits that the best guess gets right");
    println!(
        "{:40} {:>9} {:>6} {:>8}",
        "way", "published", "raw", "granted"
    );
    let mut told = vec![];
    for way in &CLOSED {
        let published = exam.observe(&bits(JOBS, &mut seed), |bit| exam.public(way.letter, bit));
        let published = accuracy(&published);
        let raw = exam.observe(&bits(RAW_JOBS, &mut seed), |bit| exam.raw(way.letter, bit));
        let raw = accuracy(&only(raw, way.raw));
        println!("{:40} {published:>9.1} {raw:>6.1} {:>8}", way.name, "no");
        assert!(raw >= TOLD, "{}: the exam cannot fail", way.name);
        if (published - 50.0).abs() > TOLERANCE {
            told.push(way.name);
        }
    }
    for (name, published) in granted(&exam, &mut seed) {
        println!("{name:40} {published:>9.1} {:>6} {:>8}", "", "yes");
        assert!(published >= TOLD, "{name}: a manifest grants it");
    }
    assert!(told.is_empty(), "{told:?}");
}

/// What the manifest grants is told, and the same guesses find it.
fn granted(exam: &Exam, seed: &mut u64) -> [(&'static str, f64); 3] {
    let bits = bits(RAW_JOBS, seed);
    let outcome = exam.observe(&bits, |bit| exam.public("o", bit));
    let content = exam.observe(&bits, |bit| exam.opened("c", bit));
    let mut hurried = exam.manifest.clone();
    hurried.limits.bucket_seconds = Some(1);
    let slowed = |bit| {
        let seen = exam.raw("t", bit);
        let wall = Duration::from_secs_f64(100.0 * seen.numbers["time"]);
        let end = bucket_end(&hurried, wall).as_secs_f64();
        Seen {
            numbers: [("moment", end)].into(),
            ..Seen::default()
        }
    };
    let time = exam.observe(&bits, slowed);
    [
        ("whether there is an output", accuracy(&outcome)),
        ("the output, to its recipient", accuracy(&content)),
        ("time, twenty moments granted", accuracy(&time)),
    ]
}
