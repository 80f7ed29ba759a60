//! Where contributors keep the files that are not here: the only copy of these addresses, which are their secrets.

use std::collections::HashMap;

use alloy::primitives::B256;
use collective::contribution::{Place, PlaceUrl};
use collective::id::{BlobId, Leaf};
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::{Change, Held, Kept, Ledger, LedgerError, word};

impl Ledger {
    /// Keeps a contribution whose file its contributor keeps, unless its leaf, nonce or point was used before. Without a place it
    /// is one whose place a lost ledger took along.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn keep_connected(
        &self,
        held: Held,
        place: Option<Place>,
    ) -> Result<Kept, LedgerError> {
        let change = Change::KeepConnected(Box::new(held), place);
        self.change(change).await
    }

    /// Notes where a contributor keeps a file from now on, and what the node has of it. [`Kept::Replay`] where the place has no higher number than the one that is
    /// known, or where the file of this leaf is not kept by its contributor.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn move_to(&self, place: Place, file: BlobId) -> Result<Kept, LedgerError> {
        self.change(Change::Move(place, file)).await
    }

    /// Every contribution whose file its contributor keeps, with its place unless that was lost.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn connected(&self) -> Result<HashMap<Leaf, Option<PlaceUrl>>, LedgerError> {
        let query = sqlx::query("SELECT leaf, url FROM places");
        let rows = query.fetch_all(&self.reads).await?;
        let connected = |row: &SqliteRow| Ok((Leaf(word(row.get("leaf"))?), url(row)?));
        rows.iter().map(connected).collect()
    }

    /// Number and place of one contribution; `None` where the node has the file itself.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn place(&self, leaf: Leaf) -> Result<Option<(u64, Option<PlaceUrl>)>, LedgerError> {
        let query = sqlx::query("SELECT number, url FROM places WHERE leaf = ?");
        let row = query.bind(&leaf.0[..]).fetch_optional(&self.reads).await?;
        let placed = |row: &SqliteRow| {
            let number: Vec<u8> = row.get("number");
            let number = <[u8; 8]>::try_from(number)
                .map_err(|_| LedgerError::Corrupt("a place's number".into()))?;
            Ok((u64::from_be_bytes(number), url(row)?))
        };
        row.as_ref().map(placed).transpose()
    }
}

fn url(row: &SqliteRow) -> Result<Option<PlaceUrl>, LedgerError> {
    let text: Option<String> = row.get("url");
    let parse = |text: String| PlaceUrl::try_from(text);
    let parsed = text.map(parse).transpose();
    parsed.map_err(|error| LedgerError::Corrupt(error.to_string()))
}

pub(super) async fn keep(
    to: &mut SqliteConnection,
    held: &Held,
    place: Option<&Place>,
) -> Result<Kept, sqlx::Error> {
    let kept = super::keep(to, held).await?;
    if kept == Kept::New {
        let leaf: B256 = held.entry.contribution.leaf().0;
        sqlx::query("INSERT INTO places (leaf, number, url) VALUES (?, ?, ?)")
            .bind(&leaf[..])
            .bind(number(place.map_or(0, |place| place.number)))
            .bind(place.map(|place| place.url.as_str()))
            .execute(to)
            .await?;
    }
    Ok(kept)
}

pub(super) async fn move_to(
    to: &mut SqliteConnection,
    place: &Place,
    file: BlobId,
) -> Result<Kept, sqlx::Error> {
    let moved =
        sqlx::query("UPDATE places SET number = ?2, url = ?3 WHERE leaf = ?1 AND number < ?2 AND leaf NOT IN (SELECT leaf FROM withdrawn)")
            .bind(&place.leaf.0[..])
            .bind(number(place.number))
            .bind(place.url.as_str())
            .execute(&mut *to)
            .await?;
    if moved.rows_affected() == 0 {
        return Ok(Kept::Replay);
    }
    sqlx::query("UPDATE held SET file = ?2 WHERE leaf = ?1")
        .bind(&place.leaf.0[..])
        .bind(&file.0[..])
        .execute(to)
        .await?;
    Ok(Kept::New)
}

/// Compared byte by byte, so all of them are ordered; SQLite's integers are signed.
fn number(number: u64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}
