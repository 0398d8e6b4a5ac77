//! Windows → hidden states: the seam between the text and the encoders that can read it.
//!
//! [`int8`] is the default, [`float`] the readable reference; `torch` (with the feature of that name) runs the same weights through `rust-bert`,
//! an independent judge and the way to a GPU. Whatever runs the encoder sits behind [`Engine`]; what all of them share is
//! one [`model_file::Model`].

pub mod float;
pub mod int8;
pub mod kernel;
pub mod linear;
pub mod math;
pub mod model_file;
pub mod position;
#[cfg(feature = "torch")]
pub mod torch;

use ndarray::ArrayView2;

use crate::batch::Batch;
use crate::engine::model_file::{EncoderConfig, ModelError};
use crate::text::window::Window;

/// Tokens of a batch that keep one core busy.
const CPU_BATCH_TOKENS: usize = 2048;

/// Runs the encoder over one batch.
///
/// An engine belongs to one worker and may reuse its buffers, hence `&mut self` and no `Sync`.
///
/// # Contract
///
/// The hidden states of a window depend on that window and the model alone, not on its neighbours in the batch, their
/// number or their order: for the embedded engines bit for bit, for others within a stated tolerance.
pub trait Engine: Send {
    /// Replaces the content of `out` with the hidden states of `batch`: one row of `hidden_size` per token, packed order.
    ///
    /// # Errors
    ///
    /// [`EngineError`] if a window cannot be run; `out` is then unspecified.
    fn run(&mut self, batch: &Batch<'_>, out: &mut Hidden) -> Result<(), EngineError>;
}

/// Opens engines over one loaded model; shared by all workers.
pub trait EngineSource: Sync {
    /// A new engine, for one worker.
    ///
    /// # Errors
    ///
    /// [`EngineError`] if the device or its memory cannot be had.
    fn open(&self) -> Result<Box<dyn Engine>, EngineError>;

    /// Appended to the model's tag when the numbers are not those of the default engine: `+f32`, `+torch`.
    fn tag_suffix(&self) -> &'static str;

    /// How many tokens of a batch keep this engine busy; more gains nothing.
    fn batch_tokens(&self) -> usize {
        CPU_BATCH_TOKENS
    }
}

/// Why an engine could not run.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A window is longer than the model has positions.
    #[error("a window of {len} tokens exceeds the model's {limit} positions")]
    TooLong {
        /// Tokens of the window.
        len: usize,
        /// Rows of the position embedding.
        limit: usize,
    },
    /// A token id beyond the model's vocabulary.
    #[error("token id {id} is not in the model's vocabulary of {size}")]
    UnknownToken {
        /// The id.
        id: u32,
        /// Rows of the word embedding.
        size: usize,
    },
    /// A token type beyond the model's: a known name, for a model without a list of them.
    #[error("token type {number} is not among the model's {size}")]
    UnknownType {
        /// Number of the type.
        number: usize,
        /// Rows of the token-type embedding.
        size: usize,
    },
    /// A device that is not there, or fails.
    #[error("device `{device}` cannot be used: {problem}")]
    Device {
        /// As it was named.
        device: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A kernel that this CPU cannot run.
    #[error("this CPU lacks the instructions of the kernel `{kernel}`; its best is `{best}`")]
    Kernel {
        /// As asked.
        kernel: kernel::Kernel,
        /// The fastest that it can run.
        best: kernel::Kernel,
    },
    /// A model that this engine cannot run.
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// Refuses a window that a model of this shape cannot read.
fn check_window(window: &Window, config: &EncoderConfig) -> Result<(), EngineError> {
    let (len, limit, size) = (window.len(), config.max_position_embeddings, config.vocab_size);
    if len > limit {
        return Err(EngineError::TooLong { len, limit });
    }
    if let Some(&id) = window.ids().iter().find(|&&id| id as usize >= size) {
        return Err(EngineError::UnknownToken { id, size });
    }
    let size = config.type_vocab_size;
    match window.types().iter().map(|t| t.number()).find(|&number| number >= size) {
        Some(number) => Err(EngineError::UnknownType { number, size }),
        None => Ok(()),
    }
}

/// Hidden states of a batch, `[rows, hidden_size]`, packed as [`Batch::rows_of`] says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hidden {
    values: Vec<f32>,
    width: usize,
}

impl Hidden {
    /// Makes room for `rows` rows of `width` numbers and returns them for writing; what was there is gone.
    pub fn reset(&mut self, rows: usize, width: usize) -> &mut [f32] {
        self.width = width;
        self.values.clear();
        self.values.resize(rows * width, 0.0);
        &mut self.values
    }

    /// The rows of window `at` of the batch that these states belong to, `[tokens, hidden_size]`.
    ///
    /// # Panics
    ///
    /// If these states do not come from `batch`.
    #[must_use]
    pub fn window(&self, batch: &Batch<'_>, at: usize) -> ArrayView2<'_, f32> {
        let rows = batch.rows_of(at);
        let values = &self.values[rows.start * self.width..rows.end * self.width];
        ArrayView2::from_shape((rows.len(), self.width), values).expect("rows times width, by construction")
    }
}
