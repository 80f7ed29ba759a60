//! A lie that a test has a key holder tell: its partial decryptions are wrong.
//!
//! Always compiled in, so that what is tested is what is shipped; no configuration reaches it, only the environment, and
//! whoever can set a holder's environment can put another binary in its place anyway. What a liar sends are the partials
//! of the same files to the same node, in another order: nothing leaves that would not have left.

use std::sync::OnceLock;

use alloy::primitives::Signature;
use collective::committee::KeyShare;
use collective::committee::answer::{AnswerError, Statement};
use collective::committee::log::LogHead;
use collective::committee::question::Question;
use collective::committee::released::ReleasedFiles;
use collective::id::sha256;
use collective::seal::{self, Recipient};
use zeroize::Zeroizing;

/// Environment variable that names the lie.
pub const VARIABLE: &str = "COLLECTIVE_LIE";

/// The one lie there is.
pub const PARTIALS: &str = "partials";

/// Whether this process lies about its partials.
pub fn is_told() -> bool {
    static TOLD: OnceLock<bool> = OnceLock::new();
    *TOLD.get_or_init(|| std::env::var(VARIABLE).is_ok_and(|lie| lie == PARTIALS))
}

/// What [`KeyShare::answer`] makes and signs (SPEC "Partials on the wire"), but every file has its neighbour's partial.
///
/// # Errors
/// [`AnswerError`], where an honest member gives nothing either.
pub fn answer(
    share: &KeyShare,
    question: &Question,
    files: &ReleasedFiles,
    log: LogHead,
    sign: impl FnOnce(&Statement) -> Signature,
) -> Result<Vec<u8>, AnswerError> {
    let page = files.page(question.page()).ok_or(AnswerError::NoSuchPage)?;
    let mut given = Vec::with_capacity(page.len());
    for header in page {
        given.push(share.release(question.quorum(), header)?);
    }
    let member = share.member().number().to_be_bytes();
    let mut plain = Zeroizing::new(question.digest().to_vec());
    plain.extend_from_slice(&member);
    for (place, release) in given.iter().enumerate() {
        let neighbour = &given[(place + 1) % given.len()];
        plain.extend_from_slice(neighbour.partial.point().uncompressed());
        if let Some(secret) = &release.ml_kem {
            plain.extend_from_slice(secret.expose());
        }
    }
    let grantee = Recipient::Tagged(files.grantee().clone());
    let sealed = seal::seal(&[grantee], &plain, &mut rand::rng()).expect("one recipient");
    let statement = Statement {
        question: question.digest(),
        member: share.member(),
        ciphertext: sha256(&sealed),
        log,
    };
    let mut out = vec![1, 3];
    out.extend_from_slice(question.digest().as_slice());
    out.extend_from_slice(&member);
    out.extend_from_slice(&log.index.to_be_bytes());
    out.extend_from_slice(log.hash.as_slice());
    out.extend_from_slice(&sign(&statement).as_bytes());
    out.extend_from_slice(&sealed);
    Ok(out)
}
