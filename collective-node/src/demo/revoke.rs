//! Chapter 5: twelve take their data back; and everything that is not approved is refused.

use alloy::primitives::U256;
use anyhow::{Context, Result};
use collective::approval::Program;
use collective::id::BlobId;
use collective::seal::tagged::TaggedIdentity;

use super::approve::{Approved, completed, refused, request};
use super::contribute::TERMS_EXPIRE;
use super::jobs::{Told, tell_run};
use super::{Account, World, election};
use crate::chain::Chain;
use crate::client::ClientError;
use crate::contributor::{Destination, Nonces, prepare, revocation};
use crate::intake::join;
use collective_contracts::{JobEscrow, Membership, NodeRegistry};

/// How often the attacker contributes.
const FLOOD: u64 = 1_000;

pub async fn tell(
    world: &World,
    approved: &Approved,
    first: &Told,
    account: &mut Account,
) -> Result<Told> {
    flood(world, account).await?;
    let deadline = world.view()?.latest.time + 86_400;
    let nonces: Nonces = [0].into_iter().collect();
    for row in election::revoked_rows() {
        let signed = revocation(
            &world.deployment,
            &world.contributors[row],
            &nonces,
            deadline,
        );
        let relayed = world
            .client
            .revoke(&signed)
            .await
            .with_context(|| format!("row {row}"))?;
        if row == 3 {
            account.tell(&format!(
                "twelve signed a revocation, the node relayed it: “{}”",
                relayed.note
            ));
        }
    }
    world.settle_in().await?;
    let second = tell_run(world, approved, account, "second").await?;
    let (before, after) = (&first.receipt, &second.receipt);
    account.check(
        "the next run reads twelve fewer, and its receipt says so",
        before.input_count == after.input_count + 12 && before.input_root != after.input_root,
        format!(
            "{} → {}, another input root",
            before.input_count, after.input_count
        ),
    );
    account.check(
        "the receipt names the revocation lag",
        after.deny_hash != after.allow_hash,
        format!("permits were read {} s before denials", after.lag),
    );
    account.tell(
        "two such runs are a differencing pair: together they say something about the twelve. \
         Privacy budgets, a later layer, will refuse the second.",
    );
    not_approved(world, approved, account).await?;
    Ok(second)
}

/// One contributor contributes a thousand times. It counts once, and it has no vote.
async fn flood(world: &World, account: &mut Account) -> Result<()> {
    let attacker = world.contributors[0].clone();
    let (deployment, recipient) = (world.deployment, world.recipient()?);
    let record = election::records()?.swap_remove(0);
    let uploads = tokio::task::spawn_blocking(move || -> Result<Vec<Vec<u8>>> {
        let to = Destination {
            deployment: &deployment,
            recipient: &recipient,
            source: "anes96",
            terms: election::terms(0, TERMS_EXPIRE),
        };
        (1..=FLOOD)
            .map(|nonce| {
                let (entry, file) = prepare(&to, &attacker, nonce, &record, &mut rand::rng())?;
                Ok(join(&entry, &file))
            })
            .collect()
    });
    let uploads = uploads.await??;
    let bar = account.progress(FLOOD, "flooding");
    for upload in uploads {
        world.client.contribute(upload).await.context("flooding")?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    let target = election::RESPONDENTS + usize::try_from(FLOOD)?;
    let mut view = world.node.as_ref().context("the node does not run")?.view();
    let all = view.wait_for(|view| view.anchored().len() >= target);
    tokio::time::timeout(std::time::Duration::from_secs(60), all)
        .await
        .context("anchoring the flood")??;
    let provider = world.provider(&world.deployer);
    let membership = Membership::new(world.deployment.membership, &provider);
    let votes = membership
        .getVotes(world.contributors[0].address())
        .call()
        .await?;
    account.check(
        "one attacker contributes 1,000 times more and has no vote",
        votes.is_zero(),
        format!("{target} contributions are anchored, the attacker's votes: {votes}"),
    );
    Ok(())
}

async fn not_approved(world: &World, approved: &Approved, account: &mut Account) -> Result<()> {
    let logit = &approved.logit;
    let again = request(world, logit, logit.recipient.digest(), logit.payment.price).await;
    refused(account, "a run too many", again, "RunsExhausted");

    let program = world.client.blob(logit.program.sha256()).await?;
    let mut altered = program.to_vec();
    altered[program.len() / 2] ^= 1;
    let mut other = logit.clone();
    other.program = Program::component(&altered);
    let answer = request(world, &other, logit.recipient.digest(), logit.payment.price).await;
    refused(
        account,
        "a program altered by one bit has another digest",
        answer,
        "NotActive",
    );
    altered_on_disk(world, approved, &altered, account).await?;

    let waiting = rotated(world, approved, account).await?;
    let mean = &approved.mean;
    let left = mean.expiry.saturating_sub(world.view()?.latest.time);
    world.wait(left + 1).await?;
    world.settle_in().await?;
    let late = request(world, mean, mean.recipient.digest(), mean.payment.price).await;
    refused(account, "an approval that has expired", late, "NotActive");
    refunded(world, waiting, mean.payment.price, account).await?;
    let own = world.keys.node_recipient().to_string();
    rotate(world, own).await
}

/// The job that no node served: its approval ended, so the requester has the money back.
async fn refunded(world: &World, job: u64, price: U256, account: &mut Account) -> Result<()> {
    let provider = world.provider(&world.requester);
    let escrow = JobEscrow::new(world.deployment.escrow, &provider);
    Chain::mined(escrow.refund(U256::from(job)).send().await?).await?;
    let credit = escrow.credit(world.deployment.token, world.requester.address());
    let credit = credit.call().await?;
    let said = format!("{credit} units to withdraw");
    account.check(
        format!("job {job}, which no node served, is refunded"),
        credit == price,
        said,
    );
    Ok(())
}

/// The operator swaps the approved bytes on its own disk: the store refuses to give them out.
async fn altered_on_disk(
    world: &World,
    approved: &Approved,
    altered: &[u8],
    account: &mut Account,
) -> Result<()> {
    let id = approved.logit.program.sha256();
    let name = alloy::hex::encode(id.0);
    let path = world.data.join("blobs").join(&name[..2]).join(&name[2..]);
    let good = std::fs::read(&path).context("reading the program's blob")?;
    std::fs::write(&path, altered)?;
    let answer = world.client.blob(id).await;
    std::fs::write(&path, good)?;
    let (holds, seen) = match answer {
        Err(ClientError::Refused(problem)) => {
            (problem.detail.contains("other bytes"), problem.detail)
        }
        Err(error) => (false, error.to_string()),
        Ok(_) => (false, "it was given out".into()),
    };
    account.check(
        "refused: altered bytes under the approved name",
        holds,
        seen,
    );
    Ok(())
}

/// The node's operator takes new keys without asking: nothing is released to them. The job waits.
async fn rotated(world: &World, approved: &Approved, account: &mut Account) -> Result<u64> {
    let stranger = TaggedIdentity::random(&mut rand::rng()).recipient();
    rotate(world, stranger.to_string()).await?;
    world.settle_in().await?;
    let mean = &approved.mean;
    let job = request(world, mean, mean.recipient.digest(), mean.payment.price).await?;
    let answer = completed(world, job).await?;
    let reason = answer
        .refusal
        .map(|refusal| refusal.reason)
        .unwrap_or_default();
    account.check(
        "refused: a node whose key was rotated without acceptance",
        reason.contains("has not accepted this node"),
        format!("job {job}: {reason}"),
    );
    Ok(job)
}

async fn rotate(world: &World, recipient: String) -> Result<()> {
    let provider = world.keys.provider(world.chain.client());
    let registry = NodeRegistry::new(world.deployment.nodes, &provider);
    let keys = NodeRegistry::NodeKeys {
        recipient: BlobId::of(recipient.as_bytes()).0,
        ..world.node_keys()
    };
    let call = registry.rotate(world.node_id.0, keys, recipient, "http://127.0.0.1".into());
    Chain::mined(call.send().await?).await?;
    Ok(())
}
