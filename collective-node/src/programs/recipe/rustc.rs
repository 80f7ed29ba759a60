//! Rust without dependencies, by rustc.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{BuildError, MODULE, answer, first_line, on_path};
use crate::programs::description::Language;
use crate::programs::folder::FolderRefusal;

/// Where to find rustc.
const RUSTC: &str = "COLLECTIVE_RUSTC";

const RUST_TARGET: &str = "wasm32-unknown-unknown";

/// A compiler of Rust, with the parts for our target.
pub struct Rustc {
    path: PathBuf,
    /// What it reads of this machine: itself, and its libraries.
    pub tools: [PathBuf; 2],
    /// Name and version.
    pub name: String,
}

impl Rustc {
    /// Finds it and asks who it is.
    pub fn find() -> Result<Self, BuildError> {
        let language = Language::Rust;
        let missing = |install| BuildError::NoCompiler { language, install };
        let named = std::env::var_os(RUSTC)
            .map(PathBuf::from)
            .or_else(|| on_path("rustc"));
        let install = "install Rust with rustup, or name rustc in COLLECTIVE_RUSTC";
        let named = named.ok_or_else(|| missing(install))?;
        // What is on PATH may only choose a compiler, by what it finds in the environment: the sources are compiled without one.
        let sysroot = answer(
            Command::new(&named)
                .args(["--print", "sysroot"])
                .current_dir("/"),
        )?;
        let sysroot = PathBuf::from(first_line(&sysroot));
        if !sysroot.join("lib/rustlib").join(RUST_TARGET).is_dir() {
            return Err(missing("rustup target add wasm32-unknown-unknown"));
        }
        let path = sysroot.join("bin/rustc");
        let version = answer(Command::new(&path).arg("--version").env_clear())?;
        let version = first_line(&version).split(' ').nth(1).unwrap_or_default();
        let name = format!("rustc-{version}");
        let tools = [path.clone(), sysroot.join("lib")];
        Ok(Self { path, tools, name })
    }

    /// The program whose root is `src/lib.rs`.
    pub fn rust(&self, work: &Path) -> Result<Command, BuildError> {
        const ROOT: &str = "src/lib.rs";
        if !work.join(ROOT).is_file() {
            return Err(FolderRefusal::Missing(ROOT).into());
        }
        let mut remap = OsString::from("--remap-path-prefix=");
        remap.push(work);
        remap.push("=/program");
        let mut command = Command::new(&self.path);
        command
            .env_clear()
            .args([
                "--edition",
                "2024",
                "--crate-name",
                "program",
                "--crate-type",
                "cdylib",
                "--target",
                RUST_TARGET,
            ])
            .args([
                "-C",
                "opt-level=2",
                "-C",
                "panic=abort",
                "-C",
                "codegen-units=1",
                "-C",
                "strip=symbols",
            ])
            .args([
                "-C",
                "link-arg=-zstack-size=65536",
                "-D",
                "warnings",
                "--color",
                "never",
            ])
            .arg(remap)
            .args([ROOT, "-o", MODULE]);
        Ok(command)
    }
}
