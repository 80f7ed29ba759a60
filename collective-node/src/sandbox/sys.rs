//! The system calls that the standard library does not offer, each behind a safe function.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::time::Instant;

use wasmtime::{CustomCodeMemory, Engine};

/// Closes every descriptor but the first three.
pub(super) fn close_inherited() -> io::Result<()> {
    // SAFETY: no object of this process owns a descriptor above 2: this runs first in main, before
    // anything was opened.
    check(unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) })
}

/// Asks the kernel to kill this process when the thread that started it ends.
pub(super) fn die_with_parent() -> io::Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong)
}

/// Gives up gaining rights by exec, for good.
pub(super) fn no_new_privileges() -> io::Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1)
}

/// Lets no other process of this user look into this one, and leaves no core.
pub(super) fn not_dumpable() -> io::Result<()> {
    prctl(libc::PR_SET_DUMPABLE, 0)
}

fn prctl(option: libc::c_int, value: libc::c_ulong) -> io::Result<()> {
    // SAFETY: the options above take one integer and touch no memory.
    check(unsafe { libc::prctl(option, value, 0, 0, 0) }.into())
}

/// Leaves one or more namespaces for fresh ones.
pub(super) fn unshare(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: takes an integer and touches no memory.
    check(unsafe { libc::unshare(flags) }.into())
}

/// Sets a resource limit, soft and hard.
pub(super) fn set_limit(resource: libc::__rlimit_resource_t, value: u64) -> io::Result<()> {
    set_limits(resource, value, value)
}

/// Limits processor time. The hard limit is one second later, as it kills without saying why.
pub(super) fn set_processor_seconds(seconds: u64) -> io::Result<()> {
    set_limits(libc::RLIMIT_CPU, seconds, seconds + 1)
}

fn set_limits(resource: libc::__rlimit_resource_t, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit {
        rlim_cur: soft,
        rlim_max: hard,
    };
    // SAFETY: the pointer is to a live struct that the kernel reads.
    check(unsafe { libc::setrlimit(resource, &raw const limit) }.into())
}

/// Has a command start with these resource limits, soft and hard, and end with the thread that starts it. A limit that is lower
/// already stays: only root could raise it.
pub(crate) fn hold(command: &mut Command, limits: Vec<(libc::__rlimit_resource_t, u64)>) {
    let shut = move || {
        die_with_parent()?;
        limits
            .iter()
            .try_for_each(|(resource, value)| lower_limit(*resource, *value))
    };
    // SAFETY: between fork and exec it makes system calls only, allocates nothing and takes no lock.
    unsafe { command.pre_exec(shut) };
}

fn lower_limit(resource: libc::__rlimit_resource_t, value: u64) -> io::Result<()> {
    let mut now = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a live struct that the kernel fills.
    check(unsafe { libc::getrlimit(resource, &raw mut now) }.into())?;
    set_limit(resource, value.min(now.rlim_max))
}

/// Has a command start with none of this process's descriptors but the first three and `kept`, and be what the kernel ends first
/// where memory runs out.
pub(crate) fn set_apart(command: &mut Command, kept: Vec<File>) {
    let shut = move || {
        // Here, where no other command is being started: a descriptor that this process let go for a moment would be in all of them.
        inherit_only(&kept)?;
        be_ended_first()
    };
    // SAFETY: between fork and exec it makes system calls only, allocates nothing and takes no lock.
    unsafe { command.pre_exec(shut) };
}

fn inherit_only(kept: &[File]) -> io::Result<()> {
    let (all, on_exec) = (libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
    // SAFETY: takes integers; descriptors stay open until a program is executed.
    check(unsafe { libc::syscall(libc::SYS_close_range, 3, all, on_exec) })?;
    kept.iter().try_for_each(|file| {
        // SAFETY: an open descriptor and integers.
        check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFD, 0) }.into())
    })
}

fn be_ended_first() -> io::Result<()> {
    /// The highest there is (man 5 proc_pid_oom_score_adj).
    const SCORE: &[u8] = b"1000";
    // SAFETY: live strings, of which the first ends with a zero and the other has the length that is said; what is opened is closed.
    unsafe {
        let flags = libc::O_WRONLY | libc::O_CLOEXEC;
        let file = libc::open(c"/proc/self/oom_score_adj".as_ptr(), flags);
        check(file.into())?;
        let written = libc::write(file, SCORE.as_ptr().cast(), SCORE.len());
        libc::close(file);
        check(libc::c_long::try_from(written).unwrap_or(-1))
    }
}

/// Whether a process has ended. It stays to be waited for, so that until then its number and its group's name no other.
pub(crate) fn has_ended(child: &Child) -> io::Result<bool> {
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: zero is a valid siginfo_t, live for the kernel to fill; it fills the process's number, or leaves zero.
    unsafe {
        let mut told: libc::siginfo_t = std::mem::zeroed();
        check(libc::waitid(libc::P_PID, child.id(), &raw mut told, flags).into())?;
        Ok(told.si_pid() != 0)
    }
}

/// Kills all of the group that a process leads, which was not waited for yet.
pub(crate) fn kill_group(leader: &Child) -> io::Result<()> {
    let group = libc::pid_t::try_from(leader.id()).map_err(io::Error::other)?;
    // SAFETY: takes integers and touches no memory.
    check(unsafe { libc::kill(-group, libc::SIGKILL) }.into())
}

/// Gives up every capability that is in effect, permitted or inheritable.
pub(super) fn drop_capabilities() -> io::Result<()> {
    /// `_LINUX_CAPABILITY_VERSION_3`: two words of each set.
    const VERSION: u32 = 0x2008_0522;
    let header = [VERSION, 0];
    let none = [0_u32; 6];
    // SAFETY: header (two words) and sets (six words) have the sizes that version 3 has; the kernel
    // reads both.
    check(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) })
}

/// Makes an empty, read-only file system this process's root. Needs a mount namespace of its own.
pub(super) fn empty_root() -> io::Result<()> {
    let mount = |target: &std::ffi::CStr, kind: &std::ffi::CStr, flags| {
        // SAFETY: the strings are live and end with a zero; data may be null.
        check(
            unsafe {
                let none = std::ptr::null();
                libc::mount(
                    c"none".as_ptr(),
                    target.as_ptr(),
                    kind.as_ptr(),
                    flags,
                    none,
                )
            }
            .into(),
        )
    };
    mount(c"/", c"none", libc::MS_REC | libc::MS_PRIVATE)?;
    let bare = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC | libc::MS_RDONLY;
    // Any folder will do: it becomes the root and what was the root goes away.
    mount(c"/proc", c"tmpfs", bare)?;
    // SAFETY: live strings; pivot_root(".", ".") puts the old root over the new one, where it is then
    // detached (man 2 pivot_root).
    unsafe {
        check(libc::chdir(c"/proc".as_ptr()).into())?;
        check(libc::syscall(
            libc::SYS_pivot_root,
            c".".as_ptr(),
            c".".as_ptr(),
        ))?;
        check(libc::umount2(c".".as_ptr(), libc::MNT_DETACH).into())?;
        check(libc::chdir(c"/".as_ptr()).into())
    }
}

/// Raises the epoch of `engine` once, after `seconds`, from a signal: no thread is needed for it.
pub(super) fn raise_epoch_after(engine: &Engine, seconds: u32) -> io::Result<()> {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    extern "C" fn raise(_: libc::c_int) {
        // Async-signal-safe: an atomic load and `increment_epoch`, which says so of itself.
        if let Some(engine) = ENGINE.get() {
            engine.increment_epoch();
        }
    }
    ENGINE.get_or_init(|| engine.clone());
    // SAFETY: zero is a valid sigaction; the handler is async-signal-safe; the structs are live.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = raise as extern "C" fn(libc::c_int) as usize;
        action.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
        check(libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut()).into())?;
        let once = libc::timeval {
            tv_sec: seconds.into(),
            tv_usec: 0,
        };
        let never = libc::timeval {
            tv_sec: 0,
            tv_usec: 0,
        };
        let timer = libc::itimerval {
            it_interval: never,
            it_value: once,
        };
        check(libc::syscall(
            libc::SYS_setitimer,
            libc::ITIMER_REAL,
            &raw const timer,
            std::ptr::null::<()>(),
        ))
    }
}

/// A file in memory with these bytes, which nobody can change any more.
pub(super) fn sealed(bytes: &[u8]) -> io::Result<File> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // A file that nobody starts as a program: some systems allow no other. Kernels before 6.3 do not know the flag.
    let mut file = match memory_file(flags | libc::MFD_NOEXEC_SEAL) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => memory_file(flags)?,
        made => made?,
    };
    file.write_all(bytes)?;
    let seals = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
    // SAFETY: an open descriptor and integers.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) }.into())?;
    Ok(file)
}

fn memory_file(flags: libc::c_uint) -> io::Result<File> {
    // SAFETY: a live string that ends with a zero; the kernel gives a new descriptor, which has no other owner.
    unsafe {
        let descriptor = libc::memfd_create(c"compiled".as_ptr(), flags);
        check(descriptor.into())?;
        Ok(File::from(OwnedFd::from_raw_fd(descriptor)))
    }
}

/// Opens a file of this process once more, to read: the other opening has a place of its own in it.
pub(super) fn reopened(file: &File) -> io::Result<File> {
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Maps the first `length` bytes of a file that [`sealed`] made, for as long as this process lives: they are not copied.
pub(super) fn map(file: &impl AsFd, length: usize) -> io::Result<NonNull<[u8]>> {
    let descriptor = file.as_fd().as_raw_fd();
    // SAFETY: a new mapping, which takes the place of none.
    let at = unsafe {
        let (read, flags) = (libc::PROT_READ, libc::MAP_PRIVATE);
        libc::mmap(std::ptr::null_mut(), length, read, flags, descriptor, 0)
    };
    if at == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let at = NonNull::new(at.cast()).ok_or_else(|| io::Error::other("mapped at zero"))?;
    Ok(NonNull::slice_from_raw_parts(at, length))
}

/// Turns a part of what [`map`] mapped into code, and back.
pub(super) struct Mapped;

impl CustomCodeMemory for Mapped {
    fn required_alignment(&self) -> usize {
        // SAFETY: takes an integer and touches no memory.
        let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        usize::try_from(bytes).expect("a page has a size")
    }

    fn publish_executable(&self, at: *const u8, length: usize) -> wasmtime::Result<()> {
        protect(at, length, libc::PROT_READ | libc::PROT_EXEC)
    }

    fn unpublish_executable(&self, at: *const u8, length: usize) -> wasmtime::Result<()> {
        protect(at, length, libc::PROT_READ)
    }
}

fn protect(at: *const u8, length: usize, access: libc::c_int) -> wasmtime::Result<()> {
    // SAFETY: the engine names whole pages of its own code, which nothing borrows as writable: they never were.
    let changed = unsafe { libc::mprotect(at.cast_mut().cast(), length, access) };
    Ok(check(changed.into())?)
}

/// Has writes fail that would wait. Whoever reads at the other end does as before.
pub(super) fn do_not_wait(to: &impl AsFd) -> io::Result<()> {
    let descriptor = to.as_fd().as_raw_fd();
    // SAFETY: an open descriptor and integers.
    unsafe {
        let flags = libc::fcntl(descriptor, libc::F_GETFL);
        check(flags.into())?;
        let flags = flags | libc::O_NONBLOCK;
        check(libc::fcntl(descriptor, libc::F_SETFL, flags).into())
    }
}

/// Whether there is something to read (or the end) before `deadline`.
pub(super) fn wait_readable(from: &impl AsFd, deadline: Instant) -> io::Result<bool> {
    wait_for(from, libc::POLLIN, deadline)
}

/// Whether something can be written (or nobody reads it) before `deadline`.
pub(super) fn wait_writable(to: &impl AsFd, deadline: Instant) -> io::Result<bool> {
    wait_for(to, libc::POLLOUT, deadline)
}

fn wait_for(end: &impl AsFd, events: libc::c_short, deadline: Instant) -> io::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // Who says a byte at a time is not listened to for ever.
        if left.is_zero() {
            return Ok(false);
        }
        // One more millisecond: the time that is left is rounded down.
        let wait = libc::c_int::try_from(left.as_millis() + 1).unwrap_or(libc::c_int::MAX);
        let mut asked = libc::pollfd {
            fd: end.as_fd().as_raw_fd(),
            events,
            revents: 0,
        };
        // SAFETY: one live pollfd, and the length says one.
        match unsafe { libc::poll(&raw mut asked, 1, wait) } {
            0 => {}
            -1 => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return Err(error),
            },
            _ => return Ok(true),
        }
    }
}

/// Greatest resident size of another process, as long as it has not ended.
pub(super) fn peak_resident_bytes(process: u32) -> Option<u64> {
    // Not wait4's ru_maxrss: it also counts this process's memory at the moment of the fork.
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes * 1024)
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Whether this process may send signals to the one that started it. Sends none.
pub(super) fn may_signal_parent() -> io::Result<()> {
    // SAFETY: signal 0 only checks; both calls take integers.
    check(unsafe { libc::kill(libc::getppid(), 0) }.into())
}

/// Whether a descriptor is open, told by reading nothing from it or writing nothing to it.
pub(super) fn is_open(descriptor: i32) -> bool {
    let mut nothing = [0_u8; 1];
    let known = |result: isize| {
        result == 0 || io::Error::last_os_error().raw_os_error() != Some(libc::EBADF)
    };
    // SAFETY: a live buffer of one byte, of which none is read or filled.
    unsafe {
        known(libc::read(descriptor, nothing.as_mut_ptr().cast(), 0))
            || known(libc::write(descriptor, nothing.as_ptr().cast(), 0))
    }
}

/// Names of the network interfaces that this process sees.
pub(super) fn interfaces() -> io::Result<Vec<String>> {
    // SAFETY: the list ends with an entry of index 0; names are read before it is freed, once.
    unsafe {
        let list = libc::if_nameindex();
        if list.is_null() {
            return Err(io::Error::last_os_error());
        }
        let mut names = Vec::new();
        let mut entry = list;
        while (*entry).if_index != 0 {
            let name = std::ffi::CStr::from_ptr((*entry).if_name);
            names.push(name.to_string_lossy().into_owned());
            entry = entry.add(1);
        }
        libc::if_freenameindex(list);
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_can_be_mapped_and_not_changed() {
        let mut file = sealed(b"machine code").expect("memory");
        assert!(file.write_all(b"other").is_err());
        assert!(file.set_len(0).is_err() && file.set_len(99).is_err());
        let mapped = map(&file, 12).expect("mapped");
        // SAFETY: mapped just now, for good, and read only.
        assert_eq!(unsafe { mapped.as_ref() }, b"machine code");
        assert!(map(&file, 0).is_err(), "nothing to map");
    }

    #[test]
    fn what_is_set_apart_inherits_what_is_kept_for_it_and_goes_first() {
        let careless = tempfile::tempfile().expect("a file");
        // SAFETY: an open descriptor and integers.
        check(unsafe { libc::fcntl(careless.as_raw_fd(), libc::F_SETFD, 0) }.into()).expect("set");
        let shell = || {
            let script =
                "cat /proc/self/oom_score_adj; for one in /proc/self/fd/*; do echo $one; done";
            let mut command = Command::new("/bin/sh");
            command.args(["-c", script]);
            command
        };
        let seen = |command: &mut Command| {
            let output = command.output().expect("a shell").stdout;
            String::from_utf8(output).expect("text")
        };
        let descriptors = |seen: &str| seen.matches("/fd/").count();
        // The three, what the shell reads the folder with, and what it should not have.
        let open = seen(&mut shell());
        assert!(descriptors(&open) > 4, "{open}");
        let kept = tempfile::tempfile().expect("a file");
        let path = format!("/proc/self/fd/{}\n", kept.as_raw_fd());
        let mut command = shell();
        set_apart(&mut command, vec![kept]);
        let apart = seen(&mut command);
        assert_eq!(descriptors(&apart), 5, "{apart}");
        assert!(
            apart.starts_with("1000\n") && apart.contains(&path),
            "{apart}"
        );
    }
}
