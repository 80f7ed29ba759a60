//! Who earned in which epoch for being reachable: posted results, checked against chain and draws, one day after the other
//! (SPEC "Liveness").

use std::collections::{BTreeMap, BTreeSet};

use collective::id::{ContributorId, Leaf};
use collective::liveness::{EPOCH_SECONDS, Epoch, Keepers, Outcome, OwnDraw, Results, Verdict};
use collective::reward::Earning;

use super::RewardError;
use super::earned::{Found, Owners, Sources};
use crate::blobs::given;
use crate::chain::facts::EpochFact;

/// What an epoch waits for that was posted by an account whose batches are not followed here.
const ANOTHER_AUDITOR: &str = "the batches of its auditor: only the node's own are followed";
const RESULTS: &str = "its results or those of an earlier one";

/// Everything that posted epochs came to, as far as it cannot change any more. It is worked out once while a process runs.
#[derive(Default)]
pub struct Epochs {
    keepers: Keepers,
    earners: BTreeMap<u64, Vec<ContributorId>>,
    /// Those of them whose pay is not with RewardDistributor for good.
    unsettled: BTreeSet<u64>,
    /// The first epoch that is not in it; 0 before any was looked for.
    next: u64,
    /// What that one waits for.
    missing: Option<&'static str>,
}

impl Epochs {
    /// Takes over all epochs whose disputes are over, in their order, up to the first whose results nobody gives: who earns
    /// in later ones depends on it.
    pub(super) async fn follow(
        &mut self,
        from: &Sources<'_>,
        owners: &Owners,
    ) -> Result<(), RewardError> {
        let at = from.view.finalized;
        self.missing = None;
        if self.next == 0 {
            let first = from.chain.deployment().first_block;
            self.next = Epoch::at(from.chain.at_height(first).await?.time);
        }
        let last = from.chain.last_epoch(&at).await?;
        while self.next <= last {
            let fact = from.chain.epoch(&at, self.next).await?;
            // One that was vetoed counts as one that was never posted.
            if !fact.root.is_zero() {
                if at.time < fact.settle_from {
                    return Ok(());
                }
                match draws(self.next, &fact, from, owners).await? {
                    Ok(draws) => {
                        let earners = self.keepers.note(draws);
                        self.earners.insert(self.next, earners);
                        if !fact.pay.is_zero() {
                            self.unsettled.insert(self.next);
                        }
                    }
                    Err(missing) => {
                        self.missing = Some(missing);
                        return Ok(());
                    }
                }
            }
            self.next += 1;
        }
        Ok(())
    }

    /// Whether nothing that was posted waits for results.
    pub(super) fn is_whole(&self) -> bool {
        self.missing.is_none()
    }

    /// Epochs that can be settled, for all that is known here: their results are, and their disputes are over.
    pub(super) fn due(&self) -> Vec<u64> {
        self.unsettled.iter().copied().collect()
    }

    /// What a settled epoch earned for whom: the same for everybody.
    pub(super) async fn earning(
        &mut self,
        from: &Sources<'_>,
        epoch: u64,
    ) -> Result<Found, RewardError> {
        let fact = from.chain.epoch(&from.view.finalized, epoch).await?;
        if !fact.settled {
            return Ok(Found::Nothing);
        }
        self.unsettled.remove(&epoch);
        if fact.token != from.chain.deployment().token || fact.pay.is_zero() {
            return Ok(Found::Nothing);
        }
        Ok(match self.earners.get(&epoch) {
            None => Found::Missing(self.missing.unwrap_or(RESULTS)),
            Some(earners) => Found::Earning(Earning::equal(fact.pay, earners.iter().copied())),
        })
    }
}

/// What an epoch's results say of each contribution's own draw, or what for it is not here. Results that are not about what
/// was drawn say nothing: nobody earns by them.
async fn draws(
    epoch: u64,
    fact: &EpochFact,
    from: &Sources<'_>,
    owners: &Owners,
) -> Result<Result<Vec<OwnDraw>, &'static str>, RewardError> {
    if fact.auditor != from.view.aggregator {
        return Ok(Err(ANOTHER_AUDITOR));
    }
    let at = from.view.finalized;
    let start = epoch.saturating_mul(EPOCH_SECONDS);
    let first = from.chain.first_since(start, &at).await?;
    let pool = first.map_or_else(Vec::new, |block| from.view.index.pool(block.number));
    let Some(bytes) = given(from.blobs.get(fact.results).await)? else {
        return Ok(Err(RESULTS));
    };
    let collective = from.chain.deployment().collective;
    let results = Results::parse(&bytes);
    let checked = results.and_then(|results| {
        results.check(collective, epoch, fact.randomness, &pool, fact.root)?;
        Ok(results)
    });
    let results = match checked {
        Ok(results) => results,
        Err(refusal) => {
            tracing::error!(epoch, %refusal, "what was posted is not about what was drawn: nobody earns by it");
            return Ok(Ok(vec![]));
        }
    };
    // The own draws come first, in the order of the pool.
    let own: Vec<(Leaf, Verdict)> = pool
        .iter()
        .zip(results.verdicts)
        .map(|((leaf, _), verdict)| (*leaf, verdict))
        .collect();
    let doubted: Vec<Leaf> = own
        .iter()
        .filter(|it| !is_held(it.1))
        .map(|it| it.0)
        .collect();
    let shown = from.chain.shown(&at, epoch, &doubted).await?;
    let mut shown = shown.into_iter();
    let draw = |(contribution, verdict): (Leaf, Verdict)| OwnDraw {
        contribution,
        contributor: owners[&contribution].0,
        verdict,
        shown: !is_held(verdict) && shown.next() == Some(true),
    };
    Ok(Ok(own.into_iter().map(draw).collect()))
}

fn is_held(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Asked(_, Outcome::Held))
}
