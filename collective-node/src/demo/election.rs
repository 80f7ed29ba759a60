//! The real input: 944 respondents of the American National Election Study of 1996.

use alloy::primitives::keccak256;
use alloy::signers::local::PrivateKeySigner;
use anyhow::{Context, Result};
use collective::source::{Column, ColumnType, Source};
use collective::terms::{Purpose, Terms};

/// Tab-separated, header in single quotes; origin in `data/README.md`.
const TABLE: &str = include_str!("../../../data/anes96.csv");

/// How many respondents there are.
pub const RESPONDENTS: usize = 944;

/// What the study asked, with the range of the answers.
const COLUMNS: [(&str, i64, i64); 10] = [
    ("popul", 0, 10_000),
    ("TVnews", 0, 7),
    ("selfLR", 1, 7),
    ("ClinLR", 1, 7),
    ("DoleLR", 1, 7),
    ("PID", 0, 6),
    ("age", 18, 120),
    ("educ", 1, 7),
    ("income", 1, 24),
    ("vote", 0, 1),
];

/// The declaration of a respondent's record.
pub fn source() -> Source {
    let column = |&(name, min, max): &(&str, i64, i64)| Column {
        name: name.into(),
        kind: ColumnType::Integer { min, max },
    };
    Source::new("anes96".into(), COLUMNS.iter().map(column).collect())
        .expect("the declaration keeps its own rules")
}

/// The respondents' records in the source's encoding, in the order of the table.
///
/// # Errors
/// Where the table does not fit the declaration.
pub fn records() -> Result<Vec<Vec<u8>>> {
    let source = source();
    TABLE
        .lines()
        .skip(1)
        .enumerate()
        .map(|(row, line)| {
            let fields: Vec<&str> = line.split('\t').collect();
            source
                .record(&fields)
                .with_context(|| format!("row {row} of the election study"))
        })
        .collect()
}

/// What respondent `row` (from 0) allows: statistics unless the row ends in 9, training every third,
/// transfer every seventh. A published function, so that an outside reference uses the same rows.
pub fn terms(row: usize, expiry: u64) -> Terms {
    let allowed = |purpose: &Purpose| match purpose {
        Purpose::Statistics => row % 10 != 9,
        Purpose::Training => row.is_multiple_of(3),
        Purpose::Transfer => row.is_multiple_of(7),
    };
    Terms {
        purposes: Purpose::ALL.into_iter().filter(allowed).collect(),
        expiry,
    }
}

/// The twelve rows that are taken back: 3, 83, … 883. All of them allow statistics.
pub fn revoked_rows() -> impl Iterator<Item = usize> {
    (0..12).map(|n| 80 * n + 3)
}

/// One account for each respondent. The keys are public: anybody can make them from this line.
pub fn accounts() -> Vec<PrivateKeySigner> {
    (0..RESPONDENTS)
        .map(|row| {
            let secret = keccak256(format!("collective/demo/respondent/{row}"));
            PrivateKeySigner::from_bytes(&secret).expect("no such hash is zero or above the order")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_respondent_has_a_record_of_the_declared_kind() {
        let records = records().expect("the table fits its declaration");
        assert_eq!(records.len(), RESPONDENTS);
        assert_eq!(records[0], b"0,7,7,1,6,6,36,3,1,1\n");
    }

    #[test]
    fn those_who_take_back_had_allowed_statistics() {
        assert_eq!(revoked_rows().count(), 12);
        assert!(revoked_rows().all(|row| terms(row, 1).purposes.contains(Purpose::Statistics)));
    }
}
