//! Tables as they are read again, a piece of a column at a time.

use std::fs::File;
use std::path::Path;

use parquet::column::reader::get_typed_column_reader;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int64Type};
use parquet::file::reader::{FileReader, SerializedFileReader};

use crate::failure::Failure;

/// A Parquet file of columns that are not nested.
pub struct Table {
    reader: SerializedFileReader<File>,
}

impl Table {
    /// Opens a file of the input folder.
    ///
    /// # Errors
    /// The operator's: the file was made on this machine.
    pub fn open(folder: &Path, name: &str) -> Result<Self, Failure> {
        let path = folder.join(name);
        let file = File::open(&path).map_err(|error| Failure::file(&path, error))?;
        let reader = SerializedFileReader::new(file)?;
        Ok(Self { reader })
    }

    /// How many groups of rows there are.
    pub fn groups(&self) -> usize {
        self.reader.num_row_groups()
    }

    /// Rows of one group.
    pub fn rows(&self, group: usize) -> usize {
        self.reader
            .metadata()
            .row_group(group)
            .num_rows()
            .try_into()
            .unwrap_or(0)
    }

    /// A column of integers, of one group.
    ///
    /// # Errors
    /// A table that lacks it, or has it otherwise.
    pub fn integers(&self, group: usize, column: &str) -> Result<Vec<i64>, Failure> {
        Ok(self.column::<Int64Type>(group, column)?.0)
    }

    /// A column of strings that each row has, of one group.
    ///
    /// # Errors
    /// As [`Table::integers`].
    pub fn words(&self, group: usize, column: &str) -> Result<Vec<ByteArray>, Failure> {
        Ok(self.column::<ByteArrayType>(group, column)?.0)
    }

    /// A column of strings that some rows have, of one group.
    ///
    /// # Errors
    /// As [`Table::integers`].
    pub fn members(&self, group: usize, column: &str) -> Result<Vec<Option<ByteArray>>, Failure> {
        let (values, present) = self.column::<ByteArrayType>(group, column)?;
        let mut values = values.into_iter();
        Ok(present
            .iter()
            .map(|present| (*present > 0).then(|| values.next()).flatten())
            .collect())
    }

    /// The values of a column and, for each row, whether it has one.
    fn column<T: DataType>(
        &self,
        group: usize,
        name: &str,
    ) -> Result<(Vec<T::T>, Vec<i16>), Failure> {
        let schema = self.reader.metadata().file_metadata().schema_descr();
        let place = schema
            .columns()
            .iter()
            .position(|column| column.name() == name);
        let place = place.ok_or_else(|| {
            Failure::machine(format!("a table of the input lacks the column '{name}'"))
        })?;
        if schema.column(place).physical_type() != T::get_physical_type() {
            return Err(Failure::machine(format!(
                "the column '{name}' is of another type than declared"
            )));
        }
        let reader = self.reader.get_row_group(group)?.get_column_reader(place)?;
        let mut reader = get_typed_column_reader::<T>(reader);
        let (mut values, mut present) = (vec![], vec![]);
        let rows = self.rows(group);
        let levels = (schema.column(place).max_def_level() > 0).then_some(&mut present);
        reader.read_records(rows, levels, None, &mut values)?;
        if values.len() != rows && present.len() != rows {
            return Err(Failure::machine(format!(
                "the column '{name}' has fewer rows than its table"
            )));
        }
        Ok((values, present))
    }
}
