//! Whether an approved program is what its commit makes.

use collective::approval::{Origin, Program, Repository};

use super::folder::Folder;
use super::git::{Clone, GitError};
use super::rebuild::{SameBytes, rebuild};

/// What comparing a program with its source came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compared {
    /// The commit's folder is the approved one; how much of the bytes was made again.
    Same(String),
    /// The commit, or what it makes, is something else than was approved; who is at fault.
    Another(String),
    /// This node may not look there.
    NotAllowed(Repository),
    /// Nobody knows now.
    Unreachable(String),
}

/// Fetches the commit, compares its folder with the approved one, and makes the bytes again where that is possible.
///
/// # Errors
/// [`GitError`], where the repository gave no answer.
pub fn compare(copy: &Clone, program: &Program, origin: &Origin) -> Result<Compared, GitError> {
    match copy.fetch_commit(&origin.commit) {
        Err(error @ GitError::NoCommit { .. }) => return Ok(Compared::Another(error.to_string())),
        fetched => fetched?,
    }
    let tree = match copy.tree(&origin.commit, &origin.path) {
        Err(error @ GitError::NoFolder { .. }) => return Ok(Compared::Another(error.to_string())),
        tree => tree?,
    };
    if tree != origin.tree {
        let (path, approved) = (&origin.path, &origin.tree);
        return Ok(Compared::Another(format!(
            "{path} of the commit is tree {tree}, the manifest says {approved}: its proposer wrote what is not so"
        )));
    }
    let bundle = match copy.bundle(&tree) {
        Err(error @ (GitError::NotPlain(_) | GitError::NotText(_) | GitError::Bundle(_))) => {
            return Ok(Compared::Another(error.to_string()));
        }
        bundle => bundle?,
    };
    if bundle.id() != origin.source {
        let (found, approved) = (bundle.id(), origin.source);
        return Ok(Compared::Another(format!(
            "the commit's folder is source {found}, members were shown {approved}: its proposer wrote what is not so"
        )));
    }
    let folder = match Folder::parse(bundle) {
        Ok(folder) => folder,
        Err(refusal) => return Ok(Compared::Another(refusal.to_string())),
    };
    Ok(rebuilt(&folder, program, origin))
}

fn rebuilt(folder: &Folder, program: &Program, origin: &Origin) -> Compared {
    let rebuilt = rebuild(folder, program, origin);
    let with = rebuilt.with.unwrap_or_else(|| origin.build.clone());
    match rebuilt.same_bytes {
        SameBytes::Yes => Compared::Same(format!(
            "its source is that of the commit and makes its bytes with {with}"
        )),
        SameBytes::No => Compared::Another(format!(
            "the commit's folder does not make the approved bytes, {}, with {with}: its proposer built something else",
            program.sha256()
        )),
        SameBytes::Unknown(reason) => Compared::Same(format!(
            "its source is that of the commit; its bytes were taken by their hash and not made again: {reason}"
        )),
    }
}
