#pragma once
// A unit of a panel, or numbers of its 16 rows, in a register of AVX-512 with VNNI. vnni_rows_256.h
// has the same names.
#include <immintrin.h>

#include "kernels/cpu/ops/load_bytes.h"
#include "kernels/panels/panels.h"

namespace lq::kernels {
namespace {

struct VnniRows512 {
  using Integers = __m512i;  ///< of 8, 16 or 32 bits: the functions' names say which
  using Floats = __m512;
  using Mask = __mmask16;
  static constexpr int kTokens = 8;  ///< whose sums registers hold, beside what is multiplied

  static Integers bytes(int x) { return _mm512_set1_epi8(static_cast<char>(x)); }
  static Integers halves(int x) { return _mm512_set1_epi16(static_cast<short>(x)); }
  static Integers words(int x) { return _mm512_set1_epi32(x); }
  static Floats floats(float x) { return _mm512_set1_ps(x); }
  static Integers broadcast_word(const std::byte* p) { return words(load_as<int>(p)); }
  static Floats broadcast_float(const std::byte* p) { return floats(load_as<float>(p)); }
  static Integers load(const void* p) { return _mm512_loadu_si512(p); }
  static void store(void* p, Integers v) { _mm512_storeu_si512(p, v); }
  static Floats load_floats(const void* p) { return _mm512_loadu_ps(p); }
  static void store_floats(void* p, Floats v) { _mm512_storeu_ps(p, v); }
  static Floats load_halves(const std::byte* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }

  static Integers bits_and(Integers a, Integers b) { return _mm512_and_si512(a, b); }
  static Integers bits_or(Integers a, Integers b) { return _mm512_or_si512(a, b); }
  /// Bytes 0, 2, 4 .. of `even`, the others of `odd`.
  static Integers merge_bytes(Integers even, Integers odd) {
    constexpr __mmask64 kOdd = 0xaaaaaaaaaaaaaaaau;
    return _mm512_mask_blend_epi8(kOdd, even, odd);
  }
  static Integers shift_left_16(Integers v, int n) {
    return _mm512_slli_epi16(v, static_cast<unsigned>(n));
  }
  static Integers shift_right_16(Integers v, int n) {
    return _mm512_srli_epi16(v, static_cast<unsigned>(n));
  }
  static Integers shift_left_32(Integers v, int n) {
    return _mm512_slli_epi32(v, static_cast<unsigned>(n));
  }
  static Integers shift_left_32(Integers v, Integers n) { return _mm512_sllv_epi32(v, n); }
  static Integers shift_right_32(Integers v, int n) {
    return _mm512_srli_epi32(v, static_cast<unsigned>(n));
  }
  /// Copies of the sign come in.
  static Integers shift_signed_right_32(Integers v, int n) {
    return _mm512_srai_epi32(v, static_cast<unsigned>(n));
  }
  static Integers add_16(Integers a, Integers b) { return _mm512_add_epi16(a, b); }
  static Integers add_32(Integers a, Integers b) { return _mm512_add_epi32(a, b); }
  static Integers subtract_32(Integers a, Integers b) { return _mm512_sub_epi32(a, b); }
  /// 0 where the mask has no bit.
  static Integers subtract_32_where(Mask mask, Integers a, Integers b) {
    return _mm512_maskz_sub_epi32(mask, a, b);
  }
  static Integers multiply_16(Integers a, Integers b) { return _mm512_mullo_epi16(a, b); }
  /// Of each row: two products of 16 bits.
  static Integers pair_products(Integers a, Integers b) { return _mm512_madd_epi16(a, b); }
  static Integers add_pair_products(Integers sum, Integers a, Integers b) {
    return _mm512_dpwssd_epi32(sum, a, b);
  }
  /// Of each row: four products of bytes without a sign and bytes with one.
  static Integers add_byte_products(Integers sum, Integers codes, Integers x) {
    return _mm512_dpbusd_epi32(sum, codes, x);
  }

  /// Bytes of 16 rows, without or with a sign, as numbers of 32 bits.
  static Integers words_of(__m128i rows) { return _mm512_cvtepu8_epi32(rows); }
  static Integers words_of_signed(__m128i rows) { return _mm512_cvtepi8_epi32(rows); }
  /// Bytes of 16 rows twice as numbers of 16 bits, the two of a row side by side.
  static Integers pairs_of(__m128i even, __m128i odd) {
    return _mm512_cvtepu8_epi16(_mm256_inserti128_si256(
        _mm256_castsi128_si256(_mm_unpacklo_epi8(even, odd)), _mm_unpackhi_epi8(even, odd), 1));
  }
  static Floats to_floats(Integers v) { return _mm512_cvtepi32_ps(v); }
  /// To the nearest, ties to even.
  static Integers to_words(Floats v) { return _mm512_cvtps_epi32(v); }
  static Floats as_floats(Integers v) { return _mm512_castsi512_ps(v); }
  static Integers as_integers(Floats v) { return _mm512_castps_si512(v); }

  static Floats subtract(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
  static Floats multiply(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
  static Floats divide(Floats a, Floats b) { return _mm512_div_ps(a, b); }
  /// b where one of them is not a number.
  static Floats largest(Floats a, Floats b) { return _mm512_max_ps(a, b); }
  static Floats multiply_add(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
  /// c - a * b, rounded once.
  static Floats multiply_subtract_from(Floats a, Floats b, Floats c) {
    return _mm512_fnmadd_ps(a, b, c);
  }
  static Floats negative(Floats v) { return _mm512_xor_ps(v, floats(-0.0f)); }
  static Floats magnitude(Floats v) {
    return as_floats(bits_and(as_integers(v), words(0x7fffffff)));
  }
  static Mask not_zero(Floats v) {
    return _mm512_test_epi32_mask(as_integers(v), words(0x7fffffff));
  }
};

}  // namespace
}  // namespace lq::kernels
