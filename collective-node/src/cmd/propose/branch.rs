//! `collective propose --branch`: a program out of a repository, pinned to a commit.

use std::io::{IsTerminal, stderr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use collective::approval::{FolderPath, GitId, Manifest, Origin, Recipient};
use collective::bundle::Bundle;
use collective::source::Source;

use crate::chain::Chain;
use crate::client::Client;
use crate::programs::folder::{DESCRIPTION, Folder, MOCK_SOURCE};
use crate::programs::git::{self, Clone, RefName};
use crate::programs::recipe::{self, Built};
use crate::programs::{Occasion, proposal_manifest};

/// A program in a repository.
#[derive(Debug, Args)]
pub struct Branch {
    /// A branch with a program to approve, or another name that the repository shows, such as refs/pull/7/head. The commit that
    /// it leads to now is built and pinned.
    #[arg(
        long,
        value_name = "BRANCH",
        group = "decision",
        conflicts_with = "manifest"
    )]
    branch: Option<RefName>,
    /// The repository; where the current folder was cloned from, if not given.
    #[arg(long, value_name = "URL", requires = "branch")]
    repository: Option<String>,
    /// Who alone can open the output: an age recipient. Needed unless `program.toml` names one.
    #[arg(long, value_name = "AGE", requires = "branch")]
    recipient: Option<String>,
    /// Write the manifest to this file, too: who requests a run names it.
    #[arg(long, value_name = "FILE", requires = "branch")]
    save: Option<PathBuf>,
}

/// A commit's program, built.
pub struct Pinned {
    /// What is voted on.
    pub manifest: Manifest,
    /// The program's bytes.
    pub program: Vec<u8>,
    /// The whole folder.
    pub source: Bundle,
}

impl Branch {
    /// Fetches, builds and writes the manifest; none where no branch is named.
    pub async fn read(
        &self,
        chain: &Chain,
        client: &Client,
        program: Option<&Path>,
    ) -> Result<Option<Pinned>> {
        let Some(name) = self.branch.clone() else {
            return Ok(None);
        };
        let repository = match &self.repository {
            Some(repository) => repository.clone(),
            None => git::remote_of_here().context("which repository? Name it with --repository")?,
        };
        let repository = git::address(&repository)?;
        let path = program.map(folder_path).transpose()?;
        tell(&format!("fetching {name} of {repository}"));
        let fetched = tokio::task::spawn_blocking(move || {
            let place = tempfile::Builder::new()
                .prefix("collective-git-")
                .tempdir()?;
            fetch(
                &Clone::open(&place.path().join("bare"), &repository)?,
                &name,
                path,
            )
        });
        let (bundle, place) = fetched.await??;
        let source = bundle.id();
        let folder = Folder::parse(bundle)
            .with_context(|| format!("{} in commit {}", place.path, place.commit))?;
        check_declared(folder.source(), client).await?;
        tell(&format!(
            "building {} of commit {}",
            place.path, place.commit
        ));
        let (folder, built) = tokio::task::spawn_blocking(move || {
            let built = recipe::build(&folder)?;
            Ok::<(Folder, Built), recipe::BuildError>((folder, built))
        })
        .await??;
        let occasion = Occasion {
            deployment: *chain.deployment(),
            recipient: self.recipient.clone().map(Recipient::Age),
            now: chain.latest().await?.time,
            origin: Some(Origin {
                repository: place.repository,
                commit: place.commit,
                path: place.path,
                tree: place.tree,
                source,
                build: built.build().clone(),
            }),
        };
        let manifest = proposal_manifest(&folder, &built, &occasion)?;
        if let Some(file) = &self.save {
            std::fs::write(file, manifest.to_bytes())
                .with_context(|| format!("writing {}", file.display()))?;
        }
        Ok(Some(Pinned {
            manifest,
            program: built.bytes().to_vec(),
            source: folder.bundle().clone(),
        }))
    }
}

/// Where a folder lies.
struct Place {
    repository: collective::approval::Repository,
    commit: GitId,
    path: FolderPath,
    tree: GitId,
}

fn folder_path(program: &Path) -> Result<FolderPath> {
    let text = program
        .to_str()
        .context("--program names a folder in UTF-8")?;
    let path = text.trim_end_matches('/').parse();
    path.context("with --branch, --program is the program's folder in the repository")
}

fn fetch(copy: &Clone, name: &RefName, path: Option<FolderPath>) -> Result<(Bundle, Place)> {
    let commit = copy.fetch_tip(name)?;
    let path = match path {
        Some(path) => path,
        None => only(copy.folders_with(&commit, DESCRIPTION)?)?,
    };
    let tree = copy.tree(&commit, &path)?;
    let bundle = copy
        .bundle(&tree)
        .with_context(|| format!("{path} in commit {commit}"))?;
    let repository = copy.repository().clone();
    Ok((
        bundle,
        Place {
            repository,
            commit,
            path,
            tree,
        },
    ))
}

fn only(mut folders: Vec<FolderPath>) -> Result<FolderPath> {
    let names: Vec<_> = folders.iter().map(FolderPath::as_str).collect();
    match folders.len() {
        0 => bail!(
            "no folder of this commit has a {DESCRIPTION}: `collective program new` makes one"
        ),
        1 => Ok(folders.remove(0)),
        _ => bail!(
            "which program? Name one with --program: {}",
            names.join(", ")
        ),
    }
}

/// A program that was written for another declaration than the collective's would read records that are not there.
async fn check_declared(source: &Source, client: &Client) -> Result<()> {
    let charter = client.collective().await?.charter;
    let charter = charter
        .context("the collective has no charter yet: `collective propose --charter` sets one")?;
    let declared = charter
        .sources
        .iter()
        .find(|declared| declared.name == source.name);
    let declared = declared.with_context(|| {
        format!(
            "the collective's charter declares no source '{}'",
            source.name
        )
    })?;
    ensure!(
        declared.digest() == source.digest(),
        "{MOCK_SOURCE} declares '{}' in another way than the collective's charter: take the charter's declaration, and mock \
         records that fit it",
        source.name
    );
    Ok(())
}

/// What goes on, for whoever waits at a terminal.
fn tell(what: &str) {
    if stderr().is_terminal() {
        eprintln!("{what}");
    }
}
