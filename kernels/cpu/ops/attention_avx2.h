#pragma once
// Attention over a paged binary16 or binary32 cache, up to four query heads of a key-value head at
// a time.
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/ops/vector_avx2.h"

namespace lq::kernels {
namespace {

inline __m256 load_cached(const std::uint16_t* p) { return load_halves(p); }
inline __m256 load_cached(const std::uint16_t* p, int n) { return load_halves(p, n); }
inline __m256 load_cached(const float* p) { return _mm256_loadu_ps(p); }
inline __m256 load_cached(const float* p, int n) { return _mm256_maskload_ps(p, first_lanes(n)); }

constexpr int kTilePositions = 64;  ///< scored before their values are mixed

/// Where the keys and values of the positions of a tile are.
template <class Element>
struct TileRows {
  int n;
  const Element* key[kTilePositions];
  const Element* value[kTilePositions];

  TileRows(const AttentionArgs& a, int first)
      : n(a.n_positions - first < kTilePositions ? a.n_positions - first : kTilePositions) {
    for (int j = 0; j < n; ++j) {
      const auto page = static_cast<std::size_t>(a.page_table[(first + j) / a.page_tokens]);
      const std::ptrdiff_t place = (first + j) % a.page_tokens;
      key[j] = static_cast<const Element*>(a.keys) + page * a.key_page + place * a.head_dim;
      value[j] = static_cast<const Element*>(a.values) + page * a.value_page + place * a.value_dim;
    }
  }
};

/// What is known of kQueries heads after some tiles; the mix of values is in AttentionArgs::out.
template <int kQueries>
struct Running {
  float peak[kQueries], total[kQueries];   ///< largest score; sum of e^(score - peak)
  float weight[kQueries][kTilePositions];  ///< of the tile: scores, then e^(score - peak)
  float shrink[kQueries];                  ///< what the tile's new peak makes of what was there
};

/// Scores of two positions.
template <int kQueries, class Element>
inline void score_pair(const AttentionArgs& a, const TileRows<Element>& rows, int j,
                       Running<kQueries>& state) {
  const Element* key[2] = {rows.key[j], rows.key[j + 1 < rows.n ? j + 1 : j]};
  __m256 sum[2][4];
  for (auto& position : sum)
    for (__m256& s : position) s = _mm256_setzero_ps();
  int d = 0;
  for (; d + 8 <= a.head_dim; d += 8) {
    const __m256 k0 = load_cached(key[0] + d), k1 = load_cached(key[1] + d);
    for (int q = 0; q < kQueries; ++q) {
      const __m256 query = _mm256_loadu_ps(a.query + q * a.head_dim + d);
      sum[0][q] = _mm256_fmadd_ps(query, k0, sum[0][q]);
      sum[1][q] = _mm256_fmadd_ps(query, k1, sum[1][q]);
    }
  }
  if (d < a.head_dim) {
    const int n = a.head_dim - d;
    const __m256 k0 = load_cached(key[0] + d, n), k1 = load_cached(key[1] + d, n);
    for (int q = 0; q < kQueries; ++q) {
      const __m256 query = _mm256_maskload_ps(a.query + q * a.head_dim + d, first_lanes(n));
      sum[0][q] = _mm256_fmadd_ps(query, k0, sum[0][q]);
      sum[1][q] = _mm256_fmadd_ps(query, k1, sum[1][q]);
    }
  }
  for (int i = 0; i < 2; ++i) {
    float scores[4];
    _mm_storeu_ps(scores, _mm_mul_ps(sums_of_4(sum[i][0], sum[i][1], sum[i][2], sum[i][3]),
                                     _mm_set1_ps(a.scale)));
    for (int q = 0; q < kQueries; ++q) state.weight[q][j + i] = scores[q];
  }
}

/// Scores of a tile to weights.
template <int kQueries>
inline void weigh_tile(int n, Running<kQueries>& state) {
  for (int q = 0; q < kQueries; ++q) {
    float* weight = state.weight[q];
    const __m256 none = _mm256_set1_ps(-__builtin_inff());
    __m256 peaks = _mm256_set1_ps(state.peak[q]);
    for (int j = 0; j < n; j += 8) {
      const __m256 known = _mm256_castsi256_ps(first_lanes(n - j));
      const __m256 scores = _mm256_blendv_ps(none, _mm256_loadu_ps(weight + j), known);
      _mm256_storeu_ps(weight + j, scores);
      peaks = _mm256_max_ps(scores, peaks);
    }
    const __m256 peak = _mm256_set1_ps(largest_of(peaks));
    __m256 total = _mm256_setzero_ps();
    for (int j = 0; j < n; j += 8) {
      const __m256 e = exp_of(_mm256_sub_ps(_mm256_loadu_ps(weight + j), peak));
      _mm256_storeu_ps(weight + j, e);
      total = _mm256_add_ps(total, e);
    }
    state.shrink[q] = _mm256_cvtss_f32(exp_of(_mm256_sub_ps(_mm256_set1_ps(state.peak[q]), peak)));
    state.total[q] = state.total[q] * state.shrink[q] + sum_of(total);
    state.peak[q] = _mm256_cvtss_f32(peak);
  }
}

/// out[q][d .. d + 8 kVectors) = shrink * out + weights * values; only the first `lanes` of the
/// last vector exist.
template <int kQueries, int kVectors, class Element>
inline void mix_columns(const AttentionArgs& a, const TileRows<Element>& rows, int d, int lanes,
                        const Running<kQueries>& state) {
  const __m256i mask = first_lanes(lanes);
  __m256 sum[kQueries][kVectors];
  for (int q = 0; q < kQueries; ++q)
    for (int i = 0; i < kVectors; ++i)
      sum[q][i] = _mm256_mul_ps(_mm256_maskload_ps(a.out + q * a.value_dim + d + 8 * i,
                                                   i + 1 < kVectors ? first_lanes(8) : mask),
                                _mm256_set1_ps(state.shrink[q]));
  for (int j = 0; j < rows.n; ++j) {
    __m256 value[kVectors];
    for (int i = 0; i < kVectors; ++i)
      value[i] = lanes == 8 || i + 1 < kVectors ? load_cached(rows.value[j] + d + 8 * i)
                                                : load_cached(rows.value[j] + d + 8 * i, lanes);
    for (int q = 0; q < kQueries; ++q) {
      const __m256 weight = _mm256_broadcast_ss(&state.weight[q][j]);
      for (int i = 0; i < kVectors; ++i) sum[q][i] = _mm256_fmadd_ps(weight, value[i], sum[q][i]);
    }
  }
  for (int q = 0; q < kQueries; ++q)
    for (int i = 0; i < kVectors; ++i)
      _mm256_maskstore_ps(a.out + q * a.value_dim + d + 8 * i,
                          i + 1 < kVectors ? first_lanes(8) : mask, sum[q][i]);
}

template <int kQueries, class Element>
inline void attend(const AttentionArgs& a) {
  Running<kQueries> state;
  for (int q = 0; q < kQueries; ++q) {
    state.peak[q] = -__builtin_inff();
    state.total[q] = 0;
  }
  for (int i = 0; i < kQueries * a.value_dim; ++i) a.out[i] = 0;
  for (int first = 0; first < a.n_positions; first += kTilePositions) {
    const TileRows<Element> rows(a, first);
    for (int j = 0; j < rows.n; j += 2) score_pair(a, rows, j, state);
    weigh_tile(rows.n, state);
    int d = 0;
    for (; d + 16 <= a.value_dim; d += 16) mix_columns<kQueries, 2>(a, rows, d, 8, state);
    for (; d < a.value_dim; d += 8) {
      const int left = a.value_dim - d;
      mix_columns<kQueries, 1>(a, rows, d, left < 8 ? left : 8, state);
    }
  }
  for (int q = 0; q < kQueries; ++q)
    for (int i = 0; i < a.value_dim; ++i) a.out[q * a.value_dim + i] /= state.total[q];
}

template <class Element>
void attention_avx2(const AttentionArgs& a) noexcept {
  AttentionArgs part = a;
  for (int left = a.n_queries; left > 0; left -= part.n_queries) {
    part.n_queries = left >= 4 ? 4 : left >= 2 ? 2 : 1;
    part.n_queries == 4   ? attend<4, Element>(part)
    : part.n_queries == 2 ? attend<2, Element>(part)
                          : attend<1, Element>(part);
    part.query += part.n_queries * a.head_dim;
    part.out += part.n_queries * a.value_dim;
  }
}

}  // namespace
}  // namespace lq::kernels
