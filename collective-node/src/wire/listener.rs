//! The side that is called: handshakes, who may come in, and the same question again at every request.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::{Future, IntoFuture};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::serve::IncomingStream;
use collective::id::TransportPin;
use collective::permit::Fault;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::key::{TransportKey, refused_pin};
use super::problem;

/// Which keys are welcome now, from chain facts. Asked at every handshake and at every request.
pub type Allowed = Arc<dyn Fn(&TransportPin) -> bool + Send + Sync>;

/// How long a handshake may take: three trips around the world and a slow machine.
pub const HANDSHAKE_TIME: Duration = Duration::from_secs(5);

/// Handshakes at once. Strangers can begin one, so the oldest makes room: who is honest needs milliseconds.
pub const MAX_HANDSHAKES: usize = 256;

/// Connections of one peer. A client keeps one for each question that it has open, and it asks few at once.
pub const MAX_CONNECTIONS_PER_PEER: usize = 64;

/// Connections that the kernel keeps until they are taken.
const BACKLOG: u32 = 1024;

/// How long a refused client may take to read why.
const LINGER: Duration = Duration::from_secs(1);

/// How long [`serve`] waits at its end for what is under way; a peer may be stuck in the middle of a question.
pub const SHUTDOWN_TIME: Duration = Duration::from_secs(5);

/// Before the next try when the machine has no socket or memory left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who is at the other end: the handshake has proven that it holds the key of this pin.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Of its key.
    pub pin: TransportPin,
    /// Where it calls from. A hint for the log; nothing may depend on it.
    pub address: SocketAddr,
    /// Counted as long as the connection, or a request on it, lives.
    _place: Option<Arc<Place>>,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {}", self.pin, self.address)
    }
}

impl Connected<IncomingStream<'_, Listener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Listener>) -> Self {
        stream.remote_addr().clone()
    }
}

/// Answers peers until `shutdown`, then ends what is under way, for [`SHUTDOWN_TIME`] at most. A peer whose key is not allowed any more is refused at its
/// next request.
///
/// # Errors
/// None today; the signature is axum's.
pub async fn serve(
    listener: Listener,
    router: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let allowed = listener.allowed.clone();
    let router = router
        .fallback(async || {
            let detail = "no such exchange; run the same version".to_owned();
            problem(StatusCode::NOT_FOUND, Fault::Peer, detail)
        })
        .layer(middleware::from_fn_with_state(allowed, still_allowed));
    let service = router.into_make_service_with_connect_info::<Peer>();
    let (stop, stopped) = oneshot::channel::<()>();
    let answered = axum::serve(listener, service).with_graceful_shutdown(async {
        let _ = stopped.await;
    });
    let given_up = async {
        shutdown.await;
        drop(stop);
        sleep(SHUTDOWN_TIME).await;
    };
    tokio::select! {
        result = answered.into_future() => result,
        () = given_up => Ok(()),
    }
}

/// A connection outlives the fact that let it in, so every request asks again.
async fn still_allowed(
    State(allowed): State<Allowed>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    if allowed(&peer.pin) {
        return next.run(request).await;
    }
    tracing::warn!(%peer, "refused a request: the key is not allowed any more");
    let detail = format!("key {} is not allowed any more", peer.pin);
    let mut response = problem(StatusCode::FORBIDDEN, Fault::Peer, detail).into_response();
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}

/// Takes connections of peers with allowed keys, for [`serve`].
pub struct Listener {
    tcp: TcpListener,
    tls: TlsAcceptor,
    own: TransportPin,
    allowed: Allowed,
    handshakes: JoinSet<Option<(TlsStream<TcpStream>, Peer)>>,
    by_age: VecDeque<AbortHandle>,
    places: Places,
}

impl Listener {
    /// Listens at `address` with this key. Must run in a tokio runtime.
    ///
    /// # Errors
    /// Where the address is taken or is none of this machine's.
    pub fn bind(
        address: SocketAddr,
        key: &TransportKey,
        allowed: impl Fn(&TransportPin) -> bool + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        socket.set_reuseaddr(true)?;
        // Accepted sockets inherit it: the place of a peer that lost its power is free again after some hours.
        socket.set_keepalive(true)?;
        socket.set_nodelay(true)?;
        socket.bind(address)?;
        let allowed: Allowed = Arc::new(allowed);
        Ok(Self {
            tcp: socket.listen(BACKLOG)?,
            tls: TlsAcceptor::from(Arc::new(key.server_config(allowed.clone()))),
            own: key.pin(),
            allowed,
            handshakes: JoinSet::new(),
            by_age: VecDeque::new(),
            places: Places::default(),
        })
    }

    /// Where it listens, with the port that the kernel chose for port 0.
    ///
    /// # Errors
    /// The kernel's.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Each handshake is a task of its own, so that a slow one holds up nobody.
    fn begin(&mut self, stream: TcpStream, address: SocketAddr) {
        self.by_age.retain(|handshake| !handshake.is_finished());
        if self.by_age.len() >= MAX_HANDSHAKES {
            let oldest = self.by_age.pop_front().expect("there are some");
            oldest.abort();
            tracing::warn!("{MAX_HANDSHAKES} handshakes at once: gave up the oldest");
        }
        let handshake = shake_hands(self.tls.clone(), self.places.clone(), stream, address);
        self.by_age.push_back(self.handshakes.spawn(handshake));
    }
}

impl axum::serve::Listener for Listener {
    type Io = TlsStream<TcpStream>;
    type Addr = Peer;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            tokio::select! {
                Some(ended) = self.handshakes.join_next() => {
                    if let Ok(Some(connection)) = ended {
                        return connection;
                    }
                }
                accepted = self.tcp.accept() => match accepted {
                    Ok((stream, address)) => self.begin(stream, address),
                    // That client has gone again; the next one need not wait.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                    Err(error) => {
                        tracing::error!(%error, "cannot take connections");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    }

    fn local_addr(&self) -> io::Result<Peer> {
        Ok(Peer {
            pin: self.own,
            address: self.address()?,
            _place: None,
        })
    }
}

async fn shake_hands(
    tls: TlsAcceptor,
    places: Places,
    stream: TcpStream,
    address: SocketAddr,
) -> Option<(TlsStream<TcpStream>, Peer)> {
    let (error, stream) = match timeout(HANDSHAKE_TIME, tls.accept(stream).into_fallible()).await {
        Ok(Ok(stream)) => return admit(&places, stream, address),
        Ok(Err(failed)) => failed,
        Err(_) => {
            tracing::info!(%address, "no handshake in {HANDSHAKE_TIME:?}");
            return None;
        }
    };
    match refused_pin(&error) {
        Some(pin) => tracing::warn!(%pin, %address, "refused a peer: its key is not allowed"),
        None => tracing::info!(%address, %error, "a handshake failed"),
    }
    linger(stream).await;
    None
}

fn admit(
    places: &Places,
    stream: TlsStream<TcpStream>,
    address: SocketAddr,
) -> Option<(TlsStream<TcpStream>, Peer)> {
    let key = stream.get_ref().1.peer_certificates()?.first()?;
    let pin = TransportPin::of(key);
    let Some(place) = places.take(pin) else {
        tracing::warn!(%pin, %address, "a peer has {MAX_CONNECTIONS_PER_PEER} connections already");
        return None;
    };
    let _place = Some(Arc::new(place));
    let peer = Peer {
        pin,
        address,
        _place,
    };
    Some((stream, peer))
}

/// Closing with bytes unread sends a reset, which may overtake the alert that says why.
async fn linger(mut stream: TcpStream) {
    if stream.shutdown().await.is_ok() {
        let _ = timeout(LINGER, tokio::io::copy(&mut stream, &mut tokio::io::sink())).await;
    }
}

/// How many connections each peer has.
#[derive(Clone, Debug, Default)]
struct Places(Arc<Mutex<HashMap<TransportPin, usize>>>);

impl Places {
    fn take(&self, pin: TransportPin) -> Option<Place> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(pin).or_default();
        if *count >= MAX_CONNECTIONS_PER_PEER {
            return None;
        }
        *count += 1;
        let places = self.clone();
        Some(Place { places, pin })
    }
}

#[derive(Debug)]
struct Place {
    places: Places,
    pin: TransportPin,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.pin) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.pin);
            }
        }
    }
}
