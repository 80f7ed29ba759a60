// All that QuickJS asks an operating system for, answered here, so that the runtime imports nothing of WASI: the clocks of
// ../../collective-node/src/sandbox/wasi.rs, and no file. The names are those by which Zig's libc (wasi-libc) imports them.
#include <stdint.h>

#define WASI(name) __imported_wasi_snapshot_preview1_##name

static const uint64_t NOW = 1767225600000000000; // nanoseconds since 1970: the first of January 2026
static const uint64_t TICK = 1000;               // by which the monotonic clock goes on whenever it is read
enum { REALTIME, MONOTONIC, BAD_FILE = 8, INVALID = 28 };

int32_t WASI(clock_time_get)(int32_t clock, int64_t precision, int32_t into) {
    static uint64_t ticks;
    (void)precision;
    if (clock != REALTIME && clock != MONOTONIC) return INVALID;
    *(uint64_t *)into = clock == REALTIME ? NOW : ++ticks * TICK;
    return 0;
}

// Where an assertion of QuickJS would print what failed: the run ends by it.
int32_t WASI(fd_write)(int32_t file, int32_t pieces, int32_t count, int32_t written) {
    (void)file, (void)pieces, (void)count, (void)written;
    __builtin_trap();
}
int close(int file) { return (void)file, -1; }
int32_t WASI(fd_fdstat_get)(int32_t file, int32_t into) { return (void)file, (void)into, BAD_FILE; }
int32_t WASI(fd_seek)(int32_t file, int64_t offset, int32_t whence, int32_t into) {
    return (void)file, (void)offset, (void)whence, (void)into, BAD_FILE;
}
