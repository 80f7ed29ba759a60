//! A hand-off: the vote gives the data to a requester's own machine, a heavy node, and says what has to come back.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Manifest;
use crate::id::{KeysHash, NodeId};
use crate::limits::MAX_RETURN_SECONDS;
use crate::terms::{Purpose, Purposes};

/// To whom the data goes, until when, and what for. What that node once opened it keeps: the bond and the receipt are all that binds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct HandOff {
    /// The heavy node of NodeRegistry that alone may take a job.
    pub node: NodeId,
    /// Its keys when the vote began: under others it gets nothing.
    pub keys: KeysHash,
    /// Seconds from the recorded release to the receipt. Who is later loses the bond to the treasury.
    pub seconds: u32,
    /// What the receipt has to name, each once, in the order of [`Return`].
    pub returns: Vec<Return>,
}

/// Something that a heavy node has to give back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Return {
    /// The operator's signed word that the copy was deleted. Nobody can check it.
    Deletion,
    /// Figures of the run, as JSON.
    Metrics,
    /// The trained weights, sealed to the recipient.
    Model,
}

impl fmt::Display for Return {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deletion => "a signed word that the copy was deleted",
            Self::Metrics => "metrics",
            Self::Model => "the model",
        })
    }
}

/// Why a manifest hands nothing over.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HandOffRefusal {
    /// A program that only heavy nodes run, and no such node.
    #[error(
        "a program of this kind runs on a heavy node: say in `handOff` to which one the data goes"
    )]
    NoNode,
    /// A heavy node, and a program that the collective's own nodes run.
    #[error("a program of this kind runs on the collective's own nodes: leave `handOff` out")]
    NotNeeded,
    /// A use that needs no copy.
    #[error(
        "a hand-off is for training or transfer, not for {0}: statistics are made where the data is"
    )]
    Purpose(Purpose),
    /// A node or keys that none has.
    #[error(
        "a hand-off names the node and the keys that it has now; `node register --role heavy` says both"
    )]
    Nobody,
    /// No time, or more than the contract gives.
    #[error("a hand-off has 1 to {MAX_RETURN_SECONDS} seconds, not {0}")]
    Seconds(u32),
    /// The run would end after the receipt is due.
    #[error("a run of {run} seconds does not fit into the {given} seconds that the hand-off gives")]
    RunTooLong {
        /// Of the run.
        run: u32,
        /// Of the hand-off.
        given: u32,
    },
    /// Nothing comes back, or the list has two spellings.
    #[error(
        "`returns` names at least one of deletion, metrics and model, each once, in this order"
    )]
    Returns,
}

impl Manifest {
    /// What a contributor has to allow to be read: the purpose, and where the records are handed over, that they go.
    pub fn purposes(&self) -> Purposes {
        let transfer = self.hand_off.as_ref().map(|_| Purpose::Transfer);
        [self.purpose].into_iter().chain(transfer).collect()
    }

    /// Whether the hand-off and the rest of the manifest fit.
    pub(super) fn check_hand_off(&self) -> Result<(), HandOffRefusal> {
        let hand_off = match (&self.hand_off, self.program.needs_heavy_node()) {
            (None, false) => return Ok(()),
            (None, true) => return Err(HandOffRefusal::NoNode),
            (Some(_), false) => return Err(HandOffRefusal::NotNeeded),
            (Some(hand_off), true) => hand_off,
        };
        if self.purpose == Purpose::Statistics {
            return Err(HandOffRefusal::Purpose(self.purpose));
        }
        if hand_off.node.0.is_zero() || hand_off.keys.0.is_zero() {
            return Err(HandOffRefusal::Nobody);
        }
        let (run, given) = (self.limits.seconds, hand_off.seconds);
        if given == 0 || given > MAX_RETURN_SECONDS {
            return Err(HandOffRefusal::Seconds(given));
        }
        if run > given {
            return Err(HandOffRefusal::RunTooLong { run, given });
        }
        if hand_off.returns.is_empty() || !hand_off.returns.is_sorted_by(|a, b| a < b) {
            return Err(HandOffRefusal::Returns);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::B256;

    use super::*;
    use crate::approval::ManifestRefusal;
    use crate::test_story::{self, handed_over};

    #[test]
    fn a_hand_off_has_one_spelling_and_is_all_there() {
        let good = handed_over();
        assert_eq!(Manifest::parse(&good.to_bytes()), Ok(good.clone()));
        let refused = |change: &dyn Fn(&mut Manifest, &mut HandOff)| {
            let mut manifest = good.clone();
            let mut hand_off = manifest.hand_off.take().expect("handed over");
            change(&mut manifest, &mut hand_off);
            manifest.hand_off = Some(hand_off);
            match Manifest::parse(&manifest.to_bytes()) {
                Err(ManifestRefusal::HandOff(refusal)) => refusal,
                other => panic!("{other:?}"),
            }
        };
        for purpose in [Purpose::Training, Purpose::Transfer] {
            let mut manifest = good.clone();
            manifest.purpose = purpose;
            assert!(Manifest::parse(&manifest.to_bytes()).is_ok());
        }
        let refusal = refused(&|manifest, _| manifest.purpose = Purpose::Statistics);
        assert_eq!(refusal, HandOffRefusal::Purpose(Purpose::Statistics));
        for nobody in [
            |hand_off: &mut HandOff| hand_off.node.0 = B256::ZERO,
            |hand_off: &mut HandOff| hand_off.keys.0 = B256::ZERO,
        ] {
            let refusal = refused(&|_, hand_off| nobody(hand_off));
            assert_eq!(refusal, HandOffRefusal::Nobody);
        }
        for seconds in [0, MAX_RETURN_SECONDS + 1] {
            let refusal = refused(&|_, hand_off| hand_off.seconds = seconds);
            assert_eq!(refusal, HandOffRefusal::Seconds(seconds));
        }
        let refusal = refused(&|manifest, hand_off| {
            manifest.limits.seconds = 11;
            hand_off.seconds = 10;
        });
        assert_eq!(refusal, HandOffRefusal::RunTooLong { run: 11, given: 10 });
        for returns in [
            vec![],
            vec![Return::Model, Return::Metrics],
            vec![Return::Model, Return::Model],
        ] {
            let refusal = refused(&|_, hand_off| hand_off.returns = returns.clone());
            assert_eq!(refusal, HandOffRefusal::Returns);
        }
        let program = test_story::manifest().program;
        let refusal = refused(&|manifest, _| manifest.program = program.clone());
        assert_eq!(refusal, HandOffRefusal::NotNeeded);
        let mut nowhere = good.clone();
        nowhere.hand_off = None;
        assert_eq!(
            Manifest::parse(&nowhere.to_bytes()),
            Err(ManifestRefusal::HandOff(HandOffRefusal::NoNode))
        );
    }
}
