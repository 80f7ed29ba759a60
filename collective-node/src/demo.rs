//! The main job, end to end, on real input: a story in seven chapters that checks itself, and in eight with a
//! committee.

use std::path::Path;

use anyhow::{Context, Result};
use url::Url;

mod account;
mod approve;
mod claims;
pub mod committee;
mod contribute;
mod development_chain;
pub mod election;
mod jobs;
mod revoke;
mod verify;
mod world;

use committee::Size;

pub use account::{Account, Check, Figure, Summary};
pub use approve::{LOGIT, MEAN, manifest};
pub use contribute::{TERMS_EXPIRE, populate};
pub use development_chain::{DevelopmentChain, FINALITY_LAG};
pub use world::{JOURNAL, PASSPHRASE, Ports, Setting, VOTING, World, executable};

/// In a story's folder: where the collective lives.
const DEPLOYMENT: &str = "deployment.json";

/// Tells the whole story in `folder`, which must be empty, on a chain of its own or on another
/// development chain, and returns its account. With a committee's size the key is held by that many
/// processes, without one by the node.
///
/// # Errors
/// Where the story cannot go on; a check that does not hold is in the account instead.
pub async fn tell(
    folder: &Path,
    chain: Option<Url>,
    size: Option<Size>,
    mut account: Account,
) -> Result<Account> {
    account.chapter("A collective is founded");
    let setting = Setting {
        sole: size.is_none(),
        ..Setting::default()
    };
    let world = match chain {
        None => World::found(folder, Ports::default(), setting).await,
        Some(url) => {
            let chain = DevelopmentChain::at(url).await?;
            let listener = world::listen(0, "the node").await?;
            World::found_on(chain, folder, listener, setting).await
        }
    };
    let world = world.context("founding the collective")?;
    let deployment = serde_json::to_vec_pretty(&world.deployment)?;
    std::fs::write(folder.join(DEPLOYMENT), deployment)?;
    introduce(&world, &mut account)?;
    let mut holders = match size {
        None => {
            sole(&world, &mut account)?;
            None
        }
        Some(size) => {
            let founding = committee::found::tell(&world, folder, size, &mut account);
            Some(founding.await.context("founding the committee")?)
        }
    };

    account.chapter("944 respondents contribute, each from an own machine");
    contribute::tell(&world, &mut account)
        .await
        .context("contributing")?;

    account.chapter("A program is proposed and approved");
    let approved = approve::tell(&world, &mut account)
        .await
        .context("approving")?;

    account.chapter("The approved program runs, and only its recipient reads the result");
    if let Some(holders) = &mut holders {
        let killed = holders.kill_one().await?;
        account.tell(&format!("the process of {killed} is killed"));
    }
    let first = jobs::tell_first(&world, &approved, &mut account)
        .await
        .context("running")?;
    if let Some(standing) = holders {
        committee::blame::tell_first(&world, &standing, &first, &mut account).await?;
        account.chapter("The key is handed on");
        let reshared = committee::reshare::tell(&world, standing, &first, &mut account);
        holders = Some(reshared.await.context("handing the key on")?);
    }

    account.chapter("Twelve take their data back; what is not approved is refused");
    let second = revoke::tell(&world, &approved, &first, &mut account)
        .await
        .context("revoking")?;
    if let Some(holders) = &holders {
        committee::blame::tell_second(&world, holders, &second, &mut account).await?;
    }

    account.chapter("Contributors are paid");
    claims::tell(&world, &[first.job, second.job], &mut account)
        .await
        .context("paying")?;

    account.chapter("Anybody checks the receipts");
    let logs = |first| holders.as_ref().map_or(vec![], |it| it.logs(first));
    let receipts = [(first.job, logs(true)), (second.job, logs(false))];
    verify::tell(&world, folder, &receipts, &mut account)
        .await
        .context("verifying")?;
    if let Some(node) = world.node {
        node.stop().await;
    }
    Ok(account)
}

fn introduce(world: &World, account: &mut Account) -> Result<()> {
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
    let charter = view.charter().context("the charter is not known")?;
    let admitted = charter.admission.as_ref().map_or(0, |list| list.count());
    account.check(
        "the admission root is voted",
        admitted == election::RESPONDENTS,
        format!("{admitted} respondents are admitted"),
    );
    Ok(())
}

fn sole(world: &World, account: &mut Account) -> Result<()> {
    let committee = world.view()?.committee;
    account.check(
        "the collective's key is made and accepted by vote: committee 1-of-1, epoch 1",
        committee.epoch == 1 && committee.threshold == 1,
        "the operator of this one node could open everything: `--committee 3-of-5` is the cure",
    );
    Ok(())
}
