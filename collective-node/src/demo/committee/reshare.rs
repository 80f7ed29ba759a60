//! The committee changes hands: who died and who lied are replaced, two more join. The P-256 key stays what it was, and its
//! post-quantum half is renewed, for the two who leave know it.

use std::time::Duration;

use alloy::primitives::{B256, U256};
use anyhow::{Context, Result, bail};
use collective::committee::ceremony::plan::Plan;
use collective::committee::log::LogEvent;
use collective::committee::question::Question;
use collective::committee::{Member, Quorum, ShareCertificate};
use collective::id::BlobId;
use collective::reward::RewardRoot;
use collective::seal::tagged::TaggedRecipient;

use super::found::milliseconds;
use super::{DEAD, Holders, LIAR, SEEING, Size, renewal};
use crate::demo::jobs::Told;
use crate::demo::{Account, World};
use crate::follower::View;
use crate::governance::{Action, Motion};
use crate::holder::serve::{PARTIALS, REWARDS};
use crate::wire::{Exchange, WireError};

/// How many the committee has more than before, besides those that replace the two.
const MORE: u16 = 2;

/// Has the committee replaced and enlarged.
///
/// # Errors
/// Where the story cannot go on.
pub async fn tell(
    world: &World,
    mut holders: Holders,
    first: &Told,
    account: &mut Account,
) -> Result<Holders> {
    let before = world.view()?;
    let old = holders.size;
    replace(world, &mut holders, account).await?;
    let size = holders.size;
    let members: Vec<_> = holders.operators.iter().map(|it| it.node).collect();
    let plan = holders
        .convening
        .plan_renewal(&members, size.threshold, 1)
        .await?;
    unconvened(&mut holders, &plan, account).await;
    world
        .decide(&Motion {
            actions: vec![Action::convene(&world.deployment, plan.id())],
            description: format!("Hand the key on to a committee {size}."),
        })
        .await?;
    holders.wait_until_seen(world).await?;
    let took = holders
        .certify(world, plan, "Accept the committee of epoch 2.")
        .await
        .context("handing the key on")?;
    account.figure(
        format!("reshare and renewal, {old} to {size}"),
        milliseconds(took),
    );
    let after = world.view()?;
    let (was, is) = (recipient(&before)?, recipient(&after)?);
    let renewed = was.point() == is.point() && was != is;
    account.check(
        format!(
            "the key is handed on by vote: committee {size}, epoch 2, the same P-256 key beside a new ML-KEM key"
        ),
        after.committee.epoch == 2 && after.committee.size == size.members && renewed,
        "who has left opens nothing of what is sealed from now on",
    );
    erased(&holders, account).await?;
    let certificate = before.certificate.context("there was no committee")?;
    epoch_one(world, &holders, &certificate, first, account).await?;
    renewal::tell(world, &holders, &was, account).await?;
    Ok(holders)
}

fn recipient(view: &View) -> Result<TaggedRecipient> {
    let certificate = view.certificate.as_ref();
    let certificate = certificate.context("there is no committee")?;
    Ok(certificate.recipient().clone())
}

/// Stops who died and who lied, and has others accepted in their places and two besides.
async fn replace(world: &World, holders: &mut Holders, account: &mut Account) -> Result<()> {
    let (mut joining, accept) = holders.joining(world, MORE + 2).await?;
    for operator in &mut joining {
        operator.start(false)?;
    }
    account.tell(&format!(
        "{} leaves, for it is dead, and {}, for it lied; {} join",
        holders.operators[DEAD].name,
        holders.operators[LIAR].name,
        joining.len()
    ));
    let accept = joining.iter().zip(accept);
    let accept = accept.map(|(it, keys)| Action::accept_node(&world.deployment, it.node, keys));
    let motion = Motion {
        actions: accept.collect(),
        description: "Accept the key holders that join.".into(),
    };
    let members = std::mem::take(&mut holders.operators).into_iter();
    let stay = members
        .enumerate()
        .filter(|(place, _)| ![DEAD, LIAR].contains(place));
    holders.operators = stay.map(|(_, operator)| operator).collect();
    holders.stayed = holders.operators.len();
    holders.operators.append(&mut joining);
    holders.size = Size {
        threshold: holders.size.threshold + 1,
        members: holders.size.members + MORE,
    };
    world.decide(&motion).await?;
    holders.wait_until_seen(world).await
}

/// A reshare could hand the key to anybody: nobody deals before members have voted for it.
async fn unconvened(holders: &mut Holders, plan: &Plan, account: &mut Account) {
    let usual = holders.convening.patience.round;
    // A refusal may be taken back, so the convener asks again until its time is over.
    holders.convening.patience.round = Duration::from_secs(3);
    let held = holders.convening.hold(plan.clone()).await;
    holders.convening.patience.round = usual;
    let (holds, seen) = match held {
        Ok(_) => (false, "it was held".into()),
        Err(error) => {
            let said = error.to_string();
            let refusals = said.matches("has not convened").count();
            (
                refusals > 0,
                format!("{refusals} members say that the collective has not convened it"),
            )
        }
    };
    account.check("refused: a reshare that nobody voted for", holds, seen);
}

/// Waits until the shares of epoch 1 are gone from the disks of those who stay.
async fn erased(holders: &Holders, account: &mut Account) -> Result<()> {
    let end = tokio::time::Instant::now() + SEEING;
    let staying = holders.stayed;
    let old = &holders.operators[..staying];
    while old.iter().any(|it| it.keeps_share(1)) && tokio::time::Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    account.check(
        "the shares of epoch 1 are erased",
        old.iter().all(|it| !it.keeps_share(1) && it.keeps_share(2)),
        format!("by {staying} members that stay, and each has one of epoch 2"),
    );
    Ok(())
}

/// Asks two who stay for what only the old committee could give.
async fn epoch_one(
    world: &World,
    holders: &Holders,
    certificate: &ShareCertificate,
    first: &Told,
    account: &mut Account,
) -> Result<()> {
    let release = released(holders, first)?;
    let stayed = (1..).filter_map(Member::new).skip(2);
    let quorum: Vec<Member> = stayed.take(certificate.threshold().into()).collect();
    let question = Question::partials(release, 0, Quorum::new(certificate, &quorum)?);
    let partials = [&first.job.to_be_bytes()[..], &question.to_bytes()].concat();
    let rewards = serde_json::to_vec(&RewardRoot {
        collective: world.deployment.collective,
        token: world.deployment.token,
        root: B256::ZERO,
        total: U256::ZERO,
        manifest: BlobId(B256::ZERO),
        sequence: 1,
        epoch: 1,
    })?;
    for place in 0..2 {
        let what = "partial decryptions of epoch 1";
        refused(holders, place, what, &PARTIALS, partials.clone(), account).await;
        let what = "a signature in the name of epoch 1";
        refused(holders, place, what, &REWARDS, rewards.clone(), account).await;
    }
    Ok(())
}

/// The name of the first job's release, as a member's log has it.
fn released(holders: &Holders, first: &Told) -> Result<B256> {
    for operator in &holders.operators {
        let found = operator
            .log()?
            .lines()
            .iter()
            .find_map(|line| match &line.event {
                LogEvent::Released { job, release, .. } if *job == first.job => Some(*release),
                _ => None,
            });
        if let Some(release) = found {
            return Ok(release);
        }
    }
    bail!(
        "no log of a member that stays has a line about job {}",
        first.job
    )
}

async fn refused(
    holders: &Holders,
    place: usize,
    what: &str,
    exchange: &'static Exchange,
    body: Vec<u8>,
    account: &mut Account,
) {
    let operator = &holders.operators[place];
    let answer = operator
        .ask(&holders.convening.wire, exchange, body.into())
        .await;
    let (holds, seen) = match answer {
        Ok(_) => (false, "it was given".into()),
        Err(WireError::Refused { problem, .. }) => (true, problem.detail),
        Err(error) => (false, error.to_string()),
    };
    account.check(format!("refused by {}: {what}", operator.name), holds, seen);
}
