#pragma once
// A unit of a panel, or numbers of its 16 rows, in two registers of AVX2: rows 0 .. 7 and 8 .. 15.
// The names are those of vnni_rows_512.h. How codes are multiplied is Products, for one register:
//
//   bytes(sum, codes, x)  sum + four products of bytes without a sign and bytes with one
//   pairs(sum, a, b)      sum + two products of 16 bits
#include <immintrin.h>

#include "kernels/cpu/ops/load_bytes.h"
#include "kernels/panels/panels.h"

namespace lq::kernels {
namespace {

template <class Products>
struct VnniRows256 {
  // Copied register by register: g++ moves arrays of plain structures in parts.
  struct Integers {
    __m256i half[2];
    Integers() = default;
    Integers(__m256i low, __m256i high) : half{low, high} {}
    Integers(const Integers& v) : half{v.half[0], v.half[1]} {}
    Integers& operator=(const Integers& v) {
      half[0] = v.half[0], half[1] = v.half[1];
      return *this;
    }
  };
  struct Floats {
    __m256 half[2];
    Floats() = default;
    Floats(__m256 low, __m256 high) : half{low, high} {}
    Floats(const Floats& v) : half{v.half[0], v.half[1]} {}
    Floats& operator=(const Floats& v) {
      half[0] = v.half[0], half[1] = v.half[1];
      return *this;
    }
  };
  using Mask = Integers;
  static constexpr int kTokens = 4;

  static Integers bytes(int x) {
    return both([&](int) { return _mm256_set1_epi8(static_cast<char>(x)); });
  }
  static Integers halves(int x) {
    return both([&](int) { return _mm256_set1_epi16(static_cast<short>(x)); });
  }
  static Integers words(int x) {
    return both([&](int) { return _mm256_set1_epi32(x); });
  }
  static Floats floats(float x) {
    return both([&](int) { return _mm256_set1_ps(x); });
  }
  static Integers broadcast_word(const std::byte* p) { return words(load_as<int>(p)); }
  static Floats broadcast_float(const std::byte* p) { return floats(load_as<float>(p)); }
  static Integers load(const void* p) {
    const auto* const from = static_cast<const __m256i*>(p);
    return both([&](int i) { return _mm256_loadu_si256(from + i); });
  }
  static void store(void* p, Integers v) {
    for (int i = 0; i < 2; ++i) _mm256_storeu_si256(static_cast<__m256i*>(p) + i, v.half[i]);
  }
  static Floats load_floats(const void* p) { return as_floats(load(p)); }
  static void store_floats(void* p, Floats v) { store(p, as_integers(v)); }
  static Floats load_halves(const std::byte* p) {
    return both([&](int i) { return _mm256_cvtph_ps(load_16_bytes(p + 16 * i)); });
  }

  static Integers bits_and(Integers a, Integers b) {
    return both([&](int i) { return _mm256_and_si256(a.half[i], b.half[i]); });
  }
  static Integers bits_or(Integers a, Integers b) {
    return both([&](int i) { return _mm256_or_si256(a.half[i], b.half[i]); });
  }
  static Integers merge_bytes(Integers even, Integers odd) {
    const Integers lower = halves(0x00ff);
    return both([&](int i) {
      return _mm256_or_si256(_mm256_and_si256(lower.half[i], even.half[i]),
                             _mm256_andnot_si256(lower.half[i], odd.half[i]));
    });
  }
  static Integers shift_left_16(Integers v, int n) {
    return both([&](int i) { return _mm256_slli_epi16(v.half[i], n); });
  }
  static Integers shift_right_16(Integers v, int n) {
    return both([&](int i) { return _mm256_srli_epi16(v.half[i], n); });
  }
  static Integers shift_left_32(Integers v, int n) {
    return both([&](int i) { return _mm256_slli_epi32(v.half[i], n); });
  }
  static Integers shift_left_32(Integers v, Integers n) {
    return both([&](int i) { return _mm256_sllv_epi32(v.half[i], n.half[i]); });
  }
  static Integers shift_right_32(Integers v, int n) {
    return both([&](int i) { return _mm256_srli_epi32(v.half[i], n); });
  }
  static Integers shift_signed_right_32(Integers v, int n) {
    return both([&](int i) { return _mm256_srai_epi32(v.half[i], n); });
  }
  static Integers add_16(Integers a, Integers b) {
    return both([&](int i) { return _mm256_add_epi16(a.half[i], b.half[i]); });
  }
  static Integers add_32(Integers a, Integers b) {
    return both([&](int i) { return _mm256_add_epi32(a.half[i], b.half[i]); });
  }
  static Integers subtract_32(Integers a, Integers b) {
    return both([&](int i) { return _mm256_sub_epi32(a.half[i], b.half[i]); });
  }
  static Integers subtract_32_where(Mask mask, Integers a, Integers b) {
    return bits_and(mask, subtract_32(a, b));
  }
  static Integers multiply_16(Integers a, Integers b) {
    return both([&](int i) { return _mm256_mullo_epi16(a.half[i], b.half[i]); });
  }
  static Integers pair_products(Integers a, Integers b) {
    return both([&](int i) { return _mm256_madd_epi16(a.half[i], b.half[i]); });
  }
  static Integers add_pair_products(Integers sum, Integers a, Integers b) {
    return both([&](int i) { return Products::pairs(sum.half[i], a.half[i], b.half[i]); });
  }
  static Integers add_byte_products(Integers sum, Integers codes, Integers x) {
    return both([&](int i) { return Products::bytes(sum.half[i], codes.half[i], x.half[i]); });
  }

  static Integers words_of(__m128i rows) {
    return pair(_mm256_cvtepu8_epi32(rows), _mm256_cvtepu8_epi32(_mm_unpackhi_epi64(rows, rows)));
  }
  static Integers words_of_signed(__m128i rows) {
    return pair(_mm256_cvtepi8_epi32(rows), _mm256_cvtepi8_epi32(_mm_unpackhi_epi64(rows, rows)));
  }
  static Integers pairs_of(__m128i even, __m128i odd) {
    return pair(_mm256_cvtepu8_epi16(_mm_unpacklo_epi8(even, odd)),
                _mm256_cvtepu8_epi16(_mm_unpackhi_epi8(even, odd)));
  }
  static Floats to_floats(Integers v) {
    return both([&](int i) { return _mm256_cvtepi32_ps(v.half[i]); });
  }
  static Integers to_words(Floats v) {
    return both([&](int i) { return _mm256_cvtps_epi32(v.half[i]); });
  }
  static Floats as_floats(Integers v) {
    return both([&](int i) { return _mm256_castsi256_ps(v.half[i]); });
  }
  static Integers as_integers(Floats v) {
    return both([&](int i) { return _mm256_castps_si256(v.half[i]); });
  }

  static Floats subtract(Floats a, Floats b) {
    return both([&](int i) { return _mm256_sub_ps(a.half[i], b.half[i]); });
  }
  static Floats multiply(Floats a, Floats b) {
    return both([&](int i) { return _mm256_mul_ps(a.half[i], b.half[i]); });
  }
  static Floats divide(Floats a, Floats b) {
    return both([&](int i) { return _mm256_div_ps(a.half[i], b.half[i]); });
  }
  static Floats largest(Floats a, Floats b) {
    return both([&](int i) { return _mm256_max_ps(a.half[i], b.half[i]); });
  }
  static Floats multiply_add(Floats a, Floats b, Floats c) {
    return both([&](int i) { return _mm256_fmadd_ps(a.half[i], b.half[i], c.half[i]); });
  }
  static Floats multiply_subtract_from(Floats a, Floats b, Floats c) {
    return both([&](int i) { return _mm256_fnmadd_ps(a.half[i], b.half[i], c.half[i]); });
  }
  static Floats negative(Floats v) {
    return both([&](int i) { return _mm256_xor_ps(v.half[i], _mm256_set1_ps(-0.0f)); });
  }
  static Floats magnitude(Floats v) {
    return both([&](int i) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), v.half[i]); });
  }
  static Mask not_zero(Floats v) {
    const __m256 zero = _mm256_setzero_ps();
    return as_integers(both([&](int i) { return _mm256_cmp_ps(v.half[i], zero, _CMP_NEQ_UQ); }));
  }

 private:
  static Integers pair(__m256i low, __m256i high) { return {low, high}; }
  static Floats pair(__m256 low, __m256 high) { return {low, high}; }
  /// of_half(0) and of_half(1).
  template <class OfHalf>
  static auto both(const OfHalf& of_half) {
    return pair(of_half(0), of_half(1));
  }
};

}  // namespace
}  // namespace lq::kernels
