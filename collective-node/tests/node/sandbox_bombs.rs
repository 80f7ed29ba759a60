//! Programs that mean harm. Each ends with its own reason, within its memory and its time, and the
//! next job is right.

use crate::bombs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::bombs::{IMPORTS, binary, good_job, module, program, records, sandbox, stopped, task};
use collective_node::sandbox::{CompileLimits, Failure, Fault, Layer, Sandbox, Task, Trap};

/// What the host may hold besides the program's own memory.
const HOST_BYTES: u64 = 64 << 20;
/// How much later than its deadline a program may be stopped.
const LATE: Duration = Duration::from_millis(200);
/// Enough fuel to never run out before the deadline.
const ENDLESS: u64 = u64::MAX / 4;

/// Runs `task` and checks all that must hold of every bomb.
fn explode(name: &str, task: &Task, expected: &Trap) {
    let sandbox = sandbox();
    let stop = stopped(sandbox.try_out(task, records(&["1,2\n"; 100])));
    assert_eq!(stop.trap, *expected, "{name}");
    let usage = stop.usage;
    println!("{name}: {}; {usage:?}", stop.trap);
    let memory = task.limits.memory_bytes + HOST_BYTES;
    assert!(
        usage.resident_bytes.is_none_or(|bytes| bytes <= memory),
        "{name}: {usage:?}"
    );
    assert!(
        usage.memory_bytes <= task.limits.memory_bytes,
        "{name}: {usage:?}"
    );
    assert!(usage.fuel <= task.limits.fuel, "{name}: {usage:?}");
    let deadline = Duration::from_secs(task.limits.seconds.into());
    assert!(usage.wall <= deadline + LATE, "{name}: {usage:?}");
    good_job(&sandbox);
}

/// A program whose `run` has this body.
fn body(body: &str) -> Vec<u8> {
    program("", body)
}

/// Leaves (ok or error, address, length) at 16 and its address as the answer.
fn answer(discriminant: u32, at: u32, length: u32) -> String {
    format!(
        "(i32.store (i32.const 16) (i32.const {discriminant}))
         (i32.store (i32.const 20) (i32.const {at}))
         (i32.store (i32.const 24) (i32.const {length}))
         (i32.const 16)"
    )
}

#[test]
fn programs_that_do_too_much() {
    let bombs: Vec<(&str, Vec<u8>, Trap)> = vec![
        (
            "loop",
            body("(loop $l (br $l)) (i32.const 0)"),
            Trap::OutOfFuel,
        ),
        (
            "loop at the start",
            program("(func $s (loop $l (br $l))) (start $s)", "(i32.const 0)"),
            Trap::OutOfFuel,
        ),
        (
            "loop in realloc",
            module(&format!(
                r#"{IMPORTS} (memory (export "memory") 1)
                (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                    (loop $l (br $l)) (i32.const 0))
                (func (export "run") (param i32 i32) (result i32) (i32.const 0))"#
            )),
            Trap::OutOfFuel,
        ),
        (
            "growing memory",
            body("(loop $l (drop (memory.grow (i32.const 16))) (br $l)) (i32.const 0)"),
            Trap::Memory,
        ),
        (
            "growing and touching memory",
            body(
                "(local $at i32)
                (loop $l
                    (drop (memory.grow (i32.const 1)))
                    (local.set $at (i32.add (local.get $at) (i32.const 65536)))
                    (memory.fill (local.get $at) (i32.const 255) (i32.const 65536))
                    (br $l))
                (i32.const 0)",
            ),
            Trap::Memory,
        ),
        (
            "all memory at once",
            body("(drop (memory.grow (i32.const 65535))) (i32.const 0)"),
            Trap::Memory,
        ),
        (
            "memory that begins too large",
            module(&format!(
                r#"{IMPORTS} (memory (export "memory") 65536)
                (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 8))
                (func (export "run") (param i32 i32) (result i32) (i32.const 0))"#
            )),
            Trap::Memory,
        ),
        (
            "growing table",
            program(
                "(table $t 1 funcref)",
                "(loop $l (drop (table.grow $t (ref.null func) (i32.const 1000))) (br $l))
                (i32.const 0)",
            ),
            Trap::Tables,
        ),
        (
            "table that begins too large",
            program("(table 4000000 funcref)", "(i32.const 0)"),
            Trap::Tables,
        ),
        (
            "recursion",
            program("(func $f (call $f) (call $f))", "(call $f) (i32.const 0)"),
            Trap::Stack,
        ),
        (
            "output flood",
            body("(loop $l (call $write (i32.const 0) (i32.const 65536)) (br $l)) (i32.const 0)"),
            Trap::OutputLimit,
        ),
        (
            "one write of all memory",
            body(
                "(drop (memory.grow (i32.const 900)))
                (call $write (i32.const 0) (i32.const 58982400)) (i32.const 0)",
            ),
            Trap::Abi,
        ),
        (
            "one write over the limit",
            body(
                "(drop (memory.grow (i32.const 900)))
                (call $write (i32.const 0) (i32.const 1048577)) (i32.const 0)",
            ),
            Trap::OutputLimit,
        ),
        (
            "writes of one byte",
            body("(loop $l (call $write (i32.const 0) (i32.const 1)) (br $l)) (i32.const 0)"),
            // 1,000 units for each call: the fuel is used up before the output.
            Trap::OutOfFuel,
        ),
        (
            "writes of nothing",
            body("(loop $l (call $write (i32.const 0) (i32.const 0)) (br $l)) (i32.const 0)"),
            Trap::OutOfFuel,
        ),
        (
            "log flood",
            body("(loop $l (call $line (i32.const 0) (i32.const 100)) (br $l)) (i32.const 0)"),
            Trap::LogLimit,
        ),
        (
            "empty lines",
            body("(loop $l (call $line (i32.const 0) (i32.const 0)) (br $l)) (i32.const 0)"),
            Trap::LogLimit,
        ),
        (
            "one line of all memory",
            body(
                "(drop (memory.grow (i32.const 900)))
                (call $line (i32.const 0) (i32.const 58982400)) (i32.const 0)",
            ),
            Trap::Abi,
        ),
        (
            "asking on after the end",
            body(
                "(loop $l (call $next_chunk (i32.const 0xffffffff) (i32.const 16)) (br $l))
                (i32.const 0)",
            ),
            Trap::OutOfFuel,
        ),
        (
            "seed for ever",
            body("(loop $l (call $seed (i32.const 16)) (br $l)) (i32.const 0)"),
            Trap::OutOfFuel,
        ),
    ];
    for (name, component, trap) in &bombs {
        explode(name, &task(component), trap);
    }
    let drip = "(loop $l (call $write (i32.const 0) (i32.const 1)) (br $l)) (i32.const 0)";
    let mut drip = task(&body(drip));
    drip.limits.fuel = ENDLESS;
    explode(
        "writes of one byte, fuel to spare",
        &drip,
        &Trap::OutputLimit,
    );
}

#[test]
fn programs_that_take_too_long() {
    let endless = [
        ("loop", "(loop $l (br $l)) (i32.const 0)"),
        (
            "filling memory",
            "(drop (memory.grow (i32.const 900)))
            (loop $l (memory.fill (i32.const 0) (i32.const 1) (i32.const 58982400)) (br $l))
            (i32.const 0)",
        ),
        (
            "calls to the host",
            "(loop $l (call $write (i32.const 0) (i32.const 0)) (br $l)) (i32.const 0)",
        ),
    ];
    for (name, text) in endless {
        let mut task = task(&body(text));
        task.limits.fuel = ENDLESS;
        task.limits.seconds = 1;
        explode(name, &task, &Trap::Deadline);
    }
}

#[test]
fn programs_that_break_down() {
    let bombs: Vec<(&str, Vec<u8>, Trap)> = vec![
        ("unreachable", body("unreachable"), Trap::Unreachable),
        (
            "division by zero",
            body("(i32.div_s (i32.const 1) (i32.const 0))"),
            Trap::DivisionByZero,
        ),
        (
            "overflow",
            body("(i32.div_s (i32.const 0x80000000) (i32.const -1))"),
            Trap::IntegerOverflow,
        ),
        (
            "NaN to integer",
            body("(i32.trunc_f64_s (f64.const nan))"),
            Trap::BadConversion,
        ),
        (
            "out of bounds",
            body("(i32.load (i32.const 0x7fffffff))"),
            Trap::OutOfBounds,
        ),
        (
            "at the end of memory",
            body("(i64.load (i32.const 65529)) drop (i32.const 0)"),
            Trap::OutOfBounds,
        ),
        (
            "null function",
            program(
                "(table $t 1 funcref)",
                "(call_indirect (result i32) (i32.const 0))",
            ),
            Trap::BadIndirectCall,
        ),
        (
            "function of another type",
            program(
                "(table $t 1 funcref) (func $f) (elem (i32.const 0) $f)",
                "(call_indirect (result i32) (i32.const 0))",
            ),
            Trap::BadIndirectCall,
        ),
        (
            "function outside its table",
            program(
                "(table $t 1 funcref)",
                "(call_indirect (result i32) (i32.const 9))",
            ),
            Trap::OutOfBounds,
        ),
        (
            "data outside memory",
            program(r#"(data (i32.const 65530) "1234567")"#, "(i32.const 0)"),
            Trap::OutOfBounds,
        ),
    ];
    for (name, component, trap) in &bombs {
        explode(name, &task(component), trap);
    }
}

#[test]
fn programs_that_lie_to_the_host() {
    let realloc = |body: &str, run: &str| {
        module(&format!(
            r#"{IMPORTS} (memory (export "memory") 16)
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) {body})
            (func (export "run") (param i32 i32) (result i32) {run})"#
        ))
    };
    let bombs: Vec<(&str, Vec<u8>, Trap)> = vec![
        (
            "realloc outside memory",
            realloc("(i32.const -16)", "(i32.const 0)"),
            Trap::Abi,
        ),
        (
            "realloc that calls the host",
            realloc(
                "(call $write (i32.const 0) (i32.const 1)) (i32.const 8)",
                "(i32.const 0)",
            ),
            Trap::Abi,
        ),
        ("answer outside memory", body("(i32.const -4)"), Trap::Abi),
        ("unaligned answer", body("(i32.const 3)"), Trap::Abi),
        ("answer that is neither", body(&answer(7, 0, 0)), Trap::Abi),
        (
            "error outside memory",
            body(&answer(1, 65530, 100)),
            Trap::Abi,
        ),
        (
            "error that is no text",
            body(&format!(
                "(i32.store (i32.const 64) (i32.const -1)) {}",
                answer(1, 64, 4)
            )),
            Trap::Abi,
        ),
        (
            "giant error",
            body(&format!(
                "(drop (memory.grow (i32.const 900))) {}",
                answer(1, 0, 50_000_000)
            )),
            Trap::Abi,
        ),
        (
            "write from outside memory",
            body("(call $write (i32.const 65530) (i32.const 100)) (i32.const 0)"),
            Trap::Abi,
        ),
        (
            "line that is no text",
            body(
                "(i32.store (i32.const 64) (i32.const -1))
                (call $line (i32.const 64) (i32.const 4)) (i32.const 0)",
            ),
            Trap::Abi,
        ),
        (
            "chunk to outside memory",
            body("(call $next_chunk (i32.const 100) (i32.const -8)) (i32.const 0)"),
            Trap::Abi,
        ),
    ];
    for (name, component, trap) in &bombs {
        explode(name, &task(component), trap);
    }
    let long = body(&format!(
        "(memory.fill (i32.const 64) (i32.const 65) (i32.const 20000)) {}",
        answer(1, 64, 20_000)
    ));
    let mut told = task(&long);
    told.keep_log = true;
    let stop = stopped(sandbox().try_out(&told, records(&[])));
    assert_eq!(stop.trap, Trap::ReturnedError);
    assert_eq!(stop.text.expect("a text").reveal(), "A".repeat(4096));
}

/// A component in the text format.
fn component(text: &str) -> Vec<u8> {
    wat::parse_str(format!("(component {text})")).expect("the text parses")
}

#[test]
fn programs_that_ask_for_more_than_the_world_has() {
    let bad = |name: &str| Trap::BadImport(name.into());
    let asks = |interface: &str, function: &str| {
        component(&format!(
            r#"(import "{interface}" (instance (export "{function}" (func))))"#
        ))
    };
    for (interface, function, refused) in [
        (
            "wasi:cli/environment@0.2.0",
            "get-environment",
            "wasi:cli/environment@0.2.0",
        ),
        (
            "wasi:sockets/tcp@0.2.0",
            "start-connect",
            "wasi:sockets/tcp@0.2.0",
        ),
        (
            "collective:program/network@0.1.0",
            "get",
            "collective:program/network@0.1.0",
        ),
        (
            "collective:program/dataset@0.2.0",
            "next-chunk",
            "collective:program/dataset@0.2.0",
        ),
        (
            "collective:program/dataset@0.1.0",
            "owner",
            "collective:program/dataset@0.1.0#owner",
        ),
    ] {
        explode(refused, &task(&asks(interface, function)), &bad(refused));
    }
    let bare = component(r#"(import "exit" (func))"#);
    explode("bare function", &task(&bare), &bad("exit"));
    // A name of the world with another type.
    let typed = component(
        r#"(import "collective:program/random@0.1.0" (instance (export "seed" (func (result u32)))))
        (core module $m (func (export "run") (param i32 i32) (result i32) (i32.const 0))
            (memory (export "memory") 1)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0)))
        (core instance $i (instantiate $m))
        (func (export "run") (param "arguments" string) (result (result (error string)))
            (canon lift (core func $i "run") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))"#,
    );
    explode(
        "another type",
        &task(&typed),
        &bad("collective:program/random@0.1.0#seed"),
    );
}

#[test]
fn programs_in_another_dialect() {
    let definitions = [
        ("memory64", "(memory i64 1)"),
        ("two memories", "(memory 1) (memory 1)"),
        ("shared memory", "(memory 1 1 shared)"),
        ("vectors", "(func (drop (i32x4.splat (i32.const 1))))"),
        (
            "relaxed vectors",
            "(func (param v128) (drop (i32x4.relaxed_trunc_f32x4_s (local.get 0))))",
        ),
        ("tail calls", "(func $f (return_call $f))"),
        ("exceptions", "(tag $t) (func (throw $t))"),
        ("garbage collection", "(type (struct (field i32)))"),
        ("atomics", "(memory 1) (func (atomic.fence))"),
        ("pages of one byte", "(memory 1 (pagesize 1))"),
    ];
    for (name, definitions) in definitions {
        let bytes = component(&format!("(core module {definitions})"));
        let stop = stopped(sandbox().try_out(&task(&bytes), records(&[])));
        assert!(
            matches!(stop.trap, Trap::Invalid(_)),
            "{name}: {}",
            stop.trap
        );
    }
    good_job(&sandbox());
}

#[test]
fn bytes_that_are_no_program() {
    let whole = body("(i32.const 0)");
    let no_run = component("");
    let wrong_run = component(
        r#"(core module $m (func (export "f") (result i32) (i32.const 0)))
        (core instance $i (instantiate $m))
        (func (export "run") (result u32) (canon lift (core func $i "f")))"#,
    );
    let mut bent = whole.clone();
    bent[whole.len() / 2] ^= 0xff;
    let too_large = vec![0; (64 << 20) + 1];
    let bare_module = wat::parse_str("(module)").expect("parses");
    for bytes in [
        &[][..],
        b"\0asm",
        &whole[..whole.len() / 2],
        &no_run,
        &wrong_run,
        &bent,
        &too_large,
        &bare_module,
    ] {
        let stop = stopped(sandbox().try_out(&task(bytes), records(&[])));
        assert!(
            matches!(stop.trap, Trap::Invalid(_)),
            "{} bytes: {}",
            bytes.len(),
            stop.trap
        );
    }
    good_job(&sandbox());
}

#[test]
fn programs_with_too_many_parts() {
    let instances = |count: usize| {
        let each = "(core instance (instantiate $m))".repeat(count);
        component(&format!(
            r#"(core module $m (memory (export "memory") 1)
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 8))
                (func (export "run") (param i32 i32) (result i32) (i32.const 0)))
            {each}
            (core instance $i (instantiate $m))
            (func (export "run") (param "arguments" string) (result (result (error string)))
                (canon lift (core func $i "run") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))"#
        ))
    };
    explode("900 instances", &task(&instances(900)), &Trap::Instantiate);
    explode("five memories", &task(&instances(4)), &Trap::Instantiate);
    let tables = program(&"(table 1 funcref)".repeat(50), "(i32.const 0)");
    explode("50 tables", &task(&tables), &Trap::Instantiate);
    sandbox()
        .try_out(&task(&instances(3)), records(&[]))
        .expect("four memories are allowed");
    // Many data segments are only many bytes: they are copied and done.
    let segments = program(
        &r#"(data (i32.const 0) "x")"#.repeat(2_000),
        "(i32.const 1024)",
    );
    sandbox()
        .try_out(&task(&segments), records(&[]))
        .expect("it runs");
}

#[test]
fn programs_that_are_slow_to_compile() {
    // One function with very many locals that are all alive in very many blocks.
    let locals = "(local i32)".repeat(2000);
    let uses: String = (0..40_000)
        .map(|n| {
            format!(
                "(br_if 0 (i32.eqz (local.tee {} (i32.add (local.get {}) (local.get {}))))) ",
                2 + n % 1999,
                2 + n * 7 % 1999,
                2 + n * 13 % 1999
            )
        })
        .collect();
    let slow = program("", &format!("{locals} (block {uses}) (i32.const 0)"));
    let start = Instant::now();
    let hurried = Sandbox::new(binary(), vec![], None).with_compile_limits(CompileLimits {
        memory_bytes: 1 << 30,
        seconds: 1,
    });
    let stop = stopped(hurried.try_out(&task(&slow), records(&[])));
    assert_eq!(stop.trap, Trap::CompileLimit, "by time");
    // A second of processor time is at most two by the clock; the rest starts and ends a process.
    let took = start.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");

    let cramped = Sandbox::new(binary(), vec![], None).with_compile_limits(CompileLimits {
        memory_bytes: 24 << 20,
        seconds: 20,
    });
    let stop = stopped(cramped.try_out(&task(&slow), records(&[])));
    assert_eq!(stop.trap, Trap::CompileLimit, "by memory");
    good_job(&hurried);
}

/// The child that runs with exactly this memory limit, by its command line.
fn child_with(memory: u64) -> Option<i32> {
    let needle = format!("sandbox-child\0run\0{memory}\0");
    std::fs::read_dir("/proc")
        .expect("Linux")
        .find_map(|entry| {
            let path = entry.ok()?.path();
            let line = std::fs::read_to_string(path.join("cmdline")).ok()?;
            line.contains(&needle)
                .then(|| path.file_name()?.to_str()?.parse().ok())
                .flatten()
        })
}

/// A running child has no environment, and nothing open but its pipes and the program in sealed memory.
/// Only root may look: the child is not dumpable.
fn look_at(child: i32) {
    let folder = PathBuf::from(format!("/proc/{child}"));
    let (Ok(environment), Ok(open)) = (
        std::fs::read(folder.join("environ")),
        std::fs::read_dir(folder.join("fd")),
    ) else {
        println!("not looked at: only root may look into the child");
        return;
    };
    assert_eq!(environment, b"");
    for entry in open {
        let target = std::fs::read_link(entry.expect("readable").path()).expect("a link");
        let target = target.to_string_lossy();
        assert!(
            target.starts_with("pipe:") || target == "/memfd:compiled (deleted)",
            "{target}"
        );
    }
}

#[test]
fn a_killed_child_is_the_operators_fault_and_harmless() {
    let mut task = task(&body("(loop $l (br $l)) (i32.const 0)"));
    task.limits.fuel = ENDLESS;
    // A size that no other test uses, to find the child by.
    task.limits.memory_bytes = 12_345 << 12;
    let folder = tempfile::tempdir().expect("a folder");
    let sandbox = bombs::cached(folder.path());
    sandbox.prepare(&task.code).expect("it compiles");
    let compiled = std::fs::read_dir(folder.path())
        .expect("there")
        .next()
        .expect("one")
        .expect("readable");
    let compiled = compiled.metadata().expect("known").len() - 32;
    let memory = task.limits.memory_bytes + HOST_BYTES + 2 * compiled;
    let result = std::thread::scope(|scope| {
        let run = scope.spawn(|| sandbox.try_out(&task, records(&[])));
        let child = loop {
            if let Some(child) = child_with(memory) {
                break child;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        std::thread::sleep(Duration::from_millis(300));
        look_at(child);
        let killed = std::process::Command::new("kill")
            .args(["-9", &child.to_string()])
            .status();
        assert!(killed.expect("kill is there").success());
        run.join().expect("no panic")
    });
    assert!(
        matches!(result, Err(Failure::Operator(Fault::Died(_)))),
        "{result:?}"
    );
    good_job(&sandbox);
}

#[test]
fn a_required_layer_that_is_missing_refuses_the_task() {
    let layers = sandbox().layers().expect("a child starts");
    let strict = Sandbox::new(binary(), Layer::ALL.to_vec(), None);
    let result = strict.try_out(&task(bombs::MEAN), records(&["1,2\n"]));
    match layers.denied.first() {
        None => assert!(result.is_ok(), "{result:?}"),
        Some(_) => {
            assert!(
                matches!(result, Err(Failure::Operator(Fault::MissingLayer { .. }))),
                "{result:?}"
            );
        }
    }
}

#[test]
fn programs_with_flipped_bits_do_no_harm() {
    // Any change of a good program is a refusal, a stop or a run: never the operator's fault.
    let mut state: u64 = 0x5eed_0b0e;
    println!("seed {state:#x}");
    let mut next = |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let mut outcomes = std::collections::BTreeMap::new();
    for _ in 0..100 {
        let mut bent = bombs::MEAN.to_vec();
        for _ in 0..=next(3) {
            let bit = next(bent.len() * 8);
            bent[bit / 8] ^= 1 << (bit % 8);
        }
        let mut task = task(&bent);
        task.limits.fuel = 10_000_000;
        let outcome = match sandbox().try_out(&task, records(&["1,2\n"])) {
            Ok(_) => "ran".to_string(),
            Err(Failure::Program(stop)) => format!("{:?}", stop.trap)
                .split('(')
                .next()
                .unwrap_or("")
                .into(),
            Err(Failure::Operator(fault)) => panic!("{fault}"),
        };
        *outcomes.entry(outcome).or_insert(0) += 1;
    }
    println!("{outcomes:?}");
    good_job(&sandbox());
}
