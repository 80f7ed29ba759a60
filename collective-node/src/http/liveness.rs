//! `GET /liveness`, `GET /contributions/{leaf}/liveness`: what audits of the stored payloads came to.

use axum::Json;
use axum::extract::{Path, State};
use collective::id::Leaf;
use collective::liveness::{
    Custody, EPOCH_SECONDS, Outcome, POOL_DRAWS, Results, Standing, Verdict,
};
use serde::{Deserialize, Serialize};

use super::{App, Problem};
use crate::ledger::Audited;

/// Epochs in one answer: a quarter of a year.
const MAX_EPOCHS: u32 = 92;

/// Gives the newest epochs, newest first. The verdicts of each are the blob `results`.
pub async fn audits(State(app): State<App>) -> Result<Json<Vec<Audited>>, Problem> {
    Ok(Json(app.ledger.audits(MAX_EPOCHS).await?))
}

/// How one contribution stands: what became of its own draws in the last week that this node audited.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StandingAnswer {
    /// The contribution.
    pub leaf: Leaf,
    /// Whether its contributor keeps the payload.
    pub connected: bool,
    /// Oldest first; days on which it was not drawn are left out, as those before it was anchored.
    pub days: Vec<Day>,
    /// Whether the newest of these days earns (SPEC "Liveness"), where only those that were posted count, and what was shown on
    /// chain counts as held. Escrow earns nothing.
    pub earns: bool,
}

/// What became of one draw.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Day {
    /// Days since 1970-01-01 UTC.
    pub epoch: u64,
    /// `held`, `wrong`, `error`, `offline`, `withdrawn`, or `unasked`: its contributor keeps it, and the node could not ask.
    pub verdict: String,
}

/// Gives the standing of one contribution.
pub async fn standing(
    State(app): State<App>,
    Path(leaf): Path<String>,
) -> Result<Json<StandingAnswer>, Problem> {
    let leaf: Leaf = leaf
        .parse()
        .map_err(|_| Problem::malformed("a leaf is 32 bytes in hex"))?;
    if app.ledger.file(leaf).await?.is_none() {
        return Err(Problem::missing(format!("no contribution {leaf} here")));
    }
    let index = app.view.borrow().index.clone();
    if !index.holds(leaf) {
        return Err(Problem::missing(format!(
            "no block anchors {leaf} here yet"
        )));
    }
    let connected = app.ledger.place(leaf).await?.is_some();
    let mut answer = StandingAnswer {
        leaf,
        connected,
        days: vec![],
        earns: false,
    };
    let mut standing = Standing::default();
    let mut audits = app.ledger.audits(Standing::EPOCHS as u32).await?;
    audits.reverse();
    for audited in audits {
        let results = app.blobs.get(audited.results).await?;
        let results = Results::parse(&results).map_err(Problem::operator)?;
        // The day begins with its first block. Own draws come first, in the order of the pool.
        let start = audited.epoch.saturating_mul(EPOCH_SECONDS);
        let later = index.anchored().find(|it| it.time >= start);
        let pool = index.pool(later.map_or(u64::MAX, |it| it.block));
        let place = pool.iter().position(|(of, _)| *of == leaf);
        let own = results.verdicts.len().saturating_sub(POOL_DRAWS as usize);
        let Some(verdict) = place.and_then(|place| results.verdicts[..own].get(place)) else {
            continue;
        };
        if let Verdict::Asked(Custody::Connected, outcome) = verdict {
            standing.note(*outcome);
        }
        answer.earns = standing.earns() && matches!(verdict, Verdict::Asked(Custody::Connected, _));
        let is_hindered = connected && *verdict == Verdict::Asked(Custody::Escrow, Outcome::Error);
        answer.days.push(Day {
            epoch: audited.epoch,
            verdict: match is_hindered {
                true => "unasked".into(),
                false => word(*verdict).into(),
            },
        });
    }
    Ok(Json(answer))
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Asked(_, Outcome::Held) => "held",
        Verdict::Asked(_, Outcome::Wrong) => "wrong",
        Verdict::Asked(_, Outcome::Error) => "error",
        Verdict::Asked(_, Outcome::Offline) => "offline",
        Verdict::Withdrawn => "withdrawn",
    }
}
