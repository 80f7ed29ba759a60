//! `collective liveness`.

use std::io::{IsTerminal, Write, stdout};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use clap::Args;
use collective::id::Leaf;
use collective::liveness::EPOCH_SECONDS;
use comfy_table::Table;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;

use super::place::NodeAt;
use super::show::show;
use crate::http::StandingAnswer;
use crate::ledger::Audited;

/// Show what daily audits of the stored payloads came to at a node, newest first.
///
/// Of each contribution one KiB is drawn a day, and 44 of all together. `results` is the blob with all verdicts. With a contribution:
/// what became of its own draws in a week, and whether it earns by being reachable.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  collective liveness --json\n  collective liveness 0x3c…9a")]
pub struct Liveness {
    /// What `contribute` printed; without it, all of them together.
    leaf: Option<Leaf>,
    #[command(flatten)]
    node: NodeAt,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Liveness {
    /// Says by the exit code whether there is an audit of yesterday or today and all of it was held; of one contribution, whether
    /// its newest audit held.
    pub async fn run(self) -> Result<bool> {
        let client = self.node.client()?;
        if let Some(leaf) = self.leaf {
            return tell(self.json, &client.standing(leaf).await?);
        }
        let audits = client.audits().await?;
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

fn tell(json: bool, standing: &StandingAnswer) -> Result<bool> {
    let custody = match standing.connected {
        true => "its contributor",
        false => "the node, in escrow",
    };
    let mut rows = vec![
        ("contribution", standing.leaf.to_string()),
        ("kept by", custody.into()),
    ];
    let days = standing.days.iter();
    rows.extend(days.map(|day| ("day", format!("{}: {}", day.epoch, day.verdict))));
    rows.push(("earns", standing.earns.to_string()));
    show(json, standing, &rows)?;
    Ok(standing
        .days
        .last()
        .is_some_and(|day| day.verdict == "held"))
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
