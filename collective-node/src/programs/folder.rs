//! A program's folder: `program.toml`, `src/`, and mock data to try it out on (SPEC "Program folder").

use std::collections::BTreeMap;

use collective::approval::OutputRule;
use collective::bundle::{Bundle, BundleRefusal};
use collective::permit::CodeRefusal;
use collective::source::{Source, SourceRefusal};
use serde_json::Value;
use thiserror::Error;

use super::description::{Description, Language};

/// The human side of the manifest.
pub const DESCRIPTION: &str = "program.toml";

/// Where sources lie.
pub const SOURCES: &str = "src/";

/// The declaration of the records.
pub const MOCK_SOURCE: &str = "mock/source.json";

/// Records that are nobody's, one a line.
pub const MOCK_RECORDS: &str = "mock/records.csv";

/// A folder that was read: it has all its parts, and they fit each other.
#[derive(Clone, Debug)]
pub struct Folder {
    bundle: Bundle,
    description: Description,
    output: OutputRule,
    sources: BTreeMap<String, String>,
    source: Source,
}

/// Why a folder is no program's. Its author has to act.
#[derive(Debug, Error)]
pub enum FolderRefusal {
    /// A part is not there.
    #[error("the folder has no {0}: `collective program new` makes a folder with all of its parts")]
    Missing(&'static str),
    /// The description does not parse.
    #[error("{DESCRIPTION}: {0}")]
    Description(#[from] toml::de::Error),
    /// An interpreter where none is run, or none where one is.
    #[error(
        "{DESCRIPTION}: `runtime` is the SHA-256 of the interpreter, for languages that have one"
    )]
    Runtime,
    /// An engine where none is asked, or none for a query.
    #[error(
        "{DESCRIPTION}: `engine` is the name and version of what runs a query, and a query has one"
    )]
    Engine,
    /// A trainer is missing, or there is one where none belongs.
    #[error("{DESCRIPTION}: `trainer` belongs to a training, and every training has one")]
    Trainer,
    /// The declaration does not parse.
    #[error("{MOCK_SOURCE} declares no source: {0}")]
    Source(serde_json::Error),
    /// Another source than the one that is asked for.
    #[error("{DESCRIPTION} reads source '{asked}', {MOCK_SOURCE} declares '{declared}'")]
    AnotherSource {
        /// In the description.
        asked: String,
        /// In the declaration.
        declared: String,
    },
    /// A column that is not declared.
    #[error("{DESCRIPTION}: {0}")]
    Column(#[from] SourceRefusal),
    /// The schema's file is no JSON.
    #[error("{path}, the schema of the output, is no JSON: {error}")]
    Schema {
        /// The file.
        path: String,
        /// Why.
        error: serde_json::Error,
    },
    /// The schema's file is not there.
    #[error("the folder has no {0}, which {DESCRIPTION} names as the schema of the output")]
    NoSchema(String),
    /// The sources are none.
    #[error("{SOURCES}: {0}")]
    Bundle(#[from] BundleRefusal),
    /// The sources are no program in their language.
    #[error("{SOURCES}: {0}")]
    Code(#[from] CodeRefusal),
}

impl Folder {
    /// Reads a folder out of its bundle.
    ///
    /// # Errors
    /// [`FolderRefusal`], which names the part at fault.
    pub fn parse(bundle: Bundle) -> Result<Self, FolderRefusal> {
        let part = |path: &'static str| bundle.text(path).ok_or(FolderRefusal::Missing(path));
        let description: Description = toml::from_str(part(DESCRIPTION)?)?;
        if description.runtime.is_some() != description.language.has_runtime() {
            return Err(FolderRefusal::Runtime);
        }
        if description.engine.is_some() != (description.language == Language::Sql) {
            return Err(FolderRefusal::Engine);
        }
        if description.trainer.is_some() != (description.language == Language::Training) {
            return Err(FolderRefusal::Trainer);
        }
        let source: Source =
            serde_json::from_str(part(MOCK_SOURCE)?).map_err(FolderRefusal::Source)?;
        part(MOCK_RECORDS)?;
        let asked = &description.dataset.source;
        if *asked != source.name {
            return Err(FolderRefusal::AnotherSource {
                asked: asked.clone(),
                declared: source.name,
            });
        }
        source.select(&description.dataset.columns)?;
        let output = with_schema(&description.output, &bundle)?;
        let within = |(path, text): (&str, &str)| {
            Some((path.strip_prefix(SOURCES)?.to_owned(), text.to_owned()))
        };
        let sources: BTreeMap<_, _> = bundle.files().filter_map(within).collect();
        if sources.is_empty() {
            return Err(FolderRefusal::Missing(SOURCES));
        }
        Ok(Self {
            description,
            output,
            sources,
            source,
            bundle,
        })
    }

    /// The whole folder.
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// `program.toml`.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// What may leave, with the schema that a file gives.
    pub fn output(&self) -> &OutputRule {
        &self.output
    }

    /// The files below `src/`, by their paths from there.
    pub fn sources(&self) -> &BTreeMap<String, String> {
        &self.sources
    }

    /// The declaration of the records, which the collective's charter has to have, too.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Mock records, one a line.
    pub fn records(&self) -> &str {
        self.bundle
            .text(MOCK_RECORDS)
            .expect("a folder without them is refused")
    }
}

/// The rule with its schema, which may be a file's.
fn with_schema(rule: &OutputRule, bundle: &Bundle) -> Result<OutputRule, FolderRefusal> {
    let Some(Value::String(path)) = &rule.schema else {
        return Ok(rule.clone());
    };
    let text = bundle
        .text(path)
        .ok_or_else(|| FolderRefusal::NoSchema(path.clone()))?;
    let schema = serde_json::from_str(text).map_err(|error| FolderRefusal::Schema {
        path: path.clone(),
        error,
    })?;
    Ok(OutputRule {
        schema: Some(schema),
        ..rule.clone()
    })
}
