#pragma once
// Products with panels of floats on AVX2. Few tokens: two or four panels stream by, each column of
// 16 rows is two vectors. Many: 256 columns of a panel become binary32 in the first cache and meet
// six tokens at a time, whose sums fill twelve registers.
#include "kernels/cpu/ops/vector_avx2.h"
#include "kernels/panels/float_panels.h"

namespace lq::kernels {
namespace {

inline __m256 load_floats(const BlockF32* p) {
  return _mm256_castsi256_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline __m256 load_floats(const BlockF16* p) { return load_halves(p); }
inline __m256 load_floats(const BlockBF16* p) {
  const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}

template <class Block>
const Block* panel_of(const FloatMatmulArgs& a, int panel) {
  return reinterpret_cast<const Block*>(a.panels) +
         static_cast<std::size_t>(panel) * static_cast<std::size_t>(a.cols) * kPanelRows;
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

/// P panels from `panel` on times tokens [first, first + T).
template <class Block, int P, int T>
inline void stream_panels(const FloatMatmulArgs& a, int panel, int first) {
  alignas(32) float y[P][T][kPanelRows] = {};
  const Block* w[P];
  for (int p = 0; p < P; ++p) w[p] = panel_of<Block>(a, panel + p);
  const float* const x = a.x + static_cast<std::size_t>(first) * a.x_stride;
  for (int begin = 0; begin < a.cols; begin += kFloatChunk) {
    const int end = a.cols - begin < kFloatChunk ? a.cols : begin + kFloatChunk;
    __m256 sum[P][T][2];
    for (auto& tokens : sum)
      for (auto& token : tokens) token[0] = token[1] = _mm256_setzero_ps();
    for (int c = begin; c < end; ++c)
      for (int p = 0; p < P; ++p)
        for (int half = 0; half < 2; ++half) {
          const __m256 weight = load_floats(w[p] + c * kPanelRows + 8 * half);
          for (int t = 0; t < T; ++t)
            sum[p][t][half] = _mm256_fmadd_ps(
                weight, _mm256_broadcast_ss(x + static_cast<std::size_t>(t) * a.x_stride + c),
                sum[p][t][half]);
        }
    for (int p = 0; p < P; ++p)
      for (int t = 0; t < T; ++t)
        for (int half = 0; half < 2; ++half) {
          float* const at = y[p][t] + 8 * half;
          _mm256_store_ps(at, _mm256_add_ps(_mm256_load_ps(at), sum[p][t][half]));
        }
  }
  for (int p = 0; p < P; ++p) store_float_rows(a, panel + p, first, T, y[p]);
}

template <class Block, int T>
inline void multiply_few_floats(const FloatMatmulArgs& a, int first) {
  constexpr int kTogether = 4 / T;  // eight sums in flight, or products wait for each other
  int p = a.panel_begin;
  for (; p + kTogether <= a.panel_end; p += kTogether)
    stream_panels<Block, kTogether, T>(a, p, first);
  for (; p < a.panel_end; ++p) stream_panels<Block, 1, T>(a, p, first);
}

constexpr int kFloatTile = 6;      ///< tokens whose sums are in registers
constexpr int kFloatTokens = 120;  ///< tokens whose chunk of columns stays in the second cache

/// y[T][16] += weights [n][16] times T rows of x.
template <int T>
inline void add_float_tile(const float* weights, const float* x, std::size_t x_stride, int n,
                           float (*y)[kPanelRows]) {
  __m256 sum[T][2];
  for (auto& token : sum) token[0] = token[1] = _mm256_setzero_ps();
  for (int c = 0; c < n; ++c) {
    const __m256 first = _mm256_load_ps(weights + c * kPanelRows);
    const __m256 second = _mm256_load_ps(weights + c * kPanelRows + 8);
#pragma GCC unroll 6
    for (int t = 0; t < T; ++t) {
      const __m256 value = _mm256_broadcast_ss(x + static_cast<std::size_t>(t) * x_stride + c);
      sum[t][0] = _mm256_fmadd_ps(first, value, sum[t][0]);
      sum[t][1] = _mm256_fmadd_ps(second, value, sum[t][1]);
    }
  }
  for (int t = 0; t < T; ++t)
    for (int half = 0; half < 2; ++half) {
      float* const at = y[t] + 8 * half;
      _mm256_storeu_ps(at, _mm256_add_ps(_mm256_loadu_ps(at), sum[t][half]));
    }
}

/// The same for n_tokens rows, in tiles of T and then of fewer.
template <int T>
inline void add_float_tiles(const float* weights, const float* x, std::size_t x_stride, int n,
                            int n_tokens, float (*y)[kPanelRows]) {
  int t = 0;
  for (; t + T <= n_tokens; t += T)
    add_float_tile<T>(weights, x + static_cast<std::size_t>(t) * x_stride, x_stride, n, y + t);
  if constexpr (T > 1)
    if (t < n_tokens)
      add_float_tiles<T / 2>(weights, x + static_cast<std::size_t>(t) * x_stride, x_stride, n,
                             n_tokens - t, y + t);
}

constexpr int kPanelsABlock = 8;  ///< that meet a chunk of the tokens while it is in the cache

/// Panels [panel, panel + n_panels) times tokens [first, first + n_tokens).
template <class Block>
inline void multiply_float_block(const FloatMatmulArgs& a, int panel, int n_panels, int first,
                                 int n_tokens) {
  alignas(32) float weights[kFloatChunk * kPanelRows];
  alignas(32) float y[kPanelsABlock][kFloatTokens][kPanelRows];
  __builtin_memset(y, 0, static_cast<std::size_t>(n_panels) * sizeof y[0]);
  for (int begin = 0; begin < a.cols; begin += kFloatChunk) {
    const int n = a.cols - begin < kFloatChunk ? a.cols - begin : kFloatChunk;
    const float* const x = a.x + static_cast<std::size_t>(first) * a.x_stride + begin;
    for (int p = 0; p < n_panels; ++p) {
      const Block* const w = panel_of<Block>(a, panel + p) + begin * kPanelRows;
      for (int i = 0; i < n * kPanelRows; i += 8) _mm256_store_ps(weights + i, load_floats(w + i));
      add_float_tiles<kFloatTile>(weights, x, a.x_stride, n, n_tokens, y[p]);
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
