// The world of a program (wit/program.wit) as Zig sees it. Freestanding: no file, no clock, no WASI.
const std = @import("std");

pub const Failure = error{Unreadable};

const Chunk = extern struct { some: bool, bytes: [*]const u8, length: u32 };
const Outcome = extern struct { failed: bool, text: [*]const u8, length: u32 };

const host = struct {
    extern "collective:program/dataset@0.1.0" fn @"next-chunk"(max_bytes: u32, into: *Chunk) void;
    extern "collective:program/output@0.1.0" fn write(bytes: [*]const u8, length: u32) void;
};

const chunk_bytes = 1 << 20;

// The host puts the arguments, and then one chunk after the other, here.
var inbox: [chunk_bytes + (1 << 16)]u8 align(8) = undefined;
var chunk: []const u8 = "";
var outcome: Outcome = undefined;

export fn cabi_realloc(old: ?[*]u8, old_size: u32, alignment: u32, size: u32) [*]u8 {
    _ = old;
    _ = old_size;
    _ = alignment;
    if (size > inbox.len) @trap();
    return &inbox;
}

/// The next record without its line feed; null after the last one. It is there until the next call.
pub fn nextRecord() ?[]const u8 {
    if (chunk.len == 0) {
        var next: Chunk = undefined;
        host.@"next-chunk"(chunk_bytes, &next);
        if (!next.some) return null;
        chunk = next.bytes[0..next.length];
    }
    const end = std.mem.indexOfScalar(u8, chunk, '\n') orelse @trap();
    defer chunk = chunk[end + 1 ..];
    return chunk[0..end];
}

/// Adds to the output.
pub fn write(bytes: []const u8) void {
    host.write(bytes.ptr, bytes.len);
}

/// Adds formatted text of at most 1,024 bytes to the output.
pub fn print(comptime format: []const u8, values: anytype) void {
    var buffer: [1024]u8 = undefined;
    write(std.fmt.bufPrint(&buffer, format, values) catch @trap());
}

/// Makes a function the one that the host calls.
pub fn start(comptime run: fn ([]const u8) Failure!void) void {
    const exported = struct {
        fn call(arguments: [*]const u8, length: u32) callconv(.c) *Outcome {
            const text = if (run(arguments[0..length])) "" else |failure| @errorName(failure);
            outcome = .{ .failed = text.len > 0, .text = text.ptr, .length = text.len };
            return &outcome;
        }
    };
    @export(&exported.call, .{ .name = "run" });
}
