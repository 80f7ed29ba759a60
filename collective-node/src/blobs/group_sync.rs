//! Waiting for the disk, once for all who wait at that moment.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

/// The file system that a folder lies on.
#[derive(Clone)]
pub struct GroupSync {
    folder: Arc<File>,
    /// How often somebody began to wait. Whoever waits has written before.
    waits: Arc<AtomicU64>,
    done: Arc<Mutex<Done>>,
}

#[derive(Default)]
struct Done {
    /// Waits up to this one are over.
    until: u64,
    /// Waits up to this one may not have come to the disk: the kernel tells of an error once.
    failed: u64,
}

impl GroupSync {
    /// # Errors
    /// [`io::Error`] where the folder cannot be opened.
    pub fn new(folder: &Path) -> io::Result<Self> {
        Ok(Self {
            folder: Arc::new(File::open(folder)?),
            waits: Arc::default(),
            done: Arc::default(),
        })
    }

    /// Returns once all that this caller has written, names included, is on the disk (syncfs(2)). While one caller waits for the
    /// disk others queue up, and the next wait is for all of them.
    ///
    /// # Errors
    /// [`io::Error`] where something that was written since the last wait may not be there.
    pub async fn wait(&self) -> io::Result<()> {
        let wait = self.waits.fetch_add(1, Ordering::SeqCst) + 1;
        let mut done = self.done.lock().await;
        if done.until < wait {
            let until = self.waits.load(Ordering::SeqCst);
            let folder = self.folder.clone();
            let synced = tokio::task::spawn_blocking(move || rustix::fs::syncfs(&*folder));
            if let Err(error) = synced.await.map_err(io::Error::other)? {
                tracing::error!(%error, "the disk did not take what was written");
                done.failed = until;
            }
            done.until = until;
        }
        match wait <= done.failed {
            true => Err(io::Error::other("the disk did not take what was written")),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_waits_together_is_told_together() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let sync = GroupSync::new(folder.path()).expect("a folder");
        let held = sync.done.lock().await;
        let waits = [(); 3].map(|()| {
            let sync = sync.clone();
            tokio::spawn(async move { sync.wait().await })
        });
        while sync.waits.load(Ordering::SeqCst) < 3 {
            tokio::task::yield_now().await;
        }
        drop(held);
        for wait in waits {
            wait.await.expect("no panic").expect("on the disk");
            // The first one waited for all.
            assert_eq!(sync.done.lock().await.until, 3);
        }

        sync.done.lock().await.failed = 5;
        sync.done.lock().await.until = 5;
        sync.wait().await.expect_err("the fourth");
        sync.wait().await.expect_err("the fifth");
        sync.wait().await.expect("later than the failure");
    }
}
