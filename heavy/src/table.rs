//! `table`: contributed bytes, as they come out of sealed files, become the input folder of a program.
//!
//! Whatever is fed is hostile. Each record and each line is parsed again by the source's own rules, cut to the selected columns,
//! and left out if it is none. Memory does not grow with the number of contributions: the feeder hands over one after the
//! other, and tables are written group by group.

mod documents;
mod records;

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use collective::source::Source;
use parquet::basic::{LogicalType, Repetition, Type as Physical};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;

use crate::failure::Failure;
use crate::folder;
use crate::input::{INPUT, Input};

/// What the feeder writes instead of a length when all contributions are through: an end that is not said is none.
pub const END: u32 = u32::MAX;
/// Bytes of a declaration: it stands in a charter, and 256 columns of many words fit.
const MAX_DECLARATION_BYTES: u64 = 1 << 20;
/// Bytes that wait for being written as one row group, about: what a reader has of it in memory at once.
const GROUP_BYTES: usize = 16 << 20;
/// Rows of a group at most, as other writers of Parquet have them.
const GROUP_ROWS: usize = 1 << 16;

/// What `table` is called with.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The source's declaration, as JSON
    #[arg(long, value_name = "FILE")]
    declaration: PathBuf,
    /// Columns of the selector, joined by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',', required = true)]
    columns: Vec<String>,
    /// What the collective agreed to; it is passed on to the program
    #[arg(long, value_name = "WORD", value_parser = ["statistics", "training", "transfer"])]
    purpose: String,
    /// Folder for the tables
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
}

/// One table that is being written.
trait Table {
    /// Takes one contribution's plaintext.
    fn take(&mut self, plaintext: &[u8]) -> Result<(), Failure>;
    /// Ends the files. Says how many rows there are, and how many were none.
    fn finish(self: Box<Self>) -> Result<(u64, u64), Failure>;
}

/// Makes the input folder of what standard input hands over.
///
/// # Errors
/// The operator's, all of them: who feeds and who starts this is on the operator's machine.
pub fn run(arguments: Arguments) -> Result<(), Failure> {
    let path = &arguments.declaration;
    let text = folder::read(path, MAX_DECLARATION_BYTES)?;
    let source: Source =
        serde_json::from_slice(&text).map_err(|error| Failure::file(path, error))?;
    let places = source
        .select(&arguments.columns)
        .map_err(Failure::machine)?;
    // A folder of an earlier try is not whole any more.
    let path = arguments.output.join(INPUT);
    if path.exists() {
        fs::remove_file(&path).map_err(|error| Failure::file(&path, error))?;
    }
    let mut table: Box<dyn Table> = match source.has_documents() {
        true => Box::new(documents::Documents::new(
            &source,
            places,
            &arguments.output,
        )?),
        false => Box::new(records::Records::new(&source, places, &arguments.output)?),
    };
    let mut feeder = Feeder::new(io::stdin().lock(), source.max_bytes());
    let mut contributions = 0;
    while let Some(plaintext) = feeder.next()? {
        table.take(plaintext)?;
        contributions += 1;
    }
    let (rows, left_out) = table.finish()?;
    // Last, so that a folder that has it is whole.
    let input = Input {
        declaration: source,
        columns: arguments.columns,
        contributions,
        rows,
        left_out,
        purpose: arguments.purpose,
    };
    folder::write_json(&arguments.output, INPUT, &input)
}

/// Reads contributions: length (4, little endian) ‖ plaintext, one after the other, and [`END`].
struct Feeder<R> {
    from: BufReader<R>,
    plaintext: Vec<u8>,
    /// Bytes of a contribution that are kept; what is longer is cut to one byte more, which no source takes.
    room: usize,
}

impl<R: Read> Feeder<R> {
    fn new(from: R, room: usize) -> Self {
        Self {
            from: BufReader::new(from),
            plaintext: Vec::new(),
            room,
        }
    }

    fn next(&mut self) -> Result<Option<&[u8]>, Failure> {
        let broken =
            |error| Failure::machine(format!("the feeder broke off before its end: {error}"));
        let mut length = [0; 4];
        self.from.read_exact(&mut length).map_err(broken)?;
        let length = u32::from_le_bytes(length);
        if length == END {
            return Ok(None);
        }
        let length = u64::from(length);
        let kept = length.min(self.room as u64 + 1);
        self.plaintext.clear();
        let read = self
            .from
            .by_ref()
            .take(kept)
            .read_to_end(&mut self.plaintext)
            .map_err(broken)?;
        let rest = io::copy(&mut self.from.by_ref().take(length - kept), &mut io::sink())
            .map_err(broken)?;
        if read as u64 + rest != length {
            return Err(Failure::machine(
                "the feeder broke off within a contribution",
            ));
        }
        Ok(Some(&self.plaintext))
    }
}

/// A Parquet file of these columns. The names are declared ones, or have a sign that no declared name has.
fn parquet(
    folder: &Path,
    name: &str,
    columns: impl Iterator<Item = (String, Physical, Repetition)>,
) -> Result<SerializedFileWriter<File>, Failure> {
    let path = folder.join(name);
    let file = File::create(&path).map_err(|error| Failure::file(&path, error))?;
    let field = |(name, physical, repetition): (String, Physical, Repetition)| {
        let text = (physical == Physical::BYTE_ARRAY).then_some(LogicalType::String);
        let field = Type::primitive_type_builder(&name, physical);
        field
            .with_repetition(repetition)
            .with_logical_type(text)
            .build()
            .map(Arc::new)
    };
    let fields = columns.map(field).collect::<Result<_, _>>()?;
    let schema = Type::group_type_builder("contributions")
        .with_fields(fields)
        .build()?;
    let properties = WriterProperties::builder()
        .set_created_by("collective-heavy".into())
        .build();
    Ok(SerializedFileWriter::new(
        file,
        Arc::new(schema),
        Arc::new(properties),
    )?)
}

/// Ends a Parquet file, on the disk.
fn close(writer: SerializedFileWriter<File>) -> Result<(), Failure> {
    let mut writer = writer;
    writer.finish()?;
    writer.inner().sync_all().map_err(Failure::machine)
}
