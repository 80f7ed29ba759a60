//! Files that their contributors keep: a place is asked for the KiB that was drawn, which is compared by its path.

use std::collections::HashMap;
use std::time::Duration;

use collective::contribution::{
    Commitment, PayloadOutline, PlaceUrl, SignedContribution, block_range,
};
use collective::liveness::Outcome;
use futures_util::{StreamExt, stream};
use tokio::time::{Instant, timeout_at};

use super::Auditor;
use super::stored::judge_block;
use crate::contributor::split_stub;
use crate::places::AT_ONE_HOST;

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

    /// What became of the draws of a contribution that its contributor keeps, as far as this node could ask.
    async fn ask_contributor(&self, asked: Asked) -> Vec<Answer> {
        let leaf = asked.entry.contribution.leaf();
        let kept = self.stub(&asked.entry).await;
        let is_in_ipfs = asked.place.as_ref();
        let is_in_ipfs = is_in_ipfs.is_some_and(|place| self.places.is_in_ipfs(place));
        let mut answers = Vec::with_capacity(asked.draws.len());
        for (place, index) in &asked.draws {
            let outcome = match (&kept, &asked.place) {
                (Ok((header, outline)), Some(url)) => {
                    let commitment = &asked.entry.commitment;
                    self.drawn(commitment, *header, outline, url, *index).await
                }
                (Err(error), _) => {
                    tracing::warn!(%leaf, error, "what is kept of a contribution could not be read");
                    None
                }
                (_, None) => {
                    tracing::warn!(%leaf, "where its contributor keeps it was lost with a ledger");
                    Some(Outcome::Error)
                }
            };
            tracing::info!(%leaf, ?outcome, "asked a contributor's place");
            answers.extend(outcome.map(|outcome| Answer {
                place: *place,
                outcome,
                is_in_ipfs,
            }));
        }
        answers
    }

    /// Asks for the MiB around one leaf of a payload that lies behind a header of so many bytes.
    async fn drawn(
        &self,
        commitment: &Commitment,
        header: u64,
        outline: &PayloadOutline,
        place: &PlaceUrl,
        index: u64,
    ) -> Option<Outcome> {
        let Some(block) = block_range(commitment.length, index) else {
            return Some(Outcome::Wrong);
        };
        let range = header + block.start..header + block.end;
        match self.places.read(place, range).await {
            Ok(bytes) => Some(judge_block(commitment, outline, index, &bytes)),
            Err(error) => error.outcome(),
        }
    }

    /// What the node has of a file that its contributor keeps: the header's length and the payload's outline.
    async fn stub(&self, entry: &SignedContribution) -> Result<(u64, PayloadOutline), String> {
        let file = self.ledger.file(entry.contribution.leaf()).await;
        let file = file.map_err(|error| error.to_string())?;
        let file = file.ok_or("the ledger does not know it")?;
        let stub = self.blobs.get(file).await;
        let stub = stub.map_err(|error| error.to_string())?;
        let stub = split_stub(&stub, &entry.commitment).ok_or("it is of another file")?;
        let (header, outline) = stub;
        Ok((header.len() as u64, outline))
    }
}
