//! The records as a table: batches of typed columns, made one after another as the engine asks for them.

use std::fmt;
use std::sync::Arc;

use collective::source::{Column, ColumnType};
use collective_node::sandbox::Rows;
use datafusion::arrow::array::{ArrayRef, Int64Builder, RecordBatch, StringBuilder, UInt32Builder};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;

use crate::ranges::Range;

/// Records of one batch: what the engine works on at once, whatever the number of records.
const BATCH_ROWS: usize = 8_192;

/// The column that tells records apart. No declared column is called so, and no query can name it.
pub const PLACE: &str = "#place";

/// The columns of a query's table.
pub fn schema(columns: &[Column]) -> Schema {
    let field = |column: &Column| {
        let kind = match column.kind {
            ColumnType::Integer { .. } => DataType::Int64,
            // The parent refuses a query of documents before it starts a worker.
            ColumnType::Choice(_) | ColumnType::Json => DataType::Utf8,
        };
        Field::new(&column.name, kind, false)
    };
    Schema::new(columns.iter().map(field).collect::<Vec<_>>())
}

/// What the columns can hold.
pub fn ranges(columns: &[Column]) -> Vec<Range> {
    let range = |column: &Column| match column.kind {
        ColumnType::Integer { min, max } => (min.into(), max.into()),
        ColumnType::Choice(_) | ColumnType::Json => (i64::MIN.into(), i64::MAX.into()),
    };
    columns.iter().map(range).collect()
}

/// The records, with the place of each in a last column.
pub struct Records {
    rows: Rows,
    schema: SchemaRef,
}

impl Records {
    /// The records of these columns.
    pub fn new(rows: Rows, columns: &[Column]) -> Self {
        let mut fields = schema(columns).fields().to_vec();
        fields.push(Arc::new(Field::new(PLACE, DataType::UInt32, false)));
        Self {
            rows,
            schema: Arc::new(Schema::new(fields)),
        }
    }
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Records")
    }
}

impl PartitionStream for Records {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (rows, schema) = (self.rows.clone(), self.schema.clone());
        // The pipe is read where the engine waits for it: this process has one thread and nothing else to do.
        let batches = std::iter::from_fn(move || batch(&rows, &schema).transpose());
        let batches = futures_util::stream::iter(batches);
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), batches))
    }
}

enum Builder {
    Integers(Int64Builder),
    Words(StringBuilder),
}

/// The next records, if there are any.
fn batch(rows: &Rows, schema: &SchemaRef) -> Result<Option<RecordBatch>> {
    let fields = &schema.fields()[..schema.fields().len() - 1];
    let builder = |field: &Arc<Field>| match field.data_type() {
        DataType::Int64 => Builder::Integers(Int64Builder::with_capacity(BATCH_ROWS)),
        _ => Builder::Words(StringBuilder::new()),
    };
    let mut columns: Vec<Builder> = fields.iter().map(builder).collect();
    let mut places = UInt32Builder::with_capacity(BATCH_ROWS);
    for _ in 0..BATCH_ROWS {
        let Some((place, line)) = rows.next_row()? else {
            break;
        };
        let line = std::str::from_utf8(&line).map_err(|_| unparsed())?;
        for (column, field) in columns
            .iter_mut()
            .zip(line.trim_end_matches('\n').split(','))
        {
            match column {
                Builder::Integers(column) => {
                    column.append_value(field.parse().map_err(|_| unparsed())?);
                }
                Builder::Words(column) => column.append_value(field),
            }
        }
        places.append_value(place);
    }
    let places = places.finish();
    if places.is_empty() {
        return Ok(None);
    }
    let finished = columns.iter_mut().map(|column| match column {
        Builder::Integers(column) => Arc::new(column.finish()) as ArrayRef,
        Builder::Words(column) => Arc::new(column.finish()),
    });
    let mut arrays: Vec<ArrayRef> = finished.collect();
    arrays.push(Arc::new(places));
    Ok(Some(RecordBatch::try_new(schema.clone(), arrays)?))
}

/// A row that the source's declaration let pass and that is none: never, as both were parsed here.
fn unparsed() -> DataFusionError {
    DataFusionError::Internal("a row that does not parse".into())
}
