//! Multi-head attention over one window, its products in exact sums of 16-bit integers.
//!
//! Queries and keys are quantized per row to 13 bits, values per head and window; the weights of the softmax to 15 bits
//! after their normalization. Everything depends on the window alone.

#![allow(unsafe_code)]

use super::elementwise::{exp_nonpositive, fold, padded};
use super::simd::{Aligned, LANES, Op, Simd, with_rows};

/// Most rows of a tile, of all implementations.
const MOST_ROWS: usize = 12;
/// Largest quantized query, key and value.
const TOP: f32 = 4095.0;
/// Sum of the quantized weights of one row, about.
const WHOLE: f32 = 32_767.0;

/// Buffers of [`Attend`], kept from one window to the next.
#[derive(Default)]
pub(super) struct Scratch {
    /// Panels of 16 keys: `[depth / 2]` pairs for each.
    keys: Aligned<i16>,
    key_scales: Vec<f32>,
    /// Panels of 16 columns: `[tokens / 2]` pairs for each.
    values: Aligned<i16>,
    /// Rows of a head, quantized.
    rows: Vec<i16>,
    scores: Vec<f32>,
    weights: Vec<i16>,
}

/// context ← softmax(Q Kᵀ / √d) V per head.
pub(super) struct Attend<'a> {
    /// `[tokens, stride]`: query, key and value of each token, one behind the other.
    pub(super) query_key_value: &'a [f32],
    pub(super) stride: usize,
    pub(super) heads: usize,
    /// Width of a head.
    pub(super) depth: usize,
    /// `[tokens, out_stride]`
    pub(super) out: &'a mut [f32],
    pub(super) out_stride: usize,
    pub(super) scratch: &'a mut Scratch,
}

impl<S: Simd> Op<S> for Attend<'_> {
    #[inline(always)]
    unsafe fn run(self) {
        let Attend { query_key_value, stride, heads, depth, out, out_stride, scratch } = self;
        let tokens = query_key_value.len() / stride;
        let width = heads * depth;
        assert!(query_key_value.len() == tokens * stride && stride >= 3 * width);
        assert!(out.len() == tokens * out_stride && out_stride >= width);
        let shape = Shape { tokens, padded_tokens: padded(tokens), depth, padded_depth: padded(depth), stride };
        scratch.reset(&shape);
        for head in 0..heads {
            let part = |which: usize| &query_key_value[which * width + head * depth..];
            // SAFETY: inside `enter`; the scratch has the shape.
            unsafe {
                pack_keys::<S>(part(1), &shape, scratch);
                let value_scale = pack_values::<S>(part(2), &shape, scratch);
                let mut row = 0;
                while row < tokens {
                    let count = S::TILE_ROWS.min(tokens - row);
                    let queries = &part(0)[row * stride..];
                    let target = &mut out[row * out_stride + head * depth..];
                    with_rows!(count, ROWS => {
                        tile::<S, ROWS>(queries, &shape, value_scale, target, out_stride, scratch);
                    });
                    row += count;
                }
            }
        }
    }
}

struct Shape {
    tokens: usize,
    padded_tokens: usize,
    depth: usize,
    padded_depth: usize,
    stride: usize,
}

impl Shape {
    /// Largest quantized value with which a product of two rows cannot leave 32 bits.
    fn top(&self) -> f32 {
        TOP.min((i32::MAX as f32 / self.padded_depth as f32).sqrt().floor() - 1.0)
    }
}

impl Scratch {
    fn reset(&mut self, shape: &Shape) {
        let size = shape.padded_tokens * shape.padded_depth;
        // Padding must be 0; all else is overwritten.
        self.keys.clear_to(size);
        self.values.clear_to(size);
        self.key_scales.clear();
        self.key_scales.resize(shape.padded_tokens, 0.0);
        self.rows.resize(MOST_ROWS.max(2) * shape.padded_depth, 0);
        self.scores.resize(MOST_ROWS * shape.padded_tokens, 0.0);
        self.weights.resize(MOST_ROWS * shape.padded_tokens, 0);
    }
}

/// Largest magnitude of a row.
#[inline(always)]
fn magnitude(row: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (whole, rest) = row.as_chunks::<LANES>();
    for chunk in whole {
        for (lane, v) in lanes.iter_mut().zip(chunk) {
            let v = v.abs();
            *lane = if v > *lane { v } else { *lane };
        }
    }
    for (lane, v) in lanes.iter_mut().zip(rest) {
        let v = v.abs();
        *lane = if v > *lane { v } else { *lane };
    }
    lanes.iter().fold(0.0, |top, &v| if v > top { v } else { top })
}

/// `top / magnitude`, and the scale that takes it back.
fn scaling(magnitude: f32, top: f32) -> (f32, f32) {
    if magnitude > 0.0 { (top / magnitude, magnitude / top) } else { (0.0, 0.0) }
}

/// Quantizes a row times `factor` into `out`, padded with 0.
#[inline(always)]
unsafe fn quantize<S: Simd>(row: &[f32], factor: f32, out: &mut [i16]) {
    let (whole, rest) = row.as_chunks::<LANES>();
    let mut tail = [0.0; LANES];
    tail[..rest.len()].copy_from_slice(rest);
    // SAFETY: `out` is the row's length rounded up to whole vectors.
    unsafe {
        let factor = S::splat(factor);
        let mut at = out.as_mut_ptr();
        for chunk in whole {
            S::store_i16(at, S::round(S::mul(S::load(chunk.as_ptr()), factor)));
            at = at.add(LANES);
        }
        if !rest.is_empty() {
            S::store_i16(at, S::round(S::mul(S::load(tail.as_ptr()), factor)));
        }
    }
}

#[inline(always)]
unsafe fn pack_keys<S: Simd>(keys: &[f32], shape: &Shape, scratch: &mut Scratch) {
    let top = shape.top();
    for token in 0..shape.tokens {
        let row = &keys[token * shape.stride..][..shape.depth];
        let (factor, scale) = scaling(magnitude(row), top);
        scratch.key_scales[token] = scale;
        let quantized = &mut scratch.rows[..shape.padded_depth];
        // SAFETY: inside `enter`; the target is padded.
        unsafe { quantize::<S>(row, factor, quantized) };
        let panel = token / LANES * shape.padded_depth * LANES;
        let (pairs, _) = scratch.keys[panel..panel + shape.padded_depth * LANES].as_chunks_mut::<2>();
        for (group, pair) in quantized.as_chunks::<2>().0.iter().enumerate() {
            pairs[group * LANES + token % LANES] = *pair;
        }
    }
}

/// Returns the scale of the values.
#[inline(always)]
unsafe fn pack_values<S: Simd>(values: &[f32], shape: &Shape, scratch: &mut Scratch) -> f32 {
    let rows = || (0..shape.tokens).map(|token| &values[token * shape.stride..][..shape.depth]);
    let most = rows().fold(0.0, |top, row| {
        let m = magnitude(row);
        if m > top { m } else { top }
    });
    let (factor, scale) = scaling(most, TOP);
    for (token, row) in rows().enumerate() {
        let quantized = &mut scratch.rows[..shape.padded_depth];
        // SAFETY: inside `enter`; the target is padded.
        unsafe { quantize::<S>(row, factor, quantized) };
        for (panel, lanes) in quantized.as_chunks::<LANES>().0.iter().enumerate() {
            let start = panel * shape.padded_tokens * LANES + token / 2 * LANES * 2;
            let (pairs, _) = scratch.values[start..start + LANES * 2].as_chunks_mut::<2>();
            for (pair, value) in pairs.iter_mut().zip(lanes) {
                pair[token % 2] = *value;
            }
        }
    }
    scale
}

/// `ROWS` rows of one head, from their queries to their context.
#[inline(always)]
unsafe fn tile<S: Simd, const ROWS: usize>(
    queries: &[f32],
    shape: &Shape,
    value_scale: f32,
    target: &mut [f32],
    target_stride: usize,
    scratch: &mut Scratch,
) {
    let Shape { tokens, padded_tokens, depth, padded_depth, stride } = *shape;
    let Scratch { keys, key_scales, values, rows, scores, weights } = scratch;
    assert!(ROWS <= MOST_ROWS && rows.len() >= ROWS * padded_depth);
    assert!(scores.len() >= ROWS * padded_tokens && weights.len() >= ROWS * padded_tokens);
    let mut scales = [0.0; ROWS];
    let mut whole = [0_i32; ROWS];
    let root = (depth as f32).sqrt();
    for (row, scale) in scales.iter_mut().enumerate() {
        let query = &queries[row * stride..][..depth];
        let (factor, back) = scaling(magnitude(query), shape.top());
        *scale = back / root;
        // SAFETY: inside `enter`; the target is padded.
        unsafe { quantize::<S>(query, factor, &mut rows[row * padded_depth..][..padded_depth]) };
    }
    // SAFETY: all panels, rows and scales lie within the scratch by its shape and the assertions above.
    unsafe {
        for panel in 0..padded_tokens / LANES {
            let keys = keys.as_ptr().add(panel * padded_depth * LANES);
            let sums = products::<S, ROWS>(rows.as_ptr(), padded_depth, keys, padded_depth / 2);
            let key_scales = S::load(key_scales.as_ptr().add(panel * LANES));
            for (row, sum) in sums.into_iter().enumerate() {
                let score = S::mul(S::to_float(sum), S::mul(S::splat(scales[row]), key_scales));
                S::store(scores.as_mut_ptr().add(row * padded_tokens + panel * LANES), score);
            }
        }
        for (row, whole) in whole.iter_mut().enumerate() {
            let scores = &mut scores[row * padded_tokens..][..padded_tokens];
            scores[tokens..].fill(f32::NEG_INFINITY);
            *whole = softmax::<S>(scores, &mut weights[row * padded_tokens..][..padded_tokens]);
        }
        for panel in 0..padded_depth / LANES {
            let values = values.as_ptr().add(panel * padded_tokens * LANES);
            let sums = products::<S, ROWS>(weights.as_ptr(), padded_tokens, values, padded_tokens / 2);
            let width = LANES.min(depth - panel * LANES);
            for (row, sum) in sums.into_iter().enumerate() {
                let context = S::mul(S::to_float(sum), S::splat(value_scale / whole[row] as f32));
                let place = &mut target[row * target_stride + panel * LANES..][..width];
                if width == LANES {
                    S::store(place.as_mut_ptr(), context);
                } else {
                    let mut lanes = [0.0; LANES];
                    S::store(lanes.as_mut_ptr(), context);
                    place.copy_from_slice(&lanes[..width]);
                }
            }
        }
    }
}

/// Exact products of `ROWS` rows with a panel of 16 columns over `pairs` pairs of k.
#[inline(always)]
unsafe fn products<S: Simd, const ROWS: usize>(
    mut rows: *const i16,
    stride: usize,
    mut panel: *const i16,
    pairs: usize,
) -> [S::I; ROWS] {
    // SAFETY: by the caller, rows and panel hold that many pairs.
    unsafe {
        let mut sums = [S::splat_int(0); ROWS];
        for _ in 0..pairs {
            let column = S::load_i16(panel);
            for (row, sum) in sums.iter_mut().enumerate() {
                *sum = S::dot_i16(*sum, S::broadcast_i16(rows.add(row * stride)), column);
            }
            rows = rows.add(2);
            panel = panel.add(2 * LANES);
        }
        sums
    }
}

/// The softmax of a row of scores as integers that sum up to about [`WHOLE`]; returns their sum. The scores are lost.
#[inline(always)]
unsafe fn softmax<S: Simd>(scores: &mut [f32], weights: &mut [i16]) -> i32 {
    // SAFETY: both rows are as long, a multiple of 16.
    unsafe {
        let x = scores.as_mut_ptr();
        let mut top = S::splat(f32::NEG_INFINITY);
        for at in (0..scores.len()).step_by(LANES) {
            top = S::max(S::load(x.add(at)), top);
        }
        let top = S::splat(fold::<S>(top, |a, b| if a > b { a } else { b }));
        let mut sum = S::splat(0.0);
        for at in (0..scores.len()).step_by(LANES) {
            let e = exp_nonpositive::<S>(S::sub(S::load(x.add(at)), top));
            S::store(x.add(at), e);
            sum = S::add(sum, e);
        }
        let factor = S::splat(WHOLE / fold::<S>(sum, |a, b| a + b));
        let mut total = S::splat_int(0);
        for at in (0..scores.len()).step_by(LANES) {
            let weight = S::round(S::mul(S::load(x.add(at)), factor));
            total = S::add_int(total, weight);
            S::store_i16(weights.as_mut_ptr().add(at), weight);
        }
        let mut lanes = [0; LANES];
        S::store_int(lanes.as_mut_ptr(), total);
        lanes.iter().sum()
    }
}
