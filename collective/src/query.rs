//! The text of an SQL program, as members read it and as it is named and run: the same bytes.
//!
//! Knows no SQL: what a query may be is checked by the engine that runs it.

use std::fmt;

use thiserror::Error;

use crate::bundle::hidden_in;
use crate::id::BlobId;
use crate::limits::MAX_QUERY_BYTES;

/// One query, as text that shows what it says.
#[derive(Clone, PartialEq, Eq)]
pub struct Query(String);

/// Why bytes are no query's text.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum QueryRefusal {
    /// Nothing, or over the limit.
    #[error("a query has 1 to {MAX_QUERY_BYTES} bytes, not {0}")]
    Length(usize),
    /// Not text.
    #[error("the query is not UTF-8")]
    NotUtf8,
    /// A character that a reader does not see, or sees elsewhere.
    #[error("line {line} of the query: the character U+{character:04X} does not show")]
    Hidden {
        /// From 1.
        line: usize,
        /// Its code point.
        character: u32,
    },
}

impl Query {
    /// Checks the text.
    ///
    /// # Errors
    /// [`QueryRefusal`].
    pub fn parse(bytes: &[u8]) -> Result<Self, QueryRefusal> {
        if bytes.is_empty() || bytes.len() > MAX_QUERY_BYTES {
            return Err(QueryRefusal::Length(bytes.len()));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| QueryRefusal::NotUtf8)?;
        match hidden_in(text) {
            Some((line, character)) => Err(QueryRefusal::Hidden { line, character }),
            None => Ok(Self(text.into())),
        }
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// SHA-256 of the text.
    pub fn id(&self) -> BlobId {
        BlobId::of(self.0.as_bytes())
    }
}

impl fmt::Debug for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Query({}, {} bytes)", self.id(), self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_text_that_shows_what_it_says() {
        let good = Query::parse(b"SELECT count(*)\nFROM poll\n").expect("text");
        assert_eq!(good.text(), "SELECT count(*)\nFROM poll\n");
        assert_eq!(good.id(), BlobId::of(b"SELECT count(*)\nFROM poll\n"));
        assert_eq!(Query::parse(b""), Err(QueryRefusal::Length(0)));
        assert_eq!(
            Query::parse(&[b' '; MAX_QUERY_BYTES + 1]),
            Err(QueryRefusal::Length(MAX_QUERY_BYTES + 1))
        );
        assert_eq!(Query::parse(b"SELECT \xff"), Err(QueryRefusal::NotUtf8));
        assert_eq!(
            Query::parse("SELECT 1\nFROM \u{202e}poll".as_bytes()),
            Err(QueryRefusal::Hidden {
                line: 2,
                character: 0x202e
            })
        );
    }
}
