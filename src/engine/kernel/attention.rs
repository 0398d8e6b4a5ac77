//! Multi-head attention over one window, its products in exact sums of 16-bit integers.
//!
//! Queries and keys are quantized per row to 13 bits. The weights of the softmax are quantized to 13 bits before their
//! normalization, so that the largest of a row is exact; values per head and window, to as many bits as leave their sums
//! within 32. Everything depends on the window alone.

#![allow(unsafe_code)]

use super::elementwise::{exp2_nonpositive, padded};
use super::simd::{Aligned, LANES, Op, Simd, tile_sums, with_panels, with_rows};
use crate::engine::position::PositionBias;

/// Most rows of a tile, of all implementations.
const MOST_ROWS: usize = 12;
/// Largest quantized query, key and value.
const TOP: f32 = 4095.0;
/// The largest quantized weight of each row.
const TOP_WEIGHT: f32 = 8191.0;

/// Buffers of [`Attend`], kept from one window to the next.
#[derive(Default)]
pub(in crate::engine) struct Scratch {
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

/// context ← softmax(Q Kᵀ / √d + bias) V per head.
pub(in crate::engine) struct Attend<'a> {
    /// `[tokens, stride]`: query, key and value of each token, one behind the other.
    pub(in crate::engine) query_key_value: &'a [f32],
    pub(in crate::engine) stride: usize,
    pub(in crate::engine) heads: usize,
    /// Width of a head.
    pub(in crate::engine) depth: usize,
    /// Of relative positions, times log₂ e; its windows are at least as long as this one.
    pub(in crate::engine) bias: Option<&'a PositionBias>,
    /// `[tokens, out_stride]`
    pub(in crate::engine) out: &'a mut [f32],
    pub(in crate::engine) out_stride: usize,
    pub(in crate::engine) scratch: &'a mut Scratch,
}

impl<S: Simd> Op<S> for Attend<'_> {
    #[inline(always)]
    unsafe fn run(self) {
        let Attend { query_key_value, stride, heads, depth, bias, out, out_stride, scratch } = self;
        let tokens = query_key_value.len() / stride;
        let width = heads * depth;
        assert!(query_key_value.len() == tokens * stride && stride >= 3 * width);
        assert!(out.len() == tokens * out_stride && out_stride >= width);
        let shape = Shape::new(tokens, depth, stride);
        scratch.reset(&shape);
        for head in 0..heads {
            let part = |which: usize| &query_key_value[which * width + head * depth..];
            // SAFETY: inside `enter`; the scratch has the shape.
            unsafe {
                pack_keys::<S>(part(1), &shape, scratch);
                let value_scale = pack_values::<S>(part(2), &shape, scratch);
                let mut row = 0;
                while row < tokens {
                    let count = S::TALL_ROWS.min(tokens - row);
                    let queries = &part(0)[row * stride..];
                    let target = &mut out[row * out_stride + head * depth..];
                    with_rows!(count, ROWS => {
                        let bias = bias.map(|bias| std::array::from_fn(|at| bias.of(head, row + at)));
                        tile::<S, ROWS>(queries, &shape, value_scale, bias, target, out_stride, scratch);
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
    /// Largest quantized query and key with which a product of two rows cannot leave 32 bits.
    top: f32,
    /// The same for values, which are multiplied by weights.
    top_value: f32,
}

impl Shape {
    fn new(tokens: usize, depth: usize, stride: usize) -> Self {
        const MOST: f32 = i32::MAX as f32;
        let (padded_tokens, padded_depth) = (padded(tokens), padded(depth));
        let top = TOP.min((MOST / padded_depth as f32).sqrt().floor() - 1.0);
        let top_value = TOP.min((MOST / (padded_tokens as f32 * (TOP_WEIGHT + 1.0))).floor() - 1.0).max(1.0);
        Shape { tokens, padded_tokens, depth, padded_depth, stride, top, top_value }
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
        self.rows.resize(MOST_ROWS * shape.padded_depth, 0);
        self.scores.resize(MOST_ROWS * shape.padded_tokens, 0.0);
        self.weights.resize(MOST_ROWS * shape.padded_tokens, 0);
    }
}

/// A vector of `row` from `at` on, filled up with 0.
#[inline(always)]
unsafe fn load_up_to<S: Simd>(row: &[f32], at: usize) -> S::F {
    let rest = &row[at..];
    // SAFETY: inside `enter`; either the row or the array holds 16 lanes.
    unsafe {
        if rest.len() >= LANES {
            S::load(rest.as_ptr())
        } else {
            let mut lanes = [0.0; LANES];
            lanes[..rest.len()].copy_from_slice(rest);
            S::load(lanes.as_ptr())
        }
    }
}

/// `tops`, lane by lane not below the magnitudes of `row`.
#[inline(always)]
unsafe fn magnitudes<S: Simd>(row: &[f32], mut tops: S::F) -> S::F {
    // SAFETY: inside `enter`.
    unsafe {
        for at in (0..row.len()).step_by(LANES) {
            let value = load_up_to::<S>(row, at);
            tops = S::max(S::max(value, S::sub(S::splat(0.0), value)), tops);
        }
        tops
    }
}

/// Largest magnitude of a row.
#[inline(always)]
unsafe fn magnitude<S: Simd>(row: &[f32]) -> f32 {
    // SAFETY: inside `enter`.
    unsafe { S::fold_max(magnitudes::<S>(row, S::splat(0.0))) }
}

/// `top / magnitude`, and the scale that takes it back.
fn scaling(magnitude: f32, top: f32) -> (f32, f32) {
    if magnitude > 0.0 { (top / magnitude, magnitude / top) } else { (0.0, 0.0) }
}

/// Quantizes a row times `factor` into `out`, padded with 0.
#[inline(always)]
unsafe fn quantize<S: Simd>(row: &[f32], factor: f32, out: &mut [i16]) {
    assert!(out.len() >= padded(row.len()));
    // SAFETY: inside `enter`; `out` holds whole vectors.
    unsafe {
        let factor = S::splat(factor);
        for at in (0..row.len()).step_by(LANES) {
            let value = S::mul(load_up_to::<S>(row, at), factor);
            S::store_i16(out.as_mut_ptr().add(at), S::round(value));
        }
    }
}

#[inline(always)]
unsafe fn pack_keys<S: Simd>(keys: &[f32], shape: &Shape, scratch: &mut Scratch) {
    let top = shape.top;
    for token in 0..shape.tokens {
        let row = &keys[token * shape.stride..][..shape.depth];
        let quantized = &mut scratch.rows[..shape.padded_depth];
        // SAFETY: inside `enter`.
        scratch.key_scales[token] = unsafe {
            let (factor, scale) = scaling(magnitude::<S>(row), top);
            quantize::<S>(row, factor, quantized);
            scale
        };
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
    // SAFETY: inside `enter`.
    let most = unsafe {
        let mut tops = S::splat(0.0);
        for row in rows() {
            tops = magnitudes::<S>(row, tops);
        }
        S::fold_max(tops)
    };
    let (factor, scale) = scaling(most, shape.top_value);
    for (token, row) in rows().enumerate() {
        let quantized = &mut scratch.rows[..shape.padded_depth];
        // SAFETY: inside `enter`.
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
    bias: Option<[&[f32]; ROWS]>,
    target: &mut [f32],
    target_stride: usize,
    scratch: &mut Scratch,
) {
    let Shape { tokens, padded_tokens, depth, padded_depth, stride, top, .. } = *shape;
    let Scratch { keys, key_scales, values, rows, scores, weights } = scratch;
    assert!(ROWS <= MOST_ROWS && rows.len() >= ROWS * padded_depth);
    assert!(scores.len() >= ROWS * padded_tokens && weights.len() >= ROWS * padded_tokens);
    assert!(bias.is_none_or(|rows| rows.iter().all(|row| row.len() >= padded_tokens)));
    let mut scales = [0.0; ROWS];
    // The softmax is computed with powers of two.
    let factor = std::f32::consts::LOG2_E / (depth as f32).sqrt();
    for (row, scale) in scales.iter_mut().enumerate() {
        let query = &queries[row * stride..][..depth];
        // SAFETY: inside `enter`.
        *scale = unsafe {
            let (up, back) = scaling(magnitude::<S>(query), top);
            quantize::<S>(query, up, &mut rows[row * padded_depth..][..padded_depth]);
            back * factor
        };
    }
    let mut beyond = [f32::NEG_INFINITY; LANES];
    beyond[..LANES - (padded_tokens - tokens)].fill(0.0);
    // SAFETY: all panels, rows and scales lie within the scratch by its shape and the assertions above.
    unsafe {
        let mut tops = [S::splat(f32::NEG_INFINITY); ROWS];
        let mut panel = 0;
        while panel < padded_tokens / LANES {
            let width = width_of::<S>(padded_tokens / LANES - panel);
            let keys = keys.as_ptr().add(panel * padded_depth * LANES);
            with_panels!(width, PANELS => {
                let sums = products::<S, ROWS, PANELS>(rows.as_ptr(), keys, padded_depth / 2);
                for (row, sums) in sums.into_iter().enumerate() {
                    for (at, sum) in sums.into_iter().enumerate() {
                        let column = (panel + at) * LANES;
                        let scale = S::mul(S::splat(scales[row]), S::load(key_scales.as_ptr().add(column)));
                        let mut score = S::mul(S::to_float(sum), scale);
                        if let Some(bias) = &bias {
                            score = S::add(score, S::load(bias[row].as_ptr().add(column)));
                        }
                        if column + LANES > tokens {
                            score = S::add(score, S::load(beyond.as_ptr()));
                        }
                        tops[row] = S::max(score, tops[row]);
                        S::store(scores.as_mut_ptr().add(row * padded_tokens + column), score);
                    }
                }
            });
            panel += width;
        }
        let mut wholes = [0.0; ROWS];
        for (row, whole) in wholes.iter_mut().enumerate() {
            let scores = &scores[row * padded_tokens..][..padded_tokens];
            *whole = weigh::<S>(scores, tops[row], &mut weights[row * padded_tokens..][..padded_tokens]);
        }
        let mut panel = 0;
        while panel < padded_depth / LANES {
            let width = width_of::<S>(padded_depth / LANES - panel);
            let values = values.as_ptr().add(panel * padded_tokens * LANES);
            with_panels!(width, PANELS => {
                let sums = products::<S, ROWS, PANELS>(weights.as_ptr(), values, padded_tokens / 2);
                for (row, sums) in sums.into_iter().enumerate() {
                    let scale = S::splat(value_scale / wholes[row]);
                    for (at, sum) in sums.into_iter().enumerate() {
                        let column = (panel + at) * LANES;
                        let used = LANES.min(depth - column);
                        let context = S::mul(S::to_float(sum), scale);
                        let place = &mut target[row * target_stride + column..][..used];
                        if used == LANES {
                            S::store(place.as_mut_ptr(), context);
                        } else {
                            let mut lanes = [0.0; LANES];
                            S::store(lanes.as_mut_ptr(), context);
                            place.copy_from_slice(&lanes[..used]);
                        }
                    }
                }
            });
            panel += width;
        }
    }
}

/// Panels of the next tile where `left` are left.
fn width_of<S: Simd>(left: usize) -> usize {
    if left < S::TALL_PANELS { 1 } else { S::TALL_PANELS }
}

/// Products of `ROWS` rows with `PANELS` panels of 16 columns over `pairs` pairs of k.
#[inline(always)]
unsafe fn products<S: Simd, const ROWS: usize, const PANELS: usize>(
    rows: *const i16,
    panels: *const i16,
    pairs: usize,
) -> [[S::I; PANELS]; ROWS] {
    // SAFETY: by the caller, rows and panels hold that many pairs.
    unsafe {
        let dot = |sum, a, b| S::dot_i16(sum, a, b);
        tile_sums::<S, ROWS, PANELS>(rows.cast(), pairs, panels.cast(), pairs, pairs, dot)
    }
}

/// 2 to the power of each score less the top one, as integers up to [`TOP_WEIGHT`]; returns their sum. `tops` holds the
/// largest scores lane by lane.
#[inline(always)]
unsafe fn weigh<S: Simd>(scores: &[f32], tops: S::F, weights: &mut [i16]) -> f32 {
    // SAFETY: both rows are as long, a multiple of 16.
    unsafe {
        let top = S::splat(S::fold_max(tops));
        let mut total = S::splat_int(0);
        for at in (0..scores.len()).step_by(LANES) {
            let weight = S::round(exp2_nonpositive::<S>(S::sub(S::load(scores.as_ptr().add(at)), top), TOP_WEIGHT));
            total = S::add_int(total, weight);
            S::store_i16(weights.as_mut_ptr().add(at), weight);
        }
        S::fold_int(total) as f32
    }
}
