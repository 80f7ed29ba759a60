//! How git is started, and what it may show to a forge that asks who we are.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use collective::approval::Repository;

/// Settings that a repository cannot change. Of transports only these four, none of which runs what an address says.
const SETTINGS: [&str; 12] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.attributesFile=/dev/null",
    "protocol.allow=never",
    "protocol.https.allow=always",
    "protocol.http.allow=always",
    "protocol.ssh.allow=always",
    "protocol.file.allow=always",
    "http.followRedirects=false",
    "transfer.fsckObjects=true",
    "gc.auto=0",
    "maintenance.auto=false",
];

/// Names the token's file to [`HELPER`].
const TOKEN_FILE: &str = "COLLECTIVE_FORGE_TOKEN_FILE";

/// Gives git the token out of its file: it stands on no command line, and git never writes it back. Forges that take tokens take
/// any name with them.
const HELPER: &str = "credential.helper=!f() { test \"$1\" = get && printf 'username=node\\npassword=%s\\n' \"$(cat \"$COLLECTIVE_FORGE_TOKEN_FILE\")\"; }; f";

/// What a node shows to a forge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// What the person who runs git has set up, or nothing.
    #[default]
    Own,
    /// A deploy key, and the keys by which the forge's host is known; no other.
    Ssh {
        /// The private key's file.
        key: PathBuf,
        /// The hosts' keys, as `ssh-keyscan` prints them.
        known_hosts: PathBuf,
    },
    /// A token for HTTP.
    Token {
        /// The file with the token and nothing else.
        file: PathBuf,
    },
}

/// Why nothing is shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessRefusal {
    /// It would be read on the way.
    #[error("a token is not sent to {0}: the address has to begin with https://")]
    Plain(Repository),
    /// The shell that git starts ssh with would read another one.
    #[error("{} has a quote in its name: give the file another", .0.display())]
    Quote(PathBuf),
}

impl Access {
    /// Whether this may be shown to a repository at all.
    ///
    /// # Errors
    /// [`AccessRefusal`].
    pub fn check(&self, repository: &Repository) -> Result<(), AccessRefusal> {
        match self {
            Self::Own => Ok(()),
            Self::Token { .. } => {
                let rest = repository.as_str().strip_prefix("http://");
                let host = rest.and_then(|rest| rest.split(['/', ':']).next());
                match host {
                    None | Some("127.0.0.1" | "localhost") => Ok(()),
                    Some(_) => Err(AccessRefusal::Plain(repository.clone())),
                }
            }
            Self::Ssh { key, known_hosts } => {
                let quoted = |path: &&PathBuf| path.to_string_lossy().contains(['\'', '"', '\\']);
                match [key, known_hosts].into_iter().find(quoted) {
                    None => Ok(()),
                    Some(path) => Err(AccessRefusal::Quote(path.clone())),
                }
            }
        }
    }

    /// Git with our settings, and with nothing that the environment says of repositories.
    pub(super) fn git(&self) -> Command {
        let mut command = Command::new("git");
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("GIT_") {
                command.env_remove(name);
            }
        }
        command
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ASKPASS", "/bin/false")
            .env("SSH_ASKPASS", "/bin/false")
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .env("GIT_NO_LAZY_FETCH", "1")
            .env("GIT_SSH_COMMAND", self.ssh())
            .env("LC_ALL", "C");
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        if let Self::Token { file } = self {
            // The first takes back whatever helpers there were.
            command
                .args(["-c", "credential.helper=", "-c", HELPER])
                .env(TOKEN_FILE, file);
        }
        command
    }

    fn ssh(&self) -> String {
        let Self::Ssh { key, known_hosts } = self else {
            return "ssh -o BatchMode=yes".to_owned();
        };
        let quoted = |path: &Path| format!("'{}'", path.display());
        format!(
            "ssh -F /dev/null -o BatchMode=yes -o IdentitiesOnly=yes -o IdentityAgent=none -i {} -o StrictHostKeyChecking=yes \
             -o GlobalKnownHostsFile=/dev/null -o UserKnownHostsFile={}",
            quoted(key),
            quoted(known_hosts)
        )
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => f.write_str("no key"),
            Self::Ssh { key, .. } => write!(f, "the key in {}", key.display()),
            Self::Token { file } => write!(f, "the token in {}", file.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(text: &str) -> Repository {
        text.parse().expect("an address")
    }

    #[test]
    fn a_token_goes_to_nobody_who_could_read_it_on_the_way() {
        let token = Access::Token {
            file: "token".into(),
        };
        assert!(
            token
                .check(&repository("https://forge.example/x.git"))
                .is_ok()
        );
        assert!(
            token
                .check(&repository("http://127.0.0.1:3000/x.git"))
                .is_ok()
        );
        for plain in [
            "http://forge.example/x.git",
            "http://127.0.0.1.forge.example/x.git",
            "http://localhost.example:80/x.git",
        ] {
            assert_eq!(
                token.check(&repository(plain)),
                Err(AccessRefusal::Plain(repository(plain)))
            );
        }
    }

    #[test]
    fn ssh_takes_the_named_key_and_the_named_hosts_only() {
        let access = Access::Ssh {
            key: "/k e/y".into(),
            known_hosts: "/hosts".into(),
        };
        let ssh = access.ssh();
        for part in [
            "-F /dev/null",
            "-i '/k e/y'",
            "IdentitiesOnly=yes",
            "StrictHostKeyChecking=yes",
            "UserKnownHostsFile='/hosts'",
        ] {
            assert!(ssh.contains(part), "{ssh}");
        }
        assert!(access.check(&repository("git@forge.example:x")).is_ok());
        let broken = Access::Ssh {
            key: "/a'; id; '".into(),
            known_hosts: "/hosts".into(),
        };
        assert!(matches!(
            broken.check(&repository("git@forge.example:x")),
            Err(AccessRefusal::Quote(_))
        ));
    }
}
