//! Every output leaves at one length, so that its length tells nothing to those who cannot open it (SPEC "Output").

use thiserror::Error;
use zeroize::Zeroizing;

/// Marks the end of an output; zeroes follow (ISO/IEC 7816-4).
const MARK: u8 = 0x80;

/// The opened bytes end in something other than padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("it does not end in the padding of an output: it is none, or was not padded by its node")]
pub struct NotPadded;

/// `output` with its padding: `max_bytes` + 1 bytes, whatever it holds.
///
/// # Panics
/// Where the output is longer than `max_bytes`, which the output rule refuses before.
pub fn pad(output: &[u8], max_bytes: u64) -> Zeroizing<Vec<u8>> {
    let whole = usize::try_from(max_bytes).expect("an output fits in memory") + 1;
    assert!(output.len() < whole, "the output rule was applied");
    // At its full size at once: a buffer that grows leaves copies behind.
    let mut padded = Zeroizing::new(vec![0; whole]);
    padded[..output.len()].copy_from_slice(output);
    padded[output.len()] = MARK;
    padded
}

/// What was padded.
///
/// # Errors
/// [`NotPadded`].
pub fn unpad(padded: &[u8]) -> Result<&[u8], NotPadded> {
    let end = padded.iter().rposition(|byte| *byte != 0);
    match end {
        Some(end) if padded[end] == MARK => Ok(&padded[..end]),
        _ => Err(NotPadded),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_output_has_one_length_and_comes_back() {
        for output in [&b""[..], b"{}", b"\x80", b"\x80\0\0", b"12345678"] {
            let padded = pad(output, 8);
            assert_eq!(padded.len(), 9);
            assert_eq!(unpad(&padded), Ok(output));
        }
    }

    #[test]
    fn the_padding_is_that_of_the_spec() {
        assert_eq!(pad(b"{\"n\":7}", 10)[..], *b"{\"n\":7}\x80\0\0\0");
    }

    #[test]
    fn bytes_that_nobody_padded_are_refused() {
        for bytes in [&b""[..], b"\0\0", b"{}", b"{}\n", b"\x80\0\x01"] {
            assert_eq!(unpad(bytes), Err(NotPadded), "{bytes:?}");
        }
    }
}
