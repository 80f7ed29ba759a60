//! A node's shares of the collective's key: one file an epoch, each sealed to the node's own identity.
//!
//! A file is made once and never overwritten. It is erased when a newer epoch is final on chain; what a
//! disk or a backup still holds of it afterwards is why an epoch change does not undo the past.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use collective::committee::KeyShare;
use collective::seal::{self, Identity, Recipient};
use rand::CryptoRng;
use zeroize::Zeroizing;

use super::{KeystoreError, NEXT, replace, write_new};

/// Bytes of a share file: a certificate of the largest committee takes 4 KiB.
const MAX_SHARE_FILE: u64 = 64 * 1024;

/// The shares in one folder.
pub struct Shares {
    folder: PathBuf,
    by_epoch: RwLock<BTreeMap<u64, Arc<KeyShare>>>,
}

impl Shares {
    /// Opens every share in `folder`, which need not be there.
    ///
    /// # Errors
    /// [`KeystoreError`] where a file does not open: nothing is passed over in silence.
    pub fn open(folder: PathBuf, identity: &Identity) -> Result<Self, KeystoreError> {
        let mut by_epoch = BTreeMap::new();
        let failed = |path: &Path, error| KeystoreError::File {
            path: path.to_owned(),
            error,
        };
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries.collect::<Result<Vec<_>, _>>(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(vec![]),
            Err(error) => Err(error),
        };
        for entry in entries.map_err(|error| failed(&folder, error))? {
            let path = entry.path();
            if path.extension().is_none_or(|extension| extension != "age") {
                continue;
            }
            let sealed = read_sealed(&path)?;
            if is_wiped(&sealed) {
                // The power went before the erased file was gone.
                remove(&path)?;
                continue;
            }
            let share = open_share(&path, &sealed, identity)?;
            by_epoch.insert(share.certificate().epoch(), Arc::new(share));
        }
        Ok(Self {
            folder,
            by_epoch: RwLock::new(by_epoch),
        })
    }

    /// The share of an epoch.
    pub fn of(&self, epoch: u64) -> Option<Arc<KeyShare>> {
        self.read().get(&epoch).cloned()
    }

    /// All of them, oldest first.
    pub fn all(&self) -> Vec<Arc<KeyShare>> {
        self.read().values().cloned().collect()
    }

    /// The share of the newest epoch, whether the collective has accepted that or not.
    pub fn newest(&self) -> Option<Arc<KeyShare>> {
        self.read().values().next_back().cloned()
    }

    /// Keeps a share; it is on the disk when this returns. Keeping the same one again does nothing.
    ///
    /// # Errors
    /// [`KeystoreError::Exists`] where another share of this epoch is kept.
    pub fn keep(
        &self,
        share: KeyShare,
        to: Recipient,
        rng: &mut impl CryptoRng,
    ) -> Result<Arc<KeyShare>, KeystoreError> {
        let epoch = share.certificate().epoch();
        let path = self.path(epoch);
        if let Some(kept) = self.of(epoch) {
            let same = kept.certificate() == share.certificate() && kept.member() == share.member();
            return if same {
                Ok(kept)
            } else {
                Err(KeystoreError::Exists(path))
            };
        }
        // Another process may have kept one since these were opened.
        if path.exists() {
            return Err(KeystoreError::Exists(path));
        }
        std::fs::create_dir_all(&self.folder).map_err(|error| KeystoreError::File {
            path: self.folder.clone(),
            error,
        })?;
        replace(&path, &seal::seal(&[to], &share.to_bytes(), rng)?)?;
        let share = Arc::new(share);
        self.write().insert(epoch, share.clone());
        Ok(share)
    }

    /// Erases the share of an epoch.
    ///
    /// # Errors
    /// [`KeystoreError::File`].
    pub fn erase(&self, epoch: u64) -> Result<(), KeystoreError> {
        let path = self.path(epoch);
        erase_unfinished(&path)?;
        erase(&path)?;
        self.write().remove(&epoch);
        Ok(())
    }

    fn path(&self, epoch: u64) -> PathBuf {
        self.folder.join(format!("epoch-{epoch}.age"))
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<u64, Arc<KeyShare>>> {
        self.by_epoch.read().expect("nobody panics with the shares")
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<u64, Arc<KeyShare>>> {
        self.by_epoch
            .write()
            .expect("nobody panics with the shares")
    }
}

/// Seals a copy of a share to somebody, in a file that must not exist.
///
/// # Errors
/// [`KeystoreError::Exists`] rather than overwriting.
pub fn back_up(
    share: &KeyShare,
    path: &Path,
    to: &Recipient,
    rng: &mut impl CryptoRng,
) -> Result<(), KeystoreError> {
    let sealed = seal::seal(std::slice::from_ref(to), &share.to_bytes(), rng)?;
    write_new(path, &sealed)
}

/// Opens one share file: of this folder, or an offline backup.
///
/// # Errors
/// [`KeystoreError`].
pub fn read(path: &Path, identity: &Identity) -> Result<KeyShare, KeystoreError> {
    open_share(path, &read_sealed(path)?, identity)
}

fn read_sealed(path: &Path) -> Result<Vec<u8>, KeystoreError> {
    if std::fs::metadata(path).map_err(failed(path))?.len() > MAX_SHARE_FILE {
        return Err(KeystoreError::NotAShare(path.to_owned()));
    }
    std::fs::read(path).map_err(failed(path))
}

fn open_share(path: &Path, sealed: &[u8], identity: &Identity) -> Result<KeyShare, KeystoreError> {
    let plain = Zeroizing::new(seal::open(std::slice::from_ref(identity), sealed)?);
    KeyShare::parse(&plain).map_err(|_| KeystoreError::NotAShare(path.to_owned()))
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> KeystoreError {
    let path = path.to_owned();
    move |error| KeystoreError::File {
        path: path.clone(),
        error,
    }
}

/// Overwrites a file with zeros, then removes it. Journals and flash may keep what was there.
pub(super) fn erase(path: &Path) -> Result<(), KeystoreError> {
    wipe(path)?;
    remove(path)
}

/// Erases what a crash in [`super::replace`] left beside a file: nothing that it binds the node to has left it.
pub(super) fn erase_unfinished(path: &Path) -> Result<(), KeystoreError> {
    let next = path.with_extension(NEXT);
    match next.exists() {
        true => erase(&next),
        false => Ok(()),
    }
}

/// Removes a file, which another process that opened the same keys may have done, so that it stays away after a power cut.
pub(super) fn remove(path: &Path) -> Result<(), KeystoreError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(failed(path)(error));
        }
        _ => {}
    }
    let folder = path.parent().expect("the file lies in a folder");
    let synced = std::fs::File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(failed(folder))
}

/// Whether these are the bytes of a file that was overwritten with zeros. An empty one is not: nobody wrote it as a whole.
pub(super) fn is_wiped(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| byte == 0)
}

/// Overwrites a file with zeros.
pub(super) fn wipe(path: &Path) -> Result<(), KeystoreError> {
    let wipe = || -> std::io::Result<()> {
        let length = std::fs::metadata(path)?.len();
        let file = std::fs::OpenOptions::new().write(true).open(path)?;
        let zeros = vec![0; usize::try_from(length).unwrap_or(0)];
        std::io::Write::write_all(&mut &file, &zeros)?;
        file.sync_all()
    };
    wipe().map_err(|error| KeystoreError::File {
        path: path.to_owned(),
        error,
    })
}
