// How many people each group has, and the mean of their scores. Groups of fewer than SMALLEST are left out.
#include "program.h"

enum { GROUPS = 9, SMALLEST = 3 };
static struct { uint64_t n; double total; } groups[GROUPS + 1];

EXPORT("run") struct outcome *run(const char *arguments, uint32_t length) {
    struct chunk chunk;
    (void)arguments, (void)length;
    for (next_chunk(CHUNK, &chunk); chunk.some; next_chunk(CHUNK, &chunk))
        for (const char *at = chunk.bytes, *end = at + chunk.length; at < end;) {
            uint32_t group = (uint32_t)number(&at);
            if (group > GROUPS) return fail("a group that the source does not declare");
            groups[group].total += number(&at), groups[group].n++;
        }

    put("{\"groups\":[");
    for (uint32_t group = 1, first = 1; group <= GROUPS; group++) {
        if (groups[group].n < SMALLEST) continue;
        put(first ? "{\"group\":" : ",{\"group\":"), put_integer(group), first = 0;
        put(",\"n\":"), put_integer(groups[group].n);
        put(",\"mean\":"), put_double(groups[group].total / (double)groups[group].n), put("}");
    }
    put("]}\n");
    return &answer;
}
