//! `just bench-liveness`: a day of a million contributions of 200 KiB that their contributors keep. What is drawn, what comes over
//! the line, what the node reads of its own, and what it takes to draw and to judge it, beside raw SHA-256 over the same bytes in the
//! same run. Processor time of one thread, so that a busy machine does not show. Exits 1 where an honest answer is not held, or the
//! day takes longer than promised.

use std::process::ExitCode;

use alloy::primitives::{Address, B256, U256};
use anyhow::{Context, Result};
use collective::contribution::{Commitment, LEAF_BYTES, PayloadOutline, PayloadTree, leaf_range};
use collective::id::{Leaf, sha256};
use collective::liveness::{Challenge, Epoch, Outcome, judge};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

/// Contributions, each asked for once a day.
const CONTRIBUTIONS: u64 = 1_000_000;
/// Bytes of a payload.
const LENGTH: usize = 200 * LEAF_BYTES;
/// Payloads that are generated; each is many people's, so that all of them fit into memory.
const PAYLOADS: usize = 64;
/// What drawing and judging a day may take, in times of raw SHA-256 over what came and what was read. A path takes a hash of 65 bytes
/// for each leaf of its MiB, and a short one costs several times what the same bytes of a long one do.
const PROMISED: f64 = 12.0;

/// A payload as its keeper has it.
struct Kept {
    commitment: Commitment,
    bytes: Vec<u8>,
    stub: Stub,
}

/// What the node has of it (`collective_node::stub`), without the header.
struct Stub {
    outline: Vec<u8>,
    leaves: Vec<u8>,
}

impl Stub {
    /// The path of one leaf, made as an audit makes it.
    fn path(&self, commitment: &Commitment, index: u64) -> Vec<B256> {
        let outline = PayloadOutline::parse(&self.outline, commitment).expect("its outline");
        let leaves: Vec<_> = self.leaves.chunks(32).map(B256::from_slice).collect();
        outline.path(index, &leaves).expect("drawn")
    }
}

fn main() -> Result<ExitCode> {
    let mut random = ChaCha20Rng::seed_from_u64(7);
    let kept: Vec<Kept> = (0..PAYLOADS).map(|_| generated(&mut random)).collect();
    let name = |number: u64| Leaf(U256::from(number).into());
    let pool: Vec<(Leaf, u64)> = (0..CONTRIBUTIONS)
        .map(|number| (name(number), LENGTH as u64))
        .collect();
    let epoch = Epoch::new(Address::repeat_byte(1), 20_779, B256::repeat_byte(7));

    let (challenges, drawing) = timed(|| epoch.challenges(&pool))?;
    // What a keeper would send: a KiB, and no path. That is made here.
    let answer = |challenge: &Challenge| {
        let number: U256 = challenge.contribution.0.into();
        let kept = &kept[number.to::<usize>() % PAYLOADS];
        let range = leaf_range(LENGTH as u64, challenge.index).expect("drawn");
        let bytes = &kept.bytes[range.start as usize..range.end as usize];
        (kept, challenge.index, bytes)
    };
    let answers: Vec<_> = challenges.iter().map(answer).collect();
    let came: usize = answers.iter().map(|it| it.2.len()).sum();
    let read = kept[0].stub.outline.len() + kept[0].stub.leaves.len();
    let (held, judging) = timed(|| {
        let judged = answers.iter().map(|(kept, index, bytes)| {
            let path = kept.stub.path(&kept.commitment, *index);
            judge(&kept.commitment, *index, bytes, &path)
        });
        judged.filter(|it| *it == Outcome::Held).count()
    })?;
    let (_, raw) = timed(|| {
        let hashed = answers.iter().map(|(kept, _, bytes)| {
            let Stub { outline, leaves } = &kept.stub;
            sha256(bytes) ^ sha256(outline) ^ sha256(leaves)
        });
        hashed.fold(B256::ZERO, |all, it| all ^ it)
    })?;

    let ratio = (drawing + judging) / raw;
    println!(
        "{} challenges over {CONTRIBUTIONS} payloads of {} KiB: {came} bytes came, {} each; {read} bytes of hashes were read for each",
        challenges.len(),
        LENGTH / LEAF_BYTES,
        came / challenges.len()
    );
    println!("drawing them: {drawing:.2} s of one core");
    println!("judging them, the path included: {judging:.2} s of one core, {held} held");
    println!("raw SHA-256 over the same bytes: {raw:.2} s of one core; ratio {ratio:.2}");
    let is_good = held == challenges.len() && ratio <= PROMISED;
    Ok(if is_good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn generated(random: &mut ChaCha20Rng) -> Kept {
    let mut bytes = vec![0; LENGTH];
    random.fill(&mut bytes[..]);
    let mut tree = PayloadTree::new();
    tree.update(&bytes);
    let outline = tree.outline();
    let leaves = outline.leaves(0, &bytes).expect("its own");
    Kept {
        commitment: Commitment {
            header: B256::ZERO,
            payload: outline.root(),
            length: LENGTH as u64,
            source: "poll".into(),
        },
        bytes,
        stub: Stub {
            outline: outline.to_bytes(),
            leaves: leaves.concat(),
        },
    }
}

/// What some work gives, and the seconds of processor time that it took on this thread.
fn timed<T>(work: impl FnOnce() -> T) -> Result<(T, f64)> {
    let before = processor_seconds()?;
    let done = work();
    Ok((done, processor_seconds()? - before))
}

/// The first figure of `schedstat`: nanoseconds for which this thread was on a processor.
fn processor_seconds() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")
        .context("/proc/thread-self/schedstat: this needs Linux with CONFIG_SCHED_INFO")?;
    let first = text.split_whitespace().next().context("no figure")?;
    Ok(first.parse::<u64>()? as f64 / 1e9)
}
