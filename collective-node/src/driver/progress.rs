//! How far the jobs are, for this process: lost with it, and nothing with it.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use collective::receipt::BlockRef;

/// Pause after a job's first failure, and the longest: an endpoint that comes back is used within a
/// minute, one that stays away is not hammered.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What is left to do for a job after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Something, now or later.
    Something,
    /// Nothing, whatever happens.
    Nothing,
    /// Nothing, as long as these blocks are on the chain: in them was read what refuses the job. The
    /// number of a job that is cut out goes to another one.
    NothingWith([BlockRef; 2]),
}

/// Which jobs have ended, and which wait. Lost with the process, and nothing with it.
#[derive(Debug, Default)]
pub struct Progress {
    ended: BTreeSet<u64>,
    waiting: HashMap<u64, (Instant, Duration)>,
    refused: HashMap<u64, [BlockRef; 2]>,
}

impl Progress {
    pub(super) fn is_due(&self, job: u64) -> bool {
        let waits = self
            .waiting
            .get(&job)
            .is_some_and(|(until, _)| Instant::now() < *until);
        !waits && !self.ended.contains(&job)
    }

    /// The blocks with which a job stays refused.
    pub(super) fn refused(&self, job: u64) -> Option<[BlockRef; 2]> {
        self.refused.get(&job).copied()
    }

    pub(super) fn note(&mut self, job: u64, left: Left) {
        self.waiting.remove(&job);
        self.refused.remove(&job);
        match left {
            Left::Something => {}
            Left::Nothing => {
                self.ended.insert(job);
            }
            Left::NothingWith(blocks) => {
                self.refused.insert(job, blocks);
            }
        }
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
