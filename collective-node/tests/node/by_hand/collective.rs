//! A collective whose key one node holds alone, and key holders beside it: processes of the real binary on one host or
//! several, brought up and led by verbs.

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use alloy::primitives::{B256, U256};
use bytes::Bytes;
use collective::id::BlobId;
use collective::reward::RewardRoot;
use collective_node::chain::Deployment;
use collective_node::holder::serve::{REWARDS, STATUS};
use collective_node::keystore::Keystore;
use collective_node::wire::{self, Remote, TransportKey};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::bare::{Bare, ETHER, MEAN, SOURCE, manifest, text_of};
use super::{PATIENCE, Running, binary};

/// What four people answer: the first three with a sender proof.
pub const RECORDS: [&str; 4] = ["30,2\n", "40,4\n", "50,9\n", "60,1\n"];

/// Who answers.
pub const PEOPLE: [&str; 4] = ["ann", "ben", "cleo", "dan"];

const WORDS: &str = "a passphrase";

/// Where a process runs.
#[derive(Clone)]
pub struct Host {
    /// Its address.
    pub address: IpAddr,
    /// The network namespace that it is, where it is none of this machine's own.
    pub namespace: Option<String>,
}

impl Host {
    /// This machine.
    pub fn here() -> Self {
        Self {
            address: Ipv4Addr::LOCALHOST.into(),
            namespace: None,
        }
    }

    /// The binary, to be started there.
    fn binary(&self) -> Command {
        let plain = binary();
        let Some(namespace) = &self.namespace else {
            return plain;
        };
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", namespace])
            .arg(plain.get_program());
        for (name, _) in plain.get_envs() {
            command.env_remove(name);
        }
        command
    }

    /// An address that was free a moment ago; in a namespace of its own every port is.
    fn free(&self, port: u16) -> SocketAddr {
        if self.namespace.is_some() {
            return (self.address, port).into();
        }
        let listener = TcpListener::bind((self.address, 0)).expect("a port");
        listener.local_addr().expect("an address")
    }
}

/// A key holder and who operates it.
pub struct Holder {
    /// In NodeRegistry.
    pub id: String,
    /// Everything that it has.
    pub folder: PathBuf,
    /// Where it shows its log.
    pub public: String,
    endpoint: String,
    host: Host,
    process: Option<Running>,
}

/// The collective, its node and its key holders.
pub struct Collective {
    /// Founders, and what they type.
    pub bare: Bare,
    /// The node in NodeRegistry.
    pub node_id: String,
    /// Where it listens for other nodes.
    pub wire: SocketAddr,
    /// Key holders; whether they are members is another matter.
    pub holders: Vec<Holder>,
    deployment: Deployment,
    node: Option<Running>,
    decided: u32,
}

impl Collective {
    /// Founds it with a node that is a committee of one; `register` is what the operator says beside the usual when the
    /// node is registered, with `WIRE` for the address at which it may listen for others.
    pub fn found(bare: Bare, host: &Host, register: &str) -> Self {
        let session = &bare.session;
        bare.give(&bare.address("payer"), ETHER);
        let init = format!("{} --demo-token", bare.founding());
        let printed = session.json(&init);
        let deployment: Deployment = serde_json::from_value(printed).expect("a deployment");
        bare.write("words", format!("{WORDS}\n").as_bytes());
        let wire = host.free(8443);
        let [keys, words] = ["keys.age", "words"].map(|name| session.path(name));
        let made = session.json(&format!("key new node {keys} --passphrase-file {words}"));
        bare.give(&text_of(&made, "account"), ETHER);
        let [config, data] = ["node.toml", "node"].map(|name| session.path(name));
        let (listen, register) = (
            session.told("listen"),
            register.replace("WIRE", &wire.to_string()),
        );
        let registered = session.json(&format!(
            "node register --keys {keys} --passphrase-file {words} --config {config} --data {data} --listen {listen} {register}"
        ));
        let (node_id, payer) = (text_of(&registered, "node"), session.key("payer"));
        session.json(&format!("node bond {node_id} 50000000 --key {payer}"));
        let mut collective = Self {
            bare,
            node_id,
            wire,
            holders: vec![],
            deployment,
            node: None,
            decided: 0,
        };
        // Machines that test deny layers of the sandbox; what a node does then is told elsewhere.
        collective.configure("required_layers = []");
        collective.start_node();
        collective.constitute(&text_of(&registered, "committee"));
        collective
    }

    /// Adds a line to the node's configuration.
    pub fn configure(&self, line: &str) {
        let config = self.bare.session.folder.join("node.toml");
        let text = std::fs::read_to_string(&config).expect("a configuration");
        std::fs::write(config, format!("{text}{line}\n")).expect("a written file");
    }

    /// Starts the node; one that runs is killed first.
    pub fn start_node(&mut self) {
        self.node = None;
        let config = self.bare.session.path("node.toml");
        let (node, line) = super::start_node(&config);
        assert!(line.contains(&self.node_id), "it says: {line}");
        self.node = Some(node);
    }

    /// Charter, node, committee and program are accepted.
    fn constitute(&mut self, committee: &str) {
        let session = &self.bare.session;
        let source = self.bare.write("survey.json", SOURCE.as_bytes());
        let addresses = PEOPLE.map(|name| format!("{}\n", self.bare.address(name)));
        let people = self.bare.write("people.txt", addresses.concat().as_bytes());
        let charter = session.path("charter.json");
        session.json(&format!(
            "charter new {charter} --source {source} --admit {people}"
        ));
        for name in ["ann", "ben"] {
            self.bare.give(&self.bare.address(name), ETHER);
        }
        let identity = session.path("results.identity");
        let made = session.json(&format!("key new identity {identity}"));
        let mut means = manifest(&self.deployment, text_of(&made, "recipient"));
        means.max_runs = 9;
        let bytes = serde_json::to_vec_pretty(&means).expect("JSON");
        let means = self.bare.write("mean.json", &bytes);
        let program = self.bare.write("mean.wasm", MEAN);
        let node = &self.node_id;
        self.bare.decide(
            &format!(
                "--charter {charter} --manifest {means} --accept-node {node} --accept-committee {committee}"
            ),
            &format!("--program {program}"),
        );
    }

    /// Has the members accept something; each time it is another proposal.
    pub fn decide(&mut self, subject: &str) {
        self.decided += 1;
        let number = self.decided;
        let subject = format!("{subject} --description Decision-{number}.");
        self.bare.decide(&subject, "");
    }

    /// A person contributes a file without sender proof, as any age client makes it.
    pub fn contribute_unproven(&self, name: &str, record: &str) {
        let session = &self.bare.session;
        let recipient = text_of(&self.node_says("collective"), "recipient");
        let recipient = recipient.parse().expect("a recipient");
        let sealed = collective::seal::seal(&[recipient], record.as_bytes(), &mut rand::rng());
        let file = self
            .bare
            .write("unproven.age", &sealed.expect("a sealed file"));
        let key = session.key(name);
        let line = format!(
            "contribute --sealed {file} --source survey --purposes statistics --nonce 1 --key {key}"
        );
        let leaf = self.bare.patiently(&line, b"", "leaf");
        let state = session.json(&format!("contributions {leaf} --wait"));
        assert_eq!(state["state"], "batched");
    }

    /// Waits until so many contributions are anchored for good.
    pub fn anchored(&self, count: u64) {
        self.until(&format!("{count} are anchored"), || {
            self.node_says("status")["anchored"] == count
        });
    }

    /// What the node answers to whoever asks.
    fn node_says(&self, path: &str) -> Value {
        let url = format!("{}/{path}", self.bare.session.told("node"));
        let answer = async { reqwest::get(url).await?.json::<Value>().await };
        self.runtime().block_on(answer).expect("an answer")
    }

    /// Has the means taken and says over how many records; the receipt is verified beside the logs of these holders.
    pub fn run(&self, logs: &[usize]) -> u64 {
        self.finish(self.request(), logs)
    }

    /// Asks for a run and says the job's number.
    pub fn request(&self) -> u64 {
        let session = &self.bare.session;
        let (means, payer) = (session.path("mean.json"), session.key("payer"));
        let asked = session.json(&format!("job request --manifest {means} --key {payer}"));
        asked["job"].as_u64().expect("a number")
    }

    /// Waits for a job's output and says over how many records it is; the receipt is verified beside the logs of these
    /// holders.
    pub fn finish(&self, job: u64, logs: &[usize]) -> u64 {
        let session = &self.bare.session;
        let ran = session.json(&format!("job show {job} --wait"));
        assert_eq!(ran["state"], "completed", "{ran}");
        let identity = session.path("results.identity");
        let output = session.run(&format!("job output {job} --identity {identity}"));
        let means: Value = serde_json::from_slice(&output.stdout).expect("the means");
        let count = means["n"].as_u64().expect("a count");
        let ages = [30.0, 40.0, 50.0, 60.0].into_iter().take(count as usize);
        assert_eq!(means["means"][0], ages.sum::<f64>() / count as f64);
        let logs = logs
            .iter()
            .map(|&place| format!(" --holder {}", self.holders[place].public));
        let verdict = session.json(&format!("verify receipt {job}{}", logs.collect::<String>()));
        let findings = verdict["findings"].as_array().expect("findings");
        assert!(
            findings.iter().all(|finding| finding["holds"] == true),
            "{verdict}"
        );
        count
    }

    /// Operators make keys and register key holders, one at each host; they run when members have accepted them.
    pub fn join(&mut self, hosts: &[Host]) {
        let first = self.holders.len();
        for host in hosts {
            let holder = self.registered(host);
            self.holders.push(holder);
        }
        let joined = self.holders[first..].iter().map(|it| it.id.clone());
        let joined = joined.collect::<Vec<_>>().join(",");
        self.decide(&format!("--accept-node {joined}"));
        for place in first..self.holders.len() {
            self.start(place);
        }
    }

    fn registered(&self, host: &Host) -> Holder {
        let session = &self.bare.session;
        let name = format!("holder-{}", self.holders.len() + 1);
        let folder = session.folder.join(&name);
        std::fs::create_dir(&folder).expect("a folder");
        let [keys, words] = [format!("{name}/keys.age"), "words".into()];
        let [keys, words] = [keys, words].map(|name| session.path(&name));
        let made = session.json(&format!(
            "key new keyholder {keys} --passphrase-file {words}"
        ));
        self.bare.give(&text_of(&made, "account"), ETHER);
        let (listen, public) = (host.free(8443), host.free(8081));
        let endpoint = format!("https://{listen}");
        let registered = session.json(&format!(
            "node register --role keyholder --keys {keys} --passphrase-file {words} --endpoint {endpoint}"
        ));
        let id = text_of(&registered, "node");
        let quoted = |name: &str| json!(session.told(name));
        let config = format!(
            "deployment = {}\nrpc = {}\nnode = \"{id}\"\ncompute = \"{}\"\nsource = {}\ndata = \"data\"\nlisten = \"{listen}\"\n\
             public = \"{public}\"\nkeys = \"keys.age\"\npassphrase_file = \"../words\"\n",
            quoted("deployment"),
            quoted("rpc"),
            self.node_id,
            quoted("node"),
        );
        std::fs::write(folder.join("keyholder.toml"), config).expect("a written file");
        Holder {
            id,
            folder,
            public: format!("http://{public}"),
            endpoint,
            host: host.clone(),
            process: None,
        }
    }

    /// Starts a key holder and waits until it listens.
    pub fn start(&mut self, place: usize) {
        let holder = &mut self.holders[place];
        let mut process = holder
            .host
            .binary()
            .args(["keyholder", "--config"])
            .arg(holder.folder.join("keyholder.toml"))
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut out = BufReader::new(process.stdout.take().expect("a pipe"));
        let running = Running(process);
        for _ in 0..2 {
            let mut line = String::new();
            out.read_line(&mut line).expect("a line");
            assert!(
                line.contains("https://") || line.contains(&holder.public),
                "it says: {line}"
            );
        }
        holder.process = Some(running);
    }

    /// Kills a key holder, as a power cut would.
    pub fn kill(&mut self, place: usize) {
        self.holders[place].process = None;
    }

    /// Its process and everything that it had are gone.
    pub fn lose(&mut self, place: usize) {
        self.kill(place);
        std::fs::remove_dir_all(&self.holders[place].folder).expect("removed");
    }

    /// What a ceremony's verbs are given: the first key holder convenes.
    pub fn convener(&self) -> String {
        let session = &self.bare.session;
        let [keys, words] = ["holder-1/keys.age", "words"].map(|name| session.path(name));
        format!("--keys {keys} --passphrase-file {words}")
    }

    /// Plans, has the plan voted for, holds the ceremony and publishes; says what was planned and the new committee's hash.
    pub fn ceremony(&mut self, verb: &str) -> (Value, String) {
        let line = format!("committee {verb} {}", self.convener());
        let planned = self.bare.session.json(&line);
        assert_eq!(planned["state"], "planned");
        self.bare.session.refused(&line, "has not convened");
        self.decide(&format!("--convene {}", text_of(&planned, "plan")));
        // The vote may not be final yet.
        let hash = self.bare.patiently(&line, b"", "committee");
        (planned, hash)
    }

    /// The same, and the new committee is accepted.
    pub fn hand_on(&mut self, verb: &str) -> Value {
        let (planned, hash) = self.ceremony(verb);
        self.decide(&format!("--accept-committee {hash}"));
        planned
    }

    /// Waits until something holds.
    pub fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let began = Instant::now();
        while !holds() {
            assert!(began.elapsed() < PATIENCE, "never: {what}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until a key holder keeps the share of this epoch, and of no other.
    pub fn keeps_only(&self, place: usize, epoch: u64) {
        let shares = self.holders[place].folder.join("keys.shares");
        let what = format!("holder {} keeps a share of epoch {epoch} alone", place + 1);
        self.until(&what, || names(&shares) == [format!("epoch-{epoch}.age")]);
    }

    /// Waits until the node keeps these shares.
    pub fn node_keeps(&self, expected: &[u64]) {
        let shares = self.bare.session.folder.join("keys.shares");
        let expected: Vec<_> = expected
            .iter()
            .map(|epoch| format!("epoch-{epoch}.age"))
            .collect();
        self.until(&format!("the node keeps {expected:?}"), || {
            names(&shares) == expected
        });
    }

    /// Asks for a signature in the name of an epoch, as the first key holder, and says what came.
    pub fn asked_for_epoch(&self, epoch: u64, remote: &Remote) -> String {
        let root = RewardRoot {
            collective: self.deployment.collective,
            token: self.deployment.token,
            root: B256::ZERO,
            total: U256::ZERO,
            manifest: BlobId(B256::ZERO),
            sequence: 1,
            epoch,
        };
        let body = Bytes::from(serde_json::to_vec(&root).expect("plain JSON values"));
        let first = wire::Client::new(self.keys("holder-1/keys.age").transport_key());
        let answer = self.runtime().block_on(first.post(remote, &REWARDS, body));
        answer.expect_err("a refusal").to_string()
    }

    /// How somebody is answered whose key the collective has not accepted.
    pub fn asked_by_a_stranger(&self, remote: &Remote) -> String {
        let stranger = wire::Client::new(TransportKey::from_seed(&[7; 32]));
        let answer = self
            .runtime()
            .block_on(stranger.post(remote, &STATUS, Bytes::new()));
        answer.expect_err("a refusal").to_string()
    }

    /// The node as other nodes reach it.
    pub fn node_remote(&self) -> Remote {
        let pin = self.keys("keys.age").transport_key().pin();
        Remote::new(&format!("https://{}", self.wire), pin).expect("an endpoint")
    }

    /// A key holder as other nodes reach it.
    pub fn remote(&self, place: usize) -> Remote {
        let keys = format!("holder-{}/keys.age", place + 1);
        let pin = self.keys(&keys).transport_key().pin();
        Remote::new(&self.holders[place].endpoint, pin).expect("an endpoint")
    }

    fn keys(&self, name: &str) -> Keystore {
        let words = Zeroizing::new(WORDS.to_owned());
        Keystore::open(&self.bare.session.folder.join(name), words).expect("the keys")
    }

    fn runtime(&self) -> tokio::runtime::Runtime {
        tokio::runtime::Runtime::new().expect("threads")
    }
}

/// What is in a folder; nothing where there is none.
fn names(folder: &std::path::Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return vec![];
    };
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("an entry").file_name();
    let mut names: Vec<_> = entries
        .map(|it| name(it).to_string_lossy().into_owned())
        .collect();
    names.sort_unstable();
    names
}
