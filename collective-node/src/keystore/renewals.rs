//! What a node keeps of the renewals of the collective's ML-KEM key: the old seed while it is needed, and the record of what
//! was wrapped anew, one file of each an epoch.
//!
//! A seed is sealed to the node's own identity and erased in two steps: zeros first, and the file removed only when the log
//! says so. Zeros that are found at a start tell that the line is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use alloy::primitives::{Address, Signature};
use collective::committee::rewrap::{MAX_RECORD_BYTES, Retired, RewrapRecord};
use collective::limits::MAX_MEMBERS;
use collective::seal::curve::{COMPRESSED_LEN, Point};
use collective::seal::tagged::{ML_KEM_SEED_LEN, MlKemKey};
use collective::seal::{self, Identity, Recipient};
use rand::CryptoRng;
use zeroize::Zeroizing;

use super::shares::{erase_unfinished, is_wiped, remove, wipe};
use super::{KeystoreError, replace};

/// Bytes of a sealed seed.
const MAX_SEED_FILE: u64 = 16 * 1024;

/// Bytes of a signature.
const SIGNATURE: usize = 65;

/// Longest [`SignedRecord`].
pub const MAX_SIGNED_RECORD_BYTES: usize = 2 + SIGNATURE * MAX_MEMBERS as usize + MAX_RECORD_BYTES;

const SEED: &str = ".seed.age";
const RECORD: &str = ".record";

/// A record with signatures of members of its epoch under it, by whom it does not say: each names its signer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedRecord {
    /// The record.
    pub record: RewrapRecord,
    /// Signatures under [`RewrapRecord::signing_hash`], at most one of each member.
    pub signatures: Vec<Signature>,
}

impl SignedRecord {
    /// count (2) ‖ signatures ‖ record, as it is kept and travels (SPEC "Renewal").
    pub fn to_bytes(&self) -> Vec<u8> {
        let count = u16::try_from(self.signatures.len()).expect("at most one of each member");
        let mut out = count.to_be_bytes().to_vec();
        for signature in &self.signatures {
            out.extend_from_slice(&signature.as_bytes());
        }
        out.extend_from_slice(self.record.to_bytes());
        out
    }

    /// With the first signature of each signer alone.
    fn once_each(self) -> Self {
        let mut known = BTreeSet::new();
        self.retain(|signer| known.insert(signer))
    }

    /// With the signatures of these accounts alone, the first of each.
    pub fn signed_by(self, accounts: impl IntoIterator<Item = Address>) -> Self {
        let mut open: BTreeSet<Address> = accounts.into_iter().collect();
        self.retain(|signer| open.remove(&signer))
    }

    fn retain(mut self, mut keeps: impl FnMut(Address) -> bool) -> Self {
        let hash = self.record.signing_hash();
        let mut counts = |signature: &Signature| {
            let signer = signature.recover_address_from_prehash(&hash);
            signer.is_ok_and(&mut keeps)
        };
        self.signatures.retain(&mut counts);
        self
    }

    /// Reads [`SignedRecord::to_bytes`]. Whose the signatures are is for the caller to check.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (count, rest) = bytes.split_first_chunk::<2>()?;
        let count = u16::from_be_bytes(*count);
        if count > MAX_MEMBERS {
            return None;
        }
        let (signatures, record) = rest.split_at_checked(SIGNATURE * usize::from(count))?;
        let (signatures, _) = signatures.as_chunks::<SIGNATURE>();
        let signatures = signatures.iter().map(|bytes| Signature::from_raw(bytes));
        Some(Self {
            signatures: signatures.collect::<Result<_, _>>().ok()?,
            record: RewrapRecord::parse(record).ok()?,
        })
    }
}

/// An old seed on the disk.
enum Seed {
    Kept(Arc<Retired>),
    /// Zeros: gone, and the log does not say it yet.
    Wiped,
}

#[derive(Default)]
struct Kept {
    seeds: BTreeMap<u64, Seed>,
    records: BTreeMap<u64, Arc<SignedRecord>>,
}

/// The renewals in one folder, by the epochs that renewed.
pub struct Renewals {
    folder: PathBuf,
    kept: RwLock<Kept>,
}

impl Renewals {
    /// Opens everything in `folder`, which need not be there.
    ///
    /// # Errors
    /// [`KeystoreError`] where a file does not open: nothing is passed over in silence.
    pub(super) fn open(folder: PathBuf, identity: &Identity) -> Result<Self, KeystoreError> {
        let mut kept = Kept::default();
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => vec![],
            entries => entries
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(failed(&folder))?,
        };
        for path in entries.into_iter().map(|entry| entry.path()) {
            if let Some(epoch) = epoch_of(&path, SEED) {
                kept.seeds.insert(epoch, read_seed(&path, identity)?);
            } else if let Some(epoch) = epoch_of(&path, RECORD) {
                kept.records.insert(epoch, Arc::new(read_record(&path)?));
            }
        }
        let kept = RwLock::new(kept);
        Ok(Self { folder, kept })
    }

    /// Keeps the ML-KEM key that `epoch` renews, which belonged to the P-256 key `point`. It is on the disk when this
    /// returns. Keeping it again does nothing; one of another ceremony for the same epoch makes room.
    ///
    /// # Errors
    /// [`KeystoreError`].
    pub(super) fn keep_seed(
        &self,
        epoch: u64,
        key: MlKemKey,
        point: &Point,
        to: &Recipient,
        rng: &mut impl CryptoRng,
    ) -> Result<(), KeystoreError> {
        let retired = Arc::new(Retired::new(key, point.clone()));
        match self.retired(epoch) {
            Some(kept) if kept.recipient() == retired.recipient() => return Ok(()),
            Some(_) => {
                self.wipe_seed(epoch)?;
                self.forget_seed(epoch)?;
            }
            None => {}
        }
        let mut plain = Zeroizing::new(Vec::with_capacity(ML_KEM_SEED_LEN + COMPRESSED_LEN));
        plain.extend_from_slice(retired.key().seed().as_slice());
        plain.extend_from_slice(&point.compressed());
        fs::create_dir_all(&self.folder).map_err(failed(&self.folder))?;
        let sealed = seal::seal(std::slice::from_ref(to), &plain, rng)?;
        replace(&self.path(epoch, SEED), &sealed)?;
        self.write().seeds.insert(epoch, Seed::Kept(retired));
        Ok(())
    }

    /// The ML-KEM key that `epoch` renewed, while it is kept.
    pub fn retired(&self, epoch: u64) -> Option<Arc<Retired>> {
        match self.read().seeds.get(&epoch)? {
            Seed::Kept(retired) => Some(retired.clone()),
            Seed::Wiped => None,
        }
    }

    /// Epochs whose old seed is kept, oldest first.
    pub fn with_seed(&self) -> Vec<u64> {
        let kept = self.read();
        let seeds = kept.seeds.iter();
        let here = seeds.filter(|(_, seed)| matches!(seed, Seed::Kept(_)));
        here.map(|(&epoch, _)| epoch).collect()
    }

    /// Epochs whose old seed is zeros.
    pub fn wiped(&self) -> Vec<u64> {
        let kept = self.read();
        let seeds = kept.seeds.iter();
        let gone = seeds.filter(|(_, seed)| matches!(seed, Seed::Wiped));
        gone.map(|(&epoch, _)| epoch).collect()
    }

    /// Overwrites the old seed that `epoch` renewed with zeros.
    ///
    /// # Errors
    /// [`KeystoreError::File`].
    pub fn wipe_seed(&self, epoch: u64) -> Result<(), KeystoreError> {
        let path = self.path(epoch, SEED);
        erase_unfinished(&path)?;
        wipe(&path)?;
        self.write().seeds.insert(epoch, Seed::Wiped);
        Ok(())
    }

    /// Removes the zeros.
    ///
    /// # Errors
    /// [`KeystoreError::File`].
    pub fn forget_seed(&self, epoch: u64) -> Result<(), KeystoreError> {
        remove(&self.path(epoch, SEED))?;
        self.write().seeds.remove(&epoch);
        Ok(())
    }

    /// The record of a renewal.
    pub fn record(&self, epoch: u64) -> Option<Arc<SignedRecord>> {
        self.read().records.get(&epoch).cloned()
    }

    /// Keeps a record. It is on the disk as a whole when this returns. Another one that is kept already stays; the same one
    /// gains the signatures that it lacked. Whose they are the caller has checked.
    ///
    /// # Errors
    /// [`KeystoreError`].
    pub fn keep_record(&self, mut record: SignedRecord) -> Result<(), KeystoreError> {
        let epoch = record.record.head().epoch;
        if let Some(kept) = self.record(epoch) {
            if kept.record != record.record {
                return Ok(());
            }
            record.signatures.splice(..0, kept.signatures.clone());
            record = record.once_each();
            if record.signatures.len() == kept.signatures.len() {
                return Ok(());
            }
        }
        fs::create_dir_all(&self.folder).map_err(failed(&self.folder))?;
        replace(&self.path(epoch, RECORD), &record.to_bytes())?;
        self.write().records.insert(epoch, Arc::new(record));
        Ok(())
    }

    /// Removes the records of renewals before this one: what they have is in its record.
    ///
    /// # Errors
    /// [`KeystoreError::File`].
    pub fn forget_records_before(&self, epoch: u64) -> Result<(), KeystoreError> {
        let old: Vec<u64> = self
            .read()
            .records
            .range(..epoch)
            .map(|(&of, _)| of)
            .collect();
        for epoch in old {
            let path = self.path(epoch, RECORD);
            fs::remove_file(&path).map_err(failed(&path))?;
            self.write().records.remove(&epoch);
        }
        Ok(())
    }

    fn path(&self, epoch: u64, kind: &str) -> PathBuf {
        self.folder.join(format!("epoch-{epoch}{kind}"))
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Kept> {
        self.kept.read().expect("nobody panics with the renewals")
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Kept> {
        self.kept.write().expect("nobody panics with the renewals")
    }
}

fn read_seed(path: &Path, identity: &Identity) -> Result<Seed, KeystoreError> {
    let sealed = read_at_most(path, MAX_SEED_FILE)?;
    if is_wiped(&sealed) {
        return Ok(Seed::Wiped);
    }
    let plain = Zeroizing::new(seal::open(std::slice::from_ref(identity), &sealed)?);
    let retired = plain.split_first_chunk().and_then(|(seed, point)| {
        let point = Point::from_compressed(point).ok()?;
        Some(Retired::new(MlKemKey::from_seed(seed), point))
    });
    let retired = retired.ok_or_else(|| KeystoreError::NotARenewal(path.to_owned()))?;
    Ok(Seed::Kept(Arc::new(retired)))
}

fn read_record(path: &Path) -> Result<SignedRecord, KeystoreError> {
    let bytes = read_at_most(path, MAX_SIGNED_RECORD_BYTES as u64)?;
    SignedRecord::parse(&bytes).ok_or_else(|| KeystoreError::NotARenewal(path.to_owned()))
}

fn read_at_most(path: &Path, length: u64) -> Result<Vec<u8>, KeystoreError> {
    if fs::metadata(path).map_err(failed(path))?.len() > length {
        return Err(KeystoreError::NotARenewal(path.to_owned()));
    }
    fs::read(path).map_err(failed(path))
}

/// The epoch in a file's name; `None` for what is no file of this kind, such as one that was being written.
fn epoch_of(path: &Path, kind: &str) -> Option<u64> {
    let name = path.file_name()?.to_str()?.strip_suffix(kind)?;
    name.strip_prefix("epoch-")?.parse().ok()
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> KeystoreError {
    let path = path.to_owned();
    move |error| KeystoreError::File {
        path: path.clone(),
        error,
    }
}
