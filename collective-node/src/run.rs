//! One permitted run: opens the granted files one after another, feeds the sandbox, checks the output.

use std::sync::Arc;

use collective::approval::{OutputRefusal, OutputRule};
use collective::id::BlobId;
use collective::input::Anchored;
use collective::permit::Permit;
use collective::receipt::Usage;
use collective::seal::header::FileKey;
use collective::seal::payload;
use thiserror::Error;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use crate::blobs::{BlobError, Blobs};
use crate::chain::Deployment;
use crate::follower::View;
use crate::intake::check_file;
use crate::sandbox::{Failure, Fault, Layers, Sandbox, Trap};

/// Sealed files that wait for the sandbox: enough to hide the disk, little enough for memory.
const AHEAD: usize = 16;

/// All that is said of an output that stays inside; how it broke the rule is made from data.
const BROKE_RULE: &str = "the output broke the approved output rule";

/// All that is said of a program that asked for what no program has.
const DENIED: &str = "it asked for something that is denied to every program";

/// All that is said when too many of the granted records were none.
const TOO_FEW: &str = "fewer readable records than the approved minimum group";

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
    /// What opens each, in the same order; `None` for a file that nobody can open.
    pub keys: Vec<Option<FileKey>>,
    /// Knows the key that each is sealed to, and whether the collective takes files with a sender proof only.
    pub view: View,
    /// The store.
    pub blobs: Blobs,
    /// For the senders' contexts.
    pub deployment: Deployment,
}

/// Runs the permitted program over the permitted files. The permit is used up.
///
/// # Errors
/// [`RunError`] for what the operator has to mend; the program's failures are a [`Ran`].
pub async fn run(permit: Permit, files: Files, sandbox: &Arc<Sandbox>) -> Result<Ran, RunError> {
    let (sealed, mut queue) = mpsc::channel(AHEAD);
    let reader = tokio::spawn(read(files.blobs, files.members, sealed));
    let (keys, sandbox) = (files.keys, sandbox.clone());
    let ran = tokio::task::spawn_blocking(move || {
        let rule = permit.grant().manifest().output.clone();
        let sealed = std::iter::from_fn(|| queue.blocking_recv());
        // A file without a key is passed over: it stays in the input set and is read by nobody.
        let records = sealed.zip(keys).filter_map(|((member, file), key)| {
            open(&key?, &files.deployment, &files.view, &member, &file)
        });
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
    file_key: &FileKey,
    deployment: &Deployment,
    view: &View,
    member: &Anchored,
    file: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    // The ledger says where the file is; that it is the committed one is checked again.
    let proof_required = view.committee.proof_required();
    let recipient = view.key_of(&member.entry)?;
    let checked = check_file(&member.entry, file, deployment, recipient, proof_required);
    let opened = checked
        .map_err(|refusal| refusal.to_string())
        .and_then(|(_, body)| payload::open(file_key, body).map_err(|error| error.to_string()));
    match opened {
        Ok(record) => Some(Zeroizing::new(record)),
        Err(error) => {
            let leaf = member.entry.contribution.leaf();
            tracing::warn!(%leaf, error, "a contribution does not open");
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
                Err(OutputRefusal::GroupTooSmall { .. }) => Err(TOO_FEW.into()),
                Err(_) => Err(BROKE_RULE.into()),
            };
            Ok(Ran {
                output,
                usage: rounded(&run.usage),
                layers: run.layers,
            })
        }
        Err(Failure::Program(stop)) => Ok(Ran {
            output: Err(told(&stop.trap)),
            usage: rounded(&stop.usage),
            layers: stop.layers,
        }),
        Err(Failure::Operator(fault)) => Err(fault.into()),
    }
}

/// What everybody may hear of a trap. What a program asked for when it was denied it could choose by the data.
fn told(trap: &Trap) -> String {
    match trap {
        Trap::Denied(_) => DENIED.into(),
        trap => trap.to_string(),
    }
}

/// Everything to the next power of two: about five bits each, which the receipt makes public.
fn rounded(usage: &crate::sandbox::Usage) -> Usage {
    let up = |value: u64| value.checked_next_power_of_two().unwrap_or(u64::MAX);
    Usage {
        fuel: up(usage.fuel),
        memory_bytes: up(usage.memory_bytes),
        milliseconds: up(u64::try_from(usage.wall.as_millis()).unwrap_or(u64::MAX)),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_denied_is_not_told() {
        let asked = |name: &str| told(&Trap::Denied(name.into()));
        assert_eq!(asked("wasi:cli/exit#exit"), asked("wasi:sockets/tcp#f77"));
        assert_eq!(told(&Trap::OutOfFuel), Trap::OutOfFuel.to_string());
    }
}
