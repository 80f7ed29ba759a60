//! C and Zig, by Zig's compiler.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{BuildError, MODULE, answer, on_path};
use crate::programs::description::Language;
use crate::programs::folder::{Folder, FolderRefusal, SOURCES};

/// The Zig that the example programs are built with, and its place where their script put it.
const ZIG_VERSION: &str = "0.17.1";

/// Where to find Zig: the compiler, or a virtual environment with the package `ziglang`.
const ZIG: &str = "COLLECTIVE_ZIG";

/// Fixed target and no host's features.
const ZIG_CPU: &str = "-mcpu=mvp+bulk_memory+sign_ext+nontrapping_fptoint";

/// A compiler of C and Zig.
pub struct Zig {
    path: PathBuf,
    /// What it reads of this machine: itself, and its library.
    pub tools: [PathBuf; 2],
    /// Name and version.
    pub name: String,
}

impl Zig {
    /// Finds it and asks who it is.
    pub fn find(language: Language) -> Result<Self, BuildError> {
        let install = "install the package `ziglang` (PyPI, version 0.17.1) into a virtual environment and name its folder, or \
                       the compiler, in COLLECTIVE_ZIG; or put `zig` on PATH";
        let named = zig().ok_or(BuildError::NoCompiler { language, install })?;
        let mut asked = Command::new(&named);
        // It says where it is relative to where it is asked.
        asked.arg("env").env_clear().current_dir("/");
        asked.env("ZIG_GLOBAL_CACHE_DIR", std::env::temp_dir());
        let env = answer(&mut asked)?;
        let no_version = || BuildError::NoVersion(named.display().to_string());
        let field = |name| zig_field(&env, name).ok_or_else(no_version);
        let name = format!("zig-{}", field("version")?);
        let path = Path::new("/").join(field("zig_exe")?);
        let library = Path::new("/").join(field("lib_dir")?);
        let tools = [path.clone(), library];
        Ok(Self { path, tools, name })
    }

    fn command(&self, verb: &str, work: &Path) -> Command {
        let mut command = Command::new(&self.path);
        command
            .arg(verb)
            .env_clear()
            .env("ZIG_GLOBAL_CACHE_DIR", work.join("cache"))
            .env("ZIG_LOCAL_CACHE_DIR", work.join("cache"));
        command
    }

    /// The flags of `jobs/build.sh`, but for functions that stay unused.
    pub fn c(&self, folder: &Folder, work: &Path) -> Result<Command, BuildError> {
        let mut command = self.command("cc", work);
        command
            .args(["--target=wasm32-freestanding", ZIG_CPU])
            .args([
                "-std=c23",
                "-O2",
                "-Wall",
                "-Wextra",
                "-Werror",
                // A program need not use all that a header offers.
                "-Wno-unused-function",
                "-fno-math-errno",
                "-ffp-contract=off",
                "-s",
            ])
            .args(["-Wl,--no-entry", "-Wl,-z,stack-size=65536", "-o", MODULE]);
        let mut files = folder
            .sources()
            .keys()
            .filter(|path| path.ends_with(".c"))
            .peekable();
        if files.peek().is_none() {
            return Err(FolderRefusal::Missing("src/*.c").into());
        }
        command.args(files.map(|path| format!("{SOURCES}{path}")));
        Ok(command)
    }

    /// The program whose root is `src/main.zig`.
    pub fn zig(&self, work: &Path) -> Result<Command, BuildError> {
        const ROOT: &str = "src/main.zig";
        if !work.join(ROOT).is_file() {
            return Err(FolderRefusal::Missing(ROOT).into());
        }
        let mut command = self.command("build-exe", work);
        command
            .args([
                ROOT,
                "-target",
                "wasm32-freestanding",
                ZIG_CPU,
                "-O",
                "ReleaseSafe",
            ])
            .args(["-fno-entry", "-rdynamic", "-fstrip", "--stack", "65536"])
            .arg(format!("-femit-bin={MODULE}"));
        Ok(command)
    }
}

/// One line of `zig env`: `.name = "value",` or, before Zig 0.15, `"name": "value",`.
fn zig_field<'a>(env: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = env
        .lines()
        .map(|line| line.trim_start().trim_start_matches(['.', '"']));
    let value = lines.find_map(|line| line.strip_prefix(name))?;
    let value = value
        .trim_start_matches(['"', ':', '=', ' '])
        .trim_end_matches(['"', ',']);
    // Nothing that would have to be read otherwise than it is written.
    (!value.is_empty() && !value.contains(['"', '\\'])).then_some(value)
}

/// Named, on PATH, or where `jobs/build.sh` puts it.
fn zig() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os(ZIG) {
        let named = PathBuf::from(named);
        return if named.is_dir() {
            in_environment(&named)
        } else {
            Some(named)
        };
    }
    on_path("zig").or_else(|| {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
        in_environment(
            &cache
                .or_else(home)?
                .join(format!("collective-zig-{ZIG_VERSION}")),
        )
    })
}

/// The compiler that the package `ziglang` has, in a virtual environment.
fn in_environment(folder: &Path) -> Option<PathBuf> {
    let libraries = fs::read_dir(folder.join("lib")).ok()?.flatten();
    let mut places = libraries.map(|python| python.path().join("site-packages/ziglang/zig"));
    places.find(|path| path.is_file())
}
