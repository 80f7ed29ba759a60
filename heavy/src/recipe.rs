//! What is to be trained, and how: the manifest's argument string, with a limit for every number.

use std::fmt::Display;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// The argument string of a built-in recipe.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "recipe", rename_all = "lowercase")]
pub enum Recipe {
    /// A logistic regression.
    Logistic(Logistic),
}

/// What a logistic regression is asked for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Logistic {
    /// What is explained.
    pub target: Target,
    /// Columns that explain it: all others of the selector unless given.
    pub columns: Option<Vec<String>>,
    /// Whether coefficients are per standard deviation of a column, and not per unit.
    #[serde(default)]
    pub standardise: bool,
    /// Half of it times the squared coefficients, without the intercept's, is taken off the log-likelihood.
    #[serde(default)]
    pub ridge: f64,
}

/// The event whose odds are explained.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Target {
    /// Its column.
    pub column: String,
    /// Of integers: so much or more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_least: Option<i64>,
    /// Of a choice: this word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub equals: Option<String>,
}

impl Recipe {
    /// Parses an argument string, and checks each number in it.
    ///
    /// # Errors
    /// The requester's: the first thing that is not as it has to be.
    pub fn parse(arguments: &[u8]) -> Result<Self, Failure> {
        let recipe: Self = serde_json::from_slice(arguments)
            .map_err(|error| Failure::request(format!("the arguments are no recipe: {error}")))?;
        match &recipe {
            Self::Logistic(logistic) => logistic.check()?,
        }
        Ok(recipe)
    }
}

impl Logistic {
    fn check(&self) -> Result<(), Failure> {
        if self.target.at_least.is_some() == self.target.equals.is_some() {
            return Err(Failure::request(
                "a target has one of 'atLeast' and 'equals'",
            ));
        }
        within("ridge", self.ridge, 0.0..=1e12)
    }
}

fn within<T: PartialOrd + Display>(
    name: &str,
    value: T,
    range: RangeInclusive<T>,
) -> Result<(), Failure> {
    let (least, most) = (range.start(), range.end());
    match range.contains(&value) {
        true => Ok(()),
        false => Err(Failure::request(format!(
            "{name} is {value}, and has to be between {least} and {most}"
        ))),
    }
}
