//! `input.json`: what a program is told of its input beside the tables.

use std::path::Path;

use collective::limits::MAX_MANIFEST_BYTES;
use collective::source::{Column, Source};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::folder;

/// The name of the file.
pub const INPUT: &str = "input.json";
/// The table of a source of records.
pub const RECORDS: &str = "records.parquet";
/// The table of a source of documents.
pub const DOCUMENTS: &str = "documents.parquet";
/// The lines of a source of documents.
pub const LINES: &str = "documents.jsonl";
/// The column that says which documents came together, from 0: a number within this job, which names nobody. No declared
/// column is called so.
pub const CONTRIBUTION: &str = "#contribution";
/// The manifest's argument string.
const ARGUMENTS: &str = "arguments";
/// Bytes of `input.json`: a declaration, which a charter and a manifest have, and a few numbers.
const MAX_INPUT_BYTES: u64 = 1 << 20;

/// What the tables are of (SPEC "Heavy programs"). Nothing here tells of one person.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Input {
    /// The source, as its collective declared it.
    pub declaration: Source,
    /// Columns of the selector, in its order.
    pub columns: Vec<String>,
    /// Contributions that were handed over.
    pub contributions: u64,
    /// Rows of the table: records or documents.
    pub rows: u64,
    /// Records and documents that are none, and stand nowhere.
    pub left_out: u64,
    /// What the collective agreed to.
    pub purpose: String,
}

impl Input {
    /// Reads what an input folder has.
    ///
    /// # Errors
    /// The operator's: whoever starts the program made the folder.
    pub fn read(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join(INPUT);
        let text = folder::read(&path, MAX_INPUT_BYTES)?;
        let input: Self =
            serde_json::from_slice(&text).map_err(|error| Failure::file(&path, error))?;
        let selected = input.declaration.select(&input.columns);
        selected.map_err(|refusal| Failure::file(&path, refusal))?;
        Ok(input)
    }

    /// The selected columns with their types, in the selector's order.
    pub fn selected(&self) -> impl Iterator<Item = &Column> {
        let find = |name: &String| self.declaration.columns.iter().find(|it| it.name == *name);
        self.columns.iter().filter_map(find)
    }
}

/// The argument string of the manifest.
///
/// # Errors
/// The operator's, where the file is not there.
pub fn arguments(folder: &Path) -> Result<Vec<u8>, Failure> {
    folder::read(&folder.join(ARGUMENTS), MAX_MANIFEST_BYTES as u64)
}
