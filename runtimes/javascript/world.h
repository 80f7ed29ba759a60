// The world of ../../wit/runtime.wit as C sees it, by the canonical ABI.
#include <stdint.h>

#define IMPORT(interface, name) __attribute__((import_module("collective:" interface "@0.1.0"), import_name(name)))
#define EXPORT(name) __attribute__((export_name(name)))

// Bytes that were made with malloc.
struct bytes { uint8_t *at; uint32_t length; };
struct chunk { uint8_t some; struct bytes bytes; };
struct outcome { uint8_t failed; const char *text; uint32_t length; };

IMPORT("runtime/source", "bundle") void host_bundle(struct bytes *into);
IMPORT("program/dataset", "next-chunk") void host_next_chunk(uint32_t max_bytes, struct chunk *into);
IMPORT("program/output", "write") void host_write(const void *bytes, uint32_t length);
IMPORT("program/log", "line") void host_line(const char *text, uint32_t length);
IMPORT("program/random", "seed") void host_seed(struct bytes *into);
