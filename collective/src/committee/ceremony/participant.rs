//! A node in a ceremony: a function of its seed and of what others signed. It keeps two digests, and what it may say
//! follows from them.

use std::sync::Arc;

use alloy_primitives::{B256, Signature};

use super::ask::{Ask, Refusal};
use super::blame::{Complaint, Defence};
use super::certify::{Certify, PendingShare, Received, receive};
use super::commit::{Commit, Round1};
use super::deal::{Deal, Dealing, Part, Round2};
use super::message::{Message, Signed};
use super::plan::{Kind, Plan};
use super::seed::Seed;
use crate::committee::{KeyShare, Member};
use crate::id::NodeId;
use crate::seal::Identity;

/// What a node has bound itself to. Not secret; stored before the answer that binds is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pins {
    /// The round 1 set that it dealt under.
    pub round1: Option<B256>,
    /// The transcript that it certified or complained about.
    pub transcript: Option<B256>,
}

/// The node's keys, lent for one answer.
pub struct Keys<'a> {
    /// Opens what is sealed to the recipient that the plan names.
    pub identity: &'a Identity,
    /// The share that the node deals when resharing.
    pub share: Option<&'a KeyShare>,
    /// Signs a digest with the key that the plan names (ECDSA on secp256k1).
    pub sign: &'a dyn Fn(B256) -> Signature,
}

/// A node in a ceremony. Has no Debug: it holds the seed.
///
/// Before [`Participant::new`] the caller has checked plan and chain against each other, and stored plan and seed.
pub struct Participant {
    plan: Arc<Plan>,
    node: NodeId,
    seed: Seed,
    pins: Pins,
}

/// What follows from an ask, in the order in which the caller acts on it: store the pins of the participant, keep the
/// pending share (or the ask, from which it can be made again), then send the message.
pub struct Answered {
    /// The node from now on; the old state is gone.
    pub participant: Participant,
    /// What it says. The same ask gives the same message, however often and after whatever crash.
    pub message: Message,
    /// After a certification: the share that nobody may use until all have certified.
    pub pending: Option<PendingShare>,
}

impl Participant {
    /// As invited, or as stored before a crash with the pins of then.
    ///
    /// # Errors
    /// [`Refusal::NoPart`].
    pub fn new(plan: Arc<Plan>, node: NodeId, seed: Seed, pins: Pins) -> Result<Self, Refusal> {
        if plan.dealer(node).is_none() && plan.member(node).is_none() {
            return Err(Refusal::NoPart);
        }
        Ok(Self {
            plan,
            node,
            seed,
            pins,
        })
    }

    /// What must be stored.
    pub fn pins(&self) -> Pins {
        self.pins
    }

    /// The ceremony.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Answers an ask, or refuses; a refusal changes nothing, so the caller goes on with what it has stored.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn answer(mut self, ask: &Ask, keys: &Keys<'_>) -> Result<Answered, Refusal> {
        let (message, pending) = match ask {
            Ask::Commit => (Message::Commit(self.commit(keys)?), None),
            Ask::Deal(round1) => (Message::Deal(self.deal(round1, keys)?), None),
            Ask::Certify(round2) => self.certify(round2, keys)?,
            Ask::Defend(round1, complaint) => {
                (Message::Defend(self.defend(round1, complaint, keys)?), None)
            }
        };
        Ok(Answered {
            participant: self,
            message,
            pending,
        })
    }

    fn commit(&self, keys: &Keys<'_>) -> Result<Signed<Commit>, Refusal> {
        let dealer = self.dealer(keys)?;
        let commit = Commit::new(&self.plan, dealer, &self.seed, keys.share);
        Ok(Signed::sign(&self.plan, self.node, commit, keys.sign)?)
    }

    fn deal(&mut self, round1: &Round1, keys: &Keys<'_>) -> Result<Signed<Deal>, Refusal> {
        let dealing = self.dealing(round1, keys)?;
        self.pins.round1 = Some(round1.digest());
        let deal = Deal::new(round1, &self.seed, &dealing);
        Ok(Signed::sign(&self.plan, self.node, deal, keys.sign)?)
    }

    fn certify(
        &mut self,
        round2: &Round2,
        keys: &Keys<'_>,
    ) -> Result<(Message, Option<PendingShare>), Refusal> {
        let member = self.plan.member(self.node).ok_or(Refusal::NoPart)?;
        self.check_identity(member, keys.identity)?;
        let round1 = round2.round1();
        let transcript = round2.transcript();
        if let Some(pinned) = self.pins.transcript.filter(|&pinned| pinned != transcript) {
            return Err(Refusal::AnotherTranscript { pinned });
        }
        let dealing = match self.plan.proposal().kind {
            Kind::Generate { .. } => Some(self.dealing(round1, keys)?),
            Kind::Reshare { .. } => self.check_round1(round1).map(|()| None)?,
        };
        self.pins.transcript = Some(transcript);
        match receive(round2, member, keys.identity, dealing.as_ref())? {
            Received::Complaint(complaint) => {
                let signed = Signed::sign(&self.plan, self.node, complaint, keys.sign)?;
                Ok((Message::Complain(signed), None))
            }
            Received::Share(pending) => {
                let certificate = pending.certificate().clone();
                let certify = Certify {
                    transcript,
                    statement: (keys.sign)(self.plan.statement_hash(&certificate)),
                    certificate,
                };
                let signed = Signed::sign(&self.plan, self.node, certify, keys.sign)?;
                Ok((Message::Certify(signed), Some(*pending)))
            }
        }
    }

    fn defend(
        &self,
        round1: &Round1,
        complaint: &Signed<Complaint>,
        keys: &Keys<'_>,
    ) -> Result<Signed<Defence>, Refusal> {
        let dealing = self.dealing(round1, keys)?;
        let accuser = self
            .plan
            .member(complaint.node())
            .ok_or(Refusal::NotAccused)?;
        let said = complaint.body();
        // What was dealt is made again, so that only a complaint about these very bytes is answered.
        let deal = Deal::new(round1, &self.seed, &dealing);
        let deal = Signed::sign(&self.plan, self.node, deal, keys.sign)?;
        if deal.digest() != said.deal || self.pins.round1 != Some(round1.digest()) {
            return Err(Refusal::NotAccused);
        }
        if said.part == Part::OldSeed {
            return Err(Refusal::NotAccused);
        }
        let plaintext = dealing.plaintext(accuser, said.part);
        let defence = Defence {
            complaint: complaint.digest(),
            coins: self.seed.coins(self.plan.id(), accuser, said.part),
            plaintext: plaintext.ok_or(Refusal::NotAccused)?,
        };
        Ok(Signed::sign(&self.plan, self.node, defence, keys.sign)?)
    }

    /// The dealer's polynomial again, after checking that the node may deal under this set.
    fn dealing(&self, round1: &Round1, keys: &Keys<'_>) -> Result<Dealing, Refusal> {
        let dealer = self.dealer(keys)?;
        self.check_round1(round1)?;
        Dealing::new(round1, dealer, &self.seed, keys.share)
    }

    fn dealer(&self, keys: &Keys<'_>) -> Result<Member, Refusal> {
        let dealer = self.plan.dealer(self.node).ok_or(Refusal::NoPart)?;
        match (self.plan.resharing(), keys.share) {
            (None, _) => Ok(dealer),
            (Some((from, _)), Some(share))
                if share.certificate() == from && share.member() == dealer =>
            {
                Ok(dealer)
            }
            _ => Err(Refusal::AnotherShare),
        }
    }

    fn check_round1(&self, round1: &Round1) -> Result<(), Refusal> {
        if round1.plan().id() != self.plan.id() {
            return Err(Refusal::AnotherCeremony);
        }
        match self.pins.round1.filter(|&pinned| pinned != round1.digest()) {
            Some(pinned) => Err(Refusal::AnotherRound1 { pinned }),
            None => Ok(()),
        }
    }

    fn check_identity(&self, member: Member, identity: &Identity) -> Result<(), Refusal> {
        let party = self.plan.party(member).ok_or(Refusal::NoPart)?;
        let held = match identity {
            Identity::Tagged(identity) => identity.recipient(),
            Identity::X25519(_) | Identity::Passphrase(_) => return Err(Refusal::AnotherIdentity),
        };
        if held == party.recipient || held.classical() == party.recipient {
            Ok(())
        } else {
            Err(Refusal::AnotherIdentity)
        }
    }
}
