/* A program on a heavy node that tries what it should not. The file `arguments` says what, or of `table` the name of the column. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MIB (1L << 20)

extern char **environ;
static FILE *told;

static void tell(const char *what, long result) {
    fprintf(told, "%s=%d\n", what, result == -1 ? errno : 0);
}

/* A call whose arguments are no good: with no filter it fails in another way than with one, or does nothing. */
#define CALL(name) tell("call " #name, syscall(SYS_##name, 0, 0, 0, 0, 0, 0))
#define NUMBER(name, number) tell("call " name, syscall(number, 0, 0, 0, 0, 0, 0))
#define TRY(what, call) tell(what, (long)(call))

static void start(const char *what, long process) {
    if (process == 0) _exit(0);
    tell(what, process);
}

static void calls(void) {
    CALL(unshare); CALL(setns); CALL(mount); CALL(umount2); CALL(pivot_root); CALL(chroot);
    CALL(add_key); CALL(request_key); CALL(keyctl);
    CALL(ptrace); CALL(process_vm_readv); CALL(process_vm_writev); CALL(kcmp);
    CALL(bpf); CALL(perf_event_open); CALL(userfaultfd);
    CALL(init_module); CALL(finit_module); CALL(delete_module);
    CALL(kexec_load); CALL(kexec_file_load); CALL(reboot); CALL(swapon); CALL(swapoff);
    CALL(acct); CALL(quotactl); CALL(syslog); CALL(personality); CALL(vhangup);
    CALL(name_to_handle_at); CALL(open_by_handle_at); CALL(fanotify_init); CALL(fanotify_mark);
    CALL(settimeofday); CALL(clock_settime); CALL(clock_adjtime); CALL(adjtimex);
    CALL(sethostname); CALL(setdomainname);
    CALL(memfd_create); CALL(shmget); CALL(semget); CALL(msgget); CALL(mq_open); CALL(vmsplice);
    /* These have one number on all processors; old headers lack some of the names. */
    NUMBER("pidfd_getfd", 438); NUMBER("process_madvise", 440); NUMBER("process_mrelease", 448);
    NUMBER("io_uring_setup", 425); NUMBER("io_uring_enter", 426); NUMBER("io_uring_register", 427);
    NUMBER("open_tree", 428); NUMBER("move_mount", 429); NUMBER("fsopen", 430);
    NUMBER("fsconfig", 431); NUMBER("fsmount", 432); NUMBER("fspick", 433);
    NUMBER("mount_setattr", 442); NUMBER("quotactl_fd", 443); NUMBER("memfd_secret", 447);
    NUMBER("statmount", 457); NUMBER("listmount", 458);
    NUMBER("clone3", 435); NUMBER("openat2", 437);
    /* The first that is newer than the filter (setxattrat), and one that nobody has. */
    NUMBER("newer", 463); NUMBER("much newer", 100000);
#ifdef __x86_64__
    CALL(modify_ldt); CALL(iopl); CALL(ioperm); CALL(uselib);
    NUMBER("x32 getpid", 0x40000000 | SYS_getpid);
    start("call fork", syscall(SYS_fork));
    start("call vfork", syscall(SYS_vfork));
    TRY("call mknod", syscall(SYS_mknod, "/output/pipe", S_IFIFO | 0600, 0));
#endif
    TRY("call mknodat", syscall(SYS_mknodat, AT_FDCWD, "/output/pipe", S_IFIFO | 0600, 0));
    start("call clone", syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
    /* Families: UNIX, IPv4, IPv6, netlink, packet, vsock. */
    int families[] = {1, 2, 10, 16, 17, 40};
    for (int i = 0; i < 6; i++) {
        int pair[2];
        char what[40];
        snprintf(what, sizeof what, "call socket %d", families[i]);
        TRY(what, syscall(SYS_socket, families[i], 2, 0));
        snprintf(what, sizeof what, "call socketpair %d", families[i]);
        TRY(what, syscall(SYS_socketpair, families[i], 2, 0, pair));
    }
    /* Threads that would have a namespace of their own. */
    unsigned long spaces[] = {0x10000000, 0x00020000, 0x40000000, 0x20000000, 0x08000000, 0x04000000, 0x02000000};
    for (int i = 0; i < 7; i++) {
        char what[40];
        snprintf(what, sizeof what, "call clone %lx", spaces[i]);
        TRY(what, syscall(SYS_clone, spaces[i] | CLONE_THREAD | CLONE_SIGHAND | CLONE_VM, 0, 0, 0, 0));
    }
    TRY("call ioctl TIOCSTI", ioctl(0, TIOCSTI, "x"));
}

static void modes(void) {
    const char *file = "/output/made";
    int made = open(file, O_CREAT | O_RDWR, 0600);
    TRY("may chmod", chmod(file, 0755));
    int bits[] = {04755, 02755};
    for (int i = 0; i < 2; i++) {
        TRY("call fchmod", fchmod(made, bits[i]));
        TRY("call fchmodat", syscall(SYS_fchmodat, AT_FDCWD, file, bits[i]));
        TRY("call fchmodat2", syscall(452, AT_FDCWD, file, bits[i], 0));
        TRY("call openat", syscall(SYS_openat, AT_FDCWD, "/output/other", O_CREAT | O_RDWR, bits[i]));
        TRY("call mkdirat", syscall(SYS_mkdirat, AT_FDCWD, "/output/folder", bits[i]));
#ifdef __x86_64__
        TRY("call chmod", syscall(SYS_chmod, file, bits[i]));
        TRY("call open", syscall(SYS_open, "/output/other", O_CREAT | O_RDWR, bits[i]));
        TRY("call creat", syscall(SYS_creat, "/output/other", bits[i]));
        TRY("call mkdir", syscall(SYS_mkdir, "/output/folder", bits[i]));
#endif
    }
    close(made);
    unlink(file);
}

static void *thread(void *nothing) { return nothing; }

static void memory(void) {
    int own = MAP_PRIVATE | MAP_ANONYMOUS, access = PROT_READ | PROT_WRITE;
    pthread_t other;
    TRY("may start a thread", pthread_create(&other, 0, thread, 0) ? -1 : 0);
    pthread_join(other, 0);
    TRY("may map", mmap(0, 8 * MIB, access, own, -1, 0));
    TRY("map much", mmap(0, 1024 * MIB, access, own, -1, 0));
    TRY("call mmap shared", mmap(0, MIB, access, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    TRY("call mmap validated", mmap(0, MIB, access, MAP_SHARED_VALIDATE | MAP_ANONYMOUS, -1, 0));
    TRY("call mmap stack", mmap(0, MIB, access, own | MAP_GROWSDOWN, -1, 0));
    static char piece[MIB];
    int file = open("/tmp/much", O_CREAT | O_WRONLY, 0600);
    int pieces = 0;
    while (pieces < 1000 && write(file, piece, MIB) == MIB) pieces++;
    fprintf(told, "MiB of tmp=%d\n", pieces);
}

static void paths(void) {
    const char *absent[] = {"/proc", "/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/sys", "/etc/passwd", "/root", "/home",
                            "/var", "/run", "/dev/zero", "/dev/shm", "/dev/tty", "/usr/bin", "/bin"};
    for (unsigned i = 0; i < sizeof absent / sizeof *absent; i++) {
        char what[80];
        snprintf(what, sizeof what, "absent %s", absent[i]);
        TRY(what, access(absent[i], F_OK));
    }
    TRY("may read the input", open("/input/arguments", O_RDONLY));
    TRY("may read the state", open("/state/kept", O_RDONLY));
    TRY("may write the state", open("/state/more", O_CREAT | O_WRONLY, 0600));
    TRY("may write tmp", open("/tmp/made", O_CREAT | O_WRONLY, 0600));
    TRY("may write nowhere", open("/dev/null", O_WRONLY));
    TRY("write the input", open("/input/arguments", O_WRONLY));
    TRY("write the root", open("/made", O_CREAT | O_WRONLY, 0600));
    TRY("write devices", open("/dev/made", O_CREAT | O_WRONLY, 0600));
    TRY("write libraries", open("/usr/lib/made", O_CREAT | O_WRONLY, 0600));
}

static void self(void) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct sets[2];
    struct rlimit tasks, files, stack, core;
    syscall(SYS_capget, &header, sets);
    getrlimit(RLIMIT_NPROC, &tasks);
    getrlimit(RLIMIT_NOFILE, &files);
    getrlimit(RLIMIT_STACK, &stack);
    getrlimit(RLIMIT_CORE, &core);
    fprintf(told, "uid=%d\ngid=%d\n", getuid(), getgid());
    fprintf(told, "capabilities=%u\n", sets[0].effective | sets[0].permitted | sets[1].effective | sets[1].permitted);
    fprintf(told, "no new privileges=%d\n", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    fprintf(told, "seccomp=%d\n", prctl(PR_GET_SECCOMP, 0, 0, 0, 0));
    fprintf(told, "process=%d\n", getpid() < 10);
    fprintf(told, "tasks=%lu\nfiles=%lu\nstack=%lu\ncore=%lu\n", tasks.rlim_max, files.rlim_max, stack.rlim_max, core.rlim_max);
    for (char **one = environ; *one; one++) fprintf(told, "environment %s\n", *one);
}

static int probe(void) {
    int inherited = 0;
    for (int file = 3; file < 65536; file++) inherited += fcntl(file, F_GETFD) != -1;
    told = fopen("/output/told", "w");
    setlinebuf(told);
    fprintf(told, "inherited=%d\n", inherited);
    paths();
    self();
    calls();
    modes();
    memory();
    return fclose(told);
}

/* A table that is none: of which there is less than was fed, or which is a way to write elsewhere. */
static int table(const char *how) {
    static char some[MIB];
    while (strcmp(how, "deaf") && read(0, some, MIB) > 0) {}
    if (!strcmp(how, "linked")) {
        unlink("/output/arguments");
        symlink("../victim", "/output/arguments");
    }
    FILE *file = fopen("/output/input.json", "w");
    fprintf(file, "{\"contributions\":%d,\"leftOut\":0,\"rows\":0}", strcmp(how, "fewer") ? 3 : 2);
    return fclose(file);
}

static int train(const char *how) {
    if (!strcmp(how, "probe")) return probe();
    if (!strcmp(how, "linked")) return symlink("/etc/passwd", "/output/model.json");
    if (!strcmp(how, "complaining")) {
        for (int i = 0; i < 200; i++) fprintf(stderr, "\033[2Jno\n\342\200\256good ");
        return 1;
    }
    if (!strcmp(how, "failing")) {
        fprintf(stderr, "the disk is full");
        return 2;
    }
    if (!strcmp(how, "killed")) return kill(getpid(), SIGKILL);
    if (!strcmp(how, "telling")) {
        printf("{\"step\":1,\"of\":2}\nnonsense\n{\"step\":3,\"of\":2}\n{\"loss\":0.5,\"of\":2,\"step\":2}\n");
        return 0;
    }
    if (!strcmp(how, "keeping")) return ftruncate(open("/state/checkpoint", O_CREAT | O_WRONLY, 0600), 100 * MIB);
    if (!strcmp(how, "long")) return ftruncate(open("/state/long", O_CREAT | O_WRONLY, 0600), 200 * MIB);
    if (!strcmp(how, "hoarding")) {
        ftruncate(open("/state/one", O_CREAT | O_WRONLY, 0600), 100 * MIB);
        ftruncate(open("/state/other", O_CREAT | O_WRONLY, 0600), 100 * MIB);
    } else {
        flock(open("/state/lock", O_CREAT | O_WRONLY, 0600), LOCK_EX);
        for (int number = 1; number < 32; number++) signal(number, SIG_IGN);
    }
    for (;;) pause();
}

int main(int count, char **words) {
    if (count > 1 && !strcmp(words[1], "--version")) return puts(*environ ? "environment" : "hostile \033[1m1") < 0;
    if (count > 5 && !strcmp(words[1], "table")) return table(words[5]);
    char how[40] = "";
    FILE *file = fopen("/input/arguments", "r");
    if (!file || fscanf(file, "%39s", how) != 1 || fclose(file)) return 2;
    return train(how);
}
