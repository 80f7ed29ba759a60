//! The jail from inside: `sandbox-child probe` tries what must be denied. Each layer is also looked at
//! alone, with the layers that would hide it left off, so that none is on in name only.

use crate::bombs;
use std::process::Command;

use serde_json::Value;

/// What a child sees that wears every layer but those in `without`.
fn probe(without: &[&str]) -> Value {
    let output = Command::new(bombs::binary())
        .args(["sandbox-child", "probe"])
        .args(without)
        .env_clear()
        .output()
        .expect("the child starts");
    assert!(output.status.success(), "{:?}", output.status);
    serde_json::from_slice(&output.stdout).expect("one line of JSON")
}

/// Whether the machine gave the layer; where it did not, there is nothing to look at.
fn on(sight: &Value, layer: &str) -> bool {
    let on = sight["layers"]["on"]
        .as_array()
        .expect("a list")
        .iter()
        .any(|name| name == layer);
    if !on {
        println!(
            "not looked at: this machine denies {layer}: {}",
            sight["layers"]["denied"]
        );
    }
    on
}

fn attempt<'a>(sight: &'a Value, what: &str) -> &'a str {
    sight["attempts"][what]
        .as_str()
        .unwrap_or_else(|| panic!("{what} was not tried"))
}

const ATTEMPTS: [&str; 11] = [
    "read /etc/passwd",
    "read /proc/self/maps",
    "list /",
    "write /dev/null",
    "bind UDP",
    "connect TCP",
    "open a UNIX socket",
    "start a process",
    "start a thread",
    "enter a user namespace",
    "signal the parent",
];

#[test]
fn nothing_works_in_the_whole_jail() {
    let sight = probe(&[]);
    assert_eq!(sight["descriptors"], serde_json::json!([0, 1, 2]));
    if on(&sight, "seccomp") {
        for what in ATTEMPTS {
            assert_eq!(attempt(&sight, what), "EPERM", "{what}");
        }
        assert_eq!(sight["interfaces"], Value::Null);
    }
}

#[test]
fn what_the_parent_had_open_is_closed() {
    let output = Command::new("/bin/sh")
        .args([
            "-c",
            r#"exec 7</etc/passwd 9<&0; exec "$0" sandbox-child probe"#,
        ])
        .arg(bombs::binary())
        .output()
        .expect("a shell");
    let sight: Value = serde_json::from_slice(&output.stdout).expect("one line of JSON");
    assert_eq!(sight["descriptors"], serde_json::json!([0, 1, 2]));
}

#[test]
fn resource_limits_alone_hold_memory() {
    let others = ["seccomp", "landlock", "empty-root"];
    let sight = probe(&others);
    if on(&sight, "resource-limits") {
        assert_eq!(attempt(&sight, "hold 128 MiB"), "no memory");
    }
    let sight = probe(&[&others[..], &["resource-limits"]].concat());
    assert_eq!(attempt(&sight, "hold 128 MiB"), "ok");
}

#[test]
fn without_the_jail_all_of_it_works() {
    let every = [
        "user-namespace",
        "network-namespace",
        "ipc-namespace",
        "uts-namespace",
        "empty-root",
        "no-capabilities",
        "no-new-privileges",
        "not-dumpable",
        "resource-limits",
        "landlock",
        "seccomp",
    ];
    let sight = probe(&every);
    assert_eq!(sight["layers"]["on"], serde_json::json!([]));
    for what in [
        "read /etc/passwd",
        "read /proc/self/maps",
        "list /",
        "write /dev/null",
        "bind UDP",
        "start a process",
        "signal the parent",
    ] {
        assert_eq!(attempt(&sight, what), "ok", "{what}");
    }
}

#[test]
fn landlock_alone_denies_files() {
    let sight = probe(&["seccomp", "empty-root"]);
    if on(&sight, "landlock") {
        for what in [
            "read /etc/passwd",
            "read /proc/self/maps",
            "list /",
            "write /dev/null",
            "start a process",
        ] {
            assert_eq!(attempt(&sight, what), "EACCES", "{what}");
        }
    }
}

#[test]
fn an_empty_root_alone_has_no_files() {
    let sight = probe(&["seccomp", "landlock"]);
    if on(&sight, "empty-root") {
        for what in [
            "read /etc/passwd",
            "read /proc/self/maps",
            "write /dev/null",
            "start a process",
        ] {
            assert_eq!(attempt(&sight, what), "ENOENT", "{what}");
        }
    }
}

#[test]
fn a_network_namespace_alone_reaches_nobody() {
    let sight = probe(&["seccomp", "landlock"]);
    if on(&sight, "network-namespace") {
        assert_eq!(sight["interfaces"], serde_json::json!(["lo"]));
        assert_eq!(attempt(&sight, "connect TCP"), "ENETUNREACH");
    }
}

#[test]
fn a_machine_without_namespaces_is_named_and_the_rest_holds() {
    // A user namespace that allows no further one, and no capability: what a strict container gives.
    let machine = "echo 0 > /proc/sys/user/max_user_namespaces && \
        exec setpriv --bounding-set -all --inh-caps -all --no-new-privs \"$0\" sandbox-child probe";
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "/bin/sh", "-c", machine])
        .arg(bombs::binary())
        .output();
    let Some(output) = output.ok().filter(|output| output.status.success()) else {
        println!("not looked at: this machine has no unshare and setpriv, or denies them");
        return;
    };
    let sight: Value = serde_json::from_slice(&output.stdout).expect("one line of JSON");
    let denied = sight["layers"]["denied"].as_array().expect("a list");
    let denied: Vec<&str> = denied.iter().filter_map(|pair| pair[0].as_str()).collect();
    let namespaces = [
        "user-namespace",
        "network-namespace",
        "ipc-namespace",
        "uts-namespace",
        "empty-root",
    ];
    assert_eq!(denied, namespaces);
    for what in ATTEMPTS {
        assert_eq!(attempt(&sight, what), "EPERM", "{what}");
    }
}

#[test]
fn a_layer_that_does_not_exist_is_refused() {
    let output = Command::new(bombs::binary())
        .args(["sandbox-child", "probe", "armour"])
        .output();
    assert_eq!(output.expect("the child starts").status.code(), Some(64));
    for arguments in [
        &["sandbox-child"][..],
        &["sandbox-child", "run", "x", "1"],
        &["sandbox-child", "fly", "1", "1"],
    ] {
        let output = Command::new(bombs::binary()).args(arguments).output();
        assert_eq!(
            output.expect("the child starts").status.code(),
            Some(64),
            "{arguments:?}"
        );
    }
}

#[test]
fn a_child_ends_with_its_parent() {
    use std::io::{Read, Write};
    // A shell starts a child that waits for its task, with a pipe that stays open when the shell dies.
    let mut shell = Command::new("/bin/sh")
        .args([
            "-c",
            r#""$0" sandbox-child run 67108864 5 <&0 & echo $!; wait"#,
        ])
        .arg(bombs::binary())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("a shell");
    let mut hold = shell.stdin.take().expect("asked for");
    let mut from = shell.stdout.take().expect("asked for");
    let mut text = Vec::new();
    // The child's number, a line feed, and the layers that it reports: then it is ready.
    while !text.contains(&b'L') {
        let mut byte = [0];
        from.read_exact(&mut byte).expect("the child reports");
        text.push(byte[0]);
    }
    let number: String = text
        .iter()
        .map(|byte| *byte as char)
        .take_while(|c| c.is_ascii_digit())
        .collect();
    let folder = std::path::PathBuf::from(format!("/proc/{number}"));
    assert!(folder.exists(), "the child {number} is there");
    shell.kill().expect("killed");
    shell.wait().expect("reaped");
    let gone = (0..400).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(5));
        let stat = std::fs::read_to_string(folder.join("stat")).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    });
    assert!(gone, "the child outlived its parent");
    // Only now does the pipe close: it was not what ended the child.
    hold.write_all(b"").ok();
}
