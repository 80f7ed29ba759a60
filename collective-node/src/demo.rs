//! The main job, end to end, on real input: a story in seven chapters that checks itself.

use std::path::Path;

use anyhow::{Context, Result};
use url::Url;

mod account;
mod approve;
mod claims;
mod contribute;
mod development_chain;
pub mod election;
mod jobs;
mod revoke;
mod verify;
mod world;

pub use account::{Account, Check, Figure, Summary};
pub use approve::{LOGIT, MEAN, manifest};
pub use contribute::{TERMS_EXPIRE, populate};
pub use development_chain::{DevelopmentChain, FINALITY_LAG};
pub use world::{JOURNAL, PASSPHRASE, Ports, Setting, VOTING, World, executable};

/// Tells the whole story in `folder`, which must be empty, on a chain of its own or on another
/// development chain, and returns its account.
///
/// # Errors
/// Where the story cannot go on; a check that does not hold is in the account instead.
pub async fn tell(folder: &Path, chain: Option<Url>, mut account: Account) -> Result<Account> {
    account.chapter("A collective is founded");
    let world = match chain {
        None => World::found(folder, Ports::default(), Setting::default()).await,
        Some(url) => {
            let chain = DevelopmentChain::at(url).await?;
            let listener = world::listen(0, "the node").await?;
            World::found_on(chain, folder, listener, Setting::default()).await
        }
    };
    let world = world.context("founding the collective")?;
    introduce(&world, &mut account).await?;

    account.chapter("944 respondents contribute, each from an own machine");
    contribute::tell(&world, &mut account)
        .await
        .context("contributing")?;

    account.chapter("A program is proposed and approved");
    let approved = approve::tell(&world, &mut account)
        .await
        .context("approving")?;

    account.chapter("The approved program runs, and only its recipient reads the result");
    let first = jobs::tell_first(&world, &approved, &mut account)
        .await
        .context("running")?;

    account.chapter("Twelve take their data back; what is not approved is refused");
    let second = revoke::tell(&world, &approved, &first, &mut account)
        .await
        .context("revoking")?;

    account.chapter("Contributors are paid");
    claims::tell(&world, &[first.job, second.job], &mut account)
        .await
        .context("paying")?;

    account.chapter("Anybody checks the receipts");
    verify::tell(&world, folder, &[first.job, second.job], &mut account)
        .await
        .context("verifying")?;

    if let Some(node) = world.node {
        node.stop().await;
    }
    Ok(account)
}

async fn introduce(world: &World, account: &mut Account) -> Result<()> {
    let deployment = &world.deployment;
    account.tell(&format!(
        "chain {} with JSON-RPC at {}",
        deployment.chain_id,
        world.chain.url()
    ));
    account.tell(&format!(
        "collective {} (its timelock), 3 founders, one vote each",
        deployment.collective
    ));
    account.tell(&format!("node {} at {}", world.node_id, world.address()?));
    let view = world.view()?;
    account.check(
        "the collective's key is made and accepted by vote: committee 1-of-1, epoch 1",
        view.committee.epoch == 1 && view.committee.threshold == 1,
        "the operator of this one node could open everything: a committee of more is the cure",
    );
    let charter = view.charter().context("the charter is not known")?;
    let admitted = charter.admission.as_ref().map_or(0, |list| list.count());
    account.check(
        "the admission root is voted",
        admitted == election::RESPONDENTS,
        format!("{admitted} respondents are admitted"),
    );
    Ok(())
}
