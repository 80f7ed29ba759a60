//! The jail around a program on a heavy node. Such a program is no component: it has threads and files, so that the sandbox of
//! components is none for it.
//!
//! bubblewrap gives it namespaces and a root of its own, in which there are the system's libraries, itself, and its three folders; our
//! seccomp filter takes away what such a namespace leaves in reach of the kernel. There is no `/proc`: what it tells of the machine
//! is nobody's business, and whoever is root outside could write there.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use thiserror::Error;

use super::filter;
use crate::sandbox::sys;

/// The program that makes the jail, by its name on Debian and elsewhere.
const BUBBLEWRAP: &str = "bwrap";

/// What programs are linked with, where a system has it.
const LIBRARIES: [&str; 6] = [
    "/lib",
    "/lib32",
    "/lib64",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
];

/// Where a program finds itself and its folders.
const PROGRAM: &str = "/program";
const INPUT: &str = "/input";
const OUTPUT: &str = "/output";
const STATE: &str = "/state";

/// Where output goes that nobody wants.
const NOWHERE: &str = "/dev/null";

/// Whoever it is outside, inside it is nobody.
const NOBODY: &str = "65534";

/// Bytes of `/tmp`, which are memory: for names of locks and the like. What is large belongs into the state.
const TMP_BYTES: u64 = 64 << 20;

/// Threads, of a program that has one or two for each processor. The kernel counts all that the node's user runs, so it leaves room for that.
const MAX_TASKS: u64 = 4096;

/// Bytes of a stack, which no limit of memory counts: what Linux gives by default.
const STACK_BYTES: u64 = 8 << 20;

/// Files that are open at once: three folders have few.
const MAX_DESCRIPTORS: u64 = 256;

/// Folders that a program writes are for the node's user alone, whatever it does to the files in them.
const OWN: u32 = 0o700;

/// Bytes of what bubblewrap tells about a program: two short lines.
const MAX_STATUS_BYTES: u64 = 4096;

/// Why there is no jail. Without one nothing runs.
#[derive(Debug, Error)]
pub enum JailError {
    /// It is not installed.
    #[error(
        "bubblewrap is not here, and nothing runs on a heavy node without it: on Debian `apt install bubblewrap`"
    )]
    NoBubblewrap,
    /// The filter, a folder, or what the jail tells.
    #[error("the jail cannot be prepared: {0}; check the disk and its rights")]
    Prepare(#[from] io::Error),
    /// bubblewrap says why.
    #[error(
        "bubblewrap makes no jail here: {0}; it needs a version from 0.8 on, and a kernel that gives namespaces to this user \
         (where AppArmor denies them, sysctl kernel.apparmor_restrict_unprivileged_userns)"
    )]
    Denied(String),
}

/// The folders of one program.
#[derive(Clone, Copy, Debug)]
pub struct Folders<'a> {
    /// It reads this one.
    pub input: &'a Path,
    /// It writes this one.
    pub output: &'a Path,
    /// Stays where a job is killed and started again; `None` for what has nothing to go on with.
    pub state: Option<&'a Path>,
}

/// A way to shut programs in.
#[derive(Clone, Debug)]
pub struct Jail {
    bubblewrap: PathBuf,
}

/// A program that is shut in once it is started.
#[derive(Debug)]
pub struct Jailed {
    /// To be started, once.
    pub command: Command,
    status: File,
}

impl Jail {
    /// Finds bubblewrap on the path.
    ///
    /// # Errors
    /// [`JailError::NoBubblewrap`].
    pub fn find() -> Result<Self, JailError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut places = std::env::split_paths(&path).map(|folder| folder.join(BUBBLEWRAP));
        let bubblewrap = places
            .find(|place| place.is_file())
            .ok_or(JailError::NoBubblewrap)?;
        Ok(Self { bubblewrap })
    }

    /// A program with its first words, which finds its folders at `/input`, `/output` and `/state`. Those that it writes are from now
    /// on the node's user's alone.
    ///
    /// # Errors
    /// [`JailError::Prepare`].
    pub fn shut_in(
        &self,
        program: &Path,
        words: &[&str],
        folders: Folders<'_>,
    ) -> Result<Jailed, JailError> {
        for folder in [Some(folders.output), folders.state].into_iter().flatten() {
            fs::set_permissions(folder, Permissions::from_mode(OWN))?;
        }
        let mut filter = tempfile::tempfile()?;
        filter.write_all(&filter::instructions()?)?;
        filter.rewind()?;
        // A file and no pipe: it holds nobody up.
        let status = tempfile::tempfile()?;
        let told = status.try_clone()?;
        let mut command = Command::new(&self.bubblewrap);
        command
            .args(["--seccomp", &filter.as_raw_fd().to_string()])
            .args(["--json-status-fd", &told.as_raw_fd().to_string()]);
        isolate(&mut command);
        mount(&mut command, program, folders);
        command.args(["--", PROGRAM]).args(words).env_clear();
        sys::set_apart(&mut command, vec![filter, told]);
        let limits = [
            (libc::RLIMIT_NPROC, MAX_TASKS),
            (libc::RLIMIT_NOFILE, MAX_DESCRIPTORS),
            (libc::RLIMIT_STACK, STACK_BYTES),
        ];
        sys::hold(&mut command, limits.to_vec());
        Ok(Jailed { command, status })
    }
}

/// Namespaces of its own, in which it has no right and can make no further ones; no terminal; and it ends with bubblewrap.
fn isolate(command: &mut Command) {
    command
        .args(["--unshare-all", "--unshare-user", "--disable-userns"])
        .args(["--uid", NOBODY, "--gid", NOBODY, "--hostname", "heavy"])
        .args(["--cap-drop", "ALL", "--clearenv"])
        .args(["--die-with-parent", "--new-session"]);
}

/// All that it sees. bubblewrap mounts none of it with set-uid bits in force.
fn mount(command: &mut Command, program: &Path, folders: Folders<'_>) {
    for library in LIBRARIES {
        command.args(["--ro-bind-try", library, library]);
    }
    command
        // No other device: shared memory made of /dev/zero counts for no limit.
        .args(["--dev-bind", NOWHERE, NOWHERE])
        .args(["--size", &TMP_BYTES.to_string(), "--tmpfs", "/tmp"])
        .arg("--ro-bind")
        .args([program, Path::new(PROGRAM)])
        .arg("--ro-bind")
        .args([folders.input, Path::new(INPUT)])
        .arg("--bind")
        .args([folders.output, Path::new(OUTPUT)]);
    if let Some(state) = folders.state {
        command.arg("--bind").args([state, Path::new(STATE)]);
    }
    command.args(["--remount-ro", "/", "--chdir", "/tmp"]);
}

impl Jailed {
    /// What the program ended with, 128 and more being a signal, by bubblewrap's word: its own exit code may be another's. `None` where it
    /// never ran, as there was no jail.
    ///
    /// # Errors
    /// The disk's.
    pub fn exit_code(&self) -> io::Result<Option<i32>> {
        /// One of the objects that it tells; others have other members.
        #[derive(Deserialize)]
        struct Told {
            #[serde(rename = "exit-code")]
            exit_code: Option<i32>,
        }
        let mut text = String::new();
        let mut status = &self.status;
        status.rewind()?;
        status.take(MAX_STATUS_BYTES).read_to_string(&mut text)?;
        let mut told = serde_json::Deserializer::from_str(&text).into_iter::<Told>();
        Ok(told.find_map(|told| told.ok()?.exit_code))
    }
}
