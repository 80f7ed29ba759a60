/* A disk that fails on command: preloaded into a process, it counts the calls by which that process puts something on a disk
 * under one folder, and does at one of them what a control file says. The file is shared, so that a test changes its mind
 * while the process runs.
 *
 *   FAULTS_UNDER    folder
 *   FAULTS_CONTROL  file of one `struct control`
 *
 * Children run without it. Linux, glibc. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* tests/faults.rs has the same numbers. */
enum mode {
    NOTHING = 0,
    /* SIGKILL instead of the call that the countdown ends at. */
    KILL_BEFORE = 1,
    /* SIGKILL once half of its bytes are written; for a call without bytes like KILL_BEFORE. */
    KILL_TORN = 2,
    /* SIGKILL once it is done, before it returns. */
    KILL_AFTER = 3,
    /* That call fails with EIO, and does nothing. */
    EIO_ONCE = 4,
    /* Half of its bytes are written, and from then on there is no space until the mode changes. */
    FULL = 5,
};

struct control {
    int64_t mode, countdown, calls, fired;
};

static struct control *control;
static char under[4096];
static size_t under_length;

__attribute__((constructor)) static void begin(void) {
    const char *folder = getenv("FAULTS_UNDER"), *file = getenv("FAULTS_CONTROL");
    unsetenv("LD_PRELOAD");
    if (!folder || !file || strlen(folder) >= sizeof under) abort();
    int fd = open(file, O_RDWR);
    void *shared = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (shared == MAP_FAILED) abort();
    close(fd);
    strcpy(under, folder);
    under_length = strlen(folder);
    control = shared;
}

static int lies_under(const char *path) {
    return control && strncmp(path, under, under_length) == 0;
}

static int is_under(int fd) {
    char name[64], path[4096];
    if (!control) return 0;
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(name, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return lies_under(path);
}

/* What is to be done at this call. */
static enum mode hit(void) {
    __atomic_add_fetch(&control->calls, 1, __ATOMIC_SEQ_CST);
    enum mode mode = (enum mode)__atomic_load_n(&control->mode, __ATOMIC_SEQ_CST);
    if (mode == NOTHING) return NOTHING;
    int64_t left = __atomic_sub_fetch(&control->countdown, 1, __ATOMIC_SEQ_CST);
    if (left > 0 || (left < 0 && mode != FULL)) return NOTHING;
    __atomic_add_fetch(&control->fired, 1, __ATOMIC_SEQ_CST);
    return mode;
}

__attribute__((noreturn)) static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* Frames one call: IS_HERE says whether it is counted, HALF does half of it where half of it can be done, ALL does it. Of a full
 * disk, only calls that take space fail. */
#define FRAME(IS_HERE, HALF, ALL, TAKES_SPACE)                                   \
    do {                                                                         \
        if (!(IS_HERE)) return ALL;                                              \
        switch (hit()) {                                                         \
        case KILL_BEFORE:                                                        \
            die();                                                               \
        case KILL_TORN:                                                          \
            HALF;                                                                \
            die();                                                               \
        case KILL_AFTER:                                                         \
            ALL;                                                                 \
            die();                                                               \
        case EIO_ONCE:                                                           \
            errno = EIO;                                                         \
            return -1;                                                           \
        case FULL:                                                               \
            if (!(TAKES_SPACE)) return ALL;                                      \
            if (__atomic_load_n(&control->fired, __ATOMIC_SEQ_CST) == 1) {       \
                HALF;                                                            \
            }                                                                    \
            errno = ENOSPC;                                                      \
            return -1;                                                           \
        default:                                                                 \
            return ALL;                                                          \
        }                                                                        \
    } while (0)

#define REAL(NAME) ((__typeof__(&NAME))dlsym(RTLD_NEXT, #NAME))

ssize_t write(int fd, const void *bytes, size_t count) {
    FRAME(is_under(fd), (void)!REAL(write)(fd, bytes, count / 2), REAL(write)(fd, bytes, count), 1);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    FRAME(is_under(fd), (void)!REAL(writev)(fd, parts, count / 2), REAL(writev)(fd, parts, count), 1);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    FRAME(is_under(fd), (void)!REAL(pwrite64)(fd, bytes, count / 2, at), REAL(pwrite64)(fd, bytes, count, at), 1);
}

int fsync(int fd) { FRAME(is_under(fd), (void)0, REAL(fsync)(fd), 0); }
int fdatasync(int fd) { FRAME(is_under(fd), (void)0, REAL(fdatasync)(fd), 0); }

int ftruncate64(int fd, off64_t length) { FRAME(is_under(fd), (void)0, REAL(ftruncate64)(fd, length), 0); }

int rename(const char *from, const char *to) { FRAME(lies_under(to), (void)0, REAL(rename)(from, to), 1); }
int linkat(int from_at, const char *from, int to_at, const char *to, int flags) {
    FRAME(lies_under(to), (void)0, REAL(linkat)(from_at, from, to_at, to, flags), 1);
}
int unlink(const char *path) { FRAME(lies_under(path), (void)0, REAL(unlink)(path), 0); }
int mkdir(const char *path, mode_t mode) { FRAME(lies_under(path), (void)0, REAL(mkdir)(path, mode), 1); }

/* A file that is made takes space; one that is opened is none of our business. */
int open64(const char *path, int flags, ...) {
    mode_t mode = 0;
    if (flags & (O_CREAT | O_TMPFILE)) {
        va_list rest;
        va_start(rest, flags);
        mode = va_arg(rest, mode_t);
        va_end(rest);
    }
    FRAME((flags & O_CREAT) && lies_under(path) && access(path, F_OK) != 0, (void)0, REAL(open64)(path, flags, mode), 1);
}

int open(const char *path, int flags, ...) {
    mode_t mode = 0;
    if (flags & (O_CREAT | O_TMPFILE)) {
        va_list rest;
        va_start(rest, flags);
        mode = va_arg(rest, mode_t);
        va_end(rest);
    }
    return open64(path, flags, mode);
}
