//! What a committee keeps of a retired ML-KEM key (SPEC "Renewal"): the secret ss_pq of every contribution that counts when
//! the key's time ends, wrapped to the new key. With the record kept and the old seed erased, what was revoked or had ended by
//! then stays closed for good, to all members together, too.
//!
//! Every member of the renewing epoch makes the same bytes from the same index. That its signature is due, and when the seed
//! may go, is the caller's to know.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256};
use alloy_sol_types::SolStruct;
use zeroize::Zeroizing;

use crate::contribution::domain;
use crate::id::sha256;
use crate::seal::hpke::MlKemSecret;
use crate::seal::symmetric::{self, Secret32, TAG_LEN, hkdf};
use crate::seal::tagged::{ML_KEM_CIPHERTEXT_LEN, MlKemKey};

pub use earlier::{EarlierKeys, Retired};

mod earlier;

/// Contributions in one record: 16 MiB, which travel in one message as a large ceremony does. A collective that comes
/// near cannot renew: its members refuse the ceremony.
pub const MAX_REWRAPPED: usize = 256 * 1024;

/// Longest record.
pub const MAX_RECORD_BYTES: usize =
    HEAD_LEN + ML_KEM_CIPHERTEXT_LEN + MAX_REWRAPPED * ENTRY_LEN + TAG_LEN;

const VERSION: u8 = 1;
const HEAD_LEN: usize = 1 + 8 + 20 + 20 + 8 + 8;
/// Name of the ephemeral point, and ss_pq.
const ENTRY_LEN: usize = 32 + 32;

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RewrapHead {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// NodeRegistry's address.
    pub node_registry: Address,
    /// Whose key it is.
    pub collective: Address,
    /// The renewing epoch.
    pub epoch: u64,
    /// Number of the block that decides what counts: the first one at or after the end of the old key's time.
    pub block: u64,
}

impl RewrapHead {
    fn to_bytes(self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend_from_slice(&self.chain_id.to_be_bytes());
        out.extend_from_slice(self.node_registry.as_slice());
        out.extend_from_slice(self.collective.as_slice());
        out.extend_from_slice(&self.epoch.to_be_bytes());
        out.extend_from_slice(&self.block.to_be_bytes());
        out
    }

    fn parse(bytes: &[u8; HEAD_LEN]) -> Option<Self> {
        fn part<const N: usize>(bytes: &[u8; HEAD_LEN], at: usize) -> [u8; N] {
            bytes[at..at + N].try_into().expect("the range has N bytes")
        }
        (bytes[0] == VERSION).then(|| Self {
            chain_id: u64::from_be_bytes(part(bytes, 1)),
            node_registry: Address::from(part(bytes, 9)),
            collective: Address::from(part(bytes, 29)),
            epoch: u64::from_be_bytes(part(bytes, 49)),
            block: u64::from_be_bytes(part(bytes, 57)),
        })
    }
}

/// Secrets of contributions by the names of their ephemeral points. Has no Debug.
#[derive(Default)]
pub struct Rewrapped(BTreeMap<[u8; 32], MlKemSecret>);

impl Rewrapped {
    /// Takes the secret of one contribution in.
    pub fn insert(&mut self, point: [u8; 32], secret: MlKemSecret) {
        self.0.insert(point, secret);
    }

    /// The secret of the contribution over this point.
    pub fn secret(&self, point: &[u8; 32]) -> Option<MlKemSecret> {
        let secret = self.0.get(point)?;
        Some(MlKemSecret::from_bytes(*secret.expose()))
    }

    /// Whether there is one.
    fn contains(&self, point: &[u8; 32]) -> bool {
        self.0.contains_key(point)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn to_table(&self) -> Zeroizing<Vec<u8>> {
        // All at once: a buffer that grows would leave copies behind.
        let mut table = Zeroizing::new(Vec::with_capacity(self.0.len() * ENTRY_LEN));
        for (point, secret) in &self.0 {
            table.extend_from_slice(point);
            table.extend_from_slice(secret.expose());
        }
        table
    }

    /// `None` unless the entries stand in rising order, each once.
    fn from_table(table: &[u8]) -> Option<Self> {
        let (entries, []) = table.as_chunks::<ENTRY_LEN>() else {
            return None;
        };
        let mut read = Self::default();
        for entry in entries {
            let (point, secret) = entry.split_at(32);
            let point: [u8; 32] = point.try_into().ok()?;
            if read
                .0
                .last_key_value()
                .is_some_and(|(last, _)| *last >= point)
            {
                return None;
            }
            let secret = MlKemSecret::from_bytes(secret.try_into().ok()?);
            read.0.insert(point, secret);
        }
        Some(read)
    }
}

/// The wrapped secrets. Public: only the new ML-KEM key opens it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RewrapRecord {
    head: RewrapHead,
    bytes: Vec<u8>,
}

impl RewrapRecord {
    /// Wraps `secrets` to the key `to`. The same arguments give the same bytes.
    ///
    /// # Errors
    /// [`RewrapError::TooMany`].
    pub fn make(
        head: RewrapHead,
        retired: &MlKemKey,
        to: &MlKemKey,
        secrets: &Rewrapped,
    ) -> Result<Self, RewrapError> {
        if secrets.len() > MAX_REWRAPPED {
            return Err(RewrapError::TooMany);
        }
        let mut bytes = head.to_bytes();
        let table = secrets.to_table();
        // The table's own hash: two tables under one head, which only differing indexes make, never share a key.
        let info = [COINS, &symmetric::sha256(&[&table])].concat();
        let coins = hkdf(
            &symmetric::sha256(&[&bytes]),
            retired.seed().as_slice(),
            &info,
        );
        let (ciphertext, shared) = to.encapsulate(&coins);
        bytes.extend_from_slice(&ciphertext);
        let sealed = symmetric::aead_seal(&table_key(&bytes, &shared), [0; 12], &bytes, &table);
        bytes.extend_from_slice(&sealed);
        Ok(Self { head, bytes })
    }

    /// Reads [`RewrapRecord::to_bytes`].
    ///
    /// # Errors
    /// [`RewrapError::Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, RewrapError> {
        let head = bytes.first_chunk().and_then(RewrapHead::parse);
        let table = bytes
            .len()
            .checked_sub(HEAD_LEN + ML_KEM_CIPHERTEXT_LEN + TAG_LEN);
        let whole = table.is_some_and(|table| table % ENTRY_LEN == 0);
        match head {
            Some(head) if whole && bytes.len() <= MAX_RECORD_BYTES => Ok(Self {
                head,
                bytes: bytes.to_vec(),
            }),
            _ => Err(RewrapError::Malformed),
        }
    }

    /// head ‖ ML-KEM ciphertext ‖ sealed table.
    pub fn to_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What it is about.
    pub fn head(&self) -> &RewrapHead {
        &self.head
    }

    /// SHA-256 of the bytes.
    pub fn digest(&self) -> B256 {
        sha256(&self.bytes)
    }

    /// What every member of the renewing epoch signs (EIP-712 in NodeRegistry's name; no contract reads it).
    pub fn signing_hash(&self) -> B256 {
        let typed = signed::Rewrap {
            collective: self.head.collective,
            epoch: self.head.epoch,
            record: self.digest(),
        };
        let head = &self.head;
        typed.eip712_signing_hash(&domain("NodeRegistry", head.chain_id, head.node_registry))
    }

    /// The secrets, with the new ML-KEM key.
    ///
    /// # Errors
    /// [`RewrapError::AnotherKey`] where it was not wrapped to this key, or was altered.
    pub fn open(&self, key: &MlKemKey) -> Result<Rewrapped, RewrapError> {
        let (head, sealed) = self.bytes.split_at(HEAD_LEN + ML_KEM_CIPHERTEXT_LEN);
        let ciphertext = head.last_chunk().expect("split behind the ciphertext");
        let shared = key.decapsulate(ciphertext);
        let table = symmetric::aead_open(&table_key(head, &shared), [0; 12], head, sealed);
        let table = table.ok_or(RewrapError::AnotherKey)?;
        Rewrapped::from_table(&table).ok_or(RewrapError::Malformed)
    }
}

const COINS: &[u8] = b"collective/v1/rewrap/coins";

/// Fresh for each encapsulation, so that its one nonce is zero. `head` includes the ciphertext.
fn table_key(head: &[u8], shared: &MlKemSecret) -> Secret32 {
    let salt = symmetric::sha256(&[head]);
    hkdf(&salt, shared.expose(), b"collective/v1/rewrap/table")
}

/// Why there is no record, or no secrets in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RewrapError {
    /// More contributions than one record has room for.
    #[error("more than {MAX_REWRAPPED} contributions would have to be wrapped anew")]
    TooMany,
    /// Not in the one form.
    #[error("not a record of contributions that were wrapped anew")]
    Malformed,
    /// Another key, or other bytes.
    #[error("the record is not wrapped to this key, or was altered")]
    AnotherKey,
}

mod signed {
    alloy_sol_types::sol! {
        struct Rewrap { address collective; uint64 epoch; bytes32 record; }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: RewrapHead = RewrapHead {
        chain_id: 31_337,
        node_registry: Address::repeat_byte(0x0d),
        collective: Address::repeat_byte(0xc0),
        epoch: 3,
        block: 77,
    };

    fn key(seed: u8) -> MlKemKey {
        MlKemKey::from_seed(&[seed; 64])
    }

    fn secrets(count: u8) -> Rewrapped {
        let mut secrets = Rewrapped::default();
        for n in 0..count {
            secrets.insert([n; 32], MlKemSecret::from_bytes([n ^ 0xff; 32]));
        }
        secrets
    }

    fn record(count: u8) -> RewrapRecord {
        RewrapRecord::make(HEAD, &key(1), &key(2), &secrets(count)).expect("a few")
    }

    #[test]
    fn everybody_makes_the_same_record_and_the_new_key_alone_opens_it() {
        let made = record(3);
        assert_eq!(made, record(3));
        let read = RewrapRecord::parse(made.to_bytes()).expect("our own");
        assert_eq!((&read, read.head()), (&made, &HEAD));
        let opened = read.open(&key(2)).expect("the new key");
        assert_eq!(opened.len(), 3);
        let secret = opened.secret(&[2; 32]).expect("it is in there");
        assert_eq!(secret.expose(), &[0xfd; 32]);
        assert!(opened.secret(&[3; 32]).is_none());
        for seed in [1, 3] {
            assert_eq!(read.open(&key(seed)).err(), Some(RewrapError::AnotherKey));
        }
    }

    /// SPEC "Renewal".
    #[test]
    fn the_vector_holds() {
        let digest = "0xae2076169ba92079a00fe851ce93db580897ea4954cbd5fce1b7895c60ce9357";
        let signed = "0xff8e17339b826dcbc9585d252432b5020771b702811cedba7b61714c6941ade2";
        let made = record(3);
        assert_eq!(
            (made.digest().to_string(), made.signing_hash().to_string()),
            (digest.to_owned(), signed.to_owned())
        );
    }

    #[test]
    fn other_content_has_another_key_and_no_bit_can_be_altered() {
        let ciphertext = |record: &RewrapRecord| {
            record.to_bytes()[HEAD_LEN..HEAD_LEN + ML_KEM_CIPHERTEXT_LEN].to_vec()
        };
        let made = record(3);
        assert_ne!(ciphertext(&made), ciphertext(&record(2)));
        let other = RewrapHead { block: 78, ..HEAD };
        let other = RewrapRecord::make(other, &key(1), &key(2), &secrets(3)).expect("a few");
        assert_ne!(ciphertext(&made), ciphertext(&other));
        for at in 0..made.to_bytes().len() {
            let mut bytes = made.to_bytes().to_vec();
            bytes[at] ^= 1;
            let opened = RewrapRecord::parse(&bytes).and_then(|record| record.open(&key(2)));
            assert!(opened.is_err(), "byte {at}");
        }
    }

    #[test]
    fn records_of_another_length_are_refused() {
        let bytes = record(1).to_bytes().to_vec();
        for length in [0, 1, HEAD_LEN, bytes.len() - ENTRY_LEN - 1, bytes.len() - 1] {
            assert_eq!(
                RewrapRecord::parse(&bytes[..length]).err(),
                Some(RewrapError::Malformed)
            );
        }
        assert!(RewrapRecord::parse(record(0).to_bytes()).is_ok());
        let long = vec![VERSION; MAX_RECORD_BYTES + ENTRY_LEN];
        assert_eq!(
            RewrapRecord::parse(&long).err(),
            Some(RewrapError::Malformed)
        );
    }

    #[test]
    fn a_table_has_one_order() {
        let entry = |n: u8| [n; ENTRY_LEN];
        let read = |entries: &[[u8; ENTRY_LEN]]| Rewrapped::from_table(entries.as_flattened());
        assert_eq!(read(&[entry(1), entry(2)]).map(|read| read.len()), Some(2));
        assert!(read(&[entry(2), entry(1)]).is_none());
        assert!(read(&[entry(1), entry(1)]).is_none());
    }
}
