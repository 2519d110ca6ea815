#pragma once
// Activations to 8-bit codes on AVX2.
#include "kernels/cpu/ops/vector_avx2.h"
#include "kernels/panels/activations.h"

namespace lq::kernels {
namespace {

inline float largest_magnitude(const __m256 (&x)[4]) {
  const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
  __m256 peak = _mm256_setzero_ps();
  for (const __m256 v : x)  // a NaN is the first operand: it leaves the maximum alone
    peak = _mm256_max_ps(_mm256_and_ps(v, magnitude), peak);
  return largest_of(peak);
}

inline __m256i codes_of(const __m256 (&x)[4], __m256 inverse) {
  __m256i v[4];
  for (int i = 0; i < 4; ++i) v[i] = _mm256_cvtps_epi32(_mm256_mul_ps(x[i], inverse));
  const __m256i bytes =
      _mm256_packs_epi16(_mm256_packs_epi32(v[0], v[1]), _mm256_packs_epi32(v[2], v[3]));
  return _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

/// Sums of 16 codes: of the first in lane 0, of the rest in lane 1.
inline __m128i sums_of_halves(__m256i codes) {
  const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), codes);
  const __m256i fours = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
  const __m128i eights =
      _mm_hadd_epi32(_mm256_castsi256_si128(fours), _mm256_extracti128_si256(fours, 1));
  return _mm_hadd_epi32(eights, eights);
}

/// 32 codes of token t to the units of a block of `width` tokens.
inline void put_units(__m256i codes, int width, int t, std::byte* units) {
  if (width == 1) return _mm256_storeu_si256(reinterpret_cast<__m256i*>(units), codes);
  alignas(32) std::int32_t word[8];
  _mm256_store_si256(reinterpret_cast<__m256i*>(word), codes);
  for (int u = 0; u < 8; ++u) __builtin_memcpy(units + 4 * (u * width + t), word + u, 4);
}

template <class T>
inline void put_number(T value, int index, std::byte* at) {
  __builtin_memcpy(at + static_cast<std::ptrdiff_t>(sizeof value) * index, &value, sizeof value);
}

/// Token t of a block.
inline void put_activations(const float* x, int width, int t, std::byte* block) {
  using X = Activations;
  __m256 value[4];
  for (int i = 0; i < 4; ++i) value[i] = _mm256_loadu_ps(x + 8 * i);
  const float peak = largest_magnitude(value), scale = peak / 127.0f;
  const __m256 inverse = _mm256_set1_ps(peak > kTinyPeak ? 127.0f / peak : 0.0f);
  const __m256i codes = codes_of(value, inverse);
  put_units(codes, width, t, block);
  const __m128i halves = sums_of_halves(codes);
  const int first = _mm_cvtsi128_si32(halves), second = _mm_extract_epi32(halves, 1);
  put_number(static_cast<std::int16_t>(first), 2 * t, block + width * X::kSums);
  put_number(static_cast<std::int16_t>(second), 2 * t + 1, block + width * X::kSums);
  put_number(scale, t, block + width * X::kScale);
  put_number(scale * static_cast<float>(first + second), t, block + width * X::kScaledSum);
}

inline void quantize_avx2(const QuantizeArgs& a) noexcept {
  const int n_blocks = activation_blocks(a.cols);
  for (int t = 0; t < a.width; ++t) {
    const float* const x = a.x + static_cast<std::size_t>(t) * a.stride;
    std::byte* block = a.tile;
    for (int i = 0; i < n_blocks; ++i, block += a.width * Activations::kTokenBytes) {
      const int left = t < a.n_tokens ? a.cols - 32 * i : 0;
      if (left >= 32) {
        put_activations(x + 32 * i, a.width, t, block);
        continue;
      }
      float padded[32];
      for (int j = 0; j < 32; ++j) padded[j] = j < left ? x[32 * i + j] : 0;
      put_activations(padded, a.width, t, block);
    }
  }
}

}  // namespace
}  // namespace lq::kernels
