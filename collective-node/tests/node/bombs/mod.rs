//! What the sandbox's tests share: a sandbox around the built binary, tasks, records, and programs
//! written as core modules in the text format.
#![allow(dead_code, missing_docs)] // each test binary uses its part

use std::path::PathBuf;

use collective::permit::{Binary, Code};
use collective::source::{Column, ColumnType, Source};
use collective_node::sandbox::{Cache, Failure, Limits, Run, Sandbox, Stop, Task, componentize};
use zeroize::Zeroizing;

pub const MEAN: &[u8] = include_bytes!("../../../../jobs/mean/mean.wasm");
pub const LOGIT: &[u8] = include_bytes!("../../../../jobs/logit/logit.wasm");

/// The binary that the tests start as a child.
pub fn binary() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_collective"))
}

/// A sandbox that requires no layer, so that the tests also run where the machine denies some.
pub fn sandbox() -> Sandbox {
    Sandbox::new(binary(), Vec::new(), None)
}

pub fn cached(folder: &std::path::Path) -> Sandbox {
    Sandbox::new(
        binary(),
        Vec::new(),
        Some(Cache::new(folder.into(), &[1; 32])),
    )
}

pub fn limits() -> Limits {
    Limits {
        fuel: 200_000_000,
        memory_bytes: 64 << 20,
        seconds: 10,
        output_bytes: 1 << 20,
    }
}

/// A task over the two columns a and b.
pub fn task(component: &[u8]) -> Task {
    let column = |name: &str| Column {
        name: name.into(),
        kind: ColumnType::Integer {
            min: -1_000_000,
            max: 1_000_000,
        },
    };
    Task {
        code: Code::Component(Binary::new(component.to_vec())),
        arguments: "a,b".into(),
        limits: limits(),
        source: Source::new("pair".into(), vec![column("a"), column("b")]).expect("good"),
        columns: vec![0, 1],
        seed: [5; 32],
        keep_log: false,
    }
}

pub fn records(lines: &[&str]) -> impl Iterator<Item = Zeroizing<Vec<u8>>> {
    lines
        .iter()
        .map(|line| Zeroizing::new(line.as_bytes().to_vec()))
        .collect::<Vec<_>>()
        .into_iter()
}

/// Runs the good program over two records and compares its output to the byte.
pub fn good_job(sandbox: &Sandbox) -> Run {
    let run = sandbox
        .try_out(&task(MEAN), records(&["1,-10\n", "2,5\n"]))
        .expect("a good job");
    let expected = "{\"n\":2,\"columns\":[\"a\",\"b\"],\
        \"means\":[1.5000000000000000e0,-2.5000000000000000e0]}\n";
    assert_eq!(String::from_utf8_lossy(&run.output), expected);
    run
}

/// The stop of a run that must have failed through its program.
pub fn stopped(result: Result<Run, Failure>) -> Stop {
    match result {
        Err(Failure::Program(stop)) => *stop,
        other => panic!("not stopped for the program's fault: {other:?}"),
    }
}

/// A program with these WebAssembly definitions around `run`, whose body leaves the address of the
/// answer: `(i32.const 0)` is success, as memory starts with zeroes there.
pub fn program(definitions: &str, body: &str) -> Vec<u8> {
    module(&format!(
        r#"{IMPORTS}
        (memory (export "memory") 1)
        (global $free (mut i32) (i32.const 4096))
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
            (i32.const 4096))
        {definitions}
        (func (export "run") (param $arguments i32) (param $length i32) (result i32)
            {body})"#
    ))
}

pub const IMPORTS: &str = r#"
    (import "collective:program/dataset@0.1.0" "next-chunk" (func $next_chunk (param i32 i32)))
    (import "collective:program/output@0.1.0" "write" (func $write (param i32 i32)))
    (import "collective:program/log@0.1.0" "line" (func $line (param i32 i32)))
    (import "collective:program/random@0.1.0" "seed" (func $seed (param i32)))"#;

/// A component of a core module in the text format.
pub fn module(text: &str) -> Vec<u8> {
    let module = wat::parse_str(format!("(module {text})")).expect("the text parses");
    componentize(&module).expect("the module fits the world")
}
