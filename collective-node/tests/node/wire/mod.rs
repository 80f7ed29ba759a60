//! The wire on real sockets: Ada, a key holder, is called by Ben, a compute node, and by those who should not.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use bytes::Bytes;
use collective::id::TransportPin;
use collective::permit::Fault;
use collective_node::http::Problem;
use collective_node::wire::{
    Client, Exchange, HANDSHAKE_TIME, Listener, MAX_CONNECTIONS_PER_PEER, MAX_HANDSHAKES,
    MediaType, Peer, Remote, SHUTDOWN_TIME, TransportKey, WireError, serve,
};
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

mod hosts;
mod keys;
mod limits;
mod strangers;

use strangers::{Identity, Stranger};

const ADA: [u8; 32] = [1; 32];
const BEN: [u8; 32] = [2; 32];
const MALLORY: [u8; 32] = [66; 32];

const ECHO: Exchange = Exchange {
    path: "/echo",
    request: MediaType("application/vnd.collective.echo-question.v1"),
    max_request_bytes: 4096,
    answer: MediaType("application/vnd.collective.echo-answer.v1"),
    max_answer_bytes: 4096,
    timeout: Duration::from_secs(10),
};

/// More than she is allowed to say.
const BABBLE: Exchange = Exchange {
    path: "/babble",
    ..ECHO
};

/// Never answers.
const SLEEP: Exchange = Exchange {
    path: "/sleep",
    timeout: Duration::from_millis(300),
    ..ECHO
};

/// Says no.
const REFUSE: Exchange = Exchange {
    path: "/refuse",
    ..ECHO
};

/// Ada: a node that answers those on her list.
struct Ada {
    address: SocketAddr,
    allowed: Arc<Mutex<HashSet<TransportPin>>>,
    /// Where each answered question came from.
    asked: Arc<Mutex<Vec<SocketAddr>>>,
    /// Stops her when dropped.
    stop: oneshot::Sender<()>,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Ada {
    fn remote(&self) -> Remote {
        remote(self.address, pin(ADA))
    }

    fn forget(&self, seed: [u8; 32]) {
        self.allowed.lock().unwrap().remove(&pin(seed));
    }

    /// Ports of connections that carried an answered question.
    fn connections(&self) -> HashSet<SocketAddr> {
        self.asked.lock().unwrap().iter().copied().collect()
    }
}

fn pin(seed: [u8; 32]) -> TransportPin {
    TransportKey::from_seed(&seed).pin()
}

fn client(seed: [u8; 32]) -> Client {
    Client::new(TransportKey::from_seed(&seed))
}

fn remote(address: SocketAddr, pin: TransportPin) -> Remote {
    Remote::new(&format!("https://{address}"), pin).expect("an endpoint")
}

fn ada_knows(seeds: &[[u8; 32]]) -> Ada {
    ada_at("127.0.0.1:0".parse().expect("an address"), seeds)
}

fn ada_at(address: SocketAddr, seeds: &[[u8; 32]]) -> Ada {
    let allowed: HashSet<_> = seeds.iter().map(|seed| pin(*seed)).collect();
    let allowed = Arc::new(Mutex::new(allowed));
    let list = allowed.clone();
    let key = TransportKey::from_seed(&ADA);
    let listener = Listener::bind(address, &key, move |pin| list.lock().unwrap().contains(pin))
        .expect("a free port");
    let address = listener.address().expect("an address");
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (stop, stopped) = oneshot::channel();
    let serving = tokio::spawn(serve(listener, routes(asked.clone()), async {
        let _ = stopped.await;
    }));
    Ada {
        address,
        allowed,
        asked,
        stop,
        serving,
    }
}

fn routes(asked: Arc<Mutex<Vec<SocketAddr>>>) -> Router {
    let echo = ECHO.route(move |peer: Peer, question: Bytes| {
        asked.lock().unwrap().push(peer.address);
        async move {
            let mut answer = format!("{} asked ", peer.pin).into_bytes();
            answer.extend_from_slice(&question);
            Ok(answer.into())
        }
    });
    let refuse = REFUSE.route(async |_, _| {
        Err(Problem {
            status: 409,
            title: "Conflict".into(),
            detail: "the lease names another node".into(),
            fault: Fault::Requester,
        })
    });
    let babble = async || {
        let media_type = [("content-type", BABBLE.answer.0)];
        (media_type, vec![b'x'; BABBLE.max_answer_bytes + 1]).into_response()
    };
    echo.merge(refuse)
        .merge(SLEEP.route(async |_, _| std::future::pending().await))
        .route(BABBLE.path, axum::routing::post(babble))
}

async fn ask(client: &Client, remote: &Remote) -> Result<Bytes, WireError> {
    client
        .post(remote, &ECHO, Bytes::from_static(b"who am I?"))
        .await
}

#[tokio::test]
async fn a_known_peer_is_answered_by_the_node_of_the_pin_and_named_by_its_own() {
    let ada = ada_knows(&[BEN]);
    let answer = ask(&client(BEN), &ada.remote()).await.expect("an answer");
    let expected = format!("{} asked who am I?", pin(BEN));
    assert_eq!(answer, expected.as_bytes());
}

#[tokio::test]
async fn a_node_that_is_not_there_is_unreachable() {
    let address = {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        listener.local_addr().expect("an address")
    };
    let error = ask(&client(BEN), &remote(address, pin(ADA)))
        .await
        .expect_err("nobody listens");
    assert!(matches!(error, WireError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn an_endpoint_is_scheme_host_and_port() {
    for endpoint in [
        "https://ada.example:8443",
        "https://[::1]:1",
        "https://10.0.0.1",
    ] {
        Remote::new(endpoint, pin(ADA)).expect(endpoint);
    }
    for endpoint in [
        "http://ada.example:8443",
        "https://",
        "https://ada.example/base",
        "https://ada.example?x=1",
        "https://ben@ada.example",
        "ada.example:8443",
        "",
    ] {
        let error = Remote::new(endpoint, pin(ADA)).expect_err(endpoint);
        assert!(matches!(error, WireError::Address(_)), "{endpoint}");
    }
}

#[tokio::test]
async fn a_message_of_another_version_is_refused_on_both_sides() {
    let ada = ada_knows(&[BEN]);
    let newer: &'static Exchange = Box::leak(Box::new(Exchange {
        request: MediaType("application/vnd.collective.echo-question.v2"),
        ..ECHO
    }));
    let error = client(BEN)
        .post(&ada.remote(), newer, Bytes::new())
        .await
        .expect_err("another version");
    match error {
        WireError::Refused { problem, .. } => assert_eq!(problem.status, 415),
        other => panic!("{other}"),
    }
    assert!(ada.connections().is_empty(), "no handler ran");
    let newer: &'static Exchange = Box::leak(Box::new(Exchange {
        answer: MediaType("application/vnd.collective.echo-answer.v2"),
        ..ECHO
    }));
    let error = client(BEN)
        .post(&ada.remote(), newer, Bytes::new())
        .await
        .expect_err("another version");
    assert!(matches!(error, WireError::Unexpected { .. }), "{error}");
}

#[tokio::test]
async fn a_refusal_is_a_problem_document_with_its_fault() {
    let ada = ada_knows(&[BEN]);
    let error = client(BEN)
        .post(&ada.remote(), &REFUSE, Bytes::new())
        .await
        .expect_err("refused");
    assert_eq!(error.fault(), Fault::Requester);
    let text = error.to_string();
    assert!(text.contains("409"), "{text}");
    assert!(text.contains("the lease names another node"), "{text}");
}

#[tokio::test]
async fn a_node_that_started_again_is_asked_again() {
    let ben = client(BEN);
    let first = ada_knows(&[BEN]);
    let address = first.address;
    ask(&ben, &first.remote()).await.expect("an answer");
    drop(first.stop);
    first.serving.await.expect("no panic").expect("an end");
    let second = ada_at(address, &[BEN]);
    ask(&ben, &second.remote())
        .await
        .expect("the kept connection is of the past");
}

#[tokio::test]
async fn nodes_of_another_address_are_other_nodes() {
    // Loopback has 127.0.0.0/8: two hosts for those who may not make any.
    let near = ada_at("127.0.0.2:0".parse().expect("an address"), &[BEN]);
    let far = ada_at("127.0.0.3:0".parse().expect("an address"), &[BEN]);
    let ben = client(BEN);
    ask(&ben, &near.remote()).await.expect("an answer");
    ask(&ben, &far.remote()).await.expect("an answer");
    assert_eq!((near.connections().len(), far.connections().len()), (1, 1));
}
