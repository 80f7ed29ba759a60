//! `[store]` of a node's configuration.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use url::Url;
use zeroize::Zeroizing;

use crate::blobs::Service;
use crate::cmd::secret;

/// Environment variables with the key of the bucket, as every S3 client reads them.
const KEY_ID: &str = "AWS_ACCESS_KEY_ID";
const SECRET: &str = "AWS_SECRET_ACCESS_KEY";
const SESSION: &str = "AWS_SESSION_TOKEN";

/// Where the node keeps its blobs; by default in its data folder.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Store {
    s3: Option<S3>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct S3 {
    endpoint: Url,
    bucket: String,
    #[serde(default = "usual_region")]
    region: String,
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    allow_http: bool,
    credentials: Option<PathBuf>,
}

/// What services without regions call theirs.
fn usual_region() -> String {
    "us-east-1".into()
}

impl Store {
    pub(super) fn path(&mut self) -> Option<&mut PathBuf> {
        self.s3.as_mut()?.credentials.as_mut()
    }

    /// The bucket, if there is one.
    pub(super) fn service(&self) -> Result<Option<Service>> {
        let Some(s3) = &self.s3 else { return Ok(None) };
        ensure!(
            cfg!(feature = "s3"),
            "[store.s3]: this binary knows no buckets; build one that does with `cargo build --release -p collective-node --features s3`"
        );
        s3.check()?;
        let key = match &s3.credentials {
            Some(file) => key_in(file)?,
            None => key_of(|name| std::env::var(name).ok())?,
        };
        Ok(Some(open(s3, key)?))
    }
}

impl S3 {
    fn check(&self) -> Result<()> {
        let at = &self.endpoint;
        ensure!(
            at.scheme() == "https" || at.scheme() == "http" && self.allow_http,
            "[store.s3]: '{at}' is not https; over http, which `allow_http = true` admits, anybody on the way can read and alter what is kept"
        );
        let is_bare = at.path() == "/" && at.query().is_none() && at.fragment().is_none();
        ensure!(
            at.has_host() && is_bare && at.username().is_empty() && at.password().is_none(),
            "[store.s3]: the endpoint is a host and a port, `https://HOST`, without bucket or key"
        );
        let is_of = |text: &str, others: &[u8]| {
            text.bytes()
                .all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || others.contains(&it))
        };
        ensure!(
            (3..=63).contains(&self.bucket.len()) && is_of(&self.bucket, b".-"),
            "[store.s3]: '{}' is no bucket: 3 to 63 lowercase letters, digits, dots and hyphens",
            self.bucket
        );
        ensure!(
            !self.region.is_empty() && is_of(&self.region, b"-"),
            "[store.s3]: '{}' is no region",
            self.region
        );
        let prefix = self.prefix.to_ascii_lowercase();
        ensure!(
            prefix.is_empty()
                || prefix.split('/').all(|part| {
                    !part.is_empty() && !part.starts_with('.') && is_of(part, b"._-")
                }),
            "[store.s3]: '{}' is no prefix: names of letters, digits, dots, hyphens and underscores, with slashes between them",
            self.prefix
        );
        Ok(())
    }
}

/// A key of the service. It is shown to nobody.
#[cfg_attr(not(feature = "s3"), allow(dead_code))] // who uses it is not there
struct Key {
    id: String,
    secret: Zeroizing<String>,
}

impl Key {
    fn new(id: Option<String>, secret: Option<String>) -> Option<Self> {
        let (id, secret) = (id?, Zeroizing::new(secret?));
        let is_there = !id.is_empty() && !secret.is_empty();
        is_there.then_some(Self { id, secret })
    }
}

fn key_of(variable: impl Fn(&str) -> Option<String>) -> Result<Key> {
    ensure!(
        variable(SESSION).is_none(),
        "[store.s3]: {SESSION} is set, and the key of a session expires: make one for this node"
    );
    Key::new(variable(KEY_ID), variable(SECRET)).with_context(|| {
        format!(
            "[store.s3]: set {KEY_ID} and {SECRET}, or name a file that holds them: `credentials`"
        )
    })
}

/// The key in a file that nobody else can read, with lines as in the credentials of other S3 clients.
fn key_in(file: &Path) -> Result<Key> {
    let shown = file.display();
    let about = std::fs::metadata(file).with_context(|| format!("[store.s3]: reading {shown}"))?;
    ensure!(
        about.permissions().mode() & 0o077 == 0,
        "[store.s3]: others can read {shown}: `chmod 600 {shown}`"
    );
    let text = secret::read(file)?;
    let one = |name: &str| {
        let mut values = text.lines().filter_map(|line| {
            let (key, value) = line.split_once('=')?;
            (key.trim().eq_ignore_ascii_case(name)).then(|| value.trim().to_owned())
        });
        values.next().filter(|_| values.next().is_none())
    };
    Key::new(one(KEY_ID), one(SECRET)).with_context(|| {
        let [id, secret] = [KEY_ID, SECRET].map(str::to_ascii_lowercase);
        format!("[store.s3]: {shown} does not have one line `{id} = …` and one `{secret} = …`")
    })
}

#[cfg(feature = "s3")]
fn open(s3: &S3, key: Key) -> Result<Service> {
    use crate::blobs::s3::{AccessKey, At, service};

    let at = At {
        endpoint: s3.endpoint.clone(),
        bucket: s3.bucket.clone(),
        region: s3.region.clone(),
        prefix: s3.prefix.clone(),
        allow_http: s3.allow_http,
    };
    let (id, secret) = (key.id, key.secret);
    Ok(service(&at, &AccessKey { id, secret })?)
}

#[cfg(not(feature = "s3"))]
fn open(_: &S3, _: Key) -> Result<Service> {
    anyhow::bail!("[store.s3]: this binary knows no buckets")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "endpoint = \"https://s3.example\"\nbucket = \"blobs\"\n";

    fn s3(text: &str) -> S3 {
        toml::from_str(text).expect("settings")
    }

    #[test]
    fn a_place_that_makes_no_sense_is_refused_before_anything_is_sent_there() {
        s3(LEAST).check().expect("a place");
        let all = format!(
            "{}region = \"eu-1\"\nprefix = \"a/B_1\"\nallow_http = true",
            LEAST.replace("https", "http")
        );
        s3(&all).check().expect("a place");
        for (from, to) in [
            ("https", "http"),
            ("https", "ftp"),
            ("s3.example", "key:secret@s3.example"),
            ("s3.example", "s3.example/blobs"),
            ("s3.example", "s3.example?x=y"),
            ("\"blobs\"", "\"ab\""),
            ("\"blobs\"", "\"Blobs\""),
            ("\"blobs\"", "\"a/b/c\""),
            ("\"blobs\"", "\"blobs\"\nregion = \"\""),
            ("\"blobs\"", "\"blobs\"\nprefix = \"/a\""),
            ("\"blobs\"", "\"blobs\"\nprefix = \"a/../b\""),
            ("\"blobs\"", "\"blobs\"\nprefix = \"a b\""),
        ] {
            let refused = s3(&LEAST.replace(from, to)).check().expect_err(to);
            assert!(refused.to_string().starts_with("[store.s3]: "), "{refused}");
        }
        let unknown = toml::from_str::<S3>(&format!("{LEAST}secret = \"x\""));
        assert!(unknown.is_err());
    }

    #[test]
    fn a_key_comes_from_the_environment_whole() {
        let variables = |given: &'static [(&str, &str)]| {
            key_of(|name| {
                let found = given.iter().find(|(it, _)| *it == name)?;
                Some(found.1.to_owned())
            })
        };
        let key = variables(&[(KEY_ID, "name"), (SECRET, "hush")]).ok();
        assert!(key.is_some_and(|key| key.id == "name" && *key.secret == "hush"));
        assert!(variables(&[(KEY_ID, "name")]).is_err());
        assert!(variables(&[(KEY_ID, "name"), (SECRET, "")]).is_err());
        assert!(variables(&[(KEY_ID, "name"), (SECRET, "hush"), (SESSION, "x")]).is_err());
    }

    #[test]
    fn a_key_in_a_file_that_others_can_read_is_refused() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let held = |text: &str, mode: u32| {
            std::fs::write(file.path(), text).expect("a written file");
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(file.path(), mode).expect("a mode");
            key_in(file.path())
        };
        let text = "[default]\naws_access_key_id = name\naws_secret_access_key=hush=\n";
        let key = held(text, 0o600).ok();
        assert!(key.is_some_and(|key| key.id == "name" && *key.secret == "hush="));
        for mode in [0o640, 0o604, 0o644] {
            let refused = held(text, mode).err().expect("others can read it");
            let refused = refused.to_string();
            assert!(refused.contains("chmod 600") && !refused.contains("hush"));
        }
        for text in ["", "aws_access_key_id = name", &text.repeat(2)] {
            let refused = held(text, 0o600).err().expect("no key, or two");
            assert!(!refused.to_string().contains("hush"));
        }
    }

    #[cfg(not(feature = "s3"))]
    #[test]
    fn a_binary_without_buckets_says_how_to_build_one() {
        let store = Store {
            s3: Some(s3(LEAST)),
        };
        let refused = store.service().err().expect("no buckets");
        assert!(refused.to_string().contains("--features s3"));
    }
}
