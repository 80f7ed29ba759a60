//! Clients that hold connections and requests for longer than they need: each is put out, and others are served meanwhile.

use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::routing::{get, post};
use collective_node::http::serve::{Limits, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

/// A limit that is under test, and one that must not be what ends the connection.
const SHORT: Duration = Duration::from_millis(400);
const LONG: Duration = Duration::from_secs(60);

/// Within this a limit of [`SHORT`] must have acted, on a busy machine, too.
const SOON: Duration = Duration::from_secs(8);

const NONE: Limits = Limits {
    connections: 64,
    head: LONG,
    body: LONG,
    request: LONG,
    connection: LONG,
};

const ASK: &[u8] = b"GET / HTTP/1.1\r\nhost: node\r\n\r\n";

struct Door {
    address: std::net::SocketAddr,
    close: Option<oneshot::Sender<()>>,
    served: tokio::task::JoinHandle<()>,
}

async fn open(limits: Limits) -> Door {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let router = Router::new()
        .route("/", get(|| async { "here" }))
        .route(
            "/length",
            post(|body: Bytes| async move { body.len().to_string() }),
        )
        .route("/large", get(|| async { vec![7_u8; 64 << 20] }))
        .route("/later", get(|| sleep(SHORT)))
        .route("/never", get(std::future::pending::<()>));
    let (close, closed) = oneshot::channel();
    let until = async {
        let _ = closed.await;
    };
    let served = tokio::spawn(serve(listener, router, limits, until));
    Door {
        address,
        close: Some(close),
        served,
    }
}

impl Door {
    async fn client(&self) -> TcpStream {
        TcpStream::connect(self.address)
            .await
            .expect("a connection")
    }

    /// A client that asks and is answered.
    async fn answers(&self) {
        let mut client = self.client().await;
        client.write_all(ASK).await.expect("a request");
        assert!(start(&mut client).await.starts_with("HTTP/1.1 200"));
    }
}

/// The first bytes of an answer; empty where the connection was ended without one.
async fn start(client: &mut TcpStream) -> String {
    let mut bytes = [0; 1024];
    let read = timeout(SOON, client.read(&mut bytes)).await.expect("soon");
    String::from_utf8_lossy(&bytes[..read.unwrap_or(0)]).into_owned()
}

/// Sends a byte every now and then until the server is gone; how long that took.
async fn drip(client: &mut TcpStream) -> Duration {
    let began = Instant::now();
    while client.write_all(b"a").await.is_ok() {
        assert!(began.elapsed() < SOON, "it goes on");
        sleep(SHORT / 8).await;
    }
    began.elapsed()
}

#[tokio::test]
async fn a_head_that_does_not_end_ends_the_connection() {
    let door = open(Limits {
        head: SHORT,
        ..NONE
    })
    .await;
    let mut silent = door.client().await;
    let mut dripping = door.client().await;
    dripping
        .write_all(b"GET / HTTP/1.1\r\nx: ")
        .await
        .expect("sent");
    door.answers().await;
    assert!(drip(&mut dripping).await >= SHORT / 2);
    assert_eq!(start(&mut silent).await, "");

    let mut idle = door.client().await;
    idle.write_all(ASK).await.expect("a request");
    assert!(start(&mut idle).await.starts_with("HTTP/1.1 200"));
    assert_eq!(start(&mut idle).await, "", "kept between requests for ever");
}

#[tokio::test]
async fn a_body_that_stops_ends_the_request() {
    let door = open(Limits {
        body: SHORT,
        ..NONE
    })
    .await;
    let mut client = door.client().await;
    let head = b"POST /length HTTP/1.1\r\nhost: node\r\ncontent-length: 9\r\n\r\nabc";
    client.write_all(head).await.expect("a request");
    assert!(start(&mut client).await.starts_with("HTTP/1.1 4"));

    let mut steady = door.client().await;
    steady.write_all(head).await.expect("a request");
    for _ in 0..6 {
        sleep(SHORT / 4).await;
        steady.write_all(b"d").await.expect("a byte");
    }
    assert!(start(&mut steady).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_request_has_an_end() {
    let door = open(Limits {
        request: SHORT,
        ..NONE
    })
    .await;
    let mut waiting = door.client().await;
    waiting
        .write_all(b"GET /never HTTP/1.1\r\nhost: node\r\n\r\n")
        .await
        .expect("a request");
    let answer = start(&mut waiting).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("application/problem+json"), "{answer}");

    let mut dripping = door.client().await;
    let head = b"POST /length HTTP/1.1\r\nhost: node\r\ncontent-length: 999999\r\n\r\n";
    dripping.write_all(head).await.expect("a request");
    drip(&mut dripping).await;
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_given_up() {
    let limits = Limits {
        request: SHORT,
        connection: SHORT,
        ..NONE
    };
    let mut door = open(limits).await;
    let mut client = door.client().await;
    let ask = b"GET /large HTTP/1.1\r\nhost: node\r\n\r\n";
    client.write_all(ask).await.expect("a request");
    sleep(SHORT * 4).await;
    drop(door.close.take());
    // Nothing is left in hand, although the client is still there.
    timeout(SOON, door.served)
        .await
        .expect("it ended")
        .expect("well");
    drop(client);
}

#[tokio::test]
async fn who_finds_no_place_waits_for_one() {
    let limits = Limits {
        connections: 2,
        head: SHORT * 4,
        ..NONE
    };
    let door = open(limits).await;
    let holders = [door.client().await, door.client().await];
    sleep(SHORT).await;
    let mut third = door.client().await;
    third.write_all(ASK).await.expect("the kernel takes it");
    let mut byte = [0];
    let early = timeout(SHORT, third.read(&mut byte)).await;
    assert!(early.is_err(), "a third connection was served");
    assert!(start(&mut third).await.starts_with("HTTP/1.1 200"));
    drop(holders);
}

#[tokio::test]
async fn a_stop_finishes_what_is_in_hand() {
    let mut door = open(NONE).await;
    let mut client = door.client().await;
    let ask = b"GET /later HTTP/1.1\r\nhost: node\r\n\r\n";
    client.write_all(ask).await.expect("a request");
    let idle = door.client().await;
    sleep(SHORT / 4).await;
    drop(door.close.take());
    assert!(start(&mut client).await.starts_with("HTTP/1.1 200"));
    timeout(SOON, door.served)
        .await
        .expect("it ended")
        .expect("well");
    drop(idle);
}
