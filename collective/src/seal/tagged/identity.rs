//! The secret side of a tagged recipient, as one holder has it.

use ml_kem::{B32, Decapsulate, DecapsulationKey768};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::{ML_KEM_CIPHERTEXT_LEN, TaggedRecipient, TaggedStanza, check_length};
use crate::seal::curve::{Point, SecretScalar};
use crate::seal::header::{FileKey, Stanza, StanzaError};
use crate::seal::hpke::MlKemSecret;
use crate::seal::symmetric::Secret32;
use crate::seal::{KeyStringError, bech32_string};

/// Length of an ML-KEM seed, d ‖ z of FIPS 203.
pub const ML_KEM_SEED_LEN: usize = 64;

pub(in crate::seal) const IDENTITY_HRP: &str = "collective-secret-key-";
const IDENTITY_LEN: usize = 32 + ML_KEM_SEED_LEN;

/// The whole secret of a tagged recipient: what a trusted node, a committee of one, keeps. Has no Debug.
pub struct TaggedIdentity {
    scalar: SecretScalar,
    point: Point,
    ml_kem: MlKemKey,
}

impl TaggedIdentity {
    /// A new identity.
    pub fn random<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let scalar = SecretScalar::random(rng);
        let mut seed = Zeroizing::new([0; ML_KEM_SEED_LEN]);
        rng.fill_bytes(seed.as_mut_slice());
        Self::new(scalar, MlKemKey::from_seed(&seed))
    }

    /// An identity of these two halves.
    pub fn new(scalar: SecretScalar, ml_kem: MlKemKey) -> Self {
        let point = scalar.public();
        Self {
            scalar,
            point,
            ml_kem,
        }
    }

    /// The hybrid recipient; [`TaggedRecipient::classical`] gives the other string.
    pub fn recipient(&self) -> TaggedRecipient {
        self.ml_kem.recipient(self.point.clone())
    }

    /// `COLLECTIVE-SECRET-KEY-1…`: Bech32 in capitals over scalar ‖ ML-KEM seed.
    pub fn to_secret_string(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(IDENTITY_LEN));
        bytes.extend_from_slice(self.scalar.to_bytes().as_slice());
        bytes.extend_from_slice(self.ml_kem.seed.as_slice());
        let mut text = Zeroizing::new(bech32_string::encode(IDENTITY_HRP, &bytes));
        text.make_ascii_uppercase();
        text
    }

    /// The halves, for handing them to a committee.
    pub fn into_parts(self) -> (SecretScalar, MlKemKey) {
        (self.scalar, self.ml_kem)
    }

    pub(in crate::seal) fn from_bytes(bytes: &[u8]) -> Result<Self, KeyStringError> {
        check_length(bytes, IDENTITY_LEN)?;
        let (scalar, seed) = bytes.split_first_chunk().expect("the length was checked");
        let scalar = SecretScalar::from_bytes(scalar)?;
        let seed = Zeroizing::new(seed.try_into().expect("the length was checked"));
        Ok(Self::new(scalar, MlKemKey::from_seed(&seed)))
    }

    pub(in crate::seal) fn unwrap(&self, stanza: &Stanza) -> Result<Option<FileKey>, StanzaError> {
        let Some(stanza) = TaggedStanza::parse(stanza)? else {
            return Ok(None);
        };
        if !stanza.is_for(&self.point) {
            return Ok(None);
        }
        let dh = self.scalar.diffie_hellman(stanza.point());
        let ml_kem = self.ml_kem.secret_for(&stanza);
        stanza.open(&self.point, &dh, ml_kem.as_ref()).map(Some)
    }
}

/// The ML-KEM-768 half of a secret. Every holder of a committee has all of it. Has no Debug.
pub struct MlKemKey {
    /// On the heap, so that moving the key leaves no copy behind.
    seed: Box<Zeroizing<[u8; ML_KEM_SEED_LEN]>>,
    key: Box<DecapsulationKey768>,
}

impl MlKemKey {
    /// The key that FIPS 203 derives from d ‖ z.
    pub fn from_seed(seed: &[u8; ML_KEM_SEED_LEN]) -> Self {
        let key = Box::new(DecapsulationKey768::from_seed((*seed).into()));
        Self {
            seed: Box::new(Zeroizing::new(*seed)),
            key,
        }
    }

    /// d ‖ z.
    pub fn seed(&self) -> &Zeroizing<[u8; ML_KEM_SEED_LEN]> {
        &self.seed
    }

    /// The hybrid recipient that this key and the P-256 key `point` make.
    pub fn recipient(&self, point: Point) -> TaggedRecipient {
        let ml_kem = Some(Box::new(self.key.encapsulation_key().clone()));
        TaggedRecipient { point, ml_kem }
    }

    /// A secret for this key, from 32 coins (FIPS 203, ML-KEM.Encaps_internal): who has them has the secret.
    pub(crate) fn encapsulate(
        &self,
        coins: &Secret32,
    ) -> ([u8; ML_KEM_CIPHERTEXT_LEN], MlKemSecret) {
        let key = self.key.encapsulation_key();
        let (ciphertext, secret) = key.encapsulate_deterministic(&B32::from(**coins));
        (ciphertext.into(), MlKemSecret::from_bytes(secret.into()))
    }

    /// The secret in a ciphertext; one that opens nothing where it was made for another key.
    pub(crate) fn decapsulate(&self, ciphertext: &[u8; ML_KEM_CIPHERTEXT_LEN]) -> MlKemSecret {
        MlKemSecret::from_bytes(self.key.decapsulate(&(*ciphertext).into()).into())
    }

    /// ss_pq of this stanza; `None` where the stanza is not hybrid. Decapsulation cannot fail: a wrong ciphertext gives
    /// a secret that opens nothing (implicit rejection).
    pub fn secret_for(&self, stanza: &TaggedStanza) -> Option<MlKemSecret> {
        let ciphertext = stanza.ml_kem_ciphertext()?;
        Some(self.decapsulate(ciphertext))
    }
}
