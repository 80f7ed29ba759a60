//! What a contributor keeps of everything that a node acknowledged: all with which it is anchored without that node, and the receipt
//! for it afterwards.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use collective::contribution::DirectContribution;
use collective::id::Leaf;

use super::contribute::{beside, keep_whole};

/// Ending of the files, whose names are the leaves.
const ENDING: &str = "json";

/// A folder of them beside an account's key file.
pub(super) struct Acknowledged {
    folder: PathBuf,
}

impl Acknowledged {
    /// Those of the account whose key is in this file.
    pub fn beside(key: &Path) -> Self {
        let folder = beside(key, ".acknowledged");
        Self { folder }
    }

    /// Keeps one, and says where.
    pub fn keep(&self, taken: &DirectContribution) -> Result<PathBuf> {
        let making = || format!("making {}", self.folder.display());
        std::fs::create_dir_all(&self.folder).with_context(making)?;
        let path = self.path(taken.entry.contribution.leaf());
        keep_whole(&path, &serde_json::to_vec_pretty(taken)?)?;
        Ok(path)
    }

    /// The one of this leaf.
    pub fn of(&self, leaf: Leaf) -> Result<DirectContribution> {
        let taken = read(&self.path(leaf))?;
        let found = taken.entry.contribution.leaf();
        ensure!(
            found == leaf,
            "{} is of leaf {found}",
            self.path(leaf).display()
        );
        Ok(taken)
    }

    /// All of them, by their nonces.
    pub fn all(&self) -> Result<Vec<DirectContribution>> {
        let reading = || format!("reading {}", self.folder.display());
        let mut all = vec![];
        for entry in std::fs::read_dir(&self.folder).with_context(reading)? {
            let path = entry.with_context(reading)?.path();
            if path.extension().is_some_and(|it| it == ENDING) {
                all.push(read(&path)?);
            }
        }
        all.sort_by_key(|taken| taken.entry.contribution.nonce);
        Ok(all)
    }

    /// Where the one of this leaf is.
    pub fn path(&self, leaf: Leaf) -> PathBuf {
        self.folder.join(format!("{leaf}.{ENDING}"))
    }
}

fn read(path: &Path) -> Result<DirectContribution> {
    let bytes = std::fs::read(path).with_context(|| {
        let path = path.display();
        format!("reading {path}, which `contribute` wrote when the node took it in")
    })?;
    serde_json::from_slice(&bytes)
        .with_context(|| format!("{} is no acknowledged contribution", path.display()))
}
