//! The BERT encoder (Devlin et al. 2019) in plain f32: the readable reference that other engines are measured against.
//!
//! One window at a time, one thread, one product after the other, as in the paper. Only the word embedding stays in the
//! file's own type and place: a window reads a few hundred of its rows.

use std::sync::Arc;

use ndarray::{Array1, Array2, ArrayView2, Axis, concatenate, s};

use crate::batch::Batch;
use crate::engine::linear::Linear;
use crate::engine::math::{gelu, layer_norm, softmax};
use crate::engine::model_file::{EncoderConfig, Model, ModelError, StoredMatrix, Tensors};
use crate::engine::position::PositionBias;
use crate::engine::{Engine, EngineError, EngineSource, Hidden, check_window};
use crate::text::window::Window;

/// The encoder's weights in f32, shared by the engines of all workers.
pub struct F32Source {
    encoder: Arc<Encoder>,
}

impl F32Source {
    /// Reads the encoder's tensors.
    ///
    /// # Errors
    ///
    /// [`ModelError`] if a tensor is missing or of another shape than the configuration says.
    pub fn new(model: &Arc<Model>) -> Result<Self, ModelError> {
        Ok(F32Source { encoder: Arc::new(Encoder::read(model)?) })
    }
}

impl EngineSource for F32Source {
    fn open(&self) -> Result<Box<dyn Engine>, EngineError> {
        Ok(Box::new(F32Engine { encoder: Arc::clone(&self.encoder) }))
    }

    fn tag_suffix(&self) -> &'static str {
        "+f32"
    }
}

/// See the module.
pub struct F32Engine {
    encoder: Arc<Encoder>,
}

impl Engine for F32Engine {
    fn run(&mut self, batch: &Batch<'_>, out: &mut Hidden) -> Result<(), EngineError> {
        let width = self.encoder.config.hidden_size;
        let values = out.reset(batch.rows(), width);
        for (at, window) in batch.windows().iter().enumerate() {
            let hidden = self.encoder.run(window)?;
            let rows = batch.rows_of(at);
            let source = hidden.as_slice().expect("a new array is contiguous");
            values[rows.start * width..rows.end * width].copy_from_slice(source);
        }
        Ok(())
    }
}

struct Norm {
    gain: Vec<f32>,
    bias: Vec<f32>,
    epsilon: f32,
}

impl Norm {
    fn read(tensors: &Tensors<'_>, name: &str, config: &EncoderConfig) -> Result<Self, ModelError> {
        let vector =
            |part| Ok::<_, ModelError>(tensors.vector(&format!("{name}.{part}"), config.hidden_size)?.to_vec());
        Ok(Norm { gain: vector("weight")?, bias: vector("bias")?, epsilon: config.layer_norm_eps })
    }

    fn apply(&self, x: &mut Array2<f32>) {
        for mut row in x.rows_mut() {
            let row = row.as_slice_mut().expect("rows of a standard layout");
            layer_norm(row, &self.gain, &self.bias, self.epsilon);
        }
    }
}

struct Layer {
    /// Query, key and value, one below the other: `[3 · hidden, hidden]`.
    query_key_value: Linear,
    attention_output: Linear,
    attention_norm: Norm,
    intermediate: Linear,
    output: Linear,
    output_norm: Norm,
}

struct Encoder {
    config: EncoderConfig,
    words: StoredMatrix,
    positions: Array2<f32>,
    types: Array2<f32>,
    norm: Norm,
    bias: Option<PositionBias>,
    layers: Vec<Layer>,
}

impl Encoder {
    fn read(model: &Arc<Model>) -> Result<Self, ModelError> {
        let (config, tensors) = (model.config(), &model.tensors()?);
        let width = config.hidden_size;
        let embedding = |name: &str| format!("bert.embeddings.{name}");
        let layers =
            (0..config.num_hidden_layers).map(|at| Layer::read(at, config, tensors)).collect::<Result<_, _>>()?;
        Ok(Encoder {
            config: config.clone(),
            words: Model::stored_matrix(model, &embedding("word_embeddings.weight"), config.vocab_size, width)?,
            positions: tensors.matrix(
                &embedding("position_embeddings.weight"),
                config.max_position_embeddings,
                width,
            )?,
            types: tensors.matrix(&embedding("token_type_embeddings.weight"), config.type_vocab_size, width)?,
            norm: Norm::read(tensors, &embedding("LayerNorm"), config)?,
            bias: PositionBias::read(config, tensors, 1.0)?,
            layers,
        })
    }

    /// Hidden states of one window, `[tokens, hidden]`.
    fn run(&self, window: &Window) -> Result<Array2<f32>, EngineError> {
        check_window(window, &self.config)?;
        let mut x = self.embed(window);
        for layer in &self.layers {
            x = layer.run(&x, self.config.num_attention_heads, self.bias.as_ref());
        }
        Ok(x)
    }

    fn embed(&self, window: &Window) -> Array2<f32> {
        let mut x = self.positions.slice(s![..window.len(), ..]).to_owned();
        let mut word = Array1::zeros(x.ncols());
        for (mut row, (&id, token_type)) in x.rows_mut().into_iter().zip(window.ids().iter().zip(window.types())) {
            self.words.read_row(id as usize, word.as_slice_mut().expect("a new array is contiguous"));
            row += &word;
            row += &self.types.row(token_type.number());
        }
        self.norm.apply(&mut x);
        x
    }
}

impl Layer {
    fn read(at: usize, config: &EncoderConfig, tensors: &Tensors<'_>) -> Result<Self, ModelError> {
        let (width, inner) = (config.hidden_size, config.intermediate_size);
        let name = |part: &str| format!("bert.encoder.layer.{at}.{part}");
        let projections = ["query", "key", "value"].map(|part| name(&format!("attention.self.{part}")));
        let mut weights = Vec::new();
        let mut biases = Vec::new();
        for projection in &projections {
            weights.push(tensors.matrix(&format!("{projection}.weight"), width, width)?);
            biases.push(tensors.vector(&format!("{projection}.bias"), width)?);
        }
        let weight = concatenate(Axis(0), &weights.iter().map(|w| w.view()).collect::<Vec<_>>()).expect("equal widths");
        let bias = concatenate(Axis(0), &biases.iter().map(|b| b.view()).collect::<Vec<_>>()).expect("vectors");
        Ok(Layer {
            query_key_value: Linear::new(weight, bias),
            attention_output: tensors.linear(&name("attention.output.dense"), width, width)?,
            attention_norm: Norm::read(tensors, &name("attention.output.LayerNorm"), config)?,
            intermediate: tensors.linear(&name("intermediate.dense"), inner, width)?,
            output: tensors.linear(&name("output.dense"), width, inner)?,
            output_norm: Norm::read(tensors, &name("output.LayerNorm"), config)?,
        })
    }

    fn run(&self, x: &Array2<f32>, heads: usize, bias: Option<&PositionBias>) -> Array2<f32> {
        let context = self.attend(&x.view(), heads, bias);
        let mut attended = self.attention_output.apply(&context.view());
        attended += x;
        self.attention_norm.apply(&mut attended);

        let mut inner = self.intermediate.apply(&attended.view());
        gelu(inner.as_slice_mut().expect("a new array is contiguous"));
        let mut out = self.output.apply(&inner.view());
        out += &attended;
        self.output_norm.apply(&mut out);
        out
    }

    /// Multi-head attention (Vaswani et al. 2017): softmax(Q Kᵀ / √d + bias) V per head, `[tokens, hidden]`.
    fn attend(&self, x: &ArrayView2<'_, f32>, heads: usize, bias: Option<&PositionBias>) -> Array2<f32> {
        let width = x.ncols();
        let depth = width / heads;
        let scale = 1.0 / (depth as f32).sqrt();
        let qkv = self.query_key_value.apply(x);
        let mut context = Array2::zeros(x.raw_dim());
        for head in 0..heads {
            let part = |which: usize| {
                let from = which * width + head * depth;
                qkv.slice(s![.., from..from + depth])
            };
            let mut scores = part(0).dot(&part(1).t());
            scores *= scale;
            for (query, mut row) in scores.rows_mut().into_iter().enumerate() {
                let row = row.as_slice_mut().expect("a new array is contiguous");
                for (score, bias) in row.iter_mut().zip(bias.iter().flat_map(|bias| bias.of(head, query))) {
                    *score += bias;
                }
                softmax(row);
            }
            context.slice_mut(s![.., head * depth..(head + 1) * depth]).assign(&scores.dot(&part(2)));
        }
        context
    }
}
