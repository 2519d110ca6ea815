#pragma once
// 16 floats side by side in two AVX2 registers: the searches of encoders (search_lanes.h) run with
// a group in each lane. Every operation is one binary32 operation in each lane.
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace lq::kernels {
namespace {

struct LanesAvx2 {
  static constexpr int kLanes = 16;
  struct Mask {
    __m256 low, high;
  };
  __m256 low, high;

  static LanesAvx2 all(float v) { return {_mm256_set1_ps(v), _mm256_set1_ps(v)}; }
  static LanesAvx2 load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  void store(float* p) const {
    _mm256_storeu_ps(p, low);
    _mm256_storeu_ps(p + 8, high);
  }
};

inline LanesAvx2 operator+(LanesAvx2 a, LanesAvx2 b) {
  return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)};
}
inline LanesAvx2 operator-(LanesAvx2 a, LanesAvx2 b) {
  return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)};
}
inline LanesAvx2 operator*(LanesAvx2 a, LanesAvx2 b) {
  return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)};
}
inline LanesAvx2 operator/(LanesAvx2 a, LanesAvx2 b) {
  return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)};
}
/// a < b ? a : b; b where one of them is not a number.
inline LanesAvx2 least(LanesAvx2 a, LanesAvx2 b) {
  return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)};
}
/// a > b ? a : b; b where one of them is not a number.
inline LanesAvx2 largest(LanesAvx2 a, LanesAvx2 b) {
  return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)};
}
inline LanesAvx2 square_root(LanesAvx2 a) {
  return {_mm256_sqrt_ps(a.low), _mm256_sqrt_ps(a.high)};
}
inline LanesAvx2 magnitude(LanesAvx2 a) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_andnot_ps(sign, a.low), _mm256_andnot_ps(sign, a.high)};
}
inline LanesAvx2 negative(LanesAvx2 a) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_xor_ps(sign, a.low), _mm256_xor_ps(sign, a.high)};
}
/// Nearest integer, ties to even: round_even() where that is defined by its result.
inline LanesAvx2 nearest(LanesAvx2 a) {
  constexpr int kMode = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return {_mm256_round_ps(a.low, kMode), _mm256_round_ps(a.high, kMode)};
}

inline LanesAvx2::Mask operator<(LanesAvx2 a, LanesAvx2 b) {
  return {_mm256_cmp_ps(a.low, b.low, _CMP_LT_OQ), _mm256_cmp_ps(a.high, b.high, _CMP_LT_OQ)};
}
inline LanesAvx2::Mask operator<=(LanesAvx2 a, LanesAvx2 b) {
  return {_mm256_cmp_ps(a.low, b.low, _CMP_LE_OQ), _mm256_cmp_ps(a.high, b.high, _CMP_LE_OQ)};
}
inline LanesAvx2::Mask operator==(LanesAvx2 a, LanesAvx2 b) {
  return {_mm256_cmp_ps(a.low, b.low, _CMP_EQ_OQ), _mm256_cmp_ps(a.high, b.high, _CMP_EQ_OQ)};
}
inline LanesAvx2::Mask operator&(LanesAvx2::Mask a, LanesAvx2::Mask b) {
  return {_mm256_and_ps(a.low, b.low), _mm256_and_ps(a.high, b.high)};
}
inline LanesAvx2::Mask operator|(LanesAvx2::Mask a, LanesAvx2::Mask b) {
  return {_mm256_or_ps(a.low, b.low), _mm256_or_ps(a.high, b.high)};
}
/// a and not b.
inline LanesAvx2::Mask but_not(LanesAvx2::Mask a, LanesAvx2::Mask b) {
  return {_mm256_andnot_ps(b.low, a.low), _mm256_andnot_ps(b.high, a.high)};
}
inline LanesAvx2 select(LanesAvx2::Mask mask, LanesAvx2 yes, LanesAvx2 no) {
  return {_mm256_blendv_ps(no.low, yes.low, mask.low),
          _mm256_blendv_ps(no.high, yes.high, mask.high)};
}
/// Bit i: lane i.
inline unsigned bits_of(LanesAvx2::Mask mask) {
  return static_cast<unsigned>(_mm256_movemask_ps(mask.low)) |
         static_cast<unsigned>(_mm256_movemask_ps(mask.high)) << 8;
}

/// round_even() of every lane, for all its inputs, then within [least, most], plus `offset`, as
/// bytes.
inline void store_codes(LanesAvx2 a, int least, int most, int offset, std::uint8_t* out) {
  const auto code = [=](__m256 v) {
    const __m256i bits = _mm256_castps_si256(_mm256_add_ps(v, _mm256_set1_ps(12582912.0f)));
    const __m256i whole = _mm256_sub_epi32(_mm256_and_si256(bits, _mm256_set1_epi32(0x7fffff)),
                                           _mm256_set1_epi32(0x400000));
    const __m256i within = _mm256_min_epi32(_mm256_max_epi32(whole, _mm256_set1_epi32(least)),
                                            _mm256_set1_epi32(most));
    return _mm256_add_epi32(within, _mm256_set1_epi32(offset));
  };
  const __m256i words = _mm256_packs_epi32(code(a.low), code(a.high));
  const __m256i in_order = _mm256_permute4x64_epi64(words, 0xd8);
  _mm_storeu_si128(
      reinterpret_cast<__m128i*>(out),
      _mm_packus_epi16(_mm256_castsi256_si128(in_order), _mm256_extracti128_si256(in_order, 1)));
}

}  // namespace
}  // namespace lq::kernels
