//! `records.parquet`: one row a contribution, integers as INT64, words as strings in a dictionary.

use std::fs::File;
use std::path::Path;

use collective::source::{Column, ColumnType, Source};
use parquet::basic::{Repetition, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::writer::SerializedFileWriter;

use super::{GROUP_BYTES, GROUP_ROWS, Table, close, parquet};
use crate::failure::Failure;
use crate::input::RECORDS;

/// The table, with the rows that wait for the next group.
pub(super) struct Records {
    source: Source,
    columns: Vec<Selected>,
    writer: SerializedFileWriter<File>,
    waiting: usize,
    group_rows: usize,
    rows: u64,
    left_out: u64,
}

/// A selected column and its waiting values.
struct Selected {
    place: usize,
    values: Values,
}

enum Values {
    Integers(Vec<i64>),
    /// Each word as it stands in the declaration: a row has a copy of where it lies, not of its bytes.
    Words {
        declared: Vec<ByteArray>,
        rows: Vec<ByteArray>,
    },
}

impl Records {
    pub(super) fn new(source: &Source, places: Vec<usize>, folder: &Path) -> Result<Self, Failure> {
        let declared = |place: &usize| {
            let Column { name, kind } = &source.columns[*place];
            let physical = match kind {
                ColumnType::Integer { .. } => Physical::INT64,
                ColumnType::Choice(_) | ColumnType::Json => Physical::BYTE_ARRAY,
            };
            (name.clone(), physical, Repetition::REQUIRED)
        };
        let writer = parquet(folder, RECORDS, places.iter().map(declared))?;
        // A value waits as a number, or as the place of a word.
        let group_rows = GROUP_BYTES / size_of::<ByteArray>() / places.len();
        let selected = |place: usize| Selected {
            place,
            values: Values::of(&source.columns[place].kind),
        };
        Ok(Self {
            source: source.clone(),
            columns: places.into_iter().map(selected).collect(),
            writer,
            waiting: 0,
            group_rows: group_rows.clamp(1, GROUP_ROWS),
            rows: 0,
            left_out: 0,
        })
    }

    fn write_group(&mut self) -> Result<(), Failure> {
        let mut group = self.writer.next_row_group()?;
        for column in &mut self.columns {
            let Some(mut to) = group.next_column()? else {
                return Err(Failure::machine(
                    "a table of fewer columns than are selected",
                ));
            };
            match &mut column.values {
                Values::Integers(values) => {
                    to.typed::<Int64Type>().write_batch(values, None, None)?;
                    values.clear();
                }
                Values::Words { rows, .. } => {
                    to.typed::<ByteArrayType>().write_batch(rows, None, None)?;
                    rows.clear();
                }
            }
            to.close()?;
        }
        group.close()?;
        self.waiting = 0;
        Ok(())
    }
}

impl Table for Records {
    fn take(&mut self, plaintext: &[u8]) -> Result<(), Failure> {
        let Ok(fields) = self.source.parse(plaintext) else {
            self.left_out += 1;
            return Ok(());
        };
        for column in &mut self.columns {
            column.values.push(fields[column.place]);
        }
        self.rows += 1;
        self.waiting += 1;
        match self.waiting < self.group_rows {
            true => Ok(()),
            false => self.write_group(),
        }
    }

    fn finish(mut self: Box<Self>) -> Result<(u64, u64), Failure> {
        if self.waiting > 0 {
            self.write_group()?;
        }
        close(self.writer)?;
        Ok((self.rows, self.left_out))
    }
}

impl Values {
    fn of(kind: &ColumnType) -> Self {
        match kind {
            ColumnType::Choice(words) => Self::Words {
                declared: words
                    .iter()
                    .map(|word| ByteArray::from(word.as_str()))
                    .collect(),
                rows: vec![],
            },
            ColumnType::Integer { .. } | ColumnType::Json => Self::Integers(vec![]),
        }
    }

    /// A field that [`Source::parse`] passed.
    fn push(&mut self, field: &str) {
        match self {
            Self::Integers(values) => values.push(
                field
                    .parse()
                    .expect("the source checked that it is an integer"),
            ),
            Self::Words { declared, rows } => {
                let word = declared.iter().find(|word| word.data() == field.as_bytes());
                rows.push(
                    word.expect("the source checked that the word is declared")
                        .clone(),
                );
            }
        }
    }
}
