//! The published source, built again in a clean folder, against what the manifest says.

use collective::approval::Manifest;
use collective::bundle::Bundle;

use super::changes;
use crate::chain::Deployment;
use crate::programs::description::Expiry;
use crate::programs::folder::Folder;
use crate::programs::rebuild::{Rebuilt, SameBytes, rebuild};
use crate::programs::{Occasion, described};

/// What the published source says and makes.
pub struct Published {
    /// What it makes.
    pub rebuilt: Rebuilt,
    /// Fields of the manifest of which `program.toml` says something else.
    pub otherwise: Vec<String>,
}

impl Published {
    fn new(same_bytes: SameBytes) -> Self {
        Self {
            rebuilt: Rebuilt {
                same_bytes,
                with: None,
                endless: false,
            },
            otherwise: vec![],
        }
    }

    /// Nothing, for this reason.
    pub fn not(reason: impl Into<String>) -> Self {
        Self::new(SameBytes::Unknown(reason.into()))
    }
}

/// Builds `sources` again, and reads what they say of themselves. Blocks: a compiler takes seconds.
pub fn look(manifest: &Manifest, deployment: &Deployment, sources: Bundle) -> Published {
    let Some(origin) = manifest.program.origin() else {
        return Published::not("no source is published");
    };
    // A folder that is none makes nothing.
    let Ok(folder) = Folder::parse(sources) else {
        return Published::new(SameBytes::No);
    };
    Published {
        rebuilt: rebuild(&folder, &manifest.program, origin),
        otherwise: otherwise(&folder, manifest, deployment),
    }
}

/// Fields of which `program.toml` says something else than the manifest. Of the bytes the digest tells.
fn otherwise(folder: &Folder, manifest: &Manifest, deployment: &Deployment) -> Vec<String> {
    let description = folder.description();
    let named = description.recipient.is_some();
    let occasion = Occasion {
        deployment: *deployment,
        recipient: (!named).then(|| manifest.recipient.clone()),
        now: 0,
        origin: manifest.program.origin().cloned(),
    };
    let Ok(mut said) = described(folder, manifest.program.clone(), &occasion) else {
        return vec!["everything: program.toml makes no manifest".into()];
    };
    if let Expiry::Days(_) = description.expiry {
        // Days count from a moment that only the proposer knows.
        said.expiry = manifest.expiry;
    }
    let changes = changes::of_manifest(&said, manifest);
    let mut otherwise: Vec<String> = changes.into_iter().map(|change| change.place).collect();
    if description.runtime != manifest.program.runtime() {
        otherwise.push("program.runtime".into());
    }
    if description.engine.as_deref() != manifest.program.engine() {
        otherwise.push("program.engine".into());
    }
    if description.trainer.as_deref() != manifest.program.trainer() {
        otherwise.push("program.trainer".into());
    }
    otherwise
}
