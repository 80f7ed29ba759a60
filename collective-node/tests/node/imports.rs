//! Whatever is not in the world of programs is refused by name: before a vote, and again before it is compiled.

use crate::bombs::{IMPORTS, MEAN, module, records, sandbox, stopped, task};
use collective_node::sandbox::{Trap, World, check_world};

/// The interfaces of WASI 0.2, and those of its proposals that engines ship.
const WASI: [&str; 42] = [
    "cli/command",
    "cli/environment",
    "cli/exit",
    "cli/run",
    "cli/stderr",
    "cli/stdin",
    "cli/stdout",
    "cli/terminal-input",
    "cli/terminal-output",
    "cli/terminal-stderr",
    "cli/terminal-stdin",
    "cli/terminal-stdout",
    "clocks/monotonic-clock",
    "clocks/timezone",
    "clocks/wall-clock",
    "config/store",
    "filesystem/preopens",
    "filesystem/types",
    "http/incoming-handler",
    "http/outgoing-handler",
    "http/proxy",
    "http/types",
    "io/error",
    "io/poll",
    "io/streams",
    "keyvalue/atomics",
    "keyvalue/batch",
    "keyvalue/store",
    "logging/logging",
    "messaging/producer",
    "nn/inference",
    "random/insecure",
    "random/insecure-seed",
    "random/random",
    "sockets/instance-network",
    "sockets/ip-name-lookup",
    "sockets/network",
    "sockets/tcp",
    "sockets/tcp-create-socket",
    "sockets/udp",
    "sockets/udp-create-socket",
    "threads/spawn",
];

/// Versions of them: a program may have none, a runtime some of 0.2.
const VERSIONS: [&str; 4] = ["0.2.0", "0.2.9", "0.3.0", "1.0.0"];

/// Interfaces that nobody knows, and ours in another place, version or spelling.
const MADE_UP: [&str; 14] = [
    "collective:program/network@0.1.0",
    "collective:program/dataset@0.1.1",
    "collective:program/dataset@0.2.0",
    "collective:program/dataset@1.0.0",
    "collective:program/output@0.0.1",
    "collective:program/clock@0.1.0",
    "collective:runtime/source@0.1.0",
    "collective:program/random@0.2.0",
    "collective:programs/dataset@0.1.0",
    "collectives:program/dataset@0.1.0",
    "wasi:program/dataset@0.1.0",
    "evil:program/output@0.1.0",
    "docs:adder/add@0.1.0",
    "env:host/syscall@0.1.0",
];

/// Functions of our interfaces that they do not have, or not like that.
const WRONG_FUNCTIONS: [(&str, &str); 15] = [
    ("dataset", r#"(export "owner" (func))"#),
    ("dataset", r#"(export "rewind" (func (param "to" u32)))"#),
    ("dataset", r#"(export "next-chunk" (func))"#),
    (
        "dataset",
        r#"(export "next-chunk" (func (param "max-bytes" u64) (result (option (list u8)))))"#,
    ),
    (
        "dataset",
        r#"(export "next-chunk" (func (param "max-bytes" u32) (result (list u8))))"#,
    ),
    (
        "dataset",
        r#"(export "next-chunk" (func (param "max-bytes" u32) (result (option (list u16)))))"#,
    ),
    (
        "dataset",
        r#"(export "next-chunk" (func (param "max-bytes" u32) (param "of" u32) (result (option (list u8)))))"#,
    ),
    (
        "output",
        r#"(export "write" (func (param "bytes" string)))"#,
    ),
    (
        "output",
        r#"(export "write" (func (param "bytes" (list u8)) (result u32)))"#,
    ),
    ("output", r#"(export "close" (func))"#),
    ("log", r#"(export "line" (func (param "text" (list u8))))"#),
    ("log", r#"(export "read" (func (result string)))"#),
    ("random", r#"(export "seed" (func (result u32)))"#),
    ("random", r#"(export "entropy" (func (result (list u8))))"#),
    ("random", r#"(export "source" (type (sub resource)))"#),
];

/// A component in the text format that imports this instance, and is a program otherwise.
fn importing(name: &str, exports: &str) -> Vec<u8> {
    component(&format!(
        r#"(import "{name}" (instance {exports})) {}"#,
        run(r#"(param "arguments" string) (result (result (error string)))"#)
    ))
}

/// A `run` of this type; the core function behind it fits the type of the world.
fn run(signature: &str) -> String {
    format!(
        r#"(core module $m (memory (export "memory") 1)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 8))
            (func (export "run") (param i32 i32) (result i32) (i32.const 0)))
        (core instance $i (instantiate $m))
        (func (export "run") {signature}
            (canon lift (core func $i "run") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))"#
    )
}

fn component(text: &str) -> Vec<u8> {
    wat::parse_str(format!("(component {text})")).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Refused by both, before anything of it is compiled, under this name.
fn refused(component: &[u8], name: &str) {
    let refusal = Trap::BadImport(name.into());
    assert_eq!(
        check_world(component, World::Program),
        Err(refusal.clone()),
        "proposed"
    );
    let stop = stopped(sandbox().try_out(&task(component), records(&["1,2\n"])));
    assert_eq!(stop.trap, refusal, "run");
    assert_eq!(stop.usage.fuel, 0, "{name}: some of it ran");
}

#[test]
fn no_program_imports_what_the_world_does_not_have() {
    let mut count = 0;
    for interface in WASI {
        for version in VERSIONS {
            let name = format!("wasi:{interface}@{version}");
            refused(&importing(&name, r#"(export "f" (func))"#), &name);
            count += 1;
        }
    }
    for name in MADE_UP {
        refused(&importing(name, r#"(export "f" (func))"#), name);
        count += 1;
    }
    for (interface, export) in WRONG_FUNCTIONS {
        let name = format!("collective:program/{interface}@0.1.0");
        let member = export.split('"').nth(1).expect("a name");
        refused(&importing(&name, export), &format!("{name}#{member}"));
        count += 1;
    }
    for (import, name) in [
        (r#"(import "exit" (func))"#, "exit"),
        (r#"(import "spawn" (func (param "path" string)))"#, "spawn"),
    ] {
        refused(&component(import), name);
        count += 1;
    }
    println!("{count} foreign imports");
}

#[test]
fn no_program_is_without_its_run() {
    let wanted = r#"(param "arguments" string) (result (result (error string)))"#;
    assert_eq!(
        check_world(&component(&run(wanted)), World::Program),
        Ok(())
    );
    let other = [
        r#"(param "arguments" (list u8)) (result (result (error string)))"#,
        r#"(param "arguments" string) (result (result (error (list u8))))"#,
        r#"(param "arguments" string) (result (result string (error string)))"#,
        r#"(param "a" u32) (param "b" u32) (result u32)"#,
    ];
    let programs = other.map(|signature| component(&run(signature)));
    for program in programs.iter().chain([&component("")]) {
        let Err(Trap::Invalid(reason)) = check_world(program, World::Program) else {
            panic!("proposed");
        };
        assert!(reason.contains("does not export `run"), "{reason}");
        let stop = stopped(sandbox().try_out(&task(program), records(&[])));
        assert_eq!(stop.trap, Trap::Invalid(reason), "run");
    }
}

#[test]
fn programs_of_the_world_are_proposed() {
    let logit = include_bytes!("../../../jobs/logit/logit.wasm");
    let by_hand = module(&format!(
        r#"{IMPORTS} (memory (export "memory") 1)
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 8))
        (func (export "run") (param i32 i32) (result i32) (i32.const 0))"#
    ));
    for program in [MEAN, logit, &by_hand] {
        assert_eq!(check_world(program, World::Program), Ok(()));
        assert_eq!(check_world(program, World::Runtime), Ok(()));
    }
}

/// A runtime has its sources and the listed interfaces of WASI 0.2 beside the world of programs, and nothing else.
#[test]
fn no_runtime_imports_what_its_world_does_not_have() {
    let asks = |name: &str| {
        let runtime = importing(name, r#"(export "f" (func))"#);
        check_world(&runtime, World::Runtime)
    };
    let mut offered = vec![];
    for interface in WASI {
        let name = format!("wasi:{interface}@0.2.9");
        if asks(&name).is_ok() {
            offered.push(interface);
        } else {
            assert_eq!(asks(&name), Err(Trap::BadImport(name)));
        }
        for version in ["0.3.0", "1.0.0"] {
            let name = format!("wasi:{interface}@{version}");
            assert_eq!(asks(&name), Err(Trap::BadImport(name)));
        }
    }
    assert_eq!(offered.len(), 25, "{offered:?}");
    assert!(
        !offered.iter().any(|name| name.starts_with("http/")),
        "{offered:?}"
    );
    for name in MADE_UP {
        // Its sources: refused for the function alone.
        let name = match name {
            "collective:runtime/source@0.1.0" => "collective:runtime/source@0.1.0#f",
            name => name,
        };
        let interface = name.split('#').next().expect("a name");
        assert_eq!(asks(interface), Err(Trap::BadImport(name.into())));
    }
}
