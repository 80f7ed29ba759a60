//! Frames between parent and child: kind (1 byte), length (4 bytes, little endian), payload.
//! SPEC "Sandbox protocol". Each side treats the other's lengths as hostile.

use std::io::{self, Read, Write};

use collective::source::Source;
use serde::{Deserialize, Serialize};

use super::component::World;
use super::failure::Trap;
use super::records::Rejected;
use super::{Limits, Task};

/// Bytes of one frame: a chunk of records with its longest record, and no more than a reader can hold.
pub(super) const MAX_FRAME_BYTES: usize = (1 << 20) + (64 << 10);

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// Parent: a piece of the component (to compile).
    Program = b'P',
    /// Parent: a piece of the source bundle.
    Bundle = b'B',
    /// Parent: the component is complete; compile it for the [`World`] named as JSON.
    Go = b'G',
    /// Parent: [`TaskFrame`]; the bundle is complete; load the compiled form.
    Task = b'T',
    /// Parent: one record, cut to one byte over the limit; or the last piece of a contribution of documents.
    Record = b'R',
    /// Parent: another piece of a contribution of documents, or the piece of an export that was asked for.
    Piece = b'Q',
    /// Parent: no more records.
    End = b'E',
    /// Parent: a bit for each group of a query that may be told.
    Keep = b'K',
    /// Child: [`super::Layers`], before it reads anything.
    Layers = b'L',
    /// Child: program loaded, clock running.
    Ready = b'Y',
    /// Child: the compiled form belongs to another engine or processor; or the name of the engine for queries.
    Stale = b'S',
    /// Child: a piece of who is in which group of a query. Its [`Report`] is not yet the last.
    Groups = b'M',
    /// Child: which piece of an export it wants: its place (8 bytes, little endian) and length (4).
    Ask = b'A',
    /// Child: a piece of the output.
    Output = b'O',
    /// Child: a log line.
    Log = b'N',
    /// Child: a piece of a compiled form.
    Compiled = b'C',
    /// Child: the text of a returned error.
    Text = b'X',
    /// Child: [`Report`], or what came of an export; the last frame.
    Report = b'D',
}

impl Kind {
    /// The kind that a byte names.
    pub(super) fn of(byte: u8) -> Option<Self> {
        const ALL: [Kind; 18] = [
            Kind::Program,
            Kind::Bundle,
            Kind::Go,
            Kind::Task,
            Kind::Record,
            Kind::Piece,
            Kind::End,
            Kind::Keep,
            Kind::Groups,
            Kind::Ask,
            Kind::Layers,
            Kind::Ready,
            Kind::Stale,
            Kind::Output,
            Kind::Log,
            Kind::Compiled,
            Kind::Text,
            Kind::Report,
        ];
        ALL.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// What the child needs of a [`Task`].
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TaskFrame {
    pub(super) arguments: String,
    pub(super) limits: Limits,
    pub(super) source: Source,
    pub(super) columns: Vec<usize>,
    pub(super) seed: [u8; 32],
    pub(super) keep_log: bool,
    pub(super) world: World,
    /// Length of the compiled form, which the child has as its standard error.
    pub(super) compiled_bytes: usize,
}

impl TaskFrame {
    pub(super) fn of(task: &Task, compiled_bytes: usize) -> Self {
        Self {
            arguments: task.arguments.clone(),
            limits: task.limits,
            source: task.source.clone(),
            columns: task.columns.clone(),
            seed: task.seed,
            keep_log: task.keep_log,
            world: World::of(&task.code),
            compiled_bytes,
        }
    }
}

/// How the child ended. Without a trap, all went well.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Report {
    pub(super) trap: Option<Trap>,
    pub(super) fuel: u64,
    pub(super) memory_bytes: u64,
    pub(super) accepted: u64,
    pub(super) rejected: Rejected,
}

/// Writes one frame.
pub(super) fn write_frame(to: &mut impl Write, kind: Kind, payload: &[u8]) -> io::Result<()> {
    if payload.len() > MAX_FRAME_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "frame over its limit",
        ));
    }
    to.write_all(&header(kind, payload.len()))?;
    to.write_all(payload)
}

/// The five bytes before a payload.
pub(super) fn header(kind: Kind, length: usize) -> [u8; 5] {
    let length = u32::try_from(length)
        .expect("a frame is under 2 MiB")
        .to_le_bytes();
    [kind as u8, length[0], length[1], length[2], length[3]]
}

/// Reads the five bytes: the kind and the length that follows.
pub(super) fn parse_header(header: [u8; 5]) -> io::Result<(Kind, usize)> {
    let [kind, length @ ..] = header;
    let length = u32::from_le_bytes(length) as usize;
    match Kind::of(kind) {
        Some(kind) if length <= MAX_FRAME_BYTES => Ok((kind, length)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "not a frame")),
    }
}

/// Reads one frame, waiting for it.
pub(super) fn read_frame(from: &mut impl Read) -> io::Result<(Kind, Vec<u8>)> {
    let mut header = [0; 5];
    from.read_exact(&mut header)?;
    let (kind, length) = parse_header(header)?;
    let mut payload = vec![0; length];
    from.read_exact(&mut payload)?;
    Ok((kind, payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_the_pipe() {
        let mut bytes = Vec::new();
        write_frame(&mut bytes, Kind::Record, b"1,2\n").expect("fits");
        assert_eq!(bytes, b"R\x04\0\0\x001,2\n");
        assert_eq!(
            read_frame(&mut &bytes[..]).expect("whole"),
            (Kind::Record, b"1,2\n".to_vec())
        );
        assert!(read_frame(&mut &bytes[..8]).is_err(), "cut short");
        assert!(parse_header(*b"?\x04\0\0\0").is_err(), "unknown kind");
        assert!(
            parse_header(*b"R\xff\xff\xff\xff").is_err(),
            "longer than any frame"
        );
        assert!(write_frame(&mut Vec::new(), Kind::Record, &vec![0; MAX_FRAME_BYTES + 1]).is_err());
    }
}
