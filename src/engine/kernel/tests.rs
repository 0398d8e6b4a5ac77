//! Kernels against plain loops, and every implementation against the scalar twin, bit for bit.

use std::any::type_name;

use proptest::prelude::*;

use super::attention::{Attend, Scratch};
use super::dense::Dense;
use super::elementwise::{AddNorm, Norm, Quantize, Quantized, exp2_nonpositive, gelu, padded};
use super::product::{Packed, Product};
use super::simd::{LANES, Portable, Simd, run};
use super::{Kernel, with_kernel};
use crate::engine::math;
use crate::engine::position::PositionBias;

/// Runs `$check::<S>` for every implementation that this CPU has beside the scalar twin; how many there are.
macro_rules! on_every_kernel {
    ($check:ident($($argument:expr),*)) => {{
        let kernels = || Kernel::ALL.into_iter().filter(|k| *k != Kernel::Scalar && k.is_supported());
        for kernel in kernels() {
            with_kernel!(kernel, S => $check::<S>($($argument),*));
        }
        kernels().count()
    }};
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
    run(Quantize { x, out: &mut out, first: 0 });
    out
}

/// A product by the kernels of `S`.
fn product<S: Simd>(x: &[f32], stride: usize, weight: &[f32], bias: &[f32], inputs: usize, gelu: bool) -> Vec<f32> {
    let (quantized, packed) = (quantize::<S>(x, stride), Packed::<S>::new(weight, bias, inputs));
    let mut out = vec![f32::NAN; x.len() / stride * packed.outputs()];
    let mut partial = Vec::new();
    run(Product { x: &quantized, first: 0, weights: &packed, gelu, out: &mut out, partial: &mut partial });
    out
}

fn attend<S: Simd>(
    query_key_value: &[f32],
    stride: usize,
    heads: usize,
    depth: usize,
    bias: Option<&PositionBias>,
) -> Vec<f32> {
    let out_stride = padded(heads * depth);
    let mut out = vec![0.0; query_key_value.len() / stride * out_stride];
    let scratch = &mut Scratch::default();
    run::<S>(Attend { query_key_value, stride, heads, depth, bias, out: &mut out, out_stride, scratch });
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
    run(AddNorm { x: &mut ours, y: Some(&y), norm: &norm, out: &mut our_quantized, first: 0 });
    run(AddNorm { x: &mut twin, y: Some(&y), norm: &norm, out: &mut twin_quantized, first: 0 });
    assert_eq!(bits(&ours), bits(&twin), "{} {case:?}", type_name::<S>());
    assert_eq!(bits(&our_quantized.scales), bits(&twin_quantized.scales));
    assert_eq!(our_quantized.zeros, twin_quantized.zeros);
    let (heads, depth) = (2, inputs.div_ceil(2));
    let stride = padded(3 * heads * depth) + 16;
    let x = rows(count, stride, seed + 6, spread);
    let relative = PositionBias::new(&random(8 * heads, seed + 7, spread), heads, count + 3, 1.5);
    for bias in [None, Some(&relative)] {
        let (ours, twin) =
            (attend::<S>(&x, stride, heads, depth, bias), attend::<Portable>(&x, stride, heads, depth, bias));
        assert_eq!(bits(&ours), bits(&twin), "{} {case:?} {}", type_name::<S>(), bias.is_some());
    }
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
    assert!(checked > 0 || Kernel::best() == Kernel::Scalar);
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
        run(AddNorm { x: &mut ours, y: None, norm: &norm, out: &mut quantized, first: 0 });
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
    let ours = attend::<Portable>(&x, stride, heads, depth, None);
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

fn dense(kernel: Kernel, x: &[f32], weight: &[f32], bias: &[f32]) -> Vec<u32> {
    let (inputs, outputs) = (weight.len() / bias.len(), bias.len());
    let view = |values, rows, columns| ndarray::ArrayView2::from_shape((rows, columns), values).expect("a matrix");
    let out = Dense::new(view(weight, outputs, inputs), bias, kernel).apply(view(x, x.len() / inputs, inputs));
    out.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn dense_outputs_are_chains_from_the_bias_on_with_every_kernel() {
    for (count, inputs, outputs) in [(0, 3, 2), (1, 1, 1), (5, 384, 9), (13, 77, 33), (30, 16, 16), (2, 1000, 40)] {
        let (x, weight) = (random(count * inputs, 1, 2.0), random(outputs * inputs, 2, 0.5));
        let bias = random(outputs, 3, 1.0);
        let chain = |row: usize, output: usize| {
            (0..inputs).fold(bias[output], |sum, k| sum + x[row * inputs + k] * weight[output * inputs + k])
        };
        let plain: Vec<u32> = (0..count * outputs).map(|at| chain(at / outputs, at % outputs).to_bits()).collect();
        for kernel in Kernel::ALL.into_iter().filter(|k| k.is_supported()) {
            assert_eq!(dense(kernel, &x, &weight, &bias), plain, "{kernel} on {count} × {inputs} × {outputs}");
        }
    }
}

#[expect(unsafe_code, reason = "the portable implementation needs no feature")]
fn power_of_two(x: f32, scale: f32) -> f32 {
    // SAFETY: `Portable` needs no feature.
    unsafe { exp2_nonpositive::<Portable>([x; LANES], scale)[0] }
}

#[expect(unsafe_code, reason = "the portable implementation needs no feature")]
fn activated(x: f32) -> f32 {
    // SAFETY: `Portable` needs no feature.
    unsafe { gelu::<Portable>([x; LANES])[0] }
}

#[test]
fn powers_of_two_and_gelu_are_exact_to_their_bounds() {
    let (mut worst_power, mut worst_gelu) = (0.0_f64, 0.0_f64);
    for i in 0..200_000 {
        let x = i as f32 / 10_000.0 - 10.0;
        let exact = f64::from(x - 10.0).exp2() * 8191.0;
        worst_power = worst_power.max((f64::from(power_of_two(x - 10.0, 8191.0)) - exact).abs() / exact);
        let mut exact = [x];
        math::gelu(&mut exact);
        worst_gelu = worst_gelu.max(f64::from((activated(x) - exact[0]).abs()));
    }
    assert!(worst_power < 3e-6, "{worst_power}");
    assert!(worst_gelu < 1e-4, "{worst_gelu}");
    assert!(power_of_two(f32::NEG_INFINITY, 1.0) < 1e-37);
}

/// Values whose last byte lies before a page that nobody may touch, their first after another.
#[cfg(target_os = "linux")]
struct Guarded {
    map: *mut u8,
    size: usize,
    len: usize,
    at_end: bool,
}

#[cfg(target_os = "linux")]
impl Guarded {
    const PAGE: usize = 4096;

    #[expect(unsafe_code, reason = "pages are protected by system calls")]
    fn new(values: &[f32], at_end: bool) -> Self {
        let size = size_of_val(values).next_multiple_of(Self::PAGE) + 2 * Self::PAGE;
        // SAFETY: a new mapping of `size` bytes, its first and last page then taken away.
        let map = unsafe {
            let access = libc::PROT_READ | libc::PROT_WRITE;
            let map = libc::mmap(std::ptr::null_mut(), size, access, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0);
            assert_ne!(map, libc::MAP_FAILED);
            assert_eq!(libc::mprotect(map, Self::PAGE, libc::PROT_NONE), 0);
            assert_eq!(libc::mprotect(map.add(size - Self::PAGE), Self::PAGE, libc::PROT_NONE), 0);
            map.cast::<u8>()
        };
        let mut guarded = Guarded { map, size, len: values.len(), at_end };
        guarded.values().copy_from_slice(values);
        guarded
    }

    #[expect(unsafe_code, reason = "a slice of the mapping")]
    fn values(&mut self) -> &mut [f32] {
        let end = self.size - Self::PAGE;
        let start = if self.at_end { end - self.len * size_of::<f32>() } else { Self::PAGE };
        // SAFETY: `len` aligned values lie between the two guards, and nobody else has them.
        unsafe { std::slice::from_raw_parts_mut(self.map.add(start).cast(), self.len) }
    }
}

#[cfg(target_os = "linux")]
impl Drop for Guarded {
    #[expect(unsafe_code, reason = "unmaps what was mapped")]
    fn drop(&mut self) {
        // SAFETY: the mapping of `new`.
        unsafe { libc::munmap(self.map.cast(), self.size) };
    }
}

/// Runs every kernel on values between guard pages: a read or write beyond them kills the test.
#[cfg(target_os = "linux")]
fn stays_between_guards<S: Simd>(count: usize, width: usize, at_end: bool) {
    let stride = padded(width);
    let guard = |values: &[f32]| Guarded::new(values, at_end);
    let (mut x, mut y) = (guard(&rows(count, width, 1, 1.0)), guard(&rows(count, width, 2, 1.0)));
    let norm = Norm::new(&random(width, 3, 1.0), &random(width, 4, 1.0), 1e-12);
    let mut quantized = Quantized::<S>::new();
    quantized.reset(count, stride);
    run(AddNorm { x: x.values(), y: Some(y.values()), norm: &norm, out: &mut quantized, first: 0 });
    run(Quantize { x: x.values(), out: &mut quantized, first: 0 });
    let outputs = 37;
    let packed = Packed::<S>::new(&random(outputs * width, 5, 0.3), &random(outputs, 6, 1.0), width);
    let mut out = guard(&vec![0.0; count * packed.outputs()]);
    let partial = &mut Vec::new();
    run(Product { x: &quantized, first: 0, weights: &packed, gelu: true, out: out.values(), partial });
    let (heads, depth) = (2, width);
    let stride = padded(3 * heads * depth);
    let mut all = guard(&rows(count, stride, 7, 1.0));
    let out_stride = padded(heads * depth);
    let mut out = guard(&vec![0.0; count * out_stride]);
    let scratch = &mut Scratch::default();
    let (query_key_value, out) = (all.values(), out.values());
    let bias = PositionBias::new(&random(8 * heads, 8, 1.0), heads, count, 1.0);
    run::<S>(Attend { query_key_value, stride, heads, depth, bias: Some(&bias), out, out_stride, scratch });
}

#[test]
#[cfg(target_os = "linux")]
fn kernels_touch_nothing_beyond_their_rows() {
    for (count, width) in [(1, 1), (2, 17), (7, 33), (13, 16), (20, 48)] {
        for at_end in [true, false] {
            stays_between_guards::<Portable>(count, width, at_end);
            on_every_kernel!(stays_between_guards(count, width, at_end));
        }
        let (x, weight, bias) = (random(count * width, 1, 1.0), random(9 * width, 2, 1.0), random(9, 3, 1.0));
        for kernel in Kernel::ALL.into_iter().filter(|k| k.is_supported()) {
            let mut guarded = Guarded::new(&x, true);
            assert_eq!(dense(kernel, guarded.values(), &weight, &bias), dense(kernel, &x, &weight, &bias));
        }
    }
}

#[test]
fn the_probe_and_the_workloads_run_on_every_kernel() {
    use super::probe::{Workload, peak_operations};
    for kernel in Kernel::ALL.into_iter().filter(|k| k.is_supported()) {
        assert!(peak_operations(kernel, std::time::Duration::from_millis(1)) > 1e7, "{kernel}");
        for workload in [
            Workload::Product { rows: 5, inputs: 20, outputs: 30, gelu: true },
            Workload::Attention { tokens: 7, heads: 2, depth: 8 },
            Workload::AddNorm { rows: 3, width: 20 },
        ] {
            let mut run = workload.prepare(kernel);
            run();
            run();
        }
    }
}
