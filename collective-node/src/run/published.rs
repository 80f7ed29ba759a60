//! What everybody may see of a run (SPEC "Receipt's figures").
//!
//! A program can choose by the records when it ends, how, with how much of everything used and how much written. What is
//! made here of that follows the records in two things only, which members vote on ([`collective::approval::Leak`]): whether
//! there is an output, and at which of the approved moments the end shows.

use std::time::{Duration, Instant};

use bytes::Bytes;
use collective::approval::{Manifest, Recipient, pad};
use collective::receipt::{Outcome, Usage};
use collective::seal;

use super::RunError;
use crate::sandbox::{Failure, Layers, Run};

/// All that is said of a run without output. One sentence: which of these it was, the program could choose by the records.
pub const NO_OUTPUT: &str = "no output: the program failed, what it wrote broke the approved output rule, \
     or it was given fewer readable records than the approved minimum group";

/// What stands around a program's own time: starting a process takes some 10 ms, ending it less. A busy machine gets a
/// hundred times that.
const AROUND: Duration = Duration::from_secs(1);

/// For padding and sealing the longest approved output: a hundred times what it takes.
const FOR_EACH_KIB: Duration = Duration::from_millis(1);

/// For checking it by its schema ([`collective::approval::OutputRule::schema_work`]): eight times what the schema takes that is the
/// slowest of those known.
const FOR_EACH_SCHEMA_WORK: Duration = Duration::from_millis(10);

/// What everybody may see of a run.
pub struct Published {
    /// Whether there is an output.
    pub outcome: Outcome,
    /// The output, padded to the longest that was approved and sealed to the recipient; empty where there is none.
    pub output: Bytes,
    /// What the manifest allows, whatever was used, and the end of the bucket in which the run ended.
    pub usage: Usage,
    /// [`NO_OUTPUT`], where there is none.
    pub failure: Option<&'static str>,
    /// What stood around the program.
    pub layers: Layers,
    /// Places of contributions that earn nothing, as others have the same content; where that is approved. No program has a part in it.
    pub duplicates: Option<Vec<u32>>,
    /// Nothing of the run may show before.
    pub at: Instant,
}

/// Applies the output rule to what the sandbox says of a run that was begun at `started`, and seals what passes.
///
/// # Errors
/// [`RunError`] for what the operator has to mend.
pub fn publish(
    manifest: &Manifest,
    started: Instant,
    result: Result<Run, Failure>,
) -> Result<Published, RunError> {
    let (passed, layers) = match result {
        Ok(run) => {
            let contributors = u32::try_from(run.accepted).unwrap_or(u32::MAX);
            let passes = manifest.output.lets_out(&run.output, contributors);
            (passes.then_some(run.output), run.layers)
        }
        Err(Failure::Program(stop)) => (None, stop.layers),
        Err(Failure::Operator(fault)) => return Err(fault.into()),
    };
    let (outcome, output, failure) = match passed {
        Some(plain) => {
            let padded = pad(&plain, manifest.output.max_bytes);
            let sealed = seal_output(&manifest.recipient, &padded)?;
            (Outcome::Ran, Bytes::from(sealed), None)
        }
        None => (Outcome::Failed, Bytes::new(), Some(NO_OUTPUT)),
    };
    // Last, so that whatever took its time above is hidden, too.
    let bucket = bucket_end(manifest, started.elapsed());
    let usage = Usage {
        fuel: manifest.limits.fuel,
        memory_bytes: manifest.limits.memory_bytes,
        milliseconds: u64::try_from(bucket.as_millis()).unwrap_or(u64::MAX),
    };
    Ok(Published {
        outcome,
        output,
        usage,
        failure,
        layers,
        duplicates: None,
        at: started + around(manifest) + bucket,
    })
}

/// What a run that took `elapsed` is said to have taken: whole buckets, at least one. Its end shows that long after its
/// start, and what is allowed for around the program later. The deadline ends a program in its last bucket.
pub fn bucket_end(manifest: &Manifest, elapsed: Duration) -> Duration {
    let bucket = Duration::from_secs(manifest.limits.bucket().into());
    let own = elapsed.saturating_sub(around(manifest));
    let buckets = own.as_nanos().div_ceil(bucket.as_nanos()).max(1);
    bucket.saturating_mul(u32::try_from(buckets).unwrap_or(u32::MAX))
}

fn around(manifest: &Manifest) -> Duration {
    let times = |count| u32::try_from(count).unwrap_or(u32::MAX);
    let kib = times(manifest.output.max_bytes.div_ceil(1024));
    AROUND + FOR_EACH_KIB * kib + FOR_EACH_SCHEMA_WORK * times(manifest.output.schema_work())
}

/// Seals a padded output to the approved recipient.
fn seal_output(recipient: &Recipient, padded: &[u8]) -> Result<Vec<u8>, RunError> {
    let unusable = |what: String| RunError::Missing(format!("the output's recipient: {what}"));
    match recipient {
        Recipient::Age(text) => {
            let recipient: seal::Recipient = text
                .parse()
                .map_err(|error: seal::KeyStringError| unusable(error.to_string()))?;
            seal::seal(&[recipient], padded, &mut rand::rng())
                .map_err(|error| unusable(error.to_string()))
        }
        Recipient::Node { id, .. } => Err(unusable(format!(
            "node {id}: outputs go to age recipients in this version"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use collective::approval::unpad;
    use collective::limits::MAX_SCHEMA_BYTES;
    use collective::seal::{Identity, x25519};
    use serde_json::{Value, json};
    use zeroize::Zeroizing;

    use super::*;
    use crate::sandbox::{Fault, Rejected, Stop, Trap, Usage as Used};

    /// The manifest of SPEC's vectors, to a recipient whose key the test has.
    fn manifest() -> (Manifest, Identity) {
        let vectors = include_str!("../../../vectors/decisions.json");
        let vectors: serde_json::Value = serde_json::from_str(vectors).expect("JSON");
        let bytes = vectors["manifest"]["bytes"].as_str().expect("a manifest");
        let mut manifest = Manifest::parse(bytes.as_bytes()).expect("a good one");
        let identity = x25519::Identity::random(&mut rand::rng());
        manifest.recipient = Recipient::Age(identity.recipient().to_string());
        manifest.limits.bucket_seconds = Some(5);
        (manifest, Identity::X25519(identity))
    }

    /// A run by so many records that went as it says.
    fn run(output: &[u8], accepted: u64, usage: Used) -> Result<Run, Failure> {
        Ok(Run {
            output: Zeroizing::new(output.to_vec()),
            log: String::new(),
            accepted,
            rejected: Rejected::default(),
            usage,
            layers: Layers::default(),
        })
    }

    fn stop(trap: Trap, usage: Used) -> Result<Run, Failure> {
        Err(Failure::Program(Box::new(Stop {
            trap,
            text: None,
            usage,
            layers: Layers::default(),
        })))
    }

    fn used(fuel: u64) -> Used {
        Used {
            fuel,
            memory_bytes: fuel,
            resident_bytes: Some(fuel),
            wall: Duration::from_millis(fuel),
        }
    }

    #[test]
    fn runs_without_output_are_alike() {
        let (manifest, _) = manifest();
        let started = Instant::now();
        let failures = [
            run(br#"{"n":1}"#, 24, used(1)),
            run(&[b'7'; 1025], 25, used(2)),
            run(b"no JSON", 25, used(3)),
            run(br#"{"m":1}"#, 25, used(4)),
            stop(Trap::OutOfFuel, used(5)),
            stop(Trap::Denied("wasi:cli/exit#exit".into()), used(6)),
            stop(Trap::Crashed { signal: 11 }, used(7)),
            stop(Trap::ReturnedError, used(8)),
        ];
        for failure in failures {
            let published = publish(&manifest, started, failure).expect("the program's fault");
            let usage = Usage {
                fuel: 1_000_000_000,
                memory_bytes: 64 << 20,
                milliseconds: 5_000,
            };
            assert_eq!(
                (published.outcome, published.failure, published.usage),
                (Outcome::Failed, Some(NO_OUTPUT), usage)
            );
            assert!(published.output.is_empty());
            assert_eq!(published.at - started, Duration::from_millis(6_011));
        }
        let fault = Failure::Operator(Fault::InputStalled);
        assert!(publish(&manifest, started, Err(fault)).is_err());
    }

    #[test]
    fn outputs_are_alike_to_all_but_the_recipient() {
        let (mut manifest, identity) = manifest();
        manifest.output.schema = None;
        let identity = std::slice::from_ref(&identity);
        let mut lengths = vec![];
        for (output, fuel) in [(&b""[..], 1), (b"{}", 1 << 40), (&[0x80; 1024], 9)] {
            let ran = run(output, 25, used(fuel));
            let published = publish(&manifest, Instant::now(), ran).expect("an output");
            assert_eq!((published.outcome, published.failure), (Outcome::Ran, None));
            let padded = seal::open(identity, &published.output).expect("the recipient's");
            assert_eq!(unpad(&padded), Ok(output));
            lengths.push((published.output.len(), published.usage));
        }
        assert!(
            lengths.iter().all(|seen| *seen == lengths[0]),
            "{lengths:?}"
        );
    }

    /// An array of as many of these as fit into 64 KiB, with something at its end.
    fn array(element: &str, last: &str) -> Vec<u8> {
        let most = (64 << 10) - last.len() - 2;
        let elements = vec![element; most / (element.len() + 1)].join(",");
        format!("[{elements},{last}]").into_bytes()
    }

    /// As long a schema as there may be, made of as many of these as fit.
    fn schema(part: &Value, around: impl Fn(Vec<Value>) -> Value) -> Value {
        let room = MAX_SCHEMA_BYTES - 256;
        around(vec![part.clone(); room / (part.to_string().len() + 1)])
    }

    #[test]
    fn the_slowest_checks_take_no_longer_than_what_is_allowed_for_them() {
        let (mut manifest, _) = manifest();
        manifest.output.max_bytes = 64 << 10;
        let names = |count| {
            (0..count)
                .map(|name| format!("p{name}"))
                .collect::<Vec<_>>()
        };
        let any: serde_json::Map<_, _> = names(1_400)
            .into_iter()
            .map(|name| (name, json!({})))
            .collect();
        // What passes is looked at to the end: by the last of the alternatives only.
        let alternatives = |mut parts: Vec<Value>| {
            parts.push(json!({}));
            json!({"items": {"anyOf": parts}})
        };
        let all = |parts: Vec<Value>| json!({"items": {"allOf": parts}});
        let one = |mut parts: Vec<Value>| {
            parts.push(json!(1));
            json!({"items": {"enum": parts}})
        };
        let nested = (0..6).fold(json!({"const": 2}), |inner, _| {
            json!({"anyOf": [{"oneOf": [inner, {"type": "null"}]}, {"type": "boolean"}]})
        });
        let (text, object) = ("\"xxxxxxxxxx\"", "{\"p0\":0,\"p1\":0}");
        let long = format!("\"{}\"", "x".repeat(60_000));
        for (what, schema, output) in [
            ("enum", schema(&json!(0), one), array("1", "1")),
            ("enum of kinds", schema(&json!([0]), one), array("1", "1")),
            (
                "const",
                schema(&json!({"const": "x"}), alternatives),
                array("1", "1"),
            ),
            (
                "types",
                schema(&json!({"type": "null"}), alternatives),
                array("1", "1"),
            ),
            (
                "not",
                schema(&json!({"not": {"maximum": 0}}), all),
                array("1", "1"),
            ),
            (
                "length",
                schema(&json!({"maxLength": 9}), alternatives),
                array(text, text),
            ),
            (
                "one long text",
                schema(&json!({"maxLength": 9}), alternatives),
                array("1", &long),
            ),
            (
                "properties",
                json!({"items": {"properties": any}}),
                array(object, "{}"),
            ),
            (
                "required",
                json!({"items": {"anyOf": [{"required": names(1_400)}, {"not": {"required": names(2)}}, {}]}}),
                array(object, "1"),
            ),
            (
                "objects",
                schema(&json!({"const": {"p0": 0, "p1": 1}}), alternatives),
                array(object, "{}"),
            ),
            ("nested", schema(&nested, alternatives), array("1", "2")),
            ("nothing", schema(&json!({}), all), array("1", "1")),
        ] {
            manifest.output.schema = Some(schema);
            Manifest::parse(&manifest.to_bytes()).unwrap_or_else(|error| panic!("{what}: {error}"));
            let began = Instant::now();
            assert!(manifest.output.lets_out(&output, 100), "{what}");
            let took = began.elapsed();
            let allowed = FOR_EACH_SCHEMA_WORK
                * u32::try_from(manifest.output.schema_work()).expect("little");
            println!("{what}: {took:?} of {allowed:?}");
            assert!(took < allowed, "{what}: {took:?}");
        }
    }

    #[test]
    fn a_run_ends_in_whole_buckets() {
        let (mut manifest, _) = manifest();
        let end = |manifest: &Manifest, elapsed| {
            bucket_end(manifest, Duration::from_millis(elapsed)).as_secs()
        };
        for (elapsed, seconds) in [(0, 5), (6_011, 5), (6_012, 10), (21_011, 20), (21_012, 25)] {
            assert_eq!(end(&manifest, elapsed), seconds, "after {elapsed} ms");
        }
        manifest.output.schema = None;
        for (elapsed, seconds) in [(6_001, 5), (6_002, 10)] {
            assert_eq!(end(&manifest, elapsed), seconds, "after {elapsed} ms");
        }
        manifest.limits.bucket_seconds = None;
        for (elapsed, seconds) in [(0, 20), (21_001, 20), (21_002, 40)] {
            assert_eq!(end(&manifest, elapsed), seconds, "after {elapsed} ms");
        }
    }
}
