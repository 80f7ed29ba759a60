//! Exports of chats: generated ones, of a language that can be learnt, and those in `shared/data` beside the clone.

use std::path::PathBuf;

use collective::document::Document;
use collective::source::Source;
use miniz_oxide::inflate::decompress_to_vec;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use serde_json::{Value, json};

/// What is declared of them.
pub fn source() -> Value {
    let column = |name: &str| json!({"name": name, "type": "json"});
    json!({"name": "chatgpt", "archive": {"file": "conversations.json"}, "columns": [column("title"), column("mapping")]})
}

/// The declared members of conversations, as a contribution.
pub fn contribution(conversations: &[Value]) -> Vec<u8> {
    let source: Source = serde_json::from_value(source()).expect("a declaration");
    let keep =
        |one: &Value| Document::keep(&source, one.to_string().as_bytes()).expect("a document");
    conversations
        .iter()
        .flat_map(|one| keep(one).line())
        .collect()
}

/// Who does what and when, in the language of generated chats.
pub const WORDS: [&str; 4] = [
    "the baker, my neighbour, a sailor, the old judge, her sister",
    "counts, paints, forgets, repairs, carries",
    "seven boats, the garden wall, a letter, two clocks, the harvest",
    "in the morning, before the storm, every winter, at noon",
];

/// So many contributions of three conversations each, of a seed: sentences of a small grammar.
pub fn generated(seed: u64, count: usize) -> Vec<Vec<u8>> {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut of = |words: &[&str]| words[rng.next_u32() as usize % words.len()].to_owned();
    let mut sentence = || {
        let parts = WORDS.map(|parts| of(&parts.split(", ").collect::<Vec<_>>()));
        parts.join(" ") + "."
    };
    let mut conversation = |number: usize| {
        let said: String = (0..4).map(|_| sentence() + " ").collect();
        conversation(&number.to_string(), &sentence(), &said)
    };
    (0..count)
        .map(|place| {
            contribution(&[
                conversation(place * 3),
                conversation(place * 3 + 1),
                conversation(place * 3 + 2),
            ])
        })
        .collect()
}

/// A conversation as its publisher keeps it: a tree, whose ids are in no order.
pub fn conversation(id: &str, asked: &str, said: &str) -> Value {
    let message = |role: &str, text: &str| json!({"author": {"role": role}, "content": {"content_type": "text", "parts": [text]}});
    let (root, question, answer) = (format!("m{id}"), format!("z{id}"), format!("a{id}"));
    json!({"title": format!("number {id}"), "mapping": {
        &root: {"message": null, "parent": null, "children": [question]},
        &question: {"message": message("user", asked), "parent": root, "children": [answer]},
        &answer: {"message": message("assistant", said), "parent": question, "children": []},
    }})
}

/// The contributions that the archives in `shared/data` make, where they are there.
pub fn real() -> Option<Vec<Vec<u8>>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/chatgpt");
    let names = [
        "chatgpt_1_conversation.zip",
        "chatgpt_1_conversation_similar.zip",
        "chatgpt_5_conversations.zip",
    ];
    let read = |name: &&str| {
        let archive = std::fs::read(folder.join(name)).ok()?;
        let text = entry(&archive, "conversations.json");
        let conversations: Vec<Value> = serde_json::from_slice(&text).expect("an array");
        Some(contribution(&conversations))
    };
    names.iter().map(read).collect()
}

/// A file of an archive that is known to be good, by the archive's directory (APPNOTE 4.3.12).
fn entry(archive: &[u8], file: &str) -> Vec<u8> {
    let short = |at: usize| usize::from(u16::from_le_bytes([archive[at], archive[at + 1]]));
    let long =
        |at: usize| u32::from_le_bytes(archive[at..at + 4].try_into().expect("four")) as usize;
    let end = (0..archive.len() - 4)
        .rev()
        .find(|at| archive[*at..].starts_with(b"PK\x05\x06"))
        .expect("an end");
    let mut at = long(end + 16);
    loop {
        let (name, extra, comment) = (short(at + 28), short(at + 30), short(at + 32));
        let called = std::str::from_utf8(&archive[at + 46..at + 46 + name]).expect("a name");
        if called.rsplit('/').next() == Some(file) {
            let (method, packed, header) = (short(at + 10), long(at + 20), long(at + 42));
            let data = header + 30 + short(header + 26) + short(header + 28);
            let data = &archive[data..data + packed];
            return if method == 0 {
                data.to_vec()
            } else {
                decompress_to_vec(data).expect("deflated")
            };
        }
        at += 46 + name + extra + comment;
    }
}
