//! `documents.jsonl`, one canonical line a document, and `documents.parquet`, its members as strings of JSON with the number of
//! the contribution that they came in.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::iter;
use std::path::{Path, PathBuf};

use collective::document::Document;
use collective::limits::MAX_DOCUMENTS;
use collective::source::Source;
use parquet::basic::{Repetition, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::writer::SerializedFileWriter;

use super::{GROUP_BYTES, GROUP_ROWS, Table, close, parquet};
use crate::failure::Failure;
use crate::input::{CONTRIBUTION, DOCUMENTS, LINES};

/// Both files, with the rows that wait for the next group.
pub(super) struct Documents {
    source: Source,
    places: Vec<usize>,
    lines: BufWriter<File>,
    path: PathBuf,
    writer: SerializedFileWriter<File>,
    contributions: Vec<i64>,
    /// For each selected column whether a row has it, and the values of those that do.
    members: Vec<(Vec<i16>, Vec<ByteArray>)>,
    waiting_bytes: usize,
    contribution: i64,
    rows: u64,
    left_out: u64,
}

impl Documents {
    pub(super) fn new(source: &Source, places: Vec<usize>, folder: &Path) -> Result<Self, Failure> {
        let path = folder.join(LINES);
        let lines = File::create(&path).map_err(|error| Failure::file(&path, error))?;
        let number = (
            CONTRIBUTION.to_owned(),
            Physical::INT64,
            Repetition::REQUIRED,
        );
        let member = |place: &usize| {
            let name = source.columns[*place].name.clone();
            (name, Physical::BYTE_ARRAY, Repetition::OPTIONAL)
        };
        let columns = iter::once(number).chain(places.iter().map(member));
        Ok(Self {
            writer: parquet(folder, DOCUMENTS, columns)?,
            members: places.iter().map(|_| (vec![], vec![])).collect(),
            source: source.clone(),
            places,
            lines: BufWriter::new(lines),
            path,
            contributions: vec![],
            waiting_bytes: 0,
            contribution: 0,
            rows: 0,
            left_out: 0,
        })
    }

    fn take_document(&mut self, document: &Document) -> Result<(), Failure> {
        let line = document.cut(&self.places);
        self.lines
            .write_all(&line)
            .map_err(|error| Failure::file(&self.path, error))?;
        self.contributions.push(self.contribution);
        for (place, (present, values)) in self.places.iter().zip(&mut self.members) {
            let value = document.value(*place);
            present.push(value.is_some().into());
            values.extend(value.map(|value| ByteArray::from(value.to_vec())));
        }
        self.rows += 1;
        self.waiting_bytes += line.len();
        match self.waiting_bytes < GROUP_BYTES && self.contributions.len() < self.group_rows() {
            true => Ok(()),
            false => self.write_group(),
        }
    }

    /// What is noted of a row counts, too: documents may be short, and of many columns.
    fn group_rows(&self) -> usize {
        (GROUP_BYTES / size_of::<ByteArray>() / (self.places.len() + 1)).clamp(1, GROUP_ROWS)
    }

    fn write_group(&mut self) -> Result<(), Failure> {
        let lacks = || Failure::machine("a table of fewer columns than are selected");
        let mut group = self.writer.next_row_group()?;
        let mut to = group.next_column()?.ok_or_else(lacks)?;
        to.typed::<Int64Type>()
            .write_batch(&self.contributions, None, None)?;
        to.close()?;
        self.contributions.clear();
        for (present, values) in &mut self.members {
            let mut to = group.next_column()?.ok_or_else(lacks)?;
            to.typed::<ByteArrayType>()
                .write_batch(values, Some(present), None)?;
            to.close()?;
            present.clear();
            values.clear();
        }
        group.close()?;
        self.waiting_bytes = 0;
        Ok(())
    }
}

impl Table for Documents {
    fn take(&mut self, plaintext: &[u8]) -> Result<(), Failure> {
        let is_whole = plaintext.len() <= self.source.max_bytes();
        // The last line may lack its end, which is a defect of that line; past the limit none is looked at.
        let lines = plaintext.split_inclusive(|byte| *byte == b'\n');
        for line in lines.take(if is_whole { MAX_DOCUMENTS } else { 0 }) {
            let Ok(document) = Document::parse(&self.source, line) else {
                self.left_out += 1;
                continue;
            };
            if document
                .columns()
                .any(|column| self.places.contains(&column))
            {
                self.take_document(&document)?;
            }
        }
        let many = plaintext
            .split_inclusive(|byte| *byte == b'\n')
            .nth(MAX_DOCUMENTS)
            .is_some();
        self.left_out += u64::from(!is_whole || many);
        self.contribution += 1;
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<(u64, u64), Failure> {
        if !self.contributions.is_empty() {
            self.write_group()?;
        }
        close(self.writer)?;
        let lines = self
            .lines
            .into_inner()
            .map_err(|error| Failure::file(&self.path, error.error()))?;
        lines
            .sync_all()
            .map_err(|error| Failure::file(&self.path, error))?;
        Ok((self.rows, self.left_out))
    }
}
