//! Chapter 6: the jobs settle, the rewards get a root, everybody claims, and every unit is found.

use std::time::Duration;

use alloy::primitives::U256;
use alloy::providers::DynProvider;
use anyhow::{Context, Result};
use collective::id::ContributorId;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::{Account, World, election};
use crate::chain::Chain;
use crate::chain::facts::JobState;
use crate::client::ClientError;
use crate::founding::UNIT;
use crate::http::ClaimAnswer;
use collective_contracts::{DemoToken, JobEscrow, RewardDistributor};

/// Claims in one transaction: each is about 60,000 gas, and a transaction may take 2^24.
const CLAIMS_PER_CALL: usize = 100;

/// Both windows, of dispute and of challenge, are a day.
const WINDOW: u64 = 86_400 + 60;

pub async fn tell(world: &World, jobs: &[u64], account: &mut Account) -> Result<()> {
    let paid = U256::from(10 * UNIT) * U256::from(jobs.len());
    world.wait(WINDOW).await?;
    for &job in jobs {
        settled(world, job).await?;
    }
    world.settle_in().await?;
    let provider = world.provider(&world.deployer);
    let distributor = RewardDistributor::new(world.deployment.rewards, &provider);
    let total = proposed(world, &distributor, paid).await?;
    account.check(
        "both jobs are settled and the reward root is proposed with a key holder's signature",
        total == paid * U256::from(80) / U256::from(100),
        format!("{total} units for contributors, 80 % of {paid}"),
    );
    world.wait(WINDOW).await?;
    let claims = claims(world).await?;
    let gas = claim_all(world, &distributor, &claims).await?;
    account.figure(
        "gas: one claim among 1,000",
        (gas / claims.len() as u64).to_string(),
    );
    shares(world, &claims, account)?;
    conserved(world, &provider, &claims, paid, account).await
}

async fn settled(world: &World, job: u64) -> Result<()> {
    let wait = async {
        while world.client.job(job).await?.state != JobState::Settled {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        anyhow::Ok(())
    };
    let done = tokio::time::timeout(Duration::from_secs(30), wait).await;
    done.with_context(|| format!("job {job} did not settle"))?
}

/// Waits until the node has proposed a root over everything that was earned.
async fn proposed(
    world: &World,
    distributor: &RewardDistributor::RewardDistributorInstance<&DynProvider>,
    paid: U256,
) -> Result<U256> {
    let (collective, token) = (world.deployment.collective, world.deployment.token);
    let due = paid * U256::from(80) / U256::from(100);
    let wait = async {
        loop {
            let pool = distributor.pool(collective, token).call().await?;
            if pool.pendingTotal.max(pool.total) >= due {
                return anyhow::Ok(pool.pendingTotal.max(pool.total));
            }
            // A root over the first job alone has to become active before the next one.
            if pool.pendingTotal > U256::ZERO && pool.pendingTotal < due {
                world.wait(WINDOW).await?;
                let call = distributor.activate(collective, token);
                if let Ok(pending) = call.send().await {
                    Chain::mined(pending).await?;
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait)
        .await
        .context("no reward root was proposed")?
}

/// What everybody may claim: the respondents, and the treasury for what did not divide.
async fn claims(world: &World) -> Result<Vec<ClaimAnswer>> {
    let mut accounts: Vec<_> = world
        .contributors
        .iter()
        .map(|account| account.address())
        .collect();
    accounts.push(world.deployment.collective);
    let answers: Vec<Option<ClaimAnswer>> = stream::iter(accounts)
        .map(|account| async move {
            match world.client.claim(account).await {
                Ok(claim) => Ok(Some(claim)),
                Err(ClientError::Refused(problem)) if problem.status == 404 => Ok(None),
                Err(error) => Err(error),
            }
        })
        .buffered(8)
        .try_collect()
        .await?;
    Ok(answers.into_iter().flatten().collect())
}

/// Anybody may relay claims: the money goes to whom it belongs.
async fn claim_all(
    world: &World,
    distributor: &RewardDistributor::RewardDistributorInstance<&DynProvider>,
    claims: &[ClaimAnswer],
) -> Result<u64> {
    let mut gas = 0;
    for some in claims.chunks(CLAIMS_PER_CALL) {
        let some = some.iter().map(|claim| {
            Ok(RewardDistributor::Claim {
                contributorId: claim.contributor.0,
                cumulative: claim.cumulative.parse()?,
                proof: claim.proof.clone(),
            })
        });
        let call = distributor.claimMany(
            world.deployment.collective,
            world.deployment.token,
            some.collect::<Result<_>>()?,
        );
        gas += Chain::mined(call.send().await?).await?.gas_used;
    }
    Ok(gas)
}

/// The attacker's thousand contributions earned what one earns.
fn shares(world: &World, claims: &[ClaimAnswer], account: &mut Account) -> Result<()> {
    let of = |row: usize| {
        let id = ContributorId::from_address(world.contributors[row].address());
        claims
            .iter()
            .find(|claim| claim.contributor == id)
            .map(|claim| claim.cumulative.clone())
    };
    let attacker = of(0).context("row 0 earned nothing")?;
    let honest = of(1).context("row 1 earned nothing")?;
    account.check(
        "the attacker's 1,001 contributions earned one share",
        attacker == honest,
        format!("{attacker} units, like everybody who allowed statistics"),
    );
    let excluded = (0..election::RESPONDENTS)
        .find(|row| row % 10 == 9)
        .and_then(of);
    account.check(
        "who did not allow statistics earned nothing",
        excluded.is_none(),
        "",
    );
    Ok(())
}

/// Every unit paid is with somebody: contributors, node, treasury; what is held back is what is open.
async fn conserved(
    world: &World,
    provider: &DynProvider,
    claims: &[ClaimAnswer],
    paid: U256,
    account: &mut Account,
) -> Result<()> {
    let deployment = &world.deployment;
    let token = DemoToken::new(deployment.token, provider);
    let escrow = JobEscrow::new(deployment.escrow, provider);
    let mut claimed = U256::ZERO;
    for claim in claims {
        let owner = claim.contributor.address().context("an account earned")?;
        let balance = token.balanceOf(owner).call().await?;
        let due: U256 = claim.cumulative.parse()?;
        if balance != due {
            account.check(
                "a claim was paid in full",
                false,
                format!("{owner}: {balance} of {due}"),
            );
        }
        claimed += balance;
    }
    let node = escrow
        .credit(deployment.token, world.keys.address())
        .call()
        .await?;
    let treasury = escrow
        .credit(deployment.token, deployment.collective)
        .call()
        .await?;
    let left = token.balanceOf(deployment.rewards).call().await?;
    account.check(
        "conservation: what was paid is what was received, to the last unit",
        claimed + node + treasury + left == paid && left.is_zero(),
        format!("{paid} = {claimed} claimed + {node} node + {treasury} treasury + {left} left"),
    );
    Ok(())
}
