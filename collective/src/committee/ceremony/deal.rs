//! Round 2: every dealer seals each member's share to that member's own key, under the digest of the round 1 set that it
//! has seen. All parts are in one signed message, so nobody can take a single one away or add one.

use std::fmt;

use alloy_primitives::B256;
use zeroize::Zeroizing;

use super::ask::Refusal;
use super::commit::{Commit, Round1, polynomial};
use super::generate;
use super::message::{Body, Signed};
use super::plan::Plan;
use super::seed::{Seed, Stream};
use super::wire::{Reader, put_short};
use crate::committee::{KeyShare, Member};
use crate::id::NodeId;
use crate::seal::curve::SecretScalar;
use crate::seal::symmetric::{Secret32, sha256};
use crate::seal::tagged::TaggedRecipient;
use crate::seal::{self, Recipient};

/// Longest part: a hybrid age header of 1.7 KB and a payload of 0.1 KB.
pub const MAX_PART_BYTES: usize = 4096;

/// What is sealed for a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Its share of the dealer's polynomial: 32 bytes, big-endian.
    Share,
    /// 64 bytes: the dealer's contribution to a new ML-KEM seed.
    Contribution,
    /// 64 bytes: the old ML-KEM seed. A file of its own, because a defence may show a share or a contribution and must
    /// never show the seed of a key in use.
    OldSeed,
}

impl Part {
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Share => 1,
            Self::Contribution => 2,
            Self::OldSeed => 3,
        }
    }

    pub(super) fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Share),
            2 => Some(Self::Contribution),
            3 => Some(Self::OldSeed),
            _ => None,
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Share => "share",
            Self::Contribution => "ML-KEM contribution",
            Self::OldSeed => "old ML-KEM seed",
        })
    }
}

/// A dealer's second message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deal {
    /// Digest of the round 1 set.
    pub round1: B256,
    /// For members 1 to n.
    pub parts: Vec<Parts>,
}

/// A member's sealed parts: age files to its own recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// [`Part::Share`].
    pub share: Vec<u8>,
    /// [`Part::Contribution`], where an ML-KEM key is made.
    pub contribution: Option<Vec<u8>>,
    /// [`Part::OldSeed`], where a hybrid key is shared anew.
    pub old_seed: Option<Vec<u8>>,
}

impl Deal {
    pub(super) fn new(round1: &Round1, seed: &Seed, dealing: &Dealing) -> Self {
        let plan = round1.plan();
        let file = |member, recipient: &TaggedRecipient, part| {
            let plaintext = dealing.plaintext(member, part)?;
            let coins = seed.coins(plan.id(), member, part);
            Some(seal_part(recipient, &plaintext, coins))
        };
        let parts = plan.members().map(|(member, party)| Parts {
            share: file(member, &party.recipient, Part::Share).expect("every member has a share"),
            contribution: file(member, &party.recipient, Part::Contribution),
            old_seed: file(member, &party.recipient, Part::OldSeed),
        });
        Self {
            round1: round1.digest(),
            parts: parts.collect(),
        }
    }

    /// The file for a member.
    pub fn part(&self, member: Member, part: Part) -> Option<&[u8]> {
        let parts = self.parts.get(usize::from(member.number()) - 1)?;
        match part {
            Part::Share => Some(&parts.share),
            Part::Contribution => parts.contribution.as_deref(),
            Part::OldSeed => parts.old_seed.as_deref(),
        }
    }
}

impl Body for Deal {
    const CODE: u8 = 2;

    fn encode(&self) -> Vec<u8> {
        let mut out = self.round1.to_vec();
        for parts in &self.parts {
            put_short(&mut out, &parts.share);
            for file in parts.contribution.iter().chain(&parts.old_seed) {
                put_short(&mut out, file);
            }
        }
        out
    }

    fn parse(plan: &Plan, node: NodeId, bytes: &[u8]) -> Option<Self> {
        plan.dealer(node)?;
        let mut reader = Reader::new(bytes);
        let round1 = reader.word()?;
        let mut file = || {
            let file = reader.short()?;
            (file.len() <= MAX_PART_BYTES).then(|| file.to_vec())
        };
        let parts = plan.members().map(|_| {
            Some(Parts {
                share: file()?,
                contribution: match plan.makes_ml_kem_key() {
                    true => Some(file()?),
                    false => None,
                },
                old_seed: match plan.deals_old_seed() {
                    true => Some(file()?),
                    false => None,
                },
            })
        });
        let parts = parts.collect::<Option<_>>()?;
        reader.end(Self { round1, parts })
    }
}

/// Everything that a dealer deals, before it is sealed. Has no Debug.
pub(super) struct Dealing {
    shares: Vec<SecretScalar>,
    contribution: Option<Zeroizing<Vec<u8>>>,
    old_seed: Option<Zeroizing<Vec<u8>>>,
    /// Where a key is made: FROST's state, for the same node's part 3.
    pub(super) frost: Option<generate::Dealt>,
}

impl Dealing {
    /// # Errors
    /// [`Refusal::AnotherSeed`] where the dealer's own commit was made from another seed or share.
    pub(super) fn new(
        round1: &Round1,
        dealer: Member,
        seed: &Seed,
        share: Option<&KeyShare>,
    ) -> Result<Self, Refusal> {
        let plan = round1.plan();
        let own = round1.commit(dealer).map(Signed::body);
        if own != Some(&Commit::new(plan, dealer, seed, share)) {
            return Err(Refusal::AnotherSeed);
        }
        let contribution = plan.makes_ml_kem_key();
        let contribution = contribution.then(|| seed.contribution(plan.id()).to_vec());
        let contribution = contribution.map(Zeroizing::new);
        let old_seed = share.filter(|_| plan.deals_old_seed());
        let old_seed = old_seed.map(|share| Zeroizing::new(share.ml_kem.seed().to_vec()));
        if let Some(polynomial) = polynomial(plan, seed, share) {
            let members = plan.members();
            return Ok(Self {
                shares: members.map(|(member, _)| polynomial.at(member)).collect(),
                contribution,
                old_seed,
                frost: None,
            });
        }
        let opened = generate::part1(plan, dealer, seed);
        let mut frost = generate::part2(opened, dealer, round1)?;
        Ok(Self {
            shares: std::mem::take(&mut frost.shares),
            contribution,
            old_seed,
            frost: Some(frost),
        })
    }

    pub(super) fn plaintext(&self, member: Member, part: Part) -> Option<Zeroizing<Vec<u8>>> {
        match part {
            Part::Share => {
                let share = self.shares.get(usize::from(member.number()) - 1)?;
                Some(Zeroizing::new(share.to_bytes().to_vec()))
            }
            Part::Contribution => self.contribution.clone(),
            Part::OldSeed => self.old_seed.clone(),
        }
    }
}

/// One part's file: a function of its plaintext and coins, so that whoever is shown both can make it again.
pub(super) fn seal_part(recipient: &TaggedRecipient, plaintext: &[u8], coins: Secret32) -> Vec<u8> {
    let recipient = Recipient::Tagged(recipient.clone());
    seal::seal(&[recipient], plaintext, &mut Stream::new(coins))
        .expect("one tagged recipient makes a valid header")
}

/// The deals of all dealers under one round 1 set. Its transcript names everything that was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round2 {
    round1: Round1,
    deals: Vec<Signed<Deal>>,
    transcript: B256,
}

impl Round2 {
    /// `deals` are one of each dealer in their order.
    ///
    /// # Errors
    /// [`Round2Error`].
    pub fn new(round1: Round1, deals: Vec<Signed<Deal>>) -> Result<Self, Round2Error> {
        let dealers = round1.plan().dealers();
        let complete = dealers.len() == deals.len()
            && dealers
                .iter()
                .zip(&deals)
                .all(|(dealer, deal)| dealer.node == deal.node());
        if !complete {
            return Err(Round2Error::Incomplete);
        }
        let stray = deals
            .iter()
            .find(|deal| deal.body().round1 != round1.digest());
        if let Some(deal) = stray {
            return Err(Round2Error::AnotherRound1(deal.node()));
        }
        let digests: Vec<u8> = deals.iter().flat_map(|deal| deal.digest().0).collect();
        let transcript = sha256(&[
            b"collective/v1/ceremony/transcript",
            round1.digest().as_slice(),
            &digests,
        ]);
        Ok(Self {
            round1,
            deals,
            transcript: B256::from(transcript),
        })
    }

    /// What was dealt under.
    pub fn round1(&self) -> &Round1 {
        &self.round1
    }

    /// In the order of the dealers.
    pub fn deals(&self) -> &[Signed<Deal>] {
        &self.deals
    }

    /// Names the plan and every message of both rounds.
    pub fn transcript(&self) -> B256 {
        self.transcript
    }
}

/// Why deals are no round 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Round2Error {
    /// Not one deal of each dealer in order.
    #[error("not one deal of each dealer")]
    Incomplete,
    /// The dealer saw another round 1 set: it cheats, or whoever relayed the messages does.
    #[error("node {0} dealt under another round 1 set; ask another convener")]
    AnotherRound1(NodeId),
}
