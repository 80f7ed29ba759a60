//! The bytes that run, once they are known to be those that the manifest names.

use std::collections::BTreeMap;
use std::fmt;

use thiserror::Error;

use crate::approval::{Interpreted, Program};
use crate::bundle::{Bundle, BundleRefusal};
use crate::id::BlobId;
use crate::query::{Query, QueryRefusal};
use crate::training::{Training, TrainingRefusal};

/// A program's bytes. [`Code::approved`] makes it of what a manifest names; outside of a permit, whoever tries a program
/// out makes it of what they have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Code {
    /// A component, which runs as it is.
    Component(Binary),
    /// Sources, and the interpreter that they run in.
    Sources {
        /// The sources, which [`Code::check_sources`] passed.
        bundle: Bundle,
        /// A component of the world in `wit/runtime.wit`.
        runtime: Binary,
    },
    /// One SQL query.
    Sql(Query),
    /// What a trainer is told.
    Training(Training),
}

/// A component's bytes with their name, which is worked out once: an interpreter has millions of them.
#[derive(Clone, PartialEq, Eq)]
pub struct Binary {
    bytes: Vec<u8>,
    id: BlobId,
}

impl Binary {
    /// These bytes under their name.
    pub fn new(bytes: Vec<u8>) -> Self {
        let id = BlobId::of(&bytes);
        Self { bytes, id }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Their SHA-256.
    pub fn id(&self) -> BlobId {
        self.id
    }
}

impl fmt::Debug for Binary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Binary({}, {} bytes)", self.id, self.bytes.len())
    }
}

/// Why bytes are not the program.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CodeRefusal {
    /// The bytes are not the approved ones.
    #[error("the program hashes to {found}, the manifest approves {approved}")]
    AnotherProgram {
        /// What the manifest names.
        approved: BlobId,
        /// What the bytes hash to.
        found: BlobId,
    },
    /// The interpreter is not the approved one.
    #[error("the runtime hashes to {found}, the manifest approves {approved}")]
    AnotherRuntime {
        /// What the manifest names.
        approved: BlobId,
        /// What the bytes hash to.
        found: BlobId,
    },
    /// Sources without the interpreter that they were approved with.
    #[error("the program runs in the runtime {0}, which is not at hand")]
    NoRuntime(BlobId),
    /// The approved bytes are no sources.
    #[error(transparent)]
    Bundle(#[from] BundleRefusal),
    /// The approved bytes are no text of a query.
    #[error(transparent)]
    Query(#[from] QueryRefusal),
    /// The approved bytes are nothing that a trainer could be told.
    #[error(transparent)]
    Training(#[from] TrainingRefusal),
    /// Nothing to start with.
    #[error("the bundle has no {entry}, where a program in {0} has its `run`", entry = .0.entry())]
    NoEntry(Interpreted),
    /// Files to start with in no language, or in more than one.
    #[error("a program has either a main.py or a main.js, by which its language is known")]
    NoLanguage,
    /// Two files of which an import finds one, or a file that it finds under a name that is not its own.
    #[error(
        "`import {name}` finds {found}, and {hidden} beside it: members would read one file and run the other"
    )]
    TwoModules {
        /// The module.
        name: String,
        /// What runs.
        found: String,
        /// What does not.
        hidden: String,
    },
    /// A module whose name has a dot in it is taken for one of a folder.
    #[error("{0}: a module's file has no dot in its name but the one before `py`")]
    DottedModule(String),
}

impl Code {
    /// The code that `program` names, out of its own bytes and those of its runtime, where it has one.
    ///
    /// # Errors
    /// [`CodeRefusal`], when one bit of either differs.
    pub fn approved(
        program: &Program,
        bytes: Vec<u8>,
        runtime: Option<Vec<u8>>,
    ) -> Result<Self, CodeRefusal> {
        let program_bytes = Binary::new(bytes);
        let (approved, found) = (program.sha256(), program_bytes.id());
        if found != approved {
            return Err(CodeRefusal::AnotherProgram { approved, found });
        }
        match program {
            Program::Component { .. } => Ok(Self::Component(program_bytes)),
            Program::Python {
                runtime: approved, ..
            }
            | Program::Javascript {
                runtime: approved, ..
            } => {
                let approved = *approved;
                let runtime = runtime.ok_or(CodeRefusal::NoRuntime(approved))?;
                let runtime = Binary::new(runtime);
                let found = runtime.id();
                if found != approved {
                    return Err(CodeRefusal::AnotherRuntime { approved, found });
                }
                let bundle = Bundle::parse(program_bytes.bytes())?;
                if let Some(language) = program.language() {
                    Self::check_sources(language, &bundle)?;
                }
                Ok(Self::Sources { bundle, runtime })
            }
            Program::Sql { .. } => Ok(Self::Sql(Query::parse(program_bytes.bytes())?)),
            Program::Training { .. } => Ok(Self::Training(Training::parse(program_bytes.bytes())?)),
        }
    }

    /// A program of these sources, to try it out.
    ///
    /// # Errors
    /// What [`Self::check_sources`] refuses.
    pub fn sources(
        language: Interpreted,
        bundle: Bundle,
        runtime: Binary,
    ) -> Result<Self, CodeRefusal> {
        Self::check_sources(language, &bundle)?;
        Ok(Self::Sources { bundle, runtime })
    }

    /// The language of these sources, by the file that they start with.
    ///
    /// # Errors
    /// [`CodeRefusal::NoLanguage`].
    pub fn language_of(bundle: &Bundle) -> Result<Interpreted, CodeRefusal> {
        let starts = |language: &Interpreted| bundle.text(language.entry()).is_some();
        let mut found = Interpreted::ALL.into_iter().filter(starts);
        match (found.next(), found.next()) {
            (Some(language), None) => Ok(language),
            _ => Err(CodeRefusal::NoLanguage),
        }
    }

    /// Whether these sources are a program in this language, whichever interpreter runs it: every module is one file.
    ///
    /// # Errors
    /// [`CodeRefusal::NoEntry`], [`CodeRefusal::TwoModules`], [`CodeRefusal::DottedModule`].
    pub fn check_sources(language: Interpreted, bundle: &Bundle) -> Result<(), CodeRefusal> {
        if bundle.text(language.entry()).is_none() {
            return Err(CodeRefusal::NoEntry(language));
        }
        match language {
            Interpreted::Python => Self::check_python_modules(bundle),
            // A module is named by the path of its file.
            Interpreted::Javascript => Ok(()),
        }
    }

    fn check_python_modules(bundle: &Bundle) -> Result<(), CodeRefusal> {
        let mut modules = BTreeMap::new();
        for (path, _) in bundle.files() {
            let Some(stem) = path.strip_suffix(".py") else {
                continue;
            };
            if stem.contains('.') {
                return Err(CodeRefusal::DottedModule(path.into()));
            }
            let name = stem.strip_suffix("/__init__").unwrap_or(stem);
            if let Some(hidden) = modules.insert(name, path) {
                return Err(CodeRefusal::TwoModules {
                    name: name.replace('/', "."),
                    found: path.into(),
                    hidden: hidden.into(),
                });
            }
        }
        Ok(())
    }

    /// What the engine compiles, where there is something to compile.
    pub fn component(&self) -> Option<&Binary> {
        match self {
            Self::Component(component) => Some(component),
            Self::Sources { runtime, .. } => Some(runtime),
            Self::Sql(_) | Self::Training(_) => None,
        }
    }

    /// The sources that the component is handed, if it is a runtime.
    pub fn bundle(&self) -> Option<&Bundle> {
        match self {
            Self::Component(_) | Self::Sql(_) | Self::Training(_) => None,
            Self::Sources { bundle, .. } => Some(bundle),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(path: &str) -> Bundle {
        bundle_of(&[path])
    }

    fn bundle_of(paths: &[&str]) -> Bundle {
        let text = "def run(arguments): pass\n";
        let files = paths.iter().map(|path| ((*path).into(), text.into()));
        Bundle::new(files.collect()).expect("good paths")
    }

    /// The program, and the bytes of both of its parts.
    fn program_in(language: Interpreted) -> (Program, Vec<u8>, Vec<u8>) {
        let (bundle, runtime) = (bundle(language.entry()), b"interpreter".to_vec());
        let bytes = bundle.as_bytes().to_vec();
        let program = language.program(BlobId::of(&bytes), BlobId::of(&runtime), None);
        (program, bytes, runtime)
    }

    #[test]
    fn one_flipped_bit_in_sources_or_runtime_is_another_program() {
        let (program, bytes, runtime) = program_in(Interpreted::Javascript);
        let good = Code::approved(&program, bytes.clone(), Some(runtime.clone())).expect("both");
        assert_eq!(good.component().expect("a runtime").bytes(), runtime);
        assert_eq!(good.bundle().expect("sources").as_bytes(), bytes);
        for bit in 0..bytes.len() * 8 {
            let mut bent = bytes.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            let refusal = Code::approved(&program, bent, Some(runtime.clone()));
            assert!(matches!(refusal, Err(CodeRefusal::AnotherProgram { .. })));
        }
        for bit in 0..runtime.len() * 8 {
            let mut bent = runtime.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            let refusal = Code::approved(&program, bytes.clone(), Some(bent));
            assert!(matches!(refusal, Err(CodeRefusal::AnotherRuntime { .. })));
        }
    }

    #[test]
    fn one_flipped_bit_in_a_query_is_another_program() {
        let text = b"SELECT count(*) AS n FROM poll";
        let program = Program::Sql {
            sha256: BlobId::of(text),
            engine: "datafusion/55.2.0".into(),
            origin: None,
        };
        let good = Code::approved(&program, text.to_vec(), None).expect("a query");
        assert_eq!(good, Code::Sql(Query::parse(text).expect("text")));
        assert!(good.component().is_none() && good.bundle().is_none());
        for bit in 0..text.len() * 8 {
            let mut bent = text.to_vec();
            bent[bit / 8] ^= 1 << (bit % 8);
            let refusal = Code::approved(&program, bent, None);
            assert!(matches!(refusal, Err(CodeRefusal::AnotherProgram { .. })));
        }
    }

    #[test]
    fn every_module_is_one_file() {
        let check = |paths: &[&str]| Code::check_sources(Interpreted::Python, &bundle_of(paths));
        assert_eq!(
            check(&["main.py", "a/__init__.py", "a/b.py", "a/c.csv"]),
            Ok(())
        );
        for paths in [["main.py", "main/__init__.py"], ["a.py", "a/__init__.py"]] {
            let paths = [&["main.py"][..], &paths].concat();
            let paths: std::collections::BTreeSet<_> = paths.into_iter().collect();
            let paths: Vec<_> = paths.into_iter().collect();
            assert!(matches!(check(&paths), Err(CodeRefusal::TwoModules { .. })));
        }
        assert_eq!(
            check(&["main.py", "a.b.py"]),
            Err(CodeRefusal::DottedModule("a.b.py".into()))
        );
    }

    #[test]
    fn sources_need_their_runtime_and_the_entry_of_their_language() {
        for (language, other) in [
            (Interpreted::Python, Interpreted::Javascript),
            (Interpreted::Javascript, Interpreted::Python),
        ] {
            let (program, bytes, runtime) = program_in(language);
            let refusal = Code::approved(&program, bytes.clone(), None);
            assert_eq!(refusal, Err(CodeRefusal::NoRuntime(BlobId::of(&runtime))));
            let approved = |bytes: &[u8]| {
                let program = language.program(BlobId::of(bytes), BlobId::of(&runtime), None);
                Code::approved(&program, bytes.to_vec(), Some(runtime.clone()))
            };
            for path in ["aside", other.entry()] {
                let elsewhere = approved(bundle(path).as_bytes());
                assert_eq!(elsewhere, Err(CodeRefusal::NoEntry(language)));
            }
            assert!(matches!(
                approved(b"import os"),
                Err(CodeRefusal::Bundle(_))
            ));
        }
    }

    #[test]
    fn sources_have_one_language() {
        let of = |paths: &[&str]| Code::language_of(&bundle_of(paths));
        assert_eq!(of(&["main.py", "a.js"]), Ok(Interpreted::Python));
        assert_eq!(of(&["main.js"]), Ok(Interpreted::Javascript));
        for paths in [&["a.js"][..], &["main.js", "main.py"]] {
            assert_eq!(of(paths), Err(CodeRefusal::NoLanguage));
        }
    }
}
