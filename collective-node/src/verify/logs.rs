//! Holders' logs beside a receipt: whether what they signed is in them, and whether they gave anything that no job on
//! chain shows.

use std::collections::{BTreeMap, BTreeSet};

use alloy::primitives::{B256, Signature};
use collective::committee::Member;
use collective::committee::log::{Log, LogEvent, LogHead};
use collective::committee::record::QuorumRecord;
use collective::receipt::{Escrow, Release, check_signed};
use url::Url;

use super::quorum::Quorum;
use super::{Finding, VerifyError, release};
use crate::chain::{Chain, ChainError};
use crate::client::{Client, ClientError, GivenLog};

/// The log of one holder, as somebody gave it.
pub struct Asked {
    /// Who was asked.
    pub url: Url,
    /// What came of it.
    pub given: Result<GivenLog, ClientError>,
}

impl Asked {
    /// Asks a holder for its whole log.
    ///
    /// # Errors
    /// [`ClientError`] where there can be no client; that nobody answers is a finding.
    pub async fn ask(url: Url) -> Result<Self, ClientError> {
        let given = Client::new(url.clone())?.log().await;
        Ok(Self { url, given })
    }
}

/// A log that hangs together, and whose it is.
struct Signed {
    member: Member,
    log: Log,
}

/// Checks the logs beside `expected`, the release that the receipt is about. Returns the members whose logs were read.
pub(super) async fn check(
    chain: &Chain,
    asked: &[Asked],
    expected: &Release,
    quorum: &Quorum,
    findings: &mut Vec<Finding>,
) -> Result<BTreeSet<Member>, VerifyError> {
    let escrow = chain.deployment().job_escrow();
    let mut read = BTreeSet::new();
    let mut on_chain = BTreeMap::new();
    for holder in asked {
        let Some(Signed { member, log }) = signed(holder, quorum, &escrow, findings) else {
            continue;
        };
        read.insert(member);
        let number = member.number();
        if let Some(record) = &quorum.record {
            heads(member, &log, record, findings);
            let digest = expected.signing_hash(&escrow);
            findings.push(Finding {
                what: format!(
                    "the log of member {number} says that it gave this input set to these keys"
                ),
                holds: told(member, &log, record, expected, digest),
                seen: format!(
                    "{} contributions, job {}",
                    expected.input_count, expected.job
                ),
            });
        }
        let mut hidden = Vec::new();
        for line in log.lines() {
            let LogEvent::Released { job, release, .. } = &line.event else {
                continue;
            };
            let shown = match on_chain.get(job) {
                Some(shown) => *shown,
                None => {
                    let shown = released_on_chain(chain, *job).await?;
                    on_chain.insert(*job, shown);
                    shown
                }
            };
            if shown != Some(*release) {
                hidden.push(format!("line {}: job {job}, release {release}", line.index));
            }
        }
        findings.push(Finding {
            what: format!(
                "every release in the log of member {number} is one that the chain shows"
            ),
            holds: hidden.is_empty(),
            seen: match hidden.is_empty() {
                true => format!("{} lines", log.lines().len()),
                false => format!(
                    "something was released that no job shows: {}",
                    hidden.join("; ")
                ),
            },
        });
    }
    Ok(read)
}

/// The log, if it is whole and a member signed where it stands.
fn signed(
    holder: &Asked,
    quorum: &Quorum,
    escrow: &Escrow,
    findings: &mut Vec<Finding>,
) -> Option<Signed> {
    let url = &holder.url;
    let whole = match &holder.given {
        Err(error) => Err(error.to_string()),
        Ok(given) => match Log::verify(&given.lines) {
            Err(error) => Err(error.to_string()),
            Ok(log) if log.head() != given.head => Err(format!(
                "its last line is not the head that it states, {}",
                given.head.hash
            )),
            Ok(log) => Ok((log, given)),
        },
    };
    findings.push(Finding {
        what: format!("the log at {url} is whole: each line names the hash of the one before"),
        holds: whole.is_ok(),
        seen: match &whole {
            Ok((log, _)) => format!("{} lines", log.lines().len()),
            Err(why) => why.clone(),
        },
    });
    let (log, given) = whole.ok()?;
    let member = signer(&given.head, &given.signature, quorum, escrow);
    findings.push(Finding {
        what: format!(
            "a member of the committee that released signed the head of the log at {url}"
        ),
        holds: member.is_some(),
        seen: match member {
            Some(member) => format!("member {}", member.number()),
            None => "nobody of this committee".into(),
        },
    });
    Some(Signed {
        member: member?,
        log,
    })
}

fn signer(head: &LogHead, signature: &[u8], quorum: &Quorum, escrow: &Escrow) -> Option<Member> {
    let signature = Signature::from_raw(signature).ok()?;
    let digest = head.signing_hash(escrow);
    let mut members = quorum.signers.iter();
    let found = members.find(|&(_, &signer)| check_signed(&signature, digest, signer).is_ok());
    found.map(|(&member, _)| member)
}

/// What a member signed into its answers must stay in its log.
fn heads(member: Member, log: &Log, record: &QuorumRecord, findings: &mut Vec<Finding>) {
    let answers = record.rounds().iter().flat_map(|round| round.answers());
    let heads: Vec<LogHead> = answers
        .filter(|answer| answer.member == member)
        .map(|answer| answer.log)
        .collect();
    let gone = heads.iter().find(|head| !log.contains(head));
    findings.push(Finding {
        what: format!(
            "the log of member {} holds every head that it signed into this release",
            member.number()
        ),
        holds: gone.is_none(),
        seen: match (gone, heads.last()) {
            (Some(head), _) => format!("line {} is not the one it signed", head.index),
            (None, Some(head)) => format!("up to line {}", head.index),
            (None, None) => "it was in no quorum".into(),
        },
    });
}

/// Whether the log has a line for each quorum in which the record says that the member answered, and says nothing else
/// about this job.
fn told(
    member: Member,
    log: &Log,
    record: &QuorumRecord,
    expected: &Release,
    digest: B256,
) -> bool {
    let event = |quorum: Vec<Member>| LogEvent::Released {
        job: expected.job,
        attempt: expected.attempt,
        release: digest,
        input_root: expected.input_root,
        count: expected.input_count,
        keys: expected.keys,
        quorum,
    };
    let rounds = record.rounds().iter().map(|round| {
        let members = round.answers().iter().map(|answer| answer.member);
        members.collect::<Vec<_>>()
    });
    let told = rounds
        .filter(|quorum| quorum.contains(&member))
        .all(|quorum| {
            let wanted = event(quorum);
            log.lines().iter().any(|line| line.event == wanted)
        });
    // A quorum that was given up is in the log alone, with the same input set for the same keys.
    let otherwise = log.lines().iter().any(|line| match &line.event {
        LogEvent::Released { job, quorum, .. } if *job == expected.job => {
            line.event != event(quorum.clone())
        }
        _ => false,
    });
    told && !otherwise
}

/// Signing hash of the release that stands on chain for a job, put together from proven storage.
async fn released_on_chain(chain: &Chain, job: u64) -> Result<Option<B256>, ChainError> {
    let fact = chain.job(&chain.latest().await?, job).await?;
    if fact.released_at == 0 {
        return Ok(None);
    }
    let allow = chain.at_height(fact.lease.allow_block.0).await?;
    let deny = chain.at_height(fact.lease.deny_block.0).await?;
    let escrow = chain.deployment().job_escrow();
    Ok(Some(release(&fact, allow, deny).signing_hash(&escrow)))
}
