#pragma once
// Attention of many query rows by products of codes of 8 bits, with AVX-512 VNNI: a lane is a row,
// so that softmax needs no sums across lanes.
//
//   scores [position][row] = (codes of keys . codes of queries) * scale of the key * unit of the
//                            row + log of the value's scale
//   weights = 2^(score - the row's peak in the block) as codes of 0 to 255
//   mixed [d][row] = keep[row] * mixed + share[row] * (codes of values . weights)
//
// A weight is rounded up or down by its position's place in a pattern of 16: many small ones, each
// below half a code, are neither lost nor all counted.
#include "kernels/cpu/ops/attention_bytes.h"

namespace lq::kernels {
namespace {

constexpr int kByteVectors = 2, kByteRows = 16 * kByteVectors;  ///< of a panel
constexpr int kByteTileRows = 192;  ///< query rows that meet a block while it is in the caches
constexpr float kMostWeight = 255;

/// Floats of scratch memory.
inline std::size_t byte_scratch(int head_dim, int value_dim) noexcept {
  constexpr std::size_t kRows = kByteTileRows;
  return kRows * static_cast<std::size_t>(value_dim + head_dim / 4 + 4) +
         kBytePositions * (kByteRows + kByteRows / 4) + 16;
}

/// Parts of the scratch memory and the state of one call.
struct ByteTile {
  const AttentionArgs& a;
  int first_row, n_rows;
  std::int32_t* queries;                ///< [panels][head_dim / 4][kByteRows]: codes + 128
  float* mixed;                         ///< [panels][value_dim][kByteRows]
  float *unit, *seen, *peaks, *totals;  ///< [kByteTileRows]; seen: positions from 0 on
  float* scores;                        ///< [kBytePositions][kByteRows]
  std::int32_t* weights;                ///< [kBytePositions / 4][kByteRows]
  alignas(64) float keep[kByteRows], share[kByteRows];

  ByteTile(const AttentionArgs& args, int first, int n) : a(args), first_row(first), n_rows(n) {
    float* next = aligned_scratch(a);
    const auto take = [&](int rows, int columns) {
      float* const part = next;
      next += static_cast<std::ptrdiff_t>(rows) * columns;
      return part;
    };
    mixed = take(kByteTileRows, a.value_dim);
    queries = reinterpret_cast<std::int32_t*>(take(kByteTileRows, a.head_dim / 4));
    unit = take(1, kByteTileRows);
    seen = take(1, kByteTileRows);
    peaks = take(1, kByteTileRows);
    totals = take(1, kByteTileRows);
    scores = take(kBytePositions, kByteRows);
    weights = reinterpret_cast<std::int32_t*>(take(kBytePositions / 4, kByteRows));
    for (int row = 0; row < n_panels() * kByteRows; ++row) load_query(row);
    __builtin_memset(
        mixed, 0, sizeof(float) * static_cast<std::size_t>(n_panels() * kByteRows * a.value_dim));
  }

  int n_panels() const { return (n_rows + kByteRows - 1) / kByteRows; }
  float* mixed_of(int panel) const { return mixed + panel * kByteRows * a.value_dim; }
  std::int32_t* queries_of(int panel) const {
    return queries + panel * kByteRows * (a.head_dim / 4);
  }
  /// Positions that the tile's row `row` sees; those behind the last are like it.
  int seen_by(int row) const {
    const int last = n_rows - 1;
    const int seen_rows = a.first_position + (first_row + (row < last ? row : last)) / a.group + 1;
    return seen_rows < a.end ? seen_rows : a.end;
  }

  void load_query(int row) {
    seen[row] = static_cast<float>(seen_by(row));
    peaks[row] = kNoScore;
    totals[row] = 0;
    const int r = first_row + (row < n_rows ? row : n_rows - 1);
    const float* const query = a.query + static_cast<std::size_t>(r / a.group) * a.query_stride +
                               static_cast<std::ptrdiff_t>(r % a.group) * a.head_dim;
    alignas(64) float x[kMostByteDim];
    __builtin_memcpy(x, query, sizeof(float) * static_cast<std::size_t>(a.head_dim));
    std::int32_t sum;
    const float scale = put_mixed(x, a.head_dim, -128, kByteRows,
                                  queries_of(row / kByteRows) + row % kByteRows, sum);
    unit[row] = scale * (a.scale * kLog2E / static_cast<float>(mixed_values(a.head_dim)));
  }

  void store_results() const {
    for (int row = 0; row < n_rows; ++row) {
      const int r = first_row + row;
      float* const out = a.out + static_cast<std::size_t>(r / a.group) * a.out_stride +
                         static_cast<std::ptrdiff_t>(r % a.group) * a.value_dim;
      const float* const from = mixed_of(row / kByteRows) + row % kByteRows;
      const float scale = a.peaks ? 1.0f : 1.0f / totals[row];
      for (int d = 0; d < a.value_dim; ++d) out[d] = from[d * kByteRows] * scale;
      if (!a.peaks) continue;
      a.peaks[r] = peaks[row];
      a.totals[r] = peaks[row] == kNoScore ? 0 : totals[row];
    }
  }
};

/// sum[r][..] += words a[k][r] of signed codes times vectors b[k] of unsigned ones.
inline void add_byte_products(const std::int32_t* a, std::ptrdiff_t stride, const std::int32_t* b,
                              int n_words, __m512i (&sum)[kByteTile][kByteVectors]) {
#pragma GCC unroll 4
  for (int k = 0; k < n_words; ++k, a += stride, b += kByteRows) {
    const __m512i right[kByteVectors] = {_mm512_loadu_si512(b), _mm512_loadu_si512(b + 16)};
#pragma GCC unroll 8
    for (int r = 0; r < kByteTile; ++r) {
      const __m512i left = _mm512_set1_epi32(a[r]);
#pragma GCC unroll 2
      for (int i = 0; i < kByteVectors; ++i)
        sum[r][i] = _mm512_dpbusd_epi32(sum[r][i], right[i], left);
    }
  }
}

/// Scores of positions [begin, end) of a block that begins with position `first`, kByteTile at a
/// time; with kHidden, rows do not see all of them. A call for itself: inlined, its registers are
/// not enough for g++.
template <bool kHidden>
[[gnu::noinline]] static void score_bytes(const ByteTile& tile, const BytesOfBlock& block,
                                          int panel, int first, int begin, int end,
                                          __m512 (&peak)[kByteVectors]) {
  const int n_words = tile.a.head_dim / 4;
  const std::int32_t* const queries = tile.queries_of(panel);
  const float *const units = tile.unit + panel * kByteRows, *const seen =
                                                                tile.seen + panel * kByteRows;
  for (int j = begin; j < end; j += kByteTile) {
    const float *const scale = block.key_scale + j, *const log = block.value_log + j;
    float* const scores = tile.scores + j * kByteRows;
    __m512i sum[kByteTile][kByteVectors];
#pragma GCC unroll 8
    for (int r = 0; r < kByteTile; ++r)
#pragma GCC unroll 2
      for (int i = 0; i < kByteVectors; ++i) sum[r][i] = _mm512_set1_epi32(block.key_start[j + r]);
    add_byte_products(block.keys + j * n_words, kByteTile, queries, n_words, sum);
#pragma GCC unroll 2
    for (int i = 0; i < kByteVectors; ++i) {
      const __m512 unit = Floats16::load(units + 16 * i);
      __m512 top = peak[i];
#pragma GCC unroll 8
      for (int r = 0; r < kByteTile; ++r) {
        __m512 score = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[r][i]) * Floats16::all(scale[r]),
                                       unit, Floats16::all(log[r]));
        if constexpr (kHidden) {
          const __m512 place = Floats16::all(static_cast<float>(first + j + r));
          score = Floats16::select(Floats16::less(place, Floats16::load(seen + 16 * i)), score,
                                   Floats16::all(kNoScore));
        }
        top = Floats16::largest(score, top);
        Floats16::store(scores + r * kByteRows + 16 * i, score);
      }
      peak[i] = top;
    }
  }
}

/// kMostWeight * 2^x for x <= 0, within 2^-13.7 of it; 0 for the least numbers; NaN stays NaN.
inline __m512 weight_of(__m512 x) {
  constexpr int kFloor = 1;
  const __m512 r = _mm512_reduce_ps(x, kFloor);
  __m512 series = Floats16::all(kMostWeight * 0.07802452f);
  series = _mm512_fmadd_ps(series, r, Floats16::all(kMostWeight * 0.22606716f));
  series = _mm512_fmadd_ps(series, r, Floats16::all(kMostWeight * 0.69583354f));
  series = _mm512_fmadd_ps(series, r, Floats16::all(kMostWeight * 0.99992522f));
  return _mm512_scalef_ps(series, x);
}

/// What is added to a weight before it is cut off: (2 * the place's bits in reverse + 1) / 32.
alignas(64) constexpr float kRounding[16] = {
    1 / 32.0f, 17 / 32.0f, 9 / 32.0f,  25 / 32.0f, 5 / 32.0f, 21 / 32.0f, 13 / 32.0f, 29 / 32.0f,
    3 / 32.0f, 19 / 32.0f, 11 / 32.0f, 27 / 32.0f, 7 / 32.0f, 23 / 32.0f, 15 / 32.0f, 31 / 32.0f};

/// Scores of n positions to weights under the block's peak; what they mean for those before.
inline void weigh_bytes(ByteTile& tile, const BytesOfBlock& block, int panel, int n,
                        const __m512 (&peak)[kByteVectors]) {
  const __m512i by_row =
      _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
  for (int i = 0; i < kByteVectors; ++i) {
    const int row = panel * kByteRows + 16 * i;
    const __m512 top = peak[i], old = Floats16::load(tile.peaks + row);
    const __m512 now = Floats16::largest(top, old);
    const __m512 keep = power_of_two<Floats16>(old - now);
    const __m512 share = power_of_two<Floats16>(top - now) * Floats16::all(1 / kMostWeight);
    const float* scores = tile.scores + 16 * i;
    std::int32_t* weights = tile.weights + 16 * i;
    __m512 total[4] = {};
    for (int j = 0; j < n; j += 4, scores += 4 * kByteRows, weights += kByteRows) {
      __m512i code[4];
#pragma GCC unroll 4
      for (int r = 0; r < 4; ++r) {
        const __m512 weight = weight_of(Floats16::load(scores + r * kByteRows) - top);
        total[r] = _mm512_fmadd_ps(weight, Floats16::all(block.value_inverse[j + r]), total[r]);
        code[r] = _mm512_cvttps_epi32(weight + Floats16::all(kRounding[j % 16 + r]));
      }
      const __m512i codes = _mm512_packus_epi16(_mm512_packs_epi32(code[0], code[1]),
                                                _mm512_packs_epi32(code[2], code[3]));
      _mm512_storeu_si512(weights, _mm512_shuffle_epi8(codes, by_row));
    }
    const __m512 sum = (total[0] + total[1]) + (total[2] + total[3]);
    Floats16::store(tile.totals + row,
                    _mm512_fmadd_ps(Floats16::load(tile.totals + row), keep, sum * share));
    Floats16::store(tile.peaks + row, now);
    Floats16::store(tile.keep + 16 * i, keep);
    Floats16::store(tile.share + 16 * i, share);
  }
}

/// Adds weighted values of 4 * n_words positions, kByteTile values of the head at a time.
[[gnu::noinline]] static void mix_bytes(const ByteTile& tile, const BytesOfBlock& block, int panel,
                                        int n_words) {
  float* mixed = tile.mixed_of(panel);
  for (int d = 0; d < tile.a.value_dim; d += kByteTile, mixed += kByteTile * kByteRows) {
    __m512i sum[kByteTile][kByteVectors];
    for (auto& row : sum)
      for (auto& s : row) s = _mm512_setzero_si512();
    add_byte_products(block.values + d, tile.a.value_dim, tile.weights, n_words, sum);
#pragma GCC unroll 2
    for (int i = 0; i < kByteVectors; ++i) {
      const __m512 keep = Floats16::load(tile.keep + 16 * i);
      const __m512 share = Floats16::load(tile.share + 16 * i);
#pragma GCC unroll 8
      for (int r = 0; r < kByteTile; ++r) {
        float* const out = mixed + r * kByteRows + 16 * i;
        Floats16::store(
            out, _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[r][i]), share, Floats16::load(out) * keep));
      }
    }
  }
}

/// Up to n positions of a block from position `first` on: those that the panel's last row sees.
inline void attend_byte_panel(ByteTile& tile, const BytesOfBlock& block, int panel, int first,
                              int n) {
  const int to_last = tile.seen_by((panel + 1) * kByteRows - 1) - first;
  const int to_first = tile.seen_by(panel * kByteRows) - first;
  n = n < to_last ? n : to_last;
  if (n <= 0) return;
  __m512 peak[kByteVectors];
  for (auto& p : peak) p = Floats16::all(kNoScore);
  const int seen_by_all = to_first < 0 ? 0 : (to_first < n ? to_first : n) / kByteTile * kByteTile;
  score_bytes<false>(tile, block, panel, first, 0, seen_by_all, peak);
  score_bytes<true>(tile, block, panel, first, seen_by_all, n, peak);
  weigh_bytes(tile, block, panel, n, peak);
  mix_bytes(tile, block, panel, (n + 3) / 4);
}

inline void attend_bytes(const AttentionArgs& a, const std::byte* blocks) noexcept {
  const int n_rows = a.n_tokens * a.group;
  const std::size_t block_bytes = byte_block_bytes(a.head_dim, a.value_dim);
  for (int row = 0; row < n_rows; row += kByteTileRows) {
    ByteTile tile(a, row, n_rows - row < kByteTileRows ? n_rows - row : kByteTileRows);
    const int end = tile.seen_by(kByteTileRows), n_panels = tile.n_panels();
    for (int first = a.begin; first < end; first += kBytePositions) {
      const BytesOfBlock block(
          blocks + static_cast<std::size_t>(first / kBytePositions) * block_bytes, a.head_dim,
          a.value_dim);
      const int left = end - first, n = left < kBytePositions ? left : kBytePositions;
      for (int panel = 0; panel < n_panels; ++panel)
        attend_byte_panel(tile, block, panel, first, n);
    }
    tile.store_results();
  }
}

consteval ByteAttention byte_attention_vnni() {
  ByteAttention bytes{.positions = kBytePositions,
                      .tile_rows = kByteTileRows,
                      .block_bytes = byte_block_bytes,
                      .scratch = byte_scratch,
                      .attend = attend_bytes};
  // A cache of binary32 was asked for because of its precision.
  bytes.prepare[index_of(DType::F16)] = prepare_bytes<BlockF16>;
  bytes.prepare[index_of(DType::Q8_0)] = prepare_bytes<BlockQ8_0>;
  return bytes;
}

}  // namespace
}  // namespace lq::kernels
