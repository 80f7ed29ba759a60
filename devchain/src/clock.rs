//! What time the next block carries.
//!
//! Owns time travel; must not know blocks.

use crate::genesis::unix_now;

/// The end of the year 9999: no block is later, so that sums of times cannot overflow.
pub const MAX_TIMESTAMP: u64 = 253_402_300_799;

/// What time blocks carry. No block is earlier than one second after its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The machine's clock, and what `evm_increaseTime` added.
    Machine,
    /// So many seconds after the parent, whatever the machine's clock says.
    Steps(u64),
}

/// The clock of one chain and what was asked of it.
#[derive(Clone, Debug)]
pub(crate) struct ChainTime {
    clock: Clock,
    /// Seconds ahead of the clock; for [`Clock::Steps`] only of the next block.
    ahead: u64,
    /// The next block's time, where it was set.
    next: Option<u64>,
}

impl ChainTime {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            ahead: 0,
            next: None,
        }
    }

    /// The time of a block over a parent of time `parent`.
    pub(crate) fn after(&self, parent: u64) -> u64 {
        self.next.unwrap_or_else(|| match self.clock {
            Clock::Machine => unix_now().saturating_add(self.ahead).max(parent + 1),
            Clock::Steps(seconds) => parent
                .saturating_add(seconds.max(1))
                .saturating_add(self.ahead),
        })
    }

    /// Moves the next block ahead; gives the seconds that the clock is ahead now.
    pub(crate) fn increase(&mut self, seconds: u64, latest: u64) -> Result<u64, TimeError> {
        let ahead = self.ahead.checked_add(seconds).ok_or(TimeError::TooFar)?;
        if latest.max(unix_now()).saturating_add(ahead) > MAX_TIMESTAMP {
            return Err(TimeError::TooFar);
        }
        self.ahead = ahead;
        Ok(ahead)
    }

    /// Sets the time of the next block; the clock goes on from there.
    pub(crate) fn set_next(&mut self, timestamp: u64, latest: u64) -> Result<(), TimeError> {
        if timestamp <= latest {
            return Err(TimeError::Past {
                asked: timestamp,
                latest,
            });
        }
        if timestamp > MAX_TIMESTAMP {
            return Err(TimeError::TooFar);
        }
        self.next = Some(timestamp);
        Ok(())
    }

    /// Takes note that a block with this time was sealed.
    pub(crate) fn sealed(&mut self, timestamp: u64) {
        let chosen = self.next.take().is_some();
        match self.clock {
            Clock::Machine if chosen => self.ahead = timestamp.saturating_sub(unix_now()),
            Clock::Machine => {}
            Clock::Steps(_) => self.ahead = 0,
        }
    }

    /// Goes on after a restart: a chain whose time was moved ahead stays ahead.
    pub(crate) fn resume(&mut self, latest: u64) {
        if self.clock == Clock::Machine {
            self.ahead = latest.saturating_sub(unix_now());
        }
    }
}

/// A time that no block can have.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// Not after the latest block.
    #[error("timestamp {asked} is not after the latest block's {latest}")]
    Past {
        /// What was asked for.
        asked: u64,
        /// The latest block's.
        latest: u64,
    },
    /// After [`MAX_TIMESTAMP`].
    #[error("timestamp is after the year 9999")]
    TooFar,
}
