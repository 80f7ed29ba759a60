//! What challenges find out and whom they wrong: how much loss is found how soon, and that an honest place is never accused. `SEED` says which world.

use alloy_primitives::{Address, B256};
use collective::contribution::{
    Commitment, LEAF_BYTES, PayloadOutline, PayloadTree, leaf_count, leaf_range,
};
use collective::id::Leaf;
use collective::liveness::{Challenge, Epoch, Outcome, POOL_DRAWS, Standing, TRIES, judge};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

const COLLECTIVE: Address = Address::repeat_byte(0xc0);

/// Contributions of unequal size, and all leaves that were lost or garbled.
struct Pool {
    stored: Vec<Stored>,
    sizes: Vec<(Leaf, u64)>,
    random: ChaCha20Rng,
}

struct Stored {
    commitment: Commitment,
    payload: Vec<u8>,
    /// What their keeper is asked with: all of it is one block.
    outline: PayloadOutline,
    leaves: Vec<B256>,
}

fn seed() -> u64 {
    let seed = std::env::var("SEED").map_or(0x0111_7e55, |text| text.parse().expect("a number"));
    println!("SEED={seed}");
    seed
}

impl Pool {
    fn new(contributions: u8, seed: u64) -> Self {
        let mut random = ChaCha20Rng::seed_from_u64(seed);
        let mut pool = Self {
            stored: vec![],
            sizes: vec![],
            random: random.clone(),
        };
        for number in 0..contributions {
            let length = 1 + random.next_u32() as usize % (100 * LEAF_BYTES);
            let mut payload = vec![0; length];
            random.fill_bytes(&mut payload);
            let mut tree = PayloadTree::new();
            tree.update(&payload);
            let outline = tree.outline();
            let leaves = outline.leaves(0, &payload).expect("its own");
            let commitment = Commitment {
                header: B256::with_last_byte(number),
                payload: outline.root(),
                length: length as u64,
                source: "poll".into(),
            };
            let name = Leaf(B256::with_last_byte(number));
            pool.sizes.push((name, commitment.length));
            pool.stored.push(Stored {
                commitment,
                payload,
                outline,
                leaves,
            });
        }
        pool.random = random;
        pool
    }

    fn epoch(&mut self, number: u64) -> Epoch {
        let mut block = B256::ZERO;
        self.random.fill_bytes(block.as_mut_slice());
        Epoch::new(COLLECTIVE, number, block)
    }

    fn leaves(&self) -> Vec<Challenge> {
        let each = self.sizes.iter();
        each.flat_map(|(contribution, length)| {
            (0..leaf_count(*length)).map(|index| Challenge {
                contribution: *contribution,
                index,
            })
        })
        .collect()
    }

    /// Garbles one bit in each of this many leaves.
    fn lose(&mut self, count: usize) {
        let mut leaves = self.leaves();
        for _ in 0..count {
            let lost = leaves.swap_remove(self.random.next_u32() as usize % leaves.len());
            let stored = &mut self.stored[usize::from(lost.contribution.0[31])];
            let range = leaf_range(stored.commitment.length, lost.index).expect("a leaf");
            let place = range.start + self.random.next_u64() % (range.end - range.start);
            stored.payload[place as usize] ^= 1 << (self.random.next_u32() % 8);
        }
    }

    fn answer(&self, challenge: &Challenge) -> Outcome {
        let Stored {
            commitment,
            payload,
            outline,
            leaves,
        } = &self.stored[usize::from(challenge.contribution.0[31])];
        let range = leaf_range(commitment.length, challenge.index).expect("drawn");
        let bytes = &payload[range.start as usize..range.end as usize];
        let path = outline.path(challenge.index, leaves).expect("drawn");
        judge(commitment, challenge.index, bytes, &path)
    }
}

#[test]
fn a_hundredth_of_all_leaves_lost_is_found_in_300_draws_over_the_pool() {
    const TRIALS: u64 = 1_000;
    const DRAWS: usize = 300;
    let first = seed();
    let found = |trial: u64| {
        let mut pool = Pool::new(24, first.wrapping_add(trial));
        let lost = pool.leaves().len().div_ceil(100);
        pool.lose(lost);
        let each = pool.sizes.len();
        let days = (0..)
            .map(|day| pool.epoch(day))
            .take(DRAWS.div_ceil(POOL_DRAWS as usize));
        let days: Vec<_> = days.collect();
        let drawn = days
            .iter()
            .flat_map(|day| day.challenges(&pool.sizes).split_off(each));
        drawn
            .take(DRAWS)
            .any(|challenge| pool.answer(&challenge) == Outcome::Wrong)
    };
    let found = (0..TRIALS).filter(|trial| found(*trial)).count();
    println!("1 % of the leaves lost: found in {found} of {TRIALS} trials of {DRAWS} draws");
    assert!(found >= 950, "{found} of {TRIALS}");
}

#[test]
fn a_removed_file_is_found_by_its_first_draw() {
    let first = seed();
    for trial in 0..200 {
        let mut pool = Pool::new(8, first.wrapping_add(trial));
        let gone = pool.random.next_u32() as usize % 8;
        let (epoch, kept) = (pool.epoch(trial), pool.stored[gone].payload.len());
        // It sends as many other bytes; what is earned by silence is another test.
        pool.stored[gone].payload = vec![0; kept];
        let own = &epoch.challenges(&pool.sizes)[..8];
        for (place, challenge) in own.iter().enumerate() {
            let expected = if place == gone {
                Outcome::Wrong
            } else {
                Outcome::Held
            };
            assert_eq!(pool.answer(challenge), expected);
        }
    }
}

#[test]
fn nobody_who_keeps_the_bytes_is_wronged_by_a_network_that_fails_one_try_in_twenty() {
    const PLACES: u8 = 100;
    const DAYS: u64 = 100;
    let mut pool = Pool::new(PLACES, seed());
    let mut standings = vec![Standing::default(); usize::from(PLACES)];
    let (mut failed, mut alarms) = (0, 0);
    for day in 0..DAYS {
        let challenges = pool.epoch(day).challenges(&pool.sizes);
        for (standing, challenge) in standings.iter_mut().zip(&challenges) {
            let mut tries = vec![];
            for _ in 0..TRIES {
                let outcome = match pool.random.next_u32() % 40 {
                    0 => Outcome::Offline,
                    1 => Outcome::Error,
                    _ => pool.answer(challenge),
                };
                failed += u32::from(outcome != Outcome::Held);
                tries.push(outcome);
                if outcome == Outcome::Held {
                    break;
                }
            }
            let outcome = Outcome::of_tries(tries);
            standing.note(outcome);
            alarms += u32::from(outcome == Outcome::Wrong || !standing.earns());
        }
    }
    println!(
        "{failed} tries failed; {alarms} false alarms in {} challenges",
        u64::from(PLACES) * DAYS
    );
    assert!(
        (300..800).contains(&failed),
        "one try in twenty fails: {failed}"
    );
    assert_eq!(alarms, 0);
}

/// Shows what it has and is silent about the rest: says on how many of 10,000 days that earned.
fn earned_with(kept: f64, random: &mut ChaCha20Rng) -> u32 {
    let mut standing = Standing::default();
    let day = |_| {
        let has = f64::from(random.next_u32()) < kept * f64::from(u32::MAX);
        standing.note(if has { Outcome::Held } else { Outcome::Error });
        u32::from(standing.earns())
    };
    (0..10_000).map(day).sum()
}

#[test]
fn who_keeps_half_earns_a_quarter_and_who_keeps_little_nothing() {
    let mut random = ChaCha20Rng::seed_from_u64(seed());
    for (kept, most) in [(0.5, 2_700), (0.3, 450), (0.1, 20)] {
        let earned = earned_with(kept, &mut random);
        println!("keeps {kept}, shows only that: earns on {earned} of 10,000 days");
        assert!(earned < most);
    }
    assert_eq!(earned_with(1.1, &mut random), 10_000);
}

#[test]
fn what_is_asked_of_a_contribution_is_spread_over_its_leaves() {
    let mut pool = Pool::new(1, seed());
    let (name, length) = pool.sizes[0];
    let mut asked = vec![0_u32; usize::try_from(leaf_count(length)).expect("few")];
    let days = 50 * asked.len() as u64;
    for day in 0..days {
        asked[pool.epoch(day).draw(name, length) as usize] += 1;
    }
    // Chi-squared over k cells has mean k − 1 and variance 2 (k − 1): six deviations.
    let cells = asked.len() as f64;
    let squares: f64 = asked
        .iter()
        .map(|n| (f64::from(*n) - 50.0).powi(2) / 50.0)
        .sum();
    println!("chi-squared {squares:.1} over {cells} cells");
    assert!((squares - cells).abs() < 6.0 * (2.0 * cells).sqrt());
}
