//! The approval manifest: exactly what members vote on (SPEC "Approval manifest").
//!
//! Canonical JSON (RFC 8785), named by its SHA-256. Amounts and fuel are decimal strings, because
//! the canonical form writes numbers as doubles. Whatever is not in the manifest is not approved.

use alloy_primitives::{Address, U256};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::decimal;
use crate::id::{BlobId, KeysHash, ManifestDigest, NodeId, sha256};
use crate::limits::{
    MAX_COLUMNS, MAX_ENGINE_BYTES, MAX_HEAVY_MEMORY, MAX_MANIFEST_BYTES, MAX_OUTPUT_BYTES,
    MAX_RETURN_SECONDS, MAX_RUN_MEMORY, MAX_RUN_SECONDS,
};
use crate::seal;
use crate::terms::Purpose;

pub use hand_off::{HandOff, HandOffRefusal, Return};
pub use leak::Leak;
pub use origin::{Build, FolderPath, GitId, Origin, OriginRefusal, Repository};
pub use output::{OutputKind, OutputRefusal, OutputRule};
pub use padding::{NotPadded, pad, unpad};
pub use program::{Interpreted, Program};

mod hand_off;
mod leak;
mod origin;
mod output;
mod padding;
mod program;

/// Everything a program may do, read, send out and cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Manifest {
    /// Version of this format.
    pub format: Format,
    /// EIP-155 id of the chain that the vote is on.
    pub chain_id: u64,
    /// The collective that votes.
    pub collective: Address,
    /// The program's bytes and where they come from.
    pub program: Program,
    /// What the program is started with.
    pub arguments: String,
    /// Which records it may read.
    pub dataset: Selector,
    /// What it does with them: contributors allowed it or their records are left out.
    pub purpose: Purpose,
    /// Who alone can open the output.
    pub recipient: Recipient,
    /// What may leave.
    pub output: OutputRule,
    /// What it may use up.
    pub limits: Limits,
    /// What a run costs and who gets it.
    pub payment: Payment,
    /// To which machine of a requester the data goes, where it leaves the collective's own nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hand_off: Option<HandOff>,
    /// What a node must prove of itself before anything is released to it.
    pub evidence: Evidence,
    /// How often it may run.
    pub max_runs: u32,
    /// Unix seconds from which on it may not run; block time decides.
    pub expiry: u64,
}

/// The format's name, which is also its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    /// This version.
    #[serde(rename = "collective/manifest/v1")]
    V1,
}

/// Which records a program reads. The input set is derived from this, never chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Selector {
    /// Name of the source.
    pub source: String,
    /// Digest of the source's declaration ([`crate::source::Source::digest`]): the vote fixes what
    /// its columns may hold.
    pub declaration: BlobId,
    /// Columns the program sees, in this order; the others are cut before it starts.
    pub columns: Vec<String>,
    /// Only contributions anchored in a block of at least this time (Unix seconds).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// Only contributions anchored in a block before this time (Unix seconds).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
}

/// Who can open the output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub enum Recipient {
    /// An age recipient string.
    Age(String),
    /// A node of NodeRegistry, under the keys it had when the vote began.
    #[serde(rename_all = "camelCase")]
    Node {
        /// The node.
        id: NodeId,
        /// Its keys.
        keys: KeysHash,
    },
}

impl Recipient {
    /// What CodeRegistry stores and a request must name: SHA-256 of the age string, or of the
    /// node id and its keys.
    pub fn digest(&self) -> alloy_primitives::B256 {
        match self {
            Self::Age(recipient) => sha256(recipient.as_bytes()),
            Self::Node { id, keys } => sha256(&[id.0, keys.0].concat()),
        }
    }
}

/// What a run may use up. The sandbox holds it; fuel decides, seconds are the safety net.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Limits {
    /// Units of fuel, about one for each WebAssembly instruction.
    #[serde(with = "decimal")]
    pub fuel: u64,
    /// Bytes of linear memory.
    pub memory_bytes: u64,
    /// Seconds of wall clock.
    pub seconds: u32,
    /// Seconds between the moments at which the end of a run may show. Without them there is one, after [`Limits::seconds`],
    /// and the time of a run tells nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket_seconds: Option<u32>,
}

impl Limits {
    /// Seconds between the moments at which the end of a run may show.
    pub fn bucket(&self) -> u32 {
        self.bucket_seconds.unwrap_or(self.seconds)
    }
}

/// What a run costs. The contracts hold the same figures and enforce them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Payment {
    /// ERC-20 token.
    pub token: Address,
    /// Price of one run, in the token's smallest unit.
    #[serde(with = "decimal")]
    pub price: U256,
    /// What the node has at stake for one run, in the token's smallest unit.
    #[serde(with = "decimal")]
    pub bond: U256,
    /// How the contributors' share is divided among them.
    pub rule: SplitRule,
    /// Contributions with equal contents earn once: the one that was anchored first. So it is where the source has documents,
    /// and nowhere else: two people may well give the same answers.
    #[serde(default, skip_serializing_if = "is_false")]
    pub distinct: bool,
    /// Contributors' share of the price, in hundredths of a per cent.
    pub contributors_bps: u16,
    /// Node's share; the treasury gets the rest.
    pub node_bps: u16,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// How the contributors' share is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SplitRule {
    /// The same for every contributor in the input set; the remainder goes to the treasury.
    Equal,
    /// As the bytes of their payloads in the input set; the remainder goes to the treasury. Whoever pads gets more.
    Bytes,
}

impl SplitRule {
    /// How many parts a contributor has whose payload in the input set has `bytes`.
    pub fn share(self, bytes: u64) -> u64 {
        match self {
            Self::Equal => 1,
            Self::Bytes => bytes,
        }
    }
}

/// Evidence that a node must have before release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Evidence {
    /// The collective's acceptance of its operator is enough.
    None,
}

/// Why bytes are no manifest.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ManifestRefusal {
    /// Over the limit.
    #[error("the manifest is longer than {MAX_MANIFEST_BYTES} bytes")]
    TooLong,
    /// Not the documented shape.
    #[error("the manifest does not parse: {0}")]
    Malformed(String),
    /// Same content in other bytes would have two digests.
    #[error("the manifest is not canonical JSON (RFC 8785)")]
    NotCanonical,
    /// No column, or more than a source can have.
    #[error("a selector names 1 to {MAX_COLUMNS} columns, not {0}")]
    ColumnCount(usize),
    /// Shares above the whole.
    #[error("the shares add up to {0} hundredths of a per cent, more than 10000")]
    SharesTooLarge(u32),
    /// More than a node ever sends out.
    #[error("the output may have {0} bytes, more than {MAX_OUTPUT_BYTES}")]
    OutputTooLarge(u64),
    /// Nobody could open the output.
    #[error("the recipient is no age recipient of a known kind: {0}")]
    BadRecipient(String),
    /// No sandbox would run it.
    #[error(
        "a run has 1 to {MAX_RUN_SECONDS} seconds and at most {MAX_RUN_MEMORY} bytes of memory, on a heavy node {MAX_RETURN_SECONDS} and {MAX_HEAVY_MEMORY}"
    )]
    LimitsOutOfRange,
    /// The hand-off and the rest do not fit.
    #[error(transparent)]
    HandOff(#[from] HandOffRefusal),
    /// The last moment would not be the deadline.
    #[error("the {seconds} seconds of a run are no whole number of buckets of {bucket} seconds")]
    UnevenBuckets {
        /// Seconds of a bucket.
        bucket: u32,
        /// Seconds of a run.
        seconds: u32,
    },
    /// The output's schema is no JSON Schema, or refers to something outside itself.
    #[error("the output's schema is unusable: {0}")]
    BadSchema(String),
    /// A query or a training is its text and nothing else.
    #[error(
        "an SQL program or a training takes no arguments: they would stand beside the text that members read"
    )]
    TextArguments,
    /// No engine is called so.
    #[error("'{0}' names no engine: 1 to {MAX_ENGINE_BYTES} of a-z 0-9 . / -")]
    BadEngine(String),
}

impl Manifest {
    /// Parses canonical bytes and checks the rules that hold without a chain.
    ///
    /// # Errors
    /// [`ManifestRefusal`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestRefusal> {
        if bytes.len() > MAX_MANIFEST_BYTES {
            return Err(ManifestRefusal::TooLong);
        }
        let manifest: Self = serde_json::from_slice(bytes)
            .map_err(|error| ManifestRefusal::Malformed(error.to_string()))?;
        if manifest.to_bytes() != bytes {
            return Err(ManifestRefusal::NotCanonical);
        }
        let columns = manifest.dataset.columns.len();
        if columns == 0 || columns > MAX_COLUMNS {
            return Err(ManifestRefusal::ColumnCount(columns));
        }
        let shares =
            u32::from(manifest.payment.contributors_bps) + u32::from(manifest.payment.node_bps);
        if shares > 10_000 {
            return Err(ManifestRefusal::SharesTooLarge(shares));
        }
        if manifest.output.max_bytes > MAX_OUTPUT_BYTES {
            return Err(ManifestRefusal::OutputTooLarge(manifest.output.max_bytes));
        }
        if let Recipient::Age(text) = &manifest.recipient {
            let parsed = text.parse::<seal::Recipient>();
            parsed.map_err(|error| ManifestRefusal::BadRecipient(error.to_string()))?;
        }
        manifest.check_hand_off()?;
        let limits = &manifest.limits;
        let (longest, largest) = match manifest.hand_off {
            Some(_) => (MAX_RETURN_SECONDS, MAX_HEAVY_MEMORY),
            None => (MAX_RUN_SECONDS, MAX_RUN_MEMORY),
        };
        if limits.seconds == 0 || limits.seconds > longest || limits.memory_bytes > largest {
            return Err(ManifestRefusal::LimitsOutOfRange);
        }
        let (bucket, seconds) = (limits.bucket(), limits.seconds);
        if !seconds.is_multiple_of(bucket) {
            return Err(ManifestRefusal::UnevenBuckets { bucket, seconds });
        }
        manifest
            .output
            .check_schema()
            .map_err(ManifestRefusal::BadSchema)?;
        manifest.check_text()?;
        Ok(manifest)
    }

    fn check_text(&self) -> Result<(), ManifestRefusal> {
        let Some(engine) = self.program.engine().or(self.program.trainer()) else {
            return Ok(());
        };
        let known =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"./-".contains(&byte);
        if !(1..=MAX_ENGINE_BYTES).contains(&engine.len()) || !engine.bytes().all(known) {
            let shown = engine.chars().take(MAX_ENGINE_BYTES).collect();
            return Err(ManifestRefusal::BadEngine(shown));
        }
        if self.arguments.is_empty() {
            Ok(())
        } else {
            Err(ManifestRefusal::TextArguments)
        }
    }

    /// The canonical bytes that the digest is made of.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json_canonicalizer::to_vec(self).expect("a manifest is plain JSON values")
    }

    /// What members vote on.
    pub fn digest(&self) -> ManifestDigest {
        ManifestDigest(sha256(&self.to_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_story::manifest;

    #[test]
    fn a_manifest_has_one_spelling() {
        let bytes = manifest().to_bytes();
        assert_eq!(Manifest::parse(&bytes), Ok(manifest()));
        let mut spaced = bytes.clone();
        spaced.insert(1, b' ');
        assert_eq!(Manifest::parse(&spaced), Err(ManifestRefusal::NotCanonical));
    }

    #[test]
    fn an_unknown_field_is_refused_rather_than_left_unread() {
        let text = String::from_utf8(manifest().to_bytes()).expect("JSON is UTF-8");
        let more = text.replacen('{', "{\"aside\":1,", 1);
        assert!(matches!(
            Manifest::parse(more.as_bytes()),
            Err(ManifestRefusal::Malformed(_))
        ));
    }

    #[test]
    fn amounts_have_one_spelling() {
        let text = String::from_utf8(manifest().to_bytes()).expect("JSON is UTF-8");
        for spelling in ["\"01000\"", "\"0x3e8\"", "\"-1\"", "1000"] {
            let other = text.replace("\"price\":\"1000\"", &format!("\"price\":{spelling}"));
            assert_ne!(other, text);
            assert!(Manifest::parse(other.as_bytes()).is_err(), "{spelling}");
        }
    }

    #[test]
    fn limits_of_the_format_hold() {
        let refused = |change: fn(&mut Manifest)| {
            let mut manifest = manifest();
            change(&mut manifest);
            Manifest::parse(&manifest.to_bytes()).expect_err("a defect")
        };
        assert_eq!(
            refused(|m| m.dataset.columns.clear()),
            ManifestRefusal::ColumnCount(0)
        );
        assert_eq!(
            refused(|m| m.payment.node_bps = 9_000),
            ManifestRefusal::SharesTooLarge(17_000)
        );
        assert_eq!(
            refused(|m| m.output.max_bytes = MAX_OUTPUT_BYTES + 1),
            ManifestRefusal::OutputTooLarge(MAX_OUTPUT_BYTES + 1)
        );
        assert_eq!(
            refused(|m| m.limits.seconds = 0),
            ManifestRefusal::LimitsOutOfRange
        );
        assert_eq!(
            refused(|m| m.limits.seconds = 1 << 30),
            ManifestRefusal::LimitsOutOfRange
        );
        assert_eq!(
            refused(|m| m.limits.memory_bytes = 1 << 40),
            ManifestRefusal::LimitsOutOfRange
        );
        for (bucket, seconds) in [(0, 10), (3, 10), (11, 10)] {
            let mut uneven = manifest();
            uneven.limits.seconds = seconds;
            uneven.limits.bucket_seconds = Some(bucket);
            assert_eq!(
                Manifest::parse(&uneven.to_bytes()),
                Err(ManifestRefusal::UnevenBuckets { bucket, seconds })
            );
        }
        let query = |m: &mut Manifest, engine: &str| {
            m.program = Program::Sql {
                sha256: BlobId::of(b"SELECT count(*) FROM poll"),
                engine: engine.into(),
                origin: None,
            };
        };
        let mut good = manifest();
        query(&mut good, "datafusion/55.2.0");
        assert_eq!(Manifest::parse(&good.to_bytes()), Ok(good.clone()));
        good.arguments = "a".into();
        assert_eq!(
            Manifest::parse(&good.to_bytes()),
            Err(ManifestRefusal::TextArguments)
        );
        for name in [
            "",
            "DataFusion",
            "data fusion",
            &"x".repeat(MAX_ENGINE_BYTES + 1),
        ] {
            let mut bad = manifest();
            query(&mut bad, name);
            assert!(matches!(
                Manifest::parse(&bad.to_bytes()),
                Err(ManifestRefusal::BadEngine(_))
            ));
        }
        assert!(matches!(
            refused(|m| m.recipient = Recipient::Age("age1nobody".into())),
            ManifestRefusal::BadRecipient(_)
        ));
        assert_eq!(
            refused(|m| m.arguments = "x".repeat(MAX_MANIFEST_BYTES)),
            ManifestRefusal::TooLong
        );
        assert!(matches!(
            refused(|m| m.output.schema = Some(serde_json::json!({"type": "nothing"}))),
            ManifestRefusal::BadSchema(_)
        ));
    }
}
