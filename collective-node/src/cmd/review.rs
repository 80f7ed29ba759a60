//! `collective review`.

use std::fmt::Write as _;
use std::path::PathBuf;

use alloy::primitives::U256;
use anyhow::Result;
use clap::Args;

use super::place::{ChainAt, NodeAt};
use super::program::test::{cache, warn_of_layers};
use super::show::{Working, printable};
use crate::review::{Approval, Reviewer, SameBytes, Trial};
use crate::sandbox::Sandbox;

/// Lines of one file's difference that are printed; `--json` has all of them.
const MAX_LINES: usize = 400;

/// Show what a proposal would do before you vote: what its program reads and sends, to whom and for what price, what changed
/// since the last version, whether its source makes its bytes, what it does on mock data, and what to weigh.
///
/// Everything comes from the chain and from bytes that the manifest names; the node is asked for blobs and trusted with
/// nothing. The program runs in the sandbox alone. Exits with 1 where the program is not what its manifest says.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  collective review 8431…207
  collective review 8431…207 --json | jq '.approvals[].risks'")]
pub struct Review {
    /// What `propose` printed.
    id: U256,
    /// Folder for compiled programs and the key that guards them; without it every review compiles.
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    #[command(flatten)]
    node: NodeAt,
    #[command(flatten)]
    chain: ChainAt,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Review {
    pub async fn run(self) -> Result<bool> {
        let chain = self.chain.reader().await?;
        let cache = self.cache.as_deref().map(cache).transpose()?;
        let sandbox = Sandbox::of_this_binary(vec![], cache);
        if let Ok(layers) = sandbox.layers() {
            warn_of_layers(&layers);
        }
        let working = Working::on("reading what was contributed, rebuilding, trying it out");
        let reviewer = Reviewer::new(chain, self.node.client()?, sandbox);
        let review = reviewer.review(self.id).await;
        drop(working);
        let review = review?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&review)?);
        } else {
            let mut page = String::new();
            for action in &review.actions {
                line(&mut page, "it would", action);
            }
            for approval in &review.approvals {
                write(&mut page, approval);
            }
            let said = format!("{} says: {}", review.proposer, review.description);
            line(&mut page, "the proposer", &said);
            print!("{}", printable(&page));
        }
        Ok(review.holds())
    }
}

fn write(page: &mut String, approval: &Approval) {
    heading(page, &format!("manifest {}", approval.manifest));
    for statement in &approval.statements {
        line(page, statement.topic, &statement.says);
    }
    line(page, "imports", &approval.imports.join(", "));
    let same = match &approval.same_bytes {
        SameBytes::Yes => "yes".into(),
        SameBytes::No => "NO: the source that is shown is not what would run".into(),
        SameBytes::Unknown(reason) => format!("unknown: {reason}"),
    };
    line(page, "same bytes", &same);
    let earnings = &approval.earnings;
    let earns = format!(
        "{} a run for each of {} contributors who match today, {} if it runs as often as it may; {} a run for the node, {} \
         for the treasury",
        earnings.each,
        earnings.contributors,
        earnings.each_in_all,
        earnings.node,
        earnings.treasury
    );
    line(page, "earns", &earns);

    heading(page, "what to weigh");
    for risk in &approval.risks {
        let _ = writeln!(page, "- {risk}");
    }

    heading(page, "on its mock data");
    match &approval.trial {
        Trial::Ran {
            output,
            records,
            left_out,
            refused,
        } => {
            let _ = writeln!(
                page,
                "{records} records read, {left_out} left out; the requester would get:"
            );
            let _ = writeln!(page, "{}", output.trim_end());
            if let Some(reason) = refused {
                let _ = writeln!(page, "this output would stay inside: {reason}");
            }
        }
        Trial::Stopped { reason, text } => {
            let _ = writeln!(page, "the program stopped: {reason}\n{}", text.trim_end());
        }
        Trial::NotTried { reason } => {
            let _ = writeln!(page, "not tried: {reason}");
        }
    }

    match approval.earlier {
        Some(earlier) => heading(page, &format!("what changed since manifest {earlier}")),
        None => heading(page, "all sources: no earlier version was approved"),
    }
    for change in &approval.changes {
        if change.difference.contains('\n') {
            let lines: Vec<_> = change.difference.lines().collect();
            let shown = &lines[..lines.len().min(MAX_LINES)];
            let _ = writeln!(page, "{}", shown.join("\n"));
            if shown.len() < lines.len() {
                let more = lines.len() - shown.len();
                let _ = writeln!(
                    page,
                    "({more} more lines of {}: --json shows them)",
                    change.place
                );
            }
        } else {
            line(page, &change.place, &change.difference);
        }
    }
}

fn heading(page: &mut String, text: &str) {
    let _ = writeln!(page, "\n== {text} ==");
}

fn line(page: &mut String, name: &str, text: &str) {
    let _ = writeln!(page, "{name}: {text}");
}
