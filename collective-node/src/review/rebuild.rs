//! The published source, built again in a clean folder, against what the manifest says.

use collective::approval::Manifest;
use collective::bundle::Bundle;
use serde::Serialize;

use super::changes;
use crate::chain::Deployment;
use crate::programs::folder::Folder;
use crate::programs::recipe::{self, BuildError};
use crate::programs::{Occasion, proposal_manifest};

/// Whether rebuilding the source in a clean folder gives the bytes that the manifest names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SameBytes {
    /// It does.
    Yes,
    /// It gives others, or none.
    No,
    /// It was not rebuilt, and why.
    Unknown(String),
}

/// What rebuilding found.
pub struct Rebuilt {
    /// Whether the source makes the bytes.
    pub same_bytes: SameBytes,
    /// Fields of the manifest of which `program.toml` says something else.
    pub otherwise: Vec<String>,
}

impl Rebuilt {
    /// Nothing, for this reason.
    pub fn not(reason: impl Into<String>) -> Self {
        Self {
            same_bytes: SameBytes::Unknown(reason.into()),
            otherwise: vec![],
        }
    }
}

/// Builds `sources` again. Blocks: a compiler takes seconds.
pub fn rebuild(manifest: &Manifest, deployment: &Deployment, sources: Bundle) -> Rebuilt {
    let Some(origin) = manifest.program.origin() else {
        return Rebuilt::not("no source is published");
    };
    let folder = match Folder::parse(sources) {
        Ok(folder) => folder,
        // Such a folder makes nothing.
        Err(_) => {
            return Rebuilt {
                same_bytes: SameBytes::No,
                otherwise: vec![],
            };
        }
    };
    let occasion = Occasion {
        deployment: *deployment,
        recipient: Some(manifest.recipient.clone()),
        now: 0,
        origin: Some(origin.clone()),
    };
    let built = match recipe::build(&folder) {
        Ok(built) => built,
        Err(BuildError::Sources(_) | BuildError::Folder(_) | BuildError::Code(_)) => {
            return Rebuilt {
                same_bytes: SameBytes::No,
                otherwise: vec![],
            };
        }
        Err(error) => return Rebuilt::not(error.to_string()),
    };
    let same_bytes = if built.id() == manifest.program.sha256() {
        SameBytes::Yes
    } else if *built.build() == origin.build {
        SameBytes::No
    } else {
        SameBytes::Unknown(format!(
            "the bytes were made with {}, here is {}, and another compiler makes other bytes",
            origin.build,
            built.build()
        ))
    };
    let otherwise = match proposal_manifest(&folder, &built, &occasion) {
        Ok(mut described) => {
            // Days count from a moment that only the proposer knows, and of the bytes the digest tells.
            described.expiry = manifest.expiry;
            described.program = manifest.program.clone();
            let changes = changes::of_manifest(&described, manifest);
            changes.into_iter().map(|change| change.place).collect()
        }
        Err(_) => vec!["everything: program.toml makes no manifest".into()],
    };
    Rebuilt {
        same_bytes,
        otherwise,
    }
}
