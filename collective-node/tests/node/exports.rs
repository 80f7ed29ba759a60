//! Exports are opened in the sandbox: what is declared comes out, and each way to mean harm is refused in its own words.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::export::{Item, SECRET, SOURCE, conversations, files, pack, repacked};
use collective::document::content_digest;
use collective::source::Source;
use collective_node::sandbox::{ExportRefusal, Sandbox, Summary, UnpackError};
use serde_json::json;

fn source() -> Source {
    serde_json::from_str(SOURCE).expect("a declaration")
}

/// A sandbox that requires no layer, so that the tests also run where the machine denies some.
fn sandbox() -> Sandbox {
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_collective"));
    Sandbox::new(binary, vec![], None)
}

fn unpacked(export: &[u8]) -> Result<(Vec<u8>, Summary), UnpackError> {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(export).expect("written");
    let unpacked = sandbox().unpack(&file, &source())?;
    Ok((unpacked.documents.to_vec(), unpacked.summary))
}

fn refusal(what: &str, export: &[u8]) -> ExportRefusal {
    match unpacked(export) {
        Err(UnpackError::Export(refusal)) => refusal,
        Err(error) => panic!("{what}: {error}"),
        Ok((_, summary)) => panic!("{what}: {summary:?}"),
    }
}

#[test]
fn what_is_declared_is_kept_and_all_else_stays() {
    let chats = conversations(1, 40);
    let (documents, summary) = unpacked(&pack(&files(&chats))).expect("an honest export");
    let text = String::from_utf8(documents.clone()).expect("UTF-8");
    assert!(!text.contains(SECRET) && !text.contains("conversation_id"));
    assert_eq!(text.lines().count(), 40);
    let first: serde_json::Value =
        serde_json::from_str(text.lines().next().expect("one")).expect("JSON");
    // Equal numbers have one spelling.
    let mapping = chats[0]["mapping"].to_string().replace(":1.0", ":1");
    assert_eq!(first["mapping"].to_string(), mapping);
    let members = ["title", "create_time", "mapping"].map(|name| (name.to_owned(), 40));
    let expected = Summary {
        documents: 40,
        bytes: documents.len() as u64,
        members: members.into(),
        left_out: ["chat.html", "message_feedback.json", "user.json"]
            .map(str::to_owned)
            .into(),
        left_out_count: 3,
    };
    assert_eq!(summary, expected);

    // The file alone, and the same contents packed again, are one content; one chat less is another.
    let (bare, _) = unpacked(json!(chats).to_string().as_bytes()).expect("the file alone");
    assert_eq!(bare, documents);
    let (again, _) = unpacked(&repacked(&chats)).expect("packed again");
    assert_ne!(again, documents);
    assert_eq!(content_digest(&again), content_digest(&documents));
    let (fewer, _) = unpacked(&pack(&files(&chats[1..]))).expect("one less");
    assert_ne!(content_digest(&fewer), content_digest(&documents));
    let stored = Item::stored("conversations.json", json!(chats).to_string().as_bytes());
    let (stored, _) = unpacked(&pack(&[stored])).expect("not packed");
    assert_eq!(stored, documents);
}

#[test]
fn real_exports_that_are_similar_have_one_content() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/chatgpt");
    if !folder.is_dir() {
        println!("skipped: {} is not here", folder.display());
        return;
    }
    let of = |name: &str| {
        let export = std::fs::read(folder.join(name)).expect("an export");
        let (documents, summary) = unpacked(&export).expect(name);
        let text = String::from_utf8(documents).expect("UTF-8");
        assert!(!text.contains("phone_number") && !text.contains("conversation_template_id"));
        (content_digest(text.as_bytes()), summary.documents)
    };
    let one = of("chatgpt_1_conversation.zip");
    assert_eq!(one, of("chatgpt_1_conversation_similar.zip"));
    assert_eq!(one.1, 1);
    let five = of("chatgpt_5_conversations.zip");
    assert!(five.1 == 5 && five.0 != one.0);
}

/// An export whose array is this.
fn array(text: &str) -> Vec<u8> {
    pack(&[Item::new("conversations.json", text.as_bytes())])
}

#[test]
fn whoever_means_harm_is_refused_in_words_of_its_own() {
    let chats = json!(conversations(2, 3)).to_string();
    let good = || Item::new("conversations.json", chats.as_bytes());
    let named = |name: &str| {
        good().with(|it| {
            it.name = name.into();
            it.name_again = name.into();
        })
    };
    let with = |change: &dyn Fn(&mut Item)| pack(&[good().with(|it| change(it))]);
    let whole = pack(&[good()]);
    let name = || "conversations.json".to_owned();
    let zeroes = format!("[{}{{\"title\":0}}]", " ".repeat(8 << 20));
    let many: Vec<_> = (0..20_001)
        .map(|n| Item::stored(&n.to_string(), b""))
        .collect();
    for (what, export, expected) in [
        ("nothing", vec![], ExportRefusal::NoArchive),
        ("a picture", b"\x89PNG".to_vec(), ExportRefusal::NoArray),
        (
            "cut off",
            whole[..whole.len() - 1].to_vec(),
            ExportRefusal::NoArchive,
        ),
        (
            "bytes before",
            [b"PK\0\0", &whole[..]].concat(),
            ExportRefusal::NoArchive,
        ),
        (
            "bytes after",
            [&whole[..], b"x"].concat(),
            ExportRefusal::NoArchive,
        ),
        (
            "ZIP64",
            with(&|it| it.told[2] = u32::MAX),
            ExportRefusal::Large,
        ),
        ("many files", pack(&many), ExportRefusal::TooManyFiles),
        (
            "a way out",
            pack(&[good(), named("a/../../x")]),
            ExportRefusal::Path("a/../../x".into()),
        ),
        (
            "from the root",
            pack(&[good(), named("/etc/x")]),
            ExportRefusal::Path("/etc/x".into()),
        ),
        (
            "of a drive",
            pack(&[good(), named("C:x")]),
            ExportRefusal::Path("C:x".into()),
        ),
        (
            "a backslash",
            pack(&[good(), named("a\\x")]),
            ExportRefusal::Path("a\\x".into()),
        ),
        (
            "twice",
            pack(&[good(), good()]),
            ExportRefusal::RepeatedName(name()),
        ),
        (
            "two of them",
            pack(&[good(), named("b/conversations.json")]),
            ExportRefusal::TwoFiles(name(), "b/conversations.json".into()),
        ),
        (
            "none of them",
            pack(&[named("user.json")]),
            ExportRefusal::NoFile(name()),
        ),
        (
            "junk alone",
            pack(&[named("__MACOSX/conversations.json")]),
            ExportRefusal::NoFile(name()),
        ),
        (
            "an archive in it",
            pack(&[named("export.zip")]),
            ExportRefusal::Nested(name(), "export.zip".into()),
        ),
        (
            "overlapping",
            pack(&[good(), named("b").with(|it| it.offset = Some(0))]),
            ExportRefusal::Overlap(name()),
        ),
        (
            "into the directory",
            with(&|it| it.told[1] += 1),
            ExportRefusal::Overlap(name()),
        ),
        (
            "a link",
            with(&|it| it.mode = 0o120_777),
            ExportRefusal::Link(name()),
        ),
        (
            "encrypted",
            with(&|it| it.flags = 1),
            ExportRefusal::Encrypted(name()),
        ),
        (
            "another method",
            with(&|it| it.method = 12),
            ExportRefusal::Method(name()),
        ),
        (
            "another name inside",
            with(&|it| it.name_again = b"conversations.jsoN".to_vec()),
            ExportRefusal::Lies(name()),
        ),
        (
            "another size inside",
            with(&|it| it.told_again[2] -= 1),
            ExportRefusal::Lies(name()),
        ),
        (
            "a larger size",
            with(&|it| {
                it.told[2] += 1;
                it.told_again[2] += 1;
            }),
            ExportRefusal::Lies(name()),
        ),
        (
            "a smaller size",
            with(&|it| {
                it.told[2] -= 1;
                it.told_again[2] -= 1;
            }),
            ExportRefusal::Lies(name()),
        ),
        (
            "another checksum",
            with(&|it| {
                it.told[0] ^= 1;
                it.told_again[0] ^= 1;
            }),
            ExportRefusal::Damaged(name()),
        ),
        (
            "not packed at all",
            with(&|it| it.packed[0] = 7),
            ExportRefusal::Damaged(name()),
        ),
        ("a bomb", array(&zeroes), ExportRefusal::Ratio(name())),
        (
            "a GiB",
            with(&|it| {
                it.told[2] = (1 << 30) + 1;
                it.told_again[2] = it.told[2];
            }),
            ExportRefusal::TooLarge(name()),
        ),
        ("another text", array("{}"), ExportRefusal::NoArray),
        ("numbers", array("[1]"), ExportRefusal::NoArray),
        (
            "a comma too many",
            array("[{\"title\":1},]"),
            ExportRefusal::NoArray,
        ),
        (
            "an end too early",
            array("[{\"title\":1}"),
            ExportRefusal::NoArray,
        ),
        (
            "something after it",
            array("[{\"title\":1}] []"),
            ExportRefusal::NoArray,
        ),
        ("nothing in it", array("[]"), ExportRefusal::Empty),
    ] {
        let refusal = refusal(what, &export);
        println!("{what}: {refusal}");
        assert_eq!(refusal, expected, "{what}");
    }
}

#[test]
fn an_object_that_is_no_document_is_named_by_its_place() {
    let deep = format!("{{\"title\":{}{}}}", "[".repeat(99), "]".repeat(99));
    let deepest = format!("{{\"title\":{}", "[".repeat(1 << 20));
    let long = format!("{{\"title\":\"{}\"}}", "ab".repeat(3 << 20));
    let endless = format!("{{\"title\":\"{}", "\u{fc}\u{e9}".repeat(5 << 20));
    for (what, object, words) in [
        ("too deep", &deep[..], "more than 64 deep"),
        ("a million deep", &deepest, "no whole JSON array"),
        ("too long", &long, "longer than"),
        ("a string without end", &endless, "longer than"),
        ("no UTF-8", "{\"title\":\"\u{1}\"}", "no JSON text"),
        (
            "half a character",
            "{\"title\":\"\\ud800\"}",
            "no JSON text",
        ),
        (
            "a name twice",
            "{\"title\":1,\"title\":2}",
            "twice in one object",
        ),
        (
            "a large number",
            "{\"title\":9007199254740993}",
            "than a double holds",
        ),
        ("nothing declared", "{\"email\":1}", "none of the declared"),
        ("brackets crossed", "{\"title\":[}]", "no JSON text"),
    ] {
        // As it is: repeated bytes would be refused as a bomb.
        let text = format!("[{{\"title\":1}},{object}]");
        let export = pack(&[Item::stored("conversations.json", text.as_bytes())]);
        let refusal = refusal(what, &export).to_string();
        assert!(refusal.contains(words), "{what}: {refusal}");
        assert!(
            refusal.starts_with("object 1 ") || what == "a million deep",
            "{refusal}"
        );
    }
    let invalid = Item::stored("conversations.json", b"[{\"title\":\"\xff\"}]");
    let refusal = refusal("no UTF-8", &pack(&[invalid])).to_string();
    assert_eq!(refusal, "object 0 (from 0): it is not UTF-8");
}

#[test]
fn a_large_export_takes_little_memory_and_one_that_is_too_large_is_refused() {
    let mut chats = conversations(3, 20_000);
    for (place, chat) in chats.iter_mut().enumerate() {
        chat["title"] = json!(format!("{place} {}", "x".repeat(1_500)));
    }
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(&pack(&files(&chats))).expect("written");
    let unpacked = sandbox()
        .unpack(&file, &source())
        .expect("an honest export");
    assert_eq!(unpacked.summary.documents, 20_000);
    assert!(
        unpacked.documents.len() > 40 << 20,
        "{}",
        unpacked.documents.len()
    );
    println!("the reader took {:?} bytes", unpacked.resident_bytes);
    assert!(unpacked.resident_bytes.is_none_or(|bytes| bytes < 64 << 20));
    chats.extend(chats.clone());
    let refusal = refusal("too much", json!(chats).to_string().as_bytes());
    assert_eq!(refusal, ExportRefusal::TooMuch);
}

#[test]
fn the_longest_document_of_the_shortest_members_is_within_the_memory() {
    let object = |count: usize| {
        let members = (0..count).map(|place| format!("\"{place:x}\":0"));
        format!(
            "[{{\"title\":{{{}}}}}]",
            members.collect::<Vec<_>>().join(",")
        )
    };
    let (documents, _) = unpacked(object(410_000).as_bytes()).expect("a document");
    assert!(
        (3_900_000..4 << 20).contains(&documents.len()),
        "{}",
        documents.len()
    );
    let refusal = refusal("longer", object(1_500_000).as_bytes()).to_string();
    assert!(refusal.contains("longer than 4194304 bytes"), "{refusal}");
}
