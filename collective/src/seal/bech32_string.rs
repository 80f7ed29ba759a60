//! Bech32 (BIP 173) without its length limit, as age uses it for recipients and identities.

use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32, Checksum, Hrp};
use zeroize::Zeroizing;

use super::KeyStringError;

/// Lower-case prefix and bytes of a Bech32 string.
pub(super) fn decode(text: &str) -> Result<(String, Zeroizing<Vec<u8>>), KeyStringError> {
    let checked =
        CheckedHrpstring::new::<LongBech32>(text).map_err(|_| KeyStringError::NotBech32)?;
    // Room beforehand: a buffer that grows leaves copies behind, and this may be a secret.
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    bytes.extend(checked.byte_iter());
    let hrp = checked.hrp().to_lowercase();
    // The padding of the last character must be zero bits (BIP 173); the iterator drops it unseen.
    let canonical = Zeroizing::new(encode(&hrp, &bytes));
    if !canonical.eq_ignore_ascii_case(text) {
        return Err(KeyStringError::NotBech32);
    }
    Ok((hrp, bytes))
}

/// Lower-case Bech32 string; `hrp` is one of this library's constant prefixes.
pub(super) fn encode(hrp: &str, bytes: &[u8]) -> String {
    let hrp = Hrp::parse(hrp).expect("prefixes are short printable ASCII");
    let len = bech32::encoded_length::<LongBech32>(hrp, bytes).expect("there is no length limit");
    let mut text = String::with_capacity(len);
    bech32::encode_lower_to_fmt::<LongBech32, _>(&mut text, hrp, bytes)
        .expect("writing to memory does not fail");
    text
}

/// The checksum of BIP 173 with the limit on length lifted: a hybrid recipient has 2 010 characters.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LongBech32 {}

impl Checksum for LongBech32 {
    type MidstateRepr = <Bech32 as Checksum>::MidstateRepr;
    type CorrectionField = <Bech32 as Checksum>::CorrectionField;
    const ROOT_GENERATOR: Self::CorrectionField = Bech32::ROOT_GENERATOR;
    const ROOT_EXPONENTS: core::ops::RangeInclusive<usize> = Bech32::ROOT_EXPONENTS;
    const CODE_LENGTH: usize = usize::MAX;
    const CHECKSUM_LENGTH: usize = Bech32::CHECKSUM_LENGTH;
    const GENERATOR_SH: [Self::MidstateRepr; 5] = Bech32::GENERATOR_SH;
    const TARGET_RESIDUE: Self::MidstateRepr = Bech32::TARGET_RESIDUE;
}
