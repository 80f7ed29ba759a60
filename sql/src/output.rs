//! Rows as JSON (SPEC "Output of a query"): an array of objects, one a row, a member for each column.

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type};
use serde_json::{Map, Number, Value};

/// The rows of an output, if all its columns are of known types.
pub fn json(batches: &[RecordBatch]) -> Option<Vec<u8>> {
    let mut rows = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let schema = batch.schema();
            let columns = schema.fields().iter().zip(batch.columns());
            let members = columns.map(|(field, column)| {
                let value = value(column, row)?;
                Some((field.name().clone(), value))
            });
            rows.push(Value::Object(members.collect::<Option<Map<_, _>>>()?));
        }
    }
    let mut text = serde_json::to_vec(&rows).ok()?;
    text.push(b'\n');
    Some(text)
}

/// Integers whole, doubles in the fewest digits that are read as the same one, what is no number as null.
fn value(column: &ArrayRef, row: usize) -> Option<Value> {
    if column.is_null(row) {
        return Some(Value::Null);
    }
    Some(match column.data_type() {
        DataType::Null => Value::Null,
        DataType::Boolean => column.as_boolean().value(row).into(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).into(),
        DataType::Float64 => {
            let number = column.as_primitive::<Float64Type>().value(row);
            Number::from_f64(number).map_or(Value::Null, Value::Number)
        }
        DataType::Utf8 => column.as_string::<i32>().value(row).into(),
        DataType::Utf8View => column.as_string_view().value(row).into(),
        _ => return None,
    })
}
