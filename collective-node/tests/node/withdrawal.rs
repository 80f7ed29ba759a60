//! Taking back: by one, by a range, by everything, by the end of the terms. What is withdrawn is read by no later job, and its sealed
//! file is gone from the node's disk; a job that was leased before still has it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::by_hand::{PATIENCE, Running, World, binary, start_node};
use alloy::eips::BlockNumberOrTag;
use alloy::primitives::U256;
use alloy::providers::{Provider, ProviderBuilder};
use alloy::rpc::types::Filter;
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::SolEvent;
use collective::id::{BlobId, Leaf};
use collective::terms::{Purpose, Terms};
use collective_contracts::ContributionRegistry::Revoked;
use collective_node::client::{Client, ClientError};
use collective_node::contributor::{Destination, Nonces, prepare, revocation, split_file};
use collective_node::crash::{Step, VARIABLE};
use collective_node::http::{
    ContributionState, MIN_SIGNED_SECONDS, Problem, RelayedRevocation, RevocationAnswer,
    SignedNonces,
};
use collective_node::intake::join;
use serde_json::Value;

const RECORD: &[u8] = b"0,7,7,1,6,6,36,3,1,1\n";

/// A world, its node, and who asks it.
struct Place {
    world: World,
    node: Option<Running>,
    client: Client,
    runtime: tokio::runtime::Runtime,
}

/// What somebody contributed, and still has.
struct Given {
    leaf: Leaf,
    upload: Vec<u8>,
    file: Vec<u8>,
}

impl Place {
    fn start(folder: &Path) -> Self {
        let world = World::start(folder.join("world"));
        let client = Client::new(world.told("node").parse().expect("a URL")).expect("a client");
        let runtime = tokio::runtime::Runtime::new().expect("threads");
        let mut place = Self {
            world,
            node: None,
            client,
            runtime,
        };
        place.start_node();
        place
    }

    fn start_node(&mut self) {
        self.node = None;
        self.node = Some(start_node(&self.world.path("node.toml")).0);
    }

    fn account(&self, name: &str) -> PrivateKeySigner {
        let seeded = self.world.handout["accounts"].as_array().expect("accounts");
        let account = seeded.iter().find(|it| it["name"] == name);
        let key = account.expect("an account")["key"].as_str();
        key.expect("a key").parse().expect("a key")
    }

    fn contribute(&self, name: &str, nonce: u64, expiry: u64) -> Given {
        let answer = self.runtime.block_on(self.client.collective());
        let answer = answer.expect("a collective");
        let recipient = answer.recipient.parse().expect("a recipient");
        let to = Destination {
            deployment: &answer.deployment,
            recipient: &recipient,
            source: "anes96",
            terms: Terms {
                purposes: [Purpose::Statistics].into_iter().collect(),
                expiry,
            },
        };
        let made = prepare(&to, &self.account(name), nonce, RECORD, &mut rand::rng());
        let (entry, file) = made.expect("sealed");
        let upload = join(&entry, &file);
        let kept = self
            .runtime
            .block_on(self.client.contribute(upload.clone()));
        let leaf = kept.expect("taken in").leaf;
        self.world.json(&format!("contributions {leaf} --wait"));
        Given { leaf, upload, file }
    }

    fn state(&self, leaf: Leaf) -> ContributionState {
        let state = self.runtime.block_on(self.client.contribution(leaf));
        state.expect("it is known").state
    }

    /// Waits until the node has dropped a contribution's file, and says why it did.
    fn dropped(&self, given: &Given) -> Value {
        let began = Instant::now();
        loop {
            let state = self.state(given.leaf);
            if let ContributionState::Withdrawn {
                why, dropped: true, ..
            } = state
            {
                self.is_nowhere(given);
                return serde_json::to_value(why).expect("a word");
            }
            assert!(began.elapsed() < PATIENCE, "it stays: {state:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// No file in the node's folder has the sealed payload, whatever its name.
    fn is_nowhere(&self, given: &Given) {
        let (_, payload) = split_file(&given.file).expect("a sealed file");
        let found = holding(&PathBuf::from(self.world.path("node")), payload);
        assert_eq!(found, Vec::<PathBuf>::new(), "the payload is still here");
    }

    fn revoke(&self, line: &str) -> RevocationAnswer {
        let said = self.world.json(&format!("revoke {line}"));
        serde_json::from_value(said).expect("an answer")
    }

    /// What a faucet is for elsewhere.
    fn give_ether(&self, name: &str) {
        let rpc = self.world.told("rpc").parse().expect("a URL");
        let provider = ProviderBuilder::new().connect_http(rpc);
        let ether = U256::from(10).pow(U256::from(18));
        let given = (self.account(name).address(), ether);
        let set = provider.raw_request("anvil_setBalance".into(), given);
        let _: Value = self.runtime.block_on(set).expect("a development chain");
    }

    /// Unix seconds of the newest block.
    fn latest(&self) -> u64 {
        let rpc = self.world.told("rpc").parse().expect("a URL");
        let provider = ProviderBuilder::new().connect_http(rpc);
        let block = self.runtime.block_on(async {
            let block = provider.get_block_by_number(BlockNumberOrTag::Latest);
            block.await.expect("an answer").expect("a block")
        });
        block.header.timestamp
    }

    fn signed(&self, name: &str, nonces: &[u64]) -> RelayedRevocation {
        self.signed_until(name, nonces, NEVER)
    }

    fn signed_until(&self, name: &str, nonces: &[u64], deadline: u64) -> RelayedRevocation {
        let answer = self.runtime.block_on(self.client.collective());
        let deployment = answer.expect("a collective").deployment;
        let nonces: Nonces = nonces.iter().copied().collect();
        revocation(&deployment, &self.account(name), &nonces, deadline)
    }

    /// How many revocations of an account's were paid for.
    fn revocations(&self, name: &str) -> usize {
        let rpc = self.world.told("rpc").parse().expect("a URL");
        let provider = ProviderBuilder::new().connect_http(rpc);
        let filter = Filter::new()
            .event_signature(Revoked::SIGNATURE_HASH)
            .topic1(self.account(name).address().into_word())
            .from_block(0);
        let logs = self.runtime.block_on(provider.get_logs(&filter));
        logs.expect("logs").len()
    }

    /// Has the example program approved.
    fn approve(&self) -> String {
        let manifest = self.world.path("manifests/mean.json");
        let program = self.world.path("programs/mean.wasm");
        let founder = self.world.key("founder-0");
        let line = format!("propose --manifest {manifest} --key {founder} --program {program}");
        let opened = self.world.json(&line);
        self.world
            .decide(&[opened["proposal"].as_str().expect("an id")]);
        manifest
    }

    fn request(&self, manifest: &str) {
        let requester = self.world.key("requester");
        let line = format!("job request --manifest {manifest} --key {requester}");
        self.world.json(&line);
    }

    /// How many contributions a job read.
    fn count(&self, job: u64) -> u64 {
        let ran = self.world.json(&format!("job show {job} --wait"));
        assert_eq!(ran["state"], "completed", "{ran}");
        let list = ran["record"]["inputs"].as_str().expect("a blob");
        let list = self
            .world
            .path(&format!("node/blobs/{}/{}", &list[2..4], &list[4..]));
        let leaves: Vec<Leaf> =
            serde_json::from_slice(&std::fs::read(list).expect("kept")).expect("leaves");
        leaves.len() as u64
    }
}

/// Files below a folder that hold these bytes.
fn holding(folder: &Path, bytes: &[u8]) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(holding(&path, bytes));
        } else {
            // A file may go while it is looked for.
            let read = std::fs::read(&path).unwrap_or_default();
            if read.windows(bytes.len()).any(|some| some == bytes) {
                found.push(path);
            }
        }
    }
    found
}

fn refused<T: std::fmt::Debug>(answer: Result<T, ClientError>) -> Problem {
    match answer {
        Err(ClientError::Refused(problem)) => *problem,
        other => panic!("it was not refused: {other:?}"),
    }
}

const NEVER: u64 = 4_000_000_000;

#[test]
fn what_is_taken_back_is_gone_from_the_disk_and_from_later_jobs() {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let mut place = Place::start(temporary.path());
    let key = |name: &str| place.world.key(name);
    let [ann, ben, cleo, dora] = [0, 1, 2, 3].map(|it| key(&format!("contributor-{it}")));
    let [one, two, far] = [1, 2, 300].map(|nonce| place.contribute("contributor-0", nonce, NEVER));
    let several = [1, 2].map(|nonce| place.contribute("contributor-1", nonce, NEVER));
    let late = place.contribute("contributor-2", 1, NEVER);
    let node = PathBuf::from(place.world.path("node"));
    let (_, payload) = split_file(&one.file).expect("a sealed file");
    assert_eq!(
        holding(&node, payload).len(),
        1,
        "a search that finds nothing shows nothing"
    );

    // Whose signature it is not, and who has nothing here.
    place.world.refused(
        &format!("revoke {} --key {ben}", one.leaf),
        "whose key this is not",
    );
    place.world.refused(
        &format!("revoke 77 --key {ann}"),
        "this node holds none of these",
    );
    place.world.refused(
        &format!("revoke --from 0 --to 5000 --key {ann}"),
        "more than 16 words",
    );
    let held = place
        .runtime
        .block_on(place.client.status())
        .expect("a status")
        .held;

    // One.
    let answer = place.revoke(&format!("1 --key {ann}"));
    assert!(answer.not_sent.is_empty());
    let uses = answer.uses.expect("the chain answers");
    assert_eq!((uses.uses, uses.unknown), (vec![], vec![]));
    assert_eq!(place.dropped(&one), "revoked");
    let name = BlobId::of(&one.file);
    let gone = refused(place.runtime.block_on(place.client.blob(name)));
    assert_eq!((gone.status, gone.title.as_str()), (410, "Gone"));
    // Whoever has a copy does not put it back, under any name of its own.
    let again = refused(place.runtime.block_on(place.client.keep(one.file.clone())));
    assert_eq!(again.status, 410);
    let replay = refused(
        place
            .runtime
            .block_on(place.client.contribute(one.upload.clone())),
    );
    assert_eq!(replay.status, 409);
    place.is_nowhere(&one);
    // A key holder still gets the header, which everybody's index is made of.
    let header = place.runtime.block_on(place.client.header(one.leaf));
    assert!(one.file.starts_with(&header.expect("a header")));
    // Doing it twice costs the node nothing, one after the other or at once.
    let twice = place.revoke(&format!("1 --key {ann}"));
    assert!(twice.block >= answer.block);
    assert_eq!(place.revocations("contributor-0"), 1);
    let at_once = place.contribute("contributor-3", 1, NEVER);
    let signed = place.signed("contributor-3", &[1]);
    let answers = place.runtime.block_on(async {
        let ask = |_| place.client.revoke(&signed);
        futures_util::future::join_all((0..8).map(ask)).await
    });
    assert!(answers.iter().any(Result::is_ok), "{answers:?}");
    assert_eq!(place.revocations("contributor-3"), 1);
    assert_eq!(place.dropped(&at_once), "revoked");
    let mut doubled = signed;
    if let SignedNonces::Words(words) = &mut doubled.revoked {
        words.push(words[0].clone());
    }
    let problem = refused(place.runtime.block_on(place.client.revoke(&doubled)));
    assert_eq!(problem.status, 400);

    // A range over two words, and a contribution by its leaf.
    let answer = place.revoke(&format!("--from 2 --to 300 --key {ann}"));
    assert!(answer.not_sent.is_empty());
    place.revoke(&format!("{} --key {cleo}", late.leaf));
    for given in [&two, &far, &late] {
        assert_eq!(place.dropped(given), "revoked");
    }
    // Words of which the node holds nothing are not paid for, and that is said.
    let third = place.contribute("contributor-0", 3_000, NEVER);
    let line = format!("revoke --from 2900 --to 3100 --key {ann} --json");
    let output = place.world.run(&line);
    assert_eq!(output.status.code(), Some(1));
    let answer: RevocationAnswer = serde_json::from_slice(&output.stdout).expect("an answer");
    assert_eq!(answer.not_sent, [12]);
    assert_eq!(place.dropped(&third), "revoked");

    // Everything so far; what comes later is another matter.
    place.revoke(&format!("--all --key {ben}"));
    for given in &several {
        assert_eq!(place.dropped(given), "revoked");
    }
    place.contribute("contributor-1", 3, NEVER);
    let status = place
        .runtime
        .block_on(place.client.status())
        .expect("a status");
    // Six of them and the one that `dev` made for ben are gone, and one came.
    assert_eq!(status.held, held - 6);

    // The end of the terms needs nobody.
    let now = status.latest.time;
    let short = place.contribute("contributor-2", 2, now + 3_600);
    place.world.pass("3601");
    assert_eq!(place.dropped(&short), "expired");

    // A restart, copies that were restored, of which one cannot be removed and holds up nothing, and a ledger that is lost.
    let path = |given: &Given| {
        let name = BlobId::of(&given.file).to_string();
        node.join("blobs").join(&name[2..4]).join(&name[4..])
    };
    place.node = None;
    std::fs::create_dir(path(&two)).expect("nothing that can be removed as a file");
    for restored in [&one, &far] {
        std::fs::write(path(restored), &restored.file).expect("restored");
    }
    place.start_node();
    let after = place.contribute("contributor-3", 2, NEVER);
    place.revoke(&format!("{} --key {dora}", after.leaf));
    assert_eq!(place.dropped(&after), "revoked");
    let began = Instant::now();
    while path(&one).exists() || path(&far).exists() {
        assert!(began.elapsed() < PATIENCE, "a restored copy stays");
        std::thread::sleep(Duration::from_millis(50));
    }
    place.node = None;
    std::fs::remove_dir(path(&two)).expect("nothing is in it");
    for file in ["ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"] {
        let _ = std::fs::remove_file(node.join(file));
    }
    place.start_node();
    for given in [&one, &two, &far, &late, &short, &after, &several[0]] {
        place.dropped(given);
    }
    let replay = refused(
        place
            .runtime
            .block_on(place.client.contribute(one.upload.clone())),
    );
    assert_eq!(replay.status, 409);
}

#[test]
fn a_job_that_was_leased_before_still_reads_it_and_later_ones_do_not() {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let mut place = Place::start(temporary.path());
    let given = place.contribute("contributor-0", 1, NEVER);
    let manifest = place.approve();
    place.request(&manifest);
    let before = place.count(1);

    // The release of the second job is final when the node ends, and the revocation is when it comes back.
    place.node = None;
    place.request(&manifest);
    let mut command = binary();
    command.args(["node", "--config", &place.world.path("node.toml")]);
    command.env(VARIABLE, Step::ReleasedNotRun.name());
    let ended = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(!ended.expect("it starts").success(), "it ended by itself");
    place.give_ether("contributor-0");
    let key = place.world.key("contributor-0");
    let line = format!("revoke 0 1 --own-gas --key {key}");
    place.world.json(&line);
    std::thread::sleep(Duration::from_secs(5));
    place.start_node();
    assert_eq!(place.count(2), before, "what was released is read");
    assert_eq!(place.dropped(&given), "revoked");

    place.request(&manifest);
    assert_eq!(place.count(3), before - 1);
    // The answer to somebody else names the runs that read it, with their receipts.
    let key = place.world.key("contributor-1");
    let answer = place.revoke(&format!("--all --key {key}"));
    let uses = answer.uses.expect("the chain answers").uses;
    assert_eq!(uses.iter().map(|it| it.job).collect::<Vec<_>>(), [1, 2, 3]);
    for one in &uses {
        assert!(one.receipt.is_some() && one.holds(one.contribution));
    }
    assert_eq!(answer.under_way, Some(vec![]));
    // A signature that is not the contributor's takes nothing back.
    let mut forged = place.signed("contributor-0", &[0]);
    forged.contributor = place.account("contributor-2").address();
    let problem = refused(place.runtime.block_on(place.client.revoke(&forged)));
    assert_eq!(problem.status, 403, "{problem:?}");
    // Nor does one that may end before it is mined: the node would have paid.
    let mut ending = place.signed("contributor-0", &[0]);
    ending.deadline = place.latest() + MIN_SIGNED_SECONDS / 2;
    let problem = refused(place.runtime.block_on(place.client.revoke(&ending)));
    assert_eq!(
        problem.status, 403,
        "signed for another deadline: {problem:?}"
    );
    let ending = place.signed_until("contributor-0", &[0], ending.deadline);
    let problem = refused(place.runtime.block_on(place.client.revoke(&ending)));
    assert_eq!(problem.status, 400, "{problem:?}");
}
