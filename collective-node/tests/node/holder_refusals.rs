//! What every honest holder refuses, asked over the wire: each by every member of the committee, with the message that it
//! gives. `cargo test --release --test node -- --nocapture holder_refusals::` prints the table.

use std::collections::HashMap;

use crate::committee_world::{CommitteeWorld, EPOCH, LAG, name, new_keys};
use alloy::primitives::{Address, B256, U256, aliases::U248};
use collective::committee;
use collective::committee::question::Question;
use collective::receipt::{Release, check_signed};
use collective::seal::tagged::TaggedIdentity;
use collective_contracts::{ContributionRegistry, NodeRegistry};
use collective_node::chain::{Chain, Deployment};
use collective_node::contributor::revocation;
use collective_node::governance::{Action, Motion};
use collective_node::http::SignedNonces;
use collective_node::keyholder::Keyholder;
use collective_node::keystore::Keystore;
use collective_node::registration::{BOTH_ROLES, node_keys};
use collective_node::wire::WireError;

/// Asks every member the same, and keeps what each says.
struct Refusals<'w> {
    world: &'w CommitteeWorld,
    table: Vec<(String, String)>,
}

impl<'w> Refusals<'w> {
    fn new(world: &'w CommitteeWorld) -> Self {
        let table = Vec::new();
        Self { world, table }
    }

    async fn release(&mut self, what: &str, by: &Keystore, job: u64, expected: &str) {
        for place in 0..self.world.seats.len() {
            let answer = self.world.ask_release(by, place, job).await;
            self.note(what, place, answer.map(drop), expected);
        }
    }

    async fn partials(
        &mut self,
        what: &str,
        by: &Keystore,
        job: u64,
        asked: &[u8],
        expected: &str,
    ) {
        for place in 0..self.world.seats.len() {
            let answer = self.world.ask_partials(by, place, job, asked).await;
            self.note(what, place, answer.map(drop), expected);
        }
    }

    fn note(&mut self, what: &str, place: usize, answer: Result<(), WireError>, expected: &str) {
        let member = place + 1;
        let Err(refusal) = answer else {
            panic!("{what}: member {member} gave it")
        };
        let said = refusal.to_string();
        assert!(
            said.contains(expected),
            "{what}: member {member} says: {said}"
        );
        if place == 0 {
            self.table.push((what.to_owned(), said));
        }
    }

    /// That is no refusal of everything: the node itself still gets what the release names.
    async fn still_given(&self, job: u64, quorum: &[usize]) {
        let opened = self.world.open_with(job, quorum).await;
        assert!(opened.files.iter().all(Result::is_ok));
    }

    fn print(&self) {
        for (what, said) in &self.table {
            println!("| {what} | {said} |");
        }
    }
}

async fn founded(threshold: u16, size: u16) -> CommitteeWorld {
    let mut world = CommitteeWorld::found(threshold, size).await;
    world.populate(0..6).await;
    let source = world.source.client();
    world.start_members(&source).await;
    world.settle_in().await;
    world
}

async fn take_back(world: &CommitteeWorld, row: usize) {
    let deployment = &world.world.deployment;
    let account = &world.world.contributors[row];
    let signed = revocation(deployment, account, &[0].into_iter().collect(), u64::MAX);
    let SignedNonces::Words(words) = &signed.revoked else {
        panic!("one nonce is in a word")
    };
    let by = world.world.provider(&world.world.deployer);
    let registry = ContributionRegistry::new(deployment.contributions, by);
    let deadline = U256::from(signed.deadline);
    let call = registry.revokeBySig(
        signed.contributor.into_word(),
        U248::from(words[0].word),
        words[0].mask,
        deadline,
        words[0].signature.clone(),
    );
    Chain::mined(call.send().await.expect("sent"))
        .await
        .expect("taken back");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_signs_a_release_that_no_live_lease_of_the_asking_node_permits() {
    let world = founded(2, 3).await;
    let node = &*world.world.keys;
    let mut refusals = Refusals::new(&world);

    refusals
        .release("a job that is none", node, 77, "job 77 is None")
        .await;
    let job = world.request().await;
    world.settle_in().await;
    refusals
        .release(
            "without a lease",
            node,
            job,
            "is Requested in the newest finalized",
        )
        .await;
    world.lease(job).await.expect("a lease");
    refusals
        .release(
            "a lease that is not final",
            node,
            job,
            "wait until its lease is final",
        )
        .await;
    world.settle_in().await;
    refusals
        .release(
            "another accepted node",
            &world.rival,
            job,
            "is leased to node",
        )
        .await;
    let stranger = new_keys(&world.folder.path().join("stranger"));
    refusals
        .release("a stranger's key", &stranger, job, "refuses our key")
        .await;
    refusals
        .release(
            "a registered node, not accepted",
            &world.outsider,
            job,
            "refuses our key",
        )
        .await;
    let release = world
        .granted(&world.fact(job).await)
        .await
        .release()
        .clone();
    let asked = world.question(name(&world, &release), &[0, 1]);
    let asked = asked.to_bytes();
    refusals
        .partials(
            "partials before a release",
            node,
            job,
            &asked,
            "wait until its release is final",
        )
        .await;

    // What is asked for is fine otherwise.
    for (place, seat) in world.seats.iter().enumerate() {
        let signature = world.ask_release(node, place, job).await.expect("signed");
        let digest = name(&world, &release);
        check_signed(&signature, digest, seat.keys.address()).expect("the member's own");
    }

    take_back(&world, 1).await;
    refusals
        .release(
            "a revocation after denyBlock",
            node,
            job,
            "a denial is newer than denyBlock",
        )
        .await;

    // A lease that ends without a release; the old attempt is void for ever.
    let deadline = world.fact(job).await.lease.deadline;
    let newest = world.reader.latest().await.expect("a block").time;
    world.pass(deadline - newest + 1).await;
    world.settle_in().await;
    refusals
        .release("after the lease ended", node, job, "the lease ended at")
        .await;
    world.pass(10 * 60 + 1).await;
    world.settle_in().await;
    world.lease(job).await.expect("a second lease");
    refusals
        .release(
            "a second lease that is not final",
            node,
            job,
            "wait until its lease is final",
        )
        .await;
    world.settle_in().await;
    world.record(job, &[0, 2]).await;
    world.settle_in().await;
    refusals
        .partials(
            "the release of the first attempt",
            node,
            job,
            &asked,
            "not the one that the member signed",
        )
        .await;
    let second = world.granted(&world.fact(job).await).await;
    assert_eq!((release.attempt, second.release().attempt), (1, 2));
    let taken_back = world.world.contributors[1].address();
    let inside = |member: &collective::input::Anchored| {
        member.entry.contribution.contributor.address() == Some(taken_back)
    };
    assert!(
        !second.input().members().iter().any(inside),
        "what was taken back is released"
    );
    assert_eq!(second.release().input_count, release.input_count - 1);
    refusals.still_given(job, &[0, 1]).await;
    refusals.print();
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gives_partials_but_for_the_final_release_while_it_stands() {
    let world = founded(2, 3).await;
    let deployment = world.world.deployment;
    let node = &*world.world.keys;
    let motion = |action, description: &str| Motion {
        actions: vec![action],
        description: description.into(),
    };
    let revoke = motion(
        Action::revoke(&deployment, world.manifest.digest()),
        "Revoke means.",
    );
    let reject = motion(
        Action::reject_node(&deployment, world.world.node_id),
        "Reject the node.",
    );
    world.prepare(&revoke).await;
    world.prepare(&reject).await;
    world.settle_in().await;
    let mut refusals = Refusals::new(&world);

    let other = world.released(&[0, 1]).await;
    let job = world.recorded(&[1, 2]).await;
    let release = world
        .granted(&world.fact(job).await)
        .await
        .release()
        .clone();
    let question = world.question(name(&world, &release), &[0, 1]);
    let asked = question.to_bytes();
    refusals
        .partials(
            "a release that is not final",
            node,
            job,
            &asked,
            "wait until its release is final",
        )
        .await;
    world.settle_in().await;
    refusals.still_given(job, &[0, 1]).await;
    refusals
        .release(
            "a signature after the release",
            node,
            job,
            "wait until its lease is final",
        )
        .await;

    refusals
        .partials(
            "another accepted node",
            &world.rival,
            job,
            &asked,
            "is leased to node",
        )
        .await;
    refusals
        .partials("a job that is none", node, 77, &asked, "job 77 is None")
        .await;
    refusals
        .partials(
            "another job's release",
            node,
            other,
            &asked,
            "not the one that the member signed",
        )
        .await;
    let forged = |change: fn(&mut Release)| {
        let mut forged = release.clone();
        change(&mut forged);
        world.question(name(&world, &forged), &[0, 1]).to_bytes()
    };
    for (what, question) in [
        ("a release of another epoch", forged(|it| it.epoch += 1)),
        (
            "a release to another node",
            forged(|it| it.node.0 = B256::repeat_byte(7)),
        ),
        (
            "a release to other keys",
            forged(|it| it.keys.0 = B256::repeat_byte(7)),
        ),
        (
            "a release of another input set",
            forged(|it| it.input_root = B256::repeat_byte(7)),
        ),
        ("a release of another attempt", forged(|it| it.attempt += 1)),
    ] {
        refusals
            .partials(
                what,
                node,
                job,
                &question,
                "not the one that the member signed",
            )
            .await;
    }
    let noted = world.logs().await;
    outside_the_quorum(&world, job, &release).await;
    malformed(&mut refusals, job, &question).await;
    assert_eq!(
        world.logs().await,
        noted,
        "a log says that something was given"
    );

    // What is not final yet already forbids; it is cut out again, so that the next case has it alone.
    let mark = world.chain.snapshot();
    world.execute(&revoke).await;
    refusals
        .partials(
            "an approval that was revoked since",
            node,
            job,
            &asked,
            "since the release the collective has taken back",
        )
        .await;
    back(&world, mark);
    refusals.still_given(job, &[1, 2]).await;
    let mark = world.chain.snapshot();
    rotate(&world).await;
    refusals
        .partials(
            "a node whose keys were changed since",
            node,
            job,
            &asked,
            "since the release the collective has taken back",
        )
        .await;
    back(&world, mark);
    let mark = world.chain.snapshot();
    world.pass(24 * 60 * 60).await;
    refusals
        .partials(
            "after the receipt's deadline",
            node,
            job,
            &asked,
            "the time for its receipt is over",
        )
        .await;
    back(&world, mark);
    refusals.still_given(job, &[0, 2]).await;
    world.execute(&reject).await;
    refusals
        .partials(
            "a node that was rejected since",
            node,
            job,
            &asked,
            "since the release the collective has taken back",
        )
        .await;
    world.settle_in().await;
    refusals
        .partials(
            "the same, and that is final",
            node,
            job,
            &asked,
            "refuses our key",
        )
        .await;
    refusals.print();
}

fn back(world: &CommitteeWorld, mark: u64) {
    assert!(world.chain.revert(mark).expect("a chain in memory"));
    world.chain.mine(3).expect("blocks");
}

async fn rotate(world: &CommitteeWorld) {
    let (deployment, keys) = (&world.world.deployment, &world.world.keys);
    let registry = NodeRegistry::new(deployment.nodes, keys.provider(world.world.chain.client()));
    let mut changed = node_keys(keys, BOTH_ROLES);
    changed.transport = B256::repeat_byte(7);
    let recipient = keys.node_recipient().to_string();
    let call = registry.rotate(
        world.world.node_id.0,
        changed,
        recipient,
        "https://127.0.0.1".into(),
    );
    Chain::mined(call.send().await.expect("sent"))
        .await
        .expect("rotated");
}

/// A member answers no question to a quorum that it is not in, and notes nothing of it.
async fn outside_the_quorum(world: &CommitteeWorld, job: u64, release: &Release) {
    let node = &*world.world.keys;
    let question = world.question(name(world, release), &[0, 1]).to_bytes();
    let answer = world.ask_partials(node, 2, job, &question).await;
    let said = answer.expect_err("it is not asked").to_string();
    assert!(said.contains("is not in the quorum"), "{said}");
}

async fn malformed(refusals: &mut Refusals<'_>, job: u64, question: &Question) {
    let node = &*refusals.world.world.keys;
    let asked = question.to_bytes();
    let cut = &asked[..asked.len() - 1];
    let mut twice = asked.clone();
    let end = twice.len();
    twice.copy_within(end - 4..end - 2, end - 2);
    let mut unknown = asked.clone();
    unknown[end - 1] = 9;
    let mut page = asked.clone();
    page[37] = 1;
    let mut version = asked.clone();
    version[0] = 2;
    for (what, asked, expected) in [
        (
            "a question that is cut off",
            cut,
            "not a question in the one encoding",
        ),
        ("a quorum with a member twice", &twice, ""),
        ("a quorum with a stranger", &unknown, ""),
        ("a page that the input set has not", &page, "no such page"),
        ("another version", &version, "question of version 2"),
        (
            "no question at all",
            &[],
            "not a question in the one encoding",
        ),
    ] {
        refusals.partials(what, node, job, asked, expected).await;
    }
    let proof = question.proof(vec![4_000]).to_bytes();
    for place in [0, 1] {
        let answer = refusals.world.ask_partials(node, place, job, &proof).await;
        refusals.note(
            "a proof of a place that is none",
            place,
            answer.map(drop),
            "no such page or place",
        );
    }
}

/// {1, 2} and {3, 4} share no member. Whatever they are asked for, they can give only the same to the same.
#[tokio::test(flavor = "multi_thread")]
async fn two_quorums_without_a_common_member_release_the_same_to_the_same_key() {
    let world = founded(2, 4).await;
    let node = &*world.world.keys;
    let (left, right) = ([0, 1], [2, 3]);
    let job = world.leased().await;

    // Each works the release out by itself, whoever asks it and in which order: one digest.
    let mut signed = HashMap::new();
    let fact = world.fact(job).await;
    let release = world.granted(&fact).await.release().clone();
    for place in [3, 0, 2, 1] {
        let signature = world.ask_release(node, place, job).await.expect("signed");
        let signer = signature.recover_address_from_prehash(&name(&world, &release));
        signed.insert(place, signer.expect("a signature"));
        let rival = world.ask_release(&world.rival, place, job).await;
        assert!(rival.is_err(), "member {place} signs for another node");
    }
    let seats = world.seats.iter().map(|seat| seat.keys.address());
    assert_eq!(
        seats.collect::<Vec<Address>>(),
        (0..4).map(|n| signed[&n]).collect::<Vec<_>>()
    );

    // One quorum's signatures put the release on chain; then there is nothing else to sign.
    world.record(job, &left).await;
    world.settle_in().await;
    for place in right {
        assert!(
            world.ask_release(node, place, job).await.is_err(),
            "a second release"
        );
    }
    let (first, second) = (
        world.open_with(job, &left).await,
        world.open_with(job, &right).await,
    );
    let keys = |opened: &collective::committee::assembly::Assembled| {
        let files = opened.files.iter();
        files
            .map(|key| *key.as_ref().expect("open").expose())
            .collect::<Vec<_>>()
    };
    assert_eq!(keys(&first), keys(&second));

    // To the other one, everything that the first release is not.
    let mut forged = vec![];
    for change in [
        (|it| it.job += 1) as fn(&mut Release),
        |it| it.attempt += 1,
        |it| it.node.0 = B256::repeat_byte(7),
        |it| it.keys.0 = B256::repeat_byte(7),
        |it| it.input_root = B256::repeat_byte(7),
        |it| it.input_count += 1,
        |it| it.allow.hash = B256::repeat_byte(7),
        |it| it.deny.hash = B256::repeat_byte(7),
        |it| it.manifest.0 = B256::repeat_byte(7),
        |it| it.epoch += 1,
    ] {
        let mut other = release.clone();
        change(&mut other);
        forged.push(world.question(name(&world, &other), &right).to_bytes());
    }
    let honest = world.question(name(&world, &release), &right).to_bytes();
    for place in right {
        for question in &forged {
            let answer = world.ask_partials(node, place, job, question).await;
            assert!(
                answer.is_err(),
                "member {place} gives partials for another release"
            );
        }
        let answer = world.ask_partials(&world.rival, place, job, &honest).await;
        assert!(
            answer.is_err(),
            "member {place} gives partials to another node"
        );
    }
    // An answer opens with the node's key alone, whoever overhears it.
    let answer = world
        .ask_partials(node, 2, job, &honest)
        .await
        .expect("an answer");
    let sealed = &answer[ENVELOPE..];
    assert!(world.rival.open_sealed(sealed).is_err());
    assert!(node.open_sealed(sealed).is_ok());
}

/// Bytes of an answer before what is sealed (SPEC "Partials on the wire").
const ENVELOPE: usize = 2 + 32 + 2 + 8 + 32 + 65;

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_with_the_wrong_chain_keys_or_share_does_not_start_or_gives_nothing() {
    let mut world = founded(2, 3).await;
    let source = world.source.client();
    let start =
        async |world: &CommitteeWorld, place, keys, change: fn(&mut Deployment), state: &str| {
            let mut config = world.config(place, &source);
            config.data = world.folder.path().join(state);
            change(&mut config.deployment);
            Keyholder::start(config, keys, world.chain.client()).await
        };
    let said = |started: Result<Keyholder, _>| {
        started
            .err()
            .map(|error: collective_node::node::StartError| error.to_string())
    };

    let keys = world.seats[0].keys.clone();
    let wrong = start(
        &world,
        0,
        keys.clone(),
        |it| it.chain_id += 1,
        "wrong-chain",
    )
    .await;
    let wrong = said(wrong).expect("another chain");
    assert!(
        wrong.contains("this node is configured for chain"),
        "{wrong}"
    );

    // The log of the member that runs is its lock.
    let again = Keyholder::start(world.config(0, &source), keys, world.chain.client()).await;
    let again = said(again).expect("a second start");
    assert!(
        again.contains("another key holder runs with the log"),
        "{again}"
    );

    let rng = &mut rand::rng();
    let foreign = new_keys(&world.folder.path().join("foreign"));
    let shares = committee::split(TaggedIdentity::random(rng), EPOCH, 2, 3, rng).expect("shares");
    for share in shares.into_iter().take(1) {
        foreign.keep_share(share, rng).expect("kept");
    }
    let other =
        said(start(&world, 0, foreign, |_| {}, "foreign-state").await).expect("another committee");
    assert!(
        other.contains("is not of the committee that the collective accepted"),
        "{other}"
    );

    // Without a share it runs, follows the chain, and gives nothing.
    world.kill(0).await;
    world.seats[0].keys = new_keys(&world.folder.path().join("empty"));
    world.start_member(0, &source).await.expect("it starts");
    let job = world.leased().await;
    let refused = world.ask_release(&world.world.keys, 0, job).await;
    let refused = refused.expect_err("no share").to_string();
    assert!(refused.contains("no share of epoch 2"), "{refused}");
    for line in [wrong, again, other, refused] {
        println!("| {line} |");
    }
}

/// A finalized block that is gone when the holder starts again is a broken promise, and nothing is given over it.
#[tokio::test(flavor = "multi_thread")]
async fn a_holder_does_not_start_on_a_chain_that_took_back_what_was_final() {
    let mut world = founded(1, 2).await;
    let mark = world.chain.snapshot();
    world.settle_in().await;
    world.settle_in().await;
    world.kill(1).await;
    assert!(world.chain.revert(mark).expect("a chain in memory"));
    world.pass(5).await;
    world.chain.mine(4 * LAG).expect("blocks");
    let source = world.source.client();
    let again = world.start_member(1, &source).await;
    let said = again.expect_err("the promise is broken").to_string();
    assert!(said.contains("the chain broke its promise"), "{said}");
}
