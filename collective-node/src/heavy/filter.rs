//! The system calls that a program on a heavy node does not have, as a seccomp filter (SPEC "Heavy programs", "Jail").
//!
//! Each of them fails as if the kernel did not know it (ENOSYS): libraries then take another way where there is one, as the C library
//! does for `clone3`. A list of what is denied, not of what is allowed, as numerical libraries differ in what they call; calls that are
//! newer than the list are denied.

use std::collections::BTreeMap;
use std::io;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

/// The first call that nobody has looked at: `mseal` (Linux 6.10) is the last before it. New calls have one number on all processors, and
/// above them lie those of the 64-bit processor in its other guise (x32), too.
const NOT_LOOKED_AT: u32 = 463;

/// For these the C library has no names yet, on some processors or on all; their numbers are the same on each.
const FCHMODAT2: libc::c_long = 452;
const STATMOUNT: libc::c_long = 457;
const LISTMOUNT: libc::c_long = 458;

/// Denied with whatever arguments: namespaces and mounts, keys, what looks into other processes, what loads code into the kernel or has it
/// work by itself, clocks and names, files that are none, sockets, processes, and memory that no limit counts.
const ALWAYS: &[libc::c_long] = &[
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    STATMOUNT,
    LISTMOUNT,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_syslog,
    libc::SYS_personality,
    libc::SYS_vhangup,
    libc::SYS_lookup_dcookie,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_fanotify_mark,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_mknodat,
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_memfd_create,
    libc::SYS_memfd_secret,
    libc::SYS_shmget,
    libc::SYS_semget,
    libc::SYS_msgget,
    libc::SYS_mq_open,
    libc::SYS_vmsplice,
    // What these are asked lies in memory, where no filter sees it.
    libc::SYS_clone3,
    libc::SYS_openat2,
];

/// The same, of calls that only this processor has.
#[cfg(target_arch = "x86_64")]
const ALWAYS_HERE: &[libc::c_long] = &[
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_mknod,
    libc::SYS_modify_ldt,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_uselib,
];
#[cfg(not(target_arch = "x86_64"))]
const ALWAYS_HERE: &[libc::c_long] = &[];

/// Calls that give a file its mode, and the place of this argument.
const MODES: &[(libc::c_long, u8)] = &[
    (libc::SYS_fchmod, 1),
    (libc::SYS_fchmodat, 2),
    (FCHMODAT2, 2),
    (libc::SYS_openat, 3),
    (libc::SYS_mkdirat, 2),
];
#[cfg(target_arch = "x86_64")]
const MODES_HERE: &[(libc::c_long, u8)] = &[
    (libc::SYS_chmod, 1),
    (libc::SYS_open, 2),
    (libc::SYS_creat, 1),
    (libc::SYS_mkdir, 1),
];
#[cfg(not(target_arch = "x86_64"))]
const MODES_HERE: &[(libc::c_long, u8)] = &[];

/// Namespaces that `clone` enters.
const SPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWCGROUP,
];

/// The filter's instructions, as `struct sock_filter` lays them out.
///
/// # Errors
/// A processor that the filter's compiler does not know.
pub(super) fn instructions() -> io::Result<Vec<u8>> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH).map_err(io::Error::other)?;
    let denied = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let filter = SeccompFilter::new(rules()?, SeccompAction::Allow, denied, architecture);
    let filter = filter.map_err(io::Error::other)?;
    let mut program = BpfProgram::try_from(filter).map_err(io::Error::other)?;
    program.splice(0..0, nothing_newer());
    let bytes = program.iter().flat_map(|it| {
        let [code, k] = [&it.code.to_ne_bytes()[..], &it.k.to_ne_bytes()];
        [code, &[it.jt, it.jf], k].concat()
    });
    Ok(bytes.collect())
}

/// Loads the number of the call, the first word of `struct seccomp_data`, and denies it from [`NOT_LOOKED_AT`] on.
fn nothing_newer() -> [seccompiler::sock_filter; 3] {
    let instruction = |code: u32, k, jf| seccompiler::sock_filter {
        code: u16::try_from(code).expect("an instruction has 16 bits"),
        jt: 0,
        jf,
        k,
    };
    let deny = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
    [
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        instruction(
            libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K,
            NOT_LOOKED_AT,
            1,
        ),
        instruction(libc::BPF_RET | libc::BPF_K, deny, 0),
    ]
}

fn rules() -> io::Result<BTreeMap<i64, Vec<SeccompRule>>> {
    let always = ALWAYS.iter().chain(ALWAYS_HERE);
    let mut rules: BTreeMap<_, _> = always.map(|call| (*call, vec![])).collect();
    for (call, place) in MODES.iter().chain(MODES_HERE) {
        let bits = [libc::S_ISUID, libc::S_ISGID].map(|bit| all_of(*place, bit.into()));
        rules.insert(*call, bits.into_iter().collect::<io::Result<_>>()?);
    }
    let spaces = SPACES.map(|space| all_of(0, space.unsigned_abs().into()));
    let mut clone = spaces.into_iter().collect::<io::Result<Vec<_>>>()?;
    // Threads, and no process: limits count for each process anew.
    let thread = libc::CLONE_THREAD.unsigned_abs().into();
    clone.push(rule(0, SeccompCmpOp::MaskedEq(thread), 0)?);
    rules.insert(libc::SYS_clone, clone);
    // Memory that counts for no limit of the process: shared without a file, and stacks.
    let shared = (libc::MAP_SHARED | libc::MAP_ANONYMOUS).unsigned_abs();
    let uncounted = [shared, libc::MAP_GROWSDOWN.unsigned_abs()].map(|bits| all_of(3, bits.into()));
    rules.insert(
        libc::SYS_mmap,
        uncounted.into_iter().collect::<io::Result<_>>()?,
    );
    // Letters that a terminal takes for its user's.
    let typed = rule(1, SeccompCmpOp::Eq, libc::TIOCSTI)?;
    rules.insert(libc::SYS_ioctl, vec![typed]);
    Ok(rules)
}

/// Where all of these bits are set.
fn all_of(argument: u8, bits: u64) -> io::Result<SeccompRule> {
    rule(argument, SeccompCmpOp::MaskedEq(bits), bits)
}

fn rule(argument: u8, operation: SeccompCmpOp, value: u64) -> io::Result<SeccompRule> {
    // The kernel looks at these 32 bits of each of the arguments above.
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operation, value);
    SeccompRule::new(vec![condition.map_err(io::Error::other)?]).map_err(io::Error::other)
}
