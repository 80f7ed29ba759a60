//! A program's source tree as one byte string (SPEC "Source bundle"): what members read, what is hashed and voted on, and
//! what the interpreter is handed, are the same bytes.
//!
//! Canonical JSON (RFC 8785), so that one tree has one name. Knows no language.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::id::BlobId;
use crate::limits::{MAX_BUNDLE_BYTES, MAX_BUNDLE_FILES, MAX_PATH_BYTES};

/// Files by their paths, all of them text that shows what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    files: BTreeMap<String, String>,
    bytes: Vec<u8>,
}

/// Why files are no bundle.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BundleRefusal {
    /// Over the limit.
    #[error("the sources take more than {MAX_BUNDLE_BYTES} bytes as a bundle")]
    TooLong,
    /// Over the limit.
    #[error("a bundle has 1 to {MAX_BUNDLE_FILES} files, not {0}")]
    FileCount(usize),
    /// Not the documented shape.
    #[error("the bundle does not parse: {0}")]
    Malformed(String),
    /// Same content in other bytes would have two names.
    #[error("the bundle is not canonical JSON (RFC 8785)")]
    NotCanonical,
    /// No path of a bundle.
    #[error(
        "'{0}' is no path of a bundle: names of letters, digits, '_', '-' and '.' that begin with none of the last two, \
         joined by '/', at most {MAX_PATH_BYTES} bytes"
    )]
    BadPath(String),
    /// A file where another one needs a folder, or paths that one file system in two takes for the same.
    #[error("'{0}' and '{1}' cannot lie in one folder")]
    Clash(String, String),
    /// A character that a reader does not see, or sees elsewhere.
    #[error(
        "{path}, line {line}: the character U+{character:04X} does not show; write it as an escape"
    )]
    Hidden {
        /// The file.
        path: String,
        /// From 1.
        line: usize,
        /// Its code point.
        character: u32,
    },
}

/// The document.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    files: BTreeMap<String, String>,
    format: Format,
}

/// The format's name, which is also its version.
#[derive(Serialize, Deserialize)]
enum Format {
    #[serde(rename = "collective/bundle/v1")]
    V1,
}

impl Bundle {
    /// A bundle of these files.
    ///
    /// # Errors
    /// [`BundleRefusal`], with the path at fault.
    pub fn new(files: BTreeMap<String, String>) -> Result<Self, BundleRefusal> {
        if files.is_empty() || files.len() > MAX_BUNDLE_FILES {
            return Err(BundleRefusal::FileCount(files.len()));
        }
        for (path, text) in &files {
            Self::check_path(path)?;
            check_text(path, text)?;
        }
        check_tree(&files)?;
        let document = Document {
            files,
            format: Format::V1,
        };
        let bytes = serde_json_canonicalizer::to_vec(&document).expect("a map of strings");
        if bytes.len() > MAX_BUNDLE_BYTES {
            return Err(BundleRefusal::TooLong);
        }
        Ok(Self {
            files: document.files,
            bytes,
        })
    }

    /// Parses canonical bytes.
    ///
    /// # Errors
    /// [`BundleRefusal`].
    pub fn parse(bytes: &[u8]) -> Result<Self, BundleRefusal> {
        if bytes.len() > MAX_BUNDLE_BYTES {
            return Err(BundleRefusal::TooLong);
        }
        let document: Document = serde_json::from_slice(bytes)
            .map_err(|error| BundleRefusal::Malformed(error.to_string()))?;
        let bundle = Self::new(document.files)?;
        // A path named twice does not come back, either.
        if bundle.bytes == bytes {
            Ok(bundle)
        } else {
            Err(BundleRefusal::NotCanonical)
        }
    }

    /// Whether a bundle may have a file, or a folder, of this path.
    ///
    /// # Errors
    /// [`BundleRefusal::BadPath`].
    pub fn check_path(path: &str) -> Result<(), BundleRefusal> {
        let good = |name: &str| {
            let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
            !name.is_empty() && !name.starts_with(['.', '-']) && name.bytes().all(inside)
        };
        if path.len() <= MAX_PATH_BYTES && path.split('/').all(good) {
            Ok(())
        } else {
            // Cut, as it comes from outside and is repeated.
            let shown = path.chars().take(MAX_PATH_BYTES).collect::<String>();
            Err(BundleRefusal::BadPath(shown.escape_debug().to_string()))
        }
    }

    /// The text under a path.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// Paths and texts, by path.
    pub fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// The canonical bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What a manifest names.
    pub fn id(&self) -> BlobId {
        BlobId::of(&self.bytes)
    }
}

fn check_text(path: &str, text: &str) -> Result<(), BundleRefusal> {
    match hidden_in(text) {
        Some((line, character)) => Err(BundleRefusal::Hidden {
            path: path.to_owned(),
            line,
            character,
        }),
        None => Ok(()),
    }
}

/// The first character of a text that does not show, as its code point, and its line, from 1.
pub fn hidden_in(text: &str) -> Option<(usize, u32)> {
    let lines = text.split('\n').zip(1..);
    let mut hidden = lines.flat_map(|(text, line)| {
        let found = text.chars().find(|character| is_hidden(*character));
        found.map(|character| (line, character.into()))
    });
    hidden.next()
}

/// Control characters but the tab, and what changes the direction of text or has no width: with them
/// a reviewer reads another program than the one that runs (CVE-2021-42574).
pub fn is_hidden(character: char) -> bool {
    (character.is_control() && character != '\t')
        || matches!(
            character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
        )
}

/// Refuses what no folder could hold, on any system that a member reads it on.
fn check_tree(files: &BTreeMap<String, String>) -> Result<(), BundleRefusal> {
    let mut places: BTreeMap<String, (&str, bool)> = BTreeMap::new();
    for path in files.keys() {
        let ends = path.match_indices('/').map(|(end, _)| (end, true));
        for (end, is_folder) in ends.chain([(path.len(), false)]) {
            let place = &path[..end];
            let found = places.insert(place.to_ascii_lowercase(), (place, is_folder));
            match found {
                Some((same, true)) if same == place && is_folder => {}
                Some((other, _)) => return Err(BundleRefusal::Clash(other.into(), path.clone())),
                None => {}
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(files: &[(&str, &str)]) -> Result<Bundle, BundleRefusal> {
        let files = files
            .iter()
            .map(|(path, text)| ((*path).into(), (*text).into()));
        Bundle::new(files.collect())
    }

    #[test]
    fn a_tree_has_one_spelling() {
        let good = bundle(&[("main.py", "import a.b\n"), ("a/b.py", "x = \"é\"\n")]).expect("good");
        assert_eq!(Bundle::parse(good.as_bytes()), Ok(good.clone()));
        let text = std::str::from_utf8(good.as_bytes()).expect("JSON is UTF-8");
        for other in [
            text.replace(":{", ": {"),
            text.replace("é", "\\u00e9"),
            text.replace("{\"a/b.py\"", "{\"a/b.py\":\"\",\"a/b.py\""),
        ] {
            assert_ne!(other, text);
            let refusal = Bundle::parse(other.as_bytes());
            assert_eq!(refusal, Err(BundleRefusal::NotCanonical), "{other}");
        }
        for other in [
            text.replace("bundle/v1", "bundle/v2"),
            text.replacen('{', "{\"aside\":1,", 1),
            text.replace("é", "\\ud800"),
            text[1..].to_owned(),
        ] {
            let refusal = Bundle::parse(other.as_bytes());
            assert!(
                matches!(refusal, Err(BundleRefusal::Malformed(_))),
                "{other}"
            );
        }
    }

    #[test]
    fn paths_stay_inside_the_folder() {
        for path in [
            "",
            "/",
            "/main.py",
            "main.py/",
            "a//b",
            "../main.py",
            "a/../b",
            "a/./b",
            ".git",
            "-rf",
            "a b",
            "a\\b",
            "C:",
            "ä.py",
            "a\0b",
            "a\nb",
        ] {
            let refusal = bundle(&[(path, "")]);
            assert!(
                matches!(refusal, Err(BundleRefusal::BadPath(_))),
                "{path:?}"
            );
        }
        let longest = "x".repeat(MAX_PATH_BYTES);
        assert!(bundle(&[(&longest, "")]).is_ok());
        assert!(bundle(&[(&format!("{longest}x"), "")]).is_err());
    }

    #[test]
    fn files_that_no_folder_holds_are_refused() {
        assert!(bundle(&[("a/b", ""), ("a/c", ""), ("a.py", "")]).is_ok());
        for (one, two) in [
            ("a", "a/b"),
            ("Main.py", "main.py"),
            ("A/b", "a/c"),
            ("A", "a/b"),
        ] {
            let refusal = bundle(&[(one, ""), (two, "")]);
            assert!(
                matches!(refusal, Err(BundleRefusal::Clash(..))),
                "{one} {two}"
            );
        }
    }

    #[test]
    fn what_a_reader_does_not_see_is_refused() {
        assert!(bundle(&[("main.py", "\t# größer, 日本語, ≤\n")]).is_ok());
        for hidden in [
            '\0',
            '\r',
            '\x1b',
            '\x7f',
            '\u{85}',
            '\u{200b}',
            '\u{202e}',
            '\u{2066}',
            '\u{feff}',
            '\u{e0041}',
        ] {
            let refusal = bundle(&[("main.py", &format!("a\nb{hidden}c\n"))]);
            let expected = BundleRefusal::Hidden {
                path: "main.py".into(),
                line: 2,
                character: hidden.into(),
            };
            assert_eq!(refusal, Err(expected));
        }
    }

    #[test]
    fn limits_hold() {
        assert_eq!(bundle(&[]), Err(BundleRefusal::FileCount(0)));
        let many = (0..=MAX_BUNDLE_FILES).map(|n| (format!("f{n}"), String::new()));
        let refusal = Bundle::new(many.collect());
        assert_eq!(refusal, Err(BundleRefusal::FileCount(MAX_BUNDLE_FILES + 1)));
        let long = "x".repeat(MAX_BUNDLE_BYTES);
        assert_eq!(bundle(&[("a", &long)]), Err(BundleRefusal::TooLong));
        let longer = format!("{long}x");
        let refusal = Bundle::parse(longer.as_bytes());
        assert_eq!(refusal, Err(BundleRefusal::TooLong));
    }
}
