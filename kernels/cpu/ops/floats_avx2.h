#pragma once
// 8 floats of AVX2 under the names that attention_*.h use. Values are bare registers: g++ moves
// arrays of structures of registers in parts.
#include "kernels/cpu/ops/vector_avx2.h"

namespace lq::kernels {
namespace {

struct Floats8 {
  using Value = __m256;
  using Mask = __m256;
  static constexpr int kLanes = 8;
  static constexpr int kTileRows = 4;         ///< of a product: 4 rows x 3 registers and 4 more
  static constexpr int kParts = 16 / kLanes;  ///< of a column of a panel
  static constexpr int kStreamSums = 8;       ///< of panels: float_products.h
  static constexpr int kStreamTokens = 2;
  static constexpr int kTileSums = 12, kTileParallel = 2, kMostTileTokens = 3;
  static constexpr int kManyTokens = 6;

  static Value zero() { return _mm256_setzero_ps(); }
  static Value all(float x) { return _mm256_set1_ps(x); }
  static Value load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, Value x) { _mm256_storeu_ps(p, x); }
  static Value add(Value a, Value b) { return _mm256_add_ps(a, b); }
  static Value multiply(Value a, Value b) { return _mm256_mul_ps(a, b); }
  static Value multiply_add(Value a, Value b, Value c) { return _mm256_fmadd_ps(a, b, c); }
  /// b where one of them is not a number.
  static Value largest(Value a, Value b) { return _mm256_max_ps(a, b); }
  static Mask less(Value a, Value b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
  static Value select(Mask mask, Value yes, Value no) { return _mm256_blendv_ps(no, yes, mask); }

  static Value halves(const void* p) { return load_halves(p); }
  static Value bytes(const std::int8_t* p) {
    return _mm256_cvtepi32_ps(
        _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
  }
  /// x with 2^n multiplied, n being the integer part of the sum `shifted` = n + 1.5 * 2^23.
  static Value times_power(Value x, Value shifted) {
    return _mm256_castsi256_ps(_mm256_add_epi32(
        _mm256_castps_si256(x), _mm256_slli_epi32(_mm256_castps_si256(shifted), 23)));
  }

  /// The sums of eight registers, in order.
  static __m256 sums_of_8(const Value* x) {
    __m256 four[4], two[2];
    for (int i = 0; i < 4; ++i)  // lanes of registers i and i + 4, as halves
      four[i] = _mm256_add_ps(_mm256_blend_ps(x[i], x[i + 4], 0xf0),
                              _mm256_permute2f128_ps(x[i], x[i + 4], 0x21));
    for (int i = 0; i < 2; ++i)
      two[i] = _mm256_add_ps(_mm256_blend_ps(four[2 * i], four[2 * i + 1], 0xcc),
                             _mm256_shuffle_ps(four[2 * i], four[2 * i + 1], 0x4e));
    return _mm256_add_ps(_mm256_shuffle_ps(two[0], two[1], 0x88),
                         _mm256_shuffle_ps(two[0], two[1], 0xdd));
  }
};

}  // namespace
}  // namespace lq::kernels
