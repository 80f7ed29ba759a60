//! What queries have told: rows that are opened by nobody but this node (SPEC "Groups of a query").

use sqlx::Row;

use super::{Change, Ledger, LedgerError};

/// One row: its number in this ledger, and the sealed groups.
pub struct ToldRow {
    /// Greater than that of every row before.
    pub id: i64,
    /// Sealed to this node.
    pub groups: Vec<u8>,
}

impl Ledger {
    /// Keeps what an attempt told of a source: never more than once, the first time.
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

    /// How often something was told of a source.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn count_told(&self, source: &str) -> Result<u64, LedgerError> {
        let row = sqlx::query("SELECT count(*) FROM told WHERE source = ?")
            .bind(source)
            .fetch_one(&self.reads)
            .await?;
        Ok(row.get::<i64, _>(0) as u64)
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
        let query = "SELECT id, record FROM told WHERE source = ? AND id > ? ORDER BY id LIMIT 1";
        let row = sqlx::query(query)
            .bind(source)
            .bind(after)
            .fetch_optional(&self.reads)
            .await?;
        Ok(row.map(|row| ToldRow {
            id: row.get("id"),
            groups: row.get("record"),
        }))
    }
}
