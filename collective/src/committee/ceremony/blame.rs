//! Who is to blame when a part does not fit. The part is in a message that its dealer signed, so a complaint is about
//! bytes that nobody disputes; the dealer answers with what it sealed and the coins it sealed it with, and everybody seals
//! it again and compares.
//!
//! A defence shows one share of a dealer's polynomial, or its contribution to an ML-KEM seed, to the world. That is
//! harmless: the accuser had it already and could have shown it; a share of a polynomial of degree 1 or more tells
//! nothing about the others; honest members complain about cheating dealers only, and certify nothing after it, so the
//! ceremony gives no key. The seed of an ML-KEM key in use is never shown: there is no complaint about an old seed.

use alloy_primitives::B256;
use zeroize::Zeroizing;

use super::certify::{fitting_contribution, fitting_share};
use super::commit::Round1;
use super::deal::{Deal, Part, seal_part};
use super::message::{Body, Signed};
use super::plan::Plan;
use super::wire::{Reader, put_short};
use crate::committee::Member;
use crate::id::NodeId;

/// Longest plaintext in a defence: an ML-KEM seed. A dealer that sealed more has no defence.
const MAX_PLAINTEXT: usize = 64;

/// A member says that a part of this deal does not open or does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// Digest of the dealer's round 2 message.
    pub deal: B256,
    /// The dealer's number.
    pub dealer: Member,
    /// Which of the accuser's parts.
    pub part: Part,
}

impl Body for Complaint {
    const CODE: u8 = 4;

    fn encode(&self) -> Vec<u8> {
        let mut out = self.deal.to_vec();
        out.extend_from_slice(&self.dealer.number().to_be_bytes());
        out.push(self.part.code());
        out
    }

    fn parse(plan: &Plan, node: NodeId, bytes: &[u8]) -> Option<Self> {
        plan.member(node)?;
        let mut reader = Reader::new(bytes);
        let complaint = Self {
            deal: reader.word()?,
            dealer: Member::new(reader.u16()?)?,
            part: Part::from_code(reader.u8()?)?,
        };
        let known = plan.dealers().iter();
        let known = known
            .map(|dealer| dealer.number)
            .any(|n| n == complaint.dealer);
        let possible = match complaint.part {
            Part::Share => true,
            Part::Contribution => plan.makes_ml_kem_key(),
            Part::OldSeed => false,
        };
        reader.end(complaint).filter(|_| known && possible)
    }
}

/// The accused dealer shows what it sealed. Public once it is sent; no Debug, for until then it is not.
#[derive(Clone, PartialEq, Eq)]
pub struct Defence {
    /// Digest of the complaint that it answers.
    pub complaint: B256,
    /// What the sealing of the part took its randomness from.
    pub coins: Zeroizing<[u8; 32]>,
    /// What was sealed.
    pub plaintext: Zeroizing<Vec<u8>>,
}

impl Body for Defence {
    const CODE: u8 = 5;

    fn encode(&self) -> Vec<u8> {
        let mut out = self.complaint.to_vec();
        out.extend_from_slice(self.coins.as_slice());
        put_short(&mut out, &self.plaintext);
        out
    }

    fn parse(plan: &Plan, node: NodeId, bytes: &[u8]) -> Option<Self> {
        plan.dealer(node)?;
        let mut reader = Reader::new(bytes);
        let complaint = reader.word()?;
        let coins = Zeroizing::new(reader.array()?);
        let plaintext = reader.short()?;
        let short = plaintext.len() <= MAX_PLAINTEXT;
        let plaintext = Zeroizing::new(plaintext.to_vec());
        let defence = reader.end(Self {
            complaint,
            coins,
            plaintext,
        });
        defence.filter(|_| short)
    }
}

/// Who of the two lied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liar {
    /// The part is not what the dealer says, or does not lie on its polynomial.
    Dealer,
    /// The part is good.
    Accuser,
}

/// Names the liar from three signed messages and round 1; anybody who has them comes to the same end. `None` where the
/// messages are not about each other.
pub fn judge(
    round1: &Round1,
    deal: &Signed<Deal>,
    complaint: &Signed<Complaint>,
    defence: &Signed<Defence>,
) -> Option<Liar> {
    let plan = round1.plan();
    let said = complaint.body();
    let accuser = plan.member(complaint.node())?;
    let about = plan.dealer(deal.node()) == Some(said.dealer)
        && deal.node() == defence.node()
        && deal.digest() == said.deal
        && complaint.digest() == defence.body().complaint;
    if !about {
        return None;
    }
    let recipient = &plan.party(accuser)?.recipient;
    let shown = defence.body();
    let again = seal_part(recipient, &shown.plaintext, shown.coins.clone());
    let same = deal.body().part(accuser, said.part) == Some(again.as_slice());
    let fits = match said.part {
        Part::Share => fitting_share(round1, said.dealer, accuser, &shown.plaintext).is_some(),
        Part::Contribution => fitting_contribution(round1, said.dealer, &shown.plaintext).is_some(),
        // No complaint is about it.
        Part::OldSeed => return None,
    };
    Some(if same && fits {
        Liar::Accuser
    } else {
        Liar::Dealer
    })
}
