//! Chapter 3: asked before approval, a job is refused; then it is proposed, voted on and executed.

use alloy::primitives::{B256, U256};
use anyhow::{Context, Result};
use collective::approval::{
    Evidence, Format, Limits, Manifest, OutputKind, OutputRule, Payment, Program, Recipient,
    Selector, SplitRule,
};
use collective::seal::x25519;
use collective::terms::Purpose;

use super::{Account, World, election};
use crate::chain::ChainError;
use crate::founding::UNIT;
use crate::governance::{Action, Motion};
use crate::requester;

/// The program that fits who votes for whom: a component whose source is beside it in `jobs/`.
pub const LOGIT: &[u8] = include_bytes!("../../../jobs/logit/logit.wasm");

/// The program that takes means.
pub const MEAN: &[u8] = include_bytes!("../../../jobs/mean/mean.wasm");

/// Seconds for which the second approval is good: its own vote and those on another committee take a day each.
const SHORT: u64 = 6 * 86_400;

/// What the collective approved, and who may read the results.
pub struct Approved {
    /// The regression: two runs.
    pub logit: Manifest,
    /// The means: five runs, for a short while.
    pub mean: Manifest,
    /// The requester's key. It never left the requester.
    pub identity: x25519::Identity,
}

pub async fn tell(world: &World, account: &mut Account) -> Result<Approved> {
    let identity = x25519::Identity::random(&mut rand::rng());
    let recipient = identity.recipient().to_string();
    let now = world.view()?.latest.time;
    let logit = manifest(world, LOGIT, &recipient, 2, now + 365 * 86_400);
    let mut mean = manifest(world, MEAN, &recipient, 5, now + SHORT);
    mean.output.schema = None;
    account.tell(
        "a requester wants to know who votes for whom: logit, over all columns, for statistics",
    );

    let early = request(world, &logit, logit.recipient.digest(), logit.payment.price).await;
    refused(
        account,
        "the same job before anybody voted",
        early,
        "NotActive",
    );

    for bytes in [
        LOGIT.to_vec(),
        MEAN.to_vec(),
        logit.to_bytes(),
        mean.to_bytes(),
    ] {
        world.client.keep(bytes).await?;
    }
    let uri = |manifest: &Manifest| format!("blob:{}", manifest.digest());
    let motion = Motion {
        actions: vec![
            Action::approve(&world.deployment, &logit, uri(&logit)),
            Action::approve(&world.deployment, &mean, uri(&mean)),
        ],
        description: "Approve logit (2 runs) and mean (5 runs, six days) for the requester.".into(),
    };
    let gas = world.decide(&motion).await?;
    let chain = world.reader().await?;
    let finalized = chain.finalized().await?;
    let (status, terms) = chain.approval(&finalized, logit.digest()).await?;
    account.check(
        "three members voted, the notice passed, the proposal executed",
        status == collective::permit::ApprovalStatus::Approved
            && terms == collective::permit::ApprovedTerms::of(&logit),
        format!(
            "manifest {} stands in proven storage with its terms",
            logit.digest()
        ),
    );
    for (what, gas) in [
        ("vote", gas.vote),
        ("queue", gas.queue),
        ("execute two approvals", gas.execute),
    ] {
        account.figure(format!("gas: {what}"), gas.to_string());
    }
    Ok(Approved {
        logit,
        mean,
        identity,
    })
}

/// A manifest for `program` over all columns of the study, for statistics, in the shape of logit's
/// output. `recipient` is an age recipient; `expiry` in Unix seconds.
pub fn manifest(
    world: &World,
    program: &[u8],
    recipient: &str,
    max_runs: u32,
    expiry: u64,
) -> Manifest {
    let source = election::source();
    let columns: Vec<String> = source
        .columns
        .iter()
        .map(|column| column.name.clone())
        .collect();
    Manifest {
        format: Format::V1,
        chain_id: world.deployment.chain_id,
        collective: world.deployment.collective,
        program: Program::component(program),
        arguments: columns.join(","),
        dataset: Selector {
            source: source.name.clone(),
            declaration: source.digest(),
            columns,
            since: None,
            until: None,
        },
        purpose: Purpose::Statistics,
        recipient: Recipient::Age(recipient.to_owned()),
        output: OutputRule {
            kind: OutputKind::Model,
            max_bytes: 1_024,
            minimum_group: 100,
            schema: Some(serde_json::json!({
                "type": "object",
                "required": ["n", "columns", "coefficients", "iterations"],
                "additionalProperties": false,
                "properties": {
                    "n": {"type": "integer", "minimum": 100},
                    "columns": {"type": "array", "maxItems": 10, "items": {"type": "string", "maxLength": 16}},
                    "coefficients": {"type": "array", "maxItems": 10, "items": {"type": "number"}},
                    "iterations": {"type": "integer", "minimum": 1, "maximum": 50}
                }
            })),
        },
        limits: Limits {
            fuel: 5_000_000_000,
            memory_bytes: 64 << 20,
            seconds: 20,
            bucket_seconds: Some(1),
        },
        payment: Payment {
            token: world.deployment.token,
            price: U256::from(10 * UNIT),
            bond: U256::from(UNIT),
            rule: SplitRule::Equal,
            distinct: false,
            contributors_bps: 8_000,
            node_bps: 1_500,
        },
        hand_off: None,
        evidence: Evidence::None,
        max_runs,
        expiry,
    }
}

/// Pays into escrow and asks for a run; the job's number.
pub async fn request(
    world: &World,
    manifest: &Manifest,
    recipient: B256,
    amount: U256,
) -> Result<u64, ChainError> {
    let provider = world.provider(&world.requester);
    requester::request(&provider, &world.deployment, manifest, recipient, amount).await
}

/// Notes that the contract refused, and with which error.
pub fn refused(account: &mut Account, what: &str, answer: Result<u64, ChainError>, expected: &str) {
    let (holds, seen) = match answer {
        Ok(job) => (false, format!("it became job {job}")),
        Err(ChainError::Reverted(reason)) => (reason.contains(expected), reason),
        Err(error) => (false, error.to_string()),
    };
    account.check(format!("refused: {what}"), holds, seen);
}

/// One of the twelve words of a job's state, waited for.
pub async fn completed(world: &World, job: u64) -> Result<crate::http::JobAnswer> {
    use crate::chain::facts::JobState;
    let patience = std::time::Duration::from_secs(60);
    let wait = async {
        loop {
            let answer = world.client.job(job).await.context("asking for the job")?;
            if answer.refusal.is_some() || answer.state >= JobState::Completed {
                return anyhow::Ok(answer);
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(patience, wait)
        .await
        .with_context(|| format!("job {job} did not end"))?
}
