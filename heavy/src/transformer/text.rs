//! Documents become text: what is said in them, each text once, on one side of the line between training and held-out.

use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use collective::id::sha256;
use collective::limits::MAX_DOCUMENT_BYTES;
use serde_json::Value;

use crate::failure::Failure;
use crate::input::{CONTRIBUTION, DOCUMENTS, Input, LINES};
use crate::read::Table;
use crate::recipe::{Text, Transformer, Unit};
use crate::transformer::random;

/// The token before a document and after the last: no byte is it.
pub const END: u16 = 256;
/// Tokens: the bytes, and [`END`].
pub const VOCABULARY: usize = 257;
/// Bytes of text: all of it is in memory, two bytes for each.
const MAX_TEXT_BYTES: usize = 1 << 30;
/// The member of ChatGPT's exports that has what was said.
const MAPPING: &str = "mapping";

/// Text as tokens.
pub struct Corpus {
    /// What is trained on: [`END`] before each document and after the last.
    pub training: Vec<u16>,
    /// What is not, in the same way.
    pub held_out: Vec<u16>,
    /// Units of both.
    pub units: [usize; 2],
    /// Documents whose text was there before.
    pub repeated: u64,
}

impl Corpus {
    /// Reads the documents of an input folder.
    ///
    /// # Errors
    /// The requester's: no documents, too few or too many. The operator's: the disk.
    pub fn read(asked: &Transformer, input: &Input, folder: &Path) -> Result<Self, Failure> {
        if !input.declaration.has_documents() {
            return Err(Failure::request(
                "a language model reads documents, and this source has records",
            ));
        }
        let mut seen = HashSet::new();
        let mut texts: Vec<(u64, String)> = vec![];
        let (mut bytes, mut repeated) = (0, 0);
        for_each_text(asked.text, input, folder, |contribution, document, text| {
            let is_new = seen.insert(sha256(text.as_bytes()));
            repeated += u64::from(!is_new);
            if !is_new || text.is_empty() {
                return Ok(());
            }
            bytes += text.len();
            if bytes > MAX_TEXT_BYTES {
                return Err(Failure::request(format!(
                    "the documents have more than {MAX_TEXT_BYTES} bytes of text"
                )));
            }
            let unit = match asked.split_by {
                Unit::Contribution => contribution,
                Unit::Document => document,
            };
            texts.push((unit, text));
            Ok(())
        })?;
        let held_out = held_out(asked, texts.iter().map(|(unit, _)| *unit).collect())?;
        let units: BTreeSet<u64> = texts.iter().map(|(unit, _)| *unit).collect();
        let side = |of_held_out: bool| {
            let of_side = texts
                .iter()
                .filter(|(unit, _)| held_out.contains(unit) == of_held_out);
            let mut tokens = vec![END];
            for (_, text) in of_side {
                tokens.extend(text.bytes().map(u16::from));
                tokens.push(END);
            }
            tokens
        };
        Ok(Self {
            training: side(false),
            held_out: side(true),
            units: [units.len() - held_out.len(), held_out.len()],
            repeated,
        })
    }
}

/// Bytes among tokens.
pub fn bytes(tokens: &[u16]) -> usize {
    tokens.iter().filter(|token| **token != END).count()
}

/// Nats for each byte that somebody needs who knows how often each byte is in this text, and nothing else.
pub fn unigram_entropy(tokens: &[u16]) -> f64 {
    let mut counts = [0_u64; END as usize];
    for token in tokens.iter().filter(|token| **token != END) {
        counts[usize::from(*token)] += 1;
    }
    let all = counts.iter().sum::<u64>() as f64;
    let share = counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| *count as f64 / all);
    -share.map(|share| share * share.ln()).sum::<f64>()
}

/// Draws the units that are held out.
fn held_out(asked: &Transformer, units: BTreeSet<u64>) -> Result<BTreeSet<u64>, Failure> {
    let mut units: Vec<u64> = units.into_iter().collect();
    if units.len() < 2 {
        let what = format!(
            "there are {} units with text, and two are needed: one to train on, one to hold out",
            units.len()
        );
        return Err(Failure::request(what));
    }
    let share = units.len() * asked.held_out_percent as usize / 100;
    random::shuffle(&mut units, &mut random::stream(asked.seed, "split", 0));
    Ok(units.into_iter().take(share.max(1)).collect())
}

/// Calls with contribution, place and text of each document.
fn for_each_text(
    kind: Text,
    input: &Input,
    folder: &Path,
    mut take: impl FnMut(u64, u64, String) -> Result<(), Failure>,
) -> Result<(), Failure> {
    if kind == Text::Conversations && !input.columns.iter().any(|name| name == MAPPING) {
        return Err(Failure::request(format!(
            "conversations are in the column '{MAPPING}', which the manifest does not select"
        )));
    }
    let table = Table::open(folder, DOCUMENTS)?;
    let path = folder.join(LINES);
    let lines = File::open(&path).map_err(|error| Failure::file(&path, error))?;
    let mut lines = BufReader::new(lines);
    let mut document = 0;
    for group in 0..table.groups() {
        let contributions = table.integers(group, CONTRIBUTION)?;
        let mut mappings = match kind {
            Text::Conversations => table.members(group, MAPPING)?.into_iter(),
            Text::Lines => vec![].into_iter(),
        };
        for contribution in contributions {
            let text = match kind {
                Text::Lines => {
                    let mut line = String::new();
                    lines
                        .read_line(&mut line)
                        .map_err(|error| Failure::file(&path, error))?;
                    line
                }
                Text::Conversations => {
                    let mapping = mappings.next().flatten();
                    mapping.map_or(String::new(), |mapping| conversation(mapping.data()))
                }
            };
            take(contribution.unsigned_abs(), document, text)?;
            document += 1;
        }
    }
    Ok(())
}

/// What was said, in order: from each root of the tree along the children, `role: words` and an empty line. What is not of
/// that form is passed over: it is somebody's export, and no error of anybody here.
fn conversation(mapping: &[u8]) -> String {
    let Ok(Value::Object(nodes)) = serde_json::from_slice(mapping) else {
        return String::new();
    };
    let is_root = |node: &Value| {
        node["parent"]
            .as_str()
            .is_none_or(|parent| !nodes.contains_key(parent))
    };
    let roots = nodes
        .iter()
        .filter(|(_, node)| is_root(node))
        .map(|(id, _)| id.as_str());
    let mut waiting: Vec<&str> = roots.collect();
    waiting.reverse();
    let mut said = String::new();
    // A node may be named as a child by several, and by itself: it is said once.
    let mut seen = HashSet::new();
    while let Some(id) = waiting.pop() {
        let Some(node) = nodes.get(id).filter(|_| seen.insert(id)) else {
            continue;
        };
        say(&node["message"], &mut said);
        let children = node["children"].as_array().map_or(&[][..], Vec::as_slice);
        waiting.extend(children.iter().rev().filter_map(Value::as_str));
    }
    said.truncate(said.floor_char_boundary(MAX_DOCUMENT_BYTES));
    said
}

fn say(message: &Value, said: &mut String) {
    let parts = message["content"]["parts"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    let words: Vec<&str> = parts
        .iter()
        .filter_map(Value::as_str)
        .filter(|part| !part.is_empty())
        .collect();
    if let (Some(role), false) = (message["author"]["role"].as_str(), words.is_empty()) {
        said.push_str(role);
        said.push_str(": ");
        said.push_str(&words.join("\n"));
        said.push_str("\n\n");
    }
}
