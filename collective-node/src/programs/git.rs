//! Programs out of a git repository, by the `git` of this machine.
//!
//! A repository is a stranger's: it is fetched into a bare folder of ours and read object by object, never checked out. No hook and
//! no setting of it is used, no helper program is started, no redirect followed, nothing asked at a terminal. Blocks.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;
use std::time::Duration;

use collective::approval::{FolderPath, GitId, Repository};
use collective::bundle::{Bundle, BundleRefusal};
use collective::limits::{MAX_BUNDLE_BYTES, MAX_BUNDLE_FILES};
use thiserror::Error;

use super::process::{self, Ended, KernelLimits, Limits, ProcessError, run};

pub use access::{Access, AccessRefusal, Credentials, DeployKey, Forge};
pub use merge::Mergeable;

mod access;
mod merge;

/// Seconds for what goes over the network: a forge that is slower than that is down.
const FETCH_TIME: Duration = Duration::from_secs(120);

/// Seconds for what goes on in our own folder.
const LOCAL_TIME: Duration = Duration::from_secs(30);

/// Bytes of a repository that is fetched: programs are text that members read.
const MAX_REPOSITORY_BYTES: u64 = 256 << 20;

/// What the kernel holds each process of git to: a small pack can hold objects of any size. Four processors may work for as long as a
/// fetch takes.
const GIT_LIMITS: KernelLimits = KernelLimits {
    memory: 1 << 30,
    seconds: 4 * FETCH_TIME.as_secs(),
    file: MAX_REPOSITORY_BYTES,
};

/// Bytes that git prints besides the files of a folder: names of files, or of refs.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// By which `git rev-parse --quiet` says that there is nothing of a name.
const NO_SUCH_NAME: i32 = 1;

/// Bytes of a branch's name.
const MAX_REF_BYTES: usize = 200;

/// A branch, or any other name under which a repository shows a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefName(String);

/// Why git gave nothing. Each says who has to act.
#[derive(Debug, Error)]
pub enum GitError {
    /// Not installed.
    #[error("there is no `git` on PATH: install the package `git`")]
    NoGit,
    /// It did not come to an end.
    #[error("git {verb}: {error}")]
    Process {
        /// What it was to do.
        verb: String,
        /// Why not.
        error: ProcessError,
    },
    /// It failed.
    #[error("git {verb} failed: {says}")]
    Failed {
        /// What it was to do.
        verb: String,
        /// In git's words.
        says: String,
    },
    /// The repository cannot be reached, or does not let us in.
    #[error(
        "cannot read {repository}: {says}; check the address, and that it can be read without a password"
    )]
    Unreachable {
        /// Where.
        repository: Repository,
        /// In git's words.
        says: String,
    },
    /// No name of a branch.
    #[error(
        "'{0}' names no branch: letters, digits, '.', '_', '+', '-' and '/', as in `feature/mean` or `refs/pull/7/head`"
    )]
    BadRef(String),
    /// Nothing of this name.
    #[error("{repository} has no {name}: was it pushed?")]
    NoRef {
        /// Where.
        repository: Repository,
        /// The name.
        name: RefName,
    },
    /// No such commit.
    #[error(
        "{repository} has no commit {commit}: it was never pushed there, or the forge has thrown it away"
    )]
    NoCommit {
        /// Where.
        repository: Repository,
        /// The commit.
        commit: GitId,
    },
    /// No such folder.
    #[error("commit {commit} has no folder {path}")]
    NoFolder {
        /// The commit.
        commit: GitId,
        /// The folder.
        path: FolderPath,
    },
    /// A link, a submodule, or a name that no bundle has.
    #[error("{0}: a program's folder has plain files in folders only, no link and no submodule")]
    NotPlain(String),
    /// Not readable for people.
    #[error("{0} is no text")]
    NotText(String),
    /// Too many or too long.
    #[error(transparent)]
    Bundle(#[from] BundleRefusal),
    /// The repository does not take it.
    #[error(
        "{repository} does not take {into} from this node with {access}: {says}; may the key write there?"
    )]
    Push {
        /// Where.
        repository: Repository,
        /// The branch.
        into: RefName,
        /// What was shown.
        access: String,
        /// In git's words.
        says: String,
    },
    /// Git printed something else.
    #[error("git {0} gave an answer that is none")]
    Unexpected(String),
    /// The folder to work in.
    #[error("the folder for repositories: {0}")]
    Place(#[from] io::Error),
}

impl FromStr for RefName {
    type Err = GitError;

    /// A branch by its name; anything else by its full one, which begins with `refs/`.
    fn from_str(text: &str) -> Result<Self, GitError> {
        let full = if text.starts_with("refs/") {
            text.to_owned()
        } else {
            format!("refs/heads/{text}")
        };
        let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
        let good = |name: &str| {
            !name.is_empty()
                && !name.starts_with(['.', '-'])
                && !name.ends_with('.')
                && !name.ends_with(".lock")
                && !name.contains("..")
                && name.bytes().all(inside)
        };
        if full.len() <= MAX_REF_BYTES && full.split('/').all(good) && full.split('/').count() > 2 {
            Ok(Self(full))
        } else {
            let shown: String = text.chars().take(MAX_REF_BYTES).collect();
            Err(GitError::BadRef(shown.escape_debug().to_string()))
        }
    }
}

impl fmt::Display for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.strip_prefix("refs/heads/").unwrap_or(&self.0))
    }
}

/// A bare copy of one repository, in a folder of ours.
#[derive(Clone, Debug)]
pub struct Clone {
    folder: PathBuf,
    repository: Repository,
    access: Access,
    /// With what came before a commit, as merging needs it.
    whole: bool,
}

impl Clone {
    /// The copy in `folder`, which is made when it is not there yet.
    ///
    /// # Errors
    /// [`GitError`].
    pub fn open(folder: &Path, repository: &Repository) -> Result<Self, GitError> {
        Self::open_with(folder, repository, Access::Own, false)
    }

    /// The same, with something to show to the forge, and with history where that is needed.
    ///
    /// # Errors
    /// [`GitError`].
    pub fn open_with(
        folder: &Path,
        repository: &Repository,
        access: Access,
        whole: bool,
    ) -> Result<Self, GitError> {
        fs::create_dir_all(folder)?;
        let copy = Self {
            folder: folder.canonicalize()?,
            repository: repository.clone(),
            access,
            whole,
        };
        if copy.is_made() {
            return Ok(copy);
        }
        // One name is enough to see how long ids are, and a forge has many. A new one's HEAD may lead nowhere.
        let mut names = copy.names(&["HEAD"])?;
        if names.is_empty() {
            names = copy.names(&["refs/heads/*"])?;
        }
        let hash = match names.values().next() {
            Some(id) if id.as_str().len() == 64 => "sha256",
            _ => "sha1",
        };
        let format = format!("--object-format={hash}");
        copy.told(
            "init",
            &["--quiet", "--bare", "--template=", &format, "."],
            b"",
            0,
        )?;
        Ok(copy)
    }

    /// Where it is copied from.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The commit that the repository shows under a name now, or none.
    ///
    /// # Errors
    /// [`GitError::Unreachable`].
    pub fn tip(&self, name: &RefName) -> Result<Option<GitId>, GitError> {
        // What is asked for is a pattern, which others may match, too.
        Ok(self.names(&[&name.0])?.remove(&name.0))
    }

    /// Fetches the newest commit of a branch, without what came before it, and says which one it is.
    ///
    /// # Errors
    /// [`GitError::NoRef`], [`GitError::Unreachable`].
    pub fn fetch_tip(&self, name: &RefName) -> Result<GitId, GitError> {
        let tip = self.tip(name)?.ok_or_else(|| GitError::NoRef {
            repository: self.repository.clone(),
            name: name.clone(),
        })?;
        self.fetch(&[self.repository.as_str(), &name.0])?;
        // A name may lead to a tag's object, and may have moved since it was asked for: what was fetched counts.
        let fetched = self.line("rev-parse", &["--verify", "--quiet", "FETCH_HEAD^{commit}"])?;
        fetched
            .parse()
            .map_err(|_| GitError::Unexpected(format!("rev-parse, at {tip}")))
    }

    /// Fetches one commit by its id.
    ///
    /// # Errors
    /// [`GitError::NoCommit`], [`GitError::Unreachable`].
    pub fn fetch_commit(&self, commit: &GitId) -> Result<(), GitError> {
        if self.has(commit)? {
            return Ok(());
        }
        let missing = || GitError::NoCommit {
            repository: self.repository.clone(),
            commit: commit.clone(),
        };
        match self.fetch(&[self.repository.as_str(), commit.as_str()]) {
            // What was there under this id is something else.
            Ok(()) if !self.has(commit)? => Err(missing()),
            // A line that is cut, or a forge that is out of order, has not said that there is no such commit.
            Err(GitError::Unreachable { says, .. }) if is_denied(&says, commit) => Err(missing()),
            fetched => fetched,
        }
    }

    /// The tree of a folder in a commit that was fetched.
    ///
    /// # Errors
    /// [`GitError::NoFolder`].
    pub fn tree(&self, commit: &GitId, path: &FolderPath) -> Result<GitId, GitError> {
        let missing = || GitError::NoFolder {
            commit: commit.clone(),
            path: path.clone(),
        };
        let name = format!("{commit}:{path}");
        let arguments = ["--verify", "--quiet", &name];
        let ended = self.run("rev-parse", &arguments, b"", MAX_ANSWER_BYTES, LOCAL_TIME)?;
        if ended.status.code() == Some(NO_SUCH_NAME) {
            return Err(missing());
        }
        let line = String::from_utf8_lossy(&ended.output).into_owned();
        let id: GitId = line.trim_end().parse().map_err(|_| GitError::Failed {
            verb: "rev-parse".to_owned(),
            says: ended.complaint,
        })?;
        let kind = self.line("cat-file", &["-t", id.as_str()])?;
        if kind == "tree" {
            Ok(id)
        } else {
            Err(missing())
        }
    }

    /// The files of a tree that was fetched, but for those whose names begin with a dot, as `collective program build` reads a folder.
    ///
    /// # Errors
    /// [`GitError::NotPlain`], [`GitError::NotText`], [`GitError::Bundle`].
    pub fn bundle(&self, tree: &GitId) -> Result<Bundle, GitError> {
        let listed = self.told(
            "ls-tree",
            &["-r", "-z", "--long", "--full-tree", tree.as_str()],
            b"",
            MAX_ANSWER_BYTES,
        )?;
        let mut entries = Vec::new();
        let mut bytes = 0_usize;
        for entry in listed
            .split(|byte| *byte == 0)
            .filter(|entry| !entry.is_empty())
        {
            let Some(entry) = Entry::read(entry)? else {
                continue;
            };
            bytes = bytes.saturating_add(entry.length);
            entries.push(entry);
        }
        if entries.len() > MAX_BUNDLE_FILES {
            return Err(BundleRefusal::FileCount(entries.len()).into());
        }
        if bytes > MAX_BUNDLE_BYTES {
            return Err(BundleRefusal::TooLong.into());
        }
        Ok(Bundle::new(self.texts(entries)?)?)
    }

    /// Folders of a commit that have a file of this name, by their paths.
    ///
    /// # Errors
    /// [`GitError`].
    pub fn folders_with(&self, commit: &GitId, file: &str) -> Result<Vec<FolderPath>, GitError> {
        let arguments = ["-r", "-z", "--name-only", "--full-tree", commit.as_str()];
        let listed = self.told("ls-tree", &arguments, b"", MAX_ANSWER_BYTES)?;
        let folder = |path: &[u8]| {
            let path = std::str::from_utf8(path).ok()?;
            path.strip_suffix(file)?.strip_suffix('/')?.parse().ok()
        };
        Ok(listed.split(|byte| *byte == 0).filter_map(folder).collect())
    }

    fn texts(&self, entries: Vec<Entry>) -> Result<BTreeMap<String, String>, GitError> {
        let asked: String = entries
            .iter()
            .map(|entry| format!("{}\n", entry.id))
            .collect();
        // A line about each file comes before it.
        let room = MAX_BUNDLE_BYTES + MAX_ANSWER_BYTES;
        let given = self.told("cat-file", &["--batch"], asked.as_bytes(), room)?;
        let unexpected = || GitError::Unexpected("cat-file".to_owned());
        let (mut rest, mut texts) = (&given[..], BTreeMap::new());
        for entry in entries {
            let head = format!("{} blob {}\n", entry.id, entry.length);
            rest = rest.strip_prefix(head.as_bytes()).ok_or_else(unexpected)?;
            let (text, after) = rest.split_at_checked(entry.length).ok_or_else(unexpected)?;
            rest = after.strip_prefix(b"\n").ok_or_else(unexpected)?;
            let text = String::from_utf8(text.to_vec())
                .map_err(|_| GitError::NotText(entry.path.clone()))?;
            texts.insert(entry.path, text);
        }
        Ok(texts)
    }

    fn is_made(&self) -> bool {
        self.folder.join("HEAD").is_file()
    }

    fn has(&self, commit: &GitId) -> Result<bool, GitError> {
        self.succeeds("cat-file", &["-e", &format!("{commit}^{{commit}}")])
    }

    /// Names that the repository shows and what they lead to.
    fn names(&self, patterns: &[&str]) -> Result<BTreeMap<String, GitId>, GitError> {
        let arguments = [&["--quiet", "--", self.repository.as_str()], patterns].concat();
        let ended = self.run("ls-remote", &arguments, b"", MAX_ANSWER_BYTES, FETCH_TIME)?;
        if !ended.status.success() {
            return Err(self.unreachable(ended));
        }
        let text = String::from_utf8_lossy(&ended.output).into_owned();
        let name = |line: &str| {
            let (id, name) = line.split_once('\t')?;
            Some((name.to_owned(), id.parse().ok()?))
        };
        Ok(text.lines().filter_map(name).collect())
    }

    fn fetch(&self, arguments: &[&str]) -> Result<(), GitError> {
        let depth = if self.whole { &[][..] } else { &["--depth=1"] };
        let flags = [
            "--quiet",
            "--no-tags",
            "--no-recurse-submodules",
            "--no-write-commit-graph",
        ];
        let arguments = [&flags, depth, &["--"], arguments].concat();
        let ended = self.run("fetch", &arguments, b"", 0, FETCH_TIME);
        if !matches!(&ended, Ok(ended) if ended.status.success()) {
            self.tidy_up()?;
        }
        let ended = ended?;
        if ended.status.success() {
            Ok(())
        } else {
            Err(self.unreachable(ended))
        }
    }

    /// Removes what a fetch that failed has left: packs and objects that are not whole, which would count towards the copy's size, and
    /// locks. A copy that is too large all the same is begun anew when it is opened again.
    fn tidy_up(&self) -> Result<(), GitError> {
        remove_unfinished(&self.folder)?;
        if process::size(&self.folder) > MAX_REPOSITORY_BYTES {
            fs::remove_dir_all(&self.folder)?;
        }
        Ok(())
    }

    fn unreachable(&self, ended: Ended) -> GitError {
        GitError::Unreachable {
            repository: self.repository.clone(),
            says: ended.complaint,
        }
    }

    /// The one line that a verb prints.
    fn line(&self, verb: &str, arguments: &[&str]) -> Result<String, GitError> {
        let bytes = self.told(verb, arguments, b"", MAX_ANSWER_BYTES)?;
        let text = String::from_utf8(bytes).map_err(|_| GitError::Unexpected(verb.to_owned()))?;
        Ok(text.trim_end().to_owned())
    }

    /// What a verb prints, which must succeed.
    fn told(
        &self,
        verb: &str,
        arguments: &[&str],
        input: &[u8],
        room: usize,
    ) -> Result<Vec<u8>, GitError> {
        let ended = self.run(verb, arguments, input, room, LOCAL_TIME)?;
        if ended.status.success() {
            return Ok(ended.output);
        }
        Err(GitError::Failed {
            verb: verb.to_owned(),
            says: ended.complaint,
        })
    }

    fn run(
        &self,
        verb: &str,
        arguments: &[&str],
        input: &[u8],
        room: usize,
        time: Duration,
    ) -> Result<Ended, GitError> {
        let mut command = self.command(verb);
        self.ended(verb, command.args(arguments), input, room, time)
    }

    fn succeeds(&self, verb: &str, arguments: &[&str]) -> Result<bool, GitError> {
        let ended = self.run(verb, arguments, b"", 0, LOCAL_TIME)?;
        Ok(ended.status.success())
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = self.access.git();
        command.current_dir(&self.folder).arg(verb);
        if self.is_made() {
            command.env("GIT_DIR", &self.folder);
        } else if let Some(above) = self.folder.parent() {
            // No repository that the folder happens to lie in.
            command.env("GIT_CEILING_DIRECTORIES", above);
        }
        command
    }

    fn ended(
        &self,
        verb: &str,
        command: &mut Command,
        input: &[u8],
        room: usize,
        time: Duration,
    ) -> Result<Ended, GitError> {
        let limits = Limits {
            time,
            output: room,
            folders: &[(&self.folder, MAX_REPOSITORY_BYTES)],
            kernel: Some(GIT_LIMITS),
        };
        run(command, input, limits).map_err(|error| match error {
            ProcessError::Start(error) if error.kind() == io::ErrorKind::NotFound => {
                GitError::NoGit
            }
            error => GitError::Process {
                verb: verb.to_owned(),
                error,
            },
        })
    }
}

/// The address of a repository that somebody names: as it is, or a folder of this machine as `file://`.
///
/// # Errors
/// What is neither.
pub fn address(text: &str) -> Result<Repository, collective::approval::OriginRefusal> {
    let folder = Path::new(text);
    if !text.contains("://")
        && folder.is_dir()
        && let Ok(folder) = folder.canonicalize()
    {
        return format!("file://{}", folder.display()).parse();
    }
    text.parse()
}

/// Where the repository of the current folder was cloned from.
///
/// # Errors
/// [`GitError::Failed`], where there is none.
pub fn remote_of_here() -> Result<String, GitError> {
    let mut command = Access::Own.git();
    command.args(["remote", "get-url", "origin"]);
    let limits = Limits {
        time: LOCAL_TIME,
        output: MAX_ANSWER_BYTES,
        folders: &[],
        kernel: Some(GIT_LIMITS),
    };
    let verb = "remote get-url origin".to_owned();
    match run(&mut command, b"", limits) {
        Ok(ended) if ended.status.success() => {
            Ok(String::from_utf8_lossy(&ended.output).trim_end().to_owned())
        }
        Ok(ended) => Err(GitError::Failed {
            verb,
            says: ended.complaint,
        }),
        Err(ProcessError::Start(error)) if error.kind() == io::ErrorKind::NotFound => {
            Err(GitError::NoGit)
        }
        Err(error) => Err(GitError::Process { verb, error }),
    }
}

/// Removes the files that git was still writing below a folder, by the names that it gives them.
fn remove_unfinished(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        let is_folder = entry.file_type()?.is_dir();
        match is_folder {
            true if name.starts_with("tmp_") => fs::remove_dir_all(path)?,
            true => remove_unfinished(&path)?,
            false if name.starts_with("tmp_") || name.ends_with(".lock") => fs::remove_file(path)?,
            false => {}
        }
    }
    Ok(())
}

/// Whether a forge's refusal says that it has no such commit, in the words of `git upload-pack`.
fn is_denied(says: &str, commit: &GitId) -> bool {
    let words = format!("upload-pack: not our ref {commit}");
    says.lines().any(|line| line.trim_end().ends_with(&words))
}

/// Whether a bundle of a folder does without the file of this path.
fn is_left_out(path: &str) -> bool {
    path.split('/')
        .any(|name| name.starts_with('.') || name == "__pycache__")
}

/// One file of a tree.
struct Entry {
    id: GitId,
    length: usize,
    path: String,
}

impl Entry {
    /// `MODE TYPE ID LENGTH TAB PATH`; none for what a bundle leaves out.
    fn read(line: &[u8]) -> Result<Option<Self>, GitError> {
        let shown = String::from_utf8_lossy(line).escape_debug().to_string();
        let unexpected = || GitError::Unexpected("ls-tree".to_owned());
        let line = std::str::from_utf8(line).map_err(|_| GitError::NotPlain(shown))?;
        let (facts, path) = line.split_once('\t').ok_or_else(unexpected)?;
        if is_left_out(path) {
            return Ok(None);
        }
        Bundle::check_path(path)?;
        let facts: Vec<_> = facts.split_ascii_whitespace().collect();
        let [mode, "blob", id, length] = facts[..] else {
            return Err(GitError::NotPlain(path.to_owned()));
        };
        if !matches!(mode, "100644" | "100755") {
            return Err(GitError::NotPlain(path.to_owned()));
        }
        let length = length.parse().map_err(|_| unexpected())?;
        let id = id.parse().map_err(|_| unexpected())?;
        Ok(Some(Self {
            id,
            length,
            path: path.to_owned(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_is_no_option_and_no_pattern() {
        for (text, full) in [
            ("main", "refs/heads/main"),
            ("feature/mean-2", "refs/heads/feature/mean-2"),
            ("refs/pull/7/head", "refs/pull/7/head"),
        ] {
            assert_eq!(text.parse::<RefName>().expect("good").0, full);
        }
        for bad in [
            "",
            "-x",
            "a/-x",
            "--upload-pack=id",
            "a b",
            "a..b",
            "a*",
            "a:b",
            "+a:b",
            "a^",
            "a~1",
            "a@{1}",
            "a\\b",
            "a\nb",
            ".a",
            "a.",
            "a/",
            "/a",
            "a//b",
            "a.lock",
            "refs/",
            "refs/a",
            &"x".repeat(MAX_REF_BYTES),
        ] {
            assert!(bad.parse::<RefName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_is_no_plain_file_is_refused() {
        let id = "a".repeat(40);
        let entry = |line: &str| Entry::read(line.as_bytes());
        let good = entry(&format!("100644 blob {id}      12\tsrc/main.c"))
            .expect("good")
            .expect("kept");
        assert_eq!((good.length, &good.path[..]), (12, "src/main.c"));
        for left_out in [".gitignore", ".build/a.wasm", "src/__pycache__/a.pyc"] {
            assert!(
                entry(&format!("100644 blob {id} 1\t{left_out}"))
                    .expect("good")
                    .is_none()
            );
        }
        for (line, who) in [
            (format!("120000 blob {id} 11\tsrc/link"), "src/link"),
            (format!("160000 commit {id} -\tlibrary"), "library"),
        ] {
            assert!(matches!(entry(&line), Err(GitError::NotPlain(path)) if path == who));
        }
        for path in ["a b", "a\\b", "-rf", "ä"] {
            assert!(
                matches!(
                    entry(&format!("100644 blob {id} 1\t{path}")),
                    Err(GitError::Bundle(_))
                ),
                "{path}"
            );
        }
    }
}
