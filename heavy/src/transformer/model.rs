//! The model: a causal transformer over bytes, with the norm before each part of a block, and one matrix for what goes in and
//! what comes out.

use std::collections::BTreeMap;

use candle_core::{D, Device, Result, Tensor, Var};
use serde::{Deserialize, Serialize};

use super::random;
use super::text::VOCABULARY;
use crate::recipe::Transformer;

/// Deviation of the first weights, as of GPT-2.
const DEVIATION: f64 = 0.02;
/// What keeps a norm from dividing by zero.
const EPSILON: f64 = 1e-5;
/// The inner width of a block's second part, in widths.
const EXPANSION: usize = 4;
/// What a place that comes later adds to the logarithm of its weight.
const LATER: f32 = -1e9;

/// Limits of a shape: of each number so much that the largest model is not what it forbids, and that products stay small.
const MAX_LAYERS: usize = 48;
const MAX_HEADS: usize = 64;
const MAX_WIDTH: usize = 4096;
const MAX_CONTEXT: usize = 8192;
/// Parameters of the largest model: 4 GiB, with moments and gradients 16.
const MAX_PARAMETERS: usize = 1 << 30;

/// What a model is made of: `config.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// [`FORMAT`].
    pub format: String,
    /// Blocks.
    pub layers: usize,
    /// Heads.
    pub heads: usize,
    /// Numbers for a byte.
    pub width: usize,
    /// Bytes that are seen at once.
    pub context: usize,
}

/// The name of the format: bytes as tokens, 256 as the end of a document, and the parameters' names and shapes.
pub const FORMAT: &str = "collective/heavy/transformer/v1";

/// A model whose parameters can be trained.
pub struct Model {
    /// What it is made of.
    pub shape: Shape,
    /// By name, in the order of names.
    pub parameters: BTreeMap<String, Var>,
    /// [`LATER`] where a column is after its row, else 0.
    mask: Tensor,
}

impl Shape {
    /// What was asked for.
    pub fn of(asked: &Transformer) -> Self {
        Self {
            format: FORMAT.into(),
            layers: asked.layers,
            heads: asked.heads,
            width: asked.width,
            context: asked.context,
        }
    }

    /// Whether a model of this shape can be: each number within its limit, a width that the heads share, few enough parameters.
    ///
    /// # Errors
    /// What is too much or too little.
    pub fn check(&self) -> std::result::Result<(), String> {
        let numbers = [
            ("layers", self.layers, 1, MAX_LAYERS),
            ("heads", self.heads, 1, MAX_HEADS),
            ("width", self.width, 8, MAX_WIDTH),
            ("context", self.context, 8, MAX_CONTEXT),
        ];
        for (name, value, least, most) in numbers {
            if !(least..=most).contains(&value) {
                return Err(format!(
                    "{name} is {value}, and has to be between {least} and {most}"
                ));
            }
        }
        match (self.width.is_multiple_of(self.heads), self.count()) {
            (false, _) => Err(format!(
                "{} heads cannot share a width of {}",
                self.heads, self.width
            )),
            (true, count) if count > MAX_PARAMETERS => Err(format!(
                "it has {count} parameters, and at most {MAX_PARAMETERS} are trained"
            )),
            _ => Ok(()),
        }
    }

    /// How many numbers all parameters have.
    pub fn count(&self) -> usize {
        self.parameters()
            .values()
            .map(|shape| shape.iter().product::<usize>())
            .sum()
    }

    /// Names and shapes of all parameters.
    pub fn parameters(&self) -> BTreeMap<String, Vec<usize>> {
        let (width, inner) = (self.width, self.width * EXPANSION);
        let mut all = BTreeMap::from([
            ("bytes".to_owned(), vec![VOCABULARY, width]),
            ("places".to_owned(), vec![self.context, width]),
            ("norm".to_owned(), vec![width]),
        ]);
        for layer in 0..self.layers {
            let parts = [
                ("attention.norm", vec![width]),
                ("attention.query", vec![width, width]),
                ("attention.key", vec![width, width]),
                ("attention.value", vec![width, width]),
                ("attention.output", vec![width, width]),
                ("inner.norm", vec![width]),
                ("inner.up", vec![width, inner]),
                ("inner.down", vec![inner, width]),
            ];
            all.extend(parts.map(|(name, shape)| (format!("block.{layer}.{name}"), shape)));
        }
        all
    }
}

impl Model {
    /// A model that knows nothing, of a seed.
    pub fn new(shape: Shape, seed: u32, device: &Device) -> Result<Self> {
        let mut tensors = BTreeMap::new();
        for (number, (name, dims)) in shape.parameters().into_iter().enumerate() {
            let count = dims.iter().product();
            let values = match (dims.len(), name.rsplit('.').next()) {
                (1, _) => vec![1.0; count],
                // What adds to the stream of a block adds less, the more blocks there are.
                (_, last) => {
                    let adds = matches!(last, Some("output" | "down"));
                    let scale = if adds {
                        (2.0 * shape.layers as f64).sqrt()
                    } else {
                        1.0
                    };
                    let mut stream = random::stream(seed, "weights", number as u64);
                    random::normal(count, DEVIATION / scale, &mut stream)
                }
            };
            tensors.insert(name, Tensor::from_vec(values, dims, device)?);
        }
        Self::with(shape, tensors, device)
    }

    /// A model of these parameters, which have the names and shapes of its shape.
    pub fn with(shape: Shape, tensors: BTreeMap<String, Tensor>, device: &Device) -> Result<Self> {
        let vars = tensors
            .into_iter()
            .map(|(name, tensor)| Ok((name, Var::from_tensor(&tensor)?)));
        let length = shape.context;
        let mask = (0..length * length).map(|cell| {
            if cell % length > cell / length {
                LATER
            } else {
                0.0
            }
        });
        let mask = Tensor::from_vec(mask.collect::<Vec<f32>>(), (length, length), device)?;
        Ok(Self {
            shape,
            parameters: vars.collect::<Result<_>>()?,
            mask,
        })
    }

    /// For each place of each row of tokens the weights of what comes next: rows × places lines of [`VOCABULARY`] numbers.
    pub fn forward(&self, tokens: &[u16], rows: usize) -> Result<Tensor> {
        let width = self.shape.width;
        let length = tokens.len() / rows;
        let tokens: Vec<u32> = tokens.iter().map(|token| u32::from(*token)).collect();
        let tokens = Tensor::from_vec(tokens, rows * length, self.mask.device())?;
        let places = self.part("places").narrow(0, 0, length)?;
        let mask = self
            .mask
            .narrow(0, 0, length)?
            .narrow(1, 0, length)?
            .contiguous()?;
        let mut stream = self
            .part("bytes")
            .index_select(&tokens, 0)?
            .reshape((rows, length, width))?;
        stream = stream
            .broadcast_add(&places)?
            .reshape((rows * length, width))?;
        for layer in 0..self.shape.layers {
            let part = |name: &str| self.part(&format!("block.{layer}.{name}"));
            let normed = norm(&stream, part("attention.norm"))?;
            let seen = self.attend(&normed, &part, rows, &mask)?;
            stream = (stream + seen.matmul(part("attention.output"))?)?;
            let normed = norm(&stream, part("inner.norm"))?;
            let inner = normed.matmul(part("inner.up"))?.relu()?;
            stream = (stream + inner.matmul(part("inner.down"))?)?;
        }
        norm(&stream, self.part("norm"))?.matmul(&self.part("bytes").t()?)
    }

    fn attend<'a>(
        &self,
        from: &Tensor,
        part: &impl Fn(&str) -> &'a Tensor,
        rows: usize,
        mask: &Tensor,
    ) -> Result<Tensor> {
        let Shape { heads, width, .. } = self.shape;
        let length = from.dim(0)? / rows;
        let by_head = |name: &str| -> Result<Tensor> {
            let all = from
                .matmul(part(name))?
                .reshape((rows, length, heads, width / heads))?;
            all.transpose(1, 2)?.contiguous()
        };
        let (query, key, value) = (
            by_head("attention.query")?,
            by_head("attention.key")?,
            by_head("attention.value")?,
        );
        let scale = 1.0 / ((width / heads) as f64).sqrt();
        let weights = (query * scale)?.matmul(&key.t()?)?.broadcast_add(mask)?;
        let seen = softmax(&weights)?.matmul(&value)?;
        seen.transpose(1, 2)?
            .contiguous()?
            .reshape((rows * length, width))
    }

    /// Nats that each of the next tokens costs, one line for each place.
    pub fn losses(&self, tokens: &[u16], next: &[u16], rows: usize) -> Result<Tensor> {
        let next: Vec<u32> = next.iter().map(|token| u32::from(*token)).collect();
        let next = Tensor::from_vec(next, (tokens.len(), 1), self.mask.device())?;
        log_softmax(&self.forward(tokens, rows)?)?
            .gather(&next, 1)?
            .neg()
    }

    fn part(&self, name: &str) -> &Tensor {
        self.parameters
            .get(name)
            .expect("a model has the parameters of its shape")
            .as_tensor()
    }
}

/// Root mean square to 1, times what is learnt.
fn norm(stream: &Tensor, scale: &Tensor) -> Result<Tensor> {
    let square = (stream.sqr()?.mean_keepdim(D::Minus1)? + EPSILON)?;
    stream.broadcast_div(&square.sqrt()?)?.broadcast_mul(scale)
}

/// Shares of one, over the last dimension.
fn softmax(weights: &Tensor) -> Result<Tensor> {
    let parts = below_most(weights)?.exp()?;
    parts.broadcast_div(&parts.sum_keepdim(D::Minus1)?)
}

/// Logarithms of shares, over the last dimension.
fn log_softmax(weights: &Tensor) -> Result<Tensor> {
    let shifted = below_most(weights)?;
    let sum = shifted.exp()?.sum_keepdim(D::Minus1)?;
    shifted.broadcast_sub(&sum.log()?)
}

/// The same but for a number that makes the largest zero: no exponential leaves the numbers.
fn below_most(weights: &Tensor) -> Result<Tensor> {
    weights.broadcast_sub(&weights.max_keepdim(D::Minus1)?.detach())
}
