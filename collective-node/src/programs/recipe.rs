//! How bytes are made of sources: one recipe for each language, all of them ours.
//!
//! A recipe runs nothing that comes with the sources: no build script, no macro that is compiled first, no package manager. The
//! compiler reads nothing of this machine besides them and itself ([`fence`]). So a reviewer can make the bytes of a
//! stranger's folder. Equal sources give equal bytes with an equal compiler, wherever they lie.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use collective::approval::{Build, Interpreted, Origin, Program};
use collective::bundle::Bundle;
use collective::id::BlobId;
use collective::permit::{Binary, Code, CodeRefusal};
use collective::query::Query;
use collective::training::Training;
use thiserror::Error;

use super::description::Language;
use super::fence;
use super::folder::{Folder, FolderRefusal, SOURCES};
use super::process::{Ended, KernelLimits, Limits, ProcessError, run};
use crate::sandbox::{ComponentizeError, MAX_COMPONENT_BYTES, componentize};
use rustc::Rustc;
use zig::Zig;

mod rustc;
mod zig;

/// Seconds that a compiler may take: a program that members can read takes a few.
const COMPILE_TIME: Duration = Duration::from_secs(180);

/// Bytes that a compiler may write: Zig's cache for one program takes some 20 MB.
const COMPILE_BYTES: u64 = 512 << 20;

/// Bytes of memory of each process of a compiler: for a program that members can read it takes some hundred MB.
const COMPILE_MEMORY: u64 = 2 << 30;

/// Bytes that a compiler prints on its standard output, where it has nothing to say.
const PRINTED_BYTES: usize = 64 << 10;

/// Bytes of what a compiler answers when asked who it is: Zig adds its environment.
const ANSWER_BYTES: usize = 16 << 10;

/// A program's bytes, and what made them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    made: Made,
    build: Build,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Made {
    Component(Binary),
    Sources {
        language: Interpreted,
        bundle: Bundle,
        runtime: BlobId,
    },
    Query {
        query: Query,
        engine: String,
    },
    Training {
        training: Training,
        trainer: String,
    },
}

/// Why no bytes were made.
#[derive(Debug, Error)]
pub enum BuildError {
    /// The compiler is not installed: who builds has to act.
    #[error("no compiler for {language} here: {install}")]
    NoCompiler {
        /// For which language.
        language: Language,
        /// How to get one.
        install: &'static str,
    },
    /// The sources do not compile: their author has to act.
    #[error("the sources do not compile:\n{0}")]
    Sources(String),
    /// The sources have no file to start with.
    #[error(transparent)]
    Folder(#[from] FolderRefusal),
    /// What was compiled is no program.
    #[error(transparent)]
    Component(#[from] ComponentizeError),
    /// The sources are no program in their language.
    #[error(transparent)]
    Code(#[from] CodeRefusal),
    /// What was compiled is too large to be voted on.
    #[error("the program has {0} bytes, a program has at most {MAX_COMPONENT_BYTES}")]
    Oversize(u64),
    /// A compiler would read whatever a stranger's sources name: the operator of this machine has to act.
    #[error(
        "this machine cannot fence a compiler in ({0}): sources could name its files; it takes a Linux kernel from 5.19 on with \
         Landlock among its security modules (`lsm=`)"
    )]
    NoFence(#[from] landlock::RulesetError),
    /// The compiler did not come to an end.
    #[error("the compiler {0}: {1}")]
    Process(String, ProcessError),
    /// The compiler answered something else.
    #[error("{0} does not say which version it is")]
    NoVersion(String),
    /// The temporary folder.
    #[error("the temporary folder for compiling: {0}")]
    Place(#[from] io::Error),
}

impl BuildError {
    /// Whether the sources make no program anywhere, whatever is installed.
    pub fn is_the_sources(&self) -> bool {
        match self {
            Self::Sources(_)
            | Self::Folder(_)
            | Self::Component(_)
            | Self::Code(_)
            | Self::Oversize(_) => true,
            Self::NoCompiler { .. }
            | Self::NoFence(_)
            | Self::Process(..)
            | Self::NoVersion(_)
            | Self::Place(_) => false,
        }
    }
}

/// A compiler that was found, or none where the sources are what runs.
enum Compiler {
    None,
    Zig(Zig),
    Rustc(Rustc),
}

impl Compiler {
    fn find(language: Language) -> Result<Self, BuildError> {
        match language {
            Language::Python | Language::Js | Language::Sql | Language::Training => Ok(Self::None),
            Language::C | Language::Zig => Zig::find(language).map(Self::Zig),
            Language::Rust => Rustc::find().map(Self::Rustc),
        }
    }

    fn build(&self, language: Language) -> Result<Build, BuildError> {
        let text = match self {
            Self::None => language.to_string(),
            Self::Zig(Zig { name, .. }) | Self::Rustc(Rustc { name, .. }) => {
                format!("{language} {name}")
            }
        };
        text.parse().map_err(|_| BuildError::NoVersion(text))
    }
}

/// Makes the bytes of a folder. Blocks: a compiler takes seconds.
///
/// # Errors
/// [`BuildError`].
pub fn build(folder: &Folder) -> Result<Built, BuildError> {
    let language = folder.description().language;
    let compiler = Compiler::find(language)?;
    let made = match &compiler {
        Compiler::None => match language.interpreted() {
            Some(interpreted) => sources(folder, interpreted)?,
            None if language == Language::Training => training(folder)?,
            None => query(folder)?,
        },
        Compiler::Zig(zig) => component(&compile(folder, &zig.tools, |work| match language {
            Language::C => zig.c(folder, work),
            _ => zig.zig(work),
        })?)?,
        Compiler::Rustc(rustc) => {
            component(&compile(folder, &rustc.tools, |work| rustc.rust(work))?)?
        }
    };
    let build = compiler.build(language)?;
    Ok(Built { made, build })
}

impl Built {
    /// What is kept, hashed and voted on.
    pub fn bytes(&self) -> &[u8] {
        match &self.made {
            Made::Component(component) => component.bytes(),
            Made::Sources { bundle, .. } => bundle.as_bytes(),
            Made::Query { query, .. } => query.text().as_bytes(),
            Made::Training { training, .. } => training.text().as_bytes(),
        }
    }

    /// Their name.
    pub fn id(&self) -> BlobId {
        match &self.made {
            Made::Component(component) => component.id(),
            Made::Sources { bundle, .. } => bundle.id(),
            Made::Query { query, .. } => query.id(),
            Made::Training { training, .. } => training.id(),
        }
    }

    /// Recipe and compiler.
    pub fn build(&self) -> &Build {
        &self.build
    }

    /// What a manifest says of the program.
    pub fn program(&self, origin: Option<Origin>) -> Program {
        match &self.made {
            Made::Component(component) => Program::Component {
                sha256: component.id(),
                origin,
            },
            Made::Sources {
                language,
                bundle,
                runtime,
            } => language.program(bundle.id(), *runtime, origin),
            Made::Query { query, engine } => Program::Sql {
                sha256: query.id(),
                engine: engine.clone(),
                origin,
            },
            Made::Training { training, trainer } => Program::Training {
                sha256: training.id(),
                trainer: trainer.clone(),
                origin,
            },
        }
    }

    /// What the sandbox runs, with the interpreter where there is one.
    ///
    /// # Errors
    /// [`CodeRefusal`], where the interpreter is another one or is missing.
    pub fn code(&self, runtime: Option<Vec<u8>>) -> Result<Code, CodeRefusal> {
        Code::approved(&self.program(None), self.bytes().to_vec(), runtime)
    }
}

fn sources(folder: &Folder, language: Interpreted) -> Result<Made, BuildError> {
    let bundle = Bundle::new(folder.sources().clone()).map_err(FolderRefusal::Bundle)?;
    Code::check_sources(language, &bundle)?;
    let runtime = folder.description().runtime.ok_or(FolderRefusal::Runtime)?;
    Ok(Made::Sources {
        language,
        bundle,
        runtime,
    })
}

fn query(folder: &Folder) -> Result<Made, BuildError> {
    const TEXT: &str = "src/query.sql";
    let text = folder.bundle().text(TEXT);
    let text = text.ok_or(FolderRefusal::Missing(TEXT))?;
    let query = Query::parse(text.as_bytes()).map_err(CodeRefusal::from)?;
    let engine = folder.description().engine.clone();
    Ok(Made::Query {
        query,
        engine: engine.ok_or(FolderRefusal::Engine)?,
    })
}

fn training(folder: &Folder) -> Result<Made, BuildError> {
    const TEXT: &str = "src/training.json";
    let text = folder.bundle().text(TEXT);
    let text = text.ok_or(FolderRefusal::Missing(TEXT))?;
    let training = Training::parse(text.as_bytes()).map_err(CodeRefusal::from)?;
    let trainer = folder.description().trainer.clone();
    Ok(Made::Training {
        training,
        trainer: trainer.ok_or(FolderRefusal::Trainer)?,
    })
}

fn component(module: &[u8]) -> Result<Made, BuildError> {
    Ok(Made::Component(Binary::new(componentize(module)?)))
}

/// Lays the sources out in a fresh folder, runs the compiler there, and reads the module that it makes.
fn compile(
    folder: &Folder,
    tools: &[PathBuf],
    command: impl FnOnce(&Path) -> Result<Command, BuildError>,
) -> Result<Vec<u8>, BuildError> {
    let work = tempfile::Builder::new()
        .prefix("collective-build-")
        .tempdir()?;
    let work = work.path();
    for (path, text) in folder.sources() {
        let path = work.join(SOURCES).join(path);
        fs::create_dir_all(path.parent().expect("a file in a folder"))?;
        fs::write(path, text)?;
    }
    let mut command = command(work)?;
    command.current_dir(work).env("TMPDIR", work);
    let ended = fenced(&mut command, tools, work)?;
    if !ended.status.success() {
        let says = format!("{}\n{}", ended.complaint, ended.status);
        return Err(BuildError::Sources(says));
    }
    let module = work.join(MODULE);
    let length = fs::metadata(&module)?.len();
    if length > MAX_COMPONENT_BYTES as u64 {
        return Err(BuildError::Oversize(length));
    }
    Ok(fs::read(module)?)
}

/// Runs a compiler behind the fence, which a thread of its own enters for it: there is no way back out.
fn fenced(command: &mut Command, tools: &[PathBuf], work: &Path) -> Result<Ended, BuildError> {
    let name = command.get_program().to_string_lossy().into_owned();
    let limits = Limits {
        time: COMPILE_TIME,
        output: PRINTED_BYTES,
        folders: &[(work, COMPILE_BYTES)],
        kernel: Some(KernelLimits {
            memory: COMPILE_MEMORY,
            seconds: COMPILE_TIME.as_secs(),
            file: COMPILE_BYTES,
        }),
    };
    let within = || {
        fence::shut_in(tools, work)?;
        run(command, b"", limits).map_err(|error| BuildError::Process(name, error))
    };
    thread::scope(|scope| scope.spawn(within).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// What a compiler makes, in its work folder.
const MODULE: &str = "program.wasm";

/// What a compiler prints about itself.
fn answer(command: &mut Command) -> Result<String, BuildError> {
    let name = command.get_program().to_string_lossy().into_owned();
    let limits = Limits {
        time: COMPILE_TIME,
        output: ANSWER_BYTES,
        folders: &[],
        kernel: None,
    };
    let ended =
        run(command, b"", limits).map_err(|error| BuildError::Process(name.clone(), error))?;
    let text = String::from_utf8(ended.output)
        .ok()
        .filter(|_| ended.status.success());
    text.filter(|text| !first_line(text).is_empty())
        .ok_or(BuildError::NoVersion(name))
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}
