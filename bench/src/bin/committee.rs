//! `just bench-committee`: what a member and a node of a committee compute for each file. No network: processor time of one
//! thread, so that a busy machine does not show. Exits 1 where a promised figure is missed.

use std::process::ExitCode;
use std::time::Duration;

use alloy_primitives::{Address, B256, Signature, U256};
use collective::admission::Admission;
use collective::approval::Selector;
use collective::committee::assembly::{Assembled, Assembly, Effect, Health, Peer, Progress};
use collective::committee::log::LogHead;
use collective::committee::question::Question;
use collective::committee::released::{NodeKeys, ReleasedFiles};
use collective::committee::rewrap::EarlierKeys;
use collective::committee::{self, KeyShare, Member, Quorum};
use collective::contribution::{Commitment, Contribution, SignedContribution};
use collective::id::{BlobId, ContributorId, ManifestDigest, NodeId, Point, TransportPin, sha256};
use collective::input::{Anchored, InputSet, Revocations, Scope};
use collective::receipt::{BlockRef, Escrow, Release};
use collective::seal::Identity;
use collective::seal::contribution::{self, ContributionHeader};
use collective::seal::proof::SenderContext;
use collective::seal::tagged::TaggedIdentity;
use collective::terms::{Purpose, Terms};
use k256::ecdsa::SigningKey;
use p256::Scalar;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use rustix::time::{ClockId, clock_gettime};

const FILES: u16 = 1_000;
const ROUNDS: usize = 40;
/// Partials that one core must make in a second.
const PARTIALS: f64 = 6_500.0;
/// Share of the speed of raw multiplication that partials must reach.
const OF_RAW: f64 = 0.9;
const ESCROW: Escrow = Escrow {
    chain_id: 1,
    address: Address::repeat_byte(0xe5),
};

fn main() -> ExitCode {
    let rng = &mut ChaCha20Rng::seed_from_u64(1);
    let identity = TaggedIdentity::random(rng);
    let shares = committee::split(identity, 1, 3, 5, rng).expect("three of five");
    let certificate = shares[0].certificate();
    let members: Vec<Member> = (1..=3).filter_map(Member::new).collect();
    let quorum = Quorum::new(certificate, &members).expect("members");
    let raw = multiplication(&shares[0]);
    let mut partial = f64::INFINITY;
    let recipient = certificate.recipient();
    for (kind, recipient) in [
        ("age1tag", recipient.classical()),
        ("age1tagpq", recipient.clone()),
    ] {
        let context = SenderContext {
            chain_id: 1,
            registry: [1; 20],
            collective: [2; 20],
            contributor: [3; 32],
            nonce: [4; 32],
        };
        let file = contribution::seal(&recipient, &context, b"", rng).expect("a header");
        let (header, _) =
            contribution::parse(&file, certificate.recipient(), &context).expect("our own");
        opening(kind, &shares, &quorum, &header);
        // The classical ones: without ML-KEM a partial is all that a member computes.
        partial = partial.min(page(kind, &shares, &header, rng));
    }
    if promises(raw, partial) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Seconds of one raw multiplication, in the affine form that a partial travels in.
fn multiplication(share: &KeyShare) -> f64 {
    let point = share.certificate().recipient().point();
    let raw = p256::PublicKey::from_sec1_bytes(point.uncompressed()).expect("a point");
    let raw = raw.to_projective();
    let scalar = Scalar::from(u64::MAX).invert().expect("not zero").square();
    let round = || {
        let work = || {
            for _ in 0..100 {
                std::hint::black_box((std::hint::black_box(raw) * scalar).to_affine());
            }
        };
        seconds(work) / 100.0
    };
    (0..ROUNDS).map(|_| round()).fold(f64::INFINITY, f64::min)
}

/// Partials as a member gives them: checked, encoded, sealed and signed, a page at a time.
fn promises(raw: f64, partial: f64) -> bool {
    let (speed, ratio) = (1.0 / partial, raw / partial);
    println!("raw multiplication {:.0} a second", 1.0 / raw);
    let mut all = true;
    for (name, found, promised) in [
        ("partials a second", speed, PARTIALS),
        ("of raw multiplication", ratio, OF_RAW),
    ] {
        let good = found >= promised;
        let word = if good { "good" } else { "MISSED" };
        println!("  {found:.2} {name} (promised {promised:.2}): {word}");
        all &= good;
    }
    all
}

fn opening(kind: &str, shares: &[KeyShare], quorum: &Quorum, header: &ContributionHeader) {
    let given: Vec<_> = shares[..3]
        .iter()
        .map(|share| share.release(quorum, header).expect("proven"))
        .collect();
    let partials: Vec<_> = given.iter().map(|given| given.partial.clone()).collect();
    let recipient = shares[0].certificate().recipient();
    let once = (0..ROUNDS * 10).map(|_| {
        seconds(|| {
            let dh = committee::combine(quorum, &partials).expect("the quorum");
            let ml_kem = given[0].ml_kem.as_ref();
            committee::open_header(recipient, header.header(), header.stanza(), &dh, ml_kem)
                .expect("good partials");
        })
    });
    println!(
        "{kind}: combine three and open a header {:.1} µs",
        once.fold(f64::INFINITY, f64::min) * 1e6
    );
}

/// One member's answer, and the node's work on three of them. Returns the member's seconds for each file.
fn page(
    kind: &str,
    shares: &[KeyShare],
    header: &ContributionHeader,
    rng: &mut ChaCha20Rng,
) -> f64 {
    let node = TaggedIdentity::random(rng);
    let recipient = node.recipient();
    let identity = Identity::Tagged(node);
    let keys = NodeKeys {
        node: NodeId(B256::repeat_byte(1)),
        operator: Address::ZERO,
        signer: Address::ZERO,
        recipient: sha256(recipient.to_string().as_bytes()),
        roles: U256::from(1),
        measurement: B256::ZERO,
        transport: TransportPin(B256::ZERO),
    };
    let input = input(header);
    let block = BlockRef {
        number: 1,
        hash: B256::ZERO,
        time: 1,
    };
    let release = Release {
        job: 1,
        attempt: 1,
        collective: Address::repeat_byte(2),
        manifest: ManifestDigest(B256::ZERO),
        node: keys.node,
        keys: keys.hash(),
        allow: block,
        deny: block,
        input_root: input.root(),
        input_count: input.count(),
        epoch: shares[0].certificate().epoch(),
    };
    let headers = vec![header.clone(); usize::from(FILES)];
    let files =
        ReleasedFiles::new(&ESCROW, &release, &input, &keys, recipient, headers).expect("it fits");
    let signers: Vec<SigningKey> = (1..=3u8)
        .map(|n| SigningKey::from_slice(&[n; 32]).expect("small"))
        .collect();
    let peers: Vec<Peer> = (1..)
        .zip(&signers)
        .map(|(number, key)| Peer {
            member: Member::new(number).expect("small"),
            signer: Address::from_private_key(key),
            health: Health::default(),
        })
        .collect();
    let certificate = shares[0].certificate().clone();
    let patience = Duration::from_secs(1);
    let begin = || match Assembly::start(
        certificate.clone(),
        ESCROW,
        &peers,
        files.clone(),
        patience,
        Duration::ZERO,
    ) {
        Progress::Waiting(assembly, effects) => (assembly, effects),
        _ => unreachable!("three members are there"),
    };
    let (_, effects) = begin();
    let Effect::Ask { question, .. } = &effects[0] else {
        unreachable!("they are asked first")
    };
    let asked = Question::parse(&certificate, question).expect("our own");
    let mut member = f64::INFINITY;
    let mut answers = Vec::new();
    for (share, key) in shares.iter().zip(&signers) {
        let mut bytes = Vec::new();
        member = member.min(seconds(|| {
            let answer = share
                .answer(
                    &asked,
                    &files,
                    &EarlierKeys::default(),
                    LogHead::default(),
                    rng,
                )
                .expect("proven");
            let hash = answer.statement().signing_hash(&ESCROW);
            let signature = Signature::from(
                key.sign_prehash_recoverable(hash.as_slice())
                    .expect("a digest"),
            );
            bytes = answer.to_bytes(&signature);
        }));
        answers.push((share.member(), bytes));
    }
    let node = (0..3)
        .map(|_| {
            let (mut assembly, _) = begin();
            seconds(|| {
                let mut done: Option<Assembled> = None;
                for (member, bytes) in &answers {
                    match assembly.answered(Duration::ZERO, *member, 0, bytes, &identity) {
                        Progress::Waiting(next, _) => assembly = next,
                        Progress::Done(assembled) => {
                            done = Some(assembled);
                            break;
                        }
                        Progress::GivenUp(given_up) => panic!("{given_up}"),
                    }
                }
                assert!(done.is_some_and(|done| done.files.iter().all(Result::is_ok)));
            })
        })
        .fold(f64::INFINITY, f64::min);
    println!(
        "{kind}: {FILES} files of three in five: a member answers in {:.0} ms with {} bytes, the node opens in {:.0} ms",
        member * 1e3,
        answers[0].1.len(),
        node * 1e3
    );
    member / f64::from(FILES)
}

/// The same header for every contributor: what it costs does not depend on that.
fn input(header: &ContributionHeader) -> InputSet {
    let terms = Terms {
        purposes: [Purpose::Statistics].into_iter().collect(),
        expiry: 1 << 40,
    };
    let commitment = Commitment {
        header: header.sha256().into(),
        payload: B256::ZERO,
        length: 0,
        source: "poll".into(),
    };
    let anchored: Vec<Anchored> = (1..=FILES)
        .map(|n| {
            let contribution = Contribution {
                collective: Address::repeat_byte(2),
                contributor: ContributorId::from_address(Address::left_padding_from(
                    &n.to_be_bytes(),
                )),
                point: Point(header.point_id().into()),
                commitment: commitment.digest(),
                terms: terms.digest(),
                nonce: 1,
            };
            let signature = Signature::new(U256::from(1), U256::from(1), false);
            let entry = SignedContribution {
                contribution,
                commitment: commitment.clone(),
                terms,
                signature,
            };
            Anchored {
                entry,
                block: 1,
                time: 1,
            }
        })
        .collect();
    let selector = Selector {
        source: "poll".into(),
        declaration: BlobId(B256::ZERO),
        columns: vec!["age".into()],
        since: None,
        until: None,
    };
    let scope = Scope {
        selector: &selector,
        purposes: Purpose::Statistics.into(),
        allow_block: 1,
        deny_time: 1,
        admission: Admission::Open,
        list: None,
        revocations: &Revocations::default(),
    };
    InputSet::derive(&scope, &anchored).expect("files")
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
