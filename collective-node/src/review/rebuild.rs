//! The published source, built again in a clean folder, against what the manifest says.

use collective::approval::{Manifest, Program};
use collective::bundle::Bundle;
use serde::Serialize;

use super::changes;
use crate::chain::Deployment;
use crate::programs::description::{Expiry, Language};
use crate::programs::folder::Folder;
use crate::programs::recipe::{self, BuildError};
use crate::programs::{Occasion, described};

/// Whether rebuilding the source in a clean folder gives the bytes that the manifest names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SameBytes {
    /// It does.
    Yes,
    /// It gives others, or none.
    No,
    /// It was not rebuilt, or by another compiler, and why.
    Unknown(String),
}

/// What rebuilding found.
pub struct Rebuilt {
    /// Whether the source makes the bytes.
    pub same_bytes: SameBytes,
    /// Fields of the manifest of which `program.toml` says something else.
    pub otherwise: Vec<String>,
    /// Whether the compiler came to no end, which a source can be made for.
    pub endless: bool,
}

impl Rebuilt {
    fn new(same_bytes: SameBytes) -> Self {
        Self {
            same_bytes,
            otherwise: vec![],
            endless: false,
        }
    }

    /// Nothing, for this reason.
    pub fn not(reason: impl Into<String>) -> Self {
        Self::new(SameBytes::Unknown(reason.into()))
    }
}

/// Builds `sources` again. Blocks: a compiler takes seconds.
pub fn rebuild(manifest: &Manifest, deployment: &Deployment, sources: Bundle) -> Rebuilt {
    let Some(origin) = manifest.program.origin() else {
        return Rebuilt::not("no source is published");
    };
    // A folder that is none makes nothing.
    let Ok(folder) = Folder::parse(sources) else {
        return Rebuilt::new(SameBytes::No);
    };
    let language = folder.description().language;
    let built = recipe::build(&folder);
    let endless = matches!(built, Err(BuildError::Process(..)));
    let same_bytes = match built {
        Ok(built) if built.program(Some(origin.clone())) == manifest.program => SameBytes::Yes,
        Ok(built) if is_compiled(language, manifest) && *built.build() != origin.build => unlike(
            language,
            &origin.build.to_string(),
            &built.build().to_string(),
        ),
        Err(error) if is_compiled(language, manifest) && !error.is_the_sources() => {
            SameBytes::Unknown(error.to_string())
        }
        Ok(_) | Err(_) => SameBytes::No,
    };
    Rebuilt {
        same_bytes,
        otherwise: otherwise(&folder, manifest, deployment),
        endless,
    }
}

/// Only a compiler's version explains other bytes: not another language, and not sources that run as they are.
fn is_compiled(language: Language, manifest: &Manifest) -> bool {
    !language.has_runtime() && matches!(manifest.program, Program::Component { .. })
}

/// Other bytes, by another compiler than the one that the origin names, if that is one of the language.
fn unlike(language: Language, named: &str, here: &str) -> SameBytes {
    let compiler = |build: &str| {
        let (of, compiler) = build.split_once(' ')?;
        let (name, _) = compiler.split_once('-')?;
        (of == language.to_string()).then(|| name.to_owned())
    };
    if compiler(named).is_none() || compiler(named) != compiler(here) {
        return SameBytes::No;
    }
    SameBytes::Unknown(format!(
        "the bytes were made with {named}, here is {here}, and another compiler makes other bytes"
    ))
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
    otherwise
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_version_of_the_languages_compiler_explains_other_bytes() {
        let unlike = |named| unlike(Language::C, named, "c zig-0.17.1");
        assert!(matches!(unlike("c zig-0.16.0"), SameBytes::Unknown(_)));
        for named in [
            "python",
            "c",
            "rust rustc-9",
            "zig zig-0.16.0",
            "c gcc-14",
            "c zig",
        ] {
            assert_eq!(unlike(named), SameBytes::No, "{named}");
        }
    }
}
