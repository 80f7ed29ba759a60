//! Chapter 4: the approved job runs; the requester alone opens the result.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use collective::approval::unpad;
use collective::receipt::{Outcome, Receipt};
use collective::seal::{self, Identity};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::approve::{Approved, completed, refused, request};
use super::world::executable;
use super::{Account, World, election};
use crate::driver::{RunRecord, SandboxDescription};
use crate::sandbox::{Cache, Limits, Sandbox, Task};
use collective::permit::{Binary, Code};

/// What `statsmodels` gets on the same rows; `jobs/logit/reference/` has the script.
const REFERENCE: &str = include_str!("../../../jobs/logit/reference/reference.json");

/// How far a coefficient may be from the reference.
const TOLERANCE: f64 = 1e-6;

/// A run of the story.
pub struct Told {
    /// Its job.
    pub job: u64,
    /// Its receipt.
    pub receipt: Receipt,
}

#[derive(Deserialize)]
struct Reference {
    runs: std::collections::BTreeMap<String, Fit>,
}

#[derive(Deserialize)]
struct Fit {
    #[serde(alias = "n")]
    rows: u32,
    coefficients: Vec<f64>,
}

pub async fn tell_first(world: &World, approved: &Approved, account: &mut Account) -> Result<Told> {
    let price = approved.logit.payment.price;
    let recipient = approved.logit.recipient.digest();
    let wrong = request(
        world,
        &approved.logit,
        alloy::primitives::B256::repeat_byte(7),
        price,
    )
    .await;
    refused(
        account,
        "another recipient than the vote named",
        wrong,
        "RecipientMismatch",
    );
    let less = price - alloy::primitives::U256::from(1);
    let underpaid = request(world, &approved.logit, recipient, less).await;
    refused(
        account,
        "an escrow that is one unit short",
        underpaid,
        "Underpaid",
    );
    let told = tell_run(world, approved, account, "first").await?;
    let start = warm_start(world, approved).await?;
    account.figure(
        "sandbox: warm start, process included, median of 21",
        format!("{:.1} ms", start.as_secs_f64() * 1e3),
    );
    Ok(told)
}

/// From the call to the end of the process, for the approved means over one made-up record.
async fn warm_start(world: &World, approved: &Approved) -> Result<Duration> {
    let program = world.client.blob(approved.mean.program.sha256()).await?;
    let folder = world.data.join("trial");
    std::fs::create_dir_all(&folder)?;
    let sandbox = Sandbox::new(executable()?, vec![], Some(Cache::new(folder, &[7; 32])));
    let source = election::source();
    let task = Task {
        code: Code::Component(Binary::new(program.to_vec())),
        arguments: approved.mean.arguments.clone(),
        limits: Limits {
            fuel: 1 << 30,
            memory_bytes: 1 << 26,
            seconds: 5,
            output_bytes: 1 << 12,
        },
        columns: (0..source.columns.len()).collect(),
        source,
        seed: [0; 32],
        keep_log: false,
    };
    let measured = tokio::task::spawn_blocking(move || -> Result<Duration> {
        sandbox.prepare(&task.code)?;
        let record = || std::iter::once(Zeroizing::new(b"0,7,7,1,6,6,36,3,1,1\n".to_vec()));
        let mut times = Vec::with_capacity(21);
        for _ in 0..21 {
            let started = Instant::now();
            sandbox.try_out(&task, record())?;
            times.push(started.elapsed());
        }
        times.sort_unstable();
        Ok(times[times.len() / 2])
    });
    measured.await?
}

/// Requests the regression, waits for it, opens it and compares it with the outside reference.
pub async fn tell_run(
    world: &World,
    approved: &Approved,
    account: &mut Account,
    reference: &str,
) -> Result<Told> {
    let started = Instant::now();
    let price = approved.logit.payment.price;
    let job = request(
        world,
        &approved.logit,
        approved.logit.recipient.digest(),
        price,
    )
    .await?;
    let answer = completed(world, job).await?;
    let record = answer
        .record
        .with_context(|| format!("job {job} was refused: {:?}", answer.refusal))?;
    let receipt = record.receipt.clone();
    account.check(
        format!("job {job} was leased, released, run and receipted on chain"),
        receipt.outcome == Outcome::Ran,
        format!(
            "{} contributions, input root {}",
            receipt.input_count, receipt.input_root
        ),
    );
    account.figure(
        format!("job {job}: from request to receipt"),
        format!("{} ms", started.elapsed().as_millis()),
    );
    account.figure(
        format!("job {job}: from the committee's first question to the last file key"),
        format!(
            "{} ms for {} files",
            record.opening_milliseconds, receipt.input_count
        ),
    );
    account.figure(
        format!("job {job}: end of the bucket of time that the run ended in"),
        format!("{} ms", receipt.usage.milliseconds),
    );
    account.figure(
        format!("job {job}: sealed output, as long as every one of this manifest"),
        format!("{} bytes", receipt.output_bytes),
    );
    layers(world, &record, account).await?;
    compare(world, approved, account, job, reference).await?;
    Ok(Told { job, receipt })
}

async fn compare(
    world: &World,
    approved: &Approved,
    account: &mut Account,
    job: u64,
    reference: &str,
) -> Result<()> {
    let sealed = world.client.output(job).await?;
    let identity: Identity = approved.identity.to_secret_string().parse()?;
    let padded = seal::open(&[identity], &sealed).context("opening the output")?;
    let output = unpad(&padded).context("opening the output")?;
    let stranger = seal::x25519::Identity::random(&mut rand::rng());
    account.check(
        "the requester opens the output; another key does not",
        seal::open(&[Identity::X25519(stranger)], &sealed).is_err(),
        format!("{} bytes inside", output.len()),
    );
    let fit: Fit = serde_json::from_slice(output).context("reading the output")?;
    let known: Reference = serde_json::from_str(REFERENCE).context("reading the reference")?;
    let known = known
        .runs
        .get(reference)
        .context("the reference has no such run")?;
    let apart = fit
        .coefficients
        .iter()
        .zip(&known.coefficients)
        .map(|(ours, theirs)| (ours - theirs).abs())
        .fold(0.0, f64::max);
    account.check(
        format!(
            "coefficients equal those of statsmodels on the same {} rows",
            known.rows
        ),
        fit.rows == known.rows
            && fit.coefficients.len() == known.coefficients.len()
            && apart <= TOLERANCE,
        format!("greatest difference {apart:.1e}"),
    );
    Ok(())
}

async fn layers(world: &World, record: &RunRecord, account: &mut Account) -> Result<()> {
    let description = world.client.blob(record.sandbox).await?;
    let description: SandboxDescription = serde_json::from_slice(&description)?;
    account.check(
        "the receipt names the sandbox's layers",
        record.receipt.sandbox == record.sandbox.0,
        format!(
            "{}; {} layers on",
            description.engine,
            description.layers.on.len()
        ),
    );
    for (layer, reason) in &description.layers.denied {
        account.tell(&format!(
            "this machine denies the layer '{layer}': {reason}"
        ));
    }
    Ok(())
}
