//! A committee whose members are hosts of their own: network namespaces on one switch, chain and compute node in the
//! switch's namespace, a key holder in each of the others.

use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::by_hand::bare::Bare;
use crate::by_hand::collective::{Collective, Host, PEOPLE, RECORDS};

/// Set in the environment of this program inside the switch's namespace: the name that all of them begin with.
const NAMES: &str = "COMMITTEE_TEST_HOSTS";

/// Key holders.
const HOSTS: u8 = 3;

/// How long a job is watched that cannot go on: a few of the node's attempts.
const WATCHED: Duration = Duration::from_secs(5);

#[test]
fn a_committee_on_three_hosts_takes_the_key_over_and_opens() {
    let name = format!("hosts-{}", std::process::id());
    let Some(_switch) = Switch::lay(&name) else {
        eprintln!("skipped: hosts need `ip netns` and the right to make them");
        return;
    };
    let program = std::env::current_exe().expect("this program");
    let inside = Command::new("ip")
        .args(["netns", "exec", &name])
        .arg(program)
        .args([
            "--ignored",
            "--exact",
            "committee_hosts::plays_the_collective",
            "--nocapture",
        ])
        .env(NAMES, &name)
        .output()
        .expect("it starts");
    let [out, err] = [&inside.stdout, &inside.stderr].map(|it| String::from_utf8_lossy(it));
    assert!(inside.status.success(), "{out}\n{err}");
    assert!(out.contains("1 passed"), "{out}");
}

#[test]
#[ignore = "started by the test of the hosts"]
fn plays_the_collective() {
    let Ok(name) = std::env::var(NAMES) else {
        return;
    };
    let hub = Host {
        address: address(0),
        namespace: None,
    };
    let mut at = Collective::found(Bare::start_at(hub.address), &hub, "--wire WIRE");
    for (person, record) in PEOPLE.into_iter().zip(RECORDS) {
        at.bare.contribute(person, record);
    }
    at.anchored(4);
    let hosts: Vec<_> = (1..=HOSTS).map(|number| host(&name, number)).collect();
    at.join(&hosts);
    let members = at.holders.iter().map(|it| it.id.clone());
    let members = members.collect::<Vec<_>>().join(",");
    let plan = at.bare.session.path("next.plan");
    at.hand_on(&format!(
        "reshare --plan {plan} --threshold 2 --members {members}"
    ));
    for place in 0..3 {
        at.keeps_only(place, 2);
    }
    at.node_keeps(&[]);
    assert_eq!(at.run(&[0, 1, 2]), 4);

    // One cable is pulled: two are left, which is enough. Without another the job waits, and goes on when it is back.
    Switch::cable(&name, 1, "down");
    assert_eq!(at.run(&[1, 2]), 4);
    Switch::cable(&name, 2, "down");
    let job = at.request();
    std::thread::sleep(WATCHED);
    let state = at.bare.session.json(&format!("job show {job}"))["state"].clone();
    assert!(state == "requested" || state == "leased", "{state}");
    Switch::cable(&name, 2, "up");
    assert_eq!(at.finish(job, &[1, 2]), 4);
}

fn host(name: &str, number: u8) -> Host {
    Host {
        address: address(number),
        namespace: Some(format!("{name}-{number}")),
    }
}

/// Of the switch's namespace, 0, or of a key holder.
fn address(number: u8) -> IpAddr {
    Ipv4Addr::new(10, 92, 0, number + 1).into()
}

/// The namespaces and what connects them; gone when dropped.
struct Switch(String);

impl Switch {
    /// `None` where this machine does not permit it.
    fn lay(name: &str) -> Option<Self> {
        let switch = Self(name.to_owned());
        let mut steps = vec![
            format!("netns add {name}"),
            format!("-n {name} link set lo up"),
            format!("-n {name} link add switch type bridge"),
            format!("-n {name} address add {}/24 dev switch", address(0)),
            format!("-n {name} link set switch up"),
        ];
        for number in 1..=HOSTS {
            let host = format!("{name}-{number}");
            steps.extend([
                format!("netns add {host}"),
                format!("-n {host} link set lo up"),
                format!(
                    "link add cable netns {host} type veth peer name port{number} netns {name}"
                ),
                format!("-n {host} address add {}/24 dev cable", address(number)),
                format!("-n {host} link set cable up"),
                format!("-n {name} link set port{number} master switch"),
                format!("-n {name} link set port{number} up"),
            ]);
        }
        steps.iter().all(|step| ip(step)).then_some(switch)
    }

    /// Pulls a host's cable (`down`) or plugs it in (`up`).
    fn cable(name: &str, number: u8, way: &str) {
        assert!(ip(&format!("-n {name} link set port{number} {way}")));
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        let hosts = (1..=HOSTS).map(|number| format!("{}-{number}", self.0));
        for host in hosts.chain([self.0.clone()]) {
            ip(&format!("netns delete {host}"));
        }
    }
}

fn ip(arguments: &str) -> bool {
    let status = Command::new("ip")
        .args(arguments.split(' '))
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}
