//! People contribute exports of their chats; a program counts conversations; of equal contents the first alone is paid, and
//! everybody works the same out. By the binary alone.

use crate::bombs;
use std::time::Instant;

use crate::by_hand::bare::{Bare, manifest, text_of};
use crate::by_hand::collective::{Collective, Host};
use crate::by_hand::{PATIENCE, Session, refusal};
use crate::export::{Item, SECRET, SOURCE, conversations, files, pack, repacked};
use collective::approval::Program;
use collective::source::Source;
use collective_node::chain::Deployment;
use collective_node::intake::MAX_UPLOAD_BYTES;
use serde_json::Value;

/// Both windows, of dispute and of challenge, are a day.
const WINDOW: &str = "86460";

/// A program that writes how many rows there are.
fn count() -> Vec<u8> {
    bombs::program(
        "",
        "(local $n i32) (local $at i32) (local $end i32)
        (block $done (loop $chunks
            (call $next_chunk (i32.const 32768) (i32.const 64))
            (br_if $done (i32.eqz (i32.load8_u (i32.const 64))))
            (local.set $at (i32.load (i32.const 68)))
            (local.set $end (i32.add (local.get $at) (i32.load (i32.const 72))))
            (loop $bytes
                (local.set $n (i32.add (local.get $n)
                    (i32.eq (i32.load8_u (local.get $at)) (i32.const 10))))
                (local.set $at (i32.add (local.get $at) (i32.const 1)))
                (br_if $bytes (i32.lt_u (local.get $at) (local.get $end))))
            (br $chunks)))
        (local.set $at (i32.const 96))
        (loop $digits
            (local.set $at (i32.sub (local.get $at) (i32.const 1)))
            (i32.store8 (local.get $at)
                (i32.add (i32.const 48) (i32.rem_u (local.get $n) (i32.const 10))))
            (local.set $n (i32.div_u (local.get $n) (i32.const 10)))
            (br_if $digits (local.get $n)))
        (call $write (local.get $at) (i32.sub (i32.const 96) (local.get $at)))
        (i32.const 0)",
    )
}

/// The members accept a source of exports, and a program that counts what is in them.
fn accept(collective: &Collective) {
    let (bare, session) = (&collective.bare, &collective.bare.session);
    let chats = bare.write("chatgpt.json", SOURCE.as_bytes());
    let (charter, people) = (session.path("charter-2.json"), session.path("people.txt"));
    let survey = session.path("survey.json");
    session.json(&format!(
        "charter new {charter} --source {survey} --source {chats} --admit {people}"
    ));
    let deployment = std::fs::read(session.told("deployment")).expect("a deployment");
    let deployment: Deployment = serde_json::from_slice(&deployment).expect("a deployment");
    let made = session.json(&format!(
        "key new identity {}",
        session.path("counts.identity")
    ));
    let source: Source = serde_json::from_str(SOURCE).expect("a declaration");
    let program = count();
    let mut counts = manifest(&deployment, text_of(&made, "recipient"));
    counts.program = Program::component(&program);
    counts.arguments = String::new();
    counts.dataset.source = source.name.clone();
    counts.dataset.declaration = source.digest();
    counts.dataset.columns = ["mapping", "title"].map(str::to_owned).to_vec();
    counts.payment.distinct = true;
    let counts = serde_json::to_vec_pretty(&counts).expect("JSON");
    let counts = bare.write("counts.json", &counts);
    let program = bare.write("count.wasm", &program);
    bare.decide(
        &format!("--charter {charter} --manifest {counts} --description Count-chats."),
        &format!("--program {program}"),
    );
}

fn contribute(collective: &Collective, name: &str, what: &str) -> String {
    let (bare, session) = (&collective.bare, &collective.bare.session);
    let key = session.key(name);
    let line =
        format!("contribute {what} --source chatgpt --purposes statistics --nonce 1 --key {key}");
    let leaf = bare.patiently(&line, b"", "leaf");
    let state = session.json(&format!("contributions {leaf} --wait"));
    assert_eq!(state["state"], "batched");
    leaf
}

/// What is in the export is shown before it is sealed, and an export that means harm is not.
fn look(session: &Session, export: &str, hostile: &str) {
    let key = session.key("ann");
    let line = |export: &str| {
        format!(
            "contribute --record {export} --preview --source chatgpt --purposes statistics --nonce 1 --key {key}"
        )
    };
    let told = session.run(&line(export));
    let words = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(told.status.success(), "{words}");
    for part in [
        "40 documents",
        "mapping (40)",
        "stays here: chat.html, message_feedback.json, user.json",
    ] {
        assert!(words.contains(part), "{words}");
    }
    assert!(!words.contains(SECRET));
    let shown = session.json(&line(export));
    assert_eq!(shown["export"]["documents"], 40);
    assert_eq!(
        shown["export"]["members"][1],
        serde_json::json!(["create_time", 40])
    );
    refusal(session.run(&line(hostile)), "a link", "is a link");
    refusal(
        session.run(&line("-")),
        "standard input",
        "give it as a file",
    );
    let survey = line(export).replace("chatgpt", "survey");
    refusal(session.run(&survey), "no export", "there is a preview");
}

#[test]
fn of_equal_exports_the_first_earns() {
    let collective = Collective::found(Bare::start(), &Host::here(), "--accept-unproven");
    accept(&collective);
    let (bare, session) = (&collective.bare, &collective.bare.session);
    // More than one request takes: it goes in parts.
    const MANY: usize = 4_000;
    let (one, other) = (conversations(11, 40), conversations(12, MANY));
    assert!(serde_json::json!(other).to_string().len() > 3 * MAX_UPLOAD_BYTES / 2);
    let ann = bare.write("ann.zip", &pack(&files(&one)));
    let ben = bare.write("ben.zip", &pack(&files(&other)));
    let cleo = bare.write("cleo.zip", &repacked(&one));
    let link = Item::new("conversations.json", b"/etc/passwd").with(|it| it.mode = 0o120_777);
    let link = bare.write("link.zip", &pack(&[link]));

    contribute(&collective, "ann", &format!("--record {ann}"));
    look(session, &ann, &link);
    contribute(&collective, "ben", &format!("--record {ben}"));
    contribute(&collective, "cleo", &format!("--record {cleo}"));
    // Sealed by hand, past all that the binary looks at: two lines of it are documents.
    let deep = format!("{{\"title\":{}{}}}\n", "[".repeat(999), "]".repeat(999));
    let lines = [
        "{\"title\":1}\n{\"title\": 2}\n{\"email\":\"x\",\"title\":3}\n",
        &deep,
        "{\"title\":4,\"title\":4}\nno JSON\n{\"title\":5}\n{\"title\":6}",
    ];
    let recipient = recipient(session);
    let sealed = collective::seal::seal(&[recipient], lines.concat().as_bytes(), &mut rand::rng());
    let sealed = bare.write("dan.age", &sealed.expect("a sealed file"));
    contribute(&collective, "dan", &format!("--sealed {sealed}"));

    collective.anchored(4);
    let ran = run(session, 40 + MANY + 41 + 2);
    paid(&collective, ran);
}

/// The collective's key, as any age client takes it.
fn recipient(session: &Session) -> collective::seal::Recipient {
    let url = session.told("node").parse().expect("a URL");
    let client = collective_node::client::Client::new(url).expect("a client");
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let told = runtime.block_on(client.collective()).expect("an answer");
    told.recipient.parse().expect("a recipient")
}

/// Has the rows counted, and says which job that was.
fn run(session: &Session, rows: usize) -> Value {
    let (manifest, payer) = (session.path("counts.json"), session.key("payer"));
    let asked = session.json(&format!("job request --manifest {manifest} --key {payer}"));
    let job = &asked["job"];
    let ran = session.json(&format!("job show {job} --wait"));
    assert_eq!(ran["state"], "completed", "{ran}");
    let identity = session.path("counts.identity");
    let output = session.run(&format!("job output {job} --identity {identity}"));
    assert_eq!(String::from_utf8_lossy(&output.stdout), rows.to_string());
    let verdict = session.json(&format!("verify receipt {job}"));
    let findings = verdict["findings"].as_array().expect("findings");
    assert!(findings.iter().all(|it| it["holds"] == true), "{verdict}");
    let told = findings.iter().find(|it| {
        let what = it["what"].as_str().expect("words");
        what.contains("the same content")
    });
    assert_eq!(told.expect("a finding")["seen"], "1 of 4");
    ran
}

/// After settlement three of four have a third each, and whoever looks works it out; without what the receipt says of equal contents
/// nobody can, and says so.
fn paid(collective: &Collective, ran: Value) {
    let session = &collective.bare.session;
    let began = Instant::now();
    let verdict = loop {
        session.pass(WINDOW);
        std::thread::sleep(std::time::Duration::from_millis(500));
        let output = session.run("rewards recompute --json");
        if output.status.success() {
            let verdict: Value = serde_json::from_slice(&output.stdout).expect("JSON");
            let first = verdict["findings"][0]["what"].as_str();
            if first.is_some_and(|what| what.contains("root pays")) {
                break verdict;
            }
        }
        let said =
            [output.stdout, output.stderr].map(|it| String::from_utf8_lossy(&it).into_owned());
        assert!(began.elapsed() < PATIENCE, "no root was proposed: {said:?}");
    };
    let findings = verdict["findings"].as_array().expect("findings");
    assert!(findings.iter().all(|it| it["holds"] == true), "{verdict}");
    let said = findings.last().expect("a finding")["seen"].to_string();
    assert!(said.contains("1 of 4 earn nothing"), "{verdict}");
    session.pass(WINDOW);
    // 80 % of 10 dollars in millionths among three, and what is left over is the treasury's.
    for name in ["ann", "ben", "dan"] {
        let earned = session.json(&format!("rewards show {}", collective.bare.address(name)));
        assert_eq!(earned["cumulative"], "2666666", "{name}");
    }
    let cleo = format!("rewards show {}", collective.bare.address("cleo"));
    session.refused(&cleo, "(404");
    assert!(
        findings[0]["seen"].to_string().contains(" pays 8000000"),
        "{verdict}"
    );

    let description = ran["record"]["sandbox"].as_str().expect("a blob");
    let path = format!("node/blobs/{}/{}", &description[2..4], &description[4..]);
    let blob = session.path(&path);
    let bytes = std::fs::read(&blob).expect("kept");
    let told: Value = serde_json::from_slice(&bytes).expect("JSON");
    assert_eq!(told["duplicates"].as_array().expect("places").len(), 1);
    std::fs::remove_file(&blob).expect("removed");
    let output = session.run("rewards recompute --json");
    assert_eq!(output.status.code(), Some(1));
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        words.contains("what its receipt says of equal contents is not here"),
        "{words}"
    );
}
