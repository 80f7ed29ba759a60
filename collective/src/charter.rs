//! A collective's charter: its sources and its admitted contributors, voted on by digest.

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

    /// The source of this name.
    pub fn source(&self, name: &str) -> Option<&Source> {
        self.sources.iter().find(|source| source.name == name)
    }
}
