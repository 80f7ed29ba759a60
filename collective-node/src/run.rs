//! One permitted run: opens the granted files one after another, feeds the sandbox, checks the output.

use std::sync::Arc;

use collective::approval::OutputRule;
use collective::id::BlobId;
use collective::input::Anchored;
use collective::permit::Permit;
use collective::receipt::Usage;
use collective::seal::contribution;
use collective::seal::payload;
use thiserror::Error;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use crate::blobs::{BlobError, Blobs};
use crate::chain::Deployment;
use crate::intake::sender_context;
use crate::keystore::Keystore;
use crate::sandbox::{Failure, Fault, Layers, Sandbox};

/// Sealed files that wait for the sandbox: enough to hide the disk, little enough for memory.
const AHEAD: usize = 16;

/// Milliseconds to which the run time is rounded up: the clock of a run on other data must look the same.
const TIME_BUCKET: u64 = 100;

/// Why there is no result, which is not the program's fault; the attempt can be made again.
#[derive(Debug, Error)]
pub enum RunError {
    /// The sandbox.
    #[error(transparent)]
    Sandbox(#[from] Fault),
    /// A file cannot be read.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// Something named in the grant is not here.
    #[error("{0}")]
    Missing(String),
}

/// A run that ended, well or by the program's fault.
pub struct Ran {
    /// The output, or why there is none: one sentence out of a closed set.
    pub output: Result<Zeroizing<Vec<u8>>, String>,
    /// Rounded up.
    pub usage: Usage,
    /// What stood around it.
    pub layers: Layers,
}

/// Where the files are.
pub struct Files {
    /// The input set, with the blob of each sealed file.
    pub members: Vec<(Anchored, BlobId)>,
    /// The store.
    pub blobs: Blobs,
    /// For the senders' contexts.
    pub deployment: Deployment,
}

/// Runs the permitted program over the permitted files. The permit is used up.
///
/// # Errors
/// [`RunError`] for what the operator has to mend; the program's failures are a [`Ran`].
pub async fn run(
    permit: Permit,
    files: Files,
    keys: &Arc<Keystore>,
    sandbox: &Arc<Sandbox>,
) -> Result<Ran, RunError> {
    let (sealed, mut queue) = mpsc::channel(AHEAD);
    let reader = tokio::spawn(read(files.blobs, files.members, sealed));
    let (keys, sandbox) = (keys.clone(), sandbox.clone());
    let ran = tokio::task::spawn_blocking(move || {
        let rule = permit.grant().manifest().output.clone();
        let records = std::iter::from_fn(|| queue.blocking_recv())
            .filter_map(|(member, file)| open(&keys, &files.deployment, &member, &file));
        judge(&rule, sandbox.run(permit, records))
    })
    .await
    .map_err(|error| RunError::Missing(format!("the run was interrupted: {error}")))?;
    match reader.await {
        Ok(read) => read?,
        Err(error) => return Err(RunError::Missing(format!("the reader stopped: {error}"))),
    }
    ran
}

/// The plaintext of one contribution, or nothing where the contributor's file does not open: it
/// stays in the input set and is counted as read by nobody.
fn open(
    keys: &Keystore,
    deployment: &Deployment,
    member: &Anchored,
    file: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let entry = &member.entry.contribution;
    let context = sender_context(deployment, entry.contributor, entry.nonce);
    let (header, body) = contribution::parse(file, keys.collective_recipient(), &context).ok()?;
    let opened = keys
        .file_key(&header)
        .map_err(|error| error.to_string())
        .and_then(|file_key| payload::open(&file_key, body).map_err(|error| error.to_string()));
    match opened {
        Ok(record) => Some(Zeroizing::new(record)),
        Err(error) => {
            tracing::warn!(leaf = %entry.leaf(), error, "a contribution does not open");
            None
        }
    }
}

/// Applies the output rule; what a program did wrong becomes a sentence that tells nothing else.
fn judge(rule: &OutputRule, result: Result<crate::sandbox::Run, Failure>) -> Result<Ran, RunError> {
    match result {
        Ok(run) => {
            let contributors = u32::try_from(run.accepted).unwrap_or(u32::MAX);
            let output = match rule.check(&run.output, contributors) {
                Ok(()) => Ok(run.output),
                Err(refusal) => Err(refusal.to_string()),
            };
            Ok(Ran {
                output,
                usage: rounded(&run.usage),
                layers: run.layers,
            })
        }
        Err(Failure::Program(stop)) => Ok(Ran {
            output: Err(stop.trap.to_string()),
            usage: rounded(&stop.usage),
            layers: stop.layers,
        }),
        Err(Failure::Operator(fault)) => Err(fault.into()),
    }
}

/// Fuel and memory to the next power of two, time to the next tenth of a second.
fn rounded(usage: &crate::sandbox::Usage) -> Usage {
    let milliseconds = u64::try_from(usage.wall.as_millis()).unwrap_or(u64::MAX);
    Usage {
        fuel: usage.fuel.checked_next_power_of_two().unwrap_or(u64::MAX),
        memory_bytes: usage
            .memory_bytes
            .checked_next_power_of_two()
            .unwrap_or(u64::MAX),
        milliseconds: milliseconds.div_ceil(TIME_BUCKET) * TIME_BUCKET,
    }
}

async fn read(
    blobs: Blobs,
    members: Vec<(Anchored, BlobId)>,
    to: mpsc::Sender<(Anchored, bytes::Bytes)>,
) -> Result<(), BlobError> {
    for (member, file) in members {
        let bytes = blobs.get(file).await?;
        if to.send((member, bytes)).await.is_err() {
            // The program ended early; it is for the program to say why.
            break;
        }
    }
    Ok(())
}
