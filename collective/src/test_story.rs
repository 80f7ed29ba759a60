//! A small world for unit tests: five contributors, one manifest, one lease.

use alloy_primitives::{Address, B256, Signature, U256};

use crate::admission::{Admission, AdmissionList};
use crate::approval::{
    Evidence, Format, HandOff, Limits, Manifest, OutputKind, OutputRule, Payment, Program,
    Recipient, Return, Selector, SplitRule,
};
use crate::contribution::{Commitment, Contribution, SignedContribution};
use crate::id::{BlobId, ContributorId, KeysHash, NodeId, Point};
use crate::input::{Anchored, Revocations};
use crate::permit::{Allow, ApprovalStatus, ApprovedTerms, Case, Deny, Lease};
use crate::receipt::BlockRef;
use crate::source::{Column, ColumnType, Source};
use crate::terms::{Purpose, Terms};

const COLLECTIVE: Address = Address::repeat_byte(0xc0);
const PROGRAM: &[u8] = b"the bytes of a program";
const NODE: NodeId = NodeId(B256::repeat_byte(0x0d));
const KEYS: KeysHash = KeysHash(B256::repeat_byte(0x4e));

/// The program of [`handed_over`].
pub const TRAINING: &[u8] = b"{\"recipe\":\"logistic\"}";

/// Contributor number `n`.
pub fn contributor(n: u8) -> ContributorId {
    ContributorId::from_address(Address::with_last_byte(n + 1))
}

/// All of the source "poll".
pub fn selector() -> Selector {
    Selector {
        source: "poll".into(),
        declaration: source().digest(),
        columns: vec!["age".into()],
        since: None,
        until: None,
    }
}

/// The source "poll": an age and a side.
pub fn source() -> Source {
    let age = Column {
        name: "age".into(),
        kind: ColumnType::Integer { min: 0, max: 120 },
    };
    let side = Column {
        name: "side".into(),
        kind: ColumnType::Integer { min: 0, max: 1 },
    };
    Source::new("poll".into(), vec![side, age]).expect("a good declaration")
}

/// A contribution of contributor `n`, anchored in block 5 at time 500, for statistics.
pub fn anchored(n: u8, nonce: u64) -> Anchored {
    let terms = Terms {
        purposes: [Purpose::Statistics].into_iter().collect(),
        expiry: 1 << 30,
    };
    let commitment = Commitment {
        header: B256::with_last_byte(n),
        payload: B256::ZERO,
        length: 100,
        source: "poll".into(),
    };
    let mut point = [n; 32];
    point[..8].copy_from_slice(&nonce.to_be_bytes());
    let contribution = Contribution {
        collective: COLLECTIVE,
        contributor: contributor(n),
        point: Point(point.into()),
        commitment: commitment.digest(),
        terms: terms.digest(),
        nonce,
    };
    let signature = Signature::new(U256::from(1), U256::from(1), false);
    let entry = SignedContribution {
        contribution,
        commitment,
        terms,
        signature,
    };
    Anchored {
        entry,
        block: 5,
        time: 500,
    }
}

/// A manifest that reads the poll's ages.
pub fn manifest() -> Manifest {
    Manifest {
        format: Format::V1,
        chain_id: 31_337,
        collective: COLLECTIVE,
        program: Program::component(PROGRAM),
        arguments: String::new(),
        dataset: selector(),
        purpose: Purpose::Statistics,
        recipient: Recipient::Age(
            "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p".into(),
        ),
        output: OutputRule {
            kind: OutputKind::Aggregate,
            max_bytes: 1_000,
            minimum_group: 3,
            schema: None,
        },
        limits: Limits {
            fuel: 1_000_000,
            memory_bytes: 1 << 20,
            seconds: 10,
            bucket_seconds: None,
        },
        payment: Payment {
            token: Address::repeat_byte(0x70),
            price: U256::from(1_000),
            bond: U256::from(10),
            rule: SplitRule::Equal,
            distinct: false,
            contributors_bps: 8_000,
            node_bps: 1_500,
        },
        hand_off: None,
        evidence: Evidence::None,
        max_runs: 2,
        expiry: 100_000,
    }
}

/// The same data, handed to the node of [`Story`].
pub fn handed_over() -> Manifest {
    let mut manifest = manifest();
    manifest.program = Program::Training {
        sha256: BlobId::of(TRAINING),
        trainer: "collective-heavy/0.1.0".into(),
        origin: None,
    };
    manifest.purpose = Purpose::Training;
    manifest.dataset.columns = vec!["age".into(), "side".into()];
    manifest.hand_off = Some(HandOff {
        node: NODE,
        keys: KEYS,
        seconds: 3 * 24 * 60 * 60,
        returns: vec![Return::Deletion, Return::Model],
    });
    manifest
}

/// Everything that a decision looks at, with nothing missing.
pub struct Story {
    pub manifest: Vec<u8>,
    pub program: Vec<u8>,
    pub chain_id: u64,
    pub lease: Lease,
    pub allow: Allow,
    pub deny: Deny,
    pub latest: Deny,
    pub finalized: BlockRef,
    pub silence: u64,
    pub anchored: Vec<Anchored>,
    pub list: AdmissionList,
    pub source: Source,
}

impl Story {
    pub fn new() -> Self {
        Self::of(PROGRAM)
    }

    /// The same with another program.
    pub fn of(program: &[u8]) -> Self {
        let mut manifest = manifest();
        manifest.program = Program::component(program);
        Self {
            program: program.to_vec(),
            ..Self::under(&manifest)
        }
    }

    /// The same under a manifest of [`PROGRAM`].
    pub fn under(manifest: &Manifest) -> Self {
        let list = AdmissionList::new((0..5).map(contributor)).expect("five ids");
        let keys = KEYS;
        let block = |number: u64| BlockRef {
            number,
            hash: B256::with_last_byte(number as u8),
            time: 1_000 + 12 * number,
        };
        let deny = Deny {
            block: block(14),
            status: ApprovalStatus::Approved,
            accepted: keys,
            registered: keys,
            revocations: Revocations::default(),
        };
        Self {
            chain_id: manifest.chain_id,
            lease: Lease {
                job: 1,
                attempt: 1,
                collective: COLLECTIVE,
                manifest: manifest.digest(),
                node: NODE,
                keys,
                allow_block: (10, block(10).hash),
                deny_block: (14, block(14).hash),
                deadline: 5_000,
                epoch: 1,
            },
            allow: Allow {
                block: block(10),
                status: ApprovalStatus::Approved,
                terms: ApprovedTerms::of(manifest),
                accepted: keys,
                admission: Admission::Root(list.root()),
                epoch: 1,
            },
            latest: Deny {
                block: block(17),
                ..deny.clone()
            },
            deny,
            finalized: block(15),
            silence: 3,
            anchored: (0..5).map(|n| anchored(n, 0)).collect(),
            list,
            manifest: manifest.to_bytes(),
            program: PROGRAM.to_vec(),
            source: source(),
        }
    }

    pub fn case(&self) -> Case<'_> {
        Case {
            manifest: &self.manifest,
            chain_id: self.chain_id,
            node: NODE,
            lease: self.lease,
            allow: &self.allow,
            deny: &self.deny,
            latest: &self.latest,
            finalized: self.finalized,
            silence: self.silence,
            anchored: &self.anchored,
            list: Some(&self.list),
            sources: std::slice::from_ref(&self.source),
        }
    }
}
