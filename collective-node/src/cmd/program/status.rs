//! `collective program status`.

use std::io::{IsTerminal, Write, stdout};

use anyhow::Result;
use clap::Args;
use collective::id::ManifestDigest;
use comfy_table::Table;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;

use crate::cmd::place::NodeAt;
use crate::cmd::show::{on_one_line, printable, show};
use crate::http::Deployed;
use crate::programs::deploy::{Merge, State};

/// Show how approved programs stand at a node: at hand, true to their source, compiled, merged.
///
/// It is that node's word; what runs is decided by the chain alone.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  collective program status\n  collective program status 0x5f…c1 --json"
)]
pub struct Status {
    /// Digest of one manifest; all that were approved, if not given.
    manifest: Option<ManifestDigest>,
    #[command(flatten)]
    node: NodeAt,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Status {
    /// Of one program, says by the exit code whether it is ready.
    pub async fn run(self) -> Result<bool> {
        let client = self.node.client()?;
        let Some(manifest) = self.manifest else {
            all(self.json, &client.programs().await?)?;
            return Ok(true);
        };
        let deployed = client.program(manifest).await?;
        show(self.json, &deployed, &rows(&deployed))?;
        let runs = [State::Ready, State::UnreachableRepository];
        Ok(runs.contains(&deployed.state))
    }
}

/// What is said of one program. Chain and forge wrote some of it.
fn rows(deployed: &Deployed) -> Vec<(&'static str, String)> {
    let mut rows = vec![
        ("state", deployed.state.word().to_owned()),
        ("detail", printable(&deployed.detail)),
    ];
    rows.extend(deployed.program.map(|id| ("program", id.to_string())));
    if let Some(origin) = &deployed.origin {
        rows.extend([
            ("repository", printable(origin.repository.as_str())),
            ("folder", origin.path.to_string()),
            ("commit", origin.commit.to_string()),
        ]);
    }
    let merge = deployed.merge.as_ref();
    rows.extend(merge.map(|merge| ("merge", printable(&words(merge)))));
    rows
}

fn all(json: bool, programs: &[Deployed]) -> Result<()> {
    let mut out = stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(programs)?)?;
        return Ok(());
    }
    if out.is_terminal() {
        let mut table = Table::new();
        table.load_style(UTF8_HORIZONTAL_ONLY);
        table.set_header(["manifest", "state", "folder", "merge"]);
        table.add_rows(programs.iter().map(in_short));
        writeln!(out, "{table}")?;
    } else {
        for deployed in programs {
            writeln!(out, "{}", in_short(deployed).join("\t").trim_end())?;
        }
    }
    Ok(())
}

fn in_short(deployed: &Deployed) -> [String; 4] {
    let origin = deployed.origin.as_ref();
    let path = origin.map(|origin| origin.path.to_string());
    let merge = deployed.merge.as_ref();
    let merge = merge.map(|merge| on_one_line(&words(merge)));
    [
        deployed.manifest.to_string(),
        deployed.state.word().to_owned(),
        path.unwrap_or_default(),
        merge.unwrap_or_default(),
    ]
}

fn words(merge: &Merge) -> String {
    match merge {
        Merge::Merged { commit: None } => "merged".to_owned(),
        Merge::Merged {
            commit: Some(commit),
        } => format!("merged by {commit}"),
        Merge::ByHand { reason } => format!("merge by hand: {reason}"),
        Merge::Failed { reason } => format!("not merged yet: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::B256;

    use super::*;

    #[test]
    fn what_a_forge_says_moves_no_cursor() {
        let said = "fatal: \u{1b}[2J\u{9b}1mready\u{202e}\nmerged";
        let deployed = Deployed {
            manifest: ManifestDigest(B256::ZERO),
            state: State::UnreachableRepository,
            detail: said.to_owned(),
            program: None,
            origin: None,
            expiry: 0,
            merge: Some(Merge::Failed {
                reason: said.to_owned(),
            }),
        };
        let shown = "fatal: \\u{1b}[2J\\u{9b}1mready\\u{202e}\nmerged";
        let rows = rows(&deployed);
        assert_eq!(rows[1], ("detail", shown.to_owned()));
        assert_eq!(rows[2], ("merge", format!("not merged yet: {shown}")));
        let line = in_short(&deployed).join("\t");
        assert!(line.ends_with(&shown.replace('\n', "\\n")), "{line}");
    }
}
