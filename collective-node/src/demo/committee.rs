//! The committee of a story: key holders that are processes of their own, each with an operator, a folder and an account.
//!
//! The story kills one of them, has one lie, and replaces both. It talks to them as any node does, over the wire.

use std::num::ParseIntError;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::B256;
use anyhow::{Context, Result, ensure};
use collective::committee::ceremony::plan::Plan;
use collective::id::KeysHash;
use thiserror::Error;
use url::Url;

use super::World;
use crate::client::Client;
use crate::convening::{Convening, Patience};
use crate::governance::{Action, Motion};
use crate::holder::serve::HolderStatus;
use crate::wire;

pub use operator::Operator;

pub mod blame;
pub mod found;
mod operator;
mod renewal;
pub mod reshare;

/// Members of the story's first committee: two cores run the processes, and four more in the end.
const MAX_SIZE: u16 = 7;

/// Who is killed and who lies. Of members that did equally well so far the node asks those with the lowest numbers, so
/// that both are asked, and named.
const LIAR: usize = 0;
const DEAD: usize = 1;

/// How long holders may take until they have seen a block: a look at the chain every half second, on a loaded machine.
const SEEING: Duration = Duration::from_secs(60);

/// t and n of the story's first committee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// How many open a file.
    pub threshold: u16,
    /// How many there are.
    pub members: u16,
}

/// Why the story is not told with a committee.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SizeError {
    /// Another form.
    #[error("a committee reads t-of-n, as in 3-of-5")]
    Form,
    /// The account of a committee of one needs no flag.
    #[error("a committee of one, or one that any member opens alone, is told without this option")]
    Alone,
    /// Nobody can be missing.
    #[error(
        "the story kills one member and has one lie: n is at least t + 2, so that t others are left"
    )]
    NobodyToSpare,
    /// Too many processes.
    #[error("the story is told with at most {MAX_SIZE} members: each is a process on this machine")]
    TooMany,
}

impl From<ParseIntError> for SizeError {
    fn from(_: ParseIntError) -> Self {
        Self::Form
    }
}

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let (threshold, members) = text.split_once("-of-").ok_or(SizeError::Form)?;
        let (threshold, members) = (threshold.parse::<u16>()?, members.parse::<u16>()?);
        if threshold < 2 {
            return Err(SizeError::Alone);
        }
        if members > MAX_SIZE {
            return Err(SizeError::TooMany);
        }
        if members < threshold.saturating_add(2) {
            return Err(SizeError::NobodyToSpare);
        }
        Ok(Self { threshold, members })
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-of-{}", self.threshold, self.members)
    }
}

/// The committee in force and the processes that it consists of.
pub struct Holders {
    /// Its t and n.
    pub size: Size,
    /// Its members, in the order of their numbers.
    pub operators: Vec<Operator>,
    folder: PathBuf,
    convening: Convening,
    /// How many operators there ever were.
    made: u16,
    /// How many of the members, from the first on, were in the committee before this one.
    stayed: usize,
}

impl Holders {
    /// Nobody yet; the operators' folders will be in `folder`.
    async fn none(world: &World, folder: &Path, size: Size) -> Result<Self> {
        let patience = Patience {
            round: Duration::from_secs(30),
            // All are on this machine: what delays them is that they have not seen a block yet.
            retry: Duration::from_millis(250),
        };
        Ok(Self {
            size,
            operators: vec![],
            folder: folder.to_owned(),
            convening: Convening {
                chain: world.reader().await?,
                archive: Client::new(world.address()?.parse()?)?,
                wire: Arc::new(wire::Client::new(world.keys.transport_key())),
                patience,
            },
            made: 0,
            stayed: 0,
        })
    }

    /// Operators that join: keys, registration, what members have to accept.
    async fn joining(
        &mut self,
        world: &World,
        count: u16,
    ) -> Result<(Vec<Operator>, Vec<KeysHash>)> {
        let mut operators = Vec::new();
        let mut accept = Vec::new();
        for _ in 0..count {
            self.made += 1;
            let (operator, keys) = Operator::register(world, &self.folder, self.made)
                .await
                .with_context(|| format!("registering key holder {}", self.made))?;
            operators.push(operator);
            accept.push(keys);
        }
        // What is planned with them is read in a final block.
        world.settle_in().await?;
        Ok((operators, accept))
    }

    /// Holds the ceremony, publishes the committee and has it accepted; says how long the ceremony took.
    async fn certify(&self, world: &World, plan: Plan, description: &str) -> Result<Duration> {
        let started = std::time::Instant::now();
        let certified = self.convening.hold(plan).await?;
        let took = started.elapsed();
        let by = world.provider(&world.deployer);
        let hash: B256 = self.convening.publish(&by, &certified).await?;
        let motion = Motion {
            actions: vec![Action::accept_committee(&world.deployment, hash)],
            description: description.into(),
        };
        world.decide(&motion).await?;
        let epoch = certified.plan.proposal().epoch;
        self.wait_for_epoch(world, epoch).await?;
        Ok(took)
    }

    /// Waits until every running member has indexed what the compute node has.
    async fn wait_until_seen(&self, world: &World) -> Result<()> {
        self.wait_for(world, |_| true).await
    }

    /// Waits until that, and until every running member has a share of this epoch.
    async fn wait_for_epoch(&self, world: &World, epoch: u64) -> Result<()> {
        self.wait_for(world, |status| status.epoch == epoch).await
    }

    async fn wait_for(&self, world: &World, ready: impl Fn(&HolderStatus) -> bool) -> Result<()> {
        let seen = world.view()?.finalized.number;
        let end = tokio::time::Instant::now() + SEEING;
        for operator in self.operators.iter().filter(|it| it.is_running()) {
            loop {
                let status = operator.status(&self.convening.wire).await;
                if let Ok(status) = &status
                    && status.finalized >= seen
                    && ready(status)
                {
                    break;
                }
                let name = &operator.name;
                ensure!(
                    tokio::time::Instant::now() < end,
                    "{name} is not ready: {status:?}; see its keyholder.log"
                );
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        Ok(())
    }

    /// Where those show their logs who opened a job: the first one, of which some have left, or a later one.
    pub fn logs(&self, first: bool) -> Vec<Url> {
        let count = if first {
            self.stayed
        } else {
            self.operators.len()
        };
        let members = self.operators.iter().take(count);
        members.map(|it| it.public.clone()).collect()
    }

    /// Kills one member's process, and says who it was.
    ///
    /// # Errors
    /// Where it runs no more.
    pub async fn kill_one(&mut self) -> Result<String> {
        let operator = &mut self.operators[DEAD];
        operator.kill().await?;
        Ok(operator.name.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t_of_n_is_read_and_limited() {
        let size = |text: &str| text.parse::<Size>();
        let (threshold, members) = (3, 5);
        assert_eq!(size("3-of-5"), Ok(Size { threshold, members }));
        assert_eq!(size("3-of-5").map(|it| it.to_string()), Ok("3-of-5".into()));
        assert!(size("2-of-4").is_ok() && size("5-of-7").is_ok());
        assert_eq!(size("three"), Err(SizeError::Form));
        assert_eq!(size("3-of-"), Err(SizeError::Form));
        assert_eq!(size("-3-of-5"), Err(SizeError::Form));
        assert_eq!(size("1-of-1"), Err(SizeError::Alone));
        assert_eq!(size("3-of-4"), Err(SizeError::NobodyToSpare));
        assert_eq!(size("3-of-8"), Err(SizeError::TooMany));
        assert_eq!(size("65535-of-7"), Err(SizeError::NobodyToSpare));
    }
}
