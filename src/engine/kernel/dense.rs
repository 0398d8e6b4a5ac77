//! A fully connected layer in f32, as the heads use it.

#![allow(unsafe_code)]

use ndarray::{Array2, ArrayView2};

use super::elementwise::padded;
use super::simd::{Aligned, LANES, Op, Simd, run, with_rows};
use super::{Kernel, with_kernel};

/// y = x Wᵀ + b. Every output is one chain of sums from the bias on, over k ascending.
pub struct Dense {
    kernel: Kernel,
    outputs: usize,
    inputs: usize,
    /// Panels of 16 outputs; within a panel, k by k.
    weights: Aligned<f32>,
    /// Padded to whole vectors.
    biases: Vec<f32>,
}

impl Dense {
    /// A layer of `weight` `[outputs, inputs]` and `bias` `[outputs]`, to run on `kernel`.
    ///
    /// # Panics
    ///
    /// If the two differ in outputs, or this CPU lacks the kernel.
    #[must_use]
    pub fn new(weight: ArrayView2<'_, f32>, bias: &[f32], kernel: Kernel) -> Self {
        let (outputs, inputs) = weight.dim();
        assert_eq!(outputs, bias.len(), "one bias per output");
        assert!(kernel.is_supported(), "the kernel `{kernel}` runs on this CPU");
        let mut weights = Aligned::zeros(padded(outputs) * inputs);
        for (output, row) in weight.rows().into_iter().enumerate() {
            let panel = output / LANES * inputs * LANES + output % LANES;
            for (k, &w) in row.iter().enumerate() {
                weights[panel + k * LANES] = w;
            }
        }
        let mut biases = bias.to_vec();
        biases.resize(padded(outputs), 0.0);
        Dense { kernel, outputs, inputs, weights, biases }
    }

    /// `x` `[rows, inputs]` → `[rows, outputs]`.
    ///
    /// # Panics
    ///
    /// If the width of `x` is not the layer's.
    #[must_use]
    pub fn apply(&self, x: ArrayView2<'_, f32>) -> Array2<f32> {
        assert_eq!(x.ncols(), self.inputs, "rows of the layer's width");
        let mut out = Array2::zeros((x.nrows(), self.outputs));
        let x = x.as_standard_layout();
        let multiply = Multiply {
            layer: self,
            x: x.as_slice().expect("the standard layout is contiguous"),
            out: out.as_slice_mut().expect("a new array is contiguous"),
        };
        with_kernel!(self.kernel, S => run::<S>(multiply));
        out
    }
}

struct Multiply<'a> {
    layer: &'a Dense,
    /// `[rows, inputs]`
    x: &'a [f32],
    /// `[rows, outputs]`
    out: &'a mut [f32],
}

impl<S: Simd> Op<S> for Multiply<'_> {
    #[inline(always)]
    unsafe fn run(self) {
        let Multiply { layer, x, out } = self;
        let Dense { outputs, inputs, .. } = *layer;
        let rows = out.len() / outputs.max(1);
        assert!(x.len() == rows * inputs && layer.weights.len() == padded(outputs) * inputs);
        for panel in (0..outputs).step_by(LANES) {
            let used = LANES.min(outputs - panel);
            let mut row = 0;
            while row < rows {
                let count = S::TALL_ROWS.min(rows - row);
                // SAFETY: rows, panel and biases lie within their slices by the assertions above.
                unsafe {
                    let weights = layer.weights.as_ptr().add(panel * inputs);
                    let bias = S::load(layer.biases.as_ptr().add(panel));
                    let x = x.as_ptr().add(row * inputs);
                    with_rows!(count, ROWS => {
                        for (at, sum) in chains::<S, ROWS>(x, inputs, weights, bias).into_iter().enumerate() {
                            let mut lanes = [0.0; LANES];
                            S::store(lanes.as_mut_ptr(), sum);
                            out[(row + at) * outputs + panel..][..used].copy_from_slice(&lanes[..used]);
                        }
                    });
                }
                row += count;
            }
        }
    }
}

/// `ROWS` rows times one panel.
#[inline(always)]
unsafe fn chains<S: Simd, const ROWS: usize>(
    x: *const f32,
    inputs: usize,
    weights: *const f32,
    bias: S::F,
) -> [S::F; ROWS] {
    // SAFETY: by the caller, rows and panel hold as many inputs.
    unsafe {
        let mut sums = [bias; ROWS];
        for k in 0..inputs {
            let column = S::load(weights.add(k * LANES));
            for (row, sum) in sums.iter_mut().enumerate() {
                *sum = S::add(*sum, S::mul(S::splat(*x.add(row * inputs + k)), column));
            }
        }
        sums
    }
}
