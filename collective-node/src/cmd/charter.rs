//! `collective charter`, and how verbs read a charter file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use alloy::primitives::Address;
use anyhow::{Context, Result, ensure};
use clap::{ArgGroup, Args, Subcommand};
use collective::admission::AdmissionList;
use collective::charter::Charter;
use collective::id::ContributorId;
use collective::source::Source;
use serde_json::json;

use super::show::show;
use crate::http::MAX_BLOB_BYTES;
use crate::keystore::write_new;

/// Make and look at charters: what may be contributed, and by whom.
#[derive(Debug, Subcommand)]
#[command(name = "charter")]
pub enum CharterVerb {
    New(New),
    Check(Check),
}

/// Make a charter out of source declarations and a list of accounts.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("who").required(true),
    after_help = "Examples:
  collective charter new charter.json --source survey.json --admit accounts.txt
  collective charter new charter.json --source survey.json --open
  collective charter new charter.json --source survey.json --admit accounts.txt --connected survey

A source:
  {\"name\": \"survey\", \"columns\": [
    {\"name\": \"age\", \"type\": {\"integer\": {\"min\": 18, \"max\": 120}}},
    {\"name\": \"vote\", \"type\": {\"choice\": [\"yes\", \"no\"]}}]}"
)]
pub struct New {
    /// Where to write it; a file that exists is not overwritten.
    file: PathBuf,
    /// A source's declaration, as JSON; repeat it for each.
    #[arg(long = "source", value_name = "FILE", required = true)]
    sources: Vec<PathBuf>,
    /// File with the addresses of those who may contribute, one a line.
    #[arg(long, value_name = "FILE", group = "who")]
    admit: Option<PathBuf>,
    /// Anybody may contribute: minimum groups and equal rewards then protect from nobody with many accounts.
    #[arg(long, group = "who")]
    open: bool,
    /// Name of a source whose sealed files contributors may keep themselves, at a place that nodes reach; repeat it for each. A job
    /// waits for every file that it reads, so whoever keeps one can hold jobs up; a node's operator has to allow it, too.
    #[arg(long, value_name = "SOURCE")]
    connected: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Check a charter file, and print the digests that are voted on and that manifests name.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  collective charter check charter.json")]
pub struct Check {
    /// The charter, as JSON.
    file: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl CharterVerb {
    pub fn run(self) -> Result<bool> {
        match self {
            Self::New(new) => new.run(),
            Self::Check(check) => describe(&read(&check.file)?, check.json),
        }
    }
}

impl New {
    fn run(self) -> Result<bool> {
        let mut sources = vec![];
        for path in &self.sources {
            let source: Source = serde_json::from_slice(&bytes(path)?)
                .with_context(|| format!("{} declares no source", path.display()))?;
            ensure!(
                !sources
                    .iter()
                    .any(|known: &Source| known.name == source.name),
                "source '{}' is declared twice",
                source.name
            );
            sources.push(source);
        }
        let admission = self.admit.as_deref().map(admitted).transpose()?;
        let connected = self.connected.into_iter().collect::<BTreeSet<_>>();
        let charter = Charter {
            sources,
            admission,
            connected,
        };
        checked(&charter)?;
        write_new(&self.file, &charter.to_bytes())?;
        describe(&charter, self.json)
    }
}

/// Reads a charter in any layout and checks its canonical form.
pub fn read(path: &Path) -> Result<Charter> {
    let charter: Charter = serde_json::from_slice(&bytes(path)?)
        .with_context(|| format!("{} is no charter", path.display()))?;
    checked(&charter)?;
    Ok(charter)
}

fn checked(charter: &Charter) -> Result<()> {
    ensure!(!charter.sources.is_empty(), "the charter names no source");
    charter.check_connected()?;
    let length = charter.to_bytes().len();
    ensure!(
        length <= MAX_BLOB_BYTES,
        "the charter has {length} bytes, nodes keep at most {MAX_BLOB_BYTES}"
    );
    Ok(())
}

fn admitted(path: &Path) -> Result<AdmissionList> {
    let text = String::from_utf8(bytes(path)?)
        .with_context(|| format!("{} is no text", path.display()))?;
    let mut ids = vec![];
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let account: Address = line.parse().with_context(|| {
            format!(
                "{}, line {}: '{line}' is no address",
                path.display(),
                index + 1
            )
        })?;
        ids.push(ContributorId::from_address(account));
    }
    AdmissionList::new(ids).with_context(|| format!("{} names nobody", path.display()))
}

fn describe(charter: &Charter, json: bool) -> Result<bool> {
    let sources = charter.sources.iter();
    let sources: Vec<_> = sources
        .map(|source| (source.name.clone(), source.digest()))
        .collect();
    let admitted = charter.admission.as_ref().map(AdmissionList::count);
    let value = json!({
        "digest": charter.digest(),
        "sources": sources.iter().map(|(name, digest)| json!({ "name": name, "declaration": digest })).collect::<Vec<_>>(),
        "admitted": admitted,
        "connected": charter.connected,
    });
    let mut rows = vec![
        ("digest", charter.digest().to_string()),
        (
            "admitted",
            admitted.map_or("anybody".to_owned(), |count| count.to_string()),
        ),
    ];
    for (name, digest) in &sources {
        let kept = match charter.may_be_kept(name) {
            true => "; contributors may keep its files themselves",
            false => "",
        };
        rows.push(("source", format!("{name}, declaration {digest}{kept}")));
    }
    show(json, &value, &rows)?;
    Ok(true)
}

fn bytes(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("reading {}", path.display()))
}
