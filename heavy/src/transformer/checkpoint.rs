//! What a killed training goes on from: parameters, moments and curve after one step, in one file that is there whole.
//!
//! Batches follow from seed and step, so that no generator's state is in it. Losses are kept as they are, not as text, so that a
//! run that was killed ends with the same bytes as one that was not.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{Device, Tensor};
use safetensors::SafeTensors;

use super::adam::Adam;
use super::curve::{Curve, Point};
use super::model::{Model, Shape};
use crate::failure::Failure;
use crate::folder;

/// The name of the file.
const CHECKPOINT: &str = "checkpoint.safetensors";
/// Bytes of it: the largest model thrice, and a curve.
const MAX_BYTES: u64 = 16 << 30;
/// What the note beside the tensors is called.
const NOTE: &str = "training";

/// A training after some step.
pub struct Checkpoint {
    /// The steps that are done.
    pub step: u64,
    /// After them.
    pub model: Model,
    /// After them.
    pub adam: Adam,
    /// Up to them.
    pub curve: Curve,
}

impl Checkpoint {
    /// Writes it over the one before. `job` says which training it is of.
    ///
    /// # Errors
    /// The disk's.
    pub fn write(&self, folder: &Path, job: &str) -> Result<(), Failure> {
        let mut tensors = BTreeMap::new();
        for (name, parameter) in &self.model.parameters {
            tensors.insert(format!("parameter/{name}"), parameter.as_tensor().clone());
        }
        for (name, (first, second)) in &self.adam.moments {
            tensors.insert(format!("first/{name}"), first.clone());
            tensors.insert(format!("second/{name}"), second.clone());
        }
        let points = self
            .curve
            .points
            .iter()
            .flat_map(|it| [it.step as f64, it.training, it.held_out]);
        let points =
            Tensor::from_vec(points.collect(), (self.curve.points.len(), 3), &Device::Cpu)?;
        tensors.insert("curve".into(), points);
        let note = HashMap::from([(NOTE.to_owned(), format!("{job} {}", self.step))]);
        let bytes = safetensors::serialize(tensors, Some(note)).map_err(|error| {
            Failure::machine(format!("the checkpoint cannot be written: {error}"))
        })?;
        folder::write(folder, CHECKPOINT, &bytes)
    }

    /// Reads what an earlier try of the same job left, if it left anything.
    ///
    /// # Errors
    /// The operator's: a file of another job, or one that is garbled.
    pub fn read(
        folder: &Path,
        job: &str,
        shape: &Shape,
        device: &Device,
    ) -> Result<Option<Self>, Failure> {
        if !folder.join(CHECKPOINT).exists() {
            return Ok(None);
        }
        let bytes = folder::read(&folder.join(CHECKPOINT), MAX_BYTES)?;
        let garbled = || {
            Failure::machine(format!(
                "{CHECKPOINT} is garbled: without it the job begins again"
            ))
        };
        let (_, about) = SafeTensors::read_metadata(&bytes).map_err(|_| garbled())?;
        let note = about
            .metadata()
            .as_ref()
            .and_then(|notes| notes.get(NOTE))
            .ok_or_else(garbled)?;
        let (of, step) = note.split_once(' ').ok_or_else(garbled)?;
        if of != job {
            return Err(Failure::machine(
                "the state folder is of another job: each has one of its own",
            ));
        }
        let mut tensors =
            candle_core::safetensors::load_buffer(&bytes, device).map_err(|_| garbled())?;
        let mut take = |kind: &str| -> Option<BTreeMap<String, Tensor>> {
            let of_kind = shape.parameters().into_iter().map(|(name, dims)| {
                let tensor = tensors.remove(&format!("{kind}/{name}"))?;
                (tensor.dims() == dims).then_some((name, tensor))
            });
            of_kind.collect()
        };
        let parameters = take("parameter").ok_or_else(garbled)?;
        let (first, second) = take("first").zip(take("second")).ok_or_else(garbled)?;
        let moments = first.into_iter().zip(second.into_values());
        let points = tensors
            .remove("curve")
            .and_then(|it| it.to_vec2::<f64>().ok())
            .ok_or_else(garbled)?;
        let point = |it: &Vec<f64>| Point {
            step: it[0] as u64,
            training: it[1],
            held_out: it[2],
        };
        Ok(Some(Self {
            step: step.parse().map_err(|_| garbled())?,
            model: Model::with(shape.clone(), parameters, device)?,
            adam: Adam {
                moments: moments
                    .map(|((name, first), second)| (name, (first, second)))
                    .collect(),
            },
            curve: Curve {
                points: points.iter().map(point).collect(),
            },
        }))
    }
}
