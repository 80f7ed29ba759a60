//! What a contributor's own machine does: seal a record, sign the leaf, sign a revocation.
//!
//! The plaintext and the keys stay here; what leaves is an upload.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use alloy::primitives::{Address, B256, U256, aliases::U248};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::{Eip712Domain, SolStruct, eip712_domain};
use collective::contribution::{
    Commitment, Contribution, PayloadOutline, PayloadTree, Place, SignedContribution, SignedPlace,
};
use collective::id::{ContributorId, Point};
use collective::limits::MAX_HEADER_BYTES;
use collective::seal::SealError;
use collective::seal::contribution::{self, ContributionError, ContributionHeader};
use collective::seal::header::{FileKey, Header};
use collective::seal::payload::{CHUNK, Encryptor, random_nonce};
use collective::seal::tagged::TaggedRecipient;
use collective::terms::Terms;
use rand::CryptoRng;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::chain::Deployment;
use crate::http::{
    RecoveryChange, RelayedRecovery, RelayedRevocation, SignedNonces, SignedWatermark, SignedWord,
};
use crate::intake::sender_context;

/// Why a contribution could not be made.
#[derive(Debug, Error)]
pub enum PrepareError {
    /// It could not be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The sealed file, made here or by another client, is none that the collective takes.
    #[error(transparent)]
    File(#[from] ContributionError),
    /// What is to be sealed, or the sealed file.
    #[error("sealing a file: {0}")]
    Disk(#[from] io::Error),
}

/// To whom and for what somebody contributes.
pub struct Destination<'a> {
    /// Where the collective lives.
    pub deployment: &'a Deployment,
    /// The collective's key.
    pub recipient: &'a TaggedRecipient,
    /// Name of the record's source.
    pub source: &'a str,
    /// What the contributor allows.
    pub terms: Terms,
}

/// Seals a record with a sender proof and signs its leaf.
///
/// # Errors
/// [`PrepareError`].
pub fn prepare(
    to: &Destination<'_>,
    account: &PrivateKeySigner,
    nonce: u64,
    record: &[u8],
    rng: &mut impl CryptoRng,
) -> Result<(SignedContribution, Vec<u8>), PrepareError> {
    let mut file = Vec::new();
    let entry = prepare_into(to, account, nonce, record, &mut file, rng)?;
    Ok((entry, file))
}

/// The same for what does not fit into memory: seals what `record` reads into `file`, in one pass.
///
/// # Errors
/// [`PrepareError`].
pub fn prepare_into(
    to: &Destination<'_>,
    account: &PrivateKeySigner,
    nonce: u64,
    mut record: impl Read,
    mut file: impl Write,
    rng: &mut impl CryptoRng,
) -> Result<SignedContribution, PrepareError> {
    let contributor = ContributorId::from_address(account.address());
    let context = sender_context(to.deployment, contributor, nonce);
    let file_key = FileKey::random(rng);
    let stanzas = contribution::wrap(to.recipient, &context, &file_key, rng).to_vec();
    let header = Header::new(stanzas, &file_key).map_err(SealError::from)?;
    file.write_all(header.as_bytes())?;
    let payload = Hashed {
        to: file,
        tree: PayloadTree::new(),
    };
    let mut payload = Encryptor::new(&file_key, random_nonce(rng), payload)?;
    let mut chunk = Zeroizing::new(vec![0; CHUNK]);
    loop {
        match record.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => payload.write_all(&chunk[..read])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    let tree = payload.finish()?.tree;
    let (header, _) = contribution::parse(header.as_bytes(), to.recipient, &context)?;
    Ok(opened(to, account, nonce, &header, tree))
}

/// Passes on what it is given, and notes its tree.
struct Hashed<W> {
    to: W,
    tree: PayloadTree,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.tree.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Signs the leaf of a file that is sealed already, by this or by any other age client.
///
/// # Errors
/// [`PrepareError::File`] where the file is none for this collective.
pub fn sign(
    to: &Destination<'_>,
    account: &PrivateKeySigner,
    nonce: u64,
    mut file: impl Read,
) -> Result<SignedContribution, PrepareError> {
    let contributor = ContributorId::from_address(account.address());
    let context = sender_context(to.deployment, contributor, nonce);
    let mut head = Vec::new();
    let most = MAX_HEADER_BYTES as u64;
    file.by_ref().take(most).read_to_end(&mut head)?;
    let (header, payload) = contribution::parse(&head, to.recipient, &context)?;
    let mut tree = PayloadTree::new();
    tree.update(payload);
    let mut payload = Hashed {
        to: io::sink(),
        tree,
    };
    io::copy(&mut file, &mut payload)?;
    Ok(opened(to, account, nonce, &header, payload.tree))
}

/// The signed leaf of a file of this header and payload.
fn opened(
    to: &Destination<'_>,
    account: &PrivateKeySigner,
    nonce: u64,
    header: &ContributionHeader,
    payload: PayloadTree,
) -> SignedContribution {
    let (payload, length) = payload.finish();
    let commitment = Commitment {
        header: B256::from(header.sha256()),
        payload,
        length,
        source: to.source.to_owned(),
    };
    let contribution = Contribution {
        collective: to.deployment.collective,
        contributor: ContributorId::from_address(account.address()),
        point: Point(B256::from(header.point_id())),
        commitment: commitment.digest(),
        terms: to.terms.digest(),
        nonce,
    };
    signed(to.deployment, account, contribution, commitment, to.terms)
}

/// Puts a signature under a leaf.
pub fn signed(
    deployment: &Deployment,
    account: &PrivateKeySigner,
    contribution: Contribution,
    commitment: Commitment,
    terms: Terms,
) -> SignedContribution {
    let hash = contribution.signing_hash(&deployment.registry());
    let signature = account
        .sign_hash_sync(&hash)
        .expect("a local key signs any digest");
    SignedContribution {
        contribution,
        commitment,
        terms,
        signature,
    }
}

/// The sealed file's header and what follows it.
pub fn split_file(file: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_, payload) = Header::parse(file).ok()?;
    Some(file.split_at(file.len() - payload.len()))
}

/// The header of a sealed file, of which no more is read than a header can have; `None` where it begins with none.
///
/// # Errors
/// [`io::Error`].
pub fn read_header(file: impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    file.take(MAX_HEADER_BYTES as u64).read_to_end(&mut head)?;
    Ok(split_file(&head).map(|(header, _)| header.to_vec()))
}

/// The outline of a sealed file's payload; `None` where the file begins with no header. It is read piece by piece.
///
/// # Errors
/// [`io::Error`].
pub fn outline(mut file: impl Read) -> io::Result<Option<PayloadOutline>> {
    let mut head = Vec::new();
    let most = MAX_HEADER_BYTES as u64;
    file.by_ref().take(most).read_to_end(&mut head)?;
    let Some((_, payload)) = split_file(&head) else {
        return Ok(None);
    };
    let mut tree = PayloadTree::new();
    tree.update(payload);
    let to = io::sink();
    let mut payload = Hashed { to, tree };
    io::copy(&mut file, &mut payload)?;
    Ok(Some(payload.tree.outline()))
}

/// Signs where the file of a contribution is; of two places the one with the higher number holds.
pub fn place(deployment: &Deployment, account: &PrivateKeySigner, place: Place) -> SignedPlace {
    let hash = place.signing_hash(&deployment.registry());
    let signature = account
        .sign_hash_sync(&hash)
        .expect("a local key signs any digest");
    SignedPlace { place, signature }
}

/// Which of an account's nonces are taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nonces {
    /// Some, by the bits of their words: nonce `256 * word + bit`.
    Words(BTreeMap<u64, U256>),
    /// All below this one.
    Below(U256),
}

impl FromIterator<u64> for Nonces {
    fn from_iter<I: IntoIterator<Item = u64>>(nonces: I) -> Self {
        let mut words = BTreeMap::<u64, U256>::new();
        for nonce in nonces {
            *words.entry(nonce >> 8).or_default() |= U256::from(1) << (nonce & 0xff);
        }
        Self::Words(words)
    }
}

/// Signs a revocation of what the account itself contributed, each word for itself; `deadline` in Unix seconds.
pub fn revocation(
    deployment: &Deployment,
    account: &PrivateKeySigner,
    nonces: &Nonces,
    deadline: u64,
) -> RelayedRevocation {
    revocation_of(deployment, account, account.address(), nonces, deadline)
}

/// The same of what `contributor` contributed, by the key that took it over.
pub fn revocation_of(
    deployment: &Deployment,
    account: &PrivateKeySigner,
    contributor: Address,
    nonces: &Nonces,
    deadline: u64,
) -> RelayedRevocation {
    let sign = |hash: B256| {
        let signature = account.sign_hash_sync(&hash);
        let signature = signature.expect("a local key signs any digest");
        signature.as_bytes().into()
    };
    let word = |(&word, &mask): (&u64, &U256)| {
        let signature = sign(revoke_hash(deployment, contributor, word, mask, deadline));
        SignedWord {
            word,
            mask,
            signature,
        }
    };
    let revoked = match nonces {
        Nonces::Words(words) => SignedNonces::Words(words.iter().map(word).collect()),
        Nonces::Below(watermark) => {
            let hash = revoke_all_hash(deployment, contributor, *watermark, deadline);
            SignedNonces::Below(SignedWatermark {
                watermark: *watermark,
                signature: sign(hash),
            })
        }
    };
    RelayedRevocation {
        contributor,
        deadline,
        revoked,
    }
}

/// What is signed to take back the nonces of one word (EIP-712).
pub fn revoke_hash(
    deployment: &Deployment,
    contributor: Address,
    word: u64,
    mask: U256,
    deadline: u64,
) -> B256 {
    let typed = typed::Revoke {
        contributorId: contributor.into_word(),
        word: U248::from(word),
        mask,
        deadline: U256::from(deadline),
    };
    typed.eip712_signing_hash(&domain(deployment))
}

/// What is signed to take back all nonces below one (EIP-712).
pub fn revoke_all_hash(
    deployment: &Deployment,
    contributor: Address,
    watermark: U256,
    deadline: u64,
) -> B256 {
    let typed = typed::RevokeAll {
        contributorId: contributor.into_word(),
        watermark,
        deadline: U256::from(deadline),
    };
    typed.eip712_signing_hash(&domain(deployment))
}

/// Signs a change of a recovery, for the id's present `sequence`; `deadline` in Unix seconds. The controller's key names, the recovery
/// key starts.
pub fn recovery(
    deployment: &Deployment,
    account: &PrivateKeySigner,
    contributor: Address,
    step: RecoveryStep,
    sequence: u32,
    deadline: u64,
) -> RelayedRecovery {
    let sign = |hash: B256| {
        let signature = account.sign_hash_sync(&hash);
        let signature = signature.expect("a local key signs any digest");
        signature.as_bytes().into()
    };
    let change = match step {
        RecoveryStep::Name(recovery) => {
            let hash = name_recovery_hash(deployment, contributor, recovery, sequence, deadline);
            let signature = sign(hash);
            RecoveryChange::Name {
                recovery,
                signature,
            }
        }
        RecoveryStep::Start(next) => {
            let hash = start_recovery_hash(deployment, contributor, next, sequence, deadline);
            let signature = sign(hash);
            RecoveryChange::Start { next, signature }
        }
    };
    RelayedRecovery {
        contributor,
        sequence,
        deadline,
        change,
    }
}

/// What is signed of a recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecoveryStep {
    /// The controller names this key, zero for none.
    Name(Address),
    /// The recovery key starts a recovery to this one.
    Start(Address),
}

impl RecoveryStep {
    /// What it means.
    pub fn note(&self) -> &'static str {
        match self {
            Self::Name(key) if key.is_zero() => {
                "No key can start a recovery now. One that was under way is ended."
            }
            Self::Name(_) => {
                "This key alone can start a recovery from now on. One that was under way is ended."
            }
            Self::Start(_) => {
                "The contributor's key can veto it for 30 days, and until it is finished; then anybody can finish it."
            }
        }
    }
}

/// What the controller signs to name a recovery key (EIP-712).
pub fn name_recovery_hash(
    deployment: &Deployment,
    contributor: Address,
    recovery: Address,
    sequence: u32,
    deadline: u64,
) -> B256 {
    let typed = typed::NameRecovery {
        contributorId: contributor.into_word(),
        recovery,
        sequence,
        deadline: U256::from(deadline),
    };
    typed.eip712_signing_hash(&domain(deployment))
}

/// What the recovery key signs to start a recovery (EIP-712).
pub fn start_recovery_hash(
    deployment: &Deployment,
    contributor: Address,
    next: Address,
    sequence: u32,
    deadline: u64,
) -> B256 {
    let typed = typed::StartRecovery {
        contributorId: contributor.into_word(),
        next,
        sequence,
        deadline: U256::from(deadline),
    };
    typed.eip712_signing_hash(&domain(deployment))
}

fn domain(deployment: &Deployment) -> Eip712Domain {
    eip712_domain! {
        name: "ContributionRegistry",
        version: "1",
        chain_id: deployment.chain_id,
        verifying_contract: deployment.contributions,
    }
}

mod typed {
    alloy::sol! {
        struct Revoke { bytes32 contributorId; uint248 word; uint256 mask; uint256 deadline; }
        struct RevokeAll { bytes32 contributorId; uint256 watermark; uint256 deadline; }
        struct NameRecovery { bytes32 contributorId; address recovery; uint32 sequence; uint256 deadline; }
        struct StartRecovery { bytes32 contributorId; address next; uint32 sequence; uint256 deadline; }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::primitives::{address, b256};

    #[test]
    fn what_is_signed_of_a_recovery_is_what_the_contract_asks_for() {
        let deployment = Deployment {
            chain_id: 31_337,
            contributions: address!("000000000000000000000000000000000000c0de"),
            collective: Address::ZERO,
            governor: Address::ZERO,
            membership: Address::ZERO,
            code: Address::ZERO,
            nodes: Address::ZERO,
            escrow: Address::ZERO,
            rewards: Address::ZERO,
            liveness: Address::ZERO,
            token: Address::ZERO,
            first_block: 0,
        };
        let contributor = address!("7E5F4552091A69125d5DfCb7b8C2659029395Bdf");
        let next = Address::with_last_byte(0xdd);
        let until = 4_102_444_800;
        // By eth-account, as in contracts/test/Vectors.t.sol.
        assert_eq!(
            name_recovery_hash(&deployment, contributor, contributor, 0, until),
            b256!("cb0a57d0e056f7af2ec8674694357c5076ebdd756cd5726d21d4e7cdfbbcfcd8")
        );
        assert_eq!(
            start_recovery_hash(&deployment, contributor, next, 1, until),
            b256!("915dd840de99db4597851b28b3a2e5f501801217affba0ba0f4358e18b2b50bf")
        );
    }
}
