//! A document: one object of somebody's export, as a line of canonical JSON with no other members than its source declares
//! (SPEC "Document").
//!
//! Reading one builds no tree of values: canonical bytes are written while the text is read, so that memory stays within a
//! small multiple of the line.

use std::cell::Cell;
use std::fmt;
use std::ops::Range;

use alloy_primitives::B256;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use thiserror::Error;

use crate::id::sha256;
use crate::limits::{MAX_DOCUMENT_BYTES, MAX_DOCUMENT_DEPTH, MAX_DOCUMENTS};
use crate::source::Source;

/// A document of a source.
#[derive(Clone, PartialEq, Eq)]
pub struct Document {
    /// Canonical, without line feed.
    bytes: Vec<u8>,
    /// Place of the column and of the bytes `"name":value`, in the order of the bytes.
    members: Vec<(usize, Range<usize>)>,
}

/// Why bytes are no document of a source. Values are never shown: they are somebody's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DocumentRefusal {
    /// Over the limit.
    #[error("it is longer than {MAX_DOCUMENT_BYTES} bytes")]
    TooLong,
    /// Not text.
    #[error("it is not UTF-8")]
    NotUtf8,
    /// No JSON text, or one that has half a surrogate pair or a number beyond any double in it.
    #[error(
        "it is no JSON text (RFC 8259), or has half a surrogate pair or a number beyond a double in it"
    )]
    NotJson,
    /// Another value.
    #[error("it is no object")]
    NotObject,
    /// Over the limit.
    #[error("its values are more than {MAX_DOCUMENT_DEPTH} deep")]
    TooDeep,
    /// Readers differ about which of the two counts.
    #[error("a name stands twice in one object")]
    RepeatedName,
    /// A whole number that would become another one.
    #[error("a whole number in it has more digits than a double holds")]
    BadNumber,
    /// Nothing that the source declares.
    #[error("it has none of the declared members")]
    Empty,
    /// A member that the source does not declare.
    #[error("it has a member that the source does not declare")]
    Undeclared,
    /// Another spelling, or no line feed at its end.
    #[error("it is not one line of canonical JSON (RFC 8785)")]
    NotCanonical,
}

impl Document {
    /// Makes a document of any object: keeps the declared members and writes them canonically.
    ///
    /// # Errors
    /// [`DocumentRefusal`]; also of the canonical form, which can be the longer one.
    pub fn keep(source: &Source, object: &[u8]) -> Result<Self, DocumentRefusal> {
        Self::read(source, object, false)
    }

    /// Parses one line, line feed included.
    ///
    /// # Errors
    /// [`DocumentRefusal`]: there is one spelling of each document.
    pub fn parse(source: &Source, line: &[u8]) -> Result<Self, DocumentRefusal> {
        if line.len() > MAX_DOCUMENT_BYTES {
            return Err(DocumentRefusal::TooLong);
        }
        let line = line
            .strip_suffix(b"\n")
            .ok_or(DocumentRefusal::NotCanonical)?;
        let document = Self::read(source, line, true)?;
        match document.bytes == line {
            true => Ok(document),
            false => Err(DocumentRefusal::NotCanonical),
        }
    }

    fn read(source: &Source, text: &[u8], only: bool) -> Result<Self, DocumentRefusal> {
        let text = std::str::from_utf8(text).map_err(|_| DocumentRefusal::NotUtf8)?;
        let refusal = Cell::new(None);
        let object = Object {
            source,
            only,
            refusal: &refusal,
        };
        let mut reader = serde_json::Deserializer::from_str(text);
        let read = reader
            .deserialize_any(object)
            .and_then(|document| reader.end().map(|()| document));
        let document: Self =
            read.map_err(|_| refusal.take().unwrap_or(DocumentRefusal::NotJson))?;
        if document.bytes.len() >= MAX_DOCUMENT_BYTES {
            return Err(DocumentRefusal::TooLong);
        }
        if document.members.is_empty() {
            return Err(DocumentRefusal::Empty);
        }
        Ok(document)
    }

    /// The line, line feed included.
    pub fn line(&self) -> Vec<u8> {
        [&self.bytes[..], b"\n"].concat()
    }

    /// The line of a document that has the members of these columns alone.
    pub fn cut(&self, columns: &[usize]) -> Vec<u8> {
        let mut line = vec![b'{'];
        for (column, range) in &self.members {
            if columns.contains(column) {
                if line.len() > 1 {
                    line.push(b',');
                }
                line.extend_from_slice(&self.bytes[range.clone()]);
            }
        }
        line.extend_from_slice(b"}\n");
        line
    }

    /// The value of a column's member, as it stands in the line; none where it has no such member.
    pub fn value(&self, column: usize) -> Option<&[u8]> {
        let (_, range) = self.members.iter().find(|(place, _)| *place == column)?;
        let member = &self.bytes[range.clone()];
        // No declared name has a colon.
        let colon = member.iter().position(|byte| *byte == b':')?;
        Some(&member[colon + 1..])
    }

    /// Places of the columns that it has a member of.
    pub fn columns(&self) -> impl Iterator<Item = usize> {
        self.members.iter().map(|(column, _)| *column)
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Document({} bytes)", self.bytes.len())
    }
}

/// What equal contents have in common: SHA-256 of the domain and the sorted, distinct SHA-256 of all lines. Neither their
/// order nor how often one stands there counts. Nothing is parsed. `None` where there are more than [`MAX_DOCUMENTS`].
pub fn content_digest(plaintext: &[u8]) -> Option<B256> {
    let mut lines = Vec::new();
    for line in plaintext.split_inclusive(|byte| *byte == b'\n') {
        if lines.len() == MAX_DOCUMENTS {
            return None;
        }
        lines.push(sha256(line));
    }
    lines.sort_unstable();
    lines.dedup();
    let mut text = CONTENT_DOMAIN.to_vec();
    text.extend(lines.iter().flatten());
    Some(sha256(&text))
}

const CONTENT_DOMAIN: &[u8] = b"collective/v1/content";

/// Reads the outermost object.
struct Object<'a> {
    source: &'a Source,
    /// Whether members that are not declared are refused, and not passed over.
    only: bool,
    refusal: &'a Cell<Option<DocumentRefusal>>,
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = Document;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Whatever comes instead is not shown.
        self.refusal.set(Some(DocumentRefusal::NotObject));
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Document, A::Error> {
        let mut bytes = Vec::new();
        let mut members = Members::default();
        while let Some(name) = map.next_key::<String>()? {
            if self.source.select(std::slice::from_ref(&name)).is_ok() {
                members.read(name, &mut map, &mut bytes, (1, self.refusal))?;
            } else if self.only {
                return Err(refuse(self.refusal, DocumentRefusal::Undeclared));
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        let members = members.arrange(&mut bytes, 0, self.refusal)?;
        let column = |(name, range): (String, _)| {
            let place = self.source.select(&[name]).ok()?;
            Some((*place.first()?, range))
        };
        let members = members.into_iter().filter_map(column).collect();
        Ok(Document { bytes, members })
    }
}

/// Reads one value and writes it canonically.
struct Value<'a> {
    to: &'a mut Vec<u8>,
    /// Values around it.
    depth: usize,
    refusal: &'a Cell<Option<DocumentRefusal>>,
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        if self.depth >= MAX_DOCUMENT_DEPTH {
            return Err(refuse(self.refusal, DocumentRefusal::TooDeep));
        }
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.to.extend_from_slice(b"null");
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        let text: &[u8] = if value { b"true" } else { b"false" };
        self.to.extend_from_slice(text);
        Ok(())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.whole(value as f64, &value.to_string())
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.whole(value as f64, &value.to_string())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        write_canonical(self.to, &value);
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        write_canonical(self.to, value);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        self.to.push(b'[');
        let first = self.to.len();
        loop {
            let end = self.to.len();
            if end > first {
                self.to.push(b',');
            }
            let element = Value {
                to: self.to,
                depth: self.depth + 1,
                refusal: self.refusal,
            };
            if elements.next_element_seed(element)?.is_none() {
                self.to.truncate(end);
                self.to.push(b']');
                return Ok(());
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let start = self.to.len();
        let mut members = Members::default();
        while let Some(name) = map.next_key::<String>()? {
            members.read(name, &mut map, self.to, (self.depth + 1, self.refusal))?;
        }
        members.arrange(self.to, start, self.refusal).map(drop)
    }
}

impl Value<'_> {
    /// Writes a whole number, which has to be the double that RFC 8785 makes of it.
    fn whole<E: serde::de::Error>(self, value: f64, digits: &str) -> Result<(), E> {
        let start = self.to.len();
        write_canonical(self.to, &value);
        match &self.to[start..] == digits.as_bytes() {
            true => Ok(()),
            false => Err(refuse(self.refusal, DocumentRefusal::BadNumber)),
        }
    }
}

/// The members of one object, as they come.
#[derive(Default)]
struct Members(Vec<(String, Range<usize>)>);

impl Members {
    /// Reads a member's value, and writes name and value.
    fn read<'de, A: MapAccess<'de>>(
        &mut self,
        name: String,
        map: &mut A,
        to: &mut Vec<u8>,
        (depth, refusal): (usize, &Cell<Option<DocumentRefusal>>),
    ) -> Result<(), A::Error> {
        let start = to.len();
        write_canonical(to, name.as_str());
        to.push(b':');
        map.next_value_seed(Value { to, depth, refusal })?;
        // What is noted of short members is many times their length: no more of them than a document can have.
        if to.len() > MAX_DOCUMENT_BYTES {
            return Err(refuse(refusal, DocumentRefusal::TooLong));
        }
        self.0.push((name, start..to.len()));
        Ok(())
    }

    /// Puts what was written from `start` on into canonical order, within braces. Says where each member is now.
    fn arrange<E: serde::de::Error>(
        mut self,
        bytes: &mut Vec<u8>,
        start: usize,
        refusal: &Cell<Option<DocumentRefusal>>,
    ) -> Result<Vec<(String, Range<usize>)>, E> {
        // RFC 8785 §3.2.3: by UTF-16 code units.
        self.0
            .sort_by(|(one, _), (other, _)| one.encode_utf16().cmp(other.encode_utf16()));
        if self.0.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(refuse(refusal, DocumentRefusal::RepeatedName));
        }
        let mut sorted = Vec::with_capacity(bytes.len() - start + self.0.len() + 2);
        sorted.push(b'{');
        for (_, range) in &mut self.0 {
            if sorted.len() > 1 {
                sorted.push(b',');
            }
            let from = start + sorted.len();
            sorted.extend_from_slice(&bytes[range.clone()]);
            *range = from..start + sorted.len();
        }
        sorted.push(b'}');
        bytes.truncate(start);
        bytes.extend_from_slice(&sorted);
        Ok(self.0)
    }
}

fn refuse<E: serde::de::Error>(
    told: &Cell<Option<DocumentRefusal>>,
    refusal: DocumentRefusal,
) -> E {
    told.set(Some(refusal));
    E::custom("refused")
}

fn write_canonical(to: &mut Vec<u8>, value: &(impl serde::Serialize + ?Sized)) {
    serde_json_canonicalizer::to_writer(&value, to).expect("a finite number or a string");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Archive;

    fn source() -> Source {
        let archive = Archive {
            file: "c.json".into(),
        };
        Source::of_documents("chats".into(), &["title", "id", "mapping"], archive).expect("good")
    }

    fn kept(text: &str) -> Result<String, DocumentRefusal> {
        let document = Document::keep(&source(), text.as_bytes())?;
        Ok(String::from_utf8(document.line()).expect("text"))
    }

    #[test]
    fn what_is_declared_is_kept_in_one_spelling() {
        let text = r#" { "title" : "a\u0041\n\u20ac", "email": {"a": [1, 2]}, "mapping": {"b": -0.0, "\ud83d\ude00": 1e2,
            "\uffff": 0.10, "a": [[], {}, null, true, 1716906914.657421]}, "id": 9007199254740991 }"#;
        let line = "{\"id\":9007199254740991,\"mapping\":{\"a\":[[],{},null,true,1716906914.657421],\"b\":0,\"\u{1f600}\":100,\"\u{ffff}\":0.1},\"title\":\"aA\\n\u{20ac}\"}\n";
        assert_eq!(kept(text).as_deref(), Ok(line));
        // Written by the canonicaliser of the manifests, it is the same.
        let value: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let again = serde_json_canonicalizer::to_string(&value).expect("canonical");
        assert_eq!(format!("{again}\n"), line);
        let document = Document::parse(&source(), line.as_bytes()).expect("canonical");
        assert_eq!(document.columns().collect::<Vec<_>>(), [1, 2, 0]);
        assert_eq!(
            document.cut(&[0, 1]),
            b"{\"id\":9007199254740991,\"title\":\"aA\\n\xe2\x82\xac\"}\n"
        );
        assert_eq!(document.cut(&[]), b"{}\n");
        assert_eq!(document.value(1), Some(&b"9007199254740991"[..]));
        assert_eq!(document.value(3), None);
    }

    #[test]
    fn what_is_no_document_is_refused() {
        let nested =
            |depth: usize| format!(r#"{{"id":{}0{}}}"#, "[".repeat(depth), "]".repeat(depth));
        for (text, refusal) in [
            ("", DocumentRefusal::NotJson),
            (r#"{"id":1"#, DocumentRefusal::NotJson),
            (r#"{"id":1} 2"#, DocumentRefusal::NotJson),
            (r#"{"id":"\ud800"}"#, DocumentRefusal::NotJson),
            (r#"{"id":1e999}"#, DocumentRefusal::NotJson),
            ("[1]", DocumentRefusal::NotObject),
            ("7", DocumentRefusal::NotObject),
            (&nested(MAX_DOCUMENT_DEPTH - 1), DocumentRefusal::TooDeep),
            (&nested(MAX_DOCUMENT_DEPTH * 9), DocumentRefusal::TooDeep),
            (r#"{"id":1,"id":1}"#, DocumentRefusal::RepeatedName),
            (r#"{"id":[{"a":1,"a":2}]}"#, DocumentRefusal::RepeatedName),
            (r#"{"id":9007199254740993}"#, DocumentRefusal::BadNumber),
            (r#"{"id":18446744073709551615}"#, DocumentRefusal::BadNumber),
            (r#"{"id":-9007199254740993}"#, DocumentRefusal::BadNumber),
            ("{}", DocumentRefusal::Empty),
            (r#"{"email":1}"#, DocumentRefusal::Empty),
            (
                &format!(r#"{{"id":"{}"}}"#, "x".repeat(MAX_DOCUMENT_BYTES)),
                DocumentRefusal::TooLong,
            ),
        ] {
            assert_eq!(kept(text), Err(refusal), "{text:.40}");
        }
        assert_eq!(
            Document::keep(&source(), b"{\"id\":\"\xff\"}"),
            Err(DocumentRefusal::NotUtf8)
        );
        assert!(kept(&nested(MAX_DOCUMENT_DEPTH - 2)).is_ok());
    }

    #[test]
    fn a_line_has_one_spelling_and_nothing_that_is_not_declared() {
        let parse = |line: &str| Document::parse(&source(), line.as_bytes()).map(drop);
        assert_eq!(parse("{\"id\":1,\"title\":\"x\"}\n"), Ok(()));
        for (line, refusal) in [
            ("{\"id\":1}", DocumentRefusal::NotCanonical),
            ("{\"id\":1}\r\n", DocumentRefusal::NotCanonical),
            ("{\"id\": 1}\n", DocumentRefusal::NotCanonical),
            (
                "{\"title\":\"x\",\"id\":1}\n",
                DocumentRefusal::NotCanonical,
            ),
            ("{\"id\":1.0}\n", DocumentRefusal::NotCanonical),
            ("{\"id\":-0}\n", DocumentRefusal::NotCanonical),
            ("{\"id\":\"\\u0041\"}\n", DocumentRefusal::NotCanonical),
            ("{\"email\":1,\"id\":1}\n", DocumentRefusal::Undeclared),
        ] {
            assert_eq!(parse(line), Err(refusal), "{line}");
        }
    }

    #[test]
    fn large_numbers_keep_their_one_spelling() {
        for text in [
            "1e17",
            "1.2345678901234567e18",
            "18446744073709551616",
            "1e300",
            "5e-324",
        ] {
            let line = kept(&format!(r#"{{"id":{text}}}"#)).expect("a double");
            assert!(
                Document::parse(&source(), line.as_bytes()).is_ok(),
                "{line}"
            );
        }
    }

    #[test]
    fn neither_order_nor_repetition_makes_another_content() {
        let digest = |text: &str| content_digest(text.as_bytes()).expect("few lines");
        assert_eq!(digest("a\nb\n"), digest("b\na\na\n"));
        assert_ne!(digest("a\nb\n"), digest("a\n"));
        assert_ne!(digest("a\nb\n"), digest("a\nb"));
        assert_eq!(content_digest(&vec![b'\n'; MAX_DOCUMENTS + 1]), None);
        assert!(content_digest(&vec![b'\n'; MAX_DOCUMENTS]).is_some());
        let vector = "0xb3a8e8c80fc2f3c2a0291fb696457ce51a2ee96596483be74d26a180b29869f3";
        assert_eq!(digest("{\"id\":1}\n{\"id\":2}\n").to_string(), vector);
    }
}
