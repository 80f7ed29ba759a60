//! The fence around a compiler: what it may read, write and reach while it reads a stranger's sources.
//!
//! Sources name files (`#include`, `#embed`, `include_bytes!`), and what a compiler reads can end up in bytes that are
//! published. Owns: Landlock's rules for compilers. Limits of time and memory are the process's.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, Scope, path_beneath_rules,
};

/// What compilers are linked with, where a system has it.
const LIBRARIES: [&str; 7] = [
    "/lib",
    "/lib32",
    "/lib64",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/etc/ld.so.cache",
];

/// Where output goes that nobody wants.
const NOWHERE: &str = "/dev/null";

/// Shuts this thread in for good, and with it all that it starts: they read and execute `tools` and the system's libraries,
/// read and write below `work`, and reach nothing else of the file system. Where the kernel can refuse it, they open no TCP
/// connection, and signal no process and connect to no abstract socket outside.
///
/// # Errors
/// The kernel's reason for having no Landlock that knows all rights to files of version 2 (Linux 5.19).
pub fn shut_in(tools: &[PathBuf], work: &Path) -> Result<(), RulesetError> {
    let (least, newest) = (ABI::V2, ABI::V6);
    let run = AccessFs::from_read(newest);
    let write = AccessFs::from_all(newest) & !AccessFs::Execute;
    let nowhere = AccessFs::ReadFile | AccessFs::WriteFile;
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(least))?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(newest))?
        .handle_access(AccessNet::from_all(newest))?
        .scope(Scope::from_all(newest))?
        .create()?
        .add_rules(path_beneath_rules(tools, run))?
        .add_rules(path_beneath_rules(LIBRARIES, run))?
        .add_rules(path_beneath_rules([work], write))?
        .add_rules(path_beneath_rules([NOWHERE], nowhere))?
        .restrict_self()
        .map(drop)
}
