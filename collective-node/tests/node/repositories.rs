//! What git is asked, what it is shown and what it gets of us: forges that fail, forges that lie, and an ssh that writes down how
//! it was started.

use crate::forge;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::forge::{Forge, Mood};
use collective::approval::{GitId, Repository};
use collective_node::programs::git::{
    Access, Clone, Credentials, DeployKey, GitError, Mergeable, RefName,
};

/// More than git unpacks one by one: what is fetched arrives as a pack.
const FILES: usize = 150;

fn started(folder: &Path) -> Option<Forge> {
    Forge::start(&folder.join("forge"))
}

/// Pushes a folder of files that do not compress to a branch; the commit.
fn push_files(forge: &Forge, branch: &str) -> GitId {
    let folder = forge.clone().join("program");
    fs::create_dir_all(&folder).expect("a folder");
    let mut state = 1_u64;
    for place in 0..FILES {
        let mut text = String::new();
        for _ in 0..200 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            text += &format!("{state:x}\n");
        }
        fs::write(folder.join(format!("{place}.txt")), text).expect("written");
    }
    forge.push(branch).parse().expect("a commit")
}

fn repository(address: &str) -> Repository {
    address.parse().expect("an address")
}

fn id(digit: &str) -> GitId {
    digit.repeat(40).parse().expect("an id")
}

/// Files below a folder whose names say that they were not finished.
fn unfinished(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        if name.starts_with("tmp_") || name.ends_with(".lock") {
            found.push(path.clone());
        }
        if path.is_dir() {
            found.extend(unfinished(&path));
        }
    }
    found
}

#[test]
fn only_the_forge_itself_says_that_there_is_no_commit() {
    let temporary = tempfile::tempdir().expect("a folder");
    let Some(forge) = started(temporary.path()) else {
        return;
    };
    let commit = push_files(&forge, "work");
    let tree: GitId = forge.git("rev-parse HEAD^{tree}").parse().expect("a tree");
    let folder = temporary.path().join("copy");
    let copy = Clone::open(&folder, &repository(&forge.http)).expect("a copy");

    for mood in [Mood::OutOfOrder, Mood::Cut] {
        forge.is(mood.clone());
        for asked in [&commit, &id("1")] {
            let failed = copy.fetch_commit(asked).expect_err("nothing is fetched");
            println!("{mood:?}: {failed}");
            assert!(matches!(failed, GitError::Unreachable { .. }), "{failed}");
            assert_eq!(unfinished(&folder), Vec::<PathBuf>::new(), "{mood:?}");
        }
    }
    forge.is(Mood::Well);
    for missing in [&id("0"), &id("1"), &tree] {
        let failed = copy.fetch_commit(missing).expect_err("no commit");
        assert!(matches!(failed, GitError::NoCommit { .. }), "{failed}");
    }
    copy.fetch_commit(&commit).expect("fetched");
    let path = "program".parse().expect("a path");
    copy.tree(&commit, &path).expect("a folder");
    let other = "other".parse().expect("a path");
    let failed = copy.tree(&commit, &other).expect_err("no folder");
    assert!(matches!(failed, GitError::NoFolder { .. }), "{failed}");

    // What is no repository any more has said nothing about a folder.
    fs::write(folder.join("HEAD"), "nonsense").expect("written");
    let failed = copy.tree(&commit, &path).expect_err("no repository");
    assert!(matches!(failed, GitError::Failed { .. }), "{failed}");
}

#[test]
fn a_fetch_that_was_cut_leaves_nothing_that_is_not_whole() {
    let temporary = tempfile::tempdir().expect("a folder");
    let Some(forge) = started(temporary.path()) else {
        return;
    };
    let commit = push_files(&forge, "work");
    let folder = temporary.path().join("copy");
    let copy = Clone::open(&folder, &repository(&forge.http)).expect("a copy");
    forge.is(Mood::Cut);
    for _ in 0..3 {
        copy.fetch_commit(&commit).expect_err("it is cut");
        assert_eq!(unfinished(&folder), Vec::<PathBuf>::new());
    }
    // As a power cut leaves it: the next fetch that fails takes it along.
    fs::write(folder.join("objects/pack/tmp_pack_abc"), "PACK").expect("written");
    fs::write(folder.join("shallow.lock"), "").expect("written");
    copy.fetch_commit(&commit).expect_err("it is cut");
    assert_eq!(unfinished(&folder), Vec::<PathBuf>::new());
    forge.is(Mood::Well);
    copy.fetch_commit(&commit).expect("fetched");
}

/// What a node does with a commit that was approved.
fn merge(forge: &Forge, copy: &Clone, commit: &GitId) -> Result<(), GitError> {
    let (path, into): (_, RefName) = ("program".parse().expect("a path"), "main".parse()?);
    copy.fetch_commit(commit)?;
    match copy.merge(commit, &path, &into, "Merge program\n")? {
        Mergeable::Made(made) => {
            copy.push(&made, &into)?;
            assert_eq!(forge.bare("rev-parse main"), made.to_string());
            Ok(())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_token_is_shown_to_its_forge_and_to_no_other() {
    let temporary = tempfile::tempdir().expect("a folder");
    let Some(ours) = started(&temporary.path().join("ours")) else {
        return;
    };
    let other = started(&temporary.path().join("other")).expect("git is here");
    let token = temporary.path().join("token");
    fs::write(&token, format!("{}\n", forge::TOKEN)).expect("written");
    let credentials = Credentials {
        deploy_key: None,
        tokens: BTreeMap::from([(ours.origin().parse().expect("a forge"), token)]),
    };
    let copy = |forge: &Forge, name: &str| {
        let (folder, repository) = (temporary.path().join(name), repository(&forge.http));
        let access = credentials.of(&repository);
        Clone::open_with(&folder, &repository, access, true).expect("a copy")
    };

    let commit = push_files(&other, "work");
    let refused = merge(&other, &copy(&other, "copy of other"), &commit);
    assert!(matches!(refused, Err(GitError::Push { .. })), "{refused:?}");
    assert!(other.pushes() > 0, "it was asked");
    assert_eq!(other.shown(), Vec::<String>::new());
    // Not even where somebody takes it for the other's: whoever asks git for it is not whom it belongs to.
    let (folder, mixed_up) = (temporary.path().join("mixed up"), repository(&other.http));
    let access = credentials.of(&repository(&ours.http));
    assert!(matches!(access, Access::Token { .. }));
    let mixed_up = Clone::open_with(&folder, &mixed_up, access, true).expect("a copy");
    let refused = merge(&other, &mixed_up, &commit);
    assert!(matches!(refused, Err(GitError::Push { .. })), "{refused:?}");
    assert_eq!(other.shown(), Vec::<String>::new());

    let commit = push_files(&ours, "work");
    let copied = copy(&ours, "copy of ours");
    copied.fetch_commit(&commit).expect("fetched");
    let into: RefName = "main".parse().expect("a branch");
    let path = "program".parse().expect("a path");
    let made = copied.merge(&commit, &path, &into, "Merge program\n");
    let Ok(Mergeable::Made(made)) = made else {
        panic!("{made:?}");
    };
    // Sent on to another, it stays where it is.
    ours.is(Mood::Moved(other.origin().to_owned()));
    let failed = copied.push(&made, &into).expect_err("nobody follows");
    println!("{failed}");
    assert_eq!(other.shown(), Vec::<String>::new());
    ours.is(Mood::Well);
    copied.push(&made, &into).expect("pushed");
    assert!(!ours.shown().is_empty(), "its own forge is shown it");
    let failed = failed.to_string();
    assert!(!failed.contains(forge::TOKEN), "{failed}");
}

/// Names the folder of a story to the process that plays it.
const PLAYED_IN: &str = "REPOSITORIES_TEST_FOLDER";

/// An `ssh` that notes its arguments and its environment, and is the other side itself.
const SSH: &str = "#!/bin/sh
for argument; do printf '%s\\n' \"$argument\"; done >arguments.of.ssh
env >environment.of.ssh
for command; do :; done
exec /bin/sh -c \"$command\"
";

#[test]
fn ssh_is_shown_one_key_and_knows_the_named_hosts_only() {
    if let Some(folder) = std::env::var_os(PLAYED_IN) {
        return fetch_over_ssh(Path::new(&folder));
    }
    let temporary = tempfile::tempdir().expect("a folder");
    let Some(forge) = started(temporary.path()) else {
        return;
    };
    let folder = temporary.path().canonicalize().expect("a folder");
    let tools = folder.join("tools");
    fs::create_dir(&tools).expect("made");
    let notes = |name: &str| folder.join(name).display().to_string();
    let script = SSH
        .replace("arguments.of.ssh", &notes("arguments"))
        .replace("environment.of.ssh", &notes("environment"));
    fs::write(tools.join("ssh"), script).expect("written");
    fs::set_permissions(tools.join("ssh"), fs::Permissions::from_mode(0o755)).expect("allowed");
    let mut path = OsString::from(&tools);
    path.push(":");
    path.push(std::env::var_os("PATH").expect("a path"));

    // The same test in a process of its own, whose environment would change what is asked, or holds what is ours.
    let played = Command::new(std::env::current_exe().expect("this test"))
        .args([
            "--exact",
            "repositories::ssh_is_shown_one_key_and_knows_the_named_hosts_only",
        ])
        .env(PLAYED_IN, &folder)
        .env("PATH", path)
        .env("COLLECTIVE_PASSPHRASE", "secret-of-the-node")
        .env("SSH_AUTH_SOCK", "/agent")
        .env("GIT_SSH_COMMAND", "/bin/false")
        .env("GIT_SSH", "/bin/false")
        .env("GIT_DIR", "/nowhere")
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "core.sshCommand")
        .env("GIT_CONFIG_VALUE_0", "/bin/false")
        .output()
        .expect("it starts");
    assert!(played.status.success(), "{played:?}");

    let arguments = fs::read_to_string(folder.join("arguments")).expect("noted");
    let arguments: Vec<&str> = arguments.lines().collect();
    let key = notes("deploy key");
    let hosts = format!("UserKnownHostsFile=\"{}\"", notes("known hosts"));
    let upload = format!("git-upload-pack '{}/origin.git'", forge.folder.display());
    let expected = [
        ["-F", "/dev/null"],
        ["-o", "BatchMode=yes"],
        ["-o", "IdentitiesOnly=yes"],
        ["-o", "IdentityAgent=none"],
        ["-i", &key],
        ["-o", "StrictHostKeyChecking=yes"],
        ["-o", "GlobalKnownHostsFile=/dev/null"],
        ["-o", &hosts],
        ["-o", "SendEnv=GIT_PROTOCOL"],
        ["-p", "2222"],
        ["git@forge.example", &upload],
    ];
    assert_eq!(arguments, expected.concat());
    let environment = fs::read_to_string(folder.join("environment")).expect("noted");
    for name in [
        "COLLECTIVE_",
        PLAYED_IN,
        "SSH_AUTH_SOCK",
        "GIT_SSH=",
        "GIT_CONFIG_COUNT",
    ] {
        assert!(!environment.contains(name), "{environment}");
    }
    for line in ["GIT_TERMINAL_PROMPT=0", "SSH_ASKPASS=/bin/false"] {
        assert!(environment.lines().any(|it| it == line), "{environment}");
    }
}

fn fetch_over_ssh(folder: &Path) {
    let key = DeployKey::new(folder.join("deploy key"), folder.join("known hosts"));
    let address = format!(
        "ssh://git@forge.example:2222{}/forge/origin.git",
        folder.display()
    );
    let credentials = Credentials {
        deploy_key: Some(key.expect("plain names")),
        tokens: BTreeMap::new(),
    };
    let access = credentials.of(&repository(&address));
    assert!(matches!(access, Access::Ssh(_)));
    let copy = folder.join("copy");
    let copy = Clone::open_with(&copy, &repository(&address), access, false).expect("a copy");
    copy.fetch_tip(&"main".parse().expect("a branch"))
        .expect("fetched");
}
