//! `collective program new`.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use collective::bundle::Bundle;
use collective::id::BlobId;
use serde_json::json;

use super::test::runtime;
use crate::cmd::show::show;
use crate::programs::description::Language;
use crate::programs::scaffold;
use crate::sandbox::Sandbox;

/// The trainer that heavy nodes of this version have.
const TRAINER: &str = concat!("collective-heavy/", env!("CARGO_PKG_VERSION"));

/// Make a folder with a program that works: sources, `program.toml`, and mock data to try it out on.
///
/// It counts people by group and says the mean of their scores; change it into what you need. A program in a language with an
/// interpreter is approved together with that, so its hash stands in `program.toml`; for a query that is the engine's name.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  collective program new survey-means --lang c
  collective program new survey-means --lang python --runtime python-runtime.wasm
  collective program new survey-means --lang sql
  collective program new survey-model --lang training")]
pub struct New {
    /// The folder, which is not there yet; its name is the program's.
    folder: PathBuf,
    /// The language.
    #[arg(long = "lang", value_name = "LANGUAGE")]
    language: Language,
    /// The interpreter; without it, that of COLLECTIVE_PYTHON_RUNTIME or COLLECTIVE_JAVASCRIPT_RUNTIME.
    #[arg(long, value_name = "FILE")]
    runtime: Option<PathBuf>,
    /// What runs a query or fits a model, as nodes have it; without it, what the worker beside this binary says.
    #[arg(long, value_name = "NAME/VERSION")]
    engine: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl New {
    pub fn run(self) -> Result<bool> {
        let name = self.folder.file_name().and_then(|name| name.to_str());
        Bundle::check_path(name.context("the folder needs a name")?)?;
        ensure!(
            !self.folder.exists(),
            "{} is there already",
            self.folder.display()
        );
        let language = self.language.interpreted();
        let runtime = language.map(|language| runtime(language, self.runtime.as_deref()));
        let runtime = runtime.transpose()?.map(|bytes| BlobId::of(&bytes));
        let engine = self.engine()?;
        let files = scaffold::files(self.language, runtime, engine.as_deref());
        for (path, text) in &files {
            let path = self.folder.join(path);
            let writing = || format!("writing {}", path.display());
            fs::create_dir_all(path.parent().expect("a file in a folder")).with_context(writing)?;
            fs::write(&path, text).with_context(writing)?;
        }
        let paths: Vec<_> = files.iter().map(|(path, _)| *path).collect();
        let value =
            json!({ "folder": self.folder, "language": self.language.to_string(), "files": paths });
        let folder = self.folder.display();
        let rows = [
            ("folder", folder.to_string()),
            ("files", paths.join(", ")),
            ("try it", format!("collective program test {folder}")),
        ];
        show(self.json, &value, &rows)?;
        Ok(true)
    }

    fn engine(&self) -> Result<Option<String>> {
        match (self.language, &self.engine) {
            (Language::Sql | Language::Training, Some(engine)) => Ok(Some(engine.clone())),
            (Language::Training, None) => Ok(Some(TRAINER.into())),
            (Language::Sql, None) => Ok(Some(Sandbox::of_this_binary(vec![], None).sql_engine()?)),
            (_, None) => Ok(None),
            (_, Some(_)) => {
                bail!("--engine belongs to a query or a training: --lang sql, --lang training")
            }
        }
    }
}
