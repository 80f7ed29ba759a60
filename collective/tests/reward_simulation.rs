//! Money through a long time: jobs and days come in, roots are proposed, vetoed and become active, people claim or do not. At
//! every step what was paid in is what was paid out and what is left. `SEED` says where to begin, `SEEDS` how many worlds.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, U256};
use collective::id::{ContributorId, Leaf};
use collective::liveness::{Custody, Keepers, Outcome, OwnDraw, Verdict};
use collective::merkle::{self, leaf_of};
use collective::reward::{Claims, Earning, RewardLedger};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

const TREASURY: Address = Address::repeat_byte(0xee);
/// People of one world.
const PEOPLE: u64 = 8;
/// What happens in one world.
const STEPS: u32 = 40;

/// A root that was proposed or is active, with what its claims are answered from.
struct Root {
    claims: Claims,
    ledger: RewardLedger,
    total: U256,
}

/// RewardDistributor's rules for one pool, and what people know.
#[derive(Default)]
struct World {
    funded: U256,
    paid: U256,
    active: Option<Root>,
    pending: Option<Root>,
    claimed: BTreeMap<ContributorId, U256>,
    /// Everything that settled.
    earned: RewardLedger,
    keepers: Keepers,
    /// The most that a root which people could claim under gave each.
    promised: RewardLedger,
}

fn id(number: u64) -> ContributorId {
    ContributorId(U256::from(number + 1).into())
}

impl World {
    /// Money comes in with what it is for.
    fn credit(&mut self, earning: &Earning) {
        self.funded += earning.amount;
        let before = self.earned.clone();
        let credited = self.earned.credit(earning, TREASURY);
        credited.expect("an earning that can be divided");
        assert!(before.is_within(&self.earned), "a leaf fell");
    }

    fn job(&mut self, random: &mut ChaCha20Rng) {
        let shares = (0..PEOPLE).filter_map(|number| {
            let share = u64::from(random.next_u32() % 1_000);
            random
                .next_u32()
                .is_multiple_of(2)
                .then(|| (id(number), share))
        });
        let shares = shares.collect();
        // Whole orders of magnitude apart, so that remainders of every size come.
        let amount = U256::from(random.next_u64()) >> (random.next_u32() % 64) as usize;
        self.credit(&Earning { amount, shares });
    }

    fn day(&mut self, random: &mut ChaCha20Rng) {
        let draws = (0..2 * PEOPLE).map(|file| OwnDraw {
            contribution: Leaf(U256::from(file).into()),
            contributor: id(file / 2),
            verdict: match random.next_u32() % 8 {
                0 => Verdict::Asked(Custody::Connected, Outcome::Wrong),
                1 => Verdict::Asked(Custody::Connected, Outcome::Offline),
                2 => Verdict::Asked(Custody::Escrow, Outcome::Held),
                3 => Verdict::Withdrawn,
                _ => Verdict::Asked(Custody::Connected, Outcome::Held),
            },
            shown: random.next_u32().is_multiple_of(16),
        });
        let earners = self.keepers.note(draws);
        let pay = U256::from(random.next_u32());
        self.credit(&Earning::equal(pay, earners));
    }

    fn propose(&mut self) {
        let total = self.earned.total().expect("a sum");
        assert!(total <= self.funded, "more than there is");
        let Some(claims) = Claims::new(&self.earned) else {
            return;
        };
        if self.pending.is_none() {
            let ledger = self.earned.clone();
            self.pending = Some(Root {
                claims,
                ledger,
                total,
            });
        }
    }

    fn activate(&mut self) {
        let Some(root) = self.pending.take() else {
            return;
        };
        assert!(self.promised.is_within(&root.ledger), "a claim was lost");
        self.promised = root.ledger.clone();
        self.active = Some(root);
    }

    fn claim(&mut self, account: ContributorId) {
        let Some(root) = &self.active else {
            return;
        };
        let Some((cumulative, proof)) = root.claims.claim(account) else {
            return;
        };
        let leaf = leaf_of(&[account.0, B256::from(cumulative)]);
        assert!(merkle::verify(root.claims.root(), leaf, &proof));
        let before = self.claimed.entry(account).or_default();
        self.paid += cumulative.checked_sub(*before).expect("a leaf never falls");
        *before = cumulative;
        assert!(self.paid <= root.total, "more than the root declares");
    }

    fn check(&self) {
        // Not paid: in no root yet, in one that waits, or not claimed.
        let open = self.earned.accounts().map(|(account, earned)| {
            let claimed = self.claimed.get(&account).copied().unwrap_or_default();
            earned.checked_sub(claimed).expect("paid what was earned")
        });
        let left = open.fold(U256::ZERO, |sum, amount| sum + amount);
        assert_eq!(self.funded, self.paid + left);
        let paid = self.claimed.values().fold(U256::ZERO, |sum, it| sum + *it);
        assert_eq!(self.paid, paid);
    }
}

/// One world from its beginning to its end; says how many claims paid and how many roots were vetoed.
fn live(seed: u64) -> (u32, u32) {
    let mut random = ChaCha20Rng::seed_from_u64(seed);
    let (mut world, mut claims, mut vetoes) = (World::default(), 0, 0);
    for _ in 0..STEPS {
        match random.next_u32() % 8 {
            0 | 1 => world.job(&mut random),
            2 => world.day(&mut random),
            3 => world.propose(),
            4 => world.activate(),
            5 => vetoes += u32::from(world.pending.take().is_some()),
            _ => {
                let before = world.paid;
                world.claim(id(random.next_u64() % PEOPLE));
                claims += u32::from(world.paid > before);
            }
        }
        world.check();
    }
    // In the end everybody gets everything, however late.
    world.pending = None;
    world.propose();
    world.activate();
    let treasury = ContributorId::from_address(TREASURY);
    for account in (0..PEOPLE).map(id).chain([treasury]) {
        world.claim(account);
    }
    world.check();
    assert_eq!(world.paid, world.funded, "something is left");
    (claims, vetoes)
}

#[test]
fn what_was_paid_in_is_what_was_paid_out_and_what_is_left_in_every_world() {
    let number = |name: &str, otherwise| {
        std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
    };
    let (first, seeds) = (number("SEED", 0_u64), number("SEEDS", 10_000));
    println!("SEED={first} SEEDS={seeds}");
    let (mut claims, mut vetoes) = (0, 0);
    for seed in first..first + seeds {
        let (claimed, vetoed) = std::panic::catch_unwind(|| live(seed))
            .unwrap_or_else(|_| panic!("SEED={seed} SEEDS=1 is such a world"));
        (claims, vetoes) = (claims + claimed, vetoes + vetoed);
    }
    println!("{claims} claims that paid, {vetoes} vetoes");
    assert!(claims > 0 && vetoes > 0, "nothing happened");
}
