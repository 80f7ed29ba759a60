//! AdamW (Loshchilov and Hutter, arXiv:1711.05101), with its moments in reach: a checkpoint has them.

use std::collections::BTreeMap;

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor};

use super::model::Model;
use crate::recipe::Transformer;

/// How much of the mean of gradients stays, and of the mean of their squares: a little less of the latter than usual, as
/// small models are trained for few steps.
const BETAS: (f64, f64) = (0.9, 0.99);
/// What keeps a step from dividing by zero.
const EPSILON: f64 = 1e-8;
/// What is left of the rate at the end.
const LAST_RATE: f64 = 0.1;

/// First and second moment of each parameter.
pub struct Adam {
    /// By the parameters' names.
    pub moments: BTreeMap<String, (Tensor, Tensor)>,
}

impl Adam {
    /// Of a model that was not trained yet.
    pub fn new(model: &Model) -> Result<Self> {
        let zeros = |(name, one): (&String, &candle_core::Var)| {
            Ok((name.clone(), (one.zeros_like()?, one.zeros_like()?)))
        };
        Ok(Self {
            moments: model.parameters.iter().map(zeros).collect::<Result<_>>()?,
        })
    }

    /// One step, the first being 1.
    pub fn step(
        &mut self,
        model: &Model,
        gradients: &GradStore,
        asked: &Transformer,
        step: u64,
    ) -> Result<()> {
        let rate = rate(asked, step);
        let cut = cut(model, gradients, asked.clip)?;
        let corrected = |beta: f64| 1.0 - beta.powf(step as f64);
        for (name, parameter) in &model.parameters {
            let (Some(gradient), Some((first, second))) =
                (gradients.get(parameter), self.moments.get_mut(name))
            else {
                continue;
            };
            let gradient = (gradient * cut)?;
            *first = ((&*first * BETAS.0)? + (&gradient * (1.0 - BETAS.0))?)?.detach();
            *second = ((&*second * BETAS.1)? + (gradient.sqr()? * (1.0 - BETAS.1))?)?.detach();
            let mean = (&*first / corrected(BETAS.0))?;
            let spread = ((&*second / corrected(BETAS.1))?.sqrt()? + EPSILON)?;
            // Scales of norms do not decay: there is nothing that they overfit.
            let decay = if parameter.rank() > 1 {
                rate * asked.weight_decay
            } else {
                0.0
            };
            let moved = ((parameter.as_tensor() * (1.0 - decay))? - ((mean / spread)? * rate)?)?;
            parameter.set(&moved.detach())?;
        }
        Ok(())
    }
}

/// Up in a line, then down by half a cosine.
fn rate(asked: &Transformer, step: u64) -> f64 {
    if step <= asked.warmup {
        return asked.learning_rate * step as f64 / asked.warmup as f64;
    }
    let rest = (asked.steps - asked.warmup) as f64;
    let turn = std::f64::consts::PI * (step - asked.warmup) as f64 / rest;
    asked.learning_rate * (LAST_RATE + (1.0 - LAST_RATE) * (1.0 + turn.cos()) / 2.0)
}

/// By what a gradient is multiplied so that it is no longer than `longest`.
fn cut(model: &Model, gradients: &GradStore, longest: f64) -> Result<f64> {
    let squares = model
        .parameters
        .values()
        .filter_map(|parameter| gradients.get(parameter));
    let squares = squares
        .map(|gradient| gradient.sqr()?.sum_all())
        .collect::<Result<Vec<_>>>()?;
    let length = f64::from(Tensor::stack(&squares, 0)?.sum_all()?.to_scalar::<f32>()?).sqrt();
    Ok((longest / length).min(1.0))
}
