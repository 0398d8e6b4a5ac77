//! Quantized rows times a quantized matrix, tile by tile in registers.

#![allow(unsafe_code)]

use super::elementwise::{Quantized, gelu, padded};
use super::simd::{Aligned, LANES, Op, Simd, with_rows};

/// Values of k that one pass over the rows covers, so that a panel of weights stays in the first-level cache.
const PASS: usize = 512;

/// A matrix `[outputs, inputs]` in 8 bits with a scale per output, packed for one implementation.
///
/// Panels of 16 outputs; within a panel, groups of k; within a group, output by output its [`Simd::GROUP`] weights.
pub(super) struct Packed<S: Simd> {
    /// Padded to whole vectors.
    outputs: usize,
    /// Padded to whole vectors.
    inputs: usize,
    weights: Aligned<S::Weight>,
    scales: Vec<f32>,
    biases: Vec<f32>,
    /// Sums of the weights of each output, to take out the zero points.
    sums: Vec<i32>,
}

impl<S: Simd> Packed<S> {
    /// Quantizes `weight`, `[biases.len(), inputs]`: each output to ±127, symmetric.
    pub(super) fn new(weight: &[f32], bias: &[f32], inputs: usize) -> Self {
        assert_eq!(weight.len(), bias.len() * inputs, "a matrix and its bias");
        let (true_outputs, depth) = (bias.len(), padded(inputs));
        let outputs = padded(true_outputs);
        let mut packed = Packed {
            outputs,
            inputs: depth,
            weights: Aligned::zeros(outputs * depth),
            scales: vec![0.0; outputs],
            biases: vec![0.0; outputs],
            sums: vec![0; outputs],
        };
        packed.biases[..true_outputs].copy_from_slice(bias);
        for (output, row) in weight.chunks_exact(inputs).enumerate() {
            let top = row.iter().fold(0.0_f32, |top, w| top.max(w.abs()));
            let (scale, inverse) = if top > 0.0 { (top / 127.0, 127.0 / top) } else { (0.0, 0.0) };
            packed.scales[output] = scale;
            for (k, w) in row.iter().enumerate() {
                let quantized = (w * inverse).round_ties_even().clamp(-127.0, 127.0) as i8;
                packed.sums[output] += i32::from(quantized);
                let panel = output / LANES * depth * LANES;
                let place = panel + (k / S::GROUP * LANES + output % LANES) * S::GROUP + k % S::GROUP;
                packed.weights[place] = S::Weight::from(quantized);
            }
        }
        packed
    }

    /// Width of the product's rows, a multiple of [`LANES`].
    pub(super) fn outputs(&self) -> usize {
        self.outputs
    }
}

/// out ← x Wᵀ + b, then GELU if asked, for some rows.
pub(super) struct Product<'a, S: Simd> {
    pub(super) x: &'a Quantized<S>,
    /// First row of `x`.
    pub(super) first: usize,
    pub(super) weights: &'a Packed<S>,
    pub(super) gelu: bool,
    /// `[rows, weights.outputs()]`
    pub(super) out: &'a mut [f32],
    /// Sums between passes.
    pub(super) partial: &'a mut Vec<i32>,
}

impl<S: Simd> Op<S> for Product<'_, S> {
    #[inline(always)]
    unsafe fn run(self) {
        let Product { x, first, weights: w, gelu, out, partial } = self;
        let rows = out.len() / w.outputs;
        assert!(out.len() == rows * w.outputs && x.stride == w.inputs);
        assert!(x.values.len() >= (first + rows) * x.stride && x.scales.len() >= first + rows);
        partial.resize(rows * LANES, 0);
        for panel in 0..w.outputs / LANES {
            let mut from = 0;
            while from < w.inputs {
                let depth = PASS.min(w.inputs - from);
                let last = from + depth == w.inputs;
                let mut row = 0;
                while row < rows {
                    let tile = Tile { x, w, panel, from, depth, first: first + row, started: from > 0 };
                    let sums = partial[row * LANES..].as_mut_ptr();
                    let target = out[row * w.outputs + panel * LANES..].as_mut_ptr();
                    let count = S::TILE_ROWS.min(rows - row);
                    // SAFETY: the tile's rows lie within `x`, `partial` and `out`, the panel within the weights, by the
                    // assertions above.
                    unsafe {
                        with_rows!(count, ROWS => tile.run::<ROWS>(last, gelu, sums, target));
                    }
                    row += count;
                }
                from += depth;
            }
        }
    }
}

/// Some rows times one panel over one pass of k.
struct Tile<'a, S: Simd> {
    x: &'a Quantized<S>,
    w: &'a Packed<S>,
    panel: usize,
    from: usize,
    depth: usize,
    first: usize,
    /// Sums of earlier passes are there.
    started: bool,
}

impl<S: Simd> Tile<'_, S> {
    /// # Safety
    ///
    /// `sums` must hold `ROWS` vectors, `target` that many rows of `w.outputs` values from the panel's first on.
    #[inline(always)]
    unsafe fn run<const ROWS: usize>(&self, last: bool, activate: bool, sums: *mut i32, target: *mut f32) {
        let Tile { x, w, panel, from, depth, first, started } = *self;
        // SAFETY: rows `first..first + ROWS` lie within `x`, and the panel within the weights.
        unsafe {
            let mut tile = [S::splat_int(0); ROWS];
            if started {
                for (row, sum) in tile.iter_mut().enumerate() {
                    *sum = S::load_int(sums.add(row * LANES));
                }
            }
            let mut activations = x.values.as_ptr().add(first * x.stride + from);
            let mut weights = w.weights.as_ptr().add((panel * w.inputs + from) * LANES);
            for _ in 0..depth / S::GROUP {
                let column = S::load_weights(weights);
                for (row, sum) in tile.iter_mut().enumerate() {
                    *sum = S::dot(*sum, S::broadcast(activations.add(row * x.stride)), column);
                }
                activations = activations.add(S::GROUP);
                weights = weights.add(S::GROUP * LANES);
            }
            if !last {
                for (row, sum) in tile.iter().enumerate() {
                    S::store_int(sums.add(row * LANES), *sum);
                }
                return;
            }
            let column = panel * LANES;
            let totals = S::load_int(w.sums.as_ptr().add(column));
            let scales = S::load(w.scales.as_ptr().add(column));
            let biases = S::load(w.biases.as_ptr().add(column));
            for (row, sum) in tile.iter().enumerate() {
                let zero = S::splat_int(*x.zeros.get_unchecked(first + row));
                let scale = S::splat(*x.scales.get_unchecked(first + row));
                let exact = S::to_float(S::sub_int(*sum, S::mul_int(zero, totals)));
                let mut value = S::add(S::mul(exact, S::mul(scale, scales)), biases);
                if activate {
                    value = gelu::<S>(value);
                }
                S::store(target.add(row * w.outputs), value);
            }
        }
    }
}
