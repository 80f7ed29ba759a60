//! Contributions that no later job reads, and whether their files are gone. Their rows in `held` stay: leaf, nonce and point are
//! used for ever.

use collective::id::{BlobId, Leaf};
use collective::input::Withdrawn;
use serde_json::{from_value, json};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Error, Row};

use super::{Change, Ledger, LedgerError, word};

/// A contribution that was revoked, or whose terms have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Withdrawal {
    /// Which.
    pub leaf: Leaf,
    /// Why.
    pub why: Withdrawn,
    /// The finalized block in which this node saw it first: no job whose denials are read there or later has it.
    pub block: u64,
    /// Whether the file is gone.
    pub dropped: bool,
}

impl Ledger {
    /// Notes that a contribution is withdrawn at a finalized block: once, the first time, and only where it is held.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn withdraw(
        &self,
        leaf: Leaf,
        why: Withdrawn,
        block: u64,
    ) -> Result<(), LedgerError> {
        let change = Change::Withdrawn { leaf, why, block };
        self.change(change).await.map(drop)
    }

    /// Notes that the file of a withdrawn contribution is gone, and forgets where its contributor keeps it.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn dropped(&self, leaf: Leaf) -> Result<(), LedgerError> {
        self.change(Change::Dropped(leaf)).await.map(drop)
    }

    /// Everything that is withdrawn.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn withdrawals(&self) -> Result<Vec<Withdrawal>, LedgerError> {
        let rows = sqlx::query("SELECT * FROM withdrawn").fetch_all(&self.reads);
        rows.await?.iter().map(withdrawal).collect()
    }

    /// What is withdrawn and still has its file here.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn to_drop(&self) -> Result<Vec<Withdrawal>, LedgerError> {
        let rows = sqlx::query("SELECT * FROM withdrawn WHERE dropped = 0").fetch_all(&self.reads);
        rows.await?.iter().map(withdrawal).collect()
    }

    /// How a contribution was withdrawn, if it was.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn withdrawal(&self, leaf: Leaf) -> Result<Option<Withdrawal>, LedgerError> {
        let row = sqlx::query("SELECT * FROM withdrawn WHERE leaf = ?")
            .bind(&leaf.0[..])
            .fetch_optional(&self.reads)
            .await?;
        row.as_ref().map(withdrawal).transpose()
    }

    /// Whether this was the file of a contribution that was withdrawn, and is gone.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn is_dropped(&self, file: BlobId) -> Result<bool, LedgerError> {
        let row = sqlx::query("SELECT 1 FROM withdrawn WHERE file = ? AND dropped = 1")
            .bind(&file.0[..])
            .fetch_optional(&self.reads)
            .await?;
        Ok(row.is_some())
    }
}

pub(super) async fn note(
    to: &mut SqliteConnection,
    leaf: Leaf,
    why: Withdrawn,
    block: u64,
) -> Result<(), Error> {
    let query = "INSERT INTO withdrawn (leaf, why, block, file)
         SELECT leaf, ?, ?, file FROM held WHERE leaf = ? ON CONFLICT DO NOTHING";
    sqlx::query(query)
        .bind(json!(why).as_str())
        .bind(block as i64)
        .bind(&leaf.0[..])
        .execute(to)
        .await
        .map(drop)
}

pub(super) async fn note_dropped(to: &mut SqliteConnection, leaf: Leaf) -> Result<(), Error> {
    // An address is its contributor's secret, and of no use any more.
    for query in [
        "UPDATE withdrawn SET dropped = 1 WHERE leaf = ?",
        "UPDATE places SET url = NULL WHERE leaf = ?",
    ] {
        let query = sqlx::query(query).bind(&leaf.0[..]);
        query.execute(&mut *to).await?;
    }
    Ok(())
}

fn withdrawal(row: &SqliteRow) -> Result<Withdrawal, LedgerError> {
    let why = from_value(json!(row.get::<String, _>("why")));
    Ok(Withdrawal {
        leaf: Leaf(word(row.get("leaf"))?),
        why: why.map_err(|error| LedgerError::Corrupt(error.to_string()))?,
        block: row.get::<i64, _>("block") as u64,
        dropped: row.get::<i64, _>("dropped") == 1,
    })
}
