//! The side that calls: one pinned peer at a time.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{Request, Response, StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::key::{TransportKey, refused_pin, tls_error};
use super::{Exchange, Remote, WireError};

/// Connections that are kept for the next question: a committee's worth.
const MAX_IDLE: usize = 64;

/// How long one is kept: questions of one job follow each other closely.
const IDLE_TIME: Duration = Duration::from_secs(60);

/// Bytes of a problem document: a few sentences.
const MAX_PROBLEM_BYTES: usize = 16 * 1024;

/// Asks peers, with this node's key. Connections are kept for a while, each for the one peer and key that it was made for.
pub struct Client {
    key: TransportKey,
    idle: Mutex<Vec<Connection>>,
}

impl Client {
    /// A node that shows this key.
    pub fn new(key: TransportKey) -> Self {
        let idle = Mutex::default();
        Self { key, idle }
    }

    /// The answer's bytes. What they say is unchecked, but they are the pinned peer's.
    ///
    /// # Errors
    /// [`WireError`]. After [`WireError::Broken`] and [`WireError::TimedOut`] the question may be asked again: every effect
    /// is safe to perform twice.
    pub async fn post(
        &self,
        remote: &Remote,
        exchange: &'static Exchange,
        body: Bytes,
    ) -> Result<Bytes, WireError> {
        let (path, limit) = (exchange.path, exchange.timeout);
        if body.len() > exchange.max_request_bytes {
            return Err(WireError::RequestOversize {
                path,
                bytes: body.len(),
                limit: exchange.max_request_bytes,
            });
        }
        tokio::time::timeout(limit, self.ask(remote, exchange, body))
            .await
            .unwrap_or_else(|_| {
                let remote = remote.clone();
                Err(WireError::TimedOut {
                    remote,
                    path,
                    limit,
                })
            })
    }

    async fn ask(
        &self,
        remote: &Remote,
        exchange: &Exchange,
        body: Bytes,
    ) -> Result<Bytes, WireError> {
        let mut request = Request::post(exchange.path)
            .header(header::HOST, remote.authority())
            .header(header::CONTENT_TYPE, exchange.request.0)
            .body(Full::new(body))
            .expect("host and type are header values, the path is one of ours");
        if let Some(mut kept) = self.take_idle(remote) {
            match kept.sender.try_send_request(request).await {
                Ok(response) => return self.read(kept, exchange, response).await,
                Err(mut failed) => match failed.take_message() {
                    // It was closed while it lay here: nothing was sent.
                    Some(unsent) => request = unsent,
                    None => return Err(self.broken(kept, failed.into_error()).await),
                },
            }
        }
        let mut connection = self.connect(remote).await?;
        match connection.sender.send_request(request).await {
            Ok(response) => self.read(connection, exchange, response).await,
            Err(error) => Err(self.broken(connection, error).await),
        }
    }

    async fn connect(&self, remote: &Remote) -> Result<Connection, WireError> {
        let unreachable = |error| WireError::Unreachable {
            remote: remote.clone(),
            error,
        };
        let stream = TcpStream::connect((remote.host(), remote.port()))
            .await
            .map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        // TLS wants a name; nothing looks at it, and an address is not sent.
        let name = ServerName::from(stream.peer_addr().map_err(unreachable)?.ip());
        let tls = TlsConnector::from(Arc::new(self.key.client_config(remote.pin())));
        let stream = tls
            .connect(name, stream)
            .await
            .map_err(|error| self.no_handshake(remote, error))?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| WireError::Broken {
                remote: remote.clone(),
                error: error.to_string(),
            })?;
        let mut task = JoinSet::new();
        task.spawn(driver);
        Ok(Connection {
            remote: remote.clone(),
            sender,
            driver: task,
            since: Instant::now(),
        })
    }

    async fn read(
        &self,
        mut connection: Connection,
        exchange: &Exchange,
        response: Response<Incoming>,
    ) -> Result<Bytes, WireError> {
        let remote = connection.remote.clone();
        let status = response.status();
        let media_type = response
            .headers()
            .get(header::CONTENT_TYPE)
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
            .unwrap_or_default();
        let limit = match status {
            StatusCode::OK => exchange.max_answer_bytes,
            _ => MAX_PROBLEM_BYTES,
        };
        let body = match Limited::new(response.into_body(), limit).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                return Err(WireError::AnswerOversize { remote, limit });
            }
            Err(error) => {
                let error = error.to_string();
                return Err(WireError::Broken { remote, error });
            }
        };
        if connection.sender.ready().await.is_ok() {
            self.put_idle(connection);
        }
        if status == StatusCode::OK && media_type == exchange.answer.0 {
            return Ok(body);
        }
        if let (true, Ok(problem)) = (!status.is_success(), serde_json::from_slice(&body)) {
            return Err(WireError::Refused { remote, problem });
        }
        Err(WireError::Unexpected {
            remote,
            path: exchange.path,
            status,
            media_type,
        })
    }

    fn no_handshake(&self, remote: &Remote, error: io::Error) -> WireError {
        let remote = remote.clone();
        match refused_pin(&error) {
            Some(found) => WireError::AnotherKey { remote, found },
            None => WireError::Handshake { remote, error },
        }
    }

    /// In TLS 1.3 a client is through before the server has looked at its key, so a refusal comes after the question.
    async fn broken(&self, mut connection: Connection, error: hyper::Error) -> WireError {
        let remote = connection.remote;
        // Either the question or the task that drives the connection was told why.
        let driven = match tls_error(&error) {
            Some(_) => None,
            None => connection.driver.join_next().await,
        };
        let driven = driven.and_then(Result::ok).and_then(Result::err);
        let error = driven.unwrap_or(error);
        match tls_error(&error) {
            Some(rustls::Error::AlertReceived(alert)) => WireError::NotAllowed {
                remote,
                own: self.key.pin(),
                alert: format!("{alert:?}"),
            },
            _ => WireError::Broken {
                remote,
                error: error.to_string(),
            },
        }
    }

    fn take_idle(&self, remote: &Remote) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(Connection::is_fresh);
        let index = idle.iter().rposition(|kept| kept.remote == *remote)?;
        Some(idle.remove(index))
    }

    fn put_idle(&self, mut connection: Connection) {
        connection.since = Instant::now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(Connection::is_fresh);
        if idle.len() >= MAX_IDLE {
            idle.remove(0);
        }
        idle.push(connection);
    }
}

/// One connection to one peer; dropping it closes it.
struct Connection {
    /// With the pin that it was made for: another pin at the same address gets a connection of its own.
    remote: Remote,
    sender: SendRequest<Full<Bytes>>,
    driver: JoinSet<hyper::Result<()>>,
    since: Instant,
}

impl Connection {
    fn is_fresh(&self) -> bool {
        self.sender.is_ready() && self.since.elapsed() < IDLE_TIME
    }
}
