//! Money under way while blocks are cut out, the endpoint is away or loses its answers, and the node crashes: at every step what
//! came in is what was paid and what is left, nobody is paid twice, and in the end everybody has what is theirs.
//!
//! Each seed begins where three jobs have run and none is settled. `SEED` says which comes first, `SEEDS` how many there are.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use crate::quiet_world::{
    Dice, LAG, Moment, PRICE, QuietWorld, WINDOW, Way, number, populated, reaches,
};
use alloy::primitives::{Address, B256, U256};
use collective_contracts::{DemoToken, JobEscrow, RewardDistributor};
use collective_node::chain::facts::JobState;

/// Jobs that wait for their settlement when a world begins.
const JOBS: u64 = 3;
/// People whose records they read.
const PEOPLE: usize = 5;
/// After which a world is taken to hang: most end within 200 steps and a second, and of a busy machine the node gets little.
const STEPS: u32 = 1_000;
const HANGS: Duration = Duration::from_secs(120);
/// The node's pause and that between two blocks.
const PAUSE: Duration = Duration::from_millis(2);

/// What happened in all worlds.
#[derive(Default)]
struct Count {
    cuts: u64,
    deepest: u64,
    crashes: u64,
    outages: u64,
    lost_answers: u64,
    claims: u64,
    checks: u64,
    longest: u32,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_payout_lands_once_whatever_happens() {
    let (first, seeds) = (number("SEED", 1), number("SEEDS", 12));
    let mut quiet = populated().await;
    for _ in 0..JOBS {
        let job = quiet.request(&quiet.manifest).await.expect("a job");
        reaches(&quiet, job, JobState::Completed).await;
    }
    quiet.mine(LAG);
    quiet.stand_still().await;
    quiet.crash().await;
    quiet.poll = PAUSE;
    let mut start = quiet.keep();
    let (began, mut count) = (Instant::now(), Count::default());
    for seed in first..first + seeds {
        println!("SEED={seed} SEEDS=1");
        play(&mut quiet, &mut start, &mut Dice(seed), &mut count).await;
    }
    let Count {
        cuts,
        deepest,
        crashes,
        outages,
        lost_answers,
        claims,
        checks,
        longest,
    } = count;
    println!(
        "| {seeds} worlds in {:.0} s | {cuts} times blocks were cut out, {deepest} at most | {crashes} crashes | {outages} outages, \
         {lost_answers} of answers only | {claims} claims sent | {checks} times the money added up, {longest} at most in one world |",
        began.elapsed().as_secs_f64()
    );
    assert!(
        cuts > 0 && crashes > 0 && lost_answers > 0 || seeds < 12,
        "nothing happened"
    );
}

async fn play(quiet: &mut QuietWorld, start: &mut Moment, dice: &mut Dice, count: &mut Count) {
    quiet.line.is(Way::Open);
    quiet.go_back(start).await;
    quiet.start().await.expect("the node starts");
    let (mut steps, mut known, began) = (0, Known::default(), Instant::now());
    while !is_over(quiet, &mut known).await {
        match dice.below(40) {
            0..=4 => {
                let depth = (1 + dice.below(LAG)).min(quiet.head() - start.head);
                let (resent, more) = (dice.below(2) == 0, dice.below(3));
                quiet.cut(depth, resent, depth + more).await;
                count.cuts += 1;
                count.deepest = count.deepest.max(depth);
            }
            5 => {
                quiet.line.is(Way::Cut);
                count.outages += 1;
            }
            6..=8 => {
                quiet.line.is(Way::Deaf);
                count.outages += 1;
                count.lost_answers += 1;
            }
            9..=16 => quiet.line.is(Way::Open),
            17 => {
                quiet.line.is(Way::Open);
                quiet.crash().await;
                quiet.start().await.expect("the node starts");
                count.crashes += 1;
            }
            18..=24 => {
                claim(quiet, dice).await;
                count.claims += 1;
            }
            25..=28 => quiet.pass(WINDOW).await,
            29..=32 => quiet.mine(dice.below(LAG)),
            _ => {}
        }
        quiet.tick();
        tokio::time::sleep(PAUSE).await;
        is_all_paid(quiet, &mut known).await;
        count.checks += 1;
        steps += 1;
        let goes_on = steps < STEPS || began.elapsed() < HANGS;
        assert!(goes_on, "it does not end");
    }
    count.longest = count.longest.max(steps);
}

/// Somebody, or everybody, has rewards claimed by the node, and does not wait for it.
async fn claim(quiet: &QuietWorld, dice: &mut Dice) {
    let all = people(quiet);
    let some = match dice.below(2) {
        0 => vec![all[dice.below(PEOPLE as u64) as usize]],
        _ => all,
    };
    let client = quiet.client().clone();
    tokio::spawn(async move { client.relay_claims(some).await });
    tokio::time::sleep(PAUSE).await;
}

fn people(quiet: &QuietWorld) -> Vec<Address> {
    let contributors = quiet.world.contributors[..PEOPLE].iter();
    contributors.map(|key| key.address()).collect()
}

/// What each of the five earns by the three jobs, in the token's smallest unit.
fn due() -> U256 {
    U256::from(JOBS * PRICE * 8 / 10 / PEOPLE as u64)
}

/// What was found of states of the chain, by their roots: who has what follows from the state alone, and most blocks change nothing.
#[derive(Default)]
struct Known {
    /// Where the money added up, and whether everybody was paid.
    paid: HashMap<B256, bool>,
    /// Whether all jobs are settled.
    settled: HashMap<B256, bool>,
}

/// All is settled, finally, and everybody was paid.
async fn is_over(quiet: &QuietWorld, known: &mut Known) -> bool {
    is_all_paid(quiet, known).await && is_all_settled(quiet, known).await
}

/// Whether everybody was paid, on a newest block in which the money adds up.
async fn is_all_paid(quiet: &QuietWorld, known: &mut Known) -> bool {
    let state = quiet.state_root("latest");
    if let Some(paid) = known.paid.get(&state) {
        return *paid;
    }
    let paid = adds_up(quiet).await;
    let all = paid.values().all(|paid| *paid == due());
    known.paid.insert(state, all);
    all
}

async fn is_all_settled(quiet: &QuietWorld, known: &mut Known) -> bool {
    let state = quiet.state_root("finalized");
    if let Some(settled) = known.settled.get(&state) {
        return *settled;
    }
    let mut all = true;
    for job in 1..=JOBS {
        all &= quiet.final_fact(job).await.state == JobState::Settled;
    }
    known.settled.insert(state, all);
    all
}

async fn balances(quiet: &QuietWorld) -> BTreeMap<Address, U256> {
    let deployment = &quiet.world.deployment;
    let token = DemoToken::new(deployment.token, quiet.reader.provider());
    let mut balances = BTreeMap::new();
    for person in people(quiet) {
        let balance = token.balanceOf(person).call().await.expect("a balance");
        balances.insert(person, balance);
    }
    balances
}

/// What settled jobs paid in is with the people, in the distributor, or the node's and the treasury's; the rest is still in escrow.
/// What the people have.
async fn adds_up(quiet: &QuietWorld) -> BTreeMap<Address, U256> {
    let deployment = &quiet.world.deployment;
    let provider = quiet.reader.provider();
    let token = DemoToken::new(deployment.token, provider);
    let escrow = JobEscrow::new(deployment.escrow, provider);
    let distributor = RewardDistributor::new(deployment.rewards, provider);
    let mut settled = 0;
    for job in 1..=JOBS {
        settled += u64::from(quiet.fact(job).await.state == JobState::Settled);
    }
    let in_parts = |tenths: u64| U256::from(settled * PRICE * tenths / 20);
    let balances = balances(quiet).await;
    assert!(
        balances.values().all(|paid| *paid <= due()),
        "paid twice: {balances:?}"
    );
    let paid: U256 = balances.values().sum();
    let left = token.balanceOf(deployment.rewards).call().await;
    assert_eq!(paid + left.expect("a balance"), in_parts(16));
    let pool = distributor.pool(deployment.collective, deployment.token);
    let pool = pool.call().await.expect("a pool");
    assert!(pool.total.max(pool.pendingTotal) <= in_parts(16));
    assert!(paid <= pool.total, "paid without a root");
    let node = escrow.credit(deployment.token, quiet.world.keys.address());
    assert_eq!(node.call().await.expect("a credit"), in_parts(3));
    let treasury = escrow.credit(deployment.token, deployment.collective);
    assert_eq!(treasury.call().await.expect("a credit"), in_parts(1));
    balances
}
