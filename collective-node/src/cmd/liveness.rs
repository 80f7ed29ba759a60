//! `collective liveness`.

use std::io::{IsTerminal, Write, stdout};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use clap::{Args, Subcommand};
use collective::id::Leaf;
use collective::liveness::EPOCH_SECONDS;
use comfy_table::Table;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;

use super::place::NodeAt;
use super::show::show;
use crate::http::StandingAnswer;
use crate::ledger::Audited;

mod dispute;
mod pay;

/// Show what daily audits of the stored payloads came to at a node, newest first.
///
/// Of each contribution one KiB is drawn a day, and 44 of all together. `results` is the blob with all verdicts. With a contribution:
/// what became of its own draws in a week, and whether it earns by being reachable; what its contributor keeps and the node could not
/// ask for, by a fault of its own, is `unasked`, and costs nothing but that day's pay.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  collective liveness --json\n  collective liveness 0x3c…9a"
)]
pub struct Liveness {
    #[command(subcommand)]
    verb: Option<LivenessVerb>,
    /// What `contribute` printed; without it, all of them together.
    leaf: Option<Leaf>,
    #[command(flatten)]
    node: NodeAt,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum LivenessVerb {
    Fund(pay::Fund),
    /// Have a posted day paid, once nobody can object to it any more. Anybody may; a node does it by itself.
    #[command(after_help = "Example:\n  collective liveness settle 20779 --key me.key")]
    Settle(pay::Step),
    /// Let what was posted of a day not count, before it can be settled. The guardian can; the collective does it by a vote.
    #[command(after_help = "Example:\n  collective liveness veto 20779 --key guardian.key")]
    Veto(pay::Step),
    Dispute(dispute::Dispute),
}

impl Liveness {
    pub async fn run(self) -> Result<bool> {
        match (self.verb, self.leaf) {
            (None, None) => audits(&self.node, self.json).await,
            (None, Some(leaf)) => tell(self.json, &self.node.client()?.standing(leaf).await?),
            (Some(LivenessVerb::Fund(fund)), _) => fund.run().await,
            (Some(LivenessVerb::Settle(step)), _) => step.settle().await,
            (Some(LivenessVerb::Veto(step)), _) => step.veto().await,
            (Some(LivenessVerb::Dispute(dispute)), _) => dispute.run().await,
        }
    }
}

/// Says by the exit code whether there is an audit of yesterday or today and all of it was held.
async fn audits(node: &NodeAt, json: bool) -> Result<bool> {
    let audits = node.client()?.audits().await?;
    let mut out = stdout().lock();
    if json {
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
        eprintln!("nothing was audited here yet: the first audit is that of the first whole day");
        return Ok(false);
    };
    let today = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() / EPOCH_SECONDS;
    let is_recent = newest.epoch + 1 >= today;
    if !is_recent {
        eprintln!("yesterday was not audited here: look at the node's log");
    }
    Ok(is_recent && u64::from(newest.counts.held) == newest.asked)
}

/// Says by the exit code whether its newest audit held.
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
