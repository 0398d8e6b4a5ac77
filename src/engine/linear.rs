//! A fully connected layer in f32, as the f32 encoder uses it; that of the heads, whose sums no CPU changes, is
//! [`crate::engine::kernel::dense`].
//!
//! Products run on one thread through `ndarray` (`matrixmultiply`): a safe interface to strided views, pure Rust, no
//! pool of its own inside ours, and blocks of fixed depth, so that an output element is the same sum whatever the number
//! of rows. In a trial over this model's shapes it came within a fifth of `faer`, which takes far longer to build, and level
//! with `gemm`, which is unsafe to call; `rten-gemm` with packed weights was faster on short windows, but goes parallel by
//! itself inside a rayon pool.

use ndarray::linalg::general_mat_mul;
use ndarray::{Array1, Array2, ArrayView2};

/// y = x Wᵀ + b, with `weight` `[out, in]` and `bias` `[out]`.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Array2<f32>,
    bias: Array1<f32>,
}

impl Linear {
    /// A layer from its parameters.
    ///
    /// # Panics
    ///
    /// If the number of rows of `weight` is not the length of `bias`.
    #[must_use]
    pub fn new(weight: Array2<f32>, bias: Array1<f32>) -> Self {
        assert_eq!(weight.nrows(), bias.len(), "one bias per output");
        Linear { weight, bias }
    }

    /// `x` `[rows, in]` → `[rows, out]`.
    ///
    /// # Panics
    ///
    /// If the width of `x` is not the layer's.
    #[must_use]
    pub fn apply(&self, x: &ArrayView2<'_, f32>) -> Array2<f32> {
        let mut out = Array2::zeros((x.nrows(), self.bias.len()));
        out += &self.bias;
        general_mat_mul(1.0, x, &self.weight.t(), 1.0, &mut out);
        out
    }
}
