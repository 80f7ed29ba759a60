//! Who relays the messages and ends the ceremony. A convener is not trusted: it holds no secret, makes no message, and
//! what it names as proven anybody can check. Only silence is its own word.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::ask::Ask;
use super::blame::{Complaint, Liar, judge};
use super::certify::{Certification, Certify, CertifyFault};
use super::commit::{Commit, CommitFault, Round1, Round1Error};
use super::deal::{Deal, Round2};
use super::message::{Message, Round, Signed};
use super::plan::Plan;
use crate::id::NodeId;

/// How long a convener waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For all answers of a round; then whoever is silent is named and the ceremony ends.
    pub round: Duration,
    /// Before it asks the silent ones again.
    pub retry: Duration,
}

impl Default for Patience {
    /// A minute for a round, so that a restarted node still answers; 3 s between asks, so that a lost message costs little.
    fn default() -> Self {
        Self {
            round: Duration::from_secs(60),
            retry: Duration::from_secs(3),
        }
    }
}

/// What happens to a convener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Time has passed.
    Tick,
    /// A message came in; it has been read under the plan.
    Received(Box<Message>),
}

/// What a convener wants done. Each may be done twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Ask these nodes.
    Ask {
        /// Those whose answer is missing.
        nodes: Vec<NodeId>,
        /// What to ask.
        ask: Arc<Ask>,
    },
    /// All have certified: publish.
    Done(Box<Certification>),
    /// There is no key, and these are why. Where they were only silent, another convener may end the same ceremony later.
    Abort(Vec<Culprit>),
}

/// Who broke a ceremony, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Culprit {
    /// The node.
    pub node: NodeId,
    /// What it did.
    pub fault: Fault,
}

/// What a node can do to a ceremony.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It did not answer in time. The convener's word: a broken line looks the same.
    Silent(Round),
    /// It said two things in one place. Proven by the two messages.
    Contradiction(Box<(Message, Message)>),
    /// Its commit is wrong. Proven by the message.
    Commit(CommitFault),
    /// It answered with other messages than this convener has shown it. The convener's word.
    AnotherSet(Round),
    /// A member got a part that does not fit. Proven by deal, complaint and defence.
    WrongPart {
        /// Who complained.
        accuser: NodeId,
    },
    /// It complained about a part that fits. Proven by deal, complaint and defence.
    FalseComplaint {
        /// Whom it accused.
        accused: NodeId,
    },
    /// Its certification does not follow from the transcript. Proven by the messages.
    Certify(CertifyFault),
    /// Its certificate has another ML-KEM key than that of most. The convener's word, and of no worth without a majority.
    AnotherMlKemKey,
    /// Shares cancelled out; nobody's fault, or one that only many together can commit.
    Degenerate,
}

/// A ceremony as its convener sees it.
#[derive(Clone, Debug)]
pub struct Convener {
    plan: Arc<Plan>,
    patience: Patience,
    phase: Phase,
    heard: BTreeMap<(NodeId, Round), Message>,
    deadline: Duration,
    retry: Duration,
}

#[derive(Clone, Debug)]
enum Phase {
    Commit(BTreeMap<NodeId, Signed<Commit>>),
    Deal(Round1, BTreeMap<NodeId, Signed<Deal>>),
    Certify(Round2, BTreeMap<NodeId, Signed<Certify>>),
    Defend(Round2, Signed<Complaint>),
    Over,
}

impl Convener {
    /// Begins, at `now` of any clock that does not go back; the effects ask for round 1.
    pub fn new(plan: Arc<Plan>, patience: Patience, now: Duration) -> (Self, Vec<Effect>) {
        let mut convener = Self {
            plan,
            patience,
            phase: Phase::Commit(BTreeMap::new()),
            heard: BTreeMap::new(),
            deadline: now,
            retry: now,
        };
        convener.restart_clock(now);
        let effects = convener.ask();
        (convener, effects)
    }

    /// Whether the ceremony is over, for better or worse.
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    /// When [`Event::Tick`] is next needed.
    pub fn next_tick(&self) -> Duration {
        self.deadline.min(self.retry)
    }

    /// Takes an event in.
    pub fn step(mut self, event: Event, now: Duration) -> (Self, Vec<Effect>) {
        if self.is_over() {
            return (self, vec![]);
        }
        let ended = match event {
            Event::Tick => self.tick(now),
            Event::Received(message) => self.receive(*message, now),
        };
        match ended {
            Ok(effects) => (self, effects),
            Err(culprits) => {
                self.phase = Phase::Over;
                (self, vec![Effect::Abort(culprits)])
            }
        }
    }

    fn tick(&mut self, now: Duration) -> Result<Vec<Effect>, Vec<Culprit>> {
        let silent = |round| {
            let missing = self.missing().into_iter();
            missing
                .map(move |node| culprit(node, Fault::Silent(round)))
                .collect()
        };
        if now >= self.deadline {
            return Err(silent(self.round()));
        }
        if now < self.retry {
            return Ok(vec![]);
        }
        self.retry = now + self.patience.retry;
        Ok(self.ask())
    }

    fn receive(&mut self, message: Message, now: Duration) -> Result<Vec<Effect>, Vec<Culprit>> {
        let place = (message.node(), message.round());
        match self.heard.get(&place) {
            Some(before) if before.contradicts(&message) => {
                let both = Box::new((before.clone(), message));
                return Err(vec![culprit(place.0, Fault::Contradiction(both))]);
            }
            Some(_) => return Ok(vec![]),
            None => {}
        }
        // What is not due cannot be an answer, and is not kept either: its sender would fill the memory.
        if !self.is_due(&message) {
            return Ok(vec![]);
        }
        self.heard.insert(place, message.clone());
        self.take(message)?;
        match self.advance()? {
            Some(effects) => {
                self.restart_clock(now);
                Ok(effects)
            }
            None => Ok(vec![]),
        }
    }

    fn is_due(&self, message: &Message) -> bool {
        match (&self.phase, message) {
            (Phase::Commit(_), Message::Commit(_)) | (Phase::Deal(..), Message::Deal(_)) => true,
            (Phase::Certify(..), Message::Certify(_) | Message::Complain(_)) => true,
            (Phase::Defend(_, complaint), Message::Defend(defence)) => {
                self.accused(complaint) == Some(defence.node())
            }
            _ => false,
        }
    }

    /// Puts a message that is due where it belongs, after checking it.
    fn take(&mut self, message: Message) -> Result<(), Vec<Culprit>> {
        let plan = self.plan.clone();
        let node = message.node();
        let fail = |fault| Err(vec![culprit(node, fault)]);
        match (&mut self.phase, message) {
            (Phase::Commit(commits), Message::Commit(commit)) => {
                let checked = plan
                    .dealer(node)
                    .map(|dealer| commit.body().check(&plan, dealer));
                if let Some(Err(fault)) = checked {
                    return fail(Fault::Commit(fault));
                }
                commits.insert(node, commit);
            }
            (Phase::Deal(round1, deals), Message::Deal(deal)) => {
                if deal.body().round1 != round1.digest() {
                    return fail(Fault::AnotherSet(Round::Deal));
                }
                deals.insert(node, deal);
            }
            (Phase::Certify(round2, certified), Message::Certify(certify)) => {
                match certify.body().check(round2, node) {
                    Err(CertifyFault::AnotherTranscript) => {
                        return fail(Fault::AnotherSet(Round::Certify));
                    }
                    Err(fault) => return fail(Fault::Certify(fault)),
                    Ok(()) => certified.insert(node, certify),
                };
            }
            (Phase::Certify(round2, _), Message::Complain(complaint)) => {
                let said = complaint.body();
                if !round2.deals().iter().any(|deal| {
                    plan.dealer(deal.node()) == Some(said.dealer) && deal.digest() == said.deal
                }) {
                    return fail(Fault::AnotherSet(Round::Certify));
                }
                self.phase = Phase::Defend(round2.clone(), complaint);
            }
            (Phase::Defend(round2, complaint), Message::Defend(defence)) => {
                let deal = round2.deals().iter().find(|deal| deal.node() == node);
                let liar = deal.and_then(|deal| judge(round2.round1(), deal, complaint, &defence));
                let accuser = complaint.node();
                return Err(vec![match liar {
                    Some(Liar::Accuser) => {
                        culprit(accuser, Fault::FalseComplaint { accused: node })
                    }
                    // A defence of something else is none.
                    Some(Liar::Dealer) | None => culprit(node, Fault::WrongPart { accuser }),
                }]);
            }
            _ => {}
        }
        Ok(())
    }

    /// The next round's asks, once this round is complete.
    fn advance(&mut self) -> Result<Option<Vec<Effect>>, Vec<Culprit>> {
        if !self.missing().is_empty() && !matches!(self.phase, Phase::Defend(..)) {
            return Ok(None);
        }
        let dealers: Vec<NodeId> = self
            .plan
            .dealers()
            .iter()
            .map(|dealer| dealer.node)
            .collect();
        let everybody = || dealers.iter().copied();
        match &mut self.phase {
            Phase::Commit(commits) => {
                let commits = everybody()
                    .filter_map(|node| commits.remove(&node))
                    .collect();
                let round1 =
                    Round1::new(self.plan.clone(), commits).map_err(round1_fault(&self.plan))?;
                self.phase = Phase::Deal(round1, BTreeMap::new());
            }
            Phase::Deal(round1, deals) => {
                let deals = everybody().filter_map(|node| deals.remove(&node)).collect();
                let round2 = Round2::new(round1.clone(), deals)
                    .expect("one deal of each dealer under this set was taken in");
                self.phase = Phase::Certify(round2, BTreeMap::new());
            }
            Phase::Certify(round2, certified) => {
                let members = self.plan.proposal().members.iter();
                let certified: Vec<_> = members
                    .filter_map(|party| certified.get(&party.node).cloned())
                    .collect();
                let certification =
                    Certification::new(round2, &certified).ok_or_else(|| odd_ones(&certified))?;
                self.phase = Phase::Over;
                return Ok(Some(vec![Effect::Done(Box::new(certification))]));
            }
            Phase::Defend(..) | Phase::Over => {}
        }
        Ok(Some(self.ask()))
    }

    /// The asks of this phase, to those who are missing.
    fn ask(&self) -> Vec<Effect> {
        let ask = match &self.phase {
            Phase::Commit(_) => Ask::Commit,
            Phase::Deal(round1, _) => Ask::Deal(round1.clone()),
            Phase::Certify(round2, _) => Ask::Certify(round2.clone()),
            Phase::Defend(round2, complaint) => {
                Ask::Defend(round2.round1().clone(), complaint.clone())
            }
            Phase::Over => return vec![],
        };
        vec![Effect::Ask {
            nodes: self.missing(),
            ask: Arc::new(ask),
        }]
    }

    fn missing(&self) -> Vec<NodeId> {
        let dealers = || self.plan.dealers().iter().map(|dealer| dealer.node);
        match &self.phase {
            Phase::Commit(heard) => dealers().filter(|node| !heard.contains_key(node)).collect(),
            Phase::Deal(_, heard) => dealers().filter(|node| !heard.contains_key(node)).collect(),
            Phase::Certify(_, heard) => {
                let members = self.plan.proposal().members.iter().map(|party| party.node);
                members.filter(|node| !heard.contains_key(node)).collect()
            }
            Phase::Defend(_, complaint) => self.accused(complaint).into_iter().collect(),
            Phase::Over => vec![],
        }
    }

    fn accused(&self, complaint: &Signed<Complaint>) -> Option<NodeId> {
        let dealer = complaint.body().dealer;
        let dealers = self.plan.dealers().iter();
        let mut accused = dealers.filter(|known| known.number == dealer);
        accused.next().map(|known| known.node)
    }

    fn round(&self) -> Round {
        match self.phase {
            Phase::Commit(_) => Round::Commit,
            Phase::Deal(..) => Round::Deal,
            Phase::Certify(..) | Phase::Over => Round::Certify,
            Phase::Defend(..) => Round::Defend,
        }
    }

    fn restart_clock(&mut self, now: Duration) {
        self.deadline = now + self.patience.round;
        self.retry = now + self.patience.retry;
    }
}

fn culprit(node: NodeId, fault: Fault) -> Culprit {
    Culprit { node, fault }
}

fn round1_fault(plan: &Plan) -> impl Fn(Round1Error) -> Vec<Culprit> {
    let dealers: Vec<NodeId> = plan.dealers().iter().map(|dealer| dealer.node).collect();
    move |error| match error {
        Round1Error::Commit(node, fault) => vec![culprit(node, Fault::Commit(fault))],
        Round1Error::Incomplete | Round1Error::Degenerate => {
            let all = dealers.iter();
            all.map(|&node| culprit(node, Fault::Degenerate)).collect()
        }
    }
}

/// Those who certify another recipient than most; all, where there is no majority. Everything else in a certificate
/// has been compared with the transcript.
fn odd_ones(certified: &[Signed<Certify>]) -> Vec<Culprit> {
    let recipient = |certify: &Signed<Certify>| certify.body().certificate.recipient().to_string();
    let kinds: BTreeSet<String> = certified.iter().map(recipient).collect();
    let count = |kind: &String| certified.iter().filter(|c| recipient(c) == *kind).count();
    let most = kinds.iter().find(|kind| 2 * count(kind) > certified.len());
    let odd = certified
        .iter()
        .filter(|certify| Some(&recipient(certify)) != most);
    odd.map(|certify| culprit(certify.node(), Fault::AnotherMlKemKey))
        .collect()
}
