//! `just bench-seal`: our payload layer against raw ChaCha20-Poly1305 of aws-lc and against the `age` crate, in one run.
//!
//! Every figure is the best of many rounds, and the rounds of the candidates alternate. What is
//! compared is processor time, so that a busy machine does not show. Exits 1 where a promised ratio is missed.

use std::io::{Read, Write};
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::time::Instant;

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use collective::committee::{self, KeyShare, Quorum};
use collective::seal::contribution;
use collective::seal::header::FileKey;
use collective::seal::payload;
use collective::seal::proof::SenderContext;
use collective::seal::tagged::TaggedIdentity;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use rustix::time::{ClockId, clock_gettime};

/// Long enough for every core to have its share, short enough to find a moment in which nothing else runs.
const LEN: usize = 16 << 20;
const ROUNDS: usize = 60;

/// Share of the raw cipher's speed that one core must reach.
const OF_RAW: f64 = 0.95;
/// Multiple of the `age` crate's speed that one core must reach.
const OF_AGE: f64 = 2.0;
/// Factor by which a second thread makes the first one's work on one large file smaller. What that is worth by the clock
/// depends on what else the machine does.
const OF_TWO: f64 = 1.8;

fn main() -> ExitCode {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut plain = vec![0; LEN];
    rng.fill_bytes(&mut plain);
    let good = [sealing(&plain), opening(&plain)]
        .into_iter()
        .fold(true, |all, good| all & good);
    headers(&mut rng);
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn sealing(plain: &[u8]) -> bool {
    let file_key = FileKey::from_bytes([1; 16]);
    let raw = raw_key();
    let mut out = vec![0; payload::sealed_len(plain.len())];
    let mut raw_out = vec![0; plain.len()];
    let recipient = age::x25519::Identity::generate().to_public();
    let mut age_out = Vec::with_capacity(plain.len() + (1 << 20));
    let mut best = Best::new();
    for _ in 0..ROUNDS {
        best.time(Slot::Raw, || {
            let mut tag = [0; 16];
            raw.seal_out_of_place_scatter(
                nonce(),
                Aad::empty(),
                plain,
                &mut raw_out,
                &[],
                &mut tag,
            )
            .expect("within the cipher's limit");
        });
        for (slot, threads) in [(Slot::Ours, 1), (Slot::OursOnTwo, 2)] {
            let threads = NonZeroUsize::new(threads).expect("not zero");
            best.time(slot, || {
                payload::seal_into(&file_key, [2; 16], plain, &mut out, threads)
            });
        }
        best.time(Slot::Age, || {
            age_out.clear();
            let recipients = std::iter::once(&recipient as &dyn age::Recipient);
            let encryptor = age::Encryptor::with_recipients(recipients).expect("a recipient");
            let mut writer = encryptor.wrap_output(&mut age_out).expect("memory");
            writer.write_all(plain).expect("memory");
            writer.finish().expect("memory");
        });
    }
    best.report("seal")
}

fn opening(plain: &[u8]) -> bool {
    let file_key = FileKey::from_bytes([1; 16]);
    let raw = raw_key();
    let mut raw_sealed = vec![0; plain.len()];
    let mut tag = [0; 16];
    raw.seal_out_of_place_scatter(nonce(), Aad::empty(), plain, &mut raw_sealed, &[], &mut tag)
        .expect("within the cipher's limit");
    let mut sealed = vec![0; payload::sealed_len(plain.len())];
    payload::seal_into(&file_key, [2; 16], plain, &mut sealed, NonZeroUsize::MIN);
    let identity = age::x25519::Identity::generate();
    let age_sealed = age::encrypt(&identity.to_public(), plain).expect("memory");
    let mut out = vec![0; plain.len()];
    let mut best = Best::new();
    for _ in 0..ROUNDS {
        best.time(Slot::Raw, || {
            raw.open_separate_gather(nonce(), Aad::empty(), &raw_sealed, &tag, &mut out)
                .expect("authentic");
        });
        for (slot, threads) in [(Slot::Ours, 1), (Slot::OursOnTwo, 2)] {
            let threads = NonZeroUsize::new(threads).expect("not zero");
            best.time(slot, || {
                payload::open_into(&file_key, &sealed, &mut out, threads).expect("authentic");
            });
        }
        best.time(Slot::Age, || {
            let decryptor = age::Decryptor::new_buffered(&age_sealed[..]).expect("a header");
            let identities = std::iter::once(&identity as &dyn age::Identity);
            let mut reader = decryptor.decrypt(identities).expect("our key");
            reader.read_exact(&mut out).expect("authentic");
        });
        assert!(out == plain, "all open the same plaintext");
    }
    best.report("open")
}

/// The candidates.
#[derive(Clone, Copy)]
enum Slot {
    Raw,
    Ours,
    OursOnTwo,
    Age,
}

/// Seconds of the best round of each candidate.
struct Best {
    /// Of processor time of the calling thread.
    own: [f64; 4],
    /// By the clock.
    wall: [f64; 4],
}

impl Best {
    fn new() -> Self {
        Self {
            own: [f64::INFINITY; 4],
            wall: [f64::INFINITY; 4],
        }
    }

    fn time(&mut self, slot: Slot, work: impl FnOnce()) {
        let clocks = [ClockId::ThreadCPUTime, ClockId::Monotonic];
        let start = clocks.map(clock_gettime);
        work();
        let end = clocks.map(clock_gettime);
        let took = |i: usize| {
            let took = end[i] - start[i];
            took.tv_sec as f64 + took.tv_nsec as f64 / 1e9
        };
        let slot = slot as usize;
        self.own[slot] = self.own[slot].min(took(0));
        self.wall[slot] = self.wall[slot].min(took(1));
    }

    fn report(&self, what: &str) -> bool {
        let speed = |seconds: f64| LEN as f64 / seconds / 1e9;
        let [raw, one, two, age] = self.own.map(speed);
        let wall = self.wall.map(speed);
        println!(
            "{what} {} MiB, GB/s of one core: raw {raw:.2}, ours {one:.2}, age crate {age:.2}",
            LEN >> 20
        );
        println!(
            "  by the clock: ours {:.2}, ours on two threads {:.2}",
            wall[Slot::Ours as usize],
            wall[Slot::OursOnTwo as usize]
        );
        let mut all = true;
        for (name, ratio, promised) in [
            ("of raw", one / raw, OF_RAW),
            ("of the age crate", one / age, OF_AGE),
            (
                "times less to do for each of two threads",
                two / one,
                OF_TWO,
            ),
        ] {
            let good = ratio >= promised;
            let word = if good { "good" } else { "MISSED" };
            println!("  {ratio:.2} {name} (promised {promised:.2}): {word}");
            all &= good;
        }
        all
    }
}

/// What one contribution costs beside its bytes.
fn headers(rng: &mut ChaCha20Rng) {
    let context = SenderContext {
        chain_id: 1,
        registry: [1; 20],
        collective: [2; 20],
        contributor: [3; 32],
        nonce: [4; 32],
    };
    let share = KeyShare::sole(TaggedIdentity::random(rng), 0);
    let certificate = share.certificate();
    let quorum = Quorum::new(certificate, &[share.member()]).expect("itself");
    for recipient in [
        certificate.recipient().clone(),
        certificate.recipient().classical(),
    ] {
        let file = contribution::seal(&recipient, &context, b"", rng).expect("a header");
        let parse = || {
            contribution::parse(&file, &recipient, &context)
                .expect("our own")
                .0
        };
        let header = parse();
        let open = || {
            let release = share.release(&quorum, &header).expect("proven");
            let dh = committee::combine(&quorum, &[release.partial]).expect("one partial");
            committee::open_header(
                &recipient,
                header.header(),
                header.stanza(),
                &dh,
                release.ml_kem.as_ref(),
            )
            .expect("our own")
        };
        let kind = if recipient.is_post_quantum() {
            "age1tagpq"
        } else {
            "age1tag"
        };
        println!(
            "{kind} header of {} bytes, µs: seal with proof {:.0}, check with proof {:.0}, release and open {:.0}",
            header.header().as_bytes().len(),
            micros(|| drop(contribution::seal(&recipient, &context, b"", &mut *rng))),
            micros(|| drop(parse())),
            micros(|| drop(open())),
        );
    }
}

/// The best of 300: one is over before the machine turns to something else.
fn micros(mut work: impl FnMut()) -> f64 {
    let mut once = || {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64() * 1e6
    };
    (0..300).map(|_| once()).fold(f64::INFINITY, f64::min)
}

fn raw_key() -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &[3; 32]).expect("32 bytes"))
}

fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}
