//! The node's keys: the only module that holds key material.
//!
//! On disk they are one age file under a passphrase, which any age client opens in an emergency.
//! Made once, never overwritten.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use alloy::primitives::{Address, B256, Signature};
use alloy::providers::DynProvider;
use alloy::rpc::client::RpcClient;
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use collective::committee::{
    CombineError, KeyShare, OpenHeaderError, Quorum, ReleaseError, ShareCertificate, combine,
    open_header,
};
use collective::id::TransportPin;
use collective::limits::DEFAULT_SCRYPT_LOG_N;
use collective::seal::contribution::ContributionHeader;
use collective::seal::header::FileKey;
use collective::seal::passphrase::{self, Passphrase};
use collective::seal::tagged::{TaggedIdentity, TaggedRecipient};
use collective::seal::{self, Identity, OpenError, SealError};
use rand::CryptoRng;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::chain::{Chain, ChainError, Deployment, signing_provider};

/// Bytes of a key file: it holds three short strings.
const MAX_KEY_FILE: u64 = 16 * 1024;

/// Why keys could not be made or opened.
#[derive(Debug, Error)]
pub enum KeystoreError {
    /// There are keys already.
    #[error("{0} exists and is never overwritten: move it away if you mean to make new keys")]
    Exists(PathBuf),
    /// The file cannot be read or written.
    #[error("cannot access {path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The passphrase is wrong, or the file is none of ours.
    #[error("cannot open the key file: {0}; check the passphrase")]
    Closed(#[from] OpenError),
    /// It opened, and holds something else.
    #[error("the key file opened but does not hold a node's keys")]
    NotKeys,
    /// It could not be sealed.
    #[error("cannot seal the key file: {0}")]
    Seal(#[from] SealError),
}

/// Why a contribution stayed closed.
#[derive(Debug, Error)]
pub enum OpenContributionError {
    /// The share gives nothing for this header.
    #[error(transparent)]
    Release(#[from] ReleaseError),
    /// The quorum's answers do not combine.
    #[error(transparent)]
    Combine(#[from] CombineError),
    /// The file is broken.
    #[error(transparent)]
    Header(#[from] OpenHeaderError),
}

/// The keys of a node that is a committee of one: its own identity, its share of the collective's
/// key, and the account that signs. Has no Debug.
pub struct Keystore {
    node: TaggedRecipient,
    share: KeyShare,
    signer: PrivateKeySigner,
}

#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    format: String,
    node: String,
    collective: String,
    signer: String,
}

/// DER of a SubjectPublicKeyInfo with an Ed25519 key, up to the key's 32 bytes (RFC 8410 §4).
const ED25519_SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];

const FORMAT: &str = "collective/keys/v1";

impl Keystore {
    /// Makes keys and writes them under `passphrase`. The file is on the disk when this returns.
    ///
    /// # Errors
    /// [`KeystoreError::Exists`] rather than overwriting.
    pub fn create(
        path: &Path,
        passphrase: Zeroizing<String>,
        log_n: Option<u8>,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, KeystoreError> {
        let signer = PrivateKeySigner::from_bytes(&random_scalar(rng)).expect("a scalar in range");
        let file = KeyFile {
            format: FORMAT.into(),
            node: TaggedIdentity::random(rng).to_secret_string().to_string(),
            collective: TaggedIdentity::random(rng).to_secret_string().to_string(),
            signer: alloy::hex::encode(signer.to_bytes()),
        };
        let plain = Zeroizing::new(serde_json::to_vec(&file).expect("four strings"));
        let log_n = log_n.unwrap_or(DEFAULT_SCRYPT_LOG_N);
        let sealed = passphrase::seal(&Passphrase::new(passphrase), log_n, &plain, rng)?;
        write_new(path, &sealed)?;
        Self::parse(&plain)
    }

    /// Opens the keys at `path`.
    ///
    /// # Errors
    /// [`KeystoreError::Closed`] with a wrong passphrase.
    pub fn open(path: &Path, passphrase: Zeroizing<String>) -> Result<Self, KeystoreError> {
        let failed = |error| KeystoreError::File {
            path: path.to_owned(),
            error,
        };
        let length = std::fs::metadata(path).map_err(failed)?.len();
        if length > MAX_KEY_FILE {
            return Err(KeystoreError::NotKeys);
        }
        let sealed = std::fs::read(path).map_err(failed)?;
        let passphrase = Identity::Passphrase(Passphrase::new(passphrase));
        Self::parse(&Zeroizing::new(seal::open(&[passphrase], &sealed)?))
    }

    fn parse(plain: &[u8]) -> Result<Self, KeystoreError> {
        let file: KeyFile = serde_json::from_slice(plain).map_err(|_| KeystoreError::NotKeys)?;
        let (Ok(Identity::Tagged(node)), Ok(Identity::Tagged(collective)), Ok(signer)) = (
            file.node.parse(),
            file.collective.parse(),
            file.signer.parse(),
        ) else {
            return Err(KeystoreError::NotKeys);
        };
        if file.format != FORMAT {
            return Err(KeystoreError::NotKeys);
        }
        Ok(Self {
            node: node.recipient(),
            share: KeyShare::sole(collective, 1),
            signer,
        })
    }

    /// The node's own recipient, which NodeRegistry names.
    pub fn node_recipient(&self) -> &TaggedRecipient {
        &self.node
    }

    /// The collective's recipient, to which contributors seal.
    pub fn collective_recipient(&self) -> &TaggedRecipient {
        self.share.certificate().recipient()
    }

    /// The public shares of the collective's key.
    pub fn certificate(&self) -> &ShareCertificate {
        self.share.certificate()
    }

    /// Pin of the Ed25519 key that this node shows in TLS.
    pub fn transport_pin(&self) -> TransportPin {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.signer.to_bytes().as_slice());
        let seed = hmac::sign(&key, b"collective/transport/v1");
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_ref()).expect("a seed has 32 bytes");
        TransportPin::of(&[&ED25519_SPKI, pair.public_key().as_ref()].concat())
    }

    /// The account that signs batches, leases, releases and receipts.
    pub fn address(&self) -> Address {
        self.signer.address()
    }

    /// Signs a 32-byte digest (EIP-712 digests only; the caller made it from typed data).
    pub fn sign(&self, digest: B256) -> Signature {
        self.signer
            .sign_hash_sync(&digest)
            .expect("a local key signs any digest")
    }

    /// A provider that signs with this account.
    pub fn provider(&self, client: RpcClient) -> DynProvider {
        signing_provider(client, self.signer.clone())
    }

    /// A connection to the collective's chain that signs with this account.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn chain(
        &self,
        client: RpcClient,
        deployment: Deployment,
    ) -> Result<Chain, ChainError> {
        Chain::signer(client, deployment, self.signer.clone()).await
    }

    /// Key of the MAC under compiled programs: only forms that this node made are loaded.
    pub fn cache_key(&self) -> Zeroizing<[u8; 32]> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.signer.to_bytes().as_slice());
        let tag = hmac::sign(&key, b"collective/sandbox/cache/v1");
        Zeroizing::new(tag.as_ref().try_into().expect("HMAC-SHA256 has 32 bytes"))
    }

    /// The file key of one granted contribution: this member's partial, combined by the quorum of one.
    ///
    /// # Errors
    /// [`OpenContributionError`]; the contribution is then at fault, for a committee of one cannot
    /// blame another member.
    pub fn file_key(&self, header: &ContributionHeader) -> Result<FileKey, OpenContributionError> {
        let quorum = Quorum::new(self.share.certificate(), &[self.share.member()])
            .expect("the only member is the quorum");
        let release = self.share.release(&quorum, header)?;
        let dh = combine(&quorum, &[release.partial])?;
        let recipient = self.collective_recipient();
        Ok(open_header(
            recipient,
            header.header(),
            header.stanza(),
            &dh,
            release.ml_kem.as_ref(),
        )?)
    }
}

/// 32 random bytes below the order of secp256k1; one draw in 2^128 has to be repeated.
fn random_scalar(rng: &mut impl CryptoRng) -> B256 {
    loop {
        let mut bytes = Zeroizing::new([0; 32]);
        rng.fill_bytes(bytes.as_mut_slice());
        if PrivateKeySigner::from_slice(bytes.as_slice()).is_ok() {
            return B256::from(*bytes);
        }
    }
}

/// A new account for a person who holds its key in a file of their own.
pub fn random_account(rng: &mut impl CryptoRng) -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&random_scalar(rng)).expect("a scalar in range")
}

/// Writes a file that must not exist, for its owner only, and syncs it and its folder.
pub fn write_new(path: &Path, bytes: &[u8]) -> Result<(), KeystoreError> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => KeystoreError::Exists(path.to_owned()),
        _ => KeystoreError::File {
            path: path.to_owned(),
            error,
        },
    };
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(failed)?;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        std::fs::File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Option<u8> = Some(10);

    fn words(text: &str) -> Zeroizing<String> {
        Zeroizing::new(text.into())
    }

    #[test]
    fn keys_come_back_with_the_passphrase_and_only_with_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("keys.age");
        let made =
            Keystore::create(&path, words("right"), QUICK, &mut rand::rng()).expect("new keys");
        let opened = Keystore::open(&path, words("right")).expect("the same keys");
        assert_eq!(opened.address(), made.address());
        assert_eq!(opened.collective_recipient(), made.collective_recipient());
        assert_eq!(opened.transport_pin(), made.transport_pin());
        assert!(matches!(
            Keystore::open(&path, words("wrong")),
            Err(KeystoreError::Closed(
                OpenError::NoMatch | OpenError::Stanza(_)
            ))
        ));
    }

    #[test]
    fn keys_are_never_overwritten() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("keys.age");
        Keystore::create(&path, words("one"), QUICK, &mut rand::rng()).expect("new keys");
        let before = std::fs::read(&path).expect("the file");
        let again = Keystore::create(&path, words("two"), QUICK, &mut rand::rng());
        assert!(matches!(again, Err(KeystoreError::Exists(_))));
        assert_eq!(std::fs::read(&path).expect("the file"), before);
    }
}
