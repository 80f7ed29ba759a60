//! How background work is paced: a step, a pause, and longer pauses while steps fail.

use std::fmt::Display;
use std::time::Duration;

/// The longest pause between two failed steps: what comes back is used within half a minute, what
/// stays away is not hammered and does not fill the log.
const LONGEST: Duration = Duration::from_secs(30);

/// The pause between the steps of one background task.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    usual: Duration,
    next: Duration,
}

impl Pace {
    /// `pause` after each step that works.
    pub fn new(pause: Duration) -> Self {
        Self {
            usual: pause,
            next: pause,
        }
    }

    /// Rests after a step; a failure is logged under `what`, and doubles the rest.
    pub async fn rest<E: Display>(&mut self, what: &'static str, step: Result<(), E>) {
        match step {
            Ok(()) => self.next = self.usual,
            Err(error) => {
                self.next = (self.next * 2).min(LONGEST);
                tracing::warn!(%error, next_try = ?self.next, "{what}");
            }
        }
        tokio::time::sleep(self.next).await;
    }
}
