//! A line to a service, which a test may have break, hang or lie.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What becomes of requests.
#[derive(Clone, Copy, Debug)]
pub enum Mode {
    /// The service answers.
    Good,
    /// Each connection ends at once.
    Broken,
    /// After so many bytes of an answer the connection ends.
    Cut(usize),
    /// After so many bytes, of all connections together, nothing goes there any more.
    Hanging(u64),
    /// Somebody else answers, always the same.
    Says(&'static str),
}

/// A line to a service.
pub struct Line {
    /// Where it begins.
    pub address: SocketAddr,
    mode: watch::Sender<Mode>,
    sent: Arc<AtomicU64>,
}

impl Line {
    pub async fn to(service: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (mode, sent) = (watch::Sender::new(Mode::Good), Arc::<AtomicU64>::default());
        let (modes, count) = (mode.clone(), sent.clone());
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (mut changed, count) = (modes.subscribe(), count.clone());
                let mode = *changed.borrow_and_update();
                tokio::spawn(async move {
                    // What was asked for under another mode is not answered any more.
                    tokio::select! {
                        _ = changed.changed() => {}
                        _ = carry(near, service, mode, &count) => {}
                    }
                });
            }
        });
        Self {
            address,
            mode,
            sent,
        }
    }

    /// From now on, for connections that are open, too.
    pub fn is(&self, mode: Mode) {
        self.sent.store(0, Ordering::SeqCst);
        self.mode.send_replace(mode);
    }

    /// Bytes of requests since then.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }
}

async fn carry(
    mut near: TcpStream,
    service: SocketAddr,
    mode: Mode,
    sent: &AtomicU64,
) -> std::io::Result<()> {
    match mode {
        Mode::Broken => return Ok(()),
        Mode::Says(answer) => return say(&mut near, answer, sent).await,
        Mode::Good | Mode::Cut(_) | Mode::Hanging(_) => {}
    }
    let mut far = TcpStream::connect(service).await?;
    let (mut near_in, mut near_out) = near.split();
    let (mut far_in, mut far_out) = far.split();
    let there = async {
        let mut bytes = vec![0; 64 * 1024];
        loop {
            let read = near_in.read(&mut bytes).await?;
            if read == 0 {
                return Ok(());
            }
            let so_far = sent.fetch_add(read as u64, Ordering::SeqCst) + read as u64;
            if matches!(mode, Mode::Hanging(most) if so_far > most) {
                std::future::pending::<()>().await;
            }
            far_out.write_all(&bytes[..read]).await?;
        }
    };
    let back = async {
        let most = match mode {
            Mode::Cut(most) => most as u64,
            _ => u64::MAX,
        };
        let mut answer = (&mut far_in).take(most);
        tokio::io::copy(&mut answer, &mut near_out).await.map(drop)
    };
    tokio::select! { done = there => done, done = back => done }
}

/// Takes one request in, and answers it.
async fn say(near: &mut TcpStream, answer: &str, sent: &AtomicU64) -> std::io::Result<()> {
    let mut request = vec![];
    let body = loop {
        if near.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
        if let Some(end) = request.windows(4).position(|it| it == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let head = String::from_utf8_lossy(&request[..body]).to_lowercase();
    let length = head
        .lines()
        .find_map(|it| it.strip_prefix("content-length:"));
    let length: usize = length.map_or(0, |it| it.trim().parse().expect("a length"));
    while request.len() < body + length {
        if near.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    sent.fetch_add(request.len() as u64, Ordering::SeqCst);
    near.write_all(answer.as_bytes()).await?;
    near.shutdown().await
}
