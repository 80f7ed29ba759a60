//! How a member did: whom a node asks first.

use std::time::Duration;

/// Failures since the last good answer, then a moving average of how long answers took. The healthiest is the smallest, and
/// of two with the same health the one with the lower number is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Health {
    failures: u32,
    latency: Duration,
}

impl Health {
    /// Failures since the last good answer.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Average time to an answer; the latest counts an eighth (the weight of RFC 6298 §2). Zero before the first.
    pub fn latency(&self) -> Duration {
        self.latency
    }

    /// A good answer came after `took`.
    pub fn answer(&mut self, took: Duration) {
        self.failures = 0;
        self.latency = match self.latency {
            Duration::ZERO => took,
            latency => (latency * 7).saturating_add(took) / 8,
        };
    }

    /// It was silent, refused, or answered wrongly.
    pub fn fail(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_count_before_latency_and_one_answer_forgives_them() {
        let (mut slow, mut broken) = (Health::default(), Health::default());
        slow.answer(Duration::from_secs(8));
        broken.answer(Duration::from_millis(1));
        broken.fail();
        assert!(slow < broken);
        broken.answer(Duration::from_millis(1));
        assert!(broken < slow);
        slow.answer(Duration::ZERO);
        assert_eq!(slow.latency(), Duration::from_secs(7));
    }
}
