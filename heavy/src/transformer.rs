//! `transformer`: a small language model over bytes, trained from nothing on the collective's documents.

mod adam;
mod checkpoint;
mod curve;
mod model;
pub mod random;
mod text;

use candle_core::{Device, Tensor};
use collective::id::sha256;

use crate::failure::Failure;
use crate::folder::{self, Folders};
use crate::input::Input;
use crate::recipe::Transformer;

pub use model::{FORMAT, Model, Shape};
pub use text::END;

use adam::Adam;
use checkpoint::Checkpoint;
use curve::{Curve, Point};
use text::{Corpus, bytes, unigram_entropy};

/// The name of the file of weights.
pub const WEIGHTS: &str = "model.safetensors";
/// The name of the file that says what the weights are of.
pub const CONFIG: &str = "config.json";
/// Tokens of the held-out text that are looked at: a look takes as long as so many are trained on, and more of them tell
/// hardly more.
const MAX_EVALUATED: usize = 1 << 20;
/// Pieces of the held-out text that are looked at together, but no more than one step has: what is held is as much.
const EVALUATED_ROWS: usize = 8;

/// Trains a model and writes `model.safetensors`, `config.json`, `loss.json`, `loss.svg` and `metrics.json`. What an earlier try
/// left in the state folder is gone on from.
///
/// # Errors
/// The requester's: too little text, or a rate at which nothing is learnt. The operator's: memory, disk, a state of another job.
pub fn run(asked: &Transformer, arguments: &[u8], folders: &Folders) -> Result<(), Failure> {
    let input = Input::read(&folders.input)?;
    let mut corpus = Corpus::read(asked, &input, &folders.input)?;
    corpus.held_out.truncate(MAX_EVALUATED);
    if corpus.training.len() <= asked.context {
        let what = format!(
            "the training text has {} bytes, fewer than the context's {}",
            bytes(&corpus.training),
            asked.context
        );
        return Err(Failure::request(what));
    }
    let device = device()?;
    let job = job(arguments, &corpus);
    let shape = Shape::of(asked);
    let mut training = match Checkpoint::read(&folders.state, &job, &shape, &device)? {
        Some(checkpoint) => checkpoint,
        None => begin(shape, asked, &device)?,
    };
    while training.step < asked.steps {
        advance(&mut training, asked, &corpus)?;
        if training.step.is_multiple_of(asked.checkpoint_every) || training.step == asked.steps {
            training.write(&folders.state, &job)?;
        }
    }
    finish(&training, &corpus, folders)
}

/// The first device that the build knows and the machine has; a build without CUDA has the processor.
pub fn device() -> Result<Device, Failure> {
    Ok(Device::cuda_if_available(0)?)
}

/// Tells trainings apart: what was asked for, and the text.
fn job(arguments: &[u8], corpus: &Corpus) -> String {
    let mut text = sha256(arguments).to_vec();
    for side in [&corpus.training, &corpus.held_out] {
        let bytes: Vec<u8> = side.iter().flat_map(|token| token.to_be_bytes()).collect();
        text.extend(sha256(&bytes));
    }
    sha256(&text).to_string()
}

fn begin(shape: Shape, asked: &Transformer, device: &Device) -> Result<Checkpoint, Failure> {
    let model = Model::new(shape, asked.seed, device)?;
    Ok(Checkpoint {
        step: 0,
        adam: Adam::new(&model)?,
        model,
        curve: Curve::default(),
    })
}

fn advance(training: &mut Checkpoint, asked: &Transformer, corpus: &Corpus) -> Result<(), Failure> {
    let step = training.step + 1;
    let (tokens, next) = batch(asked, &corpus.training, step);
    let loss = training
        .model
        .losses(&tokens, &next, asked.batch)?
        .mean_all()?;
    training
        .adam
        .step(&training.model, &loss.backward()?, asked, step)?;
    let loss = f64::from(loss.to_scalar::<f32>()?);
    if !loss.is_finite() {
        return Err(Failure::request(format!(
            "the loss is no number any more at step {step}: a lower learningRate or clip is needed"
        )));
    }
    training.step = step;
    if step.is_multiple_of(asked.evaluate_every) || step == asked.steps {
        let held_out = evaluate(&training.model, &corpus.held_out, asked.batch)?;
        training.curve.points.push(Point {
            step,
            training: loss,
            held_out,
        });
    }
    folder::progress(step, asked.steps, loss)
}

/// The pieces of one step, and what comes next in each place: they follow from seed and step.
fn batch(asked: &Transformer, text: &[u16], step: u64) -> (Vec<u16>, Vec<u16>) {
    let mut stream = random::stream(asked.seed, "batch", step);
    let (mut tokens, mut next) = (vec![], vec![]);
    for _ in 0..asked.batch {
        let start = random::below((text.len() - asked.context) as u64, &mut stream) as usize;
        tokens.extend_from_slice(&text[start..start + asked.context]);
        next.extend_from_slice(&text[start + 1..=start + asked.context]);
    }
    (tokens, next)
}

/// Nats for each byte of a text, that its documents end included: the text in pieces, each without what is before it.
fn evaluate(model: &Model, text: &[u16], batch: usize) -> Result<f64, Failure> {
    let (tokens, next) = (&text[..text.len() - 1], &text[1..]);
    let piece = model.shape.context * EVALUATED_ROWS.min(batch);
    let mut nats = 0.0;
    for (tokens, next) in tokens.chunks(piece).zip(next.chunks(piece)) {
        let whole = tokens.len() / model.shape.context * model.shape.context;
        let parts = [
            (
                &tokens[..whole],
                &next[..whole],
                whole / model.shape.context,
            ),
            (&tokens[whole..], &next[whole..], 1),
        ];
        for (tokens, next, rows) in parts.into_iter().filter(|(tokens, ..)| !tokens.is_empty()) {
            let losses: Tensor = model.losses(tokens, next, rows)?.detach();
            nats += f64::from(losses.sum_all()?.to_scalar::<f32>()?);
        }
    }
    Ok(nats / bytes(text) as f64)
}

fn finish(training: &Checkpoint, corpus: &Corpus, folders: &Folders) -> Result<(), Failure> {
    let entropy = unigram_entropy(&corpus.held_out);
    let output = &folders.output;
    let weights = training
        .model
        .parameters
        .iter()
        .map(|(name, one)| (name, one.as_tensor().clone()));
    let weights = safetensors::serialize(weights, None)
        .map_err(|error| Failure::machine(format!("{WEIGHTS}: {error}")))?;
    folder::write(output, WEIGHTS, &weights)?;
    folder::write_json(output, CONFIG, &training.model.shape)?;
    training.curve.write(output, entropy)?;
    let last = training.curve.points.last();
    let last = last.ok_or_else(|| {
        Failure::machine("the checkpoint has no curve: without it the job begins again")
    })?;
    let metrics = [
        ("heldOutLoss", last.held_out),
        ("heldOutUnigramEntropy", entropy),
        ("trainingLoss", last.training),
        ("heldOutBytes", bytes(&corpus.held_out) as f64),
        ("heldOutUnits", corpus.units[1] as f64),
        ("trainingBytes", bytes(&corpus.training) as f64),
        ("trainingUnits", corpus.units[0] as f64),
        ("repeatedDocuments", corpus.repeated as f64),
        ("parameters", training.model.shape.count() as f64),
        ("steps", training.step as f64),
    ];
    folder::write_metrics(output, &metrics)
}
