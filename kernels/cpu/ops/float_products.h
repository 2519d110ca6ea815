#pragma once
// Products with panels of floats, for any instruction set. Few tokens: one panel after the other
// streams by. Many: 256 columns of a panel become binary32 in the first cache and meet a tile of
// tokens at a time, whose sums stay in registers. Scales are for sums, not for weights.
//
// V is a set's vectors (floats_*.h): a column of 16 rows is V::kParts of them, and load_columns(V,
// ..) makes them of codes. V::kStreamSums vectors of sums are in registers where weights stream by,
// for V::kStreamTokens tokens at most; V::kTileSums where they are in the cache, for
// V::kMostTileTokens; that is the way from V::kManyTokens on.
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

/// K parallel sums, from kFirst on, of n columns, at most kSum, in one.
template <class V, class Block, int T, int K, int kFirst, class Inputs>
inline void sum_columns(const std::byte* codes, int n, const Inputs& x,
                        typename V::Value (&total)[T][V::kParts]) {
  constexpr int kColumnBytes = FloatLayout<Block>::kColumnBytes;
  constexpr int kStep = kColumnStep<Block>;
  ParallelSums<V, Block, T, K, kFirst> sums;
  int c = 0;
  for (; c + kStep <= n; c += kStep) sums.add(codes + c * kColumnBytes, x, c);
  if constexpr (!FloatLayout<Block>::kScaled)
    if (c < n) {  // columns that are not there: products of zeros
      std::byte last[kStep * kColumnBytes] = {};
      float values[T][kStep] = {};
      for (int i = 0; c + i < n; ++i) {
        __builtin_memcpy(last + i * kColumnBytes, codes + (c + i) * kColumnBytes, kColumnBytes);
        for (int t = 0; t < T; ++t) values[t][i] = *x.at(t, c + i);
      }
      sums.add(last, StreamInputs<T, kStep, false>(values[0], kStep, kStep), 0);
    }
  sums.store(total);
}

/// A panel times tokens [first, first + T).
template <class V, class Block, int T>
inline void stream_panel(const FloatMatmulArgs& a, int panel, int first) {
  using Layout = FloatLayout<Block>;
  using Stream = FloatStream<V, Block>;
  alignas(64) float y[T][kPanelRows] = {};
  const std::byte* const w = panel_of<Block>(a, panel);
  const float* const x = a.x + static_cast<std::size_t>(first) * a.x_stride;
  for (int begin = 0; begin < a.cols; begin += Layout::kSum) {
    const int n = a.cols - begin < Layout::kSum ? a.cols - begin : Layout::kSum;
    const StreamInputs<T, Layout::kSum, Stream::kIsScaled> inputs(x + begin, a.x_stride, n);
    const std::byte* const codes = w + Layout::column(begin);
    typename V::Value total[T][V::kParts];
    if constexpr (Layout::kParallel * T * V::kParts <= V::kStreamSums) {
      sum_columns<V, Block, T, Layout::kParallel, 0>(codes, n, inputs, total);
    } else {  // the second time from the first cache
      constexpr int K = Layout::kParallel / 2;
      static_assert(K * T * V::kParts <= V::kStreamSums);
      typename V::Value odd[T][V::kParts];
      sum_columns<V, Block, T, K, 0>(codes, n, inputs, total);
      sum_columns<V, Block, T, K, 1>(codes, n, inputs, odd);
      for (int t = 0; t < T; ++t)
        for (int part = 0; part < V::kParts; ++part)
          total[t][part] = V::add(total[t][part], odd[t][part]);
    }
    for (int t = 0; t < T; ++t) {
      Stream::put_in_order(total[t]);
      for (int part = 0; part < V::kParts; ++part)
        add_sum<V, Block>(total[t][part], Stream::kUnit,
                          w + Layout::scale(begin) + 4 * V::kLanes * part, y[t] + V::kLanes * part);
    }
    keep_in_memory(y);
  }
  store_rows(a, panel, first, T, y);
}

/// A panel times all tokens from `first` on, T or fewer at a time.
template <class V, class Block, int T>
inline void multiply_few_floats(const FloatMatmulArgs& a, int panel, int first) {
  for (; first + T <= a.n_tokens; first += T) stream_panel<V, Block, T>(a, panel, first);
  if constexpr (T > 1)
    if (first < a.n_tokens) multiply_few_floats<V, Block, T / 2>(a, panel, first);
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
  constexpr int kAtOnce = kColumnsAtOnce<Block>, kHalves = FloatLayout<Block>::kNibbles ? 2 : 1;
  for (int c = 0; c < chunk.n; c += kAtOnce * kHalves) {
    const std::byte* const codes = chunk.panel + FloatLayout<Block>::column(chunk.begin + c);
#pragma GCC unroll 2
    for (int half = 0; half < kHalves; ++half) {
      typename V::Value columns[kAtOnce][V::kParts];
      load_columns<Block>(V{}, codes, half, columns);
      for (int i = 0; i < kAtOnce; ++i)
        for (int part = 0; part < V::kParts; ++part)
          V::store(chunk.weight[c + kAtOnce * half + i] + V::kLanes * part, columns[i][part]);
    }
  }
}

/// K of n parallel sums of T rows of x: those of columns 0, n / K .. of each n.
template <class V, int T, int n, int K>
struct TileSums {
  static constexpr int kApart = n / K;
  typename V::Value sum[K][T][V::kParts];

  TileSums() {
#pragma GCC unroll 4
    for (auto& tokens : sum)
#pragma GCC unroll 12
      for (auto& token : tokens)
#pragma GCC unroll 2
        for (auto& part : token) part = V::zero();
  }
  void add(const float (*weight)[kPanelRows], int n_columns, const float* x, std::size_t x_stride) {
    int c = 0;
    for (; c + (K - 1) * kApart < n_columns; c += n)
#pragma GCC unroll 4
      for (int k = 0; k < K; ++k)
        add_column(k, weight[c + k * kApart], x + c + k * kApart, x_stride);
#pragma GCC unroll 4
    for (int k = 0; k < K - 1; ++k)
      if (c + k * kApart < n_columns)
        add_column(k, weight[c + k * kApart], x + c + k * kApart, x_stride);
  }
  typename V::Value total(int t, int part) const {
    return add_halves<V, K>([&](int i) { return sum[i][t][part]; });
  }

 private:
  void add_column(int k, const float* weight, const float* x, std::size_t x_stride) {
    typename V::Value value[V::kParts];
#pragma GCC unroll 2
    for (int part = 0; part < V::kParts; ++part) {
      value[part] = V::load(weight + V::kLanes * part);
      if constexpr (V::kParts > 1) __asm__("" : "+v"(value[part]));  // loaded once
    }
#pragma GCC unroll 12
    for (int t = 0; t < T; ++t) {
      const auto of_token = V::all(x[static_cast<std::size_t>(t) * x_stride]);
#pragma GCC unroll 2
      for (int part = 0; part < V::kParts; ++part)
        sum[k][t][part] = V::multiply_add(value[part], of_token, sum[k][t][part]);
    }
  }
};

/// Parallel sums that registers hold for a tile of tokens: all, or half of them and then the
/// others.
template <class V, class Block>
constexpr int kTileParallel =
    FloatLayout<Block>::kParallel < V::kTileParallel ? FloatLayout<Block>::kParallel
                                                     : V::kTileParallel;
template <class V, class Block>
constexpr int kTileTokens = V::kTileSums / V::kParts / kTileParallel<V, Block> < V::kMostTileTokens
                                ? V::kTileSums / V::kParts / kTileParallel<V, Block>
                                : V::kMostTileTokens;

/// y[T][16] += a chunk times T rows of x.
template <class V, class Block, int T>
inline void add_float_tile(const FloatChunk& chunk, const float* x, std::size_t x_stride,
                           float (*y)[kPanelRows]) {
  using Layout = FloatLayout<Block>;
  constexpr int kParallel = Layout::kParallel, K = kTileParallel<V, Block>;
  constexpr bool kTwice = K < kParallel;
  static_assert(K * (kTwice + 1) == kParallel);
  for (int begin = 0; begin < chunk.n; begin += Layout::kSum) {
    const int n = chunk.n - begin < Layout::kSum ? chunk.n - begin : Layout::kSum;
    const std::byte* const scale = chunk.panel + Layout::scale(chunk.begin + begin);
    alignas(64) float pair[T][kPanelRows];
    if constexpr (kTwice) {
      TileSums<V, T, kParallel, K> sums;
      sums.add(chunk.weight + begin, n, x + begin, x_stride);
      for (int t = 0; t < T; ++t)
        for (int part = 0; part < V::kParts; ++part)
          V::store(pair[t] + V::kLanes * part, sums.total(t, part));
    }
    constexpr int kFirst = kTwice;  // columns 1 and 3
    TileSums<V, T, kParallel, K> sums;
    sums.add(chunk.weight + begin + kFirst, n - kFirst, x + begin + kFirst, x_stride);
    for (int t = 0; t < T; ++t)
      for (int part = 0; part < V::kParts; ++part) {
        const int row = V::kLanes * part;
        auto sum = sums.total(t, part);
        if constexpr (kTwice) sum = V::add(V::load(pair[t] + row), sum);
        add_sum<V, Block>(sum, Layout::kUnit, scale + 4 * row, y[t] + row);
      }
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
      add_float_tiles<V, Block, (T > 2 ? T - 2 : 1)>(
          chunk, x + static_cast<std::size_t>(t) * x_stride, x_stride, n_tokens - t, y + t);
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
      add_float_tiles<V, Block, kTileTokens<V, Block>>(chunk, x, a.x_stride, n_tokens, y[p]);
    }
  }
  for (int p = 0; p < n_panels; ++p) store_rows(a, panel + p, first, n_tokens, y[p]);
}

template <class V, class Block>
void multiply_floats(const FloatMatmulArgs& a) noexcept {
  if (a.n_tokens < V::kManyTokens) {
    for (int p = a.panel_begin; p < a.panel_end; ++p)
      multiply_few_floats<V, Block, V::kStreamTokens>(a, p, 0);
    return;
  }
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
