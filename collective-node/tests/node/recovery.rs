//! A key that is lost: the one in the safe has another take over, which takes back and is paid. The old one can
//! take back then and nothing else, its owner could have said no for thirty days, and nobody else can do anything at all.

use crate::by_hand::{self, PATIENCE, Running, World, start_node};
use crate::quiet_world::{QuietWorld, Way, populated};
use std::time::{Duration, Instant};

use alloy::primitives::{Address, U256};
use alloy::providers::{DynProvider, Provider, ProviderBuilder};
use alloy::signers::local::PrivateKeySigner;
use collective::index::Void;
use collective_contracts::DemoToken;
use collective_node::client::{Client, ClientError};
use collective_node::contributor::{RecoveryStep, recovery};
use collective_node::http::{
    ContributionState, MAX_PAID_SEQUENCE, MIN_SIGNED_SECONDS, Problem, RecoveryAnswer,
    RecoveryChange, RelayedRecovery,
};
use serde_json::Value;

const RECORD: &[u8] = b"0,7,7,1,6,6,36,3,1,1\n";
const TERMS: &str = "--source anes96 --purposes statistics";

/// ContributionRegistry's RECOVERY_SECONDS.
const DELAY: u64 = 30 * 86_400;

/// Dispute and challenge windows, with room.
const WINDOW: &str = "86460";

/// A world and its node, Ann, whose key gets lost, the key in her safe, and the one that she makes then.
struct Place {
    world: World,
    _node: Running,
    client: Client,
    provider: DynProvider,
    runtime: tokio::runtime::Runtime,
    ann: String,
    safe: String,
    next: String,
}

impl Place {
    fn start(folder: &std::path::Path) -> Self {
        let world = World::start(folder.join("world"));
        let (node, _) = start_node(&world.path("node.toml"));
        let new = |name: &str| {
            let file = world.path(&format!("accounts/{name}.key"));
            let made = world.json(&format!("key new account {file}"));
            made["account"].as_str().expect("an account").to_owned()
        };
        let (safe, next) = (new("safe"), new("next"));
        let shown = world.json(&format!("key show {}", world.key("contributor-0")));
        let ann = shown["account"].as_str().expect("an account").to_owned();
        let rpc = world.told("rpc").parse().expect("a URL");
        Self {
            client: Client::new(world.told("node").parse().expect("a URL")).expect("a client"),
            provider: ProviderBuilder::new().connect_http(rpc).erased(),
            runtime: tokio::runtime::Runtime::new().expect("threads"),
            _node: node,
            world,
            ann,
            safe,
            next,
        }
    }

    fn key(&self, name: &str) -> String {
        self.world.key(name)
    }

    fn signer(&self, name: &str) -> PrivateKeySigner {
        let file = std::fs::read_to_string(self.key(name)).expect("a key file");
        let key = file.lines().find(|line| !line.starts_with('#'));
        key.expect("a key").parse().expect("a key")
    }

    fn state(&self) -> RecoveryAnswer {
        let said = self.world.json(&format!("key recovery show {}", self.ann));
        let by_chain: RecoveryAnswer = serde_json::from_value(said).expect("an answer");
        let by_node = self
            .runtime
            .block_on(self.client.recovery(address(&self.ann)));
        let time = by_chain.time;
        let by_node = by_node.expect("an answer");
        assert_eq!(RecoveryAnswer { time, ..by_node }, by_chain);
        by_chain
    }

    /// What a faucet is for elsewhere.
    fn give_ether(&self, name: &str) {
        let ether = U256::from(10).pow(U256::from(18));
        let given = (self.signer(name).address(), ether);
        let set = self.provider.raw_request("anvil_setBalance".into(), given);
        let _: Value = self.runtime.block_on(set).expect("a development chain");
    }

    fn money(&self, account: &str) -> U256 {
        let deployment = std::fs::read(self.world.told("deployment")).expect("a deployment");
        let deployment: Value = serde_json::from_slice(&deployment).expect("JSON");
        let token = deployment["token"].as_str().expect("a token");
        let token = DemoToken::new(address(token), &self.provider);
        let balance = token.balanceOf(address(account));
        let balance = self.runtime.block_on(async { balance.call().await });
        balance.expect("an answer")
    }

    /// Has the example program approved.
    fn approve(&self) -> String {
        let manifest = self.world.path("manifests/mean.json");
        let program = self.world.path("programs/mean.wasm");
        let founder = self.key("founder-0");
        let line = format!("propose --manifest {manifest} --key {founder} --program {program}");
        let opened = self.world.json(&line);
        let proposal = opened["proposal"].as_str().expect("an id");
        self.world.decide(&[proposal]);
        manifest
    }

    /// How many contributions the next job reads.
    fn run(&self, manifest: &str, job: u64) -> u64 {
        let requester = self.key("requester");
        let line = format!("job request --manifest {manifest} --key {requester}");
        self.world.json(&line);
        let ran = self.world.json(&format!("job show {job} --wait"));
        assert_eq!(ran["state"], "completed", "{ran}");
        let verdict = self.world.json(&format!("verify receipt {job}"));
        let findings = verdict["findings"].as_array().expect("findings");
        assert!(findings.iter().all(|it| it["holds"] == true), "{verdict}");
        let list = ran["record"]["inputs"].as_str().expect("a blob");
        let list = format!("node/blobs/{}/{}", &list[2..4], &list[4..]);
        let list = std::fs::read(self.world.path(&list)).expect("kept");
        let leaves: Vec<String> = serde_json::from_slice(&list).expect("leaves");
        leaves.len() as u64
    }

    /// Runs a command until it is refused with these words: what it is about has to be final first.
    fn refused_in_time(&self, line: &str, input: &[u8], words: &str) {
        let began = Instant::now();
        loop {
            let output = self.world.run_with(line, input);
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            if output.status.code() == Some(1) && error.contains(words) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{line}: {error}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Has Ann paid once the newest job is settled and a root is active; by a stranger.
    fn claim(&self) -> Value {
        let line = format!(
            "rewards claim {} --key {} --json",
            self.ann,
            self.key("requester")
        );
        let began = Instant::now();
        loop {
            let output = self.world.run(&line);
            if output.status.success() {
                return serde_json::from_slice(&output.stdout).expect("JSON");
            }
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(began.elapsed() < PATIENCE, "{error}");
            self.world.pass(WINDOW);
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    fn signed(&self, by: &str, step: RecoveryStep, sequence: u32, until: u64) -> RelayedRecovery {
        let answer = self.runtime.block_on(self.client.collective());
        let deployment = answer.expect("a collective").deployment;
        let (ann, signer) = (address(&self.ann), self.signer(by));
        recovery(&deployment, &signer, ann, step, sequence, until)
    }

    fn refusal(&self, asked: &RelayedRecovery) -> Problem {
        match self.runtime.block_on(self.client.recover(asked)) {
            Err(ClientError::Refused(problem)) => *problem,
            other => panic!("it was not refused: {other:?}"),
        }
    }
}

fn address(text: &str) -> Address {
    text.parse().expect("an address")
}

const NEVER: u64 = 4_000_000_000;

#[test]
fn who_lost_a_key_takes_back_and_is_paid() {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let place = Place::start(temporary.path());
    let world = &place.world;
    let (ann, safe, next) = (&place.ann, &place.safe, &place.next);
    let (ann_key, safe_key, next_key) = (
        place.key("contributor-0"),
        place.key("safe"),
        place.key("next"),
    );
    let manifest = place.approve();

    // Named with the contribution, signed by Ann, paid by the node.
    let contribute = format!("contribute --record - {TERMS} --nonce 1 --key {ann_key}");
    let given = world.json_with(&format!("{contribute} --recovery {safe}"), RECORD);
    let leaf = given["leaf"].as_str().expect("a leaf").to_owned();
    world.json(&format!("contributions {leaf} --wait"));
    assert_eq!(place.state().recovery, Some(address(safe)));
    let readers = place.run(&manifest, 1);

    // It is lost. The key in the safe starts, and nobody else does.
    let start = format!("key recovery start {ann} --next {next} --key");
    world.refused(
        &format!("{start} {next_key}"),
        "not that of the recovery key",
    );
    world.json(&format!("{start} {safe_key}"));
    let finish = format!("key recovery finish {ann}");
    world.refused(&finish, "can be vetoed until");
    let stranger = place.key("requester");
    let own_gas = format!("{finish} --own-gas --key {stranger}");
    world.refused(&own_gas, "RecoveryTooEarly");
    // What she earned is not paid to the key that is lost, whoever asks for it.
    let claim = format!("rewards claim {ann} --key");
    for key in [&stranger, &safe_key, &next_key] {
        world.refused(&format!("{claim} {key}"), "a recovery of");
    }
    let relayed = place.client.relay_claims(vec![address(ann)]);
    match place.runtime.block_on(relayed) {
        Err(ClientError::Refused(problem)) => assert_eq!(problem.status, 409, "{problem:?}"),
        other => panic!("it was not refused: {other:?}"),
    }
    world.pass(&(DELAY - 600).to_string());
    world.refused(&finish, "can be vetoed until");
    world.pass("601");
    world.json(&finish);
    let state = place.state();
    assert_eq!(state.controller, address(next));
    assert!(state.rotated_at.is_some() && state.next.is_none());
    world.refused(&finish, "no recovery is under way");

    // The old key contributes, names and moves nothing any more.
    let again = format!("contribute --record - {TERMS} --nonce 2 --key {ann_key}");
    place.refused_in_time(&again, RECORD, "another key has taken over");
    place.give_ether("contributor-0");
    let unname = format!("key recovery name --none --key {ann_key}");
    world.refused(&unname, "not that of the contributor's key");
    world.refused(&format!("{unname} --own-gas"), "NotController");
    for own_gas in ["", " --own-gas"] {
        let line = format!("revoke --all --of {ann} --key {safe_key}{own_gas}");
        let words = ["NotController", "not that of the contributor's key"];
        world.refused(&line, words[usize::from(own_gas.is_empty())]);
    }
    // It can still take back, which only protects: by the node, and by itself.
    for verb in ["revoke 0", "revoke 700 --own-gas"] {
        let taken = world.json(&format!("{verb} --key {ann_key}"));
        assert!(taken["block"].as_u64().is_some(), "{taken}");
    }
    let move_it = format!("contributions place {leaf} --place https://me.example/x --key");
    place.refused_in_time(
        &format!("{move_it} {ann_key}"),
        b"",
        "not signed by the contributor",
    );

    // The new one has it all. (The file is in escrow: there is no place to move.)
    place.refused_in_time(
        &format!("{move_it} {next_key}"),
        b"",
        "has this file itself",
    );
    let before = (place.money(ann), place.money(next));
    let paid = place.claim();
    let paid: U256 = paid["paid"]
        .as_str()
        .expect("an amount")
        .parse()
        .expect("digits");
    assert!(paid > U256::ZERO);
    assert_eq!(
        (place.money(ann), place.money(next)),
        (before.0, before.1 + paid)
    );
    let others = world.run(&format!("revoke {leaf} --key {next_key}"));
    by_hand::refusal(others, "without --of", "--of names that account");
    let taken = world.json(&format!("revoke --all --of {ann} --key {next_key}"));
    assert_eq!(taken["uses"]["uses"][0]["job"], 1, "{taken}");
    assert_eq!(place.run(&manifest, 2), readers - 1);
    // One account that is being recovered holds up nobody else's claim.
    let bob_key = place.key("contributor-1");
    let bob = place.signer("contributor-1").address();
    world.json(&format!("key recovery name {safe} --key {bob_key}"));
    world.json(&format!(
        "key recovery start {bob} --next {next} --key {safe_key}"
    ));
    let both = place.client.relay_claims(vec![bob, address(ann)]);
    let relayed = place.runtime.block_on(both).expect("claimed");
    assert_eq!(relayed.recovering, [bob]);
    // And names its own recovery key.
    world.json(&format!(
        "key recovery name --none --of {ann} --key {next_key}"
    ));
    assert_eq!(place.state().recovery, None);
}

#[test]
fn a_stolen_recovery_key_gets_nowhere() {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let place = Place::start(temporary.path());
    let world = &place.world;
    let (ann, safe) = (&place.ann, &place.safe);
    let (ann_key, safe_key) = (place.key("contributor-0"), place.key("safe"));
    let veto = format!("key recovery veto --key {ann_key}");
    let start = format!("key recovery start {ann} --key {safe_key}");
    world.refused(&start, "no recovery key was named");
    world.refused(&veto, "is under way");
    let safe_address = address(safe);
    let capitals = format!(
        "key recovery name {} --key {ann_key}",
        safe.to_uppercase().replace("0X", "0x")
    );
    let named = world.run(&capitals).status.code();
    assert_eq!(named, Some(0), "capitals alone are no misspelling");
    world.refused(&format!("key recovery name {ann} --key {safe_key}"), "(404");
    world.refused(
        &format!("key recovery name {ann} --key {ann_key}"),
        "has to be another one",
    );

    let nobody = RecoveryStep::Start(Address::ZERO);
    let nobody = place.signed("safe", nobody, place.state().sequence, NEVER);
    assert_eq!(place.refusal(&nobody).status, 400, "nobody takes over");

    world.json(&start);
    world.refused(&start, "is under way");
    world.json(&veto);
    let state = place.state();
    assert_eq!((state.next, state.recovery), (None, Some(safe_address)));
    world.pass(&(DELAY + 1).to_string());
    world.refused(
        &format!("key recovery finish {ann}"),
        "no recovery is under way",
    );

    // What was signed before is worth nothing after another change.
    let sequence = place.state().sequence;
    let start_it = RecoveryStep::Start(safe_address);
    let signed = place.signed("safe", start_it, sequence, NEVER);
    place
        .runtime
        .block_on(place.client.recover(&signed))
        .expect("started");
    let problem = place.refusal(&signed);
    assert_eq!(problem.status, 409, "{problem:?}");
    // Ann names another key, which ends it and all that the stolen one could start.
    let requester = world.json(&format!("key show {}", place.key("requester")));
    let requester = requester["account"].as_str().expect("an account");
    world.json(&format!("key recovery name {requester} --key {ann_key}"));
    world.refused(&start, "not that of the recovery key");
    place.give_ether("safe");
    world.refused(&format!("{start} --own-gas"), "NotRecovery");
    let mut replayed = signed.clone();
    replayed.sequence = place.state().sequence;
    let problem = place.refusal(&replayed);
    assert_eq!(problem.status, 403, "{problem:?}");

    // The node pays for nothing that may fail.
    let sequence = place.state().sequence;
    let name = RecoveryStep::Name(safe_address);
    let good = place.signed("contributor-0", name, sequence, NEVER);
    let mut other = good.clone();
    other.deadline -= 1;
    assert_eq!(
        place.refusal(&other).status,
        403,
        "signed for another deadline"
    );
    let mut other = good.clone();
    if let RecoveryChange::Name { recovery, .. } = &mut other.change {
        *recovery = address(ann);
    }
    assert_eq!(place.refusal(&other).status, 403, "another key");
    let mut other = good.clone();
    other.contributor = place.signer("contributor-1").address();
    other.sequence = 0;
    assert_eq!(place.refusal(&other).status, 403, "another account");
    let early = place.signed("contributor-0", name, sequence + 1, NEVER);
    assert_eq!(place.refusal(&early).status, 409, "another sequence");
    let until = place.state().time + MIN_SIGNED_SECONDS / 2;
    let ending = place.signed("contributor-0", name, sequence, until);
    assert_eq!(
        place.refusal(&ending).status,
        400,
        "it may end before it is mined"
    );
    let deployment = place.runtime.block_on(place.client.collective());
    let mut elsewhere = deployment.expect("a collective").deployment;
    elsewhere.chain_id += 1;
    let (signer, whose) = (place.signer("contributor-0"), address(ann));
    let signed = recovery(&elsewhere, &signer, whose, name, sequence, NEVER);
    assert_eq!(place.refusal(&signed).status, 403, "another chain");
    elsewhere.chain_id -= 1;
    elsewhere.contributions = Address::repeat_byte(1);
    let signed = recovery(&elsewhere, &signer, whose, name, sequence, NEVER);
    assert_eq!(place.refusal(&signed).status, 403, "another registry");
    assert_eq!(place.state().sequence, sequence, "nothing was paid for");

    // Nor for more than its share.
    for sequence in sequence..MAX_PAID_SEQUENCE {
        let signed = place.signed("contributor-0", name, sequence, NEVER);
        place
            .runtime
            .block_on(place.client.recover(&signed))
            .expect("named");
    }
    let one_more = place.signed("contributor-0", name, MAX_PAID_SEQUENCE, NEVER);
    let problem = place.refusal(&one_more);
    assert!(
        problem.detail.contains("pays for the first 16"),
        "{problem:?}"
    );
    place.give_ether("contributor-0");
    world.json(&format!(
        "key recovery name --none --own-gas --key {ann_key}"
    ));
    assert_eq!(place.state().recovery, None);
}

/// Has the key of the first respondent replaced, and says in which block.
async fn rotate(quiet: &QuietWorld) -> u64 {
    let ann = &quiet.world.contributors[0];
    let (safe, next) = (PrivateKeySigner::random(), PrivateKeySigner::random());
    let (deployment, account) = (&quiet.world.deployment, ann.address());
    let name = RecoveryStep::Name(safe.address());
    let named = recovery(deployment, ann, account, name, 0, NEVER);
    quiet
        .meanwhile(quiet.client().recover(&named))
        .await
        .expect("named");
    let start = RecoveryStep::Start(next.address());
    let started = recovery(deployment, &safe, account, start, 1, NEVER);
    quiet
        .meanwhile(quiet.client().recover(&started))
        .await
        .expect("started");
    quiet.pass(DELAY + 1).await;
    let finish = RelayedRecovery {
        contributor: account,
        sequence: 2,
        deadline: 0,
        change: RecoveryChange::Finish,
    };
    let finished = quiet.meanwhile(quiet.client().recover(&finish)).await;
    finished.expect("finished").block
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_anchored_after_the_old_key_lost_its_id_counts_for_nobody() {
    let quiet = populated().await;
    let block = rotate(&quiet).await;
    // The node does not know of it before it is final, and takes the old key's word.
    assert!(quiet.view().finalized.number < block, "it is final already");
    let late = quiet.contribute(0, 1).await.expect("acknowledged");
    let others = quiet.contribute(1, 1).await.expect("acknowledged");
    let seven = async || quiet.view().index.len() == 7;
    quiet.until("both are anchored", seven).await;
    let view = quiet.view();
    let of = |leaf| {
        view.index
            .anchored()
            .find(|it| it.entry.contribution.leaf() == leaf)
    };
    assert!(of(late).expect("anchored").block >= block);
    let counts = |leaf| {
        view.anchored()
            .iter()
            .any(|it| it.entry.contribution.leaf() == leaf)
    };
    assert!(!counts(late) && counts(others));
    let told = async |leaf| {
        let answer = quiet.client().contribution(leaf).await;
        match answer.expect("it is known").state {
            ContributionState::Batched { void, .. } => void,
            other => panic!("it is in a batch: {other:?}"),
        }
    };
    assert_eq!(told(late).await, Some(Void::TakenOver));
    assert_eq!(told(others).await, None);
    // What was anchored before goes on counting.
    assert_eq!(view.anchored().len(), 6);
    quiet.replay_is_the_same().await;

    // Whose key it is is known by now, whether the endpoint answers or not.
    quiet.line.is(Way::Cut);
    quiet.contribute(2, 1).await.expect("nobody took it over");
    let refused = quiet.contribute(0, 2).await.expect_err("it is known now");
    quiet.line.is(Way::Open);
    let problem = refused.problem().expect("a problem");
    assert_eq!(problem.status, 403);
    assert!(
        problem.detail.contains("another key has taken over"),
        "{problem:?}"
    );
}
