//! Decides which groups of a query may be told, and remembers them: before anything of a run leaves the sandbox.
//!
//! Every decision looks at all that this node has told of the source before, so decisions are made one at a time. What is
//! remembered says of contributors what they belong to: it is sealed to the node's own key.

use std::sync::Arc;

use alloy::primitives::B256;
use collective::groups::{GroupsRefusal, Member, Screening, Told};
use collective::id::{ContributorId, Leaf};
use collective::permit::{Code, Grant};
use collective::seal::{self, Recipient};
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::keystore::Keystore;
use crate::ledger::{Ledger, LedgerError};
use crate::sandbox::{Failure, Fault, Grouping, Run, Sandbox, Task};

/// Runs whose groups are remembered for one source: every later query is compared with all of them, which takes seconds where
/// each had a hundred thousand contributors. Beyond it nothing new is told of the source.
pub const MAX_TOLD_RUNS: u64 = 1_024;

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
    #[error("what was told before does not open: restore the ledger that belongs to these keys")]
    Unreadable,
    /// No room for more.
    #[error(
        "queries have told of this source {MAX_TOLD_RUNS} times: nothing new is told of it any more"
    )]
    Full,
    /// Not all of the input set reached the query.
    #[error("the query was not given the whole input set")]
    CutShort,
    /// The worker made groups that are none.
    #[error("the worker for SQL broke the protocol: {0}")]
    Groups(#[from] GroupsRefusal),
}

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
    /// Which groups may be told, out of those that were made of `members`. When this returns, they count as told, whatever
    /// becomes of the run. Blocks: it belongs on a thread of its own.
    ///
    /// # Errors
    /// [`TellError`]; nothing may be told then.
    pub fn screen(
        &self,
        runtime: &Handle,
        telling: &Telling,
        members: &[Member],
        grouping: Grouping,
    ) -> Result<Vec<bool>, TellError> {
        let Grouping { readable, groups } = grouping;
        let mut screening = Screening::new(members, readable, groups, telling.minimum)?;
        runtime.block_on(async {
            let _deciding = self.deciding.lock().await;
            let mut after = 0;
            while let Some(row) = self.ledger.told_after(&telling.source, after).await? {
                after = row.id;
                let plain = self.keys.open_sealed(&row.groups);
                let plain = plain.map_err(|_| TellError::Unreadable)?;
                screening.compare(&Told::parse(&plain).map_err(|_| TellError::Unreadable)?);
            }
            let (kept, told) = screening.finish();
            if let Some(told) = told {
                self.keep(telling, &told).await?;
            }
            Ok(kept)
        })
    }

    async fn keep(&self, telling: &Telling, told: &Told) -> Result<(), TellError> {
        if self.is_full(&telling.source).await? {
            return Err(TellError::Full);
        }
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
        Ok(self.ledger.keep_told(job, attempt, source, sealed).await?)
    }

    /// Whether nothing new can be told of a source.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn is_full(&self, source: &str) -> Result<bool, LedgerError> {
        Ok(self.ledger.count_told(source).await? >= MAX_TOLD_RUNS)
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
