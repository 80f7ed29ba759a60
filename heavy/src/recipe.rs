//! What is to be trained, and how: the manifest's argument string, with a limit for every number.

use std::fmt::Display;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::transformer::Shape;

/// The argument string of a built-in recipe.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "recipe", rename_all = "lowercase")]
pub enum Recipe {
    /// A small causal language model over bytes.
    Transformer(Transformer),
    /// A logistic regression.
    Logistic(Logistic),
}

/// What a language model is made of, and what it is trained on.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Transformer {
    /// Whatever is drawn follows from it.
    pub seed: u32,
    /// What of a document is text.
    pub text: Text,
    /// What is on one side of the line between training and held-out text as a whole.
    pub split_by: Unit,
    /// Hundredths of the units that are held out; at least one is.
    pub held_out_percent: u32,
    /// Blocks.
    pub layers: usize,
    /// Heads of each block's attention.
    pub heads: usize,
    /// Numbers by which a byte is known within the model; so many for each head.
    pub width: usize,
    /// Bytes that the model sees at once.
    pub context: usize,
    /// Pieces of text in one step.
    pub batch: usize,
    /// Steps.
    pub steps: u64,
    /// The rate at the top of its schedule.
    pub learning_rate: f64,
    /// Steps until the rate is there; from then on it falls by a cosine, to a tenth.
    pub warmup: u64,
    /// Decay of matrices in one step, times the rate.
    pub weight_decay: f64,
    /// Length to which the gradient is cut.
    pub clip: f64,
    /// Steps between two looks at the held-out text.
    pub evaluate_every: u64,
    /// Steps between two checkpoints.
    pub checkpoint_every: u64,
}

/// What of a document is text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Text {
    /// The line of the document as it stands.
    Lines,
    /// What was said in a conversation of ChatGPT's exports, in the order in which it was said, from the member `mapping`.
    Conversations,
}

/// What is wholly in one part of the split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// All documents of one contribution: nobody is in both parts.
    Contribution,
    /// A document.
    Document,
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

/// Bytes of text in one step: what is kept for the gradient grows with them.
const MAX_STEP_BYTES: usize = 1 << 20;
/// Numbers of one step's attention, over all heads of a block: 4 GiB, of which several are held for each block.
const MAX_ATTENTION: usize = 1 << 30;

impl Recipe {
    /// Parses an argument string, and checks each number in it.
    ///
    /// # Errors
    /// The requester's: the first thing that is not as it has to be.
    pub fn parse(arguments: &[u8]) -> Result<Self, Failure> {
        let recipe: Self = serde_json::from_slice(arguments)
            .map_err(|error| Failure::request(format!("the arguments are no recipe: {error}")))?;
        match &recipe {
            Self::Transformer(transformer) => transformer.check()?,
            Self::Logistic(logistic) => logistic.check()?,
        }
        Ok(recipe)
    }
}

impl Transformer {
    fn check(&self) -> Result<(), Failure> {
        within("heldOutPercent", self.held_out_percent, 1..=50)?;
        Shape::of(self).check().map_err(Failure::request)?;
        within("batch", self.batch, 1..=4096)?;
        within("steps", self.steps, 1..=10_000_000)?;
        within("learningRate", self.learning_rate, 1e-9..=1.0)?;
        within("warmup", self.warmup, 0..=self.steps)?;
        within("weightDecay", self.weight_decay, 0.0..=1.0)?;
        within("clip", self.clip, 1e-3..=1e3)?;
        within("evaluateEvery", self.evaluate_every, 1..=self.steps)?;
        within("checkpointEvery", self.checkpoint_every, 1..=self.steps)?;
        // What the curve has of them is kept and drawn.
        within(
            "steps / evaluateEvery",
            self.steps / self.evaluate_every,
            1..=10_000,
        )?;
        let step = self.batch * self.context;
        within("batch × context", step, 1..=MAX_STEP_BYTES)?;
        within(
            "batch × heads × context²",
            step * self.heads * self.context,
            1..=MAX_ATTENTION,
        )
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
