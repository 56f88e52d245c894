//! Which code runs: detected once, at run time, and carried as a value.
//!
//! SIMD code asks for a token ([`Avx512`]) that only detection can make, so it cannot be called on a
//! processor without the instructions. No compiler flag is needed: [`Lanes::run`] compiles its argument with the
//! features switched on. Detection uses `cpuid` alone and so works without an operating system or `std`.

use crate::field::{PackedPoint, portable::Portable};
use crate::scalar::Scalars;

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
pub mod avx512;

#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
#[allow(unsafe_code)]
pub mod sse2;

/// A computation that runs on any backend.
pub trait Kernel<L: Lanes> {
    /// What it computes.
    type Output;

    /// Computes it. Implementations are `#[inline(always)]`, and so is all they call: only then are they
    /// compiled with the backend's instructions.
    fn run(self, lanes: L) -> Self::Output;
}

/// A backend.
pub trait Lanes: Scalars {
    /// Runs a computation with the backend's instructions switched on.
    fn run<K: Kernel<Self>>(self, kernel: K) -> K::Output;

    /// Asks for a point's cache line ahead of its use. Changes nothing but the time.
    fn prefetch(self, point: &PackedPoint);
}

impl Lanes for Portable {
    #[inline(always)]
    fn run<K: Kernel<Self>>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }

    #[inline(always)]
    fn prefetch(self, point: &PackedPoint) {
        prefetch(point);
    }
}

/// Asks for a cache line, on processors whose instruction for it is known here.
#[allow(unsafe_code)]
#[inline(always)]
fn prefetch(point: &PackedPoint) {
    let address = &raw const *point;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 processor has SSE; a prefetch of any address does nothing but fetch.
    unsafe {
        core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T1 }>(address.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: `prfm` of any address does nothing but fetch: it neither faults nor changes a register, a flag or memory.
    unsafe {
        core::arch::asm!("prfm pldl2keep, [{}]", in(reg) address, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = address;
}

/// Proof that this processor has AVX-512 with IFMA and VBMI2, and that the system keeps the registers.
#[derive(Clone, Copy, Debug)]
pub struct Avx512(());

/// The backends of this crate.
#[derive(Clone, Copy, Debug)]
pub enum Backend {
    /// Plain integers: runs everywhere.
    Portable(Portable),
    /// Eight lanes of AVX-512.
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
}

/// A backend was asked for by name and cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// No backend has this name.
    #[error("there is no such backend, expected portable or avx512")]
    UnknownName,
    /// The processor or the operating system lacks what the backend needs.
    #[error("this machine cannot run the avx512 backend: it needs AVX-512 F, DQ, BW, VL, IFMA and VBMI2")]
    Unsupported,
}

impl Backend {
    /// The fastest backend of this machine.
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(token) = Avx512::detect() {
            return Self::Avx512(token);
        }
        Self::Portable(Portable)
    }

    /// The backend of that name (`portable` or `avx512`), as a configuration gives it.
    pub fn from_name(name: &str) -> Result<Self, BackendError> {
        match name {
            "portable" => Ok(Self::Portable(Portable)),
            #[cfg(target_arch = "x86_64")]
            "avx512" => Avx512::detect().map(Self::Avx512).ok_or(BackendError::Unsupported),
            #[cfg(not(target_arch = "x86_64"))]
            "avx512" => Err(BackendError::Unsupported),
            _ => Err(BackendError::UnknownName),
        }
    }

    /// The name: `portable` or `avx512`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Portable(_) => "portable",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => "avx512",
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod x86 {
    use super::{Avx512, Kernel, Lanes};
    use crate::field::PackedPoint;
    use core::arch::x86_64::{__cpuid, __cpuid_count, _MM_HINT_T1, _mm_prefetch, _xgetbv};
    use spin::Once;

    impl Avx512 {
        /// The token, if this machine may have it.
        pub fn detect() -> Option<Self> {
            // Asked once: under a hypervisor, `cpuid` costs as much as a hundred vouchers.
            static FOUND: Once<bool> = Once::new();
            FOUND.call_once(Self::is_here).then_some(Self(()))
        }

        fn is_here() -> bool {
            // Leaf 7, EBX: F 16, DQ 17, IFMA 21, BW 30, VL 31; ECX: VBMI2 6. (Intel SDM, volume 2, CPUID)
            const EBX: u32 = 1 << 16 | 1 << 17 | 1 << 21 | 1 << 30 | 1 << 31;
            const ECX: u32 = 1 << 6;
            if __cpuid(0).eax < 7 || !system_saves_registers() {
                return false;
            }
            let leaf = __cpuid_count(7, 0);
            leaf.ebx & EBX == EBX && leaf.ecx & ECX == ECX
        }
    }

    /// Whether the operating system saves the AVX-512 registers when it switches threads.
    fn system_saves_registers() -> bool {
        // Leaf 1, ECX: OSXSAVE 27. XCR0: SSE 1, AVX 2, opmask 5, upper halves 6, upper registers 7.
        const OSXSAVE: u32 = 1 << 27;
        const STATE: u64 = 0b1110_0110;
        #[target_feature(enable = "xsave")]
        fn xcr0() -> u64 {
            // SAFETY: register 0 exists wherever `xgetbv` does.
            unsafe { _xgetbv(0) }
        }
        // SAFETY: OSXSAVE says that `xgetbv` may be executed.
        __cpuid(1).ecx & OSXSAVE != 0 && unsafe { xcr0() } & STATE == STATE
    }

    impl Lanes for Avx512 {
        #[inline(always)]
        fn run<K: Kernel<Self>>(self, kernel: K) -> K::Output {
            #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma,avx512vbmi2")]
            fn enabled<K: Kernel<Avx512>>(kernel: K, token: Avx512) -> K::Output {
                kernel.run(token)
            }
            // SAFETY: the token exists only if all these features do.
            unsafe { enabled(kernel, self) }
        }

        #[inline(always)]
        fn prefetch(self, point: &PackedPoint) {
            // SAFETY: every x86-64 processor has SSE; a prefetch of any address does nothing but fetch.
            unsafe { _mm_prefetch::<_MM_HINT_T1>((&raw const *point).cast()) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_is_chosen_by_name() {
        assert!(matches!(Backend::from_name("portable"), Ok(Backend::Portable(_))));
        assert!(matches!(Backend::from_name("AVX512"), Err(BackendError::UnknownName)));
        assert!(matches!(Backend::from_name(""), Err(BackendError::UnknownName)));
        match (Backend::from_name("avx512"), Backend::detect().name()) {
            (Ok(backend), "avx512") => assert_eq!(backend.name(), "avx512"),
            (Err(BackendError::Unsupported), "portable") => {}
            (found, detected) => panic!("{found:?}, but {detected} was detected"),
        }
    }
}
