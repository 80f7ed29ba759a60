//! Receipts as the chain has them, and what they name says of equal contents (SPEC "Rewards"): what all read who work
//! rewards out.

use alloy::primitives::U256;
use alloy::rpc::types::Filter;
use alloy::sol_types::SolEvent;
use collective::receipt::{Outcome, Receipt, Usage};
use collective_contracts::JobEscrow;
use serde::Deserialize;

use crate::chain::facts::JobFact;
use crate::chain::{Chain, ChainError};

/// The receipt of a job, as the contract's log has it and its proven storage confirms; `None` where no log gives it.
///
/// # Errors
/// [`ChainError`].
pub async fn receipt_on_chain(
    chain: &Chain,
    job: u64,
    fact: &JobFact,
) -> Result<Option<Receipt>, ChainError> {
    let deployment = chain.deployment();
    let filter = Filter::new()
        .address(deployment.escrow)
        .event_signature(JobEscrow::Completed::SIGNATURE_HASH)
        .topic1(U256::from(job));
    let newest = chain.latest().await?.number;
    let logs = chain.logs(filter, deployment.first_block, newest).await?;
    let events = logs
        .iter()
        .filter_map(|log| JobEscrow::Completed::decode_log(&log.inner).ok());
    let mut receipts = events.map(|event| from_chain(&event.data.receipt));
    Ok(receipts.find(|receipt| receipt.struct_hash() == fact.receipt))
}

fn from_chain(receipt: &JobEscrow::Receipt) -> Receipt {
    Receipt {
        job: receipt.job.saturating_to(),
        attempt: receipt.attempt,
        manifest: receipt.manifest.into(),
        allow_hash: receipt.allowHash,
        deny_hash: receipt.denyHash,
        input_root: receipt.inputRoot,
        input_count: receipt.inputCount,
        // The contract knows no other outcome.
        outcome: if receipt.outcome == 1 {
            Outcome::Ran
        } else {
            Outcome::Failed
        },
        output: receipt.output.into(),
        output_bytes: receipt.outputBytes,
        usage: Usage {
            fuel: receipt.fuel,
            memory_bytes: receipt.memoryBytes,
            milliseconds: receipt.milliseconds,
        },
        sandbox: receipt.sandbox,
        evidence: receipt.evidence,
        lag: receipt.lag,
        quorum: receipt.quorum.into(),
    }
}

/// Which of `count` contributions earn nothing, by the bytes of a sandbox description: places in the input set, ascending. `None`
/// where that is not said, or by a list that no run makes.
pub fn duplicates(description: &[u8], count: u32) -> Option<Vec<u32>> {
    #[derive(Deserialize)]
    struct Told {
        duplicates: Option<Vec<u32>>,
    }
    let told: Told = serde_json::from_slice(description).ok()?;
    let places = told.duplicates?;
    let ascend = places.is_sorted_by(|one, next| one < next);
    let is_within = places.last().is_none_or(|last| *last < count);
    // Each of them is later than one that earns.
    let leaves_one = places.len() < count as usize;
    (ascend && is_within && leaves_one).then_some(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_no_run_makes_says_nothing() {
        let said = |list: &str| duplicates(format!("{{\"duplicates\":{list}}}").as_bytes(), 3);
        assert_eq!(said("[]"), Some(vec![]));
        assert_eq!(said("[2]"), Some(vec![2]));
        assert_eq!(said("[0,1]"), Some(vec![0, 1]));
        for bad in ["[3]", "[1,1]", "[1,0]", "[0,1,2]", "[-1]", "null", "\"0\""] {
            assert_eq!(said(bad), None, "{bad}");
        }
        assert_eq!(duplicates(b"{\"engine\":\"e\"}", 3), None);
        assert_eq!(duplicates(b"", 3), None);
    }
}
