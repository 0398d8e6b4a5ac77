//! Row by row: layer normalization, quantization, and the functions between products.

#![allow(unsafe_code)]

use super::simd::{LANES, Op, Simd, nearest};

/// `n` rounded up to whole vectors.
pub(in crate::engine) fn padded(n: usize) -> usize {
    n.next_multiple_of(LANES)
}

/// Activations of some rows, quantized row by row to 0..=255: x ≈ scale · (q − zero).
pub(in crate::engine) struct Quantized<S: Simd> {
    /// Values of a row, a multiple of [`LANES`]; those beyond the true width stand for 0.
    pub(in crate::engine) stride: usize,
    pub(in crate::engine) values: Vec<S::Activation>,
    pub(in crate::engine) scales: Vec<f32>,
    pub(in crate::engine) zeros: Vec<i32>,
}

impl<S: Simd> Quantized<S> {
    pub(in crate::engine) fn new() -> Self {
        Quantized { stride: 0, values: Vec::new(), scales: Vec::new(), zeros: Vec::new() }
    }

    /// Makes room for `rows` rows of `stride` values; what is there is to be overwritten.
    pub(in crate::engine) fn reset(&mut self, rows: usize, stride: usize) {
        self.stride = stride;
        self.values.resize(rows * stride, S::Activation::default());
        self.scales.resize(rows, 0.0);
        self.zeros.resize(rows, 0);
    }
}

/// Gain and bias of a layer normalization, padded with 0 to whole vectors.
pub(in crate::engine) struct Norm {
    gain: Vec<f32>,
    bias: Vec<f32>,
    epsilon: f32,
    width: usize,
}

impl Norm {
    pub(in crate::engine) fn new(gain: &[f32], bias: &[f32], epsilon: f32) -> Self {
        assert_eq!(gain.len(), bias.len(), "one bias per gain");
        let width = gain.len();
        let pad = |values: &[f32]| [values, &vec![0.0; padded(width) - width]].concat();
        Norm { gain: pad(gain), bias: pad(bias), epsilon, width }
    }
}

/// Quantizes rows.
pub(in crate::engine) struct Quantize<'a, S: Simd> {
    /// `[rows, stride]`
    pub(in crate::engine) x: &'a [f32],
    pub(in crate::engine) out: &'a mut Quantized<S>,
    /// First row of `out` to write.
    pub(in crate::engine) first: usize,
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
pub(in crate::engine) struct AddNorm<'a, S: Simd> {
    /// `[rows, stride]`
    pub(in crate::engine) x: &'a mut [f32],
    /// As `x`; nothing is added without it.
    pub(in crate::engine) y: Option<&'a [f32]>,
    pub(in crate::engine) norm: &'a Norm,
    pub(in crate::engine) out: &'a mut Quantized<S>,
    /// First row of `out` to write.
    pub(in crate::engine) first: usize,
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
        let mean = S::fold_add(sum) / width;
        let middle = S::splat(mean);
        let mut squares = S::splat(0.0);
        for at in (0..row.len()).step_by(LANES) {
            let off = S::sub(S::load(x.add(at)), middle);
            let square = S::mul(off, off);
            squares =
                S::add(squares, if at + LANES > norm.width { clear::<S>(square, norm.width - at) } else { square });
        }
        let variance = S::fold_add(squares) / width;
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
        let low = S::fold_min(low);
        let high = S::fold_max(high);
        let range = high - low;
        let (scale, inverse) = if range > 0.0 { (range / 255.0, 255.0 / range) } else { (0.0, 0.0) };
        let zero = nearest(-low * inverse);
        let (factor, shift, bottom, top) = (S::splat(inverse), S::splat(zero), S::splat(0.0), S::splat(255.0));
        for at in (0..row.len()).step_by(LANES) {
            let value = S::add(S::mul(S::load(x.add(at)), factor), shift);
            let value = S::round(S::min(S::max(value, bottom), top));
            S::store_activations(target.as_mut_ptr().add(at), value);
        }
        (out.scales[at], out.zeros[at]) = (scale, zero as i32);
    }
}

/// 2ˣ · `scale` for x ≤ 0; relative error below 3e-6, and 0 · `scale` about for x below -126.
///
/// A minimax polynomial of degree 4 on [-½, ½], times a power of two put together in the exponent.
#[inline(always)]
pub(in crate::engine) unsafe fn exp2_nonpositive<S: Simd>(x: S::F, scale: f32) -> S::F {
    // SAFETY: inside `enter`.
    unsafe {
        // Adding this rounds to the nearest integer and leaves that, with the exponent's bias, in the low bits.
        let round = S::splat(12_582_912.0 + 127.0);
        let x = S::max(x, S::splat(-126.0));
        let shifted = S::add(x, round);
        let rest = S::sub(x, S::sub(shifted, round));
        let mut p = S::splat(9.570_076e-3 * scale);
        for c in [0.055_917_893, 0.240_247_46, 0.693_121_8, 0.999_999_3] {
            p = S::add(S::mul(p, rest), S::splat(c * scale));
        }
        S::mul(p, S::power_of_two(shifted))
    }
}

/// The Gaussian error linear unit x·Φ(x) (Hendrycks & Gimpel 2016); absolute error below 1e-4.
///
/// Φ(x) − ½ is an odd minimax polynomial of degree 15 on [-4.25, 4.25] whose ends are ±½.
#[inline(always)]
pub(in crate::engine) unsafe fn gelu<S: Simd>(x: S::F) -> S::F {
    // SAFETY: inside `enter`.
    unsafe {
        let y = S::min(S::max(x, S::splat(-4.25)), S::splat(4.25));
        let y2 = S::mul(y, y);
        let mut p = S::splat(-8.460_637e-10);
        for c in [7.570_988e-8, -2.938_845_7e-6, 6.552_773e-5, -9.404_53e-4, 9.257_849e-3, -0.065_453_56, 0.398_420_1] {
            p = S::add(S::mul(p, y2), S::splat(c));
        }
        S::mul(x, S::add(S::splat(0.5), S::mul(y, p)))
    }
}
