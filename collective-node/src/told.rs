//! Decides which groups of a query may be told, and remembers them: before anything of a run leaves the sandbox.
//!
//! Every decision looks at all that this node has told of the source before, so decisions are made one at a time. What is
//! remembered says of contributors what they belong to: it is sealed to the node's own key.

use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy::primitives::B256;
use aws_lc_rs::hmac;
use collective::groups::{GroupsRefusal, Member, Screening, Told};
use collective::id::{ContributorId, Leaf, sha256};
use collective::permit::{Code, Grant};
use collective::seal::{self, Recipient};
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::keystore::Keystore;
use crate::ledger::{Ledger, LedgerError, ToldRow};
use crate::sandbox::{Failure, Fault, Grouping, Run, Sandbox, Task};

/// Runs whose groups are remembered for one source: every later query is compared with all of them. Beyond it nothing new is
/// told of the source.
pub const MAX_TOLD_RUNS: u64 = 1_024;

/// Bytes that are remembered for one source, some 68 for each contributor of each run: they are read and opened for every
/// query, which takes seconds. Beyond it nothing new is told of the source.
pub const MAX_TOLD_BYTES: u64 = 1 << 30;

/// How long it takes to decide, by the clock, where next to nothing was told before: a hundred times what it takes.
const PAUSE: Duration = Duration::from_secs(1);

/// For as many bytes that are remembered it takes one [`PAUSE`] more: some ten times what reading and comparing them takes.
const BYTES_OF_A_PAUSE: u64 = 32 << 20;

/// Bytes of a MAC.
const MAC_BYTES: usize = 32;

/// Why nothing is told.
#[derive(Debug, Error)]
pub enum TellError {
    /// The sandbox, or the query.
    #[error(transparent)]
    Run(#[from] Failure),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// What was told before cannot be read: whether this differs from it by few is not known.
    #[error(
        "what was told before does not open, or is not all that this node kept: restore the ledger that belongs to these keys"
    )]
    Unreadable,
    /// Not all of the input set reached the query.
    #[error("the query was not given the whole input set")]
    CutShort,
    /// The worker made groups that are none.
    #[error("the worker for SQL broke the protocol: {0}")]
    Groups(#[from] GroupsRefusal),
}

/// Why no query over a source gets a lease.
pub const FULL: &str = "queries have told of this source as much as a node remembers: nothing new is told of it any more";

/// What a node remembers of what its queries told.
#[derive(Clone)]
pub struct Memory {
    /// Where it is kept.
    pub ledger: Ledger,
    /// What it is sealed to.
    pub keys: Arc<Keystore>,
    /// Held while a decision is made and kept.
    pub deciding: Arc<Mutex<()>>,
}

/// Whose records a query was handed.
#[derive(Default)]
pub struct Handed {
    /// Files of the input set.
    pub expected: usize,
    /// Those that were read, with a record in them or not.
    pub read: usize,
    /// Whose each record was, in the order of the records.
    pub members: Vec<Member>,
}

/// The run that asks.
#[derive(Clone, Debug)]
pub struct Telling {
    /// The job.
    pub job: u64,
    /// Its attempt.
    pub attempt: u32,
    /// The source that it reads.
    pub source: String,
    /// The approved minimum group.
    pub minimum: u32,
}

impl Telling {
    /// What a granted run tells of.
    #[must_use]
    pub fn of(grant: &Grant) -> Self {
        let (manifest, release) = (grant.manifest(), grant.release());
        Self {
            job: release.job,
            attempt: release.attempt,
            source: manifest.dataset.source.clone(),
            minimum: manifest.output.minimum_group,
        }
    }
}

impl Memory {
    /// Which groups may be told, out of those that were made of the records that were handed over. When this returns, they count
    /// as told, whatever becomes of the run. Blocks: it belongs on a thread of its own.
    ///
    /// # Errors
    /// [`TellError`]; nothing may be told then.
    pub fn screen(
        &self,
        runtime: &Handle,
        telling: &Telling,
        handed: &Handed,
        grouping: Grouping,
    ) -> Result<Vec<bool>, TellError> {
        // Where the reader stopped early, these are groups of some, and must not count as told.
        if handed.read != handed.expected {
            return Err(TellError::CutShort);
        }
        let Grouping { readable, groups } = grouping;
        let mut screening = Screening::new(&handed.members, readable, groups, telling.minimum)?;
        runtime.block_on(async {
            let _deciding = self.deciding.lock().await;
            let mut rows = Rows::of(self, &telling.source);
            let mut after = 0;
            while let Some(row) = self.ledger.told_after(&telling.source, after).await? {
                after = row.id;
                let plain = self.keys.open_sealed(rows.next(&row)?);
                let plain = plain.map_err(|_| TellError::Unreadable)?;
                screening.compare(&Told::parse(&plain).map_err(|_| TellError::Unreadable)?);
            }
            let (kept, told) = screening.finish();
            match told {
                // Seen before the lease, unless another run filled it since.
                Some(_) if self.is_full(&telling.source).await? => Ok(vec![false; kept.len()]),
                Some(told) => self.keep(telling, rows, &told).await.map(|()| kept),
                None => Ok(kept),
            }
        })
    }

    async fn keep(&self, telling: &Telling, rows: Rows, told: &Told) -> Result<(), TellError> {
        let to = Recipient::Tagged(self.keys.node_recipient().clone());
        let plain = Zeroizing::new(told.to_bytes());
        let sealed = seal::seal(&[to], &plain, &mut rand::rng());
        let sealed = sealed.map_err(|_| TellError::Unreadable)?;
        let Telling {
            job,
            attempt,
            source,
            ..
        } = telling.clone();
        let row = rows.last(job, attempt, &sealed);
        Ok(self.ledger.keep_told(job, attempt, source, row).await?)
    }

    /// Whether what was told of a source can be compared with, as far as the first row shows: by other keys, or with another
    /// node's ledger, no query can be answered, and none should be leased.
    ///
    /// # Errors
    /// [`TellError::Unreadable`], [`TellError::Ledger`].
    pub async fn check(&self, source: &str) -> Result<(), TellError> {
        let Some(row) = self.ledger.told_after(source, 0).await? else {
            return Ok(());
        };
        let mut rows = Rows::of(self, source);
        let opened = self.keys.open_sealed(rows.next(&row)?);
        opened.map(drop).map_err(|_| TellError::Unreadable)
    }

    /// Whether nothing new can be told of a source.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn is_full(&self, source: &str) -> Result<bool, LedgerError> {
        let told = self.ledger.told_size(source).await?;
        Ok(told.runs >= MAX_TOLD_RUNS || told.bytes >= MAX_TOLD_BYTES)
    }

    /// What a decision over a source takes by the clock, or a whole number of times that where the machine is slow: how long
    /// the comparing takes follows who was told of.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn pause(&self, source: &str) -> Result<Duration, LedgerError> {
        let told = self.ledger.told_size(source).await?;
        let more = u32::try_from(told.bytes / BYTES_OF_A_PAUSE).unwrap_or(u32::MAX);
        Ok(PAUSE.saturating_mul(1 + more))
    }
}

/// Waits until a whole number of pauses has passed since `began`, one at least, and says how long that was.
pub fn wait_out(pause: Duration, began: Instant) -> Duration {
    let passed = began.elapsed().as_nanos();
    let pauses = passed.div_ceil(pause.as_nanos().max(1)).max(1);
    let pauses = u32::try_from(pauses).unwrap_or(u32::MAX);
    std::thread::sleep(pause.saturating_mul(pauses).saturating_sub(began.elapsed()));
    began.elapsed()
}

/// The rows of one source in their order: each stands under a MAC that covers the one before (SPEC "Groups of a query").
struct Rows {
    key: hmac::Key,
    source: String,
    before: [u8; MAC_BYTES],
}

impl Rows {
    fn of(memory: &Memory, source: &str) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &*memory.keys.told_key()),
            source: source.into(),
            before: [0; MAC_BYTES],
        }
    }

    /// What is sealed in the next row, if it is the one that was kept there.
    fn next<'a>(&mut self, row: &'a ToldRow) -> Result<&'a [u8], TellError> {
        let parts = row.groups.split_first_chunk();
        let (mac, sealed) = parts.ok_or(TellError::Unreadable)?;
        let message = self.message(row.job, row.attempt, sealed);
        hmac::verify(&self.key, &message, mac).map_err(|_| TellError::Unreadable)?;
        self.before = *mac;
        Ok(sealed)
    }

    /// The row that comes after all of them.
    fn last(&self, job: u64, attempt: u32, sealed: &[u8]) -> Vec<u8> {
        let mac = hmac::sign(&self.key, &self.message(job, attempt, sealed));
        [mac.as_ref(), sealed].concat()
    }

    fn message(&self, job: u64, attempt: u32, sealed: &[u8]) -> Vec<u8> {
        [
            &self.before[..],
            &job.to_be_bytes(),
            &attempt.to_be_bytes(),
            &sha256(sealed).0,
            self.source.as_bytes(),
        ]
        .concat()
    }
}

/// Runs a program, or a query of which groups under `minimum` are not told, on mock data. Nothing was told of it before.
///
/// # Errors
/// As [`Sandbox::try_out`].
pub fn try_out(
    sandbox: &Sandbox,
    task: &Task,
    records: Vec<Zeroizing<Vec<u8>>>,
    minimum: u32,
) -> Result<Run, Failure> {
    let count = records.len();
    match task.code {
        Code::Sql(_) => sandbox.try_query(task, records.into_iter(), |grouping| {
            screen_alone(count, minimum, grouping)
        }),
        _ => sandbox.try_out(task, records.into_iter()),
    }
}

/// Which groups of mock data could be told where nothing was told before.
///
/// # Errors
/// [`Failure::Operator`] where the worker made groups that are none.
pub fn screen_alone(
    records: usize,
    minimum: u32,
    grouping: Grouping,
) -> Result<Vec<bool>, Failure> {
    let member = |place: usize| {
        let word = B256::left_padding_from(&place.to_be_bytes());
        Member {
            contributor: ContributorId(word),
            leaf: Leaf(word),
        }
    };
    let members: Vec<Member> = (0..records).map(member).collect();
    let screening = Screening::new(&members, grouping.readable, grouping.groups, minimum);
    let screening = screening.map_err(|_| Fault::Protocol("groups that are none"))?;
    Ok(screening.finish().0)
}

#[cfg(test)]
mod tests;
