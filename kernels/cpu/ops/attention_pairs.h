#pragma once
// Attention of many query rows with products of pairs of bfloat16: queries, keys, weights and
// values are rounded to it, sums and the softmax are binary32.
#include "kernels/cpu/ops/attention_lanes.h"
#include "kernels/cpu/ops/expand_avx512.h"
#include "kernels/cpu/ops/floats_avx512.h"

namespace lq::kernels {
namespace {

struct PairOperands {
  using V = Floats16;
  static constexpr int kValues = 2;
  /// What heads are made of: whole vectors of words.
  static constexpr int kHeadValues = 32;

  static __m512 add_product(__m512 a, __m512 b, __m512 sum) {
    return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
  }
  static void put_column(const float* x, int n, float scale, std::ptrdiff_t stride, float* words) {
    const __m512 factor = V::all(scale);
    for (int d = 0; d < n; d += 32, words += 16 * stride) {
      alignas(64) float pair[16];
      _mm512_store_si512(pair, to_bfloats(V::load(x + d) * factor, V::load(x + d + 16) * factor));
      for (int k = 0; k < 16; ++k) words[k * stride] = pair[k];
    }
  }
  template <class Block>
  static void load_row(const std::byte* stored, int n, float* words) {
    const auto* const row = reinterpret_cast<const Block*>(stored);
    for (int d = 0; d < n; d += 32)
      _mm512_storeu_si512(words + d / 2,
                          to_bfloats(load_values<V>(row, d), load_values<V>(row, d + 16)));
  }
  template <class Block>
  static void load_rows(const std::byte* const* stored, int n_rows, int n, std::ptrdiff_t stride,
                        float* words) {
    for (int j = 0; j < n_rows; j += 2, words += stride) {
      const auto* const even = reinterpret_cast<const Block*>(stored[j]);
      const auto* const odd = reinterpret_cast<const Block*>(stored[j + 1 < n_rows ? j + 1 : j]);
      for (int d = 0; d < n; d += 16)
        _mm512_storeu_si512(words + d,
                            to_bfloat_pairs(load_values<V>(even, d), load_values<V>(odd, d)));
    }
  }
  /// A missing last row is 0.
  static void pack_rows(int n_rows, int stride, float* rows) {
    for (int j = 0; j < n_rows; j += 2)
      for (int i = 0; i < stride; i += 16) {
        const float* const from = rows + j * stride + i;
        const __m512 odd = j + 1 < n_rows ? V::load(from + stride) : V::zero();
        _mm512_storeu_si512(rows + j / 2 * stride + i, to_bfloat_pairs(V::load(from), odd));
      }
  }
};

template <class Block>
void attention_pairs(const AttentionArgs& a) noexcept {
  const bool many = a.n_tokens * a.group > AttentionRows<Floats16, Block>::kMost;
  const bool whole =
      a.head_dim % PairOperands::kHeadValues == 0 && a.value_dim % PairOperands::kHeadValues == 0;
  if (!a.exact && many && whole)
    attend_tiles<PairOperands, Block>(a);
  else
    attention_lanes<Floats16, Block>(a);
}

}  // namespace
}  // namespace lq::kernels
