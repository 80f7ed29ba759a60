//! Ceremonies from the convener's side: a plan made from chain facts, three rounds over the wire, the result published.
//!
//! A convener is trusted with nothing. Every message is signed by its node and every part sealed to its member; what can go
//! wrong here is that a ceremony does not happen.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use alloy::primitives::{B256, Bytes as CallData};
use alloy::providers::DynProvider;
use bytes::Bytes;
use collective::committee::ShareCertificate;
use collective::committee::ceremony::ask::Ask;
use collective::committee::ceremony::certify::Certification;
use collective::committee::ceremony::convener::{Convener, Culprit, Effect, Event, Fault};
use collective::committee::ceremony::message::{Message, Round};
use collective::committee::ceremony::plan::{Dealer, Kind, Party, Plan, PlanError, Proposal};
use collective::id::NodeId;
use collective::receipt::{BlockRef, CommitteeStatement};
use collective_contracts::NodeRegistry;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use thiserror::Error;

use crate::chain::facts::{CommitteeFact, MemberFact};
use crate::chain::{Chain, ChainError};
use crate::client::{Client, ClientError};
use crate::holder::ceremony::{certified, question};
use crate::holder::mandate::MAX_EPOCH_STEP;
use crate::holder::serve::{CEREMONY, CERTIFIED, HolderStatus, STATUS};
use crate::wire::{self, Exchange, Remote};

mod records;

pub use collective::committee::ceremony::convener::Patience;

/// Why there is no ceremony, or no committee after it.
#[derive(Debug, Error)]
pub enum ConveneError {
    /// The chain.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The node whose blobs everybody reads.
    #[error(transparent)]
    Archive(#[from] ClientError),
    /// The plan that would be.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// There is no key to share anew.
    #[error(
        "the collective has accepted no committee yet: make one with `collective committee new`"
    )]
    NoCommittee,
    /// The bytes behind the accepted certificate's digest.
    #[error("the certificate of epoch {0} that the node gave is not the one that the chain names")]
    Certificate(u64),
    /// A key can only be dealt by t of its holders.
    #[error("only {got} of the {needed} members that must deal can be reached with a share of epoch {epoch}: {}", list(.missing))]
    TooFewDealers {
        /// Reached.
        got: usize,
        /// t.
        needed: u16,
        /// Accepted.
        epoch: u64,
        /// The others.
        missing: Vec<(NodeId, String)>,
    },
    /// Somebody broke it, or kept silent.
    #[error("the ceremony was given up: {}", list(.0))]
    GivenUp(Vec<(NodeId, String)>),
    /// Everybody has signed, and some have not taken their share over.
    #[error(
        "every member has signed, and some have not taken their share over: {}; hold the same plan again before you publish",
        list(.0)
    )]
    Unconfirmed(Vec<(NodeId, String)>),
}

impl From<alloy::contract::Error> for ConveneError {
    fn from(error: alloy::contract::Error) -> Self {
        Self::Chain(error.into())
    }
}

/// A ceremony that went well.
pub struct Certified {
    /// What was carried out.
    pub plan: Arc<Plan>,
    /// The new committee with every member's signature.
    pub certification: Certification,
    /// What the members were dealt: with it and the signatures each makes its share again.
    pub ask: Arc<Ask>,
}

impl Certified {
    /// What the members signed.
    pub fn statement(&self) -> CommitteeStatement {
        self.plan.statement(&self.certification.certificate)
    }
}

/// Convenes ceremonies, as any node that the collective accepts may.
pub struct Convening {
    /// The chain, for facts.
    pub chain: Chain,
    /// A node whose blobs holders and contributors read: the old certificate comes from it, the new one goes to it.
    pub archive: Client,
    /// To the nodes, with the key of one that is accepted.
    pub wire: Arc<wire::Client>,
    /// How long it waits.
    pub patience: Patience,
}

/// A member of the accepted committee, and what it says of itself.
pub struct Standing {
    /// The member.
    pub fact: MemberFact,
    /// Its words, or why there are none.
    pub status: Result<HolderStatus, String>,
}

impl Standing {
    /// Whether it could do its part in a release now, as far as it says.
    pub fn is_able(&self, epoch: u64) -> bool {
        let says = self.status.as_ref();
        epoch > 0 && says.is_ok_and(|status| status.epoch >= epoch && status.halted.is_none())
    }
}

impl Convening {
    /// A plan for a new key, held by `members` in this order; `attempt` tells it from an earlier one that was given up.
    ///
    /// # Errors
    /// [`ConveneError`].
    pub async fn plan_new(
        &self,
        members: &[NodeId],
        threshold: u16,
        attempt: u32,
    ) -> Result<Plan, ConveneError> {
        let block = self.chain.finalized().await?;
        let accepted = self.chain.committee(&block).await?;
        let kind = Kind::Generate { post_quantum: true };
        let epoch = self.next_epoch(&block, &accepted, members).await?;
        self.plan(&block, epoch, members, threshold, attempt, kind)
            .await
    }

    /// A plan by which the committee hands its key on to `members`; those deal who answer first.
    ///
    /// # Errors
    /// [`ConveneError::TooFewDealers`] where less than t can be reached.
    pub async fn plan_reshare(
        &self,
        members: &[NodeId],
        threshold: u16,
        attempt: u32,
    ) -> Result<Plan, ConveneError> {
        self.plan_anew(members, threshold, attempt, false).await
    }

    /// As [`Convening::plan_reshare`], with a new ML-KEM half of the key.
    ///
    /// # Errors
    /// [`ConveneError`].
    pub async fn plan_renewal(
        &self,
        members: &[NodeId],
        threshold: u16,
        attempt: u32,
    ) -> Result<Plan, ConveneError> {
        self.plan_anew(members, threshold, attempt, true).await
    }

    async fn plan_anew(
        &self,
        members: &[NodeId],
        threshold: u16,
        attempt: u32,
        renew: bool,
    ) -> Result<Plan, ConveneError> {
        let block = self.chain.finalized().await?;
        let accepted = self.chain.committee(&block).await?;
        let from = self.certificate(&accepted).await?;
        let dealers = self.dealers(&block, &accepted).await?;
        let epoch = self.next_epoch(&block, &accepted, members).await?;
        let kind = Kind::Reshare {
            from: Box::new(from),
            dealers,
            renew,
        };
        self.plan(&block, epoch, members, threshold, attempt, kind)
            .await
    }

    /// Holds a ceremony: three rounds, then every member takes its share over. The same plan may be held again after a
    /// silence; nodes say the same.
    ///
    /// # Errors
    /// [`ConveneError::GivenUp`] names who did what, silence as silence. [`ConveneError::Unconfirmed`].
    pub async fn hold(&self, plan: impl Into<Arc<Plan>>) -> Result<Certified, ConveneError> {
        let plan = plan.into();
        let lines = self.lines(&plan).await?;
        if plan.old_certificate().is_some() {
            self.hand_records(&plan, &lines).await?;
        }
        let (certification, ask) = self.rounds(&plan, &lines).await?;
        let body = certified(&plan, &ask, &certification.statements);
        let mut open = Vec::new();
        for (_, party) in plan.members() {
            let line = lines[&party.node].clone();
            open.push(self.confirmed(party.node, line, body.clone()));
        }
        let confirmed = futures_util::future::join_all(open).await;
        let open: Vec<_> = confirmed.into_iter().flatten().collect();
        if !open.is_empty() {
            return Err(ConveneError::Unconfirmed(open));
        }
        Ok(Certified {
            plan,
            certification,
            ask,
        })
    }

    /// Publishes a committee with all signatures and says the hash that members accept by vote. Publishing it again does
    /// nothing.
    ///
    /// # Errors
    /// [`ConveneError`].
    pub async fn publish(
        &self,
        by: &DynProvider,
        certified: &Certified,
    ) -> Result<B256, ConveneError> {
        let certificate = &certified.certification.certificate;
        // The bytes first: everybody who reads the chain asks for them.
        self.archive.keep(certificate.to_bytes()).await?;
        let statement = certified.statement();
        let hash = statement.struct_hash();
        let registry = NodeRegistry::new(self.chain.deployment().nodes, by);
        if !registry.published(hash).call().await?.signers.is_empty() {
            return Ok(hash);
        }
        let signatures = certified.certification.statements.iter();
        let signatures = signatures
            .map(|signature| CallData::copy_from_slice(&signature.as_bytes()))
            .collect();
        let committee = NodeRegistry::Committee {
            epoch: statement.epoch,
            threshold: statement.threshold,
            senderProof: statement.sender_proof,
            recipient: statement.recipient.0,
            certificate: statement.certificate.0,
            members: statement.members.iter().map(|member| member.0).collect(),
        };
        let recipient = certificate.recipient().to_string();
        let call =
            registry.publishCommittee(statement.collective, committee, recipient, signatures);
        Chain::mined(call.send().await?).await?;
        Ok(hash)
    }

    /// The accepted committee with every member's word, in the order of the members.
    ///
    /// # Errors
    /// [`ConveneError::Chain`].
    pub async fn standing(&self) -> Result<(CommitteeFact, Vec<Standing>), ConveneError> {
        let block = self.chain.finalized().await?;
        let accepted = self.chain.committee(&block).await?;
        let asked = self.chain.members(&block, &accepted).await?;
        let block = &block;
        let asked = asked.into_iter().map(|fact| async move {
            let status = self.status(block, fact.id).await;
            Standing { fact, status }
        });
        Ok((accepted, futures_util::future::join_all(asked).await))
    }

    async fn plan(
        &self,
        block: &BlockRef,
        epoch: u64,
        members: &[NodeId],
        threshold: u16,
        attempt: u32,
        kind: Kind,
    ) -> Result<Plan, ConveneError> {
        let deployment = self.chain.deployment();
        let mut parties = Vec::with_capacity(members.len());
        for &node in members {
            let (keys, recipient) = self.chain.node_keys(block, node).await?;
            parties.push(Party {
                node,
                signer: keys.signer,
                recipient,
            });
        }
        Ok(Plan::new(Proposal {
            chain_id: deployment.chain_id,
            node_registry: deployment.nodes,
            collective: deployment.collective,
            epoch,
            attempt,
            threshold,
            members: parties,
            kind,
        })?)
    }

    /// The t members of the accepted committee that answer first with a share of its epoch.
    async fn dealers(
        &self,
        block: &BlockRef,
        accepted: &CommitteeFact,
    ) -> Result<Vec<Dealer>, ConveneError> {
        let members = self.chain.members(block, accepted).await?;
        let asked = members.into_iter().map(|fact| async move {
            let status = self.status(block, fact.id).await;
            (fact, status)
        });
        let mut asked: FuturesUnordered<_> = asked.collect();
        let (mut dealers, mut missing) = (Vec::new(), Vec::new());
        while dealers.len() < usize::from(accepted.threshold)
            && let Some((fact, status)) = asked.next().await
        {
            match status {
                Ok(status) if status.epoch >= accepted.epoch && status.halted.is_none() => {
                    dealers.push(Dealer {
                        number: fact.member,
                        node: fact.id,
                        signer: fact.node.signer,
                    });
                }
                Ok(status) => missing.push((fact.id, without_share(&status))),
                Err(why) => missing.push((fact.id, why)),
            }
        }
        if dealers.len() < usize::from(accepted.threshold) {
            return Err(ConveneError::TooFewDealers {
                got: dealers.len(),
                needed: accepted.threshold,
                epoch: accepted.epoch,
                missing,
            });
        }
        dealers.sort_by_key(|dealer| dealer.number);
        Ok(dealers)
    }

    /// An epoch that none of these nodes has a share of, whether that was accepted or not, as long as there is one: where
    /// ceremonies that came to nothing have used all of them up, members let go of what they had for the last one.
    async fn next_epoch(
        &self,
        block: &BlockRef,
        accepted: &CommitteeFact,
        members: &[NodeId],
    ) -> Result<u64, ConveneError> {
        let asked = members.iter().map(|&node| self.status(block, node));
        // Who does not answer now will be missed in the ceremony.
        let said = futures_util::future::join_all(asked).await;
        let kept = said.into_iter().flatten().map(|status| status.epoch).max();
        let next = kept.unwrap_or(0).saturating_add(1);
        let (least, most) = (accepted.epoch + 1, accepted.epoch + MAX_EPOCH_STEP);
        Ok(next.clamp(least, most))
    }

    async fn certificate(
        &self,
        accepted: &CommitteeFact,
    ) -> Result<ShareCertificate, ConveneError> {
        if accepted.epoch == 0 {
            return Err(ConveneError::NoCommittee);
        }
        let bytes = self.archive.blob(accepted.certificate).await?;
        ShareCertificate::parse(&bytes)
            .ok()
            .filter(|certificate| accepted.is_shared_by(certificate))
            .ok_or(ConveneError::Certificate(accepted.epoch))
    }

    async fn rounds(
        &self,
        plan: &Arc<Plan>,
        lines: &BTreeMap<NodeId, Option<Remote>>,
    ) -> Result<(Certification, Arc<Ask>), ConveneError> {
        let origin = Instant::now();
        let (mut convener, mut effects) =
            Convener::new(plan.clone(), self.patience, origin.elapsed());
        let mut asked: FuturesUnordered<BoxFuture<'_, Answer>> = FuturesUnordered::new();
        let mut under_way: BTreeMap<NodeId, Arc<Ask>> = BTreeMap::new();
        let mut said: BTreeMap<NodeId, String> = BTreeMap::new();
        let mut last = Arc::new(Ask::Commit);
        loop {
            for effect in effects {
                match effect {
                    Effect::Ask { nodes, ask } => {
                        if *ask != *last {
                            tracing::info!(round = name(&ask), "the next round begins");
                            said.clear();
                            last = ask;
                        }
                        let body = question(plan, &last);
                        for node in nodes {
                            // It has not answered this very ask yet.
                            if under_way
                                .get(&node)
                                .is_some_and(|ask| Arc::ptr_eq(ask, &last))
                            {
                                continue;
                            }
                            under_way.insert(node, last.clone());
                            let answer = self.ask(&CEREMONY, lines[&node].clone(), body.clone());
                            let ask = last.clone();
                            asked.push(Box::pin(async move { (node, ask, answer.await) }));
                        }
                    }
                    Effect::Done(certification) => return Ok((*certification, last)),
                    Effect::Abort(culprits) => {
                        let named = culprits.into_iter().map(|it| blamed(it, &said));
                        return Err(ConveneError::GivenUp(named.collect()));
                    }
                }
            }
            let due = tokio::time::Instant::from_std(origin + convener.next_tick());
            let event = tokio::select! {
                Some((node, ask, answer)) = asked.next() => {
                    if under_way.get(&node).is_some_and(|now| Arc::ptr_eq(now, &ask)) {
                        under_way.remove(&node);
                    }
                    let message = answer.and_then(|bytes| {
                        Message::parse(plan, &bytes).map_err(|error| error.to_string())
                    });
                    match message {
                        Ok(message) => Event::Received(Box::new(message)),
                        Err(why) => {
                            if said.get(&node) != Some(&why) {
                                tracing::warn!(%node, why, "no part in the ceremony so far");
                            }
                            said.insert(node, why);
                            effects = vec![];
                            continue;
                        }
                    }
                }
                () = tokio::time::sleep_until(due) => Event::Tick,
            };
            (convener, effects) = convener.step(event, origin.elapsed());
        }
    }

    /// Has one member take its share over; what it said last where it does not within a round's time.
    async fn confirmed(
        &self,
        node: NodeId,
        line: Option<Remote>,
        body: Bytes,
    ) -> Option<(NodeId, String)> {
        let end = Instant::now() + self.patience.round;
        loop {
            let why = match self.ask(&CERTIFIED, line.clone(), body.clone()).await {
                Ok(_) => return None,
                Err(why) => why,
            };
            if Instant::now() + self.patience.retry >= end {
                return Some((node, why));
            }
            tokio::time::sleep(self.patience.retry).await;
        }
    }

    async fn status(&self, block: &BlockRef, node: NodeId) -> Result<HolderStatus, String> {
        let line = self
            .line(block, node)
            .await
            .map_err(|error| error.to_string())?;
        let bytes = self.ask(&STATUS, line, Bytes::new()).await?;
        serde_json::from_slice(&bytes)
            .map_err(|error| format!("its status does not parse: {error}"))
    }

    async fn ask(
        &self,
        exchange: &'static Exchange,
        line: Option<Remote>,
        body: Bytes,
    ) -> Result<Bytes, String> {
        let remote = line.ok_or("it has announced no endpoint that can be called")?;
        let answer = self.wire.post(&remote, exchange, body).await;
        answer.map_err(|error| error.to_string())
    }

    /// Where the plan's nodes are.
    async fn lines(&self, plan: &Plan) -> Result<BTreeMap<NodeId, Option<Remote>>, ConveneError> {
        let block = self.chain.finalized().await?;
        let dealers = plan.dealers().iter().map(|dealer| dealer.node);
        let members = plan.members().map(|(_, party)| party.node);
        let mut lines = BTreeMap::new();
        for node in dealers.chain(members) {
            lines.insert(node, self.line(&block, node).await?);
        }
        Ok(lines)
    }

    async fn line(&self, block: &BlockRef, node: NodeId) -> Result<Option<Remote>, ChainError> {
        let fact = self.chain.node(block, node).await?;
        let said = self.chain.announcement(block, node, &fact).await?;
        Ok(said.and_then(|said| Remote::new(&said.endpoint, fact.transport).ok()))
    }
}

/// A node, what it was asked, and what it said.
type Answer = (NodeId, Arc<Ask>, Result<Bytes, String>);

fn without_share(status: &HolderStatus) -> String {
    match &status.halted {
        Some(why) => why.clone(),
        None => format!("its newest share is of epoch {}", status.epoch),
    }
}

/// What a culprit did, with what it said where it kept out.
fn blamed(culprit: Culprit, said: &BTreeMap<NodeId, String>) -> (NodeId, String) {
    let what = match &culprit.fault {
        Fault::Silent(round) => match said.get(&culprit.node) {
            Some(why) => format!("did not {}: {why}", asked_to(*round)),
            None => format!("silent when asked to {}", asked_to(*round)),
        },
        Fault::Contradiction(_) => "said two different things in one round".into(),
        Fault::Commit(fault) => fault.to_string(),
        Fault::AnotherSet(round) => {
            format!(
                "was shown other messages when asked to {}",
                asked_to(*round)
            )
        }
        Fault::WrongPart { accuser } => format!("dealt node {accuser} a part that does not fit"),
        Fault::FalseComplaint { accused } => {
            format!("complained of a part that fits, dealt by node {accused}")
        }
        Fault::Certify(fault) => fault.to_string(),
        Fault::AnotherMlKemKey => "certified another ML-KEM key than most".into(),
        Fault::Degenerate => "the shares cancel out; start again with a new attempt".into(),
    };
    (culprit.node, what)
}

fn asked_to(round: Round) -> &'static str {
    match round {
        Round::Commit => "commit",
        Round::Deal => "deal",
        Round::Certify => "certify",
        Round::Defend => "defend its deal",
    }
}

fn name(ask: &Ask) -> &'static str {
    match ask {
        Ask::Commit => "commit",
        Ask::Deal(_) => "deal",
        Ask::Certify(_) => "certify",
        Ask::Defend(..) => "defend",
    }
}

fn list(nodes: &[(NodeId, impl fmt::Display)]) -> String {
    let each = nodes
        .iter()
        .map(|(node, what)| format!("node {node}: {what}"));
    each.collect::<Vec<_>>().join("; ")
}
