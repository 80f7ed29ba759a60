//! Waiting for the disk, once for all who wait at that moment.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;

/// How long a flush waits for company where others are already waiting. A disk that answers in a quarter of a millisecond would
/// otherwise be flushed for two or three of sixty-four uploads, and each flush costs the processor more than this costs a contributor.
const GATHER: Duration = Duration::from_millis(4);

/// The file system that a folder lies on. Before Linux 5.8 it does not tell of what it could not write.
#[derive(Clone)]
pub struct GroupSync {
    folder: Arc<File>,
    /// How often somebody began to wait. Whoever waits has written before.
    waits: Arc<AtomicU64>,
    /// How often the disk did not take something.
    failures: Arc<AtomicU64>,
    /// Waits up to this one are over.
    done: Arc<Mutex<u64>>,
}

/// Taken before something is written.
pub struct Mark {
    failures: u64,
}

impl GroupSync {
    /// # Errors
    /// [`io::Error`] where the folder cannot be opened.
    pub fn new(folder: &Path) -> io::Result<Self> {
        Ok(Self {
            folder: Arc::new(File::open(folder)?),
            waits: Arc::default(),
            failures: Arc::default(),
            done: Arc::default(),
        })
    }

    /// To be taken before something is written, and given to [`Self::wait`].
    pub fn mark(&self) -> Mark {
        Mark {
            failures: self.failures.load(Ordering::SeqCst),
        }
    }

    /// Returns once all that this caller has written, names included, is on the disk (syncfs(2)). While one caller waits for the
    /// disk others queue up, and the next wait is for all of them.
    ///
    /// # Errors
    /// [`io::Error`] where anything may not be there that was written since the mark: the kernel tells of an error once, to
    /// whoever asks first, and says of nobody's bytes whose they were.
    pub async fn wait(&self, mark: Mark) -> io::Result<()> {
        let wait = self.waits.fetch_add(1, Ordering::SeqCst) + 1;
        let mut done = self.done.lock().await;
        if *done < wait {
            if self.waits.load(Ordering::SeqCst) > wait {
                tokio::time::sleep(GATHER).await;
            }
            let until = self.waits.load(Ordering::SeqCst);
            let folder = self.folder.clone();
            let synced = tokio::task::spawn_blocking(move || rustix::fs::syncfs(&*folder));
            if let Err(error) = synced.await.map_err(io::Error::other)? {
                tracing::error!(%error, "the disk did not take what was written");
                self.failures.fetch_add(1, Ordering::SeqCst);
            }
            *done = until;
        }
        drop(done);
        match self.failures.load(Ordering::SeqCst) == mark.failures {
            true => Ok(()),
            false => Err(io::Error::other("the disk did not take what was written")),
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
            let (sync, mark) = (sync.clone(), sync.mark());
            tokio::spawn(async move { sync.wait(mark).await })
        });
        while sync.waits.load(Ordering::SeqCst) < 3 {
            tokio::task::yield_now().await;
        }
        drop(held);
        for wait in waits {
            wait.await.expect("no panic").expect("on the disk");
            // The first one waited for all.
            assert_eq!(*sync.done.lock().await, 3);
        }

        // Whose bytes were lost between mark and wait, nobody knows.
        let mark = sync.mark();
        sync.failures.fetch_add(1, Ordering::SeqCst);
        sync.wait(mark).await.expect_err("maybe these");
        sync.wait(sync.mark()).await.expect("none of these");
    }
}
