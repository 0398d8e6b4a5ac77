//! A model's folder, or the copy inside the binary → [`Model`]; every name, shape and number is checked here, once.
//!
//! A folder holds `model.json` (what the model is), `config.json` (shape of the encoder, in Hugging Face's form),
//! `tokenizer.json` and `model.safetensors` (f16, f32 or bf16; names as Hugging Face has them, under `bert.`, and the
//! heads `entity`, `query`, `key`, `value`, `stance.0`, `stance.3`); `names.tsv`, if the encoder has token types for
//! known names.

use std::borrow::Cow;
use std::fs;
use std::io;
use std::ops::Range;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use half::slice::HalfFloatSliceExt;
use ndarray::{Array1, Array2};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::engine::kernel::Kernel;
use crate::engine::kernel::dense::Dense;
use crate::engine::linear::Linear;
use crate::text::lexicon::{Lexicon, LexiconError};
use crate::text::wordpiece::{LetterCase, TokenType};
use crate::text::{TextEncoder, TokenizerError};

/// Entity tags in the order of the entity head's columns.
pub const ENTITY_TAGS: [&str; 9] =
    ["O", "B-COMPANY", "I-COMPANY", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "B-PER", "I-PER"];
/// Sentence classes in the order of the stance head's columns.
pub const SENTENCE_CLASSES: [&str; 5] = ["none", "halted", "suspended", "continuing", "no_comment"];

/// Fewest tokens of a window that make sense.
const MIN_WINDOW_TOKENS: usize = 16;

/// Why a model cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A file of the folder cannot be read.
    #[error("cannot read `{}` of the model", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A description that is no JSON, or lacks a field.
    #[error("`{file}` of the model does not describe one")]
    Json {
        /// `model.json` or `config.json`.
        file: &'static str,
        /// Where and what.
        source: serde_json::Error,
    },
    /// The tokenizer cannot be used.
    #[error("`tokenizer.json` of the model cannot be used")]
    Tokenizer(#[from] TokenizerError),
    /// The list of known names cannot be used.
    #[error("`names.tsv` of the model cannot be used")]
    Names(#[from] LexiconError),
    /// The weights are no safetensors file, or lack a tensor.
    #[error("`model.safetensors` is damaged or lacks a tensor")]
    Tensors(#[from] safetensors::SafeTensorError),
    /// A tensor of another shape than the configuration says.
    #[error("tensor `{name}` has shape {found:?}, but `config.json` says {expected:?}")]
    Shape {
        /// Name of the tensor.
        name: String,
        /// Shape in the file.
        found: Vec<usize>,
        /// Shape by the configuration.
        expected: Vec<usize>,
    },
    /// A tensor of a type other than f16, bf16 and f32.
    #[error("tensor `{name}` is of type {dtype:?}; f16, bf16 and f32 are read")]
    Dtype {
        /// Name of the tensor.
        name: String,
        /// Type in the file.
        dtype: Dtype,
    },
    /// A file is not the one that `model.json` describes.
    #[error("the SHA-256 of `{file}` is {found}, but `model.json` says {expected}")]
    Hash {
        /// `model.safetensors` or `names.tsv`.
        file: &'static str,
        /// Hash of the file.
        found: String,
        /// Hash in the description.
        expected: String,
    },
    /// A setting that the program cannot work with.
    #[error("`{file}` of the model: {problem}")]
    Unsupported {
        /// `model.json` or `config.json`.
        file: &'static str,
        /// What is wrong with which field.
        problem: String,
    },
}

/// What `model.json` says, as far as the program needs it.
#[derive(Clone, Debug, Deserialize)]
pub struct ModelCard {
    /// Name, as in record tags.
    pub name: String,
    /// Release of these weights.
    pub version: String,
    /// Longest window, special tokens included.
    pub max_tokens: usize,
    /// How many windows beyond one that names a company its vector is carried.
    pub carry_windows: usize,
    /// Calibration fitted on documents that were not trained on.
    pub calibration: Calibration,
    /// Columns of the heads.
    pub labels: Labels,
    /// SHA-256 of `model.safetensors`, lower-case hexadecimal.
    pub weights_sha256: String,
    /// SHA-256 of `names.tsv`, if there is one.
    #[serde(default)]
    pub names_sha256: Option<String>,
}

/// What is fitted on documents that were not trained on.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Calibration {
    /// Document scores are divided by it before the softmax (Guo et al. 2017); above 0.
    pub temperature: f32,
    /// Least probability with which a sentence must say the stance to be evidence of it, 0 to 1; the likeliest one always is.
    #[serde(default)]
    pub evidence: f32,
}

/// Columns of the heads, to be compared with the program's.
#[derive(Clone, Debug, Deserialize)]
pub struct Labels {
    /// Columns of the entity head.
    pub entities: Vec<String>,
    /// Columns of the stance head.
    pub sentences: Vec<String>,
}

/// Shape of the encoder: what `config.json` says, in Hugging Face's names.
#[derive(Clone, Debug, Deserialize)]
pub struct EncoderConfig {
    /// Rows of the word embedding.
    pub vocab_size: usize,
    /// Width of a hidden state.
    pub hidden_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Attention heads per layer; they share the width evenly.
    pub num_attention_heads: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Rows of the position embedding: the longest window.
    pub max_position_embeddings: usize,
    /// Rows of the token-type embedding: 4, one per letter case, or 36, one per letter case and kind of known name.
    pub type_vocab_size: usize,
    /// Added to the variance in layer normalization.
    pub layer_norm_eps: f32,
    /// Activation of the feed-forward layer; `gelu` (the exact form).
    pub hidden_act: String,
    /// Kind of positions; `absolute`, also when absent.
    #[serde(default = "absolute")]
    pub position_embedding_type: String,
    /// Buckets of relative positions, whose biases attention adds to its scores, as in MPNet; absent in BERT.
    #[serde(default)]
    pub relative_attention_num_buckets: Option<usize>,
}

fn absolute() -> String {
    "absolute".to_owned()
}

/// A model ready for engines and heads: its text encoder, its description, its weights.
pub struct Model {
    card: ModelCard,
    config: EncoderConfig,
    text: TextEncoder,
    weights: Cow<'static, [u8]>,
}

impl Model {
    /// The model inside the binary. Its weights stay where the program is mapped; nothing is copied.
    ///
    /// # Errors
    ///
    /// [`ModelError`], if the binary was built with a damaged model.
    pub fn embedded() -> Result<Self, ModelError> {
        Model::from_parts(
            include_bytes!("../../models/stancewire-small/model.json"),
            include_bytes!("../../models/stancewire-small/config.json"),
            include_bytes!("../../models/stancewire-small/tokenizer.json"),
            Some(include_bytes!("../../models/stancewire-small/names.tsv")),
            Cow::Borrowed(include_bytes!("../../models/stancewire-small/model.safetensors")),
        )
    }

    /// The model in a folder.
    ///
    /// # Errors
    ///
    /// [`ModelError`] if a file is missing, unreadable, or not what `model.json` and `config.json` say.
    pub fn open(folder: &Path) -> Result<Self, ModelError> {
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read(&path).map_err(|source| ModelError::Read { path, source })
        };
        let (card, config, tokenizer) = (read("model.json")?, read("config.json")?, read("tokenizer.json")?);
        let names = match read("names.tsv") {
            Err(ModelError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
            names => Some(names?),
        };
        let weights = Cow::Owned(read("model.safetensors")?);
        let model = Model::from_parts(&card, &config, &tokenizer, names.as_deref(), weights)?;
        let none = || "none".to_owned();
        let hashes = [
            ("model.safetensors", model.weights_hash(), model.card.weights_sha256.clone()),
            (
                "names.tsv",
                names.map_or_else(none, |n| sha256(&n)),
                model.card.names_sha256.clone().unwrap_or_else(none),
            ),
        ];
        if let Some((file, found, expected)) = hashes.into_iter().find(|(_, found, expected)| found != expected) {
            return Err(ModelError::Hash { file, found, expected });
        }
        Ok(model)
    }

    fn from_parts(
        card: &[u8],
        config: &[u8],
        tokenizer: &[u8],
        names: Option<&[u8]>,
        weights: Cow<'static, [u8]>,
    ) -> Result<Self, ModelError> {
        let json = |file| move |source| ModelError::Json { file, source };
        let card: ModelCard = serde_json::from_slice(card).map_err(json("model.json"))?;
        let config: EncoderConfig = serde_json::from_slice(config).map_err(json("config.json"))?;
        check(&card, &config)?;
        // Both take some milliseconds, which a single document would wait for.
        let (text, lexicon) = thread::scope(|scope| {
            let lexicon = scope.spawn(|| names.map(Lexicon::read).transpose());
            (TextEncoder::from_bytes(tokenizer, card.max_tokens), lexicon.join())
        });
        let mut text = text?;
        if text.vocabulary_size() > config.vocab_size {
            let problem =
                format!("`vocab_size` {} is less than the tokenizer's {}", config.vocab_size, text.vocabulary_size());
            return Err(ModelError::Unsupported { file: "config.json", problem });
        }
        match (lexicon.unwrap_or_else(|panic| resume_unwind(panic))?, config.type_vocab_size == TokenType::COUNT) {
            (Some(lexicon), true) => text = text.with_names(lexicon),
            (None, false) => {}
            (lexicon, _) => {
                let problem = format!(
                    "`type_vocab_size` is {}, but the model has {} `names.tsv`",
                    config.type_vocab_size,
                    lexicon.map_or("no", |_| "a")
                );
                return Err(ModelError::Unsupported { file: "config.json", problem });
            }
        }
        Ok(Model { card, config, text, weights })
    }

    /// What `model.json` says.
    #[must_use]
    pub fn card(&self) -> &ModelCard {
        &self.card
    }

    /// Shape of the encoder.
    #[must_use]
    pub fn config(&self) -> &EncoderConfig {
        &self.config
    }

    /// Cuts texts into this model's windows.
    #[must_use]
    pub fn text(&self) -> &TextEncoder {
        &self.text
    }

    /// `name@version-` and the first 8 hexadecimal digits of the weights' hash.
    #[must_use]
    pub fn tag(&self) -> String {
        let hash = &self.card.weights_sha256;
        format!("{}@{}-{}", self.card.name, self.card.version, hash.get(..8).unwrap_or(hash))
    }

    /// SHA-256 of the weights, lower-case hexadecimal.
    #[must_use]
    pub fn weights_hash(&self) -> String {
        sha256(&self.weights)
    }

    /// The matrix `name`, left where it is in the weights.
    ///
    /// # Errors
    ///
    /// As [`Tensors::stored`].
    pub fn stored_matrix(
        model: &Arc<Self>,
        name: &str,
        rows: usize,
        columns: usize,
    ) -> Result<StoredMatrix, ModelError> {
        let tensor = model.tensors()?.stored(name, &[rows, columns])?;
        let from = tensor.data().as_ptr().addr() - model.weights.as_ptr().addr();
        let bytes = from..from + tensor.data().len();
        Ok(StoredMatrix { model: Arc::clone(model), dtype: tensor.dtype(), bytes, rows })
    }

    /// The tensors of the weights' file.
    ///
    /// # Errors
    ///
    /// [`ModelError::Tensors`] if the bytes are no safetensors file.
    pub fn tensors(&self) -> Result<Tensors<'_>, ModelError> {
        Ok(Tensors { file: SafeTensors::deserialize(&self.weights)? })
    }
}

/// A matrix that stays in the weights' file, in its own type; rows are read one at a time.
pub struct StoredMatrix {
    model: Arc<Model>,
    dtype: Dtype,
    bytes: Range<usize>,
    rows: usize,
}

impl StoredMatrix {
    /// Writes row `at` in f32 to `out`.
    ///
    /// # Panics
    ///
    /// If there is no such row, or `out` is not as long.
    pub fn read_row(&self, at: usize, out: &mut [f32]) {
        let width = self.bytes.len() / self.rows;
        let bytes = &self.model.weights[self.bytes.clone()][at * width..(at + 1) * width];
        fill_f32(self.dtype, bytes, out);
    }
}

/// SHA-256, lower-case hexadecimal.
fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn check(card: &ModelCard, config: &EncoderConfig) -> Result<(), ModelError> {
    let bad = |file, problem: String| Err(ModelError::Unsupported { file, problem });
    if card.labels.entities != ENTITY_TAGS || card.labels.sentences != SENTENCE_CLASSES {
        return bad("model.json", format!("`labels` must be {ENTITY_TAGS:?} and {SENTENCE_CLASSES:?}, in this order"));
    }
    if card.max_tokens < MIN_WINDOW_TOKENS || card.max_tokens > config.max_position_embeddings {
        let range = MIN_WINDOW_TOKENS..=config.max_position_embeddings;
        return bad("model.json", format!("`max_tokens` is {}; it must lie in {range:?}", card.max_tokens));
    }
    if !(card.calibration.temperature.is_finite() && card.calibration.temperature > 0.0) {
        return bad("model.json", "`calibration.temperature` must be above 0".to_owned());
    }
    if !(0.0..=1.0).contains(&card.calibration.evidence) {
        return bad("model.json", "`calibration.evidence` must lie between 0 and 1".to_owned());
    }
    if config.hidden_act != "gelu" {
        return bad("config.json", format!("`hidden_act` is `{}`; only `gelu` is supported", config.hidden_act));
    }
    if config.position_embedding_type != "absolute" {
        let kind = &config.position_embedding_type;
        return bad("config.json", format!("`position_embedding_type` is `{kind}`; only `absolute` is supported"));
    }
    if config.relative_attention_num_buckets.is_some_and(|buckets| buckets < 4 || buckets % 4 != 0) {
        let problem = "`relative_attention_num_buckets` must be a multiple of 4".to_owned();
        return bad("config.json", problem);
    }
    if ![LetterCase::ALL.len(), TokenType::COUNT].contains(&config.type_vocab_size) {
        let problem = format!(
            "`type_vocab_size` is {}; letter case needs 4, letter case and known names {}",
            config.type_vocab_size,
            TokenType::COUNT
        );
        return bad("config.json", problem);
    }
    if config.num_attention_heads == 0 || !config.hidden_size.is_multiple_of(config.num_attention_heads) {
        let problem = "`hidden_size` must be a multiple of `num_attention_heads`".to_owned();
        return bad("config.json", problem);
    }
    Ok(())
}

/// Tensors by name, in f32.
pub struct Tensors<'m> {
    file: SafeTensors<'m>,
}

impl<'m> Tensors<'m> {
    /// The tensor `name` as it is stored, after a check of its shape and type.
    ///
    /// # Errors
    ///
    /// [`ModelError`] if it is absent, or of another shape or type.
    pub fn stored(&self, name: &str, shape: &[usize]) -> Result<TensorView<'m>, ModelError> {
        let tensor = self.file.tensor(name)?;
        if tensor.shape() != shape {
            let (name, found, expected) = (name.to_owned(), tensor.shape().to_vec(), shape.to_vec());
            return Err(ModelError::Shape { name, found, expected });
        }
        match tensor.dtype() {
            Dtype::F16 | Dtype::BF16 | Dtype::F32 => Ok(tensor),
            dtype => Err(ModelError::Dtype { name: name.to_owned(), dtype }),
        }
    }

    /// All values of a tensor of this shape, row after row.
    ///
    /// # Errors
    ///
    /// As [`Tensors::stored`].
    pub fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        let tensor = self.stored(name, shape)?;
        Ok(to_f32(tensor.dtype(), tensor.data()))
    }

    /// A vector `[len]`.
    ///
    /// # Errors
    ///
    /// As [`Tensors::stored`].
    pub fn vector(&self, name: &str, len: usize) -> Result<Array1<f32>, ModelError> {
        Ok(Array1::from(self.values(name, &[len])?))
    }

    /// A matrix `[rows, columns]`.
    ///
    /// # Errors
    ///
    /// As [`Tensors::stored`].
    ///
    /// # Panics
    ///
    /// Never: the shape is checked before.
    pub fn matrix(&self, name: &str, rows: usize, columns: usize) -> Result<Array2<f32>, ModelError> {
        let values = self.values(name, &[rows, columns])?;
        Ok(Array2::from_shape_vec((rows, columns), values).expect("shape checked above"))
    }

    /// The layer `name.weight` `[outputs, inputs]`, `name.bias` `[outputs]`.
    ///
    /// # Errors
    ///
    /// As [`Tensors::stored`].
    pub fn linear(&self, name: &str, outputs: usize, inputs: usize) -> Result<Linear, ModelError> {
        let weight = self.matrix(&format!("{name}.weight"), outputs, inputs)?;
        Ok(Linear::new(weight, self.vector(&format!("{name}.bias"), outputs)?))
    }

    /// As [`Tensors::linear`], for the heads.
    ///
    /// # Errors
    ///
    /// As [`Tensors::stored`].
    pub fn dense(&self, name: &str, outputs: usize, inputs: usize, kernel: Kernel) -> Result<Dense, ModelError> {
        let weight = self.matrix(&format!("{name}.weight"), outputs, inputs)?;
        Ok(Dense::new(weight.view(), &self.values(&format!("{name}.bias"), &[outputs])?, kernel))
    }
}

/// Stored values in f32.
fn to_f32(dtype: Dtype, bytes: &[u8]) -> Vec<f32> {
    let size = if matches!(dtype, Dtype::F16 | Dtype::BF16) { 2 } else { 4 };
    let mut values = vec![0.0; bytes.len() / size];
    fill_f32(dtype, bytes, &mut values);
    values
}

/// Writes stored values to `out` in f32. Bytes are little-endian and need not be aligned; any type but f16 and bf16 is read
/// as f32.
///
/// # Panics
///
/// If `out` has another number of values.
fn fill_f32(dtype: Dtype, bytes: &[u8], out: &mut [f32]) {
    /// f16 values that are converted together, by the CPU's instruction where it has one.
    const CHUNK: usize = 16;
    let halves = bytes.as_chunks::<2>().0;
    match dtype {
        Dtype::F16 => {
            assert_eq!(halves.len(), out.len(), "as many values");
            for (stored, out) in halves.chunks(CHUNK).zip(out.chunks_mut(CHUNK)) {
                let mut values = [half::f16::ZERO; CHUNK];
                stored.iter().zip(&mut values).for_each(|(&b, v)| *v = half::f16::from_le_bytes(b));
                values[..stored.len()].convert_to_f32_slice(out);
            }
        }
        Dtype::BF16 => {
            assert_eq!(halves.len(), out.len(), "as many values");
            halves.iter().zip(out).for_each(|(&b, v)| *v = half::bf16::from_le_bytes(b).to_f32());
        }
        _ => {
            let stored = bytes.as_chunks::<4>().0;
            assert_eq!(stored.len(), out.len(), "as many values");
            stored.iter().zip(out).for_each(|(&b, v)| *v = f32::from_le_bytes(b));
        }
    }
}
