//! How members did, and whom a node asks first.

use std::collections::BTreeMap;
use std::time::Duration;

use alloy_primitives::Address;
use zeroize::Zeroizing;

use crate::committee::answer::Fault;
use crate::committee::{Member, Quorum, ShareCertificate};

/// Failures since the last good answer, then a moving average of how long answers took. The healthiest is the smallest, and
/// of two with the same health the one with the lower number is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Health {
    failures: u32,
    latency: Duration,
}

impl Health {
    /// Failures since the last good answer.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Average time to an answer; the latest counts an eighth (the weight of RFC 6298 §2). Zero before the first.
    pub fn latency(&self) -> Duration {
        self.latency
    }

    /// A good answer came after `took`.
    pub fn answer(&mut self, took: Duration) {
        self.failures = 0;
        self.latency = match self.latency {
            Duration::ZERO => took,
            latency => (latency * 7).saturating_add(took) / 8,
        };
    }

    /// It was silent, refused, or answered wrongly.
    pub fn fail(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }
}

/// A member as the node knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its number.
    pub member: Member,
    /// The account that signs its answers, as NodeRegistry names it.
    pub signer: Address,
    /// How it did so far.
    pub health: Health,
}

/// A member in the course of one release.
pub(super) struct Candidate {
    pub(super) signer: Address,
    pub(super) health: Health,
    pub(super) sign: Sign,
    /// Since when it owes an answer.
    pub(super) since: Option<Duration>,
    pub(super) fault: Option<Fault>,
}

/// How sure it is that a member is up; the surest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sign {
    Answered,
    Alive,
    Unknown,
}

/// The t members that are likeliest to answer well. In a dispute those come first who have not been heard.
pub(super) fn choose(
    certificate: &ShareCertificate,
    members: &BTreeMap<Member, Candidate>,
    heard: Option<&BTreeMap<Member, Zeroizing<[u8; 32]>>>,
) -> Option<Quorum> {
    let mut left: Vec<(bool, Sign, Health, Member)> = members
        .iter()
        .filter(|(_, found)| found.fault.is_none())
        .map(|(&member, found)| {
            let heard = heard.is_some_and(|heard| heard.contains_key(&member));
            (heard, found.sign, found.health, member)
        })
        .collect();
    left.sort_unstable();
    let chosen = left.get(..usize::from(certificate.threshold()))?;
    let chosen: Vec<Member> = chosen.iter().map(|&(.., member)| member).collect();
    Quorum::new(certificate, &chosen).ok()
}

/// What is handed to the next job.
pub(super) fn health(members: &BTreeMap<Member, Candidate>) -> BTreeMap<Member, Health> {
    let of = |(&member, found): (&Member, &Candidate)| (member, found.health);
    members.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_count_before_latency_and_one_answer_forgives_them() {
        let (mut slow, mut broken) = (Health::default(), Health::default());
        slow.answer(Duration::from_secs(8));
        broken.answer(Duration::from_millis(1));
        broken.fail();
        assert!(slow < broken);
        broken.answer(Duration::from_millis(1));
        assert!(broken < slow);
        slow.answer(Duration::ZERO);
        assert_eq!(slow.latency(), Duration::from_secs(7));
    }
}
