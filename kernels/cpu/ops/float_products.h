#pragma once
// Products with panels of floats, for any instruction set. Few tokens: one panel or some stream by.
// Many: 256 columns of a panel become binary32 in the first cache and meet a tile of tokens at a
// time, whose sums stay in registers. Scales are for sums, not for weights.
//
// V is a set's vectors (floats_*.h): a column of 16 rows is V::kParts of them, and load_columns(V,
// ..) makes them of codes. V::kStreams sums of rows are in flight where weights stream by,
// V::kTileTokens tokens meet a panel in the cache.
#include "kernels/cpu/ops/float_columns.h"
#include "kernels/cpu/ops/store_rows.h"

namespace lq::kernels {
namespace {

template <class Block>
const std::byte* panel_of(const FloatMatmulArgs& a, int panel) {
  return a.panels + panel * FloatLayout<Block>::panel_bytes(a.cols);
}

/// y[rows of a vector] += the sum of the products of the columns that share the scales at `scale`,
/// in units of `unit`.
template <class V, class Block>
inline void add_sum(typename V::Value sum, float unit, const std::byte* scale, float* y) {
  using Layout = FloatLayout<Block>;
  if (unit != 1) sum = V::multiply(sum, V::all(unit));
  if constexpr (Layout::kScaled)
    sum = V::multiply_add(sum, V::load(reinterpret_cast<const float*>(scale)), V::load(y));
  else
    sum = V::add(V::load(y), sum);
  V::store(y, sum);
}

/// Keeps the compiler from holding results in registers, which the sums need.
inline void keep_in_memory(void* p) { __asm__("" : : "r"(p) : "memory"); }

/// Values of T tokens in n of up to kSum columns; scaled ones are made.
template <int T, int kSum, bool kIsScaled>
struct StreamInputs {
  const float* x;
  std::size_t stride;
  StreamInputs(const float* from, std::size_t x_stride, int) : x(from), stride(x_stride) {}
  float value(int t, int c) const {
    return x[static_cast<std::size_t>(t) * stride + static_cast<std::size_t>(c)];
  }
};
template <int T, int kSum>
struct StreamInputs<T, kSum, true> {
  float scaled[T][kSum];
  StreamInputs(const float* from, std::size_t x_stride, int n) {
    for (int t = 0; t < T; ++t, from += x_stride)
      for (int c = 0; c < n; ++c) scaled[t][c] = from[c] * kStreamScale;
  }
  float value(int t, int c) const { return scaled[t][c]; }
};

/// P panels from `panel` on times tokens [first, first + T).
template <class V, class Block, int P, int T>
inline void stream_panels(const FloatMatmulArgs& a, int panel, int first) {
  using Layout = FloatLayout<Block>;
  using Stream = FloatStream<V, Block>;
  constexpr int kAtOnce = kColumnsAtOnce<Block>;
  alignas(64) float y[P][T][kPanelRows] = {};
  const std::byte* w[P];
  for (int p = 0; p < P; ++p) w[p] = panel_of<Block>(a, panel + p);
  const float* const x = a.x + static_cast<std::size_t>(first) * a.x_stride;
  for (int begin = 0; begin < a.cols; begin += Layout::kSum) {
    const int n = a.cols - begin < Layout::kSum ? a.cols - begin : Layout::kSum;
    typename V::Value sum[P][T][V::kParts];
    for (auto& tokens : sum)
      for (auto& token : tokens)
        for (auto& part : token) part = V::zero();
    const std::ptrdiff_t column = Layout::column(begin);
    const StreamInputs<T, Layout::kSum, Stream::kIsScaled> inputs(x + begin, a.x_stride, n);
    for (int c = 0; c < n; c += kColumnStep<Block>)
#pragma GCC unroll 2
      for (int half = 0; half < kColumnStep<Block> / kAtOnce; ++half)
#pragma GCC unroll 4
        for (int p = 0; p < P; ++p) {
          typename V::Value weight[kAtOnce][V::kParts];
          Stream::load(w[p] + column + c * Layout::kColumnBytes, half, weight);
#pragma GCC unroll 4
          for (int i = 0; i < kAtOnce; ++i)
#pragma GCC unroll 2
            for (int part = 0; part < V::kParts; ++part)
#pragma GCC unroll 8
              for (int t = 0; t < T; ++t)
                sum[p][t][part] = V::multiply_add(weight[i][part],
                                                  V::all(inputs.value(t, c + kAtOnce * half + i)),
                                                  sum[p][t][part]);
        }
    for (int p = 0; p < P; ++p)
      for (int t = 0; t < T; ++t)
        for (int part = 0; part < V::kParts; ++part)
          add_sum<V, Block>(sum[p][t][part], Stream::kUnit,
                            w[p] + Layout::scale(begin) + 4 * V::kLanes * part,
                            y[p][t] + V::kLanes * part);
    keep_in_memory(y);
  }
  for (int p = 0; p < P; ++p) store_rows(a, panel + p, first, T, y[p]);
}

/// T tokens from `first` on. Tables need registers and take longer.
template <class V, class Block, int T>
inline void stream_tokens(const FloatMatmulArgs& a, int first) {
  constexpr int kWanted = V::kStreams / (FloatLayout<Block>::kNibbles ? 2 : 1) / V::kParts / T;
  constexpr int kTogether = kWanted > 1 ? kWanted : 1;
  int p = a.panel_begin;
  for (; p + kTogether <= a.panel_end; p += kTogether)
    stream_panels<V, Block, kTogether, T>(a, p, first);
  if constexpr (kTogether > 1)
    for (; p < a.panel_end; ++p) stream_panels<V, Block, 1, T>(a, p, first);
}

/// All tokens from `first` on, T or fewer at a time.
template <class V, class Block, int T>
inline void multiply_few_floats(const FloatMatmulArgs& a, int first) {
  for (; first + T <= a.n_tokens; first += T) stream_tokens<V, Block, T>(a, first);
  if constexpr (T > 1)
    if (first < a.n_tokens) multiply_few_floats<V, Block, T / 2>(a, first);
}

constexpr int kFloatChunk = 256;   ///< columns; whole tiles
constexpr int kFloatTokens = 120;  ///< tokens whose chunk of columns stays in the second cache

/// Columns [begin, begin + n) of a panel as binary32.
struct FloatChunk {
  alignas(64) float weight[kFloatChunk][kPanelRows];
  const std::byte* panel;
  int begin, n;
};

template <class V, class Block>
inline void expand_chunk(FloatChunk& chunk) {
  constexpr int kAtOnce = kColumnsAtOnce<Block>;
  for (int c = 0; c < chunk.n; c += kColumnStep<Block>) {
    const std::byte* const codes = chunk.panel + FloatLayout<Block>::column(chunk.begin + c);
#pragma GCC unroll 2
    for (int half = 0; half < kColumnStep<Block> / kAtOnce; ++half) {
      typename V::Value columns[kAtOnce][V::kParts];
      load_columns<Block>(V{}, codes, half, columns);
      for (int i = 0; i < kAtOnce; ++i)
        for (int part = 0; part < V::kParts; ++part)
          V::store(chunk.weight[c + kAtOnce * half + i] + V::kLanes * part, columns[i][part]);
    }
  }
}

/// y[T][16] += a chunk times T rows of x.
template <class V, class Block, int T>
inline void add_float_tile(const FloatChunk& chunk, const float* x, std::size_t x_stride,
                           float (*y)[kPanelRows]) {
  using Layout = FloatLayout<Block>;
  for (int begin = 0; begin < chunk.n; begin += Layout::kSum) {
    const int end = chunk.n - begin < Layout::kSum ? chunk.n : begin + Layout::kSum;
    typename V::Value sum[T][V::kParts];
    for (auto& token : sum)
      for (auto& part : token) part = V::zero();
    for (int c = begin; c < end; ++c) {
      typename V::Value weight[V::kParts];
      for (int part = 0; part < V::kParts; ++part)
        weight[part] = V::load(chunk.weight[c] + V::kLanes * part);
#pragma GCC unroll 12
      for (int t = 0; t < T; ++t) {
        const auto value =
            V::all(x[static_cast<std::size_t>(t) * x_stride + static_cast<std::size_t>(c)]);
#pragma GCC unroll 2
        for (int part = 0; part < V::kParts; ++part)
          sum[t][part] = V::multiply_add(weight[part], value, sum[t][part]);
      }
    }
    const std::byte* const scale = chunk.panel + Layout::scale(chunk.begin + begin);
    for (int t = 0; t < T; ++t)
      for (int part = 0; part < V::kParts; ++part)
        add_sum<V, Block>(sum[t][part], Layout::kUnit, scale + 4 * V::kLanes * part,
                          y[t] + V::kLanes * part);
  }
}

/// The same for n_tokens rows, in tiles of T and then of fewer.
template <class V, class Block, int T>
inline void add_float_tiles(const FloatChunk& chunk, const float* x, std::size_t x_stride,
                            int n_tokens, float (*y)[kPanelRows]) {
  int t = 0;
  for (; t + T <= n_tokens; t += T)
    add_float_tile<V, Block, T>(chunk, x + static_cast<std::size_t>(t) * x_stride, x_stride, y + t);
  if constexpr (T > 1)
    if (t < n_tokens)
      add_float_tiles<V, Block, T / 2>(chunk, x + static_cast<std::size_t>(t) * x_stride, x_stride,
                                       n_tokens - t, y + t);
}

constexpr int kPanelsABlock = 8;  ///< that meet a chunk of the tokens while it is in the cache

/// Panels [panel, panel + n_panels) times tokens [first, first + n_tokens).
template <class V, class Block>
inline void multiply_float_block(const FloatMatmulArgs& a, int panel, int n_panels, int first,
                                 int n_tokens) {
  static_assert(kFloatChunk % FloatLayout<Block>::kColumns == 0 &&
                kFloatChunk % FloatLayout<Block>::kSum == 0);
  FloatChunk chunk;
  alignas(64) float y[kPanelsABlock][kFloatTokens][kPanelRows];
  __builtin_memset(y, 0, static_cast<std::size_t>(n_panels) * sizeof y[0]);
  for (int begin = 0; begin < a.cols; begin += kFloatChunk) {
    const float* const x = a.x + static_cast<std::size_t>(first) * a.x_stride + begin;
    chunk.begin = begin;
    chunk.n = a.cols - begin < kFloatChunk ? a.cols - begin : kFloatChunk;
    for (int p = 0; p < n_panels; ++p) {
      chunk.panel = panel_of<Block>(a, panel + p);
      expand_chunk<V, Block>(chunk);
      add_float_tiles<V, Block, V::kTileTokens>(chunk, x, a.x_stride, n_tokens, y[p]);
    }
  }
  for (int p = 0; p < n_panels; ++p) store_rows(a, panel + p, first, n_tokens, y[p]);
}

template <class V, class Block>
void multiply_floats(const FloatMatmulArgs& a) noexcept {
  if (a.n_tokens < V::kTileTokens) return multiply_few_floats<V, Block, V::kStreamTokens>(a, 0);
  for (int first = 0; first < a.n_tokens; first += kFloatTokens) {
    const int n = a.n_tokens - first < kFloatTokens ? a.n_tokens - first : kFloatTokens;
    for (int p = a.panel_begin; p < a.panel_end; p += kPanelsABlock) {
      const int left = a.panel_end - p;
      multiply_float_block<V, Block>(a, p, left < kPanelsABlock ? left : kPanelsABlock, first, n);
    }
  }
}

}  // namespace
}  // namespace lq::kernels
