//! `program.toml`: the human side of an approval manifest (SPEC "Program folder"). Its names are those of the manifest.

use std::fmt;

use alloy::primitives::U256;
use collective::approval::{HandOff, Interpreted, Limits, OutputRule, SplitRule};
use collective::id::BlobId;
use collective::terms::Purpose;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use toml::value::Datetime;

/// Seconds of a day.
const DAY: u64 = 86_400;

/// What a program is, reads, sends out and costs, as its author writes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Description {
    /// How its bytes are made.
    pub language: Language,
    /// SHA-256 of the interpreter, for the languages that have one.
    pub runtime: Option<BlobId>,
    /// Name and version of what runs it, for a query.
    pub engine: Option<String>,
    /// Name and version of what fits the model, for a training.
    pub trainer: Option<String>,
    /// What it is started with.
    #[serde(default)]
    pub arguments: String,
    /// What it does with the records.
    pub purpose: Purpose,
    /// Age recipient of the output, where it is always the same one.
    pub recipient: Option<String>,
    /// How often it may run.
    pub max_runs: u32,
    /// From when on it may not run.
    pub expiry: Expiry,
    /// Which records it reads.
    pub dataset: Dataset,
    /// What may leave; a schema that is a string is the path of a JSON file in the folder.
    pub output: OutputRule,
    /// What a run may use up.
    pub limits: Limits,
    /// What a run costs.
    pub payment: Price,
    /// To which machine of a requester the data goes, for what only a heavy node runs.
    pub hand_off: Option<HandOff>,
}

/// Languages with a recipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// Sources that run as they are, in an approved interpreter.
    Python,
    /// The same for JavaScript.
    Js,
    /// Freestanding C, by Zig's compiler.
    C,
    /// Freestanding Zig.
    Zig,
    /// Rust without dependencies.
    Rust,
    /// One query, whose text runs as it is, in an approved engine.
    Sql,
    /// What a trainer on a heavy node is told.
    Training,
}

impl Language {
    /// Whether a program needs an interpreter that is approved with it.
    pub fn has_runtime(self) -> bool {
        self.interpreted().is_some()
    }

    /// The language of the interpreter, where there is one.
    pub fn interpreted(self) -> Option<Interpreted> {
        match self {
            Self::Python => Some(Interpreted::Python),
            Self::Js => Some(Interpreted::Javascript),
            Self::C | Self::Zig | Self::Rust | Self::Sql | Self::Training => None,
        }
    }

    /// Whether its bytes are a compiler's, and not what its author wrote.
    pub fn is_compiled(self) -> bool {
        match self {
            Self::C | Self::Zig | Self::Rust => true,
            Self::Python | Self::Js | Self::Sql | Self::Training => false,
        }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Python => "python",
            Self::Js => "js",
            Self::C => "c",
            Self::Zig => "zig",
            Self::Rust => "rust",
            Self::Sql => "sql",
            Self::Training => "training",
        })
    }
}

/// Which records a program reads. `mock/source.json` declares the source.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dataset {
    /// Name of the source.
    pub source: String,
    /// Columns that the program sees, in this order.
    pub columns: Vec<String>,
    /// Only contributions anchored from this day on.
    pub since: Option<Date>,
    /// Only contributions anchored before this day.
    pub until: Option<Date>,
}

/// What a run costs, in the smallest unit of the collective's token.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Price {
    /// Price of one run.
    #[serde(deserialize_with = "amount")]
    pub price: U256,
    /// What the node has at stake for one run.
    #[serde(deserialize_with = "amount")]
    pub bond: U256,
    /// How the contributors' share is divided among them.
    #[serde(default = "equally")]
    pub rule: SplitRule,
    /// Contributors' share, in hundredths of a per cent.
    pub contributors_bps: u16,
    /// Node's share; the treasury gets the rest.
    pub node_bps: u16,
}

/// What a folder means that says nothing.
fn equally() -> SplitRule {
    SplitRule::Equal
}

/// From when on a program may not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Expiry {
    /// Days from the proposal on.
    Days(u32),
    /// From this day on.
    Date(Date),
}

impl Expiry {
    /// Unix seconds, for a proposal that is made `now`.
    pub fn seconds(self, now: u64) -> u64 {
        match self {
            Self::Days(days) => now.saturating_add(u64::from(days) * DAY),
            Self::Date(date) => date.seconds(),
        }
    }
}

/// A day; as a moment it is its first second, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date(u64);

impl Date {
    /// Unix seconds.
    pub fn seconds(self) -> u64 {
        self.0
    }
}

impl<'de> Deserialize<'de> for Date {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let written = Datetime::deserialize(from)?;
        let (Some(date), None, None) = (written.date, written.time, written.offset) else {
            return Err(D::Error::custom("a day is written as 2027-12-31"));
        };
        let days = days_from_1970(date.year.into(), date.month.into(), date.day.into());
        let days = days.ok_or_else(|| D::Error::custom("days before 1970 are not written"))?;
        Ok(Self(days * DAY))
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar. Years begin in March, so that the leap day is the last.
fn days_from_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    let year = year.checked_sub(u64::from(month <= 2))?;
    let month = (month + 9) % 12;
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    // Days from March 1 of the year 0 to 1970-01-01.
    days.checked_sub(719_468)
}

/// An amount as a string of decimal digits, as in a manifest: TOML's numbers end where tokens do not.
fn amount<'de, D: Deserializer<'de>>(from: D) -> Result<U256, D::Error> {
    let text = String::deserialize(from)?;
    let amount = text.parse::<U256>().ok();
    amount
        .filter(|amount| amount.to_string() == text)
        .ok_or_else(|| {
            D::Error::custom("an amount is a string of decimal digits, such as \"10000000\"")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct When {
        expiry: Expiry,
    }

    #[test]
    fn an_expiry_is_days_or_a_day() {
        let read = |text: &str| toml::from_str::<When>(text).map(|when| when.expiry.seconds(1_000));
        assert_eq!(read("expiry = { days = 90 }").ok(), Some(1_000 + 90 * DAY));
        for (day, seconds) in [
            ("1970-01-01", 0),
            ("2000-02-29", 951_782_400),
            ("2026-01-01", 1_767_225_600),
            ("2027-01-01", 1_798_761_600),
            ("9999-12-31", 253_402_214_400),
        ] {
            assert_eq!(
                read(&format!("expiry.date = {day}")).ok(),
                Some(seconds),
                "{day}"
            );
        }
        for bad in [
            "expiry = 90",
            "expiry = {}",
            "expiry = { days = 1, date = 2027-01-01 }",
            "expiry.date = 2027-02-30",
            "expiry.date = 1969-12-31",
            "expiry.date = 0000-01-01",
            "expiry.date = 2027-01-01T00:00:00Z",
            "expiry.date = \"2027-01-01\"",
            "expiry.days = -1",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
