//! The program on its own mock data, in the sandbox that would run it: what its requester would get.

use std::sync::Arc;

use collective::approval::Manifest;
use collective::bundle::Bundle;
use collective::id::sha256;
use collective::permit::Code;
use collective::source::Source;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::programs::folder::MOCK_RECORDS;
use crate::sandbox::{Failure, Limits, Sandbox, Task};
use crate::told::try_out;

/// The most that a trial may use: nobody waits for half a day, or reads megabytes, before a vote.
const MOST: Limits = Limits {
    fuel: 100_000_000_000,
    memory_bytes: 1 << 30,
    seconds: 60,
    output_bytes: 1 << 20,
};

/// How the trial ended. What the program wrote is shown as it is: the records are nobody's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(
    tag = "ended",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum Trial {
    /// An output.
    Ran {
        /// What the requester would get; bytes that are no text are replaced.
        output: String,
        /// Records that the program was handed.
        records: u64,
        /// Mock records that break the declaration.
        left_out: u64,
        /// Why it would stay inside, if it would.
        refused: Option<String>,
    },
    /// It stopped.
    Stopped {
        /// Why.
        reason: String,
        /// What it said of it.
        text: String,
    },
    /// There was no trial.
    NotTried {
        /// Why not.
        reason: String,
    },
}

impl Trial {
    /// No trial, for this reason.
    pub fn not(reason: impl Into<String>) -> Self {
        Self::NotTried {
            reason: reason.into(),
        }
    }

    /// Why nothing would leave, where that is so.
    pub fn failure(&self) -> Option<&str> {
        match self {
            Self::Ran { refused, .. } => refused.as_deref(),
            Self::Stopped { reason, .. } => Some(reason),
            Self::NotTried { .. } => None,
        }
    }
}

/// Tries `code` out on the mock records among its sources, under the manifest's limits and output rule.
pub async fn trial(
    sandbox: Arc<Sandbox>,
    manifest: &Manifest,
    code: Code,
    source: &Source,
    sources: &Bundle,
) -> Trial {
    let Some(records) = sources.text(MOCK_RECORDS) else {
        return Trial::not(format!("its sources have no {MOCK_RECORDS}"));
    };
    let columns = match source.select(&manifest.dataset.columns) {
        Ok(columns) => columns,
        Err(refusal) => return Trial::not(refusal.to_string()),
    };
    let allowed = Limits::of(manifest);
    let limits = Limits {
        fuel: allowed.fuel.min(MOST.fuel),
        memory_bytes: allowed.memory_bytes.min(MOST.memory_bytes),
        seconds: allowed.seconds.min(MOST.seconds),
        output_bytes: allowed.output_bytes.min(MOST.output_bytes),
    };
    let task = Task {
        code,
        arguments: manifest.arguments.clone(),
        limits,
        source: source.clone(),
        columns,
        // As a run's: a program does not know by it that it is being looked at.
        seed: sha256(&[manifest.digest().0, sha256(records.as_bytes())].concat()).0,
        keep_log: true,
    };
    let lines: Vec<_> = records
        .split_inclusive('\n')
        .map(|line| Zeroizing::new(line.as_bytes().to_vec()))
        .collect();
    let rule = manifest.output.clone();
    let minimum = rule.minimum_group;
    let ran = tokio::task::spawn_blocking(move || try_out(&sandbox, &task, lines, minimum)).await;
    match ran {
        Ok(Ok(run)) => {
            let contributors = u32::try_from(run.accepted).unwrap_or(u32::MAX);
            let refused = rule.check(&run.output, contributors).err();
            Trial::Ran {
                output: String::from_utf8_lossy(&run.output).into_owned(),
                records: run.accepted,
                left_out: run.rejected.count,
                refused: refused.map(|refusal| refusal.to_string()),
            }
        }
        Ok(Err(Failure::Program(stop))) => Trial::Stopped {
            reason: if limits == allowed {
                stop.trap.to_string()
            } else {
                format!(
                    "{}; a review gives it less than the manifest does, `program test` all of it",
                    stop.trap
                )
            },
            text: stop
                .text
                .map_or_else(String::new, |text| text.reveal().into()),
        },
        Ok(Err(Failure::Operator(fault))) => Trial::not(fault.to_string()),
        Err(error) => Trial::not(format!("the trial was interrupted: {error}")),
    }
}
