//! What a run left: the record that the ledger keeps and HTTP shows.

use alloy::primitives::{B256, Signature, U256};
use collective::id::BlobId;
use collective::receipt::Receipt;
use collective_contracts::JobEscrow;
use serde::{Deserialize, Serialize};

use crate::sandbox::Layers;

/// What a run left: everything that a receipt's reader asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RunRecord {
    /// The node's statement.
    pub receipt: Receipt,
    /// The node's signature over it.
    pub signature: Signature,
    /// Blob of the input set's leaves, ascending, as a JSON array.
    pub inputs: BlobId,
    /// Blob of the [`SandboxDescription`] whose digest the receipt carries.
    pub sandbox: BlobId,
    /// From asking the committee to the last file's key, in milliseconds.
    #[serde(default)]
    pub opening_milliseconds: u64,
    /// One sentence for whatever kept an output inside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// What stood around a program while it ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SandboxDescription {
    /// Name and version of the engine.
    pub engine: String,
    /// Digest of engine, version and settings.
    pub engine_id: B256,
    /// Layers of the jail that were on, and those that the machine denied.
    pub layers: Layers,
    /// Places in the input set, ascending, of contributions that earn nothing, as another one that was anchored before has the
    /// same content. There where the manifest says so (`payment.distinct`), whether there is an output or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duplicates: Option<Vec<u32>>,
}

/// A receipt as JobEscrow takes it.
pub fn on_chain(receipt: &Receipt) -> JobEscrow::Receipt {
    JobEscrow::Receipt {
        job: U256::from(receipt.job),
        attempt: receipt.attempt,
        manifest: receipt.manifest.0,
        allowHash: receipt.allow_hash,
        denyHash: receipt.deny_hash,
        inputRoot: receipt.input_root,
        inputCount: receipt.input_count,
        outcome: receipt.outcome.into(),
        output: receipt.output.0,
        outputBytes: receipt.output_bytes,
        fuel: receipt.usage.fuel,
        memoryBytes: receipt.usage.memory_bytes,
        milliseconds: receipt.usage.milliseconds,
        sandbox: receipt.sandbox,
        evidence: receipt.evidence,
        lag: receipt.lag,
        quorum: receipt.quorum.0,
    }
}
