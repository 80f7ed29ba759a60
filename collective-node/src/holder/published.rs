//! What a holder shows everybody of its log: lines as they are, under the head that it signs. An auditor puts the pages
//! together and checks them; nothing here is secret.

use alloy::primitives::{B256, Bytes};
use collective::committee::log::{LogHead, LogLine};
use serde::{Deserialize, Serialize};

use super::Holder;

/// Lines in one page: 4 MiB at most, and a log of some years in a handful of questions.
pub const MAX_PAGE_LINES: usize = 1_000;

/// A part of a log, and where the whole stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogPage {
    /// Head of the whole log when the page was given.
    pub head: LogHead,
    /// EIP-712 signature under the head, by the holder's signer: r, s, v.
    pub signature: Bytes,
    /// The lines that follow the one asked for, at most [`MAX_PAGE_LINES`].
    pub lines: Vec<LogLine>,
}

/// The part of a question that says where a page begins.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct After {
    /// Index of the last line that is known already; 0 for none.
    #[serde(default)]
    pub after: u64,
}

impl Holder {
    /// Lines of its log after the one with this index, under its signed head.
    pub async fn log_page(&self, after: u64) -> LogPage {
        let (head, lines) = self
            .log
            .read(|log| {
                let from = usize::try_from(after).unwrap_or(usize::MAX);
                let lines = log.lines().iter().skip(from).take(MAX_PAGE_LINES);
                (log.head(), lines.cloned().collect())
            })
            .await;
        let signature = self.keys.sign(self.log_digest(&head));
        LogPage {
            head,
            signature: Bytes::copy_from_slice(&signature.as_bytes()),
            lines,
        }
    }

    fn log_digest(&self, head: &LogHead) -> B256 {
        head.signing_hash(&self.chain.deployment().job_escrow())
    }
}
