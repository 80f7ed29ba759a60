//! What could go wrong if a manifest is approved, worked out from the manifest and the facts beside it.

use alloy::primitives::U256;
use collective::approval::{
    Evidence, Manifest, OutputKind, OutputRule, Program, Recipient, Return, SplitRule,
};
use collective::id::{ManifestDigest, NodeId};
use collective::permit::check_whole_files;
use collective::source::{ColumnType, Source};
use collective::terms::Purpose;
use serde::{Serialize, Serializer};
use serde_json::json;
use thiserror::Error;

/// Seconds after which an approval outlives what its voters remember.
const LONG_SECONDS: u64 = 366 * 86_400;

/// Something that a voter should weigh. None of them forbids anything.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Risk {
    /// Kind `records`.
    #[error("records themselves leave: the recipient reads what contributors wrote")]
    SendsRecords,
    /// Purpose `transfer`, or a node as recipient.
    #[error(
        "plaintext leaves the collective's own nodes: whoever runs the recipient's node can read and keep it, and nothing \
         that the collective decides later takes it back"
    )]
    LeavesTheCollective,
    /// A hand-off.
    #[error(
        "the data itself is handed to heavy node {node}, a requester's own machine: its operator can read and keep all of it, and what \
         the collective decides later takes nothing back; what binds them is a bond of {bond} for each run and their word"
    )]
    HandsOver {
        /// To whom.
        node: NodeId,
        /// In the smallest unit of the token.
        bond: U256,
    },
    /// A hand-off that nobody answers for.
    #[error("the hand-off asks for no bond: a node that returns nothing loses nothing")]
    NoBond,
    /// A hand-off without the operator's word.
    #[error("the hand-off does not ask for the operator's word that the copy was deleted")]
    NoDeletion,
    /// The output is large enough.
    #[error(
        "the output could carry records: one run's has room for {room}, those of all runs for {all}, and {records} match today; \
         what keeps it from carrying them is the program's code alone"
    )]
    RoomForRecords {
        /// Records that one output has room for.
        room: u64,
        /// The same for all runs.
        all: u64,
        /// Records that it would read today.
        records: u64,
    },
    /// No schema on an output that is said to be figures.
    #[error("no schema that keeps anything back: any text passes as output")]
    NoSchema,
    /// A group of one.
    #[error("no minimum group: it may run over a single contributor")]
    NoMinimumGroup,
    /// The node does not see groups inside of a program of this kind.
    #[error(
        "the minimum group counts the contributors whose records are read, not those behind a figure: whether a figure is \
         over that many, the program's code decides"
    )]
    GroupIsOfTheWhole,
    /// Nothing to read.
    #[error("no source for the bytes: nobody can read what would run")]
    NoSource,
    /// The source says less than it seems.
    #[error("the source that is shown does not make the bytes that would run")]
    AnotherSource,
    /// Nobody looked.
    #[error("whether the source makes the bytes was not checked here: {0}")]
    NotRebuilt(String),
    /// What people read is not what counts.
    #[error(
        "program.toml in the source that is shown says something else than the manifest, which is what counts, of: {0}"
    )]
    SaysOtherwise(String),
    /// More runs than one.
    #[error(
        "{0} runs: the difference between two of them can show who joined, left or took something back in between"
    )]
    ManyRuns(u32),
    /// Longer than a year.
    #[error("it may run for more than a year")]
    Long,
    /// Over before it begins.
    #[error("its time is over, or it has no run: approved, it could never run")]
    Dead,
    /// Bytes cost nothing to make.
    #[error(
        "contributors are paid by their bytes: whoever seals a longer record than needed takes from everybody else, and nothing \
         but the size of an upload bounds it"
    )]
    PaysForPadding,
    /// Trust in the operator.
    #[error(
        "no evidence is asked of the node: its operator can read what the program reads, and the output is as right as that \
         node is honest"
    )]
    NoEvidence,
    /// The chain would enforce something else than the manifest says.
    #[error(
        "the terms that would be stored are not those of the manifest: no key holder would release anything"
    )]
    OtherTerms,
    /// What it reads is not there.
    #[error(
        "no charter in force declares the source as the manifest names it: it would be refused until one does"
    )]
    UndeclaredSource,
    /// Too few.
    #[error("{contributors} contributors match today, fewer than the minimum group of {minimum}")]
    GroupTooSmall {
        /// Today.
        contributors: u32,
        /// Asked for.
        minimum: u32,
    },
    /// Bytes that were stopped once.
    #[error("the same program was approved before, as {0}, and revoked")]
    RevokedBefore(ManifestDigest),
    /// A version that was stopped.
    #[error(
        "the last version from this folder, {0}, was revoked: compare with it what made members stop it"
    )]
    LastRevoked(ManifestDigest),
    /// A compile bomb, or a slow machine.
    #[error("the compiler came to no end over its source, which a source can be made for")]
    Endless,
    /// The bytes ask for what they do not get.
    #[error("it would be refused at every run: {0}")]
    WouldNotRun(String),
    /// Nobody planned it.
    #[error("whether a node would run the query was not checked here: {0}")]
    NotPlanned(String),
    /// The trial did not end well.
    #[error("on its own mock data it gives nothing that would leave: {0}")]
    TrialFailed(String),
}

impl Serialize for Risk {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// What the manifest by itself makes a voter weigh. `source` is what the charter in force declares, `contributors` who
/// would be read today.
pub fn of_manifest(
    manifest: &Manifest,
    source: Option<&Source>,
    contributors: u32,
    now: u64,
) -> Vec<Risk> {
    let rule = &manifest.output;
    let mut risks = vec![];
    let leaves = manifest.purpose == Purpose::Transfer
        || matches!(manifest.recipient, Recipient::Node { .. });
    risks.extend(leaves.then_some(Risk::LeavesTheCollective));
    risks.extend(of_hand_off(manifest, source));
    if rule.kind == OutputKind::Records {
        risks.push(Risk::SendsRecords);
    } else {
        risks.extend(source.and_then(|source| room(manifest, source, contributors)));
        risks.extend(lets_text_pass(rule).then_some(Risk::NoSchema));
    }
    if rule.minimum_group <= 1 {
        risks.push(Risk::NoMinimumGroup);
    } else if !counts_groups(&manifest.program) {
        risks.push(Risk::GroupIsOfTheWhole);
    }
    if contributors < rule.minimum_group {
        let minimum = rule.minimum_group;
        risks.push(Risk::GroupTooSmall {
            contributors,
            minimum,
        });
    }
    if manifest.max_runs == 0 || manifest.expiry <= now {
        risks.push(Risk::Dead);
    }
    risks.extend((manifest.max_runs > 1).then_some(Risk::ManyRuns(manifest.max_runs)));
    risks.extend((manifest.expiry > now + LONG_SECONDS).then_some(Risk::Long));
    let by_bytes = manifest.payment.rule == SplitRule::Bytes;
    risks.extend(by_bytes.then_some(Risk::PaysForPadding));
    risks.push(match manifest.evidence {
        Evidence::None => Risk::NoEvidence,
    });
    risks.extend(source.is_none().then_some(Risk::UndeclaredSource));
    risks
}

fn of_hand_off(manifest: &Manifest, source: Option<&Source>) -> Vec<Risk> {
    let Some(hand_off) = &manifest.hand_off else {
        return vec![];
    };
    let (node, bond) = (hand_off.node, manifest.payment.bond);
    let mut risks = vec![Risk::HandsOver { node, bond }];
    risks.extend(bond.is_zero().then_some(Risk::NoBond));
    let says_so = hand_off.returns.contains(&Return::Deletion);
    risks.extend((!says_so).then_some(Risk::NoDeletion));
    let part = source.and_then(|source| check_whole_files(manifest, source).err());
    risks.extend(part.map(|refusal| Risk::WouldNotRun(refusal.to_string())));
    risks
}

/// Whether the node itself sees to the minimum group of every figure.
fn counts_groups(program: &Program) -> bool {
    match program {
        Program::Component { .. }
        | Program::Python { .. }
        | Program::Javascript { .. }
        | Program::Training { .. } => false,
        Program::Sql { .. } => true,
    }
}

/// How many records fit into the output, written as tersely as their columns allow.
fn room(manifest: &Manifest, source: &Source, contributors: u32) -> Option<Risk> {
    let places = source.select(&manifest.dataset.columns).ok()?;
    let bits: f64 = places
        .iter()
        .map(|place| bits(&source.columns[*place].kind))
        .sum();
    let fit = |bytes: u64| ((bytes as f64) * 8.0 / bits.max(1.0)) as u64;
    let room = fit(manifest.output.max_bytes);
    let runs = u64::from(manifest.max_runs);
    let all = fit(manifest.output.max_bytes.saturating_mul(runs));
    let records = contributors.into();
    (all > 0).then_some(Risk::RoomForRecords { room, all, records })
}

/// Whether the output's form keeps nobody from writing what they like: without a schema, or with one that anything satisfies.
fn lets_text_pass(rule: &OutputRule) -> bool {
    let open = OutputRule {
        max_bytes: u64::MAX,
        minimum_group: 0,
        ..rule.clone()
    };
    let text = "What Ada told in confidence, word for word, and where she lives.";
    let anything = [json!(text), json!([text]), json!({ text: text })];
    anything
        .iter()
        .any(|output| open.check(output.to_string().as_bytes(), 0).is_ok())
}

/// The most that one field of a column can tell, in bits.
fn bits(kind: &ColumnType) -> f64 {
    match kind {
        ColumnType::Integer { min, max } => (max.abs_diff(*min) as f64 + 1.0).log2(),
        ColumnType::Choice(words) => (words.len() as f64).log2(),
        // The shortest value has one byte.
        ColumnType::Json => 8.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::primitives::{Address, B256};
    use collective::approval::HandOff;
    use collective::id::KeysHash;

    /// The chain's time.
    const NOW: u64 = 1_800_000_000;

    fn source() -> Source {
        let declared = json!({"name": "poll", "columns": [
            {"name": "age", "type": {"integer": {"min": 0, "max": 127}}},
            {"name": "side", "type": {"choice": ["left", "right"]}},
        ]});
        serde_json::from_value(declared).expect("a declaration")
    }

    /// One that only a careless voter would approve.
    fn careless() -> Manifest {
        let manifest = json!({
            "format": "collective/manifest/v1",
            "chainId": 1,
            "collective": Address::repeat_byte(1),
            "program": {"kind": "component", "sha256": B256::repeat_byte(2)},
            "arguments": "",
            "dataset": {"source": "poll", "declaration": source().digest(), "columns": ["age", "side"]},
            "purpose": "transfer",
            "recipient": {"node": {"id": B256::repeat_byte(3), "keys": B256::repeat_byte(4)}},
            "output": {"kind": "aggregate", "maxBytes": 10, "minimumGroup": 1},
            "limits": {"fuel": "1000", "memoryBytes": 1 << 20, "seconds": 1},
            "payment": {"token": Address::repeat_byte(5), "price": "10", "bond": "0", "rule": "bytes",
                "contributorsBps": 10_000, "nodeBps": 0},
            "evidence": "none",
            "maxRuns": 5,
            "expiry": NOW + 2 * LONG_SECONDS,
        });
        serde_json::from_value(manifest).expect("a manifest")
    }

    #[test]
    fn everything_careless_is_told() {
        // 8 bits a record, 80 bits an output.
        let room = Risk::RoomForRecords {
            room: 10,
            all: 50,
            records: 40,
        };
        assert_eq!(
            of_manifest(&careless(), Some(&source()), 40, NOW),
            [
                Risk::LeavesTheCollective,
                room,
                Risk::NoSchema,
                Risk::NoMinimumGroup,
                Risk::ManyRuns(5),
                Risk::Long,
                Risk::PaysForPadding,
                Risk::NoEvidence,
            ]
        );
    }

    #[test]
    fn a_hand_off_is_told_plainly() {
        let mut manifest = careless();
        let node = NodeId(B256::repeat_byte(7));
        let keys = KeysHash(B256::repeat_byte(8));
        let told = |manifest: &Manifest| {
            let mut risks = of_manifest(manifest, Some(&source()), 40, NOW);
            risks.retain(|risk| {
                matches!(
                    risk,
                    Risk::HandsOver { .. } | Risk::NoBond | Risk::NoDeletion | Risk::WouldNotRun(_)
                )
            });
            risks
        };
        assert_eq!(told(&manifest), []);
        manifest.hand_off = Some(HandOff {
            node,
            keys,
            seconds: 60,
            returns: vec![Return::Model],
        });
        let bond = U256::ZERO;
        let all = [
            Risk::HandsOver { node, bond },
            Risk::NoBond,
            Risk::NoDeletion,
        ];
        assert_eq!(told(&manifest), all);
        let bond = U256::from(1);
        manifest.payment.bond = bond;
        manifest.hand_off = Some(HandOff {
            node,
            keys,
            seconds: 60,
            returns: vec![Return::Deletion, Return::Model],
        });
        assert_eq!(told(&manifest), [Risk::HandsOver { node, bond }]);
        manifest.dataset.columns.pop();
        let part = told(&manifest);
        assert!(matches!(&part[1..], [Risk::WouldNotRun(_)]), "{part:?}");
    }

    #[test]
    fn each_care_that_is_taken_takes_its_risk_away() {
        let mut manifest = careless();
        let mut gone = |change: fn(&mut Manifest), risk: &Risk| {
            let contains = |manifest: &Manifest| {
                of_manifest(manifest, Some(&source()), 40, NOW).contains(risk)
            };
            assert!(contains(&manifest), "{risk}");
            change(&mut manifest);
            assert!(!contains(&manifest), "{risk}");
        };
        gone(
            |it| {
                it.purpose = Purpose::Statistics;
                it.recipient = Recipient::Age("age1".into());
            },
            &Risk::LeavesTheCollective,
        );
        gone(
            |it| it.output.schema = Some(json!({"type": "integer"})),
            &Risk::NoSchema,
        );
        gone(|it| it.output.minimum_group = 10, &Risk::NoMinimumGroup);
        gone(|it| it.max_runs = 1, &Risk::ManyRuns(5));
        gone(|it| it.expiry = NOW + 86_400, &Risk::Long);
        gone(
            |it| it.payment.rule = SplitRule::Equal,
            &Risk::PaysForPadding,
        );
        let left = of_manifest(&manifest, Some(&source()), 40, NOW);
        let room = Risk::RoomForRecords {
            room: 10,
            all: 10,
            records: 40,
        };
        assert_eq!(left, [room, Risk::GroupIsOfTheWhole, Risk::NoEvidence]);
    }

    #[test]
    fn a_schema_that_keeps_nothing_back_is_none() {
        let rule = |schema: serde_json::Value| {
            let mut rule = careless().output;
            rule.schema = Some(schema);
            lets_text_pass(&rule)
        };
        for open in [
            json!(true),
            json!({}),
            json!({"type": "object"}),
            json!({"maxLength": 1000}),
        ] {
            assert!(rule(open.clone()), "{open}");
        }
        let number = json!({"type": "number"});
        let closed =
            json!({"type": "object", "properties": {"n": number}, "additionalProperties": false});
        for closed in [json!(false), number, closed] {
            assert!(!rule(closed.clone()), "{closed}");
        }
    }

    #[test]
    fn what_could_not_run_is_told_before_the_vote() {
        let mut manifest = careless();
        manifest.output.minimum_group = 50;
        manifest.expiry = NOW;
        let risks = of_manifest(&manifest, None, 40, NOW);
        let small = Risk::GroupTooSmall {
            contributors: 40,
            minimum: 50,
        };
        for risk in [small, Risk::Dead, Risk::UndeclaredSource] {
            assert!(risks.contains(&risk), "{risk}");
        }
    }
}
