#pragma once
// Few query rows over a cache of Q8_0: products of integers. Queries and weights become codes of 16
// bits, 256 times finer than what they meet, and sums are exact.
//
//   scores: sum over blocks of scale * float(codes . query codes)      32 values: two multiply-adds
//   values: positions in pairs, (v[j][d], v[j+1][d]) . (w[j], w[j+1])  w: weight * scale of the
//   block
#include "kernels/cpu/ops/attention_rows_state.h"

namespace lq::kernels {
namespace {

/// Query rows as codes of 16 bits under a factor each.
inline void encode_query(const float* query, int n, std::int16_t* codes, float& factor) {
  __m256 peaks = _mm256_setzero_ps();
  for (int d = 0; d < n; d += 8)
    peaks = _mm256_max_ps(_mm256_andnot_ps(_mm256_set1_ps(-0.0f), Floats8::load(query + d)), peaks);
  const float peak = largest_of(peaks);
  factor = peak / 32767;
  const __m256 inverse = Floats8::all(peak > 0 ? 32767 / peak : 0);
  for (int d = 0; d < n; d += 8) {
    const __m256i whole = _mm256_cvtps_epi32(Floats8::load(query + d) * inverse);
    _mm_storeu_si128(
        reinterpret_cast<__m128i*>(codes + d),
        _mm_packs_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1)));
  }
}

inline __m256i widen(const std::int8_t* codes) {
  return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes)));
}
inline __m256i load_codes(const std::int16_t* codes) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes));
}

/// score_rows() by codes.
template <int kRows>
inline void score_codes(const AttentionArgs& a, const RowState& state, const std::byte* const* rows,
                        const std::byte* const* ahead, int n, RowGroup<kRows>& group) {
  constexpr int kWidth = RowGroup<kRows>::kWidth, kPositions = RowGroup<kRows>::kPositions;
  constexpr int kValues = BlockQ8_0::kValues;
  const __m256 factors = Floats8::load(state.factors);
  const std::ptrdiff_t stride = a.head_dim, n_blocks = a.head_dim / kValues;
  for (int j = 0; j < n; j += kPositions) {
    const BlockQ8_0* key[kPositions];
    const std::byte* next[kPositions];
    for (int i = 0; i < kPositions; ++i) {
      const int at = j + i < n ? j + i : n - 1;
      key[i] = reinterpret_cast<const BlockQ8_0*>(rows[at]);
      next[i] = ahead[at];
    }
    __m256 sum[8];
    for (auto& s : sum) s = Floats8::zero();
    const std::int16_t* query = state.codes;
    for (std::ptrdiff_t b = 0; b < n_blocks; ++b, query += kValues)
      for (int i = 0; i < kPositions; ++i) {
        const BlockQ8_0& block = key[i][b];
        __builtin_prefetch(next[i] + b * static_cast<std::ptrdiff_t>(sizeof block));
        const __m256i low = widen(block.code), high = widen(block.code + 16);
        const __m256 scale = _mm256_cvtph_ps(_mm_set1_epi16(static_cast<short>(block.scale)));
        for (std::ptrdiff_t q = 0; q < kRows; ++q) {
          const __m256i dot = _mm256_add_epi32(
              _mm256_madd_epi16(low, load_codes(query + q * stride)),
              _mm256_madd_epi16(high, load_codes(query + q * stride + kValues / 2)));
          sum[i * kWidth + q] =
              _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), scale, sum[i * kWidth + q]);
        }
      }
    Floats8::store(group.weight + j * kWidth, Floats8::sums_of_8(sum) * factors);
  }
}

/// Weights of n positions times the scales of their values' block d / 32, as codes: pairs of
/// positions, [n / 2][kWidth][2].
template <int kRows>
struct WeightCodes {
  static constexpr int kWidth = RowGroup<kRows>::kWidth, kPositions = RowGroup<kRows>::kPositions;
  std::int32_t pairs[kAttentionBlock / 2 * kWidth];
  float factors[8];

  /// Meanwhile the rows `ahead` are asked for.
  WeightCodes(const std::byte* const* rows, const std::byte* const* ahead, int n, int d,
              const RowGroup<kRows>& group) {
    float scaled[kAttentionBlock * kWidth];
    __m256 peak = Floats8::zero();
    for (int j = 0; j < n; j += kPositions) {
      __m128i scale[kPositions];  // in all places
      for (int i = 0; i < kPositions; ++i) {
        const int at = j + i < n ? j + i : n - 1;
        const auto* row = reinterpret_cast<const BlockQ8_0*>(rows[at]);
        __builtin_prefetch(ahead[at] + stored_offset<BlockQ8_0>(d));
        scale[i] = _mm_set1_epi16(static_cast<short>(row[d / BlockQ8_0::kValues].scale));
      }
      const __m256 w = Floats8::load(group.weight + j * kWidth) * _mm256_cvtph_ps(in_turn(scale));
      Floats8::store(scaled + j * kWidth, w);
      peak = Floats8::largest(w, peak);
    }
    peak = fold_rows<kWidth>(peak, [](__m256 x, __m256 y) { return Floats8::largest(x, y); });
    Floats8::store(factors, peak * Floats8::all(1.0f / 32767));
    const __m256 some = Floats8::less(Floats8::zero(), peak);
    const __m256 inverse = _mm256_and_ps(some, Floats8::all(32767) / peak);
    for (int j = 0; j < n; j += kPositions) {
      const __m256i whole = _mm256_permutevar8x32_epi32(
          _mm256_cvtps_epi32(Floats8::load(scaled + j * kWidth) * inverse), even_first());
      const __m128i even = _mm256_castsi256_si128(whole), odd = _mm256_extracti128_si256(whole, 1);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(pairs + j / 2 * kWidth),
                       _mm_blend_epi16(even, _mm_slli_epi32(odd, 16), 0xaa));
    }
  }

  /// Each of the kPositions scales kWidth times.
  static __m128i in_turn(const __m128i* scale) {
    if constexpr (kWidth == 4) {
      return _mm_unpacklo_epi64(scale[0], scale[1]);
    } else if constexpr (kWidth == 2) {
      return _mm_unpacklo_epi64(_mm_unpacklo_epi32(scale[0], scale[1]),
                                _mm_unpacklo_epi32(scale[2], scale[3]));
    } else {
      const __m128i low = _mm_unpacklo_epi32(_mm_unpacklo_epi16(scale[0], scale[1]),
                                             _mm_unpacklo_epi16(scale[2], scale[3]));
      const __m128i high = _mm_unpacklo_epi32(_mm_unpacklo_epi16(scale[4], scale[5]),
                                              _mm_unpacklo_epi16(scale[6], scale[7]));
      return _mm_unpacklo_epi64(low, high);
    }
  }
  /// The order of lanes with those of even positions before those of odd ones.
  static __m256i even_first() {
    if (kWidth == 1) return _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7);
    if (kWidth == 2) return _mm256_setr_epi32(0, 1, 4, 5, 2, 3, 6, 7);
    return _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  }
};

/// mix_rows() by codes for 16 values from d on.
template <int kRows>
inline void mix_half(const AttentionArgs& a, const RowState& state, const std::byte* const* rows,
                     int n, int d, const RowGroup<kRows>& group, const WeightCodes<kRows>& codes) {
  constexpr int kWidth = RowGroup<kRows>::kWidth;
  const std::ptrdiff_t place = d / BlockQ8_0::kValues * static_cast<int>(sizeof(BlockQ8_0)) +
                               static_cast<int>(sizeof(BlockQ8_0::scale)) + d % BlockQ8_0::kValues;
  __m256i sum[kRows][2];
  for (auto& row : sum)
    for (auto& s : row) s = _mm256_setzero_si256();
  const auto values_at = [&](int j) {
    return widen(reinterpret_cast<const std::int8_t*>(rows[j] + place));
  };
  const std::int32_t* pair = codes.pairs;
  for (int j = 0; j < n; j += 2, pair += kWidth) {
    const __m256i v0 = values_at(j), v1 = values_at(j + 1);
    const __m256i low = _mm256_unpacklo_epi16(v0, v1), high = _mm256_unpackhi_epi16(v0, v1);
    for (int q = 0; q < kRows; ++q) {
      const __m256i weight = _mm256_set1_epi32(pair[q]);
      sum[q][0] = _mm256_add_epi32(sum[q][0], _mm256_madd_epi16(low, weight));
      sum[q][1] = _mm256_add_epi32(sum[q][1], _mm256_madd_epi16(high, weight));
    }
  }
  for (int q = 0; q < kRows; ++q) {
    float* out = state.mixed + q * a.value_dim + d;
    const __m256 keep = Floats8::all(group.keep[q]), factor = Floats8::all(codes.factors[q]);
    const __m256 first = _mm256_cvtepi32_ps(_mm256_permute2x128_si256(sum[q][0], sum[q][1], 0x20));
    const __m256 last = _mm256_cvtepi32_ps(_mm256_permute2x128_si256(sum[q][0], sum[q][1], 0x31));
    Floats8::store(out, _mm256_fmadd_ps(first, factor, Floats8::load(out) * keep));
    Floats8::store(out + 8, _mm256_fmadd_ps(last, factor, Floats8::load(out + 8) * keep));
  }
}

template <int kRows>
inline void mix_codes(const AttentionArgs& a, const RowState& state, const std::byte* const* rows,
                      const std::byte* const* ahead, int n, const RowGroup<kRows>& group) {
  for (int d = 0; d < a.value_dim; d += BlockQ8_0::kValues) {
    const WeightCodes<kRows> codes(rows, ahead, n, d, group);
    mix_half<kRows>(a, state, rows, n, d, group, codes);
    mix_half<kRows>(a, state, rows, n, d + 16, group, codes);
  }
}

}  // namespace
}  // namespace lq::kernels
