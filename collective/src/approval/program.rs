//! What a manifest says of the program: the names of all bytes that run.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Origin;
use crate::id::BlobId;

/// A program by its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Program {
    /// A WebAssembly component of the world in `wit/program.wit`.
    Component {
        /// SHA-256 of the component.
        sha256: BlobId,
        /// The folder that it was built from, if it is published.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        origin: Option<Origin>,
    },
    /// Python sources, which run as they were read, in an interpreter that is approved with them.
    Python {
        /// SHA-256 of the source bundle ([`crate::bundle::Bundle`]).
        sha256: BlobId,
        /// SHA-256 of the interpreter: a component of the world in `wit/runtime.wit`.
        runtime: BlobId,
        /// The folder that it was built from, if it is published.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        origin: Option<Origin>,
    },
    /// JavaScript sources, in the same way.
    Javascript {
        /// SHA-256 of the source bundle.
        sha256: BlobId,
        /// SHA-256 of the interpreter.
        runtime: BlobId,
        /// The folder that it was built from, if it is published.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        origin: Option<Origin>,
    },
    /// What a trainer that heavy nodes have built in is told to fit, and how.
    Training {
        /// SHA-256 of the text ([`crate::training::Training`]).
        sha256: BlobId,
        /// Name and version of the trainer, as `collective-heavy/0.1.0`.
        trainer: String,
        /// Where the source can be read, if it is published.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        origin: Option<Origin>,
    },
    /// One SQL query over the records of the source.
    Sql {
        /// SHA-256 of the query's text ([`crate::query::Query`]).
        sha256: BlobId,
        /// Name and version of the engine that runs it, as `datafusion/55.2.0/rules/1`: another one may round in another way.
        engine: String,
        /// Where the source can be read, if it is published.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        origin: Option<Origin>,
    },
}

/// A language whose sources run as they were read, in an interpreter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpreted {
    /// [`Program::Python`].
    Python,
    /// [`Program::Javascript`].
    Javascript,
}

impl Interpreted {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Python, Self::Javascript];

    /// The file of a program that has its `run`.
    #[must_use]
    pub fn entry(self) -> &'static str {
        match self {
            Self::Python => "main.py",
            Self::Javascript => "main.js",
        }
    }

    /// What a manifest says of a program of these sources in this interpreter.
    #[must_use]
    pub fn program(self, sha256: BlobId, runtime: BlobId, origin: Option<Origin>) -> Program {
        match self {
            Self::Python => Program::Python {
                sha256,
                runtime,
                origin,
            },
            Self::Javascript => Program::Javascript {
                sha256,
                runtime,
                origin,
            },
        }
    }
}

impl fmt::Display for Interpreted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Python => "Python",
            Self::Javascript => "JavaScript",
        })
    }
}

impl Program {
    /// A component of these bytes, of unknown origin.
    pub fn component(bytes: &[u8]) -> Self {
        Self::Component {
            sha256: BlobId::of(bytes),
            origin: None,
        }
    }

    /// The name of the program's own bytes.
    pub fn sha256(&self) -> BlobId {
        match self {
            Self::Component { sha256, .. }
            | Self::Python { sha256, .. }
            | Self::Javascript { sha256, .. }
            | Self::Training { sha256, .. }
            | Self::Sql { sha256, .. } => *sha256,
        }
    }

    /// Where its source can be read, if it is published.
    pub fn origin(&self) -> Option<&Origin> {
        match self {
            Self::Component { origin, .. }
            | Self::Python { origin, .. }
            | Self::Javascript { origin, .. }
            | Self::Training { origin, .. }
            | Self::Sql { origin, .. } => origin.as_ref(),
        }
    }

    /// The name of the interpreter that it runs in, if it does.
    pub fn runtime(&self) -> Option<BlobId> {
        match self {
            Self::Component { .. } | Self::Training { .. } | Self::Sql { .. } => None,
            Self::Python { runtime, .. } | Self::Javascript { runtime, .. } => Some(*runtime),
        }
    }

    /// The language of its sources, if they are what runs.
    pub fn language(&self) -> Option<Interpreted> {
        match self {
            Self::Component { .. } | Self::Training { .. } | Self::Sql { .. } => None,
            Self::Python { .. } => Some(Interpreted::Python),
            Self::Javascript { .. } => Some(Interpreted::Javascript),
        }
    }

    /// The engine that runs it, if it is a query.
    pub fn engine(&self) -> Option<&str> {
        match self {
            Self::Sql { engine, .. } => Some(engine),
            _ => None,
        }
    }

    /// The trainer that is told, if it is a training.
    pub fn trainer(&self) -> Option<&str> {
        match self {
            Self::Training { trainer, .. } => Some(trainer),
            _ => None,
        }
    }

    /// Whether only a heavy node runs it, which the manifest then has to name.
    pub fn needs_heavy_node(&self) -> bool {
        self.trainer().is_some()
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::B256;

    use super::*;

    #[test]
    fn every_kind_names_what_it_needs_and_nothing_else() {
        let (one, two) = (BlobId(B256::repeat_byte(1)), BlobId(B256::repeat_byte(2)));
        for language in Interpreted::ALL {
            let program = language.program(one, two, None);
            assert_eq!(program.language(), Some(language));
            let text = serde_json::to_string(&program).expect("plain JSON values");
            assert_eq!(serde_json::from_str::<Program>(&text).ok(), Some(program));
        }
        let sql = Program::Sql {
            sha256: one,
            engine: "datafusion/55.2.0".into(),
            origin: None,
        };
        let text = serde_json::to_string(&sql).expect("plain JSON values");
        assert_eq!(serde_json::from_str::<Program>(&text).ok(), Some(sql));
        let training = Program::Training {
            sha256: one,
            trainer: "collective-heavy/0.1.0".into(),
            origin: None,
        };
        let text = serde_json::to_string(&training).expect("plain JSON values");
        assert_eq!(serde_json::from_str::<Program>(&text).ok(), Some(training));
        for wrong in [
            format!(r#"{{"kind":"training","sha256":"{one}"}}"#),
            format!(r#"{{"kind":"training","engine":"e","sha256":"{one}","trainer":"t"}}"#),
            format!(r#"{{"kind":"sql","sha256":"{one}"}}"#),
            format!(r#"{{"kind":"sql","engine":"e","runtime":"{two}","sha256":"{one}"}}"#),
            format!(r#"{{"kind":"python","sha256":"{one}"}}"#),
            format!(r#"{{"kind":"javascript","sha256":"{one}"}}"#),
            format!(r#"{{"kind":"component","runtime":"{two}","sha256":"{one}"}}"#),
            format!(r#"{{"aside":1,"kind":"python","runtime":"{two}","sha256":"{one}"}}"#),
            format!(r#"{{"kind":"perl","runtime":"{two}","sha256":"{one}"}}"#),
        ] {
            assert!(serde_json::from_str::<Program>(&wrong).is_err(), "{wrong}");
        }
    }
}
