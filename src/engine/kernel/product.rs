//! Quantized rows times a quantized matrix, tile by tile in registers.

#![allow(unsafe_code)]

use super::elementwise::{Quantized, gelu, padded};
use super::simd::{Aligned, LANES, Op, Simd, nearest, tile_sums, with_panels, with_rows};

/// Values of k that one pass over the rows covers, so that a panel of weights stays in the first-level cache.
const PASS: usize = 512;

/// A matrix `[outputs, inputs]` in 8 bits with a scale per output, packed for one implementation.
///
/// Panels of 16 outputs; within a panel, groups of k; within a group, output by output its [`Simd::GROUP`] weights.
pub(in crate::engine) struct Packed<S: Simd> {
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
    pub(in crate::engine) fn new(weight: &[f32], bias: &[f32], inputs: usize) -> Self {
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
                let quantized = nearest(w * inverse).clamp(-127.0, 127.0) as i8;
                packed.sums[output] += i32::from(quantized);
                let panel = output / LANES * depth * LANES;
                let place = panel + (k / S::GROUP * LANES + output % LANES) * S::GROUP + k % S::GROUP;
                packed.weights[place] = S::Weight::from(quantized);
            }
        }
        packed
    }

    /// Width of the product's rows, a multiple of [`LANES`].
    pub(in crate::engine) fn outputs(&self) -> usize {
        self.outputs
    }
}

/// out ← x Wᵀ + b, then GELU if asked, for some rows.
pub(in crate::engine) struct Product<'a, S: Simd> {
    pub(in crate::engine) x: &'a Quantized<S>,
    /// First row of `x`.
    pub(in crate::engine) first: usize,
    pub(in crate::engine) weights: &'a Packed<S>,
    pub(in crate::engine) gelu: bool,
    /// `[rows, weights.outputs()]`
    pub(in crate::engine) out: &'a mut [f32],
    /// Sums between passes.
    pub(in crate::engine) partial: &'a mut Vec<i32>,
}

impl<S: Simd> Op<S> for Product<'_, S> {
    #[inline(always)]
    unsafe fn run(self) {
        let Product { x, first, weights: w, gelu, out, partial } = self;
        let rows = out.len() / w.outputs;
        assert!(out.len() == rows * w.outputs && x.stride == w.inputs);
        assert!(x.values.len() >= (first + rows) * x.stride && x.scales.len() >= first + rows);
        partial.resize(rows * S::TILE_PANELS * LANES, 0);
        let panels = w.outputs / LANES;
        let mut panel = 0;
        while panel < panels {
            let width = if panels - panel < S::TILE_PANELS { 1 } else { S::TILE_PANELS };
            let mut from = 0;
            while from < w.inputs {
                let depth = PASS.min(w.inputs - from);
                let last = from + depth == w.inputs;
                let mut row = 0;
                while row < rows {
                    let tile = Tile { x, w, panel, from, depth, first: first + row, started: from > 0 };
                    let sums = partial[row * width * LANES..].as_mut_ptr();
                    let target = out[row * w.outputs + panel * LANES..].as_mut_ptr();
                    let count = S::TILE_ROWS.min(rows - row);
                    // SAFETY: the tile's rows lie within `x`, `partial` and `out`, the panels within the weights, by the
                    // assertions above.
                    unsafe {
                        with_panels!(width, PANELS => {
                            with_rows!(count, ROWS => tile.run::<ROWS, PANELS>(last, gelu, sums, target));
                        });
                    }
                    row += count;
                }
                from += depth;
            }
            panel += width;
        }
    }
}

/// Some rows times some panels over one pass of k.
struct Tile<'a, S: Simd> {
    x: &'a Quantized<S>,
    w: &'a Packed<S>,
    /// The first panel.
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
    /// `sums` must hold `ROWS * PANELS` vectors, `target` that many rows of `w.outputs` values from the first panel's first
    /// on.
    #[inline(always)]
    unsafe fn run<const ROWS: usize, const PANELS: usize>(
        &self,
        last: bool,
        activate: bool,
        sums: *mut i32,
        target: *mut f32,
    ) {
        let Tile { x, w, panel, from, depth, first, started } = *self;
        // SAFETY: rows `first..first + ROWS` lie within `x`, and the panels within the weights.
        unsafe {
            let activations = x.values.as_ptr().add(first * x.stride + from);
            let weights = w.weights.as_ptr().add((panel * w.inputs + from) * LANES);
            let dot = |sum, activations, weights| S::dot(sum, activations, weights);
            let mut tile = tile_sums::<S, ROWS, PANELS>(
                activations.cast(),
                x.stride / S::GROUP,
                weights.cast(),
                w.inputs / S::GROUP,
                depth / S::GROUP,
                dot,
            );
            if started {
                for (at, sum) in tile.as_flattened_mut().iter_mut().enumerate() {
                    *sum = S::add_int(*sum, S::load_int(sums.add(at * LANES)));
                }
            }
            if !last {
                for (at, sum) in tile.as_flattened().iter().enumerate() {
                    S::store_int(sums.add(at * LANES), *sum);
                }
                return;
            }
            for at in 0..PANELS {
                let column = (panel + at) * LANES;
                let totals = S::load_int(w.sums.as_ptr().add(column));
                let scales = S::load(w.scales.as_ptr().add(column));
                let biases = S::load(w.biases.as_ptr().add(column));
                for (row, sums) in tile.iter().enumerate() {
                    let zero = S::splat_int(*x.zeros.get_unchecked(first + row));
                    let scale = S::splat(*x.scales.get_unchecked(first + row));
                    let exact = S::to_float(S::sub_int(sums[at], S::mul_int(zero, totals)));
                    let mut value = S::add(S::mul(exact, S::mul(scale, scales)), biases);
                    if activate {
                        value = gelu::<S>(value);
                    }
                    S::store(target.add(row * w.outputs + at * LANES), value);
                }
            }
        }
    }
}
