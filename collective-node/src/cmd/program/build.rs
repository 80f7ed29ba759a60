//! `collective program build`.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;

use super::bundle::of_folder;
use crate::cmd::show::show;
use crate::programs::folder::Folder;
use crate::programs::recipe;

/// Make the bytes of a program out of its folder, by the recipe of its language.
///
/// Nothing of the folder is executed. Equal sources give equal bytes with the same compiler, wherever they lie.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  collective program build survey-means survey-means.wasm")]
pub struct MakeProgram {
    /// The program's folder.
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Where to write the bytes; without it only their name is printed.
    file: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl MakeProgram {
    pub fn run(self) -> Result<bool> {
        let bundle = of_folder(&self.folder)?;
        let source = bundle.id();
        let folder = Folder::parse(bundle).with_context(|| format!("{}", self.folder.display()))?;
        let built = recipe::build(&folder)?;
        if let Some(file) = &self.file {
            fs::write(file, built.bytes())
                .with_context(|| format!("writing {}", file.display()))?;
        }
        let (id, bytes, build) = (built.id(), built.bytes().len(), built.build());
        let value = json!({ "sha256": id, "bytes": bytes, "build": build, "source": source });
        let rows = [
            ("sha256", id.to_string()),
            ("bytes", bytes.to_string()),
            ("build", build.to_string()),
            ("source", source.to_string()),
        ];
        show(self.json, &value, &rows)?;
        Ok(true)
    }
}
