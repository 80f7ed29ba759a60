//! Named steps at which a test can have the process killed, as a power cut would.
//!
//! Always compiled in, so that what is tested is what is shipped; without the variable a step costs
//! one comparison. Whoever can set a node's environment can stop it anyway.

use std::sync::OnceLock;

/// Environment variable that names the step.
pub const VARIABLE: &str = "COLLECTIVE_CRASH_AT";

/// A moment between two effects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A contribution is on the disk, its sender does not know yet.
    KeptNotAcknowledged,
    /// Acknowledged contributions wait, no batch is made.
    AcknowledgedNotBatched,
    /// `commitBatch` is sent.
    BatchSentNotSeen,
    /// A lease is taken, nothing is released.
    LeasedNotReleased,
    /// The release stands on chain, the program has not run.
    ReleasedNotRun,
    /// The program has run, its output is only in memory.
    RanNotStored,
    /// The output is a blob, no record names it.
    StoredNotRecorded,
    /// The record is in the ledger, the chain has no receipt.
    RecordedNotReceipted,
    /// The receipt stands on chain and its window is over.
    ReceiptedNotSettled,
    /// Settled on chain, nobody here has noted it.
    SettledNotNoted,
    /// Relayed claims are sent.
    ClaimsSentNotSeen,
    /// The file of a withdrawn contribution is gone, the ledger does not say so.
    FileDroppedNotNoted,
}

impl Step {
    /// Every step, in the order of a story.
    pub const ALL: [Self; 12] = [
        Self::KeptNotAcknowledged,
        Self::AcknowledgedNotBatched,
        Self::BatchSentNotSeen,
        Self::LeasedNotReleased,
        Self::ReleasedNotRun,
        Self::RanNotStored,
        Self::StoredNotRecorded,
        Self::RecordedNotReceipted,
        Self::ReceiptedNotSettled,
        Self::SettledNotNoted,
        Self::ClaimsSentNotSeen,
        Self::FileDroppedNotNoted,
    ];

    /// Its name in [`VARIABLE`].
    pub fn name(self) -> String {
        format!("{self:?}")
    }

    /// Ends this process at once if the environment names this step: no destructor, no flush, no
    /// handler, as after SIGKILL.
    pub fn reached(self) {
        static NAMED: OnceLock<Option<String>> = OnceLock::new();
        let named = NAMED.get_or_init(|| std::env::var(VARIABLE).ok());
        if named.as_deref() == Some(&*self.name()) {
            std::process::abort();
        }
    }
}
