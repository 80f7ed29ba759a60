//! What the jobs' quorum records say: who opened the files, and who was silent or lied.

use anyhow::{Context, Result};
use collective::committee::answer::Fault;
use collective::committee::record::QuorumRecord;
use collective::id::ContributorId;

use super::{DEAD, Holders, LIAR};
use crate::demo::jobs::Told;
use crate::demo::{Account, World};

/// Checks what the first job's record says.
///
/// # Errors
/// Where the story cannot go on.
pub async fn tell_first(
    world: &World,
    holders: &Holders,
    first: &Told,
    account: &mut Account,
) -> Result<()> {
    let record = record(world, first).await?;
    let name = |number: u16| holders.operators[usize::from(number) - 1].name.clone();
    for culprit in record.culprits() {
        account.tell(&format!(
            "the quorum record says: {} {}",
            name(culprit.member.number()),
            culprit.fault
        ));
    }
    let named = |place: usize, fault: Fault| {
        let is = |number: u16| usize::from(number) == place + 1;
        let mut culprits = record.culprits().iter();
        culprits.any(|it| is(it.member.number()) && it.fault == fault)
    };
    account.check(
        "one key holder was killed: the job is done, and the record names it as silent",
        named(DEAD, Fault::Silent),
        holders.operators[DEAD].name.clone(),
    );
    account.check(
        "one key holder lied: the result is right, and the record names the wrong partial decryptions as its",
        named(LIAR, Fault::WrongPartial),
        holders.operators[LIAR].name.clone(),
    );
    account.check(
        "nobody else is blamed",
        record.culprits().len() == 2,
        format!("{} retries", record.retries()),
    );
    Ok(())
}

/// Checks that what was sealed before the key changed hands still opens.
///
/// # Errors
/// Where the story cannot go on.
pub async fn tell_second(
    world: &World,
    holders: &Holders,
    second: &Told,
    account: &mut Account,
) -> Result<()> {
    let record = record(world, second).await?;
    let signers = record.rounds().first().map_or(0, |it| it.answers().len());
    // The one respondent who contributed since the renewal; of its contributions a job reads the newest.
    let view = world.view()?;
    let respondent = ContributorId::from_address(world.contributors[0].address());
    let own = view.anchored().iter().map(|anchored| &anchored.entry);
    let own = own.filter(|entry| entry.contribution.contributor == respondent);
    let newest = own.max_by_key(|entry| entry.contribution.nonce);
    let present = view.certificate.as_ref().map(|it| it.recipient());
    let renewed = newest.is_some_and(|entry| view.key_of(entry) == present);
    account.check(
        format!(
            "the old contributions still open, and one sealed to the new key: job {} by {} of epoch 2",
            second.job, holders.size
        ),
        signers == usize::from(holders.size.threshold)
            && record.culprits().is_empty()
            && record.bad_files().is_empty()
            && renewed,
        format!(
            "{signers} members opened {} files",
            second.receipt.input_count
        ),
    );
    Ok(())
}

/// The quorum record of a job, which its receipt names.
async fn record(world: &World, told: &Told) -> Result<QuorumRecord> {
    let bytes = world.client.blob(told.receipt.quorum).await?;
    QuorumRecord::parse(&bytes).with_context(|| format!("the quorum record of job {}", told.job))
}
