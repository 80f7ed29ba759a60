//! One run as the parent sees it: records in, output out, and the clock.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use collective::source::Source;
use zeroize::Zeroizing;

use super::failure::{Failure, Fault, Trap};
use super::jail::Layers;
use super::wire::Kind;
use super::worker::{Death, Feed, Silence, Worker};
use super::{Run, Task, Usage};

/// What the child gets beyond the deadline to report it itself before it is killed.
pub(super) const GRACE: Duration = Duration::from_millis(100);

/// Feeds the records to a loaded child on this thread while another one listens and keeps the time.
pub(super) fn stream(
    mut worker: Worker,
    layers: Layers,
    task: &Task,
    records: impl Iterator<Item = Zeroizing<Vec<u8>>>,
) -> Result<Run, Failure> {
    let started = Instant::now();
    let deadline = started + Duration::from_secs(task.limits.seconds.into()) + GRACE;
    let limit = usize::try_from(task.limits.output_bytes).expect("checked against the maximum");
    let fetching = AtomicBool::new(false);
    let feed = worker.take_feed(deadline);
    let ended = std::thread::scope(|scope| {
        let listener = scope.spawn(|| {
            let ended = worker.collect(deadline, Kind::Output, limit);
            let fetching = fetching.load(Ordering::Relaxed);
            // Ends the child, and with it a feed that waits for a reader.
            let finish = worker.finish();
            (ended, finish, started.elapsed(), fetching)
        });
        // The feed stays open until the listener is done: its end would be the child's end. Only a
        // panic of `records` drops it earlier, which then ends the child and the wait for it.
        let (kept, _) = feed_all(feed, &task.source, records, &fetching);
        let ended = listener.join();
        drop(kept);
        ended
    });
    let (ended, finish, wall, fetching) =
        ended.map_err(|_| Fault::Protocol("the listener panicked"))?;
    let usage = |fuel, memory_bytes| Usage {
        fuel,
        memory_bytes,
        resident_bytes: finish.resident_bytes,
        wall,
    };
    match ended {
        Ok(ended) => {
            let report = ended.report;
            let usage = usage(report.fuel, report.memory_bytes);
            match report.trap {
                None => Ok(Run {
                    output: ended.bytes,
                    log: ended.log,
                    accepted: report.accepted,
                    rejected: report.rejected,
                    usage,
                    layers,
                }),
                Some(trap) => Err(Failure::program(trap, ended.text, usage, layers)),
            }
        }
        Err(silence) => Err(ended_badly(
            silence,
            fetching,
            finish.death,
            usage(0, 0),
            layers,
        )),
    }
}

/// Whose fault it is that a child said no more.
pub(super) fn ended_badly(
    silence: Silence,
    fetching: bool,
    death: Death,
    usage: Usage,
    layers: Layers,
) -> Failure {
    match silence {
        Silence::TimedOut if fetching => Fault::InputStalled.into(),
        Silence::TimedOut => Failure::program(Trap::Deadline, None, usage, layers),
        Silence::Protocol(what) => Fault::Protocol(what).into(),
        Silence::Ended => match death {
            // SIGKILL comes from the machine (an operator, the kernel short of memory): not the
            // program's doing, try again. Every other signal is raised by what the child executes.
            Death::Signal(libc::SIGKILL) => Fault::Died(death).into(),
            Death::Signal(libc::SIGXCPU) => Failure::program(Trap::Deadline, None, usage, layers),
            Death::Signal(signal) => {
                Failure::program(Trap::Crashed { signal }, None, usage, layers)
            }
            death => Fault::Died(death).into(),
        },
    }
}

/// Writes all records, and gives the feed back with their number. Says in `fetching` when it is `records` that is waited
/// for. Of a child that is gone the listener knows why; only one that said all was well, and did not take them all, is
/// known by the error.
pub(super) fn feed_all(
    mut feed: Feed,
    source: &Source,
    mut records: impl Iterator<Item = Zeroizing<Vec<u8>>>,
    fetching: &AtomicBool,
) -> (Feed, io::Result<u64>) {
    let mut count = 0;
    loop {
        fetching.store(true, Ordering::Relaxed);
        let record = records.next();
        fetching.store(false, Ordering::Relaxed);
        let Some(record) = record else {
            let ended = feed.end();
            return (feed, ended.map(|()| count));
        };
        let fed = match source.has_documents() {
            true => feed.documents(&record),
            false => feed.record(&record),
        };
        if let Err(error) = fed {
            return (feed, Err(error));
        }
        count += 1;
    }
}
