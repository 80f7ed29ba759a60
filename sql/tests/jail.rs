//! The worker behind the jail: the same layers as a program's child, looked at from inside.

mod support;

use std::process::Command;

use collective_node::sandbox::{Failure, Fault, Layer, Sandbox};
use collective_node::told::try_out;
use serde_json::Value;
use support::{records, task, worker};

#[test]
fn nothing_works_in_the_jail_of_the_worker() {
    let output = Command::new(worker())
        .args(["sandbox-child", "probe"])
        .env_clear()
        .output()
        .expect("the worker starts");
    let sight: Value = serde_json::from_slice(&output.stdout).expect("one line of JSON");
    println!("{sight}");
    let on = sight["layers"]["on"].as_array().expect("a list");
    if !on.contains(&"seccomp".into()) {
        println!("not looked at: this machine denies seccomp");
        return;
    }
    let attempts = sight["attempts"].as_object().expect("attempts");
    let allowed = attempts.iter().filter(|(what, _)| *what != "hold 128 MiB");
    for (what, outcome) in allowed {
        assert_eq!(outcome, "EPERM", "{what}");
    }
    assert_eq!(sight["descriptors"], serde_json::json!([0, 1, 2]));
}

#[test]
fn a_query_runs_behind_every_layer_that_the_machine_has() {
    let sandbox = Sandbox::new(worker(), vec![], None);
    let has = sandbox.layers().expect("a child").on;
    let strict = Sandbox::new(worker(), has.clone(), None);
    let lines = ["1,Ar,1", "2,Ar,2"];
    let query = task("SELECT count(*) AS n FROM survey");
    let run = try_out(&strict, &query, records(&lines).collect(), 1).expect("it runs");
    assert_eq!(run.output.as_slice(), b"[{\"n\":2}]\n");
    assert_eq!(run.layers.on, has);
    if let Some(missing) = Layer::ALL.into_iter().find(|layer| !has.contains(layer)) {
        let impossible = Sandbox::new(worker(), vec![missing], None);
        let refused = try_out(&impossible, &query, records(&lines).collect(), 1);
        assert!(matches!(
            refused,
            Err(Failure::Operator(Fault::MissingLayer { .. }))
        ));
    }
}

#[test]
fn the_binary_does_nothing_by_itself() {
    let status = |arguments: &[&str]| {
        let output = Command::new(worker())
            .args(arguments)
            .output()
            .expect("it starts");
        (output.status.code(), output.stdout.len())
    };
    assert_eq!(status(&[]), (Some(64), 0));
    assert_eq!(status(&["SELECT 1"]), (Some(64), 0));
    assert_eq!(status(&["sandbox-child", "compile"]), (Some(64), 0));
}
