//! A child that was taken over says whatever it likes: the parent believes lengths and order only as far
//! as the protocol goes, and its own clock. Here a shell script plays that child.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::bombs::{MEAN, records, stopped, task};
use collective_node::sandbox::{Failure, Fault, Layer, Run, Sandbox, Trap};

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_le_bytes();
    [&[kind][..], &length, payload].concat()
}

const LAYERS: &[u8] = br#"{"on":[],"denied":[]}"#;

fn report(trap: &str) -> Vec<u8> {
    let rest = r#""fuel":1,"memory_bytes":2,"accepted":3,"rejected":{"count":0,"first":[]}"#;
    frame(b'D', format!(r#"{{"trap":{trap},{rest}}}"#).as_bytes())
}

/// A child that compiles well and then, asked to run, says these frames and waits.
fn child(folder: &Path, layers: &[u8], frames: &[Vec<u8>]) -> PathBuf {
    let start = frame(b'L', layers);
    let compiled = [&start[..], &frame(b'C', b"code"), &report("null")].concat();
    fs::write(folder.join("compile"), compiled).expect("written");
    fs::write(folder.join("run"), [&start[..], &frames.concat()].concat()).expect("written");
    let script = folder.join("child");
    let text = format!(
        "#!/bin/sh\n/bin/cat {}/$2\nexec /bin/sleep 9\n",
        folder.display()
    );
    fs::write(&script, text).expect("written");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o700)).expect("ours");
    script
}

/// Runs a task in such a child.
fn run_against(folder: &Path, frames: &[Vec<u8>]) -> Result<Run, Failure> {
    let mut task = task(MEAN);
    task.limits.seconds = 1;
    task.limits.output_bytes = 10;
    // Records without end: a parent that waits for them to be read would wait for ever.
    let endless = std::iter::repeat_with(|| records(&["1,2\n"]).next().expect("one"));
    Sandbox::new(child(folder, LAYERS, frames), vec![], None).try_out(&task, endless)
}

#[test]
fn a_child_that_follows_the_protocol_is_believed() {
    let folder = tempfile::tempdir().expect("a folder");
    let frames = [
        frame(b'Y', b""),
        frame(b'O', b"01234"),
        frame(b'O', b"56789"),
        report("null"),
    ];
    let run = run_against(folder.path(), &frames).expect("a good run");
    assert_eq!(run.output.as_slice(), b"0123456789");
    assert_eq!(
        (run.usage.fuel, run.usage.memory_bytes, run.accepted),
        (1, 2, 3)
    );
    let frames = [frame(b'Y', b""), report(r#""stack""#)];
    assert_eq!(
        stopped(run_against(folder.path(), &frames)).trap,
        Trap::Stack
    );
}

#[test]
fn a_child_that_says_too_much_is_cut_off() {
    let folder = tempfile::tempdir().expect("a folder");
    let ready = || frame(b'Y', b"");
    let bad: Vec<(&str, Vec<Vec<u8>>)> = vec![
        (
            "output over the limit",
            vec![ready(), frame(b'O', b"01234567890")],
        ),
        (
            "output over the limit in pieces",
            vec![ready(), frame(b'O', b"012345"), frame(b'O', b"67890")],
        ),
        (
            "endless log",
            vec![
                ready(),
                frame(b'N', &[b'a'; 40_000]),
                frame(b'N', &[b'a'; 40_000]),
            ],
        ),
        (
            "two texts",
            vec![ready(), frame(b'X', b"a"), frame(b'X', b"b")],
        ),
        ("long text", vec![ready(), frame(b'X', &[b'a'; 5000])]),
        (
            "compiled code from a run",
            vec![ready(), frame(b'C', b"code")],
        ),
        ("ready twice", vec![ready(), ready()]),
        ("a parent's frame", vec![ready(), frame(b'R', b"1,2\n")]),
        ("a report that is none", vec![ready(), frame(b'D', b"{}")]),
        ("an unknown kind", vec![ready(), frame(b'?', b"")]),
        (
            "a length over the limit",
            vec![ready(), vec![b'O', 255, 255, 255, 255]],
        ),
        ("output before ready", vec![frame(b'O', b"0")]),
    ];
    for (name, frames) in bad {
        let result = run_against(folder.path(), &frames);
        assert!(
            matches!(result, Err(Failure::Operator(Fault::Protocol(_)))),
            "{name}: {result:?}"
        );
    }
    let layers = Sandbox::new("/bin/echo".into(), vec![], None).layers();
    assert!(matches!(layers, Err(Fault::Protocol(_))), "{layers:?}");
}

#[test]
fn a_child_that_ignores_the_deadline_is_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    for frames in [
        vec![frame(b'Y', b"")],
        vec![frame(b'Y', b""), vec![b'D', 9, 0]],
    ] {
        let start = Instant::now();
        let stop = stopped(run_against(folder.path(), &frames));
        assert_eq!(stop.trap, Trap::Deadline);
        assert!(
            stop.usage.wall <= Duration::from_millis(1200),
            "{:?}",
            stop.usage.wall
        );
        assert!(
            start.elapsed() < Duration::from_secs(3),
            "{:?}",
            start.elapsed()
        );
    }
}

#[test]
fn compiled_code_that_does_not_load_is_made_once_more_and_then_given_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let result = run_against(folder.path(), &[frame(b'S', b"")]);
    assert!(
        matches!(result, Err(Failure::Operator(Fault::NotLoadable))),
        "{result:?}"
    );
}

#[test]
fn a_child_without_a_required_layer_gets_no_task() {
    let folder = tempfile::tempdir().expect("a folder");
    let layers = br#"{"on":["landlock"],"denied":[["seccomp","Function not implemented"]]}"#;
    let frames = [frame(b'Y', b""), report("null")];
    let script = child(folder.path(), layers, &frames);
    let sandbox = |required: Vec<Layer>| Sandbox::new(script.clone(), required, None);
    let run = |required| sandbox(required).try_out(&task(MEAN), records(&[]));
    assert!(run(vec![]).is_ok());
    assert!(run(vec![Layer::Landlock]).is_ok());
    match run(vec![Layer::Landlock, Layer::Seccomp]) {
        Err(Failure::Operator(Fault::MissingLayer {
            layer: Layer::Seccomp,
            reason,
        })) => {
            assert_eq!(reason, "Function not implemented");
        }
        other => panic!("not refused: {other:?}"),
    }
    let unreported = run(vec![Layer::EmptyRoot]);
    assert!(
        matches!(
            unreported,
            Err(Failure::Operator(Fault::MissingLayer { .. }))
        ),
        "{unreported:?}"
    );
    let layers = sandbox(vec![]).layers().expect("it starts");
    assert_eq!(layers.on, [Layer::Landlock]);
}
