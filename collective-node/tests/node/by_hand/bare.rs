//! A chain that nobody prepared, an empty folder, and people with empty pockets: what a collective is founded from by verbs
//! alone.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use alloy::primitives::{Address, U256};
use alloy::providers::{Provider, ProviderBuilder};
use collective::approval::{
    Evidence, Format, Limits, Manifest, OutputKind, OutputRule, Payment, Program, Recipient,
    Selector, SplitRule,
};
use collective::source::Source;
use collective::terms::Purpose;
use collective_node::chain::Deployment;
use devchain::{Config, DevChain};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use super::{PATIENCE, Session};

pub const MEAN: &[u8] = include_bytes!("../../../../jobs/mean/mean.wasm");

pub const SOURCE: &str = r#"{"name": "survey", "columns": [
    {"name": "age", "type": {"integer": {"min": 18, "max": 120}}},
    {"name": "score", "type": {"integer": {"min": 0, "max": 10}}}]}"#;

/// How this collective decides, in seconds.
const RULES: &str = "--voting-delay 60 --voting-period 600 --notice 3600 --quorum 50";

/// An ether in gwei.
pub const ETHER: u64 = 1_000_000_000;

/// A chain that mines by itself, an empty folder, and people with empty pockets.
pub struct Bare {
    _chain_runs: Runtime,
    pub session: Session,
    _temporary: tempfile::TempDir,
}

impl Bare {
    pub fn start() -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST.into())
    }

    /// Chain and node will be at this address.
    pub fn start_at(address: IpAddr) -> Self {
        let runtime = Runtime::new().expect("threads");
        let listener = runtime.block_on(TcpListener::bind((address, 0)));
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
        let port = std::net::TcpListener::bind((address, 0)).expect("a port");
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
        for name in ["payer", "ann", "ben", "cleo", "dan"] {
            let path = bare.session.key(name);
            bare.session.json(&format!("key new account {path}"));
        }
        bare
    }

    pub fn address(&self, name: &str) -> String {
        let shown = self
            .session
            .json(&format!("key show {}", self.session.key(name)));
        text_of(&shown, "account")
    }

    /// Sets what an account has, in gwei: what a faucet is for elsewhere.
    pub fn give(&self, account: &str, gwei: u64) {
        let provider =
            ProviderBuilder::new().connect_http(self.session.told("rpc").parse().expect("a URL"));
        let amount = U256::from(gwei) * U256::from(1_000_000_000);
        let account: Address = account.parse().expect("an address");
        let runtime = Runtime::new().expect("threads");
        let _: Value = runtime
            .block_on(provider.raw_request("anvil_setBalance".into(), (account, amount)))
            .expect("a development chain");
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> String {
        std::fs::write(self.session.folder.join(name), bytes).expect("a written file");
        self.session.path(name)
    }

    pub fn said(&self, output: &Output) -> String {
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// What founds the collective, without the token.
    pub fn founding(&self) -> String {
        let (ann, ben) = (self.address("ann"), self.address("ben"));
        let key = self.session.key("payer");
        format!("init --key {key} --founder {ann} --founder {ben} {RULES}")
    }

    /// What registers its node.
    pub fn registering(&self) -> String {
        let [keys, words, config, data] =
            ["keys.age", "words", "node.toml", "node"].map(|name| self.session.path(name));
        let listen = self.session.told("listen");
        format!(
            "node register --keys {keys} --passphrase-file {words} --config {config} --data {data} \
             --listen {listen} --endpoint http://{listen}"
        )
    }

    /// Proposes, lets both founders vote, waits and executes.
    pub fn decide(&self, subject: &str, more: &str) {
        let session = &self.session;
        let (ann, ben) = (session.key("ann"), session.key("ben"));
        // Votes count from the second after they were given; the next one is often taken by a block of the chain's own.
        session.pass("3");
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

    /// Contributes a record in somebody's name once the node knows the charter, and says the leaf when it is anchored.
    pub fn contribute(&self, name: &str, record: &str) -> String {
        let session = &self.session;
        let key = session.key(name);
        let line = format!(
            "contribute --record - --source survey --purposes statistics --nonce 1 --key {key}"
        );
        let leaf = self.patiently(&line, record.as_bytes(), "leaf");
        let state = session.json(&format!("contributions {leaf} --wait"));
        assert_eq!(state["state"], "batched");
        leaf
    }

    /// Runs a command until it succeeds: what it needs may not be final yet. Says one thing that it printed.
    pub fn patiently(&self, line: &str, input: &[u8], name: &str) -> String {
        let began = Instant::now();
        loop {
            let output = self.session.run_with(&format!("{line} --json"), input);
            if output.status.success() {
                let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
                break text_of(&said, name);
            }
            assert!(began.elapsed() < PATIENCE, "{}", self.said(&output));
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

/// Means of both columns, over at least three people.
pub fn manifest(deployment: &Deployment, recipient: String) -> Manifest {
    let source: Source = serde_json::from_str(SOURCE).expect("a declaration");
    let columns = ["age", "score"].map(str::to_owned).to_vec();
    Manifest {
        format: Format::V1,
        chain_id: deployment.chain_id,
        collective: deployment.collective,
        program: Program::component(MEAN),
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
            bucket_seconds: Some(1),
        },
        payment: Payment {
            token: deployment.token,
            price: U256::from(10_000_000),
            bond: U256::from(1_000_000),
            rule: SplitRule::Equal,
            distinct: false,
            contributors_bps: 8_000,
            node_bps: 1_500,
        },
        hand_off: None,
        evidence: Evidence::None,
        max_runs: 2,
        // The end of the year 9999 in Unix seconds, less a day.
        expiry: 253_402_214_400,
    }
}

pub fn read(path: &Path) -> Value {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).expect("JSON")
}

pub fn text_of(value: &Value, name: &str) -> String {
    value[name].as_str().expect("a string").to_owned()
}
