//! What a trainer on a heavy node is told, as members read it and as it is named: which model, fitted to what, and how.
//!
//! Knows no trainer: what it understands is its own to check.

use std::fmt;

use serde_json::Value;
use thiserror::Error;

use crate::bundle::hidden_in;
use crate::id::BlobId;
use crate::limits::MAX_TRAINING_BYTES;

/// A JSON object, as text that shows what it says.
#[derive(Clone, PartialEq, Eq)]
pub struct Training(String);

/// Why bytes are none.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TrainingRefusal {
    /// Nothing, or over the limit.
    #[error("a training has 1 to {MAX_TRAINING_BYTES} bytes, not {0}")]
    Length(usize),
    /// Not a JSON object.
    #[error("a training is a JSON object: {0}")]
    NotJson(String),
    /// A character that a reader does not see, or sees elsewhere.
    #[error("line {line} of the training: the character U+{character:04X} does not show")]
    Hidden {
        /// From 1.
        line: usize,
        /// Its code point.
        character: u32,
    },
}

impl Training {
    /// Checks the text.
    ///
    /// # Errors
    /// [`TrainingRefusal`].
    pub fn parse(bytes: &[u8]) -> Result<Self, TrainingRefusal> {
        if bytes.is_empty() || bytes.len() > MAX_TRAINING_BYTES {
            return Err(TrainingRefusal::Length(bytes.len()));
        }
        let not_json = |error: &dyn fmt::Display| TrainingRefusal::NotJson(error.to_string());
        let text = std::str::from_utf8(bytes).map_err(|error| not_json(&error))?;
        if let Some((line, character)) = hidden_in(text) {
            return Err(TrainingRefusal::Hidden { line, character });
        }
        match serde_json::from_str(text) {
            Ok(Value::Object(_)) => Ok(Self(text.into())),
            Ok(_) => Err(not_json(&"it is another value")),
            Err(error) => Err(not_json(&error)),
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

impl fmt::Debug for Training {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Training({}, {} bytes)", self.id(), self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_training_is_an_object_that_shows_what_it_says() {
        let text = b"{\"recipe\": \"logistic\"}\n";
        let training = Training::parse(text).expect("a training");
        assert_eq!(training.text().as_bytes(), text);
        assert_eq!(training.id(), BlobId::of(text));
        for length in [0, MAX_TRAINING_BYTES + 1] {
            let refused = Training::parse(&vec![b' '; length]);
            assert_eq!(refused, Err(TrainingRefusal::Length(length)));
        }
        for other in [&b"[]"[..], b"1", b"{", b"{} {}", b"\xff"] {
            assert!(matches!(
                Training::parse(other),
                Err(TrainingRefusal::NotJson(_))
            ));
        }
        let turned = "{\n\"a\u{202e}\": 1}";
        let (line, character) = (2, 0x202e);
        let refused = Training::parse(turned.as_bytes());
        assert_eq!(refused, Err(TrainingRefusal::Hidden { line, character }));
    }
}
