//! Files that their contributors keep: a place is asked for the KiB that was drawn, which is compared by its path.

use std::collections::HashMap;
use std::time::Duration;

use collective::contribution::{Commitment, PlaceUrl, SignedContribution};
use collective::liveness::{Outcome, judge};
use futures_util::{StreamExt, stream};
use tokio::time::{Instant, timeout_at};

use super::Auditor;
use crate::places::AT_ONE_HOST;
use crate::stub::{Drawn, Stub};

/// Hosts that are asked at the same time: enough that some slow ones hold nobody up.
const HOSTS_AT_ONCE: usize = 64;

/// For one try of all that contributors keep: well before the next. What was not reached by then is tried then.
const TRY_LIMIT: Duration = Duration::from_secs(60 * 60);

/// What is to be asked for of one contribution that its contributor keeps.
pub(super) struct Asked {
    pub entry: SignedContribution,
    /// Unless that was lost.
    pub place: Option<PlaceUrl>,
    /// Places among the challenges, and which leaf each is.
    pub draws: Vec<(usize, u64)>,
}

/// What one try of a challenge came to that this node could make.
pub(super) struct Answer {
    /// Its place among the challenges.
    pub place: usize,
    pub outcome: Outcome,
    pub is_in_ipfs: bool,
}

impl Auditor {
    /// What one try of all these came to, as far as it was made in time; at one host in this order.
    pub(super) async fn ask_contributors(&self, all: Vec<Asked>) -> Vec<Answer> {
        let mut hosts: HashMap<String, Vec<Asked>> = HashMap::new();
        for asked in all {
            let host = asked.place.as_ref();
            let host = host.and_then(|place| self.places.host(place));
            hosts
                .entry(host.unwrap_or_default())
                .or_default()
                .push(asked);
        }
        let each_host = hosts.into_values().map(|asked| {
            let answers = stream::iter(asked).map(|asked| self.ask_contributor(asked));
            answers.buffer_unordered(AT_ONE_HOST)
        });
        let mut answers = stream::iter(each_host).flatten_unordered(HOSTS_AT_ONCE);
        let until = Instant::now() + TRY_LIMIT;
        let mut came = vec![];
        while let Ok(Some(some)) = timeout_at(until, answers.next()).await {
            came.extend(some);
        }
        came
    }

    /// What became of the draws of a contribution that its contributor keeps, as far as this node could ask. What it lost itself is
    /// no fault of whoever keeps the file.
    async fn ask_contributor(&self, asked: Asked) -> Vec<Answer> {
        let Asked {
            entry,
            place: url,
            draws,
        } = asked;
        let leaf = entry.contribution.leaf();
        let Some(url) = url else {
            tracing::warn!(%leaf, "where its contributor keeps it was lost with a ledger: they are not asked, and have to say it by `contributions place`");
            return vec![];
        };
        let is_in_ipfs = self.places.is_in_ipfs(&url);
        let mut answers = Vec::with_capacity(draws.len());
        for (place, drawn) in self.drawn(&entry, draws).await {
            let outcome = self.ask_place(&entry.commitment, &url, drawn).await;
            tracing::info!(%leaf, ?outcome, "asked a contributor's place");
            answers.extend(outcome.map(|outcome| Answer {
                place,
                outcome,
                is_in_ipfs,
            }));
        }
        answers
    }

    /// What to ask for at each draw, where the hashes around it can be read. All before anybody is asked: whoever waits for a turn has
    /// nothing open.
    async fn drawn(
        &self,
        entry: &SignedContribution,
        draws: Vec<(usize, u64)>,
    ) -> Vec<(usize, Drawn)> {
        let leaf = entry.contribution.leaf();
        let lost = |error: String| {
            tracing::error!(%leaf, error, "what is kept of a contribution cannot be read: its place is not asked; restore it, or have its contributor say the place again");
        };
        let stub = match self.stub(entry).await {
            Ok(stub) => stub,
            Err(error) => {
                lost(error);
                return vec![];
            }
        };
        let mut all = Vec::with_capacity(draws.len());
        for (place, index) in draws {
            match stub.drawn(index).await {
                Ok(drawn) => all.push((place, drawn)),
                Err(error) => lost(error.to_string()),
            }
        }
        all
    }

    /// Asks for one leaf of a payload and no more; `None` where the node could not.
    async fn ask_place(
        &self,
        commitment: &Commitment,
        place: &PlaceUrl,
        drawn: Drawn,
    ) -> Option<Outcome> {
        let Drawn { index, range, path } = drawn;
        match self.places.read(place, range).await {
            Ok(bytes) => Some(judge(commitment, index, &bytes, &path)),
            Err(error) => error.outcome(),
        }
    }

    /// What the node has of a file that its contributor keeps.
    async fn stub(&self, entry: &SignedContribution) -> Result<Stub, String> {
        let file = self.ledger.file(entry.contribution.leaf()).await;
        let file = file.map_err(|error| error.to_string())?;
        let file = file.ok_or("the ledger does not know it")?;
        let stub = Stub::open(&self.blobs, file, &entry.commitment).await;
        stub.map_err(|error| error.to_string())
    }
}
