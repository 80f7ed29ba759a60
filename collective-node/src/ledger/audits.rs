//! What audits of the stored payloads came to, one row an epoch.

use collective::id::BlobId;
use collective::liveness::Counts;
use serde::{Deserialize, Serialize};
use sqlx::Row;

use super::{Change, Ledger, LedgerError};

/// What one epoch came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Audited {
    /// Days since 1970-01-01 UTC.
    pub epoch: u64,
    /// Of its first block.
    pub randomness: alloy::primitives::B256,
    /// Challenges, without those of contributions that were withdrawn.
    pub asked: u64,
    /// What became of them.
    pub counts: Counts,
    /// Root over the verdicts.
    pub root: alloy::primitives::B256,
    /// The blob with all verdicts.
    pub results: BlobId,
}

impl Ledger {
    /// Keeps what an epoch came to: once, the first time.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn keep_audit(&self, audited: &Audited) -> Result<(), LedgerError> {
        let record = serde_json::to_string(audited).expect("plain JSON values");
        let epoch = audited.epoch;
        self.change(Change::Audit { epoch, record }).await.map(drop)
    }

    /// The newest epochs that were audited, newest first.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn audits(&self, limit: u32) -> Result<Vec<Audited>, LedgerError> {
        let query = "SELECT record FROM audits ORDER BY epoch DESC LIMIT ?";
        let rows = sqlx::query(query)
            .bind(limit)
            .fetch_all(&self.reads)
            .await?;
        let audited = |record: &str| {
            serde_json::from_str(record).map_err(|error| LedgerError::Corrupt(error.to_string()))
        };
        rows.iter().map(|row| audited(row.get("record"))).collect()
    }
}
