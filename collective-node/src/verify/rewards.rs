//! Works every reward root out again from chain and blobs, and says where what was proposed is something else.

use alloy::primitives::{B256, U256};

use super::{Finding, Verdict, VerifyError};
use crate::blobs::Blobs;
use crate::chain::Chain;
use crate::client::Client;
use crate::headers::Headers;
use crate::review;
use crate::rewards::{Earned, Epochs, Inputs, Sources, ledger_of};

/// What no outsider can check of rewards.
const BEYOND: [&str; 3] = [
    "that bytes came, or did not, as the auditor says: `verify liveness` redoes its draws",
    "that the endpoint shows everything that settled: what it hides can be missing in a root, and is paid by a later one",
    "what settled after the newest finalized block",
];

/// Compares the pending and the active root with what settled. The node is asked for blobs and for the names of input lists;
/// neither is trusted.
///
/// # Errors
/// [`VerifyError`] where chain or blobs do not give what is needed.
pub async fn rewards(chain: &Chain, node: Client) -> Result<Verdict, VerifyError> {
    let (blobs, headers) = (Blobs::of_node(node.clone()), Headers::Node(node.clone()));
    let view = review::index(chain, &blobs, &headers).await?;
    let earned = match &view {
        None => Earned::default(),
        Some(view) => {
            let sources = Sources {
                chain,
                blobs: &blobs,
                view,
                inputs: Inputs::Node(&node),
            };
            sources.earned(&mut Epochs::default()).await?
        }
    };
    let at = match &view {
        None => chain.finalized().await?,
        Some(view) => view.finalized,
    };
    let pool = chain.pool(&at).await?;
    let mut findings: Vec<Finding> = earned
        .waiting
        .iter()
        .map(|(what, missing)| Finding {
            what: format!("{what} can be worked out"),
            holds: false,
            seen: format!("{missing} is not here: ask another node"),
        })
        .collect();
    let roots = [
        ("active", pool.root, pool.total),
        ("pending", pool.pending_root, pool.pending_total),
    ];
    for (name, root, total) in roots.into_iter().filter(|(_, root, _)| !root.is_zero()) {
        let (holds, seen) = compare(chain, &blobs, &earned, (root, total), at.number).await?;
        findings.push(Finding {
            what: format!("the {name} root pays what settled, and nothing else"),
            holds,
            seen: format!("{root} pays {total}: {seen}"),
        });
    }
    findings.extend(earned.said.iter().map(|said| {
        let all = said.count;
        Finding {
            what: format!("job {} says which of its contents are equal", said.job),
            holds: said.unpaid.is_some(),
            seen: match said.unpaid {
                Some(unpaid) => format!("{unpaid} of {all} earn nothing, by the node's word alone"),
                None => format!("nothing that a run says: all {all} earn"),
            },
        }
    }));
    Ok(Verdict {
        findings,
        beyond: BEYOND.map(str::to_owned).to_vec(),
    })
}

/// Whether a root pays some of what settled, from the first on, and nothing else; and in words, how much or what else.
async fn compare(
    chain: &Chain,
    blobs: &Blobs,
    earned: &Earned,
    (root, total): (B256, U256),
    up_to: u64,
) -> Result<(bool, String), VerifyError> {
    let treasury = chain.deployment().collective;
    if let Some((count, _)) = earned.up_to(treasury, (root, total))? {
        let (last, later) = (earned.earnings[count - 1].0, earned.earnings.len() - count);
        let seen =
            format!("everything up to {last}, and {later} that settled later are not in it yet");
        return Ok((true, seen));
    }
    let Some(proposed) = ledger_of(chain, blobs, root, up_to).await? else {
        let words = "something else, and nobody gives its ledger, which would say what";
        return Ok((false, words.into()));
    };
    let seen = match earned.first_beyond(treasury, &proposed)? {
        Some(what) => format!("something else: the first that differs is {what}"),
        None => "everything that settled, and something that did not".into(),
    };
    Ok((false, seen))
}
