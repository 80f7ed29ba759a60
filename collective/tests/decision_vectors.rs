//! Our own vectors of documents and digests: `vectors/decisions.json`. `WRITE_VECTORS=1` writes it.

use std::path::PathBuf;

use alloy_primitives::{Address, B256, U256};
use collective::admission::AdmissionList;
use collective::approval::{
    Evidence, Format, HandOff, Interpreted, Limits, Manifest, Origin, OutputKind, OutputRule,
    Payment, Program, Recipient, Return, Selector, SplitRule,
};
use collective::bundle::Bundle;
use collective::charter::Charter;
use collective::contribution::{Commitment, payload_root};
use collective::id::{BlobId, ContributorId, KeysHash, NodeId};
use collective::source::{Column, ColumnType, Source};
use collective::terms::{Purpose, Terms};
use serde_json::{Value, json};

fn source() -> Source {
    let age = Column {
        name: "age".into(),
        kind: ColumnType::Integer { min: 18, max: 120 },
    };
    let words = vec!["left".into(), "right".into()];
    let side = Column {
        name: "side".into(),
        kind: ColumnType::Choice(words),
    };
    Source::new("poll".into(), vec![age, side]).expect("a good declaration")
}

fn manifest() -> Manifest {
    Manifest {
        format: Format::V1,
        chain_id: 31_337,
        collective: Address::with_last_byte(0xaa),
        program: Program::Component {
            sha256: BlobId(B256::repeat_byte(1)),
            origin: None,
        },
        arguments: "age,side".into(),
        dataset: Selector {
            source: "poll".into(),
            declaration: source().digest(),
            columns: vec!["age".into(), "side".into()],
            since: Some(1_767_225_600),
            until: None,
        },
        purpose: Purpose::Statistics,
        recipient: Recipient::Age(
            "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p".into(),
        ),
        output: OutputRule {
            kind: OutputKind::Aggregate,
            max_bytes: 1_024,
            minimum_group: 25,
            schema: Some(json!({"type": "object", "required": ["n"]})),
        },
        limits: Limits {
            fuel: 1_000_000_000,
            memory_bytes: 67_108_864,
            seconds: 20,
            bucket_seconds: None,
        },
        payment: Payment {
            token: Address::with_last_byte(0xee),
            price: U256::from(10_000_000),
            bond: U256::from(1_000_000),
            rule: SplitRule::Equal,
            distinct: false,
            contributors_bps: 8_000,
            node_bps: 1_500,
        },
        hand_off: None,
        evidence: Evidence::None,
        max_runs: 2,
        expiry: 1_798_761_600,
    }
}

fn bundle() -> Bundle {
    let files = [
        (
            "main.py",
            "import collective\nfrom words import GREETING\n\n\ndef run(arguments):\n    collective.write(GREETING)\n",
        ),
        ("words.py", "GREETING = \"Grüße\"\n"),
    ];
    let files = files.map(|(path, text)| (path.to_owned(), text.to_owned()));
    Bundle::new(files.into()).expect("a good tree")
}

/// The same manifest for a program of sources.
fn manifest_in(language: Interpreted) -> Manifest {
    Manifest {
        program: language.program(bundle().id(), BlobId(B256::repeat_byte(3)), None),
        ..manifest()
    }
}

/// The same manifest for a query.
fn sql_manifest() -> Manifest {
    Manifest {
        program: Program::Sql {
            sha256: BlobId::of(
                b"SELECT side, count(*) AS n, avg(age) AS age FROM poll GROUP BY side",
            ),
            engine: "datafusion/55.2.0".into(),
            origin: None,
        },
        arguments: String::new(),
        ..manifest()
    }
}

/// The same manifest for a training, on a heavy node.
fn handed_manifest() -> Manifest {
    Manifest {
        program: Program::Training {
            sha256: BlobId::of(b"{\"recipe\":\"logistic\"}"),
            trainer: "collective-heavy/0.1.0".into(),
            origin: None,
        },
        arguments: String::new(),
        purpose: Purpose::Training,
        hand_off: Some(HandOff {
            node: NodeId(B256::repeat_byte(5)),
            keys: KeysHash(B256::repeat_byte(6)),
            seconds: 259_200,
            returns: vec![Return::Deletion, Return::Metrics, Return::Model],
        }),
        ..manifest()
    }
}

/// The same manifest for a program that was built from a folder of a repository.
fn built_manifest() -> Manifest {
    let origin = Origin {
        repository: "https://forge.example/collective/programs.git"
            .parse()
            .expect("an address"),
        commit: "6f1ed002ab5595859014ebf0951522d9f4b3f0aa"
            .parse()
            .expect("an id"),
        path: "mean".parse().expect("a folder"),
        tree: "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
            .parse()
            .expect("an id"),
        source: BlobId(B256::repeat_byte(4)),
        build: "c zig-0.17.1".parse().expect("a recipe"),
    };
    Manifest {
        program: Program::Component {
            sha256: BlobId(B256::repeat_byte(1)),
            origin: Some(origin),
        },
        ..manifest()
    }
}

fn vectors() -> Value {
    let terms = Terms {
        purposes: [Purpose::Statistics, Purpose::Transfer]
            .into_iter()
            .collect(),
        expiry: 1_798_761_600,
    };
    let payload: Vec<u8> = (0..2_500_u32).map(|i| i as u8).collect();
    let commitment = Commitment {
        header: B256::repeat_byte(2),
        payload: payload_root(&payload),
        length: payload.len() as u64,
        source: "poll".into(),
    };
    let ids = (1..=3).map(|n| ContributorId::from_address(Address::with_last_byte(n)));
    let charter = Charter {
        sources: vec![source()],
        admission: Some(AdmissionList::new(ids).expect("three ids")),
        connected: Default::default(),
    };
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("JSON is UTF-8");
    json!({
        "bundle": {"bytes": text(bundle().as_bytes().to_vec()), "sha256": bundle().id()},
        "pythonManifest": {
            "bytes": text(manifest_in(Interpreted::Python).to_bytes()),
            "digest": manifest_in(Interpreted::Python).digest(),
        },
        "javascriptManifest": {
            "bytes": text(manifest_in(Interpreted::Javascript).to_bytes()),
            "digest": manifest_in(Interpreted::Javascript).digest(),
        },
        "sqlManifest": {
            "bytes": text(sql_manifest().to_bytes()),
            "digest": sql_manifest().digest(),
        },
        "handedManifest": {
            "bytes": text(handed_manifest().to_bytes()),
            "digest": handed_manifest().digest(),
        },
        "builtManifest": {
            "bytes": text(built_manifest().to_bytes()),
            "digest": built_manifest().digest(),
        },
        "terms": {"purposes": u8::from(terms.purposes), "expiry": terms.expiry, "digest": terms.digest()},
        "payload": {
            "bytes": "2500 bytes, byte i is i mod 256",
            "root": commitment.payload,
        },
        "commitment": {
            "header": commitment.header,
            "payload": commitment.payload,
            "length": commitment.length,
            "source": commitment.source,
            "digest": commitment.digest(),
        },
        "source": {"digest": source().digest()},
        "charter": {
            "bytes": text(charter.to_bytes()),
            "digest": charter.digest(),
            "admission": charter.admission.as_ref().map(AdmissionList::root),
        },
        "manifest": {
            "bytes": text(manifest().to_bytes()),
            "digest": manifest().digest(),
            "recipient": manifest().recipient.digest(),
        },
    })
}

#[test]
fn the_committed_vectors_are_what_the_code_makes() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../vectors/decisions.json");
    let made = serde_json::to_string_pretty(&vectors()).expect("plain JSON") + "\n";
    if std::env::var_os("WRITE_VECTORS").is_some() {
        std::fs::write(&path, &made).expect("the folder of vectors");
    }
    let kept = std::fs::read_to_string(&path).expect("vectors/decisions.json");
    assert_eq!(
        kept, made,
        "SPEC.md or the code has changed: which of the two is wrong?"
    );
}

#[test]
fn the_vectors_parse_back_to_what_made_them() {
    let vectors = vectors();
    let bytes = vectors["manifest"]["bytes"]
        .as_str()
        .expect("text")
        .as_bytes();
    assert_eq!(Manifest::parse(bytes), Ok(manifest()));
    let mut bucketed = manifest();
    bucketed.limits.bucket_seconds = Some(5);
    assert_eq!(
        bucketed.digest().to_string(),
        "0x4505bdf417398eea6e13963212611f94fabeb900bd691e83930a7c725fc2b1da"
    );
    assert_eq!(Manifest::parse(&bucketed.to_bytes()), Ok(bucketed));
    let mut distinct = manifest();
    distinct.payment.distinct = true;
    assert_eq!(
        distinct.digest().to_string(),
        "0xdbaa41ee4884cf68ac94e8819bb967368eab76a929693d0ab3b0a91dc8f66495"
    );
    assert_eq!(Manifest::parse(&distinct.to_bytes()), Ok(distinct));
    for (name, language) in [
        ("pythonManifest", Interpreted::Python),
        ("javascriptManifest", Interpreted::Javascript),
    ] {
        let bytes = vectors[name]["bytes"].as_str().expect("text").as_bytes();
        assert_eq!(Manifest::parse(bytes), Ok(manifest_in(language)));
    }
    let bytes = vectors["sqlManifest"]["bytes"]
        .as_str()
        .expect("text")
        .as_bytes();
    assert_eq!(Manifest::parse(bytes), Ok(sql_manifest()));
    let bytes = vectors["handedManifest"]["bytes"]
        .as_str()
        .expect("text")
        .as_bytes();
    assert_eq!(Manifest::parse(bytes), Ok(handed_manifest()));
    let bytes = vectors["builtManifest"]["bytes"]
        .as_str()
        .expect("text")
        .as_bytes();
    assert_eq!(Manifest::parse(bytes), Ok(built_manifest()));
    let bytes = vectors["bundle"]["bytes"]
        .as_str()
        .expect("text")
        .as_bytes();
    assert_eq!(Bundle::parse(bytes), Ok(bundle()));
    let bytes = vectors["charter"]["bytes"]
        .as_str()
        .expect("text")
        .as_bytes();
    assert_eq!(
        Charter::parse(bytes).expect("a charter").sources,
        vec![source()]
    );
}
