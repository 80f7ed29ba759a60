// mean: how many records there are, and the mean of each column.
//
// Arguments: the names of the columns, joined by commas, in the order of the selector.
// Output: {"n":N,"columns":[names],"means":[numbers]}
#include "../program.h"

// The sum of a column as `total` and what rounding took from it as `lost` (Kahan 1965), so that the
// mean of many records is as exact as that of few.
static struct { double total, lost; } sums[COLUMNS];

static void add(uint32_t column, double value) {
    double corrected = value - sums[column].lost;
    double total = sums[column].total + corrected;
    sums[column].lost = (total - sums[column].total) - corrected;
    sums[column].total = total;
}

EXPORT("run") struct outcome *run(const char *arguments, uint32_t length) {
    uint64_t n = 0;
    struct chunk chunk;
    if (!take_names(arguments, length)) return fail("arguments: names of 1 to 64 columns, joined by commas");
    for (next_chunk(CHUNK, &chunk); chunk.some; next_chunk(CHUNK, &chunk))
        for (const char *at = chunk.bytes, *end = at + chunk.length; at < end; n++)
            for (uint32_t column = 0; column < columns; column++) add(column, number(&at));
    if (n == 0) return fail("there are no records");

    put("{\"n\":"), put_integer(n), put(",\"columns\":["), put_names(), put("],\"means\":[");
    for (uint32_t column = 0; column < columns; column++) {
        if (column) put(",");
        put_double(sums[column].total / (double)n);
    }
    put("]}\n");
    return &answer;
}
