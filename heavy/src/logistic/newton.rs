//! Newton's method for the log-likelihood, which for this model is iteratively reweighted least squares.

use candle_core::{Device, Tensor};

use super::design::Design;
use crate::failure::Failure;
use crate::folder;
use crate::recipe::Logistic;

/// Rows that are weighted and multiplied at once: what a copy of them takes is bounded.
const CHUNK_ROWS: usize = 8_192;
/// Steps until the event is told exactly: where there is an optimum ten are enough, and where there is none each step
/// goes as far as the one before.
const MAX_STEPS: u32 = 40;
/// A step that moves no standardised coefficient by more is the last: the method doubles its digits with each.
const LAST_STEP: f64 = 1e-9;
/// Halvings of a step that went too far.
const MAX_HALVINGS: u32 = 30;
/// What of a column's variance has to be its own, beside those before it.
const OWN_VARIANCE: f64 = 1e-10;

/// The optimum.
pub struct Fit {
    /// The intercept's, then those of the standardised columns.
    pub coefficients: Vec<f64>,
    /// Without what a ridge takes off.
    pub log_likelihood: f64,
    /// Steps that it took.
    pub iterations: u32,
    /// The information at the optimum, as a triangle whose square it is.
    information: Triangle,
}

impl Fit {
    /// The variance of a weighted sum of the coefficients.
    pub fn variance_of(&self, weights: &[f64]) -> f64 {
        let half = self.information.solve_lower(weights);
        half.iter().map(|it| it * it).sum()
    }
}

/// Finds the optimum.
///
/// # Errors
/// The requester's: columns of which one follows from others, or that tell the event exactly.
pub fn fit(design: &Design, asked: &Logistic) -> Result<Fit, Failure> {
    check_columns(design)?;
    let width = design.width();
    let penalties = penalties(design, asked);
    let share = design.events as f64 / design.rows as f64;
    let mut coefficients = vec![0.0; width];
    coefficients[0] = (share / (1.0 - share)).ln();
    let mut here = Likelihood::at(design, &coefficients);
    for step in 1..=MAX_STEPS {
        let gradient: Vec<f64> = (0..width)
            .map(|place| here.gradient[place] - penalties[place] * coefficients[place])
            .collect();
        let information = information(design, &here, &penalties)?;
        let Ok(information) = Triangle::of(&information, width, f64::MIN_POSITIVE) else {
            return Err(separated(design, &coefficients));
        };
        let direction = information.solve(&gradient);
        let length = direction
            .iter()
            .fold(0.0, |most: f64, one| most.max(one.abs()));
        if length <= LAST_STEP {
            // Taken, too: what is off by so little is off by its square after it.
            coefficients
                .iter_mut()
                .zip(&direction)
                .for_each(|(one, by)| *one += by);
            return Ok(Fit {
                log_likelihood: Likelihood::at(design, &coefficients).log_likelihood,
                coefficients,
                iterations: step,
                information,
            });
        }
        here = advance(design, &mut coefficients, &direction, &here, &penalties);
        folder::progress(
            step.into(),
            MAX_STEPS.into(),
            -here.log_likelihood / design.rows as f64,
        )?;
    }
    Err(separated(design, &coefficients))
}

/// What a ridge takes of each coefficient, in the units that were asked for; nothing of the intercept.
fn penalties(design: &Design, asked: &Logistic) -> Vec<f64> {
    let of = |it: &super::design::Column| match asked.standardise {
        true => asked.ridge,
        false => asked.ridge / it.deviation.powi(2),
    };
    std::iter::once(0.0)
        .chain(design.columns.iter().map(of))
        .collect()
}

/// Goes a step, or a part of it that makes nothing worse.
fn advance(
    design: &Design,
    coefficients: &mut Vec<f64>,
    direction: &[f64],
    here: &Likelihood,
    penalties: &[f64],
) -> Likelihood {
    let objective = |likelihood: &Likelihood, at: &[f64]| {
        let taken: f64 = at
            .iter()
            .zip(penalties)
            .map(|(one, penalty)| penalty * one * one / 2.0)
            .sum();
        likelihood.log_likelihood - taken
    };
    let before = objective(here, coefficients);
    let mut part = 1.0;
    for _ in 0..MAX_HALVINGS {
        let there: Vec<f64> = coefficients
            .iter()
            .zip(direction)
            .map(|(one, by)| one + part * by)
            .collect();
        let likelihood = Likelihood::at(design, &there);
        // Sums of many terms are equal up to their rounding.
        if objective(&likelihood, &there) >= before - 1e-12 * (1.0 + before.abs()) {
            *coefficients = there;
            return likelihood;
        }
        part /= 2.0;
    }
    Likelihood::at(design, coefficients)
}

/// The log-likelihood at some coefficients, its gradient, and the weight of each record.
struct Likelihood {
    log_likelihood: f64,
    gradient: Vec<f64>,
    weights: Vec<f64>,
}

impl Likelihood {
    fn at(design: &Design, coefficients: &[f64]) -> Self {
        let mut found = Self {
            log_likelihood: 0.0,
            gradient: vec![0.0; coefficients.len()],
            weights: Vec::with_capacity(design.rows),
        };
        for (row, outcome) in design
            .cells
            .chunks_exact(coefficients.len())
            .zip(&design.outcome)
        {
            let odds: f64 = row
                .iter()
                .zip(coefficients)
                .map(|(cell, one)| cell * one)
                .sum();
            // ln(1 + e^x) without leaving the doubles.
            found.log_likelihood += outcome * odds - (odds.max(0.0) + (-odds.abs()).exp().ln_1p());
            let small = (-odds.abs()).exp();
            let likely = if odds >= 0.0 {
                1.0 / (1.0 + small)
            } else {
                small / (1.0 + small)
            };
            for (slope, cell) in found.gradient.iter_mut().zip(row) {
                *slope += (outcome - likely) * cell;
            }
            found.weights.push(small / (1.0 + small).powi(2));
        }
        found
    }
}

/// XᵀWX and what the ridge adds, row after row.
fn information(design: &Design, at: &Likelihood, penalties: &[f64]) -> Result<Vec<f64>, Failure> {
    let width = design.width();
    let mut sum = weighted(design, &at.weights)?;
    for (place, penalty) in penalties.iter().enumerate() {
        sum[place * width + place] += penalty;
    }
    Ok(sum)
}

fn weighted(design: &Design, weights: &[f64]) -> Result<Vec<f64>, Failure> {
    let width = design.width();
    let mut sum = vec![0.0; width * width];
    let chunks = design
        .cells
        .chunks(CHUNK_ROWS * width)
        .zip(weights.chunks(CHUNK_ROWS));
    for (cells, weights) in chunks {
        let rows = weights.len();
        let cells = Tensor::from_slice(cells, (rows, width), &Device::Cpu)?;
        let weights = Tensor::from_slice(weights, (rows, 1), &Device::Cpu)?;
        let product = cells.broadcast_mul(&weights)?.t()?.matmul(&cells)?;
        let product = product.flatten_all()?.to_vec1::<f64>()?;
        sum.iter_mut()
            .zip(product)
            .for_each(|(sum, part)| *sum += part);
    }
    Ok(sum)
}

/// Refuses a column that follows from those before it: no coefficient of it would mean anything.
fn check_columns(design: &Design) -> Result<(), Failure> {
    let even = vec![1.0 / design.rows as f64; design.rows];
    let products = weighted(design, &even)?;
    Triangle::of(&products, design.width(), OWN_VARIANCE)
        .map(drop)
        .map_err(|place| {
            let name = place
                .checked_sub(1)
                .map_or("", |place| &design.columns[place].name);
            Failure::request(format!(
                "the column '{name}' follows from those before it: leave it out"
            ))
        })
}

fn separated(design: &Design, coefficients: &[f64]) -> Failure {
    let largest = (1..coefficients.len()).max_by(|one, other| {
        coefficients[*one]
            .abs()
            .total_cmp(&coefficients[*other].abs())
    });
    let name = largest.map_or("", |place| &design.columns[place - 1].name);
    Failure::request(format!(
        "the columns tell of some records exactly whether the event happened, most of all '{name}', so that no coefficients are the likeliest: leave it out, or ask for a ridge"
    ))
}

/// A lower triangle whose square is a symmetric matrix (Cholesky's).
struct Triangle {
    cells: Vec<f64>,
    width: usize,
}

impl Triangle {
    /// # Errors
    /// The place of the first row of which no more than `least` is left beside those before it.
    fn of(matrix: &[f64], width: usize, least: f64) -> Result<Self, usize> {
        let mut cells = vec![0.0; width * width];
        for row in 0..width {
            for column in 0..=row {
                let known: f64 = (0..column)
                    .map(|place| cells[row * width + place] * cells[column * width + place])
                    .sum();
                let rest = matrix[row * width + column] - known;
                cells[row * width + column] = match row == column {
                    false => rest / cells[column * width + column],
                    true if rest > least => rest.sqrt(),
                    true => return Err(row),
                };
            }
        }
        Ok(Self { cells, width })
    }

    /// Solves L·x = right.
    fn solve_lower(&self, right: &[f64]) -> Vec<f64> {
        let mut found: Vec<f64> = Vec::with_capacity(self.width);
        for (row, right) in self.cells.chunks_exact(self.width).zip(right) {
            let known: f64 = found.iter().zip(row).map(|(one, cell)| cell * one).sum();
            found.push((right - known) / row[found.len()]);
        }
        found
    }

    /// Solves L·Lᵀ·x = right.
    fn solve(&self, right: &[f64]) -> Vec<f64> {
        let mut found = self.solve_lower(right);
        for row in (0..self.width).rev() {
            let known: f64 = (row + 1..self.width)
                .map(|place| self.cells[place * self.width + row] * found[place])
                .sum();
            found[row] = (found[row] - known) / self.cells[row * self.width + row];
        }
        found
    }
}
