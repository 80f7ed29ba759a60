//! The node's only mutable state: SQLite, one writer, group commit (SPEC "Ledger").
//!
//! Every change names the state it expects and says when it found another. A reply means that the
//! change is on the disk. A lost ledger loses what is not yet anchored and the records of past runs:
//! back it up. The rest comes back from chain and blobs (`rebuild`, `driver`).

use std::collections::HashSet;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use alloy::primitives::B256;
use collective::contribution::{Contribution, Place, SignedContribution};
use collective::id::{BlobId, ContributorId, Leaf};
use collective::input::Withdrawn;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteRow, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, Row};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

pub use audits::Audited;
pub use told::{ToldRow, ToldSize};
pub use withdrawn::Withdrawal;

mod audits;
mod places;
mod told;
mod withdrawn;

/// Changes in one transaction: they share one disk sync, and the first waits for the last.
const GROUP: usize = 256;

/// How long a transaction waits for company after one that had some: whoever was told together writes together again.
const GATHER: Duration = Duration::from_millis(2);

/// Changes that may wait for the writer; more callers wait at the door.
const QUEUE: usize = 1_024;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS held (
        leaf        BLOB PRIMARY KEY,
        contributor BLOB NOT NULL,
        nonce       INTEGER NOT NULL,
        point       BLOB NOT NULL UNIQUE,
        file        BLOB NOT NULL,
        entry       TEXT NOT NULL,
        batch       INTEGER REFERENCES batches(id),
        place       INTEGER,
        UNIQUE (contributor, nonce)
    ) STRICT;
    CREATE INDEX IF NOT EXISTS held_waiting ON held(batch) WHERE batch IS NULL;
    CREATE TABLE IF NOT EXISTS places (
        leaf   BLOB PRIMARY KEY REFERENCES held(leaf),
        number BLOB NOT NULL,
        url    TEXT
    ) STRICT;
    CREATE TABLE IF NOT EXISTS batches (
        id       INTEGER PRIMARY KEY,
        manifest BLOB NOT NULL UNIQUE,
        root     BLOB NOT NULL,
        count    INTEGER NOT NULL,
        anchored INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE TABLE IF NOT EXISTS direct (
        leaf  BLOB PRIMARY KEY REFERENCES held(leaf),
        block INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS runs (
        job     INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        record  TEXT NOT NULL,
        PRIMARY KEY (job, attempt)
    ) STRICT;
    CREATE TABLE IF NOT EXISTS inputs (
        job     INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        list    BLOB NOT NULL,
        PRIMARY KEY (job, attempt)
    ) STRICT;
    CREATE TABLE IF NOT EXISTS told (
        id      INTEGER PRIMARY KEY,
        job     INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        source  TEXT NOT NULL,
        record  BLOB NOT NULL
    ) STRICT;
    CREATE INDEX IF NOT EXISTS told_of ON told(source, id);
    CREATE TABLE IF NOT EXISTS refusals (
        job    INTEGER PRIMARY KEY,
        fault  TEXT NOT NULL,
        reason TEXT NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS audits (
        epoch  INTEGER PRIMARY KEY,
        record TEXT NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS withdrawn (
        leaf    BLOB PRIMARY KEY REFERENCES held(leaf),
        why     TEXT NOT NULL,
        block   INTEGER NOT NULL,
        file    BLOB NOT NULL,
        dropped INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE INDEX IF NOT EXISTS withdrawn_waiting ON withdrawn(leaf) WHERE dropped = 0;
    CREATE INDEX IF NOT EXISTS withdrawn_file ON withdrawn(file);
    CREATE TABLE IF NOT EXISTS finalized (
        only   INTEGER PRIMARY KEY CHECK (only = 1),
        number INTEGER NOT NULL,
        hash   BLOB NOT NULL
    ) STRICT;
";

/// Why the ledger did not answer.
#[derive(Debug, Error)]
pub enum LedgerError {
    /// The database does not work.
    #[error("the ledger failed: {0}; check the disk, then start again")]
    Database(#[from] sqlx::Error),
    /// A row that this version did not write.
    #[error("the ledger has a row that does not parse: {0}")]
    Corrupt(String),
    /// The disk refused the transaction that this change was in: nothing of it was kept.
    #[error(
        "the ledger could not commit: {0}; nothing was acknowledged, check the disk and send it again"
    )]
    NotCommitted(String),
    /// The writer has stopped.
    #[error("the ledger is closed")]
    Closed,
}

/// A contribution that this node holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The signed leaf and its openings.
    pub entry: SignedContribution,
    /// What the node has of its file: all of it; where its contributor keeps that, a [`crate::stub::Stub`]; of one that
    /// was dropped before the ledger was lost, its header, as the name is not known any more.
    pub file: BlobId,
}

/// What became of a new contribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is on the disk.
    New,
    /// This very leaf, or a place of this number or a higher one, was here before.
    Replay,
    /// The contributor used this nonce for another leaf.
    NonceTaken,
    /// Somebody's file has this ephemeral point.
    PointTaken,
}

/// A batch that is to be anchored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchRow {
    /// Number in this ledger.
    pub id: i64,
    /// The manifest's blob.
    pub manifest: BlobId,
    /// The batch's root.
    pub root: B256,
    /// Contributions in it.
    pub count: u32,
}

enum Change {
    Keep(Box<Held>),
    KeepConnected(Box<Held>, Option<Place>),
    Move(Place, BlobId),
    Batch {
        manifest: BlobId,
        root: B256,
        leaves: Vec<Leaf>,
    },
    Anchored(i64),
    Direct(Vec<(Leaf, u64)>),
    Inputs {
        job: u64,
        attempt: u32,
        list: BlobId,
    },
    Run {
        job: u64,
        attempt: u32,
        record: String,
    },
    Refusal {
        job: u64,
        fault: String,
        reason: String,
    },
    ForgetRefusal(u64),
    Told {
        job: u64,
        attempt: u32,
        source: String,
        groups: Vec<u8>,
    },
    Audit {
        epoch: u64,
        record: String,
    },
    Finalized(u64, B256),
    Withdrawn {
        leaf: Leaf,
        why: Withdrawn,
        block: u64,
    },
    Dropped(Leaf),
}

type Reply = oneshot::Sender<Result<Kept, LedgerError>>;

/// Handle to the ledger. Clones share it; it closes with the last of them.
#[derive(Clone)]
pub struct Ledger {
    writes: mpsc::Sender<(Change, Reply)>,
    reads: SqlitePool,
}

impl Ledger {
    /// Opens the ledger at `path`, or makes one.
    ///
    /// # Errors
    /// [`LedgerError::Database`].
    pub async fn open(path: &Path) -> Result<Self, LedgerError> {
        let options = SqliteConnectOptions::from_str("sqlite:")?
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true);
        let mut writer = options.connect().await?;
        sqlx::raw_sql(SCHEMA).execute(&mut writer).await?;
        let reads = options.clone().read_only(true).create_if_missing(false);
        let reads = SqlitePoolOptions::new()
            .max_connections(4)
            .connect_with(reads)
            .await?;
        let (writes, queue) = mpsc::channel(QUEUE);
        tokio::spawn(write(writer, options, queue));
        Ok(Self { writes, reads })
    }

    /// Keeps a contribution, unless its leaf, nonce or point was used before.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn keep(&self, held: Held) -> Result<Kept, LedgerError> {
        self.change(Change::Keep(Box::new(held))).await
    }

    /// Puts waiting contributions into a batch, in this order.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn batch(
        &self,
        manifest: BlobId,
        root: B256,
        leaves: Vec<Leaf>,
    ) -> Result<(), LedgerError> {
        self.change(Change::Batch {
            manifest,
            root,
            leaves,
        })
        .await
        .map(drop)
    }

    /// Notes that a batch stands in a finalized block.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn anchored(&self, batch: i64) -> Result<(), LedgerError> {
        self.change(Change::Anchored(batch)).await.map(drop)
    }

    /// Notes which contributions their contributors anchored, in which finalized blocks: the first each time, and of those that are
    /// held.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn anchored_directly(&self, leaves: Vec<(Leaf, u64)>) -> Result<(), LedgerError> {
        self.change(Change::Direct(leaves)).await.map(drop)
    }

    /// The block in which its contributor anchored a contribution, if it is so.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn direct(&self, leaf: Leaf) -> Result<Option<u64>, LedgerError> {
        let row = sqlx::query("SELECT block FROM direct WHERE leaf = ?")
            .bind(&leaf.0[..])
            .fetch_optional(&self.reads)
            .await?;
        Ok(row.map(|row| row.get::<i64, _>("block") as u64))
    }

    /// Keeps what a run left: never more than one record for an attempt, the first one.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn keep_run(
        &self,
        job: u64,
        attempt: u32,
        record: String,
    ) -> Result<(), LedgerError> {
        self.change(Change::Run {
            job,
            attempt,
            record,
        })
        .await
        .map(drop)
    }

    /// Notes the input list of an attempt, before its release is recorded on chain.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn keep_inputs(
        &self,
        job: u64,
        attempt: u32,
        list: BlobId,
    ) -> Result<(), LedgerError> {
        self.change(Change::Inputs { job, attempt, list })
            .await
            .map(drop)
    }

    /// The input list of an attempt.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn inputs(&self, job: u64, attempt: u32) -> Result<Option<BlobId>, LedgerError> {
        let query = "SELECT list FROM inputs WHERE job = ? AND attempt = ?";
        let row = sqlx::query(query)
            .bind(job as i64)
            .bind(i64::from(attempt))
            .fetch_optional(&self.reads)
            .await?;
        row.map(|row| Ok(BlobId(word(row.get("list"))?)))
            .transpose()
    }

    /// Nonces and leaves of everything that this node ever took in from a contributor.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn of_contributor(
        &self,
        contributor: ContributorId,
    ) -> Result<Vec<(u64, Leaf)>, LedgerError> {
        let query = "SELECT nonce, leaf FROM held WHERE contributor = ?";
        let rows = sqlx::query(query)
            .bind(&contributor.0[..])
            .fetch_all(&self.reads)
            .await?;
        let each = |row: &SqliteRow| {
            let leaf = Leaf(word(row.get("leaf"))?);
            Ok((row.get::<i64, _>("nonce") as u64, leaf))
        };
        rows.iter().map(each).collect()
    }

    /// Notes why a job does not run; a newer reason takes the place of an older one.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn refuse(&self, job: u64, fault: String, reason: String) -> Result<(), LedgerError> {
        self.change(Change::Refusal { job, fault, reason })
            .await
            .map(drop)
    }

    /// Forgets why a job did not run: the blocks that said so are gone.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn forget_refusal(&self, job: u64) -> Result<(), LedgerError> {
        self.change(Change::ForgetRefusal(job)).await.map(drop)
    }

    /// Notes the newest finalized block; a lower one changes nothing.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn keep_finalized(&self, number: u64, hash: B256) -> Result<(), LedgerError> {
        self.change(Change::Finalized(number, hash)).await.map(drop)
    }

    /// Height and hash of the newest block that was seen finalized, in this life or an earlier one.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn finalized(&self) -> Result<Option<(u64, B256)>, LedgerError> {
        let query = "SELECT number, hash FROM finalized";
        let row = sqlx::query(query).fetch_optional(&self.reads).await?;
        row.map(|row| Ok((row.get::<i64, _>("number") as u64, word(row.get("hash"))?)))
            .transpose()
    }

    /// Contributions that are neither in a batch nor anchored directly yet, oldest first.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn waiting(&self, limit: usize) -> Result<Vec<Held>, LedgerError> {
        let query = "SELECT entry, file FROM held
             WHERE batch IS NULL AND leaf NOT IN (SELECT leaf FROM direct) ORDER BY rowid LIMIT ?";
        let rows = sqlx::query(query)
            .bind(limit as i64)
            .fetch_all(&self.reads)
            .await?;
        rows.iter().map(held).collect()
    }

    /// Batches that stand in no finalized block yet, oldest first.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn unanchored(&self) -> Result<Vec<BatchRow>, LedgerError> {
        let query = "SELECT id, manifest, root, count FROM batches WHERE anchored = 0 ORDER BY id";
        let rows = sqlx::query(query).fetch_all(&self.reads).await?;
        rows.iter().map(batch_row).collect()
    }

    /// A contribution by its leaf, with its batch and its place there once it has one.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn contribution(
        &self,
        leaf: Leaf,
    ) -> Result<Option<(Held, Option<(BatchRow, usize)>)>, LedgerError> {
        let query = "SELECT entry, file, batch, place FROM held WHERE leaf = ?";
        let row = sqlx::query(query)
            .bind(&leaf.0[..])
            .fetch_optional(&self.reads)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let batch = match (
            row.get::<Option<i64>, _>("batch"),
            row.get::<Option<i64>, _>("place"),
        ) {
            (Some(id), Some(place)) => {
                let query = "SELECT id, manifest, root, count FROM batches WHERE id = ?";
                let batch = sqlx::query(query).bind(id).fetch_one(&self.reads).await?;
                Some((batch_row(&batch)?, place as usize))
            }
            _ => None,
        };
        Ok(Some((held(&row)?, batch)))
    }

    /// Leaves of all contributions held.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn leaves(&self) -> Result<HashSet<Leaf>, LedgerError> {
        let rows = sqlx::query("SELECT leaf FROM held").fetch_all(&self.reads);
        let rows = rows.await?;
        let leaf = |row: &SqliteRow| Ok(Leaf(word(row.get("leaf"))?));
        rows.iter().map(leaf).collect()
    }

    /// Manifests of all batches.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn manifests(&self) -> Result<HashSet<BlobId>, LedgerError> {
        let rows = sqlx::query("SELECT manifest FROM batches").fetch_all(&self.reads);
        let rows = rows.await?;
        let manifest = |row: &SqliteRow| Ok(BlobId(word(row.get("manifest"))?));
        rows.iter().map(manifest).collect()
    }

    /// How a contribution's leaf, nonce or point was used before, if one was.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn used(&self, contribution: &Contribution) -> Result<Option<Kept>, LedgerError> {
        Ok(used(&mut *self.reads.acquire().await?, contribution).await?)
    }

    /// Where the sealed file of a leaf is kept, if it is.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn file(&self, leaf: Leaf) -> Result<Option<BlobId>, LedgerError> {
        let query = "SELECT file FROM held WHERE leaf = ?
             AND leaf NOT IN (SELECT leaf FROM withdrawn WHERE dropped = 1)";
        let row = sqlx::query(query)
            .bind(&leaf.0[..])
            .fetch_optional(&self.reads)
            .await?;
        row.map(|row| Ok(BlobId(word(row.get("file"))?)))
            .transpose()
    }

    /// Contributions whose files are here, and how many contributions are neither in a batch nor anchored directly yet.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn counts(&self) -> Result<(u64, u64), LedgerError> {
        let query = "SELECT count(*) - (SELECT count(*) FROM withdrawn WHERE dropped = 1),
             count(*) FILTER (WHERE batch IS NULL AND leaf NOT IN (SELECT leaf FROM direct)) FROM held";
        let row = sqlx::query(query).fetch_one(&self.reads).await?;
        Ok((row.get::<i64, _>(0) as u64, row.get::<i64, _>(1) as u64))
    }

    /// What a run left.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn run(&self, job: u64, attempt: u32) -> Result<Option<String>, LedgerError> {
        let query = "SELECT record FROM runs WHERE job = ? AND attempt = ?";
        let row = sqlx::query(query)
            .bind(job as i64)
            .bind(i64::from(attempt))
            .fetch_optional(&self.reads)
            .await?;
        Ok(row.map(|row| row.get("record")))
    }

    /// Why a job will not run: who is at fault, and the reason.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn refusal(&self, job: u64) -> Result<Option<(String, String)>, LedgerError> {
        let query = "SELECT fault, reason FROM refusals WHERE job = ?";
        let row = sqlx::query(query)
            .bind(job as i64)
            .fetch_optional(&self.reads)
            .await?;
        Ok(row.map(|row| (row.get("fault"), row.get("reason"))))
    }

    async fn change(&self, change: Change) -> Result<Kept, LedgerError> {
        let (reply, answer) = oneshot::channel();
        self.writes
            .send((change, reply))
            .await
            .map_err(|_| LedgerError::Closed)?;
        answer.await.map_err(|_| LedgerError::Closed)?
    }
}

/// The only writer: takes what waits, commits it together, then answers all.
///
/// After a failure it goes on over another connection: one whose commit failed may still be in its transaction, and then what
/// looks committed is none.
async fn write(
    writer: SqliteConnection,
    options: SqliteConnectOptions,
    mut queue: mpsc::Receiver<(Change, Reply)>,
) {
    let mut writer = Some(writer);
    let mut group = Vec::with_capacity(GROUP);
    let mut crowded = false;
    while queue.recv_many(&mut group, GROUP).await > 0 {
        if crowded {
            tokio::time::sleep(GATHER).await;
            while group.len() < GROUP
                && let Ok(change) = queue.try_recv()
            {
                group.push(change);
            }
        }
        crowded = group.len() > 1;
        let (changes, replies): (Vec<Change>, Vec<Reply>) = group.drain(..).unzip();
        match commit(&mut writer, &options, &changes).await {
            Ok(outcomes) => {
                for (reply, outcome) in replies.into_iter().zip(outcomes) {
                    // A caller that is gone does not need its answer; the change stands.
                    let _ = reply.send(Ok(outcome));
                }
            }
            Err(error) => {
                tracing::error!(%error, changes = changes.len(), "nothing of a group was committed");
                for reply in replies {
                    let _ = reply.send(Err(LedgerError::NotCommitted(error.to_string())));
                }
            }
        }
    }
}

/// Commits all changes or none. The writer is there afterwards only if it did.
async fn commit(
    writer: &mut Option<SqliteConnection>,
    options: &SqliteConnectOptions,
    changes: &[Change],
) -> Result<Vec<Kept>, sqlx::Error> {
    let mut connection = match writer.take() {
        Some(connection) => connection,
        None => options.connect().await?,
    };
    let mut transaction = connection.begin().await?;
    let mut outcomes = Vec::with_capacity(changes.len());
    for change in changes {
        outcomes.push(apply(&mut transaction, change).await?);
    }
    transaction.commit().await?;
    *writer = Some(connection);
    Ok(outcomes)
}

async fn apply(to: &mut SqliteConnection, change: &Change) -> Result<Kept, sqlx::Error> {
    match change {
        Change::Keep(held) => return keep(to, held).await,
        Change::KeepConnected(held, place) => {
            return places::keep(to, held, place.as_ref()).await;
        }
        Change::Move(place, file) => return places::move_to(to, place, *file).await,
        Change::Batch {
            manifest,
            root,
            leaves,
        } => {
            let row = sqlx::query(
                "INSERT INTO batches (manifest, root, count) VALUES (?, ?, ?) RETURNING id",
            )
            .bind(&manifest.0[..])
            .bind(&root[..])
            .bind(leaves.len() as i64)
            .fetch_one(&mut *to)
            .await?;
            let id: i64 = row.get("id");
            for (place, leaf) in leaves.iter().enumerate() {
                sqlx::query(
                    "UPDATE held SET batch = ?, place = ? WHERE leaf = ? AND batch IS NULL",
                )
                .bind(id)
                .bind(place as i64)
                .bind(&leaf.0[..])
                .execute(&mut *to)
                .await?;
            }
        }
        Change::Anchored(batch) => {
            let query = "UPDATE batches SET anchored = 1 WHERE id = ?";
            sqlx::query(query).bind(batch).execute(to).await?;
        }
        Change::Direct(leaves) => {
            let query = "INSERT INTO direct (leaf, block) SELECT leaf, ? FROM held WHERE leaf = ?
                 ON CONFLICT DO NOTHING";
            for (leaf, block) in leaves {
                sqlx::query(query)
                    .bind(*block as i64)
                    .bind(&leaf.0[..])
                    .execute(&mut *to)
                    .await?;
            }
        }
        Change::Inputs { job, attempt, list } => {
            let query = "INSERT OR REPLACE INTO inputs (job, attempt, list) VALUES (?, ?, ?)";
            sqlx::query(query)
                .bind(*job as i64)
                .bind(i64::from(*attempt))
                .bind(&list.0[..])
                .execute(to)
                .await?;
        }
        Change::Run {
            job,
            attempt,
            record,
        } => {
            let query =
                "INSERT INTO runs (job, attempt, record) VALUES (?, ?, ?) ON CONFLICT DO NOTHING";
            sqlx::query(query)
                .bind(*job as i64)
                .bind(i64::from(*attempt))
                .bind(record)
                .execute(to)
                .await?;
        }
        Change::Refusal { job, fault, reason } => {
            let query = "INSERT OR REPLACE INTO refusals (job, fault, reason) VALUES (?, ?, ?)";
            sqlx::query(query)
                .bind(*job as i64)
                .bind(fault)
                .bind(reason)
                .execute(to)
                .await?;
        }
        Change::ForgetRefusal(job) => {
            let query = "DELETE FROM refusals WHERE job = ?";
            sqlx::query(query).bind(*job as i64).execute(to).await?;
        }
        Change::Told {
            job,
            attempt,
            source,
            groups,
        } => {
            // An attempt that is made once more and tells the same has nothing new to keep; what it tells beyond that is kept, too.
            let query = "INSERT INTO told (job, attempt, source, record) VALUES (?, ?, ?, ?)";
            sqlx::query(query)
                .bind(*job as i64)
                .bind(i64::from(*attempt))
                .bind(source)
                .bind(groups)
                .execute(to)
                .await?;
        }
        Change::Audit { epoch, record } => {
            let query = "INSERT INTO audits (epoch, record) VALUES (?, ?) ON CONFLICT DO NOTHING";
            sqlx::query(query)
                .bind(*epoch as i64)
                .bind(record)
                .execute(to)
                .await?;
        }
        Change::Finalized(number, hash) => {
            let query = "INSERT INTO finalized (only, number, hash) VALUES (1, ?, ?)
                 ON CONFLICT DO UPDATE SET number = excluded.number, hash = excluded.hash
                 WHERE excluded.number > finalized.number";
            sqlx::query(query)
                .bind(*number as i64)
                .bind(&hash[..])
                .execute(to)
                .await?;
        }
        Change::Withdrawn { leaf, why, block } => {
            withdrawn::note(to, *leaf, *why, *block).await?;
        }
        Change::Dropped(leaf) => withdrawn::note_dropped(to, *leaf).await?,
    }
    Ok(Kept::New)
}

async fn keep(to: &mut SqliteConnection, held: &Held) -> Result<Kept, sqlx::Error> {
    let contribution = &held.entry.contribution;
    let leaf = contribution.leaf();
    let entry = serde_json::to_string(&held.entry).expect("an entry is plain JSON values");
    let inserted = sqlx::query(
        "INSERT INTO held (leaf, contributor, nonce, point, file, entry)
         VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )
    .bind(&leaf.0[..])
    .bind(&contribution.contributor.0[..])
    .bind(contribution.nonce as i64)
    .bind(&contribution.point.0[..])
    .bind(&held.file.0[..])
    .bind(entry)
    .execute(&mut *to)
    .await?;
    if inserted.rows_affected() == 1 {
        return Ok(Kept::New);
    }
    let used = used(to, contribution).await?;
    Ok(used.expect("a conflict is one of leaf, nonce or point"))
}

async fn used(
    to: &mut SqliteConnection,
    contribution: &Contribution,
) -> Result<Option<Kept>, sqlx::Error> {
    if holds_leaf(to, contribution.leaf()).await? {
        return Ok(Some(Kept::Replay));
    }
    if nonce_taken(to, contribution.contributor, contribution.nonce).await? {
        return Ok(Some(Kept::NonceTaken));
    }
    let point = sqlx::query("SELECT 1 FROM held WHERE point = ?")
        .bind(&contribution.point.0[..])
        .fetch_optional(to)
        .await?;
    Ok(point.map(|_| Kept::PointTaken))
}

async fn holds_leaf(to: &mut SqliteConnection, leaf: Leaf) -> Result<bool, sqlx::Error> {
    let query = "SELECT 1 FROM held WHERE leaf = ?";
    Ok(sqlx::query(query)
        .bind(&leaf.0[..])
        .fetch_optional(to)
        .await?
        .is_some())
}

async fn nonce_taken(
    to: &mut SqliteConnection,
    contributor: ContributorId,
    nonce: u64,
) -> Result<bool, sqlx::Error> {
    let query = "SELECT 1 FROM held WHERE contributor = ? AND nonce = ?";
    let row = sqlx::query(query)
        .bind(&contributor.0[..])
        .bind(nonce as i64)
        .fetch_optional(to)
        .await?;
    Ok(row.is_some())
}

fn held(row: &SqliteRow) -> Result<Held, LedgerError> {
    let entry = serde_json::from_str(&row.get::<String, _>("entry"))
        .map_err(|error| LedgerError::Corrupt(error.to_string()))?;
    Ok(Held {
        entry,
        file: BlobId(word(row.get("file"))?),
    })
}

fn batch_row(row: &SqliteRow) -> Result<BatchRow, LedgerError> {
    Ok(BatchRow {
        id: row.get("id"),
        manifest: BlobId(word(row.get("manifest"))?),
        root: word(row.get("root"))?,
        count: row.get::<i64, _>("count") as u32,
    })
}

fn word(bytes: Vec<u8>) -> Result<B256, LedgerError> {
    B256::try_from(&bytes[..])
        .map_err(|_| LedgerError::Corrupt(format!("{} bytes where 32 belong", bytes.len())))
}
