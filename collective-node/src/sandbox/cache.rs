//! Compiled programs on disk, so that a restart does not compile again. SPEC "Compiled programs".
//!
//! A compiled program is machine code, and loading it is only safe if this node made it: every file
//! carries a MAC under a key that the caller keeps, over the component it came from and the engine
//! that made it. A file that is not exactly so is not there.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use aws_lc_rs::hmac;
use collective::id::BlobId;
use tempfile::NamedTempFile;
use thiserror::Error;

use super::MAX_COMPILED_BYTES;
use super::engine::{EngineId, engine_id};

/// First bytes under the MAC.
const DOMAIN: &[u8] = b"collective/sandbox/compiled/v1\0";
/// Bytes of a MAC (HMAC-SHA256).
const MAC_BYTES: usize = 32;

/// A folder of compiled programs and the key that makes them trustworthy.
pub struct Cache {
    folder: PathBuf,
    key: hmac::Key,
}

/// Why a compiled program could not be kept.
#[derive(Debug, Error)]
#[error("cannot write {path}: {source}")]
pub struct CacheError {
    path: String,
    source: io::Error,
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

impl Cache {
    /// Keeps compiled programs in `folder`, which must exist and belong to the node. The key must be
    /// this node's own and used for nothing else.
    #[must_use]
    pub fn new(folder: PathBuf, key: &[u8; 32]) -> Self {
        Self {
            folder,
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
        }
    }

    /// The compiled form of the component of this name, if this node made it with this engine.
    pub(super) fn find(&self, id: BlobId) -> Option<Vec<u8>> {
        let path = self.path(id);
        let size = fs::metadata(&path).ok()?.len();
        if size > (MAX_COMPILED_BYTES + MAC_BYTES) as u64 {
            return None;
        }
        let mut file = fs::read(&path).ok()?;
        let (mac, compiled) = file.split_at_checked(MAC_BYTES)?;
        hmac::verify(&self.key, &message(id, engine_id(), compiled), mac).ok()?;
        file.drain(..MAC_BYTES);
        Some(file)
    }

    /// Keeps the compiled form of a component: written beside its place, then moved there whole.
    pub(super) fn keep(&self, id: BlobId, compiled: &[u8]) -> Result<(), CacheError> {
        let path = self.path(id);
        let mac = hmac::sign(&self.key, &message(id, engine_id(), compiled));
        // A name of its own: two jobs of a program may compile it at once.
        let written = NamedTempFile::new_in(&self.folder).and_then(|mut beside| {
            beside.write_all(mac.as_ref())?;
            beside.write_all(compiled)?;
            Ok(beside.persist(&path)?)
        });
        written.map(drop).map_err(|source| CacheError {
            path: path.display().to_string(),
            source,
        })
    }

    /// Forgets the compiled form of a component.
    pub(super) fn remove(&self, id: BlobId) {
        // Not there is as good as removed; not removable shows when the new form is kept.
        let _ = fs::remove_file(self.path(id));
    }

    fn path(&self, component: BlobId) -> PathBuf {
        let engine = engine_id();
        let name = format!(
            "{}.{}.compiled",
            hex(component.0.as_slice()),
            hex(&engine.0[..8])
        );
        Path::new(&self.folder).join(name)
    }
}

/// What the MAC covers: domain, component, engine, compiled form. The first three have fixed lengths.
fn message(component: BlobId, engine: EngineId, compiled: &[u8]) -> Vec<u8> {
    [DOMAIN, component.0.as_slice(), &engine.0, compiled].concat()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mac_is_that_of_the_spec() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache::new(folder.path().into(), &[7; 32]);
        cache
            .keep(BlobId::of(b"component"), b"machine code")
            .expect("written");
        let file = fs::read(cache.path(BlobId::of(b"component"))).expect("there");
        let expected = "cfa9b69e14daa61fc69ed9c6bb7d48fae22f4cc18daf90deb289a96536134727";
        assert_eq!(
            (hex(&file[..32]).as_str(), &file[32..]),
            (expected, &b"machine code"[..])
        );
    }

    #[test]
    fn jobs_that_compile_a_program_at_once_all_keep_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache::new(folder.path().into(), &[7; 32]);
        let (id, compiled) = (BlobId::of(b"component"), vec![7; 1 << 20]);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..16 {
                        cache.keep(id, &compiled).expect("kept");
                        assert_eq!(cache.find(id).as_ref(), Some(&compiled));
                    }
                });
            }
        });
        let left = fs::read_dir(folder.path()).expect("a folder").count();
        assert_eq!(left, 1, "nothing lies beside it");
    }

    #[test]
    fn only_what_this_node_made_is_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache::new(folder.path().into(), &[7; 32]);
        assert_eq!(cache.find(BlobId::of(b"component")), None);
        cache
            .keep(BlobId::of(b"component"), b"machine code")
            .expect("written");
        assert_eq!(
            cache.find(BlobId::of(b"component")).as_deref(),
            Some(&b"machine code"[..])
        );
        assert_eq!(cache.find(BlobId::of(b"another")), None);

        let other_key = Cache::new(folder.path().into(), &[8; 32]);
        assert_eq!(
            other_key.find(BlobId::of(b"component")),
            None,
            "made under another key"
        );

        // The form of one component in the place of another.
        let (one, two) = (
            cache.path(BlobId::of(b"component")),
            cache.path(BlobId::of(b"two")),
        );
        fs::copy(&one, &two).expect("copied");
        assert_eq!(cache.find(BlobId::of(b"two")), None);

        let whole = fs::read(&one).expect("there");
        for bit in 0..whole.len() * 8 {
            let mut bent = whole.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            fs::write(&one, bent).expect("written");
            assert_eq!(cache.find(BlobId::of(b"component")), None, "bit {bit}");
        }
        fs::write(&one, &whole[..20]).expect("written");
        assert_eq!(
            cache.find(BlobId::of(b"component")),
            None,
            "shorter than its MAC"
        );
        fs::write(&one, &whole).expect("written");
        assert!(cache.find(BlobId::of(b"component")).is_some());
        cache.remove(BlobId::of(b"component"));
        assert_eq!(cache.find(BlobId::of(b"component")), None);
    }
}
