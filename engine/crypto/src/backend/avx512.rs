//! The AVX-512 instructions as safe methods of the token that proves they exist.
//!
//! This file and `backend.rs` hold all unsafe code of the SIMD backend. What is built on top (field, scalars, Keccak) is
//! ordinary safe code. All methods are `#[inline(always)]`: inside [`super::Lanes::run`] each becomes one
//! instruction.

use super::Avx512;
use crate::field::{LaneMask, PackedPoint, Words};
use core::arch::x86_64::*;

/// A register: one word of 64 bits in each of eight lanes.
pub type Lane8 = __m512i;

/// Declares methods that are one instruction each.
macro_rules! instructions {
    ($($(#[$doc:meta])* fn $name:ident $(<const $n:ident: u32>)? ($($arg:ident: $type:ty),*) -> $out:ty = $code:expr;)*) => {
        impl Avx512 {
            $(
                $(#[$doc])*
                #[inline(always)]
                #[must_use]
                pub fn $name $(<const $n: u32>)? (self, $($arg: $type),*) -> $out {
                    // SAFETY: the token exists only if the processor has the instruction (`Avx512::detect`),
                    // and an instruction between registers has no other condition.
                    unsafe { $code }
                }
            )*
        }
    };
}

instructions! {
    /// The same word in every lane.
    fn all(value: u64) -> Lane8 = _mm512_set1_epi64(value as i64);
    /// Zero in every lane.
    fn zero() -> Lane8 = _mm512_setzero_si512();
    /// `a + b` modulo 2^64.
    fn add(a: Lane8, b: Lane8) -> Lane8 = _mm512_add_epi64(a, b);
    /// `a - b` modulo 2^64.
    fn sub(a: Lane8, b: Lane8) -> Lane8 = _mm512_sub_epi64(a, b);
    /// `acc` + the low 52 bits of the product of the low 52 bits of `a` and `b`.
    fn madd_lo(acc: Lane8, a: Lane8, b: Lane8) -> Lane8 = _mm512_madd52lo_epu64(acc, a, b);
    /// `acc` + bits 52 to 103 of the product of the low 52 bits of `a` and `b`.
    fn madd_hi(acc: Lane8, a: Lane8, b: Lane8) -> Lane8 = _mm512_madd52hi_epu64(acc, a, b);
    /// `a & b`.
    fn and(a: Lane8, b: Lane8) -> Lane8 = _mm512_and_si512(a, b);
    /// `a | b`.
    fn or(a: Lane8, b: Lane8) -> Lane8 = _mm512_or_si512(a, b);
    /// `a ^ b`.
    fn xor(a: Lane8, b: Lane8) -> Lane8 = _mm512_xor_si512(a, b);
    /// `(a & mask) | b`.
    fn and_or(a: Lane8, mask: Lane8, b: Lane8) -> Lane8 = _mm512_ternarylogic_epi64::<0xea>(a, mask, b);
    /// `a ^ b ^ c`.
    fn xor3(a: Lane8, b: Lane8, c: Lane8) -> Lane8 = _mm512_ternarylogic_epi64::<0x96>(a, b, c);
    /// `a ^ (!b & c)`.
    fn chi(a: Lane8, b: Lane8, c: Lane8) -> Lane8 = _mm512_ternarylogic_epi64::<0xd2>(a, b, c);
    /// `a >> N`, zeros from above.
    fn shift_right<const N: u32>(a: Lane8) -> Lane8 = _mm512_srli_epi64::<N>(a);
    /// `a >> N`, the sign from above.
    fn shift_right_signed<const N: u32>(a: Lane8) -> Lane8 = _mm512_srai_epi64::<N>(a);
    /// `a << N`.
    fn shift_left<const N: u32>(a: Lane8) -> Lane8 = _mm512_slli_epi64::<N>(a);
    /// The low words of `(high : low) >> by`, for `by` below 64 in every lane.
    fn shift_right_pair(low: Lane8, high: Lane8, by: Lane8) -> Lane8 = _mm512_shrdv_epi64(low, high, by);
    /// `a` rotated to the left, by less than 64.
    fn rotate_left(a: Lane8, by: Lane8) -> Lane8 = _mm512_rolv_epi64(a, by);
    /// `on` in the lanes of `mask`, `off` in the others.
    fn blend(mask: LaneMask, on: Lane8, off: Lane8) -> Lane8 = _mm512_mask_blend_epi64(mask, off, on);
    /// The lanes with `a == b`.
    fn equal(a: Lane8, b: Lane8) -> LaneMask = _mm512_cmpeq_epi64_mask(a, b);
    /// The lanes with `a >= b`, unsigned.
    fn at_least(a: Lane8, b: Lane8) -> LaneMask = _mm512_cmpge_epu64_mask(a, b);
    /// The lanes with a common bit of `a` and `b`.
    fn any_bit(a: Lane8, b: Lane8) -> LaneMask = _mm512_test_epi64_mask(a, b);
    /// Lanes 0, 2, 4, 6 of `a` and `b`, alternating.
    fn zip_even(a: Lane8, b: Lane8) -> Lane8 = _mm512_unpacklo_epi64(a, b);
    /// Lanes 1, 3, 5, 7 of `a` and `b`, alternating.
    fn zip_odd(a: Lane8, b: Lane8) -> Lane8 = _mm512_unpackhi_epi64(a, b);
    /// Lanes 0, 1 of `a` and `b`, then lanes 4, 5 of `a` and `b`.
    fn halves_low(a: Lane8, b: Lane8) -> Lane8 =
        _mm512_permutex2var_epi64(a, _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13), b);
    /// Lanes 2, 3 of `a` and `b`, then lanes 6, 7 of `a` and `b`.
    fn halves_high(a: Lane8, b: Lane8) -> Lane8 =
        _mm512_permutex2var_epi64(a, _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15), b);
    /// Pairs of lanes 0 and 2 of `a`, then of `b`.
    fn pairs_even(a: Lane8, b: Lane8) -> Lane8 = _mm512_shuffle_i64x2::<0b10_00_10_00>(a, b);
    /// Pairs of lanes 1 and 3 of `a`, then of `b`.
    fn pairs_odd(a: Lane8, b: Lane8) -> Lane8 = _mm512_shuffle_i64x2::<0b11_01_11_01>(a, b);
}

impl Avx512 {
    /// Eight words from memory.
    #[inline(always)]
    pub fn read(self, words: &[u64; 8]) -> Lane8 {
        // SAFETY: the token, and the 64 bytes behind the reference; an unaligned load.
        unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
    }

    /// Eight words to memory.
    #[inline(always)]
    pub fn write(self, a: Lane8, words: &mut [u64; 8]) {
        // SAFETY: the token, and the 64 bytes behind the reference; an unaligned store.
        unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), a) }
    }

    /// The low 16 bits of each lane to memory.
    #[inline(always)]
    pub fn write_u16(self, a: Lane8, out: &mut [u16; 8]) {
        // SAFETY: the token, and the 16 bytes behind the reference; an unaligned store.
        unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), _mm512_cvtepi64_epi16(a)) }
    }

    /// The words of x, then those of y, to a point of a table.
    #[inline(always)]
    pub fn write_point(self, a: Lane8, point: &mut PackedPoint) {
        // SAFETY: the token; a `PackedPoint` is 64 bytes without padding, aligned to 64 (`repr(C, align(64))`), and any
        // 64 bytes are a valid one.
        unsafe { _mm512_store_si512((&raw mut *point).cast(), a) }
    }

    /// One number into lanes 0 to 3, another into lanes 4 to 7.
    #[inline(always)]
    fn read_two(self, low: &Words, high: &Words) -> Lane8 {
        // SAFETY: the token, and the 32 bytes behind each reference; unaligned loads.
        unsafe {
            let low = _mm256_loadu_si256(low.as_ptr().cast());
            let high = _mm256_loadu_si256(high.as_ptr().cast());
            _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
        }
    }

    /// Lanes 0 to 3 into a number.
    #[inline(always)]
    fn write_number(self, a: Lane8, value: &mut Words) {
        // SAFETY: the token, and the 32 bytes behind the reference; an unaligned store.
        unsafe { _mm256_storeu_si256(value.as_mut_ptr().cast(), _mm512_castsi512_si256(a)) }
    }

    /// Numbers 0 and 4, 1 and 5, 2 and 6, 3 and 7, as four registers of words: word `i` of number `lane` becomes
    /// lane `lane` of register `i`.
    #[inline(always)]
    fn spread(self, [r04, r15, r26, r37]: [Lane8; 4]) -> [Lane8; 4] {
        // Each holds an even or an odd word of two numbers, at lanes 0, 1 and 4, 5, and the next one beside it.
        let (e01, o01) = (self.zip_even(r04, r15), self.zip_odd(r04, r15));
        let (e23, o23) = (self.zip_even(r26, r37), self.zip_odd(r26, r37));
        [
            self.halves_low(e01, e23),
            self.halves_low(o01, o23),
            self.halves_high(e01, e23),
            self.halves_high(o01, o23),
        ]
    }

    /// Eight numbers, one a lane, as four registers of words.
    #[inline(always)]
    pub fn read_numbers(self, n: &[Words; 8]) -> [Lane8; 4] {
        self.spread([
            self.read_two(&n[0], &n[4]),
            self.read_two(&n[1], &n[5]),
            self.read_two(&n[2], &n[6]),
            self.read_two(&n[3], &n[7]),
        ])
    }

    /// The x coordinates of eight points, as four registers of words.
    #[inline(always)]
    pub fn read_xs(self, p: &[&PackedPoint; 8]) -> [Lane8; 4] {
        self.spread([
            self.read_two(&p[0].x, &p[4].x),
            self.read_two(&p[1].x, &p[5].x),
            self.read_two(&p[2].x, &p[6].x),
            self.read_two(&p[3].x, &p[7].x),
        ])
    }

    /// The y coordinates of eight points, as four registers of words.
    #[inline(always)]
    pub fn read_ys(self, p: &[&PackedPoint; 8]) -> [Lane8; 4] {
        self.spread([
            self.read_two(&p[0].y, &p[4].y),
            self.read_two(&p[1].y, &p[5].y),
            self.read_two(&p[2].y, &p[6].y),
            self.read_two(&p[3].y, &p[7].y),
        ])
    }

    /// The opposite of [`Avx512::read_numbers`].
    #[inline(always)]
    pub fn write_numbers(self, w: [Lane8; 4], values: &mut [Words; 8]) {
        let zero = self.zero();
        let rows = self.transpose([w[0], w[1], w[2], w[3], zero, zero, zero, zero]);
        for (row, value) in rows.into_iter().zip(values) {
            self.write_number(row, value);
        }
    }

    /// Word `j` of register `i` becomes word `i` of register `j`.
    #[inline(always)]
    pub fn transpose(self, r: [Lane8; 8]) -> [Lane8; 8] {
        // Words of neighbouring rows, then pairs of rows, then fours: an even and an odd half each time.
        let [r0, r1, r2, r3, r4, r5, r6, r7] = r;
        let (e0, o0) = (self.zip_even(r0, r1), self.zip_odd(r0, r1));
        let (e2, o2) = (self.zip_even(r2, r3), self.zip_odd(r2, r3));
        let (e4, o4) = (self.zip_even(r4, r5), self.zip_odd(r4, r5));
        let (e6, o6) = (self.zip_even(r6, r7), self.zip_odd(r6, r7));
        // The digits name the words that a register holds.
        let (t04, t26) = (self.pairs_even(e0, e2), self.pairs_odd(e0, e2));
        let (t15, t37) = (self.pairs_even(o0, o2), self.pairs_odd(o0, o2));
        let (u04, u26) = (self.pairs_even(e4, e6), self.pairs_odd(e4, e6));
        let (u15, u37) = (self.pairs_even(o4, o6), self.pairs_odd(o4, o6));
        [
            self.pairs_even(t04, u04),
            self.pairs_even(t15, u15),
            self.pairs_even(t26, u26),
            self.pairs_even(t37, u37),
            self.pairs_odd(t04, u04),
            self.pairs_odd(t15, u15),
            self.pairs_odd(t26, u26),
            self.pairs_odd(t37, u37),
        ]
    }
}

/// The words of a register, for checks and tests.
pub fn words_of(a: Lane8) -> [u64; 8] {
    // SAFETY: a `__m512i` is 64 bytes of plain data, as eight words are.
    unsafe { core::mem::transmute(a) }
}

/// The opposite of [`words_of`].
pub fn from_words(words: [u64; 8]) -> Lane8 {
    // SAFETY: as for `words_of`.
    unsafe { core::mem::transmute(words) }
}
