//! Blocks are cut out under a running node. Whatever was done in them is done again, nothing is
//! released on what is not final, and the end is that of a chain which never forked.

use crate::quiet_world::{
    Dice, LAG, QuietWorld, WINDOW, Way, all_anchored, number, populated, reaches,
};
use alloy::primitives::U256;
use alloy::sol_types::SolEvent;
use collective_contracts::{ContributionRegistry, JobEscrow, RewardDistributor};
use collective_node::chain::Chain;
use collective_node::chain::facts::JobState;
use collective_node::contributor::revocation;
use collective_node::driver::RunRecord;
use collective_node::node::StartError;

async fn is_final(quiet: &QuietWorld, job: u64, state: JobState) {
    let there = async || quiet.final_fact(job).await.state == state;
    quiet
        .until(&format!("job {job} is finally {state:?}"), there)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_cut_out_is_sent_again_once() {
    let mut quiet = QuietWorld::found().await;
    for row in 0..5 {
        quiet.contribute(row, 0).await.expect("acknowledged");
    }
    let mined = async || !quiet.batches().await.is_empty();
    quiet.until("a batch is mined", mined).await;
    assert!(quiet.view().anchored().is_empty(), "it is not final yet");
    quiet.cut(4, false, 5).await;
    assert!(quiet.batches().await.is_empty(), "it is cut out");
    // The endpoint is away for a while, and the node starts anew in the middle of it.
    quiet.line.is(Way::Cut);
    quiet.stand_still().await;
    quiet.mine(3);
    quiet.line.is(Way::Open);
    quiet.crash().await;
    quiet.start().await.expect("the node starts");
    all_anchored(&quiet, 5).await;
    let mut batches = quiet.batches().await;
    let sent = batches.len();
    batches.sort_unstable();
    batches.dedup();
    assert_eq!(batches.len(), sent, "a batch was sent twice");
    quiet.replay_is_the_same().await;
}

/// As after an answer that was lost: each contribution counts once, the second copy is noted like the
/// first, and nobody sends a third.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_anchored_twice_counts_once() {
    let quiet = populated().await;
    let by = quiet.world.keys.provider(quiet.chain.client());
    let registry = ContributionRegistry::new(quiet.world.deployment.contributions, by);
    let logs = quiet.logs::<ContributionRegistry::BatchCommitted>().await;
    let first = ContributionRegistry::BatchCommitted::decode_log(&logs[0].inner).expect("a batch");
    let again = registry.commitBatch(first.collective, first.root, first.count, first.manifest);
    let sent = again.send().await.expect("sent");
    quiet.meanwhile(Chain::mined(sent)).await.expect("mined");
    quiet.mine(2 * LAG);
    quiet.replay_is_the_same().await;
    assert_eq!(quiet.view().anchored().len(), 5);
    quiet.stand_still().await;
    quiet.mine(1);
    assert_eq!(quiet.batches().await.len(), logs.len() + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_refused_a_job_that_is_cut_out_does_not_refuse_its_number() {
    let quiet = populated().await;
    let crowd = quiet.request(&quiet.crowd).await.expect("a job");
    let refusal = async || {
        let refusal = quiet.node().ledger().refusal(crowd).await;
        refusal.expect("the ledger").is_some()
    };
    quiet.until("it is refused", refusal).await;
    let depth = quiet.head() - quiet.block_of::<JobEscrow::JobRequested>().await + 1;
    quiet.cut(depth, false, depth + 1).await;
    assert_eq!(quiet.fact(crowd).await.state, JobState::None);
    let job = quiet.request(&quiet.manifest).await.expect("a job");
    assert_eq!(job, crowd, "numbers are given again");
    reaches(&quiet, job, JobState::Completed).await;
}

/// The approval stands only in a block that is cut out: nothing is leased on it, although the job
/// that relies on it was there to be leased.
#[tokio::test(flavor = "multi_thread")]
async fn an_approval_that_is_cut_out_leases_nothing() {
    let quiet = populated().await;
    let (late, motion) = quiet.late_motion();
    quiet.prepare(&motion).await;
    let before = quiet.head();
    quiet.execute(&motion).await;
    let job = quiet.request(&late).await.expect("a job");
    assert!(quiet.head() - before < LAG, "the approval is not final");
    quiet.stand_still().await;
    assert_eq!(quiet.fact(job).await.state, JobState::Requested);
    quiet.cut(quiet.head() - before, false, LAG).await;
    quiet.mine(LAG);
    quiet.stand_still().await;
    assert_eq!(quiet.fact(job).await.state, JobState::None);
    assert!(quiet.logs::<JobEscrow::Leased>().await.is_empty());

    // Executed again and final, it is as good as any.
    quiet.execute(&motion).await;
    let job = quiet.request(&late).await.expect("a job");
    reaches(&quiet, job, JobState::Completed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_of_a_job_that_is_cut_out_is_done_again_and_paid_once() {
    let quiet = populated().await;
    let job = quiet.request(&quiet.manifest).await.expect("a job");
    reaches(&quiet, job, JobState::Leased).await;
    let lost = quiet.fact(job).await.lease;
    cut_back_to(&quiet, job, JobState::Requested).await;
    reaches(&quiet, job, JobState::Leased).await;
    let lease = quiet.fact(job).await.lease;
    assert_eq!(lease.attempt, 1, "the lost lease was never there");
    assert_ne!(lease.deny_block, lost.deny_block, "it is another lease");
    quiet.stand_still().await;
    let state = quiet.fact(job).await.state;
    assert_eq!(
        state,
        JobState::Leased,
        "released before the lease is final"
    );

    reaches(&quiet, job, JobState::Released).await;
    let released = quiet.fact(job).await;
    quiet.stand_still().await;
    let early = quiet.record(job, 1).await;
    assert!(early.is_none(), "opened before the release is final");
    cut_back_to(&quiet, job, JobState::Leased).await;
    reaches(&quiet, job, JobState::Released).await;
    let again = quiet.fact(job).await;
    assert_eq!(again.input_root, released.input_root);
    assert_eq!(again.input_count, 5);

    reaches(&quiet, job, JobState::Completed).await;
    let receipt = quiet.fact(job).await.receipt;
    let record = quiet.record(job, 1).await.expect("a run");
    cut_back_to(&quiet, job, JobState::Released).await;
    reaches(&quiet, job, JobState::Completed).await;
    assert_eq!(quiet.fact(job).await.receipt, receipt, "another receipt");
    assert_eq!(
        quiet.record(job, 1).await.as_ref(),
        Some(&record),
        "it ran twice"
    );
    let record: RunRecord = serde_json::from_str(&record).expect("a record");
    assert_eq!(record.receipt.struct_hash(), receipt);

    quiet.pass(WINDOW).await;
    reaches(&quiet, job, JobState::Settled).await;
    cut_back_to(&quiet, job, JobState::Completed).await;
    reaches(&quiet, job, JobState::Settled).await;

    let due = U256::from(800);
    let proposed = async || quiet.rewarded().await == due;
    quiet.until("the reward root is proposed", proposed).await;
    let proposal = quiet.block_of::<RewardDistributor::RootProposed>().await;
    quiet.cut(quiet.head() - proposal + 1, false, 2).await;
    assert_eq!(quiet.rewarded().await, U256::ZERO);
    quiet.until("it is proposed again", proposed).await;
    quiet.mine(2 * LAG);
    quiet.stand_still().await;
    assert_eq!(quiet.rewarded().await, due);
    assert_eq!(quiet.logs::<JobEscrow::Settled>().await.len(), 1);
    assert_eq!(
        quiet.logs::<RewardDistributor::RootProposed>().await.len(),
        1
    );
    quiet.assert_paid(1).await;
    quiet.replay_is_the_same().await;
}

/// Cuts out as few blocks as take a job back to a state; what was sent in them is lost.
async fn cut_back_to(quiet: &QuietWorld, job: u64, state: JobState) {
    let now = quiet.fact(job).await.state;
    for _ in 0..LAG {
        quiet.cut(1, false, 0).await;
        if quiet.fact(job).await.state == state {
            return;
        }
    }
    panic!("job {job} was {state:?} in no block that is not final, it is {now:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_holds_a_release_back_for_as_long_as_it_is_on_the_chain() {
    let quiet = populated().await;
    let job = quiet.request(&quiet.manifest).await.expect("a job");
    reaches(&quiet, job, JobState::Leased).await;
    let leased = quiet.block_of::<JobEscrow::Leased>().await;
    quiet.mine(leased + LAG - 4 - quiet.head());
    revoke(&quiet, 4).await;
    is_final(&quiet, job, JobState::Leased).await;
    quiet.stand_still().await;
    let state = quiet.fact(job).await.state;
    assert_eq!(state, JobState::Leased, "released what was taken back");
    let revoked = quiet.block_of::<ContributionRegistry::Revoked>().await;
    quiet.cut(quiet.head() - revoked + 1, false, 2).await;
    assert!(
        quiet
            .logs::<ContributionRegistry::Revoked>()
            .await
            .is_empty()
    );
    reaches(&quiet, job, JobState::Completed).await;
    assert_eq!(
        quiet.fact(job).await.input_count,
        5,
        "the chain knows of none"
    );

    revoke(&quiet, 4).await;
    let job = quiet.request(&quiet.manifest).await.expect("a job");
    reaches(&quiet, job, JobState::Completed).await;
    assert_eq!(quiet.fact(job).await.input_count, 4);
}

async fn revoke(quiet: &QuietWorld, row: usize) {
    let account = &quiet.world.contributors[row];
    let nonces = [0].into_iter().collect();
    let signed = revocation(&quiet.world.deployment, account, &nonces, 4_000_000_000);
    let relayed = quiet.meanwhile(quiet.client().revoke(&signed)).await;
    relayed.expect("relayed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_takes_back_what_was_final_halts_the_node_for_good() {
    let mut quiet = populated().await;
    let job = quiet.request(&quiet.manifest).await.expect("a job");
    reaches(&quiet, job, JobState::Leased).await;
    // The other branch is shorter for now: `finalized` goes back, too.
    quiet.cut(LAG + 5, true, 6).await;
    let halted = || quiet.view().halted.is_some();
    quiet.until_without_blocks("the node halts", halted).await;
    let said = quiet.view().halted.expect("a reason");
    assert!(said.contains("the chain broke its promise"), "{said}");
    quiet.mine(4 * LAG);
    quiet.stand_still().await;
    assert!(
        quiet.fact(job).await.state <= JobState::Leased,
        "it released"
    );
    assert!(quiet.record(job, 1).await.is_none());

    // A restart does not make it forget.
    quiet.crash().await;
    let refused = quiet.start().await.expect_err("it started");
    assert!(matches!(refused, StartError::Follow(_)), "{refused}");
    assert!(refused.to_string().contains("the chain broke its promise"));
}

/// Blocks are cut out at every depth that is not final, one deeper each time, with contributions and a revocation in some of them.
/// What the node knows in the end is what one learns that reads the chain from its first block on.
#[tokio::test(flavor = "multi_thread")]
async fn blocks_cut_out_at_every_depth_leave_what_a_fresh_replay_finds() {
    const DEEPEST: u64 = 64;
    /// Depths between two contributions.
    const APART: u64 = 16;
    let quiet = populated().await;
    quiet.chain.set_finality_lag(DEEPEST, DEEPEST / 2);
    quiet.mine(DEEPEST);
    for depth in 1..=DEEPEST {
        if depth % APART == 1 {
            let row = 5 + (depth / APART) as usize;
            quiet.contribute(row, 0).await.expect("acknowledged");
            revoke(&quiet, row - 1).await;
        }
        quiet.one_block().await;
        let first = quiet.head() + 1 - depth;
        let before = quiet.reader.at_height(first).await.expect("a block");
        quiet.cut(depth, depth % 2 == 0, depth + 1).await;
        let after = quiet.reader.at_height(first).await.expect("a block");
        assert_ne!(before.hash, after.hash, "nothing was cut out");
    }
    let all = 5 + DEEPEST / APART;
    let anchored = async || {
        quiet.mine(DEEPEST);
        quiet.view().anchored().len() as u64 == all
    };
    quiet.until("all are anchored", anchored).await;
    quiet.replay_is_the_same().await;
}

/// Random depths at random moments, lost and resent transactions, an endpoint that is away or whose
/// answers are lost, a node that crashes. `SEED` and `SCHEDULES` choose which and how many.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_cut_out_and_whenever_the_end_is_the_same() {
    let (first, schedules) = (number("SEED", 1), number("SCHEDULES", 4));
    let mut quiet = populated().await;
    for seed in first..first + schedules {
        println!("SEED={seed} SCHEDULES=1");
        play(&mut quiet, &mut Dice(seed), 1 + seed - first).await;
    }
    let jobs = quiet.jobs().await;
    assert!(jobs >= schedules);
    quiet.assert_paid(jobs).await;
    let due = U256::from(800 * jobs);
    let rewarded = async || {
        // A root waits for the window of the one before it.
        quiet.pass(WINDOW).await;
        quiet.mine(LAG);
        quiet.rewarded().await >= due
    };
    quiet.until("all is in the reward root", rewarded).await;
    assert_eq!(quiet.rewarded().await, due, "a job was rewarded twice");
}

/// One more contribution and one more job, from request to settlement, on ground that shakes.
async fn play(quiet: &mut QuietWorld, dice: &mut Dice, nonce: u64) {
    let done = quiet.jobs().await;
    let row = dice.below(5) as usize;
    quiet.contribute(row, nonce).await.expect("acknowledged");
    let mut ticks = 0;
    while !ended(quiet, done).await {
        match dice.below(40) {
            0..=4 => {
                let depth = 1 + dice.below(LAG);
                let (resent, more) = (dice.below(2) == 0, dice.below(3));
                quiet.cut(depth, resent, depth + more).await;
            }
            5 => quiet.line.is(Way::Cut),
            6 => quiet.line.is(Way::Deaf),
            7..=13 => quiet.line.is(Way::Open),
            14 => {
                quiet.line.is(Way::Open);
                quiet.crash().await;
                quiet.start().await.expect("the node starts");
            }
            _ => {}
        }
        // The requester notices that the request is in no block, and sends it again.
        if quiet.jobs().await == done && ticks % 5 == 0 {
            let sent = quiet.send_request(&quiet.manifest).await;
            drop(sent.expect("it is approved and paid for"));
        }
        nothing_was_done_on_what_is_not_final(quiet, done).await;
        if only_the_window_is_left(quiet, done).await {
            quiet.pass(WINDOW).await;
        }
        quiet.one_block().await;
        ticks += 1;
        assert!(ticks < 5_000, "it does not end");
    }
    quiet.line.is(Way::Open);
    all_anchored(quiet, 5 + nonce).await;
    quiet.replay_is_the_same().await;
}

async fn ended(quiet: &QuietWorld, done: u64) -> bool {
    let jobs = quiet.jobs().await;
    for job in done + 1..=jobs {
        if quiet.final_fact(job).await.state != JobState::Settled {
            return false;
        }
    }
    jobs > done
}

async fn nothing_was_done_on_what_is_not_final(quiet: &QuietWorld, done: u64) {
    for job in done + 1..=quiet.jobs().await {
        let newest = quiet.fact(job).await;
        let record = quiet.record(job, newest.lease.attempt).await;
        let settled = quiet.final_fact(job).await;
        if newest.state >= JobState::Released {
            let on_final = settled.state >= JobState::Leased && settled.lease == newest.lease;
            assert!(on_final, "job {job}: released before its lease was final");
        }
        if let Some(record) = record {
            let record: RunRecord = serde_json::from_str(&record).expect("a record");
            let on_final = settled.state >= JobState::Released
                && settled.input_root == record.receipt.input_root;
            assert!(on_final, "job {job}: ran before its release was final");
        }
    }
}

/// All that is open waits for the end of its dispute window, and that is final.
async fn only_the_window_is_left(quiet: &QuietWorld, done: u64) -> bool {
    let mut waits = false;
    for job in done + 1..=quiet.jobs().await {
        match (quiet.final_fact(job).await.state, quiet.fact(job).await) {
            (JobState::Completed, fact) if fact.state == JobState::Completed => {
                let now = quiet.reader.latest().await.expect("a block").time;
                waits |= now <= fact.completed_at + WINDOW;
            }
            (JobState::Completed | JobState::Settled, _) => {}
            _ => return false,
        }
    }
    waits
}
