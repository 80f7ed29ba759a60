//! The record of the newest renewal, carried to the members of the next committee: they certify nothing without.
//!
//! Whoever carries it is not trusted: a member takes it with the signatures of t members of its epoch, and of nothing else.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use bytes::Bytes;
use collective::committee::ceremony::plan::Plan;
use collective::id::NodeId;
use futures_util::future::join_all;

use super::{ConveneError, Convening};
use crate::holder::serve::{RECORD, REWRAPPED};
use crate::keystore::SignedRecord;
use crate::wire::Remote;

impl Convening {
    /// Hands the record, with the signatures of all who have signed, to every member of the plan: who has it may lack
    /// signatures. What goes wrong shows where that member is asked to certify.
    pub(super) async fn hand_records(
        &self,
        plan: &Plan,
        lines: &BTreeMap<NodeId, Option<Remote>>,
    ) -> Result<(), ConveneError> {
        let block = self.chain.finalized().await?;
        let asked = plan.members().map(|(_, party)| party.node);
        let asked = asked.map(async |node| (node, self.status(&block, node).await));
        let mut concerned: BTreeMap<u64, Vec<NodeId>> = BTreeMap::new();
        for (node, status) in join_all(asked).await {
            let renewal = status.ok().and_then(|status| status.renewal);
            if let Some(renewal) = renewal {
                concerned.entry(renewal.epoch).or_default().push(node);
            }
        }
        for (epoch, nodes) in concerned {
            for record in self.records(epoch).await? {
                let body = Bytes::from(record.to_bytes());
                for &node in &nodes {
                    let line = lines[&node].clone();
                    if let Err(why) = self.ask(&REWRAPPED, line, body.clone()).await {
                        tracing::warn!(%node, why, "does not take the record of the renewal");
                    }
                }
            }
        }
        Ok(())
    }

    /// What members of the accepted committee keep of a renewal, with the signatures of members of its epoch; one record if all are honest.
    async fn records(&self, epoch: u64) -> Result<Vec<SignedRecord>, ConveneError> {
        let block = self.chain.finalized().await?;
        let accepted = self.chain.committee(&block).await?;
        let members = self.chain.members(&block, &accepted).await?;
        let asked = members.iter().map(async |member| {
            let line = self.line(&block, member.id).await.ok()?;
            let question = Bytes::copy_from_slice(&epoch.to_be_bytes());
            let answer = self.ask(&RECORD, line, question).await.ok()?;
            SignedRecord::parse(&answer)
        });
        let renewed = self.chain.committee_of(&block, epoch).await?;
        let renewed = self.chain.members(&block, &renewed).await?;
        let signers = renewed.iter().map(|member| member.signer);
        let mut found: BTreeMap<Vec<u8>, SignedRecord> = BTreeMap::new();
        for said in join_all(asked).await.into_iter().flatten() {
            // Others' are left out at once: a record with more than one of each member does not parse.
            let said = said.signed_by(signers.clone());
            match found.entry(said.record.to_bytes().to_vec()) {
                Entry::Vacant(free) => {
                    free.insert(said);
                }
                Entry::Occupied(mut same) => same.get_mut().signatures.extend(said.signatures),
            }
        }
        let found = found.into_values();
        Ok(found
            .map(|record| record.signed_by(signers.clone()))
            .collect())
    }
}
