//! `logistic`: the log-odds of an event as a sum over columns, by maximum likelihood.

mod design;
mod newton;

use serde::Serialize;
use serde_json::json;

use crate::failure::Failure;
use crate::folder::{self, Folders};
use crate::input::Input;
use crate::recipe::Logistic;

use design::Design;
use newton::Fit;

/// The name of the model's file.
const MODEL: &str = "model.json";

/// Trains a regression and writes `model.json` and `metrics.json`.
///
/// # Errors
/// The requester's: columns that are not there, that say the same, or that tell the event exactly. The operator's: memory, disk.
pub fn run(asked: &Logistic, folders: &Folders) -> Result<(), Failure> {
    let input = Input::read(&folders.input)?;
    let design = Design::read(asked, &input, &folders.input)?;
    let fit = newton::fit(&design, asked)?;
    let model = json!({
        "format": "collective/heavy/logistic/v1",
        "target": asked.target,
        "standardised": asked.standardise,
        "ridge": asked.ridge,
        "intercept": intercept(&design, &fit, asked),
        "columns": columns(&design, &fit, asked),
    });
    folder::write_json(&folders.output, MODEL, &model)?;
    let metrics = [
        ("records", design.rows as f64),
        ("events", design.events as f64),
        ("columns", design.columns.len() as f64),
        ("iterations", f64::from(fit.iterations)),
        ("logLikelihood", fit.log_likelihood),
        ("nullLogLikelihood", design.null_log_likelihood()),
    ];
    folder::write_metrics(&folders.output, &metrics)
}

/// A figure with what it may be off by; with a ridge there is no such number, as the figure is drawn to zero.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Figure {
    coefficient: f64,
    standard_error: Option<f64>,
}

#[derive(Serialize)]
struct Named<'a> {
    name: &'a str,
    mean: f64,
    deviation: f64,
    #[serde(flatten)]
    figure: Figure,
}

/// The fit is of standardised columns: in units of the columns the intercept is where all of them are zero.
fn intercept(design: &Design, fit: &Fit, asked: &Logistic) -> Figure {
    let shift = |it: &design::Column| match asked.standardise {
        true => 0.0,
        false => -it.mean / it.deviation,
    };
    let weights: Vec<f64> = std::iter::once(1.0)
        .chain(design.columns.iter().map(shift))
        .collect();
    Figure {
        coefficient: weights
            .iter()
            .zip(&fit.coefficients)
            .map(|(weight, one)| weight * one)
            .sum(),
        standard_error: (asked.ridge == 0.0).then(|| fit.variance_of(&weights).sqrt()),
    }
}

fn columns<'a>(design: &'a Design, fit: &Fit, asked: &Logistic) -> Vec<Named<'a>> {
    let named = |(place, column): (usize, &'a design::Column)| {
        let unit = if asked.standardise {
            1.0
        } else {
            column.deviation
        };
        let mut weights = vec![0.0; fit.coefficients.len()];
        weights[place + 1] = 1.0 / unit;
        let figure = Figure {
            coefficient: fit.coefficients[place + 1] / unit,
            standard_error: (asked.ridge == 0.0).then(|| fit.variance_of(&weights).sqrt()),
        };
        Named {
            name: &column.name,
            mean: column.mean,
            deviation: column.deviation,
            figure,
        }
    };
    design.columns.iter().enumerate().map(named).collect()
}
