//! The element-wise mathematics of a BERT encoder in f32: softmax, GELU, layer normalization.
//!
//! `exp`, `erf` and `ln` are our own polynomials, so that results do not depend on the platform's mathematics library; plain
//! loops without branches, which the compiler turns into vector code.

/// e^x for x ≤ 0, as softmax needs it; relative error below 2e-7. Results below about 1e-38 become 0.
///
/// Cody–Waite reduction to |r| ≤ ln 2 / 2 and the degree-6 minimax polynomial of Cephes (`expf.c`).
#[must_use]
#[inline]
pub fn exp_nonpositive(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 · 2²³: adding and subtracting it rounds to the nearest integer
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let clamped = x.max(-87.0);
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = clamped - n * LN2_HIGH - n * LN2_LOW;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_2e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    let mantissa = p * r * r + r + 1.0;
    // The low bits of `shifted` hold n; moved into the exponent they multiply by 2ⁿ (n ≥ -126 by the clamp).
    let power = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    if x < -87.0 { 0.0 } else { mantissa * power }
}

/// Error function; absolute error below 5e-7.
///
/// The rational approximation x·P(x²)/Q(x²) on [-4, 4] used by Eigen (`Eigen/src/SpecialFunctions`).
#[must_use]
#[inline]
pub fn erf(x: f32) -> f32 {
    let x = x.clamp(-4.0, 4.0);
    let x2 = x * x;
    let mut p = -2.726_142_3e-10;
    for c in [2.770_681_4e-8, -2.101_024e-6, -5.692_506_4e-5, -7.349_906_3e-4, -2.954_6e-3, -0.016_096_034] {
        p = p * x2 + c;
    }
    let mut q = -1.456_607_2e-5;
    for c in [-2.133_740_6e-4, -1.682_827e-3, -7.373_329e-3, -1.426_473_9e-2] {
        q = q * x2 + c;
    }
    x * p / q
}

/// Gaussian error linear unit x·Φ(x), in place (Hendrycks & Gimpel 2016, the exact form).
pub fn gelu(values: &mut [f32]) {
    for v in values {
        *v = 0.5 * *v * (1.0 + erf(*v * std::f32::consts::FRAC_1_SQRT_2));
    }
}

/// Softmax of one row of logits, in place; the row sums to 1. Nothing happens to an empty row.
pub fn softmax(row: &mut [f32]) {
    let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for v in row.iter_mut() {
        *v = exp_nonpositive(*v - top);
    }
    for v in row.iter() {
        sum += *v;
    }
    for v in row {
        *v /= sum;
    }
}

/// ln Σ eˣ of `values`; -∞ for none.
#[must_use]
pub fn log_sum_exp(values: &[f32]) -> f32 {
    let top = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if top == f32::NEG_INFINITY {
        return top;
    }
    let sum = values.iter().map(|&v| exp_nonpositive(v - top)).sum::<f32>();
    top + ln(sum)
}

/// Natural logarithm of a normal number above 0; relative error below 2e-7, or absolute around 1.
///
/// The exponent times ln 2, and the degree-8 polynomial of Cephes (`logf.c`) for the mantissa in [√½, √2).
#[must_use]
pub fn ln(x: f32) -> f32 {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let bits = x.to_bits();
    // Moves the range of mantissas from [1, 2) to [√½, √2).
    let shift = bits.wrapping_sub(std::f32::consts::FRAC_1_SQRT_2.to_bits()) as i32 >> 23;
    let r = f32::from_bits(bits.wrapping_sub((shift << 23) as u32)) - 1.0;
    let n = shift as f32;
    let mut p = 7.037_683_6e-2;
    for c in [
        -1.151_461e-1,
        1.167_699_9e-1,
        -1.242_014_1e-1,
        1.424_932_3e-1,
        -1.666_805_7e-1,
        2.000_071_5e-1,
        -2.499_999_4e-1,
        0.333_333_3,
    ] {
        p = p * r + c;
    }
    let square = r * r;
    let rest = p * r * square + n * LN2_LOW - 0.5 * square;
    r + rest + n * LN2_HIGH
}

/// Layer normalization of one row, in place: to mean 0 and variance 1, then times `gain` plus `bias` (Ba et al. 2016).
///
/// # Panics
///
/// If the three lengths differ.
pub fn layer_norm(row: &mut [f32], gain: &[f32], bias: &[f32], epsilon: f32) {
    assert!(row.len() == gain.len() && row.len() == bias.len(), "layer normalization over rows of one width");
    let width = row.len() as f32;
    let mean = lane_sum(row.iter().copied()) / width;
    let variance = lane_sum(row.iter().map(|&v| (v - mean) * (v - mean))) / width;
    let scale = 1.0 / (variance + epsilon).sqrt();
    for ((v, g), b) in row.iter_mut().zip(gain).zip(bias) {
        *v = (*v - mean) * scale * g + b;
    }
}

/// A sum in 16 interleaved chains, then those by halves: exacter than one chain, and open to vector code.
fn lane_sum(values: impl Iterator<Item = f32>) -> f32 {
    let mut lanes = [0.0_f32; 16];
    for (at, v) in values.enumerate() {
        lanes[at % 16] += v;
    }
    let mut width = 8;
    while width > 0 {
        for at in 0..width {
            lanes[at] += lanes[at + width];
        }
        width /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// erf by its Maclaurin series in f64, exact enough up to |x| = 4.
    fn erf_f64(x: f64) -> f64 {
        let (mut sum, mut term) = (x, x);
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    }

    #[test]
    fn exp_is_exact_to_a_few_units_in_the_last_place() {
        let mut worst = 0.0_f64;
        for i in 0..=87_000 {
            let x = -(i as f32) / 1000.0;
            let exact = f64::from(x).exp();
            worst = worst.max((f64::from(exp_nonpositive(x)) - exact).abs() / exact);
        }
        assert!(worst < 2e-7, "{worst}");
        assert_eq!(exp_nonpositive(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp_nonpositive(-88.0), 0.0);
    }

    #[test]
    fn ln_is_exact_to_a_few_units_in_the_last_place() {
        let mut worst = 0.0_f64;
        for i in 1..=200_000 {
            for x in [i as f32 / 50_000.0, i as f32 * 1e3, i as f32 * 1e-33] {
                let exact = f64::from(x).ln();
                worst = worst.max((f64::from(ln(x)) - exact).abs() / exact.abs().max(1.0));
            }
        }
        assert!(worst < 2e-7, "{worst}");
        assert_eq!(ln(1.0), 0.0);
    }

    #[test]
    fn erf_is_exact_to_its_bound() {
        let worst = (-4000..=4000)
            .map(|i| i as f32 / 1000.0)
            .fold(0.0_f64, |worst, x| worst.max((f64::from(erf(x)) - erf_f64(f64::from(x))).abs()));
        assert!(worst < 5e-7, "{worst}");
        assert!((erf(30.0) - 1.0).abs() < 5e-7);
    }

    #[test]
    fn softmax_of_equal_and_extreme_logits() {
        let mut row = [1000.0, 1000.0, -1e9, f32::NEG_INFINITY];
        softmax(&mut row);
        assert_eq!(row, [0.5, 0.5, 0.0, 0.0]);
        softmax(&mut []);
    }

    #[test]
    fn layer_norm_of_a_ramp() {
        let mut row: Vec<f32> = (0..5).map(|v| v as f32).collect();
        layer_norm(&mut row, &[2.0; 5], &[1.0; 5], 0.0);
        let step = 2.0 / 2.0_f32.sqrt();
        for (at, v) in row.iter().enumerate() {
            assert!((v - (1.0 + (at as f32 - 2.0) * step)).abs() < 1e-6, "{row:?}");
        }
    }

    #[test]
    fn log_sum_exp_of_nothing_is_minus_infinity() {
        assert_eq!(log_sum_exp(&[]), f32::NEG_INFINITY);
        assert!((log_sum_exp(&[0.0, 0.0]) - 2.0_f32.ln()).abs() < 1e-6);
    }
}
