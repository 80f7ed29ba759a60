//! `sum` and `avg` of integers, exactly: the engine's own `sum` wraps around, and its `avg` adds doubles.

use std::mem::size_of_val;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef, Int64Type};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility,
};

/// Digits of a sum on its way: it has 2^32 summands of 64 bits, at most.
const DIGITS: u8 = 38;

/// `sum(BIGINT)`: a BIGINT; one that does not fit ends the run.
pub fn sum() -> AggregateUDF {
    AggregateUDF::from(Exact::new("sum", DataType::Int64))
}

/// `avg(BIGINT)`: the exact sum divided by the count, as a double.
pub fn avg() -> AggregateUDF {
    AggregateUDF::from(Exact::new("avg", DataType::Float64))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Exact {
    name: &'static str,
    result: DataType,
    signature: Signature,
}

impl Exact {
    fn new(name: &'static str, result: DataType) -> Self {
        let signature = Signature::exact(vec![DataType::Int64], Volatility::Immutable);
        Self {
            name,
            result,
            signature,
        }
    }
}

impl AggregateUDFImpl for Exact {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.result.clone())
    }

    fn accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Sum {
            total: 0,
            count: 0,
            is_average: self.result == DataType::Float64,
        }))
    }

    fn state_fields(&self, _: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![
            Arc::new(Field::new("total", DataType::Decimal128(DIGITS, 0), true)),
            Arc::new(Field::new("count", DataType::Int64, true)),
        ])
    }
}

#[derive(Debug)]
struct Sum {
    total: i128,
    count: i64,
    is_average: bool,
}

impl Accumulator for Sum {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = values[0].as_primitive::<Int64Type>();
        for value in values.iter().flatten() {
            self.total += i128::from(value);
            self.count += 1;
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if self.is_average {
            if self.count == 0 {
                return Ok(ScalarValue::Float64(None));
            }
            let count = i128::from(self.count);
            let (whole, rest) = (self.total / count, self.total % count);
            let average = whole as f64 + rest as f64 / count as f64;
            return Ok(ScalarValue::Float64(Some(average)));
        }
        let total = i64::try_from(self.total).map_err(|_| {
            use datafusion::arrow::error::ArrowError;
            DataFusionError::from(ArrowError::ArithmeticOverflow("sum".into()))
        })?;
        Ok(ScalarValue::Int64((self.count > 0).then_some(total)))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![
            ScalarValue::Decimal128(Some(self.total), DIGITS, 0),
            ScalarValue::Int64(Some(self.count)),
        ])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let totals = states[0].as_primitive::<Decimal128Type>();
        let counts = states[1].as_primitive::<Int64Type>();
        for place in 0..totals.len() {
            self.total += totals.value(place);
            self.count += counts.value(place);
        }
        Ok(())
    }
}
