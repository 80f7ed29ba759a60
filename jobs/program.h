// What the example programs share: the world of ../wit/program.wit as C sees it, reading rows of
// numbers, and writing numbers. Freestanding: no libc, no WASI.
#include <stdint.h>

#define IMPORT(interface, name) __attribute__((import_module("collective:program/" interface "@0.1.0"), import_name(name)))
#define EXPORT(name) __attribute__((export_name(name)))
enum { CHUNK = 1 << 20, RECORD = 1 << 16, COLUMNS = 64, PAGE = 1 << 16 };

struct chunk { uint8_t some; const char *bytes; uint32_t length; };
struct outcome { uint8_t failed; const char *text; uint32_t length; };
IMPORT("dataset", "next-chunk") void next_chunk(uint32_t max_bytes, struct chunk *into);
IMPORT("output", "write") void write_bytes(const char *bytes, uint32_t length);

// The host puts the arguments, and then one chunk after the other, here.
static char inbox[CHUNK + RECORD];
EXPORT("cabi_realloc") void *cabi_realloc(void *old, uint32_t old_size, uint32_t align, uint32_t size) {
    (void)old, (void)old_size, (void)align;
    if (size > sizeof inbox) __builtin_trap();
    return inbox;
}

static struct outcome answer;
static uint32_t length_of(const char *text) { return *text ? 1 + length_of(text + 1) : 0; }
static struct outcome *fail(const char *text) {
    answer = (struct outcome){1, text, length_of(text)};
    return &answer;
}

static char names[4096];                 // the arguments: names of the columns, joined by commas
static uint32_t columns, names_length;   // how many columns there are
static int take_names(const char *arguments, uint32_t length) {
    if (length == 0 || length > sizeof names) return 0;
    columns = 1, names_length = length;
    for (uint32_t i = 0; i < length; i++)
        if ((names[i] = arguments[i]) == ',') columns++;
    return columns <= COLUMNS;
}

static double ten_to(uint32_t n) { return n == 0 ? 1 : 10 * ten_to(n - 1); }

// Reads one number and steps over the comma or line feed behind it. Digits are gathered as an integer
// and divided once, so numbers of up to 15 digits come out correctly rounded.
static double number(const char **at) {
    double sign = 1, digits = 0;
    uint32_t places = 0, point = 0;
    for (; **at != ',' && **at != '\n'; (*at)++) {
        if (**at == '-') sign = -1;
        else if (**at == '.') point = 1;
        else if (**at < '0' || **at > '9') __builtin_trap();   // a word is no number
        else digits = digits * 10 + (**at - '0'), places += point;
    }
    (*at)++;
    return sign * digits / ten_to(places);
}

static void put(const char *text) { write_bytes(text, length_of(text)); }

static void put_integer(uint64_t n) {
    if (n >= 10) put_integer(n / 10);
    write_bytes(&"0123456789"[n % 10], 1);
}

// Writes d.ddd…e±x with 17 significant digits. Scaled in 128-bit floats, whose 113 bits leave the
// last digit right; the value read back differs by at most one unit in its last place.
static void put_double(double value) {
    long double x = value;
    int exponent = 0;
    if (value != value || value - value != 0) { put("null"); return; }
    if (x < 0) put("-"), x = -x;
    if (x == 0) { put("0"); return; }
    while (x >= 10) x /= 10, exponent++;
    while (x < 1) x *= 10, exponent--;
    uint64_t digits = (uint64_t)(x * 1e16L + 0.5L);
    if (digits >= 100000000000000000) digits /= 10, exponent++;
    char text[18];
    for (int i = 17; i > 1; i--, digits /= 10) text[i] = (char)('0' + digits % 10);
    text[0] = (char)('0' + digits), text[1] = '.';
    write_bytes(text, 18), put("e");
    if (exponent < 0) put("-"), exponent = -exponent;
    put_integer((uint64_t)exponent);
}

// Writes the names as JSON strings joined by commas. The approved names hold no quote or backslash.
static void put_names(void) {
    for (uint32_t i = 0, start = 0; i <= names_length; i++)
        if (i == names_length || names[i] == ',') {
            put(start ? ",\"" : "\""), write_bytes(names + start, i - start), put("\"");
            start = i + 1;
        }
}
