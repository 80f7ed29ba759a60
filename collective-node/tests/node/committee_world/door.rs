//! A member's registered endpoint: a plain relay of bytes that a test can slow down, shut, or lead somewhere else.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What a door does with whoever comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Way {
    to: Option<SocketAddr>,
    delay: Duration,
}

pub struct Door {
    address: SocketAddr,
    way: watch::Sender<Way>,
}

impl Door {
    /// One that leads nowhere yet.
    pub async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (way, seen) = watch::channel(Way::default());
        tokio::spawn(async move {
            while let Ok((caller, _)) = listener.accept().await {
                tokio::spawn(pass(caller, seen.clone()));
            }
        });
        Self { address, way }
    }

    pub fn endpoint(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Where it leads; connections that are open end.
    pub fn lead_to(&self, to: Option<SocketAddr>) {
        self.way.send_modify(|way| way.to = to);
    }

    /// How long an answer is held back.
    pub fn slow_down(&self, delay: Duration) {
        self.way.send_modify(|way| way.delay = delay);
    }
}

async fn pass(caller: TcpStream, mut way: watch::Receiver<Way>) {
    let began = *way.borrow_and_update();
    let Some(to) = began.to else { return };
    let Ok(member) = TcpStream::connect(to).await else {
        return;
    };
    let ((from_caller, to_caller), (from_member, to_member)) =
        (caller.into_split(), member.into_split());
    let elsewhere = way.clone();
    let moved = async move {
        let mut way = elsewhere;
        let _ = way.wait_for(|way| way.to != began.to).await;
    };
    tokio::select! {
        () = relay(from_caller, to_member, None) => {}
        () = relay(from_member, to_caller, Some(way)) => {}
        () = moved => {}
    }
}

async fn relay(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, way: Option<watch::Receiver<Way>>) {
    let mut piece = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        let delay = way
            .as_ref()
            .map_or(Duration::ZERO, |way| way.borrow().delay);
        tokio::time::sleep(delay).await;
        if to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
}
