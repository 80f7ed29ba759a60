//! Where a program's bytes come from: a folder of a git repository at one commit, and how bytes were made of it.
//!
//! Nothing here is needed to run a program, which is named by its own hash. It is what reviewers read and rebuild.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::bundle::Bundle;
use crate::id::BlobId;

/// Bytes of a repository's address: it stands in a manifest, in tables and on command lines.
const MAX_REPOSITORY_BYTES: usize = 512;

/// Bytes of what names recipe and compiler: two words.
const MAX_BUILD_BYTES: usize = 64;

/// The folder and the commit that the program was built from, and the recipe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Origin {
    /// The repository.
    pub repository: Repository,
    /// The commit.
    pub commit: GitId,
    /// The program's folder in it.
    pub path: FolderPath,
    /// Tree id of that folder in the commit.
    pub tree: GitId,
    /// The whole folder as a source bundle, mock data included: a review needs nothing but this blob.
    pub source: BlobId,
    /// Recipe and compiler, such as `c zig-0.17.1`.
    pub build: Build,
}

/// Why a text names no part of an origin.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OriginRefusal {
    /// No address that is fetched from.
    #[error(
        "'{0}' is no address of a repository: https://HOST/PATH, http://HOST/PATH, ssh://[USER@]HOST/PATH, USER@HOST:PATH or \
         file:///PATH, without password, query or fragment, at most {MAX_REPOSITORY_BYTES} printable characters"
    )]
    Repository(String),
    /// No name of a git object.
    #[error("'{0}' is no id of a git object: 40 or 64 hexadecimal digits in lower case")]
    GitId(String),
    /// No folder of a program.
    #[error(
        "'{0}' is no folder of a program: names of letters, digits, '_', '-' and '.', joined by '/'"
    )]
    FolderPath(String),
    /// No name of a recipe.
    #[error("'{0}' names no recipe and compiler: at most {MAX_BUILD_BYTES} printable characters")]
    Build(String),
}

/// A text that was checked where it came in.
macro_rules! checked {
    ($($(#[$doc:meta])* $name:ident: $check:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = OriginRefusal;

            fn try_from(text: String) -> Result<Self, OriginRefusal> {
                if $check(&text) {
                    return Ok(Self(text));
                }
                // Cut, as it comes from outside and is repeated.
                let shown: String = text.chars().take(MAX_REPOSITORY_BYTES).collect();
                Err(OriginRefusal::$name(shown.escape_debug().to_string()))
            }
        }

        impl FromStr for $name {
            type Err = OriginRefusal;

            fn from_str(text: &str) -> Result<Self, OriginRefusal> {
                text.to_owned().try_into()
            }
        }

        impl From<$name> for String {
            fn from(checked: $name) -> Self {
                checked.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

checked! {
    /// Address of a git repository. It is public, so it has no password, and no program is started by it.
    Repository: is_repository;
    /// Name of a commit or a tree.
    GitId: is_git_id;
    /// A program's folder in a repository.
    FolderPath: is_folder_path;
    /// Recipe and compiler.
    Build: is_build;
}

impl FolderPath {
    /// The folder's own name, which is the program's.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }
}

fn is_repository(text: &str) -> bool {
    let printable = text.bytes().all(|byte| byte.is_ascii_graphic());
    // `::` starts a helper program of git's; a leading dash would be an option.
    if !printable
        || text.len() > MAX_REPOSITORY_BYTES
        || text.contains("::")
        || text.starts_with('-')
    {
        return false;
    }
    if text.contains(['?', '#', '\\', '"', '\'', '%']) {
        return false;
    }
    if let Some(path) = text.strip_prefix("file://") {
        return path.starts_with('/');
    }
    if let Some(rest) = text.strip_prefix("ssh://") {
        return rest.split_once('/').is_some_and(|(at, path)| {
            !path.is_empty()
                && at
                    .rsplit_once('@')
                    .map_or(is_host(at), |(user, host)| is_user(user) && is_host(host))
        });
    }
    let web = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    if let Some(rest) = web {
        let parts = rest.split_once('/');
        return parts.is_some_and(|(host, path)| is_host(host) && !path.is_empty());
    }
    let parts = text
        .split_once('@')
        .and_then(|(user, rest)| Some((user, rest.split_once(':')?)));
    parts.is_some_and(|(user, (host, path))| {
        is_user(user) && is_host(host) && !path.is_empty() && !path.starts_with('-')
    })
}

/// A name or an address with an optional port; it never looks like an option.
fn is_host(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    !text.is_empty() && !text.starts_with('-') && text.bytes().all(inside)
}

fn is_user(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    !text.is_empty() && !text.starts_with('-') && text.bytes().all(inside)
}

fn is_git_id(text: &str) -> bool {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    matches!(text.len(), 40 | 64) && text.bytes().all(digit)
}

fn is_folder_path(text: &str) -> bool {
    Bundle::check_path(text).is_ok()
}

fn is_build(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    !text.is_empty() && text.len() <= MAX_BUILD_BYTES && text.bytes().all(inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_starts_no_program_and_holds_no_password() {
        for good in [
            "https://forge.example/people/programs.git",
            "http://127.0.0.1:3000/programs.git",
            "ssh://git@forge.example:2222/programs.git",
            "git@forge.example:people/programs.git",
            "file:///srv/programs.git",
        ] {
            assert_eq!(good.parse::<Repository>().expect("good").as_str(), good);
        }
        let long = format!("https://forge.example/{}", "x".repeat(MAX_REPOSITORY_BYTES));
        for bad in [
            "",
            "-oProxyCommand=id",
            "--upload-pack=id",
            "ext::sh -c id",
            "ext::id",
            "ssh://-oProxyCommand=id/x",
            "git@-oProxyCommand=id:x",
            "-x@host:x",
            "git@host:-x",
            "https://ann:secret@forge.example/programs.git",
            "https://token@forge.example/programs.git",
            "ssh://ann:secret@forge.example/programs.git",
            "https://forge.example",
            "https:///programs.git",
            "https://forge.example/programs.git?x=1",
            "https://forge.example/pro grams.git",
            "https://forge.example/pro\ngrams.git",
            "file://programs.git",
            "/srv/programs.git",
            "programs.git",
            "forge.example:programs.git",
            "ftp://forge.example/programs.git",
            "git://forge.example/programs.git",
            &long,
        ] {
            assert!(bad.parse::<Repository>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn ids_folders_and_recipes_have_one_spelling() {
        assert!("a".repeat(40).parse::<GitId>().is_ok());
        assert!("0".repeat(64).parse::<GitId>().is_ok());
        for bad in [
            "",
            "HEAD",
            &"A".repeat(40),
            &"a".repeat(41),
            &format!("-{}", "a".repeat(39)),
        ] {
            assert!(bad.parse::<GitId>().is_err(), "{bad:?}");
        }
        let folder: FolderPath = "programs/mean".parse().expect("a folder");
        assert_eq!(folder.name(), "mean");
        for bad in ["", ".", "..", "/mean", "mean/", "-mean", "a/../b", "a b"] {
            assert!(bad.parse::<FolderPath>().is_err(), "{bad:?}");
        }
        assert!("c zig-0.17.1".parse::<Build>().is_ok());
        for bad in ["", "c\u{1b}[2J", &"x".repeat(MAX_BUILD_BYTES + 1)] {
            assert!(bad.parse::<Build>().is_err(), "{bad:?}");
        }
    }
}
