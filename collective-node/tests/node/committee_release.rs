//! Jobs whose key a committee holds, over the wire: contributed, leased, released by a quorum, run, receipted, rewarded and
//! claimed, whoever of the members is down, dies, hangs or is slow.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::committee_world::CommitteeWorld;
use alloy::primitives::{Address, U256};
use collective::committee::Member;
use collective::committee::answer::Fault;
use collective::committee::assembly::Assembled;
use collective::committee::record::QuorumRecord;
use collective_contracts::DemoToken;
use collective_node::chain::facts::JobState;
use collective_node::client::Client;
use collective_node::committee::{self, Committee};
use collective_node::intake::join;
use collective_node::node::Node;

/// Both windows, of dispute and of challenge, are a day.
const WINDOW: u64 = 86_400 + 60;

const RESPONDENTS: usize = 5;

/// A world in which five respondents have contributed through the node, and everybody has indexed them.
async fn populated(threshold: u16, size: u16) -> (CommitteeWorld, Node, Client) {
    let mut world = CommitteeWorld::found(threshold, size).await;
    let (node, client) = world.start_node().await;
    world.start_members(&client).await;
    for row in 0..RESPONDENTS {
        let (entry, file) = world.contribution(row, 0);
        let taken = client.contribute(join(&entry, &file)).await;
        taken.expect("acknowledged");
    }
    let views: Vec<_> = world
        .seats
        .iter()
        .map(|seat| seat.holder.as_ref().expect("it runs").view())
        .collect();
    let all = async || {
        views
            .iter()
            .all(|view| view.borrow().anchored().len() == RESPONDENTS)
    };
    world.until("all are anchored", all).await;
    (world, node, client)
}

/// The quorum record of a job that ran, which holds: its release, its members' signatures.
async fn record(world: &CommitteeWorld, client: &Client, job: u64) -> QuorumRecord {
    let run = client
        .job(job)
        .await
        .expect("the job")
        .record
        .expect("it ran");
    assert_eq!(run.failure, None);
    let bytes = client.blob(run.receipt.quorum).await.expect("the record");
    let record = QuorumRecord::parse(&bytes).expect("a record");
    let granted = world.granted(&world.fact(job).await).await;
    let escrow = world.world.deployment.job_escrow();
    let signers: BTreeMap<Member, Address> = world
        .seats
        .iter()
        .map(|seat| (seat.member, seat.keys.address()))
        .collect();
    let held = record.verify(&escrow, granted.release(), &world.certificate, &signers);
    held.expect("the quorum signed its answers");
    record
}

fn faults(record: &QuorumRecord) -> Vec<(u16, Fault)> {
    let culprits = record.culprits().iter();
    culprits
        .map(|culprit| (culprit.member.number(), culprit.fault))
        .collect()
}

/// Who gave the partials of the first page.
fn quorum(record: &QuorumRecord) -> Vec<u16> {
    let answers = record.rounds()[0].answers().iter();
    answers.map(|answer| answer.member.number()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_three_open_sign_and_pay_while_the_third_dies_between_release_and_partials() {
    let (mut world, _node, client) = populated(2, 3).await;
    let quiet = world.request().await;
    world.reaches(quiet, JobState::Completed).await;
    let kept = record(&world, &client, quiet).await;
    assert_eq!((quorum(&kept), faults(&kept)), (vec![1, 2], vec![]));

    // The release waits for its finality: nobody has given anything yet.
    let cut = world.request().await;
    world.reaches(cut, JobState::Released).await;
    let asked_first = usize::from(fastest(&kept)) - 1;
    world.kill(asked_first).await;
    world.reaches(cut, JobState::Completed).await;
    let kept = record(&world, &client, cut).await;
    let left: Vec<u16> = (1..=3)
        .filter(|&member| usize::from(member) != asked_first + 1)
        .collect();
    assert_eq!(quorum(&kept), left);
    for (member, fault) in faults(&kept) {
        assert_eq!(
            (usize::from(member), fault),
            (asked_first + 1, Fault::Silent)
        );
    }

    // It stays down: two sign and open the next one, and nobody waits for it.
    let without = world.request().await;
    world.reaches(without, JobState::Completed).await;
    assert_eq!(quorum(&record(&world, &client, without).await), left);

    // The two that are left sign what was earned, and it is paid.
    world.pass(WINDOW).await;
    for job in [quiet, cut, without] {
        world.reaches(job, JobState::Settled).await;
    }
    let earned = U256::from(800 * 3);
    let some = async || !rewarded(&world).await.is_zero();
    world.until("a reward root is proposed", some).await;
    // One that came before all were settled has to outlast its window before the next.
    world.pass(WINDOW).await;
    let all = async || rewarded(&world).await == earned;
    world.until("a reward root pays all", all).await;
    world.pass(WINDOW).await;
    let accounts: Vec<Address> = world.world.contributors[..RESPONDENTS]
        .iter()
        .map(|account| account.address())
        .collect();
    client
        .relay_claims(accounts.clone())
        .await
        .expect("claimed");
    let deployment = &world.world.deployment;
    let token = DemoToken::new(
        deployment.token,
        world.world.provider(&world.world.deployer),
    );
    for account in accounts {
        let paid = token.balanceOf(account).call().await.expect("a balance");
        assert_eq!(paid, earned / U256::from(RESPONDENTS));
    }
}

/// The member of a round that a node asks again, however the others do: any of it.
fn fastest(record: &QuorumRecord) -> u16 {
    quorum(record)[0]
}

async fn rewarded(world: &CommitteeWorld) -> U256 {
    use collective_contracts::RewardDistributor;
    let deployment = &world.world.deployment;
    let provider = world.world.provider(&world.world.deployer);
    let distributor = RewardDistributor::new(deployment.rewards, provider);
    let pool = distributor.pool(deployment.collective, deployment.token);
    let pool = pool.call().await.expect("a pool");
    pool.total.max(pool.pendingTotal)
}

#[tokio::test(flavor = "multi_thread")]
async fn three_of_five_open_with_one_down_from_the_start_and_not_with_three_down() {
    let (mut world, node, client) = populated(3, 5).await;
    world.kill(0).await;
    let job = world.request().await;
    world.reaches(job, JobState::Completed).await;
    let kept = record(&world, &client, job).await;
    assert_eq!(quorum(&kept).len(), 3);
    assert!(!quorum(&kept).contains(&1), "the dead gave partials");
    assert_eq!(faults(&kept), [(1, Fault::Silent)]);
    assert_eq!(kept.retries(), 1);
    // Whoever looks at the job or at the node's figures sees it.
    let told = client.job(job).await.expect("the job").culprits;
    assert_eq!(told, kept.culprits());
    let figures = reqwest::get(format!("http://{}/metrics", node.address())).await;
    let figures = figures.expect("an answer").text().await.expect("text");
    let counted = format!(
        "collective_holder_faults_total{{node=\"{}\",member=\"1\",fault=\"silent\"}} 1\n",
        world.seats[0].id
    );
    assert!(figures.contains(&counted), "{figures}");

    // Two are fewer than three: nothing is released, and once a third is back everything goes on.
    world.kill(1).await;
    world.kill(2).await;
    let job = world.request().await;
    world.reaches(job, JobState::Leased).await;
    for _ in 0..100 {
        world.chain.mine(1).expect("a block");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(world.fact(job).await.state, JobState::Leased);
    world.start_member(1, &client).await.expect("it comes back");
    world.reaches(job, JobState::Completed).await;
    let mut members = quorum(&record(&world, &client, job).await);
    members.sort_unstable();
    assert_eq!(members, [2, 4, 5]);
}

/// A page costs as much as its slowest member, a member that hangs one time-out, and neither is asked first again.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_member_costs_its_delay_once_and_one_that_hangs_one_time_out() {
    let mut world = CommitteeWorld::found(2, 4).await;
    world.populate(0..RESPONDENTS).await;
    let source = world.source.client();
    world.start_members(&source).await;
    world.settle_in().await;
    // Of members that were never asked those with the lowest numbers come first.
    let committee = world.committee().await;
    let slow_one = Some((1, Duration::from_secs(1)));
    let (slow, first) = opened(&world, &committee, slow_one).await;
    assert_eq!(
        (quorum(&first.record), first.record.retries()),
        (vec![1, 2], 0)
    );
    assert!(first.record.culprits().is_empty());
    let (quiet, second) = opened(&world, &committee, slow_one).await;
    assert!(
        !quorum(&second.record).contains(&1),
        "the slow one is asked first again"
    );

    let committee = world.committee().await;
    let hanging = Some((1, Duration::from_secs(3_600)));
    let (hung, third) = opened(&world, &committee, hanging).await;
    assert_eq!(faults(&third.record), [(1, Fault::Silent)]);
    assert_eq!(third.record.retries(), 1);
    let (after, fourth) = opened(&world, &committee, hanging).await;
    assert!(
        !quorum(&fourth.record).contains(&1),
        "the one that hangs is asked first again"
    );
    println!(
        "a member slow by 1 s {slow:?}, the next job {quiet:?}; one that hangs {hung:?}, the next {after:?}"
    );
    let patience = committee::PATIENCE;
    assert!(
        slow <= quiet + patience && after < patience,
        "{slow:?}, {after:?}"
    );
    let twice = quiet * 2 + Duration::from_secs(1);
    assert!(hung >= patience && hung <= patience + twice, "{hung:?}");
}

/// Releases one more job, slows one member down, and opens the job.
async fn opened(
    world: &CommitteeWorld,
    committee: &Committee,
    slow: Option<(u16, Duration)>,
) -> (Duration, Assembled) {
    for seat in &world.seats {
        seat.door.slow_down(Duration::ZERO);
    }
    let job = world.released(&[2, 3]).await;
    let files = world.files(job).await;
    if let Some((member, delay)) = slow {
        world.seats[usize::from(member) - 1].door.slow_down(delay);
    }
    let began = Instant::now();
    let opened = committee.open(files).await.expect("opened");
    let took = began.elapsed();
    assert!(opened.files.iter().all(Result::is_ok));
    (took, opened)
}
