//! How much a program can tell, at most: what members weigh when they vote.

use std::fmt;

use serde::Serialize;

use super::Manifest;

/// The most that the runs of a manifest can tell, in bits, by way out. A program that means to can use all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Leak {
    /// What the recipient opens: 8 for each approved byte.
    pub output: u64,
    /// What everybody sees: whether there is an output. It covers the output's length, too: one more bit
    /// than its bytes have is enough to name every output of up to `maxBytes` bytes, and none.
    pub outcome: u64,
    /// What everybody sees: at which of the approved moments the end of the run shows, rounded up.
    pub time: u64,
    /// All of these.
    pub run: u64,
    /// All of these in as many runs as are approved.
    pub all_runs: u64,
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            output,
            outcome,
            time,
            run,
            all_runs,
        } = self;
        write!(
            f,
            "{run} bits a run (output {output}, whether there is one {outcome}, time {time}), {all_runs} in all runs"
        )
    }
}

impl Manifest {
    /// What its runs can tell at most.
    pub fn leak(&self) -> Leak {
        let output = self.output.max_bytes.saturating_mul(8);
        let moments = self.limits.seconds.div_ceil(self.limits.bucket().max(1));
        let time = u64::from(moments.next_power_of_two().trailing_zeros());
        let run = output.saturating_add(1 + time);
        Leak {
            output,
            outcome: 1,
            time,
            run,
            all_runs: run.saturating_mul(self.max_runs.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::test_story::manifest;

    #[test]
    fn every_way_out_is_counted() {
        let mut manifest = manifest();
        let leak = manifest.leak();
        assert_eq!((leak.output, leak.outcome, leak.time), (8_000, 1, 0));
        assert_eq!((leak.run, leak.all_runs), (8_001, 16_002));
        assert_eq!(
            leak.to_string(),
            "8001 bits a run (output 8000, whether there is one 1, time 0), 16002 in all runs"
        );
        for (bucket, bits) in [(10, 0), (5, 1), (2, 3), (1, 4)] {
            manifest.limits.bucket_seconds = Some(bucket);
            assert_eq!(manifest.leak().time, bits, "buckets of {bucket} s");
        }
        manifest.output.max_bytes = u64::MAX;
        assert_eq!(manifest.leak().all_runs, u64::MAX);
    }
}
