//! The committee as a compute node sees it: whom to ask, over which wire, and what came of it.
//!
//! A node that is a committee of one asks the holder in its own process, and a larger committee's members over the
//! wire. Questions, answers and checks are the same.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use alloy::primitives::{Address, B256, Bytes as CallData, Signature};
use bytes::Bytes;
use collective::committee::answer::Fault;
use collective::committee::assembly::{
    Assembled, Assembly, Effect, GivenUp, Health, Peer, Progress,
};
use collective::committee::record::Culprit;
use collective::committee::released::ReleasedFiles;
use collective::committee::{Member, ShareCertificate};
use collective::id::NodeId;
use collective::receipt::{Release, check_signed};
use collective::reward::RewardRoot;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use thiserror::Error;
use tokio::sync::watch;

use crate::blobs::{BlobError, Blobs};
use crate::chain::facts::MemberFact;
use crate::chain::{Chain, ChainError};
use crate::follower::View;
use crate::holder::serve::{PARTIALS, RELEASE, REWARDS, STATUS};
use crate::holder::{Holder, HolderRefusal};
use crate::keystore::Keystore;
use crate::wire::{self, Exchange, Remote, WireError};

/// How long a member may take over one page of partials: it reads chain facts first, then multiplies for a second at
/// most.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Why the committee gave nothing. The same question may be answered later.
#[derive(Debug, Error)]
pub enum CommitteeError {
    /// The chain.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The certificate.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The certificate's bytes.
    #[error("the certificate of epoch {0} is not the one that the chain names")]
    Certificate(u64),
    /// Fewer than t members signed.
    #[error("{got} of {needed} members signed: {}", .refusals.join("; "))]
    Unsigned {
        /// Signatures that hold.
        got: usize,
        /// t.
        needed: u16,
        /// What the others said.
        refusals: Vec<String>,
    },
    /// Fewer than t members are left.
    #[error("{given_up}: {}", blame(.given_up))]
    GivenUp {
        /// What each did.
        given_up: GivenUp,
    },
}

fn blame(given_up: &GivenUp) -> String {
    let culprits = given_up.culprits.iter();
    let each = culprits.map(|it| format!("member {} {}", it.member.number(), it.fault));
    each.collect::<Vec<_>>().join("; ")
}

/// Asks the committee's members for one node.
pub struct Committee {
    /// The chain.
    pub chain: Chain,
    /// Certificates.
    pub blobs: Blobs,
    /// The node's keys, to which answers are sealed.
    pub keys: Arc<Keystore>,
    /// Chain facts.
    pub view: watch::Receiver<View>,
    /// This node.
    pub node: NodeId,
    /// The holder in this process, if it is one.
    pub own: Option<Arc<Holder>>,
    /// To the others.
    pub wire: Arc<wire::Client>,
    /// How members did so far, by their nodes.
    pub health: Mutex<BTreeMap<NodeId, Health>>,
    /// What they did wrong since this process started.
    pub faults: Arc<Faults>,
}

/// How often which member did what wrong: nodes and the numbers that they had then. Lost with the process.
#[derive(Debug, Default)]
pub struct Faults(Mutex<HashMap<(NodeId, Member, Fault), u64>>);

impl Faults {
    fn count(&self, node: NodeId, culprit: &Culprit) {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counted
            .entry((node, culprit.member, culprit.fault))
            .or_default() += 1;
    }

    /// All of them, in no order.
    pub fn all(&self) -> Vec<((NodeId, Member, Fault), u64)> {
        let counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counted
            .iter()
            .map(|(&what, &times)| (what, times))
            .collect()
    }
}

/// A member and how to reach it.
#[derive(Clone)]
struct Seat {
    fact: MemberFact,
    line: Line,
}

#[derive(Clone)]
enum Line {
    Own(Arc<Holder>),
    Remote(Arc<wire::Client>, Remote),
    /// It has announced no endpoint that could be called.
    None,
}

/// Why one member gave nothing.
enum NoAnswer {
    /// It said so.
    Refused(String),
    /// It said nothing.
    Silent(String),
}

impl Committee {
    /// Signatures of t members under a release, in the order that the contract wants.
    ///
    /// # Errors
    /// [`CommitteeError::Unsigned`].
    pub async fn sign_release(&self, release: &Release) -> Result<Vec<CallData>, CommitteeError> {
        let digest = release.signing_hash(&self.chain.deployment().job_escrow());
        let (job, node) = (release.job, self.node);
        self.sign(release.epoch, digest, |seat| seat.sign_release(job, node))
            .await
    }

    /// Signatures of t members under a reward root.
    ///
    /// # Errors
    /// [`CommitteeError::Unsigned`].
    pub async fn sign_rewards(&self, root: &RewardRoot) -> Result<Vec<CallData>, CommitteeError> {
        let deployment = self.chain.deployment();
        let digest = root.signing_hash(deployment.chain_id, deployment.rewards);
        self.sign(root.epoch, digest, |seat| seat.sign_rewards(root.clone()))
            .await
    }

    /// The file keys of a release, from the healthiest quorum that gives them.
    ///
    /// # Errors
    /// [`CommitteeError::GivenUp`] with everybody's part in it.
    pub async fn open(&self, files: ReleasedFiles) -> Result<Assembled, CommitteeError> {
        let (job, epoch) = (files.release().job, files.release().epoch);
        let (certificate, seats) = self.seats(epoch).await?;
        let peers: Vec<Peer> = {
            let health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
            let peer = |seat: &Seat| Peer {
                member: seat.fact.member,
                signer: seat.fact.signer,
                health: health.get(&seat.fact.id).copied().unwrap_or_default(),
            };
            seats.values().map(peer).collect()
        };
        let escrow = self.chain.deployment().job_escrow();
        let origin = Instant::now();
        let progress = Assembly::start(
            certificate,
            escrow,
            &peers,
            files,
            PATIENCE,
            origin.elapsed(),
        );
        let (outcome, health) = match self.drive(job, &seats, origin, progress).await {
            Progress::Done(assembled) => {
                self.blame(&seats, assembled.record.culprits());
                let health = assembled.health.clone();
                (Ok(assembled), health)
            }
            Progress::GivenUp(given_up) => {
                self.blame(&seats, &given_up.culprits);
                let health = given_up.health.clone();
                (Err(CommitteeError::GivenUp { given_up }), health)
            }
            Progress::Waiting(..) => unreachable!("it was driven to its end"),
        };
        let mut known = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        for (member, health) in health {
            if let Some(seat) = seats.get(&member) {
                known.insert(seat.fact.id, health);
            }
        }
        outcome
    }

    fn blame(&self, seats: &BTreeMap<Member, Seat>, culprits: &[Culprit]) {
        for culprit in culprits {
            if let Some(seat) = seats.get(&culprit.member) {
                self.faults.count(seat.fact.id, culprit);
            }
        }
    }

    async fn drive(
        &self,
        job: u64,
        seats: &BTreeMap<Member, Seat>,
        origin: Instant,
        mut progress: Progress,
    ) -> Progress {
        let mut asked: FuturesUnordered<BoxFuture<'_, Event>> = FuturesUnordered::new();
        loop {
            let (assembly, effects) = match progress {
                Progress::Waiting(assembly, effects) => (assembly, effects),
                end => return end,
            };
            for effect in effects {
                asked.push(match effect {
                    Effect::Ask {
                        member,
                        round,
                        question,
                    } => {
                        let seat = seats[&member].clone();
                        let node = self.node;
                        Box::pin(async move {
                            let answer = seat.partials(job, question, node).await;
                            Event::Answer(member, round, answer)
                        })
                    }
                    Effect::Probe { member } => {
                        let seat = seats[&member].clone();
                        Box::pin(async move { Event::Alive(member, seat.gives_a_sign().await) })
                    }
                });
            }
            let due = tokio::time::Instant::from_std(origin + assembly.deadline());
            let event = tokio::select! {
                Some(event) = asked.next() => event,
                () = tokio::time::sleep_until(due) => Event::Tick,
            };
            let now = origin.elapsed();
            progress = match event {
                Event::Answer(member, round, Ok(bytes)) => {
                    assembly.answered(now, member, round, &bytes, self.keys.identity())
                }
                Event::Answer(member, round, Err(NoAnswer::Refused(why))) => {
                    tracing::warn!(job, member = member.number(), why, "a member refused");
                    assembly.refused(now, member, round)
                }
                Event::Answer(member, round, Err(NoAnswer::Silent(why))) => {
                    tracing::warn!(job, member = member.number(), why, "a member is silent");
                    assembly.failed(now, member, round)
                }
                Event::Alive(member, true) => assembly.alive(member),
                Event::Alive(_, false) => Progress::Waiting(assembly, vec![]),
                Event::Tick => assembly.tick(now),
            };
        }
    }

    async fn sign<'a>(
        &'a self,
        epoch: u64,
        digest: B256,
        ask: impl Fn(Seat) -> BoxFuture<'a, Result<Signature, NoAnswer>>,
    ) -> Result<Vec<CallData>, CommitteeError> {
        let (certificate, seats) = self.seats(epoch).await?;
        let mut asked: FuturesUnordered<_> = seats
            .into_values()
            .map(|seat| {
                let answer = ask(seat.clone());
                async move { (seat.fact, answer.await) }
            })
            .collect();
        let mut signed: BTreeMap<Address, Signature> = BTreeMap::new();
        let mut refusals = Vec::new();
        let needed = certificate.threshold();
        while signed.len() < usize::from(needed) {
            let Some((fact, answer)) = asked.next().await else {
                let got = signed.len();
                return Err(CommitteeError::Unsigned {
                    got,
                    needed,
                    refusals,
                });
            };
            let number = fact.member.number();
            match answer {
                Ok(signature) if check_signed(&signature, digest, fact.signer).is_ok() => {
                    signed.insert(fact.signer, signature);
                }
                Ok(_) => refusals.push(format!("member {number} signed something else")),
                Err(NoAnswer::Refused(why)) => refusals.push(format!("member {number}: {why}")),
                Err(NoAnswer::Silent(why)) => refusals.push(format!("member {number}: {why}")),
            }
        }
        let bytes = |signature: Signature| CallData::copy_from_slice(&signature.as_bytes());
        Ok(signed.into_values().map(bytes).collect())
    }

    /// The members of an epoch, as the newest finalized block proves them, and their certificate.
    async fn seats(
        &self,
        epoch: u64,
    ) -> Result<(ShareCertificate, BTreeMap<Member, Seat>), CommitteeError> {
        let finalized = self.view.borrow().finalized;
        let committee = self.chain.committee_of(&finalized, epoch).await?;
        let bytes = self.blobs.get(committee.certificate).await?;
        let certificate = ShareCertificate::parse(&bytes)
            .ok()
            .filter(|certificate| committee.is_shared_by(certificate))
            .ok_or(CommitteeError::Certificate(epoch))?;
        let members = self.chain.members(&finalized, &committee).await?;
        // Where each is may have changed since the last job: a look at the log for each, all at once.
        let seats = members.into_iter().map(async |fact| {
            let line = match &self.own {
                Some(holder) if fact.id == self.node => Line::Own(holder.clone()),
                _ => self.line(&finalized, &fact).await?,
            };
            Ok::<_, ChainError>((fact.member, Seat { fact, line }))
        });
        let seats = futures_util::future::try_join_all(seats).await?;
        Ok((certificate, seats.into_iter().collect()))
    }

    async fn line(
        &self,
        block: &collective::receipt::BlockRef,
        fact: &MemberFact,
    ) -> Result<Line, ChainError> {
        let said = self.chain.announcement(block, fact.id, &fact.node).await?;
        let remote = said.and_then(|said| Remote::new(&said.endpoint, fact.node.transport).ok());
        Ok(remote.map_or(Line::None, |remote| Line::Remote(self.wire.clone(), remote)))
    }
}

enum Event {
    Answer(Member, u32, Result<Bytes, NoAnswer>),
    Alive(Member, bool),
    Tick,
}

impl Seat {
    fn sign_release(
        self,
        job: u64,
        node: NodeId,
    ) -> BoxFuture<'static, Result<Signature, NoAnswer>> {
        Box::pin(async move {
            match &self.line {
                Line::Own(holder) => Ok(holder.sign_release(job, node).await?),
                line => {
                    let body = Bytes::copy_from_slice(&job.to_be_bytes());
                    signature(&line.ask(&RELEASE, body).await?)
                }
            }
        })
    }

    fn sign_rewards(self, root: RewardRoot) -> BoxFuture<'static, Result<Signature, NoAnswer>> {
        Box::pin(async move {
            match &self.line {
                Line::Own(holder) => Ok(holder.sign_rewards(&root).await?),
                line => {
                    let body = serde_json::to_vec(&root).expect("plain JSON values");
                    signature(&line.ask(&REWARDS, body.into()).await?)
                }
            }
        })
    }

    async fn partials(self, job: u64, question: Vec<u8>, node: NodeId) -> Result<Bytes, NoAnswer> {
        match &self.line {
            Line::Own(holder) => Ok(holder.answer(job, &question, node).await?.into()),
            line => {
                let body = [&job.to_be_bytes()[..], &question].concat();
                line.ask(&PARTIALS, body.into()).await
            }
        }
    }

    async fn gives_a_sign(self) -> bool {
        match &self.line {
            Line::Own(_) => true,
            line => line.ask(&STATUS, Bytes::new()).await.is_ok(),
        }
    }
}

impl Line {
    async fn ask(&self, exchange: &'static Exchange, body: Bytes) -> Result<Bytes, NoAnswer> {
        let Self::Remote(wire, remote) = self else {
            return Err(NoAnswer::Silent("no endpoint that can be called".into()));
        };
        wire.post(remote, exchange, body)
            .await
            .map_err(|error| match error {
                WireError::Refused { .. } => NoAnswer::Refused(error.to_string()),
                _ => NoAnswer::Silent(error.to_string()),
            })
    }
}

impl From<HolderRefusal> for NoAnswer {
    fn from(refusal: HolderRefusal) -> Self {
        Self::Refused(refusal.to_string())
    }
}

fn signature(bytes: &[u8]) -> Result<Signature, NoAnswer> {
    Signature::from_raw(bytes).map_err(|error| NoAnswer::Refused(error.to_string()))
}
