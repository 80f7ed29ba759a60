//! How far the jobs are, for this process: lost with it, and nothing with it.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use collective::receipt::BlockRef;
use tokio::task::{Id, JoinSet};

use super::DriveError;
use crate::chain::facts::JobFact;
use crate::run::RunError;

/// Pause after a job's first failure, and the longest: an endpoint that comes back is used within a
/// minute, one that stays away is not hammered.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How much longer than a failed step the pause after it is at least, before the node holds the job: jobs whose programs take a minute to compile, and fail then,
/// leave others nine tenths of the time.
const PAUSE_FOR_STEP: u32 = 9;

/// Runs at once: a long one holds up nobody until there are as many long ones, and their programs
/// together have 16 GiB at most.
const RUNS_AT_ONCE: usize = 4;

/// What is left to do for a job after a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Left {
    /// Something, now or later.
    Something,
    /// Nothing, whatever happens.
    Nothing,
    /// Nothing, as long as these blocks are on the chain: in them was read what refuses the job. The
    /// number of a job that is cut out goes to another one.
    NothingWith([BlockRef; 2]),
    /// Its release is final: it is to be run.
    Run(Box<JobFact>),
}

/// Which jobs have ended, which wait and which run. Lost with the process, and nothing with it.
#[derive(Debug, Default)]
pub struct Progress {
    ended: BTreeSet<u64>,
    waiting: HashMap<u64, (Instant, Duration)>,
    refused: HashMap<u64, [BlockRef; 2]>,
    runs: JoinSet<Result<(), DriveError>>,
    running: HashMap<Id, u64>,
    /// Jobs up to this number were looked at, whether they are this node's.
    known: u64,
    held: BTreeSet<u64>,
}

impl Progress {
    pub(super) fn is_due(&self, job: u64) -> bool {
        let waits = self
            .waiting
            .get(&job)
            .is_some_and(|(until, _)| Instant::now() < *until);
        let runs = self.running.values().any(|running| *running == job);
        !waits && !runs && !self.ended.contains(&job)
    }

    /// The first job of so many of which nobody knows whether it is this node's.
    pub(super) fn next_unknown(&self, jobs: u64) -> Option<u64> {
        (self.known < jobs).then_some(self.known + 1)
    }

    /// Keeps a place among the runs for a job that this node holds, and for no other.
    pub(super) fn know(&mut self, job: u64, is_held: bool) {
        self.known = self.known.max(job);
        if is_held {
            self.held.insert(job);
        } else {
            self.held.remove(&job);
        }
    }

    /// Whether there is a place among the runs for a job: one that waited for a place after its release would lose the bond.
    pub(super) fn has_room(&self, job: u64) -> bool {
        let taken: BTreeSet<&u64> = self.held.iter().chain(self.running.values()).collect();
        taken.contains(&job) || taken.len() < RUNS_AT_ONCE
    }

    /// Starts a job's run, or leaves it for a later step while as many run as may.
    pub(super) fn start_run(
        &mut self,
        job: u64,
        run: impl Future<Output = Result<(), DriveError>> + Send + 'static,
    ) {
        self.waiting.remove(&job);
        if self.running.len() < RUNS_AT_ONCE {
            self.running.insert(self.runs.spawn(run).id(), job);
        }
    }

    /// The runs that have ended since the last step.
    pub(super) fn ended_runs(&mut self) -> Vec<(u64, Result<(), DriveError>)> {
        let mut ended = Vec::new();
        while let Some(joined) = self.runs.try_join_next_with_id() {
            let (id, ran) = match joined {
                Ok((id, ran)) => (id, ran),
                Err(error) => {
                    let interrupted = format!("the run was interrupted: {error}");
                    (error.id(), Err(RunError::Missing(interrupted).into()))
                }
            };
            let job = self.running.remove(&id).expect("every run is noted");
            ended.push((job, ran));
        }
        ended
    }

    /// The blocks with which a job stays refused.
    pub(super) fn refused(&self, job: u64) -> Option<[BlockRef; 2]> {
        self.refused.get(&job).copied()
    }

    pub(super) fn note(&mut self, job: u64, left: Left) {
        self.waiting.remove(&job);
        self.refused.remove(&job);
        match left {
            Left::Something | Left::Run(_) => {}
            Left::Nothing => {
                self.held.remove(&job);
                self.ended.insert(job);
            }
            Left::NothingWith(blocks) => {
                self.held.remove(&job);
                self.refused.insert(job, blocks);
            }
        }
    }

    /// Twice as long after each failure, and long for a step that took long.
    pub(super) fn postpone(&mut self, job: u64, took: Duration) -> Duration {
        let last = self
            .waiting
            .get(&job)
            .map_or(FIRST_PAUSE / 2, |(_, pause)| *pause);
        let mut pause = (last * 2).min(LONGEST_PAUSE);
        // What the node holds has clocks that run, and takes time of nobody's turn but its own.
        if !self.held.contains(&job) {
            pause = pause.max(took * PAUSE_FOR_STEP);
        }
        self.waiting.insert(job, (Instant::now() + pause, pause));
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_jobs_are_taken_than_can_run_at_once() {
        let mut progress = Progress::default();
        for job in 1..=RUNS_AT_ONCE as u64 {
            assert!(progress.has_room(job));
            progress.know(job, true);
        }
        let next = RUNS_AT_ONCE as u64 + 1;
        assert!(!progress.has_room(next));
        assert!(progress.has_room(1));
        // What fails for a while keeps its place, and so does what has run and is not on the chain yet.
        progress.postpone(1, Duration::ZERO);
        progress.note(1, Left::Something);
        assert!(!progress.has_room(next));
        progress.know(1, false);
        assert!(progress.has_room(next));
    }

    #[test]
    fn a_job_that_takes_long_to_fail_leaves_others_most_of_the_time() {
        let mut progress = Progress::default();
        let pauses = [1, 1_000, 60_000].map(|took| {
            let pause = progress.postpone(1, Duration::from_millis(took));
            pause.as_millis()
        });
        assert_eq!(pauses, [250, 9_000, 540_000]);
        let pauses = [1, 1].map(|took| {
            progress
                .postpone(2, Duration::from_millis(took))
                .as_millis()
        });
        assert_eq!(pauses, [250, 500]);
        // What did well begins anew.
        progress.note(1, Left::Something);
        assert_eq!(progress.postpone(1, Duration::ZERO).as_millis(), 250);
    }
}
