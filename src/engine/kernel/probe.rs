//! What a core can do at most, the rate that encoders are held against; and single kernels, to be measured alone.

#![allow(unsafe_code)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::attention::{Attend, Scratch};
use super::elementwise::{AddNorm, Norm, Quantize, Quantized, padded};
use super::product::{Packed, Product};
use super::simd::{Aligned, LANES, Op, Simd, run};
use super::{Kernel, with_kernel};

/// Independent sums: more than any CPU has 8-bit products in flight.
const CHAINS: usize = 12;
/// Products of each chain between two looks at the clock.
const LENGTH: usize = 4096;

/// Operations per second (a product and a sum are two) of `kernel`'s dot products on one core, operands in registers: the
/// best of as many tries as fit in `time`.
///
/// # Panics
///
/// If this CPU lacks the kernel.
#[must_use]
pub fn peak_operations(kernel: Kernel, time: Duration) -> f64 {
    assert!(kernel.is_supported(), "the kernel `{kernel}` runs on this CPU");
    let start = Instant::now();
    let mut best = 0.0_f64;
    while start.elapsed() < time {
        let mut operations = 0;
        let round = Instant::now();
        for _ in 0..16 {
            with_kernel!(kernel, S => run::<S>(Probe(&mut operations)));
        }
        best = best.max(operations as f64 / round.elapsed().as_secs_f64());
    }
    best
}

/// One kernel on data of some shape.
#[derive(Clone, Copy, Debug)]
pub enum Workload {
    /// Quantized rows times a quantized matrix, with or without GELU.
    Product {
        /// Rows of activations.
        rows: usize,
        /// Width of a row.
        inputs: usize,
        /// Rows of the matrix.
        outputs: usize,
        /// Whether GELU follows.
        gelu: bool,
    },
    /// Multi-head attention over one window.
    Attention {
        /// Tokens of the window.
        tokens: usize,
        /// Heads.
        heads: usize,
        /// Width of a head.
        depth: usize,
    },
    /// Residual sum, layer normalization and quantization.
    AddNorm {
        /// Rows.
        rows: usize,
        /// Width of a row.
        width: usize,
    },
}

impl Workload {
    /// Makes the data up, and returns what runs the kernel over it once.
    ///
    /// # Panics
    ///
    /// If this CPU lacks the kernel.
    #[must_use]
    pub fn prepare(self, kernel: Kernel) -> Box<dyn FnMut()> {
        assert!(kernel.is_supported(), "the kernel `{kernel}` runs on this CPU");
        with_kernel!(kernel, S => self.on::<S>())
    }

    fn on<S: Simd>(self) -> Box<dyn FnMut()> {
        match self {
            Workload::Product { rows, inputs, outputs, gelu } => {
                let weights = Packed::<S>::new(&noise(outputs * inputs, 0.1), &noise(outputs, 0.1), inputs);
                let mut x = Quantized::<S>::new();
                x.reset(rows, padded(inputs));
                run(Quantize { x: &noise(rows * padded(inputs), 1.0), out: &mut x, first: 0 });
                let (mut out, mut partial) = (vec![0.0; rows * weights.outputs()], Vec::new());
                Box::new(move || {
                    let (out, partial) = (&mut out, &mut partial);
                    run(Product { x: &x, first: 0, weights: &weights, gelu, out, partial });
                })
            }
            Workload::Attention { tokens, heads, depth } => {
                let width = heads * depth;
                let (stride, out_stride) = (padded(3 * width), padded(width));
                let query_key_value = noise(tokens * stride, 1.0);
                let (mut out, mut scratch) = (vec![0.0; tokens * out_stride], Scratch::default());
                Box::new(move || {
                    let (query_key_value, out, scratch) = (&query_key_value, &mut out, &mut scratch);
                    run::<S>(Attend { query_key_value, stride, heads, depth, bias: None, out, out_stride, scratch });
                })
            }
            Workload::AddNorm { rows, width } => {
                let (start, y) = (noise(rows * padded(width), 1.0), noise(rows * padded(width), 1.0));
                let norm = Norm::new(&noise(width, 1.0), &noise(width, 1.0), 1e-12);
                let (mut x, mut out) = (start.clone(), Quantized::<S>::new());
                out.reset(rows, padded(width));
                Box::new(move || {
                    x.copy_from_slice(&start);
                    run(AddNorm { x: &mut x, y: Some(&y), norm: &norm, out: &mut out, first: 0 });
                })
            }
        }
    }
}

/// Numbers from -`spread` to `spread`, the same at every call.
fn noise(count: usize, spread: f32) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(count as u64);
    (0..count).map(|_| spread * (2.0 * random.f32() - 1.0)).collect()
}

/// Adds the operations that it has done.
struct Probe<'a>(&'a mut usize);

impl<S: Simd> Op<S> for Probe<'_> {
    #[inline(always)]
    unsafe fn run(self) {
        let activations = Aligned::<S::Activation>::zeros(S::GROUP * CHAINS);
        let weights = Aligned::<S::Weight>::zeros(S::GROUP * LANES);
        let mut out = [0; LANES];
        // SAFETY: inside `enter`; a group for each chain, a vector of weights, a vector of sums.
        unsafe {
            let weights = S::load_int(black_box(weights.as_ptr()).cast());
            let from: *const i32 = black_box(activations.as_ptr()).cast();
            let values: [S::I; CHAINS] = std::array::from_fn(|chain| S::splat_int(from.add(chain).read_unaligned()));
            let mut sums = [S::splat_int(0); CHAINS];
            for _ in 0..LENGTH {
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum = S::dot(*sum, value, weights);
                }
            }
            let total = sums.into_iter().fold(S::splat_int(0), |total, sum| S::add_int(total, sum));
            S::store_int(out.as_mut_ptr(), total);
        }
        black_box(out);
        *self.0 += LENGTH * CHAINS * LANES * S::GROUP * 2;
    }
}
