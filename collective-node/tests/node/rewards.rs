//! Whoever keeps payloads reachable is paid by the day, from posted results and what was shown on chain; jobs are divided by the
//! manifest's rule; whoever looks works the same root out.

use std::sync::Arc;

use crate::by_hand::path_of;
use crate::quiet_world::{LAG, PRICE, QuietWorld, WINDOW, all_anchored, populated, reaches};
use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::providers::DynProvider;
use collective::approval::SplitRule;
use collective::contribution::{SignedContribution, leaf_range};
use collective::id::BlobId;
use collective::liveness::{Custody, EPOCH_SECONDS, Epoch, Outcome, Results, Verdict};
use collective::reward::{Earning, RewardLedger, RewardRoot};
use collective_contracts::{DemoToken, LivenessRegistry, RewardDistributor};
use collective_node::blobs::Blobs;
use collective_node::chain::Chain;
use collective_node::chain::facts::JobState;
use collective_node::contributor::split_file;
use collective_node::follower::View;
use collective_node::governance::{Action, Motion};
use collective_node::ledger::Ledger;
use collective_node::rewards::{RewardError, Rewards};
use collective_node::verify;
use tokio::sync::watch;

/// What a day pays in all: it does not divide.
const PAY: u64 = 1_001;

/// A world in which a day is paid, from money for three of them. Its node is down, so that the test audits in its name.
struct Paid {
    quiet: QuietWorld,
    /// What was anchored.
    view: View,
    store: Blobs,
    node: DynProvider,
}

impl Paid {
    async fn begin() -> Self {
        let mut quiet = populated().await;
        // A second file of the first respondent.
        quiet.contribute(0, 1).await.expect("acknowledged");
        all_anchored(&quiet, 6).await;
        let deployment = quiet.world.deployment;
        let guardian = quiet.world.founders[0].address();
        let auditor = quiet.world.keys.address();
        let mut actions = vec![Action::set_wage(&deployment, auditor, U256::from(PAY))];
        actions.extend(Action::guard(&deployment, guardian));
        let motion = Motion {
            actions,
            description: "Pay for what is reachable.".into(),
        };
        quiet.prepare(&motion).await;
        quiet.execute(&motion).await;
        let requester = quiet.world.provider(&quiet.world.requester);
        let token = DemoToken::new(deployment.token, &requester);
        let registry = LivenessRegistry::new(deployment.liveness, &requester);
        let money = U256::from(3 * PAY);
        let allowed = token.approve(deployment.liveness, money).send().await;
        let allowed = allowed.expect("sent");
        quiet.meanwhile(Chain::mined(allowed)).await.expect("mined");
        let funded = registry.fund(deployment.collective, deployment.token, money);
        let funded = funded.send().await.expect("sent");
        quiet.meanwhile(Chain::mined(funded)).await.expect("mined");
        let view = quiet.view();
        let store = quiet.node().blobs().clone();
        let node = quiet.world.keys.provider(quiet.chain.client());
        quiet.crash().await;
        Self {
            quiet,
            view,
            store,
            node,
        }
    }

    fn registry(&self) -> LivenessRegistry::LivenessRegistryInstance<&DynProvider> {
        LivenessRegistry::new(self.quiet.world.deployment.liveness, &self.node)
    }

    async fn today(&self) -> u64 {
        let latest = self.quiet.reader.latest().await.expect("a block");
        Epoch::at(latest.time)
    }

    /// Lets a day begin, keeps its randomness, lets the next begin; says which day that was.
    async fn day(&self) -> u64 {
        let before = self.today().await;
        self.quiet.pass(EPOCH_SECONDS).await;
        let epoch = self.today().await;
        assert_eq!(epoch, before + 1);
        let reader = &self.quiet.reader;
        let latest = reader.latest().await.expect("a block");
        let first = reader.first_since(epoch * EPOCH_SECONDS, &latest).await;
        let first = first.expect("an answer").expect("a block");
        let parent = reader.at_height(first.number - 1).await.expect("a block");
        let [header, parent] = [first, parent].map(|it| async move {
            let header = reader.encoded_header(&it).await;
            header.expect("a header")
        });
        self.quiet.tick();
        let registry = self.registry();
        let call = registry.fixSeed(epoch, header.await, parent.await);
        self.send(call.send().await.expect("sent")).await;
        self.quiet.pass(EPOCH_SECONDS).await;
        epoch
    }

    async fn send(
        &self,
        pending: alloy::providers::PendingTransactionBuilder<alloy::network::Ethereum>,
    ) {
        let mined = self.quiet.meanwhile(Chain::mined(pending)).await;
        mined.expect("mined");
    }

    /// What is to be said of a day: of each own draw what `of` says, of the others that they were held here.
    async fn results(&self, epoch: u64, of: impl Fn(usize) -> Verdict) -> (Results, B256) {
        let reader = &self.quiet.reader;
        let latest = reader.latest().await.expect("a block");
        let first = reader.first_since(epoch * EPOCH_SECONDS, &latest).await;
        let first = first.expect("an answer").expect("a block");
        let pool = self.view.index.pool(first.number);
        let challenges = Epoch::new(
            self.quiet.world.deployment.collective,
            epoch,
            reader.randomness(&first).await.expect("a header"),
        )
        .challenges(&pool);
        let verdict = |place: usize| match place < pool.len() {
            true => of(place),
            false => Verdict::Asked(Custody::Escrow, Outcome::Held),
        };
        let results = Results {
            collective: self.quiet.world.deployment.collective,
            epoch,
            randomness: reader.randomness(&first).await.expect("a header"),
            verdicts: (0..challenges.len()).map(verdict).collect(),
        };
        let root = results.root(&challenges).expect("draws");
        (results, root)
    }

    async fn post(&self, epoch: u64, root: B256, results: BlobId) {
        let counts = LivenessRegistry::Counts {
            held: 0,
            wrong: 0,
            erred: 0,
            offline: 0,
        };
        let collective = self.quiet.world.deployment.collective;
        let registry = self.registry();
        let call = registry.post(collective, epoch, root, results.0, counts);
        self.send(call.send().await.expect("sent")).await;
    }

    /// Shows on chain what was drawn of a contribution.
    async fn show(&self, epoch: u64, place: usize) {
        let entry = &self.view.index.anchored().nth(place).expect("one").entry;
        let file = self.file(entry).await;
        let (_, payload) = split_file(&file).expect("a sealed file");
        let randomness = self.registry().randomnessOf(epoch).call().await;
        let (leaf, length) = (entry.contribution.leaf(), entry.commitment.length);
        let collective = self.quiet.world.deployment.collective;
        let index = Epoch::new(collective, epoch, randomness.expect("a view")).draw(leaf, length);
        let range = leaf_range(length, index).expect("drawn");
        let chunk = payload[range.start as usize..range.end as usize].to_vec();
        let path = path_of(payload, index);
        let (contribution, commitment) = (&entry.contribution, &entry.commitment);
        let registry = self.registry();
        let call = registry.disputeChunk(
            LivenessRegistry::Contribution {
                collective,
                contributorId: contribution.contributor.0,
                point: contribution.point.0,
                commitment: contribution.commitment.0,
                terms: contribution.terms.0,
                nonce: U256::from(contribution.nonce),
            },
            LivenessRegistry::Commitment {
                header: commitment.header,
                payload: commitment.payload,
                length,
                source: commitment.source.clone(),
            },
            epoch,
            Bytes::from(chunk),
            path,
        );
        self.send(call.send().await.expect("sent")).await;
    }

    async fn file(&self, entry: &SignedContribution) -> bytes::Bytes {
        for id in self.store.list().await.expect("blobs") {
            let bytes = self.store.get(id).await.expect("a blob");
            let header = split_file(&bytes).map(|(header, _)| BlobId::of(header).0);
            if header == Some(entry.commitment.header) {
                return bytes;
            }
        }
        panic!("no file")
    }

    /// The account behind what was anchored at this place.
    fn owner(&self, place: usize) -> Address {
        let anchored = self.view.index.anchored().nth(place).expect("one");
        let contributor = anchored.entry.contribution.contributor;
        contributor.address().expect("an account")
    }

    async fn given(&self, account: Address) -> u64 {
        match self.quiet.client().claim(account).await {
            Ok(claim) => claim.cumulative.parse().expect("a number"),
            Err(_) => 0,
        }
    }

    /// Waits until a root over this much is proposed, lets its window pass, and says what the contract has.
    async fn root_over(&self, total: u64) {
        // One over less has to become active first.
        let over = async || {
            self.quiet.pass(WINDOW).await;
            self.quiet.mine(LAG);
            self.quiet.rewarded().await == U256::from(total)
        };
        self.quiet
            .until(&format!("a root over {total}"), over)
            .await;
        self.quiet.pass(WINDOW).await;
        self.quiet.mine(2 * LAG);
        let deployment = self.quiet.world.deployment;
        let token = DemoToken::new(deployment.token, &self.node);
        let held = token.balanceOf(deployment.rewards).call().await;
        assert_eq!(held.expect("a sum"), U256::from(total));
    }

    async fn recomputed(&self) -> verify::Verdict {
        let verdict = verify::rewards(&self.quiet.reader, self.quiet.client().clone()).await;
        verdict.expect("a verdict")
    }
}

fn kept(outcome: Outcome) -> Verdict {
    Verdict::Asked(Custody::Connected, outcome)
}

#[tokio::test(flavor = "multi_thread")]
async fn days_are_paid_by_what_was_posted_and_shown_and_everybody_works_the_same_out() {
    let mut paid = Paid::begin().await;
    let places: Vec<usize> = (0..6).collect();
    let owners: Vec<Address> = places.iter().map(|it| paid.owner(*it)).collect();
    let second = (1..6).find(|it| owners[*it] == owners[0]);
    let first_twice = second.is_some();
    let others: Vec<usize> = (1..6).filter(|it| Some(*it) != second).collect();
    assert!(first_twice && others.len() == 4, "{owners:?}");
    let [wrong, escrow, offline, shown] = others[..].try_into().expect("four");

    // A day in full: two files and one share, bytes that are lost, bytes that the node has, silence, and a false accusation.
    let full = paid.day().await;
    let says = |place: usize| match place {
        _ if place == wrong || place == shown => kept(Outcome::Wrong),
        _ if place == escrow => Verdict::Asked(Custody::Escrow, Outcome::Held),
        _ if place == offline => kept(Outcome::Offline),
        _ => kept(Outcome::Held),
    };
    let (results, root) = paid.results(full, says).await;
    let kept_as = paid
        .store
        .put(results.to_bytes().into())
        .await
        .expect("kept");
    paid.post(full, root, kept_as).await;
    paid.show(full, shown).await;

    // A day whose results are not about what was drawn: nobody earns by it.
    let false_day = paid.day().await;
    let (mut results, root) = paid.results(false_day, |_| kept(Outcome::Held)).await;
    results.verdicts.pop();
    let kept_as = paid
        .store
        .put(results.to_bytes().into())
        .await
        .expect("kept");
    paid.post(false_day, root, kept_as).await;

    // A day that the guardian does not let count.
    let vetoed = paid.day().await;
    let (results, root) = paid.results(vetoed, |_| kept(Outcome::Held)).await;
    let kept_as = paid
        .store
        .put(results.to_bytes().into())
        .await
        .expect("kept");
    paid.post(vetoed, root, kept_as).await;
    let guardian = paid.quiet.world.provider(&paid.quiet.world.founders[0]);
    let deployment = paid.quiet.world.deployment;
    let registry = LivenessRegistry::new(deployment.liveness, &guardian);
    let veto = registry.veto(deployment.collective, vetoed).send().await;
    paid.send(veto.expect("sent")).await;

    // A day whose results nobody gives yet.
    let late = paid.day().await;
    let (withheld, root) = paid.results(late, |_| kept(Outcome::Held)).await;
    paid.post(late, root, BlobId::of(&withheld.to_bytes()))
        .await;

    paid.quiet.start().await.expect("the node starts");
    paid.quiet.pass(5 * EPOCH_SECONDS).await;
    paid.root_over(2 * PAY).await;
    let each = PAY / 2;
    assert_eq!(paid.given(owners[0]).await, each);
    assert_eq!(paid.given(owners[shown]).await, each);
    for nobody in [wrong, escrow, offline] {
        assert_eq!(paid.given(owners[nobody]).await, 0);
    }
    let treasury = PAY + PAY % 2;
    assert_eq!(paid.given(deployment.collective).await, treasury);
    let verdict = paid.recomputed().await;
    assert!(verdict.holds(), "{verdict:?}");
    let registry = paid.registry();
    let settled = registry.audit(deployment.collective, late);
    let settled = settled.call().await.expect("a view").settled;
    assert!(!settled, "it waits");

    // Somebody settles it all the same; then its results come.
    let settle = registry.settle(deployment.collective, late).send().await;
    paid.send(settle.expect("sent")).await;
    paid.quiet.mine(2 * LAG);
    let verdict = paid.recomputed().await;
    let missing = &verdict.findings[0];
    assert!(!missing.holds && missing.what.contains(&format!("epoch {late}")));
    paid.store
        .put(withheld.to_bytes().into())
        .await
        .expect("kept");
    paid.root_over(3 * PAY).await;
    // Whose bytes were wrong, silent or with the node then has shown them since.
    for place in places {
        let before = if owners[place] == owners[0] || place == shown {
            each
        } else {
            0
        };
        assert_eq!(paid.given(owners[place]).await, before + PAY / 5);
    }
    assert_eq!(paid.given(deployment.collective).await, treasury + PAY % 5);
    let verdict = paid.recomputed().await;
    assert!(verdict.holds(), "{verdict:?}");

    a_false_root_is_named(&paid, full).await;
}

/// The committee of one, which is the test's, signs something else.
async fn a_false_root_is_named(paid: &Paid, first: u64) {
    let deployment = paid.quiet.world.deployment;
    let mut ledger = RewardLedger::default();
    let all = Earning::equal(U256::from(3 * PAY), []);
    ledger.credit(&all, deployment.collective).expect("divided");
    let provider = &paid.node;
    let distributor = RewardDistributor::new(deployment.rewards, provider);
    let pool = distributor.pool(deployment.collective, deployment.token);
    let sequence = pool.call().await.expect("a pool").sequence + 1;
    let bytes = ledger.to_bytes();
    let root = RewardRoot {
        collective: deployment.collective,
        token: deployment.token,
        root: ledger.tree().expect("somebody").root(),
        total: ledger.total().expect("a sum"),
        manifest: paid.store.put(bytes.into()).await.expect("kept"),
        sequence,
        epoch: paid.quiet.view().committee.epoch,
    };
    no_honest_member_signs_it(paid, &root).await;
    let digest = root.signing_hash(deployment.chain_id, deployment.rewards);
    let signature = paid.quiet.world.keys.sign(digest).as_bytes();
    let call = distributor.propose(
        root.collective,
        root.token,
        root.root,
        root.total,
        root.manifest.0,
        root.epoch,
        vec![Bytes::from(signature.to_vec())],
    );
    paid.send(call.send().await.expect("sent")).await;
    paid.quiet.mine(2 * LAG);
    let verdict = paid.recomputed().await;
    let [active, pending] = &verdict.findings[..] else {
        panic!("{verdict:?}")
    };
    assert!(active.holds && !pending.holds, "{verdict:?}");
    let named = format!("the first that differs is epoch {first}");
    assert!(pending.seen.contains(&named), "{pending:?}");
}

/// It takes from people what an earlier root gave them; what they earned themselves does not.
async fn no_honest_member_signs_it(paid: &Paid, root: &RewardRoot) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ledger = Ledger::open(&folder.path().join("ledger")).await;
    let rewards = Rewards {
        chain: paid.quiet.reader.clone(),
        ledger: ledger.expect("a ledger"),
        blobs: paid.store.clone(),
        view: watch::channel(paid.quiet.view()).1,
        known: Arc::default(),
    };
    let refused = rewards.check_growth(root).await;
    assert!(matches!(refused, Err(RewardError::Falls(_))), "{refused:?}");
    let own = rewards.root(root.sequence, root.epoch).await;
    let own = own.expect("worked out").expect("a root");
    rewards.check_growth(&own).await.expect("nobody has less");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_divided_by_bytes_where_members_decided_so() {
    let quiet = populated().await;
    let mut by_bytes = quiet.manifest.clone();
    by_bytes.payment.rule = SplitRule::Bytes;
    quiet.have_approved(std::slice::from_ref(&by_bytes)).await;
    quiet.mine(2 * LAG);
    let job = quiet.request(&by_bytes).await.expect("a job");
    reaches(&quiet, job, JobState::Completed).await;
    quiet.pass(WINDOW).await;
    reaches(&quiet, job, JobState::Settled).await;
    let share = u64::from(by_bytes.payment.contributors_bps) * PRICE / 10_000;
    let over = async || quiet.rewarded().await == U256::from(share);
    quiet.until("a root", over).await;
    quiet.pass(WINDOW).await;

    let view = quiet.view();
    let lengths: Vec<(Address, u64)> = view
        .anchored()
        .iter()
        .map(|it| {
            let owner = it.entry.contribution.contributor.address();
            (owner.expect("an account"), it.entry.commitment.length)
        })
        .collect();
    let all: u64 = lengths.iter().map(|(_, length)| length).sum();
    assert!(
        lengths.iter().any(|it| it.1 != lengths[0].1),
        "all are alike: {lengths:?}"
    );
    let mut left = share;
    for (owner, length) in lengths {
        let claim = quiet.client().claim(owner).await.expect("a claim");
        assert_eq!(claim.cumulative, (share * length / all).to_string());
        left -= share * length / all;
    }
    let treasury = quiet.world.deployment.collective;
    let claim = quiet.client().claim(treasury).await.ok();
    assert_eq!(
        claim.map_or("0".into(), |it| it.cumulative),
        left.to_string()
    );
    let verdict = verify::rewards(&quiet.reader, quiet.client().clone()).await;
    assert!(verdict.expect("a verdict").holds());
}
