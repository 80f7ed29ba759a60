//! The aggregate that every grouping carries along: which records are in a group.

use std::mem::size_of;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, UInt32Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility,
};

/// Joins places of records, each as 4 bytes in little-endian order.
pub fn members() -> AggregateUDF {
    AggregateUDF::from(Members {
        signature: Signature::exact(vec![DataType::UInt32], Volatility::Immutable),
    })
}

/// The places that [`members`] joined, ascending.
pub fn places(joined: &[u8]) -> Vec<u32> {
    let (numbers, _) = joined.as_chunks::<{ size_of::<u32>() }>();
    let mut places: Vec<u32> = numbers.iter().map(|n| u32::from_le_bytes(*n)).collect();
    places.sort_unstable();
    places
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Members {
    signature: Signature,
}

impl AggregateUDFImpl for Members {
    fn name(&self) -> &str {
        "#members"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::LargeBinary)
    }

    fn accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Joined(vec![])))
    }

    fn state_fields(&self, _: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(
            "joined",
            DataType::LargeBinary,
            true,
        ))])
    }
}

#[derive(Debug)]
struct Joined(Vec<u8>);

impl Accumulator for Joined {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let places = values[0].as_primitive::<UInt32Type>();
        let places = places.iter().flatten();
        self.0.extend(places.flat_map(u32::to_le_bytes));
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::LargeBinary(Some(std::mem::take(&mut self.0))))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.0.capacity()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let joined = states[0].as_binary::<i64>();
        joined
            .iter()
            .flatten()
            .for_each(|more| self.0.extend_from_slice(more));
        Ok(())
    }
}
