//! Two hosts: network namespaces with a cable between them, and this program as the node in each.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use collective::id::TransportPin;
use collective_node::wire::{Exchange, WireError};

use super::{ADA, BEN, ECHO, MALLORY, ada_at, client, pin, remote};

/// Set in the environment of a program that plays a node.
const PLAYS: &str = "WIRE_TEST_PLAYS";

/// Before each line that is meant for the other side.
const MARK: &str = "> ";

const ADA_ADDRESS: &str = "10.91.0.1";
const BEN_ADDRESS: &str = "10.91.0.2";

const ASKED: Exchange = Exchange {
    timeout: Duration::from_secs(2),
    ..ECHO
};

#[test]
fn two_hosts_talk_and_a_pulled_cable_is_named() {
    let Some(cable) = Cable::lay() else {
        eprintln!("skipped: two hosts need `ip netns` and the right to make them");
        return;
    };
    let mut ada = cable.start(&cable.ada, "wire::hosts::plays_ada");
    let address = ada.hear();
    let mut ben = cable.start(&cable.ben, "wire::hosts::plays_ben");
    let right = format!("{address} {}", pin(ADA));
    let wrong = format!("{address} {}", pin(MALLORY));

    assert_eq!(ben.ask(&right), format!("{} asked from afar", pin(BEN)));
    assert!(ben.ask(&wrong).starts_with("another key"));
    cable.pull();
    // On the connection that was open, then on a new one.
    assert_eq!(ben.ask(&right), "timed out");
    let answer = ben.ask(&right);
    assert!(answer == "timed out" || answer == "unreachable", "{answer}");
    cable.plug();
    assert_eq!(ben.ask(&right), format!("{} asked from afar", pin(BEN)));
}

#[tokio::test]
#[ignore = "started by the test of two hosts"]
async fn plays_ada() {
    if std::env::var(PLAYS).is_err() {
        return;
    }
    let address = format!("{ADA_ADDRESS}:0").parse().expect("an address");
    let ada = ada_at(address, &[BEN]);
    say(&ada.address.to_string());
    // Until the test hangs up.
    hear_line().await;
}

#[tokio::test]
#[ignore = "started by the test of two hosts"]
async fn plays_ben() {
    if std::env::var(PLAYS).is_err() {
        return;
    }
    let ben = client(BEN);
    while let Some(line) = hear_line().await {
        let (address, pin) = line.split_once(' ').expect("address and pin");
        let address: SocketAddr = address.parse().expect("an address");
        let pin: TransportPin = pin.parse().expect("a pin");
        let question = Bytes::from_static(b"from afar");
        let answer = ben.post(&remote(address, pin), &ASKED, question).await;
        say(&match answer {
            Ok(answer) => String::from_utf8_lossy(&answer).into_owned(),
            Err(WireError::AnotherKey { found, .. }) => format!("another key {found}"),
            Err(WireError::TimedOut { .. }) => "timed out".into(),
            Err(WireError::Unreachable { .. }) => "unreachable".into(),
            Err(error) => error.to_string(),
        });
    }
}

fn say(line: &str) {
    // The test harness may stand in the middle of a line.
    println!("\n{MARK}{line}");
}

async fn hear_line() -> Option<String> {
    let read = || {
        let mut line = String::new();
        let length = std::io::stdin().read_line(&mut line).expect("stdin");
        (length > 0).then(|| line.trim().to_owned())
    };
    tokio::task::spawn_blocking(read).await.expect("no panic")
}

/// Two namespaces and what connects them; gone when dropped.
struct Cable {
    ada: String,
    ben: String,
}

impl Cable {
    /// `None` where this machine does not permit it.
    fn lay() -> Option<Self> {
        let id = std::process::id();
        let cable = Self {
            ada: format!("wire-{id}-ada"),
            ben: format!("wire-{id}-ben"),
        };
        let Self { ada, ben } = &cable;
        let steps = [
            format!("netns add {ada}"),
            format!("netns add {ben}"),
            format!("link add cable netns {ada} type veth peer name cable netns {ben}"),
            format!("-n {ada} address add {ADA_ADDRESS}/24 dev cable"),
            format!("-n {ben} address add {BEN_ADDRESS}/24 dev cable"),
            format!("-n {ada} link set cable up"),
            format!("-n {ben} link set cable up"),
        ];
        steps.iter().all(|step| ip(step)).then_some(cable)
    }

    fn pull(&self) {
        assert!(ip(&format!("-n {} link set cable down", self.ada)));
    }

    fn plug(&self) {
        assert!(ip(&format!("-n {} link set cable up", self.ada)));
    }

    fn start(&self, host: &str, test: &str) -> Node {
        let program = std::env::current_exe().expect("this program");
        let mut process = Command::new("ip")
            .args(["netns", "exec", host])
            .arg(program)
            .args(["--ignored", "--exact", test, "--nocapture"])
            .env(PLAYS, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a node starts");
        let stdin = process.stdin.take().expect("a pipe");
        let stdout = BufReader::new(process.stdout.take().expect("a pipe"));
        Node {
            process,
            stdin,
            stdout,
        }
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for host in [&self.ada, &self.ben] {
            ip(&format!("netns delete {host}"));
        }
    }
}

fn ip(arguments: &str) -> bool {
    let output = Command::new("ip")
        .args(arguments.split(' '))
        .stderr(Stdio::null())
        .status();
    output.is_ok_and(|status| status.success())
}

struct Node {
    process: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Node {
    fn ask(&mut self, line: &str) -> String {
        writeln!(self.stdin, "{line}").expect("the node listens");
        self.hear()
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            let length = self.stdout.read_line(&mut line).expect("a line");
            assert!(length > 0, "the node ended");
            if let Some(said) = line.strip_prefix(MARK) {
                return said.trim().to_owned();
            }
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
