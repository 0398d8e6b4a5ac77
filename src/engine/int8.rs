//! The encoder in 8 bits: faster than [`crate::engine::float`], and the same bits on every CPU.
//!
//! Weights are quantized per output when the engine is opened, activations per token as they arise; sums are exact
//! integers. Softmax, GELU and layer normalization are computed in f32, attention's products in 16-bit integers. No row depends on its neighbours beyond its own window, no token is padding, and nothing is allocated
//! once the buffers have grown.
//!
//! How every CPU yields the same bits, [`crate::engine::kernel`] says.

use std::sync::Arc;

use crate::batch::Batch;
use crate::engine::kernel::attention::{Attend, Scratch};
use crate::engine::kernel::elementwise::{AddNorm, Norm, Quantize, Quantized, padded};
use crate::engine::kernel::product::{Packed, Product};
use crate::engine::kernel::simd::{Simd, run};
use crate::engine::kernel::{Kernel, with_kernel};
use crate::engine::model_file::{EncoderConfig, Model, ModelError, StoredMatrix, Tensors};
use crate::engine::position::PositionBias;
use crate::engine::{Engine, EngineError, EngineSource, Hidden, check_window};
use crate::text::window::Window;

/// Rows that go through a layer's products together, so that what lies between stays in the second-level cache.
const BLOCK_ROWS: usize = 48;
/// Rows of windows that go through the layers together: enough to amortize reading the weights.
const GROUP_ROWS: usize = 384;

/// The encoder's weights in 8 bits, packed for one kernel and shared by the engines of all workers.
pub struct Int8Source {
    open: Box<dyn Fn() -> Box<dyn Engine> + Send + Sync>,
}

impl Int8Source {
    /// Quantizes and packs the encoder's tensors for `kernel`.
    ///
    /// # Errors
    ///
    /// [`EngineError::Kernel`] if this CPU lacks its instructions; [`EngineError::Model`] if a tensor is missing or of
    /// another shape than the configuration says.
    pub fn new(model: &Arc<Model>, kernel: Kernel) -> Result<Self, EngineError> {
        if !kernel.is_supported() {
            return Err(EngineError::Kernel { kernel, best: Kernel::best() });
        }
        let open = with_kernel!(kernel, S => opener::<S>(model))?;
        Ok(Int8Source { open })
    }
}

/// Makes engines over weights packed for `S`.
fn opener<S: Simd>(model: &Arc<Model>) -> Result<Box<dyn Fn() -> Box<dyn Engine> + Send + Sync>, ModelError> {
    let encoder = Arc::new(Encoder::<S>::read(model)?);
    Ok(Box::new(move || Box::new(Int8Engine { encoder: Arc::clone(&encoder), buffers: Buffers::new() })))
}

impl EngineSource for Int8Source {
    fn open(&self) -> Result<Box<dyn Engine>, EngineError> {
        Ok((self.open)())
    }

    fn tag_suffix(&self) -> &'static str {
        ""
    }
}

struct Layer<S: Simd> {
    query_key_value: Packed<S>,
    attention_output: Packed<S>,
    attention_norm: Norm,
    intermediate: Packed<S>,
    output: Packed<S>,
    output_norm: Norm,
}

struct Encoder<S: Simd> {
    config: EncoderConfig,
    words: StoredMatrix,
    positions: Vec<f32>,
    types: Vec<f32>,
    norm: Norm,
    bias: Option<PositionBias>,
    layers: Vec<Layer<S>>,
}

impl<S: Simd> Encoder<S> {
    fn read(model: &Arc<Model>) -> Result<Self, ModelError> {
        let (config, tensors) = (model.config(), &model.tensors()?);
        let width = config.hidden_size;
        let table =
            |name: &str, rows| tensors.values(&format!("bert.embeddings.{name}_embeddings.weight"), &[rows, width]);
        let words = "bert.embeddings.word_embeddings.weight";
        Ok(Encoder {
            config: config.clone(),
            words: Model::stored_matrix(model, words, config.vocab_size, width)?,
            positions: table("position", config.max_position_embeddings)?,
            types: table("token_type", config.type_vocab_size)?,
            norm: norm(tensors, "bert.embeddings.LayerNorm", config)?,
            bias: PositionBias::read(config, tensors, std::f32::consts::LOG2_E)?,
            layers: (0..config.num_hidden_layers)
                .map(|at| Layer::read(at, config, tensors))
                .collect::<Result<_, _>>()?,
        })
    }
}

impl<S: Simd> Layer<S> {
    fn read(at: usize, config: &EncoderConfig, tensors: &Tensors<'_>) -> Result<Self, ModelError> {
        let (width, inner) = (config.hidden_size, config.intermediate_size);
        let name = |part: &str| format!("bert.encoder.layer.{at}.{part}");
        let read = |part: &str, outputs, inputs| {
            let weight = tensors.values(&name(&format!("{part}.weight")), &[outputs, inputs])?;
            Ok::<_, ModelError>((weight, tensors.values(&name(&format!("{part}.bias")), &[outputs])?))
        };
        let pack = |part: &str, outputs, inputs| {
            let (weight, bias) = read(part, outputs, inputs)?;
            Ok::<_, ModelError>(Packed::new(&weight, &bias, inputs))
        };
        let (mut weight, mut bias) = (Vec::new(), Vec::new());
        for part in ["query", "key", "value"] {
            let (w, b) = read(&format!("attention.self.{part}"), width, width)?;
            weight.extend(w);
            bias.extend(b);
        }
        Ok(Layer {
            query_key_value: Packed::new(&weight, &bias, width),
            attention_output: pack("attention.output.dense", width, width)?,
            attention_norm: norm(tensors, &name("attention.output.LayerNorm"), config)?,
            intermediate: pack("intermediate.dense", inner, width)?,
            output: pack("output.dense", width, inner)?,
            output_norm: norm(tensors, &name("output.LayerNorm"), config)?,
        })
    }
}

fn norm(tensors: &Tensors<'_>, name: &str, config: &EncoderConfig) -> Result<Norm, ModelError> {
    let vector = |part| tensors.values(&format!("{name}.{part}"), &[config.hidden_size]);
    Ok(Norm::new(&vector("weight")?, &vector("bias")?, config.layer_norm_eps))
}

/// What one engine computes in; grown once.
struct Buffers<S: Simd> {
    /// Hidden states, `[rows, padded width]`.
    x: Vec<f32>,
    quantized: Quantized<S>,
    query_key_value: Vec<f32>,
    context: Vec<f32>,
    /// Rows of a block: contexts, inner activations.
    block: Quantized<S>,
    inner: Vec<f32>,
    added: Vec<f32>,
    partial: Vec<i32>,
    attention: Scratch,
}

impl<S: Simd> Buffers<S> {
    fn new() -> Self {
        Buffers {
            x: Vec::new(),
            quantized: Quantized::new(),
            query_key_value: Vec::new(),
            context: Vec::new(),
            block: Quantized::new(),
            inner: Vec::new(),
            added: Vec::new(),
            partial: Vec::new(),
            attention: Scratch::default(),
        }
    }
}

struct Int8Engine<S: Simd> {
    encoder: Arc<Encoder<S>>,
    buffers: Buffers<S>,
}

impl<S: Simd> Engine for Int8Engine<S> {
    fn run(&mut self, batch: &Batch<'_>, out: &mut Hidden) -> Result<(), EngineError> {
        let Int8Engine { encoder, buffers } = self;
        batch.windows().iter().try_for_each(|window| check_window(window, &encoder.config))?;
        let width = encoder.config.hidden_size;
        let target = out.reset(batch.rows(), width);
        let mut from = 0;
        while from < batch.windows().len() {
            let start = batch.rows_of(from).start;
            let fits = |&at: &usize| batch.rows_of(at).end - start <= GROUP_ROWS;
            let to = (from + 1..batch.windows().len()).take_while(fits).last().unwrap_or(from) + 1;
            let windows = &batch.windows()[from..to];
            encoder.run(windows, buffers);
            for (row, x) in buffers.x.chunks_exact(padded(width)).enumerate() {
                target[(start + row) * width..][..width].copy_from_slice(&x[..width]);
            }
            from = to;
        }
        Ok(())
    }
}

impl<S: Simd> Encoder<S> {
    /// Leaves the windows' hidden states in `buffers.x`.
    fn run(&self, windows: &[&Window], buffers: &mut Buffers<S>) {
        self.embed(windows, buffers);
        for layer in &self.layers {
            self.attend(layer, windows, buffers);
            layer.feed_forward(buffers);
        }
    }

    fn embed(&self, windows: &[&Window], buffers: &mut Buffers<S>) {
        let width = self.config.hidden_size;
        let stride = padded(width);
        let rows = windows.iter().map(|w| w.len()).sum();
        buffers.x.clear();
        buffers.x.resize(rows * stride, 0.0);
        let tokens = windows.iter().flat_map(|w| w.ids().iter().zip(w.types()).enumerate());
        for (x, (position, (&id, token_type))) in buffers.x.chunks_exact_mut(stride).zip(tokens) {
            let x = &mut x[..width];
            self.words.read_row(id as usize, x);
            let positions = &self.positions[position * width..][..width];
            let types = &self.types[token_type.number() * width..][..width];
            for ((x, position), own) in x.iter_mut().zip(positions).zip(types) {
                *x = (*x + position) + own;
            }
        }
        let Buffers { x, quantized, .. } = buffers;
        quantized.reset(rows, stride);
        run(AddNorm { x, y: None, norm: &self.norm, out: quantized, first: 0 });
    }

    /// Leaves the attention's contexts in `buffers.context`.
    fn attend(&self, layer: &Layer<S>, windows: &[&Window], buffers: &mut Buffers<S>) {
        let (heads, width) = (self.config.num_attention_heads, self.config.hidden_size);
        let Buffers { x, quantized, query_key_value, context, partial, attention, .. } = buffers;
        let (stride, out_stride) = (layer.query_key_value.outputs(), padded(width));
        let rows = x.len() / out_stride;
        query_key_value.resize(rows * stride, 0.0);
        for (block, out) in query_key_value.chunks_mut(BLOCK_ROWS * stride).enumerate() {
            let (first, weights) = (block * BLOCK_ROWS, &layer.query_key_value);
            run(Product { x: quantized, first, weights, gelu: false, out, partial });
        }
        // Beyond the true width contexts stay 0.
        context.clear();
        context.resize(rows * out_stride, 0.0);
        let (mut input, mut output) = (&query_key_value[..], &mut context[..]);
        for window in windows {
            let (of_window, rest) = input.split_at(window.len() * stride);
            let (out, others) = output.split_at_mut(window.len() * out_stride);
            let (depth, bias, scratch) = (width / heads, self.bias.as_ref(), &mut *attention);
            run::<S>(Attend { query_key_value: of_window, stride, heads, depth, bias, out, out_stride, scratch });
            (input, output) = (rest, others);
        }
    }
}

impl<S: Simd> Layer<S> {
    /// All that follows the attention, block by block of rows.
    fn feed_forward(&self, buffers: &mut Buffers<S>) {
        let Buffers { x, quantized, context, block, inner, added, partial, .. } = buffers;
        let stride = self.attention_output.outputs();
        let parts = x.chunks_mut(BLOCK_ROWS * stride).zip(context.chunks(BLOCK_ROWS * stride));
        for (number, (x, context)) in parts.enumerate() {
            let (rows, first) = (x.len() / stride, number * BLOCK_ROWS);
            added.resize(x.len(), 0.0);
            inner.resize(rows * self.intermediate.outputs(), 0.0);
            block.reset(rows, stride);
            run(Quantize { x: context, out: block, first: 0 });
            let weights = &self.attention_output;
            run(Product { x: block, first: 0, weights, gelu: false, out: added, partial });
            run(AddNorm { x, y: Some(added), norm: &self.attention_norm, out: quantized, first });
            let weights = &self.intermediate;
            run(Product { x: quantized, first, weights, gelu: true, out: inner, partial });
            block.reset(rows, self.intermediate.outputs());
            run(Quantize { x: inner, out: block, first: 0 });
            let weights = &self.output;
            run(Product { x: block, first: 0, weights, gelu: false, out: added, partial });
            run(AddNorm { x, y: Some(added), norm: &self.output_norm, out: quantized, first });
        }
    }
}
