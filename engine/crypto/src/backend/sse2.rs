//! The instructions of two words of 64 bits, which every x86-64 processor has, as methods of a token.
//!
//! Compiled only for targets that let all code use these registers; firmware and kernels do not.

use core::arch::x86_64::{
    __m128i, _mm_andnot_si128, _mm_cvtsi32_si128, _mm_cvtsi128_si64, _mm_or_si128, _mm_set_epi64x,
    _mm_set1_epi64x, _mm_sll_epi64, _mm_srl_epi64, _mm_unpackhi_epi64, _mm_xor_si128,
};

/// Two words of 64 bits.
pub type Lane2 = __m128i;

/// The right to use the instructions. Detection is the compiler's: it knows that the target has them.
#[derive(Clone, Copy, Debug)]
pub struct Sse2;

/// Turns instructions into safe methods of the token.
macro_rules! instructions {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $ty:ty),*) -> $out:ty = $call:expr;)*) => {
        impl Sse2 {
            $(
                $(#[$doc])*
                #[inline(always)]
                pub fn $name(self, $($arg: $ty),*) -> $out {
                    // SAFETY: this module exists only if the target's features include sse2.
                    unsafe { $call }
                }
            )*
        }
    };
}

instructions! {
    /// The first word and the second.
    fn pair(first: u64, second: u64) -> Lane2 = _mm_set_epi64x(second as i64, first as i64);
    /// The first word.
    fn first(a: Lane2) -> u64 = _mm_cvtsi128_si64(a) as u64;
    /// The second word.
    fn second(a: Lane2) -> u64 = _mm_cvtsi128_si64(_mm_unpackhi_epi64(a, a)) as u64;
    /// The same word twice.
    fn all(word: u64) -> Lane2 = _mm_set1_epi64x(word as i64);
    /// `a ^ b`.
    fn xor(a: Lane2, b: Lane2) -> Lane2 = _mm_xor_si128(a, b);
    /// `!a & b`.
    fn not_and(a: Lane2, b: Lane2) -> Lane2 = _mm_andnot_si128(a, b);
    /// `a | b`.
    fn or(a: Lane2, b: Lane2) -> Lane2 = _mm_or_si128(a, b);
    /// `a << by`, and zero from 64 on.
    fn shift_left(a: Lane2, by: u32) -> Lane2 = _mm_sll_epi64(a, _mm_cvtsi32_si128(by as i32));
    /// `a >> by`, and zero from 64 on.
    fn shift_right(a: Lane2, by: u32) -> Lane2 = _mm_srl_epi64(a, _mm_cvtsi32_si128(by as i32));
}
