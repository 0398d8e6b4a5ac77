//! The vectors of x86-64: AVX2, AVX-VNNI (256 bits), AVX-512 with VNNI.
//!
//! AVX2 multiplies 8-bit numbers widened to 16 bits (`vpmaddwd`), so that nothing saturates; VNNI multiplies them as they
//! are (`vpdpbusd`). Both yield the exact sum.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::simd::{Op, Simd, widened_products};

/// AVX2.
#[derive(Clone, Copy)]
pub(in crate::engine) struct Avx2;

/// AVX2 and AVX-VNNI.
#[derive(Clone, Copy)]
pub(in crate::engine) struct AvxVnni;

/// AVX-512 F, BW, DQ and VNNI.
#[derive(Clone, Copy)]
pub(in crate::engine) struct Avx512Vnni;

/// Applies an intrinsic to both halves of 16 lanes.
macro_rules! halves {
    ($f:ident, $a:expr) => {
        ($f($a.0), $f($a.1))
    };
    ($f:ident, $a:expr, $b:expr) => {
        ($f($a.0, $b.0), $f($a.1, $b.1))
    };
}

/// Folds 8 lanes by halves.
macro_rules! fold_half {
    ($a:expr, $f:ident) => {{
        let a = $a;
        let four = $f(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
        let two = $f(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32($f(two, _mm_shuffle_ps::<1>(two, two)))
    }};
}

/// The sum of 8 lanes.
#[inline(always)]
unsafe fn fold_half_int(a: __m256i) -> i32 {
    // SAFETY: the caller's CPU has AVX2.
    unsafe {
        let four = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256::<1>(a));
        let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b11_10_11_10>(four));
        _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<1>(two)))
    }
}

/// What AVX2 and AVX-VNNI share. A vector is a pair of registers, lanes 0–7 and 8–15.
macro_rules! two_registers {
    () => {
        const TILE_ROWS: usize = 6;
        const TILE_PANELS: usize = 1;
        const TALL_ROWS: usize = 6;
        const TALL_PANELS: usize = 1;
        type F = (__m256, __m256);
        type I = (__m256i, __m256i);

        #[inline(always)]
        unsafe fn splat(value: f32) -> Self::F {
            // SAFETY: by the trait's contract the CPU has AVX2; so below.
            unsafe { (_mm256_set1_ps(value), _mm256_set1_ps(value)) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self::F {
            // SAFETY: by the trait's contract the lanes may be read.
            unsafe { (_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))) }
        }

        #[inline(always)]
        unsafe fn store(to: *mut f32, value: Self::F) {
            // SAFETY: by the trait's contract the lanes may be written.
            unsafe {
                _mm256_storeu_ps(to, value.0);
                _mm256_storeu_ps(to.add(8), value.1);
            }
        }

        #[inline(always)]
        unsafe fn add(a: Self::F, b: Self::F) -> Self::F {
            // SAFETY: as above.
            unsafe { halves!(_mm256_add_ps, a, b) }
        }

        #[inline(always)]
        unsafe fn sub(a: Self::F, b: Self::F) -> Self::F {
            // SAFETY: as above.
            unsafe { halves!(_mm256_sub_ps, a, b) }
        }

        #[inline(always)]
        unsafe fn mul(a: Self::F, b: Self::F) -> Self::F {
            // SAFETY: as above.
            unsafe { halves!(_mm256_mul_ps, a, b) }
        }

        #[inline(always)]
        unsafe fn max(a: Self::F, b: Self::F) -> Self::F {
            // SAFETY: as above.
            unsafe { halves!(_mm256_max_ps, a, b) }
        }

        #[inline(always)]
        unsafe fn min(a: Self::F, b: Self::F) -> Self::F {
            // SAFETY: as above.
            unsafe { halves!(_mm256_min_ps, a, b) }
        }

        #[inline(always)]
        unsafe fn fold_add(a: Self::F) -> f32 {
            // SAFETY: as above.
            unsafe { fold_half!(_mm256_add_ps(a.0, a.1), _mm_add_ps) }
        }

        #[inline(always)]
        unsafe fn fold_max(a: Self::F) -> f32 {
            // SAFETY: as above.
            unsafe { fold_half!(_mm256_max_ps(a.0, a.1), _mm_max_ps) }
        }

        #[inline(always)]
        unsafe fn fold_min(a: Self::F) -> f32 {
            // SAFETY: as above.
            unsafe { fold_half!(_mm256_min_ps(a.0, a.1), _mm_min_ps) }
        }

        #[inline(always)]
        unsafe fn round(a: Self::F) -> Self::I {
            // SAFETY: as above. The rounding mode is the default one, to nearest even.
            unsafe { halves!(_mm256_cvtps_epi32, a) }
        }

        #[inline(always)]
        unsafe fn to_float(a: Self::I) -> Self::F {
            // SAFETY: as above.
            unsafe { halves!(_mm256_cvtepi32_ps, a) }
        }

        #[inline(always)]
        unsafe fn power_of_two(shifted: Self::F) -> Self::F {
            // SAFETY: as above.
            unsafe {
                let of = |s| _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_castps_si256(s)));
                (of(shifted.0), of(shifted.1))
            }
        }

        #[inline(always)]
        unsafe fn splat_int(value: i32) -> Self::I {
            // SAFETY: as above.
            unsafe { (_mm256_set1_epi32(value), _mm256_set1_epi32(value)) }
        }

        #[inline(always)]
        unsafe fn load_int(from: *const i32) -> Self::I {
            // SAFETY: by the trait's contract the lanes may be read.
            unsafe { (_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(8).cast())) }
        }

        #[inline(always)]
        unsafe fn store_int(to: *mut i32, value: Self::I) {
            // SAFETY: by the trait's contract the lanes may be written.
            unsafe {
                _mm256_storeu_si256(to.cast(), value.0);
                _mm256_storeu_si256(to.add(8).cast(), value.1);
            }
        }

        #[inline(always)]
        unsafe fn add_int(a: Self::I, b: Self::I) -> Self::I {
            // SAFETY: as above.
            unsafe { halves!(_mm256_add_epi32, a, b) }
        }

        #[inline(always)]
        unsafe fn sub_int(a: Self::I, b: Self::I) -> Self::I {
            // SAFETY: as above.
            unsafe { halves!(_mm256_sub_epi32, a, b) }
        }

        #[inline(always)]
        unsafe fn fold_int(a: Self::I) -> i32 {
            // SAFETY: as above.
            unsafe { fold_half_int(_mm256_add_epi32(a.0, a.1)) }
        }

        #[inline(always)]
        unsafe fn mul_int(a: Self::I, b: Self::I) -> Self::I {
            // SAFETY: as above.
            unsafe { halves!(_mm256_mullo_epi32, a, b) }
        }

        #[inline(always)]
        unsafe fn store_i16(to: *mut i16, value: Self::I) {
            // SAFETY: by the trait's contract 16 values may be written.
            unsafe { _mm256_storeu_si256(to.cast(), to_i16(value)) }
        }

        #[inline(always)]
        unsafe fn dot_i16(sum: Self::I, a: Self::I, b: Self::I) -> Self::I {
            // SAFETY: as above.
            unsafe { Self::add_int(sum, halves!(_mm256_madd_epi16, a, b)) }
        }
    };
}

/// 16 lanes within the range of i16, as i16.
#[inline(always)]
unsafe fn to_i16(value: (__m256i, __m256i)) -> __m256i {
    // SAFETY: the caller's CPU has AVX2. Packing works within halves of 128 bits; the permutation puts them in order.
    unsafe { _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(value.0, value.1)) }
}

impl Simd for Avx2 {
    widened_products!();
    two_registers!();

    fn detected() -> bool {
        is_x86_feature_detected!("avx2")
    }

    unsafe fn enter<O: Op<Self>>(op: O) {
        #[target_feature(enable = "avx2")]
        unsafe fn inside<O: Op<Avx2>>(op: O) {
            // SAFETY: this function has the feature.
            unsafe { op.run() }
        }
        // SAFETY: by the trait's contract the CPU has it.
        unsafe { inside(op) }
    }
}

impl Simd for AvxVnni {
    const GROUP: usize = 4;
    type Activation = u8;
    type Weight = i8;

    two_registers!();

    fn detected() -> bool {
        is_x86_feature_detected!("avx2") && is_x86_feature_detected!("avxvnni")
    }

    unsafe fn enter<O: Op<Self>>(op: O) {
        #[target_feature(enable = "avx2,avxvnni")]
        unsafe fn inside<O: Op<AvxVnni>>(op: O) {
            // SAFETY: this function has the features.
            unsafe { op.run() }
        }
        // SAFETY: by the trait's contract the CPU has them.
        unsafe { inside(op) }
    }

    #[inline(always)]
    unsafe fn store_activations(to: *mut u8, value: Self::I) {
        // SAFETY: by the trait's contract 16 bytes may be written.
        unsafe {
            let words = to_i16(value);
            let bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
            _mm_storeu_si128(to.cast(), bytes);
        }
    }

    #[inline(always)]
    unsafe fn dot(sum: Self::I, activations: Self::I, weights: Self::I) -> Self::I {
        // SAFETY: the CPU has AVX-VNNI by the trait's contract.
        unsafe {
            (
                _mm256_dpbusd_avx_epi32(sum.0, activations.0, weights.0),
                _mm256_dpbusd_avx_epi32(sum.1, activations.1, weights.1),
            )
        }
    }
}

impl Simd for Avx512Vnni {
    const GROUP: usize = 4;
    const TILE_ROWS: usize = 6;
    const TILE_PANELS: usize = 4;
    const TALL_ROWS: usize = 12;
    const TALL_PANELS: usize = 2;
    type Activation = u8;
    type Weight = i8;
    type F = __m512;
    type I = __m512i;

    fn detected() -> bool {
        is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vnni")
    }

    unsafe fn enter<O: Op<Self>>(op: O) {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vnni")]
        unsafe fn inside<O: Op<Avx512Vnni>>(op: O) {
            // SAFETY: this function has the features.
            unsafe { op.run() }
        }
        // SAFETY: by the trait's contract the CPU has them.
        unsafe { inside(op) }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::F {
        // SAFETY: by the trait's contract the CPU has AVX-512; so below.
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::F {
        // SAFETY: by the trait's contract the lanes may be read.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, value: Self::F) {
        // SAFETY: by the trait's contract the lanes may be written.
        unsafe { _mm512_storeu_ps(to, value) }
    }

    #[inline(always)]
    unsafe fn add(a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: as above.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn sub(a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: as above.
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: as above.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn max(a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: as above.
        unsafe { _mm512_max_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn min(a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: as above.
        unsafe { _mm512_min_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn fold_add(a: Self::F) -> f32 {
        // SAFETY: as above.
        unsafe { fold_half!(_mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps::<1>(a)), _mm_add_ps) }
    }

    #[inline(always)]
    unsafe fn fold_max(a: Self::F) -> f32 {
        // SAFETY: as above.
        unsafe { fold_half!(_mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps::<1>(a)), _mm_max_ps) }
    }

    #[inline(always)]
    unsafe fn fold_min(a: Self::F) -> f32 {
        // SAFETY: as above.
        unsafe { fold_half!(_mm256_min_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps::<1>(a)), _mm_min_ps) }
    }

    #[inline(always)]
    unsafe fn round(a: Self::F) -> Self::I {
        // SAFETY: as above. The rounding mode is the default one, to nearest even.
        unsafe { _mm512_cvtps_epi32(a) }
    }

    #[inline(always)]
    unsafe fn to_float(a: Self::I) -> Self::F {
        // SAFETY: as above.
        unsafe { _mm512_cvtepi32_ps(a) }
    }

    #[inline(always)]
    unsafe fn power_of_two(shifted: Self::F) -> Self::F {
        // SAFETY: as above.
        unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_castps_si512(shifted))) }
    }

    #[inline(always)]
    unsafe fn splat_int(value: i32) -> Self::I {
        // SAFETY: as above.
        unsafe { _mm512_set1_epi32(value) }
    }

    #[inline(always)]
    unsafe fn load_int(from: *const i32) -> Self::I {
        // SAFETY: by the trait's contract the lanes may be read.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    unsafe fn store_int(to: *mut i32, value: Self::I) {
        // SAFETY: by the trait's contract the lanes may be written.
        unsafe { _mm512_storeu_si512(to.cast(), value) }
    }

    #[inline(always)]
    unsafe fn add_int(a: Self::I, b: Self::I) -> Self::I {
        // SAFETY: as above.
        unsafe { _mm512_add_epi32(a, b) }
    }

    #[inline(always)]
    unsafe fn sub_int(a: Self::I, b: Self::I) -> Self::I {
        // SAFETY: as above.
        unsafe { _mm512_sub_epi32(a, b) }
    }

    #[inline(always)]
    unsafe fn fold_int(a: Self::I) -> i32 {
        // SAFETY: as above.
        unsafe { fold_half_int(_mm256_add_epi32(_mm512_castsi512_si256(a), _mm512_extracti64x4_epi64::<1>(a))) }
    }

    #[inline(always)]
    unsafe fn mul_int(a: Self::I, b: Self::I) -> Self::I {
        // SAFETY: as above.
        unsafe { _mm512_mullo_epi32(a, b) }
    }

    #[inline(always)]
    unsafe fn store_activations(to: *mut u8, value: Self::I) {
        // SAFETY: by the trait's contract 16 bytes may be written.
        unsafe { _mm_storeu_si128(to.cast(), _mm512_cvtepi32_epi8(value)) }
    }

    #[inline(always)]
    unsafe fn store_i16(to: *mut i16, value: Self::I) {
        // SAFETY: by the trait's contract 16 values may be written.
        unsafe { _mm256_storeu_si256(to.cast(), _mm512_cvtepi32_epi16(value)) }
    }

    #[inline(always)]
    unsafe fn dot(sum: Self::I, activations: Self::I, weights: Self::I) -> Self::I {
        // SAFETY: the CPU has VNNI by the trait's contract.
        unsafe { _mm512_dpbusd_epi32(sum, activations, weights) }
    }

    #[inline(always)]
    unsafe fn dot_i16(sum: Self::I, a: Self::I, b: Self::I) -> Self::I {
        // SAFETY: VNNI has 16-bit products, too.
        unsafe { _mm512_dpwssd_epi32(sum, a, b) }
    }
}
