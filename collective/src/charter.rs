//! A collective's charter: its sources and its admitted contributors, voted on by digest.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::admission::AdmissionList;
use crate::id::BlobId;
use crate::source::Source;

/// What `ContributionRegistry.setAdmission(root, manifest)` sets: `manifest` is the charter's
/// SHA-256, `root` the root of its admission list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Charter {
    /// Kinds of record that may be contributed.
    pub sources: Vec<Source>,
    /// Who may contribute; `None` for an open collective.
    pub admission: Option<AdmissionList>,
    /// Names of sources whose sealed files contributors may keep themselves: a file that is away holds up every job that would read
    /// it. Beside the declarations, not in them: a manifest that names a declaration stays approved when this changes.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub connected: BTreeSet<String>,
}

/// Why bytes are no charter.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CharterRefusal {
    /// Not the documented shape, or a rule inside it does not hold.
    #[error("the charter does not parse: {0}")]
    Malformed(String),
    /// Same content in other bytes would have two digests.
    #[error("the charter is not canonical JSON (RFC 8785)")]
    NotCanonical,
    /// Files of a kind that nobody contributes.
    #[error(
        "the charter lets files of source '{0}' be kept by their contributors, and declares no such source"
    )]
    UndeclaredConnected(String),
}

impl Charter {
    /// Parses canonical bytes.
    ///
    /// # Errors
    /// [`CharterRefusal`].
    pub fn parse(bytes: &[u8]) -> Result<Self, CharterRefusal> {
        let charter: Self = serde_json::from_slice(bytes)
            .map_err(|error| CharterRefusal::Malformed(error.to_string()))?;
        if charter.to_bytes() != bytes {
            return Err(CharterRefusal::NotCanonical);
        }
        charter.check_connected()?;
        Ok(charter)
    }

    /// The canonical bytes that the digest is made of.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json_canonicalizer::to_vec(self).expect("a charter is plain JSON values")
    }

    /// The digest that is voted on.
    pub fn digest(&self) -> BlobId {
        BlobId::of(&self.to_bytes())
    }

    /// Whether all sources that contributors may keep are declared.
    ///
    /// # Errors
    /// [`CharterRefusal::UndeclaredConnected`].
    pub fn check_connected(&self) -> Result<(), CharterRefusal> {
        let undeclared = self.connected.iter().find(|it| self.source(it).is_none());
        match undeclared {
            Some(name) => Err(CharterRefusal::UndeclaredConnected(name.clone())),
            None => Ok(()),
        }
    }

    /// Whether contributors may keep sealed files of this source themselves. Where the charter does not say so they may not.
    pub fn may_be_kept(&self, source: &str) -> bool {
        self.connected.contains(source)
    }

    /// The source of this name.
    pub fn source(&self, name: &str) -> Option<&Source> {
        self.sources.iter().find(|source| source.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = r#"{"admission":null,"sources":[{"columns":[{"name":"age","type":{"integer":{"max":120,"min":18}}}],"name":"poll"}]}"#;

    fn parse(text: &str) -> Result<Charter, CharterRefusal> {
        Charter::parse(text.as_bytes())
    }

    #[test]
    fn what_may_be_kept_is_said_for_each_source_and_not_said_it_may_not() {
        let before = parse(BEFORE).expect("a charter that says nothing of it");
        assert!(!before.may_be_kept("poll"));
        assert_eq!(before.to_bytes(), BEFORE.as_bytes());

        let text = BEFORE.replace(r#"null,"#, r#"null,"connected":["poll"],"#);
        let charter = parse(&text).expect("a charter");
        assert!(charter.may_be_kept("poll") && !charter.may_be_kept("age"));
        assert_eq!(charter.sources, before.sources);
        for (connected, refused) in [
            (r#"["chats"]"#, "declares no such source"),
            (r#"["poll","poll"]"#, "not canonical"),
            ("[]", "not canonical"),
            ("true", "does not parse"),
        ] {
            let error = parse(&text.replace(r#"["poll"]"#, connected)).expect_err(connected);
            assert!(error.to_string().contains(refused), "{connected}: {error}");
        }
    }
}
