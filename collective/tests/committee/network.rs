//! A virtual clock and the members' behaviour, honest or not, around one [`Assembly`].

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use alloy_primitives::B256;
use collective::committee::Member;
use collective::committee::answer::Fault;
use collective::committee::assembly::{Assembly, Effect, Peer, Progress};
use collective::committee::equality::ProofContext;
use collective::committee::question::{Question, Wanted};
use collective::committee::released::ReleasedFiles;
use collective::seal::curve::SecretScalar;
use rand_chacha::ChaCha20Rng;

use super::world::{World, foreign_ml_kem, signer};

/// How long an honest member takes to answer.
pub const QUIET: Duration = Duration::from_millis(50);
/// How long a node waits.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// How long a slow member takes.
const SLOW: Duration = Duration::from_secs(5);

/// What a bad member does instead of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// One partial is a random point; the proof is made over the right ones.
    WrongPartial,
    /// One partial is a random point; the proof is made over the wrong ones.
    ProvenLie,
    /// One partial is a random point; no proof is in its form.
    NoProof,
    /// The partials of this input set in another order.
    AnotherInput,
    /// A well-signed answer to another release, page or quorum.
    Replay,
    /// Nothing at all.
    Silent,
    /// Everything, later than a node waits.
    Slow,
    /// Another secret for hybrid files.
    WrongMlKem,
    /// What opens a file that was sealed to a foreign ML-KEM key.
    ColludingMlKem,
    /// Signed by somebody else.
    NotSigned,
    /// Sealed to somebody else.
    AnotherGrantee,
    /// Nothing for the last file.
    Cut,
    /// "No".
    Refusing,
}

impl Bad {
    /// As what a node must name it.
    pub fn fault(self) -> Fault {
        match self {
            Self::WrongPartial | Self::ProvenLie | Self::AnotherInput => Fault::WrongPartial,
            Self::NoProof | Self::AnotherGrantee | Self::Cut => Fault::Malformed,
            Self::Replay => Fault::AnotherQuestion,
            Self::Silent | Self::Slow => Fault::Silent,
            Self::WrongMlKem | Self::ColludingMlKem => Fault::WrongMlKem,
            Self::NotSigned => Fault::NotSigned,
            Self::Refusing => Fault::Refused,
        }
    }
}

/// What comes back from a member.
pub enum Reply {
    Answer(Vec<u8>),
    No,
    Nothing,
}

/// Runs until the job is done or given up; returns that and how long it took.
pub fn run(
    world: &World,
    peers: &[Peer],
    bad: &BTreeMap<Member, Bad>,
    rng: &mut ChaCha20Rng,
) -> (Progress, Duration) {
    let files = world.files();
    let mut now = Duration::ZERO;
    let mut arrivals = BinaryHeap::new();
    let mut replies: Vec<(Member, u32, Option<Vec<u8>>)> = Vec::new();
    let certificate = world.certificate().clone();
    let escrow = super::world::ESCROW;
    let mut progress = Assembly::start(certificate, escrow, peers, files.clone(), PATIENCE, now);
    loop {
        let Progress::Waiting(assembly, effects) = progress else {
            return (progress, now);
        };
        for effect in effects {
            let (member, round, question) = match effect {
                Effect::Ask {
                    member,
                    round,
                    question,
                } => (member, round, Some(question)),
                Effect::Probe { member } => (member, 0, None),
            };
            let own = bad.get(&member).copied();
            let after = match own {
                Some(Bad::Silent) => continue,
                Some(Bad::Slow) => SLOW,
                _ => QUIET + Duration::from_millis(u64::from(member.number())),
            };
            let reply = match question {
                None => None,
                Some(question) => match reply(world, own, member, &question, &files, rng) {
                    Reply::Answer(bytes) => Some(bytes),
                    Reply::No => Some(Vec::new()),
                    Reply::Nothing => continue,
                },
            };
            arrivals.push(Reverse((now + after, replies.len())));
            replies.push((
                member,
                if reply.is_some() { round } else { u32::MAX },
                reply,
            ));
        }
        let next = arrivals.peek().map(|Reverse((at, _))| *at);
        if next.is_none_or(|at| at >= assembly.deadline()) {
            now = assembly.deadline();
            progress = assembly.tick(now);
            continue;
        }
        let Reverse((at, index)) = arrivals.pop().expect("peeked");
        now = at;
        let (member, round, reply) = &replies[index];
        progress = match reply {
            None => assembly.alive(*member),
            Some(bytes) if bytes.is_empty() => assembly.refused(now, *member, *round),
            Some(bytes) => {
                let identity = &world.node.identity;
                assembly.answered(now, *member, *round, bytes, identity)
            }
        };
    }
}

/// What a member that is bad in this way, or in none, sends back.
pub fn reply(
    world: &World,
    bad: Option<Bad>,
    member: Member,
    bytes: &[u8],
    files: &ReleasedFiles,
    rng: &mut ChaCha20Rng,
) -> Reply {
    let honest = |rng: &mut ChaCha20Rng| Reply::Answer(world.honest(member, bytes, files, rng));
    let Some(bad) = bad else {
        return honest(rng);
    };
    match bad {
        Bad::Slow => return honest(rng),
        Bad::Silent => return Reply::Nothing,
        Bad::Refusing => return Reply::No,
        _ => {}
    }
    let question = Question::parse(world.certificate(), bytes).expect("from the assembly");
    let digest = question.digest();
    let given = lies(world, bad, member, &question);
    if let Wanted::Proof(places) = question.wanted() {
        return Reply::Answer(match bad {
            Bad::ProvenLie | Bad::AnotherInput => {
                prove_lies(world, member, &question, places, &given, files, rng)
            }
            Bad::NoProof => [
                &[1, 4],
                digest.as_slice(),
                &member.number().to_be_bytes(),
                &[0xff; 64],
            ]
            .concat(),
            _ => world.honest(member, bytes, files, rng),
        });
    }
    let (key, recipient) = (world.signer(member), &world.node.recipient);
    let craft = |digest, recipient, key, rng: &mut ChaCha20Rng| {
        world.craft(digest, member, &given, recipient, key, rng)
    };
    Reply::Answer(match bad {
        Bad::Replay => {
            let old = match member.number() % 3 {
                0 => Question::partials(
                    B256::repeat_byte(1),
                    question.page(),
                    question.quorum().clone(),
                ),
                1 => Question::partials(
                    question.release(),
                    question.page() + 1,
                    question.quorum().clone(),
                ),
                _ => another_quorum(world, &question),
            };
            craft(old.digest(), recipient, key, rng)
        }
        Bad::NotSigned => craft(digest, recipient, &signer(rng), rng),
        Bad::AnotherGrantee => {
            let other = SecretScalar::random(rng);
            let other = foreign_ml_kem().recipient(other.public());
            craft(digest, &other.classical(), key, rng)
        }
        Bad::Cut => {
            // Signed over what is left, so that nothing but the form is wrong.
            let short = &given[..given.len() - 1];
            world.craft(digest, member, short, recipient, key, rng)
        }
        _ => craft(digest, recipient, key, rng),
    })
}

/// What a bad member gives for each file.
fn lies(
    world: &World,
    bad: Bad,
    member: Member,
    question: &Question,
) -> Vec<(Vec<u8>, Option<[u8; 32]>)> {
    let mut given = world.honest_files(member, question.quorum(), &world.headers);
    match bad {
        Bad::WrongPartial | Bad::ProvenLie | Bad::NoProof => {
            // The same lie at every asking.
            let lie = SecretScalar::from_bytes(&[member.number() as u8; 32]).expect("small");
            let at = usize::from(member.number()) % given.len();
            given[at].0 = lie.public().uncompressed().to_vec();
        }
        Bad::AnotherInput => {
            let partials: Vec<_> = given.iter().map(|(partial, _)| partial.clone()).collect();
            let others = partials.iter().cycle().skip(1);
            given
                .iter_mut()
                .zip(others)
                .for_each(|(own, other)| own.0.clone_from(other));
        }
        Bad::WrongMlKem => {
            for (_, secret) in &mut given {
                if let Some(secret) = secret {
                    *secret = [member.number() as u8; 32];
                }
            }
        }
        Bad::ColludingMlKem => {
            let key = foreign_ml_kem();
            for ((_, secret), header) in given.iter_mut().zip(&world.headers) {
                *secret = key
                    .secret_for(header.stanza())
                    .map(|secret| *secret.expose());
            }
        }
        _ => {}
    }
    given
}

fn another_quorum(world: &World, question: &Question) -> Question {
    use collective::committee::Quorum;
    let certificate = world.certificate();
    let members = question.quorum().members();
    let mut others: Vec<Member> = (1..=certificate.size()).map(super::world::member).collect();
    others.sort_by_key(|member| members.contains(member));
    others.truncate(usize::from(certificate.threshold()));
    let quorum = Quorum::new(certificate, &others).expect("members");
    Question::partials(question.release(), question.page(), quorum)
}

fn prove_lies(
    world: &World,
    member: Member,
    question: &Question,
    places: &[u32],
    given: &[(Vec<u8>, Option<[u8; 32]>)],
    files: &ReleasedFiles,
    rng: &mut ChaCha20Rng,
) -> Vec<u8> {
    use collective::committee::Partial;
    use collective::seal::curve::Point;
    let context: ProofContext = files.proof_context();
    let points: Vec<Point> = places
        .iter()
        .map(|&at| world.headers[at as usize].stanza().point().clone())
        .collect();
    let partials: Vec<Partial> = places
        .iter()
        .map(|&at| {
            Partial::new(
                member,
                Point::from_uncompressed(&given[at as usize].0).expect("a point"),
            )
        })
        .collect();
    let proof = world
        .share(member)
        .prove_partials(question.quorum(), &context, &points, &partials, rng)
        .expect("it proves what it is told");
    let head = [question.digest().as_slice(), &member.number().to_be_bytes()].concat();
    [&[1, 4], head.as_slice(), &proof.to_bytes()].concat()
}
