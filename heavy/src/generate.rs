//! `generate`: a trained model writes on from a prompt.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use candle_core::{D, Device};

use crate::failure::Failure;
use crate::folder;
use crate::transformer::random::{share, stream};
use crate::transformer::{CONFIG, END, FORMAT, Model, Shape, WEIGHTS, device};

/// Bytes of a prompt: far more than any model here sees at once.
const MAX_PROMPT_BYTES: u64 = 1 << 20;
/// Bytes of a description of a model: a line.
const MAX_CONFIG_BYTES: u64 = 1 << 12;
/// Bytes of weights: those of the largest model that is trained here, and a header.
const MAX_WEIGHTS_BYTES: u64 = (4 << 30) + (1 << 20);

/// What `generate` is called with.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Folder with model.safetensors and config.json
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// File with what the model goes on from
    #[arg(long, value_name = "FILE")]
    prompt: PathBuf,
    /// Bytes at most; fewer where the model ends
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    tokens: u32,
    /// Whatever is drawn follows from it
    #[arg(long, value_name = "SEED")]
    seed: u32,
}

/// Writes what the model says to standard output: bytes, which need not be text.
///
/// # Errors
/// The requester's: a model that is none. The operator's: the disk, memory, nobody who reads.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let model = load(&arguments.model, &device()?)?;
    let prompt = folder::read(&arguments.prompt, MAX_PROMPT_BYTES)?;
    let mut tokens = vec![END];
    tokens.extend(prompt.into_iter().map(u16::from));
    let mut draws = stream(arguments.seed, "generate", 0);
    let mut out = io::stdout().lock();
    for _ in 0..arguments.tokens {
        let seen = &tokens[tokens.len().saturating_sub(model.shape.context)..];
        let weights = model
            .forward(seen, 1)?
            .narrow(0, seen.len() - 1, 1)?
            .flatten(0, D::Minus1)?;
        let token = draw(&weights.to_vec1::<f32>()?, share(&mut draws))?;
        let Ok(byte) = u8::try_from(token) else {
            break;
        };
        out.write_all(&[byte])
            .and_then(|()| out.flush())
            .map_err(|error| Failure::machine(format!("nobody takes what is said: {error}")))?;
        tokens.push(token);
    }
    Ok(())
}

/// Reads a model, and looks at every name and shape before any of it is used.
fn load(folder: &Path, device: &Device) -> Result<Model, Failure> {
    let config = folder::read(&folder.join(CONFIG), MAX_CONFIG_BYTES)?;
    let no_model =
        |what: &str| Failure::request(format!("this is no model that `train` made: {what}"));
    let shape: Shape =
        serde_json::from_slice(&config).map_err(|error| no_model(&error.to_string()))?;
    if shape.format != FORMAT {
        return Err(no_model("it is of another format"));
    }
    shape.check().map_err(|what| no_model(&what))?;
    let bytes = folder::read(&folder.join(WEIGHTS), MAX_WEIGHTS_BYTES)?;
    let mut found = candle_core::safetensors::load_buffer(&bytes, device)
        .map_err(|error| no_model(&error.to_string()))?;
    let mut parameters = BTreeMap::new();
    for (name, dims) in shape.parameters() {
        let tensor = found
            .remove(&name)
            .filter(|it| it.dims() == dims && it.dtype() == candle_core::DType::F32);
        let tensor = tensor
            .ok_or_else(|| no_model(&format!("'{name}' is not there, or of another shape")))?;
        parameters.insert(name, tensor);
    }
    Ok(Model::with(shape, parameters, device)?)
}

/// The token whose part of the whole a number from 0 to 1 falls into.
fn draw(weights: &[f32], share: f64) -> Result<u16, Failure> {
    let most = weights.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let parts: Vec<f64> = weights
        .iter()
        .map(|weight| f64::from(weight - most).exp())
        .collect();
    let mut left = share * parts.iter().sum::<f64>();
    if !left.is_finite() {
        return Err(Failure::request(
            "this is no model that `train` made: its weights are no numbers",
        ));
    }
    let token = parts.iter().position(|part| {
        left -= part;
        left < 0.0
    });
    Ok(token.map_or(END, |token| token as u16))
}
