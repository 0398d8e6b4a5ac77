//! The encoder by `rust-bert` on libtorch: an independent judge of the embedded engines, and the way to a GPU.
//!
//! The very same weights run through the embeddings and the encoder of `rust_bert::bert`; token ids, their types and
//! windows are ours. Windows of similar lengths are padded together; a mask, which is added to the scores of attention, keeps
//! the padding out of it, and carries the biases of relative positions where a model has them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rust_bert::Activation;
use rust_bert::bert::{BertConfig, BertEmbedding, BertEmbeddings, BertEncoder};
use tch::{Cuda, Device, Kind, Tensor, nn};

use crate::batch::Batch;
use crate::engine::model_file::{EncoderConfig, Model, ModelError};
use crate::engine::position::PositionBias;
use crate::engine::{CPU_BATCH_TOKENS, Engine, EngineError, EngineSource, Hidden, check_window};
use crate::text::window::Window;

/// A window joins a padded group if it has at least this share of the group's longest window.
const MIN_LENGTH_SHARE: f64 = 0.8;
/// Tokens that a GPU takes at once: enough for its launches to cost little, little enough for its memory.
const GPU_BATCH_TOKENS: usize = 32_768;
/// What keeps padding out of attention, as in `rust_bert::bert::BertModel`.
const MASKED: f64 = 10_000.0;
/// The only `layer_norm_eps` that `rust-bert` computes with.
const EPSILON: f32 = 1e-12;

/// Numbers that the device computes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TorchPrecision {
    /// Single precision.
    F32,
    /// bfloat16 weights and activations; hidden states come back in f32.
    Bf16,
}

/// Opens torch engines on one device.
///
/// On a CPU every worker has its own copy of the network, with one thread. On a GPU all workers share one, so that some
/// read, cut and write texts while another keeps the device busy.
pub struct TorchSource {
    model: Arc<Model>,
    device: Device,
    precision: TorchPrecision,
    shared: Option<Arc<Mutex<Network>>>,
}

impl TorchSource {
    /// Prepares `device`: `cpu`, `cuda` or `cuda:N`.
    ///
    /// # Errors
    ///
    /// [`EngineError::Device`] if there is no such device; [`EngineError::Model`] if `rust-bert` cannot run the model.
    pub fn new(model: &Arc<Model>, device: &str, precision: TorchPrecision) -> Result<Self, EngineError> {
        let device = find_device(device)?;
        tch::set_num_threads(1);
        let mut source = TorchSource { model: Arc::clone(model), device, precision, shared: None };
        if device != Device::Cpu {
            source.shared = Some(Arc::new(Mutex::new(source.network()?)));
        }
        Ok(source)
    }

    fn network(&self) -> Result<Network, EngineError> {
        Network::load(&self.model, self.device, self.precision)
    }
}

impl EngineSource for TorchSource {
    fn open(&self) -> Result<Box<dyn Engine>, EngineError> {
        let network = match &self.shared {
            Some(network) => Arc::clone(network),
            None => Arc::new(Mutex::new(self.network()?)),
        };
        Ok(Box::new(TorchEngine { model: Arc::clone(&self.model), network }))
    }

    fn tag_suffix(&self) -> &'static str {
        match self.precision {
            TorchPrecision::F32 => "+torch",
            TorchPrecision::Bf16 => "+torch-bf16",
        }
    }

    fn batch_tokens(&self) -> usize {
        if self.device == Device::Cpu { CPU_BATCH_TOKENS } else { GPU_BATCH_TOKENS }
    }
}

fn find_device(name: &str) -> Result<Device, EngineError> {
    let unusable = |problem: String| EngineError::Device { device: name.to_owned(), problem };
    let number = match name {
        "cpu" => return Ok(Device::Cpu),
        "cuda" => 0,
        _ => match name.strip_prefix("cuda:").and_then(|n| n.parse().ok()) {
            Some(number) => number,
            None => return Err(unusable("use `cpu`, `cuda` or `cuda:N`".to_owned())),
        },
    };
    let count = usize::try_from(Cuda::device_count()).unwrap_or(0);
    if number >= count {
        return Err(unusable(format!("this libtorch sees {count} CUDA devices")));
    }
    Ok(Device::Cuda(number))
}

struct TorchEngine {
    model: Arc<Model>,
    network: Arc<Mutex<Network>>,
}

impl Engine for TorchEngine {
    fn run(&mut self, batch: &Batch<'_>, out: &mut Hidden) -> Result<(), EngineError> {
        let config = self.model.config();
        let width = config.hidden_size;
        let values = out.reset(batch.rows(), width);
        for group in padded_groups(batch.windows()) {
            let windows: Vec<&Window> = group.iter().map(|&at| batch.windows()[at]).collect();
            windows.iter().try_for_each(|window| check_window(window, config))?;
            let padded = Padded::new(&windows);
            let longest = padded.longest;
            // A poisoned lock means that another worker panicked; the network itself keeps no state.
            let hidden = self.network.lock().unwrap_or_else(PoisonError::into_inner).run(&padded)?;
            for (row, &at) in group.iter().enumerate() {
                let target = batch.rows_of(at);
                let source = row * longest * width..(row * longest + target.len()) * width;
                values[target.start * width..target.end * width].copy_from_slice(&hidden[source]);
            }
        }
        Ok(())
    }
}

/// Positions of windows that are padded together: groups of similar lengths, longest first.
#[must_use]
pub fn padded_groups(windows: &[&Window]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..windows.len()).collect();
    order.sort_by_key(|&at| std::cmp::Reverse(windows[at].len()));
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for at in order {
        let fits = |group: &Vec<usize>| windows[at].len() as f64 >= MIN_LENGTH_SHARE * windows[group[0]].len() as f64;
        match groups.last_mut() {
            Some(group) if fits(group) => group.push(at),
            _ => groups.push(vec![at]),
        }
    }
    groups
}

/// The encoder on a device.
struct Network {
    device: Device,
    embeddings: BertEmbeddings,
    encoder: BertEncoder,
    /// Biases of relative positions, `[1, heads, positions, positions]`.
    bias: Option<Tensor>,
    kind: Kind,
    /// Owns the variables.
    _variables: nn::VarStore,
}

impl Network {
    fn load(model: &Arc<Model>, device: Device, precision: TorchPrecision) -> Result<Self, EngineError> {
        let config = model.config();
        if (config.layer_norm_eps - EPSILON).abs() > EPSILON / 10.0 {
            let problem = format!("`layer_norm_eps` is {}; rust-bert computes with {EPSILON}", config.layer_norm_eps);
            return Err(ModelError::Unsupported { file: "config.json", problem }.into());
        }
        let size = |value: usize| i64::try_from(value).expect("sizes of a model that fits in memory");
        let bert_config = BertConfig {
            hidden_act: Activation::gelu,
            attention_probs_dropout_prob: 0.0,
            hidden_dropout_prob: 0.0,
            hidden_size: size(config.hidden_size),
            initializer_range: 0.02,
            intermediate_size: size(config.intermediate_size),
            max_position_embeddings: size(config.max_position_embeddings),
            num_attention_heads: size(config.num_attention_heads),
            num_hidden_layers: size(config.num_hidden_layers),
            type_vocab_size: size(config.type_vocab_size),
            vocab_size: size(config.vocab_size),
            output_attentions: None,
            output_hidden_states: None,
            is_decoder: None,
            id2label: None,
            label2id: None,
        };
        let mut variables = nn::VarStore::new(device);
        let root = variables.root() / "bert";
        let embeddings = BertEmbeddings::new(&root / "embeddings", &bert_config);
        let encoder = BertEncoder::new(&root / "encoder", &bert_config);
        let tensors = model.tensors()?;
        for (name, mut variable) in variables.variables().into_iter().collect::<BTreeMap<_, _>>() {
            let shape: Vec<usize> = variable.size().into_iter().map(|n| usize::try_from(n).unwrap_or(0)).collect();
            let values = tensors.values(&name, &shape)?;
            let source = Tensor::from_slice(&values).reshape(variable.size());
            tch::no_grad(|| variable.f_copy_(&source)).map_err(|e| device_error(device, &e))?;
            assert_eq!(variable.kind(), Kind::Float, "the file's own type must not reach the network");
        }
        let kind = match precision {
            TorchPrecision::F32 => Kind::Float,
            TorchPrecision::Bf16 => Kind::BFloat16,
        };
        if precision == TorchPrecision::Bf16 {
            variables.bfloat16();
        }
        variables.freeze();
        let bias = PositionBias::read(config, &tensors, 1.0)?;
        let bias = bias.map(|bias| square(&bias, config).to_device(device).to_kind(kind));
        Ok(Network { device, embeddings, encoder, bias, kind, _variables: variables })
    }

    /// Hidden states of all rows, those of padding included, `[windows, longest, hidden]`.
    fn run(&self, padded: &Padded) -> Result<Vec<f32>, EngineError> {
        let shape = [padded.windows, padded.longest].map(|n| i64::try_from(n).expect("a batch that fits in memory"));
        let tensor = |values: &[i64]| Tensor::from_slice(values).reshape(shape).to_device(self.device);
        let (ids, types, mask) = (tensor(&padded.ids), tensor(&padded.types), tensor(&padded.mask));
        let length = shape[1];
        let padding = (mask.to_kind(self.kind).unsqueeze(1).unsqueeze(1) - 1.0) * MASKED;
        let mask = match &self.bias {
            Some(bias) => padding + bias.narrow(2, 0, length).narrow(3, 0, length),
            None => padding,
        };
        let failed = |error: &dyn std::error::Error| device_error(self.device, error);
        let forward = || {
            let embedded = self.embeddings.forward_t(Some(&ids), Some(&types), None, None, false)?;
            Ok::<_, rust_bert::RustBertError>(self.encoder.forward_t(&embedded, Some(&mask), None, None, false))
        };
        let hidden = tch::no_grad(forward).map_err(|e| failed(&e))?.hidden_state;
        let flat = hidden.to_device(Device::Cpu).to_kind(Kind::Float).reshape([-1]);
        Vec::<f32>::try_from(flat).map_err(|e| failed(&e))
    }
}

/// The biases as a tensor `[1, heads, positions, positions]`.
fn square(bias: &PositionBias, config: &EncoderConfig) -> Tensor {
    let (heads, positions) = (config.num_attention_heads, bias.positions());
    let rows = (0..heads).flat_map(|head| (0..positions).map(move |query| (head, query)));
    let values: Vec<f32> = rows.flat_map(|(head, query)| bias.of(head, query)[..positions].iter().copied()).collect();
    let shape = [1, heads, positions, positions].map(|n| i64::try_from(n).expect("a model that fits in memory"));
    Tensor::from_slice(&values).reshape(shape)
}

/// Windows padded to the longest, `[windows, longest]` each.
struct Padded {
    windows: usize,
    longest: usize,
    ids: Vec<i64>,
    types: Vec<i64>,
    /// 1 for tokens, 0 for padding.
    mask: Vec<i64>,
}

impl Padded {
    fn new(windows: &[&Window]) -> Self {
        let longest = windows.iter().map(|w| w.len()).max().unwrap_or(0);
        let empty = vec![0; windows.len() * longest];
        let mut padded =
            Padded { windows: windows.len(), longest, ids: empty.clone(), types: empty.clone(), mask: empty };
        for (row, window) in windows.iter().enumerate() {
            for (at, (&id, token_type)) in window.ids().iter().zip(window.types()).enumerate() {
                let place = row * longest + at;
                (padded.ids[place], padded.types[place], padded.mask[place]) =
                    (i64::from(id), token_type.number() as i64, 1);
            }
        }
        padded
    }
}

fn device_error(device: Device, error: &dyn std::error::Error) -> EngineError {
    EngineError::Device { device: format!("{device:?}"), problem: error.to_string() }
}
