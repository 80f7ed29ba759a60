//! Chapter 1 with a committee: operators register, members accept them, a key is made that nobody ever holds.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Holders, LIAR, Size};
use crate::demo::{Account, World};
use crate::governance::{Action, Motion};

/// Founds the committee.
///
/// # Errors
/// Where the story cannot go on.
pub async fn tell(
    world: &World,
    folder: &Path,
    size: Size,
    account: &mut Account,
) -> Result<Holders> {
    let mut holders = Holders::none(world, folder, size).await?;
    let (operators, accept) = holders.joining(world, size.members).await?;
    holders.operators = operators;
    account.tell(&format!(
        "{} operators made keys and registered key holders; the compute node has no share of anything",
        size.members
    ));
    let motion = Motion {
        actions: holders
            .operators
            .iter()
            .zip(&accept)
            .map(|(it, &keys)| Action::accept_node(&world.deployment, it.node, keys))
            .collect(),
        description: format!("Accept {} key holders.", size.members),
    };
    world.decide(&motion).await?;
    for (place, operator) in holders.operators.iter_mut().enumerate() {
        operator.start(place == LIAR)?;
    }
    holders.wait_for_epoch(world, 0).await?;
    account.tell(
        "each runs as a process of its own, follows the chain by itself, and serves mutual TLS 1.3",
    );

    let members: Vec<_> = holders.operators.iter().map(|it| it.node).collect();
    let plan = holders
        .convening
        .plan_new(&members, size.threshold, 1)
        .await?;
    let took = holders
        .certify(world, plan, "Accept the committee of epoch 1.")
        .await
        .context("making the committee's key")?;
    account.figure(
        format!("key generation, {size}, over the wire"),
        milliseconds(took),
    );
    let view = world.view()?;
    let (committee, without) = (view.committee, world.keys.shares().newest().is_none());
    let sized = (committee.threshold, committee.size) == (size.threshold, size.members);
    account.check(
        format!("committee {size}, epoch 1; no process ever held the key"),
        committee.epoch == 1 && sized && without,
        "made by all members together, published with every member's signature, accepted by vote",
    );
    let everybody = holders.operators.iter().all(|it| it.keeps_share(1));
    account.check(
        "every member keeps one share, sealed to its own key; the compute node keeps none",
        everybody && without,
        format!("{} files, one in each operator's folder", size.members),
    );
    Ok(holders)
}

/// For the table of figures.
pub fn milliseconds(took: Duration) -> String {
    format!("{} ms", took.as_millis())
}
