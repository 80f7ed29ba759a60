//! A collective is founded on a chain that nobody prepared, and brought to its first settled job by verbs
//! alone. Only ether comes from elsewhere.

mod by_hand;

use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use alloy::primitives::{Address, U256};
use alloy::providers::{Provider, ProviderBuilder};
use by_hand::{PATIENCE, Session, refusal, start_node};
use collective::approval::{
    Evidence, Format, Limits, Manifest, OutputKind, OutputRule, Payment, Program, ProgramKind,
    Recipient, Selector, SplitRule,
};
use collective::id::BlobId;
use collective::source::Source;
use collective::terms::Purpose;
use collective_node::chain::Deployment;
use devchain::{Config, DevChain};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

const MEAN: &[u8] = include_bytes!("../../jobs/mean/mean.wasm");

const SOURCE: &str = r#"{"name": "survey", "columns": [
    {"name": "age", "type": {"integer": {"min": 18, "max": 120}}},
    {"name": "score", "type": {"integer": {"min": 0, "max": 10}}}]}"#;

/// What three people answer.
const RECORDS: [&str; 3] = ["30,2\n", "40,4\n", "50,9\n"];

/// A day and a minute: both windows, of dispute and of challenge, are a day.
const WINDOW: &str = "86460";

/// How this collective decides, in seconds.
const RULES: &str = "--voting-delay 60 --voting-period 600 --notice 3600 --quorum 50";

/// A chain that mines by itself, an empty folder, and people with empty pockets.
struct Bare {
    _chain_runs: Runtime,
    session: Session,
    _temporary: tempfile::TempDir,
}

impl Bare {
    fn start() -> Self {
        let runtime = Runtime::new().expect("threads");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"));
        let listener = listener.expect("a port");
        let rpc = format!("http://{}", listener.local_addr().expect("an address"));
        let chain = DevChain::new(Config::default());
        let mined = chain.clone();
        runtime.spawn(async move { chain.serve(listener, std::future::pending()).await });
        runtime.spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(100)).await;
                mined.mine(1).expect("a block");
            }
        });
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let folder = temporary.path().to_owned();
        let deployment = folder.join("deployment.json");
        let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let listen = port.local_addr().expect("an address").to_string();
        let handout = json!({
            "rpc": rpc,
            "node": format!("http://{listen}"),
            "listen": listen,
            "deployment": deployment.to_str().expect("a path in UTF-8"),
        });
        let bare = Self {
            _chain_runs: runtime,
            session: Session { folder, handout },
            _temporary: temporary,
        };
        std::fs::create_dir(bare.session.folder.join("accounts")).expect("a folder");
        for name in ["payer", "ann", "ben", "cleo"] {
            let path = bare.session.key(name);
            bare.session.json(&format!("key new account {path}"));
        }
        bare
    }

    fn address(&self, name: &str) -> String {
        let shown = self
            .session
            .json(&format!("key show {}", self.session.key(name)));
        text_of(&shown, "account")
    }

    /// Sets what an account has, in gwei: what a faucet is for elsewhere.
    fn give(&self, account: &str, gwei: u64) {
        let provider =
            ProviderBuilder::new().connect_http(self.session.told("rpc").parse().expect("a URL"));
        let amount = U256::from(gwei) * U256::from(1_000_000_000);
        let account: Address = account.parse().expect("an address");
        let runtime = Runtime::new().expect("threads");
        let _: Value = runtime
            .block_on(provider.raw_request("anvil_setBalance".into(), (account, amount)))
            .expect("a development chain");
    }

    fn write(&self, name: &str, bytes: &[u8]) -> String {
        std::fs::write(self.session.folder.join(name), bytes).expect("a written file");
        self.session.path(name)
    }

    fn said(&self, output: &Output) -> String {
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

/// An ether in gwei.
const ETHER: u64 = 1_000_000_000;

#[test]
fn a_collective_is_founded_and_runs_its_first_job() {
    let bare = Bare::start();
    let deployment = found(&bare);
    another_on_the_same_registries(&bare, &deployment);
    let registered = register(&bare);
    let (node, line) = start_node(&bare.session.path("node.toml"));
    assert!(line.contains(bare.session.told("node")), "it says: {line}");
    constitute(&bare, &registered);
    let again = bare.session.json(&registering(&bare));
    assert_eq!(again, registered, "an accepted node registers nothing more");
    contribute(&bare);
    run(&bare, &deployment);
    drop(node);
}

fn founding(bare: &Bare) -> String {
    let (ann, ben) = (bare.address("ann"), bare.address("ben"));
    let key = bare.session.key("payer");
    format!("init --key {key} --founder {ann} --founder {ben} {RULES}")
}

/// It fails for want of ether in the middle, goes on, and is never done twice.
fn found(bare: &Bare) -> Deployment {
    let init = format!("{} --demo-token", founding(bare));
    let session = &bare.session;
    session.refused(&init, "has nothing on chain 31337 to pay the gas with");
    let twice = format!("{init} --founder {}", bare.address("ann"));
    session.refused(&twice, "stands twice");
    let neither = session.run(&founding(bare));
    assert_eq!(neither.status.code(), Some(2), "without a token");

    let payer = bare.address("payer");
    let unfinished = session.folder.join("deployment.json.unfinished");
    // What a gwei buys changes from block to block: a little more each time, until some contracts are there.
    let mut gwei = ETHER / 100_000;
    let registry = loop {
        bare.give(&payer, gwei);
        session.refused(&init, "the same command goes on");
        let begun = read(&unfinished)["contracts"].clone();
        if begun.as_object().is_some_and(|begun| begun.len() > 2) {
            break begun["CodeRegistry"].clone();
        }
        gwei += gwei / 2;
    };
    bare.give(&payer, ETHER);
    let other = init.replace("--quorum 50", "--quorum 51");
    session.refused(&other, "give the same again to go on with it");

    let output = session.run(&format!("{init} --json"));
    let said = bare.said(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("begun before: CodeRegistry"), "{said}");
    assert!(said.contains("collective node register"), "{said}");
    let printed: Deployment = serde_json::from_slice(&output.stdout).expect("a deployment");
    let path = Path::new(session.told("deployment"));
    let written: Deployment = serde_json::from_value(read(path)).expect("a deployment");
    assert_eq!(printed, written);
    assert_eq!(json!(printed.code), registry, "it was deployed twice");
    assert!(!unfinished.exists());
    session.refused(&init, "a collective is founded there already");
    printed
}

fn another_on_the_same_registries(bare: &Bare, first: &Deployment) {
    let session = &bare.session;
    let (file, token) = (session.told("deployment"), first.token);
    let init = format!("{} --token {token} --registries", founding(bare));
    let second = format!("--deployment {}", session.path("second.json"));
    let other = session.json(&format!("{init} {file} {second}"));
    let other: Deployment = serde_json::from_value(other).expect("a deployment");
    assert_ne!(other.collective, first.collective);
    assert_eq!(
        (other.code, other.nodes, other.escrow, other.token),
        (first.code, first.nodes, first.escrow, first.token)
    );

    let third = format!("--deployment {}", session.path("third.json"));
    let refused = |what: &dyn Fn(&mut Value), words: &str| {
        let mut wrong = json!(first);
        what(&mut wrong);
        let path = bare.write("wrong.json", wrong.to_string().as_bytes());
        session.refused(&format!("{init} {path} {third}"), words);
        let _ = std::fs::remove_file(session.folder.join("third.json.unfinished"));
    };
    refused(
        &|wrong| wrong["nodes"] = wrong["escrow"].clone(),
        "calls itself JobEscrow, not NodeRegistry",
    );
    refused(
        &|wrong| wrong["code"] = wrong["token"].clone(),
        "was deployed for another contract",
    );
    refused(
        &|wrong| wrong["rewards"] = json!(Address::repeat_byte(1)),
        "there is no RewardDistributor",
    );
    refused(&|wrong| wrong["chain_id"] = json!(1), "is of chain 1");
    let payer = bare.address("payer");
    let no_token = init.replace(&token.to_string(), &payer);
    session.refused(&format!("{no_token} {file} {third}"), "ERC-20");
}

fn registering(bare: &Bare) -> String {
    let [keys, words, config, data] =
        ["keys.age", "words", "node.toml", "node"].map(|name| bare.session.path(name));
    let listen = bare.session.told("listen");
    format!(
        "node register --keys {keys} --passphrase-file {words} --config {config} --data {data} \
         --listen {listen} --endpoint http://{listen}"
    )
}

fn register(bare: &Bare) -> Value {
    let session = &bare.session;
    let words = bare.write("words", b"a passphrase\n");
    let keys = session.path("keys.age");
    let made = session.json(&format!("key new node {keys} --passphrase-file {words}"));
    session.refused(&registering(bare), "send it some ether");
    bare.give(&text_of(&made, "account"), ETHER);
    let registered = session.json(&registering(bare));
    assert_eq!(registered["epoch"], 1);
    assert_eq!(session.json(&registering(bare)), registered, "done twice");
    // Machines that test deny layers of the sandbox; what a node does then is told elsewhere.
    let config = session.folder.join("node.toml");
    let text = std::fs::read_to_string(&config).expect("a configuration");
    std::fs::write(config, format!("{text}required_layers = []\n")).expect("a written file");

    let (node, payer) = (text_of(&registered, "node"), session.key("payer"));
    let bond = session.json(&format!("node bond {node} 5000000 --key {payer}"));
    assert_eq!(
        (&bond["bond"], &bond["locked"]),
        (&json!("5000000"), &json!("0"))
    );
    let nobody = Address::ZERO.into_word();
    session.refused(
        &format!("node bond {nobody} 1 --key {payer}"),
        "UnknownNode",
    );
    registered
}

/// Charter, node and committee in one proposal.
fn constitute(bare: &Bare, registered: &Value) {
    let session = &bare.session;
    let source = bare.write("survey.json", SOURCE.as_bytes());
    let people: String = ["ann", "ben", "cleo"]
        .map(|name| format!("{}\n", bare.address(name)))
        .concat();
    let people = bare.write("people.txt", format!("# members\n{people}").as_bytes());
    let charter = session.path("charter.json");
    let make = format!("charter new {charter} --source {source} --admit {people}");
    let made = session.json(&make);
    assert_eq!(made["admitted"], 3);
    assert_eq!(session.json(&format!("charter check {charter}")), made);
    session.refused(&make, "never overwritten");
    let bad = bare.write("bad.txt", b"0x12\n");
    let line = format!("charter new {charter}.2 --source {source} --admit {bad}");
    session.refused(&line, "line 1: '0x12' is no address");

    for name in ["ann", "ben"] {
        bare.give(&bare.address(name), ETHER);
    }
    let (node, committee) = (
        text_of(registered, "node"),
        text_of(registered, "committee"),
    );
    let subject =
        format!("--charter {charter} --accept-node {node} --accept-committee {committee}");
    let key = session.key("ann");
    let unknown = subject.replace(&committee, &node);
    session.refused(
        &format!("propose {unknown} --key {key}"),
        "nobody published committee",
    );
    let unknown = subject.replace(&node, &committee);
    session.refused(
        &format!("propose {unknown} --key {key}"),
        "there is no node",
    );
    decide(bare, &subject, "");
}

/// Proposes, lets both founders vote, waits and executes.
fn decide(bare: &Bare, subject: &str, more: &str) {
    let session = &bare.session;
    let (ann, ben) = (session.key("ann"), session.key("ben"));
    // Votes count from the second after they were given.
    session.pass("1");
    let opened = session.json(&format!("propose {subject} {more} --key {ann}"));
    let id = text_of(&opened, "proposal");
    session.pass("61");
    for key in [&ann, &ben] {
        session.json(&format!("vote {id} for --key {key}"));
    }
    session.pass("601");
    session.json(&format!("proposal queue {id} --key {ann}"));
    session.pass("3601");
    session.json(&format!("proposal execute {id} --key {ben}"));
    assert_eq!(
        session.json(&format!("proposal show {id}"))["state"],
        "executed"
    );
}

fn contribute(bare: &Bare) {
    let session = &bare.session;
    let mut leaves = vec![];
    for (name, record) in ["ann", "ben", "cleo"].into_iter().zip(RECORDS) {
        let key = session.key(name);
        let line = format!(
            "contribute --record - --source survey --purposes statistics --nonce 1 --key {key}"
        );
        let began = Instant::now();
        // The node learns the charter once its block is final.
        let leaf = loop {
            let output = session.run_with(&format!("{line} --json"), record.as_bytes());
            if output.status.success() {
                let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
                break text_of(&said, "leaf");
            }
            assert!(began.elapsed() < PATIENCE, "{}", bare.said(&output));
            std::thread::sleep(Duration::from_millis(200));
        };
        leaves.push(leaf);
    }
    let stranger = format!(
        "contribute --record - --source survey --purposes statistics --nonce 1 --key {}",
        session.key("payer")
    );
    refusal(session.run_with(&stranger, b"30,2\n"), "payer", "(403");
    for leaf in leaves {
        let state = session.json(&format!("contributions {leaf} --wait"));
        assert_eq!(state["state"], "batched");
    }
}

fn run(bare: &Bare, deployment: &Deployment) {
    let session = &bare.session;
    let identity = session.path("results.identity");
    let made = session.json(&format!("key new identity {identity}"));
    let manifest = manifest(deployment, text_of(&made, "recipient"));
    let bytes = serde_json::to_vec_pretty(&manifest).expect("JSON");
    let manifest = bare.write("mean.json", &bytes);
    let program = bare.write("mean.wasm", MEAN);
    decide(
        bare,
        &format!("--manifest {manifest}"),
        &format!("--program {program}"),
    );

    let payer = session.key("payer");
    let asked = session.json(&format!("job request --manifest {manifest} --key {payer}"));
    assert_eq!(asked["job"], 1);
    let ran = session.json("job show 1 --wait");
    assert_eq!(ran["state"], "completed", "{ran}");
    let output = session.run(&format!("job output 1 --identity {identity}"));
    let means: Value = serde_json::from_slice(&output.stdout).expect("the means");
    assert_eq!(
        means,
        json!({ "n": 3, "columns": ["age", "score"], "means": [40.0, 5.0] })
    );
    let verdict = session.json("verify receipt 1");
    let findings = verdict["findings"].as_array().expect("findings");
    assert!(findings.iter().all(|finding| finding["holds"] == true));

    session.pass(WINDOW);
    let began = Instant::now();
    while session.json("job show 1")["state"] != "settled" {
        assert!(began.elapsed() < PATIENCE, "the job does not settle");
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn manifest(deployment: &Deployment, recipient: String) -> Manifest {
    let source: Source = serde_json::from_str(SOURCE).expect("a declaration");
    let columns = ["age", "score"].map(str::to_owned).to_vec();
    Manifest {
        format: Format::V1,
        chain_id: deployment.chain_id,
        collective: deployment.collective,
        program: Program {
            kind: ProgramKind::Component,
            sha256: BlobId::of(MEAN),
            origin: None,
        },
        arguments: columns.join(","),
        dataset: Selector {
            source: source.name.clone(),
            declaration: source.digest(),
            columns,
            since: None,
            until: None,
        },
        purpose: Purpose::Statistics,
        recipient: Recipient::Age(recipient),
        output: OutputRule {
            kind: OutputKind::Aggregate,
            max_bytes: 1_024,
            minimum_group: 3,
            schema: None,
        },
        limits: Limits {
            fuel: 1_000_000_000,
            memory_bytes: 64 << 20,
            seconds: 20,
        },
        payment: Payment {
            token: deployment.token,
            price: U256::from(10_000_000),
            bond: U256::from(1_000_000),
            rule: SplitRule::Equal,
            contributors_bps: 8_000,
            node_bps: 1_500,
        },
        evidence: Evidence::None,
        max_runs: 2,
        // The end of the year 9999 in Unix seconds, less a day.
        expiry: 253_402_214_400,
    }
}

fn read(path: &Path) -> Value {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).expect("JSON")
}

fn text_of(value: &Value, name: &str) -> String {
    value[name].as_str().expect("a string").to_owned()
}
