#pragma once
// 16 floats of AVX-512: floats_avx2.h with half the instructions.
#include "kernels/cpu/ops/floats_avx2.h"

namespace lq::kernels {
namespace {

struct Floats16 {
  using Value = __m512;
  using Mask = __mmask16;
  static constexpr int kLanes = 16;
  static constexpr int kTileRows = 8;         ///< of a product: 8 rows x 3 registers and 4 more
  static constexpr int kParts = 16 / kLanes;  ///< of a column of a panel
  static constexpr int kStreamSums = 16;      ///< of panels: float_products.h
  static constexpr int kStreamTokens = 4;
  static constexpr int kTileSums = 24, kTileParallel = 4, kMostTileTokens = 8;
  static constexpr int kManyTokens = 16;

  static Value zero() { return _mm512_setzero_ps(); }
  static Value all(float x) { return _mm512_set1_ps(x); }
  static Value load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, Value x) { _mm512_storeu_ps(p, x); }
  static Value add(Value a, Value b) { return _mm512_add_ps(a, b); }
  static Value multiply(Value a, Value b) { return _mm512_mul_ps(a, b); }
  static Value multiply_add(Value a, Value b, Value c) { return _mm512_fmadd_ps(a, b, c); }
  /// b where one of them is not a number.
  static Value largest(Value a, Value b) { return _mm512_max_ps(a, b); }
  static Mask less(Value a, Value b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
  static Value select(Mask mask, Value yes, Value no) {
    return _mm512_mask_blend_ps(mask, no, yes);
  }

  static Value halves(const void* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
  }
  static Value bytes(const std::int8_t* p) {
    return _mm512_cvtepi32_ps(
        _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }
  static Value times_power(Value x, Value shifted) {
    return _mm512_castsi512_ps(_mm512_add_epi32(
        _mm512_castps_si512(x), _mm512_slli_epi32(_mm512_castps_si512(shifted), 23)));
  }

  static __m256 sums_of_8(const Value* x) {
    __m256 folded[8];
    for (int i = 0; i < 8; ++i)
      folded[i] = _mm256_add_ps(_mm512_castps512_ps256(x[i]), _mm512_extractf32x8_ps(x[i], 1));
    return Floats8::sums_of_8(folded);
  }
};

}  // namespace
}  // namespace lq::kernels
