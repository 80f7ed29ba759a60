//! Merging an approved commit into a branch of its repository, without a checkout: a tree by `merge-tree`, a commit with two
//! parents, a push that is never forced.

use collective::approval::{FolderPath, GitId};

use super::{Clone, FETCH_TIME, GitError, LOCAL_TIME, MAX_ANSWER_BYTES, RefName, is_left_out};

/// Who a merge is by: the node has no address that mail reaches.
const AUTHOR: (&str, &str) = ("collective node", "node@collective.invalid");

/// What a merge comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mergeable {
    /// The branch had the commit, or everything that it changes, already.
    Before,
    /// This commit is made, and to be pushed.
    Made(GitId),
    /// A person has to do it, for this reason.
    ByHand(String),
}

impl Clone {
    /// Merges a commit that was fetched into a branch, here. What is merged touches one folder only.
    ///
    /// # Errors
    /// [`GitError`]; the same again is right.
    pub fn merge(
        &self,
        commit: &GitId,
        path: &FolderPath,
        into: &RefName,
        message: &str,
    ) -> Result<Mergeable, GitError> {
        self.fetch(&[self.repository.as_str(), &into.0])?;
        let tip: GitId = self.id("FETCH_HEAD^{commit}")?;
        if self.succeeds(
            "merge-base",
            &["--is-ancestor", commit.as_str(), tip.as_str()],
        )? {
            return Ok(Mergeable::Before);
        }
        let Some(base) = self.common(&tip, commit)? else {
            return Ok(Mergeable::ByHand(format!(
                "the commit shares no history with {into}"
            )));
        };
        if let Some(other) = self.outside(&base, commit, path)? {
            return Ok(Mergeable::ByHand(format!(
                "the commit changes {other}, too, which nobody voted on"
            )));
        }
        let Some(tree) = self.merged_tree(&tip, commit)? else {
            return Ok(Mergeable::ByHand(format!(
                "the commit and {into} contradict each other"
            )));
        };
        let before = self.id(&format!("{tip}^{{tree}}"))?;
        if tree == before {
            return Ok(Mergeable::Before);
        }
        // What is pushed is the merge and not the commit: with several common ancestors, renames, or changes on both sides it can
        // differ from what was voted on.
        if let Some(other) = self.outside(&before, &tree, path)? {
            return Ok(Mergeable::ByHand(format!(
                "merged, it would change {other}, which nobody voted on"
            )));
        }
        let folder = |of: &GitId| self.id(&format!("{of}:{path}"));
        if folder(&tree)? != folder(commit)? {
            return Ok(Mergeable::ByHand(format!(
                "{into} has changed {path}, too: what came of both is nothing that anybody voted on"
            )));
        }
        let made = self.commit(&tree, &tip, commit, message)?;
        Ok(Mergeable::Made(made))
    }

    fn common(&self, one: &GitId, two: &GitId) -> Result<Option<GitId>, GitError> {
        let ended = self.run(
            "merge-base",
            &[one.as_str(), two.as_str()],
            b"",
            MAX_ANSWER_BYTES,
            LOCAL_TIME,
        )?;
        let text = String::from_utf8_lossy(&ended.output).into_owned();
        Ok(text
            .trim_end()
            .parse()
            .ok()
            .filter(|_| ended.status.success()))
    }

    /// The first path that was changed and is none of those that members are shown: outside of the folder, or left out of bundles.
    fn outside(
        &self,
        base: &GitId,
        commit: &GitId,
        path: &FolderPath,
    ) -> Result<Option<String>, GitError> {
        let arguments = [
            "-r",
            "-z",
            "--no-renames",
            "--name-only",
            base.as_str(),
            commit.as_str(),
        ];
        let listed = self.told("diff-tree", &arguments, b"", MAX_ANSWER_BYTES)?;
        let within = format!("{path}/");
        let mut changed = listed
            .split(|byte| *byte == 0)
            .filter(|name| !name.is_empty());
        let other = changed.find(|name| {
            let inside = name.strip_prefix(within.as_bytes());
            inside.is_none_or(|path| is_left_out(&String::from_utf8_lossy(path)))
        });
        Ok(other.map(|name| String::from_utf8_lossy(name).escape_debug().to_string()))
    }

    fn merged_tree(&self, tip: &GitId, commit: &GitId) -> Result<Option<GitId>, GitError> {
        let arguments = [
            "--write-tree",
            "--name-only",
            "--no-messages",
            tip.as_str(),
            commit.as_str(),
        ];
        let ended = self.run("merge-tree", &arguments, b"", MAX_ANSWER_BYTES, LOCAL_TIME)?;
        let text = String::from_utf8_lossy(&ended.output).into_owned();
        match ended.status.code() {
            Some(0) => match text.trim_end().parse() {
                Ok(tree) => Ok(Some(tree)),
                Err(_) => Err(GitError::Unexpected("merge-tree".to_owned())),
            },
            Some(1) => Ok(None),
            _ => Err(GitError::Failed {
                verb: "merge-tree (git 2.38 or newer has it)".to_owned(),
                says: ended.complaint,
            }),
        }
    }

    fn commit(
        &self,
        tree: &GitId,
        tip: &GitId,
        commit: &GitId,
        message: &str,
    ) -> Result<GitId, GitError> {
        let mut command = self.command("commit-tree");
        for who in ["AUTHOR", "COMMITTER"] {
            command
                .env(format!("GIT_{who}_NAME"), AUTHOR.0)
                .env(format!("GIT_{who}_EMAIL"), AUTHOR.1);
        }
        command.args([
            tree.as_str(),
            "-p",
            tip.as_str(),
            "-p",
            commit.as_str(),
            "-F",
            "-",
        ]);
        let ended = self.ended(
            "commit-tree",
            &mut command,
            message.as_bytes(),
            MAX_ANSWER_BYTES,
            LOCAL_TIME,
        )?;
        let text = String::from_utf8_lossy(&ended.output).into_owned();
        let made = text.trim_end().parse();
        made.map_err(|_| GitError::Failed {
            verb: "commit-tree".to_owned(),
            says: ended.complaint,
        })
    }

    /// Pushes a merge. Only ahead: a branch that has moved is fetched again, never written over.
    ///
    /// # Errors
    /// [`GitError::Push`].
    pub fn push(&self, commit: &GitId, into: &RefName) -> Result<(), GitError> {
        let update = format!("{commit}:{}", into.0);
        let arguments = [
            "--quiet",
            "--no-verify",
            "--",
            self.repository.as_str(),
            &update,
        ];
        let ended = self.run("push", &arguments, b"", MAX_ANSWER_BYTES, FETCH_TIME)?;
        if ended.status.success() {
            return Ok(());
        }
        Err(GitError::Push {
            repository: self.repository.clone(),
            into: into.clone(),
            access: self.access.to_string(),
            says: ended.complaint,
        })
    }

    fn id(&self, name: &str) -> Result<GitId, GitError> {
        let line = self.line("rev-parse", &["--verify", "--quiet", name])?;
        line.parse()
            .map_err(|_| GitError::Unexpected("rev-parse".to_owned()))
    }
}
