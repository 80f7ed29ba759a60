//! `age1collective1…`: where one contribution goes and who makes it, as one string that other age clients take for a
//! recipient and hand to `age-plugin-collective` (C2SP age-plugin).
//!
//! This module must not know how a plugin talks to its client.

use std::fmt;
use std::str::FromStr;

use super::proof::{CONTEXT_LEN, SenderContext};
use super::tagged::TaggedRecipient;
use super::{KeyStringError, bech32_string};

const RECIPIENT_HRP: &str = "age1collective";
const VERSION: u8 = 1;
const CLASSICAL: u8 = 1;
const HYBRID: u8 = 2;

/// The recipient of one contribution: the collective's key and what the sender proof is bound to. Nothing in it is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContributionRecipient {
    /// Who contributes to which collective, and under which nonce.
    pub context: SenderContext,
    /// The collective's key.
    pub recipient: TaggedRecipient,
}

impl fmt::Display for ContributionRecipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.recipient.is_post_quantum() {
            HYBRID
        } else {
            CLASSICAL
        };
        let context = self.context.to_bytes();
        let key = self.recipient.to_bytes();
        let bytes = [&[VERSION], context.as_slice(), &[kind], &key].concat();
        f.write_str(&bech32_string::encode(RECIPIENT_HRP, &bytes))
    }
}

impl FromStr for ContributionRecipient {
    type Err = RecipientError;

    fn from_str(text: &str) -> Result<Self, RecipientError> {
        let (hrp, bytes) = bech32_string::decode(text)?;
        if hrp != RECIPIENT_HRP {
            return Err(KeyStringError::UnknownKind(hrp).into());
        }
        let (&version, rest) = bytes.split_first().ok_or(RecipientError::Cut)?;
        if version != VERSION {
            return Err(RecipientError::Version(version));
        }
        let (context, rest) = rest
            .split_first_chunk::<CONTEXT_LEN>()
            .ok_or(RecipientError::Cut)?;
        let (&kind, key) = rest.split_first().ok_or(RecipientError::Cut)?;
        let recipient = match kind {
            CLASSICAL => TaggedRecipient::from_classical_bytes(key)?,
            HYBRID => TaggedRecipient::from_hybrid_bytes(key)?,
            _ => return Err(RecipientError::Kind(kind)),
        };
        Ok(Self {
            context: SenderContext::from_bytes(context),
            recipient,
        })
    }
}

/// Why a string names no contribution.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecipientError {
    /// Not Bech32, of another prefix, or with an invalid key.
    #[error(transparent)]
    Key(#[from] KeyStringError),
    /// It ends before the key begins.
    #[error("the recipient ends too early")]
    Cut,
    /// Another layout than version 1.
    #[error("recipient of unknown version {0}")]
    Version(u8),
    /// Neither a classical nor a hybrid key.
    #[error("recipient with a key of unknown kind {0}")]
    Kind(u8),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::curve::SecretScalar;
    use crate::seal::tagged::{MlKemKey, TaggedIdentity};

    /// A contribution with a different byte in each part.
    fn example() -> ContributionRecipient {
        let mut scalar = [0; 32];
        scalar[31] = 7;
        let scalar = SecretScalar::from_bytes(&scalar).expect("7 is a scalar");
        ContributionRecipient {
            context: SenderContext {
                chain_id: 31337,
                registry: [0x11; 20],
                collective: [0x22; 20],
                contributor: [0x33; 32],
                nonce: [0x44; 32],
            },
            recipient: TaggedIdentity::new(scalar, MlKemKey::from_seed(&[0x55; 64])).recipient(),
        }
    }

    fn classical() -> ContributionRecipient {
        let mut made = example();
        made.recipient = made.recipient.classical();
        made
    }

    /// The vector of SPEC.
    const VECTOR: &str = "age1collective1qyqqqqqqqqq856g3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyfzyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3nxvenxvenxvenxvenxvenxvenxvenxvenxvenxvenxvenxvenxdzyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygqgz3efnkmaqhaa5vfdmxpn8cq0mvpl0n79c4q877kesqc58qvv8k23s7xypjp";

    #[test]
    fn the_vector_is_read_and_written() {
        assert_eq!(classical().to_string(), VECTOR);
        assert_eq!(VECTOR.parse(), Ok(classical()));
        assert_eq!(VECTOR.to_uppercase().parse(), Ok(classical()));
    }

    #[test]
    fn a_hybrid_key_comes_back() {
        let text = example().to_string();
        assert_eq!(text.parse(), Ok(example()));
        let (_, bytes) = bech32_string::decode(&text).expect("Bech32");
        assert_eq!(bytes.len(), 1 + 112 + 1 + 1184 + 65);
    }

    #[test]
    fn every_other_string_is_refused() {
        let (_, bytes) = bech32_string::decode(VECTOR).expect("Bech32");
        let parse = |bytes: &[u8]| {
            bech32_string::encode(RECIPIENT_HRP, bytes).parse::<ContributionRecipient>()
        };
        assert!(parse(&bytes).is_ok());
        for len in 0..114 {
            assert_eq!(
                parse(&bytes[..len]),
                Err(RecipientError::Cut),
                "{len} bytes"
            );
        }
        let found = |found| {
            KeyStringError::Length {
                expected: 33,
                found,
            }
            .into()
        };
        assert_eq!(parse(&bytes[..146]), Err(found(32)));
        assert_eq!(parse(&[bytes.as_slice(), &[0]].concat()), Err(found(34)));
        let with = |at: usize, byte| {
            let mut other = bytes.to_vec();
            other[at] = byte;
            parse(&other)
        };
        assert_eq!(with(0, 2), Err(RecipientError::Version(2)));
        assert_eq!(with(113, 3), Err(RecipientError::Kind(3)));
        assert!(matches!(
            with(113, HYBRID),
            Err(RecipientError::Key(KeyStringError::Length {
                found: 33,
                ..
            }))
        ));
        assert!(matches!(
            with(114, 5),
            Err(RecipientError::Key(KeyStringError::Curve(_)))
        ));
        let other = bech32_string::encode("age1tag", &bytes);
        assert_eq!(
            other.parse::<ContributionRecipient>(),
            Err(KeyStringError::UnknownKind("age1tag".into()).into())
        );
        let mut typo = VECTOR.to_owned();
        typo.pop();
        assert_eq!(
            typo.parse::<ContributionRecipient>(),
            Err(KeyStringError::NotBech32.into())
        );
    }
}
