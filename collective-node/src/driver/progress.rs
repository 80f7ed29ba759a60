//! How far the jobs are, for this process: lost with it, and nothing with it.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

/// Pause after a job's first failure, and the longest: an endpoint that comes back is used within a
/// minute, one that stays away is not hammered.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Which jobs have ended, and which wait after a failure. Lost with the process, and nothing with it.
#[derive(Debug, Default)]
pub struct Progress {
    ended: BTreeSet<u64>,
    waiting: HashMap<u64, (Instant, Duration)>,
}

impl Progress {
    pub(super) fn is_due(&self, job: u64) -> bool {
        let waits = self
            .waiting
            .get(&job)
            .is_some_and(|(until, _)| Instant::now() < *until);
        !waits && !self.ended.contains(&job)
    }

    pub(super) fn end(&mut self, job: u64) {
        self.waiting.remove(&job);
        self.ended.insert(job);
    }

    pub(super) fn clear(&mut self, job: u64) {
        self.waiting.remove(&job);
    }

    /// Twice as long after each failure.
    pub(super) fn postpone(&mut self, job: u64) -> Duration {
        let last = self
            .waiting
            .get(&job)
            .map_or(FIRST_PAUSE / 2, |(_, pause)| *pause);
        let pause = (last * 2).min(LONGEST_PAUSE);
        self.waiting.insert(job, (Instant::now() + pause, pause));
        pause
    }
}
