//! How a node gets the file keys of a release from a committee: it asks a quorum, opens what it gave, and where that fails
//! finds out who lied and asks another quorum without them.
//!
//! A value that consumes itself: events and the time go in, the next state and what to send come out. It must not know how
//! messages travel. The transport brings at most one answer for each question that it was told to send, from the member
//! that it was sent to, or says that there will be none.
//!
//! Who answers wrongly is left out for the rest of the job, so there is at most one retry for each bad member (two for one
//! that lies about both halves of a hybrid file: the first finds out about the ML-KEM half). Coefficients
//! depend on the whole quorum, so a retry can use nothing of what was given before; therefore all members that are silent
//! together are left out together, and who is outside the quorum is probed at the start: a replacement is known to be up.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::answer::{Asked, Fault, Given, parse_proof};
use super::equality::verify_partials;
use super::question::{Question, Wanted};
use super::record::{Culprit, RecordedRound};
use super::released::ReleasedFiles;
use super::{Member, ShareCertificate};
use crate::limits::MAX_PAGE_FILES;
use crate::receipt::Escrow;
use crate::seal::Identity;
use crate::seal::header::FileKey;

use health::{Candidate, Sign, choose};
use opening::Votes;
use outcome::give_up;

pub use health::{Health, Peer};
pub use outcome::{Assembled, BadFile, Effect, GivenUp, Progress};

mod health;
mod opening;
mod outcome;

/// A release on its way to file keys. Has no Debug: it holds partials and file keys.
pub struct Assembly {
    certificate: ShareCertificate,
    escrow: Escrow,
    files: ReleasedFiles,
    patience: Duration,
    members: BTreeMap<Member, Candidate>,
    opened: Vec<Option<Result<FileKey, BadFile>>>,
    page: u32,
    votes: Votes,
    round: Round,
    recorded: Vec<RecordedRound>,
    culprits: Vec<Culprit>,
    retries: u32,
}

/// One question to one quorum.
struct Round {
    number: u32,
    question: Question,
    asked: Duration,
    awaiting: BTreeSet<Member>,
    given: BTreeMap<Member, Given>,
    /// Where proofs are asked for: whether one did not come or did not hold.
    unproven: bool,
}

impl Assembly {
    /// Starts. `patience` is how long a member may take over one page; `now` and all later times count from one origin.
    pub fn start(
        certificate: ShareCertificate,
        escrow: Escrow,
        peers: &[Peer],
        files: ReleasedFiles,
        patience: Duration,
        now: Duration,
    ) -> Progress {
        let candidate = |peer: &Peer| Candidate {
            signer: peer.signer,
            health: peer.health,
            sign: Sign::Unknown,
            since: None,
            fault: None,
        };
        let members = peers
            .iter()
            .filter(|peer| certificate.public_share(peer.member).is_some())
            .map(|peer| (peer.member, candidate(peer)))
            .collect::<BTreeMap<_, _>>();
        let count = files.headers().len();
        let Some(quorum) = choose(&certificate, &members, None) else {
            return Progress::GivenUp(give_up(&certificate, members, Vec::new()));
        };
        let question = Question::partials(files.digest(), 0, quorum);
        let mut assembly = Self {
            round: Round::new(0, question, now, BTreeMap::new()),
            certificate,
            escrow,
            files,
            patience,
            members,
            opened: std::iter::repeat_with(|| None).take(count).collect(),
            page: 0,
            votes: Votes::new(),
            recorded: Vec::new(),
            culprits: Vec::new(),
            retries: 0,
        };
        let mut effects = assembly.ask(now);
        let others = assembly.members.keys().copied();
        effects.extend(
            others
                .filter(|member| !assembly.round.awaiting.contains(member))
                .map(|member| Effect::Probe { member }),
        );
        Progress::Waiting(Box::new(assembly), effects)
    }

    /// When [`Assembly::tick`] is due.
    pub fn deadline(&self) -> Duration {
        let since = |member| self.members.get(member).and_then(|found| found.since);
        let first = self.round.awaiting.iter().filter_map(since).min();
        first.unwrap_or(self.round.asked) + self.patience
    }

    /// A member gave a sign of life.
    pub fn alive(mut self: Box<Self>, member: Member) -> Progress {
        if let Some(found) = self.members.get_mut(&member) {
            found.sign = found.sign.min(Sign::Alive);
        }
        self.wait()
    }

    /// A member's answer to the question of `round` came. `identity` is the node's own, to which answers are sealed.
    pub fn answered(
        mut self: Box<Self>,
        now: Duration,
        member: Member,
        round: u32,
        bytes: &[u8],
        identity: &Identity,
    ) -> Progress {
        let current = self.round.number == round && self.round.awaiting.contains(&member);
        let Some(found) = self.members.get_mut(&member) else {
            return self.wait();
        };
        if found.fault.is_none() {
            found.sign = Sign::Answered;
        }
        if !current {
            // To a question that is over: a sign of life, and only now it can turn to the next one.
            found.since = found.since.map(|_| now);
            return self.wait();
        }
        let judged = match self.round.question.wanted().clone() {
            Wanted::Partials => self.take_partials(member, bytes, identity),
            Wanted::Proof(places) => self.check_proof(member, &places, bytes),
        };
        match judged {
            Ok(()) => self.settle(now, member),
            Err(fault) => self.blame(now, member, fault),
        }
    }

    /// A member said that it gives nothing.
    pub fn refused(self: Box<Self>, now: Duration, member: Member, round: u32) -> Progress {
        self.lose(now, member, round, Fault::Refused)
    }

    /// There will be no answer: no connection, or a broken one.
    pub fn failed(self: Box<Self>, now: Duration, member: Member, round: u32) -> Progress {
        self.lose(now, member, round, Fault::Silent)
    }

    /// Time has passed. All members whose answer is due are left out together.
    pub fn tick(mut self: Box<Self>, now: Duration) -> Progress {
        let patience = self.patience;
        let is_late = |found: &Candidate| found.since.is_some_and(|since| since + patience <= now);
        let late: Vec<Member> = self
            .round
            .awaiting
            .iter()
            .copied()
            .filter(|member| self.members.get(member).is_some_and(is_late))
            .collect();
        if late.is_empty() {
            return self.wait();
        }
        for member in late {
            self.accuse(member, Fault::Silent);
        }
        self.ask_others(now)
    }

    fn lose(self: Box<Self>, now: Duration, member: Member, round: u32, fault: Fault) -> Progress {
        if self.round.number == round && self.round.awaiting.contains(&member) {
            self.blame(now, member, fault)
        } else {
            self.wait()
        }
    }

    fn wait(self: Box<Self>) -> Progress {
        Progress::Waiting(self, Vec::new())
    }

    fn take_partials(
        &mut self,
        member: Member,
        bytes: &[u8],
        identity: &Identity,
    ) -> Result<(), Fault> {
        let asked = Asked {
            question: self.round.question.digest(),
            member,
            page: self.files.page(self.page).expect("a page of the set"),
        };
        let signer = self.members[&member].signer;
        let given = Given::parse(bytes, &asked, &self.escrow, signer, identity)?;
        self.round.given.insert(member, given);
        Ok(())
    }

    fn check_proof(&self, member: Member, places: &[u32], bytes: &[u8]) -> Result<(), Fault> {
        let page = self.files.page(self.page).expect("a page of the set");
        let question = &self.round.question;
        let asked = Asked {
            question: question.digest(),
            member,
            page,
        };
        let proof = parse_proof(bytes, &asked)?;
        let given = &self.round.given[&member].files;
        let places = || places.iter().map(|&place| index(place));
        let points: Vec<_> = places()
            .map(|at| page[at].stanza().point().clone())
            .collect();
        let partials: Vec<_> = places().map(|at| given[at].partial.clone()).collect();
        let context = self.files.proof_context();
        let quorum = question.quorum();
        verify_partials(
            &self.certificate,
            quorum,
            &context,
            &points,
            &partials,
            &proof,
        )
        .map_err(|_| Fault::WrongPartial)
    }

    /// A member has answered well.
    fn settle(mut self: Box<Self>, now: Duration, member: Member) -> Progress {
        let took = now.saturating_sub(self.round.asked);
        if let Some(found) = self.members.get_mut(&member) {
            found.health.answer(took);
            found.since = None;
        }
        self.round.awaiting.remove(&member);
        if self.round.awaiting.is_empty() {
            self.conclude(now)
        } else {
            self.wait()
        }
    }

    /// A member has answered badly. Without all partials a round is lost; proofs still show who else lied.
    fn blame(mut self: Box<Self>, now: Duration, member: Member, fault: Fault) -> Progress {
        self.accuse(member, fault);
        self.round.awaiting.remove(&member);
        let proving = *self.round.question.wanted() != Wanted::Partials;
        self.round.unproven = proving;
        if proving && !self.round.awaiting.is_empty() {
            self.wait()
        } else {
            self.ask_others(now)
        }
    }

    fn accuse(&mut self, member: Member, fault: Fault) {
        let found = self.members.get_mut(&member).expect("it was asked");
        if found.fault.is_none() {
            found.fault = Some(fault);
            found.since = None;
            found.health.fail();
            self.culprits.push(Culprit {
                member,
                page: self.page,
                fault,
            });
        }
    }

    /// All of the quorum have answered.
    fn conclude(mut self: Box<Self>, now: Duration) -> Progress {
        let start = index(self.page) * MAX_PAGE_FILES;
        if let Wanted::Proof(places) = self.round.question.wanted().clone() {
            if self.round.unproven {
                return self.ask_others(now);
            }
            for place in places {
                self.opened[start + index(place)] = Some(Err(BadFile::Closed));
            }
            self.record_round();
            return self.next_page(now);
        }
        let pending = self.open_page(start);
        if pending.is_empty() {
            self.next_page(now)
        } else if !self.votes.is_empty() {
            self.ask_others(now)
        } else {
            let question = self.round.question.proof(pending);
            let given = std::mem::take(&mut self.round.given);
            self.round = Round::new(self.round.number + 1, question, now, given);
            let effects = self.ask(now);
            Progress::Waiting(self, effects)
        }
    }

    fn next_page(mut self: Box<Self>, now: Duration) -> Progress {
        self.votes.clear();
        if self.page + 1 < self.files.pages() {
            self.page += 1;
            self.ask_quorum(now)
        } else {
            Progress::Done(self.finish())
        }
    }

    fn ask_others(mut self: Box<Self>, now: Duration) -> Progress {
        self.retries += 1;
        self.ask_quorum(now)
    }

    /// Asks the likeliest quorum. Each time that this is for the same page somebody was accused or heard for the first time,
    /// so it is not more often than there are members.
    fn ask_quorum(mut self: Box<Self>, now: Duration) -> Progress {
        let Some(quorum) = choose(&self.certificate, &self.members, self.votes.values().next())
        else {
            return Progress::GivenUp(give_up(&self.certificate, self.members, self.culprits));
        };
        let question = Question::partials(self.files.digest(), self.page, quorum);
        self.round = Round::new(self.round.number + 1, question, now, BTreeMap::new());
        let effects = self.ask(now);
        Progress::Waiting(self, effects)
    }

    fn ask(&mut self, now: Duration) -> Vec<Effect> {
        for member in &self.round.awaiting {
            let found = self
                .members
                .get_mut(member)
                .expect("it was chosen from them");
            // Who still owes an earlier answer gets no new time.
            found.since.get_or_insert(now);
        }
        let question = self.round.question.to_bytes();
        let ask = |&member| Effect::Ask {
            member,
            round: self.round.number,
            question: question.clone(),
        };
        self.round.awaiting.iter().map(ask).collect()
    }
}

impl Round {
    fn new(number: u32, question: Question, now: Duration, given: BTreeMap<Member, Given>) -> Self {
        Self {
            number,
            awaiting: question.quorum().members().iter().copied().collect(),
            question,
            asked: now,
            given,
            unproven: false,
        }
    }
}

fn index(place: u32) -> usize {
    usize::try_from(place).expect("32 bits are a place in memory")
}
