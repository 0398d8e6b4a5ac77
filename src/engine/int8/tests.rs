//! Kernels against plain loops, and every implementation against the scalar twin, bit for bit.

use std::any::type_name;

use proptest::prelude::*;

use super::attention::{Attend, Scratch};
use super::elementwise::{AddNorm, Norm, Quantize, Quantized, padded};
use super::product::{Packed, Product};
use super::simd::{Op, Portable, Simd};
use crate::engine::math;

/// Runs `$check::<S>` for every implementation that this CPU has.
macro_rules! on_every_kernel {
    ($check:ident($($argument:expr),*)) => {{
        let mut checked = 0;
        #[cfg(target_arch = "x86_64")]
        {
            if super::x86::Avx2::detected() {
                $check::<super::x86::Avx2>($($argument),*);
                checked += 1;
            }
            if super::x86::AvxVnni::detected() {
                $check::<super::x86::AvxVnni>($($argument),*);
                checked += 1;
            }
            if super::x86::Avx512Vnni::detected() {
                $check::<super::x86::Avx512Vnni>($($argument),*);
                checked += 1;
            }
        }
        checked
    }};
}

fn enter<S: Simd>(op: impl Op<S>) {
    // SAFETY: callers name implementations that were detected.
    #[expect(unsafe_code, reason = "implementations are detected before")]
    unsafe {
        S::enter(op);
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

fn random(count: usize, seed: u64, spread: f32) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..count).map(|_| spread * (random.f32() + random.f32() + random.f32() - 1.5)).collect()
}

/// Rows of `width` values, padded with 0.
fn rows(count: usize, width: usize, seed: u64, spread: f32) -> Vec<f32> {
    let mut all = vec![0.0; count * padded(width)];
    let values = random(count * width, seed, spread);
    for (row, values) in all.chunks_exact_mut(padded(width)).zip(values.chunks_exact(width)) {
        row[..width].copy_from_slice(values);
    }
    all
}

fn quantize<S: Simd>(x: &[f32], stride: usize) -> Quantized<S> {
    let mut out = Quantized::new();
    out.reset(x.len() / stride, stride);
    enter(Quantize { x, out: &mut out, first: 0 });
    out
}

/// A product by the kernels of `S`.
fn product<S: Simd>(x: &[f32], stride: usize, weight: &[f32], bias: &[f32], inputs: usize, gelu: bool) -> Vec<f32> {
    let (quantized, packed) = (quantize::<S>(x, stride), Packed::<S>::new(weight, bias, inputs));
    let mut out = vec![f32::NAN; x.len() / stride * packed.outputs()];
    let mut partial = Vec::new();
    enter(Product { x: &quantized, first: 0, weights: &packed, gelu, out: &mut out, partial: &mut partial });
    out
}

fn attend<S: Simd>(query_key_value: &[f32], stride: usize, heads: usize, depth: usize) -> Vec<f32> {
    let out_stride = padded(heads * depth);
    let mut out = vec![0.0; query_key_value.len() / stride * out_stride];
    let scratch = &mut Scratch::default();
    enter::<S>(Attend { query_key_value, stride, heads, depth, out: &mut out, out_stride, scratch });
    out
}

/// Everything that kernels compute, of one shape.
#[derive(Clone, Copy, Debug)]
struct Case {
    count: usize,
    inputs: usize,
    outputs: usize,
    seed: u64,
    spread: f32,
}

fn same_as_the_scalar_twin<S: Simd>(case: Case) {
    let Case { count, inputs, outputs, seed, spread } = case;
    let stride = padded(inputs);
    let x = rows(count, inputs, seed, spread);
    let (weight, bias) = (random(outputs * inputs, seed + 1, 0.3), random(outputs, seed + 2, 1.0));
    for gelu in [false, true] {
        let ours = product::<S>(&x, stride, &weight, &bias, inputs, gelu);
        let twin = product::<Portable>(&x, stride, &weight, &bias, inputs, gelu);
        assert_eq!(bits(&ours), bits(&twin), "{} {case:?}", type_name::<S>());
    }
    let norm = Norm::new(&random(inputs, seed + 3, 1.0), &random(inputs, seed + 4, 1.0), 1e-12);
    let y = rows(count, inputs, seed + 5, 1.0);
    let (mut ours, mut twin) = (x.clone(), x.clone());
    let (mut our_quantized, mut twin_quantized) = (Quantized::<S>::new(), Quantized::<Portable>::new());
    our_quantized.reset(count, stride);
    twin_quantized.reset(count, stride);
    enter(AddNorm { x: &mut ours, y: Some(&y), norm: &norm, out: &mut our_quantized, first: 0 });
    enter(AddNorm { x: &mut twin, y: Some(&y), norm: &norm, out: &mut twin_quantized, first: 0 });
    assert_eq!(bits(&ours), bits(&twin), "{} {case:?}", type_name::<S>());
    assert_eq!(bits(&our_quantized.scales), bits(&twin_quantized.scales));
    assert_eq!(our_quantized.zeros, twin_quantized.zeros);
    let (heads, depth) = (2, inputs.div_ceil(2));
    let stride = padded(3 * heads * depth) + 16;
    let x = rows(count, stride, seed + 6, spread);
    assert_eq!(
        bits(&attend::<S>(&x, stride, heads, depth)),
        bits(&attend::<Portable>(&x, stride, heads, depth)),
        "{} {case:?}",
        type_name::<S>()
    );
}

#[test]
fn all_kernels_equal_the_scalar_twin_at_odd_sizes_and_extreme_values() {
    let mut checked = 0;
    for (at, (count, inputs, outputs)) in
        [(1, 1, 1), (2, 17, 3), (13, 33, 70), (7, 384, 48), (25, 60, 77), (12, 600, 16), (50, 5, 15)]
            .into_iter()
            .enumerate()
    {
        for spread in [0.0, 1e-30, 1.0, 300.0, 1e15] {
            let case = Case { count, inputs, outputs, seed: at as u64, spread };
            checked += on_every_kernel!(same_as_the_scalar_twin(case));
        }
    }
    // On a CPU with none of the vector kernels there is nothing to compare.
    assert!(checked > 0 || super::Kernel::best() == super::Kernel::Scalar);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn kernels_equal_the_scalar_twin(
        count in 1_usize..40,
        inputs in 1_usize..200,
        outputs in 1_usize..100,
        seed in any::<u64>().prop_map(|s| s >> 8),
        spread in 1e-3_f32..1e3,
    ) {
        on_every_kernel!(same_as_the_scalar_twin(Case { count, inputs, outputs, seed, spread }));
    }
}

#[test]
fn rows_are_quantized_to_half_a_step() {
    let x = rows(9, 50, 3, 2.0);
    let quantized = quantize::<Portable>(&x, 64);
    for (at, row) in x.chunks_exact(64).enumerate() {
        let (scale, zero) = (quantized.scales[at], quantized.zeros[at]);
        let values = &quantized.values[at * 64..][..64];
        assert!(values.iter().all(|q| (0..=255).contains(q)) && values.contains(&0) && values.contains(&255));
        for (x, &q) in row.iter().zip(values) {
            let back = scale * (i32::from(q) - zero) as f32;
            assert!((x - back).abs() <= scale * 0.501 * 2.0, "{x} came back as {back}, a step is {scale}");
        }
        assert_eq!(i32::from(values[63]), zero, "padding stands for 0");
    }
}

#[test]
fn products_are_exact_sums_of_what_was_quantized() {
    let (count, inputs, outputs) = (11, 700, 37);
    let stride = padded(inputs);
    let x = rows(count, inputs, 1, 1.0);
    let (weight, bias) = (random(outputs * inputs, 2, 0.3), random(outputs, 3, 1.0));
    let out = product::<Portable>(&x, stride, &weight, &bias, inputs, false);
    let quantized = quantize::<Portable>(&x, stride);
    for row in 0..count {
        for output in 0..outputs {
            let w = &weight[output * inputs..][..inputs];
            let top = w.iter().fold(0.0_f32, |top, w| top.max(w.abs()));
            let sum: i64 = (0..inputs)
                .map(|k| {
                    let q = i64::from(quantized.values[row * stride + k]) - i64::from(quantized.zeros[row]);
                    q * (w[k] * (127.0 / top)).round_ties_even() as i64
                })
                .sum();
            let expected = sum as f32 * (quantized.scales[row] * (top / 127.0)) + bias[output];
            assert_eq!(out[row * padded(outputs) + output].to_bits(), expected.to_bits(), "row {row}, output {output}");
        }
    }
}

#[test]
fn products_are_near_those_of_f32() {
    let (count, inputs, outputs) = (5, 384, 32);
    let x = rows(count, inputs, 1, 1.0);
    let (weight, bias) = (random(outputs * inputs, 2, 0.3), random(outputs, 3, 1.0));
    for gelu in [false, true] {
        let out = product::<Portable>(&x, padded(inputs), &weight, &bias, inputs, gelu);
        let mut worst = 0.0_f32;
        for row in 0..count {
            for output in 0..outputs {
                let products = x[row * padded(inputs)..].iter().zip(&weight[output * inputs..][..inputs]);
                let mut exact = [products.map(|(x, w)| x * w).sum::<f32>() + bias[output]];
                if gelu {
                    math::gelu(&mut exact);
                }
                worst = worst.max((out[row * padded(outputs) + output] - exact[0]).abs());
            }
        }
        assert!((1e-4..0.05).contains(&worst), "{worst}: sums of 384 products of size 0.1");
    }
}

#[test]
fn normalized_rows_are_those_of_the_f32_twin() {
    for width in [1, 16, 33, 384] {
        let x = rows(3, width, 5, 3.0);
        let (gain, bias) = (random(width, 6, 1.0), random(width, 7, 1.0));
        let mut ours = x.clone();
        let mut quantized = Quantized::<Portable>::new();
        quantized.reset(3, padded(width));
        let norm = Norm::new(&gain, &bias, 1e-6);
        enter(AddNorm { x: &mut ours, y: None, norm: &norm, out: &mut quantized, first: 0 });
        for (ours, row) in ours.chunks_exact(padded(width)).zip(x.chunks_exact(padded(width))) {
            let mut twin = row[..width].to_vec();
            math::layer_norm(&mut twin, &gain, &bias, 1e-6);
            assert_eq!(bits(&ours[..width]), bits(&twin), "{width} wide");
            assert!(ours[width..].iter().all(|&v| v == 0.0));
        }
    }
}

#[test]
fn attention_is_near_that_of_f32() {
    let (tokens, heads, depth) = (45, 3, 20);
    let width = heads * depth;
    let stride = padded(3 * width);
    let x = rows(tokens, 3 * width, 8, 3.0);
    let ours = attend::<Portable>(&x, stride, heads, depth);
    let at = |token: usize, which: usize, head: usize, k: usize| x[token * stride + which * width + head * depth + k];
    for head in 0..heads {
        for token in 0..tokens {
            let mut weights: Vec<f32> = (0..tokens)
                .map(|other| {
                    let product: f32 = (0..depth).map(|k| at(token, 0, head, k) * at(other, 1, head, k)).sum();
                    product / (depth as f32).sqrt()
                })
                .collect();
            math::softmax(&mut weights);
            for k in 0..depth {
                let exact: f32 = (0..tokens).map(|other| weights[other] * at(other, 2, head, k)).sum();
                let ours = ours[token * padded(width) + head * depth + k];
                assert!((ours - exact).abs() < 4e-3, "head {head}, token {token}: {ours}, not {exact}");
            }
        }
    }
    let padding = |row: &[f32]| row[width..].iter().all(|&v| v == 0.0);
    assert!(ours.chunks_exact(padded(width)).all(padding));
}
