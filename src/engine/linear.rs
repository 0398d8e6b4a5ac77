//! A fully connected layer in f32.
//!
//! Products run on one thread through `ndarray` (`matrixmultiply`): a safe interface to strided views, pure Rust, no
//! pool of its own inside ours, and blocks of fixed depth, so that an output element is the same sum whatever the number
//! of rows. Measured on two cores of an AMD EPYC (Zen 3) over this model's shapes, it reaches 46–76 GFLOPS a core, `faer`
//! 48–82, `rten-gemm` with packed weights 68–95 (but parallel by itself inside a rayon pool), `gemm` 40–81.

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
