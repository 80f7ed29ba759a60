//! Contributed bytes become rows: parsing, schema check and column cut, in the child and nowhere else.

use std::io::{self, Read};

use collective::source::{RecordRefusal, Source};
use serde::{Deserialize, Serialize};

use super::wire::{Kind, read_frame};

/// Bytes of one chunk, whatever a program asks for: what keeps the copy for the program small.
const MAX_CHUNK_BYTES: usize = 1 << 20;
/// Rejected records that are named; the others are counted.
pub(super) const MAX_NAMED: usize = 1000;

/// Why a record was left out. Shows no value of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Defect {
    /// Longer than a record may be.
    TooLong,
    /// Not one line that ends with a line feed.
    NotOneLine,
    /// Not UTF-8.
    NotUtf8,
    /// Another number of fields than the source has columns.
    FieldCount,
    /// A field that its column does not allow, or not in this spelling.
    BadField,
}

impl From<RecordRefusal> for Defect {
    fn from(refusal: RecordRefusal) -> Self {
        match refusal {
            RecordRefusal::TooLong => Self::TooLong,
            RecordRefusal::NotOneLine => Self::NotOneLine,
            RecordRefusal::NotUtf8 => Self::NotUtf8,
            RecordRefusal::FieldCount { .. } => Self::FieldCount,
            RecordRefusal::BadField { .. } => Self::BadField,
        }
    }
}

/// Records that were left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rejected {
    /// How many.
    pub count: u64,
    /// The first thousand: place in the input (from 0) and defect.
    pub first: Vec<(u64, Defect)>,
}

/// The records of one run, as the program takes them.
pub(super) struct Records<R> {
    pub(super) from: R,
    source: Source,
    columns: Vec<usize>,
    /// A row that did not fit the last chunk.
    waiting: Vec<u8>,
    seen: u64,
    ended: bool,
    pub(super) accepted: u64,
    pub(super) rejected: Rejected,
}

impl<R: Read> Records<R> {
    pub(super) fn new(from: R, source: Source, columns: Vec<usize>) -> Self {
        Self {
            from,
            source,
            columns,
            waiting: Vec::new(),
            seen: 0,
            ended: false,
            accepted: 0,
            rejected: Rejected::default(),
        }
    }

    /// The next rows: as many as fit `max_bytes`, at least one; none after the last.
    pub(super) fn next_chunk(&mut self, max_bytes: u32) -> io::Result<Option<Vec<u8>>> {
        let room = (max_bytes as usize).min(MAX_CHUNK_BYTES);
        let mut chunk = std::mem::take(&mut self.waiting);
        self.accepted += u64::from(!chunk.is_empty());
        while chunk.len() < room
            && let Some(row) = self.next_row()?
        {
            if !chunk.is_empty() && chunk.len() + row.len() > room {
                self.waiting = row;
                break;
            }
            chunk.extend_from_slice(&row);
            self.accepted += 1;
        }
        // No room at all was asked for, or none is left: still whole records, at least one.
        if chunk.is_empty()
            && let Some(row) = self.next_row()?
        {
            chunk = row;
            self.accepted += 1;
        }
        Ok((!chunk.is_empty()).then_some(chunk))
    }

    /// The next row that is one, with its place among all records.
    pub(super) fn next_placed_row(&mut self) -> io::Result<Option<(u32, Vec<u8>)>> {
        let Some(row) = self.next_row()? else {
            return Ok(None);
        };
        self.accepted += 1;
        let place = u32::try_from(self.seen - 1);
        let place = place.map_err(|_| io::Error::other("more records than a run can have"))?;
        Ok(Some((place, row)))
    }

    /// The approved columns of the next record that is one.
    fn next_row(&mut self) -> io::Result<Option<Vec<u8>>> {
        while !self.ended {
            let record = match read_frame(&mut self.from)? {
                (Kind::Record, record) => record,
                (Kind::End, _) => {
                    self.ended = true;
                    break;
                }
                _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "not a record")),
            };
            let place = self.seen;
            self.seen += 1;
            match self.source.parse(&record) {
                Ok(fields) => return Ok(Some(cut(&fields, &self.columns))),
                Err(refusal) => {
                    self.rejected.count += 1;
                    if self.rejected.first.len() < MAX_NAMED {
                        self.rejected.first.push((place, refusal.into()));
                    }
                }
            }
        }
        Ok(None)
    }
}

/// The named fields as a line.
fn cut(fields: &[&str], columns: &[usize]) -> Vec<u8> {
    let kept: Vec<&str> = columns.iter().map(|column| fields[*column]).collect();
    let mut line = kept.join(",").into_bytes();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use collective::source::{Column, ColumnType};

    use super::super::wire::write_frame;
    use super::*;

    fn records(lines: &[&[u8]], columns: Vec<usize>) -> Records<io::Cursor<Vec<u8>>> {
        let column = |name: &str| Column {
            name: name.into(),
            kind: ColumnType::Integer { min: 0, max: 99 },
        };
        let source = Source::new("s".into(), vec![column("a"), column("b")]).expect("good");
        let mut frames = Vec::new();
        for line in lines {
            write_frame(&mut frames, Kind::Record, line).expect("fits");
        }
        write_frame(&mut frames, Kind::End, &[]).expect("fits");
        Records::new(io::Cursor::new(frames), source, columns)
    }

    #[test]
    fn chunks_hold_whole_rows_and_at_least_one() {
        let mut rows = records(&[b"1,2\n", b"3,4\n", b"5,6\n", b"7,8\n"], vec![0, 1]);
        let mut next = |room| {
            rows.next_chunk(room)
                .expect("frames")
                .map(|b| String::from_utf8(b).expect("text"))
        };
        assert_eq!(next(9).as_deref(), Some("1,2\n3,4\n"));
        assert_eq!(next(0).as_deref(), Some("5,6\n"));
        assert_eq!(next(1).as_deref(), Some("7,8\n"));
        assert_eq!(next(100), None);
        assert_eq!(next(100), None);
        assert_eq!(rows.accepted, 4);
    }

    #[test]
    fn columns_are_cut_and_bad_records_are_named() {
        let mut rows = records(
            &[b"1,2\n", b"x,4\n", b"5\n", b"\xff,1\n", b"7,8", b"9,10\n"],
            vec![1],
        );
        assert_eq!(
            rows.next_chunk(1 << 20).expect("frames").as_deref(),
            Some(&b"2\n10\n"[..])
        );
        assert_eq!(rows.accepted, 2);
        let named = [
            (1, Defect::BadField),
            (2, Defect::FieldCount),
            (3, Defect::NotUtf8),
            (4, Defect::NotOneLine),
        ];
        assert_eq!(
            rows.rejected,
            Rejected {
                count: 4,
                first: named.to_vec()
            }
        );
    }

    #[test]
    fn no_more_than_a_thousand_defects_are_named() {
        let mut rows = records(&[&b"bad\n"[..]; 1500], vec![0]);
        assert_eq!(rows.next_chunk(10).expect("frames"), None);
        assert_eq!(
            (rows.rejected.count, rows.rejected.first.len()),
            (1500, MAX_NAMED)
        );
    }
}
