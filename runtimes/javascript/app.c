// The approved runtime: QuickJS without its own library. It finds modules in the bundle and calls `run` of its `main.js`.
//
// Nothing becomes code but the modules of the bundle: what QuickJS has for other text (`eval`, constructors of functions) is
// never switched on.
#include <alloca.h>
#include <stddef.h>
#include <stdint.h>

// QuickJS looks whether a call has room by taking its length from the stack's top. The stack lies at the very beginning of memory,
// where more than there is below wraps around and seems to be room.
static inline size_t below(size_t length) {
    if (length > (uintptr_t)__builtin_frame_address(0)) __builtin_trap();
    return length;
}
#undef alloca
#define alloca(length) __builtin_alloca(below(length))

#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Weverything"
#include "quickjs.c"
#pragma clang diagnostic pop
#include "world.h"

enum {
    CHUNK = 1 << 20,   // what the host hands out at most
    WRITE = 1 << 20,   // far below what one call may move
    REPORT = 4096,     // bytes of an exception that are reported
    STACK = 192 << 10, // of the memory's stack (build.sh): beyond, calls go so deep that the engine's own stack ends
};

// Modules of the runtime, by names that no path of a bundle has.
static const char SDK[] = "collective:program", HOST[] = "collective:host";
static const char SDK_TEXT[] = {
#embed "collective.js"
    , 0};

static JSValue files; // the bundle's texts by their paths, without a prototype

struct rejected {
    JSValue promise, reason;
    struct list_head link;
};
// Promises that were rejected while nothing waited for them.
static struct list_head unhandled = {&unhandled, &unhandled};

EXPORT("cabi_realloc") void *cabi_realloc(void *old, uint32_t old_size, uint32_t align, uint32_t size) {
    (void)old_size, (void)align;
    void *got = realloc(old, size);
    if (!got && size) __builtin_trap();
    return got;
}

// What `name` stands for in the file `base`: a path of the bundle, or a module of the runtime.
static char *place(JSContext *context, const char *base, const char *name, void *nothing) {
    (void)nothing;
    if (!strcmp(name, "collective")) return js_strdup(context, SDK);
    if (!strcmp(name, "host") && !strcmp(base, SDK)) return js_strdup(context, HOST);
    char *path = name[0] == '.' ? js_default_module_normalize_name(context, base, name) : NULL;
    if (path && !strchr(path, ':')) return path;
    js_free(context, path);
    JS_ThrowReferenceError(context, "no module '%s': there are 'collective', and files of the program as './NAME.js'", name);
    return NULL;
}

// The one place where text becomes code.
static JSModuleDef *compile(JSContext *context, const char *path, const char *text, size_t length) {
    int flags = JS_EVAL_TYPE_MODULE | JS_EVAL_FLAG_COMPILE_ONLY;
    JSValue compiled = __JS_EvalInternal(context, JS_UNDEFINED, text, length, path, 1, flags, -1);
    if (JS_IsException(compiled)) return NULL;
    JSModuleDef *module = JS_VALUE_GET_PTR(compiled);
    JS_FreeValue(context, compiled);
    return module;
}

static JSModuleDef *load(JSContext *context, const char *path, void *nothing) {
    (void)nothing;
    if (!strcmp(path, SDK)) return compile(context, path, SDK_TEXT, sizeof SDK_TEXT - 1);
    JSValue text = JS_GetPropertyStr(context, files, path);
    JSModuleDef *module = NULL;
    size_t length;
    const char *bytes;
    if (!JS_IsString(text)) {
        JS_ThrowReferenceError(context, "no file '%s' in the bundle", path);
    } else if ((bytes = JS_ToCStringLen(context, &length, text))) {
        module = compile(context, path, bytes, length);
        JS_FreeCString(context, bytes);
    }
    JS_FreeValue(context, text);
    return module;
}

// A value as UTF-8 in memory of its own: halves of surrogate pairs, three bytes each, become U+FFFD.
static char *utf8(JSContext *context, JSValueConst value, size_t *length) {
    const char *bytes = JS_ToCStringLen(context, length, value);
    if (!bytes) return NULL;
    char *text = js_malloc(context, *length + 1);
    if (text) memcpy(text, bytes, *length + 1);
    JS_FreeCString(context, bytes);
    for (char *at = text, *end = text + *length; text && (at = memchr(at, '\xed', end - at)); at++)
        if ((at[1] & '\xe0') == '\xa0') memcpy(at, "\xef\xbf\xbd", 3);
    return text;
}

static JSValue next_chunk(JSContext *context, JSValueConst this, int count, JSValueConst *values) {
    (void)this, (void)count, (void)values;
    struct chunk chunk;
    host_next_chunk(CHUNK, &chunk);
    if (!chunk.some) return JS_NULL;
    JSValue text = JS_NewStringLen(context, (char *)chunk.bytes.at, chunk.bytes.length);
    free(chunk.bytes.at);
    return text;
}

static void write_all(const void *bytes, size_t length) {
    for (size_t at = 0; at < length; at += WRITE) {
        size_t rest = length - at;
        host_write((const char *)bytes + at, rest < WRITE ? rest : WRITE);
    }
}

static JSValue write_value(JSContext *context, JSValueConst this, int count, JSValueConst *values) {
    (void)this, (void)count;
    size_t length;
    if (JS_IsString(values[0])) {
        char *text = utf8(context, values[0], &length);
        if (!text) return JS_EXCEPTION;
        write_all(text, length);
        js_free(context, text);
    } else if (JS_GetTypedArrayType(values[0]) == JS_TYPED_ARRAY_UINT8) {
        // Not JS_GetUint8Array: it gives the length that the array had when it was made, which its buffer may have outlived.
        JSObject *array = JS_VALUE_GET_OBJ(values[0]);
        if (typed_array_is_oob(array)) return JS_ThrowTypeErrorArrayBufferOOB(context);
        write_all(array->u.array.u.uint8_ptr, array->u.array.count);
    } else {
        return JS_ThrowTypeError(context, "what is written is text or a Uint8Array");
    }
    return JS_UNDEFINED;
}

static JSValue note(JSContext *context, JSValueConst this, int count, JSValueConst *values) {
    (void)this, (void)count;
    size_t length;
    char *text = utf8(context, values[0], &length);
    if (!text) return JS_EXCEPTION;
    host_line(text, length);
    js_free(context, text);
    return JS_UNDEFINED;
}

static JSValue seed(JSContext *context, JSValueConst this, int count, JSValueConst *values) {
    (void)this, (void)count, (void)values;
    struct bytes seed;
    host_seed(&seed);
    JSValue array = JS_NewUint8ArrayCopy(context, seed.at, seed.length);
    free(seed.at);
    return array;
}

static const JSCFunctionListEntry WORLD[] = {
    JS_CFUNC_DEF("chunk", 0, next_chunk),
    JS_CFUNC_DEF("line", 1, note),
    JS_CFUNC_DEF("output", 1, write_value),
    JS_CFUNC_DEF("seed", 0, seed),
};

static int offer(JSContext *context, JSModuleDef *module) {
    return JS_SetModuleExportList(context, module, WORLD, countof(WORLD));
}

static void notice(JSContext *context, JSValueConst promise, JSValueConst reason, bool is_handled, void *nothing) {
    (void)nothing;
    if (!is_handled) {
        struct rejected *new = malloc(sizeof *new);
        if (!new) __builtin_trap();
        *new = (struct rejected){JS_DupValue(context, promise), JS_DupValue(context, reason), {}};
        list_add_tail(&new->link, &unhandled);
        return;
    }
    struct list_head *at;
    list_for_each(at, &unhandled) {
        struct rejected *found = list_entry(at, struct rejected, link);
        if (JS_VALUE_GET_PTR(found->promise) != JS_VALUE_GET_PTR(promise)) continue;
        list_del(at);
        JS_FreeValue(context, found->promise), JS_FreeValue(context, found->reason);
        free(found);
        return;
    }
}

// What `value` comes to once nothing is left to do.
static JSValue settled(JSContext *context, JSValue value) {
    JSContext *which;
    int ran;
    while ((ran = JS_ExecutePendingJob(JS_GetRuntime(context), &which)) > 0);
    if (ran < 0 || JS_IsException(value)) return JS_EXCEPTION;
    switch (JS_PromiseState(context, value)) {
    case JS_PROMISE_NOT_A_PROMISE: return value;
    case JS_PROMISE_FULFILLED: return JS_PromiseResult(context, value);
    case JS_PROMISE_REJECTED: return JS_Throw(context, JS_PromiseResult(context, value));
    default: return JS_ThrowTypeError(context, "it waits for a promise that nothing settles");
    }
}

static JSValue module(JSContext *context, const char *name) {
    return settled(context, JS_LoadModule(context, "", name, JS_UNDEFINED));
}

// The texts of the bundle. No path finds what a prototype has.
static JSValue bundle(JSContext *context) {
    struct bytes bytes;
    host_bundle(&bytes);
    // QuickJS wants a zero behind the text.
    char *text = realloc(bytes.at, bytes.length + 1);
    if (!text) return JS_ThrowOutOfMemory(context);
    text[bytes.length] = 0;
    JSValue document = JS_ParseJSON(context, text, bytes.length, "bundle");
    free(text);
    if (JS_IsException(document)) return JS_EXCEPTION;
    JSValue found = JS_GetPropertyStr(context, document, "files");
    JS_FreeValue(context, document);
    if (JS_SetPrototype(context, found, JS_NULL) < 0) return JS_EXCEPTION;
    return found;
}

static JSValue run_program(JSContext *context, const char *arguments, size_t length) {
    JSModuleDef *host = JS_NewCModule(context, HOST, offer);
    if (!host || JS_AddModuleExportList(context, host, WORLD, countof(WORLD))) return JS_EXCEPTION;
    files = bundle(context);
    if (JS_IsException(files) || JS_IsException(module(context, "collective"))) return JS_EXCEPTION;
    JSValue program = module(context, "./main.js");
    if (JS_IsException(program)) return JS_EXCEPTION;
    JSValue run = JS_GetPropertyStr(context, program, "run");
    if (!JS_IsFunction(context, run)) return JS_ThrowTypeError(context, "main.js exports no function 'run'");
    JSValue text = JS_NewStringLen(context, arguments, length);
    if (JS_IsException(text)) return JS_EXCEPTION;
    JSValue end = settled(context, JS_Call(context, run, JS_UNDEFINED, 1, &text));
    if (JS_IsException(end) || list_empty(&unhandled)) return end;
    struct rejected *first = list_entry(unhandled.next, struct rejected, link);
    return JS_Throw(context, JS_DupValue(context, first->reason));
}

static struct {
    char text[REPORT];
    size_t length;
} report;

// Adds a value to the report: whole characters, as many as there is room for before `end`.
static void tell(JSContext *context, JSValueConst value, size_t end) {
    size_t length, room = end - report.length;
    char *text = utf8(context, value, &length);
    if (!text) {
        JS_FreeValue(context, JS_GetException(context));
        return;
    }
    if (length > room)
        for (length = room; length && (text[length] & '\xc0') == '\x80';) length--;
    memcpy(report.text + report.length, text, length);
    report.length += length;
    js_free(context, text);
}

// The exception as JavaScript shows it, then where it was thrown.
static void tell_exception(JSContext *context) {
    JSValue exception = JS_GetException(context);
    tell(context, exception, REPORT / 2);
    if (!report.length) memcpy(report.text, "an exception that does not show", report.length = 31);
    if (!JS_IsError(exception)) return;
    report.text[report.length++] = '\n';
    JSValue stack = JS_GetPropertyStr(context, exception, "stack");
    if (JS_IsString(stack)) tell(context, stack, REPORT);
}

EXPORT("run") struct outcome *run(const char *arguments, uint32_t length) {
    static struct outcome outcome;
    JSRuntime *runtime = JS_NewRuntime();
    JSContext *context = runtime ? JS_NewContext(runtime) : NULL;
    if (!context) __builtin_trap();
    context->eval_internal = NULL;
    JS_SetMaxStackSize(runtime, STACK);
    JS_SetModuleLoaderFunc(runtime, place, load, NULL);
    JS_SetHostPromiseRejectionTracker(runtime, notice, NULL);
    struct bytes seed;
    host_seed(&seed);
    memcpy(&context->random_state, seed.at, sizeof context->random_state);
    // From zero the generator does not move.
    if (context->random_state == 0) context->random_state = 1;
    if (JS_IsException(run_program(context, arguments, length))) {
        tell_exception(context);
        outcome = (struct outcome){1, report.text, report.length};
    }
    return &outcome;
}
