//! The account of a story: what happened, who did it, what it proves. Every check is kept.

use std::io::{IsTerminal, Write};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

/// One thing that had to hold.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// The chapter it belongs to.
    pub chapter: u8,
    /// What had to hold.
    pub what: String,
    /// Whether it did.
    pub holds: bool,
    /// What was seen.
    pub seen: String,
}

/// One figure of the closing table.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// What was measured.
    pub what: String,
    /// Value and unit.
    pub value: String,
}

/// Writes the account and keeps its checks and figures.
#[derive(Debug)]
pub struct Account {
    quiet: bool,
    chapter: u8,
    checks: Vec<Check>,
    figures: Vec<Figure>,
    started: Instant,
}

/// The account as one JSON document.
#[derive(Debug, Serialize)]
pub struct Summary<'a> {
    /// Whether every check held.
    pub holds: bool,
    /// Seconds from the first line to the last.
    pub seconds: f64,
    /// All checks.
    pub checks: &'a [Check],
    /// All figures.
    pub figures: &'a [Figure],
}

impl Account {
    /// An empty account; `quiet` writes nothing but the closing document.
    pub fn new(quiet: bool) -> Self {
        Self {
            quiet,
            chapter: 0,
            checks: vec![],
            figures: vec![],
            started: Instant::now(),
        }
    }

    /// Opens the next chapter.
    pub fn chapter(&mut self, title: &str) {
        self.chapter += 1;
        self.line(&format!("\n{}. {title}", self.chapter));
    }

    /// Says something.
    pub fn tell(&self, text: &str) {
        self.line(&format!("   {text}"));
    }

    /// Notes whether something holds and what was seen.
    pub fn check(&mut self, what: impl Into<String>, holds: bool, seen: impl Into<String>) {
        let (what, seen) = (what.into(), seen.into());
        let mark = if holds { "✓" } else { "✗" };
        let tail = if seen.is_empty() {
            String::new()
        } else {
            format!(" — {seen}")
        };
        self.line(&format!("   {mark} {what}{tail}"));
        self.checks.push(Check {
            chapter: self.chapter,
            what,
            holds,
            seen,
        });
    }

    /// Notes a figure for the closing table.
    pub fn figure(&mut self, what: impl Into<String>, value: impl Into<String>) {
        self.figures.push(Figure {
            what: what.into(),
            value: value.into(),
        });
    }

    /// A progress bar on standard error, hidden where nobody looks.
    pub fn progress(&self, length: u64, what: &'static str) -> ProgressBar {
        if self.quiet || !std::io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let style = ProgressStyle::with_template("   {msg} {bar:30} {pos}/{len} {per_sec}")
            .expect("the template is well-formed");
        ProgressBar::new(length)
            .with_style(style)
            .with_message(what)
    }

    /// Whether every check held.
    pub fn holds(&self) -> bool {
        self.checks.iter().all(|check| check.holds)
    }

    /// Everything, for scripts.
    pub fn summary(&self) -> Summary<'_> {
        Summary {
            holds: self.holds(),
            seconds: self.started.elapsed().as_secs_f64(),
            checks: &self.checks,
            figures: &self.figures,
        }
    }

    /// Writes the closing table and the verdict.
    pub fn close(&self) {
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
        table.set_header(["figure", "value"]);
        for figure in &self.figures {
            table.add_row([&figure.what, &figure.value]);
        }
        self.line(&format!("\n{table}"));
        let failed: Vec<&Check> = self.checks.iter().filter(|check| !check.holds).collect();
        let seconds = self.started.elapsed().as_secs_f64();
        let count = self.checks.len();
        if failed.is_empty() {
            self.line(&format!("\nAll {count} checks hold, after {seconds:.1} s."));
        } else {
            self.line(&format!(
                "\n{} of {count} checks do not hold:",
                failed.len()
            ));
            for check in failed {
                self.line(&format!("   ✗ {} — {}", check.what, check.seen));
            }
        }
    }

    fn line(&self, text: &str) {
        if !self.quiet {
            // Whoever closed the pipe does not want the rest of the story.
            let _ = writeln!(std::io::stdout(), "{text}");
        }
    }
}
