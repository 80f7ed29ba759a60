//! Reads one file out of a person's export, in the child and nowhere else: a ZIP archive (APPNOTE 6.3.10), or the JSON file
//! itself, from which its documents are made.
//!
//! Strict where readers differ, as what differs hides things: an archive has one directory, which ends where the file ends,
//! its entries lie apart, and what stands twice says the same twice. Nothing is written anywhere, so no name is a path.

use std::collections::HashSet;
use std::io;

use collective::document::{Document, DocumentRefusal};
use collective::limits::{MAX_DOCUMENT_BYTES, MAX_DOCUMENTS, MAX_DOCUMENTS_BYTES};
use collective::source::Source;
use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZError, MZFlush, MZStatus};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::component::cut;

/// Entries of an archive: exports with pictures have some thousand.
const MAX_ENTRIES: usize = 20_000;
/// Bytes of an archive's directory: that many entries with names of 150 bytes.
const MAX_DIRECTORY_BYTES: u64 = 4 << 20;
/// Bytes of the file once it is unpacked: what is not declared is dropped, so it may be far larger than what is kept.
const MAX_UNPACKED_BYTES: u64 = 1 << 30;
/// Times that a file may grow when it is unpacked: JSON grows ten to thirty times, a bomb a thousand times.
const MAX_RATIO: u64 = 100;
/// Bytes up to which nobody asks how much a file grew: it may well be all alike.
const FREE_BYTES: u64 = 1 << 20;
/// Bytes of one object before it is cut to what is declared: escapes alone can make a text six times as long.
const MAX_OBJECT_BYTES: usize = 4 * MAX_DOCUMENT_BYTES;
/// Bytes read and unpacked at once.
const PIECE_BYTES: usize = 64 << 10;
/// Names of files that are left out, and are told; the others are counted.
const MAX_NAMED: usize = 20;
/// Bytes kept of a name that is told.
const MAX_NAME_BYTES: usize = 100;

/// Why nothing is made of an export. No text of it is shown but names of its files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Error)]
#[serde(rename_all = "kebab-case")]
pub enum ExportRefusal {
    /// Cut off, or something else.
    #[error("it is no ZIP archive that is whole, and no JSON file: download the export again")]
    NoArchive,
    /// Several files, or sizes beyond 4 GiB.
    #[error(
        "the archive is split, or written in the layout for very large ones (ZIP64): unpack it, and give the JSON file in it"
    )]
    Large,
    /// Over the limit.
    #[error(
        "the archive has more than {MAX_ENTRIES} files: unpack it, and give the JSON file in it"
    )]
    TooManyFiles,
    /// A path that leaves the folder that somebody unpacks it into.
    #[error(
        "the archive has a file called '{0}', which is no path within it: it was not made by an export"
    )]
    Path(String),
    /// Readers differ about which of the two counts.
    #[error("the archive has '{0}' twice: it was not made by an export")]
    RepeatedName(String),
    /// Bytes that are in two files: what small bombs are made of.
    #[error("files of the archive overlap at '{0}': it was not made by an export")]
    Overlap(String),
    /// A name for another file.
    #[error("'{0}' in the archive is a link: pack the file itself")]
    Link(String),
    /// Behind a password.
    #[error(
        "'{0}' in the archive is encrypted: unpack it with its password, and give the JSON file in it"
    )]
    Encrypted(String),
    /// Not as it is, nor deflated.
    #[error(
        "'{0}' in the archive is packed in another way than ZIP archives commonly are: unpack it, and give the JSON file in it"
    )]
    Method(String),
    /// The source's file is missing.
    #[error("there is no {0} in the archive: choose the source that this export is of")]
    NoFile(String),
    /// The source's file is missing, and there is an archive, which is not opened.
    #[error(
        "there is no {0} in the archive but another archive, '{1}': unpack the outer one, and give the inner"
    )]
    Nested(String, String),
    /// The source's file is there more than once.
    #[error("'{0}' and '{1}' are in the archive: pack the one that you mean, alone")]
    TwoFiles(String, String),
    /// What stands twice in the archive differs.
    #[error("'{0}' is not what the archive's directory says of it: download the export again")]
    Lies(String),
    /// The checksum or the packing.
    #[error("'{0}' in the archive is damaged: download the export again")]
    Damaged(String),
    /// Over the limit.
    #[error("'{0}' has more than {MAX_UNPACKED_BYTES} bytes when it is unpacked")]
    TooLarge(String),
    /// A bomb.
    #[error(
        "'{0}' is more than {MAX_RATIO} times as large when it is unpacked: it was not made by an export"
    )]
    Ratio(String),
    /// Another JSON text, or one that is cut off.
    #[error(
        "the file is no whole JSON array of objects: choose the source that this export is of, or download it again"
    )]
    NoArray,
    /// One of its objects.
    #[error("object {place} (from 0): {refusal}")]
    Object {
        /// In the array.
        place: u64,
        /// What is wrong with it.
        refusal: ObjectRefusal,
    },
    /// Nothing in it.
    #[error("there is no object in the file: there is nothing to contribute")]
    Empty,
    /// Over the limit.
    #[error(
        "what is declared has more than {MAX_DOCUMENTS_BYTES} bytes or {MAX_DOCUMENTS} objects: it cannot be contributed at once"
    )]
    TooMuch,
    /// The reader came to no end, or to a bad one.
    #[error("the file could not be read within the time and the memory that are allowed for it")]
    GaveUp,
}

/// [`DocumentRefusal`], as it crosses the pipe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Error)]
#[error("{0}")]
pub struct ObjectRefusal(String);

impl From<DocumentRefusal> for ObjectRefusal {
    fn from(refusal: DocumentRefusal) -> Self {
        Self(refusal.to_string())
    }
}

/// What is in an export, as its contributor is told before anything leaves the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Summary {
    /// Documents that are kept.
    pub documents: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// How many documents have each of the declared members, in the order of the declaration.
    pub members: Vec<(String, u64)>,
    /// Files of the archive that stay here; the first by name.
    pub left_out: Vec<String>,
    /// How many they are in all.
    pub left_out_count: u64,
}

/// Why reading ended: the export's fault, or the pipe's.
#[derive(Debug, Error)]
pub(super) enum Stop {
    #[error(transparent)]
    Export(#[from] ExportRefusal),
    #[error(transparent)]
    Pipe(#[from] io::Error),
}

/// The bytes of the export, wherever they are.
pub(super) trait ReadAt {
    /// How many there are.
    fn length(&self) -> u64;

    /// Fills `into`, at most [`PIECE_BYTES`], from the bytes at `offset`, which are there.
    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> io::Result<()>;
}

/// Makes documents of an export, and hands their lines over one by one.
pub(super) fn documents(
    export: &mut impl ReadAt,
    source: &Source,
    each: &mut impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<Summary, Stop> {
    let wanted = match &source.archive {
        Some(archive) => &archive.file,
        None => return Err(ExportRefusal::NoArray.into()),
    };
    let mut split = Split::new(source);
    let mut first = [0; 2];
    if export.length() < 2 {
        return Err(ExportRefusal::NoArchive.into());
    }
    export.read_at(0, &mut first)?;
    if first == *b"PK" {
        let (entries, end) = directory(export)?;
        let place = find(&entries, wanted)?;
        unpack(export, (&entries, end), place, &mut |piece| {
            split.push(piece, each)
        })?;
        let left_out = entries
            .iter()
            .enumerate()
            .filter(|(at, it)| *at != place && !it.is_folder());
        let mut left_out: Vec<_> = left_out.map(|(_, it)| it.shown()).collect();
        left_out.sort_unstable();
        split.summary.left_out_count = left_out.len() as u64;
        left_out.truncate(MAX_NAMED);
        split.summary.left_out = left_out;
    } else {
        if export.length() > MAX_UNPACKED_BYTES {
            return Err(ExportRefusal::TooLarge(wanted.clone()).into());
        }
        let mut piece = vec![0; PIECE_BYTES];
        let mut offset = 0;
        while offset < export.length() {
            let piece = &mut piece[..room(export.length() - offset)];
            export.read_at(offset, piece)?;
            offset += piece.len() as u64;
            split.push(piece, each)?;
        }
    }
    split.finish()
}

/// One file of the archive, as the directory has it.
struct Entry {
    name: String,
    raw_name: Vec<u8>,
    flags: u16,
    method: u16,
    crc: u32,
    packed: u64,
    size: u64,
    /// Where its own header is.
    offset: u64,
}

/// Bytes of the record at the end of the archive, without its comment.
const END_BYTES: usize = 22;
/// Bytes of an entry in the directory, without what has a length of its own.
const CENTRAL_BYTES: usize = 46;
/// Bytes of an entry's own header, in the same way.
const LOCAL_BYTES: usize = 30;
/// Encrypted (0), with a strong cipher (6), with the directory masked (13).
const ENCRYPTED: u16 = 1 | 1 << 6 | 1 << 13;
/// Sizes and checksum follow the bytes; in the entry's own header each of them may be zero.
const DEFERRED: u16 = 1 << 3;
/// As it is.
const STORED: u16 = 0;
/// RFC 1951.
const DEFLATED: u16 = 8;

impl Entry {
    fn is_folder(&self) -> bool {
        self.name.ends_with('/')
    }

    /// What a Mac puts beside files.
    fn is_junk(&self) -> bool {
        let base = self.base();
        self.name.starts_with("__MACOSX/") || base.starts_with("._") || base == ".DS_Store"
    }

    fn base(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or_default()
    }

    fn shown(&self) -> String {
        cut(&self.name, MAX_NAME_BYTES)
    }

    /// The first byte after it, as far as the directory tells: its own header may have a longer extra field.
    fn least_end(&self) -> u64 {
        self.offset + (LOCAL_BYTES + self.raw_name.len()) as u64 + self.packed
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Bytes of the next piece.
fn room(left: u64) -> usize {
    usize::try_from(left).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES))
}

/// Reads bytes that have to be there.
fn read(export: &mut impl ReadAt, offset: u64, length: usize) -> Result<Vec<u8>, Stop> {
    let end = offset.checked_add(length as u64);
    if end.is_none_or(|end| end > export.length()) {
        return Err(ExportRefusal::NoArchive.into());
    }
    let mut bytes = vec![0; length];
    for (at, piece) in bytes.chunks_mut(PIECE_BYTES).enumerate() {
        export.read_at(offset + (at * PIECE_BYTES) as u64, piece)?;
    }
    Ok(bytes)
}

/// The archive's directory, which has to be the only one, and whole; and where it begins, which is where files end.
fn directory(export: &mut impl ReadAt) -> Result<(Vec<Entry>, u64), Stop> {
    let length = export.length();
    // A comment has at most 65,535 bytes.
    let tail = length.min((END_BYTES + usize::from(u16::MAX)) as u64);
    let bytes = read(
        export,
        length - tail,
        usize::try_from(tail).unwrap_or(usize::MAX),
    )?;
    let is_end = |at: &usize| {
        bytes[*at..].starts_with(b"PK\x05\x06")
            && *at + END_BYTES + usize::from(u16_at(&bytes, at + 20)) == bytes.len()
    };
    let places = bytes.len().saturating_sub(END_BYTES - 1);
    let mut ends = (0..places).filter(is_end);
    let (end, another) = (ends.next(), ends.next());
    let (Some(end), None) = (end, another) else {
        return Err(ExportRefusal::NoArchive.into());
    };
    let (at, end) = (length - tail + end as u64, &bytes[end..]);
    let (count, size, start) = (u16_at(end, 10), u32_at(end, 12), u32_at(end, 16));
    let is_split = u16_at(end, 4) != 0 || u16_at(end, 6) != 0 || u16_at(end, 8) != count;
    if is_split || count == u16::MAX || size == u32::MAX || start == u32::MAX {
        return Err(ExportRefusal::Large.into());
    }
    let (count, size, start) = (usize::from(count), u64::from(size), u64::from(start));
    if count > MAX_ENTRIES || size > MAX_DIRECTORY_BYTES {
        return Err(ExportRefusal::TooManyFiles.into());
    }
    if start + size != at {
        return Err(ExportRefusal::NoArchive.into());
    }
    let bytes = read(export, start, usize::try_from(size).unwrap_or(usize::MAX))?;
    let mut rest = &bytes[..];
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        let (entry, after) = parse(rest)?;
        entries.push(entry);
        rest = after;
    }
    if !rest.is_empty() {
        return Err(ExportRefusal::NoArchive.into());
    }
    check_apart(&entries, start)?;
    Ok((entries, start))
}

/// The first entry of a directory, and what follows it.
fn parse(bytes: &[u8]) -> Result<(Entry, &[u8]), ExportRefusal> {
    let fields = bytes.first_chunk::<CENTRAL_BYTES>();
    let fields = fields.filter(|it| it.starts_with(b"PK\x01\x02"));
    let fields = fields.ok_or(ExportRefusal::NoArchive)?;
    let length = |at| usize::from(u16_at(fields, at));
    let (name_length, extra, comment) = (length(28), length(30), length(32));
    let all = CENTRAL_BYTES + name_length + extra + comment;
    let raw_name = bytes.get(CENTRAL_BYTES..CENTRAL_BYTES + name_length);
    let (Some(raw_name), Some(rest)) = (raw_name, bytes.get(all..)) else {
        return Err(ExportRefusal::NoArchive);
    };
    let (packed, size, offset) = (u32_at(fields, 20), u32_at(fields, 24), u32_at(fields, 42));
    if [packed, size, offset].contains(&u32::MAX) || u16_at(fields, 34) != 0 {
        return Err(ExportRefusal::Large);
    }
    let entry = Entry {
        name: String::from_utf8_lossy(raw_name).into_owned(),
        raw_name: raw_name.to_vec(),
        flags: u16_at(fields, 8),
        method: u16_at(fields, 10),
        crc: u32_at(fields, 16),
        packed: packed.into(),
        size: size.into(),
        offset: offset.into(),
    };
    let shown = || entry.shown();
    let name = entry.name.strip_suffix('/').unwrap_or(&entry.name);
    let is_odd = |part: &str| part.is_empty() || part == "." || part == "..";
    let has_odd_letter = |letter: char| letter == '\\' || letter.is_control();
    let has_drive = name.as_bytes().get(1) == Some(&b':');
    if name.split('/').any(is_odd) || name.contains(has_odd_letter) || has_drive {
        return Err(ExportRefusal::Path(shown()));
    }
    // Written by a Unix (3), whose mode says what kind of file it is.
    let (system, mode) = (fields[5], u32_at(fields, 38) >> 16);
    if system == 3 && mode & 0o170_000 == 0o120_000 {
        return Err(ExportRefusal::Link(shown()));
    }
    if entry.flags & ENCRYPTED != 0 {
        return Err(ExportRefusal::Encrypted(shown()));
    }
    Ok((entry, rest))
}

/// Refuses names that stand twice, and bytes that are in two entries, or in an entry and the directory, as far as the directory
/// tells: an own header may be longer, which is looked at of the entry that is opened alone.
fn check_apart(entries: &[Entry], directory: u64) -> Result<(), ExportRefusal> {
    let mut names = HashSet::new();
    if let Some(again) = entries.iter().find(|it| !names.insert(&it.raw_name)) {
        return Err(ExportRefusal::RepeatedName(again.shown()));
    }
    let mut in_order: Vec<_> = entries.iter().collect();
    in_order.sort_unstable_by_key(|it| it.offset);
    let next = in_order.iter().skip(1).map(|it| it.offset);
    let limits = next.chain([directory]);
    match in_order
        .iter()
        .zip(limits)
        .find(|(it, limit)| it.least_end() > *limit)
    {
        Some((entry, _)) => Err(ExportRefusal::Overlap(entry.shown())),
        None => Ok(()),
    }
}

/// Place of the one file that the source is made of.
fn find(entries: &[Entry], wanted: &str) -> Result<usize, ExportRefusal> {
    let is_it = |entry: &Entry| entry.base() == wanted && !entry.is_junk();
    let mut found = (0..entries.len()).filter(|at| is_it(&entries[*at]));
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (Some(one), Some(other)) => Err(ExportRefusal::TwoFiles(
            entries[one].shown(),
            entries[other].shown(),
        )),
        (None, _) => {
            let inner =
                |it: &&Entry| it.name.to_ascii_lowercase().ends_with(".zip") && !it.is_junk();
            Err(match entries.iter().find(inner) {
                Some(inner) => ExportRefusal::Nested(wanted.into(), inner.shown()),
                None => ExportRefusal::NoFile(wanted.into()),
            })
        }
    }
}

/// Hands over the bytes of one entry, piece by piece; they end where those of the next begin, or `end`, where the directory does.
/// They count once this has returned: the checksum is at the end.
fn unpack(
    export: &mut impl ReadAt,
    (entries, end): (&[Entry], u64),
    place: usize,
    each: &mut impl FnMut(&[u8]) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let entry = &entries[place];
    let shown = || entry.shown();
    if entry.method != STORED && entry.method != DEFLATED {
        return Err(ExportRefusal::Method(shown()).into());
    }
    if entry.size > MAX_UNPACKED_BYTES {
        return Err(ExportRefusal::TooLarge(shown()).into());
    }
    if entry.size > FREE_BYTES && entry.size / MAX_RATIO > entry.packed {
        return Err(ExportRefusal::Ratio(shown()).into());
    }
    let start = start(export, entry)?;
    let next = entries
        .iter()
        .map(|it| it.offset)
        .filter(|it| *it > entry.offset)
        .min();
    if start + entry.packed > next.unwrap_or(end) {
        return Err(ExportRefusal::Overlap(shown()).into());
    }
    let mut bytes = Counted::default();
    let mut count = |piece: &[u8]| {
        bytes.add(piece);
        // A size that lies is found before it has done harm.
        match bytes.count > entry.size {
            true => Err(ExportRefusal::Lies(shown()).into()),
            false => each(piece),
        }
    };
    let (mut offset, end) = (start, start + entry.packed);
    let mut piece = vec![0; PIECE_BYTES];
    let mut state = InflateState::new_boxed(DataFormat::Raw);
    let mut is_done = entry.method == STORED;
    let mut out = vec![0; PIECE_BYTES];
    while offset < end {
        let piece = &mut piece[..room(end - offset)];
        export.read_at(offset, piece)?;
        offset += piece.len() as u64;
        if entry.method == STORED {
            count(piece)?;
            continue;
        }
        let mut packed = &piece[..];
        loop {
            if is_done {
                // Something follows the end of what is packed.
                return Err(ExportRefusal::Lies(shown()).into());
            }
            let step = inflate(&mut state, packed, &mut out, MZFlush::None);
            packed = &packed[step.bytes_consumed..];
            count(&out[..step.bytes_written])?;
            match step.status {
                Ok(MZStatus::StreamEnd) => is_done = true,
                Ok(MZStatus::Ok) => {}
                // It wants more than this piece.
                Err(MZError::Buf) if packed.is_empty() => {}
                _ => return Err(ExportRefusal::Damaged(shown()).into()),
            }
            if packed.is_empty() && (is_done || step.bytes_written < out.len()) {
                break;
            }
        }
    }
    if !is_done {
        return Err(ExportRefusal::Damaged(shown()).into());
    }
    if bytes.count != entry.size {
        return Err(ExportRefusal::Lies(shown()).into());
    }
    match bytes.crc() == entry.crc {
        true => Ok(()),
        false => Err(ExportRefusal::Damaged(shown()).into()),
    }
}

/// Where the packed bytes of an entry begin: after its own header, which says what the directory says.
fn start(export: &mut impl ReadAt, entry: &Entry) -> Result<u64, Stop> {
    let lies = || Stop::from(ExportRefusal::Lies(entry.shown()));
    let length = LOCAL_BYTES + entry.raw_name.len();
    let header = read(export, entry.offset, length)?;
    let same = header.starts_with(b"PK\x03\x04")
        && u16_at(&header, 6) == entry.flags
        && u16_at(&header, 8) == entry.method
        && usize::from(u16_at(&header, 26)) == entry.raw_name.len()
        && header[LOCAL_BYTES..] == entry.raw_name;
    let told = [14, 18, 22].map(|at| u64::from(u32_at(&header, at)));
    let known = [u64::from(entry.crc), entry.packed, entry.size];
    let deferred = entry.flags & DEFERRED != 0;
    let fits = |(told, known): (&u64, &u64)| told == known || (deferred && *told == 0);
    if !same || !told.iter().zip(&known).all(fits) {
        return Err(lies());
    }
    let start = entry.offset + length as u64 + u64::from(u16_at(&header, 28));
    match start + entry.packed <= export.length() {
        true => Ok(start),
        false => Err(lies()),
    }
}

/// How many bytes there were, and their checksum.
struct Counted {
    count: u64,
    state: u32,
}

impl Default for Counted {
    fn default() -> Self {
        Self {
            count: 0,
            state: u32::MAX,
        }
    }
}

impl Counted {
    /// CRC-32 of ISO 3309, as ZIP archives have it: reflected, polynomial 0x04c11db7.
    fn add(&mut self, bytes: &[u8]) {
        const TABLE: [u32; 256] = {
            let mut table = [0; 256];
            let mut index = 0;
            while index < 256 {
                let mut value = index as u32;
                let mut bit = 0;
                while bit < 8 {
                    let odd = value & 1;
                    value >>= 1;
                    if odd == 1 {
                        value ^= 0xedb8_8320;
                    }
                    bit += 1;
                }
                table[index] = value;
                index += 1;
            }
            table
        };
        self.count += bytes.len() as u64;
        for byte in bytes {
            let [low, ..] = (self.state ^ u32::from(*byte)).to_le_bytes();
            self.state = TABLE[usize::from(low)] ^ (self.state >> 8);
        }
    }

    fn crc(&self) -> u32 {
        !self.state
    }
}

/// Takes an array of objects apart, whichever pieces it comes in.
struct Split<'a> {
    source: &'a Source,
    state: State,
    /// The object that is being read.
    object: Vec<u8>,
    /// Brackets that are open in it.
    depth: usize,
    in_string: bool,
    escaped: bool,
    place: u64,
    summary: Summary,
}

/// Where in the array a reader is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before it.
    Before,
    /// After its bracket, where it may end.
    First,
    /// After a comma, where an object has to come.
    Next,
    /// In an object.
    Object,
    /// After an object.
    After,
    /// After it.
    Done,
}

impl<'a> Split<'a> {
    fn new(source: &'a Source) -> Self {
        let members = source.columns.iter().map(|it| (it.name.clone(), 0));
        let summary = Summary {
            members: members.collect(),
            ..Summary::default()
        };
        Self {
            source,
            state: State::Before,
            object: Vec::new(),
            depth: 0,
            in_string: false,
            escaped: false,
            place: 0,
            summary,
        }
    }

    fn push(
        &mut self,
        piece: &[u8],
        each: &mut impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), Stop> {
        for byte in piece {
            let is_space = matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
            self.state = match (self.state, byte) {
                (State::Object, _) => {
                    self.take(*byte, each)?;
                    continue;
                }
                (state, _) if is_space => state,
                (State::Before, b'[') => State::First,
                (State::First | State::Next, b'{') => {
                    self.object.push(b'{');
                    self.depth = 1;
                    State::Object
                }
                (State::After, b',') => State::Next,
                (State::First | State::After, b']') => State::Done,
                _ => return Err(ExportRefusal::NoArray.into()),
            };
        }
        Ok(())
    }

    /// Takes one byte of an object, and the object with its last.
    fn take(
        &mut self,
        byte: u8,
        each: &mut impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), Stop> {
        if self.object.len() >= MAX_OBJECT_BYTES {
            return Err(self.refuse(DocumentRefusal::TooLong).into());
        }
        self.object.push(byte);
        if self.in_string {
            let ends = byte == b'"' && !self.escaped;
            self.escaped = byte == b'\\' && !self.escaped;
            self.in_string = !ends;
            return Ok(());
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth -= 1,
            _ => {}
        }
        if self.depth > 0 {
            return Ok(());
        }
        let document = Document::keep(self.source, &self.object);
        let document = document.map_err(|refusal| self.refuse(refusal))?;
        let line = document.line();
        self.summary.documents += 1;
        self.summary.bytes += line.len() as u64;
        let is_too_much = self.summary.bytes > MAX_DOCUMENTS_BYTES as u64
            || self.summary.documents > MAX_DOCUMENTS as u64;
        if is_too_much {
            return Err(ExportRefusal::TooMuch.into());
        }
        for column in document.columns() {
            self.summary.members[column].1 += 1;
        }
        each(&line)?;
        self.object.clear();
        self.place += 1;
        self.state = State::After;
        Ok(())
    }

    fn refuse(&self, refusal: DocumentRefusal) -> ExportRefusal {
        ExportRefusal::Object {
            place: self.place,
            refusal: refusal.into(),
        }
    }

    fn finish(self) -> Result<Summary, Stop> {
        match self.state {
            State::Done if self.summary.documents == 0 => Err(ExportRefusal::Empty.into()),
            State::Done => Ok(self.summary),
            _ => Err(ExportRefusal::NoArray.into()),
        }
    }
}

#[cfg(test)]
#[path = "../../tests/node/export/mod.rs"]
mod export;

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha20Rng;
    use serde_json::json;

    use super::export::{Item, SOURCE, conversations, files, pack, repacked};
    use super::*;

    struct Bytes<'a> {
        bytes: &'a [u8],
        read: u64,
    }

    impl ReadAt for Bytes<'_> {
        fn length(&self) -> u64 {
            self.bytes.len() as u64
        }

        fn read_at(&mut self, offset: u64, into: &mut [u8]) -> io::Result<()> {
            let offset = usize::try_from(offset).expect("within the bytes");
            assert!(into.len() <= PIECE_BYTES, "a piece");
            into.copy_from_slice(&self.bytes[offset..offset + into.len()]);
            self.read += into.len() as u64;
            Ok(())
        }
    }

    /// What comes out, and how much was read for it.
    fn opened(bytes: &[u8]) -> (Result<Vec<u8>, ExportRefusal>, u64) {
        let source = serde_json::from_str(SOURCE).expect("a declaration");
        let mut lines = Vec::new();
        let mut export = Bytes { bytes, read: 0 };
        let ended = documents(&mut export, &source, &mut |line| {
            lines.extend_from_slice(line);
            Ok(())
        });
        let ended = match ended {
            Ok(_) => Ok(lines),
            Err(Stop::Export(refusal)) => Err(refusal),
            Err(Stop::Pipe(error)) => panic!("{error}"),
        };
        (ended, export.read)
    }

    #[test]
    fn archives_that_are_altered_anywhere_give_the_same_or_nothing() {
        let chats = conversations(7, 6);
        let mut rng = ChaCha20Rng::seed_from_u64(20_261_123);
        let (mut same, mut refused) = (0, 0);
        for archive in [pack(&files(&chats)), repacked(&chats)] {
            let (whole, _) = opened(&archive);
            let whole = whole.expect("an honest export");
            for round in 0..1_000 {
                let mut altered = archive.clone();
                let at = rng.next_u32() as usize % altered.len();
                match round % 4 {
                    0 => altered[at] ^= 1 << (rng.next_u32() % 8),
                    1 => altered.truncate(at),
                    2 => altered[at..].iter_mut().take(4).for_each(|it| *it = 0xff),
                    _ => {
                        let from = rng.next_u32() as usize % altered.len();
                        let piece = altered[from..].iter().take(64).copied().collect::<Vec<_>>();
                        altered.splice(at..at, piece);
                    }
                }
                let (ended, read) = opened(&altered);
                // The directory, headers and one file: nothing is read over and over.
                assert!(read <= 3 * altered.len() as u64 + (1 << 17), "{read}");
                match ended {
                    // The checksum is over what is taken; what lies beside it may be anything.
                    Ok(lines) => {
                        assert!(lines == whole, "round {round}: other documents");
                        same += 1;
                    }
                    Err(_) => refused += 1,
                }
            }
        }
        println!("{same} the same, {refused} refused");
        assert!(same > 0 && refused > 1_000);
    }

    #[test]
    fn texts_that_are_altered_anywhere_end_well() {
        let text = json!(conversations(8, 6)).to_string().into_bytes();
        let mut rng = ChaCha20Rng::seed_from_u64(8);
        for _ in 0..2_000 {
            let mut altered = text.clone();
            let at = rng.next_u32() as usize % altered.len();
            altered[at] = b"[]{}\"\\,:0\xff"[rng.next_u32() as usize % 10];
            let packed = pack(&[Item::new("conversations.json", &altered)]);
            let (bare, packed) = (opened(&altered).0, opened(&packed).0);
            assert_eq!(bare, packed);
            for line in bare
                .iter()
                .flat_map(|it| it.split_inclusive(|byte| *byte == b'\n'))
            {
                let source = serde_json::from_str(SOURCE).expect("a declaration");
                assert!(Document::parse(&source, line).is_ok());
            }
        }
    }

    #[test]
    fn the_checksum_is_that_of_other_archivers() {
        let mut bytes = Counted::default();
        bytes.add(b"1234");
        bytes.add(b"56789");
        // The check value of CRC-32/ISO-HDLC in catalogues.
        assert_eq!((bytes.crc(), bytes.count), (0xcbf4_3926, 9));
    }
}
