#pragma once
// Products with panels of floats on AVX2. Few tokens: two or four panels stream by, each column of
// 16 rows is two vectors. Many: 256 columns of a panel become binary32 in the first cache and meet
// six tokens at a time, whose sums fill twelve registers. Scales are for sums, not for weights.
#include "kernels/cpu/ops/float_codes_avx2.h"

namespace lq::kernels {
namespace {

template <class Block>
const std::byte* panel_of(const FloatMatmulArgs& a, int panel) {
  return a.panels + panel * FloatLayout<Block>::panel_bytes(a.cols);
}

/// The panel's rows of results [n_tokens][16] from token `first` on.
inline void store_float_rows(const FloatMatmulArgs& a, int panel, int first, int n_tokens,
                             const float (*y)[kPanelRows]) {
  const int row = panel * kPanelRows;
  const int n_rows = a.rows - row < kPanelRows ? a.rows - row : kPanelRows;
  for (int t = 0; t < n_tokens; ++t)
    __builtin_memcpy(a.y + static_cast<std::size_t>(first + t) * a.y_stride + row, y[t],
                     static_cast<std::size_t>(n_rows) * sizeof(float));
}

/// y[8 rows] += the sum of the products of the columns that share the scales at `scale`.
template <class Block>
inline void add_sum(__m256 sum, const std::byte* scale, float* y) {
  using Layout = FloatLayout<Block>;
  if constexpr (Layout::kUnit != 1) sum = _mm256_mul_ps(sum, _mm256_set1_ps(Layout::kUnit));
  if constexpr (Layout::kScaled)
    sum = _mm256_fmadd_ps(sum, _mm256_loadu_ps(reinterpret_cast<const float*>(scale)),
                          _mm256_loadu_ps(y));
  else
    sum = _mm256_add_ps(_mm256_loadu_ps(y), sum);
  _mm256_storeu_ps(y, sum);
}

/// Keeps the compiler from holding results in registers, which the sums need.
inline void keep_in_memory(void* p) { __asm__("" : : "r"(p) : "memory"); }

/// P panels from `panel` on times tokens [first, first + T).
template <class Block, int P, int T>
inline void stream_panels(const FloatMatmulArgs& a, int panel, int first) {
  using Layout = FloatLayout<Block>;
  constexpr int kAtOnce = kColumnsAtOnce<Block>;
  alignas(32) float y[P][T][kPanelRows] = {};
  const std::byte* w[P];
  for (int p = 0; p < P; ++p) w[p] = panel_of<Block>(a, panel + p);
  const float* const x = a.x + static_cast<std::size_t>(first) * a.x_stride;
  for (int begin = 0; begin < a.cols; begin += Layout::kSum) {
    const int n = a.cols - begin < Layout::kSum ? a.cols - begin : Layout::kSum;
    __m256 sum[P][T][2];
    for (auto& tokens : sum)
      for (auto& token : tokens) token[0] = token[1] = _mm256_setzero_ps();
    const std::ptrdiff_t column = Layout::column(begin);
    for (int c = 0; c < n; c += kColumnStep<Block>)
#pragma GCC unroll 2
      for (int part = 0; part < kColumnStep<Block> / kAtOnce; ++part)
#pragma GCC unroll 4
        for (int p = 0; p < P; ++p) {
          const Columns<Block> weight =
              load_columns<Block>(w[p] + column + c * Layout::kColumnBytes, part);
#pragma GCC unroll 4
          for (int i = 0; i < kAtOnce; ++i)
            for (int half = 0; half < 2; ++half)
              for (int t = 0; t < T; ++t)
                sum[p][t][half] = _mm256_fmadd_ps(
                    weight.v[i][half],
                    _mm256_broadcast_ss(x + static_cast<std::size_t>(t) * a.x_stride + begin + c +
                                        kAtOnce * part + i),
                    sum[p][t][half]);
        }
    for (int p = 0; p < P; ++p)
      for (int t = 0; t < T; ++t)
        for (int half = 0; half < 2; ++half)
          add_sum<Block>(sum[p][t][half], w[p] + Layout::scale(begin) + 32 * half,
                         y[p][t] + 8 * half);
    keep_in_memory(y);
  }
  for (int p = 0; p < P; ++p) store_float_rows(a, panel + p, first, T, y[p]);
}

template <class Block, int T>
inline void multiply_few_floats(const FloatMatmulArgs& a, int first) {
  // Eight sums in flight, or products wait for each other; tables need registers and take longer.
  constexpr int kTogether = (FloatLayout<Block>::kNibbles ? 2 : 4) / T;
  int p = a.panel_begin;
  for (; p + kTogether <= a.panel_end; p += kTogether)
    stream_panels<Block, kTogether, T>(a, p, first);
  for (; p < a.panel_end; ++p) stream_panels<Block, 1, T>(a, p, first);
}

constexpr int kFloatChunk = 256;   ///< columns; whole tiles
constexpr int kFloatTile = 6;      ///< tokens whose sums are in registers
constexpr int kFloatTokens = 120;  ///< tokens whose chunk of columns stays in the second cache

/// Columns [begin, begin + n) of a panel as binary32.
struct FloatChunk {
  alignas(32) float weight[kFloatChunk][kPanelRows];
  const std::byte* panel;
  int begin, n;
};

template <class Block>
inline void expand_chunk(FloatChunk& chunk) {
  constexpr int kAtOnce = kColumnsAtOnce<Block>;
  for (int c = 0; c < chunk.n; c += kColumnStep<Block>) {
    const std::byte* const codes = chunk.panel + FloatLayout<Block>::column(chunk.begin + c);
#pragma GCC unroll 2
    for (int part = 0; part < kColumnStep<Block> / kAtOnce; ++part) {
      const Columns<Block> columns = load_columns<Block>(codes, part);
      for (int i = 0; i < kAtOnce; ++i)
        for (int half = 0; half < 2; ++half)
          _mm256_store_ps(chunk.weight[c + kAtOnce * part + i] + 8 * half, columns.v[i][half]);
    }
  }
}

/// y[T][16] += a chunk times T rows of x.
template <class Block, int T>
inline void add_float_tile(const FloatChunk& chunk, const float* x, std::size_t x_stride,
                           float (*y)[kPanelRows]) {
  using Layout = FloatLayout<Block>;
  for (int begin = 0; begin < chunk.n; begin += Layout::kSum) {
    const int end = chunk.n - begin < Layout::kSum ? chunk.n : begin + Layout::kSum;
    __m256 sum[T][2];
    for (auto& token : sum) token[0] = token[1] = _mm256_setzero_ps();
    for (int c = begin; c < end; ++c) {
      const __m256 first = _mm256_load_ps(chunk.weight[c]);
      const __m256 second = _mm256_load_ps(chunk.weight[c] + 8);
#pragma GCC unroll 6
      for (int t = 0; t < T; ++t) {
        const __m256 value = _mm256_broadcast_ss(x + static_cast<std::size_t>(t) * x_stride + c);
        sum[t][0] = _mm256_fmadd_ps(first, value, sum[t][0]);
        sum[t][1] = _mm256_fmadd_ps(second, value, sum[t][1]);
      }
    }
    const std::byte* const scale = chunk.panel + Layout::scale(chunk.begin + begin);
    for (int t = 0; t < T; ++t)
      for (int half = 0; half < 2; ++half)
        add_sum<Block>(sum[t][half], scale + 32 * half, y[t] + 8 * half);
  }
}

/// The same for n_tokens rows, in tiles of T and then of fewer.
template <class Block, int T>
inline void add_float_tiles(const FloatChunk& chunk, const float* x, std::size_t x_stride,
                            int n_tokens, float (*y)[kPanelRows]) {
  int t = 0;
  for (; t + T <= n_tokens; t += T)
    add_float_tile<Block, T>(chunk, x + static_cast<std::size_t>(t) * x_stride, x_stride, y + t);
  if constexpr (T > 1)
    if (t < n_tokens)
      add_float_tiles<Block, T / 2>(chunk, x + static_cast<std::size_t>(t) * x_stride, x_stride,
                                    n_tokens - t, y + t);
}

constexpr int kPanelsABlock = 8;  ///< that meet a chunk of the tokens while it is in the cache

/// Panels [panel, panel + n_panels) times tokens [first, first + n_tokens).
template <class Block>
inline void multiply_float_block(const FloatMatmulArgs& a, int panel, int n_panels, int first,
                                 int n_tokens) {
  static_assert(kFloatChunk % FloatLayout<Block>::kColumns == 0 &&
                kFloatChunk % FloatLayout<Block>::kSum == 0);
  FloatChunk chunk;
  alignas(32) float y[kPanelsABlock][kFloatTokens][kPanelRows];
  __builtin_memset(y, 0, static_cast<std::size_t>(n_panels) * sizeof y[0]);
  for (int begin = 0; begin < a.cols; begin += kFloatChunk) {
    const float* const x = a.x + static_cast<std::size_t>(first) * a.x_stride + begin;
    chunk.begin = begin;
    chunk.n = a.cols - begin < kFloatChunk ? a.cols - begin : kFloatChunk;
    for (int p = 0; p < n_panels; ++p) {
      chunk.panel = panel_of<Block>(a, panel + p);
      expand_chunk<Block>(chunk);
      add_float_tiles<Block, kFloatTile>(chunk, x, a.x_stride, n_tokens, y[p]);
    }
  }
  for (int p = 0; p < n_panels; ++p) store_float_rows(a, panel + p, first, n_tokens, y[p]);
}

template <class Block>
void multiply_floats_avx2(const FloatMatmulArgs& a) noexcept {
  if (a.n_tokens < kFloatTile) {
    int t = 0;
    for (; t + 2 <= a.n_tokens; t += 2) multiply_few_floats<Block, 2>(a, t);
    if (t < a.n_tokens) multiply_few_floats<Block, 1>(a, t);
    return;
  }
  for (int first = 0; first < a.n_tokens; first += kFloatTokens) {
    const int n = a.n_tokens - first < kFloatTokens ? a.n_tokens - first : kFloatTokens;
    for (int p = a.panel_begin; p < a.panel_end; p += kPanelsABlock) {
      const int left = a.panel_end - p;
      multiply_float_block<Block>(a, p, left < kPanelsABlock ? left : kPanelsABlock, first, n);
    }
  }
}

}  // namespace
}  // namespace lq::kernels
