//! The committee that released: whether a quorum of it signed what it gave, and what stays its word.

use std::collections::{BTreeMap, BTreeSet};

use alloy::primitives::Address;
use collective::committee::record::QuorumRecord;
use collective::committee::{Member, ShareCertificate};
use collective::receipt::{Receipt, Release};

use super::VerifyError;
use crate::blobs::Blobs;
use crate::chain::Chain;

const BEYOND: [&str; 4] = [
    "that the blocks are final, and in which of them a batch stands: that is the endpoint's word",
    "that the output is right: that needs another run of the program by somebody with the data",
    "that the node showed the plaintext to nobody: its operator could read it while the job ran",
    "that the sandbox layers named were really on: the node says so, without attestation",
];

/// The committee that released, and what the node kept of what its members signed.
pub(super) struct Quorum {
    pub threshold: u16,
    pub size: u16,
    /// Whose signature counts for which member.
    pub signers: BTreeMap<Member, Address>,
    /// `None` where the blob is no record, or not of this release.
    pub record: Option<QuorumRecord>,
}

impl Quorum {
    /// What no outsider can check once the logs of `read` were.
    pub(super) fn beyond(&self, read: &BTreeSet<Member>) -> Vec<String> {
        let Quorum {
            threshold, size, ..
        } = *self;
        let released = match (size, read.len()) {
            (1, _) => {
                "that nothing was released besides this job: a committee of one is trusted not to"
                    .into()
            }
            (_, 0) => format!(
                "that nothing was released besides this job: the logs of its {size} holders would tell, ask them with --holder"
            ),
            (_, read) if read + usize::from(threshold) <= usize::from(size) => format!(
                "that nothing was released besides this job: {read} of {size} logs were read, and the other holders are a quorum"
            ),
            _ => format!(
                "that nothing was released besides this job: every quorum has a holder whose log was read, but {threshold} \
             holders together could give without a line"
            ),
        };
        let rest = BEYOND.iter().map(|&sentence| sentence.to_owned());
        rest.chain([released]).collect()
    }
}

/// Who released: that a quorum of the committee which the collective accepted signed what it gave, and how each
/// member's log stood then.
pub(super) async fn check(
    chain: &Chain,
    blobs: &Blobs,
    release: &Release,
    receipt: &Receipt,
    note: &mut impl FnMut(&str, bool, String),
) -> Result<Quorum, VerifyError> {
    let latest = chain.latest().await?;
    let committee = chain.committee_of(&latest, release.epoch).await?;
    let certificate = blobs.get(committee.certificate).await?;
    let certificate = ShareCertificate::parse(&certificate)
        .ok()
        .filter(|certificate| committee.is_shared_by(certificate));
    note(
        "the committee's public shares are those that its members signed and the collective accepted",
        certificate.is_some(),
        format!(
            "{} of {}, certificate {}",
            committee.threshold, committee.size, committee.certificate
        ),
    );
    let members = chain.members(&latest, &committee).await?;
    let signers: BTreeMap<_, _> = members.iter().map(|it| (it.member, it.signer)).collect();
    let record = QuorumRecord::parse(&blobs.get(receipt.quorum).await?);
    let escrow = chain.deployment().job_escrow();
    let held = match (&record, &certificate) {
        (Ok(record), Some(certificate)) => record
            .verify(&escrow, release, certificate, &signers)
            .map_err(|error| error.to_string()),
        (Err(error), _) => Err(error.to_string()),
        (_, None) => Err("without the certificate it cannot be checked".into()),
    };
    let seen = held.as_ref().map_or_else(Clone::clone, |()| {
        record.as_ref().map_or_else(|_| String::new(), told)
    });
    note(
        "for every file t members signed what they gave, and how their logs stood",
        held.is_ok(),
        seen,
    );
    Ok(Quorum {
        threshold: committee.threshold,
        size: committee.size,
        signers,
        record: record.ok().filter(|_| held.is_ok()),
    })
}

/// Members with the last line of their logs, and who did not do its part.
fn told(record: &QuorumRecord) -> String {
    let heads: BTreeMap<u16, u64> = record
        .rounds()
        .iter()
        .flat_map(|round| round.answers())
        .map(|answer| (answer.member.number(), answer.log.index))
        .collect();
    let members: Vec<String> = heads
        .iter()
        .map(|(member, index)| format!("member {member} at line {index} of its log"))
        .collect();
    let blamed: Vec<String> = record
        .culprits()
        .iter()
        .map(|it| format!("; member {} {}", it.member.number(), it.fault))
        .collect();
    members.join(", ") + &blamed.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(threshold: u16, size: u16, read: u16) -> String {
        let quorum = Quorum {
            threshold,
            size,
            signers: BTreeMap::new(),
            record: None,
        };
        let read = (1..=read).filter_map(Member::new).collect();
        quorum.beyond(&read).pop().expect("a sentence")
    }

    #[test]
    fn trust_is_put_where_it_has_to_be() {
        assert!(said(1, 1, 1).contains("a committee of one is trusted not to"));
        assert!(said(2, 3, 0).contains("ask them with --holder"));
        assert!(said(2, 3, 1).contains("the other holders are a quorum"));
        for read in [2, 3] {
            assert!(said(2, 3, read).contains("2 holders together could give without a line"));
        }
    }
}
