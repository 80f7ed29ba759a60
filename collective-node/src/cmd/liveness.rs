//! `collective liveness`.

use std::io::{IsTerminal, Write, stdout};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use clap::Args;
use collective::liveness::EPOCH_SECONDS;
use comfy_table::Table;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;

use super::place::NodeAt;
use crate::ledger::Audited;

/// Show what daily audits of the stored payloads came to at a node, newest first.
///
/// Of each contribution one KiB is drawn a day, and 44 of all together. `results` is the blob with all verdicts.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  collective liveness --json")]
pub struct Liveness {
    #[command(flatten)]
    node: NodeAt,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Liveness {
    /// Says by the exit code whether there is an audit of yesterday or today and all of it was held.
    pub async fn run(self) -> Result<bool> {
        let audits = self.node.client()?.audits().await?;
        let mut out = stdout().lock();
        if self.json {
            writeln!(out, "{}", serde_json::to_string_pretty(&audits)?)?;
        } else if out.is_terminal() {
            let mut table = Table::new();
            table.load_style(UTF8_HORIZONTAL_ONLY);
            table.set_header([
                "days since 1970",
                "asked",
                "held",
                "wrong",
                "error",
                "offline",
                "results",
            ]);
            table.add_rows(audits.iter().map(row));
            writeln!(out, "{table}")?;
        } else {
            for audited in &audits {
                writeln!(out, "{}", row(audited).join("\t"))?;
            }
        }
        let Some(newest) = audits.first() else {
            eprintln!(
                "nothing was audited here yet: the first audit is that of the first whole day"
            );
            return Ok(false);
        };
        let today = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() / EPOCH_SECONDS;
        let is_recent = newest.epoch + 1 >= today;
        if !is_recent {
            eprintln!("yesterday was not audited here: look at the node's log");
        }
        Ok(is_recent && u64::from(newest.counts.held) == newest.asked)
    }
}

fn row(audited: &Audited) -> [String; 7] {
    let counts = &audited.counts;
    [
        audited.epoch.to_string(),
        audited.asked.to_string(),
        counts.held.to_string(),
        counts.wrong.to_string(),
        counts.error.to_string(),
        counts.offline.to_string(),
        audited.results.to_string(),
    ]
}
