//! `collective review`.

use std::fmt::Write as _;
use std::path::PathBuf;

use alloy::primitives::U256;
use anyhow::Result;
use clap::Args;
use collective::approval::SplitRule;

use super::place::{ChainAt, NodeAt};
use super::program::test::{cache, warn_of_layers};
use super::show::{Working, on_one_line, printable};
use crate::review::{Approval, Reviewer, SameBytes, Trial};
use crate::sandbox::Sandbox;

/// Lines of one file's difference that are printed; `--json` has all of them.
const MAX_LINES: usize = 400;
/// Lines of what the program wrote that are printed: enough to see what it is.
const MAX_OUTPUT_LINES: usize = 60;
/// Letters of one such line.
const MAX_LETTERS: usize = 2_000;

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
            print!("{page}");
        }
        Ok(review.holds())
    }
}

fn write(page: &mut String, approval: &Approval) {
    heading(page, &format!("manifest {}", approval.manifest));
    for statement in &approval.statements {
        line(page, statement.topic, &statement.says);
    }
    if !approval.imports.is_empty() {
        line(page, "imports", &approval.imports.join(", "));
    }
    let same = match &approval.same_bytes {
        SameBytes::Yes => "yes".into(),
        SameBytes::No => "NO: the source that is shown is not what would run".into(),
        SameBytes::Unknown(reason) => format!("unknown: {reason}"),
    };
    line(page, "same bytes", &same);
    let earnings = &approval.earnings;
    let earns = format!(
        "{} a run for each{} of {} contributors who match today, {} if it runs as often as it may; {} a run for the node, {} \
         for the treasury",
        earnings.each,
        match earnings.rule {
            SplitRule::Equal => "",
            SplitRule::Bytes => ", in the mean,",
        },
        earnings.contributors,
        earnings.each_in_all,
        earnings.node,
        earnings.treasury
    );
    line(page, "earns", &earns);

    heading(page, "what to weigh");
    for risk in &approval.risks {
        let _ = writeln!(page, "- {}", on_one_line(&risk.to_string()));
    }

    heading(page, "on its mock data");
    match &approval.trial {
        Trial::Ran {
            output,
            records,
            left_out,
            refused,
        } => {
            let counts = format!("{records} read, {left_out} left out");
            line(page, "records", &counts);
            if let Some(reason) = refused {
                line(page, "this output would stay inside", reason);
            }
            line(page, "the requester would get", "");
            foreign(page, output, MAX_OUTPUT_LINES, "the output");
        }
        Trial::Stopped { reason, text } => {
            line(page, "the program stopped", reason);
            foreign(page, text, MAX_OUTPUT_LINES, "its words");
        }
        Trial::NotTried { reason } => line(page, "not tried", reason),
    }

    match approval.earlier {
        Some(earlier) => heading(page, &format!("what changed since manifest {earlier}")),
        None => heading(page, "all sources: nothing from this folder is approved"),
    }
    for change in &approval.changes {
        if change.difference.contains('\n') {
            foreign(page, &change.difference, MAX_LINES, &change.place);
        } else {
            line(page, &change.place, &change.difference);
        }
    }
}

/// A stranger's lines, each with a mark before it, so that none can pass for a line of this page.
fn foreign(page: &mut String, text: &str, most: usize, what: &str) {
    let mut lines = text.lines();
    for line in lines.by_ref().take(most) {
        let cut: String = line.chars().take(MAX_LETTERS).collect();
        let _ = writeln!(page, "| {}", printable(&cut));
    }
    let more = lines.count();
    if more > 0 {
        let what = on_one_line(what);
        let _ = writeln!(page, "({more} more lines of {what}: --json shows them)");
    }
}

fn heading(page: &mut String, text: &str) {
    let _ = writeln!(page, "\n== {text} ==");
}

fn line(page: &mut String, name: &str, text: &str) {
    let _ = writeln!(page, "{}: {}", on_one_line(name), on_one_line(text));
}
