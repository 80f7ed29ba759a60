//! A worker for SQL that was taken over, or that is none: the parent believes lengths, groups and order only as far as the
//! protocol goes, and its own clock. Here a shell script plays that worker.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use collective::permit::Code;
use collective::query::Query;
use collective::source::{Column, ColumnType, Source};
use collective_node::sandbox::{Failure, Fault, Grouping, Layer, Limits, Run, SQL_WORKER};
use collective_node::sandbox::{Sandbox, Task, Trap};
use zeroize::Zeroizing;

const LAYERS: &[u8] = br#"{"on":["landlock"],"denied":[]}"#;
/// What a record of one line of two bytes takes in the pipe.
const RECORD_BYTES: usize = 5 + 2;
/// What the end of the records takes, and an answer's frame before its bits.
const HEADER_BYTES: usize = 5;

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_le_bytes();
    [&[kind][..], &length, payload].concat()
}

fn report(accepted: usize) -> Vec<u8> {
    let rest = r#""rejected":{"count":0,"first":[]}}"#;
    let text = format!(r#"{{"trap":null,"fuel":0,"memory_bytes":0,"accepted":{accepted},{rest}"#);
    frame(b'D', text.as_bytes())
}

fn groups(groups: &[&[u32]]) -> Vec<u8> {
    let words = groups.iter().flat_map(|group| {
        let length = u32::try_from(group.len()).expect("few");
        std::iter::once(length).chain(group.iter().copied())
    });
    let bytes: Vec<u8> = words.flat_map(u32::to_le_bytes).collect();
    bytes
        .chunks(1 << 20)
        .flat_map(|piece| frame(b'M', piece))
        .collect()
}

/// A sandbox whose worker says that it is ready, and goes on with these lines of a shell. `say NAME` says the frames of
/// that name, `take COUNT` reads so many bytes.
fn sandbox(folder: &Path, frames: &[(&str, Vec<u8>)], script: &str) -> Sandbox {
    let path = |name: &str| folder.join(name);
    let start = frame(b'L', LAYERS);
    let ready = [&start[..], &frame(b'Y', b"")].concat();
    let engine = [&start[..], &frame(b'S', b"shell/1")].concat();
    let own = [("run", ready), ("engine", engine)];
    for (name, bytes) in own.iter().chain(frames) {
        fs::write(path(name), bytes).expect("written");
    }
    let text = format!(
        "#!/bin/sh\necho $2 >>{0}/started\nsay() {{ /bin/cat {0}/$1; }}\ntake() {{ /usr/bin/head -c $1 >/dev/null; }}\n\
         say $2\n[ $2 = run ] || exit\n/usr/bin/head -c 5 >{0}/header\n\
         take $(/usr/bin/od -An -tu4 -j1 {0}/header)\n{script}\nexec /bin/sleep 30\n",
        folder.display()
    );
    // Put in its place at once: a file that is being written cannot be started.
    fs::write(path("script"), text).expect("written");
    fs::set_permissions(path("script"), fs::Permissions::from_mode(0o700)).expect("ours");
    fs::rename(path("script"), path(SQL_WORKER)).expect("moved");
    Sandbox::new(path("collective"), vec![], None)
}

fn task() -> Task {
    let column = Column {
        name: "n".into(),
        kind: ColumnType::Integer { min: 0, max: 9 },
    };
    Task {
        code: Code::Sql(Query::parse(b"SELECT count(*) FROM s").expect("text")),
        arguments: String::new(),
        limits: Limits {
            fuel: 0,
            memory_bytes: 1 << 20,
            seconds: 3,
            output_bytes: 10,
        },
        source: Source::new("s".into(), vec![column]).expect("good"),
        columns: vec![0],
        seed: [0; 32],
        keep_log: false,
    }
}

fn records(count: usize) -> impl Iterator<Item = Zeroizing<Vec<u8>>> {
    std::iter::repeat_n(b"1\n", count).map(|line| Zeroizing::new(line.to_vec()))
}

fn tell_all(grouping: Grouping) -> Result<Vec<bool>, Failure> {
    Ok(vec![true; grouping.groups.len()])
}

/// Runs the task over so many records; every group may be told. It must not take much longer than the task's seconds.
fn run(sandbox: &Sandbox, count: usize) -> Result<Run, Failure> {
    let began = Instant::now();
    let ran = sandbox.try_query(&task(), records(count), tell_all);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(12), "{took:?}");
    ran
}

fn broke_the_protocol(ran: &Result<Run, Failure>) -> bool {
    matches!(ran, Err(Failure::Operator(Fault::Protocol(_))))
}

fn is_late(ran: &Result<Run, Failure>) -> bool {
    matches!(ran, Err(Failure::Program(stop)) if stop.trap == Trap::Deadline)
}

#[test]
fn a_worker_that_follows_the_protocol_is_believed_however_long_the_answer_takes() {
    let folder = tempfile::tempdir().expect("a folder");
    let grouped = [groups(&[&[0, 2], &[1]]), report(3)].concat();
    let told = [frame(b'O', b"[]\n"), report(3)].concat();
    let read = 3 * RECORD_BYTES + HEADER_BYTES;
    let script = format!(
        "take {read}\nsay grouped\ntake {}\nsay told",
        HEADER_BYTES + 1
    );
    let sandbox = sandbox(
        folder.path(),
        &[("grouped", grouped), ("told", told)],
        &script,
    );
    let slow = |grouping: Grouping| {
        assert_eq!((grouping.readable, grouping.groups.len()), (3, 2));
        std::thread::sleep(Duration::from_millis(4_500));
        tell_all(grouping)
    };
    let run = sandbox.try_query(&task(), records(3), slow).expect("a run");
    assert_eq!((run.output.as_slice(), run.accepted), (&b"[]\n"[..], 3));
}

#[test]
fn a_worker_that_dies_over_the_text_is_the_querys_doing() {
    let dying = |signal: &str| {
        let folder = tempfile::tempdir().expect("a folder");
        let shut = frame(b'L', LAYERS);
        let script = format!("kill -{signal} $$");
        run(&sandbox(folder.path(), &[("run", shut)], &script), 0)
    };
    let trap = |ran: Result<Run, Failure>| match ran {
        Err(Failure::Program(stop)) => stop.trap,
        other => panic!("{other:?}"),
    };
    let signal = libc::SIGSEGV;
    assert_eq!(trap(dying("SEGV")), Trap::Crashed { signal });
    assert_eq!(trap(dying("XCPU")), Trap::Deadline);
    // The machine's doing, as where memory is short.
    let killed = dying("KILL");
    assert!(
        matches!(killed, Err(Failure::Operator(Fault::Died(_)))),
        "{killed:?}"
    );
}

#[test]
fn a_worker_that_reads_nothing_ends_at_its_deadline() {
    let folder = tempfile::tempdir().expect("a folder");
    let grouped = [groups(&[&[0, 1, 2]]), report(3)].concat();
    let silent = sandbox(folder.path(), &[], "");
    assert!(is_late(&run(&silent, usize::MAX)));
    // It says that it is done before it has read what does not fit into a pipe.
    let early = sandbox(folder.path(), &[("grouped", grouped)], "say grouped");
    let ran = run(&early, usize::MAX);
    assert!(broke_the_protocol(&ran), "{ran:?}");
}

#[test]
fn a_worker_that_does_not_take_the_answer_ends_at_its_deadline() {
    let folder = tempfile::tempdir().expect("a folder");
    // So many groups that the answer does not fit into a pipe.
    let count = 600_000;
    let places: Vec<u32> = (0..count).collect();
    let alone: Vec<&[u32]> = places.chunks(1).collect();
    let grouped = [groups(&alone), report(count as usize)].concat();
    let read = count as usize * RECORD_BYTES + HEADER_BYTES;
    let script = format!("take {read}\nsay grouped");
    let deaf = sandbox(folder.path(), &[("grouped", grouped)], &script);
    let ran = run(&deaf, count as usize);
    assert!(is_late(&ran), "{ran:?}");
}

#[test]
fn a_worker_that_never_stops_talking_ends_at_its_deadline() {
    let folder = tempfile::tempdir().expect("a folder");
    let nothing = groups(&[]).into_iter().chain(frame(b'M', b"")).collect();
    let endless = "while :; do say nothing; done";
    let ran = run(&sandbox(folder.path(), &[("nothing", nothing)], endless), 3);
    assert!(is_late(&ran), "{ran:?}");
}

#[test]
fn groups_that_no_records_make_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let read = 3 * RECORD_BYTES + HEADER_BYTES;
    let script = format!("take {read}\nsay grouped");
    let many: Vec<&[u32]> = vec![&[]; 1 << 20];
    for (what, bad) in [
        ("a group of nobody", [groups(&[&[0], &[]]), report(3)]),
        ("a million of nobody", [groups(&many), report(3)]),
        (
            "more than were handed over",
            [groups(&[&[0, 1, 2, 3]]), report(4)],
        ),
        (
            "more than were readable",
            [groups(&[&[0, 1, 2]]), report(2)],
        ),
        (
            "as many, one twice",
            [groups(&[&[0, 1], &[1, 2]]), report(3)],
        ),
        ("cut off", [groups(&[&[0, 1]])[..13].to_vec(), report(3)]),
    ] {
        let sandbox = sandbox(folder.path(), &[("grouped", bad.concat())], &script);
        let ran = run(&sandbox, 3);
        assert!(broke_the_protocol(&ran), "{what}: {ran:?}");
    }
}

#[test]
fn the_engine_is_asked_for_once_and_behind_the_jail() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("started");
    let started = || fs::read_to_string(&path).expect("a file");
    let first = sandbox(folder.path(), &[], "");
    for _ in 0..3 {
        assert_eq!(first.sql_engine().expect("a name"), "shell/1");
    }
    assert_eq!(started(), "engine\n");
    // Another file in its place is another worker.
    sandbox(folder.path(), &[("engine", frame(b'Y', b""))], "");
    assert!(matches!(first.sql_engine(), Err(Fault::Protocol(_))));
    assert_eq!(started(), "engine\nengine\n");
    let strict = Sandbox::new(folder.path().join("collective"), vec![Layer::Seccomp], None);
    sandbox(folder.path(), &[], "");
    assert!(matches!(
        strict.sql_engine(),
        Err(Fault::MissingLayer { .. })
    ));
}
