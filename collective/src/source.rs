//! A source: one kind of record, with typed columns and one canonical encoding (SPEC "Record").
//!
//! A record is one line of comma-separated fields without quoting, ended by a line feed.
//! There is one spelling for each value, so equal records have equal bytes. A source with an archive has documents instead
//! ([`crate::document`]), whose members are its columns.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::bundle::is_hidden;
use crate::decimal::MAX_PLAIN;
use crate::id::BlobId;
use crate::limits::{
    MAX_COLUMNS, MAX_DOCUMENTS_BYTES, MAX_NAME_BYTES, MAX_PATH_BYTES, MAX_RECORD_BYTES,
};

/// What a collective declares about one kind of record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, try_from = "Declaration")]
pub struct Source {
    /// Name that contributions and selectors use.
    pub name: String,
    /// Columns in the order of a record's fields; of documents, the members that they keep.
    pub columns: Vec<Column>,
    /// Where a person's export has the documents; `None` for a source of records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<Archive>,
}

/// The part of a person's export that is contributed: an array of objects in one JSON file. All else stays with the person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Archive {
    /// Name of the file, in whichever folder of the export.
    pub file: String,
}

/// One typed column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Name, unique in its source.
    pub name: String,
    /// What its fields may hold.
    #[serde(rename = "type")]
    pub kind: ColumnType,
}

/// The type of a column: every record that passes has a value of it, spelt in one way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
pub enum ColumnType {
    /// A whole number, decimal, no leading zero or plus; both ends included.
    Integer {
        /// Smallest value.
        min: i64,
        /// Greatest value.
        max: i64,
    },
    /// One of these words.
    Choice(Vec<String>),
    /// Any JSON value: what a document's member may be.
    Json,
}

/// The shape of a declaration before its rules were checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Declaration {
    name: String,
    columns: Vec<Column>,
    #[serde(default)]
    archive: Option<Archive>,
}

/// Why a declaration is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SourceRefusal {
    /// A name that could be mistaken in a line, a path or a URL.
    #[error("'{0}' is no name: use 1 to {MAX_NAME_BYTES} of a-z A-Z 0-9 _ -")]
    BadName(String),
    /// Not between one and the limit.
    #[error("a source has 1 to {MAX_COLUMNS} columns, not {0}")]
    ColumnCount(usize),
    /// Two columns with one name.
    #[error("column '{0}' stands twice")]
    RepeatedColumn(String),
    /// No value passes.
    #[error(
        "column '{0}' allows no value, a number beyond 2^53, or a word with a comma or a line break"
    )]
    EmptyType(String),
    /// JSON in a line of records, or something else in a document.
    #[error(
        "column '{0}': where there is an archive all columns are of type json, elsewhere none is"
    )]
    MixedTypes(String),
    /// No name of a file.
    #[error(
        "'{0}' is no name of a file in an archive: use 1 to {MAX_PATH_BYTES} characters, without a folder"
    )]
    BadFile(String),
    /// A selector asks for a column that is not there.
    #[error("source '{source_name}' has no column '{column}'")]
    NoSuchColumn {
        /// The source.
        source_name: String,
        /// The column.
        column: String,
    },
}

impl TryFrom<Declaration> for Source {
    type Error = SourceRefusal;

    fn try_from(declared: Declaration) -> Result<Self, SourceRefusal> {
        Self::checked(declared.name, declared.columns, declared.archive)
    }
}

impl Source {
    /// A source of records. Checks names and types.
    ///
    /// # Errors
    /// The first rule that does not hold.
    pub fn new(name: String, columns: Vec<Column>) -> Result<Self, SourceRefusal> {
        Self::checked(name, columns, None)
    }

    /// A source of documents that keep these members.
    ///
    /// # Errors
    /// As [`Source::new`].
    pub fn of_documents(
        name: String,
        members: &[&str],
        archive: Archive,
    ) -> Result<Self, SourceRefusal> {
        let column = |name: &&str| Column {
            name: (*name).to_owned(),
            kind: ColumnType::Json,
        };
        Self::checked(name, members.iter().map(column).collect(), Some(archive))
    }

    fn checked(
        name: String,
        columns: Vec<Column>,
        archive: Option<Archive>,
    ) -> Result<Self, SourceRefusal> {
        if !is_name(&name) {
            return Err(SourceRefusal::BadName(name));
        }
        if columns.is_empty() || columns.len() > MAX_COLUMNS {
            return Err(SourceRefusal::ColumnCount(columns.len()));
        }
        for (index, column) in columns.iter().enumerate() {
            if !is_name(&column.name) {
                return Err(SourceRefusal::BadName(column.name.clone()));
            }
            if columns[..index]
                .iter()
                .any(|earlier| earlier.name == column.name)
            {
                return Err(SourceRefusal::RepeatedColumn(column.name.clone()));
            }
            if (column.kind == ColumnType::Json) != archive.is_some() {
                return Err(SourceRefusal::MixedTypes(column.name.clone()));
            }
            if !column.kind.is_usable() {
                return Err(SourceRefusal::EmptyType(column.name.clone()));
            }
        }
        if let Some(Archive { file }) = archive.as_ref().filter(|it| !is_file(&it.file)) {
            return Err(SourceRefusal::BadFile(file.clone()));
        }
        Ok(Self {
            name,
            columns,
            archive,
        })
    }

    /// Whether its contributions are documents.
    pub fn has_documents(&self) -> bool {
        self.archive.is_some()
    }

    /// Bytes that one contribution's plaintext may have.
    pub fn max_bytes(&self) -> usize {
        match self.archive {
            None => MAX_RECORD_BYTES,
            Some(_) => MAX_DOCUMENTS_BYTES,
        }
    }

    /// SHA-256 of the declaration's canonical JSON (RFC 8785): what a manifest names.
    pub fn digest(&self) -> BlobId {
        BlobId::of(&serde_json_canonicalizer::to_vec(self).expect("a source is plain JSON values"))
    }

    /// Places of the named columns, in the order of `names`.
    ///
    /// # Errors
    /// [`SourceRefusal::NoSuchColumn`].
    pub fn select(&self, names: &[String]) -> Result<Vec<usize>, SourceRefusal> {
        let place = |name: &String| {
            self.columns
                .iter()
                .position(|column| column.name == *name)
                .ok_or_else(|| SourceRefusal::NoSuchColumn {
                    source_name: self.name.clone(),
                    column: name.clone(),
                })
        };
        names.iter().map(place).collect()
    }

    /// Parses one record, line feed included, into its fields.
    ///
    /// # Errors
    /// The first defect. The message names columns and never shows a value.
    pub fn parse<'a>(&self, record: &'a [u8]) -> Result<Vec<&'a str>, RecordRefusal> {
        if record.len() > MAX_RECORD_BYTES {
            return Err(RecordRefusal::TooLong);
        }
        let line = record
            .strip_suffix(b"\n")
            .ok_or(RecordRefusal::NotOneLine)?;
        let line = std::str::from_utf8(line).map_err(|_| RecordRefusal::NotUtf8)?;
        if line.contains(['\n', '\r']) {
            return Err(RecordRefusal::NotOneLine);
        }
        let fields: Vec<&str> = line.split(',').collect();
        if fields.len() != self.columns.len() {
            return Err(RecordRefusal::FieldCount {
                expected: self.columns.len(),
                found: fields.len(),
            });
        }
        match self
            .columns
            .iter()
            .zip(&fields)
            .position(|(column, field)| !column.kind.holds(field))
        {
            Some(column) => Err(RecordRefusal::BadField { column }),
            None => Ok(fields),
        }
    }

    /// Writes fields as a record.
    ///
    /// # Errors
    /// What [`Source::parse`] says of the line.
    pub fn record<T: fmt::Display>(&self, fields: &[T]) -> Result<Vec<u8>, RecordRefusal> {
        let words: Vec<String> = fields.iter().map(T::to_string).collect();
        let line = format!("{}\n", words.join(",")).into_bytes();
        self.parse(&line)?;
        Ok(line)
    }
}

/// Why bytes are no record of a source. Values are never shown: they are somebody's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RecordRefusal {
    /// Over the limit.
    #[error("the record is longer than {MAX_RECORD_BYTES} bytes")]
    TooLong,
    /// No line feed at the end, or another before it.
    #[error("the record is not one line that ends with a line feed")]
    NotOneLine,
    /// Not text.
    #[error("the record is not UTF-8")]
    NotUtf8,
    /// Too few or too many fields.
    #[error("the record has {found} fields, the source {expected} columns")]
    FieldCount {
        /// Columns of the source.
        expected: usize,
        /// Fields of the record.
        found: usize,
    },
    /// A field that its column's type does not hold, or holds in another spelling.
    #[error("field {column} (counted from 0) is not a canonical value of its column")]
    BadField {
        /// Place of the column.
        column: usize,
    },
}

impl ColumnType {
    fn is_usable(&self) -> bool {
        match self {
            Self::Integer { min, max } => -MAX_PLAIN <= *min && min <= max && *max <= MAX_PLAIN,
            Self::Choice(words) => {
                !words.is_empty() && words.iter().all(|word| !word.contains([',', '\n', '\r']))
            }
            Self::Json => true,
        }
    }

    fn holds(&self, field: &str) -> bool {
        match self {
            Self::Integer { min, max } => field
                .parse::<i64>()
                .is_ok_and(|value| (*min..=*max).contains(&value) && value.to_string() == field),
            Self::Choice(words) => words.iter().any(|word| word == field),
            // No source of records has such a column.
            Self::Json => false,
        }
    }
}

/// Whether `text` may name a source or a column.
fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// Whether `text` may name a file in an archive: no folder, nothing that does not show.
fn is_file(text: &str) -> bool {
    (1..=MAX_PATH_BYTES).contains(&text.len())
        && !text.starts_with('.')
        && !text.contains(|letter: char| letter == '/' || letter == '\\' || is_hidden(letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> Source {
        let integer = |name: &str, min, max| Column {
            name: name.into(),
            kind: ColumnType::Integer { min, max },
        };
        let side = Column {
            name: "side".into(),
            kind: ColumnType::Choice(vec!["left".into(), "right".into()]),
        };
        Source::new(
            "poll".into(),
            vec![integer("age", 18, 120), integer("gain", -5, 5), side],
        )
        .expect("a good declaration")
    }

    #[test]
    fn one_spelling_for_each_value() {
        let source = source();
        assert_eq!(source.parse(b"40,-3,left\n"), Ok(vec!["40", "-3", "left"]));
        for (bad, refusal) in [
            (&b"40,-3,left"[..], RecordRefusal::NotOneLine),
            (b"40,-3,left\n\n", RecordRefusal::NotOneLine),
            (b"40,-3,left\r\n", RecordRefusal::NotOneLine),
            (b"40,-3,\xff\n", RecordRefusal::NotUtf8),
            (
                b"40,-3\n",
                RecordRefusal::FieldCount {
                    expected: 3,
                    found: 2,
                },
            ),
            (b"040,-3,left\n", RecordRefusal::BadField { column: 0 }),
            (b"+40,-3,left\n", RecordRefusal::BadField { column: 0 }),
            (b"17,-3,left\n", RecordRefusal::BadField { column: 0 }),
            (b"40,-0,left\n", RecordRefusal::BadField { column: 1 }),
            (
                b"40,99999999999999999999,left\n",
                RecordRefusal::BadField { column: 1 },
            ),
            (b"40,-3,up\n", RecordRefusal::BadField { column: 2 }),
        ] {
            assert_eq!(
                source.parse(bad),
                Err(refusal),
                "{}",
                String::from_utf8_lossy(bad)
            );
        }
        assert_eq!(
            source.parse(&[b'1'; MAX_RECORD_BYTES + 1]),
            Err(RecordRefusal::TooLong)
        );
    }

    #[test]
    fn declarations_with_a_defect_are_refused() {
        let column = |name: &str| Column {
            name: name.into(),
            kind: ColumnType::Integer { min: 0, max: 1 },
        };
        let refused =
            |name: &str, columns| Source::new(name.into(), columns).expect_err("a defect");
        assert!(matches!(
            refused("a b", vec![column("x")]),
            SourceRefusal::BadName(_)
        ));
        assert!(matches!(
            refused("a", vec![]),
            SourceRefusal::ColumnCount(0)
        ));
        assert!(matches!(
            refused("a", vec![column("x"), column("x")]),
            SourceRefusal::RepeatedColumn(_)
        ));
        let nothing = Column {
            name: "x".into(),
            kind: ColumnType::Integer { min: 1, max: 0 },
        };
        assert!(matches!(
            refused("a", vec![nothing]),
            SourceRefusal::EmptyType(_)
        ));
        // A bound that canonical JSON would round stands for two declarations.
        let rounded = Column {
            name: "x".into(),
            kind: ColumnType::Integer {
                min: 0,
                max: i64::MAX,
            },
        };
        assert!(matches!(
            refused("a", vec![rounded]),
            SourceRefusal::EmptyType(_)
        ));
    }

    #[test]
    fn documents_have_json_alone_and_records_none() {
        let declared = |text: &str| serde_json::from_str::<Source>(text);
        let text = r#"{"archive":{"file":"c.json"},"columns":[{"name":"title","type":"json"}],"name":"chats"}"#;
        let source = declared(text).expect("a good declaration");
        let archive = Archive {
            file: "c.json".into(),
        };
        let made = Source::of_documents("chats".into(), &["title"], archive);
        assert_eq!(made.as_ref(), Ok(&source));
        assert_eq!(source.digest(), BlobId::of(text.as_bytes()));
        for (from, to, words) in [
            (r#""json""#, r#"{"choice":["a"]}"#, "all columns"),
            (r#""archive":{"file":"c.json"},"#, "", "elsewhere none"),
            ("c.json", "a/c.json", "without a folder"),
            ("c.json", "", "without a folder"),
            ("c.json", "..", "without a folder"),
            ("c.json", "a\u{202e}b", "without a folder"),
        ] {
            let changed = text.replace(from, to);
            assert_ne!(changed, text);
            let error = declared(&changed).expect_err("a defect").to_string();
            assert!(error.contains(words), "{changed}: {error}");
        }
    }

    #[test]
    fn selecting_keeps_the_order_asked_for() {
        assert_eq!(
            source().select(&["side".into(), "age".into()]),
            Ok(vec![2, 0])
        );
        assert!(source().select(&["height".into()]).is_err());
    }
}
