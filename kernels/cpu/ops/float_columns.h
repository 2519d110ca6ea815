#pragma once
// Columns of panels of floats, for any instruction set: how many are made together, and their sums
// where each is used once.
//
// A set says what codes stand for, without the scales: load_columns<Block>(V, codes, half, v) makes
// v[kColumnsAtOnce][V::kParts] of the columns from that of `codes` on, which is a multiple of
// kColumnStep; the second ones of them where `half` is 1.
#include "kernels/panels/float_panels.h"

namespace lq::kernels {
namespace {

/// Columns that are made together.
template <class Block>
constexpr int kColumnsAtOnce = FloatLayout<Block>::kNibbles ? 4 : 1;
/// Columns whose codes lie together, and that are added together.
template <class Block>
constexpr int kColumnStep = FloatLayout<Block>::kNibbles ? 8 : 4;

/// How columns are made where each is used once. A set may have a faster way that gives values in
/// other units, for inputs times kStreamScale: sums are then in units of kUnit. Powers of two
/// change no bit of a sum, as long as inputs are below 2^48 and sums above 2^-86.
constexpr float kStreamScale = 0x1p80f;
template <class V, class Block>
struct FloatStream {
  static constexpr bool kIsScaled = false;
  static constexpr float kUnit = FloatLayout<Block>::kUnit;
  template <class Columns>
  static void load(const std::byte* codes, int half, Columns& v) {
    load_columns<Block>(V{}, codes, half, v);
  }
  /// The sums of load()'s parts, whose rows may be others, become those of rows in order.
  template <class Parts>
  static void put_in_order(Parts&) {}
};

/// Values of T tokens in n of up to kSum columns; scaled ones are made.
template <int T, int kSum, bool kIsScaled>
struct StreamInputs {
  const float* x;
  std::size_t stride;
  StreamInputs(const float* from, std::size_t x_stride, int) : x(from), stride(x_stride) {}
  const float* at(int t, int c) const {
    return x + static_cast<std::size_t>(t) * stride + static_cast<std::size_t>(c);
  }
};
template <int T, int kSum>
struct StreamInputs<T, kSum, true> {
  float scaled[T][kSum];
  StreamInputs(const float* from, std::size_t x_stride, int n) {
    for (int t = 0; t < T; ++t, from += x_stride)
      for (int c = 0; c < n; ++c) scaled[t][c] = from[c] * kStreamScale;
  }
  const float* at(int t, int c) const { return scaled[t] + c; }
};

/// of(0) + .. of(n - 1) as FloatLayout::kParallel says.
template <class V, int n, class Sums>
inline typename V::Value add_halves(const Sums& of) {
  static_assert(n == 2 || n == 4);
  if constexpr (n == 2)
    return V::add(of(0), of(1));
  else
    return V::add(V::add(of(0), of(2)), V::add(of(1), of(3)));
}

/// K of the parallel sums of products, those of columns kFirst, kFirst + kApart .. of each
/// kParallel.
template <class V, class Block, int T, int K, int kFirst>
struct ParallelSums {
  using Value = typename V::Value;
  static constexpr int kApart = FloatLayout<Block>::kParallel / K;
  static_assert(kApart == 1 || !FloatLayout<Block>::kNibbles);
  Value sum[K][V::kParts][T];

  ParallelSums() {
#pragma GCC unroll 4
    for (auto& parts : sum)
#pragma GCC unroll 2
      for (auto& tokens : parts)
#pragma GCC unroll 8
        for (auto& token : tokens) token = V::zero();
  }
  /// kColumnStep columns, the first of them column c of x.
  template <class Inputs>
  void add(const std::byte* codes, const Inputs& x, int c) {
    constexpr int kAtOnce = kColumnsAtOnce<Block>, kLoads = kColumnStep<Block> / kAtOnce;
#pragma GCC unroll 4
    for (int load = 0; load < kLoads; ++load) {
      if (load % kApart != kFirst) continue;
      Value weight[kAtOnce][V::kParts];
      if constexpr (FloatLayout<Block>::kNibbles)
        FloatStream<V, Block>::load(codes, load, weight);
      else
        FloatStream<V, Block>::load(codes + load * FloatLayout<Block>::kColumnBytes, 0, weight);
#pragma GCC unroll 4
      for (int i = 0; i < kAtOnce; ++i) {
        const int column = load * kAtOnce + i;
#pragma GCC unroll 2
        for (int part = 0; part < V::kParts; ++part)
#pragma GCC unroll 8
          for (int t = 0; t < T; ++t) {
            Value& to = sum[column / kApart % K][part][t];
            to = V::multiply_add(weight[i][part], V::all(*x.at(t, c + column)), to);
          }
      }
    }
  }
  void store(Value (&total)[T][V::kParts]) const {
    for (int t = 0; t < T; ++t)
      for (int part = 0; part < V::kParts; ++part)
        total[t][part] = add_halves<V, K>([&](int i) { return sum[i][part][t]; });
  }
};

}  // namespace
}  // namespace lq::kernels
