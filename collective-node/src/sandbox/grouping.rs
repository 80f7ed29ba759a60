//! Who is in which group, over the pipe between a worker for queries and its parent (SPEC "Sandbox protocol").

use super::failure::Fault;

/// Bytes in which the worker says who is in which group: 4 for each record and 4 for each group, for some eight million
/// contributors each of whom is a group. A query that makes more is out of memory, and its worker says so.
pub(super) const MAX_GROUPS_BYTES: usize = 64 << 20;

/// The groups that a query made: disjoint, by the places of their records as they were handed over, counted from 0.
pub struct Grouping {
    /// Records that were some; the others are in no group.
    pub readable: u64,
    /// The groups.
    pub groups: Vec<Vec<u32>>,
}

impl Grouping {
    /// The groups in a row, each with its length before it; all numbers little-endian of 4 bytes.
    pub(super) fn to_bytes(groups: &[Vec<u32>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for group in groups {
            let length = u32::try_from(group.len()).expect("a run has fewer than 2^32 records");
            bytes.extend(length.to_le_bytes());
            bytes.extend(group.iter().flat_map(|place| place.to_le_bytes()));
        }
        bytes
    }

    /// Groups of `readable` ones among `handed` records. They are disjoint and a group of nobody is the only one, as of a query
    /// without GROUP BY, so that all of them together take no more memory than so many records.
    pub(super) fn parse(bytes: &[u8], readable: u64, handed: u64) -> Result<Self, Fault> {
        let wrong = Fault::Protocol("groups that are none");
        let (numbers, rest) = bytes.as_chunks::<4>();
        let mut numbers = numbers.iter().map(|number| u32::from_le_bytes(*number));
        let mut groups = Vec::new();
        let mut grouped = 0;
        while let Some(length) = numbers.next() {
            grouped += u64::from(length);
            if (length == 0 && bytes.len() > 4) || grouped > readable {
                return Err(wrong);
            }
            let group: Vec<u32> = numbers.by_ref().take(length as usize).collect();
            if group.len() != length as usize {
                return Err(wrong);
            }
            groups.push(group);
        }
        if rest.is_empty() && readable <= handed {
            Ok(Self { readable, groups })
        } else {
            Err(wrong)
        }
    }
}

/// One bit for each group, the first in the lowest bit of the first byte.
pub(super) fn bits(kept: &[bool]) -> Vec<u8> {
    let byte = |eight: &[bool]| {
        let bits = eight.iter().enumerate();
        bits.fold(0, |byte, (place, kept)| byte | u8::from(*kept) << place)
    };
    kept.chunks(8).map(byte).collect()
}

/// Reads [`bits`] for `count` groups.
pub(super) fn of_bits(bytes: &[u8], count: usize) -> Option<Vec<bool>> {
    (bytes.len() == count.div_ceil(8)).then(|| {
        let bit = |place: usize| bytes[place / 8] >> (place % 8) & 1 == 1;
        (0..count).map(bit).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_and_answers_survive_the_pipe() {
        let groups = vec![vec![0, 2, 5], vec![4], vec![1]];
        let bytes = Grouping::to_bytes(&groups);
        assert_eq!(bytes.len(), 8 * 4);
        let parsed = Grouping::parse(&bytes, 5, 6).expect("groups");
        assert_eq!((parsed.readable, parsed.groups), (5, groups));
        assert!(Grouping::parse(&bytes[..bytes.len() - 1], 5, 6).is_err());
        assert!(Grouping::parse(&bytes[..bytes.len() - 4], 5, 6).is_err());
        assert!(
            Grouping::parse(&bytes, 4, 6).is_err(),
            "more than were readable"
        );
        assert!(
            Grouping::parse(&bytes, 7, 6).is_err(),
            "more than were handed over"
        );
        let nobody = Grouping::parse(&Grouping::to_bytes(&[vec![]]), 5, 6);
        assert_eq!(nobody.expect("of no GROUP BY").groups, [[0_u32; 0]]);
        let of_nobody = Grouping::to_bytes(&[vec![1], vec![]]);
        assert!(Grouping::parse(&of_nobody, 5, 6).is_err());
        for count in 0..20 {
            let kept: Vec<bool> = (0..count).map(|n| n % 3 == 0).collect();
            assert_eq!(of_bits(&bits(&kept), count), Some(kept));
        }
        assert_eq!(of_bits(&[0], 9), None);
        assert_eq!(of_bits(&[0, 0], 8), None);
    }
}
