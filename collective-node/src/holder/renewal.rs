//! A holder after a renewal of the ML-KEM key (SPEC "Renewal"): while the old key's time runs it has both; then it wraps anew
//! what counts, and erases the old one.
//!
//! Every step may happen twice, and a crash between two of them is gone on from: what is on the disk says what is next.

use std::sync::Arc;

use alloy::primitives::B256;
use bytes::Bytes;
use collective::committee::KeyShare;
use collective::committee::log::LogEvent;
use collective::committee::rewrap::{EarlierKeys, RewrapHead, RewrapRecord, Rewrapped};
use collective::epochs::Renewal;
use collective::input::Anchored;
use collective::receipt::BlockRef;
use collective::seal::contribution::{self, Sender};
use collective::terms::Purpose;
use serde::{Deserialize, Serialize};

use super::{Holder, HolderRefusal, now};
use crate::chain::facts::{JobFact, JobState};
use crate::chain::{Chain, ChainError};
use crate::follower::View;
use crate::keystore::SignedRecord;

/// How a renewal stands with one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RenewalStatus {
    /// The epoch that renewed.
    pub epoch: u64,
    /// Unix seconds until which contributions to the old key count.
    pub until: u64,
    /// Digest of the record that this member keeps.
    pub record: Option<B256>,
    /// Whether it still has the old seed.
    pub old_seed: bool,
}

impl Holder {
    /// How the newest renewal stands here; `None` where the key was never renewed.
    pub fn renewal_status(&self) -> Option<RenewalStatus> {
        let renewal = self.view.borrow().epochs.renewal()?;
        let kept = self.keys.renewals();
        let record = kept.record(renewal.epoch);
        Some(RenewalStatus {
            epoch: renewal.epoch,
            until: renewal.until,
            record: record.map(|record| record.record.digest()),
            old_seed: kept.retired(renewal.epoch).is_some() || self.shares_old_seed(renewal.epoch),
        })
    }

    /// What this member has of ML-KEM keys before that of a share.
    pub(super) fn earlier_keys(&self, share: &KeyShare) -> Result<EarlierKeys, HolderRefusal> {
        let epochs = self.view.borrow().epochs.clone();
        let Some(renewal) = epochs.renewal_of(share.certificate().epoch()) else {
            return Ok(EarlierKeys::default());
        };
        let kept = self.keys.renewals();
        let retired = kept.retired(renewal.epoch);
        let rewrapped = match (kept.record(renewal.epoch), &retired) {
            (Some(record), _) => Some(record.record.open(share.ml_kem())?),
            (None, Some(retired)) => {
                // What the renewal before had wrapped is wrapped to the key that is retired now.
                let before = epochs.renewal_of(renewal.epoch.saturating_sub(1));
                let record = before.and_then(|before| kept.record(before.epoch));
                record
                    .map(|record| record.record.open(retired.key()))
                    .transpose()?
            }
            (None, None) => None,
        };
        Ok(EarlierKeys {
            retired,
            rewrapped: rewrapped.map(Into::into),
        })
    }

    /// Whether anything is kept here of the ML-KEM keys before that of a share.
    pub(super) fn has_earlier_keys(&self, share: &KeyShare) -> Result<(), HolderRefusal> {
        let renewal = self
            .view
            .borrow()
            .epochs
            .renewal_of(share.certificate().epoch());
        let kept = self.keys.renewals();
        match renewal.map(|renewal| renewal.epoch) {
            Some(epoch) if kept.retired(epoch).is_none() && kept.record(epoch).is_none() => {
                Err(HolderRefusal::NoRecord(epoch))
            }
            _ => Ok(()),
        }
    }

    /// Brings renewals on: wraps anew what counts once the old key's time is over, then erases the old seed.
    ///
    /// # Errors
    /// [`HolderRefusal`]; what is not done is tried again.
    pub(super) async fn tend_renewals(&self) -> Result<(), HolderRefusal> {
        let view = self.view()?;
        for epoch in self.keys.renewals().wiped() {
            let renewal = view.epochs.renewal_of(epoch);
            match renewal.is_some_and(|renewal| renewal.epoch == epoch) {
                true => self.note_erased(epoch).await?,
                // It renewed nothing, and other renewals still need their records.
                false => self.keys.renewals().forget_seed(epoch)?,
            }
        }
        for epoch in self.keys.renewals().with_seed() {
            if self.keys.renewals().retired(epoch).is_none() {
                // Gone with another epoch's, of which it was a copy.
                continue;
            }
            let renewal = view.epochs.renewal_of(epoch);
            match renewal.filter(|renewal| renewal.epoch == epoch) {
                Some(renewal) => self.tend_renewal(&view, renewal).await?,
                // Another committee was accepted: this seed was never renewed, and its share is erased like those of
                // every other epoch that is over.
                None if view.committee.epoch >= epoch => {
                    self.keys.renewals().wipe_seed(epoch)?;
                    self.keys.renewals().forget_seed(epoch)?;
                }
                None => {}
            }
        }
        Ok(())
    }

    async fn tend_renewal(&self, view: &View, renewal: Renewal) -> Result<(), HolderRefusal> {
        if view.finalized.time < renewal.until {
            return Ok(());
        }
        let block = first_block(&self.chain, view, renewal).await?;
        let kept = self.keys.renewals().record(renewal.epoch);
        match (kept, self.share_of_renewed(view, renewal)) {
            (Some(_), _) => {}
            (None, Some(share)) => self.wrap_anew(view, renewal, &block, &share).await?,
            // It has left the committee since, and has nothing to wrap to.
            (None, None) if view.committee.epoch > renewal.epoch => {}
            (None, None) => return Ok(()),
        }
        // A job that began before may read what was revoked since, and what it was promised is given to the end.
        let begun_before = |fact: &JobFact| fact.lease.allow_block.0 < block.number;
        if self.is_under_way(begun_before).await? {
            return Ok(());
        }
        self.erase_other_copies(view, renewal.epoch).await?;
        self.keys.renewals().wipe_seed(renewal.epoch)?;
        self.note_erased(renewal.epoch).await
    }

    /// A share with the key that a renewal made.
    fn share_of_renewed(&self, view: &View, renewal: Renewal) -> Option<Arc<KeyShare>> {
        let shares = self.keys.shares().all();
        shares.into_iter().find(|share| {
            let epoch = share.certificate().epoch();
            epoch <= view.committee.epoch && view.epochs.renewal_of(epoch) == Some(renewal)
        })
    }

    /// Whether this member has everything that it makes the record of a renewal from, and has not made it: then it takes
    /// nobody's word for what counts.
    fn makes_record(&self, view: &View, renewal: Renewal) -> bool {
        let kept = self.keys.renewals();
        kept.record(renewal.epoch).is_none()
            && kept.retired(renewal.epoch).is_some()
            && self.share_of_renewed(view, renewal).is_some()
            && self.lacks_record_before(view, renewal).is_none()
    }

    /// Makes, signs and keeps the record of a renewal, from the index and what was revoked or had ended at `block`.
    async fn wrap_anew(
        &self,
        view: &View,
        renewal: Renewal,
        block: &BlockRef,
        share: &KeyShare,
    ) -> Result<(), HolderRefusal> {
        let Some(retired) = self.keys.renewals().retired(renewal.epoch) else {
            return Ok(());
        };
        if let Some(missing) = self.lacks_record_before(view, renewal) {
            return Err(HolderRefusal::NoRecord(missing));
        }
        let earlier = self.earlier_keys(share)?;
        let mut secrets = Rewrapped::default();
        for anchored in self.counting(view, renewal, block).await? {
            let entry = &anchored.entry;
            let Some(key) = view.key_of(entry) else {
                continue;
            };
            let header = self.headers.get(entry).await?;
            let leaf = entry.contribution.leaf();
            let header = contribution::recall(&header, key, Sender::Proven)
                .map_err(|error| HolderRefusal::Header { leaf, error })?;
            // What the renewal before left out stays out.
            if let Some(secret) = earlier.secret_for(&header) {
                secrets.insert(header.point_id(), secret);
            }
        }
        let deployment = self.chain.deployment();
        let head = RewrapHead {
            chain_id: deployment.chain_id,
            node_registry: deployment.nodes,
            collective: deployment.collective,
            epoch: renewal.epoch,
            block: block.number,
        };
        let record = RewrapRecord::make(head, retired.key(), share.ml_kem(), &secrets)?;
        let (epoch, digest, count) = (renewal.epoch, record.digest(), secrets.len());
        let signatures = vec![self.keys.sign(record.signing_hash())];
        let record = SignedRecord { record, signatures };
        self.keys.renewals().keep_record(record)?;
        tracing::info!(epoch, record = %digest, count, "wrapped contributions anew");
        Ok(())
    }

    /// The renewal before this one whose record is missing: without it what is sealed to still earlier keys would be left out.
    fn lacks_record_before(&self, view: &View, renewal: Renewal) -> Option<u64> {
        let before = view.epochs.renewal_of(renewal.epoch.saturating_sub(1))?;
        let missing = self.keys.renewals().record(before.epoch).is_none();
        missing.then_some(before.epoch)
    }

    /// The contributions under keys before a renewal that were neither revoked nor at the end of their terms at `block`.
    async fn counting<'v>(
        &self,
        view: &'v View,
        renewal: Renewal,
        block: &BlockRef,
    ) -> Result<Vec<&'v Anchored>, HolderRefusal> {
        let is_older = |anchored: &&Anchored| {
            let key = view.index.key_of(&anchored.entry.contribution.point);
            key.is_some_and(|key| key < renewal.epoch)
        };
        let mut older: Vec<&Anchored> = view.anchored().iter().filter(is_older).collect();
        let named: Vec<_> = older
            .iter()
            .map(|anchored| {
                let contribution = &anchored.entry.contribution;
                (contribution.contributor, contribution.nonce)
            })
            .collect();
        let revoked = self.chain.revocations(block, &named).await?;
        older.retain(|anchored| {
            let contribution = &anchored.entry.contribution;
            let terms = anchored.entry.terms;
            let allowed = Purpose::ALL.iter().any(|&it| terms.allow(it, block.time));
            allowed && !revoked.contains(contribution.contributor, contribution.nonce)
        });
        Ok(older)
    }

    /// Erases every share that has the seed which `epoch` renewed, whether its epoch was accepted or not, and what is kept of
    /// ceremonies with it. The share in force stays in any case.
    async fn erase_other_copies(&self, view: &View, epoch: u64) -> Result<(), HolderRefusal> {
        let Some(retired) = self.keys.renewals().retired(epoch) else {
            return Ok(());
        };
        self.keys.erase_certified_with(retired.recipient())?;
        for other in self.keys.renewals().with_seed() {
            let copy = self.keys.renewals().retired(other);
            let same = copy.is_some_and(|copy| copy.recipient() == retired.recipient());
            if same && other != epoch {
                self.keys.renewals().wipe_seed(other)?;
                self.keys.renewals().forget_seed(other)?;
            }
        }
        for share in self.keys.shares().all() {
            let certificate = share.certificate();
            let epoch = certificate.epoch();
            let same = certificate.recipient().digest() == *retired.recipient();
            if same && epoch != view.committee.epoch {
                self.keys.shares().erase(epoch)?;
                let event = LogEvent::ShareErased { epoch };
                self.log.note(now(), event).await?;
            }
        }
        Ok(())
    }

    /// Writes the line about a seed that is gone, removes its file, and the records before.
    async fn note_erased(&self, epoch: u64) -> Result<(), HolderRefusal> {
        let kept = self.keys.renewals();
        let record = kept.record(epoch).map(|record| record.record.digest());
        let event = LogEvent::SeedErased {
            epoch,
            // Zero where this member had left before a record was due.
            record: record.unwrap_or(B256::ZERO),
        };
        self.log.note(now(), event).await?;
        kept.forget_seed(epoch)?;
        if record.is_some() {
            kept.forget_records_before(epoch)?;
        }
        tracing::info!(epoch, "erased the ML-KEM seed that was renewed");
        Ok(())
    }

    fn shares_old_seed(&self, epoch: u64) -> bool {
        let epochs = self.view.borrow().epochs.clone();
        let Some(new) = epochs.key(epoch) else {
            return false;
        };
        let same_point = |share: &KeyShare| {
            let recipient = share.certificate().recipient();
            recipient.point() == new.recipient.point() && *recipient != new.recipient
        };
        let older = |share: &KeyShare| share.certificate().epoch() < epoch;
        let shares = self.keys.shares().all();
        shares.iter().any(|share| same_point(share) && older(share))
    }

    /// Whether a job is leased or released for which this holds.
    pub(super) async fn is_under_way(
        &self,
        concerned: impl Fn(&JobFact) -> bool,
    ) -> Result<bool, ChainError> {
        let finalized = self.view.borrow().finalized;
        for job in 1..=self.chain.jobs().await? {
            let fact = self.chain.job(&finalized, job).await?;
            // What nobody can hand a receipt in for any more needs no key, and may wait for ever for whoever says so.
            let under_way = match fact.state {
                JobState::Leased => true,
                JobState::Released => finalized.time <= fact.receipt_deadline(),
                _ => false,
            };
            if under_way && concerned(&fact) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The renewal whose record a member of the next committee must have before it certifies; `None` while it needs none.
    pub(super) fn record_due(&self) -> Result<Option<Renewal>, HolderRefusal> {
        let view = self.view()?;
        let due = view.epochs.renewal();
        Ok(due.filter(|due| self.keys.renewals().record(due.epoch).is_none()))
    }

    /// The record of a renewal with the signatures that are kept with it, for members who have none.
    ///
    /// # Errors
    /// [`HolderRefusal::NoRecord`].
    pub fn record(&self, epoch: u64) -> Result<Bytes, HolderRefusal> {
        let record = self.keys.renewals().record(epoch);
        let record = record.ok_or(HolderRefusal::NoRecord(epoch))?;
        Ok(Bytes::from(record.to_bytes()))
    }

    /// Takes over a record that t members of its epoch have signed, or their signatures where it is kept. Doing it twice is doing it once.
    ///
    /// # Errors
    /// [`HolderRefusal::RecordNotSigned`]; [`HolderRefusal::MakesRecord`] while it can still make its own.
    pub async fn take_record(&self, bytes: &[u8]) -> Result<(), HolderRefusal> {
        let malformed = || HolderRefusal::Malformed("not a signed record".into());
        let given = SignedRecord::parse(bytes).ok_or_else(malformed)?;
        let _alone = self.changing.lock().await;
        let head = *given.record.head();
        let view = self.view()?;
        let deployment = self.chain.deployment();
        let home = (deployment.chain_id, deployment.nodes, deployment.collective);
        let renewal = view.epochs.renewal_of(head.epoch);
        let renewal = renewal.filter(|renewal| renewal.epoch == head.epoch);
        let (Some(renewal), true) = (
            renewal,
            (head.chain_id, head.node_registry, head.collective) == home,
        ) else {
            return Err(HolderRefusal::AnotherRecord(head.epoch));
        };
        if view.finalized.time < renewal.until {
            return Err(HolderRefusal::AnotherRecord(head.epoch));
        }
        let epoch = head.epoch;
        if self.makes_record(&view, renewal) {
            return Err(HolderRefusal::MakesRecord(epoch));
        }
        let committee = self.chain.committee_of(&view.finalized, epoch).await?;
        let members = self.chain.members(&view.finalized, &committee).await?;
        let given = given.signed_by(members.iter().map(|member| member.signer));
        let (found, needed) = (given.signatures.len(), committee.threshold);
        if found < usize::from(needed) {
            return Err(HolderRefusal::RecordNotSigned {
                epoch,
                found,
                needed,
            });
        }
        self.keys.renewals().keep_record(given)?;
        Ok(())
    }
}

/// The first block at or after the end of the old key's time; the newest finalized one is.
async fn first_block(chain: &Chain, view: &View, renewal: Renewal) -> Result<BlockRef, ChainError> {
    let (mut before, mut after) = (renewal.block, view.finalized);
    while after.number - before > 1 {
        let middle = chain
            .at_height(before + (after.number - before) / 2)
            .await?;
        match middle.time < renewal.until {
            true => before = middle.number,
            false => after = middle,
        }
    }
    Ok(after)
}
