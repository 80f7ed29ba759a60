//! The jail around the child: what it gives up before it reads a byte that anybody else wrote.
//!
//! Several layers deny the same things, so that a mistake in one is not yet a way out. Each layer that
//! the machine denies is named with the kernel's reason; the parent decides whether to go on.

use std::collections::BTreeMap;
use std::{fmt, io};

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, Scope,
};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};
use serde::{Deserialize, Serialize};

use super::sys;

/// Open descriptors: two pipes, twice, the standard error, and room for none more.
const MAX_DESCRIPTORS: u64 = 8;

/// One layer of the jail. The names stand in receipts and configurations (SPEC "Layers").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// A user namespace of its own: no right in it counts outside.
    UserNamespace,
    /// A network namespace of its own: no interface but a loopback that is down.
    NetworkNamespace,
    /// No System V IPC or POSIX queue of others.
    IpcNamespace,
    /// A host name of its own.
    UtsNamespace,
    /// A file system of its own, with nothing in it.
    EmptyRoot,
    /// No capability.
    NoCapabilities,
    /// Executing a set-uid binary gains nothing.
    NoNewPrivileges,
    /// Other processes of the same user cannot look into its memory; no core is written.
    NotDumpable,
    /// Resource limits: memory, processor time, no files, no processes, no core.
    ResourceLimits,
    /// Landlock: no file (from version 2), and where the kernel knows more, no TCP (4), no signal and
    /// no abstract socket to the outside (6).
    Landlock,
    /// Seccomp: an allow-list of the system calls that running a program needs.
    Seccomp,
}

impl Layer {
    /// All layers, in the order in which they are put on.
    pub const ALL: [Self; 11] = [
        Self::UserNamespace,
        Self::NetworkNamespace,
        Self::IpcNamespace,
        Self::UtsNamespace,
        Self::EmptyRoot,
        Self::NoCapabilities,
        Self::NoNewPrivileges,
        Self::NotDumpable,
        Self::ResourceLimits,
        Self::Landlock,
        Self::Seccomp,
    ];
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// Which layers are on, and which the machine denied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layers {
    /// On.
    pub on: Vec<Layer>,
    /// Denied, with the kernel's reason.
    pub denied: Vec<(Layer, String)>,
}

impl Layers {
    /// Why a layer is not on.
    #[must_use]
    pub fn reason(&self, layer: Layer) -> String {
        let denied = self.denied.iter().find(|(denied, _)| *denied == layer);
        denied.map_or_else(|| "not reported".into(), |(_, reason)| reason.clone())
    }
}

/// Limits for the kernel to hold, in case the engine's own do not.
#[derive(Clone, Copy)]
pub(super) struct KernelLimits {
    /// Bytes of writable private memory.
    pub(super) memory: u64,
    /// Seconds of processor time.
    pub(super) seconds: u64,
}

/// Puts on every layer but those in `without`. Needs to be called before any thread is started.
///
/// There is no process namespace: this process cannot enter one itself (only its children would), it
/// cannot signal or trace (Landlock, seccomp), and it sees no `/proc` (empty root).
pub(super) fn enter(limits: KernelLimits, without: &[Layer]) -> Layers {
    let mut layers = Layers::default();
    for layer in Layer::ALL
        .into_iter()
        .filter(|layer| !without.contains(layer))
    {
        match put_on(layer, limits) {
            Ok(()) => layers.on.push(layer),
            Err(reason) => layers.denied.push((layer, reason.to_string())),
        }
    }
    layers
}

fn put_on(layer: Layer, limits: KernelLimits) -> io::Result<()> {
    match layer {
        Layer::UserNamespace => sys::unshare(libc::CLONE_NEWUSER),
        Layer::NetworkNamespace => sys::unshare(libc::CLONE_NEWNET),
        Layer::IpcNamespace => sys::unshare(libc::CLONE_NEWIPC),
        Layer::UtsNamespace => sys::unshare(libc::CLONE_NEWUTS),
        Layer::EmptyRoot => sys::unshare(libc::CLONE_NEWNS).and_then(|()| sys::empty_root()),
        Layer::NoCapabilities => sys::drop_capabilities(),
        Layer::NoNewPrivileges => sys::no_new_privileges(),
        Layer::NotDumpable => sys::not_dumpable(),
        Layer::ResourceLimits => {
            // Here, as a change of credentials makes the kernel forget it.
            sys::die_with_parent()?;
            // Counts writable memory only: the address space that the engine reserves is free.
            sys::set_limit(libc::RLIMIT_DATA, limits.memory)?;
            sys::set_processor_seconds(limits.seconds)?;
            sys::set_limit(libc::RLIMIT_CORE, 0)?;
            sys::set_limit(libc::RLIMIT_FSIZE, 0)?;
            sys::set_limit(libc::RLIMIT_NPROC, 0)?;
            sys::set_limit(libc::RLIMIT_MEMLOCK, 0)?;
            sys::set_limit(libc::RLIMIT_NOFILE, MAX_DESCRIPTORS)
        }
        Layer::Landlock => landlock(),
        Layer::Seccomp => seccomp(),
    }
}

/// Allows nothing of what this kernel's Landlock can deny, which is files at the least.
fn landlock() -> io::Result<()> {
    let (least, newest) = (ABI::V2, ABI::V6);
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(least))
        .map(|rules| rules.set_compatibility(CompatLevel::BestEffort))
        .and_then(|rules| rules.handle_access(AccessFs::from_all(newest)))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(newest)))
        .and_then(|rules| rules.scope(Scope::from_all(newest)))
        .and_then(|rules| rules.create())
        .and_then(|rules| rules.restrict_self())
        .map(drop)
        .map_err(io::Error::other)
}

/// The system calls of a child at work; all others fail with EPERM.
fn allowed_calls() -> Vec<libc::c_long> {
    let mut calls = vec![
        // The two pipes, and closing them.
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_close,
        // Memory: the allocator's, the programs', and the code of a compiled program.
        libc::SYS_mmap,
        libc::SYS_munmap,
        libc::SYS_mprotect,
        libc::SYS_mremap,
        libc::SYS_madvise,
        libc::SYS_brk,
        // Locks, and making freshly loaded code visible.
        libc::SYS_futex,
        libc::SYS_membarrier,
        // Traps and the deadline.
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sigaltstack,
        libc::SYS_setitimer,
        libc::SYS_restart_syscall,
        // Seeds of the host's hash maps; the program cannot see them.
        libc::SYS_getrandom,
        // The end.
        libc::SYS_exit,
        libc::SYS_exit_group,
    ];
    calls.sort_unstable();
    calls
}

fn seccomp() -> io::Result<()> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH).map_err(io::Error::other)?;
    let rules: BTreeMap<i64, _> = allowed_calls()
        .into_iter()
        .map(|call| (call, vec![]))
        .collect();
    let denied = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(rules, denied, SeccompAction::Allow, architecture)
        .map_err(io::Error::other)?;
    let program = BpfProgram::try_from(filter).map_err(io::Error::other)?;
    seccompiler::apply_filter(&program).map_err(io::Error::other)
}
