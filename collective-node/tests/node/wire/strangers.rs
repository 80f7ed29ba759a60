//! Clients of the wire that are not ours: written on rustls alone, so that they can do what ours never does.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::http::StatusCode;
use collective_node::wire::{Exchange, MediaType};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    AlwaysResolvesClientRawPublicKeys, ClientSessionMemoryCache, ClientSessionStore,
    ResolvesClientCert, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{
    AlertDescription, ClientConfig, DigitallySignedStruct, NamedGroup, SignatureScheme,
    SupportedProtocolVersion,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::ECHO;

/// Who a stranger says it is.
pub enum Identity {
    /// Nobody.
    None,
    /// Somebody with a raw key who does not show it.
    Withheld,
    /// Whoever has this seed.
    Key([u8; 32]),
    /// Shows one public key and signs with another.
    Borrowed { shown: [u8; 32], held: [u8; 32] },
}

pub struct Stranger {
    config: Arc<ClientConfig>,
    tickets: Arc<Tickets>,
}

impl Stranger {
    pub fn new(version: &'static SupportedProtocolVersion, identity: Identity) -> Self {
        let raw = version.version == rustls::ProtocolVersion::TLSv1_3;
        let builder = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_protocol_versions(&[version])
            .expect("a version")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Gullible { raw }));
        let certified = match identity {
            Identity::None | Identity::Withheld => None,
            Identity::Key(seed) => Some((seed, seed)),
            Identity::Borrowed { shown, held } => Some((shown, held)),
        };
        let mut config = match certified.filter(|_| raw) {
            None if matches!(identity, Identity::Withheld) => {
                builder.with_client_cert_resolver(Arc::new(ShowsNone))
            }
            None => builder.with_no_client_auth(),
            Some((shown, held)) => {
                let spki = signing(shown).public_key().expect("Ed25519").to_vec();
                let key = CertifiedKey::new(vec![CertificateDer::from(spki)], signing(held));
                builder.with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(
                    Arc::new(key),
                )))
            }
        };
        let tickets = Arc::new(Tickets::default());
        config.resumption = Resumption::store(tickets.clone());
        let config = Arc::new(config);
        Self { config, tickets }
    }

    /// Session tickets that it was given.
    pub fn tickets(&self) -> usize {
        *self.tickets.count.lock().unwrap()
    }

    pub async fn connect(&self, address: SocketAddr) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(address).await?;
        let connector = TlsConnector::from(self.config.clone());
        connector
            .connect(ServerName::from(address.ip()), stream)
            .await
    }

    /// The status of an answer, or the alert that refused it.
    pub async fn ask(&self, address: SocketAddr) -> Result<StatusCode, AlertDescription> {
        match self.connect(address).await {
            Ok(mut stream) => ask(&mut stream).await,
            Err(error) => Err(alert(&error)),
        }
    }

    /// The status of an answer, or nothing where the server hung up without a word.
    pub async fn ask_or_hung_up(&self, address: SocketAddr) -> Option<StatusCode> {
        let mut stream = self.connect(address).await.ok()?;
        echo(&mut stream).await.ok()
    }
}

/// Asks on this connection.
pub async fn ask(stream: &mut TlsStream<TcpStream>) -> Result<StatusCode, AlertDescription> {
    echo(stream).await.map_err(|error| alert(&error))
}

/// Whether the server ended this connection without an answer.
pub async fn hung_up(stream: &mut TlsStream<TcpStream>) -> bool {
    echo(stream).await.is_err()
}

/// The head of a question to this path that announces a body of so many bytes.
pub fn head(exchange: &Exchange, length: usize) -> String {
    let (path, MediaType(media_type)) = (exchange.path, exchange.request);
    format!(
        "POST {path} HTTP/1.1\r\nhost: ada\r\ncontent-type: {media_type}\r\ncontent-length: {length}\r\n\r\n"
    )
}

/// The status that answers these bytes.
pub async fn status(
    stream: &mut TlsStream<TcpStream>,
    question: &str,
) -> std::io::Result<StatusCode> {
    stream.write_all(question.as_bytes()).await?;
    stream.flush().await?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).await?;
    Ok(StatusCode::from_bytes(&head[9..]).expect("HTTP/1.1 and a status"))
}

async fn echo(stream: &mut TlsStream<TcpStream>) -> std::io::Result<StatusCode> {
    status(stream, &(head(&ECHO, 2) + "hi")).await
}

fn alert(error: &std::io::Error) -> AlertDescription {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(rustls::Error::AlertReceived(alert)) => *alert,
        _ => panic!("no alert: {error}"),
    }
}

fn signing(seed: [u8; 32]) -> Arc<dyn SigningKey> {
    // RFC 8410, section 7.
    let head = [
        0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20,
    ];
    let der = [head.as_slice(), &seed].concat();
    aws_lc_rs::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(der)).expect("a seed")
}

/// Takes every server.
#[derive(Debug)]
struct Gullible {
    raw: bool,
}

impl ServerCertVerifier for Gullible {
    fn verify_server_cert(
        &self,
        _key: &CertificateDer<'_>,
        _more: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _key: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _key: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.raw
    }
}

#[derive(Debug)]
struct ShowsNone;

impl ResolvesClientCert for ShowsNone {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn only_raw_public_keys(&self) -> bool {
        true
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Counts the tickets, and keeps them for use.
#[derive(Debug)]
struct Tickets {
    kept: ClientSessionMemoryCache,
    count: Mutex<usize>,
}

impl Default for Tickets {
    fn default() -> Self {
        let kept = ClientSessionMemoryCache::new(8);
        let count = Mutex::default();
        Self { kept, count }
    }
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.kept.set_kx_hint(name, group);
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.kept.kx_hint(name)
    }

    fn set_tls12_session(&self, name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.kept.set_tls12_session(name, value);
    }

    fn tls12_session(&self, name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.kept.tls12_session(name)
    }

    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        self.kept.remove_tls12_session(name);
    }

    fn insert_tls13_ticket(&self, name: ServerName<'static>, value: Tls13ClientSessionValue) {
        *self.count.lock().unwrap() += 1;
        self.kept.insert_tls13_ticket(name, value);
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.kept.take_tls13_ticket(name)
    }
}
