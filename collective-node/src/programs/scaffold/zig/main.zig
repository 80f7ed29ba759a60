// How many people each group has, and the mean of their scores. Groups of fewer than `smallest` are left out.
const std = @import("std");
const program = @import("program.zig");

const most_groups = 9;
const smallest = 3;

var counts: [most_groups + 1]u64 = @splat(0);
var totals: [most_groups + 1]u64 = @splat(0);

pub fn run(arguments: []const u8) program.Failure!void {
    _ = arguments;
    while (program.nextRecord()) |record| {
        var fields = std.mem.splitScalar(u8, record, ',');
        const group = try number(&fields);
        if (group > most_groups) return error.Unreadable;
        counts[group] += 1;
        totals[group] += try number(&fields);
    }
    program.write("{\"groups\":[");
    var comma: []const u8 = "";
    for (counts, totals, 0..) |n, total, group| {
        if (n < smallest) continue;
        const mean = @as(f64, @floatFromInt(total)) / @as(f64, @floatFromInt(n));
        program.print("{s}{{\"group\":{d},\"n\":{d},\"mean\":{d}}}", .{ comma, group, n, mean });
        comma = ",";
    }
    program.write("]}\n");
}

fn number(fields: *std.mem.SplitIterator(u8, .scalar)) program.Failure!u32 {
    const field = fields.next() orelse return error.Unreadable;
    return std.fmt.parseInt(u32, field, 10) catch error.Unreadable;
}

comptime {
    program.start(run);
}
