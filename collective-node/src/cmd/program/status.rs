//! `collective program status`.

use std::io::{IsTerminal, Write, stdout};

use anyhow::Result;
use clap::Args;
use collective::id::ManifestDigest;
use comfy_table::Table;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;

use crate::cmd::place::NodeAt;
use crate::cmd::show::show;
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
        let mut rows = vec![
            ("state", deployed.state.word().to_owned()),
            ("detail", deployed.detail.clone()),
        ];
        rows.extend(deployed.program.map(|id| ("program", id.to_string())));
        if let Some(origin) = &deployed.origin {
            rows.extend([
                ("repository", origin.repository.to_string()),
                ("folder", origin.path.to_string()),
                ("commit", origin.commit.to_string()),
            ]);
        }
        rows.extend(deployed.merge.as_ref().map(|merge| ("merge", words(merge))));
        show(self.json, &deployed, &rows)?;
        let runs = [State::Ready, State::UnreachableRepository];
        Ok(runs.contains(&deployed.state))
    }
}

fn all(json: bool, programs: &[Deployed]) -> Result<()> {
    let mut out = stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(programs)?)?;
        return Ok(());
    }
    let row = |deployed: &Deployed| {
        let path = deployed
            .origin
            .as_ref()
            .map(|origin| origin.path.to_string());
        let merge = deployed.merge.as_ref().map(words);
        [
            deployed.manifest.to_string(),
            deployed.state.word().to_owned(),
            path.unwrap_or_default(),
            merge.unwrap_or_default(),
        ]
    };
    if out.is_terminal() {
        let mut table = Table::new();
        table.load_style(UTF8_HORIZONTAL_ONLY);
        table.set_header(["manifest", "state", "folder", "merge"]);
        table.add_rows(programs.iter().map(row));
        writeln!(out, "{table}")?;
    } else {
        for deployed in programs {
            writeln!(out, "{}", row(deployed).join("\t").trim_end())?;
        }
    }
    Ok(())
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
