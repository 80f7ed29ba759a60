// logit: logistic regression with an intercept, by Newton's method to convergence.
//
// Arguments: names of the columns, joined by commas, as selected. The last is the outcome (0 or 1).
// Output: {"n":N,"columns":["intercept",names…],"coefficients":[numbers],"iterations":N}
#include "../program.h"

extern unsigned char __heap_base;
static double beta[COLUMNS], before[COLUMNS], hessian[COLUMNS][COLUMNS + 1];   // [p]: the gradient
static double size(double x) { return x < 0 ? -x : x; }

// e^x for x <= 0: x = k ln 2 + r with |r| <= ln 2 / 2 (ln 2 in two parts), then Taylor's series of
// degree 14, whose remainder is under 1e-18. Relative error under 1e-15.
static double exp_of_negative(double x) {
    if (x < -700) return 0;
    int k = (int)(x / 0.6931471805599453 - 0.5);
    double r = (x - k * 0x1.62e42feep-1) - k * 0x1.a39ef35793c76p-33, sum = 1;
    for (int i = 14; i > 0; i--) sum = 1 + sum * r / i;
    union { uint64_t bits; double value; } power = {.bits = (uint64_t)(1023 + k) << 52};
    return sum * power.value;
}

// Solves hessian * step = gradient in place by Gauss-Jordan elimination: symmetric and positive
// definite, it needs no pivots. Returns 0 where a column depends on those before it.
static int solve(uint32_t p) {
    for (uint32_t i = 0; i < p; i++) before[i] = hessian[i][i];
    for (uint32_t i = 0; i < p; i++) {
        if (!(hessian[i][i] > 1e-13 * before[i])) return 0;
        for (uint32_t r = 0; r < p; r++) {
            double factor = hessian[r][i] / hessian[i][i];
            if (r != i) for (uint32_t c = i; c <= p; c++) hessian[r][c] -= factor * hessian[i][c];
        }
    }
    return 1;
}

// One step of Newton's method over rows [1, x…, y] of width p + 1. Returns the greatest relative
// change of a coefficient, or -1 where there is no single answer.
static double improve(const double *rows, const double *end, uint32_t p) {
    double change = 0;
    __builtin_memset(hessian, 0, sizeof hessian);
    for (const double *row = rows; row < end; row += p + 1) {
        double score = 0;
        for (uint32_t i = 0; i < p; i++) score += beta[i] * row[i];
        double e = exp_of_negative(-size(score)), more = 1 / (1 + e), less = e / (1 + e);
        for (uint32_t i = 0; i < p; i++) {
            for (uint32_t j = 0; j < p; j++) hessian[i][j] += row[i] * row[j] * more * less;
            hessian[i][p] += row[i] * (row[p] - (score < 0 ? less : more));
        }
    }
    if (!solve(p)) return -1;
    for (uint32_t i = 0; i < p; i++) {
        double step = hessian[i][p] / hessian[i][i], relative = size(step) / (1e-9 + size(beta[i]));
        beta[i] += step, change = relative <= change ? change : relative;
    }
    return change;
}

EXPORT("run") struct outcome *run(const char *arguments, uint32_t length) {
    if (!take_names(arguments, length) || columns < 2) return fail("arguments: names of 2 to 64 columns");
    double *rows = (double *)(((uintptr_t)&__heap_base + 7) & ~(uintptr_t)7), *top = rows, change = 1;
    struct chunk chunk;
    for (next_chunk(CHUNK, &chunk); chunk.some; next_chunk(CHUNK, &chunk))
        for (const char *at = chunk.bytes, *end = at + chunk.length; at < end;) {
            while ((uintptr_t)(top + columns + 1) > __builtin_wasm_memory_size(0) * PAGE)
                if (__builtin_wasm_memory_grow(0, 16) == (uintptr_t)-1) return fail("more records than memory");
            *top++ = 1;   // the intercept
            for (uint32_t column = 0; column < columns; column++) *top++ = number(&at);
            if (top[-1] != 0 && top[-1] != 1) return fail("the outcome is neither 0 nor 1");
        }
    uint64_t steps = 0;
    while (change > 1e-10 && steps++ < 50) change = improve(rows, top, columns);
    if (!(change >= 0 && change <= 1e-10)) return fail("no single answer: columns depend on each other, or separate the outcomes");
    while (names[--names_length] != ',') {}
    put("{\"n\":"), put_integer((uint64_t)(top - rows) / (columns + 1));
    put(",\"columns\":[\"intercept\","), put_names(), put("],\"coefficients\":[");
    for (uint32_t i = 0; i < columns; i++) put(i ? "," : ""), put_double(beta[i]);
    put("],\"iterations\":"), put_integer(steps), put("}\n");
    return &answer;
}
