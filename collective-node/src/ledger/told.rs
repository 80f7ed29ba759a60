//! What queries have told: rows that are opened by nobody but this node (SPEC "Groups of a query").

use sqlx::Row;

use super::{Change, Ledger, LedgerError};

/// One row: its number in this ledger, the attempt that told, and what it told.
pub struct ToldRow {
    /// Greater than that of every row before.
    pub id: i64,
    /// The job.
    pub job: u64,
    /// Its attempt.
    pub attempt: u32,
    /// The groups, sealed to this node, under a MAC.
    pub groups: Vec<u8>,
}

/// How much was told of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToldSize {
    /// Rows.
    pub runs: u64,
    /// Bytes of all of them.
    pub bytes: u64,
}

impl Ledger {
    /// Keeps what an attempt told of a source.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn keep_told(
        &self,
        job: u64,
        attempt: u32,
        source: String,
        groups: Vec<u8>,
    ) -> Result<(), LedgerError> {
        self.change(Change::Told {
            job,
            attempt,
            source,
            groups,
        })
        .await
        .map(drop)
    }

    /// How much was told of a source.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn told_size(&self, source: &str) -> Result<ToldSize, LedgerError> {
        let query = "SELECT count(*), coalesce(sum(length(record)), 0) FROM told WHERE source = ?";
        let row = sqlx::query(query)
            .bind(source)
            .fetch_one(&self.reads)
            .await?;
        Ok(ToldSize {
            runs: row.get::<i64, _>(0) as u64,
            bytes: row.get::<i64, _>(1) as u64,
        })
    }

    /// What was told of a source first after the row `after`: one at a time, as each may be large.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn told_after(
        &self,
        source: &str,
        after: i64,
    ) -> Result<Option<ToldRow>, LedgerError> {
        let query = "SELECT id, job, attempt, record FROM told WHERE source = ? AND id > ? ORDER BY id LIMIT 1";
        let row = sqlx::query(query)
            .bind(source)
            .bind(after)
            .fetch_optional(&self.reads)
            .await?;
        Ok(row.map(|row| ToldRow {
            id: row.get("id"),
            job: row.get::<i64, _>("job") as u64,
            attempt: row.get::<i64, _>("attempt") as u32,
            groups: row.get("record"),
        }))
    }
}
