//! Exports of chats as their publisher makes them, generated, and archives that nobody honest makes.

use miniz_oxide::deflate::compress_to_vec;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use serde_json::{Value, json};

/// What is declared of them.
pub const SOURCE: &str = r#"{"name": "chatgpt", "archive": {"file": "conversations.json"}, "columns": [
    {"name": "title", "type": "json"}, {"name": "create_time", "type": "json"}, {"name": "mapping", "type": "json"}]}"#;

/// A name that must not leave the machine: it stands in every export, and in no declared member.
pub const SECRET: &str = "ada@example.org";

/// So many conversations, of a seed.
pub fn conversations(seed: u64, count: usize) -> Vec<Value> {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut word = move || format!("{:08x}", rng.next_u32());
    let mut conversation = |place: usize| {
        let (root, asked, said) = (word(), word(), word());
        let message = |id: &str, role: &str, text: String| {
            json!({"id": id, "author": {"role": role, "metadata": {}}, "create_time": 1716906914.657421 + place as f64,
                "content": {"content_type": "text", "parts": [text]}, "weight": 1.0, "end_turn": null})
        };
        json!({
            "title": format!("\u{00dc}ber {}", word()),
            "create_time": 1716906914.657421 + place as f64,
            "update_time": 1716906941.70957,
            "mapping": {
                &root: {"id": root, "message": null, "parent": null, "children": [asked]},
                &asked: {"id": asked, "message": message(&asked, "user", word()), "parent": root, "children": [said]},
                &said: {"id": said, "message": message(&said, "assistant", word()), "parent": asked, "children": []},
            },
            "moderation_results": [],
            "conversation_id": word(),
            "safe_urls": [SECRET],
        })
    };
    (0..count).map(&mut conversation).collect()
}

/// What the publisher packs beside them.
pub fn files(conversations: &[Value]) -> Vec<Item> {
    let user = json!({"id": "user-1", "email": SECRET, "phone_number": "+10000000000"});
    vec![
        Item::new("user.json", user.to_string().as_bytes()),
        Item::new(
            "conversations.json",
            json!(conversations).to_string().as_bytes(),
        ),
        Item::new("message_feedback.json", b"[]"),
        Item::new("chat.html", format!("<html>{SECRET}</html>").as_bytes()),
    ]
}

/// The same contents as somebody packs them again on a Mac: in a folder, with junk, in another order and another layout.
pub fn repacked(conversations: &[Value]) -> Vec<u8> {
    let mut turned = conversations.to_vec();
    turned.reverse();
    turned.push(turned[0].clone());
    let text = serde_json::to_string_pretty(&turned).expect("JSON");
    // A Mac writes checksum and length behind the bytes.
    let deferred = |it: &mut Item| {
        it.flags = 8;
        it.told_again = [0, 0, it.told[2]];
    };
    let items = [
        Item::stored("mine/", b""),
        Item::new("__MACOSX/._mine", b"junk"),
        Item::new("mine/.DS_Store", b"junk"),
        Item::new("mine/conversations.json", text.as_bytes()).with(deferred),
        Item::new("__MACOSX/mine/._conversations.json", b"junk"),
        Item::new("mine/user.json", b"{}"),
    ];
    pack(&items)
}

/// One file of an archive, and all that the archive says of it.
#[derive(Clone)]
pub struct Item {
    pub name: Vec<u8>,
    pub packed: Vec<u8>,
    pub method: u16,
    pub flags: u16,
    /// Checksum, bytes packed and bytes unpacked, as the directory has them.
    pub told: [u32; 3],
    /// The same in the file's own header.
    pub told_again: [u32; 3],
    pub name_again: Vec<u8>,
    pub mode: u32,
    /// Where the directory says that it is, if that is not where it is.
    pub offset: Option<u32>,
}

impl Item {
    pub fn new(name: &str, bytes: &[u8]) -> Self {
        let packed = compress_to_vec(bytes, 6);
        let told = [crc(bytes), packed.len() as u32, bytes.len() as u32];
        Self {
            name: name.into(),
            packed,
            method: 8,
            flags: 0,
            told,
            told_again: told,
            name_again: name.into(),
            mode: 0o100_644,
            offset: None,
        }
    }

    /// As it is.
    pub fn stored(name: &str, bytes: &[u8]) -> Self {
        let told = [crc(bytes), bytes.len() as u32, bytes.len() as u32];
        Self {
            packed: bytes.to_vec(),
            method: 0,
            told,
            told_again: told,
            ..Self::new(name, bytes)
        }
    }

    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

pub fn pack(items: &[Item]) -> Vec<u8> {
    let (mut all, mut directory) = (Vec::new(), Vec::new());
    for item in items {
        let at = item.offset.unwrap_or(all.len() as u32);
        let fields = |told: [u32; 3]| {
            let mut bytes = [item.flags, item.method, 0, 0]
                .map(u16::to_le_bytes)
                .concat();
            bytes.extend(told.map(u32::to_le_bytes).concat());
            bytes
        };
        let length = |name: &[u8]| (name.len() as u16).to_le_bytes();
        all.extend(b"PK\x03\x04\x14\0");
        all.extend(fields(item.told_again));
        all.extend(length(&item.name_again));
        all.extend([0, 0]);
        all.extend(&item.name_again);
        all.extend(&item.packed);
        directory.extend(b"PK\x01\x02\x14\x03\x14\0");
        directory.extend(fields(item.told));
        directory.extend(length(&item.name));
        directory.extend([0; 8]);
        directory.extend((item.mode << 16).to_le_bytes());
        directory.extend(at.to_le_bytes());
        directory.extend(&item.name);
    }
    let (count, start) = ((items.len() as u16).to_le_bytes(), all.len() as u32);
    let size = (directory.len() as u32).to_le_bytes();
    all.extend(directory);
    all.extend(b"PK\x05\x06\0\0\0\0");
    all.extend([count, count].concat());
    all.extend(size);
    all.extend(start.to_le_bytes());
    all.extend([0, 0]);
    all
}

/// CRC-32, bit by bit.
pub fn crc(bytes: &[u8]) -> u32 {
    let mut state = u32::MAX;
    for byte in bytes {
        state ^= u32::from(*byte);
        for _ in 0..8 {
            state = (state >> 1) ^ (0xedb8_8320 & (state & 1).wrapping_neg());
        }
    }
    !state
}
