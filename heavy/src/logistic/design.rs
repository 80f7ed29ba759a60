//! The records as numbers: a column each, standardised, and whether the event happened.

use std::path::Path;

use collective::source::{Column as Declared, ColumnType};

use crate::failure::Failure;
use crate::input::{Input, RECORDS};
use crate::read::Table;
use crate::recipe::{Logistic, Target};

/// Columns at most, each word of a choice counted: equations are solved by the cube of their number.
const MAX_COLUMNS: usize = 512;
/// Numbers of the whole table, which is in memory: 2 GiB.
const MAX_CELLS: usize = 1 << 28;

/// What is fitted.
pub struct Design {
    /// Records.
    pub rows: usize,
    /// Of those, where the event happened.
    pub events: usize,
    /// For each record one number: 1 where the event happened, else 0.
    pub outcome: Vec<f64>,
    /// Row after row: a one, for the intercept, then the standardised columns.
    pub cells: Vec<f64>,
    /// What stands in the columns after the first.
    pub columns: Vec<Column>,
}

/// A column of numbers.
pub struct Column {
    /// The declared name; of a word of a choice, `name=word`.
    pub name: String,
    /// Mean.
    pub mean: f64,
    /// Standard deviation, of these records (divided by their number).
    pub deviation: f64,
}

impl Design {
    /// Reads the table of an input folder.
    ///
    /// # Errors
    /// The requester's: columns that are not there or have one value, more than fit. The operator's: the disk.
    pub fn read(asked: &Logistic, input: &Input, folder: &Path) -> Result<Self, Failure> {
        if input.declaration.has_documents() {
            return Err(Failure::request(
                "a regression reads records, and this source has documents",
            ));
        }
        let target = find(input, &asked.target.column)?;
        let explaining = explaining(asked, input)?;
        let table = Table::open(folder, RECORDS)?;
        let outcome = outcome(&table, &asked.target, target)?;
        let rows = outcome.len();
        let events = outcome.iter().filter(|it| **it > 0.0).count();
        if events == 0 || events == rows {
            let all = if events == 0 { "none" } else { "all" };
            return Err(Failure::request(format!(
                "the event happened in {all} of the {rows} records"
            )));
        }
        let mut numbers = vec![];
        for column in explaining {
            numbers.extend(expand(&table, column)?);
            if numbers.len() > MAX_COLUMNS || rows.saturating_mul(numbers.len() + 1) > MAX_CELLS {
                let what = format!(
                    "{rows} records with {} columns and more: at most {MAX_COLUMNS}, and {MAX_CELLS} numbers in all",
                    numbers.len()
                );
                return Err(Failure::request(what));
            }
        }
        Self::standardise(numbers, outcome, events)
    }

    fn standardise(
        numbers: Vec<(String, Vec<f64>)>,
        outcome: Vec<f64>,
        events: usize,
    ) -> Result<Self, Failure> {
        let rows = outcome.len();
        let width = numbers.len() + 1;
        let mut cells = vec![1.0; rows * width];
        let mut columns = Vec::with_capacity(numbers.len());
        for (place, (name, values)) in numbers.into_iter().enumerate() {
            let mean = values.iter().sum::<f64>() / rows as f64;
            let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
            let deviation = (squares / rows as f64).sqrt();
            if values.iter().all(|value| *value == values[0]) {
                return Err(Failure::request(format!(
                    "the column '{name}' has one value in all records: leave it out"
                )));
            }
            for (row, value) in values.iter().enumerate() {
                cells[row * width + place + 1] = (value - mean) / deviation;
            }
            columns.push(Column {
                name,
                mean,
                deviation,
            });
        }
        Ok(Self {
            rows,
            events,
            outcome,
            cells,
            columns,
        })
    }

    /// Numbers of a row.
    pub fn width(&self) -> usize {
        self.columns.len() + 1
    }

    /// Of a model that knows nothing but how often the event happens.
    pub fn null_log_likelihood(&self) -> f64 {
        let share = self.events as f64 / self.rows as f64;
        self.events as f64 * share.ln() + (self.rows - self.events) as f64 * (1.0 - share).ln()
    }
}

fn find<'a>(input: &'a Input, name: &str) -> Result<&'a Declared, Failure> {
    let found = input.selected().find(|column| column.name == name);
    found.ok_or_else(|| {
        Failure::request(format!(
            "the column '{name}' is none of those that the manifest selects"
        ))
    })
}

fn explaining<'a>(asked: &Logistic, input: &'a Input) -> Result<Vec<&'a Declared>, Failure> {
    let target = &asked.target.column;
    let Some(names) = &asked.columns else {
        return Ok(input
            .selected()
            .filter(|column| column.name != *target)
            .collect());
    };
    match names.contains(target) {
        true => Err(Failure::request(format!(
            "the column '{target}' cannot explain itself"
        ))),
        false => names.iter().map(|name| find(input, name)).collect(),
    }
}

fn outcome(table: &Table, target: &Target, column: &Declared) -> Result<Vec<f64>, Failure> {
    let mut outcome = vec![];
    for group in 0..table.groups() {
        match (&column.kind, target.at_least, &target.equals) {
            (ColumnType::Integer { .. }, Some(least), _) => {
                let values = table.integers(group, &column.name)?;
                outcome.extend(
                    values
                        .iter()
                        .map(|value| f64::from(u8::from(*value >= least))),
                );
            }
            (ColumnType::Choice(words), _, Some(word)) if words.contains(word) => {
                let values = table.words(group, &column.name)?;
                outcome.extend(
                    values
                        .iter()
                        .map(|it| f64::from(u8::from(it.data() == word.as_bytes()))),
                );
            }
            _ => {
                let what = format!(
                    "the target '{}' needs 'atLeast' for integers, or 'equals' with one of its words",
                    column.name
                );
                return Err(Failure::request(what));
            }
        }
    }
    Ok(outcome)
}

/// A column of integers as it is; a choice as one column for each word that some record has, but for the first of them.
fn expand(table: &Table, column: &Declared) -> Result<Vec<(String, Vec<f64>)>, Failure> {
    let ColumnType::Choice(declared) = &column.kind else {
        let mut values = vec![];
        for group in 0..table.groups() {
            values.extend(
                table
                    .integers(group, &column.name)?
                    .iter()
                    .map(|value| *value as f64),
            );
        }
        return Ok(vec![(column.name.clone(), values)]);
    };
    let mut words = vec![];
    for group in 0..table.groups() {
        words.extend(table.words(group, &column.name)?);
    }
    let is = |word: &String| -> Vec<f64> {
        words
            .iter()
            .map(|it| f64::from(u8::from(it.data() == word.as_bytes())))
            .collect()
    };
    let named = declared
        .iter()
        .map(|word| (format!("{}={word}", column.name), is(word)));
    let found: Vec<_> = named
        .filter(|(_, values)| values.contains(&1.0))
        .take(MAX_COLUMNS + 2)
        .collect();
    Ok(found.into_iter().skip(1).collect())
}
