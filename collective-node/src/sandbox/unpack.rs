//! Opens a person's export on that person's machine: in the jail, so that bytes that somebody made up reach nothing.
//!
//! The child has no file. It asks for pieces of the export by their place, and gives lines; how both cross the pipe is in SPEC
//! "Sandbox protocol".

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use collective::limits::{MAX_DOCUMENT_BYTES, MAX_DOCUMENTS_BYTES};
use collective::source::Source;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use super::archive::{self, ExportRefusal, ReadAt, Stop, Summary};
use super::child::wait_for_the_end;
use super::execute::Input;
use super::failure::Fault;
use super::jail::Layers;
use super::wire::{Kind, MAX_FRAME_BYTES, read_frame, write_frame};
use super::worker::{Silence, Worker, WorkerLimits, grow};
use super::{DOCUMENT_BYTES, HOST_BYTES, START_LIMIT, Sandbox};

/// Seconds of processor time for one export: a GiB takes some ten.
const SECONDS: u32 = 120;
/// Seconds by the clock, on a machine that has other things to do.
const LIMIT: Duration = Duration::from_secs(2 * SECONDS as u64);
/// Memory of the child: what putting the longest document into canonical form takes, and the object that it is made of.
const MEMORY_BYTES: u64 = HOST_BYTES + DOCUMENT_BYTES + 8 * MAX_DOCUMENT_BYTES as u64;

/// Documents made of an export.
pub struct Unpacked {
    /// Their lines, one after another: what is contributed.
    pub documents: Zeroizing<Vec<u8>>,
    /// What was kept and what was left out.
    pub summary: Summary,
    /// What stood around the reader.
    pub layers: Layers,
    /// Greatest resident size of the reader, in bytes, where the kernel told.
    pub resident_bytes: Option<u64>,
}

/// Why there are no documents.
#[derive(Debug, Error)]
pub enum UnpackError {
    /// The export.
    #[error(transparent)]
    Export(#[from] ExportRefusal),
    /// This machine.
    #[error(transparent)]
    Sandbox(#[from] Fault),
    /// The export's file.
    #[error("the export cannot be read: {0}")]
    Read(#[from] io::Error),
}

/// What the child is asked for.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct UnpackFrame {
    source: Source,
    length: u64,
}

/// What the child says at its end.
type Ended = Result<Summary, ExportRefusal>;

impl Sandbox {
    /// Makes documents of an export: a ZIP archive, or the file in it. Blocks.
    ///
    /// # Errors
    /// [`UnpackError`], which says whose fault it is.
    pub fn unpack(&self, export: &File, source: &Source) -> Result<Unpacked, UnpackError> {
        let limits = WorkerLimits {
            memory_bytes: MEMORY_BYTES,
            seconds: SECONDS,
        };
        let deadline = Instant::now() + START_LIMIT + LIMIT;
        let (mut worker, layers) =
            self.start_from(&self.executable, "unpack", limits, None, deadline)?;
        let frame = UnpackFrame {
            source: source.clone(),
            length: export.metadata()?.len(),
        };
        let frame = serde_json::to_vec(&frame).expect("a frame has only plain fields");
        send(&mut worker, Kind::Task, &frame)?;
        let mut documents = Zeroizing::new(Vec::new());
        let summary = loop {
            match worker.receive(deadline) {
                Ok((Kind::Ask, question)) => {
                    let Some((offset, length)) = asked(&question) else {
                        return Err(worker.blame("a question that is none").into());
                    };
                    let mut piece = Zeroizing::new(vec![0; length]);
                    export.read_exact_at(&mut piece, offset)?;
                    send(&mut worker, Kind::Piece, &piece)?;
                }
                Ok((Kind::Output, piece))
                    if documents.len() + piece.len() <= MAX_DOCUMENTS_BYTES =>
                {
                    grow(&mut documents, &piece);
                }
                Ok((Kind::Report, ended)) => match serde_json::from_slice::<Ended>(&ended) {
                    Ok(ended) => break ended?,
                    Err(_) => return Err(worker.blame("a report that is none").into()),
                },
                Ok(_) => return Err(worker.blame("a frame too many").into()),
                // Whatever it did to its reader, it did it to nothing else.
                Err(Silence::TimedOut | Silence::Ended) => return Err(ExportRefusal::GaveUp.into()),
                Err(Silence::Protocol(what)) => return Err(worker.blame(what).into()),
            }
        };
        let resident_bytes = worker.finish().resident_bytes;
        Ok(Unpacked {
            documents,
            summary,
            layers,
            resident_bytes,
        })
    }
}

fn send(worker: &mut Worker, kind: Kind, payload: &[u8]) -> Result<(), UnpackError> {
    let sent = worker.send(kind, payload).and_then(|()| worker.flush());
    // A reader that is gone is heard of by its silence, or was killed for the time that it took.
    match sent {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(ExportRefusal::GaveUp.into()),
        Err(error) => Err(Fault::Pipe(error).into()),
        Ok(()) => Ok(()),
    }
}

/// Place and length of the piece that the child asks for.
fn asked(question: &[u8]) -> Option<(u64, usize)> {
    let (offset, length) = question.split_first_chunk()?;
    let length = u32::from_le_bytes(length.try_into().ok()?) as usize;
    (length <= MAX_FRAME_BYTES).then(|| (u64::from_le_bytes(*offset), length))
}

/// The child's side: reads pieces, writes lines, and says how it ended.
pub(super) fn run(mut from: Input, to: File) -> io::Result<()> {
    let (Kind::Task, task) = read_frame(&mut from)? else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let task: UnpackFrame = serde_json::from_slice(&task)?;
    let mut export = Export {
        from: &mut from,
        to: &to,
        length: task.length,
    };
    let mut each = |line: &[u8]| {
        line.chunks(MAX_FRAME_BYTES)
            .try_for_each(|piece| write_frame(&mut &to, Kind::Output, piece))
    };
    let ended: Ended = match archive::documents(&mut export, &task.source, &mut each) {
        Ok(summary) => Ok(summary),
        Err(Stop::Export(refusal)) => Err(refusal),
        Err(Stop::Pipe(error)) => return Err(error),
    };
    let ended = serde_json::to_vec(&ended).expect("a summary has only plain fields");
    write_frame(&mut &to, Kind::Report, &ended)?;
    wait_for_the_end(&mut from)
}

/// The export, as it lies at the other end of the pipe.
struct Export<'a> {
    from: &'a mut Input,
    to: &'a File,
    length: u64,
}

impl ReadAt for Export<'_> {
    fn length(&self) -> u64 {
        self.length
    }

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let length = u32::try_from(into.len()).map_err(io::Error::other)?;
        let question = [&offset.to_le_bytes()[..], &length.to_le_bytes()].concat();
        write_frame(&mut self.to, Kind::Ask, &question)?;
        match read_frame(self.from)? {
            (Kind::Piece, piece) if piece.len() == into.len() => {
                into.copy_from_slice(&piece);
                Ok(())
            }
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}
