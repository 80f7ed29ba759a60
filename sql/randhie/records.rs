//! The table as contributors' records: decimals are whole numbers of ten millionths, as a record has integers and words.

use collective::source::{Column, ColumnType, Source};

/// Columns with decimals.
const SCALED: [&str; 5] = ["lncoins", "lpi", "fmde", "physlm", "disea"];
/// Digits after the point, at most.
const DIGITS: usize = 7;
const COLUMNS: [&str; 10] = [
    "mdvis", "lncoins", "idp", "lpi", "fmde", "physlm", "disea", "hlthg", "hlthf", "hlthp",
];

/// The declaration of a person-year.
pub fn source() -> Source {
    let column = |name: &&str| Column {
        name: (*name).into(),
        kind: ColumnType::Integer {
            min: 0,
            max: if SCALED.contains(name) {
                1_000_000_000
            } else {
                100
            },
        },
    };
    Source::new("randhie".into(), COLUMNS.iter().map(column).collect()).expect("good")
}

/// The records, without their line feeds.
pub fn lines(table: &str) -> Vec<String> {
    let record = |line: &str| {
        let fields = line.split(',').zip(COLUMNS);
        let fields = fields.map(|(field, name)| match SCALED.contains(&name) {
            true => scaled(field),
            false => field.into(),
        });
        fields.collect::<Vec<_>>().join(",")
    };
    table.lines().skip(1).map(record).collect()
}

fn scaled(field: &str) -> String {
    let (whole, part) = field.split_once('.').unwrap_or((field, ""));
    let digits = format!("{whole}{part:0<DIGITS$}");
    let number: i64 = digits.parse().expect("a decimal");
    number.to_string()
}

/// The queries that both engines answer.
pub fn queries() -> Vec<String> {
    let text = include_str!("queries.sql").split(';');
    text.map(|query| query.trim().to_owned()).collect()
}
