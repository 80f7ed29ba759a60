//! The node's keys: the only module that holds key material.
//!
//! On disk they are one age file under a passphrase, which any age client opens in an emergency, and
//! beside it one file for each share of the collective's key and one for each ceremony that is under
//! way, sealed to the node's own identity. Keys and shares are made once, never overwritten.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use alloy::primitives::{Address, B256, Signature};
use alloy::providers::DynProvider;
use alloy::rpc::client::RpcClient;
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use aws_lc_rs::hmac;
use collective::committee::KeyShare;
use collective::committee::ceremony::ask::Ask;
use collective::committee::ceremony::certify::Confirmed;
use collective::committee::ceremony::participant::{Answered, Keys};
use collective::committee::ceremony::plan::{Kind, Plan};
use collective::id::NodeId;
use collective::limits::DEFAULT_SCRYPT_LOG_N;
use collective::seal::curve::Point;
use collective::seal::passphrase::{self, Passphrase};
use collective::seal::tagged::{MlKemKey, TaggedIdentity, TaggedRecipient};
use collective::seal::{self, Identity, OpenError, Recipient, SealError};
use rand::CryptoRng;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::chain::{Account, Chain, ChainError, Deployment};
use crate::wire::TransportKey;

pub use ceremonies::{Ceremonies, TakePartError};
pub use renewals::{MAX_SIGNED_RECORD_BYTES, Renewals, SignedRecord};
pub use shares::Shares;

mod ceremonies;
mod renewals;
pub mod shares;

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
    /// It opened, and holds something else.
    #[error("{0} opened but holds no share of a collective's key: restore it from a backup")]
    NotAShare(PathBuf),
    /// It holds something else.
    #[error(
        "{0} holds nothing of a renewal: move it away, and have the record handed over anew with `collective committee refresh`"
    )]
    NotARenewal(PathBuf),
    /// It could not be sealed.
    #[error("cannot seal the key file: {0}")]
    Seal(#[from] SealError),
}

/// The keys of a node: its own identity, the account that signs, the key it shows other nodes, and its
/// shares of the collective's key. Has no Debug.
pub struct Keystore {
    node: TaggedRecipient,
    identity: Identity,
    signer: PrivateKeySigner,
    account: Account,
    transport: Zeroizing<[u8; 32]>,
    shares: Shares,
    ceremonies: Ceremonies,
    renewals: Renewals,
}

#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    format: String,
    node: String,
    signer: String,
    transport: String,
}

const FORMAT: &str = "collective/keys/v2";

impl Keystore {
    /// Makes a node's keys, without a share of anything, and writes them under `passphrase`. The file is on
    /// the disk when this returns.
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
        let mut transport = Zeroizing::new([0; 32]);
        rng.fill_bytes(transport.as_mut_slice());
        let file = KeyFile {
            format: FORMAT.into(),
            node: TaggedIdentity::random(rng).to_secret_string().to_string(),
            signer: alloy::hex::encode(signer.to_bytes()),
            transport: alloy::hex::encode(transport.as_slice()),
        };
        let plain = Zeroizing::new(serde_json::to_vec(&file).expect("four strings"));
        let log_n = log_n.unwrap_or(DEFAULT_SCRYPT_LOG_N);
        let sealed = passphrase::seal(&Passphrase::new(passphrase), log_n, &plain, rng)?;
        write_new(path, &sealed)?;
        Self::parse(&plain, path)
    }

    /// Makes the only share of a committee of one: the collective's whole key, in epoch 1.
    ///
    /// # Errors
    /// [`KeystoreError::Exists`] where a share of that epoch is kept.
    pub fn make_sole_share(
        &self,
        rng: &mut impl CryptoRng,
    ) -> Result<Arc<KeyShare>, KeystoreError> {
        self.keep_share(KeyShare::sole(TaggedIdentity::random(rng), 1), rng)
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
        Self::parse(&Zeroizing::new(seal::open(&[passphrase], &sealed)?), path)
    }

    fn parse(plain: &[u8], path: &Path) -> Result<Self, KeystoreError> {
        let file: KeyFile = serde_json::from_slice(plain).map_err(|_| KeystoreError::NotKeys)?;
        let mut transport = Zeroizing::new([0; 32]);
        let (Ok(Identity::Tagged(node)), Ok(signer), Ok(())) = (
            file.node.parse(),
            file.signer.parse::<PrivateKeySigner>(),
            alloy::hex::decode_to_slice(&file.transport, transport.as_mut_slice()),
        ) else {
            return Err(KeystoreError::NotKeys);
        };
        if file.format != FORMAT {
            return Err(KeystoreError::NotKeys);
        }
        let recipient = node.recipient();
        let identity = Identity::Tagged(node);
        Ok(Self {
            shares: Shares::open(path.with_extension("shares"), &identity)?,
            ceremonies: Ceremonies::in_folder(path.with_extension("ceremonies")),
            renewals: Renewals::open(path.with_extension("renewals"), &identity)?,
            node: recipient,
            identity,
            account: Account::new(signer.clone()),
            signer,
            transport,
        })
    }

    /// The node's own recipient, which NodeRegistry names.
    pub fn node_recipient(&self) -> &TaggedRecipient {
        &self.node
    }

    /// The shares of the collective's key.
    pub fn shares(&self) -> &Shares {
        &self.shares
    }

    /// Keeps a share; see [`Shares::keep`].
    ///
    /// # Errors
    /// [`KeystoreError`].
    pub fn keep_share(
        &self,
        share: KeyShare,
        rng: &mut impl CryptoRng,
    ) -> Result<Arc<KeyShare>, KeystoreError> {
        self.shares
            .keep(share, Recipient::Tagged(self.node.clone()), rng)
    }

    /// Answers an ask of a ceremony as `node`, which these keys are of. That the plan may be followed has been checked
    /// before; what the answer binds the node to is on the disk when this returns.
    ///
    /// # Errors
    /// [`TakePartError`].
    pub fn take_part(
        &self,
        plan: &Arc<Plan>,
        node: NodeId,
        ask: &Ask,
        rng: &mut impl CryptoRng,
    ) -> Result<Answered, TakePartError> {
        let share = match &plan.proposal().kind {
            Kind::Generate { .. } => None,
            Kind::Reshare { from, .. } => self.shares.of(from.epoch()),
        };
        let keys = Keys {
            identity: &self.identity,
            share: share.as_deref(),
            sign: &|digest| self.sign(digest),
        };
        let to = Recipient::Tagged(self.node.clone());
        self.ceremonies.answer(plan, node, ask, &keys, &to, rng)
    }

    /// The shares that this node has certified for an epoch; see [`Ceremonies`].
    ///
    /// # Errors
    /// [`TakePartError`].
    pub fn certified_shares(&self, epoch: u64) -> Result<Vec<Confirmed>, TakePartError> {
        self.ceremonies.certified(epoch, &self.identity)
    }

    /// Erases what is kept of ceremonies that ended with something of the key with this recipient digest.
    ///
    /// # Errors
    /// [`TakePartError`].
    pub fn erase_certified_with(&self, recipient: &[u8; 32]) -> Result<(), TakePartError> {
        self.ceremonies.erase_with_key(recipient, &self.identity)
    }

    /// What is kept of ceremonies.
    pub fn ceremonies(&self) -> &Ceremonies {
        &self.ceremonies
    }

    /// What is kept of renewals.
    pub fn renewals(&self) -> &Renewals {
        &self.renewals
    }

    /// Keeps the ML-KEM key that `epoch` renews, beside the P-256 key `point` it belonged to, until what is sealed to it is
    /// wrapped anew.
    ///
    /// # Errors
    /// [`KeystoreError`].
    pub fn keep_old_seed(
        &self,
        epoch: u64,
        key: MlKemKey,
        point: &Point,
        rng: &mut impl CryptoRng,
    ) -> Result<(), KeystoreError> {
        let to = Recipient::Tagged(self.node.clone());
        self.renewals.keep_seed(epoch, key, point, &to, rng)
    }

    /// What opens answers that are sealed to this node.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The key that this node shows other nodes; NodeRegistry pins it.
    pub fn transport_key(&self) -> TransportKey {
        TransportKey::from_seed(&self.transport)
    }

    /// Opens what somebody sealed to this node.
    ///
    /// # Errors
    /// [`OpenError`]; the sender is at fault.
    pub fn open_sealed(&self, file: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        seal::open(std::slice::from_ref(&self.identity), file).map(Zeroizing::new)
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
        self.account.provider(client)
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
        Chain::signer(client, deployment, &self.account).await
    }

    /// Key of the MAC under compiled programs: only forms that this node made are loaded.
    pub fn cache_key(&self) -> Zeroizing<[u8; 32]> {
        self.derived(b"collective/sandbox/cache/v1")
    }

    /// Key of the MACs over what queries told: only rows that this node kept count, and in their places.
    pub fn told_key(&self) -> Zeroizing<[u8; 32]> {
        self.derived(b"collective/told/v1")
    }

    fn derived(&self, purpose: &[u8]) -> Zeroizing<[u8; 32]> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.signer.to_bytes().as_slice());
        let tag = hmac::sign(&key, purpose);
        Zeroizing::new(tag.as_ref().try_into().expect("HMAC-SHA256 has 32 bytes"))
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

/// Extension of a file that is being written in the place of another.
const NEXT: &str = "next";

/// Puts other bytes in a file's place at once: after a crash it has the old ones or the new ones.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), KeystoreError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| KeystoreError::File { path, error }
    };
    shares::erase_unfinished(path)?;
    let next = path.with_extension(NEXT);
    write_new(&next, bytes)?;
    std::fs::rename(&next, path).map_err(failed(path))?;
    let folder = path.parent().expect("the file lies in a folder");
    let synced = std::fs::File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(failed(folder))
}

#[cfg(test)]
mod tests {
    use super::*;
    use collective::seal::tagged::MlKemKey;

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
        let share = made.make_sole_share(&mut rand::rng()).expect("a share");
        let opened = Keystore::open(&path, words("right")).expect("the same keys");
        assert_eq!(opened.address(), made.address());
        let kept = opened.shares().newest().expect("the share");
        assert_eq!(kept.certificate(), share.certificate());
        assert!(matches!(
            Keystore::open(&path, words("wrong")),
            Err(KeystoreError::Closed(
                OpenError::NoMatch | OpenError::Stanza(_)
            ))
        ));
    }

    #[test]
    fn a_share_is_never_overwritten_and_is_gone_when_it_is_erased() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("keys.age");
        let keys = Keystore::create(&path, words("one"), QUICK, &mut rand::rng()).expect("keys");
        keys.make_sole_share(&mut rand::rng()).expect("a share");
        assert!(matches!(
            keys.make_sole_share(&mut rand::rng()),
            Err(KeystoreError::Exists(_))
        ));
        keys.shares().erase(1).expect("erased");
        let opened = Keystore::open(&path, words("one")).expect("the keys");
        assert!(opened.shares().newest().is_none());
    }

    #[test]
    fn zeros_that_a_power_cut_left_of_a_share_or_a_ceremony_are_removed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("keys.age");
        let keys = Keystore::create(&path, words("one"), QUICK, &mut rand::rng()).expect("keys");
        keys.make_sole_share(&mut rand::rng()).expect("a share");
        let share = folder.path().join("keys.shares/epoch-1.age");
        let ceremony = folder.path().join("keys.ceremonies/epoch-2-ab.age");
        std::fs::create_dir_all(ceremony.parent().expect("a folder")).expect("a folder");
        for file in [&share, &ceremony] {
            std::fs::write(file, [0; 64]).expect("zeros");
        }
        let opened = Keystore::open(&path, words("one")).expect("the keys");
        assert!(opened.shares().newest().is_none() && !share.exists());
        assert!(opened.certified_shares(2).expect("none").is_empty());
        assert!(!ceremony.exists());
        // One that lost its content in any other way is told of.
        std::fs::write(&share, []).expect("an empty file");
        assert!(Keystore::open(&path, words("one")).is_err());
    }

    #[test]
    fn an_old_seed_that_was_not_written_as_a_whole_is_not_taken_for_an_erased_one() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("keys.age");
        let keys = Keystore::create(&path, words("one"), QUICK, &mut rand::rng()).expect("keys");
        let share = keys.make_sole_share(&mut rand::rng()).expect("a share");
        let point = share.certificate().recipient().point();
        let old = || MlKemKey::from_seed(&[1; 64]);
        let keep = |keys: &Keystore| keys.keep_old_seed(2, old(), point, &mut rand::rng());
        let seed = folder.path().join("keys.renewals/epoch-2.seed.age");
        std::fs::create_dir_all(seed.parent().expect("a folder")).expect("a folder");
        std::fs::write(seed.with_extension("next"), [1; 7]).expect("what a crash left");
        keep(&keys).expect("kept");
        let opened = Keystore::open(&path, words("one")).expect("the keys");
        assert_eq!(opened.renewals().with_seed(), [2]);
        std::fs::write(&seed, []).expect("a torn file");
        assert!(Keystore::open(&path, words("one")).is_err());
        std::fs::write(&seed, [0; 64]).expect("zeros");
        let opened = Keystore::open(&path, words("one")).expect("the keys");
        assert_eq!(opened.renewals().wiped(), [2]);
    }

    #[test]
    fn what_a_crash_left_half_written_of_a_ceremony_is_erased_with_any() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("keys.age");
        let keys = Keystore::create(&path, words("one"), QUICK, &mut rand::rng()).expect("keys");
        let left = folder.path().join("keys.ceremonies/epoch-9-ab.next");
        std::fs::create_dir_all(left.parent().expect("a folder")).expect("a folder");
        let leave = || std::fs::write(&left, [1; 64]).expect("left");
        leave();
        keys.ceremonies().erase_through(3).expect("erased");
        assert!(!left.exists());
        leave();
        keys.erase_certified_with(&[0; 32]).expect("erased");
        assert!(!left.exists());
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
