#pragma once
// The innermost search of the IQ types' encoders with AVX2: eight points of a list at a time. The
// operations of each point and their order are those of PlainSearch, so the result is the same.
#include <immintrin.h>

#include "kernels/blocks/all_blocks.h"
#include "kernels/blocks/rows.h"

namespace lq::kernels {

struct Avx2Search {};

/// Terms of the levels in the low bits of eight lanes.
static inline __m256 terms_avx2(const Grid<8>&, __m256 table, __m256i levels) {
  return _mm256_permutevar_ps(table, levels);
}
static inline __m256 terms_avx2(const Grid<4>&, __m256 table, __m256i levels) {
  return _mm256_permutevar8x32_ps(table, levels);
}

/// levels: [kTerms]; of Grid<8> twice, for either half of a register.
static inline __m256 load_levels_avx2(const Grid<8>&, const float* levels) {
  return _mm256_broadcast_ps(reinterpret_cast<const __m128*>(levels));
}
static inline __m256 load_levels_avx2(const Grid<4>&, const float* levels) {
  return _mm256_loadu_ps(levels);
}

static inline __m256 least_avx2(__m256 sums) {
  __m256 least = _mm256_min_ps(sums, _mm256_permute2f128_ps(sums, sums, 1));
  least = _mm256_min_ps(least, _mm256_permute_ps(least, 0x4e));
  return _mm256_min_ps(least, _mm256_permute_ps(least, 0xb1));
}

/// Sums of eight points. A sum that is no number or too large becomes FLT_MAX.
template <class Grid>
static inline __m256 sums_avx2(const Grid& grid, const __m256* term, const std::uint16_t* points) {
  const __m256i packed =
      _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(points)));
  __m256 sum = terms_avx2(grid, term[0], packed);
  for (int k = 1; k < Grid::kDims; ++k)
    sum = _mm256_add_ps(sum, terms_avx2(grid, term[k], _mm256_srli_epi32(packed, Grid::kBits * k)));
  return _mm256_min_ps(sum, _mm256_set1_ps(FLT_MAX));
}

/// As nearest_point(PlainSearch).
template <class Grid>
static inline std::uint32_t nearest_point(Avx2Search, const Grid& grid, std::int32_t entry,
                                          const float* levels, const float* x, const float* weight,
                                          float scale) {
  const __m256 scaled = _mm256_mul_ps(_mm256_set1_ps(scale), load_levels_avx2(grid, levels));
  __m256 term[Grid::kDims];
  for (int k = 0; k < Grid::kDims; ++k) {
    const __m256 difference = _mm256_sub_ps(scaled, _mm256_broadcast_ss(x + k));
    term[k] = _mm256_mul_ps(_mm256_mul_ps(_mm256_broadcast_ss(weight + k), difference), difference);
  }
  const GridList list = list_of(grid, entry);
  __m256 best = sums_avx2(grid, term, list.points);
  if (list.n_eights == 1) {
    const int lanes = _mm256_movemask_ps(_mm256_cmp_ps(best, least_avx2(best), _CMP_EQ_OQ));
    return list.points[__builtin_ctz(static_cast<unsigned>(lanes))];
  }
  __m256i place = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), best_place = place;
  for (int i = 1; i < list.n_eights; ++i) {
    const __m256 sum = sums_avx2(grid, term, list.points + 8 * i);
    const __m256 less = _mm256_cmp_ps(sum, best, _CMP_LT_OQ);
    place = _mm256_add_epi32(place, _mm256_set1_epi32(8));
    best = _mm256_min_ps(best, sum);
    best_place = _mm256_blendv_epi8(best_place, place, _mm256_castps_si256(less));
  }
  // Of the lanes with the least sum, the one that comes first in the list.
  const __m256 others = _mm256_cmp_ps(best, least_avx2(best), _CMP_NEQ_UQ);
  const __m256i places =
      _mm256_or_si256(best_place, _mm256_srli_epi32(_mm256_castps_si256(others), 16));
  const __m128i first = _mm_minpos_epu16(
      _mm_packus_epi32(_mm256_castsi256_si128(places), _mm256_extracti128_si256(places, 1)));
  return list.points[_mm_extract_epi16(first, 0)];
}

/// encode_row() of an IQ type with this search.
template <class Block>
static void encode_grid_avx2(const float* row, const float* importance, void* blocks,
                             std::size_t n_values) noexcept {
  auto* block = static_cast<Block*>(blocks);
  Importance hints;
  for (std::size_t i = 0; i < n_values; i += Block::kValues) {
    if (importance) hints.weight = importance + i;
    encode_with(Avx2Search{}, row + i, hints, *block++);
  }
}

}  // namespace lq::kernels
