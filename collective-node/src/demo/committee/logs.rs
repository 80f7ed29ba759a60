//! After the second job, and at the end: who opened it, and that the holders' logs say what the receipts say.

use anyhow::Result;
use collective::committee::log::LogEvent;

use super::Holders;
use super::blame::record;
use crate::demo::jobs::Told;
use crate::demo::{Account, World};

/// What was sealed before the key changed hands still opens.
pub async fn tell_second(
    world: &World,
    holders: &Holders,
    second: &Told,
    account: &mut Account,
) -> Result<()> {
    let record = record(world, second).await?;
    let signers = record.rounds().first().map_or(0, |it| it.answers().len());
    account.check(
        format!(
            "old contributions still open: job {} by {} of epoch 2",
            second.job, holders.size
        ),
        signers == usize::from(holders.size.threshold) && record.culprits().is_empty(),
        format!(
            "{signers} members opened {} files",
            second.receipt.input_count
        ),
    );
    Ok(())
}

/// The logs of all members: whole, with every head that a quorum record names, and no release besides the jobs.
pub async fn tell(
    world: &World,
    holders: &Holders,
    told: [&Told; 2],
    account: &mut Account,
) -> Result<()> {
    let mut lines = 0;
    let mut besides = Vec::new();
    for operator in &holders.operators {
        for line in operator.log()?.lines() {
            lines += 1;
            if let LogEvent::Released {
                job, input_root, ..
            } = line.event
            {
                let receipted = told
                    .iter()
                    .any(|told| (told.job, told.receipt.input_root) == (job, input_root));
                if !receipted {
                    besides.push(format!("{} job {job}", operator.name));
                }
            }
        }
    }
    account.check(
        "every holder's log hangs together and names no release besides the receipts",
        besides.is_empty(),
        format!(
            "{lines} lines in {} logs {}",
            holders.operators.len(),
            besides.join(", ")
        ),
    );
    let record = record(world, told[1]).await?;
    let mut heads = 0;
    let mut missing = vec![];
    for answer in record.rounds().iter().flat_map(|round| round.answers()) {
        let operator = &holders.operators[usize::from(answer.member.number()) - 1];
        match operator.log()?.contains(&answer.log) {
            true => heads += 1,
            false => missing.push(operator.name.clone()),
        }
    }
    account.check(
        "every log head that a member signed for its answer is in that member's log",
        heads > 0 && missing.is_empty(),
        format!("{heads} heads {}", missing.join(", ")),
    );
    Ok(())
}
