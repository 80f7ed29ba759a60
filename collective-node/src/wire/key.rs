//! Who a node is on the wire, and whom TLS takes: one key, one pin, one version, one signature, one key agreement.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use collective::id::TransportPin;
use rand::CryptoRng;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::crypto::{CryptoProvider, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{
    CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, OtherError,
    PeerMisbehaved, ServerConfig, SignatureScheme,
};
use zeroize::Zeroizing;

use super::Allowed;

/// A node's key on the wire: Ed25519 (RFC 8032), made of a seed. Has no Debug, and no way to get the seed back.
pub struct TransportKey {
    certified: Arc<CertifiedKey>,
    pin: TransportPin,
}

impl TransportKey {
    /// The key of this seed; always the same one.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let der = Zeroizing::new([PKCS8_OF_A_SEED, seed.as_slice()].concat());
        let signing = aws_lc_rs::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(der.as_slice()))
            .expect("every 32 bytes are an Ed25519 seed");
        let spki = signing.public_key().expect("Ed25519 knows its public key");
        let pin = TransportPin::of(&spki);
        // RFC 7250, section 3: the SubjectPublicKeyInfo stands where a certificate would.
        let raw = CertificateDer::from(spki.to_vec());
        let certified = Arc::new(CertifiedKey::new(vec![raw], signing));
        Self { certified, pin }
    }

    /// A new key.
    pub fn random(rng: &mut impl CryptoRng) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(seed.as_mut_slice());
        Self::from_seed(&seed)
    }

    /// What NodeRegistry has to name for this key.
    pub fn pin(&self) -> TransportPin {
        self.pin
    }

    /// TLS towards the one peer whose key has this pin.
    pub(super) fn client_config(&self, expected: TransportPin) -> ClientConfig {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .expect(PROVIDER_FITS)
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(OnePeer { expected }))
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(
                self.certified.clone(),
            )));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_sni = false;
        config
    }

    /// TLS towards whoever shows an allowed key.
    pub(super) fn server_config(&self, allowed: Allowed) -> ServerConfig {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .expect(PROVIDER_FITS)
            .with_client_cert_verifier(Arc::new(AllowedPeers { allowed }))
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(
                self.certified.clone(),
            )));
        config.alpn_protocols = vec![ALPN.to_vec()];
        // A resumed session would skip the check of the key, which may have been rotated since.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config
    }
}

/// The peer showed another key than the one pinned.
#[derive(Debug)]
pub(super) struct AnotherKey(pub TransportPin);

impl fmt::Display for AnotherKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the key {} is not the expected one", self.0)
    }
}

impl Error for AnotherKey {}

/// The pin that our own verifier refused, where that is why a handshake failed.
pub(super) fn refused_pin(error: &std::io::Error) -> Option<TransportPin> {
    match tls_error(error)? {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(other))) => {
            other.downcast_ref().map(|AnotherKey(pin)| *pin)
        }
        _ => None,
    }
}

/// What TLS says, under whatever it is wrapped in.
pub(super) fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // The source of an I/O error is the source of what it wraps: one step too far.
        next = match error.downcast_ref::<std::io::Error>() {
            Some(wrapper) => wrapper.get_ref().map(|inner| inner as _),
            None => error.source(),
        };
    }
    None
}

#[derive(Debug)]
struct OnePeer {
    expected: TransportPin,
}

impl ServerCertVerifier for OnePeer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let expected = |pin: &TransportPin| *pin == self.expected;
        check_key(end_entity, intermediates, expected).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _key: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(tls12_is_off())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        check_signature(message, key, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

struct AllowedPeers {
    allowed: Allowed,
}

impl fmt::Debug for AllowedPeers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AllowedPeers")
    }
}

impl ClientCertVerifier for AllowedPeers {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let allowed = |pin: &TransportPin| (self.allowed)(pin);
        check_key(end_entity, intermediates, allowed).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _key: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(tls12_is_off())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        check_signature(message, key, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

fn check_key(
    key: &CertificateDer<'_>,
    more: &[CertificateDer<'_>],
    welcome: impl Fn(&TransportPin) -> bool,
) -> Result<(), rustls::Error> {
    if !more.is_empty() {
        return Err(CertificateError::BadEncoding.into());
    }
    let pin = TransportPin::of(key);
    if welcome(&pin) {
        return Ok(());
    }
    Err(CertificateError::Other(OtherError(Arc::new(AnotherKey(pin)))).into())
}

fn check_signature(
    message: &[u8],
    key: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, rustls::Error> {
    if signed.scheme != SignatureScheme::ED25519 {
        return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
    }
    let spki = SubjectPublicKeyInfoDer::from(key.as_ref());
    let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
    verify_tls13_signature_with_raw_key(message, &spki, signed, &algorithms)
}

fn tls12_is_off() -> rustls::Error {
    rustls::Error::General("TLS 1.2 is off".into())
}

/// All nodes run this code, so there is nothing to negotiate but the cipher, which the hardware decides.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        // Hybrid, as the stanzas are: who records the wire now learns nothing from a quantum computer later.
        kx_groups: vec![kx_group::X25519MLKEM768],
        ..aws_lc_rs::default_provider()
    })
}

const PROVIDER_FITS: &str = "the provider has suites and a key agreement of TLS 1.3";
const ALPN: &[u8] = b"http/1.1";

/// RFC 8410, section 7: everything of an Ed25519 private key in PKCS #8 that comes before the seed.
const PKCS8_OF_A_SEED: &[u8] = &[
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_key_of_rfc_8410() {
        // RFC 8410, section 10.3 (the seed) and 10.1 (its public key).
        let seed = "d4ee72dbf913584ad5b6d8f1f769f8ad3afe7c28cbf1d4fbe097a88f44755842";
        let spki = "302a300506032b657003210019bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1";
        let seed: [u8; 32] = alloy::hex::decode(seed)
            .expect("hex")
            .try_into()
            .expect("32 bytes");
        let spki = alloy::hex::decode(spki).expect("hex");
        assert_eq!(
            TransportKey::from_seed(&seed).pin(),
            TransportPin::of(&spki)
        );
    }

    #[test]
    fn random_keys_differ() {
        let mut rng = rand::rng();
        let (one, other) = (
            TransportKey::random(&mut rng),
            TransportKey::random(&mut rng),
        );
        assert_ne!(one.pin(), other.pin());
    }
}
