//! The arithmetic of engines and heads in vectors, the same bits on every CPU.
//!
//! Kernels are written once over 16 lanes of a `simd::Simd`; implementations differ in registers only. Sums of integers
//! are exact; an f32 output is one chain over k ascending, or lane by lane and then by halves; products are not fused with
//! sums; division and square root are those of IEEE 754, and powers of two and GELU are our own polynomials.

pub(in crate::engine) mod attention;
pub mod dense;
pub(in crate::engine) mod elementwise;
pub mod probe;
pub(in crate::engine) mod product;
pub(in crate::engine) mod simd;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
pub(in crate::engine) mod x86;

use std::fmt;

use simd::Simd;

/// Instructions that kernels run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kernel {
    /// Plain Rust for any CPU
    Scalar,
    /// 256-bit vectors of x86-64
    Avx2,
    /// The same with 8-bit products
    #[value(name = "avxvnni")]
    AvxVnni,
    /// 512-bit vectors with 8-bit products
    #[value(name = "avx512vnni")]
    Avx512Vnni,
}

impl Kernel {
    /// All kernels, the fastest last.
    pub const ALL: [Kernel; 4] = [Kernel::Scalar, Kernel::Avx2, Kernel::AvxVnni, Kernel::Avx512Vnni];

    /// The name that `--kernel` takes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kernel::Scalar => "scalar",
            Kernel::Avx2 => "avx2",
            Kernel::AvxVnni => "avxvnni",
            Kernel::Avx512Vnni => "avx512vnni",
        }
    }

    /// Whether this CPU has the instructions.
    #[must_use]
    pub fn is_supported(self) -> bool {
        match self {
            Kernel::Scalar => simd::Portable::detected(),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => x86::Avx2::detected(),
            #[cfg(target_arch = "x86_64")]
            Kernel::AvxVnni => x86::AvxVnni::detected(),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512Vnni => x86::Avx512Vnni::detected(),
            #[cfg(not(target_arch = "x86_64"))]
            _ => false,
        }
    }

    /// The fastest kernel of this CPU.
    #[must_use]
    pub fn best() -> Self {
        *Kernel::ALL.iter().rfind(|kernel| kernel.is_supported()).unwrap_or(&Kernel::Scalar)
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Evaluates `$body` with `$simd` for the implementation of `$kernel`, which this CPU must have.
macro_rules! with_kernel {
    ($kernel:expr, $simd:ident => $body:expr) => {
        match $kernel {
            $crate::engine::kernel::Kernel::Scalar => {
                type $simd = $crate::engine::kernel::simd::Portable;
                $body
            }
            #[cfg(target_arch = "x86_64")]
            $crate::engine::kernel::Kernel::Avx2 => {
                type $simd = $crate::engine::kernel::x86::Avx2;
                $body
            }
            #[cfg(target_arch = "x86_64")]
            $crate::engine::kernel::Kernel::AvxVnni => {
                type $simd = $crate::engine::kernel::x86::AvxVnni;
                $body
            }
            #[cfg(target_arch = "x86_64")]
            $crate::engine::kernel::Kernel::Avx512Vnni => {
                type $simd = $crate::engine::kernel::x86::Avx512Vnni;
                $body
            }
            #[cfg(not(target_arch = "x86_64"))]
            other => unreachable!("the kernel `{other}` is not supported here"),
        }
    };
}
pub(in crate::engine) use with_kernel;
