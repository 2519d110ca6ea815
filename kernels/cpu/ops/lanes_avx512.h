#pragma once
// 16 floats side by side in an AVX-512 register: lanes_avx2.h with half the instructions.
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace lq::kernels {
namespace {

struct LanesAvx512 {
  static constexpr int kLanes = 16;
  struct Mask {
    __mmask16 bits;
  };
  __m512 v;

  static LanesAvx512 all(float v) { return {_mm512_set1_ps(v)}; }
  static LanesAvx512 load(const float* p) { return {_mm512_loadu_ps(p)}; }
  void store(float* p) const { _mm512_storeu_ps(p, v); }
};

inline LanesAvx512 operator+(LanesAvx512 a, LanesAvx512 b) { return {_mm512_add_ps(a.v, b.v)}; }
inline LanesAvx512 operator-(LanesAvx512 a, LanesAvx512 b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline LanesAvx512 operator*(LanesAvx512 a, LanesAvx512 b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline LanesAvx512 operator/(LanesAvx512 a, LanesAvx512 b) { return {_mm512_div_ps(a.v, b.v)}; }
/// a < b ? a : b; b where one of them is not a number.
inline LanesAvx512 least(LanesAvx512 a, LanesAvx512 b) { return {_mm512_min_ps(a.v, b.v)}; }
/// a > b ? a : b; b where one of them is not a number.
inline LanesAvx512 largest(LanesAvx512 a, LanesAvx512 b) { return {_mm512_max_ps(a.v, b.v)}; }
inline LanesAvx512 square_root(LanesAvx512 a) { return {_mm512_sqrt_ps(a.v)}; }
inline LanesAvx512 magnitude(LanesAvx512 a) { return {_mm512_abs_ps(a.v)}; }
inline LanesAvx512 negative(LanesAvx512 a) { return {_mm512_xor_ps(a.v, _mm512_set1_ps(-0.0f))}; }
/// Nearest integer, ties to even: round_even() where that is defined by its result.
inline LanesAvx512 nearest(LanesAvx512 a) {
  return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}

inline LanesAvx512::Mask operator<(LanesAvx512 a, LanesAvx512 b) {
  return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)};
}
inline LanesAvx512::Mask operator<=(LanesAvx512 a, LanesAvx512 b) {
  return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LE_OQ)};
}
inline LanesAvx512::Mask operator==(LanesAvx512 a, LanesAvx512 b) {
  return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ)};
}
inline LanesAvx512::Mask operator&(LanesAvx512::Mask a, LanesAvx512::Mask b) {
  return {_kand_mask16(a.bits, b.bits)};
}
inline LanesAvx512::Mask operator|(LanesAvx512::Mask a, LanesAvx512::Mask b) {
  return {_kor_mask16(a.bits, b.bits)};
}
/// a and not b.
inline LanesAvx512::Mask but_not(LanesAvx512::Mask a, LanesAvx512::Mask b) {
  return {_kandn_mask16(b.bits, a.bits)};
}
inline LanesAvx512 select(LanesAvx512::Mask mask, LanesAvx512 yes, LanesAvx512 no) {
  return {_mm512_mask_blend_ps(mask.bits, no.v, yes.v)};
}
/// Bit i: lane i.
inline unsigned bits_of(LanesAvx512::Mask mask) { return mask.bits; }

/// round_even() of every lane, for all its inputs, then within [least, most], plus `offset`, as
/// bytes.
inline void store_codes(LanesAvx512 a, int least, int most, int offset, std::uint8_t* out) {
  const __m512i bits = _mm512_castps_si512(_mm512_add_ps(a.v, _mm512_set1_ps(12582912.0f)));
  const __m512i whole = _mm512_sub_epi32(_mm512_and_si512(bits, _mm512_set1_epi32(0x7fffff)),
                                         _mm512_set1_epi32(0x400000));
  const __m512i within =
      _mm512_min_epi32(_mm512_max_epi32(whole, _mm512_set1_epi32(least)), _mm512_set1_epi32(most));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out),
                   _mm512_cvtepi32_epi8(_mm512_add_epi32(within, _mm512_set1_epi32(offset))));
}

}  // namespace
}  // namespace lq::kernels
