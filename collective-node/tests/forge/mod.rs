//! A forge: a bare repository, over `file://` and over smart HTTP on loopback, and somebody's clone of it.

// Each test that includes this uses what it needs.
#![allow(dead_code)]

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// Bytes of one request to the forge.
const MOST: usize = 16 << 20;

/// What may push over HTTP: the basic authorization of `node:secret-of-the-forge`.
pub const TOKEN: &str = "secret-of-the-forge";
const AUTHORIZED: &str = "Basic bm9kZTpzZWNyZXQtb2YtdGhlLWZvcmdl";

/// The repository.
pub struct Forge {
    /// Where it lies; `origin.git` and `clone` are in it.
    pub folder: PathBuf,
    /// Its address over HTTP.
    pub http: String,
    _serves: Runtime,
}

impl Forge {
    /// One with an empty commit on `main`; none where there is no git.
    pub fn start(folder: &Path) -> Option<Self> {
        if Command::new("git").arg("--version").output().is_err() {
            println!("skipped: no git here");
            return None;
        }
        let runtime = Runtime::new().expect("threads");
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
        let listener = listener.expect("a port");
        let address = listener.local_addr().expect("an address");
        let root = Arc::new(folder.to_owned());
        let served = Router::new().fallback(backend).with_state(root);
        runtime.spawn(async move { axum::serve(listener, served).await });
        let forge = Self {
            folder: folder.to_owned(),
            http: format!("http://{address}/origin.git"),
            _serves: runtime,
        };
        std::fs::create_dir_all(folder).expect("a folder");
        forge.at(
            folder,
            "init --quiet --bare --initial-branch=main origin.git",
        );
        forge.at(&folder.join("origin.git"), "config http.receivepack true");
        forge.at(folder, "clone --quiet origin.git clone");
        forge.git("commit --quiet --allow-empty -m begin");
        forge.git("push --quiet origin HEAD:main");
        Some(forge)
    }

    /// Its address as a folder.
    pub fn file(&self) -> String {
        format!("file://{}/origin.git", self.folder.display())
    }

    /// Somebody's clone.
    pub fn clone(&self) -> PathBuf {
        self.folder.join("clone")
    }

    /// Git in the clone; what it prints.
    pub fn git(&self, line: &str) -> String {
        self.at(&self.clone(), line)
    }

    /// Git in the bare repository.
    pub fn bare(&self, line: &str) -> String {
        self.at(&self.folder.join("origin.git"), line)
    }

    /// Commits all of the clone and pushes it to this branch; says the commit.
    pub fn push(&self, branch: &str) -> String {
        self.git("add --all");
        self.git("commit --quiet --allow-empty -m work");
        self.git(&format!(
            "push --quiet --force origin HEAD:refs/heads/{branch}"
        ));
        self.git("rev-parse HEAD")
    }

    fn at(&self, folder: &Path, line: &str) -> String {
        let mut git = Command::new("git");
        for setting in [
            "user.name=Ann",
            "user.email=ann@example.org",
            "commit.gpgSign=false",
        ] {
            git.args(["-c", setting]);
        }
        let output = git
            .args(line.split_whitespace())
            .current_dir(folder)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .expect("git starts");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "git {line}: {error}");
        String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned()
    }
}

/// `git http-backend` as a CGI program. Who pushes has to be authorized.
async fn backend(State(root): State<Arc<PathBuf>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, MOST).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let query = head.uri.query().unwrap_or_default().to_owned();
    let pushes =
        query.contains("git-receive-pack") || head.uri.path().ends_with("/git-receive-pack");
    let said = |name: HeaderName| text(&head.headers, &name);
    if pushes && said(header::AUTHORIZATION) != AUTHORIZED {
        let asked = [(header::WWW_AUTHENTICATE, "Basic realm=\"forge\"")];
        return (StatusCode::UNAUTHORIZED, asked).into_response();
    }
    let mut command = Command::new("git");
    command
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root.as_path())
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("REQUEST_METHOD", head.method.as_str())
        .env("PATH_INFO", head.uri.path())
        .env("QUERY_STRING", query)
        .env("CONTENT_TYPE", said(header::CONTENT_TYPE))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", said(header::CONTENT_ENCODING))
        .env(
            "GIT_PROTOCOL",
            said(HeaderName::from_static("git-protocol")),
        );
    if pushes {
        command.env("REMOTE_USER", "node");
    }
    tokio::task::spawn_blocking(move || answer(command, &body))
        .await
        .expect("no panic")
}

fn text(headers: &HeaderMap, name: &HeaderName) -> String {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_owned()
}

fn answer(mut command: Command, body: &Bytes) -> Response {
    use std::io::Write;
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("git starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let body = body.clone();
    std::thread::spawn(move || stdin.write_all(&body));
    let output = child.wait_with_output().expect("it ends").stdout;
    let end = output
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .expect("a head");
    let head = String::from_utf8_lossy(&output[..end]).into_owned();
    let mut response = Response::new(Body::from(output[end + 4..].to_vec()));
    for line in head.lines() {
        let (name, value) = line.split_once(": ").expect("a header");
        if name == "Status" {
            let code = value.split(' ').next().and_then(|code| code.parse().ok());
            *response.status_mut() = code.expect("a status");
        } else {
            let name: HeaderName = name.parse().expect("a name");
            response
                .headers_mut()
                .insert(name, HeaderValue::from_str(value).expect("a value"));
        }
    }
    response
}
