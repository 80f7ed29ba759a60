//! How answers are printed: JSON for scripts, a table on a terminal, lines in a pipe.

use std::io::{IsTerminal, Write, stdout};

use anyhow::Result;
use comfy_table::Table;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use serde::Serialize;

/// Prints `value` as one JSON document, or `rows` of name and value for people.
pub fn show(json: bool, value: &impl Serialize, rows: &[(&str, String)]) -> Result<()> {
    let mut out = stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(value)?)?;
    } else if out.is_terminal() {
        let mut table = Table::new();
        table.load_style(UTF8_HORIZONTAL_ONLY);
        for (name, value) in rows {
            table.add_row([*name, value]);
        }
        writeln!(out, "{table}")?;
    } else {
        for (name, value) in rows {
            writeln!(out, "{name}: {value}")?;
        }
    }
    Ok(())
}
