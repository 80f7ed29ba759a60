//! How answers are printed: JSON for scripts, a table on a terminal, lines in a pipe.

use std::io::{IsTerminal, Write, stdout};
use std::time::Duration;

use anyhow::Result;
use collective::bundle::is_hidden;
use comfy_table::Table;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use indicatif::{ProgressBar, ProgressStyle};
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

/// Says on a terminal what is being waited for, until it is dropped. Writes nothing into a pipe.
pub struct Working(ProgressBar);

impl Working {
    /// Waiting for this.
    pub fn on(what: &'static str) -> Self {
        let bar = ProgressBar::new_spinner().with_message(what);
        let style = ProgressStyle::with_template("{spinner} {msg}, {elapsed}");
        bar.set_style(style.expect("the template names known fields"));
        bar.enable_steady_tick(Duration::from_millis(120));
        Self(bar)
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Shows on a terminal how many bytes of how many are done. Writes nothing into a pipe.
pub fn byte_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {bytes} of {total_bytes}, {bytes_per_sec}");
    ProgressBar::no_length().with_style(style.expect("the template names known fields"))
}

/// Shows on a terminal how many steps of how many are done. Writes nothing into a pipe.
pub fn step_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos} of {len} steps, {msg}, {eta} left");
    ProgressBar::no_length().with_style(style.expect("the template names known fields"))
}

/// A stranger's text without what moves a terminal's cursor, has no width or turns the direction of reading: such letters are
/// shown as escapes. Line breaks and tabs stay.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' | '\t' => shown.push(letter),
            hidden if is_hidden(hidden) => shown.extend(hidden.escape_unicode()),
            letter => shown.push(letter),
        }
    }
    shown
}

/// The same on one line.
pub fn on_one_line(text: &str) -> String {
    printable(text).replace('\n', "\\n").replace('\t', "\\t")
}
