//! What a receipt says of a run's output and of its use of the machine.

use collective::approval::Manifest;
use collective::id::BlobId;
use collective::receipt::{Outcome, Receipt};
use collective::seal::header::Header;
use collective::seal::payload::opened_len;

use super::VerifyError;
use crate::blobs::Blobs;

/// Checks that the output is the one receipted, as long as every other of its manifest.
pub(super) async fn check(
    blobs: &Blobs,
    manifest: &Manifest,
    receipt: &Receipt,
    note: &mut impl FnMut(&str, bool, String),
) -> Result<(), VerifyError> {
    match receipt.outcome {
        Outcome::Ran => {
            let output = blobs.get(receipt.output).await?;
            let bytes = output.len() as u64;
            note(
                "the sealed output is the one receipted",
                bytes == receipt.output_bytes,
                format!("{} of {bytes} bytes", receipt.output),
            );
            let inside = Header::parse(&output)
                .ok()
                .and_then(|(_, body)| opened_len(body).ok());
            let padded = manifest.output.max_bytes + 1;
            note(
                "its length is that of every output of this manifest",
                inside.is_some_and(|inside| inside as u64 == padded),
                format!("{padded} bytes inside"),
            );
        }
        Outcome::Failed => note(
            "the program failed and sent nothing",
            receipt.output == BlobId::of(&[]) && receipt.output_bytes == 0,
            String::new(),
        ),
    }
    Ok(())
}

/// What a receipt says of a run's use of the machine must not follow the run.
pub(super) fn check_figures(
    manifest: &Manifest,
    receipt: &Receipt,
    note: &mut impl FnMut(&str, bool, String),
) {
    let (limits, usage) = (&manifest.limits, &receipt.usage);
    let bucket = 1_000 * u64::from(limits.bucket());
    note(
        "its figures are the approved limits and whole buckets of time",
        (usage.fuel, usage.memory_bytes) == (limits.fuel, limits.memory_bytes)
            && usage.milliseconds > 0
            && usage.milliseconds.is_multiple_of(bucket),
        format!("{} ms in buckets of {bucket} ms", usage.milliseconds),
    );
}

#[cfg(test)]
mod tests {
    use alloy::primitives::B256;
    use collective::receipt::Usage;
    use collective::seal;

    use super::*;

    /// The manifest of SPEC's vectors, and a receipt of its run that is right.
    fn told() -> (Manifest, Receipt) {
        let vectors = include_str!("../../../vectors/decisions.json");
        let vectors: serde_json::Value = serde_json::from_str(vectors).expect("JSON");
        let bytes = vectors["manifest"]["bytes"].as_str().expect("a manifest");
        let manifest = Manifest::parse(bytes.as_bytes()).expect("a good one");
        let receipt = Receipt {
            job: 1,
            attempt: 1,
            manifest: manifest.digest(),
            allow_hash: B256::ZERO,
            deny_hash: B256::ZERO,
            input_root: B256::ZERO,
            input_count: 25,
            outcome: Outcome::Ran,
            output: BlobId(B256::ZERO),
            output_bytes: 0,
            usage: Usage {
                fuel: 1_000_000_000,
                memory_bytes: 64 << 20,
                milliseconds: 20_000,
            },
            sandbox: B256::ZERO,
            evidence: B256::ZERO,
            lag: 0,
            quorum: BlobId(B256::ZERO),
        };
        (manifest, receipt)
    }

    #[test]
    fn figures_that_follow_the_run_are_found() {
        let (mut manifest, receipt) = told();
        manifest.limits.bucket_seconds = Some(5);
        let holds = |change: fn(&mut Usage)| {
            let mut receipt = receipt.clone();
            change(&mut receipt.usage);
            let mut holds = None;
            check_figures(&manifest, &receipt, &mut |_, found, _| holds = Some(found));
            holds.expect("a finding")
        };
        assert!(holds(|_| ()));
        assert!(holds(|usage| usage.milliseconds = 5_000));
        assert!(!holds(|usage| usage.milliseconds = 5_001));
        assert!(!holds(|usage| usage.milliseconds = 0));
        assert!(!holds(|usage| usage.fuel -= 1));
        assert!(!holds(|usage| usage.memory_bytes -= 65_536));
    }

    #[tokio::test]
    async fn an_output_of_its_own_length_is_found() {
        let (manifest, mut receipt) = told();
        let folder = tempfile::tempdir().expect("a folder");
        let blobs = Blobs::folder(folder.path()).expect("a store");
        let recipient: seal::Recipient =
            "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
                .parse()
                .expect("a recipient");
        for (length, right) in [(1_025, true), (1_024, false), (1_026, false), (9, false)] {
            let recipients = std::slice::from_ref(&recipient);
            let sealed = seal::seal(recipients, &vec![0; length], &mut rand::rng());
            let sealed = sealed.expect("sealed");
            receipt.output_bytes = sealed.len() as u64;
            receipt.output = blobs.put(sealed.into()).await.expect("kept");
            let mut all = true;
            let note = &mut |_: &str, holds, _| all &= holds;
            check(&blobs, &manifest, &receipt, note)
                .await
                .expect("findings");
            assert_eq!(all, right, "{length} bytes inside");
        }
    }
}
