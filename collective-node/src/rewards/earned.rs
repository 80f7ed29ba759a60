//! What was earned by whom: settled jobs and settled epochs, in the order in which they settled (SPEC "Rewards").
//!
//! A log says where to look and in which order, never what counts: amounts, states and roots are proven storage.

use std::collections::{HashMap, HashSet};
use std::fmt;

use alloy::primitives::{Address, B256, U256};
use alloy::rpc::types::{Filter, Log};
use alloy::sol_types::SolEvent;
use collective::approval::{Manifest, Payment};
use collective::id::{BlobId, ContributorId, Leaf};
use collective::reward::{Earning, RewardLedger};

use super::inputs::derived;
use super::{Epochs, Inputs, RewardError};
use crate::blobs::{Blobs, given};
use crate::chain::Chain;
use crate::chain::facts::{JobFact, JobState};
use crate::follower::View;
use crate::receipts::{duplicates, receipt_on_chain};
use collective_contracts::{JobEscrow, LivenessRegistry};

/// Something that paid contributors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Settled {
    /// A job that was settled, or abandoned by its node.
    Job(u64),
    /// A day, counted from 1970-01-01 UTC.
    Epoch(u64),
}

impl fmt::Display for Settled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Job(job) => write!(f, "job {job}"),
            Self::Epoch(epoch) => write!(f, "epoch {epoch}"),
        }
    }
}

/// Everything that was finally settled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Earned {
    /// In the order in which it settled.
    pub earnings: Vec<(Settled, Earning)>,
    /// What cannot be worked out yet, and what for it is not here. Once it is, leaves grow by it.
    pub waiting: Vec<(Settled, &'static str)>,
    /// Of jobs whose equal contents earn once, what the node that ran them said of it.
    pub said: Vec<Said>,
}

/// What the node that ran a job said of equal contents: its word, which nobody else can check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// The job.
    pub job: u64,
    /// Contributions that earn nothing, or `None` where the list is missing or impossible: then all earn.
    pub unpaid: Option<u32>,
    /// Contributions of the input set.
    pub count: u32,
}

impl Earned {
    /// All of it, credited.
    ///
    /// # Errors
    /// [`RewardError::Divide`].
    pub fn ledger(&self, treasury: Address) -> Result<RewardLedger, RewardError> {
        Ok(self.walk(treasury, |_| false)?.1)
    }

    /// How much of it, from the first on, a root over `total` is, and the ledger that gives it; `None` where it is something
    /// else.
    ///
    /// # Errors
    /// [`RewardError::Divide`].
    pub fn up_to(
        &self,
        treasury: Address,
        (root, total): (B256, U256),
    ) -> Result<Option<(usize, RewardLedger)>, RewardError> {
        let is_it = |ledger: &RewardLedger| {
            ledger.total() == Ok(total) && ledger.tree().is_some_and(|tree| tree.root() == root)
        };
        let (count, ledger) = self.walk(treasury, is_it)?;
        Ok(is_it(&ledger).then_some((count, ledger)))
    }

    /// The first that another ledger does not have in full.
    ///
    /// # Errors
    /// [`RewardError::Divide`].
    pub fn first_beyond(
        &self,
        treasury: Address,
        other: &RewardLedger,
    ) -> Result<Option<Settled>, RewardError> {
        let is_beyond = |ledger: &RewardLedger| !ledger.is_within(other);
        let (count, ledger) = self.walk(treasury, is_beyond)?;
        Ok(is_beyond(&ledger).then(|| self.earnings[count - 1].0))
    }

    /// Credits one after the other until `enough`, or all; says how many were, and what they came to.
    fn walk(
        &self,
        treasury: Address,
        enough: impl Fn(&RewardLedger) -> bool,
    ) -> Result<(usize, RewardLedger), RewardError> {
        let mut ledger = RewardLedger::default();
        for (place, (what, earning)) in self.earnings.iter().enumerate() {
            let credited = ledger.credit(earning, treasury);
            let what = *what;
            credited.map_err(|refusal| RewardError::Divide { what, refusal })?;
            if enough(&ledger) {
                return Ok((place + 1, ledger));
            }
        }
        Ok((self.earnings.len(), ledger))
    }
}

/// What rewards are worked out from.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// The chain.
    pub chain: &'a Chain,
    /// Manifests, input lists, posted results.
    pub blobs: &'a Blobs,
    /// What is anchored; its newest finalized block is the one up to which everything is worked out.
    pub view: &'a View,
    /// Who says what jobs read.
    pub inputs: Inputs<'a>,
}

/// Whose a contribution is, and how many bytes its payload has.
pub(super) type Owners = HashMap<Leaf, (ContributorId, u64)>;

impl Sources<'_> {
    /// Everything that was finally settled; `epochs` is what was worked out of posted epochs before.
    ///
    /// # Errors
    /// [`RewardError`].
    pub async fn earned(&self, epochs: &mut Epochs) -> Result<Earned, RewardError> {
        // Also of what counts no more: it was paid for.
        let anchored = self.view.index.anchored().map(|it| &it.entry);
        let owners: Owners = anchored
            .map(|it| {
                let owner = (it.contribution.contributor, it.commitment.length);
                (it.contribution.leaf(), owner)
            })
            .collect();
        epochs.follow(self, &owners).await?;
        let mut earned = Earned::default();
        for what in self.settled().await? {
            let found = match what {
                Settled::Job(job) => self.of_job(job, &owners, &mut earned.said).await?,
                Settled::Epoch(epoch) => epochs.earning(self, epoch).await?,
            };
            match found {
                Found::Nothing => {}
                Found::Missing(missing) => earned.waiting.push((what, missing)),
                Found::Earning(earning) => earned.earnings.push((what, earning)),
            }
        }
        Ok(earned)
    }

    /// What settled, in that order, each once.
    async fn settled(&self) -> Result<Vec<Settled>, RewardError> {
        let deployment = self.chain.deployment();
        let filter = Filter::new()
            .address(vec![deployment.escrow, deployment.liveness])
            .event_signature(vec![
                JobEscrow::Settled::SIGNATURE_HASH,
                JobEscrow::Abandoned::SIGNATURE_HASH,
                LivenessRegistry::EpochSettled::SIGNATURE_HASH,
            ]);
        let up_to = self.view.finalized.number;
        let logs = self.chain.logs(filter, deployment.first_block, up_to);
        let word = |log: &Log, place: usize| {
            let word = log.topics().get(place)?;
            Some(U256::from_be_bytes(word.0).saturating_to::<u64>())
        };
        let what = |log: &Log| {
            if log.address() == deployment.escrow {
                return word(log, 1).map(Settled::Job);
            }
            let is_ours = log.topics().get(1) == Some(&deployment.collective.into_word());
            is_ours.then(|| word(log, 2)).flatten().map(Settled::Epoch)
        };
        let mut seen = HashSet::new();
        let settled = logs.await?.iter().filter_map(what).collect::<Vec<_>>();
        let first = settled.into_iter().filter(|what| seen.insert(*what));
        Ok(first.collect())
    }

    async fn of_job(
        &self,
        job: u64,
        owners: &Owners,
        said: &mut Vec<Said>,
    ) -> Result<Found, RewardError> {
        let (deployment, finalized) = (self.chain.deployment(), &self.view.finalized);
        let fact = self.chain.job(finalized, job).await?;
        let ended = matches!(fact.state, JobState::Settled | JobState::Abandoned);
        if fact.lease.collective != deployment.collective || !ended {
            return Ok(Found::Nothing);
        }
        // What the contract paid, from proven storage: a log is a hint.
        let digest = fact.lease.manifest;
        let (_, terms) = self.chain.approval(finalized, digest).await?;
        let amount = terms.price * U256::from(terms.contributors_bps) / U256::from(10_000);
        if terms.token != deployment.token || amount.is_zero() {
            return Ok(Found::Nothing);
        }
        let Some(payment) = self.payment(BlobId(digest.0)).await? else {
            return Ok(Found::Missing("its manifest"));
        };
        let leaves = match (self.inputs.of(job, &fact).await?, self.inputs) {
            (None, Inputs::Node(_)) => {
                derived(self.chain, self.blobs, self.view.clone(), &fact).await
            }
            (given, _) => given,
        };
        let Some(leaves) = leaves else {
            return Ok(Found::Missing("its input list"));
        };
        let owned = leaves.iter().map(|leaf| owners.get(leaf).copied());
        let Some(owned) = owned.collect::<Option<Vec<_>>>() else {
            return Ok(Found::Missing("a batch that anchored what it read"));
        };
        let unpaid = match payment.distinct {
            true => self.duplicates(job, &fact, said).await?,
            false => Some(vec![]),
        };
        let Some(unpaid) = unpaid else {
            return Ok(Found::Missing("what its receipt says of equal contents"));
        };
        let paid = (0_u32..).zip(owned);
        let paid = paid.filter(|(place, _)| unpaid.binary_search(place).is_err());
        let shares = paid.map(|(_, (id, bytes))| (id, payment.rule.share(bytes)));
        Ok(Found::Earning(Earning {
            amount,
            shares: shares.collect(),
        }))
    }

    /// Places in the input set that earn nothing, as the receipt's node says; none where the run was abandoned, or where it says so
    /// in a way that no run does. `None` where nobody gives what the receipt names.
    async fn duplicates(
        &self,
        job: u64,
        fact: &JobFact,
        said: &mut Vec<Said>,
    ) -> Result<Option<Vec<u32>>, RewardError> {
        if fact.state == JobState::Abandoned {
            return Ok(Some(vec![]));
        }
        let Some(receipt) = receipt_on_chain(self.chain, job, fact).await? else {
            return Ok(None);
        };
        let Some(bytes) = given(self.blobs.get(BlobId(receipt.sandbox)).await)? else {
            return Ok(None);
        };
        let places = duplicates(&bytes, fact.input_count);
        let unpaid = |places: &Vec<u32>| u32::try_from(places.len()).unwrap_or(u32::MAX);
        said.push(Said {
            job,
            unpaid: places.as_ref().map(unpaid),
            count: fact.input_count,
        });
        Ok(Some(places.unwrap_or_default()))
    }

    /// How members decided that contributors' money is divided.
    async fn payment(&self, manifest: BlobId) -> Result<Option<Payment>, RewardError> {
        let bytes = given(self.blobs.get(manifest).await)?;
        let manifest = bytes.and_then(|bytes| Manifest::parse(&bytes).ok());
        Ok(manifest.map(|manifest| manifest.payment))
    }
}

/// What came of something that settled.
pub(super) enum Found {
    /// It paid contributors nothing in the collective's token.
    Nothing,
    /// It cannot be worked out without this.
    Missing(&'static str),
    /// Money.
    Earning(Earning),
}
