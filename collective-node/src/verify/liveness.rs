//! Checks a posted epoch from chain and blobs: the draws are redone, and every draw has its verdict.

use std::collections::HashMap;

use collective::id::Leaf;
use collective::input::Withdrawn;
use collective::liveness::{
    Custody, EPOCH_SECONDS, Epoch, Outcome, Results, ResultsRefusal, Verdict,
};
use collective::receipt::BlockRef;

use super::{Finding, VerifyError};
use crate::blobs::Blobs;
use crate::chain::facts::EpochFact;
use crate::chain::{Chain, ChainError};
use crate::follower::{Follower, View};
use crate::headers::Headers;
use crate::withdrawal::withdrawn;

/// What no outsider can check of an epoch.
const BEYOND: [&str; 2] = [
    "that bytes came, or did not, as the auditor says: show your own KiB where it says otherwise",
    "that nobody has another copy",
];

/// Checks what was posted of `epoch`, and says what was said of `contribution`.
///
/// # Errors
/// [`VerifyError`] where chain or blobs do not give what is needed.
pub async fn liveness(
    chain: &Chain,
    blobs: &Blobs,
    headers: &Headers,
    epoch: u64,
    contribution: Option<Leaf>,
) -> Result<super::Verdict, VerifyError> {
    let latest = chain.latest().await?;
    let fact = chain.epoch(&latest, epoch).await?;
    if fact.root.is_zero() {
        return Err(VerifyError::NotPosted(epoch));
    }
    let mut findings = vec![];
    let mut note = |what: &str, holds: bool, seen: String| {
        findings.push(Finding {
            what: what.into(),
            holds,
            seen,
        });
    };
    let block = first_block(chain, &fact, epoch, &latest).await?;
    note(
        "its randomness is that of the first block of that day",
        block.is_some(),
        fact.randomness.to_string(),
    );
    let view = Follower::start(chain.clone(), blobs.clone(), headers.clone(), fact.auditor);
    let view = view.await?.1.borrow().clone();
    let pool = block.map_or_else(Vec::new, |block| view.index.pool(block.number));
    let bounds = match block {
        Some(block) => Some(Bounds::read(chain, &view, &block, epoch, &latest).await?),
        None => None,
    };
    let bytes = blobs.get(fact.results).await?;
    let collective = chain.deployment().collective;
    let results = Results::parse(&bytes);
    let checked = results
        .as_ref()
        .map_err(ResultsRefusal::clone)
        .and_then(|it| it.check(collective, epoch, fact.randomness, &pool, fact.root));
    let seen = match (&checked, &results) {
        (Err(refusal), _) | (_, Err(refusal)) => refusal.to_string(),
        (Ok(()), Ok(results)) => {
            let counts = results.counts();
            format!(
                "{} asked: {} held, {} wrong, {} errors, {} offline",
                results.verdicts.len(),
                counts.held,
                counts.wrong,
                counts.error,
                counts.offline
            )
        }
    };
    note(
        "everything that was drawn of what was anchored by then, and nothing else, has a verdict under the posted root",
        checked.is_ok(),
        seen,
    );
    if let (Ok(()), Ok(results), Some(bounds)) = (&checked, &results, &bounds) {
        let challenges = results.challenges(&pool);
        let mut each = challenges.iter().zip(&results.verdicts);
        let wrong = each.find_map(|(it, verdict)| bounds.breaks(it.contribution, verdict));
        let count = results.verdicts.iter().filter(|it| !it.is_asked()).count();
        note(
            "what was withdrawn before that day, nothing else but what was withdrawn on it, was left out as withdrawn",
            wrong.is_none(),
            wrong.unwrap_or_else(|| format!("{count} draws were left out")),
        );
    }
    if let (Some(leaf), Ok(results)) = (contribution, &results) {
        let place = pool.iter().position(|(of, _)| *of == leaf);
        let verdict = place.and_then(|place| results.verdicts.get(place));
        let shown = chain.shown(&latest, epoch, &[leaf]).await? == [true];
        let drawn = place.map(|place| {
            let (leaf, length) = pool[place];
            Epoch::new(collective, epoch, fact.randomness).draw(leaf, length)
        });
        note(
            "what was drawn of this contribution was held",
            shown || verdict.is_some_and(is_held),
            words(verdict, drawn, shown),
        );
    }
    Ok(super::Verdict {
        findings,
        beyond: BEYOND.map(str::to_owned).to_vec(),
    })
}

/// What was withdrawn in the epoch's block has to be left out; what was by the end of the day may be.
struct Bounds {
    before: HashMap<Leaf, Withdrawn>,
    by_the_end: HashMap<Leaf, Withdrawn>,
}

impl Bounds {
    async fn read(
        chain: &Chain,
        view: &View,
        block: &BlockRef,
        epoch: u64,
        latest: &BlockRef,
    ) -> Result<Self, ChainError> {
        let next = epoch.saturating_add(1).saturating_mul(EPOCH_SECONDS);
        let last = match chain.first_since(next, latest).await? {
            Some(next) => chain.at_height(next.number - 1).await?,
            None => *latest,
        };
        let drawn = || {
            let anchored = view.index.anchored().filter(|it| it.block < block.number);
            anchored.map(|it| &it.entry)
        };
        Ok(Self {
            before: withdrawn(chain, drawn(), block).await?,
            by_the_end: withdrawn(chain, drawn(), &last).await?,
        })
    }

    /// What is wrong with the verdict on a contribution, if something is.
    fn breaks(&self, leaf: Leaf, verdict: &Verdict) -> Option<String> {
        if verdict.is_asked() {
            let why = self.before.get(&leaf)?;
            let why = match why {
                Withdrawn::Revoked => "revoked",
                Withdrawn::Expired => "at the end of its terms",
            };
            Some(format!("{leaf} has a verdict, and was {why} before"))
        } else if self.by_the_end.contains_key(&leaf) {
            None
        } else {
            Some(format!(
                "{leaf} was left out, and was not withdrawn that day"
            ))
        }
    }
}

/// The first block of the day, if the fact has its randomness.
async fn first_block(
    chain: &Chain,
    fact: &EpochFact,
    epoch: u64,
    latest: &BlockRef,
) -> Result<Option<BlockRef>, ChainError> {
    let start = epoch.saturating_mul(EPOCH_SECONDS);
    let Some(found) = chain.first_since(start, latest).await? else {
        return Ok(None);
    };
    let its = chain.randomness(&found).await? == fact.randomness;
    Ok(its.then_some(found))
}

fn is_held(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Asked(_, Outcome::Held))
}

fn words(verdict: Option<&Verdict>, drawn: Option<u64>, shown: bool) -> String {
    let said = match verdict {
        None => return "it was anchored later, or by nobody".into(),
        Some(Verdict::Withdrawn) => "withdrawn".to_owned(),
        Some(Verdict::Asked(custody, outcome)) => {
            let keeper = match custody {
                Custody::Escrow => "the node",
                Custody::Connected => "its contributor",
            };
            format!("{outcome:?}, kept by {keeper}").to_lowercase()
        }
    };
    let drawn = drawn.unwrap_or_default();
    let shown = if shown { ", and shown on chain" } else { "" };
    format!("KiB {drawn}, counted from 0: {said}{shown}")
}
