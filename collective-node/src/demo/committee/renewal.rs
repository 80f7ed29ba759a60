//! The post-quantum half of the key is renewed with the handing on: who has left is out of what comes, and an hour later
//! nobody has the old seed.

use std::time::Duration;

use alloy::primitives::B256;
use anyhow::{Result, ensure};
use collective::committee::log::LogEvent;
use collective::epochs::RENEWAL_GRACE;
use collective::seal::tagged::TaggedRecipient;

use super::{Holders, SEEING};
use crate::contributor::{Destination, prepare};
use crate::demo::contribute::refused;
use crate::demo::{Account, TERMS_EXPIRE, World, election};
use crate::holder::RenewalStatus;
use crate::intake::join;

/// A nonce of the first respondent that the story uses nowhere else.
const NONCE: u64 = 1 << 20;

/// Tells what follows the acceptance of a renewed key, of which `old` was the recipient.
///
/// # Errors
/// Where the story cannot go on.
pub async fn tell(
    world: &World,
    holders: &Holders,
    old: &TaggedRecipient,
    account: &mut Account,
) -> Result<()> {
    let to = Destination {
        deployment: &world.deployment,
        recipient: old,
        source: "anes96",
        terms: election::terms(0, TERMS_EXPIRE),
    };
    let record = election::records()?.swap_remove(0);
    let respondent = &world.contributors[0];
    let (entry, file) = prepare(&to, respondent, NONCE, &record, &mut rand::rng())?;
    let (what, upload) = ("a file sealed to the replaced key", join(&entry, &file));
    refused(world, account, what, upload, (422, "has replaced")).await?;

    world.wait(RENEWAL_GRACE + 1).await?;
    world.settle_in().await?;
    account.tell("an hour passes, in which what was sealed to the old key is wrapped up");
    let records = rewrapped(holders).await?;
    account.check(
        "what counts is wrapped anew for the new key, by every member to the same record",
        records.windows(2).all(|two| two[0] == two[1]),
        format!("{} members, record {}", records.len(), records[0]),
    );
    let mut erased = 0;
    for operator in &holders.operators {
        let log = operator.log()?;
        let said = log.lines().iter().any(
            |line| matches!(line.event, LogEvent::SeedErased { record, .. } if record == records[0]),
        );
        erased += usize::from(said && !operator.keeps_old_seed());
    }
    account.check(
        "no key holder has the old seed any more",
        erased == holders.operators.len(),
        format!("{erased} logs say that it is erased, and the files are gone"),
    );
    Ok(())
}

/// Waits until every member keeps a record and no old seed; the records.
async fn rewrapped(holders: &Holders) -> Result<Vec<B256>> {
    let end = tokio::time::Instant::now() + SEEING;
    let mut records = Vec::new();
    for operator in &holders.operators {
        loop {
            let status = operator.status(&holders.convening.wire).await;
            let renewal = status.ok().and_then(|status| status.renewal);
            if let Some(RenewalStatus {
                record: Some(record),
                old_seed: false,
                ..
            }) = renewal
            {
                records.push(record);
                break;
            }
            let name = &operator.name;
            ensure!(
                tokio::time::Instant::now() < end,
                "{name} has not wrapped anew: {renewal:?}; see its keyholder.log"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(records)
}
