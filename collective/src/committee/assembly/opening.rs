//! One page of an assembly: file keys from what a whole quorum has given, and whom to believe where its members differ
//! about an ML-KEM secret.

use std::collections::BTreeMap;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{Assembly, BadFile, Candidate};
use crate::committee::answer::Fault;
use crate::committee::record::RecordedRound;
use crate::committee::{Member, OpenHeaderError, combine, open_header};
use crate::seal::header::FileKey;
use crate::seal::hpke::MlKemSecret;

/// ML-KEM secrets of the places of a page on which members differ.
pub(super) type Votes = BTreeMap<usize, BTreeMap<Member, Zeroizing<[u8; 32]>>>;

impl Assembly {
    /// Opens what opens, and returns the places that did not.
    pub(super) fn open_page(&mut self, start: usize) -> Vec<u32> {
        let count = self.files.page(self.page).expect("a page of the set").len();
        let mut pending = Vec::new();
        let mut opened_any = false;
        for at in 0..count {
            if self.opened[start + at].is_some() {
                continue;
            }
            match self.open_file(at) {
                Some(result) => {
                    self.opened[start + at] = Some(result);
                    self.votes.remove(&at);
                    opened_any = true;
                }
                None => pending.push(u32::try_from(at).expect("places of a page")),
            }
        }
        if opened_any {
            self.record_round();
        }
        pending
    }

    /// Once for each quorum that was of use, be it before or after its proofs.
    pub(super) fn record_round(&mut self) {
        let round = RecordedRound::new(self.page, self.round.given.values());
        if self.recorded.last() != Some(&round) {
            self.recorded.push(round);
        }
    }

    /// `None` where the file did not open, or where its ML-KEM secret is disputed and others can still be heard.
    fn open_file(&mut self, at: usize) -> Option<Result<FileKey, BadFile>> {
        let secrets = self.ml_kem_secrets(at)?;
        let header = &self.files.page(self.page)?[at];
        let given = self.round.given.values();
        let partials: Vec<_> = given.map(|given| given.files[at].partial.clone()).collect();
        let dh = combine(self.round.question.quorum(), &partials).ok()?;
        secrets.iter().find_map(|secret| {
            let recipient = self.certificate.recipient();
            let secret = secret.as_ref();
            match open_header(recipient, header.header(), header.stanza(), &dh, secret) {
                Ok(key) => Some(Ok(key)),
                Err(OpenHeaderError::Mac(_)) => Some(Err(BadFile::Altered)),
                Err(OpenHeaderError::Stanza(_)) => None,
            }
        })
    }

    /// The secrets to try. Where members differ, the one that opens need not be the right one: a contributor and one member
    /// can make a file that opens only with the member's lie, and so have the others blamed. What t members say is right,
    /// because one of them is honest; until t say the same, others are asked.
    fn ml_kem_secrets(&mut self, at: usize) -> Option<Vec<Option<MlKemSecret>>> {
        let given = self.round.given.iter();
        let said: BTreeMap<Member, Zeroizing<[u8; 32]>> = given
            .filter_map(|(&member, given)| {
                let secret = given.files[at].ml_kem.as_ref()?;
                Some((member, Zeroizing::new(*secret.expose())))
            })
            .collect();
        let Some(first) = said.values().next() else {
            return Some(vec![None]);
        };
        let agreed = said.values().all(|other| same(other, first));
        if agreed && !self.votes.contains_key(&at) {
            return Some(vec![Some(MlKemSecret::from_bytes(**first))]);
        }
        self.votes.entry(at).or_default().extend(said);
        let votes = &self.votes[&at];
        let threshold = usize::from(self.certificate.threshold());
        let count = |secret| votes.values().filter(|vote| same(vote, secret)).count();
        if let Some(right) = votes.values().find(|vote| count(vote) >= threshold) {
            let secret = MlKemSecret::from_bytes(**right);
            let liars = votes.iter().filter(|(_, vote)| !same(vote, right));
            let liars: Vec<Member> = liars.map(|(&member, _)| member).collect();
            for liar in liars {
                self.accuse(liar, Fault::WrongMlKem);
            }
            self.votes.remove(&at);
            return Some(vec![Some(secret)]);
        }
        let is_heard = |(member, found): (&Member, &Candidate)| {
            found.fault.is_some() || votes.contains_key(member)
        };
        if !self.members.iter().all(is_heard) {
            return None;
        }
        let mut distinct: Vec<&Zeroizing<[u8; 32]>> = Vec::new();
        for vote in votes.values() {
            if !distinct.iter().any(|seen| same(seen, vote)) {
                distinct.push(vote);
            }
        }
        let secrets = distinct
            .iter()
            .map(|vote| Some(MlKemSecret::from_bytes(***vote)));
        let secrets = secrets.collect();
        self.votes.remove(&at);
        Some(secrets)
    }
}

fn same(a: &Zeroizing<[u8; 32]>, b: &Zeroizing<[u8; 32]>) -> bool {
    a.ct_eq(b.as_slice()).into()
}
