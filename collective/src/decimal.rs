//! Numbers as decimal strings in one spelling.
//!
//! RFC 8785 writes numbers as doubles, so a number above 2^53 would change under its own digest:
//! whatever is hashed as JSON and can be that large is a string.

use std::fmt::Display;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serializer, de::Error};

/// Greatest integer that a double tells from its neighbours: larger ones stand in strings.
pub const MAX_PLAIN: i64 = (1 << 53) - 1;

pub fn serialize<T: Display, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

pub fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
where
    T: FromStr + Display,
    D: Deserializer<'de>,
{
    let text = String::deserialize(from)?;
    text.parse::<T>()
        .ok()
        .filter(|value| value.to_string() == text)
        .ok_or_else(|| D::Error::custom("not a decimal number in its shortest spelling"))
}
