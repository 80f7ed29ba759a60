//! `collective program bundle`, and how verbs read sources.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use collective::bundle::Bundle;
use collective::limits::{MAX_BUNDLE_BYTES, MAX_BUNDLE_FILES};
use collective::permit::Code;
use serde_json::json;

use crate::cmd::show::show;

/// Make the source bundle of a program in Python or JavaScript, and print the name under which a manifest names it.
///
/// The bundle has every file of the folder, but for those whose names begin with a dot, and `__pycache__`. Equal files give
/// equal bundles, wherever they are made.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  collective program bundle jobs/logit-python logit.bundle")]
pub struct MakeBundle {
    /// The folder with the program's `main.py` or `main.js`.
    folder: PathBuf,
    /// Where to write the bundle.
    file: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl MakeBundle {
    pub fn run(self) -> Result<bool> {
        let bundle = of_folder(&self.folder)?;
        Code::check_sources(Code::language_of(&bundle)?, &bundle)?;
        fs::write(&self.file, bundle.as_bytes())
            .with_context(|| format!("writing {}", self.file.display()))?;
        let (id, count) = (bundle.id(), bundle.files().count());
        let bytes = bundle.as_bytes().len();
        let value = json!({ "sha256": id, "bytes": bytes, "files": count });
        let rows = [
            ("sha256", id.to_string()),
            ("bytes", bytes.to_string()),
            ("files", count.to_string()),
        ];
        show(self.json, &value, &rows)?;
        Ok(true)
    }
}

/// The bundle of the files in a folder.
pub fn of_folder(folder: &Path) -> Result<Bundle> {
    let mut files = BTreeMap::new();
    gather(folder, "", &mut files)?;
    Ok(Bundle::new(files)?)
}

/// Adds the files below `folder`, whose paths begin with `prefix`.
fn gather(folder: &Path, prefix: &str, files: &mut BTreeMap<String, String>) -> Result<()> {
    let reading = || format!("reading {}", folder.display());
    for entry in fs::read_dir(folder).with_context(reading)? {
        let entry = entry.with_context(reading)?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else {
            bail!("{} has no name in UTF-8", entry.path().display());
        };
        if name.starts_with('.') || name == "__pycache__" {
            continue;
        }
        let (path, kind) = (format!("{prefix}{name}"), entry.file_type()?);
        // Paths grow with the depth, and long ones are refused: no folder is too deep for the stack.
        Bundle::check_path(&path)?;
        if kind.is_dir() {
            gather(&entry.path(), &format!("{path}/"), files)?;
        } else if kind.is_file() {
            files.insert(path, text(&entry.path())?);
        } else {
            bail!("{} is neither a file nor a folder", entry.path().display());
        }
        ensure!(
            files.len() <= MAX_BUNDLE_FILES,
            "{} has more than {MAX_BUNDLE_FILES} files",
            folder.display()
        );
    }
    Ok(())
}

fn text(path: &Path) -> Result<String> {
    let mut text = String::new();
    // One byte over the limit tells as much as all of them.
    File::open(path)
        .and_then(|file| {
            file.take(MAX_BUNDLE_BYTES as u64 + 1)
                .read_to_string(&mut text)
        })
        .with_context(|| format!("reading {} as text", path.display()))?;
    ensure!(
        text.len() <= MAX_BUNDLE_BYTES,
        "{} is larger than any bundle",
        path.display()
    );
    Ok(text)
}
