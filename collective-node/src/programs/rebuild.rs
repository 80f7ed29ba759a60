//! The bytes of a folder made again, against those that a manifest names: what reviewers and nodes say of a source.

use collective::approval::{Build, Origin, Program};
use serde::Serialize;

use super::description::Language;
use super::folder::Folder;
use super::recipe::{self, BuildError};

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebuilt {
    /// Whether the source makes the bytes.
    pub same_bytes: SameBytes,
    /// What it was built with here, if it was.
    pub with: Option<Build>,
    /// Whether the compiler came to no end, which a source can be made for.
    pub endless: bool,
}

/// Builds a folder again. Blocks: a compiler takes seconds.
pub fn rebuild(folder: &Folder, program: &Program, origin: &Origin) -> Rebuilt {
    let language = folder.description().language;
    let built = recipe::build(folder);
    let endless = matches!(built, Err(BuildError::Process(..)));
    let with = built.as_ref().ok().map(|built| built.build().clone());
    let same_bytes = match built {
        Ok(built) if built.program(Some(origin.clone())) == *program => SameBytes::Yes,
        Ok(built) if is_compiled(language, program) && *built.build() != origin.build => unlike(
            language,
            &origin.build.to_string(),
            &built.build().to_string(),
        ),
        Err(error) if is_compiled(language, program) && !error.is_the_sources() => {
            SameBytes::Unknown(error.to_string())
        }
        Ok(_) | Err(_) => SameBytes::No,
    };
    Rebuilt {
        same_bytes,
        with,
        endless,
    }
}

/// Only a compiler's version explains other bytes: not another language, and not sources that run as they are.
fn is_compiled(language: Language, program: &Program) -> bool {
    language.is_compiled() && matches!(program, Program::Component { .. })
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
