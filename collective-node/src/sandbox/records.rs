//! Contributed bytes become rows: parsing, schema check and column cut, in the child and nowhere else.

use std::io::{self, Read};

use collective::document::{Document, DocumentRefusal};
use collective::limits::{MAX_DOCUMENT_BYTES, MAX_DOCUMENTS};
use collective::source::{RecordRefusal, Source};
use serde::{Deserialize, Serialize};

use super::wire::{Kind, read_frame};

/// Bytes of one chunk, whatever a program asks for: what keeps the copy for the program small.
const MAX_CHUNK_BYTES: usize = 1 << 20;
/// Rejected records that are named; the others are counted.
pub(super) const MAX_NAMED: usize = 1000;

/// Why a record or a document was left out. Shows no value of it.
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
    /// A document that is no canonical JSON object, or has a number or a name twice that no such object has.
    NotCanonical,
    /// More lines than a contribution may have: those that follow are passed over.
    TooMany,
    /// A document whose values are too deep.
    TooDeep,
    /// A document that has a member that is not declared, or none that is.
    Undeclared,
}

impl From<DocumentRefusal> for Defect {
    fn from(refusal: DocumentRefusal) -> Self {
        match refusal {
            DocumentRefusal::TooLong => Self::TooLong,
            DocumentRefusal::NotUtf8 => Self::NotUtf8,
            DocumentRefusal::TooDeep => Self::TooDeep,
            DocumentRefusal::Empty | DocumentRefusal::Undeclared => Self::Undeclared,
            DocumentRefusal::NotJson
            | DocumentRefusal::NotObject
            | DocumentRefusal::RepeatedName
            | DocumentRefusal::BadNumber
            | DocumentRefusal::NotCanonical => Self::NotCanonical,
        }
    }
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

/// Records and documents that were left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rejected {
    /// How many.
    pub count: u64,
    /// The first thousand: place of the contribution in the input (from 0) and defect.
    pub first: Vec<(u64, Defect)>,
}

/// The records of one run, or its documents, as the program takes them.
pub(super) struct Records<R> {
    pub(super) from: R,
    source: Source,
    columns: Vec<usize>,
    /// A row that did not fit the last chunk.
    waiting: Option<Row>,
    /// Bytes of the contribution that is being read and was not split into lines yet, from `next` on.
    pieces: Vec<u8>,
    next: usize,
    /// Whether more of that contribution comes.
    goes_on: bool,
    /// Bytes from `next` on in which there is no line feed.
    scanned: usize,
    /// A line is passed over, up to its end: it is longer than any document.
    skipping: bool,
    /// Lines of that contribution so far: past [`MAX_DOCUMENTS`] none is looked at, as each takes time whatever it is.
    lines: usize,
    seen: u64,
    ended: bool,
    /// The contribution that a row was taken of last.
    taken: Option<u64>,
    /// Contributions of which a row was taken.
    pub(super) accepted: u64,
    pub(super) rejected: Rejected,
}

/// A row, and the place of its contribution.
struct Row {
    place: u64,
    line: Vec<u8>,
}

impl<R: Read> Records<R> {
    pub(super) fn new(from: R, source: Source, columns: Vec<usize>) -> Self {
        Self {
            from,
            source,
            columns,
            waiting: None,
            pieces: Vec::new(),
            next: 0,
            goes_on: false,
            scanned: 0,
            skipping: false,
            lines: 0,
            seen: 0,
            ended: false,
            taken: None,
            accepted: 0,
            rejected: Rejected::default(),
        }
    }

    /// The next rows: as many as fit `max_bytes`, at least one; none after the last.
    pub(super) fn next_chunk(&mut self, max_bytes: u32) -> io::Result<Option<Vec<u8>>> {
        let room = (max_bytes as usize).min(MAX_CHUNK_BYTES);
        let mut chunk = Vec::new();
        // No room at all may be asked for: still whole rows, at least one.
        while (chunk.is_empty() || chunk.len() < room)
            && let Some(row) = self.next_row()?
        {
            if !chunk.is_empty() && chunk.len() + row.line.len() > room {
                self.waiting = Some(row);
                break;
            }
            self.take(row.place);
            match chunk.is_empty() {
                true => chunk = row.line,
                false => chunk.extend_from_slice(&row.line),
            }
        }
        Ok((!chunk.is_empty()).then_some(chunk))
    }

    /// The next row that is one, with the place of its contribution among all.
    pub(super) fn next_placed_row(&mut self) -> io::Result<Option<(u32, Vec<u8>)>> {
        let Some(row) = self.next_row()? else {
            return Ok(None);
        };
        self.take(row.place);
        let place = u32::try_from(row.place);
        let place = place.map_err(|_| io::Error::other("more records than a run can have"))?;
        Ok(Some((place, row.line)))
    }

    /// Notes that a row of this contribution is handed over.
    fn take(&mut self, place: u64) {
        if self.taken.replace(place) != Some(place) {
            self.accepted += 1;
        }
    }

    /// The approved columns of the next record or document that is one.
    fn next_row(&mut self) -> io::Result<Option<Row>> {
        if let Some(row) = self.waiting.take() {
            return Ok(Some(row));
        }
        while !self.ended {
            let row = match self.source.has_documents() {
                true => self.next_document()?,
                false => self.next_record()?,
            };
            match row {
                None => {}
                Some(Ok(line)) => {
                    let place = self.seen - 1;
                    return Ok(Some(Row { place, line }));
                }
                Some(Err(defect)) => {
                    self.rejected.count += 1;
                    if self.rejected.first.len() < MAX_NAMED {
                        self.rejected.first.push((self.seen - 1, defect));
                    }
                }
            }
        }
        Ok(None)
    }

    /// The next record, or `None` at the end.
    fn next_record(&mut self) -> io::Result<Option<Result<Vec<u8>, Defect>>> {
        match read_frame(&mut self.from)? {
            (Kind::Record, record) => {
                self.seen += 1;
                let fields = self.source.parse(&record).map_err(Defect::from);
                Ok(Some(fields.map(|fields| cut(&fields, &self.columns))))
            }
            (Kind::End, _) => {
                self.ended = true;
                Ok(None)
            }
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "not a record")),
        }
    }

    /// The next document, or `None` where more has to be read for it.
    fn next_document(&mut self) -> io::Result<Option<Result<Vec<u8>, Defect>>> {
        if self.lines > MAX_DOCUMENTS {
            self.next = self.pieces.len();
            return self.read_on();
        }
        let rest = &self.pieces[self.next..];
        let scanned = std::mem::take(&mut self.scanned);
        let end = rest[scanned..].iter().position(|byte| *byte == b'\n');
        // The last line of a contribution may lack its end, which is a defect of that line.
        let end = match end {
            Some(end) => scanned + end + 1,
            None if self.goes_on => {
                match rest.len() >= MAX_DOCUMENT_BYTES {
                    true => {
                        self.skipping = true;
                        self.next = self.pieces.len();
                    }
                    false => self.scanned = rest.len(),
                }
                return self.read_on();
            }
            None if rest.is_empty() && !self.skipping => return self.read_on(),
            None => rest.len(),
        };
        self.lines += 1;
        let line = &rest[..end];
        let parsed = match std::mem::take(&mut self.skipping) {
            _ if self.lines > MAX_DOCUMENTS => Err(Defect::TooMany),
            true => Err(Defect::TooLong),
            false => Document::parse(&self.source, line).map_err(Defect::from),
        };
        self.next += end;
        let is_approved = |column| self.columns.contains(&column);
        match parsed {
            // It would count somebody of whom nothing is read.
            Ok(document) if !document.columns().any(is_approved) => Ok(None),
            parsed => Ok(Some(parsed.map(|document| document.cut(&self.columns)))),
        }
    }

    /// Reads the next piece, of this contribution or of the next.
    fn read_on(&mut self) -> io::Result<Option<Result<Vec<u8>, Defect>>> {
        self.pieces.drain(..self.next);
        self.next = 0;
        let (kind, piece) = read_frame(&mut self.from)?;
        match kind {
            Kind::Piece | Kind::Record => {
                if !self.goes_on {
                    self.seen += 1;
                    self.lines = 0;
                }
                self.goes_on = kind == Kind::Piece;
                self.pieces.extend_from_slice(&piece);
            }
            Kind::End if !self.goes_on => self.ended = true,
            _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "not a piece")),
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
    use collective::source::{Archive, Column, ColumnType};

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

    /// Documents of these contributions, each in pieces of so many bytes.
    fn documents(contributions: &[&[u8]], piece: usize) -> Records<io::Cursor<Vec<u8>>> {
        let archive = Archive {
            file: "c.json".into(),
        };
        let source = Source::of_documents("s".into(), &["id", "text"], archive).expect("good");
        let mut frames = Vec::new();
        for contribution in contributions {
            let mut pieces = contribution.chunks(piece).peekable();
            while let Some(bytes) = pieces.next() {
                let kind = match pieces.peek() {
                    Some(_) => Kind::Piece,
                    None => Kind::Record,
                };
                write_frame(&mut frames, kind, bytes).expect("fits");
            }
            if contribution.is_empty() {
                write_frame(&mut frames, Kind::Record, &[]).expect("fits");
            }
        }
        write_frame(&mut frames, Kind::End, &[]).expect("fits");
        Records::new(io::Cursor::new(frames), source, vec![0])
    }

    #[test]
    fn documents_are_cut_wherever_the_pieces_are() {
        let contributions: [&[u8]; 7] = [
            b"{\"id\":1,\"text\":\"a\"}\n{\"id\":2}\n",
            b"",
            b"{\"id\": 3}\n{\"id\":4}\n{\"mail\":5}\n",
            b"{\"text\":\"b\"}\n",
            b"{\"id\":6}",
            b"\n\xff\n{\"id\":1e1}\n",
            b"{\"id\":7}\n",
        ];
        for piece in [1, 2, 7, 1_000] {
            let mut rows = documents(&contributions, piece);
            let chunk = rows.next_chunk(1 << 20).expect("frames").expect("rows");
            assert_eq!(
                String::from_utf8(chunk).expect("text"),
                "{\"id\":1}\n{\"id\":2}\n{\"id\":4}\n{\"id\":7}\n"
            );
            assert_eq!(rows.next_chunk(1 << 20).expect("frames"), None);
            // Contributions, not documents: one that has none that is one does not count.
            assert_eq!(rows.accepted, 3);
            let named = [
                (2, Defect::NotCanonical),
                (2, Defect::Undeclared),
                (4, Defect::NotCanonical),
                (5, Defect::NotCanonical),
                (5, Defect::NotUtf8),
                (5, Defect::NotCanonical),
            ];
            assert_eq!(rows.rejected.count, 6);
            assert_eq!(rows.rejected.first, named);
        }
    }

    #[test]
    fn who_has_none_of_the_approved_members_is_not_counted() {
        let mut contributions = vec![&b"{\"text\":\"a\"}\n"[..]; 9];
        contributions.push(b"{\"id\":1}\n");
        let mut rows = documents(&contributions, 7);
        let chunk = rows.next_chunk(1 << 20).expect("frames");
        assert_eq!(chunk.as_deref(), Some(&b"{\"id\":1}\n"[..]));
        assert_eq!(rows.next_chunk(1 << 20).expect("frames"), None);
        assert_eq!((rows.accepted, rows.rejected.count), (1, 0));
    }

    #[test]
    fn past_the_lines_of_a_contribution_none_is_looked_at() {
        let many = b"{\"id\":1}\n".repeat(MAX_DOCUMENTS + 5);
        let empty = vec![b'\n'; 1 << 20];
        for piece in [1 << 12, 1 << 20] {
            let mut rows = documents(&[&many, &empty, b"{\"id\":2}\n"], piece);
            let mut last = Vec::new();
            let mut bytes = 0;
            while let Some(chunk) = rows.next_chunk(1 << 20).expect("frames") {
                bytes += chunk.len();
                last = chunk;
            }
            assert_eq!(bytes, (MAX_DOCUMENTS + 1) * 9);
            assert!(last.ends_with(b"{\"id\":2}\n"));
            assert_eq!(rows.accepted, 2);
            assert_eq!(rows.rejected.first[0], (0, Defect::TooMany));
            assert_eq!(rows.rejected.count, 1 + MAX_DOCUMENTS as u64 + 1);
        }
    }

    #[test]
    fn a_line_without_end_takes_no_more_memory_than_a_document() {
        let long = [
            vec![b'x'; 3 * MAX_DOCUMENT_BYTES],
            b"\n{\"id\":1}\n".to_vec(),
        ]
        .concat();
        let endless = vec![b'['; 2 * MAX_DOCUMENT_BYTES];
        let deep = [b"{\"id\":".to_vec(), vec![b'['; 1 << 20], b"\n".to_vec()].concat();
        let mut rows = documents(&[&long, &endless, &deep], 1 << 20);
        let chunk = rows.next_chunk(1 << 20).expect("frames");
        assert_eq!(chunk.as_deref(), Some(&b"{\"id\":1}\n"[..]));
        assert_eq!(rows.next_chunk(1 << 20).expect("frames"), None);
        assert!(rows.pieces.capacity() < 3 * MAX_DOCUMENT_BYTES);
        let named = [
            (0, Defect::TooLong),
            (1, Defect::TooLong),
            (2, Defect::TooDeep),
        ];
        assert_eq!((rows.accepted, &rows.rejected.first[..]), (1, &named[..]));
    }

    #[test]
    fn a_row_that_waits_is_of_the_contribution_that_it_is_of() {
        let mut rows = documents(&[b"{\"id\":1}\n{\"id\":2}\n", b"{\"id\":3}\n"], 9);
        for accepted in [1, 1, 2] {
            assert!(rows.next_chunk(10).expect("frames").is_some());
            assert_eq!(rows.accepted, accepted);
        }
        assert_eq!(rows.next_chunk(10).expect("frames"), None);
    }

    #[test]
    fn a_contribution_that_is_cut_off_breaks_the_pipe() {
        let mut frames = Vec::new();
        write_frame(&mut frames, Kind::Piece, b"{\"id\":1}\n{").expect("fits");
        write_frame(&mut frames, Kind::End, &[]).expect("fits");
        let source = documents(&[], 1).source;
        let mut rows = Records::new(io::Cursor::new(frames), source, vec![0]);
        assert!(rows.next_chunk(1 << 20).is_err());
        let mut records = records(&[], vec![0]);
        write_frame(records.from.get_mut(), Kind::Piece, b"1,2\n").expect("fits");
        records.from.set_position(5);
        assert!(records.next_chunk(1 << 20).is_err());
    }
}
