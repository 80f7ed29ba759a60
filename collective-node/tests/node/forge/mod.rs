//! A forge: a bare repository, over `file://` and over smart HTTP on loopback, and somebody's clone of it.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::runtime::Runtime;

/// Bytes of one request to the forge.
const MOST: usize = 16 << 20;

/// What may push over HTTP: the basic authorization of `node:secret-of-the-forge`.
pub const TOKEN: &str = "secret-of-the-forge";
const AUTHORIZED: &str = "Basic bm9kZTpzZWNyZXQtb2YtdGhlLWZvcmdl";

/// How it answers over HTTP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// As it should.
    #[default]
    Well,
    /// Who fetches is told that something is wrong with it.
    OutOfOrder,
    /// Who fetches gets half of the answer.
    Cut,
    /// Everybody is sent to another address.
    Moved(String),
}

/// What it serves, and what it has seen.
#[derive(Default)]
struct Served {
    root: PathBuf,
    mood: Mutex<Mood>,
    shown: Mutex<Vec<String>>,
    pushes: Mutex<usize>,
}

/// The repository.
pub struct Forge {
    /// Where it lies; `origin.git` and `clone` are in it.
    pub folder: PathBuf,
    /// Its address over HTTP.
    pub http: String,
    served: Arc<Served>,
}

/// Whether `.ci/run programs` will run this test, with every compiler, interpreter and worker at hand, and says so.
pub fn comes_later() -> bool {
    let later = std::env::var_os("COLLECTIVE_PROGRAMS_LATER").is_some();
    if later {
        println!("skipped: `.ci/run programs` runs it");
    }
    later
}

impl Forge {
    /// One with an empty commit on `main`; none where there is no git.
    pub fn start(folder: &Path) -> Option<Self> {
        if Command::new("git").arg("--version").output().is_err() {
            println!("skipped: no git here");
            return None;
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let served = Arc::new(Served {
            root: folder.to_owned(),
            ..Served::default()
        });
        let router = Router::new().fallback(backend).with_state(served.clone());
        // A thread of its own, to the end of the process: a test may have a runtime itself.
        std::thread::spawn(move || {
            let runtime = Runtime::new().expect("threads");
            runtime.block_on(async {
                listener.set_nonblocking(true).expect("a socket");
                let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
                axum::serve(listener, router).await
            })
        });
        let forge = Self {
            folder: folder.to_owned(),
            http: format!("http://{address}/origin.git"),
            served,
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

    /// Its scheme, host and port.
    pub fn origin(&self) -> &str {
        self.http.trim_end_matches("/origin.git")
    }

    /// Answers like this from now on.
    pub fn is(&self, mood: Mood) {
        *self.served.mood.lock().expect("no panic") = mood;
    }

    /// What it was shown by way of authorization.
    pub fn shown(&self) -> Vec<String> {
        self.served.shown.lock().expect("no panic").clone()
    }

    /// How often somebody began to push.
    pub fn pushes(&self) -> usize {
        *self.served.pushes.lock().expect("no panic")
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
async fn backend(State(served): State<Arc<Served>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, MOST).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let query = head.uri.query().unwrap_or_default().to_owned();
    let pushes =
        query.contains("git-receive-pack") || head.uri.path().ends_with("/git-receive-pack");
    let said = |name: HeaderName| text(&head.headers, &name);
    let shown = said(header::AUTHORIZATION);
    if !shown.is_empty() {
        served.shown.lock().expect("no panic").push(shown);
    }
    if query.contains("git-receive-pack") {
        *served.pushes.lock().expect("no panic") += 1;
    }
    let mood = served.mood.lock().expect("no panic").clone();
    let fetches = body.windows(13).any(|part| part == b"command=fetch");
    match &mood {
        Mood::Moved(to) => {
            let asked = head.uri.path_and_query().expect("a path");
            let there = [(header::LOCATION, format!("{to}{asked}"))];
            return (StatusCode::TEMPORARY_REDIRECT, there).into_response();
        }
        Mood::OutOfOrder if fetches => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        _ => {}
    }
    if pushes && said(header::AUTHORIZATION) != AUTHORIZED {
        let asked = [(header::WWW_AUTHENTICATE, "Basic realm=\"forge\"")];
        return (StatusCode::UNAUTHORIZED, asked).into_response();
    }
    let mut command = Command::new("git");
    command
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", &served.root)
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
    let is_cut = fetches && mood == Mood::Cut;
    tokio::task::spawn_blocking(move || answer(command, &body, is_cut))
        .await
        .expect("no panic")
}

fn text(headers: &HeaderMap, name: &HeaderName) -> String {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_owned()
}

fn answer(mut command: Command, body: &Bytes, is_cut: bool) -> Response {
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
    let body = &output[end + 4..];
    let kept = if is_cut { body.len() / 2 } else { body.len() };
    let mut response = Response::new(Body::from(body[..kept].to_vec()));
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
