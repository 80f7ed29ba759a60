//! The fixed binary layout of plans and messages: big-endian numbers, fields in order, lengths before what varies. Every
//! value has one encoding, and nothing may follow the last field.

use alloy_primitives::{Address, B256, Signature};

use crate::committee::ShareCertificate;
use crate::seal::curve::{COMPRESSED_LEN, Point};
use crate::seal::tagged::TaggedRecipient;

/// First byte of a plan, a message and an ask.
pub(super) const VERSION: u8 = 1;

/// What is left to read. Every method is `None` where the bytes end too early or are not canonical.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn bool(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn word(&mut self) -> Option<B256> {
        self.array().map(B256::new)
    }

    pub(super) fn address(&mut self) -> Option<Address> {
        self.array().map(Address::new)
    }

    pub(super) fn point(&mut self) -> Option<Point> {
        Point::from_compressed(self.take(COMPRESSED_LEN)?).ok()
    }

    /// Bytes behind a length of two.
    pub(super) fn short(&mut self) -> Option<&'a [u8]> {
        let len = self.u16()?;
        self.take(len.into())
    }

    /// Bytes behind a length of four.
    pub(super) fn long(&mut self) -> Option<&'a [u8]> {
        let len = self.u32()?;
        self.take(len.try_into().ok()?)
    }

    pub(super) fn recipient(&mut self) -> Option<TaggedRecipient> {
        let text = std::str::from_utf8(self.short()?).ok()?;
        let recipient: TaggedRecipient = text.parse().ok()?;
        // Bech32 may be all capitals; the one encoding is what this library writes.
        (recipient.to_string() == text).then_some(recipient)
    }

    /// 65 bytes as contracts take them, with v 27 or 28.
    pub(super) fn signature(&mut self) -> Option<Signature> {
        let bytes: [u8; 65] = self.array()?;
        let signature = Signature::from_raw_array(&bytes).ok()?;
        (signature.as_bytes() == bytes).then_some(signature)
    }

    /// A share certificate behind a length of two.
    pub(super) fn certificate(&mut self) -> Option<ShareCertificate> {
        ShareCertificate::parse(self.short()?).ok()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value, if nothing is left.
    pub(super) fn end<T>(self, value: T) -> Option<T> {
        self.0.is_empty().then_some(value)
    }
}

/// Behind a length of two.
pub(super) fn put_short(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = u16::try_from(bytes.len()).expect("strings and parts are far below 64 KiB");
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Behind a length of four.
pub(super) fn put_long(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = u32::try_from(bytes.len()).expect("messages are far below 4 GiB");
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(bytes);
}
