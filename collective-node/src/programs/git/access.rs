//! How git is started, and what it may show to a forge that asks who we are.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::process::Command;
use std::str::FromStr;

use collective::approval::Repository;
use serde::Deserialize;

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

/// What of the environment git gets: where programs, the settings of who runs it, and scratch files are, and the way out of a network.
/// Everything else stays here, ours above all.
const PASSED_ON: [&str; 15] = [
    "PATH",
    "HOME",
    "XDG_CONFIG_HOME",
    "USER",
    "LOGNAME",
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
];

/// What it gets besides where it shows what a person has set up: the ways to that person's agents.
const TO_AGENTS: [&str; 4] = [
    "SSH_AUTH_SOCK",
    "GNUPGHOME",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
];

/// Names the token's file to [`HELPER`].
const TOKEN_FILE: &str = "COLLECTIVE_FORGE_TOKEN_FILE";

/// Gives git the token out of its file: it stands on no command line, and git never writes it back. Forges that take tokens take
/// any name with them.
const HELPER: &str = "!f() { test \"$1\" = get && printf 'username=node\\npassword=%s\\n' \"$(cat \"$COLLECTIVE_FORGE_TOKEN_FILE\")\"; }; f";

/// Scheme, host and, where it is another than usual, port of a forge: `https://forge.example`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Forge(String);

impl FromStr for Forge {
    type Err = AccessRefusal;

    fn from_str(text: &str) -> Result<Self, AccessRefusal> {
        let host = ["https://", "http://"]
            .iter()
            .find_map(|scheme| text.strip_prefix(scheme));
        // What is the beginning of an address has no password, and nothing that git reads otherwise.
        let is_beginning = format!("{text}/x").parse::<Repository>().is_ok();
        if !is_beginning || host.is_none_or(|host| host.contains('/')) {
            return Err(AccessRefusal::NoForge(text.escape_debug().to_string()));
        }
        let is_here =
            |host: &str| matches!(host.split(':').next(), Some("127.0.0.1" | "localhost"));
        if text
            .strip_prefix("http://")
            .is_some_and(|host| !is_here(host))
        {
            return Err(AccessRefusal::Plain(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Forge {
    type Error = AccessRefusal;

    fn try_from(text: String) -> Result<Self, AccessRefusal> {
        text.parse()
    }
}

impl Forge {
    /// Whether a repository is one of this forge's.
    pub fn has(&self, repository: &Repository) -> bool {
        let rest = repository.as_str().strip_prefix(&self.0);
        rest.is_some_and(|rest| rest.starts_with('/'))
    }
}

impl fmt::Display for Forge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a node has to show, each to whom it belongs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// For repositories over ssh.
    pub deploy_key: Option<DeployKey>,
    /// Files of tokens, each for one forge.
    pub tokens: BTreeMap<Forge, PathBuf>,
}

impl Credentials {
    /// What is shown to a repository's forge, and to nobody else.
    pub fn of(&self, repository: &Repository) -> Access {
        let token = self.tokens.iter().find(|(forge, _)| forge.has(repository));
        let is_web = repository.as_str().starts_with("http");
        match (token, &self.deploy_key) {
            (Some((forge, file)), _) => Access::Token {
                forge: forge.clone(),
                file: file.clone(),
            },
            (None, Some(key)) if !is_web => Access::Ssh(key.clone()),
            (None, _) => Access::Own,
        }
    }
}

/// A deploy key, and the keys by which the forge's host is known; no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeployKey {
    /// The private key's file.
    pub key: PathBuf,
    /// The hosts' keys, as `ssh-keyscan` prints them.
    pub known_hosts: PathBuf,
}

impl DeployKey {
    /// Refuses files that the shell with which git starts ssh, or ssh itself, would read as others.
    ///
    /// # Errors
    /// [`AccessRefusal::Quote`].
    pub fn new(key: PathBuf, known_hosts: PathBuf) -> Result<Self, AccessRefusal> {
        for path in [&key, &known_hosts] {
            if path.to_string_lossy().contains(['\'', '"', '\\', '%', '$']) {
                return Err(AccessRefusal::Quote(path.clone()));
            }
        }
        Ok(Self { key, known_hosts })
    }
}

/// What is shown to one forge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// What the person who runs git has set up, or nothing.
    #[default]
    Own,
    /// A key for ssh.
    Ssh(DeployKey),
    /// A token for HTTP, which no other host is shown, whatever that asks for.
    Token {
        /// Whose it is.
        forge: Forge,
        /// The file with the token and nothing else.
        file: PathBuf,
    },
}

/// Why nothing is shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessRefusal {
    /// It would be read on the way.
    #[error("a token is not sent to {0}: the address has to begin with https://")]
    Plain(String),
    /// A token has to belong to somebody.
    #[error(
        "'{0}' is no forge: a token belongs to a scheme and a host, as in `https://forge.example`"
    )]
    NoForge(String),
    /// Another one would be read.
    #[error("{} has a quote, '\\', '%' or '$' in its name: give the file another", .0.display())]
    Quote(PathBuf),
}

impl Access {
    /// Git with our settings, and with nothing that the environment says of repositories or of us.
    pub(super) fn git(&self) -> Command {
        let mut command = Command::new("git");
        command.env_clear();
        let agents: &[&str] = match self {
            Self::Own => &TO_AGENTS,
            Self::Ssh(_) | Self::Token { .. } => &[],
        };
        for name in PASSED_ON.iter().chain(agents) {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
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
        if let Self::Token { forge, file } = self {
            // The first takes back whatever helpers there were. The second is asked for this forge only: not for a proxy, and not
            // for where an address is rewritten to.
            let helper = format!("credential.{forge}.helper={HELPER}");
            command
                .args(["-c", "credential.helper=", "-c", &helper])
                .env(TOKEN_FILE, file);
        }
        command
    }

    fn ssh(&self) -> String {
        let Self::Ssh(DeployKey { key, known_hosts }) = self else {
            return "ssh -o BatchMode=yes".to_owned();
        };
        let (key, known_hosts) = (key.display(), known_hosts.display());
        // Quoted for the shell, and the files of hosts for ssh, too, which takes several.
        format!(
            "ssh -F /dev/null -o BatchMode=yes -o IdentitiesOnly=yes -o IdentityAgent=none -i '{key}' -o StrictHostKeyChecking=yes \
             -o GlobalKnownHostsFile=/dev/null -o 'UserKnownHostsFile=\"{known_hosts}\"'"
        )
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => f.write_str("no key"),
            Self::Ssh(DeployKey { key, .. }) => write!(f, "the key in {}", key.display()),
            Self::Token { file, .. } => write!(f, "the token in {}", file.display()),
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
        for good in [
            "https://forge.example",
            "https://forge.example:8443",
            "http://127.0.0.1:3000",
            "http://localhost",
        ] {
            assert!(good.parse::<Forge>().is_ok(), "{good}");
        }
        for plain in [
            "http://forge.example",
            "http://127.0.0.1.forge.example",
            "http://localhost.example:80",
        ] {
            let refused = plain.parse::<Forge>();
            assert_eq!(refused, Err(AccessRefusal::Plain(plain.to_owned())));
        }
        for none in [
            "forge.example",
            "https://",
            "https://forge.example/",
            "https://forge.example/people",
            "https://ann:secret@forge.example",
            "ssh://forge.example",
            "https://forge example",
            "https://forge.example\n",
        ] {
            let refused = none.parse::<Forge>();
            assert!(matches!(refused, Err(AccessRefusal::NoForge(_))), "{none}");
        }
    }

    #[test]
    fn each_repository_is_shown_what_belongs_to_it() {
        let forge: Forge = "https://forge.example".parse().expect("a forge");
        let key = DeployKey::new("key".into(), "hosts".into()).expect("a key");
        let credentials = Credentials {
            deploy_key: Some(key.clone()),
            tokens: BTreeMap::from([(forge.clone(), "token".into())]),
        };
        let token = Access::Token {
            forge,
            file: "token".into(),
        };
        for (address, access) in [
            ("https://forge.example/x.git", &token),
            ("https://forge.example.org/x.git", &Access::Own),
            ("https://forge.example:8443/x.git", &Access::Own),
            ("https://other.example/forge.example/x.git", &Access::Own),
            ("http://forge.example/x.git", &Access::Own),
            ("git@forge.example:x", &Access::Ssh(key.clone())),
            ("ssh://git@other.example/x", &Access::Ssh(key)),
        ] {
            assert_eq!(credentials.of(&repository(address)), *access, "{address}");
        }
    }

    #[test]
    fn a_key_in_a_file_that_a_shell_would_read_otherwise_is_refused() {
        for bad in ["/a'; id; '", "/a\"b", "/a\\b", "/%h", "/${HOME}"] {
            for (key, hosts) in [(bad, "/hosts"), ("/key", bad)] {
                let refused = DeployKey::new(key.into(), hosts.into());
                assert_eq!(refused, Err(AccessRefusal::Quote(bad.into())));
            }
        }
        assert!(DeployKey::new("/k e/y".into(), "/hosts".into()).is_ok());
    }
}
