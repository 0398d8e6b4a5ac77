//! Row by row: layer normalization, quantization, and the functions of `engine::math` in vectors.

#![allow(unsafe_code)]

use super::simd::{LANES, Op, Simd};

/// `n` rounded up to whole vectors.
pub(super) fn padded(n: usize) -> usize {
    n.next_multiple_of(LANES)
}

/// Activations of some rows, quantized row by row to 0..=255: x ≈ scale · (q − zero).
pub(super) struct Quantized<S: Simd> {
    /// Values of a row, a multiple of [`LANES`]; those beyond the true width stand for 0.
    pub(super) stride: usize,
    pub(super) values: Vec<S::Activation>,
    pub(super) scales: Vec<f32>,
    pub(super) zeros: Vec<i32>,
}

impl<S: Simd> Quantized<S> {
    pub(super) fn new() -> Self {
        Quantized { stride: 0, values: Vec::new(), scales: Vec::new(), zeros: Vec::new() }
    }

    /// Makes room for `rows` rows of `stride` values; what is there is to be overwritten.
    pub(super) fn reset(&mut self, rows: usize, stride: usize) {
        self.stride = stride;
        self.values.resize(rows * stride, S::Activation::default());
        self.scales.resize(rows, 0.0);
        self.zeros.resize(rows, 0);
    }
}

/// Gain and bias of a layer normalization, padded with 0 to whole vectors.
pub(super) struct Norm {
    gain: Vec<f32>,
    bias: Vec<f32>,
    epsilon: f32,
    width: usize,
}

impl Norm {
    pub(super) fn new(gain: &[f32], bias: &[f32], epsilon: f32) -> Self {
        assert_eq!(gain.len(), bias.len(), "one bias per gain");
        let width = gain.len();
        let pad = |values: &[f32]| [values, &vec![0.0; padded(width) - width]].concat();
        Norm { gain: pad(gain), bias: pad(bias), epsilon, width }
    }
}

/// Quantizes rows.
pub(super) struct Quantize<'a, S: Simd> {
    /// `[rows, stride]`
    pub(super) x: &'a [f32],
    pub(super) out: &'a mut Quantized<S>,
    /// First row of `out` to write.
    pub(super) first: usize,
}

impl<S: Simd> Op<S> for Quantize<'_, S> {
    #[inline(always)]
    unsafe fn run(self) {
        let stride = self.out.stride;
        assert!(stride > 0 && stride.is_multiple_of(LANES) && self.x.len().is_multiple_of(stride));
        for (at, row) in self.x.chunks_exact(stride).enumerate() {
            // SAFETY: inside `enter`.
            unsafe { quantize_row(row, self.out, self.first + at) }
        }
    }
}

/// x ← norm(x + y) for rows, and the same quantized.
pub(super) struct AddNorm<'a, S: Simd> {
    /// `[rows, stride]`
    pub(super) x: &'a mut [f32],
    /// As `x`; nothing is added without it.
    pub(super) y: Option<&'a [f32]>,
    pub(super) norm: &'a Norm,
    pub(super) out: &'a mut Quantized<S>,
    /// First row of `out` to write.
    pub(super) first: usize,
}

impl<S: Simd> Op<S> for AddNorm<'_, S> {
    #[inline(always)]
    unsafe fn run(self) {
        let stride = self.out.stride;
        assert!(stride == self.norm.gain.len() && self.x.len().is_multiple_of(stride));
        assert!(self.y.is_none_or(|y| y.len() == self.x.len()));
        for (at, row) in self.x.chunks_exact_mut(stride).enumerate() {
            let added = self.y.map(|y| &y[at * stride..(at + 1) * stride]);
            // SAFETY: inside `enter`; both rows are as long as the norm's.
            unsafe {
                add_norm_row::<S>(row, added, self.norm);
                quantize_row(row, self.out, self.first + at);
            }
        }
    }
}

/// 16 lanes, folded by halves: the tree of `engine::math`.
#[inline(always)]
pub(super) unsafe fn fold<S: Simd>(lanes: S::F, f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut values = [0.0; LANES];
    // SAFETY: an array of 16 lanes.
    unsafe { S::store(values.as_mut_ptr(), lanes) };
    let mut width = LANES / 2;
    while width > 0 {
        for at in 0..width {
            values[at] = f(values[at], values[at + width]);
        }
        width /= 2;
    }
    values[0]
}

#[inline(always)]
unsafe fn add_norm_row<S: Simd>(row: &mut [f32], added: Option<&[f32]>, norm: &Norm) {
    // SAFETY: all rows and parameters have as many values, a multiple of 16; so below.
    unsafe {
        let x = row.as_mut_ptr();
        let mut sum = S::splat(0.0);
        for at in (0..row.len()).step_by(LANES) {
            let mut value = S::load(x.add(at));
            if let Some(added) = added {
                value = S::add(value, S::load(added.as_ptr().add(at)));
                S::store(x.add(at), value);
            }
            sum = S::add(sum, value);
        }
        let width = norm.width as f32;
        let mean = fold::<S>(sum, |a, b| a + b) / width;
        let middle = S::splat(mean);
        let mut squares = S::splat(0.0);
        for at in (0..row.len()).step_by(LANES) {
            let off = S::sub(S::load(x.add(at)), middle);
            let square = S::mul(off, off);
            squares =
                S::add(squares, if at + LANES > norm.width { clear::<S>(square, norm.width - at) } else { square });
        }
        let variance = fold::<S>(squares, |a, b| a + b) / width;
        let scale = S::splat(1.0 / (variance + norm.epsilon).sqrt());
        for at in (0..row.len()).step_by(LANES) {
            let off = S::sub(S::load(x.add(at)), middle);
            let scaled = S::mul(S::mul(off, scale), S::load(norm.gain.as_ptr().add(at)));
            S::store(x.add(at), S::add(scaled, S::load(norm.bias.as_ptr().add(at))));
        }
    }
}

/// `value` with the lanes from `used` on set to 0.
#[inline(always)]
unsafe fn clear<S: Simd>(value: S::F, used: usize) -> S::F {
    let mut lanes = [0.0; LANES];
    // SAFETY: an array of 16 lanes.
    unsafe {
        S::store(lanes.as_mut_ptr(), value);
        lanes[used..].fill(0.0);
        S::load(lanes.as_ptr())
    }
}

/// Quantizes one row. The range always holds 0, so that padding costs no precision.
#[inline(always)]
unsafe fn quantize_row<S: Simd>(row: &[f32], out: &mut Quantized<S>, at: usize) {
    let target = &mut out.values[at * out.stride..][..row.len()];
    // SAFETY: row and target have as many values, a multiple of 16.
    unsafe {
        let x = row.as_ptr();
        let (mut low, mut high) = (S::splat(0.0), S::splat(0.0));
        for at in (0..row.len()).step_by(LANES) {
            let value = S::load(x.add(at));
            (low, high) = (S::min(value, low), S::max(value, high));
        }
        let low = fold::<S>(low, |a, b| if a < b { a } else { b });
        let high = fold::<S>(high, |a, b| if a > b { a } else { b });
        let range = high - low;
        let (scale, inverse) = if range > 0.0 { (range / 255.0, 255.0 / range) } else { (0.0, 0.0) };
        let zero = (-low * inverse).round_ties_even();
        let (factor, shift, bottom, top) = (S::splat(inverse), S::splat(zero), S::splat(0.0), S::splat(255.0));
        for at in (0..row.len()).step_by(LANES) {
            let value = S::add(S::mul(S::load(x.add(at)), factor), shift);
            let value = S::round(S::min(S::max(value, bottom), top));
            S::store_activations(target.as_mut_ptr().add(at), value);
        }
        (out.scales[at], out.zeros[at]) = (scale, zero as i32);
    }
}

/// [`crate::engine::math::exp_nonpositive`] in 16 lanes.
#[inline(always)]
pub(super) unsafe fn exp_nonpositive<S: Simd>(x: S::F) -> S::F {
    // SAFETY: inside `enter`.
    unsafe {
        let limit = S::splat(-87.0);
        let round = S::splat(12_582_912.0);
        let clamped = S::max(x, limit);
        let shifted = S::add(S::mul(clamped, S::splat(std::f32::consts::LOG2_E)), round);
        let n = S::sub(shifted, round);
        let r = S::sub(S::sub(clamped, S::mul(n, S::splat(0.693_359_4))), S::mul(n, S::splat(-2.121_944_4e-4)));
        let mut p = S::splat(1.987_569_1e-4);
        for c in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
            p = S::add(S::mul(p, r), S::splat(c));
        }
        let mantissa = S::add(S::add(S::mul(S::mul(p, r), r), r), S::splat(1.0));
        S::keep_from(x, limit, S::mul(mantissa, S::power_of_two(shifted)))
    }
}

/// [`crate::engine::math::gelu`] in 16 lanes.
#[inline(always)]
pub(super) unsafe fn gelu<S: Simd>(x: S::F) -> S::F {
    // SAFETY: inside `enter`.
    unsafe {
        let e = erf::<S>(S::mul(x, S::splat(std::f32::consts::FRAC_1_SQRT_2)));
        S::mul(S::mul(S::splat(0.5), x), S::add(S::splat(1.0), e))
    }
}

/// [`crate::engine::math::erf`] in 16 lanes.
#[inline(always)]
unsafe fn erf<S: Simd>(x: S::F) -> S::F {
    // SAFETY: inside `enter`.
    unsafe {
        let x = S::min(S::max(x, S::splat(-4.0)), S::splat(4.0));
        let x2 = S::mul(x, x);
        let mut p = S::splat(-2.726_142_3e-10);
        for c in [2.770_681_4e-8, -2.101_024e-6, -5.692_506_4e-5, -7.349_906_3e-4, -2.954_6e-3, -0.016_096_034] {
            p = S::add(S::mul(p, x2), S::splat(c));
        }
        let mut q = S::splat(-1.456_607_2e-5);
        for c in [-2.133_740_6e-4, -1.682_827e-3, -7.373_329e-3, -1.426_473_9e-2] {
            q = S::add(S::mul(q, x2), S::splat(c));
        }
        S::div(S::mul(x, p), q)
    }
}
