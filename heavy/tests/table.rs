//! Contributed bytes become tables, whatever the bytes are.

mod support;

use std::process::{Command, Stdio};

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;
use serde_json::{Value, json};
use support::{Job, error, fed, feed, has};

fn poll() -> Value {
    let integer = json!({"integer": {"min": 0, "max": 1_000_000}});
    json!({"name": "poll", "columns": [
        {"name": "age", "type": integer},
        {"name": "side", "type": {"choice": ["left", "right"]}},
        {"name": "secret", "type": integer},
    ]})
}

fn chats() -> Value {
    let column = |name: &str| json!({"name": name, "type": "json"});
    json!({"name": "chats", "archive": {"file": "conversations.json"},
        "columns": [column("title"), column("mapping"), column("id")]})
}

fn rows(job: &Job, name: &str) -> Vec<String> {
    let file = std::fs::File::open(job.folder("input").join(name)).expect("a table");
    let reader = SerializedFileReader::new(file).expect("Parquet");
    reader
        .get_row_iter(None)
        .expect("rows")
        .map(|row| row.expect("a row").to_string())
        .collect()
}

#[test]
fn records_become_typed_columns_in_the_selectors_order() {
    let job = Job::new(
        &poll(),
        "side,age",
        &[b"41,left,777001\n".into(), b"7,right,777002\n".into()],
    );
    let file = std::fs::File::open(job.folder("input/records.parquet")).expect("a table");
    let reader = SerializedFileReader::new(file).expect("Parquet");
    let schema = format!("{:?}", reader.metadata().file_metadata().schema());
    assert!(
        schema.contains("INT64") && schema.contains("String"),
        "{schema}"
    );
    let found: Vec<(String, i64)> = reader
        .get_row_iter(None)
        .expect("rows")
        .map(|row| row.expect("a row"))
        .map(|row| {
            (
                row.get_string(0).expect("a word").clone(),
                row.get_long(1).expect("an integer"),
            )
        })
        .collect();
    assert_eq!(found, [("left".to_owned(), 41), ("right".to_owned(), 7)]);
    let input = job.bytes("input/input.json");
    let canonical = serde_json::to_string(&json!({
        "columns": ["side", "age"], "contributions": 2, "declaration": poll(), "leftOut": 0, "purpose": "training", "rows": 2,
    }));
    assert_eq!(String::from_utf8_lossy(&input), canonical.expect("JSON"));
    for name in ["records.parquet", "input.json"] {
        assert!(!has(&job.folder("input").join(name), b"777001"), "{name}");
        assert!(
            !has(&job.folder("input").join(name), &777_001_i64.to_le_bytes()),
            "{name}"
        );
    }
}

#[test]
fn what_is_no_record_is_counted_and_stands_nowhere() {
    let long = vec![b'1'; 70_000];
    let bad: [&[u8]; 9] = [
        b"",
        b"\n",
        b"41,left\n",
        b"041,left,1\n",
        b"41,up,1\n",
        b"41,left,1",
        b"41,left,1\n2,left,1\n",
        b"\xff,left,1\n",
        &long,
    ];
    let mut contributions: Vec<Vec<u8>> = bad.iter().map(|it| it.to_vec()).collect();
    contributions.insert(4, b"41,left,1\n".into());
    let job = Job::new(&poll(), "age", &contributions);
    assert_eq!(rows(&job, "records.parquet"), ["{age: 41}"]);
    let input = job.json("input/input.json");
    assert_eq!(
        (&input["contributions"], &input["rows"], &input["leftOut"]),
        (&json!(10), &json!(1), &json!(9))
    );
}

#[test]
fn documents_keep_the_selected_members_and_say_which_came_together() {
    let first = b"{\"id\":\"a-secret\",\"title\":\"One\"}\n{\"id\":1,\"mapping\":{\"x\":[1,2]},\"title\":null}\n";
    let second = b"{\"id\":2}\n{\"title\": \"not canonical\"}\n{\"title\":\"x\",\"who\":1}\n{\"title\":\"Two\"}\n{\"title\":\"cut";
    let job = Job::new(
        &chats(),
        "title,mapping",
        &[first.to_vec(), second.to_vec()],
    );
    let lines = job.bytes("input/documents.jsonl");
    let expected =
        "{\"title\":\"One\"}\n{\"mapping\":{\"x\":[1,2]},\"title\":null}\n{\"title\":\"Two\"}\n";
    assert_eq!(String::from_utf8_lossy(&lines), expected);
    let expected = [
        r##"{#contribution: 0, title: ""One"", mapping: null}"##,
        r##"{#contribution: 0, title: "null", mapping: "{"x":[1,2]}"}"##,
        r##"{#contribution: 1, title: ""Two"", mapping: null}"##,
    ];
    assert_eq!(rows(&job, "documents.parquet"), expected);
    let input = job.json("input/input.json");
    assert_eq!((&input["rows"], &input["leftOut"]), (&json!(3), &json!(3)));
    for name in ["documents.jsonl", "documents.parquet"] {
        assert!(!has(&job.folder("input").join(name), b"a-secret"), "{name}");
    }
}

#[test]
fn a_feeder_that_breaks_off_makes_no_input() {
    let whole = fed(&[b"41,left,1\n".into()]);
    for cut in 0..whole.len() {
        let job = Job::new(&poll(), "age", &[]);
        let output = job.table("age", &whole[..cut]);
        assert_eq!(output.status.code(), Some(2), "{cut}");
        assert!(
            error(&output).contains("the feeder broke off"),
            "{}",
            error(&output)
        );
        assert!(!job.folder("input/input.json").exists(), "{cut}");
    }
}

#[test]
fn a_column_that_is_not_declared_or_a_declaration_that_is_none_is_refused() {
    let output = Job::empty(&poll()).table("age,shoes", &fed(&[]));
    assert_eq!(output.status.code(), Some(2));
    assert!(
        error(&output).contains("no column 'shoes'"),
        "{}",
        error(&output)
    );
    let output = Job::empty(&json!({"name": "poll"})).table("age", &fed(&[]));
    assert_eq!(output.status.code(), Some(2));
    assert!(
        error(&output).contains("declaration.json"),
        "{}",
        error(&output)
    );
}

/// 150 contributions of a megabyte, and 600,000 records, with 128 MiB of address space, the binary included.
#[test]
fn memory_does_not_grow_with_the_contributions() {
    const KIBIBYTES: u32 = 128 << 10;
    let document = format!("{{\"title\":\"{}\"}}\n", "long ".repeat(200_000)).into_bytes();
    let records: Vec<Vec<u8>> = (0..600_000)
        .map(|n: u32| format!("{n},left,{n}\n").into_bytes())
        .collect();
    for (declaration, columns, contributions) in [
        (chats(), "title", vec![document; 150]),
        (poll(), "age,side,secret", records),
    ] {
        let job = Job::empty(&declaration);
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(format!("ulimit -v {KIBIBYTES}; exec \"$0\" \"$@\""));
        command
            .arg(env!("CARGO_BIN_EXE_collective-heavy"))
            .arg("table")
            .arg("--declaration");
        command.arg(job.folder("declaration.json")).args([
            "--columns",
            columns,
            "--purpose",
            "transfer",
            "--output",
        ]);
        let output = feed(
            command.arg(job.folder("input")).stdout(Stdio::null()),
            &fed(&contributions),
        );
        assert!(output.status.success(), "{}", error(&output));
        assert_eq!(job.json("input/input.json")["rows"], contributions.len());
    }
}
