//! Sixteen lanes of f32 and i32 on any CPU: what the kernels are written in.
//!
//! All lanes compute the same IEEE operations in the same order whatever the registers, so that a kernel's result is the
//! same bits with every implementation. Products are not fused with sums. [`Portable`] is the scalar twin of the others.

#![allow(unsafe_code)]

use std::ops::{Deref, DerefMut};

/// Lanes of a vector.
pub(in crate::engine) const LANES: usize = 16;

/// Numbers from the start of a cache line on, so that no vector of 64 bytes lies across two.
#[derive(Default)]
pub(in crate::engine) struct Aligned<T> {
    values: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Copy + Default> Aligned<T> {
    /// Bytes of a cache line.
    const LINE: usize = 64;

    /// `len` numbers, all 0.
    pub(in crate::engine) fn zeros(len: usize) -> Self {
        let mut all = Aligned::default();
        all.clear_to(len);
        all
    }

    /// Replaces the content by `len` zeros.
    pub(in crate::engine) fn clear_to(&mut self, len: usize) {
        let spare = Self::LINE / size_of::<T>();
        self.values.clear();
        self.values.resize(len + spare, T::default());
        self.start = self.values.as_ptr().align_offset(Self::LINE).min(spare);
        self.len = len;
    }
}

impl<T> Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.values[self.start..self.start + self.len]
    }
}

impl<T> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.values[self.start..self.start + self.len]
    }
}

/// Runs `$body` with the constant `$panels`, 1, 2 or 4, that `$count` is.
macro_rules! with_panels {
    ($count:expr, $panels:ident => $body:expr) => {
        match $count {
            1 => {
                const $panels: usize = 1;
                $body
            }
            2 => {
                const $panels: usize = 2;
                $body
            }
            4 => {
                const $panels: usize = 4;
                $body
            }
            _ => unreachable!("no implementation has other tiles"),
        }
    };
}
pub(in crate::engine) use with_panels;

/// Runs `$body` with the constant `$rows`, 1 to 12, that `$count` is.
macro_rules! with_rows {
    ($count:expr, $rows:ident => $body:expr) => {
        with_rows!(@each $count, $rows, $body, 1 2 3 4 5 6 7 8 9 10 11 12)
    };
    (@each $count:expr, $rows:ident, $body:expr, $($number:literal)*) => {
        match $count {
            $($number => {
                const $rows: usize = $number;
                $body
            })*
            _ => unreachable!("no implementation has larger tiles"),
        }
    };
}
pub(in crate::engine) use with_rows;

/// A kernel on buffers of one implementation.
pub(in crate::engine) trait Op<S: Simd> {
    /// Runs it. Implementations are `#[inline(always)]`, and so is all that they call.
    ///
    /// # Safety
    ///
    /// The CPU must have the features of `S`.
    unsafe fn run(self);
}

/// What a kernel needs of a CPU.
///
/// # Safety
///
/// Every function but [`Simd::enter`] must be called from inside it. Pointers must be valid for the lanes that are read or
/// written; they need no alignment.
pub(in crate::engine) trait Simd: Copy + Send + Sync + 'static {
    /// Neighbouring values of k that [`Simd::dot`] multiplies and adds up in each lane.
    const GROUP: usize;
    /// Rows of a tile of products.
    const TILE_ROWS: usize;
    /// Panels of 16 outputs of a tile of products: rows times panels sums are as many as registers hold.
    const TILE_PANELS: usize;
    /// Rows of a tall tile: of attention, which has 1 panel or [`Simd::TALL_PANELS`], and of dense layers, which have 1.
    const TALL_ROWS: usize;
    /// See [`Simd::TALL_ROWS`].
    const TALL_PANELS: usize;
    /// A quantized activation, 0 to 255.
    type Activation: Copy + Default + Send + Sync;
    /// A quantized weight, -127 to 127.
    type Weight: Copy + Default + Send + Sync + From<i8>;
    /// 16 × f32.
    type F: Copy;
    /// 16 × i32.
    type I: Copy;

    /// Whether this CPU has the features.
    fn detected() -> bool;

    /// Runs `op` with this implementation's CPU features; [`run`] is the safe way in.
    ///
    /// # Safety
    ///
    /// The CPU must have them.
    unsafe fn enter<O: Op<Self>>(op: O);

    unsafe fn splat(value: f32) -> Self::F;
    unsafe fn load(from: *const f32) -> Self::F;
    unsafe fn store(to: *mut f32, value: Self::F);
    unsafe fn add(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn sub(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F;
    /// The larger; `b` if either is NaN.
    unsafe fn max(a: Self::F, b: Self::F) -> Self::F;
    /// The smaller; `b` if either is NaN.
    unsafe fn min(a: Self::F, b: Self::F) -> Self::F;
    /// The sum of the lanes by halves: lane n with lane n + 8, then with n + 4, n + 2, n + 1.
    unsafe fn fold_add(a: Self::F) -> f32;
    /// The largest lane, by halves as [`Simd::fold_add`].
    unsafe fn fold_max(a: Self::F) -> f32;
    /// The smallest lane, by halves as [`Simd::fold_add`].
    unsafe fn fold_min(a: Self::F) -> f32;
    /// To the nearest integer, ties to even; |a| must be at most 2²².
    unsafe fn round(a: Self::F) -> Self::I;
    unsafe fn to_float(a: Self::I) -> Self::F;
    /// The float whose exponent, bias included, is in the low 8 bits of `shifted`.
    unsafe fn power_of_two(shifted: Self::F) -> Self::F;

    unsafe fn splat_int(value: i32) -> Self::I;
    unsafe fn load_int(from: *const i32) -> Self::I;
    unsafe fn store_int(to: *mut i32, value: Self::I);
    unsafe fn add_int(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn sub_int(a: Self::I, b: Self::I) -> Self::I;
    /// The sum of the lanes.
    unsafe fn fold_int(a: Self::I) -> i32;
    /// The low 32 bits of the products.
    unsafe fn mul_int(a: Self::I, b: Self::I) -> Self::I;
    /// Stores lanes within 0..=255.
    unsafe fn store_activations(to: *mut Self::Activation, value: Self::I);
    /// Stores lanes within the range of i16.
    unsafe fn store_i16(to: *mut i16, value: Self::I);

    /// Adds to each lane of `sum` the products of the lane's [`Simd::GROUP`] activations and weights, which fill it.
    unsafe fn dot(sum: Self::I, activations: Self::I, weights: Self::I) -> Self::I;

    /// As [`Simd::dot`], with 2 values of i16 a lane.
    unsafe fn dot_i16(sum: Self::I, a: Self::I, b: Self::I) -> Self::I;
}

/// Runs `op` with the CPU features of `S`.
///
/// # Panics
///
/// If this CPU lacks them.
pub(in crate::engine) fn run<S: Simd>(op: impl Op<S>) {
    assert!(S::detected(), "this CPU has the kernel's instructions");
    // SAFETY: it has the features.
    unsafe { S::enter(op) }
}

/// The part of [`Simd`] that multiplies 8-bit numbers widened to 16 bits, two of them a lane, for CPUs that have nothing better.
macro_rules! widened_products {
    () => {
        const GROUP: usize = 2;
        type Activation = i16;
        type Weight = i16;

        #[inline(always)]
        unsafe fn store_activations(to: *mut i16, value: Self::I) {
            // SAFETY: by the trait's contract.
            unsafe { Self::store_i16(to, value) }
        }

        #[inline(always)]
        unsafe fn dot(sum: Self::I, activations: Self::I, weights: Self::I) -> Self::I {
            // SAFETY: by the trait's contract.
            unsafe { Self::dot_i16(sum, activations, weights) }
        }
    };
}
pub(in crate::engine) use widened_products;

/// Exact sums of `ROWS` rows times `PANELS` panels of 16 columns over `steps` groups of k, kept in registers: nothing here
/// may need the address of a sum.
///
/// A group is 4 bytes of a row and 64 of a panel, whatever numbers they are: `dot` knows. `stride` is the groups of a row.
///
/// # Safety
///
/// Inside [`Simd::enter`]; rows and panels must hold that many groups.
#[inline(always)]
pub(in crate::engine) unsafe fn tile_sums<S: Simd, const ROWS: usize, const PANELS: usize>(
    mut rows: *const i32,
    stride: usize,
    mut panels: *const i32,
    panel_groups: usize,
    steps: usize,
    dot: impl Fn(S::I, S::I, S::I) -> S::I,
) -> [[S::I; PANELS]; ROWS] {
    // SAFETY: by the caller.
    unsafe {
        let mut sums = [[S::splat_int(0); PANELS]; ROWS];
        for _ in 0..steps {
            let columns: [S::I; PANELS] = std::array::from_fn(|at| S::load_int(panels.add(at * panel_groups * LANES)));
            for (row, sums) in sums.iter_mut().enumerate() {
                let value = S::splat_int(rows.add(row * stride).read_unaligned());
                for (sum, column) in sums.iter_mut().zip(columns) {
                    *sum = dot(*sum, value, column);
                }
            }
            rows = rows.add(1);
            panels = panels.add(LANES);
        }
        sums
    }
}

/// Plain arrays; what all else must equal.
#[derive(Clone, Copy)]
pub(in crate::engine) struct Portable;

fn map<A: Copy, B>(a: [A; LANES], f: impl Fn(A) -> B) -> [B; LANES] {
    a.map(f)
}

fn zip<A: Copy, B>(a: [A; LANES], b: [A; LANES], f: impl Fn(A, A) -> B) -> [B; LANES] {
    std::array::from_fn(|lane| f(a[lane], b[lane]))
}

/// To the nearest integer, ties to even, for |a| up to 2²²; `round_ties_even` is a call where the CPU's baseline has no
/// instruction for it.
pub(in crate::engine) fn nearest(a: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 · 2²³
    (a + ROUND) - ROUND
}

/// Folds by halves.
fn fold<A: Copy>(mut a: [A; LANES], f: impl Fn(A, A) -> A) -> A {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            a[lane] = f(a[lane], a[lane + width]);
        }
        width /= 2;
    }
    a[0]
}

fn halves(pair: i32) -> [i32; 2] {
    [i32::from(pair as i16), pair >> 16]
}

impl Simd for Portable {
    widened_products!();

    const TILE_ROWS: usize = 6;
    const TILE_PANELS: usize = 1;
    const TALL_ROWS: usize = 6;
    const TALL_PANELS: usize = 1;
    type F = [f32; LANES];
    type I = [i32; LANES];

    fn detected() -> bool {
        true
    }

    unsafe fn enter<O: Op<Self>>(op: O) {
        // SAFETY: this implementation needs no feature.
        unsafe { op.run() }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::F {
        [value; LANES]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::F {
        // SAFETY: by the trait's contract.
        unsafe { from.cast::<Self::F>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, value: Self::F) {
        // SAFETY: by the trait's contract.
        unsafe { to.cast::<Self::F>().write_unaligned(value) }
    }

    #[inline(always)]
    unsafe fn add(a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a + b)
    }

    #[inline(always)]
    unsafe fn sub(a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a - b)
    }

    #[inline(always)]
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a * b)
    }

    #[inline(always)]
    unsafe fn max(a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    unsafe fn min(a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    unsafe fn fold_add(a: Self::F) -> f32 {
        fold(a, |a, b| a + b)
    }

    #[inline(always)]
    unsafe fn fold_max(a: Self::F) -> f32 {
        fold(a, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    unsafe fn fold_min(a: Self::F) -> f32 {
        fold(a, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    unsafe fn round(a: Self::F) -> Self::I {
        map(a, |a| nearest(a) as i32)
    }

    #[inline(always)]
    unsafe fn to_float(a: Self::I) -> Self::F {
        map(a, |a| a as f32)
    }

    #[inline(always)]
    unsafe fn power_of_two(shifted: Self::F) -> Self::F {
        map(shifted, |s| f32::from_bits(s.to_bits() << 23))
    }

    #[inline(always)]
    unsafe fn splat_int(value: i32) -> Self::I {
        [value; LANES]
    }

    #[inline(always)]
    unsafe fn load_int(from: *const i32) -> Self::I {
        // SAFETY: by the trait's contract.
        unsafe { from.cast::<Self::I>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store_int(to: *mut i32, value: Self::I) {
        // SAFETY: by the trait's contract.
        unsafe { to.cast::<Self::I>().write_unaligned(value) }
    }

    #[inline(always)]
    unsafe fn add_int(a: Self::I, b: Self::I) -> Self::I {
        zip(a, b, i32::wrapping_add)
    }

    #[inline(always)]
    unsafe fn sub_int(a: Self::I, b: Self::I) -> Self::I {
        zip(a, b, i32::wrapping_sub)
    }

    #[inline(always)]
    unsafe fn fold_int(a: Self::I) -> i32 {
        fold(a, i32::wrapping_add)
    }

    #[inline(always)]
    unsafe fn mul_int(a: Self::I, b: Self::I) -> Self::I {
        zip(a, b, i32::wrapping_mul)
    }

    #[inline(always)]
    unsafe fn store_i16(to: *mut i16, value: Self::I) {
        // SAFETY: by the trait's contract.
        unsafe { to.cast::<[i16; LANES]>().write_unaligned(map(value, |v| v as i16)) }
    }

    #[inline(always)]
    unsafe fn dot_i16(sum: Self::I, a: Self::I, b: Self::I) -> Self::I {
        let product = |a: i32, b: i32| {
            let ([a0, a1], [b0, b1]) = (halves(a), halves(b));
            (a0 * b0).wrapping_add(a1 * b1)
        };
        zip(sum, zip(a, b, product), i32::wrapping_add)
    }
}
