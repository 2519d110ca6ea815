#pragma once
#include <immintrin.h>

#include <cstddef>

namespace lq::kernels {
namespace {

/// to[i * to_stride + r] = from[r * from_stride + i] for 8 rows of 8.
inline void transpose_8(const float* from, std::size_t from_stride, float* to,
                        std::size_t to_stride) {
  // Rows r and r + 4 share a register from the start: no shuffle crosses its halves afterwards.
  const auto rows = [&](std::size_t r, std::size_t i) {
    const __m256 low = _mm256_castps128_ps256(_mm_loadu_ps(from + r * from_stride + i));
    return _mm256_insertf128_ps(low, _mm_loadu_ps(from + (r + 4) * from_stride + i), 1);
  };
  for (std::size_t i = 0; i < 8; i += 4) {
    const __m256 a = rows(0, i), b = rows(1, i), c = rows(2, i), d = rows(3, i);
    const __m256 ab_low = _mm256_unpacklo_ps(a, b), ab_high = _mm256_unpackhi_ps(a, b);
    const __m256 cd_low = _mm256_unpacklo_ps(c, d), cd_high = _mm256_unpackhi_ps(c, d);
    float* out = to + i * to_stride;
    _mm256_storeu_ps(out, _mm256_shuffle_ps(ab_low, cd_low, 0x44));
    _mm256_storeu_ps(out + to_stride, _mm256_shuffle_ps(ab_low, cd_low, 0xee));
    _mm256_storeu_ps(out + 2 * to_stride, _mm256_shuffle_ps(ab_high, cd_high, 0x44));
    _mm256_storeu_ps(out + 3 * to_stride, _mm256_shuffle_ps(ab_high, cd_high, 0xee));
  }
}

}  // namespace
}  // namespace lq::kernels
